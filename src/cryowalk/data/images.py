"""Images: movies, micrographs, and stacks of particle images."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from cryowalk.core.errors import DamagedImageError
from cryowalk.core.execution import ImageSource


@dataclass(frozen=True, slots=True, kw_only=True)
class Movie:
    """Frames of one exposure; pixel size in Å, dose of each frame in e⁻/Å²."""

    frames: Float[Tensor, "frames h w"]
    pixel_size: float
    dose_per_frame: float | None = None
    name: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Micrograph:
    """One aligned and summed exposure, physical contrast (protein dark); pixel size in Å."""

    pixels: Float[Tensor, "h w"]
    pixel_size: float
    name: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageStack:
    """Images of one size in memory, an `ImageSource`; pixel size in Å."""

    pixels: Float[Tensor, "images h w"]
    pixel_size: float

    @property
    def count(self) -> int:
        """How many images there are."""
        return self.pixels.shape[0]

    @property
    def image_shape(self) -> tuple[int, int]:
        """Height and width, pixels."""
        return self.pixels.shape[1], self.pixels.shape[2]

    def read(self, indices: Sequence[int]) -> Float[Tensor, "n h w"]:
        """The images at these positions."""
        return self.pixels[torch.as_tensor(list(indices), dtype=torch.long)]


@dataclass(frozen=True, slots=True, kw_only=True)
class SelectedImages:
    """Some images of another source, in a given order; nothing is copied."""

    source: ImageSource
    indices: tuple[int, ...]

    @property
    def count(self) -> int:
        """How many images are selected."""
        return len(self.indices)

    @property
    def image_shape(self) -> tuple[int, int]:
        """Height and width, pixels."""
        return self.source.image_shape

    def read(self, indices: Sequence[int]) -> Float[Tensor, "n h w"]:
        """The selected images at these positions."""
        return self.source.read([self.indices[i] for i in indices])


@dataclass(frozen=True, slots=True, kw_only=True)
class ImagesOnDevice:
    """Another source's images, moved to a device as they are read: what works on them follows them there."""

    source: ImageSource
    device: torch.device

    @property
    def count(self) -> int:
        """How many images there are."""
        return self.source.count

    @property
    def image_shape(self) -> tuple[int, int]:
        """Height and width, pixels."""
        return self.source.image_shape

    def read(self, indices: Sequence[int]) -> Float[Tensor, "n h w"]:
        """The images at these positions, on the device."""
        return self.source.read(indices).to(self.device)


def read_with_gaps(source: ImageSource, indices: Sequence[int]) -> Float[Tensor, "n h w"]:
    """The images at these positions; one that the source refuses as damaged is NaN throughout, so that the others can be used."""
    try:
        return source.read(indices)
    except DamagedImageError:
        if len(indices) == 1:
            return torch.full((1, *source.image_shape), torch.nan)
    middle = len(indices) // 2
    return torch.cat([read_with_gaps(source, part).cpu() for part in (indices[:middle], indices[middle:])])
