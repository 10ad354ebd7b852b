"""Our multislice beside abTEM's, on the same slices of potential: stored numbers, and the program itself where it is installed."""

import os
import runpy
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch

from cryowalk.data.optics import Defocus, Optics
from cryowalk.microscope.image_formation import image_of_wave
from cryowalk.microscope.multislice import propagate
from cryowalk.microscope.scattering import exit_wave

SCRIPT = Path(__file__).with_name("abtem_multislice.py")
STORED = Path(__file__).with_name("abtem_multislice.npz")
THERE = runpy.run_path(str(SCRIPT))
OPTICS = Optics(
    pixel_size=THERE["PIXEL_SIZE"],
    voltage_kv=THERE["VOLTAGE_KV"],
    spherical_aberration_mm=THERE["SPHERICAL_ABERRATION_MM"],
    amplitude_contrast=0.0,
)


def compare(theirs, dtype):
    """Relative differences of the exit waves (of what was scattered), of amplitudes, of phases (rad), and of the images' contrast."""
    potential = torch.from_numpy(THERE["slices"]()).to(dtype)
    wave = exit_wave(potential, optics=OPTICS, slice_thickness=THERE["THICKNESS"], method="multislice")
    leaving = propagate(wave, optics=OPTICS, distance=float(theirs["height"])).to(torch.complex128)
    expected = torch.from_numpy(theirs["exit_wave"]).to(torch.complex128)
    major = torch.tensor(THERE["DEFOCUS"], dtype=torch.float64)
    image = image_of_wave(
        wave.to(torch.complex128), OPTICS, Defocus(major=major, minor=major, azimuth=0 * major, phase_shift=0 * major)
    )
    image_there = torch.from_numpy(theirs["image"]).double()
    return {
        "scattered": ((leaving - expected).norm() / (expected - expected.mean()).norm()).item(),
        "amplitude": ((leaving.abs() - expected.abs()).norm() / expected.abs().norm()).item(),
        "phase": torch.angle(leaving / expected).square().mean().sqrt().item() / torch.angle(expected).std().item(),
        "image": ((image - image_there).norm() / (image_there - 1).norm()).item(),
    }


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_exit_waves_and_images_equal_the_stored_ones_of_abtem(dtype):
    with np.load(STORED) as theirs:
        assert str(theirs["version"]).startswith("1.")
        assert np.abs(theirs["exit_wave"]).std() > 0.05, "the specimen is no weak phase object"
        found = compare(theirs, dtype)
    assert max(found.values()) < 0.01, found


@pytest.mark.agreement
def test_exit_waves_and_images_equal_those_of_abtem(tmp_path):
    python = os.environ.get("CRYOWALK_ABTEM_PYTHON")
    if python is None:
        pytest.skip(
            "abTEM was not run: make an environment with it (python3 -m venv venv-abtem && venv-abtem/bin/pip install abtem) and name its python "
            "in CRYOWALK_ABTEM_PYTHON"
        )
    output = tmp_path / "abtem.npz"
    subprocess.run([python, str(SCRIPT), str(output)], check=True, capture_output=True, timeout=300)
    with np.load(output) as theirs:
        found = compare(theirs, torch.float64)
        assert max(found.values()) < 0.01, found
        with np.load(STORED) as stored:
            np.testing.assert_allclose(theirs["exit_wave"], stored["exit_wave"], atol=1e-5)
