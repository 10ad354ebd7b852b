"""Maps by regularised least squares: conjugate gradients on the normal equations, at a cost that does not depend on the number of images.

With y_i = A_i V the slices of a map, A*WA is a convolution: (A*WA V)(r) = Σ_r' K(r − r') V(r') with K(r) = (voxel/n)² Σ_i Σ_k w_i(k) e^(2πi R_iᵀk·r/n), the
point spread of the weights. On a box of n it needs K at lags up to n − 1, and is exact as a product of spectra in a box of 2n. K is the transform of the
weights that direct inversion sums anyway, on a grid fine enough for a box of 2n. A conjugate-gradient step is then two transforms.

Source: Wajer & Pruessmann, Proc. ISMRM 9, 767 (2001), and Fessler et al., IEEE Trans. Signal Process. 53, 3393 (2005), for the embedding; Wang,
Shkolnisky & Singer, arXiv:1307.5824 (2013), for cryo-EM; Hestenes & Stiefel, J. Res. Natl. Bur. Stand. 49, 409 (1952).
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from cryowalk.core.errors import ShapeError, UsageError
from cryowalk.data import Volume
from cryowalk.fourier.accumulator import SliceAccumulator
from cryowalk.fourier.grids import shell_index
from cryowalk.fourier.slices import slice_scale
from cryowalk.fourier.transform import resize, to_fourier, to_real
from cryowalk.reconstruction.prior import Prior

EMBEDDING = 2.0  # boxes: what the lags of one box need
LEAST_WEIGHT = 1e-3  # of a shell's mean: the least that stands for a weight, as in direct inversion


@dataclass(frozen=True, slots=True, kw_only=True)
class NormalEquations:
    """(A*WA + 1/τ²) V = A*W y: the convolution's spectrum in a box of 2n with the prior's in it, and the images' back projection."""

    spectrum: Float[Tensor, "kz ky kx"]
    right_side: Float[Tensor, "z y x"]
    voxel_size: float

    @property
    def box(self) -> int:
        """The side of the map, voxels."""
        return self.right_side.shape[-1]

    def apply(self, voxels: Float[Tensor, "z y x"]) -> Float[Tensor, "z y x"]:
        """(A*WA + 1/τ²) V, linear, symmetric: pad, multiply the spectrum, crop."""
        return filtered_in_box(voxels, self.spectrum)

    def approximate_inverse(self) -> Float[Tensor, "kz ky kx"]:
        """The preconditioner's spectrum: one over the convolution's, which is kept from zero by a part of each shell's mean."""
        size = (2 * self.box,) * 3
        shell = shell_index(size, device=self.spectrum.device)
        flat = shell.reshape(-1)
        total = torch.zeros(int(flat.max()) + 1, dtype=torch.float64, device=self.spectrum.device)
        number = total.index_add(0, flat, torch.ones_like(flat, dtype=torch.float64))
        mean = total.index_add(0, flat, self.spectrum.reshape(-1).double().clamp_min(0)) / number.clamp_min(1)
        floor = (LEAST_WEIGHT * mean).clamp_min(LEAST_WEIGHT * float(mean.max())).to(self.spectrum.dtype)
        return 1 / torch.maximum(self.spectrum, floor[shell])


@dataclass(frozen=True, slots=True, kw_only=True)
class Iterate:
    """Where conjugate gradients stand: all that the next step needs."""

    voxels: Float[Tensor, "z y x"]
    residual: Float[Tensor, "z y x"]
    direction: Float[Tensor, "z y x"]
    agreement: float  # ⟨residual, preconditioned residual⟩
    steps: int = 0

    def relative_residual(self, equations: NormalEquations) -> float:
        """The residual's length over the right side's."""
        return float(self.residual.norm()) / max(float(equations.right_side.norm()), torch.finfo(torch.float32).tiny)


def filtered_in_box(voxels: Float[Tensor, "*batch z y x"], spectrum: Float[Tensor, "kz ky kx"]) -> Float[Tensor, "*batch z y x"]:
    """The convolution of an array on a box with a kernel given by its real spectrum in the box of twice the side, cropped.

    Raises
    ------
    ShapeError
        If the spectrum is not that of twice the box.
    """
    box = voxels.shape[-1]
    if tuple(spectrum.shape) != (2 * box, 2 * box, box + 1):
        raise ShapeError(f"a box of {box} needs a spectrum {(2 * box, 2 * box, box + 1)}: got {tuple(spectrum.shape)}")
    padded = to_fourier(resize(voxels, (2 * box,) * 3), dimensions=3)
    return resize(to_real(padded * spectrum.to(voxels.dtype), width=2 * box, dimensions=3), (box,) * 3)


def normal_equations(accumulator: SliceAccumulator, *, prior: Prior | None = None) -> NormalEquations:
    """The normal equations of the images that were summed, weighted as they were: by CTF²/σ², and by |k| and the evening of shells.

    These two depend on |k| alone and stand on both sides, the prior's too: they make the operator nearly a multiple of one, so that few steps suffice.

    Raises
    ------
    UsageError
        If the accumulator's grid is too coarse for a box of twice the side.
    """
    grid = accumulator.grid
    if grid.ratio < EMBEDDING + 1:
        raise UsageError(
            f"least squares need a grid at least 3 times finer than the images': got {grid.ratio:.3g}",
            cause="the sums were made for direct inversion",
            fix=f"SliceAccumulator(…, padding={EMBEDDING + 1:g})",
        )
    scale, double = slice_scale(grid, accumulator.voxel_size), 2 * grid.box
    numerator = grid.folded(torch.complex(accumulator.sums[..., 0], accumulator.sums[..., 1]))
    right = _in_box(numerator, grid.box, accumulator) * scale
    spread = _in_box(grid.folded(accumulator.sums[..., 2]).to(numerator.dtype), double, accumulator)
    for axis in range(3):
        spread.select(axis, 0).zero_()  # the lag −n has no mate, and no use
    # Orthonormal transforms: the spectrum of a convolution carries the root of the number of voxels, and the sums lack that of theirs.
    spectrum = to_fourier(spread, dimensions=3).real * (scale**2 * math.sqrt(double / grid.size) ** 3)
    if prior is not None:
        shell = (shell_index((double,) * 3, device=spectrum.device) / 2).clamp(1 / 3, grid.box // 2)
        spectrum = spectrum + prior.on_grid(double, box=grid.box).to(spectrum) * shell * scale**2
    return NormalEquations(spectrum=spectrum, right_side=right, voxel_size=accumulator.voxel_size)


def _in_box(half: Tensor, box: int, accumulator: SliceAccumulator) -> Tensor:
    """The box of a padded half spectrum, corrected for the interpolation that filled it."""
    size = accumulator.grid.size
    position = (np.arange(box) - box // 2) / size
    factor = torch.as_tensor(1 / accumulator.grid.kernel.transform(position)).to(half.real)
    voxels = resize(to_real(half, width=size, dimensions=3), (box,) * 3)
    return voxels * factor[:, None, None] * factor[:, None] * factor


def start(equations: NormalEquations) -> Iterate:
    """The beginning: a map of zeros."""
    zero = torch.zeros_like(equations.right_side)
    preconditioned = filtered_in_box(equations.right_side, equations.approximate_inverse())
    agreement = float((equations.right_side.double() * preconditioned.double()).sum())
    return Iterate(voxels=zero, residual=equations.right_side, direction=preconditioned, agreement=agreement)


def step(equations: NormalEquations, at: Iterate, *, inverse: Float[Tensor, "kz ky kx"]) -> Iterate:
    """One step of preconditioned conjugate gradients."""
    turned = equations.apply(at.direction)
    curvature = float((at.direction.double() * turned.double()).sum())
    if curvature <= 0:  # rounding, at the end: nothing can be gained along this direction
        return Iterate(
            voxels=at.voxels, residual=torch.zeros_like(at.residual), direction=at.direction, agreement=0.0, steps=at.steps + 1
        )
    length = at.agreement / curvature
    voxels, residual = at.voxels + length * at.direction, at.residual - length * turned
    preconditioned = filtered_in_box(residual, inverse)
    agreement = float((residual.double() * preconditioned.double()).sum())
    direction = preconditioned + (agreement / at.agreement) * at.direction
    return Iterate(voxels=voxels, residual=residual, direction=direction, agreement=agreement, steps=at.steps + 1)


def solve(equations: NormalEquations, *, steps: int, tolerance: float, resume: Iterate | None = None) -> tuple[Volume, Iterate]:
    """The map of the normal equations, and where conjugate gradients stopped: at a residual of `tolerance` of the right side, or after `steps`.

    Given what it returned as `resume`, it goes on as if it had never stopped.
    """
    at = resume or start(equations)
    inverse = equations.approximate_inverse()
    while at.steps < steps and at.agreement > 0 and at.relative_residual(equations) > tolerance:
        at = step(equations, at, inverse=inverse)
    return Volume(voxels=at.voxels, voxel_size=equations.voxel_size), at
