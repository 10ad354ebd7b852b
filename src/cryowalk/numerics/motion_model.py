"""RELION's polynomial model of local motion and our `Motion`: one fitted to the other.

Zivanov, Nakane & Scheres, IUCrJ 6, 5 (2019).
"""

import torch
from jaxtyping import Float
from torch import Tensor

from cryowalk.core.errors import ShapeError
from cryowalk.data.motion import Motion

SPATIAL_TERMS = 6  # of RELION's local model: 1, u, u², v, v², uv
TIME_POWERS = 3  # f, f², f³
_OURS_IN_RELION = (1, 2, 3, 4, 5)  # where u, u², v, v², uv stand among them


def spatial_terms(places: Float[Tensor, "*n 2"]) -> Float[Tensor, "*n 5"]:
    """The local terms u, u², v, v², uv at places (u, v) of the field, each from −½ to ½."""
    u, v = places[..., 0], places[..., 1]
    return torch.stack([u, u**2, v, v**2, u * v], dim=-1)


def fit_relion_model(motion: Motion) -> Float[Tensor, "2 18"]:
    """The coefficients of RELION's local motion model nearest to the local part of a motion, as displacements in Å (RELION's are minus these, in px).

    Displacement = Σ c[6 terms, 3 powers] · (1, u, u², v, v², uv) · (f, f², f³), the powers running fastest, f the number of the frame from 0; so there
    is none in frame 0. Least squares over the frames; as both have the same terms in space, the fit is the same for every place. The
    constant terms are zero: what moves everywhere alike is in the global displacement. Three frames or fewer are met exactly.

    Source: RELION 3.1, ThirdOrderPolynomialModel; Zivanov, Nakane & Scheres, IUCrJ 6, 5 (2019).
    """
    frames = motion.global_displacement.shape[0]
    result = torch.zeros(2, SPATIAL_TERMS, TIME_POWERS, dtype=torch.float64, device=motion.global_displacement.device)
    if motion.local is None or frames == 1:
        return result.reshape(2, -1)
    span = frames - 1
    powers = _time_powers(frames, device=result.device) / torch.tensor([span, span**2, span**3], device=result.device)
    courses = motion.local.double().reshape(frames, -1)
    solved = (torch.linalg.pinv(powers) @ courses).reshape(TIME_POWERS, 2, len(_OURS_IN_RELION))
    scaled = solved / torch.tensor([span, span**2, span**3], device=result.device)[:, None, None]
    result[:, list(_OURS_IN_RELION), :] = scaled.permute(1, 2, 0)
    return result.reshape(2, -1)


def motion_of_relion_model(
    coefficients: Float[Tensor, "axes terms"], *, global_displacement: Float[Tensor, "frames 2"], field: tuple[float, float]
) -> Motion:
    """The motion that RELION's local model (`fit_relion_model` gives its layout, Å) stands for, beside a global displacement.

    The model's constant terms in space join the global displacement.

    Raises
    ------
    ShapeError
        If there are not 18 coefficients an axis.
    """
    if tuple(coefficients.shape) != (2, SPATIAL_TERMS * TIME_POWERS):
        raise ShapeError(f"RELION's local motion model has 2 × 18 coefficients: got {tuple(coefficients.shape)}")
    frames = global_displacement.shape[0]
    terms = coefficients.double().reshape(2, SPATIAL_TERMS, TIME_POWERS)
    courses = torch.einsum("djp,fp->fdj", terms, _time_powers(frames, device=terms.device))
    return Motion(
        global_displacement=global_displacement + courses[:, :, 0].to(global_displacement),
        local=courses[:, :, list(_OURS_IN_RELION)].to(global_displacement),
        field=field,
    )


def _time_powers(frames: int, *, device: torch.device) -> Tensor:
    """f, f², f³ of each frame number, float64."""
    number = torch.arange(frames, dtype=torch.float64, device=device)
    return torch.stack([number, number**2, number**3], dim=1)
