"""What a user may choose about the walk."""

from dataclasses import dataclass
from typing import Annotated


@dataclass(frozen=True, slots=True, kw_only=True)
class WalkSettings:
    """The walk from a specimen, or from real particles with poses, to scored maps."""

    count: Annotated[int, "particles to simulate", "--n", ("min", 2)] = 2000
    box: Annotated[int, "side of the simulated images, pixels", ("min", 16), ("max", 1024)] = 96
    pixel_size: Annotated[
        float | None,
        "pixel size, Å; without it a molecule gets a box of one and a half times its diameter, and a map keeps its field of view",
    ] = None
    dose: Annotated[float, "electrons that make each simulated image, e⁻/Å²", ("above", 0)] = 50.0
    camera: Annotated[str, "camera that counts them: a preset, such as ideal, k3 or falcon4ec"] = "k3"
    snr: Annotated[
        float | None,
        "signal-to-noise ratio of the simulated images (ratio of variances), with drawn noise in place of the microscope's",
        ("above", 0),
    ] = None
    pose_error_degrees: Annotated[
        float, "standard deviation of the angle put on each axis of the perturbed poses, degrees", ("min", 0), ("max", 90)
    ] = 2.0
    shift_error: Annotated[float, "standard deviation put on each coordinate of the perturbed shifts, Å", ("min", 0)] = 1.0
    symmetry: Annotated[str, "point group imposed on the maps, such as C1, D2 or O", "--sym"] = "C1"
    mask_radius: Annotated[
        float | None, "radius of the soft spherical mask of the FSC, Å; without it 0.44 of the box", ("above", 0)
    ] = None
