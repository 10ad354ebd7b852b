"""A tilt series: images of one place at many tilts."""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from cryowalk.core.execution import ImageSource
from cryowalk.data.optics import Defocus, Optics
from cryowalk.data.pose import Pose


@dataclass(frozen=True, slots=True, kw_only=True)
class TiltSeries:
    """Tilt images with their poses (specimen to lab), nominal tilt angles in rad and accumulated dose before each in e⁻/Å²."""

    name: str
    optics: Optics
    tilt_angle: Float[Tensor, " tilts"]
    pose: Pose | None = None
    images: ImageSource | None = None
    defocus: Defocus | None = None
    dose_before: Float[Tensor, " tilts"] | None = None
