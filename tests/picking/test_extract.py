"""Boxes cut from micrographs: exact pixels, origins, scaling, background, dust, and what is left out."""

import math
from dataclasses import replace

import pytest
import torch

from cryowalk.core.errors import InputError, ShapeError, UsageError
from cryowalk.data import Defocus, Micrograph, Optics, ParticleSet, Pose
from cryowalk.geometry.sampling import random_rotations
from cryowalk.picking import ExtractionSettings, extract_particles
from cryowalk.picking.background import background_mask, background_statistics, plane_of_background
from cryowalk.picking.extract import origin_shift, place_boxes, recentred

PIXEL_SIZE = 1.7
RAW = ExtractionSettings(box=20, contrast="bright", normalise="none")


def micrograph(generator, *, height=90, width=120) -> Micrograph:
    return Micrograph(pixels=torch.randn(height, width, generator=generator) + 5.0, pixel_size=PIXEL_SIZE, name="m.mrc")


def picks(places, **more) -> ParticleSet:
    coordinates = torch.tensor(places, dtype=torch.float64).reshape(-1, 2)
    count = len(coordinates)
    return ParticleSet(
        optics=(Optics(pixel_size=PIXEL_SIZE),),
        optics_index=torch.zeros(count, dtype=torch.long),
        coordinates=coordinates,
        **more,
    )


def posed(places, shifts, generator) -> ParticleSet:
    rotations = random_rotations(len(places), generator=generator)
    return picks(places, pose=Pose(lab_from_particle=rotations, shift=torch.tensor(shifts, dtype=torch.float64)))


@pytest.mark.parametrize("box", [20, 21])
def test_a_box_is_the_micrographs_pixels_where_nothing_else_is_asked(box, generator):
    image = micrograph(generator)
    found = extract_particles(image, picks([[60, 40], [33, 71]]), replace(RAW, box=box))
    half = box // 2
    for pixels, (x, y) in zip(found.particles.images.pixels, [(60, 40), (33, 71)], strict=True):
        assert torch.equal(pixels, image.pixels[y - half : y - half + box, x - half : x - half + box])
        assert pixels[half, half] == image.pixels[y, x]  # the origin pixel is the picked one
    assert found.particles.coordinates.tolist() == [[60, 40], [33, 71]]
    assert "rlnOriginXAngst" not in found.particles.extra


def test_the_fraction_of_a_pixel_is_kept_as_the_origin(generator):
    places = [[60.3, 40.7], [33.5, 50.5], [47.0, 44.49]]
    found = extract_particles(micrograph(generator), picks(places), RAW).particles
    assert found.coordinates.tolist() == [[60, 41], [34, 51], [47, 44]]
    back = found.coordinates + origin_shift(found) / PIXEL_SIZE
    assert torch.allclose(back, torch.tensor(places, dtype=torch.float64), atol=1e-6)
    assert [float(x) for x in found.extra["rlnOriginXAngst"]] == pytest.approx([-0.3 * 1.7, 0.5 * 1.7, 0], abs=1e-6)


def test_position_is_the_same_before_and_after_with_and_without_recentring(generator):
    before = posed([[60.3, 40.0], [50.0, 44.8]], [[4.0, -7.3], [-11.0, 2.0]], generator)
    where = before.coordinates + before.pose.shift / PIXEL_SIZE
    image = micrograph(generator)
    kept = extract_particles(image, before, RAW).particles
    moved = extract_particles(image, recentred(before, pixel_size=PIXEL_SIZE), RAW).particles
    for after in (kept, moved):
        assert torch.allclose(after.coordinates + after.pose.shift / PIXEL_SIZE, where, atol=1e-9)
        assert torch.equal(after.coordinates, after.coordinates.round())
    assert kept.coordinates.tolist() == [[60, 40], [50, 45]]
    assert float(moved.pose.shift.abs().max()) <= 0.5 * PIXEL_SIZE + 1e-9
    assert torch.equal(moved.pose.lab_from_particle, before.pose.lab_from_particle)


def test_recentring_without_angles_uses_relions_origins(generator):
    before = picks([[60, 40]], extra={"rlnOriginXAngst": ("-3.4",), "rlnOriginYAngst": ("1.7",), "own": ("a",)})
    moved = recentred(before, pixel_size=PIXEL_SIZE)
    assert moved.coordinates[0].tolist() == pytest.approx([62, 39])
    assert moved.extra == {"own": ("a",)}
    kept = extract_particles(micrograph(generator), before, RAW).particles
    assert float(kept.extra["rlnOriginXAngst"][0]) == pytest.approx(-3.4)
    with pytest.raises(InputError, match="no number"):
        origin_shift(picks([[1, 1]], extra={"rlnOriginXAngst": ("x",)}))


def test_a_point_of_the_particle_becomes_the_middle(generator):
    defocus = Defocus(
        major=torch.tensor([9000.0]).double(),
        minor=torch.tensor([8000.0]).double(),
        azimuth=torch.zeros(1),
        phase_shift=torch.zeros(1),
    )
    before = replace(posed([[60.0, 40.0]], [[1.0, 2.0]], generator), defocus=defocus)
    point = torch.tensor([10.0, -20.0, 5.0], dtype=torch.float64)
    moved = recentred(before, pixel_size=PIXEL_SIZE, point=tuple(point.tolist()))
    turned = before.pose.lab_from_particle[0] @ point
    assert torch.allclose(
        moved.coordinates[0] * PIXEL_SIZE, torch.tensor([60.0, 40.0]) * PIXEL_SIZE + torch.tensor([1.0, 2.0]) + turned[:2]
    )
    assert float(moved.defocus.major) == pytest.approx(
        9000 + float(turned[2])
    )  # a point farther along the beam has a larger underfocus
    assert float(moved.pose.shift.abs().max()) == 0
    with pytest.raises(InputError, match="no poses"):
        recentred(picks([[60, 40]]), pixel_size=1.0, point=(1.0, 0.0, 0.0))


@pytest.mark.parametrize(("box", "scale"), [(32, 20), (33, 21), (32, 21), (33, 20)])
def test_fourier_scaling_keeps_the_values_of_a_band_limited_image(box, scale, generator):
    factor = box / scale
    y, x = (
        torch.arange(side, dtype=torch.float64)[shape] for side, shape in ((90, (slice(None), None)), (120, (None, slice(None))))
    )
    a, b = 2 * math.pi * 3 / box, 2 * math.pi * 5 / box  # whole waves in the box
    wave = lambda x, y: 2 + torch.cos(a * x + b * y) + 0.5 * torch.sin(b * x - a * y)  # noqa: E731
    image = Micrograph(pixels=wave(x, y).float(), pixel_size=PIXEL_SIZE)
    found = extract_particles(image, picks([[60, 40]]), replace(RAW, box=box, scale=scale)).particles
    step = (torch.arange(scale, dtype=torch.float64) - scale // 2) * factor
    expected = wave(60 + step[None], 40 + step[:, None])
    assert torch.allclose(found.images.pixels[0].double(), expected, atol=2e-5)
    assert found.optics[0].pixel_size == pytest.approx(PIXEL_SIZE * factor)
    assert found.images.pixel_size == pytest.approx(PIXEL_SIZE * factor)
    assert found.optics[0].micrograph_pixel_size == pytest.approx(PIXEL_SIZE)
    assert found.optics[0].extra["rlnImageSize"] == str(scale)


@pytest.mark.parametrize("normalise", ["plane", "mean"])
def test_background_has_mean_0_and_deviation_1_and_contrast_is_inverted(normalise, generator):
    image = micrograph(generator)
    ramp = 0.05 * torch.arange(120) - 0.08 * torch.arange(90)[:, None]
    image = replace(image, pixels=3 * image.pixels + ramp)
    image.pixels[38:43, 58:63] -= 20  # a dark particle
    settings = ExtractionSettings(box=32, normalise=normalise, background_diameter=24 * PIXEL_SIZE)
    pixels = extract_particles(image, picks([[60, 40], [70, 50]]), settings).particles.images.pixels
    mask = background_mask(32, radius=12)
    mean, spread = background_statistics(pixels, mask=mask)
    assert mean.abs().max() < 1e-6
    assert spread.flatten().tolist() == pytest.approx([1, 1], abs=1e-5)
    assert pixels[0, 14:19, 14:19].mean() > 4  # and bright now
    slope = plane_of_background(pixels, mask=mask).std(dim=(1, 2))
    assert (slope.max() < 1e-5) if normalise == "plane" else (slope.min() > 0.2)
    bright = extract_particles(image, picks([[60, 40]]), replace(settings, contrast="bright")).particles.images.pixels
    assert torch.allclose(bright[0], -pixels[0], atol=1e-5)


def test_a_plane_is_found_exactly():
    y, x = torch.arange(21.0)[:, None] - 10, torch.arange(21.0) - 10
    plane = 3 + 0.2 * x - 0.7 * y
    particle = torch.zeros(21, 21)
    particle[8:13, 8:13] = 50
    assert torch.allclose(plane_of_background(plane + particle, mask=background_mask(21, radius=8)), plane, atol=1e-5)


def test_dust_becomes_noise_and_nothing_else_changes(generator):
    image = micrograph(generator)
    image.pixels[33, 52], image.pixels[48, 69] = 500.0, -300.0
    base = ExtractionSettings(box=32, contrast="bright", normalise="none", white_dust=8.0, black_dust=8.0)
    pixels = extract_particles(image, picks([[60, 40]]), base, generator=generator).particles.images.pixels[0]
    raw = extract_particles(image, picks([[60, 40]]), replace(RAW, box=32)).particles.images.pixels[0]
    changed = (pixels != raw).nonzero().tolist()
    assert changed == [[33 - 24, 52 - 44], [48 - 24, 69 - 44]]
    assert float(pixels.max()) < 150  # noise of the spread that the dust itself had
    only = extract_particles(
        image, picks([[60, 40]]), replace(base, white_dust=None), generator=generator
    ).particles.images.pixels[0]
    assert float(only.max()) == 500
    with pytest.raises(UsageError, match="generator"):
        extract_particles(image, picks([[60, 40]]), base)


def test_picks_whose_boxes_stick_out_are_left_out_and_counted(generator):
    places = [[60, 40], [9, 40], [10, 40], [110, 40], [111, 40], [60, 80], [60, 81], [-3, 40], [60, 89.6]]
    found = extract_particles(micrograph(generator), picks(places), RAW)
    assert found.kept.tolist() == [0, 2, 3, 5]
    assert (found.at_edge, found.outside, found.flat) == (3, 2, 0)
    assert len(found.particles) == found.particles.images.count == 4


def test_boxes_without_any_contrast_are_left_out(generator):
    image = micrograph(generator)
    image.pixels[:40, :40] = 7.5
    settings = ExtractionSettings(box=20, scale=10)
    found = extract_particles(image, picks([[20, 20], [60, 40]]), settings)
    assert found.flat == 1
    assert found.kept.tolist() == [1]
    assert found.particles.images.pixels.isfinite().all()


def test_no_picks_give_no_particles(generator):
    found = extract_particles(micrograph(generator), picks([]), RAW)
    assert len(found.particles) == found.particles.images.count == 0


def test_a_sink_gets_the_same_images_and_what_picks_know_is_kept(generator):
    class Sink:
        def __init__(self):
            self.parts = []

        def write(self, images):
            self.parts.append(images)

    more = {"micrograph_names": ("m", "m"), "extra": {"own": ("1", "2")}, "class_number": torch.tensor([4, 5])}
    image, chosen, sink = micrograph(generator), picks([[5, 5], [60, 40]], **more), Sink()
    settings = ExtractionSettings(box=24, scale=16)
    plain = extract_particles(image, chosen, settings)
    streamed = extract_particles(image, chosen, settings, sink=sink)
    assert torch.equal(torch.cat(sink.parts), plain.particles.images.pixels)
    assert streamed.particles.images is None
    assert streamed.particles.extra["own"] == ("2",)
    assert streamed.particles.class_number.tolist() == [5]
    assert streamed.kept.tolist() == [1]


def test_input_that_cannot_be_meant_is_told(generator):
    image = micrograph(generator)
    with pytest.raises(ShapeError, match=r"box of 91 px .* 120 × 90"):
        extract_particles(image, picks([[60, 40]]), replace(RAW, box=91))
    with pytest.raises(InputError, match="2 of 3 picks lie outside"):
        extract_particles(image, picks([[600, 40], [60, 40], [60, -40]]), RAW)
    with pytest.raises(UsageError, match="cannot be scaled"):
        extract_particles(image, picks([[60, 40]]), replace(RAW, scale=40))
    with pytest.raises(UsageError, match="no background"):
        extract_particles(image, picks([[60, 40]]), replace(RAW, normalise="mean", background_diameter=500.0))
    with pytest.raises(InputError, match="no positions"):
        extract_particles(image, replace(picks([[60, 40]]), coordinates=None), RAW)
    assert place_boxes(torch.zeros(0, 2), size=(90, 120), box=20).kept.tolist() == []


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device: extraction on a GPU was not tested")
def test_a_micrograph_on_a_gpu_gives_the_same_particles(generator):
    image = micrograph(generator)
    chosen = picks([[60.3, 40.0], [33.0, 71.0], [2.0, 2.0]])
    settings = ExtractionSettings(box=24, scale=16, white_dust=2.5)
    seeds = [torch.Generator().manual_seed(3) for _ in range(2)]
    here = extract_particles(image, chosen, settings, generator=seeds[0])
    there = extract_particles(replace(image, pixels=image.pixels.cuda()), chosen, settings, generator=seeds[1])
    assert there.particles.images.pixels.is_cuda
    assert torch.allclose(there.particles.images.pixels.cpu(), here.particles.images.pixels, atol=1e-4)
    assert torch.equal(there.particles.coordinates, here.particles.coordinates)
