"""Figures with sliders: live where a notebook runs, a still picture elsewhere, and no kernel needed."""

import base64

import pytest

from cryowalk.course import Choice, Slider, exploration
from cryowalk.course.explore import STATIC_VARIABLE


@pytest.fixture
def drawn():
    return []


@pytest.fixture
def player(drawn):
    from matplotlib.figure import Figure

    def draw(size, count, kind):
        drawn.append((size, count, kind))
        figure = Figure(figsize=(2, 1))
        figure.subplots().plot([0, size], [count, 1])
        return figure

    return exploration(draw, size=Slider(0.5, 2.0, 1.0), count=Slider(1, 9, 3), kind=Choice(("a", "b"), label="which"))


def test_moving_a_slider_redraws_and_its_ends_hold(player, drawn):
    box = player.widget()
    size, count, kind, image = box.children
    first = bytes(image.value)
    assert drawn == [(1.0, 3, "a")]
    size.value = 2.0
    kind.value = "b"
    count.value = 400
    assert drawn[1:] == [(2.0, 3, "a"), (2.0, 3, "b"), (2.0, 9, "b")]
    assert bytes(image.value) != first
    assert bytes(image.value).startswith(b"\x89PNG")
    assert isinstance(count.value, int)


def test_a_static_place_shows_the_picture_of_the_start(player, drawn, monkeypatch):
    monkeypatch.setenv(STATIC_VARIABLE, "1")
    bundle = player._repr_mimebundle_()
    assert set(bundle) == {"image/png", "text/plain"}
    assert base64.b64decode(bundle["image/png"]).startswith(b"\x89PNG")
    assert drawn == [(1.0, 3, "a")]


def test_a_live_notebook_gets_the_widget_and_the_picture(player, monkeypatch):
    monkeypatch.delenv(STATIC_VARIABLE, raising=False)
    bundle = player._repr_mimebundle_()
    assert "application/vnd.jupyter.widget-view+json" in bundle
    assert "image/png" in bundle


def test_corners_hold_every_extreme(player):
    corners = player.corners()
    for name, values in (("size", (0.5, 1.0, 2.0)), ("count", (1, 3, 9)), ("kind", ("a", "b"))):
        assert {corner[name] for corner in corners} == set(values)
    assert {"size": 2.0, "count": 1, "kind": "b"} in corners
