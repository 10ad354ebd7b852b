"""Rows 1–34 of the catalogue: MRC files, images, movies and gain references."""

import bz2
import gzip
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from hostile import HTML, PNG, Bench, content, mrc, poison, project, refusal, refusals, row, star, volume, whole
from io_files import integers, patched, reals, stack, values

import cryowalk as cw
from cryowalk.core.errors import CryowalkWarning
from cryowalk.io.gain import read_gain, write_gain
from cryowalk.io.maps import read_map
from cryowalk.io.movies import open_movie, write_movie
from cryowalk.io.mrc import MrcStackReader, read_array, write_array
from cryowalk.io.mrc_header import read_header

refusals(1, "truncated data", (content("bad.mrcs", lambda f: whole(f).read_bytes()[:-100]), 3, "inside section 5 of 5"))
refusals(
    2,
    "truncated header, empty file",
    (content("bad.mrcs", b""), 3, "empty"),
    (content("bad.mrcs", lambda f: whole(f).read_bytes()[:500]), 3, "500 of the 1024"),
)


@row(3, "extra bytes at the end")
def _(bench: Bench) -> None:
    make = content("x.mrcs", lambda f: whole(f).read_bytes() + b"tail")
    images = bench.accepted(make, warns="4 bytes follow the last section")
    assert torch.equal(images.pixels, torch.from_numpy(values((5, 8, 8))))
    path = make(bench.fresh())
    assert "sound" in bench.cli("validate", path)
    assert "4 bytes follow" in bench.cli("validate", path, "--strict", code=3)
    stack(Path("s.mrcs"))
    said = bench.cli("convert", "--i", path, "--o", "y.mrcs", "--strict", code=3)
    assert "4 bytes follow" in said
    assert "--strict" in said
    assert not Path("y.mrcs").exists()
    assert "warning" in bench.cli("convert", "--i", path, "--o", "y.mrcs")


refusals(4, "unknown mode", (mrc((12, integers(99))), 3, "mode 99"), (mrc((12, integers(-1))), 3, "mode -1"))


@row(5, "modes 3, 4 and 101")
def _(bench: Bench) -> None:
    for mode in (3, 4):
        assert "expected" in bench.refused(mrc((12, integers(mode))), 3, "Fourier transform").lower()
    path = bench.fresh() / "four.mrc"
    packed = np.array([[0x21, 0x43], [0x65, 0x87]], np.uint8)
    write_array(values((1, 2, 4)), path, voxel_size=2.0)
    path.write_bytes(patched(path, path, (12, integers(101))).read_bytes()[:1024] + packed.tobytes())
    assert read_array(path).tolist() == [[[1, 2, 3, 4], [5, 6, 7, 8]]]


def big_endian(folder: Path) -> Path:
    import mrcfile

    with mrcfile.new(folder / "x.mrcs") as file:
        file.set_data(values((3, 8, 8)).astype(">f4"))
        file.voxel_size = 1.7
    return folder / "x.mrcs"


@row(6, "big-endian")
def _(bench: Bench) -> None:
    images = bench.accepted(big_endian)
    np.testing.assert_array_equal(images.pixels, values((3, 8, 8)))


@row(7, "wrong machine stamp")
def _(bench: Bench) -> None:
    images = bench.accepted(mrc((212, b"\x11\x11")), warns="machine stamp is wrong")
    np.testing.assert_array_equal(images.pixels, values((5, 8, 8)))


@row(8, "no machine stamp, no word MAP")
def _(bench: Bench) -> None:
    for change, words in (((208, bytes(4)), "lacks the word MAP"), ((212, bytes(4)), "machine stamp is missing")):
        np.testing.assert_array_equal(bench.accepted(mrc(change), warns=words).pixels, values((5, 8, 8)))
    longer = content("bad.mrcs", lambda f: patched(whole(f), f / "x", (208, bytes(8))).read_bytes() + b"xx")
    bench.refused(longer, 3, "no MRC file")


refusals(9, "negative and zero dimensions", (mrc((0, integers(-8))), 3, "-8 × 8 × 5"), (mrc((8, integers(0))), 3, "8 × 8 × 0"))


refusals(10, "huge dimensions", (mrc((0, integers(2**30, 2**30, 2**30))), 3, "ends after"), is_bounded=True)
refusals(
    11,
    "dimensions whose product overflows",
    (mrc((0, integers(65536, 65536, 2))), 3, "ends after"),
    (mrc((0, integers(2**31 - 1, 2**31 - 1, 2**31 - 1))), 3, "ends after"),
    is_bounded=True,
)
refusals(
    12,
    "extended header of an impossible length",
    (mrc((92, integers(2**31 - 1))), 3, "extended header"),
    (mrc((92, integers(10**6))), 3, "extended header"),
    (mrc((92, integers(-4))), 3, "extended header"),
    is_bounded=True,
)


@row(13, "one NaN or Inf pixel")
def _(bench: Bench) -> None:
    bench.refused(mrc((1024 + 4 * 70, reals(np.nan))), 3, "image 2 holds a value that is not finite")
    bench.refused(mrc((1024 + 4 * 200, reals(-np.inf))), 3, "image 4 holds a value that is not finite")
    folder = bench.fresh()
    table = project(folder)
    poison(folder / "particles.mrcs", 3, np.nan)
    assert "image 3 holds" in bench.cli("reconstruct", "--i", table, "--o", "refused", "--on-nan", "refuse", code=3)
    said = bench.cli("reconstruct", "--i", table, "--o", "dropped")
    assert "holds NaN or infinite values (1): 000003@particles.mrcs" in said
    assert "11 images used, 1 left out" in said
    assert torch.isfinite(read_map("dropped/run_class001.mrc").voxels).all()


refusals(14, "all pixels NaN", (mrc((1024, reals(*[np.nan] * 320))), 3, "image 1 holds"))
refusals(15, "an outlier that overflows its square", (mrc((1024 + 4 * 70, reals(3e38))), 3, "outlier"))


@row(16, "images without contrast")
def _(bench: Bench) -> None:
    folder = bench.fresh()
    table = project(folder)
    raw = bytearray((folder / "particles.mrcs").read_bytes())
    raw[1024 : 1024 + 4 * 24 * 24] = bytes(4 * 24 * 24)
    (folder / "particles.mrcs").write_bytes(raw)
    assert "1 particles have no contrast, the first in row 1" in bench.cli("validate", table)
    said = bench.cli("reconstruct", "--i", table, "--o", "some")
    assert "1 images without any contrast were left out" in said
    (folder / "particles.mrcs").write_bytes(bytes(raw[:1024]) + bytes(len(raw) - 1024))
    assert "no contrast" in bench.cli("validate", folder / "particles.mrcs", code=3)
    assert "no contrast" in bench.cli("reconstruct", "--i", table, "--o", "none", code=3)


@row(17, "odd box")
def _(bench: Bench) -> None:
    particles = bench.accepted(star(("1.7 8", "1.7 9"), shape=(9, 9)))
    assert particles.images.image_shape == (9, 9)
    table = project(bench.fresh(), box=25)
    assert "12 images used" in bench.cli("reconstruct", "--i", table, "--o", "job")


refusals(18, "particles that are not square", (star(shape=(8, 10)), 3, "must be square"))


@row(19, "cell of zero, NaN, or without cubes")
def _(bench: Bench) -> None:
    bench.refused(volume((40, reals(0, 0, 0))), 3, "--pixel-size", is_sound_file=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CryowalkWarning)
        assert cw.read("bad.mrc", pixel_size=1.5).voxel_size == 1.5
    bench.refused(volume((40, reals(np.nan))), 3, "not a number")
    bench.refused(volume((40, reals(-8.0))), 3, "negative")
    bench.refused(volume((40, reals(8.0 * 1.002))), 3, "not cubes", is_sound_file=True)


@row(20, "pixel size of the header against that of the STAR file")
def _(bench: Bench) -> None:
    assert "1.9 Å" in bench.refused(star(("1.7 8", "1.9 8")), 3, "1.7 Å a pixel")
    bench.accepted(star(("1.7 8", "1.708 8")), warns="1.7 Å a pixel, the STAR file 1.708 Å")
    bench.accepted(star())


@row(21, "axes in another order")
def _(bench: Bench) -> None:
    bench.refused(mrc((64, integers(3, 2, 1))), 3, "axes", is_sound_file=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CryowalkWarning)
        turned = cw.read(volume((64, integers(3, 2, 1)))(bench.fresh()))
    np.testing.assert_array_equal(turned.voxels * 2.0, values((4, 4, 4)).transpose(2, 1, 0))


refusals(22, "impossible axes", (mrc((64, integers(1, 1, 1))), 3, "axes"), (mrc((64, integers(1, 2, 7))), 3, "axes"))


@row(23, "wrong statistics in the header")
def _(bench: Bench) -> None:
    np.testing.assert_array_equal(bench.accepted(mrc((76, reals(5, 4, 3)))).pixels, values((5, 8, 8)))


@row(24, "labels that are no text")
def _(bench: Bench) -> None:
    make = mrc((220, integers(10)), (224, b"\x1b[31m" + bytes(range(128, 203))))
    bench.accepted(make)
    bench.cli("inspect", make(bench.fresh()))  # asserts that no control character is printed


@row(25, "signed and unsigned bytes in mode 0")
def _(bench: Bench) -> None:
    path = bench.fresh() / "bytes.mrcs"
    numbers = np.arange(-8, 8).reshape(1, 4, 4)
    write_array(numbers.astype(np.int8), path, voxel_size=2.0, kind="images", sample_format="int8")
    assert MrcStackReader(path).read([0]).tolist() == numbers.tolist()  # signed, as MRC2014 says
    patched(path, path, (152, integers(1146047817)), (156, integers(0)))  # IMOD's mark of unsigned bytes
    assert MrcStackReader(path).read([0]).tolist() == (numbers % 256).tolist()
    patched(path, path, (156, integers(1)))
    assert MrcStackReader(path).read([0]).tolist() == numbers.tolist()
    bench.cli("convert", "--i", path, "--o", "unsigned.mrcs", "--mode0", "unsigned")
    assert MrcStackReader("unsigned.mrcs").read([0]).tolist() == (numbers % 256).tolist()


@row(26, "16-bit reals")
def _(bench: Bench) -> None:
    path = bench.fresh() / "half.mrcs"
    write_array(values((2, 8, 8)), path, voxel_size=2.0, kind="images", sample_format="float16")
    np.testing.assert_array_equal(cw.read(path).pixels, values((2, 8, 8)).astype(np.float16).astype(np.float32))
    cw.write(cw.read(path), "whole.mrcs")
    assert (read_header(path).mode, read_header("whole.mrcs").mode) == (12, 2)  # written on request alone


def damaged_gzip(folder: Path) -> bytes:
    raw = bytearray(gzip.compress(whole(folder).read_bytes()))
    raw[len(raw) // 2 : len(raw) // 2 + 8] = b"damaged!"
    return bytes(raw)


refusals(
    27,
    "compressed files that are cut off",
    (content("bad.mrc.gz", lambda f: gzip.compress(whole(f).read_bytes())[:-300]), 3, "cut off"),
    (content("bad.mrc.gz", lambda f: gzip.compress(whole(f).read_bytes())[:20]), 3, "bad.mrc.gz"),
    (content("bad.mrc.bz2", lambda f: bz2.compress(whole(f).read_bytes())[:-300]), 3, "cut off"),
    (content("bad.mrc.gz", damaged_gzip), 3, "bad.mrc.gz"),
)
refusals(
    28,
    "gzip bomb",
    (content("bad.mrcs.gz", lambda f: gzip.compress(whole(f).read_bytes() + bytes(10**8))), 3, "inflates to more"),
    (content("bad.mrcs.bz2", lambda f: bz2.compress(whole(f).read_bytes() + bytes(10**8))), 3, "inflates to more"),
    is_bounded=True,
)


@row(29, "plain content under a name of compressed content")
def _(bench: Bench) -> None:
    for name in ("x.mrcs.gz", "x.mrcs.bz2"):
        images = bench.accepted(content(name, lambda f: whole(f).read_bytes()), warns="is not compressed")
        np.testing.assert_array_equal(images.pixels, values((5, 8, 8)))


@row(30, "stack or volume")
def _(bench: Bench) -> None:
    assert isinstance(bench.accepted(volume()), cw.Volume)
    as_stack = bench.accepted(volume((88, integers(0)), (36, integers(1)), (48, reals(2.0))))
    assert as_stack.pixels.shape == (4, 4, 4)
    several = cw.read(volume((88, integers(401)), (36, integers(2)), (48, reals(4.0)))(bench.fresh()))
    assert [one.voxels.shape for one in several] == [(2, 4, 4), (2, 4, 4)]  # a stack of volumes
    bench.refused(
        volume((88, integers(401)), (36, integers(3))), 3, "bad.mrc", is_sound_file=True
    )  # 4 sections are no volumes of 3
    with pytest.raises(cw.core.errors.InputError, match=r"whole.mrcs: .*stack"):
        read_map(whole(bench.fresh()))


refusals(
    31,
    "pages, pictures and text under an MRC name",
    (content("bad.mrc", HTML), 3, "HTML page (the error page of a download?)"),
    (content("bad.mrc", PNG), 3, "PNG"),
    (content("bad.mrc", b"hello " * 400), 3, "not an MRC file"),
)


@row(32, "TIFF and EER movies that are cut or corrupt")
def _(bench: Bench) -> None:
    from cryowalk.io.eer_encoder import EerMovieWriter

    folder = bench.fresh()
    frames = torch.from_numpy(np.random.default_rng(4).poisson(4.0, (3, 40, 40)).astype(np.float32))
    write_movie(iter(frames), folder / "whole.tif", pixel_size=0.66, sample_format="uint8")
    with EerMovieWriter(folder / "whole.eer", image_shape=(40, 40), pixel_size=0.7, raw_frames_per_frame=1) as writer:
        writer.write(frames.clamp(max=1))
    for name in ("whole.tif", "whole.eer"):
        raw = (folder / name).read_bytes()
        (folder / f"bad{name[5:]}").write_bytes(raw[: len(raw) // 2])
        text = refusal(lambda name=name: read_frames(folder / f"bad{name[5:]}"), 3)
        assert f"bad{name[5:]}" in text
        assert "validate" not in bench.cli("validate", f"bad{name[5:]}", code=3)
    raw = bytearray((folder / "whole.tif").read_bytes())
    middle = len(raw) // 2
    raw[middle - 60 : middle + 60] = b"\xff" * 120
    (folder / "bad.tif").write_bytes(raw)
    text = refusal(lambda: read_frames(folder / "bad.tif"), 3)
    assert "frame" in text, text


def read_frames(path: Path) -> None:
    movie = open_movie(path)
    for number in range(movie.count):
        movie.read([number])


@row(33, "gain reference of another size, or with zeros")
def _(bench: Bench) -> None:
    folder = bench.fresh()
    gain = torch.from_numpy(np.random.default_rng(2).normal(1, 0.1, (12, 20))).float()
    gain[2, 5] = 0
    write_gain(gain, folder / "gain.mrc")
    assert "12 × 20 px" in refusal(lambda: read_gain(folder / "gain.mrc", image_shape=(14, 20)), 3)
    assert "turned by 90°" in refusal(lambda: read_gain(folder / "gain.mrc", image_shape=(20, 12)), 3)
    for stored_as in ("multiplier", "divisor"):
        write_gain(gain, folder / "zeros.mrc", stored_as=stored_as)
        factors = read_gain(folder / "zeros.mrc", image_shape=(12, 20), stored_as=stored_as)
        assert torch.isfinite(factors).all()
        assert int((factors == 0).sum()) == 1
    write_array(np.zeros((12, 20), np.float32), folder / "none.mrc", voxel_size=1.0)
    assert "from 0 to 0" in refusal(lambda: read_gain(folder / "none.mrc", image_shape=(12, 20)), 3)


@row(34, "a file that shrinks while it is read")
def _(bench: Bench) -> None:
    path = whole(bench.fresh())
    reader = MrcStackReader(path)
    with path.open("r+b") as stream:
        stream.truncate(1024 + 300)
    assert reader.read([0]).shape == (1, 8, 8)
    text = refusal(lambda: reader.read([1, 2]), 4)
    assert "ended inside image 2 of 5" in text
    assert "whole.mrcs" in text
