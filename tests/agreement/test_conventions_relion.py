"""The convention check on files that RELION made of the kit: what each of its programs does is named."""

import json
import subprocess
from pathlib import Path

import pytest

from cryowalk.cli.main import exit_code

pytestmark = pytest.mark.agreement
OFF = ("--quiet", "--threads", "1")


@pytest.fixture(scope="module")
def kit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("conventions") / "kit"
    assert exit_code(["conventions", "kit", "--o", str(folder), *OFF]) == 0
    return folder


def run(relion: Path, program: str, *words: object, folder: Path) -> None:
    subprocess.run([relion / program, *map(str, words)], check=True, capture_output=True, text=True, cwd=folder)


def found(capsys: pytest.CaptureFixture[str], *paths: Path, code: int) -> dict[str, dict[str, str]]:
    capsys.readouterr()
    assert exit_code(["conventions", "check", "--json", *map(str, paths), *OFF]) == code
    (only,) = json.loads(capsys.readouterr().out)
    return {one["aspect"]: one for one in only["findings"]}


def test_relion_project_means_poses_and_shifts_as_we_do(relion: Path, kit: Path, capsys) -> None:
    for name, more in (("projections", ()), ("particles", ("--ctf",))):
        run(relion, "relion_project", "--i", "phantom.mrc", "--ang", f"{name}.star", "--o", f"by_relion_{name}", "--angpix", "2.5", *more, folder=kit)  # fmt: skip
        told = found(capsys, kit / f"by_relion_{name}.mrcs", code=0)
        assert told["CTF"]["words"] == ("with CTF" if more else "without CTF")
        assert told["rotations"]["hypotheses"][0]["score"] > 0.99


@pytest.mark.parametrize("name", ["projections", "particles"])
def test_relion_reconstruct_gives_the_right_hand_and_origin(relion: Path, kit: Path, name: str, capsys) -> None:
    more = ("--ctf",) if name == "particles" else ()
    run(relion, "relion_reconstruct", "--i", f"{name}.star", "--o", f"map_of_{name}.mrc", "--angpix", "2.5", *more, folder=kit)
    told = found(capsys, kit / f"map_of_{name}.mrc", code=0)
    assert told["axes and hand"]["hypotheses"][0]["score"] > 0.97


@pytest.mark.parametrize(
    ("option", "fix", "offset"),
    [
        ("--flipX", "-x,y,z", "1,0,0"),  # RELION turns the array over: an even box's origin moves by one
        ("--flipY", "x,-y,z", "0,1,0"),
        ("--flipZ", "x,y,-z", "0,0,1"),
        ("--invert_hand", "-x,y,z", ""),  # this one keeps the origin
    ],
)
def test_each_flip_of_relion_image_handler_is_named_with_its_origin(
    relion: Path, kit: Path, option: str, fix: str, offset: str, capsys
) -> None:
    target = kit / f"{option.strip('-')}.mrc"
    run(relion, "relion_image_handler", "--i", "phantom.mrc", "--o", target.name, option, folder=kit)
    told = found(capsys, target, code=3)
    assert told["axes and hand"]["fix"] == f"cryowalk map reorient --axes {fix}"
    assert told["origin"]["fix"] == (f"cryowalk map reorient --move {offset}" if offset else "")


@pytest.mark.parametrize(("option", "recipe"), [("--flipX", "[:, :, ::-1]"), ("--flipY", "[:, ::-1, :]")])
def test_flipped_stacks_are_named(relion: Path, kit: Path, option: str, recipe: str, capsys) -> None:
    target = kit / f"stack{option.strip('-')}.mrcs"
    run(relion, "relion_image_handler", "--i", "projections.mrcs", "--o", target.name, option, folder=kit)
    told = found(capsys, target, code=3)
    assert told["image axes"]["fix"] == f"numpy: images{recipe}"
    assert told["origin"]["verdict"] == "agrees"


def test_inverted_contrast_is_named(relion: Path, kit: Path, capsys) -> None:
    run(relion, "relion_image_handler", "--i", "phantom.mrc", "--o", "dark.mrc", "--multiply_constant", "-1", folder=kit)
    told = found(capsys, kit / "dark.mrc", code=3)
    assert told["contrast"]["words"] == "density is dark, ours is bright"
    assert told["axes and hand"]["verdict"] == "agrees"


def test_relion_s_star_handler_keeps_the_table_s_meaning(relion: Path, kit: Path, capsys) -> None:
    run(relion, "relion_star_handler", "--i", "particles.star", "--o", "handled.star", "--select", "rlnDefocusU", "--minval", "0", "--maxval", "12000", folder=kit)  # fmt: skip
    told = found(capsys, kit / "handled.star", code=0)
    assert told["numbering"]["verdict"] == "agrees"
    assert told["defocus"]["verdict"] == "agrees"
