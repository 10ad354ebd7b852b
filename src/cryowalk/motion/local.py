"""Motion that differs over the field: all patches of all frames against one smooth model at a time.

In each patch the likelihood of a further displacement of each frame has a gradient and an information matrix (`alignment.moments`). Instead of a track for each patch,
which few electrons do not give, the coefficients of the field are found together: displacements of the whole field free in every frame, and
terms u, u², v, v², uv whose course in time is a polynomial of third order, as in RELION's model. How large local terms are expected to be is learned from the movie
itself: one in which patches agree with the whole field keeps the whole field's motion.

Source: MacKay, Neural Comput. 4, 415 (1992), section 4, for learning the width of a prior.
"""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from cryowalk.fourier.transform import to_fourier
from cryowalk.motion.alignment import Track, bands_of, moments, second_differences
from cryowalk.motion.frames import WorkingFrames, binned_frames
from cryowalk.motion.settings import AlignmentSettings
from cryowalk.numerics.motion_model import spatial_terms

_OVERLAP = 1.4  # side of a patch over the distance of patches
_TERMS = 5  # u, u², v, v², uv
_POWERS = 3  # of time
_LOCAL_SPREAD = 12.0  # Å, expected size of the local terms at the end of the movie, before the movie itself tells
_LEAST_SPREAD = 0.2  # Å
_CLOSE = 0.01  # pixels
_ROBUST = 3.0  # standard deviations, beyond which a patch counts for less


def align_locally(
    frames: WorkingFrames, track: Track, settings: AlignmentSettings, *, patches: tuple[int, int], coarsest: float
) -> tuple[Float[Tensor, "frames 2"], Float[Tensor, "all_frames 2 5"]]:
    """The displacement of the field's middle in each frame that is kept and the local terms in every frame, pixels of the working grid.

    The start is the track of the whole field.
    """
    displacement, overconfidence = track.displacement, track.overconfidence
    count = len(displacement)
    images = binned_frames(frames, displacement)
    height, width = frames.size
    corners, side = patch_corners((height, width), patches)
    # Places count in the whole field, of which the working grid leaves out a few pixels at the far edges.
    places = torch.tensor(
        [
            (
                (x + (side[1] - 1) / 2) / width * frames.covered[1] - 0.5,
                (y + (side[0] - 1) / 2) / height * frames.covered[0] - 0.5,
            )
            for y, x in corners
        ],
        dtype=torch.float64,
    )
    window = _window(side).to(images)
    stacks = []
    for y, x in corners:
        piece = images[:, y : y + side[0], x : x + side[1]]
        piece = (piece - piece.mean((-2, -1), keepdim=True)) * window
        stacks.append(
            bands_of(
                to_fourier(piece), width=side[1], pixel_size=frames.pixel_size, b_factor=settings.b_factor, coarsest=coarsest
            )
        )
    del images
    all_times = _time_basis(frames.movie_frames, frames.kept)
    time = all_times[list(frames.kept)]
    basis = spatial_terms(places)
    # A patch's displacement in frame f along an axis: global[f] + Σ_jp c_jp b_j t_p(f).
    design = torch.einsum("nj,fp->nfjp", basis, time).reshape(len(places), count, _TERMS * _POWERS)
    whole = torch.zeros(count, 2, dtype=torch.float64)
    terms = torch.zeros(_TERMS * _POWERS, 2, dtype=torch.float64)
    prior = _prior(count, acceleration=settings.acceleration, pixel_size=frames.pixel_size)
    variance = (_LOCAL_SPREAD / frames.pixel_size) ** 2
    for _ in range(settings.iterations):
        model = whole[None] + torch.einsum("nfk,ka->nfa", design, terms)
        found = [moments(bands, model[patch]) for patch, bands in enumerate(stacks)]
        gradient = torch.stack([one[0] for one in found]) / overconfidence
        information = torch.stack([one[1] for one in found]).diagonal(dim1=-2, dim2=-1).clamp_min(0) / overconfidence
        prior.diagonal()[count:] = 1 / variance
        step_whole, step_terms, uncertain = _solve(gradient, information, design, current=(whole, terms), prior=prior)
        whole, terms = whole + step_whole, terms + step_terms
        variance = _spread_of(terms, uncertain, variance, least=(_LEAST_SPREAD / frames.pixel_size) ** 2)
        whole = whole - whole.mean(0)
        change = (step_whole.abs().max(), torch.einsum("nfk,ka->nfa", design, step_terms).abs().max())
        if max(map(float, change)) < _CLOSE:
            break
    local = torch.einsum("fp,jpa->faj", all_times, terms.reshape(_TERMS, _POWERS, 2))
    return displacement + whole, local


def patch_corners(size: tuple[int, int], patches: tuple[int, int]) -> tuple[list[tuple[int, int]], tuple[int, int]]:
    """Corners (y, x) and the size of overlapping patches; `patches` counts them across x and y."""
    across_x, across_y = patches
    side = tuple(
        min(length, 2 * round(_OVERLAP * length / number / 2)) for length, number in zip(size, (across_y, across_x), strict=True)
    )
    starts = [
        [round(i * (length - one) / max(1, number - 1)) for i in range(number)]
        for length, one, number in zip(size, side, (across_y, across_x), strict=True)
    ]
    return [(y, x) for y in starts[0] for x in starts[1]], (side[0], side[1])


def _window(side: tuple[int, int]) -> Float[Tensor, "h w"]:
    """A window that falls off at the edges over a sixth of the side."""
    lines = []
    for length in side:
        distance = (torch.arange(length, dtype=torch.float64) + 0.5) / length
        edge = torch.minimum(distance, 1 - distance) * 6
        lines.append(torch.sin(math.pi / 2 * edge.clamp(0, 1)) ** 2)
    return (lines[0][:, None] * lines[1]).float()


def _time_basis(frames: int, kept: Sequence[int]) -> Float[Tensor, "frames powers"]:
    """f, f², f³ over the movie's length, with mean zero over the frames that are kept: what is common to them moves nothing."""
    time = torch.arange(frames, dtype=torch.float64) / max(1, frames - 1)
    powers = torch.stack([time**power for power in range(1, _POWERS + 1)], dim=1)
    return powers - powers[list(kept)].mean(0)


def _spread_of(terms: Float[Tensor, "terms 2"], uncertain: Float[Tensor, "terms 2"], variance: float, *, least: float) -> float:
    """The variance of the local terms for which they are most probable: Σθ² over the number of terms that the data determine."""
    determined = float((1 - uncertain / variance).clamp(0, 1).sum())
    return max(least, float(terms.square().sum()) / max(determined, 1e-3)) if determined > 0 else least


def _prior(frames: int, *, acceleration: float, pixel_size: float) -> Float[Tensor, "unknowns unknowns"]:
    """The inverse covariance of the unknowns of one axis: second differences of the whole field's track; that of the local terms is learned."""
    unknowns = frames + _TERMS * _POWERS
    prior = torch.zeros(unknowns, unknowns, dtype=torch.float64)
    if frames > 2:
        second = second_differences(frames)
        prior[:frames, :frames] = second.T @ second * (pixel_size / acceleration) ** 2
    prior[:frames, :frames] += 1e-6 * torch.eye(frames, dtype=torch.float64)
    return prior


def _solve(
    gradient: Float[Tensor, "patches frames 2"],
    information: Float[Tensor, "patches frames 2"],
    design: Float[Tensor, "patches frames terms"],
    *,
    current: tuple[Float[Tensor, "frames 2"], Float[Tensor, "terms 2"]],
    prior: Float[Tensor, "unknowns unknowns"],
) -> tuple[Float[Tensor, "frames 2"], Float[Tensor, "terms 2"], Float[Tensor, "terms 2"]]:
    """The Newton step of all unknowns under the prior, and the variance that is left of the terms; the axes are taken apart.

    Patches that disagree with the rest count for less.
    """
    frames = gradient.shape[1]
    whole, terms = current
    steps, variances = [], []
    for axis in (0, 1):
        strength, slope = information[..., axis], gradient[..., axis]
        peak = slope / strength.clamp_min(1e-9)
        weight = 1 / (1 + (peak * strength.sqrt() / _ROBUST) ** 2)
        strength, slope = strength * weight, slope * weight
        normal = prior.clone()
        normal[:frames, :frames] += torch.diag(strength.sum(0))
        cross = torch.einsum("nf,nfk->fk", strength, design)
        normal[:frames, frames:] += cross
        normal[frames:, :frames] += cross.T
        normal[frames:, frames:] += torch.einsum("nf,nfk,nfl->kl", strength, design, design)
        now = torch.cat([whole[:, axis], terms[:, axis]])
        right = torch.cat([slope.sum(0), torch.einsum("nf,nfk->k", slope, design)]) - prior @ now
        covariance = torch.linalg.inv(normal)
        steps.append(covariance @ right)
        variances.append(covariance.diagonal()[frames:])
    step = torch.stack(steps, dim=1)
    return step[:frames], step[frames:], torch.stack(variances, dim=1)
