"""Micrographs as a person looks at them: made coarser until the particles show, with the places that are known drawn in; and how a movie moved."""

import numpy as np
import torch
from jaxtyping import Float
from matplotlib.collections import EllipseCollection  # noqa: TID253  a module of this floor is imported only when something is drawn

from cryowalk.data import Micrograph, Motion
from cryowalk.data.micrograph_truth import MicrographTruth
from cryowalk.fourier.filters import low_pass
from cryowalk.fourier.transform import to_fourier
from cryowalk.view.canvas import COLOURS, GREY, Drawing, array_of, grey_range, line_look, new_drawing, scale_bar, styled
from cryowalk.view.curves import resolution_axis

_SHOWN = 760  # pixels across a picture in a report
_FINEST = 15.0  # Å: finer detail is noise to the eye
_TILE = 512  # pixels a side of the pieces whose power is averaged


def coarser(micrograph: Micrograph) -> Micrograph:
    """The micrograph without detail finer than `_FINEST`, with blocks of pixels averaged until it is small enough to be looked at."""
    height, width = micrograph.pixels.shape
    factor = max(1, -(-max(height, width) // _SHOWN))
    if 2 * micrograph.pixel_size < _FINEST:
        smooth = low_pass(
            micrograph.pixels, resolution=_FINEST, pixel_size=micrograph.pixel_size, edge=height * micrograph.pixel_size / _FINEST
        )
        micrograph = Micrograph(pixels=smooth, pixel_size=micrograph.pixel_size, name=micrograph.name)
    kept = micrograph.pixels[: height // factor * factor, : width // factor * factor]
    blocks = kept.reshape(height // factor, factor, width // factor, factor)
    return Micrograph(pixels=blocks.mean(dim=(1, 3)), pixel_size=micrograph.pixel_size * factor, name=micrograph.name)


@styled
def micrograph(image: Micrograph, *, truth: MicrographTruth | None = None) -> Drawing:
    """A micrograph, y upwards, with a scale bar; circles where the truth says that particles are (each kind its colour), squares about contaminants."""
    small = coarser(image)
    height, width = small.pixels.shape
    across = width * small.pixel_size
    described = f"Micrograph {image.name}" + (f" with the {len(truth)} particles of the truth" if truth is not None else "")
    drawing = new_drawing(7.0, 7.0 * height / width, description=described)
    axes = drawing.add_subplot()
    pixels = array_of(small.pixels)
    low, high = grey_range(pixels)
    axes.imshow(pixels, cmap="gray", origin="lower", extent=(0.0, across, 0.0, height * small.pixel_size), vmin=low, vmax=high)
    axes.set_axis_off()
    if truth is not None:
        for kind, name in enumerate(truth.specimen_names):
            mine = truth.specimen == kind
            places = array_of(truth.positions[mine, :2])
            sizes = 2 * array_of(truth.radius[mine])
            axes.add_collection(
                EllipseCollection(
                    sizes, sizes, np.zeros(len(sizes)), offsets=places, units="xy", transOffset=axes.transData,
                    facecolors="none", edgecolors=COLOURS[(kind + 4) % len(COLOURS)], linewidths=0.9, label=name,
                )
            )  # fmt: skip
        if truth.contaminants is not None and len(truth.contaminants):
            places = array_of(truth.contaminants.positions)
            axes.scatter(places[:, 0], places[:, 1], s=60, marker="s", facecolors="none", edgecolors=COLOURS[1], linewidths=1.0)
    scale_bar(axes, width=across)
    return drawing


@styled
def rings(image: Micrograph, *, transfer: Float[torch.Tensor, " shells"] | None = None) -> Drawing:
    """The rotational mean of a micrograph's power against spatial frequency, and beside it the square of the CTF that the truth states."""
    frequency, power = radial_power(image)
    drawing = new_drawing(7.2, 3.6, description=f"Power of {image.name or 'the micrograph'} against spatial frequency")
    axes = drawing.add_subplot()
    shown = frequency > 0.01
    axes.semilogy(frequency[shown], power[shown], label="power of the micrograph", **line_look(0))
    axes.set_ylabel("power, rotational mean")
    axes.set_xlim(0, float(frequency[-1]))
    if transfer is not None:
        beside = axes.twinx()
        curve = array_of(transfer) ** 2
        beside.fill_between(np.linspace(0, float(frequency[-1]), len(curve)), curve, color=GREY, alpha=0.25, linewidth=0)
        beside.set_ylim(0, 2.2)
        beside.set_ylabel("CTF² of the truth")
        beside.set_yticks([0, 0.5, 1])
    resolution_axis(axes)
    return drawing


def radial_power(image: Micrograph) -> tuple[Float[np.ndarray, " shells"], Float[np.ndarray, " shells"]]:
    """Spatial frequencies (1/Å) and the mean power of half-overlapping pieces of the micrograph at each, averaged over all directions."""
    from cryowalk.fourier.shells import shell_average, shell_frequency

    power = power_of_pieces(image)
    side = power.shape[0]
    return (
        array_of(shell_frequency(side, pixel_size=image.pixel_size)),
        array_of(shell_average(power, size=(side, side))),
    )


def power_of_pieces(image: Micrograph) -> Float[torch.Tensor, "h half"]:
    """The mean power spectrum of half-overlapping square pieces of a micrograph, each without its mean."""
    height, width = image.pixels.shape
    side = min(_TILE, height, width)
    total = torch.zeros(side, side // 2 + 1, dtype=torch.float64)
    count = 0
    for top in range(0, height - side + 1, max(side // 2, 1)):
        for left in range(0, width - side + 1, max(side // 2, 1)):
            piece = image.pixels[top : top + side, left : left + side].double()
            total += to_fourier(piece - piece.mean()).abs().square()
            count += 1
    return total / max(count, 1)


@styled
def motion(moved: Motion, *, places: Float[torch.Tensor, "n 2"] | None = None, magnification: float = 20.0) -> Drawing:
    """How the specimen moved: the whole field's path on the left; on the right the paths of places in the field, drawn `magnification` times too long."""
    from cryowalk.microscope.beam_motion import displacement

    drawing = new_drawing(9.0, 4.2, description=f"Motion over {moved.global_displacement.shape[0]} frames")
    left, right = drawing.subplots(1, 2)
    path = array_of(moved.global_displacement)
    left.plot(path[:, 0], path[:, 1], marker=".", **line_look(0))
    left.plot(path[0, 0], path[0, 1], marker="o", color=COLOURS[1], linestyle="none", label="first frame")
    left.set_xlabel("x (Å)")
    left.set_ylabel("y (Å)")
    left.set_aspect("equal", adjustable="datalim")
    left.legend()
    width, height = moved.field
    if places is None:
        u, v = (torch.linspace(0.08, 0.92, 7, dtype=torch.float64) * side for side in (width, height))
        places = torch.stack(torch.meshgrid(u, v, indexing="xy"), dim=-1).reshape(-1, 2)
    tracks = array_of(places + magnification * displacement(moved, places))
    right.plot(tracks[:, :, 0], tracks[:, :, 1], color=COLOURS[0], linewidth=1.0)
    start = array_of(places)
    right.plot(start[:, 0], start[:, 1], marker=".", color=COLOURS[1], linestyle="none", markersize=4)
    right.set_xlim(0, width)
    right.set_ylim(0, height)
    right.set_aspect("equal")
    right.set_xlabel("x (Å)")
    right.set_title(f"paths, {magnification:g} times too long")
    return drawing
