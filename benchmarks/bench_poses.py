"""CTF refinement beside relion_ctf_refine: seconds, and the errors of both against the truth, of one simulated stack with two half maps.

    python benchmarks/bench_poses.py [--quick] [--threads 2] [--output FILE]

Three tasks: defocus per particle; beam tilt with trefoil; the magnification matrix. Ours are timed in one process without imports, the compiled code loaded;
RELION's are whole programs with as many threads, which read the same files.
"""

import argparse
import contextlib
import json
import math
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from _shared import last_json, machine, phantom, relion, run, set_threads, write_result

PIXEL_SIZE, NOISE = 1.3, 1.5
TILT, TREFOIL, MATRIX = (0.6e-3, -0.9e-3), (20.0, -30.0), (1.012, 0.004, 0.003, 0.991)
SIZES = {128: 2000}
QUICK = {48: 200}
HALVES = ("run_half1_class001_unfil.mrc", "run_half2_class001_unfil.mrc")
TASKS = {
    "defocus": ("--fit_defocus", "--fit_mode", "fpfff", "--kmin_defocus", "30"),
    "aberrations": ("--fit_beamtilt", "--kmin_tilt", "30", "--odd_aberr_max_n", "3"),
    "magnification": ("--fit_aniso", "--kmin_mag", "30"),
}
GOAL = "no less accurate than RELION; faster by the wall clock on the same threads"


def make_inputs(box: int, count: int, folder: Path) -> None:
    """Half maps, and a stack and two STAR files for each task: the truth's, and one to begin with."""
    import torch

    from cryowalk.data import Defocus, Optics, ParticleSet, Pose
    from cryowalk.data.optics import Aberrations
    from cryowalk.fourier.slices import prepare_volume
    from cryowalk.fourier.transform import to_real
    from cryowalk.geometry.sampling import random_rotations
    from cryowalk.io.maps import write_map
    from cryowalk.io.mrc import MrcStackReader, write_array
    from cryowalk.io.relion import write_particles
    from cryowalk.io.stacks import image_names
    from cryowalk.microscope.aberrations import observed_slices
    from cryowalk.microscope.lens import antisymmetric_factor, contrast_transfer
    from cryowalk.poses.magnification import translated_defocus

    generator = torch.Generator().manual_seed(5)
    volume, size = phantom(box, voxel_size=PIXEL_SIZE), (box, box)
    for name in HALVES:
        noise = 0.3 * volume.voxels.std() * torch.randn(volume.voxels.shape, generator=generator)
        write_map(replace(volume, voxels=volume.voxels + noise), folder / name)
    mean = 8000 + 9000 * torch.rand(count, generator=generator, dtype=torch.float64)
    defocus = Defocus(
        major=mean + 150,
        minor=mean - 150,
        azimuth=math.pi * torch.rand(count, generator=generator, dtype=torch.float64),
        phase_shift=torch.zeros(count, dtype=torch.float64),
    )
    pose = Pose(
        lab_from_particle=random_rotations(count, generator=generator),
        shift=2 * torch.randn(count, 2, generator=generator, dtype=torch.float64),
    )
    kinds = {
        "defocus": Aberrations(),
        "aberrations": Aberrations(beam_tilt=TILT, odd_zernike=(0.0, 0.0, TREFOIL[0], 0.0, 0.0, TREFOIL[1])),
        "magnification": Aberrations(magnification=MATRIX),
    }
    for task, aberrations in kinds.items():
        optics = Optics(pixel_size=PIXEL_SIZE, aberrations=aberrations)
        true = ParticleSet(
            optics=(optics,),
            optics_index=torch.zeros(count, dtype=torch.long),
            pose=pose,
            defocus=defocus,
            half=torch.arange(count) % 2 + 1,
            micrograph_names=tuple(f"m{i % 20:03d}.mrc" for i in range(count)),
        )
        reference = prepare_volume(volume, padding=2, stretch=1.1)
        pixels = torch.empty(count, box, box)
        for part in torch.arange(count).split(256):
            slices = observed_slices(reference, pose.lab_from_particle[part].float(), optics=optics)
            transfer = contrast_transfer(optics, defocus[part].to(torch.float32), size=size)
            slices = slices * transfer * antisymmetric_factor(optics, size=size, like=slices)
            slices *= _moved(size, pose.shift[part])
            pixels[part] = to_real(slices, width=box)
        pixels += NOISE * pixels.std() * torch.randn(pixels.shape, generator=generator)
        stack = folder / f"{task}.mrcs"
        write_array(pixels, stack, voxel_size=PIXEL_SIZE, kind="images")
        change = (
            400 * (torch.rand(count, generator=generator, dtype=torch.float64) - 0.5) if task == "defocus" else torch.zeros(count)
        )
        seen = translated_defocus(defocus, torch.linalg.inv(torch.tensor(aberrations.magnification).double().reshape(2, 2)))
        start = replace(
            true,
            optics=(replace(optics, aberrations=Aberrations()),),
            defocus=replace(seen, major=seen.major + change, minor=seen.minor + change),
        )
        for name, chosen in (("true", true), ("start", start)):
            star = folder / f"{task}_{name}.star"
            named = chosen.with_images(MrcStackReader(stack), image_names(stack, count, star=star))
            write_particles(named, star)


def _moved(size: tuple[int, int], shift: Any) -> Any:
    from cryowalk.fourier.filters import shift_phases

    return shift_phases(size, shift.float(), pixel_size=PIXEL_SIZE)


def worker(folder: Path, threads: int) -> None:
    """Refine in this process; print seconds and errors as JSON."""
    from cryowalk.io.maps import read_map
    from cryowalk.io.relion import read_particles
    from cryowalk.poses import CtfRefinementSettings, refine_aberrations, refine_defocus, refine_magnification

    set_threads(threads)
    maps = [read_map(folder / name) for name in HALVES]
    tilt = CtfRefinementSettings(defocus="off", beam_tilt=True, aberrations=True)
    work = {
        "defocus": lambda p: refine_defocus(p, maps).particles,
        "aberrations": lambda p: refine_aberrations(p, maps, tilt).particles,
        "magnification": lambda p: refine_magnification(p, maps).particles,
    }
    refine_defocus(read_particles(folder / "defocus_start.star")[:8], maps)  # loads the compiled code
    found: dict[str, Any] = {}
    for task, refine in work.items():
        start = read_particles(folder / f"{task}_start.star")
        begin = time.perf_counter()
        refined = refine(start)
        found[task] = {"seconds": time.perf_counter() - begin, **errors(refined, folder, task)}
    print(json.dumps(found))


def errors(found: Any, folder: Path, task: str) -> dict[str, Any]:
    """The errors of a task's own parameters against the truth."""
    from cryowalk.io.relion import read_particles

    true = read_particles(folder / f"{task}_true.star")
    if task == "defocus":
        row = {name.split("@")[0]: i for i, name in enumerate(found.image_names)}
        order = [row[name.split("@")[0]] for name in true.image_names]
        away = (found.defocus.major[order] - true.defocus.major).abs()
        return {"median_error_of_defocus": float(away.median()), "rms_error_of_defocus": float(away.square().mean().sqrt())}
    mine, truth = found.optics[0].aberrations, true.optics[0].aberrations
    if task == "magnification":
        return {"largest_error_of_matrix": max(abs(a - b) for a, b in zip(mine.magnification, truth.magnification, strict=True))}
    tilt = max(abs(a - b) for a, b in zip(mine.beam_tilt, truth.beam_tilt, strict=True))
    trefoil = max(abs(mine.odd_zernike[i] - truth.odd_zernike[i]) for i in (2, 5))
    return {"largest_error_of_beam_tilt_mrad": tilt * 1e3, "largest_error_of_trefoil": trefoil}


def theirs(folder: Path, threads: int) -> dict[str, Any]:
    """RELION's seconds and errors."""
    from cryowalk.io.relion import read_particles

    program, fsc = relion("relion_ctf_refine"), relion("relion_postprocess")
    if program is None or fsc is None:
        return {}
    with contextlib.suppress(RuntimeError):  # it fails at its last plot, after the table is written
        run([fsc, "--i", HALVES[0], "--i2", HALVES[1], "--o", "pp", "--angpix", str(PIXEL_SIZE)], folder=folder, threads=threads)
    table = folder / "pp.star"
    table.write_text(table.read_text().replace("CorrelationUnmaskedMaps", "CorrelationCorrected"))
    found = {}
    for task, choices in TASKS.items():
        (folder / task).mkdir(exist_ok=True)
        inputs = ["--i", f"{task}_start.star", "--f", "pp.star", "--m1", HALVES[0], "--m2", HALVES[1], "--o", f"{task}/"]
        whole = run([program, *inputs, *choices, "--j", str(threads)], folder=folder, threads=threads)
        with contextlib.chdir(folder):  # stacks are named from the project's folder
            refined = read_particles(Path(task) / "particles_ctf_refine.star")
        found[task] = {"seconds": whole["wall_seconds"], **errors(refined, folder, task)}
    return found


def measure(box: int, count: int, threads: int) -> dict[str, Any]:
    """Both programs on the same files in the same run."""
    with tempfile.TemporaryDirectory(prefix="cryowalk-bench-") as name:
        folder = Path(name)
        make_inputs(box, count, folder)
        command = [sys.executable, str(Path(__file__).resolve()), "--worker", str(folder), "--threads", str(threads)]
        whole = run(command, folder=folder, threads=threads)
        ours, peers = last_json(whole["said"]), theirs(folder, threads)
    ratios = {task: peers[task]["seconds"] / ours[task]["seconds"] for task in ours if task in peers}
    return {
        "box": box,
        "particles": count,
        "cryowalk": ours | {"peak_memory_bytes": whole["peak_memory_bytes"]},
        "relion_ctf_refine": peers,
        "ratios": ratios,
    }


def main() -> None:
    """Measure and write poses.json, or, with `--worker`, do our part in this process."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few small images, to see that it runs")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--output", type=Path)
    parser.add_argument("--worker", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        worker(options.worker, options.threads)
        return
    facts = machine(options.threads)
    results = [measure(box, count, options.threads) for box, count in (QUICK if options.quick else SIZES).items()]
    file = "poses_quick.json" if options.quick else "poses.json"
    path = write_result(file, {"machine": facts, "goal": GOAL, "results": results}, options.output)
    print(json.dumps(results, indent=1), path, sep="\n")


if __name__ == "__main__":
    main()
