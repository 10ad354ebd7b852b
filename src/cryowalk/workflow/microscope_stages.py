"""Micrographs and movies with files at both ends: each item follows from the seed and its number alone, so that a stopped run goes on with the same bytes."""

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from cryowalk.core.errors import UsageError
from cryowalk.core.units import DEGREE
from cryowalk.data import Atoms, Camera, Optics, ParticleSet, Volume
from cryowalk.data.micrograph_truth import MicrographTruth
from cryowalk.data.micrographs import MicrographSet
from cryowalk.data.optics import Defocus
from cryowalk.data.pose import Pose
from cryowalk.io.atomic import atomic_write_text
from cryowalk.io.eer_encoder import EerMovieWriter
from cryowalk.io.gain import relion_meaning, write_gain
from cryowalk.io.maps import write_map
from cryowalk.io.micrograph_truth import read_micrograph_truth, write_micrograph_truth, write_true_motion
from cryowalk.io.micrographs import write_micrographs
from cryowalk.io.movie_writers import MovieWriter, SampleFormat
from cryowalk.io.movies import open_movie_writer
from cryowalk.io.mrc import write_array
from cryowalk.io.relion import write_particles
from cryowalk.io.stacks import stack_reference
from cryowalk.io.write_behind import WriteBehind
from cryowalk.microscope.camera import defects, gain_reference
from cryowalk.microscope.lens import warn_of_aliasing
from cryowalk.microscope.micrograph_settings import MicrographSimulationSettings, MovieSimulationSettings
from cryowalk.microscope.simulate.drawing import check_settings, check_specimens, warn_of_strength
from cryowalk.microscope.simulate.instrument import instrument_for
from cryowalk.microscope.simulate.micrographs import simulate_micrograph
from cryowalk.microscope.simulate.movies import Sensor, check_movie_settings, movie_camera, simulate_movie
from cryowalk.microscope.simulate.specimens import Source, Specimens, prepare_specimens, require_field
from cryowalk.microscope.solvent import displaced
from cryowalk.numerics.sizes import fast_length_from
from cryowalk.workflow.job import Job
from cryowalk.workflow.memory import require_canvas_memory
from cryowalk.workflow.settings_files import plain
from cryowalk.workflow.stages import Specimen

TRUTH = "truth"
TRUTH_NAME = f"{TRUTH}/truth.json"
MICROGRAPHS, MOVIES, PARTICLES = "micrographs.star", "movies.star", "particles.star"
_SENSOR = 0  # micrographs are numbered from 1
_BYTES = {"float32": 4, "uint16": 2, "uint8": 1, "int8": 1}
_SMALLEST_RAW = 4  # raw frames in a frame of an EER movie
_ENDINGS = {"mrc": ".mrc", "tiff": ".tiff", "eer": ".eer"}
_UNITS = {
    "length": "Å",
    "dose": "e⁻/Å²",
    "angle": "degrees where the name says so, else rad",
    "coordinates": "pixels of the micrograph, the centre of the first pixel is 0",
}


def generator_of_number(seed: int, number: int, *, device: str = "cpu") -> torch.Generator:
    """The generator of everything random in the micrograph of this number, keyed by both numbers."""
    key = int(np.random.SeedSequence((seed, number)).generate_state(1, np.uint64)[0]) >> 1
    return torch.Generator(device=device).manual_seed(key)


def sources_of(specimen: Specimen | Sequence[Specimen], names: Sequence[str], weights: Sequence[float]) -> tuple[Source, ...]:
    """The kinds of molecules with their names and weights.

    Raises
    ------
    UsageError
        If there is not one weight a specimen.
    """
    specimens: list[Specimen] = [specimen] if isinstance(specimen, Atoms | Volume) or callable(specimen) else list(specimen)
    if weights and len(weights) != len(specimens):
        raise UsageError(f"{len(weights)} weights were given for {len(specimens)} specimens", fix="give one weight a specimen")
    shares = weights or (1.0,) * len(specimens)
    return tuple(
        Source(structure=one, weight=share, name=name) for one, share, name in zip(specimens, shares, names, strict=True)
    )


def prepared_specimens(sources: Sequence[Source], optics: Optics, settings: MicrographSimulationSettings) -> Specimens:
    """The states of these specimens at the pixel size of the optics, as the settings ask."""
    dress: Callable[[Atoms, Volume], Volume] | None = displaced if settings.solvent == "displaced" else None
    thickest = max(settings.ice_thickness, settings.rim_thickness or 0.0)
    require_field(sources, field=min(settings.size) * optics.pixel_size, pixel_size=optics.pixel_size)
    return prepare_specimens(
        sources,
        optics,
        box=settings.box,
        hinge_spread=settings.hinge_spread,
        conformations=settings.conformations,
        height=thickest / 2,
        dress=dress,
    )


def simulate_micrograph_files(
    job: Job,
    sources: Sequence[Source],
    optics: Optics,
    settings: MicrographSimulationSettings,
    *,
    seed: int,
    camera: Camera | None = None,
) -> tuple[MicrographTruth, ...]:
    """The truths of micrographs that were written to micrographs/, with micrographs.star, particles.star and truth/ beside them."""
    check_settings(settings)
    used = instrument_for(settings, camera).camera
    job.require_space(settings.count * settings.size[0] * settings.size[1] * _BYTES["float32"])
    require_canvas_memory(optics, settings)
    specimens = _placed(job, prepared_specimens(sources, optics, settings), settings, optics)

    def one(number: int, image: Path, truth_file: Path) -> None:
        name = stack_reference(image, star=job.path(MICROGRAPHS))
        source = generator_of_number(seed, number, device=job.manifest.device)
        micrograph, truth = simulate_micrograph(specimens, optics, generator=source, settings=settings, camera=camera, name=name)
        write_array(micrograph.pixels.cpu(), image, voxel_size=optics.pixel_size)
        write_micrograph_truth(truth, truth_file)

    job.progress.start("simulating micrographs", settings.count)
    for number in range(1, settings.count + 1):
        image, truth_file = (
            job.path(f"micrographs/micrograph_{number:05d}.mrc"),
            job.path(f"{TRUTH}/micrograph_{number:05d}.star"),
        )
        if truth_file.is_file() and image.is_file():
            job.progress.skip(1)
            continue
        one(number, image, truth_file)
        job.progress.advance()
    truths = tuple(
        read_micrograph_truth(job.path(f"{TRUTH}/micrograph_{number:05d}.star")) for number in range(1, settings.count + 1)
    )
    micrographs = MicrographSet(
        optics=(truths[0].optics,),
        optics_index=torch.zeros(len(truths), dtype=torch.int64),
        names=tuple(truth.name for truth in truths),
    )
    write_micrographs(micrographs, job.path(MICROGRAPHS))
    write_micrographs(micrographs.with_defocus(_defocus_of(truths)), job.path(f"{TRUTH}/micrographs_ctf.star"))
    _write_shared_truth(job, truths, specimens, settings, camera=used, seed=seed)
    return truths


def simulate_movie_files(
    job: Job,
    sources: Sequence[Source],
    optics: Optics,
    settings: MovieSimulationSettings,
    *,
    seed: int,
    camera: Camera | None = None,
) -> tuple[MicrographTruth, ...]:
    """The truths of movies that were written to movies/, with movies.star, the gain reference, particles.star and truth/ beside them.

    The pixel size of the optics is the camera's; with super-resolution frames are twice as large and fine.
    """
    check_settings(settings)
    check_movie_settings(settings)
    used = movie_camera(settings, camera)
    fine, wide = _frames(optics, settings)
    sample = _sample_format(used, fine, wide)
    job.require_space(settings.count * settings.frames * wide.size[0] * wide.size[1] * _BYTES[sample])
    require_canvas_memory(fine, wide)
    specimens = _placed(job, prepared_specimens(sources, fine, wide), wide, fine)
    sensor = _sensor(job, wide, camera=camera, seed=seed)

    def one(number: int, movie: Path, truth_file: Path) -> None:
        source = generator_of_number(seed, number, device=job.manifest.device)
        writer = _writer(movie, fine, wide, sample=sample, seed=seed + number)
        with writer, WriteBehind(writer) as sink:
            truth = simulate_movie(
                specimens, fine, generator=source, sink=sink, settings=wide, sensor=sensor, progress=job.progress
            )
        name = stack_reference(movie, star=job.path(MOVIES))
        motion_file = None
        if truth.motion is not None:
            motion_file = truth_file.with_name(truth_file.stem + "_motion.star")
            write_true_motion(truth, motion_file, movie_name=name, frames=settings.frames)
        write_micrograph_truth(replace(truth, name=name), truth_file, motion_file=motion_file)

    job.progress.start("simulating movie frames", settings.count * settings.frames)
    for number in range(1, settings.count + 1):
        movie = job.path(f"movies/movie_{number:05d}{_ENDINGS[settings.format]}")
        truth_file = job.path(f"{TRUTH}/movie_{number:05d}.star")
        if truth_file.is_file() and movie.is_file():
            job.progress.skip(settings.frames)
            continue
        one(number, movie, truth_file)
    truths = tuple(read_micrograph_truth(job.path(f"{TRUTH}/movie_{number:05d}.star")) for number in range(1, settings.count + 1))
    movies = MicrographSet(
        optics=(truths[0].optics,),
        optics_index=torch.zeros(len(truths), dtype=torch.int64),
        movie_names=tuple(truth.name for truth in truths),
    )
    write_micrographs(movies, job.path(MOVIES))
    _write_shared_truth(job, truths, specimens, settings, camera=used, seed=seed)
    return truths


def _frames(optics: Optics, settings: MovieSimulationSettings) -> tuple[Optics, MovieSimulationSettings]:
    """The optics and the settings on the grid of the frames."""
    if settings.super_resolution == "1":
        return optics, settings
    width, height = settings.size
    return replace(optics, pixel_size=optics.pixel_size / 2), replace(settings, size=(2 * width, 2 * height))


def _warn_of_defocus(optics: Optics, settings: MicrographSimulationSettings) -> None:
    """Warn where the largest defocus moves detail by more than half the micrograph, and name the size that holds it."""
    largest = torch.tensor(max(map(abs, settings.defocus_range)), dtype=torch.float64)
    nothing = torch.zeros_like(largest)
    defocus = Defocus(major=largest, minor=largest, azimuth=nothing, phase_shift=nothing)
    warn_of_aliasing(optics, defocus, box=min(settings.size))


def _placed(job: Job, specimens: Specimens, settings: MicrographSimulationSettings, optics: Optics) -> Specimens:
    """The specimens on the job's device, known to fit into the field; their potentials are written as maps."""
    check_specimens(specimens, optics, settings)
    warn_of_strength(specimens, optics)
    _warn_of_defocus(optics, settings)
    for number, volume in enumerate(specimens.volumes, start=1):
        path = job.path(_map_name(number))
        if not path.is_file():
            write_map(volume, path)
    return specimens if job.manifest.device == "cpu" else specimens.to(job.manifest.device)


def _map_name(number: int) -> str:
    return f"{TRUTH}/specimen_{number:03d}.mrc"


def _sensor(job: Job, settings: MovieSimulationSettings, *, camera: Camera | None, seed: int) -> Sensor:
    """The camera's gain reference and broken pixels, the same for all movies; the reference is written as RELION takes it for such movies."""
    device = job.manifest.device
    source = generator_of_number(seed, _SENSOR, device=device)
    if settings.gain == "none" and settings.dead_pixels == 0:
        return Sensor(camera=camera)
    factor = int(settings.super_resolution)
    size = (settings.size[1] // factor, settings.size[0] // factor)
    factors = torch.ones(size, device=device)
    if settings.gain == "drawn":
        factors = gain_reference(size, deviation=settings.gain_deviation, generator=source)
    broken = defects(size, generator=source, dead=settings.dead_pixels, hot=0, columns=0)
    path = job.path("gain.mrc")
    if not path.is_file():
        meaning = relion_meaning(path, movie=f"movie{_ENDINGS[settings.format]}")
        write_gain(torch.where(broken.is_defective, 0.0, factors).cpu(), path, stored_as=meaning)

    def fine(image: torch.Tensor) -> torch.Tensor:
        return image.repeat_interleave(factor, dim=0).repeat_interleave(factor, dim=1)

    found = None if settings.dead_pixels == 0 else type(broken)(fine(broken.is_defective), fine(broken.value))
    return Sensor(camera=camera, gain_reference=fine(factors), defects=found)


def _sample_format(camera: Camera, optics: Optics, settings: MovieSimulationSettings) -> SampleFormat:
    """The smallest kind of number that holds the frames: whole ones where electrons are counted."""
    if camera.mode != "counting" or camera.noise == "none":
        return "float32"
    mean = settings.dose / settings.frames * optics.pixel_size**2
    largest = mean + 12 * math.sqrt(mean) + 12
    if settings.format == "mrc":
        return "int8" if largest < 128 else "uint16"
    return "uint8" if largest < 256 else "uint16"


def _writer(path: Path, optics: Optics, settings: MovieSimulationSettings, *, sample: SampleFormat, seed: int) -> MovieWriter:
    """The writer of a movie in the settings' format."""
    shape = (settings.size[1], settings.size[0])
    if settings.format != "eer":
        return open_movie_writer(
            path, image_shape=shape, pixel_size=optics.pixel_size, sample_format=sample, frames=settings.frames
        )
    factor = int(settings.super_resolution)
    mean = settings.dose / settings.frames * (factor * optics.pixel_size) ** 2
    most = math.ceil(mean + 8 * math.sqrt(mean) + 8)  # electrons that a camera pixel may find in a frame: a raw frame holds one
    raw = max(_SMALLEST_RAW, most, math.ceil(mean / settings.raw_dose))
    return EerMovieWriter(
        path,
        image_shape=shape,
        pixel_size=optics.pixel_size,
        raw_frames_per_frame=raw,
        upsampling=2 if settings.super_resolution == "2" else 1,
        seed=seed,
    )


def _defocus_of(truths: Sequence[MicrographTruth]) -> Defocus:
    def all_of(part: str) -> torch.Tensor:
        return torch.stack([getattr(truth.defocus, part).double() for truth in truths])

    return Defocus(major=all_of("major"), minor=all_of("minor"), azimuth=all_of("azimuth"), phase_shift=all_of("phase_shift"))


def all_particles(truths: Sequence[MicrographTruth]) -> ParticleSet | None:
    """The particles of all micrographs as one set, half sets in turn; None without any."""
    sets = [truth.particles() for truth in truths if len(truth)]
    if not sets:
        return None
    poses = [one.pose for one in sets if one.pose is not None]
    defoci = [one.defocus for one in sets if one.defocus is not None]
    count = sum(map(len, sets))

    def joined(parts: Sequence[Any], name: str) -> Any:
        values = [getattr(part, name) for part in parts]
        return None if values[0] is None else torch.cat(values)

    return ParticleSet(
        optics=sets[0].optics,
        optics_index=torch.zeros(count, dtype=torch.int64),
        pose=Pose(lab_from_particle=joined(poses, "lab_from_particle"), shift=joined(poses, "shift")),
        defocus=Defocus(**{name: joined(defoci, name) for name in ("major", "minor", "azimuth", "phase_shift", "b_factor")}),
        half=1 + torch.arange(count) % 2,
        class_number=joined(sets, "class_number"),
        micrograph_names=tuple(name for one in sets for name in one.micrograph_names),
        coordinates=joined(sets, "coordinates"),
    )


def with_box(particles: ParticleSet, specimens: Specimens) -> ParticleSet:
    """The particles with the box (pixels) that their optics name, one and a half times the largest specimen: RELION cuts none without."""
    largest = max(state.radius for state in specimens.states)
    groups = []
    for group in particles.optics:
        box = fast_length_from(math.ceil(3 * largest / group.pixel_size))
        groups.append(replace(group, extra={**group.extra, "rlnImageSize": str(box)}))
    return replace(particles, optics=tuple(groups))


def _write_shared_truth(
    job: Job,
    truths: Sequence[MicrographTruth],
    specimens: Specimens,
    settings: MicrographSimulationSettings,
    *,
    camera: Camera,
    seed: int,
) -> None:
    """Write particles.star and truth.json."""
    particles = all_particles(truths)
    if particles is not None:
        write_particles(with_box(particles, specimens), job.path(PARTICLES))
    optics = truths[0].optics
    instrument = instrument_for(settings, camera)
    facts = {
        "command": job.manifest.command,
        "seed": seed,
        "units": _UNITS,
        "pixel_size": optics.pixel_size,
        "size": list(reversed(truths[0].size)),
        "dose": settings.dose,
        "optics": {
            "voltage_kv": optics.voltage_kv,
            "spherical_aberration_mm": optics.spherical_aberration_mm,
            "amplitude_contrast": optics.amplitude_contrast,
            "beam_tilt": list(optics.aberrations.beam_tilt),
        },
        "gun": asdict(instrument.gun),
        "lens": asdict(instrument.lens),
        "camera": plain(camera),
        "specimens": [
            {**asdict(state), "number": state.source + 1, "map": Path(_map_name(place)).name}
            for place, state in enumerate(specimens.states, start=1)
        ],
        "micrographs": [_facts_of(truth, number, settings) for number, truth in enumerate(truths, start=1)],
        "settings": plain(settings),
    }
    atomic_write_text(job.path(TRUTH_NAME), json.dumps(facts, indent=1, ensure_ascii=False) + "\n")


def _facts_of(truth: MicrographTruth, number: int, settings: MicrographSimulationSettings) -> dict[str, Any]:
    kind = "movie" if isinstance(settings, MovieSimulationSettings) else "micrograph"
    facts: dict[str, Any] = {
        "number": number,
        kind: truth.name,
        "truth": f"{kind}_{number:05d}.star",
        "particles": len(truth),
        "defocus_major": float(truth.defocus.major),
        "defocus_minor": float(truth.defocus.minor),
        "defocus_azimuth_degrees": float(truth.defocus.azimuth) / DEGREE,
        "phase_shift_degrees": float(truth.defocus.phase_shift) / DEGREE,
        **truth.extra,
    }
    if truth.motion is not None:
        facts["motion"] = f"{kind}_{number:05d}_motion.star"
    return facts
