"""Stacks of single-particle images with their truth: specimen and optics in, particles out."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from cryowalk.core.checks import require_between
from cryowalk.core.errors import UsageError
from cryowalk.core.execution import ImageSink, Progress, SilentProgress
from cryowalk.data.atoms import Atoms
from cryowalk.data.images import ImageStack
from cryowalk.data.optics import Optics
from cryowalk.data.particles import ParticleSet
from cryowalk.data.truth import Truth
from cryowalk.data.volume import Volume
from cryowalk.fourier.nufft import project_exactly
from cryowalk.fourier.shells import shell_average
from cryowalk.fourier.slices import extract_slices
from cryowalk.fourier.transform import resize, to_fourier, to_real
from cryowalk.microscope.aberrations import is_magnified_evenly
from cryowalk.microscope.exposure import deviation_for_snr, noise_deviation, noise_images, noise_power, signal_variance
from cryowalk.microscope.image_formation import FormedImages, form_images
from cryowalk.microscope.lens import canvas_size, warn_of_aliasing
from cryowalk.microscope.settings import ParticleSimulationSettings
from cryowalk.microscope.simulate.parameters import (
    CONTAMINATION,
    ParticleParameters,
    check_settings,
    colour_of_noise,
    draw_parameters,
)
from cryowalk.microscope.simulate.recording import (
    Instrument,
    contamination_of_image,
    faded_volume,
    generator_of_image,
    instrument_for,
    noiseless_images,
    recorded_images,
    strong_images,
    weak_images,
)
from cryowalk.microscope.simulate.specimens import Source, Specimens, Structure, prepare_specimens
from cryowalk.microscope.solvent import displaced

_SAMPLE = 256  # images, evenly spread, from which the signal's variance is taken
_NOISE_SAMPLE = 128  # of these, from which the spectrum of the noise is taken


class _Scene(NamedTuple):
    """All that images are made from; `instrument` is there where the microscope makes the noise, `faded` where slices of volumes are needed."""

    optics: Optics
    settings: ParticleSimulationSettings
    parameters: ParticleParameters
    specimens: Specimens
    state: Tensor
    canvas: int
    instrument: Instrument | None = None
    faded: tuple[Volume, ...] = ()


class _Noise(NamedTuple):
    """The noise of the images: its power E|n_k|² in each shell and its variance, None without noise."""

    power: Tensor | None
    variance: float | None


def simulate_particles(
    specimen: "Structure | Sequence[Structure]",
    optics: Optics,
    *,
    generator: torch.Generator,
    settings: ParticleSimulationSettings | None = None,
    sink: ImageSink | None = None,
    start: int = 0,
    progress: Progress | None = None,
    **choices: Any,
) -> tuple[ParticleSet, Truth]:
    """Particle images of the specimen, protein bright, in V Å, with their poses, CTFs and half sets; and the truth behind them.

    Image = CTF ∗ ∫ V(Rᵀ x) dz, moved by the shift, formed on a canvas without wrap-round and cropped, as the camera counts it, with the structural noise of ice
    and with radiation damage; or, with an SNR or drawn noise, plus noise. `specimen` is a molecule, a map in V with the pixel size of the optics,
    for a hinge spread a function of `angle` (rad) such as `specimen.hinge`, or several of these, which occur by the settings' weights.
    `choices` are single settings that replace those in `settings`.

    All parameters are drawn first, and everything random of image i depends on the generator's state at the call and on i only. Images go to `sink` in
    batches, in order, from image `start` on (to resume), or, without a sink, into memory.

    Raises
    ------
    UsageError
        If a setting cannot be meant, or a rigid specimen is to bend.
    InputError
        If the specimen does not fit into the box, or a map has another voxel size than the optics' pixel size.
    """
    settings = _chosen(settings, choices)
    check_settings(settings)
    require_between("start", start, 0, settings.count)
    if start and sink is None:
        raise UsageError("images from a later start need a sink that holds the earlier ones")
    if not is_magnified_evenly(optics.aberrations):
        raise UsageError("particles are simulated without anisotropic magnification", fix="give the magnification matrix 1 0 0 1")
    progress = progress or SilentProgress()
    scene = _scene(_structures(specimen, settings), optics, settings, generator=generator)
    sample = _signal_sample(scene)
    noise = _noise_of(scene, sample)
    _tell(progress, sample, noise)
    progress.start("simulating particle images", settings.count)
    progress.advance(start)
    held: list[Tensor] = []
    for images in _batches(scene, noise, start):
        held.append(images) if sink is None else sink.write(images)
        progress.advance(len(images))
    parameters = scene.parameters
    particles = ParticleSet(
        optics=(optics,),
        optics_index=torch.zeros(settings.count, dtype=torch.int64),
        images=ImageStack(pixels=torch.cat(held), pixel_size=optics.pixel_size) if held else None,
        pose=parameters.pose,
        defocus=parameters.defocus,
        half=parameters.half,
    )
    return particles, _truth(scene, specimen, sample, noise)


def _structures(specimen: "Structure | Sequence[Structure]", settings: ParticleSimulationSettings) -> list[Structure]:
    """The specimens as a list.

    Raises
    ------
    UsageError
        If there is none, or none of them bends as the settings ask.
    """
    structures = [specimen] if isinstance(specimen, Atoms | Volume) or callable(specimen) else list(specimen)
    if not structures:
        raise UsageError("there is no specimen to simulate", fix="give a molecule, a map, or several of them")
    if settings.hinge_spread > 0 and all(isinstance(each, Atoms | Volume) for each in structures):
        raise UsageError(
            "hinge_spread bends a flexible specimen, but this one is rigid",
            fix="give a function of the angle such as cryowalk.microscope.specimen.hinge, or a hinge_spread of 0",
        )
    return structures


def _scene(
    structures: list[Structure], optics: Optics, settings: ParticleSimulationSettings, *, generator: torch.Generator
) -> _Scene:
    """All that images are made from: what is drawn, the potentials, the canvas, the instrument."""
    parameters = draw_parameters(settings, generator=generator, specimens=len(structures))
    is_recorded = colour_of_noise(settings) is None
    specimens = prepare_specimens(
        [Source(structure=structure) for structure in structures],
        optics,
        box=settings.box,
        hinge_spread=settings.hinge_spread,
        conformations=settings.conformations,
        dress=displaced if is_recorded and settings.solvent == "displaced" else None,
    )
    counts = torch.bincount(specimens.sources)
    before = torch.cumsum(counts, 0) - counts
    state = before[parameters.specimen] + parameters.state.clamp(max=counts[parameters.specimen] - 1)
    canvas = settings.canvas or canvas_size(optics, parameters.defocus, box=settings.box)
    warn_of_aliasing(optics, parameters.defocus, box=settings.box)
    scene = _Scene(optics, settings, parameters, specimens, state, canvas)
    if not is_recorded:
        return scene
    instrument = instrument_for(settings, optics, canvas=canvas)
    faded = () if settings.scattering == "weak_phase" else tuple(faded_volume(v, instrument) for v in specimens.volumes)
    return scene._replace(instrument=instrument, faded=faded)


def _truth(scene: _Scene, specimen: object, sample: FormedImages, noise: _Noise) -> Truth:
    """What is known of the images."""
    settings, parameters, specimens = scene.settings, scene.parameters, scene.specimens
    several = int(specimens.sources.max()) + 1
    middles = [torch.nonzero(specimens.sources == kind)[:, 0] for kind in range(several)]
    volumes = tuple(specimens.volumes[int(members[len(members) // 2])] for members in middles)
    angles = torch.tensor([state.conformation for state in specimens.states], dtype=torch.float64)
    has_junk = settings.junk > 0
    is_counted = settings.snr is None and settings.noise != "none"
    return Truth(
        volume=volumes[0],
        atoms=_at_rest(specimen),
        pose=parameters.pose,
        defocus=parameters.defocus,
        noise_power=noise.power,
        snr=None if noise.variance is None else signal_variance(sample.images) / noise.variance,
        dose=settings.dose if is_counted else None,
        class_number=torch.where(parameters.junk == 0, parameters.specimen + 1, 0) if several > 1 or has_junk else None,
        conformation=angles[scene.state],
        junk=parameters.junk if has_junk else None,
        class_volumes=volumes if several > 1 else (),
    )


def _at_rest(specimen: object) -> Atoms | None:
    """The atoms of a single specimen, unbent, where it has some."""
    if isinstance(specimen, Atoms):
        return specimen
    return specimen(angle=0.0) if callable(specimen) else None


def _chosen(settings: ParticleSimulationSettings | None, choices: dict[str, Any]) -> ParticleSimulationSettings:
    """The settings with single choices put in place."""
    known = ParticleSimulationSettings.__dataclass_fields__
    unknown = sorted(set(choices) - set(known))
    if unknown:
        raise UsageError(f"there is no simulation setting {', '.join(unknown)}", expected=f"one of {', '.join(known)}")
    return replace(settings or ParticleSimulationSettings(), **choices)


def _projections(scene: _Scene, indices: Tensor) -> Float[Tensor, "n box box"]:
    """The projections ∫ V dz of the particles with these numbers, V Å; of what is no particle, zero."""
    rotations = scene.parameters.pose.lab_from_particle[indices]
    box = scene.settings.box
    projections = torch.zeros(len(indices), box, box)
    states = torch.where(scene.parameters.junk[indices] == 0, scene.state[indices], -1)
    for state in sorted(set(states.tolist()) - {-1}):
        mine = states == state
        if scene.settings.projection == "exact":
            projections[mine] = project_exactly(scene.specimens.volumes[state], rotations[mine])
        else:
            projections[mine] = to_real(extract_slices(scene.specimens.references[state], rotations[mine].float()), width=box)
    return projections


def _formed(scene: _Scene, indices: Tensor, generators: Sequence[torch.Generator] = ()) -> FormedImages:
    """The images with these numbers as the lens makes them; with generators, those of the microscope have their ice and contamination."""
    pose, defocus = scene.parameters.pose[indices], scene.parameters.defocus[indices]
    if scene.instrument is None:
        return form_images(_projections(scene, indices), scene.optics, defocus, shift=pose.shift, canvas=scene.canvas)
    dirt = _contamination(scene, indices, generators)
    if not scene.faded:
        objects = resize(_projections(scene, indices), scene.canvas) + dirt
        return weak_images(objects, scene.instrument, defocus, shift=pose.shift, generators=generators)
    parts = [
        _by_slices(scene, int(index), added=dirt[row : row + 1], generators=generators[row : row + 1])
        for row, index in enumerate(indices)
    ]
    return FormedImages(torch.cat([part.images for part in parts]), torch.cat([part.signal_lost for part in parts]))


def _contamination(scene: _Scene, indices: Tensor, generators: Sequence[torch.Generator]) -> Float[Tensor, "n canvas canvas"]:
    """What lies on the canvas of the images with these numbers that is no particle, V Å; nothing in most."""
    dirt = torch.zeros(len(indices), scene.canvas, scene.canvas)
    for row, source in enumerate(generators):
        if int(scene.parameters.junk[indices[row]]) == CONTAMINATION:
            dirt[row] = contamination_of_image(scene.instrument, generator=source)  # type: ignore[arg-type]  # generators are its own
    return dirt


def _by_slices(
    scene: _Scene, index: int, *, added: Float[Tensor, "1 h w"], generators: Sequence[torch.Generator]
) -> FormedImages:
    """One image by the settings' model of scattering."""
    one = slice(index, index + 1)
    volume = scene.faded[int(scene.state[index])]
    if int(scene.parameters.junk[index]):
        volume = replace(volume, voxels=torch.zeros_like(volume.voxels))
    return strong_images(
        volume,
        scene.instrument,  # type: ignore[arg-type]  # the settings ask for counting wherever they ask for slices
        scene.parameters.defocus[one],
        pose=scene.parameters.pose[one],
        added=added,
        generators=generators,
    )


def _batches(scene: _Scene, noise: _Noise, start: int) -> Iterator[Tensor]:
    """The images from number `start` on, batch by batch; batches begin at multiples of their size, wherever the start lies."""
    count, batch = scene.settings.count, scene.settings.batch
    for first in range(start - start % batch, count, batch):
        indices = torch.arange(first, min(first + batch, count))
        yield _images(scene, indices, noise.power)[max(start - first, 0) :]


def _images(scene: _Scene, indices: Tensor, power: Float[Tensor, " shells"] | None) -> Float[Tensor, "n box box"]:
    """The images with these numbers and their noise."""
    seed = scene.parameters.noise_seed
    if scene.instrument is not None:
        generators = [generator_of_image(seed, index) for index in indices.tolist()]
        return recorded_images(_formed(scene, indices, generators).images, scene.instrument, generators=generators)
    images = _formed(scene, indices).images
    return images if power is None else images + noise_images(indices.tolist(), seed=seed, power=power, box=scene.settings.box)


def _signal_sample(scene: _Scene) -> FormedImages:
    """Noiseless images of a sample of the particles, evenly spread over them."""
    parts = [_formed(scene, some) for some in torch.split(_sampled(scene, _SAMPLE), scene.settings.batch)]
    images = torch.cat([part.images for part in parts])
    lost = torch.cat([part.signal_lost for part in parts])
    return FormedImages(images if scene.instrument is None else noiseless_images(images, scene.instrument), lost)


def _sampled(scene: _Scene, size: int) -> Tensor:
    """The numbers of at most so many images that hold particles (or of images without any, if none does)."""
    there = torch.nonzero(scene.parameters.junk == 0)[:, 0]
    there = there if len(there) else torch.arange(scene.settings.count)
    return there[torch.linspace(0, len(there) - 1, min(size, len(there))).round().long()]


def _noise_of(scene: _Scene, sample: FormedImages) -> _Noise:
    """The noise, V Å: drawn noise as it was asked for, that of the microscope as it is measured in a sample of images."""
    settings = scene.settings
    if scene.instrument is not None:
        return _measured_noise(scene, sample)
    if colour_of_noise(settings) == "none":
        return _Noise(None, None)
    if settings.snr is not None:
        deviation = deviation_for_snr(sample.images, snr=settings.snr)
    else:
        deviation = noise_deviation(scene.optics, dose=settings.dose)
    colour = colour_of_noise(settings) or "none"
    return _Noise(noise_power(settings.box, pixel_size=scene.optics.pixel_size, deviation=deviation, colour=colour), deviation**2)


def _measured_noise(scene: _Scene, sample: FormedImages) -> _Noise:
    """The mean power and variance of what recorded images have beyond the noiseless ones."""
    indices = _sampled(scene, _SAMPLE)
    chosen = torch.linspace(0, len(indices) - 1, min(_NOISE_SAMPLE, len(indices))).round().long()
    powers, variance = [], 0.0
    for some in torch.split(chosen, scene.settings.batch):
        noise = (_images(scene, indices[some], None) - sample.images[some]).double()
        powers.append(shell_average(to_fourier(noise).abs() ** 2, size=(scene.settings.box, scene.settings.box)))
        variance += float(noise.var(dim=(-2, -1), correction=0).sum())
    return _Noise(torch.cat(powers).mean(dim=0), variance / len(chosen))


def _tell(progress: Progress, sample: FormedImages, noise: _Noise) -> None:
    """Tell what becomes of the signal."""
    progress.note(f"signal lost outside the box by delocalisation: {100 * float(sample.signal_lost.mean()):.1f} %")
    if noise.variance is not None:
        ratio = signal_variance(sample.images) / noise.variance
        progress.note(f"signal-to-noise ratio over the whole image (variances): {ratio:.4g}")
