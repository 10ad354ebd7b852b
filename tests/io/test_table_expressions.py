"""Expressions over columns: what they mean, what is refused, and that nothing in them is ever run."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cryowalk.core.errors import UsageError
from cryowalk.io.table_expressions import DEEPEST, rows_where

U = np.array([8000.0, 12000.0, 15000.0, 15000.0, np.nan])
V = np.array([7000.0, 12500.0, 14000.0, 16000.0, 1.0])
CLASS = np.array([1.0, 2.0, 3.0, 4.0, 5.0])
NAME = ("mic_001.mrc", "mic_002.mrc", "other 3.mrc", "MIC_004.mrc", "")


class Table:
    labels = ("rlnDefocusU", "rlnDefocusV", "rlnClassNumber", "rlnMicrographName", "ctf/df1_A", "alignments3D/shift[0]")

    def numbers(self, label):
        return {"rlnDefocusU": U, "rlnDefocusV": V, "rlnClassNumber": CLASS, "ctf/df1_A": U, "alignments3D/shift[0]": V}[label]

    def texts(self, label):
        return NAME if label == "rlnMicrographName" else tuple(f"{value:g}" for value in self.numbers(label))

    def is_numeric(self, label):
        return label != "rlnMicrographName"


def rows(expression):
    return np.flatnonzero(rows_where(expression, Table())).tolist()


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("rlnDefocusU < 15000", [0, 1]),
        ("15000>rlnDefocusU", [0, 1]),
        ("rlnDefocusU <= 1.5e4", [0, 1, 2, 3]),
        ("rlnDefocusU != 15000", [0, 1, 4]),
        ("rlnDefocusU = 15000 and rlnClassNumber == 4", [3]),
        ("10000 < rlnDefocusU <= 15000", [1, 2, 3]),
        ("1 < rlnClassNumber < rlnDefocusV", [1, 2, 3]),
        ("rlnClassNumber in (1, 3..4)", [0, 2, 3]),
        ("rlnClassNumber in (1.5..2.5)", [1]),
        ("rlnClassNumber in (-1 .. 1)", [0]),
        ("rlnClassNumber not in (1,3..4)", [1, 4]),
        ("rlnDefocusU in (15000)", [2, 3]),
        ("not rlnClassNumber > 2", [0, 1]),
        ("not not rlnClassNumber > 2", [2, 3, 4]),
        ("rlnClassNumber = 1 or rlnClassNumber = 2 and rlnDefocusU < 0", [0]),
        ("(rlnClassNumber = 1 or rlnClassNumber = 2) and rlnDefocusU > 10000", [1]),
        ("NOT rlnClassNumber = 1 AND rlnClassNumber < 3", [1]),
        ("rlnMicrographName == 'other 3.mrc'", [2]),
        ('rlnMicrographName != "other 3.mrc"', [0, 1, 3, 4]),
        ("rlnMicrographName in ('', 'mic_001.mrc')", [0, 4]),
        ("rlnMicrographName like 'mic_*'", [0, 1]),
        ("rlnMicrographName like 'mic_00[13].mrc'", [0]),
        ("rlnMicrographName not like 'mic_00?.mrc'", [2, 3, 4]),
        ("rlnMicrographName matches '(?i)mic_00[2-4]'", [1, 3]),
        ("rlnMicrographName matches '^$'", [4]),
        ("rlnMicrographName == rlnMicrographName", [0, 1, 2, 3, 4]),
        ("rlnClassNumber == '3'", [2]),
        ("rlnClassNumber like '[12]'", [0, 1]),
        ("abs(rlnDefocusU - rlnDefocusV) <= 1000", [0, 1, 2, 3]),
        ("(rlnDefocusU + rlnDefocusV) / 2 < 10000", [0]),
        ("rlnDefocusU - -500 > 15000", [2, 3]),
        ("2 * rlnClassNumber = rlnClassNumber + 2", [1]),
        ("rlnClassNumber / (rlnClassNumber - 3) > 2", [3, 4]),
        ("ctf/df1_A < 9000", [0]),
        ("alignments3D/shift[0] > 15000", [3]),
        ("_rlnClassNumber = 5", [4]),
        ("rlnDefocusU == rlnDefocusU", [0, 1, 2, 3]),
    ],
)
def test_expressions_mean_what_they_say(expression, expected):
    assert rows(expression) == expected


@pytest.mark.parametrize(
    ("expression", "words"),
    [
        ("", "the end (character 1) stands where a column"),
        ("rlnDefocusU <", "the end (character 14) stands where a column"),
        ("rlnDefocus < 5", "“rlnDefocus < 5” (character 1) is no column of the table"),
        ("rlnDefocusU < 5 rlnClassNumber", "follows a whole expression"),
        ("rlnDefocusU", "is a value, not a condition"),
        ("rlnDefocusU + 1", "is a value, not a condition"),
        ("rlnDefocusU and rlnClassNumber = 1", "needs conditions on both sides"),
        ("rlnDefocusU < 5 and 3", "needs conditions on both sides"),
        ("not 3", "needs conditions on both sides"),
        ("rlnMicrographName < 'b'", "orders texts"),
        ("rlnMicrographName > 5", "orders texts"),
        ("rlnMicrographName = 5", "compares a number with texts"),
        ("1 < 2", "compares two numbers and no column"),
        ("'a' = 'a'", "compares two texts and no column"),
        ("3 in (1..5)", "is no column"),
        ("'a' in ('a')", "is no column"),
        ("'a' like 'a'", "is no column"),
        ("rlnClassNumber in 3", "stands where “(” should"),
        ("rlnClassNumber in ()", "stands where a number should"),
        ("rlnClassNumber in (1, 'a')", "among texts and numbers together"),
        ("rlnClassNumber in (1", "stands where “)” should"),
        ("rlnClassNumber not 3", "stands where in, like or matches should"),
        ("rlnMicrographName like mic", "stands where the text of like should"),
        ("rlnMicrographName matches '('", "is no regular expression"),
        ("rlnClassNumber < 1e999", "is too large a number"),
        ("abs(rlnMicrographName) > 1", ""),
        ("-'a' < 3", "is no number"),
        ("rlnClassNumber & 1", "“& 1” (character 16) is not understood"),
        ("__import__('os').system('x')", "is not understood"),
        ("rlnClassNumber.__class__ = 1", "is no column"),
        ("(lambda: 1)() = 1", "is not understood"),
        ("rlnClassNumber < 5 # comment", "is not understood"),
        ("'open < 3", "is not understood"),
        ("(" * (DEEPEST + 1) + "1" + ")" * (DEEPEST + 1) + " < 2", "too many brackets"),
        ("not " * (DEEPEST + 1) + "rlnClassNumber = 1", "too many brackets"),
        ("1 " * 6000, "characters"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_its_place(expression, words):
    with pytest.raises(UsageError) as caught:
        rows(expression)
    assert words in str(caught.value)
    assert caught.value.exit_code == 2


def test_a_misspelt_column_is_told_with_the_nearest():
    with pytest.raises(UsageError, match="rlnDefocusU, which is the nearest column"):
        rows("rlnDefocsU < 5")


@settings(max_examples=400, deadline=None)
@given(
    st.lists(
        st.sampled_from(
            [
                "rlnDefocusU",
                "rlnMicrographName",
                "ctf/df1_A",
                "1",
                "2.5",
                "'a'",
                "and",
                "or",
                "not",
                "in",
                "like",
                "matches",
                "abs",
                "<",
                ">",
                "=",
                "!",
                "(",
                ")",
                "+",
                "-",
                "*",
                "/",
                ",",
                ".",
                "..",
                "<=",
                "!=",
                "?",
                "é",
                "_",
            ]
        ),
        max_size=14,
    ).map(" ".join)
)
@example("rlnDefocusU * rlnDefocusU * rlnDefocusU < 1e300")
def test_whatever_is_typed_gives_rows_or_our_error(expression):
    try:
        found = rows_where(expression, Table())
    except UsageError:
        return
    assert found.shape == (5,)
    assert found.dtype == bool
