"""The guarantee: a denoised pair mixed with its unfiltered average, shell by shell, only as far as the other half confirms it.

A denoiser that is no radial filter may raise or lower the correlation with the truth T of a shell. With two halves h₁ = T + n₁, h₂ = T + n₂ and a denoised
D₁ that does not know n₂, Re Σ D₁ H₂* estimates Re Σ D₁ T* without bias, and Re Σ H₁ H₂* estimates Σ|T|². So the correlation of any mixture of
the denoised and the plain average with the truth can be estimated up to one common factor, and so can its error, by leaving out one direction after another.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Complex, Float, Int
from torch import Tensor

from cryowalk.fourier.filters import weights_on_spectrum
from cryowalk.fourier.grids import Size, frequency_grid, friedel_weights, require_size, shell_count, shell_index
from cryowalk.fourier.shells import spectra_correlation
from cryowalk.fourier.transform import to_fourier, to_real

LEAST_FSC = 1e-3  # of a half: a weight below it would lose the shell
_SECTORS = 16
_SEEN = 4.0  # standard deviations by which the halves must agree before a gain is believed
_TRUST = 2.0  # standard deviations by which a gain must exceed nothing
_POOLED = 2  # shells on each side that a choice rests on
_WEIGHTS = 21


@dataclass(frozen=True, slots=True, kw_only=True)
class Recombination:
    """The mixture and what it cost, shell by shell.

    `weight` of the denoised part (0: the shell is the plain average, scaled); `scale` is what the shell's amplitude was multiplied by; `gain` the estimated
    ratio of the correlations with the truth, after to before, `gain_error` its standard deviation; `fsc` the correlation of the halves;
    `amplitude` the estimated Re Σ X T* / Σ|T|², 1 for an unbiased map.
    """

    array: Float[Tensor, "*size"]
    weight: Float[Tensor, " shells"]
    scale: Float[Tensor, " shells"]
    gain: Float[Tensor, " shells"]
    gain_error: Float[Tensor, " shells"]
    fsc: Float[Tensor, " shells"]
    amplitude: Float[Tensor, " shells"]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Products:
    """Sums over each sector and shell: of the denoised D and the plain A with each other, and their estimated products with the truth."""

    dd: Float[Tensor, "sectors shells"]
    da: Float[Tensor, "sectors shells"]
    aa: Float[Tensor, "sectors shells"]
    dt: Float[Tensor, "sectors shells"]
    at: Float[Tensor, "sectors shells"]

    def pooled(self, reach: int) -> "_Products":
        """The sums over neighbouring shells, each divided by its plain power first so that no shell outweighs its neighbours."""
        total = self.aa.sum(dim=0).clamp_min(torch.finfo(self.aa.dtype).tiny)
        total[0] = torch.inf  # the mean was taken off: what is left at the origin is rounding

        def pool(value: Tensor) -> Tensor:
            padded = torch.nn.functional.pad((value / total)[:, None], (reach, reach))
            return torch.nn.functional.avg_pool1d(padded, 2 * reach + 1, 1)[:, 0]

        return _Products(dd=pool(self.dd), da=pool(self.da), aa=pool(self.aa), dt=pool(self.dt), at=pool(self.at))

    def without_each(self) -> "_Products":
        """The sums with one sector left out, for each sector."""

        def leave_out(value: Tensor) -> Tensor:
            return value.sum(dim=0) - value

        return _Products(
            dd=leave_out(self.dd), da=leave_out(self.da), aa=leave_out(self.aa), dt=leave_out(self.dt), at=leave_out(self.at)
        )

    def whole(self) -> "_Products":
        """The sums over all sectors, as one sector."""
        rows = {name: getattr(self, name).sum(dim=0, keepdim=True) for name in ("dd", "da", "aa", "dt", "at")}
        return _Products(**rows)


def recombine(
    denoised: tuple[Float[Tensor, "*size"], Float[Tensor, "*size"]], halves: tuple[Float[Tensor, "*size"], Float[Tensor, "*size"]]
) -> Recombination:
    """The most probable mixture of the average of both denoised halves and that of the halves themselves, in each shell.

    denoised[0] was made from halves[0] and must not know the noise of halves[1], and the other way round. In each shell the mixture (1 − w) A/|A| + w D/|D| takes the w
    in 0 … 1 whose estimated gain in correlation with the truth, less two standard deviations, is largest, and 0 where none is above nothing or the halves do not
    agree beyond four; neighbouring shells choose together. The result is scaled by the regression of the truth on it (Wiener's weight where w is 0), never to zero.
    """
    size = require_size(halves[0], halves[0].ndim)
    first, second = (to_fourier(half, dimensions=len(size)) for half in halves)
    one, other = (to_fourier(half, dimensions=len(size)) for half in denoised)
    plain, quiet = (first + second) / 2, (one + other) / 2
    sums = _products((quiet, plain), (first, second), (one, other), size=size)
    weight, gain, error = _choose(sums.pooled(_POOLED))
    total = sums.whole()
    tiny = torch.finfo(total.aa.dtype).tiny
    # One shell's mixture of unit vectors, and what it has in common with the truth.
    d_norm, a_norm = total.dd[0].clamp_min(tiny).sqrt(), total.aa[0].clamp_min(tiny).sqrt()
    for_quiet, for_plain = weight / d_norm, (1 - weight) / a_norm
    scale = (
        _regression(sums.pooled(_POOLED).whole(), weight) * a_norm / _mixture_power(total, for_quiet, for_plain).clamp_min(tiny)
    )
    # A shell without power (the origin's, or beyond a cut) stays empty: its unit vectors do not exist.
    parts = [
        torch.where(power_of > 0, factor * scale, torch.zeros_like(scale))
        for power_of, factor in ((total.dd[0], for_quiet), (total.aa[0], for_plain))
    ]
    parts[0][0] = parts[1][0] = 0.0
    mixed = quiet * _spread(parts[0], size, quiet) + plain * _spread(parts[1], size, plain)
    signal = total.at[0]
    shared = scale * (for_quiet * total.dt[0] + for_plain * total.at[0])
    amplitude = torch.where(signal > 0, shared / signal.clamp_min(tiny), torch.zeros_like(signal))
    power = _mixture_power(total, for_quiet * scale, for_plain * scale)
    like = halves[0]
    scale_told = torch.sqrt(power / total.aa[0].clamp_min(tiny))
    # The origin holds the mean, which the callers take off and put back.
    scale_told[0], amplitude[0] = 1.0, 1.0
    return Recombination(
        array=to_real(mixed, width=size[-1], dimensions=len(size)),
        weight=weight.to(like),
        scale=scale_told.to(like),
        gain=gain.to(like),
        gain_error=error.to(like),
        fsc=spectra_correlation(first, second, size=size).to(like),
        amplitude=amplitude.to(like),
    )


def _products(
    averages: tuple[Tensor, Tensor], halves: tuple[Tensor, Tensor], denoised: tuple[Tensor, Tensor], *, size: Size
) -> _Products:
    quiet, plain = averages
    place = _sector_and_shell(size, device=plain.device)

    def total(first: Complex[Tensor, "*half"], second: Complex[Tensor, "*half"]) -> Tensor:
        product = (first.real * second.real + first.imag * second.imag).double() * friedel_weights(size, like=plain).double()
        sums = product.new_zeros(_SECTORS * (shell_count(size) + 1)).index_add(0, place, product.reshape(-1))
        return sums.reshape(_SECTORS, -1)[:, :-1]

    return _Products(
        dd=total(quiet, quiet),
        da=total(quiet, plain),
        aa=total(plain, plain),
        dt=(total(denoised[0], halves[1]) + total(denoised[1], halves[0])) / 2,
        at=total(halves[0], halves[1]),
    )


def _sector_and_shell(size: Size, *, device: torch.device) -> Int[Tensor, " coefficients"]:
    """For each coefficient of the half spectrum the number of its sector and shell; sectors are turns of a golden angle through the directions."""
    shells = shell_count(size)
    shell = shell_index(size, device=device).clamp(max=shells)
    components = frequency_grid(size, pixel_size=1.0, dtype=torch.float64, device=device)
    azimuth = torch.atan2(components[1], components[0].expand_as(components[0] + components[1]))
    turns = azimuth / torch.pi
    if len(size) == 3:
        radius = torch.sqrt(components[0] ** 2 + components[1] ** 2 + components[2] ** 2).clamp_min(1e-12)
        turns = turns + 3 * (components[2] / radius)
    sector = torch.floor(torch.remainder(turns.expand(shell.shape), 1.0) * _SECTORS).long().clamp(max=_SECTORS - 1)
    return (sector * (shells + 1) + shell).reshape(-1)


def _choose(sums: _Products) -> tuple[Tensor, Tensor, Tensor]:
    """The weight of each shell, the gain that it brings and that gain's standard deviation."""
    weights = torch.linspace(0, 1, _WEIGHTS, dtype=sums.aa.dtype, device=sums.aa.device)[:, None, None]
    whole = _gain(sums.whole(), weights)[:, 0]
    left_out = _gain(sums.without_each(), weights)
    count = left_out.shape[1]
    error = torch.sqrt((count - 1) / count * ((left_out - left_out.mean(dim=1, keepdim=True)) ** 2).sum(dim=1))
    certain = whole - _TRUST * error
    # A gain over a correlation that may itself be chance means nothing.
    certain[:, ~_is_seen(sums)] = 0.0
    certain[:, 0] = 0.0
    certain[0] = 1.0  # the plain average gains nothing, for sure
    best = certain.argmax(dim=0)
    index, is_mixed = best[None], best > 0
    gain = torch.where(is_mixed, whole.gather(0, index)[0], torch.ones_like(whole[0]))
    return weights[:, 0, 0][best], gain, torch.where(is_mixed, error.gather(0, index)[0], torch.zeros_like(gain))


def _is_seen(sums: _Products) -> Tensor:
    """Whether the halves share more in a shell than four standard deviations of what its sectors say."""
    shared, others = sums.whole().at[0], sums.without_each().at
    count = len(others)
    error = torch.sqrt((count - 1) / count * ((others - others.mean(dim=0)) ** 2).sum(dim=0))
    return shared > _SEEN * error


def _gain(sums: _Products, weight: Tensor) -> Tensor:
    """Correlation with the truth of the mixture over that of the plain average; 0 where the halves share nothing, so that nothing is chosen there."""
    tiny = torch.finfo(sums.aa.dtype).tiny
    quiet, plain = sums.dd.clamp_min(tiny).sqrt(), sums.aa.clamp_min(tiny).sqrt()
    likeness = sums.da / (quiet * plain)
    shared = weight * sums.dt / quiet + (1 - weight) * sums.at / plain
    norm = torch.sqrt((weight**2 + (1 - weight) ** 2 + 2 * weight * (1 - weight) * likeness).clamp_min(1e-12))
    before = sums.at / plain
    return torch.where(before > 0, shared / (norm * before.clamp_min(tiny)), torch.zeros_like(shared))


def _mixture_power(sums: _Products, for_quiet: Tensor, for_plain: Tensor) -> Tensor:
    return (for_quiet**2 * sums.dd[0] + for_plain**2 * sums.aa[0] + 2 * for_quiet * for_plain * sums.da[0]).clamp_min(0)


def _regression(pooled: _Products, weight: Tensor) -> Tensor:
    """Re Σ X T* of the mixture X of unit vectors, over the plain average's norm, pooled over neighbouring shells; never zero."""
    tiny = torch.finfo(pooled.aa.dtype).tiny
    quiet, plain = pooled.dd[0].clamp_min(tiny).sqrt(), pooled.aa[0].clamp_min(tiny).sqrt()
    shared = (weight * pooled.dt[0] / quiet + (1 - weight) * pooled.at[0] / plain) / plain
    return shared.clamp(2 * LEAST_FSC / (1 + LEAST_FSC), 1.0)


def _spread(values: Tensor, size: Size, like: Tensor) -> Tensor:
    return weights_on_spectrum(values, size=size).to(like.real.dtype)
