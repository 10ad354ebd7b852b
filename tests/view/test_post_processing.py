"""Figures of post-processing: what is drawn, where the axes end, and that empty shells and masks without an edge do no harm."""

import math

import pytest
import torch

from cryowalk.data import Volume
from cryowalk.validation import ShellCorrelation, spherical_mask
from cryowalk.view.canvas import png_bytes
from cryowalk.view.post_processing import fsc_against, guinier_plot, masked_slices

FREQUENCY = torch.arange(17, dtype=torch.float64) / 64.0


def test_the_guinier_plot_shows_curves_line_and_resolution() -> None:
    falling = 2.0 - 30.0 * FREQUENCY**2
    empty = torch.where(torch.arange(17) > 12, torch.full_like(falling, -math.inf), falling - 0.5)
    drawing = guinier_plot(
        FREQUENCY, {"average": falling, "weighted": empty}, line=(1.5, -30.0), resolution=5.0, label="B = 120 Å²"
    )
    axes = drawing.axes[0]
    labels = [text.get_text() for text in axes.get_legend().get_texts()]
    assert labels == ["average", "weighted", "B = 120 Å²"]
    low, high = axes.get_ylim()
    assert -3 < low < high < 4  # shells beyond the resolution and empty ones do not set the scale
    weighted = axes.get_lines()[1]
    assert weighted.get_xdata().max() == pytest.approx((12 / 64) ** 2)
    assert png_bytes(drawing).startswith(b"\x89PNG")


def test_a_plot_without_a_line_is_drawn() -> None:
    drawing = guinier_plot(FREQUENCY, {"average": torch.full_like(FREQUENCY, -99.0)})
    assert png_bytes(drawing).startswith(b"\x89PNG")


def test_a_correlation_is_drawn_with_its_thresholds() -> None:
    curve = ShellCorrelation(frequency=FREQUENCY, correlation=1 - 4 * FREQUENCY)
    drawing = fsc_against(curve, {"half a bit": torch.full_like(FREQUENCY, 0.2)})
    assert [text.get_text() for text in drawing.axes[0].get_legend().get_texts()] == ["masked half maps", "half a bit"]


def test_the_outline_of_a_mask_lies_on_the_map(generator: torch.Generator) -> None:
    volume = Volume(voxels=torch.randn(20, 20, 20, generator=generator), voxel_size=2.0)
    drawing = masked_slices(volume, spherical_mask(volume, radius=10.0, edge=4.0))
    half = drawing.axes[0].collections[0].get_paths()[0].vertices
    assert abs(half).max() == pytest.approx(12.0, abs=0.6)  # half-way down the edge, Å
    full = masked_slices(volume, Volume(voxels=torch.ones(20, 20, 20), voxel_size=2.0))
    assert len(full.axes[0].collections) == 0
