"""The bench of the catalogue of hostile inputs: makers of broken files, and what each row may assert through the library and the command line."""

import tracemalloc
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from io_files import PDB, STAR, particle_set, patched, stack, values

import cryowalk as cw
from cryowalk.cli.main import exit_code
from cryowalk.core.errors import CryowalkError, CryowalkWarning
from cryowalk.io.mrc import write_array
from cryowalk.io.validate import faults, is_sound

Make = Callable[[Path], Path]
HTML = b"<!DOCTYPE html>\n<html><head><title>404 Not Found</title></head></html>\n"
PNG = b"\x89PNG\r\n\x1a\n" + bytes(2000)
STAR_ROW = "000002@s.mrcs 1 10001.5 9901.5 31.0 11.0 21.0 31.0 1.6 -2.6\n"


@dataclass(frozen=True)
class Row:
    """A row of the catalogue: what is wrong, and the assertions."""

    what: str
    check: Callable[["Bench"], None]


ROWS: dict[int, Row] = {}


def row(number: int, what: str):
    """Enter a function of the bench as a row of the catalogue."""

    def enter(check):
        assert number not in ROWS, f"row {number} stands twice"
        ROWS[number] = Row(what=what, check=check)
        return check

    return enter


def refusals(number: int, what: str, *cases: tuple[Make, int, str], **facts: bool) -> None:
    """Enter a row all of whose files end in one error each."""

    @row(number, what)
    def check(bench: Bench) -> None:
        for make, code, words in cases:
            bench.refused(make, code, words, **facts)


class Bench:
    """A folder, the working directory too, with ways to read its files by the library and by commands."""

    def __init__(self, folder: Path, capture: "pytest.CaptureFixture[str]") -> None:
        self.root, self.capture, self.number = folder, capture, 0
        self.folder = folder

    def fresh(self) -> Path:
        """A new empty folder, made the working directory."""
        import os

        self.number += 1
        self.folder = self.root / f"case{self.number}"
        self.folder.mkdir()
        os.chdir(self.folder)
        return self.folder

    def refused(self, make: Make, code: int, words: str, *, is_sound_file: bool = False, is_bounded: bool = False) -> str:
        """One error with this exit code, the file's name and these words, from the library and from `validate`; nothing in the folder is changed."""
        path = make(self.fresh())
        before = snapshot(self.folder)
        if is_bounded:
            tracemalloc.start()
        text = refusal(lambda: use(path), code)
        if is_bounded:
            assert tracemalloc.get_traced_memory()[1] < 5e7, "something was allocated because a header said so"
            tracemalloc.stop()
        assert words in text, text
        assert "bad" in text or path.name in text or "s.mrcs" in text, text
        if not is_sound_file:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", CryowalkWarning)
                found = faults(path)
            assert not is_sound(found), f"validate calls it sound: {found}"
            said = self.cli("validate", str(path), code=3)
            assert (
                words.split("“")[0][:40] in said
                or any(words in str(fault) for fault in found)
                or "values that are not finite" in said
            )
        assert snapshot(self.folder) == before
        return text

    def accepted(self, make: Make, *, warns: str = "") -> object:
        """What the library reads, whole; with this warning and no other, or none."""
        path = make(self.fresh())
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            thing = use(path)
        told = [str(warning.message) for warning in caught if issubclass(warning.category, CryowalkWarning)]
        assert all(warns and warns in text for text in told), told
        assert bool(told) == bool(warns), f"no warning of “{warns}”"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            assert is_sound(faults(path)), faults(path)
        return thing

    def cli(self, *words: object, code: int = 0) -> str:
        """What a command says on both streams, after it ended with this exit code and without a traceback."""
        self.capture.readouterr()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            got = exit_code([*map(str, words), "--threads", "1"])
        out, err = self.capture.readouterr()
        assert got == code, f"exit code {got}\n{out}\n{err}"
        assert "Traceback" not in err
        assert all(c.isprintable() or c in "\n\r\t" for c in out + err), "a control character reached the terminal"
        return out + err


def use(path: Path) -> object:
    """Read whatever it is, to the last pixel."""
    thing = cw.read(path)
    if isinstance(thing, cw.ParticleSet) and thing.images is not None:
        thing.images.read(range(thing.images.count))
    elif hasattr(thing, "read") and hasattr(thing, "count"):
        for number in range(thing.count):
            thing.read([number])
    return thing


def refusal(do: Callable[[], object], code: int) -> str:
    """The message of the one error of ours that this ends in."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CryowalkWarning)
        with pytest.raises(CryowalkError) as caught:
            do()
    text = str(caught.value)
    assert caught.value.exit_code == code, f"exit code {caught.value.exit_code}: {text}"
    assert all(character.isprintable() or character == "\n" for character in text)
    return text


def snapshot(folder: Path) -> dict[str, tuple[int, int]]:
    """Every file with its length and time of change."""
    return {p.relative_to(folder).as_posix(): (p.lstat().st_size, p.lstat().st_mtime_ns) for p in folder.rglob("*")}


def whole(folder: Path) -> Path:
    stack(folder / "whole.mrcs")
    return folder / "whole.mrcs"


def mrc(*changes: tuple[int, bytes]) -> Make:
    """A maker of a stack with bytes of its file changed."""
    return lambda folder: patched(whole(folder), folder / "bad.mrcs", *changes)


def volume(*changes: tuple[int, bytes]) -> Make:
    """A maker of a map with bytes of its file changed."""

    def make(folder: Path) -> Path:
        write_array(values((4, 4, 4)), folder / "whole.mrc", voxel_size=2.0)
        return patched(folder / "whole.mrc", folder / "bad.mrc", *changes)

    return make


def content(name: str, raw: Callable[[Path], bytes] | bytes) -> Make:
    """A maker of a file of this name with these bytes."""

    def make(folder: Path) -> Path:
        (folder / name).write_bytes(raw if isinstance(raw, bytes) else raw(folder))
        return folder / name

    return make


def star(*changes: tuple[str, str], shape: tuple[int, int] = (8, 8), text: str = STAR) -> Make:
    """A maker of a STAR file in which each old text became a new one, beside its stack."""

    def make(folder: Path) -> Path:
        stack(folder / "s.mrcs", shape=shape)
        made = text
        for old, new in changes:
            assert old in made, old
            made = made.replace(old, new, 1)
        (folder / "bad.star").write_bytes(made.encode("utf-8", "surrogateescape"))
        return folder / "bad.star"

    return make


def pdb(*changes: tuple[str, str], name: str = "bad.pdb") -> Make:
    """A maker of a PDB file in which each old text became a new one."""
    text = PDB
    for old, new in changes:
        assert old in text, old
        text = text.replace(old, new, 1)
    return content(name, text.encode())


def project(folder: Path, *, count: int = 12, box: int = 24) -> Path:
    """A STAR file of particles (noise) with poses, CTF and half sets, which commands can work on, beside its stack."""
    from cryowalk.io import write_particles

    write_particles(
        replace(particle_set(count, box, groups=1), extra={}, column_order=(), coordinates=None), folder / "particles.star"
    )
    return folder / "particles.star"


def poison(stack_file: Path, image: int, value: float, *, box: int = 24) -> None:
    """Put a value into an image (counted from 1) of a float stack."""
    import numpy as np

    raw = bytearray(stack_file.read_bytes())
    place = 1024 + 4 * box * box * (image - 1) + 40
    raw[place : place + 4] = np.array([value], "<f4").tobytes()
    stack_file.write_bytes(bytes(raw))
