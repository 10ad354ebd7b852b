"""A camera electron by electron: what each deposits, or in which pixel and raw frame it is found.

It is the physical process behind the effective model of `camera.record`, slower and free of its approximations, and what its closed forms are
tested with.

Source: McMullan, Chen, Henderson & Faruqi, Ultramicroscopy 109, 1126 (2009); Li et al., J. Struct. Biol. 184, 251 (2013), on coincidence.
"""

import math
from collections.abc import Iterator

import torch
from jaxtyping import Float, Int
from torch import Tensor

from cryowalk.core.errors import UsageError
from cryowalk.data.camera import Camera, Response
from cryowalk.microscope.detector_curves import deposit_efficiency, response_at
from cryowalk.numerics.poisson import binomial, poisson

_EVENTS = 4_000_000  # handled at a time
_MOYAL_MEAN = math.log(2) + 0.57721566490153286  # of −log z², z normal
_MOYAL_DEVIATION = math.pi / math.sqrt(2)
_WIDEST_MOYAL = 0.6  # a wider one would have one deposit in a thousand below zero


def summed_deposits(
    expected: Float[Tensor, "*batch h w"], camera: Camera, *, generator: torch.Generator
) -> Float[Tensor, "*batch h w"]:
    """What the electrons of each pixel deposit in it, in units of one electron's mean deposit: a sum of as many deposits as there are electrons."""
    require_deposit(camera)
    electrons = poisson(expected, generator=generator)
    rows = electrons.reshape(-1, electrons.shape[-1])
    result = torch.zeros_like(rows)
    for first, last in _row_chunks(rows):
        numbers = rows[first:last].reshape(-1).long()
        place = torch.repeat_interleave(torch.arange(len(numbers), device=numbers.device), numbers)
        deposits = drawn_deposits(len(place), camera, generator=generator).to(rows)
        result[first:last] = torch.zeros_like(numbers, dtype=rows.dtype).index_add_(0, place, deposits).reshape(last - first, -1)
    return result.reshape(expected.shape)


def drawn_deposits(count: int, camera: Camera, *, generator: torch.Generator) -> Float[Tensor, " count"]:
    """Deposits of single electrons, mean 1.

    "exponential": e^(−ε). "moyal": Moyal's closed form near Landau's law, ε = 1 + σ (x − ⟨x⟩)/σₓ with x = −log z², z normal. "wald": the inverse
    Gaussian of TEM-simulator.

    Source: Moyal, Phil. Mag. 46, 263 (1955); Michael, Schucany & Haas, Am. Stat. 30, 88 (1976).
    """
    device, deviation = generator.device, camera.deposit_deviation
    if camera.deposit == "exponential":
        return -torch.log1p(-torch.rand(count, generator=generator, device=device))
    normal = torch.randn(count, generator=generator, device=device, dtype=torch.float64)
    if camera.deposit == "moyal":
        x = -torch.log(normal.square().clamp_min(1e-300))
        return (1 + (x - _MOYAL_MEAN) * (deviation / _MOYAL_DEVIATION)).float()
    half = normal.square() * (deviation**2 / 2)
    smaller = 1 + half - torch.sqrt(half * (2 + half))
    chosen = torch.rand(count, generator=generator, device=device, dtype=torch.float64) * (1 + smaller) <= 1
    return torch.where(chosen, smaller, 1 / smaller.clamp_min(1e-12)).float()


def located_events(
    expected: Float[Tensor, "*batch h w"], camera: Camera, *, raw_frames: int, generator: torch.Generator
) -> Float[Tensor, "*batch h w"]:
    """The events that a counting camera finds in each pixel, when the electrons arrive evenly in this number of raw frames.

    Of electrons in the same raw frame and the same cell of √`coincidence_area` camera pixels on a side, only one is found.
    """
    side = cell_side(camera)
    electrons = poisson(expected, generator=generator)
    images = electrons.reshape(-1, *electrons.shape[-2:])
    found = [_without_coincidences(image.long(), side, raw_frames, generator) for image in images]
    return torch.stack(found).to(expected.dtype).reshape(expected.shape)


def counts_in_law(
    expected: Float[Tensor, "h w"], camera: Camera, *, raw_frames: int, generator: torch.Generator
) -> Float[Tensor, "h w"]:
    """Counts of the same law as `located_events`, without following an electron.

    A cell expecting n electrons in each of m raw frames counts a binomial number of m trials with chance 1 − e^(−n), whose events lie in its pixels
    in proportion to what these expect.
    """
    side = cell_side(camera)
    height, width = expected.shape
    padded = torch.nn.functional.pad(expected.clamp_min(0), (0, -width % side, 0, -height % side))
    rows, columns = padded.shape[0] // side, padded.shape[1] // side
    pixels = padded.reshape(rows, side, columns, side).transpose(1, 2).reshape(rows, columns, side**2)
    left_expected = pixels.sum(-1)
    left = binomial(-torch.expm1(-left_expected / raw_frames), trials=raw_frames, generator=generator)
    counts = []
    for pixel in range(side**2 - 1):
        chance = pixels[..., pixel] / left_expected.clamp_min(1e-30)
        counts.append(binomial(chance, trials=left, generator=generator))
        left, left_expected = left - counts[-1], left_expected - pixels[..., pixel]
    result = torch.stack([*counts, left], -1).reshape(rows, columns, side, side).transpose(1, 2)
    return result.reshape(padded.shape)[:height, :width].contiguous()


def cell_side(camera: Camera) -> int:
    """The side, in image pixels, of the square cell in which electrons of one raw frame are counted once: √`coincidence_area` · `sampling`.

    Raises
    ------
    UsageError
        If it is not a whole number.
    """
    side = math.sqrt(camera.coincidence_area) * camera.sampling
    if abs(side - round(side)) > 1e-6 or side < 1:
        raise UsageError(
            f"the coincidence area must be the square of a whole number of image pixels: got {camera.coincidence_area} camera pixels",
            expected="1, 4, 9, …",
        )
    return round(side)


def effective_dqe(camera: Camera) -> Response:
    """The detective quantum efficiency of a camera that follows single electrons, without coincidence: see `Camera`."""
    frequency = torch.linspace(0, math.sqrt(0.5), 91, dtype=torch.float64)
    if camera.mode == "integrating":
        return Response(frequency=(0.0, 0.5), value=(deposit_efficiency(camera.deposit_deviation),) * 2)
    value = camera.dqe.value[0] * response_at(camera.mtf, frequency) ** 2
    return Response(frequency=tuple(frequency.tolist()), value=tuple(value.tolist()))


def require_deposit(camera: Camera) -> None:
    """Nothing, if the law of the deposits and its width go together.

    Raises
    ------
    UsageError
        If they do not.
    """
    if camera.deposit == "exponential" and camera.deposit_deviation != 1:
        raise UsageError(f"exponential deposits have the standard deviation 1: got {camera.deposit_deviation}")
    if camera.deposit == "moyal" and camera.deposit_deviation > _WIDEST_MOYAL:
        raise UsageError(f"Moyal deposits need a standard deviation up to {_WIDEST_MOYAL}: got {camera.deposit_deviation}")


def _without_coincidences(electrons: Int[Tensor, "h w"], side: int, raw_frames: int, generator: torch.Generator) -> Tensor:
    """The electrons found, one a raw frame and cell: the first of those whose random frame is the same."""
    height, width = electrons.shape
    found = torch.zeros_like(electrons).reshape(-1)
    rows_of_cells = max(side, _EVENTS // max(1, int(electrons.sum()) // height + 1) // side * side)
    for top in range(0, height, rows_of_cells):
        numbers = electrons[top : top + rows_of_cells].reshape(-1)
        place = torch.repeat_interleave(torch.arange(len(numbers), device=numbers.device), numbers) + top * width
        # In random order, so that which electron of a cell is found does not depend on where in the cell it is.
        order = torch.randperm(len(place), generator=generator, device=generator.device).to(place.device)
        place = place[order]
        cell = (place // width // side) * (width // side + 1) + place % width // side
        frame = torch.randint(raw_frames, (len(place),), generator=generator, device=generator.device).to(place.device)
        key, member = torch.unique(cell * raw_frames + frame, return_inverse=True)
        first = torch.full((len(key),), len(place), device=place.device)
        first = first.scatter_reduce(0, member, torch.arange(len(place), device=place.device), "amin")
        found += torch.bincount(place[first], minlength=len(found))
    return found.reshape(height, width)


def _row_chunks(rows: Tensor) -> Iterator[tuple[int, int]]:
    """Pieces of the rows with some millions of electrons each."""
    step = max(1, int(_EVENTS / max(float(rows.mean()) * rows.shape[-1], 1.0)))
    for first in range(0, len(rows), step):
        yield first, min(first + step, len(rows))
