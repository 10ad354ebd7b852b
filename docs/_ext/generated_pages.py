"""The pages that the build writes into docs/_generated: conventions, reference, course; a page is touched only where its text changed."""

import json
import re
import shutil
import sys
from pathlib import Path

from sphinx.application import Sphinx
from sphinx.config import Config

sys.path.insert(0, str(Path(__file__).parent))
import api_pages

DOCS = Path(__file__).resolve().parents[1]
PACKAGE = DOCS.parent / "src" / "cryowalk"
GENERATED = DOCS / "_generated"
PLOTLY = "application/vnd.plotly.v1+json"
GUIDE_ORDER = (
    "files",
    "hdf5",
    "conventions",
    "cryosparc-cryodrgn",
    "archives",
    "geometry",
    "fourier",
    "microscope",
    "specimen",
    "sample-delivery",
    "scattering",
    "lens",
    "camera",
    "simulation",
    "movies",
    "import",
    "motion",
    "ctf-estimation",
    "picking",
    "extraction",
    "engine",
    "classification",
    "ab-initio",
    "refinement",
    "class3d",
    "denoising",
    "reconstruction",
    "ctf-refinement",
    "post-processing",
    "local-resolution",
    "map-and-model",
    "maps",
    "validation",
    "view",
    "command-line",
    "relion",
    "jobs",
    "hostile-input",
    "course",
)
FLOORS = (
    *("core", "data", "numerics", "geometry", "fourier", "io", "microscope", "inference", "motion", "ctf_estimation", "picking"),
    *("denoising", "classification", "poses", "reconstruction", "validation", "heterogeneity", "tomography", "refinement"),
    *("view", "workflow", "course"),
)


def write(path: Path, text: str) -> Path:
    """The path, whose content is now this text."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
        path.write_text(text, encoding="utf-8")
    return path


def write_conventions() -> Path:
    """The page of conventions, from the table in core/conventions.py."""
    from cryowalk.core.conventions import CONVENTIONS

    lines = [
        "# Conventions",
        "",
        "Each is written once, in `core/conventions.py`, from which this page is made. Foreign conventions end at the door, in `io`; there is no argument",
        "anywhere that chooses between two.",
    ]
    for one in CONVENTIONS:
        lines += ["", f"## {title(one.about)}", "", plain(one.choice), "", f"*Why.* {plain(one.reason)}"]
        lines += ["", f"*Held by* `{one.tested_by}`."]
    return write(GENERATED / "conventions.md", "\n".join(lines) + "\n")


def title(text: str) -> str:
    """The text with a capital first letter, unless it is a name that is written its own way, such as cryoSPARC."""
    return text if any(letter.isupper() for letter in text.split()[0]) else text[:1].upper() + text[1:]


def plain(text: str) -> str:
    """The text with the signs that Markdown would read as markup escaped."""
    for sign in "\\`*_[]<>$|":
        text = text.replace(sign, "\\" + sign)
    return text


def write_reference() -> list[Path]:
    """One page per floor and their index."""
    pages = {floor: api_pages.floor_page(PACKAGE, floor) for floor in FLOORS}
    written = [write(GENERATED / "reference" / f"{floor}.rst", text) for floor, text in pages.items() if text]
    index = [
        "# Reference",
        "",
        "One page per floor, from the ground up; a module imports only from floors above it in this list. Shapes are part of the signatures:",
        '`Float[Tensor, "*batch h w"]` is a floating-point tensor whose last two axes are height and width, after any number of others.',
        "All lengths are in Å, spatial frequencies in 1/Å, angles in rad, unless a name says otherwise.",
        "",
        "```{toctree}",
        ":maxdepth: 1",
        "",
        *(floor for floor, text in pages.items() if text),
        "```",
    ]
    return [*written, write(GENERATED / "reference" / "index.md", "\n".join(index) + "\n")]


def write_course(*, execute: bool) -> list[Path]:
    """The units with folded solutions: run, or quickly without their outputs."""
    from cryowalk.course import build

    folder = GENERATED / "course"
    sources = list(build.unit_sources().values())
    written = [write(folder / f"{source.stem}.ipynb", course_notebook(source, execute=execute)) for source in sources]
    kind = "" if execute else "\n\nThis copy of the site was built without running the units: their outputs are missing.\n"
    index = f"# Course\n\nThe path again, as notebooks that derive, show and examine every step with the same library.{kind}\n\n```{{toctree}}\n"
    index += ":maxdepth: 1\n\n" + "\n".join(source.stem for source in sources) + "\n```\n"
    return [*written, write(folder / "index.md", index)]


def course_notebook(source: Path, *, execute: bool) -> str:
    """The text of one unit's instructor notebook."""
    from cryowalk.course import build

    if execute:
        return with_views(build.executed_notebook(source))
    return json.dumps(build.notebook(build.instructor_cells(source), unit=source.name[:3]), indent=1, ensure_ascii=False)


def with_views(notebook: str) -> str:
    """The notebook with its plotly outputs as HTML that draws itself with the scripts beside the site."""
    content = json.loads(notebook)
    outputs = [output for cell in content["cells"] for output in cell.get("outputs", []) if PLOTLY in output.get("data", {})]
    for number, output in enumerate(outputs):
        view = json.dumps(output["data"][PLOTLY]).replace("<", "\\u003c")
        library = '<script src="../../_static/plotly.min.js"></script>' if number == 0 else ""
        html = f'<div class="view"><div class="stage"></div><script type="application/json">{view}</script></div>'
        output["data"] = {"text/html": f'{html}{library}<script src="../../_static/views.js"></script>'}
    return json.dumps(content, indent=1, ensure_ascii=False)


def write_scripts(notebooks: list[Path]) -> list[Path]:
    """The scripts that draw 3D views: the report's own, and plotly.js from its package where a notebook needs it."""
    folder = GENERATED / "static"
    written = [write(folder / "views.js", (PACKAGE / "view" / "assets" / "views.js").read_text(encoding="utf-8"))]
    if any("plotly.min.js" in path.read_text(encoding="utf-8") for path in notebooks):
        from plotly.offline import get_plotlyjs

        written.append(write(folder / "plotly.min.js", get_plotlyjs()))
    return written


def write_all(_: Sphinx, config: Config) -> None:
    """Write every generated page, and remove those of things that are no more."""
    course = write_course(execute=config.cryowalk_execute)
    written = {write_conventions(), *write_reference(), *course, *write_scripts(course)}
    for path in sorted(GENERATED.rglob("*")):
        if path.is_file() and path not in written:
            path.unlink()
    for folder in [path for path in GENERATED.iterdir() if path.is_dir() and not any(path.iterdir())]:
        shutil.rmtree(folder)


def fill_in(_: Sphinx, docname: str, content: list[str]) -> None:
    """Put the pages of the guide that exist into its index, in the order of the path, and link the table of symbols to the reference."""
    if docname == "symbols":
        content[0] = re.sub(r"`(cryowalk\.[\w.]+)`", r"{py:obj}`\1`", content[0])
    if docname == "guide/index":
        present = {path.stem for path in (DOCS / "guide").glob("*.md")} - {"index"}
        ordered = [name for name in GUIDE_ORDER if name in present] + sorted(present - set(GUIDE_ORDER))
        content[0] = content[0].replace("@PAGES@", "\n".join(ordered))


def setup(app: Sphinx) -> dict[str, bool]:
    """Sphinx's entry point."""
    app.add_config_value("cryowalk_execute", default=True, rebuild="env", types=bool)
    app.connect("config-inited", write_all)
    app.connect("source-read", fill_in)
    return {"parallel_read_safe": True}
