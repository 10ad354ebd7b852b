"""Seconds per image of torch-fourier-slice, run by a Python that has it: `python peer_torch_fourier_slice.py project|backproject BOX THREADS`.

The time of a call is measured with two numbers of images; their difference leaves out the 3D transforms, which favours the peer. It applies no CTF.
"""

import json
import sys
import time

import torch
import torch_fourier_slice


def seconds(task: str, box: int, count: int) -> float:
    """Seconds of one call with so many images, the best of three."""
    rotations = torch.linalg.qr(torch.randn(count, 3, 3))[0]
    rotations = rotations * torch.linalg.det(rotations)[:, None, None]
    volume, images = torch.randn(box, box, box), torch.randn(count, box, box)
    best = float("inf")
    for _ in range(3):
        start = time.perf_counter()
        if task == "project":
            torch_fourier_slice.project_3d_to_2d(volume, rotations)
        else:
            torch_fourier_slice.backproject_2d_to_3d(images, rotations)
        best = min(best, time.perf_counter() - start)
    return best


def main() -> None:
    """Print one line of JSON."""
    task, box, threads = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    torch.set_num_threads(threads)
    few, many = (4, 36) if box <= 128 else (2, 26)
    with torch.no_grad():
        seconds(task, box, few)
        per_image = (seconds(task, box, many) - seconds(task, box, few)) / (many - few)
    print(json.dumps({"seconds_per_image": per_image, "version": torch_fourier_slice.__version__}))


if __name__ == "__main__":
    main()
