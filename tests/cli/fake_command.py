"""A small command without heavy imports, run as a program by the tests: it adds up numbers, slowly if asked, and keeps a checkpoint after each."""

import hashlib
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from cryowalk.cli import main as entry_point
from cryowalk.cli.command import Command
from cryowalk.cli.generate import command_function, same_name
from cryowalk.cli.registry import Entry
from cryowalk.core.errors import InputError, UsageError


@dataclass(frozen=True, slots=True, kw_only=True)
class FakeFiles:
    """What goes in and out."""

    source: Annotated[Path, "STAR file of particles", "--i"]
    output: Annotated[Path, "directory of the job"]
    mask: Annotated[Path | None, "mask", "--in_mask"] = None
    json: Annotated[bool, "print JSON"] = False


@dataclass(frozen=True, slots=True, kw_only=True)
class FakeSettings:
    """How it is done."""

    count: Annotated[int, "how many numbers", "-n", ("min", 1), ("max", 100000)] = 20
    patches: Annotated[tuple[int, int], "patches across x and y"] = (5, 5)
    shells: Annotated[tuple[float, ...], "radii, Å"] = (1.0, 2.5)
    mode: Annotated[Literal["plain", "phase_flipped"], "kind of sum"] = "plain"
    radius: Annotated[float | None, "radius, Å", ("above", 0)] = None
    symmetry: Annotated[str, "point group"] = "C1"
    box: Annotated[int, "side, px"] = 64
    pixel_size: Annotated[float, "pixel size, Å"] = 1.3
    pause: Annotated[float, "s between numbers", ("min", 0)] = 0.0
    fail: Annotated[Literal["no", "defect", "memory", "input", "disk", "interrupt"], "how to fail"] = "no"
    invert: Annotated[bool, "turn the sign"] = False
    flip: Annotated[bool, "flip"] = True

    def check(self) -> None:
        if self.box % 2:
            raise UsageError(f"--box must be even: got {self.box}")


def fail(how: str, files: FakeFiles) -> None:
    errors = {
        "defect": ZeroDivisionError("division by zero"),
        "memory": MemoryError("cannot hold 1 TB"),
        "input": InputError("value is no number", file=files.source, row=7, expected="a number", fix="correct it"),
        "disk": OSError(28, "No space left on device", "x.mrc"),
        "interrupt": KeyboardInterrupt(),
    }
    if how in errors:
        raise errors[how]


def run(files: FakeFiles, settings: FakeSettings, context) -> None:
    with context.job(files, settings) as job:
        fail(settings.fail, files)
        checkpoint = job.checkpoint()
        checkpoint._interval = 0.0  # after each number, so that a kill can fall into any of them
        state = checkpoint.load() or {"done": 0, "digest": b""}
        done, digest = state["done"], state["digest"]
        job.progress.start("adding", settings.count)
        job.progress.skip(done)
        while done < settings.count:
            digest = hashlib.sha256(digest + f"{context.seed} {done}".encode()).digest()
            done += 1
            time.sleep(settings.pause)
            checkpoint.save({"done": done, "digest": digest, "history": [done, (1.5, None, True)]})
            job.progress.advance()
        from cryowalk.io.atomic import atomic_write_text

        atomic_write_text(job.path("sum.txt"), digest.hex() + "\n")
        atomic_write_text(job.path("deep/run_half1_class001_unfil.mrc"), digest.hex() * 9)
    facts = {"digest": digest.hex(), "missing": float("nan")}
    context.emit(facts, words=lambda: f"sum {digest.hex()}", as_json=files.json)


COMMAND = Command(name="fake", summary="Add up numbers.", run=run, files=FakeFiles, settings=FakeSettings)
ENTRY = Entry(words=("fake",), summary="Add up numbers.", module="fake", panel="x")


def install() -> None:
    entry_point._whole = lambda _: (command_function(COMMAND), same_name(COMMAND))
    entry_point.load_command = lambda _: COMMAND
    entry_point.REGISTRY = (*entry_point.REGISTRY, ENTRY)
    entry_point.entry_for = lambda words: ENTRY if words[:1] == ["fake"] else None


if __name__ == "__main__":
    install()
    entry_point.main(["fake", *sys.argv[1:]])
