"""A small convolutional network that says of each place of a coarse, levelled micrograph how likely a particle has its middle there.

Residual blocks of dilated convolutions on every second pixel, 76,000 numbers in all, which see three diameters about each place. No layer normalises over the
field, so that what lies elsewhere in the micrograph changes nothing.

Source: He et al., arXiv:1512.03385 (residual blocks); Yu & Koltun, arXiv:1511.07122 (dilation); Bepler et al., Nat. Methods 16, 1153 (2019), for the task.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from cryowalk.core.errors import InputError
from cryowalk.picking.blobs import ScoreMap, spread_of
from cryowalk.picking.search import disk, searched

CHANNELS = 32
DILATIONS = ((1, 1), (2, 2), (4, 4), (1, 1))  # of the two convolutions of each residual block, on every second pixel
HIT = 4.0  # coarse pixels from a particle's middle within which a place is the particle's: a fifth of its diameter
_STEM = 7  # pixels a side of the first kernel, which steps by two
_REACH = 2 * sum(map(sum, DILATIONS)) + _STEM  # pixels that a place sees to each side
_BAND_PIXELS = 2**21  # of the micrograph that are looked at together
_RARE = -4.0  # log-odds that training begins with: few places are particles
_FORMAT = "cryowalk picking network 1"


@dataclass(frozen=True, slots=True, kw_only=True)
class PickingNetwork:
    """The weights of the network: of the stem, of two convolutions a block, of the mixing and of the last layer, each a kernel and an offset."""

    weights: tuple[Tensor, ...]

    def to(self, device: torch.device | str) -> "PickingNetwork":
        """The same on another device."""
        return PickingNetwork(weights=tuple(weight.to(device) for weight in self.weights))

    def state(self) -> dict[str, Any]:
        """What a file keeps."""
        return {"format": _FORMAT, "weights": [weight.detach().cpu() for weight in self.weights]}

    @staticmethod
    def from_state(state: Mapping[str, Any]) -> "PickingNetwork":
        """The network of a file.

        Raises
        ------
        InputError
            If it holds something else.
        """
        weights = state.get("weights")
        is_whole = state.get("format") == _FORMAT and isinstance(weights, list) and all(isinstance(w, Tensor) for w in weights)
        if not is_whole or tuple(tuple(weight.shape) for weight in weights or ()) != shapes():
            raise InputError("this is no picking network", expected=f"“{_FORMAT}”", cause="another file, or another version's")
        if not all(bool(torch.isfinite(weight).all()) for weight in weights or ()):
            raise InputError("the picking network holds numbers that are not finite", cause="its training failed")
        return PickingNetwork(weights=tuple(weight.float() for weight in weights or ()))


def shapes() -> tuple[tuple[int, ...], ...]:
    """The shape of each weight."""
    kernels: list[tuple[int, ...]] = [(CHANNELS, 1, _STEM, _STEM)]
    kernels += [(CHANNELS, CHANNELS, 3, 3)] * (2 * len(DILATIONS))
    kernels += [(CHANNELS, CHANNELS, 1, 1), (1, CHANNELS, 1, 1)]
    return tuple(shape for kernel in kernels for shape in (kernel, (kernel[0],)))


def untrained(generator: torch.Generator) -> PickingNetwork:
    """Weights from which to learn: kernels of variance 2 over the numbers that they sum; offsets and the second kernels of blocks zero."""
    device = generator.device
    weights = []
    for number, shape in enumerate(shapes()):
        is_second = number in range(4, 4 * len(DILATIONS) + 2, 4)
        if len(shape) == 1 or is_second:
            weights.append(torch.zeros(shape, device=device))
        else:
            spread = math.sqrt(2 / math.prod(shape[1:]))
            weights.append(spread * torch.randn(shape, generator=generator, device=device))
    weights[-1] = torch.full_like(weights[-1], _RARE)
    return PickingNetwork(weights=tuple(weights))


def log_odds(network: PickingNetwork, level: Float[Tensor, "n h w"]) -> Float[Tensor, "n half_h half_w"]:
    """The logarithm of the odds of a particle's middle at every second pixel, from pixel 0 on, of coarse levelled micrographs (`search.levelled`)."""
    kernels, offsets = network.weights[0::2], network.weights[1::2]
    convolved = torch.nn.functional.conv2d
    found = torch.relu(convolved(level[:, None], kernels[0], offsets[0], stride=2, padding=_STEM // 2))
    for block, (first, second) in enumerate(DILATIONS):
        number = 1 + 2 * block
        inner = torch.relu(convolved(found, kernels[number], offsets[number], padding=first, dilation=first))
        inner = convolved(inner, kernels[number + 1], offsets[number + 1], padding=second, dilation=second)
        found = torch.relu(found + inner)
    found = torch.relu(convolved(found, kernels[-2], offsets[-2]))
    result: Tensor = convolved(found, kernels[-1], offsets[-1])[:, 0]
    return result


def network_map(network: PickingNetwork, level: Float[Tensor, "h w"]) -> ScoreMap:
    """The network's log-odds at every pixel, their mean over a disk of a fifth of the diameter: in robust standard deviations, and as they are.

    Between the places that the network looks at, log-odds are interpolated. The network's device and dtype are the micrograph's.
    """
    weights = PickingNetwork(weights=tuple(weight.to(level) for weight in network.weights))
    with torch.no_grad():
        odds = _on_all_pixels(weights, level)
    kernel = disk(HIT).to(level)
    smooth = searched(odds, kernel.shape[-1] // 2).correlated(kernel / kernel.sum())
    return ScoreMap((smooth - smooth.median()) / spread_of(smooth), smooth)


def _on_all_pixels(network: PickingNetwork, level: Float[Tensor, "h w"]) -> Float[Tensor, "h w"]:
    """The log-odds of a whole micrograph, band by band of rows, so that memory does not grow with it."""
    height, width = level.shape
    reach = _REACH + _REACH % 2
    band = max(2 * reach, _BAND_PIXELS // width // 2 * 2)
    parts = []
    for top in range(0, height, band):
        first, last = max(0, top - reach), min(top + band, height)
        odds = log_odds(network, level[first : min(last + reach, height)][None])[0]
        parts.append(odds[(top - first) // 2 : (top - first) // 2 + (last - top + 1) // 2])
    half = torch.cat(parts)
    size = (2 * half.shape[0] - 1, 2 * half.shape[1] - 1)
    fine = torch.nn.functional.interpolate(half[None, None], size=size, mode="bilinear", align_corners=True)
    edge = (0, width - size[1], 0, height - size[0])
    return torch.nn.functional.pad(fine, edge, mode="replicate")[0, 0]
