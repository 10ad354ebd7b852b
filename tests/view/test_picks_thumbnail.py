"""Small pictures of picks under one or several readings of a file."""

import numpy as np
import torch

from cryowalk.data import Micrograph
from cryowalk.data.coordinates import Coordinates
from cryowalk.view import picks_thumbnail


def test_each_reading_has_a_panel_with_its_circles_where_the_picks_are(generator: torch.Generator) -> None:
    image = Micrograph(pixels=torch.randn(90, 140, generator=generator), pixel_size=2.5)
    down = Coordinates(positions=torch.tensor([[20.0, 30.0], [100.0, 70.0]]))
    up = Coordinates(positions=torch.tensor([[20.0, 59.0], [100.0, 19.0]]))
    drawing = picks_thumbnail(image, {"y down": down, "y up": up}, diameter=60.0)
    panels = drawing.axes
    assert [axes.get_title() for axes in panels] == ["y down", "y up"]
    places = [axes.collections[0].get_offsets() for axes in panels]
    assert np.allclose(places[0], [[51.25, 76.25], [251.25, 176.25]])
    assert np.allclose(places[1][:, 0], places[0][:, 0])
    assert drawing.get_label() == "2 and 2 picks: y down, y up"


def test_picks_of_a_finer_micrograph_fall_on_its_coarser_copy(generator: torch.Generator) -> None:
    image = Micrograph(pixels=torch.randn(45, 70, generator=generator), pixel_size=5.0)
    found = Coordinates(positions=torch.tensor([[20.0, 30.0]]))
    drawing = picks_thumbnail(image, found, diameter=60.0, pixel_size=2.5)
    assert np.allclose(drawing.axes[0].collections[0].get_offsets(), [[51.25, 76.25]])
