"""The sample beside the work that it cannot avoid: ice beside its random numbers and its transform, atoms on a field beside the non-uniform transforms of finufft.

    python benchmarks/bench_sample.py [--quick] [--threads 2] [--output FILE]

Ice on a square field: `projected_ice` with a thickness map, over the time of drawing as many normal numbers and of one inverse real transform; and `evolve_ice`,
over the same numbers and two transforms. Best of several runs in one process.
"""

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from _shared import machine, set_threads, write_result


def best(work: Callable[[], object], *, runs: int) -> float:
    """The shortest wall time of some runs, s."""
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)


def measure_ice(side: int, *, runs: int) -> dict[str, Any]:
    """Seconds of ice on a field, and of the work that it cannot avoid."""
    import torch

    from cryowalk.fourier.transform import filtered_image, filtering_half_spectrum
    from cryowalk.microscope.ice import evolve_ice, projected_ice

    generator = torch.Generator().manual_seed(1)
    thickness = 250 + 100 * torch.rand(side, side, generator=generator)
    film = projected_ice((side, side), pixel_size=1.0, thickness=thickness, generator=generator)
    spectrum = filtering_half_spectrum(film)
    numbers = best(lambda: torch.randn(side, side // 2 + 1, 2, generator=generator), runs=runs)
    there = best(lambda: filtering_half_spectrum(film), runs=runs)
    back = best(lambda: filtered_image(spectrum, width=side), runs=runs)
    made = best(lambda: projected_ice((side, side), pixel_size=1.0, thickness=thickness, generator=generator), runs=runs)
    evolved = best(lambda: evolve_ice(film, pixel_size=1.0, dose=1.0, thickness=thickness, generator=generator), runs=runs)
    return {
        "side": side,
        "random_numbers_seconds": numbers,
        "transform_seconds": there,
        "inverse_transform_seconds": back,
        "projected_ice_seconds": made,
        "evolve_ice_seconds": evolved,
        "ratios": {
            "projected_ice_over_numbers_and_transform": made / (numbers + back),
            "evolve_ice_over_numbers_and_transforms": evolved / (numbers + there + back),
        },
    }


def measure_atoms(side: int, *, runs: int) -> dict[str, Any]:
    """Seconds of the projected potential of the two-body molecule on a field."""
    from cryowalk.microscope.specimen import hinge, projected_potential, projected_slices

    atoms = hinge()
    edges = [-60.0, -20.0, 20.0, 60.0]
    one = best(lambda: projected_potential(atoms, size=(side, side), pixel_size=1.0), runs=runs)
    three = best(lambda: list(projected_slices(atoms, size=(side, side), pixel_size=1.0, edges=edges)), runs=runs)
    return {"side": side, "atoms": len(atoms), "projected_potential_seconds": one, "three_slices_seconds": three}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a small size, to see that it runs")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    set_threads(options.threads)
    facts = machine(options.threads)
    fields, molecules = ((512,), (128,)) if options.quick else ((1024, 4096), (256, 1024))
    ice = [measure_ice(side, runs=5) for side in fields]
    atoms = [measure_atoms(side, runs=3) for side in molecules]
    file = "sample_quick.json" if options.quick else "sample.json"
    path = write_result(file, {"machine": facts, "ice": ice, "atoms": atoms}, options.output)
    for result in ice + atoms:
        print(json.dumps(result))
    print(path)


if __name__ == "__main__":
    main()
