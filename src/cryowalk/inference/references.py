"""The models that images are compared with: maps, of which images are slices, or class averages, of which they are turned copies."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Complex, Float, Int
from torch import Tensor

from cryowalk.core.errors import InputError, ShapeError
from cryowalk.data import Volume
from cryowalk.fourier.disk import half_disk
from cryowalk.fourier.plane import FourierPlanes, prepare_planes, turned_rows
from cryowalk.fourier.slices import PADDING, FourierVolume, prepare_volume
from cryowalk.fourier.transform import resample
from cryowalk.numerics.sizes import fast_length_from


@runtime_checkable
class References(Protocol):
    """Models of what images show, without CTF: rows of the half disk for a model and an orientation."""

    @property
    def models(self) -> int:
        """How many models there are."""

    @property
    def box(self) -> int:
        """The side of the images, pixels."""

    @property
    def pixel_size(self) -> float:
        """The pixel size of the images, Å."""

    @property
    def radius(self) -> int:
        """The largest radius that is known, in shells of the images' box."""

    def slices(
        self, model: Int[Tensor, " n"], lab_from_particle: Float[Tensor, "n 3 3"], *, radius: int
    ) -> Complex[Tensor, "n K"]:
        """The coefficients with |k| ≤ radius of these models' images, by increasing |k|."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VolumeReferences:
    """Maps of one box, ready for slices up to `radius` shells; see `of`.

    A limit of resolution makes the maps smaller: their spectra are cropped to a box that just holds it, and the work falls with its square.
    """

    prepared: tuple[FourierVolume, ...]
    box: int
    pixel_size: float
    radius: int

    @staticmethod
    def of(volumes: Sequence[Volume], *, radius: int) -> "VolumeReferences":
        """References from maps of one box and voxel size.

        Raises
        ------
        InputError
            If there is no map.
        ShapeError
            If they differ in shape or voxel size.
        """
        if not volumes:
            raise InputError("there is no reference map")
        first = volumes[0]
        for volume in volumes:
            if volume.voxels.shape != first.voxels.shape or abs(volume.voxel_size - first.voxel_size) > 1e-4 * first.voxel_size:
                raise ShapeError(
                    f"reference maps differ: {tuple(first.voxels.shape)} at {first.voxel_size:g} Å and "
                    f"{tuple(volume.voxels.shape)} at {volume.voxel_size:g} Å",
                    fix="bring them to one box and voxel size: cryowalk convert",
                )
        box = first.voxels.shape[-1]
        radius = min(radius, (box - 1) // 2)
        small = working_box(box, radius)
        prepared = tuple(prepare_volume(cropped(volume, small), padding=PADDING) for volume in volumes)
        return VolumeReferences(prepared=prepared, box=box, pixel_size=first.voxel_size, radius=radius)

    @property
    def models(self) -> int:
        """How many maps there are."""
        return len(self.prepared)

    def slices(
        self, model: Int[Tensor, " n"], lab_from_particle: Float[Tensor, "n 3 3"], *, radius: int
    ) -> Complex[Tensor, "n K"]:
        """Central slices of the maps, with |k| ≤ radius."""
        values = self.prepared[0].coefficients
        count = half_disk(self.box).prefix(radius)
        rows = torch.empty(len(model), count, dtype=values.dtype, device=values.device)
        for number in sorted(set(model.tolist())):
            members = (model == number).nonzero().flatten().to(values.device)
            rows[members] = self._slices_of(self.prepared[number], lab_from_particle[members.to(lab_from_particle.device)], count)
        return rows

    def _slices_of(self, prepared: FourierVolume, rotations: Tensor, count: int) -> Tensor:
        disk = half_disk(prepared.box, device=prepared.coefficients.device)
        rotations = rotations.to(device=prepared.coefficients.device, dtype=torch.float32)
        return disk.slices(prepared, rotations, count=count).mul_(self.box / prepared.box)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassReferences:
    """Class averages of one box, ready to be turned; see `of`."""

    planes: FourierPlanes
    box: int
    pixel_size: float
    radius: int

    @staticmethod
    def of(images: Float[Tensor, "models h w"], *, pixel_size: float, radius: int) -> "ClassReferences":
        """References from class averages, protein bright like the images."""
        box = images.shape[-1]
        return ClassReferences(planes=prepare_planes(images), box=box, pixel_size=pixel_size, radius=min(radius, (box - 1) // 2))

    @property
    def models(self) -> int:
        """How many classes there are."""
        return self.planes.coefficients.shape[0]

    def slices(
        self, model: Int[Tensor, " n"], lab_from_particle: Float[Tensor, "n 3 3"], *, radius: int
    ) -> Complex[Tensor, "n K"]:
        """Turned averages, with |k| ≤ radius."""
        return turned_rows(self.planes, model, lab_from_particle, count=half_disk(self.box).prefix(radius))


def working_box(box: int, radius: int) -> int:
    """The smallest even, fast side that holds shells up to `radius` of images of `box` pixels, or the box itself."""
    side = fast_length_from(2 * (radius + 1))
    return min(box, side)


def cropped(volume: Volume, side: int) -> Volume:
    """The map without what a box of `side` voxels over the same field cannot hold."""
    box = volume.voxels.shape[-1]
    if side == box:
        return volume
    return Volume(voxels=resample(volume.voxels, (side, side, side)), voxel_size=volume.voxel_size * box / side)
