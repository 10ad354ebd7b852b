"""Defocus and astigmatism of micrographs beside ASPIRE's estimator: seconds per micrograph, and the errors of both against the truth.

    python benchmarks/bench_ctf_estimation.py [--quick] [--threads 2] [--peer-python PATH] [--output FILE]

The micrographs are ice at 40 e⁻/Å² with shot noise. Ours: read from the file, power spectrum (box 512), fit and quality; ASPIRE: its `estimate_ctf` on the
same files with the same box. Both without imports. --peer-python (or CRYOWALK_PEER_PYTHON) names a Python that has ASPIRE.
"""

import argparse
import json
import math
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from _shared import last_json, machine, run, set_threads, write_result

PIXEL_SIZE, BOX, DOSE, THICKNESS = 1.0, 512, 40.0, 400.0
TRUTHS = ((15500.0, 14900.0, 40.0), (22300.0, 21500.0, 115.0), (18700.0, 18300.0, 170.0))  # U, V (Å), angle (degrees)
GOAL = "at most 3 s for 4096 × 4096 pixels on two cores, and 5 × ASPIRE; median error of defocus at most 50 Å, of the angle 5°"
SIDE, QUICK_SIDE = 4096, 1536


def make_inputs(side: int, folder: Path) -> None:
    """Write one micrograph of ice for each truth."""
    import torch

    from cryowalk import Defocus, Optics, fourier
    from cryowalk.core.constants import interaction_constant
    from cryowalk.io.mrc import write_array
    from cryowalk.microscope.ice import projected_ice
    from cryowalk.microscope.lens import contrast_transfer

    optics = Optics(pixel_size=PIXEL_SIZE, voltage_kv=300.0, spherical_aberration_mm=2.7, amplitude_contrast=0.07)
    for number, (major, minor, angle) in enumerate(TRUTHS):
        generator = torch.Generator().manual_seed(number + 1)
        values = (torch.tensor([value], dtype=torch.float64) for value in (major, minor, math.radians(angle), 0.0))
        u, v, azimuth, phase_shift = values
        defocus = Defocus(major=u, minor=v, azimuth=azimuth, phase_shift=phase_shift)
        potential = projected_ice((side, side), pixel_size=PIXEL_SIZE, thickness=THICKNESS, generator=generator)
        spectrum = (
            fourier.to_fourier(interaction_constant(300) * potential) * contrast_transfer(optics, defocus, size=(side, side))[0]
        )
        contrast = fourier.to_real(spectrum, width=side)
        counts = torch.poisson((DOSE * PIXEL_SIZE**2 * (1 - 2 * contrast).clamp_min(0)).float(), generator=generator)
        write_array(counts, folder / f"{number}.mrc", voxel_size=PIXEL_SIZE, kind="images")


def worker(folder: Path, threads: int) -> None:
    """Estimate in this process and print seconds and results as JSON."""
    from cryowalk import Optics
    from cryowalk.ctf_estimation import estimate_ctf, power_spectrum
    from cryowalk.io.pictures import read_micrograph

    set_threads(threads)
    optics = Optics(pixel_size=PIXEL_SIZE, voltage_kv=300.0, spherical_aberration_mm=2.7, amplitude_contrast=0.07)
    seconds: list[tuple[float, float]] = []
    found: dict[str, list[float]] = {}
    paths = sorted(folder.glob("*.mrc"))
    for path in [paths[0], *paths]:  # the first is done twice: what is compiled or planned once is not counted
        start = time.perf_counter()
        spectrum = power_spectrum(read_micrograph(path).pixels, pixel_size=PIXEL_SIZE, box=BOX)
        middle = time.perf_counter()
        estimate = estimate_ctf(spectrum, optics)
        seconds.append((middle - start, time.perf_counter() - middle))
        defocus = estimate.defocus
        found[path.name] = [float(defocus.major), float(defocus.minor), float(defocus.azimuth)]
    spectra, fits = (statistics.median(times) for times in zip(*seconds[1:], strict=True))
    print(json.dumps({"seconds": spectra + fits, "seconds_of_spectrum": spectra, "seconds_of_fit": fits, "found": found}))


def errors(found: dict[str, list[float]]) -> dict[str, float]:
    """Median errors against the truth: of the mean defocus (Å), of the astigmatism (Å), of its angle (degrees)."""
    rows = []
    for number, (major, minor, angle) in enumerate(TRUTHS):
        u, v, azimuth = found[f"{number}.mrc"]
        if u < v:  # ASPIRE leaves open which one is larger
            u, v, azimuth = v, u, azimuth + math.pi / 2
        away = abs((math.degrees(azimuth) - angle + 90) % 180 - 90)
        rows.append((abs((u + v - major - minor) / 2), abs(u - v - major + minor), away))
    names = ("median_error_of_defocus", "median_error_of_astigmatism", "median_error_of_angle_degrees")
    return dict(zip(names, (statistics.median(column) for column in zip(*rows, strict=True)), strict=True))


def measure(side: int, threads: int, peer: str | None) -> dict[str, Any]:
    """Both programs on the same micrographs in the same run."""
    with tempfile.TemporaryDirectory(prefix="cryowalk-bench-") as name:
        folder = Path(name)
        (folder / "mics").mkdir()
        make_inputs(side, folder / "mics")
        command = [sys.executable, str(Path(__file__).resolve()), "--worker", str(folder / "mics"), "--threads", str(threads)]
        whole = run(command, folder=folder, threads=threads)
        ours = last_json(whole["said"])
        result: dict[str, Any] = {
            "side": side,
            "micrographs": len(TRUTHS),
            "cryowalk": ours | errors(ours["found"]) | {"peak_memory_bytes": whole["peak_memory_bytes"]},
            "ratios": {},
        }
        if peer:
            script = str(Path(__file__).with_name("peer_aspire.py"))
            said = run([peer, script, str(folder / "mics"), str(PIXEL_SIZE), str(BOX)], folder=folder, threads=threads)
            theirs = last_json(said["said"])
            result["aspire"] = theirs | errors(theirs["found"]) | {"peak_memory_bytes": said["peak_memory_bytes"]}
            result["ratios"]["to_aspire"] = theirs["seconds"] / ours["seconds"]
    return result


def main() -> None:
    """Measure and write ctf_estimation.json, or, with `--worker`, do our part in this process."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small micrographs, to see that it runs")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--peer-python", default=os.environ.get("CRYOWALK_PEER_PYTHON"), help="a Python that has ASPIRE")
    parser.add_argument("--output", type=Path)
    parser.add_argument("--worker", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        worker(options.worker, options.threads)
        return
    if options.peer_python is None:
        print("SKIPPED: ASPIRE. Name a Python that has it with --peer-python or CRYOWALK_PEER_PYTHON", file=sys.stderr)
    facts = machine(options.threads)
    result = measure(QUICK_SIDE if options.quick else SIDE, options.threads, options.peer_python)
    file = "ctf_estimation_quick.json" if options.quick else "ctf_estimation.json"
    path = write_result(file, {"machine": facts, "goal": GOAL, "results": [result]}, options.output)
    for program in ("cryowalk", "aspire"):
        print(program, {key: value for key, value in result.get(program, {}).items() if key != "found"})
    print(json.dumps(result["ratios"]), path, sep="\n")


if __name__ == "__main__":
    main()
