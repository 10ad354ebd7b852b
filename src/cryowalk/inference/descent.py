"""From coarse to fine: the cells and shifts that hold nearly all of an image's posterior are divided and compared again."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from cryowalk.fourier.disk import HalfDisk
from cryowalk.inference.dense import shortlist
from cryowalk.inference.orientations import Cells
from cryowalk.inference.references import References
from cryowalk.inference.rows import Comparison, Rows, posterior_of, row_scores, shift_ramps, significant
from cryowalk.inference.search import Level, SearchSettings, first_level, shift_grid
from cryowalk.inference.weighting import WeightedImages

SPREADS = (1.6, 3.2)  # steps of shifts: images whose posteriors reach less far are looked at together
COPIES = 12  # bytes for a score, with what is made of it at the same time
SHARE = 4  # of the byte budget: scores of one look; those of the levels above it are held meanwhile


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """All that a search needs besides the images: models, cells, levels, and the half disk of the images."""

    references: References
    cells: Cells
    settings: SearchSettings
    plan: tuple[Level, ...]
    disk: HalfDisk

    @property
    def pixel_size(self) -> float:
        """Of the images, Å."""
        return self.references.pixel_size


class Batch(NamedTuple):
    """Some weighted images, their places in the particle set, and the search that they go through."""

    search: Search
    weighted: WeightedImages
    position: Int[Tensor, " n"]


class Look(NamedTuple):
    """Where is looked: at which level, for which images of the batch, at which shifts about their centres (Å from the weighted images' origins)."""

    level: int
    images: Int[Tensor, " n"]
    centre: Float[Tensor, "n 2"]
    shifts: Float[Tensor, "shifts 2"]


class Posterior(NamedTuple):
    """What one look says: rows count its images from 0, `weights` over rows and shifts sum to one for each image.

    `likelihood` is Σ γ Re x* p and `norm` Σ γ ΣCTF²|p|²/σ² of each image.
    """

    look: Look
    rows: Rows
    weights: Float[Tensor, "rows shifts"]
    log_evidence: Float[Tensor, " n"]
    likelihood: Float[Tensor, " n"]
    norm: Float[Tensor, " n"]


def posteriors(batch: Batch) -> Iterator[Posterior]:
    """The posteriors at the last level, the images of the batch shared out among them; one after another, so that not all are held at once."""
    start, last = first_level(batch.search.plan), len(batch.search.plan) - 1
    found = _at_first(batch, start)
    if start == last and batch.search.cells.is_shared:
        yield _compared(batch, found.look, found.rows)
    else:
        yield from _descended(batch, found, start, last)


def _descended(batch: Batch, part: Posterior, level: int, last: int) -> Iterator[Posterior]:
    """What becomes of a posterior on its way down, some images to the end before the next ones begin."""
    if level == last:
        yield part
        return
    for finer in _divided(batch, part, level + 1):
        yield from _descended(batch, finer, level + 1, last)


def _at_first(batch: Batch, level: int) -> Posterior:
    """Everything compared with everything at one level; or, where cells are each image's own, all rows."""
    search, images = batch.search, torch.arange(len(batch.position))
    keys = search.cells.first()
    for coarser in range(level):
        keys = search.cells.children(coarser, keys).flatten()
    shifts = shift_grid(search.plan[level].shift_step, search.settings.shift_range)
    look = Look(level, images, torch.zeros(len(images), 2), shifts)
    if not search.cells.is_shared:
        return _compared(batch, look, Rows(images.repeat_interleave(len(keys)), keys.repeat(len(images))))
    settings, unknown = search.settings, torch.zeros(len(images))
    prior = shift_prior(settings, batch.weighted.centre, shifts)
    rows, weights, evidence = shortlist(_comparison(batch, look), search, keys, log_prior=prior)
    return Posterior(look, rows, weights, evidence, unknown, unknown)


def _divided(batch: Batch, before: Posterior, level: int) -> Iterator[Posterior]:
    """The posteriors one level further down, images of like reach together, as many at a time as the byte budget holds the scores of."""
    search, shifts = batch.search, before.look.shifts
    best, reach = _shift_reach(before, kept=search.settings.kept)
    coarse = search.plan[before.look.level].shift_step
    group = torch.bucketize(reach, torch.tensor([spread * coarse for spread in SPREADS]))
    kept = significant(
        before.weights.sum(dim=1).cpu(), before.rows.image, kept=search.settings.kept, most=search.settings.most_cells
    )
    children = search.cells.children(before.look.level, before.rows.key[:1]).shape[1]
    cells = children * torch.bincount(before.rows.image[kept], minlength=len(reach))
    for number in sorted(set(group.tolist())):
        members = (group == number).nonzero().flatten()
        grid = shift_grid(search.plan[level].shift_step, float(reach[members].max()) + coarse / math.sqrt(2))
        most = max(1, search.settings.byte_budget // (SHARE * COPIES * len(grid)))
        for chosen in _runs(members, cells[members], most):
            centre = before.look.centre[chosen] + shifts[best[chosen]]
            look = Look(level, before.look.images[chosen], centre, grid)
            yield _compared(batch, look, _children(search.cells, before, kept, chosen))


def _runs(members: Int[Tensor, " n"], sizes: Int[Tensor, " n"], most: int) -> Iterator[Int[Tensor, " m"]]:
    """The members in their order, in runs whose sizes sum to no more than `most`, each of at least one."""
    start, total = 0, 0
    for place, size in enumerate(sizes.tolist()):
        if place > start and total + size > most:
            yield members[start:place]
            start, total = place, 0
        total += size
    yield members[start:]


def _shift_reach(before: Posterior, *, kept: float) -> tuple[Int[Tensor, " n"], Float[Tensor, " n"]]:
    """For each image its likeliest shift, and the distance from it within which the shifts hold `kept` of the posterior, Å."""
    images, shifts = len(before.look.images), before.look.shifts
    image = before.rows.image.to(before.weights.device)
    marginal = torch.zeros(images, len(shifts), device=image.device).index_add(0, image, before.weights).cpu()
    best = marginal.argmax(dim=1)
    distance, order = torch.sort((shifts[None] - shifts[best][:, None]).norm(dim=-1), dim=1)
    nearer = marginal.gather(1, order)
    nearer = torch.cumsum(nearer, dim=1) - nearer
    return best, torch.where(nearer < kept, distance, 0).amax(dim=1)


def _children(cells: Cells, before: Posterior, kept: Bool[Tensor, " rows"], chosen: Int[Tensor, " m"]) -> Rows:
    """The cells that the kept rows of the chosen images are made of."""
    place = torch.full((len(before.look.images),), -1)
    place[chosen] = torch.arange(len(chosen))
    image = place[before.rows.image]
    mine = kept & (image >= 0)
    keys = cells.children(before.look.level, before.rows.key[mine])
    return Rows(image[mine].repeat_interleave(keys.shape[1]), keys.flatten())


def _compared(batch: Batch, look: Look, rows: Rows) -> Posterior:
    """These rows compared at these shifts."""
    search, images = batch.search, len(look.images)
    comparison = _comparison(batch, look)
    scores, half_norm = row_scores(rows, comparison, search.cells, search.references)
    device = scores.device
    image = rows.image.to(device)
    prior = shift_prior(search.settings, batch.weighted.centre.cpu()[look.images] + look.centre, look.shifts).to(device)
    prior_of_cell = search.cells.log_prior(look.level, rows.key, comparison.position[rows.image]).to(device)
    weights, evidence = posterior_of(scores + prior[image] + prior_of_cell[:, None], image, images)
    if search.settings.mode == "maximum" and look.level == len(search.plan) - 1:
        weights = _hardened(weights, image, images)
    share = weights.sum(dim=1)
    both = torch.stack(((weights * scores).sum(dim=1) + share * half_norm, 2 * share * half_norm))
    likelihood, norm = torch.zeros(2, images, device=device).index_add(1, image, both)
    return Posterior(look, rows, weights, evidence.cpu(), likelihood.cpu(), norm.cpu())


def _hardened(weights: Tensor, image: Tensor, images: int) -> Tensor:
    """All of each image's weight on its heaviest row and shift, the first of equals."""
    heaviest, at = weights.max(dim=1)
    first = heaviest_rows(heaviest, image, images)
    hard = torch.zeros_like(weights)
    hard[first, at[first]] = 1
    return hard


def heaviest_rows(share: Tensor, image: Tensor, images: int) -> Int[Tensor, " images"]:
    """The heaviest row of each image, the first of equals."""
    best = torch.full((images,), -1.0, device=share.device).scatter_reduce(0, image, share, "amax")
    rows = torch.arange(len(image), device=share.device)
    candidate = torch.where(share == best[image], rows, len(rows))
    return torch.full((images,), len(rows), device=share.device).scatter_reduce(0, image, candidate, "amin")


def _comparison(batch: Batch, look: Look) -> Comparison:
    """The images moved to their centres, on the coefficients of the level."""
    search, weighted = batch.search, batch.weighted
    radius = search.plan[look.level].radius
    count = search.disk.prefix(radius)
    device = weighted.searched.device
    chosen = look.images.to(device)
    phases = search.disk.shift_phases(-look.centre.to(device), pixel_size=search.pixel_size, count=count)
    ramps = shift_ramps(search.disk, look.shifts.to(device), pixel_size=search.pixel_size, count=count)
    searched, weight = weighted.searched[chosen, :count] * phases, weighted.weight[chosen, :count]
    return Comparison(searched, weight, batch.position[look.images], ramps, look.level, radius)


def shift_prior(settings: SearchSettings, centre: Float[Tensor, "n 2"], shifts: Float[Tensor, "s 2"]) -> Float[Tensor, "n s"]:
    """−|s|²/2σ² of each image's shifts, counted from the image's middle; 0 without a prior. Each shift stands for one share of the plane."""
    if settings.shift_deviation is None:
        return torch.zeros(len(centre), len(shifts), device=centre.device)
    place = centre[:, None] + shifts.to(centre)
    return -place.square().sum(dim=-1) / (2 * settings.shift_deviation**2)
