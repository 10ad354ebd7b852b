"""Images of a source that stores some of them with the other contrast: multiplied by their sign as they are read."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from cryowalk.core.execution import ImageSource
from cryowalk.io.stacks import ParticleImages


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
