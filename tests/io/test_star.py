import gzip
import time
import warnings

import pytest

from cryowalk.core.errors import InputError
from cryowalk.io.star import StarBlock, StarFile, format_star, parse_star, read_star, write_star

LOOP = "data_x\n\nloop_\n_a #1\n_b #2\n"


def test_values_stay_the_text_they_are(tmp_path):
    odd = (
        "007",
        "1e3",
        "-0.0",
        "",
        "a b",
        "it's",
        '"q"',
        "#x",
        "_u",
        "data_1",
        "loop_",
        ";s",
        "$v",
        "[1,2]",
        "?",
        ".",
        "ünï",
        "a\tb",
        "NaN",
    )
    block = StarBlock(name="particles", columns={"rlnA": odd, "rlnB": odd[::-1]}, comments=("# version 50001",))
    single = StarBlock(name="general", values={"rlnC": "a 'b\" c", "rlnD": "", "rlnE": "1e3"})
    write_star([single, block], tmp_path / "a.star")
    back = read_star(tmp_path / "a.star")
    assert back["particles"].columns == block.columns
    assert list(back["particles"].columns) == ["rlnA", "rlnB"]
    assert back["particles"].comments == block.comments
    assert back["general"].values == single.values
    assert format_star(back) == (tmp_path / "a.star").read_text()


def test_a_block_may_hold_single_values_and_a_loop():
    star = parse_star("data_\n_one 1\n_two 'a b'\nloop_\n_a\n_b\n1 2\n3 4\n")
    assert star[""].values == {"one": "1", "two": "a b"}
    assert star[""].columns == {"a": ("1", "3"), "b": ("2", "4")}
    assert len(star[""]) == 2
    assert parse_star(format_star(star))[""].columns == star[""].columns


@pytest.mark.parametrize(
    "text",
    [
        LOOP + "1 2\n3 4\n",
        (LOOP + "1 2\n3 4\n").replace("\n", "\r\n"),
        (LOOP + "1 2\n3 4\n").replace("\n", "\r"),
        "\ufeff" + LOOP + "1 2\n3 4\n",
        LOOP + "\t1\t2\t\n \n  3    4   \n\n\n",
        LOOP + "1 2",
        "# top\n" + LOOP + "1 2 # tail\n# between\n3 '4'\n",
        LOOP.replace("#1", "").replace("loop_", "  LOOP_  ") + '1 "2"\n3 4\n',
    ],
)
def test_line_ends_tabs_marks_and_comments(tmp_path, text):
    (tmp_path / "a.star").write_bytes(text.encode())
    columns = read_star(tmp_path / "a.star")["x"].columns
    assert columns in ({"a": ("1", "3"), "b": ("2", "4")}, {"a": ("1",), "b": ("2",)})
    assert text == LOOP + "1 2" or len(columns["a"]) == 2
    (tmp_path / "a.star.gz").write_bytes(gzip.compress(text.encode()))
    assert read_star(tmp_path / "a.star.gz")["x"].columns == columns


def test_rows_know_their_lines():
    assert [parse_star(LOOP + "1 2\n3 4\n")["x"].line_of(row) for row in range(2)] == [6, 7]
    assert [parse_star(LOOP + "1 2\n\n3 4\n")["x"].line_of(row) for row in range(2)] == [6, 8]
    assert [parse_star(LOOP + "1 2\n# c\n3 'a b'\n")["x"].line_of(row) for row in range(2)] == [6, 8]
    assert StarBlock().line_of(0) is None


def test_an_empty_loop_has_no_rows():
    assert len(parse_star(LOOP)["x"]) == 0
    assert len(parse_star(LOOP + "data_y\nloop_\n_c\n1\n").blocks) == 2


def test_a_text_field_is_read():
    assert parse_star("data_\n_a\n;one\ntwo\n;\n_b 1\n")[""].values == {"a": "one\ntwo", "b": "1"}


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        (LOOP + "1 2\n3\n", 7, "the row has 1 value, the loop has 2 columns"),
        (LOOP + "1 2 3\n4\n", 6, "the row has 3 values"),
        (LOOP + "1 2\n3 4 5\n6 7\n", 7, "the row has 3 values"),
        (LOOP + "1 '2'\n3 '4' 5\n", 7, "the row has 3 values"),
        (LOOP + "1 'a b\n", 6, "a quote is opened and not closed"),
        (LOOP.replace("_b", "_a") + "1 2\n", 5, "stands twice"),
        ("data_x\n_a 1\n_a 2\n", 3, "stands twice"),
        ("data_x\n_a 1 2\n", 2, "has 2 values"),
        ("data_x\n_a\n", 2, "has 0 values"),
        ("hello\n", 1, "a block must begin with data_"),
        ("data_x\nstray row\n", 2, "neither a label, nor loop_"),
        ("data_x\nloop_\n1 2\n", 3, "loop_ has no labels"),
        (LOOP + "1 2\nloop_\n_c\n1\n", 7, "a second loop_"),
        (LOOP + "1 'x'\n;text\n;\n", 7, "text field"),
        ("data_x y\n", 1, "text follows the block's name"),
        ("data_x\n_a\n;never\n", 3, "has no end"),
    ],
)
def test_what_is_no_star_names_file_and_line(tmp_path, text, line, message):
    path = tmp_path / "bad.star"
    path.write_text(text)
    with pytest.raises(InputError, match=message) as caught:
        read_star(path)
    assert f"bad.star, line {line}:" in str(caught.value)
    assert caught.value.exit_code == 3


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "empty"),
        (b" \n\n", "empty"),
        (b"\x01\x00\x02", "binary"),
        (b"# only\n", "no data_ block"),
        (b"<!DOCTYPE html><p>", "HTML"),
        ("data_".encode("utf-16"), "UTF-16"),
    ],
)
def test_files_that_hold_no_table(tmp_path, content, message):
    (tmp_path / "bad.star").write_bytes(content)
    with pytest.raises(InputError, match=message) as caught:
        read_star(tmp_path / "bad.star")
    assert "bad.star" in str(caught.value)


def test_what_cannot_be_written_is_refused_and_the_old_file_stays(tmp_path):
    path = tmp_path / "a.star"
    path.write_text("old")
    for columns in (
        {"a": ("x\ny",)},
        {"a": ("\x1b[31m",)},
        {"a": ("both ' and \" here",)},
        {"a": ("1",), "b": ()},
        {"a b": ("1",)},
        {"": ("1",)},
    ):
        with pytest.raises(InputError, match=r"a\.star"):
            write_star([StarBlock(name="x", columns=columns)], path)
    with pytest.raises(InputError, match="cannot be named"):
        write_star([StarBlock(name="x y", columns={"a": ("1",)})], path)
    assert path.read_text() == "old"


def test_control_characters_are_escaped_in_messages():
    with pytest.raises(InputError) as caught:
        parse_star("data_x\n\x1b[31mrow\n")
    assert "\x1b" not in str(caught.value)
    assert "\\x1b[31mrow" in str(caught.value)


def test_blocks_are_found_by_name():
    star = parse_star("data_a\n_x 1\ndata_b\n_x 2\ndata_b\n_x 3\n")
    assert star["a"].values["x"] == "1"
    assert "a" in star
    assert "c" not in star
    for name, message in (("b", "more than one"), ("c", "no block")):
        with pytest.raises(InputError, match=message):
            star[name]


def test_bytes_that_are_no_utf8_survive(tmp_path):
    raw = b"data_x\n\nloop_\n_a #1\nm\xe9lange.mrc\n"
    (tmp_path / "a.star").write_bytes(raw)
    write_star(read_star(tmp_path / "a.star"), tmp_path / "b.star")
    assert b"m\xe9lange.mrc" in (tmp_path / "b.star").read_bytes()


def test_every_real_table_is_read_as_gemmi_reads_it_and_comes_back(real_data):
    import gemmi

    count = 0
    for path in sorted(real_data.rglob("*.star")):
        star = read_star(path)
        again = parse_star(format_star(star))
        for block, same, theirs in zip(star.blocks, again.blocks, gemmi.cif.read_file(str(path)), strict=True):
            assert (block.name, block.values, block.columns, block.comments) == (
                same.name,
                same.values,
                same.columns,
                same.comments,
            )
            assert block.name.lower() == theirs.name.strip("#").lower().strip() or block.name == ""
            for label, column in block.columns.items():
                assert column == tuple(
                    value if value in ".?" else gemmi.cif.as_string(value) for value in theirs.find_loop(f"_{label}")
                )
            for label, value in block.values.items():
                assert value == gemmi.cif.as_string(theirs.find_value(f"_{label}"))
        count += 1
    assert count > 40


def test_starfile_reads_the_same_table(tmp_path):
    starfile = pytest.importorskip("starfile")
    columns = {"rlnA": ("a b", "c", "d"), "rlnB": ("1.5", "2.5", "3.5")}
    write_star(
        [StarBlock(name="optics", columns={"rlnC": ("1", "2")}), StarBlock(name="particles", columns=columns)],
        tmp_path / "a.star",
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tables = starfile.read(tmp_path / "a.star")
    assert list(tables) == ["optics", "particles"]
    assert tuple(tables["particles"]["rlnA"]) == columns["rlnA"]
    assert tables["particles"]["rlnB"].tolist() == [1.5, 2.5, 3.5]


def test_a_large_table_is_read_and_written_fast(tmp_path):
    """20,000 rows × 25 columns; on two idle cores 100,000 rows take some 0.4 s each way, so 2 s here is a tenfold margin for a busy machine."""
    rows = 20_000
    columns = {f"rlnC{i}": tuple(f"{(i * 7919 + row) % 9973 / 7:.6f}" for row in range(rows)) for i in range(24)}
    columns["rlnImageName"] = tuple(f"{row + 1:06d}@Extract/job007/a.mrcs" for row in range(rows))
    star = StarFile(blocks=(StarBlock(name="particles", columns=columns),))
    start = time.process_time()
    write_star(star, tmp_path / "a.star")
    assert read_star(tmp_path / "a.star")["particles"].columns == columns
    assert time.process_time() - start < 2
