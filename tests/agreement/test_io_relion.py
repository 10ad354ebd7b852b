"""Files of ours in RELION's hands, and RELION's in ours (RELION 3.1.3 of Debian)."""

import re
import subprocess

import numpy as np
import pytest
import torch

from cryowalk.data.images import ImageStack
from cryowalk.data.optics import Defocus, Optics
from cryowalk.data.particles import ParticleSet
from cryowalk.data.pose import Pose
from cryowalk.data.volume import Volume
from cryowalk.geometry.rotations import matrix_from_euler
from cryowalk.io.maps import write_map
from cryowalk.io.mrc import write_array
from cryowalk.io.relion import particle_block, read_particles, write_particles
from cryowalk.io.star import read_star

pytestmark = pytest.mark.agreement
STATISTICS = re.compile(
    r"\(x,y,z,n\)= (\d+) x (\d+) x (\d+) x \d+ ; avg= (\S+) stddev= (\S+) minval= (\S+) maxval= (\S+); angpix = (\S+)"
)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(relion, program, *arguments):
    return subprocess.run([relion / program, *arguments], check=True, capture_output=True, text=True).stdout


def particles(count=6, box=8) -> ParticleSet:
    g = torch.Generator().manual_seed(11)

    def uniform(*shape, low, high):
        return low + (high - low) * torch.rand(*shape, generator=g, dtype=torch.float64)

    major = uniform(count, low=8000, high=20000)
    return ParticleSet(
        optics=(Optics(pixel_size=1.7, name="first"), Optics(pixel_size=1.7, voltage_kv=200.0, name="second one")),
        optics_index=torch.arange(count) % 2,
        images=ImageStack(pixels=torch.randn(count, box, box, generator=g), pixel_size=1.7),
        pose=Pose(
            lab_from_particle=matrix_from_euler(uniform(count, 3, low=0.2, high=3)), shift=uniform(count, 2, low=-9, high=9)
        ),
        defocus=Defocus(
            major=major, minor=major - 250, azimuth=uniform(count, low=-1.5, high=1.5), phase_shift=uniform(count, low=0, high=1)
        ),
        half=torch.arange(count) % 2 + 1,
        micrograph_names=("a b.mrc",) * count,
        coordinates=uniform(count, 2, low=0, high=4000),
        extra={"rlnGroupName": ("007", "1e3", "a b", "", "it's", '"q"')[:count], "rlnSomethingNew": ("1",) * count},
    )


@pytest.mark.parametrize("size", [(8, 8, 8), (9, 9, 9)])
@pytest.mark.parametrize("sample_format", ["float32", "int16", "uint16"])
def test_relion_sees_our_map_as_it_is(relion, folder, size, sample_format):
    array = np.random.default_rng(4).normal(size=size).astype(np.float32) * 50
    array = np.abs(array) if sample_format == "uint16" else array
    write_array(array, "a.mrc", voxel_size=1.37, origin=(2.74, 0, -1.37), sample_format=sample_format)
    stored = array.astype(sample_format)
    x, y, z, mean, deviation, low, high, pixel_size = map(
        float, STATISTICS.search(run(relion, "relion_image_handler", "--i", "a.mrc", "--stats")).groups()
    )
    assert (z, y, x) == size
    assert pixel_size == pytest.approx(1.37, abs=1e-5)
    np.testing.assert_allclose(
        [mean, deviation, low, high], [stored.mean(), stored.std(), stored.min(), stored.max()], rtol=2e-4, atol=1e-4
    )


def test_relion_s_image_of_our_map_is_the_sum_of_its_voxels(relion, folder):
    """The scale on disk: RELION sums voxels, ours is ∫ dz, so that the disk holds V times the voxel size."""
    volume = Volume(
        voxels=torch.from_numpy(np.random.default_rng(4).normal(size=(16, 16, 16)).astype(np.float32)), voxel_size=2.2
    )
    write_map(volume, "a.mrc")
    mean = float(STATISTICS.search(run(relion, "relion_image_handler", "--i", "a.mrc", "--stats")).group(4))
    assert mean == pytest.approx(float(volume.voxels.mean()) * 2.2, abs=1e-5)


def test_relion_sees_each_image_of_our_stack(relion, folder):
    ours = particles()
    write_particles(ours, "p.star")
    found = STATISTICS.findall(run(relion, "relion_image_handler", "--i", "p.mrcs", "--stats"))
    assert len(found) == 6
    np.testing.assert_allclose([float(values[3]) for values in found], ours.images.pixels.mean((1, 2)), atol=2e-6)
    assert {float(values[7]) for values in found} == {1.7}


def test_a_table_comes_back_from_relion_with_every_value(relion, folder):
    ours = particles()
    write_particles(ours, "p.star")
    run(
        relion,
        "relion_star_handler",
        "--i",
        "p.star",
        "--o",
        "q.star",
        "--select",
        "rlnDefocusU",
        "--minval",
        "0",
        "--maxval",
        "1e9",
    )
    theirs = read_particles("q.star")
    assert list(particle_block(read_star("p.star")).columns) == list(particle_block(read_star("q.star")).columns)
    assert dict(theirs.extra) == dict(ours.extra)
    assert theirs.micrograph_names == ours.micrograph_names
    assert [group.name for group in theirs.optics] == ["first", "second one"]
    assert [group.voltage_kv for group in theirs.optics] == [300, 200]
    torch.testing.assert_close(
        theirs.pose.lab_from_particle, ours.pose.lab_from_particle, atol=4e-7, rtol=0
    )  # RELION writes 5 digits of negative angles
    torch.testing.assert_close(theirs.pose.shift, ours.pose.shift, atol=1e-5, rtol=0)
    torch.testing.assert_close(theirs.defocus.major, ours.defocus.major, atol=1e-5, rtol=0)
    assert torch.equal(theirs.images.read(range(6)), ours.images.pixels)


def test_old_tables_convert_as_relion_converts_them(relion, folder, real_data):
    lines = (real_data / "interop/topaz_EMPIAR-10025_particles.star").read_text().splitlines(keepends=True)
    (folder / "old.star").write_text("".join(lines[:60]))
    run(relion, "relion_convert_star", "--i", "old.star", "--o", "new.star")
    ours, theirs = read_particles("old.star", images="ignore"), read_particles("new.star", images="ignore")
    assert len(ours) == len(theirs) > 20
    assert ours.pixel_size == pytest.approx(theirs.pixel_size, abs=1e-6)
    torch.testing.assert_close(ours.pose.shift, theirs.pose.shift, atol=2e-5, rtol=0)
    torch.testing.assert_close(ours.pose.lab_from_particle, theirs.pose.lab_from_particle, atol=4e-7, rtol=0)
    torch.testing.assert_close(ours.defocus.major, theirs.defocus.major, atol=1e-5, rtol=0)
    assert set(ours.extra) == set(theirs.extra)
    write_particles(ours, "ours.star")
    assert set(particle_block(read_star("ours.star")).columns) == set(particle_block(read_star("new.star")).columns)
