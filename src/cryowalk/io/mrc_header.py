"""The 1024-byte header of an MRC file: read with every check that needs no pixel, and written the same on every machine.

Source: Cheng et al., J. Struct. Biol. 192, 146 (2015), the MRC2014 format.
"""

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from cryowalk.core.errors import InputError
from cryowalk.io.opening import compression_of, foreign_kind, open_content, read_up_to

HEADER_BYTES = 1024
COMPRESSED_ENDINGS = {".gz", ".bz2"}
LARGEST_SIDE = 2**31 - 1
HALF_PRECISION, LARGEST_HALF = 12, 65504.0
FIRST_STACK_GROUP = 401  # space groups from here on: stacks of volumes
IMOD_STAMP = 1146047817  # marks headers whose flags tell whether bytes are signed

_FIELDS: tuple[tuple[Any, ...], ...] = (
    ("size", "i4", (3,)),  # columns, rows, sections
    ("mode", "i4"),
    ("start", "i4", (3,)),  # of columns, rows, sections
    ("sampling", "i4", (3,)),  # along X, Y, Z, as all that follows
    ("cell", "f4", (3,)),
    ("angles", "f4", (3,)),
    ("axes", "i4", (3,)),
    ("statistics", "f4", (3,)),  # minimum, maximum, mean
    ("space_group", "i4"),
    ("extended_bytes", "i4"),
    ("extra1", "V8"),
    ("extended_type", "S4"),
    ("version", "i4"),
    ("extra2", "V16"),
    ("section_words", "i2", (2,)),  # SerialEM's: bytes of extended header for each section, and flags that tell what they are
    ("extra4", "V20"),
    ("imod_stamp", "i4"),
    ("imod_flags", "i4"),
    ("extra3", "V36"),
    ("origin", "f4", (3,)),
    ("map", "V4"),
    ("stamp", "u1", (4,)),
    ("rms", "f4"),
    ("label_count", "i4"),
    ("labels", "V80", (10,)),
)
SAMPLE_TYPES = {0: "i1", 1: "i2", 2: "f4", 6: "u2", 12: "f2", 101: "u1"}
MODES_IN_WORDS = {
    0: "8-bit integers",
    1: "16-bit integers",
    2: "32-bit reals",
    3: "complex 16-bit integers (a Fourier transform)",
    4: "complex 32-bit reals (a Fourier transform)",
    6: "unsigned 16-bit integers",
    12: "16-bit reals",
    101: "4-bit integers",
}


def decimal(value: float) -> float:
    """The number of at most six digits that single precision turned into `value`, or `value` itself where there is none.

    A header holds 1.37 Å as 1.3700000047…; the number that was meant compares equal to that of a STAR file.
    """
    short = float(f"{value:.6g}")
    return short if abs(short - value) <= 1.5e-7 * abs(value) else value


def header_type(byte_order: str) -> np.dtype[Any]:
    """The structure of the header in one byte order, `<` or `>`."""
    return np.dtype([(name, f"{byte_order}{kind}" if kind[0] in "iuf" else kind, *shape) for name, kind, *shape in _FIELDS])


@dataclass(frozen=True, slots=True, kw_only=True)
class MrcHeader:
    """What the header of an MRC file says, checked against the length of the file.

    `size` is (columns, rows, sections) as stored and `axes` tells which of X, Y, Z (1, 2, 3) each of them is; `cell` (Å), `sampling` and `origin`
    (Å) are along X, Y, Z. `notes` are surprises that do not keep the file from being read.
    """

    path: Path
    compression: str
    byte_order: str
    size: tuple[int, int, int]
    mode: int
    start: tuple[int, int, int]
    sampling: tuple[int, int, int]
    cell: tuple[float, float, float]
    angles: tuple[float, float, float]
    axes: tuple[int, int, int]
    minimum: float
    maximum: float
    mean: float
    rms: float
    space_group: int
    extended: bytes
    extended_type: str
    version: int
    origin: tuple[float, float, float]
    labels: tuple[str, ...]
    has_unsigned_bytes: bool
    notes: tuple[str, ...]
    section_words: tuple[int, int] = (0, 0)

    @property
    def data_offset(self) -> int:
        """Where the pixels begin, bytes."""
        return HEADER_BYTES + len(self.extended)

    @property
    def sample_type(self) -> np.dtype[Any]:
        """The NumPy type of a stored value (of a byte with two values in mode 101)."""
        kind = "u1" if self.mode == 0 and self.has_unsigned_bytes else SAMPLE_TYPES[self.mode]
        return np.dtype(self.byte_order + kind)

    @property
    def section_bytes(self) -> int:
        """The length of one section, bytes."""
        columns, rows, _ = self.size
        return rows * (math.ceil(columns / 2) if self.mode == 101 else columns * self.sample_type.itemsize)

    @property
    def file_bytes(self) -> int:
        """The length that the whole file must have, inflated, bytes."""
        return self.data_offset + self.section_bytes * self.size[2]

    @property
    def voxel_sizes(self) -> tuple[float, float, float]:
        """Voxel size along X, Y and Z, Å; 0 where the header does not say."""
        pairs = zip(self.cell, self.sampling, strict=True)
        return tuple(decimal(cell / samples) if samples > 0 else 0.0 for cell, samples in pairs)  # type: ignore[return-value]

    @property
    def size_along_axes(self) -> tuple[int, int, int]:
        """How many voxels there are along X, Y and Z."""
        sizes = dict(zip(self.axes, self.size, strict=True))
        return sizes[1], sizes[2], sizes[3]

    @property
    def pixel_size(self) -> float | None:
        """Pixel size of the images, Å, or None where the header does not say or x and y differ by more than 0.1 %."""
        x, y, _ = self.voxel_sizes
        return x if x > 0 and abs(y / x - 1) <= 1e-3 else None

    @property
    def volumes(self) -> int:
        """How many volumes there are: more than one in a stack of volumes (space group 401), whose sampling along Z is the depth of each."""
        depth = self.sampling[2]
        return self.size[2] // depth if self.space_group >= FIRST_STACK_GROUP and 0 < depth < self.size[2] else 1

    @property
    def is_stack(self) -> bool:
        """Whether the sections are separate images: told by the name (.mrcs) or by the space group 0 with one section a volume."""
        names = {suffix.lower() for suffix in self.path.suffixes[-2:]}
        if names & {".mrcs", ".st"}:
            return True
        return self.space_group == 0 and self.sampling[2] == 1 and self.size[2] > 1


def read_header(path: str | Path) -> MrcHeader:
    """The checked header of an MRC file; nothing of the size it claims is allocated.

    Raises
    ------
    InputError
        If the file is missing, empty, shorter than its header says, or no MRC file.
    """
    path = Path(path)
    compression = compression_of(path)
    with open_content(path) as stream:
        start = bytes(read_up_to(stream, HEADER_BYTES, path=path))
        record, byte_order, notes = _decode(start, path)
        extended_bytes = int(record["extended_bytes"])
        if not 0 <= extended_bytes <= LARGEST_SIDE - HEADER_BYTES:
            raise InputError(f"the length of the extended header is {extended_bytes} bytes", file=path, cause="a damaged header")
        extended = bytes(read_up_to(stream, extended_bytes, path=path))
    if len(extended) < extended_bytes:
        raise InputError(
            f"the header says that {extended_bytes} bytes of extended header follow, the file has {len(extended)}",
            file=path,
            cause="a damaged header or a truncated file",
            fix="fetch or write the file again",
        )
    if not compression and path.suffix.lower() in COMPRESSED_ENDINGS:
        notes.append(f"the name ends in {path.suffix}, the content is not compressed")
    header = _header(record, extended, notes, (path, compression, byte_order))
    return header if compression else _check_length(header, path.stat().st_size)


def _decode(start: bytes, path: Path) -> tuple[Any, str, list[str]]:
    """The header record, its byte order, and notes."""
    kind = foreign_kind(start)
    if kind:
        raise InputError(f"this is {kind}, not an MRC file", file=path, fix="fetch the file again or name the right one")
    if len(start) < HEADER_BYTES:
        what = f"the file ends after {len(start)} of the {HEADER_BYTES} bytes of an MRC header" if start else "the file is empty"
        raise InputError(what, file=path, cause="an interrupted download, or a full disk", fix="fetch or write it again")
    stamped = ">" if start[212:214] == b"\x11\x11" else "<"
    records = {order: np.frombuffer(start, header_type(order))[0] for order in (stamped, "<" if stamped == ">" else ">")}
    plausible = [order for order, record in records.items() if _is_plausible(record)]
    if not plausible:
        _refuse(records[stamped], path, has_map_word=start[208:211] == b"MAP")
    byte_order = plausible[0]
    notes = []
    if start[208:211] != b"MAP":
        notes.append(
            "the header lacks the word MAP (a file in the format of before 2000); it is accepted because its length fits"
        )
    if start[212:213] not in {b"\x44", b"\x11"}:
        notes.append(f"the machine stamp is missing; the numbers are {'big' if byte_order == '>' else 'little'}-endian")
    elif byte_order != stamped:
        notes.append(f"the machine stamp is wrong: the numbers are {'big' if byte_order == '>' else 'little'}-endian")
    return records[byte_order], byte_order, notes


def _is_plausible(record: Any) -> bool:
    """Whether mode and size can be meant; of the wrong byte order almost never true."""
    return int(record["mode"]) in SAMPLE_TYPES and all(0 < int(side) <= LARGEST_SIDE for side in record["size"])


def _refuse(record: Any, path: Path, *, has_map_word: bool) -> None:
    """Raise the error that fits a header which is plausible in no byte order."""
    if not has_map_word:
        raise InputError("this is not an MRC file", file=path, cause="another format under an MRC name, or a damaged header")
    mode = int(record["mode"])
    if mode not in SAMPLE_TYPES:
        raise InputError(
            f"mode {mode}" + (f" ({MODES_IN_WORDS[mode]})" if mode in MODES_IN_WORDS else "") + " is not supported",
            file=path,
            expected="mode " + ", ".join(f"{number} ({MODES_IN_WORDS[number]})" for number in SAMPLE_TYPES),
            cause="a wrong or damaged header, or a Fourier transform",
            fix="convert it to mode 2 with the program that wrote it",
        )
    sides = " × ".join(str(int(side)) for side in record["size"])
    raise InputError(
        f"the header gives the size {sides}", file=path, expected="three numbers above zero", cause="a damaged header"
    )


def _header(record: Any, extended: bytes, notes: list[str], origin_of_file: tuple[Path, str, str]) -> MrcHeader:
    """The header as a checked object."""
    path, compression, byte_order = origin_of_file
    axes: Any = tuple(int(axis) for axis in record["axes"])
    if axes == (0, 0, 0):
        axes = (1, 2, 3)  # unset, as some writers leave it
    if sorted(axes) != [1, 2, 3]:
        raise InputError(
            f"the axes of columns, rows and sections are {axes}",
            file=path,
            expected="1, 2, 3 in some order",
            cause="a damaged header",
        )
    cell: Any
    angles: Any
    cell, angles = (tuple(float(value) for value in record[name]) for name in ("cell", "angles"))
    origin: Any = tuple(decimal(float(value)) for value in record["origin"])
    if not all(map(math.isfinite, (*cell, *angles, *origin))):
        raise InputError(
            "cell or origin in the header is not a number", file=path, cause="a damaged header", fix="write the header again"
        )
    if min(cell) < 0:
        raise InputError(
            f"the cell in the header is negative: {cell} Å", file=path, cause="a damaged header", fix="write the header again"
        )
    labels = [bytes(label).rstrip(b"\0 ").decode("ascii", "replace") for label in record["labels"]]
    triple: dict[str, Any] = {name: tuple(int(value) for value in record[name]) for name in ("size", "start", "sampling")}
    is_signed = int(record["imod_stamp"]) != IMOD_STAMP or bool(int(record["imod_flags"]) & 1)
    return MrcHeader(
        path=path,
        compression=compression,
        byte_order=byte_order,
        mode=int(record["mode"]),
        cell=cell,
        angles=angles,
        axes=axes,
        minimum=float(record["statistics"][0]),
        maximum=float(record["statistics"][1]),
        mean=float(record["statistics"][2]),
        rms=float(record["rms"]),
        space_group=int(record["space_group"]),
        extended=extended,
        extended_type=bytes(record["extended_type"]).rstrip(b"\0 ").decode("ascii", "replace"),
        version=int(record["version"]),
        origin=origin,
        labels=tuple(label for label in labels if label),
        has_unsigned_bytes=not is_signed,
        notes=tuple(notes),
        section_words=(int(record["section_words"][0]), int(record["section_words"][1])),
        **triple,
    )


def with_bytes(header: MrcHeader, mode0: Literal["auto", "signed", "unsigned"]) -> MrcHeader:
    """The header, with the 8-bit values of mode 0 taken as told; "auto" is signed, as MRC2014 has it, unless IMOD's stamp says otherwise."""
    return header if mode0 == "auto" else replace(header, has_unsigned_bytes=mode0 == "unsigned")


def _check_length(header: MrcHeader, length: int) -> MrcHeader:
    """The header, known to describe a file of this length; a note is added when bytes are left over."""
    if length < header.file_bytes:
        whole = max(0, length - header.data_offset) // header.section_bytes
        raise InputError(
            f"the file ends after {length} of {header.file_bytes} bytes, inside section {whole + 1} of {header.size[2]}",
            file=header.path,
            cause="an interrupted copy, a full disk, or a damaged header",
            fix="fetch or write the file again",
        )
    if length == header.file_bytes:
        return header
    if any("MAP" in note for note in header.notes):
        raise InputError(
            f"no MRC file: no word MAP, and the header describes {header.file_bytes} bytes where the file has {length}",
            file=header.path,
        )
    return replace(header, notes=(*header.notes, f"{length - header.file_bytes} bytes follow the last section and are ignored"))


def _told_deviation(statistics: tuple[float, float, float, float], mode: int, count: int) -> float:
    """The deviation to write, or −1, MRC2014's "not determined", where validators would find it wrong.

    `mrcfile` (to 1.5.4) takes the deviation of 16-bit reals in 16-bit reals, whose sums end at 65504, and then calls a true value inaccurate.
    """
    _, _, mean, deviation = statistics
    sums = count * max(abs(mean), mean**2, deviation**2)
    return -1.0 if mode == HALF_PRECISION and sums > LARGEST_HALF / 2 else deviation


def pack_header(
    *,
    size: tuple[int, int, int] | tuple[int, int, int, int],
    mode: int,
    voxel_size: float,
    statistics: tuple[float, float, float, float],
    origin: tuple[float, float, float] = (0.0, 0.0, 0.0),
    space_group: int = 1,
    extended: tuple[bytes, str] | tuple[bytes, str, tuple[int, int]] = (b"", ""),
) -> bytes:
    """The 1024 bytes of a little-endian header; `statistics` are minimum, maximum, mean and rms, the origin is in Å.

    `size` is columns, rows, sections, and of a stack of volumes the sections of each; `extended` is the extended header, its type, and SerialEM's two
    words about it. An origin that is a whole number of voxels is written as the start index too, which is what CCP4 programs read. No time stamp is written.
    """
    record = np.zeros(1, header_type("<"))[0]
    is_stack = space_group == 0
    sampling = (size[0], size[1], 1 if is_stack else size[-1])
    record["size"], record["mode"], record["sampling"] = size[:3], mode, sampling
    record["cell"] = [samples * voxel_size for samples in sampling]
    record["angles"], record["axes"] = 90.0, (1, 2, 3)
    record["statistics"], record["rms"] = statistics[:3], _told_deviation(statistics, mode, math.prod(size[:3]))
    record["space_group"], record["version"] = space_group, 20141
    record["extended_bytes"], record["extended_type"] = len(extended[0]), extended[1].encode("ascii", "replace")
    record["section_words"] = extended[2] if len(extended) > 2 else (0, 0)
    record["origin"] = origin
    if voxel_size > 0:
        starts = [value / voxel_size for value in origin]
        if all(abs(start - round(start)) < 1e-3 and abs(start) < LARGEST_SIDE for start in starts):
            record["start"] = [round(start) for start in starts]
    record["map"], record["stamp"] = np.void(b"MAP "), (0x44, 0x44, 0, 0)
    record["label_count"] = 1
    record["labels"][0] = np.void(b"cryowalk".ljust(80, b" "))
    return bytes(record.tobytes())
