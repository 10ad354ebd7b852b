"""Gun, lens and camera as the settings of a micrograph name them, and what radiation damage leaves of the specimen."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeAlias

from torch import Tensor

from cryowalk.core.errors import UsageError
from cryowalk.data.camera import Camera
from cryowalk.data.instrument import Gun, ObjectiveLens
from cryowalk.data.optics import Optics
from cryowalk.microscope import damage
from cryowalk.microscope.camera import CAMERAS
from cryowalk.microscope.micrograph_settings import MicrographSimulationSettings
from cryowalk.microscope.settings import ParticleSimulationSettings
from cryowalk.microscope.simulate.recording import ice_left

Filter: TypeAlias = Callable[[Tensor], Tensor]
"""A function of spatial frequency, 1/Å, that gives factors on amplitudes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Instrument:
    """Gun, lens and camera."""

    gun: Gun
    lens: ObjectiveLens
    camera: Camera


def instrument_for(settings: MicrographSimulationSettings, camera: Camera | None = None) -> Instrument:
    """Gun, lens and camera of these settings; another `camera` stands for the preset that they name.

    Raises
    ------
    UsageError
        If there is no such camera.
    """
    if camera is None and settings.camera not in CAMERAS:
        raise UsageError(f"there is no camera {settings.camera!r}", expected=", ".join(CAMERAS))
    chosen = camera or CAMERAS[settings.camera]
    return Instrument(
        gun=Gun(energy_spread_ev=settings.energy_spread_ev, convergence=settings.convergence),
        lens=ObjectiveLens(chromatic_aberration_mm=settings.chromatic_aberration_mm, aperture=settings.aperture),
        camera=replace(chosen, dose_rate=settings.dose_rate or chosen.dose_rate, noise=settings.noise),
    )


def tilted_beam(optics: Optics, settings: MicrographSimulationSettings) -> Optics:
    """The optics with the beam tilt of the settings, where they name one."""
    if settings.beam_tilt == (0.0, 0.0):
        return optics
    return replace(optics, aberrations=replace(optics.aberrations, beam_tilt=settings.beam_tilt))


def fading(settings: MicrographSimulationSettings, *, voltage_kv: float) -> Filter | None:
    """What radiation damage leaves of the specimen's amplitudes over the whole exposure (`damage.left_in_sum`); None without damage."""
    if settings.damage == "none":
        return None
    kind, before, dose = settings.damage, settings.dose_before, settings.dose
    return lambda frequency: damage.left_in_sum(frequency, kind=kind, dose=dose, dose_before=before, voltage_kv=voltage_kv)


def stirring(settings: MicrographSimulationSettings, *, voltage_kv: float) -> Filter:
    """What the exposure's sum leaves of the amplitudes of ice, which the beam stirs while it is taken (`recording.ice_left`)."""
    exposure = ParticleSimulationSettings(dose=settings.dose, damage=settings.damage)
    return lambda frequency: ice_left(frequency, exposure, voltage_kv=voltage_kv)
