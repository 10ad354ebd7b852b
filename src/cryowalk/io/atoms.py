"""Atoms from PDB and mmCIF files and back, by gemmi, with the checks that a simulation needs: nothing counted twice, nothing at no place."""

import math
import re
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from cryowalk.core.errors import CryowalkWarning, InputError, printable
from cryowalk.data.atoms import Atoms
from cryowalk.io.atomic import atomic_write_text
from cryowalk.io.opening import read_text

LARGEST_COORDINATE = 1e5  # Å
PDB_RANGE = (-999.999, 9999.999)  # Å, what eight characters hold
REQUIRED_COLUMNS = (
    "id",
    "type_symbol",
    "label_alt_id",
    "label_asym_id",
    "Cartn_x",
    "Cartn_y",
    "Cartn_z",
    "occupancy",
    "B_iso_or_equiv",
    "auth_seq_id",
)  # fmt: skip  without any of them gemmi finds no atoms and says nothing
_MMCIF = re.compile(r"\A(?:\s|#[^\n]*\n)*data_", re.IGNORECASE)


def is_mmcif(text: str) -> bool:
    """Whether the text opens as mmCIF does."""
    return _MMCIF.match(text) is not None


def read_atoms(path: str | Path, *, model: int | Literal["all"] = 1) -> Atoms:
    """The atoms of a PDB or mmCIF file (compressed or not, told apart by content); alternate locations keep their occupancies.

    Of several models the one chosen is read, with a notice; `"all"` takes every model with occupancies divided by their number. Elements that are not
    given are guessed from atom names and counted in a notice. Deuterium scatters as hydrogen. The crystal cell is ignored.

    Raises
    ------
    InputError
        If the file is no structure, holds no atoms, or an atom has no finite position or no known element.
    """
    path = Path(path)
    text = read_text(path)
    cif = is_mmcif(text)
    guessed = 0 if cif else _check_pdb_lines(text, path)
    flat = _flat(_structure(text, path, cif=cif), path)
    chosen, share, notices = _choose_model(flat["model_num"], model, path)
    flat = {name: column[chosen] for name, column in flat.items()}
    _check_atoms(flat, path)
    if guessed:
        notices.append(f"{guessed} atoms name no element; it was guessed from the atom name")
    b_factors, occupancies = flat["b_iso"], flat["occ"]
    for count, what in (
        (int((b_factors < 0).sum()), "have a negative B-factor, taken as 0"),
        (int((occupancies <= 0).sum()), "have no occupancy and do not scatter"),
        (_overfull(flat), "have alternate locations whose occupancies add up to more than 1"),
    ):
        if count:
            notices.append(f"{count} atoms {what}")
    if notices:
        warnings.warn(f"{printable(path)}: " + "; ".join(notices), CryowalkWarning, stacklevel=2)
    return Atoms(
        positions=torch.from_numpy(flat["pos"].astype(np.float32)),
        atomic_numbers=torch.from_numpy(flat["elements"].astype(np.int64)),
        b_factors=torch.from_numpy(np.maximum(b_factors, 0).astype(np.float32)),
        occupancies=torch.from_numpy((np.maximum(occupancies, 0) * share).astype(np.float32)),
        names=_texts(flat["atom_names"]),
        residue_names=_texts(flat["residue_names"]),
        residue_numbers=tuple(flat["resnums"].tolist()),
        chains=_texts(flat["chain_ids"]),
    )


def _structure(text: str, path: Path, *, cif: bool) -> Any:
    """Gemmi's structure of the text."""
    import gemmi

    raw = text.encode("utf-8", "surrogateescape")
    try:
        if not cif:
            return gemmi.read_pdb_string(raw)
        block = gemmi.cif.read_string(raw)[0]
        absent = [label for label in REQUIRED_COLUMNS if not block.find_loop(f"_atom_site.{label}")]
        if len(absent) in range(1, len(REQUIRED_COLUMNS)):
            raise InputError(f"the atom_site loop lacks {', '.join(absent)}", file=path, fix="write the file with these columns")
        return gemmi.make_structure_from_block(block)
    except (RuntimeError, ValueError, IndexError) as error:
        raise InputError(
            f"the structure cannot be read: {printable(error)}",
            file=path,
            cause="a damaged or truncated file",
            fix="fetch the file again",
        ) from error


def _flat(structure: Any, path: Path) -> dict[str, NDArray[Any]]:
    """The atoms of all models as arrays."""
    import gemmi

    try:
        flat = gemmi.FlatStructure(structure)
    except RuntimeError as error:
        raise InputError(f"the atoms cannot be listed: {printable(error)}", file=path, cause="a damaged file") from error
    flat.strings_as_numbers = False
    deuterium = np.array(flat.element_names) == b"D"
    names = (
        "pos",
        "elements",
        "b_iso",
        "occ",
        "atom_names",
        "residue_names",
        "resnums",
        "icodes",
        "chain_ids",
        "altlocs",
        "model_num",
        "serials",
    )
    columns = {name: np.array(getattr(flat, name)) for name in names}
    return columns | {"elements": np.where(deuterium, 1, columns["elements"])}


def _texts(column: NDArray[Any]) -> tuple[str, ...]:
    return tuple(text.decode("utf-8", "replace") for text in column.tolist())


def _check_pdb_lines(text: str, path: Path) -> int:
    """How many atoms name no element; every atom's coordinates are known to be finite numbers.

    Raises
    ------
    InputError
        Naming the line, if they are not; gemmi takes blanks and NaN as they come.
    """
    unnamed = 0
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.startswith(("ATOM  ", "HETATM")):
            continue
        try:
            place = [float(line[start : start + 8]) for start in (30, 38, 46)]
        except ValueError:
            raise InputError(
                f"an atom without three coordinates: “{printable(line[:66])}”",
                file=path,
                row=number,
                expected="numbers in columns 31 to 54",
                cause="a truncated or shifted line",
                fix="fetch the file again",
            ) from None
        if not all(map(math.isfinite, place)):
            raise InputError(
                f"a coordinate is not finite: “{printable(line[:66])}”", file=path, row=number, fix="correct or remove that atom"
            )
        unnamed += not line[76:78].strip()
    return unnamed


def _choose_model(numbers: NDArray[Any], model: int | Literal["all"], path: Path) -> tuple[NDArray[Any], float, list[str]]:
    """Which atoms to take, the factor on their occupancies, and what to tell."""
    if not len(numbers):
        raise InputError(
            "the file holds no atoms",
            file=path,
            expected="ATOM or HETATM records, or an atom_site loop with coordinates and elements",
            cause="a header alone, an mmCIF that lacks columns, or another kind of file",
        )
    models = sorted(set(numbers.tolist()))
    if model == "all":
        return np.arange(len(numbers)), 1 / len(models), []
    if not 1 <= model <= len(models):
        raise InputError(f"model {model} is asked for", file=path, expected=f"1 to {len(models)}, or all")
    notices = [f"model {model} of {len(models)} is used"] if len(models) > 1 else []
    return np.flatnonzero(numbers == models[model - 1]), 1.0, notices


def _check_atoms(flat: dict[str, NDArray[Any]], path: Path) -> None:
    """Raise an error naming the first atom without a place or an element."""

    def named(i: int) -> str:
        residue, chain, name = (_texts(flat[key][i : i + 1])[0] for key in ("residue_names", "chain_ids", "atom_names"))
        return f"atom {int(flat['serials'][i])} ({name} of {residue} {int(flat['resnums'][i])}, chain {chain})"

    lost = np.flatnonzero(~(np.abs(flat["pos"]) <= LARGEST_COORDINATE).all(axis=1))  # true for NaN too
    if len(lost):
        place = ", ".join(f"{value:g}" for value in flat["pos"][lost[0]])
        raise InputError(
            f"{named(int(lost[0]))} lies at ({place}) Å",
            file=path,
            expected="finite coordinates",
            fix="correct or remove that atom",
        )
    unknown = np.flatnonzero(flat["elements"] == 0)
    if len(unknown):
        raise InputError(
            f"{named(int(unknown[0]))} has no known element ({len(unknown)} such atoms)",
            file=path,
            fix="write its element, or remove it",
        )
    for name in ("b_iso", "occ"):
        if not np.isfinite(flat[name]).all():
            raise InputError(
                f"{named(int(np.flatnonzero(~np.isfinite(flat[name]))[0]))}: B-factor or occupancy is not a number", file=path
            )
    if not (flat["occ"] > 0).any():
        raise InputError(
            f"none of the {len(flat['occ'])} atoms scatters: every occupancy is 0",
            file=path,
            cause="a program that left the occupancy column empty",
            fix="set the occupancies to 1",
        )


def _overfull(flat: dict[str, NDArray[Any]]) -> int:
    """How many atoms have alternate locations with occupancies that add up to more than 1."""
    alternate = np.flatnonzero(flat["altlocs"] != 0)
    total: dict[tuple[Any, ...], float] = {}
    keys = zip(
        *(flat[name][alternate].tolist() for name in ("model_num", "chain_ids", "resnums", "icodes", "atom_names")), strict=True
    )
    for key, occupancy in zip(keys, flat["occ"][alternate].tolist(), strict=True):
        total[key] = total.get(key, 0.0) + occupancy
    return sum(value > 1.01 for value in total.values())


def write_atoms(atoms: Atoms, path: str | Path) -> None:
    """Write atoms to a PDB file (.pdb, .ent) or an mmCIF file (.cif, .mmcif), all or nothing.

    Raises
    ------
    InputError
        If the ending is another one, or the atoms do not fit the PDB format.
    """
    path = Path(path)
    ending = path.suffix.lower()
    if ending not in (".pdb", ".ent", ".cif", ".mmcif"):
        raise InputError(
            f"atoms cannot be written to a {ending or 'nameless'} file", file=path, expected=".pdb, .ent, .cif or .mmcif"
        )
    positions = atoms.positions.detach().cpu().double()
    if not bool(positions.isfinite().all()):
        raise InputError("an atom has no finite position", file=path)
    if ending in (".pdb", ".ent"):
        _check_fits_pdb(atoms, path)
    structure = _build(atoms, positions.tolist(), path.stem)
    if ending in (".pdb", ".ent"):
        text: str = structure.make_pdb_string()
    else:
        structure.setup_entities()
        text = structure.make_mmcif_document().as_string()
    atomic_write_text(path, text)


def _check_fits_pdb(atoms: Atoms, path: Path) -> None:
    """Raise an error if columns of the PDB format are too narrow."""
    low, high = (float(value) for value in torch.aminmax(atoms.positions)) if len(atoms) else (0.0, 0.0)
    too_long = next((chain for chain in atoms.chains if len(chain) > 2), None)
    if low < PDB_RANGE[0] or high > PDB_RANGE[1] or too_long is not None:
        what = f"chain “{printable(too_long)}”" if too_long is not None else f"coordinates from {low:g} to {high:g} Å"
        raise InputError(f"{what} do not fit the PDB format", file=path, fix="write an mmCIF file: end the name in .cif")


def _build(atoms: Atoms, positions: Sequence[Sequence[float]], name: str) -> Any:
    """Gemmi's structure of these atoms."""
    import gemmi

    count = len(atoms)
    symbols = {number: gemmi.Element(number).name for number in set(atoms.atomic_numbers.tolist())}
    elements = atoms.atomic_numbers.tolist()
    names = atoms.names or tuple(symbols[number].upper() for number in elements)
    residues = zip(
        atoms.chains or ("A",) * count,
        atoms.residue_numbers or (1,) * count,
        atoms.residue_names or ("UNK",) * count,
        strict=True,
    )
    structure, model = gemmi.Structure(), gemmi.Model(1)
    structure.name = name
    last: tuple[str, int, str] | None = None
    b_factors, occupancies = atoms.b_factors.tolist(), atoms.occupancies.tolist()
    for i, key in enumerate(residues):
        if last is None or key[0] != last[0]:
            chain = model.add_chain(gemmi.Chain(key[0]))
        if key != last:
            residue = gemmi.Residue()
            residue.name, residue.seqid = key[2], gemmi.SeqId(int(key[1]), " ")
            residue = chain.add_residue(residue)
            last = key
        atom = gemmi.Atom()
        atom.name, atom.element, atom.pos = names[i], gemmi.Element(elements[i]), gemmi.Position(*positions[i])
        atom.b_iso, atom.occ, atom.serial = b_factors[i], occupancies[i], i + 1
        residue.add_atom(atom)
    structure.add_model(model)
    return structure
