"""How the site is built: `sphinx-build -n -W --keep-going docs docs/_build/html`; it needs no network.

CRYOWALK_DOCS_EXECUTE=0 leaves the course units unexecuted, which takes seconds instead of minutes.
"""

import os
import sys
import tomllib
from pathlib import Path

DOCS = Path(__file__).resolve().parent
sys.path.insert(0, str(DOCS / "_ext"))

with (DOCS.parent / "pyproject.toml").open("rb") as handle:
    _project = tomllib.load(handle)["project"]
REPOSITORY = str(
    _project.get("urls", {}).get("Repository", "")
)  # the one constant that holds the address, empty until there is one

project = "cryowalk"
author = "the cryowalk authors"
copyright = "the cryowalk authors, BSD-3-Clause"
version = release = _project["version"]
extensions = ["myst_nb", "sphinx.ext.mathjax", "generated_pages"]
exclude_patterns = ["_build", "_ext", "_static", "_generated/static"]
nitpicky = True
cryowalk_execute = os.environ.get("CRYOWALK_DOCS_EXECUTE", "1") != "0"

nb_execution_mode = "off"  # the course's own builder runs the units: seeded, with an empty progress file
nb_ipywidgets_js = {}  # the widgets' script would come from the network; the units bring still pictures instead
nb_code_prompt_show = "Worked answer: open it when you have tried"
nb_code_prompt_hide = "Close the worked answer"
myst_enable_extensions = ["dollarmath", "amsmath", "deflist", "colon_fence", "attrs_inline"]
myst_heading_anchors = 3
myst_dmath_double_inline = True  # $$…$$ inside a paragraph is a displayed formula, as in JupyterLab
suppress_warnings = ["myst.header"]

# MathJax lies in _static (docs/_static/mathjax/README.md): the same TeX dialect as in JupyterLab, without the network.
mathjax_path = "mathjax/startup.js"
mathjax3_config = {
    "loader": {"load": ["core", "input/tex-full", "output/chtml"]},
    "tex": {"inlineMath": [["\\(", "\\)"]], "displayMath": [["\\[", "\\]"]], "processEscapes": True},
    "options": {"processHtmlClass": "tex2jax_process|mathjax_process|math|output_area", "ignoreHtmlClass": "mathjax_ignore"},
}

html_theme = "pydata_sphinx_theme"
html_title = "cryowalk"
html_static_path = ["_static", "_generated/static"]
html_extra_path = ["_extra"]
html_css_files = ["site.css"]
html_show_sourcelink = False
html_copy_source = False
html_sidebars = {page: [] for page in ("index", "changelog", "symbols", "decisions", "_generated/conventions")}
toc_object_entries_show_parents = "hide"
html_theme_options = {
    "navigation_with_keys": False,
    "show_toc_level": 2,
    "header_links_before_dropdown": 7,
    "navbar_end": ["theme-switcher"],
    "footer_start": ["copyright"],
    "footer_end": [],
    "secondary_sidebar_items": ["page-toc"],
    "pygments_light_style": "tango",
    "pygments_dark_style": "monokai",
} | ({"icon_links": [{"name": "Repository", "url": REPOSITORY, "icon": "fa-brands fa-github"}]} if REPOSITORY else {})
