"""2D classification: known views are found, the likelihood never falls, and a run that was stopped ends as one that was not."""

import itertools
from dataclasses import replace

import pytest
import torch

from cryowalk.classification import ClassificationSettings, classify, judge_particles, rank_classes
from cryowalk.classification.averages import best_move, turned_images
from cryowalk.classification.model import ClassModel, finest_shell
from cryowalk.classification.regularisation import expected_signal, next_radius, shell_power
from cryowalk.classification.start import random_classes
from cryowalk.classification.step import compare, maximise, scales_of_micrographs
from cryowalk.classification.upkeep import centred, middles, refilled
from cryowalk.core.errors import InputError, ShapeError
from cryowalk.core.execution import SilentProgress
from cryowalk.data import ImageStack, Optics, Pose
from cryowalk.fourier.filters import shift_images
from cryowalk.fourier.shells import shell_correlation
from cryowalk.inference.noise import initial_noise

from .conftest import PIXEL_SIZE, rand_index

QUICK = ClassificationSettings(
    classes=4, iterations=4, diameter=190, resolution_limit=20.0, angular_step_degrees=10, offset_step=5.0
)


class Notes(SilentProgress):
    """Keeps what it is told."""

    def __init__(self):
        self.facts = []

    def note(self, fact):
        self.facts.append(fact)


class Memory:
    """A checkpoint in memory that ends the run after so many saves."""

    def __init__(self, stop_after=None):
        self.state, self.saves, self.stop_after = None, 0, stop_after

    def load(self):
        return self.state

    def save(self, state):
        self.state = {key: value.clone() if isinstance(value, torch.Tensor) else value for key, value in state.items()}
        self.saves += 1
        if self.saves == self.stop_after:
            raise KeyboardInterrupt


def seeded(seed=1):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def found(few_views):
    return classify(few_views.particles, QUICK, generator=seeded())


def test_known_views_are_found(found, few_views):
    assert rand_index(few_views.label, found.particles.label) >= 0.8
    assert found.counts().sum() == 200
    assert found.iteration == 4


def test_classes_look_like_the_views(found, few_views):
    """Each class, turned as it lies best, correlates with the view that most of its images show."""
    angles = torch.arange(0, 360, 6) * (torch.pi / 180)
    for number in range(4):
        members = few_views.label[found.particles.label == number]
        if len(members) < 20:
            continue
        view = few_views.clean[members.bincount().argmax()]
        turned = turned_images(found.model.images[number].expand(len(angles), -1, -1), angles)
        moved = [image.roll(best_move(view, image, reach=8), dims=(0, 1)) for image in turned]
        assert max(float(shell_correlation(image, view)[2:8].mean()) for image in moved) > 0.8


def test_shifts_are_found(found, few_views):
    """The places of a class's images differ from the truth by the class's own middle, turned with each."""
    members = found.particles.label == int(found.counts().argmax())
    rotations = found.particles.pose.lab_from_particle[members][:, :2, :2]
    error = (found.particles.pose.shift - few_views.pose.shift)[members]
    in_class = (rotations.mT @ error[:, :, None])[:, :, 0]
    left = (in_class - in_class.median(dim=0).values).norm(dim=1)
    assert left.median() < 0.6 * PIXEL_SIZE
    assert few_views.pose.shift.norm(dim=1).median() > 0.8 * PIXEL_SIZE  # there was something to find


def test_the_likelihood_never_falls_without_a_prior_at_one_resolution(few_views):
    """EM's own property: fixed grids, no mask, no pruning, one optics group."""
    particles = few_views.particles[:80]
    settings = ClassificationSettings(
        classes=3, regularisation="none", diameter=48 * PIXEL_SIZE, angular_step_degrees=15, offset_step=5.0, offset_range=10.0,
        kept=1.0,
    )  # fmt: skip
    images = random_classes(particles, 3, resolution=50.0, generator=seeded())
    nothing = torch.zeros(3, 25)
    model = ClassModel(
        images=images, occupancy=torch.full((3,), 1 / 3), noise=initial_noise(particles), signal=nothing, ratio=nothing,
        pixel_size=PIXEL_SIZE, radius=8,
    )  # fmt: skip
    likelihood = []
    for _ in range(6):
        _, evidence = compare(particles, model, settings)
        likelihood.append(evidence.log_likelihood)
        model = replace(maximise(evidence, model, settings, limit=8), radius=8)
        assert float(model.occupancy.sum()) == pytest.approx(1, abs=1e-6)
    rises = [after - before for before, after in itertools.pairwise(likelihood)]
    assert rises[0] > 100
    # Classes are read and summed by an interpolation whose transpose is not its inverse: a part in a million of the likelihood.
    assert min(rises) > -1e-6 * abs(likelihood[-1])


@pytest.mark.parametrize("mini_batch", [None, 10])
def test_a_stopped_run_ends_with_the_same_numbers(few_views, mini_batch):
    settings = replace(QUICK, iterations=3, mini_batch=mini_batch, classes=3)
    particles = few_views.particles[:90]
    whole = classify(particles, settings, generator=seeded())
    memory = Memory(stop_after=3)
    with pytest.raises(KeyboardInterrupt):
        classify(particles, settings, generator=seeded(), checkpoint=memory)
    memory.stop_after = None
    resumed = classify(particles, settings, generator=seeded(99), checkpoint=memory)
    assert torch.equal(whole.model.images, resumed.model.images)
    assert torch.equal(whole.particles.pose.shift, resumed.particles.pose.shift)
    assert torch.equal(whole.halves, resumed.halves)
    assert whole.history == resumed.history


def test_mini_batches_grow_and_find_the_views(few_views):
    settings = replace(QUICK, mini_batch=10, iterations=6)
    result = classify(few_views.particles, settings, generator=seeded())
    sizes = [done.images for done in result.history]
    assert sizes[0] == 40
    assert sizes == sorted(sizes)
    assert sizes[-1] == 200
    assert rand_index(few_views.label, result.particles.label) >= 0.7
    assert not bool(result.particles.probability.isnan().any())


def test_random_starts_find_views_too(few_views):
    result = classify(few_views.particles, replace(QUICK, start="random", iterations=8), generator=seeded(3))
    assert rand_index(few_views.label, result.particles.label) >= 0.4


def test_empty_images_have_low_scores(views_with_empty_images):
    result = classify(views_with_empty_images.particles, replace(QUICK, iterations=4), generator=seeded())
    score = judge_particles(result).score
    good = views_with_empty_images.label >= 0
    better = (score[good][:, None] > score[~good][None]).double() + 0.5 * (score[good][:, None] == score[~good][None]).double()
    assert better.mean() >= 0.95


def test_ranking_puts_a_class_of_noise_last(found, few_views):
    ranking = rank_classes(found)
    assert bool((ranking.score > 0.5).all())
    assert bool((ranking.score <= 1).all())
    noise = torch.randn(found.model.images[0].shape, generator=seeded(4)) * found.model.images[0].std()
    spoiled = found.model.images.clone()
    spoiled[2] = noise
    halves = found.halves.clone()
    halves[:, 2] = torch.randn(halves[:, 2].shape, generator=seeded(5)) * halves.std()
    worse = rank_classes(replace(found, model=replace(found.model, images=spoiled), halves=halves))
    assert int(worse.order()[-1]) == 2
    assert worse.score[2] < 0.5 * ranking.score[2]
    assert 2 not in worse.chosen(least=0.5).tolist()


def test_halves_that_agree_on_nothing_are_no_resolution(found):
    """A class without evidence is the mean over all poses: two halves of it are alike, and it is worth nothing."""
    ratio = found.model.ratio.clone()
    ratio[1] = 0.5
    halves = found.halves.clone()
    halves[1, 1] = halves[0, 1]
    ranking = rank_classes(replace(found, model=replace(found.model, ratio=ratio), halves=halves))
    assert ranking.resolution[1] == pytest.approx(48 * PIXEL_SIZE)
    assert int(ranking.order()[-1]) == 1
    assert torch.allclose(ranking.score[[0, 2, 3]], rank_classes(found).score[[0, 2, 3]], atol=0.05)


def test_ranking_of_an_unfinished_classification_is_refused(found):
    with pytest.raises(InputError, match="halves"):
        rank_classes(replace(found, halves=None))


def test_the_middle_of_a_class_is_found():
    axis = (torch.arange(32) - 16) * 2.0
    blob = torch.exp(-((axis - 6) ** 2 + (axis[:, None] + 4) ** 2) / (2 * 6.0**2))[None]
    assert torch.allclose(middles(blob, diameter=56, pixel_size=2.0), torch.tensor([[6.0, -4.0]]), atol=0.3)


def test_centring_keeps_where_the_density_lies_in_an_image(few_views):
    """A class moved by −s and an image's shift moved by R s are the same model of the image."""
    particles = few_views.particles[:4]
    images = shift_images(few_views.clean[:1], torch.tensor([[8.0, -5.0]]), pixel_size=PIXEL_SIZE)
    model = ClassModel(
        images=images, occupancy=torch.ones(1), noise=initial_noise(particles), signal=torch.zeros(1, 25),
        ratio=torch.zeros(1, 25), pixel_size=PIXEL_SIZE, radius=8,
    )  # fmt: skip
    quarter = torch.tensor([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]], dtype=torch.float64)
    pose = Pose(lab_from_particle=quarter.expand(2, 3, 3).clone(), shift=torch.zeros(2, 2, dtype=torch.float64))
    moved, new, away = centred(model, pose, torch.tensor([0, -1]), diameter=200)
    assert torch.allclose(new.shift[0], quarter[:2, :2] @ away[0].double())
    assert torch.equal(new.shift[1], pose.shift[1])  # an image that belongs to no class yet stays
    back = shift_images(moved.images, away, pixel_size=PIXEL_SIZE)
    assert torch.allclose(back, images, atol=1e-3 * float(images.abs().max()))


def test_empty_classes_are_begun_again_from_the_fullest(found):
    model = replace(found.model, occupancy=torch.tensor([0.0, 0.7, 0.2, 0.1]))
    filled, count = refilled(model, images=200, generator=seeded())
    assert count == 1
    assert torch.allclose(filled.occupancy, torch.tensor([0.35, 0.35, 0.2, 0.1]))
    whole = (filled.images[0] + filled.images[1]) / 2
    assert torch.allclose(whole, model.images[1], atol=1e-4 * float(model.images[1].abs().max()))
    assert not torch.equal(filled.images[0], filled.images[1])


def test_the_prior_is_the_power_beyond_the_noise():
    weight = torch.full((1, 12), 4.0)
    power = torch.full((1, 12), 10.0)
    assert torch.allclose(expected_signal(power, weight, fudge=2.0), torch.full((1, 12), 2 * (10 - 0.25)))
    noise_only = expected_signal(torch.full((1, 12), 0.25), weight, fudge=2.0)
    assert torch.allclose(noise_only, torch.full((1, 12), 0.25e-3))


def test_white_noise_has_its_variance_in_every_shell(generator):
    images = 3 * torch.randn(40, 32, 32, generator=generator)
    power = shell_power(images).mean(dim=0)[1:]
    assert torch.allclose(power, torch.full_like(power, 4.5), rtol=0.15)


def test_the_finest_shell_is_the_end_of_the_strong_run():
    ratio = torch.tensor([[0.0, 0.5, 9.0, 5.0, 2.0, 0.5, 3.0], [0.0, 0.1, 0.2, 0.1, 0.2, 0.1, 0.3]])
    assert finest_shell(ratio).tolist() == [4, 0]
    assert next_radius(4, limit=40) == 12
    assert next_radius(39, limit=40) == 40


def test_the_scale_of_a_micrograph_is_the_ratio_of_its_sums():
    sums = torch.tensor([[4.0, 2.0], [4.0, 2.0], [1.0, 1.0], [3.0, 3.0]])
    scale = scales_of_micrographs(sums, torch.tensor([0, 0, 1, 1]))
    assert torch.allclose(scale, torch.tensor([2.0, 1.0]) / 1.5)


def test_damaged_and_flat_images_are_named_and_left_out(few_views):
    pixels = few_views.particles.images.pixels[:60].clone()
    pixels[7, 3, 3] = torch.nan
    pixels[20] = 1.5
    names = tuple(f"{number:06d}@stack.mrcs" for number in range(1, 61))
    particles = few_views.particles[:60].with_images(ImageStack(pixels=pixels, pixel_size=PIXEL_SIZE), names)
    notes = Notes()
    result = classify(particles, replace(QUICK, classes=2, iterations=1), generator=seeded(), progress=notes)
    assert result.damaged.tolist() == [7]
    assert result.flat.tolist() == [20]
    assert len(result.rows) == 58
    told = " ".join(notes.facts)
    assert "000008@stack.mrcs" in told
    assert "000021@stack.mrcs" in told


def wrong(particles, **changes):
    return replace(particles, **changes)


@pytest.mark.parametrize(
    ("spoil", "settings", "words"),
    [
        (lambda p: p[:1], QUICK, "cannot be classified"),
        (lambda p: p[:3], QUICK, "more than there are particles"),
        (lambda p: wrong(p, defocus=None), QUICK, "no CTF"),
        (lambda p: wrong(p, images=None), QUICK, "no images"),
        (lambda p: p.with_images(ImageStack(pixels=torch.zeros(200, 48, 48), pixel_size=5.0)), QUICK, "constant"),
        (lambda p: p.with_images(ImageStack(pixels=torch.full((200, 48, 48), torch.nan), pixel_size=5.0)), QUICK, "NaN"),
        (
            lambda p: wrong(p, optics=(*p.optics, Optics(pixel_size=4.0)), optics_index=torch.arange(200) % 2),
            QUICK,
            "different pixel sizes",
        ),
    ],
)
def test_bad_input_is_told(few_views, spoil, settings, words):
    with pytest.raises(InputError, match=words):
        classify(spoil(few_views.particles), settings, generator=seeded())


def test_images_that_are_not_square_are_refused(few_views):
    images = ImageStack(pixels=few_views.particles.images.pixels[:, :40], pixel_size=PIXEL_SIZE)
    with pytest.raises(ShapeError):
        classify(few_views.particles.with_images(images), QUICK, generator=seeded())


def test_images_without_a_ctf_are_classified_as_they_are(few_views):
    particles = replace(few_views.particles[:60], defocus=None)
    result = classify(particles, replace(QUICK, ctf="none", classes=2, iterations=1), generator=seeded())
    assert len(result.rows) == 60
