"""The CTF of tilted and thick specimens against brute force and closed forms."""

import math

import numpy as np
import pytest
import torch

from cryowalk.core.errors import ShapeError, UsageError
from cryowalk.data.instrument import Gun
from cryowalk.data.optics import Aberrations, Defocus, Optics
from cryowalk.fourier.grids import coordinates
from cryowalk.fourier.transform import to_fourier, to_real
from cryowalk.microscope.lens import contrast_transfer
from cryowalk.microscope.tilted import (
    apply_tilted_transfer,
    apply_tilted_transfer_by_side_bands,
    apply_transfer_over_heights,
    apply_transfer_pixel_by_pixel,
    layer_count,
    side_bands,
    thickness_averaged_power,
    thickness_node,
    thickness_of_node,
    tilted_heights,
)

OPTICS = Optics(pixel_size=1.7, amplitude_contrast=0.08)


def one(value):
    return torch.tensor(float(value), dtype=torch.float64)


def defocus_of(major, minor=None, azimuth=0.5, phase_shift=0.0):
    return Defocus(
        major=one(major), minor=one(major if minor is None else minor), azimuth=one(azimuth), phase_shift=one(phase_shift)
    )


def noise(*shape, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(4), dtype=torch.float64).to(dtype)


def relative(a, b):
    return ((a - b).norm() / b.norm()).item()


@pytest.mark.parametrize("size", [(24, 24), (25, 22)])
@pytest.mark.parametrize(("tilt", "axis"), [(0.9, 0.3), (-1.2, 1.9), (0.0, 0.0)])
def test_layers_equal_brute_force(size, tilt, axis):
    image, defocus = noise(*size), defocus_of(9000.0, 8200.0, phase_shift=0.2)
    heights = 30 * tilted_heights(
        size, pixel_size=1.7, tilt_angle=tilt, tilt_axis=axis, like=image
    )  # as of a field 30 times as wide
    brute = apply_transfer_pixel_by_pixel(image, OPTICS, defocus, heights=heights)
    fast = apply_transfer_over_heights(image, OPTICS, defocus, heights=heights)
    assert relative(fast, brute) < 1e-4
    single = apply_transfer_over_heights(image.float(), OPTICS, defocus, heights=heights.float())
    assert single.dtype == torch.float32
    assert relative(single.double(), brute) < 1e-4
    if tilt:
        flat = to_real(to_fourier(image) * contrast_transfer(OPTICS, defocus, size=size), width=size[1])
        assert relative(flat, brute) > 0.1


def test_side_bands_are_the_closed_form_of_a_tilt():
    # Odd sides: no coefficient stands for two.
    size, tilt, axis = (31, 33), 1.45, 0.8
    image, defocus = noise(*size), defocus_of(7000.0, 6500.0)
    layers = apply_tilted_transfer(image, OPTICS, defocus, tilt_angle=tilt, tilt_axis=axis)
    bands = apply_tilted_transfer_by_side_bands(image, OPTICS, defocus, tilt_angle=tilt, tilt_axis=axis)
    assert relative(layers, bands) < 1e-4
    heights = tilted_heights(size, pixel_size=1.7, tilt_angle=tilt, tilt_axis=axis, like=image)
    assert heights.max() > 200
    assert relative(layers, apply_transfer_pixel_by_pixel(image, OPTICS, defocus, heights=heights)) < 1e-4


def test_a_lattice_splits_into_two_spots_across_the_axis():
    # A wave of one frequency over a wide tilted field: the image has its power at k ± ½ λ k² ∇z.
    side, tilt, axis = 512, math.radians(80), 0.0
    optics = Optics(pixel_size=2.0, amplitude_contrast=0.0, spherical_aberration_mm=0.0)
    x, y = coordinates((side, side), pixel_size=2.0, dtype=torch.float64)
    k = 245 / (side * 2.0)
    envelope = torch.exp(-(x**2 + y**2) / (2 * 250.0**2))
    image = torch.cos(2 * math.pi * k * x) * envelope
    tilted = apply_tilted_transfer(image, optics, defocus_of(15000.0), tilt_angle=tilt, tilt_axis=axis)
    column = to_fourier(tilted).abs()[:, 245]
    rows = torch.arange(side)
    signed = torch.where(rows < side // 2, rows, rows - side) / (side * 2.0)
    expected = side_bands(one(k), one(0.0), optics=optics, tilt_angle=tilt, tilt_axis=axis)
    q = expected.displacement_y.item()
    assert q == pytest.approx(0.5 * optics.wavelength * k**2 * math.tan(tilt))
    assert expected.displacement_x.item() == 0
    above, below = column * (signed > 0), column * (signed < 0)
    for half, sign in ((above, 1), (below, -1)):
        centre = (half**2 * signed).sum() / (half**2).sum()
        assert centre.item() == pytest.approx(sign * q, abs=0.2 / (side * 2.0))


def test_heights_follow_the_right_hand_rule():
    heights = tilted_heights((9, 9), pixel_size=2.0, tilt_angle=0.5, tilt_axis=0.0)
    assert heights[4, 4] == 0
    assert heights[6, 1].item() == pytest.approx(4.0 * math.tan(0.5), rel=1e-6)  # axis along x: +y goes up the beam
    along_y = tilted_heights((9, 9), pixel_size=2.0, tilt_angle=0.5, tilt_axis=math.pi / 2)
    assert along_y[1, 6].item() == pytest.approx(-4.0 * math.tan(0.5), rel=1e-6)
    from cryowalk.geometry.rotations import matrix_from_rotation_vector

    axis = torch.tensor([math.cos(0.7), math.sin(0.7), 0.0], dtype=torch.float64)
    moved = matrix_from_rotation_vector(0.5 * axis) @ torch.tensor([3.0, 5.0, 0.0], dtype=torch.float64)
    height = math.tan(0.5) * (moved[1] * math.cos(0.7) - moved[0] * math.sin(0.7))
    assert height.item() == pytest.approx(moved[2].item())


def test_a_level_field_is_the_plain_transfer():
    image, defocus = noise(3, 20, 21), defocus_of(12000.0, 11000.0)
    optics = Optics(pixel_size=1.4, aberrations=Aberrations(odd_zernike=(0, 0, 20, 10)))
    from cryowalk.microscope.lens import antisymmetric_factor

    expected = to_fourier(image) * contrast_transfer(optics, defocus, size=(20, 21), gun=Gun())
    expected = to_real(expected * antisymmetric_factor(optics, size=(20, 21), like=image), width=21)
    got = apply_tilted_transfer(image, optics, defocus, tilt_angle=0.0, gun=Gun())
    torch.testing.assert_close(got, expected)
    raised = apply_transfer_over_heights(
        image, optics, defocus_of(11800.0, 10800.0), heights=torch.full((20, 21), 200.0), gun=Gun()
    )
    torch.testing.assert_close(raised, expected)


def test_pixels_exactly_on_a_layer_are_no_exception():
    image, defocus = noise(16, 16), defocus_of(9000.0)
    count = layer_count(math.pi * OPTICS.wavelength * 0.5 / 1.7**2 * 800)
    heights = torch.linspace(-800, 800, 256, dtype=torch.float64).reshape(16, 16).clone()
    heights.view(-1)[40 : 40 + count] = 800 * torch.cos(
        math.pi * (2 * torch.arange(count, dtype=torch.float64) + 1) / (2 * count)
    )
    for dtype in (torch.float32, torch.float64):
        fast = apply_transfer_over_heights(image.to(dtype), OPTICS, defocus, heights=heights.to(dtype))
        assert relative(fast.double(), apply_transfer_pixel_by_pixel(image, OPTICS, defocus, heights=heights)) < 1e-4


def test_layers_are_about_as_many_as_the_phase_needs():
    assert layer_count(0.0) == 1
    for phase in (0.5, 5.0, 40.0):
        assert phase < layer_count(phase) < phase + 8 + 6 * phase ** (1 / 3)


def test_a_point_of_a_tilted_field_has_the_rings_of_its_own_defocus():
    side = 128
    image = torch.zeros(side, side, dtype=torch.float64)
    image[100, 64] = 1.0
    optics, tilt = Optics(pixel_size=2.5), math.radians(50)
    seen = to_fourier(apply_tilted_transfer(image, optics, defocus_of(20000.0), tilt_angle=tilt)) / to_fourier(image)
    own = contrast_transfer(optics, defocus_of(20000.0 + 36 * 2.5 * math.tan(tilt)), size=(side, side))
    assert (seen.real - own).abs().max() < 2e-4
    with_wrong_sign = contrast_transfer(optics, defocus_of(20000.0 - 36 * 2.5 * math.tan(tilt)), size=(side, side))
    assert (seen.real - with_wrong_sign).abs().max() > 0.1


def test_what_cannot_be_is_refused():
    with pytest.raises(UsageError, match="tilt angle"):
        tilted_heights((8, 8), pixel_size=1.0, tilt_angle=math.pi / 2)
    with pytest.raises(ShapeError, match="one height a pixel"):
        apply_transfer_over_heights(noise(8, 8), OPTICS, defocus_of(9e3), heights=torch.zeros(8, 9))
    with pytest.raises(UsageError, match="thickness"):
        thickness_averaged_power(one(0.1), optics=OPTICS, defocus=defocus_of(9e3), thickness=-5.0)
    with pytest.raises(UsageError, match="thickness"):
        thickness_node(OPTICS, thickness=0.0)


# ---------------------------------------------------------------- thickness


@pytest.mark.parametrize("thickness", [0.0, 300.0, 2000.0])
def test_the_power_of_a_slab_is_the_mean_over_its_depth(thickness):
    k = torch.linspace(0.01, 0.3, 40, dtype=torch.float64)
    depths = np.linspace(-0.5, 0.5, 20001) * thickness
    chi = (
        np.pi
        * OPTICS.wavelength
        * ((11000 + depths)[:, None] * k.numpy() ** 2 - 0.5 * 2.7e7 * OPTICS.wavelength**2 * k.numpy() ** 4)
    )
    expected = (np.sin(chi + np.arcsin(0.08)) ** 2).mean(axis=0)
    got = thickness_averaged_power(k, optics=OPTICS, defocus=defocus_of(11000.0), thickness=thickness)
    np.testing.assert_allclose(got, expected, atol=2e-4)


def test_rings_vanish_at_the_node_and_come_back_inverted():
    thickness = 1500.0
    node = thickness_node(OPTICS, thickness=thickness)
    assert node == pytest.approx(1 / math.sqrt(OPTICS.wavelength * thickness))
    assert thickness_of_node(OPTICS, frequency=node) == pytest.approx(thickness)
    defocus = defocus_of(20000.0)
    k = torch.tensor([node, 1.2 * node], dtype=torch.float64)
    thin = thickness_averaged_power(k, optics=OPTICS, defocus=defocus, thickness=0.0)
    thick = thickness_averaged_power(k, optics=OPTICS, defocus=defocus, thickness=thickness)
    assert thick[0].item() == pytest.approx(0.5, abs=1e-12)
    assert ((thin[1] - 0.5) * (thick[1] - 0.5)).item() < 0
    batch = Defocus(
        **{
            n: torch.full((3,), v, dtype=torch.float64)
            for n, v in {"major": 2e4, "minor": 2e4, "azimuth": 0, "phase_shift": 0}.items()
        }
    )
    assert thickness_averaged_power(k, optics=OPTICS, defocus=batch, thickness=10.0).shape == (3, 2)
