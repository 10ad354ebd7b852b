"""TEM-simulator's parameter and coordinate files: read into frozen settings in our units, and written so that it reads them again.

A parameter file has sections `=== kind name ===` with lines `key = value`; `#` begins a comment. Lengths are nm (sample, particles), μm (defocus, aperture,
detector pixel) and mm (Cs, Cc, focal length) there, doses e⁻/nm², angles degrees and mrad. What a section does not say has the value that the study
group's notebooks use. Keys that are not known here are kept as text. A key that stands twice counts by its last value, with a warning.

Source: Rullgård, Öfverstedt, Masich, Daneholt & Öktem, J. Microsc. 243, 234 (2011); the reference manual and the example of version 1.3.
"""

import math
import re
import warnings
from pathlib import Path
from typing import Any, Literal, NamedTuple

from cryowalk.core.errors import CryowalkWarning, InputError, printable
from cryowalk.core.units import DEGREE, MICROMETRE, MILLIRADIAN, NANOMETRE
from cryowalk.io.atomic import atomic_write_text
from cryowalk.io.opening import read_text
from cryowalk.io.tem_simulator_settings import (
    TemBeam,
    TemDetector,
    TemGeometry,
    TemInput,
    TemOptics,
    TemParticle,
    TemParticleSet,
    TemSample,
    TemSimulation,
)

_HEADING = re.compile(r"^===\s*(\w+)(?:\s+(.*?))?\s*===$")
PER_SQUARE_NANOMETRE = 1 / NANOMETRE**2  # of doses, in e⁻/Å²


class _Key(NamedTuple):
    """How a key is read: the part it becomes, what kind of value it is, and the unit of the file in ours."""

    part: str
    kind: Literal["number", "whole", "yes", "text"] = "number"
    unit: float = 1.0
    low: float = -math.inf


_KEYS: dict[str, dict[str, _Key]] = {
    "simulation": {
        "generate_micrographs": _Key("generate_micrographs", "yes"), "rand_seed": _Key("seed", "whole"), "log_file": _Key("log_file", "text"),
    },
    "sample": {
        "diameter": _Key("diameter", unit=NANOMETRE, low=0), "thickness_center": _Key("thickness_at_centre", unit=NANOMETRE, low=0),
        "thickness_edge": _Key("thickness_at_edge", unit=NANOMETRE, low=0), "offset_x": _Key("offset_x", unit=NANOMETRE),
        "offset_y": _Key("offset_y", unit=NANOMETRE),
    },
    "particle": {
        "source": _Key("source", "text"), "voxel_size": _Key("voxel_size", unit=NANOMETRE, low=0), "pdb_file_in": _Key("structure_file", "text"),
        "map_file_re_in": _Key("map_file", "text"), "map_file_im_in": _Key("imaginary_map_file", "text"),
        "map_file_re_out": _Key("real_map_output", "text"), "map_file_im_out": _Key("imaginary_map_output", "text"),
    },
    "particleset": {
        "particle_type": _Key("particle", "text"), "particle_coords": _Key("placed_by", "text"), "coord_file_in": _Key("coordinate_file", "text"),
        "num_particles": _Key("count", "whole", low=0), "where": _Key("where", "text"), "particle_dist": _Key("distance", unit=NANOMETRE, low=0),
    },
    "geometry": {
        "gen_tilt_data": _Key("generates_tilts", "yes"), "tilt_axis": _Key("tilt_axis", unit=DEGREE), "ntilts": _Key("tilts", "whole", low=1),
        "theta_start": _Key("first_tilt", unit=DEGREE), "theta_incr": _Key("tilt_step", unit=DEGREE), "geom_errors": _Key("errors", "text"),
    },
    "electronbeam": {
        "acc_voltage": _Key("voltage_kv", low=1), "energy_spread": _Key("energy_spread_ev", low=0), "gen_dose": _Key("generates_dose", "yes"),
        "dose_per_im": _Key("dose_per_image", unit=PER_SQUARE_NANOMETRE, low=0), "total_dose": _Key("total_dose", unit=PER_SQUARE_NANOMETRE, low=0),
        "dose_sd": _Key("dose_deviation", low=0),
    },
    "optics": {
        "magnification": _Key("magnification", low=1), "cs": _Key("spherical_aberration_mm"), "cc": _Key("chromatic_aberration_mm"),
        "aperture": _Key("aperture", unit=MICROMETRE, low=0), "focal_length": _Key("focal_length_mm", low=0.01),
        "cond_ap_angle": _Key("condenser_angle", unit=MILLIRADIAN, low=0), "gen_defocus": _Key("generates_defocus", "yes"),
        "defocus_nominal": _Key("defocus", unit=MICROMETRE), "defocus_syst_error": _Key("systematic_defocus_error", unit=MICROMETRE, low=0),
        "defocus_nonsyst_error": _Key("random_defocus_error", unit=MICROMETRE, low=0), "defocus_file_out": _Key("defocus_output", "text"),
    },
    "detector": {
        "det_pix_x": _Key("width", "whole", low=1), "det_pix_y": _Key("height", "whole", low=1), "pixel_size": _Key("pixel_pitch", unit=MICROMETRE, low=0.01),
        "gain": _Key("gain", low=0), "use_quantization": _Key("counts_electrons", "yes"), "dqe": _Key("quantum_efficiency", low=0.01),
        **{f"mtf_{letter}": _Key(letter, low=0) for letter in ("a", "b", "c", "alpha", "beta", "p", "q")},
        "image_file_out": _Key("image_output", "text"),
    },
}  # fmt: skip
_CLASSES: dict[str, Any] = {
    "simulation": TemSimulation,
    "sample": TemSample,
    "particle": TemParticle,
    "particleset": TemParticleSet,
    "geometry": TemGeometry,
    "electronbeam": TemBeam,
    "optics": TemOptics,
    "detector": TemDetector,
}
_PARTS = {"particle": "particles", "particleset": "particle_sets", "detector": "detectors", "electronbeam": "beam"}
_MANY = ("particle", "particleset", "detector")


def read_tem_simulator(path: str | Path) -> TemInput:
    """What a parameter file of TEM-simulator says, in our units.

    Raises
    ------
    InputError
        If a line or a value is not usable; the message names line and key.
    """
    path = Path(path)
    return parse_tem_simulator(read_text(path), path=path)


def parse_tem_simulator(text: str, *, path: Path | None = None) -> TemInput:
    """What the text of a parameter file says; `path` is for error messages.

    Raises
    ------
    InputError
        If a line or a value is not usable.
    """
    found: dict[str, list[Any]] = {kind: [] for kind in _CLASSES}
    others: list[tuple[str, str, tuple[tuple[str, str], ...]]] = []
    for kind, name, entries, line in _sections(text, path):
        if kind not in _CLASSES:
            others.append((kind, name, tuple((key, value) for key, value, _ in entries)))
            continue
        if found[kind] and kind not in _MANY:
            raise InputError(f"a second section === {kind} ===", file=path, row=line, fix="join the two")
        found[kind].append(_section(kind, name, entries, path))
    parts: dict[str, Any] = {
        _PARTS.get(kind, kind): tuple(made) if kind in _MANY else made[0] for kind, made in found.items() if made
    }
    return _checked(TemInput(**parts, others=tuple(others)), path)


_Entries = list[tuple[str, str, int]]


def _sections(text: str, path: Path | None) -> list[tuple[str, str, _Entries, int]]:
    """Kind, name, entries (key, value, line) and line of every section."""
    sections: list[tuple[str, str, _Entries, int]] = []
    for number, raw in enumerate(text.replace("\r\n", "\n").split("\n"), start=1):
        line = _without_comment(raw).strip()
        if not line:
            continue
        heading = _HEADING.match(line)
        key, equals, value = line.partition("=")
        if heading is not None:
            sections.append((heading[1], (heading[2] or "").strip(), [], number))
        elif line.startswith("==") or not equals or not re.fullmatch(r"\w+", key.strip()):
            raise InputError(
                f"neither === section === nor key = value: “{printable(line[:60])}”",
                file=path,
                row=number,
                cause="this is no parameter file of TEM-simulator, or a line was lost",
            )
        elif not sections:
            raise InputError(f"{printable(key.strip())} stands before the first section", file=path, row=number)
        else:
            sections[-1][2].append((key.strip(), _unquoted(value.strip()), number))
    if not sections:
        raise InputError("the file holds no sections", file=path, expected="=== simulation === and so on")
    return sections


def _without_comment(line: str) -> str:
    """The line up to a `#` that is not within quotes."""
    quoted = False
    for place, letter in enumerate(line):
        if letter == '"':
            quoted = not quoted
        elif letter == "#" and not quoted:
            return line[:place]
    return line


def _unquoted(text: str) -> str:
    return text[1:-1] if len(text) >= 2 and text[0] == text[-1] == '"' else text


def _section(kind: str, name: str, entries: _Entries, path: Path | None) -> Any:
    """The settings of one section."""
    values: dict[str, Any] = {"name": name} if kind == "particle" else {}
    extra, seen = {}, dict[str, int]()
    for key, text, line in entries:
        if key in seen:
            hint = "; the second was probably meant to be defocus_nonsyst_error" if key == "defocus_syst_error" else ""
            warnings.warn(
                f"{printable(path or 'parameters')}, line {line}: {key} of === {kind} === stands in line {seen[key]} too; the last value counts{hint}",
                CryowalkWarning,
                stacklevel=4,
            )
        seen[key] = line
        known = _KEYS[kind].get(key)
        if known is None:
            extra[key] = text
        else:
            values[known.part] = _value(text, known, key, (path, line))
    if kind == "electronbeam" and ("total_dose" in values or values.get("generates_dose") is False):
        values.setdefault("dose_per_image", None)
    return _CLASSES[kind](**values, extra=extra)


def _value(text: str, known: _Key, key: str, place: tuple[Path | None, int]) -> Any:
    """One value in our unit."""
    path, line = place
    if known.kind == "text":
        return text
    if known.kind == "yes":
        if text not in ("yes", "no"):
            raise InputError(f"{key} is “{printable(text)}”", file=path, row=line, expected="yes or no")
        return text == "yes"
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not (math.isfinite(number) and number >= known.low) or (known.kind == "whole" and number != int(number)):
        least = f" of at least {known.low:g}" if known.low > -math.inf else ""
        kind = "a whole number" if known.kind == "whole" else "a number"
        cause = "a decimal comma" if "," in text else ""
        raise InputError(f"{key} is “{printable(text)}”", file=path, row=line, expected=kind + least, cause=cause)
    return int(number) if known.kind == "whole" else number * known.unit


def _checked(made: TemInput, path: Path | None) -> TemInput:
    """The settings, known to name only particles that there are, and cameras that transfer something."""
    names = {particle.name for particle in made.particles}
    lost = next((one.particle for one in made.particle_sets if one.particle not in names), None)
    if lost is not None:
        raise InputError(
            f"a particleset is of the particle “{printable(lost)}”, which is not there",
            file=path,
            expected=", ".join(sorted(names)) or "a section === particle NAME ===",
        )
    if any(one.a + one.b + one.c <= 0 for one in made.detectors):
        raise InputError("mtf_a, mtf_b and mtf_c of a detector are all 0", file=path, expected="a sum above 0")
    if any(one.quantum_efficiency > 1 for one in made.detectors):
        raise InputError("dqe is above 1", file=path, cause="per cent in place of a fraction")
    if made.beam.generates_dose and not (made.beam.dose_per_image or made.beam.total_dose):
        raise InputError(
            "dose_per_im and total_dose are 0: no electrons make the images", file=path, expected="a dose above 0, e⁻/nm²"
        )
    return made


def write_tem_simulator(made: TemInput, path: str | Path) -> None:
    """Write a parameter file that TEM-simulator reads, all or nothing.

    Raises
    ------
    InputError
        If a text cannot stand in such a file.
    """
    atomic_write_text(path, format_tem_simulator(made, path=Path(path)))


def format_tem_simulator(made: TemInput, *, path: Path | None = None) -> str:
    """The text of a parameter file with these settings."""
    lines: list[str] = []
    for kind in _CLASSES:
        part = getattr(made, _PARTS.get(kind, kind))
        for one in part if kind in _MANY else (part,):
            name = f" {one.name}" if kind == "particle" else ""
            lines += [f"=== {kind}{name} ===", *_entries(kind, one, path), ""]
    for kind, name, entries in made.others:
        lines += [
            f"=== {kind}{' ' + name if name else ''} ===",
            *(f"{key} = {_quoted(text, key, path)}" for key, text in entries),
            "",
        ]
    return "\n".join(lines)


def _entries(kind: str, one: Any, path: Path | None) -> list[str]:
    """The lines of one section; texts that are empty and numbers that are not known are left out."""
    lines = []
    for key, known in _KEYS[kind].items():
        value = getattr(one, known.part)
        if value is None or (known.kind == "text" and not value):
            continue
        if known.kind == "text":
            text = _quoted(value, key, path)
        elif known.kind == "yes":
            text = "yes" if value else "no"
        else:
            text = str(value) if known.kind == "whole" else _shortest(value, known.unit)
        lines.append(f"{key} = {text}")
    return lines + [f"{key} = {_quoted(text, key, path)}" for key, text in one.extra.items()]


def _shortest(value: float, unit: float) -> str:
    """The shortest number that becomes this value in our unit again."""
    exact = value / unit
    return next((text for digits in range(1, 17) if float(text := f"{exact:.{digits}g}") * unit == value), repr(exact))


def _quoted(text: str, key: str, path: Path | None) -> str:
    """A text with quotes where the file needs them."""
    if re.search(r'[\r\n\0"]', text) or text != text.strip():
        raise InputError(
            f"{key} is “{printable(text)}”, which cannot stand in a parameter file", file=path, fix="rename the file"
        )
    return f'"{text}"' if "#" in text or not text else text


def is_tem_simulator(text: str) -> bool:
    """Whether a text opens like a parameter file."""
    opening = next((line for raw in text.splitlines()[:200] if (line := _without_comment(raw).strip())), "")
    return bool(_HEADING.match(opening))
