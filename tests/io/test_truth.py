import numpy as np
import pytest
import torch
from io_files import PDB, STAR, particle_set, values

from cryowalk.core.errors import InputError
from cryowalk.data.truth import Truth
from cryowalk.data.volume import Volume
from cryowalk.io.atoms import read_atoms
from cryowalk.io.maps import write_map
from cryowalk.io.relion import read_particles
from cryowalk.io.truth import read_truth, write_truth


def test_everything_known_comes_back_with_all_digits(tmp_path):
    particles = particle_set()
    (tmp_path / "m.pdb").write_text(PDB)
    volume = Volume(voxels=torch.from_numpy(values((4, 4, 4))), voxel_size=1.7)
    (tmp_path / "out").mkdir()
    write_map(volume, tmp_path / "out" / "truth_map.mrc")
    truth = Truth(
        volume=volume,
        atoms=read_atoms(tmp_path / "m.pdb"),
        pose=particles.pose,
        defocus=particles.defocus,
        noise_power=torch.rand(5, dtype=torch.float64),
        snr=0.1 / 3,
        dose=40.0,
        class_number=particles.class_number,
        conformation=torch.linspace(-0.3, 0.3, 7, dtype=torch.float64),
        symmetry="D2",
    )
    path = tmp_path / "out" / "truth.star"
    write_truth(truth, path, volume_file=tmp_path / "out" / "truth_map.mrc", atoms_file=tmp_path / "m.pdb")
    back = read_truth(path)
    torch.testing.assert_close(back.pose.lab_from_particle, truth.pose.lab_from_particle, atol=1e-14, rtol=0)
    torch.testing.assert_close(back.pose.shift, truth.pose.shift, atol=1e-14, rtol=0)
    for name in ("major", "minor", "azimuth", "phase_shift", "b_factor", "scale"):
        torch.testing.assert_close(getattr(back.defocus, name), getattr(truth.defocus, name), atol=1e-12, rtol=1e-15)
    assert torch.equal(back.noise_power, truth.noise_power)
    assert torch.equal(back.conformation, truth.conformation)
    assert torch.equal(back.class_number, truth.class_number)
    assert (back.snr, back.dose, back.symmetry) == (truth.snr, 40.0, "D2")
    torch.testing.assert_close(back.volume.voxels, volume.voxels)
    assert len(back.atoms) == 5
    write_truth(back, tmp_path / "again.star")
    assert read_truth(tmp_path / "again.star").volume is None


def test_what_is_not_known_stays_unknown(tmp_path):
    write_truth(Truth(dose=20.0), tmp_path / "t.star")
    back = read_truth(tmp_path / "t.star")
    assert (back.dose, back.snr, back.pose, back.defocus, back.volume, back.symmetry) == (20.0, None, None, None, None, "C1")


def test_its_angles_can_be_used_as_a_particle_table(tmp_path):
    particles = particle_set()
    write_truth(Truth(pose=particles.pose), tmp_path / "t.star")
    angles = read_particles(tmp_path / "t.star", pixel_size=1.7)
    np.testing.assert_allclose(angles.pose.lab_from_particle, particles.pose.lab_from_particle, atol=1e-12)


def test_other_tables_are_no_truth(tmp_path):
    (tmp_path / "p.star").write_text(STAR)
    with pytest.raises(InputError, match=r"p.star: the file holds no truth"):
        read_truth(tmp_path / "p.star")
