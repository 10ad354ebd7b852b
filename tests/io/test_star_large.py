"""Large STAR tables, whose rows stay bytes, against the plain reading of the same text."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cryowalk.core.errors import InputError
from cryowalk.io import star_numbers, star_parser, star_writer
from cryowalk.io.star import StarBlock, StarFile, format_star, parse_star, read_star, write_star
from cryowalk.io.star_columns import LargeColumns, concatenated
from cryowalk.io.star_numbers import numbers
from cryowalk.io.star_parser import Parser

LOOP = "data_x\n\nloop_\n_a #1\n_b #2\n"
ODD = (
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
    "ünï",
    "a\tb",
    "NaN",
    'a"',
)


@pytest.fixture
def large(monkeypatch):
    """Every loop, of any length, is split by compiled code, and put together by it."""
    monkeypatch.setattr(star_parser, "LARGE", -64)
    monkeypatch.setattr(star_writer, "_MANY", 0)


def both(text: str):
    """What the plain and the compiled reading make of a text: blocks, or the error's message."""
    found = []
    for size in (star_parser.LARGE, -64):
        try:
            found.append(
                [
                    (one.name, dict(one.values), dict(one.columns), one.comments, list(one.row_lines))
                    for one in Parser(text.encode(), None, large=size).blocks()
                ]
            )
        except InputError as error:
            found.append(str(error))
    return found


@pytest.mark.parametrize(
    "rows",
    [
        "1 2\n3 4\n",
        "\t1\t2\t\n \n  3    4   \n\n\n",
        "1 2",
        "# top\n1 2 # tail\n# between\n3 '4'\n",
        "1 'a b'\n\"it's\" ''\n",
        "1 2\ndata_y\n_c 1\n",
        "1 2\nDATA_y\nloop_\n_c\n5\n",
        "1 2\nloop_\n_c\n1\n",
        "1 2\n_c 5\n",
        "1 2\n  _d 5\n",
        "dat 2\nlo_ 4\nstop 5\n",
        "1 ;x\n ;y 2\n",
        "1 2\n3\n",
        "1 2 3\n",
        "1 'a b\n",
        "1 'a'b\n",
        "';x' 2\n;x 3\n",
        "é 'ü é'\n",
        "",
        "\n\n#\n",
        "1 2\nstop_\n",
        "_ 2\n_9 3\n",
    ],
)
def test_compiled_reading_is_the_plain_one(rows):
    plain, compiled = both(LOOP + rows)
    assert plain == compiled


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.text(alphabet=" \t\n'\"#;_$abdlopt1.é\x0b", max_size=60))
def test_compiled_reading_is_the_plain_one_whatever_the_text(rows):
    plain, compiled = both(LOOP + rows)
    assert plain == compiled


def test_values_stay_the_text_they_are(large, tmp_path):
    block = StarBlock(name="particles", columns={"rlnA": ODD, "rlnB": ODD[::-1]}, comments=("# version 50001",))
    write_star([block], tmp_path / "a.star")
    back = read_star(tmp_path / "a.star")["particles"]
    assert isinstance(back.columns, LargeColumns)
    assert back.columns == block.columns
    assert format_star([back]) == (tmp_path / "a.star").read_text()
    turned = back.only(("rlnB", "rlnA"))  # values that were not the first of their line must be quoted when they are
    assert parse_star(format_star([turned]))["particles"].columns == {"rlnB": ODD[::-1], "rlnA": ODD}
    changed = back.with_columns({"rlnA": ODD[::-1], "rlnC": ODD})
    assert parse_star(format_star([changed]))["particles"].columns == {"rlnA": ODD[::-1], "rlnB": ODD[::-1], "rlnC": ODD}


def test_untouched_rows_are_written_as_they_were(large):
    rows = "  007   'a b'  # why\n\t1e3 ;y\n"
    text = "\ndata_x\n\nloop_\n_a #1\n_b #2\n" + rows + "\n"
    assert format_star(parse_star(text)) == text
    last = parse_star(text)["x"].take(np.array([1]))
    assert "\n\t1e3 ;y\n" in format_star([last])
    assert last.line_of(0) == 8


@pytest.mark.parametrize("size", [-64, 2**24])
def test_rows_are_taken_in_the_order_asked_for(size):
    text = LOOP + "1 2\n\n3 'a b'\n5 6\n"
    block = StarBlock(
        **{name: getattr(Parser(text.encode(), None, large=size).blocks()[0], name) for name in ("name", "columns", "row_lines")}
    )
    chosen = block.take(np.array([2, 0, 0]))
    assert chosen.columns == {"a": ("5", "1", "1"), "b": ("6", "2", "2")}
    assert [chosen.line_of(row) for row in range(3)] == [9, 6, 6]
    assert len(chosen) == 3
    assert len(block.take(np.array([], dtype=int))) == 0


def test_tables_are_put_behind_each_other(large):
    first = parse_star(LOOP + "1 2\n3 'a b'\n")["x"].columns
    second = parse_star("data_x\nloop_\n_b\n_a\nx 'y z'\n")["x"].columns
    joined = concatenated([first, second, second.with_columns({"a": ("q",)})])
    assert joined == {"a": ("1", "3", "y z", "q"), "b": ("2", "a b", "x", "x")}
    assert parse_star(format_star([StarBlock(name="x", columns=joined)]))["x"].columns == joined


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.one_of(
            st.floats(allow_nan=False, allow_infinity=False).map(repr),
            st.floats(-1e9, 1e9).map(lambda x: f"{x:.6f}"),
            st.integers(-(10**20), 10**20).map(str),
            st.from_regex(r"\A[+-]?[0-9]{0,20}\.?[0-9]{0,20}(?:[eE][+-]?[0-9]{1,2})?\Z").filter(
                lambda t: any(c.isdigit() for c in t.split("e")[0].split("E")[0])
            ),
        ),
        min_size=1,
        max_size=20,
    )
)
def test_numbers_are_the_nearest_in_double_precision(texts):
    text = "data_x\nloop_\n_a\n" + "\n".join(texts) + "\n"
    block = StarBlock(name="x", columns=Parser(text.encode(), None, large=-64).blocks()[0].columns)
    plain = block.columns.numbers("a")
    expected = np.array(list(map(float, texts)))
    told = ~np.isnan(plain)
    np.testing.assert_array_equal(plain[told], expected[told])
    assert (np.signbit(plain[told]) == np.signbit(expected[told])).all()
    np.testing.assert_array_equal(numbers(block, "a", path=None, low=-1e400, high=1e400), expected)


@pytest.mark.parametrize("wrong", ["1,5", "1_0", "abc", "nan", "1e", "--1", ".", "1e99"])
def test_what_is_no_number_is_told_with_its_line(large, wrong):
    text = "data_x\nloop_\n_a\n1.5\n" + wrong + "\n"
    with pytest.raises(InputError, match=r"line 5: a is") as caught:
        numbers(parse_star(text)["x"], "a", path=Path("t.star"))
    assert caught.value.exit_code == 3


def test_control_characters_are_refused_when_written(large, tmp_path):
    star = parse_star(LOOP + "1 \x1bx\n")
    assert star["x"].columns["b"] == ("\x1bx",)
    with pytest.raises(InputError, match="control character"):
        write_star(star, tmp_path / "a.star")


def test_columns_of_other_lengths_are_refused(large):
    block = parse_star(LOOP + "1 2\n")["x"]
    with pytest.raises(InputError, match="differ in length"):
        format_star([block.with_columns({"c": ("1", "2")})])


def test_values_longer_than_a_piece_are_written(large, monkeypatch):
    monkeypatch.setattr(star_writer, "_PIECE", 8)
    monkeypatch.setattr(star_writer, "_SPAN", 2)
    rows = "".join(f"{'x' * (7 * k)}y {k}\n" for k in range(9))
    star = parse_star(LOOP + rows)
    assert parse_star(format_star(star))["x"].columns == star["x"].columns
    turned = [star["x"].only(("b", "a"))]
    assert parse_star(format_star(turned))["x"].columns == dict(turned[0].columns)
    given_beside = [star["x"].with_columns({"c": tuple("z" * 50 for _ in range(9))})]
    assert parse_star(format_star(given_beside))["x"].columns == dict(given_beside[0].columns)


def test_every_real_table_is_read_alike_in_both_ways(real_data):
    from cryowalk.io.opening import read_content

    count = 0
    for path in sorted(real_data.rglob("*.star")):
        content = bytes(read_content(path)).replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        plain, compiled = (Parser(content, path, large=size).blocks() for size in (2**30, -64))
        for one, other in zip(plain, compiled, strict=True):
            assert (one.name, one.values, one.columns, list(one.row_lines)) == (
                other.name,
                other.values,
                other.columns,
                list(other.row_lines),
            )
            count += isinstance(other.columns, LargeColumns)
    assert count > 30


def test_a_file_with_a_large_loop_between_small_ones():
    rows = "".join(f"{k} {'x' * 40}\n" for k in range(3000))
    text = "data_o\nloop_\n_g\n1\n\n" + LOOP + rows + "\ndata_z\n_v 5\n"
    blocks = Parser(text.encode(), None, large=1024).blocks()
    assert [type(block.columns) for block in blocks] == [dict, LargeColumns, dict]
    assert blocks[1].columns["a"] == tuple(map(str, range(3000)))
    assert blocks[2].values == {"v": "5"}


def test_blocks_of_many_values_are_written_the_same(monkeypatch, tmp_path):
    star = StarFile(blocks=(StarBlock(name="x", columns={"a": ODD * 3, "b": ODD[::-1] * 3}),))
    plain = format_star(star)
    monkeypatch.setattr(star_writer, "_MANY", 0)
    assert format_star(star) == plain


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.one_of(st.floats(-1e6, 1e6), st.integers(-(10**9), 10**9).map(lambda k: k / 1e6 + 5e-7)), min_size=1, max_size=30
    ),
    st.integers(0, 8),
)
def test_many_numbers_are_written_as_few_are(values, digits):
    rounded = np.round(np.array(values), digits) + 0.0
    expected = tuple((f"%.{digits}f " * len(values) % tuple(rounded.tolist())).split())
    assert star_numbers._fixed_texts(rounded, digits) == expected


def test_numbers_too_large_for_the_compiled_writing_are_left_to_the_plain_one(monkeypatch):
    monkeypatch.setattr(star_numbers, "_MANY", 1)
    assert star_numbers.number_texts([1e15, -0.0, 2.5]) == ("1000000000000000.000000", "0.000000", "2.500000")
    assert star_numbers.number_texts([float("inf")]) == ("inf",)
    assert star_numbers.number_texts([-0.0000001, 12.3456785]) == ("0.000000", "12.345678")
