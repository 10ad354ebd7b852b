"""TEM-simulator's parameter files run by this microscope: the images of each camera at each tilt, the maps of the particles, and the truth beside them."""

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cryowalk.core.errors import InputError
from cryowalk.core.units import DEGREE
from cryowalk.data import Camera, Optics
from cryowalk.data.micrograph_truth import MicrographTruth
from cryowalk.data.micrographs import MicrographSet
from cryowalk.data.optics import Defocus
from cryowalk.geometry.rotations import matrix_from_euler
from cryowalk.io.atomic import atomic_write_text
from cryowalk.io.atoms import read_atoms
from cryowalk.io.maps import read_map, write_map
from cryowalk.io.micrograph_truth import write_micrograph_truth
from cryowalk.io.micrographs import write_micrographs
from cryowalk.io.mrc import write_array
from cryowalk.io.mrc_writer import MrcStackWriter
from cryowalk.io.stacks import stack_reference
from cryowalk.io.tem_coordinates import read_tem_coordinates
from cryowalk.io.tem_instrument import camera_of, gun_of, lens_of, optics_of
from cryowalk.io.tem_simulator_settings import TemDetector, TemInput, TemParticle, TemParticleSet
from cryowalk.microscope.camera import record
from cryowalk.microscope.delivery import IceThickness, ParticleKind, deliver
from cryowalk.microscope.delivery_settings import DeliverySettings
from cryowalk.microscope.micrograph_settings import MicrographSimulationSettings
from cryowalk.microscope.simulate.drawing import Drawing, Streams
from cryowalk.microscope.simulate.instrument import Instrument
from cryowalk.microscope.simulate.micrographs import camera_margin, centre_of, expected_electrons, truth_of
from cryowalk.microscope.simulate.scene import Scene, View, canvas_for, place_of
from cryowalk.microscope.simulate.specimens import Source, Specimens, prepare_specimens, require_field
from cryowalk.microscope.solvent import displaced
from cryowalk.workflow.job import Job
from cryowalk.workflow.microscope_stages import generator_of_number

_PLACES, _SHARED = 0, 10**6  # numbers of generators beside those of the images, which count from 1


@dataclass(frozen=True, slots=True, kw_only=True)
class _Run:
    """A parameter file with what all its images share."""

    made: TemInput
    folder: Path
    seed: int
    detector: TemDetector
    optics: Optics
    specimens: Specimens
    scene: Scene
    thickness: IceThickness


def simulate_tem_files(job: Job, made: TemInput, *, folder: Path, seed: int) -> tuple[MicrographTruth, ...]:
    """The truths of all images that the parameters ask for, written with one file of images a camera, micrographs.star and truth/.

    Files that the parameters name are sought in `folder`; what they say about outputs is kept but for the folder: everything goes into the job's. A seed that is not
    negative replaces `seed`. Ice is without grain and nothing fades, as in TEM-simulator.

    Raises
    ------
    InputError
        If a file that they name is missing, or they ask for what is not simulated here.
    """
    seed = made.simulation.seed if made.simulation.seed >= 0 else seed
    if not made.detectors:
        raise InputError("the parameters name no detector", expected="a section === detector ===")
    truths: list[MicrographTruth] = []
    tilts = made.geometry.tilts if made.geometry.generates_tilts else 1
    job.progress.start("simulating images", tilts * len(made.detectors))
    for number, detector in enumerate(made.detectors, start=1):
        run = _prepared(made, detector, folder=folder, seed=seed)
        for particle, volume in zip(made.particles, run.specimens.volumes, strict=True):
            write_map(volume, job.path(f"truth/{Path(particle.real_map_output or particle.name + '_real.mrc').name}"))
        if not made.simulation.generate_micrographs:
            job.progress.note("generate_micrographs = no: only the maps of the particles were written")
            continue
        truths += _images(job, run, tilts=tilts, number=number)
    if truths:
        _write_tables(job, truths, made, seed=seed)
    return tuple(truths)


def _prepared(made: TemInput, detector: TemDetector, *, folder: Path, seed: int) -> _Run:
    """What the images of one camera share."""
    optics = optics_of(made, detector)
    sources = [
        Source(structure=_structure(particle, folder), name=particle.name or f"particle{number}")
        for number, particle in enumerate(made.particles, start=1)
    ]
    if not sources:
        raise InputError("the parameters name no particle", expected="a section === particle NAME ===")
    require_field(sources, field=min(detector.height, detector.width) * optics.pixel_size, pixel_size=optics.pixel_size)
    specimens = prepare_specimens(sources, optics, height=max(made.sample.thickness_at_edge, 300.0), dress=displaced)
    size = (detector.height, detector.width)
    middle = (size[1] // 2 * optics.pixel_size, size[0] // 2 * optics.pixel_size)
    sample = made.sample
    thickness = IceThickness(
        middle=sample.thickness_at_centre,
        rim=sample.thickness_at_edge,
        radius=sample.diameter / 2,
        centre=(middle[0] + sample.offset_x, middle[1] + sample.offset_y),
    )
    parts = [_particles_of(one, made, specimens, (folder, optics, size, seed)) for one in made.particle_sets]
    scene = Scene(
        specimens=specimens,
        optics=optics,
        size=size,
        positions=_joined([part[0] for part in parts], (0, 3)) + torch.tensor([*middle, 0.0], dtype=torch.float64),
        lab_from_particle=_joined([part[1] for part in parts], (0, 3, 3)),
        state=_joined([part[2] for part in parts], (0,)).long(),
    )
    return _Run(
        made=made,
        folder=folder,
        seed=seed,
        detector=detector,
        optics=optics,
        specimens=specimens,
        scene=scene,
        thickness=thickness,
    )


def _joined(parts: Sequence[Tensor], empty: tuple[int, ...]) -> Tensor:
    return torch.cat(list(parts)) if parts else torch.zeros(empty, dtype=torch.float64)


def _structure(particle: TemParticle, folder: Path) -> Any:
    """The atoms or the map of a particle."""
    if particle.source == "pdb" and particle.structure_file:
        return read_atoms(folder / particle.structure_file)
    if particle.source == "map" and particle.map_file:
        return read_map(folder / particle.map_file)
    raise InputError(
        f"the particle “{particle.name}” has the source “{particle.source}”",
        expected="source = pdb or map, with the name of its file",
    )


def _particles_of(
    one: TemParticleSet, made: TemInput, specimens: Specimens, place: tuple[Path, Optics, tuple[int, int], int]
) -> tuple[Tensor, Tensor, Tensor]:
    """Positions from the middle (Å), rotations and states of one set of particles."""
    folder, optics, size, seed = place
    state = next(number for number, particle in enumerate(made.particles) if particle.name == one.particle)
    if one.placed_by == "file":
        found = read_tem_coordinates(folder / one.coordinate_file)
        return found.positions, found.lab_from_particle, torch.full((len(found),), float(state), dtype=torch.float64)
    if one.placed_by != "random" or one.count is None:
        raise InputError(
            f"particle_coords = {one.placed_by} is not simulated here", expected="file, or random with num_particles"
        )
    field = (size[1] * optics.pixel_size, size[0] * optics.pixel_size)
    delivery = deliver(
        DeliverySettings(count=one.count, ice_thickness=made.sample.thickness_at_centre, separation="volume"),
        field=field,
        specimens=[ParticleKind(radius=specimens.states[state].radius)],
        generator=generator_of_number(seed, _SHARED + state),
    )
    middle = torch.tensor([field[0] / 2, field[1] / 2, 0.0], dtype=torch.float64)
    return delivery.positions - middle, delivery.lab_from_particle, torch.full((one.count,), float(state), dtype=torch.float64)


def _images(job: Job, run: _Run, *, tilts: int, number: int) -> list[MicrographTruth]:
    """The truths of one camera's images, which are written as one file."""
    name = Path(run.detector.image_output or f"image_{number}.mrc").name
    path = job.path(name)
    optics, size = run.optics, run.scene.size
    job.require_space(tilts * 4 * size[0] * size[1])
    instrument = Instrument(gun=gun_of(run.made), lens=lens_of(run.made), camera=camera_of(run.detector))
    shared = torch.randn((), generator=generator_of_number(run.seed, _PLACES), dtype=torch.float64)
    truths: list[MicrographTruth] = []

    def images() -> Iterator[Tensor]:
        for tilt in range(tilts):
            image, truth = _image(run, instrument, tilt=tilt, tilts=tilts, shared=float(shared))
            reference = stack_reference(path, star=job.path("micrographs.star"))
            truth = replace(truth, name=reference if tilts == 1 else f"{tilt + 1:06d}@{reference}")
            write_micrograph_truth(truth, job.path(f"truth/{path.stem}_{tilt + 1:03d}.star"))
            truths.append(truth)
            job.progress.advance()
            yield image

    if tilts == 1:
        write_array(next(images()), path, voxel_size=optics.pixel_size)
        return truths
    with MrcStackWriter(path, image_shape=size, pixel_size=optics.pixel_size) as writer:
        for image in images():
            writer.write(image[None])
    return truths


def _image(run: _Run, instrument: Instrument, *, tilt: int, tilts: int, shared: float) -> tuple[Tensor, MicrographTruth]:
    """One image and its truth: places, poses and defocus as this tilt has them."""
    made = run.made
    angle = made.geometry.first_tilt + tilt * made.geometry.tilt_step
    turn = torch.tensor([made.geometry.tilt_axis, angle, -made.geometry.tilt_axis], dtype=torch.float64)
    rotation = matrix_from_euler(turn, order="ZXZ")
    source = generator_of_number(run.seed, 1 + tilt)
    draws = torch.randn(2, generator=source, dtype=torch.float64).tolist()
    dose = made.beam.dose_per_image or (made.beam.total_dose or 0.0) / tilts
    dose *= max(0.0, 1 + made.beam.dose_deviation * draws[0])
    mean = made.optics.defocus + made.optics.systematic_defocus_error * shared + made.optics.random_defocus_error * draws[1]
    one = torch.tensor(mean, dtype=torch.float64)
    defocus = Defocus(major=one, minor=one.clone(), azimuth=torch.zeros_like(one), phase_shift=torch.zeros_like(one))
    scene = replace(
        run.scene,
        positions=place_of(run.scene, View(lab_from_specimen=rotation)),
        lab_from_particle=rotation @ run.scene.lab_from_particle,
    )
    longer = 1 / max(math.cos(angle), 0.05)
    settings = MicrographSimulationSettings(
        size=(run.detector.width, run.detector.height), dose=dose, ice="smooth", damage="none", b_factor=0.0
    )
    drawing = Drawing(
        scene=scene,
        canvas=canvas_for(run.optics, defocus, size=scene.size),
        defocus=defocus,
        thickness=replace(run.thickness, middle=run.thickness.middle * longer, rim=run.thickness.rim * longer),
        side=torch.zeros(len(scene), dtype=torch.int64),
        film=None,
        contamination=None,
        has_graphene=False,
        streams=Streams(*torch.randint(2**62, (len(Streams._fields),), generator=source).tolist()),
    )
    camera: Camera = instrument.camera
    expected = expected_electrons(drawing, settings, instrument=instrument, margin=camera_margin(drawing.canvas, camera))
    image = centre_of(record(expected, camera, generator=source), drawing.canvas.inner).contiguous()
    truth = truth_of(drawing, settings, name="")
    return image, replace(truth, extra={**truth.extra, "tilt_angle_degrees": angle / DEGREE})


def _write_tables(job: Job, truths: Sequence[MicrographTruth], made: TemInput, *, seed: int) -> None:
    """Write micrographs.star and truth.json, and the defocus file that the parameters ask for."""
    groups = tuple(dict.fromkeys(truth.optics.pixel_size for truth in truths))
    optics = tuple(
        replace(next(truth.optics for truth in truths if truth.optics.pixel_size == size), name=f"opticsGroup{number}")
        for number, size in enumerate(groups, start=1)
    )
    micrographs = MicrographSet(
        optics=optics,
        optics_index=torch.tensor([groups.index(truth.optics.pixel_size) for truth in truths]),
        names=tuple(truth.name for truth in truths),
    )
    write_micrographs(micrographs, job.path("micrographs.star"))
    facts = {
        "command": job.manifest.command,
        "seed": seed,
        "images": [
            {
                "name": truth.name,
                "size": list(reversed(truth.size)),
                "pixel_size": truth.optics.pixel_size,
                "particles": len(truth),
                "defocus": float(truth.defocus.major),
                **truth.extra,
            }
            for truth in truths
        ],
    }
    atomic_write_text(job.path("truth/truth.json"), json.dumps(facts, indent=1, ensure_ascii=False) + "\n")
    if made.optics.defocus_output:
        lines = [f"{len(truths)}  1", *(f"{float(truth.defocus.major) * 1e-4:.6f}" for truth in truths)]  # μm
        atomic_write_text(job.path(Path(made.optics.defocus_output).name), "\n".join(lines) + "\n")
