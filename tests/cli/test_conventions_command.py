"""`conventions kit` and `conventions check` as a user types them."""

import json
from pathlib import Path

import numpy as np
import pytest

from cryowalk.cli.main import exit_code
from cryowalk.io.mrc import MrcStackReader, read_array, write_array
from cryowalk.io.star import StarBlock, read_star, write_star

OFF = ("--quiet", "--threads", "1")


@pytest.fixture(scope="module")
def kit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("conventions") / "kit"
    assert exit_code(["conventions", "kit", "--o", str(folder), "--box", "32", "--pixel-size", "5", "--count", "16", *OFF]) == 0
    return folder


def check(kit: Path, *names: str) -> int:
    return exit_code(["conventions", "check", "--kit", str(kit), *(str(kit / name) for name in names), *OFF])


def told(text: str) -> dict[str, dict[str, dict[str, str]]]:
    """Findings by file name and aspect."""
    return {Path(each["file"]).name: {one["aspect"]: one for one in each["findings"]} for each in json.loads(text)}


def test_the_kit_s_own_files_are_in_our_conventions(kit: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = ["phantom.mrc", "particles.mrcs", "projections.mrcs", "particles.star", "micrograph.mrc"]
    names += [f"micrograph_picks.{ending}" for ending in ("star", "csv", "box")]
    names += ["particles.cs", "projections.cs", "particles_poses.pkl"]
    assert check(kit, *names) == 0
    text = capsys.readouterr().out
    assert text.count(": as ours\n") == len(names)
    assert "cryowalk conventions check" in (kit / "README.txt").read_text()
    assert (kit / "report.html").is_file()


def test_the_kit_is_the_same_bytes_every_time(kit: Path, tmp_path: Path) -> None:
    again = tmp_path / "again"
    assert exit_code(["conventions", "kit", "--o", str(again), "--box", "32", "--pixel-size", "5", "--count", "16", *OFF]) == 0
    for name in ("phantom.mrc", "particles.mrcs", "micrograph.mrc", "particles.star", "micrograph_picks.star"):
        assert (again / name).read_bytes() == (kit / name).read_bytes(), name


def test_faults_of_files_are_told_with_what_to_do_and_exit_3(kit: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_array(np.transpose(read_array(kit / "phantom.mrc"), (2, 1, 0)), kit / "transposed.mrc", voxel_size=5.0)
    images = MrcStackReader(kit / "projections.mrcs").read(range(16))
    # As a volume, as many programs write stacks, and upside down.
    write_array(images.flip(1), kit / "upside_down.mrc", voxel_size=5.0)
    star = read_star(kit / "particles.star")
    optics, table = star.blocks
    columns = dict(table.columns)
    columns["rlnOriginXAngst"] = tuple(str(-float(value)) for value in columns["rlnOriginXAngst"])
    columns["rlnOriginYAngst"] = tuple(str(-float(value)) for value in columns["rlnOriginYAngst"])
    columns["rlnAngleRot"], columns["rlnAnglePsi"] = columns["rlnAnglePsi"], columns["rlnAngleRot"]
    write_star(
        [StarBlock(name="optics", columns=dict(optics.columns)), StarBlock(name="particles", columns=columns)], kit / "signs.star"
    )
    picks = [line.split(",") for line in (kit / "micrograph_picks.csv").read_text().split()[1:]]
    height = read_array(kit / "micrograph.mrc").shape[1]
    lines = "".join(f"{float(x) + 1:g},{height - float(y):g}\n" for x, y in picks)
    (kit / "other.csv").write_text("x,y\n" + lines)
    capsys.readouterr()
    names = ["transposed.mrc", "upside_down.mrc", "signs.star", "other.csv"]
    assert exit_code(["conventions", "check", "--kit", str(kit), "--json", *(str(kit / name) for name in names), *OFF]) == 3
    output = capsys.readouterr()
    assert "4 of 4 files are not in our conventions" in output.err
    found = told(output.out)
    assert found["transposed.mrc"]["axes and hand"]["fix"] == "cryowalk map reorient --axes z,y,x"
    assert "the other hand" in found["transposed.mrc"]["axes and hand"]["words"]
    assert len(found["transposed.mrc"]["axes and hand"]["hypotheses"]) == 48
    assert found["upside_down.mrc"]["image axes"]["fix"] == "numpy: images[:, ::-1, :]"
    assert found["upside_down.mrc"]["rotations"]["verdict"] == "agrees"
    assert found["signs.star"]["rotations"]["fix"] == "exchange rot and psi"
    assert found["signs.star"]["shifts"]["fix"] == "other sign"
    assert found["signs.star"]["numbering"]["verdict"] == "agrees"
    assert found["other.csv"]["axes"]["words"].startswith("y counts from the last row")
    assert "counting from 1" in found["other.csv"]["origin"]["words"]


def test_words_show_scores_when_asked_for(kit: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code(["conventions", "check", "--kit", str(kit), "--scores", str(kit / "phantom.mrc"), *OFF]) == 0
    text = capsys.readouterr().out
    assert "1.000  axes as ours" in text
    assert text.count(" hand\n") >= 1


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["conventions", "check", "kit.json"], 2, "nothing that the kit can check"),
        (["conventions", "check", "particles_ctf.pkl"], 3, "particles_ctf.pkl"),
        (["conventions", "check", "--kit", ".", "phantom.mrc"], 0, "as ours"),
        (["conventions", "check", "--kit", "..", "phantom.mrc"], 3, "no convention kit"),
        (["conventions", "check", "absent.mrc"], 3, "no such file"),
        (["conventions", "kit", "--o", "small", "--box", "32"], 2, "too small"),
        (["conventions", "check", "particles.mrcs"], 3, "16 images"),
    ],
)
def test_wrong_use_is_told(
    kit: Path, words: list[str], code: int, message: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(kit)
    assert exit_code([*words, *OFF]) == code
    output = capsys.readouterr()
    assert message in output.err + output.out
