"""`cryowalk course open`: one's own copy of a unit's notebook."""

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cryowalk.cli.command import Command
from cryowalk.cli.context import Context
from cryowalk.core.errors import EnvironmentFault


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenFiles:
    """Which unit, and where to put the copy."""

    unit: Annotated[str, "unit, such as U05", "UNIT"]
    output: Annotated[Path, "directory of the copy"] = Path()
    solved: Annotated[bool, "a copy with the solutions, beside your own"] = False
    launch: Annotated[bool, "start JupyterLab on it"] = False


def run(files: OpenFiles, settings: None, context: Context) -> None:  # noqa: ARG001  every command has the same three
    """Nothing; the copy is there, and its path and the way to open it are printed.

    Raises
    ------
    EnvironmentFault
        If JupyterLab is to be started and is not installed.
    """
    from cryowalk.course import open_unit

    opened = open_unit(files.unit, directory=files.output, solved=files.solved)
    context.say(f"{opened.path} ({'new' if opened.is_new else 'your copy, as you left it'})")
    if not files.launch:
        context.say("open it with: " + " ".join(opened.command))
        return
    if shutil.which(opened.command[0]) is None:
        raise EnvironmentFault("JupyterLab is not installed", fix="pip install 'cryowalk[course]'")
    subprocess.run(opened.command, check=False)


COMMAND = Command(name="course open", summary="Open a unit's notebook.", run=run, files=OpenFiles)
