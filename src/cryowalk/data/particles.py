"""A set of particles: one struct of arrays, with the columns of a foreign file kept beside."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from cryowalk.core.errors import InputError
from cryowalk.core.execution import ImageSource
from cryowalk.data.images import SelectedImages
from cryowalk.data.optics import Defocus, Optics
from cryowalk.data.pose import Pose


@runtime_checkable
class SelectableColumns(Protocol):
    """Columns of a foreign file that are made text only when they are asked for, and can give some of their rows before that."""

    def rows(self, indices: Tensor) -> Mapping[str, tuple[str, ...]]:
        """The same columns, of these rows alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ParticleSet:
    """Particles: for each its optics group, and where known its image, pose, defocus, half set, class and origin.

    `optics_index` counts the entries of `optics` from 0. `half` is 1 or 2 (0: neither). `image_names` are references as files write them
    (`000001@stack.mrcs`). `coordinates` (x, y) are pixels of the micrograph. `extra` maps each foreign column to its text, one entry a particle;
    `column_order` is the order of all columns in the file that was read.
    """

    optics: tuple[Optics, ...]
    optics_index: Int[Tensor, " n"]
    images: ImageSource | None = None
    pose: Pose | None = None
    defocus: Defocus | None = None
    half: Int[Tensor, " n"] | None = None
    class_number: Int[Tensor, " n"] | None = None
    image_names: tuple[str, ...] = ()
    micrograph_names: tuple[str, ...] = ()
    coordinates: Float[Tensor, "n 2"] | None = None
    extra: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    column_order: tuple[str, ...] = ()

    def __len__(self) -> int:
        return self.optics_index.shape[0]

    def __getitem__(self, selection: "Bool[Tensor, ' n'] | Int[Tensor, ' m'] | slice | Sequence[int]") -> "ParticleSet":
        """The chosen particles, in the order of the selection (a mask, indices or a slice)."""
        chosen = torch.arange(len(self))[torch.as_tensor(selection) if not isinstance(selection, slice) else selection]
        order = chosen.tolist()

        def texts(column: tuple[str, ...]) -> tuple[str, ...]:
            return tuple(column[i] for i in order) if column else ()

        def rows(column: Tensor | None) -> Tensor | None:
            return None if column is None else column[chosen.to(column.device)]

        extra = self.extra
        return replace(
            self,
            optics_index=self.optics_index[chosen],
            images=None if self.images is None else SelectedImages(source=self.images, indices=tuple(order)),
            pose=None if self.pose is None else self.pose[chosen],
            defocus=None if self.defocus is None else self.defocus[chosen],
            half=rows(self.half),
            class_number=rows(self.class_number),
            image_names=texts(self.image_names),
            micrograph_names=texts(self.micrograph_names),
            coordinates=rows(self.coordinates),
            extra=extra.rows(chosen)
            if isinstance(extra, SelectableColumns)
            else {name: texts(column) for name, column in extra.items()},
        )

    @property
    def pixel_size(self) -> float:
        """Pixel size that all optics groups share, Å.

        Raises
        ------
        InputError
            If the groups differ.
        """
        sizes = {group.pixel_size for group in self.optics}
        if len(sizes) != 1:
            raise InputError(
                f"the optics groups differ in pixel size: {', '.join(f'{size:g}' for size in sorted(sizes))} Å",
                expected="images of one box and pixel size",
                fix="extract them again at one pixel size: cryowalk extract --i MICROGRAPHS.star --coords PARTICLES.star --box … --scale …",
            )
        return sizes.pop()

    def with_pose(self, pose: Pose) -> "ParticleSet":
        """The same particles with other poses."""
        return replace(self, pose=pose)

    def with_images(self, images: ImageSource, image_names: tuple[str, ...] = ()) -> "ParticleSet":
        """The same particles with other images."""
        return replace(self, images=images, image_names=image_names)

    def with_half(self, half: Int[Tensor, " n"]) -> "ParticleSet":
        """The same particles in other half sets."""
        return replace(self, half=half)
