"""What the convention kit holds: poses, defocus and picks that are the same on every machine, because no random number is in them."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from cryowalk.data import Defocus, Optics, Pose
from cryowalk.data.coordinates import Coordinates
from cryowalk.geometry.asymmetric_phantom import phantom_density, phantom_projections
from cryowalk.geometry.rotations import matrix_about_axis

# Multiples of these powers of the root of x⁴ = x + 1 fill a box evenly.
_ROOT = 1.2207440846057594759
SMALLEST_BOX = 32
MICROGRAPH = (880.0, 1200.0)  # height and width, Å: a side that is longer tells a transposed file at a glance
# x, y (Å) of the particles in it: irregular, so that no flip brings them near themselves.
_PICKS = (
    *((130.0, 155.0), (352.5, 100.0), (597.5, 195.0), (827.5, 115.0), (1080.0, 165.0), (240.0, 355.0)),
    *((490.0, 430.0), (1012.5, 395.0), (145.0, 725.0), (752.5, 615.0), (412.5, 762.5)),
)
_DARKNESS = 0.2  # of the mean, at the darkest place


@dataclass(frozen=True, slots=True, kw_only=True)
class ConventionKit:
    """The kit of a box (pixels), a pixel size (Å) and a number of particles: everything in it follows from these."""

    box: int = 64
    pixel_size: float = 2.5
    count: int = 24

    @property
    def optics(self) -> Optics:
        """Of an ordinary microscope."""
        return Optics(
            pixel_size=self.pixel_size,
            voltage_kv=300.0,
            spherical_aberration_mm=2.7,
            amplitude_contrast=0.1,
            micrograph_pixel_size=self.pixel_size,
            name="opticsGroup1",
        )

    @property
    def pose(self) -> Pose:
        """Views spread over the sphere, all in-plane angles, shifts up to 7 % of the box along x and 4 % along y."""
        first, second, third, fourth = self._sequence(4)
        tilt = torch.acos(1 - 2 * (torch.arange(self.count, dtype=torch.float64) + 0.5) / self.count)
        turn = (
            matrix_about_axis(2 * math.pi * first, axis="z")
            @ matrix_about_axis(tilt, axis="y")
            @ matrix_about_axis(2 * math.pi * second, axis="z")
        )
        field = self.box * self.pixel_size
        # Never near zero, so that their signs matter in every image.
        shift = torch.stack((_away_from_zero(third) * 0.07 * field, _away_from_zero(fourth) * 0.04 * field), dim=-1)
        return Pose(lab_from_particle=turn.mT.contiguous(), shift=shift)

    @property
    def defocus(self) -> Defocus:
        """Underfocus from 0.8 to 1.6 µm, clearly astigmatic."""
        first, second = self._sequence(2)
        major = 8000 + 8000 * first
        return Defocus(
            major=major,
            minor=major - 900,
            azimuth=math.pi * (second - 0.5),
            phase_shift=torch.zeros(self.count, dtype=torch.float64),
        )

    def density(self) -> Float[Tensor, "z y x"]:
        """The phantom's map."""
        return phantom_density((self.box, self.box, self.box), voxel_size=self.pixel_size)

    def projections(self) -> Float[Tensor, "n y x"]:
        """The phantom's images at the poses, without CTF."""
        pose = self.pose
        return phantom_projections(pose.lab_from_particle, pose.shift, size=(self.box, self.box), pixel_size=self.pixel_size)

    @property
    def micrograph_size(self) -> tuple[int, int]:
        """Height and width of the micrograph, pixels."""
        height, width = (2 * round(side / self.pixel_size / 2) for side in MICROGRAPH)
        return height, width

    @property
    def picks(self) -> Coordinates:
        """Where the particles of the micrograph are, pixels from the middle of the first pixel of the first row."""
        return Coordinates(positions=(torch.tensor(_PICKS, dtype=torch.float64) / self.pixel_size).round())

    def micrograph(self) -> Float[Tensor, "h w"]:
        """A micrograph as it is recorded, protein dark: 1 − 0.2 × projections, the darkest of them 1."""
        height, width = self.micrograph_size
        middle = torch.tensor([width // 2, height // 2], dtype=torch.float64)
        turns = self.pose.lab_from_particle
        chosen = turns[torch.arange(len(_PICKS)) % len(turns)]
        shift = (self.picks.positions - middle) * self.pixel_size
        total = phantom_projections(chosen, shift, size=(height, width), pixel_size=self.pixel_size).sum(dim=0)
        return 1 - _DARKNESS * total / total.max()

    def _sequence(self, columns: int) -> tuple[Tensor, ...]:
        """Evenly spread numbers in [0, 1), one a particle."""
        index = torch.arange(1, self.count + 1, dtype=torch.float64)
        return tuple((0.5 + index * _ROOT ** -(power + 1)) % 1 for power in range(columns))


def _away_from_zero(uniform: Tensor) -> Tensor:
    """Numbers of [0, 1) spread over −1 … −¼ and ¼ … 1."""
    signed = 2 * uniform - 1
    return torch.where(signed < 0, -1.0, 1.0) * (0.25 + 0.75 * signed.abs())
