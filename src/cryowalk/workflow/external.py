"""RELION's contract for External jobs: markers that say how a job ended, the list of its outputs, and the request to abort.

Source: the RELION documentation, "Using RELION", External job-type; the marker names are RELION's.
"""

import signal
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from fnmatch import fnmatch
from pathlib import Path
from typing import Literal

from cryowalk.core.errors import CryowalkError
from cryowalk.workflow.lock import DirectoryInUse
from cryowalk.workflow.manifest import read_manifest
from cryowalk.workflow.nodes import output_nodes
from cryowalk.workflow.progress import WorkProgress

ABORT_REQUEST = "RELION_JOB_ABORT_NOW"
NODES_NAME = "RELION_OUTPUT_NODES.star"
_MARKER = "RELION_JOB_EXIT_"
Ending = Literal["SUCCESS", "FAILURE", "ABORTED"]

# Files that RELION itself puts into a job's directory before and while it runs.
RELION_FILES = (
    "job.star",
    "job_pipeline.star",
    "default_pipeline.star",
    "note.txt",
    "run.out",
    "run.err",
    "run.job",
    "run_submit.script",
    "continue_job.star",
    "RELION_*",
    "*.old",
)


def is_relion_file(name: str) -> bool:
    """Whether RELION, and not a command of ours, puts a file of this name into a job's directory."""
    return any(fnmatch(name, pattern) for pattern in RELION_FILES)


def is_external_job(directory: Path) -> bool:
    """Whether RELION started this job: the directory holds its job.star, or is called External/jobNNN."""
    return (directory / "job.star").exists() or (directory.parent.name == "External" and directory.name.startswith("job"))


def abort_watch(directory: Path) -> Callable[[], int]:
    """A look whether RELION asks the job to abort: SIGTERM's number if so, otherwise 0; the request is taken away."""

    def look() -> int:
        request = directory / ABORT_REQUEST
        if not request.exists():
            return 0
        request.unlink(missing_ok=True)
        return int(signal.SIGTERM)

    return look


def is_marked(directory: Path) -> bool:
    """Whether a job says how it ended."""
    return any((directory / f"{_MARKER}{ending}").exists() for ending in ("SUCCESS", "FAILURE", "ABORTED"))


def clear_markers(directory: Path) -> None:
    """Remove the markers and requests of an earlier run."""
    for name in (*(f"{_MARKER}{ending}" for ending in ("SUCCESS", "FAILURE", "ABORTED")), ABORT_REQUEST):
        (directory / name).unlink(missing_ok=True)


def write_marker(directory: Path, ending: Ending) -> None:
    """Say how the job ended; RELION's scheduler waits for this file.

    Raises
    ------
    OSError
        If it cannot be written.
    """
    clear_markers(directory)
    (directory / f"{_MARKER}{ending}").touch()


@contextmanager
def external_job(directory: Path, *, progress: WorkProgress) -> Iterator[None]:
    """Markers around a command that RELION started: its abort request is heard, its outputs are listed, its ending is marked.

    A directory that another process works in is left to that process.
    """
    if not directory.is_dir():
        yield
        return
    clear_markers(directory)
    progress.watch(abort_watch(directory))
    try:
        yield
    except DirectoryInUse:
        raise
    except BaseException as error:
        if getattr(error, "exit_code", 1) == 0:
            _succeed(directory)
            raise
        with suppress(OSError):  # the error itself is what counts; a full disk may refuse the marker too
            write_marker(directory, ending_of(error))
        raise
    _succeed(directory)


def _succeed(directory: Path) -> None:
    manifest = read_manifest(directory)
    if manifest is not None:
        names = list(manifest.outputs)
    else:
        names = [each.name for each in directory.iterdir() if each.is_file() and not is_relion_file(each.name)]
    write_output_nodes(directory, names)
    write_marker(directory, "SUCCESS")


def ending_of(error: BaseException | None) -> Ending:
    """How a job that ended with this error ended, in RELION's words."""
    if error is None:
        return "SUCCESS"
    stopped = isinstance(error, KeyboardInterrupt) or (isinstance(error, CryowalkError) and error.exit_code >= 128)
    return "ABORTED" if stopped else "FAILURE"


def write_output_nodes(directory: Path, names: Iterable[str], *, named: Path | None = None) -> None:
    """List the outputs that other RELION jobs can take as inputs; `named` is what the project calls the directory.

    Raises
    ------
    EnvironmentFault
        If it cannot be written.
    """
    from cryowalk.io.atomic import atomic_write_text

    rows = []
    for name, kind in output_nodes(directory, names):
        path = ((named or directory) / name).as_posix()
        rows.append(f"{chr(34) + path + chr(34) if ' ' in path else path} {kind.label} {kind.number}")
    header = ["", "# version 30001", "", "data_output_nodes", "", "loop_"]
    header += ["_rlnPipeLineNodeName #1", "_rlnPipeLineNodeTypeLabel #2", "_rlnPipeLineNodeType #3"]
    atomic_write_text(directory / NODES_NAME, "\n".join([*header, *rows, "", ""]))
