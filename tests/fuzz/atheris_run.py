"""A coverage-guided fuzzing of one or more parsers with atheris, each in a child of this process: prints one line of JSON a parser.

Usage: python atheris_run.py RUNS [PARSER …]; a child is given at most SECONDS of the environment variable FUZZ_SECONDS.
"""

import json
import os
import resource
import sys
import tempfile
import time
from pathlib import Path

import atheris

sys.path.insert(0, str(Path(__file__).parent))
with atheris.instrument_imports(include=["cryowalk.io", "cryowalk.workflow.settings_files", "cryowalk.workflow.checkpoint"]):
    import cryowalk.io.validate  # noqa: F401

import torch
from mutations import mutated
from parsers import PARSERS, read_quietly, seed_of

MEMORY = 512  # MiB that a parser may grow by
SLOWEST = 2.0  # s of one input
torch.set_num_threads(1)


def fuzz(name: str, runs: int, report: Path) -> None:
    """Never returns; the report tells the executions so far and the first escape of each kind."""
    one, seed = PARSERS[name], seed_of(name)
    folder = Path(tempfile.mkdtemp(dir="/dev/shm" if Path("/dev/shm").is_dir() else None))
    one.prepare(folder)
    path = folder / f"x{one.ending}"
    facts = {"parser": name, "executions": 0, "escapes": {}, "slowest_s": 0.0, "seconds": 0.0, "grown_mib": 0.0}
    path.write_bytes(seed)
    one.read(path)  # what is compiled or imported once is no input's time
    begun, memory = time.monotonic(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    def test(data: bytes) -> None:
        raw = data[1:] if data[:1] == b"\xff" else mutated(seed, data)
        path.write_bytes(raw)
        start = time.process_time()
        escaped = read_quietly(one, path)
        took = time.process_time() - start
        facts["executions"] += 1
        facts["slowest_s"] = max(facts["slowest_s"], took)
        if escaped is not None or took > SLOWEST:
            kind = "slow" if escaped is None else f"{type(escaped).__name__}: {str(escaped)[:80]}"
            kind = kind if kind in facts["escapes"] or len(facts["escapes"]) < 20 else "others"
            facts["escapes"].setdefault(kind, data.hex())
        if facts["executions"] % 500 == 0 or facts["executions"] >= runs:
            facts["seconds"] = time.monotonic() - begun
            facts["grown_mib"] = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory) / 1024
            report.write_text(json.dumps(facts))
        if facts["executions"] >= runs:
            os._exit(0)

    options = [
        f"-runs={runs + 10}",
        "-max_len=60",
        "-seed=1",
        "-rss_limit_mb=0",
        "-timeout=60",
        "-verbosity=0",
        "-print_final_stats=0",
    ]
    atheris.Setup([sys.argv[0], *options], test)
    atheris.Fuzz()


def main() -> None:
    """Fuzz each parser in a child of its own."""
    runs, names = int(sys.argv[1]), sys.argv[2:] or list(PARSERS)
    for name in names:
        report = Path(tempfile.mkstemp(suffix=".json")[1])
        sys.stdout.flush()
        child = os.fork()
        if child == 0:
            sink = os.open(os.devnull, os.O_WRONLY)
            os.dup2(sink, 2)
            os.dup2(sink, 1)
            fuzz(name, runs, report)
            os._exit(3)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        facts = json.loads(report.read_text() or "{}") if report.exists() else {}
        report.unlink(missing_ok=True)
        sys.stdout.write(json.dumps({"parser": name, **facts, "exit_code": status}) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
