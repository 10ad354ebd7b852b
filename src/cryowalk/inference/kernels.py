"""The loops over rows of the half disk, compiled for a CPU: products of images with slices, and their weighted sums."""

# Numba's functions carry no annotations (and checking them in tests would hide them from the compiler).
# ruff: noqa: ANN001, ANN201, PLR0913, PLR0917

from typing import no_type_check

import numpy as np
from numba import njit


@njit(nogil=True, cache=True, fastmath=True)
@no_type_check
def cross_rows(images, weight, slices, image, which, cross, half_norm):
    """cross[r] = conj(images[image r]) · slices[which r] (real and imaginary parts in turn), half_norm[r] = ½ Σ weight |slice|²."""
    count = slices.shape[1]
    for row in range(image.shape[0]):
        x, w, p, z = images[image[row]], weight[image[row]], slices[which[row]], cross[row]
        total = np.float32(0)
        for k in range(count):
            a, b, c, d = x[k].real, x[k].imag, p[k].real, p[k].imag
            z[2 * k] = a * c + b * d
            z[2 * k + 1] = a * d - b * c
            total += w[k] * (c * c + d * d)
        half_norm[row] = total * np.float32(0.5)


@njit(nogil=True, cache=True, fastmath={"contract"})
@no_type_check
def sum_rows(images, weight, factor, share, image, into, numerator, denominator):
    """Add images[image r] · factor[r] to numerator[into r], and share[r] · weight[image r] to denominator[into r]."""
    count = numerator.shape[1]
    for row in range(image.shape[0]):
        x, w, f = images[image[row]], weight[image[row]], factor[row]
        total, seen, part = numerator[into[row]], denominator[into[row]], share[row]
        for k in range(count):
            a, b, c, d = x[k].real, x[k].imag, f[2 * k], f[2 * k + 1]
            total[k] += np.complex64(complex(a * c - b * d, a * d + b * c))
            seen[k] += part * w[k]


@njit(nogil=True, cache=True, fastmath={"contract"})
@no_type_check
def misfit(numerator, denominator, slices, total):
    """Add Σ over rows of denominator |slice|² − 2 Re(conj(slice) · numerator) to total[k]."""
    for row in range(slices.shape[0]):
        n, d, p = numerator[row], denominator[row], slices[row]
        for k in range(slices.shape[1]):
            c, e = p[k].real, p[k].imag
            total[k] += d[k] * (c * c + e * e) - np.float32(2) * (c * n[k].real + e * n[k].imag)
