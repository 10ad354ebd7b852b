"""What the simulation of a micrograph or movie knows, and picking, defocus and motion estimates are scored against."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from jaxtyping import Float, Int
from torch import Tensor

from cryowalk.data.motion import Motion
from cryowalk.data.optics import Defocus, Optics
from cryowalk.data.particles import ParticleSet
from cryowalk.data.pose import Pose


@dataclass(frozen=True, slots=True, kw_only=True)
class Contaminants:
    """Where contaminants lie: (x, y) from the micrograph's first pixel and the radius of the circle of equal area, Å; and what each is."""

    positions: Float[Tensor, "n 2"]
    radius: Float[Tensor, " n"]
    kind: tuple[str, ...]

    def __len__(self) -> int:
        return self.radius.shape[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class MicrographTruth:
    """The truth of one micrograph: its particles, its lens, its ice, and how its movie moved.

    `size` is (height, width) in pixels of `optics.pixel_size`. `positions` are (x, y) from the centre of the first pixel and z from the middle of the ice along the
    beam, Å: the specimen's places in frame 0 of a movie. `defocus` (one value) is that of the plane z = 0, `particle_defocus` each particle's own. `specimen` counts `specimen_names`;
    `conformation` is its coordinate (the hinge angle in rad); `radius` that of the particle, Å; `side` is −1 or +1 for a particle at the interface where the beam enters or leaves.
    `thickness` (Å) is the ice's on an even grid over the field, corners included; `motion` the specimen's displacement. `extra` holds further single
    numbers, such as the dose.
    """

    name: str
    size: tuple[int, int]
    optics: Optics
    defocus: Defocus
    positions: Float[Tensor, "n 3"]
    lab_from_particle: Float[Tensor, "n 3 3"]
    particle_defocus: Defocus
    specimen: Int[Tensor, " n"]
    conformation: Float[Tensor, " n"]
    radius: Float[Tensor, " n"]
    side: Int[Tensor, " n"]
    specimen_names: tuple[str, ...] = ()
    thickness: Float[Tensor, "rows columns"] | None = None
    contaminants: Contaminants | None = None
    motion: Motion | None = None
    extra: Mapping[str, float] = field(default_factory=dict)

    def __len__(self) -> int:
        return self.positions.shape[0]

    @property
    def coordinates(self) -> Float[Tensor, "n 2"]:
        """Where the particles are, (x, y) in pixels of the micrograph; the centre of the first pixel is 0."""
        return self.positions[:, :2] / self.optics.pixel_size

    @property
    def field(self) -> tuple[float, float]:
        """Width and height of the micrograph, Å."""
        return self.size[1] * self.optics.pixel_size, self.size[0] * self.optics.pixel_size

    def distance_to_border(self) -> Float[Tensor, " n"]:
        """How far each particle's middle is from the nearest border of the micrograph, Å: below its radius it is cut."""
        last = torch.tensor([side - self.optics.pixel_size for side in self.field], dtype=self.positions.dtype)
        place = self.positions[:, :2].cpu()
        return torch.minimum(place, last - place).min(dim=1).values

    def thickness_at(self, positions: Float[Tensor, "m 2"]) -> Float[Tensor, " m"]:
        """The thickness of the ice at places (x, y) in Å, interpolated on its grid.

        Raises
        ------
        ValueError
            If the thickness is not known.
        """
        if self.thickness is None:
            raise ValueError("the thickness of this micrograph's ice is not known")
        span = torch.tensor(self.field, dtype=torch.float64)
        place = (positions.double().cpu() / span * 2 - 1)[None, None]
        grid = self.thickness.double().cpu()[None, None]
        return torch.nn.functional.grid_sample(grid, place, mode="bilinear", padding_mode="border", align_corners=True)[0, 0, 0]

    def particles(self) -> ParticleSet:
        """The particles as a set without images: places, poses and defocus, as a perfect picker and a perfect refinement would give them."""
        count = len(self)
        return ParticleSet(
            optics=(self.optics,),
            optics_index=torch.zeros(count, dtype=torch.int64),
            pose=Pose(lab_from_particle=self.lab_from_particle, shift=torch.zeros(count, 2, dtype=torch.float64)),
            defocus=self.particle_defocus,
            class_number=self.specimen + 1,
            micrograph_names=(self.name,) * count,
            coordinates=self.coordinates,
        )
