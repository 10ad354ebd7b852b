"""Power spectra: of one image as a picture, and of noise as a curve over resolution."""

from collections.abc import Mapping

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from cryowalk.data import Micrograph
from cryowalk.view.canvas import Drawing, array_of, grey_range, labelled, line_look, new_drawing, styled
from cryowalk.view.curves import resolution_axis


@styled
def power_spectrum(micrograph: Micrograph) -> Drawing:
    """The logarithm of an image's power at each spatial frequency (kx, ky) in 1/Å, zero frequency in the middle, ky upwards."""
    from cryowalk.fourier import transform

    height, width = micrograph.pixels.shape
    spectrum = transform.to_fourier(micrograph.pixels.double() - micrograph.pixels.double().mean(), dimensions=2)
    power = np.log(array_of(_whole(spectrum.abs().square(), width=width)) + 1e-30)
    drawing = new_drawing(5.0, 4.6, description=f"Power spectrum of {micrograph.name or 'the image'}")
    axes = drawing.add_subplot()
    step_x, step_y = 1 / (width * micrograph.pixel_size), 1 / (height * micrograph.pixel_size)
    left, bottom = -(width // 2 + 0.5) * step_x, -(height // 2 + 0.5) * step_y
    low, high = grey_range(power, percentile=1.0)
    extent = (left, left + width * step_x, bottom, bottom + height * step_y)
    axes.imshow(power, cmap="gray", origin="lower", extent=extent, vmin=low, vmax=high)
    axes.set_xlabel("kx (1/Å)")
    axes.set_ylabel("ky (1/Å)")
    axes.spines[:].set_visible(False)
    return drawing


def _whole(half: Float[Tensor, "h half"], *, width: int) -> Float[Tensor, "h w"]:
    """The power of all frequencies with zero in pixel n // 2, from the unshifted half spectrum: P(−k) = P(k)."""
    height = half.shape[0]
    rows = torch.arange(height) - height // 2
    columns = torch.arange(width) - width // 2
    mirrored = columns[None, :] < 0
    row = torch.where(mirrored, -rows[:, None], rows[:, None]) % height
    return half[row, columns.abs()[None, :].expand_as(row)]


@styled
def noise_spectrum(
    power: Float[Tensor, " shells"] | Mapping[str, Float[Tensor, " shells"]], *, box: int, pixel_size: float
) -> Drawing:
    """Noise power E|n_k|² of each Fourier shell (orthonormal transform) against spatial frequency, on a logarithmic axis."""
    rows = labelled(power)
    names = ", ".join(label for label in rows if label)
    drawing = new_drawing(7.2, 4.0, description="Noise power spectrum" + (f" of {names}" if names else ""))
    axes = drawing.add_subplot()
    for index, (label, one) in enumerate(rows.items()):
        values = array_of(one)
        frequency = np.arange(len(values)) / (box * pixel_size)
        axes.semilogy(frequency[values > 0], values[values > 0], label=label or None, **line_look(index))
    axes.set_xlim(0, (box // 2) / (box * pixel_size))
    axes.set_ylabel("noise power E|n|²")
    axes.grid(visible=True, axis="y")
    axes.spines["top"].set_visible(True)
    resolution_axis(axes)
    if any(rows):
        axes.legend()
    return drawing
