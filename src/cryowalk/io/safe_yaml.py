"""Small YAML files of other programs: `safe_load` alone, no anchors, a bounded length."""

import re
from pathlib import Path
from typing import Any

from cryowalk.core.errors import InputError, SafetyRefusal, printable
from cryowalk.io.opening import read_text

LONGEST = 2**22  # characters
_ANCHOR = re.compile(r"(?m)(?:^|[\s:\[,-])[&*]\w")


def read_yaml(path: str | Path) -> dict[str, Any]:
    """The mapping in a YAML file, its keys as text.

    Raises
    ------
    SafetyRefusal
        If a tag asks for an object to be made.
    InputError
        If it is missing, too long, no YAML, or no mapping; or if it uses anchors, by which small files fill the memory.
    """
    import yaml

    path = Path(path)
    text = read_text(path)
    if len(text) > LONGEST:
        raise InputError(f"the file has {len(text)} characters", file=path, expected="a list of some lines")
    if _ANCHOR.search(text):
        raise InputError(
            "the file uses YAML's anchors", file=path, cause="a file made to fill the memory", fix="write the values out"
        )
    try:
        told = yaml.safe_load(text)
    except yaml.constructor.ConstructorError as error:
        raise SafetyRefusal(
            "the file asks for objects to be made, which could run code", file=path, cause=printable(str(error.problem)[:160])
        ) from error
    except (yaml.YAMLError, RecursionError, ValueError, OverflowError) as error:
        raise InputError("this is no YAML", file=path, cause=printable((str(error).splitlines() or [""])[0][:160])) from error
    if not isinstance(told, dict):
        raise InputError("this is no YAML mapping", file=path, expected="lines of NAME: VALUE")
    return {str(key): value for key, value in told.items()}
