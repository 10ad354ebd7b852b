"""Which particles can be classified: those whose images hold finite values and contrast; and clear words where none can."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from cryowalk.classification.settings import ClassificationSettings
from cryowalk.core.checks import require_between, require_square
from cryowalk.core.errors import InputError
from cryowalk.core.execution import batches
from cryowalk.data import ParticleSet
from cryowalk.data.images import read_with_gaps

_READ = 512  # images at a time
_FLAT = 1e-6  # of the largest value: a spread that float32 cannot tell from none


@dataclass(frozen=True, slots=True, kw_only=True)
class Usable:
    """The rows of the particles that can be classified, and of those that cannot: images with NaN or infinite values, and without contrast."""

    rows: Int[Tensor, " n"]
    damaged: Int[Tensor, " m"]
    flat: Int[Tensor, " k"]


def check_particles(particles: ParticleSet, settings: ClassificationSettings) -> None:
    """Nothing, if these particles can be classified as the settings say; no image is read.

    Raises
    ------
    InputError
        If there are no images, too few, images of several pixel sizes, or no CTF.
    ShapeError
        If the images are not square.
    """
    if particles.images is None:
        raise InputError("the particles have no images", fix="read them from a STAR file whose rlnImageName column names a stack")
    box = require_square("particle images", particles.images.image_shape)
    sizes = sorted({particles.optics[group].pixel_size for group in set(particles.optics_index.tolist())})
    if len(sizes) > 1:
        told = ", ".join(f"{size:g} Å" for size in sizes)
        raise InputError(
            f"the particles have different pixel sizes: {told}",
            expected="one pixel size, so that one class can show all of them",
            fix="extract them at one pixel size: cryowalk extract --box … --scale …",
        )
    if settings.ctf == "correct" and particles.defocus is None:
        raise InputError(
            "the particles have no CTF parameters",
            expected="defocus values in every row",
            fix="estimate them first (cryowalk ctf), or give --ctf none if the images have no CTF",
        )
    if settings.diameter is not None:
        require_between("diameter", settings.diameter, 4 * particles.pixel_size, box * particles.pixel_size)
    _check_count(len(particles), settings.classes)


def usable_particles(particles: ParticleSet, settings: ClassificationSettings) -> Usable:
    """Which particles can be classified; every image is read once.

    Raises
    ------
    InputError
        If none or too few can, or their CTF parameters are not finite.
    """
    check_particles(particles, settings)
    if particles.images is None:
        raise InputError("the particles have no images")
    damaged, flat = [], []
    for indices in batches(len(particles), _READ):
        images = read_with_gaps(particles.images, list(indices)).flatten(1)
        low, high = images.amin(dim=1), images.amax(dim=1)
        is_finite = torch.isfinite(high - low)
        damaged.append(~is_finite)
        flat.append(is_finite & (high - low <= _FLAT * torch.maximum(low.abs(), high.abs())))
    is_damaged, is_flat = torch.cat(damaged).cpu(), torch.cat(flat).cpu()
    rows = _rows(~(is_damaged | is_flat))
    if not len(rows):
        what = "hold NaN or infinite values" if bool(is_damaged.all()) else "are constant: they have no contrast"
        raise InputError(
            f"all {len(particles)} particle images {what}",
            cause="an empty stack, or one that an earlier step failed to fill",
            fix="look at the images: cryowalk validate STACK.mrcs",
        )
    _check_count(len(rows), settings.classes)
    if settings.ctf == "correct" and particles.defocus is not None:
        defocus = particles.defocus[rows]
        finite = torch.isfinite(defocus.major + defocus.minor + defocus.azimuth + defocus.phase_shift)
        if not bool(finite.all()):
            place = int(rows[(~finite).nonzero()[0, 0]])
            raise InputError(
                f"the CTF of {name_of(particles, place)} is not finite", fix="remove this particle or correct its row"
            )
    return Usable(rows=rows, damaged=_rows(is_damaged), flat=_rows(is_flat))


def name_of(particles: ParticleSet, place: int) -> str:
    """A particle's image name, or its number where it has none."""
    return f"image {particles.image_names[place]}" if particles.image_names else f"particle {place + 1}"


def _rows(chosen: Bool[Tensor, " n"]) -> Int[Tensor, " m"]:
    return torch.nonzero(chosen)[:, 0]


def _check_count(count: int, classes: int) -> None:
    if count < 2:
        raise InputError(
            f"{count} particle{'' if count == 1 else 's'} cannot be classified",
            expected="two at the least, some hundreds for averages that show something",
            fix="look at the selection that made this set",
        )
    if classes > count:
        raise InputError(
            f"{classes} classes are more than there are particles ({count})",
            expected="some fifty particles a class or more",
            fix=f"give --classes {max(1, count // 50)}",
        )
