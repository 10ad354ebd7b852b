"""What a posterior leaves behind: weighted sums for the models, the misfit that the noise is, and a pose with its widths for each image."""

import math
from itertools import pairwise

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from cryowalk.data import Pose
from cryowalk.fourier.shells import shell_sum
from cryowalk.geometry.rotations import geodesic_distance, matrix_from_rotation_vector, rotation_vector_from_matrix
from cryowalk.geometry.symmetry import distance_modulo_symmetry
from cryowalk.inference.assignments import Assignments, Contribution, NoiseResidual, Sums
from cryowalk.inference.descent import Batch, Look, Posterior, Search, heaviest_rows
from cryowalk.inference.noise import NoiseModel
from cryowalk.inference.rows import CHUNK_BYTES, Comparison, Rows, in_threads, row_slices, shift_ramps, significant

NEAR = 3.0  # steps about the likeliest orientation over which the mean is taken


def contribute(batch: Batch, posterior: Posterior, *, sums: Sums | None, noise: NoiseModel) -> Float[Tensor, "groups shells"]:
    """Σ E|y − CTF p|² − |y|² in each shell of each optics group; the rows that matter go to `sums`, optics group after optics group."""
    search, weighted, look = batch.search, batch.weighted, posterior.look
    count = weighted.summed.shape[1]
    images = look.images.to(weighted.summed.device)
    phases = search.disk.shift_phases(-look.centre.to(images.device), pixel_size=search.pixel_size, count=count)
    ramps = shift_ramps(search.disk, look.shifts.to(images.device), pixel_size=search.pixel_size, count=count)
    moved = Comparison(
        weighted.summed[images] * phases, weighted.weight[images], batch.position[look.images], ramps,
        look.level, search.settings.radius,
    )  # fmt: skip
    share = posterior.weights.sum(dim=1).cpu()
    kept = significant(share, posterior.rows.image, kept=search.settings.kept, most=search.settings.most_cells)
    group = weighted.group[look.images][posterior.rows.image]
    shell = search.disk.shell[:count]
    change = torch.zeros_like(weighted.power)
    for number in sorted(set(group.tolist())):
        chosen = (kept & (group == number)).nonzero().flatten()
        if search.cells.is_shared:
            chosen = chosen[torch.argsort(posterior.rows.key[chosen], stable=True)]
        misfit = _added(search, moved, posterior, chosen, sums=sums)
        squared = misfit * noise.on_shells(number, shell.cpu()).to(misfit)
        # Of each Friedel pair one was compared.
        change[number].index_add_(0, shell, 2 * squared.to(change))
    return change


def _added(
    search: Search, moved: Comparison, posterior: Posterior, chosen: Int[Tensor, " r"], *, sums: Sums | None
) -> Float[Tensor, " K"]:
    """Σ (CTF²|p|² − 2 Re CTF p* y)/σ² over these rows; their sums over shifts, and over images where cells are shared, are passed on."""
    device, count = moved.searched.device, moved.searched.shape[1]
    size = max(16, CHUNK_BYTES // (8 * count)) if device.type == "cpu" else max(1024, 2**28 // (8 * count))
    total = torch.zeros(count, dtype=torch.float64, device=device)
    # Rows of one key stay together: cut where the key changes.
    keys = posterior.rows.key[chosen]
    pieces = (
        _cuts(keys, size) if search.cells.is_shared else [(i, min(i + size, len(chosen))) for i in range(0, len(chosen), size)]
    )

    def work(piece: tuple[int, int]) -> tuple[Contribution, Tensor]:
        return _piece(search, moved, posterior, chosen[piece[0] : piece[1]])

    for contribution, misfit in in_threads(work, pieces, device=device):
        total += misfit
        if sums is not None:
            sums.add(contribution)
    return total


def _cuts(keys: Int[Tensor, " r"], size: int) -> list[tuple[int, int]]:
    """Pieces of at least `size` rows (but the last) that end where the key changes."""
    edges = (torch.nonzero(keys[1:] != keys[:-1]).flatten() + 1).tolist()
    cuts = [0]
    for edge in edges:
        if edge - cuts[-1] >= size:
            cuts.append(edge)
    if len(keys) > cuts[-1]:
        cuts.append(len(keys))
    return list(pairwise(cuts))


def _piece(search: Search, moved: Comparison, posterior: Posterior, chosen: Int[Tensor, " r"]) -> tuple[Contribution, Tensor]:
    """The contribution of some rows, and their misfit on each coefficient."""
    rows = Rows(posterior.rows.image[chosen], posterior.rows.key[chosen])
    slices, which = row_slices(rows, moved, search.cells, search.references)
    place = which.new_zeros(len(slices)).scatter(0, which, torch.arange(len(which)))
    model, rotations = search.cells.place(posterior.look.level, rows.key[place], moved.position[rows.image[place]])
    weights = posterior.weights[chosen.to(posterior.weights.device)]
    factor = weights @ moved.ramps
    numerator = torch.zeros_like(slices)
    denominator = torch.zeros_like(slices.real)
    share = weights.sum(dim=1)
    if slices.device.type == "cpu" and slices.dtype == torch.complex64:
        from cryowalk.inference import kernels

        total = np.zeros(slices.shape[1])
        kernels.sum_rows(
            moved.searched.numpy(), moved.weight.numpy(), factor.numpy(), share.numpy(), rows.image.numpy(), which.numpy(),
            numerator.numpy(), denominator.numpy(),
        )  # fmt: skip
        kernels.misfit(numerator.numpy(), denominator.numpy(), slices.numpy(), total)
        misfit = torch.from_numpy(total)
    else:
        image, into = rows.image.to(slices.device), which.to(slices.device)
        back = torch.view_as_complex(factor.reshape(len(which), -1, 2))
        numerator.index_add_(0, into, moved.searched[image] * back)
        denominator.index_add_(0, into, moved.weight[image] * share[:, None])
        power = slices.real.square() + slices.imag.square()
        misfit = (denominator * power - 2 * (slices.conj() * numerator).real).sum(dim=0).double()
    image = moved.position[rows.image[place]] if not search.cells.is_shared else torch.full_like(place, -1)
    return Contribution(model, image, rotations, numerator, denominator), misfit


def summarised(batch: Batch, posterior: Posterior, residual: NoiseResidual) -> Assignments:
    """The pose, its widths and its likelihood of each image of a posterior."""
    search, look, rows = batch.search, posterior.look, posterior.rows
    weights, images = posterior.weights.cpu(), len(look.images)
    share = weights.sum(dim=1)
    model, rotations = search.cells.place(look.level, rows.key, batch.position[look.images][rows.image])
    best = heaviest_rows(share, rows.image, images)
    at_best = (weights[best] @ look.shifts) / share[best].clamp_min(1e-30)[:, None]
    shift = batch.weighted.centre.cpu()[look.images] + look.centre + at_best
    pose = _mean_near(rotations, rotations[best], share, rows.image, reach=NEAR * search.plan[look.level].step)
    angle = distance_modulo_symmetry(rotations, pose[rows.image], search.cells.symmetry)
    total = torch.zeros(images, len(look.shifts)).index_add(0, rows.image, weights)
    mean = total @ look.shifts
    spread = (total @ look.shifts.square().sum(dim=1) - mean.square().sum(dim=1)).clamp_min(0)
    probability = torch.zeros(images, search.references.models)
    probability.view(-1).index_add_(0, rows.image * search.references.models + model, share)
    width = torch.zeros(images).index_add(0, rows.image, (share * angle.square()).float())
    kept = significant(share, rows.image, kept=search.settings.kept, most=search.settings.most_cells)
    return Assignments(
        pose=Pose(lab_from_particle=pose.double(), shift=shift.double()), model=model[best],
        model_probability=probability, log_evidence=posterior.log_evidence - _log_shifts(search, look),
        log_noise=-batch.weighted.energy.cpu()[look.images],
        max_probability=torch.zeros(images).scatter_reduce(0, rows.image, weights.amax(dim=1), "amax"),
        angular_width=width.sqrt(), shift_width=(spread / 2).sqrt(),
        significant=torch.zeros(images, dtype=torch.long).index_add(0, rows.image, kept.long()),
        scale_numerator=posterior.likelihood, scale_denominator=posterior.norm, residual=residual,
    )  # fmt: skip


def _mean_near(
    rotations: Float[Tensor, "rows 3 3"],
    best: Float[Tensor, "n 3 3"],
    share: Float[Tensor, " rows"],
    image: Int[Tensor, " rows"],
    *,
    reach: float,
) -> Float[Tensor, "n 3 3"]:
    """Each image's mean orientation over the rows within `reach` (rad) of its likeliest: free of the grid where the grid is as fine as the posterior."""
    centre = best[image]
    near = (geodesic_distance(rotations, centre) < reach).nonzero().flatten()
    vector = rotation_vector_from_matrix(rotations[near] @ centre[near].mT).to(share)
    total = torch.zeros(len(best), 4).index_add(
        0, image[near], share[near, None] * torch.nn.functional.pad(vector, (0, 1), value=1.0)
    )
    return matrix_from_rotation_vector(total[:, :3] / total[:, 3:].clamp_min(1e-30)) @ best


def _log_shifts(search: Search, look: Look) -> float:
    """The logarithm of the number of shifts that the prior is spread over, so that evidences at different steps compare."""
    step = search.plan[look.level].shift_step
    return math.log(max(1.0, math.pi * (search.settings.shift_range / step) ** 2))


def residual_of(batch: Batch, change: Float[Tensor, "groups shells"]) -> NoiseResidual:
    """The residual of a batch from its own power and how far the models change it."""
    box, weighted = batch.search.disk.box, batch.weighted
    counts = torch.bincount(weighted.group, minlength=weighted.power.shape[0])
    half = torch.ones(box, box // 2 + 1)
    number = shell_sum(half, size=(box, box)).double()
    return NoiseResidual(
        power=(weighted.power + change).clamp_min(0).cpu(), coefficients=counts[:, None] * number[None], images=counts
    )
