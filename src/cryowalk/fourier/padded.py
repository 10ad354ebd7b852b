"""The padded spectrum that central slices are read from and inserted into: its layout, its way from and to a box in real space.

Only the half with kx ≥ 0 is kept (with one column before it and a margin around it for the interpolation's taps), only just beyond the
Nyquist frequency of the box, with the origin in the middle: a tap is then an addition, without a wrap and without a branch.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Complex, Float, Int
from torch import Tensor

from cryowalk.core.checks import require_between
from cryowalk.fourier.transform import resize, to_fourier, to_real
from cryowalk.numerics.interpolation import THREE_TAPS, GriddingKernel


@dataclass(frozen=True, slots=True, kw_only=True)
class PaddedGrid:
    """The layout for images of `box` pixels: `size` is the side of the padded box, even.

    `stretch` is how much farther than Nyquist the slices may reach: the largest factor by which a matrix in place of a rotation lengthens a vector.
    """

    box: int
    size: int
    stretch: float = 1.0

    @property
    def ratio(self) -> float:
        """Steps of the padded spectrum per step of an image's spectrum."""
        return self.size / self.box

    @property
    def margin(self) -> int:
        """The largest |ky| and |kz| kept, in steps of the padded spectrum: the reach of the images' coefficients and two more for the taps."""
        return math.ceil(self.ratio * disk_reach(self.box) * self.stretch) + 2

    @property
    def shape(self) -> tuple[int, int, int]:
        """Planes kz, rows ky from −margin to +margin, and columns kx from −1 to +margin."""
        return 2 * self.margin + 1, 2 * self.margin + 1, self.margin + 2

    @property
    def kernel(self) -> GriddingKernel:
        """The interpolation kernel."""
        return THREE_TAPS

    def correction(self, *, purpose: str, like: Tensor) -> Float[Tensor, " n"]:
        """The factor along one axis of the box, before interpolating ("interpolation") or after a density-weighted insertion ("average")."""
        position = (np.arange(self.box) - self.box // 2) / self.size
        factor = (
            self.kernel.interpolation_correction(position) if purpose == "interpolation" else 1 / self.kernel.transform(position)
        )
        return torch.as_tensor(factor).to(like)

    def from_box(self, voxels: Float[Tensor, "z y x"]) -> Complex[Tensor, "kz ky kx"]:
        """The padded spectrum, in this layout, of a volume that is already corrected."""
        half = to_fourier(resize(voxels, (self.size, self.size, self.size)), dimensions=3)
        column = torch.arange(-1, self.margin + 1, device=voxels.device) % self.size
        across = torch.arange(-self.margin, self.margin + 1, device=voxels.device) % self.size
        stored = column <= self.size // 2
        # The columns that the half spectrum lacks (−1, and beyond Nyquist) are the conjugates of their Friedel mates.
        direct = half[
            across[:, None, None], across[None, :, None], torch.where(stored, column, self.size - column)[None, None, :]
        ]
        for index in torch.nonzero(~stored).reshape(-1).tolist():
            mirrored = (-across) % self.size
            direct[:, :, index] = half[:, :, self.size - int(column[index])][mirrored[:, None], mirrored[None, :]].conj()
        return direct

    def folded(self, grid: Tensor) -> Tensor:
        """The half spectrum of side `size` made by summing a grid and its Friedel mates: the adjoint of how `from_box` spreads one.

        Takes complex numerators (mates are conjugated) and real denominators alike.
        """
        half = grid.new_zeros((self.size, self.size, self.size // 2 + 1))
        across = torch.arange(-self.margin, self.margin + 1, device=grid.device)
        columns = torch.arange(-1, self.margin + 1, device=grid.device)
        for sign, values in ((1, grid), (-1, grid.conj() if grid.is_complex() else grid)):
            target = (sign * columns) % self.size
            kept = torch.nonzero(target <= self.size // 2).reshape(-1)
            if sign == -1 or kept.numel() < columns.numel():
                values = values[:, :, kept]
            rows = (sign * across) % self.size
            # Rows, planes and columns may fall onto one another where the margin passes Nyquist: they are added one after the other.
            planes = values.new_zeros((self.size, *values.shape[1:])).index_add_(0, rows, values)
            folded = values.new_zeros((self.size, self.size, values.shape[2])).index_add_(1, rows, planes)
            half.index_add_(2, target[kept], folded)
        return half

    def to_box(self, half: Complex[Tensor, "kz ky kx"]) -> Float[Tensor, "z y x"]:
        """The box in the middle of the padded box that has this half spectrum."""
        return resize(to_real(half, width=self.size, dimensions=3), (self.box, self.box, self.box))


@dataclass(frozen=True, slots=True, kw_only=True)
class DiskPoints:
    """The coefficients of an image's half spectrum inside `disk_reach`, in the order of rows: integer kx, ky and the place in the row.

    `share` is ½ for a coefficient that is its own Friedel mate, 0 for one whose mate stands in the same half spectrum and is taken, else 1.
    `ramp` is |k|, at the origin the mean of |k| over the disk that the origin's coefficient stands for, ⅓: many slices in random
    orientations lie 1/|k| dense in space, and with the ramp evenly.
    """

    kx: Int[Tensor, " points"]
    ky: Int[Tensor, " points"]
    place: Int[Tensor, " points"]
    share: Float[Tensor, " points"]
    ramp: Float[Tensor, " points"]


def disk_reach(box: int) -> int:
    """The radius, in steps of an image's spectrum, to which coefficients are used: one beyond Nyquist.

    Shell box // 2 is half a step thick on either side of Nyquist; an insertion that stopped there would fill it by half.
    """
    return box // 2 + 1


def disk_points(box: int, *, device: torch.device | str | None = None) -> DiskPoints:
    """The coefficients with |k| ≤ `disk_reach` of the half spectrum of a square image.

    Those in the Nyquist row or column of an even box stand for two frequencies at once: off the axes they are left out.
    """
    row = torch.arange(box, device=device)
    signed = torch.where(row < (box + 1) // 2, row, row - box)
    column = torch.arange(box // 2 + 1, device=device)
    inside = signed[:, None] ** 2 + column[None, :] ** 2 <= disk_reach(box) ** 2
    inside &= ((2 * signed.abs() != box)[:, None] | (column == 0)) & ((2 * column != box) | (signed == 0)[:, None])
    rows, kx = torch.nonzero(inside, as_tuple=True)
    ky = signed[rows]
    share = torch.ones(kx.shape[0], device=device)
    share[(kx == 0) & (ky < 0)] = 0.0
    own_mate = ((2 * kx) % box == 0) & ((2 * ky) % box == 0)
    share[own_mate] = 0.5
    ramp = torch.sqrt((kx**2 + ky**2).to(share.dtype)).clamp_min(1 / 3)
    return DiskPoints(kx=kx, ky=ky, place=rows * (box // 2 + 1) + kx, share=share, ramp=ramp)


def padded_grid(box: int, *, padding: float, stretch: float = 1.0) -> PaddedGrid:
    """The layout for a box and the least padding; the side is rounded up to an even product of 2, 3 and 5, which transforms fast.

    Raises
    ------
    UsageError
        If the padding lies outside 1 … 4, or the stretch outside 1 … 2.
    """
    require_between("padding", padding, 1.0, 4.0)
    require_between("stretch", stretch, 1.0, 2.0)
    size = 2 * math.ceil(padding * box / 2)
    while not _has_small_factors(size):
        size += 2
    return PaddedGrid(box=box, size=size, stretch=stretch)


def _has_small_factors(number: int) -> bool:
    for prime in (2, 3, 5):
        while number % prime == 0:
            number //= prime
    return number == 1
