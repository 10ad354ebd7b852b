"""Cameras by name: two ideal ones, and the measured modulation transfer of four that cryo-EM uses.

The MTF curves of K2, Falcon 3 EC and Falcon 4 EC at 300 kV are points of the tables that RELION distributes (`mtf_k2_300kV.star`,
`mtf_falcon3EC_300kV.star`, `mtf_falcon4EC_300kV.star`; K2 from McMullan et al., Ultramicroscopy 147, 156 (2014)), that of K3 of Gatan's table for
standard resolution (`mtf_k3_standard_300kV_FL2.star`). The Falcons' tables end at 0.492 cycles per pixel and are continued to Nyquist along their last
step.
Beyond Nyquist – the corners of an image, and super-resolution – all curves are continued by us as a square pixel's fall, MTF as sinc k and DQE as sinc² k,
up to 0.95 cycles per pixel, so that the noise transfer stays level.

The DQE figures at 0, ½ and 1 Nyquist: Falcon 4's are those of the manufacturer's data sheet (Falcon 4i, 300 kV); those of the others are *typical
figures* for counting cameras at low dose rate, chosen by us, not measurements. Put your own camera's curve in where it matters. Raw frame rates are
the makers'. No dose rate is set, so that there is no coincidence loss until you give one: `dataclasses.replace(CAMERAS["k3"], dose_rate=15.0)`.
"""

import math
from typing import Final, Literal

from cryowalk.core.checks import require_between
from cryowalk.core.errors import UsageError
from cryowalk.data.camera import Camera, Response

_HALVES = (0.0, 0.25, 0.5)  # cycles per pixel: 0, ½ and 1 Nyquist

_K2 = Response(
    frequency=(0.0, 0.0125, 0.025, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5),
    value=(1.0, 0.968375, 0.943560, 0.927239, 0.898849, 0.854569, 0.798035, 0.733256, 0.663902, 0.592909, 0.522398, 0.453805, 0.388115),
)  # fmt: skip
_K3 = Response(
    frequency=(0.0, 0.031746, 0.063492, 0.095238, 0.126984, 0.158730, 0.190476, 0.222222, 0.253968, 0.285714, 0.317460, 0.349206,
               0.380952, 0.412698, 0.444444, 0.476190, 0.5),
    value=(1.0, 0.990164, 0.981607, 0.972441, 0.961341, 0.947450, 0.930304, 0.909754, 0.885906, 0.859048, 0.829606, 0.798086,
           0.765036, 0.731005, 0.696514, 0.662031, 0.636471),
)  # fmt: skip
_FALCON_3 = Response(
    frequency=(0.0, 0.03125, 0.0625, 0.09375, 0.125, 0.15625, 0.1875, 0.21875, 0.25, 0.28125, 0.3125, 0.34375, 0.375, 0.40625,
               0.4375, 0.46875, 0.492188, 0.5),
    value=(1.0, 0.988034, 0.955450, 0.910734, 0.853789, 0.791222, 0.720315, 0.647962, 0.572374, 0.500037, 0.434696, 0.365578,
           0.298471, 0.240658, 0.196866, 0.164686, 0.151788, 0.147000),
)  # fmt: skip
_FALCON_4 = Response(
    frequency=(0.0, 0.03125, 0.0625, 0.09375, 0.125, 0.15625, 0.1875, 0.21875, 0.25, 0.28125, 0.3125, 0.34375, 0.375, 0.40625,
               0.4375, 0.46875, 0.492188, 0.5),
    value=(1.0, 0.983908, 0.950609, 0.904637, 0.835400, 0.774531, 0.699723, 0.607128, 0.534836, 0.455116, 0.382951, 0.318573,
           0.247847, 0.198794, 0.154657, 0.117609, 0.092640, 0.083114),
)  # fmt: skip


def _sinc(k: float) -> float:
    return math.sin(math.pi * k) / (math.pi * k)


def _continued(curve: Response, *, power: int) -> Response:
    """A curve that ends at Nyquist, continued as sinc^power k."""
    beyond = tuple(round(0.5 + 0.05 * step, 2) for step in range(1, 10))
    fall = tuple(curve.value[-1] * (_sinc(k) / _sinc(0.5)) ** power for k in beyond)
    return Response(frequency=(*curve.frequency, *beyond), value=(*curve.value, *fall))


def _measured(name: str, mtf: Response, dqe: tuple[float, float, float], *, frame_rate: float) -> Camera:
    """A counting camera of a measured MTF, a DQE at 0, ½ and 1 Nyquist, and raw frames per second."""
    efficiency = _continued(Response(frequency=_HALVES, value=dqe), power=2)
    return Camera(mtf=_continued(mtf, power=1), dqe=efficiency, frame_rate=frame_rate, name=name)


CAMERAS: Final[dict[str, Camera]] = {
    "ideal": Camera(),
    "square_pixel": Camera(pixel="square", name="square_pixel"),
    "k2": _measured("k2", _K2, (0.80, 0.55, 0.22), frame_rate=400.0),
    "k3": _measured("k3", _K3, (0.88, 0.70, 0.40), frame_rate=1500.0),
    "falcon3ec": _measured("falcon3ec", _FALCON_3, (0.85, 0.60, 0.30), frame_rate=40.0),
    "falcon4ec": _measured("falcon4ec", _FALCON_4, (0.92, 0.72, 0.50), frame_rate=248.0),
}


def tem_simulator_camera(
    *, gain: float, dqe: float, use_quantization: Literal["yes", "no"], mtf: Response | None = None
) -> Camera:
    """TEM-simulator's detector: Poisson electrons, each with a deposit of inverse Gaussian law and variance 1/dqe − 1, blurred by the MTF, times the gain.

    `use_quantization` “no” records the expected image. The modulation transfer comes from `detector_curves.rullgard_response`.

    Source: Rullgård et al., J. Microsc. 243, 234 (2011), detector section; the program's detector component.
    """
    require_between("dqe", dqe, 1e-3, 1.0)
    if use_quantization not in {"yes", "no"}:
        raise UsageError(f"use_quantization is yes or no: got {use_quantization!r}")
    return Camera(
        mtf=mtf or Camera().mtf,
        dqe=Response(frequency=(0.0, 0.5), value=(dqe, dqe)),
        mode="integrating",
        gain=gain,
        model="events",
        deposit="wald",
        deposit_deviation=math.sqrt(1 / dqe - 1),
        noise="poisson" if use_quantization == "yes" else "none",
        name="tem_simulator",
    )
