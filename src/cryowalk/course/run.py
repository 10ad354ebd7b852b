"""Run the code cells of a notebook in this process, as one namespace, and tell what every check said.

`python -m cryowalk.course.run NOTEBOOK` is what `cryowalk course check U05` starts in a process of its own: the cells are the
learner's own code. Cells that are still stubs are counted, not blamed. Nothing is drawn on a screen.
"""

import ast
import contextlib
import io
import json
import sys
import time
import traceback
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

from cryowalk.core.errors import InputError
from cryowalk.course.exercise import PredictionMissingError, recent_verdicts


@dataclass(slots=True, kw_only=True)
class Run:
    """What happened: the verdicts by exercise, the cells that are still stubs, the errors, and the seconds it took."""

    verdicts: list[tuple[str, bool, str]] = field(default_factory=list)
    stubs: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    seconds: float = 0.0


def run_cell(code: str, namespace: dict[str, Any], *, name: str) -> None:
    """Run one cell as a notebook does: the value of its last expression is displayed (into nothing); magics are skipped."""
    plain = "\n".join(f"# {line}" if line.lstrip().startswith(("%", "!")) else line for line in code.split("\n"))
    tree = ast.parse(plain, filename=name)
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, name, "exec"), namespace)
    if isinstance(last, ast.Expr):
        _display(eval(compile(ast.Expression(last.value), name, "eval"), namespace))


def _display(value: Any) -> None:
    for protocol in ("_repr_mimebundle_", "_repr_html_", "_repr_png_"):
        method = getattr(value, protocol, None)
        if callable(method) and not isinstance(value, type):
            method()
            return
    repr(value)


def run_cells(cells: Iterable[str], *, keep_going: bool = False) -> tuple[Run, dict[str, Any]]:
    """The record of running these cells in order, and their namespace; `keep_going` runs on after an error."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    # A module of its own, so that classes and dataclasses that the cells define find their names.
    module = ModuleType("__main__")
    namespace = module.__dict__
    namespace["__builtins__"] = __builtins__
    before = sys.modules["__main__"]
    sys.modules["__main__"] = module
    record = Run()
    start = time.perf_counter()
    earlier = len(recent_verdicts())
    try:
        for number, code in enumerate(cells):
            try:
                with contextlib.redirect_stdout(io.StringIO()):
                    run_cell(code, namespace, name=f"<cell {number}>")
            except NotImplementedError as stub:
                record.stubs.append(str(stub))
            except PredictionMissingError:
                continue  # it waits for a cell that is still a stub
            except Exception as error:  # noqa: BLE001 (the learner's own code runs here, and may raise anything)
                record.errors.append(f"cell {number}: {''.join(traceback.format_exception_only(error)).strip()}")
                if not keep_going:
                    break
            plt.close("all")
    finally:
        sys.modules["__main__"] = before
    record.verdicts = [(name, verdict.passed, verdict.message) for name, verdict in recent_verdicts()[earlier:]]
    record.seconds = time.perf_counter() - start
    return record, namespace


def code_cells(path: Path) -> list[str]:
    """The code cells of a notebook file.

    Raises
    ------
    InputError
        If the file is not a notebook.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return [_source(cell) for cell in content["cells"] if cell["cell_type"] == "code"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            "not a readable notebook", file=path, cause=str(error), expected="a Jupyter notebook (.ipynb)"
        ) from error


def _source(cell: Mapping[str, Any]) -> str:
    source = cell["source"]
    return source if isinstance(source, str) else "".join(source)


def main(arguments: list[str]) -> int:
    """The exit code; the record is written to standard output as JSON."""
    record, _ = run_cells(code_cells(Path(arguments[0])), keep_going=True)
    sys.stdout.write(json.dumps(asdict(record)) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
