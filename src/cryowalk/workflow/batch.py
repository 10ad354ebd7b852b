"""Many files, one after the other: what is done is skipped, what fails is set aside and told at the end, and the good ones are kept."""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from cryowalk.core.errors import InputError
from cryowalk.io.atomic import atomic_write_text
from cryowalk.workflow.job import Job

FAILURES_NAME = "failed.json"
_TOLD = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A file that could not be worked on, and why."""

    name: str
    reason: str


def work_through(
    job: Job, names: Sequence[str], work: Callable[[int], None], *, what: str, is_done: Callable[[int], bool]
) -> tuple[Failure, ...]:
    """The failures of `work(i)` for each name i that is not done yet; bad input ends one item, every other error the whole run.

    `work` leaves its results under final names, all or nothing, so that a run that was stopped goes on where it was.
    """
    failures: list[Failure] = []
    job.progress.start(what, len(names))
    for index, name in enumerate(names):
        if is_done(index):
            job.progress.skip(1)
            continue
        try:
            work(index)
        except InputError as error:
            failures.append(Failure(name=name, reason=str(error)))
            job.progress.note(f"left out: {error}")
        job.progress.advance()
    path = job.path(FAILURES_NAME)
    if failures:
        atomic_write_text(path, json.dumps([asdict(failure) for failure in failures], indent=1, ensure_ascii=False) + "\n")
    else:
        path.unlink(missing_ok=True)
    return tuple(failures)


def raise_failures(failures: Sequence[Failure], *, total: int, output: Path) -> None:
    """Nothing, if nothing failed.

    Raises
    ------
    InputError
        Otherwise: how many files failed, and why the first ones did. The job stays open, so that started again it takes up only those.
    """
    if not failures:
        return
    more = [f"and {len(failures) - _TOLD} more, in {FAILURES_NAME}"] if len(failures) > _TOLD else []
    raise InputError(
        f"{len(failures)} of {total} files could not be used; the results of the others are kept",
        file=output,
        details=[*(failure.reason for failure in failures[:_TOLD]), *more],
        fix="mend or remove those files and run the same command again: only they are done",
    )


def stems(names: Sequence[str]) -> tuple[str, ...]:
    """A short name for each file, for its outputs: the bare name, with its folders where two would be the same.

    Raises
    ------
    InputError
        If one file is named twice.
    """
    if len(set(names)) < len(names):
        twice = next(name for name in names if list(names).count(name) > 1)
        raise InputError("this file is named twice", file=twice, cause="two tables were joined, or a pattern fits it too")
    parts = [Path(name).with_suffix("").parts for name in names]
    bare = [part[-1] for part in parts]
    return tuple(
        own if bare.count(own) == 1 else "_".join(piece for piece in part if piece not in ("/", "..", "."))
        for own, part in zip(bare, parts, strict=True)
    )
