"""The linear parts of 2D classification: turned images, images restored from sums of CTF ∗ image, powers of the CTF taken out."""

import torch

from cryowalk.classification.averages import turned_images
from cryowalk.classification.regularisation import smooth
from cryowalk.classification.start import restored

from .registry import SQUARES, Map, Operator, Setting


def _turned(setting: Setting) -> Map:
    angle = torch.tensor([0.7], dtype=setting.dtype, device=setting.device)

    def turn(images: torch.Tensor) -> torch.Tensor:
        flat = images.reshape(-1, *images.shape[-2:])
        return turned_images(flat, angle.expand(len(flat))).reshape(images.shape)

    return turn


def _restored(setting: Setting) -> Map:
    power = setting.like((1, min(setting.size) // 2 + 1)).abs() + 0.1

    def restore(images: torch.Tensor) -> torch.Tensor:
        flat = images.reshape(-1, *images.shape[-2:])
        return restored(flat, power.expand(len(flat), -1)).reshape(images.shape)

    return restore


def _smooth(_: Setting) -> Map:
    return lambda spectra: smooth(spectra.reshape(-1, spectra.shape[-1])).reshape(spectra.shape)


OPERATORS = [
    Operator(name="turned_images", build=_turned),
    Operator(name="restored", build=_restored, adjoint=_restored, sizes=SQUARES),
    Operator(name="smooth", build=_smooth),
]
