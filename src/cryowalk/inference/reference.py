"""The expectation and maximisation steps written out: every image against every model, orientation and shift, without a shortcut.

It is what `expectation` must equal, and what the course shows. No batches, no levels, no half disks: plain half spectra.
"""

from typing import NamedTuple

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from cryowalk.fourier.filters import shift_phases


class Responsibilities(NamedTuple):
    """Weights of each image over models' views and shifts (each image's sum to one), and log p(image) over that of noise alone."""

    weights: Float[Tensor, "images views shifts"]
    log_evidence: Float[Tensor, " images"]


def log_likelihood(
    images: Complex[Tensor, "images h half"],
    transfer: Float[Tensor, "images h half"],
    views: Complex[Tensor, "views h half"],
    *,
    shifts: Float[Tensor, "shifts 2"],
    variance: Float[Tensor, "h half"],
    pixel_size: float,
) -> Float[Tensor, "images views shifts"]:
    """Log p(y | view, shift) − log p(y | nothing) = −½ Σ (|y − C p e^(−2πik·s)|² − |y|²)/σ², σ² of a real component.

    `variance` is infinite where a coefficient is not to count: the origin, beyond a radius, and the second of each Friedel pair.
    """
    result = torch.empty(len(images), len(views), len(shifts), dtype=transfer.dtype)
    size = (images.shape[-2], images.shape[-2])
    for s, phases in enumerate(shift_phases(size, shifts, pixel_size=pixel_size)):
        for v, view in enumerate(views):
            model = transfer * view * phases
            change = (images - model).abs().square() - images.abs().square()
            result[:, v, s] = -(change / (2 * variance)).sum(dim=(-2, -1))
    return result


def responsibilities(scores: Float[Tensor, "images views shifts"], log_prior: Float[Tensor, "views shifts"]) -> Responsibilities:
    """The expectation step: weights ∝ prior · likelihood, in log space."""
    posterior = scores + log_prior
    evidence = torch.logsumexp(posterior, dim=(1, 2))
    return Responsibilities(torch.exp(posterior - evidence[:, None, None]), evidence)


def weighted_views(
    images: Complex[Tensor, "images h half"],
    transfer: Float[Tensor, "images h half"],
    weights: Float[Tensor, "images views shifts"],
    *,
    shifts: Float[Tensor, "shifts 2"],
    variance: Float[Tensor, "h half"],
    pixel_size: float,
) -> tuple[Complex[Tensor, "views h half"], Float[Tensor, "views h half"]]:
    """The maximisation step's sums for each view: Σ γ C y e^(+2πik·s)/σ² and Σ γ C²/σ²; their quotient is the view's best estimate."""
    size = (images.shape[-2], images.shape[-2])
    back = shift_phases(size, -shifts, pixel_size=pixel_size)
    numerator = torch.einsum("ivs,ihw,shw->vhw", weights.to(images.dtype), images * transfer / variance, back)
    denominator = torch.einsum("iv,ihw->vhw", weights.sum(dim=2), transfer.square() / variance)
    return numerator, denominator
