"""From two half maps to the map that is looked at: its resolution under a mask, weighted, sharpened and cut off where it ends.

Source: Rosenthal & Henderson, J. Mol. Biol. 333, 721 (2003); Chen et al., Ultramicroscopy 135, 24 (2013).
"""

import math
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from cryowalk.core.checks import require_cube
from cryowalk.core.errors import InputError, ShapeError, UsageError
from cryowalk.data import HalfMaps, Volume
from cryowalk.data.camera import Response
from cryowalk.fourier.filters import low_pass_weights, weights_on_spectrum
from cryowalk.fourier.grids import frequency_radius
from cryowalk.fourier.shells import correlation_with_truth
from cryowalk.fourier.transform import to_fourier, to_real
from cryowalk.microscope.detector_curves import response_at
from cryowalk.validation.guinier import GuinierFit, fit_b_factor, log_amplitude, shell_frequencies
from cryowalk.validation.masks import require_mask
from cryowalk.validation.phase_randomisation import MaskedCorrelation, first_shell_below, masked_correlation, randomised_excess
from cryowalk.validation.settings import PostProcessingSettings
from cryowalk.validation.shell_correlation import RELATIVE_VOXEL_SIZE_TOLERANCE, ShellCorrelation, fourier_shell_correlation

LARGEST_RANDOMISED = 0.1  # correlation of the masked maps with random phases at the resolution, above which a doubt is told
LARGEST_TRUSTED_B = 1000.0  # Å²
SAME_MAP = 1e-6  # relative rest of one half after the other, below which they are one map
_LEAST_TRANSFER = 1e-3  # of a detector: what is less is not divided by
_WORST_FIT = 0.8  # correlation of the points of the Guinier plot


@dataclass(frozen=True, slots=True, kw_only=True)
class GuinierCurves:
    """ln of the mean |F| in each shell (orthonormal transform, map units): of the average, divided by the MTF, weighted, and of the final map.

    They are those of the masked maps where the B-factor was fitted to these.
    """

    frequency: Float[Tensor, " shells"]
    original: Float[Tensor, " shells"]
    mtf_corrected: Float[Tensor, " shells"]
    weighted: Float[Tensor, " shells"]
    sharpened: Float[Tensor, " shells"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PostProcessed:
    """The final map with all that tells how it was made.

    `resolution` (Å) is where the corrected curve crosses the threshold, interpolated; `last_shell` the last shell before. `b_factor` (Å²) was applied: exp(−B k²/4), negative where
    it sharpens. `fit` is None where no line was fitted. `doubts` are sentences for the reader.
    """

    volume: Volume
    masked: Volume
    mask: Volume | None
    curves: MaskedCorrelation
    resolution: float
    last_shell: int
    low_pass: float
    b_factor: float
    fit: GuinierFit | None
    guinier: GuinierCurves
    doubts: tuple[str, ...]


def post_process(
    halves: HalfMaps,
    settings: PostProcessingSettings | None = None,
    *,
    mask: Volume | None,
    mtf: Response | None = None,
    generator: torch.Generator,
) -> PostProcessed:
    """The average of both half maps, divided by the camera's MTF, weighted, sharpened and low-passed, with its resolution.

    Each shell is multiplied by √(2 FSC/(1 + FSC)), the correlation of the average with the truth; the B-factor is fitted to the amplitudes so weighted between 10 Å and the
    resolution. The FSC is that under the mask, corrected for the mask; without a mask it is the plain one. Amplitudes under the same mask go with it: those of the whole box hold
    more noise than that FSC tells of, and their B-factor comes out too small, in simulations by a quarter to a third.

    Raises
    ------
    InputError
        If the half maps are equal, constant or not finite, differ in voxel size, or the mask is none for them.
    ShapeError
        If their boxes differ.
    """
    settings = settings or PostProcessingSettings()
    require_halves(halves)
    if mask is None:
        plain = fourier_shell_correlation(halves)
        curves = MaskedCorrelation(unmasked=plain, masked=plain, randomised=plain, corrected=plain, randomised_from=None)
    else:
        mask = require_mask(mask, halves.first)
        curves = masked_correlation(
            halves, mask, generator=generator, randomise_at=settings.randomise_at, draws=settings.randomisations
        )
    resolution = curves.corrected.resolution(at=settings.threshold)
    cut = resolution if settings.low_pass is None else settings.low_pass
    filters = _shell_filters(halves.first, curves.corrected, settings, mtf)
    average = halves.average()
    looked_at = mask if settings.amplitudes == "masked" else None
    guinier, fit, fault = _fitted(_masked(average, looked_at), filters, settings, resolution)
    applied = settings.b_factor if settings.b_factor is not None else -fit.b_factor if fit is not None else 0.0
    final = _filtered(average, filters, b_factor=applied, low_pass=cut, edge=settings.filter_edge)
    below = first_shell_below(curves.corrected, settings.threshold)
    return PostProcessed(
        volume=final,
        masked=_masked(final, mask),
        mask=mask,
        curves=curves,
        resolution=resolution,
        last_shell=len(curves.corrected.correlation) - 1 if below is None else below - 1,
        low_pass=cut,
        b_factor=applied,
        fit=fit,
        guinier=replace(guinier, sharpened=log_amplitude(_masked(final, looked_at))),
        doubts=_doubts(curves, settings, resolution, fit=fit, fault=fault),
    )


def _masked(volume: Volume, mask: Volume | None) -> Volume:
    return volume if mask is None else replace(volume, voxels=volume.voxels * mask.voxels.to(volume.voxels))


def require_halves(halves: HalfMaps) -> HalfMaps:
    """The half maps, known to be comparable and independent at first sight.

    Raises
    ------
    ShapeError
        If their boxes differ.
    InputError
        If they differ in voxel size, are equal or a multiple of each other, constant, or not finite.
    """
    one, other = halves.first, halves.second
    require_cube("a half map", tuple(one.voxels.shape))
    if one.voxels.shape != other.voxels.shape:
        raise ShapeError(
            f"the half maps differ in size: {tuple(one.voxels.shape)} and {tuple(other.voxels.shape)} voxels (z, y, x)",
            fix="name the two halves of one reconstruction",
        )
    if abs(one.voxel_size / other.voxel_size - 1) > RELATIVE_VOXEL_SIZE_TOLERANCE:
        raise InputError(
            f"the half maps differ in voxel size: {one.voxel_size:g} and {other.voxel_size:g} Å",
            fix="name the two halves of one reconstruction",
        )
    for name, half in (("first", one), ("second", other)):
        if not bool(half.voxels.isfinite().all()):
            raise InputError(
                f"the {name} half map holds NaN or infinite values", fix="look for the voxels: cryowalk validate FILE"
            )
        if bool(half.voxels.min() == half.voxels.max()):
            raise InputError(
                f"the {name} half map is constant: there is nothing to compare", fix="look at it: cryowalk inspect FILE"
            )
    if _are_multiples(one.voxels, other.voxels):
        raise InputError(
            "the two half maps are the same map: their correlation would be 1 in every shell and say nothing",
            cause="one file was named twice, copied, or scaled",
            fix="name the unfiltered half maps of one refinement: run_half1_class001_unfil.mrc and run_half2_class001_unfil.mrc",
        )
    return halves


def _are_multiples(first: Tensor, second: Tensor) -> bool:
    """Whether the maps are equal but for a factor and a constant; a sample of voxels tells most others apart."""
    for step in (101, 1):
        one, other = (values.reshape(-1)[::step].double() for values in (first, second))
        one, other = one - one.mean(), other - other.mean()
        scale = one @ other / (other @ other).clamp_min(1e-300)
        rest = float((one - scale * other).norm())
        if rest > 0 and rest >= SAME_MAP * float(one.norm()):
            return False
    return True


@dataclass(frozen=True, slots=True, kw_only=True)
class _ShellFilters:
    """Factors by shell: one over the detector's transfer, and the weight."""

    inverse_mtf: Float[Tensor, " shells"]
    weight: Float[Tensor, " shells"]


def _shell_filters(
    volume: Volume, curve: ShellCorrelation, settings: PostProcessingSettings, mtf: Response | None
) -> _ShellFilters:
    frequency = shell_frequencies(volume)
    inverse = torch.ones_like(frequency)
    if mtf is not None:
        cycles = frequency * (settings.detector_pixel or volume.voxel_size)
        transfer = response_at(mtf, cycles) / mtf.value[0]
        if float(transfer.min()) < _LEAST_TRANSFER:
            raise UsageError(
                f"the MTF falls to {float(transfer.min()):.2g} within the map's Nyquist frequency: it cannot be divided by",
                cause="a detector pixel that is too large, or a curve in other units",
                fix="state the pixel of the camera: --mtf-angpix",
            )
        inverse = 1 / transfer
    weight = correlation_with_truth(curve.correlation.double()) if settings.weighting == "fsc" else torch.ones_like(frequency)
    return _ShellFilters(inverse_mtf=inverse, weight=weight)


def _fitted(
    average: Volume, filters: _ShellFilters, settings: PostProcessingSettings, resolution: float
) -> tuple[GuinierCurves, GuinierFit | None, str]:
    """The Guinier plot, the line in it, and in words why there is none."""
    frequency, original = shell_frequencies(average), log_amplitude(average)
    corrected = original + filters.inverse_mtf.log()
    weighted = corrected + filters.weight.log()
    curves = GuinierCurves(frequency=frequency, original=original, mtf_corrected=corrected, weighted=weighted, sharpened=weighted)
    finest = max(settings.fit_to or resolution, resolution)
    try:
        return curves, fit_b_factor(frequency, weighted, coarsest=settings.fit_from, finest=finest), ""
    except InputError as error:
        if settings.b_factor is None:
            return curves, None, f"no B-factor was fitted and none applied: {error.what}"
        return curves, None, ""


def _filtered(volume: Volume, filters: _ShellFilters, *, b_factor: float, low_pass: float, edge: float) -> Volume:
    """The map with all filters in one step."""
    box = volume.voxels.shape[-1]
    size = (box, box, box)
    frequency = shell_frequencies(volume)
    spectrum = to_fourier(volume.voxels, dimensions=3)
    spectrum *= weights_on_spectrum((filters.inverse_mtf * filters.weight).to(volume.voxels), size=size)
    radius = frequency_radius(size, pixel_size=volume.voxel_size, like=volume.voxels)
    # A strong B-factor would blow up the corners beyond Nyquist, which the low pass takes away: both in one factor.
    spectrum *= torch.exp(-b_factor / 4 * radius.clamp_max(float(frequency[-1]) * 1.1).square()) * low_pass_weights(
        size, resolution=low_pass, pixel_size=volume.voxel_size, edge=edge, like=volume.voxels
    )
    return replace(volume, voxels=to_real(spectrum, width=box, dimensions=3))


def _doubts(
    curves: MaskedCorrelation, settings: PostProcessingSettings, resolution: float, *, fit: GuinierFit | None, fault: str
) -> tuple[str, ...]:
    """What the reader of this result must know."""
    doubts = [fault] if fault else []
    corrected = curves.corrected.correlation
    if first_shell_below(curves.corrected, settings.threshold) is None:
        doubts.append(
            "the correlation never falls below the threshold: the sampling limits the resolution, or the halves are not independent"
        )
    tail = corrected[-max(len(corrected) // 10, 2) :]
    if float(tail.min()) > 0.5:
        doubts.append("the halves agree up to Nyquist: were they filtered, masked or refined together?")
    excess = randomised_excess(curves, resolution=resolution)
    if not math.isnan(excess) and excess > LARGEST_RANDOMISED:
        doubts.append(
            f"maps with random phases correlate by {excess:.2f} at the resolution: the mask is too tight or its edge too sharp"
        )
    if curves.corrected.resolution(at=settings.threshold) > 1.02 * curves.unmasked.resolution(at=settings.threshold):
        doubts.append("the resolution under the mask is worse than without it: does the mask cover the specimen?")
    if fit is not None and (fit.correlation < _WORST_FIT or abs(fit.b_factor) > LARGEST_TRUSTED_B or fit.b_factor < 0):
        doubts.append(
            f"the Guinier plot is no falling straight line (B {fit.b_factor:.0f} Å², correlation {fit.correlation:.2f}): give a B-factor"
        )
    return tuple(doubts)
