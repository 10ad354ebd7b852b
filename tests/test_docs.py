"""The site builds without network and without a warning, loads nothing from elsewhere, and what its pages name exists."""

import ast
import importlib
import json
import os
import re
import subprocess
import sys
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pytest

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
PAGES = sorted([*DOCS.glob("*.md"), *(DOCS / "guide").glob("*.md")])
LARGEST_FILE = 1_000_000  # bytes; larger ones do not belong into a repository

OFFLINE = """
import socket, sys
def refuse(*arguments, **options):
    raise OSError("the site must build without network")
socket.socket.connect = socket.create_connection = socket.getaddrinfo = refuse
from sphinx.cmd.build import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.fixture(scope="module")
def extensions():
    """The site's own extensions, by name."""
    sys.path.insert(0, str(DOCS / "_ext"))
    try:
        yield importlib.import_module
    finally:
        sys.path.remove(str(DOCS / "_ext"))


@pytest.fixture(scope="module")
def reference_writer(extensions):
    return extensions("api_pages")


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """The built site, course units not run."""
    pytest.importorskip("myst_nb", reason="the documentation tools are not installed (pip install -e '.[docs]')")
    folder = tmp_path_factory.mktemp("site")
    options = ["-n", "-W", "--keep-going", "-q", "-d", str(folder / "doctrees"), str(DOCS), str(folder / "html")]
    environment = os.environ | {"CRYOWALK_DOCS_EXECUTE": "0"}
    command = [sys.executable, "-c", OFFLINE, *options]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr[-4000:]
    return folder / "html"


class Links(HTMLParser):
    """What a page loads, what it links to, and the places in it that can be linked to."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.linked: list[str] = []
        self.places: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        self.places.update(value for key in ("id", "name") if (value := attributes.get(key)))
        if tag == "a":
            self.linked += [attributes["href"]] if attributes.get("href") else []
        elif tag == "link" and attributes.get("rel") in {"canonical", "next", "prev", "search", "index", "author"}:
            pass
        else:
            self.loaded += [value for key in ("src", "href", "srcset") if (value := attributes.get(key))]


def pages_of(site: Path) -> list[Path]:
    """The built pages, without the theme's own templates."""
    return sorted(path for path in site.rglob("*.html") if "_static" not in path.relative_to(site).parts)


@cache
def page_links(path: Path) -> Links:
    return Links(path.read_text(encoding="utf-8"))


@pytest.mark.slow
def test_pages_load_nothing_from_elsewhere_and_everything_they_load_is_there(site):
    pages = pages_of(site)
    assert len(pages) > 15
    for page in pages:
        for address in page_links(page).loaded:
            if address.startswith("data:"):
                continue
            assert not re.match(r"([a-z]+:)?//", address), f"{page.name} loads {address}"
            assert (page.parent / unquote(address.partition("?")[0].partition("#")[0])).exists(), f"{page.name} misses {address}"


@pytest.mark.slow
def test_every_link_inside_the_site_leads_somewhere(site):
    broken = []
    for page in pages_of(site):
        for address in page_links(page).linked:
            if re.match(r"[a-z]+:", address) or page.name in {"search.html", "genindex.html"}:
                continue
            name, _, place = address.partition("#")
            target = (page.parent / unquote(name)).resolve() if name else page
            if not target.is_file():
                broken.append(f"{page.relative_to(site)} → {address}")
            elif place and target.suffix == ".html" and unquote(place) not in page_links(target).places:
                broken.append(f"{page.relative_to(site)} → {address} (no such place)")
    assert not broken


@pytest.mark.slow
def test_formulas_are_set_by_the_copy_of_mathjax_that_lies_beside_them(site):
    pages = [page for page in pages_of(site) if 'class="math' in page.read_text(encoding="utf-8")]
    assert pages
    for page in pages:
        assert any(address.endswith("_static/mathjax/startup.js") for address in map(strip, page_links(page).loaded))
    for name in ("core.js", "input/tex-full.js", "output/chtml.js", "output/chtml/fonts/tex.js"):
        assert (site / "_static" / "mathjax" / name).is_file()


def strip(address: str) -> str:
    return address.partition("?")[0]


@pytest.mark.slow
def test_every_convention_is_on_its_page(site):
    from cryowalk.core.conventions import CONVENTIONS

    text = (site / "_generated" / "conventions.html").read_text(encoding="utf-8")
    for convention in CONVENTIONS:
        assert convention.tested_by in text
    assert text.count("<em>Why.</em>") == len(CONVENTIONS)


@pytest.mark.slow
def test_every_exported_name_is_in_the_reference(site, reference_writer):
    package = ROOT / "src" / "cryowalk"
    text = "".join(page.read_text(encoding="utf-8") for page in (site / "_generated" / "reference").glob("*.html"))
    missing = []
    for initial in sorted(package.glob("*/__init__.py")):
        if initial.parent.name != "cli":
            module = reference_writer.read_module(package, initial)
            exported = reference_writer.exported_names(module)
            missing += [f"{module.name}.{name}" for name in exported if f'id="{module.name}.{name}"' not in text]
    assert not missing


def test_docstrings_are_taken_as_they_stand(reference_writer):
    text = reference_writer.prose(
        "FSC = Σ F₁ F₂* / √(|F₁|² |F₂|²) of `a_b`, see x_.\n\nRaises\n------\nUsageError\n    If *n* is odd.\n\nSource: a book.\n\nExamples\n--------\n>>> 1 + 1\n2"
    )
    assert text.split("\n\n") == [
        r"\ FSC = Σ F₁ F₂\* / √(\|F₁\|² \|F₂\|²) of \ ``a_b``\ , see x\_.",
        "**Raises**",
        r"* ``UsageError``: \ If \*n\* is odd.",
        r"\ Source: a book.",
        ".. code-block:: pycon",
        "   >>> 1 + 1\n   2",
    ]


def test_views_of_a_notebook_draw_themselves_from_scripts_of_the_site(extensions):
    pages = extensions("generated_pages")
    view = {
        "output_type": "display_data",
        "data": {pages.PLOTLY: {"data": [], "layout": {"title": "</script><b>"}}},
        "metadata": {},
    }
    cells = [{"cell_type": "code", "outputs": [view, view]}, {"cell_type": "markdown", "source": "text"}]
    built = json.loads(pages.with_views(json.dumps({"cells": cells})))
    first, second = (output["data"]["text/html"] for output in built["cells"][0]["outputs"])
    assert "</script><b>" not in first
    assert first.count('src="../../_static/plotly.min.js"') == 1
    assert "plotly.min.js" not in second
    assert built["cells"][1] == cells[1]


def test_signatures_keep_the_shapes_of_their_authors(reference_writer):
    page = reference_writer.floor_page(ROOT / "src" / "cryowalk", "data")
    assert page.startswith("data\n====\n\n\\ The nouns")
    assert 'positions: Float[Tensor, "atoms 3"]' in page
    assert ".. py:class:: cryowalk.data.Atoms\n   :canonical: cryowalk.data.atoms.Atoms" in page


def blocks(path: Path) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", path.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.stem)
def test_python_in_the_pages_is_python_and_names_what_exists(page):
    import cryowalk

    for block in blocks(page):
        for node in ast.walk(ast.parse(block)):
            chain = ast.unparse(node).split(".") if isinstance(node, ast.Attribute) else []
            if chain and chain[0] in {"cw", "cryowalk"} and all(part.isidentifier() for part in chain):
                thing = cryowalk
                for part in chain[1:]:
                    thing = getattr(thing, part) if hasattr(thing, part) else importlib.import_module(f"{thing.__name__}.{part}")


def test_every_symbol_leads_to_something_that_exists():
    text = (DOCS / "symbols.md").read_text(encoding="utf-8")
    rows = [line for line in text.splitlines() if line.startswith("| ") and "`" in line]
    assert len(rows) > 20
    for row in rows:
        for name in re.findall(r"`(cryowalk\.[\w.]+)`", row):
            module, _, thing = name.rpartition(".")
            parts = thing.split(".")
            assert resolves(module, parts), f"{name} in: {row}"


def resolves(module: str, parts: list[str]) -> bool:
    """Whether a dotted name is an attribute of a module, or of a class in it."""
    try:
        thing = importlib.import_module(module)
    except ModuleNotFoundError:
        owner, _, name = module.rpartition(".")
        return bool(owner) and resolves(owner, [name, *parts])
    for part in parts:
        if not hasattr(thing, part) and part not in getattr(thing, "__annotations__", {}):
            return False
        thing = getattr(thing, part, None)
    return True


def test_no_file_of_the_site_is_large():
    large = [path for path in DOCS.rglob("*") if path.is_file() and "_build" not in path.parts and "_generated" not in path.parts]
    assert not [path for path in large if path.stat().st_size > LARGEST_FILE]
