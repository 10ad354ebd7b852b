"""Central slices: the transform of a projection is the plane of the volume's transform across the beam.

`extract_by_definition` is the readable form (autograd, any device); on a CPU in single precision without gradients the same numbers come
from the compiled kernels of `fourier.compiled`.

Source: De Rosier & Klug, Nature 217, 130 (1968), for the theorem.
"""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Complex, Float, Int
from torch import Tensor

from cryowalk.core.checks import require_cube
from cryowalk.data import Volume
from cryowalk.fourier.filters import shift_phases
from cryowalk.fourier.padded import PaddedGrid, disk_points, padded_grid

PADDING = 1.5


@dataclass(frozen=True, slots=True, kw_only=True)
class FourierVolume:
    """A map made ready for central slices: its gridding-corrected, padded spectrum, scaled so that a slice is an image's half spectrum."""

    coefficients: Complex[Tensor, "kz ky kx"]
    grid: PaddedGrid
    voxel_size: float

    @property
    def box(self) -> int:
        """The side of the map and of its projections, pixels."""
        return self.grid.box


def prepare_volume(volume: Volume, *, padding: float = PADDING, stretch: float = 1.0) -> FourierVolume:
    """The map's spectrum, ready for `extract_slices`.

    `padding` widens the box before the transform, 1.5 to 4: a wider one interpolates better and takes more memory
    (8 · (padding · box)³ / 2 bytes). `stretch` is the largest factor by which a matrix in place of a rotation lengthens vectors; what it takes
    beyond Nyquist comes from the other side of the spectrum, and is to be set to zero.

    Raises
    ------
    ShapeError
        If the map is not a cube.
    UsageError
        If the padding is out of range.
    """
    box = require_cube("map to project", tuple(volume.voxels.shape))
    grid = padded_grid(box, padding=padding, stretch=stretch)
    factor = grid.correction(purpose="interpolation", like=volume.voxels)
    corrected = volume.voxels * (slice_scale(grid, volume.voxel_size) * factor[:, None, None]) * factor[:, None] * factor
    return FourierVolume(coefficients=grid.from_box(corrected), grid=grid, voxel_size=volume.voxel_size)


def slice_scale(grid: PaddedGrid, voxel_size: float) -> float:
    """What turns a coefficient of the orthonormal padded transform into one of the orthonormal transform of ∫ V dz: N^(3/2) · voxel / n."""
    return math.sqrt(grid.size) ** 3 / grid.box * voxel_size


def extract_slices(
    reference: FourierVolume,
    lab_from_particle: Float[Tensor, "n 3 3"],
    *,
    factor: Float[Tensor, "n box half"] | None = None,
    shift: Float[Tensor, "n 2"] | None = None,
) -> Complex[Tensor, "n box half"]:
    """Half spectra of the projections ∫ V(Rᵀ x) dz of a map in these orientations, value · Å; zero more than a step beyond the Nyquist circle.

    `to_real(slice, width=box)` is the projection about the origin pixel. A real `factor` (a contrast transfer function) multiplies the
    slices, and `shift` (x, y in Å) moves the projections by +s, in the same pass.
    """
    values = reference.coefficients
    if is_compiled_for(values, lab_from_particle, factor, shift):
        from cryowalk.fourier import compiled

        box = reference.box
        factors = compiled.Factors.of(factor, shift, box=box, pixel_size=reference.voxel_size)
        layout = compiled.Layout.of_half_spectrum(box)
        slices = compiled.extract(values, reference.grid, lab_from_particle, factors=factors, layout=layout)
        return slices.reshape(-1, box, box // 2 + 1)
    return multiplied(extract_by_definition(reference, lab_from_particle), factor, shift, pixel_size=reference.voxel_size)


def extract_rows(
    reference: FourierVolume, lab_from_particle: Float[Tensor, "n 3 3"], *, place: Int[Tensor, " K"], reach: int
) -> Complex[Tensor, "n K"]:
    """The coefficients at these places of the flattened half spectra of `extract_slices`, none of which lies beyond `reach`; only these are read."""
    values = reference.coefficients
    if is_compiled_for(values, lab_from_particle):
        from cryowalk.fourier import compiled

        layout = compiled.Layout.of_places(reference.box, place, reach)
        return compiled.extract(values, reference.grid, lab_from_particle, factors=compiled.Factors(), layout=layout)
    return extract_by_definition(reference, lab_from_particle).flatten(1)[:, place]


def multiplied(slices: Tensor, factor: Tensor | None, shift: Tensor | None, *, pixel_size: float) -> Tensor:
    """Slices times a real factor, and with the phases that move their images by +shift (Å)."""
    if factor is not None:
        slices = slices * factor
    if shift is not None:
        box = slices.shape[-2]
        slices = slices * shift_phases((box, box), shift.to(slices.real.dtype), pixel_size=pixel_size)
    return slices


def is_compiled_for(values: Tensor, *others: Tensor | None) -> bool:
    """Whether the compiled kernels apply: single precision on a CPU, and nobody asks for a gradient."""
    present = [values, *(other for other in others if other is not None)]
    single = values.dtype in (torch.float32, torch.complex64)
    wants_gradient = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in present)
    return single and not wants_gradient and all(tensor.device.type == "cpu" for tensor in present)


def extract_by_definition(
    reference: FourierVolume, lab_from_particle: Float[Tensor, "n 3 3"], *, height: Float[Tensor, "box half"] | None = None
) -> Complex[Tensor, "n box half"]:
    """`extract_slices` written out: the coefficient at k is Σ over 3 × 3 × 3 taps of φ φ φ · F about the grid point nearest to Rᵀk.

    With a `height`, kz of each coefficient in cycles over the box, the slice is a curved sheet through (kx, ky, kz). Gradients reach the map's
    coefficients and the rotations.
    """
    box, values = reference.box, reference.coefficients.reshape(-1)
    points = disk_points(box, device=values.device)
    index, weight, mirrored = _taps(reference.grid, lab_from_particle.to(values.real.dtype).to(values.device), height)
    total = torch.zeros(mirrored.shape, dtype=values.dtype, device=values.device)
    for tap, share in zip(index, weight, strict=True):
        total = total + values[tap] * share
    total = torch.where(mirrored, total.conj(), total)
    slices = total.new_zeros((total.shape[0], box * (box // 2 + 1))).index_copy(1, points.place, total)
    return slices.reshape(-1, box, box // 2 + 1)


def insert_by_definition(
    values: Tensor,
    lab_from_particle: Float[Tensor, "n 3 3"],
    *,
    grid: PaddedGrid,
    density: Literal["ramp", "plain"] = "plain",
    height: Float[Tensor, "box half"] | None = None,
) -> Tensor:
    """The transpose of `extract_by_definition` on the padded grid, for complex slices or real weights `[n, box, half]`.

    Of coefficients that stand twice in the half spectrum one is taken, and those that are their own Friedel mate count half: `folded` adds
    the mates. With the density "ramp" every coefficient is multiplied by |k|.
    """
    points = disk_points(grid.box, device=values.device)
    real = values.real.dtype
    index, weight, mirrored = _taps(grid, lab_from_particle.to(real).to(values.device), height)
    factor = points.share * points.ramp if density == "ramp" else points.share
    chosen = values.reshape(values.shape[0], -1)[:, points.place] * factor.to(real)
    if values.is_complex():
        chosen = torch.where(mirrored, chosen.conj(), chosen)
    total = values.new_zeros(math.prod(grid.shape))
    for tap, share in zip(index, weight, strict=True):
        total = total.index_add(0, tap.reshape(-1), (chosen * share).reshape(-1))
    return total.reshape(grid.shape)


def insertion_table(box: int, *, density: Literal["ramp", "plain"]) -> Float[Tensor, "box half"]:
    """What `insert_by_definition` multiplies each coefficient of a half spectrum by, as an image; 0 beyond `disk_reach`."""
    points = disk_points(box)
    factor = points.share * points.ramp if density == "ramp" else points.share
    return torch.zeros(box * (box // 2 + 1)).index_copy_(0, points.place, factor).reshape(box, -1)


def back_project(
    slices: Complex[Tensor, "n box half"],
    lab_from_particle: Float[Tensor, "n 3 3"],
    *,
    voxel_size: float,
    padding: float = PADDING,
) -> Volume:
    """The exact adjoint of preparing a map, slicing it and transforming back: the images of these half spectra smeared along their beams.

    ⟨project V, images⟩ = ⟨V, back-project images⟩, without a division by how often each coefficient was seen.
    """
    grid = padded_grid(slices.shape[-2], padding=padding)
    half = grid.folded(insert_by_definition(slices, lab_from_particle, grid=grid))
    voxels = grid.to_box(half) * slice_scale(grid, voxel_size)
    factor = grid.correction(purpose="interpolation", like=voxels)
    return Volume(voxels=voxels * factor[:, None, None] * factor[:, None] * factor, voxel_size=voxel_size)


def _taps(grid: PaddedGrid, rotations: Tensor, height: Tensor | None = None) -> tuple[list[Tensor], list[Tensor], Tensor]:
    """For every point of every slice the flat indices and weights of its 27 taps, and whether it was mirrored into kx ≥ 0."""
    points = disk_points(grid.box, device=rotations.device)
    in_plane = torch.stack((points.kx, points.ky), dim=-1).to(rotations.dtype) * grid.ratio
    place = in_plane @ rotations[:, :2, :]  # rows times R: each is Rᵀk, (x, y, z)
    if height is not None:
        place = place + height.reshape(-1)[points.place].to(place)[:, None] * grid.ratio * rotations[:, 2:, :]
    mirrored = place[..., 0] < 0
    place = torch.where(mirrored[..., None], -place, place)
    nearest = torch.floor(place.detach() + 0.5)
    along_x, along_y, along_z = (grid.kernel.weights(offset) for offset in (place - nearest).unbind(-1))
    x, y, z = nearest.to(torch.int64).unbind(-1)
    _, rows, columns = grid.shape
    first = ((z + grid.margin) * rows + y + grid.margin) * columns + x + 1
    index, weight = [], []
    for step_z, weight_z in zip((-1, 0, 1), along_z, strict=True):
        for step_y, weight_y in zip((-1, 0, 1), along_y, strict=True):
            for step_x, weight_x in zip((-1, 0, 1), along_x, strict=True):
                index.append(first + (step_z * rows + step_y) * columns + step_x)
                weight.append(weight_z * weight_y * weight_x)
    return index, weight, mirrored
