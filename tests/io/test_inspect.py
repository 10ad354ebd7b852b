import json

import pytest
from io_files import PDB, STAR, integers, particle_set, patched, stack, values

from cryowalk.core.errors import InputError
from cryowalk.data.truth import Truth
from cryowalk.io.inspect import describe
from cryowalk.io.mrc import write_array
from cryowalk.io.relion import write_particles
from cryowalk.io.truth import write_truth


def test_each_kind_is_described_in_words_and_json(tmp_path):
    stack(tmp_path / "s.mrcs", shape=(6, 8))
    write_array(values((5, 6, 7)), tmp_path / "v.mrc", voxel_size=1.5, origin=(3.0, 0.0, 0.0))
    write_array(values((6, 7)), tmp_path / "i.mrc", voxel_size=1.5)
    write_particles(particle_set(), tmp_path / "p.star")
    write_truth(Truth(dose=3.0), tmp_path / "t.star")
    (tmp_path / "m.pdb").write_text(PDB)
    (tmp_path / "n.npy").write_bytes(b"\x93NUMPY\x01")
    wanted = {
        "s.mrcs": ("stack of images", "5 images of 8 × 6 px", "pixel size 1.7 Å"),
        "v.mrc": ("map", "7 × 6 × 5 voxels (x × y × z)", "origin (3, 0, 0) Å"),
        "i.mrc": ("image", "32-bit reals"),
        "p.star": (
            "particles (RELION STAR)",
            "7 rows",
            "optics “group 1”: 4 particles, 1.7 Å/px, 300 kV",
            "1 image stack, all found",
            "half sets: 4 in 1, 3 in 2",
        ),
        "t.star": ("truth of a simulation",),
        "m.pdb": ("atomic structure", "5 atoms in 1 chain", "Å (x × y × z)"),
        "n.npy": ("NumPy",),
    }
    for name, words in wanted.items():
        described = describe(tmp_path / name)
        for word in words:
            assert word in str(described), str(described)
        facts = json.loads(json.dumps(described.as_dict(), allow_nan=False))
        assert facts["file"].endswith(name)
    assert describe(tmp_path / "p.star").as_dict()["particles"] == 7
    assert describe(tmp_path / "v.mrc").as_dict()["voxel_size_angstrom"] == [1.5, 1.5, 1.5]
    assert describe(tmp_path / "m.pdb").as_dict()["mass_dalton"] == pytest.approx(14.007 + 12.011 * 2 + 40.078, abs=0.01)


def test_surprises_are_noted_and_not_fatal(tmp_path):
    stack(tmp_path / "s.mrcs")
    assert "machine stamp is wrong" in str(describe(patched(tmp_path / "s.mrcs", tmp_path / "w.mrcs", (212, b"\x11\x11"))))
    (tmp_path / "m.pdb").write_text(
        "MODEL        1\n" + PDB.replace("END\n", "ENDMDL\n") + "MODEL        2\n" + PDB.replace("END\n", "ENDMDL\n")
    )
    assert describe(tmp_path / "m.pdb").notes == ("model 1 of 2 is used",)
    (tmp_path / "p.star").write_text(STAR)  # its stack is away: that is a fact, not an error
    stack(tmp_path / "other.mrcs")
    (tmp_path / "s.mrcs").unlink()
    assert describe(tmp_path / "p.star").as_dict()["stacks_found"] == 0


def test_damaged_and_unknown_files_are_errors(tmp_path):
    stack(tmp_path / "s.mrcs")
    patched(tmp_path / "s.mrcs", tmp_path / "bad.mrcs", (8, integers(6)))
    (tmp_path / "x.txt").write_text("words")
    (tmp_path / "page.mrc").write_text("<!doctype html>")
    for name in ("bad.mrcs", "x.txt", "absent.mrc", "page.mrc"):
        with pytest.raises(InputError, match=name):
            describe(tmp_path / name)


def test_names_of_others_cannot_drive_the_terminal(tmp_path):
    path = tmp_path / "a\x1b[31m.star"
    path.write_text(STAR.replace("1 one", "1 'o\x07ne'").replace("data_particles", "data_particles"))
    assert "\x1b" not in str(describe(path))
    assert "\x07" not in str(describe(path))


def test_real_files_are_described(real_data):
    crystal = describe(real_data / "emdb_maps/EMD-3001.map")
    assert crystal.facts["size_x"] == 43
    assert "lie along Z, X, Y" in str(crystal)
    assert "12 micrographs" not in str(describe(real_data / "betagal_10204/project/micrographs_ctf.star"))
    for path in sorted((real_data / "emdb_maps").iterdir()):
        json.dumps(describe(path).as_dict(), allow_nan=False)
