import pytest

from cryowalk.core import checks, errors


def test_a_message_says_what_where_expected_cause_and_fix():
    error = errors.InputError(
        "image 7 holds NaN", file="a.mrcs", row=12, expected="finite values", cause="a broken copy", fix="copy it again"
    )
    lines = str(error).splitlines()
    assert lines[0] == "a.mrcs, line 12: image 7 holds NaN"
    assert [line.split(":")[0].strip() for line in lines[1:]] == ["Expected", "Likely cause", "What to do"]


def test_control_characters_of_a_name_never_reach_the_terminal():
    assert "\x1b" not in str(errors.InputError("bad", file="evil\x1b[2J.star"))
    assert "\\x1b" in str(errors.InputError("bad", file="evil\x1b[2J.star"))


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (errors.CryowalkError, 1),
        (errors.UsageError, 2),
        (errors.InputError, 3),
        (errors.ShapeError, 3),
        (errors.EnvironmentFault, 4),
        (errors.SafetyRefusal, 5),
        (errors.StateConflict, 6),
    ],
)
def test_exit_codes_are_those_of_the_design(kind, code):
    assert kind("x").exit_code == code


def test_stopped_remembers_its_signal_and_says_how_to_go_on():
    assert errors.Stopped("stopped", signal_number=15).signal_number == 15
    assert "same command" in str(errors.Stopped("stopped"))


@pytest.mark.parametrize("value", [0, -1.5, float("nan"), float("inf")])
def test_require_positive_refuses(value):
    with pytest.raises(errors.UsageError, match="pixel size"):
        checks.require_positive("pixel size", value, unit="Å")


def test_require_positive_and_between_return_what_they_checked():
    assert checks.require_positive("box", 3) == 3
    assert checks.require_between("snr", 0.5, 0, 1) == 0.5
    with pytest.raises(errors.UsageError, match="between 0 and 1"):
        checks.require_between("snr", 1.5, 0, 1)


def test_require_square_and_cube_name_the_axes():
    assert checks.require_square("images", (5, 9, 9)) == 9
    assert checks.require_cube("map", (7, 7, 7)) == 7
    with pytest.raises(errors.ShapeError, match=r"8 × 9 \(height × width\)"):
        checks.require_square("images", (5, 8, 9))
    with pytest.raises(errors.ShapeError, match=r"7 × 7 × 8 \(z × y × x\)"):
        checks.require_cube("map", (7, 7, 8))


def test_errors_get_the_name_of_their_file_once():
    with (
        pytest.raises(errors.ShapeError, match=r"a\.star, line 3: bad") as told,
        errors.naming("a.star"),
        errors.naming("b.star"),
    ):
        raise errors.ShapeError("bad", file="a.star", row=3, expected="good")
    assert told.value.expected == "good"
    with (
        pytest.raises(errors.ShapeError, match=r"^b\.star, line 3: bad") as told,
        errors.naming("a.star"),
        errors.naming("b.star"),
    ):
        raise errors.ShapeError("bad", row=3, cause="c", fix="f")
    assert (told.value.cause, told.value.fix) == ("c", "f")
    with pytest.raises(errors.UsageError) as other, errors.naming("a.star"):
        raise errors.UsageError("an option")
    assert other.value.file is None


def test_details_stand_on_lines_of_their_own():
    inner = errors.InputError("is empty", file="a.mrc", fix="make it again")
    told = str(
        errors.InputError("1 of 2 files could not be told", details=[str(inner), "and\x1b[2J 3 more"], fix="mend it")
    ).splitlines()
    assert told == [
        "1 of 2 files could not be told",
        "  - a.mrc: is empty; What to do: make it again",
        "  - and\\x1b[2J 3 more",
        "  What to do: mend it",
    ]
