"""IMOD's command files (`tilt.com`, `newst.com`, `align.com`, …): programs and their parameters, every line kept as it is.

A line `$program arguments` starts a program; the lines after it are its parameters, a key and its value, until the next `$`. `#` begins a comment.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from cryowalk.core.errors import InputError, printable
from cryowalk.io.atomic import atomic_write_text
from cryowalk.io.opening import read_text
from cryowalk.io.text_rows import SMALL, real

COM_ENDINGS = {".com", ".adoc", ".edf"}
LARGEST_VIEW = 100_000


@dataclass(frozen=True, slots=True, kw_only=True)
class ComParameter:
    """One parameter of a program, and the line it stands on."""

    key: str
    value: str
    line: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ComCommand:
    """One program with its arguments and parameters."""

    program: str
    arguments: str = ""
    parameters: tuple[ComParameter, ...] = ()
    line: int = 0

    def get(self, key: str) -> str | None:
        """The value of a parameter, the last where it stands more than once (empty for a switch), or None; case does not matter."""
        return next((one.value for one in reversed(self.parameters) if one.key.lower() == key.lower()), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class ComFile:
    """A command file: its lines as they are, and its programs."""

    lines: tuple[str, ...]
    commands: tuple[ComCommand, ...]
    path: Path | None = None

    def get(self, key: str) -> str | None:
        """The value of a parameter of the first program that has it, or None."""
        return next((value for command in self.commands if (value := command.get(key)) is not None), None)

    def numbers(self, key: str) -> tuple[float, ...]:
        """The numbers of a parameter, divided by blanks or commas; none where it does not stand.

        Raises
        ------
        InputError
            If one is no number.
        """
        found = next(
            (one for command in self.commands for one in reversed(command.parameters) if one.key.lower() == key.lower()), None
        )
        if found is None:
            return ()
        return tuple(real(text, what=key, path=self.path, line=found.line) for text in found.value.replace(",", " ").split())

    def views(self, key: str = "EXCLUDELIST") -> tuple[int, ...]:
        """The views of a list such as `1-3,40`, as they are counted there, from 1.

        Raises
        ------
        InputError
            If it is no list of views.
        """
        text = self.get(key) or ""
        found: list[int] = []
        for part in text.replace(",", " ").split():
            match = re.fullmatch(r"(\d{1,6})(?:-(\d{1,6}))?", part)
            first, last = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
            if not 0 <= first <= last <= LARGEST_VIEW:
                raise InputError(f"{key} holds “{printable(part)}”", file=self.path, expected="views such as 1-3,40")
            found += range(first, last + 1)
        return tuple(dict.fromkeys(found))

    def with_value(self, key: str, value: str) -> "ComFile":
        """The same file with another value of a parameter, wherever it stands.

        Raises
        ------
        InputError
            If no program has it, or the value cannot stand in a line.
        """
        places = [one.line for command in self.commands for one in command.parameters if one.key.lower() == key.lower()]
        if not places or re.search(r"[\r\n\0]", value):
            raise InputError(
                f"{printable(key)} cannot be set to “{printable(value)}”",
                file=self.path,
                expected="a parameter that stands there",
            )
        lines = list(self.lines)
        for place in places:
            old = lines[place - 1]
            name = old.split(maxsplit=1)[0]
            start = old.index(name) + len(name)
            gap = old[start : start + len(old[start:]) - len(old[start:].lstrip())] if old[start:].strip() else ""
            lines[place - 1] = f"{old[:start]}{gap or ' '}{value}{old[len(old.rstrip()) :]}"
        return replace(self, lines=tuple(lines), commands=_commands(lines, self.path))


def read_com(path: str | Path) -> ComFile:
    """The programs of a command file.

    Raises
    ------
    InputError
        If there is none, or a line before the first is neither empty nor a comment.
    """
    path = Path(path)
    lines = read_text(path, limit=SMALL).split("\n")
    return ComFile(lines=tuple(lines), commands=_commands(lines, path), path=path)


def write_com(com: ComFile, path: str | Path) -> None:
    """Write a command file line by line as it is, all or nothing."""
    atomic_write_text(path, "\n".join(com.lines))


def _commands(lines: Sequence[str], path: Path | None) -> tuple[ComCommand, ...]:
    """The programs in these lines."""
    commands: list[ComCommand] = []
    parameters: list[ComParameter] = []
    for number, raw in enumerate(lines, start=1):
        line = raw.strip()
        if line.startswith("$"):
            _finish(commands, parameters)
            program, _, arguments = line[1:].partition(" ")
            commands.append(ComCommand(program=program, arguments=arguments.strip(), line=number))
        elif line and not line.startswith("#"):
            if not commands:
                raise InputError(
                    f"a line before the first program: “{printable(line[:60])}”", file=path, row=number, expected="$program"
                )
            key, *value = line.split(maxsplit=1)
            parameters.append(ComParameter(key=key, value=value[0] if value else "", line=number))
    _finish(commands, parameters)
    if not commands:
        raise InputError("the file runs no program", file=path, expected="a command file of IMOD")
    return tuple(commands)


def _finish(commands: list[ComCommand], parameters: list[ComParameter]) -> None:
    """Give the last program its parameters."""
    if commands:
        commands[-1] = replace(commands[-1], parameters=tuple(parameters))
    parameters.clear()
