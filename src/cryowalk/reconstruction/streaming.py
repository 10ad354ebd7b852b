"""Particle images in batches of bounded size, the next batch read while this one is worked on, every image checked once."""

import hashlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from cryowalk.core.errors import InputError
from cryowalk.core.execution import ImageSource
from cryowalk.data import ParticleSet
from cryowalk.data.images import read_with_gaps

# What one image of n × n pixels holds while it is worked on: itself, its spectrum and weights, in float32 each, and the transform's own copy.
COPIES = 5
BYTES_PER_PIXEL = 4
FLAT = 1e-6  # of the largest value: a spread that float32 cannot tell from none


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Images of some particles, `indices` in the set; images without any contrast, and `damaged` ones, are already left out."""

    indices: Int[Tensor, " n"]
    images: Float[Tensor, "n h w"]
    fingerprints: Int[Tensor, " n"]
    left_out: int
    damaged: tuple[int, ...] = ()


def batch_size(memory_budget: int, image_shape: tuple[int, int]) -> int:
    """How many images a byte budget holds at once; at least one, and never more than 4,096."""
    height, width = image_shape
    return max(1, min(4096, memory_budget // (COPIES * BYTES_PER_PIXEL * height * width)))


def checked_batches(
    particles: ParticleSet, batches: list[list[int]], *, on_nan: Literal["drop", "refuse"] = "refuse"
) -> Iterator[Batch]:
    """The batches in order, each read by a second thread while the one before is worked on; images that are not finite are dropped or refused.

    Raises
    ------
    InputError
        If an image holds NaN or infinite values and is to be refused, with the image's name.
    """
    source = particles.images
    if source is None:
        raise InputError("the particles have no images", fix="read them from a STAR file whose rlnImageName column names a stack")
    read = read_with_gaps if on_nan == "drop" else _read
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="read-ahead") as reader:
        pending = reader.submit(read, source, batches[0]) if batches else None
        for number, indices in enumerate(batches):
            if pending is None:
                return
            images = pending.result()
            pending = reader.submit(read, source, batches[number + 1]) if number + 1 < len(batches) else None
            places = torch.tensor(indices)
            yield _checked(particles, places, images) if on_nan == "refuse" else _left_out(particles, places, images)


def _read(source: ImageSource, indices: list[int]) -> Float[Tensor, "n h w"]:
    return source.read(indices)


def _checked(particles: ParticleSet, indices: Int[Tensor, " n"], images: Float[Tensor, "n h w"]) -> Batch:
    low, high = images.flatten(1).amin(dim=1), images.flatten(1).amax(dim=1)
    bad = (~torch.isfinite(high - low)).nonzero().flatten()
    if len(bad):
        place = int(indices[bad[0]])
        name = particles.image_names[place] if particles.image_names else f"number {place + 1}"
        raise InputError(
            f"the particle image {name} holds NaN or infinite values",
            expected="finite pixel values",
            cause="a failed normalisation, or a particle cut from a damaged micrograph",
            fix="remove this particle, or extract it again",
        )
    has_contrast = high - low > FLAT * torch.maximum(low.abs(), high.abs())
    if bool(has_contrast.all()):
        return Batch(indices=indices, images=images, fingerprints=_fingerprints(images), left_out=0)
    kept = images[has_contrast]
    return Batch(
        indices=indices[has_contrast.cpu()], images=kept, fingerprints=_fingerprints(kept), left_out=len(images) - len(kept)
    )


def _left_out(particles: ParticleSet, indices: Int[Tensor, " n"], images: Float[Tensor, "n h w"]) -> Batch:
    is_finite = torch.isfinite(images.flatten(1).amax(dim=1) - images.flatten(1).amin(dim=1))
    if bool(is_finite.all()):
        return _checked(particles, indices, images)
    on_cpu = is_finite.cpu()
    damaged = tuple(indices[~on_cpu].tolist())
    return replace(_checked(particles, indices[on_cpu], images[is_finite]), damaged=damaged)


def _fingerprints(images: Float[Tensor, "n h w"]) -> Int[Tensor, " n"]:
    """A number for each image that is equal for equal images and, but for chance, for no others: a hash of the bytes of its middle row."""
    rows = images[:, images.shape[1] // 2].contiguous().cpu().to(torch.float32).numpy()
    digests = [hashlib.blake2b(row.tobytes(), digest_size=8).digest() for row in rows]
    return torch.tensor([int.from_bytes(digest, "little", signed=True) for digest in digests], dtype=torch.long)
