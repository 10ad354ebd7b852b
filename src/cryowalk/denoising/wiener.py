"""Linear filters that undo a transfer function amid noise: Wiener's, the sum over several images of one object, and Tikhonov's.

Source: Wiener, Extrapolation, Interpolation and Smoothing of Stationary Time Series (1949); Saxton, Computer Techniques for Image Processing in
Electron Microscopy (1978), for sums over several defoci.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from cryowalk.core.checks import require_positive
from cryowalk.core.errors import ShapeError, UsageError
from cryowalk.fourier.filters import weights_on_spectrum
from cryowalk.fourier.grids import Size, require_size
from cryowalk.fourier.transform import to_fourier, to_real


def wiener_filter(
    array: Float[Tensor, "*batch h w"],
    *,
    signal: Float[Tensor, "*other shells"],
    noise: Float[Tensor, "*more shells"],
    transfer: Float[Tensor, "*lens h half"] | None = None,
    dimensions: int = 2,
) -> Float[Tensor, "*result h w"]:
    """The most probable object behind an image y = H x + n, in the image's unit: X = H S Y / (H² S + N) at each frequency.

    `signal` S and `noise` N are powers E|X|², E|n|² in the shells of orthonormal spectra, `transfer` H is given on the half spectrum (1 without it). It
    is the maximum of the posterior, and its mean, for Gaussian signal and noise. Without a transfer function every shell is only scaled: the Fourier
    shell correlation with anything stays what it was.

    Raises
    ------
    UsageError
        If a power is negative, or both are zero in one shell.
    """
    size = require_size(array, dimensions)
    object_power, noise_power = (_on_spectrum(power, size, array) for power in (signal, noise))
    if transfer is None:
        weight = object_power / (object_power + noise_power)
    else:
        weight = transfer * object_power / (transfer**2 * object_power + noise_power)
    if not bool(torch.isfinite(weight).all()):
        raise UsageError(
            "signal and noise are both zero at some frequency", fix="give the noise a small power wherever the signal has none"
        )
    return to_real(to_fourier(array, dimensions=dimensions) * weight, width=size[-1], dimensions=dimensions)


def wiener_sum(
    images: Float[Tensor, "*batch n h w"],
    transfer: Float[Tensor, "*lens lenses h half"],
    *,
    noise_to_signal: "float | Float[Tensor, ' shells']",
) -> Float[Tensor, "*batch h w"]:
    """One object out of n images of it, each behind its own transfer function: X = Σ H Y / (Σ H² + N/S).

    The images share one noise power N; `noise_to_signal` N/S is a number or one for each shell. Zeros of one transfer function are filled by the others.

    Raises
    ------
    ShapeError
        If there is not one transfer function for each image.
    UsageError
        If N/S is negative.
    """
    size = require_size(images, 2)
    if images.ndim < 3 or transfer.shape[-3:] != (images.shape[-3], size[0], size[1] // 2 + 1):
        raise ShapeError(
            f"{tuple(images.shape)} images need as many transfer functions on their half spectra: got {tuple(transfer.shape)}"
        )
    ratio = _ratio(noise_to_signal, (size[0], size[1]), images)
    numerator = (to_fourier(images) * transfer).sum(dim=-3)
    denominator = (transfer**2).sum(dim=-3) + ratio
    return to_real(numerator / denominator, width=size[1])


def tikhonov_filter(
    array: Float[Tensor, "*batch h w"], transfer: Float[Tensor, "*lens h half"], *, constant: float
) -> Float[Tensor, "*result h w"]:
    """The minimum of |H x − y|² + c|x|²: X = H Y / (H² + c), Wiener's filter for one ratio c = N/S at all frequencies.

    Source: Tikhonov, Soviet Math. Dokl. 4, 1035 (1963).

    Raises
    ------
    UsageError
        If the constant is not above zero.
    """
    require_positive("constant", constant)
    size = require_size(array, 2)
    return to_real(to_fourier(array) * transfer / (transfer**2 + constant), width=size[1])


def _on_spectrum(power: Tensor, size: Size, like: Tensor) -> Tensor:
    if bool((power < 0).any()):
        raise UsageError("a power is negative", expected="E|X|² ≥ 0 in every shell")
    return weights_on_spectrum(power.to(like), size=size)


def _ratio(noise_to_signal: "float | Tensor", size: tuple[int, int], like: Tensor) -> Tensor:
    given = torch.as_tensor(noise_to_signal, dtype=like.dtype, device=like.device)
    if bool((given < 0).any()):
        raise UsageError("the ratio of noise to signal is negative")
    return given if given.ndim == 0 else weights_on_spectrum(given, size=size)
