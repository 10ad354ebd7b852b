"""The catalogue of bad inputs (reliability §6 A, B, D): each ends in one error of ours, with its exit code, naming the file, in printable words."""

import bz2
import gzip
import re
import tracemalloc
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from io_files import PDB, STAR, integers, patched, reals, stack, values

import cryowalk as cw
from cryowalk.core.errors import CryowalkError, CryowalkWarning
from cryowalk.io.mrc import write_array
from cryowalk.io.validate import faults, is_sound

HTML = b"<!DOCTYPE html>\n<html><head><title>404 Not Found</title></head></html>\n"
PNG = b"\x89PNG\r\n\x1a\n" + bytes(2000)


def use(path: Path) -> None:
    """Read whatever it is, to the last pixel."""
    thing = cw.read(path)
    if isinstance(thing, cw.ParticleSet) and thing.images is not None:
        thing.images.read(range(thing.images.count))


def mrc(*changes: tuple[int, bytes]) -> Callable[[Path], Path]:
    """A maker of a stack with bytes of its file changed."""
    return lambda folder: patched(whole(folder), folder / "bad.mrcs", *changes)


def whole(folder: Path) -> Path:
    stack(folder / "whole.mrcs")
    return folder / "whole.mrcs"


def volume(*changes: tuple[int, bytes]) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        write_array(values((4, 4, 4)), folder / "whole.mrc", voxel_size=2.0)
        return patched(folder / "whole.mrc", folder / "bad.mrc", *changes)

    return make


def content(name: str, raw: Callable[[Path], bytes] | bytes) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        (folder / name).write_bytes(raw if isinstance(raw, bytes) else raw(folder))
        return folder / name

    return make


def star(old: str = "", new: str = "", *, count: int = 1) -> Callable[[Path], Path]:
    """A maker of a STAR file in which `old` became `new`, beside its stack."""

    def make(folder: Path) -> Path:
        stack(folder / "s.mrcs")
        assert old in STAR
        (folder / "bad.star").write_text(STAR.replace(old, new, count) if old else new)
        return folder / "bad.star"

    return make


def star_with(images: dict[str, tuple[int, int]], **changes: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        path = star(*next(iter(changes.items())) if changes else ("", STAR))(folder)
        for name, shape in images.items():
            stack(folder / name, shape=shape)
        return path

    return make


def two_boxes(folder: Path) -> Path:
    path = star("000003@s.mrcs", "000003@t.mrcs")(folder)
    path.write_text(path.read_text().replace("1.7 8\n", "1.7 0\n").replace("_rlnImageSize #7", "_rlnOther #7"))
    stack(folder / "t.mrcs", shape=(10, 10))
    return path


def pdb(old: str, new: str) -> Callable[[Path], Path]:
    assert old in PDB
    return content("bad.pdb", PDB.replace(old, new).encode())


ROW = "000002@s.mrcs 1 10001.5 9901.5 31.0 11.0 21.0 31.0 1.6 -2.6\n"
# whole MRC files that are no maps of cubic voxels, or no stacks in the usual order
SOUND = {"A19 zero cell", "A19 anisotropic cell", "A21 stack with turned axes", "A30 stack of volumes"}
CATALOGUE = {
    # A: MRC files and images
    "A1 truncated data": (content("bad.mrcs", lambda f: whole(f).read_bytes()[:-100]), 3, "inside section 5 of 5"),
    "A2 empty": (content("bad.mrcs", b""), 3, "empty"),
    "A2 truncated header": (content("bad.mrcs", lambda f: whole(f).read_bytes()[:500]), 3, "500 of the 1024"),
    "A4 mode 99": (mrc((12, integers(99))), 3, "mode 99"),
    "A5 mode 3": (mrc((12, integers(3))), 3, "Fourier transform"),
    "A5 mode 4": (mrc((12, integers(4))), 3, "Fourier transform"),
    "A8 no MAP and a wrong length": (
        content("bad.mrcs", lambda f: patched(whole(f), f / "x", (208, bytes(8))).read_bytes() + b"xx"),
        3,
        "no MRC file",
    ),
    "A9 negative dimension": (mrc((0, integers(-8))), 3, "-8 × 8 × 5"),
    "A9 zero dimension": (mrc((8, integers(0))), 3, "8 × 8 × 0"),
    "A10 huge dimensions": (mrc((0, integers(2**30, 2**30, 2**30))), 3, "ends after"),
    "A11 overflowing dimensions": (mrc((0, integers(65536, 65536, 2))), 3, "ends after"),
    "A12 huge extended header": (mrc((92, integers(2**31 - 1))), 3, "extended header"),
    "A12 long extended header": (mrc((92, integers(10**6))), 3, "extended header"),
    "A12 negative extended header": (mrc((92, integers(-4))), 3, "extended header"),
    "A13 one NaN": (mrc((1024 + 4 * 70, reals(np.nan))), 3, "image 2 holds a value that is not finite"),
    "A13 one Inf": (mrc((1024 + 4 * 200, reals(-np.inf))), 3, "image 4 holds a value that is not finite"),
    "A14 all NaN": (mrc((1024, reals(*[np.nan] * 320))), 3, "image 1 holds"),
    "A15 outlier": (mrc((1024 + 4 * 70, reals(3e38))), 3, "outlier"),
    "A18 rectangular particles": (star_with({"s.mrcs": (8, 10)}), 3, "must be square"),
    "A19 zero cell": (volume((40, reals(0, 0, 0))), 3, "--pixel-size"),
    "A19 NaN cell": (volume((40, reals(np.nan))), 3, "not a number"),
    "A19 anisotropic cell": (volume((40, reals(8.1))), 3, "not cubes"),
    "A20 header and STAR pixel size": (star("1.7 8", "1.9 8"), 3, "1.7 Å a pixel"),
    "A21 stack with turned axes": (mrc((64, integers(3, 2, 1))), 3, "axes"),
    "A22 impossible axes": (mrc((64, integers(1, 1, 1))), 3, "axes"),
    "A27 truncated gzip": (content("bad.mrc.gz", lambda f: gzip.compress(whole(f).read_bytes())[:-300]), 3, "cut off"),
    "A27 truncated gzip header": (content("bad.mrc.gz", lambda f: gzip.compress(whole(f).read_bytes())[:20]), 3, "bad.mrc.gz"),
    "A27 truncated bzip2": (content("bad.mrc.bz2", lambda f: bz2.compress(whole(f).read_bytes())[:-300]), 3, "cut off"),
    "A27 damaged gzip": (content("bad.mrc.gz", lambda f: patched_gzip(f)), 3, "bad.mrc.gz"),
    "A28 gzip bomb": (
        content("bad.mrcs.gz", lambda f: gzip.compress(whole(f).read_bytes() + bytes(10**8))),
        3,
        "inflates to more",
    ),
    "A30 stack of volumes": (volume((88, integers(401))), 3, "stack of volumes"),
    "A31 HTML page": (content("bad.mrc", HTML), 3, "HTML page (the error page of a download?)"),
    "A31 PNG": (content("bad.mrc", PNG), 3, "PNG"),
    "A31 text": (content("bad.mrc", b"hello " * 400), 3, "not an MRC file"),
    "A absent": (lambda f: f / "bad.mrc", 3, "no such file"),
    "A folder": (lambda f: (f / "bad.mrc").mkdir() or f / "bad.mrc", 3, "folder"),
    "A name too long": (lambda f: f / ("bad" + "x" * 5000), 3, "cannot be opened"),
    "A null in the name": (lambda f: Path(f"{f}/bad\0x"), 3, "cannot be opened"),
    # B: STAR tables
    "B35 short row": (star(" 1.6 -2.6\n", "\n"), 3, "line 30: the row has 8 values, the loop has 10"),
    "B36 long row": (star("1.6 -2.6", "1.6 -2.6 7"), 3, "line 30: the row has 11 values"),
    "B36 unequal rows that add up": (star(" -2.6\n000003", "\n-2.6 000003"), 3, "line 30: the row has 9 values"),
    "B36 lost label": (star("_rlnOriginYAngst #10\n", ""), 3, "line 28: the row has 10 values, the loop has 9"),
    "B36 missing column": (star("_rlnVoltage #3", "_rlnVoltage2 #3"), 3, "lacks rlnVoltage"),
    "B38 duplicate label": (star("_rlnOriginYAngst", "_rlnOriginXAngst"), 3, "stands twice"),
    "B39 no optics table": (lambda f: star("", STAR[STAR.index("data_particles") :])(f), 3, "optics table"),
    "B39 empty optics table": (star("1 one 300.0 2.7 0.1 1.7 8\n", ""), 3, "optics table has no rows"),
    "B39 unknown optics group": (star("000002@s.mrcs 1", "000002@s.mrcs 7"), 3, "line 30: optics group 7"),
    "B39 optics group twice": (
        star("1.7 8\n", "1.7 8\n1 two 300.0 2.7 0.1 1.7 8\n"),
        3,
        "line 15: optics group 1 is defined twice",
    ),
    "B42 index just beyond the stack": (star("000002@s", "000006@s"), 3, "line 30: image 6 of"),
    "B42 index far beyond the stack": (star("000002@s", "4000000000@s"), 3, "line 30: image 4000000000 of"),
    "B43 index 0": (star("000002@s", "000000@s"), 3, "line 30: rlnImageName is “000000@s.mrcs”"),
    "B43 negative index": (star("000002@s", "-2@s"), 3, "line 30: rlnImageName"),
    "B43 index no number": (star("000002@s", "two@s"), 3, "line 30: rlnImageName"),
    "B43 no stack name": (star("000002@s.mrcs", "000002@"), 3, "line 30: rlnImageName"),
    "B44 missing stack": (star("000002@s.mrcs", "000002@gone.mrcs"), 3, "line 30: 1 of 2 image stacks are not there: gone.mrcs"),
    "B48 NaN defocus": (star("10001.5", "nan"), 3, "line 30: rlnDefocusU is “nan”"),
    "B48 infinite defocus": (star("10001.5", "inf"), 3, "line 30: rlnDefocusU"),
    "B48 text defocus": (star("10001.5", "abc"), 3, "line 30: rlnDefocusU is “abc”"),
    "B48 NaN angle": (star("11.0 21.0", "11.0 nan"), 3, "line 30: rlnAngleTilt"),
    "B49 decimal comma": (star("10001.5", "10001,5"), 3, "decimal comma"),
    "B50 0 kV": (star("300.0", "0.0"), 3, "line 14: rlnVoltage is “0.0”"),
    "B50 pixel size 0": (star("1.7 8", "0 8"), 3, "rlnImagePixelSize"),
    "B50 negative pixel size": (star("1.7 8", "-1.7 8"), 3, "rlnImagePixelSize"),
    "B50 amplitude contrast above 1": (star("2.7 0.1", "2.7 1.1"), 3, "rlnAmplitudeContrast"),
    "B51 volts": (star("300.0", "300000"), 3, "volts in place of kilovolts"),
    "B51 Cs in Å": (star("2.7 0.1", "2.7e7 0.1"), 3, "Å in place of millimetres"),
    "B51 pixel size in metres": (star("1.7 8", "1.7e-10 8"), 3, "nanometres or metres"),
    "B51 defocus in micrometres": (
        lambda f: star("", re.sub(r"1000(\d)\.5 990(\d)\.5", r"1.000\1 0.990\2", STAR))(f),
        3,
        "in place of Å",
    ),
    "B52 box mismatch": (star("1.7 8", "1.7 16"), 3, "rlnImageSize of optics group “one” is 16, the images are 8 px"),
    "B52 two boxes": (two_boxes, 3, "one box size"),
    "B54 empty": (content("bad.star", b""), 3, "empty"),
    "B54 binary": (content("bad.star", bytes(range(256))), 3, "bad.star"),
    "B55 open quote": (star("000002@s.mrcs", "'000002@s.mrcs"), 3, "line 30: a quote is opened"),
    "B56 control characters": (star("000002@s.mrcs", "000002@\x1b[31mred.mrcs"), 3, "\\x1b[31mred.mrcs"),
    "B57 very long name": (star("000002@s.mrcs", "000002@" + "x" * 5000), 3, "line 30: 1 of 2 image stacks are not there"),
    "B58 stray block in a loop": (star(ROW, f"data_\n{ROW}"), 3, "line 31: neither a label"),
    "B59 no particles": (star("", STAR[: STAR.index("000001@")]), 3, "holds no particles"),
    "B HTML page": (content("bad.star", HTML), 3, "HTML"),
    "B half set 3": (star("_rlnOriginYAngst", "_rlnRandomSubset"), 3, "rlnRandomSubset"),
    "B group no number": (star("000002@s.mrcs 1", "000002@s.mrcs one"), 3, "line 30: rlnOpticsGroup is “one”"),
    "B group 1.5": (star("000002@s.mrcs 1", "000002@s.mrcs 1.5"), 3, "whole number"),
    "B truncated stack": (
        lambda f: (star("one", "one")(f), (f / "s.mrcs").write_bytes((f / "s.mrcs").read_bytes()[:-9]))[0],
        3,
        "s.mrcs: the file ends after",
    ),
    "B NaN in the stack": (
        lambda f: (star("one", "one")(f), patched(f / "s.mrcs", f / "s.mrcs", (1024, reals(np.nan))))[0],
        3,
        "s.mrcs: image 1",
    ),
    # D: structures
    "D88 unknown element": (pdb("          CA\n", "           X\n"), 3, "no known element"),
    "D89 NaN coordinate": (pdb("  11.104", "     nan"), 3, "line 1: a coordinate is not finite"),
    "D90 blank coordinate": (pdb("  11.104", "        "), 3, "line 1: an atom without three coordinates"),
    "D91 empty": (content("bad.pdb", b""), 3, "empty"),
    "D91 header only": (content("bad.pdb", b"HEADER    X\nEND\n"), 3, "no atoms"),
    "D91 binary": (content("bad.pdb", b"ATOM  \0\1\2"), 3, "bad.pdb"),
    "D92 truncated ATOM line": (content("bad.pdb", PDB.encode()[:40]), 3, "line 1: an atom without three coordinates"),
    "D93 mmCIF without columns": (content("bad.cif", b"data_x\nloop_\n_atom_site.id\n_atom_site.type_symbol\n1 C\n"), 3, "lacks"),
    "D94 mmCIF broken loop": (
        content("bad.cif", b"data_x\n_entry.id x\nloop_\n_atom_site.id\n_atom_site.type_symbol\n1 C 2\n"),
        3,
        "cannot be read",
    ),
    "D94 mmCIF open quote": (content("bad.cif", b"data_x\n_entry.id 'x\n_b 1\n"), 3, "cannot be read"),
    "D96 no atoms but a cell": (content("bad.cif", b"data_x\n_entry.id x\n_cell.length_a 1\n"), 3, "no atoms"),
    "D HTML page": (content("bad.cif", HTML), 3, "HTML"),
}


def patched_gzip(folder: Path) -> bytes:
    raw = bytearray(gzip.compress(whole(folder).read_bytes()))
    raw[len(raw) // 2 : len(raw) // 2 + 8] = b"damaged!"
    return bytes(raw)


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    (tmp_path / "a").mkdir()
    monkeypatch.chdir(tmp_path / "a")


@pytest.mark.parametrize("name", CATALOGUE)
def test_each_bad_input_ends_in_one_clear_error(tmp_path, name):
    make, exit_code, words = CATALOGUE[name]
    path = make(tmp_path / "a")
    before = {p.name: p.stat().st_mtime_ns for p in (tmp_path / "a").iterdir()}
    tracemalloc.start()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CryowalkWarning)
        with pytest.raises(CryowalkError) as caught:
            use(path)
    assert tracemalloc.get_traced_memory()[1] < 5e7, "something was allocated because a header said so"
    tracemalloc.stop()
    message = str(caught.value)
    assert caught.value.exit_code == exit_code
    assert words in message, message
    assert "bad" in message or "s.mrcs" in message, message
    assert all(character.isprintable() or character == "\n" for character in message)
    assert {p.name: p.stat().st_mtime_ns for p in (tmp_path / "a").iterdir()} == before
    found = faults(path)
    assert name in SOUND or not is_sound(found), f"validate calls it sound: {found}"


VALID = {
    "A6 big-endian": lambda f: big_endian(f),
    "A7 wrong machine stamp": mrc((212, b"\x11\x11")),
    "A8 no MAP and the right length": mrc((208, bytes(4))),
    "A3 extra bytes": content("x.mrcs", lambda f: whole(f).read_bytes() + b"tail"),
    "A23 wrong statistics": mrc((76, reals(5, 4, 3))),
    "A24 labels that are no text": mrc((220, integers(10)), (224, bytes(range(128, 208)))),
    "A29 plain content under .gz": content("x.mrcs.gz", lambda f: whole(f).read_bytes()),
    "A17 odd box": star_with({"s.mrcs": (9, 9)}, **{"1.7 8": "1.7 9"}),
    "B53 CRLF": lambda f: rewritten(f, lambda text: text.replace("\n", "\r\n")),
    "B53 tabs": lambda f: rewritten(f, lambda text: text.replace(" ", "\t")),
    "B53 byte-order mark": lambda f: rewritten(f, lambda text: "\ufeff" + text),
    "B58 comment in a loop": star(ROW, "# a comment\n" + ROW),
    "B60 one particle": star("", STAR[: STAR.index("000002@")]),
    "B comment after a row": star("-2.6\n", "-2.6 # seen twice\n"),
    "B quoted image name": star("000002@s.mrcs", '"000002@s.mrcs"'),
    "B whole numbers with a point": star("000002@s.mrcs 1", "000002@s.mrcs 1.000000"),
    "B exponents": star("10001.5", "1.00015e4"),
}


def big_endian(folder: Path) -> Path:
    import mrcfile

    with mrcfile.new(folder / "x.mrcs") as mrc_file:
        mrc_file.set_data(values((3, 8, 8)).astype(">f4"))
        mrc_file.voxel_size = 1.7
    return folder / "x.mrcs"


def rewritten(folder: Path, change: Callable[[str], str]) -> Path:
    stack(folder / "s.mrcs")
    (folder / "x.star").write_bytes(change(STAR).encode())
    return folder / "x.star"


@pytest.mark.parametrize("name", VALID)
def test_unusual_but_valid_inputs_are_read(tmp_path, name):
    path = VALID[name](tmp_path / "a")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CryowalkWarning)
        use(path)
    assert is_sound(faults(path)), faults(path)


@pytest.mark.parametrize("name", ["a#b.mrcs", "a b.mrcs", "ünï.mrcs", "it's.mrcs", "-dash.mrcs"])
def test_stacks_with_odd_names(tmp_path, name):
    path = star("", STAR.replace("s.mrcs", f"@{name}").replace("@@", "@"))(tmp_path / "a")
    path.write_text(
        "\n".join(
            f'"{line.split(" 1 ")[0]}" 1 {line.split(" 1 ")[1]}' if "@" in line else line
            for line in STAR.replace("s.mrcs", name).splitlines()
        )
    )
    stack(tmp_path / "a" / name)
    use(path)


def test_no_permission_is_the_environment_s_fault(tmp_path):
    import os

    path = whole(tmp_path / "a")
    path.chmod(0)
    if os.access(path, os.R_OK):
        pytest.skip("this user may read everything")
    with pytest.raises(CryowalkError) as caught:
        use(path)
    assert caught.value.exit_code == 4
