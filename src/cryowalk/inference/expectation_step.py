"""The expectation step: how likely each pose (and class) is for each image, and the weighted sums that models are made of.

A level looks at cells of orientation at one step, at shifts at one step, and at shells up to one radius. The first level compares everything with
everything (`dense`); from then on only the cells that hold nearly all of an image's posterior are divided (`descent`).
"""

from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from cryowalk.core.errors import InputError
from cryowalk.core.execution import Progress, SilentProgress, batches
from cryowalk.data import ParticleSet
from cryowalk.fourier.disk import half_disk
from cryowalk.inference.assignments import Assignments, Sums, joined, reordered
from cryowalk.inference.descent import Batch, Search, posteriors
from cryowalk.inference.model_orientations import ModelOrientations
from cryowalk.inference.noise import NoiseModel
from cryowalk.inference.orientations import GlobalOrientations, LocalOrientations
from cryowalk.inference.references import References
from cryowalk.inference.search import SearchSettings, levels
from cryowalk.inference.summary import contribute, residual_of, summarised
from cryowalk.inference.weighting import ImageModel

BATCH = 1024  # images that are weighted together, at most
SHIFTS = 24  # of the last level, for an image: what the byte budget reckons with


def expectation(  # noqa: PLR0913  what is compared with what, how, and what becomes of it
    particles: ParticleSet,
    references: References,
    noise: NoiseModel,
    search: SearchSettings,
    *,
    orientations: GlobalOrientations | LocalOrientations | ModelOrientations,
    sums: Sums | None = None,
    scale: Float[Tensor, " n"] | None = None,
    use_ctf: bool = True,
    progress: Progress | None = None,
) -> Assignments:
    """The assignments of all particles to poses and models; what the models are made of goes to `sums`.

    log p = Re Σ x*(k) p(k) e^(−2πi k·s) − ½ Σ CTF²|p|²/σ² with x = y CTF/σ², over the half disk without its origin, less what it is without a particle; weights
    are exp(log p + log priors), normalised over all cells and shifts of an image. Images are moved to where `particles.pose` has their
    particle (0 without one) and shifts counted from there.

    Raises
    ------
    InputError
        If there are no images, or no particles.

    Source: Scheres, J. Struct. Biol. 180, 519 (2012), section 2.
    """
    if particles.images is None or len(particles) == 0:
        raise InputError("there are no particle images to compare with the reference")
    progress = progress or SilentProgress()
    cells = orientations.cells(search.angular_step)
    search = replace(search, radius=min(search.radius, references.radius))
    plan = levels(search, cells.steps, box=references.box, pixel_size=references.pixel_size)
    disk = half_disk(references.box, device=particles.images.read([0]).device)
    whole = Search(references=references, cells=cells, settings=search, plan=plan, disk=disk)
    model = ImageModel(noise=noise, diameter=search.diameter, radius=search.radius, use_ctf=use_ctf)
    scales = torch.ones(len(particles)) if scale is None else scale
    parts = []
    for indices in batches(len(particles), batch_size(whole)):
        position = torch.tensor(list(indices))
        weighted = model.weighted(particles.images.read(list(indices)), particles, position, scale=scales[position])
        parts.append(_of_batch(Batch(whole, weighted, position), sums, noise))
        progress.advance(len(position))
    return joined(parts)


def batch_size(search: Search) -> int:
    """How many images the byte budget holds: their coefficients, and the scores of as many cells as may be left for each."""
    coefficients = 40 * search.disk.prefix(search.settings.radius) + 24 * search.disk.box**2
    scores = 4 * search.settings.most_cells * SHIFTS * 2
    return max(1, min(BATCH, search.settings.byte_budget // (coefficients + scores)))


def _of_batch(batch: Batch, sums: Sums | None, noise: NoiseModel) -> Assignments:
    """The assignments of one batch."""
    change = torch.zeros_like(batch.weighted.power)
    unknown = residual_of(batch, change)  # until all have been summed
    parts, images = [], []
    for posterior in posteriors(batch):
        change = change + contribute(batch, posterior, sums=sums, noise=noise)
        parts.append(summarised(batch, posterior, unknown))
        images.append(posterior.look.images)
    return replace(reordered(joined(parts), torch.argsort(torch.cat(images))), residual=residual_of(batch, change))
