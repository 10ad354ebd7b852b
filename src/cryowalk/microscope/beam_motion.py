"""How a specimen moves in the beam: stage drift, the fast early movement, doming, a smooth local part, and what they cost in resolution.

Brilot et al., J. Struct. Biol. 177, 630 (2012); Zheng et al., Nat. Methods 14, 331 (2017).
"""

import math
from dataclasses import asdict

import torch
from jaxtyping import Float
from torch import Tensor

from cryowalk.core.checks import require_positive
from cryowalk.core.errors import UsageError
from cryowalk.data.motion import Motion
from cryowalk.microscope.delivery_settings import MotionSettings
from cryowalk.numerics.motion_model import SPATIAL_TERMS, spatial_terms
from cryowalk.numerics.motion_model import fit_relion_model as fit_relion_model
from cryowalk.numerics.motion_model import motion_of_relion_model as motion_of_relion_model

_VARIANCE = (1 / 12, 1 / 180, 1 / 12, 1 / 180, 1 / 144)  # of the terms of the local basis over the field


def draw_motion(
    settings: MotionSettings,
    *,
    frames: int,
    dose_per_frame: float,
    field: tuple[float, float],
    generator: torch.Generator,
) -> Motion:
    """A random motion of a movie whose frames have `dose_per_frame` (e⁻/Å²) each, over a field of (width, height) Å.

    Displacement of frame f is that at its middle, N = (f + ½) · dose, relative to frame 0; s(N) = 1 − exp(−N/N_early) is the course of what the
    first electrons cause:
    global = v N + W(N) + a s(N) + the dome's own height;
    local = Σ_j c_j s(N) b_j + the dome. W is a random walk, v and a have random directions. The dome h = H s(N) (1 − 2(u² + v²)), seen in a film tilted by τ, moves
    the image by h sin τ up the slope; u² and v² are in the local basis, so nothing is approximated. Local coefficients are normal, each term
    bringing the same variance over the field.

    Raises
    ------
    UsageError
        If there is no frame, or a dose, a length of the field or the early dose is not above zero.

    Source: Brilot et al., J. Struct. Biol. 177, 630 (2012), for doming and its course with dose; Zheng et al., Nat. Methods 14, 331 (2017), for
    movement quadratic in place.
    """
    if frames < 1:
        raise UsageError(f"a movie has at least one frame: got {frames}")
    require_positive("dose per frame", dose_per_frame, unit="e⁻/Å²")
    require_positive("early dose", settings.early_dose, unit="e⁻/Å²")
    for name, value in asdict(settings).items():
        if value is not None and not math.isfinite(value):
            raise UsageError(f"the setting {name.replace('_', ' ')} of the motion must be a finite number: got {value}")
    for side in field:
        require_positive("side of the field", side, unit="Å")
    dose = dose_per_frame * (torch.arange(frames, dtype=torch.float64, device=generator.device) + 0.5)
    course = (1 - torch.exp(-dose / settings.early_dose))[:, None]

    steps = _normal((frames, 2), generator) * settings.jitter * math.sqrt(dose_per_frame)
    drift, early = (_random_direction(generator) for _ in range(2))
    whole = settings.drift * dose[:, None] * drift + steps.cumsum(dim=0) + settings.early_motion * course * early

    uphill = _uphill(settings, generator)
    height = settings.doming * math.sin(settings.film_tilt) * course * uphill
    size = settings.local_motion / math.sqrt(len(_VARIANCE)) / torch.tensor(_VARIANCE, dtype=torch.float64).sqrt()
    local = course[:, :, None] * _normal((2, 5), generator) * size.to(generator.device)
    local[:, :, 1] -= 2 * height  # u²
    local[:, :, 3] -= 2 * height  # v²
    whole = whole + height
    return Motion(global_displacement=whole - whole[0], local=local - local[0], field=field)


def displacement(motion: Motion, positions: Float[Tensor, "*n 2"]) -> Float[Tensor, "frames *n 2"]:
    """How far the specimen at each position (x, y from the corner of the field, Å) has moved in each frame since frame 0, (x, y) in Å.

    dtype and device follow the positions; differentiable in motion and positions.
    """
    basis = local_basis(positions, field=motion.field)
    whole = motion.global_displacement.to(basis).reshape(-1, *[1] * (positions.ndim - 1), 2)
    if motion.local is None:
        return whole.expand(-1, *positions.shape).clone()
    return whole + torch.einsum("fdj,...j->f...d", motion.local.to(basis), basis)


def local_basis(positions: Float[Tensor, "*n 2"], *, field: tuple[float, float]) -> Float[Tensor, "*n 5"]:
    """The local terms (u, u², v, v², uv) at positions (x, y from the corner of the field, Å), u = x/width − ½, v = y/height − ½."""
    return spatial_terms(torch.stack([positions[..., 0] / field[0] - 0.5, positions[..., 1] / field[1] - 0.5], dim=-1))


def displacement_field(
    motion: Motion, frame: int, *, size: tuple[int, int], pixel_size: float, dtype: torch.dtype | None = None
) -> Float[Tensor, "2 h w"]:
    """How far each pixel of a field of `size` (height, width) pixels has moved in a frame since frame 0, (x, y) components in Å.

    Pixel (0, 0) lies at the corner, as in `displacement`. dtype is the motion's unless given.
    """
    return field_of(_coefficients(motion, frame), motion.field, size=size, pixel_size=pixel_size, dtype=dtype)


def field_of(
    coefficients: Float[Tensor, "2 6"],
    field: tuple[float, float],
    *,
    size: tuple[int, int],
    pixel_size: float,
    dtype: torch.dtype | None = None,
) -> Float[Tensor, "2 h w"]:
    """The smooth field c₀ + c₁u + c₂u² + c₃v + c₄v² + c₅uv of two rows of coefficients (x, y) on pixels, in the coefficients' unit."""
    c = coefficients if dtype is None else coefficients.to(dtype)
    u = torch.arange(size[1], dtype=c.dtype, device=c.device) * (pixel_size / field[0]) - 0.5
    v = torch.arange(size[0], dtype=c.dtype, device=c.device) * (pixel_size / field[1]) - 0.5
    c0, c1, c2, c3, c4, c5 = (c[:, j, None] for j in range(SPATIAL_TERMS))
    # c(u, v) = row(u) + column(v) + c₅uv: two products a pixel instead of ten.
    along_x, along_y = c0 + c1 * u + c2 * u**2, c3 * v + c4 * v**2
    return torch.addcmul(along_x[:, None, :] + along_y[:, :, None], (c5 * v)[:, :, None], u.expand(2, 1, -1))


def within_frame(motion: Motion, frame: int) -> tuple[Float[Tensor, "2 6"], Float[Tensor, "2 6"]]:
    """The coefficients of the field (1, u, u², v, v², uv; Å) at the start and at the end of a frame's exposure, relative to frame 0's middle.

    Straight lines between the middles of the frames, drawn on to the start of the first and the end of the last. `field_of` and
    `displacement_within` make displacements of them.
    """
    last = motion.global_displacement.shape[0] - 1
    here = _coefficients(motion, frame)
    if last == 0:
        return here, here.clone()
    before = _coefficients(motion, frame - 1) if frame > 0 else 2 * here - _coefficients(motion, 1)
    after = _coefficients(motion, frame + 1) if frame < last else 2 * here - before
    return (before + here) / 2, (here + after) / 2


def displacement_within(motion: Motion, positions: Float[Tensor, "*n 2"]) -> Float[Tensor, "frames *n 2"]:
    """How far the specimen at each position moves during each frame's exposure, end minus start, (x, y) in Å: what blurs the frame."""
    frames = motion.global_displacement.shape[0]
    basis = torch.cat([torch.ones_like(positions[..., :1]), local_basis(positions, field=motion.field)], dim=-1)
    spans = []
    for frame in range(frames):
        start, end = within_frame(motion, frame)
        spans.append(basis @ (end - start).to(basis).mT)
    return torch.stack(spans)


def motion_envelope(frequency: Float[Tensor, "*shape"], *, drift: float = 0.0, jitter: float = 0.0) -> Float[Tensor, "*shape"]:
    """What is left of the amplitude of each frequency (along the drift) after movement within a frame: |sinc(k d)| · exp(−2π²u²k²).

    d is the length of a uniform drift, Å; u the standard deviation of a jitter along one axis, Å. sinc x = sin πx / πx.

    Source: Frank, Three-Dimensional Electron Microscopy of Macromolecular Assemblies (2006), chapter 2, section on envelopes.

    Examples
    --------
    >>> round(motion_envelope(torch.tensor(1 / 3), drift=1.0).item(), 3)
    0.827
    """
    return torch.sinc(frequency * drift).abs() * torch.exp(frequency**2 * (-jitter_b_factor(jitter) / 4))


def drift_transfer(
    kx: Float[Tensor, "*shape"], ky: Float[Tensor, "*other"], *, drift: Float[Tensor, "2"]
) -> Float[Tensor, "*result"]:
    """The factor sinc(k · d) that a uniform drift from −d/2 to +d/2 (x, y in Å) puts on a spectrum; its sign is kept."""
    return torch.sinc(kx * drift[0] + ky * drift[1])


def jitter_b_factor(jitter: float) -> float:
    """The B-factor 8π²u² (Å²) of a normal jitter with standard deviation u (Å) along each axis: exp(−B k²/4) = exp(−2π²u²k²).

    Examples
    --------
    >>> round(jitter_b_factor(0.5), 2)
    19.74
    """
    return 8 * math.pi**2 * jitter**2


def _coefficients(motion: Motion, frame: int) -> Tensor:
    """The coefficients of (1, u, u², v, v², uv) of a frame's displacement, Å."""
    frames = motion.global_displacement.shape[0]
    if not 0 <= frame < frames:
        raise UsageError(f"the motion has frames 0 to {frames - 1}: got {frame}")
    whole = motion.global_displacement[frame][:, None]
    local = whole.new_zeros(2, 5) if motion.local is None else motion.local[frame].to(whole)
    return torch.cat([whole, local], dim=1)


def _normal(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    return torch.randn(shape, generator=generator, dtype=torch.float64, device=generator.device)


def _random_direction(generator: torch.Generator) -> Tensor:
    angle = 2 * math.pi * torch.rand((), generator=generator, dtype=torch.float64, device=generator.device)
    return torch.stack([torch.cos(angle), torch.sin(angle)])


def _uphill(settings: MotionSettings, generator: torch.Generator) -> Tensor:
    """The direction in which the tilted film rises; a random one is drawn in every case, so that the rest of the motion stays the same."""
    drawn = _random_direction(generator)
    if settings.film_tilt_azimuth is None:
        return drawn
    return torch.tensor([math.cos(settings.film_tilt_azimuth), math.sin(settings.film_tilt_azimuth)]).to(drawn)
