"""`relion_preprocess --extract` beside our boxes: the same pixels, backgrounds and scaled images (RELION 3.1.3, even boxes)."""

import math
import subprocess

import pytest
import torch

from cryowalk.cli.main import exit_code
from cryowalk.data import Defocus, MicrographSet, Optics
from cryowalk.data.coordinates import Coordinates
from cryowalk.fourier.transform import to_fourier, to_real
from cryowalk.io import read_particles
from cryowalk.io.coordinates import write_coordinates
from cryowalk.io.micrographs import write_micrographs
from cryowalk.io.mrc import MrcStackReader, write_array

pytestmark = pytest.mark.agreement
PIXEL_SIZE, BOX = 1.7, 64
PLACES = [[100.0, 80.0], [140.0, 90.0], [61.0, 120.0], [150.0, 60.0], [48.0, 47.0]]


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    g = torch.Generator().manual_seed(11)
    y, x = torch.arange(190.0)[:, None], torch.arange(230.0)
    pixels = 30 + 2 * torch.randn(190, 230, generator=g) + 0.03 * x - 0.02 * y
    for px, py in PLACES:
        pixels -= 6 * torch.exp(-((x - px) ** 2 + 2 * (y - py) ** 2) / 200)
    write_array(pixels, "mic.mrc", voxel_size=PIXEL_SIZE, kind="images")
    one = torch.ones(1, dtype=torch.float64)
    defocus = Defocus(major=15000 * one, minor=14500 * one, azimuth=math.pi / 6 * one, phase_shift=0 * one)
    optics = (Optics(pixel_size=PIXEL_SIZE),)
    write_micrographs(
        MicrographSet(optics=optics, optics_index=torch.zeros(1, dtype=torch.long), names=("mic.mrc",), defocus=defocus),
        "mics.star",
    )
    write_coordinates(Coordinates(positions=torch.tensor(PLACES, dtype=torch.float64)), "mic_pick.star")
    return tmp_path


def theirs(relion, *words) -> torch.Tensor:
    command = [relion / "relion_preprocess", "--i", "mics.star", "--coord_suffix", "_pick.star", "--coord_dir", "./"]
    command += ["--part_dir", "theirs/", "--part_star", "theirs.star", "--extract", "--extract_size", str(BOX), *words]
    subprocess.run(command, check=True, capture_output=True, text=True)
    stack = MrcStackReader("theirs/mic.mrcs")
    return stack.read(range(stack.count))


def ours(*words) -> torch.Tensor:
    base = [
        "extract",
        "--i",
        "mics.star",
        "--coords",
        "mic_pick.star",
        "--o",
        "ours",
        "--box",
        str(BOX),
        "--quiet",
        "--threads",
        "1",
    ]
    assert exit_code([*base, *words]) == 0
    return read_particles("ours/particles.star").images.read(range(len(PLACES)))


def below_nyquist(images: torch.Tensor) -> torch.Tensor:
    """The images without their Nyquist frequencies, which the programs share out differently."""
    spectrum = to_fourier(images.double())
    side = images.shape[-1]
    spectrum[..., side // 2, :] = 0
    spectrum[..., -1] = 0
    return to_real(spectrum, width=side)


def test_boxes_are_the_same_pixels(project, relion) -> None:
    assert torch.equal(ours("--normalise", "none", "--contrast", "bright"), theirs(relion))


@pytest.mark.parametrize("normalise", ["plane", "mean"])
def test_normalised_and_inverted_boxes_are_the_same(project, relion, normalise) -> None:
    ramp = [] if normalise == "plane" else ["--no_ramp"]
    found = ours("--normalise", normalise)
    told = theirs(relion, "--norm", "--bg_radius", str(BOX * 3 // 8), "--invert_contrast", *ramp)
    assert float((found - told).abs().max()) < 1e-5
    assert float(told[0, 30:34, 30:34].mean()) > 1


def test_scaled_boxes_are_the_same_but_for_nyquist(project, relion) -> None:
    found, told = ours("--scale", "40", "--normalise", "none", "--contrast", "bright"), theirs(relion, "--scale", "40")
    assert float(below_nyquist(found - told).abs().max()) < 1e-3


def test_relion_reads_our_particles(project, relion) -> None:
    ours("--scale", "40")
    told = subprocess.run(
        [relion / "relion_stack_create", "--i", "ours/particles.star", "--o", "joined"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    assert "Error" not in told
    joined = MrcStackReader("joined.mrcs")
    assert torch.equal(joined.read(range(joined.count)), read_particles("ours/particles.star").images.read(range(len(PLACES))))
    assert "_rlnImagePixelSize" in (project / "joined.star").read_text()
