"""The errors a user meets: what is wrong, where, what was expected, the likely cause and what to do.

Each class carries the exit code that the command line gives it.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar


def printable(text: object) -> str:
    """The text with control characters escaped, so that a hostile file name cannot drive the terminal."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in str(text))


class CryowalkError(Exception):
    """An error with one clear message; the base of every error that cryowalk raises on purpose."""

    exit_code: ClassVar[int] = 1

    def __init__(
        self,
        what: str,
        *,
        file: str | Path | None = None,
        row: int | str | None = None,
        expected: str = "",
        cause: str = "",
        fix: str = "",
        details: Sequence[str] = (),
    ) -> None:
        self.what = what
        self.file = file
        self.row = row
        self.expected = expected
        self.cause = cause
        self.fix = fix
        self.details = tuple(details)
        super().__init__(self._message())

    def _message(self) -> str:
        place = ""
        if self.file is not None:
            place = printable(self.file) + (f", {printable(self.row)}" if isinstance(self.row, str) else "")
            place += f", line {self.row}" if isinstance(self.row, int) else ""
            place += ": "
        lines = [place + printable(self.what)]
        lines += ["  - " + "; ".join(printable(line.strip()) for line in each.splitlines()) for each in self.details]
        for label, text in (("Expected", self.expected), ("Likely cause", self.cause), ("What to do", self.fix)):
            if text:
                lines.append(f"  {label}: {printable(text)}")
        return "\n".join(lines)


@contextmanager
def naming(file: str | Path) -> Iterator[None]:
    """Errors about an input that do not name a file get the name of this one."""
    try:
        yield
    except InputError as error:
        if error.file is not None:
            raise
        raise type(error)(
            error.what, file=file, row=error.row, expected=error.expected, cause=error.cause, fix=error.fix, details=error.details
        ) from None


class UsageError(CryowalkError):
    """An option or argument that cannot be meant."""

    exit_code = 2


class InputError(CryowalkError):
    """A file or an array whose content is not usable."""

    exit_code = 3


class DamagedImageError(InputError):
    """An image with a value that is not finite, or too large to be squared in single precision; the other images may be sound."""


class ShapeError(InputError):
    """An array whose shape is not the expected one."""


class EnvironmentFault(CryowalkError):
    """Disk, memory, permission or network: the machine, not the data."""

    exit_code = 4


class SafetyRefusal(CryowalkError):
    """A thing that is refused because it could do harm (pickled code, paths outside the project, external links)."""

    exit_code = 5


class StateConflict(CryowalkError):
    """A directory in use, a resume with other settings, or a damaged checkpoint."""

    exit_code = 6


class Stopped(CryowalkError):
    """The work was stopped by a signal at a safe point and can be resumed."""

    exit_code = 130

    def __init__(self, what: str, *, signal_number: int = 2) -> None:
        super().__init__(what, fix="start the same command again; it continues where it stopped")
        self.signal_number = signal_number


class CryowalkWarning(UserWarning):
    """A result that is valid but surprising."""
