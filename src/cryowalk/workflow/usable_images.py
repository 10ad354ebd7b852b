"""Images with NaN or infinite values in a stack: left out by name, or refused, before the work begins."""

from typing import Annotated, Literal

import torch

from cryowalk.core.errors import InputError
from cryowalk.core.execution import Progress, batches
from cryowalk.data.images import read_with_gaps
from cryowalk.data.particles import ParticleSet

OnNan = Annotated[
    Literal["drop", "refuse"], "images with NaN or infinite values: drop (they are named and left out) or refuse (exit 3)"
]
BATCH = 256
NAMED = 5  # images that are told by name


def without_damaged(particles: ParticleSet, *, on_nan: Literal["drop", "refuse"], progress: Progress) -> ParticleSet:
    """The particles whose images are finite; every image is read once, and what is left out is told by name.

    Raises
    ------
    InputError
        If none is left, or one is damaged and `on_nan` is "refuse".
    """
    source = particles.images
    if source is None:
        return particles
    damaged: list[int] = []
    progress.start("looking at the images", source.count)
    for span in batches(source.count, BATCH):
        images = source.read(span) if on_nan == "refuse" else read_with_gaps(source, span)
        is_finite = torch.isfinite(images.flatten(1).sum(dim=1, dtype=torch.float64))
        damaged += [span[row] for row in (~is_finite).nonzero().flatten().tolist()]
        if damaged and on_nan == "refuse":
            break
        progress.advance(len(span))
    if not damaged:
        return particles
    names = [particles.image_names[row] if particles.image_names else f"number {row + 1}" for row in damaged[:NAMED]]
    if on_nan == "refuse":
        raise InputError(f"the image {names[0]} holds NaN or infinite values", fix="make it again, or give --on-nan drop")
    more = f" and {len(damaged) - NAMED} more" if len(damaged) > NAMED else ""
    if len(damaged) == len(particles):
        raise InputError(
            f"none of the {len(particles)} images can be used: all hold NaN or infinite values, the first {names[0]}",
            cause="a failed earlier step (a division by a zero variance, a bad gain reference)",
            fix="make the images again",
        )
    progress.note(f"left out, because the image holds NaN or infinite values ({len(damaged)}): {', '.join(names)}{more}")
    kept = torch.ones(len(particles), dtype=torch.bool)
    kept[damaged] = False
    return particles[kept]


def refuse_damaged(particles: ParticleSet, *, on_nan: Literal["drop", "refuse"], progress: Progress) -> None:
    """Nothing, for work that leaves damaged images out by itself, unless they are to be refused.

    Raises
    ------
    InputError
        If an image is damaged and `on_nan` is "refuse".
    """
    if on_nan == "refuse":
        without_damaged(particles, on_nan=on_nan, progress=progress)
