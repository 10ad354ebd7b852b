"""The map of the units and the board of the learner's progress, as a notebook shows them."""

import html
import json
from dataclasses import dataclass

from cryowalk.course import build
from cryowalk.course.catalogue import ExerciseStatus, progress

# The chapters of the walk, each with its first and last unit.
_CHAPTERS = (
    ("Start", 0, 0),
    ("From gun to picture", 1, 2),
    ("Fourier's language", 3, 6),
    ("What microscope and camera do", 7, 10),
    ("Simulating, and the files", 11, 13),
    ("From movies to particles", 14, 16),
    ("Inference", 17, 18),
    ("Geometry and reconstruction", 19, 22),
    ("Restoring and validating", 23, 24),
    ("Heterogeneity", 25, 27),
    ("Tomography", 28, 28),
    ("The whole walk", 29, 29),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Board:
    """A small table: plain text in a terminal, linked boxes in a notebook."""

    text: str
    page: str

    def __repr__(self) -> str:
        return self.text

    def _repr_html_(self) -> str:
        return self.page


def unit_map() -> Board:
    """The walk as a row of chapters; every unit that exists is a link to its notebook, the others are planned."""
    units = json.loads(build.plan_file().read_text(encoding="utf-8"))
    planned = {unit["id"]: unit["title"] for unit in units}
    existing = {unit["id"]: unit["notebook"] for unit in units if unit["notebook"]}
    lines: list[str] = []
    boxes: list[str] = []
    for chapter, first, last in _CHAPTERS:
        names = [f"U{number:02d}" for number in range(first, last + 1)]
        lines.append(chapter)
        lines += [f"  {name} {planned.get(name, '')}{'' if name in existing else ' (planned)'}" for name in names]
        items = "".join(_unit_item(name, planned.get(name, ""), existing.get(name)) for name in names)
        title = html.escape(chapter, quote=False)
        boxes.append(
            '<div style="border:1px solid #8aa;border-radius:6px;padding:.4em .7em;margin:.2em;width:15em">'
            f'<b>{title}</b><ul style="margin:.2em 0 0 -1em">{items}</ul></div>'
        )
    joined = '<div style="align-self:center">→</div>'.join(boxes)
    return Board(text="\n".join(lines), page=f'<div style="display:flex;flex-wrap:wrap">{joined}</div>')


def _unit_item(name: str, title: str, link: str | None) -> str:
    label = html.escape(f"{name} {title}", quote=False)
    if link is None:
        return f'<li style="color:#888">{label}</li>'
    return f'<li><a href="{html.escape(link)}">{label}</a></li>'


def progress_board() -> Board:
    """The learner's exercises, one row a unit: ● passed, ◐ tried, ○ not yet."""
    rows = [(unit, [_mark(item) for item in items], sum(item.passed for item in items)) for unit, items in progress().items()]
    text = "\n".join(f"{unit}  {' '.join(marks)}  {passed} of {len(marks)}" for unit, marks, passed in rows)
    cells = "".join(
        f"<tr><td><b>{unit}</b></td><td style='text-align:left;font-size:1.2em'>{' '.join(marks)}</td><td>{passed} of {len(marks)}</td></tr>"
        for unit, marks, passed in rows
    )
    return Board(text=text, page=f"<table>{cells}</table>")


def _mark(item: ExerciseStatus) -> str:
    if item.passed:
        return "●"
    return "◐" if item.attempts else "○"
