"""Post-processing and masks beside `relion_postprocess` and `relion_mask_create` 3.1.3: curves, resolution, B-factor, masks, files read by both."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from cryowalk.cli.main import exit_code
from cryowalk.data.camera import Response
from cryowalk.io import read_fsc_xml, read_map, read_mask, read_postprocess, write_map, write_mtf
from cryowalk.validation import compare_maps
from cryowalk.validation.masks import automatic_mask, independent_fraction, spherical_mask
from cryowalk.validation.settings import MaskSettings
from cryowalk.validation.thresholds import noise_deviation, shell_sizes

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "validation"))
from molecules import VOXEL, atoms_map, noisy_halves

pytestmark = pytest.mark.agreement
BOX = 64


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    truth = atoms_map(BOX, b_factor=250.0)
    halves = noisy_halves(truth, noise=0.8 * float(truth.voxels.std()))
    write_map(truth, "truth.mrc")
    write_map(halves.first, "run_half1.mrc")
    write_map(halves.second, "run_half2.mrc")
    return tmp_path


def run(relion: Path, program: str, *words: str) -> str:
    """What the program says. It ends well even where it says that it could not draw its figures."""
    Path("PP").mkdir(exist_ok=True)
    done = subprocess.run([relion / program, *words], capture_output=True, text=True, timeout=300)
    return done.stdout


def test_masks_are_relions(relion: Path, folder: Path) -> None:
    truth = read_map("truth.mrc")
    # RELION rounds the low pass to a shell: shell 8 it is.
    low_pass = BOX * VOXEL / 8
    level = 0.25 * float(truth.voxels.max()) * VOXEL / 4
    for extend, edge in ((0, 0), (3, 0), (0, 5), (3, 6)):
        words = ("--ini_threshold", repr(level), "--extend_inimask", str(extend), "--width_soft_edge", str(edge))
        run(
            relion,
            "relion_mask_create",
            "--i",
            "truth.mrc",
            "--o",
            "theirs.mrc",
            "--lowpass",
            repr(low_pass),
            "--angpix",
            str(VOXEL),
            *words,
        )
        settings = MaskSettings(low_pass=low_pass, threshold=level / VOXEL, smallest_part=0, extend=extend, soft_edge=edge)
        ours = automatic_mask(truth, settings).mask.voxels
        difference = (ours - read_mask("theirs.mrc").voxels).abs()
        assert 0.01 < float(ours.mean()) < 0.9
        # Rounding in the low pass may move single voxels across the threshold.
        assert float((difference > 0.02).float().mean()) < 1e-3, (extend, edge)


@pytest.mark.parametrize("shape", ["auto", "sphere"])
def test_curves_resolution_and_amplitudes_are_relions(relion: Path, folder: Path, shape: str) -> None:
    if shape == "auto":
        assert exit_code(["mask", "--i", "run_half1.mrc", "--o", "mask.mrc", "--threads", "1", "--quiet"]) == 0
    else:
        write_map(replace(spherical_mask(read_map("truth.mrc"), radius=34.0, edge=12.0), voxel_size=VOXEL), "mask.mrc")
        mask = spherical_mask(read_map("truth.mrc"), radius=34.0, edge=12.0)
        write_map(replace(mask, voxels=mask.voxels / VOXEL), "mask.mrc")
    whole = ("--amplitudes", "whole", "--randomisations", "8")
    assert (
        exit_code(
            ["postprocess", "--i", "run_half1.mrc", "--o", "ours", "--mask", "mask.mrc", *whole, "--threads", "1", "--quiet"]
        )
        == 0
    )
    ours = read_postprocess("ours/postprocess.star")
    highest = ("--auto_bfac", "--autob_highres", repr(ours.resolution), "--low_pass", "-1")
    run(
        relion,
        "relion_postprocess",
        "--i",
        "run_half1.mrc",
        "--i2",
        "run_half2.mrc",
        "--mask",
        "mask.mrc",
        "--angpix",
        str(VOXEL),
        "--o",
        "PP/pp",
        *highest,
    )
    theirs = read_postprocess("PP/pp.star")
    step = 1 / (BOX * VOXEL)
    assert abs(1 / ours.resolution - 1 / theirs.resolution) <= step * 1.001
    assert ours.randomised_from == pytest.approx(theirs.randomised_from, rel=1e-4)
    assert ours.solvent_factor == pytest.approx(theirs.solvent_factor, rel=1e-4)
    for name, allowed in (("unmasked", 6e-3), ("masked", 6e-3), ("particle", 6e-3 * max(1.0, theirs.solvent_factor))):
        assert float((ours.curves[name] - theirs.curves[name])[2:].abs().max()) < allowed, name
    # Both drew random phases: the difference is the noise of one draw, and tells in the corrected curve only where that is low.
    deviation = noise_deviation(shell_sizes(BOX), independent_fraction=independent_fraction(read_mask("mask.mrc")))
    first = round(1 / (theirs.randomised_from * step))
    apart = (ours.curves["randomised"] - theirs.curves["randomised"])[first + 3 :] / deviation[first + 3 :]
    assert float(apart.abs().max()) < 5
    corrected = (ours.curves["corrected"] - theirs.curves["corrected"]).abs()
    allowed = torch.maximum(torch.full_like(corrected, 0.02), 4 * deviation * (1 - theirs.curves["masked"]))
    assert bool((corrected[2:] < allowed[2:]).all())
    assert float(corrected[theirs.curves["masked"] > 0.5].max()) < 0.02
    assert float(corrected.mean()) < 0.02
    assert float((ours.logarithms["original"] - theirs.logarithms["original"])[4:].abs().max()) < 0.03
    assert ours.b_factor == pytest.approx(theirs.b_factor, rel=0.06)
    # RELION's low pass lies on a whole shell.
    end = 1 / theirs.resolution - 2 * step
    curve = compare_maps(read_map("ours/postprocess.mrc"), read_map("PP/pp.mrc"))
    assert float(curve.correlation[curve.frequency < end].min()) > 0.999
    assert len(read_fsc_xml("PP/pp_fsc.xml")[0]) == BOX // 2 + 1


def test_an_mtf_is_divided_by_as_relion_does(relion: Path, folder: Path) -> None:
    points = [0.002 * number for number in range(251)]  # RELION takes the points as evenly spaced
    write_mtf(Response(frequency=tuple(points), value=tuple(1 - 0.8 * k - k**2 for k in points)), "mtf.star")
    words = ("--mask", "none", "--amplitudes", "whole", "--mtf", "mtf.star", "--mtf_angpix", "1.1", "--b-factor", "-90")
    assert exit_code(["postprocess", "--i", "run_half1.mrc", "--o", "ours", *words, "--threads", "1", "--quiet"]) == 0
    write_map(replace(read_map("truth.mrc"), voxels=torch.ones(BOX, BOX, BOX) / VOXEL), "all.mrc")
    run(
        relion, "relion_postprocess", "--i", "run_half1.mrc", "--i2", "run_half2.mrc", "--mask", "all.mrc", "--angpix", str(VOXEL), "--o", "PP/pp",
        "--mtf", "mtf.star", "--mtf_angpix", "1.1", "--adhoc_bfac", "-90",
    )  # fmt: skip
    ours, theirs = read_postprocess("ours/postprocess.star"), read_postprocess("PP/pp.star")
    difference = ours.logarithms["mtf_corrected"] - theirs.logarithms["mtf_corrected"]
    assert float(difference[4:-1].abs().max()) < 0.03
    assert float((ours.logarithms["mtf_corrected"] - ours.logarithms["original"])[-2]) > 0.1


def test_relion_reads_our_table(relion: Path, folder: Path) -> None:
    assert exit_code(["postprocess", "--i", "run_half1.mrc", "--o", "ours", "--threads", "1", "--quiet"]) == 0
    told = run(
        relion,
        "relion_star_printtable",
        "ours/postprocess.star",
        "data_fsc",
        "rlnSpectralIndex",
        "rlnFourierShellCorrelationCorrected",
    )
    rows = [line.split() for line in told.splitlines() if line.strip()]
    ours = read_postprocess("ours/postprocess.star").curves["corrected"]
    assert [float(row[1]) for row in rows] == pytest.approx(ours.tolist(), abs=1e-5)
    # Our mask and map go through RELION's own post-processing.
    run(
        relion, "relion_postprocess", "--i", "run_half1.mrc", "--mask", "ours/postprocess_automask.mrc", "--angpix", str(VOXEL), "--o", "PP/again",
    )  # fmt: skip
    assert abs(
        1 / read_postprocess("PP/again.star").resolution - 1 / read_postprocess("ours/postprocess.star").resolution
    ) <= 1.001 / (BOX * VOXEL)
