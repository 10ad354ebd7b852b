"""Picking of one micrograph of 4096 × 4096 pixels: blobs, and five templates in steps of 5°, beside the transforms that the search must do and beside RELION.

The micrograph holds particles at known places. The cost of the transforms is that of as many pairs of real transforms of the size that is searched, as there are
rotations of templates. RELION's program gets the same micrograph, references, angular step and threads.
"""

import argparse
import json
import math
import sys
import tempfile
import time
from pathlib import Path

from _shared import machine, relion, run, set_threads, write_result

PIXEL_SIZE, DIAMETER, TEMPLATES, STEP = 1.2, 170.0, 5, 5.0
GOAL = "templates within 3 × their transforms, 3 × faster than relion_autopick; blobs beside them"


def views(count: int, side: int, pixel_size: float):
    """Different lopsided views of a particle, bright."""
    import torch

    generator = torch.Generator().manual_seed(5)
    line = (torch.arange(side, dtype=torch.float32) - side // 2) * pixel_size
    result = []
    for _ in range(count):
        places = (torch.rand(9, 2, generator=generator) - 0.5) * 0.66 * DIAMETER
        result.append(sum(torch.exp(-((line - a) ** 2 + (line[:, None] - b) ** 2) / (2 * 18.0**2)) for a, b in places.tolist()))
    return torch.stack(result)


def make_micrograph(folder: Path, side: int):
    """The true places (x, y) in pixels; micrograph.mrc, micrographs.star and classes.mrcs are written."""
    import torch

    from cryowalk.io.mrc import write_array
    from cryowalk.picking.templates import rotated

    generator = torch.Generator().manual_seed(1)
    box = 2 * round(0.75 * DIAMETER / PIXEL_SIZE)
    images = views(TEMPLATES, box + 1, PIXEL_SIZE)
    field, places = torch.zeros(side, side), []
    apart = 1.2 * DIAMETER / PIXEL_SIZE
    for _ in range(40 * (side // 512) ** 2):
        x, y = (box + torch.rand(2, generator=generator) * (side - 2 * box)).round().long().tolist()
        if all(math.hypot(x - a, y - b) > apart for a, b in places):
            view = images[len(places) % TEMPLATES]
            angle = 2 * math.pi * float(torch.rand(1, generator=generator))
            field[y - box // 2 : y + box // 2 + 1, x - box // 2 : x + box // 2 + 1] += rotated(view, angle)
            places.append((x, y))
    pixels = 20 - 0.8 * field + 4 * torch.randn(side, side, generator=generator)
    write_array(pixels, folder / "micrograph.mrc", voxel_size=PIXEL_SIZE, kind="images")
    # RELION takes references to be on the scale of a micrograph whose noise has deviation 1; ours need not be.
    write_array(0.2 * images[:, :-1, :-1], folder / "classes.mrcs", voxel_size=PIXEL_SIZE, kind="images")
    (folder / "micrographs.star").write_text(
        "# version 30001\n\ndata_optics\n\nloop_\n_rlnOpticsGroupName #1\n_rlnOpticsGroup #2\n_rlnMicrographPixelSize #3\n_rlnVoltage #4\n"
        f"_rlnSphericalAberration #5\n_rlnAmplitudeContrast #6\nopticsGroup1 1 {PIXEL_SIZE} 300 2.7 0.1\n\n"
        "# version 30001\n\ndata_micrographs\n\nloop_\n_rlnMicrographName #1\n_rlnOpticsGroup #2\nmicrograph.mrc 1\n\n"
    )
    return torch.tensor(places, dtype=torch.float64)


def best_of(work, times: int = 3) -> float:
    """The shortest of some runs, seconds."""
    found = math.inf
    for _ in range(times):
        start = time.perf_counter()
        work()
        found = min(found, time.perf_counter() - start)
    return found


def transforms(micrograph) -> float:
    """Seconds of the transforms that the templates need: one forth and one back for each rotation of each, at the size that is searched."""
    import torch

    from cryowalk.fourier.transform import filtered_image, filtering_half_spectrum
    from cryowalk.picking.search import coarse_micrograph, fast_length

    coarse = coarse_micrograph(micrograph, diameter=DIAMETER)
    size = [fast_length(length + 2 * math.ceil(1.15 * coarse.radius) + 4) for length in coarse.pixels.shape]
    image = torch.randn(*size, generator=torch.Generator().manual_seed(2))
    count = TEMPLATES * round(360 / STEP)

    def work() -> None:
        for _ in range(20):
            filtered_image(filtering_half_spectrum(image), width=size[1])

    return best_of(work) * count / 20


def measure(folder: Path, side: int, threads: int) -> dict:
    """Times and scores."""
    from cryowalk.io.coordinates import read_coordinates
    from cryowalk.picking import PickingSettings, find_particles, score_picks
    from cryowalk.workflow.picking_stages import picking_inputs, read_templates

    set_threads(threads)
    truth = make_micrograph(folder, side)
    inputs = picking_inputs([folder / "micrograph.mrc"], pixel_size=PIXEL_SIZE)
    micrograph, templates = inputs.read(0), read_templates(folder / "classes.mrcs")
    tolerance = DIAMETER / PIXEL_SIZE / 2
    result: dict = {"side": side, "particles": len(truth), "templates": TEMPLATES, "angle_step_degrees": STEP}
    for name, given in (("log", None), ("template", templates)):
        settings = PickingSettings(diameter=DIAMETER, method=name, angle_step_degrees=STEP)
        found = find_particles(micrograph, settings, templates=given)
        seconds = best_of(lambda settings=settings, given=given: find_particles(micrograph, settings, templates=given))
        scores = score_picks(found.positions, truth, tolerance=tolerance)
        result[name] = {"seconds": seconds, "precision": scores.precision, "recall": scores.recall, "f1": scores.f1}
    result["transforms_seconds"] = transforms(micrograph)
    result["ratios"] = {"template_over_its_transforms": result["template"]["seconds"] / result["transforms_seconds"]}
    program = relion("relion_autopick")
    if program is not None:
        ours = [sys.executable, "-m", "cryowalk", "pick", "--i", "micrographs.star", "--o", "ours", "--diameter", str(DIAMETER), "--method", "template", "--ref", "classes.mrcs", "--quiet", "--threads", str(threads)]  # fmt: skip
        told = run(ours, folder=folder, threads=threads)
        result["command_seconds"] = told["wall_seconds"]
        command = [program, "--i", "micrographs.star", "--odir", "theirs/", "--pickname", "autopick", "--ref", "classes.mrcs", "--angpix_ref", str(PIXEL_SIZE), "--ang", str(STEP), "--lowpass", "20", "--shrink", "0", "--threshold", "0.05", "--min_distance", "110", "--particle_diameter", str(DIAMETER), "--invert"]  # fmt: skip
        told = run(command, folder=folder, threads=threads)
        picks = next((folder / "theirs").rglob("micrograph_autopick.star"))
        scores = score_picks(read_coordinates(picks).positions, truth, tolerance=tolerance)
        result["relion"] = {
            "seconds": told["wall_seconds"],
            "precision": scores.precision,
            "recall": scores.recall,
            "f1": scores.f1,
        }
        result["ratios"]["relion_over_cryowalk_command"] = told["wall_seconds"] / result["command_seconds"]
        result["ratios"]["relion_over_cryowalk"] = told["wall_seconds"] / result["template"]["seconds"]
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a small size, to see that it runs")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    facts = machine(options.threads)
    with tempfile.TemporaryDirectory() as folder:
        result = measure(Path(folder), 1024 if options.quick else 4096, options.threads)
    name = "bench_picking_quick.json" if options.quick else "picking.json"
    path = write_result(name, {"machine": facts, "goal": GOAL, "results": [result]}, options.output)
    print(json.dumps(result, indent=1))
    print(path)


if __name__ == "__main__":
    main()
