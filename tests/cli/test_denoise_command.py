"""`cryowalk denoise` as a user meets it: particles, half maps, pairs of micrographs, micrographs with a CTF, and inputs that are none."""

import json

import pytest
import torch
from tests.denoising.conftest import PIXEL_SIZE, lumps, noisy, particles_of

from cryowalk.cli.main import main
from cryowalk.data import Volume
from cryowalk.fourier import shell_correlation
from cryowalk.io import read_map, read_micrographs, read_particles, write_map, write_particles
from cryowalk.io.mrc import write_array
from cryowalk.io.pictures import read_micrograph

QUIET = ("--quiet", "--threads", "1", "--device", "cpu")


def denoise(*words):
    with pytest.raises(SystemExit) as raised:
        main(["denoise", *words, *QUIET])
    return raised.value.code


@pytest.fixture
def inside(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def maps(inside):
    truth = lumps((32, 32, 32), count=40).float()
    for number, half in enumerate(noisy(truth, deviation=0.3, seed=2), 1):
        write_map(Volume(voxels=half, voxel_size=2.1), inside / f"run_half{number}_class001_unfil.mrc")
    return inside, truth


@pytest.fixture
def pictures(inside):
    truths = [lumps((64, 80), count=60, seed=seed).float() for seed in (1, 2)]
    for number, truth in enumerate(truths):
        for name, half in zip(("ODD", "EVN"), noisy(truth, deviation=0.5, seed=5 + number), strict=True):
            write_array(50 + half, inside / f"m{number}_{name}.mrc", voxel_size=3.3, kind="images")
    return inside, truths


def test_half_maps_find_each_other_and_give_a_map_curves_and_a_report(maps):
    folder, truth = maps
    assert denoise("--i", "run_half1_class001_unfil.mrc", "--o", "D") == 0
    facts = json.loads((folder / "D/denoising.json").read_text())
    assert facts["kind"] == "half maps"
    assert facts["method"] == "local"
    assert facts["warning"].startswith("Denoised is not data")
    found = read_map(folder / "D/denoised.mrc")
    first, second = (read_map(folder / f"run_half{number}_class001_unfil.mrc").voxels for number in (1, 2))
    assert float((found.voxels - truth).square().mean()) < 0.3 * float(((first + second) / 2 - truth).square().mean())
    before, after = shell_correlation((first + second) / 2, truth), shell_correlation(found.voxels, truth)
    assert float((after - before)[1:].min()) > -0.01
    page = (folder / "D/report.html").read_text()
    assert "Denoised is not data" in page
    assert "Bias" in page
    assert denoise("--i", "run_half1_class001_unfil.mrc", "--o", "D") == 0  # done: nothing to do
    assert denoise("--i", "run_half1_class001_unfil.mrc", "--o", "D", "--method", "wiener") == 6


def test_particles_lose_their_ctf_with_it(inside):
    _, particles, _, _ = particles_of(60, box=33)
    write_particles(particles, inside / "particles.star")
    for method in ("pca", "wiener"):
        words = ("--method", method, "--diameter", "95", "--finest-resolution", "16")
        assert denoise("--i", "particles.star", "--o", method, *words) == 0
        found = read_particles(inside / method / "denoised.star")
        assert len(found) == 60
        assert found.defocus is None
        assert found.images.image_shape == (33, 33)
        assert found.pixel_size == pytest.approx(PIXEL_SIZE)
        assert json.loads((inside / method / "denoising.json").read_text())["count"] == 60
        assert (inside / method / "report.html").is_file()


def test_pairs_of_micrographs_train_networks_and_the_same_seed_gives_the_same_bytes(pictures):
    folder, truths = pictures
    files = ("--i", "m0_ODD.mrc", "m1_ODD.mrc", "--i2", "m0_EVN.mrc", "m1_EVN.mrc", "--steps", "25", "--channels", "4")
    for output in ("A", "B"):
        assert denoise(*files, "--o", output, "--seed", "3") == 0
    assert (folder / "A/micrographs/m0.mrc").read_bytes() == (folder / "B/micrographs/m0.mrc").read_bytes()
    for number, truth in enumerate(truths):
        found = read_micrograph(folder / f"A/micrographs/m{number}.mrc").pixels
        halves = [read_micrograph(folder / f"m{number}_{name}.mrc").pixels for name in ("ODD", "EVN")]
        assert abs(float(found.mean()) - 50) < 1
        assert float((found - 50 - truth).square().mean()) < 0.5 * float(((sum(halves) / 2) - 50 - truth).square().mean())


def test_tables_name_their_halves_or_their_ctf(pictures):
    folder, _ = pictures
    head = (
        "# version 30001\n\ndata_optics\n\nloop_\n_rlnOpticsGroupName #1\n_rlnOpticsGroup #2\n_rlnMicrographPixelSize #3\n_rlnVoltage #4\n"
        "_rlnSphericalAberration #5\n_rlnAmplitudeContrast #6\nopticsGroup1 1 3.3 300 2.7 0.1\n\n# version 30001\n\ndata_micrographs\n\nloop_\n"
    )
    names = "_rlnMicrographName #1\n_rlnOpticsGroup #2\n_rlnMicrographNameOdd #3\n_rlnMicrographNameEven #4\n"
    rows = "".join(f"sums/m{n}.mrc 1 m{n}_ODD.mrc m{n}_EVN.mrc\n" for n in (0, 1))
    (folder / "corrected.star").write_text(head + names + rows + "\n")
    assert denoise("--i", "corrected.star", "--o", "Wiener", "--method", "wiener") == 0
    assert len(read_micrographs(folder / "Wiener/denoised_micrographs.star")) == 2
    names = "_rlnMicrographName #1\n_rlnOpticsGroup #2\n_rlnDefocusU #3\n_rlnDefocusV #4\n_rlnDefocusAngle #5\n"
    (folder / "ctf.star").write_text(head + names + "m0_ODD.mrc 1 15000 14000 20\nm1_ODD.mrc 1 18000 18000 0\n\n")
    assert denoise("--i", "ctf.star", "--o", "Deconvolved") == 0
    found = read_micrograph(folder / "Deconvolved/micrographs/m0_ODD.mrc").pixels
    assert abs(float(found.mean())) < 1e-3


def test_a_bad_pair_is_set_aside_and_told(pictures, capsys):
    folder, _ = pictures
    write_array(torch.ones(64, 80), folder / "m1_EVN.mrc", voxel_size=3.3, kind="images")
    files = ("--i", "m0_ODD.mrc", "m1_ODD.mrc", "--i2", "m0_EVN.mrc", "m1_EVN.mrc", "--method", "wiener")
    assert denoise(*files, "--o", "D") == 3
    assert "the second half is constant" in capsys.readouterr().err
    assert (folder / "D/micrographs/m0.mrc").is_file()
    assert not (folder / "D/micrographs/m1.mrc").exists()


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (("--i", "run_half1_class001_unfil.mrc", "--i2", "run_half1_class001_unfil.mrc"), 3, "both halves are the same"),
        (("--i", "lonely.mrc"), 3, "cannot be told from its noise"),
        (("--i", "run_half1_class001_unfil.mrc", "--i2", "other.mrc"), 3, "half maps differ"),
        (("--i", "run_half1_class001_unfil.mrc", "--method", "pca"), 2, "not denoised by pca"),
        (("--i", "run_half1_class001_unfil.mrc", "--method", "noise2noise", "--crop", "30"), 3, "cannot be halved"),
    ],
)
def test_what_cannot_be_denoised_is_told(maps, capsys, words, code, told):
    folder, truth = maps
    write_map(Volume(voxels=truth, voxel_size=2.1), folder / "lonely.mrc")
    write_map(Volume(voxels=truth[:30, :30, :30].clone(), voxel_size=2.1), folder / "other.mrc")
    assert denoise(*words, "--o", "D") == code
    assert told in capsys.readouterr().err
