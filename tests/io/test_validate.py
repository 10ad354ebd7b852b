from dataclasses import replace

import numpy as np
import pytest
import torch
from io_files import PDB, STAR, integers, particle_set, patched, reals, stack, values

from cryowalk.data.volume import Volume
from cryowalk.io.maps import write_map
from cryowalk.io.mrc import write_array
from cryowalk.io.relion import read_particles, write_particles
from cryowalk.io.validate import faults, is_sound


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_what_we_write_has_no_fault_at_all(tmp_path):
    write_particles(replace(particle_set(), extra={}), "p.star")  # without a column that RELION does not know
    write_map(Volume(voxels=torch.from_numpy(values((5, 6, 7))), voxel_size=1.3, origin=(1.3, 0.0, 2.0)), "v.mrc")
    (tmp_path / "m.pdb").write_text(PDB)
    for name in ("p.star", "p.mrcs", "v.mrc", "m.pdb"):
        assert faults(tmp_path / name) == []


@pytest.mark.parametrize(
    ("change", "message", "is_serious"),
    [
        ((1024 + 4 * 70, reals(float("nan"))), "values that are not finite in section 2", True),
        ((1024 + 4 * 70, reals(float("inf"))), "values that are not finite in section 2", True),
        ((1024 + 4 * 70, reals(3e38)), "outliers in section 2", True),
        ((1024, reals(*[1.0] * 64)), "no contrast in section 1 of 5", False),
        ((1024, reals(*[1.0] * 320)), "no contrast in 5 sections", True),
        ((76, reals(0, 1, 2)), "statistics appear to be inaccurate", False),
        ((40, reals(0, 0, 0)), "does not give the pixel size", False),
        ((212, b"\x11\x11"), "machine stamp is wrong", False),
        ((8, integers(6)), "ends after", True),
        ((12, integers(99)), "mode 99 is not supported", True),
    ],
)
def test_faults_of_stacks(tmp_path, change, message, is_serious):
    stack(tmp_path / "s.mrcs")
    found = faults(patched(tmp_path / "s.mrcs", tmp_path / "t.mrcs", change))
    named = [fault for fault in found if message in fault.what]
    assert named, found
    assert named[0].is_serious == is_serious
    assert is_sound(found) is not is_serious
    assert str(named[0]).startswith("fault" if is_serious else "notice")


def test_empty_sections_of_a_map_are_no_fault(tmp_path):
    array = values((4, 4, 4))
    array[0] = 0
    write_array(array, tmp_path / "v.mrc", voxel_size=1.3)
    assert faults(tmp_path / "v.mrc") == []


def test_faults_of_particles_reach_into_their_images(tmp_path):
    particles = particle_set()
    write_particles(particles, "p.star")
    patched(tmp_path / "p.mrcs", tmp_path / "p.mrcs", (1024 + 4 * 64 * 3 + 8, reals(float("nan"))))
    found = faults("p.star")
    assert not is_sound(found)
    assert "image 4 holds a value that is not finite" in found[0].what


def test_an_image_in_both_half_sets_is_a_fault_and_a_copy_a_notice(tmp_path):
    particles = replace(particle_set(), extra={})
    write_particles(particles, "p.star")
    read = read_particles("p.star")
    write_particles(read[torch.tensor([0, 1, 2, 2])], "q.star")
    assert [fault.is_serious for fault in faults("q.star")] == [False]
    crossing = read[torch.tensor([0, 1, 2, 2])].with_half(torch.tensor([1, 2, 1, 2]))
    write_particles(crossing, "r.star")
    found = faults("r.star")
    assert "1 images are in both half sets, the first in row 4" in found[0].what
    assert not is_sound(found)


def test_missing_stacks_and_unknown_files_are_faults(tmp_path):
    (tmp_path / "p.star").write_text(STAR)
    (tmp_path / "x.txt").write_text("words")
    (tmp_path / "n.npy").write_bytes(b"\x93NUMPY")
    for name, word in (
        ("p.star", "stacks are not there"),
        ("x.txt", "no kind known"),
        ("n.npy", "NumPy"),
        ("absent", "no such file"),
    ):
        found = faults(name)
        assert word in found[0].what
        assert not is_sound(found)


def test_real_files(real_data):
    assert is_sound(faults(real_data / "betagal_10204/particles_with_relion_poses.star"))
    assert is_sound(faults(real_data / "structures/3pqr.pdb"))
    for path in sorted((real_data / "emdb_maps").iterdir()):
        assert is_sound(faults(path)), path
    assert not is_sound(faults(real_data / "interop/topaz_EMPIAR-10025_particles.star"))
    assert np.isfinite(len(faults(real_data / "interop/relion31.star")))
