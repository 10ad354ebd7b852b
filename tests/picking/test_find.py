import math

import pytest
import torch
from tests.picking.conftest import DIAMETER, PIXEL_SIZE, molecule

from cryowalk.core.errors import InputError, ShapeError, UsageError
from cryowalk.data import ImageStack, Micrograph, Volume
from cryowalk.data.coordinates import Coordinates
from cryowalk.picking import PickingSettings, consensus, find_particles, score_picks
from cryowalk.picking.peaks import apart, peaks
from cryowalk.picking.score import is_matched
from cryowalk.picking.search import disk, searched
from cryowalk.picking.templates import rotated, round_average
from cryowalk.picking.threshold import automatic_threshold
from cryowalk.picking.views import views_of

RADIUS = DIAMETER / 2 / PIXEL_SIZE
TEMPLATES = ImageStack(pixels=molecule()[None, :-1, :-1].float(), pixel_size=PIXEL_SIZE)


def scores(found, truth):
    return score_picks(found.positions, truth, tolerance=RADIUS)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("method", ["log", "template"])
def test_particles_are_found(scene, method, seed):
    micrograph, truth = scene(seed=seed)
    found = find_particles(micrograph, PickingSettings(diameter=DIAMETER, method=method))
    assert scores(found, truth).f1 > 0.9
    assert (found.merit.diff() <= 0).all()


@pytest.mark.parametrize("seed", range(3))
def test_given_templates_find_weaker_particles(scene, seed):
    micrograph, truth = scene(seed=seed, strength=0.6)
    found = find_particles(micrograph, PickingSettings(diameter=DIAMETER, method="template"), templates=TEMPLATES)
    assert scores(found, truth).f1 > 0.9


def test_places_are_exact_to_a_part_of_the_particle(scene):
    micrograph, truth = scene(noise=0.3)
    found = find_particles(micrograph, PickingSettings(diameter=DIAMETER, method="template"), templates=TEMPLATES)
    result = scores(found, truth)
    assert result.recall == 1
    assert result.offset < 0.03 * DIAMETER / PIXEL_SIZE
    nearest = torch.cdist(truth, found.positions).argmin(dim=1)
    shift = (found.positions[nearest] - truth).mean(dim=0)
    assert shift.abs().max() < 0.3  # pixels: no half pixel is lost between the grids


@pytest.mark.parametrize("size", [(640, 720), (641, 719)])
def test_a_single_particle_of_any_grid_is_where_it_is(size):
    pixels = torch.zeros(size)
    pixels[207 - 30 : 207 + 31, 411 - 30 : 411 + 31] -= round_average(molecule()).float()
    pixels += 0.1 * torch.randn(size, generator=torch.Generator().manual_seed(2))
    found = find_particles(Micrograph(pixels=pixels, pixel_size=PIXEL_SIZE), PickingSettings(diameter=DIAMETER))
    best = found.positions[0]
    assert (best - torch.tensor([411.0, 207.0], dtype=torch.float64)).abs().max() < 1.0


def test_pure_noise_gives_next_to_nothing():
    for seed in range(4):
        pixels = torch.randn(900, 900, generator=torch.Generator().manual_seed(seed))
        for method in ("log", "template"):
            found = find_particles(Micrograph(pixels=pixels, pixel_size=3.0), PickingSettings(diameter=150.0, method=method))
            assert len(found) <= 1


def test_carbon_and_dirt_are_left_out(scene):
    micrograph, truth = scene(carbon=True, count=60, dirt=3, seed=4)
    kept = find_particles(micrograph, PickingSettings(diameter=DIAMETER))
    every = find_particles(micrograph, PickingSettings(diameter=DIAMETER, exclude="nothing"))
    edge = 0.3 * micrograph.pixels.shape[1]
    assert int((kept.positions[:, 0] < edge - 20).sum()) < 0.1 * len(kept)
    assert scores(kept, truth).precision > scores(every, truth).precision
    assert scores(kept, truth).recall > 0.85


def test_strength_offset_and_scale_of_the_greys_change_nothing(scene):
    micrograph, _ = scene()
    first = find_particles(micrograph, PickingSettings(diameter=DIAMETER))
    other = find_particles(
        Micrograph(pixels=37 + 4 * micrograph.pixels, pixel_size=PIXEL_SIZE), PickingSettings(diameter=DIAMETER)
    )
    assert torch.allclose(first.positions, other.positions, atol=0.02)


def test_a_threshold_that_is_given_is_kept(scene):
    micrograph, _ = scene()
    found = find_particles(micrograph, PickingSettings(diameter=DIAMETER, threshold=2.0))
    assert found.merit.min() >= 2
    more = find_particles(micrograph, PickingSettings(diameter=DIAMETER, threshold=0.5))
    assert len(more) > len(found)


def test_picks_keep_their_distance_and_their_margin(scene):
    micrograph, _ = scene()
    found = find_particles(micrograph, PickingSettings(diameter=DIAMETER, threshold=0.0, separation=1.5, margin=1.0))
    distance = torch.cdist(found.positions, found.positions) + 1e9 * torch.eye(len(found))
    assert distance.min() > 1.45 * DIAMETER / PIXEL_SIZE
    height, width = micrograph.pixels.shape
    border = torch.cat([found.positions, torch.tensor([width, height]) - 1 - found.positions])
    assert border.min() > 0.9 * DIAMETER / PIXEL_SIZE


@pytest.mark.parametrize(
    ("pixels", "error"),
    [
        (torch.zeros(300, 300), InputError),
        (torch.full((300, 300), math.nan), InputError),
        (torch.randn(40, 40, generator=torch.Generator().manual_seed(1)), ShapeError),
        (torch.randn(1, 4000, generator=torch.Generator().manual_seed(1)), ShapeError),
    ],
)
def test_unusable_micrographs_are_refused(pixels, error):
    with pytest.raises(error):
        find_particles(Micrograph(pixels=pixels, pixel_size=3.0), PickingSettings(diameter=150.0))


def test_unusable_templates_are_refused(scene):
    micrograph, _ = scene(count=3)
    settings = PickingSettings(diameter=DIAMETER, method="template")
    for stack, error in (
        (ImageStack(pixels=torch.zeros(1, 64, 64), pixel_size=3.0), InputError),
        (ImageStack(pixels=torch.full((1, 64, 64), math.nan), pixel_size=3.0), InputError),
        (ImageStack(pixels=TEMPLATES.pixels[:, 20:40, 20:40], pixel_size=3.0), ShapeError),
    ):
        with pytest.raises(error):
            find_particles(micrograph, settings, templates=stack)


def test_templates_of_another_pixel_size_find_the_same(scene):
    from cryowalk.fourier import resample

    micrograph, truth = scene(seed=5)
    settings = PickingSettings(diameter=DIAMETER, method="template")
    finer = ImageStack(pixels=resample(TEMPLATES.pixels, (90, 90)), pixel_size=2.0)
    first, other = (find_particles(micrograph, settings, templates=stack) for stack in (TEMPLATES, finer))
    assert scores(other, truth).f1 > 0.9
    assert scores(other, first.positions).f1 > 0.95


def test_correlation_is_the_sum_it_says():
    source = torch.Generator().manual_seed(3)
    image, kernel = torch.randn(20, 27, generator=source), torch.randn(5, 5, generator=source)
    found = searched(image, 4).correlated(kernel)
    wide = torch.nn.functional.pad(image[None, None], (2, 2, 2, 2), mode="reflect")
    expected = torch.nn.functional.conv2d(wide, kernel[None, None])[0, 0]
    assert torch.allclose(found, expected, atol=1e-4)


def test_normalised_correlation_of_the_template_with_itself_is_one():
    from cryowalk.picking.blobs import local_deviation, normalised

    image = torch.zeros(120, 130)
    view = molecule().float()
    image[30:91, 40:101] = 3 * view + 5
    ready, mask = searched(image, 30), disk(25.0, side=61)
    found = normalised(ready, view, mask=mask, deviation=local_deviation(ready, mask))
    assert float(found[60, 70]) == pytest.approx(1, abs=1e-3)
    assert float(found.max()) <= 1 + 1e-3


def test_rotation_goes_from_x_to_y():
    image = torch.zeros(41, 41)
    image[20, 30] = 1
    turned = rotated(image, math.pi / 2)
    assert divmod(int(turned.argmax()), 41) == (30, 20)


def test_a_round_average_is_round_and_keeps_the_mean():
    image = molecule()
    mean = round_average(image)
    assert torch.allclose(mean, mean.T)
    assert torch.allclose(rotated(mean, 0.7)[15:46, 15:46], mean[15:46, 15:46], atol=0.02)
    assert float(mean.sum()) == pytest.approx(float(image.sum()), rel=1e-3)


def test_peaks_are_interpolated_and_apart():
    y, x = torch.meshgrid(torch.arange(60.0), torch.arange(70.0), indexing="ij")
    score = sum(
        h * torch.exp(-((x - a) ** 2 + (y - b) ** 2) / 18) for a, b, h in ((20.3, 30.2, 2.0), (50.0, 10.4, 1.0), (26, 30, 1.4))
    )
    rows, columns, heights = peaks(score, separation=10, margin=3, least=0.5)
    assert len(rows) == 2
    assert float(columns[1]) == pytest.approx(50, abs=0.1)
    assert float(rows[1]) == pytest.approx(10.4, abs=0.1)
    assert heights[0] > heights[1]


def test_apart_keeps_the_first_of_each_crowd():
    positions = torch.tensor([[0.0, 0], [3, 0], [6, 0], [20, 0]])
    assert apart(positions, 4).tolist() == [0, 2, 3]
    assert apart(positions[:0], 4).tolist() == []


def test_a_threshold_parts_two_groups_and_leaves_one_alone():
    source = torch.Generator().manual_seed(4)
    two = torch.cat([torch.randn(300, generator=source), 10 + torch.randn(100, generator=source)])
    assert 3 < automatic_threshold(two) < 8
    assert automatic_threshold(torch.randn(4000, generator=source)) == 0
    assert automatic_threshold(torch.ones(5)) == 0
    assert automatic_threshold(torch.ones(0)) == 0


def test_scores_count_each_particle_once():
    truth = torch.tensor([[10.0, 10], [50, 50], [90, 10]])
    picks = torch.tensor([[11.0, 10], [9, 10], [52, 50], [70, 70]])
    result = score_picks(picks, truth, tolerance=5)
    assert (result.picks, result.particles, result.matches) == (4, 3, 2)
    assert result.precision == 0.5
    assert result.recall == pytest.approx(2 / 3)
    assert result.f1 == pytest.approx(4 / 7)
    assert result.offset == pytest.approx(math.sqrt((1 + 4) / 2))
    assert is_matched(picks, truth, tolerance=5).sum() == 2
    # a chain: greedy pairing of the nearest would lose one
    chain = score_picks(torch.tensor([[0.0, 0], [4, 0]]), torch.tensor([[3.0, 0], [8.0, 0]]), tolerance=4.5)
    assert chain.matches == 2
    assert score_picks(picks[:0], truth, tolerance=5).matches == 0
    assert math.isnan(score_picks(picks[:0], truth, tolerance=5).precision)
    with pytest.raises(UsageError):
        score_picks(picks, truth, tolerance=0)


def test_consensus_keeps_what_several_agree_on():
    def picks(*places):
        return Coordinates(positions=torch.tensor(places, dtype=torch.float64).reshape(-1, 2))

    agreed = consensus([picks((10, 10), (50, 50)), picks((12, 10), (90, 90)), picks((11, 13), (50, 52))], distance=6)
    assert len(agreed) == 2
    assert torch.allclose(agreed.positions, torch.tensor([[11.0, 11], [50, 51]], dtype=torch.float64))
    assert agreed.merit[0] > agreed.merit[1]
    assert len(consensus([picks((10, 10)), picks()], distance=6)) == 0
    assert len(consensus([picks((10, 10)), picks()], distance=6, votes=1)) == 1
    with pytest.raises(UsageError):
        consensus([picks((1, 1))], distance=3)


def test_a_map_is_projected_all_round():
    line = torch.arange(32.0) - 16
    voxels = torch.exp(-((line - 4) ** 2 + (line[:, None] - 2) ** 2 + line[:, None, None] ** 2) / 18)
    views = views_of(Volume(voxels=voxels, voxel_size=4.0))
    assert views.pixels.shape == (12, 32, 32)
    assert views.pixel_size == 4
    assert torch.allclose(views.pixels.sum(dim=(1, 2)), 4.0 * voxels.sum(), rtol=0.03)


def test_double_precision_finds_the_same(scene):
    micrograph, _ = scene()
    settings = PickingSettings(diameter=DIAMETER)
    first = find_particles(micrograph, settings)
    exact = find_particles(Micrograph(pixels=micrograph.pixels.double(), pixel_size=PIXEL_SIZE), settings)
    assert score_picks(exact.positions, first.positions, tolerance=1.0).f1 > 0.97


def test_shared_kernels_give_what_all_rotations_give():
    """The map of the best correlation is that of correlating with each rotation of each template, to a fiftieth of a kernel's norm."""
    from cryowalk.picking.templates import best_of_sums, normalised_kernels, rotations, shared_kernels

    views = torch.stack([molecule(), molecule().flip(0).roll(3, 1)]).float()[:, 16:45, 16:45]
    kernels = normalised_kernels(torch.cat([rotations(view, 24) for view in views]), mask=disk(12.0, soft=2.0, side=29))
    image = torch.randn(150, 131, generator=torch.Generator().manual_seed(2))
    exact = torch.stack([searched(image, 14).correlated(kernel) for kernel in kernels]).amax(dim=0)
    few, weights = shared_kernels(kernels)
    assert len(few) < 0.6 * len(kernels)
    assert (torch.einsum("mr,rij->mij", weights, few) - kernels).flatten(1).norm(dim=1).max() < 0.02
    found = best_of_sums(image, few, weights)
    error = found - exact  # white noise times what a kernel of norm 1 lacks
    assert float(error.std()) < 0.02
    assert float(error.abs().max()) < 5 * 0.02
    alone, same = shared_kernels(kernels[:1])
    assert torch.allclose(same[0, 0] * alone[0], kernels[0], atol=1e-6)


def test_bands_of_rows_change_nothing(monkeypatch):
    from cryowalk.picking import templates

    image = torch.randn(90, 70, generator=torch.Generator().manual_seed(2))
    kernels, weights = torch.randn(3, 9, 9, generator=torch.Generator().manual_seed(3)), torch.eye(3)
    whole = templates.best_of_sums(image, kernels, weights)
    monkeypatch.setattr(templates, "_MAP_BYTES", 3 * 70 * 4 * 17)
    assert torch.allclose(templates.best_of_sums(image, kernels, weights), whole, atol=1e-5)


@pytest.mark.parametrize("kind", ["copied", "grey"])
def test_a_rim_that_was_filled_in_is_left_out(scene, kind):
    """Rows copied outward, or one grey, as motion correction leaves them where frames did not reach; rims of real pixels are none."""
    from cryowalk.picking.junk import blank_rim

    micrograph, _ = scene(seed=1)
    pixels = micrograph.pixels.clone()
    assert blank_rim(pixels) == (0, 0, 0, 0)
    pixels[:30] = pixels[30] if kind == "copied" else pixels.mean()
    pixels[:, -50:] = pixels[:, -51:-50] if kind == "copied" else pixels.mean()
    top, bottom, left, right = blank_rim(pixels)
    assert (bottom, left) == (0, 0)
    assert abs(top - 30) <= 1
    assert abs(right - 50) <= 1
    for method in ("log", "template"):
        settings = PickingSettings(diameter=DIAMETER, method=method, threshold=0.5, margin=0.45)
        found = find_particles(Micrograph(pixels=pixels, pixel_size=PIXEL_SIZE), settings).positions
        assert float(found[:, 1].min()) > 30 + 0.4 * DIAMETER / PIXEL_SIZE
        assert float(found[:, 0].max()) < 719 - 50 - 0.4 * DIAMETER / PIXEL_SIZE


def test_the_odds_from_which_a_peak_is_a_particle():
    from cryowalk.picking.threshold import FAINTEST, odds_threshold

    source = torch.Generator().manual_seed(4)
    noise, particles = -3.6 + 0.1 * torch.randn(300, generator=source), 4 + torch.randn(100, generator=source)
    assert FAINTEST < odds_threshold(torch.cat([noise, particles])) < 2
    unsure = torch.cat([noise - 2, -1 + 0.3 * torch.randn(200, generator=source)])
    assert odds_threshold(unsure) < -1.5  # particles that the network is not sure of are one group above the floor
    assert odds_threshold(noise) == 0
    assert odds_threshold(noise[:0]) == 0
