"""Where the simple models of scattering break down: their exit waves beside multislice, by thickness, resolution and voltage."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from cryowalk.core.checks import require_positive
from cryowalk.core.errors import UsageError
from cryowalk.data.optics import Optics
from cryowalk.fourier.grids import full_frequency_grid
from cryowalk.fourier.transform import filtering_transform
from cryowalk.microscope.multislice import band_limit
from cryowalk.microscope.scattering import Scattering, exit_wave

MODELS: tuple[Scattering, ...] = ("weak_phase", "phase_grating", "ewald")
_RING = 0.05  # half the width of a ring of frequencies, relative


class BreakdownRow(NamedTuple):
    """One line of the table: thickness and resolution in Å, and how a model's exit wave compares with multislice in that ring of frequencies."""

    voltage_kv: float
    thickness: float
    resolution: float
    model: str
    error: float
    correlation: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Breakdown:
    """Errors √(Σ|ψ̂ − ψ̂ₘ|² / Σ|ψ̂ₘ|²) and correlations Re Σ ψ̂ ψ̂ₘ* / √(Σ|ψ̂|² Σ|ψ̂ₘ|²) of each model with multislice (m), in rings about 1/resolution."""

    models: tuple[str, ...]
    voltages_kv: tuple[float, ...]
    thicknesses: tuple[float, ...]
    resolutions: tuple[float, ...]
    errors: Float[Tensor, "models voltages thicknesses resolutions"]
    correlations: Float[Tensor, "models voltages thicknesses resolutions"]

    def rows(self) -> list[BreakdownRow]:
        """The table line by line: voltages, in them thicknesses, resolutions and models."""
        return [
            BreakdownRow(voltage, thickness, resolution, model, self.errors[place].item(), self.correlations[place].item())
            for v, voltage in enumerate(self.voltages_kv)
            for t, thickness in enumerate(self.thicknesses)
            for r, resolution in enumerate(self.resolutions)
            for m, model in enumerate(self.models)
            for place in [(m, v, t, r)]
        ]

    def largest_thickness(self, model: str, *, voltage_kv: float, resolution: float, error: float) -> float:
        """The largest tabulated thickness (Å) up to which the model's error stays below `error`; 0 where it never does.

        Raises
        ------
        UsageError
            If the table has no such model, voltage or resolution.
        """
        try:
            place = self.models.index(model), self.voltages_kv.index(voltage_kv), self.resolutions.index(resolution)
        except ValueError as reason:
            raise UsageError(
                f"the table has no {model} at {voltage_kv:g} kV and {resolution:g} Å",
                expected=f"{self.models}, {self.voltages_kv} kV, {self.resolutions} Å",
            ) from reason
        found = 0.0
        for thickness, value in zip(self.thicknesses, self.errors[place[0], place[1], :, place[2]].tolist(), strict=True):
            if value >= error:
                break
            found = thickness
        return found


def breakdown(
    slices: Float[Tensor, "slices h w"],
    *,
    optics: Optics,
    slice_thickness: float,
    thicknesses: Sequence[float],
    voltages_kv: Sequence[float],
    resolutions: Sequence[float],
) -> Breakdown:
    """How far the exit waves of the three simple models are from multislice, for the middle `thicknesses` (Å, rising) of a thick specimen.

    `slices` is the projected potential of the thickest specimen, V Å; the thinner ones are the slices about its middle. Voltages replace that of the
    optics, whose amplitude contrast is left out: all models then treat the same real potential. The mean of each slice turns the phase of the whole
    wave, which no image shows but which single scattering has no way to express: it is taken out. A ring holds the frequencies within 5 % of 1/resolution. For a weak specimen that is the same at every depth the projection's correlation is
    sinc(λk²t/2) (with the factor π inside), by defocus alone.

    Raises
    ------
    UsageError
        If a thickness does not fit into the slices, or a resolution is beyond what multislice keeps on this grid.
    """
    slices = slices - slices.mean(dim=(-2, -1), keepdim=True)
    counts = [_slices_in(thickness, slice_thickness, len(slices)) for thickness in thicknesses]
    rings = [_ring((slices.shape[-2], slices.shape[-1]), resolution, optics).to(slices.device) for resolution in resolutions]
    shape = (len(MODELS), len(voltages_kv), len(counts), len(rings))
    errors, correlations = torch.zeros(shape, dtype=torch.float64), torch.zeros(shape, dtype=torch.float64)
    for v, voltage in enumerate(voltages_kv):
        beam = replace(optics, voltage_kv=require_positive("voltage", voltage, unit="kV"), amplitude_contrast=0.0)
        for t, count in enumerate(counts):
            first = (len(slices) - count) // 2
            part = slices[first : first + count]
            reference = _spectrum(part, beam, slice_thickness, "multislice")
            for m, model in enumerate(MODELS):
                spectrum = _spectrum(part, beam, slice_thickness, model)
                for r, ring in enumerate(rings):
                    one, other = spectrum[ring], reference[ring]
                    power = _squares(other)
                    errors[m, v, t, r] = torch.sqrt(_squares(one - other) / power)
                    correlations[m, v, t, r] = (one * other.conj()).real.sum() / torch.sqrt(_squares(one) * power)
    return Breakdown(
        models=MODELS,
        voltages_kv=tuple(map(float, voltages_kv)),
        thicknesses=tuple(count * slice_thickness for count in counts),
        resolutions=tuple(map(float, resolutions)),
        errors=errors,
        correlations=correlations,
    )


def _slices_in(thickness: float, slice_thickness: float, available: int) -> int:
    """How many slices make this thickness."""
    count = round(require_positive("thickness", thickness, unit="Å") / slice_thickness)
    if not 1 <= count <= available:
        raise UsageError(
            f"a specimen of {thickness:g} Å is not among {available} slices of {slice_thickness:g} Å",
            expected=f"a thickness from {slice_thickness:g} to {available * slice_thickness:g} Å",
        )
    return count


def _ring(size: tuple[int, int], resolution: float, optics: Optics) -> Tensor:
    """Which coefficients of the full spectrum lie about 1/resolution."""
    frequency = 1 / require_positive("resolution", resolution, unit="Å")
    if frequency * (1 + _RING) > band_limit(optics):
        finest = (1 + _RING) / band_limit(optics)
        raise UsageError(
            f"multislice with pixels of {optics.pixel_size:g} Å does not reach {resolution:g} Å",
            expected=f"a resolution of {finest:.3g} Å or coarser",
            fix="finer pixels: two thirds of Nyquist are kept",
        )
    kx, ky = full_frequency_grid(size, pixel_size=optics.pixel_size, dtype=torch.float64)
    ring = (torch.sqrt(kx**2 + ky**2) * resolution - 1).abs() <= _RING
    if not bool(ring.any()):
        raise UsageError(f"the field is too small to hold a frequency about 1/{resolution:g} Å", fix="use a larger field")
    return ring


def _spectrum(slices: Tensor, optics: Optics, thickness: float, model: Scattering) -> Complex[Tensor, "h w"]:
    """The spectrum of a model's exit wave."""
    return filtering_transform(exit_wave(slices, optics=optics, slice_thickness=thickness, method=model), direction="forward")


def _squares(values: Tensor) -> Tensor:
    """Σ |values|², in float64."""
    return (values.real.double() ** 2 + values.imag.double() ** 2).sum()
