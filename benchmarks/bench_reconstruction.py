"""Reconstructions with CTF, file to file, beside relion_reconstruct and torch-fourier-slice: images per second, in total and per core, and memory.

    python benchmarks/bench_reconstruction.py [--quick] [--threads 2] [--peer-python PATH] [--output FILE]

Start-up excluded: the time of the loop over images (ours), or the difference of two runs (RELION, without its final gridding). Included: the whole program for the stated count; for
RELION its start-up and finish plus that slope times the count. Ours makes both half maps, the full map and their correlation; RELION's makes one map.
"""

import contextlib
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from _shared import PIXEL_SIZE, benchmark, last_json, particles, phantom, relion, run, set_threads
from bench_projection import make_inputs
from bench_projection import ours as project

# box: our images, RELION's two counts, images projected at a time
SIZES = {128: (20000, (500, 4000), 512), 256: (5000, (100, 1000), 192)}
METHODS_UP_TO = 128  # pixels: least squares take 8 times the memory
QUICK = {64: (600, (50, 400), 128)}


def worker(count: int, threads: int) -> None:
    """Reconstruct in this process and print its times as JSON."""
    begin = time.perf_counter()
    from cryowalk.core.execution import SilentProgress
    from cryowalk.io.maps import write_map
    from cryowalk.io.relion import read_particles
    from cryowalk.reconstruction import reconstruct_with_full_map

    class Clock(SilentProgress):
        """Notes when the images begin and end."""

        begun = ended = used = processor = 0.0

        def start(self, what: str, total: int) -> None:  # noqa: ARG002
            """Note the beginning."""
            self.begun, self.used = time.perf_counter(), -time.process_time()

        def advance(self, items: int = 1) -> None:  # noqa: ARG002
            """Note the latest end."""
            self.ended, self.processor = time.perf_counter(), time.process_time() + self.used

    set_threads(threads)
    source = read_particles(f"ours{count}.star")
    reconstruct_with_full_map(tiny())  # loads the compiled code
    clock, ready = Clock(), time.perf_counter()
    found = reconstruct_with_full_map(source, progress=clock)
    write_map(found.halves.first, "half1.mrc")
    write_map(found.halves.second, "half2.mrc")
    write_map(found.full, f"ours{count}.mrc")
    done = time.perf_counter()
    times = {
        "start_up_seconds": ready - begin,
        "loop_seconds": clock.ended - clock.begun,
        "loop_processor_seconds": clock.processor,
        "finish_seconds": done - clock.ended,
    }
    print(json.dumps(times))


def tiny() -> Any:
    """Four particles of 16 pixels."""
    import torch

    from cryowalk.data import ImageStack

    generator = torch.Generator().manual_seed(1)
    return particles(4).with_images(ImageStack(pixels=torch.randn(4, 16, 16, generator=generator), pixel_size=PIXEL_SIZE))


def ours(count: int, threads: int, folder: Path) -> dict[str, Any]:
    """Our times in a process of its own."""
    whole = run(
        [sys.executable, str(Path(__file__).resolve()), "--worker", str(count), str(threads)], folder=folder, threads=threads
    )
    times = last_json(whole["said"])
    return {
        "images": count,
        "images_per_second_start_up_excluded": count / times["loop_seconds"],
        "images_per_second_start_up_included": count / whole["wall_seconds"],
        "processor_seconds_per_image": times["loop_processor_seconds"] / count,
        "start_up_seconds": times["start_up_seconds"],
        "finish_seconds": times["finish_seconds"],
        "processor_seconds": whole["processor_seconds"],
        "peak_memory_bytes": whole["peak_memory_bytes"],
    }


def relions(counts: tuple[int, int], count: int, folder: Path) -> dict[str, Any] | None:
    """RELION's times of one thread (it offers no more).

    The time an image takes is the difference of two runs without the final gridding (which takes a minute and varies by seconds); start-up and finish are
    what a whole run takes beyond its images.
    """
    program = relion("relion_reconstruct")
    if program is None:
        return None

    def timed(number: int, *extra: str) -> dict[str, Any]:
        return run([program, "--i", f"ours{number}.star", "--o", "theirs.mrc", "--ctf", *extra], folder=folder, threads=1)

    few, many = ([timed(number, "--skip_gridding") for _ in range(2)] for number in counts)
    whole = timed(counts[0])
    difference = counts[1] - counts[0]
    per_image, processor = (
        (min(found[name] for found in many) - min(found[name] for found in few)) / difference
        for name in ("wall_seconds", "processor_seconds")
    )
    rest = whole["wall_seconds"] - per_image * counts[0]
    return {
        "images_of_both_runs": counts,
        "wall_seconds_without_gridding": [[found["wall_seconds"] for found in runs] for runs in (few, many)],
        "wall_seconds_of_a_whole_run_of_the_fewer": whole["wall_seconds"],
        "threads": 1,
        "images_per_second_start_up_excluded": 1 / per_image,
        "processor_seconds_per_image": processor,
        "images_per_second_start_up_included": count / (rest + per_image * count),
        "start_up_and_finish_seconds": rest,
        "extrapolated_to_images": count,
        "peak_memory_bytes": whole["peak_memory_bytes"],
    }


def accuracy(box: int, count: int, folder: Path) -> dict[str, float]:
    """The least shell correlation of our map and the phantom up to 0.8 of Nyquist, and the scale of the map."""
    from cryowalk.io.maps import read_map
    from cryowalk.validation import compare_maps

    truth, mine = phantom(box), read_map(folder / f"ours{count}.mrc")
    reach = int(0.8 * box / 2)
    scale = (mine.voxels * truth.voxels).sum() / truth.voxels.square().sum()
    return {"least_fsc_to_0.8_nyquist": float(compare_maps(mine, truth).correlation[1 : reach + 1].min()), "scale": float(scale)}


def methods(count: int, folder: Path) -> dict[str, float]:
    """Seconds of whole reconstructions of the fewer images in this process by each method, and with the curvature of the Ewald sphere."""
    from cryowalk.io.relion import read_particles
    from cryowalk.reconstruction import ReconstructionSettings, reconstruct_with_full_map

    with contextlib.chdir(folder):
        source = read_particles(f"ours{count}.star")
        choices: dict[str, dict[str, Any]] = {
            "direct": {},
            "wiener": {"method": "wiener"},
            "directional": {"method": "wiener", "directional": True},
            "least_squares": {"method": "least-squares"},
            "ewald": {"ewald": "on"},
        }
        seconds = {}
        for name, chosen in choices.items():
            begin = time.perf_counter()
            reconstruct_with_full_map(source, ReconstructionSettings(**chosen))
            seconds[name] = time.perf_counter() - begin
    return seconds


def traffic(box: int) -> dict[str, float]:
    """Bytes an image moves: at the least (the image read, each coefficient's sums read and written once), and if no tap were cached."""
    coefficients = 3.14159 / 8 * box**2
    return {"least": box**2 * 4 + coefficients * 2 * 16, "without_cache": box**2 * 4 + coefficients * 27 * 2 * 16}


def compare(result: dict[str, Any], threads: int) -> dict[str, float]:
    """Ratios to the peers."""
    mine, theirs, slices = result["cryowalk"], result.get("relion_reconstruct"), result.get("torch_fourier_slice")
    ratios: dict[str, float] = {}
    for what in ("excluded", "included"):
        key = f"images_per_second_start_up_{what}"
        if theirs:
            ratios[f"to_relion_in_total_start_up_{what}"] = mine[key] / theirs[key]
            ratios[f"to_relion_per_core_start_up_{what}"] = mine[key] / theirs[key] / threads
    if theirs:
        name = "processor_seconds_per_image"
        ratios["to_relion_by_processor_time"] = theirs[name] / mine[name]
    if slices:
        ratios["to_torch_fourier_slice_same_threads"] = mine["images_per_second_start_up_excluded"] * slices["seconds_per_image"]
    return ratios


def measure(
    box: int, sizes: tuple[int, tuple[int, int], int], threads: int, peer: str | None, bandwidth: float
) -> dict[str, Any]:
    count, counts, batch = sizes
    with tempfile.TemporaryDirectory(prefix="cryowalk-bench-") as name:
        folder = Path(name)
        every = (*counts, count // 4, count)
        make_inputs(box, every, folder)
        for number in every:
            project(box, number, threads, batch, folder)
        ours(counts[0], threads, folder)  # compiles
        result: dict[str, Any] = {"box": box, "relion_reconstruct": relions(counts, count, folder)}
        few = ours(count // 4, threads, folder)
        result["cryowalk"] = ours(count, threads, folder)
        result["peak_memory_bytes_at"] = {
            str(count // 4): few["peak_memory_bytes"],
            str(count): result["cryowalk"]["peak_memory_bytes"],
        }
        result["accuracy"] = accuracy(box, count, folder)
        if box <= METHODS_UP_TO:
            result["seconds_by_method_of_the_fewer_images"] = methods(counts[0], folder)
        if peer:
            script = str(Path(__file__).with_name("peer_torch_fourier_slice.py"))
            result["torch_fourier_slice"] = last_json(
                run([peer, script, "backproject", str(box), str(threads)], folder=folder, threads=threads)["said"]
            )
    rate = result["cryowalk"]["images_per_second_start_up_excluded"]
    result["fraction_of_memory_bandwidth"] = {name: rate * size / bandwidth for name, size in traffic(box).items()}
    result["ratios"] = compare(result, threads)
    return result


if __name__ == "__main__":
    benchmark("reconstruction", __doc__, sizes=SIZES, quick=QUICK, measure=measure, worker=worker, worker_words=2)
