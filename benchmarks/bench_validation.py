"""Masks and post-processing beside RELION's: seconds, memory, and how both stand to the truth.

    python benchmarks/bench_validation.py [--quick] [--threads 2] [--output FILE]

Half maps are Gaussian blobs with a B-factor and white noise, so that the truth is known. Ours: `cryowalk mask` and `cryowalk postprocess` on files, with their
reports, and the calls alone without files; RELION's: `relion_mask_create` and `relion_postprocess` with the same mask. Whole programs, imports included.
"""

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from _shared import PIXEL_SIZE, last_json, machine, phantom, relion, run, set_threads, write_result

BOX, QUICK_BOX = 256, 96
B_FACTOR, NOISE = 60.0, 0.5
LOW_PASS, EXTEND, EDGE, LEVEL = 15.0, 3, 6, 0.05
GOAL = "mask 3 × faster than RELION’s, post-processing about as fast; resolution within 5 % of that of the truth, B-factor within 15 %"


def make_inputs(box: int, folder: Path) -> None:
    """Write the truth and two half maps."""
    import torch

    from cryowalk import fourier
    from cryowalk.data import Volume
    from cryowalk.io import write_map

    truth = phantom(box)
    voxels = fourier.b_factor(truth.voxels, b_factor=B_FACTOR, pixel_size=PIXEL_SIZE, dimensions=3)
    write_map(Volume(voxels=voxels, voxel_size=PIXEL_SIZE), folder / "truth.mrc")
    generator = torch.Generator().manual_seed(3)
    for half in (1, 2):
        noise = NOISE * voxels.std() * torch.randn(voxels.shape, generator=generator)
        write_map(Volume(voxels=voxels + noise, voxel_size=PIXEL_SIZE), folder / f"run_half{half}.mrc")


def worker(folder: Path, threads: int) -> None:
    """Do the calls alone and print seconds and results as JSON."""
    import torch

    from cryowalk.io import read_half_maps, read_map, read_mask
    from cryowalk.validation import compare_maps
    from cryowalk.validation.guinier import fit_b_factor, log_amplitude, shell_frequencies
    from cryowalk.validation.masks import automatic_mask
    from cryowalk.validation.post_processing import post_process
    from cryowalk.validation.settings import PostProcessingSettings

    set_threads(threads)
    truth, halves = read_map(folder / "truth.mrc"), read_half_maps(folder / "run_half1.mrc", folder / "run_half2.mrc")
    mask = read_mask(folder / "mask.mrc")
    average = halves.average()
    start = time.perf_counter()
    automatic_mask(average)
    middle = time.perf_counter()
    settings = PostProcessingSettings(randomisations=1)
    result = post_process(halves, settings, mask=mask, generator=torch.Generator().manual_seed(1))
    end = time.perf_counter()
    known = fit_b_factor(shell_frequencies(truth), log_amplitude(truth), finest=result.resolution)
    facts = {
        "seconds_of_mask": middle - start,
        "seconds_of_post_processing": end - middle,
        "resolution": result.resolution,
        "resolution_of_truth": compare_maps(average, truth, mask=mask).resolution(at=0.5),
        "b_factor": -result.b_factor,
        "b_factor_of_truth": known.b_factor,
    }
    print(json.dumps(facts))


def measure(box: int, threads: int) -> dict[str, Any]:
    """Both programs on the same files in the same run."""
    with tempfile.TemporaryDirectory(prefix="cryowalk-bench-") as name:
        folder = Path(name)
        (folder / "theirs").mkdir()
        make_inputs(box, folder)
        ours = [sys.executable, "-m", "cryowalk"]
        quiet = ["--threads", str(threads), "--device", "cpu", "--quiet"]
        shape = [
            "--lowpass",
            str(LOW_PASS),
            "--extend_inimask",
            str(EXTEND),
            "--width_soft_edge",
            str(EDGE),
            "--ini_threshold",
            str(LEVEL),
        ]
        halves = ["--i", "run_half1.mrc", "--mask", "mask.mrc"]
        result: dict[str, Any] = {"box": box, "cryowalk": {}, "relion": {}, "ratios": {}}
        done = {
            "mask": run([*ours, "mask", "--i", "truth.mrc", "--o", "mask.mrc", *shape, *quiet], folder=folder, threads=threads)
        }
        words = [*halves, "--o", "ours", "--randomisations", "1", *quiet]
        done["postprocess"] = run([*ours, "postprocess", *words], folder=folder, threads=threads)
        part = [sys.executable, str(Path(__file__).resolve()), "--worker", str(folder), "--threads", str(threads)]
        result["cryowalk"] = last_json(run(part, folder=folder, threads=threads)["said"])
        programs = {"mask": relion("relion_mask_create"), "postprocess": relion("relion_postprocess")}
        theirs: dict[str, dict[str, Any]] = {}
        if programs["mask"] and programs["postprocess"]:
            angpix = ["--angpix", str(PIXEL_SIZE)]
            command = [programs["mask"], "--i", "truth.mrc", "--o", "theirs/mask.mrc", "--j", str(threads), *shape, *angpix]
            theirs["mask"] = run(command, folder=folder, threads=threads)
            command = [programs["postprocess"], *halves, "--auto_bfac", "--o", "theirs/pp", *angpix]
            theirs["postprocess"] = run(command, folder=folder, threads=threads)
        for program, runs in (("cryowalk", done), ("relion", theirs)):
            for step, one in runs.items():
                result[program][step] = {key: value for key, value in one.items() if key != "said"}
        result["ratios"] = {step: theirs[step]["wall_seconds"] / done[step]["wall_seconds"] for step in theirs}
        if theirs:
            calls = result["cryowalk"]["seconds_of_post_processing"]
            result["ratios"]["postprocess_without_start_and_report"] = theirs["postprocess"]["wall_seconds"] / calls
    return result


def main() -> None:
    """Measure and write validation.json, or, with `--worker`, do our part in this process."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a small box, to see that it runs")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--output", type=Path)
    parser.add_argument("--worker", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        worker(options.worker, options.threads)
        return
    facts = machine(options.threads)
    result = measure(QUICK_BOX if options.quick else BOX, options.threads)
    file = "validation_quick.json" if options.quick else "validation.json"
    path = write_result(file, {"machine": facts, "goal": GOAL, "results": [result]}, options.output)
    print(json.dumps(result, indent=1), path, sep="\n")


if __name__ == "__main__":
    main()
