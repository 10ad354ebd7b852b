"""Rows 35–65 of the catalogue: STAR tables, the paths in them, and cryoSPARC's files."""

import os
import re
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from hostile import HTML, STAR_ROW, Bench, content, project, refusal, refusals, row, star, use
from io_files import STAR, particle_set, stack

import cryowalk as cw
from cryowalk.core.errors import CryowalkWarning
from cryowalk.io import read_cryosparc, read_particles

refusals(35, "short row", (star((" 1.6 -2.6\n", "\n")), 3, "line 30: the row has 8 values, the loop has 10"))
refusals(
    36,
    "long row, label missing from the header",
    (star(("1.6 -2.6", "1.6 -2.6 7")), 3, "line 30: the row has 11 values"),
    (star((" -2.6\n000003", "\n-2.6 000003")), 3, "line 30: the row has 9 values"),
    (star(("_rlnOriginYAngst #10\n", "")), 3, "line 28: the row has 10 values, the loop has 9"),
    (star(("_rlnVoltage #3", "_rlnVoltage2 #3")), 3, "lacks rlnVoltage"),
)


@row(37, "rows lost at a line boundary")
def _(bench: Bench) -> None:
    from cryowalk.io import read_particles as read
    from cryowalk.workflow.job import open_job

    folder = bench.fresh()
    table = project(folder)
    with open_job("job", command="extract", settings={}) as job:
        cw.write(read(table), job.path("particles.star"))
    lines = Path("job/particles.star").read_text().splitlines(keepends=True)
    last = max(number for number, line in enumerate(lines) if "@" in line)
    Path("job/particles.star").write_text("".join(lines[: last - 3] + lines[last + 1 :]))  # a whole table of fewer rows
    assert len(read("job/particles.star")) == 8
    said = bench.cli("reconstruct", "--i", "job/particles.star", "--o", "map", code=3)
    assert "not the one that its job wrote" in said
    assert "8 rows" in said
    assert "12 rows" in said
    assert "job/particles.star" in said


refusals(38, "duplicate label", (star(("_rlnOriginYAngst", "_rlnOriginXAngst")), 3, "stands twice"))
refusals(
    39,
    "no optics table, unknown optics group",
    (star(text=STAR[STAR.index("data_particles") :]), 3, "optics table"),
    (star(("1 one 300.0 2.7 0.1 1.7 8\n", "")), 3, "optics table has no rows"),
    (star(("000002@s.mrcs 1", "000002@s.mrcs 7")), 3, "line 30: optics group 7"),
    (star(("1.7 8\n", "1.7 8\n1 two 300.0 2.7 0.1 1.7 8\n")), 3, "line 15: optics group 1 is defined twice"),
)

V30 = """
data_

loop_
_rlnImageName #1
_rlnVoltage #2
_rlnSphericalAberration #3
_rlnAmplitudeContrast #4
_rlnMagnification #5
_rlnDetectorPixelSize #6
_rlnDefocusU #7
_rlnDefocusV #8
_rlnDefocusAngle #9
_rlnAngleRot #10
_rlnAngleTilt #11
_rlnAnglePsi #12
_rlnOriginX #13
_rlnOriginY #14
000001@s.mrcs 300 2.7 0.1 10000 1.7 10000.5 9900.5 30.0 10.0 20.0 30.0 1.5 -2.5
000002@s.mrcs 300 2.7 0.1 10000 1.7 10001.5 9901.5 31.0 11.0 21.0 31.0 1.6 -2.6
"""


@row(40, "tables of RELION 3.0")
def _(bench: Bench) -> None:
    old = bench.accepted(star(text=V30))
    assert old.pixel_size == 1.7  # 1.7 μm × 10⁴ / 10 000
    new = read_particles(star()(bench.fresh()))[:2]
    torch.testing.assert_close(old.pose.lab_from_particle, new.pose.lab_from_particle, rtol=0, atol=1e-12)
    torch.testing.assert_close(old.pose.shift, new.pose.shift * 1.7, rtol=0, atol=1e-9)  # origins in pixels there, in Å here
    torch.testing.assert_close(old.defocus.major, new.defocus.major, rtol=0, atol=0)


@row(41, "six optics groups")
def _(bench: Bench) -> None:
    groups = "".join(f"{number} group{number} {100 * (number % 3 + 1)}.0 2.7 0.1 1.7 8\n" for number in range(1, 7))
    text = (
        STAR.replace("1 one 300.0 2.7 0.1 1.7 8\n", groups)
        .replace("000002@s.mrcs 1", "000002@s.mrcs 6")
        .replace("000003@s.mrcs 1", "000003@s.mrcs 4")
    )
    particles = bench.accepted(star(text=text))
    assert [group.name for group in particles.optics] == [f"group{number}" for number in range(1, 7)]
    assert [particles.optics[i].voltage_kv for i in particles.optics_index.tolist()] == [200.0, 100.0, 200.0]
    cw.write(particles, "again.star")
    assert read_particles("again.star").optics_index.tolist() == [0, 5, 3]


refusals(
    42,
    "index beyond the stack",
    (star(("000002@s", "000006@s")), 3, "line 30: image 6 of"),
    (star(("000002@s", "4000000000@s")), 3, "line 30: image 4000000000 of"),
    (star(("000002@s", "9" * 5000 + "@s")), 3, "line 30: rlnImageName"),
)
refusals(
    43,
    "index 0, negative, no number",
    (star(("000002@s", "000000@s")), 3, "line 30: rlnImageName is “000000@s.mrcs”"),
    (star(("000002@s", "-2@s")), 3, "line 30: rlnImageName"),
    (star(("000002@s", "two@s")), 3, "line 30: rlnImageName"),
    (star(("000002@s", "²@s")), 3, "line 30: rlnImageName"),
    (star(("000002@s.mrcs", "000002@")), 3, "line 30: rlnImageName"),
)


@row(44, "missing stacks")
def _(bench: Bench) -> None:
    bench.refused(star(("000002@s.mrcs", "000002@gone.mrcs")), 3, "line 30: 1 of 2 image stacks are not there: gone.mrcs")
    rows = "".join(f"000001@gone{number}.mrcs 1 1e4 1e4 0 0 0 0 0 0\n" for number in range(7))
    text = bench.refused(star(("000001@s.mrcs", rows + "000001@s.mrcs")), 3, "7 of 8 image stacks are not there")
    assert "gone0.mrcs, gone1.mrcs, gone2.mrcs, gone3.mrcs, gone4.mrcs …" in text
    assert "gone5" not in text


def leaves_the_project(bench: Bench, name: str, elsewhere: Path) -> None:
    """A stack of that name is read with one notice a run, refused under --confine, and never touched."""
    before = elsewhere.stat().st_mtime_ns, elsewhere.read_bytes()
    Path("p.star").write_text(Path("particles.star").read_text().replace("@particles.mrcs", f"@{name}"))
    with pytest.warns(CryowalkWarning, match="outside the project"):
        assert read_particles("p.star").images.count == 12
    said = bench.cli("reconstruct", "--i", "p.star", "--o", f"map{bench.number}")
    assert said.count("a file outside the project is read") == 1
    for command in (
        ("reconstruct", "--i", "p.star", "--o", "refused"),
        ("inspect", "p.star"),
    ):
        refused = bench.cli(*command, "--confine", code=5)
        assert "lies outside the folder that reading is confined to" in refused
        assert "p.star" in refused
    assert "confined to" in refusal(lambda: read_particles("p.star", confine=Path.cwd()), 5)
    cw.write(read_quietly("p.star"), "copy.star")
    assert (elsewhere.stat().st_mtime_ns, elsewhere.read_bytes()) == before


def read_quietly(path: str):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CryowalkWarning)
        return read_particles(path)


def far_away(bench: Bench) -> Path:
    """A project deep in one folder, the stack of its particles in another; the stack's path."""
    root = bench.fresh()
    (root / "other" / "place").mkdir(parents=True)
    (root / "a" / "b" / "c" / "project").mkdir(parents=True)
    os.chdir(root / "a" / "b" / "c" / "project")
    project(Path.cwd())
    return Path("particles.mrcs").rename(root / "other" / "place" / "far.mrcs")


@row(45, "absolute paths")
def _(bench: Bench) -> None:
    stack_file = far_away(bench)
    leaves_the_project(bench, str(stack_file), stack_file)


@row(46, "paths with ../")
def _(bench: Bench) -> None:
    stack_file = far_away(bench)
    leaves_the_project(bench, os.path.relpath(stack_file), stack_file)
    Path("sub").mkdir()
    stack_file.rename("particles.mrcs")
    Path("inside.star").write_text(Path("particles.star").read_text().replace("@particles", "@sub/../particles"))
    assert "12 images used" in bench.cli("reconstruct", "--i", "inside.star", "--o", "inside", "--confine")


@row(47, "symbolic links out of the project")
def _(bench: Bench) -> None:
    stack_file = far_away(bench)
    Path("link.mrcs").symlink_to(stack_file)
    leaves_the_project(bench, "link.mrcs", stack_file)
    Path("d").symlink_to("/etc")
    Path("passwd.star").write_text(Path("particles.star").read_text().replace("@particles.mrcs", "@d/passwd"))
    said = bench.cli("reconstruct", "--i", "passwd.star", "--o", "refused", "--confine", code=5)
    assert "root:" not in said
    assert "root:" not in bench.cli("reconstruct", "--i", "passwd.star", "--o", "refused", code=3)


refusals(
    48,
    "NaN, infinite and text defocus",
    (star(("10001.5", "nan")), 3, "line 30: rlnDefocusU is “nan”"),
    (star(("10001.5", "inf")), 3, "line 30: rlnDefocusU"),
    (star(("10001.5", "abc")), 3, "line 30: rlnDefocusU is “abc”"),
    (star(("11.0 21.0", "11.0 nan")), 3, "line 30: rlnAngleTilt"),
)
refusals(49, "decimal comma", (star(("10001.5", "10001,5")), 3, "decimal comma"))
refusals(
    50,
    "values out of every range",
    (star(("300.0", "0.0")), 3, "line 14: rlnVoltage is “0.0”"),
    (star(("1.7 8", "0 8")), 3, "rlnImagePixelSize"),
    (star(("1.7 8", "-1.7 8")), 3, "rlnImagePixelSize"),
    (star(("2.7 0.1", "2.7 1.1")), 3, "rlnAmplitudeContrast"),
)
refusals(
    51,
    "slips of units",
    (star(("300.0", "300000")), 3, "did you mean 300 kV: volts in place of kilovolts"),
    (star(("2.7 0.1", "2.7e7 0.1")), 3, "did you mean 2.7 mm: Å in place of millimetres"),
    (star(("2.7 0.1", "2.7 10")), 3, "did you mean 0.1: per cent in place of a fraction"),
    (star(("1.7 8", "1.7e-10 8")), 3, "did you mean 1.7 Å: metres in place of Å"),
    (star(("1.7 8", "0.17 8")), 3, "did you mean 1.7 Å: nanometres in place of Å"),  # the header of the stack knows
    (star(text=re.sub(r"1000(\d)\.5 990(\d)\.5", r"1.000\1 0.990\2", STAR)), 3, "μm in place of Å"),
)


def two_boxes(folder: Path) -> Path:
    path = star(("000003@s.mrcs", "000003@t.mrcs"), ("1.7 8\n", "1.7 0\n"), ("_rlnImageSize #7", "_rlnOther #7"))(folder)
    stack(folder / "t.mrcs", shape=(10, 10))
    return path


refusals(
    52,
    "box in the optics table against the images",
    (star(("1.7 8", "1.7 16")), 3, "rlnImageSize of optics group “one” is 16, the images are 8 px"),
    (two_boxes, 3, "one box size"),
)


@row(53, "CR LF, tabs, byte-order mark")
def _(bench: Bench) -> None:
    usual = bench.accepted(star())
    for text in (STAR.replace("\n", "\r\n"), STAR.replace(" ", "\t"), "\ufeff" + STAR, "\ufeff" + STAR.replace("\n", "\r")):
        particles = bench.accepted(star(text=text))
        assert torch.equal(particles.defocus.major, usual.defocus.major)
        assert particles.image_names == usual.image_names


refusals(
    54,
    "empty and binary",
    (content("bad.star", b""), 3, "empty"),
    (content("bad.star", b" \n\n"), 3, "empty"),
    (content("bad.star", bytes(range(256))), 3, "bad.star"),
    (content("bad.star", HTML), 3, "HTML"),
)


@row(55, "quotes, blanks, # and unicode in names")
def _(bench: Bench) -> None:
    for name in ("a#b.mrcs", "a b.mrcs", "ünï.mrcs", "it's.mrcs", 'say "a".mrcs', "-dash.mrcs", "data_.mrcs", "日本.mrcs"):
        quote = "'" if '"' in name else '"'
        text = re.sub(r"(\d+)@s\.mrcs", lambda found, name=name, quote=quote: f"{quote}{found[1]}@{name}{quote}", STAR)
        folder = bench.fresh()
        stack(folder / name)
        (folder / "x.star").write_text(text)
        particles = use(folder / "x.star")
        assert particles.image_names[1] == f"000002@{name}"
        cw.write(particles, "y.star")  # quoted again, so that it means the same
        assert read_particles("y.star").image_names == particles.image_names
    bench.refused(star(("000002@s.mrcs", "'000002@s.mrcs")), 3, "line 30: a quote is opened")


@row(56, "control characters and escape sequences in names")
def _(bench: Bench) -> None:
    evil = "\x1b[31mred\x07\x9b2J.mrcs"
    assert "\\x1b[31mred\\x07\\x9b2J.mrcs" in bench.refused(star(("000002@s.mrcs", f"000002@{evil}")), 3, "not there")
    folder = bench.fresh()
    star(("1 one", "1 o\x1b[2Jne"), ("000001@s.mrcs 1", "000001@\x1b]0;x\x07s.mrcs 1"))(folder)
    for command in ("inspect", "validate"):
        bench.cli(command, "bad.star", code=0 if command == "inspect" else 3)  # asserts that none reaches the terminal
    stack(folder / evil)
    bench.cli("inspect", evil)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CryowalkWarning)
        named = cw.read(star()(bench.fresh()))
    from dataclasses import replace

    assert "control character" in refusal(lambda: cw.write(replace(named, extra={"rlnX": ("\x1b",) * 3}), "w.star"), 3)
    assert not Path("w.star").exists()


refusals(
    57,
    "a name of 5 000 characters",
    (star(("000002@s.mrcs", "000002@" + "x" * 5000)), 3, "line 30: 1 of 2 image stacks are not there"),
)


@row(58, "comments and stray blocks in a loop")
def _(bench: Bench) -> None:
    particles = bench.accepted(star((STAR_ROW, f"# a comment\n{STAR_ROW}")))
    assert len(particles) == 3
    assert len(bench.accepted(star(("-2.6\n", "-2.6 # seen twice\n")))) == 3
    bench.refused(star((STAR_ROW, f"data_\n{STAR_ROW}")), 3, "line 31: neither a label")


refusals(59, "no particles", (star(text=STAR[: STAR.index("000001@")]), 3, "holds no particles"))


@row(60, "one particle, all identical")
def _(bench: Bench) -> None:
    bench.accepted(star(text=STAR[: STAR.index("000002@")]))
    bench.fresh()
    cw.write(read_particles(project(Path.cwd()))[:1], "one.star")
    said = bench.cli("reconstruct", "--i", "one.star", "--o", "map")
    assert "one half is empty" in said
    assert "1 images used" in said
    assert "particle" in bench.cli("class2d", "--i", "one.star", "--classes", "2", "--o", "classes", code=3)
    cw.write(cw.read("map/run_class001.mrc"), "start.mrc")
    words = ("--ref", "start.mrc", "--diameter", "30")
    assert "at least 2 different images in each half" in bench.cli("refine", "--i", "one.star", *words, "--o", "refine1", code=3)
    raw = Path("particles.mrcs").read_bytes()
    one = raw[1024 : 1024 + 4 * 24 * 24]
    Path("particles.mrcs").write_bytes(raw[:1024] + one * 12)
    said = bench.cli("refine", "--i", "particles.star", *words, "--o", "refine2", code=3)
    assert "half 1 has 6 particles of 1 different image" in said


@row(61, "one particle in both half sets")
def _(bench: Bench) -> None:
    bench.fresh()
    table = project(Path.cwd())
    text = table.read_text()
    Path("twice.star").write_text(text.replace("000002@particles", "000001@particles"))
    said = bench.cli("reconstruct", "--i", "twice.star", "--o", "map", code=3)
    assert "image 000001@particles.mrcs (row 2) is in both half sets" in said
    raw = Path("particles.mrcs").read_bytes()
    size = 4 * 24 * 24
    Path("particles.mrcs").write_bytes(
        raw[: 1024 + size] + raw[1024 : 1024 + size] + raw[1024 + 2 * size :]
    )  # under another name
    assert "1 images are in both half sets, the first in row 2" in bench.cli("validate", table, code=3)
    assert "the halves are not independent" in bench.cli("reconstruct", "--i", table, "--o", "map")
    assert "the halves are not independent" in bench.cli("reconstruct", "--i", table, "--o", "strict", "--strict", code=3)


@row(62, "groups of a few particles")
def _(bench: Bench) -> None:
    from cryowalk.core.execution import SilentProgress
    from cryowalk.refinement.scale import fitted_scale
    from cryowalk.refinement.usable import usable_particles

    class Told(SilentProgress):
        notes: list[str] = []  # noqa: RUF012  of one test

        def note(self, fact: str) -> None:
            self.notes.append(fact)

    from dataclasses import replace

    particles = replace(particle_set(40, groups=2), optics_index=(torch.arange(40) > 36).long())
    usable_particles(particles, generator=cw.generator(1), progress=Told())
    assert any("fewer than 10 particles" in note and "group 2 (3)" in note for note in Told.notes)
    group = torch.tensor([0] * 30 + [1])
    weak = torch.cat((torch.full((30,), 100.0), torch.tensor([4.0])))
    scale = fitted_scale(group, weak * torch.cat((torch.ones(30), torch.tensor([3.0]))), weak, current=torch.ones(31))
    assert 1.0 < float(scale[-1]) < 1.4  # one particle that says 3 is drawn towards the others


def records(folder: Path, **changes) -> Path:
    """A .cs file of the particles of the STAR file, as cryoSPARC's programs write it."""
    from cryowalk.io.cryosparc_writer import write_cryosparc

    table = project(folder)
    write_cryosparc(read_particles(table), folder / "good.cs")
    made = np.load(folder / "good.cs", allow_pickle=False)
    for name, (place, value) in changes.items():
        made[name.replace("__", "/")][place] = value
    np.save(folder / "bad.npy", made, allow_pickle=False)
    return (folder / "bad.npy").rename(folder / "bad.cs")


@row(63, "truncated .cs")
def _(bench: Bench) -> None:
    path = records(bench.fresh())
    raw = path.read_bytes()
    for length, words in ((len(raw) - 7, "promises 12 records"), (60, "bad.cs"), (4, "bad.cs"), (0, "bad.cs")):
        path.write_bytes(raw[:length])
        text = refusal(lambda path=path: read_cryosparc(path), 3)
        assert words in text
        assert "bad.cs" in bench.cli("convert", "--i", path, "--o", "x.star", code=3)
    assert not Path("x.star").exists()


@row(64, ".cs with identifiers twice, images beyond the stack, paths that leave the project")
def _(bench: Bench) -> None:
    path = records(bench.fresh())
    made = np.load(path, allow_pickle=False)
    made["uid"][3] = made["uid"][5]
    np.save("twice.npy", made, allow_pickle=False)
    Path("twice.npy").rename("twice.cs")
    assert "there twice" in refusal(lambda: read_cryosparc("twice.cs"), 3)
    beyond = records(bench.fresh(), blob__idx=(4, 4_000_000_000))
    assert "image 4000000001 of" in refusal(lambda: read_cryosparc(beyond, images="open"), 3)
    stack_file = far_away(bench)
    away = records_outside(os.path.relpath(stack_file))
    with pytest.warns(CryowalkWarning, match="outside the project"):
        assert read_cryosparc(away, images="open").images.count == 12
    assert "confined to" in refusal(lambda: read_cryosparc(away, images="open", confine=Path.cwd()), 5)
    assert "confined to" in bench.cli("reconstruct", "--i", away, "--o", "refused", "--confine", code=5)


def records_outside(name: str) -> Path:
    """The records beside, with a stack of that name."""
    from cryowalk.io.cryosparc_writer import write_cryosparc

    text = Path("particles.star").read_text().replace("@particles.mrcs", f"@{name}")
    Path("p.star").write_text(text)
    write_cryosparc(read_quietly("p.star"), "away.cs")
    made = np.load("away.cs", allow_pickle=False)
    fields = [(n, f"S{len(name) + 2}") if n == "blob/path" else (n, made.dtype[n]) for n in made.dtype.names]
    wide = np.empty(len(made), dtype=fields)
    for field in made.dtype.names:
        wide[field] = name.encode() if field == "blob/path" else made[field]
    np.save("away.npy", wide, allow_pickle=False)
    return Path("away.npy").rename("away.cs")


@row(65, ".cs and passthrough that do not belong together")
def _(bench: Bench) -> None:
    path = records(bench.fresh())
    made = np.load(path, allow_pickle=False)
    np.save("rest.npy", made[["uid"]][2:], allow_pickle=False)
    Path("rest.npy").rename("rest.cs")
    text = refusal(lambda: read_cryosparc(path, passthrough=["rest.cs"]), 3)
    assert "2 of 12 particles" in text
    assert all(str(uid) in text for uid in made["uid"][:2].tolist())
    assert "rest.cs" in text
