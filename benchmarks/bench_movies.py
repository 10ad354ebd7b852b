"""Movies written and read, beside the disk's own sequential speed.

Every writer gets frames that are made one by one (a ring of a few counted frames, so that making them costs nothing), in a process of its own whose peak
memory is told above what it held before. Beside it, in the same run and folder, the same bytes are written plainly and flushed: that is the disk's
sequential speed. The goal is a 40-frame 4096² movie at no less than half of it, with one frame's working set of memory.

    python benchmarks/bench_movies.py            # 40 frames of 4096²
    python benchmarks/bench_movies.py --quick
"""

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path

from _shared import high_water, last_json, machine, run, write_result

GOAL = "MRC at half the disk's sequential speed; memory of one frame's working set"
FORMATS = {
    "mrc_float32": ("m.mrc", "float32"),
    "mrc_int16": ("m.mrc", "int16"),
    "mrc_int8": ("m.mrc", "int8"),
    "tiff_lzw_uint8": ("m.tif", "uint8"),
    "eer": ("m.eer", "uint8"),
}
RING = 3  # different frames
DOSE = 1.0  # electrons a pixel and frame


def counted(side: int):
    """A few frames of counted electrons, float32 as a simulator makes them."""
    import torch

    generator = torch.Generator().manual_seed(1)
    return [torch.poisson(torch.full((side, side), DOSE), generator=generator) for _ in range(RING)]


def resident() -> int:
    """The resident memory of this process, bytes."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) * 1024


def drop_peak() -> None:
    """Let the kernel count this process's peak memory from now on."""
    Path("/proc/self/clear_refs").write_text("5")


def worker(name: str, side: int, count: int, folder: Path) -> None:
    """Write and read one movie; print what it took as JSON."""
    import torch

    from cryowalk.io.movies import open_movie, write_movie

    file, sample_format = FORMATS[name]
    frames = counted(side)
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    write_movie(iter(frames[:1]), folder / f"warm_{file}", pixel_size=1.0, sample_format=sample_format, raw_frames_per_frame=16)
    open_movie(folder / f"warm_{file}").read([0])
    drop_peak()
    before, start = resident(), time.perf_counter()
    write_movie(
        (frames[i % RING] for i in range(count)),
        folder / file,
        pixel_size=1.0,
        sample_format=sample_format,
        count=count,
        raw_frames_per_frame=16,
    )
    written = time.perf_counter() - start
    memory = high_water("/proc/self/status") - before
    size = (folder / file).stat().st_size
    plain = plain_write(folder / "plain.bin", size, chunk=max(1, size // count))
    start = time.perf_counter()
    source, total = open_movie(folder / file), 0.0
    for i in range(count):
        total += float(source.read([i]).sum())
    read = time.perf_counter() - start
    expected = sum(float(frames[i % RING].sum()) for i in range(count))
    if total != expected:
        raise RuntimeError(f"{name}: {total} electrons read, {expected} written")
    pixels = side * side * count
    told = {
        "format": name, "file_bytes": size, "write_seconds": written, "plain_write_seconds": plain, "read_seconds": read,
        "write_bytes_per_second": size / written, "disk_bytes_per_second": size / plain, "read_frames_per_second": count / read,
        "write_pixels_per_second": pixels / written, "memory_above_start_bytes": memory,
        "frame_bytes": 4 * side * side,
        "ratios": {"of_disk_speed": plain / written, "memory_in_float32_frames": memory / (4 * side * side)},
    }  # fmt: skip
    print(json.dumps(told))


def plain_write(path: Path, size: int, *, chunk: int) -> float:
    """Seconds that the same number of bytes takes, written plainly in order and flushed."""
    block = os.urandom(min(chunk, 2**24)) * max(1, chunk // 2**24)
    start = time.perf_counter()
    with path.open("wb", buffering=0) as stream:
        left = size
        while left > 0:
            left -= stream.write(memoryview(block)[: min(left, len(block))])
        os.fsync(stream.fileno())
    taken = time.perf_counter() - start
    path.unlink()
    return taken


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a small size, to see that it runs")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--folder", type=Path, help="a folder on the disk to measure (a temporary one otherwise)")
    parser.add_argument("--output", type=Path)
    parser.add_argument("--worker", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        name, side, count, folder = options.worker
        worker(name, int(side), int(count), Path(folder))
        return
    side, count = (512, 8) if options.quick else (4096, 40)
    facts, results = machine(options.threads), []
    for name in FORMATS:
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            command = [sys.executable, str(Path(__file__).resolve()), "--worker", name, str(side), str(count), folder]
            told = last_json(run(command, folder=Path(folder), threads=options.threads)["said"])
        results.append({"side": side, "frames": count, **told})
        print(
            name,
            json.dumps(told["ratios"]),
            f"{told['write_bytes_per_second'] / 1e6:.0f} MB/s",
            f"{told['read_frames_per_second']:.1f} frames/s read",
        )
    path = write_result(
        "movies_quick.json" if options.quick else "movies.json",
        {"machine": facts, "goal": GOAL, "electrons_per_pixel_and_frame": DOSE, "results": results},
        options.output,
    )
    print(path)


if __name__ == "__main__":
    main()
