"""The covariance of images: the basis, the edge of the noise, what the filter gains over single images, and what it says of its bias."""

import math
from dataclasses import replace

import pytest
import torch
from tests.denoising.conftest import PIXEL_SIZE, Kept

from cryowalk import fourier
from cryowalk.core.errors import InputError, UsageError
from cryowalk.data import ImageStack
from cryowalk.denoising import DenoisingSettings, covariance_filter, wiener_filter
from cryowalk.denoising.basis import bessel_basis
from cryowalk.denoising.particles import wiener_particles
from cryowalk.denoising.spiked import noise_edge, signal_strength
from cryowalk.fourier.shells import shell_sum

SETTINGS = DenoisingSettings(diameter=125.0, finest_resolution=14.0)


def test_the_basis_gives_back_what_it_was_given_and_keeps_noise_white():
    basis = bessel_basis(48, cut=12.0, support=18.0, like=torch.zeros(1, dtype=torch.float64))
    generator = torch.Generator().manual_seed(1)
    blocks = [torch.randn(5, rows.shape[1], dtype=torch.complex128, generator=generator) for rows in basis.rows]
    blocks[0] = blocks[0].real.to(torch.complex128)
    for given, found in zip(blocks, basis.analyse(basis.synthesise(blocks)), strict=True):
        assert float((given - found).abs().max()) < 0.03
    noise = fourier.to_fourier(torch.randn(600, 48, 48, generator=generator, dtype=torch.float64))
    powers = [float(b.abs().square().mean()) for b in basis.analyse(basis.disk.gather(noise, count=basis.count))]
    assert all(abs(power - 1) < 0.2 for power in powers)


def test_a_quarter_turn_multiplies_each_block_by_a_phase():
    basis = bessel_basis(33, cut=9.0, support=12.0, like=torch.zeros(1, dtype=torch.float64))
    image = torch.randn(33, 33, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    # On an odd box a quarter turn about the middle is exact; x → −y, y → x is rot90 of [y, x] by −1.
    blocks, turned = (
        basis.analyse(basis.disk.gather(fourier.to_fourier(one), count=basis.count)[None])
        for one in (image, torch.rot90(image, -1, (0, 1)))
    )
    for k, (before, after) in enumerate(zip(blocks, turned, strict=True)):
        assert torch.allclose(after, before * complex(math.cos(k * math.pi / 2), -math.sin(k * math.pi / 2)), atol=1e-9)


def test_a_transfer_function_of_one_leaves_the_coefficients_alone():
    basis = bessel_basis(40, cut=10.0, support=15.0, like=torch.zeros(1, dtype=torch.float64))
    for block in basis.transfer_blocks(torch.ones(1, len(basis.radius), dtype=torch.float64)):
        assert torch.allclose(block[0], torch.eye(block.shape[-1], dtype=torch.float64), atol=1e-6)


def test_pure_noise_has_rank_zero(projections):
    _, particles, _, _ = projections
    for seed in range(3):
        noise = torch.randn(500, 45, 45, generator=torch.Generator().manual_seed(40 + seed))
        sink = Kept()
        found = covariance_filter(replace(particles, images=ImageStack(pixels=noise, pixel_size=PIXEL_SIZE)), SETTINGS, sink=sink)
        assert found.rank == 0
        # Nothing varies: all images are the mean, which is noise averaged over hundreds.
        assert float(sink.all().std()) < 0.1


def test_the_edge_is_that_of_marchenko_and_pastur():
    generator = torch.Generator().manual_seed(3)
    samples, dimension = 2000, 50
    data = torch.randn(samples, dimension, generator=generator, dtype=torch.float64)
    data[:, 0] *= math.sqrt(1 + 2.0)  # a component of variance 2
    values = torch.linalg.eigvalsh(data.T @ data / samples)
    limit = (1 + math.sqrt(dimension / samples)) ** 2
    assert limit < noise_edge(dimension, samples) < 1.15 * limit
    strength = signal_strength(values, dimension=dimension, samples=samples)
    assert int((strength > 0).sum()) == 1
    assert abs(float(strength.max()) - 2.0) < 0.25


def ring_correlation(first, second):
    one, other = fourier.to_fourier(first.double()), fourier.to_fourier(second.double())
    size = tuple(first.shape[-2:])

    def total(x):
        return shell_sum(x, size=size).sum(dim=0)

    return total((one * other.conj()).real) / torch.sqrt(total(one.abs().square()) * total(other.abs().square()))


def test_it_gains_over_single_images_and_over_the_best_low_pass(projections):
    clean, particles, transfer, deviation = projections
    sink, single = Kept(), Kept()
    found = covariance_filter(particles, SETTINGS, sink=sink)
    wiener_particles(particles, SETTINGS, sink=single)
    centred = clean - clean.mean(dim=(1, 2), keepdim=True)

    def error(images):
        images = images.double()
        return float((images - images.mean(dim=(1, 2), keepdim=True) - centred).square().mean())

    flipped = fourier.to_real(fourier.to_fourier(particles.images.pixels.double()) * transfer.sign(), width=45)
    best = math.inf
    for resolution in (9.0, 12.0, 16.0, 22.0, 30.0, 45.0, 60.0):
        coarse = fourier.low_pass(flipped, resolution=resolution, pixel_size=PIXEL_SIZE)
        coarse = coarse - coarse.mean(dim=(1, 2), keepdim=True)
        best = min(best, error(coarse * float((coarse * centred).sum() / coarse.square().sum())))
    spectrum = fourier.shell_average(fourier.to_fourier(clean).abs().square().mean(dim=0), size=(45, 45))
    white = torch.full_like(spectrum, deviation**2)
    oracle = wiener_filter(particles.images.pixels.double(), signal=spectrum, noise=white, transfer=transfer)
    assert error(oracle) < error(single.all()) < 1.1 * error(oracle)
    assert error(single.all()) < best
    assert error(sink.all()) < 0.5 * error(single.all())
    assert 5 < found.rank < 120
    before, after = ring_correlation(flipped, clean), ring_correlation(sink.all(), clean)
    reach = int(SETTINGS.finest_resolution and 45 * PIXEL_SIZE / SETTINGS.finest_resolution)
    assert bool((after > before)[1:reach].all())


def test_it_says_how_much_it_takes_away(projections):
    clean, particles, _, _ = projections
    sink = Kept()
    found = covariance_filter(particles, SETTINGS, sink=sink)
    one, other = fourier.to_fourier(sink.all().double()), fourier.to_fourier(clean)
    # About the mean, which no filter takes away: regress over images, ring by ring.
    one, other = one - one.mean(dim=0), other - other.mean(dim=0)
    kept = shell_sum((one * other.conj()).real, size=(45, 45)).sum(dim=0)
    kept = kept / shell_sum(other.abs().square(), size=(45, 45)).sum(dim=0)
    for shell in (2, 3, 4, 5, 6):
        told = float(found.amplitude[(found.basis.radius - shell).abs().argmin()])
        assert abs(float(kept[shell]) - told) < 0.15
    assert bool((found.amplitude < 1.0).all())


def test_equal_images_give_equal_bytes_and_batches_do_not_matter(projections, monkeypatch):
    _, particles, _, _ = projections
    first, second, third = Kept(), Kept(), Kept()
    covariance_filter(particles, SETTINGS, sink=first)
    covariance_filter(particles, SETTINGS, sink=second)
    assert torch.equal(first.all(), second.all())
    monkeypatch.setattr("cryowalk.denoising.passes._BATCH", 77)
    covariance_filter(particles, SETTINGS, sink=third)
    assert torch.allclose(first.all(), third.all(), atol=1e-3)


def test_bad_images_are_named(projections):
    _, particles, _, _ = projections
    pixels = particles.images.pixels.clone()
    pixels[3] = float("nan")
    broken = replace(particles, images=ImageStack(pixels=pixels, pixel_size=PIXEL_SIZE))
    with pytest.raises(InputError, match="image 4 is constant or holds"):
        covariance_filter(broken, SETTINGS, sink=Kept())
    with pytest.raises(InputError, match="needs more than 5 images"):
        covariance_filter(particles[:5], SETTINGS, sink=Kept())
    with pytest.raises(UsageError, match="larger than the box"):
        covariance_filter(particles, replace(SETTINGS, diameter=400.0), sink=Kept())
    with pytest.raises(UsageError, match="no independent detail"):
        covariance_filter(particles, replace(SETTINGS, diameter=12.0, finest_resolution=100.0), sink=Kept())
