"""Surfaces lie where the density says, in Å, and stay small."""

import numpy as np
import pytest
import torch

from cryowalk import view
from cryowalk.core.errors import InputError, UsageError
from cryowalk.data import Volume


def corners(trace) -> np.ndarray:
    return np.stack([np.asarray(trace.x), np.asarray(trace.y), np.asarray(trace.z)], axis=-1)


def signed_volume(trace) -> float:
    """The volume inside a closed mesh, positive where its triangles turn outwards."""
    points = corners(trace).astype(float)
    a, b, c = (points[np.asarray(side, dtype=int)] for side in (trace.i, trace.j, trace.k))
    return float(np.einsum("ni,ni->n", a, np.cross(b, c)).sum() / 6)


def ball(box: tuple[int, int, int], *, voxel_size: float, middle: tuple[float, float, float], width: float) -> Volume:
    z, y, x = torch.meshgrid(*[(torch.arange(n) - n // 2) * voxel_size for n in box], indexing="ij")
    u, v, w = middle
    return Volume(
        voxels=torch.exp(-((x - u) ** 2 + (y - v) ** 2 + (z - w) ** 2) / (2 * width**2)).double(), voxel_size=voxel_size
    )


@pytest.mark.parametrize("triangles", [100_000, 800])
def test_a_gaussian_ball_has_its_surface_at_the_closed_form_radius(triangles):
    volume = ball((40, 45, 52), voxel_size=1.7, middle=(9.0, -6.0, 4.0), width=8.0)
    trace = view.isosurface(volume, levels=(0.5,), triangles=triangles).data[0]
    radius = np.linalg.norm(corners(trace) - np.array([9.0, -6.0, 4.0]), axis=1)
    expected = 8.0 * np.sqrt(2 * np.log(2))
    assert np.abs(radius - expected).max() < (0.1 if triangles == 100_000 else 1.2)
    assert len(trace.i) <= triangles


def test_triangles_turn_outwards():
    volume = ball((40, 45, 52), voxel_size=1.7, middle=(9.0, -6.0, 4.0), width=8.0)
    trace = view.isosurface(volume, levels=(0.5,)).data[0]
    radius = 8.0 * np.sqrt(2 * np.log(2))
    assert signed_volume(trace) == pytest.approx(4 / 3 * np.pi * radius**3, rel=0.02)


def test_the_slider_shows_one_level_at_a_time(blob):
    figure = view.isosurface(blob)
    steps = figure.layout.sliders[0].steps
    assert [sum(step.args[1]) for step in steps] == [1] * len(figure.data)
    assert sum(bool(trace.visible) for trace in figure.data) == 1
    assert figure.data[figure.layout.sliders[0].active].visible
    assert "at 5 levels" in figure.layout.meta["description"]


def test_the_frame_holds_the_molecule_and_not_the_noise_around_it(generator):
    volume = ball((40, 45, 52), voxel_size=1.7, middle=(9.0, -6.0, 4.0), width=6.0)
    noisy = Volume(voxels=volume.voxels + 0.08 * torch.randn(40, 45, 52, generator=generator), voxel_size=1.7)
    scene = view.isosurface(noisy).layout.scene
    for axis, middle in zip((scene.xaxis, scene.yaxis, scene.zaxis), (9.0, -6.0, 4.0), strict=True):
        assert axis.range[0] < middle - 4
        assert axis.range[1] > middle + 4
        assert axis.range[1] - axis.range[0] < 40


def test_a_flat_histogram_has_one_level_in_its_middle(generator):
    flat = Volume(voxels=torch.rand(9, 9, 9, generator=generator), voxel_size=1.7)
    assert len(view.isosurface(flat).data) == 1


def test_levels_outside_the_map_are_left_out_or_refused(blob):
    assert len(view.isosurface(blob, levels=(0.3, 5.0)).data) == 1
    with pytest.raises(UsageError, match="no level lies inside the map"):
        view.isosurface(blob, levels=(5.0,))


@pytest.mark.parametrize("value", [0.5, float("nan")])
def test_a_map_without_a_surface_is_refused(value):
    with pytest.raises(InputError, match="finite and not constant"):
        view.isosurface(Volume(voxels=torch.full((6, 6, 6), value), voxel_size=1.7))


def test_a_noisy_map_stays_small(generator):
    noise = Volume(voxels=torch.randn(48, 48, 48, generator=generator), voxel_size=1.7)
    figure = view.isosurface(noise, triangles=8_000)
    assert max(len(trace.i) for trace in figure.data) <= 8_000
    assert len(figure.to_json()) < 1_000_000
    assert "drawn on voxels of" in figure.layout.meta["description"]
