"""The entry of the command line: finds the command, runs it, and turns every ending into a message and an exit code."""

import errno
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from io import TextIOWrapper
from pathlib import Path
from typing import Any

import typer

from cryowalk.cli.command import Command
from cryowalk.cli.registry import GROUPS, REGISTRY, Entry, entry_for
from cryowalk.core.errors import CryowalkError, Stopped, printable

# The base of typer's usage errors; typer exports only this one subclass by a public name.
_TyperUsageError: type[Exception] = typer.BadParameter.__mro__[1]

PROGRAM = "cryowalk"
_BROKEN_PIPE = 141  # what a shell reports for a program whose reader has gone
_ABSENT = {errno.ENOENT, errno.EISDIR, errno.ENOTDIR}
_NO_MEMORY = ("not enough memory", "can't allocate memory", "out of memory", "alloc_cpu")


def main(arguments: Sequence[str] | None = None) -> None:
    """Never returns: the process ends with one of the exit codes 0 … 6, 130, 141 or 143.

    Raises
    ------
    SystemExit
        Always.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # a terminal that knows no Å shall not end the work
            stream.reconfigure(errors="backslashreplace")
    code = exit_code(words)
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        code = _BROKEN_PIPE
    except OSError as error:
        code = _report(error, debug=False)
    if code == _BROKEN_PIPE:
        # Python flushes once more while it ends; give it somewhere to write.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    sys.exit(code)


def exit_code(words: list[str]) -> int:
    """The exit code of this command line; everything it has to say is said."""
    if words in (["--version"], ["-V"]):
        from cryowalk import __version__

        sys.stdout.write(f"{PROGRAM} {__version__}\n")
        return 0
    try:
        entry = entry_for(words)
        application = build(entry, complete=f"_{PROGRAM.upper()}_COMPLETE" in os.environ)
        if entry is not None:
            words = _with_lists(entry, words)
        result = application(words or ["--help"], prog_name=PROGRAM, standalone_mode=False)
    except typer.Exit as error:
        return error.exit_code
    except SystemExit as error:
        # typer itself ends the process when the reader of standard output has gone.
        if isinstance(error.__context__, BrokenPipeError):
            return _BROKEN_PIPE
        return error.code if isinstance(error.code, int) else 1
    except BaseException as error:  # noqa: BLE001  this is the one place where every error ends
        code = _report(error, debug="--debug" in words)
        if code:
            _mark_failure(words, error)
        return code
    return result if isinstance(result, int) else 0


def _mark_failure(words: list[str], error: BaseException) -> None:
    """Mark an External job of RELION as failed where the command line was wrong and no command ever ran; RELION would wait for ever."""
    from contextlib import suppress
    from itertools import pairwise

    from cryowalk.workflow.external import is_external_job, is_marked, write_marker
    from cryowalk.workflow.lock import DirectoryInUse

    pairs = [*pairwise(words), *(tuple(word.split("=", 1)) for word in words if "=" in word)]
    folder = next((Path(value) for flag, value in pairs if flag in ("--o", "--output")), None)
    if folder is None or isinstance(error, DirectoryInUse) or not folder.is_dir() or not is_external_job(folder):
        return
    with suppress(OSError):
        if not is_marked(folder):
            write_marker(folder, "FAILURE")


def build(entry: Entry | None, *, complete: bool = False) -> typer.Typer:
    """The application: the command that runs with all its options, every other one by name and summary alone."""
    application = typer.Typer(
        name=PROGRAM,
        help="cryowalk walks from the electron gun to the density map. Each command has its own --help.",
        context_settings={"help_option_names": ["--help", "-h"]},
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        epilog=f"Exit codes: 0 done, 2 usage, 3 bad input, 4 machine, 5 refused for safety, 6 state conflict, 130 stopped. "
        f"{PROGRAM} --version tells the version.",
    )
    groups: dict[str, typer.Typer] = {}
    for each in REGISTRY:
        parent = application
        if len(each.words) > 1:
            name = each.words[0]
            if name not in groups:
                summary, panel = GROUPS[name]
                groups[name] = typer.Typer(help=summary)
                application.add_typer(groups[name], name=name, rich_help_panel=panel)
            parent = groups[name]
        heading = each.panel if parent is application else None
        if complete or each is entry:
            function, normalise = _whole(each)
            context: dict[str, Any] = {"token_normalize_func": normalise}
            if load_command(each).passes_words:
                context["allow_interspersed_args"] = False
            parent.command(each.words[-1], rich_help_panel=heading, context_settings=context)(function)
        else:
            parent.command(each.words[-1], rich_help_panel=heading)(_summary_only(each))
    return application


def _whole(entry: Entry) -> tuple[Callable[..., None], Callable[[str], str]]:
    from cryowalk.cli.generate import command_function, same_name

    command = load_command(entry)
    return command_function(command), same_name(command)


def _with_lists(entry: Entry, words: list[str]) -> list[str]:
    from cryowalk.cli.generate import spread_lists

    return [*entry.words, *spread_lists(load_command(entry), words[len(entry.words) :])]


def load_command(entry: Entry) -> Command:
    """The command of an entry; its module is imported now."""
    from importlib import import_module

    command: Command = import_module(f"cryowalk.cli.commands.{entry.module}").COMMAND
    return command


def _summary_only(entry: Entry) -> Callable[..., None]:
    def function() -> None:
        return None

    function.__doc__ = entry.summary
    return function


def _report(error: BaseException, *, debug: bool) -> int:
    """The exit code of an error, told on standard error."""
    if debug and not isinstance(error, _TyperUsageError):
        _tell("".join(traceback.format_exception(error)).rstrip())
    text, code = describe(error)
    if text:
        _tell(text)
    return code


def describe(error: BaseException) -> tuple[str, int]:
    """The message and the exit code of an error."""
    if isinstance(error, CryowalkError):
        code = 128 + error.signal_number if isinstance(error, Stopped) else error.exit_code
        return (str(error) if code == 0 else f"{PROGRAM}: {error}"), code
    if isinstance(error, _TyperUsageError):
        return usage_message(error), 2
    if isinstance(error, BrokenPipeError):
        return "", _BROKEN_PIPE
    if isinstance(error, KeyboardInterrupt | typer.Abort):
        return f"{PROGRAM}: stopped", 130
    return _describe_unexpected(error)


def _describe_unexpected(error: BaseException) -> tuple[str, int]:
    if isinstance(error, MemoryError) or any(words in str(error).lower() for words in _NO_MEMORY):
        return (
            f"{PROGRAM}: not enough memory: {error}\n  What to do: use a smaller box or batch, or a machine with more memory",
            4,
        )
    if isinstance(error, OSError):
        return _describe_os_error(error)
    return (
        f"{PROGRAM}: {type(error).__name__}: {printable(error)}\n"
        "  This is a defect of ours, not of your data. Run the command again with --debug and send us what it prints."
    ), 1


def _describe_os_error(error: OSError) -> tuple[str, int]:
    place = f"{printable(error.filename)}: " if error.filename is not None else ""
    words = printable(error.strerror or error)
    if error.errno in _ABSENT:
        return f"{PROGRAM}: {place}{words}\n  What to do: check the name and the directory you are in", 3
    hints = {
        errno.ENOSPC: "free some space, or give an output directory on another disk",
        errno.EDQUOT: "free some of your quota, or give an output directory on another disk",
        errno.EFBIG: "raise the limit on file sizes (ulimit -f)",
        errno.EACCES: "ask for the permission, or use a directory of your own",
        errno.EROFS: "give an output directory on a disk that can be written to",
        errno.EMFILE: "raise the limit on open files (ulimit -n)",
    }
    hint = hints.get(
        error.errno or 0, "look at the disk, the memory and the network of this machine, then start the command again"
    )
    return f"{PROGRAM}: {place}{words}\n  What to do: {hint}", 4


def usage_message(error: Exception) -> str:
    """The message of a wrong command line, with the option whose name is nearest to an unknown one."""
    from difflib import get_close_matches

    text = error.format_message() if hasattr(error, "format_message") else str(error)
    context: Any = getattr(error, "ctx", None)
    wrong = getattr(error, "option_name", None)
    path = context.command_path if context is not None else PROGRAM
    if wrong is not None and context is not None and text.startswith("No such option"):
        known = [flag for parameter in context.command.params for flag in (*parameter.opts, *parameter.secondary_opts)]
        near = get_close_matches(wrong, known, n=1, cutoff=0.0)
        text = f"no such option: {printable(wrong)}" + (f"; the nearest is {near[0]}" if near else "")
    return f"{path}: {text}\n  What to do: see {path} --help"


def _tell(text: str) -> None:
    try:
        sys.stderr.write(text + "\n")
        sys.stderr.flush()
    except (OSError, ValueError):
        return  # nobody listens any more; the exit code still tells
