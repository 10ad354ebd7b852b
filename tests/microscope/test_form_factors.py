"""Form factors against published values and each other, projected atoms against closed forms, and hydrogens against the residues they belong to."""

import dataclasses
import math

import gemmi
import numpy as np
import pytest
import torch

from cryowalk.core.constants import BOHR_RADIUS
from cryowalk.core.errors import CryowalkWarning, InputError, UsageError
from cryowalk.data.atoms import Atoms
from cryowalk.microscope.form_factors import (
    VOLT_PER_SCATTERING_FACTOR,
    bonded_hydrogen,
    projected_atom,
    scattering_factor,
)
from cryowalk.microscope.hydrogens import _TABLE, BOND_LENGTHS, implicit_hydrogens
from cryowalk.microscope.specimen import potential

FORWARD = {1: 0.52970, 6: 2.51136, 7: 2.21885, 8: 1.98974, 15: 5.49757, 16: 5.17210, 79: 10.55335}
ZERO = torch.zeros(1, dtype=torch.float64)
AMINO_ACIDS = [
    "ALA",
    "ARG",
    "ASN",
    "ASP",
    "CYS",
    "GLN",
    "GLU",
    "GLY",
    "HIS",
    "ILE",
    "LEU",
    "LYS",
    "MET",
    "MSE",
    "PHE",
    "PRO",
    "SER",
    "THR",
    "TRP",
    "TYR",
    "VAL",
]


def residue(name, atom_names, *, number=1):
    count = len(atom_names)
    elements = [gemmi.Element("SE" if n == "SE" else n[0]).atomic_number for n in atom_names]
    return Atoms(
        positions=torch.arange(3 * count, dtype=torch.float64).reshape(count, 3),
        atomic_numbers=torch.tensor(elements),
        b_factors=torch.full((count,), 30.0, dtype=torch.float64),
        occupancies=torch.ones(count, dtype=torch.float64),
        names=tuple(atom_names),
        residue_names=(name,) * count,
        residue_numbers=(number,) * count,
        chains=("A",) * count,
    )


def test_forward_scattering_of_kirkland_is_the_verified_one():
    for number, value in FORWARD.items():
        assert scattering_factor(number, ZERO, form_factors="kirkland").item() == pytest.approx(value, abs=2e-5)


def test_both_tables_agree_for_every_element():
    k = torch.linspace(0, 3, 61, dtype=torch.float64)
    for number in range(1, 99):
        peng, kirkland = (scattering_factor(number, k, form_factors=name) for name in ("peng", "kirkland"))
        assert (peng - kirkland).abs().max() < 0.1 * kirkland[0], gemmi.Element(number).name
        assert (peng - kirkland)[k > 0.5].abs().max() < 0.006 * kirkland[0], gemmi.Element(number).name
        assert bool((kirkland > 0).all())
    for number in (6, 7, 8):
        ratio = scattering_factor(number, k) / scattering_factor(number, k, form_factors="kirkland")
        assert (ratio - 1).abs().max() < 0.05
        assert ratio[0].item() == pytest.approx(1, abs=0.004)


def test_at_high_frequency_kirkland_falls_as_the_charge_of_the_nucleus_demands():
    """Mott–Bethe: f → Z / (2π² a₀ k²) where the electrons no longer scatter; the tables are fits up to 12 Å⁻¹."""
    k = torch.tensor([10.0], dtype=torch.float64)
    for number in (6, 8, 14, 29, 79):
        rutherford = number / (2 * math.pi**2 * BOHR_RADIUS * k**2)
        assert scattering_factor(number, k, form_factors="kirkland").item() == pytest.approx(rutherford.item(), rel=0.1)


@pytest.mark.parametrize(
    ("number", "distance", "value"), [(6, 0.5, 38.8883), (6, 1.0, 6.0919), (8, 0.5, 28.8893), (79, 1.0, 18.5158)]
)
def test_projected_kirkland_atoms_have_the_verified_potentials(number, distance, value):
    r = torch.tensor([distance], dtype=torch.float64)
    assert projected_atom(number, r, form_factors="kirkland").item() == pytest.approx(value, abs=1e-4)


@pytest.mark.parametrize("form_factors", ["peng", "kirkland"])
@pytest.mark.parametrize("number", [1, 6, 16, 79])
def test_the_projected_atom_is_the_transform_of_its_scattering_factor(number, form_factors):
    """Hankel: v(r) = C 2π ∫ f(k) J₀(2πkr) k dk, and the way back; and ∫ v d²r = C f(0)."""
    from scipy.special import j0

    r = np.linspace(1e-4, 30, 300001)
    v = projected_atom(number, torch.from_numpy(r), form_factors=form_factors).numpy()
    forward = scattering_factor(number, ZERO, form_factors=form_factors).item()
    assert np.trapezoid(2 * math.pi * r * v, r) == pytest.approx(VOLT_PER_SCATTERING_FACTOR * forward, rel=2e-4)
    for k in (0.2, 0.7):
        transform = np.trapezoid(2 * math.pi * r * v * j0(2 * math.pi * k * r), r)
        expected = scattering_factor(number, torch.tensor([k], dtype=torch.float64), form_factors=form_factors).item()
        assert transform == pytest.approx(VOLT_PER_SCATTERING_FACTOR * expected, rel=1e-3)


def test_a_b_factor_widens_the_gaussians():
    r = torch.linspace(0, 3, 30, dtype=torch.float64)
    table = gemmi.Element(7).c4322
    expected = sum(
        VOLT_PER_SCATTERING_FACTOR * a * 4 * math.pi / (b + 25) * torch.exp(-4 * math.pi**2 * r**2 / (b + 25))
        for a, b in zip(table.a, table.b, strict=True)
    )
    torch.testing.assert_close(projected_atom(7, r, b_factor=25.0), expected)
    with pytest.raises(UsageError, match="at rest"):
        projected_atom(7, r, b_factor=25.0, form_factors="kirkland")


def test_a_bonded_hydrogen_is_tighter_than_a_free_one_and_blurred_by_its_bond():
    k = torch.linspace(0, 8, 400, dtype=torch.float64)
    still = bonded_hydrogen(k, bond_length=0.0)
    # The 1s closed form with exponent 1 is the hydrogen atom itself; 1.16 is the bonded one: a₀/ζ² at k = 0.
    assert still[0].item() == pytest.approx(BOHR_RADIUS / 1.16**2, rel=1e-12)
    x_ray = 1 / (1 + (math.pi * k[1:] * BOHR_RADIUS / 1.16) ** 2) ** 2
    torch.testing.assert_close(still[1:], (1 - x_ray) / (2 * math.pi**2 * BOHR_RADIUS * k[1:] ** 2))
    # Stewart, Davidson & Simpson's bonded hydrogen, as four Gaussians and a constant in International Tables C, table 6.1.1.4.
    published = gemmi.Element("H").it92
    s = k[(k > 0.3) & (k < 3)] / 2
    stewart = sum(a * torch.exp(-b * s**2) for a, b in zip(published.a, published.b, strict=True)) + published.c
    mine = 1 / (1 + (2 * math.pi * s * BOHR_RADIUS / 1.16) ** 2) ** 2
    assert (stewart - mine).abs().max() < 0.01
    # Averaged over directions: sin x / x.
    directions = torch.linspace(-1, 1, 4001, dtype=torch.float64)
    average = torch.cos(2 * math.pi * k[100] * 1.09 * directions).mean()
    assert (bonded_hydrogen(k, bond_length=1.09)[100] / still[100]).item() == pytest.approx(average.item(), abs=1e-3)


@pytest.mark.parametrize("name", AMINO_ACIDS)
def test_amino_acids_have_the_hydrogens_of_their_formula(name):
    """Inside a chain: the free acid's less H₂O; acids charged, histidine with one proton."""
    info = gemmi.find_tabulated_residue(name)
    expected = info.hydrogen_count - 2 - (name in ("ASP", "GLU", "HIS"))
    atoms = residue(name, ["N", "CA", "C", "O", *[n for n in _TABLE[name] if n not in ("N", "CA")]])
    assert implicit_hydrogens(atoms).sum().item() == expected
    assert implicit_hydrogens(atoms)[2:4].sum() == 0


@pytest.mark.parametrize("name", ["A", "C", "G", "U", "DA", "DC", "DG", "DT", "HOH"])
def test_nucleotides_and_water_have_the_hydrogens_of_their_formula(name):
    """Inside a chain: the free nucleotide's less those of the 3′ hydroxyl and of the phosphate."""
    expected = gemmi.find_tabulated_residue(name).hydrogen_count - (0 if name == "HOH" else 3)
    assert implicit_hydrogens(residue(name, list(_TABLE[name]))).sum().item() == expected


def test_residues_that_list_hydrogens_get_no_more_and_unknown_ones_are_named():
    listed = residue("ALA", ["N", "CA", "CB", "HA"])
    assert implicit_hydrogens(listed).sum() == 0
    with pytest.warns(CryowalkWarning, match="LIG"):
        assert implicit_hydrogens(residue("LIG", ["C1", "O1"])).sum() == 0
    ion = dataclasses.replace(residue("ZN", ["N"]), atomic_numbers=torch.tensor([30]))
    assert implicit_hydrogens(ion).sum() == 0


def test_bonded_atoms_add_the_hydrogens_scattering():
    atoms = residue("ALA", ["N", "CA", "C", "O", "CB"])
    bare, bonded = (potential(atoms, box=48, voxel_size=1.0, form_factors=name).voxels.double() for name in ("peng", "bonded"))
    assert (bonded - bare).sum().item() == pytest.approx(VOLT_PER_SCATTERING_FACTOR * 5 * BOHR_RADIUS / 1.16**2, rel=1e-4)
    assert set(BOND_LENGTHS) == {6, 7, 8, 16}


def test_elements_and_tables_that_do_not_exist_are_refused():
    for number, name, last in ((0, "peng", 98), (99, "peng", 98), (104, "kirkland", 103), (-1, "kirkland", 103)):
        with pytest.raises(InputError, match=f"atomic number {number}") as caught:
            scattering_factor(number, ZERO, form_factors=name)
        assert str(last) in str(caught.value)
    assert scattering_factor(103, ZERO, form_factors="kirkland").item() > 5
