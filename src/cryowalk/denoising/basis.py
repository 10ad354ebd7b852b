"""The Fourier–Bessel basis of images within a circle: functions that a rotation only multiplies by a phase.

Source: Zhao & Singer, J. Opt. Soc. Am. A 30, 871 (2013); Zhao, Shkolnisky & Singer, IEEE Trans. Comput. Imaging 2, 1 (2016).
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Complex, Float
from torch import Tensor

from cryowalk.core.errors import UsageError
from cryowalk.fourier.disk import HalfDisk, half_disk

_QUADRATURE = 4  # radial points per shell


@dataclass(frozen=True, slots=True, kw_only=True)
class BesselBasis:
    """Functions N J_k(R_kq r/c) e^{ikθ} on the disk |k| ≤ c shells, one block for each angular frequency k ≥ 0, orthonormal to a percent on the grid.

    `rows[k]` are the functions of a block on the half disk (complex: their values times 2 or 1, see `analyse`), `radial[k]` their radial parts times the root of the quadrature's weights at
    `radius` (shells). A real image has real coefficients for k = 0 and complex ones above.
    """

    disk: HalfDisk
    count: int
    radius: Float[Tensor, " points"]
    rows: tuple[Complex[Tensor, "K _"], ...]
    radial: tuple[Float[Tensor, "points _"], ...]

    def analyse(self, coefficients: Complex[Tensor, "n K"]) -> list[Complex[Tensor, "n _"]]:
        """The coefficients of each block, of images given on the half disk: inner products with the functions over the whole disk."""
        result = []
        for k, rows in enumerate(self.rows):
            # F(−v) = F(v)*: even blocks see the real part of F only, odd ones i times the imaginary part.
            part = coefficients.real if k % 2 == 0 else coefficients.imag
            found = torch.complex(part @ rows.real, -(part @ rows.imag))
            found = found if k % 2 == 0 else 1j * found
            result.append(found.real.to(found.dtype) if k == 0 else found)
        return result

    def synthesise(self, blocks: list[Complex[Tensor, "n _"]]) -> Complex[Tensor, "n K"]:
        """The half disk's coefficients of the sum of all functions times their coefficients."""
        result = torch.zeros_like(blocks[0] @ self._values(0).T)
        for k, block in enumerate(blocks):
            both = (2 if k else 1) * (block @ self._values(k).T)
            # What −k adds makes even blocks real and odd ones imaginary.
            (result.real if k % 2 == 0 else result.imag).add_(both.real if k % 2 == 0 else both.imag)
        return result

    def _values(self, k: int) -> Complex[Tensor, "K p"]:
        return self.rows[k] / self.disk.multiplicity[: self.count, None].to(self.rows[k].real)

    def transfer_blocks(self, transfer: Float[Tensor, "n points"]) -> list[Float[Tensor, "n _ _"]]:
        """What a radial transfer function, given at `radius`, does to the coefficients of each block: a symmetric matrix for each image."""
        return [torch.einsum("rp,nr,rq->npq", radial, transfer, radial) for radial in self.radial]


def bessel_basis(box: int, *, cut: float, support: float, like: Tensor) -> BesselBasis:
    """The basis of images of `box` pixels up to `cut` shells, for objects within `support` pixels of the middle; precision and device of `like`.

    A function enters if its next zero R_k(q+1) lies below 2π · support · cut / box: then it is small outside the support.

    Raises
    ------
    UsageError
        If cut or support are too small for a single function.
    """
    disk = half_disk(box, device=like.device)
    count = disk.prefix(cut)
    radius = torch.sqrt((disk.kx[:count] ** 2 + disk.ky[:count] ** 2).double())
    azimuth = torch.atan2(disk.ky[:count].double(), disk.kx[:count].double())
    nodes, weights = np.polynomial.legendre.leggauss(max(16, _QUADRATURE * math.ceil(cut)))
    points, measure = torch.from_numpy((nodes + 1) / 2 * cut), torch.from_numpy(weights * cut / 2)
    rows, radial = [], []
    for k, zeros in enumerate(_zeros_below(2 * math.pi * support * cut / box)):
        values = _radial_part(k, zeros, radius, cut=cut)
        phase = torch.polar(torch.ones_like(azimuth), k * azimuth)
        multiplicity = disk.multiplicity[:count].double().to(radius.device)
        rows.append((values * (phase * multiplicity)[:, None]).to(like.dtype.to_complex()))
        weight = torch.sqrt(2 * math.pi * points * measure)[:, None]
        radial.append((_radial_part(k, zeros, points, cut=cut) * weight).to(like))
    if not rows:
        raise UsageError(
            f"a circle of {support:.1f} pixels' radius up to shell {cut:.1f} of {box} pixels holds no independent detail",
            fix="give a larger diameter or a finer resolution",
        )
    return BesselBasis(disk=disk, count=count, radius=points.to(like), rows=tuple(rows), radial=tuple(radial))


def _zeros_below(limit: float) -> list[Float[np.ndarray, " p"]]:
    """For each angular frequency the zeros of its Bessel function whose successor lies below the limit; those of order k begin beyond k."""
    from scipy.special import jn_zeros

    result = []
    for k in range(math.ceil(limit)):
        zeros = jn_zeros(k, math.ceil(limit / math.pi) + 2)
        kept = zeros[:-1][zeros[1:] < limit]
        if not len(kept):
            break
        result.append(kept)
    return result


def _radial_part(k: int, zeros: Float[np.ndarray, " p"], radius: Tensor, *, cut: float) -> Float[Tensor, "points p"]:
    """N J_k(R r/c) with ∫ N² J² 2πr dr = 1 up to c (shells)."""
    from scipy.special import jv

    arguments = radius.cpu().numpy()[:, None] / cut * zeros[None, :]
    values = jv(k, arguments) / (cut * math.sqrt(math.pi) * np.abs(jv(k + 1, zeros)))
    return torch.from_numpy(np.where(arguments <= zeros[None, :], values, 0.0)).to(radius)
