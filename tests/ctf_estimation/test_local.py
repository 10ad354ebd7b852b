"""Tilt and local defocus: films whose defocus is a plane or a dome, and level ones, on which nothing may be found."""

import math

import pytest
import torch
from tests.ctf_estimation.conftest import defocus_of

from cryowalk import Optics
from cryowalk.ctf_estimation import estimate_ctf, estimate_local_defocus, estimate_tilt, power_spectrum
from cryowalk.ctf_estimation.tables import STEP, TileTables

OPTICS = Optics(pixel_size=1.6)


def angle_between(first, second):
    """The difference of two axes, rad."""
    return abs((first - second + math.pi / 2) % math.pi - math.pi / 2)


@pytest.mark.parametrize(("tilt", "axis"), [(12.0, 150.0), (35.0, 120.0), (50.0, 10.0)])
def test_the_tilt_of_a_film_is_found(curved_film, tilt, axis):
    slope = math.tan(math.radians(tilt))
    uphill = math.radians(axis) + math.pi / 2
    gradient = (slope * math.cos(uphill), slope * math.sin(uphill))
    image = curved_film(1280, OPTICS, lambda x, y: 18000.0 + gradient[0] * x + gradient[1] * y)
    found = estimate_ctf(power_spectrum(image, pixel_size=1.6), OPTICS)
    plane = estimate_tilt(image, OPTICS, found)
    assert plane.is_significant
    assert abs(math.degrees(plane.angle) - tilt) < 1.5
    assert angle_between(plane.axis, math.radians(axis)) < math.radians(3)
    assert math.hypot(plane.gradient[0] - gradient[0], plane.gradient[1] - gradient[1]) < 6 * plane.deviation + 0.005
    corner = plane.at(torch.tensor([[0.0, 0.0]]))
    middle = 1279 / 2 * 1.6
    expected = 18000.0 - middle * slope * (math.cos(uphill) + math.sin(uphill))
    assert abs(float(corner) - expected) < 0.04 * abs(expected - 18000.0) + 60


@pytest.mark.parametrize("noise", [1.0, 4.0])
def test_a_level_film_has_no_tilt(film, noise):
    squared = []
    for seed in range(5):
        image = film(1280, OPTICS, defocus_of(16000.0), noise=noise, seed=seed)
        plane = estimate_tilt(image, OPTICS, estimate_ctf(power_spectrum(image, pixel_size=1.6), OPTICS))
        assert plane.gradient == (0.0, 0.0)
        assert not plane.is_significant
        assert abs(plane.defocus - 16000.0) < 80
        squared.append(plane.significance**2)
    # Two gradients that are not there gain χ² with two degrees of freedom: a mean of 2.
    assert 0.3 < sum(squared) / len(squared) < 6


def test_a_single_tile_has_no_tilt(film):
    image = film(512, OPTICS, defocus_of(16000.0))
    plane = estimate_tilt(image, OPTICS, estimate_ctf(power_spectrum(image, pixel_size=1.6), OPTICS))
    assert plane.gradient == (0.0, 0.0)
    assert plane.deviation == math.inf


def test_the_defocus_of_a_bent_film_is_followed_where_particles_lie(curved_film):
    radius = 1279 / 2 * 1.6

    def dome(x, y):
        return 16000.0 + 250.0 * (x**2 + y**2) / radius**2 + 0.1 * x

    image = curved_film(1280, OPTICS, dome)
    found = estimate_ctf(power_spectrum(image, pixel_size=1.6), OPTICS)
    plane = estimate_tilt(image, OPTICS, found)
    line = torch.linspace(0.15, 0.85, 6, dtype=torch.float64) * 2 * radius
    positions = torch.cartesian_prod(line, line)
    local = estimate_local_defocus(image, OPTICS, found, positions=positions, tilt=plane)
    x, y = (positions - radius).unbind(1)
    by_place, by_plane, by_mean = (
        float((value - dome(x, y)).square().mean().sqrt()) for value in (local, plane.at(positions), found.mean_defocus)
    )
    assert by_place < 40
    assert by_place < 0.6 * by_plane
    assert by_plane < by_mean


def test_no_places_have_no_defocus(film):
    image = film(640, OPTICS, defocus_of(16000.0))
    found = estimate_ctf(power_spectrum(image, pixel_size=1.6), OPTICS)
    plane = estimate_tilt(image, OPTICS, found)
    assert estimate_local_defocus(image, OPTICS, found, positions=torch.zeros(0, 2), tilt=plane).shape == (0,)


def test_tables_are_read_between_their_entries():
    defocus = torch.arange(10000.0, 12000.0, STEP, dtype=torch.float64)
    tables = TileTables(torch.zeros(2, 2), defocus, torch.stack([torch.cos(defocus / 90), torch.sin(defocus / 70)]))
    between = torch.tensor([10811.0, 11437.5], dtype=torch.float64)
    assert tables.at(between).tolist() == pytest.approx([math.cos(10811 / 90), math.sin(11437.5 / 70)], abs=4e-3)
    on = defocus[[7, 30]]
    assert tables.at(on).tolist() == pytest.approx([math.cos(float(on[0]) / 90), math.sin(float(on[1]) / 70)])
