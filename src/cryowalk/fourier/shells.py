"""Averages over shells of equal resolution, Fourier shell correlation and the signal-to-noise ratios it stands for."""

import torch
from jaxtyping import Float
from torch import Tensor

from cryowalk.core.errors import ShapeError
from cryowalk.fourier.grids import Size, friedel_weights, require_size, shell_count, shell_index
from cryowalk.fourier.transform import to_fourier


def shell_average(power: Float[Tensor, "*batch h half"], *, size: Size) -> Float[Tensor, "*other shells"]:
    """The mean over each shell 0 … n // 2 of a real quantity given on the half spectrum of an array of `size`.

    Both members of each Friedel pair count; the corners beyond Nyquist belong to no shell.
    """
    total = shell_sum(power, size=size)
    return total / shell_sum(torch.ones_like(power.reshape(-1, *power.shape[-len(size) :])[0]), size=size)


def shell_sum(power: Float[Tensor, "*batch h half"], *, size: Size) -> Float[Tensor, "*other shells"]:
    """The sum over each shell 0 … n // 2 of a real quantity given on the half spectrum of an array of `size`, both Friedel mates counted."""
    dimensions = len(size)
    half = (*size[:-1], size[-1] // 2 + 1)
    if tuple(power.shape[-dimensions:]) != half:
        raise ShapeError(
            f"the half spectrum of an array of size {size} has the shape {half}: got {tuple(power.shape[-dimensions:])}"
        )
    shells = shell_count(size)
    index = shell_index(size, device=power.device).clamp_(max=shells).reshape(-1)
    # Sums of millions of terms: float64 keeps their relative error below the single values' own.
    weighted = (power.to(torch.float64) * friedel_weights(size, like=power)).reshape(*power.shape[:-dimensions], -1)
    total = weighted.new_zeros((*weighted.shape[:-1], shells + 1)).index_add(-1, index, weighted)
    return total[..., :shells].to(power.dtype)


def shell_frequency(
    box: int, *, pixel_size: float, dtype: torch.dtype = torch.float32, device: torch.device | str | None = None
) -> Float[Tensor, " shells"]:
    """The frequencies of the shells 0 … box // 2, 1/Å."""
    return torch.arange(box // 2 + 1, dtype=dtype, device=device) / (box * pixel_size)


def shell_correlation(
    first: Float[Tensor, "*batch h w"], second: Float[Tensor, "*second y x"], *, dimensions: int | None = None
) -> Float[Tensor, "*other shells"]:
    """Fourier ring or shell correlation of two real images or volumes in the shells 0 … n // 2.

    FSC = Re Σ F₁ F₂* / √(Σ|F₁|² Σ|F₂|²), 0 in a shell where one of them vanishes. All axes are taken unless `dimensions` names the
    number of last ones (the others are batch).

    Source: Harauz & van Heel, Optik 73, 146 (1986).
    """
    if first.shape != second.shape:
        raise ShapeError(f"arrays to correlate must have one shape: got {tuple(first.shape)} and {tuple(second.shape)}")
    size = require_size(first, dimensions or first.ndim)
    one, other = (to_fourier(array, dimensions=len(size)) for array in (first, second))
    return spectra_correlation(one, other, size=size)


def spectra_correlation(first: Tensor, second: Tensor, *, size: Size) -> Float[Tensor, "*other shells"]:
    """Shell correlation of two half spectra of arrays of `size`; see `shell_correlation`."""
    shared = shell_sum(first.real * second.real + first.imag * second.imag, size=size)
    power = shell_sum(first.real**2 + first.imag**2, size=size) * shell_sum(second.real**2 + second.imag**2, size=size)
    return torch.where(power > 0, shared / torch.sqrt(power.clamp_min(torch.finfo(power.dtype).tiny)), torch.zeros_like(shared))


def snr_from_fsc(fsc: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Spectral signal-to-noise ratio of one half map: FSC / (1 − FSC). The average of both half maps has twice it.

    Source: Frank & Al-Ali, Nature 256, 376 (1975), eq. 4.
    """
    return fsc / (1 - fsc)


def fsc_from_snr(snr: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """The correlation expected between two half maps of this spectral signal-to-noise ratio each: SNR / (1 + SNR)."""
    return snr / (1 + snr)


def correlation_with_truth(fsc: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """The correlation expected between the average of two half maps and the noiseless map: √(2 FSC / (1 + FSC)); 0 for a negative FSC.

    Source: Rosenthal & Henderson, J. Mol. Biol. 333, 721 (2003), eq. 17.
    """
    positive = fsc.clamp_min(0)
    return torch.sqrt(2 * positive / (1 + positive))
