"""Sums of frames weighted by dose, from a few sums in real space.

Weights exp(−N_f/2N_c(k)) / √Σ_f w² are so smooth in frame and frequency that a few products tell all of them: w_f(k) = Σ_r u_r(f) g_r(k), by singular values (seven
products for 24 frames of 1.3 e⁻/Å², to 3·10⁻⁷). As the transform is linear, the weighted sum is Σ_r g_r(k) F[Σ_f u_r(f) frame_f]: as many transforms as there are
products, and not as there are frames.
"""

from typing import NamedTuple

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from cryowalk.fourier.grids import frequency_radius
from cryowalk.fourier.transform import filtered_image, filtering_half_spectrum, mirrored_to_fast_size
from cryowalk.microscope.damage import exposure_filter

_POINTS = 2**14  # of the table in |k|; lines between them are exact to 10⁻⁷ of a weight
_EXACT = 3e-7  # of a weight


class DoseFactors(NamedTuple):
    """Factors of the frames `[products, frames]`, and what belongs to them at frequencies 0, step, 2 step … (1/Å): `[products, points]`."""

    frames: Float[Tensor, "products frames"]
    table: Float[Tensor, "products points"]
    step: float


def dose_factors(doses: Float[Tensor, " frames"], *, pixel_size: float, voltage_kv: float) -> DoseFactors:
    """Few products that tell the weights of frames which end at these doses (e⁻/Å²), every weight to 3·10⁻⁷.

    Source: Grant & Grigorieff, eLife 4, e06980 (2015), for the weights.
    """
    furthest = 0.5 * 2**0.5 / pixel_size  # the corner of the spectrum
    step = furthest / (_POINTS - 2)
    k = step * torch.arange(_POINTS, dtype=torch.float64)
    weights = exposure_filter(k, dose=doses.double().cpu()[:, None], voltage_kv=voltage_kv)
    weights = weights / weights.square().sum(0).sqrt()
    left, values, right = torch.linalg.svd(weights, full_matrices=False)
    table = values[:, None] * right
    products, rest = 0, weights.clone()
    while products < len(values) and float(rest.abs().max()) > _EXACT:
        rest -= left[:, products, None] * table[products]
        products += 1
    return DoseFactors(left[:, :products].T.contiguous(), table[:products].contiguous(), step)


def weighted_sum(
    sums: Float[Tensor, "products h w"], factors: DoseFactors, transfer: Float[Tensor, "h2 half"], *, pixel_size: float
) -> Float[Tensor, "h w"]:
    """The image Σ_r F⁻¹[g_r(k) F[sums_r] / transfer]; the transfer is that of the size that transforms fast (`fast_size`), to which sums are mirrored."""
    height, width = sums.shape[-2:]
    total: Tensor | None = None
    wide = 0
    for one, line in zip(sums, factors.table, strict=True):
        image = mirrored_to_fast_size(one)
        wide = image.shape[-1]
        spectrum = filtering_half_spectrum(image)
        total = torch.zeros_like(spectrum) if total is None else total
        add_weighted(spectrum, line, total, width=wide, spacing=pixel_size * factors.step)
    if total is None:
        return sums.new_zeros(height, width)
    return filtered_image(total.div_(transfer), width=wide)[:height, :width]


def add_weighted(
    spectrum: Complex[Tensor, "h half"],
    line: Float[Tensor, " points"],
    total: Complex[Tensor, "h half"],
    *,
    width: int,
    spacing: float,
) -> None:
    """Nothing; the spectrum times a weight of |k| is added to the total in place: the weight lies on straight lines between points `spacing` cycles per pixel apart."""
    if spectrum.device.type != "cpu" or spectrum.dtype != torch.complex64:
        add_weighted_reference(spectrum, line, total, width=width, spacing=spacing)
        return
    from cryowalk.motion.dose_compiled import add_weighted_compiled

    add_weighted_compiled(
        spectrum.numpy(), line.float().numpy(), total.numpy(), width=width, spacing=spacing, threads=torch.get_num_threads()
    )


def add_weighted_reference(
    spectrum: Complex[Tensor, "h half"],
    line: Float[Tensor, " points"],
    total: Complex[Tensor, "h half"],
    *,
    width: int,
    spacing: float,
) -> None:
    """The same as `add_weighted`, on any device."""
    radius = frequency_radius((len(spectrum), width), pixel_size=1.0, dtype=torch.float64).to(spectrum.device)
    place = radius / spacing
    left = place.long().clamp_max(len(line) - 2)
    line = line.to(radius)
    weight = line[left] + (place - left) * (line[left + 1] - line[left])
    total += spectrum * weight.to(spectrum.real)
