"""Other programs' particles beside the truth of a simulation: read from RELION's or cryoSPARC's files, and matched by the images they name."""

from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor

from cryowalk.core.errors import InputError
from cryowalk.data import Defocus, ParticleSet, Pose, Truth
from cryowalk.io.cryosparc import CRYOSPARC_ENDINGS, read_cryosparc
from cryowalk.io.relion import read_particles

Rows = TypeVar("Rows", Pose, Defocus, Tensor)


def read_any_particles(path: Path) -> ParticleSet:
    """The particles of a RELION STAR or cryoSPARC .cs file; their images are not opened.

    Raises
    ------
    InputError
        If the file holds none.
    """
    return read_cryosparc(path) if path.suffix.lower() in CRYOSPARC_ENDINGS else read_particles(path, images="ignore")


def truth_of(particles: ParticleSet, truth: Truth, *, path: Path) -> Truth:
    """The truth in the order of these particles: of image k of the simulated stack, row k, whatever was sorted or left out since.

    Particles that name no images, or images of several stacks, are taken to be in the order of the truth already.

    Raises
    ------
    InputError
        If an image is beyond the truth's rows or named twice.
    """
    count = next((len(part) for part in (truth.pose, truth.class_number) if part is not None), None)
    if truth.defocus is not None and count is None:
        count = len(truth.defocus.major)
    stacks = {name.rpartition("@")[2] for name in particles.image_names}
    numbers = [name.partition("@")[0] for name in particles.image_names]
    if count is None or len(stacks) != 1 or not all(number.isdigit() for number in numbers):
        return truth
    rows = torch.tensor([int(number) - 1 for number in numbers])
    if int(rows.max()) >= count or int(rows.min()) < 0 or len(rows.unique()) < len(rows):  # type: ignore[no-untyped-call]
        what = "an image is named twice" if len({*numbers}) < len(numbers) else f"image {int(rows.max()) + 1} is named"
        raise InputError(
            f"{what}, the truth holds {count} rows",
            file=path,
            expected="images of the simulated stack, each once",
            fix="score the particles against the truth.star beside their own stack",
        )

    def chosen(part: Rows | None) -> Rows | None:
        return None if part is None else part[rows]

    return replace(
        truth,
        pose=chosen(truth.pose),
        defocus=chosen(truth.defocus),
        class_number=chosen(truth.class_number),
        conformation=chosen(truth.conformation),
        junk=chosen(truth.junk),
    )
