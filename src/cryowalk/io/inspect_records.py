"""What is in cryoSPARC's tables and cryoDRGN's pickles, in words and in numbers; images are not read, and nothing pickled is run."""

from pathlib import Path
from typing import Any

import numpy as np

from cryowalk.core.errors import printable
from cryowalk.data.particles import ParticleSet
from cryowalk.io.cryodrgn import kind_of_pickle
from cryowalk.io.cryosparc import particles_from_records
from cryowalk.io.cryosparc_groups import GROUP_ENDINGS, read_group, read_group_records
from cryowalk.io.cryosparc_records import read_records
from cryowalk.io.cryosparc_values import alignment_of, names_of
from cryowalk.io.safe_pickle import read_numpy_pickles

Told = tuple[str, list[str], dict[str, Any]]  # kind, sentences, facts
LISTED = 12  # groups of fields that are named


def tell_cryosparc(path: Path) -> tuple[Told, ParticleSet | None]:
    """What a .cs table or .csg group holds, and its particles where it is a table of them.

    Raises
    ------
    InputError
        If it is damaged.
    """
    words: list[str] = []
    facts: dict[str, Any] = {}
    if path.suffix.lower() in GROUP_ENDINGS:
        group = read_group(path)
        files = sorted({file.name for file in group.files.values()})
        words.append(f"group “{printable(group.name)}” of cryoSPARC {printable(group.version)}: {printable(', '.join(files))}")
        facts = {"group": printable(group.name), "version": printable(group.version), "metafiles": list(map(printable, files))}
        records = read_group_records(path)
    else:
        records = read_records(path)
    names = names_of(records)
    groups = list(dict.fromkeys(name.split("/")[0] for name in names))
    words.append(
        f"{len(records)} records of {len(names)} fields: {printable(', '.join(groups[:LISTED]))}"
        + (" …" if len(groups) > LISTED else "")
    )
    facts |= {"records": len(records), "fields": {printable(name): str(records.dtype[name]) for name in names}}
    modes = sorted(name.split("/")[0] for name in names if name.startswith("components_mode_") and name.endswith("/value"))
    if modes:
        words.append(f"{len(modes)} modes of a variability analysis")
        facts["modes"] = len(modes)
    if not len(records) or not {"blob/path", "blob/idx", "blob/psize_A"} <= set(names):
        return ("table (cryoSPARC)", words, facts), None
    alignment = alignment_of(records, path)
    if alignment is not None:
        words.append(f"poses of {alignment.kind}")
        facts["alignment"] = alignment.kind
    if "blob/sign" in names and bool((records["blob/sign"] < 0).any()):
        words.append("images are dark on light; they are turned over as they are read")
    return ("particles (cryoSPARC)", words, facts), particles_from_records(records, path=path)


def tell_pickle(path: Path) -> Told:
    """What a pickle of arrays holds.

    Raises
    ------
    SafetyRefusal
        If it holds more than arrays: nothing of it is run.
    InputError
        If it is damaged.
    """
    things = read_numpy_pickles(path)
    kind = kind_of_pickle(things)
    arrays = [
        part
        for thing in things
        for part in (thing if isinstance(thing, tuple | list) else (thing,))
        if isinstance(part, np.ndarray)
    ]
    words = [f"array {' × '.join(map(str, array.shape)) or 'of one value'} of {array.dtype}" for array in arrays[:LISTED]]
    facts: dict[str, Any] = {"arrays": [{"shape": list(array.shape), "type": str(array.dtype)} for array in arrays]}
    if kind == "ctf" and len(arrays[0]):
        table = arrays[0]
        words.append(
            f"{len(table)} particles of {table[0, 0]:g} px at {table[0, 1]:g} Å, {table[0, 5]:g} kV, defocus from {table[:, 2:4].min():.0f} to {table[:, 2:4].max():.0f} Å"
        )
        facts["particles"] = len(table)
    elif kind != "other":
        facts["particles"] = len(arrays[0]) if arrays else 0
    titles = {"poses": "poses", "ctf": "CTF", "indices": "indices", "latents": "latents"}
    return (f"{titles[kind]} (cryoDRGN)" if kind in titles else "pickle of arrays"), words, facts
