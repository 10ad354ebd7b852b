"""Particles of two states, sorted."""

from dataclasses import replace

import pytest
import torch

from cryowalk.core.errors import InputError, StateConflict, UsageError
from cryowalk.core.execution import SilentProgress
from cryowalk.data import ImageStack, Pose, Volume
from cryowalk.fourier.shells import shell_correlation
from cryowalk.fourier.transform import to_fourier
from cryowalk.geometry.rotations import geodesic_distance, matrix_from_rotation_vector
from cryowalk.geometry.sampling import random_rotations
from cryowalk.geometry.symmetry import symmetry_operators
from cryowalk.inference.model_orientations import ModelOrientations
from cryowalk.inference.orientations import LocalOrientations
from cryowalk.refinement import heterogeneous
from cryowalk.refinement.class_planning import planned
from cryowalk.refinement.heterogeneous import classify_volumes, fudge_of, iterations, slice_power, temperature_of
from cryowalk.refinement.heterogeneous_settings import HeterogeneousSettings

from . import two_states as two_states_module
from .two_states import BOX, CORE, PIXEL, adjusted_rand_index, blobs, state, two_states

KEPT = HeterogeneousSettings(skip_align=True, iterations=8, starting_resolution=40.0, diameter=95.0)


class Notes(SilentProgress):
    def __init__(self):
        self.facts = []

    def note(self, fact):
        self.facts.append(fact)


class Memory:
    def __init__(self):
        self.saved = None

    def load(self):
        return self.saved

    def save(self, state):
        self.saved = state


def seeded(seed=2):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def mixed():
    return two_states(120, snr=0.5)


@pytest.fixture(scope="module")
def sorted_out(mixed):
    return classify_volumes(mixed[0], [blobs(CORE)], KEPT, generator=seeded())


def test_states_are_told_apart_from_one_map_without_the_arm(mixed, sorted_out):
    assert adjusted_rand_index(mixed[1], sorted_out.state.model) > 0.85
    assert set(sorted_out.particles.class_number.tolist()) == {1, 2}
    first = int(sorted_out.state.model[mixed[1] == 0].double().mean() > 0.5)
    for number in (0, 1):
        right, wrong = (
            shell_correlation(sorted_out.volumes[number ^ first].voxels, state(k).voxels)[2:6] for k in (number, 1 - number)
        )
        assert float(right.min()) > 0.8
        assert float((right - wrong).min()) > 0.2


def test_it_tells_how_sure_it_is(sorted_out):
    found = sorted_out.state
    assert torch.allclose(found.model_probability.sum(dim=1), torch.ones(120), atol=1e-4)
    assert torch.equal(found.model_probability.argmax(dim=1), found.model)
    assert torch.allclose(found.occupancy.double(), found.model_probability.double().mean(dim=0), atol=1e-5)
    evidence = [one.log_evidence for one in found.history]
    assert evidence[-1] > evidence[0]
    assert found.history[-1].moved < 0.05
    assert all(15 < one < 30 for one in found.history[-1].resolution)


def test_kept_poses_are_kept_to_a_fraction_of_a_pixel(mixed, sorted_out):
    assert torch.allclose(sorted_out.particles.pose.shift, mixed[0].pose.shift, atol=1e-5)
    assert torch.equal(sorted_out.particles.pose.lab_from_particle, mixed[0].pose.lab_from_particle)
    assert sorted_out.particles.images is not None
    assert torch.equal(sorted_out.particles.images.read([3]), mixed[0].images.read([3]))


def test_one_map_for_each_class_keeps_their_order(mixed):
    given = replace(KEPT, iterations=2)
    found = classify_volumes(mixed[0], [state(0), state(1)], given, generator=seeded())
    assert float((found.state.model == mixed[1]).double().mean()) > 0.95


def test_a_class_that_nobody_joins_keeps_its_map_and_does_no_harm(mixed):
    alone = mixed[0][mixed[1] == 0]
    nonsense = blobs([(x, -y, -z, -height) for x, y, z, height in CORE])
    notes = Notes()
    found = classify_volumes(alone, [state(0), nonsense], replace(KEPT, iterations=2), generator=seeded(), progress=notes)
    assert found.state.history[-1].particles[1] == 0
    assert bool(torch.isfinite(found.volumes[1].voxels).all())
    assert found.state.occupancy[1] > 0
    assert any("nobody" in fact for fact in notes.facts)


def test_noise_is_not_taken_for_detail(mixed):
    noise = torch.randn(120, BOX, BOX, generator=seeded(7))
    particles = mixed[0].with_images(ImageStack(pixels=noise, pixel_size=PIXEL))
    found = classify_volumes(particles, [blobs(CORE)], replace(KEPT, iterations=4), generator=seeded())
    assert min(found.state.history[-1].resolution) > 35
    assert torch.allclose(found.state.noise[:, 3:10], torch.full((1, 7), 0.5), rtol=0.15)


def test_the_power_of_slices_is_that_of_projections():
    volume = state(0)
    projection = to_fourier(volume.voxels.sum(dim=0) * PIXEL)
    cut = (projection[0, 1].abs().square() + projection[1, 0].abs().square()) / 2
    spectrum = to_fourier(volume.voxels, dimensions=3)
    ratio = float(cut / ((spectrum[0, 0, 1].abs().square() + spectrum[0, 1, 0].abs().square()) / 2))
    from cryowalk.fourier.shells import shell_average

    power = shell_average(spectrum.abs().square(), size=(BOX, BOX, BOX))
    assert torch.allclose(slice_power(volume), power * ratio / 2, rtol=1e-3)


@pytest.mark.parametrize("after", [1, 2])
def test_going_on_ends_with_the_same_bytes(mixed, after):
    settings = replace(KEPT, iterations=3)

    def work():
        return planned(mixed[0][:60], [blobs(CORE)], settings, generator=seeded(), progress=SilentProgress())

    whole = list(iterations(work()))
    memory = Memory()
    for found in iterations(work(), checkpoint=memory):
        if found.iteration == after:
            break
    again = list(iterations(work(), checkpoint=memory))
    assert [found.iteration for found in again] == list(range(after, 4))
    assert torch.equal(again[-1].maps[1].voxels, whole[-1].maps[1].voxels)
    assert torch.equal(again[-1].model_probability, whole[-1].model_probability)
    assert again[-1].history == whole[-1].history
    changed = planned(
        mixed[0][:60], [blobs(CORE)], replace(settings, tau_fudge=2.0), generator=seeded(), progress=SilentProgress()
    )
    with pytest.raises(StateConflict, match="another classification"):
        next(iterations(changed, checkpoint=memory))


@pytest.mark.slow
def test_poses_are_found_along_with_states(mixed):
    blind = mixed[0].with_pose(replace(mixed[0].pose, lab_from_particle=random_rotations(120, generator=seeded(9))))
    settings = replace(KEPT, skip_align=False, angular_step_degrees=15.0, shift_range=10.0, iterations=2)
    found = classify_volumes(blind, [state(0), state(1)], settings, generator=seeded())
    angle = geodesic_distance(found.particles.pose.lab_from_particle, mixed[0].pose.lab_from_particle)
    assert float(torch.rad2deg(angle).median()) < 15
    assert float((found.state.model == mixed[1]).double().mean()) > 0.8


@pytest.mark.slow
def test_local_search_stays_near_and_betters_poses(mixed):
    part = mixed[0][:30]
    off = matrix_from_rotation_vector(torch.randn(30, 3, generator=seeded(4), dtype=torch.float64) * 0.15)
    begun = part.with_pose(Pose(lab_from_particle=off @ part.pose.lab_from_particle, shift=part.pose.shift))
    settings = replace(
        KEPT,
        skip_align=False,
        search="local",
        starting_resolution=22.0,
        angle_deviation_degrees=9.0,
        shift_range=5.0,
        iterations=1,
    )
    found = classify_volumes(begun, [state(0), state(1)], settings, generator=seeded())
    before, after = (
        torch.rad2deg(geodesic_distance(one.pose.lab_from_particle, part.pose.lab_from_particle)).median()
        for one in (begun, found.particles)
    )
    assert float(after) < 0.6 * float(before)


def test_a_relaxed_symmetry_finds_which_copy_is_meant(mixed):
    operators = symmetry_operators("C2")
    alone = mixed[0][mixed[1] == 0]
    drawn = torch.randint(2, (len(alone),), generator=seeded(3))
    turned = alone.with_pose(replace(alone.pose, lab_from_particle=alone.pose.lab_from_particle @ operators[drawn]))
    settings = replace(KEPT, classes=1, relax_symmetry="C2", iterations=1)
    found = classify_volumes(turned, [state(0)], settings, generator=seeded())
    right = geodesic_distance(found.particles.pose.lab_from_particle, alone.pose.lab_from_particle) < 0.01
    assert float(right.double().mean()) > 0.9


def test_cells_of_several_models_and_copies():
    centres = random_rotations(4, generator=seeded())
    operators = symmetry_operators("C3")
    prior = torch.tensor([0.25, 0.75]).log()
    cells = ModelOrientations(centres=centres, models=2, sigma=0.1, operators=operators, log_prior=prior).cells(0.02)
    plain = LocalOrientations(centres=centres, model=torch.zeros(4, dtype=torch.long), sigma=0.1).cells(0.02)
    assert cells.steps == plain.steps
    keys, image = cells.first(), torch.tensor(2)
    size = len(plain.first())
    assert len(keys) == 6 * size
    for level in range(2):
        keys = cells.children(level, keys).flatten()
        size *= 8
    model, rotations = cells.place(2, keys, image.expand(len(keys)))
    assert torch.bincount(model).tolist() == [3 * size, 3 * size]
    same = plain.place(2, torch.arange(size), image.expand(size))[1]
    assert torch.allclose(rotations[4 * size : 5 * size], same @ operators[1].float(), atol=1e-6)
    weight = cells.log_prior(2, keys, image.expand(len(keys))).double().exp()
    alone = plain.log_prior(2, torch.arange(size), image.expand(size)).double().exp().sum()
    assert float(weight[model == 1].sum() / alone) == pytest.approx(0.75, rel=1e-4)


def test_choices_that_cannot_be_meant(mixed):
    particles, core = mixed[0], blobs(CORE)

    def attempt(chosen, references, **changes):
        return classify_volumes(chosen, references, replace(KEPT, **changes), generator=seeded())

    with pytest.raises(InputError, match="99 classes for 20 particles"):
        attempt(particles[:20], [core], classes=99)
    with pytest.raises(UsageError, match="2 references were given for 3 classes"):
        attempt(particles, [core, core], classes=3)
    with pytest.raises(InputError, match="no poses"):
        attempt(replace(particles, pose=None), [core])
    with pytest.raises(UsageError, match="relax-symmetry"):
        attempt(particles, [core], skip_align=False, relax_symmetry="C2")
    with pytest.raises(InputError, match="constant"):
        attempt(particles, [Volume(voxels=torch.ones(BOX, BOX, BOX), voxel_size=PIXEL)])
    with pytest.raises(InputError, match="zero everywhere"):
        classify_volumes(
            particles, [core], KEPT, mask=Volume(voxels=torch.zeros(BOX, BOX, BOX), voxel_size=PIXEL), generator=seeded()
        )
    with pytest.raises(InputError, match="different images"):
        attempt(particles[:1], [core], classes=1)


def test_damaged_images_are_left_out_and_halves_stay(mixed):
    particles = mixed[0][:40].with_half(torch.arange(40) % 3)
    pixels = particles.images.read(range(40)).clone()
    pixels[7] = torch.nan
    pixels[9] = 0.0
    particles = particles.with_images(ImageStack(pixels=pixels, pixel_size=PIXEL))
    notes = Notes()
    found = classify_volumes(particles, [state(0), state(1)], replace(KEPT, iterations=1), generator=seeded(), progress=notes)
    assert [row for row, _ in found.left_out] == [7, 9]
    assert len(found.particles) == 38
    assert found.particles.half.tolist() == [number % 3 for number in range(40) if number not in (7, 9)]
    assert sum("left out" in fact for fact in notes.facts) == 2


def test_a_map_of_another_grid_is_brought_to_the_images(mixed):
    notes = Notes()
    large = Volume(voxels=blobs(CORE, box=32).voxels, voxel_size=PIXEL)
    classify_volumes(mixed[0][:30], [large], replace(KEPT, iterations=1), generator=seeded(), progress=notes)
    assert any("brought to the images' grid" in fact for fact in notes.facts)


def test_random_beginnings_are_cooled_and_given_ones_are_not(mixed):
    settings = replace(KEPT, iterations=20, tau_fudge=4.0)
    alone, each = (
        planned(mixed[0][:10], maps, settings, generator=seeded(), progress=SilentProgress())
        for maps in ([state(0)], [state(0), state(1)])
    )
    heat = [temperature_of(alone, number) for number in range(1, 21)]
    assert heat == sorted(heat, reverse=True)
    assert heat[0] > 10
    assert heat[10:] == [1.0] * 10
    fudge = [fudge_of(alone, number) for number in range(1, 21)]
    assert fudge[0] == pytest.approx(1.0)
    assert fudge[10:] == pytest.approx([4.0] * 10)
    assert {temperature_of(each, number) for number in range(1, 21)} == {1.0}
    assert {fudge_of(each, number) for number in range(1, 21)} == {4.0}


def test_weak_states_do_not_stay_where_they_were_drawn(monkeypatch):
    weak = tuple((*arm[:3], 4.0) for arm in two_states_module.ARMS)
    monkeypatch.setattr(two_states_module, "ARMS", weak)
    particles, label = two_states(120, snr=0.15, seed=5)
    settings = replace(KEPT, iterations=12, starting_resolution=30.0)

    def index():
        found = classify_volumes(particles, [blobs(CORE)], settings, generator=seeded())
        return adjusted_rand_index(label, found.state.model)

    assert index() > 0.85
    monkeypatch.setattr(heterogeneous, "WARMTH", 1.0)
    monkeypatch.setattr(heterogeneous, "CAREFUL", 0.0)
    assert index() < 0.3  # without cooling they do
