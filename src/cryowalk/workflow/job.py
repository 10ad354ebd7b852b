"""A job: one command working in one directory, which it locks, records, resumes and never does twice."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

from cryowalk.core.errors import CryowalkError, EnvironmentFault, InputError, SafetyRefusal, StateConflict, UsageError
from cryowalk.workflow import external, pipeline
from cryowalk.workflow.checkpoint import FileCheckpoint
from cryowalk.workflow.lock import LOCK_NAME, directory_lock
from cryowalk.workflow.manifest import (
    JOB_NAME,
    Manifest,
    changed_outputs,
    differences,
    input_facts,
    new_run,
    now,
    output_facts,
    read_manifest,
    verify,
    versions,
)
from cryowalk.workflow.progress import LOG_INTERVAL, LineDisplay, WorkProgress
from cryowalk.workflow.settings_files import plain

LOG_NAME = "run.log"
REPORT_NAME = "report.html"
CHECKPOINTS = "checkpoints"
CHECKPOINT_INTERVAL = 15.0  # s between two checkpoints
TOLD_DIFFERENCES = 8
TOLD_FROM = 2 * 10**9  # bytes of inputs whose reading takes long enough to be told
BOOKKEEPING = (JOB_NAME, LOG_NAME, REPORT_NAME, LOCK_NAME)


class AlreadyDone(CryowalkError):
    """The job in this directory ended before, with the same settings and inputs: there is nothing to do. Exit code 0."""

    exit_code = 0

    def __init__(self, what: str, *, directory: Path) -> None:
        super().__init__(what)
        self.directory = directory


@dataclass(frozen=True, slots=True, kw_only=True)
class Execution:
    """How a job is run, as opposed to what it does: threads, device, the words of the command line, where progress goes."""

    threads: int = 1
    device: str = "cpu"
    arguments: tuple[str, ...] = ()
    progress: WorkProgress = field(default_factory=WorkProgress)
    checkpoint_interval: float = CHECKPOINT_INTERVAL


class Job:
    """A directory that this process holds: paths for outputs, progress, checkpoints, choices that a resumed run keeps."""

    def __init__(self, directory: Path, manifest: Manifest, execution: Execution, *, resumes: bool) -> None:
        self.directory = directory
        self.manifest = manifest
        self.progress = execution.progress
        self.resumes = resumes
        self._interval = execution.checkpoint_interval

    def path(self, name: str) -> Path:
        """Where an output of this name goes; its folder exists.

        Raises
        ------
        SafetyRefusal
            If the name leads out of the job's directory; names in tables may be anything.
        """
        if Path(name).is_absolute() or ".." in Path(name).parts:
            raise SafetyRefusal(f"an output named {name} would be written outside the job's directory", file=self.directory)
        path = self.directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def checkpoint(self, name: str = "state") -> FileCheckpoint:
        """The checkpoint of this name; all of them are removed when the job is done."""
        return FileCheckpoint(
            self.directory / CHECKPOINTS / f"{name}.state",
            interval=self._interval,
            tell=self.progress.note,
            hurry=lambda: self.progress.stop_is_asked,
        )

    def remembered(self, name: str, value: Any) -> Any:
        """The value that the job's first run chose under this name, such as a batch size; at the first run, this one."""
        if name not in self.manifest.choices:
            self.manifest.choices[name] = plain(value)
            self.manifest.write(self.directory)
        return self.manifest.choices[name]

    def require_space(self, size: int) -> None:
        """Nothing, if the disk has room for so many bytes.

        Raises
        ------
        EnvironmentFault
            If it has not.
        """
        import shutil

        free = shutil.disk_usage(self.directory).free
        if free < size:
            raise EnvironmentFault(
                f"the disk has {free / 1e9:.2f} GB left, the outputs need {size / 1e9:.2f} GB",
                file=self.directory,
                fix="free some space or give an output directory on another disk",
            )


def outputs_in(directory: Path) -> list[str]:
    """The names of the files that a job has written into its directory so far, without its own bookkeeping, RELION's, and symbolic links to data."""
    found = []
    for path in sorted(directory.rglob("*")):
        within = path.relative_to(directory)
        is_bookkeeping = CHECKPOINTS in within.parts or path.name in BOOKKEEPING  # also that of stages in sub-directories
        is_unfinished = path.name.startswith(".") or path.name.endswith(".partial")
        if (
            path.is_file()
            and not path.is_symlink()
            and not is_bookkeeping
            and not is_unfinished
            and not external.is_relion_file(within.as_posix())
        ):
            found.append(within.as_posix())
    return found


@contextmanager
def open_job(
    directory: str | Path,
    *,
    command: str,
    settings: Mapping[str, Any],
    inputs: Mapping[str, Path] | None = None,
    seed: int = 0,
    execution: Execution | None = None,
) -> Iterator[Job]:
    """The job in this directory: begun, or resumed where an earlier run of the same command with the same settings and inputs stopped.

    When the block ends, every file in the directory is recorded in job.json with its rows, bytes and sha256, and the checkpoints are removed. A block
    that is left by an error leaves the job failed or stopped; the same call resumes it.

    Raises
    ------
    AlreadyDone
        If the job ended before and its outputs are what it wrote.
    StateConflict
        If another process holds the directory, if it holds another job or other files, or if its outputs were changed.
    EnvironmentFault
        If the directory cannot be written to; nothing has been computed yet.
    """
    directory = Path(directory)
    execution = execution or Execution()
    _refuse_foreign(directory)
    with ExitStack() as stack:
        _enter(directory, stack, execution.progress)
        for stale in directory.rglob(".*.partial"):  # what a killed run was writing; the lock says that nobody is writing it now
            stale.unlink(missing_ok=True)
        before = _begun_before(directory)
        manifest = Manifest(command=command, settings=plain(settings), seed=seed)
        _refuse_others(directory, before, manifest, names=("command", "settings", "seed"))
        _describe_inputs(manifest, inputs or {}, before, execution.progress)
        _refuse_others(directory, before, manifest, names=("inputs",))
        if before is not None and before.state == "done":
            _already_done(directory, before)
        job = _begin(directory, manifest, before, execution)
        log = stack.enter_context(_log_file(directory))
        stack.enter_context(_logging(job.progress, log))
        _tell_beginning(job, before, execution, log)
        if _in_pipeline(job, lambda: pipeline.enrol(directory, manifest)):
            job.progress.watch(external.abort_watch(directory))
        try:
            yield job
            job.progress.finish()
            _finish(job)
        except BaseException as error:
            _leave(job, error, log)
            ending = external.ending_of(error)
            _in_pipeline(job, lambda: pipeline.conclude(directory, manifest, ending))
            raise
        _in_pipeline(job, lambda: pipeline.conclude(directory, manifest, "SUCCESS"))
        log.write(f"{now()} done\n")


def _in_pipeline(job: Job, change: Callable[[], bool]) -> bool:
    """What the change of RELION's record of the project gave; a record that cannot be changed is told, and the work goes on."""
    try:
        return change()
    except (CryowalkError, OSError) as error:
        job.progress.note(f"RELION's record of this project could not be changed: {error}")
        return False


def _refuse_foreign(directory: Path) -> None:
    if not str(directory).isprintable():
        raise UsageError(
            "the name of the output directory holds a control character, which no STAR file can name",
            file=directory,
            fix="give another name",
        )
    if directory.exists() and not directory.is_dir():
        raise UsageError("the output directory is a file", file=directory, fix="give the name of a directory")
    if not directory.is_dir() or (directory / JOB_NAME).exists():
        return
    try:
        names = sorted(each.name for each in directory.iterdir())
    except PermissionError as error:
        raise _unwritable(directory, error) from None
    foreign = [name for name in names if not name.startswith(".") and not external.is_relion_file(name)]
    if foreign:
        listed = ", ".join(foreign[:5]) + (f" and {len(foreign) - 5} more" if len(foreign) > 5 else "")
        raise StateConflict(
            f"the output directory holds other files: {listed}",
            file=directory,
            expected="a new or empty directory, or one in which this command was started before",
            fix="give another output directory",
        )


def _enter(directory: Path, stack: ExitStack, progress: WorkProgress) -> None:
    try:
        directory.mkdir(parents=True, exist_ok=True)
        locked = stack.enter_context(directory_lock(directory))
    except OSError as error:
        raise _unwritable(directory, error) from None
    if not locked:
        progress.note(f"{directory}: this file system knows no locks; do not start the same command twice")


def _unwritable(directory: Path, error: OSError) -> EnvironmentFault:
    return EnvironmentFault(
        f"the output directory cannot be written to: {error.strerror or error}",
        file=directory,
        cause="missing permission, a read-only or full disk, or a name that is too long",
        fix="give an output directory of your own",
    )


def _begun_before(directory: Path) -> Manifest | None:
    """The manifest of an earlier run, or None; one that failed by a wrong option or input before it made anything may be begun anew, corrected."""
    before = read_manifest(directory)
    if before is None or before.state != "failed" or before.runs[-1].get("exit_code") not in (2, 3):
        return before
    if (directory / CHECKPOINTS).exists() or outputs_in(directory):
        return before
    for unfinished in directory.rglob("*.partial"):
        unfinished.unlink()
    return None


def _refuse_others(directory: Path, before: Manifest | None, manifest: Manifest, *, names: tuple[str, ...]) -> None:
    if before is None:
        return
    was, is_now = before.identity(), manifest.identity()
    if was["command"] != is_now["command"]:  # then the settings differ as a matter of course
        names = ("command",)
    lines = differences({name: was[name] for name in names}, {name: is_now[name] for name in names})
    if lines:
        raise StateConflict(
            f"this directory holds a job that is {before.state}, with other values: "
            + "; ".join(lines[:TOLD_DIFFERENCES])
            + (f" and {len(lines) - TOLD_DIFFERENCES} more" if len(lines) > TOLD_DIFFERENCES else ""),
            file=directory,
            fix="give another output directory, the earlier values, or remove this directory",
        )


def _describe_inputs(manifest: Manifest, inputs: Mapping[str, Path], before: Manifest | None, progress: WorkProgress) -> None:
    known = before.inputs if before is not None else {}
    if sum(path.stat().st_size for path in inputs.values() if path.is_file()) > TOLD_FROM:
        progress.note("reading the inputs once, to know them again")
    for name, path in inputs.items():
        facts = input_facts(path, known=known.get(name), between=progress.check)
        manifest.inputs[name] = facts
        parent = verify(path, facts)
        if parent is not None:
            manifest.parents.append({"input": name, **parent})


def _already_done(directory: Path, before: Manifest) -> None:
    wrong = changed_outputs(directory, before)
    if wrong:
        raise StateConflict(
            f"the job in this directory is done, but these outputs are missing or not what it wrote: {', '.join(wrong[:5])}",
            file=directory,
            fix="restore them, or remove the directory to compute them again",
        )
    _remove_checkpoints(directory)  # a run that was killed between its last two steps leaves them
    ended = before.runs[-1].get("ended", "before") if before.runs else "before"
    raise AlreadyDone(
        f"{directory}: this job is done (ended {ended}, {len(before.outputs)} outputs as recorded); nothing to do",
        directory=directory,
    )


def _begin(directory: Path, manifest: Manifest, before: Manifest | None, execution: Execution) -> Job:
    manifest.arguments = list(execution.arguments)
    manifest.threads, manifest.device, manifest.versions = execution.threads, execution.device, versions()
    if before is not None:
        manifest.choices, manifest.runs = before.choices, before.runs
        if before.versions.get("cryowalk") != manifest.versions["cryowalk"]:
            raise StateConflict(
                f"this job was begun by cryowalk {before.versions.get('cryowalk')} and cannot be continued by {manifest.versions['cryowalk']}",
                file=directory,
                fix="remove the directory or give another one",
            )
    manifest.runs.append(new_run())
    manifest.write(directory)  # the first write: a directory that refuses it ends the command before anything is computed
    return Job(directory, manifest, execution, resumes=before is not None)


@contextmanager
def _log_file(directory: Path) -> Iterator[TextIO]:
    with (directory / LOG_NAME).open("a", encoding="utf-8", errors="backslashreplace", buffering=1) as log:
        yield log


@contextmanager
def _logging(progress: WorkProgress, log: TextIO) -> Iterator[None]:

    def write(text: str) -> None:
        log.write(f"{now()} {text}\n")

    display = LineDisplay(write, interval=LOG_INTERVAL)
    progress.show_on(display)
    try:
        yield
    finally:
        progress.hide_from(display)


def _tell_beginning(job: Job, before: Manifest | None, execution: Execution, log: TextIO) -> None:
    run = job.manifest.runs[-1]
    log.write(
        f"{run['started']} cryowalk {job.manifest.command}, process {run['pid']} on {run['host']}: {' '.join(execution.arguments)}\n"
    )
    if before is None:
        return
    job.progress.note(f"going on with the job that was {'killed' if before.state == 'running' else before.state}")
    for name in ("threads", "device"):
        was, is_now = getattr(before, name), getattr(job.manifest, name)
        if was != is_now:
            job.progress.note(f"{name}: {was} before, {is_now} now; results may differ from those of one run by rounding (1e-5)")


def _finish(job: Job) -> None:
    names = outputs_in(job.directory)
    job.manifest.outputs = {name: output_facts(job.directory / name, between=job.progress.check) for name in names}
    job.manifest.state = "done"
    job.manifest.runs[-1].update(ended=now(), state="done")
    job.manifest.write(job.directory)
    _remove_checkpoints(job.directory)


def _remove_checkpoints(directory: Path) -> None:
    import shutil

    shutil.rmtree(directory / CHECKPOINTS, ignore_errors=True)


def _leave(job: Job, error: BaseException, log: TextIO) -> None:
    ending = external.ending_of(error)
    if isinstance(error, GeneratorExit):
        return
    job.manifest.state = "stopped" if ending == "ABORTED" else "failed"
    facts = error.what if isinstance(error, CryowalkError) else f"{type(error).__name__}: {error}"
    code = error.exit_code if isinstance(error, CryowalkError) else 1
    job.manifest.runs[-1].update(ended=now(), state=job.manifest.state, error=facts, exit_code=code)
    # The error itself is what the user must hear of; a full disk may well refuse these lines too.
    with suppress(OSError, EnvironmentFault):
        log.write(f"{now()} {job.manifest.state}: {facts}\n")
        job.manifest.write(job.directory)


def read_job(directory: str | Path) -> Manifest:
    """The manifest of a job's directory.

    Raises
    ------
    InputError
        If there is none.
    """
    manifest = read_manifest(Path(directory))
    if manifest is None:
        raise InputError(
            "this is no job directory: it holds no job.json", file=directory, fix="give the --o directory of a command that ended"
        )
    return manifest
