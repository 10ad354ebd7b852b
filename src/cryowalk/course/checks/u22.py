"""Checks of U22: searching and refining poses, mirrored maps, halves that stay apart, and noise refined against a model."""

import math
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from cryowalk.course.exercise import Exercise, Explanation, as_numbers, choice_check, draw, number_check, property_check
from cryowalk.data.volume import Volume
from cryowalk.fourier import SliceAccumulator, extract_slices, prepare_volume, shell_correlation, to_fourier, to_real
from cryowalk.fourier.grids import shell_index
from cryowalk.geometry.rotations import geodesic_distance
from cryowalk.geometry.sampling import random_rotations
from cryowalk.geometry.so3_grid import so3_grid

BOX = 33  # pixels
VOXEL_SIZE = 3.0  # Å
GRID_ORDER = 2  # steps of 15°
NOISE_IMAGES = 300


@cache
def toy(seed: int = 22) -> Volume:
    """A lump of 40 blobs without symmetry, in V; another seed is another molecule."""
    g = torch.Generator().manual_seed(seed)
    axis = torch.arange(BOX, dtype=torch.float64) - BOX // 2
    voxels = torch.zeros(BOX, BOX, BOX, dtype=torch.float64)
    for _ in range(40):
        centre = torch.randn(3, generator=g, dtype=torch.float64)
        centre *= 12.5 * torch.rand(1, generator=g, dtype=torch.float64) ** (1 / 3) / centre.norm()
        x, y, z = (torch.exp(-((axis - c) ** 2) / (2 * 0.9**2)) for c in centre)
        voxels += z[:, None, None] * y[:, None] * x
    return Volume(voxels=(10 * voxels).float(), voxel_size=VOXEL_SIZE)


def project(volume: Volume, lab_from_particle: Float[Tensor, "n 3 3"]) -> Float[Tensor, "n h w"]:
    """Noiseless images of the map in these orientations."""
    box = volume.voxels.shape[-1]
    reference = prepare_volume(volume)
    images: Tensor = to_real(extract_slices(reference, lab_from_particle.to(volume.voxels)), width=box)
    return images


def reconstruct(images: Float[Tensor, "n h w"], lab_from_particle: Float[Tensor, "n 3 3"]) -> Volume:
    """The map of images in known orientations: slices added up in Fourier space."""
    slices = to_fourier(images)
    accumulator = SliceAccumulator(images.shape[-1], VOXEL_SIZE, padding=1.5)
    accumulator.add(slices, torch.ones_like(slices.real), lab_from_particle.float())
    volume: Volume = accumulator.to_volume()
    return volume


def low_passed(volume: Volume, shells: int) -> Volume:
    """The map without shells beyond this one."""
    side = volume.voxels.shape[-1]
    kept = shell_index((side, side, side)) <= shells
    filtered = to_real(to_fourier(volume.voxels, dimensions=3) * kept, width=side, dimensions=3)
    return replace(volume, voxels=filtered)


@cache
def grid() -> Float[Tensor, "orientations 3 3"]:
    """Orientations about 15° apart."""
    return so3_grid(GRID_ORDER)


def best_orientations(images: Float[Tensor, "n h w"], volume: Volume) -> Float[Tensor, "n 3 3"]:
    """For each image the orientation of the grid whose projection correlates best."""
    projections = project(volume, grid()).flatten(1)
    projections = projections / projections.norm(dim=1, keepdim=True).clamp_min(1e-12)
    return grid()[(images.flatten(1) @ projections.T).argmax(dim=1)]


def images_of(count: int, *, snr: float, seed: int) -> tuple[Float[Tensor, "n h w"], Float[Tensor, "n 3 3"]]:
    """Images of the toy in random orientations with white noise, and the orientations."""
    g = torch.Generator().manual_seed(seed)
    orientations = random_rotations(count, generator=g)
    clean = project(toy(), orientations)
    noise = (clean.var(dim=(1, 2)).mean() / snr).sqrt()
    return clean + noise * torch.randn(clean.shape, generator=g), orientations


def noise_alone(seed: int) -> Float[Tensor, "n h w"]:
    """Images that hold nothing."""
    return torch.randn(NOISE_IMAGES, BOX, BOX, generator=torch.Generator().manual_seed(seed))


def chance(shells: int) -> Float[Tensor, " shells"]:
    """Three standard deviations of the correlation of noise in each shell, and at least 0.143."""
    number = torch.bincount(shell_index((BOX, BOX, BOX)).flatten(), minlength=shells)[:shells]
    return (3 / number.double().sqrt()).clamp_min(0.143)


def _median_error(found: object, truth: Float[Tensor, "n 3 3"]) -> float:
    orientations = torch.as_tensor(found, dtype=torch.float64)
    return math.degrees(float(geodesic_distance(orientations, truth).median()))


def _search(answer: Callable[..., Any], seed: int) -> str | None:
    for snr, most in ((1.0, 11.0), (0.1, 15.0)):
        images, truth = images_of(60, snr=snr, seed=draw(seed, "U22.2").randrange(10_000))
        projections = 1.7 * project(toy(), grid())  # on a scale of their own: a score must not depend on it
        found = as_numbers(answer(images.clone(), projections.clone()))
        if found is None or found.shape != (60,) or found.min() < 0 or found.max() >= len(grid()):
            return "The search should return one number for each image: which projection fits best."
        error = _median_error(grid()[torch.from_numpy(found.real).long()], truth)
        if error > most:
            return f"At a signal-to-noise ratio of {snr:g} the median error is {error:.0f}°, the grid's step 15°. Do all projections have an equal chance, strong ones and weak ones?"
    return None


def _local(answer: Callable[..., Any], seed: int) -> str | None:
    images, truth = images_of(40, snr=0.1, seed=draw(seed, "U22.3").randrange(10_000))
    start = best_orientations(images, toy())
    found = torch.as_tensor(answer(images.clone(), start.clone(), lambda orientations: project(toy(), orientations)))
    if found.shape != (40, 3, 3):
        return "refine should return one matrix for each image."
    if float((found.double() @ found.double().transpose(1, 2) - torch.eye(3, dtype=torch.float64)).abs().max()) > 1e-3:
        return "What it returns are no rotations: products of rotations stay rotations, sums do not."
    error = _median_error(found, truth)
    before = _median_error(start, truth)
    return None if error < 3 else f"The median error is {error:.1f}°, and was {before:.1f}° before; it should come below 3°."


def _halves(answer: Callable[..., Any], seed: int) -> str | None:
    count, rounds = 24, 3
    images, truth = images_of(count, snr=1.0, seed=draw(seed, "U22.5").randrange(10_000))
    marks = {float(image.sum()): number for number, image in enumerate(images)}
    start = low_passed(toy(), 3)
    calls: list[tuple[frozenset[int], object]] = []
    made: dict[int, frozenset[int]] = {}

    def refine_once(chosen: Tensor, reference: Volume) -> Volume:
        members = frozenset(marks[float(image.sum())] for image in chosen)
        calls.append((members, made.get(id(reference), None if reference is start else "foreign")))
        new = reconstruct(chosen, truth[sorted(members)])
        made[id(new)] = members
        calls_kept.append(new)
        return new

    calls_kept: list[Volume] = []
    first, second, correlation = answer(images.clone(), start, refine_once, rounds)
    groups = {members for members, _ in calls}
    if any(len(members) == count for members in groups):
        return "All images were refined together in some round: then nothing in the halves is independent."
    if len(groups) != 2 or set.intersection(*map(set, groups)):
        return "Some image was refined in both halves. Split once, before the first round, and never again."
    if len(frozenset.union(*groups)) != count or abs(len(min(groups, key=len)) * 2 - count) > 1:
        return "The halves should hold all images, half each."
    if any(source not in (None, members) for members, source in calls) or sum(source is None for _, source in calls) != 2:
        return "A half was refined against a map that was not its own. Only the low-passed start may be shared."
    if len(calls) != 2 * rounds or made.get(id(first)) == made.get(id(second)):
        return f"Each half should be refined {rounds} times, and its last map returned."
    expected = shell_correlation(first.voxels, second.voxels)
    told = as_numbers(correlation)
    if told is None or told.shape != tuple(expected.shape) or abs(told - expected.numpy()).max() > 1e-3:
        return "The third result should be the Fourier shell correlation of the two maps."
    return None


def _noise(answer: Callable[..., Any], seed: int) -> str | None:
    images = noise_alone(5)
    first, second = answer(images.clone(), toy(), 2)
    if torch.equal(first.voxels, second.voxels):
        return "The two maps are the same one."
    correlation = shell_correlation(first.voxels, second.voxels).double()
    if not bool(correlation.isfinite().all()) or float(first.voxels.std()) == 0:
        return "A map holds nothing, or values that are not finite."
    over = (correlation > chance(len(correlation))).nonzero().flatten()
    over = over[over > 3]
    if len(over) == 0:
        return None
    return f"The halves of pure noise agree in {len(over)} shells beyond the third, by {float(correlation[over].max()):.2f} in one of them. What do they have in common?"


EXERCISES = (
    Exercise(
        id="U22.1",
        stream="blur",
        kind="predict",
        task="How far density at a radius of 75 Å is moved by an error of 1°, in Å.",
        check=number_check(75 * math.pi / 180, relative=0.02),
        hints=("An arc is a radius times an angle.", "The angle in radians.", "1° is 0.01745 rad."),
    ),
    Exercise(
        id="U22.2",
        stream="sharpen",
        kind="code",
        task="The best projection of a grid for each image.",
        check=property_check(_search),
        hints=(
            "A plain inner product favours strong projections: views along the particle's long axis.",
            "|x − a p|², with the best factor a for each pair, is smallest where x · p / |p| is largest.",
            "One matrix product: images flattened to rows times projections flattened and divided by their norms.",
        ),
    ),
    Exercise(
        id="U22.3",
        stream="sharpen",
        kind="code",
        task="Poses refined to a median error below 3° at a signal-to-noise ratio of 0.1.",
        check=property_check(_local),
        hints=(
            "Try small rotations to all sides of each current orientation, keep the best, make the step smaller.",
            "matrix_from_rotation_vector makes small rotations of all directions; multiply them from the left.",
            "27 rotations with entries −1, 0, 1 times a step of 8, 5, 3, 2, 1 degrees, each step twice.",
        ),
    ),
    Exercise(
        id="U22.4",
        stream="blur",
        kind="predict",
        task="Does the best score change when the map is mirrored?",
        check=choice_check(
            "no",
            feedback={
                "worse": "Try it on your hand and its shadow: is there a way to hold the other hand that casts the same shadow?",
                "better": "Why would an image prefer a mirrored object?",
            },
        ),
        hints=(
            "The projection adds up along the beam: does it know what was in front and what behind?",
            "Mirror the particle in the plane of the image. What happens to its projection?",
            "Nothing happens: the mirrored map in a mirrored pose gives the same image.",
        ),
    ),
    Exercise(
        id="U22.5",
        stream="sharpen",
        kind="code",
        task="Refinement of two halves that never meet, and their correlation.",
        check=property_check(_halves),
        hints=(
            "Split the images once, at random, before anything is refined.",
            "Each half has its own map from the first round on; only the start is common, and it is low-passed.",
            "fourier.shell_correlation(first.voxels, second.voxels) at the end.",
        ),
    ),
    Exercise(
        id="U22.6",
        stream="sharpen",
        kind="debug",
        task="Repair a refinement in which halves of pure noise agree with each other.",
        check=property_check(_noise),
        hints=(
            "There are two faults: what the halves begin with, and of which images they are made.",
            "A start with detail puts the same detail into both halves. An image that is in both puts its noise into both.",
            "Begin with low_passed(model, 3), and let each image go into one half only.",
        ),
    ),
)
EXPLANATIONS = (
    Explanation(
        id="U22.words",
        question="A refinement ends with a high half-map correlation. Name the ways in which it could be wrong all the same.",
        rubric=("reference", "noise", "hand", "mask", "preferred"),
        model_answer="Both halves may have started from one detailed reference, or met on the way, so that they agree in noise; a tight mask correlates with "
        "itself; the hand may be wrong, as no image tells it; preferred views may have left directions unseen; all images may share one wrong class or symmetry.",
    ),
)
