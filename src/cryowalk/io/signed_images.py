"""Images of a source that stores some of them with the other contrast: multiplied by their sign as they are read.

cryoSPARC's `blob/sign` is −1 where protein is dark in the file. The sign travels as a column of STAR files, and is set to +1 where images are written anew.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from cryowalk.core.execution import ImageSource
from cryowalk.data.images import ImagesOnDevice, SelectedImages
from cryowalk.io.stacks import ParticleImages

SIGN_COLUMN = "cryosparc/blob/sign:f4"  # of a STAR file


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedImages:
    """The images of stacks, each multiplied by +1 or −1, an `ImageSource`: protein is bright in all of them."""

    source: ParticleImages
    signs: NDArray[np.float32]

    @property
    def count(self) -> int:
        """How many images there are."""
        return self.source.count

    @property
    def image_shape(self) -> tuple[int, int]:
        """Height and width, pixels."""
        return self.source.image_shape

    @property
    def stacks(self) -> tuple[Any, ...]:
        """The stacks."""
        return self.source.stacks

    def path_of(self, index: int) -> Path:
        """The stack that holds this image."""
        return self.source.path_of(index)

    def read(self, indices: Sequence[int]) -> Float[Tensor, "n h w"]:
        """The images at these positions, protein bright."""
        chosen = list(indices)
        return self.source.read(chosen) * torch.from_numpy(self.signs[chosen])[:, None, None]


def signed(source: ParticleImages, signs: NDArray[np.float32] | None) -> ImageSource:
    """The images multiplied by their signs; the source itself where all are +1 or none is told."""
    if signs is None or not bool((signs < 0).any()):
        return source
    return SignedImages(source=source, signs=np.where(signs < 0, np.float32(-1), np.float32(1)))


def signed_by_column(source: ParticleImages, columns: Mapping[str, tuple[str, ...]]) -> ImageSource:
    """The images multiplied by the signs in a STAR file's column; the source itself where there is no such column."""
    texts = columns.get(SIGN_COLUMN)
    if texts is None or not any(text.startswith("-") for text in texts):
        return source
    return signed(source, np.array([-1.0 if text.startswith("-") else 1.0 for text in texts], dtype=np.float32))


def are_anew(images: ImageSource | None) -> bool:
    """Whether these are images in memory or of a stack that stores protein bright, so that a sign told of other images does not hold for them."""
    while isinstance(images, SelectedImages | ImagesOnDevice):
        images = images.source
    return images is not None and not isinstance(images, SignedImages)


def with_true_signs(extra: Mapping[str, tuple[str, ...]], images: ImageSource | None) -> Mapping[str, tuple[str, ...]]:
    """The columns beside these images: a sign that does not hold for them becomes +1."""
    return all_bright(extra) if are_anew(images) else extra


def all_bright(extra: Mapping[str, tuple[str, ...]]) -> Mapping[str, tuple[str, ...]]:
    """The columns with every sign, where there are any, +1."""
    if SIGN_COLUMN not in extra:
        return extra
    return {label: ("1.0",) * len(column) if label == SIGN_COLUMN else column for label, column in extra.items()}
