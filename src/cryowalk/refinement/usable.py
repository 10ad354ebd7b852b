"""Which particles a refinement can use: images that are finite and hold contrast, in two halves that share none."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from cryowalk.core.errors import InputError, ShapeError, printable
from cryowalk.core.execution import Progress, batches
from cryowalk.data import ParticleSet
from cryowalk.data.images import read_with_gaps
from cryowalk.reconstruction.halves import random_halves

BATCH = 512
FLAT = 1e-6  # of the largest value: a spread that float32 cannot tell from none
FEWEST = 2  # particles of different images in each half
FEW = 10  # particles of an optics group, below which it is told
NAMED = 5  # images that are told by name


@dataclass(frozen=True, slots=True, kw_only=True)
class UsableParticles:
    """Particles fit for refinement, with their half sets, and the rows that were left out with the reason."""

    particles: ParticleSet
    left_out: tuple[tuple[int, str], ...]


def usable_particles(particles: ParticleSet, *, generator: torch.Generator, progress: Progress) -> UsableParticles:
    """The particles whose images are finite and hold contrast, each in half 1 or 2: its own where the set has halves, else drawn at random.

    The images are read once. What is left out is told by name.

    Raises
    ------
    InputError
        If there are no images, no CTF parameters, or too few different images in a half.
    ShapeError
        If the images are not square.
    """
    _require_parts(particles)
    is_finite, has_contrast, distinct = _looked_at(particles, progress)
    reasons = {"holds NaN or infinite values": ~is_finite, "has no contrast": is_finite & ~has_contrast}
    half = particles.half
    if half is not None and bool((half > 0).any()):
        reasons["belongs to neither half"] = is_finite & has_contrast & (half.cpu() == 0)
        half = half.cpu()
    else:
        half = None
    left_out = sorted((int(row), reason) for reason, chosen in reasons.items() for row in chosen.nonzero().flatten())
    _tell(particles, left_out, progress)
    kept = torch.ones(len(particles), dtype=torch.bool)
    kept[[row for row, _ in left_out]] = False
    if not bool(kept.any()):
        raise InputError(
            f"none of the {len(particles)} particles can be used: the image of the first {left_out[0][1]}",
            cause="an empty stack, or one that an earlier step failed to fill",
            fix="look at the images: cryowalk validate STACK.mrcs",
        )
    chosen = particles[kept]
    chosen = chosen.with_half(random_halves(len(chosen), generator=generator) if half is None else half[kept])
    _require_enough(chosen, distinct[kept])
    _tell_small_groups(chosen, progress)
    return UsableParticles(particles=chosen, left_out=tuple(left_out))


def _require_parts(particles: ParticleSet) -> None:
    if particles.images is None:
        raise InputError("the particles have no images", fix="read them from a STAR file whose rlnImageName column names a stack")
    height, width = particles.images.image_shape
    if height != width:
        raise ShapeError(f"particle images must be square: got {height} × {width} (height × width)", fix="crop or pad them first")
    if len({group.pixel_size for group in particles.optics}) > 1:
        sizes = ", ".join(f"{group.pixel_size:g}" for group in particles.optics)
        raise InputError(
            f"the optics groups differ in pixel size: {sizes} Å",
            expected="images of one box and pixel size",
            fix="extract them again at one pixel size: cryowalk extract --i MICROGRAPHS.star --coords PARTICLES.star --scale BOX",
        )
    if particles.defocus is None:
        raise InputError(
            "the particles have no CTF parameters",
            expected="rlnDefocusU in every row",
            fix="estimate them first: cryowalk ctf --i MICROGRAPHS.star --coords PARTICLES.star",
        )
    defocus = particles.defocus
    bad = ~torch.isfinite(defocus.major + defocus.minor + defocus.azimuth + defocus.phase_shift)
    if bool(bad.any()):
        row = int(bad.nonzero()[0])
        raise InputError(f"the CTF of particle {row + 1} is not finite", fix="remove this particle or correct its row")


def _looked_at(particles: ParticleSet, progress: Progress) -> tuple[Bool[Tensor, " n"], Bool[Tensor, " n"], Int[Tensor, " n"]]:
    """Whether each image is finite, whether it has contrast, and a number that is equal for equal images."""
    if particles.images is None:
        raise InputError("the particles have no images")
    finite, contrast, numbers = [], [], []
    progress.start("looking at the images", len(particles))
    for span in batches(len(particles), BATCH):
        images = read_with_gaps(particles.images, list(span)).flatten(1)
        low, high = images.amin(dim=1), images.amax(dim=1)
        good = torch.isfinite(high - low)
        finite.append(good.cpu())
        contrast.append((good & (high - low > FLAT * torch.maximum(low.abs(), high.abs()))).cpu())
        numbers.append(_digests(images))
        progress.advance(len(span))
    return torch.cat(finite), torch.cat(contrast), torch.cat(numbers)


def _digests(images: Tensor) -> Int[Tensor, " n"]:
    """A number for each image, the sum of its bits weighed by their place: equal for equal images and hardly ever for others."""
    bits = images.contiguous().view(torch.int32).to(torch.int64)
    weight = torch.arange(1, images.shape[1] + 1, device=images.device) * 2654435761 % 4294967291
    return (bits * weight).sum(dim=1).cpu()


def _tell(particles: ParticleSet, left_out: list[tuple[int, str]], progress: Progress) -> None:
    for reason in sorted({reason for _, reason in left_out}):
        rows = [row for row, why in left_out if why == reason]
        names = [particles.image_names[row] if particles.image_names else f"number {row + 1}" for row in rows[:NAMED]]
        more = f" and {len(rows) - NAMED} more" if len(rows) > NAMED else ""
        progress.note(f"left out, because the image {reason}: {', '.join(names)}{more}")


def _tell_small_groups(particles: ParticleSet, progress: Progress) -> None:
    """Name optics groups too small to measure their noise; their contrast is drawn towards that of all, see `scale`."""
    counts = torch.bincount(particles.optics_index, minlength=len(particles.optics)).tolist()
    small = [
        f"{printable(group.name)} ({count})" for group, count in zip(particles.optics, counts, strict=True) if 0 < count < FEW
    ]
    if small and len(particles) >= FEW:
        more = f" and {len(small) - NAMED} more" if len(small) > NAMED else ""
        progress.note(
            f"optics groups of fewer than {FEW} particles know their noise badly, merge them: {', '.join(small[:NAMED])}{more}"
        )


def _require_enough(particles: ParticleSet, digests: Int[Tensor, " n"]) -> None:
    for number in (1, 2):
        members = torch.zeros(0, dtype=torch.bool) if particles.half is None else particles.half == number
        different = len(set(digests[members].tolist()))
        if different < FEWEST:
            count = int(members.sum())
            raise InputError(
                f"half {number} has {count} {'particle' if count == 1 else 'particles'} of {different} different "
                f"{'image' if different == 1 else 'images'}",
                expected=f"at least {FEWEST} different images in each half",
                cause="a nearly empty selection, or one image copied",
                fix="give more particles",
            )
