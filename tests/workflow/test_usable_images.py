"""Damaged images are left out by name or refused, in every command on particles; a refused denoising leaves no partial stack; outputs stay in their directory."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "io"))

from hostile import Bench, poison, project

from cryowalk.cli.fields import fields_of
from cryowalk.cli.main import load_command
from cryowalk.cli.registry import entry_for
from cryowalk.core.errors import InputError, SafetyRefusal
from cryowalk.core.execution import SilentProgress
from cryowalk.io import read_particles
from cryowalk.workflow.job import open_job
from cryowalk.workflow.usable_images import refuse_damaged, without_damaged

COMMANDS = ("reconstruct", "abinitio", "refine", "class2d", "class3d", "ctf-refine", "subtract", "denoise")


class Told(SilentProgress):
    """Keeps what is told."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, fact: str) -> None:
        self.notes.append(fact)


@pytest.fixture
def bench(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    return Bench(tmp_path, capsys)


def test_damaged_images_are_left_out_by_name(bench):
    table = project(bench.fresh(), count=300, box=8)
    for image, value in ((3, np.nan), (257, np.inf), (300, 3e38)):
        poison(Path("particles.mrcs"), image, value, box=8)
    particles, told = read_particles(table), Told()
    kept = without_damaged(particles, on_nan="drop", progress=told)
    assert len(kept) == 297
    assert not {f"{number:06d}@particles.mrcs" for number in (3, 257, 300)} & set(kept.image_names)
    assert told.notes == [
        "left out, because the image holds NaN or infinite values (3): 000003@particles.mrcs, 000257@particles.mrcs, 000300@particles.mrcs"
    ]
    assert torch.isfinite(kept.images.read(range(297))).all()
    with pytest.raises(InputError, match="image 3 holds"):
        refuse_damaged(particles, on_nan="refuse", progress=told)
    refuse_damaged(particles, on_nan="drop", progress=told)  # such commands leave them out themselves
    sound = read_particles(project(bench.fresh()))
    assert without_damaged(sound, on_nan="refuse", progress=told) is sound


def test_none_left_is_an_error(bench):
    table = project(bench.fresh(), count=3, box=8)
    for image in (1, 2, 3):
        poison(Path("particles.mrcs"), image, np.nan, box=8)
    with pytest.raises(InputError, match="none of the 3 images can be used"):
        without_damaged(read_particles(table), on_nan="drop", progress=SilentProgress())


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_on_particles_has_the_option(name):
    command = load_command(entry_for([name]))
    flags = [flag for kind in (command.files, command.settings) for field in fields_of(kind) for flag in field.flags]
    assert flags.count("--on-nan") == 1


def test_denoise_drops_or_refuses_and_leaves_no_partial_stack(bench):
    table = project(bench.fresh(), count=40, box=16)
    poison(Path("particles.mrcs"), 5, np.nan, box=16)
    said = bench.cli("denoise", "--i", table, "--method", "wiener", "--diameter", "20", "--o", "dropped")
    assert "(1): 000005@particles.mrcs" in said
    assert "39 images" in said
    assert len(read_particles("dropped/denoised.star")) == 39
    bench.cli("denoise", "--i", table, "--method", "wiener", "--diameter", "20", "--o", "refused", "--on-nan", "refuse", code=3)
    raw = bytearray(Path("particles.mrcs").read_bytes())
    raw[1024 + 4 * 256 * 4 : 1024 + 4 * 256 * 5] = bytes(1024)  # an image without contrast, which denoise refuses while it works
    Path("particles.mrcs").write_bytes(raw)
    assert "constant" in bench.cli("denoise", "--i", table, "--method", "wiener", "--diameter", "20", "--o", "flat", code=3)
    assert not [path for folder in ("refused", "flat") for path in Path(folder).rglob("*.partial")]


def test_an_output_never_leaves_the_directory_of_its_job(tmp_path):
    with open_job(tmp_path / "job", command="x", settings={}) as job:
        for name in ("../a.mrc", "/tmp/a.mrc", "b/../../a.mrc"):
            with pytest.raises(SafetyRefusal) as caught:
                job.path(name)
            assert caught.value.exit_code == 5
        job.path("b/a.mrc").write_text("x")
    assert not (tmp_path / "a.mrc").exists()
