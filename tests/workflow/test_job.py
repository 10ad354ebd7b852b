"""Jobs from inside: what is recorded, what is verified, and that no failing write loses anything."""

import errno
import json
import os
import signal
from contextlib import suppress
from pathlib import Path

import pytest

from cryowalk.core.errors import EnvironmentFault, InputError, StateConflict, Stopped
from cryowalk.workflow import AlreadyDone, Execution, open_job, read_job
from cryowalk.workflow.external import external_job
from cryowalk.workflow.manifest import differences, rows_of
from cryowalk.workflow.progress import WorkProgress
from cryowalk.workflow.signals import StopRequest

STAR = (
    "data_optics\n\nloop_\n_rlnOpticsGroup #1\n1\n\ndata_particles\n\nloop_\n_rlnImageName #1\n1@a.mrcs\n2@a.mrcs\n3@a.mrcs\n\n"
)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "in.star"
    path.write_text(STAR)
    return path


def finished(directory: Path, **inputs: Path) -> Path:
    with open_job(directory, command="step", settings={"box": 64}, inputs=inputs) as job:
        job.path("particles.star").write_text(STAR)
        job.path("more/map.mrc").write_bytes(bytes(2000))
    return directory


def test_outputs_are_recorded_with_rows_bytes_and_sha256(tmp_path, source):
    manifest = read_job(finished(tmp_path / "job", source=source))
    assert manifest.state == "done"
    assert manifest.outputs["particles.star"]["rows"] == 3
    assert manifest.outputs["more/map.mrc"]["bytes"] == 2000
    assert manifest.inputs["source"]["sha256"] == manifest.outputs["particles.star"]["sha256"]
    assert {"cryowalk", "torch", "numpy"} <= manifest.versions.keys()


def test_a_done_job_is_not_begun_again(tmp_path, source):
    finished(tmp_path / "job", source=source)
    with pytest.raises(AlreadyDone, match="nothing to do") as told:
        finished(tmp_path / "job", source=source)
    assert told.value.exit_code == 0


def test_inputs_from_a_job_are_verified_and_become_parents(tmp_path, source):
    first = finished(tmp_path / "first", source=source)
    second = read_job(finished(tmp_path / "second", source=first / "particles.star", map=first / "more" / "map.mrc"))
    assert [(parent["input"], parent["output"]) for parent in second.parents] == [
        ("source", "particles.star"),
        ("map", "more/map.mrc"),
    ]
    # The loss of whole lines is what no parser can see.
    (first / "particles.star").write_text(STAR.replace("3@a.mrcs\n", ""))
    with pytest.raises(InputError, match=r"it has .* 2 rows") as told:
        finished(tmp_path / "third", source=first / "particles.star")
    assert "3 rows" in told.value.expected
    assert not (tmp_path / "third" / "particles.star").exists()


def test_a_copied_and_edited_file_outside_a_job_is_taken_as_it_is(tmp_path, source):
    first = finished(tmp_path / "first", source=source)
    (tmp_path / "edited.star").write_text((first / "particles.star").read_text().replace("3@", "4@"))
    assert read_job(finished(tmp_path / "second", source=tmp_path / "edited.star")).parents == []


def test_a_missing_input_is_named_with_its_neighbour(tmp_path, source):
    with pytest.raises(InputError, match="no such file") as told:
        finished(tmp_path / "job", source=tmp_path / "im.star")
    assert "in.star" in told.value.fix


def test_an_unchanged_input_is_hashed_once(tmp_path, source, monkeypatch):
    import cryowalk.workflow.manifest as module

    hashed = []
    honest = module.sha256_of
    monkeypatch.setattr(module, "sha256_of", lambda path, **keywords: hashed.append(path.name) or honest(path, **keywords))
    with pytest.raises(RuntimeError), open_job(tmp_path / "job", command="step", settings={}, inputs={"source": source}):
        raise RuntimeError
    with open_job(tmp_path / "job", command="step", settings={}, inputs={"source": source}):
        pass
    assert hashed.count("in.star") == 1
    os.utime(source, ns=(1, 1))
    with pytest.raises(AlreadyDone), open_job(tmp_path / "job", command="step", settings={}, inputs={"source": source}):
        pass
    assert hashed.count("in.star") == 2


def test_choices_of_the_first_run_are_kept(tmp_path):
    def first_run() -> None:
        with open_job(tmp_path / "job", command="step", settings={}) as job:
            assert job.remembered("batch", 64) == 64
            raise Stopped("at a safe point")

    with pytest.raises(Stopped):
        first_run()
    with open_job(tmp_path / "job", command="step", settings={}) as job:
        assert job.resumes
        assert job.remembered("batch", 128) == 64


@pytest.mark.parametrize(
    ("error", "state"),
    [(Stopped("x"), "stopped"), (KeyboardInterrupt(), "stopped"), (ValueError("x"), "failed"), (InputError("x"), "failed")],
)
def test_how_it_ended_is_recorded(tmp_path, error, state):
    with pytest.raises(type(error)), open_job(tmp_path / "job", command="step", settings={}):
        raise error
    manifest = read_job(tmp_path / "job")
    assert manifest.state == state
    assert manifest.runs[-1]["state"] == state
    assert state in (tmp_path / "job" / "run.log").read_text()


def test_a_damaged_manifest_is_a_state_conflict(tmp_path):
    finished(tmp_path / "job")
    (tmp_path / "job" / "job.json").write_text('{"format": 1, "comm')
    with pytest.raises(StateConflict, match="cannot be read"):
        finished(tmp_path / "job")


def test_another_version_does_not_continue(tmp_path):
    with pytest.raises(ValueError, match="x"), open_job(tmp_path / "job", command="step", settings={}):
        raise ValueError("x")
    path = tmp_path / "job" / "job.json"
    path.write_text(path.read_text().replace('"cryowalk": "', '"cryowalk": "9.'))
    with pytest.raises(StateConflict, match="begun by cryowalk 9"), open_job(tmp_path / "job", command="step", settings={}):
        pass


def test_other_threads_are_told_and_allowed(tmp_path):
    told: list[str] = []

    class Told(WorkProgress):
        def note(self, fact: str) -> None:
            told.append(fact)

    with pytest.raises(ValueError, match="x"), open_job(tmp_path / "job", command="step", settings={}):
        raise ValueError("x")
    with open_job(tmp_path / "job", command="step", settings={}, execution=Execution(threads=3, progress=Told())):
        pass
    assert any("threads: 1 before, 3 now" in fact for fact in told)


def test_differences_are_told_by_name():
    before = {"a": 1, "b": {"c": [1, 2], "d": "x"}, "gone": 0}
    assert differences(before, {"a": 1, "b": {"c": [1, 3], "d": "x"}, "new": 1}) == [
        "b.c: was [1, 2], now [1, 3]",
        "gone: is gone",
        "new: was not there",
    ]
    assert differences(before, before) == []


def test_rows_of_tables_and_stacks(tmp_path, source):
    assert rows_of(source) == 3
    stack = tmp_path / "s.mrcs"
    stack.write_bytes((8).to_bytes(4, "little") * 2 + (17).to_bytes(4, "little") + bytes(1012))
    assert rows_of(stack) == 17
    assert rows_of(tmp_path / "in.txt") is None


def test_every_failing_flush_or_rename_leaves_a_job_that_goes_on(tmp_path, monkeypatch):
    """The n-th write to the disk fails, for every n until none does: nothing wrong is ever taken for done."""
    reference = work(tmp_path / "whole")
    for number in range(1, 200):
        directory = tmp_path / f"job{number}"
        with monkeypatch.context() as patch:
            calls = failing(patch, number)
            # Either it works all the same or it ends with an error of the machine (exit code 4), never with a defect.
            with suppress(OSError, EnvironmentFault):
                assert work(directory) == reference
        if calls[0] < number:
            break
        state = read_job(directory).state if (directory / "job.json").exists() else "none"
        assert state in ("none", "running", "failed", "done"), state
        try:
            assert work(directory) == reference
        except AlreadyDone:
            assert (directory / "sum.txt").read_text() == reference
        assert not list(directory.rglob("*.partial"))
    assert number > 30


def test_killed_at_every_flush_or_rename_a_job_goes_on_and_ends_the_same(tmp_path, monkeypatch):
    """The process dies by SIGKILL at its n-th flush, for every n until it lives."""
    reference = work(tmp_path / "whole")
    for number in range(1, 200):
        directory = tmp_path / f"job{number}"
        child = os.fork()
        if child == 0:
            with monkeypatch.context() as patch:
                failing(patch, number, lambda: os.kill(os.getpid(), signal.SIGKILL))
                work(directory)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        if os.WIFEXITED(status):
            break
        try:
            assert work(directory) == reference
        except AlreadyDone:
            assert (directory / "sum.txt").read_text() == reference
        assert sorted(path.name for path in directory.iterdir()) == ["job.json", "run.log", "sum.txt"]
    assert number > 30


def no_space() -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def work(directory: Path) -> str:
    with open_job(directory, command="step", settings={}, execution=Execution(checkpoint_interval=0.0)) as job:
        checkpoint = job.checkpoint()
        state = checkpoint.load() or {"numbers": []}
        numbers = state["numbers"]
        for number in range(len(numbers), 4):
            numbers = [*numbers, number**2]
            checkpoint.save({"numbers": numbers})
        from cryowalk.io.atomic import atomic_write_text

        atomic_write_text(job.path("sum.txt"), json.dumps(numbers))
    return (directory / "sum.txt").read_text()


def failing(patch: pytest.MonkeyPatch, number: int, fault=no_space) -> list[int]:
    calls = [0]

    def counted(honest):
        def call(*arguments, **keywords):
            calls[0] += 1
            if calls[0] == number:
                fault()
            return honest(*arguments, **keywords)

        return call

    patch.setattr(os, "fsync", counted(os.fsync))
    patch.setattr(os, "link", counted(os.link))
    patch.setattr(Path, "replace", counted(Path.replace))
    patch.setattr(Path, "open", counted(Path.open))
    patch.setattr(Path, "mkdir", counted(Path.mkdir))
    return calls


class TestExternalJobs:
    """RELION's contract."""

    def test_success_is_marked_and_outputs_are_listed(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        directory = Path("External/job007")
        directory.mkdir(parents=True)
        (directory / "job.star").write_text("data_job\n")
        (directory / "run.out").write_text("")
        with external_job(directory, progress=WorkProgress()), open_job(directory, command="step", settings={}) as job:
            job.path("particles.star").write_text(STAR)
            job.path("run_half1_class001_unfil.mrc").write_bytes(b"x")
        assert (directory / "RELION_JOB_EXIT_SUCCESS").exists()
        text = (directory / "RELION_OUTPUT_NODES.star").read_text()
        assert "data_output_nodes" in text
        assert "_rlnPipeLineNodeName #1" in text
        assert "External/job007/particles.star ParticleGroupMetadata.star.relion 3" in text
        assert "External/job007/run_half1_class001_unfil.mrc DensityMap.mrc.relion.halfmap 10" in text
        assert "job.star" not in text

    @pytest.mark.parametrize(
        ("error", "ending"),
        [(InputError("x"), "FAILURE"), (Stopped("x", signal_number=15), "ABORTED"), (ValueError("x"), "FAILURE")],
    )
    def test_an_error_is_marked(self, tmp_path, error, ending):
        (tmp_path / "RELION_JOB_EXIT_SUCCESS").touch()
        with pytest.raises(type(error)), external_job(tmp_path, progress=WorkProgress()):
            raise error
        assert [path.name for path in tmp_path.iterdir()] == [f"RELION_JOB_EXIT_{ending}"]

    def test_the_request_to_abort_stops_at_the_next_safe_point(self, tmp_path, monkeypatch):
        monkeypatch.setattr("cryowalk.workflow.progress.POLL_INTERVAL", 0.0)
        progress = WorkProgress(request=StopRequest())

        def work() -> None:
            with external_job(tmp_path, progress=progress):
                progress.advance()
                (tmp_path / "RELION_JOB_ABORT_NOW").touch()
                progress.advance()

        with pytest.raises(Stopped) as told:
            work()
        assert told.value.signal_number == 15
        assert [path.name for path in tmp_path.iterdir()] == ["RELION_JOB_EXIT_ABORTED"]


def test_a_job_that_failed_by_a_wrong_option_may_be_begun_anew_with_a_right_one(tmp_path):
    def wrong() -> None:
        with open_job(tmp_path / "job", command="step", settings={"box": 3}) as job:
            job.path("stack.mrcs.partial").write_bytes(b"x")
            raise InputError("too small")

    with pytest.raises(InputError):
        wrong()
    with open_job(tmp_path / "job", command="step", settings={"box": 64}) as job:
        assert not job.resumes
        assert not job.path("stack.mrcs.partial").exists()
    with pytest.raises(ValueError, match="x"), open_job(tmp_path / "other", command="step", settings={"box": 3}):
        raise ValueError("x")
    with (
        pytest.raises(StateConflict, match=r"settings.box: was 3, now 64"),
        open_job(tmp_path / "other", command="step", settings={"box": 64}),
    ):
        pass


def test_stages_in_sub_directories_are_jobs_of_their_own(tmp_path):
    with (
        open_job(tmp_path / "walk", command="walk", settings={}) as job,
        open_job(job.directory / "stage", command="step", settings={}) as stage,
    ):
        stage.path("map.mrc").write_bytes(b"x")
        stage.path("report.html").write_text("12:00")
    assert list(read_job(tmp_path / "walk").outputs) == ["stage/map.mrc"]
    assert list(read_job(tmp_path / "walk" / "stage").outputs) == ["map.mrc"]
