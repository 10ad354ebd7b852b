"""job.json: what a job was asked, with what it was done, and the rows, bytes and sha256 of everything that came out."""

import hashlib
import json
import os
import platform
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import datetime
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

from cryowalk.core.errors import InputError, StateConflict
from cryowalk.data.provenance import Provenance

JOB_NAME = "job.json"
FORMAT = 1
CHUNK = 2**22  # bytes read at once while hashing
State = Literal["running", "stopped", "failed", "done"]
_ANCESTORS = 3  # folders above a file in which its job.json is looked for


_FORMS: dict[str, type] = {
    "command": str, "settings": dict, "seed": int, "arguments": list, "state": str, "threads": int, "device": str, "versions": dict,
    "choices": dict, "inputs": dict, "parents": list, "outputs": dict, "runs": list,
}  # fmt: skip


@dataclass(slots=True, kw_only=True)
class Manifest:
    """The content of job.json.

    `identity` is what makes it this job and no other: `command`, `settings`, `seed` and the sha256 of `inputs`. `choices` are numbers that the first
    run chose and a resumed one keeps (batch sizes). `runs` holds, for each start, times, process, host and how it ended.
    """

    command: str
    settings: dict[str, Any]
    seed: int
    arguments: list[str] = field(default_factory=list)
    state: State = "running"
    threads: int = 1
    device: str = "cpu"
    versions: dict[str, str] = field(default_factory=dict)
    choices: dict[str, Any] = field(default_factory=dict)
    inputs: dict[str, dict[str, Any]] = field(default_factory=dict)
    parents: list[dict[str, Any]] = field(default_factory=list)
    outputs: dict[str, dict[str, Any]] = field(default_factory=dict)
    runs: list[dict[str, Any]] = field(default_factory=list)

    def identity(self) -> dict[str, Any]:
        """The values that must be the same when the job is started again."""
        return {
            "command": self.command,
            "settings": self.settings,
            "seed": self.seed,
            "inputs": {name: {"sha256": facts["sha256"]} for name, facts in self.inputs.items()},
        }

    def provenance(self) -> Provenance:
        """The part of the record that a report shows."""
        return Provenance(
            command=" ".join(["cryowalk", *self.arguments]) if self.arguments else f"cryowalk {self.command}",
            settings=self.settings,
            versions=self.versions,
            seed=self.seed,
            inputs={facts["path"]: facts["sha256"] for facts in self.inputs.values()},
            outputs=self.outputs,
            parents=tuple(parent["directory"] for parent in self.parents),
        )

    def write(self, directory: Path) -> None:
        """Replace the directory's job.json, all or nothing.

        Raises
        ------
        EnvironmentFault
            If it cannot be written.
        """
        from cryowalk.io.atomic import atomic_write_text

        content = {"format": FORMAT, **{each.name: getattr(self, each.name) for each in fields(self)}}
        atomic_write_text(directory / JOB_NAME, json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def read_manifest(directory: Path) -> Manifest | None:
    """The directory's manifest, or None where there is none.

    Raises
    ------
    StateConflict
        If job.json is damaged or of a later version of cryowalk.
    """
    path = directory / JOB_NAME
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise StateConflict(
            f"job.json cannot be read: {error}", file=path, fix="restore it, or remove the whole directory"
        ) from None
    if not isinstance(content, dict) or content.get("format") != FORMAT or not {"command", "settings", "seed"} <= content.keys():
        raise StateConflict(
            "this job.json was not written by this version of cryowalk",
            file=path,
            expected=f"a record of format {FORMAT}",
            fix="give another output directory",
        )
    known = {name: value for name, value in content.items() if name in _FORMS}
    wrong = next((name for name, value in known.items() if not _is_sound(name, value)), None)
    if wrong is not None:
        raise StateConflict(
            f"job.json cannot be read: {wrong} has another form", file=path, fix="restore it, or remove the whole directory"
        )
    return Manifest(**known)


def _is_sound(name: str, value: object) -> bool:
    """Whether a value of the record has the form that it is written in."""
    if not isinstance(value, _FORMS[name]) or isinstance(value, bool):
        return False
    if isinstance(value, list):
        kind = str if name == "arguments" else dict
        return all(isinstance(each, kind) for each in value)
    if name in ("inputs", "outputs") and isinstance(value, dict):
        needed = {"path", "sha256"} if name == "inputs" else {"sha256"}
        return all(isinstance(facts, dict) and needed <= facts.keys() for facts in value.values())
    return True


def differences(before: Mapping[str, Any], now: Mapping[str, Any], *, under: str = "") -> list[str]:
    """What differs between two nested mappings, one line each: `settings.symmetry: was "C1", now "D2"`."""
    lines: list[str] = []
    for key in dict.fromkeys([*before, *now]):
        name = f"{under}{key}"
        if key not in before or key not in now:
            lines.append(f"{name}: {'was not there' if key not in before else 'is gone'}")
        elif isinstance(before[key], Mapping) and isinstance(now[key], Mapping):
            lines += differences(before[key], now[key], under=f"{name}.")
        elif before[key] != now[key]:
            shorten = key == "sha256"
            was, is_now = (json.dumps(value, ensure_ascii=False) for value in (before[key], now[key]))
            lines.append(f"{name}: was {was[:13] + '…' if shorten else was}, now {is_now[:13] + '…' if shorten else is_now}")
    return lines


def sha256_of(path: Path, *, between: Callable[[], None] = lambda: None) -> str:
    """The sha256 of a file, read in pieces; `between` is called after each piece, a safe point.

    Raises
    ------
    InputError
        If there is no such file.
    """
    digest = hashlib.sha256()
    try:
        with path.open("rb", buffering=0) as stream:
            while piece := stream.read(CHUNK):
                digest.update(piece)
                between()
    except FileNotFoundError:
        raise InputError("there is no such file", file=path, fix=nearest_name(path)) from None
    except IsADirectoryError:
        raise InputError("this is a directory, not a file", file=path) from None
    return digest.hexdigest()


def nearest_name(path: Path) -> str:
    """A hint to the file beside a missing one whose name is nearest."""
    from difflib import get_close_matches

    if not path.parent.is_dir():
        return f"there is no directory {path.parent} either: check the path and the directory you are in"
    near = get_close_matches(path.name, sorted(each.name for each in path.parent.iterdir()), n=1)
    return f"did you mean {path.parent / near[0]}?" if near else "check the name and the directory you are in"


def input_facts(
    path: Path, *, known: Mapping[str, Any] | None = None, between: Callable[[], None] = lambda: None
) -> dict[str, Any]:
    """Path, bytes, modification time and sha256 of an input; a file that `known` describes and that has not changed since is not read again."""
    try:
        state = path.stat()
    except FileNotFoundError:
        raise InputError("there is no such file", file=path, fix=nearest_name(path)) from None
    facts = {"path": str(path), "bytes": state.st_size, "modified": state.st_mtime_ns}
    if known is not None and all(known.get(name) == value for name, value in facts.items()):
        return dict(known)
    return {**facts, "sha256": sha256_of(path, between=between)}


def output_facts(path: Path, *, between: Callable[[], None] = lambda: None) -> dict[str, Any]:
    """Bytes, sha256 and, for tables and stacks, rows of an output."""
    facts: dict[str, Any] = {"bytes": path.stat().st_size, "sha256": sha256_of(path, between=between)}
    rows = rows_of(path)
    if rows is not None:
        facts["rows"] = rows
    return facts


def rows_of(path: Path) -> int | None:
    """The rows of a STAR file's longest loop, or the images of an MRC stack; None for other files."""
    if path.suffix == ".mrcs":
        with path.open("rb") as stream:
            return int.from_bytes(stream.read(12)[8:12], sys.byteorder)
    if path.suffix != ".star":
        return None
    longest, rows, in_loop = 0, 0, False
    with path.open(encoding="utf-8", errors="replace") as stream:
        for line in stream:
            words = line.strip()
            if words.startswith("loop_"):
                rows, in_loop = 0, True
            elif words.startswith("data_"):
                in_loop = False
            elif in_loop and words and not words.startswith(("_", "#")):
                rows += 1
                longest = max(longest, rows)
    return longest


def owner_of(path: Path) -> tuple[Path, Manifest, str] | None:
    """The job directory, its manifest and the file's name in it, for a file that a job wrote; None for any other file."""
    resolved = path.resolve()
    for directory in list(resolved.parents)[:_ANCESTORS]:
        if (directory / JOB_NAME).is_file():
            manifest = read_manifest(directory)
            name = resolved.relative_to(directory).as_posix()
            if manifest is not None and name in manifest.outputs:
                return directory, manifest, name
            return None
    return None


def verify(path: Path, facts: Mapping[str, Any]) -> dict[str, Any] | None:
    """The record of the job that wrote this file, known to hold what the job wrote; None for a file of no job.

    `facts` are those of `input_facts`.

    Raises
    ------
    InputError
        If the file was changed or cut off since its job ended.
    """
    owner = owner_of(path)
    if owner is None:
        return None
    directory, manifest, name = owner
    recorded = manifest.outputs[name]
    if (facts["bytes"], facts["sha256"]) != (recorded["bytes"], recorded["sha256"]):
        rows = rows_of(path)
        found = f"{facts['bytes']} bytes" + (f", {rows} rows" if rows is not None else "")
        wrote = f"{recorded['bytes']} bytes" + (f", {recorded['rows']} rows" if "rows" in recorded else "")
        raise InputError(
            f"this file is not the one that its job wrote: it has {found}",
            file=path,
            expected=f"{wrote}, sha256 {recorded['sha256'][:12]}…, as {directory / JOB_NAME} records",
            cause="it was cut off or edited after the job ended",
            fix="run that job again in a new directory, or copy the edited file out of the job's directory",
        )
    return {"directory": os.path.relpath(directory), "command": manifest.command, "output": name, "sha256": recorded["sha256"]}


def versions() -> dict[str, str]:
    """The versions that results depend on."""
    from cryowalk import __version__

    found = {"cryowalk": __version__, "python": platform.python_version()}
    for name in ("torch", "numpy", "scipy", "numba"):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "absent"
    return found


def new_run() -> dict[str, Any]:
    """The record of a start: when, which process, on which host."""
    return {"started": now(), "pid": os.getpid(), "host": socket.gethostname()}


def now() -> str:
    """The time of day with its zone."""
    return datetime.now().astimezone().isoformat(timespec="seconds")


def changed_outputs(directory: Path, manifest: Manifest, names: Sequence[str] | None = None) -> list[str]:
    """The outputs that are missing or hold other bytes than the manifest records."""
    wrong = []
    for name in manifest.outputs if names is None else names:
        path, recorded = directory / name, manifest.outputs[name]
        if not path.is_file() or path.stat().st_size != recorded["bytes"] or sha256_of(path) != recorded["sha256"]:
            wrong.append(name)
    return wrong
