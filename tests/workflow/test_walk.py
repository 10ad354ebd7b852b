"""The main job at a small size: what it writes, that it resumes, and that bad beginnings are refused."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from cryowalk.core.errors import InputError, UsageError
from cryowalk.data import Provenance, Volume
from cryowalk.io.maps import read_map, write_map
from cryowalk.io.relion import read_particles
from cryowalk.workflow.job import AlreadyDone, Execution, open_job
from cryowalk.workflow.settings import WalkSettings
from cryowalk.workflow.walk import WalkInputs, finished_walk, fitted_map, fitting_pixel_size, walk, walk_mask
from cryowalk.workflow.walk_report import walk_report

SMALL = WalkSettings(count=40, box=32, pixel_size=6.0, snr=1.0)


def walked_in(directory: Path, inputs: WalkInputs = WalkInputs(), settings: WalkSettings = SMALL, seed: int = 3):  # noqa: B008  frozen
    execution = Execution()
    from dataclasses import asdict

    with open_job(directory, command="walk", settings=asdict(settings), seed=seed, execution=execution) as job:
        return walk(job, inputs, settings, seed=seed, execution=execution)


@pytest.fixture(scope="module")
def small_walk(tmp_path_factory):
    directory = tmp_path_factory.mktemp("walk") / "out"
    return directory, walked_in(directory)


@pytest.mark.slow
def test_scores_are_flat_have_units_and_show_what_pose_errors_cost(small_walk):
    directory, walked = small_walk
    scores = json.loads((directory / "scores.json").read_text())
    assert set(scores) == set(walked.scores)
    for key in ("fsc_to_truth_0.5_angstrom", "half_fsc_0.143_angstrom", "fsc_to_truth_0.5_angstrom_perturbed_poses"):
        assert scores[key] >= scores["nyquist_angstrom"] == 12.0
    assert scores["fsc_to_truth_mean"] > scores["fsc_to_truth_mean_perturbed_poses"]
    assert 2.0 < scores["pose_angle_error_rms_degrees_perturbed_poses"] < 5.0  # √3 · 2° for errors of 2° about each axis
    assert scores["shift_error_rms_angstrom_perturbed_poses"] == pytest.approx(2**0.5, rel=0.3)


@pytest.mark.slow
def test_a_finished_walk_is_not_done_again(small_walk):
    directory, _ = small_walk
    with pytest.raises(AlreadyDone):
        walked_in(directory)


@pytest.mark.slow
def test_files_are_there_and_read_back(small_walk):
    directory, walked = small_walk
    particles = read_particles(directory / "simulate" / "particles.star")
    assert len(particles) == 40
    assert particles.images.image_shape == (32, 32)
    volume = read_map(directory / "reconstruct_true_poses" / "run_class001.mrc")
    assert volume.voxel_size == pytest.approx(6.0)
    assert torch.allclose(volume.voxels, walked.results["true poses"].full.voxels)
    moved = read_particles(directory / "reconstruct_perturbed_poses" / "particles.star")
    assert torch.equal(moved.images.read([7]), particles.images.read([7]))
    assert not torch.allclose(moved.pose.lab_from_particle, particles.pose.lab_from_particle, atol=1e-3)


@pytest.mark.slow
def test_the_walk_goes_on_from_particles_and_from_a_map(small_walk, tmp_path):
    directory, walked = small_walk
    again = walked_in(tmp_path / "particles", WalkInputs(particles=directory / "simulate" / "particles.star"))
    assert again.scores["half_fsc_0.143_angstrom"] == pytest.approx(walked.scores["half_fsc_0.143_angstrom"], rel=1e-4)
    from_map = walked_in(tmp_path / "map", WalkInputs(map=directory / "simulate" / "truth_map.mrc"))
    assert from_map.scores["fsc_to_truth_mean"] == pytest.approx(walked.scores["fsc_to_truth_mean"], abs=0.2)


@pytest.mark.slow
def test_the_walk_starts_from_the_gun(tmp_path):
    """Without an SNR the data are counted electrons, and the report says how they were made."""
    settings = WalkSettings(count=60, box=32, pixel_size=6.0, dose=30.0, camera="falcon4ec")
    walked = walked_in(tmp_path / "out", settings=settings)
    assert walked.scores["dose_electrons_per_square_angstrom"] == 30.0
    assert 0.3 < walked.scores["snr"] < 0.6  # measured: 0.452, at 6 Å a pixel
    assert walked.scores["fsc_to_truth_0.5_angstrom"] < 40.0
    text = plain_text(walked)
    for word in ("falcon4ec", "30 electrons per Å²", "0.3 eV", "0.05 mrad", "300 Å of ice", "slit"):
        assert word in text, word
    drawn = walked_in(tmp_path / "drawn", settings=SMALL)
    assert drawn.scores["snr"] == pytest.approx(1.0)
    assert "signal-to-noise ratio of 1" in plain_text(drawn)


def plain_text(walked) -> str:
    report = walk_report(walked, Provenance(command="walk", settings={}, versions={}, seed=3))
    return " ".join(str(part) for section in report.sections for part in section.parts if isinstance(part, str))


def test_an_unknown_camera_is_refused_before_anything_is_computed(tmp_path):
    with pytest.raises(UsageError, match="polaroid"):
        walked_in(tmp_path / "out", settings=WalkSettings(count=10, box=32, camera="polaroid"))


def test_two_beginnings_are_refused(tmp_path):
    with pytest.raises(UsageError, match="--map and --particles"):
        walked_in(tmp_path / "out", WalkInputs(map=tmp_path / "a.mrc", particles=tmp_path / "b.star"))


@pytest.mark.slow
def test_particles_without_poses_are_refused(small_walk, tmp_path):
    directory, _ = small_walk
    lines = (directory / "simulate" / "particles.star").read_text().replace("rlnAngleTilt", "rlnAngleOther")
    (directory / "simulate" / "no_poses.star").write_text(lines)
    try:
        with pytest.raises(InputError, match=r"poses|rlnAngle"):
            walked_in(tmp_path / "out", WalkInputs(particles=directory / "simulate" / "no_poses.star"))
    finally:
        (directory / "simulate" / "no_poses.star").unlink()


def asymmetric_map(shape=(20, 24, 22), voxel_size=1.7) -> Volume:
    z, y, x = torch.meshgrid(*[torch.arange(n, dtype=torch.float32) - n // 2 for n in shape], indexing="ij")
    blob = torch.exp(-((x - 2) ** 2 + y**2 + (z + 1) ** 2) / 12) + 0.5 * torch.exp(-(x**2 + (y + 4) ** 2 + z**2) / 6)
    return Volume(voxels=blob, voxel_size=voxel_size)


def test_a_map_of_any_shape_is_fitted_into_the_box_with_its_field_of_view():
    fitted = fitted_map(asymmetric_map(), box=30, pixel_size=None)
    assert tuple(fitted.voxels.shape) == (30, 30, 30)
    assert fitted.voxel_size * 30 == pytest.approx(1.7 * 24)
    before, after = asymmetric_map().voxels.sum() * 1.7**3, fitted.voxels.sum() * fitted.voxel_size**3
    assert after == pytest.approx(before.item(), rel=1e-3)


def test_a_map_is_resampled_to_a_pixel_size_near_the_one_asked_for():
    fitted = fitted_map(asymmetric_map(), box=16, pixel_size=3.1)
    assert tuple(fitted.voxels.shape) == (16, 16, 16)
    assert fitted.voxel_size == pytest.approx(3.1, rel=0.05)


def test_the_pixel_size_fits_the_molecule():
    from cryowalk.microscope.specimen import hinge

    pixel_size = fitting_pixel_size(hinge(), box=96)
    positions = hinge().positions
    assert 96 * pixel_size > 1.4 * (positions - positions.mean(dim=0)).norm(dim=-1).max() * 2


def test_a_mask_larger_than_the_box_is_refused():
    volume = Volume(voxels=torch.zeros(16, 16, 16), voxel_size=2.0)
    assert walk_mask(volume, WalkSettings()).voxels[0, 0, 0] == 0
    with pytest.raises(UsageError, match="does not fit"):
        walk_mask(volume, WalkSettings(mask_radius=17.0))


@pytest.mark.slow
def test_a_walk_killed_at_any_moment_ends_with_the_same_bytes(tmp_path):
    words = [sys.executable, "-m", "cryowalk", "walk", "--output", "out", "--n", "60", "--box", "40", "--pixel-size", "5"]
    words += ["--seed", "5", "--threads", "1", "--quiet"]
    environment = dict(os.environ, MPLBACKEND="Agg")
    whole, killed = tmp_path / "whole", tmp_path / "killed"  # two projects: image names are relative to the project
    whole.mkdir()
    killed.mkdir()
    subprocess.run(words, cwd=whole, env=environment, check=True)
    for delay in (3.5, 6.0):
        process = subprocess.Popen(words, cwd=killed, env=environment)
        time.sleep(delay)
        process.send_signal(signal.SIGKILL)
        process.wait()
    subprocess.run(words, cwd=killed, env=environment, check=True)
    told = {"job.json", "run.log", "report.html"}  # the files that may hold times
    names = sorted(p.relative_to(whole) for p in whole.rglob("*") if p.is_file() and p.name not in told)
    assert len(names) > 10
    for name in names:
        assert (whole / name).read_bytes() == (killed / name).read_bytes(), name


@pytest.mark.slow
@pytest.mark.agreement
def test_real_particles_give_the_right_molecule(real_data, tmp_path):
    star = real_data / "betagal_10204" / "particles_with_relion_poses.star"
    walked = walked_in(tmp_path / "out", WalkInputs(particles=star), WalkSettings(symmetry="D2", mask_radius=100.0))
    result = walked.results["given poses"]
    assert result.masked.correlation[32] >= 0.15  # shell 32 is Nyquist, 7.08 Å
    inside = result.full.voxels[1:, 1:, 1:]  # symmetric about the origin voxel
    for turned in (inside.flip(0, 1), inside.flip(0, 2), inside.flip(1, 2)):
        assert correlation(turned, inside) > 0.99  # the half turns of D2
    assert correlation(inside.flip(0), inside) < 0.8  # a mirror is none of them


def correlation(first: torch.Tensor, second: torch.Tensor) -> float:
    return torch.corrcoef(torch.stack([first.flatten(), second.flatten()]))[0, 1].item()


def test_write_map_is_what_the_walk_reads(tmp_path):
    write_map(asymmetric_map(), tmp_path / "a.mrc")
    assert torch.allclose(read_map(tmp_path / "a.mrc").voxels, asymmetric_map().voxels)


@pytest.mark.slow
def test_a_finished_walk_is_read_again_as_it_was(small_walk):
    directory, walked = small_walk
    again = finished_walk(directory, WalkInputs(), SMALL, seed=3)
    assert again.scores == walked.scores
    assert torch.equal(again.results["perturbed poses"].full.voxels, walked.results["perturbed poses"].full.voxels)
