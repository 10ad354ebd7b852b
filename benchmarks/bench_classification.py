"""2D classification beside relion_refine on the same stack: wall time, memory, how well classes part known views, and how well they show them.

    python benchmarks/bench_classification.py [--quick] [--threads 2] [--relion equal issue] [--output FILE]

The stack: the procedural molecule along ten directions far apart, turned in the plane and moved at random, 2,000 × 96 px of 2.5 Å, SNR 0.04, B 100 Å², defocus 1 to 2 µm. Ours is
`cryowalk class2d` from the command line, start-up included. RELION's in-plane step is given before its oversampling, which halves it: `equal` gives both
programs 6° and 1 px in the end (--psi_step 12 --offset_step 2, as its interface does), `issue` gives RELION --psi_step 6 --offset_step 1. Rejection: a stack of all
views of which a fifth is junk; the area under the curve of its particle scores.
"""

import argparse
import json
import math
import sys
import tempfile
from pathlib import Path
from typing import Any

from _shared import machine, relion, run, set_threads, write_result

GOAL = "10 × less wall time than relion_refine, adjusted Rand index ≥ 0.8, junk rejected with an area of 0.95"
FULL = {"count": 2000, "box": 96, "pixel_size": 2.5, "views": 10, "classes": 10, "iterations": 25}
QUICK = {"count": 300, "box": 48, "pixel_size": 5.0, "views": 4, "classes": 4, "iterations": 5}
SNR, B_FACTOR, SHIFT, DIAMETER, JUNK = 0.04, 100.0, 3.0, 190.0, 0.2
STEPS = {"equal": ("12", "2"), "issue": ("6", "1")}
FINEST = 10.0  # Å, to which classes are compared with the views


def make_stack(folder: Path, size: dict[str, Any]) -> Any:
    """The true view of each image; particles.star, its stack and views.mrcs are written."""
    import torch

    from cryowalk.data import Defocus, ImageStack, Optics, ParticleSet
    from cryowalk.fourier.slices import extract_slices, prepare_volume
    from cryowalk.fourier.transform import to_real
    from cryowalk.geometry.rotations import matrix_about_axis, view_direction
    from cryowalk.geometry.sampling import random_rotations
    from cryowalk.io import write_array, write_particles
    from cryowalk.microscope import specimen
    from cryowalk.microscope.exposure import deviation_for_snr
    from cryowalk.microscope.image_formation import form_images
    from cryowalk.microscope.simulate.specimens import Source, prepare_specimens

    generator = torch.Generator().manual_seed(3)
    count, box = size["count"], size["box"]
    optics = Optics(pixel_size=size["pixel_size"])
    source = [Source(structure=specimen.hinge)]
    volume = prepare_specimens(source, optics, box=box, hinge_spread=0.0, conformations=1).volumes[0]
    reference = prepare_volume(volume)
    candidates = random_rotations(400, generator=generator)
    direction, chosen = view_direction(candidates), [0]
    while len(chosen) < size["views"]:
        away = torch.acos((direction @ direction[chosen].T).abs().clamp(max=1)).min(dim=1).values
        chosen.append(int(away.argmax()))
    label = torch.randint(size["views"], (count,), generator=generator)
    turn = 2 * math.pi * torch.rand(count, generator=generator, dtype=torch.float64)
    rotations = matrix_about_axis(turn, axis="z") @ candidates[chosen][label]
    shift = SHIFT * torch.randn(count, 2, generator=generator, dtype=torch.float64)
    major = 10000 + 10000 * torch.rand(count, generator=generator, dtype=torch.float64)
    zero = torch.zeros_like(major)
    defocus = Defocus(major=major, minor=major - 200, azimuth=zero, phase_shift=zero, b_factor=zero + B_FACTOR)
    parts = []
    for start in range(0, count, 200):
        rows = slice(start, start + 200)
        projections = to_real(extract_slices(reference, rotations[rows].float()), width=box)
        parts.append(form_images(projections, optics, defocus[rows], shift=shift[rows]).images)
    images = torch.cat(parts)
    images = images + deviation_for_snr(images, snr=SNR) * torch.randn(images.shape, generator=generator)
    particles = ParticleSet(
        optics=(optics,), optics_index=torch.zeros(count, dtype=torch.int64), defocus=defocus,
        images=ImageStack(pixels=images, pixel_size=optics.pixel_size),
    )  # fmt: skip
    write_particles(particles, folder / "particles.star")
    views = to_real(extract_slices(reference, candidates[chosen].float()), width=box)
    write_array(views, folder / "views.mrcs", voxel_size=optics.pixel_size, kind="images")
    return label


def ours(folder: Path, size: dict[str, Any], threads: int) -> dict[str, Any]:
    """Our command on the stack."""
    command = [
        sys.executable, "-m", "cryowalk", "class2d", "--i", "particles.star", "--o", "Ours", "--classes", str(size["classes"]),
        "--iterations", str(size["iterations"]), "--diameter", str(DIAMETER), "--threads", str(threads), "--seed", "1", "--quiet",
    ]  # fmt: skip
    timed = run(command, folder=folder, threads=threads)
    return {**timed, "table": f"Ours/run_it{size['iterations']:03d}_data.star"}


def theirs(folder: Path, size: dict[str, Any], threads: int, steps: str) -> dict[str, Any] | None:
    """RELION on the stack, or None where it is not installed."""
    program = relion("relion_refine")
    if program is None:
        return None
    (folder / f"Relion_{steps}").mkdir()
    psi, offset = STEPS[steps]
    command = [
        program, "--i", "particles.star", "--o", f"Relion_{steps}/run", "--K", str(size["classes"]), "--iter", str(size["iterations"]),
        "--particle_diameter", str(DIAMETER), "--ctf", "--tau2_fudge", "2", "--flatten_solvent", "--zero_mask", "--center_classes",
        "--oversampling", "1", "--psi_step", psi, "--offset_range", "5", "--offset_step", offset, "--norm", "--scale", "--pad", "2",
        "--dont_combine_weights_via_disc", "--pool", "30", "--j", str(threads), "--random_seed", "1",
    ]  # fmt: skip
    if "center_classes" not in run_help(program, folder):
        command.remove("--center_classes")
    timed = run(command, folder=folder, threads=threads)
    return {**timed, "table": f"Relion_{steps}/run_it{size['iterations']:03d}_data.star", "command": " ".join(command[1:])}


def run_help(program: str, folder: Path) -> str:
    """What a RELION program says of its options."""
    import subprocess

    said = subprocess.run([program, "--help"], cwd=folder, capture_output=True, text=True, check=False)
    return said.stdout + said.stderr


def quality(folder: Path, timed: dict[str, Any], label: Any) -> dict[str, float]:
    """How well the classes part the views, and how well each class shows the view it is most like, weighted by its images."""
    import torch

    from cryowalk.classification.averages import best_move, turned_images
    from cryowalk.fourier.shells import shell_correlation
    from cryowalk.io import read_array, read_particles

    table = folder / timed["table"]
    particles = read_particles(table, images="ignore")
    order = torch.tensor([int(name.partition("@")[0]) - 1 for name in particles.image_names])
    number = particles.class_number - 1
    views = torch.from_numpy(read_array(folder / "views.mrcs").copy()).float()
    classes = torch.from_numpy(read_array(table.with_name(table.name.replace("_data.star", "_classes.mrcs"))).copy()).float()
    angles = torch.arange(0, 360, 3) * (math.pi / 180)
    pixel_size = particles.optics[0].pixel_size
    rings = max(3, round(views.shape[-1] * pixel_size / FINEST))
    held = torch.bincount(number, minlength=len(classes)).double()
    like = torch.zeros(len(classes), dtype=torch.float64)
    for place, image in enumerate(classes):
        if held[place] < 1:
            continue
        view = views[int(torch.bincount(label[order][number == place]).argmax())]
        turned = turned_images(image.expand(len(angles), -1, -1), angles)
        moved = torch.stack([one.roll(best_move(view, one, reach=8), dims=(0, 1)) for one in turned])
        best = moved[int((moved * view).sum(dim=(1, 2)).argmax())]
        like[place] = float(shell_correlation(best, view)[1 : rings + 1].mean())
    return {
        "adjusted_rand_index": rand_index(label[order], number),
        "class_frc_to_10_angstrom": float((like * held).sum() / held.sum()),
        "classes_with_images": int((held > 0).sum()),
    }


def rand_index(first: Any, second: Any) -> float:
    """The adjusted Rand index of two divisions of one set (Hubert & Arabie, J. Classif. 2, 193 (1985))."""
    import torch

    table = torch.zeros(int(first.max()) + 1, int(second.max()) + 1, dtype=torch.float64)
    table.index_put_((first, second), torch.ones(len(first), dtype=torch.float64), accumulate=True)

    def pairs(number: Any) -> Any:
        return (number * (number - 1) / 2).sum()

    rows, columns, whole = pairs(table.sum(1)), pairs(table.sum(0)), len(first) * (len(first) - 1) / 2
    expected = rows * columns / whole
    return float((pairs(table) - expected) / ((rows + columns) / 2 - expected))


def rejection(folder: Path, size: dict[str, Any], threads: int) -> dict[str, float]:
    """The area under the curve of the particles' scores on a stack of all views, a fifth of it junk."""
    import torch

    from cryowalk.io import read_particles, read_truth

    program = [sys.executable, "-m", "cryowalk"]
    simulate = [
        *program, "simulate", "particles", "--o", "Junk", "--count", str(size["count"]), "--box", str(size["box"]), "--pixel-size",
        str(size["pixel_size"]), "--snr", str(SNR), "--b-factor", str(B_FACTOR), "--defocus-range", "10000", "20000", "--junk", str(JUNK),
        "--seed", "5", "--quiet",
    ]  # fmt: skip
    run(simulate, folder=folder, threads=threads)
    classify = [
        *program, "class2d", "--i", "Junk/particles.star", "--o", "JunkClasses", "--classes", str(2 * size["classes"]), "--iterations",
        str(min(15, size["iterations"])), "--diameter", str(DIAMETER), "--threads", str(threads), "--quiet",
    ]  # fmt: skip
    timed = run(classify, folder=folder, threads=threads)
    table = max((folder / "JunkClasses").glob("run_it*_data.star"))
    score = torch.tensor([float(text) for text in read_particles(table, images="ignore").extra["cwParticleScore"]])
    junk = read_truth(folder / "Junk" / "truth.star").junk

    def area(bad: Any) -> float:
        good, other = score[junk == 0][:, None], score[bad][None]
        return float(((good > other).double() + 0.5 * (good == other)).mean())

    return {
        "area_under_curve": area(junk > 0),
        "area_against_empty_ice": area(junk == 1),
        "area_against_contamination": area(junk == 2),
        "wall_seconds": timed["wall_seconds"],
    }


def main() -> None:
    """Run and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a small size, to see that it runs")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--relion", nargs="*", choices=list(STEPS), default=["equal"], help="RELION's steps; none skips it")
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    size = QUICK if options.quick else FULL
    set_threads(options.threads)
    facts = machine(options.threads)
    with tempfile.TemporaryDirectory(prefix="cryowalk-bench-") as name:
        folder = Path(name)
        label = make_stack(folder, size)
        result: dict[str, Any] = {"size": size, "snr": SNR, "diameter_angstrom": DIAMETER}
        mine = ours(folder, size, options.threads)
        result["cryowalk"] = kept(mine) | quality(folder, mine, label)
        print(json.dumps(result["cryowalk"]), flush=True)
        for steps in options.relion:
            timed = theirs(folder, size, options.threads, steps)
            if timed is None:
                continue
            result[f"relion_{steps}"] = kept(timed) | quality(folder, timed, label)
            result[f"times_faster_than_relion_{steps}"] = timed["wall_seconds"] / mine["wall_seconds"]
            print(steps, json.dumps(result[f"relion_{steps}"]), flush=True)
        result["rejection"] = rejection(folder, size, options.threads)
    file = "classification_quick.json" if options.quick else "classification.json"
    path = write_result(file, {"machine": facts, "goal": GOAL, "results": [result]}, options.output)
    print(json.dumps(result["rejection"]))
    print(path)


def kept(timed: dict[str, Any]) -> dict[str, Any]:
    """What is recorded of a run."""
    names = ("wall_seconds", "processor_seconds", "peak_memory_bytes", "command")
    return {name: timed[name] for name in names if name in timed}


if __name__ == "__main__":
    main()
