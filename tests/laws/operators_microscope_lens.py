"""The operators of the lens: what it does to waves, to images with odd aberrations, and to tilted specimens."""

import torch

from cryowalk.data.instrument import Gun, ObjectiveLens
from cryowalk.data.optics import Aberrations, Defocus, Optics
from cryowalk.fourier.transform import complex_transform
from cryowalk.microscope.lens import antisymmetric_factor, contrast_transfer, wave_transfer
from cryowalk.microscope.tilted import apply_transfer_over_heights, spread_back_over_heights

from .registry import Operator, Setting

ODD = Aberrations(beam_tilt=(1e-3, -2e-3), odd_zernike=(0.3, 0.0, 20.0, 10.0, 0.0, 30.0), even_zernike=(0.0, 3.0, 2.0))
OPTICS = Optics(pixel_size=1.3, aberrations=ODD)


def defocus(setting: Setting) -> Defocus:
    values = {"major": 9000.0, "minor": 8200.0, "azimuth": 0.4, "phase_shift": 0.1}
    return Defocus(**{name: torch.tensor(v, dtype=setting.dtype, device=setting.device) for name, v in values.items()})


def wave_intensity(setting):
    """Not linear: the intensity of a wave behind the lens."""
    transfer = wave_transfer(OPTICS, defocus(setting), size=setting.size, gun=Gun(), lens=ObjectiveLens(aperture=1e-2))

    def image(phase):
        wave = torch.exp(1j * phase)
        spectrum = complex_transform(wave, dimensions=2, direction="forward") * transfer
        return complex_transform(spectrum, dimensions=2, direction="inverse").abs().square()

    return image


def odd_phase(setting, sign=1):
    optics = Optics(
        pixel_size=1.3,
        aberrations=Aberrations(**{n: tuple(sign * v for v in getattr(ODD, n)) for n in ("beam_tilt", "odd_zernike")}),
    )
    like = torch.empty(0, dtype=setting.dtype, device=setting.device)
    factor = antisymmetric_factor(optics, size=setting.size, like=like)
    return lambda s: s * factor


def transfer(setting):
    factor = contrast_transfer(OPTICS, defocus(setting), size=setting.size, gun=Gun(), lens=ObjectiveLens())
    return lambda s: s * factor


def heights(setting):
    return 1000 * setting.like(setting.size, seed=11)


def tilted(setting):
    return lambda x: apply_transfer_over_heights(x, OPTICS, defocus(setting), heights=heights(setting))


def tilted_back(setting):
    return lambda y: spread_back_over_heights(y, OPTICS, defocus(setting), heights=heights(setting))


OPERATORS = [
    Operator(name="intensity behind the lens", build=wave_intensity, is_linear=False),
    Operator(name="odd aberrations", build=odd_phase, adjoint=lambda s: odd_phase(s, -1), input="spectrum", output="spectrum"),
    Operator(name="contrast transfer with envelopes", build=transfer, adjoint=transfer, input="spectrum", output="spectrum"),
    Operator(name="transfer over heights", build=tilted, adjoint=tilted_back),
]
