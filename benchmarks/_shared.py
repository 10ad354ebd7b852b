"""What the benchmarks share: an asymmetric phantom, particles, the machine's limits, and programs timed with their memory."""

import argparse
import json
import math
import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).resolve().parent / "results"
PIXEL_SIZE = 1.3
GOAL = "2 × RELION in total, 20 × torch-fourier-slice"
BLOBS = 24


def phantom(box: int, *, voxel_size: float = PIXEL_SIZE) -> Any:
    """An asymmetric sum of Gaussian blobs within a quarter of the box, unlike any turned, mirrored or transposed copy of itself."""
    import torch

    from cryowalk.data import Volume

    generator = torch.Generator().manual_seed(7)
    length = box * voxel_size
    axis = ((torch.arange(box) - box // 2) * voxel_size).double()
    voxels = torch.zeros(box, box, box)
    for blob in range(BLOBS):
        centre = torch.randn(3, generator=generator, dtype=torch.float64)
        centre *= length * (0.04 + 0.16 * blob / BLOBS) / centre.norm()
        width = voxel_size * float(0.9 + 0.8 * torch.rand(1, generator=generator))  # sharp enough for signal to 0.8 of Nyquist
        # A Gaussian is a product of three short vectors: no array of the size of the box in float64.
        x, y, z = (torch.exp(-((axis - c) ** 2) / (2 * width**2)).float() for c in centre)
        voxels += (1 + blob % 3) * z[:, None, None] * y[:, None] * x
    return Volume(voxels=voxels, voxel_size=voxel_size)


def particles(count: int, *, seed: int = 1) -> Any:
    """Particles without images: uniform orientations, shifts of 3 Å, defocus of 1 to 2.5 μm with astigmatism, half sets in turn."""
    import torch

    from cryowalk.data import Defocus, Optics, ParticleSet, Pose
    from cryowalk.geometry.sampling import random_rotations

    generator = torch.Generator().manual_seed(seed)
    major = 10000 + 15000 * torch.rand(count, generator=generator, dtype=torch.float64)
    return ParticleSet(
        optics=(Optics(pixel_size=PIXEL_SIZE),),
        optics_index=torch.zeros(count, dtype=torch.long),
        pose=Pose(
            lab_from_particle=random_rotations(count, generator=generator),
            shift=3 * torch.randn(count, 2, generator=generator, dtype=torch.float64),
        ),
        defocus=Defocus(
            major=major,
            minor=major - 300 * torch.rand(count, generator=generator, dtype=torch.float64),
            azimuth=math.pi * torch.rand(count, generator=generator, dtype=torch.float64),
            phase_shift=torch.zeros(count, dtype=torch.float64),
        ),
        half=torch.arange(count) % 2 + 1,
    )


def set_threads(threads: int) -> None:
    """Give torch and the compiled code this many threads."""
    import torch

    torch.set_num_threads(threads)


def environment(threads: int) -> dict[str, str]:
    """The environment of a program that may use this many threads."""
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")
    return {**os.environ, **{name: str(threads) for name in names}, "KMP_BLOCKTIME": "0"}


def run(command: list[str], *, folder: Path, threads: int) -> dict[str, Any]:
    """Wall and processor seconds and peak memory of a program; a failed one raises with the end of what it said."""
    start, peak = time.perf_counter(), 0
    with (folder / "log.txt").open("w+b") as log:
        process = subprocess.Popen(command, cwd=folder, env=environment(threads), stdout=log, stderr=subprocess.STDOUT)
        while True:
            # ru_maxrss of a child begins at what its parent held when it was forked: the high-water mark of its own memory map does not.
            peak = max(peak, high_water(f"/proc/{process.pid}/status"))
            ended, status, usage = os.wait4(process.pid, os.WNOHANG)
            if ended:
                break
            time.sleep(0.005)
        process.returncode = os.waitstatus_to_exitcode(status)
        wall = time.perf_counter() - start
        log.seek(0)
        said = log.read().decode(errors="replace")
    if process.returncode != 0:
        raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}:\n{said[-2000:]}")
    return {
        "wall_seconds": wall,
        "processor_seconds": usage.ru_utime + usage.ru_stime,
        "peak_memory_bytes": peak,
        "said": said,
    }


def high_water(status: str) -> int:
    """The peak resident memory that a process's status file tells, bytes; 0 where it has gone."""
    try:
        lines = Path(status).read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM")), 0)


def last_json(said: str) -> dict[str, Any]:
    """The JSON object on the last line that holds one."""
    return json.loads(next(line for line in reversed(said.splitlines()) if line.startswith("{")))


def memory_bandwidth(threads: int) -> float:
    """Bytes per second that a triad a = b + s·c of arrays far larger than the cache moves (best of five)."""
    import torch

    torch.set_num_threads(threads)
    length = 48 * 2**20
    a, b, c = (torch.ones(length) for _ in range(3))
    best = math.inf
    for _ in range(5):
        start = time.perf_counter()
        torch.add(b, c, alpha=1.5, out=a)
        best = min(best, time.perf_counter() - start)
    return 3 * 4 * length / best


def machine(threads: int) -> dict[str, Any]:
    """The machine and the versions that the numbers belong to."""
    import torch

    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").is_file() else []
    model = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.processor())
    return {
        "processor": model,
        "cores": os.cpu_count(),
        "threads": threads,
        "load_average_at_start": os.getloadavg()[0],
        "memory_bandwidth_bytes_per_second": memory_bandwidth(threads),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def relion(program: str) -> str | None:
    """The path of one of RELION's programs, or None with a loud line."""
    path = shutil.which(program)
    if path is None:
        print(f"SKIPPED: {program} is not installed (on Debian: apt-get install relion)", file=sys.stderr)
    return path


def peer_python(given: str | None) -> str | None:
    """A Python that has torch-fourier-slice, or None with a loud line."""
    path = given or os.environ.get("CRYOWALK_PEER_PYTHON")
    if path is None:
        print(
            "SKIPPED: torch-fourier-slice. Make an environment with it (pip install 'torch>=2.6,<2.14' torch-fourier-slice) and name its python "
            "with --peer-python or CRYOWALK_PEER_PYTHON",
            file=sys.stderr,
        )
    return path


def write_result(name: str, result: dict[str, Any], output: Path | None) -> Path:
    """Write a result beside the others, or to `output`."""
    path = output or RESULTS / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result, indent=1) + "\n")
    return path


def benchmark(
    name: str,
    about: str | None,
    *,
    sizes: dict[int, Any],
    quick: dict[int, Any],
    measure: Callable[[int, Any, int, str | None, float], dict[str, Any]],
    worker: Callable[..., None],
    worker_words: int,
) -> None:
    """Run a benchmark's command line: measure every size and write NAME.json, or, with `--worker`, do one part in this process."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a small size, to see that it runs")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--peer-python", help="a Python that has torch-fourier-slice")
    parser.add_argument("--output", type=Path)
    parser.add_argument("--worker", nargs=worker_words, type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        worker(*options.worker)
        return
    peer, facts = peer_python(options.peer_python), machine(options.threads)
    bandwidth = facts["memory_bandwidth_bytes_per_second"]
    results = [measure(box, size, options.threads, peer, bandwidth) for box, size in (quick if options.quick else sizes).items()]
    file = f"{name}_quick.json" if options.quick else f"{name}.json"
    path = write_result(file, {"machine": facts, "goal": GOAL, "results": results}, options.output)
    for result in results:
        print(result["box"], json.dumps(result["ratios"]))
    print(path)
