"""Projections with CTF and shifts, file to file, beside relion_project and torch-fourier-slice: images per second, in total and per core.

    python benchmarks/bench_projection.py [--quick] [--threads 2] [--peer-python PATH] [--output FILE]

Start-up excluded: the time of the loop over images (ours), or the difference of two runs (RELION). Included: the whole program for the stated count; for
RELION its start-up plus that slope times the count. RELION runs fewer images than ours; the result says how many.
"""

import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from _shared import PIXEL_SIZE, benchmark, last_json, particles, phantom, relion, run, set_threads

# box: our images, RELION's two counts, images at a time
SIZES = {128: (20000, (400, 4000), 512), 256: (5000, (100, 1500), 192)}
QUICK = {64: (600, (50, 200), 128)}


def make_inputs(box: int, counts: tuple[int, ...], folder: Path) -> None:
    """Write the map and, for each count, a STAR file of poses and CTFs."""
    from dataclasses import replace

    from cryowalk.io.maps import write_map
    from cryowalk.io.relion import write_particles

    write_map(phantom(box), folder / "map.mrc")
    for count in counts:
        names = tuple(f"{i + 1:06d}@none.mrcs" for i in range(count))
        write_particles(replace(particles(count), image_names=names), folder / f"poses{count}.star")


def worker(box: int, count: int, threads: int, batch: int) -> None:
    """Project in this process and print its times as JSON."""
    begin = time.perf_counter()
    import torch

    from cryowalk.core.execution import batches
    from cryowalk.fourier.slices import extract_slices, prepare_volume
    from cryowalk.fourier.transform import to_real
    from cryowalk.io.maps import read_map
    from cryowalk.io.mrc import MrcStackReader
    from cryowalk.io.mrc_writer import MrcStackWriter
    from cryowalk.io.relion import read_particles, write_particles
    from cryowalk.io.stacks import image_names
    from cryowalk.io.write_behind import WriteBehind
    from cryowalk.microscope.lens import contrast_transfer

    set_threads(threads)
    source = read_particles(f"poses{count}.star", images="ignore")
    reference = prepare_volume(read_map("map.mrc"))
    optics, pose, defocus = source.optics[0], source.pose, source.defocus

    def images(span: slice) -> torch.Tensor:
        factor = contrast_transfer(optics, defocus[span].to(torch.float32), size=(box, box))
        rotations, shift = pose.lab_from_particle[span].float(), pose.shift[span].float()
        return to_real(extract_slices(reference, rotations, factor=factor, shift=shift), width=box)

    images(slice(0, 2))
    ready, used = time.perf_counter(), time.process_time()
    with (
        MrcStackWriter(f"ours{count}.mrcs", image_shape=(box, box), pixel_size=PIXEL_SIZE) as stack,
        WriteBehind(stack) as writer,
    ):
        for span in batches(count, batch):
            writer.write(images(slice(span.start, span.stop)))
    done, used = time.perf_counter(), time.process_time() - used
    written = MrcStackReader(f"ours{count}.mrcs")
    named = source.with_images(written, image_names(written.path, count, star=f"ours{count}.star"))
    write_particles(named, f"ours{count}.star")
    times = {
        "start_up_seconds": ready - begin,
        "loop_seconds": done - ready,
        "loop_processor_seconds": used,
        "in_memory_seconds_per_image": in_memory(reference, pose.lab_from_particle[:batch].float()),
    }
    print(json.dumps(times))


def in_memory(reference: Any, rotations: Any) -> float:
    """Seconds of one projection without CTF and without files, the best of three batches: what torch-fourier-slice does."""
    from cryowalk.fourier.slices import extract_slices
    from cryowalk.fourier.transform import to_real

    best = float("inf")
    for _ in range(3):
        start = time.perf_counter()
        to_real(extract_slices(reference, rotations), width=reference.box)
        best = min(best, time.perf_counter() - start)
    return best / len(rotations)


def ours(box: int, count: int, threads: int, batch: int, folder: Path) -> dict[str, Any]:
    """Our times in a process of its own."""
    command = [sys.executable, str(Path(__file__).resolve()), "--worker", str(box), str(count), str(threads), str(batch)]
    whole = run(command, folder=folder, threads=threads)
    times = last_json(whole["said"])
    return {
        "images": count,
        "images_per_second_start_up_excluded": count / times["loop_seconds"],
        "images_per_second_start_up_included": count / whole["wall_seconds"],
        "processor_seconds_per_image": times["loop_processor_seconds"] / count,
        "in_memory_seconds_per_image": times["in_memory_seconds_per_image"],
        "start_up_seconds": times["start_up_seconds"],
        "processor_seconds": whole["processor_seconds"],
        "peak_memory_bytes": whole["peak_memory_bytes"],
    }


def relions(counts: tuple[int, int], count: int, folder: Path) -> dict[str, Any] | None:
    """RELION's times, by two runs of one thread (it offers no more)."""
    program = relion("relion_project")
    if program is None:
        return None
    walls, processors = [], []
    for number in counts:
        command = [
            program,
            "--i",
            "map.mrc",
            "--ang",
            f"poses{number}.star",
            "--o",
            f"theirs{number}",
            "--ctf",
            "--angpix",
            str(PIXEL_SIZE),
        ]
        runs = [run(command, folder=folder, threads=1) for _ in range(3)]
        walls.append(min(found["wall_seconds"] for found in runs))
        processors.append(min(found["processor_seconds"] for found in runs))
    per_image = (walls[1] - walls[0]) / (counts[1] - counts[0])
    start_up = walls[0] - per_image * counts[0]
    return {
        "images_of_both_runs": counts,
        "wall_seconds_of_both_runs": walls,
        "threads": 1,
        "images_per_second_start_up_excluded": 1 / per_image,
        "processor_seconds_per_image": (processors[1] - processors[0]) / (counts[1] - counts[0]),
        "images_per_second_start_up_included": count / (start_up + per_image * count),
        "start_up_seconds": start_up,
        "extrapolated_to_images": count,
    }


def agreement(counts: tuple[int, int], folder: Path) -> float:
    """The least correlation of our images with RELION's of the same poses: the two did the same work."""
    import torch

    from cryowalk.io.mrc import MrcStackReader

    theirs = MrcStackReader(folder / f"theirs{counts[0]}.mrcs").read(range(20)).flatten(1)
    mine = MrcStackReader(folder / f"ours{counts[0]}.mrcs").read(range(20)).flatten(1)
    return min(float(torch.corrcoef(torch.stack(pair))[0, 1]) for pair in zip(mine, theirs, strict=True))


def traffic(box: int) -> dict[str, float]:
    """Bytes an image moves: at the least (each coefficient read once, the image written), and if no tap of the kernel were cached."""
    coefficients = 3.14159 / 8 * box**2
    return {"least": coefficients * 8 + box**2 * 4, "without_cache": coefficients * 27 * 8 + box**2 * 4}


def compare(result: dict[str, Any], threads: int) -> dict[str, float]:
    """Ratios to the peers."""
    mine, theirs, slices = result["cryowalk"], result.get("relion_project"), result.get("torch_fourier_slice")
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
        peer = slices["seconds_per_image"]
        ratios["to_torch_fourier_slice_both_in_memory_without_ctf"] = peer / mine["in_memory_seconds_per_image"]
        ratios["to_torch_fourier_slice_ours_with_ctf_and_files"] = peer * mine["images_per_second_start_up_excluded"]
    return ratios


def measure(
    box: int, sizes: tuple[int, tuple[int, int], int], threads: int, peer: str | None, bandwidth: float
) -> dict[str, Any]:
    count, counts, batch = sizes
    with tempfile.TemporaryDirectory(prefix="cryowalk-bench-") as name:
        folder = Path(name)
        make_inputs(box, (*counts, count // 4, count), folder)
        ours(box, counts[0], threads, batch, folder)  # compiles, and makes images to compare
        result: dict[str, Any] = {"box": box, "relion_project": relions(counts, count, folder)}
        few = ours(box, count // 4, threads, batch, folder)
        result["cryowalk"] = ours(box, count, threads, batch, folder)
        result["peak_memory_bytes_at"] = {
            str(count // 4): few["peak_memory_bytes"],
            str(count): result["cryowalk"]["peak_memory_bytes"],
        }
        if result["relion_project"]:
            result["least_correlation_with_relion"] = agreement(counts, folder)
        if peer:
            script = str(Path(__file__).with_name("peer_torch_fourier_slice.py"))
            result["torch_fourier_slice"] = last_json(
                run([peer, script, "project", str(box), str(threads)], folder=folder, threads=threads)["said"]
            )
    rate = result["cryowalk"]["images_per_second_start_up_excluded"]
    result["fraction_of_memory_bandwidth"] = {name: rate * size / bandwidth for name, size in traffic(box).items()}
    result["ratios"] = compare(result, threads)
    return result


if __name__ == "__main__":
    benchmark("projection", __doc__, sizes=SIZES, quick=QUICK, measure=measure, worker=worker, worker_words=4)
