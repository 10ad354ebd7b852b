"""A camera's curves measured from its images: modulation transfer from a slanted edge, noise power from flat fields, and what follows from both.

Source: McMullan, Chen, Henderson & Faruqi, Ultramicroscopy 109, 1126 (2009), sections 2 and 3; ISO 12233 (the slanted edge).
"""

import math
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from cryowalk.core.checks import require_between, require_positive
from cryowalk.core.errors import InputError, ShapeError, UsageError
from cryowalk.data.camera import Camera, Response
from cryowalk.fourier.grids import frequency_radius, friedel_weights
from cryowalk.fourier.transform import to_fourier, to_real
from cryowalk.microscope.detector_curves import response_at, transfer

_FINE = 8  # bins of the edge profile per pixel


class EdgeProfile(NamedTuple):
    """What a slanted edge shows: positions across it (pixels), the edge spread, the line spread, and the edge's angle to the y axis (rad)."""

    position: Float[Tensor, " bins"]
    edge_spread: Float[Tensor, " bins"]
    line_spread: Float[Tensor, " bins"]
    angle: float


def slanted_edge(size: tuple[int, int], *, angle: float, blur: float = 0.0) -> Float[Tensor, "h w"]:
    """The image of an opaque blade through the middle: the lit part of each square pixel, 0 left of the edge and 1 right of it.

    `angle` is that of the edge to the y axis, rad, `blur` the standard deviation, pixels, of a Gaussian that softens it. Exact: the second integral of
    the edge's profile, differenced over the pixel. Its transform along the normal is sinc(k cos α) · sinc(k sin α) · exp(−2π² blur² k²).
    """
    require_between("angle", angle, -math.pi / 4, math.pi / 4)
    require_between("blur", blur, 0.0, math.inf)
    y = torch.arange(size[0], dtype=torch.float64)[:, None] - (size[0] - 1) / 2
    x = torch.arange(size[1], dtype=torch.float64) - (size[1] - 1) / 2
    distance = x * math.cos(angle) + y * math.sin(angle)
    wide, narrow = math.cos(angle), max(abs(math.sin(angle)), 1e-6)
    corners = [
        sign * _twice_integrated_edge(distance + first * wide / 2 + second * narrow / 2, blur)
        for first, second, sign in ((1, 1, 1), (1, -1, -1), (-1, 1, -1), (-1, -1, 1))
    ]
    return torch.stack(corners).sum(0).div(wide * narrow).clamp(0, 1).float()


def edge_profile(image: Float[Tensor, "h w"], *, reach: int = 32) -> EdgeProfile:
    """The profile across a slanted edge that runs roughly along y, brighter on either side, and its derivative.

    The edge is a straight line through the centroids of the rows' derivatives. Pixels up to `reach` away from it (less in a narrow image) are sorted
    by their distance into eight bins a pixel. Noise in the result grows with √reach, a reach below the tails of the line spread loses them.

    Raises
    ------
    InputError
        If there is no edge, or it is too steep for its pixels to fill the bins.
    """
    pixels = image.detach().cpu().double().numpy()
    angle, offset = _edge_line(pixels)
    if abs(math.tan(angle)) * pixels.shape[0] < 2:
        raise InputError(
            f"the edge moves by less than two pixels over the image: its angle is {math.degrees(angle):.2f}°",
            expected="an edge tilted by some degrees against the pixel columns, so that it is seen at all positions within a pixel",
        )
    y, x = np.mgrid[: pixels.shape[0], : pixels.shape[1]]
    distance = (x - offset) * math.cos(angle) + (y - (pixels.shape[0] - 1) / 2) * math.sin(angle)
    reach = int(min(pixels.shape[1] / 2 - abs(math.tan(angle)) * pixels.shape[0] / 2 - 2, reach))
    if reach < 8:
        raise InputError("the edge leaves the image before its profile is complete", fix="a wider image, or a smaller angle")
    bins = np.floor((distance + reach) * _FINE).astype(np.int64)
    inside = (bins >= 0) & (bins < 2 * reach * _FINE)
    number = np.bincount(bins[inside], minlength=2 * reach * _FINE)
    # The line spread at the bins' borders is the difference of neighbouring bins, each at the mean position of its own pixels.
    total = np.bincount(bins[inside], weights=pixels[inside], minlength=2 * reach * _FINE)
    spread = np.interp(np.arange(len(number)), np.flatnonzero(number), (total / np.maximum(number, 1))[number > 0])
    line = np.diff(spread, append=spread[-1]) * _FINE
    line *= np.sign(line.sum())
    position = (np.arange(len(spread)) + 0.5) / _FINE - reach
    return EdgeProfile(torch.from_numpy(position), torch.from_numpy(spread), torch.from_numpy(line), angle)


def modulation_transfer(profile: EdgeProfile) -> Response:
    """The modulation transfer across an edge, at frequencies up to one cycle per pixel: |transform of the line spread|, 1 at zero.

    Divided by what the measurement itself does, the bins and the difference between them: sinc²(k/8). The far tails, which are noise, are tapered.
    It holds the edge's own transfer and the pixel's.
    """
    line = profile.line_spread
    count = len(line)
    middle = float((profile.position * line.abs()).sum() / line.abs().sum())
    away = (profile.position - middle).abs() / profile.position.abs().max()
    taper = 0.5 + 0.5 * torch.cos(math.pi * ((away - 0.5) / 0.4).clamp(0, 1))
    amplitude = to_fourier(line * taper, dimensions=1).abs()
    frequency = torch.arange(len(amplitude), dtype=torch.float64) * _FINE / count
    kept = frequency <= 1.0
    value = amplitude[kept] / amplitude[0] / torch.sinc(frequency[kept] / _FINE) ** 2
    return Response(frequency=tuple(frequency[kept].tolist()), value=tuple(value.tolist()))


def noise_power_spectrum(flats: Float[Tensor, "n h w"], *, bins: int = 32) -> Response:
    """The noise power of flat fields, squared output units per pixel, averaged over rings up to Nyquist; each frequency is its ring's mean.

    Fixed patterns are removed with the mean of the images, for which n/(n − 1) makes up: at least two images.

    Raises
    ------
    ShapeError
        If there are fewer than two images.
    """
    if len(flats) < 2:
        raise ShapeError("noise power needs two flat fields at least: their fixed pattern is removed with their mean")
    require_between("bins", bins, 2, min(flats.shape[-2:]) // 2)
    noise = (flats - flats.mean(0)).double() * math.sqrt(len(flats) / (len(flats) - 1))
    size = (flats.shape[-2], flats.shape[-1])
    power = to_fourier(noise).abs().square().mean(0)
    radius = frequency_radius(size, pixel_size=1.0, like=power)
    weight = friedel_weights(size, like=power).expand_as(power).clone()
    weight[0, 0] = 0
    ring = torch.floor(radius * 2 * bins).long()
    inside = ring < bins
    number, total, mean_radius = (
        torch.bincount(ring[inside], weights=part[inside], minlength=bins) for part in (weight, weight * power, weight * radius)
    )
    return Response(frequency=tuple((mean_radius / number).tolist()), value=tuple((total / number).tolist()))


def measured_dqe(mtf: Response, noise_power: Response, *, gain: float, dose: float) -> Response:
    """The detective quantum efficiency gain² · dose · MTF²/(noise power), at the frequencies of the noise power.

    `gain` is output units per arriving electron, `dose` electrons per pixel in each flat field.
    """
    require_positive("gain", gain)
    require_positive("dose", dose, unit="electrons per pixel")
    frequency = torch.tensor(noise_power.frequency, dtype=torch.float64)
    power = torch.tensor(noise_power.value, dtype=torch.float64)
    if bool((power <= 0).any()):
        raise UsageError("a noise power of zero has no detective quantum efficiency")
    value = gain**2 * dose * response_at(mtf, frequency) ** 2 / power
    return Response(frequency=noise_power.frequency, value=tuple(value.tolist()))


def gain_of_flats(flats: Float[Tensor, "n h w"], *, dose: float) -> float:
    """Output units per arriving electron: the mean of flat fields over their dose, electrons per pixel, measured apart (a Faraday cup)."""
    return float(flats.double().mean()) / require_positive("dose", dose, unit="electrons per pixel")


def gain_over_efficiency(flats: Float[Tensor, "n h w"]) -> float:
    """Noise power near zero frequency over the mean, gain/DQE(0): all that flat fields tell about the gain when the dose is not known.

    From frequencies up to a sixteenth of a cycle per pixel, not from the variance of single pixels: in a blurred image these vary less, because
    neighbours share electrons.
    """
    return noise_power_spectrum(flats, bins=8).value[0] / float(flats.double().mean())


def gain_reference_of_flats(flats: Float[Tensor, "n h w"]) -> Float[Tensor, "h w"]:
    """The gain reference mean/(each pixel's mean) of flat fields, for corrected = raw × gain reference; 0 where a pixel shows nothing at all."""
    mean = flats.mean(0)
    return torch.where(mean > 0, mean[mean > 0].mean() / mean.clamp_min(1e-30), 0.0)


def point_spread(camera: Camera, size: tuple[int, int]) -> Float[Tensor, "h w"]:
    """The image of a point at the origin pixel, sum 1: the inverse transform of the modulation transfer."""
    signal = transfer(camera, size, dtype=torch.float64).signal
    return to_real(signal.to(torch.complex128), width=size[1]) / math.sqrt(size[0] * size[1])


def line_spread(camera: Camera, size: tuple[int, int]) -> Float[Tensor, " w"]:
    """The image of a line along y through the origin pixel: the point spread summed along y. Its transform is the MTF's slice ky = 0."""
    return point_spread(camera, size).sum(0)


def _twice_integrated_edge(x: Tensor, blur: float) -> Tensor:
    """The second integral of the edge's profile: of the step max(x, 0)²/2; of ½ erfc(−x/√2s) ((x² + s²) Φ + x s φ)/2, φ and Φ of x/s."""
    if blur == 0:
        return x.clamp_min(0) ** 2 / 2
    scaled = x / blur
    below = 0.5 * torch.erfc(-scaled / math.sqrt(2))
    density = torch.exp(-(scaled**2) / 2) / math.sqrt(2 * math.pi)
    return ((x**2 + blur**2) * below + x * blur * density) / 2


def _edge_line(pixels: "NDArray[np.float64]") -> tuple[float, float]:
    """The angle of the edge to the y axis and where it crosses the middle row: a line through the rows' centroids, in rounds of narrowing windows."""
    slope = np.gradient(pixels, axis=1)
    margin = max(
        2, pixels.shape[1] // 16
    )  # a filtered image is periodic: it has a second edge, the other way round, at its border
    slope[:, :margin] = slope[:, -margin:] = 0
    slope *= np.sign(slope.sum())
    if not float(np.abs(slope.sum())) > 0:
        raise InputError("there is no edge along y in the image: the rows are as bright on the left as on the right")
    y = np.arange(pixels.shape[0]) - (pixels.shape[0] - 1) / 2
    x = np.arange(pixels.shape[1])
    profile = slope.mean(0)
    line = np.array([0.0, float((profile * x).sum() / profile.sum())])
    for half_width in (pixels.shape[1] / 2, pixels.shape[1] / 4, 16.0, 8.0, 8.0, 8.0):
        window = np.abs(x - np.polyval(line, y)[:, None]) <= half_width
        weight = np.where(window, slope, 0.0)
        total = weight.sum(1)
        usable = total > 0.2 * np.median(total)
        centroid = (weight * x).sum(1)[usable] / total[usable]
        line = np.polyfit(y[usable], centroid, 1)
    return -math.atan(float(line[0])), float(line[1])
