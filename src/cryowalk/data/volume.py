"""Maps, and the two half maps that must not meet."""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class Volume:
    """A map on a grid: voxels `[z, y, x]`, voxel size in Å, and where voxel (0, 0, 0) lies, (x, y, z) in Å."""

    voxels: Float[Tensor, "z y x"]
    voxel_size: float
    origin: tuple[float, float, float] = (0.0, 0.0, 0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class HalfMaps:
    """Two maps from disjoint halves of the particles; only `validation` and `denoising` take both."""

    first: Volume
    second: Volume

    def average(self) -> Volume:
        """The mean of both, for looking and as the final map; it is never fed back."""
        mean = (self.first.voxels + self.second.voxels) / 2
        return Volume(voxels=mean, voxel_size=self.first.voxel_size, origin=self.first.origin)
