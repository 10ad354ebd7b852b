import errno
import os
import signal
import subprocess
import sys

import pytest

from cryowalk.core.errors import EnvironmentFault
from cryowalk.io.atomic import atomic_path, atomic_write_bytes, atomic_write_text


def test_a_file_appears_whole_with_what_was_written(tmp_path):
    atomic_write_text(tmp_path / "a b.txt", "Å\r\n")
    assert (tmp_path / "a b.txt").read_bytes() == "Å\r\n".encode()
    assert [p.name for p in tmp_path.iterdir()] == ["a b.txt"]


def test_an_error_leaves_the_old_file_and_no_other(tmp_path):
    target = tmp_path / "x"
    target.write_text("old")

    def fail():
        with atomic_path(target) as temporary:
            temporary.write_text("half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert target.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["x"]


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_full_disk_at_any_step_leaves_the_old_file(tmp_path, monkeypatch, step):
    target = tmp_path / "x"
    target.write_text("old")

    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync" if step == "fsync" else "pathlib.Path.replace", full)
    with pytest.raises(EnvironmentFault, match="x: cannot write: No space left") as caught:
        atomic_write_bytes(target, b"new")
    assert caught.value.exit_code == 4
    assert target.read_text() == "old"
    assert len(list(tmp_path.iterdir())) == 1


def test_a_file_size_limit_is_an_environment_fault_and_not_a_death(tmp_path):
    code = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "from cryowalk.io.atomic import atomic_write_bytes\n"
        "from cryowalk.core.errors import EnvironmentFault\n"
        "try: atomic_write_bytes(sys.argv[1], bytes(5000))\n"
        "except EnvironmentFault as error: raise SystemExit(error.exit_code)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "x")], check=False)
    assert done.returncode == 4
    assert not list(tmp_path.iterdir())


def test_a_missing_folder_and_a_folder_as_target_are_told(tmp_path):
    with pytest.raises(EnvironmentFault, match="folder to write into does not exist"):
        atomic_write_text(tmp_path / "no" / "x", "")
    with pytest.raises(EnvironmentFault, match="over a folder"):
        atomic_write_text(tmp_path, "")


def test_a_name_of_the_greatest_length_can_be_written(tmp_path):
    atomic_write_text(tmp_path / ("é" * 127), "x")
    assert (tmp_path / ("é" * 127)).read_text() == "x"


def test_a_symbolic_link_is_replaced_and_its_target_untouched(tmp_path):
    (tmp_path / "precious").write_text("precious")
    (tmp_path / "link").symlink_to(tmp_path / "precious")
    atomic_write_text(tmp_path / "link", "new")
    assert (tmp_path / "precious").read_text() == "precious"
    assert (tmp_path / "link").read_text() == "new"


def test_the_usual_permissions_are_kept(tmp_path):
    old = os.umask(0o027)
    try:
        atomic_write_text(tmp_path / "x", "")
    finally:
        os.umask(old)
    assert (tmp_path / "x").stat().st_mode & 0o777 == 0o640


def test_a_killed_writer_leaves_no_file_under_the_final_name(tmp_path):
    code = "import os, sys\nfrom cryowalk.io.atomic import atomic_path\nwith atomic_path(sys.argv[1]) as t:\n    t.write_text('half')\n    os.kill(os.getpid(), 9)"
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "x")], check=False)
    assert done.returncode == -signal.SIGKILL
    assert not (tmp_path / "x").exists()
