"""Checks of U13: headers, indices, tables and a sync with an archive on this machine."""

import random
import re
import struct
import tempfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from http.client import HTTPException
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from cryowalk.core.errors import CryowalkError
from cryowalk.course.exercise import Exercise, Explanation, draw, number_check, property_check
from cryowalk.course.fake_archive import FakeArchive, broken_off

MOVIE_BYTES = 40 * 4096 * 4096 * 2
_KINDS = {0: "i1", 1: "i2", 2: "f4", 6: "u2", 12: "f2"}


class Sample(NamedTuple):
    """An MRC file: its bytes, and what they hold."""

    content: bytes
    array: np.ndarray
    voxel_size: float


def header_numbers(seed: int) -> dict[str, Any]:
    """Box, mode and voxel size (Å) of the learner's own header."""
    source = draw(seed, "U13.1")
    return {
        "box": source.choice((144, 192, 224, 288, 320)),
        "mode": source.choice((0, 1, 2, 6, 12)),
        "voxel_size": source.choice((0.825, 1.06, 1.35, 1.77, 2.04)),
    }


def mrc_header(
    size: tuple[int, int, int], mode: int, voxel_size: float, *, order: str = "<", extended: int = 0, sampling: int | None = None
) -> bytes:
    """The 1024 bytes of a header of (columns, rows, sections); `sampling` is the number of intervals that the cell is told for, if not the columns."""
    columns, rows, sections = size
    intervals = (sampling or columns, rows, sections)
    cell = tuple(voxel_size * count for count in intervals)
    start = struct.pack(order + "10i6f3i3f2i", *size, mode, 0, 0, 0, *intervals, *cell, 90, 90, 90, 1, 2, 3, 0, 0, 0, 1, extended)
    rest = struct.pack(order + "8s4si", b"", b"CWLK" if extended else b"MRCO", 20140).ljust(100, b"\0")
    end = struct.pack(order + "3f", 0, 0, 0) + b"MAP " + (b"\x44\x44\0\0" if order == "<" else b"\x11\x11\0\0")
    label = b"made for unit U13"
    return (start + rest + end + struct.pack(order + "fi", 0, 1) + label.ljust(80)).ljust(1024, b"\0")


def header_bytes(seed: int) -> bytes:
    """The learner's own header."""
    mine = header_numbers(seed)
    return mrc_header((mine["box"], mine["box"], 40), mine["mode"], mine["voxel_size"])


def samples(seed: int) -> list[Sample]:
    """MRC files of all modes, one with the other byte order, one with an extended header, one of which the cell is that of a larger map."""
    source = np.random.default_rng(seed)
    found = []
    for number, (mode, kind) in enumerate(_KINDS.items()):
        size = (6 + number, 5, 4)
        values = (source.normal(size=size[::-1]) * 50).clip(-120, 120)
        array = np.abs(values).astype(kind) if kind == "u2" else values.astype(kind)
        order = ">" if mode == 1 else "<"
        extended = 128 * (mode == 2)
        sampling = 20 if mode == 12 else None
        head = mrc_header(size, mode, 1.37 + 0.1 * number, order=order, extended=extended, sampling=sampling)
        content = head + bytes([255]) * extended + array.astype(order + kind).tobytes()
        found.append(Sample(content, array, 1.37 + 0.1 * number))
    return found


def _own_reader(answer: Callable[..., Any], seed: int) -> str | None:
    with tempfile.TemporaryDirectory() as folder:
        for number, sample in enumerate(samples(draw(seed, "U13.2").randrange(2**31))):
            path = Path(folder) / f"{number}.mrc"
            path.write_bytes(sample.content)
            problem = _reader_problem(answer(path), sample, tuple(_KINDS)[number])
            if problem:
                return problem
    return None


def _reader_problem(found: Any, sample: Sample, mode: int) -> str | None:
    if not isinstance(found, tuple) or len(found) != 2:
        return "read_mrc should return a pair: the array and the voxel size."
    array, size = np.asarray(found[0]), found[1]
    where = f"In a file of mode {mode}"
    if array.shape == sample.array.shape[::-1]:
        return f"{where} the axes are in the order of the header. Which of them changes fastest in the file?"
    if array.shape != sample.array.shape:
        return f"{where} the shape should be {sample.array.shape} (sections, rows, columns), not {array.shape}."
    if array.dtype.newbyteorder("=") != sample.array.dtype:
        return f"{where} the numbers are of another type than {sample.array.dtype}."
    if not np.array_equal(array, sample.array):
        if mode == 1:
            return f"{where} the values are wrong. This file was written on a machine with the other byte order: what tells it?"
        if mode == 2:
            return f"{where} the values are wrong. Where do the pixels begin, if there is an extended header?"
        return f"{where} the values are not those of the file."
    if abs(float(size) - sample.voxel_size) > 1e-6:
        if mode == 12:
            return f"{where} the voxel size is wrong: the cell belongs to so many intervals as the header says, which need not be the columns."
        return f"{where} the voxel size is not right to a millionth."
    return None


class Stack(NamedTuple):
    """Images, and the records of some of them as cryoSPARC writes them."""

    images: np.ndarray
    records: np.ndarray


def stack(seed: int) -> Stack:
    """Twelve images of 4 × 4 pixels, and records that name all but two of them, in another order."""
    source = draw(seed, "U13.3")
    images = np.random.default_rng(seed).normal(size=(12, 4, 4)).astype("f4")
    kept = sorted(source.sample(range(1, 11), 8))
    order = [0, *source.sample(kept, len(kept)), 11]
    records = np.zeros(len(order), dtype=[("uid", "u8"), ("blob/path", "S40"), ("blob/idx", "u4")])
    records["uid"] = np.arange(len(order)) + 1000
    records["blob/path"] = b">J12/extract/batch_000.mrc"
    records["blob/idx"] = order
    return Stack(images, records)


def image_of(name: str, images: np.ndarray) -> np.ndarray | None:
    """The image that RELION would take for a name such as 000003@stack.mrcs; None where there is none."""
    found = re.fullmatch(r"(\d+)@.+", name)
    number = int(found[1]) if found else 0
    return images[number - 1] if 1 <= number <= len(images) else None


def _names(answer: Callable[..., Any], seed: int) -> str | None:
    mine = stack(seed)
    names = answer(mine.records.copy())
    if not hasattr(names, "__len__") or isinstance(names, str) or len(names) != len(mine.records):
        return f"I expected {len(mine.records)} names, one a record."
    taken = [image_of(str(name), mine.images) for name in names]
    for place, words in ((0, "first"), (-1, "last")):
        if taken[place] is None:
            return f"The name of the {words} particle, {names[place]!r}, is one that RELION cannot find."
        if not np.array_equal(taken[place], mine.images[mine.records["blob/idx"][place]]):  # type: ignore[arg-type]  # an array here
            return f"RELION would take another image for the {words} particle."
    for image, index in zip(taken, mine.records["blob/idx"], strict=True):
        if image is None or not np.array_equal(image, mine.images[index]):
            return "The first and the last particle are right, one in between is not."
    paths = {str(name).partition("@")[2] for name in names}
    if paths != {"J12/extract/batch_000.mrcs"}:
        return "The path begins with a sign that is none of it, or ends as a map, which RELION reads as one volume and not as a stack."
    return None


def tables(seed: int) -> dict[str, dict[str, list[str]]]:
    """Two tables of RELION 3.1: optics groups and particles, with texts that are easily spoilt."""
    source = draw(seed, "U13.4")
    groups = source.randrange(2, 4)
    optics = {
        "rlnOpticsGroup": [str(number + 1) for number in range(groups)],
        "rlnOpticsGroupName": [f"shift {number}" for number in range(groups)],
        "rlnVoltage": ["300.000000"] * groups,
        "rlnImagePixelSize": [f"{source.choice((0.885, 1.06)):.6f}"] * groups,
    }
    count = source.randrange(3, 7)
    particles = {
        "rlnImageName": [f"{number + 1:06d}@my stack.mrcs" for number in range(count)],
        "rlnMicrographName": [source.choice(("007", "1e3", "mic.mrc")) for _ in range(count)],
        "rlnOpticsGroup": [str(1 + source.randrange(groups)) for _ in range(count)],
        "rlnDefocusU": [f"{source.uniform(8e3, 2e4):.6f}" for _ in range(count)],
        "cwNote": [source.choice(("", "good", "a b")) for _ in range(count)],
    }
    return {"optics": optics, "particles": particles}


def _round_trip(answer: Any, seed: int) -> str | None:
    if not isinstance(answer, tuple) or len(answer) != 2 or not all(callable(part) for part in answer):
        return "I expected a pair of functions: (to_text, from_text)."
    to_text, from_text = answer
    for number in range(3):
        blocks = tables(draw(seed, f"U13.4.{number}").randrange(2**31))
        text = to_text(blocks)
        if not isinstance(text, str):
            return "to_text should return a text."
        problem = _as_the_library_reads(text, blocks) or _same_tables(from_text(text), blocks, "Your own reader")
        problem = problem or _same_tables(
            from_text(_as_the_library_writes(blocks)), blocks, "Of a file that another program wrote, your reader"
        )
        if problem:
            return problem
    return None


def _same_tables(found: Any, blocks: Mapping[str, Mapping[str, list[str]]], who: str) -> str | None:
    if not isinstance(found, Mapping) or list(found) != list(blocks):
        return f"{who} finds the tables {list(found) if isinstance(found, Mapping) else found!r}: I expected {list(blocks)}."
    for name, block in blocks.items():
        if list(found[name]) != list(block):
            return f"{who} finds other columns in {name!r}, or in another order."
        for column, values in block.items():
            if list(map(str, found[name][column])) != values:
                return f"{who} spoils the column {column} of {name!r}: a text such as '007' or one with a blank must come back as it was."
    return None


def _as_the_library_reads(text: str, blocks: Mapping[str, Mapping[str, list[str]]]) -> str | None:
    from cryowalk.io.star import read_star

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "written.star"
        path.write_text(text)
        try:
            star = read_star(path)
        except CryowalkError as error:
            return f"Other programs cannot read your text: {error.what}."
        found = {block.name: {column: list(block.columns[column]) for column in block.columns} for block in star.blocks}
    return _same_tables(found, blocks, "Of your text, another program")


def _as_the_library_writes(blocks: Mapping[str, Mapping[str, list[str]]]) -> str:
    from cryowalk.io.star import StarBlock, StarFile, write_star

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "other.star"
        write_star(
            StarFile(
                blocks=tuple(
                    StarBlock(name=name, columns={column: tuple(values) for column, values in block.items()})
                    for name, block in blocks.items()
                )
            ),
            path,
        )
        return path.read_text()


def contents(source: random.Random) -> dict[str, bytes]:
    """Files of a project, in folders, of different lengths."""
    names = ["readme.txt", "maps/half1.mrc", "maps/half2.mrc", "maps/masks/body 1.mrc", "particles/run.star", "empty.txt"]
    return {name: b"" if name == "empty.txt" else source.randbytes(source.randrange(2000, 20000)) for name in names}


def _sync(answer: Callable[..., Any], seed: int) -> str | None:
    source = draw(seed, "U13.5")
    secret, log = f"tk{source.randrange(10**15):015d}", []
    with FakeArchive(contents(source), token=secret, page=2, limit=300) as archive, tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)

        def run() -> None:
            answer(archive.api, folder, secret, lambda *words: log.append(" ".join(map(str, words))))

        run()
        problem = _differs(archive, folder, "After the first run")
        if problem:
            return problem
        first = archive.transferred
        run()
        if archive.transferred > first:
            return f"The second run transferred {archive.transferred - first} bytes of files that were there already."
        problem = _after_damage(archive, folder, run)
        if problem:
            return problem
    if any(secret in line for line in log):
        return "The log holds the token: who reads the log could act in your name."
    return None if log else "The log says nothing. A line for each file that came would do."


def _differs(archive: FakeArchive, folder: Path, when: str) -> str | None:
    for name, content in archive.files.items():
        path = folder / name
        if not path.is_file():
            missing = sum(not (folder / each).is_file() for each in archive.files)
            return f"{when} {missing} of {len(archive.files)} files are missing. Lists have pages, and folders lie in folders."
        if path.read_bytes() != content:
            return f"{when} {name} is not what the archive holds."
    return None


def _after_damage(archive: FakeArchive, folder: Path, run: Callable[[], None]) -> str | None:
    """What is wrong when a file was damaged here, and the connection breaks while it is fetched again."""
    name = "maps/half1.mrc"
    damaged = bytearray(archive.files[name])
    damaged[100] ^= 1
    (folder / name).write_bytes(bytes(damaged))
    archive.misbehaviour[name] = [broken_off(0.5)]
    with suppress(OSError, HTTPException, ValueError, CryowalkError):  # an error is a good answer to a connection that broke
        run()
    held = (folder / name).read_bytes() if (folder / name).is_file() else archive.files[name]
    if held == bytes(damaged) and not archive.misbehaviour[name]:
        held = archive.files[name]  # the damaged one is still there, and what arrived in part was not put in its place
    if held == bytes(damaged):
        return "One bit of a file here was changed, its length was not. The sync did not notice."
    if held != archive.files[name]:
        return "The connection broke in the middle of a file, and half of it now lies under its name as if it were whole."
    run()
    return _differs(archive, folder, "After a file was damaged and fetched again")


EXERCISES = (
    Exercise(
        id="U13.1",
        stream="blur",
        kind="quiz",
        task="Box, mode and voxel size of your own header, from its bytes.",
        parameters=lambda seed: {"header": header_bytes(seed).hex()},
        check=number_check(lambda seed: tuple(header_numbers(seed).values()), relative=1e-3),
        hints=(
            "Four bytes make a number, the lowest first. The first three numbers are columns, rows and sections.",
            "The fourth number is the mode. The voxel size is not written anywhere: cell length (byte 40) divided by intervals (byte 28).",
            "The cell's length is a floating-point number: np.frombuffer(dump, '<f4', 1, offset=40).",
        ),
    ),
    Exercise(
        id="U13.2",
        stream="sharpen",
        kind="code",
        task="A reader of MRC files of modes 0, 1, 2, 6 and 12: the array and the voxel size.",
        check=property_check(_own_reader),
        hints=(
            "np.frombuffer with a dtype, a count and an offset does all the work; columns change fastest.",
            "The machine stamp at byte 212 tells the byte order: 0x44 is little-endian, 0x11 big-endian. The extended header's length stands at byte 92.",
            "The voxel size is the cell's length along x (byte 40, float) over the number of intervals along x (byte 28).",
        ),
    ),
    Exercise(
        id="U13.3",
        stream="sharpen",
        kind="debug",
        task="Image names for RELION from records of cryoSPARC.",
        check=property_check(_names),
        hints=(
            "Print the name of the first particle. Is there an image of that number?",
            "cryoSPARC counts from 0, RELION from 1.",
            "The path begins with '>' when it was exported, and a stack must end in .mrcs for RELION.",
        ),
    ),
    Exercise(
        id="U13.4",
        stream="sharpen",
        kind="code",
        task="Tables to STAR text and back, with not one text changed.",
        check=property_check(_round_trip),
        hints=(
            "A loop: data_NAME, an empty line, loop_, one line _COLUMN #NUMBER for each column, then the rows, then an empty line.",
            "A text that is empty or holds a blank must stand in quotes, or the row has another number of values. shlex.split knows quotes.",
            "Keep every value as text. Who turns 007 into a number cannot turn it back.",
        ),
    ),
    Exercise(
        id="U13.5",
        stream="sharpen",
        kind="code",
        task="A sync of a whole project that transfers only what is missing.",
        check=property_check(_sync),
        hints=(
            "Walk: a list has items of kind folder and file, and perhaps a link to the next page. A folder's list is at relationships → files → links → related → href.",
            "Compare the SHA-256 of what is here with the one that the list states, before you ask for the file.",
            "Write to another name first, compare the sum, then rename. And never put the token into the line that you log.",
        ),
    ),
    Exercise(
        id="U13.6",
        stream="blur",
        kind="predict",
        task="The size of a movie of 40 frames of 4096 × 4096 pixels of 16 bits, in GB.",
        check=number_check(MOVIE_BYTES / 1e9, relative=0.01),
        hints=(
            "Sixteen bits are two bytes.",
            "4096² is 16.8 million pixels; so a frame has 33.6 MB.",
            "1 GB is a thousand million bytes; a GiB is 7 % more.",
        ),
    ),
)
EXPLANATIONS = (
    Explanation(
        id="U13.words",
        question="A colleague fetches maps with a script that asks for the file, writes what comes under its name, and on a wrong checksum asks again and keeps whatever comes then. Name what can go wrong, and what you would do instead.",
        rubric=("checksum", "rename", "resume", "error page"),
        model_answer="A connection that breaks leaves half a map under its name; an error page can lie under the name of a map; and after the second download nobody looks at the checksum any more. "
        "I would write to another name, resume where it broke off if the server says it is still the same file, compare length and checksum over the whole, and only then rename.",
    ),
)
