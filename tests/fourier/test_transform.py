"""Transforms against the defining sum, round trips and the closed forms of a delta, a wave and a Gaussian."""

import math

import pytest
import torch

from cryowalk.core.errors import ShapeError
from cryowalk.fourier.grids import coordinates, frequency_grid, frequency_radius
from cryowalk.fourier.transform import (
    complex_transform,
    filtering_transform,
    lower_frequencies,
    resample,
    resize,
    to_fourier,
    to_real,
    transform_rows,
)

SIZES = [(8, 8), (9, 9), (8, 9), (9, 8), (1, 7)]
SIZES_3D = [(6, 6, 6), (5, 5, 5), (4, 5, 6), (7, 6, 5)]


def sum_of_waves(array):
    """The defining sum Σ f(x) e^(−2πi k·(x − x₀)) / √n, written out."""
    size = array.shape
    k = frequency_grid(size, pixel_size=1.0, dtype=torch.float64)
    x = coordinates(size, pixel_size=1.0, dtype=torch.float64)
    phase = sum(
        torch.outer(a.broadcast_to(half(size)).reshape(-1), b.broadcast_to(size).reshape(-1)) for a, b in zip(k, x, strict=True)
    )
    waves = torch.exp(-2j * math.pi * phase)
    return (waves @ array.reshape(-1).to(waves.dtype)).reshape(half(size)) / math.sqrt(math.prod(size))


def half(size):
    return (*size[:-1], size[-1] // 2 + 1)


@pytest.mark.parametrize("size", SIZES + SIZES_3D)
def test_equals_the_defining_sum(size, generator):
    array = torch.randn(size, generator=generator, dtype=torch.float64)
    torch.testing.assert_close(to_fourier(array, dimensions=len(size)), sum_of_waves(array), rtol=0, atol=1e-12)


@pytest.mark.parametrize("size", SIZES + SIZES_3D + [(7,), (6,)])
def test_there_and_back(size, generator):
    array = torch.randn((3, *size), generator=generator)
    spectrum = to_fourier(array, dimensions=len(size))
    kept = spectrum.clone()
    torch.testing.assert_close(to_real(spectrum, width=size[-1], dimensions=len(size)), array)
    assert torch.equal(spectrum, kept), "the argument was changed"


@pytest.mark.parametrize("size", SIZES)
def test_delta_at_the_origin_is_flat_and_real(size):
    image = torch.zeros(size)
    image[size[0] // 2, size[1] // 2] = 1
    expected = torch.full(half(size), 1 / math.sqrt(math.prod(size)))
    torch.testing.assert_close(to_fourier(image), expected.to(torch.complex64))


@pytest.mark.parametrize("box", [32, 33])
def test_gaussian_has_the_gaussian_spectrum(box):
    pixel_size, width, centre = 1.3, 3.1, (2.6, -3.9)  # Å
    x, y = coordinates((box, box), pixel_size=pixel_size, dtype=torch.float64)
    image = torch.exp(-((x - centre[0]) ** 2 + (y - centre[1]) ** 2) / (2 * width**2))
    kx, ky = frequency_grid((box, box), pixel_size=pixel_size, dtype=torch.float64)
    radius = frequency_radius((box, box), pixel_size=pixel_size, dtype=torch.float64)
    expected = (
        2
        * math.pi
        * width**2
        * torch.exp(-2 * math.pi**2 * width**2 * radius**2 - 2j * math.pi * (kx * centre[0] + ky * centre[1]))
    )
    torch.testing.assert_close(to_fourier(image) * box * pixel_size**2, expected, rtol=0, atol=2e-4)


def test_noise_keeps_its_variance(generator):
    noise = torch.randn(200, 16, 15, generator=generator)
    assert to_fourier(noise).abs().square().mean().item() == pytest.approx(1, abs=0.02)


def test_width_must_fit():
    with pytest.raises(ShapeError, match="9 columns"):
        to_real(torch.zeros(8, 8, dtype=torch.complex64), width=16)


@pytest.mark.parametrize("size", [(6, 5), (4, 5, 6)])
def test_complex_transform_continues_the_half_spectrum(size, generator):
    array = torch.randn(size, generator=generator, dtype=torch.float64)
    full = complex_transform(array.to(torch.complex128), dimensions=len(size), direction="forward")
    torch.testing.assert_close(full[..., : size[-1] // 2 + 1], to_fourier(array, dimensions=len(size)))
    torch.testing.assert_close(complex_transform(full, dimensions=len(size), direction="inverse").real, array)


@pytest.mark.parametrize("size", [(6, 5), (7, 8)])
def test_filtering_transforms_are_the_plain_sums(size, generator):
    """Rows and columns one after the other give the same, without the scale that the way back of the rows leaves out."""
    array = torch.complex(*torch.randn(2, 2, *size, generator=generator, dtype=torch.float64))
    spectrum = filtering_transform(array, direction="forward")
    torch.testing.assert_close(spectrum, torch.fft.fft2(array))
    torch.testing.assert_close(filtering_transform(spectrum, direction="inverse"), array)
    rows = transform_rows(array, direction="forward")
    torch.testing.assert_close(transform_rows(rows.mT.contiguous(), direction="forward").mT, spectrum)
    torch.testing.assert_close(transform_rows(rows, direction="inverse") / size[1], array)


@pytest.mark.parametrize("old", [6, 7])
@pytest.mark.parametrize("new", [4, 5, 6, 7, 9, 10])
def test_resize_keeps_the_origin_pixel(old, new, generator):
    image = torch.randn(2, old, old + 1, generator=generator)
    result = resize(image, (new, new + 2))
    assert result.shape == (2, new, new + 2)
    assert torch.equal(result[:, new // 2, (new + 2) // 2], image[:, old // 2, (old + 1) // 2])
    larger = resize(image, (old + 5, old + 4))
    assert torch.equal(resize(larger, (old, old + 1)), image)
    assert larger.sum().item() == pytest.approx(image.sum().item(), rel=1e-5)


def test_resize_takes_a_square_and_a_cube(generator):
    volume = torch.randn(5, 6, 7, generator=generator)
    assert resize(volume, 4).shape == (5, 4, 4)
    assert torch.equal(resize(resize(volume, (8, 9, 10)), (5, 6, 7)), volume)
    assert resize(volume, (5, 6, 7)) is not volume


@pytest.mark.parametrize("old", [(8, 8), (9, 9), (8, 9), (9, 8)])
@pytest.mark.parametrize("new", [(12, 12), (11, 11), (12, 13), (10, 9), (8, 9), (16, 8)])
def test_resample_up_and_back_is_the_identity(old, new, generator):
    image = torch.randn(2, *old, generator=generator, dtype=torch.float64)
    up = (max(old[0], new[0]), max(old[1], new[1]))
    torch.testing.assert_close(resample(resample(image, up), old), image)


@pytest.mark.parametrize(("old", "new"), [(8, 6), (8, 5), (9, 6), (9, 7), (8, 12), (9, 13), (8, 16)])
def test_resample_samples_the_same_waves(old, new):
    """A wave below both Nyquist frequencies, sampled on the other grid of the same field."""

    def wave(size):
        x, y, z = (c / size for c in coordinates((size, size, size), pixel_size=1.0, dtype=torch.float64))
        return 0.7 + torch.cos(2 * math.pi * (2 * x - y) + 0.4) + torch.sin(2 * math.pi * (x + 2 * y - 2 * z))

    torch.testing.assert_close(resample(wave(old), (new, new, new)), wave(new))


def test_resample_to_every_second_pixel_samples_the_nyquist_wave():
    wave = torch.cos(math.pi * torch.arange(8, dtype=torch.float64) / 2).expand(8, 8)  # the Nyquist wave of 4 pixels
    torch.testing.assert_close(resample(wave, (4, 4)), wave[::2, ::2])


def test_large_stacks_go_in_chunks_without_a_difference(generator, monkeypatch):
    stack = torch.randn(3, 5, 12, 13, generator=generator)
    spectra = to_fourier(stack)
    images = to_real(spectra, width=13)
    monkeypatch.setattr("cryowalk.fourier.transform._CHUNK_BYTES", 4 * 12 * 13 * 4)
    torch.testing.assert_close(to_fourier(stack), spectra)
    torch.testing.assert_close(to_real(spectra, width=13), images)
    assert to_fourier(stack[:0]).shape == (0, 5, 12, 7)
    tracked = stack.clone().requires_grad_()
    to_fourier(tracked).abs().sum().backward()
    assert tracked.grad is not None


@pytest.mark.parametrize("size", [(12, 10), (16, 20)])
def test_lower_frequencies_are_those_of_a_coarser_grid(size):
    image = torch.randn(3, 16, 20, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    cut = lower_frequencies(to_fourier(image), size)
    coarse = to_fourier(resample(image, size)) * math.sqrt(16 * 20 / (size[0] * size[1]))
    inner = [i for i in range(size[0]) if i != size[0] // 2]  # Nyquist entries are shared by `resample`
    assert torch.allclose(cut[:, inner, : size[1] // 2], coarse[:, inner, : size[1] // 2], atol=1e-12)
