"""RELION's CTF refinement beside ours, on one simulated stack and one pair of half maps (RELION 3.1.3)."""

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from cryowalk.core.units import MILLIRADIAN
from cryowalk.data import ParticleSet
from cryowalk.data.optics import Aberrations
from cryowalk.io.maps import write_map
from cryowalk.io.mrc import MrcStackReader, write_array
from cryowalk.io.relion import read_particles, write_particles
from cryowalk.io.stacks import image_names
from cryowalk.poses import CtfRefinementSettings, refine_aberrations, refine_defocus, refine_magnification
from cryowalk.poses.magnification import translated_defocus

PIXEL = 1.6
pytestmark = pytest.mark.agreement
HALVES = ("run_half1_class001_unfil.mrc", "run_half2_class001_unfil.mrc")
TRUE = Aberrations(beam_tilt=(0.6e-3, -0.9e-3), odd_zernike=(0.0, 0.0, 20.0, 0.0, 0.0, -30.0))


@pytest.fixture
def prepared(photograph, specimen, generator, tmp_path, monkeypatch):
    """A function that writes particles, half maps and their FSC for RELION, and returns the particles as read and the half maps."""
    monkeypatch.chdir(tmp_path)
    noisy = [0.3 * specimen.voxels.std() * torch.randn(specimen.voxels.shape, generator=generator) for _ in HALVES]
    halves = [replace(specimen, voxels=specimen.voxels + noise) for noise in noisy]
    for one, name in zip(halves, HALVES, strict=True):
        write_map(one, tmp_path / name)

    def write(particles: ParticleSet) -> ParticleSet:
        write_array(particles.images.pixels, tmp_path / "p.mrcs", voxel_size=PIXEL, kind="images")
        names = image_names(tmp_path / "p.mrcs", len(particles), star=tmp_path / "p.star")
        write_particles(particles.with_images(MrcStackReader(tmp_path / "p.mrcs"), names), tmp_path / "p.star")
        return read_particles(tmp_path / "p.star")

    return write, halves


def theirs(relion, *choices: str) -> ParticleSet:
    """The particles that relion_ctf_refine makes of p.star."""
    subprocess.run(
        [relion / "relion_postprocess", "--i", HALVES[0], "--i2", HALVES[1], "--o", "pp", "--angpix", str(PIXEL)],
        check=False,
        capture_output=True,
    )
    table = Path("pp.star")
    table.write_text(table.read_text().replace("CorrelationUnmaskedMaps", "CorrelationCorrected"))
    inputs = ["--i", "p.star", "--f", "pp.star", "--m1", HALVES[0], "--m2", HALVES[1], "--o", "theirs/"]
    Path("theirs").mkdir(exist_ok=True)
    subprocess.run([relion / "relion_ctf_refine", *inputs, *choices], check=True, capture_output=True)
    found = read_particles("theirs/particles_ctf_refine.star")  # RELION sorts them by micrograph
    place = {name.split("@")[0]: row for row, name in enumerate(found.image_names)}
    return found[[place[name] for name in sorted(place)]]


def test_beam_tilt_and_trefoil_are_relions(relion, prepared, photograph) -> None:
    write, halves = prepared
    start = photograph(300, aberrations=TRUE, noise=1.5)
    particles = write(replace(start, optics=(replace(start.optics[0], aberrations=Aberrations()),)))
    them = theirs(relion, "--fit_beamtilt", "--kmin_tilt", "30", "--odd_aberr_max_n", "3").optics[0].aberrations
    settings = CtfRefinementSettings(defocus="off", beam_tilt=True, aberrations=True)
    us = refine_aberrations(particles, halves, settings).particles.optics[0].aberrations
    for mine, other, true in zip(us.beam_tilt, them.beam_tilt, TRUE.beam_tilt, strict=True):
        assert mine == pytest.approx(other, abs=0.03 * MILLIRADIAN)
        assert mine == pytest.approx(true, abs=0.05 * MILLIRADIAN)
    assert (us.odd_zernike[2], us.odd_zernike[5]) == pytest.approx((them.odd_zernike[2], them.odd_zernike[5]), abs=2)


def test_defocus_is_relions(relion, prepared, photograph, generator) -> None:
    write, halves = prepared
    true = photograph(150, noise=1.5)
    change = 400 * (torch.rand(150, generator=generator, dtype=torch.float64) - 0.5)
    d = true.defocus
    particles = write(replace(true, defocus=replace(d, major=d.major + change, minor=d.minor + change)))
    them = theirs(relion, "--fit_defocus", "--fit_mode", "fpfff", "--kmin_defocus", "30", "--bf0", "--bf_range", "1000")
    us = refine_defocus(particles, halves)
    errors = [(p.defocus.major - d.major).abs() for p in (particles, us.particles, them)]
    assert errors[1].median() < 0.3 * errors[0].median()
    assert errors[1].median() <= errors[2].median() * 1.05
    assert (us.particles.defocus.major - them.defocus.major).abs().median() < 30


def test_magnification_is_at_least_as_close_as_relions(relion, prepared, photograph) -> None:
    """RELION makes one linear step; ours is repeated, and at the truth within 0.1 %."""
    write, halves = prepared
    matrix = (1.012, 0.004, 0.004, 0.991)
    start = photograph(300, aberrations=Aberrations(magnification=matrix), noise=1.5)
    seen = translated_defocus(start.defocus, torch.linalg.inv(torch.tensor(matrix, dtype=torch.float64).reshape(2, 2)))
    particles = write(replace(start, optics=(replace(start.optics[0], aberrations=Aberrations()),), defocus=seen))
    them = theirs(relion, "--fit_aniso", "--kmin_mag", "30").optics[0].aberrations.magnification
    us = refine_magnification(particles, halves).matrices[0]
    errors = [max(abs(a - b) for a, b in zip(found, matrix, strict=True)) for found in (us, them)]
    assert errors[0] < 1e-3
    assert errors[0] <= errors[1] < 0.5 * 0.012, (us, them)
