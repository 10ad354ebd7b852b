"""Refinement from a 40 Å reference beside relion_refine_mpi's auto-refine: wall time, map and poses against the truth and the Cramér–Rao bound.

    python benchmarks/bench_refinement.py [--quick] [--threads 2] [--cap 14400] [--peer run|start|collect|skip] [--folder DIR] [--output FILE]

Ours is the whole command `cryowalk refine` with this many threads, start-up included; RELION's is `mpirun -n 3 relion_refine_mpi --auto_refine
--split_random_halves --j 1`, two working ranks, on the same stack. RELION takes hours: it runs in a process group of its own and is stopped at the cap, and
the result then tells its iteration and that the ratio is at least so large. `start` starts it in the folder and returns; `collect` reads what it has reached.
"""

import argparse
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from _shared import environment, machine, relion, run, write_result

GOAL = (
    "8 × RELION's auto-refine; pose error at most 1.5 × the Cramér–Rao bound; FSC 0.143 within 5 % of that of the true poses' map"
)
SIZE = {
    "count": 2000,
    "box": 96,
    "pixel_size": 2.5,
    "snr": 0.04,
    "b_factor": 100.0,
    "defocus": (10000.0, 20000.0),
    "diameter": 200.0,
}
QUICK = {
    "count": 200,
    "box": 48,
    "pixel_size": 5.0,
    "snr": 0.6,
    "b_factor": 100.0,
    "defocus": (10000.0, 20000.0),
    "diameter": 200.0,
}
STARTING_RESOLUTION = 40.0
SEED = 5
OURS, THEIRS = "ours", "relion"


def command(name: str) -> list[str]:
    """One of our commands, as a program."""
    return [sys.executable, "-m", "cryowalk", *name.split()]


def make_inputs(size: dict[str, Any], folder: Path, threads: int) -> None:
    """The particles with their truth, the same without poses, and the reference for RELION."""
    if (folder / "blind.star").is_file():
        return
    words = ["--n", size["count"], "--box", size["box"], "--pixel-size", size["pixel_size"], "--snr", size["snr"]]
    words += ["--b-factor", size["b_factor"], "--defocus-range", *size["defocus"], "--seed", SEED, "--threads", threads]
    run([*command("simulate particles"), "--o", "data", *map(str, words)], folder=folder, threads=threads)
    from dataclasses import replace

    from cryowalk.io import read_particles
    from cryowalk.io.relion import write_particles

    particles = read_particles(folder / "data" / "particles.star")
    write_particles(replace(particles, pose=None), folder / "blind.star")
    shutil.copy(folder / "data" / "truth_map.mrc", folder / "reference.mrc")


def ours(size: dict[str, Any], folder: Path, threads: int) -> dict[str, Any]:
    """Our command's wall time, memory and scores."""
    shutil.rmtree(folder / OURS, ignore_errors=True)
    words = ["--i", "blind.star", "--ref", "reference.mrc", "--o", OURS, "--ini-high", STARTING_RESOLUTION]
    words += ["--diameter", size["diameter"], "--threads", threads, "--seed", 1, "--device", "cpu"]
    found = run([*command("refine"), *map(str, words)], folder=folder, threads=threads)
    scores = json.loads((folder / OURS / "scores.json").read_text())
    names = ("run_half1_class001_unfil.mrc", "run_half2_class001_unfil.mrc")
    return {
        "wall_seconds": found["wall_seconds"],
        "processor_seconds": found["processor_seconds"],
        "peak_memory_bytes": found["peak_memory_bytes"],
        "iterations": scores["iterations"],
        **against_truth(folder, OURS, names, "run_data.star"),
    }


def start_relion(size: dict[str, Any], folder: Path) -> int | None:
    """The process group of RELION's auto-refine, begun; None where it is not installed."""
    program, launcher = relion("relion_refine_mpi"), relion("mpirun")
    if program is None or launcher is None:
        return None
    shutil.rmtree(folder / THEIRS, ignore_errors=True)
    (folder / THEIRS).mkdir()
    words = f"""-n 3 --allow-run-as-root --oversubscribe {program} --i blind.star --o {THEIRS}/run --auto_refine --split_random_halves
        --ref reference.mrc --ini_high {STARTING_RESOLUTION} --firstiter_cc --ctf --ctf_corrected_ref --particle_diameter {size["diameter"]}
        --flatten_solvent --zero_mask --oversampling 1 --healpix_order 2 --auto_local_healpix_order 4 --offset_range 5 --offset_step 2 --sym C1
        --low_resol_join_halves 40 --norm --scale --j 1 --pool 30 --pad 2 --random_seed 1 --dont_combine_weights_via_disc --no_parallel_disc_io"""
    log = (folder / THEIRS / "log.txt").open("w")
    process = subprocess.Popen(
        [launcher, *words.split()], cwd=folder, env=environment(1), stdout=log, stderr=subprocess.STDOUT, start_new_session=True
    )
    (folder / THEIRS / "started.json").write_text(json.dumps({"process": process.pid, "started": time.time()}))
    return process.pid


def wait_for_relion(folder: Path, cap: float) -> None:
    """Return when RELION has ended, or stop it at the cap (s)."""
    facts = json.loads((folder / THEIRS / "started.json").read_text())
    while is_running(facts["process"]):
        if time.time() - facts["started"] > cap:
            os.killpg(facts["process"], signal.SIGTERM)
            time.sleep(5)
            return
        time.sleep(1)


def is_running(process: int) -> bool:
    """Whether a process is there and no zombie of ours."""
    try:
        ended, _ = os.waitpid(process, os.WNOHANG)
    except ChildProcessError:
        return Path(f"/proc/{process}").exists()
    return ended == 0


def theirs(folder: Path) -> dict[str, Any] | None:
    """What RELION has reached: the wall time of its end, or that of its latest iteration."""
    started = folder / THEIRS / "started.json"
    if not started.is_file():
        return None
    begun = json.loads(started.read_text())["started"]
    final = folder / THEIRS / "run_data.star"
    whole = sorted((folder / THEIRS).glob("run_it*_data.star"))
    if not whole:
        return {"is_finished": False, "iteration": 0, "wall_seconds_so_far": time.time() - begun}
    latest = final if final.is_file() else whole[-1]
    number = int(re.search(r"it(\d+)", whole[-1].name)[1])
    facts = {"is_finished": final.is_file(), "iteration": number, "wall_seconds": latest.stat().st_mtime - begun}
    stem = "run_half{}_class001_unfil.mrc" if final.is_file() else f"run_it{number:03d}_half{{}}_class001.mrc"
    names = (stem.format(1), stem.format(2))
    if number and all((folder / THEIRS / name).is_file() for name in names):
        facts |= against_truth(folder, THEIRS, names, latest.name)
    return facts


def against_truth(folder: Path, job: str, names: tuple[str, str], data: str) -> dict[str, float]:
    """Resolution of the mean of two half maps to the truth, and errors of poses (after the one motion between both frames)."""
    from cryowalk.io import read_half_maps, read_particles
    from cryowalk.io.truth import read_truth
    from cryowalk.validation import score

    truth = read_truth(folder / "data" / "truth.star")
    halves = read_half_maps(folder / job / names[0], folder / job / names[1])
    maps = score(halves, truth, alignment="rigid")
    source = read_particles(folder / "data" / "particles.star", images="ignore")
    found = read_particles(folder / job / data, images="ignore")
    place = {image_key(name): row for row, name in enumerate(found.image_names)}
    pose = found.pose[[place[image_key(name)] for name in source.image_names]]
    poses = score(pose, truth)
    return {name: value for name, value in {**maps, **poses}.items() if not name.startswith("alignment")}


def image_key(name: str) -> str:
    """The number and the file of an image, without its folder."""
    number, _, stack = name.rpartition("@")
    return f"{int(number)}@{Path(stack).name}"


def limits(folder: Path) -> dict[str, float]:
    """The Cramér–Rao bound of the poses, and the resolution of a map from the true poses."""
    import torch

    from cryowalk.io import read_particles
    from cryowalk.io.truth import read_truth
    from cryowalk.reconstruction import reconstruct
    from cryowalk.refinement import pose_bound
    from cryowalk.validation import score

    truth = read_truth(folder / "data" / "truth.star")
    particles = read_particles(folder / "data" / "particles.star").with_pose(truth.pose)
    generator = torch.Generator().manual_seed(SEED)
    angle, distance = pose_bound(particles, truth.volume, truth.noise_power[None].float() / 2).median_errors(generator)
    maps = score(reconstruct(particles, generator=generator), truth)
    return {
        "bound_angle_median_degrees": angle * 57.29577951308232,
        "bound_shift_median_angstrom": distance,
        **{f"true_poses_{name}": value for name, value in maps.items() if "fsc" in name},
    }


def ratios(result: dict[str, Any]) -> dict[str, float]:
    """How ours compares with the bound, the truth and RELION."""
    mine, peer, bound = result["cryowalk"], result.get("relion_refine_mpi"), result["limits"]
    found = {
        "angle_to_bound": mine["pose_angle_error_median_degrees_aligned"] / bound["bound_angle_median_degrees"],
        "shift_to_bound": mine["shift_error_median_angstrom_aligned"] / bound["bound_shift_median_angstrom"],
        "resolution_to_true_poses": mine["fsc_to_truth_0.143_angstrom"] / bound["true_poses_fsc_to_truth_0.143_angstrom"],
    }
    if peer and "wall_seconds" in peer:
        name = "times_faster_than_relion" if peer["is_finished"] else "times_faster_than_relion_at_least"
        found[name] = peer["wall_seconds"] / mine["wall_seconds"]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a small size, to see that it runs")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--cap", type=float, default=4 * 3600.0, help="seconds after which RELION is stopped")
    parser.add_argument("--peer", choices=("run", "start", "collect", "skip"), default="run")
    parser.add_argument("--folder", type=Path, help="where the data and both jobs lie; kept")
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    size = QUICK if options.quick else SIZE
    with tempfile.TemporaryDirectory(prefix="cryowalk-bench-") as name:
        folder = options.folder or Path(name)
        folder.mkdir(parents=True, exist_ok=True)
        make_inputs(size, folder, options.threads)
        if options.peer == "start":
            print("RELION runs as process", start_relion(size, folder))
            return
        result: dict[str, Any] = {"size": size, "limits": limits(folder)}
        if options.peer != "collect" or not (folder / OURS / "scores.json").is_file():
            result["cryowalk"] = ours(size, folder, options.threads)
            (folder / "ours.json").write_text(json.dumps(result["cryowalk"]))
        else:
            result["cryowalk"] = json.loads((folder / "ours.json").read_text())
        if options.peer == "run" and start_relion(size, folder):
            wait_for_relion(folder, options.cap)
        if options.peer != "skip":
            result["relion_refine_mpi"] = theirs(folder)
        result["ratios"] = ratios(result)
    file = "refinement_quick.json" if options.quick else "refinement.json"
    path = write_result(file, {"machine": machine(options.threads), "goal": GOAL, "results": [result]}, options.output)
    print(json.dumps(result["ratios"]))
    print(path)


if __name__ == "__main__":
    main()
