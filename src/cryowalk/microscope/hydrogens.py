"""The hydrogens that a structure file leaves out: how many each atom of a protein, nucleic acid or water carries."""

import warnings

import torch
from jaxtyping import Int
from torch import Tensor

from cryowalk.core.errors import CryowalkWarning
from cryowalk.data.atoms import Atoms

BOND_LENGTHS = {6: 1.09, 7: 1.01, 8: 0.96, 16: 1.34}  # Å, from hydrogen to carbon, nitrogen, oxygen and sulphur

_BACKBONE = "N1 CA1"
# Side chains as they are at neutral pH: acids without, lysine and arginine with their proton, histidine with the one on NE2.
_SIDE_CHAINS = {
    "ALA": "CB3",
    "ARG": "CB2 CG2 CD2 NE1 NH1:2 NH2:2",
    "ASN": "CB2 ND2:2",
    "ASP": "CB2",
    "CYS": "CB2 SG1",
    "GLN": "CB2 CG2 NE2:2",
    "GLU": "CB2 CG2",
    "GLY": "CA2",
    "HIS": "CB2 CD2:1 CE1:1 NE2:1",
    "ILE": "CB1 CG1:2 CG2:3 CD1:3",
    "LEU": "CB2 CG1 CD1:3 CD2:3",
    "LYS": "CB2 CG2 CD2 CE2 NZ3",
    "MET": "CB2 CG2 CE3",
    "MSE": "CB2 CG2 CE3",
    "PHE": "CB2 CD1:1 CD2:1 CE1:1 CE2:1 CZ1",
    "PRO": "N0 CB2 CG2 CD2",
    "SER": "CB2 OG1",
    "THR": "CB1 OG1:1 CG2:3",
    "TRP": "CB2 CD1:1 NE1:1 CE3:1 CZ2:1 CZ3:1 CH2:1",
    "TYR": "CB2 CD1:1 CD2:1 CE1:1 CE2:1 OH1",
    "VAL": "CB1 CG1:3 CG2:3",
}
_RIBOSE = "C1':1 C2':1 C3':1 C4':1 C5':2 O2':1"
_DEOXYRIBOSE = "C1':1 C2':2 C3':1 C4':1 C5':2"
_BASES = {"A": "C2:1 C8:1 N6:2", "C": "C5:1 C6:1 N4:2", "G": "C8:1 N1:1 N2:2", "U": "N3:1 C5:1 C6:1", "T": "N3:1 C6:1 C7:3"}


def _counts(text: str) -> dict[str, int]:
    """`"CB2 CG1:3"` as {CB: 2, CG1: 3}: the last digit is the number, after a colon where the name ends in a digit."""
    pairs = [word.split(":") if ":" in word else [word[:-1], word[-1]] for word in text.split()]
    return {name: int(number) for name, number in pairs}


_TABLE: dict[str, dict[str, int]] = {
    **{name: _counts(f"{_BACKBONE} {chain}") for name, chain in _SIDE_CHAINS.items()},
    **{name: _counts(f"{_RIBOSE} {base}") for name, base in _BASES.items() if name != "T"},
    **{f"D{name}": _counts(f"{_DEOXYRIBOSE} {base}") for name, base in _BASES.items() if name != "U"},
    "HOH": {"O": 2},
}


def implicit_hydrogens(atoms: Atoms) -> Int[Tensor, " atoms"]:
    """The number of hydrogens bonded to each atom that the atoms do not list: of standard residues inside a chain, at neutral pH.

    A residue that lists a hydrogen gets none. Residues that are not amino acids, nucleotides or water get none, with a warning that names them.
    """
    names = atoms.residue_names or ("",) * len(atoms)
    places = list(zip(names, atoms.residue_numbers or (0,) * len(atoms), atoms.chains or ("",) * len(atoms), strict=True))
    numbers = atoms.atomic_numbers.tolist()
    explicit = {place for place, number in zip(places, numbers, strict=True) if number == 1}
    labels = atoms.names or ("",) * len(atoms)
    counts = [
        0 if place in explicit else _TABLE.get(place[0], {}).get(label, 0) for place, label in zip(places, labels, strict=True)
    ]
    # A lone ion has no hydrogens to lose.
    unknown = sorted(
        {p[0] for p, n in zip(places, numbers, strict=True) if p[0] not in _TABLE and p not in explicit and n in BOND_LENGTHS}
    )
    if unknown:
        named = ", ".join(name or "without a name" for name in unknown[:5])
        warnings.warn(
            f"no hydrogens are added to residues of {len(unknown)} kinds that are not known: {named}",
            CryowalkWarning,
            stacklevel=2,
        )
    return torch.tensor(counts, dtype=torch.int64)
