"""A report is one page that loads nothing, runs nothing foreign and shows what it was given."""

import base64
import hashlib
import re
from html.parser import HTMLParser

import pytest

from cryowalk import view
from cryowalk.core.errors import CryowalkError, UsageError
from cryowalk.data import Provenance
from cryowalk.view.report import Captioned, Table, format_value, render, unit_of

EVIL = "<script>alert(1)</script>\"><img src=x onerror='alert(2)'></style><svg onload=alert(3)>{{ 7*7 }}&amp;"


class Page(HTMLParser):
    """All elements with their attributes, and the texts by element."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict]] = []
        self.texts: list[tuple[str, str]] = []
        self.stack: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in {"meta", "img", "br"}:
            self.stack.append(tag)

    def handle_endtag(self, tag):
        while self.stack and self.stack.pop() != tag:
            pass

    def handle_data(self, data):
        self.texts.append((self.stack[-1] if self.stack else "", data))

    def named(self, tag: str) -> list[dict]:
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture
def evil_report(blob, curve):
    provenance = Provenance(
        command=f"cryowalk walk --output {EVIL}",
        settings={EVIL: EVIL, "box": 96},
        versions={EVIL: EVIL},
        seed=7,
        inputs={EVIL: EVIL},
        outputs={EVIL: {"sha256": "ab"}},
    )
    table = Table(columns=(EVIL,), rows=((EVIL,),), caption=EVIL)
    report = view.Report(title=EVIL, summary=EVIL, provenance=provenance)
    report = report.with_section(EVIL, EVIL, {EVIL: 1.0}, table, Captioned(figure=view.fsc({EVIL: curve(0.1)}), caption=EVIL))
    report = report.with_section("2", view.slices({EVIL: blob})).with_section("3", view.isosurface(blob, levels=(0.3,)))
    view3d = view.isosurface(blob, levels=(0.3,))
    view3d.update_layout(meta={"description": EVIL}, title=EVIL)
    return report.with_section("4", view3d)


def test_no_text_becomes_markup(evil_report):
    page = Page(render(evil_report))
    assert {name for name, _ in page.elements}.isdisjoint({"svg", "iframe", "link", "object", "form"})
    for name, attributes in page.elements:
        assert not [key for key in attributes if key.startswith("on")], (name, attributes)
    assert all(image["src"].startswith("data:image/") for image in page.named("img"))
    assert len(page.named("img")) == 2
    assert "49&amp;amp;" not in render(evil_report)


def test_no_text_of_a_view_can_end_its_script_element():
    class View:
        layout = type("Layout", (), {"meta": None})()

        def to_plotly_json(self):
            return {}

        def to_json(self):
            return '{"title": "</script><img src=x>"}'

    page = Page(render(view.Report(title="t").with_section("3D", View())))
    assert not page.named("img")
    assert ("script", '{"title": "\\u003c/script>\\u003cimg src=x>"}') in page.texts


def test_only_the_scripts_that_the_policy_names_can_run(evil_report):
    page = Page(render(evil_report))
    policy = next(meta["content"] for meta in page.named("meta") if meta.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none';")
    assert "unsafe-eval" not in policy
    assert "http" not in policy
    allowed = set(re.findall(r"'sha256-([^']+)'", policy))
    kinds = [script.get("type", "") for script in page.named("script")]
    assert kinds == ["application/json", "application/json", "", ""]
    scripts = re.findall(r"<script>(.*?)</script>\n", render(evil_report), flags=re.DOTALL)
    assert {base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts} == allowed


def test_plotly_is_inlined_once_and_only_where_a_view_is(blob, curve):
    flat = render(view.Report(title="flat").with_section("FSC", view.fsc(curve(0.1))))
    assert len(flat) < 200_000
    assert "script-src &#39;none&#39;" in flat
    assert "<script" not in flat
    two = view.Report(title="deep").with_section("a", view.isosurface(blob)).with_section("b", view.isosurface(blob))
    assert render(two).count("plotly.js v") == 1


def test_nothing_is_fetched(evil_report):
    text = render(evil_report)
    page = Page(text)
    addresses = [
        attributes.get(key, "") for _, attributes in page.elements for key in ("src", "href", "srcset", "data", "action")
    ]
    assert all(not address or address.startswith(("data:", "#")) for address in addresses)
    styles = "".join(data for tag, data in page.texts if tag == "style")
    assert "url(" not in styles
    assert "@import" not in styles


def test_the_same_report_gives_the_same_page(evil_report):
    assert render(evil_report) == render(evil_report)


def test_scores_show_their_number_and_the_unit_of_their_key():
    scores = {"half_fsc_0.143_angstrom": 7.12345, "fsc_to_truth_0.5_angstrom_perturbed_poses": float("nan"), "particles": 2000}
    page = Page(render(view.Report(title="t").with_section("Scores", scores)))
    cells = [data.strip() for tag, data in page.texts if tag in {"td", "code"} and data.strip()]
    assert cells == [
        *("half_fsc_0.143_angstrom", "7.123", "Å"),
        *("fsc_to_truth_0.5_angstrom_perturbed_poses", "—", "Å"),
        *("particles", "2000"),
    ]


@pytest.mark.parametrize(
    ("key", "unit"),
    [
        ("median_angular_error_degrees", "°"),
        ("images_per_second", "images/s"),
        ("dose_electrons_per_square_angstrom", "e⁻/Å²"),
        ("b_factor_square_angstrom", "Å²"),
        ("correlation", ""),
        ("degreesish", ""),
    ],
)
def test_units_are_read_from_whole_words_of_the_key(key, unit):
    assert unit_of(key) == unit


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.000123456, "0.0001235"), (123456.7, "123,457"), (None, "—"), (float("inf"), "inf"), (3, "3"), (True, "True"), ("a", "a")],
)
def test_numbers_are_written_to_four_digits(value, text):
    assert format_value(value) == text


def test_figures_with_pixels_are_png_and_curves_are_svg(blob, curve):
    page = Page(render(view.Report(title="t").with_section("a", view.fsc(curve(0.1)), view.slices(blob))))
    kinds = [image["src"].partition(";")[0] for image in page.named("img")]
    assert kinds == ["data:image/svg+xml", "data:image/png"]
    assert page.named("img")[0]["alt"].startswith("Fourier shell correlation")


def test_write_report_leaves_one_whole_file(tmp_path, curve):
    report = view.Report(title="t").with_section("a", "one\n\ntwo", view.fsc(curve(0.1)))
    path = view.write_report(report, tmp_path / "report.html")
    assert [file.name for file in tmp_path.iterdir()] == ["report.html"]
    assert path.read_text(encoding="utf-8") == render(report)
    assert render(report).count("<p>") == 2


def test_a_page_that_cannot_be_written_says_so(tmp_path):
    with pytest.raises(CryowalkError):
        view.write_report(view.Report(title="t"), tmp_path / "missing" / "report.html")


def test_a_part_that_cannot_be_shown_is_refused():
    with pytest.raises(UsageError, match="cannot show a list"):
        render(view.Report(title="t").with_section("a", [1, 2]))
