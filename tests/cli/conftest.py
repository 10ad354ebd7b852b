"""A small command as a program, and a folder with an input for it."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

PROGRAM = Path(__file__).with_name("fake_command.py")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "particles.star").write_text(
        "# version 30001\n\ndata_particles\n\nloop_\n_rlnImageName #1\n000001@a.mrcs\n000002@a.mrcs\n\n"
    )
    return tmp_path


@pytest.fixture
def start(project: Path) -> Callable[..., subprocess.Popen]:
    def begin(*arguments: str, **keywords) -> subprocess.Popen:
        words = [sys.executable, str(PROGRAM), "--i", "particles.star", *arguments]
        return subprocess.Popen(words, cwd=project, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **keywords)

    return begin


@pytest.fixture
def fake(start) -> Callable[..., subprocess.CompletedProcess]:
    def run(*arguments: str, **keywords) -> subprocess.CompletedProcess:
        process = start(*arguments, **keywords)
        out, err = process.communicate(timeout=60)
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    return run
