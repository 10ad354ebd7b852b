"""What denoising did, shell by shell: curves over resolution on one axis."""

from collections.abc import Mapping, Sequence

import numpy as np

from cryowalk.view.canvas import GREY, Drawing, line_look, new_drawing, styled
from cryowalk.view.curves import resolution_axis


@styled
def shell_curves(
    curves: Mapping[str, Sequence[float]], frequency: Sequence[float], *, label: str, reference: float | None = None
) -> Drawing:
    """Several quantities of one unit over spatial frequency (1/Å), with a grey line at the value that means no change."""
    drawing = new_drawing(7.2, 3.6 + 0.2 * len(curves), description=f"{label} over spatial frequency: {', '.join(curves)}")
    axes = drawing.add_subplot()
    if reference is not None:
        axes.axhline(reference, color=GREY, linewidth=0.9, linestyle=(0, (4, 3)))
    for index, (name, values) in enumerate(curves.items()):
        axes.plot(frequency[: len(values)], np.asarray(values, dtype=float), label=name, **line_look(index))
    axes.set_xlim(0, float(frequency[-1]))
    low, high = axes.get_ylim()
    axes.set_ylim(min(low, 0.0), max(high, 1.05))
    axes.set_ylabel(label)
    axes.spines["top"].set_visible(True)
    resolution_axis(axes)
    drawing.legend(loc="outside lower left", ncols=2, borderaxespad=0.6)
    return drawing


@styled
def eigenvalues(values: Sequence[Sequence[float]], edges: Sequence[float]) -> Drawing:
    """The eigenvalues of each angular frequency's covariance of whitened images, and the edge below which they are noise, on a logarithmic axis."""
    drawing = new_drawing(7.2, 3.8, description="Eigenvalues of the covariance, by angular frequency, and the edge of the noise")
    axes = drawing.add_subplot()
    for k, (block, edge) in enumerate(zip(values, edges, strict=True)):
        kept = [value for value in block if value > edge]
        lost = [value for value in block if 0 < value <= edge]
        axes.semilogy([k] * len(kept), kept, "o", color=line_look(0)["color"], markersize=4, label="kept" if not k else None)
        axes.semilogy([k] * len(lost), lost, "o", color="#bbbbbb", markersize=3.5, label="noise" if not k else None)
    axes.step(
        np.arange(len(edges)), edges, where="mid", color=line_look(1)["color"], label="edge of the noise (Marchenko–Pastur)"
    )
    axes.set_xlabel("angular frequency")
    axes.set_xticks(range(0, len(edges), max(1, len(edges) // 10)))
    axes.set_ylabel("variance (noise: 1)")
    axes.legend(loc="upper right")
    return drawing
