"""The fit of a contrast transfer function: the equi-phase average beside the CTF² that was found."""

from typing import Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor

from cryowalk.view.canvas import Drawing, array_of, line_look, new_drawing, styled
from cryowalk.view.curves import resolution_axis

_SHOWN = 1.6  # the measured curve is cut at ± this, about the middle of CTF²


@runtime_checkable
class RingsAndModel(Protocol):
    """What is drawn: curves over frequency (1/Å)."""

    @property
    def frequency(self) -> Float[Tensor, " samples"]:
        """1/Å."""

    @property
    def measured(self) -> Float[Tensor, " samples"]:
        """The flattened average, about −1 to 1."""

    @property
    def model(self) -> Float[Tensor, " samples"]:
        """CTF²."""

    @property
    def agreement(self) -> Float[Tensor, " samples"]:
        """Their local correlation."""


@styled
def ctf_fit(average: RingsAndModel, *, resolution: float | None = None, name: str = "") -> Drawing:
    """The measured rings of a micrograph, CTF² and their local correlation over spatial frequency; `resolution` (Å) is marked."""
    drawing = new_drawing(8.4, 3.2, description=f"CTF fit of {name or 'a micrograph'}")
    axes = drawing.add_subplot()
    frequency = array_of(average.frequency)
    measured = (array_of(average.measured) / 2**1.5 + 0.5).clip(0.5 - _SHOWN, 0.5 + _SHOWN)
    axes.plot(frequency, measured, label="measured, flattened", **line_look(0))
    axes.plot(frequency, array_of(average.model), label="CTF²", **line_look(1))
    axes.plot(frequency, array_of(average.agreement), label="local correlation", **line_look(2))
    if resolution is not None and 1 / resolution <= frequency[-1]:
        axes.axvline(1 / resolution, color="0.5", linestyle=":", linewidth=1)
    axes.set_xlim(0, frequency[-1])
    axes.set_ylim(-0.6, 1.6)
    axes.spines["top"].set_visible(True)
    resolution_axis(axes)
    axes.legend(ncols=3, loc="lower left")
    return drawing
