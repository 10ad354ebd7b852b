"""Frames of a movie made ready: gain and flaws corrected, and their spectra cut to what alignment looks at."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Complex, Float
from torch import Tensor

from cryowalk.core.errors import InputError, ShapeError
from cryowalk.core.execution import ImageSource, Progress, SilentProgress
from cryowalk.fourier.filters import shift_phases
from cryowalk.fourier.transform import lower_frequencies, to_fourier, to_real
from cryowalk.numerics.sizes import fast_length_from, fast_length_to

_SPREAD = 8.0  # robust standard deviations beyond which a pixel of the sum is a flaw
_SURROUNDINGS = 5  # pixels a side, from which a flawed pixel is filled
_DEAD_FRAME = 0.2  # of the median frame's mean, below which a frame is blank
_FLAT_FRAME = 0.05  # of the median frame's variance, below which it holds no electrons but a constant
_MOST_DEAD = 0.25  # of the frames, beyond which the movie is not used
_SAMPLE = 2**20  # pixels from which a level and its spread are found
_LARGEST_FACTOR = 13  # of the sides of transforms: few rows and columns are cut away
_HELD_BYTES = 2**32  # of frames that are kept while a movie is worked on


@runtime_checkable
class ByteSource(Protocol):
    """A source that gives frames as they are stored, where that is in bytes."""

    def read_bytes(self, index: int) -> Tensor | None:
        """The frame `[h, w]`, uint8; None where it is stored otherwise."""


class HeldFrames:
    """Frames of another source on a device, each read and unpacked once and kept there, counts as bytes, as long as they fit."""

    def __init__(self, source: ImageSource, *, device: torch.device | str = "cpu", limit: int = _HELD_BYTES) -> None:
        self._source = source
        self._device = torch.device(device)
        self._left = limit
        self._kept: dict[int, Tensor] = {}

    @property
    def count(self) -> int:
        """How many frames there are."""
        return self._source.count

    @property
    def image_shape(self) -> tuple[int, int]:
        """Height and width, pixels."""
        return self._source.image_shape

    def read(self, indices: Sequence[int]) -> Float[Tensor, "n h w"]:
        """These frames, the caller's to change."""
        if len(indices) == 1 and indices[0] not in self._kept:
            first = self._first(indices[0])
            return first[None] if first.is_floating_point() else first[None].float()
        frames: Tensor | None = None
        for place, index in enumerate(indices):
            frame = self._kept[index] if index in self._kept else self._first(index)
            if frames is None:
                kind = frame.dtype if frame.is_floating_point() else torch.float32
                frames = torch.empty(len(indices), *frame.shape, dtype=kind, device=frame.device)
            frames[place] = frame
        return torch.empty(0, *self.image_shape) if frames is None else frames

    def _first(self, index: int) -> Tensor:
        """A frame that was not kept, as it was read or in bytes; it is kept if it still fits."""
        stored = self._source.read_bytes(index) if isinstance(self._source, ByteSource) else None
        if stored is not None:
            stored = stored.to(self._device)
            self._keep(index, stored)
            return stored
        frame = self._source.read([index])[0].to(self._device)
        compact = _compact(frame)
        self._keep(index, compact.clone() if compact is frame and self._fits(compact) else compact)
        return frame

    def _fits(self, frame: Tensor) -> bool:
        return frame.numel() * frame.element_size() <= self._left

    def _keep(self, index: int, frame: Tensor) -> None:
        if self._fits(frame):
            self._left -= frame.numel() * frame.element_size()
            self._kept[index] = frame


def _compact(frame: Float[Tensor, "h w"]) -> Tensor:
    """The frame in bytes where that loses nothing."""
    low, high = torch.aminmax(frame)
    if not (low >= 0 and high <= 255):
        return frame
    counts = frame.to(torch.uint8)
    return counts if torch.equal(counts.to(frame), frame) else frame


@dataclass(frozen=True, slots=True, kw_only=True)
class CorrectedFrames:
    """Frames of another source times the gain reference, flawed pixels filled with the mean of their surroundings."""

    source: ImageSource
    gain: Float[Tensor, "h w"] | None = None
    flaws: Bool[Tensor, "h w"] | None = None

    @property
    def count(self) -> int:
        """How many frames there are."""
        return self.source.count

    @property
    def image_shape(self) -> tuple[int, int]:
        """Height and width, pixels."""
        return self.source.image_shape

    def read(self, indices: Sequence[int]) -> Float[Tensor, "n h w"]:
        """These frames."""
        frames = self.source.read(indices)
        if self.gain is not None:
            frames = frames * self.gain.to(frames)
        if self.flaws is None:
            return frames
        return filled(frames, self.flaws.to(frames.device))


def filled(frames: Float[Tensor, "n h w"], flaws: Bool[Tensor, "h w"]) -> Float[Tensor, "n h w"]:
    """The frames with each flawed pixel replaced by the mean of the sound ones among the 24 about it, or of the frame where there is none."""
    rows, columns = flaws.nonzero(as_tuple=True)
    if not len(rows):
        return frames
    height, width = flaws.shape
    reach = torch.arange(_SURROUNDINGS, device=flaws.device) - _SURROUNDINGS // 2
    y = (rows[:, None] + reach.repeat_interleave(_SURROUNDINGS)).clamp(0, height - 1)
    x = (columns[:, None] + reach.repeat(_SURROUNDINGS)).clamp(0, width - 1)
    sound = (~flaws[y, x]).to(frames)
    share = sound.sum(-1)
    mended = frames.clone()
    for frame, result in zip(frames, mended, strict=True):
        near = (frame[y, x] * sound).sum(-1) / share.clamp_min(1)
        result[rows, columns] = torch.where(share > 0, near, frame[~flaws].mean() if bool((share == 0).any()) else near)
    return mended


class WorkingFrames(NamedTuple):
    """Spectra of frames on a coarser grid, its size and pixel size (Å), the share of the field (y, x) that it covers, and which of how many frames these are."""

    spectra: Complex[Tensor, "frames h half"]
    size: tuple[int, int]
    pixel_size: float
    covered: tuple[float, float]
    kept: tuple[int, ...]
    movie_frames: int


def check_gain(gain: Float[Tensor, "h w"], frame_shape: tuple[int, int]) -> None:
    """Nothing, if the gain reference fits the frames.

    Raises
    ------
    ShapeError
        If it has another size, saying so where it looks transposed.
    """
    shape = tuple(gain.shape)
    if shape == frame_shape:
        return
    turned = " It looks transposed." if shape == frame_shape[::-1] else ""
    raise ShapeError(
        f"the gain reference has {shape[0]} × {shape[1]} pixels (height × width), the frames {frame_shape[0]} × {frame_shape[1]}.{turned}",
        fix="turn it, or give the one that was taken with this camera mode",
    )


def find_flaws(total: Float[Tensor, "h w"]) -> Bool[Tensor, "h w"]:
    """Which pixels of the unaligned sum of a movie lie so far from the others that they are flaws of the camera.

    Whole columns and rows whose mean does, single flaws aside, are flaws as well.
    """
    middle, spread = _level(total)
    flaws = (total - middle).abs() > _SPREAD * spread
    sound = torch.where(flaws, middle, total)
    for axis in (0, 1):
        line = sound.mean(dim=axis)
        line_middle = line.median()
        line_spread = 1.4826 * (line - line_middle).abs().median().clamp_min(1e-9)
        wrong = (line - line_middle).abs() > _SPREAD * 4 * line_spread
        if float(wrong.float().mean()) < 0.02:
            flaws = flaws | (wrong[None, :] if axis == 0 else wrong[:, None])
    return flaws


def _level(total: Float[Tensor, "h w"]) -> tuple[Tensor, Tensor]:
    """The median, and the standard deviation that tails do not widen; where few electrons make the median's neighbourhood coarse, that of the inner 99.8 %."""
    sample = total.reshape(-1)[:: max(1, total.numel() // _SAMPLE)]
    middle = sample.median()
    ordered = sample.sort().values
    cut = len(ordered) // 1000
    inner = ordered[cut : len(ordered) - cut].std()
    robust = 1.4826 * (sample - middle).abs().median()
    return middle, torch.maximum(robust, torch.minimum(inner, 2 * robust + 1)).clamp_min(1e-6)


def working_frames(frames: ImageSource, *, pixel_size: float, finest: float, progress: Progress | None = None) -> WorkingFrames:
    """The spectra of all frames on a grid whose Nyquist frequency is that of the finest spacing (Å); frames are read one by one.

    Edges are cut by a few pixels to sizes that transform fast. Frames that are more than twice as fine as needed are halved before they are transformed; what that takes
    from a frequency is given back. Frames that are blank or constant while others are not are left out.

    Raises
    ------
    InputError
        If a frame holds values that are not finite numbers, or too many are blank.
    """
    progress = progress or SilentProgress()
    shrink = max(1.0, finest / (2 * pixel_size))
    halvings = int(math.log2(shrink))
    height, width = (
        2**halvings * fast_length_to(length // 2**halvings, largest_factor=_LARGEST_FACTOR) for length in frames.image_shape
    )
    rows, columns = (fast_length_from(math.ceil(length / shrink), largest_factor=_LARGEST_FACTOR) for length in (height, width))
    size = (rows, columns)
    spectra: Tensor | None = None
    means, variances = (torch.empty(frames.count, dtype=torch.float64) for _ in range(2))
    for index in range(frames.count):
        frame = frames.read([index])[0][:height, :width]  # at the far ends, so that pixel (0, 0) stays where it is
        for _ in range(halvings):
            frame = halved(frame)
        mean = frame.mean()
        means[index] = mean
        if not math.isfinite(float(mean)):
            raise InputError(f"frame {index + 1} holds values that are not finite numbers", cause="a damaged file")
        centred = frame.sub_(mean) if halvings else frame - mean
        variances[index] = centred.reshape(-1).square().mean()
        spectrum = lower_frequencies(to_fourier(centred), size=size)
        if spectra is None:
            spectra = torch.empty(frames.count, *spectrum.shape, dtype=spectrum.dtype, device=spectrum.device)
        spectra[index] = spectrum
        progress.advance()
    if spectra is None:
        raise InputError("the movie has no frames")
    kept = _exposed(means, variances)
    if len(kept) < frames.count:
        spectra = spectra[list(kept)]
    if halvings:
        spectra /= _halving_transfer(size, (height, width), halvings).to(spectra.real)
    covered = (height / frames.image_shape[0], width / frames.image_shape[1])
    return WorkingFrames(spectra, size, pixel_size * height / size[0], covered, kept, frames.count)


def halved(frame: Float[Tensor, "h w"]) -> Float[Tensor, "h2 w2"]:
    """The frame half as fine: at the middle of each 2 × 2 pixels, with weights 1 3 3 1 along each axis; cos³(πk) is left of a frequency k per pixel."""
    if frame.device.type != "cpu" or frame.dtype != torch.float32:
        return halved_reference(frame)
    from cryowalk.motion.halving_compiled import halve_compiled

    result = torch.empty(frame.shape[0] // 2, frame.shape[1] // 2)
    halve_compiled(frame.numpy(), result.numpy(), threads=torch.get_num_threads())
    return result


def halved_reference(frame: Float[Tensor, "h w"]) -> Float[Tensor, "h2 w2"]:
    """The same as `halved`, on any device."""
    line = torch.tensor([1.0, 3.0, 3.0, 1.0], dtype=frame.dtype, device=frame.device) / 8
    padded = torch.nn.functional.pad(frame[None, None], (1, 1, 1, 1), mode="replicate")
    return torch.nn.functional.conv2d(padded, (line[:, None] * line)[None, None], stride=2)[0, 0]


def _halving_transfer(size: tuple[int, int], full: tuple[int, int], halvings: int) -> Float[Tensor, "h half"]:
    """What so many halvings leave of the coefficients of the working grid; `full` is the size before."""
    row = torch.arange(size[0], dtype=torch.float64)
    along_y = torch.where(row < (size[0] + 1) // 2, row, row - size[0]) / full[0]
    along_x = torch.arange(size[1] // 2 + 1, dtype=torch.float64) / full[1]
    transfer = torch.ones(size[0], size[1] // 2 + 1, dtype=torch.float64)
    for level in range(halvings):
        y, x = (torch.cos(torch.pi * 2**level * k) ** 3 for k in (along_y, along_x))
        transfer *= y[:, None] * x
    return transfer


def _exposed(means: Float[Tensor, " frames"], variances: Float[Tensor, " frames"]) -> tuple[int, ...]:
    """The frames that are neither blank nor constant, counted from 0."""
    middle, spread = float(means.median()), float(variances.median())
    if middle <= 0:
        raise InputError("the movie holds no electrons: the mean of its frames is not above zero", cause="a blank exposure")
    is_dead = (means < _DEAD_FRAME * middle) | (variances < _FLAT_FRAME * spread)
    dead = is_dead.nonzero()[:, 0].tolist()
    if len(dead) > _MOST_DEAD * len(means) or (dead and len(means) - len(dead) < 2):
        raise InputError(
            told_blank(dead, len(means)),
            expected="frames of about the same mean",
            cause="the shutter was closed, or frames were lost",
            fix="take those frames out of the movie, or leave the movie out",
        )
    return tuple((~is_dead).nonzero()[:, 0].tolist())


def told_blank(dead: Sequence[int], count: int) -> str:
    """Which frames (counted from 0) of how many are blank, in words."""
    numbers = ", ".join(str(index + 1) for index in dead[:8]) + (" …" if len(dead) > 8 else "")
    return f"{'frame' if len(dead) == 1 else 'frames'} {numbers} of {count} {'is' if len(dead) == 1 else 'are'} blank"


def binned_frames(frames: WorkingFrames, displacement: Float[Tensor, "frames 2"]) -> Float[Tensor, "frames h w"]:
    """The frames on the coarse grid in real space, each moved back by its displacement (pixels of that grid)."""
    height, width = frames.size
    moved = torch.empty(len(frames.spectra), height, width, dtype=frames.spectra.real.dtype, device=frames.spectra.device)
    for index, spectrum in enumerate(frames.spectra):
        back = shift_phases((height, width), -displacement[index].double().to(spectrum.device), pixel_size=1.0)
        moved[index] = to_real(spectrum * back.to(spectrum), width=width)
    return moved
