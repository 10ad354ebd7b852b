"""Streaming: bounded batches, resume to the same bytes, bad images named, and every refusal."""

import math
from dataclasses import replace
from typing import Any

import pytest
import torch

from cryowalk.core.errors import CryowalkWarning, InputError, ShapeError, StateConflict, Stopped, UsageError
from cryowalk.core.execution import SilentProgress
from cryowalk.data import ImageStack, Pose
from cryowalk.reconstruction import ReconstructionSettings, reconstruct, reconstruct_with_full_map
from cryowalk.reconstruction.streaming import batch_size

SMALL = ReconstructionSettings(memory_budget=8 * 20 * 24 * 24)  # eight images a batch


class Told(SilentProgress):
    """Keeps what is told."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, fact: str) -> None:
        self.notes.append(fact)


class MemoryCheckpoint:
    """Keeps copies, as a file would."""

    def __init__(self) -> None:
        self.state: dict[str, Any] | None = None
        self.saves = 0

    def load(self) -> dict[str, Any] | None:
        return copied(self.state)

    def save(self, state: Any) -> None:
        self.state = copied(dict(state))
        self.saves += 1


def copied(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return value.clone()
    if isinstance(value, dict):
        return {key: copied(item) for key, item in value.items()}
    return [copied(item) for item in value] if isinstance(value, list) else value


class StopsAfter(SilentProgress):
    """Stops the work after so many items, as a signal would."""

    def __init__(self, items: int) -> None:
        self.items = items
        self.done = 0
        self.notes: list[str] = []

    def advance(self, items: int = 1) -> None:
        self.done += items
        if self.done >= self.items:
            raise Stopped("stopped by the test")

    def note(self, fact: str) -> None:
        self.notes.append(fact)


def test_a_byte_budget_bounds_the_batch() -> None:
    assert batch_size(20 * 64 * 64 * 10, (64, 64)) == 10
    assert batch_size(1, (512, 512)) == 1
    assert batch_size(2**40, (8, 8)) == 4096


@pytest.mark.parametrize("stop", [8, 24, 32, 40])
def test_a_killed_reconstruction_resumes_to_the_same_bytes(stop: int, make_phantom, make_particles) -> None:
    particles = make_particles(make_phantom(24), 60, noise=0.4)
    settings = replace(SMALL, symmetry="C3")
    expected = reconstruct_with_full_map(particles, settings)
    checkpoint = MemoryCheckpoint()
    with pytest.raises(Stopped):
        reconstruct_with_full_map(particles, settings, progress=StopsAfter(stop), checkpoint=checkpoint)
    saves = checkpoint.saves
    again = reconstruct_with_full_map(particles, settings, checkpoint=checkpoint)
    assert 0 < saves < checkpoint.saves
    assert torch.equal(again.full.voxels, expected.full.voxels)
    assert torch.equal(again.halves.first.voxels, expected.halves.first.voxels)
    assert torch.equal(again.halves.second.voxels, expected.halves.second.voxels)
    assert again.used == expected.used


def test_a_checkpoint_of_other_work_is_refused(make_phantom, make_particles) -> None:
    particles = make_particles(make_phantom(24), 30)
    checkpoint = MemoryCheckpoint()
    reconstruct(particles, SMALL, checkpoint=checkpoint)
    with pytest.raises(StateConflict, match="another reconstruction"):
        reconstruct(particles, replace(SMALL, symmetry="C2"), checkpoint=checkpoint)
    moved = particles.with_pose(Pose(lab_from_particle=particles.pose.lab_from_particle, shift=particles.pose.shift + 1))
    with pytest.raises(StateConflict):
        reconstruct(moved, SMALL, checkpoint=checkpoint)


def test_batches_change_the_map_by_rounding_only(make_phantom, make_particles) -> None:
    particles = make_particles(make_phantom(24), 60, noise=0.4)
    small, large = reconstruct_with_full_map(particles, SMALL).full.voxels, reconstruct_with_full_map(particles).full.voxels
    assert (small - large).norm() / large.norm() < 1e-5
    assert torch.equal(reconstruct_with_full_map(particles, SMALL).full.voxels, small)


def test_a_nan_image_is_named(make_phantom, make_particles) -> None:
    particles = make_particles(make_phantom(24), 30)
    particles = particles.with_half(torch.arange(30) % 2 + 1)
    others = torch.arange(30) != 17
    without = reconstruct(particles[others], SMALL)
    for bad in (math.nan, math.inf):
        pixels = particles.images.pixels.clone()
        pixels[17, 3, 5] = bad
        with pytest.raises(InputError, match="000018@phantom"):
            reconstruct(
                particles.with_images(ImageStack(pixels=pixels, pixel_size=2.3), particles.image_names),
                replace(SMALL, on_nan="refuse"),
            )
        told = Told()
        broken = particles.with_images(ImageStack(pixels=pixels, pixel_size=2.3), particles.image_names)
        halves = reconstruct(broken, SMALL, progress=told)
        assert any("000018@phantom" in note and "(1)" in note for note in told.notes)
        for mine, theirs in ((halves.first, without.first), (halves.second, without.second)):
            # the weights that even out the shells are those of all particles
            assert (mine.voxels - theirs.voxels).norm() / theirs.voxels.norm() < 5e-3
    with pytest.raises(InputError, match="none of the 30 images"):
        reconstruct(particles.with_images(ImageStack(pixels=torch.full((30, 24, 24), math.nan), pixel_size=2.3)), SMALL)


def test_images_without_contrast_are_left_out_and_counted(make_phantom, make_particles) -> None:
    particles = make_particles(make_phantom(24), 40)
    pixels = particles.images.pixels.clone()
    pixels[[3, 8]] = 0.37
    progress = StopsAfter(10**9)
    blank = particles.with_images(ImageStack(pixels=pixels, pixel_size=2.3))
    found = reconstruct_with_full_map(blank, progress=progress)
    assert (found.used, found.left_out) == (38, 2)
    assert any("2 images without any contrast" in note for note in progress.notes)
    kept = torch.tensor([i for i in range(40) if i not in (3, 8)])
    half = (torch.arange(40) % 2 + 1)[kept]
    assert torch.allclose(reconstruct_with_full_map(particles[kept].with_half(half)).full.voxels, found.full.voxels, atol=2e-3)


def test_one_particle_makes_a_map_and_a_warning(make_phantom, make_particles) -> None:
    particles = make_particles(make_phantom(24), 1)
    with pytest.warns(CryowalkWarning, match="half is empty"):
        found = reconstruct_with_full_map(particles)
    assert found.full.voxels.isfinite().all()
    assert found.full.voxels.std() > 0
    assert found.halves.second.voxels.abs().max() == 0


def test_an_image_in_both_halves_is_noticed(make_phantom, make_particles) -> None:
    particles = make_particles(make_phantom(24), 20)
    copies = particles[torch.tensor([*range(20), 4, 6])].with_half(torch.tensor([i % 2 + 1 for i in range(20)] + [2, 1]))
    with pytest.warns(CryowalkWarning, match="1 images are in both halves"):
        reconstruct(copies)


def test_what_cannot_be_reconstructed_is_refused(make_phantom, make_particles) -> None:
    particles = make_particles(make_phantom(24), 6)
    with pytest.raises(InputError, match="no particles"):
        reconstruct(particles[torch.zeros(6, dtype=torch.bool)])
    with pytest.raises(InputError, match="no poses"):
        reconstruct(replace(particles, pose=None))
    with pytest.raises(InputError, match="no CTF"):
        reconstruct(replace(particles, defocus=None))
    with pytest.raises(InputError, match="no images"):
        reconstruct(replace(particles, images=None))
    with pytest.raises(ShapeError, match="square"):
        reconstruct(particles.with_images(ImageStack(pixels=torch.ones(6, 24, 26), pixel_size=2.3)))
    with pytest.raises(UsageError, match="symmetry"):
        reconstruct(particles, ReconstructionSettings(symmetry="Q7"))
    with pytest.raises(InputError, match="noise power"):
        reconstruct(particles, noise_power=torch.ones(12))
    with pytest.raises(InputError, match="noise power"):
        reconstruct(particles, noise_power=torch.zeros(13))
    shift = particles.pose.shift.clone()
    shift[4, 1] = math.nan
    with pytest.raises(InputError, match="pose of particle 5"):
        reconstruct(particles.with_pose(Pose(lab_from_particle=particles.pose.lab_from_particle, shift=shift)))
