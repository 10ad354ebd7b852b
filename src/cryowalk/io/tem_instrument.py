"""TEM-simulator's instrument as our nouns: its lens, gun and camera, so that a parameter file of its runs here."""

import math

import torch

from cryowalk.core.errors import InputError
from cryowalk.core.units import MILLIMETRE
from cryowalk.data.camera import Camera, Response
from cryowalk.data.instrument import Gun, ObjectiveLens
from cryowalk.data.optics import Optics
from cryowalk.io.tem_simulator_settings import TemDetector, TemInput

CURVE_POINTS = 51  # of a transfer curve from 0 to Nyquist


def optics_of(made: TemInput, detector: TemDetector) -> Optics:
    """The optics of images of one camera. Its amplitude contrast is 0: TEM-simulator's specimen absorbs by an imaginary potential.

    Raises
    ------
    InputError
        If the magnification gives no pixel size.
    """
    size = detector.pixel_pitch / made.optics.magnification
    if not (math.isfinite(size) and size > 0):
        raise InputError(f"pixel pitch and magnification give a pixel size of {size} Å")
    return Optics(
        pixel_size=size,
        voltage_kv=made.beam.voltage_kv,
        spherical_aberration_mm=made.optics.spherical_aberration_mm,
        amplitude_contrast=0.0,
    )


def gun_of(made: TemInput) -> Gun:
    """The beam: its energy spread taken as a standard deviation, its condenser angle as the half-angle of the illumination."""
    return Gun(energy_spread_ev=made.beam.energy_spread_ev, convergence=made.optics.condenser_angle, voltage_ripple=0.0)


def lens_of(made: TemInput) -> ObjectiveLens:
    """The objective lens: an aperture of diameter d in the focal plane at focal length f lets through half-angles up to d / 2f."""
    optics = made.optics
    return ObjectiveLens(
        chromatic_aberration_mm=optics.chromatic_aberration_mm,
        current_ripple=0.0,
        aperture=optics.aperture / (2 * optics.focal_length_mm * MILLIMETRE) if optics.aperture > 0 else None,
    )


def camera_of(detector: TemDetector) -> Camera:
    """The camera: electrons are counted with the quantum efficiency as scatter of their signals, then signal and noise are blurred alike.

    So the detective quantum efficiency is the same at all frequencies. Without quantisation the camera adds no noise of its own.
    """
    frequency = torch.linspace(0, 0.5, CURVE_POINTS, dtype=torch.float64)
    d = detector
    transfer = d.a * _falling(1 + d.alpha * frequency**2, d.p) + d.b * _falling(1 + d.beta * frequency**2, d.q) + d.c
    efficiency = d.quantum_efficiency if d.counts_electrons else 1.0
    return Camera(
        mtf=Response(frequency=tuple(frequency.tolist()), value=tuple((transfer / (d.a + d.b + d.c)).tolist())),
        dqe=Response(frequency=(0.0, 0.5), value=(efficiency, efficiency)),
        mode="integrating",
        gain=d.gain,
        name="TEM-simulator",
    )


def _falling(y: torch.Tensor, power: float) -> torch.Tensor:
    """2ᵖ y⁻ᵖ / (2 + (2ᵖ − 2) y⁻ᵖ)."""
    base = 2.0**power
    falling: torch.Tensor = base * y**-power / (2 + (base - 2) * y**-power)
    return falling


def field_of_view(made: TemInput, detector: TemDetector) -> tuple[float, float]:
    """Width and height of the field that a camera sees, Å."""
    size = optics_of(made, detector).pixel_size
    return detector.width * size, detector.height * size
