"""RELION's tables of movies and micrographs and our `MicrographSet`; columns we do not know are carried through as text."""

import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from cryowalk.core.errors import CryowalkWarning, InputError, printable
from cryowalk.data.micrographs import MicrographSet
from cryowalk.data.optics import Optics
from cryowalk.io.relion import VERSION_COMMENT, defocus_columns, table_defocus
from cryowalk.io.relion_optics import REPEATED, in_range, optics_block, optics_of_rows, read_optics_table, read_repeated_optics
from cryowalk.io.star import StarBlock, StarFile, read_star, write_star
from cryowalk.io.star_numbers import constant_texts, integer_texts, number_texts, numbers

NAMES = {"rlnMicrographName": "names", "rlnMicrographMovieName": "movie_names", "rlnMicrographMetadata": "metadata_names"}
DOSE_BEFORE = "rlnMicrographPreExposure"
ORIGINAL, SUMMED = "rlnMicrographOriginalPixelSize", "rlnMicrographPixelSize"
TABLES = ("micrographs", "movies")
OLD_TABLE = "images"  # as RELION 1.3 named tables of any kind


def holds_micrographs(star: StarFile) -> bool:
    """Whether a STAR file is a table of movies or micrographs, of any RELION version."""
    return any(_is_table(block) for block in star.blocks)


def _is_table(block: StarBlock) -> bool:
    named = {"rlnMicrographName", "rlnMicrographMovieName"} & set(block.columns)
    is_of_particles = {"rlnImageName", "rlnCoordinateX"} & set(block.columns)
    return bool(named) and not is_of_particles and block.name in ("", *TABLES, OLD_TABLE)


def read_micrographs(path: str | Path, *, pixel_size: float | None = None) -> MicrographSet:
    """The movies or micrographs of a RELION STAR file (3.0, 3.1, 4 or 5), numbers in double precision; no image is opened.

    `pixel_size` (Å) stands for that of a file that does not say or says wrong.

    Raises
    ------
    InputError
        If the file or a value in it is not usable; the message names the line.
    """
    star, file = read_star(path), Path(path)
    table = _table(star)
    used = {"rlnOpticsGroup", DOSE_BEFORE, *NAMES, *(REPEATED if "optics" not in star else ())}
    optics, optics_index = _optics(star, table, pixel_size)
    dose = numbers(table, DOSE_BEFORE, path=file, low=0.0, high=1e5) if DOSE_BEFORE in table.columns else None
    defocus = table_defocus(table, file, used)
    return MicrographSet(
        optics=optics,
        optics_index=optics_index,
        **{part: table.columns.get(label, ()) for label, part in NAMES.items()},  # type: ignore[arg-type]
        defocus=defocus,
        dose_before=None if dose is None else torch.from_numpy(dose),
        extra={label: column for label, column in table.columns.items() if label not in used},
        column_order=tuple(table.columns),
    )


def _table(star: StarFile) -> StarBlock:
    """The table of movies or micrographs."""
    tables = [block for block in star.blocks if _is_table(block)]
    if len(tables) != 1:
        names = ", ".join(f"data_{block.name}" for block in star.blocks)
        raise InputError(
            f"{'no table' if not tables else 'more than one table'} of movies or micrographs",
            file=star.path,
            expected=f"one block data_movies or data_micrographs; found {names}",
        )
    if not len(tables[0]):
        raise InputError(f"data_{tables[0].name} has no rows", file=star.path, cause="an earlier selection removed them all")
    return tables[0]


def _optics(star: StarFile, table: StarBlock, pixel_size: float | None) -> tuple[tuple[Optics, ...], Int[Tensor, " n"]]:
    """The optics groups, their pixel size that of the movies or micrographs, and the group of each row."""
    path = star.path
    is_repeated = "optics" not in star
    source = _with_image_size(table if is_repeated else star["optics"], path)
    if is_repeated:
        return read_repeated_optics(source, path=path, pixel_size=pixel_size)
    groups, place = read_optics_table(source, path=path, pixel_size=pixel_size)
    return groups, optics_of_rows(table, groups, place, path=path)


def _with_image_size(block: StarBlock, path: Path | None) -> StarBlock:
    """The optics table with the pixel size of the images named here in the column where it is looked for."""
    label = next((label for label in (SUMMED, ORIGINAL) if label in block.columns), None)
    if label is None or "rlnImagePixelSize" in block.columns:
        return block
    in_range(block, label, path=path)  # an error names the column that is in the file
    columns: dict[str, Any] = {name: column for name, column in block.columns.items() if name != SUMMED}
    return replace(block, columns={**columns, "rlnImagePixelSize": block.columns[label]})


def write_micrographs(micrographs: MicrographSet, path: str | Path) -> None:
    """Write a RELION 3.1 STAR file, all or nothing: `data_micrographs` where micrographs are named, otherwise `data_movies`.

    Columns keep the order and, where unknown, the text of the file they came from. Names are written as they are.

    Raises
    ------
    InputError
        If there is nothing to write, nothing is named, or a value cannot be written.
    """
    path = Path(path)
    if not len(micrographs):
        raise InputError("there are no micrographs to write", file=path, cause="an earlier selection removed them all")
    if not (micrographs.names or micrographs.movie_names):
        raise InputError("neither micrographs nor movies are named", file=path, fix="give `names` or `movie_names`")
    kind = "micrographs" if micrographs.names else "movies"
    columns = _columns(micrographs)
    wrong = sorted({len(column) for column in columns.values()} - {len(micrographs)})
    if wrong:
        raise InputError(f"{len(micrographs)} {kind} have columns of {wrong} rows", file=path)
    order = [label for label in micrographs.column_order if label in columns]
    table = {label: columns[label] for label in [*order, *(label for label in columns if label not in order)]}
    blocks = [
        StarBlock(name="optics", columns=_optics_columns(micrographs, kind), comments=(VERSION_COMMENT,)),
        StarBlock(name=kind, columns=table, comments=(VERSION_COMMENT,)),
    ]
    write_star(blocks, path)


def _columns(micrographs: MicrographSet) -> dict[str, tuple[str, ...]]:
    """Every column by label, in RELION's usual order."""
    columns = {label: getattr(micrographs, part) for label, part in NAMES.items() if getattr(micrographs, part)}
    columns["rlnOpticsGroup"] = integer_texts(micrographs.optics_index.cpu() + 1)
    if micrographs.dose_before is not None:
        columns[DOSE_BEFORE] = number_texts(micrographs.dose_before.cpu())
    if micrographs.defocus is not None:
        columns |= defocus_columns(micrographs.defocus, set(micrographs.column_order))
    return {**columns, **{label: column for label, column in micrographs.extra.items() if label not in columns}}


def _optics_columns(micrographs: MicrographSet, kind: str) -> dict[str, tuple[str, ...]]:
    """The optics table with the pixel sizes in the columns that RELION gives movies and micrographs."""
    groups = micrographs.optics
    block = optics_block(groups, box=None)
    elsewhere = ("rlnImageDimensionality", "rlnImagePixelSize", ORIGINAL)
    columns = {label: column for label, column in block.columns.items() if label not in elsewhere}
    sizes = [group.pixel_size for group in groups]
    original = [group.micrograph_pixel_size or group.pixel_size for group in groups]
    if kind == "movies":
        if original != sizes:
            warnings.warn(
                f"{printable([group.name for group in groups])}: movies have one pixel size; {ORIGINAL} {original} is written as {sizes}",
                CryowalkWarning,
                stacklevel=3,
            )
        return {**columns, ORIGINAL: constant_texts(sizes)}
    return {**columns, ORIGINAL: constant_texts(original), SUMMED: constant_texts(sizes)}
