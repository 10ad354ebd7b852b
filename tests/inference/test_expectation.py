"""The engine equals the readable reference, and finds what is there."""

import math
from dataclasses import replace

import pytest
import torch

from cryowalk.data import Defocus, ImageStack, Optics, ParticleSet, Pose, Volume
from cryowalk.fourier.disk import half_disk
from cryowalk.fourier.filters import shift_phases
from cryowalk.fourier.slices import extract_slices, prepare_volume
from cryowalk.fourier.transform import to_fourier, to_real
from cryowalk.geometry.rotations import geodesic_distance
from cryowalk.geometry.sampling import random_rotations
from cryowalk.inference import (
    ClassReferences,
    ClassSums,
    GlobalOrientations,
    LocalOrientations,
    NoiseModel,
    SearchSettings,
    VolumeReferences,
    VolumeSums,
    descent,
    expectation,
    initial_noise,
    reference,
)
from cryowalk.inference.search import shift_grid
from cryowalk.microscope.lens import contrast_transfer

BOX, PIXEL = 24, 4.0


def blobs(generator, *, count=12, spread=3.2):
    """A compact map without symmetry: Gaussian balls within the middle of the box."""
    axis = torch.arange(BOX, dtype=torch.float32) - BOX // 2
    z, y, x = torch.meshgrid(axis, axis, axis, indexing="ij")
    voxels = torch.zeros(BOX, BOX, BOX)
    for centre in torch.randn(count, 3, generator=generator) * spread:
        voxels += torch.exp(-((x - centre[0]) ** 2 + (y - centre[1]) ** 2 + (z - centre[2]) ** 2) / 3)
    return Volume(voxels=voxels, voxel_size=PIXEL)


def images_of(volume, pose, *, noise, generator, groups=1):
    """Particle images of a map with CTF and white noise of variance `noise` a pixel."""
    count = len(pose)
    optics = tuple(Optics(pixel_size=PIXEL, name=f"g{i}") for i in range(groups))
    group = torch.arange(count) % groups
    defocus = Defocus(
        major=10000 + 8000 * torch.rand(count, generator=generator),
        minor=10000 + 8000 * torch.rand(count, generator=generator),
        azimuth=torch.rand(count, generator=generator),
        phase_shift=torch.zeros(count),
    )
    slices = extract_slices(prepare_volume(volume, padding=2.0), pose.lab_from_particle.float(), shift=pose.shift.float())
    clean = to_real(slices * contrast_transfer(optics[0], defocus, size=(BOX, BOX)), width=BOX)
    pixels = clean + math.sqrt(noise) * torch.randn(clean.shape, generator=generator)
    return ParticleSet(
        optics=optics, optics_index=group, images=ImageStack(pixels=pixels, pixel_size=PIXEL), defocus=defocus
    ), clean


@pytest.fixture(scope="module")
def scene():
    generator = torch.Generator().manual_seed(5)
    volume = blobs(generator)
    pose = Pose(
        lab_from_particle=random_rotations(40, generator=generator), shift=4 * torch.randn(40, 2, generator=generator).double()
    )
    particles, clean = images_of(volume, pose, noise=1.0, generator=generator)
    factor = math.sqrt(clean.var().item() / 0.5)
    particles = replace(
        particles, images=ImageStack(pixels=clean / factor + torch.randn(clean.shape, generator=generator), pixel_size=PIXEL)
    )
    return Volume(voxels=volume.voxels / factor, voxel_size=PIXEL), pose, particles


def white(groups=1):
    return NoiseModel(power=torch.full((groups, BOX // 2 + 1), 0.5))


SEARCH = SearchSettings(
    radius=7, diameter=1000.0, angular_step=math.radians(60), shift_range=8.0, shift_step=4.0, kept=1.0, most_cells=10**6
)


def by_definition(particles, volume, search, *, rotations, shifts):
    """The reference's view of the same comparison."""
    spectra = to_fourier(particles.images.read(range(len(particles))))
    transfer = contrast_transfer(particles.optics[0], particles.defocus, size=(BOX, BOX))
    disk = half_disk(BOX)
    counted = torch.full((disk.prefix(search.radius),), 0.5)
    counted[0] = math.inf
    variance = torch.full((BOX, BOX // 2 + 1), math.inf).reshape(-1)
    variance[disk.place[: len(counted)]] = counted
    variance = variance.reshape(BOX, -1)
    views = extract_slices(prepare_volume(volume), rotations.float())
    scores = reference.log_likelihood(spectra, transfer, views, shifts=shifts, variance=variance, pixel_size=PIXEL)
    return spectra, transfer, variance, scores


@pytest.mark.parametrize("step", [60, 30])
def test_the_expectation_step_is_the_readable_one(scene, step):
    volume, _, particles = scene
    particles = particles[slice(0, 6)]
    search = replace(SEARCH, angular_step=math.radians(step))
    orientations = GlobalOrientations(models=1)
    sums = VolumeSums(1, box=BOX, pixel_size=PIXEL, radius=search.radius)
    references = VolumeReferences.of([volume], radius=11)
    found = expectation(particles, references, white(), search, orientations=orientations, sums=sums)
    cells = orientations.cells(search.angular_step)
    level = len(cells.steps) - 1
    keys = cells.first()
    for coarser in range(level):
        keys = cells.children(coarser, keys).flatten()
    _, rotations = cells.place(level, keys, keys)
    shifts = shift_grid(4.0, 8.0)
    spectra, transfer, variance, scores = by_definition(particles, volume, search, rotations=rotations, shifts=shifts)
    prior = torch.zeros(len(keys), len(shifts)) + cells.log_prior(level, keys, keys)[:, None]
    told = reference.responsibilities(scores, prior)
    torch.testing.assert_close(found.log_evidence + math.log(math.pi * 4), told.log_evidence, atol=2e-2, rtol=1e-3)
    best = told.weights.sum(dim=2).argmax(dim=1)
    assert geodesic_distance(found.pose.lab_from_particle.float(), rotations[best]).max() < search.angular_step
    numerator, denominator = reference.weighted_views(
        spectra, transfer, told.weights, shifts=shifts, variance=variance, pixel_size=PIXEL
    )
    other = VolumeSums(1, box=BOX, pixel_size=PIXEL, radius=search.radius)
    count = half_disk(BOX).prefix(search.radius)
    from cryowalk.inference.assignments import Contribution

    disk = half_disk(BOX)
    rows = [disk.gather(values, count=count) for values in (numerator, denominator)]
    other.add(Contribution(torch.zeros(len(keys), dtype=torch.long), torch.full((len(keys),), -1), rotations, *rows))
    ours, theirs = sums.parts[0].sums, other.parts[0].sums
    assert (ours - theirs).norm() < 3e-3 * theirs.norm()


def test_coarse_to_fine_finds_what_an_exhaustive_search_finds(scene):
    volume, pose, particles = scene
    search = SearchSettings(radius=10, diameter=90.0, angular_step=math.radians(7.5), shift_range=16.0, shift_step=1.0)
    references = VolumeReferences.of([volume], radius=10)
    found = expectation(particles, references, white(), search, orientations=GlobalOrientations(models=1))
    angle = torch.rad2deg(geodesic_distance(found.pose.lab_from_particle, pose.lab_from_particle))
    assert angle.median() < 6
    assert (found.pose.shift - pose.shift).norm(dim=1).median() < 1.2
    whole = expectation(
        particles[slice(0, 4)], references, white(), replace(search, kept=1.0, most_cells=10**6, shift_range=4.0, angular_step=math.radians(15)),
        orientations=GlobalOrientations(models=1),
    )  # fmt: skip
    pruned = expectation(
        particles[slice(0, 4)], references, white(), replace(search, shift_range=4.0, angular_step=math.radians(15)),
        orientations=GlobalOrientations(models=1),
    )  # fmt: skip
    assert geodesic_distance(whole.pose.lab_from_particle, pruned.pose.lab_from_particle).max() < math.radians(0.5)
    torch.testing.assert_close(whole.log_evidence, pruned.log_evidence, atol=0.05, rtol=0.01)


def test_a_local_search_stays_near_and_improves(scene):
    volume, pose, particles = scene
    from cryowalk.geometry.sampling import perturb_rotations

    start = perturb_rotations(pose.lab_from_particle, angle=math.radians(4), generator=torch.Generator().manual_seed(1))
    particles = particles.with_pose(Pose(lab_from_particle=start, shift=pose.shift))
    local = LocalOrientations(centres=start, model=torch.zeros(len(start), dtype=torch.long), sigma=math.radians(5))
    search = SearchSettings(radius=10, diameter=90.0, angular_step=math.radians(2), shift_range=4.0, shift_step=1.0)
    found = expectation(particles, VolumeReferences.of([volume], radius=10), white(), search, orientations=local)
    before = geodesic_distance(start, pose.lab_from_particle)
    after = geodesic_distance(found.pose.lab_from_particle, pose.lab_from_particle)
    assert after.median() < 0.6 * before.median()
    assert geodesic_distance(found.pose.lab_from_particle, start).max() < 3.6 * math.radians(5) * 1.2
    # widths are calibrated: errors over widths spread like one (three degrees of freedom in the total angle)
    ratio = (after / found.angular_width).square().mean()
    assert 0.4 < ratio < 2.5


def test_the_mean_orientation_is_free_of_the_grid(scene):
    """With a step near the posterior's width, errors are not the grid's: a finer one brings little."""
    volume, pose, particles = scene
    local = LocalOrientations(
        centres=pose.lab_from_particle, model=torch.zeros(len(pose), dtype=torch.long), sigma=math.radians(5)
    )
    references = VolumeReferences.of([volume], radius=10)
    particles = particles.with_pose(pose)
    error = []
    for step in (2.0, 1.0):
        search = SearchSettings(radius=10, diameter=90.0, angular_step=math.radians(step), shift_range=3.0, shift_step=1.0)
        found = expectation(particles, references, white(), search, orientations=local)
        error.append(geodesic_distance(found.pose.lab_from_particle, pose.lab_from_particle).square().mean().sqrt())
    assert error[0] < 1.05 * error[1]


def test_the_noise_comes_back_from_the_residuals(scene):
    volume, pose, particles = scene
    particles = particles.with_pose(pose)
    local = LocalOrientations(
        centres=pose.lab_from_particle, model=torch.zeros(len(pose), dtype=torch.long), sigma=math.radians(3)
    )
    search = SearchSettings(radius=10, diameter=90.0, angular_step=math.radians(2), shift_range=2.0, shift_step=1.0)
    found = expectation(particles, VolumeReferences.of([volume], radius=10), white(), search, orientations=local)
    power = found.residual.noise_model().power[0]
    torch.testing.assert_close(power[2:], torch.full_like(power[2:], 0.5), rtol=0.12, atol=0)
    assert initial_noise(particles).power.shape == (1, BOX // 2 + 1)


def test_true_poses_give_the_map_back(scene):
    volume, pose, particles = scene
    sums = VolumeSums(1, box=BOX, pixel_size=PIXEL, radius=8)
    particles = particles.with_pose(pose)
    local = LocalOrientations(
        centres=pose.lab_from_particle, model=torch.zeros(len(pose), dtype=torch.long), sigma=math.radians(0.5)
    )
    search = SearchSettings(radius=8, diameter=90.0, angular_step=math.radians(1), shift_range=0.0, shift_step=1.0)
    expectation(particles, VolumeReferences.of([volume], radius=8), white(), search, orientations=local, sums=sums)
    from cryowalk.fourier.shells import shell_correlation

    made = sums.volume()
    assert made.voxels.shape == volume.voxels.shape
    assert shell_correlation(made.voxels, volume.voxels)[1:5].min() > 0.9
    scale = (made.voxels * volume.voxels).sum() / volume.voxels.square().sum()
    assert 0.8 < scale < 1.2


def test_groups_have_noise_of_their_own(scene):
    volume, pose, particles = scene
    group = torch.arange(len(pose)) % 2
    pixels = particles.images.pixels * torch.where(group == 0, 1.0, 2.0)[:, None, None]
    two = replace(
        particles, optics=(particles.optics[0], replace(particles.optics[0], name="b")), optics_index=group,
        images=ImageStack(pixels=pixels, pixel_size=PIXEL), pose=pose,
    )  # fmt: skip
    noise = initial_noise(two)
    assert 3.5 < (noise.power[1] / noise.power[0]).median() < 4.5
    search = SearchSettings(radius=8, diameter=90.0, angular_step=math.radians(15), shift_range=4.0, shift_step=2.0)
    found = expectation(two, VolumeReferences.of([volume], radius=8), noise, search, orientations=GlobalOrientations(models=1))
    model = found.residual.noise_model().power
    assert 3.5 < (model[1] / model[0])[3:].median() < 4.5


def test_classes_are_told_apart_and_averaged():
    generator = torch.Generator().manual_seed(2)
    volumes = [blobs(generator) for _ in range(3)]
    eye = torch.eye(3)[None]
    views = torch.cat([to_real(extract_slices(prepare_volume(v, padding=2.0), eye), width=BOX) for v in volumes])
    angle = 2 * math.pi * torch.rand(60, generator=generator)
    from cryowalk.geometry.rotations import matrix_about_axis

    turns = matrix_about_axis(angle.double(), axis="z")
    label = torch.arange(60) % 3
    shift = 3 * torch.randn(60, 2, generator=generator)
    pixels = torch.stack([
        to_real(extract_slices(prepare_volume(volumes[k], padding=2.0), t[None].float(), shift=s[None])[0], width=BOX)
        for k, t, s in zip(label.tolist(), turns, shift, strict=True)
    ])  # fmt: skip
    pixels = pixels / pixels.std() * 0.8
    views = views * (0.8 / pixels.std()) * (pixels.std() / 0.8) * (pixels.norm() / pixels.norm())
    noisy = pixels + torch.randn(pixels.shape, generator=generator)
    particles = ParticleSet(
        optics=(Optics(pixel_size=PIXEL),),
        optics_index=torch.zeros(60, dtype=torch.long),
        images=ImageStack(pixels=noisy, pixel_size=PIXEL),
    )
    scaled = views * float((pixels * 1.0).std() / views.std())
    references = ClassReferences.of(scaled, pixel_size=PIXEL, radius=10)
    sums = ClassSums(3, box=BOX)
    search = SearchSettings(radius=10, diameter=90.0, angular_step=math.radians(6), shift_range=12.0, shift_step=1.0)
    found = expectation(
        particles, references, white(), search, orientations=GlobalOrientations(models=3, kind="plane"), sums=sums, use_ctf=False
    )
    assert (found.model == label).float().mean() > 0.95
    error = torch.rad2deg(geodesic_distance(found.pose.lab_from_particle, turns))
    assert error.median() < 4
    torch.testing.assert_close(found.model_probability.sum(dim=1), torch.ones(60))
    averages = sums.images()
    for average, view in zip(averages, scaled, strict=True):
        assert torch.corrcoef(torch.stack((average.flatten(), view.flatten())))[0, 1] > 0.9


def test_a_known_turned_class_is_read_and_inserted_as_it_is():
    """A row that is read from a class and inserted again gives the class back: the sums' gridding is consistent."""
    generator = torch.Generator().manual_seed(8)
    view = to_real(extract_slices(prepare_volume(blobs(generator), padding=2.0), torch.eye(3)[None]), width=BOX)
    references = ClassReferences.of(view, pixel_size=PIXEL, radius=11)
    from cryowalk.geometry.rotations import matrix_about_axis
    from cryowalk.inference.assignments import Contribution

    turns = matrix_about_axis(torch.arange(90).double() * math.radians(4), axis="z").float()
    model = torch.zeros(90, dtype=torch.long)
    rows = references.slices(model, turns, radius=11)
    sums = ClassSums(1, box=BOX)
    sums.add(Contribution(model, model - 1, turns, rows, torch.ones(rows.shape)))
    made = sums.images()
    disk = half_disk(BOX)
    inside = disk.scatter(torch.ones(disk.prefix(10.4)))
    expected = to_real(to_fourier(view) * inside, width=BOX)
    made = to_real(to_fourier(made) * inside, width=BOX)
    assert (made - expected).norm() < 0.03 * expected.norm()
    torch.testing.assert_close(sums.weight()[0, 2:11], torch.full((9,), 90.0), rtol=0.1, atol=0)


def test_weights_of_evenly_spread_views_are_known():
    """N views of weight 1 give each coefficient of shell r the weight N/(2r): N circles of 2πr on a sphere of 4πr²."""
    count = 3000
    rotations = random_rotations(count, generator=torch.Generator().manual_seed(4)).float()
    from cryowalk.inference.assignments import Contribution

    coefficients = half_disk(BOX).prefix(9)
    sums = VolumeSums(1, box=BOX, pixel_size=PIXEL, radius=9)
    none = torch.zeros(count, dtype=torch.long)
    sums.add(
        Contribution(
            none, none - 1, rotations, torch.zeros(count, coefficients, dtype=torch.complex64), torch.ones(count, coefficients)
        )
    )
    weight = sums.weight()
    shells = torch.arange(3, 9)
    torch.testing.assert_close(weight[3:9], count / (2 * shells.float()), rtol=0.05, atol=0)
    assert weight[11:].abs().max() == 0


def test_maximum_mode_puts_all_weight_on_one_pose(scene):
    volume, _, particles = scene
    search = SearchSettings(
        radius=8, diameter=90.0, angular_step=math.radians(15), shift_range=4.0, shift_step=2.0, mode="maximum"
    )
    found = expectation(
        particles, VolumeReferences.of([volume], radius=8), white(), search, orientations=GlobalOrientations(models=1)
    )
    assert bool((found.max_probability == 1).all())
    assert bool((found.significant == 1).all())
    assert found.angular_width.max() < 1e-3


def test_the_result_does_not_depend_on_the_byte_budget(scene):
    volume, _, particles = scene
    references = VolumeReferences.of([volume], radius=8)
    search = SearchSettings(radius=8, diameter=90.0, angular_step=math.radians(15), shift_range=8.0, shift_step=2.0)
    large = expectation(particles, references, white(), search, orientations=GlobalOrientations(models=1))
    small = expectation(
        particles, references, white(), replace(search, byte_budget=2**21), orientations=GlobalOrientations(models=1)
    )
    torch.testing.assert_close(large.pose.lab_from_particle, small.pose.lab_from_particle)
    torch.testing.assert_close(large.log_evidence, small.log_evidence, rtol=1e-4, atol=1e-3)


def test_scores_stay_within_the_byte_budget(scene, monkeypatch):
    """Of all looks past the first level none holds more scores than its share of the budget, but where one image alone needs them."""
    volume, _, particles = scene
    budget, looks = 2**21, []
    compared = descent._compared

    def watched(batch, look, rows):
        if look.level > 0:
            looks.append((len(look.images), len(rows.image) * len(look.shifts)))
        return compared(batch, look, rows)

    monkeypatch.setattr(descent, "_compared", watched)
    search = SearchSettings(
        radius=8, diameter=90.0, angular_step=math.radians(7.5), shift_range=8.0, shift_step=2.0, byte_budget=budget
    )
    expectation(particles, VolumeReferences.of([volume], radius=8), white(), search, orientations=GlobalOrientations(models=1))
    assert len(looks) > 2
    assert all(scores <= budget / (descent.SHARE * descent.COPIES) or images == 1 for images, scores in looks)


def test_shift_phases_agree_with_the_half_disk():
    disk, shift = half_disk(BOX), torch.tensor([[3.0, -5.0]])
    ours = disk.shift_phases(shift, pixel_size=PIXEL)
    torch.testing.assert_close(ours, disk.gather(shift_phases((BOX, BOX), shift, pixel_size=PIXEL)))


def test_a_map_holds_nothing_beyond_the_radius_of_its_sums():
    from cryowalk.fourier.shells import shell_average
    from cryowalk.inference.assignments import Contribution

    generator = torch.Generator().manual_seed(1)
    rotations, count = random_rotations(50, generator=generator).float(), half_disk(BOX).prefix(5)
    none = torch.zeros(50, dtype=torch.long)
    sums = VolumeSums(1, box=BOX, pixel_size=PIXEL, radius=5)
    rows = torch.randn(50, count, generator=generator, dtype=torch.complex64)
    sums.add(Contribution(none, none - 1, rotations, rows, torch.ones(50, count)))
    power = shell_average(to_fourier(sums.volume().voxels, dimensions=3).abs().square(), size=(BOX, BOX, BOX))
    assert power[7:].max() < 1e-6 * power[1:5].min()


def test_the_width_counts_equivalent_orientations_as_one():
    generator = torch.Generator().manual_seed(5)
    from cryowalk.geometry.symmetry import symmetry_operators
    from cryowalk.numerics.interpolation import rotate_volume

    one = blobs(generator)
    voxels = sum(rotate_volume(one.voxels, operator.float()) for operator in symmetry_operators("D2"))
    volume = Volume(voxels=voxels / voxels.std(), voxel_size=PIXEL)
    pose = Pose(lab_from_particle=random_rotations(12, generator=generator), shift=torch.zeros(12, 2).double())
    particles, clean = images_of(volume, pose, noise=0.0, generator=generator)
    pixels = clean / clean.std() + torch.randn(clean.shape, generator=generator)
    particles = replace(particles, images=ImageStack(pixels=pixels, pixel_size=PIXEL))
    volume = Volume(voxels=volume.voxels / clean.std(), voxel_size=PIXEL)
    noise = NoiseModel(power=torch.full((1, BOX // 2 + 1), 0.5))
    search = SearchSettings(radius=10, diameter=90.0, angular_step=math.radians(7.5), shift_range=0.0)
    for group in ("C1", "D2"):
        found = expectation(
            particles,
            VolumeReferences.of([volume], radius=10),
            noise,
            search,
            orientations=GlobalOrientations(models=1, symmetry=group),
        )
        width = torch.rad2deg(found.angular_width.median())
        assert (width > 40) == (group == "C1")
