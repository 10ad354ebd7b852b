"""Particle images side by side."""

from collections.abc import Sequence

from cryowalk.core.checks import require_positive
from cryowalk.core.errors import UsageError
from cryowalk.data import ImageStack, ParticleSet
from cryowalk.view.canvas import Drawing, array_of, grey_range, new_drawing, scale_bar, styled


@styled
def images(
    stack: ImageStack | ParticleSet, *, indices: Sequence[int] | None = None, labels: Sequence[str] = (), columns: int = 8
) -> Drawing:
    """A gallery of images (the first 24 unless `indices` are given) in one grey range, at most `columns` in a row, y upwards, with a scale bar in the first.

    Raises
    ------
    UsageError
        If there are no images, or an index or the number of labels does not fit.
    """
    require_positive("columns", columns)
    source = stack.images if isinstance(stack, ParticleSet) else stack
    if source is None or source.count == 0:
        raise UsageError("there are no images to show")
    chosen = list(range(min(24, source.count))) if indices is None else list(indices)
    wrong = [index for index in chosen if not 0 <= index < source.count]
    if wrong or not chosen:
        raise UsageError(
            f"image {wrong[0]} does not exist" if wrong else "no image was chosen", expected=f"0 to {source.count - 1}"
        )
    if labels and len(labels) != len(chosen):
        raise UsageError(f"{len(labels)} labels were given for {len(chosen)} images")
    pixels = array_of(source.read(chosen))
    low, high = grey_range(pixels)
    height, width = source.image_shape
    rows = -(-len(chosen) // columns)
    columns = -(-len(chosen) // rows)
    panel = 9.2 / max(columns, 4)
    extra = 0.22 if labels else 0.0
    drawing = new_drawing(panel * columns, (panel * height / width + extra) * rows, description=f"{len(chosen)} particle images")
    drawing.set_layout_engine("constrained", w_pad=0.02, h_pad=0.02, wspace=0.01, hspace=0.01)
    extent = (0.0, width * stack.pixel_size, 0.0, height * stack.pixel_size)
    for place, image in enumerate(pixels):
        axes = drawing.add_subplot(rows, columns, place + 1)
        axes.imshow(image, cmap="gray", origin="lower", extent=extent, vmin=low, vmax=high)
        axes.set_axis_off()
        if labels:
            axes.set_title(labels[place], fontsize=8, pad=2)
        if place == 0:
            scale_bar(axes, width=1.8 * width * stack.pixel_size, font_size=7.5)
    return drawing
