"""How finely poses are looked for in each iteration, and when the refinement is over.

Orientations of spacing h leave the rim of a particle of diameter D uncertain by some h D / 4, which blurs a map of resolution d where it is above d / 4.
So h follows d / D, but is never finer than the accuracy with which the images can tell orientations from that map.
"""

import math
from dataclasses import dataclass, replace
from typing import Literal

from cryowalk.refinement.settings import RefinementSettings

Search = Literal["global", "local"]

FINEST_STEP = math.radians(0.1)
COARSEST_STEP = math.radians(15.0)
SLACK = 4 / 3  # how much coarser than wanted a spacing may be
PER_ACCURACY = 1.5  # spacing over the least standard deviation about one axis, at the end: sums over it are then right to exp(−2π²/1.5²) = 2e-4
LOCAL_DEVIATION = 3.0  # of the prior about the last orientation, in units of the larger of spacing and accuracy
LEAST_GROWTH = 5  # shells beyond the resolution that the next iteration looks at
GROWTH = 0.1  # of Nyquist, likewise
PIXELS_OF_RANGE = 5
STEADY = 1.0  # of the spacing: a median change of orientation below which nothing moves but the grid
UNABATED = 0.9
SHIFTS_PER_ACCURACY = 1.4  # step of places over their least standard deviation along one axis: their mean is taken, not the best
FINEST_SHIFT = 0.1  # pixels


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplingPlan:
    """What one iteration looks at: orientations of spacing `step` (rad), with a prior `deviation` (rad) where the search is local.

    Places are tried to `shift_range` about the last one, `shift_step` apart (Å). `radius` is the last shell of the images that counts.
    """

    search: Search
    step: float
    deviation: float
    shift_range: float
    shift_step: float
    radius: int
    is_last: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlook:
    """What an iteration found that rules the next one.

    `shell` is the last shell before the halves' correlation falls below 0.143, `best_shell` the largest of all iterations before. The accuracies
    are the least standard deviations about one axis (rad) and along one axis (Å); the changes are median angle (rad), now and in the iteration
    before, and the distance (Å) that nineteen of twenty particles stayed within.
    """

    shell: int
    best_shell: int
    angular_accuracy: float
    shift_accuracy: float
    angular_change: float
    shift_change: float
    change_before: float = math.inf


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """What does not change from iteration to iteration: box (pixels), pixel size and diameter (Å), and the user's choices."""

    box: int
    pixel_size: float
    diameter: float
    settings: RefinementSettings

    @property
    def last_shell(self) -> int:
        """The last shell of whole coefficients."""
        return (self.box - 1) // 2

    def shell_of(self, resolution: float) -> int:
        """The shell that lies at a resolution (Å), at most the last one."""
        return min(self.last_shell, round(self.box * self.pixel_size / resolution))

    def resolution_of(self, shell: int) -> float:
        """The resolution (Å) of a shell."""
        return self.box * self.pixel_size / max(shell, 1)

    def grown(self, shell: int) -> int:
        """The last shell that is looked at when the map is known to `shell`."""
        return min(self.last_shell, shell + max(LEAST_GROWTH, round(GROWTH * self.box / 2)))

    def first(self) -> SamplingPlan:
        """The plan of the first iteration."""
        settings = self.settings
        step = math.radians(settings.angular_step_degrees)
        deviation = math.radians(settings.angle_deviation_degrees or settings.angular_step_degrees)
        if settings.search == "local":
            step = min(step, deviation / 2)
        return SamplingPlan(
            search=settings.search,
            step=step,
            deviation=deviation if settings.search == "local" else 0.0,
            shift_range=self.widest_shift,
            shift_step=self.pixel_size,
            radius=self.grown(self.shell_of(settings.starting_resolution)),
        )

    def opened(self, plan: SamplingPlan, *, accuracy: float) -> SamplingPlan:
        """The first plan with twice or four times the spacing, where neither the starting map nor the images tell finer orientations apart."""
        wanted = max(self.settings.starting_resolution / self.diameter, PER_ACCURACY * accuracy)
        step = plan.step
        while plan.search == "global" and 2 * step <= min(wanted * SLACK, COARSEST_STEP):
            step *= 2
        return replace(plan, step=step)

    @property
    def widest_shift(self) -> float:
        """How far from the images' middles places are tried, Å."""
        return self.settings.shift_range or PIXELS_OF_RANGE * self.pixel_size

    def following(self, plan: SamplingPlan, outlook: Outlook) -> SamplingPlan:
        """The plan after an iteration: finer where map or images deserve it, the last one where nothing moves any more."""
        gains = outlook.shell > outlook.best_shell
        step = self._step(plan, outlook, gains=gains)
        is_finest = step > plan.step * 0.99
        # Images that tell no orientation, as noise does, never keep one: then it is over when they change as much as before.
        is_steady = outlook.angular_change < STEADY * plan.step or outlook.angular_change > UNABATED * outlook.change_before
        placed = self._placed(plan, outlook, step)
        if is_finest and not gains and is_steady:
            return self.closing(placed)
        return replace(placed, radius=self.grown(max(outlook.shell, 1)))

    def closing(self, plan: SamplingPlan) -> SamplingPlan:
        """The same plan as the last one: all data to Nyquist."""
        return replace(plan, radius=self.last_shell, is_last=True)

    def _step(self, plan: SamplingPlan, outlook: Outlook, *, gains: bool) -> float:
        """Half the spacing where the map's resolution asks for a finer one or, once it no longer gains, the accuracy of the images."""
        accurate = max(PER_ACCURACY * outlook.angular_accuracy, FINEST_STEP)
        resolved = self.resolution_of(outlook.shell) / self.diameter
        wanted = max(resolved, accurate) if gains else accurate
        return plan.step / 2 if wanted * SLACK < plan.step else plan.step

    def _placed(self, plan: SamplingPlan, outlook: Outlook, step: float) -> SamplingPlan:
        is_local = plan.search == "local" or math.degrees(step) <= self.settings.local_from_degrees
        deviation = LOCAL_DEVIATION * max(step, outlook.angular_accuracy) if is_local else 0.0
        shift_step = min(plan.shift_step, max(FINEST_SHIFT * self.pixel_size, SHIFTS_PER_ACCURACY * outlook.shift_accuracy))
        reach = max(outlook.shift_change + 2 * outlook.shift_accuracy, 2 * shift_step)
        return replace(
            plan,
            search="local" if is_local else "global",
            step=step,
            deviation=deviation,
            shift_step=shift_step,
            shift_range=min(self.widest_shift, reach),
        )
