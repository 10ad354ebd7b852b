"""Work for a batch system by RELION's own templates: a script in which XXXcommandXXX and its like are filled in, handed to sbatch or qsub.

Source: the RELION documentation, "Installation", section on the job submission script; the names of variables and of the environment are RELION's.
"""

import math
import os
import re
import shlex
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cryowalk.core.errors import EnvironmentFault, InputError, UsageError
from cryowalk.workflow.manifest import nearest_name

SCRIPT_NAME = "run_submit.script"
TEMPLATE, SUBMIT, QUEUE, EXTRA = "RELION_QSUB_TEMPLATE", "RELION_QSUB_COMMAND", "RELION_QUEUE_NAME", "RELION_QSUB_EXTRA{}_DEFAULT"
_VARIABLE = re.compile(r"XXX([A-Za-z]+\d*)XXX")
_EXTRA = re.compile(r"extra([1-9]\d*)$")
_LARGEST = 2**20  # bytes of a template
_PATIENCE = 120.0  # s for the batch system to answer


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueRequest:
    """What a batch system is asked for: the command's words, the job's directory, threads, queue, cores of a node, and the template's extra values by number."""

    command: tuple[str, ...]
    directory: Path
    threads: int = 1
    queue: str = "openmpi"
    dedicated: int = 1
    extra: Mapping[int, str] = field(default_factory=dict)

    def variables(self) -> dict[str, str]:
        """The value of each of RELION's variables; the work is one process of several threads."""
        place = self.directory.as_posix() + "/"
        return {
            "name": place,
            "outfile": f"{place}run.out",
            "errfile": f"{place}run.err",
            "command": shlex.join(self.command),
            "queue": self.queue,
            "mpinodes": "1",
            "threads": str(self.threads),
            "cores": str(self.threads),
            "nodes": str(math.ceil(self.threads / max(self.dedicated, 1))),
            "dedicated": str(self.dedicated),
            **{f"extra{number}": value for number, value in self.extra.items()},
        }


def read_template(path: Path) -> str:
    """The text of a template.

    Raises
    ------
    InputError
        If it is not there, no text, or names no command.
    """
    try:
        content = path.read_bytes()[: _LARGEST + 1]
    except FileNotFoundError:
        raise InputError("there is no such template", file=path, fix=nearest_name(path)) from None
    except IsADirectoryError:
        raise InputError("this is a directory, not a template", file=path) from None
    if len(content) > _LARGEST or b"\0" in content:
        raise InputError("this is no template of a script", file=path, expected="a text with XXXcommandXXX, as RELION has it")
    text = content.decode("utf-8", "surrogateescape")
    if "XXXcommandXXX" not in text:
        raise InputError(
            "the template does not say where the command goes", file=path, expected="XXXcommandXXX, as in RELION's template"
        )
    return text


def filled_template(text: str, request: QueueRequest, *, file: Path | None = None) -> str:
    """The script: the template with every variable of RELION's replaced.

    Raises
    ------
    UsageError
        If a variable has no value, or one would begin a new line.
    """
    variables = request.variables()
    several = next((name for name, value in variables.items() if not value.isprintable()), None)
    if several is not None:
        raise UsageError(f"the value of XXX{several}XXX holds a line end or another control character", file=file)

    def value(found: re.Match[str]) -> str:
        name = found[1]
        if name not in variables:
            number = _EXTRA.match(name)
            fix = f"give --extra {number[1]}=VALUE, or set {EXTRA.format(number[1])}" if number else "correct the template"
            raise UsageError(f"the template asks for {found[0]}, which has no value", file=file, fix=fix)
        return variables[name]

    return _VARIABLE.sub(value, text)


def extra_values(given: Sequence[str], environment: Mapping[str, str]) -> dict[int, str]:
    """The template's extra values by number: those given as `1=VALUE`, and those of the environment.

    Raises
    ------
    UsageError
        If one is not of that form.
    """
    found = {number: environment[EXTRA.format(number)] for number in range(1, 100) if EXTRA.format(number) in environment}
    for text in given:
        number, equals, value = text.partition("=")
        if not (equals and number.isascii() and number.isdigit() and int(number) > 0):
            raise UsageError(f"--extra cannot be {text!r}", expected="NUMBER=VALUE, such as 1=24:00:00")
        found[int(number)] = value
    return found


def submit(script: Path, submit_command: str) -> str:
    """What the batch system answers to the script, which is handed to it as its own words; no shell reads them.

    Raises
    ------
    UsageError
        If the submit command is empty or cannot be split into words.
    EnvironmentFault
        If it is not there, fails, or does not answer.
    """
    try:
        words = shlex.split(submit_command)
    except ValueError as error:
        raise UsageError(f"the submit command cannot be read: {error}", expected="such as sbatch, or qsub -q long") from None
    if not words:
        raise UsageError("the submit command is empty", expected="such as sbatch, or qsub")
    try:
        ended = subprocess.run(
            [*words, str(script)], capture_output=True, text=True, errors="replace", timeout=_PATIENCE, check=False
        )
    except (FileNotFoundError, PermissionError) as error:
        raise EnvironmentFault(
            f"the submit command {words[0]} cannot be started: {error.strerror}",
            fix=f"give --submit-command, or set {SUBMIT}; the script is {script}",
        ) from None
    except subprocess.TimeoutExpired:
        raise EnvironmentFault(
            f"{words[0]} has not answered for {_PATIENCE:g} s", fix=f"look at the queue; the script is {script}"
        ) from None
    if ended.returncode:
        told = (ended.stderr or ended.stdout).strip().splitlines()
        raise EnvironmentFault(
            f"{words[0]} refused the script (exit code {ended.returncode}): {' / '.join(told[:5]) or 'it says nothing'}",
            fix=f"correct the template or the options and submit again; the script is {script}",
        )
    return ended.stdout.strip()


def environment_value(name: str) -> str | None:
    """The value of an environment variable, or None where it is empty."""
    return os.environ.get(name) or None
