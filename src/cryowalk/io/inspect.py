"""What is in a file, in words and in numbers, from its header or table; pixels are not read."""

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from cryowalk.core.errors import CryowalkWarning, InputError, printable
from cryowalk.data.particles import ParticleSet
from cryowalk.io.atoms import read_atoms
from cryowalk.io.inspect_hdf5 import tell_stack
from cryowalk.io.inspect_movies import Told, tell_mdoc, tell_movie, tell_table, tell_tem
from cryowalk.io.inspect_records import tell_cryosparc, tell_pickle
from cryowalk.io.inspect_refinement import tell_refinement
from cryowalk.io.inspect_text import words_and_facts
from cryowalk.io.kinds import KNOWN_IN_WORDS, MRC_ENDINGS, STAR_ENDINGS, STRUCTURE_ENDINGS, foreign_words, kind_of
from cryowalk.io.maps import map_origin
from cryowalk.io.mrc_extended import extended_in_words
from cryowalk.io.mrc_header import MODES_IN_WORDS, MrcHeader, read_header
from cryowalk.io.relion import read_particles
from cryowalk.io.stacks import find_stack
from cryowalk.io.star import StarFile, read_star
from cryowalk.io.star_kinds import NOT_WHOLE, star_kind
from cryowalk.io.text_formats import STAR_FORMATS, text_format


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """What a file holds: its kind, sentences for people, facts for programs (JSON-able, keys with units), and surprises."""

    path: Path
    kind: str
    words: tuple[str, ...]
    facts: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Everything, ready for `json.dumps`."""
        return {"file": printable(self.path), "kind": self.kind, "notes": list(self.notes), **self.facts}

    def __str__(self) -> str:
        lines = [
            f"{printable(self.path)}: {self.kind}",
            *(f"  {line}" for line in self.words),
            *(f"  note: {note}" for note in self.notes),
        ]
        return "\n".join(lines)


def describe(path: str | Path) -> Description:
    """What is in this file.

    Raises
    ------
    InputError
        If it is missing or damaged.
    """
    path = Path(path)
    kind = kind_of(path)
    if kind == "mrc":
        return describe_mrc(read_header(path))
    if kind == "foreign":
        words = foreign_words(path)
        if {suffix.lower() for suffix in path.suffixes[-2:]} & (MRC_ENDINGS | STAR_ENDINGS | STRUCTURE_ENDINGS):
            raise InputError(
                f"this is {words}, whatever its name says", file=path, fix="fetch the file again or name the right one"
            )
        return Description(path=path, kind=words, words=("a format that is not read here",), facts={"bytes": path.stat().st_size})
    if kind == "unknown":
        raise InputError("the file is of no kind known here", file=path, expected=KNOWN_IN_WORDS)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", CryowalkWarning)
        tellers: dict[str, Callable[[Path], Told]] = {
            "tiff": tell_movie,
            "mdoc": tell_mdoc,
            "tem": tell_tem,
            "hdf5": tell_stack,
            "zarr": tell_stack,
            "pickle": tell_pickle,
        }
        if kind == "text":
            described = _describe_text(path)
        elif kind in tellers:
            described = _described(tellers[kind](path), path)
        elif kind == "cryosparc":
            described = _describe_cryosparc(path)
        else:
            described = describe_star(read_star(path)) if kind == "star" else describe_structure(path)
    told = tuple(
        str(warning.message).removeprefix(f"{printable(path)}: ") for warning in caught if warning.category is CryowalkWarning
    )
    return Description(
        path=path, kind=described.kind, words=described.words, facts=described.facts, notes=(*described.notes, *told)
    )


def _describe_text(path: Path) -> Description:
    """What a file in one of the small formats holds."""
    known = text_format(path)
    words, facts = words_and_facts(known.read(path))
    return Description(path=path, kind=known.words, words=tuple(words), facts=facts)


def _described(told: Told, path: Path) -> Description:
    """The description of what was told of a file."""
    kind, words, facts = told
    return Description(path=path, kind=kind, words=tuple(words), facts=facts)


def _describe_cryosparc(path: Path) -> Description:
    """What a table of cryoSPARC holds, and of particles what is known of them."""
    (kind, words, facts), particles = tell_cryosparc(path)
    if particles is not None:
        more_words, more_facts = _describe_particles(particles, path)
        words, facts = [*words, *more_words], facts | more_facts
    return Description(path=path, kind=kind, words=tuple(words), facts=facts)


def describe_mrc(header: MrcHeader) -> Description:
    """What an MRC file holds, from its header."""
    columns, rows, sections = header.size_along_axes
    if header.volumes > 1:
        kind = "stack of volumes"
    elif header.is_stack:
        kind = "stack of images"
    else:
        kind = "image" if sections == 1 else "map"
    sizes = header.voxel_sizes
    words = [
        f"{sections} images of {columns} × {rows} px (x × y)"
        if kind == "stack of images"
        else (f"{header.volumes} volumes of " if header.volumes > 1 else "")
        + f"{columns} × {rows} × {sections // header.volumes} voxels (x × y × z)",
        MODES_IN_WORDS[header.mode]
        + f" (mode {header.mode}), {'big' if header.byte_order == '>' else 'little'}-endian"
        + (f", {header.compression}" if header.compression else ""),
    ]
    flat = kind in {"stack of images", "image"}
    if min(sizes[:2]) > 0:
        same = max(sizes[:2]) / min(sizes[:2]) < 1.001 and (flat or (sizes[2] > 0 and max(sizes) / min(sizes) < 1.001))
        size = f"{sizes[0]:g}" if same else " × ".join(f"{value:g}" for value in sizes)
        sides = [count * side for count, side in zip((columns, rows, sections), sizes, strict=True)][: 2 if flat else 3]
        words.append(f"{'pixel' if flat else 'voxel'} size {size} Å, {' × '.join(f'{side:.4g}' for side in sides)} Å across")
    else:
        words.append("the pixel size is not given")
    origin = map_origin(header, voxel_sizes=sizes)
    if kind == "map":
        words.append("origin " + ("at 0" if not any(origin) else f"({', '.join(f'{value:g}' for value in origin)}) Å"))
    if header.axes != (1, 2, 3):
        words.append(
            "columns, rows, sections lie along "
            + ", ".join("XYZ"[axis - 1] for axis in header.axes)
            + "; put in order on reading"
        )
    if header.maximum > header.minimum:
        words.append(
            f"values from {header.minimum:.4g} to {header.maximum:.4g}, mean {header.mean:.4g}"
            + (f", deviation {header.rms:.4g} (header)" if header.rms >= 0 else " (header)")
        )
    more_words, more_facts = extended_in_words(header)
    words += more_words
    words += [f"label: {printable(label)}" for label in header.labels]
    facts = {
        "size_x": columns, "size_y": rows, "size_z": sections, "mode": header.mode, "byte_order": "big" if header.byte_order == ">" else "little",
        "compression": header.compression, "voxel_size_angstrom": list(sizes), "origin_angstrom": list(origin), "space_group": header.space_group,
        "is_stack": header.is_stack, "minimum": _number(header.minimum), "maximum": _number(header.maximum), "mean": _number(header.mean),
        "deviation": _number(header.rms), "extended_header_bytes": len(header.extended), "labels": [printable(label) for label in header.labels],
    }  # fmt: skip
    return Description(path=header.path, kind=kind, words=tuple(words), facts=facts | more_facts, notes=header.notes)


def _number(value: float) -> float | None:
    """The number, or None where JSON has no word for it."""
    return value if np.isfinite(value) else None


def describe_star(star: StarFile) -> Description:
    """What a STAR file holds: its blocks, and of particles what is known of them."""
    path = star.path or Path()
    blocks = [
        {
            "name": block.name,
            "rows": len(block),
            "single_values": len(block.values),
            "columns": list(block.columns) or list(block.values),
        }
        for block in star.blocks
    ]
    words = [
        f"data_{printable(block.name)}: "
        + (f"{len(block)} rows of {len(block.columns)} columns" if block.columns else f"{len(block.values)} single values")
        for block in star.blocks[:12]
    ]
    if len(star.blocks) > 12:
        words.append(f"and {len(star.blocks) - 12} more blocks")
    facts: dict[str, Any] = {"blocks": blocks}
    kind = "STAR table"
    names = {block.name for block in star.blocks}
    known = star_kind(star)
    if known in ("micrographs", "motion", "tilt series", "mtf", "coordinates"):
        kind, more_words, more_facts = tell_table(known, path)
        return Description(path=path, kind=kind, words=(*words, *more_words), facts=facts | more_facts)
    if known in NOT_WHOLE:
        return Description(path=path, kind=NOT_WHOLE[known], words=tuple(words), facts=facts)
    if known in STAR_FORMATS:
        more_words, more_facts = words_and_facts(STAR_FORMATS[known].read(path))
        return Description(path=path, kind=STAR_FORMATS[known].words, words=(*words, *more_words), facts=facts | more_facts)
    if known in ("optimiser", "model", "sampling"):
        kind, more_words, more_facts = tell_refinement(known, star)
        return Description(path=path, kind=kind, words=(*words, *more_words), facts=facts | more_facts)
    if "truth" in names:
        kind = "truth of a simulation (STAR)"
    elif any("rlnImageName" in block.columns for block in star.blocks):
        kind = "particles (RELION STAR)"
        particles = read_particles(path, images="ignore")
        more_words, more_facts = _describe_particles(particles, path)
        words += more_words
        facts |= more_facts
    elif "pipeline_general" in names:
        kind = "RELION pipeline (STAR)"
    elif "job" in names:
        kind = "RELION job options (STAR)"
    return Description(path=path, kind=kind, words=tuple(words), facts=facts)


def _describe_particles(particles: ParticleSet, path: Path) -> tuple[list[str], dict[str, Any]]:
    """Sentences and facts about particles."""
    words: list[str] = []
    facts: dict[str, Any] = {"particles": len(particles)}
    groups: list[dict[str, Any]] = []
    for number, group in enumerate(particles.optics):
        count = int((particles.optics_index == number).sum())
        groups.append(
            {"name": group.name, "particles": count, "pixel_size_angstrom": group.pixel_size, "voltage_kv": group.voltage_kv,
             "spherical_aberration_mm": group.spherical_aberration_mm, "amplitude_contrast": group.amplitude_contrast}
        )  # fmt: skip
        words.append(
            f"optics “{printable(group.name)}”: {count} particles, {group.pixel_size:g} Å/px, {group.voltage_kv:g} kV, "
            f"Cs {group.spherical_aberration_mm:g} mm, amplitude contrast {group.amplitude_contrast:g}"
        )
    facts["optics_groups"] = groups
    stacks = dict.fromkeys(name.rpartition("@")[2] for name in particles.image_names)
    there = sum(find_stack(stack, path) is not None for stack in stacks)
    facts |= {"stacks": len(stacks), "stacks_found": there, "has_poses": particles.pose is not None}
    words.append(f"{len(stacks)} image stack{'' if len(stacks) == 1 else 's'}, {'all' if there == len(stacks) else there} found")
    words.append("angles and origins are given" if particles.pose is not None else "no poses")
    if particles.defocus is not None:
        mean = (particles.defocus.major + particles.defocus.minor) / 2
        facts |= {"defocus_minimum_angstrom": float(mean.min()), "defocus_maximum_angstrom": float(mean.max())}
        words.append(f"defocus from {float(mean.min()):.0f} to {float(mean.max()):.0f} Å")
    for what, whole in (("half_sets", particles.half), ("classes", particles.class_number)):
        if whole is not None:
            numbers, counts = np.unique(whole.numpy(), return_counts=True)
            facts[what] = {str(number): int(count) for number, count in zip(numbers, counts, strict=True)}
            listed = ", ".join(f"{count} in {number}" for number, count in zip(numbers[:8], counts[:8], strict=True))
            words.append(f"{what.replace('_', ' ')}: {listed}" + (" …" if len(numbers) > 8 else ""))
    if len({*particles.image_names}) < len(particles.image_names):
        words.append(
            f"{len(particles.image_names) - len({*particles.image_names})} particles name an image that another one names too"
        )
    return words, facts


def describe_structure(path: Path) -> Description:
    """What a structure file holds: atoms, chains, mass and size."""
    import gemmi

    atoms = read_atoms(path)
    numbers, counts = np.unique(atoms.atomic_numbers.numpy(), return_counts=True)
    share = atoms.occupancies.double().numpy()
    weights = {int(number): gemmi.Element(int(number)).weight for number in numbers}
    mass = float(sum(weights[int(number)] * share[atoms.atomic_numbers.numpy() == number].sum() for number in numbers))
    extent = (atoms.positions.amax(0) - atoms.positions.amin(0)).tolist()
    chains = list(dict.fromkeys(atoms.chains))
    elements = {gemmi.Element(int(number)).name: int(count) for number, count in zip(numbers, counts, strict=True)}
    words = (
        f"{len(atoms)} atoms in {len(chains)} chain{'' if len(chains) == 1 else 's'}: "
        + ", ".join(f"{count} {name}" for name, count in elements.items()),
        f"{mass / 1000:.1f} kDa as given (without absent hydrogens), {' × '.join(f'{side:.0f}' for side in extent)} Å (x × y × z)",
    )
    facts = {
        "atoms": len(atoms), "chains": [printable(chain) for chain in chains], "elements": elements, "mass_dalton": mass, "extent_angstrom": extent,
        "has_hydrogens": "H" in elements, "mean_b_factor_square_angstrom": float(atoms.b_factors.mean()),
    }  # fmt: skip
    return Description(path=path, kind="atomic structure", words=words, facts=facts)
