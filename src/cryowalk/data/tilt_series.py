"""A tilt series: images of one place at many tilts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from cryowalk.core.execution import ImageSource
from cryowalk.data.images import SelectedImages
from cryowalk.data.optics import Defocus, Optics
from cryowalk.data.pose import Pose


@dataclass(frozen=True, slots=True, kw_only=True)
class TiltSeries:
    """Tilt images with their poses (specimen to lab), nominal tilt angles in rad and accumulated dose before each in e⁻/Å².

    `dose` is that of each image itself. `order` counts from 0 the order in which the images were taken, whatever order they stand in here.
    `tilt_axis` is the azimuth of the nominal tilt axis in the images, rad, from +x towards +y; π/2 is along y. A positive tilt turns the specimen
    about that axis by the right-hand rule. `image_names` and `movie_names` are as files write them, `extra` maps foreign columns to their text, and
    `column_order` is the order of all columns in the file that was read; `settings` are single values of the series as text.
    """

    name: str
    optics: Optics
    tilt_angle: Float[Tensor, " tilts"]
    pose: Pose | None = None
    images: ImageSource | None = None
    defocus: Defocus | None = None
    dose_before: Float[Tensor, " tilts"] | None = None
    dose: Float[Tensor, " tilts"] | None = None
    order: Int[Tensor, " tilts"] | None = None
    tilt_axis: float | None = None
    image_names: tuple[str, ...] = ()
    movie_names: tuple[str, ...] = ()
    extra: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    settings: Mapping[str, str] = field(default_factory=dict)
    column_order: tuple[str, ...] = ()

    def __len__(self) -> int:
        return self.tilt_angle.shape[0]

    def __getitem__(self, selection: "Bool[Tensor, ' n'] | Int[Tensor, ' m'] | slice | Sequence[int]") -> "TiltSeries":
        """The chosen images, in the order of the selection (a mask, indices or a slice)."""
        chosen = torch.arange(len(self))[torch.as_tensor(selection) if not isinstance(selection, slice) else selection]
        places = chosen.tolist()

        def rows(column: Tensor | None) -> Tensor | None:
            return None if column is None else column[chosen.to(column.device)]

        def texts(column: tuple[str, ...]) -> tuple[str, ...]:
            return tuple(column[i] for i in places) if column else ()

        return replace(
            self,
            tilt_angle=self.tilt_angle[chosen],
            pose=None if self.pose is None else self.pose[chosen],
            images=None if self.images is None else SelectedImages(source=self.images, indices=tuple(places)),
            defocus=None if self.defocus is None else self.defocus[chosen],
            dose_before=rows(self.dose_before),
            dose=rows(self.dose),
            order=rows(self.order),
            image_names=texts(self.image_names),
            movie_names=texts(self.movie_names),
            extra={name: texts(column) for name, column in self.extra.items()},
        )

    def by_tilt(self) -> "TiltSeries":
        """The same images from the lowest tilt angle to the highest."""
        return self[torch.argsort(self.tilt_angle, stable=True)]
