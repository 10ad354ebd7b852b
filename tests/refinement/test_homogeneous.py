"""Whole refinements of small sets: poses against the truth, independence of the halves, noise, and going on after being killed."""

import math
from dataclasses import replace

import pytest
import torch

from cryowalk.core.errors import StateConflict, Stopped, UsageError
from cryowalk.core.execution import SilentProgress
from cryowalk.refinement import RefinementSettings, pose_bound, refine
from cryowalk.refinement.homogeneous import iterations
from cryowalk.refinement.planning import planned
from cryowalk.validation.pose_errors import align_poses, angle_errors, in_frame_of_truth

QUICK = RefinementSettings(starting_resolution=25.0, joined_resolution=30.0, diameter=110.0, shift_range=10.0, iterations=4)


class Kept:
    """A checkpoint in memory that copies what it is given."""

    def __init__(self):
        self.saved = []

    def load(self):
        return self.saved[-1] if self.saved else None

    def save(self, state):
        import copy

        self.saved.append(copy.deepcopy(state))


class StopAfter(SilentProgress):
    """Asks to stop after so many batches."""

    def __init__(self, batches):
        self.left = batches

    def advance(self, items=1):
        self.left -= 1
        if self.left == 0:
            raise Stopped("stopped")


def poses_off(particles, truth, symmetry="C1"):
    """Angles (degrees) and distances (Å) to the truth after the one motion between the frames."""
    pose = in_frame_of_truth(particles.pose, align_poses(particles.pose, truth, symmetry=symmetry))
    angle, _ = angle_errors(pose.lab_from_particle.double(), truth.lab_from_particle.double(), symmetry=symmetry)
    return torch.rad2deg(angle), (pose.shift - truth.shift).norm(dim=-1)


@pytest.fixture(scope="module")
def easy(specimen):
    """Particles without poses whose images tell their poses well, their true poses, and the map."""
    particles = specimen(24, pixel_size=5.6).particles(64, snr=2.0)
    return replace(particles, pose=None), particles.pose, specimen(24, pixel_size=5.6).volume()


def generator():
    return torch.Generator().manual_seed(11)


@pytest.fixture(scope="module")
def found(easy):
    return refine(easy[0], easy[2], QUICK, generator=generator())


@pytest.mark.slow
def test_poses_and_map_are_found(easy, found):
    _, truth, volume = easy
    angle, distance = poses_off(found.particles, truth)
    assert float(angle.median()) < 5.0
    assert float(distance.median()) < 0.4 * 5.6
    assert found.has_signal
    assert found.correlation.resolution(at=0.143) < 16.0
    assert [record.iteration for record in found.history] == [1, 2, 3, 4]
    assert found.history[-1].is_last
    assert found.history[-1].radius == 11
    correlation = torch.corrcoef(torch.stack([found.full.voxels.flatten(), volume.voxels.flatten()]))[0, 1]
    assert float(correlation) > 0.75


@pytest.mark.slow
def test_steps_become_finer_and_facts_are_told(found):
    steps = [record.step for record in found.history]
    assert steps == sorted(steps, reverse=True)
    assert steps[-1] < steps[0]
    assert bool((found.facts.max_probability > 0).all())
    assert bool((found.facts.angular_width >= 0).all())
    assert float(found.facts.scale.mean()) == pytest.approx(1.0, abs=1e-5)


@pytest.mark.slow
def test_halves_never_see_each_other(easy):
    """Other images in half 2 change nothing of half 1, without the join of low resolution and with halves of the file."""
    apart = replace(QUICK, joined_resolution=0.0, iterations=2, scale_correction="none", shift_deviation=4.0)
    particles, _, volume = easy
    particles = particles.with_half(torch.arange(64) % 2 + 1)
    pixels = particles.images.pixels.clone()
    pixels[1::2] = pixels[1::2].flip(-1)
    other = particles.with_images(replace(particles.images, pixels=pixels))
    works = [planned(each, volume, apart, generator=generator()) for each in (particles, other)]
    # What the halves share by design: the plan and the strength of the starting map, here fixed by giving both the first one's.
    states = [next(iter(iterations(work))) for work in works]
    first, second = (state.unfiltered.first.voxels for state in states)
    assert torch.nn.functional.cosine_similarity(first.flatten(), second.flatten(), dim=0) > 0.999
    apart_now = [state.unfiltered.second.voxels for state in states]
    assert torch.nn.functional.cosine_similarity(apart_now[0].flatten(), apart_now[1].flatten(), dim=0) < 0.9


@pytest.mark.slow
@pytest.mark.parametrize("batches", [2, 3, 5])
def test_a_stopped_refinement_ends_with_the_same_bytes(easy, found, batches):
    particles, _, volume = easy
    kept = Kept()
    with pytest.raises(Stopped):
        refine(particles, volume, QUICK, generator=generator(), progress=StopAfter(batches + 1), checkpoint=kept)
    again = refine(particles, volume, QUICK, generator=generator(), checkpoint=kept)
    assert torch.equal(again.full.voxels, found.full.voxels)
    assert torch.equal(again.halves.first.voxels, found.halves.first.voxels)
    assert torch.equal(again.particles.pose.lab_from_particle, found.particles.pose.lab_from_particle)
    assert torch.equal(again.facts.angular_width, found.facts.angular_width)
    assert again.history == found.history


@pytest.mark.slow
def test_a_checkpoint_of_other_settings_is_refused(easy):
    particles, _, volume = easy
    kept = Kept()
    with pytest.raises(Stopped):
        refine(particles, volume, QUICK, generator=generator(), progress=StopAfter(3), checkpoint=kept)
    with pytest.raises(StateConflict, match="another refinement"):
        refine(particles, volume, replace(QUICK, diameter=100.0), generator=generator(), checkpoint=kept)


@pytest.mark.slow
def test_noise_has_no_signal_beyond_the_starting_map(easy, specimen):
    volume, particles = easy[2], replace(specimen(24, pixel_size=5.6).particles(200, snr=2.0), pose=None)
    pixels = torch.randn(particles.images.pixels.shape, generator=generator())
    noise = particles.with_images(replace(particles.images, pixels=pixels))
    settings = replace(QUICK, starting_resolution=40.0, joined_resolution=40.0)
    result = refine(noise, volume, settings, generator=generator())
    assert not result.has_signal


@pytest.mark.slow
def test_a_local_search_keeps_poses_that_are_right(easy):
    particles, truth, volume = easy
    settings = replace(QUICK, search="local", angle_deviation_degrees=5.0, angular_step_degrees=3.0, iterations=2)
    result = refine(particles.with_pose(truth), volume, settings, generator=generator())
    angle, _ = poses_off(result.particles, truth)
    assert float(angle.median()) < 3.0
    assert float(angle.max()) < 20.0
    assert result.history[0].search == "local"


@pytest.mark.slow
def test_errors_are_near_the_bound_and_widths_say_so(easy, found):
    _, truth, volume = easy
    angle, _ = poses_off(found.particles, truth)
    noise = found.noise.mean(dim=0)
    bound = pose_bound(found.particles.with_pose(truth), volume, noise)
    median, _ = bound.median_errors(generator())
    # 32 images a half make a map with errors of their own; with many images the factor is 1.1
    assert float(angle.median()) < 4 * math.degrees(median)


def test_a_starting_resolution_finer_than_the_images_is_refused(easy):
    particles, _, volume = easy
    with pytest.raises(UsageError, match="finer than the images hold"):
        refine(particles, volume, RefinementSettings(starting_resolution=1.0), generator=generator())
