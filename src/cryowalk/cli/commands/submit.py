"""`cryowalk submit`: a command line for a batch system, by a template of RELION's."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cryowalk.cli.command import Command
from cryowalk.cli.context import Context

if TYPE_CHECKING:
    from cryowalk.cli.registry import Entry


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmitFiles:
    """The template, what the batch system is asked for, and the command."""

    words: Annotated[tuple[str, ...], "the command with its options, as it would be typed without submit", "COMMAND…"]
    template: Annotated[Path | None, "script with XXXcommandXXX; $RELION_QSUB_TEMPLATE unless given", "--qsubscript"] = None
    submit_command: Annotated[str | None, "what takes the script; $RELION_QSUB_COMMAND or qsub unless given", "--qsub"] = None
    queue: Annotated[str | None, "name of the queue; $RELION_QUEUE_NAME or openmpi unless given", "--queuename"] = None
    dedicated: Annotated[int, "cores of a node, for XXXnodesXXX and XXXdedicatedXXX", "--min-dedicated", ("min", 1)] = 1
    extra: Annotated[tuple[str, ...], "values of XXXextra1XXX and so on: 1=24:00:00,2=gpu"] = ()
    write_only: Annotated[bool, "write the script and submit nothing"] = False


def run(files: SubmitFiles, settings: None, context: Context) -> None:  # noqa: ARG001  every command has the same three
    """Nothing; the script is in the job's directory, and submitted.

    Raises
    ------
    UsageError
        If no template is known, or the command cannot be meant.
    """
    import os

    from cryowalk.core.errors import UsageError
    from cryowalk.io.atomic import atomic_write_text
    from cryowalk.workflow import queue

    path = files.template or (Path(found) if (found := queue.environment_value(queue.TEMPLATE)) else None)
    if path is None:
        raise UsageError("no template is known", fix=f"give --template FILE, or set {queue.TEMPLATE}")
    template = queue.read_template(path)
    output, threads = checked_words(files.words)
    directory = output.parent if output.suffix else output
    request = queue.QueueRequest(
        command=(sys.executable, "-m", "cryowalk", *files.words, *(() if threads else ("--threads", "1"))),
        directory=directory,
        threads=threads or 1,
        queue=files.queue or queue.environment_value(queue.QUEUE) or "openmpi",
        dedicated=files.dedicated,
        extra=queue.extra_values(files.extra, os.environ),
    )
    script = queue.filled_template(template, request, file=path)
    directory.mkdir(parents=True, exist_ok=True)
    place = directory / queue.SCRIPT_NAME
    atomic_write_text(place, script)
    if files.write_only:
        context.say(f"{place}: written, not submitted")
        return
    answer = queue.submit(place, files.submit_command or queue.environment_value(queue.SUBMIT) or "qsub")
    context.say(answer or f"{place}: submitted")


def checked_words(words: tuple[str, ...]) -> tuple[Path, int | None]:
    """Where the command's results go and how many threads it asks for; a wrong command line is told now, not when its turn in the queue comes.

    Raises
    ------
    UsageError
        If it is no command, has no --o, or asks for a submission itself.
    """
    from cryowalk.cli.registry import entry_for
    from cryowalk.core.errors import UsageError

    entry = entry_for(list(words))
    if entry is None or entry.module == "submit":
        raise UsageError(f"{' '.join(words[:2])!r} is no command that can be submitted", fix="see cryowalk --help")
    values = parsed(entry, list(words))
    output = values.get("output")
    if not isinstance(output, Path):
        raise UsageError(
            f"{' '.join(entry.words)} writes no directory", expected="a command with --o", fix="run it here: it is short"
        )
    threads = values.get("threads")
    return output, threads if isinstance(threads, int) else None


def parsed(entry: "Entry", words: list[str]) -> dict[str, object]:
    """The values of a command line's options, nothing being run."""
    import typer

    from cryowalk.cli.generate import command_function, same_name, spread_lists
    from cryowalk.cli.main import load_command

    command = load_command(entry)
    application = typer.Typer(pretty_exceptions_enable=False, rich_markup_mode=None)
    application.command(" ".join(entry.words), context_settings={"token_normalize_func": same_name(command)})(
        command_function(command)
    )
    whole = typer.main.get_command(application)
    context = whole.make_context(f"cryowalk {' '.join(entry.words)}", spread_lists(command, words[len(entry.words) :]))
    return dict(context.params)


COMMAND = Command(
    name="submit",
    summary="Hand a command to a batch system by a template of RELION's.",
    run=run,
    files=SubmitFiles,
    details="Options of submit stand before the command: cryowalk submit --template T refine --i … --o Refine3D/job012 --threads 16.",
    passes_words=True,
)
