"""The curves of a camera – modulation transfer, detective quantum efficiency, noise transfer – and how each follows from the other two.

Per electron that arrives, with k in cycles per camera pixel: DQE(k) = MTF(k)²/NTF(k)², and the noise power spectrum of a flat field of `dose`
electrons per pixel is gain² · dose · NTF(k)².

Source: McMullan, Chen, Henderson & Faruqi, Ultramicroscopy 109, 1126 (2009), section 2; Vulović et al., J. Struct. Biol. 183, 19 (2013), section 2.4.
"""

import math
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from cryowalk.core.checks import require_between, require_positive
from cryowalk.core.errors import UsageError
from cryowalk.data.camera import Camera, Response
from cryowalk.fourier.grids import frequency_grid

_POINTS = 181  # of a curve that is made from others: 0 to √½ of a cycle per pixel, the corner of the spectrum


class Transfer(NamedTuple):
    """A camera's curves on the half spectrum of an image: the signal's transfer, its efficiency, and the noise's transfer."""

    signal: Float[Tensor, "h half"]
    efficiency: Float[Tensor, "h half"]
    noise: Float[Tensor, "h half"]


def response_at(response: Response, frequency: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """The value of a curve at frequencies in cycles per camera pixel: linear between its points, constant beyond them."""
    require_curve("the curve", response)
    if is_flat(response):
        return torch.full_like(frequency, response.value[0])
    values = np.interp(frequency.detach().cpu().double().numpy(), response.frequency, response.value)
    return torch.from_numpy(np.asarray(values)).to(frequency)


def is_flat(response: Response) -> bool:
    """Whether the curve has one value everywhere."""
    return len(set(response.value)) == 1


def require_curve(what: str, response: Response) -> Response:
    """The curve, known to be usable: as many values as frequencies, both finite, frequencies rising, no value below zero.

    Raises
    ------
    UsageError
        If it is not.
    """
    frequency, value = response.frequency, response.value
    if len(frequency) != len(value) or not value:
        raise UsageError(f"{what} needs one value a frequency: got {len(frequency)} frequencies and {len(value)} values")
    if not all(map(math.isfinite, (*frequency, *value))) or min(value) < 0 or frequency[0] < 0:
        raise UsageError(f"{what} must have finite frequencies and values, none below zero")
    if any(later <= earlier for earlier, later in pairwise(frequency)):
        raise UsageError(f"{what} must have rising frequencies", expected="cycles per pixel, 0 to 0.5 at Nyquist")
    return response


def noise_transfer_of(mtf: Response, dqe: Response) -> Response:
    """The noise transfer MTF/√DQE: √(noise power) per electron, relative to an ideal camera's.

    Raises
    ------
    UsageError
        If the efficiency is zero where the modulation transfer is not: no noise is strong enough.
    """
    grid, signal, efficiency = _on_common_grid(mtf, dqe)
    if bool(np.any((efficiency == 0) & (signal > 0))):
        raise UsageError("a detective quantum efficiency of zero needs a modulation transfer of zero at the same frequency")
    return _response(grid, np.where(signal > 0, signal / np.sqrt(np.where(efficiency > 0, efficiency, 1.0)), 0.0))


def dqe_of(mtf: Response, noise_transfer: Response) -> Response:
    """The detective quantum efficiency MTF²/NTF²; zero where neither signal nor noise is transferred."""
    grid, signal, noise = _on_common_grid(mtf, noise_transfer)
    return _response(grid, np.where(signal > 0, (signal / np.where(noise > 0, noise, np.inf)) ** 2, 0.0))


def mtf_of(dqe: Response, noise_transfer: Response) -> Response:
    """The modulation transfer NTF · √DQE."""
    grid, efficiency, noise = _on_common_grid(dqe, noise_transfer)
    return _response(grid, noise * np.sqrt(efficiency))


def square_pixel_transfer(kx: Float[Tensor, "*shape"], ky: Float[Tensor, "*shape2"]) -> Float[Tensor, "*shape3"]:
    """The modulation transfer of an ideal square pixel, sinc kx · sinc ky, k in cycles per pixel: 2/π at Nyquist on an axis."""
    return torch.sinc(kx) * torch.sinc(ky)


def square_pixel_response() -> Response:
    """The modulation transfer of an ideal square pixel along an axis, sinc k."""
    grid = np.linspace(0, 1, 2 * _POINTS - 1)
    return _response(grid, np.abs(np.sinc(grid)))


def rullgard_response(a: float, b: float, c: float, *, alpha: float, beta: float, p: float = 1.0, q: float = 1.0) -> Response:
    """The modulation transfer of TEM-simulator's detector, a/(1 + αω²) + b/(1 + βω²) + c, divided by its value at zero, a + b + c.

    ω is the spatial frequency in cycles per detector pixel. With the exponents of its later versions 1/(1 + αω²) becomes
    2^p y/(2 + (2^p − 2) y), y = (1 + αω²)^(−p), and the same with β and q.

    Source: Rullgård, Öfverstedt, Masich, Daneholt & Öktem, J. Microsc. 243, 234 (2011), detector section; TEM-simulator's manual, “detector”.
    """
    total = require_positive("the sum mtf_a + mtf_b + mtf_c", a + b + c)
    for name, value in (("mtf_alpha", alpha), ("mtf_beta", beta), ("mtf_p", p), ("mtf_q", q)):
        require_between(name, value, 0.0, math.inf)
    grid = np.linspace(0, math.sqrt(0.5), 4 * _POINTS - 3)
    curve = a * _fall(grid, alpha, p) + b * _fall(grid, beta, q) + c
    if curve.min() < 0:
        raise UsageError("the modulation transfer of mtf_a, mtf_b and mtf_c falls below zero")
    return _response(grid, curve / total)


def _fall(grid: "NDArray[np.float64]", width: float, exponent: float) -> "NDArray[np.float64]":
    y = (1 + width * grid**2) ** -exponent
    return np.asarray(2**exponent * y / (2 + (2**exponent - 2) * y))


def deposit_efficiency(deviation: float) -> float:
    """DQE(0) of a camera that sums deposits of mean 1 and this standard deviation: ⟨ε⟩²/⟨ε²⟩ = 1/(1 + σ²); ½ for exponential deposits.

    Source: Swank, J. Appl. Phys. 44, 4199 (1973), eq. 1 (the statistical factor A_S).
    """
    return 1 / (1 + deviation**2)


def coincidence_loss(electrons: float) -> float:
    """The fraction of electrons lost when those that meet in one pixel of one raw frame are counted once: 1 − (1 − e^(−n))/n.

    `electrons` is n, the mean number per coincidence area and raw frame; 0.1 gives 4.84 %.
    """
    require_between("the electrons per pixel and raw frame", electrons, 0.0, math.inf)
    return 1 + math.expm1(-electrons) / electrons if electrons > 0 else 0.0


def coincidence_efficiency(electrons: float) -> float:
    """What coincidence leaves of DQE(0): n/(eⁿ − 1), for n electrons per coincidence area and raw frame.

    A pixel counts a binomial number; its mean rises with the dose by e^(−n), its variance is (1 − e^(−n)) e^(−n) per raw frame.
    """
    require_between("the electrons per pixel and raw frame", electrons, 0.0, math.inf)
    return electrons / math.expm1(electrons) if electrons > 0 else 1.0


def dose_rate_for_loss(loss: float, *, frame_rate: float, coincidence_area: float = 1.0) -> float:
    """The dose rate, electrons per pixel per second, at which coincidence loses this fraction of the electrons."""
    require_between("loss", loss, 0.0, 0.99)
    require_positive("frame_rate", frame_rate, unit="1/s")
    require_positive("coincidence_area", coincidence_area, unit="pixels")
    low, high = 0.0, 1.0
    while coincidence_loss(high) < loss:
        high *= 2
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if coincidence_loss(middle) < loss else (low, middle)
    return (low + high) / 2 * frame_rate / coincidence_area


def transfer(
    camera: Camera, size: tuple[int, int], *, dtype: torch.dtype = torch.float32, device: torch.device | str | None = None
) -> Transfer:
    """A camera's curves on the half spectrum of an image of this size, the square pixel included where the camera has one.

    The image's pixels are the camera's, or parts of them where `camera.sampling` is above 1.
    """
    require_camera(camera)
    # Rows of −k are those of k: half of the frequencies need no look-up of their own.
    kx, ky = frequency_grid(size, pixel_size=1 / camera.sampling, dtype=torch.float64)
    half = size[0] // 2 + 1
    radius = torch.sqrt(kx**2 + ky[:half] ** 2)
    signal = response_at(camera.mtf, radius)
    efficiency = response_at(camera.dqe, radius)
    if bool(((efficiency == 0) & (signal > 0)).any()):
        raise UsageError("a detective quantum efficiency of zero needs a modulation transfer of zero at the same frequency")
    noise = torch.where(signal > 0, signal / torch.sqrt(torch.where(efficiency > 0, efficiency, 1.0)), 0.0)
    if camera.pixel == "square":
        pixel = square_pixel_transfer(kx, ky[:half])
        signal, efficiency = signal * pixel, efficiency * pixel**2
    return Transfer(*(_mirrored(part, size[0]).to(device, dtype) for part in (signal, efficiency, noise)))


def require_camera(camera: Camera) -> Camera:
    """The camera, known to be possible: curves that are curves, MTF(0) = 1, 0 < DQE ≤ 1, a gain above zero.

    Raises
    ------
    UsageError
        If it is not.
    """
    require_curve("the modulation transfer", camera.mtf)
    require_curve("the detective quantum efficiency", camera.dqe)
    if abs(camera.mtf.value[0] - 1) > 1e-3:
        raise UsageError(
            f"the modulation transfer must be 1 at zero frequency: got {camera.mtf.value[0]}",
            fix="divide the curve by its value at zero and put that factor into the gain",
        )
    if max(camera.dqe.value) > 1 or camera.dqe.value[0] <= 0:
        raise UsageError("the detective quantum efficiency must lie between 0 and 1, above 0 at zero frequency")
    require_positive("gain", camera.gain)
    require_between("readout_noise", camera.readout_noise, 0.0, math.inf)
    require_positive("coincidence_area", camera.coincidence_area, unit="pixels")
    require_between("deposit_deviation", camera.deposit_deviation, 0.0, 10.0)
    for name, value in (("frame_rate", camera.frame_rate), ("dose_rate", camera.dose_rate)):
        if value is not None:
            require_positive(name, value)
    return camera


def _mirrored(rows: Tensor, height: int) -> Tensor:
    """All rows of a spectrum from those of ky = 0 … h // 2 of a function that is even in ky."""
    return torch.cat([rows, rows[1 : (height + 1) // 2].flip(0)])


def _on_common_grid(
    first: Response, second: Response
) -> tuple["NDArray[np.float64]", "NDArray[np.float64]", "NDArray[np.float64]"]:
    """Frequencies fine enough that a ratio of two straight pieces is as good as straight, with both curves on them."""
    require_curve("the first curve", first)
    require_curve("the second curve", second)
    grid = np.union1d(np.linspace(0, math.sqrt(0.5), _POINTS), np.union1d(first.frequency, second.frequency))
    return grid, np.interp(grid, first.frequency, first.value), np.interp(grid, second.frequency, second.value)


def _response(frequency: "NDArray[np.float64]", value: "NDArray[np.float64]") -> Response:
    return Response(frequency=tuple(frequency.tolist()), value=tuple(value.tolist()))
