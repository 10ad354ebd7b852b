"""Simulated micrographs, true coordinates: the particles that are cut out reconstruct to the molecule they were."""

from pathlib import Path

import pytest
import torch

from cryowalk.cli.main import exit_code
from cryowalk.data import ParticleSet, Pose, Volume
from cryowalk.fourier.transform import resample, resize
from cryowalk.io import read_map, read_particles
from cryowalk.reconstruction import reconstruct_with_full_map
from cryowalk.validation import compare_maps, spherical_mask

pytestmark = pytest.mark.slow
OFF = ("--quiet", "--threads", "1")
PIXEL_SIZE, BOX = 3.0, 96


@pytest.fixture(scope="module")
def simulated(tmp_path_factory) -> Path:
    """Three micrographs with 330 copies of the procedural molecule in ice."""
    folder = tmp_path_factory.mktemp("simulated")
    words = [
        "--pixel-size",
        str(PIXEL_SIZE),
        "--size",
        "1024",
        "1024",
        "--n",
        "3",
        "--particles",
        "110",
        "--ice-thickness",
        "200",
    ]
    words += ["--defocus-range", "8000", "16000", "--seed", "3"]
    assert exit_code(["simulate", "micrographs", "--o", str(folder / "sim"), *words, *OFF]) == 0
    return folder


def extracted(folder: Path, name: str, *words: str) -> ParticleSet:
    base = ["--i", str(folder / "sim/truth/micrographs_ctf.star"), "--coords", str(folder / "sim/particles.star")]
    assert exit_code(["extract", *base, "--o", str(folder / name), "--box", str(BOX), *words, *OFF]) == 0
    return read_particles(folder / name / "particles.star")


def against_truth(particles: ParticleSet, folder: Path, *, side: int = BOX):
    """The map of these particles against the molecule that was simulated."""
    truth = resize(read_map(folder / "sim/truth/specimen_001.mrc").voxels, (BOX,) * 3)
    size = PIXEL_SIZE * BOX / side
    volume = Volume(voxels=resample(truth, (side,) * 3), voxel_size=size)
    found = Volume(voxels=reconstruct_with_full_map(particles).full.voxels, voxel_size=size)
    assert float((found.voxels * volume.voxels).sum()) > 0  # bright, as the contrast was inverted
    return compare_maps(found, volume, mask=spherical_mask(volume, radius=85.0, edge=12.0))


def test_true_poses_give_the_molecule_and_the_kept_fraction_of_a_pixel_counts(simulated):
    particles = extracted(simulated, "full")
    assert len(particles) == 275
    pose = particles.pose
    curve = against_truth(particles, simulated)
    assert curve.resolution(at=0.5) < 13.2  # 12.55 Å was measured
    fine = curve.frequency > 1 / 12

    def shifted(factor: float) -> float:
        other = particles.with_pose(Pose(lab_from_particle=pose.lab_from_particle, shift=factor * pose.shift))
        return float(against_truth(other, simulated).correlation[fine].mean())

    right = float(curve.correlation[fine].mean())
    assert shifted(-1.0) < shifted(0.0) - 0.02 < right - 0.04
    assert float(pose.shift.abs().max()) <= PIXEL_SIZE / 2 + 1e-5


def test_scaled_boxes_give_the_same_map(simulated):
    particles = extracted(simulated, "scaled", "--scale", "64")
    assert particles.pixel_size == pytest.approx(4.5)
    curve = against_truth(particles, simulated, side=64)
    assert curve.resolution(at=0.5) < 13.2
    whole = against_truth(extracted(simulated, "whole"), simulated)
    shells = torch.arange(1, 20)
    assert float((curve.correlation[shells] - whole.correlation[shells]).abs().max()) < 0.02
