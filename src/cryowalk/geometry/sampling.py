"""Random rotations: uniform, gathered around preferred views, or scattered about given ones."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from cryowalk.core.checks import require_between
from cryowalk.core.errors import InputError, UsageError
from cryowalk.geometry.rotations import matrix_about_axis, matrix_from_quaternion, matrix_from_rotation_vector


def random_rotations(count: int, *, generator: torch.Generator, dtype: torch.dtype = torch.float64) -> Float[Tensor, "n 3 3"]:
    """Rotations drawn from the uniform (Haar) law: quaternions with a direction uniform on the sphere in four dimensions.

    Source: Shoemake, Graphics Gems III, 124 (1992).
    """
    return matrix_from_quaternion(torch.randn(count, 4, generator=generator, dtype=dtype, device=generator.device))


def perturb_rotations(
    matrices: Float[Tensor, "*batch 3 3"], *, angle: float, generator: torch.Generator
) -> Float[Tensor, "*batch 3 3"]:
    """Rotations each followed by a small random one, whose rotation vector has components of standard deviation `angle` (rad).

    For a small `angle` the distance to the unperturbed rotation has the mean √(8/π) · angle and the root mean square √3 · angle.
    """
    vectors = torch.randn(*matrices.shape[:-1], generator=generator, dtype=matrices.dtype, device=generator.device)
    return matrix_from_rotation_vector(angle * vectors.to(matrices.device)) @ matrices


def random_directions(
    count: int,
    *,
    mean: Float[Tensor, "*#n 3"],
    concentration: float,
    generator: torch.Generator,
) -> Float[Tensor, "n 3"]:
    """Unit vectors from the von Mises–Fisher law, density ∝ exp(κ u·mean): uniform for κ = 0, a spot of about 1/√κ rad for large κ.

    The height t = u·mean has the closed inverse t = 1 + ln(r + (1 − r) e^(−2κ))/κ for uniform r; its expectation is coth κ − 1/κ.

    Source: Fisher, Proc. R. Soc. London A 217, 295 (1953); Ulrich, Appl. Stat. 33, 158 (1984).
    """
    if not (math.isfinite(concentration) and concentration >= 0):
        raise UsageError(f"the concentration of views must be zero or above: got {concentration}")
    uniform = torch.rand(count, generator=generator, dtype=mean.dtype, device=generator.device).to(mean.device)
    azimuth = 2 * math.pi * torch.rand(count, generator=generator, dtype=mean.dtype, device=generator.device).to(mean.device)
    # the drop 1 − t, kept by itself so that a narrow spot loses no digits
    drop = -torch.log1p((1 - uniform) * math.expm1(-2 * concentration)) / concentration if concentration > 0 else 2 * uniform
    drop = drop.clamp(0, 2)
    radius = torch.sqrt(drop * (2 - drop))
    local = torch.stack([radius * torch.cos(azimuth), radius * torch.sin(azimuth), 1 - drop], dim=-1)
    unit = mean / torch.linalg.vector_norm(mean, dim=-1, keepdim=True)
    return (frame_of_direction(unit) @ local[..., None]).squeeze(-1)


def frame_of_direction(directions: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3 3"]:
    """A rotation that carries +z onto each unit direction, by the shortest way in the nearer hemisphere; smooth but at the equator.

    Source: Duff et al., J. Comput. Graph. Tech. 6, 1 (2017).
    """
    x, y, z = directions.unbind(dim=-1)
    sign = torch.where(z < 0, -1.0, 1.0).to(directions.dtype)
    a = -1 / (sign + z)
    b = x * y * a
    columns = (
        torch.stack([1 + sign * x * x * a, sign * b, -sign * x], dim=-1),
        torch.stack([b, sign + y * y * a, -y], dim=-1),
        directions,
    )
    return torch.stack(columns, dim=-1)


def rotations_with_view(
    directions: Float[Tensor, "*#batch 3"], *, in_plane: Float[Tensor, "*#batch"]
) -> Float[Tensor, "*batch 3 3"]:
    """`lab_from_particle` matrices that look at the particle along `directions` (unit, particle frame), turned by `in_plane` (rad) in the image."""
    return matrix_about_axis(in_plane, axis="z") @ frame_of_direction(directions).mT


def preferred_orientations(
    count: int,
    *,
    directions: Float[Tensor, "views 3"],
    concentration: float,
    generator: torch.Generator,
    weights: Float[Tensor, " views"] | None = None,
    uniform_fraction: float = 0.0,
) -> Float[Tensor, "n 3 3"]:
    """`lab_from_particle` matrices whose view directions gather around the given ones, with uniform in-plane angles.

    Each rotation belongs to one of `directions` (with probability `weights`), its view drawn from the von Mises–Fisher law of the given
    `concentration`; a `uniform_fraction` of them is spread over all views. A particle that lies flat on an interface both ways up has directions
    +z and −z.

    Raises
    ------
    InputError
        If a direction has no length.
    UsageError
        If the concentration is negative or the fraction is not one.
    """
    require_between("uniform_fraction", uniform_fraction, 0.0, 1.0)
    if directions.shape[0] == 0 or not bool((torch.linalg.vector_norm(directions, dim=-1) > 0).all()):
        raise InputError("every preferred direction needs a length above zero")
    weights = torch.ones(directions.shape[0], dtype=directions.dtype) if weights is None else weights
    device, dtype = generator.device, directions.dtype
    chosen = torch.multinomial(weights.to(device), count, replacement=True, generator=generator).to(directions.device)
    views = random_directions(count, mean=directions[chosen], concentration=concentration, generator=generator)
    anywhere = torch.nn.functional.normalize(torch.randn(count, 3, generator=generator, dtype=dtype, device=device), dim=-1)
    is_anywhere = torch.rand(count, 1, generator=generator, device=device) < uniform_fraction
    views = torch.where(is_anywhere.to(views.device), anywhere.to(views.device), views)
    in_plane = 2 * math.pi * torch.rand(count, generator=generator, dtype=dtype, device=device).to(views.device)
    return rotations_with_view(views, in_plane=in_plane)
