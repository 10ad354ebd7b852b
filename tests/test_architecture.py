"""Rules of the house that no linter knows: names, what every room brings, and calls that are never made."""

import ast
import re
from importlib import import_module
from pathlib import Path

import pytest

from cryowalk.core.conventions import CONVENTIONS

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src" / "cryowalk"
DOOR = {"io", "cli", "view", "course", "workflow"}  # where files and people enter
NICKNAMES = {
    "apix",
    "angpix",
    "dfu",
    "dfv",
    "dfang",
    "kv",
    "cs",
    "df",
    "voxsize",
    "vol",
    "img",
    "imgs",
    "rots",
    "ctfs",
    "fsc_",
    "snr_db",
}
FOREIGN_UNITS = re.compile(r"_(um|nm|angstrom|angstroms|deg|rad|radians|per_angstrom)$")
# room -> its course units; a room whose folder holds only a docstring is still waiting for its builder
ROOMS = {
    "motion": ("U14",), "ctf_estimation": ("U15",), "picking": ("U16",), "denoising": ("U23",), "classification": ("U18",),
    "poses": ("U22",), "reconstruction": ("U21",), "validation": ("U24",), "heterogeneity": ("U25",), "tomography": ("U28",),
}  # fmt: skip
COMMANDS = {
    "classification": "class2d",
    "poses": "ctf_refine",
    "ctf_estimation": "ctf",
    "denoising": "denoise",
    "picking": "pick",
    "reconstruction": "reconstruct",
    "validation": "fsc",
}
BENCHMARKS = {"reconstruction": "bench_reconstruction.py"}
RUNS_CODE = {
    ("exec", "run.py"),
    ("eval", "run.py"),
}  # course/run.py runs the learner's own notebook, which is what it was asked to check
# what a built room may still lack, with the reason
EXEMPT = {}


def sources() -> list[Path]:
    return sorted(SOURCE.rglob("*.py"))


def is_built(room: str) -> bool:
    return any(path.name != "__init__.py" for path in (SOURCE / room).glob("*.py"))


def names_introduced(tree: ast.AST) -> list[tuple[str, int]]:
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.arg):
            found.append((node.arg, node.lineno))
        if isinstance(node, ast.ClassDef):
            found += [
                (s.target.id, s.lineno) for s in node.body if isinstance(s, ast.AnnAssign) and isinstance(s.target, ast.Name)
            ]
    return found


@pytest.mark.parametrize("path", sources(), ids=lambda p: str(p.relative_to(SOURCE)))
def test_names_are_the_fields_words_in_canonical_units(path):
    floor = path.relative_to(SOURCE).parts[0]
    if floor in DOOR or path.name == "units.py":
        return
    for name, line in names_introduced(ast.parse(path.read_text())):
        assert name not in NICKNAMES, f"{path}:{line}: {name} is a nickname"
        assert not FOREIGN_UNITS.search(name), f"{path}:{line}: {name} names a unit; inside, there is one unit per quantity"


@pytest.mark.parametrize("path", sources(), ids=lambda p: str(p.relative_to(SOURCE)))
def test_no_call_that_runs_foreign_code(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import | ast.ImportFrom):
            modules = [a.name for a in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            assert not {"pickle", "joblib", "dill", "shelve"} & {m.split(".")[0] for m in modules}, (
                f"{path}:{node.lineno}: unpickling runs code"
            )
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            keywords = {k.arg: ast.unparse(k.value) for k in node.keywords}
            assert keywords.get("shell") != "True", f"{path}:{node.lineno}: shell=True"
            assert keywords.get("allow_pickle") != "True", f"{path}:{node.lineno}: allow_pickle"
            if (called, path.name) not in RUNS_CODE:
                assert called not in {"eval", "exec", "os.system", "yaml.load"}, f"{path}:{node.lineno}: {called}"
            if called == "torch.load":
                assert keywords.get("weights_only") == "True", f"{path}:{node.lineno}: torch.load without weights_only"
        if isinstance(node, ast.ExceptHandler):
            assert node.type is not None, f"{path}:{node.lineno}: bare except"


@pytest.mark.parametrize("room", ROOMS)
def test_a_built_room_brings_tests_benchmark_units_and_command(room):
    if not is_built(room):
        pytest.skip(f"{room} waits for its builder: its folder holds only the docstring")
    missing = []
    if not list((ROOT / "tests" / room).glob("test_*.py")):
        missing.append("tests")
    if not (ROOT / "benchmarks" / BENCHMARKS.get(room, f"bench_{room}.py")).is_file():
        missing.append("benchmark")
    if not all(list((ROOT / "course" / "units").glob(f"{unit}_*.py")) for unit in ROOMS[room]):
        missing.append("units")
    if not (SOURCE / "cli" / "commands" / f"{COMMANDS.get(room, room)}.py").is_file():
        missing.append("command")
    missing = [m for m in missing if (room, m) not in EXEMPT]
    assert not missing, f"{room} lacks its {', '.join(missing)}"


@pytest.mark.parametrize("room", ROOMS)
def test_room_settings_import_the_standard_library_alone(room):
    settings = SOURCE / room / "settings.py"
    if not settings.is_file():
        pytest.skip(f"{room} has no settings yet")
    for node in ast.walk(ast.parse(settings.read_text())):
        if isinstance(node, ast.ImportFrom | ast.Import):
            module = node.module if isinstance(node, ast.ImportFrom) else node.names[0].name
            assert module.split(".")[0] in {"dataclasses", "typing", "pathlib", "collections", "math", "cryowalk"}, (
                f"{settings}: {module}"
            )
            if module.startswith("cryowalk"):
                assert module in {"cryowalk.core.checks", "cryowalk.core.errors"}, f"{settings}: {module} is not light"


@pytest.mark.parametrize("room", [*ROOMS, "refinement"])
def test_a_room_exports_at_most_six_names(room):
    names = [n for n in dir(import_module(f"cryowalk.{room}")) if not n.startswith("_") and n != "lazy_exports"]
    assert len(names) <= 6, names


@pytest.mark.parametrize("convention", CONVENTIONS, ids=lambda c: c.about)
def test_every_convention_names_a_test_that_exists(convention):
    assert (ROOT / convention.tested_by).exists(), f"{convention.about}: {convention.tested_by} does not exist"


def test_nothing_names_a_machine_or_an_index():
    hosts = re.compile(r"pypi\.org|pythonhosted|/work/(main|tmp|shared)|/root/|files\.python")
    for pattern in ("*.py", "*.md", "*.toml", "*.txt", "*.cff", "*.yaml", "*.ipynb", "Makefile", "*.json"):
        for path in ROOT.rglob(pattern):
            if {".venv", "_build", "_generated", ".git", "build"} & set(path.parts) or path == Path(__file__):
                continue
            assert not hosts.search(path.read_text(errors="replace")), f"{path} names a machine's path or a package index"
