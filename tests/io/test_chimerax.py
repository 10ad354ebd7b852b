"""ChimeraX scripts: what is opened, in which order, and that no file name can be taken for a command."""

from pathlib import Path

import pytest

from cryowalk.core.errors import UsageError
from cryowalk.io.chimerax import LocalColours, ShownMap, chimerax_script, quoted, write_chimerax

HERE = Path("/data/Refine3D/job012")


def unquoted(text: str) -> str:
    """What ChimeraX reads: its escapes are Python's (src/core/commands/cli.py, unescape)."""
    assert text.startswith('"')
    assert text.endswith('"')
    inner = text[1:-1]
    result, place = "", 0
    while place < len(inner):
        assert inner[place] != '"', "the text ends early"
        if inner[place] == "\\":
            place += 1
        result += inner[place]
        place += 1
    return result


def test_maps_are_numbered_in_order_hidden_ones_come_after_and_values_are_of_the_file() -> None:
    script = chimerax_script(
        [
            ShownMap(path=HERE / "run_class001.mrc", level=0.0123456),
            ShownMap(path=HERE / "run_half1_class001_unfil.mrc", level=0.02, colour="#e69f00", is_shown=False),
            ShownMap(path=HERE / "mask.mrc", level=0.5, transparency=0.75, is_shown=False),
        ],
        directory=HERE,
        models=[HERE.parent / "model.cif"],
    )
    lines = script.splitlines()
    assert script.endswith("view\n")
    assert 'open "./run_class001.mrc"' in lines
    assert "volume #1 style surface level 0.012346 step 1 color #7fa8c9" in lines
    assert "volume #1 hide" not in lines
    assert lines.index("volume #2 hide") == lines.index('open "./run_half1_class001_unfil.mrc"') + 2
    assert "volume #3 transparency 0.75" in lines
    assert 'open "../model.cif"' in lines
    assert "cartoon #4" in lines
    assert "volume #1 transparency 0.5" in lines
    opened = [line for line in lines if line.startswith("open ")]
    assert len(opened) == 4
    assert lines[0].startswith("# ")
    assert "set bgColor white" in lines


def test_local_resolution_colours_the_first_map_with_a_key() -> None:
    script = chimerax_script(
        [ShownMap(path=HERE / "relion_locres_filtered.mrc", level=0.01)],
        directory=HERE,
        colours=LocalColours(path=HERE / "relion_locres.mrc", finest=3.0, coarsest=7.0),
    )
    (line,) = [line for line in script.splitlines() if line.startswith("color sample")]
    assert line == "color sample #1 map #2 palette 3,#fde725:4,#7ad151:5,#22a884:6,#2a788e:7,#414487 key true"
    assert "volume #2 hide" in script


@pytest.mark.parametrize(
    "name",
    [
        "plain.mrc",
        "two words.mrc",
        'say "hi"; close all.mrc',
        "back\\slash n.mrc",
        "emdb:1234.mrc",
        "~root.mrc",
        "-rf.mrc",
        "#1.mrc",
        "ünï 中.mrc",
        "a;b'c.mrc",
        "browse",
    ],
)
def test_no_name_can_pass_for_anything_but_a_path(name: str) -> None:
    text = quoted(HERE / name, directory=HERE)
    assert unquoted(text) == f"./{name}"
    script = chimerax_script([ShownMap(path=HERE / name, level=1.0)], directory=HERE)
    assert sum(line.startswith("open ") for line in script.splitlines()) == 1


@pytest.mark.parametrize("name", ["a\nclose all.mrc", "a\rb.mrc", "a\x1bb.mrc", "a\u2028b.mrc"])
def test_names_with_control_characters_are_refused(name: str) -> None:
    with pytest.raises(UsageError, match="control character"):
        quoted(HERE / name, directory=HERE)


def test_nothing_to_show_and_other_endings_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nothing to show"):
        chimerax_script([], directory=HERE)
    with pytest.raises(UsageError, match="no name of a ChimeraX script"):
        write_chimerax([ShownMap(path=HERE / "a.mrc", level=1.0)], tmp_path / "view.py")
    write_chimerax([ShownMap(path=tmp_path / "deep" / "a.mrc", level=1.0)], tmp_path / "view.cxc")
    assert 'open "./deep/a.mrc"' in (tmp_path / "view.cxc").read_text()
