"""How much detail a class is believed to hold: the prior on its spectrum, and the resolution up to which images are compared.

Source: Scheres, J. Mol. Biol. 415, 406 (2012), eqs. 7–9: a class is Σ γ CTF y/σ² over Σ γ CTF²/σ² + 1/τ².
"""

import torch
from jaxtyping import Float
from torch import Tensor

from cryowalk.fourier.shells import shell_average
from cryowalk.fourier.transform import to_fourier

AHEAD = 8  # shells that are compared beyond those that the data decide upon
LEAST_RATIO = 1e-3  # of prior over evidence: no shell is forbidden for ever
_WIDTH = 3  # shells over which a spectrum is smoothed


def shell_power(images: Float[Tensor, "classes h w"]) -> Float[Tensor, "classes shells"]:
    """Half the mean power |F(k)|² of each shell: the variance of a real component."""
    spectra = to_fourier(images)
    size = (images.shape[-2], images.shape[-1])
    return shell_average(spectra.real.square() + spectra.imag.square(), size=size) / 2


def expected_signal(
    power: Float[Tensor, "classes shells"], evidence: Float[Tensor, "classes shells"], *, fudge: float
) -> Float[Tensor, "classes shells"]:
    """The prior variance τ² of each class: T (P − 1/w), P the power of the average without a prior and 1/w the noise that w = Σ γ CTF²/σ² leaves in it.

    Both are means over shells, of one real component. A shell is never forbidden: τ² is at least `LEAST_RATIO`/w.
    """
    known = evidence > 0
    noise = torch.where(known, 1 / evidence.clamp_min(1e-30), torch.zeros_like(evidence))
    excess = torch.where(known, power - noise, torch.zeros_like(power))
    return torch.maximum(fudge * smooth(excess), LEAST_RATIO * noise)


def smooth(spectrum: Float[Tensor, "classes shells"]) -> Float[Tensor, "classes shells"]:
    """Means over three shells, over as many as there are at the ends."""
    padded = torch.nn.functional.pad(spectrum[:, None], (_WIDTH // 2, _WIDTH // 2), mode="replicate")
    return torch.nn.functional.avg_pool1d(padded, _WIDTH, stride=1)[:, 0]


def next_radius(finest: int, *, limit: int) -> int:
    """The finest shell of the next comparison: a few beyond the `finest` that any class has evidence for, within the limit."""
    return max(2, min(limit, finest + AHEAD))
