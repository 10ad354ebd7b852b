"""Figures of denoising: they hold what they were given, and draw the same bytes again."""

from cryowalk.view.canvas import png_bytes
from cryowalk.view.denoising import eigenvalues, shell_curves


def test_curves_over_shells_hold_their_values():
    drawing = shell_curves(
        {"before": [1.0, 0.8, 0.2], "after": [1.0, 0.9, 0.4]}, [0.0, 0.05, 0.1], label="correlation", reference=1.0
    )
    axes = drawing.axes[0]
    lines = {line.get_label(): list(line.get_ydata()) for line in axes.lines}
    assert lines["after"] == [1.0, 0.9, 0.4]
    assert axes.get_xlim() == (0.0, 0.1)
    assert drawing.get_label() == "correlation over spatial frequency: before, after"
    assert png_bytes(drawing) == png_bytes(drawing)


def test_eigenvalues_are_parted_at_the_edge():
    drawing = eigenvalues([[0.9, 3.0, 2.0], [1.1, 0.5]], [1.5, 1.4])
    kept = [list(line.get_ydata()) for line in drawing.axes[0].lines if line.get_label() == "kept"]
    assert kept == [[3.0, 2.0]]
