"""Reading and writing whatever it is: the content of a file decides what it becomes, the kind of a thing how it is written."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from cryowalk.core.errors import InputError, UsageError
from cryowalk.data.atoms import Atoms
from cryowalk.data.images import ImageStack, Micrograph
from cryowalk.data.particles import ParticleSet
from cryowalk.data.truth import Truth
from cryowalk.data.volume import Volume
from cryowalk.io.atoms import read_atoms, write_atoms
from cryowalk.io.kinds import MRC_ENDINGS, STAR_ENDINGS, STRUCTURE_ENDINGS, foreign_words, kind_of
from cryowalk.io.maps import read_map, write_map
from cryowalk.io.mrc import MrcStackReader, write_array
from cryowalk.io.mrc_header import MrcHeader, read_header
from cryowalk.io.relion import ANGLES, read_particles, write_particles
from cryowalk.io.star import StarFile, read_star, write_star
from cryowalk.io.truth import read_truth, write_truth

Readable = Atoms | Volume | ImageStack | Micrograph | ParticleSet | Truth | StarFile


def read(path: str | Path, *, pixel_size: float | None = None) -> Readable:
    """What a file holds: `Atoms`, a `Volume`, an `ImageStack`, a `Micrograph`, a `ParticleSet`, a `Truth`, or else a `StarFile`.

    `pixel_size` (Å) stands for that of a file that does not say. An `ImageStack` is in memory; `MrcStackReader` reads in batches instead.

    Raises
    ------
    InputError
        If the file is damaged or of no known kind.
    """
    path = Path(path)
    kind = kind_of(path)
    if kind == "structure":
        return read_atoms(path)
    if kind == "star":
        return _read_table(path, pixel_size)
    if kind == "mrc":
        return _read_mrc(read_header(path), pixel_size)
    words = foreign_words(path)
    raise InputError(
        f"this is {words}" if words else "the file is of no kind known here",
        file=path,
        expected="an MRC, STAR, PDB or mmCIF file, compressed or not",
        fix="convert it first" if words else "",
    )


def _read_table(path: Path, pixel_size: float | None) -> Readable:
    star = read_star(path)
    if "truth" in star:
        return read_truth(path)
    holds_particles = any(
        block.name in ("particles", "images", "") and ("rlnImageName" in block.columns or set(ANGLES[:2]) <= set(block.columns))
        for block in star.blocks
    )
    return read_particles(path, pixel_size=pixel_size) if holds_particles else star


def _read_mrc(header: MrcHeader, pixel_size: float | None) -> Readable:
    if not header.is_stack and header.size[2] > 1:
        return read_map(header.path, voxel_size=pixel_size)
    stack = MrcStackReader(header.path)
    size = pixel_size or stack.pixel_size
    if size is None:
        raise InputError("the header does not give the pixel size", file=header.path, fix="state --pixel-size (Å)")
    pixels = stack.read(range(stack.count))
    if stack.count == 1 and not header.is_stack:
        return Micrograph(pixels=pixels[0], pixel_size=size, name=header.path.name)
    return ImageStack(pixels=pixels, pixel_size=size)


def write(thing: object, path: str | Path) -> None:
    """Write a thing in the format that everyone reads it in: maps and images as MRC, tables as STAR, atoms as PDB or mmCIF; all or nothing.

    Raises
    ------
    UsageError
        If there is no format for such a thing, or the name ends like one of another format.
    """
    path = Path(path)
    writers: tuple[tuple[type, set[str], Callable[..., None]], ...] = (
        (Atoms, STRUCTURE_ENDINGS, write_atoms),
        (Volume, MRC_ENDINGS, write_map),
        (ParticleSet, STAR_ENDINGS, write_particles),
        (Truth, STAR_ENDINGS, write_truth),
        (StarFile, STAR_ENDINGS, write_star),
        (ImageStack, MRC_ENDINGS, _write_images),
        (Micrograph, MRC_ENDINGS, _write_images),
    )
    for kind, endings, writer in writers:
        if isinstance(thing, kind):
            if path.suffix.lower() not in endings:
                raise UsageError(
                    f"{kind.__name__} cannot be written to “{path.name}”",
                    expected="a name that ends in " + ", ".join(sorted(endings)),
                )
            return writer(thing, path)
    hint = "write its parts: .first and .second, or .average()" if hasattr(thing, "first") else ""
    raise UsageError(f"there is no file format for {type(thing).__name__}", fix=hint)


def _write_images(images: Any, path: Path) -> None:
    write_array(images.pixels.float(), path, voxel_size=images.pixel_size, kind="images")
