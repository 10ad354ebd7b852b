"""select, merge, split and stack as commands: no column, order or digit is lost, nothing is overwritten without a word."""

import pickle
import shutil
import subprocess

import numpy as np
import pytest
import torch

from cryowalk.cli.main import exit_code
from cryowalk.io.cryosparc_records import read_records, write_records
from cryowalk.io.mrc import read_array, write_array
from cryowalk.io.star import StarBlock, StarFile, read_star, write_star

OPTICS = {
    "rlnOpticsGroupName": ("one", "two"),
    "rlnOpticsGroup": ("1", "2"),
    "rlnVoltage": ("300.0", "300.0"),
    "rlnSphericalAberration": ("2.7", "2.7"),
    "rlnAmplitudeContrast": ("0.1", "0.1"),
    "rlnImagePixelSize": ("1.70", "1.70"),
    "rlnOwnOptics": ("007", "1e3"),
}
ROWS = 12


def particles(name="a", rows=ROWS, **changes):
    return {
        "rlnUnknownText": tuple(("007", "1e3", "a b", "", "it's")[row % 5] for row in range(rows)),
        "rlnImageName": tuple(f"{row + 1:06d}@{name}.mrcs" for row in range(rows)),
        "rlnMicrographName": tuple(f"mic{row // 3}.mrc" for row in range(rows)),
        "rlnDefocusU": tuple(f"{10000 + 500 * row}.50" for row in range(rows)),
        "rlnClassNumber": tuple(str(row % 4 + 1) for row in range(rows)),
        "rlnRandomSubset": tuple(str(row % 2 + 1) for row in range(rows)),
        "rlnOpticsGroup": tuple(str(row % 2 + 1) for row in range(rows)),
        **changes,
    }


def table(path, columns=None, *, optics=OPTICS, block="particles"):
    blocks = [
        *([] if optics is None else [StarBlock(name="optics", columns=optics)]),
        StarBlock(name=block, columns=columns or particles()),
    ]
    write_star(StarFile(blocks=tuple(blocks)), path)
    return path


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    table(tmp_path / "a.star")
    for number, name in enumerate("ab"):
        write_array(
            np.random.default_rng(number).normal(size=(ROWS, 8, 8)).astype(np.float32),
            f"{name}.mrcs",
            voxel_size=1.7,
            kind="images",
        )
    return tmp_path


def run(*words):
    return exit_code([*map(str, words), "--quiet"])


def rows_of(path, block="particles"):
    found = read_star(path)[block].columns
    return [dict(zip(found, values, strict=True)) for values in zip(*found.values(), strict=True)]


@pytest.mark.parametrize(
    ("words", "kept"),
    [
        (["--where", "rlnDefocusU < 11000 or rlnClassNumber in (4)"], [0, 1, 3, 7, 11]),
        (["--where", "rlnMicrographName like 'mic[01].mrc' and rlnUnknownText != ''"], [0, 1, 2, 4, 5]),
        (["--classes", "1,3-4"], [0, 2, 3, 4, 6, 7, 8, 10, 11]),
        (["--first", "2"], [0, 1]),
        (["--last", "2"], [10, 11]),
        (["--last", "2", "--invert"], list(range(10))),
        (["--classes", "1", "--where", "rlnDefocusU > 11000", "--first", "1"], [4]),
        (["--indices", "rows.txt"], [0, 3, 11]),
        (["--ind", "rows.npy"], [0, 3, 11]),
        (["--ind", "mask.npy"], [0, 3, 11]),
        (["--ind", "rows.pkl"], [0, 3, 11]),
        (["--ind", "rows.txt", "--invert"], [1, 2, 4, 5, 6, 7, 8, 9, 10]),
    ],
)
def test_select_keeps_whole_rows_in_their_order(folder, words, kept):
    (folder / "rows.txt").write_text("11, 3 # last\n0\n3\n")
    np.save("rows.npy", np.array([11, 3, 0, 3]))
    np.save("mask.npy", np.isin(np.arange(ROWS), [0, 3, 11]))
    (folder / "rows.pkl").write_bytes(pickle.dumps(np.array([11, 3, 0])))
    assert run("select", "--i", "a.star", "--o", "o.star", *words) == 0
    before, after = read_star("a.star"), read_star("o.star")
    assert after["optics"].columns == before["optics"].columns
    assert list(after["particles"].columns) == list(before["particles"].columns)
    every = rows_of("a.star")
    assert rows_of("o.star") == [every[row] for row in kept]


def test_random_rows_are_those_of_the_seed(folder):
    for name, seed in (("x", 1), ("y", 1), ("z", 2)):
        assert run("select", "--i", "a.star", "--o", f"{name}.star", "--random", 5, "--seed", seed) == 0
    x, y, z = (read_star(f"{name}.star")["particles"].columns["rlnImageName"] for name in "xyz")
    assert x == y != z
    assert len(set(x)) == 5
    assert list(x) == sorted(x)
    assert run("select", "--i", "a.star", "--o", "half.star", "--random", 0.5) == 0
    assert run("select", "--i", "a.star", "--o", "other.star", "--random", 0.5, "--invert") == 0
    both = [read_star(f"{name}.star")["particles"].columns["rlnImageName"] for name in ("half", "other")]
    assert sorted(both[0] + both[1]) == sorted(read_star("a.star")["particles"].columns["rlnImageName"])
    assert len(both[0]) == 6


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["--where", "rlnDefocusU <"], 2, "stands where a column"),
        (["--where", "rlnDefocus < 3"], 2, "is no column of the table"),
        (["--where", "rlnDefocusU < 3"], 3, "none of 12 rows is left"),
        (["--classes", "5"], 2, "there is no class 5"),
        (["--first", "2", "--last", "2"], 2, "--first and --last were both given"),
        (["--first", "13"], 2, "more than there are: 12 rows"),
        (["--random", "2.5"], 2, "neither a number of rows nor a share"),
        (["--indices", "beyond.txt"], 3, "row 12 is named, the table has rows 0 to 11"),
        (["--indices", "words.txt"], 3, "words.txt, line 2: “x” is no row"),
        (["--indices", "real.npy"], 3, "expected"),
        (["--indices", "short.npy"], 3, "3 truth values, the table 12 rows"),
        (["--indices", "objects.npy"], 5, "pickled objects"),
        (["--indices", "evil.pkl"], 5, ""),
        (["--indices", "cut.npy"], 3, "cannot be read"),
        (["--indices", "ragged.pkl"], 3, "no list of rows"),
        (["--indices", "words.pkl"], 3, "a list of whole numbers"),
        (["--indices", "none.txt"], 3, "no such file"),
        (["--o", "o.cs", "--first", "2"], 2, "ends in .star"),
        (["--o", "a.star", "--first", "2"], 2, "input and output are the same file"),
    ],
)
def test_selections_that_cannot_be_meant_are_refused(folder, capsys, words, code, told):
    (folder / "beyond.txt").write_text("12")
    (folder / "words.txt").write_text("1\nx\n")
    np.save("real.npy", np.array([1.5]))
    np.save("short.npy", np.array([True, False, True]))
    np.save("objects.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    (folder / "evil.pkl").write_bytes(b"cos\nsystem\n(S'touch evil'\ntR.")
    (folder / "cut.npy").write_bytes((folder / "short.npy").read_bytes()[:90])
    (folder / "ragged.pkl").write_bytes(pickle.dumps([[1], [2, 3]]))
    (folder / "words.pkl").write_bytes(pickle.dumps(["a", "b"]))
    before = (folder / "a.star").read_bytes()
    assert run("select", "--i", "a.star", *([] if "--o" in words else ["--o", "o.star"]), *words) == code
    error = capsys.readouterr().err
    assert told.lower() in error.lower()
    assert "Traceback" not in error
    assert not (folder / "o.star").exists()
    assert not (folder / "evil").exists()
    assert (folder / "a.star").read_bytes() == before


@pytest.mark.parametrize(
    "words",
    [
        ["select", "--i", "a.star", "--first", "2", "--o", "old.star"],
        ["merge", "--i", "a.star", "b.star", "--o", "old.star"],
        ["split", "--i", "a.star", "--parts", "2", "--o", "old.star"],
        ["stack", "--i", "a.star", "--o", "old.star"],
        ["stack", "--i", "a.mrcs", "b.mrcs", "--o", "old.mrcs"],
        ["flip-hand", "--i", "v.mrc", "--o", "old.mrc"],
        ["mask", "--i", "v.mrc", "--radius", "4", "--o", "old.mrc"],
    ],
)
def test_a_file_that_is_there_is_left_unless_it_may_be_overwritten(folder, capsys, words):
    table(folder / "b.star", particles("b"))
    write_array(np.random.default_rng(1).normal(size=(8, 8, 8)).astype(np.float32), "v.mrc", voxel_size=1.7)
    old = [folder / name for name in ("old.star", "old_split1.star", "old.mrcs", "old.mrc")]
    for path in old:
        path.write_text("mine")
    assert run(*words) == 6
    assert "is there already" in capsys.readouterr().err
    assert {path.read_text() for path in old} == {"mine"}
    assert run(*words, "--overwrite") == 0
    assert any(path.read_bytes() != b"mine" for path in old)
    assert not list(folder.glob(".*.partial"))


def test_select_takes_micrographs_movies_and_records(folder):
    table(
        folder / "m.star", {"rlnMicrographName": ("x", "y", "z"), "rlnCtfMaxResolution": ("4.0", "inf", "6")}, block="micrographs"
    )
    assert run("select", "--i", "m.star", "--where", "rlnCtfMaxResolution < 5", "--o", "m2.star") == 0
    assert rows_of("m2.star", "micrographs") == [{"rlnMicrographName": "x", "rlnCtfMaxResolution": "4.0"}]
    records = np.zeros(
        5,
        dtype=[
            ("uid", "<u8"),
            ("blob/path", "S20"),
            ("ctf/df1_A", "<f4"),
            ("alignments3D/shift", "<f4", (2,)),
            ("alignments3D/class", "<u4"),
        ],
    )
    records["uid"], records["ctf/df1_A"] = [2**63 + k for k in range(5)], [1e4, 2e4, 3e4, 4e4, 5e4]
    records["alignments3D/shift"][:, 1] = range(5)
    records["alignments3D/class"] = [0, 1, 0, 1, 2]
    records["blob/path"] = [b"J1/a.mrc", b"J1/b.mrc", b"J1/a.mrc", b"J1/c.mrc", b"J1/a.mrc"]
    write_records(records, "p.cs")
    for words, kept in (
        (["--where", "ctf/df1_A >= 20000 and alignments3D/shift[1] in (1..3)"], [1, 2, 3]),
        (["--where", "blob/path like '*a.mrc'"], [0, 2, 4]),
        (["--classes", "0-1"], [0, 1, 2, 3]),
    ):
        assert run("select", "--i", "p.cs", "--o", "q.cs", "--overwrite", *words) == 0
        assert read_records("q.cs").tobytes() == records[kept].tobytes()
    assert run("select", "--i", "p.cs", "--o", "q.star", "--first", "2") == 2
    assert run("split", "--i", "p.cs", "--by", "blob/path", "--o", "s.cs") == 0
    assert run("merge", "--i", "s_J1_a.mrc.cs", "s_J1_b.mrc.cs", "s_J1_c.mrc.cs", "--o", "t.cs") == 0
    assert sorted(read_records("t.cs")["uid"]) == sorted(records["uid"])


def test_a_selection_in_another_folder_leads_to_the_same_images(folder):
    (folder / "sub").mkdir()
    (folder / "elsewhere").mkdir()
    for name in ("a.star", "a.mrcs"):
        shutil.move(name, folder / "sub" / name)
    assert run("select", "--i", "sub/a.star", "--first", "2", "--o", "elsewhere/o.star") == 0
    (names,) = {name.partition("@")[2] for name in read_star("elsewhere/o.star")["particles"].columns["rlnImageName"]}
    assert (folder / names).samefile("sub/a.mrcs")
    assert (
        read_star("elsewhere/o.star")["particles"].columns["rlnMicrographName"] == ("mic0.mrc",) * 2
    )  # is not there: keeps its name


def test_merge_keeps_groups_by_name_and_numbers_them_anew(folder):
    other = {label: column[::-1] for label, column in OPTICS.items()} | {
        "rlnOpticsGroupName": ("three", "one"),
        "rlnOwnOptics": ("x", "007"),
    }
    other |= {"rlnVoltage": ("200", "300"), "rlnOpticsGroup": ("7", "3")}
    columns = particles("b", rlnOpticsGroup=tuple(("7", "3")[row % 2] for row in range(ROWS)))
    table(folder / "b.star", dict(reversed(columns.items())), optics=other)
    assert run("merge", "--i", "a.star", "b.star", "--o", "m.star") == 0
    merged = read_star("m.star")
    assert merged["optics"].columns["rlnOpticsGroupName"] == ("one", "two", "three")
    assert merged["optics"].columns["rlnOpticsGroup"] == ("1", "2", "3")
    assert merged["optics"].columns["rlnVoltage"] == ("300.0", "300.0", "200")
    table_ = merged["particles"].columns
    assert list(table_) == list(particles())
    assert table_["rlnOpticsGroup"] == tuple(("1", "2")[row % 2] for row in range(ROWS)) + tuple(
        ("3", "1")[row % 2] for row in range(ROWS)
    )
    for label in ("rlnUnknownText", "rlnImageName", "rlnDefocusU"):
        assert table_[label] == particles()[label] + columns[label]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"optics": {**OPTICS, "rlnVoltage": ("300", "200")}}, "optics group “two” has rlnVoltage 200 here and 300.0"),
        ({"optics": None}, "has optics groups and another has none"),
        ({"columns": {**particles("b"), "rlnAnglePsi": ("1",) * ROWS}}, "different columns: rlnAnglePsi"),
        ({"columns": {"rlnMicrographName": ("x",)}, "block": "micrographs"}, "data_micrographs, the first one data_particles"),
        ({"columns": particles("b", rlnOpticsGroup=("9",) * ROWS)}, "optics group 9 is not in the optics table"),
    ],
)
def test_tables_that_do_not_fit_are_not_merged(folder, capsys, change, told):
    table(folder / "b.star", **{"columns": particles("b"), **change})
    assert run("merge", "--i", "a.star", "b.star", "--o", "m.star") == 3
    assert told in capsys.readouterr().err
    assert not (folder / "m.star").exists()


def test_merge_of_common_columns_and_of_copies(folder, capsys):
    table(folder / "b.star", {**particles(), "rlnAnglePsi": ("1",) * ROWS})
    assert exit_code(["merge", "--i", "a.star", "b.star", "--o", "m.star", "--columns", "common"]) == 0
    told = capsys.readouterr()
    assert "left out, not in every table: rlnAnglePsi" in told.err
    assert "12 items are there twice" in told.err
    assert "m.star: 24 rows of 2 tables, 2 optics groups" in told.out
    assert run("merge", "--i", "a.star", "b.star", "--o", "n.star", "--columns", "common", "--copies", "remove") == 0
    assert rows_of("n.star") == rows_of("a.star")
    assert run("merge", "--i", "a.star", "b.star", "--o", "k.star", "--columns", "common", "--copies", "refuse") == 3
    assert "000001@a.mrcs" in capsys.readouterr().err
    assert run("merge", "--i", "a.star", "--o", "k.star") == 2


@pytest.mark.parametrize(
    ("words", "names", "sizes"),
    [
        (["--parts", "5"], ["split1", "split2", "split3", "split4", "split5"], [3, 3, 2, 2, 2]),
        (["--size", "5"], ["split1", "split2", "split3"], [5, 5, 2]),
        (["--size", "6"], ["split1", "split2"], [6, 6]),
        (["--by", "rlnMicrographName"], ["mic0.mrc", "mic1.mrc", "mic2.mrc", "mic3.mrc"], [3, 3, 3, 3]),
        (["--by", "rlnUnknownText"], ["007", "1e3", "a_b", "empty", "it_s"], [3, 3, 2, 2, 2]),
        (["--halves"], ["half1", "half2"], [6, 6]),
        (["--parts", "3", "--order", "random"], ["split1", "split2", "split3"], [4, 4, 4]),
    ],
)
def test_split_puts_every_row_into_one_part(folder, words, names, sizes):
    assert run("split", "--i", "a.star", "--o", "p.star", *words) == 0
    parts = [rows_of(f"p_{name}.star") for name in names]
    assert sorted(path.name for path in folder.glob("p_*")) == sorted(f"p_{name}.star" for name in names)
    assert [len(part) for part in parts] == sizes
    every = rows_of("a.star")
    assert sorted((row for part in parts for row in part), key=every.index) == every
    for part in parts:
        assert [every.index(row) for row in part] == sorted(every.index(row) for row in part)
    if words[0] == "--parts" and len(words) == 2:
        assert run("merge", "--i", *(f"p_{name}.star" for name in names), "--o", "whole.star") == 0
        assert (folder / "whole.star").read_bytes() == (folder / "a.star").read_bytes()


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        ([], 2, "it is not said how to split"),
        (["--parts", "2", "--size", "3"], 2, "--parts and --size were given"),
        (["--parts", "13"], 2, "12 rows cannot be split into 13 parts"),
        (["--by", "rlnNone"], 2, "no such column"),
    ],
)
def test_splits_that_cannot_be_meant_are_refused(folder, capsys, words, code, told):
    assert run("split", "--i", "a.star", "--o", "p.star", *words) == code
    assert told in capsys.readouterr().err
    assert not list(folder.glob("p_*"))


def test_half_sets_must_be_whole(folder, capsys):
    table(folder / "h.star", particles(rlnRandomSubset=("1", "2", "0") * 4))
    assert run("split", "--i", "h.star", "--o", "p.star", "--halves") == 3
    assert "4 rows in the first half, 4 in the second, 4 in neither" in capsys.readouterr().err


def test_stack_copies_the_images_of_a_table_in_its_order(folder):
    names = ("000003@b.mrcs", "000001@a.mrcs", "000003@b.mrcs")
    table(folder / "mixed.star", {label: column[:3] for label, column in particles().items()} | {"rlnImageName": names})
    (folder / "out").mkdir()
    assert run("stack", "--i", "mixed.star", "--o", "out/new.star") == 0
    a, b, new = read_array("a.mrcs"), read_array("b.mrcs"), read_array("out/new.mrcs")
    np.testing.assert_array_equal(new, np.stack([b[2], a[0], b[2]]))
    rows = read_star("out/new.star")["particles"].columns
    assert rows["rlnImageName"] == tuple(f"{k:06d}@out/new.mrcs" for k in (1, 2, 3))
    assert rows["rlnImageOriginalName"] == names
    assert rows["rlnUnknownText"] == particles()["rlnUnknownText"][:3]
    assert run("validate", "out/new.mrcs") == 0


def test_stack_joins_stacks_and_takes_some(folder):
    assert run("stack", "--i", "a.mrcs", "b.mrcs", "--o", "ab.mrcs") == 0
    whole = np.concatenate([read_array("a.mrcs"), read_array("b.mrcs")])
    np.testing.assert_array_equal(read_array("ab.mrcs"), whole)
    (folder / "rows.txt").write_text("0 13 23")
    assert run("stack", "--i", "a.mrcs", "b.mrcs", "--o", "some.mrcs", "--ind", "rows.txt", "--mode", "float16") == 0
    np.testing.assert_array_equal(read_array("some.mrcs"), whole[[0, 13, 23]].astype(np.float16).astype(np.float32))


def test_stack_refuses_images_that_do_not_fit(folder, capsys):
    write_array(np.zeros((2, 6, 6), np.float32) + np.eye(6, dtype=np.float32), "small.mrcs", voxel_size=1.7, kind="images")
    write_array(np.zeros((2, 8, 8), np.float32) + np.eye(8, dtype=np.float32), "other.mrcs", voxel_size=2.0, kind="images")
    for name, told in (("small.mrcs", "the images are (6, 6) px"), ("other.mrcs", "the pixel size is 2 Å")):
        assert run("stack", "--i", "a.mrcs", name, "--o", "x.mrcs") == 3
        assert told in capsys.readouterr().err
    assert run("stack", "--i", "a.mrcs", "other.mrcs", "--o", "x.mrcs", "--pixel-size", "1.7") == 0
    assert run("stack", "--i", "a.mrcs", "a.star", "--o", "y.mrcs") == 2


def test_moved_stacks_are_found_again(folder, capsys):
    (folder / "Extract" / "job1").mkdir(parents=True)
    (folder / "store" / "deep" / "job1").mkdir(parents=True)
    (folder / "store" / "job2").mkdir()
    table(folder / "t.star", particles("Extract/job1/s"))
    shutil.copy("a.mrcs", "store/deep/job1/s.mrcs")
    assert run("stack", "--i", "t.star", "--o", "n.star", "--images", "keep") == 3
    assert "1 files are not there: Extract/job1/s.mrcs" in capsys.readouterr().err
    assert run("stack", "--i", "t.star", "--o", "n.star", "--images", "keep", "--relink", "Extract/=store/deep/") == 0
    shutil.copy("b.mrcs", "store/job2/s.mrcs")  # shares fewer folders with the lost one
    assert run("stack", "--i", "t.star", "--o", "f.star", "--images", "keep", "--search", "store") == 0
    for name in ("n.star", "f.star"):
        assert read_star(name)["particles"].columns["rlnImageName"][0] == "000001@store/deep/job1/s.mrcs"
        assert read_star(name)["particles"].columns["rlnDefocusU"] == particles()["rlnDefocusU"]
    (folder / "store" / "other" / "job1").mkdir(parents=True)
    shutil.copy("b.mrcs", "store/other/job1/s.mrcs")
    assert run("stack", "--i", "t.star", "--o", "g.star", "--images", "keep", "--search", "store") == 3
    assert "2 files could be Extract/job1/s.mrcs" in capsys.readouterr().err
    assert run("stack", "--i", "t.star", "--o", "g.star", "--relink", "nonsense") == 2


@pytest.mark.agreement
def test_relion_merges_splits_and_selects_alike(folder):
    program = shutil.which("relion_star_handler")
    if program is None:
        pytest.skip("RELION is not installed (on Debian: apt-get install relion)")

    def relion(*words, check=True):
        subprocess.run([program, *map(str, words)], check=check, capture_output=True)

    # RELION 3.1.3 keeps no quotes about texts, and numbers optics groups by their place
    plain = {label: column for label, column in particles().items() if label != "rlnUnknownText"}
    optics = {label: column for label, column in OPTICS.items() if label != "rlnOwnOptics"}
    table(folder / "a.star", plain, optics=optics)
    table(
        folder / "b.star",
        plain | {"rlnImageName": particles("b")["rlnImageName"]},
        optics=optics | {"rlnOpticsGroupName": ("two", "three")},
    )

    def same(ours, theirs):
        one, other = (read_star(path) for path in (ours, theirs))
        names = dict(zip(one["optics"].columns["rlnOpticsGroup"], one["optics"].columns["rlnOpticsGroupName"], strict=True))
        others = dict(zip(other["optics"].columns["rlnOpticsGroup"], other["optics"].columns["rlnOpticsGroupName"], strict=True))
        assert one["particles"].columns["rlnImageName"] == other["particles"].columns["rlnImageName"]
        assert [names[g] for g in one["particles"].columns["rlnOpticsGroup"]] == [
            others[g] for g in other["particles"].columns["rlnOpticsGroup"]
        ]
        for label in ("rlnDefocusU", "rlnClassNumber"):
            assert list(map(float, one["particles"].columns[label])) == list(map(float, other["particles"].columns[label]))

    assert run("merge", "--i", "a.star", "b.star", "--o", "m.star") == 0
    relion("--combine", "--i", "a.star b.star", "--o", "rm.star")
    same("m.star", "rm.star")
    assert run("select", "--i", "a.star", "--where", "rlnDefocusU in (11000..13000)", "--o", "s.star") == 0
    relion("--i", "a.star", "--o", "rs.star", "--select", "rlnDefocusU", "--minval", 11000, "--maxval", 13000)
    same("s.star", "rs.star")
    for parts in (3, 4):  # where rows do not go up evenly, RELION makes the last part short, we make parts that differ by one
        assert run("split", "--i", "a.star", "--parts", parts, "--o", f"p{parts}.star") == 0
        # RELION 3.1.3 writes the parts, and then fails to write its list of outputs
        relion("--i", "a.star", "--o", f"rp{parts}.star", "--split", "--nr_split", parts, check=False)
        for part in range(1, parts + 1):
            same(f"p{parts}_split{part}.star", f"rp{parts}_split{part}.star")
    relion("--i", "m.star", "--o", "again.star", "--select", "rlnClassNumber", "--minval", 1, "--maxval", 9)
    assert len(read_star("again.star")["particles"]) == 2 * ROWS


@pytest.mark.agreement
def test_starfile_reads_what_select_and_merge_write(folder):
    starfile = pytest.importorskip("starfile")
    table(folder / "b.star", particles("b"))
    assert run("merge", "--i", "a.star", "b.star", "--o", "m.star") == 0
    assert run("select", "--i", "m.star", "--where", "rlnClassNumber = 2", "--o", "s.star") == 0
    frames = {name: starfile.read(f"{name}.star", always_dict=True)["particles"] for name in "abms"}
    assert list(frames["m"]["rlnImageName"]) == [*frames["a"]["rlnImageName"], *frames["b"]["rlnImageName"]]
    chosen = frames["m"][frames["m"]["rlnClassNumber"] == 2].reset_index(drop=True)
    assert chosen.equals(frames["s"].reset_index(drop=True))


@pytest.mark.agreement
def test_real_tables_are_split_and_merged_without_a_change(folder, real_data):
    source = real_data / "betagal_10204" / "particles_with_relion_poses.star"
    assert run("split", "--i", source, "--parts", 4, "--o", "p.star") == 0
    assert run("merge", "--i", *(f"p_split{k}.star" for k in (1, 2, 3, 4)), "--o", "m.star") == 0
    before, after = read_star(source), read_star("m.star")
    for block in ("optics", "particles"):
        assert list(after[block].columns) == list(before[block].columns)
        for label, column in before[block].columns.items():
            if label not in ("rlnImageName", "rlnMicrographName"):
                assert after[block].columns[label] == column
    assert len(after["particles"]) == 559
    records = read_records(real_data / "interop" / "cryosparc_P12_J24_001_particles.cs")
    assert (
        run(
            "select",
            "--i",
            real_data / "interop" / "cryosparc_P12_J24_001_particles.cs",
            "--where",
            "ctf/df1_A < 20000",
            "--o",
            "q.cs",
        )
        == 0
    )
    assert read_records("q.cs").tobytes() == records[records["ctf/df1_A"] < 20000].tobytes()


def test_torch_is_not_needed_to_select_by_expression():
    words = (
        "from cryowalk.io import tables, table_rows, table_expressions, relinking; import sys; assert 'torch' not in sys.modules"
    )
    import sys

    assert subprocess.run([sys.executable, "-c", words], check=False).returncode == 0
    assert torch.is_tensor(torch.zeros(1))
