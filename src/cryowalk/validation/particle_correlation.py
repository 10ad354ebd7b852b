"""The Fourier shell correlation of a particle alone, from that of maps in which solvent lies about it."""

from jaxtyping import Float
from torch import Tensor

from cryowalk.core.errors import InputError
from cryowalk.data import Volume

SOLVENT_VOLUME = 0.476  # part of the box that RELION counts as particle and solvent about it
_INSIDE = 0.5  # a mask counts where it is above this


def solvent_factor(mask: Volume) -> float | None:
    """f, the volume of particle and solvent over that of the particle: 0.476 of the box, RELION's choice, over the part of the box where the mask exceeds ½.

    None for a mask that nowhere exceeds ½.
    """
    part = float((mask.voxels > _INSIDE).double().mean())
    return SOLVENT_VOLUME / part if part else None


def particle_correlation(correlation: Float[Tensor, " shells"], factor: float) -> Float[Tensor, " shells"]:
    """The correlation f C / (1 + (f − 1) C) of the particle alone, where C is that of unmasked maps and solvent is noise.

    Raises
    ------
    InputError
        If the factor is not above 0.

    Source: Grant, Rohou & Grigorieff, eLife 7, e35383 (2018).
    """
    if not factor > 0:
        raise InputError(f"the factor must be above 0: got {factor:g}")
    below = 1 + (factor - 1) * correlation
    return (factor * correlation / below.clamp(min=1e-6)).clamp(-1.0, 1.0)
