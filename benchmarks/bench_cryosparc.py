"""cryoSPARC's tables of a million particles and cryoDRGN's pickles: read and written, beside the plain bytes of the same size and numpy's own reader.

Records are what a .cs file holds; particles are those records in our conventions (poses as matrices, images by name) and back, bit by bit. Each figure
is the best of three in one process, the file warm in memory; writing is flushed to the disk, as is the plain file beside it.
"""

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from _shared import machine, set_threads, write_result

ROWS, QUICK = 1_000_000, 50_000
GOAL = "records read and written at the speed of plain bytes"


def make(rows: int):
    """Records as a refinement writes them: 34 fields, 246 bytes, 250 particles a stack."""
    import numpy as np

    generator = np.random.default_rng(1)
    fields = [
        ("uid", "<u8"), ("blob/path", "S89"), ("blob/idx", "<u4"), ("blob/shape", "<u4", (2,)), ("blob/psize_A", "<f4"), ("blob/sign", "<f4"),
        ("ctf/type", "S9"), ("ctf/exp_group_id", "<u4"), ("ctf/accel_kv", "<f4"), ("ctf/cs_mm", "<f4"), ("ctf/amp_contrast", "<f4"),
        ("ctf/df1_A", "<f4"), ("ctf/df2_A", "<f4"), ("ctf/df_angle_rad", "<f4"), ("ctf/phase_shift_rad", "<f4"), ("ctf/scale", "<f4"),
        ("ctf/scale_const", "<f4"), ("alignments3D/split", "<u4"), ("alignments3D/shift", "<f4", (2,)), ("alignments3D/pose", "<f4", (3,)),
        ("alignments3D/psize_A", "<f4"), *((f"alignments3D/{name}", "<f4") for name in (
            "error", "error_min", "resid_pow", "slice_pow", "image_pow", "cross_cor", "alpha", "weight", "pose_ess", "shift_ess", "class_posterior")),
        ("alignments3D/class", "<u4"), ("alignments3D/class_ess", "<f4"),
    ]  # fmt: skip
    table = np.zeros(rows, dtype=fields)
    for name in table.dtype.names:
        if table.dtype[name].base.kind == "f":
            table[name] = generator.normal(size=table[name].shape)
    place = np.arange(rows)
    table["uid"], table["blob/idx"], table["alignments3D/split"] = place * 7919, place % 250, place % 2
    table["blob/path"] = np.char.add(b"J19/extract/stack_", np.char.mod("%d", place // 250).astype("S"))
    table["blob/shape"], table["blob/psize_A"], table["alignments3D/psize_A"], table["blob/sign"] = 256, 1.1, 1.1, -1
    table["ctf/exp_group_id"], table["ctf/accel_kv"], table["ctf/cs_mm"], table["ctf/amp_contrast"] = (
        place // (rows // 20 + 1),
        300,
        2.7,
        0.1,
    )
    table["ctf/df1_A"], table["ctf/df2_A"] = 12000 + 300 * table["ctf/df1_A"], 11800
    return table


def best(work: Callable[[], object], *, times: int = 3) -> float:
    """Seconds of the fastest of so many runs."""
    found = []
    for _ in range(times):
        start = time.perf_counter()
        work()
        found.append(time.perf_counter() - start)
    return min(found)


def plain_write(content: bytes, path: Path) -> None:
    with path.open("wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())


def measure(rows: int, folder: Path) -> dict[str, object]:
    import numpy as np

    from cryowalk.io.cryodrgn import read_cryodrgn, write_cryodrgn_ctf, write_cryodrgn_poses
    from cryowalk.io.cryosparc import read_cryosparc, write_cryosparc
    from cryowalk.io.cryosparc_records import read_records, write_records

    table = make(rows)
    path, other, poses, ctf = (folder / name for name in ("p.cs", "q.cs", "pose.pkl", "ctf.pkl"))
    write_records(table, path)
    content = path.read_bytes()
    seconds = {
        "plain bytes read": best(path.read_bytes),
        "plain bytes written": best(lambda: plain_write(content, other)),
        "numpy.load": best(lambda: np.load(path, max_header_size=10**6)),
        "records read": best(lambda: read_records(path)),
        "records written": best(lambda: write_records(table, other)),
        "particles read": best(lambda: read_cryosparc(path)),
    }
    particles = read_cryosparc(path)
    seconds["particles written, unchanged"] = best(lambda: write_cryosparc(particles, other))
    is_same = other.read_bytes() == content
    moved = particles.with_pose(particles.pose[np.arange(rows)[::-1].copy()])
    seconds["particles written, new poses"] = best(lambda: write_cryosparc(moved, other))
    seconds["cryoDRGN pickles written"] = best(
        lambda: (write_cryodrgn_poses(particles, poses), write_cryodrgn_ctf(particles, ctf))
    )
    seconds["cryoDRGN pickles read"] = best(lambda: read_cryodrgn(poses, ctf))
    ratios = {
        "records read / plain": seconds["records read"] / seconds["plain bytes read"],
        "records written / plain": seconds["records written"] / seconds["plain bytes written"],
    }
    return {"rows": rows, "bytes": len(content), "seconds": seconds, "ratios": ratios, "unchanged bytes are the same": is_same}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a small size, to see that it runs")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    set_threads(options.threads)
    facts = machine(options.threads)
    with tempfile.TemporaryDirectory() as folder:
        result = measure(QUICK if options.quick else ROWS, Path(folder))
    print(json.dumps(result, indent=1))
    print(
        write_result(
            "cryosparc_quick.json" if options.quick else "cryosparc.json",
            {"machine": facts, "goal": GOAL, **result},
            options.output,
        )
    )


if __name__ == "__main__":
    main()
