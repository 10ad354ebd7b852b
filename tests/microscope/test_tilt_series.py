"""Simulated tilt series: the scheme, the geometry, the slab, the dose, and the beads are what the truth says."""

import math
from dataclasses import replace

import pytest
import torch

from cryowalk.core.errors import UsageError
from cryowalk.data.atoms import Atoms
from cryowalk.data.optics import Optics
from cryowalk.data.pose import Pose
from cryowalk.data.volume import Volume
from cryowalk.fourier.grids import frequency_radius
from cryowalk.fourier.transform import resize, to_fourier, to_real
from cryowalk.microscope import absorption, damage, ice
from cryowalk.microscope.exposure import electrons_per_pixel
from cryowalk.microscope.image_formation import form_images
from cryowalk.microscope.scattering import project
from cryowalk.microscope.simulate import tilt_series as room
from cryowalk.microscope.simulate.scene import place_of
from cryowalk.microscope.simulate.specimens import Source, prepare_specimens
from cryowalk.microscope.simulate.tilt_scheme import tilt_angles
from cryowalk.microscope.simulate.tilted_slab import image_of_ice
from cryowalk.microscope.tilt_settings import TiltSeriesSimulationSettings
from cryowalk.numerics.random import generator as generator_of

OPTICS = Optics(pixel_size=5.0)
SMALL = TiltSeriesSimulationSettings(
    size=(160, 120), particles=4, beads=3, thickness=400.0, tilt_step_degrees=20.0, camera="ideal", noise="none", ice="smooth"
)


@pytest.fixture(scope="module")
def specimens():
    source = generator_of(4)
    molecule = Atoms(
        positions=(20 * torch.randn(600, 3, generator=source, dtype=torch.float64)).clamp(-45, 45)
        * torch.tensor([1.0, 0.6, 0.4]),
        atomic_numbers=torch.full((600,), 6),
        b_factors=torch.full((600,), 80.0, dtype=torch.float64),
        occupancies=torch.ones(600, dtype=torch.float64),
    )
    return prepare_specimens([Source(structure=molecule)], OPTICS, height=2000.0)


def series_of(specimens, seed=5, **choices):
    return room.draw_series(specimens, OPTICS, replace(SMALL, **choices), seed=seed)


def degrees(angles):
    return [round(value, 6) for value in (angles * 180 / math.pi).tolist()]


def test_the_order_of_tilts_is_that_of_the_scheme():
    step, largest = math.radians(3), math.radians(9)
    assert degrees(tilt_angles("dose_symmetric", largest=largest, step=step)) == [0, 3, -3, 6, -6, 9, -9]
    assert degrees(tilt_angles("bidirectional", largest=largest, step=step)) == [0, 3, 6, 9, -3, -6, -9]
    assert degrees(tilt_angles("continuous", largest=largest, step=step)) == [-9, -6, -3, 0, 3, 6, 9]
    assert len(tilt_angles("dose_symmetric", largest=math.radians(60), step=step)) == 41
    assert degrees(tilt_angles("continuous", largest=math.radians(10), step=math.radians(4))) == [-8, -4, 0, 4, 8]
    assert degrees(tilt_angles("dose_symmetric", largest=0.0, step=step)) == [0]


def test_wrong_tilts_are_refused():
    for largest, step in ((1.0, 0.0), (1.0, -0.1), (1.5, 0.1), (-0.1, 0.1)):
        with pytest.raises(UsageError):
            tilt_angles("continuous", largest=largest, step=step)


def test_tilts_are_sorted_and_doses_follow_the_acquisition(specimens):
    truth = series_of(specimens, dose=3.0).truth
    assert degrees(truth.tilt_angle) == [-60, -40, -20, 0, 20, 40, 60]
    assert truth.order.tolist() == [6, 4, 2, 0, 1, 3, 5]
    assert truth.dose_before.tolist() == [18.0, 12.0, 6.0, 0.0, 3.0, 9.0, 15.0]
    last = int(truth.order.argmax())
    assert truth.dose_before[last] + truth.dose == 3.0 * 7  # the last tilt ends with the whole dose


def test_the_slab_at_sixty_degrees_is_twice_as_thick(specimens):
    """Without particles and beads the electrons that are left are exp(−t / Λ cos θ) of the dose's."""
    series = series_of(specimens, particles=0, beads=0, thickness=1500.0, tilt_error_degrees=0.0)
    sent = electrons_per_pixel(OPTICS, dose=3.0)
    for tilt, path in ((3, 1500.0), (0, 3000.0), (6, 3000.0)):
        left = room.tilt_image(series, tilt).mean().item() / sent
        assert left == pytest.approx(math.exp(-path / absorption.mean_free_path(300.0)), rel=1e-5)


def test_the_defocus_rises_as_the_tangent_of_the_tilt(specimens):
    truth = series_of(specimens, tilt_error_degrees=0.0, tilt_axis_degrees=30.0).truth
    plane = torch.rand(50, 3, generator=generator_of(1), dtype=torch.float64) - 0.5
    plane = 800 * plane * torch.tensor([1.0, 1.0, 0.0])  # the slab's middle
    seen = truth.seen(plane)
    axis = torch.tensor([math.cos(truth.tilt_axis), math.sin(truth.tilt_axis)], dtype=torch.float64)
    for tilt, angle in enumerate(truth.tilt_angle.tolist()):
        pixels = seen[tilt, :, :2] - torch.tensor([80, 60]) - truth.shift[tilt] / 5.0
        across = 5.0 * (pixels[:, 1] * axis[0] - pixels[:, 0] * axis[1])
        torch.testing.assert_close(seen[tilt, :, 2], across * math.tan(angle), atol=1e-9, rtol=1e-9)
    assert truth.tilt_axis == pytest.approx(math.radians(120))  # 30° from +y towards −x


def test_points_on_the_axis_stay_and_matrices_say_the_same(specimens):
    truth = series_of(specimens, shift_error=0.0).truth
    on_axis = torch.tensor([[0.0, 0.0, 0.0], [0.0, 200.0, 0.0]], dtype=torch.float64)
    seen = truth.seen(on_axis)
    torch.testing.assert_close(seen, seen[:1].expand_as(seen), atol=1e-9, rtol=0)
    moved = series_of(specimens).truth
    matrices = moved.projection_matrices(centre=(50.0, 60.0, 20.0))
    points = moved.positions / 5.0 + torch.tensor([50.0, 60.0, 20.0])
    homogeneous = torch.cat([points, torch.ones(len(points), 1)], dim=1)
    projected = torch.einsum("tij,nj->tni", matrices, homogeneous)
    torch.testing.assert_close(projected[..., :2], moved.seen(moved.positions)[..., :2], atol=1e-9, rtol=0)
    torch.testing.assert_close(5.0 * projected[..., 2], moved.seen(moved.positions)[..., 2], atol=1e-8, rtol=0)


def test_particles_are_where_the_truth_says(specimens):
    series = series_of(specimens)
    for tilt in (0, 3, 5):
        place = place_of(series.scene, room.view_of(series, tilt))
        seen = series.truth.seen(series.truth.positions)[tilt]
        torch.testing.assert_close(place[:, :2] / 5.0, seen[:, :2], atol=1e-9, rtol=0)
        torch.testing.assert_close(place[:, 2], seen[:, 2], atol=1e-9, rtol=0)


def test_beads_are_seen_where_the_geometry_puts_them(specimens):
    """The centre of what a bead takes away lies within 0.1 px of its projected place, in focus where nothing is spread."""
    series = series_of(
        specimens, particles=0, beads=2, defocus_range=(0.0, 0.0), defocus_error=0.0, astigmatism=0.0, bead_radius=40.0
    )
    tested = 0
    for tilt in range(7):
        dark = 1 - room.noiseless_intensity(series, tilt)
        top, left = series.canvas.corner
        places = series.truth.seen(series.truth.bead_positions)[tilt, :, :2]
        for number, (x, y) in enumerate(places.tolist()):
            others = torch.cat([places[:number], places[number + 1 :]])
            alone = len(others) == 0 or (others - torch.tensor([x, y])).norm(dim=1).min() > 50
            if not (25 < x < 135 and 25 < y < 95 and alone):
                continue
            column, row = round(x) + left, round(y) + top
            patch = dark[row - 16 : row + 17, column - 16 : column + 17].double()
            patch = torch.where(patch > 0.3 * patch.max(), patch, 0)
            offset = torch.arange(-16.0, 17.0, dtype=torch.float64)
            found_x = column - left + (patch.sum(0) * offset).sum() / patch.sum()
            found_y = row - top + (patch.sum(1) * offset).sum() / patch.sum()
            assert found_x.item() == pytest.approx(x, abs=0.1)
            assert found_y.item() == pytest.approx(y, abs=0.1)
            tested += 1
    assert tested >= 4


def test_beads_are_dark_and_lie_on_both_surfaces(specimens):
    series = series_of(specimens, particles=0, beads=12)
    heights = series.truth.bead_positions[:, 2]
    assert set(heights.tolist()) == {-(200.0 + 50.0), 250.0}
    assert room.tilt_image(series, 3).min() < 0.75 * room.tilt_image(series, 3).median()


def test_a_particle_in_each_tilt_is_the_true_projection_through_the_lens(specimens):
    series = series_of(specimens, beads=0, damage="none", particles=3, shift_error=10.0, size=(240, 240))
    truth, volume = series.truth, specimens.volumes[0]
    side = 90
    checked = 0
    for tilt in range(7):
        image = (1 - series.canvas.crop(room.noiseless_intensity(series, tilt))) / 2
        places = truth.seen(truth.positions)[tilt]
        for number, (x, y, z) in enumerate(places.tolist()):
            others = torch.cat([places[:number], places[number + 1 :]])[:, :2]
            alone = (others - torch.tensor([x, y])).norm(dim=1).min() > 60 if len(others) else True
            if not (46 < x < 194 and 46 < y < 194 and alone):
                continue
            pixel = torch.tensor([round(x), round(y)])
            shift = (torch.tensor([[x, y]]) - pixel) * 5.0
            rotation = (truth.lab_from_specimen[tilt] @ truth.specimen_from_particle[number])[None]
            still = Pose(lab_from_particle=rotation, shift=torch.zeros(1, 2, dtype=torch.float64))
            box = Volume(voxels=resize(volume.voxels, (side, side, side)), voxel_size=5.0)
            here = truth.defocus_of(tilt)
            local = replace(
                here,
                **{name: (getattr(here, name) + z)[None] for name in ("major", "minor")},
                **{name: getattr(here, name)[None] for name in ("azimuth", "phase_shift", "b_factor")},
            )
            expected = form_images(project(box, still).float(), OPTICS, local, shift=shift.float()).images[0]
            row, column = int(pixel[1]), int(pixel[0])
            found = image[row - 45 : row + 45, column - 45 : column + 45]
            agreement = torch.corrcoef(torch.stack([found.reshape(-1), expected.reshape(-1)]))[0, 1].item()
            assert agreement > 0.97
            checked += 1
    assert checked >= 3


def test_damage_fades_the_later_tilts_more(specimens):
    """The image of an aged specimen is that of a fresh one, filtered with what the dose before and during the tilt leaves."""
    fresh, aged = (series_of(specimens, beads=0, damage=how, dose=10.0) for how in ("none", "critical_exposure"))
    for tilt in (3, 6):
        before, after = (1 - room.noiseless_intensity(series, tilt) for series in (fresh, aged))
        frequency = frequency_radius(before.shape, pixel_size=5.0)
        dose_before = {3: 0.0, 6: 50.0}[tilt]
        left = damage.attenuation(frequency, dose_before=dose_before, dose=10.0, voltage_kv=300.0)
        expected = to_real(to_fourier(before) * left, width=before.shape[-1])
        # the filter acts on each particle's own box, which cuts its long tails
        assert (after - expected).norm() / expected.norm() < {3: 0.03, 6: 0.1}[tilt]
        assert (after - before).norm() / before.norm() > {3: 0.02, 6: 0.1}[tilt]


def test_the_power_of_the_ice_is_its_spectrum_through_the_lens_of_each_place(specimens):
    series = series_of(specimens, thickness=800.0, defocus_range=(30000.0, 30000.0), b_factor=0.0, convergence=1e-9)
    truth = series.truth
    for tilt in (3, 6):
        fields = [
            image_of_ice(truth, tilt, canvas=series.canvas, instrument=series.instrument, generator=generator_of(seed))
            for seed in range(4)
        ]
        power = torch.stack([to_fourier(field.double()).abs() ** 2 for field in fields]).mean(dim=0)
        frequency = frequency_radius(series.canvas.size, pixel_size=5.0, dtype=torch.float64)
        path = 800.0 / math.cos(truth.true_tilt_angle[tilt].item())
        band = (frequency > 0.03) & (frequency < 0.085)
        ratio = (power[band].sum() / (ice.power(frequency[band], thickness=path) / 25.0).sum()).item()
        assert ratio == pytest.approx(0.5, abs=0.06)  # the mean of CTF² over many oscillations


def test_strips_of_ice_blend_without_a_seam(specimens):
    series = series_of(specimens, thickness=800.0)
    fields = torch.stack(
        [
            image_of_ice(series.truth, 6, canvas=series.canvas, instrument=series.instrument, generator=generator_of(seed))
            for seed in range(60)
        ]
    )
    spread = torch.nn.functional.avg_pool2d(fields.var(dim=0)[None], 24)[0]
    assert (spread / spread.mean() - 1).abs().max() < 0.35


def test_the_same_seed_gives_the_same_tilts_in_any_order(specimens):
    noisy = {"noise": "poisson", "ice": "grainy", "camera": "k3"}
    first, second, other = (series_of(specimens, seed=seed, **noisy) for seed in (5, 5, 6))
    later = room.tilt_image(second, 4)
    room.tilt_image(first, 0)
    assert torch.equal(room.tilt_image(first, 4), later)
    assert not torch.equal(room.tilt_image(other, 4), later)
    assert torch.equal(torch.cat(list(room.tilt_images(first, start=5)))[0], room.tilt_image(second, 5))


def test_stage_errors_have_the_size_that_was_asked_for(specimens):
    many = series_of(
        specimens, tilt_step_degrees=0.5, shift_error=15.0, tilt_error_degrees=0.2, defocus_error=250.0, beads=0, particles=0
    )
    truth = many.truth
    assert truth.shift.std().item() == pytest.approx(15.0, rel=0.15)
    assert degrees((truth.true_tilt_angle - truth.tilt_angle).std()[None])[0] == pytest.approx(0.2, rel=0.15)
    assert truth.defocus.major.std().item() == pytest.approx(250.0, rel=0.15)


def test_the_specimen_reaches_as_far_as_any_tilt_sees(specimens):
    truth = series_of(specimens, particles=12, thickness=300.0).truth
    for tilt in (0, 3, 6):
        seen = truth.seen(truth.positions)[tilt]
        inside = ((seen[:, 0] > 0) & (seen[:, 0] < 159) & (seen[:, 1] > 0) & (seen[:, 1] < 119)).sum().item()
        expected = 12 / math.cos(truth.true_tilt_angle[tilt].item())
        assert inside == pytest.approx(expected, abs=4 * math.sqrt(expected))
        assert inside > 4
    assert (truth.positions[:, 2].abs() < 150.0).all()


def test_wrong_requests_are_refused(specimens):
    for choices, word in (
        ({"thickness": -5.0}, "thickness"),
        ({"dose": 0.0}, "dose"),
        ({"largest_tilt_degrees": 88.0}, "largest_tilt"),
        ({"tilt_step_degrees": 0.0}, "tilt_step"),
        ({"defocus_range": (3e4, 1e4)}, "defocus_range"),
        ({"camera": "box"}, "box"),
        ({"thickness": 40.0}, "ice"),
    ):
        with pytest.raises(UsageError, match=word):
            series_of(specimens, **choices)
