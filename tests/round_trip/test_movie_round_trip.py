"""Movies and what goes with them, written and read again for whatever hypothesis thinks of; what is broken ends in an error of ours."""

import tempfile
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cryowalk.core.errors import CryowalkError, CryowalkWarning
from cryowalk.data.motion import Motion
from cryowalk.io.dispatch import read, write
from cryowalk.io.gain import read_gain, write_gain
from cryowalk.io.motion import MovieMotion
from cryowalk.io.movies import open_movie, write_movie
from cryowalk.io.validate import faults

QUICK = settings(max_examples=40, deadline=None)
SHAPES = st.tuples(st.integers(1, 3), st.integers(1, 9), st.integers(1, 9))
LIMITS = {
    "int8": (-128, 127),
    "uint8": (0, 255),
    "int16": (-(2**15), 2**15 - 1),
    "uint16": (0, 2**16 - 1),
    "float32": (-1e6, 1e6),
}
WAYS = [
    *((".mrc", sample_format, "lzw") for sample_format in ("int8", "int16", "uint16", "float32")),
    *((".tif", sample_format, compression) for sample_format in LIMITS for compression in ("none", "lzw", "deflate", "zstd")),
]


@pytest.fixture(scope="module")
def folder():
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


@QUICK
@given(shape=SHAPES, way=st.sampled_from(WAYS), seed=st.integers(0, 2**31), pixel=st.floats(0.05, 99))
def test_any_frames_survive_any_format(folder, shape, way, seed, pixel):
    ending, sample_format, compression = way
    low, high = LIMITS[sample_format]
    g = np.random.default_rng(seed)
    values = g.uniform(low, high, shape) if sample_format == "float32" else g.integers(low, high, shape, endpoint=True)
    movie = torch.from_numpy(values.astype(np.float32))
    path = folder / f"a{ending}"
    pixel = float(f"{pixel:.5g}")
    write_movie(movie, path, pixel_size=pixel, sample_format=sample_format, compression=compression, count=shape[0])
    source = open_movie(path)
    assert torch.equal(source.read(range(shape[0])), movie)
    assert source.pixel_size == pytest.approx(pixel, rel=1e-6)


@QUICK
@given(shape=SHAPES, seed=st.integers(0, 2**31), raw=st.integers(4, 20))
def test_any_counts_survive_as_electrons(folder, shape, seed, raw):
    movie = torch.from_numpy(np.random.default_rng(seed).integers(0, 4, shape, endpoint=True).astype(np.float32))
    write_movie(movie, folder / "a.eer", pixel_size=1.0, raw_frames_per_frame=raw)
    assert torch.equal(open_movie(folder / "a.eer").read(range(shape[0])), movie)


@QUICK
@given(side=st.tuples(st.integers(1, 9), st.integers(1, 9)), seed=st.integers(0, 999), name=st.sampled_from(["g.mrc", "g.tif"]))
def test_any_gain_survives(folder, side, seed, name):
    g = np.random.default_rng(seed)
    gain = torch.from_numpy((g.uniform(0.5, 2, side) * (g.uniform(0, 1, side) > 0.1)).astype(np.float32))
    gain[0, 0] = 1
    for stored_as in ("multiplier", "divisor"):
        write_gain(gain, folder / name, stored_as=stored_as)
        torch.testing.assert_close(read_gain(folder / name, image_shape=side, stored_as=stored_as), gain, rtol=1e-6, atol=0)


def made(kind: str, folder: Path) -> Path:
    """A whole file of this kind."""
    frames = torch.from_numpy(np.random.default_rng(1).integers(0, 3, (3, 16, 16)).astype(np.float32))
    if kind in (".tif", ".eer", ".mrc"):
        write_movie(frames, folder / f"w{kind}", pixel_size=1.0)
        return folder / f"w{kind}"
    local = torch.arange(40, dtype=torch.float64).reshape(4, 2, 5)
    motion = Motion(global_displacement=torch.zeros(4, 2, dtype=torch.float64), local=local, field=(16.0, 16.0))
    write(MovieMotion(motion=motion, movie_name="m", pixel_size=1.0, image_size=(16, 16)), folder / "w.star")
    return folder / "w.star"


@pytest.mark.parametrize("kind", [".tif", ".eer", ".mrc", ".star"])
@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_flipped_and_cut_files_end_well_or_in_an_error_of_ours(folder, kind, data):
    """Whatever a few wrong bytes do: a result, or one of our errors; never another exception."""
    content = bytearray(made(kind, folder).read_bytes())
    for _ in range(data.draw(st.integers(0, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = folder / f"broken{kind}"
    path.write_bytes(bytes(content[: data.draw(st.integers(0, len(content)))]))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CryowalkWarning)
        faults(path)
        try:
            if kind == ".star":
                read(path)
            else:
                source = open_movie(path)
                source.read([source.count - 1])
        except CryowalkError as error:
            assert "broken" in str(error)  # noqa: PT017  the message names the file
