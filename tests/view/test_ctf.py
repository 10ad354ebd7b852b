"""The figure of a CTF fit shows the curves that it was given, on one scale."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from cryowalk import view


@pytest.fixture
def average():
    frequency = torch.linspace(0.03, 0.3, 200, dtype=torch.float64)
    model = torch.sin(300 * frequency**2) ** 2
    return SimpleNamespace(frequency=frequency, measured=(2 * model - 1) * 2**0.5, model=model, agreement=1 - frequency)


def test_measured_rings_lie_on_the_model_where_they_agree(average):
    figure = view.ctf_fit(average, resolution=4.0, name="a micrograph")
    measured, model, agreement = figure.axes[0].lines[:3]
    np.testing.assert_allclose(measured.get_ydata(), model.get_ydata(), atol=1e-9)
    np.testing.assert_allclose(model.get_xdata(), average.frequency)
    np.testing.assert_allclose(agreement.get_ydata(), average.agreement)
    assert figure.axes[0].lines[3].get_xdata()[0] == pytest.approx(0.25)
    assert "a micrograph" in figure.get_label()


def test_a_resolution_beyond_the_curve_is_not_marked(average):
    assert len(view.ctf_fit(average, resolution=2.0).axes[0].lines) == 3
    assert len(view.ctf_fit(average).axes[0].lines) == 3


def test_spikes_do_not_leave_the_frame(average):
    average.measured[10] = 50.0
    line = view.ctf_fit(average).axes[0].lines[0]
    assert max(line.get_ydata()) <= 2.1
