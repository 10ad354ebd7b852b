"""cryoDRGN beside us, run as a program of its own: its parsers of STAR and .cs, its loaders of our pickles, its images and CTF of our files.

The Python of its environment is named by CRYOWALK_CRYODRGN_PYTHON; without one these tests are skipped with that reason.
"""

import json
import os
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from cryowalk.cli.main import main
from cryowalk.data.images import ImageStack
from cryowalk.io.cryodrgn import Latents, write_cryodrgn_ctf, write_cryodrgn_poses, write_indices, write_latents
from cryowalk.io.cryodrgn_config import read_cryodrgn_config, write_cryodrgn_config
from cryowalk.io.cryosparc import read_cryosparc, write_cryosparc
from cryowalk.io.mrc import MrcStackReader
from cryowalk.io.relion import read_particles, write_particles
from cryowalk.io.safe_pickle import read_numpy_pickle

pytestmark = [pytest.mark.agreement, pytest.mark.slow]
BOX, SIZE = 32, 2.0


@pytest.fixture(scope="module")
def python() -> Path:
    """The Python that has cryoDRGN; the test is skipped, with the reason, where it is missing."""
    path = Path(os.environ.get("CRYOWALK_CRYODRGN_PYTHON", ""))
    if not path.is_file():
        pytest.skip(
            "no cryoDRGN: make an environment (python -m venv V; V/bin/pip install cryodrgn) and name V/bin/python in CRYOWALK_CRYODRGN_PYTHON"
        )
    return path


PARSERS = """
import sys, json, argparse, importlib
for number, (command, words) in enumerate(json.loads(sys.argv[1])):
    module = importlib.import_module("cryodrgn.commands." + command)
    parser = argparse.ArgumentParser()
    module.add_args(parser)
    module.main(parser.parse_args([*words, "-o", f"{number}.pkl"]))
print("{}")
"""


def parsed(python: Path, *calls: tuple) -> list:
    """What cryoDRGN's parsers write into the current folder, read by our own reader: its commands as they stand, one after another in one process."""
    told(python, PARSERS, json.dumps([(command, list(map(str, words))) for command, *words in calls]))
    return [read_numpy_pickle(f"{number}.pkl") for number in range(len(calls))]


def told(python: Path, script: str, *words) -> dict:
    """The JSON that a script prints on its last line."""
    done = subprocess.run([str(python), "-c", script, *map(str, words)], check=True, capture_output=True, text=True, timeout=240)
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def particles_of(folder: Path, generator: torch.Generator, *, count: int = 6):
    """Particles of an even box with images, poses, shifts, two optics groups and a phase shift."""
    from cryowalk.data.optics import Defocus, Optics
    from cryowalk.data.particles import ParticleSet
    from cryowalk.data.pose import Pose
    from cryowalk.geometry.rotations import matrix_from_euler

    angles = torch.rand(count, 3, generator=generator, dtype=torch.float64) * 6 - 3
    images = ImageStack(pixels=torch.randn(count, BOX, BOX, generator=generator), pixel_size=SIZE)
    optics = tuple(
        Optics(pixel_size=SIZE, voltage_kv=kv, spherical_aberration_mm=cs, amplitude_contrast=0.08, name=f"opticsGroup{n}")
        for n, (kv, cs) in enumerate(((300, 2.7), (200, 1.4)), 1)
    )
    major = 12000 + 3000 * torch.rand(count, generator=generator, dtype=torch.float64)
    return ParticleSet(
        optics=optics, optics_index=torch.arange(count) % 2, images=images,
        pose=Pose(lab_from_particle=matrix_from_euler(angles), shift=torch.randn(count, 2, generator=generator, dtype=torch.float64) * 4),
        defocus=Defocus(major=major, minor=major - 400, azimuth=torch.linspace(-1.2, 1.4, count, dtype=torch.float64), phase_shift=torch.full((count,), 0.3, dtype=torch.float64)),
    )  # fmt: skip


def same_poses(theirs, ours) -> None:
    np.testing.assert_allclose(theirs[0], ours[0], atol=3e-6)
    np.testing.assert_allclose(theirs[1], ours[1], atol=1e-6)


def test_its_parsers_read_our_star_and_cs_as_we_write_its_pickles(python, folder, generator) -> None:
    particles = particles_of(folder, generator)
    write_particles(particles, folder / "p.star")
    read = read_particles(folder / "p.star")
    write_cryosparc(read, folder / "p.cs")
    write_cryodrgn_poses(read, folder / "pose.pkl")
    write_cryodrgn_ctf(read, folder / "ctf.pkl")
    poses, ctf = read_numpy_pickle(folder / "pose.pkl"), read_numpy_pickle(folder / "ctf.pkl")
    found = parsed(
        python, ("parse_pose_star", folder / "p.star"), ("parse_pose_csparc", folder / "p.cs", "-D", BOX),
        ("parse_ctf_star", folder / "p.star", "-D", BOX), ("parse_ctf_csparc", folder / "p.cs"),
    )  # fmt: skip
    for theirs in found[:2]:
        same_poses(theirs, poses)
    for theirs in found[2:]:
        np.testing.assert_allclose(theirs, ctf, rtol=2e-6, atol=1e-5)


def test_its_parsers_of_real_files_agree_with_ours(python, folder, real_data) -> None:
    cs, star = real_data / "interop/cryosparc_P12_J24_001_particles.cs", real_data / "interop/relion31.star"
    found = parsed(
        python, ("parse_pose_csparc", cs, "-D", 180), ("parse_ctf_csparc", cs), ("parse_pose_star", star), ("parse_ctf_star", star)
    )  # fmt: skip
    for particles, (poses, ctf) in ((read_cryosparc(cs), found[:2]), (read_particles(star, images="ignore"), found[2:])):
        write_cryodrgn_poses(particles, folder / "pose.pkl")
        write_cryodrgn_ctf(particles, folder / "ctf.pkl")
        same_poses(poses, read_numpy_pickle(folder / "pose.pkl"))
        np.testing.assert_allclose(ctf, read_numpy_pickle(folder / "ctf.pkl"), rtol=2e-6, atol=1e-5)


LOADERS = """
import sys, json, numpy as np, torch
from cryodrgn import ctf, dataset, utils, config
from cryodrgn.pose import PoseTracker
folder, count, box = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
poses = PoseTracker.load(folder + "/pose.pkl", Nimg=count, D=box)
params = ctf.load_ctf_for_training(box, folder + "/ctf.pkl")
ky, kx = np.meshgrid(np.fft.fftfreq(box, 2.0), np.fft.rfftfreq(box, 2.0), indexing="ij")
k = np.stack((kx.ravel(), ky.ravel()), 1).astype(np.float32)
values = [ctf.compute_ctf(torch.tensor(k), *torch.tensor(row[1:])).numpy().tolist() for row in params]
images = [dataset.ImageDataset(folder + "/" + name, lazy=False, norm=(0, 1), window=False, keepreal=True, invert_data=False).src.images(range(count)).numpy() for name in ("p.mrcs", "p.star", "p.cs")]
config.save({"model_args": {"zdim": 8}}, folder + "/theirs.yaml")
print(json.dumps({"rots": poses.rots.numpy().tolist(), "trans": poses.trans.numpy().tolist(), "ctf": values, "images": [each.tolist() for each in images],
  "ind": utils.load_pkl(folder + "/ind.pkl").tolist(), "z": utils.load_pkl(folder + "/z.pkl").tolist(), "seed": config.load(folder + "/config.yaml")["seed"]}))
"""


def test_its_loaders_take_our_pickles_stacks_and_tables(python, folder, generator) -> None:
    from cryowalk.microscope.lens import contrast_transfer

    particles = particles_of(folder, generator)
    write_particles(particles, folder / "p.star")
    read = read_particles(folder / "p.star")
    write_cryosparc(replace(read, images=MrcStackReader(folder / "p.mrcs")), folder / "p.cs")
    write_cryodrgn_poses(read, folder / "pose.pkl")
    write_cryodrgn_ctf(read, folder / "ctf.pkl")
    write_indices(torch.tensor([3, 1]), folder / "ind.pkl")
    mean = torch.arange(12.0).reshape(6, 2)
    write_latents(Latents(mean=mean, log_variance=mean), folder / "z.pkl")
    write_cryodrgn_config({"dataset_args": {"particles": "p.mrcs"}, "seed": 41}, folder / "config.yaml")
    found = told(python, LOADERS, folder, 6, BOX)
    np.testing.assert_allclose(found["rots"], read.pose.lab_from_particle.numpy(), atol=1e-6)
    np.testing.assert_allclose(found["trans"], -read.pose.shift.numpy() / SIZE, atol=1e-5)  # pixels, RELION's sign
    for images in found["images"]:
        np.testing.assert_array_equal(np.array(images, np.float32), particles.images.pixels.numpy())
    assert (found["ind"], found["seed"]) == ([3, 1], 41)
    np.testing.assert_array_equal(found["z"], mean.numpy())
    assert read_cryodrgn_config(folder / "theirs.yaml")["model_args"]["zdim"] == 8
    for row in range(6):
        ours = contrast_transfer(read.optics[int(read.optics_index[row])], read.defocus[row : row + 1], size=(BOX, BOX))
        theirs = np.array(found["ctf"][row]).reshape(BOX, BOX // 2 + 1)
        inside = np.arange(BOX // 2)  # the last column stands for both signs of the highest frequency
        np.testing.assert_allclose(-theirs[:, inside], ours.squeeze().numpy()[:, inside], atol=6e-3)  # the exact negative


def test_the_command_brings_its_pickles_back_to_star(python, folder, generator) -> None:
    particles = particles_of(folder, generator)
    write_particles(particles, folder / "p.star")
    parsed(python, ("parse_pose_star", folder / "p.star"), ("parse_ctf_star", folder / "p.star", "-D", BOX))
    with pytest.raises(SystemExit) as ended:
        main(
            [
                "convert",
                "--i",
                "0.pkl",
                "--ctf",
                "1.pkl",
                "--images",
                "p.mrcs",
                "--o",
                "back.star",
                "--quiet",
            ]
        )
    assert not ended.value.code
    back, read = read_particles(folder / "back.star"), read_particles(folder / "p.star")
    torch.testing.assert_close(back.pose.lab_from_particle, read.pose.lab_from_particle, atol=3e-6, rtol=0)
    torch.testing.assert_close(back.pose.shift, read.pose.shift, atol=2e-5, rtol=0)
    torch.testing.assert_close(back.defocus.azimuth, read.defocus.azimuth, atol=1e-6, rtol=0)
    torch.testing.assert_close(back.images.read(range(6)), particles.images.pixels)
