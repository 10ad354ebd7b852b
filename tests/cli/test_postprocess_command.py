"""`mask` and `postprocess` as programs: what they write, how halves are found, names for the EMDB, second runs and bad inputs."""

import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from cryowalk.cli.main import exit_code
from cryowalk.data import Volume
from cryowalk.data.camera import Response
from cryowalk.io import read_fsc_xml, read_map, read_mask, read_postprocess, read_star, write_map, write_mask, write_mtf
from cryowalk.validation import compare_maps

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "validation"))
from molecules import atoms_map, noisy_halves

OFF = ("--quiet", "--threads", "1")
HALF = "run_half1_class001_unfil.mrc"
OTHER = "run_half2_class001_unfil.mrc"


@pytest.fixture(scope="module")
def maps(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("maps")
    truth = replace(atoms_map(40, b_factor=250.0), origin=(5.0, -2.0, 1.0))
    halves = noisy_halves(truth, noise=0.8 * float(truth.voxels.std()), origin=truth.origin)
    write_map(truth, folder / "truth.mrc")
    write_map(halves.first, folder / HALF)
    write_map(halves.second, folder / OTHER)
    return folder


@pytest.fixture
def inside(maps, tmp_path, monkeypatch) -> Path:
    shutil.copytree(maps, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*words: str) -> int:
    return exit_code([*words, *OFF])


@pytest.mark.slow
def test_half_maps_become_the_map_and_its_tables(inside) -> None:
    assert run("postprocess", "--i", HALF, "--o", "Post/job001", "--emdb-names", "12345") == 0
    out = inside / "Post/job001"
    scores = json.loads((out / "scores.json").read_text())
    table = read_postprocess(out / "postprocess.star")
    assert table.resolution == pytest.approx(scores["resolution_angstrom"], abs=1e-5)
    assert table.names["rlnUnfilteredMapHalf2"] == OTHER
    assert set(table.curves) == {"unmasked", "masked", "randomised", "corrected", "particle"}
    frequency, correlation = read_fsc_xml(out / "postprocess_fsc.xml")
    assert correlation == pytest.approx(table.curves["corrected"].tolist(), abs=1e-5)
    assert frequency[1] == pytest.approx(1 / (40 * 1.9), rel=1e-5)
    truth, final = read_map("truth.mrc"), read_map(out / "postprocess.mrc")
    assert final.origin == pytest.approx(truth.origin)
    mask = read_mask(out / "postprocess_automask.mrc")
    assert compare_maps(final, truth, mask=mask).resolution(at=0.5) == pytest.approx(table.resolution, rel=0.08)
    torch.testing.assert_close(read_map(out / "postprocess_masked.mrc").voxels, final.voxels * mask.voxels, rtol=0, atol=1e-4)
    assert torch.equal(read_map(out / "emd_12345.map").voxels, final.voxels)
    for number, name in ((1, HALF), (2, OTHER)):
        torch.testing.assert_close(read_map(out / f"emd_12345_half_map_{number}.map").voxels, read_map(name).voxels)
    assert torch.equal(read_mask(out / "emd_12345_msk_1.map").voxels, mask.voxels)
    assert (out / "emd_12345_fsc.xml").read_bytes() == (out / "postprocess_fsc.xml").read_bytes()
    page = (out / "report.html").read_text()
    assert "random phases" in page
    assert "Guinier" in page
    assert run("postprocess", "--i", HALF, "--o", "Post/job001", "--emdb-names", "12345") == 0
    assert run("postprocess", "--i", HALF, "--o", "Post/job001", "--emdb-names", "12345", "--b-factor", "-50") == 6
    assert exit_code(["report", "Post/job001"]) == 0


@pytest.mark.slow
def test_the_same_command_gives_the_same_bytes(inside) -> None:
    for name in ("a", "b"):
        assert run("postprocess", "--i", HALF, "--o", name, "--seed", "5") == 0
    for name in ("postprocess.mrc", "postprocess_fsc.xml", "scores.json", "postprocess_automask.mrc"):
        assert (inside / "a" / name).read_bytes() == (inside / "b" / name).read_bytes()


@pytest.mark.slow
def test_given_masks_mtf_and_b_factor_are_used(inside) -> None:
    assert run("mask", "--i", "truth.mrc", "--o", "sphere.mrc", "--radius", "28") == 0
    write_mtf(Response(frequency=(0.0, 0.5), value=(1.0, 0.5)), "mtf.star")
    words = ("--mask", "sphere.mrc", "--mtf", "mtf.star", "--b-factor", "-120", "--skip", "x")
    assert run("postprocess", "--i", OTHER, "--o", "bad", *words) == 2
    assert run("postprocess", "--i", OTHER, "--o", "given", *words[:-2]) == 0
    star = read_star("given/postprocess.star")
    assert star["general"].values["rlnBfactorUsedForSharpening"] == "-120.000000"
    assert star["general"].values["rlnMaskName"] == "sphere.mrc"
    assert "rlnLogAmplitudesMTFCorrected" in star["guinier"].columns
    assert not Path("given/postprocess_automask.mrc").exists()
    assert run("postprocess", "--i", HALF, "--o", "bare", "--mask", "none", "--b-factor", "0") == 0
    assert not Path("bare/postprocess_masked.mrc").exists()
    bare = read_star("bare/postprocess.star")
    assert "rlnMaskName" not in bare["general"].values
    found = read_postprocess("bare/postprocess.star").curves
    assert torch.equal(found["corrected"], found["unmasked"])


def test_masks_are_files_or_jobs_and_thresholds_are_in_the_values_of_the_file(inside, capsys) -> None:
    assert exit_code(["mask", "--i", "truth.mrc", "--o", "auto.mrc", "--threads", "1"]) == 0
    threshold = float(capsys.readouterr().out.split("threshold ")[1].split(",")[0])
    assert run("mask", "--i", "truth.mrc", "--o", "job", "--ini_threshold", f"{threshold}") == 0
    # The printed threshold has four digits: a few voxels at the contour may differ.
    difference = read_mask("auto.mrc").voxels - read_mask("job/mask.mrc").voxels
    assert float((difference.abs() > 0.2).float().mean()) < 0.005
    assert "outline" in Path("job/report.html").read_text()
    assert read_mask("job/mask.mrc").origin == pytest.approx((5.0, -2.0, 1.0))
    hard = ("--lowpass", "0", "--extend_inimask", "0", "--width_soft_edge", "0", "--smallest-part", "0")
    values = read_map("truth.mrc").voxels * 1.9
    level = float(values.flatten().quantile(0.9))
    assert run("mask", "--i", "truth.mrc", "--o", "hard.mrc", "--threshold", repr(level), *hard) == 0
    assert torch.equal(read_mask("hard.mrc").voxels, (values >= level).float())


def test_a_mask_of_a_structure(inside) -> None:
    lines = [
        f"ATOM  {n:5d}  CA  ALA A{n:4d}    {x:8.3f}{y:8.3f}{z:8.3f}  1.00 10.00           C"
        for n, (x, y, z) in enumerate(((40, 30, 35), (44, 33, 36)), 1)
    ]
    Path("model.pdb").write_text("\n".join([*lines, "END", ""]))
    assert run("mask", "--i", "truth.mrc", "--o", "model_mask.mrc", "--atoms", "model.pdb") == 0
    mask = read_mask("model_mask.mrc").voxels
    x, y, z = (round(value) for value in ((40 - 5) / 1.9, (30 + 2) / 1.9, (35 - 1) / 1.9))
    assert mask[z, y, x] == 1
    assert mask[0, 0, 0] == 0
    assert run("mask", "--i", "truth.mrc", "--o", "x.mrc", "--atoms", "model.pdb", "--radius", "9") == 2


def spoilt(name: str) -> None:
    """One half map made worse."""
    half = read_map(OTHER)
    box = half.voxels.shape[-1]
    changes = {
        "box": lambda: Volume(voxels=half.voxels[:-2, :-2, :-2], voxel_size=half.voxel_size),
        "voxel": lambda: replace(half, voxel_size=2.4),
        "constant": lambda: replace(half, voxels=torch.ones(box, box, box)),
        "same": lambda: read_map(HALF),
    }
    write_map(changes[name](), OTHER)


@pytest.mark.parametrize(
    ("name", "message"),
    [("box", "differ in size"), ("voxel", "differ in voxel size"), ("constant", "constant"), ("same", "same map")],
)
def test_halves_that_do_not_fit_are_one_error(inside, capsys, name, message) -> None:
    spoilt(name)
    assert run("postprocess", "--i", HALF, "--o", "out") == 3
    told = capsys.readouterr().err
    assert message in told
    assert OTHER in told
    assert "Traceback" not in told
    assert not list(Path("out").glob("postprocess*"))


@pytest.mark.slow
def test_names_that_do_not_tell_are_asked_for(inside, capsys) -> None:
    shutil.copy(HALF, "lonely_half1.mrc")
    assert run("postprocess", "--i", "lonely_half1.mrc", "--o", "out") == 3
    assert "lonely_half2.mrc" in capsys.readouterr().err
    assert run("postprocess", "--i", "truth.mrc", "--o", "out") == 3
    assert "--i2" in capsys.readouterr().err
    assert run("postprocess", "--i", HALF, "--i2", HALF, "--o", "out") == 3
    assert "same file" in capsys.readouterr().err
    assert run("postprocess", "--i", HALF, "--o", "out", "--emdb-names", "../x") == 2
    assert run("postprocess", "--i", HALF, "--o", "out", "--mask", "nowhere.mrc") == 3
    assert "nowhere.mrc" in capsys.readouterr().err
    for first, second in (("J1_map_half_A.mrc", "J1_map_half_B.mrc"), ("emd_1_half_map_2.map", "emd_1_half_map_1.map")):
        shutil.copy(HALF, first)
        shutil.copy(OTHER, second)
        assert run("postprocess", "--i", first, "--o", first[:2]) == 0
        assert read_postprocess(f"{first[:2]}/postprocess.star").names["rlnUnfilteredMapHalf2"] == second


def test_masks_that_are_none_are_one_error(inside, capsys) -> None:
    grid = read_map(HALF)
    box = grid.voxels.shape[-1]
    bad = {
        "zero": torch.zeros(box, box, box),
        "one": torch.ones(box, box, box),
        "negative": grid.voxels - 1,
        "small": torch.rand(box - 4, box - 4, box - 4),
    }
    for name, voxels in bad.items():
        write_mask(replace(grid, voxels=voxels), f"{name}.mrc")
        assert run("postprocess", "--i", HALF, "--o", f"out_{name}", "--mask", f"{name}.mrc") == 3
        assert f"{name}.mrc" in capsys.readouterr().err
    assert run("mask", "--i", "truth.mrc", "--o", "x.mrc", "--threshold", "1e9") == 3
    assert "nothing lies above" in capsys.readouterr().err
    assert not Path("x.mrc").exists()
