"""When orientations are looked at more finely, and when a refinement is over."""

import math
from dataclasses import replace

import pytest

from cryowalk.refinement import RefinementSettings
from cryowalk.refinement.sampling import Outlook, Schedule

SCHEDULE = Schedule(box=96, pixel_size=2.5, diameter=200.0, settings=RefinementSettings())
BEGINNING = Outlook(shell=8, best_shell=0, angular_accuracy=0.01, shift_accuracy=1.0, angular_change=1.5, shift_change=6.0)


def degrees(angle):
    return round(math.degrees(angle), 3)


def test_the_first_plan_looks_everywhere_a_little_beyond_the_starting_map():
    plan = SCHEDULE.first()
    assert plan.search == "global"
    assert degrees(plan.step) == 7.5
    assert plan.radius == 6 + 5
    assert plan.shift_range == 12.5
    assert not plan.is_last


def test_the_step_follows_the_resolution_and_stops_at_the_accuracy():
    plan = SCHEDULE.first()
    # 30 Å at a diameter of 200 Å: d / D = 8.6°; at 10 Å 2.9°
    assert degrees(SCHEDULE.following(plan, BEGINNING).step) == 7.5
    sharp = replace(BEGINNING, shell=24, best_shell=20)
    assert degrees(SCHEDULE.following(plan, sharp).step) == 3.75
    fine = replace(plan, step=math.radians(1.875))
    assert degrees(SCHEDULE.following(fine, sharp).step) == 1.875
    stalled = replace(sharp, best_shell=24)
    assert degrees(SCHEDULE.following(fine, stalled).step) == pytest.approx(0.938, abs=0.001)
    blurred = replace(stalled, angular_accuracy=math.radians(1.6))
    assert degrees(SCHEDULE.following(fine, blurred).step) == 1.875


@pytest.mark.parametrize(
    ("accuracy", "resolution", "step"), [(2.0, 20.0, 7.5), (11.3, 20.0, 15.0), (2.0, 40.0, 15.0), (90.0, 60.0, 15.0)]
)
def test_the_first_step_is_wider_where_map_or_images_tell_nothing_finer(accuracy, resolution, step):
    schedule = replace(SCHEDULE, settings=RefinementSettings(starting_resolution=resolution))
    assert degrees(schedule.opened(schedule.first(), accuracy=math.radians(accuracy)).step) == step
    local = replace(SCHEDULE.first(), search="local")
    assert SCHEDULE.opened(local, accuracy=1.0) == local


def test_the_search_becomes_local_where_the_step_is_fine_and_reaches_three_steps():
    plan = replace(SCHEDULE.first(), step=math.radians(3.75))
    after = SCHEDULE.following(plan, replace(BEGINNING, shell=44, best_shell=20))
    assert after.search == "local"
    assert after.deviation == pytest.approx(3 * after.step)
    assert SCHEDULE.following(replace(plan, step=math.radians(7.5)), BEGINNING).search == "global"


@pytest.mark.parametrize(("change", "shell", "is_last"), [(0.1, 24, True), (2.0, 24, False), (0.1, 25, False)])
def test_it_is_over_when_nothing_gains_and_nothing_moves(change, shell, is_last):
    plan = replace(SCHEDULE.first(), search="local", step=math.radians(1.0))
    outlook = Outlook(
        shell=shell, best_shell=24, angular_accuracy=math.radians(1.2), shift_accuracy=1.0,
        angular_change=math.radians(change), shift_change=0.5,
    )  # fmt: skip
    after = SCHEDULE.following(plan, outlook)
    assert after.is_last == is_last
    assert after.radius == (47 if is_last else min(47, shell + 5))


def test_it_is_over_too_when_nothing_keeps_an_orientation():
    lost = Outlook(
        shell=6, best_shell=6, angular_accuracy=0.5, shift_accuracy=9.0, angular_change=2.1, shift_change=12.0, change_before=2.1
    )
    assert SCHEDULE.following(SCHEDULE.first(), lost).is_last
    assert not SCHEDULE.following(SCHEDULE.first(), replace(lost, change_before=math.inf)).is_last
    assert not SCHEDULE.following(SCHEDULE.first(), replace(lost, shell=7)).is_last


def test_places_are_looked_for_where_they_moved():
    plan = SCHEDULE.first()
    settled = SCHEDULE.following(plan, replace(BEGINNING, shift_change=0.5, shift_accuracy=0.4))
    assert settled.shift_step == pytest.approx(0.56)  # 1.4 accuracies
    assert settled.shift_range == pytest.approx(1.3)
    assert SCHEDULE.following(plan, replace(BEGINNING, shift_accuracy=0.01)).shift_step == pytest.approx(0.25)
    assert SCHEDULE.following(plan, replace(BEGINNING, shift_change=99.0)).shift_range == 12.5
