"""Direct Fourier inversion: slices are summed into a padded spectrum with their weights, and divided by the summed weights.

Source: Penczek, Methods Enzymol. 482, 1 (2010), for direct inversion with gridding; Scheres, J. Struct. Biol. 180, 519 (2012), eq. 2, for
the weighted sums.
"""

from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Complex, Float, Int
from torch import Tensor

from cryowalk.core.checks import require_between, require_positive
from cryowalk.core.errors import InputError, ShapeError
from cryowalk.data import Volume
from cryowalk.fourier.padded import PaddedGrid, padded_grid
from cryowalk.fourier.slices import PADDING, insert_by_definition, insertion_table, is_compiled_for, multiplied, slice_scale


class SliceAccumulator:
    """A working object that slices are added to, image by image in their order; its memory does not depend on how many there are.

    Every coefficient is multiplied by |k| in both sums: slices lie denser near the origin, and an average over a tap's reach would be drawn
    there (at a tenth of Nyquist by several percent). With `stretch` above 1 matrices that lengthen vectors by that much may stand in place of rotations;
    give coefficients that they take beyond Nyquist no weight. The sums are the same for any number of threads on a CPU. On CUDA the order of additions is the hardware's.
    """

    def __init__(
        self,
        box: int,
        voxel_size: float,
        *,
        padding: float = PADDING,
        stretch: float = 1.0,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> None:
        self.grid: PaddedGrid = padded_grid(box, padding=padding, stretch=stretch)
        self.voxel_size = require_positive("voxel size", voxel_size, unit="Å")
        # Groups of four (real, imaginary, weight, nothing) are one aligned vector of the processor's.
        self.sums: Float[Tensor, "kz ky kx 4"] = torch.zeros((*self.grid.shape, 4), dtype=dtype, device=device)
        self.count = 0

    def add(
        self,
        slices: Complex[Tensor, "n box half"],
        weights: Float[Tensor, "n box half"],
        lab_from_particle: Float[Tensor, "n 3 3"],
        *,
        factor: Float[Tensor, "n box half"] | None = None,
        shift: Float[Tensor, "n 2"] | None = None,
        height: Float[Tensor, "box half"] | None = None,
    ) -> None:
        """Add Σ φ · slices to the numerator and Σ φ · weights to the denominator.

        For images y with transfer functions c and noise variance σ² the slices are c y / σ², moved back by their shift, and the weights c² / σ².
        `factor` and `shift` (x, y in Å, moves the images by +shift: give minus the pose's) multiply the slices on the way, which spares passes.
        With a `height`, kz of each coefficient in cycles over the box, the slices are curved sheets.
        """
        box = self.grid.box
        if tuple(slices.shape[1:]) != (box, box // 2 + 1) or slices.shape[0] != lab_from_particle.shape[0]:
            raise ShapeError(
                f"slices for a box of {box} have the shape (n, {box}, {box // 2 + 1}), one rotation each: "
                f"got {tuple(slices.shape)} and {lab_from_particle.shape[0]} rotations"
            )
        with torch.no_grad():
            if height is None and is_compiled_for(self.sums, slices, weights, lab_from_particle):
                self._add_compiled(slices, weights, lab_from_particle, (factor, shift))
            else:
                moved = multiplied(slices, factor, shift, pixel_size=self.voxel_size)
                sheet: dict[str, Any] = {"grid": self.grid, "density": "ramp", "height": height}
                numerator = insert_by_definition(moved, lab_from_particle, **sheet)
                self.sums[..., 0] += numerator.real
                self.sums[..., 1] += numerator.imag
                self.sums[..., 2] += insert_by_definition(weights, lab_from_particle, **sheet)
        self.count += slices.shape[0]

    def add_rows(
        self,
        numerator: Complex[Tensor, "n K"],
        denominator: Float[Tensor, "n K"],
        lab_from_particle: Float[Tensor, "n 3 3"],
        *,
        place: Int[Tensor, " K"],
        reach: int,
    ) -> None:
        """`add` for rows that hold only the coefficients at these places of the flattened half spectrum, none of them beyond `reach`."""
        with torch.no_grad():
            if is_compiled_for(self.sums, numerator, denominator, lab_from_particle):
                from cryowalk.fourier import compiled

                layout = compiled.Layout.of_places(self.grid.box, place, reach)
                self._insert_compiled(numerator, denominator, lab_from_particle, compiled.Factors(), layout)
                self.count += numerator.shape[0]
            else:
                shape = (numerator.shape[0], self.grid.box, self.grid.box // 2 + 1)
                spread = [rows.new_zeros(shape).flatten(1) for rows in (numerator, denominator)]
                for whole, rows in zip(spread, (numerator, denominator), strict=True):
                    whole[:, place] = rows
                self.add(spread[0].reshape(shape), spread[1].reshape(shape), lab_from_particle)

    def _add_compiled(
        self, slices: Tensor, weights: Tensor, rotations: Tensor, extra: tuple[Tensor | None, Tensor | None]
    ) -> None:
        from cryowalk.fourier import compiled

        factors = compiled.Factors.of(*extra, box=self.grid.box, pixel_size=self.voxel_size)
        layout = compiled.Layout.of_half_spectrum(self.grid.box)
        self._insert_compiled(slices.flatten(1), weights.flatten(1), rotations, factors, layout)

    def _insert_compiled(self, slices: Tensor, weights: Tensor, rotations: Tensor, factors: Any, layout: Any) -> None:  # noqa: PLR0917
        from cryowalk.fourier import compiled

        table = insertion_table(self.grid.box, density="ramp")
        compiled.insert(self.sums, self.grid, rotations, compiled.Inserted(slices, weights, factors, layout, table))

    def state(self) -> dict[str, Any]:
        """All that `from_state` needs to go on: the sums themselves, not a copy, and three numbers."""
        return {
            "sums": self.sums,
            "count": self.count,
            "box": self.grid.box,
            "size": self.grid.size,
            "stretch": self.grid.stretch,
            "voxel_size": self.voxel_size,
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> "SliceAccumulator":
        """The accumulator that was saved; its sums are copied.

        Raises
        ------
        InputError
            If the parts do not fit together.
        """
        grid = PaddedGrid(box=int(state["box"]), size=int(state["size"]), stretch=float(state.get("stretch", 1.0)))
        sums = torch.as_tensor(state["sums"])
        if tuple(sums.shape) != (*grid.shape, 4):
            raise InputError(f"the saved sums have the shape {tuple(sums.shape)}: a box of {grid.box} needs {(*grid.shape, 4)}")
        accumulator = cls.__new__(cls)
        accumulator.grid = grid
        accumulator.voxel_size = float(state["voxel_size"])
        accumulator.sums = sums.clone()
        accumulator.count = int(state["count"])
        return accumulator

    def move_to(self, device: torch.device | str) -> None:
        """Keep the sums on this device from now on."""
        self.sums = self.sums.to(device)

    def merge(self, other: "SliceAccumulator") -> None:
        """Add another accumulator's sums, made on the same grid."""
        if other.grid != self.grid:
            raise ShapeError(f"accumulators of one grid can be merged: got {self.grid} and {other.grid}")
        self.sums += other.sums
        self.count += other.count

    def to_volume(self, *, floor: float = 1e-3, prior: Float[Tensor, "*shape"] | None = None) -> Volume:
        """The map: summed slices over summed weights, gridding-corrected, value (slices' value per Å).

        A denominator below `floor` times the mean of its shell is raised to it, so that rarely seen coefficients are not blown up. `prior`
        (one a shell 0 … box // 2, or one a coefficient of the padded half spectrum, in the weights' unit) is added to the denominator: 1/τ² makes it
        a Wiener filter.
        """
        require_between("floor", floor, 0.0, 1.0)
        numerator = self.grid.folded(torch.complex(self.sums[..., 0], self.sums[..., 1]))
        denominator = self._regularised(self.grid.folded(self.sums[..., 2]), floor, prior)
        ratio = torch.where(denominator > 0, numerator / denominator.clamp_min(torch.finfo(denominator.dtype).tiny), 0)
        factor = self.grid.correction(purpose="average", like=denominator)
        voxels = self.grid.to_box(ratio) / slice_scale(self.grid, self.voxel_size)
        return Volume(voxels=voxels * factor[:, None, None] * factor[:, None] * factor, voxel_size=self.voxel_size)

    def mean_weight(self) -> Float[Tensor, " shells"]:
        """The summed weight of one coefficient of the box's own spectrum (no padding), the mean over each shell 0 … box // 2."""
        shells = self.grid.box // 2 + 1
        total, number, _ = self._shell_totals(self.grid.folded(self.sums[..., 2]))
        ramp = torch.arange(shells, dtype=torch.float64, device=total.device).clamp_min(1 / 3)
        mean: Tensor = total[:shells] / number[:shells].clamp_min(1) / ramp * self.grid.ratio**3
        return mean.float().cpu()

    def _shell_totals(self, denominator: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Sum and number over each shell of the box (beyond Nyquist: one more), and the shell of each point of the padded half spectrum."""
        side, shells = self.grid.size, self.grid.box // 2 + 1
        squared = torch.zeros((), device=denominator.device)
        for axis in range(3):
            index = torch.arange(denominator.shape[2 - axis], device=denominator.device)
            signed = torch.where(index <= side // 2, index, index - side) / self.grid.ratio
            squared = squared + (signed**2).reshape(-1, *[1] * axis)
        shell = torch.floor(squared.sqrt_() + 0.5).to(torch.int64).clamp_(max=shells)
        total = torch.zeros(shells + 1, dtype=torch.float64, device=denominator.device)
        flat = shell.reshape(-1)
        number = total.index_add(0, flat, torch.ones_like(flat, dtype=torch.float64))
        return total.index_add(0, flat, denominator.reshape(-1).to(torch.float64)), number, shell

    def _regularised(self, denominator: Tensor, floor: float, prior: Tensor | None) -> Tensor:
        """The denominator, raised to the floor, with the prior added inside the Nyquist sphere."""
        shells = self.grid.box // 2 + 1
        total, number, shell = self._shell_totals(denominator)
        mean = total / number.clamp_min(1)
        mean[-1] = 0
        raised = torch.maximum(denominator, (mean * floor).to(denominator)[shell])
        if prior is not None:
            ramp = torch.arange(shells + 1, dtype=raised.dtype, device=raised.device).clamp_min(1 / 3)
            spread = torch.cat((prior.to(raised), raised.new_zeros(1)))[shell] if prior.ndim == 1 else prior.to(raised)
            raised = raised + spread * ramp[shell]
        # Beyond Nyquist there are only the kernel's outskirts: nothing is known there.
        return torch.where(shell < shells, raised, torch.zeros((), dtype=raised.dtype, device=raised.device))
