"""Search for the three-tap kernel of `numerics.interpolation.THREE_TAPS`: the least alias energy over |u| ≤ ¼, continuous at its ends.

    python benchmarks/gridding_kernel.py

prints the coefficients found, scaled so that ∫ φ = 1, beside those in the code, and the error along one axis of both and of two linear taps.
"""

import numpy as np
from numpy.polynomial.legendre import leggauss
from scipy.optimize import minimize

from cryowalk.numerics.interpolation import THREE_TAPS

HALF_WIDTH = 1.5  # grid steps
NODES, WEIGHTS = (part * HALF_WIDTH / 2 for part in leggauss(64))
NODES = NODES + HALF_WIDTH / 2
ORDERS = np.arange(-8, 9)
SHOWN = np.array([0.05, 0.1, 0.15, 0.2, 0.25, 0.333])


def alias_share(kernel, half_width, positions):
    """1 − Φ(u)² / Σ Φ(u + m)² at each position: the energy that no correction of the amplitude removes."""
    t, w = NODES * half_width / HALF_WIDTH, WEIGHTS * half_width / HALF_WIDTH
    spectrum = 2 * np.cos(2 * np.pi * (positions[:, None, None] + ORDERS[None, :, None]) * t) @ (kernel(t) * w)
    return 1 - spectrum[:, len(ORDERS) // 2] ** 2 / np.sum(spectrum**2, axis=1)


def polynomial(free):
    """φ(t) = 1 + c₁s + c₂s² + c₃s³ with s = (t / 1.5)², zero at its ends, which fixes c₃."""
    coefficients = np.r_[1.0, free, -1.0 - np.sum(free)]
    return coefficients, lambda t: np.polynomial.polynomial.polyval((t / HALF_WIDTH) ** 2, coefficients)


def main():
    positions = np.linspace(0.005, 0.25, 10)

    def energy(free):
        return 1e4 * np.sum(alias_share(polynomial(free)[1], HALF_WIDTH, positions))

    found = min(
        (minimize(energy, start, method="BFGS") for start in ([-2.8, 3.0], [-2.5, 2.2], [-1.9, 1.0])), key=lambda r: r.fun
    )
    coefficients, kernel = polynomial(found.x)
    area = 2 * np.sum(kernel(NODES) * WEIGHTS)
    print("found  ", (coefficients / HALF_WIDTH ** (2 * np.arange(4)) / area).tolist())
    print("in code", list(THREE_TAPS.coefficients))
    print("position (field = 1)   ", SHOWN)
    for label, function, width in (
        ("found", kernel, HALF_WIDTH),
        ("in code", lambda t: np.polynomial.polynomial.polyval(t * t, THREE_TAPS.coefficients), HALF_WIDTH),
        ("linear, two taps", lambda t: 1 - t, 1.0),
    ):
        print(f"{label:<23}", np.round(np.sqrt(alias_share(function, width, SHOWN)), 4))


if __name__ == "__main__":
    main()
