"""The map from the seeds' headings and questions to the units: its anchor lines and its list of planned units are kept by the build."""

import re
from collections.abc import Mapping

_SECTIONS = ("headings", "questions", "implied")
_ANCHOR = re.compile(r'<a id="([^"]+)"></a>')
_PLANNED = "# Units that are not written yet; a test fails when one of them exists, or when another one is missing."


def anchors(text: str) -> list[str]:
    """The anchors in the text of a unit, in order."""
    return _ANCHOR.findall(text)


def refreshed(text: str, units: Mapping[str, str]) -> str:
    """The text of coverage.yaml with the anchors that the units (name -> their text) hold, and the units that are still planned.

    Every other line stays as it is. An item gets `anchor: [UNIT#ITEM, …]` for each of its units that holds its anchor.
    """
    places = {unit: set(anchors(content)) for unit, content in units.items()}
    lines = _without_anchors(text)
    names: list[str] = []
    kept: list[str] = []
    section = item = ""
    for number, line in enumerate(lines):
        if match := re.match(r"(\w+):", line):
            section = match.group(1)
        if match := re.match(r"- id: (\S+)", line):
            item = match.group(1)
            names += [item] if section == "units" else []
        if section in _SECTIONS and line == "  units:":
            mapped = _listed(lines, number + 1)
            found = [f"  - {unit}#{item}" for unit in mapped if item in places.get(unit, ())]
            kept += ["  anchor:", *found] if found else []
        kept.append(line)
    planned = [f"- {name}" for name in names if name not in units]
    return "\n".join([*kept, _PLANNED, "planned:" if planned else "planned: []", *planned]) + "\n"


def _listed(lines: list[str], start: int) -> list[str]:
    """The entries of the list that begins at this line."""
    entries = []
    for line in lines[start:]:
        if not line.startswith("  - "):
            break
        entries.append(line.removeprefix("  - "))
    return entries


def _without_anchors(text: str) -> list[str]:
    """The lines of coverage.yaml without what `refreshed` writes."""
    body = text.rstrip("\n").partition(_PLANNED)[0].rstrip("\n")
    kept: list[str] = []
    inside = False
    for line in body.split("\n"):
        inside = line == "  anchor:" or (inside and line.startswith("  - "))
        if not inside:
            kept.append(line)
    return kept
