"""Rows 66–82 of the catalogue: files made to run code, to read other files, to swell, or to speak to a browser, a shell or a spreadsheet."""

import ast
import csv
import io
import json
import os
import pickle
import re
import tarfile
import zipfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from hostile import Bench, project, refusal, row, use
from io_files import stack

import cryowalk as cw
from cryowalk.data.coordinates import Coordinates
from cryowalk.io.coordinates import write_coordinates
from cryowalk.io.cryosparc_records import read_records
from cryowalk.io.csv_text import csv_text
from cryowalk.io.fsc_xml import read_fsc_xml
from cryowalk.io.hdf5_guard import open_hdf5

SOURCE = Path(cw.__file__).parent
REPOSITORY = SOURCE.parents[1]
PWNED = "PWNED"
RUNS_CODE = {
    (name, "course/run.py") for name in ("exec", "eval", "compile")
}  # the cells of a unit's notebook, which are the user's own


class Evil:
    """An object that runs a command when it is unpickled."""

    def __reduce__(self):
        return os.system, (f"touch {Path.cwd()}/{PWNED}",)


@dataclass(frozen=True)
class Module:
    """What a module of the package does: its calls (name, keywords as text, line), its imports, its texts."""

    name: str
    calls: tuple[tuple[str, dict[str, str], int], ...]
    imports: frozenset[str]
    texts: tuple[str, ...]


@cache
def sources() -> tuple[Module, ...]:
    """Every module of the package."""
    return tuple(module_of(path) for path in sorted(SOURCE.rglob("*.py")))


def module_of(path: Path) -> Module:
    nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
    called = [node for node in nodes if isinstance(node, ast.Call)]
    found = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    for node in nodes:
        if isinstance(node, ast.ImportFrom):
            found |= {node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)}
    return Module(
        name=path.relative_to(SOURCE).as_posix(),
        calls=tuple((name_of(n.func), {k.arg or "": name_of(k.value) for k in n.keywords}, n.lineno) for n in called),
        imports=frozenset(found),
        texts=tuple(node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)),
    )


def name_of(node: ast.expr) -> str:
    """A dotted name, or a constant, as it is written; of anything else nothing."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return f"{name_of(node.value)}.{node.attr}"
    return repr(node.value) if isinstance(node, ast.Constant) else ""


def nothing_ran() -> None:
    assert not list(Path.cwd().parent.rglob(f"*{PWNED}*")), "foreign code ran"


@row(66, "arrays of pickled objects")
def _(bench: Bench) -> None:
    bench.fresh()
    np.save("evil.npy", np.array([Evil()], dtype=object), allow_pickle=True)
    records = np.zeros(2, dtype=[("uid", "u8"), ("blob/path", "O")])
    records["blob/path"][:] = [Evil(), Evil()]
    np.save("fields.npy", records, allow_pickle=True)
    for name in ("evil.npy", "fields.npy"):
        path = Path(name).rename(name.replace(".npy", ".cs"))
        text = refusal(lambda path=path: read_records(path), 5)
        assert "pickled objects" in text
        assert path.name in text
        assert "pickled" in bench.cli("convert", "--i", path, "--o", "x.star", code=5)
    nothing_ran()


@row(67, "pickles of poses and CTFs")
def _(bench: Bench) -> None:
    folder = bench.fresh()
    table = project(folder)
    for name, thing in (("evil.pkl", Evil()), ("poses.pkl", (np.zeros((12, 3, 3)), Evil())), ("list.pkl", [1, {"a": Evil()}])):
        Path(name).write_bytes(pickle.dumps(thing))
        assert name in refusal(lambda name=name: cw.read(name), 5)
        bench.cli("inspect", name, code=5)
        assert name in bench.cli("convert", "--i", name, "--images", table, "--o", "x.star", code=5)
        bench.cli("reconstruct", "--i", name, "--o", "map", code=3)
    nothing_ran()
    assert table.exists()
    for module in sources():
        assert not {"pickle", "joblib", "dill", "shelve", "cloudpickle"} & {name.split(".")[0] for name in module.imports}, (
            module.name
        )


@row(68, "torch checkpoints with code")
def _(bench: Bench) -> None:
    bench.fresh()
    torch.save({"weights": Evil()}, "evil.pt")
    torch.save({"weights": torch.zeros(2)}, "good.pt")
    for name in ("evil.pt", "good.pt"):
        assert name in refusal(lambda name=name: cw.read(name), 3)
        stack(Path("m.mrc"), count=1, shape=(64, 64))
        said = bench.cli(
            "pick", "--i", "m.mrc", "--network", name, "--method", "network", "--diameter", "40", "--o", "picked", code=3
        )
        assert "no picking network" in said
    nothing_ran()
    for module in sources():
        for called, keywords, line in module.calls:
            if called in ("torch.load", "torch.jit.load"):
                assert keywords.get("weights_only") == "True", f"{module.name}:{line}"


@row(69, "an array that claims terabytes")
def _(bench: Bench) -> None:
    bench.fresh()
    head = b"{'descr': [('uid', '<u8'), ('x', '<f4', (2,))], 'fortran_order': False, 'shape': (1000000000000,), }"
    head += b" " * (63 - (10 + len(head)) % 64) + b"\n"
    Path("lying.cs").write_bytes(b"\x93NUMPY\x01\x00" + len(head).to_bytes(2, "little") + head + bytes(160))
    text = refusal(lambda: read_records("lying.cs"), 3)
    assert "promises 1000000000000 records" in text
    assert "lying.cs" in bench.cli("convert", "--i", "lying.cs", "--o", "x.star", code=3)


@row(70, "HDF5 that leads to other files")
def _(bench: Bench) -> None:
    bench.fresh()
    Path("secret.txt").write_text("the secret of another file" * 20)
    with h5py.File("other.h5", "w") as file:
        file["images"] = np.zeros((2, 8, 8), np.float32)
    with h5py.File("link.h5", "w") as file:
        file["deep/images"] = h5py.ExternalLink("other.h5", "/images")
    with h5py.File("storage.h5", "w") as file:
        file.create_dataset("images", (16,), "u1", external=[("secret.txt", 0, 16)])
    layout = h5py.VirtualLayout((2, 8, 8), np.float32)
    layout[:] = h5py.VirtualSource("other.h5", "images", (2, 8, 8))
    with h5py.File("virtual.h5", "w") as file:
        file.create_virtual_dataset("images", layout)
    for name in ("link.h5", "storage.h5", "virtual.h5"):
        text = refusal(lambda name=name: open_hdf5(name).close(), 5)
        assert name in text
        assert "secret of" not in text
        refusal(lambda name=name: cw.read(name), 5)
        assert "secret of" not in bench.cli("inspect", name, code=5)
        assert name in bench.cli("convert", "--i", name, "--o", "x.mrcs", code=5)
    assert not Path("x.mrcs").exists()


@row(71, "HDF5 that swells, runs in circles, or is cut off")
def _(bench: Bench) -> None:
    import tracemalloc

    bench.fresh()
    with h5py.File("bomb.h5", "w") as file:
        file.create_dataset("images", (10**5, 512, 512), np.float32, chunks=(1, 512, 512), compression="gzip", fillvalue=0)
    with h5py.File("circle.h5", "w") as file:
        file["a"] = h5py.SoftLink("/b")
        file["b"] = h5py.SoftLink("/a")
    with h5py.File("whole.h5", "w") as file:
        file["images"] = np.ones((4, 64, 64), np.float32)
    Path("cut.h5").write_bytes(Path("whole.h5").read_bytes()[:-3000])
    for name in ("bomb.h5", "circle.h5", "cut.h5"):
        tracemalloc.start()
        assert name in refusal(lambda name=name: use(Path(name)), 3)
        assert tracemalloc.get_traced_memory()[1] < 5e7
        tracemalloc.stop()
        bench.cli("convert", "--i", name, "--o", "x.mrcs", code=3)


@row(72, "HDF5 filters from a folder of plugins")
def _(bench: Bench) -> None:
    from h5py import h5pl

    bench.fresh()
    with h5py.File("whole.h5", "w") as file:
        file["images"] = np.ones((4, 8, 8), np.float32)
    h5pl.append(b"/tmp/plugins")
    open_hdf5("whole.h5").close()
    assert h5pl.size() == 0  # what HDF5_PLUGIN_PATH names is forgotten before anything is opened
    with h5py.File("filtered.h5", "w") as file:
        space, kind = h5py.h5s.create_simple((64,)), h5py.h5t.NATIVE_INT32
        plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        plist.set_chunk((64,))
        plist.set_filter(32004, h5py.h5z.FLAG_OPTIONAL)  # LZ4, which needs a plugin
        h5py.h5d.create(file.id, b"images", kind, space, plist)
    assert "filtered.h5" in refusal(lambda: open_hdf5("filtered.h5").close(), 5)


@row(73, "archives whose members leave the folder")
def _(bench: Bench) -> None:
    folder = bench.fresh()
    with zipfile.ZipFile("slip.zip", "w") as archive:
        archive.writestr(f"../{PWNED}.txt", "x")
    with tarfile.open("slip.tar", "w") as archive:
        member = tarfile.TarInfo(f"../{PWNED}.txt")
        member.size = 1
        archive.addfile(member, io.BytesIO(b"x"))
        link = tarfile.TarInfo("link")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    for name, words in (("slip.zip", "a zip archive"), ("slip.tar", "a tar archive")):
        assert words in refusal(lambda name=name: cw.read(name), 3)
        (folder / f"{name}.mrc").write_bytes(Path(name).read_bytes())
        assert words in refusal(lambda name=name: cw.read(f"{name}.mrc"), 3)
        (folder / f"{name}.star").write_bytes(Path(name).read_bytes())
        assert words in refusal(lambda name=name: cw.read(f"{name}.star"), 3)
        assert words in bench.cli("validate", name, code=3)
    nothing_ran()
    for module in sources():  # archives are never unpacked
        assert not {"tarfile", "zipfile"} & module.imports, module.name
        assert not any(called.endswith(("extractall", "unpack_archive")) for called, _, _ in module.calls), module.name


@row(74, "YAML that builds objects")
def _(bench: Bench) -> None:
    table = project(bench.fresh())
    for text in (
        f"symmetry: !!python/object/apply:os.system ['touch {Path.cwd()}/{PWNED}']\n",
        f"!!python/object/new:os.system [touch {Path.cwd()}/{PWNED}]\n",
        "a: &a [x, x]\nb: &b [*a, *a]\nsymmetry: !!python/name:os.system\n",
    ):
        Path("evil.yaml").write_text(text)
        said = bench.cli("reconstruct", "--i", table, "--settings", "evil.yaml", "--o", "map", code=3)
        assert "evil.yaml" in said
        assert "YAML" in said
    nothing_ran()
    for module in sources():
        assert not any(called in ("yaml.load", "yaml.full_load", "yaml.unsafe_load") for called, _, _ in module.calls), (
            module.name
        )


LAUGHS = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10 if n else "ha"}">' for n in range(10))


@row(75, "XML entities")
def _(bench: Bench) -> None:
    from cryowalk.io.eer import parse_metadata
    from cryowalk.io.warp import read_warp

    bench.fresh()
    Path("secret.txt").write_text("the secret")
    for kind, body in (
        ("bomb", f"<!DOCTYPE fsc [{LAUGHS}]><fsc><coordinate><x>&l9;</x><y>1</y></coordinate></fsc>"),
        ("outside", f'<!DOCTYPE fsc [<!ENTITY x SYSTEM "file://{Path.cwd()}/secret.txt">]><fsc title="a">&x;</fsc>'),
        ("fetched", '<!DOCTYPE fsc SYSTEM "http://127.0.0.1:9/x.dtd"><fsc/>'),
    ):
        for encoding in ("utf-8", "utf-16"):
            path = Path(f"{kind}_{encoding}.xml")
            path.write_bytes(f'<?xml version="1.0" encoding="{encoding}"?>{body}'.encode(encoding))
            for reader in (read_fsc_xml, read_warp):
                text = refusal(lambda path=path, reader=reader: reader(path), 5)
                assert path.name in text
                assert "secret" not in text.replace(path.name, "")
            assert path.name in refusal(
                lambda body=body, path=path, encoding=encoding: parse_metadata(body.encode(encoding), path), 3
            )
    for module in sources():
        used = {name for name in module.imports if name.split(".")[0] in ("lxml", "xmltodict") or name.startswith("xml.")}
        allowed = {"io/eer.py": "xml.etree", "io/safe_xml.py": "xml."}.get(module.name, "xml.sax.saxutils")
        assert all(name.startswith(allowed) or "saxutils" in name for name in used), f"{module.name}: {used}"


EVIL_HTML = "<script>alert(1)</script><img src=x onerror=alert(2)>"


@row(76, "HTML in names and tables")
def _(bench: Bench) -> None:
    table = project(bench.fresh())
    text = table.read_text().replace("group 1", EVIL_HTML).replace("mic 0.mrc", f"{EVIL_HTML}.mrc")
    assert EVIL_HTML in text
    Path("s_html.star").write_text(text)
    for option, value in (("--o", EVIL_HTML.replace("/", "")), ("--o", "map")):
        bench.cli("reconstruct", "--i", "s_html.star", option, value)
        page = (Path(value) / "report.html").read_text()
        assert "<script>alert" not in page
        assert "<img src=x" not in page
        assert "Content-Security-Policy" in page
        assert not re.search(r"<[^>]+\sonerror=", page)
    Path(f"{EVIL_HTML.replace('/', '')}.star").write_text(text)
    bench.cli("reconstruct", "--i", f"{EVIL_HTML.replace('/', '')}.star", "--o", "map2")
    page = Path("map2/report.html").read_text()
    assert "<script>alert" not in page
    assert "&lt;script&gt;" in page  # it is shown, as text


@row(77, "formulas in tables for spreadsheets")
def _(bench: Bench) -> None:
    bench.fresh()
    evil = ('=cmd|"/c calc"!A1', "+1+1", "-2+3", "@SUM(A1)", "\t=1", "=HYPERLINK()")
    read = list(csv.reader(io.StringIO(csv_text([("name", "x"), *((name, 1.5) for name in evil)]))))
    assert [cells[0] for cells in read[1:]] == [f"'{name}" for name in evil]
    # tables with tabs, for other pickers, keep names as they are: no spreadsheet opens them by itself
    assert csv_text([("-1.5", "+2e3", -1.5, "a=b", "-")]) == "-1.5,+2e3,-1.5,a=b,-\n"  # numbers stay numbers
    places = Coordinates(positions=torch.tensor([[-1.0, 2.0]], dtype=torch.float64), extra={"=label": ("=1+1",)})
    write_coordinates(places, "picks.csv")
    assert Path("picks.csv").read_text() == "x,y,'=label\n-1.000000,2.000000,'=1+1\n"
    for module in sources():
        written = [
            called
            for called, keywords, _ in module.calls
            if (called in ("csv.writer", "csv.DictWriter") and keywords.get("delimiter") != repr("\t"))
            or called.endswith(".to_csv")
        ]
        assert not written or module.name == "io/csv_text.py", f"{module.name} writes CSV without the guard"


@row(78, "shell characters in paths")
def _(bench: Bench) -> None:
    project(bench.fresh())
    for name in (f"a;touch {PWNED}", f"$(touch {PWNED})", f"`touch {PWNED}`", f"b & touch {PWNED} &", "-rf", "a|b"):
        folder = Path(f"in {name}")
        folder.mkdir()
        for part in ("particles.star", "particles.mrcs"):
            (folder / part).write_bytes(Path(part).read_bytes())
        bench.cli("expand-symmetry", "--i", folder / "particles.star", "--sym", "C2", "--o", folder / f"out {name}.star")
        assert (folder / f"out {name}.star").is_file()
    name = f"c;touch {PWNED};$(touch {PWNED})"
    bench.cli("reconstruct", "--i", Path(f"in a;touch {PWNED}") / "particles.star", "--o", f"out {name}")
    bench.cli("report", f"out {name}")
    assert (Path(f"out {name}") / "run_class001.mrc").is_file()
    assert not [path for path in Path.cwd().iterdir() if path.name == PWNED]
    for module in sources():
        for called, keywords, line in module.calls:
            where = f"{module.name}:{line}: {called}"
            assert keywords.get("shell", "False") == "False" or not called.startswith("subprocess"), where
            assert keywords.get("shell") != "True", where
            assert called not in {
                "os.system",
                "os.popen",
                "subprocess.getoutput",
                "subprocess.getstatusoutput",
                "os.execl",
                "pty.spawn",
            }, where
            assert called not in {"eval", "exec", "compile", "__import__"} or (called, module.name) in RUNS_CODE, where
            assert called not in {"marshal.load", "marshal.loads"}, where
            assert keywords.get("allow_pickle", "False") == "False", where


@row(79, "notebooks with outputs or scripts")
def _(bench: Bench) -> None:
    bench.fresh()
    notebooks = sorted((REPOSITORY / "notebooks").glob("*.ipynb"))
    assert notebooks or not (REPOSITORY / "notebooks").exists()
    for path in notebooks:
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        for cell in cells:
            assert not cell.get("outputs"), f"{path.name} holds outputs"
            assert cell["cell_type"] in ("markdown", "code"), path.name
            text = "".join(cell["source"])
            if cell["cell_type"] == "markdown":
                assert not re.search(r"<script|javascript:|\son[a-z]+\s*=\s*[\"']", text, re.IGNORECASE), path.name
    for module in sources():
        words = " ".join(module.texts)
        assert "jupyter trust" not in words, module.name
    evil = Path("U99_evil.ipynb")
    evil.write_text(json.dumps({"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}))
    bench.cli("course", "check", str(evil), code=2)  # only the course's own units are run


@row(80, "pickled caches")
def _(bench: Bench) -> None:
    bench.fresh()
    for module in sources():
        names = module.imports
        assert not {"joblib", "diskcache", "shelve", "functools.cached", "cachetools"} & {name.split(".")[0] for name in names}, (
            module.name
        )
        assert "joblib.Memory" not in names
    from cryowalk.workflow.checkpoint import DamagedCheckpoint, pack, unpack

    class Thing:
        pass

    with pytest.raises(TypeError, match="cannot hold Thing"):
        pack({"thing": Thing()})
    evil = pickle.dumps(Evil())
    for raw in (evil, b"cryowalk-state-1" + evil):
        with pytest.raises(DamagedCheckpoint):
            unpack(raw)
    nothing_ran()


@row(81, "servers that listen to everybody")
def _(bench: Bench) -> None:
    bench.fresh()
    servers = {"http.server", "socketserver", "flask", "fastapi", "uvicorn", "tornado", "aiohttp", "bokeh", "dash", "wsgiref"}
    for module in sources():
        texts = module.texts
        assert not any("0.0.0.0" in text for text in texts), module.name
        if module.name != "course/fake_archive.py":
            assert not servers & module.imports, f"{module.name} serves pages"
        assert not any(
            called.endswith((".listen", ".serve_forever", "create_server", "start_server")) for called, _, _ in module.calls
        ) or (module.name == "course/fake_archive.py"), module.name
    from cryowalk.course import open_unit

    opened = open_unit("U01", directory=Path.cwd())
    assert opened.command[:2] == ("jupyter", "lab")  # its defaults: this machine alone, with a token
    assert not any(word.startswith(("--ip", "--ServerApp", "--IdentityProvider", "--NotebookApp")) for word in opened.command)


@row(82, "workers that take orders from the network")
def _(bench: Bench) -> None:
    import psutil

    from cryowalk.workflow.executors import executor

    bench.fresh()
    with executor("processes", workers=2) as pool:
        assert list(pool.map(abs, [-1, -2, -3])) == [1, 2, 3]
        me = psutil.Process()
        family = [me, *me.children(recursive=True)]
        listening = [c for p in family for c in p.net_connections("inet") if c.status == psutil.CONN_LISTEN]
    assert not listening, "a worker listens on the network"
    for module in sources():
        assert not any(name.startswith(("multiprocessing.connection", "xmlrpc")) for name in module.imports), module.name
