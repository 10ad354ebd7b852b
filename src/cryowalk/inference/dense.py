"""The first level of a search: every image at every shift against every cell, as two matrix products."""

from typing import NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from cryowalk.inference.orientations import Cells
from cryowalk.inference.references import References
from cryowalk.inference.rows import Comparison, Rows
from cryowalk.inference.search import SearchSettings

CHUNK_BYTES = 2**24  # of scores that are looked at together


@runtime_checkable
class DenseSearch(Protocol):
    """What a dense comparison needs to know of a search."""

    @property
    def references(self) -> References:
        """The models."""

    @property
    def cells(self) -> Cells:
        """The cells of orientation."""

    @property
    def settings(self) -> SearchSettings:
        """How much is kept."""


class Views(NamedTuple):
    """What images are compared with: slices as real columns, half their power, and the logarithms of their priors."""

    spectra: Float[Tensor, "two_K cells"]
    half_power: Float[Tensor, "K cells"]
    log_prior: Float[Tensor, " cells"]


class Shortlist(NamedTuple):
    """What is left of a dense search: the rows that matter with their weights at each shift (each image's sum to one), and the evidence."""

    rows: Rows
    weights: Float[Tensor, "rows shifts"]
    log_evidence: Float[Tensor, " n"]


def shortlist(
    comparison: Comparison, search: "DenseSearch", keys: Int[Tensor, " cells"], *, log_prior: Float[Tensor, "n shifts"]
) -> Shortlist:
    """The cells of `keys` that hold nearly all of each image's posterior.

    With images x = y CTF/σ² at every shift and slices p, Re x* p is one real product of `[images · shifts, 2K]` and `[2K, cells]`, and ½ CTF²|p|²/σ²
    another of `[images, K]` and `[K, cells]`.
    """
    nowhere = torch.zeros_like(keys)
    model, rotations = search.cells.place(comparison.level, keys, nowhere)
    slices = search.references.slices(model, rotations, radius=comparison.radius)
    images, shifts = comparison.searched.shape[0], comparison.ramps.shape[0]
    views = Views(
        spectra=torch.view_as_real(slices).reshape(len(keys), -1).T,
        half_power=(slices.real.square() + slices.imag.square()).mul_(0.5).T.contiguous(),
        log_prior=search.cells.log_prior(comparison.level, keys, nowhere).to(slices.device),
    )
    size = max(1, CHUNK_BYTES // (4 * shifts * len(keys)))
    found = [
        _of_some(comparison, slice(start, start + size), views, log_prior[start : start + size], settings=search.settings)
        for start in range(0, images, size)
    ]
    rows = Rows(torch.cat([f.rows.image for f in found]), keys[torch.cat([f.rows.key for f in found])])
    return Shortlist(rows, torch.cat([f.weights for f in found]), torch.cat([f.log_evidence for f in found]))


def _of_some(
    comparison: Comparison, part: slice, views: Views, log_prior: Float[Tensor, "n shifts"], *, settings: SearchSettings
) -> Shortlist:
    """The shortlist of some images; its keys count the views from 0."""
    scores = dense_scores(comparison, part, views)
    scores += log_prior[:, :, None]
    best = scores.amax(dim=(1, 2))
    scores.sub_(best[:, None, None]).exp_()
    share = scores.sum(dim=1)
    total = share.sum(dim=1)
    share /= total[:, None]
    heaviest = share.topk(min(settings.most_cells, share.shape[1]), dim=1)
    chosen = torch.cumsum(heaviest.values, dim=1) - heaviest.values < settings.kept
    chosen[:, 0] = True
    image, place = chosen.nonzero(as_tuple=True)
    key = heaviest.indices[image, place]
    weights = scores[image, :, key] / total[image][:, None]
    return Shortlist(Rows((image + part.start).cpu(), key.cpu()), weights, (best + torch.log(total)).cpu())


def dense_scores(comparison: Comparison, part: slice, views: Views) -> Float[Tensor, "n shifts cells"]:
    """Log p(image | cell, shift) less that of no particle, plus the cell's log prior, of some images, for all shifts and cells."""
    searched = comparison.searched[part]
    images, count = searched.shape
    ramps = torch.view_as_complex(comparison.ramps.reshape(-1, count, 2))
    moved = torch.view_as_real(searched[:, None] * ramps).reshape(-1, 2 * count)
    scores = (moved @ views.spectra).reshape(images, len(ramps), -1)
    return scores.sub_((comparison.weight[part] @ views.half_power - views.log_prior)[:, None])
