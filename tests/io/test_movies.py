import os
import subprocess

import mrcfile
import numpy as np
import pytest
import tifffile
import torch

from cryowalk.core.errors import CryowalkError, EnvironmentFault, InputError, ShapeError, StateConflict, UsageError
from cryowalk.core.execution import ImageSink, ImageSource
from cryowalk.io.movie_writers import MovieWriter
from cryowalk.io.movies import FrameSource, open_movie, open_movie_writer, write_movie
from cryowalk.io.mrc_header import read_header

SHAPES = [(16, 24), (9, 7), (1, 5), (33, 32)]
FORMATS = {
    "a.mrc": ("float32", "float16", "int8", "int16", "uint16"),
    "a.mrcs": ("float32",),
    "a.tif": ("float32", "uint8", "int8", "int16", "uint16"),
    "a.tiff": ("uint8",),
}
CASES = [(name, sample_format) for name, formats in FORMATS.items() for sample_format in formats]


def frames(count=3, shape=(16, 24), seed=4):
    """Whole numbers, so that every sample format holds them; no frame is its own mirror image."""
    return torch.from_numpy(np.random.default_rng(seed).poisson(4.0, (count, *shape)).astype(np.float32))


def listed(folder):
    return sorted(path.name for path in folder.iterdir())


def read_all(path):
    source = open_movie(path)
    return source.read(range(source.count))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("name", "sample_format"), CASES)
def test_a_movie_comes_back_as_it_was(tmp_path, name, sample_format, shape):
    movie = frames(shape=shape)
    write_movie(iter(movie), tmp_path / name, pixel_size=0.66, sample_format=sample_format)
    source = open_movie(tmp_path / name)
    assert isinstance(source, FrameSource)
    assert isinstance(source, ImageSource)
    assert (source.count, tuple(source.image_shape), source.pixel_size) == (3, shape, 0.66)
    torch.testing.assert_close(source.read(range(3)), movie, rtol=0, atol=0)
    torch.testing.assert_close(source.read([2, 0]), movie[[2, 0]], rtol=0, atol=0)
    assert source.read([]).shape == (0, *shape)


@pytest.mark.parametrize("compression", ["none", "lzw", "deflate", "zstd"])
@pytest.mark.parametrize("count", [3, None])
def test_every_compression_of_tiff(tmp_path, compression, count):
    movie = frames()
    write_movie(iter(movie), tmp_path / "a.tif", pixel_size=1.35, sample_format="uint8", compression=compression, count=count)
    torch.testing.assert_close(open_movie(tmp_path / "a.tif").read(range(3)), movie)
    assert open_movie(tmp_path / "a.tif").pixel_size == 1.35


def test_tiff_lies_upside_down_in_the_file_and_mrc_does_not(tmp_path):
    movie = frames(1)
    for name in ("a.tif", "a.mrc"):
        write_movie(movie, tmp_path / name, pixel_size=1.0)
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "a.tif"), movie[0].numpy()[::-1])
    with mrcfile.open(tmp_path / "a.mrc") as mrc:
        np.testing.assert_array_equal(mrc.data[0] if mrc.data.ndim == 3 else mrc.data, movie[0].numpy())


@pytest.mark.parametrize("sample_format", ["float32", "int16"])
def test_the_header_of_mrc_is_valid_and_tells_the_statistics(tmp_path, sample_format):
    movie = frames(4) + 1000
    write_movie(movie, tmp_path / "a.mrc", pixel_size=1.35, sample_format=sample_format)
    assert mrcfile.validate(tmp_path / "a.mrc")
    header = read_header(tmp_path / "a.mrc")
    assert header.is_stack
    told = (header.minimum, header.maximum, header.mean, header.rms)
    np.testing.assert_allclose(told, (movie.min(), movie.max(), movie.mean(), movie.std(correction=0)), rtol=1e-6)


def test_integers_are_rounded_to_the_nearest(tmp_path):
    movie = torch.tensor([[[0.4, 0.6], [1.5, 2.5], [-0.6, 99.9]]])
    write_movie(movie, tmp_path / "a.mrc", pixel_size=1.0, sample_format="int8")
    torch.testing.assert_close(open_movie(tmp_path / "a.mrc").read([0]), torch.tensor([[[0.0, 1.0], [2.0, 2.0], [-1.0, 100.0]]]))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("sample_format", ["int16", "float32"])
def test_frames_of_any_precision(tmp_path, dtype, sample_format):
    with open_movie_writer(tmp_path / "a.mrc", image_shape=(16, 24), pixel_size=1.0, sample_format=sample_format) as writer:
        writer.write(frames().to(dtype))
    torch.testing.assert_close(open_movie(tmp_path / "a.mrc").read(range(3)), frames())


def test_integer_tensors_and_slices_of_frames(tmp_path):
    movie = frames().to(torch.int32)
    with open_movie_writer(tmp_path / "a.mrc", image_shape=(16, 24), pixel_size=1.0, sample_format="int16") as writer:
        assert isinstance(writer, MovieWriter)
        assert isinstance(writer, ImageSink)
        writer.write(movie[:2].float())
        writer.write(movie[2].float().t().contiguous().t())  # not contiguous
        assert writer.count == 3
    torch.testing.assert_close(open_movie(tmp_path / "a.mrc").read(range(3)), movie.float())


@pytest.mark.parametrize("name", ["a.mrc", "a.tif"])
def test_equal_frames_give_equal_bytes(tmp_path, name):
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        write_movie(iter(frames()), tmp_path / folder / name, pixel_size=0.7, count=3)
    assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


@pytest.mark.parametrize("name", ["a.mrc", "a.tif"])
def test_an_error_leaves_the_old_movie_and_nothing_else(tmp_path, name):
    path = tmp_path / name
    write_movie(frames(), path, pixel_size=1.0)
    before = path.read_bytes()

    def broken():
        yield frames()[0]
        raise RuntimeError("no electrons left")

    with pytest.raises(RuntimeError, match="no electrons"):
        write_movie(broken(), path, pixel_size=1.0)
    with pytest.raises(InputError, match="frame 2 holds values"):
        write_movie([frames()[0], frames()[0] * float("nan")], path, pixel_size=1.0)
    with pytest.raises(InputError, match="3 frames were announced and 2 came"):
        write_movie(frames(2), path, pixel_size=1.0, count=3)
    with pytest.raises(ShapeError, match="frames of 16 × 24 px"):
        write_movie([frames()[0], torch.zeros(4, 4)], path, pixel_size=1.0)
    assert path.read_bytes() == before
    assert listed(tmp_path) == [name]


def test_what_cannot_be_written_is_refused(tmp_path):
    with pytest.raises(InputError, match="no frames"):
        write_movie([], tmp_path / "a.mrc", pixel_size=1.0)
    with pytest.raises(UsageError, match=r"cannot be written to “a\.png”"):
        write_movie(frames(), tmp_path / "a.png", pixel_size=1.0)
    with pytest.raises(UsageError, match="no mode for uint8"):
        write_movie(frames(), tmp_path / "a.mrc", pixel_size=1.0, sample_format="uint8")
    with pytest.raises(InputError, match="values from -1 to 300"):
        write_movie([torch.tensor([[-1.0, 300.0]])], tmp_path / "a.tif", pixel_size=1.0, sample_format="uint8")
    with pytest.raises(EnvironmentFault, match="folder"):
        write_movie(frames(), tmp_path / "none" / "a.mrc", pixel_size=1.0)
    writer = open_movie_writer(tmp_path / "a.tif", image_shape=(2, 2), pixel_size=1.0)
    with pytest.raises(InputError, match="no frame was written"):
        writer.close()
    writer = open_movie_writer(tmp_path / "a.tif", image_shape=(2, 2), pixel_size=1.0, frames=1)
    writer.write(torch.zeros(2, 2))
    writer.close()
    writer.close()
    with pytest.raises(StateConflict, match="closed"):
        writer.write(torch.zeros(2, 2))
    assert listed(tmp_path) == ["a.tif"]


@pytest.mark.parametrize("name", ["a.mrc", "a.tif"])
def test_a_full_disk_is_told_and_keeps_the_old_movie(tmp_path, name, monkeypatch):
    path = tmp_path / name
    write_movie(frames(), path, pixel_size=1.0)
    before = path.read_bytes()
    monkeypatch.setattr(os, "fsync", lambda handle: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(EnvironmentFault, match="No space left"):
        write_movie(frames(5), path, pixel_size=1.0)
    assert path.read_bytes() == before
    assert listed(tmp_path) == [name]


@pytest.mark.parametrize("name", ["a.mrc", "a.tif"])
@pytest.mark.parametrize("keep", [0.0, 0.1, 0.3, 0.6, 0.76, 0.99])
def test_a_movie_cut_off_ends_in_an_error_of_ours(tmp_path, name, keep):
    path = tmp_path / name
    write_movie(frames(4, (64, 64)), path, pixel_size=1.0)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * keep)])
    with pytest.raises(InputError) as caught:
        read_all(path)
    assert name in str(caught.value)


def test_pictures_and_wrong_frames_are_refused(tmp_path):
    tifffile.imwrite(tmp_path / "rgb.tif", np.zeros((8, 8, 3), np.uint8), photometric="rgb")
    with pytest.raises(InputError, match="grey images of one size"):
        open_movie(tmp_path / "rgb.tif")
    with tifffile.TiffWriter(tmp_path / "sizes.tif") as tiff:
        for side in (8, 9):
            tiff.write(np.zeros((side, side), np.uint8), contiguous=False, metadata=None)
    with pytest.raises(InputError, match="grey images of one size"):
        open_movie(tmp_path / "sizes.tif")
    tifffile.imwrite(tmp_path / "nan.tif", np.full((8, 8), np.nan, np.float32))
    with pytest.raises(InputError, match="frame 1 holds a value that is not finite"):
        open_movie(tmp_path / "nan.tif").read([0])
    with pytest.raises(InputError, match="frame 2 is asked for"):
        open_movie(tmp_path / "nan.tif").read([1])
    with pytest.raises(InputError, match="no such file"):
        open_movie(tmp_path / "none.tif")
    for start in (b"II*\x00", b"II+\x00", b"MM\x00*"):
        (tmp_path / "junk.tif").write_bytes(start + bytes(range(200)))
        with pytest.raises(CryowalkError, match=r"junk\.tif"):
            open_movie(tmp_path / "junk.tif")


@pytest.mark.agreement
@pytest.mark.parametrize(
    ("name", "sample_format"), [("a.mrcs", "float32"), ("a.tif", "uint8"), ("a.tif", "float32"), ("a.mrcs", "int16")]
)
def test_relion_reads_the_same_frames(relion, tmp_path, name, sample_format):
    movie = frames(2, (32, 48))
    write_movie(movie, tmp_path / name, pixel_size=1.5, sample_format=sample_format)
    for number in (1, 2):
        command = ["--i", f"{number:06d}@{name}", "--o", f"{number}.mrc"]
        subprocess.run([relion / "relion_image_handler", *command], cwd=tmp_path, check=True, capture_output=True)
        with mrcfile.open(tmp_path / f"{number}.mrc", permissive=True) as mrc:
            np.testing.assert_array_equal(np.squeeze(mrc.data), movie[number - 1].numpy())


@pytest.mark.agreement
def test_our_tiff_is_that_of_relion_s_converter(relion, tmp_path):
    movie = frames(3, (32, 48))
    write_movie(movie, tmp_path / "a.mrcs", pixel_size=1.5)
    command = ["--i", "a.mrcs", "--o", "T", "--angpix", "1.5"]
    run = subprocess.run([relion / "relion_convert_to_tiff", *command], cwd=tmp_path, capture_output=True, text=True)
    made = list(tmp_path.glob("T*/**/*.tif")) or list(tmp_path.glob("T*.tif"))
    assert made, run.stdout + run.stderr
    torch.testing.assert_close(open_movie(made[0]).read(range(3)), movie)
