"""Beam tilt, trefoil, Cs and tetrafoil of each optics group: phases that all its images share, fitted to sums over them.

Source: Zivanov et al., eLife 7, e42166 (2018), for beam tilt; Zivanov, Nakane & Scheres, IUCrJ 7, 253 (2020), for higher orders.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from cryowalk.core.errors import InputError
from cryowalk.core.execution import Progress, SilentProgress
from cryowalk.data import Optics, ParticleSet, Pose, Volume
from cryowalk.microscope.aberrations import true_frequency, zernike_sum
from cryowalk.poses.evidence import Band, Calibration, References, band_of, calibrate, evidence, require_refinable
from cryowalk.poses.phase_fits import EvenSums, OddSums, fit_phase
from cryowalk.poses.settings import CtfRefinementSettings

EVEN_TERMS = 9  # Zernike polynomials to fourth order
TREFOIL = (2, 5)
SPHERICAL = 6
ROUNDS = 2  # a large phase hides the map's finest signal from the first
DEFAULT = CtfRefinementSettings(beam_tilt=True, aberrations=True, defocus="off")


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupAberrations:
    """What was found of one optics group: changes, their standard deviations, and phases at the half disk's coefficients, rad.

    `beam_tilt` (rad) and `spherical` (of Cs, Å) are changes; `odd_measured` and `even_measured` are single coefficients' phases before the fit, `odd_fitted` and
    `even_fitted` what was fitted; they are changes too.
    """

    group: int
    beam_tilt: tuple[float, float] = (0.0, 0.0)
    beam_tilt_deviation: tuple[float, float] = (math.inf, math.inf)
    trefoil: tuple[float, float] = (0.0, 0.0)
    even_zernike: tuple[float, ...] = ()
    even_deviation: tuple[float, ...] = ()
    spherical: float = 0.0
    odd_gain: float = 0.0
    even_gain: float = 0.0
    odd_measured: Float[Tensor, " K"] | None = None
    odd_fitted: Float[Tensor, " K"] | None = None
    even_measured: Float[Tensor, " K"] | None = None
    even_fitted: Float[Tensor, " K"] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AberrationRefinement:
    """The particles with new optics (and the common shift of their images that goes with a beam tilt), and what was found of each group."""

    particles: ParticleSet
    groups: tuple[GroupAberrations, ...]


def refine_aberrations(
    particles: ParticleSet,
    maps: Sequence[Volume],
    settings: CtfRefinementSettings = DEFAULT,
    *,
    progress: Progress | None = None,
) -> AberrationRefinement:
    """Particles whose optics groups have the beam tilt, trefoil and even aberrations that make their images likeliest given the map.

    `settings.beam_tilt` asks for the tilt alone, `settings.aberrations` for trefoil and the nine even Zernike terms to fourth order too. `maps` are one map,
    or both half maps. A shift that all images of a group share goes with a beam tilt, and is put into the poses.

    Raises
    ------
    InputError, ShapeError, UsageError
        If particles or maps cannot be used; if Cs is 0, where a beam tilt does nothing.
    """
    require_refinable(particles, maps)
    references, band = References.of(maps), band_of(particles, settings)
    return refined_aberrations(particles, references, band, settings=settings, progress=progress or SilentProgress())


def refined_aberrations(
    particles: ParticleSet, references: References, band: Band, *, settings: CtfRefinementSettings, progress: Progress
) -> AberrationRefinement:
    """`refine_aberrations` with what is known already."""
    found = [GroupAberrations(group=group) for group in range(len(particles.optics))]
    current = particles
    for _ in range(ROUNDS):
        progress.start("aberrations", len(particles))
        calibration = calibrate(current, references, band, settings=settings)
        sums = _sums(current, references, band, calibration, settings=settings, progress=progress)
        for group, (odd, even) in enumerate(sums):
            if not bool(odd.power.any()):
                continue
            current, found[group] = _fitted(current, group, (odd, even), found[group], band=band, settings=settings)
    return AberrationRefinement(particles=current, groups=tuple(found))


def _sums(
    particles: ParticleSet,
    references: References,
    band: Band,
    calibration: Calibration,
    *,
    settings: CtfRefinementSettings,
    progress: Progress,
) -> list[tuple[OddSums, EvenSums]]:
    count = len(band.shell)
    sums = [(OddSums.empty(count), EvenSums.empty(count)) for _ in particles.optics]
    for part in evidence(particles, references, band, settings=settings, calibration=calibration, progress=progress):
        for each in sums[part.group]:
            each.add(part)
    return sums


def odd_basis(kx: Float[Tensor, " K"], ky: Float[Tensor, " K"], optics: Optics, *, trefoil: str) -> Float[Tensor, "functions K"]:
    """Kx and ky (a shift of all images), the phase of 1 rad of beam tilt along x and y, and with `trefoil` "fit" its two Zernike polynomials.

    Raises
    ------
    InputError
        If Cs is 0.
    """
    factor = -2 * math.pi * optics.spherical_aberration * optics.wavelength**2
    if factor == 0:
        raise InputError(
            f"the optics group {optics.name} has a Cs of 0, where a beam tilt has no effect",
            fix="correct Cs, or leave the beam tilt out",
        )
    squared = kx**2 + ky**2
    functions = [kx, ky, factor * squared * kx, factor * squared * ky]
    if trefoil == "fit":
        functions += [zernike_sum([0.0] * index + [1.0], kx, ky, parity="odd") for index in TREFOIL]
    return torch.stack(functions)


def even_basis(kx: Float[Tensor, " K"], ky: Float[Tensor, " K"]) -> Float[Tensor, "functions K"]:
    """The nine even Zernike polynomials to fourth order, in RELION's order."""
    return torch.stack([zernike_sum([0.0] * index + [1.0], kx, ky, parity="even") for index in range(EVEN_TERMS)])


def _fitted(
    particles: ParticleSet,
    group: int,
    sums: tuple[OddSums, EvenSums],
    before: GroupAberrations,
    *,
    band: Band,
    settings: CtfRefinementSettings,
) -> tuple[ParticleSet, GroupAberrations]:
    """The particles with this group's phases put into its optics and poses, and the changes added to those of the round before."""
    optics, (odd, even) = particles.optics[group], sums
    kx, ky = true_frequency(band.kx, band.ky, optics=optics)
    basis = odd_basis(kx, ky, optics, trefoil="fit" if settings.aberrations else "none")
    fit = fit_phase(odd, basis, band=band)
    c = fit.coefficients.tolist()
    aberrations = optics.aberrations
    tilt = (aberrations.beam_tilt[0] + c[2], aberrations.beam_tilt[1] + c[3])
    aberrations = replace(aberrations, beam_tilt=tilt)
    found = replace(
        before,
        beam_tilt=(before.beam_tilt[0] + c[2], before.beam_tilt[1] + c[3]),
        beam_tilt_deviation=(float(fit.deviations[2]), float(fit.deviations[3])),
        odd_gain=before.odd_gain + fit.gain,
        odd_measured=_added(before.odd_fitted, torch.atan2(odd.imaginary, odd.real)),
        odd_fitted=_added(before.odd_fitted, fit.coefficients @ basis),
    )
    if settings.aberrations:
        terms = _changed(aberrations.odd_zernike, {TREFOIL[0]: c[4], TREFOIL[1]: c[5]})
        aberrations = replace(aberrations, odd_zernike=terms)
        found = replace(found, trefoil=(before.trefoil[0] + c[4], before.trefoil[1] + c[5]))
        functions = even_basis(kx, ky)
        fit_even = fit_phase(even, functions, band=band)
        # RELION's phase runs against ours.
        change = (-fit_even.coefficients).tolist()
        aberrations = replace(aberrations, even_zernike=_changed(aberrations.even_zernike, dict(enumerate(change))))
        slope, weight = even.slope_and_weight(torch.zeros_like(kx))
        total = tuple(a + b for a, b in zip(before.even_zernike or (0.0,) * EVEN_TERMS, change, strict=True))
        found = replace(
            found,
            even_zernike=total,
            even_deviation=tuple(fit_even.deviations.tolist()),
            spherical=12 * total[SPHERICAL] / (math.pi * optics.wavelength**3),
            even_gain=before.even_gain + fit_even.gain,
            even_measured=_added(before.even_fitted, slope / weight.clamp_min(torch.finfo(weight.dtype).tiny)),
            even_fitted=_added(before.even_fitted, fit_even.coefficients @ functions),
        )
    several = list(particles.optics)
    several[group] = replace(optics, aberrations=aberrations)
    return replace(particles, optics=tuple(several), pose=_shifted(particles, group, (c[0], c[1]))), found


def _added(before: Tensor | None, now: Tensor) -> Tensor:
    return now if before is None else before + now


def _changed(coefficients: tuple[float, ...], changes: dict[int, float]) -> tuple[float, ...]:
    length = max(len(coefficients), max(changes) + 1)
    return tuple((coefficients[i] if i < len(coefficients) else 0.0) + changes.get(i, 0.0) for i in range(length))


def _shifted(particles: ParticleSet, group: int, slope: tuple[float, float]) -> Pose | None:
    """The poses, those of the group moved by what the phase slope · κ, κ = M k, does to all its images: −Mᵀ slope / 2π."""
    if particles.pose is None:
        return None
    m00, m01, m10, m11 = particles.optics[group].aberrations.magnification
    across, along = m00 * slope[0] + m10 * slope[1], m01 * slope[0] + m11 * slope[1]
    step = particles.pose.shift.new_tensor([across, along]) / (-2 * math.pi)
    members = (particles.optics_index == group).to(step.device)
    return replace(particles.pose, shift=particles.pose.shift + members[:, None] * step)
