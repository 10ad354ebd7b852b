"""Our contrast transfer function beside RELION's."""

import math
import subprocess

import mrcfile
import numpy as np
import pytest
import torch
from scipy.optimize import brentq

from cryowalk.core.constants import electron_wavelength
from cryowalk.data.optics import Defocus, Optics
from cryowalk.microscope.lens import contrast_transfer


def relion_image(relion, folder, *, pixel_size, box, major, minor, degrees, phase_degrees):
    """The CTF image that relion_ctf_toolbox writes, origin at n // 2."""
    path = folder / "ctf.mrc"
    command = [str(relion / "relion_ctf_toolbox"), "--simulate", str(path), "--angpix", str(pixel_size), "--box", str(box)]
    command += ["--kV", "300", "--Cs", "2.7", "--Q0", "0.1", "--defU", str(major), "--defV", str(minor)]
    command += ["--defAng", str(degrees), "--phase_shift", str(phase_degrees)]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    with mrcfile.open(path, permissive=True) as file:
        return np.array(file.data).reshape(box, box)


def wavelength_of_relion(voltage_kv):
    """The voltage at which CODATA's constants give the wavelength that RELION computes."""
    volts = 1e3 * voltage_kv
    wavelength = 12.2643247 / math.sqrt(volts * (1 + 0.978466e-6 * volts))
    return brentq(lambda v: electron_wavelength(v) - wavelength, 0.99 * voltage_kv, 1.01 * voltage_kv, xtol=1e-13, rtol=1e-15)


@pytest.mark.agreement
@pytest.mark.parametrize(
    ("major", "minor", "degrees", "phase_degrees"), [(15000, 15000, 0, 0), (18000, 12000, 25, 0), (9000, 8000, 130, 70)]
)
def test_images_equal_those_of_relion(relion, tmp_path, major, minor, degrees, phase_degrees):
    pixel_size, box = 1.125, 128  # RELION reads the pixel size in single precision: this one is exact there
    theirs = relion_image(
        relion, tmp_path, pixel_size=pixel_size, box=box, major=major, minor=minor, degrees=degrees, phase_degrees=phase_degrees
    )
    optics = Optics(
        pixel_size=pixel_size, voltage_kv=wavelength_of_relion(300), spherical_aberration_mm=2.7, amplitude_contrast=0.1
    )
    values = [
        torch.tensor(float(v), dtype=torch.float64) for v in (major, minor, math.radians(degrees), math.radians(phase_degrees))
    ]
    ours = contrast_transfer(
        optics, Defocus(major=values[0], minor=values[1], azimuth=values[2], phase_shift=values[3]), size=(box, box)
    ).numpy()
    half = np.fft.ifftshift(theirs)[:, : box // 2 + 1]
    inside = np.ones_like(half, dtype=bool)
    inside[box // 2, :] = inside[:, box // 2] = False  # one stored Nyquist coefficient stands for two with different astigmatism
    assert np.abs(ours - half)[inside].max() < 3e-6
