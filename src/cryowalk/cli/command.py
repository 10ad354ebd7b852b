"""What a command module defines: its name, its files, its settings, and the function that does the work."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """A command: `run(files, settings, context)` is called with an instance of each dataclass.

    `files` is the dataclass of what goes in and out; a field called `output` is the output, every other `Path` is an input that must exist. `settings`
    is a room's frozen Settings, or None. `details` is text below the summary in `--help`. `report` draws the report of a
    finished job again from its directory and manifest; without one, scores, maps, half maps and particles are shown as far as they are there.
    `passes_words` says that the words from the first on that is no option belong to another command. `output_name` is what a command that writes one file calls it in the directory that RELION gives an External job.
    """

    name: str
    summary: str
    run: Callable[[Any, Any, Any], None]
    files: type
    settings: type | None = None
    details: str = ""
    report: Callable[[Path, Any], Path] | None = None
    output_name: str = ""
    passes_words: bool = False
