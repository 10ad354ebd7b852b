"""Simulated tilt series with files at both ends: stacks, the tables and lists that RELION and IMOD read, and the truth beside them."""

import json
import math
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import torch

from cryowalk.data import Optics
from cryowalk.data.pose import Pose
from cryowalk.data.tilt_series import TiltSeries
from cryowalk.data.tilt_series_truth import TiltSeriesTruth
from cryowalk.io.atomic import atomic_write_text
from cryowalk.io.maps import write_map
from cryowalk.io.mdoc import mdoc_of_tilt_series, write_mdoc
from cryowalk.io.mrc_header import HEADER_BYTES
from cryowalk.io.mrc_writer import MrcStackWriter
from cryowalk.io.stacks import image_names
from cryowalk.io.tilt_series_files import write_angles, write_tilt_series
from cryowalk.io.tilt_series_truth import write_tilt_series_truth, write_tomogram_particles
from cryowalk.microscope.simulate.specimens import Source, Specimens, prepare_specimens, require_field
from cryowalk.microscope.simulate.tilt_series import SimulatedSeries, draw_series, series_seed, tilt_images
from cryowalk.microscope.solvent import displaced
from cryowalk.microscope.tilt_settings import TiltSeriesSimulationSettings
from cryowalk.workflow.job import Job
from cryowalk.workflow.stages import FLOAT_BYTES, Specimen

_HAND = "1"  # RELION adds rlnTomoHand · z to the defocus of a point at height z: our underfocus grows with z


def simulate_tilt_series_files(
    job: Job, specimens: Sequence[Specimen], optics: Optics, settings: TiltSeriesSimulationSettings, *, seed: int
) -> list[TiltSeriesTruth]:
    """The truth of all series; written are tilt_series.star, a stack, a table, an mdoc and a rawtlt for each series, and the truth in truth/.

    Each tilt depends on the seed, its series and its number alone, so a stopped run goes on at the first tilt that is not on disk.
    """
    prepared = prepared_for_tilts(specimens, optics, settings)
    drawn = [
        draw_series(prepared, optics, settings, seed=series_seed(seed, number), name=f"TS_{number + 1:03d}")
        for number in range(settings.count)
    ]
    tilts = sum(len(series.truth.tilt_angle) for series in drawn)
    job.require_space(tilts * FLOAT_BYTES * settings.size[0] * settings.size[1])
    job.progress.start("simulating tilt images", tilts)
    stacks = [_write_stack(job, series) for series in drawn]
    truths = [series.truth for series in drawn]
    table = job.path("tilt_series.star")
    known = [_as_measured(truth, stack, table) for truth, stack in zip(truths, stacks, strict=True)]
    for one, stack in zip(known, stacks, strict=True):
        size = (settings.size[0], settings.size[1])
        write_mdoc(mdoc_of_tilt_series(one, image_size=size, stack=stack.name), stack.with_suffix(".mdoc"))
        write_angles(one.tilt_angle, stack.with_suffix(".rawtlt"))
    _write_truth(job, truths, prepared, seed=seed)
    write_tilt_series(known, table)
    return truths


def prepared_for_tilts(specimens: Sequence[Specimen], optics: Optics, settings: TiltSeriesSimulationSettings) -> Specimens:
    """The specimens as volumes, in boxes with room for what a wave spreads over the heights that a tilted field has.

    Raises
    ------
    UsageError
        If there is not one weight for each specimen.
    InputError
        If one is larger than the field.
    """
    from cryowalk.core.errors import UsageError

    weights = settings.weights or (1.0,) * len(specimens)
    if len(weights) != len(specimens):
        raise UsageError(
            f"{len(weights)} weights were given for {len(specimens)} specimens", expected="one weight for each specimen"
        )
    half = math.hypot(*settings.size) / 2 * optics.pixel_size
    sources = [
        Source(structure=structure, weight=weight, name=f"specimen{number}")
        for number, (structure, weight) in enumerate(zip(specimens, weights, strict=True), start=1)
    ]
    require_field(sources, field=min(settings.size) * optics.pixel_size, pixel_size=optics.pixel_size)
    return prepare_specimens(
        sources,
        optics,
        hinge_spread=settings.hinge_spread,
        conformations=settings.conformations,
        height=half * math.sin(math.radians(settings.largest_tilt_degrees)) + settings.thickness / 2,
        dress=displaced,
    )


def _write_stack(job: Job, series: SimulatedSeries) -> Path:
    """The stack of one series, written from the first tilt that is not on disk."""
    truth = series.truth
    stack = job.path(f"tilt_series/{truth.name}.mrcs")
    count = len(truth.tilt_angle)
    if stack.exists():
        job.progress.advance(count)
        return stack
    start = 0
    with suppress(FileNotFoundError):
        held = stack.with_name(stack.name + ".partial").stat().st_size - HEADER_BYTES
        start = max(0, min(held // (FLOAT_BYTES * truth.size[0] * truth.size[1]), count))
    job.progress.advance(start)
    with MrcStackWriter(stack, image_shape=truth.size, pixel_size=truth.optics.pixel_size, resume_at=start) as writer:
        for image in tilt_images(series, start=start):
            writer.write(image)
            job.progress.advance()
    return stack


def _as_measured(truth: TiltSeriesTruth, stack: Path, table: Path) -> TiltSeries:
    """What an experiment would know of the series: nominal angles and axis, doses and their order, images; neither alignment nor defocus."""
    count = len(truth.tilt_angle)
    return TiltSeries(
        name=truth.name,
        optics=truth.optics,
        tilt_angle=truth.tilt_angle,
        dose_before=truth.dose_before,
        dose=torch.full((count,), truth.dose, dtype=torch.float64),
        order=truth.order,
        tilt_axis=truth.tilt_axis,
        image_names=tuple(image_names(stack, count, star=table)),
        settings={"rlnTomoHand": _HAND},
    )


def true_tilt_series(truth: TiltSeriesTruth) -> TiltSeries:
    """The series with its true geometry as its alignment, and its true defocus."""
    return TiltSeries(
        name=truth.name,
        optics=truth.optics,
        tilt_angle=truth.tilt_angle,
        pose=Pose(lab_from_particle=truth.lab_from_specimen, shift=truth.shift),
        defocus=truth.defocus,
        dose_before=truth.dose_before,
        dose=torch.full((len(truth.tilt_angle),), truth.dose, dtype=torch.float64),
        order=truth.order,
        tilt_axis=truth.tilt_axis,
        settings={"rlnTomoHand": _HAND},
    )


def _write_truth(job: Job, truths: Sequence[TiltSeriesTruth], prepared: Specimens, *, seed: int) -> None:
    """Write truth/: a table for each series, all particles as RELION has them, the maps, the aligned series, and truth.json that names them."""
    maps = []
    for number, volume in enumerate(prepared.volumes, start=1):
        maps.append(f"specimen_state{number:03d}.mrc")
        write_map(volume, job.path(f"truth/{maps[-1]}"))
    for truth in truths:
        write_tilt_series_truth(truth, job.path(f"truth/{truth.name}.star"))
    has_particles = any(len(truth.positions) for truth in truths)
    if has_particles:
        write_tomogram_particles(truths, job.path("truth/particles.star"))
    write_tilt_series([true_tilt_series(truth) for truth in truths], job.path("truth/tilt_series.star"))
    facts = {
        "seed": seed,
        "particles": "particles.star" if has_particles else None,
        "aligned_tilt_series": "tilt_series.star",
        "states": [
            {"map": name, "specimen": state.source + 1, "conformation_rad": state.conformation, "share": state.weight}
            for name, state in zip(maps, prepared.states, strict=True)
        ],
        "tilt_series": [
            {
                "name": truth.name,
                "truth": f"{truth.name}.star",
                "tilts": len(truth.tilt_angle),
                "particles": len(truth.positions),
                "beads": len(truth.bead_positions),
                "thickness_angstrom": truth.thickness,
                "dose_electrons_per_square_angstrom": truth.dose * len(truth.tilt_angle),
            }
            for truth in truths
        ],
    }
    atomic_write_text(job.path("truth/truth.json"), json.dumps(facts, indent=1) + "\n")
