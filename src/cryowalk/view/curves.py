"""Curves over resolution: Fourier shell correlation and the Guinier plot."""

from collections.abc import Mapping
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes  # noqa: TID253  a module of this floor is imported only when something is drawn
from torch import Tensor

from cryowalk.data import Volume
from cryowalk.view.canvas import COLOURS, GREY, Drawing, array_of, labelled, line_look, new_drawing, styled

THRESHOLDS = (0.5, 0.143)
_RESOLUTIONS = (100, 50, 30, 20, 15, 12, 10, 8, 7, 6, 5, 4.5, 4, 3.5, 3, 2.7, 2.5, 2.2, 2, 1.8, 1.6, 1.5, 1.4, 1.3, 1.2, 1.1, 1)
_SMALLEST_GAP = 0.062  # of the axis between two labels of the top axis


@runtime_checkable
class ShellCurve(Protocol):
    """What an FSC plot draws: `validation.ShellCorrelation` has this shape."""

    @property
    def frequency(self) -> Float[Tensor, " shells"]:
        """Spatial frequency of each shell, 1/Å."""

    @property
    def correlation(self) -> Float[Tensor, " shells"]:
        """Correlation in each shell."""

    def resolution(self, *, at: float) -> float:
        """Where the curve first falls below this value, Å."""


@styled
def fsc(curve: "ShellCurve | Mapping[str, ShellCurve]", *, thresholds: tuple[float, ...] = THRESHOLDS) -> Drawing:
    """Fourier shell correlation against spatial frequency, one or several curves, with each crossing of the thresholds marked and named in Å."""
    curves = labelled(curve)
    drawing = new_drawing(7.2, 4.1 + 0.2 * len(curves), description=_fsc_sentence(curves, thresholds))
    axes = drawing.add_subplot()
    for threshold in thresholds:
        axes.axhline(threshold, color=GREY, linewidth=0.9, linestyle=(0, (4, 3)))
    axes.axhline(0.0, color="#bbbbbb", linewidth=0.8)
    finest = max(float(one.frequency[-1]) for one in curves.values())
    for index, (label, one) in enumerate(curves.items()):
        axes.plot(array_of(one.frequency), array_of(one.correlation), label=_legend(label, one, thresholds), **line_look(index))
        _mark_crossings(axes, one, thresholds, colour=COLOURS[index % len(COLOURS)])
    lowest = min(float(one.correlation.nan_to_num().min()) for one in curves.values())
    axes.set_xlim(0, finest)
    axes.set_ylim(min(-0.05, max(lowest - 0.05, -1.05)), 1.05)
    axes.set_yticks([0, 0.2, 0.4, 0.6, 0.8, 1.0])
    for threshold in thresholds:
        axes.text(finest * 0.995, threshold + 0.012, f"{threshold:g}", color=GREY, ha="right", va="bottom", fontsize=8.5)
    axes.set_ylabel("Fourier shell correlation")
    axes.spines["top"].set_visible(True)
    resolution_axis(axes)
    drawing.legend(loc="outside lower left", ncols=1, borderaxespad=0.6)
    return drawing


def resolution_axis(axes: Axes) -> None:
    """Label the lower axis in 1/Å and add an upper one in Å, with as many round resolutions as have room."""
    low, high = axes.get_xlim()
    axes.set_xlabel("spatial frequency (1/Å)")
    chosen: list[float] = []
    for resolution in _RESOLUTIONS:
        place = (1 / resolution - low) / (high - low)
        room = not chosen or place - (1 / chosen[-1] - low) / (high - low) >= _SMALLEST_GAP
        if 0.02 < place <= 1.0001 and room:
            chosen.append(resolution)
    upper = axes.secondary_xaxis("top")
    upper.set_xticks([1 / resolution for resolution in chosen], [f"{resolution:g}" for resolution in chosen])
    upper.set_xlabel("resolution (Å)")


@styled
def guinier(volume: Volume | Mapping[str, Volume], *, b_factor: float | None = None, from_resolution: float = 10.0) -> Drawing:
    """Guinier plot: ln of the root mean square amplitude of each Fourier shell against 1/d², with the slope of a B-factor (Å²) if one is given.

    An amplitude that falls as exp(−B k²/4) is a straight line of slope −B/4; it means something beyond 10 Å, where the molecule's
    shape no longer rules. The map must be a cube.

    Source: Rosenthal & Henderson, J. Mol. Biol. 333, 721 (2003), eq. 17 and fig. 11.
    """
    rows = labelled(volume)
    names = ", ".join(label for label in rows if label)
    drawing = new_drawing(7.2, 4.2, description="Guinier plot" + (f" of {names}" if names else ""))
    axes = drawing.add_subplot()
    for index, (label, one) in enumerate(rows.items()):
        frequency, logarithm = _log_amplitude(one)
        axes.plot(frequency**2, logarithm, label=label or None, **line_look(index))
        if b_factor is not None and index == 0:
            _draw_slope(axes, frequency, logarithm, b_factor=b_factor, from_resolution=from_resolution)
    axes.set_xlabel("1/d² (1/Å²)")
    axes.set_ylabel("ln of shell amplitude (r.m.s.)")
    axes.margins(x=0)
    axes.spines["top"].set_visible(True)
    squared_resolution_axis(axes)
    if any(rows) or b_factor is not None:
        axes.legend()
    return drawing


def _log_amplitude(volume: Volume) -> tuple[Float[np.ndarray, " shells"], Float[np.ndarray, " shells"]]:
    from cryowalk.validation.spectrum import amplitude_spectrum

    spectrum = amplitude_spectrum(Volume(voxels=volume.voxels.double(), voxel_size=volume.voxel_size))
    frequency, amplitude = array_of(spectrum.frequency)[1:], array_of(spectrum.amplitude)[1:]
    seen = amplitude > amplitude.max() * 1e-12
    return frequency[seen], np.log(amplitude[seen])


def _draw_slope(
    axes: Axes, frequency: Float[np.ndarray, " n"], logarithm: Float[np.ndarray, " n"], *, b_factor: float, from_resolution: float
) -> None:
    beyond = frequency >= 1 / from_resolution
    if not beyond.any():
        return
    square = frequency[beyond] ** 2
    offset = np.mean(logarithm[beyond] + b_factor / 4 * square)
    axes.plot(square, offset - b_factor / 4 * square, color="#000000", linewidth=1.1, label=f"B = {b_factor:.0f} Å²")


def squared_resolution_axis(axes: Axes) -> None:
    """Add an upper axis in Å to one in 1/d²."""
    low, high = axes.get_xlim()
    chosen: list[float] = []
    for resolution in _RESOLUTIONS:
        place = (resolution**-2 - low) / (high - low)
        room = not chosen or place - (chosen[-1] ** -2 - low) / (high - low) >= _SMALLEST_GAP
        if 0.03 < place <= 1.0001 and room:
            chosen.append(resolution)
    upper = axes.secondary_xaxis("top")
    upper.set_xticks([resolution**-2 for resolution in chosen], [f"{resolution:g}" for resolution in chosen])
    upper.set_xlabel("resolution (Å)")


def _crossing(curve: ShellCurve, threshold: float) -> float | None:
    """The resolution of a crossing in Å, or None where the curve does not cross before its last shell."""
    resolution = float(curve.resolution(at=threshold))
    finest = 1 / float(curve.frequency[-1])
    return resolution if np.isfinite(resolution) and resolution > finest * (1 + 1e-6) else None


def _legend(label: str, curve: ShellCurve, thresholds: tuple[float, ...]) -> str:
    found = [(threshold, _crossing(curve, threshold)) for threshold in thresholds]
    words = [f"{crossing:.2f} Å at {threshold:g}" for threshold, crossing in found if crossing is not None]
    return ": ".join(part for part in (label, ", ".join(words) or "no crossing before Nyquist") if part)


def _mark_crossings(axes: Axes, curve: ShellCurve, thresholds: tuple[float, ...], *, colour: str) -> None:
    for threshold in thresholds:
        crossing = _crossing(curve, threshold)
        if crossing is not None:
            axes.plot([1 / crossing], [threshold], marker="o", markersize=5, color=colour, markeredgecolor="white")


def _fsc_sentence(curves: Mapping[str, ShellCurve], thresholds: tuple[float, ...]) -> str:
    return "Fourier shell correlation; " + "; ".join(_legend(label, one, thresholds) for label, one in curves.items())
