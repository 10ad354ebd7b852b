"""`cryowalk pick` as a user meets it: tables with the names that others script against, skipping, failures, templates, image files."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.picking.conftest import DIAMETER, PIXEL_SIZE, molecule, scattered, scene  # noqa: F401  fixtures

from cryowalk.cli.main import main
from cryowalk.io.coordinates import read_coordinates
from cryowalk.io.mrc import write_array
from cryowalk.io.star import read_star
from cryowalk.picking import score_picks

QUIET = ("--quiet", "--threads", "1")


def exit_code(words):
    with pytest.raises(SystemExit) as raised:
        main(list(words))
    return raised.value.code


@pytest.fixture
def inside(tmp_path, monkeypatch, scene):  # noqa: F811
    """A folder with two micrographs, their table, and templates; the true places."""
    monkeypatch.chdir(tmp_path)
    truths = {}
    rows = []
    for name in ("a", "b"):
        micrograph, truth = scene(seed=len(truths), size=(512, 560), count=25)
        write_array(micrograph.pixels, tmp_path / f"{name}.mrc", voxel_size=PIXEL_SIZE, kind="images")
        truths[name] = truth
        rows.append(f"{name}.mrc 1")
    (tmp_path / "micrographs.star").write_text(
        "# version 30001\n\ndata_optics\n\nloop_\n_rlnOpticsGroupName #1\n_rlnOpticsGroup #2\n_rlnMicrographPixelSize #3\n_rlnVoltage #4\n"
        f"_rlnSphericalAberration #5\n_rlnAmplitudeContrast #6\nopticsGroup1 1 {PIXEL_SIZE} 300 2.7 0.1\n\n"
        "# version 30001\n\ndata_micrographs\n\nloop_\n_rlnMicrographName #1\n_rlnOpticsGroup #2\n" + "\n".join(rows) + "\n\n"
    )
    write_array(molecule()[None, :-1, :-1].float(), tmp_path / "classes.mrcs", voxel_size=PIXEL_SIZE, kind="images")
    return tmp_path, truths


def pick(*words):
    return exit_code(["pick", "--diameter", str(DIAMETER), *words, *QUIET])


def f1(folder, name, truth):
    return score_picks(
        read_coordinates(folder / f"picks/{name}_pick.star").positions, truth, tolerance=DIAMETER / PIXEL_SIZE / 2
    ).f1


def test_a_table_gives_tables_and_a_report(inside):
    folder, truths = inside
    assert pick("--i", "micrographs.star", "--o", "Pick") == 0
    for name, truth in truths.items():
        assert f1(folder / "Pick", name, truth) > 0.85
    table = read_star(folder / "Pick/coordinates.star").blocks[0]
    assert list(table.columns) == ["rlnMicrographName", "rlnCoordinateX", "rlnCoordinateY", "rlnAutopickFigureOfMerit"]
    assert set(table.columns["rlnMicrographName"]) == {"a.mrc", "b.mrc"}
    assert len(table.columns["rlnCoordinateX"]) == sum(
        len(read_coordinates(folder / f"Pick/picks/{name}_pick.star")) for name in truths
    )
    assert "particles in 2 micrographs" in (folder / "Pick/report.html").read_text()
    before = (folder / "Pick/coordinates.star").read_bytes()
    assert pick("--i", "micrographs.star", "--o", "Pick") == 0  # done already
    assert (folder / "Pick/coordinates.star").read_bytes() == before


def test_templates_and_image_files_with_bright_particles(inside):
    folder, truths = inside
    from cryowalk.io.mrc import read_array

    write_array(-read_array(folder / "a.mrc"), folder / "bright.mrc", voxel_size=9.0, kind="images")
    words = ("--i", "bright.mrc", "--contrast", "bright", "--pixel-size", str(PIXEL_SIZE), "--method", "template")
    assert pick(*words, "--ref", "classes.mrcs", "--o", "T") == 0
    assert f1(folder / "T", "bright", truths["a"]) > 0.9


def test_a_map_serves_as_reference(inside):
    folder, truths = inside
    line = (torch.arange(48.0) - 24) * 4.0
    parts = ((-10, -45, 1.0), (-5, -15, 1.2), (0, 12, 1.3), (24, 32, 1.0), (44, 48, 0.8), (-26, 34, 0.9))
    voxels = sum(
        w * torch.exp(-((line - a) ** 2 + (line[:, None] - b) ** 2 + line[:, None, None] ** 2) / 450) for a, b, w in parts
    )
    write_array(voxels, folder / "map.mrc", voxel_size=4.0)
    assert (
        pick("--i", "micrographs.star", "--method", "template", "--ref", "map.mrc", "--angle-step-degrees", "20", "--o", "M") == 0
    )
    assert f1(folder / "M", "b", truths["b"]) > 0.85


def test_a_bad_file_is_told_and_the_good_ones_are_kept(inside, capsys):
    folder, _ = inside
    (folder / "a.mrc").write_bytes((folder / "a.mrc").read_bytes()[:5000])
    assert pick("--i", "micrographs.star", "--o", "Pick") == 3
    assert "1 of 2 files" in capsys.readouterr().err
    assert json.loads((folder / "Pick/failed.json").read_text())[0]["name"] == "a.mrc"
    assert set(read_star(folder / "Pick/coordinates.star").blocks[0].columns["rlnMicrographName"]) == {"b.mrc"}


def test_an_empty_micrograph_is_an_error_and_noise_is_none(inside):
    folder, _ = inside
    noise = np.random.default_rng(1).normal(size=(512, 512)).astype(np.float32)
    write_array(noise, folder / "noise.mrc", voxel_size=PIXEL_SIZE, kind="images")
    write_array(np.zeros((512, 512), np.float32), folder / "empty.mrc", voxel_size=PIXEL_SIZE, kind="images")
    assert pick("--i", "noise.mrc", "empty.mrc", "--pixel-size", str(PIXEL_SIZE), "--o", "Pick") == 3
    assert len(read_coordinates(folder / "Pick/picks/noise_pick.star")) <= 1
    assert not (folder / "Pick/picks/empty_pick.star").exists()


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("--i", "micrographs.star", "--ref", "classes.mrcs"), 2),
        (("--i", "a.mrc"), 3),
        (("--i", "micrographs.star", "a.mrc", "--pixel-size", "3"), 3),
        (("--i", "missing.star"), 3),
        (("--i", "micrographs.star", "--method", "magic"), 2),
    ],
)
def test_what_cannot_be_meant_is_refused(inside, words, code):
    assert pick(*words, "--o", "Pick") == code


def test_a_diameter_is_asked_for(inside):
    assert exit_code(["pick", "--i", "micrographs.star", "--o", "Pick", *QUIET]) == 2


NETWORK = Path(__file__).parents[1] / "picking/network.state"


def test_a_network_is_trained_kept_and_used_again(inside):
    folder, _ = inside
    network = ("--method", "network", "--threshold", "2")
    assert pick("--i", "micrographs.star", "--o", "First", *network, "--training-steps", "2") == 0
    assert (folder / "First/network.state").is_file()
    assert pick("--i", "micrographs.star", "--o", "Again", *network, "--network", "First/network.state") == 0
    assert (folder / "Again/network.state").read_bytes() == (folder / "First/network.state").read_bytes()
    assert (folder / "Again/coordinates.star").read_bytes() == (folder / "First/coordinates.star").read_bytes()


def test_a_trained_network_finds_what_it_never_saw_and_learns_from_picks(inside):
    folder, truths = inside
    words = ("--i", "micrographs.star", "--method", "network", "--network", str(NETWORK))
    assert pick(*words, "--o", "Net") == 0
    for name, truth in truths.items():
        assert f1(folder / "Net", name, truth) > 0.85
    (folder / "a.csv").write_text("x,y\n" + "".join(f"{x},{y}\n" for x, y in [*truths["a"].tolist(), (9999, 3)]))
    assert pick(*words, "--o", "Adapted", "--picks", "a.csv", "--adapting-steps", "2") == 0
    assert (folder / "Adapted/network.state").read_bytes() != NETWORK.read_bytes()
    for name, truth in truths.items():
        assert f1(folder / "Adapted", name, truth) > 0.8
    assert "1 picks lie outside" in (folder / "Adapted/run.log").read_text()


def test_what_the_network_cannot_use_is_refused(inside):
    folder, _ = inside
    words = ("--i", "micrographs.star", "--method", "network", "--network")
    (folder / "cut.state").write_bytes(NETWORK.read_bytes()[:-100])
    (folder / "few.csv").write_text("x,y\n100,100\n")
    (folder / "a.csv").write_text("x,y\n9999,100\n")
    assert pick(*words, "cut.state", "--o", "p1") == 3
    assert pick(*words, "micrographs.star", "--o", "p2") == 3
    assert pick(*words, str(NETWORK), "--o", "p3", "--picks", "few.csv") == 3  # named after no micrograph
    assert pick(*words, str(NETWORK), "--o", "p4", "--picks", "a.csv") == 3  # outside
    (folder / "a.csv").write_text("x,y\n100,100\n120,100\n")
    assert pick(*words, str(NETWORK), "--o", "p5", "--picks", "a.csv") == 3  # too few
    assert pick("--i", "micrographs.star", "--network", str(NETWORK), "--o", "p6") == 2  # --method log has no network
    assert pick("--i", "micrographs.star", "--picks", "a.csv", "--o", "p7") == 2
