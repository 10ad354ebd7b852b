"""RELION goes on from our 2D classes, and leaves images in the classes that we gave them to."""

import importlib.util
import subprocess
from pathlib import Path

import pytest
import torch

from cryowalk.cli.main import exit_code
from cryowalk.io import read_particles, write_particles

pytestmark = [pytest.mark.agreement, pytest.mark.slow]


@pytest.fixture(scope="module")
def job(tmp_path_factory) -> Path:
    """A folder with a finished classification in Class2D."""
    path = Path(__file__).parents[1] / "classification" / "conftest.py"
    spec = importlib.util.spec_from_file_location("views_for_relion", path)
    views = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(views)
    folder = tmp_path_factory.mktemp("relion")
    write_particles(views.known_views(120, views=3, snr=0.2, seed=8).particles, folder / "particles.star")
    words = [
        "--classes",
        "3",
        "--iterations",
        "3",
        "--diameter",
        "190",
        "--resolution-limit",
        "20",
        "--angular-step",
        "10",
        "--offset-step",
        "5",
        "--quiet",
        "--threads",
        "1",
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert exit_code(["class2d", "--i", "particles.star", "--o", "Class2D", *words]) == 0
    return folder


def labels(path: Path) -> dict[str, int]:
    particles = read_particles(path, images="ignore")
    return dict(zip(particles.image_names, particles.class_number.tolist(), strict=True))


def same_part(ours: dict[str, int], theirs: dict[str, int]) -> float:
    """The part of the images that are in the same class, where each of RELION's classes is the one of ours that it is most like."""
    names = list(ours)
    first, second = torch.tensor([ours[n] for n in names]), torch.tensor([theirs[n] for n in names])
    return sum(int(torch.bincount(first[second == k]).max()) for k in set(second.tolist())) / len(names)


def run(folder: Path, program: Path, *words: str) -> None:
    done = subprocess.run(
        [str(program / "relion_refine"), *words], cwd=folder, capture_output=True, text=True, check=False, timeout=900
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-2000:]


def test_relion_continues_our_classification(job, relion):
    (job / "Continued").mkdir()
    run(job, relion, "--continue", "Class2D/run_it003_optimiser.star", "--o", "Continued/run", "--iter", "4", "--j", "1")
    ours, theirs = labels(job / "Class2D" / "run_it003_data.star"), labels(next((job / "Continued").glob("*it004_data.star")))
    assert same_part(ours, theirs) >= 0.9
