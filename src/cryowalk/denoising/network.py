"""A small U-Net for images and volumes, written as a function of its parameters, so that nothing but a generator decides how it begins.

Source: Ronneberger, Fischer & Brox, MICCAI 2015, arXiv:1505.04597 (the shape); He et al., ICCV 2015, eq. 15 (the first weights).
"""

import math
from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

LEVELS = 2
MULTIPLE = 2**LEVELS  # sides of what goes in are multiples of this
REACH = 32  # pixels, a multiple of MULTIPLE: how far an output can look at most is 27
INPUTS = 2
_SLOPE = 0.1

Parameters = Mapping[str, Tensor]


def first_parameters(
    dimensions: int, channels: int, *, generator: torch.Generator, device: torch.device | str = "cpu"
) -> dict[str, Tensor]:
    """Weights and biases drawn by the generator; those of the last layer are zero, so that the network begins by adding nothing."""
    widths = [channels * 2**level for level in range(LEVELS + 1)]
    layers: dict[str, tuple[int, int, int]] = {}
    before = INPUTS
    for level, width in enumerate(widths):
        layers |= {f"down{level}a": (before, width, 3), f"down{level}b": (width, width, 3)}
        before = width
    for level in reversed(range(LEVELS)):
        layers |= {f"up{level}a": (before + widths[level], widths[level], 3), f"up{level}b": (widths[level], widths[level], 3)}
        before = widths[level]
    layers["last"] = (before, 1, 1)
    parameters = {}
    for name, (inputs, outputs, side) in layers.items():
        shape = (outputs, inputs, *[side] * dimensions)
        gain = 0.0 if name == "last" else math.sqrt(2 / (1 + _SLOPE**2) / (inputs * side**dimensions))
        parameters[f"{name}.weight"] = (gain * torch.randn(shape, generator=generator)).to(device)
        parameters[f"{name}.bias"] = torch.zeros(outputs, device=device)
    return parameters


def network(parameters: Parameters, inputs: Float[Tensor, "n channels *size"]) -> Float[Tensor, "n one *size"]:
    """The second input channel plus what the network adds to it; sides must be multiples of `MULTIPLE`."""
    dimensions = inputs.ndim - 2
    pool = functional.avg_pool2d if dimensions == 2 else functional.avg_pool3d
    kept = []
    state = _pair_of_layers(parameters, "down0", inputs)
    for level in range(1, LEVELS + 1):
        kept.append(state)
        state = _pair_of_layers(parameters, f"down{level}", pool(state, 2))
    for level in reversed(range(LEVELS)):
        finer = functional.interpolate(state, scale_factor=2, mode="nearest")
        state = _pair_of_layers(parameters, f"up{level}", torch.cat([finer, kept[level]], dim=1))
    return inputs[:, 1:2] + _layer(parameters, "last", state)


def apply_in_tiles(parameters: Parameters, inputs: Float[Tensor, "channels ..."], *, tile: int) -> Float[Tensor, "..."]:
    """The network on an array of any size, tile after tile; each sees `REACH` pixels around it (mirrored beyond the edges), so that no tile's border shows."""
    size = inputs.shape[1:]
    inner = max(MULTIPLE, tile // MULTIPLE * MULTIPLE)
    padded = inputs[None]
    for axis, side in enumerate(size, start=2):
        padded = _mirrored(padded, axis, REACH, REACH + (-side) % inner)
    result = inputs.new_empty(size)
    starts = [range(0, side, inner) for side in size]
    with torch.no_grad():
        for corner in _corners(starts):
            window = (slice(None), slice(None), *(slice(at, at + inner + 2 * REACH) for at in corner))
            found = network(parameters, padded[window].contiguous())[0, 0]
            target = tuple(slice(at, min(at + inner, side)) for at, side in zip(corner, size, strict=True))
            middle = tuple(slice(REACH, REACH + each.stop - each.start) for each in target)
            result[target] = found[middle]
    return result


def _corners(starts: list[range]) -> list[tuple[int, ...]]:
    corners: list[tuple[int, ...]] = [()]
    for axis in starts:
        corners = [(*corner, at) for corner in corners for at in axis]
    return corners


def _mirrored(array: Tensor, axis: int, before: int, after: int) -> Tensor:
    """The array continued by its mirror image along an axis, however far."""
    side = array.shape[axis]
    index = torch.arange(-before, side + after, device=array.device) % (2 * side)
    return array.index_select(axis, torch.where(index < side, index, 2 * side - 1 - index))


def _pair_of_layers(parameters: Parameters, name: str, state: Tensor) -> Tensor:
    for part in "ab":
        state = functional.leaky_relu(_layer(parameters, name + part, state), _SLOPE)
    return state


def _layer(parameters: Parameters, name: str, state: Tensor) -> Tensor:
    weight = parameters[f"{name}.weight"]
    convolve = functional.conv2d if state.ndim == 4 else functional.conv3d
    found: Tensor = convolve(state, weight, parameters[f"{name}.bias"], padding=weight.shape[-1] // 2)
    return found
