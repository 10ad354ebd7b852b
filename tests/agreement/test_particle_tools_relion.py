"""Symmetry expansion and the removal of duplicates against RELION 3.1.3's programs on the same files."""

import shutil
import subprocess
from dataclasses import replace

import pytest
import torch

from cryowalk.data import Defocus, Optics, ParticleSet, Pose
from cryowalk.geometry.rotations import geodesic_distance
from cryowalk.geometry.sampling import random_rotations
from cryowalk.io.relion import read_particles, write_particles
from cryowalk.refinement.duplicates import find_duplicates, places_in_micrographs
from cryowalk.refinement.symmetry_expansion import expanded

pytestmark = pytest.mark.agreement


def program(name):
    path = shutil.which(name)
    if path is None:
        pytest.skip(f"{name} is not installed: this agreement was not tried")
    return path


def run(*arguments):
    ended = subprocess.run([str(a) for a in arguments], capture_output=True, text=True, timeout=120)
    assert ended.returncode == 0, ended.stderr[-1500:]
    return ended.stdout


def particles(count, *, seed):
    g = torch.Generator().manual_seed(seed)
    zeros = torch.zeros(count, dtype=torch.float64)
    return ParticleSet(
        optics=(Optics(pixel_size=2.5, micrograph_pixel_size=1.25, extra={"rlnImageSize": "64"}),),
        optics_index=torch.zeros(count, dtype=torch.int64),
        pose=Pose(
            lab_from_particle=random_rotations(count, generator=g),
            shift=6 * torch.randn(count, 2, generator=g, dtype=torch.float64),
        ),
        defocus=Defocus(major=zeros + 9e3, minor=zeros + 9e3, azimuth=zeros, phase_shift=zeros),
        coordinates=(700 * torch.rand(count, 2, generator=g, dtype=torch.float64)).round(),
        micrograph_names=tuple(f"m{number % 3}.mrc" for number in range(count)),
        image_names=tuple(f"{number + 1:06d}@stack.mrcs" for number in range(count)),
    )


@pytest.mark.parametrize("symmetry", ["C4", "D2", "T", "O", "I1"])
def test_expansion_gives_the_same_set_of_orientations(symmetry, tmp_path, monkeypatch):
    tool = program("relion_particle_symmetry_expand")
    monkeypatch.chdir(tmp_path)
    write_particles(particles(4, seed=1), "p.star")
    run(tool, "--i", "p.star", "--o", "theirs.star", "--sym", symmetry)
    theirs, ours = read_particles("theirs.star", images="ignore"), expanded(read_particles("p.star", images="ignore"), symmetry)
    assert len(theirs) == len(ours)
    for number in range(4):
        name = f"{number + 1:06d}@stack.mrcs"
        mine, other = (
            one.pose.lab_from_particle[torch.tensor([row for row, text in enumerate(one.image_names) if text == name])]
            for one in (ours, theirs)
        )
        assert len(mine) == len(other)
        distance = torch.stack([geodesic_distance(mine, rotation) for rotation in other])
        # Both hold each orientation once; RELION writes six digits of a degree.
        assert float(distance.amin(dim=1).max()) < 1e-4
        assert sorted(distance.argmin(dim=1).tolist()) == list(range(len(mine)))


@pytest.mark.parametrize("seed", [2, 3])
def test_the_same_particles_are_duplicates(seed, tmp_path, monkeypatch):
    tool = program("relion_star_handler")
    monkeypatch.chdir(tmp_path)
    write_particles(particles(150, seed=seed), "p.star")
    # RELION wants the factor from coordinates (of 1.25 Å) to the origins' unit in Å per pixel told.
    run(tool, "--i", "p.star", "--o", "theirs.star", "--remove_duplicates", "40", "--image_angpix", "1.25")
    kept = set(read_particles("theirs.star", images="ignore").image_names)
    chosen = particles(150, seed=seed)
    theirs = torch.tensor([name in kept for name in chosen.image_names])
    # RELION removes each row that has a later one near it, whether that one stays or not; we keep the better of two.
    places = places_in_micrographs(chosen)
    micrograph = torch.arange(150) % 3
    near = (torch.cdist(places, places) < 40) & (micrograph[:, None] == micrograph)
    near.fill_diagonal_(fill_value=False)
    assert torch.equal(theirs, ~near.triu().any(dim=1))
    assert 10 < int((~theirs).sum()) < 100
    # So of pairs that nobody else is near, both keep one: ours the same where the later one is better.
    later = replace(chosen, extra={"rlnMaxValueProbDistribution": tuple(f"{row / 150:.4f}" for row in range(150))})
    ours = find_duplicates(later, distance=40.0).kept
    is_pair = (near.sum(dim=1) == 1) & (near.long() @ near.sum(dim=1) == 1)
    assert int(is_pair.sum()) >= 10
    assert torch.equal(ours[is_pair], theirs[is_pair])
