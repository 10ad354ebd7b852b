"""Fuzzing of every parser, coverage-guided by atheris: executions, escapes outside our errors, the slowest input, memory.

    python benchmarks/bench_fuzz.py                    # 100,000 executions a parser, two parsers at a time
    python benchmarks/bench_fuzz.py --executions 1000 --parsers star cif
    python benchmarks/bench_fuzz.py --quick

The table of parsers, their valid files and the mutations are those of tests/fuzz. An escape is any exception but our own, or an input of more than 2 s of
computing; each is listed with the program of its mutation, from which tests/fuzz/mutations.py makes the file again. Needs atheris (Linux).
"""

import argparse
import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from _shared import machine, set_threads, write_result

FUZZ = Path(__file__).resolve().parents[1] / "tests" / "fuzz"
GOAL = "100,000 executions a parser, no escape, at most 2 s an input and 512 MiB"
EXECUTIONS = 100_000
AT_ONCE = 2
LIMIT = 4 * 3600  # s of one parser


def fuzz(name: str, executions: int) -> dict:
    """The facts of one parser, from a process of its own."""
    words = [sys.executable, str(FUZZ / "atheris_run.py"), str(executions), name]
    done = subprocess.run(
        words, capture_output=True, text=True, timeout=LIMIT, check=False, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    line = next((line for line in done.stdout.splitlines() if line.startswith("{")), "{}")
    facts = {"parser": name, "executions": 0, "exit_code": done.returncode, **json.loads(line)}
    seconds = facts.get("seconds") or 0
    return {**facts, "per_second": round(facts["executions"] / seconds, 1) if seconds else None}


def main() -> None:
    """Fuzz the parsers and write what was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a small number of executions, to see that it runs")
    parser.add_argument("--executions", type=int, default=EXECUTIONS)
    parser.add_argument("--parsers", nargs="*", default=[])
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    set_threads(1)
    sys.path.insert(0, str(FUZZ))
    from parsers import PARSERS

    executions = 500 if options.quick else options.executions
    names = options.parsers or list(PARSERS)
    facts_of_machine = machine(AT_ONCE)
    begun = time.monotonic()
    with ThreadPoolExecutor(AT_ONCE) as pool:
        results = []
        for facts in pool.map(lambda name: fuzz(name, executions), names):
            results.append(facts)
            escapes = len(facts.get("escapes", {}))
            print(
                f"{facts['parser']:20s} {facts['executions']:8d} executions, {escapes} kinds of escapes, exit {facts['exit_code']}",
                flush=True,
            )
            for kind, program in facts.get("escapes", {}).items():
                print(f"    {kind}  {program}", flush=True)
    total = {
        "parsers": len(results),
        "executions": sum(one["executions"] for one in results),
        "parsers_with_escapes": [one["parser"] for one in results if one.get("escapes") or one["exit_code"]],
        "seconds": round(time.monotonic() - begun, 1),
    }
    print(json.dumps(total))
    name = "fuzz_quick.json" if options.quick or executions < EXECUTIONS or options.parsers else "fuzz.json"
    path = write_result(name, {"machine": facts_of_machine, "goal": GOAL, "total": total, "results": results}, options.output)
    print(path)


if __name__ == "__main__":
    main()
