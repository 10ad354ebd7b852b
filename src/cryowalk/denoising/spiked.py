"""How many components of a sample covariance are more than noise, and how strong they truly are.

Source: Marchenko & Pastur, Math. USSR Sb. 1, 457 (1967), the edge; Johnstone, Ann. Stat. 29, 295 (2001), its fluctuations; Baik & Silverstein, J.
Multivar. Anal. 97, 1382 (2006), eq. 1.10, what noise adds to a component.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor

_FLUCTUATION = 4.0  # of Johnstone's width: less than one false component in a thousand blocks


def noise_edge(dimension: int, samples: int) -> float:
    """The eigenvalue of a sample covariance above which unit white noise hardly comes: (1 + √γ)² with γ = p/n, and four widths of its fluctuation."""
    root = math.sqrt(samples) + math.sqrt(dimension)
    width: float = root * math.pow(1 / math.sqrt(samples) + 1 / math.sqrt(dimension), 1 / 3)
    return (root**2 + _FLUCTUATION * width) / samples


def signal_strength(eigenvalues: Float[Tensor, " p"], *, dimension: int, samples: int) -> Float[Tensor, " p"]:
    """The variance ℓ of the signal along each component of a sample covariance of signal and unit white noise; 0 at or below the noise's edge.

    The eigenvalue λ = (1 + ℓ)(1 + γ/ℓ) is solved for ℓ = ½[λ − 1 − γ + √((λ − 1 − γ)² − 4γ)].
    """
    ratio = dimension / samples
    shifted = eigenvalues - 1 - ratio
    strength = (shifted + torch.sqrt((shifted**2 - 4 * ratio).clamp_min(0))) / 2
    return torch.where(eigenvalues > noise_edge(dimension, samples), strength, torch.zeros_like(strength))
