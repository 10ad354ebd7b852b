"""Figures with sliders: a live widget in a running notebook, a still picture everywhere else.

    exploration(draw, width=Slider(0.5, 3.0, 1.0, label="width in Å"), window=Choice(("box", "Gaussian")))

`draw` is a pure function of the controls' values that returns a matplotlib Figure (made with `matplotlib.figure.Figure` or pyplot).
"""

import base64
import io
import itertools
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

STATIC_VARIABLE = "CRYOWALK_COURSE_STATIC"


@dataclass(frozen=True, slots=True)
class Slider:
    """A number between two bounds."""

    minimum: float
    maximum: float
    start: float
    step: float | None = None
    label: str = ""

    def extremes(self) -> tuple[float, ...]:
        """The lowest, the starting and the highest value."""
        return (self.minimum, self.start, self.maximum)

    def widget(self, name: str) -> Any:
        """The ipywidgets slider for this range; whole numbers where every bound is one."""
        import ipywidgets

        whole = all(isinstance(value, int) for value in (self.minimum, self.maximum, self.start)) and isinstance(
            self.step, int | None
        )
        kind = ipywidgets.IntSlider if whole else ipywidgets.FloatSlider
        step = self.step if self.step is not None else (1 if whole else (self.maximum - self.minimum) / 100)
        return kind(
            value=self.start,
            min=self.minimum,
            max=self.maximum,
            step=step,
            continuous_update=False,
            **_described(self.label or name),
        )


@dataclass(frozen=True, slots=True)
class Choice:
    """One of a few options; it starts with the first."""

    options: tuple[Any, ...]
    label: str = ""

    @property
    def start(self) -> Any:
        """The option that is drawn first."""
        return self.options[0]

    def extremes(self) -> tuple[Any, ...]:
        """Every option."""
        return self.options

    def widget(self, name: str) -> Any:
        """The ipywidgets drop-down for these options."""
        import ipywidgets

        return ipywidgets.Dropdown(options=list(self.options), value=self.start, **_described(self.label or name))


Control = Slider | Choice


def _described(label: str) -> dict[str, Any]:
    import ipywidgets

    return {"description": label, "style": {"description_width": "initial"}, "layout": ipywidgets.Layout(width="60%")}


def picture(figure: Any) -> bytes:
    """A matplotlib figure as PNG bytes; the figure is closed."""
    import matplotlib.pyplot as plt

    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=90, bbox_inches="tight", metadata={"Software": None})
    plt.close(figure)
    return buffer.getvalue()


class Exploration:
    """A drawing function with its controls; a notebook shows it as widget, or as the picture of its starting values."""

    def __init__(self, draw: Callable[..., Any], controls: dict[str, Control]) -> None:
        self.draw = draw
        self.controls = controls

    def picture(self, **values: Any) -> bytes:
        """The picture (PNG) for the given values; the others are at their start."""
        return picture(self.draw(**{name: control.start for name, control in self.controls.items()} | values))

    def corners(self) -> list[dict[str, Any]]:
        """The combinations of values at which a test draws: every control alone at each extreme, then all at their ends together."""
        start = {name: control.start for name, control in self.controls.items()}
        single = [start | {name: value} for name, control in self.controls.items() for value in control.extremes()]
        ends = [(control.extremes()[0], control.extremes()[-1]) for control in self.controls.values()]
        joint = [dict(zip(self.controls, values, strict=True)) for values in itertools.islice(itertools.product(*ends), 16)]
        return single + joint

    def widget(self) -> Any:
        """The ipywidgets box: controls above the picture, redrawn when a value changes (no kernel is needed)."""
        import ipywidgets

        image = ipywidgets.Image(value=self.picture(), format="png")
        sliders = {name: control.widget(name) for name, control in self.controls.items()}

        def redraw(_: Any) -> None:
            image.value = self.picture(**{name: slider.value for name, slider in sliders.items()})

        for slider in sliders.values():
            slider.observe(redraw, names="value")
        return ipywidgets.VBox([*sliders.values(), image])

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        still = {"image/png": base64.b64encode(self.picture()).decode("ascii"), "text/plain": "a figure with sliders"}
        if os.environ.get(STATIC_VARIABLE):
            return still
        try:
            shown = self.widget()
        except ImportError:
            return still
        return still | dict(shown._repr_mimebundle_() or {})


def exploration(draw: Callable[..., Any], **controls: Control) -> Exploration:
    """A figure with sliders: `draw(**values)` returns the matplotlib figure, `controls` are Slider and Choice by argument name."""
    return Exploration(draw, controls)
