"""Wiener filter and least squares: the normal operator is the brute-force one, conjugate gradients solve it, and priors lower the error."""

import math
from dataclasses import replace

import pytest
import torch

from cryowalk.core.errors import ShapeError, UsageError
from cryowalk.data import Volume
from cryowalk.fourier.accumulator import SliceAccumulator
from cryowalk.fourier.filters import weights_on_spectrum
from cryowalk.fourier.nufft import back_project_exactly, project_exactly
from cryowalk.fourier.padded import disk_points
from cryowalk.fourier.shells import shell_correlation
from cryowalk.fourier.transform import to_fourier, to_real
from cryowalk.geometry.sampling import preferred_orientations, random_rotations
from cryowalk.reconstruction import ReconstructionSettings, reconstruct, reconstruct_with_full_map
from cryowalk.reconstruction.normal_equations import filtered_in_box, normal_equations, solve, start, step
from cryowalk.reconstruction.prior import Prior, cone_axes, cone_correlation, directional_prior, mean_weights, shell_prior

PIXEL = 1.7


def summed(generator, box=17, count=40):
    """Random images with weights that differ by image and shell: an accumulator fine enough for least squares, and the same by brute force."""
    rotations = random_rotations(count, generator=generator)
    shells = torch.rand(count, box // 2 + 1, generator=generator, dtype=torch.float64)
    weights = weights_on_spectrum(shells, size=(box, box))
    images = torch.randn(count, box, box, generator=generator, dtype=torch.float64)
    accumulator = SliceAccumulator(box, PIXEL, padding=3, dtype=torch.float64)
    accumulator.add(to_fourier(images) * weights, weights, rotations)
    points = disk_points(box)
    ramp = torch.zeros(box * (box // 2 + 1)).index_copy_(0, points.place, points.ramp).reshape(box, -1)

    def back(spectra):
        return back_project_exactly(to_real(spectra * weights * ramp, width=box), rotations, voxel_size=PIXEL).voxels

    def brute(voxels):
        return back(to_fourier(project_exactly(Volume(voxels=voxels, voxel_size=PIXEL), rotations)))

    return accumulator, brute, back(to_fourier(images))


def test_two_transforms_are_the_normal_operator_of_all_images(generator) -> None:
    accumulator, brute, right = summed(generator)
    equations = normal_equations(accumulator)
    voxels = torch.randn(17, 17, 17, generator=generator, dtype=torch.float64)
    expected = brute(voxels)
    assert (equations.apply(voxels) - expected).norm() < 0.01 * expected.norm()
    assert (equations.right_side - right).norm() < 0.015 * right.norm()
    assert float((equations.apply(voxels) * expected).sum() / expected.square().sum()) == pytest.approx(1, abs=1e-3)


def test_conjugate_gradients_reach_the_dense_solution(generator) -> None:
    accumulator, _, _ = summed(generator, box=7, count=60)
    weight = mean_weights(accumulator, None)
    equations = normal_equations(
        accumulator, prior=Prior(inverse_power=0.1 * weight.mean() * torch.ones(1, 4, dtype=torch.float64))
    )
    unit = torch.eye(343, dtype=torch.float64).reshape(343, 7, 7, 7)
    matrix = filtered_in_box(unit, equations.spectrum).reshape(343, 343)
    torch.testing.assert_close(matrix, matrix.T, rtol=0, atol=1e-12 * float(matrix.abs().max()))
    dense = torch.linalg.solve(matrix, equations.right_side.reshape(-1)).reshape(7, 7, 7)
    found, at = solve(equations, steps=200, tolerance=1e-9)
    assert (found.voxels - dense).norm() < 1e-6 * dense.norm()
    assert at.steps < 100
    assert at.relative_residual(equations) <= 1e-9


def test_conjugate_gradients_go_on_where_they_stopped(generator) -> None:
    accumulator, _, _ = summed(generator, box=9)
    equations = normal_equations(accumulator)
    whole, _ = solve(equations, steps=7, tolerance=1e-12)
    _, at = solve(equations, steps=3, tolerance=1e-12)
    rest, end = solve(equations, steps=7, tolerance=1e-12, resume=at)
    assert torch.equal(rest.voxels, whole.voxels)
    assert end.steps == 7
    errors = [start(equations)]
    for _ in range(4):
        errors.append(step(equations, errors[-1], inverse=equations.approximate_inverse()))
    energy = [float((at.voxels * (equations.apply(at.voxels) / 2 - equations.right_side)).sum()) for at in errors]
    assert energy == sorted(energy, reverse=True)


def test_least_squares_beat_direct_inversion_of_few_images(make_phantom, make_particles) -> None:
    phantom = make_phantom(32)
    truth = phantom.volume().voxels
    particles = make_particles(phantom, 60, ctf=False)
    accumulator = SliceAccumulator(32, phantom.pixel_size, padding=3)
    pixels = to_fourier(particles.images.pixels)
    accumulator.add(
        pixels, torch.ones_like(pixels.real), particles.pose.lab_from_particle.float(), shift=-particles.pose.shift.float()
    )
    direct = accumulator.to_volume().voxels
    found, _ = solve(normal_equations(accumulator), steps=15, tolerance=1e-4)
    errors = [float((voxels - truth).norm() / truth.norm()) for voxels in (direct, found.voxels)]
    assert errors[1] < 0.6 * errors[0]


def test_a_grid_for_direct_inversion_is_refused() -> None:
    with pytest.raises(UsageError, match="3 times finer"):
        normal_equations(SliceAccumulator(16, 1.0))
    with pytest.raises(ShapeError, match="spectrum"):
        filtered_in_box(torch.zeros(6, 6, 6), torch.zeros(10, 10, 6))


@pytest.mark.parametrize("method", ["wiener", "least-squares"])
def test_a_prior_lowers_the_error_of_noisy_maps(method, make_phantom, make_particles) -> None:
    phantom = make_phantom(24)
    truth = phantom.volume().voxels
    particles = make_particles(phantom, 400, noise=5.0)
    direct = reconstruct_with_full_map(particles)
    found = reconstruct_with_full_map(particles, ReconstructionSettings(method=method))
    assert found.regularised is not None
    assert direct.regularised is None
    pairs = [
        (direct.full, found.full),
        (direct.halves.first, found.regularised.first),
        (direct.halves.second, found.regularised.second),
    ]
    for plain, filtered in pairs:
        assert (filtered.voxels - truth).norm() < 0.7 * (plain.voxels - truth).norm()
    # The halves that correlations are measured from have no prior, and the filter changes no shell's correlation much.
    if method == "wiener":
        torch.testing.assert_close(found.halves.first.voxels, direct.halves.first.voxels)  # the same sums
    assert shell_correlation(found.full.voxels, truth)[1:5].min() > 0.85
    again = reconstruct(particles, ReconstructionSettings(method=method))
    assert torch.equal(again.first.voxels, found.regularised.first.voxels)


def test_with_even_weights_the_wiener_filter_is_the_correlation(generator) -> None:
    """Closed form: W / (W + W (1 − FSC) / FSC) = FSC for a half map, 2 FSC / (1 + FSC) for the sum of two halves."""
    box = 24
    rotations = random_rotations(3000, generator=generator).float()
    images = torch.randn(3000, box, box, generator=generator)
    accumulator = SliceAccumulator(box, PIXEL)
    spectra = to_fourier(images)
    accumulator.add(spectra, torch.ones_like(spectra.real), rotations)
    correlation = torch.linspace(0.95, 0.2, box // 2 + 1)
    prior = shell_prior(accumulator, correlation)
    plain, filtered = (accumulator.to_volume(prior=p).voxels for p in (None, prior.on_grid(accumulator.grid.size, box=box)))
    gain = shell_ratio(filtered, plain)
    torch.testing.assert_close(gain[4:11], correlation[4:11], rtol=0.05, atol=0.02)
    accumulator.merge(accumulator)
    whole = accumulator.to_volume(prior=prior.on_grid(accumulator.grid.size, box=box)).voxels
    torch.testing.assert_close(shell_ratio(whole, plain)[4:11], (2 * correlation / (1 + correlation))[4:11], rtol=0.05, atol=0.02)


def shell_ratio(first, second):
    from cryowalk.fourier.shells import shell_average

    one, other = (to_fourier(v, dimensions=3) for v in (first, second))
    size = tuple(first.shape)
    return shell_average((one * other.conj()).real, size=size) / shell_average(other.abs() ** 2, size=size)


def test_cones_hold_all_directions_and_agree_with_shells(generator) -> None:
    first = torch.randn(20, 20, 20, generator=generator)
    second = first + torch.randn(20, 20, 20, generator=generator)
    axes = cone_axes()
    assert axes.shape == (96, 3)
    assert (axes @ axes.T - torch.eye(96)).abs().max() < 1  # no two alike, none opposite
    whole = cone_correlation(first, second, axes=axes, half_angle=math.pi / 2 + 1e-3)
    torch.testing.assert_close(whole, shell_correlation(first, second).expand(96, -1), rtol=1e-4, atol=1e-4)
    narrow = cone_correlation(first, second, axes=axes)
    assert narrow[:, 9].mean() == pytest.approx(float(whole[0, 9]), abs=0.05)
    assert narrow[:, 9].std() > 0.01


def test_a_directional_prior_with_one_value_is_that_of_shells() -> None:
    values = torch.tensor([3.0, 5.0, 7.0, 11.0])
    shells = Prior(inverse_power=values[None])
    cones = Prior(inverse_power=values.expand(96, -1), axes=cone_axes())
    for size in (6, 9, 12):
        torch.testing.assert_close(cones.on_grid(size, box=6), shells.on_grid(size, box=6))
    assert set(shells.on_grid(6, box=6).unique().tolist()) == set(values.tolist())


def test_a_directional_prior_is_better_for_preferred_orientations(make_phantom, make_particles, generator) -> None:
    phantom = make_phantom(32)
    truth = phantom.volume().voxels
    up = torch.tensor([[0.0, 0.0, 1.0], [0.0, 0.0, -1.0]], dtype=torch.float64)
    rotations = preferred_orientations(600, directions=up, concentration=20.0, uniform_fraction=0.05, generator=generator)
    particles = make_particles(phantom, 600, noise=3.0, rotations=rotations)
    settings = ReconstructionSettings(method="wiener")
    errors = [
        float((reconstruct_with_full_map(particles, chosen).full.voxels - truth).norm())
        for chosen in (ReconstructionSettings(), settings, replace(settings, directional=True))
    ]
    assert errors[1] < 0.9 * errors[0]
    assert errors[2] < 0.95 * errors[1]


def test_directional_weights_know_the_missing_cone(generator) -> None:
    views = preferred_orientations(
        400, directions=torch.tensor([[0.0, 0.0, 1.0]], dtype=torch.float64), concentration=50.0, generator=generator
    )
    accumulator = SliceAccumulator(24, PIXEL)
    ones = torch.ones(400, 24, 13)
    accumulator.add(ones.to(torch.complex64), ones, views.float())
    axes = torch.eye(3)
    x, y, z = mean_weights(accumulator, axes, half_angle=math.radians(20))[:, 8]
    assert float(x / y) == pytest.approx(1, abs=0.15)
    assert z < 0.05 * x
    prior = directional_prior(
        accumulator, torch.randn(24, 24, 24, generator=generator), torch.randn(24, 24, 24, generator=generator)
    )
    assert prior.inverse_power.shape == (96, 13)
    assert bool((prior.inverse_power > 0).all())


def test_an_empty_half_stays_empty(make_phantom, make_particles) -> None:
    particles = make_particles(make_phantom(16), 6).with_half(torch.ones(6, dtype=torch.long))
    for method in ("wiener", "least-squares"):
        with pytest.warns(UserWarning, match="empty"):
            found = reconstruct_with_full_map(particles, ReconstructionSettings(method=method))
        assert not found.regularised.second.voxels.any()
        assert torch.isfinite(found.full.voxels).all()


def test_a_directional_prior_needs_a_method_with_a_prior(make_phantom, make_particles) -> None:
    with pytest.raises(UsageError, match="no prior"):
        reconstruct(make_particles(make_phantom(16), 4), ReconstructionSettings(directional=True))
