"""The resolution-ordered half disk: the independent Fourier coefficients of an image as one row, sorted by radius.

A stack of images is then a matrix `[images, K]`, and a limit of resolution is a prefix of its columns, a view without a copy. Contrast
transfer, noise weights, shift phases and central slices are `[…, K]` too.
"""

import math
from dataclasses import dataclass
from functools import lru_cache

import torch
from jaxtyping import Complex, Float, Int, Shaped
from torch import Tensor

from cryowalk.core.errors import ShapeError
from cryowalk.fourier.filters import unit_phase
from cryowalk.fourier.slices import FourierVolume, extract_rows


@dataclass(frozen=True, slots=True, kw_only=True)
class HalfDisk:
    """The coefficients with |k| < box / 2 of a square image, one of each Friedel pair, the origin first, by increasing radius.

    `kx` and `ky` are whole numbers of cycles over the box, `place` the position in the flattened half spectrum. Build it with `half_disk`.
    """

    box: int
    kx: Int[Tensor, " K"]
    ky: Int[Tensor, " K"]
    place: Int[Tensor, " K"]

    @property
    def count(self) -> int:
        """K, the number of coefficients; 1 … K − 1 are those of likelihoods, without the origin."""
        return self.kx.shape[0]

    @property
    def radius(self) -> Float[Tensor, " K"]:
        """|k| in cycles over the box, never falling."""
        return torch.sqrt((self.kx**2 + self.ky**2).to(torch.float32))

    @property
    def shell(self) -> Int[Tensor, " K"]:
        """The resolution shell of each coefficient: the nearest whole radius."""
        return torch.floor(torch.sqrt((self.kx**2 + self.ky**2).to(torch.float64)) + 0.5).to(torch.int64)

    @property
    def multiplicity(self) -> Float[Tensor, " K"]:
        """How many coefficients of the full spectrum each stands for: 1 for the origin, else 2."""
        weights = torch.full((self.count,), 2.0, device=self.kx.device)
        weights[0] = 1.0
        return weights

    def reach(self, count: int) -> int:
        """The whole radius within which the first `count` coefficients lie."""
        return math.isqrt(int(self.kx[count - 1] ** 2 + self.ky[count - 1] ** 2) - 1) + 1 if count > 1 else 0

    def prefix(self, radius: float) -> int:
        """How many leading coefficients have |k| ≤ `radius` (cycles over the box; box · pixel size / resolution)."""
        squared = self.kx**2 + self.ky**2
        return int(torch.searchsorted(squared, torch.tensor(radius * radius + 1e-6, device=squared.device), right=True))

    def gather(self, spectrum: Shaped[Tensor, "*batch h half"], *, count: int | None = None) -> Shaped[Tensor, "*batch K"]:
        """The coefficients (the first `count`) of half spectra, or of any quantity given on them.

        Raises
        ------
        ShapeError
            If the spectra are of another box.
        """
        if tuple(spectrum.shape[-2:]) != (self.box, self.box // 2 + 1):
            raise ShapeError(
                f"half spectra of a box of {self.box} have the shape ({self.box}, {self.box // 2 + 1}): got {tuple(spectrum.shape[-2:])}"
            )
        return spectrum.reshape(*spectrum.shape[:-2], -1)[..., self.place[:count]]

    def scatter(self, values: Shaped[Tensor, "*batch K"]) -> Shaped[Tensor, "*batch h half"]:
        """The half spectra that have these leading coefficients, their Friedel mates in column 0 included, and 0 elsewhere."""
        half, used = self.box // 2 + 1, values.shape[-1]
        place = self.place[:used]
        doubled = torch.nonzero((self.kx[:used] == 0) & (self.ky[:used] != 0)).reshape(-1)
        mates = ((-self.ky[doubled]) % self.box) * half
        flat = values.new_zeros((*values.shape[:-1], self.box * half))
        flat = flat.index_copy(-1, place, values).index_copy(-1, mates, values[..., doubled].conj().resolve_conj())
        return flat.reshape(*values.shape[:-1], self.box, half)

    def shift_phases(
        self, shift: Float[Tensor, "*batch 2"], *, pixel_size: float, count: int | None = None
    ) -> Complex[Tensor, "*batch K"]:
        """Factors e^(−2πi k·s) that move an image by +s, s = (x, y) in Å, on the first `count` coefficients."""
        step = shift / (self.box * pixel_size)
        if shift.device.type == "cpu" and shift.dtype == torch.float32 and not shift.requires_grad and shift.ndim == 2:
            return self._compiled_phases(step, len(self.kx[:count]))
        turns = step[..., 0, None] * self.kx[:count] + step[..., 1, None] * self.ky[:count]
        return unit_phase(turns)

    def _compiled_phases(self, step: Float[Tensor, "n 2"], count: int) -> Complex[Tensor, "n K"]:
        from cryowalk.fourier import disk_kernels

        phases = torch.empty(len(step), count, dtype=torch.complex64)
        turns = step.double().numpy()
        arrays = (self.kx[:count].numpy(), self.ky[:count].numpy(), self.reach(count), phases.numpy())
        disk_kernels.fill_phases(turns[:, 0], turns[:, 1], *arrays)
        return phases

    def slices(
        self, reference: FourierVolume, lab_from_particle: Float[Tensor, "n 3 3"], *, count: int | None = None
    ) -> Complex[Tensor, "n K"]:
        """Central slices of a prepared map on the first `count` coefficients."""
        place = self.place[:count]
        return extract_rows(reference, lab_from_particle, place=place, reach=self.reach(len(place)))


@lru_cache(maxsize=16)
def half_disk(box: int, *, device: torch.device | str = "cpu") -> HalfDisk:
    """The half disk of images of `box` pixels; those of equal radius stand in the order of ky, then kx."""
    half = box // 2 + 1
    row = torch.arange(box, device=device)
    ky = torch.where(row < (box + 1) // 2, row, row - box)[:, None].expand(box, half).reshape(-1)
    kx = torch.arange(half, device=device).expand(box, half).reshape(-1)
    squared = kx**2 + ky**2
    # Of a pair in column 0 the one with ky > 0 stays; 4k² < n² keeps |k| < n/2 in whole numbers.
    kept = torch.nonzero((4 * squared < box * box) & ((kx > 0) | (ky >= 0))).reshape(-1)
    order = torch.argsort((squared[kept] * (2 * box) + ky[kept] + box) * half + kx[kept])
    place = kept[order]
    return HalfDisk(box=box, kx=kx[place], ky=ky[place], place=place)
