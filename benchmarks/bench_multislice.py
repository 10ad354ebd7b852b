"""Multislice of a large field beside the transforms that it must do and beside abTEM: seconds a slice, in the same run and on the same threads.

    python benchmarks/bench_multislice.py [--quick] [--threads 2] [--abtem-python PATH] [--output FILE]

The floor is two complex transforms of the whole field a slice, as torch does them alone. Slices are in memory, start-up and the planning of transforms
are excluded; each is the best of three. abTEM (GPL) runs in an environment of its own, named by --abtem-python or CRYOWALK_ABTEM_PYTHON.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from _shared import last_json, machine, run, set_threads, write_result

GOAL = "within 2 × the time of its transforms; 2 × abTEM on the same grid and threads"
SIZES, QUICK = ((1024, 40), (2048, 40)), ((256, 8),)
PIXEL_SIZE, THICKNESS, VOLTAGE_KV = 0.5, 5.0, 300.0


def best(work: Any, *, rounds: int = 3) -> float:
    """Seconds of the fastest of some calls after a first one."""
    work()
    seconds = []
    for _ in range(rounds):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def worker(count: int, threads: int) -> None:
    """Measure in this process and print JSON; the slices lie in `potential.npy`."""
    import numpy as np
    import torch

    from cryowalk.data.optics import Optics
    from cryowalk.fourier.transform import filtering_transform
    from cryowalk.microscope.multislice import multislice_by_definition
    from cryowalk.microscope.scattering import exit_wave

    set_threads(threads)
    optics = Optics(pixel_size=PIXEL_SIZE, voltage_kv=VOLTAGE_KV, amplitude_contrast=0.0)
    slices = torch.from_numpy(np.load("potential.npy"))
    wave = torch.complex(slices[0], slices[1])

    def transforms() -> None:
        spectrum = filtering_transform(wave, direction="forward")
        filtering_transform(spectrum, direction="inverse")

    with torch.no_grad():
        floor = count * best(transforms, rounds=6)
        ours = best(lambda: exit_wave(slices, optics=optics, slice_thickness=THICKNESS))
        few = min(count, 4)
        readable = best(lambda: multislice_by_definition(slices[:few], optics=optics, slice_thickness=THICKNESS), rounds=1)
        leaving = exit_wave(slices, optics=optics, slice_thickness=THICKNESS)
    result = {
        "seconds": ours,
        "seconds_of_transforms": floor,
        "seconds_of_definition": readable * count / few,
        "power": float((leaving.abs() ** 2).mean()),
    }
    print(json.dumps(result))


def make_slices(size: int, count: int, path: Path) -> None:
    """Slices of a light, disordered specimen: about 7 V over 5 Å, with 9 V Å standard deviation, smooth to 1 Å."""
    import numpy as np
    import torch

    from cryowalk.fourier.filters import b_factor

    generator = torch.Generator().manual_seed(3)
    slices = torch.stack(
        [b_factor(torch.randn(size, size, generator=generator), b_factor=15.0, pixel_size=PIXEL_SIZE) for _ in range(count)]
    )
    np.save(path, (35 + slices * (9 / slices.std())).numpy())


def measure(size: int, count: int, threads: int, abtem: str | None) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="cryowalk-bench-") as name:
        folder = Path(name)
        make_slices(size, count, folder / "potential.npy")
        words = [str(size), str(count), str(threads)]
        mine = run([sys.executable, str(Path(__file__).resolve()), "--worker", *words[1:]], folder=folder, threads=threads)
        result: dict[str, Any] = {"size": size, "slices": count, "cryowalk": last_json(mine["said"])}
        result["cryowalk"]["peak_memory_bytes"] = mine["peak_memory_bytes"]
        result["bytes_of_slices"] = size * size * count * 4
        times = result["cryowalk"]
        result["ratios"] = {
            "to_its_transforms": times["seconds"] / times["seconds_of_transforms"],
            "definition_to_compiled": times["seconds_of_definition"] / times["seconds"],
        }
        if abtem:
            script = str(Path(__file__).with_name("peer_abtem.py"))
            peer = run([abtem, script, *words, "potential.npy"], folder=folder, threads=threads)
            result["abtem"] = last_json(peer["said"]) | {"peak_memory_bytes": peer["peak_memory_bytes"]}
            result["ratios"]["abtem_to_ours"] = result["abtem"]["seconds"] / times["seconds"]
    return result


def abtem_python(given: str | None) -> str | None:
    """A Python that has abTEM, or None with a loud line."""
    path = given or os.environ.get("CRYOWALK_ABTEM_PYTHON")
    if path is None:
        print(
            "SKIPPED: abTEM. Make an environment with it (python3 -m venv venv-abtem && venv-abtem/bin/pip install abtem) and name its python "
            "with --abtem-python or CRYOWALK_ABTEM_PYTHON",
            file=sys.stderr,
        )
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a small size, to see that it runs")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--abtem-python", help="a Python that has abTEM")
    parser.add_argument("--output", type=Path)
    parser.add_argument("--worker", nargs=2, type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        worker(*options.worker)
        return
    peer, facts = abtem_python(options.abtem_python), machine(options.threads)
    sizes = QUICK if options.quick else SIZES
    results = [measure(size, count, options.threads, peer) for size, count in sizes]
    file = "multislice_quick.json" if options.quick else "multislice.json"
    path = write_result(file, {"machine": facts, "goal": GOAL, "results": results}, options.output)
    for result in results:
        print(result["size"], json.dumps(result["ratios"]))
    print(path)


if __name__ == "__main__":
    main()
