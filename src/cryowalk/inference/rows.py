"""Rows: pairs of an image and a cell of orientation, their likelihoods at all shifts, and which of them matter."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Complex, Float, Int
from torch import Tensor

from cryowalk.fourier.disk import HalfDisk
from cryowalk.inference.orientations import Cells
from cryowalk.inference.references import References

CHUNK_BYTES = 2**21  # of products that are formed at a time: about what stays in a core's cache


class Rows(NamedTuple):
    """Images (positions in a batch) and the cells that are looked at for each, at one level."""

    image: Int[Tensor, " rows"]
    key: Int[Tensor, " rows"]


class Comparison(NamedTuple):
    """What is compared at one level: images moved to their centres, on K coefficients; `position` is each image's place in the particle set."""

    searched: Complex[Tensor, "n K"]
    weight: Float[Tensor, "n K"]
    position: Int[Tensor, " n"]
    ramps: Float[Tensor, "shifts two_K"]
    level: int
    radius: int


def shift_ramps(disk: HalfDisk, shifts: Float[Tensor, "s 2"], *, pixel_size: float, count: int) -> Float[Tensor, "s two_K"]:
    """Cos and sin of 2πk·s in turn: a row times Re and Im of a product moves it to shift s, times a complex number it moves back."""
    phases = disk.shift_phases(-shifts, pixel_size=pixel_size, count=count)
    return torch.view_as_real(phases).reshape(len(shifts), 2 * count)


def in_threads(work: Callable[[Any], Any], pieces: list[Any], *, device: torch.device) -> Iterator[Any]:
    """The results of the pieces in their order; on a CPU each of torch's threads does pieces of its own."""
    threads = torch.get_num_threads()
    if device.type != "cpu" or threads == 1 or len(pieces) == 1:
        yield from map(work, pieces)
        return
    with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        yield from pool.map(work, pieces)


def row_scores(rows: Rows, comparison: Comparison, cells: Cells, references: References) -> tuple[Tensor, Tensor]:
    """Log p(image | cell, shift) less that of no particle `[rows, shifts]`, and ½ Σ CTF²|slice|²/σ² of each row.

    Rows are worked on in the order of their keys where cells are shared: each slice is then cut once.
    """
    order = torch.argsort(rows.key, stable=True) if cells.is_shared else torch.arange(len(rows.key))
    shifts = comparison.ramps.shape[0]
    device = comparison.searched.device
    scores = torch.empty(len(order), shifts, device=device)
    half_norm = torch.empty(len(order), device=device)
    count = comparison.searched.shape[1]
    size = max(16, CHUNK_BYTES // (8 * count)) if device.type == "cpu" else max(1024, 2**28 // (8 * count))

    def fill(start: int) -> None:
        chosen = order[start : start + size]
        image = rows.image[chosen]
        cross, norm = cross_products(Rows(image, rows.key[chosen]), comparison, cells, references)
        result = cross @ comparison.ramps.T
        scores[chosen] = result.sub_(norm[:, None])
        half_norm[chosen] = norm

    for _ in in_threads(fill, list(range(0, len(order), size)), device=device):
        pass
    return scores, half_norm


def cross_products(rows: Rows, comparison: Comparison, cells: Cells, references: References) -> tuple[Tensor, Tensor]:
    """conj(image) · slice of each row (real and imaginary parts in turn), and half the slice's weighted norm."""
    slices, which = row_slices(rows, comparison, cells, references)
    searched, weight = comparison.searched, comparison.weight
    if searched.device.type == "cpu" and searched.dtype == torch.complex64:
        from cryowalk.inference import kernels

        cross, half_norm = torch.empty(len(which), 2 * slices.shape[1]), torch.empty(len(which))
        arrays = (searched, weight, slices, rows.image, which, cross, half_norm)
        kernels.cross_rows(*(tensor.numpy() for tensor in arrays))
        return cross, half_norm
    image, which = rows.image.to(searched.device), which.to(searched.device)
    product = searched[image].conj() * slices[which]
    power = slices.real.square() + slices.imag.square()
    half_norm = (weight[image] * power[which]).sum(dim=-1) / 2
    return torch.view_as_real(product.resolve_conj()).reshape(len(which), -1), half_norm


def row_slices(rows: Rows, comparison: Comparison, cells: Cells, references: References) -> tuple[Tensor, Int[Tensor, " rows"]]:
    """The slices that these rows need, and which of them each row has; a cell that images share is cut once."""
    if cells.is_shared:
        unique, which = torch.unique(rows.key, return_inverse=True)
        model, rotations = cells.place(comparison.level, unique, torch.zeros_like(unique))
    else:
        which = torch.arange(len(rows.key))
        model, rotations = cells.place(comparison.level, rows.key, comparison.position[rows.image])
    return references.slices(model, rotations, radius=comparison.radius), which


def posterior_of(
    scores: Float[Tensor, "rows shifts"], image: Int[Tensor, " rows"], images: int
) -> tuple[Float[Tensor, "rows shifts"], Float[Tensor, " images"]]:
    """Each image's weights over its rows and shifts, which sum to one, and the logarithm of the sum of exp(scores)."""
    best = torch.full((images,), -torch.inf, device=scores.device).scatter_reduce(0, image, scores.amax(dim=1), "amax")
    weights = torch.exp(scores - best[image][:, None])
    total = torch.zeros(images, device=scores.device).index_add(0, image, weights.sum(dim=1))
    return weights / total[image][:, None], best + torch.log(total)


def significant(weight: Float[Tensor, " rows"], image: Int[Tensor, " rows"], *, kept: float, most: int) -> Bool[Tensor, " rows"]:
    """The heaviest rows of each image that together hold `kept` of its weight: at least one, at most `most`."""
    # Sorted by image and, within one, by falling weight; both fit into the digits of a double.
    order = torch.argsort(image.double() * 4 - weight.double(), stable=True)
    sorted_image, sorted_weight = image[order], weight[order].double()
    before = torch.cumsum(sorted_weight, dim=0) - sorted_weight
    is_first = torch.ones_like(sorted_image, dtype=torch.bool)
    is_first[1:] = sorted_image[1:] != sorted_image[:-1]
    position = torch.arange(len(order), device=order.device)
    start = torch.cummax(torch.where(is_first, position, 0), dim=0).values
    before = before - before[start]
    chosen = torch.zeros_like(is_first)
    chosen[order] = is_first | ((before < kept) & (position - start < most))
    return chosen
