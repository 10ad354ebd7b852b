"""Answers to U21 that must fail, named by their mistake."""

import math

import numpy as np

from cryowalk.course.checks.u21 import ARTEFACTS, LETTERS, centred_transform, deck, order_of


def slice_without_the_root(volume, axis):
    return np.take(centred_transform(volume), volume.shape[axis] // 2, axis=axis), centred_transform(volume.sum(axis=axis))


def slice_at_the_corner(volume, axis):
    plane = np.take(centred_transform(volume), 0, axis=axis) * math.sqrt(volume.shape[axis])
    return plane, centred_transform(volume.sum(axis=axis))


def slice_of_the_other_axis(volume, axis):
    other = 2 - axis
    plane = np.take(centred_transform(volume), volume.shape[other] // 2, axis=other) * math.sqrt(volume.shape[other])
    return plane, centred_transform(volume.sum(axis=axis))


def twice_the_projection(volume, axis):
    return (centred_transform(volume.mean(axis=axis)),) * 2


def real_of(spectrum):
    return centred_transform(spectrum.conj()).conj().real


def inverted(spectra, rotations, *, padding=2, divide=True, turn=lambda r: r, off=0, buffered=False, scale=True):
    box = spectra.shape[-1]
    side = padding * box
    axis = np.arange(box) - box // 2
    ky, kx = np.meshgrid(axis, axis, indexing="ij")
    keep = kx**2 + ky**2 <= (box // 2 - 1) ** 2
    place = (np.stack([kx[keep], ky[keep], 0 * kx[keep]], axis=-1) @ turn(rotations)).reshape(-1, 3) * padding
    base = np.floor(place).astype(int)
    part, values = place - base, spectra[:, keep].ravel()
    total, weights = np.zeros(side**3, dtype=complex), np.zeros(side**3)
    for corner in np.ndindex(2, 2, 2):
        share = np.where(corner, part, 1 - part).prod(axis=1)
        x, y, z = (base + corner + side // 2 + off).T
        flat = (z * side + y) * side + x
        np.add.at(total, flat, share * values)
        if buffered:
            weights[flat] += share
        else:
            np.add.at(weights, flat, share)
    if divide:
        total = np.divide(total, weights, out=np.zeros_like(total), where=weights > 1e-6)
    cut = slice(side // 2 - box // 2, side // 2 - box // 2 + box)
    volume = real_of(total.reshape(side, side, side))[cut, cut, cut]
    return volume / (math.sqrt(box) * padding**1.5) if scale else volume


def corrected(volume, padded, *, power=2, side=None, origin=None):
    box = volume.shape[0]
    fall = np.sinc((np.arange(box) - (box // 2 if origin is None else origin)) / (side or padded)) ** power
    return volume / (fall[:, None, None] * fall[:, None] * fall)


def rotated_order(seed):
    order = order_of(deck(seed)["deck"])
    return dict(zip(LETTERS, order[1:] + order[:1], strict=True))


def two_pairs_exchanged(seed):
    a, b, c, d, *rest = order_of(deck(seed)["deck"])
    return dict(zip(LETTERS, (b, a, d, c, *rest), strict=True))


WRONG = {
    "U21.1": {
        "whole circle": 2 * math.pi * 10,
        "without π": 10,
        "the other way round": math.pi / 10,
        "angular step in degrees": 5.7,
    },
    "U21.2": {
        "root of n forgotten": lambda seed: slice_without_the_root,
        "plane at the corner": lambda seed: slice_at_the_corner,
        "other axis": lambda seed: slice_of_the_other_axis,
        "mean instead of sum": lambda seed: twice_the_projection,
    },
    "U21.3": {
        "not divided by the weights": lambda seed: lambda s, r: inverted(s, r, divide=False),
        "transposed rotations": lambda seed: lambda s, r: inverted(s, r, turn=lambda m: np.swapaxes(m, 1, 2)),
        "origin off by one": lambda seed: lambda s, r: inverted(s, r, off=1),
        "weights lost by buffered addition": lambda seed: lambda s, r: inverted(s, r, buffered=True),
        "scale of the padded transform": lambda seed: lambda s, r: inverted(s, r, scale=False),
    },
    "U21.4": {
        "multiplied instead of divided": lambda seed: lambda v, padded: v * v / corrected(v, padded),
        "sinc to the first power": lambda seed: lambda v, padded: corrected(v, padded, power=1),
        "unpadded side": lambda seed: lambda v, padded: corrected(v, padded, side=v.shape[0]),
        "counted from the first voxel": lambda seed: lambda v, padded: corrected(v, padded, origin=0),
    },
    "U21.5": {
        "all shifted by one": lambda seed: rotated_order(seed),
        "two pairs exchanged": lambda seed: two_pairs_exchanged(seed),
        "one answer for all": dict.fromkeys(LETTERS, ARTEFACTS[0]),
        "a name not on the list": dict(zip(LETTERS, (*ARTEFACTS[:5], "bad luck"), strict=True)),
    },
    "U21.6": {
        "sinc instead of sinc²": (0.6366, 0.9003),
        "order exchanged": (0.8106, 0.4053),
        "corner instead of face": (0.0666, 0.5326),
        "edge taken at 1": (0.0, 0.4053),
    },
}
