"""Units (text notebooks) into student notebooks (stubs, no outputs, the same bytes each time) and into instructor notebooks (run).

`python -m cryowalk.course.build` writes notebooks/; `--check` only compares; `--site FOLDER` writes the instructor build with outputs.
"""

import json
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cryowalk.core.errors import EnvironmentFault, InputError, UsageError
from cryowalk.course import coverage, explore, store
from cryowalk.io.atomic import atomic_write_text

_BEGIN = re.compile(r"^(\s*)# BEGIN SOLUTION\s*$")
_END = re.compile(r"^\s*# END SOLUTION\s*$")
_CALL = re.compile(r"\b(?:check|predict|explain)\(\s*[\"'](U\d\d\.\w+)[\"']")
_HEADING = re.compile(r"^### Exercise (U\d\d\.\w+)", re.MULTILINE)
_METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}
_OWNER = "https://github.com/OWNER/cryowalk"
_INSTALL = """\
# Without cryowalk on this machine (in Colab, say): remove the "#" before "%pip", run this cell once, then restart the kernel.
# %pip install --quiet "cryowalk[course] @ git+{repository}"
"""
_FOLD = "<details>\n<summary>Worked answer: open it when you have tried</summary>\n\n{text}\n\n</details>"


def repository_root() -> Path:
    """The folder that holds course/units and notebooks.

    Raises
    ------
    EnvironmentFault
        If the package was installed without the repository.
    """
    root = Path(__file__).resolve().parents[3]
    if (root / "course" / "units").is_dir():
        return root
    raise EnvironmentFault(
        "the units of the course are not beside this installation",
        cause="cryowalk was installed as a package; the notebooks live in its repository",
        fix='clone the repository and install it from there: pip install -e ".[course]"',
    )


def unit_sources() -> dict[str, Path]:
    """The source file of every unit that exists, by unit name, in order."""
    folder = repository_root() / "course" / "units"
    return {path.name[:3]: path for path in sorted(folder.glob("U[0-9][0-9]_*.py"))}


def unit_source(unit: str) -> Path:
    """The source file of one unit.

    Raises
    ------
    UsageError
        If there is no such unit.
    """
    sources = unit_sources()
    if unit not in sources:
        raise UsageError(f"there is no unit {unit!r}", expected=", ".join(sources) or "no unit exists yet")
    return sources[unit]


def notebook_path(source: Path, folder: Path | None = None) -> Path:
    """Where the student notebook of a unit lies: in `folder`, else in the repository's notebooks/."""
    return (folder or repository_root() / "notebooks") / f"{source.stem}.ipynb"


def read_cells(source: Path) -> list[dict[str, Any]]:
    """The cells of a unit: type, source, tags."""
    import jupytext

    notebook = jupytext.reads(source.read_text(encoding="utf-8"), fmt="py:percent")
    cells = [
        {"type": cell.cell_type, "source": str(cell.source), "tags": list(cell.metadata.get("tags", []))}
        for cell in notebook.cells
        if cell.cell_type in {"markdown", "code"}
    ]
    if not cells or cells[0]["type"] != "markdown" or not cells[0]["source"].lstrip().startswith("# "):
        raise InputError("a unit begins with a markdown cell that holds its title", file=source)
    return cells


def strip_solution(code: str, name: str) -> str:
    """The code with every solution block replaced by a line that raises NotImplementedError.

    Raises
    ------
    InputError
        If a BEGIN has no END, or the other way round.
    """
    kept: list[str] = []
    inside = False
    for line in code.split("\n"):
        begin, end = _BEGIN.match(line), _END.match(line)
        if (begin and inside) or (end and not inside):
            raise InputError(f"solution markers of {name} do not pair", expected="# BEGIN SOLUTION … # END SOLUTION")
        if begin:
            inside = True
            kept.append(f'{begin.group(1)}raise NotImplementedError("your answer to {name}")')
        elif end:
            inside = False
        elif not inside:
            kept.append(line)
    if inside:
        raise InputError(f"solution markers of {name} do not pair", expected="# BEGIN SOLUTION … # END SOLUTION")
    return "\n".join(kept)


def has_solution(code: str) -> bool:
    """Whether the code holds a solution block."""
    return any(_BEGIN.match(line) for line in code.split("\n"))


def _named(cells: list[dict[str, Any]]) -> Iterator[tuple[dict[str, Any], str]]:
    """Each cell with the name of the exercise it belongs to (its own check or prediction, else the heading above)."""
    name = "this exercise"
    for cell in cells:
        if cell["type"] == "markdown":
            headings = _HEADING.findall(cell["source"])
            name = headings[-1] if headings else name
            yield cell, name
        else:
            calls = _CALL.findall(cell["source"])
            yield cell, calls[-1] if calls else name


def student_cells(source: Path) -> list[dict[str, Any]]:
    """The cells of the student build: stubs in place of solutions, worked answers folded, a first code cell that installs."""
    built: list[dict[str, Any]] = []
    for cell, name in _named(read_cells(source)):
        if cell["type"] == "code":
            if "solution" in cell["tags"]:
                continue
            built.append(cell | {"source": strip_solution(cell["source"], name)})
        elif "solution" in cell["tags"]:
            built.append(cell | {"source": _FOLD.format(text=cell["source"])})
        else:
            built.append(cell)
    built.insert(1, {"type": "code", "source": _INSTALL.format(repository=repository_address()).rstrip(), "tags": ["install"]})
    badge = _colab(source)
    return [built[0] | {"source": built[0]["source"] + badge}, *built[1:]]


def instructor_cells(source: Path) -> list[dict[str, Any]]:
    """The cells of the instructor build: each stub as text, its solution as a folded cell that runs."""
    built: list[dict[str, Any]] = []
    for cell, name in _named(read_cells(source)):
        if cell["type"] == "code" and has_solution(cell["source"]):
            stub = strip_solution(cell["source"], name)
            built.append({"type": "markdown", "source": f"```python\n{stub}\n```", "tags": ["stub"]})
            lines = [line for line in cell["source"].split("\n") if not _BEGIN.match(line) and not _END.match(line)]
            built.append({"type": "code", "source": "\n".join(lines), "tags": [*cell["tags"], "hide-cell"]})
        elif cell["type"] == "code" and "solution" in cell["tags"]:
            built.append(cell | {"tags": [*cell["tags"], "hide-cell"]})
        elif "solution" in cell["tags"]:
            built.append(cell | {"source": _FOLD.format(text=cell["source"])})
        else:
            built.append(cell)
    return built


def repository_address() -> str:
    """The address of the repository that pyproject.toml names, else a placeholder."""
    import tomllib

    with (repository_root() / "pyproject.toml").open("rb") as handle:
        project = tomllib.load(handle).get("project", {})
    return str(project.get("urls", {}).get("Repository", _OWNER))


def _colab(source: Path) -> str:
    address = repository_address()
    if address == _OWNER or not address.startswith("https://github.com/"):
        return ""
    place = f"{address.removeprefix('https://github.com/')}/blob/main/notebooks/{source.stem}.ipynb"
    return f"\n\n[Open this notebook in Colab](https://colab.research.google.com/github/{place})"


def notebook(cells: list[dict[str, Any]], *, unit: str) -> dict[str, Any]:
    """A notebook (format 4.5) whose cell names and bytes depend on the cells alone."""
    built = []
    for number, cell in enumerate(cells):
        lines = cell["source"].split("\n")
        text = [line + "\n" for line in lines[:-1]] + ([lines[-1]] if lines[-1] else [])
        metadata = {"tags": cell["tags"]} if cell["tags"] else {}
        entry = {"cell_type": cell["type"], "id": f"{unit}-{number:03d}", "metadata": metadata, "source": text}
        built.append(entry | ({"execution_count": None, "outputs": []} if cell["type"] == "code" else {}))
    return {"cells": built, "metadata": _METADATA, "nbformat": 4, "nbformat_minor": 5}


def student_notebook(source: Path) -> str:
    """The student notebook of a unit, as the text of its file."""
    return json.dumps(notebook(student_cells(source), unit=source.name[:3]), indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def solved_notebook(source: Path) -> str:
    """The notebook of a unit with its solutions, not run, as the text of its file."""
    cells = [cell for cell in instructor_cells(source) if "stub" not in cell["tags"]]
    return json.dumps(notebook(cells, unit=source.name[:3]), indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def executed_notebook(source: Path, *, seconds_per_cell: int = 120) -> str:
    """The instructor notebook of a unit with the outputs of a fresh run (learner's seed 0, an empty progress file)."""
    import nbformat
    from nbclient import NotebookClient

    read: Any = nbformat.reads  # nbformat's functions carry no types
    write: Any = nbformat.writes
    built = read(json.dumps(notebook(instructor_cells(source), unit=source.name[:3])), as_version=4)
    with tempfile.TemporaryDirectory() as scratch, _environment(scratch):
        client = NotebookClient(built, timeout=seconds_per_cell, kernel_name="python3", resources={"metadata": {"path": scratch}})
        client.execute()
    return str(write(built)) + "\n"


@contextmanager
def _environment(scratch: str) -> Iterator[None]:
    chosen = {store.DIRECTORY_VARIABLE: scratch, store.SEED_VARIABLE: "0", explore.STATIC_VARIABLE: "1"}
    before = {name: os.environ.get(name) for name in chosen}
    os.environ.update(chosen)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def plan_file() -> Path:
    """The file of the package that lists all units, so that the map of the units needs no repository."""
    return Path(__file__).parent / "assets" / "units.json"


def plan() -> str:
    """The titles of all units, and the notebooks of those that exist, as the text of that file."""
    import yaml

    with coverage_file().open(encoding="utf-8") as handle:
        planned = yaml.safe_load(handle)["units"]
    notebooks = {name: f"{source.stem}.ipynb" for name, source in unit_sources().items()}
    units = [{"id": unit["id"], "notebook": notebooks.get(unit["id"]), "title": unit["title"]} for unit in planned]
    return json.dumps(units, indent=1, ensure_ascii=False) + "\n"


def coverage_file() -> Path:
    """The map from the seeds to the units."""
    return repository_root() / "course" / "coverage.yaml"


def _coverage() -> str:
    texts = {name: source.read_text(encoding="utf-8") for name, source in unit_sources().items()}
    return coverage.refreshed(coverage_file().read_text(encoding="utf-8"), texts)


def stale_notebooks(folder: Path | None = None) -> list[Path]:
    """The notebooks that differ from their unit, are missing, or have the name of a unit that is no more.

    Without `folder` also the files that list the units: the plan in the package, and the anchors in course/coverage.yaml.
    """
    expected = _expected(folder)
    stale = [path for path, text in expected.items() if not path.is_file() or path.read_text(encoding="utf-8") != text]
    place = folder or repository_root() / "notebooks"
    stale += [path for path in place.glob("U[0-9][0-9]_*.ipynb") if path not in expected]
    return sorted(stale)


def _expected(folder: Path | None) -> dict[Path, str]:
    texts = {notebook_path(source, folder): student_notebook(source) for source in unit_sources().values()}
    return texts if folder else texts | {plan_file(): plan(), coverage_file(): _coverage()}


def write_notebooks(folder: Path | None = None) -> list[Path]:
    """The student notebooks that were written because they had changed; those of vanished units are removed."""
    changed = stale_notebooks(folder)
    expected = _expected(folder)
    for path in changed:
        if path in expected:
            path.parent.mkdir(exist_ok=True)
            atomic_write_text(path, expected[path])
        else:
            path.unlink()
    return changed


def write_site(folder: Path) -> list[Path]:
    """The executed instructor notebooks, written into `folder` for the site."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for source in unit_sources().values():
        path = folder / f"{source.stem}.ipynb"
        atomic_write_text(path, executed_notebook(source))
        written.append(path)
    return written


def main(arguments: list[str] | None = None) -> int:
    """The exit code: 1 where `--check` finds a stale notebook."""
    import argparse
    import sys

    parser = argparse.ArgumentParser(prog="python -m cryowalk.course.build", description=__doc__)
    parser.add_argument(
        "folder", nargs="?", type=Path, help="where the student notebooks lie (default: notebooks/ of the repository)"
    )
    parser.add_argument("--check", action="store_true", help="compare only; exit 1 where a notebook is stale")
    parser.add_argument("--site", type=Path, metavar="FOLDER", help="write the executed instructor notebooks there")
    chosen = parser.parse_args(arguments)
    if chosen.site is not None:
        write_site(chosen.site)
        return 0
    folder = chosen.folder.resolve() if chosen.folder else None
    if folder == repository_root() / "notebooks":
        folder = None
    paths = stale_notebooks(folder) if chosen.check else write_notebooks(folder)
    sys.stdout.writelines(f"{'stale' if chosen.check else 'written'}: {path}\n" for path in paths)
    return 1 if chosen.check and paths else 0


if __name__ == "__main__":
    raise SystemExit(main())
