"""What every command is handed beside its files and settings: seed, threads, device, progress, and the way to a job."""

import dataclasses
import json
import math
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cryowalk.workflow.progress import WorkProgress

if TYPE_CHECKING:
    import torch

    from cryowalk.workflow.job import Job


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """How this command was started: `arguments` are its words; `progress` is shown on standard error unless `quiet`; with `is_strict` warnings are errors."""

    command: str
    seed: int = 0
    threads: int = 1
    device: str = "cpu"
    quiet: bool = False
    debug: bool = False
    is_strict: bool = False
    arguments: tuple[str, ...] = ()
    progress: WorkProgress = dataclasses.field(default_factory=WorkProgress)

    def generator(self) -> "torch.Generator":
        """A generator of random numbers, seeded with `--seed`."""
        from cryowalk.numerics.random import generator

        return generator(self.seed)

    @property
    def torch_device(self) -> "torch.device":
        """The device of `--device`."""
        import torch

        return torch.device(self.device)

    @contextmanager
    def job(
        self, files: Any, settings: Any = None, *, directory: Path | None = None, more_inputs: Mapping[str, Path] | None = None
    ) -> Iterator["Job"]:
        """The job in the directory `files.output`, begun or resumed; every other path in `files` is an input, everything else a setting.

        Raises
        ------
        AlreadyDone
            If the job ended before; the command line tells it and exits 0.
        StateConflict, EnvironmentFault
            As `open_job`.
        """
        from cryowalk.workflow.job import Execution, open_job
        from cryowalk.workflow.settings_files import plain

        paths, choices = split_files(files)
        values = {**choices, **(plain(settings) if settings is not None else {})}
        execution = Execution(threads=self.threads, device=self.device, arguments=self.arguments, progress=self.progress)
        with open_job(
            directory or files.output,
            command=self.command,
            settings=values,
            inputs={**paths, **(more_inputs or {})},
            seed=self.seed,
            execution=execution,
        ) as job:
            yield job

    def verify(self, *paths: Path | None) -> None:
        """Nothing, if each of these files that a job wrote still is what the job wrote.

        Raises
        ------
        InputError
            If one was changed or cut off since.
        """
        from cryowalk.workflow.manifest import input_facts, owner_of, verify

        for path in paths:
            if path is not None and path.exists() and owner_of(path) is not None:
                verify(path, input_facts(path, between=self.progress.check))

    def say(self, text: str) -> None:
        """Write a line of the result to standard output, unless `--quiet`."""
        if not self.quiet:
            sys.stdout.write(text + "\n")

    def emit(self, facts: Mapping[str, Any] | Sequence[Any], *, words: Callable[[], str], as_json: bool) -> None:
        """Write the result to standard output: as JSON and nothing else, or in words."""
        sys.stdout.write((json.dumps(finite(facts), indent=1, ensure_ascii=False) if as_json else words()) + "\n")


def split_files(files: Any) -> tuple[dict[str, Path], dict[str, Any]]:
    """The input paths of a files dataclass, and its other values; `output`, `json` and `overwrite` are in neither."""
    paths: dict[str, Path] = {}
    choices: dict[str, Any] = {}
    for each in dataclasses.fields(files):
        value = getattr(files, each.name)
        if each.name in ("output", "json", "overwrite"):
            continue
        if isinstance(value, Path):
            paths[each.name] = value
        elif isinstance(value, tuple) and any(isinstance(item, Path) for item in value):
            paths |= {f"{each.name}.{position}": item for position, item in enumerate(value)}
        else:
            choices[each.name] = value
    return paths, choices


def finite(value: Any) -> Any:
    """The value with numbers that JSON does not know (NaN, infinity) as null."""
    if isinstance(value, Mapping):
        return {str(key): finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(item) for item in value]
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
