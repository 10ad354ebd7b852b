"""Tilt schemes: which tilts there are, and the order in which they are taken."""

import math
from typing import Literal, TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor

from cryowalk.core.checks import require_between, require_positive
from cryowalk.core.errors import UsageError

Scheme: TypeAlias = Literal["dose_symmetric", "bidirectional", "continuous"]
_ROUNDING = 1e-9
STEEPEST = math.radians(80)


def tilt_angles(scheme: Scheme, *, largest: float, step: float) -> Float[Tensor, " tilts"]:
    """The nominal tilts in the order of acquisition, rad: the multiples of `step` up to ± `largest`.

    "dose_symmetric": 0, +1, −1, +2, −2 … steps, so that low tilts have the least dose. "bidirectional": 0 up to the largest, then from −1 step
    down. "continuous": from −largest to +largest.

    Raises
    ------
    UsageError
        If the step is not above zero, the largest tilt is beyond 80°, or there is no such scheme.

    Source: Hagen, Wan & Briggs, J. Struct. Biol. 197, 191 (2017), sec. 2, for the dose-symmetric scheme.

    Examples
    --------
    >>> (tilt_angles("dose_symmetric", largest=math.radians(6), step=math.radians(3)) * 180 / math.pi).round().tolist()
    [0.0, 3.0, -3.0, 6.0, -6.0]
    """
    require_positive("tilt step", step, unit="rad")
    require_between("largest tilt (rad)", largest, 0.0, STEEPEST)
    steps = math.floor(largest / step + _ROUNDING)
    up = list(range(1, steps + 1))
    orders = {
        "dose_symmetric": [0, *(signed for number in up for signed in (number, -number))],
        "bidirectional": [0, *up, *(-number for number in up)],
        "continuous": list(range(-steps, steps + 1)),
    }
    if scheme not in orders:
        raise UsageError(f"there is no tilt scheme {scheme!r}", expected=", ".join(orders))
    return torch.tensor(orders[scheme], dtype=torch.float64) * step
