"""Local resolution and Q-scores: seconds for a pair of half maps beside RELION's own local resolution, and atoms a second.

    python benchmarks/bench_validation.py [--quick] [--threads 2] [--no-relion] [--output FILE]

The map is the procedural molecule with B-factors that rise along x, with white noise. RELION runs on the small pair only (its time grows with the number of
sampling points times the transforms of the whole box); both programs' times are from file to file, without start-up for ours.
"""

import argparse
import json
import math
import os
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from _shared import last_json, machine, relion, run, set_threads, write_result

BOX, QUICK_BOX, PEER_BOX = 256, 64, 96
FIELD = 142.0  # Å: the box length, whatever the number of voxels
GOAL = (
    "local resolution of a pair of 256³ maps within a minute on two cores; rank correlation with the true B-factor at least 0.8"
)


def make_inputs(box: int, folder: Path) -> None:
    """Write a pair of half maps, the truth about B-factors, and a clean map."""
    import torch

    from cryowalk.data import Volume
    from cryowalk.io import write_map
    from cryowalk.io.atoms import write_atoms
    from cryowalk.microscope.specimen import centre_of_mass, hinge, potential

    atoms = hinge()
    along = atoms.positions[:, 0].double() - centre_of_mass(atoms)[0]
    atoms = replace(atoms, b_factors=(20 + 140 * (1 + along / along.abs().max())).float())
    volume = potential(atoms, box=box, voxel_size=FIELD / box)
    write_atoms(atoms, folder / "atoms.cif")
    write_map(volume, folder / "clean.mrc")
    generator = torch.Generator().manual_seed(1)
    # The same noise in a volume of space, whatever the voxel.
    noise = float(volume.voxels.std()) * math.sqrt((box / PEER_BOX) ** 3)
    for number in (1, 2):
        voxels = volume.voxels + noise * torch.randn(volume.voxels.shape, generator=generator)
        write_map(
            Volume(voxels=voxels, voxel_size=volume.voxel_size, origin=volume.origin), folder / f"half{number}_class001_unfil.mrc"
        )


def worker(folder: Path, threads: int) -> None:
    """Measure in this process and print seconds and results as JSON."""
    import torch
    from scipy.spatial import cKDTree
    from scipy.stats import spearmanr

    from cryowalk.io import read_half_maps, read_map
    from cryowalk.io.atoms import read_atoms
    from cryowalk.io.mrc import write_array
    from cryowalk.validation.local_filter import locally_filtered
    from cryowalk.validation.local_resolution import local_resolution
    from cryowalk.validation.q_score import q_scores

    set_threads(threads)
    atoms = read_atoms(folder / "atoms.cif")
    start = time.perf_counter()
    halves = read_half_maps(folder / "half1_class001_unfil.mrc", folder / "half2_class001_unfil.mrc")
    found = local_resolution(halves)
    write_array(found.resolution.voxels, folder / "local.mrc", voxel_size=halves.first.voxel_size)
    middle = time.perf_counter()
    locally_filtered(halves.average(), found.resolution)
    filtered = time.perf_counter()
    clean = read_map(folder / "clean.mrc")
    before = time.perf_counter()
    scores = q_scores(clean, atoms)
    after = time.perf_counter()
    inside = clean.voxels > clean.voxels.mean() + 2 * clean.voxels.std()
    places = torch.nonzero(inside)[:: max(1, int(inside.sum()) // 20000)]
    points = places.flip(-1).double() * clean.voxel_size + torch.tensor(clean.origin, dtype=torch.float64)
    nearest = cKDTree(atoms.positions.double().numpy()).query(points.numpy())[1]
    z, y, x = places.unbind(-1)
    rank = spearmanr(found.resolution.voxels[z, y, x].numpy(), atoms.b_factors.numpy()[nearest]).statistic
    facts = {
        "seconds_of_local_resolution": middle - start,
        "seconds_of_local_filter": filtered - middle,
        "window": found.window,
        "bands": len(found.frequency),
        "rank_correlation_with_true_b_factor": float(rank),
        "atoms": len(atoms),
        "q_score_atoms_per_second": len(atoms) / (after - before),
        "q_score_mean": scores.mean,
    }
    print(json.dumps(facts))


def measure(box: int, threads: int, *, peer: bool) -> dict[str, Any]:
    """Ours, and RELION's local resolution of the same pair where it is asked for."""
    with tempfile.TemporaryDirectory(prefix="cryowalk-bench-") as name:
        folder = Path(name)
        make_inputs(box, folder)
        command = [sys.executable, str(Path(__file__).resolve()), "--worker", str(folder), "--threads", str(threads)]
        whole = run(command, folder=folder, threads=threads)
        result: dict[str, Any] = {
            "box": box,
            "cryowalk": last_json(whole["said"]) | {"peak_memory_bytes": whole["peak_memory_bytes"]},
        }
        program = relion("relion_postprocess") if peer else None
        if program:
            words = [program, "--locres", "--i", "half1_class001_unfil.mrc", "--i2", "half2_class001_unfil.mrc", "--o", "relion"]
            words += ["--angpix", f"{FIELD / box:.6f}", "--locres_sampling", "15"]
            start = time.perf_counter()
            run(words, folder=folder, threads=threads)
            seconds = time.perf_counter() - start
            result["relion"] = {"seconds_of_local_resolution": seconds}
            result["ratio_to_relion"] = seconds / result["cryowalk"]["seconds_of_local_resolution"]
        return result


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--threads", type=int, default=min(2, os.cpu_count() or 1))
    parser.add_argument("--no-relion", action="store_true")
    parser.add_argument("--output", type=Path)
    parser.add_argument("--worker", type=Path)
    arguments = parser.parse_args()
    if arguments.worker:
        worker(arguments.worker, arguments.threads)
        return
    boxes = (QUICK_BOX,) if arguments.quick else (PEER_BOX, BOX)
    cases = [measure(box, arguments.threads, peer=box in (PEER_BOX, QUICK_BOX) and not arguments.no_relion) for box in boxes]
    print(json.dumps(cases, indent=1))
    file = "validation_quick.json" if arguments.quick else "validation.json"
    print(write_result(file, {"machine": machine(arguments.threads), "goal": GOAL, "results": cases}, arguments.output))


if __name__ == "__main__":
    main()
