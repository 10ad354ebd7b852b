"""Particles of tomograms in RELION 3, 4 and 5: a `ParticleSet` with the place of each in its tomogram; and the optimisation set that names all files.

RELION 5 counts from the middle of the tomogram in Å (`rlnCenteredCoordinate*Angst`), RELION 3 and 4 in voxels from the first one. Angles of the
sub-tomogram come before those of the particle in it: specimen_from_particle = A(rlnTomoSubtomogram*) A(rlnAngle*), A being RELION's matrix.

Source: relion-documents, source/Reference/STA/Datatypes (particle set, optimisation set).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from jaxtyping import Float, Int
from torch import Tensor

from cryowalk.core.errors import InputError, printable
from cryowalk.data.particles import ParticleSet
from cryowalk.io.relion import lab_from_particle_from_relion, read_particles, relion_from_lab_from_particle, write_particles
from cryowalk.io.stacks import find_stack
from cryowalk.io.star import StarBlock, StarFile, read_star, write_star
from cryowalk.io.star_numbers import number_texts, numbers
from cryowalk.io.text_rows import is_number

NAME = "rlnTomoName"
CENTRED = tuple(f"rlnCenteredCoordinate{axis}Angst" for axis in "XYZ")
VOXELS = tuple(f"rlnCoordinate{axis}" for axis in "XYZ")
ORIGINS = tuple(f"rlnOrigin{axis}Angst" for axis in "XYZ")
ANGLES = tuple(f"rlnTomoSubtomogram{name}" for name in ("Rot", "Tilt", "Psi"))
LARGEST = 1e7
SAME = 6e-7  # two texts of one number, six digits after the point


@dataclass(frozen=True, slots=True, kw_only=True)
class TomogramParticles:
    """Particles of tomograms: all their columns in `particles`, and by particle the name of its tomogram and where it is.

    `centred` (x, y, z) is in Å from the middle of the tomogram (RELION 5), `voxels` in voxels from 0 (RELION 3 and 4); origins are in neither.
    `origin` (x, y, z) in Å is RELION's, to be taken from the place. `specimen_from_subtomogram` is given where the file tells such angles.
    """

    particles: ParticleSet
    tomograms: tuple[str, ...]
    centred: Float[Tensor, "n 3"] | None = None
    voxels: Float[Tensor, "n 3"] | None = None
    origin: Float[Tensor, "n 3"] | None = None
    specimen_from_subtomogram: Float[Tensor, "n 3 3"] | None = None

    def __len__(self) -> int:
        return len(self.particles)

    def __getitem__(self, selection: "Int[Tensor, ' m'] | Sequence[int]") -> "TomogramParticles":
        """The chosen particles, in the order of the selection."""
        chosen = torch.as_tensor(selection).tolist()

        def rows(column: Tensor | None) -> Tensor | None:
            return None if column is None else column[chosen]

        return TomogramParticles(
            particles=self.particles[chosen],
            tomograms=tuple(self.tomograms[row] for row in chosen),
            centred=rows(self.centred),
            voxels=rows(self.voxels),
            origin=rows(self.origin),
            specimen_from_subtomogram=rows(self.specimen_from_subtomogram),
        )

    @property
    def specimen_from_particle(self) -> Float[Tensor, "n 3 3"] | None:
        """How each particle is turned in its tomogram, or None where no angles are told."""
        pose = self.particles.pose
        if pose is None:
            return self.specimen_from_subtomogram
        own = pose.lab_from_particle
        return own if self.specimen_from_subtomogram is None else self.specimen_from_subtomogram @ own

    @property
    def places(self) -> Float[Tensor, "n 3"] | None:
        """Where each particle's origin is, Å from the middle of its tomogram, its origin taken off; None where only voxels are told."""
        if self.centred is None:
            return None
        return self.centred if self.origin is None else self.centred - self.origin


def holds_tomogram_particles(star: StarFile) -> bool:
    """Whether a STAR file is a table of particles of tomograms."""
    return any(_is_table(block) for block in star.blocks)


def _is_table(block: StarBlock) -> bool:
    labels = set(block.columns)
    has_place = set(CENTRED) <= labels or set(VOXELS) <= labels
    return has_place and block.name in ("", "particles", "images") and bool({NAME, "rlnMicrographName"} & labels)


def read_tomogram_particles(path: str | Path, *, pixel_size: float | None = None) -> TomogramParticles:
    """The particles of tomograms in a STAR file of RELION 3, 4 or 5; stacks of images are not opened.

    Raises
    ------
    InputError
        If the file is no such table, or a value cannot be meant.
    """
    path = Path(path)
    star = read_star(path)
    block = next((block for block in star.blocks if _is_table(block)), None)
    if block is None:
        raise InputError("no table of particles of tomograms", file=path, expected=f"{CENTRED[0]} … or {VOXELS[2]}, and {NAME}")
    particles = read_particles(path, images="ignore", pixel_size=pixel_size)

    def columns(labels: Sequence[str]) -> Float[Tensor, "n 3"] | None:
        if not set(labels) <= set(block.columns):
            return None
        found = [numbers(block, label, path=path, low=-LARGEST, high=LARGEST) for label in labels]
        return torch.stack([torch.from_numpy(column) for column in found], dim=-1)

    angles = columns(ANGLES)
    return TomogramParticles(
        particles=particles,
        tomograms=tuple(block.columns[NAME if NAME in block.columns else "rlnMicrographName"]),
        centred=columns(CENTRED),
        voxels=columns(VOXELS),
        origin=columns(ORIGINS),
        specimen_from_subtomogram=None if angles is None else lab_from_particle_from_relion(angles),
    )


def write_tomogram_particles(table: TomogramParticles, path: str | Path) -> None:
    """Write a STAR file for RELION 4 or 5 (by what places are given), every column that was read in its order, all or nothing.

    Raises
    ------
    InputError
        If a place is not finite, or parts differ in number.
    """
    new: dict[str, tuple[str, ...]] = {}
    if NAME in table.particles.column_order or not table.particles.micrograph_names:
        new[NAME] = table.tomograms
    angles = None if table.specimen_from_subtomogram is None else relion_from_lab_from_particle(table.specimen_from_subtomogram)
    places = ((CENTRED, table.centred), (VOXELS, table.voxels), (ORIGINS, table.origin), (ANGLES, angles))
    for labels, values in places:
        if values is None:
            continue
        if len(values) != len(table) or not bool(torch.isfinite(values).all()):
            raise InputError(f"the {labels[0]} … are not finite, or not one for each particle", file=path)
        new |= {label: _texts(values[:, axis], table.particles.extra.get(label)) for axis, label in enumerate(labels)}
    particles, own = table.particles, {"rlnCoordinateX", "rlnCoordinateY", *ORIGINS[:2]}
    if table.voxels is not None:
        particles = replace(particles, coordinates=table.voxels[:, :2])
    taken = own if particles.pose is not None else own - set(ORIGINS[:2])
    extra = {**particles.extra, **{label: column for label, column in new.items() if label not in taken}}
    write_particles(replace(particles, extra=extra), path)


def _texts(values: Float[Tensor, " n"], told: Sequence[str] | None) -> tuple[str, ...]:
    """Numbers as text; where the file had text of the same numbers, that."""
    new = number_texts(values.detach().cpu().double())
    if told is None or len(told) != len(new):
        return new
    return tuple(
        old if is_number(old) and abs(float(old) - float(text)) <= SAME else text for old, text in zip(told, new, strict=True)
    )


SET = {
    "rlnTomoParticlesFile": "particles",
    "rlnTomoTomogramsFile": "tomograms",
    "rlnTomoTrajectoriesFile": "trajectories",
    "rlnTomoManifoldsFile": "manifolds",
    "rlnTomoReferenceMap1File": "first half map",
    "rlnTomoReferenceMap2File": "second half map",
    "rlnTomoReferenceMaskFile": "mask",
    "rlnTomoReferenceFscFile": "FSC",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class OptimisationSet:
    """RELION's optimisation set: the files that go together, by RELION's label, as they are written."""

    files: Mapping[str, str] = field(default_factory=dict)
    path: Path | None = None

    def __len__(self) -> int:
        return len(self.files)

    def place(self, label: str) -> Path | None:
        """Where the file of this label lies, or None where it is not named or not there."""
        name = self.files.get(label)
        return None if name is None else find_stack(name, self.path or Path())


def holds_optimisation_set(star: StarFile) -> bool:
    """Whether a STAR file is an optimisation set."""
    return any({"rlnTomoParticlesFile", "rlnTomoTomogramsFile"} & {*block.values, *block.columns} for block in star.blocks)


def read_optimisation_set(path: str | Path) -> OptimisationSet:
    """The files that an `optimisation_set.star` names; none is opened.

    Raises
    ------
    InputError
        If it names none.
    """
    path = Path(path)
    star = read_star(path)
    files: dict[str, str] = {}
    for block in star.blocks:
        if len(block) > 1 and {*SET} & set(block.columns):
            raise InputError(f"the set has {len(block)} rows", file=path, row=block.line_of(1), expected="one")
        files |= dict(block.values) | {label: column[0] for label, column in block.columns.items() if len(block)}
    if not {*SET} & set(files):
        raise InputError("the file names no files of tomograms", file=path, expected=", ".join(SET))
    return OptimisationSet(files=files, path=path)


def write_optimisation_set(files: OptimisationSet, path: str | Path) -> None:
    """Write an `optimisation_set.star`, all or nothing.

    Raises
    ------
    InputError
        If a label is none of RELION's.
    """
    wrong = next((label for label in files.files if not label.startswith("rln") or len(label.split()) != 1), None)
    if wrong is not None or not files.files:
        raise InputError(f"“{printable(wrong or '')}” is no label of RELION", file=path)
    write_star([StarBlock(name="optimisation_set", values=files.files, comments=("# version 50001",))], path)
