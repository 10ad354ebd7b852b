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
    `frame_rate` is raw frames per second and bears on coincidence loss only where `dose_rate` (electrons per pixel per second) is known too;
    electrons that meet within `coincidence_area` (camera pixels) in one raw frame are counted once.

    `pixel` "square" multiplies the curves by the transfer of a square pixel, sinc kx · sinc ky, and its square: in two dimensions, which no curve
    over |k| can say; curves that were measured hold the pixel already ("in the curves"). `sampling` is the number of image pixels per camera pixel
    along each side: 2 is super-resolution.

    `model` "effective" works with the curves. "events" follows single electrons. In integrating mode each leaves a deposit of law `deposit`, with
    mean 1 and standard deviation `deposit_deviation` (1 for "exponential"), which `mtf` spreads: DQE is then 1/(1 + deviation²) and `dqe` is not
    used. In counting mode an electron is found with probability DQE(0) and located with an error whose transform is `mtf`: DQE is DQE(0) · MTF².
    `noise` "none" records the expected image.
    """

    mtf: Response = Response(frequency=(0.0, 0.5), value=(1.0, 1.0))
    dqe: Response = Response(frequency=(0.0, 0.5), value=(1.0, 1.0))
    mode: Literal["counting", "integrating"] = "counting"
    gain: float = 1.0
    readout_noise: float = 0.0
    frame_rate: float | None = None
    dose_rate: float | None = None
    name: str = "ideal"
    coincidence_area: float = 1.0
    pixel: Literal["in the curves", "square"] = "in the curves"
    sampling: Literal[1, 2, 4] = 1
    model: Literal["effective", "events"] = "effective"
    deposit: Literal["exponential", "moyal", "wald"] = "exponential"
    deposit_deviation: float = 1.0
    noise: Literal["poisson", "none"] = "poisson"
