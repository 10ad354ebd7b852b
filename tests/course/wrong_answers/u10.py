"""Wrong answers to U10 that its checks must refuse."""

import numpy as np

from cryowalk.course.checks.u10 import OPTICS


def k_squared(shape, pixel_size):
    return np.fft.fftfreq(shape[0], pixel_size)[:, None] ** 2 + np.fft.fftfreq(shape[1], pixel_size) ** 2


def step(wave, phase, distance, *, transmission=1j, space=-1j, band=1.0):
    factor = np.exp(space * np.pi * OPTICS.wavelength * distance * k_squared(wave.shape, OPTICS.pixel_size)) * band
    return np.fft.ifft2(np.fft.fft2(wave * np.exp(transmission * phase)) * factor)


def shifted_frequencies(wave, phase, distance):
    factor = np.exp(-1j * np.pi * OPTICS.wavelength * distance * np.fft.fftshift(k_squared(wave.shape, OPTICS.pixel_size)))
    return np.fft.ifft2(np.fft.fft2(wave * np.exp(1j * phase)) * factor)


def space_first(wave, phase, distance):
    factor = np.exp(-1j * np.pi * OPTICS.wavelength * distance * k_squared(wave.shape, OPTICS.pixel_size))
    return np.fft.ifft2(np.fft.fft2(wave) * factor) * np.exp(1j * phase)


def weak_step(wave, phase, distance):
    factor = np.exp(-1j * np.pi * OPTICS.wavelength * distance * k_squared(wave.shape, OPTICS.pixel_size))
    return np.fft.ifft2(np.fft.fft2(wave * (1 + 1j * phase)) * factor)


def images(phase, chi, *, lens=1j, contrast=-2.0, transfer=np.sin):
    whole = np.abs(np.fft.ifft2(np.fft.fft2(np.exp(1j * phase)) * np.exp(lens * chi))) ** 2
    return whole, 1 + contrast * np.fft.ifft2(np.fft.fft2(phase) * transfer(chi)).real


def both_linear(phase, chi):
    linear = images(phase, chi)[1]
    return linear, linear


def still_a_wave(phase, chi):
    return np.fft.ifft2(np.fft.fft2(np.exp(1j * phase)) * np.exp(1j * chi)), images(phase, chi)[1]


def correlation(first, second, pixel_size, coarse, fine, *, conjugate=True, inside=True, root=True):
    k = np.sqrt(k_squared(first.shape, pixel_size))
    band = (k > 1 / coarse) & (k < 1 / fine) if inside else k >= 0
    one, other = np.fft.fft2(first)[band], np.fft.fft2(second)[band]
    power = (np.abs(one) ** 2).sum() * (np.abs(other) ** 2).sum()
    return (one * (other.conj() if conjugate else other)).real.sum() / (np.sqrt(power) if root else power)


def of_amplitudes(first, second, pixel_size, coarse, fine):
    k = np.sqrt(k_squared(first.shape, pixel_size))
    band = (k > 1 / coarse) & (k < 1 / fine)
    one, other = np.abs(np.fft.fft2(first)[band]), np.abs(np.fft.fft2(second)[band])
    return (one * other).sum() / np.sqrt((one**2).sum() * (other**2).sum())


def of_pixels(first, second, pixel_size, coarse, fine):
    return np.corrcoef(first.ravel(), second.ravel())[0, 1]


def gradient(phases, target, propagator, *, factor=4.0, back="conjugate", slice_back=True, part=np.imag):
    wave, behind = np.ones(target.shape, dtype=complex), []
    for phase in phases:
        behind.append(wave * np.exp(1j * phase))
        wave = np.fft.ifft2(np.fft.fft2(behind[-1]) * propagator)
    sensitivity = factor * (np.abs(wave) ** 2 - target) * wave
    result = np.zeros(phases.shape)
    for i in range(len(phases) - 1, -1, -1):
        way = propagator.conj() if back == "conjugate" else propagator
        sensitivity = np.fft.ifft2(np.fft.fft2(sensitivity) * way)
        result[i] = part(sensitivity * behind[i].conj())
        if slice_back:
            sensitivity = sensitivity * np.exp(-1j * phases[i])
    return result


def with_choices(function, **choices):
    return lambda *arguments: function(*arguments, **choices)


WRONG = {
    "U10.1": {
        "the other way round": {"weak approximation": "thickness", "projection assumption": "strength"},
        "all is strength": {"weak approximation": "strength", "projection assumption": "strength"},
        "half": {"weak approximation": "strength"},
    },
    "U10.2": {
        "travels back": with_choices(step, space=1j),
        "conjugate transmission": with_choices(step, transmission=-1j),
        "damped": with_choices(step, transmission=-1.0),
        "half of the phase of free space": with_choices(step, space=-0.5j),
        "power lost": with_choices(step, band=0.9),
        "frequencies in the wrong order": lambda seed: shifted_frequencies,
        "space before the slice": lambda seed: space_first,
        "weak transmission": lambda seed: weak_step,
        "wave unchanged": lambda wave, phase, distance: wave,
    },
    "U10.3": {
        "overfocus": with_choices(images, lens=-1j),
        "protein bright": with_choices(images, contrast=2.0),
        "half the contrast": with_choices(images, contrast=-1.0),
        "cosine": with_choices(images, transfer=np.cos),
        "twice the linear one": lambda seed: both_linear,
        "not squared": lambda seed: still_a_wave,
        "one image": lambda phase, chi: images(phase, chi)[0],
    },
    "U10.4": {
        "not conjugated": with_choices(correlation, conjugate=False),
        "no band": with_choices(correlation, inside=False),
        "no root": with_choices(correlation, root=False),
        "amplitudes alone": lambda seed: of_amplitudes,
        "of pixels": lambda seed: of_pixels,
        "always one": lambda first, second, pixel_size, coarse, fine: 1.0,
    },
    "U10.5": {
        "half": with_choices(gradient, factor=2.0),
        "sign": with_choices(gradient, factor=-4.0),
        "propagates on": with_choices(gradient, back="forth"),
        "slices not undone": with_choices(gradient, slice_back=False),
        "real part": with_choices(gradient, part=np.real),
        "zero": lambda phases, target, propagator: np.zeros(phases.shape),
        "of one slice": lambda phases, target, propagator: gradient(phases, target, propagator)[0],
    },
    "U10.6": {
        "number of slices": 30.0,
        "transforms against one": 60.0,
        "extraction without transform": 150.0,
        "upside down": 0.023,
    },
}
