"""Particle tables of a million rows and 25 columns: read, written, selected from, merged and split; beside gemmi's raw parse of the same file.

Each figure is taken in a process of its own, whose peak memory is told. Reading means that every row was found and counted and every column can be had;
what it costs to make texts of all columns, or numbers of all that hold them, is told apart. Writing goes to the disk and is flushed.
"""

import argparse
import json
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import _shared

ROWS, QUICK = 1_000_000, 50_000
BLOCK = 10_000
LABELS = [
    "rlnCoordinateX",
    "rlnCoordinateY",
    "rlnImageName",
    "rlnMicrographName",
    "rlnOpticsGroup",
    "rlnDefocusU",
    "rlnDefocusV",
    "rlnDefocusAngle",
    "rlnPhaseShift",
    "rlnCtfBfactor",
    "rlnCtfScalefactor",
    "rlnAngleRot",
    "rlnAngleTilt",
    "rlnAnglePsi",
    "rlnOriginXAngst",
    "rlnOriginYAngst",
    "rlnClassNumber",
    "rlnRandomSubset",
    "rlnNormCorrection",
    "rlnGroupNumber",
    "rlnMaxValueProbDistribution",
    "rlnLogLikeliContribution",
    "rlnNrOfSignificantSamples",
    "rlnAutopickFigureOfMerit",
    "rlnCtfMaxResolution",
]
TEXTS = ("rlnImageName", "rlnMicrographName")
OPTICS = """
# version 30001

data_optics

loop_
_rlnOpticsGroupName #1
_rlnOpticsGroup #2
_rlnVoltage #3
_rlnSphericalAberration #4
_rlnAmplitudeContrast #5
_rlnImagePixelSize #6
_rlnImageSize #7
_rlnImageDimensionality #8
opticsGroup1 1 300.0 2.7 0.1 1.2 256 2
opticsGroup2 2 300.0 2.7 0.1 1.2 256 2


# version 30001

data_particles

loop_
"""
WHERE = "rlnDefocusU < 12100 and rlnClassNumber in (1, 3..30) and rlnMicrographName like '*mic_0*'"
GOAL = "1,000,000 × 25: read in at most 2 × gemmi's raw parse, written in 3 s, selected from in 5 s with 2 GiB"


def make(path: Path, rows: int) -> None:
    """Write a table as RELION lays it out: numbers with six digits, in columns of twelve."""
    import numpy as np

    generator = np.random.default_rng(1)
    whole = {
        "rlnOpticsGroup": 2,
        "rlnClassNumber": 50,
        "rlnRandomSubset": 2,
        "rlnGroupNumber": 1000,
        "rlnNrOfSignificantSamples": 9,
    }
    scale = {
        "rlnDefocusU": (12000, 100),
        "rlnDefocusV": (11500, 100),
        "rlnNormCorrection": (1, 0.01),
        "rlnLogLikeliContribution": (1e5, 100),
    }
    with path.open("w", encoding="ascii") as stream:
        stream.write(OPTICS + "".join(f"_{label} #{number}\n" for number, label in enumerate(LABELS, start=1)))
        for start in range(0, rows, BLOCK):
            count = min(BLOCK, rows - start)
            row = np.arange(start, start + count)
            columns: list[list[str]] = []
            for label in LABELS:
                if label == "rlnImageName":
                    columns.append([f"{i % 250 + 1:06d}@Extract/job012/Movies/mic_{i // 250:05d}.mrcs" for i in row])
                elif label == "rlnMicrographName":
                    columns.append([f"MotionCorr/job002/Movies/mic_{i // 250:05d}.mrc" for i in row])
                elif label in whole:
                    columns.append([f"{i % whole[label] + 1:12d}" for i in row])
                else:
                    mean, spread = scale.get(label, (0, 100))
                    columns.append([f"{value:12.6f}" for value in mean + spread * generator.normal(size=count)])
            stream.write("".join(" ".join(values) + " \n" for values in zip(*columns, strict=True)))
        stream.write("\n")


def gemmi_parse(path: Path, folder: Path) -> dict[str, Any]:  # noqa: ARG001  every part has the same two
    """gemmi's raw parse."""
    import gemmi

    start = time.perf_counter()
    document = gemmi.cif.read(str(path))
    return {"seconds": time.perf_counter() - start, "rows": len(document[1].find_loop("_rlnImageName"))}


def read(path: Path, folder: Path) -> dict[str, Any]:  # noqa: ARG001
    """Our reading."""
    from cryowalk.io.star import read_star

    start = time.perf_counter()
    star = read_star(path)
    return {"seconds": time.perf_counter() - start, "rows": len(star["particles"])}


def read_texts(path: Path, folder: Path) -> dict[str, Any]:  # noqa: ARG001
    """Our reading, and the texts of all columns."""
    from cryowalk.io.star import read_star

    start = time.perf_counter()
    columns = read_star(path)["particles"].columns
    count = sum(len(columns[label]) for label in columns)
    return {"seconds": time.perf_counter() - start, "values": count}


def read_numbers(path: Path, folder: Path) -> dict[str, Any]:  # noqa: ARG001
    """Our reading, and the numbers of all columns that hold them."""
    from cryowalk.io.star import read_star
    from cryowalk.io.star_numbers import numbers

    start = time.perf_counter()
    block = read_star(path)["particles"]
    count = sum(len(numbers(block, label, path=path)) for label in block.columns if label not in TEXTS)
    return {"seconds": time.perf_counter() - start, "values": count}


def write(path: Path, folder: Path) -> dict[str, Any]:
    """Our writing of the table as it was read."""
    from cryowalk.io.star import read_star, write_star

    star = read_star(path)
    start = time.perf_counter()
    write_star(star, folder / "written.star")
    return {"seconds": time.perf_counter() - start}


def write_texts(path: Path, folder: Path) -> dict[str, Any]:
    """Our writing of a table whose columns are all texts in memory."""
    from cryowalk.io.star import StarBlock, read_star, write_star

    star = read_star(path)
    block = StarBlock(name="particles", columns={label: star["particles"].columns[label] for label in star["particles"].columns})
    start = time.perf_counter()
    write_star([star["optics"], block], folder / "written.star")
    return {"seconds": time.perf_counter() - start}


def starfile_read(path: Path, folder: Path) -> dict[str, Any]:  # noqa: ARG001
    """starfile's reading."""
    import warnings

    import starfile

    warnings.simplefilter("ignore")
    start = time.perf_counter()
    frames = starfile.read(path)
    return {"seconds": time.perf_counter() - start, "rows": len(frames["particles"])}


PARTS = {
    "gemmi": gemmi_parse,
    "read": read,
    "read_texts": read_texts,
    "read_numbers": read_numbers,
    "write": write,
    "write_texts": write_texts,
    "starfile": starfile_read,
}


def measured(name: str, path: Path, folder: Path, threads: int) -> dict[str, Any]:
    """The figures of one part, and the peak memory of its process."""
    told = _shared.run(
        [sys.executable, str(Path(__file__).resolve()), "--worker", name, str(path), str(folder)], folder=folder, threads=threads
    )
    return {**_shared.last_json(told["said"]), "peak_memory_bytes": told["peak_memory_bytes"]}


def command(words: list[str], folder: Path, threads: int) -> dict[str, Any]:
    """Wall seconds and peak memory of a command of ours, its start included."""
    told = _shared.run([sys.executable, "-m", "cryowalk", *words, "--overwrite"], folder=folder, threads=threads)
    return {
        "seconds": told["wall_seconds"],
        "processor_seconds": told["processor_seconds"],
        "peak_memory_bytes": told["peak_memory_bytes"],
    }


def measure(rows: int, threads: int, folder: Path) -> dict[str, Any]:
    """All figures for a table of so many rows."""
    path = folder / "table.star"
    make(path, rows)
    for name in ("read", "write", "write_texts", "read_numbers"):  # compiled once, as on a machine where it was used before
        measured(name, path, folder, threads)
    found: dict[str, Any] = {
        name: min((measured(name, path, folder, threads) for _ in range(3)), key=lambda one: one["seconds"]) for name in PARTS
    }
    table = str(path)
    commands = {
        "select": ["select", "--i", table, "--where", WHERE, "--o", "selected.star"],
        "select_random": ["select", "--i", table, "--random", "0.5", "--o", "selected.star"],
        "split": ["split", "--i", table, "--parts", "4", "--o", "parts.star"],
        "merge": ["merge", "--i", *(f"parts_split{k}.star" for k in (1, 2, 3, 4)), "--o", "merged.star"],
    }
    for name, words in commands.items():
        found[name] = min((command(words, folder, threads) for _ in range(3)), key=lambda one: one["seconds"])
    relion = _shared.relion("relion_star_handler")
    if relion is not None:
        words = [relion, "--i", table, "--o", "relion.star", "--select", "rlnDefocusU", "--minval", "0", "--maxval", "12100"]
        told = _shared.run(words, folder=folder, threads=threads)
        found["relion_select"] = {"seconds": told["wall_seconds"], "peak_memory_bytes": told["peak_memory_bytes"]}
    return {
        "rows": rows,
        "columns": len(LABELS),
        "bytes": path.stat().st_size,
        **found,
        "ratios": {
            "read / gemmi": found["read"]["seconds"] / found["gemmi"]["seconds"],
            "read with all numbers / gemmi": found["read_numbers"]["seconds"] / found["gemmi"]["seconds"],
            "starfile / read with all texts": found["starfile"]["seconds"] / found["read_texts"]["seconds"],
        },
    }


def main() -> None:
    """Run the benchmark's command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help=f"{QUICK:,} rows, to see that it runs")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--output", type=Path)
    parser.add_argument("--worker", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        name, path, folder = options.worker
        print(json.dumps(PARTS[name](Path(path), Path(folder))))
        return
    folder = Path(tempfile.mkdtemp(prefix="bench_tables_"))
    try:
        result = measure(QUICK if options.quick else ROWS, options.threads, folder)
    finally:
        shutil.rmtree(folder)
    file = "tables_quick.json" if options.quick else "tables.json"
    path = _shared.write_result(
        file, {"machine": _shared.machine(options.threads), "goal": GOAL, "results": [result]}, options.output
    )
    for name, figures in result.items():
        if isinstance(figures, dict) and "seconds" in figures:
            print(f"{name:16} {figures['seconds']:7.2f} s  {figures['peak_memory_bytes'] / 2**20:7.0f} MiB")
    print(json.dumps(result["ratios"]))
    print(path)


if __name__ == "__main__":
    main()
