"""What is to be cut out of which micrograph: picks from one table, from a list of tables, or from one file a micrograph, brought together."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from cryowalk.core.errors import InputError, printable
from cryowalk.data.micrographs import MicrographSet
from cryowalk.data.particles import ParticleSet
from cryowalk.io.coordinates import MERIT, X, Y, read_coordinates
from cryowalk.io.relion import read_particles, table_defocus, table_pose
from cryowalk.io.stacks import find_stack
from cryowalk.io.star import StarBlock, StarFile, read_star
from cryowalk.io.star_numbers import number_texts, numbers
from cryowalk.picking.extract import MICROGRAPH_PIXEL_SIZE, recentred

NAME, FILE = "rlnMicrographName", "rlnMicrographCoordinates"
_ENDINGS = ("_pick", "_autopick", "_manualpick", "_picked")  # between a micrograph's name and the ending of its picks
_OPTICS = ("rlnDetectorPixelSize", "rlnImagePixelSize", "rlnPixelSize")  # in a table without an optics block: RELION 3.0
_LIMIT = 1e6  # px
_CARRIED = ("rlnCtfMaxResolution", "rlnCtfFigureOfMerit")  # of the micrograph, kept with its particles
_SIZE_TOLERANCE = 0.01
Centring = Literal["picked", "refined"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Picks:
    """Particles to be cut out, with their optics and defocus, and the row of the micrograph that each lies in, in the order of the micrographs.

    `strangers` counts those of micrographs that are not in the table.
    """

    particles: ParticleSet
    micrograph: Int[Tensor, " n"]
    strangers: int = 0

    def of(self, index: int) -> Int[Tensor, " m"]:
        """The rows of the picks in one micrograph."""
        return torch.nonzero(self.micrograph == index)[:, 0]


def one_pixel_size(micrographs: MicrographSet, *, file: Path) -> float:
    """The pixel size that all micrographs share, Å.

    Raises
    ------
    InputError
        If they differ.
    """
    used = sorted(set(micrographs.optics_index.tolist()))
    sizes = {micrographs.optics[group].pixel_size for group in used}
    if len(sizes) > 1:
        told = ", ".join(
            f"“{printable(micrographs.optics[group].name)}” {micrographs.optics[group].pixel_size:g} Å" for group in used
        )
        raise InputError(
            f"the micrographs have different pixel sizes: {told}",
            file=file,
            expected="one pixel size, so that all boxes show the same field of view",
            fix="extract each optics group by itself, or bring the micrographs to one pixel size first",
        )
    return float(sizes.pop())


def read_picks(files: Sequence[Path], micrographs: MicrographSet) -> Picks:
    """The picks in one STAR file over all micrographs (a table of picks or particles, or RELION's list of files), or in one file a micrograph.

    Where the picks are particles of a refinement, their optics, poses, defocus and all columns are kept; otherwise each has the optics of its micrograph.

    Raises
    ------
    InputError
        If a file is not usable, or no pick lies in any of the micrographs.
    """
    if len(files) == 1 and files[0].suffix.lower() == ".star":
        star = read_star(files[0])
        table = next((block for block in star.blocks if {NAME, X, Y} <= set(block.columns)), None)
        if table is not None:
            return _of_table(table, star, files[0], micrographs)
        listing = next((block for block in star.blocks if {NAME, FILE} <= set(block.columns)), None)
        if listing is not None:
            return _of_files(*_listed(listing, files[0]), micrographs, files[0])
    stems = [Path(name).stem for name in micrographs.names]
    return _of_files([_fitting(path, stems, micrographs.names) for path in files], list(files), micrographs, files[0])


def with_micrograph_facts(picks: Picks, micrographs: MicrographSet, *, defocus_of: Literal["particles", "micrographs"]) -> Picks:
    """The picks with the defocus of their micrographs, where they have none of their own or `defocus_of` says so, and how good its fit was."""
    particles, extra = picks.particles, dict(picks.particles.extra)
    if micrographs.defocus is not None and (particles.defocus is None or defocus_of == "micrographs"):
        particles = replace(particles, defocus=micrographs.defocus[picks.micrograph])
    rows = picks.micrograph.tolist()
    for label in _CARRIED:
        if label in micrographs.extra and label not in extra:
            extra[label] = tuple(micrographs.extra[label][row] for row in rows)
    return replace(picks, particles=replace(particles, extra=extra))


def recentred_picks(picks: Picks, *, pixel_size: float, point: tuple[float, float, float], file: Path) -> Picks:
    """The picks about the places that they were refined to, or about a point (Å) of the refined particle."""
    try:
        return replace(picks, particles=recentred(picks.particles, pixel_size=pixel_size, point=point))
    except InputError as error:
        raise InputError(error.what, file=file, expected=error.expected, fix="give the STAR file of a refinement") from None


def _of_table(table: StarBlock, star: StarFile, path: Path, micrographs: MicrographSet) -> Picks:
    """The picks of one table over all micrographs; those that bring optics keep them."""
    if len(table) and ("optics" in star or any(label in table.columns for label in _OPTICS)):
        particles = read_particles(path, images="ignore")
        picks = _in_micrographs(particles, particles.micrograph_names, micrographs, path)
        _check_sizes(picks.particles, micrographs, path)
        return picks
    return _with_optics(_in_micrographs(_plain(table, path, micrographs), table.columns[NAME], micrographs, path), micrographs)


def _plain(table: StarBlock, path: Path, micrographs: MicrographSet) -> ParticleSet:
    """The picks of a table without optics; those of the first group stand in until the micrographs are known."""
    used = {X, Y, NAME}
    places = np.stack([numbers(table, label, path=path, low=-_LIMIT, high=_LIMIT) for label in (X, Y)], axis=-1)
    size = torch.full((len(table),), micrographs.optics[0].pixel_size, dtype=torch.float64)
    return ParticleSet(
        optics=micrographs.optics,
        optics_index=torch.zeros(len(table), dtype=torch.int64),
        coordinates=torch.from_numpy(places),
        pose=table_pose(table, size, path, used),
        defocus=table_defocus(table, path, used),
        extra={label: column for label, column in table.columns.items() if label not in used},
        column_order=tuple(table.columns),
    )


def _listed(listing: StarBlock, path: Path) -> tuple[list[str], list[Path]]:
    """The micrographs and their files of picks in RELION's list."""
    names, files = list(listing.columns[NAME]), listing.columns[FILE]
    found = [find_stack(file, path) for file in files]
    missing = [row for row, place in enumerate(found) if place is None]
    if missing:
        raise InputError(
            f"{len(missing)} of {len(files)} files of picks are not there: {printable(files[missing[0]])}",
            file=path,
            row=listing.line_of(missing[0]),
            cause="the list was moved away from its project",
            fix="run from the project's folder",
        )
    return names, [place for place in found if place is not None]


def _fitting(path: Path, stems: Sequence[str], names: Sequence[str]) -> str:
    """The micrograph that a file of picks is named after: the one with the longest name that it begins with, and no more than an ending."""
    stem = path.stem
    bare = next((stem.removesuffix(ending) for ending in _ENDINGS if stem.endswith(ending)), stem)
    exact = [name for name, own in zip(names, stems, strict=True) if own in (bare, stem)]
    if exact:
        return exact[0]
    longest = max((own for own in stems if stem.startswith(own + "_")), key=len, default=None)
    return names[stems.index(longest)] if longest is not None else path.as_posix()


def _of_files(names: Sequence[str], files: Sequence[Path], micrographs: MicrographSet, path: Path) -> Picks:
    """The picks of files of one micrograph each."""
    owner: list[str] = []
    columns: list[Mapping[str, tuple[str, ...]]] = []
    for name, file in zip(names, files, strict=True):
        found = read_coordinates(file)
        if not len(found):
            continue
        texts = {X: number_texts(found.positions[:, 0]), Y: number_texts(found.positions[:, 1])}
        if found.merit is not None:
            texts[MERIT] = number_texts(found.merit)
        columns.append({**texts, **{label: column for label, column in found.extra.items() if label not in texts}})
        owner += [name] * len(found)
    shared = [label for label in (columns[0] if columns else {}) if all(label in each for each in columns)]
    table = StarBlock(name="picks", columns={label: tuple(text for each in columns for text in each[label]) for label in shared})
    if not owner:
        raise InputError("the files hold no picks", file=path, cause="nothing was found, or everything was sorted out")
    return _with_optics(_in_micrographs(_plain(table, path, micrographs), owner, micrographs, path), micrographs)


def _with_optics(picks: Picks, micrographs: MicrographSet) -> Picks:
    """The picks with the optics of their micrographs."""
    particles = replace(picks.particles, optics=micrographs.optics, optics_index=micrographs.optics_index[picks.micrograph])
    return replace(picks, particles=particles)


def _in_micrographs(particles: ParticleSet, owners: Sequence[str], micrographs: MicrographSet, path: Path) -> Picks:
    """The picks sorted into the micrographs of the table."""
    if particles.coordinates is None or not owners:
        raise InputError("the table holds no picks with micrographs", file=path, expected=f"{NAME}, {X} and {Y}")
    place = _places(set(owners), micrographs.names)
    rows = torch.tensor([place.get(name, -1) for name in owners], dtype=torch.int64)
    known = torch.nonzero(rows >= 0)[:, 0]
    if not len(known):
        raise InputError(
            f"none of the {len(rows)} picks lies in one of the {len(micrographs)} micrographs",
            file=path,
            expected=f"names such as {printable(micrographs.names[0])}; the picks say {printable(owners[0])}",
            cause="picks of another set of micrographs",
        )
    order = known[torch.argsort(rows[known], stable=True)]
    chosen = particles[order]
    names = tuple(micrographs.names[row] for row in rows[order].tolist())
    chosen = replace(chosen, micrograph_names=names, images=None)
    return Picks(particles=chosen, micrograph=rows[order], strangers=len(rows) - len(known))


def _places(wanted: set[str], names: Sequence[str]) -> dict[str, int]:
    """The row of each wanted micrograph: by its whole name, or else by its bare one where only one has it."""
    whole = {name: row for row, name in enumerate(names)}
    bare: dict[str, list[int]] = {}
    for row, name in enumerate(names):
        bare.setdefault(Path(name).stem, []).append(row)
    found = {}
    for name in wanted:
        rows = bare.get(Path(name).stem, [])
        if name in whole:
            found[name] = whole[name]
        elif len(rows) == 1:
            found[name] = rows[0]
    return found


def _check_sizes(particles: ParticleSet, micrographs: MicrographSet, path: Path) -> None:
    """Raise an error where the particles' coordinates count pixels of another size than the micrographs have."""
    size = micrographs.optics[0].pixel_size
    for group in sorted(set(particles.optics_index.tolist())):
        told = particles.optics[group].extra.get(MICROGRAPH_PIXEL_SIZE)
        if told is not None and abs(float(told) / size - 1) > _SIZE_TOLERANCE:
            raise InputError(
                f"the coordinates count pixels of {float(told):g} Å, the micrographs have pixels of {size:g} Å",
                file=path,
                cause="particles that were cut from micrographs of another binning",
                fix="give the micrographs they were cut from",
            )
