"""Jobs as users meet them: killed, stopped, started twice, changed, out of disk."""

import json
import os
import random
import resource
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import pytest


def wait_for(condition, process, seconds=20.0) -> None:
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end and process.poll() is None:
        time.sleep(0.005)


def state_of(directory: Path) -> dict:
    return json.loads((directory / "job.json").read_text())


def test_a_finished_job_is_recorded_and_not_done_again(fake, project):
    first = fake("--o", "job", "--threads", "1")
    assert first.returncode == 0, first.stderr
    record = state_of(project / "job")
    assert record["state"] == "done"
    assert record["threads"] == 1
    assert record["settings"]["patches"] == [5, 5]
    assert set(record["outputs"]) == {"sum.txt", "deep/run_half1_class001_unfil.mrc"}
    assert len(record["inputs"]["source"]["sha256"]) == 64
    assert not (project / "job" / "checkpoints").exists()
    assert not list((project / "job").rglob(".*"))
    before = (project / "job" / "job.json").read_bytes()
    again = fake("--o", "job", "--threads", "1")
    assert again.returncode == 0
    assert "nothing to do" in again.stderr
    assert len(again.stderr.splitlines()) == 1
    assert (project / "job" / "job.json").read_bytes() == before


def test_killed_at_random_moments_a_job_ends_with_the_same_bytes(start, fake, project, digests):
    assert fake("--o", "whole", "--pause", "0.004").returncode == 0
    moments = random.Random(7)
    kills = 0
    for trial in range(2):
        name = f"killed{trial}"
        for _ in range(4):
            process = start("--o", name, "--pause", "0.004", "--quiet")
            try:
                process.wait(timeout=moments.uniform(0.1, 0.6))
            except subprocess.TimeoutExpired:
                process.kill()
                kills += 1
            process.communicate()
        assert fake("--o", name, "--pause", "0.004").returncode == 0
        assert digests(project / name) == digests(project / "whole")
    assert kills > 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_at_a_safe_point_and_the_job_goes_on(number, start, fake, project, digests):
    process = start("--o", "job", "--pause", "0.02", "-n", "30")
    wait_for((project / "job" / "checkpoints" / "state.state").exists, process)
    process.send_signal(number)
    asked = time.monotonic()
    _, err = process.communicate(timeout=10)
    assert time.monotonic() - asked < 2
    assert process.returncode == 128 + number
    assert "stopped at a safe point" in err
    assert "Traceback" not in err
    assert state_of(project / "job")["state"] == "stopped"
    again = fake("--o", "job", "--pause", "0.02", "-n", "30")
    assert again.returncode == 0
    assert "going on with the job that was stopped" in again.stderr
    assert fake("--o", "whole", "--pause", "0.02", "-n", "30").returncode == 0
    assert digests(project / "job") == digests(project / "whole")


def test_a_second_signal_ends_it_at_once(start, project):
    process = start("--o", "job", "--pause", "30")  # no safe point within half a minute
    wait_for((project / "job" / "job.json").exists, process)
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    time.sleep(0.2)
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=5)
    assert process.returncode == 130


def test_a_second_process_is_refused_and_told_who_works_there(start, fake, project):
    process = start("--o", "job", "--pause", "0.05", "-n", "200")
    wait_for((project / "job" / "job.json").exists, process)
    other = fake("--o", "job", "--pause", "0.05", "-n", "200")
    assert other.returncode == 6
    assert f"process {process.pid} on " in other.stderr
    process.kill()
    process.communicate()
    assert fake("--o", "job", "--pause", "0", "-n", "2").returncode == 6  # the lock is free, the settings are other ones


def test_a_lock_left_by_a_killed_process_frees_itself(start, fake, project):
    process = start("--o", "job", "--pause", "0.02", "-n", "30")
    wait_for((project / "job" / "checkpoints").exists, process)
    process.kill()
    process.communicate()
    assert (project / "job" / ".cryowalk.lock").exists()
    assert fake("--o", "job", "--pause", "0.02", "-n", "30").returncode == 0
    assert not (project / "job" / ".cryowalk.lock").exists()


def test_other_settings_or_inputs_in_the_same_directory_are_refused(fake, project, digests):
    assert fake("--o", "job").returncode == 0
    before = digests(project / "job")
    other = fake("--o", "job", "--sym", "D2")
    assert other.returncode == 6
    assert 'settings.symmetry: was "C1", now "D2"' in other.stderr
    assert "seed: was 0, now 3" in fake("--o", "job", "--seed", "3").stderr
    with (project / "particles.star").open("a") as star:
        star.write("000003@a.mrcs\n")
    changed = fake("--o", "job")
    assert changed.returncode == 6
    assert "inputs.source.sha256" in changed.stderr
    assert digests(project / "job") == before


def test_a_directory_with_other_files_is_refused(fake, project):
    (project / "thesis").mkdir()
    (project / "thesis" / "chapter1.tex").write_text("x")
    refused = fake("--o", "thesis")
    assert refused.returncode == 6
    assert "chapter1.tex" in refused.stderr
    assert [path.name for path in (project / "thesis").iterdir()] == ["chapter1.tex"]


def test_a_file_in_place_of_the_directory_is_refused(fake, project):
    (project / "job").write_text("x")
    assert fake("--o", "job").returncode == 2
    assert (project / "job").read_text() == "x"


@pytest.fixture
def read_only(project):
    """A folder that refuses to be written to, also by root."""
    folder = project / "locked"
    folder.mkdir(mode=0o555)
    if os.geteuid():
        yield folder
        return
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "ro,size=64k", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"root, and nothing can be mounted here: {mounted.stderr.decode().strip()}")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=False)


def test_a_directory_that_cannot_be_written_is_told_before_computing(fake, read_only):
    began = time.monotonic()
    for name in ("locked", "locked/job"):
        refused = fake("--o", name, "--pause", "5")
        assert refused.returncode == 4, refused.stderr
        assert "cannot be written to" in refused.stderr
    assert time.monotonic() - began < 5
    assert not list(read_only.iterdir())


def test_a_file_size_limit_is_an_error_with_a_number(start, fake, project):
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (700, resource.RLIM_INFINITY))

    (project / "before.txt").write_text("untouched")
    process = start("--o", "job", "-n", "200", preexec_fn=limit)
    _, err = process.communicate(timeout=20)
    assert process.returncode == 4, err
    assert "Traceback" not in err
    assert not (project / "job" / "sum.txt").exists()
    assert not list((project / "job").rglob("*.partial"))


def fill(path: Path) -> None:
    """Write to the path until the disk is full."""
    with path.open("wb", buffering=0) as rest, suppress(OSError):
        while True:
            rest.write(bytes(1024))


def test_a_full_disk_is_an_error_and_nothing_is_lost(start, fake, project, digests):
    disk = project / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=160k", "tmpfs", str(disk)], capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip(f"no tiny disk can be mounted here: {mounted.stderr.decode().strip()}")
    try:
        (disk / "filler").write_bytes(bytes(40_000))
        process = start("--o", "disk/job", "-n", "40", "--pause", "0.02")
        # Fill what is left while the job runs.
        wait_for((disk / "job" / "checkpoints").exists, process)
        fill(disk / "rest")
        _, err = process.communicate(timeout=20)
        assert process.returncode == 4, err
        assert "Traceback" not in err
        assert not (disk / "job" / "sum.txt").exists()
        assert state_of(disk / "job")["state"] in ("running", "failed")
        (disk / "rest").unlink()
        again = fake("--o", "disk/job", "-n", "40", "--pause", "0.02")
        assert again.returncode == 0, again.stderr
        (disk / "filler").unlink()
        assert fake("--o", "whole", "-n", "40", "--pause", "0.02").returncode == 0
        assert digests(disk / "job") == digests(project / "whole")
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=False)


def test_a_damaged_checkpoint_falls_back_to_the_one_before(start, fake, project, digests):
    process = start("--o", "job", "--pause", "0.02", "-n", "30")
    state = project / "job" / "checkpoints" / "state.state"
    wait_for(state.with_name("state.previous.state").exists, process)
    process.kill()
    process.communicate()
    content = bytearray(state.read_bytes())
    content[-40] ^= 1
    state.unlink()  # killed between two steps, it and the one before may be one file under two names
    state.write_bytes(content)
    again = fake("--o", "job", "--pause", "0.02", "-n", "30")
    assert again.returncode == 0
    assert "checkpoint is damaged" in again.stderr
    assert fake("--o", "whole", "--pause", "0.02", "-n", "30").returncode == 0
    assert digests(project / "job") == digests(project / "whole")


def test_two_damaged_checkpoints_are_a_state_conflict(start, fake, project):
    process = start("--o", "job", "--pause", "0.02", "-n", "30")
    folder = project / "job" / "checkpoints"
    wait_for((folder / "state.previous.state").exists, process)
    process.kill()
    process.communicate()
    for each in folder.glob("*.state"):
        each.write_bytes(each.read_bytes()[:-5])
    again = fake("--o", "job", "--pause", "0.02", "-n", "30")
    assert again.returncode == 6
    assert "remove the folder" in again.stderr


def test_changed_outputs_of_a_finished_job_are_noticed(fake, project):
    assert fake("--o", "job").returncode == 0
    (project / "job" / "sum.txt").write_text("other\n")
    assert fake("--o", "job").returncode == 6


def test_a_reader_that_leaves_gets_no_traceback(project):
    import sys

    program = Path(__file__).with_name("fake_command.py")
    for words in (f"{program} --help", f"{program} --i particles.star --o job --json", "-m cryowalk --help"):
        piped = subprocess.run(
            ["bash", "-c", f"{sys.executable} {words} | true; echo ${{PIPESTATUS[0]}}"],
            cwd=project,
            capture_output=True,
            text=True,
            check=False,
        )
        assert piped.stderr.count("Traceback") == 0, piped.stderr
        assert piped.stdout.strip() in ("0", "141")


def test_a_log_that_nobody_reads_does_not_stop_the_job(project):
    import sys

    program = Path(__file__).with_name("fake_command.py")
    piped = subprocess.run(
        ["bash", "-c", f"{sys.executable} {program} --i particles.star --o job --pause 0.01 2>&1 >/dev/null | true; echo ${{PIPESTATUS[0]}}"],
        cwd=project, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert piped.stdout.strip() == "0"
    assert state_of(project / "job")["state"] == "done"
