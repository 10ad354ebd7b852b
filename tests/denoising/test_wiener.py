"""Wiener's filter against the least squares that it solves, against every low pass, and against the filter that knows the truth."""

import pytest
import torch
from tests.denoising.conftest import PIXEL_SIZE, lumps, noisy

from cryowalk import Defocus, Optics, fourier
from cryowalk.core.errors import ShapeError, UsageError
from cryowalk.denoising import DenoisingSettings, denoise_pairs, wiener_filter, wiener_sum
from cryowalk.denoising.wiener import tikhonov_filter
from cryowalk.fourier.filters import apply_shell_weights, low_pass
from cryowalk.microscope.lens import contrast_transfer


def lenses(size, defoci, *, azimuth=0.4):
    major = torch.tensor(defoci, dtype=torch.float64)
    zero = torch.zeros_like(major)
    return contrast_transfer(
        Optics(pixel_size=PIXEL_SIZE),
        Defocus(major=major, minor=major - 100, azimuth=zero + azimuth, phase_shift=zero),
        size=size,
    )


def matrix_of(operator, size):
    """The operator on images of this size as a dense matrix."""
    basis = torch.eye(size[0] * size[1], dtype=torch.float64).reshape(-1, *size)
    return operator(basis).reshape(len(basis), -1).T


@pytest.mark.parametrize(("size", "azimuth"), [((7, 9), 0.4), ((7, 8), 0.0)])  # at an even Nyquist a lens must be symmetric
def test_it_is_the_most_probable_image_by_dense_least_squares(size, azimuth):
    generator = torch.Generator().manual_seed(2)
    transfer = lenses(size, [12000.0], azimuth=azimuth)[0]
    signal = 0.5 + torch.rand(4, generator=generator, dtype=torch.float64)
    image = torch.randn(size, generator=generator, dtype=torch.float64)
    noise = 0.3

    def seen(x):
        return fourier.to_real(fourier.to_fourier(x) * transfer, width=size[1])

    lens = matrix_of(seen, size)
    precision = matrix_of(lambda x: apply_shell_weights(x, 1 / signal), size)  # the inverse of the prior's covariance
    expected = torch.linalg.solve(lens.T @ lens / noise + precision, lens.T @ image.reshape(-1) / noise).reshape(size)
    found = wiener_filter(image, signal=signal, noise=torch.full((4,), noise, dtype=torch.float64), transfer=transfer)
    assert torch.allclose(found, expected, rtol=0, atol=1e-10)


def test_the_sum_is_the_least_squares_of_all_images_together():
    size = (8, 7)
    generator = torch.Generator().manual_seed(3)
    transfer = lenses(size, [9000.0, 14000.0, 21000.0])
    images = torch.randn(3, *size, generator=generator, dtype=torch.float64)
    stacked = torch.cat(
        [matrix_of(lambda x, one=one: fourier.to_real(fourier.to_fourier(x) * one, width=size[1]), size) for one in transfer]
    )
    ridge = 0.2 * torch.eye(stacked.shape[1], dtype=torch.float64)
    expected = torch.linalg.solve(stacked.T @ stacked + ridge, stacked.T @ images.reshape(-1)).reshape(size)
    assert torch.allclose(wiener_sum(images, transfer, noise_to_signal=0.2), expected, rtol=0, atol=1e-10)
    one = wiener_sum(images[:1], transfer[:1], noise_to_signal=0.2)
    assert torch.allclose(one, tikhonov_filter(images[0], transfer[0], constant=0.2), atol=1e-12)


def test_zeros_of_one_defocus_are_filled_by_the_others():
    size, truth = (64, 64), lumps((64, 64))
    transfer = lenses(size, [8000.0, 11000.0, 14500.0, 18000.0, 22000.0])
    generator = torch.Generator().manual_seed(4)
    images = fourier.to_real(fourier.to_fourier(truth) * transfer, width=64)
    images = images + 0.2 * torch.randn(images.shape, generator=generator, dtype=torch.float64)
    together = fourier.shell_correlation(wiener_sum(images, transfer, noise_to_signal=0.1), truth)
    alone = torch.stack(
        [
            fourier.shell_correlation(tikhonov_filter(one, lens, constant=0.1), truth)
            for one, lens in zip(images, transfer, strict=True)
        ]
    )
    assert bool((together[2:20] > alone[:, 2:20].amax(dim=0) - 0.02).all())
    assert float((together - alone.mean(dim=0))[3:20].mean()) > 0.1


def test_it_beats_every_low_pass_and_comes_near_the_filter_that_knows_the_truth():
    truth = lumps((96, 95), count=60)
    halves = noisy(truth, deviation=0.7, seed=6)
    average = (halves[0] + halves[1]) / 2
    size = (96, 95)

    def power(x):
        return fourier.shell_average(fourier.to_fourier(x).abs().square(), size=size)

    found = next(iter(denoise_pairs([halves], DenoisingSettings(method="wiener"), generator=torch.Generator()))).array
    oracle = wiener_filter(average, signal=power(truth), noise=power(average - truth))

    def error(x):
        return float((x - truth).square().mean())

    passes = [low_pass(average, resolution=resolution, pixel_size=1.3) for resolution in torch.linspace(2.7, 80, 60).tolist()]
    assert error(found) < min(error(one) for one in passes)
    assert error(found) < 1.1 * error(oracle)


def test_no_radial_filter_changes_a_shells_correlation():
    truth = lumps((24, 24, 24))
    first, second = noisy(truth, deviation=0.3, seed=8)
    average = (first + second) / 2
    weights = torch.linspace(1.0, 0.01, 13, dtype=torch.float64)
    filtered = wiener_filter(average, signal=weights, noise=1 - weights + 0.1, dimensions=3)
    before, after = (fourier.shell_correlation(x, truth) for x in (average, filtered))
    assert torch.allclose(before, after, rtol=0, atol=1e-10)


def test_what_cannot_be_meant_is_refused():
    image = torch.zeros(8, 8)
    with pytest.raises(UsageError, match="negative"):
        wiener_filter(image, signal=torch.tensor([1.0, -1, 1, 1, 1]), noise=torch.ones(5))
    with pytest.raises(UsageError, match="both zero"):
        wiener_filter(image, signal=torch.zeros(5), noise=torch.zeros(5))
    with pytest.raises(ShapeError, match="as many transfer functions"):
        wiener_sum(torch.zeros(3, 8, 8), torch.ones(2, 8, 5), noise_to_signal=1.0)
    with pytest.raises(UsageError, match="above zero"):
        tikhonov_filter(image, torch.ones(8, 5), constant=0.0)
