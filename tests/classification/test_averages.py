"""Features that turning does not change, and averages of neighbours."""

import math

import pytest
import torch

from cryowalk.classification import neighbour_averages
from cryowalk.classification.averages import best_move, phase_flipped, turned_images
from cryowalk.classification.invariants import bispectra, relative_turns, steerable_components
from cryowalk.classification.start import clusters, leading_coordinates
from cryowalk.core.errors import InputError, UsageError


def blobs(count, generator, side=32):
    """Smooth images without symmetry, each of three Gaussian blobs."""
    axis = torch.arange(side, dtype=torch.float64) - side // 2
    images = torch.zeros(count, side, side, dtype=torch.float64)
    for _ in range(3):
        x, y = (torch.rand(2, count, 1, 1, generator=generator, dtype=torch.float64) - 0.5) * side / 2
        height = 0.5 + torch.rand(count, 1, 1, generator=generator, dtype=torch.float64)
        images += height * torch.exp(-((axis - x) ** 2 + (axis[:, None] - y) ** 2) / (2 * 2.5**2))
    return images


def test_bispectra_do_not_change_when_images_are_turned_and_mirrors_differ(generator):
    images = blobs(40, generator)
    angle = 2 * math.pi * torch.rand(40, generator=generator, dtype=torch.float64)
    turned = turned_images(images, angle)
    mirrored = images.flip(2).roll(1, dims=2)  # about the origin pixel
    found = steerable_components(torch.cat([images, turned, mirrored]), radius=12, noise_deviation=0.01, components=30)
    features = bispectra(found)
    same = (features[:40] * features[40:80]).sum(dim=1)
    other = (features[:40] * features[80:]).sum(dim=1)
    assert same.min() > 0.95
    assert other.median() < 0.8


def test_turns_are_found_from_the_components(generator):
    images = blobs(20, generator)
    angle = 2 * math.pi * torch.rand(20, generator=generator, dtype=torch.float64)
    found = steerable_components(torch.cat([images, turned_images(images, angle)]), radius=12, noise_deviation=0.01)
    turn = relative_turns(found.values[20:], found.values[:20], found)  # turns the first images onto the second
    error = torch.remainder(turn - angle + math.pi, 2 * math.pi) - math.pi
    assert error.abs().quantile(0.9) < math.radians(2.5)  # an image that is nearly symmetric may be half a turn off


def test_turning_an_image_multiplies_its_components_by_a_phase(generator):
    images = blobs(30, generator)
    turned = turned_images(images, torch.full((30,), 0.7, dtype=torch.float64))
    found = steerable_components(torch.cat([images, turned]), radius=12, noise_deviation=0.01, components=12)
    expected = found.values[:30] * torch.exp(-0.7j * found.order)
    assert (found.values[30:] - expected).abs().mean() < 0.03 * found.values.abs().mean()


def test_noise_alone_has_no_component_above_the_edge(generator):
    noise = torch.randn(400, 24, 24, generator=generator, dtype=torch.float64)
    found = steerable_components(noise, radius=10, noise_deviation=1.0)
    assert len(found.order) == 0 or found.snr.max() < 0.6


def test_the_radius_must_lie_within_the_images(generator):
    with pytest.raises(UsageError, match="radius"):
        steerable_components(torch.randn(4, 16, 16, generator=generator), radius=9, noise_deviation=1.0)


def test_clusters_part_points_that_lie_apart(generator):
    middles = torch.tensor([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0]])
    label = torch.arange(90) % 3
    points = middles[label] + 0.5 * torch.randn(90, 2, generator=generator)
    found, distance = clusters(points, 3, generator=generator)
    for number in range(3):
        assert len(set(found[label == number].tolist())) == 1
    assert len(set(found.tolist())) == 3
    assert distance.max() < 3


def test_leading_coordinates_are_those_of_a_singular_value_decomposition(generator):
    points = torch.randn(60, 50, generator=generator, dtype=torch.float64) * torch.linspace(5, 0.1, 50, dtype=torch.float64)
    found = leading_coordinates(points, 5, generator=generator)
    exact = torch.linalg.svdvals(points - points.mean(dim=0))[:5]
    assert torch.linalg.svdvals(found)[0] / exact[0] > 0.99


def test_best_move_is_the_move_that_was_made(generator):
    image = blobs(1, generator)[0]
    assert best_move(image.roll((3, -2), dims=(0, 1)), image, reach=4) == (3, -2)


def test_neighbours_show_the_same_view_and_their_average_is_quieter(few_views):
    found = neighbour_averages(few_views.particles, neighbours=12, diameter=170, resolution=25, count=20)
    same = few_views.label[found.neighbours] == few_views.label[found.of][:, None]
    assert same.double().mean() > 0.75  # by chance 0.25
    assert found.images.shape == (20, 48, 48)
    corner = found.images[:, :6, :6].std()
    single = phase_flipped(few_views.particles.images.pixels, few_views.particles)[:, :6, :6].std()
    assert corner < 0.45 * single
    assert not bool((found.neighbours == found.of[:, None]).any())


def test_more_neighbours_than_images_are_refused(few_views):
    with pytest.raises(InputError, match="neighbours"):
        neighbour_averages(few_views.particles[:5], neighbours=9)
