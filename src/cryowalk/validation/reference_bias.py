"""Einstein from noise: what a reference makes of images that hold nothing but noise, once they are aligned to it or picked by it.

Source: Shatsky, Hall, Brenner & Glaeser, J. Struct. Biol. 166, 67 (2009); Henderson, PNAS 110, 18037 (2013); Balanov, Huleihel & Bendory, arXiv:2407.05277 (2024), for
how the phases of the average go to the reference's.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from cryowalk.core.checks import require_between
from cryowalk.core.errors import InputError, UsageError
from cryowalk.core.execution import Progress, SilentProgress, batches
from cryowalk.fourier.filters import apply_shell_weights
from cryowalk.fourier.shells import shell_correlation
from cryowalk.fourier.transform import to_fourier, to_real

BATCH = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class ReferenceBias:
    """What noise became: the averages of both halves of the aligned images, and correlations.

    `correlation` is that of the whole average with the reference, `ring_correlation` the same in each ring 0 … n // 2, `halves_correlation` that of the halves with each
    other (which looks like resolution and is not), `unaligned_correlation` that of the plain average of the same images.
    """

    halves: Float[Tensor, "2 h w"]
    correlation: float
    ring_correlation: Float[Tensor, " rings"]
    halves_correlation: float
    unaligned_correlation: float

    @property
    def average(self) -> Float[Tensor, "h w"]:
        """The average of all aligned images."""
        return self.halves.mean(dim=0)


def picking_bias(images: int, picked: int, pixels: int) -> float:
    """The correlation expected between a reference and the average of the `picked` ones of `images` noise images (white, `pixels` each) that resemble it most.

    r = √(m c² / (1 + m c²)), c = φ(z)/(α √p) the mean correlation of the best fraction α = m/n with 1 − Φ(z) = α. For small α this is near
    √(2g / (1 + 2g)), g = (m/p) ln(n/m).

    Raises
    ------
    UsageError
        If more are picked than there are, or none.

    Examples
    --------
    >>> round(picking_bias(50000, 500, 1024), 3)
    0.881
    """
    if not 0 < picked < images or pixels < 1:
        raise UsageError(f"some of the images must be picked, not all: got {picked} of {images} images of {pixels} pixels")
    from scipy.special import ndtri

    fraction = picked / images
    z = float(ndtri(1 - fraction))
    mean = math.exp(-(z**2) / 2) / math.sqrt(2 * math.pi) / fraction / math.sqrt(pixels)
    strength = picked * mean**2
    return math.sqrt(strength / (1 + strength))


def reference_bias(
    reference: Float[Tensor, "h w"],
    *,
    count: int,
    generator: torch.Generator,
    noise_amplitude: Float[Tensor, " shells"] | None = None,
    angles: int = 1,
    picked: float = 1.0,
    progress: Progress | None = None,
) -> ReferenceBias:
    """What comes out if `count` images of pure noise are aligned to a reference and averaged: the control for a class average or a projection.

    Each image is moved to where its cross-correlation with the reference is highest, over all shifts (cyclic, whole pixels) and `angles` in-plane rotations, as an
    alignment by maximum correlation does; of them the fraction `picked` with the highest correlations is kept. `noise_amplitude` is the root mean square of
    the noise in each shell (white if it is not given): take that of the data. If an average of real images resembles the reference no more
    than this does, it is the reference's own image.

    Raises
    ------
    InputError
        If the reference is constant.
    UsageError
        If there are fewer than two images, or no angle.
    """
    if count < 2 or angles < 1:
        raise UsageError(f"the control needs at least two images and one angle: got {count} and {angles}")
    require_between("picked", picked, 1e-6, 1.0)
    if bool(reference.min() == reference.max()):
        raise InputError("the reference is constant: nothing can be aligned to it")
    progress = progress or SilentProgress()
    centred = reference.double() - reference.double().mean()
    templates = _turned(centred.expand(angles, -1, -1), torch.arange(angles) * (2 * math.pi / angles))
    spectra = to_fourier(templates).conj()
    aligned, peaks = [], []
    plain = torch.zeros_like(centred)
    progress.start("noise images", count)
    for span in batches(count, BATCH):
        noise = torch.randn((len(span), *reference.shape), generator=generator, dtype=torch.float64)
        if noise_amplitude is not None:
            noise = apply_shell_weights(noise, noise_amplitude.double())
        plain += noise.sum(dim=0)
        moved, peak = _aligned(noise, spectra)
        aligned.append(moved.float())
        peaks.append(peak)
        progress.advance(len(span))
    best = torch.cat(peaks).argsort(descending=True)[: max(2, round(picked * count))]
    chosen = torch.cat(aligned)[best.sort().values]
    halves = torch.stack([chosen[0::2].double().mean(dim=0), chosen[1::2].double().mean(dim=0)])
    average = halves.mean(dim=0)
    return ReferenceBias(
        halves=halves,
        correlation=_correlation(average, centred),
        ring_correlation=shell_correlation(average, centred),
        halves_correlation=_correlation(halves[0], halves[1]),
        unaligned_correlation=_correlation(plain, centred),
    )


def _aligned(images: Float[Tensor, "n h w"], templates: Tensor) -> tuple[Float[Tensor, "n h w"], Float[Tensor, " n"]]:
    """The images moved and turned to where they correlate most with the templates (their conjugate spectra), and those correlations."""
    height, width = images.shape[-2:]
    spectra = to_fourier(images)
    best = torch.full((len(images),), -math.inf, dtype=images.dtype)
    angle, place = torch.zeros(len(images), dtype=torch.int64), torch.zeros(len(images), dtype=torch.int64)
    for number, template in enumerate(templates):
        peak, index = to_real(spectra * template, width=width).flatten(1).max(dim=1)
        is_better = peak > best
        best, angle, place = (
            torch.where(is_better, new, old)
            for new, old in ((peak, best), (torch.full_like(angle, number), angle), (index, place))
        )
    # The peak lies where the image must come from.
    rows = (torch.arange(height) + (place // width - height // 2)[:, None]) % height
    columns = (torch.arange(width) + (place % width - width // 2)[:, None]) % width
    moved = images[torch.arange(len(images))[:, None, None], rows[:, :, None], columns[:, None, :]]
    return _turned(moved, -angle * (2 * math.pi / len(templates))), best


def _turned(images: Float[Tensor, "n h w"], angle: Float[Tensor, " n"]) -> Float[Tensor, "n h w"]:
    """The images turned by the angles (rad, from +x towards +y) about the origin pixel, by linear interpolation, zero outside."""
    if not bool(angle.any()):
        return images
    height, width = images.shape[-2:]
    y, x = torch.meshgrid(*(torch.arange(side, dtype=images.dtype) - side // 2 for side in (height, width)), indexing="ij")
    cosine, sine = torch.cos(angle).to(images)[:, None, None], torch.sin(angle).to(images)[:, None, None]
    source_x, source_y = cosine * x + sine * y + width // 2, cosine * y - sine * x + height // 2
    grid = torch.stack([2 * source_x / (width - 1) - 1, 2 * source_y / (height - 1) - 1], dim=-1)
    return torch.nn.functional.grid_sample(images[:, None], grid, align_corners=True)[:, 0]


def _correlation(first: Float[Tensor, "h w"], second: Float[Tensor, "h w"]) -> float:
    a, b = first - first.mean(), second - second.mean()
    return float((a * b).sum() / (a.norm() * b.norm()).clamp_min(1e-300))
