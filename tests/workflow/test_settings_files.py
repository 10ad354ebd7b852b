"""Settings to plain values and back."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cryowalk.core.errors import InputError, UsageError
from cryowalk.workflow.settings_files import plain, read_settings, settings_from


@dataclass(frozen=True, slots=True, kw_only=True)
class Choices:
    count: Annotated[int, "n"] = 3
    radius: Annotated[float | None, "Å"] = None
    patches: tuple[int, int] = (5, 5)
    shells: tuple[float, ...] = ()
    mode: Literal["a", "b"] = "a"
    invert: bool = False
    mask: Path | None = None
    name: str = "x"


@given(
    st.builds(
        Choices,
        count=st.integers(),
        radius=st.none() | st.floats(allow_nan=False, allow_infinity=False),
        patches=st.tuples(st.integers(), st.integers()),
        shells=st.lists(st.floats(allow_nan=False, allow_infinity=False)).map(tuple),
        mode=st.sampled_from(["a", "b"]),
        invert=st.booleans(),
        mask=st.none() | st.just(Path("m.mrc")),
        name=st.text(),
    )
)
def test_settings_survive_json(settings):
    assert settings_from(Choices, json.loads(json.dumps(plain(settings)))) == settings


@pytest.mark.parametrize(
    "values",
    [
        {"count": 2.5},
        {"count": "x"},
        {"count": True},
        {"mode": "c"},
        {"patches": [1]},
        {"invert": 1},
        {"name": 3},
        {"radius": [1]},
    ],
)
def test_values_that_do_not_fit_are_refused(values):
    with pytest.raises(UsageError, match="cannot be"):
        settings_from(Choices, values)


def test_an_unknown_name_gets_its_neighbour():
    with pytest.raises(UsageError, match="radus") as told:
        settings_from(Choices, {"radus": 3})
    assert "radius" in told.value.fix


def test_files_in_yaml_json_and_job_json(tmp_path):
    (tmp_path / "s.yaml").write_text("count: 7\npatches: [2, 3]\nradius: 1e3\n")
    assert settings_from(Choices, read_settings(tmp_path / "s.yaml")) == Choices(count=7, patches=(2, 3), radius=1000.0)
    (tmp_path / "job.json").write_text('{"settings": {"count": 9}, "seed": 1}')
    assert read_settings(tmp_path / "job.json") == {"count": 9}


@pytest.mark.parametrize("text", ["!!python/object/apply:os.system ['touch PWNED']", "a: [", "- 1\n- 2\n", ""])
def test_hostile_and_broken_files_are_refused(tmp_path, text, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "s.yaml").write_text(text)
    with pytest.raises(InputError):
        read_settings(tmp_path / "s.yaml")
    assert not (tmp_path / "PWNED").exists()


@pytest.mark.parametrize(
    ("values", "expected"),
    [({"patches": 5}, "2 values"), ({"shells": 0.5}, "values in a list"), ({"patches": {"x": 1}}, "2 values")],
)
def test_a_single_value_for_several_says_how_many(values, expected):
    with pytest.raises(UsageError) as error:
        settings_from(Choices, values)
    assert error.value.expected == expected


def test_a_broken_yaml_file_is_named_with_its_line(tmp_path):
    (tmp_path / "s.yaml").write_text("count: 3\npatches: [1,\n")
    with pytest.raises(InputError, match=r"s\.yaml, line 3: this is not YAML") as error:
        read_settings(tmp_path / "s.yaml")
    assert "\\n" not in str(error.value)
