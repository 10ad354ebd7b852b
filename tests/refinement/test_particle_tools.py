"""Expansion by a symmetry, removal of duplicates, subtraction of signal, and what is sorted from what is left."""

from dataclasses import replace

import pytest
import torch

from cryowalk.core.errors import InputError, UsageError
from cryowalk.data import Aberrations, Defocus, ImageStack, Optics, ParticleSet, Pose, Volume
from cryowalk.fourier.slices import extract_slices, prepare_volume
from cryowalk.fourier.transform import to_real
from cryowalk.geometry.sampling import random_rotations
from cryowalk.geometry.symmetry import distance_modulo_symmetry, symmetry_operators
from cryowalk.refinement.duplicates import find_duplicates, places_in_micrographs
from cryowalk.refinement.heterogeneous import classify_volumes
from cryowalk.refinement.heterogeneous_settings import HeterogeneousSettings
from cryowalk.refinement.subtraction import predicted, subtract, window_of, windows
from cryowalk.refinement.subtraction_settings import SubtractionSettings
from cryowalk.refinement.symmetry_expansion import expanded

from .two_states import ARMS, BOX, CORE, PIXEL, adjusted_rand_index, blobs, images_of, state, two_states

KEPT = HeterogeneousSettings(skip_align=True, iterations=6, starting_resolution=40.0)


NONE = Aberrations()


class Sink:
    def __init__(self):
        self.parts = []

    def write(self, images):
        self.parts.append(images)

    @property
    def images(self):
        return torch.cat(self.parts)


def seeded(seed=2):
    return torch.Generator().manual_seed(seed)


def ball(centre, radius, *, box=BOX):
    """A soft ball about a point (x, y, z in voxels from the middle)."""
    axis = torch.arange(box, dtype=torch.float32) - box // 2
    z, y, x = torch.meshgrid(axis, axis, axis, indexing="ij")
    distance = torch.sqrt((x - centre[0]) ** 2 + (y - centre[1]) ** 2 + (z - centre[2]) ** 2)
    return Volume(voxels=(1.5 - (distance - radius) / 2).clamp(0, 1), voxel_size=PIXEL)


def placed(count, *, micrographs=2, seed=1, width=900.0):
    """Particles with places and shifts in micrographs of 1.25 Å, their images of 2.5 Å."""
    generator = seeded(seed)
    zeros = torch.zeros(count, dtype=torch.float64)
    return ParticleSet(
        optics=(Optics(pixel_size=2.5, micrograph_pixel_size=1.25),),
        optics_index=torch.zeros(count, dtype=torch.int64),
        pose=Pose(
            lab_from_particle=random_rotations(count, generator=generator),
            shift=4 * torch.randn(count, 2, generator=generator, dtype=torch.float64),
        ),
        defocus=Defocus(major=zeros + 9e3, minor=zeros + 9e3, azimuth=zeros, phase_shift=zeros),
        coordinates=width * torch.rand(count, 2, generator=generator, dtype=torch.float64),
        micrograph_names=tuple(f"m{number % micrographs}.mrc" for number in range(count)),
        image_names=tuple(f"{number + 1:06d}@stack.mrcs" for number in range(count)),
    )


@pytest.mark.parametrize(("symmetry", "order"), [("C1", 1), ("C3", 3), ("D2", 4), ("O", 24)])
def test_copies_are_equivalent_and_lead_back(symmetry, order):
    particles = placed(5).with_half(torch.tensor([1, 2, 1, 2, 1]))
    copies = expanded(particles, symmetry)
    assert len(copies) == 5 * order
    original = torch.tensor([int(text) - 1 for text in copies.extra["cwExpandedFrom"]])
    assert torch.equal(original, torch.arange(5).repeat_interleave(order))
    before = particles.pose.lab_from_particle[original]
    assert float(distance_modulo_symmetry(copies.pose.lab_from_particle, before, symmetry).max()) < 1e-6
    operator = torch.tensor([int(text) - 1 for text in copies.extra["cwSymmetryOperator"]])
    assert torch.allclose(copies.pose.lab_from_particle, before @ symmetry_operators(symmetry)[operator], atol=1e-12)
    assert torch.equal(copies.half, particles.half[original])
    assert copies.image_names[order - 1] == particles.image_names[0]
    assert torch.equal(copies.pose.shift, particles.pose.shift[original])


def test_copies_show_the_symmetric_map_alike():
    particles, _ = two_states(3, snr=9.0)
    map_ = state(0)
    turned = sum(
        (window_of(map_.voxels.flip(1, 2), torch.tensor([-1, -1, 0]), box=BOX), map_.voxels)
    )  # turned about z: x, y to -x, -y
    symmetric = Volume(voxels=turned, voxel_size=PIXEL)
    copies = expanded(particles, "C2")
    images = images_of(symmetric, copies)
    assert float((images[0] - images[1]).abs().max()) < 0.02 * float(images.abs().max())
    other = images_of(map_, copies)
    assert float((other[0] - other[1]).abs().max()) > 0.2 * float(other.abs().max())


def test_expansion_of_what_cannot_be_expanded():
    with pytest.raises(InputError, match="no poses"):
        expanded(replace(placed(3), pose=None), "C2")
    with pytest.raises(UsageError):
        expanded(placed(3), "Q9")
    with pytest.raises(InputError, match="expanded before"):
        expanded(expanded(placed(3), "C2"), "C2")


def test_of_two_particles_in_one_place_the_surer_one_stays():
    particles = placed(6, micrographs=1)
    shift = torch.zeros(6, 2, dtype=torch.float64)
    shift[1] = torch.tensor([20.0, 0.0])
    coordinates = torch.tensor([[100.0, 50], [84, 50], [300, 50], [300, 60], [300, 70], [500, 50]], dtype=torch.float64)
    particles = replace(
        particles.with_pose(replace(particles.pose, shift=shift)),
        coordinates=coordinates,
        extra={"rlnMaxValueProbDistribution": ("0.5", "0.9", "0.2", "0.6", "0.4", "0.1")},
    )
    assert places_in_micrographs(particles)[1].tolist() == [125.0, 62.5]  # 84 · 1.25 Å + 20 Å
    found = find_duplicates(particles, distance=15.0)
    assert found.kept.tolist() == [False, True, False, True, False, True]
    assert found.stands_for.tolist() == [1, 1, 3, 3, 3, 5]
    assert found.removed == 3
    assert found.merit == "rlnMaxValueProbDistribution"
    # 2 and 4 lie within 15 Å of 3, which was taken first, but not of one another.
    by_order = find_duplicates(replace(particles, extra={}), distance=15.0)
    assert by_order.kept.tolist() == [True, False, True, False, True, True]
    apart = replace(particles, micrograph_names=tuple("abcdef"))
    assert find_duplicates(apart, distance=15.0).removed == 0


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_kept_particles_lie_apart_and_the_others_lie_on_them(seed):
    particles = placed(120, seed=seed)
    found = find_duplicates(particles, distance=60.0)
    places = places_in_micrographs(particles)
    micrograph = torch.tensor([int(name[1]) for name in particles.micrograph_names])
    distance = torch.cdist(places, places) + 1e6 * (micrograph[:, None] != micrograph)
    kept = found.kept.nonzero().flatten()
    among = distance[kept][:, kept] + 1e6 * torch.eye(len(kept))
    assert float(among.min()) > 60
    assert 20 < found.removed < 110
    assert float(distance[torch.arange(120), found.stands_for].max()) <= 60
    assert bool(found.kept[found.stands_for].all())
    assert find_duplicates(particles[found.kept], distance=60.0).removed == 0


def test_duplicates_of_what_has_no_place():
    with pytest.raises(InputError, match="no places"):
        find_duplicates(replace(placed(3), coordinates=None), distance=5.0)
    with pytest.raises(InputError, match="no places"):
        find_duplicates(replace(placed(3), micrograph_names=()), distance=5.0)
    with pytest.raises(InputError, match="no number"):
        find_duplicates(replace(placed(3), extra={"rlnMaxValueProbDistribution": ("1", "x", "2")}), distance=5.0)


def noiseless(count, *, aberrations=NONE, factor=1.0):
    """Images of state 0 with some aberrations, `factor` times as strong as the map says."""
    particles, _ = two_states(count, snr=1.0)
    particles = replace(particles, optics=(Optics(pixel_size=PIXEL, aberrations=aberrations),))
    images = factor * to_real(predicted(prepare_volume(state(0)), particles), width=BOX)
    return particles.with_images(ImageStack(pixels=images, pixel_size=PIXEL))


@pytest.mark.parametrize("aberrations", [Aberrations(), Aberrations(beam_tilt=(2e-3, -1e-3))])
def test_without_all_but_a_blob_the_images_show_that_blob(aberrations):
    particles = noiseless(20, aberrations=aberrations)
    mask = ball(ARMS[0][:3], 3.0)
    sink = Sink()
    found = subtract(particles, state(0), mask, SubtractionSettings(scale="none"), sink=sink)
    blob = Volume(voxels=state(0).voxels * mask.voxels, voxel_size=PIXEL)
    expected = to_real(predicted(prepare_volume(blob), particles), width=BOX)
    assert torch.allclose(sink.images, expected, atol=1e-4 * float(expected.abs().max()))
    assert torch.allclose(found.kept.voxels, blob.voxels)
    assert torch.equal(found.particles.pose.shift, particles.pose.shift)


def test_the_prediction_is_what_a_microscope_without_odd_aberrations_shows():
    particles, _ = two_states(4, snr=1.0)
    assert torch.allclose(
        to_real(predicted(prepare_volume(state(1)), particles), width=BOX), images_of(state(1), particles), atol=1e-4
    )
    flat = replace(particles, optics=(Optics(pixel_size=PIXEL, is_premultiplied=True),))
    once = to_real(predicted(prepare_volume(state(1)), particles), width=BOX)
    twice = to_real(predicted(prepare_volume(state(1)), flat), width=BOX)
    assert float(twice.square().sum()) < float(once.square().sum())


@pytest.mark.parametrize("scale", ["micrograph", "one"])
def test_how_strong_the_map_is_in_the_images_is_found(scale):
    particles = noiseless(60, factor=0.4)
    generator = seeded(5)
    pixels = particles.images.read(range(60))
    pixels = pixels + 0.7 * float(pixels.std()) * torch.randn(pixels.shape, generator=generator)
    sink = Sink()
    found = subtract(
        particles.with_images(ImageStack(pixels=pixels, pixel_size=PIXEL)),
        state(0), ball(ARMS[0][:3], 3.0), SubtractionSettings(scale=scale), sink=sink,
    )  # fmt: skip
    assert torch.allclose(found.scale.double(), torch.full((60,), 0.4).double(), rtol=0.06)


def test_images_are_cut_about_the_masks_centre():
    particles = replace(noiseless(12), coordinates=torch.full((12, 2), 200.0, dtype=torch.float64))
    centre = (4.0, 3.0, 3.0)
    mask = ball(centre, 3.0)
    sink = Sink()
    settings = SubtractionSettings(scale="none", recenter_on_mask=True, new_box=14)
    found = subtract(particles, state(0), mask, settings, sink=sink)
    assert sink.images.shape == (12, 14, 14)
    assert float(found.particles.pose.shift.abs().max()) <= PIXEL / 2 + 1e-9
    # The whole path once more by hand: the blob's own map about the new middle, seen at the new places.
    point = torch.tensor(centre, dtype=torch.float64) * PIXEL
    turned = particles.pose.lab_from_particle @ point
    assert torch.allclose(found.particles.defocus.major, particles.defocus.major + turned[:, 2])
    old = places_in_micrographs(particles)
    assert torch.allclose(places_in_micrographs(found.particles), old + turned[:, :2], atol=1e-6)
    assert torch.allclose(found.kept.voxels, window_of(state(0).voxels * mask.voxels, torch.tensor([4, 3, 3]), box=14))
    middle = ((particles.pose.shift + turned[:, :2] - found.particles.pose.shift) / PIXEL).round().long()
    blob = prepare_volume(Volume(voxels=state(0).voxels * mask.voxels, voxel_size=PIXEL))
    expected, _ = windows(to_real(predicted(blob, particles), width=BOX), middle, box=14)
    assert torch.allclose(sink.images, expected, atol=1e-4 * float(expected.abs().max()))
    # Without the CTF, which spreads beyond the small box: the new map at the new pose is the old one, cut.
    old_pose, new_pose = particles.pose.to(torch.float32), found.particles.pose.to(torch.float32)
    before = to_real(extract_slices(blob, old_pose.lab_from_particle, shift=old_pose.shift), width=BOX)
    after = to_real(extract_slices(prepare_volume(found.kept), new_pose.lab_from_particle, shift=new_pose.shift), width=14)
    assert torch.allclose(after, windows(before, middle, box=14)[0], atol=0.03 * float(before.max()))


def test_windows_hold_the_pixels_about_their_middles():
    images = torch.arange(2 * 36.0).reshape(2, 6, 6)
    cut, reaches = windows(images, torch.tensor([[0, 0], [2, -1]]), box=4)
    assert torch.equal(cut[0], images[0, 1:5, 1:5])
    assert reaches.tolist() == [False, True]
    assert torch.equal(cut[1, :, :3], images[1, 0:4, 3:6])
    assert float(cut[1, :, 3].abs().max()) == 0
    assert torch.equal(window_of(images.repeat(3, 1, 1), torch.tensor([1, 0, -1]), box=2)[0], images[1, 2:4, 3:5])


def test_focused_classification_after_subtraction_tells_states_apart():
    particles, label = two_states(120, snr=0.5)
    union = ball(ARMS[0][:3], 3.5).voxels.maximum(ball(ARMS[1][:3], 3.5).voxels)
    mask = Volume(voxels=union, voxel_size=PIXEL)
    whole = Volume(voxels=(state(0).voxels + state(1).voxels) / 2, voxel_size=PIXEL)
    sink = Sink()
    found = subtract(particles, whole, mask, sink=sink)
    focused = found.particles.with_images(ImageStack(pixels=sink.images, pixel_size=PIXEL))
    states = classify_volumes(focused, [found.kept], KEPT, mask=found.mask, generator=seeded())
    assert adjusted_rand_index(label, states.state.model) > 0.8
    core = blobs(CORE).voxels * (1 - union)
    for volume in states.volumes:  # what was subtracted is gone
        inside = float((volume.voxels * (1 - union)).square().sum())
        assert inside < 0.35 * float(core.square().sum())


def test_subtraction_of_what_cannot_be_subtracted():
    particles, mask = noiseless(6), ball((0, 0, 0), 3.0)
    whole = Volume(voxels=torch.ones(BOX, BOX, BOX), voxel_size=PIXEL)

    def attempt(chosen=particles, volume=None, weight=mask, **changes):
        volume = state(0) if volume is None else volume
        return subtract(chosen, volume, weight, replace(SubtractionSettings(), **changes), sink=Sink())

    with pytest.raises(InputError, match="outside the mask"):
        attempt(weight=whole)
    with pytest.raises(InputError, match="rlnAngleRot"):
        attempt(replace(particles, pose=None))
    with pytest.raises(InputError, match="rlnDefocusU"):
        attempt(replace(particles, defocus=None))
    with pytest.raises(InputError, match="constant"):
        attempt(volume=whole)
    with pytest.raises(InputError, match="larger than the images"):
        attempt(new_box=64)
    with pytest.raises(InputError, match="does not resemble"):
        attempt(volume=Volume(voxels=-state(0).voxels, voxel_size=PIXEL))
