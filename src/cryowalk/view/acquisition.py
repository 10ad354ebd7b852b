"""Beam shifts of an acquisition, coloured by the optics group that each exposure was given."""

from jaxtyping import Float, Int
from torch import Tensor

from cryowalk.view.canvas import COLOURS, GREY, Drawing, array_of, new_drawing, styled

_MARKS = "osD^vP*X"
_NAMED = 60  # groups; more would hide the points


@styled
def beam_shifts(
    shifts: Float[Tensor, "n 2"], group: Int[Tensor, " n"], *, unit: str = "", names: tuple[str, ...] = ()
) -> Drawing:
    """The shifts (x, y), one mark each, in the colour and shape of its group; the number of each group, or its name, at its middle."""
    places, index = array_of(shifts), array_of(group)
    count = int(index.max()) + 1 if len(index) else 0
    drawing = new_drawing(6.4, 6.0, description=f"{len(index)} beam shifts in {count} groups")
    axes = drawing.add_subplot()
    for number in range(count):
        chosen = places[index == number]
        colour, mark = COLOURS[number % (len(COLOURS) - 1)], _MARKS[number // (len(COLOURS) - 1) % len(_MARKS)]
        axes.plot(chosen[:, 0], chosen[:, 1], mark, color=colour, markersize=3.5, markeredgewidth=0, alpha=0.7)
        if len(chosen) and count <= _NAMED:
            label = names[number] if names else str(number + 1)
            axes.annotate(
                label, chosen.mean(axis=0), xytext=(0, 12), textcoords="offset points", ha="center", fontsize=7.5, color=GREY
            )
    suffix = f" ({unit})" if unit else ""
    axes.set_xlabel(f"shift along x{suffix}")
    axes.set_ylabel(f"shift along y{suffix}")
    axes.set_aspect("equal", "datalim")
    axes.margins(0.08)
    return drawing
