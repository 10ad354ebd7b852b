"""Features of images that do not change when they are turned: bispectra of steerable principal components.

On rings about the middle an image is I(r, φ) = Σₘ aₘ(r) e^{imφ}; turning it by α multiplies aₘ by e^{−imα}. Principal components of each aₘ keep this, and the
products c_p c_q c*_{s} with m_p + m_q = m_s lose it.

Source: Zhao & Singer, J. Struct. Biol. 186, 153 (2014).
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Complex, Float, Int
from torch import Tensor

from cryowalk.core.errors import UsageError
from cryowalk.fourier.transform import transform_rows

_ANGLES_PER_RING = 4  # samples round the outermost ring, a pixel of its radius


@dataclass(frozen=True, slots=True, kw_only=True)
class SteerableComponents:
    """Coefficients of images on steerable principal components: the angular order of each, its power over that of the noise, and every image's values.

    Turning an image by α (from +x towards +y) multiplies its coefficients by e^{−i·order·α}.
    """

    order: Int[Tensor, " components"]
    snr: Float[Tensor, " components"]
    values: Complex[Tensor, "n components"]


def steerable_components(
    images: Float[Tensor, "n box box"], *, radius: float, noise_deviation: float, components: int = 40
) -> SteerableComponents:
    """The components in which images differ most from white noise of this standard deviation, within `radius` pixels of the middle.

    Coefficients are whitened: those of pure noise have a variance of 1.

    Raises
    ------
    UsageError
        If the radius is not within the images.
    """
    box = images.shape[-1]
    if not 2 <= radius <= (box - 1) // 2:
        raise UsageError(f"the radius must lie between 2 and {(box - 1) // 2} pixels: got {radius:g}")
    rings = torch.arange(int(radius) + 1, dtype=images.dtype) + 0.5
    rings = rings[rings <= radius]
    angles = 2 * math.ceil(_ANGLES_PER_RING * radius / 2)
    operator = _ring_operator(box, rings, angles).to(images)
    flat = images.reshape(len(images), -1)
    samples = (flat - flat.mean(dim=1, keepdim=True)) @ operator.T
    orders = min(angles // 2 - 1, int(2 * math.pi * radius / 3))
    spectra = _ring_spectra(samples, len(rings), angles)[..., : orders + 1]
    noise = _ring_spectra(operator.T * noise_deviation, len(rings), angles)[..., : orders + 1]
    found = [_components_of(spectra[..., m], noise[..., m], m) for m in range(orders + 1)]
    snr, order = torch.cat([each[0] for each in found]), torch.cat([each[1] for each in found])
    values = torch.cat([each[2] for each in found], dim=1)
    best = torch.argsort(snr, descending=True)[:components]
    best = best[snr[best] > 0]
    return SteerableComponents(order=order[best], snr=snr[best], values=values[:, best])


def _ring_operator(box: int, rings: Tensor, angles: int) -> Float[Tensor, "samples pixels"]:
    """The matrix that reads an image at the points of all rings, linear between pixels, times √radius: sums over samples are integrals."""
    turn = torch.arange(angles, dtype=rings.dtype) * (2 * math.pi / angles)
    place = torch.stack([rings[:, None] * torch.cos(turn), rings[:, None] * torch.sin(turn)], dim=-1).reshape(-1, 2) + box // 2
    low = torch.floor(place)
    part = place - low
    matrix = torch.zeros(len(place), box * box, dtype=rings.dtype)
    for dx in (0, 1):
        for dy in (0, 1):
            x, y = (low[:, 0].long() + dx).clamp(0, box - 1), (low[:, 1].long() + dy).clamp(0, box - 1)
            weight = (part[:, 0] if dx else 1 - part[:, 0]) * (part[:, 1] if dy else 1 - part[:, 1])
            matrix.scatter_add_(1, (y * box + x)[:, None], weight[:, None])
    return matrix * torch.sqrt(rings).repeat_interleave(angles)[:, None]


def _ring_spectra(samples: Tensor, rings: int, angles: int) -> Complex[Tensor, "n rings orders"]:
    """aₘ(r) of samples on rings: Σ I(r, φ) e^{−imφ} / √angles."""
    rows = samples.reshape(len(samples), rings, angles).to(samples.dtype.to_complex())
    return transform_rows(rows, direction="forward") / math.sqrt(angles)


def _components_of(spectra: Tensor, noise: Tensor, order: int) -> tuple[Tensor, Tensor, Tensor]:
    """Signal-to-noise ratios, orders and values of the components of one angular order."""
    of_noise = noise.mT @ noise.conj()
    level, axes = torch.linalg.eigh(of_noise)
    # Directions that linear interpolation all but removes would be blown up.
    inverse_root = axes * torch.rsqrt(level.clamp_min(float(level.max()) * 1e-3))
    white = spectra @ inverse_root.conj()
    covariance = white.mT @ white.conj() / len(white)
    power, vectors = torch.linalg.eigh(covariance)
    edge = (1 + math.sqrt(spectra.shape[1] / len(spectra))) ** 2  # the largest that noise alone brings (Marchenko & Pastur 1967)
    snr = torch.where(power > edge, power - 1, torch.zeros_like(power))
    return snr, torch.full((len(snr),), order, dtype=torch.int64), white @ vectors.conj()


def bispectra(found: SteerableComponents) -> Float[Tensor, "n features"]:
    """Products c_p c_q c*_s with m_p + m_q = m_s, real and imaginary parts: the same for an image and the image turned.

    Coefficients are taken to the power ⅓ in magnitude, so that features grow as the image does, and weighted by the reliability snr / (1 + snr) of their
    components; rows have length 1.
    """
    magnitude = found.values.abs().clamp_min(1e-12)
    reliability = (found.snr / (1 + found.snr)).to(magnitude)
    softened = found.values / magnitude.pow(2 / 3) * reliability
    order = found.order
    p, q = torch.triu_indices(len(order), len(order))
    parts = []
    for s in range(len(order)):
        pairs = torch.nonzero(order[p] + order[q] == order[s])[:, 0]
        product = softened[:, p[pairs]] * softened[:, q[pairs]] * softened[:, s, None].conj()
        parts.append(product)
    features = torch.cat(parts, dim=1)
    both = torch.cat([features.real, features.imag], dim=1)
    rows: Tensor = both / both.norm(dim=1, keepdim=True).clamp_min(1e-12)
    return rows


def relative_turns(
    first: Complex[Tensor, "*#batch components"], second: Complex[Tensor, "*#batch components"], found: SteerableComponents
) -> Float[Tensor, "*result"]:
    """The angle by which each second image is to be turned to look like the first, rad: the largest of Σ Re c₁ c₂* e^{i·order·α}, on a grid of 1°."""
    weight = torch.where(found.order == 0, 1.0, 2.0).to(first.real)
    shared = first * second.conj() * weight
    angle = torch.arange(360, dtype=first.real.dtype) * (math.pi / 180)
    phase = torch.polar(torch.ones_like(angle)[:, None].expand(360, len(found.order)).contiguous(), angle[:, None] * found.order)
    best: Tensor = angle[torch.argmax((shared @ phase.mT.to(shared)).real, dim=-1)]
    return best
