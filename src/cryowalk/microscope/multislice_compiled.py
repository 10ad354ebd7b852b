"""Multislice on a CPU in single precision: the same sum as `multislice.multislice_by_definition`, arranged for the cache.

A two-dimensional transform is one over the rows and one over the columns. Between two slices a block of rows goes through its inverse
transform, the transmission and its forward transform while it lies in the cache, and a block of columns through the transform, the propagator and
the inverse: two passes over memory a slice. Columns beyond the band limit are never transformed, nor kept.
"""

import math
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cryowalk.core.errors import UsageError
from cryowalk.data.optics import Optics
from cryowalk.fourier.grids import full_frequency_grid
from cryowalk.fourier.transform import transform_rows
from cryowalk.microscope import multislice, multislice_kernels

_BLOCK_BYTES = 2**19  # of a wave that is worked on at a time: half a second-level cache


@dataclass(frozen=True, slots=True, kw_only=True)
class _Band:
    """What lies inside the band limit for one size of field.

    Of the w columns of a full spectrum those with |kx index| ≤ `last` are kept, in the order 0 … last, −last … −1; `reach` is the largest |ky
    index| inside the circle for each of them. `kx`, `ky` are the frequencies of the kept columns and of all rows, 1/Å.
    """

    height: int
    width: int
    last: int
    reach: "NDArray[np.int64]"
    kx: "NDArray[np.float64]"
    ky: "NDArray[np.float64]"

    @staticmethod
    def of(size: tuple[int, int], optics: Optics) -> "_Band":
        kx, ky = (k.reshape(-1).numpy() for k in full_frequency_grid(size, pixel_size=optics.pixel_size, dtype=torch.float64))
        limit = multislice.band_limit(optics) ** 2
        last = int((kx[: (size[1] + 1) // 2] ** 2 <= limit).sum()) - 1
        kept = np.concatenate([kx[: last + 1], kx[size[1] - last :]]) if last else kx[:1]
        positive = ky[: (size[0] + 1) // 2]
        reach = (positive[None, :] ** 2 + kept[:, None] ** 2 <= limit).sum(axis=1) - 1
        return _Band(height=size[0], width=size[1], last=last, reach=reach, kx=kept, ky=ky)

    def free_space(self, optics: Optics, distance: float) -> "tuple[NDArray[np.complex64], NDArray[np.complex64]]":
        """The propagator along x (of the kept columns) and along y, divided by the number of pixels: its value is their product."""
        factor = -1j * math.pi * optics.wavelength * distance
        along_x, along_y = (np.exp(factor * k**2) for k in (self.kx, self.ky))
        return along_x.astype(np.complex64), (along_y / self.pixels).astype(np.complex64)

    @property
    def pixels(self) -> int:
        """Pixels of the field."""
        return self.height * self.width


class _Work:
    """Threads, and blocks of rows and of columns for each of them to take."""

    def __init__(self, pool: ThreadPoolExecutor, threads: int) -> None:
        self._pool = pool
        self._threads = threads

    def over(self, count: int, length: int, task: Callable[[int, int], None]) -> None:
        """Call `task(start, stop)` for blocks of `count` lines, each of `length` complex numbers."""
        lines = max(multislice_kernels.TILE, _BLOCK_BYTES // (8 * length) // multislice_kernels.TILE * multislice_kernels.TILE)
        blocks = [(start, min(start + lines, count)) for start in range(0, count, lines)]
        if self._threads == 1 or len(blocks) == 1:
            for start, stop in blocks:
                task(start, stop)
            return
        for future in [self._pool.submit(task, start, stop) for start, stop in blocks]:
            future.result()


def multislice_compiled(slices: Iterable[Tensor], *, optics: Optics, slice_thickness: float) -> Tensor:
    """The wave of `multislice.multislice_by_definition` for real single-precision slices on a CPU; no gradients."""
    threads = torch.get_num_threads()
    with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        work = _Work(pool, threads)
        fields: list[_Field] = []
        shape: torch.Size | None = None
        for potential in slices:
            if shape is None:
                shape = potential.shape
                band = _Band.of((shape[-2], shape[-1]), optics)
                fields = [_Field(band, optics, work) for _ in range(math.prod(shape[:-2]))]
            if potential.requires_grad and torch.is_grad_enabled():
                raise UsageError(
                    "a later slice asks for a gradient, the first one does not",
                    fix="let all slices ask for one: slices.requires_grad_() before they are taken apart",
                )
            for field, item in zip(fields, potential.detach().reshape(-1, *shape[-2:]), strict=True):
                field.advance(item, slice_thickness)
        if shape is None:
            raise multislice.no_slices()
        return torch.stack([field.at_middle(slice_thickness) for field in fields]).reshape(shape)


class _Field:
    """One wave on its way: the row spectra of ψ behind the last slice, inside the band's columns."""

    def __init__(self, band: _Band, optics: Optics, work: _Work) -> None:
        self._band, self._optics, self._work = band, optics, work
        strength = multislice.phase_strength(optics)
        self._turns, self._damping = np.float32(strength.real / (2 * math.pi)), strength.imag
        self._rows = torch.zeros(band.height, len(band.kx), dtype=torch.complex64)
        self._rows[:, 0] = 1  # the plane wave
        self._count = 0

    def advance(self, potential: Tensor, thickness: float) -> None:
        """Propagate to the next slice and through it."""
        if self._count:
            self._columns(self._rows, self._band.free_space(self._optics, thickness))
        self._count += 1

        def transmit(start: int, stop: int) -> None:
            wave = self._unpacked(start, stop)
            rows = potential[start:stop].contiguous()
            multislice_kernels.transmit(torch.view_as_real(wave).flatten(1).numpy(), rows.numpy(), self._turns)
            if self._damping:
                wave *= torch.exp(rows * -self._damping)
            self._pack(start, stop, transform_rows(wave, direction="forward"))

        self._work.over(self._band.height, self._band.width, transmit)

    def at_middle(self, thickness: float) -> Tensor:
        """The wave of all slices so far, propagated back to the middle of their stack."""
        self._columns(self._rows, self._band.free_space(self._optics, -(self._count - 1) / 2 * thickness))
        wave = torch.empty(self._band.height, self._band.width, dtype=torch.complex64)
        # 1 / pixels in single precision is off by up to 6e-8, each time by the same: over many slices that would add up.
        scale = (1 / self._band.pixels / float(np.float32(1 / self._band.pixels))) ** self._count

        def finish(start: int, stop: int) -> None:
            wave[start:stop] = self._unpacked(start, stop) * scale

        self._work.over(self._band.height, self._band.width, finish)
        return wave

    def _columns(self, spectrum: Tensor, factors: "tuple[NDArray[np.complex64], NDArray[np.complex64]]") -> None:
        """Filter row spectra along y: each column's transform times the factors within the circle."""
        array, (along_x, along_y) = spectrum.numpy(), factors

        def filtered(start: int, stop: int) -> None:
            # A line of the cache longer than the column: lines of a power of two would all fall into the same place of the cache.
            padded = torch.empty(stop - start, self._band.height + multislice_kernels.TILE, dtype=torch.complex64)
            columns = padded[:, : self._band.height]
            multislice_kernels.take_columns(array, start, columns.numpy())
            transformed = transform_rows(columns, direction="forward")
            multislice_kernels.filter_columns(transformed.numpy(), start, self._band.reach, along_x, along_y)
            columns.copy_(transform_rows(transformed, direction="inverse"))
            multislice_kernels.put_columns(array, start, columns.numpy())

        self._work.over(spectrum.shape[1], self._band.height, filtered)

    def _unpacked(self, start: int, stop: int) -> Tensor:
        """The wave in rows `start` to `stop`."""
        last, width = self._band.last, self._band.width
        spectrum = torch.empty(stop - start, width, dtype=torch.complex64)
        spectrum[:, : last + 1] = self._rows[start:stop, : last + 1]
        spectrum[:, last + 1 : width - last] = 0
        spectrum[:, width - last :] = self._rows[start:stop, last + 1 :]
        return transform_rows(spectrum, direction="inverse")

    def _pack(self, start: int, stop: int, spectrum: Tensor) -> None:
        """Keep the columns inside the band."""
        last = self._band.last
        self._rows[start:stop, : last + 1] = spectrum[:, : last + 1]
        self._rows[start:stop, last + 1 :] = spectrum[:, self._band.width - last :]
