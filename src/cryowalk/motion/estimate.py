"""How the specimen moved while its movie was taken."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from cryowalk.core.checks import require_positive
from cryowalk.core.errors import ShapeError, UsageError
from cryowalk.core.execution import ImageSource, Progress, SilentProgress
from cryowalk.data.motion import Motion
from cryowalk.motion.alignment import align, bands_of, contrast_to_noise
from cryowalk.motion.frames import WorkingFrames, told_blank, working_frames
from cryowalk.motion.local import align_locally
from cryowalk.motion.settings import AlignmentSettings

_COARSEST = 200.0  # Å; what is coarser is gradients of ice and dose
_EARLY_DOSE = 4.0  # e⁻/Å², where RELION divides early motion from late
_LEAST_CONTRAST = 3.0  # standard deviations; frames of noise, aligned as well as they can be, stay below 2
_SMALLEST_FIELD = 150.0  # Å, a patch's side below which local motion is not looked for


@dataclass(frozen=True, slots=True, kw_only=True)
class MotionEstimate:
    """The motion of a movie, and what tells how well it is known.

    `precision` is the standard error of a frame's displacement of the whole field along an axis, Å, from the curvature of the likelihood. `early` and
    `late` are lengths of the track up to 4 e⁻/Å² and after, Å (all of it late where the dose is not known). `contrast` is how far a frame's agreement with the
    sum of the others rises above noise, in standard deviations, and `contrast_before` the same before they were aligned. `doubts` says in words what is wrong.
    `left_out` are frames, counted from 0, that are blank: their motion is drawn between that of their neighbours, and their precision is infinite.
    """

    motion: Motion
    precision: Float[Tensor, " frames"]
    contrast: float
    contrast_before: float
    early: float
    late: float
    doubts: tuple[str, ...] = ()
    left_out: tuple[int, ...] = ()

    @property
    def total(self) -> float:
        """Length of the whole field's track, Å."""
        return self.early + self.late


def estimate_motion(
    frames: ImageSource,
    settings: AlignmentSettings = AlignmentSettings(),  # noqa: B008  frozen
    *,
    pixel_size: float,
    progress: Progress | None = None,
) -> MotionEstimate:
    """The displacement of the specimen in every frame relative to the first, of the whole field and, with patches, of every place.

    Frames are read once, one by one; their spectra are kept up to the finest resolution that is looked at. Up to a quarter of them may be blank.

    Raises
    ------
    ShapeError
        If there are fewer than two frames.
    InputError
        If many frames are blank, or one holds values that are not finite numbers.
    UsageError
        If a setting cannot be meant.
    """
    require_positive("pixel size", pixel_size, unit="Å")
    patches = _fitting_patches(settings, frames, pixel_size)
    working = working_frames(
        frames, pixel_size=pixel_size, finest=settings.finest_resolution, progress=progress or SilentProgress()
    )
    bands = bands_of(
        working.spectra,
        width=working.size[1],
        pixel_size=working.pixel_size,
        b_factor=settings.b_factor,
        coarsest=_COARSEST,
    )
    track = align(
        bands,
        largest_shift=settings.largest_shift / working.pixel_size,
        acceleration=settings.acceleration / working.pixel_size,
        iterations=settings.iterations,
    )
    whole, local = track.displacement, None
    contrast = float(contrast_to_noise(bands, whole).mean())
    still = float(contrast_to_noise(bands, torch.zeros_like(whole)).mean())
    is_seen = contrast > max(_LEAST_CONTRAST, still)
    if not is_seen:
        whole = torch.zeros_like(whole)
    elif patches != (1, 1):
        whole, local = align_locally(working, track, settings, patches=patches, coarsest=_COARSEST)
        local = working.pixel_size * (local - local[0])
    whole = _at_all_frames(working.pixel_size * (whole - whole[0]), working.kept, working.movie_frames)
    whole = whole - whole[0]
    height, width = frames.image_shape
    motion = Motion(global_displacement=whole, local=local, field=(width * pixel_size, height * pixel_size))
    strength = track.information.diagonal(dim1=-2, dim2=-1).mean(-1).clamp_min(1e-12)
    precision = torch.full((working.movie_frames,), math.inf, dtype=torch.float64)
    precision[list(working.kept)] = working.pixel_size / strength.sqrt()
    left_out = tuple(index for index in range(working.movie_frames) if index not in working.kept)
    early, late = _lengths(whole, settings)
    return MotionEstimate(
        motion=motion,
        precision=precision,
        contrast=contrast,
        contrast_before=still,
        early=early,
        late=late,
        doubts=tuple(_doubts(whole, precision, settings, is_seen=is_seen))
        + _fewer(patches, settings)
        + _blank(left_out, working),
        left_out=left_out,
    )


def _at_all_frames(track: Float[Tensor, "kept 2"], kept: Sequence[int], count: int) -> Float[Tensor, "frames 2"]:
    """The track with straight lines through the frames that are left out, and the nearest value at the ends."""
    if len(kept) == count:
        return track
    lines = [np.interp(np.arange(count), kept, track[:, axis].numpy()) for axis in (0, 1)]
    return torch.from_numpy(np.stack(lines, axis=1))


def _blank(left_out: tuple[int, ...], frames: WorkingFrames) -> tuple[str, ...]:
    if not left_out:
        return ()
    return (f"{told_blank(left_out, frames.movie_frames)}: left out of the sum, its dose counted for those after it",)


def _fitting_patches(settings: AlignmentSettings, frames: ImageSource, pixel_size: float) -> tuple[int, int]:
    """The patches asked for, fewer where they would be smaller than what can be aligned."""
    if frames.count < 2:
        raise ShapeError(f"the movie has {frames.count} frame", expected="at least two frames to align")
    if min(settings.patches) < 1:
        raise UsageError(f"there is at least one patch: got {settings.patches[0]} × {settings.patches[1]}")
    most = [max(1, int(length * pixel_size / _SMALLEST_FIELD)) for length in frames.image_shape[::-1]]
    return min(settings.patches[0], most[0]), min(settings.patches[1], most[1])


def _fewer(patches: tuple[int, int], settings: AlignmentSettings) -> tuple[str, ...]:
    if patches == settings.patches:
        return ()
    return (f"{patches[0]} × {patches[1]} patches were aligned: smaller ones than {_SMALLEST_FIELD:g} Å hold too few electrons",)


def _lengths(track: Float[Tensor, "frames 2"], settings: AlignmentSettings) -> tuple[float, float]:
    """The length of the track in the early part of the exposure and in the rest, Å."""
    steps = (track[1:] - track[:-1]).norm(dim=1)
    if settings.dose_per_frame is None:
        return 0.0, float(steps.sum())
    reached = settings.dose_before + settings.dose_per_frame * torch.arange(1, len(track), dtype=torch.float64)
    is_early = reached <= _EARLY_DOSE
    return float(steps[is_early].sum()), float(steps[~is_early].sum())


def _doubts(track: Tensor, precision: Tensor, settings: AlignmentSettings, *, is_seen: bool) -> "list[str]":
    if not is_seen:
        return ["frames hold too little contrast to be aligned; they are summed as they are"]
    doubts = []
    centred = track - track.mean(0)
    if float(centred.norm(dim=1).max()) > settings.largest_shift:
        doubts.append(
            f"a frame lies {float(centred.norm(dim=1).max()):.0f} Å from the middle of the track, beyond what was searched"
        )
    worst = float(precision.median())
    if not math.isfinite(worst) or worst > 2.0:
        doubts.append(f"frames hold too little contrast to be placed better than {worst:.1f} Å")
    return doubts
