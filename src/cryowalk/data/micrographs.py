"""A set of micrographs or movies: one struct of arrays, with the columns of a foreign file kept beside."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from cryowalk.core.errors import InputError
from cryowalk.data.optics import Defocus, Optics


@dataclass(frozen=True, slots=True, kw_only=True)
class MicrographSet:
    """Micrographs, or movies before they are summed: for each its optics group, and where known its names, defocus and earlier dose.

    `optics_index` counts the entries of `optics` from 0; the pixel size of a group is that of the images named here. `names` are micrographs,
    `movie_names` movies, `metadata_names` the files that tell how the movies moved, as files write them. `dose_before` is in e⁻/Å². `extra` maps
    each foreign column to its text, one entry a row; `column_order` is the order of all columns in the file that was read.
    """

    optics: tuple[Optics, ...]
    optics_index: Int[Tensor, " n"]
    names: tuple[str, ...] = ()
    movie_names: tuple[str, ...] = ()
    metadata_names: tuple[str, ...] = ()
    defocus: Defocus | None = None
    dose_before: Float[Tensor, " n"] | None = None
    extra: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    column_order: tuple[str, ...] = ()

    def __len__(self) -> int:
        return self.optics_index.shape[0]

    def __getitem__(self, selection: "Bool[Tensor, ' n'] | Int[Tensor, ' m'] | slice | Sequence[int]") -> "MicrographSet":
        """The chosen ones, in the order of the selection (a mask, indices or a slice)."""
        chosen = torch.arange(len(self))[torch.as_tensor(selection) if not isinstance(selection, slice) else selection]
        order = chosen.tolist()

        def texts(column: tuple[str, ...]) -> tuple[str, ...]:
            return tuple(column[i] for i in order) if column else ()

        return replace(
            self,
            optics_index=self.optics_index[chosen],
            names=texts(self.names),
            movie_names=texts(self.movie_names),
            metadata_names=texts(self.metadata_names),
            defocus=None if self.defocus is None else self.defocus[chosen],
            dose_before=None if self.dose_before is None else self.dose_before[chosen],
            extra={name: texts(column) for name, column in self.extra.items()},
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
            raise InputError(f"the optics groups differ in pixel size: {sorted(sizes)} Å", fix="work on one group at a time")
        return sizes.pop()

    def optics_of(self, index: int) -> Optics:
        """The optics of one of them."""
        return self.optics[int(self.optics_index[index])]

    def with_defocus(self, defocus: Defocus) -> "MicrographSet":
        """The same micrographs with another defocus."""
        return replace(self, defocus=defocus)
