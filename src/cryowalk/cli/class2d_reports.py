"""Reports of 2D classification: the classes to choose from, their figures, how the iterations went, and how likely particles are."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cryowalk.workflow.manifest import Manifest

if TYPE_CHECKING:
    from torch import Tensor

    from cryowalk.view.canvas import Drawing

MOST_TILES = 400
_SIDE = 128  # pixels of a picture, at least


def write_class2d_report(directory: Path, manifest: Manifest) -> Path:
    """The path of the report that was written into the job's directory."""
    import torch

    from cryowalk.io import read_array
    from cryowalk.view import Report, write_report
    from cryowalk.view.report import Captioned, Table
    from cryowalk.workflow.class2d_stages import RANKING, figure_rows, latest_data
    from cryowalk.workflow.job import REPORT_NAME

    ranking: Mapping[str, Any] = json.loads((directory / RANKING).read_text(encoding="utf-8"))
    data = latest_data(directory)
    images = torch.from_numpy(read_array(data.with_name(data.name.replace("_data.star", "_classes.mrcs"))).copy())
    report = Report(title=f"cryowalk {manifest.command}", summary=_summary(ranking), provenance=manifest.provenance())
    report = report.with_section("Classes", _chooser(ranking, images, directory))
    heads, rows = figure_rows(ranking)
    report = report.with_section("Figures of the classes", Table(columns=tuple(heads), rows=tuple(rows), caption=_MEANINGS))
    report = report.with_section(
        "Iterations",
        Captioned(figure=_course(ranking), caption="The resolution of the best class, and how many images changed their class."),
    )
    scores = _scores(data)
    if scores:
        report = report.with_section(
            "Particles",
            Captioned(
                figure=_histogram(scores),
                caption="How likely each image shows a particle; select --min-particle-score takes a limit.",
            ),
        )
    path: Path = write_report(report, directory / REPORT_NAME)
    return path


_MEANINGS = (
    "Resolution: where two halves of the class correlate by less than ½. Halves agree: their mean correlation. Rotation and shift: the least errors that the "
    "class's detail allows for one image. Edge power: that in a ring at the mask's edge over that inside."
)


def _summary(ranking: Mapping[str, Any]) -> str:
    proposed = set(ranking["proposed"])
    held = sum(one["images"] for one in ranking["classes"] if one["number"] in proposed)
    left = [
        f"{len(ranking['left_out'][name])} {words}"
        for name, words in (("not_finite", "hold NaN or infinite values"), ("without_contrast", "have no contrast"))
        if ranking["left_out"][name]
    ]
    told = f" Left out: {', '.join(left)}." if left else ""
    return (
        f"{ranking['particles']} particles in {len(ranking['classes'])} classes; {len(proposed)} classes with a score of "
        f"{ranking['least_score']} and more hold {held} of them.{told}"
    )


def _chooser(ranking: Mapping[str, Any], images: "Tensor", directory: Path) -> Any:
    """The classes, the best first, to be clicked on."""
    import shlex

    from cryowalk.view.report import Chooser

    shown = ranking["classes"][:MOST_TILES]
    words = tuple(
        f"score {one['score']:.2f}\n{one['images']} images\n{one['resolution_angstrom']:.1f} Å" if one["images"] else "empty"
        for one in shown
    )
    return Chooser(
        pictures=tuple(_picture(images[one["number"] - 1]) for one in shown),
        numbers=tuple(one["number"] for one in shown),
        words=words,
        chosen=tuple(ranking["proposed"]),
        command=f"cryowalk select --i {shlex.quote(directory.as_posix())} --classes {{chosen}} --o particles.star",
        caption="Click on classes to choose them, and copy the command. The best come first, y upwards, each in greys of its own.",
    )


def _picture(image: "Tensor") -> bytes:
    """A class as a PNG, y upwards, the greys from the darkest to the brightest hundredth."""
    import imagecodecs
    import numpy as np
    import torch

    factor = max(1, -(-_SIDE // image.shape[-1]))
    low, high = torch.quantile(image.float().flatten()[: 2**24], torch.tensor([0.005, 0.998])).tolist()
    grey = ((image - low) / max(high - low, 1e-30) * 255).clamp(0, 255).to(torch.uint8).flip(0)
    grey = grey.repeat_interleave(factor, dim=0).repeat_interleave(factor, dim=1)
    return bytes(imagecodecs.png_encode(np.ascontiguousarray(grey.numpy())))


def _course(ranking: Mapping[str, Any]) -> "Drawing":
    from cryowalk.view.canvas import COLOURS, house_style, new_drawing

    steps = ranking["iterations"]
    numbers = [one["number"] for one in steps]
    with house_style():
        drawing = new_drawing(9.2, 2.8, description="Resolution and changes of class in each iteration")
        left, right = drawing.add_subplot(1, 2, 1), drawing.add_subplot(1, 2, 2)
        left.plot(numbers, [one["resolution_angstrom"] for one in steps], color=COLOURS[0], marker="o", markersize=3)
        left.set_ylabel("resolution, Å")
        left.set_ylim(bottom=0)
        right.plot(numbers, [100 * one["moved"] for one in steps], color=COLOURS[1], marker="o", markersize=3)
        right.set_ylabel("changed their class, %")
        right.set_ylim(bottom=0)
        for axes in (left, right):
            axes.set_xlabel("iteration")
    return drawing


def _scores(data: Path) -> list[float]:
    """The particles' scores, where the table has them."""
    from cryowalk.io import read_particles
    from cryowalk.workflow.class2d_stages import SCORE

    return [float(text) for text in read_particles(data, images="ignore").extra.get(SCORE, ())]


def _histogram(scores: list[float]) -> "Drawing":
    import numpy as np

    from cryowalk.view.canvas import COLOURS, house_style, new_drawing

    with house_style():
        drawing = new_drawing(6.2, 2.6, description="Distribution of the particles' scores")
        axes = drawing.add_subplot(1, 1, 1)
        axes.hist(scores, bins=list(np.linspace(0, 1, 41)), color=COLOURS[0])
        axes.set_xlabel("score of the particle")
        axes.set_ylabel("particles")
        axes.set_xlim(0, 1)
    return drawing
