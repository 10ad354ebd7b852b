"""What is solvent between iterations: all outside a sphere at first, then all outside the shape that each half's own map has taken.

Noise where there is no molecule is the larger part of a half map's error, and images are drawn to it. Each half's mask is made of that half's map alone,
so that the halves stay apart; their agreement is measured inside both masks and corrected for what tight masks add.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from cryowalk.core.errors import InputError
from cryowalk.data import HalfMaps, Volume
from cryowalk.refinement.regularisation import Agreement, agreement, last_shell_above
from cryowalk.validation.masks import automatic_mask
from cryowalk.validation.settings import MaskSettings

SEEN = 8  # the molecule is seen when details of an eighth of its diameter are
SMOOTHEST = 12.0  # Å; masks are cut from maps low-passed to this, or to what the halves agree to
EXTEND, EDGE = 2.0, 5.0  # voxels


@dataclass(frozen=True, slots=True, kw_only=True)
class Solvent:
    """Each half's mask (1 molecule, 0 solvent), and how the halves agree inside both."""

    masks: tuple[Float[Tensor, "z y x"], Float[Tensor, "z y x"]]
    agreed: Agreement

    @property
    def common(self) -> Float[Tensor, "z y x"]:
        """Where either half sees molecule."""
        return torch.maximum(*self.masks)


def inside(halves: HalfMaps, mask: Float[Tensor, "z y x"], *, radius: int, generator: torch.Generator | None = None) -> Solvent:
    """One mask for both halves; with a generator what it adds to their agreement is corrected, as a tight one needs it."""
    return Solvent(masks=(mask, mask), agreed=agreement(halves, mask, radius=radius, generator=generator))


def own_shapes(
    halves: HalfMaps, sphere: Float[Tensor, "z y x"], *, radius: int, diameter: float, beyond: int, generator: torch.Generator
) -> Solvent:
    """The mask of each half's own shape inside the sphere, or the sphere until both halves show one.

    A shape is looked for once the halves agree inside the sphere to `SEEN` parts of the diameter (Å), and beyond the shell `beyond`, to which they began alike.
    """
    wide = inside(halves, sphere, radius=radius)
    shell = last_shell_above(wide.agreed.masked)
    if shell <= beyond:
        return wide
    voxel_size = halves.first.voxel_size
    resolution = sphere.shape[-1] * voxel_size / shell
    if resolution > diameter / SEEN:
        return wide
    settings = MaskSettings(low_pass=max(SMOOTHEST, resolution), extend=EXTEND, soft_edge=EDGE)
    try:
        first, second = (_shape(half, sphere, settings) for half in (halves.first, halves.second))
    except InputError:
        return wide  # nothing stands out of a map that is flat within the sphere
    tight = Solvent(masks=(first, second), agreed=wide.agreed)
    return Solvent(masks=tight.masks, agreed=agreement(halves, tight.common, radius=radius, generator=generator))


def _shape(half: Volume, sphere: Float[Tensor, "z y x"], settings: MaskSettings) -> Float[Tensor, "z y x"]:
    inner = Volume(voxels=half.voxels * sphere.to(half.voxels), voxel_size=half.voxel_size)
    return automatic_mask(inner, settings).mask.voxels * sphere.to(half.voxels)
