"""The figures of local resolution, of residues and of directions say what they show and are drawn from what they are given."""

import numpy as np
import pytest
import torch

from cryowalk.core.errors import UsageError
from cryowalk.data import Volume
from cryowalk.view.canvas import png_bytes
from cryowalk.view.directional import on_sphere
from cryowalk.view.local_resolution import resolution_histogram, resolution_slices
from cryowalk.view.residues import scores_along_chains


def test_coloured_slices_and_their_scale(generator: torch.Generator) -> None:
    volume = Volume(voxels=torch.rand(12, 14, 16, generator=generator), voxel_size=2.0)
    local = Volume(voxels=torch.full((12, 14, 16), 5.0), voxel_size=2.0)
    drawing = resolution_slices(volume, local, limits=(4.0, 8.0))
    assert len(drawing.axes) == 4
    assert drawing.axes[0].images[0].get_array().shape == (14, 16, 3)
    assert drawing.axes[3].get_ylabel() == "local resolution (Å)"
    assert png_bytes(drawing).startswith(b"\x89PNG")


def test_the_histogram_names_median_and_whole() -> None:
    drawing = resolution_histogram(np.array([3.0, 4.0, 4.0, 5.0, 9.0]), whole=3.6)
    labels = [text.get_text() for text in drawing.axes[0].get_legend().get_texts()]
    assert labels == ["median 4.00 Å", "whole map (FSC 0.143) 3.60 Å"]
    assert sum(patch.get_height() for patch in drawing.axes[0].patches) >= 80  # per cent; the tail past 99.5 % is left out


def test_residues_are_drawn_a_row_a_chain() -> None:
    drawing = scores_along_chains([("B", 2, 0.5), ("A", 1, 0.7), ("A", 2, -0.1)])
    assert [axes.get_ylabel() for axes in drawing.axes] == ["Q-score, A", "Q-score, B"]
    assert drawing.axes[0].lines[1].get_xydata().tolist() == [[1, 0.7], [2, -0.1]]
    assert drawing.axes[0].get_ylim()[0] == pytest.approx(-0.1)
    with pytest.raises(UsageError, match="no residues"):
        scores_along_chains([])


def test_directions_need_one_value_each() -> None:
    drawing = on_sphere({"resolution (Å)": torch.linspace(3, 5, 768), "sampling": torch.ones(768)})
    assert len(drawing.axes) == 4
    assert png_bytes(drawing).startswith(b"\x89PNG")
    with pytest.raises(UsageError, match="768"):
        on_sphere({"x": torch.ones(12)})
