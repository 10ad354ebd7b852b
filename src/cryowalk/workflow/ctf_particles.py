"""The defocus of each particle where it lies in its micrograph, with files at both ends."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

import torch
from jaxtyping import Float
from torch import Tensor

from cryowalk.core.errors import InputError
from cryowalk.data.optics import Defocus
from cryowalk.data.particles import ParticleSet
from cryowalk.io.relion import read_particles, write_particles

PARTICLES_NAME = "particles.star"


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacedParticles:
    """Particles with their places in micrographs, and for each micrograph's position in its table the rows that lie in it."""

    particles: ParticleSet
    rows: Mapping[int, tuple[int, ...]]

    def positions(self, index: int, pixel_size: float) -> Float[Tensor, "n 2"]:
        """The places of the particles of one micrograph, Å."""
        coordinates = self.particles.coordinates
        rows = self.rows.get(index, ())
        if coordinates is None or not rows:
            return torch.zeros(0, 2, dtype=torch.float64)
        return coordinates[list(rows)].double() * pixel_size


def placed_particles(path: Path, names: Sequence[str]) -> PlacedParticles:
    """The particles of a STAR file, sorted into micrographs by rlnMicrographName: by the whole name, or where that differs by the file's own.

    Raises
    ------
    InputError
        If the table lacks micrographs or coordinates, or none of its micrographs is among those given.
    """
    particles = read_particles(path, images="ignore")
    if particles.coordinates is None or not particles.micrograph_names:
        raise InputError(
            "the table does not say where its particles lie",
            file=path,
            expected="columns rlnMicrographName, rlnCoordinateX and rlnCoordinateY",
        )
    bare = [PurePosixPath(name).name for name in names]
    by_name = {name: i for i, name in enumerate(bare) if bare.count(name) == 1} | {name: i for i, name in enumerate(names)}
    rows: dict[int, list[int]] = {}
    for row, name in enumerate(particles.micrograph_names):
        place = by_name.get(name, by_name.get(PurePosixPath(name).name))
        if place is not None:
            rows.setdefault(place, []).append(row)
    if not rows:
        raise InputError(
            "none of its micrographs is among those whose CTF is estimated",
            file=path,
            expected=f"names such as “{names[0]}”",
            cause="a table of another data set",
        )
    return PlacedParticles(particles=particles, rows={place: tuple(some) for place, some in rows.items()})


def write_particle_defocus(placed: PlacedParticles, results: Mapping[int, Path], path: Path) -> int:
    """The number of particles written with their own defocus, in the order of their table; those of micrographs without results are left out."""
    found: dict[int, tuple[float, float, float, float]] = {}
    for place, rows in placed.rows.items():
        if place not in results:
            continue
        facts = json.loads(results[place].read_text(encoding="utf-8"))
        half = (facts["major"] - facts["minor"]) / 2
        for row, mean in zip(rows, facts["local"], strict=True):
            found[row] = (mean + half, mean - half, facts["azimuth"], facts["phase_shift"])
    order = sorted(found)
    if not order:
        return 0
    major, minor, azimuth, phase_shift = torch.tensor([found[row] for row in order], dtype=torch.float64).T
    chosen = placed.particles[order]
    defocus = Defocus(major=major, minor=minor, azimuth=azimuth, phase_shift=phase_shift)
    if chosen.defocus is not None:
        defocus = replace(defocus, b_factor=chosen.defocus.b_factor, scale=chosen.defocus.scale)
    write_particles(replace(chosen, defocus=defocus), path)
    return len(order)
