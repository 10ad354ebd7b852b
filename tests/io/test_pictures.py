"""Micrographs from MRC, TIFF, PNG and JPEG files: the same numbers, and one message where there is none."""

import imagecodecs
import numpy as np
import pytest
import torch

from cryowalk.core.errors import InputError
from cryowalk.io.mrc import write_array
from cryowalk.io.pictures import read_micrograph


@pytest.fixture
def grey():
    """A picture without symmetry, taller than wide."""
    y, x = np.mgrid[0:34, 0:27]
    return ((3 * x + 5 * y + x * y) % 251).astype(np.uint8)


def test_a_png_is_read_as_it_is(tmp_path, grey):
    for name, values in {"eight": grey, "sixteen": grey.astype(np.uint16) * 257}.items():
        (tmp_path / f"{name}.png").write_bytes(imagecodecs.png_encode(values))
        found = read_micrograph(tmp_path / f"{name}.png", pixel_size=1.7)
        assert found.pixel_size == pytest.approx(1.7)
        assert found.pixels.dtype == torch.float32
        np.testing.assert_array_equal(found.pixels.numpy(), values)


def test_colours_are_averaged_and_transparency_left_out(tmp_path, grey):
    colours = np.stack([grey, grey // 2, grey // 4], axis=-1)
    clear = np.concatenate([colours, np.full((*grey.shape, 1), 9, np.uint8)], axis=-1)
    with_alpha = np.stack([grey, np.full_like(grey, 3)], axis=-1)
    expected = colours.astype(np.float64).mean(-1)
    for name, values, truth in (("rgb", colours, expected), ("rgba", clear, expected), ("greyalpha", with_alpha, grey)):
        (tmp_path / f"{name}.png").write_bytes(imagecodecs.png_encode(values))
        found = read_micrograph(tmp_path / f"{name}.png", pixel_size=1.0)
        np.testing.assert_allclose(found.pixels.numpy(), truth, atol=1e-4)


def test_a_jpeg_is_nearly_what_was_stored(tmp_path):
    y, x = np.mgrid[0:64, 0:48]
    smooth = (120 + 80 * np.sin(x / 9.0) * np.cos(y / 7.0)).astype(np.uint8)
    for ending in ("jpg", "jpeg", "JPG"):
        (tmp_path / f"smooth.{ending}").write_bytes(imagecodecs.jpeg_encode(smooth, level=97))
        found = read_micrograph(tmp_path / f"smooth.{ending}", pixel_size=1.0)
        assert np.abs(found.pixels.numpy() - smooth).max() < 6


def test_an_mrc_gives_its_own_pixel_size_and_a_given_one_replaces_it(tmp_path, grey):
    path = tmp_path / "image.mrc"
    write_array(torch.from_numpy(grey.astype(np.float32)), path, voxel_size=1.35, kind="images")
    assert read_micrograph(path).pixel_size == pytest.approx(1.35)
    np.testing.assert_array_equal(read_micrograph(path).pixels.numpy(), grey)
    assert read_micrograph(path, pixel_size=2.5).pixel_size == pytest.approx(2.5)


@pytest.mark.parametrize("content", [b"", b"not a picture", b"\x89PNG\r\n\x1a\n" + b"\x00" * 40])
def test_damaged_pictures_are_refused(tmp_path, content):
    for ending in ("png", "jpg"):
        (tmp_path / f"bad.{ending}").write_bytes(content)
        with pytest.raises(InputError, match="bad"):
            read_micrograph(tmp_path / f"bad.{ending}", pixel_size=1.0)


def test_a_cut_png_is_refused(tmp_path, grey):
    whole = imagecodecs.png_encode(grey)
    (tmp_path / "cut.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError):
        read_micrograph(tmp_path / "cut.png", pixel_size=1.0)


def test_what_is_not_known_is_asked_for(tmp_path, grey):
    (tmp_path / "image.png").write_bytes(imagecodecs.png_encode(grey))
    with pytest.raises(InputError, match="pixel-size"):
        read_micrograph(tmp_path / "image.png")
    with pytest.raises(InputError, match=r"ends in .*\.png"):
        read_micrograph(tmp_path / "image.gif", pixel_size=1.0)
    with pytest.raises(InputError, match="absent"):
        read_micrograph(tmp_path / "absent.png", pixel_size=1.0)


def test_stacks_and_numbers_that_are_not_finite_are_refused(tmp_path):
    write_array(torch.zeros(4, 8, 8), tmp_path / "stack.mrc", voxel_size=1.0, kind="images")
    with pytest.raises(InputError, match="4 images"):
        read_micrograph(tmp_path / "stack.mrc")
    path = tmp_path / "infinite.mrc"
    write_array(torch.zeros(8, 8), path, voxel_size=1.0, kind="images")
    path.write_bytes(path.read_bytes()[:1024] + np.full((8, 8), np.inf, np.float32).tobytes())  # our own writer refuses them
    with pytest.raises(InputError, match="finite"):
        read_micrograph(tmp_path / "infinite.mrc")
