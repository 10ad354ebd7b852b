"""What a command module defines: its name, its files, its settings, and the function that does the work."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """A command: `run(files, settings, context)` is called with an instance of each dataclass.

    `files` is the dataclass of what goes in and out; a field called `output` is the output, every other `Path` is an input that must exist. `settings`
    is a room's frozen Settings, or None. `details` is text below the summary in `--help`.
    """

    name: str
    summary: str
    run: Callable[[Any, Any, Any], None]
    files: type
    settings: type | None = None
    details: str = ""
