"""The defocus of a micrograph from its power spectrum: coarse search, fine fit, and whether to believe it."""

import math
from dataclasses import dataclass

import torch

from cryowalk.core.checks import require_between, require_positive
from cryowalk.core.errors import UsageError
from cryowalk.ctf_estimation.quality import EquiphaseAverage, equiphase_average, figure_of_merit, fit_resolution
from cryowalk.ctf_estimation.refine import Fit, refine
from cryowalk.ctf_estimation.rings import Rings, layout_of, rings_of
from cryowalk.ctf_estimation.search import phase_shift_grid, search, significance_of
from cryowalk.ctf_estimation.settings import CtfSettings
from cryowalk.ctf_estimation.spectrum import PowerSpectrum
from cryowalk.data.optics import Defocus, Optics

_FIRST_FINEST = 5.0  # Å, where the search ends before the fit goes further
_SIGNIFICANT = 8.0  # standard deviations; the best of all trials on pure noise reaches about 5
_WEAK = 0.15  # figure of merit below which no rings are claimed
_COARSE = 15.0  # Å, a fit resolution beyond which a micrograph is of little use
_RIVAL = 0.9  # of the best score, at which another defocus is as likely
_AT_THE_EDGE = 1.5  # steps of the search


@dataclass(frozen=True, slots=True, kw_only=True)
class CtfEstimate:
    """The defocus of one micrograph, and how well its rings are followed.

    `deviation` is the standard error of the mean defocus, Å, `resolution` the spacing down to which the rings follow the model, Å, `figure_of_merit` their
    correlation. `doubts` says in words why the estimate should not be trusted; without any, `is_good`.
    """

    defocus: Defocus
    deviation: float
    resolution: float
    figure_of_merit: float
    average: EquiphaseAverage
    doubts: tuple[str, ...] = ()

    @property
    def is_good(self) -> bool:
        """Whether there is no doubt."""
        return not self.doubts

    @property
    def mean_defocus(self) -> float:
        """(major + minor) / 2, Å."""
        return float((self.defocus.major + self.defocus.minor).mean() / 2)

    @property
    def astigmatism(self) -> float:
        """Major − minor defocus, Å."""
        return float((self.defocus.major - self.defocus.minor).mean())


def estimate_ctf(spectrum: PowerSpectrum, optics: Optics, settings: CtfSettings = CtfSettings()) -> CtfEstimate:  # noqa: B008  frozen
    """Defocus, astigmatism and, on request, phase shift from a power spectrum, with figures of its quality.

    The pixel size is the spectrum's own; `optics` gives voltage, Cs and amplitude contrast (which is not fitted: it hides behind defocus and phase shift).
    A grid search to 5 Å finds the basin, also of the mirror solution, and a least-squares fit goes on to the finest spacing of the settings.

    Raises
    ------
    UsageError
        If a setting cannot be meant, or the band holds too few rings.
    """
    low, high = _checked(settings)
    finest = max(settings.finest_resolution, 2.05 * spectrum.pixel_size)
    rough = _rings(spectrum, settings, finest=max(finest, _FIRST_FINEST))
    shifts: tuple[float, ...] = (0.0,)
    if settings.phase_shift == "fit":
        first, last = (math.radians(degrees) for degrees in settings.phase_shift_range_degrees)
        shifts = phase_shift_grid(first, last)
    found = search(
        rough,
        optics,
        defocus_range=(low, high),
        largest_astigmatism=settings.largest_astigmatism,
        phase_shifts=shifts,
    )
    fits_shift = settings.phase_shift == "fit"
    fit = refine(rough, optics, start=found.best, fit_phase_shift=fits_shift)
    if finest < _FIRST_FINEST:
        band = _rings(spectrum, settings, finest=finest)
        start = found.best._replace(
            defocus=fit.defocus, amplitude=fit.amplitude, azimuth=fit.azimuth, phase_shift=fit.phase_shift
        )
        fit = refine(band, optics, start=start, fit_phase_shift=fits_shift)
    defocus = _defocus(fit)
    average = equiphase_average(spectrum, optics, defocus, coarsest=settings.coarsest_resolution)
    resolution = fit_resolution(average, finest=finest)
    merit = figure_of_merit(average, finest=max(finest, min(resolution, settings.coarsest_resolution / 3)))
    doubts = list(_doubts(fit, resolution, merit, settings))
    refined = found.best._replace(defocus=fit.defocus, amplitude=fit.amplitude, azimuth=fit.azimuth, phase_shift=fit.phase_shift)
    significance = max(found.significance, significance_of(rough, optics, refined))
    if significance < _SIGNIFICANT:
        resolution = math.inf
        doubts.insert(0, f"what was found is not clearly more than noise gives ({significance:.1f} standard deviations)")
    if found.runner_up > _RIVAL * found.best.score:
        doubts.append("another defocus fits the rings about as well")
    return CtfEstimate(
        defocus=defocus,
        deviation=fit.deviation[0],
        resolution=resolution,
        figure_of_merit=merit,
        average=average,
        doubts=tuple(doubts),
    )


def _checked(settings: CtfSettings) -> tuple[float, float]:
    low, high = settings.defocus_range
    if not (math.isfinite(low) and math.isfinite(high) and 0 < low < high):
        raise UsageError(f"defocus_range must go from a smaller to a larger underfocus above zero: got {low:g} to {high:g} Å")
    require_between("largest defocus", high, low, 3e5)
    require_positive("finest_resolution", settings.finest_resolution, unit="Å")
    if settings.coarsest_resolution <= settings.finest_resolution:
        raise UsageError(
            f"coarsest_resolution must be above finest_resolution: got {settings.coarsest_resolution:g} and {settings.finest_resolution:g} Å"
        )
    return low, high


def _rings(spectrum: PowerSpectrum, settings: CtfSettings, *, finest: float) -> Rings:
    layout = layout_of(
        spectrum.side,
        pixel_size=spectrum.pixel_size,
        coarsest=settings.coarsest_resolution,
        finest=finest,
        exclude_ice=settings.exclude_ice == "yes",
    )
    return rings_of(spectrum, layout)


def _defocus(fit: Fit) -> Defocus:
    values = (fit.defocus + fit.amplitude, fit.defocus - fit.amplitude, fit.azimuth, fit.phase_shift)
    major, minor, azimuth, phase_shift = (torch.tensor([value], dtype=torch.float64) for value in values)
    return Defocus(major=major, minor=minor, azimuth=azimuth, phase_shift=phase_shift)


def _doubts(fit: Fit, resolution: float, merit: float, settings: CtfSettings) -> "list[str]":
    """Reasons in words not to trust the fit."""
    low, high = settings.defocus_range
    doubts = []
    if merit < _WEAK or fit.envelope <= 0:
        doubts.append(f"no Thon rings: they correlate by {merit:.2f} with the fit")
    if resolution > _COARSE:
        followed = "nowhere" if math.isinf(resolution) else f"only to {resolution:.1f} Å"
        doubts.append(f"the rings can be followed {followed}")
    if not low + _AT_THE_EDGE * 50 < fit.defocus < high - _AT_THE_EDGE * 50:
        doubts.append(f"the defocus of {fit.defocus:.0f} Å lies at the edge of the range searched")
    if 2 * fit.amplitude > settings.largest_astigmatism:
        doubts.append(f"an astigmatism of {2 * fit.amplitude:.0f} Å is beyond what was allowed")
    return doubts
