"""abTEM's multislice of a made-up specimen, for `test_multislice_abtem.py`: `PYTHON abtem_multislice.py OUTPUT.npz`, by a Python that has abTEM.

Make one with: python3 -m venv venv-abtem && venv-abtem/bin/pip install abtem. abTEM is GPL: it runs as a program of its own and is never imported by
cryowalk. The stored `abtem_multislice.npz` was written by this script; it names abTEM's version.
"""

import sys

import numpy as np

SIZE = (72, 64)  # rows (y), columns (x)
PIXEL_SIZE = 0.3  # Å
THICKNESS = 5.0  # Å, of a slice
COUNT = 24
VOLTAGE_KV = 300.0
SPHERICAL_ABERRATION_MM = 2.7
DEFOCUS = 6000.0  # Å, underfocus of the plane z = 0


def slices() -> np.ndarray:
    """Projected potential [slices, y, x], V Å: light atoms as densely packed as in protein, and a few heavy ones, each a Gaussian."""
    random = np.random.default_rng(5)
    extent = np.array(SIZE) * PIXEL_SIZE
    number = int(0.05 * extent.prod() * THICKNESS)  # in a slice
    result = np.zeros((COUNT, *SIZE))
    y, x = (np.arange(n) * PIXEL_SIZE for n in SIZE)
    for one in result:
        for heavy, (at_y, at_x) in zip(random.random(number) < 0.03, random.random((number, 2)) * extent, strict=True):
            across = (x - at_x + extent[1] / 2) % extent[1] - extent[1] / 2
            along = (y - at_y + extent[0] / 2) % extent[0] - extent[0] / 2
            # ∫ v is h²/(2π m e) f(0): 47.9 V Å² times 2.5 Å for carbon, four times that for a metal.
            width = 0.45
            height = 120 * (4 if heavy else 1) / (2 * np.pi * width**2)
            one += height * np.exp(-(along[:, None] ** 2 + across**2) / (2 * width**2))
    return result


def main() -> None:
    import abtem

    abtem.config.set({"precision": "float64"})
    potential = abtem.PotentialArray(
        np.ascontiguousarray(slices().transpose(0, 2, 1)), slice_thickness=THICKNESS, sampling=(PIXEL_SIZE, PIXEL_SIZE)
    )
    energy = 1e3 * VOLTAGE_KV
    entrance = abtem.PlaneWave(extent=potential.extent, gpts=potential.gpts, energy=energy).build(lazy=False)
    leaving = entrance.multislice(potential)
    # abTEM transmits at the beginning of a slice and propagates to its end: the middle of the planes lies so far before the exit wave.
    height = (COUNT - 1) / 2 * THICKNESS + THICKNESS
    transfer = abtem.CTF(energy=energy, defocus=DEFOCUS + height, Cs=SPHERICAL_ABERRATION_MM * 1e7)
    image = leaving.apply_ctf(transfer).intensity()
    np.savez_compressed(
        sys.argv[1],
        exit_wave=np.asarray(leaving.array).T.astype(np.complex64),
        image=np.asarray(image.array).T.astype(np.float32),
        height=height,
        version=abtem.__version__,
    )


if __name__ == "__main__":
    main()
