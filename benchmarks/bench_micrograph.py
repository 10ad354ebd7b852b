"""A 4096² micrograph with 300 particles by the projection model, beside the FFTs that it must do; then ice, camera, and a movie's frames.

    python benchmarks/bench_micrograph.py [--quick] [--threads 2] [--repeats 3] [--output FILE]

The FFTs it must do, timed in the same run with torch alone: two inverse real transforms of each particle's box (the part in phase and the part a quarter
wave from it), two forward ones of the canvas, and one back. "forward" is the noiseless image of the particles, from their places and orientations to expected electrons;
"recorded" adds the camera's counting; "with_ice" adds the grain of the ice. Preparing the specimen (once for any number of micrographs) is not in them.
"""

import argparse
import json
import resource
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from _shared import machine, set_threads, write_result

GOAL = "forward within 2 × the FFTs; memory bounded by one frame's working set"
SIZES = (4096, 300, 6)  # side, particles, frames of the movie
QUICK = (1024, 40, 2)


def best(work: Callable[[], Any], repeats: int) -> float:
    """The shortest of some runs, seconds."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)


def ffts(canvas: tuple[int, int], particles: int, box: int, repeats: int) -> dict[str, float]:
    """Seconds of the transforms that nothing can spare: plain torch, no phases, no copies."""
    import torch

    sheet = torch.randn(canvas)
    spectrum = torch.fft.rfft2(sheet)
    boxes = torch.randn(particles, box, box // 2 + 1, dtype=torch.complex64)
    forward = best(lambda: torch.fft.rfft2(sheet), repeats)
    backward = best(lambda: torch.fft.irfft2(spectrum, s=canvas), repeats)
    small = best(lambda: [torch.fft.irfft2(part, s=(box, box)) for part in boxes.split(16)], repeats)
    return {"canvas_forward": forward, "canvas_backward": backward, "boxes": small, "total": 2 * forward + backward + 2 * small}


class Discard:
    """A sink that keeps nothing."""

    def write(self, images: Any) -> None:
        """Forget the images."""


def measure(side: int, particles: int, frames: int, *, repeats: int) -> dict[str, Any]:
    """Seconds of each part of a micrograph and of a movie's frame, and the FFTs beside them."""
    import torch

    from cryowalk.data import Optics
    from cryowalk.microscope.camera import record
    from cryowalk.microscope.micrograph_settings import MicrographSimulationSettings, MovieSimulationSettings
    from cryowalk.microscope.simulate.drawing import draw
    from cryowalk.microscope.simulate.instrument import instrument_for
    from cryowalk.microscope.simulate.micrographs import expected_electrons
    from cryowalk.microscope.simulate.movies import simulate_movie
    from cryowalk.microscope.simulate.specimens import Source, prepare_specimens
    from cryowalk.microscope.specimen import hinge

    optics = Optics(pixel_size=1.0)
    specimens = prepare_specimens([Source(structure=hinge)], optics)
    plain = MicrographSimulationSettings(size=(side, side), particles=particles, ice="smooth", camera="ideal", separation="none")
    drawing = draw(specimens, optics, plain, generator=torch.Generator().manual_seed(1))
    instrument = instrument_for(plain)
    used = specimens.references[0].box
    reference = ffts(drawing.canvas.size, particles, used, repeats)
    expected = expected_electrons(drawing, plain, instrument=instrument)
    source = torch.Generator().manual_seed(2)
    forward = best(lambda: expected_electrons(drawing, plain, instrument=instrument), repeats)
    counting = best(lambda: record(expected, instrument.camera, generator=source), repeats)
    icy = replace(plain, ice="fluctuating")
    with_ice = best(lambda: expected_electrons(drawing, icy, instrument=instrument), repeats)
    again = ffts(drawing.canvas.size, particles, used, repeats)
    least = min(reference["total"], again["total"])
    movie = MovieSimulationSettings(size=(side, side), particles=particles, separation="none", frames=frames, dose=2.0 * frames)
    start = time.perf_counter()
    simulate_movie(specimens, optics, generator=torch.Generator().manual_seed(3), sink=Discard(), settings=movie)
    per_frame = (time.perf_counter() - start) / frames
    return {
        "side": side,
        "particles": particles,
        "box": used,
        "canvas": list(drawing.canvas.size),
        "fft_seconds": {**reference, "total": least},
        "forward_seconds": forward,
        "counting_seconds": counting,
        "recorded_seconds": forward + counting,
        "with_ice_seconds": with_ice,
        "movie_seconds_per_frame": per_frame,
        "peak_memory_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "ratios": {
            "forward_to_ffts": forward / least,
            "recorded_to_ffts": (forward + counting) / least,
            "with_ice_to_ffts": with_ice / least,
        },
    }


def main() -> None:
    """Measure and write micrograph.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a small size, to see that it runs")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    set_threads(options.threads)
    facts = machine(options.threads)
    result = measure(*(QUICK if options.quick else SIZES), repeats=options.repeats)
    name = "micrograph_quick.json" if options.quick else "micrograph.json"
    path = write_result(name, {"machine": facts, "goal": GOAL, "results": [result]}, options.output)
    print(json.dumps(result, indent=1))
    print(path)


if __name__ == "__main__":
    main()
