import bz2
import gzip
import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
from io_files import PDB

from cryowalk.core.errors import CryowalkWarning, InputError
from cryowalk.data.atoms import Atoms
from cryowalk.io.atoms import read_atoms, write_atoms


def pdb(tmp_path, text, name="p.pdb"):
    (tmp_path / name).write_text(text)
    return tmp_path / name


def test_alternate_locations_keep_their_occupancies(tmp_path):
    atoms = read_atoms(pdb(tmp_path, PDB))
    assert len(atoms) == 5
    assert atoms.occupancies.tolist() == pytest.approx([1, 0.6, 0.4, 1, 1])
    assert atoms.occupancies.sum() == pytest.approx(4)  # N, Cα once, C, Ca
    assert atoms.atomic_numbers.tolist() == [7, 6, 6, 6, 20]
    assert atoms.names == ("N", "CA", "CA", "C", "CA")
    assert atoms.residue_names == ("ALA",) * 4 + ("CA",)
    assert atoms.residue_numbers == (1, 1, 1, 1, 2)
    assert atoms.chains == ("A",) * 5
    np.testing.assert_allclose(atoms.positions[0], [11.104, 6.134, -6.504], atol=1e-6)
    assert atoms.b_factors.tolist() == [20, 21, 21, 22, 30]


def test_alternate_locations_that_count_twice_are_told(tmp_path):
    text = PDB.replace("0.60 21.00", "1.00 21.00").replace("0.40 21.00", "1.00 21.00")
    with pytest.warns(CryowalkWarning, match=r"p.pdb: 1 atoms have alternate locations whose occupancies add up to more than 1"):
        read_atoms(pdb(tmp_path, text))


def test_the_first_of_several_models_is_used_and_others_on_request(tmp_path):
    other = PDB.replace("END\n", "").replace("11.104", "12.104")
    path = pdb(tmp_path, "MODEL        1\n" + PDB.replace("END\n", "") + "ENDMDL\nMODEL        2\n" + other + "ENDMDL\nEND\n")
    with pytest.warns(CryowalkWarning, match="model 1 of 2 is used"):
        assert float(read_atoms(path).positions[0, 0]) == pytest.approx(11.104)
    with pytest.warns(CryowalkWarning, match="model 2 of 2"):
        assert float(read_atoms(path, model=2).positions[0, 0]) == pytest.approx(12.104)
    both = read_atoms(path, model="all")
    assert len(both) == 10
    assert both.occupancies.sum() == pytest.approx(4)
    with pytest.raises(InputError, match="1 to 2, or all"):
        read_atoms(path, model=3)


def test_missing_elements_are_guessed_and_counted(tmp_path):
    text = "".join(line[:66].rstrip() + "\n" for line in PDB.splitlines())
    with pytest.warns(CryowalkWarning, match="5 atoms name no element; it was guessed"):
        assert read_atoms(pdb(tmp_path, text)).atomic_numbers.tolist() == [7, 6, 6, 6, 20]


def test_deuterium_scatters_as_hydrogen_and_insertion_codes_and_hybrid_36_are_read(tmp_path):
    atom = "ATOM  A0000  D   ALA A   1A     11.104   6.134  -6.504  1.00 20.00           D\n"
    star = "ATOM  *****  N   ALA A   1B     12.104   6.134  -6.504  1.00 20.00           N\n"
    atoms = read_atoms(pdb(tmp_path, atom + star + "END\n"))
    assert atoms.atomic_numbers.tolist() == [1, 7]


def test_values_that_cannot_be_meant_are_mended_and_told(tmp_path):
    text = PDB.replace("1.00 20.00", "1.00-20.00").replace("1.00 22.00", "0.00 22.00")
    with pytest.warns(CryowalkWarning, match="1 atoms have a negative B-factor, taken as 0; 1 atoms have no occupancy"):
        atoms = read_atoms(pdb(tmp_path, text))
    assert atoms.b_factors[0] == 0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (PDB.replace("  11.104", "     nan"), r"line 1: a coordinate is not finite"),
        (PDB.replace("  11.639   6.071", "  11.639        "), r"line 2: an atom without three coordinates"),
        (
            PDB.replace("           N\n", "           X\n").replace("  N   ALA", "  X   ALA"),
            r"atom 1 \(X of ALA 1, chain A\) has no known element",
        ),
        ("HEADER    NOTHING\nEND\n", "holds no atoms"),
        ("ATOM      1  N   ALA A   1      11.1", "an atom without three coordinates"),
        ("data_x\n_cell.length_a 1\n", "holds no atoms"),
        ("data_x\nloop_\n_atom_site.id\n_atom_site.Cartn_x\n1 2 3\n", "cannot be read"),
        ("", "empty"),
        ("<html>404</html>", "HTML"),
    ],
)
def test_structures_that_cannot_be_used(tmp_path, text, message):
    with pytest.raises(InputError, match=message) as caught:
        read_atoms(pdb(tmp_path, text, "bad.pdb"))
    assert "bad.pdb" in str(caught.value)
    assert caught.value.exit_code == 3


def test_mmcif_without_coordinates_or_elements(tmp_path):
    head = "data_x\nloop_\n_atom_site.id\n_atom_site.type_symbol\n_atom_site.label_atom_id\n_atom_site.label_comp_id\n_atom_site.label_asym_id\n_atom_site.label_seq_id\n"
    xyz = "_atom_site.Cartn_x\n_atom_site.Cartn_y\n_atom_site.Cartn_z\n"
    whole = (
        head
        + xyz
        + "_atom_site.occupancy\n_atom_site.B_iso_or_equiv\n_atom_site.auth_seq_id\n_atom_site.auth_asym_id\n_atom_site.label_alt_id\n"
    )
    good = pdb(tmp_path, whole + "1 C CA ALA A 1 1.5 2.5 3.5 1.0 20 1 A .\n", "good.cif")
    assert read_atoms(good).positions.tolist() == [[1.5, 2.5, 3.5]]
    for row in ("1 C CA ALA A 1 ? ? ? 1.0 20 1 A .", "1 C CA ALA A 1 nan 2 3 1.0 20 1 A .", "1 ? CA ALA A 1 1 2 3 1.0 20 1 A ."):
        with pytest.raises(InputError, match=r"bad\.cif"):
            read_atoms(pdb(tmp_path, whole + row + "\n", "bad.cif"))
    with pytest.raises(InputError, match=r"bad\.cif: the atom_site loop lacks Cartn_x, Cartn_y, Cartn_z"):
        read_atoms(pdb(tmp_path, whole.replace(xyz, "") + "1 C CA ALA A 1 1.0 20 1 A .\n", "bad.cif"))


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress])
@pytest.mark.parametrize("ending", [".pdb", ".cif"])
def test_compressed_structures(tmp_path, pack, ending):
    atoms = read_atoms(pdb(tmp_path, PDB))
    write_atoms(atoms, tmp_path / f"a{ending}")
    (tmp_path / "b").write_bytes(pack((tmp_path / f"a{ending}").read_bytes()))
    assert torch.equal(read_atoms(tmp_path / "b").positions, atoms.positions)


@pytest.mark.parametrize("ending", [".pdb", ".ent", ".cif", ".mmcif"])
def test_atoms_come_back(tmp_path, ending, generator):
    count = 60
    atoms = Atoms(
        positions=(torch.randn(count, 3, generator=generator) * 40).mul(1000).round().div(1000),
        atomic_numbers=torch.tensor([6, 7, 8, 16, 1, 15])[torch.arange(count) % 6],
        b_factors=(torch.rand(count, generator=generator) * 90).mul(100).round().div(100),
        occupancies=torch.linspace(0.1, 1, count).mul(100).round().div(100),
        names=tuple(f"X{i % 6}" for i in range(count)),
        residue_names=tuple(("ALA", "GLY", "TRP")[i // 20] for i in range(count)),
        residue_numbers=tuple(i // 6 - 3 for i in range(count)),
        chains=tuple("AB"[i // 30] for i in range(count)),
    )
    write_atoms(atoms, tmp_path / f"a{ending}")
    back = read_atoms(tmp_path / f"a{ending}")
    for name in ("positions", "b_factors", "occupancies"):
        torch.testing.assert_close(getattr(back, name), getattr(atoms, name), atol=1e-5, rtol=0)
    for name in ("names", "residue_names", "residue_numbers", "chains"):
        assert getattr(back, name) == getattr(atoms, name)
    assert torch.equal(back.atomic_numbers, atoms.atomic_numbers)
    nameless = replace(atoms, names=(), residue_names=(), residue_numbers=(), chains=())
    write_atoms(nameless, tmp_path / f"b{ending}")
    assert torch.equal(read_atoms(tmp_path / f"b{ending}").positions, back.positions)


def test_atoms_that_do_not_fit_pdb_are_refused(tmp_path):
    atoms = read_atoms(pdb(tmp_path, PDB))
    for wrong in (
        replace(atoms, positions=atoms.positions + 10_000),
        replace(atoms, chains=("long",) * 5),
        replace(atoms, positions=atoms.positions * float("nan")),
    ):
        with pytest.raises(InputError, match=r"q\.pdb"):
            write_atoms(wrong, tmp_path / "q.pdb")
    write_atoms(replace(atoms, positions=atoms.positions + 10_000, chains=("long",) * 5), tmp_path / "q.cif")
    with pytest.raises(InputError, match=r"cannot be written to a \.xyz"):
        write_atoms(atoms, tmp_path / "q.xyz")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["p.pdb", "q.cif"]


def test_real_structures(real_data, tmp_path):
    rhodopsin = read_atoms(real_data / "structures" / "3pqr.pdb")
    assert len(rhodopsin) == 2904
    assert sorted(set(rhodopsin.atomic_numbers.tolist())) == [6, 7, 8, 16]
    apoferritin = read_atoms(real_data / "map_model_apof_emd20026" / "3ajo_fitted_refined.pdb")
    assert len(apoferritin) == 1654
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for atoms in (rhodopsin, apoferritin, read_atoms(real_data / "map_model_emd2566_3j6b" / "3J6B_9.pdb")):
            write_atoms(atoms, tmp_path / "a.cif")
            assert torch.equal(read_atoms(tmp_path / "a.cif").positions, atoms.positions)
