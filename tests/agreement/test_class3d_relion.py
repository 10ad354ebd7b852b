"""RELION 3.1.3 goes on from a 3D classification of ours, and finds the same classes and spectra."""

import os
import shutil
import subprocess

import pytest
import torch

from cryowalk.cli.main import main
from cryowalk.data import Defocus, ImageStack, Optics, ParticleSet, Pose, Volume
from cryowalk.fourier.slices import extract_slices, prepare_volume
from cryowalk.fourier.transform import to_real
from cryowalk.geometry.sampling import random_rotations
from cryowalk.io import read_map, read_particles, read_star, write_map, write_particles
from cryowalk.microscope.lens import contrast_transfer

pytestmark = [pytest.mark.agreement, pytest.mark.slow]
BOX, PIXEL, COUNT = 24, 5.0, 150


def blobs(where):
    axis = torch.arange(BOX, dtype=torch.float32) - BOX // 2
    z, y, x = torch.meshgrid(axis, axis, axis, indexing="ij")
    voxels = sum(h * torch.exp(-((x - a) ** 2 + (y - b) ** 2 + (z - c) ** 2) / 4.5) for a, b, c, h in where)
    return Volume(voxels=voxels, voxel_size=PIXEL)


CORE = ((0.0, 0.0, 2.0, 5.0), (4.0, 0.5, -1.0, 4.0), (-2.0, 4.0, 1.0, 4.5), (1.0, -3.0, 4.0, 5.5), (-3.0, -2.0, -3.0, 4.0))
STATES = tuple(blobs((*CORE, arm)) for arm in ((4.5, 3.5, 3.0, 9.0), (-4.0, 1.0, 5.0, 9.0)))


def mixture():
    """Particles of both states, half and half."""
    g = torch.Generator().manual_seed(3)
    pose = Pose(
        lab_from_particle=random_rotations(COUNT, generator=g), shift=4 * torch.randn(COUNT, 2, generator=g, dtype=torch.float64)
    )
    major = 9000 + 9000 * torch.rand(COUNT, generator=g, dtype=torch.float64)
    zeros = torch.zeros_like(major)
    particles = ParticleSet(
        optics=(Optics(pixel_size=PIXEL),), optics_index=torch.zeros(COUNT, dtype=torch.int64), pose=pose,
        defocus=Defocus(major=major, minor=major, azimuth=zeros, phase_shift=zeros),
    )  # fmt: skip
    factor = contrast_transfer(particles.optics[0], particles.defocus, size=(BOX, BOX)).float()
    single = pose.to(torch.float32)
    both = [
        to_real(extract_slices(prepare_volume(one), single.lab_from_particle, factor=factor, shift=single.shift), width=BOX)
        for one in STATES
    ]
    clean = torch.where((torch.arange(COUNT) % 2 == 0)[:, None, None], both[0], both[1])
    noise = torch.randn(clean.shape, generator=g) * float(clean.std()) / 0.6
    return particles.with_images(ImageStack(pixels=clean + noise, pixel_size=PIXEL))


def spectra(path, label):
    return torch.tensor([float(text) for text in read_star(path)["model_class_1"].columns[label]])


def test_relion_goes_on_with_our_classes_and_spectra(tmp_path, monkeypatch):
    if shutil.which("relion_refine") is None:
        pytest.skip("relion_refine is not installed: this agreement was not tried")
    monkeypatch.chdir(tmp_path)
    write_particles(mixture(), "p.star")
    write_map(blobs(CORE), "core.mrc")
    words = "class3d --i p.star --ref core.mrc --classes 2 --skip-align --ini-high 40 --diameter 95 --iter 7 --o C --seed 2 --threads 1"
    with pytest.raises(SystemExit) as raised:
        main([*words.split(), "--quiet", "--device", "cpu"])
    assert raised.value.code == 0
    command = "relion_refine --continue C/run_it007_optimiser.star --iter 8 --skip_align --o C/theirs --j 1"
    ended = subprocess.run(
        command.split(), capture_output=True, text=True, timeout=300, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    assert ended.returncode == 0, ended.stderr[-1500:]
    ours, theirs = (read_particles(f"C/{name}_data.star", images="ignore") for name in ("run", "theirs_it008"))
    number = {name: row for row, name in enumerate(ours.image_names)}
    rows = torch.tensor([number[name] for name in theirs.image_names])
    assert float((ours.class_number[rows] == theirs.class_number).double().mean()) > 0.97
    truth = torch.arange(COUNT) % 2 + 1
    share = float((ours.class_number == truth).double().mean())
    assert max(share, 1 - share) > 0.95
    # τ² and the noise of the maps are the same quantities in the same unit: RELION's own come from its next iteration.
    band = slice(2, 7)
    for label in ("rlnReferenceSigma2", "rlnReferenceTau2"):
        ratio = spectra("C/run_it007_model.star", label)[band] / spectra("C/theirs_it008_model.star", label)[band]
        assert float(ratio.log().abs().max()) < 0.5
    for one in (1, 2):
        mine, other = (read_map(f"C/{name}_class00{one}.mrc").voxels for name in ("run", "theirs_it008"))
        assert float(torch.corrcoef(torch.stack([mine.flatten(), other.flatten()]))[0, 1]) > 0.95
        assert 0.8 < float(mine.norm() / other.norm()) < 1.25
