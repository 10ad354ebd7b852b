"""How the beam meets the specimen: the wave that leaves it, by four models of scattering; and projections of the potential.

All four take slices of projected potential and give the wave referred to the plane z = 0, the middle of the specimen, so that one can
stand for another.
"""

from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Literal

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from cryowalk.core.checks import require_between, require_cube, require_positive
from cryowalk.core.errors import ShapeError, UsageError
from cryowalk.data.optics import Optics
from cryowalk.data.pose import Pose
from cryowalk.data.volume import Volume
from cryowalk.fourier.filters import shift_phases
from cryowalk.fourier.slices import extract_slices, prepare_volume
from cryowalk.fourier.transform import filtering_transform, to_real
from cryowalk.microscope.multislice import free_space, multislice_by_definition, no_slices, phase_strength, transmission
from cryowalk.microscope.slicing import slices_of_atoms, slices_of_volume

__all__ = ["Scattering", "exit_wave", "project", "slices_of_atoms", "slices_of_volume"]

Scattering = Literal["weak_phase", "phase_grating", "ewald", "multislice"]


def project(volume: Volume, pose: Pose, *, padding: float = 2.0) -> Float[Tensor, "n h w"]:
    """Projections ∫ V(Rᵀ x) dz of the volume in each pose, moved by its shift, value · Å (V Å for a potential in V).

    Central slices of the padded transform, to about 1 % (`fourier.nufft.project_exactly` is the exact form). The thin-specimen limit:
    straight rays, no Ewald curvature, no multiple scattering. What a shift moves across one border enters at the other.

    Raises
    ------
    ShapeError
        If the volume is not a cube.

    Source: Crowther, DeRosier & Klug, Proc. R. Soc. A 317, 319 (1970).
    """
    box = require_cube("volume", tuple(volume.voxels.shape))
    slices = extract_slices(prepare_volume(volume, padding=padding), pose.lab_from_particle.to(volume.voxels))
    phases = shift_phases((box, box), pose.shift.to(volume.voxels), pixel_size=volume.voxel_size)
    return to_real(slices * phases, width=box)


def exit_wave(
    slices: "Tensor | Iterable[Tensor]", *, optics: Optics, slice_thickness: float, method: Scattering = "multislice"
) -> Complex[Tensor, "*batch h w"]:
    """The wave that leaves the specimen, referred to z = 0; 1 everywhere without specimen.

    `slices` `[*batch, slices, h, w]` hold the projected potential v_i of each slice, V Å, along +z (the way of the beam), or give one slice
    `[*batch, h, w]` after the other. Their mid-planes lie at z_i = (i − (n − 1)/2) · `slice_thickness` (Å). With
    f = σₑ (√(1 − Q²) + iQ) and P(Δz) = exp(−iπλ Δz k²) on the spectrum:

    - "weak_phase": ψ = 1 + if Σ v_i; single scattering in a thin specimen.
    - "phase_grating": ψ = exp(if Σ v_i); a thin specimen of any strength.
    - "ewald": ψ = 1 + if Σ P(−z_i) v_i; single scattering in a thick specimen, each slice with its own defocus (the Ewald sphere's curvature).
    - "multislice": each slice transmits by exp(if v_i), P(slice_thickness) leads to the next, and P back to z = 0; everything beyond two thirds
      of Nyquist is cut away.

    A complex slice has an absorbing potential as its imaginary part; then let the amplitude contrast of the optics be 0. Only a few fields are
    held at a time when the slices come one by one. Gradients reach the slices. On a CPU in single precision, and where none is asked for,
    multislice is compiled (`multislice_compiled`, the same to rounding).

    Raises
    ------
    UsageError
        If there is no such method, or the thickness, the pixel size, the amplitude contrast or whole numbers as potentials cannot be meant.
    ShapeError
        If there are no slices, or they differ in shape.

    Source: Kirkland, Advanced Computing in Electron Microscopy (2020), ch. 5 and 6; DeRosier, Ultramicroscopy 81, 83 (2000).

    Examples
    --------
    A slice of 100 V Å turns the wave by 0.065 rad at 300 kV:

    >>> wave = exit_wave(torch.full((1, 4, 4), 100.0), optics=Optics(pixel_size=1.0, amplitude_contrast=0.0), slice_thickness=5.0)
    >>> round(torch.angle(wave)[0, 0].item(), 3)
    0.065
    """
    require_positive("slice thickness", slice_thickness, unit="Å")
    require_positive("pixel size", optics.pixel_size, unit="Å")
    require_between("amplitude contrast", optics.amplitude_contrast, -1.0, 1.0)
    each = _checked(slices.unbind(-3) if isinstance(slices, Tensor) and slices.ndim > 2 else slices)
    if method == "multislice":
        return _multislice(each, optics=optics, slice_thickness=slice_thickness)
    if method == "ewald":
        return 1 + 1j * phase_strength(optics) * _curved_sum(each, optics=optics, slice_thickness=slice_thickness)
    if method == "phase_grating":
        return transmission(_plain_sum(each), optics=optics)
    if method == "weak_phase":
        return 1 + 1j * phase_strength(optics) * _plain_sum(each)
    raise UsageError(f"there is no scattering model {method!r}", expected="weak_phase, phase_grating, ewald or multislice")


def _checked(slices: Iterable[Tensor]) -> Iterator[Tensor]:
    """The slices, known to be images of one shape."""
    first: Tensor | None = None
    for potential in slices:
        first = potential if first is None else first
        if potential.ndim < 2 or potential.shape != first.shape:
            raise ShapeError(
                f"slices must be images of one shape: got {tuple(potential.shape)} after {tuple(first.shape)}",
                expected="[*batch, slices, h, w], or one [*batch, h, w] after the other",
            )
        if not (potential.is_floating_point() or potential.is_complex()):
            raise UsageError(f"slices hold potentials in V Å, real or complex: got {potential.dtype}", fix="slices.float()")
        yield potential
    if first is None:
        raise no_slices()


def _multislice(slices: Iterator[Tensor], *, optics: Optics, slice_thickness: float) -> Tensor:
    """Multislice, compiled where that applies."""
    first = next(slices)
    everything = chain([first], slices)
    is_plain = (
        first.dtype == torch.float32 and first.device.type == "cpu" and not (first.requires_grad and torch.is_grad_enabled())
    )
    if is_plain and not torch.compiler.is_compiling():
        from cryowalk.microscope.multislice_compiled import multislice_compiled

        return multislice_compiled(everything, optics=optics, slice_thickness=slice_thickness)
    return multislice_by_definition(everything, optics=optics, slice_thickness=slice_thickness).wave


def _plain_sum(slices: Iterable[Tensor]) -> Tensor:
    """Σ v_i."""
    total: Tensor | None = None
    for potential in slices:
        total = potential if total is None else total + potential
    if total is None:
        raise no_slices()
    return total


def _curved_sum(slices: Iterable[Tensor], *, optics: Optics, slice_thickness: float) -> Tensor:
    """Σ P(−z_i) v_i: carried from slice to slice as a spectrum, so that the number of slices need not be known before."""
    total: Tensor | None = None
    count = 0
    for potential in slices:
        spectrum = filtering_transform(potential.to(potential.dtype.to_complex()), direction="forward")
        if total is None:
            total = spectrum
            size = (spectrum.shape[-2], spectrum.shape[-1])
            step = free_space(size, optics=optics, distance=slice_thickness, like=spectrum)
        else:
            total = total * step + spectrum
        count += 1
    if total is None:
        raise no_slices()
    back = free_space(size, optics=optics, distance=-(count - 1) / 2 * slice_thickness, like=total)
    return filtering_transform(total * back, direction="inverse")
