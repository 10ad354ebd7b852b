"""Wrong answers to U24 that its checks must refuse."""

import numpy as np
import torch

from cryowalk.course.checks.u24 import VOXEL_SIZE, correlation_of
from cryowalk.data import HalfMaps, Volume
from cryowalk.fourier.shells import correlation_with_truth
from cryowalk.validation import fourier_shell_correlation
from cryowalk.validation.guinier import fit_b_factor, log_amplitude, shell_frequencies
from cryowalk.validation.phase_randomisation import masked_correlation, randomise_phases


def volume(voxels):
    return Volume(voxels=torch.as_tensor(voxels), voxel_size=VOXEL_SIZE)


def fsc(*, absolute=False, unnormalised=False, corners=False, phases=False):
    def curve(first, second):
        box = first.shape[-1]
        one, other = np.fft.fftn(np.asarray(first)), np.fft.fftn(np.asarray(second))
        if phases:
            one, other = one / np.abs(one), other / np.abs(other)
            other = np.abs(other)  # and the phases of the second are lost
        k = np.fft.fftfreq(box) * box
        shell = np.rint(np.sqrt(k**2 + k[:, None] ** 2 + k[:, None, None] ** 2)).astype(int).ravel()
        shared = np.bincount(shell, (one * other.conj()).real.ravel())
        imaginary = np.bincount(shell, (one * other.conj()).imag.ravel())
        power = np.sqrt(np.bincount(shell, np.abs(one).ravel() ** 2) * np.bincount(shell, np.abs(other).ravel() ** 2))
        value = (np.abs(shared + 1j * imaginary) if absolute else shared) / (np.bincount(shell) if unnormalised else power)
        return value if corners else value[: box // 2 + 1]

    return curve


def corrected(*, what):
    def curve(first, second, mask, shell):
        halves = HalfMaps(first=volume(first), second=volume(second))
        source = torch.Generator().manual_seed(5)
        curves = masked_correlation(halves, volume(mask), generator=source, first_shell=shell)
        masked, noise = curves.masked.correlation, curves.randomised.correlation
        if what == "masked":
            return masked
        if what == "difference":
            return masked - noise
        if what == "mask first":
            one, other = (
                randomise_phases(volume(half * mask), first_shell=shell, generator=source).voxels for half in (first, second)
            )
            noise = correlation_of(one, other)
        if what == "same phases":
            one, other = (
                randomise_phases(volume(half), first_shell=shell, generator=torch.Generator().manual_seed(1)).voxels
                for half in (first, second)
            )
            noise = correlation_of(one * mask, other * mask)
        return ((masked - noise) / (1 - noise).clamp_min(1e-3)).clamp(-1, 1)

    return curve


def b_factor(*, factor=1.0, weighted=True, coarsest=10.0):
    def measure(first, second, voxel_size):
        halves = HalfMaps(first=volume(first), second=volume(second))
        average, curve = halves.average(), fourier_shell_correlation(halves)
        weight = correlation_with_truth(curve.correlation).log() if weighted else 0.0
        fit = fit_b_factor(
            shell_frequencies(average), log_amplitude(average) + weight, coarsest=coarsest, finest=curve.resolution()
        )
        return factor * fit.b_factor

    return measure


WRONG = {
    "U24.1": {
        "of one half": (0.378, 1 / 6),
        "FSC of the full map": (0.25, 1 / 3),
        "not halved": (0.5, 1 / 6),
        "exchanged": (1 / 3, 0.5),
    },
    "U24.2": {
        "modulus": lambda seed: fsc(absolute=True),
        "not normalised": lambda seed: fsc(unnormalised=True),
        "with the corners": lambda seed: fsc(corners=True),
        "without the second's phases": lambda seed: fsc(phases=True),
    },
    "U24.3": {
        "nothing taken off": lambda seed: corrected(what="masked"),
        "difference alone": lambda seed: corrected(what="difference"),
        "phases after the mask": lambda seed: corrected(what="mask first"),
        "the same phases for both": lambda seed: corrected(what="same phases"),
    },
    "U24.4": {
        "B/2": lambda seed: b_factor(factor=0.5),
        "slope": lambda seed: b_factor(factor=-1.0),
        "power": lambda seed: b_factor(factor=2.0),
        "noise left in": lambda seed: b_factor(weighted=False),
        "from the origin": lambda seed: b_factor(coarsest=1000.0),
    },
    "U24.5": {"noise averages out": "0.0", "as one image": "0.1"},
    "U24.6": {"amplitude": 3.39, "B/4": 3.4, "linear": 1.2, "fewer": 0.0868},
}
