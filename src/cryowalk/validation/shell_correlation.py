"""Fourier shell correlation of two maps, and the resolution that is read from it.

Source: Harauz & van Heel, Optik 73, 146 (1986); the 0.143 threshold: Rosenthal & Henderson, J. Mol. Biol. 333, 721 (2003).
"""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from cryowalk.core.checks import require_cube
from cryowalk.core.errors import InputError, ShapeError, UsageError
from cryowalk.data import HalfMaps, Volume
from cryowalk.fourier.shells import shell_correlation, shell_frequency

RELATIVE_VOXEL_SIZE_TOLERANCE = 1e-3


@dataclass(frozen=True, slots=True, kw_only=True)
class ShellCorrelation:
    """Correlation of two maps in each Fourier shell; `frequency` in 1/Å runs from 0 to Nyquist."""

    frequency: Float[Tensor, " shells"]
    correlation: Float[Tensor, " shells"]

    def resolution(self, *, at: float = 0.143) -> float:
        """Resolution in Å at which the curve first falls below the threshold `at`.

        The crossing is interpolated linearly in frequency between the last shell at or above the threshold and the first one below it. The origin
        counts as 1, so a curve that starts below the threshold gives more than the box length. A curve that never falls below the threshold gives the
        resolution of its last shell, Nyquist: the data may reach further than the sampling.

        Raises
        ------
        UsageError
            If the threshold is not between −1 and 1.
        """
        if not -1 < at < 1:
            raise UsageError(f"the threshold of a correlation must lie between −1 and 1: got {at}")
        values = [1.0, *self.correlation[1:].tolist()]
        frequencies = self.frequency.tolist()
        below = next((i for i, value in enumerate(values) if value < at), None)
        if below is None:
            return 1 / frequencies[-1]
        high, low = values[below - 1], values[below]
        crossing = frequencies[below - 1] + (high - at) / (high - low) * (frequencies[below] - frequencies[below - 1])
        return 1 / crossing


def _masked(volume: Volume, mask: Volume | None) -> Float[Tensor, "z y x"]:
    if mask is None:
        return volume.voxels
    if mask.voxels.shape != volume.voxels.shape:
        raise ShapeError(
            f"the mask has {tuple(mask.voxels.shape)} voxels (z, y, x), the map {tuple(volume.voxels.shape)}",
            fix="give a mask on the grid of the map",
        )
    return volume.voxels * mask.voxels.to(volume.voxels)


def compare_maps(first: Volume, second: Volume, *, mask: Volume | None = None) -> ShellCorrelation:
    """Fourier shell correlation of two maps on the same grid, both multiplied by the mask if one is given.

    FSC(s) = Re Σ F₁ F₂* / √(Σ|F₁|² Σ|F₂|²) over the coefficients whose radius rounds to s. In a shell where a map has no power
    it is 0. A mask that both maps share correlates them by itself: its edge must be soft, and its effect is checked with randomised phases.

    Raises
    ------
    ShapeError
        If the maps are not cubes of one size.
    InputError
        If their voxel sizes differ by more than one in a thousand, or a map or the mask holds NaN or infinite values.
    """
    box = require_cube("a map", tuple(first.voxels.shape))
    if first.voxels.shape != second.voxels.shape:
        raise ShapeError(
            f"the two maps differ in size: {tuple(first.voxels.shape)} and {tuple(second.voxels.shape)} voxels (z, y, x)",
            fix="rescale and crop them to one box first",
        )
    if abs(first.voxel_size / second.voxel_size - 1) > RELATIVE_VOXEL_SIZE_TOLERANCE:
        raise InputError(
            f"the two maps differ in voxel size: {first.voxel_size:g} and {second.voxel_size:g} Å",
            fix="rescale one of them, or correct its header",
        )
    one, other = _masked(first, mask), _masked(second, mask).to(first.voxels)
    for what, voxels in (("first", one), ("second", other)):
        if not voxels.isfinite().all():
            raise InputError(f"the {what} map holds NaN or infinite values", fix="look for the voxels: cryowalk validate FILE")
    correlation = shell_correlation(one, other)
    frequency = shell_frequency(box, pixel_size=first.voxel_size, dtype=correlation.dtype, device=correlation.device)
    return ShellCorrelation(frequency=frequency, correlation=correlation)


def fourier_shell_correlation(halves: HalfMaps, *, mask: Volume | None = None) -> ShellCorrelation:
    """Fourier shell correlation of two half maps, both multiplied by the mask if one is given.

    It estimates SNR / (SNR + 1) of a half map when the halves share nothing but the specimen.

    Raises
    ------
    ShapeError
        If the half maps or the mask differ in size.
    """
    return compare_maps(halves.first, halves.second, mask=mask)
