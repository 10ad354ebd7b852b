"""The camera: how well each spatial frequency is transferred, and what a pixel of output means in electrons."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """A curve over spatial frequency in cycles per camera pixel (0.5 is Nyquist), linear between its points, constant beyond them."""

    frequency: tuple[float, ...]
    value: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Camera:
    """A direct-electron camera.

    `mtf` is the modulation transfer (1 at zero frequency), `dqe` the detective quantum efficiency; the noise transfer √(NPS/NPS of the ideal
    camera) follows from the two. `mode` tells whether single electrons are counted or their deposits summed. `gain` is output units per electron.
    `frame_rate` is raw frames per second and bears on coincidence loss only where `dose_rate` (electrons per pixel per second) is known too.
    """

    mtf: Response = Response(frequency=(0.0, 0.5), value=(1.0, 1.0))
    dqe: Response = Response(frequency=(0.0, 0.5), value=(1.0, 1.0))
    mode: Literal["counting", "integrating"] = "counting"
    gain: float = 1.0
    readout_noise: float = 0.0
    frame_rate: float | None = None
    dose_rate: float | None = None
    name: str = "ideal"
