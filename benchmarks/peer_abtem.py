"""Seconds of abTEM's multislice, run by a Python that has it: `python peer_abtem.py SIZE SLICES THREADS POTENTIAL.npy`. abTEM is GPL: a program of its own."""

import json
import sys
import time

import abtem
import numpy as np


def main() -> None:
    """Print one line of JSON."""
    size, count, threads = (int(word) for word in sys.argv[1:4])
    abtem.config.set({"precision": "float32", "fftw.threads": threads, "mkl.threads": threads, "num_workers": threads})
    array = np.load(sys.argv[4])
    potential = abtem.PotentialArray(array[:count], slice_thickness=5.0, sampling=(0.5, 0.5))
    wave = abtem.PlaneWave(extent=potential.extent, gpts=(size, size), energy=300e3)
    seconds = []
    for _ in range(3):  # the first one plans the transforms
        entrance = wave.build(lazy=False)
        start = time.perf_counter()
        leaving = entrance.multislice(potential)
        if hasattr(leaving, "compute"):
            leaving = leaving.compute()
        seconds.append(time.perf_counter() - start)
    result = {
        "seconds": min(seconds),
        "seconds_of_each": seconds,
        "power": float((np.abs(leaving.array) ** 2).mean()),
        "transforms": str(abtem.config.get("fft")),
        "version": abtem.__version__,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
