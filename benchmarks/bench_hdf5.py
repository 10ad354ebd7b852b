"""HDF5 stacks written and read, beside the disk's own sequential speed.

Images of noise (a ring of a few, so that making them costs nothing) become a stack with a table of 25 columns; beside it, in the same run, folder and turn,
the same bytes are written plainly and flushed to the disk: that is its sequential speed. The goal is a stack at no less than 80 % of it, whether the
images come from memory or from an MRC stack. Packed stacks (lzf, gzip) are measured on a fourth of the images: what they save, and what it costs.

    python benchmarks/bench_hdf5.py              # 2 GB of 256 px images, three turns
    python benchmarks/bench_hdf5.py --quick
"""

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from _shared import machine, set_threads, write_result

GOAL = "HDF5 stack creation at 80 % of the disk's sequential speed or more"
RING = 64  # different images
COLUMNS = 25


def ring(box: int) -> Any:
    """A few images of noise."""
    import torch

    return torch.randn(RING, box, box, generator=torch.Generator().manual_seed(1))


def table(count: int) -> Any:
    """A table of 25 columns of numbers as RELION writes them."""
    import numpy as np

    from cryowalk.io.star import StarBlock
    from cryowalk.io.star_numbers import number_texts

    values = np.random.default_rng(1).normal(size=(COLUMNS, count)) * 100
    return StarBlock(name="particles", columns={f"rlnColumn{i}": number_texts(column) for i, column in enumerate(values)})


class Repeated:
    """An `ImageSource` that gives the images of a ring again and again."""

    def __init__(self, images: Any, count: int) -> None:
        self._images, self.count, self.image_shape = images, count, tuple(images.shape[1:])

    def read(self, indices: Any) -> Any:
        """Images of the ring."""
        first = indices[0] % RING
        return (
            self._images[first : first + len(indices)]
            if first + len(indices) <= RING
            else self._images[[index % RING for index in indices]]
        )


def seconds(work: Callable[[], object]) -> float:
    """How long the work takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def plain_write(path: Path, source: Repeated) -> float:
    """Seconds that the bytes of all images take, written in order and flushed to the disk."""
    block = source.read(range(RING)).numpy()

    def work() -> None:
        with path.open("wb", buffering=0) as stream:
            for start in range(0, source.count, RING):
                stream.write(block[: min(RING, source.count - start)].data.cast("B"))
            os.fsync(stream.fileno())

    taken = seconds(work)
    path.unlink()
    return taken


def plain_read(path: Path, chunk: int) -> float:
    """Seconds that reading the file in order takes."""
    buffer = bytearray(chunk)

    def work() -> None:
        with path.open("rb", buffering=0) as stream:
            while stream.readinto(buffer):
                pass

    return seconds(work)


def turn(folder: Path, source: Repeated, block: Any) -> dict[str, float]:
    """Seconds of each way to write and read, one after the other."""
    from cryowalk.io.hdf5 import write_hdf5_stack
    from cryowalk.io.hdf5_stacks import Hdf5StackReader, StackContents
    from cryowalk.io.mrc import MrcStackReader
    from cryowalk.io.mrc_writer import MrcStackWriter

    told: dict[str, float] = {"plain_write": plain_write(folder / "plain", source)}
    path, contents = folder / "x.h5", StackContents(tables=(block,))
    told["hdf5_write"] = seconds(lambda: write_hdf5_stack(source, path, pixel_size=1.3, contents=contents))
    told["plain_read"] = plain_read(path, 2**24)
    reader = Hdf5StackReader(path)
    told["hdf5_read"] = seconds(
        lambda: [reader.read(range(start, min(start + RING, reader.count))) for start in range(0, reader.count, RING)]
    )
    reader.close()
    path.unlink()
    stack = folder / "x.mrcs"

    def write_mrc() -> None:
        with MrcStackWriter(stack, image_shape=source.image_shape, pixel_size=1.3) as writer:
            for start in range(0, source.count, RING):
                writer.write(source.read(range(start, min(start + RING, source.count))))

    told["mrc_write"] = seconds(write_mrc)
    told["plain_write_again"] = plain_write(folder / "plain", source)
    told["hdf5_write_from_mrc"] = seconds(
        lambda: write_hdf5_stack(MrcStackReader(stack), path, pixel_size=1.3, contents=contents)
    )
    path.unlink()
    stack.unlink()
    return told


def packed(folder: Path, source: Repeated) -> list[dict[str, Any]]:
    """What each packing saves and costs."""
    from cryowalk.io.hdf5 import write_hdf5_stack
    from cryowalk.io.hdf5_stacks import Hdf5StackReader
    from cryowalk.io.stack_settings import StackStorage

    few = Repeated(source.read(range(RING)), max(RING, source.count // 4))
    size = 4 * few.count * few.image_shape[0] * few.image_shape[1]
    results = []
    for compression in ("none", "lzf", "gzip"):
        for sample_format in ("float32", "float16"):
            path = folder / "x.h5"
            storage = StackStorage(sample_format=sample_format, compression=compression)
            written = seconds(lambda path=path, storage=storage: write_hdf5_stack(few, path, pixel_size=1.3, storage=storage))
            reader = Hdf5StackReader(path)
            read = seconds(
                lambda reader=reader: [reader.read(range(start, start + RING)) for start in range(0, few.count - RING + 1, RING)]
            )
            reader.close()
            results.append(
                {
                    "compression": compression,
                    "sample_format": sample_format,
                    "share_of_float32_bytes": path.stat().st_size / size,
                    "write_float32_bytes_per_second": size / written,
                    "read_float32_bytes_per_second": size / read,
                }
            )
            path.unlink()
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a small size, to see that it runs")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="a folder on the disk to measure (a temporary one otherwise)")
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    set_threads(options.threads)
    facts = machine(options.threads)
    box, size = (128, 2**27) if options.quick else (256, 2**31)
    count = size // (4 * box * box)
    source, block = Repeated(ring(box), count), table(count)
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        turn(Path(folder), Repeated(ring(box), RING), table(RING))  # imports and caches
        turns = [turn(Path(folder), source, block) for _ in range(options.turns)]
        packings = packed(Path(folder), source)
    median = {name: statistics.median(each[name] for each in turns) for name in turns[0]}
    disk = statistics.median(each[name] for each in turns for name in ("plain_write", "plain_write_again"))
    ratios = {
        "of_disk_speed": statistics.median(each["plain_write"] / each["hdf5_write"] for each in turns),
        "of_disk_speed_from_mrc": statistics.median(each["plain_write_again"] / each["hdf5_write_from_mrc"] for each in turns),
        "of_disk_speed_mrc": disk / median["mrc_write"],
        "of_plain_reading": median["plain_read"] / median["hdf5_read"],
    }
    result = {
        "box": box,
        "images": count,
        "image_bytes": size,
        "columns": COLUMNS,
        "disk_bytes_per_second": size / disk,
        "hdf5_bytes_per_second": size / median["hdf5_write"],
        "seconds": median,
        "turns": turns,
        "ratios": ratios,
        "packings": packings,
    }
    path = write_result(
        "hdf5_quick.json" if options.quick else "hdf5.json", {"machine": facts, "goal": GOAL, "results": [result]}, options.output
    )
    print(json.dumps(ratios), f"disk {size / disk / 1e6:.0f} MB/s")
    for each in packings:
        print(json.dumps(each))
    print(path)


if __name__ == "__main__":
    main()
