"""What the figures show is what they were given, in the right place, with the right unit."""

import subprocess
import sys

import matplotlib as mpl
import numpy as np
import pytest
import torch

from cryowalk import view
from cryowalk.core.errors import UsageError
from cryowalk.data import ImageStack, Micrograph, ParticleSet, Pose, Volume
from cryowalk.geometry.sampling import random_rotations
from cryowalk.view import canvas, spectra

PNG = b"\x89PNG"


def pictures(figure) -> list[np.ndarray]:
    return [np.asarray(axes.images[0].get_array()) for axes in figure.axes if axes.images]


def test_slices_show_the_planes_through_the_origin_pixel_at_their_places(blob):
    figure = view.slices(blob)
    xy, xz, yz = pictures(figure)
    voxels = blob.voxels.double().numpy()
    np.testing.assert_array_equal(xy, voxels[10, :, :])
    np.testing.assert_array_equal(xz, voxels[:, 12, :])
    np.testing.assert_array_equal(yz, voxels[:, :, 15])
    assert [(a.get_xlabel(), a.get_ylabel()) for a in figure.axes] == [
        ("x (Å)", "y (Å)"),
        ("x (Å)", "z (Å)"),
        ("y (Å)", "z (Å)"),
    ]


def test_the_brightest_point_is_drawn_at_its_coordinates_in_angstrom(blob):
    figure = view.slices(blob, through=(9.0, 4.0, -3.0))
    for axes, place in zip(figure.axes, ((9.0, 4.0), (9.0, -3.0), (4.0, -3.0)), strict=True):
        drawn = axes.images[0]
        left, right, bottom, top = drawn.get_extent()
        row, column = np.unravel_index(np.argmax(drawn.get_array()), drawn.get_array().shape)
        height, width = drawn.get_array().shape
        assert drawn.origin == "lower"
        across, up = left + (column + 0.5) * (right - left) / width, bottom + (row + 0.5) * (top - bottom) / height
        assert (across, up) == pytest.approx(place, abs=blob.voxel_size / 2)


def test_projections_are_integrals_in_angstrom(blob):
    sums = pictures(view.projections(blob))
    for picture, axis in zip(sums, (0, 1, 2), strict=True):
        np.testing.assert_allclose(picture, blob.voxels.double().sum(axis).numpy() * blob.voxel_size, rtol=1e-12)


def test_a_slice_outside_the_map_is_refused_with_the_allowed_range(blob):
    with pytest.raises(UsageError, match=r"lies outside the map[\s\S]*-17 to 15.3 Å"):
        view.slices(blob, through=(0.0, 0.0, 17.0))


def test_one_grey_range_a_map_ignores_hot_voxels(blob):
    hot = blob.voxels.clone()
    hot[10, 12, 15] = 1e6
    figure = view.slices({"clean": blob, "hot": Volume(voxels=hot, voxel_size=blob.voxel_size)})
    limits = [axes.images[0].get_clim() for axes in figure.axes]
    assert limits[0] == limits[1] == limits[2]
    assert limits[3] == limits[4] == limits[5]
    assert limits[3][1] < 2


def test_a_constant_map_can_be_drawn():
    assert view.slices(Volume(voxels=torch.zeros(6, 6, 6), voxel_size=2.0))._repr_png_().startswith(PNG)


@pytest.mark.parametrize(("target", "length"), [(4.99, 2), (5.0, 5), (19.9, 10), (20.0, 20), (0.7, 0.5), (999.0, 500)])
def test_scale_bars_have_round_lengths(target, length):
    assert canvas.round_length(target) == pytest.approx(length)


def test_the_scale_bar_has_its_stated_length(blob):
    axes = view.slices(blob).axes[0]
    start, end = axes.lines[0].get_xdata()
    assert f"{end - start:g} Å" in [text.get_text() for text in axes.texts]
    assert end - start == pytest.approx(10)


def test_fsc_names_each_crossing_and_marks_it_where_it_is(curve):
    figure = view.fsc({"half maps": curve(0.1), "never crosses": curve(0.9)})
    texts = [text.get_text() for text in figure.legends[0].get_texts()]
    assert texts == ["half maps: 10.00 Å at 0.5, 7.88 Å at 0.143", "never crosses: no crossing before Nyquist"]
    marks = [(line.get_xdata()[0], line.get_ydata()[0]) for line in figure.axes[0].lines if line.get_marker() == "o"]
    assert marks == [pytest.approx((0.1, 0.5)), pytest.approx((0.12686, 0.143), abs=1e-4)]
    assert "10.00 Å at 0.5" in figure.get_label()


def test_the_upper_axis_of_an_fsc_is_the_resolution_in_angstrom(curve):
    figure = view.fsc(curve(0.1))
    figure.canvas.draw()
    upper = figure.axes[0].child_axes[0]
    for place, label in zip(upper.get_xticks(), upper.get_xticklabels(), strict=True):
        assert 1 / place == pytest.approx(float(label.get_text()))
    assert len(upper.get_xticks()) > 5


def test_a_guinier_plot_of_a_b_factor_is_the_straight_line_that_it_draws(cube):
    figure = view.guinier(cube, b_factor=80.0, from_resolution=12.0)
    measured, line = figure.axes[0].lines
    slope = np.polyfit(measured.get_xdata(), measured.get_ydata(), 1)[0]
    assert slope == pytest.approx(-20, abs=1.5)
    drawn = np.diff(line.get_ydata()) / np.diff(line.get_xdata())
    np.testing.assert_allclose(drawn, -20)
    beyond = measured.get_xdata() >= 1 / 12.0**2
    np.testing.assert_allclose(np.mean(measured.get_ydata()[beyond]), np.mean(line.get_ydata()))


def test_a_power_spectrum_puts_a_wave_at_its_frequency_and_its_mirror(generator):
    height, width, pixel_size = 30, 41, 1.3
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    wave = torch.cos(2 * torch.pi * (7 * x / width + 4 * y / height)) + 0.01 * torch.randn(height, width, generator=generator)
    drawn = spectra.power_spectrum(Micrograph(pixels=wave, pixel_size=pixel_size)).axes[0].images[0]
    power = np.asarray(drawn.get_array())
    left, right, bottom, top = drawn.get_extent()
    brightest = np.argsort(power.ravel())[-2:]
    rows, columns = np.unravel_index(brightest, power.shape)
    across = left + (columns + 0.5) * (right - left) / width
    up = bottom + (rows + 0.5) * (top - bottom) / height
    found = sorted(zip(across.tolist(), up.tolist(), strict=True))
    expected = [(-7 / (width * pixel_size), -4 / (height * pixel_size)), (7 / (width * pixel_size), 4 / (height * pixel_size))]
    assert found == [pytest.approx(one) for one in expected]


def test_a_noise_spectrum_lies_on_its_shells():
    figure = spectra.noise_spectrum({"white": torch.ones(13)}, box=25, pixel_size=1.7)
    line = figure.axes[0].lines[0]
    np.testing.assert_allclose(line.get_xdata(), np.arange(13) / (25 * 1.7))


def test_views_from_one_side_are_dense_there_and_nowhere_else(generator):
    rotations = random_rotations(4000, generator=generator)
    seen = rotations[rotations[:, 2, 1] > 0.7]  # Rᵀ ẑ near +y: azimuth 90°
    pose = Pose(lab_from_particle=seen, shift=torch.zeros(len(seen), 2, dtype=seen.dtype))
    mesh = view.viewing_directions(pose).axes[0].collections[0]
    colours = np.asarray(mesh.get_array()).reshape(180, 360, 3)
    near, far = colours[85:95, 265:275].mean(axis=(0, 1)), colours[85:95, 85:95].mean(axis=(0, 1))
    viridis = mpl.colormaps["viridis"]
    np.testing.assert_allclose(far, viridis(0.0)[:3], atol=0.01)
    assert np.abs(near - far).sum() > 0.5


def test_equivalent_views_give_the_same_map(generator):
    from cryowalk.geometry.symmetry import symmetry_operators

    rotations = random_rotations(300, generator=generator)
    operators = symmetry_operators("D2")
    turned = rotations @ operators[torch.randint(4, (300,), generator=generator)]

    def colours(matrices: torch.Tensor) -> np.ndarray:
        pose = Pose(lab_from_particle=matrices, shift=torch.zeros(300, 2, dtype=matrices.dtype))
        return np.asarray(view.viewing_directions(pose, symmetry="D2").axes[0].collections[0].get_array())

    assert np.mean(np.abs(colours(rotations) - colours(turned)) > 1e-6) < 0.02  # views on a border may change pixel


def test_no_poses_are_refused():
    with pytest.raises(UsageError, match="no poses"):
        view.viewing_directions(Pose(lab_from_particle=torch.zeros(0, 3, 3), shift=torch.zeros(0, 2)))


def test_a_gallery_shows_the_chosen_images_in_order(generator):
    stack = ImageStack(pixels=torch.randn(9, 14, 17, generator=generator), pixel_size=1.7)
    shown = pictures(view.images(stack, indices=[8, 2], labels=["a", "b"]))
    for picture, index in zip(shown, (8, 2), strict=True):
        np.testing.assert_array_equal(picture, stack.pixels[index].double().numpy())
    assert len(pictures(view.images(stack))) == 9


@pytest.mark.parametrize(
    ("indices", "labels", "words"),
    [([9], [], "image 9 does not exist"), ([-1], [], "image -1"), ([], [], "no image was chosen"), ([0], ["a", "b"], "2 labels")],
)
def test_a_gallery_refuses_what_it_cannot_show(generator, indices, labels, words):
    stack = ImageStack(pixels=torch.randn(9, 14, 17, generator=generator), pixel_size=1.7)
    with pytest.raises(UsageError, match=words):
        view.images(stack, indices=indices, labels=labels)


def test_a_gallery_of_particles_without_images_is_refused():
    from cryowalk.data import Optics

    with pytest.raises(UsageError, match="no images"):
        view.images(ParticleSet(optics=(Optics(pixel_size=1.7),), optics_index=torch.zeros(3, dtype=torch.long)))


@pytest.mark.parametrize("form", ["png_bytes", "svg_bytes"])
def test_the_same_figure_gives_the_same_bytes(curve, form):
    write = getattr(canvas, form)
    first, second = (write(view.fsc(curve(0.1))) for _ in range(2))
    assert first == second
    assert b"Matplotlib" not in first
    assert b"dc:date" not in first


def test_drawing_leaves_matplotlib_as_it_was(blob, curve):
    before = dict(mpl.rcParams)
    view.slices(blob)._repr_png_()
    view.fsc(curve(0.1))._repr_png_()
    assert dict(mpl.rcParams) == before


def test_neither_pyplot_nor_a_drawing_library_is_loaded_before_it_is_needed():
    script = (
        "import sys, torch, cryowalk.view\n"
        "assert not {'matplotlib', 'plotly', 'jinja2', 'skimage'} & set(sys.modules)\n"
        "from cryowalk.data import Volume\n"
        "cryowalk.view.slices(Volume(voxels=torch.rand(4, 4, 4), voxel_size=2.0))._repr_png_()\n"
        "assert 'matplotlib.pyplot' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
