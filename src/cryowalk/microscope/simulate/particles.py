"""Stacks of single-particle images with their truth: specimen and optics in, particles out."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from cryowalk.core.checks import require_between, require_cube
from cryowalk.core.errors import InputError, UsageError
from cryowalk.core.execution import ImageSink, Progress, SilentProgress
from cryowalk.data.atoms import Atoms
from cryowalk.data.images import ImageStack
from cryowalk.data.optics import Optics
from cryowalk.data.particles import ParticleSet
from cryowalk.data.truth import Truth
from cryowalk.data.volume import Volume
from cryowalk.fourier.nufft import project_exactly
from cryowalk.fourier.slices import FourierVolume, extract_slices, prepare_volume
from cryowalk.fourier.transform import resize, to_real
from cryowalk.microscope.exposure import deviation_for_snr, noise_deviation, noise_images, noise_power, signal_variance
from cryowalk.microscope.image_formation import FormedImages, form_images
from cryowalk.microscope.lens import canvas_size
from cryowalk.microscope.settings import ParticleSimulationSettings
from cryowalk.microscope.simulate.parameters import ParticleParameters, check_settings, draw_parameters
from cryowalk.microscope.specimen import centre_of_mass, potential

_PADDING = 2.0  # of the references: simulated data should be nearer to the truth than what is measured with them
_SAMPLE = 256  # images, evenly spread, from which the signal's variance is taken


class _Scene(NamedTuple):
    """All that images are made from."""

    optics: Optics
    settings: ParticleSimulationSettings
    parameters: ParticleParameters
    volumes: tuple[Volume, ...]
    references: tuple[FourierVolume, ...]
    canvas: int


def simulate_particles(
    specimen: "Atoms | Volume | Callable[..., Atoms]",
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

    Image = CTF ∗ ∫ V(Rᵀ x) dz, moved by the shift, formed on a canvas without wrap-round and cropped, plus noise. `specimen` is a molecule, a map
    in V with the pixel size of the optics, or, for a hinge spread, a function of `angle` (rad) such as `specimen.hinge`. `choices` are
    single settings that replace those in `settings`.

    All parameters are drawn first, and the noise of image i depends on the generator's state at the call and on i only. Images go to `sink` in
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
    progress = progress or SilentProgress()
    parameters = draw_parameters(settings, generator=generator)
    atoms, volumes = _conformers(specimen, optics, settings, parameters)
    canvas = settings.canvas or canvas_size(optics, parameters.defocus, box=settings.box)
    scene = _Scene(optics, settings, parameters, tuple(volumes), _references(volumes, settings), canvas)
    sample = _signal_sample(scene)
    deviation = _noise_deviation(scene, sample)
    power = _noise_power(scene, deviation)
    progress.note(f"signal lost outside the box by delocalisation: {100 * float(sample.signal_lost.mean()):.1f} %")
    progress.start("simulating particle images", settings.count)
    progress.advance(start)
    held: list[Tensor] = []
    for images in _batches(scene, power, start):
        held.append(images) if sink is None else sink.write(images)
        progress.advance(len(images))
    stack = ImageStack(pixels=torch.cat(held), pixel_size=optics.pixel_size) if held else None
    particles = ParticleSet(
        optics=(optics,),
        optics_index=torch.zeros(settings.count, dtype=torch.int64),
        images=stack,
        pose=parameters.pose,
        defocus=parameters.defocus,
        half=parameters.half,
    )
    truth = Truth(
        volume=volumes[len(volumes) // 2],
        atoms=atoms,
        pose=parameters.pose,
        defocus=parameters.defocus,
        noise_power=power,
        snr=None if deviation is None else signal_variance(sample.images) / deviation**2,
        dose=settings.dose if settings.snr is None and settings.noise != "none" else None,
        conformation=parameters.angles[parameters.state],
    )
    return particles, truth


def _chosen(settings: ParticleSimulationSettings | None, choices: dict[str, Any]) -> ParticleSimulationSettings:
    """The settings with single choices put in place."""
    known = ParticleSimulationSettings.__dataclass_fields__
    unknown = sorted(set(choices) - set(known))
    if unknown:
        raise UsageError(f"there is no simulation setting {', '.join(unknown)}", expected=f"one of {', '.join(known)}")
    return replace(settings or ParticleSimulationSettings(), **choices)


def _conformers(
    specimen: "Atoms | Volume | Callable[..., Atoms]",
    optics: Optics,
    settings: ParticleSimulationSettings,
    parameters: ParticleParameters,
) -> tuple[Atoms | None, list[Volume]]:
    """The atoms at rest where they are known, and the potential of every conformation, in one frame."""
    if settings.hinge_spread > 0 and (isinstance(specimen, Atoms | Volume) or not callable(specimen)):
        raise UsageError(
            "hinge_spread bends a flexible specimen, but this one is rigid",
            fix="give a function of the angle such as cryowalk.microscope.specimen.hinge, or a hinge_spread of 0",
        )
    if isinstance(specimen, Volume):
        return None, [_fitted(specimen, optics, settings.box)]
    if isinstance(specimen, Atoms):
        return specimen, [potential(specimen, box=settings.box, voxel_size=optics.pixel_size)]
    rest = specimen(angle=0.0)
    middle = centre_of_mass(rest)
    volumes = [
        potential(specimen(angle=angle), box=settings.box, voxel_size=optics.pixel_size, centre=middle)
        for angle in parameters.angles.tolist()
    ]
    return rest, volumes


def _fitted(volume: Volume, optics: Optics, box: int) -> Volume:
    """The map cropped or padded to the box about its origin voxel."""
    side = require_cube("map to simulate from", tuple(volume.voxels.shape))
    if abs(volume.voxel_size / optics.pixel_size - 1) > 1e-3:
        raise InputError(
            f"the map has voxels of {volume.voxel_size:g} Å, the images are to have pixels of {optics.pixel_size:g} Å",
            expected="one and the same size",
            fix=f"simulate with a pixel size of {volume.voxel_size:g} Å, or resample the map first",
        )
    if not bool(torch.isfinite(volume.voxels).all()):
        raise InputError("the map to simulate from holds values that are not finite numbers")
    move = (box // 2 - side // 2) * volume.voxel_size
    x, y, z = volume.origin
    return Volume(
        voxels=resize(volume.voxels, (box, box, box)), voxel_size=volume.voxel_size, origin=(x - move, y - move, z - move)
    )


def _references(volumes: list[Volume], settings: ParticleSimulationSettings) -> tuple[FourierVolume, ...]:
    """The volumes made ready for central slices; none are needed for exact projections."""
    if settings.projection == "exact":
        return ()
    return tuple(prepare_volume(volume, padding=_PADDING) for volume in volumes)


def _noiseless(scene: _Scene, indices: Tensor) -> FormedImages:
    """The images with these numbers as the lens makes them, before noise."""
    parameters = scene.parameters
    rotations = parameters.pose.lab_from_particle[indices]
    projections = torch.empty(len(indices), scene.settings.box, scene.settings.box)
    states = parameters.state[indices]
    for state in sorted(set(states.tolist())):
        mine = states == state
        if scene.settings.projection == "exact":
            projections[mine] = project_exactly(scene.volumes[state], rotations[mine])
        else:
            projections[mine] = to_real(
                extract_slices(scene.references[state], rotations[mine].float()), width=scene.settings.box
            )
    return form_images(
        projections, scene.optics, parameters.defocus[indices], shift=parameters.pose.shift[indices], canvas=scene.canvas
    )


def _batches(scene: _Scene, power: Float[Tensor, " shells"] | None, start: int) -> Iterator[Tensor]:
    """The images from number `start` on, batch by batch; batches begin at multiples of their size, wherever the start lies."""
    count, batch = scene.settings.count, scene.settings.batch
    for first in range(start - start % batch, count, batch):
        indices = torch.arange(first, min(first + batch, count))
        images = _noiseless(scene, indices).images
        if power is not None:
            images = images + noise_images(
                indices.tolist(), seed=scene.parameters.noise_seed, power=power, box=scene.settings.box
            )
        yield images[max(start - first, 0) :]


def _signal_sample(scene: _Scene) -> FormedImages:
    """Noiseless images of a sample of the particles, evenly spread over them."""
    sample = min(_SAMPLE, scene.settings.count)
    indices = torch.linspace(0, scene.settings.count - 1, sample).round().long()
    parts = [_noiseless(scene, some) for some in torch.split(indices, scene.settings.batch)]
    return FormedImages(torch.cat([part.images for part in parts]), torch.cat([part.signal_lost for part in parts]))


def _noise_deviation(scene: _Scene, sample: FormedImages) -> float | None:
    """The standard deviation of a pixel's noise, V Å, or None without noise."""
    settings = scene.settings
    if settings.noise == "none":
        return None
    if settings.snr is not None:
        return deviation_for_snr(sample.images, snr=settings.snr)
    return noise_deviation(scene.optics, dose=settings.dose)


def _noise_power(scene: _Scene, deviation: float | None) -> Float[Tensor, " shells"] | None:
    """E|n_k|² of the noise in each shell, or None without noise."""
    if deviation is None:
        return None
    settings = scene.settings
    return noise_power(settings.box, pixel_size=scene.optics.pixel_size, deviation=deviation, colour=settings.noise)
