"""What surrounds the particles of a scene: ice with its grain at all heights of the slab, and sheets of carbon, graphene and contamination.

The slab of ice is as thick as it is: its grain has no one defocus. In the weak-phase limit the molecules at height z add cos(πλzk²) of their
spectrum to the layer in phase and sin(πλzk²) to the one in quadrature (see `scene`). Over −t/2 … t/2 the two sums are independent Gaussian fields with the
parts ½(1 + sinc λtk²) and ½(1 − sinc λtk²) of the power, which is what fills the zeros of thick ice's Thon rings.

McMullan, Vinothkumar & Henderson, Ultramicroscopy 158, 26 (2015); Tichelaar, Hagen, Gorelik, Xue & Mahamid, Ultramicroscopy 216, 113023 (2020).
"""

from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from cryowalk.data.optics import Optics
from cryowalk.fourier.grids import frequency_grid, radius_of
from cryowalk.fourier.transform import filtered_image, filtering_half_spectrum
from cryowalk.microscope.delivery import IceThickness, thickness_map
from cryowalk.microscope.ice import evolve_ice, projected_ice
from cryowalk.microscope.simulate.scene import Canvas, LayerSpectra

_NEGLIGIBLE = 0.01  # of the grain's power at Nyquist: below it ice counts as thin


class Grain(NamedTuple):
    """The grain of ice on a canvas, V Å: two independent fields of the whole slab's power, of which the layers take their parts; thin ice has one."""

    first: Float[Tensor, "h w"]
    second: Float[Tensor, "h w"] | None


def on_canvas(thickness: IceThickness, canvas: Canvas) -> IceThickness:
    """The same ice with its place counted from the canvas's first pixel instead of the micrograph's."""
    top, left = canvas.corner
    x, y = thickness.centre
    return replace(thickness, centre=(x + left * canvas.pixel_size, y + top * canvas.pixel_size))


def is_even(thickness: IceThickness) -> bool:
    """Whether the ice is as thick everywhere."""
    return thickness.middle == thickness.rim and thickness.gradient == (0.0, 0.0)


def canvas_thickness(thickness: IceThickness, canvas: Canvas, *, device: torch.device) -> "float | Float[Tensor, 'h w']":
    """The thickness of the ice over the canvas, Å: a number where it is the same everywhere."""
    if is_even(thickness):
        return thickness.middle
    return thickness_map(on_canvas(thickness, canvas), canvas.size, canvas.pixel_size).to(device)


def draw_grain(canvas: Canvas, *, thickness: IceThickness, optics: Optics, generator: torch.Generator) -> Grain:
    """Random grain of this ice, on the generator's device."""
    depth = canvas_thickness(thickness, canvas, device=generator.device)
    first = projected_ice(canvas.size, pixel_size=canvas.pixel_size, thickness=depth, generator=generator)
    if _is_thin(thickness, canvas, optics):
        return Grain(first, None)
    return Grain(first, projected_ice(canvas.size, pixel_size=canvas.pixel_size, thickness=depth, generator=generator))


def later_grain(grain: Grain, canvas: Canvas, *, thickness: IceThickness, dose: float, generator: torch.Generator) -> Grain:
    """The same ice after `dose` more (e⁻/Å²), its molecules stirred by the beam."""
    depth = canvas_thickness(thickness, canvas, device=generator.device)

    def later(field: Tensor) -> Tensor:
        return evolve_ice(field, pixel_size=canvas.pixel_size, dose=dose, thickness=depth, generator=generator)

    return Grain(later(grain.first), None if grain.second is None else later(grain.second))


def with_grain(spectra: LayerSpectra, grain: Grain, *, canvas: Canvas, thickness: IceThickness, optics: Optics) -> LayerSpectra:
    """The spectra with the ice's grain added, each layer its part."""
    first = filtering_half_spectrum(grain.first)
    if grain.second is None or spectra.quadrature is None:
        return LayerSpectra(spectra.in_phase + first, spectra.quadrature)
    correlation = _depth_correlation(thickness, canvas, optics, like=grain.first)
    in_phase = spectra.in_phase.add_(first.mul_(torch.sqrt((1 + correlation) / 2)))
    second = filtering_half_spectrum(grain.second).mul_(torch.sqrt((1 - correlation).clamp_min(0) / 2))
    return LayerSpectra(in_phase, spectra.quadrature.add_(second))


def stirred(grain: Grain, canvas: Canvas, *, amplitude: Callable[[Tensor], Tensor]) -> Grain:
    """The grain with its spectrum multiplied by a function of spatial frequency (1/Å): what an exposure's sum leaves of ice that moves."""
    factor = amplitude(radius_of(*frequency_grid(canvas.size, pixel_size=canvas.pixel_size, like=grain.first)))

    def filtered(field: Tensor) -> Tensor:
        return filtered_image(filtering_half_spectrum(field).mul_(factor), width=canvas.size[1])

    return Grain(filtered(grain.first), None if grain.second is None else filtered(grain.second))


def _depth_correlation(thickness: IceThickness, canvas: Canvas, optics: Optics, *, like: Tensor) -> Float[Tensor, "h half"]:
    """sinc(λ t k²) of the ice in the middle on the canvas's half spectrum."""
    kx, ky = frequency_grid(canvas.size, pixel_size=canvas.pixel_size, like=like)
    return torch.sinc((kx**2 + ky**2).mul_(optics.wavelength * thickness.middle))


def _is_thin(thickness: IceThickness, canvas: Canvas, optics: Optics) -> bool:
    """Whether the quadrature's part of the power stays negligible up to Nyquist."""
    nyquist = torch.tensor(0.5 / canvas.pixel_size, dtype=torch.float64)
    return float((1 - torch.sinc(optics.wavelength * thickness.middle * nyquist**2)) / 2) < _NEGLIGIBLE
