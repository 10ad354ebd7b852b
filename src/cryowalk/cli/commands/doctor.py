"""`cryowalk doctor`: whether this machine is fit for the work, and what is missing."""

import os
import platform
import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from cryowalk.cli.command import Command
from cryowalk.cli.context import Context
from cryowalk.core.errors import EnvironmentFault

_REQUIRED = (
    "torch",
    "numpy",
    "scipy",
    "jaxtyping",
    "mrcfile",
    "gemmi",
    "numba",
    "finufft",
    "typer",
    "rich",
    "matplotlib",
    "plotly",
    "jinja2",
    "PyYAML",
)
_OPTIONAL = ("jupyterlab", "jupytext", "ipywidgets", "sphinx", "psutil")
_RELION_PROGRAMS = ("relion_project", "relion_reconstruct", "relion_refine", "relion_postprocess")


@dataclass(frozen=True, slots=True, kw_only=True)
class DoctorFiles:
    """Where to try to write, and how to tell."""

    output: Annotated[Path, "directory in which writing is tried"] = Path()
    json: Annotated[bool, "print JSON"] = False


def run(files: DoctorFiles, settings: None, context: Context) -> None:  # noqa: ARG001  every command has the same three
    """Nothing; the findings are printed.

    Raises
    ------
    EnvironmentFault
        If something that cryowalk cannot do without is missing.
    """
    facts = examine(files.output, threads=context.threads, device=context.device)
    context.emit(facts, words=lambda: in_words(facts), as_json=files.json)
    if facts["faults"]:
        raise EnvironmentFault("this machine is not ready: " + "; ".join(facts["faults"]), fix="see the list above")


def examine(directory: Path, *, threads: int, device: str) -> dict[str, Any]:
    """What was found: versions, cores, memory, GPU, disk, RELION, and the faults among it."""
    faults: list[str] = []
    packages = _packages(faults)
    writing = _writing(directory, faults)
    import torch

    gpus = (
        [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())] if torch.cuda.is_available() else []
    )
    return {
        "cryowalk": packages.pop("cryowalk"),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "packages": packages,
        "cores_usable": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "threads": threads,
        "torch_threads": torch.get_num_threads(),
        "memory_gib": _memory(),
        "gpus": gpus,
        "device": device,
        "directory": writing,
        "relion": {name: shutil.which(name) for name in _RELION_PROGRAMS},
        "locale_encoding": sys.getfilesystemencoding(),
        "faults": faults,
    }


def _packages(faults: list[str]) -> dict[str, str | None]:
    from importlib import metadata

    found: dict[str, str | None] = {}
    for name in ("cryowalk", *_REQUIRED, *_OPTIONAL):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = None
            if name in _REQUIRED:
                faults.append(f"the package {name} is missing (pip install {name})")
    return found


def _writing(directory: Path, faults: list[str]) -> dict[str, Any]:
    """Whether a file can be written, flushed, renamed and locked there, and how much room there is."""
    import fcntl

    facts: dict[str, Any] = {"path": str(directory.resolve()), "writable": False, "locks": False, "free_gb": None}
    try:
        with tempfile.TemporaryDirectory(prefix=".cryowalk-doctor-", dir=directory) as folder:
            first, second = Path(folder) / "a", Path(folder) / "b"
            with first.open("wb") as stream:
                stream.write(bytes(4096))
                stream.flush()
                os.fsync(stream.fileno())
                first.replace(second)
                facts["writable"] = True
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
                facts["locks"] = True
        facts["free_gb"] = round(shutil.disk_usage(directory).free / 1e9, 2)
    except OSError as error:
        if not facts["writable"]:
            faults.append(f"{directory.resolve()} cannot be written to ({error.strerror})")
    return facts


def _memory() -> float | None:
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
    except (ValueError, OSError):
        return None


def in_words(facts: dict[str, Any]) -> str:
    """The findings as lines of text."""
    disk = facts["directory"]
    writable = "writable" if disk["writable"] else "NOT writable"
    relion = [name for name, path in facts["relion"].items() if path]
    lines = [
        f"cryowalk      {facts['cryowalk']} on Python {facts['python']}, {facts['system']}",
        f"cores         {facts['cores_usable']} usable, {facts['threads']} threads will be used",
        f"memory        {facts['memory_gib']} GiB",
        "GPU           " + (", ".join(facts["gpus"]) if facts["gpus"] else "none; the CPU does everything"),
        f"device        {facts['device']}",
        f"directory     {disk['path']}: {writable}, {'locks work' if disk['locks'] else 'no locks'}, {disk['free_gb']} GB free",
        "RELION        "
        + (f"{len(relion)} of {len(facts['relion'])} programs found" if relion else "not found (needed only for comparisons)"),
    ]
    lines += [f"  {name:<12}{version or 'absent'}" for name, version in facts["packages"].items()]
    lines += [f"FAULT: {fault}" for fault in facts["faults"]] or ["all that is needed is here"]
    return "\n".join(lines)


COMMAND = Command(name="doctor", summary="Check this machine: versions, threads, GPU, disk, RELION.", run=run, files=DoctorFiles)
