"""What a convention check says: hypotheses with their scores, and the verdict on one aspect of a file."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from cryowalk.fourier.transform import to_fourier, to_real

Verdict = Literal["agrees", "differs", "none fits"]
LEAST_LEAD = 0.05  # of the best score over the next one: closer, and they are not told apart


@dataclass(frozen=True, slots=True, kw_only=True)
class Hypothesis:
    """What a file may have done: its name, a score (1 is perfect agreement), the same in words, and what to do about it (nothing where it is ours)."""

    name: str
    score: float
    measure: str = ""
    fix: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """The verdict on one aspect of a file, such as the sign of its shifts; `hypotheses` are all that were tried, the best first."""

    aspect: str
    verdict: Verdict
    words: str
    fix: str
    hypotheses: tuple[Hypothesis, ...]

    @property
    def score(self) -> float:
        """The score of the best hypothesis."""
        return self.hypotheses[0].score if self.hypotheses else 0.0


def judged(aspect: str, hypotheses: Iterable[Hypothesis], *, least: float, none: str = "") -> Finding:
    """The finding of an aspect: the hypothesis that scores best, if it scores `least` and clearly more than the next one; otherwise none fits.

    Of equal scores the one that stands first wins, so put the simpler ones first.
    """
    ranking = tuple(sorted(hypotheses, key=lambda one: -round(one.score, 6)))
    best, *others = ranking
    is_clear = not others or best.score - others[0].score >= LEAST_LEAD * max(1.0, abs(best.score))
    if best.score < least or not is_clear:
        rivals = f"; next “{others[0].name}” {others[0].score:.2f}" if others else ""
        words = none or f"none fits: the best, “{best.name}”, scores {best.score:.2f}{rivals}"
        return Finding(aspect=aspect, verdict="none fits", words=words, fix="", hypotheses=ranking)
    verdict: Verdict = "differs" if best.fix else "agrees"
    words = best.name + (f" ({best.measure})" if best.measure else "")
    return Finding(aspect=aspect, verdict=verdict, words=words, fix=best.fix, hypotheses=ranking)


def offset_finding(aspect: str, offset: tuple[float, ...], *, tolerance: float, unit: str, fix: Callable[[str], str]) -> Finding:
    """The finding about a displacement along x, y (and z): none, a whole number or a half, with what it usually means."""
    told = ", ".join(f"{value:+.2f}" for value in (snapped(value, tolerance) for value in offset))
    size = max(abs(value) for value in offset)
    if size <= tolerance:
        words = f"the origin is where ours is (off by {size:.2f} {unit})"
        return Finding(aspect=aspect, verdict="agrees", words=words, fix="", hypotheses=(Hypothesis(name="n // 2", score=1.0),))
    cause = _cause_of(offset, tolerance)
    name = f"moved by ({told}) {unit}"
    back = ",".join(f"{0.0 - snapped(value, tolerance):.3g}" for value in offset)
    one = Hypothesis(name=name, score=1.0, fix=fix(back))
    return Finding(aspect=aspect, verdict="differs", words=name + cause, fix=one.fix, hypotheses=(one,))


def snapped(value: float, tolerance: float) -> float:
    """The number, or the half-integer that it is within the tolerance."""
    nearest = round(2 * value) / 2 + 0.0
    return nearest if abs(value - nearest) <= tolerance else value


def contrast_finding(contrast: str, score: float, *, expected: str, fix: str) -> Finding:
    """The finding about bright or dark density, whose correlation with the expected one is `score` or minus it."""
    other = {"bright": "dark", "dark": "bright"}[expected]
    sign = 1.0 if contrast == expected else -1.0
    pair = [
        Hypothesis(name=f"density is {expected}, as ours", score=sign * score),
        Hypothesis(name=f"density is {other}, ours is {expected}", score=-sign * score, fix=fix),
    ]
    return judged("contrast", pair, least=0.0)


def _cause_of(offset: tuple[float, ...], tolerance: float) -> str:
    """Why a file would be off by so much."""
    off = [abs(value) for value in offset if abs(value) > tolerance]
    if all(abs(value - 0.5) <= tolerance for value in off):
        return ": half a pixel, an origin between pixels at (n − 1)/2, or at a pixel's corner"
    if all(abs(value - 1) <= tolerance for value in off):
        return ": one pixel, as after turning the array over about (n − 1)/2 in an even box, or counting from 1"
    return ""


def cross_correlation_peak(
    spectrum: Tensor, *, width: int, dimensions: int
) -> tuple[float, tuple[float, ...], Literal["bright", "dark"]]:
    """The extreme of a cross-correlation given by its half spectrum: |value|, where it lies along x, y (, z) in pixels, and its sign as contrast.

    Places are refined by a parabola through the neighbours on each axis.
    """
    map_: Tensor = to_real(spectrum, width=width, dimensions=dimensions)
    flat = int(map_.abs().argmax())
    place = [int(index) for index in torch.unravel_index(torch.tensor(flat), map_.shape)]
    value = float(map_[tuple(place)])
    sign = 1.0 if value >= 0 else -1.0
    offsets = []
    for axis, (index, side) in enumerate(zip(place, map_.shape, strict=True)):
        before, after = place.copy(), place.copy()
        before[axis], after[axis] = (index - 1) % side, (index + 1) % side
        low, high = sign * float(map_[tuple(before)]), sign * float(map_[tuple(after)])
        curvature = low - 2 * abs(value) + high
        offsets.append(index - side // 2 + (0.5 * (low - high) / curvature if curvature < 0 else 0.0))
    return abs(value), tuple(reversed(offsets)), "bright" if value >= 0 else "dark"


def unit_spectrum(array: Tensor, *, dimensions: int) -> Tensor:
    """The half spectrum of the array (of each of a batch), its mean taken off and its norm made 1; zero for a constant."""
    axes = tuple(range(-dimensions, 0))
    centred = array.double() - array.double().mean(dim=axes, keepdim=True)
    norm = torch.linalg.vector_norm(centred, dim=axes, keepdim=True).clamp_min(1e-30)
    return to_fourier(centred / norm, dimensions=dimensions)
