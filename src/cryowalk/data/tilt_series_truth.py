"""What the simulation of a tilt series knows."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from cryowalk.data.optics import Defocus, Optics


@dataclass(frozen=True, slots=True, kw_only=True)
class TiltSeriesTruth:
    """Geometry and content of a simulated tilt series, tilts in the order of their nominal angles.

    Points of the specimen are (x, y, z) in Å from its middle, in the frame in which the tilt axis is y. In tilt t a point p lies at
    `lab_from_specimen`[t] p + (`shift`[t], 0), counted from the image's origin pixel n // 2; its z is the height by which its underfocus exceeds `defocus`[t].
    `tilt_angle` is nominal and `true_tilt_angle` what the stage did, both in rad; `tilt_axis` (rad) is the azimuth of the axis in the images from +x
    towards +y, as in `TiltSeries`. `order` counts acquisitions from 0, `dose_before` is in e⁻/Å². `size` is (height, width) of the images in pixels.
    """

    name: str
    optics: Optics
    size: tuple[int, int]
    thickness: float
    tilt_axis: float
    tilt_angle: Float[Tensor, " tilts"]
    true_tilt_angle: Float[Tensor, " tilts"]
    lab_from_specimen: Float[Tensor, "tilts 3 3"]
    shift: Float[Tensor, "tilts 2"]
    defocus: Defocus
    dose: float
    dose_before: Float[Tensor, " tilts"]
    order: Int[Tensor, " tilts"]
    positions: Float[Tensor, "n 3"]
    specimen_from_particle: Float[Tensor, "n 3 3"]
    specimen: Int[Tensor, " n"]
    conformation: Float[Tensor, " n"]
    bead_positions: Float[Tensor, "beads 3"]
    bead_radius: float
    specimen_names: tuple[str, ...] = ()

    def seen(self, points: Float[Tensor, "n 3"]) -> Float[Tensor, "tilts n 3"]:
        """Where points of the specimen lie in each tilt: (x, y) in pixels from the centre of the first pixel, and z in Å (more underfocus)."""
        place = torch.einsum("tij,nj->tni", self.lab_from_specimen, points.to(self.lab_from_specimen))
        pixel = self.optics.pixel_size
        origin = torch.tensor([self.size[1] // 2, self.size[0] // 2], dtype=place.dtype)
        flat = (place[..., :2] + self.shift[:, None]) / pixel + origin
        return torch.cat([flat, place[..., 2:]], dim=-1)

    def defocus_of(self, tilt: int) -> Defocus:
        """The defocus of one tilt, that of the specimen's middle."""
        every = self.defocus
        return Defocus(
            major=every.major[tilt],
            minor=every.minor[tilt],
            azimuth=every.azimuth[tilt],
            phase_shift=every.phase_shift[tilt],
            b_factor=None if every.b_factor is None else every.b_factor[tilt],
        )

    def projection_matrices(self, *, centre: tuple[float, float, float]) -> Float[Tensor, "tilts 4 4"]:
        """Matrices that map homogeneous points of a tomogram to the tilt images, all in pixels; `centre` is the place of the specimen's middle in the tomogram."""
        tilts = len(self.tilt_angle)
        matrix = torch.zeros(tilts, 4, 4, dtype=torch.float64)
        matrix[:, :3, :3], matrix[:, 3, 3] = self.lab_from_specimen, 1.0
        middle = torch.tensor(centre, dtype=torch.float64)
        matrix[:, :3, 3] = -(self.lab_from_specimen @ middle)
        origin = torch.tensor([self.size[1] // 2, self.size[0] // 2], dtype=torch.float64)
        matrix[:, :2, 3] += self.shift / self.optics.pixel_size + origin
        return matrix
