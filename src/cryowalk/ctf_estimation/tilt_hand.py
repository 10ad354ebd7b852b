"""The hand of a tilt series: whether the defocus grows to the side that its tilt angles say is farther along the beam.

A plane through the origin of the specimen, turned by R, has the height z = −(nₓ x + n_y y)/n_z at the place (x, y) of the image, n = R ẑ being its normal. The underfocus grows
with z (a point farther along the beam has the larger one), so the defocus of a tilted image has the gradient (−nₓ/n_z, −n_y/n_z). A series whose angles have
the other sign, or whose axis points the other way, shows minus it: its reconstruction is the mirror image.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from cryowalk.core.errors import ShapeError
from cryowalk.ctf_estimation.local import TiltEstimate

SURE = 3.0  # standard errors
_LEAST_DEVIATION = 1e-3  # of a gradient: bent specimens, however many tiles there are
_LEAST_SLOPE = 0.3  # of what the angles say: less is some other gradient


@dataclass(frozen=True, slots=True, kw_only=True)
class TiltHand:
    """What the gradients of defocus say of a series' hand.

    `slope` is the measured gradient over the expected one, 1 for the right hand and −1 for the other, with its standard error; `images` is how many of the tilted
    images have a gradient that is more than noise.
    """

    hand: Literal["right", "reversed", "undecided"]
    slope: float
    error: float
    images: int


def expected_gradients(lab_from_specimen: Float[Tensor, "n 3 3"]) -> Float[Tensor, "n 2"]:
    """The gradients of the underfocus (x, y) of a flat specimen at these orientations, Å per Å: (−nₓ, −n_y)/n_z with n = R ẑ."""
    normal = lab_from_specimen[..., :, 2]
    return -normal[..., :2] / normal[..., 2:]


def tilt_hand(estimates: Sequence[TiltEstimate], lab_from_specimen: Float[Tensor, "n 3 3"]) -> TiltHand:
    """Whether the measured gradients of defocus have the sign of the expected ones: their ratio, by least squares over all significant images.

    Raises
    ------
    ShapeError
        If there is not one orientation for each estimate.
    """
    if len(estimates) != len(lab_from_specimen):
        raise ShapeError(f"{len(estimates)} estimates and {len(lab_from_specimen)} orientations", expected="one for each image")
    expected = expected_gradients(lab_from_specimen.double().cpu())
    shared, weight, count = 0.0, 0.0, 0
    for estimate, (along_x, along_y) in zip(estimates, expected.tolist(), strict=True):
        if not estimate.is_significant:
            continue
        variance = max(estimate.deviation, _LEAST_DEVIATION) ** 2
        shared += (estimate.gradient[0] * along_x + estimate.gradient[1] * along_y) / variance
        weight += (along_x**2 + along_y**2) / variance
        count += 1
    if weight == 0:
        return TiltHand(hand="undecided", slope=0.0, error=math.inf, images=count)
    slope, error = shared / weight, 1 / math.sqrt(weight)
    is_sure = abs(slope) >= max(SURE * error, _LEAST_SLOPE)
    return TiltHand(
        hand="undecided" if not is_sure else "right" if slope > 0 else "reversed", slope=slope, error=error, images=count
    )


def lab_from_tilts(tilt_angle: Float[Tensor, " n"], *, tilt_axis: float) -> Float[Tensor, "n 3 3"]:
    """Orientations of a series that has nominal angles (rad) alone: turns about the axis of this azimuth (rad from +x towards +y) by the right-hand rule."""
    from cryowalk.geometry.rotations import matrix_from_axis_angle

    axis = torch.tensor([math.cos(tilt_axis), math.sin(tilt_axis), 0.0], dtype=torch.float64)
    return matrix_from_axis_angle(axis, tilt_angle.double().cpu())
