"""Particles out of many micrographs, with files at both ends: a stack for each micrograph, and RELION's table of all particles."""

import hashlib
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from cryowalk.core.errors import InputError, naming
from cryowalk.data.images import Micrograph
from cryowalk.data.micrographs import MicrographSet
from cryowalk.data.particles import ParticleSet
from cryowalk.io.atomic import atomic_write_text
from cryowalk.io.kinds import MRC_ENDINGS
from cryowalk.io.mrc_header import read_header
from cryowalk.io.mrc_writer import MrcStackWriter
from cryowalk.io.pictures import read_micrograph
from cryowalk.io.relion import write_particles
from cryowalk.io.stacks import image_names
from cryowalk.numerics.random import generator
from cryowalk.picking.extract import boxed, check_extraction, extract_particles
from cryowalk.picking.extraction_settings import ExtractionSettings
from cryowalk.workflow.batch import Failure, stems, work_through
from cryowalk.workflow.extraction_inputs import Picks
from cryowalk.workflow.job import Job

TABLE_NAME = "particles.star"
STACKS = "Extract"  # folder of the stacks, and of what became of each micrograph's picks
_HEADER_TOLERANCE = 0.01
FLOAT_BYTES = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class ExtractionInputs:
    """The micrographs, where each one lies, the picks in them, and the device to work on."""

    micrographs: MicrographSet
    paths: tuple[Path | None, ...]
    picks: Picks
    device: torch.device | str = "cpu"


@dataclass(frozen=True, slots=True, kw_only=True)
class Extracted:
    """The particles that were written, the micrographs that could not be used, and how many picks gave no particle, by reason."""

    particles: ParticleSet | None
    failures: tuple[Failure, ...]
    outside: int
    at_edge: int
    flat: int


class _LazyStack:
    """A stack that is begun with its first image: a micrograph without particles leaves none."""

    def __init__(self, path: Path, *, side: int, pixel_size: float) -> None:
        self._path, self._side, self._pixel_size = path, side, pixel_size
        self._writer: MrcStackWriter | None = None

    def write(self, images: Float[Tensor, "n h w"]) -> None:
        """Append these images."""
        if self._writer is None:
            self._writer = MrcStackWriter(self._path, image_shape=(self._side, self._side), pixel_size=self._pixel_size)
        self._writer.write(images)

    def close(self) -> None:
        """Give the stack its final name."""
        if self._writer is not None:
            self._writer.close()


def extract_particle_files(job: Job, inputs: ExtractionInputs, settings: ExtractionSettings, *, seed: int) -> Extracted:
    """What was cut out; particles.star holds the particles of all micrographs that could be used, Extract/ their stacks.

    Beside each stack lies what became of the picks; a micrograph that has it is not done again.
    """
    check_extraction(settings)
    names = inputs.micrographs.names
    short = stems(names)
    results = [job.path(f"{STACKS}/{stem}.json") for stem in short]
    side = settings.scale or settings.box
    ahead = sum(len(inputs.picks.of(index)) for index, result in enumerate(results) if not result.is_file())
    job.require_space(ahead * FLOAT_BYTES * side**2)

    def work(index: int) -> None:
        rows = inputs.picks.of(index)
        facts: dict[str, Any] = {"picks": len(rows), "outside": 0, "at_edge": 0, "flat": 0, "kept": []}
        if len(rows):
            micrograph = _micrograph(inputs, index)
            pixel_size = micrograph.pixel_size * settings.box / side
            stack = _LazyStack(job.path(f"{STACKS}/{short[index]}.mrcs"), side=side, pixel_size=pixel_size)
            noise = generator(_seed_of(seed, short[index])) if settings.white_dust or settings.black_dust else None
            with naming(inputs.paths[index] or names[index]):
                done = extract_particles(micrograph, inputs.picks.particles[rows], settings, generator=noise, sink=stack)
            stack.close()
            facts |= {"outside": done.outside, "at_edge": done.at_edge, "flat": done.flat, "kept": done.kept.tolist()}
        atomic_write_text(results[index], json.dumps(facts) + "\n")

    failures = work_through(job, names, work, what="extracting particles", is_done=lambda index: results[index].is_file())
    failed = {failure.name for failure in failures}
    kept = [index for index, name in enumerate(names) if name not in failed]
    facts = {index: json.loads(results[index].read_text(encoding="utf-8")) for index in kept}
    lost = {reason: sum(one[reason] for one in facts.values()) for reason in ("outside", "at_edge", "flat")}
    particles = _all_particles(job, inputs, settings, {short[index]: (index, one["kept"]) for index, one in facts.items()})
    return Extracted(particles=particles, failures=failures, **lost)


def _micrograph(inputs: ExtractionInputs, index: int) -> Micrograph:
    """The micrograph's pixels, with the pixel size that the table gives."""
    path = inputs.paths[index]
    if path is None:
        name = inputs.micrographs.names[index]
        raise InputError("there is no such micrograph", file=name, cause="it was moved, or the project was")
    size = inputs.micrographs.optics_of(index).pixel_size
    image = read_micrograph(path, pixel_size=size)
    told = read_header(path).pixel_size if path.suffix.lower() in MRC_ENDINGS else None
    if told and told != 1.0 and abs(told / size - 1) > _HEADER_TOLERANCE:  # 1 Å is what programs write that know no better
        raise InputError(
            f"the header says {told:g} Å a pixel, the table {size:g} Å",
            file=path,
            cause="micrographs of different pixel sizes in one table",
            fix="correct the table or the header, or extract this one by itself",
        )
    return replace(image, pixels=image.pixels.to(inputs.device))


def _seed_of(seed: int, name: str) -> int:
    """A seed for each micrograph's noise, which depends on its name and not on its place in the table."""
    return int.from_bytes(hashlib.sha256(f"{seed}:{name}".encode()).digest()[:7], "little")


def _all_particles(
    job: Job, inputs: ExtractionInputs, settings: ExtractionSettings, kept: dict[str, tuple[int, list[int]]]
) -> ParticleSet | None:
    """The particles of all stacks, written to particles.star; None where there are none."""
    rows: list[Tensor] = []
    names: list[str] = []
    star = job.path(TABLE_NAME)
    for stem, (index, within) in kept.items():
        if within:
            rows.append(inputs.picks.of(index)[torch.tensor(within)])
            names += image_names(job.path(f"{STACKS}/{stem}.mrcs"), len(within), star=star)
    if not rows:
        return None
    chosen = inputs.picks.particles[torch.cat(rows)]
    pixel_size = inputs.micrographs.optics_of(0).pixel_size
    particles = replace(boxed(chosen, settings, pixel_size=pixel_size), image_names=tuple(names))
    write_particles(particles, star)
    return particles
