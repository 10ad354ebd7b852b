"""The one style of all figures, and a figure that shows itself in a notebook; nothing here touches pyplot or matplotlib's global state.

Colours: Okabe & Ito, Color universal design (2008), which stay apart for every common kind of colour blindness.
"""

import io
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import numpy as np
from jaxtyping import Float
from matplotlib import rc_context  # noqa: TID253  a module of this floor is imported only when something is drawn
from matplotlib.axes import Axes  # noqa: TID253
from matplotlib.figure import Figure  # noqa: TID253
from torch import Tensor

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
LINE_STYLES = ("-", "--", "-.", ":")
GREY = "#6b6b6b"
DOTS_PER_INCH = 110

_STYLE: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 9.5,
    "axes.titlesize": 10.5,
    "axes.labelsize": 9.5,
    "axes.edgecolor": "#444444",
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": False,
    "axes.axisbelow": True,
    "grid.color": "#d9d9d9",
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.7,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "xtick.color": "#333333",
    "ytick.color": "#333333",
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
    "image.interpolation": "nearest",
    "figure.facecolor": "white",
    "axes.facecolor": "white",
    "savefig.facecolor": "white",
    "mathtext.fontset": "dejavusans",
    "svg.hashsalt": "cryowalk",
    "svg.fonttype": "path",
    "path.simplify": True,
}

Drawn = TypeVar("Drawn")
Options = ParamSpec("Options")


class Drawing(Figure):
    """A matplotlib figure that shows itself in a notebook without pyplot; `get_label` describes it in a sentence."""

    def _repr_png_(self) -> bytes:
        return png_bytes(self)


@contextmanager
def house_style() -> Iterator[None]:
    """The style of all figures, for the time of the `with` block; whatever was set before comes back."""
    with rc_context(_STYLE):
        yield


def new_drawing(width: float, height: float, *, description: str) -> Drawing:
    """An empty figure in the house style, width and height in inches; the description serves as its alternative text."""
    drawing = Drawing(figsize=(width, height), dpi=DOTS_PER_INCH, layout="constrained")
    drawing.set_label(description)
    return drawing


def png_bytes(figure: Figure) -> bytes:
    """The figure as a PNG without time stamps or versions, so that the same figure gives the same bytes."""
    buffer = io.BytesIO()
    with house_style():
        _settle(figure)
        figure.savefig(buffer, format="png", dpi=DOTS_PER_INCH, metadata={"Software": None})
    return buffer.getvalue()


def svg_bytes(figure: Figure) -> bytes:
    """The figure as an SVG with letters drawn as paths, without time stamps or versions."""
    buffer = io.BytesIO()
    with house_style():
        _settle(figure)
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    return buffer.getvalue()


def _settle(figure: Figure) -> None:
    """Let the layout find its places once and keep them: the constrained layout moves a little with every drawing."""
    engine = figure.get_layout_engine()
    if engine is not None:
        engine.execute(figure)
        figure.set_layout_engine("none")


def line_look(index: int) -> dict[str, Any]:
    """Colour and dash of the curve of this number: two signs that do not both need colour vision."""
    return {"color": COLOURS[index % len(COLOURS)], "linestyle": LINE_STYLES[index % len(LINE_STYLES)]}


def labelled(things: Drawn | Mapping[str, Drawn]) -> dict[str, Drawn]:
    """Things by label: a single thing gets the empty label."""
    return dict(things) if isinstance(things, Mapping) else {"": things}


def array_of(values: Tensor) -> Float[np.ndarray, "..."]:
    """The values as a floating-point array of the CPU."""
    return values.detach().cpu().double().numpy()


def grey_range(values: Float[np.ndarray, "..."], *, percentile: float = 0.3) -> tuple[float, float]:
    """Where black and white lie: percentiles of the finite values, so that a few hot pixels do not wash out the rest."""
    finite = values[np.isfinite(values)]
    if finite.size == 0:
        return 0.0, 1.0
    low, high = np.percentile(finite, [percentile, 100 - percentile])
    return (float(low), float(high)) if high > low else (float(low) - 0.5, float(low) + 0.5)


def scale_bar(axes: Axes, *, width: float, font_size: float = 8.5) -> None:
    """Draw a bar of a round length in Å, at most a quarter of `width` (Å), into a panel whose axes are in Å."""
    from matplotlib.lines import Line2D
    from matplotlib.patheffects import withStroke

    length = round_length(width / 4)
    left, right = axes.get_xlim()
    bottom, top = axes.get_ylim()
    start, height = left + 0.05 * (right - left), bottom + 0.05 * (top - bottom)
    outline = [withStroke(linewidth=4.4, foreground="black")]
    bar = Line2D(
        [start, start + length], [height, height], color="white", linewidth=3, solid_capstyle="butt", path_effects=outline
    )
    axes.add_line(bar)
    axes.annotate(
        f"{length:g} Å",
        (start + length / 2, height),
        xytext=(0, 3),
        textcoords="offset points",
        color="white",
        ha="center",
        va="bottom",
        fontsize=font_size,
        path_effects=[withStroke(linewidth=1.8, foreground="black")],
    )


def round_length(target: float) -> float:
    """The largest of 1, 2, 5 × 10ⁿ that does not exceed the target (same unit)."""
    power = 10.0 ** np.floor(np.log10(target))
    return float(max(step * power for step in (1.0, 2.0, 5.0) if step * power <= target * (1 + 1e-9)))


def styled(draw: Callable[Options, Drawn]) -> Callable[Options, Drawn]:
    """The same drawing function, run inside the house style."""

    @wraps(draw)
    def draw_in_style(*arguments: Options.args, **options: Options.kwargs) -> Drawn:
        with house_style():
            return draw(*arguments, **options)

    return draw_in_style
