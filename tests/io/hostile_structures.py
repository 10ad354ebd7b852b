"""Rows 83–98 of the catalogue: structures that a simulation begins with."""

import re
import resource
import warnings
from pathlib import Path

import numpy as np
import pytest
from hostile import HTML, Bench, content, pdb, refusals, row
from io_files import PDB

import cryowalk as cw
from cryowalk.core.errors import CryowalkWarning
from cryowalk.io.atoms import read_atoms

ATOM = "ATOM  {:>5} {:<4}{}{:<3} A{:>4}{}   {:8.3f}{:8.3f}{:8.3f}{:6.2f}{:6.2f}          {:>2}\n"


def line(
    serial=1, name=" CA", alt=" ", residue="ALA", number=1, code=" ", place=(1.0, 2.0, 3.0), occupancy=1.0, b=20.0, element="C"
) -> str:
    """One ATOM record."""
    return ATOM.format(serial, name, alt, residue, number, code, *place, occupancy, b, element)


def lines(*texts: str, name: str = "x.pdb"):
    return content(name, "".join((*texts, "END\n")).encode())


@row(83, "alternate locations")
def _(bench: Bench) -> None:
    atoms = bench.accepted(pdb(name="x.pdb"))
    alternate = [i for i, name in enumerate(atoms.names) if name == "CA" and atoms.residue_numbers[i] == 1]
    assert atoms.occupancies[alternate].tolist() == pytest.approx([0.6, 0.4])  # one atom's worth of scattering
    full = pdb(("5.147  0.60", "5.147  1.00"), ("5.247  0.40", "5.247  1.00"), name="x.pdb")
    bench.accepted(full, warns="1 atoms have alternate locations whose occupancies add up to more than 1")


@row(84, "insertion codes")
def _(bench: Bench) -> None:
    atoms = bench.accepted(lines(line(1, number=52, code=" "), line(2, number=52, code="A", place=(4.0, 2.0, 3.0))))
    assert len(atoms.names) == 2
    assert len({tuple(place) for place in atoms.positions.tolist()}) == 2


@row(85, "no element column")
def _(bench: Bench) -> None:
    text = "".join(
        one[:76].rstrip() + "\n" if one.startswith(("ATOM", "HETATM")) else one for one in PDB.splitlines(keepends=True)
    )
    atoms = bench.accepted(content("x.pdb", text.encode()), warns="5 atoms name no element; it was guessed from the atom name")
    assert atoms.atomic_numbers.tolist() == [7, 6, 6, 6, 20]  # Cα is carbon, CA calcium


@row(86, "several models")
def _(bench: Bench) -> None:
    text = "".join(f"MODEL     {number}\n{line(place=(number, 0.0, 0.0))}ENDMDL\n" for number in (1, 2))
    atoms = bench.accepted(lines(text), warns="model 1 of 2 is used")
    assert atoms.positions[:, 0].tolist() == [1.0]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CryowalkWarning)
        assert read_atoms("x.pdb", model=2).positions[:, 0].tolist() == [2.0]
    every = read_atoms("x.pdb", model="all")
    assert every.positions[:, 0].tolist() == [1.0, 2.0]
    assert every.occupancies.tolist() == [0.5, 0.5]
    assert "3" in bench_refusal(lambda: read_atoms("x.pdb", model=3))


def bench_refusal(do) -> str:
    from hostile import refusal

    return refusal(do, 3)


@row(87, "serial numbers beyond their columns")
def _(bench: Bench) -> None:
    for serial in ("A0000", "*****", "99999"):
        atoms = bench.accepted(lines(line(serial), line(serial, place=(5.0, 2.0, 3.0))))
        assert len(atoms.names) == 2
    atoms = bench.accepted(lines(line().replace("A   1 ", "AA000 ")))  # hybrid-36: residue 10 000
    assert atoms.residue_numbers == (10000,)


@row(88, "elements D, X and unknown")
def _(bench: Bench) -> None:
    atoms = bench.accepted(lines(line(name=" D", element="D"), line(2, place=(5.0, 0.0, 0.0))))
    assert atoms.atomic_numbers.tolist() == [1, 6]
    text = bench.refused(pdb(("          CA\n", "           X\n")), 3, "no known element")
    assert "atom 5 (CA of CA 2, chain A)" in text
    bench.refused(lines(line(name=" QQ", element="QQ"), name="bad.pdb"), 3, "no known element")


refusals(
    89,
    "coordinates that are not numbers",
    (pdb(("  11.104", "     nan")), 3, "line 1: a coordinate is not finite"),
    (pdb(("  11.104", "     inf")), 3, "line 1: a coordinate is not finite"),
)


@row(90, "coordinates beyond their columns, negative B, no occupancy")
def _(bench: Bench) -> None:
    bench.refused(pdb(("  11.104   6.134", "123456.104   6.134")), 3, "line 1: an atom without three coordinates")
    bench.refused(pdb(("  11.104", "        ")), 3, "line 1: an atom without three coordinates")
    atoms = bench.accepted(pdb(("1.00 20.00", "1.00-20.00"), name="x.pdb"), warns="1 atoms have a negative B-factor, taken as 0")
    assert float(atoms.b_factors[0]) == 0.0
    atoms = bench.accepted(pdb(("1.00 22.00", "0.00 22.00"), name="x.pdb"), warns="1 atoms have no occupancy and do not scatter")
    assert float(atoms.occupancies.min()) == 0.0
    bench.refused(content("bad.pdb", re.sub(r"[01]\.\d\d (\d\d\.00)", r"0.00 \1", PDB).encode()), 3, "every occupancy is 0")


refusals(
    91,
    "empty, header only, binary",
    (content("bad.pdb", b""), 3, "empty"),
    (content("bad.pdb", b"HEADER    X\nEND\n"), 3, "no atoms"),
    (content("bad.pdb", b"ATOM  \0\1\2"), 3, "bad.pdb"),
    (content("bad.cif", HTML), 3, "HTML"),
)
refusals(92, "truncated ATOM line", (content("bad.pdb", PDB.encode()[:40]), 3, "line 1: an atom without three coordinates"))
refusals(
    93,
    "mmCIF without the columns of atoms",
    (content("bad.cif", b"data_x\nloop_\n_atom_site.id\n_atom_site.type_symbol\n1 C\n"), 3, "lacks"),
    (content("bad.cif", b"data_x\n_entry.id x\n"), 3, "no atoms"),
)
refusals(
    94,
    "mmCIF with a broken loop, quote, text field, or a label twice",
    (content("bad.cif", b"data_x\n_entry.id x\nloop_\n_atom_site.id\n_atom_site.type_symbol\n1 C 2\n"), 3, "cannot be read"),
    (content("bad.cif", b"data_x\n_entry.id 'x\n_b 1\n"), 3, "cannot be read"),
    (content("bad.cif", b"data_x\n_entry.id\n;text without an end\n_b 1\n"), 3, "cannot be read"),
    (content("bad.cif", b"data_x\n_entry.id x\n_entry.id y\n"), 3, "bad.cif"),
)

CIF_HEAD = "data_x\n_entry.id x\nloop_\n" + "".join(
    f"_atom_site.{name}\n"
    for name in (
        "group_PDB", "id", "type_symbol", "label_atom_id", "label_alt_id", "label_comp_id", "label_asym_id", "label_entity_id", "label_seq_id",
        "Cartn_x", "Cartn_y", "Cartn_z", "occupancy", "B_iso_or_equiv", "auth_seq_id", "auth_asym_id", "pdbx_PDB_model_num",
    )
)  # fmt: skip


def cif_rows(*places: str) -> str:
    return "".join(f"ATOM {i} C CA . ALA A 1 {i} {place} 1.0 20.0 {i} A 1\n" for i, place in enumerate(places, start=1))


@row(95, "unknown coordinates in mmCIF")
def _(bench: Bench) -> None:
    for sign in "?.":
        bench.refused(content("bad.cif", (CIF_HEAD + cif_rows("1 2 3", f"1 {sign} 3")).encode()), 3, "bad.cif")
    assert len(bench.accepted(content("x.cif", (CIF_HEAD + cif_rows("1 2 3", "1 5 3")).encode())).names) == 2


@row(96, "a crystal cell that means nothing")
def _(bench: Bench) -> None:
    cell = "CRYST1    1.000    1.000    1.000  90.00  90.00  90.00 P 1           1\n"
    with_cell = bench.accepted(content("x.pdb", (cell + PDB).encode()))
    without = bench.accepted(pdb(name="x.pdb"))
    assert with_cell.positions.tolist() == without.positions.tolist()
    bench.refused(content("bad.cif", b"data_x\n_entry.id x\n_cell.length_a 1\n"), 3, "no atoms")


@row(97, "a million atoms")
def _(bench: Bench) -> None:
    count = 1_000_000
    path = bench.fresh() / "huge.cif"
    with path.open("w") as stream:
        stream.write(CIF_HEAD)
        for start in range(0, count, 50_000):
            stream.writelines(
                f"ATOM {i} C CA . ALA A 1 {i % 999} {i % 100} {i // 100 % 100} {i // 10000} 1.0 20.0 {i % 999} A 1\n"
                for i in range(start + 1, start + 50_001)
            )
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    atoms = cw.read(path)
    assert len(atoms.names) == count
    np.testing.assert_array_equal(atoms.positions.amax(0), [99, 99, 100])
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    assert grown < 40 * path.stat().st_size, f"{grown / 1e9:.1f} GB for a file of {path.stat().st_size / 1e6:.0f} MB"
    path.unlink()


@row(98, "a model larger than the box")
def _(bench: Bench) -> None:
    made = lines(*(line(i, place=(20.0 * i, 0.0, 0.0)) for i in range(1, 8)))(bench.fresh())
    words = ("simulate", "particles", "--structure", made, "--n", "2", "--pixel-size", "2")
    said = bench.cli(*words, "--box", "32", "--o", "small", code=3)
    assert "box" in said
    need = int(re.search(r"(\d{2,})", said[said.index("What to do") if "What to do" in said else 0 :])[1])
    assert need > 32
    assert not list(Path("small").glob("*.mrcs")) if Path("small").exists() else True
    bench.cli(*words, "--box", str(need), "--o", "large")
