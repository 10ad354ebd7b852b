"""Wrong answers to U14 that its checks must refuse."""

import numpy as np


def cycles(shape):
    return np.fft.fftfreq(shape[0])[:, None], np.fft.rfftfreq(shape[1])


def place(correlation, *, fine=True, wrapped=True):
    height, width = correlation.shape
    y, x = np.unravel_index(correlation.argmax(), correlation.shape)
    found = []
    for line, at, size in ((correlation[y], x, width), (correlation[:, x], y, height)):
        a, b, c = line[at - 1], line[at], line[(at + 1) % size]
        position = at + ((a - c) / (2 * (a - 2 * b + c)) if fine else 0)
        found.append(position - size if wrapped and position > size / 2 else position)
    return np.array(found)


def shift(first, second, *, sign=1, swapped=False, width=0.1, **how):
    ky, kx = cycles(first.shape)
    product = np.fft.rfft2(second - second.mean()) * np.fft.rfft2(first - first.mean()).conj()
    found = sign * place(np.fft.irfft2(product * np.exp(-(kx**2 + ky**2) / width**2), s=first.shape), **how)
    return found[::-1] if swapped else found


def align(frames, *, rounds=5, neighbours=False, sign=1, width=0.1, swapped=False, own=False):
    ky, kx = cycles(frames.shape[1:])
    weight = np.exp(-(kx**2 + ky**2) / width**2)
    spectra = np.fft.rfft2(frames - frames.mean((1, 2), keepdims=True))
    path = np.zeros((len(frames), 2))
    if neighbours:
        for f in range(1, len(frames)):
            path[f] = path[f - 1] + place(np.fft.irfft2(spectra[f] * spectra[f - 1].conj() * weight, s=frames.shape[1:]))
        return path
    for _ in range(rounds):
        aligned = spectra * np.exp(2j * np.pi * (path[:, 0, None, None] * kx + path[:, 1, None, None] * ky))
        total = aligned.sum(0)
        for f, frame in enumerate(aligned):
            other = total if own else total - frame
            path[f] += place(np.fft.irfft2(frame * other.conj() * weight, s=frames.shape[1:]))
    return sign * (path[:, ::-1] if swapped else path)


def correlate(frames, index, *, kind="sum"):
    spectra = np.fft.rfft2(frames - frames.mean((1, 2), keepdims=True))
    other = {
        "sum": spectra.sum(0),
        "first": spectra[0 if index else 1],
        "twice": spectra.sum(0) - 2 * spectra[index],
        "silenced": spectra.sum(0),
    }[kind]
    found = np.fft.irfft2(spectra[index] * other.conj(), s=frames.shape[1:])
    if kind == "silenced":
        found[0, 0] = 0
        found = found * np.exp(-np.hypot(*np.meshgrid(*(np.arange(n) for n in found.shape), indexing="ij")) / 30)
    return found


def spoiling(frames, index):
    frames[index] = 0
    return correlate(frames, index)


def weights(frequency, frames, dose, *, power=2.0, norm="sum", start=1, flipped=False):
    critical = 0.24499 * frequency**-1.6649 + 2.8141
    left = np.exp(-dose * np.arange(start, frames + start)[:, None] / (power * critical))
    left = left[::-1] if flipped else left
    return left / (left.sum(0) if norm == "sum" else np.sqrt((left**2).sum(0)) if norm == "noise" else 1)


WRONG = {
    "U14.1": {"the last": "last", "no difference": "alike", "a number": 6},
    "U14.2": {
        "whole pixels": lambda seed: lambda one, two: shift(one, two, fine=False),
        "wrong sign": lambda seed: lambda one, two: shift(one, two, sign=-1),
        "x and y exchanged": lambda seed: lambda one, two: shift(one, two, swapped=True),
        "not wrapped": lambda seed: lambda one, two: shift(one, two, wrapped=False),
        "no displacement": lambda seed: lambda one, two: (0.0, 0.0),
    },
    "U14.3": {
        "frame against frame": lambda seed: lambda frames: align(frames, neighbours=True),
        "wrong sign": lambda seed: lambda frames: align(frames, sign=-1),
        "x and y exchanged": lambda seed: lambda frames: align(frames, swapped=True),
        "it stands still": lambda seed: lambda frames: np.zeros((len(frames), 2)),
        "one frame only": lambda seed: lambda frames: np.zeros(2),
    },
    "U14.4": {
        "not mended": lambda seed: correlate,
        "the first frame alone": lambda seed: lambda frames, index: correlate(frames, index, kind="first"),
        "taken off twice": lambda seed: lambda frames, index: correlate(frames, index, kind="twice"),
        "the pixel silenced": lambda seed: lambda frames, index: correlate(frames, index, kind="silenced"),
        "spoils the frames": lambda seed: spoiling,
    },
    "U14.5": {
        "frequency for spacing": (2.85, 2.82),
        "half the exposure": (2.17, 7.05),
        "one only": 4.34,
        "exchanged": (14.1, 4.34),
    },
    "U14.6": {
        "intensities": lambda seed: lambda k, n, d: weights(k, n, d, power=1.0),
        "noise kept": lambda seed: lambda k, n, d: weights(k, n, d, norm="noise"),
        "not scaled": lambda seed: lambda k, n, d: weights(k, n, d, norm="none"),
        "last first": lambda seed: lambda k, n, d: weights(k, n, d, flipped=True),
        "all alike": lambda seed: lambda k, n, d: np.full((n, len(k)), 1 / n),
        "other way round": lambda seed: lambda k, n, d: weights(k, n, d).T,
    },
}
