import struct
import subprocess

import imagecodecs
import mrcfile
import numpy as np
import pytest
import tifffile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cryowalk.core.errors import InputError, UsageError
from cryowalk.core.execution import ImageSource
from cryowalk.io.eer import (
    LAYOUTS,
    EerEvents,
    EerItem,
    EerLayout,
    EerMovieReader,
    format_metadata,
    is_eer,
    parse_metadata,
)
from cryowalk.io.eer_encoder import EerContainer, EerMovieWriter, encode_frame
from cryowalk.io.movie_writers import MovieWriter
from cryowalk.io.movies import open_movie, write_movie

SHAPE = (12, 20)
COMPRESSIONS = [65000, 65001, 65002]


def counts(frames=2, shape=SHAPE, *, mean=0.6, seed=3):
    return torch.from_numpy(np.random.default_rng(seed).poisson(mean, (frames, *shape)).astype(np.float32))


def events(pixels, shape=SHAPE, seed=5, bits=2) -> EerEvents:
    places = torch.tensor(sorted(pixels), dtype=torch.long)
    pixel = torch.stack((places % shape[1], places // shape[1]), dim=-1).reshape(-1, 2)
    sub_pixel = torch.randint(0, 1 << bits, (len(places), 2), generator=torch.Generator().manual_seed(seed))
    return EerEvents(pixel=pixel, sub_pixel=sub_pixel)


def write_raw(path, frames, *, shape=SHAPE, compression=65001, layout=None):
    layout = layout or LAYOUTS.get(compression, EerLayout(run_bits=9))
    container = EerContainer(path, shape=shape, pixel_size=0.7, compression=compression, layout=layout)
    for frame in frames:
        container.append(encode_frame(frame, shape=shape, layout=layout))
    container.close({})
    return path


def drawn(made: EerEvents, shape=SHAPE, factor=1):
    """The image of these electrons, by indexing alone."""
    image = np.zeros((shape[0] * factor, shape[1] * factor), np.float32)
    where = (made.pixel * factor + made.sub_pixel * factor // 4).numpy()
    np.add.at(image, (where[:, 1], where[:, 0]), 1)
    return image


PLACES = {
    "none": [],
    "first": [0],
    "last": [239],
    "first and last": [0, 239],
    "all": range(240),
    "run of exactly the longest": [0, 128],
    "run one shorter": [0, 127],
    "one beyond": [0, 129],
    "trailing run of exactly the longest": [240 - 1 - 127],
    "last row": range(220, 240),
}


@pytest.mark.parametrize("name", PLACES)
@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_electrons_in_are_electrons_out(tmp_path, name, compression):
    made = events(PLACES[name])
    path = write_raw(tmp_path / "a.eer", [made, made], compression=compression)
    reader = EerMovieReader(path)
    again = reader.read_events(1)
    assert torch.equal(again.pixel, made.pixel)
    assert torch.equal(again.sub_pixel, made.sub_pixel)
    np.testing.assert_array_equal(reader.read([0])[0], drawn(made))
    for factor in (2, 4):
        np.testing.assert_array_equal(EerMovieReader(path, upsampling=factor).read([0])[0], drawn(made, factor=factor))


@pytest.mark.parametrize("name", PLACES)
@pytest.mark.parametrize(("compression", "bits"), [(65001, 7), (65002, 9)])
def test_imagecodecs_decodes_every_bit_as_we_do(tmp_path, name, compression, bits):
    made = events(PLACES[name])
    content = encode_frame(made, shape=SHAPE, layout=EerLayout(run_bits=bits))
    for level, factor in ((0, 1), (1, 2), (2, 4)):
        shape = (SHAPE[0] * factor, SHAPE[1] * factor)
        decoded = imagecodecs.eer_decode(content, shape, bits, 2, 2, superres=level)
        np.testing.assert_array_equal(decoded.astype(np.float32), drawn(made, factor=factor))
    path = write_raw(tmp_path / "a.eer", [made], compression=compression, layout=EerLayout(run_bits=bits))
    with tifffile.TiffFile(path) as tiff:
        assert tiff.is_eer
        np.testing.assert_array_equal(tiff.pages[0].asarray().astype(np.float32), drawn(made))
        assert tiff.eer_metadata["numberOfFrames"] == 1


def test_the_first_version_is_as_imagecodecs_reads_it_where_no_run_is_long():
    """Where runs of all ones occur, imagecodecs takes them to be short; the camera's prototype, and RELION, do not. We read both."""
    made = events(range(0, 240, 3))
    content = encode_frame(made, shape=SHAPE, layout=LAYOUTS[65000])
    np.testing.assert_array_equal(imagecodecs.eer_decode(content, SHAPE, 8, 2, 2).astype(np.float32), drawn(made))


def test_the_first_version_with_short_long_runs_is_read_too(tmp_path):
    shape = (40, 40)
    made = events([3, 1000, 1599], shape)
    short = EerLayout(run_bits=8, has_full_runs=False)
    np.testing.assert_array_equal(
        imagecodecs.eer_decode(encode_frame(made, shape=shape, layout=short), shape, 8, 2, 2).astype(np.float32),
        drawn(made, shape),
    )
    path = write_raw(tmp_path / "a.eer", [made], shape=shape, compression=65000, layout=short)
    assert torch.equal(EerMovieReader(path).read_events(0).pixel, made.pixel)
    np.testing.assert_array_equal(EerMovieReader(path).read([0])[0], drawn(made, shape))


@settings(max_examples=80, deadline=None)
@given(
    pixels=st.sets(st.integers(0, 1022)),
    run_bits=st.integers(4, 12),
    x_bits=st.integers(1, 4),
    y_bits=st.integers(1, 4),
    full=st.booleans(),
)
def test_any_electrons_survive_any_layout(tmp_path_factory, pixels, run_bits, x_bits, y_bits, full):
    shape = (31, 33)
    layout = EerLayout(run_bits=run_bits, x_bits=x_bits, y_bits=y_bits)
    made = events(pixels, shape, bits=min(x_bits, y_bits))
    path = tmp_path_factory.mktemp("eer") / "a.eer"
    write_raw(path, [made], shape=shape, compression=65002, layout=layout)
    again = EerMovieReader(path).read_events(0)
    assert torch.equal(again.pixel, made.pixel)
    assert torch.equal(again.sub_pixel, made.sub_pixel)
    if full:
        first = EerLayout(run_bits=8, has_full_runs=True)
        content = events(pixels, shape)
        write_raw(path, [content], shape=shape, compression=65000, layout=first)
        assert torch.equal(EerMovieReader(path).read_events(0).pixel, content.pixel)


@pytest.mark.parametrize("upsampling", [1, 2, 4])
@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_counted_frames_come_back_exactly(tmp_path, compression, upsampling):
    movie = counts(3, (12 * upsampling, 20 * upsampling), mean=0.6 / upsampling**2)
    with EerMovieWriter(
        tmp_path / "a.eer",
        image_shape=tuple(movie.shape[1:]),
        pixel_size=1.4,
        raw_frames_per_frame=9,
        upsampling=upsampling,
        compression=compression,
    ) as writer:
        assert isinstance(writer, MovieWriter)
        writer.write(movie[:2])
        writer.write(movie[2])
    source = EerMovieReader(tmp_path / "a.eer", upsampling=upsampling)
    assert isinstance(source, ImageSource)
    assert (source.count, source.raw_count, source.raw_frames_per_frame, source.pixel_size) == (3, 27, 9, 1.4)
    torch.testing.assert_close(source.read([2, 0, 1]), movie[[2, 0, 1]])
    by_raw = EerMovieReader(tmp_path / "a.eer", raw_frames_per_frame=1, upsampling=upsampling)
    assert by_raw.count == 27
    torch.testing.assert_close(by_raw.read(range(9)).sum(0), movie[0])
    assert float(EerMovieReader(tmp_path / "a.eer", raw_frames_per_frame=1).read(range(27)).max()) == 1
    leftover = EerMovieReader(tmp_path / "a.eer", raw_frames_per_frame=10, upsampling=upsampling)
    assert leftover.count == 2


def test_electrons_are_spread_evenly_over_raw_frames_and_sub_pixels(tmp_path):
    movie = torch.ones(1, 128, 128)
    write_movie(movie, tmp_path / "a.eer", pixel_size=1.0, raw_frames_per_frame=8)
    reader = open_movie(tmp_path / "a.eer", raw_frames_per_frame=1)
    per_raw = reader.read(range(8)).sum((1, 2))
    expected = 128 * 128 / 8
    assert float((per_raw - expected).abs().max()) < 5 * expected**0.5
    fine = open_movie(tmp_path / "a.eer", upsampling=4).read([0])[0].reshape(128, 4, 128, 4).sum((0, 2))
    assert float((fine - 1024).abs().max()) < 5 * 32


def test_the_seed_decides_where_electrons_go_and_nothing_else(tmp_path):
    files = {}
    for name, seed in (("a", 0), ("b", 0), ("c", 7)):
        with EerMovieWriter(tmp_path / f"{name}.eer", image_shape=SHAPE, pixel_size=1.0, seed=seed) as writer:
            writer.write(counts())
        files[name] = (tmp_path / f"{name}.eer").read_bytes()
    assert files["a"] == files["b"] != files["c"]
    torch.testing.assert_close(EerMovieReader(tmp_path / "c.eer").read([0, 1]), counts())


def test_metadata_there_and_back(tmp_path):
    items = {"exposureTime": EerItem(text="3.5", unit="s"), "odd <&>": EerItem(text="a & b")}
    assert parse_metadata(format_metadata(items), tmp_path) == items
    # the declaration that Thermo Fisher's own files begin with is not well-formed
    assert parse_metadata(b'<?xml version="1.0" encoding="utf - 8"?>' + format_metadata(items) + b"\0", tmp_path) == items
    with pytest.raises(InputError, match="no list of items"):
        parse_metadata(b'<!DOCTYPE a [<!ENTITY b "c">]><metadata/>', tmp_path)
    with pytest.raises(InputError, match="cannot be read"):
        parse_metadata(b"<metadata><item>", tmp_path)


def test_exposure_time_and_unknown_sizes(tmp_path):
    container = EerContainer(tmp_path / "a.eer", shape=SHAPE, pixel_size=0.0)
    container.append(encode_frame(events([1]), shape=SHAPE))
    container.close({"exposureTime": EerItem(text="3.5", unit="s")})
    reader = EerMovieReader(tmp_path / "a.eer")
    assert (reader.exposure_time, reader.pixel_size, reader.count) == (3.5, None, 1)


def test_a_sum_that_stands_first_is_passed_over(tmp_path):
    """TIA writes the sum of all frames as the first page."""
    path = write_raw(tmp_path / "a.eer", [events([1, 200])])
    body = path.read_bytes()
    entries = b"".join(
        struct.pack("<HHQ", tag, kind, 1) + struct.pack("<Q", value)
        for tag, kind, value in (
            (256, 4, 20),
            (257, 4, 12),
            (258, 3, 8),
            (259, 3, 1),
            (262, 3, 1),
            (273, 16, 0),
            (277, 3, 1),
            (278, 4, 12),
            (279, 16, 240),
        )
    )
    first = len(body)
    page = struct.pack("<Q", 9) + entries + struct.pack("<Q", 16)
    page = page.replace(struct.pack("<HHQQ", 273, 16, 1, 0), struct.pack("<HHQQ", 273, 16, 1, first + len(page)))
    path.write_bytes(body[:8] + struct.pack("<Q", first) + body[16:] + page + bytes(240))
    assert is_eer(path)
    np.testing.assert_array_equal(open_movie(path).read([0])[0], drawn(events([1, 200])))


@pytest.mark.parametrize(
    ("pixel", "sub_pixel"),
    [
        ([[20, 0]], [[0, 0]]),
        ([[0, 12]], [[0, 0]]),
        ([[-1, 0]], [[0, 0]]),
        ([[1, 1]], [[4, 0]]),
        ([[2, 0], [1, 0]], [[0, 0], [0, 0]]),
    ],
)
def test_electrons_that_cannot_be_are_refused(pixel, sub_pixel):
    with pytest.raises(InputError, match="electron"):
        encode_frame(EerEvents(pixel=torch.tensor(pixel), sub_pixel=torch.tensor(sub_pixel)), shape=SHAPE)


def test_frames_that_are_no_counts_are_refused(tmp_path):
    def write(frame, **options):
        with EerMovieWriter(tmp_path / "a.eer", pixel_size=1.0, **{"image_shape": SHAPE, **options}) as writer:
            writer.write(frame)

    for wrong in (0.5, -1.0, float("nan"), float("inf"), 1e6):
        with pytest.raises(InputError, match="no counts of electrons"):
            write(torch.full(SHAPE, wrong))
    with pytest.raises(InputError, match="at least 9 raw frames"):
        write(torch.full(SHAPE, 9.0))
    for options in ({"upsampling": 4, "image_shape": (6, 10)}, {"raw_frames_per_frame": 0}):
        with pytest.raises(UsageError):
            write(torch.ones(SHAPE), **options)
    assert not list(tmp_path.iterdir())


def test_damaged_movies_end_in_one_error(tmp_path):
    whole = write_raw(tmp_path / "a.eer", [events(range(0, 240, 5)), events([7])]).read_bytes()
    path = tmp_path / "b.eer"
    for keep in (0, 4, 12, 100, 400, len(whole) - 300, len(whole) - 1):
        path.write_bytes(whole[:keep])
        with pytest.raises(InputError, match=r"b\.eer"):
            open_movie(path)
    with pytest.raises(InputError, match="no such file"):
        open_movie(tmp_path / "none.eer")
    reader = EerMovieReader(tmp_path / "a.eer")
    with pytest.raises(InputError, match="frame 3 is asked for"):
        reader.read([2])
    with pytest.raises(UsageError):
        EerMovieReader(tmp_path / "a.eer", raw_frames_per_frame=0)
    with pytest.raises(InputError, match="3 raw frames make a frame"):
        EerMovieReader(tmp_path / "a.eer", raw_frames_per_frame=3)
    write_movie(counts(), tmp_path / "c.mrc", pixel_size=1.0)
    with pytest.raises(UsageError, match="only EER movies"):
        open_movie(tmp_path / "c.mrc", upsampling=2)


def test_frames_whose_bits_are_wrong_end_in_one_error(tmp_path):
    content = encode_frame(events(range(0, 240, 5)), shape=SHAPE)
    for wrong, message in (
        (b"\xff" * 200, "beyond its last pixel"),
        (content[:20], "ends before its last pixel"),
        (b"\0" * 4, "ends before"),
    ):
        container = EerContainer(tmp_path / "a.eer", shape=SHAPE, pixel_size=1.0)
        container.append(wrong)
        container.close({})
        reader = EerMovieReader(tmp_path / "a.eer")
        for act in (lambda reader=reader: reader.read([0]), lambda reader=reader: reader.read_events(0)):
            with pytest.raises(InputError, match=message):
                act()


@pytest.mark.agreement
@pytest.mark.slow
@pytest.mark.parametrize(("compression", "upsampling"), [(65001, 1), (65001, 2), (65000, 1)])
def test_relion_renders_our_movie_as_we_do(relion, tmp_path, compression, upsampling):
    """RELION knows 4096² cameras only; the electrons are few, so that there are long runs, and some lie in the corners."""
    side = 4096 * upsampling
    movie = torch.zeros(2, side, side)
    places = torch.randint(0, side, (2, 60000, 2), generator=torch.Generator().manual_seed(1))
    for frame, where in zip(movie, places, strict=True):
        frame[where[:, 0] // upsampling * upsampling, where[:, 1] // upsampling * upsampling] = 1
        frame[0, 0] = frame[-1, -1] = frame[0, -1] = 1
    with EerMovieWriter(
        tmp_path / "a.eer",
        image_shape=(side, side),
        pixel_size=1.0,
        raw_frames_per_frame=3,
        upsampling=upsampling,
        compression=compression,
    ) as writer:
        writer.write(movie)
    command = ["--i", "a.eer", "--o", "T", "--eer_grouping", "3", "--eer_upsampling", str(upsampling), "--compression", "none"]
    subprocess.run([relion / "relion_convert_to_tiff", *command], cwd=tmp_path, check=True, capture_output=True)
    made = [*tmp_path.glob("T*/**/*.tif"), *tmp_path.glob("T*.tif")]
    for number in (0, 1):
        rendered = open_movie(made[0]).read([number])[0]
        torch.testing.assert_close(rendered, movie[number])
    subprocess.run(
        [relion / "relion_image_handler", "--i", f"000001@{made[0].relative_to(tmp_path)}", "--o", "b.mrc"],
        cwd=tmp_path, check=True, capture_output=True,
    )  # fmt: skip
    with mrcfile.open(tmp_path / "b.mrc", permissive=True) as mrc:
        np.testing.assert_array_equal(np.squeeze(mrc.data), movie[0].numpy())
