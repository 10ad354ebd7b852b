"""What is done to maps between iterations, and what a starting map and images must be."""

import math
from dataclasses import replace

import pytest
import torch

from cryowalk.core.errors import InputError
from cryowalk.core.execution import SilentProgress
from cryowalk.data import HalfMaps, Volume
from cryowalk.fourier.shells import shell_correlation
from cryowalk.fourier.transform import to_fourier
from cryowalk.refinement.regularisation import (
    flattened,
    inverse_prior,
    joined,
    last_shell_above,
    signal_beyond,
    solvent_mask,
)
from cryowalk.refinement.scale import fitted_scale, scale_groups
from cryowalk.refinement.starting_map import ImageGrid, on_grid, starting_map, symmetry_fit
from cryowalk.refinement.usable import usable_particles


class Notes(SilentProgress):
    def __init__(self):
        self.said = []

    def note(self, fact):
        self.said.append(fact)


def noise_map(generator, box=24):
    return Volume(voxels=torch.randn(box, box, box, generator=generator), voxel_size=3.1)


def test_the_prior_makes_a_wiener_filter_of_the_correlation():
    fsc = torch.tensor([1.0, 0.9, 0.5, 0.143, -0.2])
    weight = torch.tensor([40.0, 30.0, 20.0, 10.0, 5.0])
    filtered = weight / (weight + inverse_prior(fsc, weight))
    assert torch.allclose(filtered, torch.tensor([0.999, 0.9, 0.5, 0.143, 0.001]), atol=1e-6)


def test_joined_halves_share_low_shells_and_nothing_else(generator):
    halves = HalfMaps(first=noise_map(generator), second=noise_map(generator))
    together = joined(halves, shell=4)
    before = shell_correlation(halves.first.voxels, halves.second.voxels)
    after = shell_correlation(together.first.voxels, together.second.voxels)
    assert torch.allclose(after[:5], torch.ones(5), atol=1e-5)
    assert torch.allclose(after[5:], before[5:], atol=1e-5)
    total = (halves.first.voxels + halves.second.voxels) - (together.first.voxels + together.second.voxels)
    assert total.abs().max() < 1e-4
    assert joined(halves, shell=0) is halves


def test_solvent_becomes_zero_and_the_particle_keeps_its_contrast():
    mask = solvent_mask(32, diameter=60.0, pixel_size=3.0)
    sphere = 2.0 + 5.0 * (mask > 0.999).float()
    flat = flattened(Volume(voxels=sphere, voxel_size=3.0), mask)
    assert flat.voxels[mask == 0].abs().max() == 0
    assert float(flat.voxels[16, 16, 16]) == pytest.approx(5.0, abs=0.05)


def test_where_curves_end():
    curve = torch.tensor([1.0, 0.9, 0.5, 0.1, 0.3, 0.2])
    assert last_shell_above(curve) == 2
    assert last_shell_above(torch.ones(6)) == 5
    assert last_shell_above(torch.tensor([1.0, 0.0, 0.0])) == 0
    assert signal_beyond(curve, shell=3)
    assert not signal_beyond(curve, shell=2)
    assert not signal_beyond(curve, shell=5)


def test_scales_are_found_and_have_mean_one():
    group = torch.arange(300) % 3
    true = torch.tensor([0.8, 1.0, 1.2])[group]
    found = fitted_scale(group, 500 * true * 1.3, torch.full((300,), 500.0), current=torch.ones(300))
    assert torch.allclose(found, true, atol=0.01)
    assert float(found.mean()) == pytest.approx(1.0)
    unsure = fitted_scale(group, 0.01 * true, torch.full((300,), 0.01), current=torch.ones(300))
    assert torch.allclose(unsure, torch.ones(300), atol=0.02)


def test_groups_are_micrographs(specimen):
    particles = specimen().particles(9, snr=1.0)
    assert scale_groups(particles).tolist() == [0, 1, 2, 3, 0, 1, 2, 3, 0]
    assert scale_groups(replace(particles, micrograph_names=())).tolist() == [0] * 9


@pytest.mark.parametrize(("box", "pixel_size"), [(32, 4.3), (40, 3.4), (33, 4.0), (24, 6.0)])
def test_a_reference_on_another_grid_is_the_same_map(specimen, box, pixel_size):
    blobs, notes = specimen(32), Notes()
    start = starting_map(specimen(32).volume(), ImageGrid(box=box, pixel_size=pixel_size), resolution=30.0, progress=notes)
    length = 32 * 4.3
    axis = (torch.arange(box, dtype=torch.float64) - box // 2) * pixel_size
    expected = torch.zeros(box, box, box, dtype=torch.float64)
    for centre, width, height in blobs._blobs():
        x, y, z = (torch.exp(-((axis - c) ** 2) / (2 * width**2)) for c in centre)
        expected += height * z[:, None, None] * y[:, None] * x
    smooth = starting_map(
        Volume(voxels=expected.float(), voxel_size=pixel_size),
        ImageGrid(box=box, pixel_size=pixel_size),
        resolution=30.0,
        progress=Notes(),
    )
    inside = solvent_mask(box, diameter=0.7 * min(length, box * pixel_size), pixel_size=pixel_size) > 0
    error = (start.voxels - smooth.voxels)[inside].norm() / smooth.voxels[inside].norm()
    assert error < 0.03
    assert len(notes.said) == int((box, pixel_size) != (32, 4.3))


def test_a_grid_onto_itself_changes_nothing(generator):
    volume = noise_map(generator)
    assert torch.allclose(on_grid(volume, ImageGrid(box=24, pixel_size=3.1)).voxels, volume.voxels, atol=1e-4)


def test_low_pass_of_the_starting_map(generator):
    start = starting_map(noise_map(generator), ImageGrid(box=24, pixel_size=3.1), resolution=20.0, progress=Notes())
    power = to_fourier(start.voxels, dimensions=3).abs()
    assert float(power[0, 0, 8]) < 1e-3 * float(power[0, 0, 1:3].max())


def test_a_flat_reference_is_refused():
    flat = Volume(voxels=torch.ones(16, 16, 16), voxel_size=3.0)
    with pytest.raises(InputError, match="constant"):
        starting_map(flat, ImageGrid(box=16, pixel_size=3.0), resolution=30.0, progress=Notes())


def test_symmetry_that_is_there_and_that_is_not(specimen):
    from cryowalk.geometry.symmetry import symmetry_operators

    volume = starting_map(specimen(33).volume(), ImageGrid(box=33, pixel_size=4.3), resolution=25.0, progress=Notes())
    assert symmetry_fit(volume, "C2") < 0.6
    axis = torch.arange(33) - 16
    z, y, x = torch.meshgrid(axis, axis, axis, indexing="ij")
    points = torch.stack([x, y, z], dim=-1).float()
    turned = sum(
        torch.exp(-(points - operator.float() @ torch.tensor([6.0, 3.0, -4.0])).square().sum(dim=-1) / 8)
        for operator in symmetry_operators("D2")
    )
    assert symmetry_fit(Volume(voxels=turned, voxel_size=4.3), "D2") > 0.99
    assert symmetry_fit(volume, "C1") == 1.0


def test_bad_images_are_named_and_left_out(specimen, generator):
    particles = specimen().particles(12, snr=1.0)
    pixels = particles.images.pixels.clone()
    pixels[3, 5, 5] = math.nan
    pixels[7] = 2.0
    names = tuple(f"{number:06d}@stack.mrcs" for number in range(1, 13))
    bad = replace(particles, images=replace(particles.images, pixels=pixels), image_names=names)
    notes = Notes()
    usable = usable_particles(bad, generator=generator, progress=notes)
    assert [row for row, _ in usable.left_out] == [3, 7]
    assert any("000004@stack.mrcs" in said and "NaN" in said for said in notes.said)
    assert any("000008@stack.mrcs" in said and "contrast" in said for said in notes.said)
    assert sorted(usable.particles.half.tolist()) == [1] * 5 + [2] * 5


def test_halves_of_the_file_are_kept(specimen, generator):
    half = torch.tensor([1, 2, 2, 1, 0, 1, 2, 1])
    usable = usable_particles(specimen().particles(8, snr=1.0).with_half(half), generator=generator, progress=SilentProgress())
    assert usable.particles.half.tolist() == [1, 2, 2, 1, 1, 2, 1]
    assert [row for row, _ in usable.left_out] == [4]


@pytest.mark.parametrize("count", [1, 3])
def test_too_few_particles_are_refused(specimen, generator, count):
    with pytest.raises(InputError, match="half"):
        usable_particles(specimen().particles(count, snr=1.0), generator=generator, progress=SilentProgress())


def test_copies_of_one_image_are_refused(specimen, generator):
    particles = specimen().particles(10, snr=1.0)
    pixels = particles.images.pixels[:1].expand(10, -1, -1).clone()
    with pytest.raises(InputError, match="different image"):
        usable_particles(
            particles.with_images(replace(particles.images, pixels=pixels)), generator=generator, progress=SilentProgress()
        )


def test_other_pixel_sizes_are_refused_with_what_to_do(specimen, generator):
    particles = specimen().particles(10, snr=1.0)
    other = replace(particles.optics[0], pixel_size=3.0)
    mixed = replace(particles, optics=(particles.optics[0], other), optics_index=torch.arange(10) % 2)
    with pytest.raises(InputError, match="cryowalk extract"):
        usable_particles(mixed, generator=generator, progress=SilentProgress())


def test_agreement_ends_where_maps_do(generator):
    from cryowalk.fourier.filters import apply_shell_weights
    from cryowalk.refinement.regularisation import agreement

    shared = noise_map(generator)
    maps = [
        Volume(
            voxels=apply_shell_weights(
                shared.voxels + 0.5 * torch.randn(24, 24, 24, generator=generator), (torch.arange(13) <= 5).float(), dimensions=3
            ),
            voxel_size=3.1,
        )
        for _ in range(2)
    ]
    found = agreement(HalfMaps(first=maps[0], second=maps[1]), solvent_mask(24, diameter=40.0, pixel_size=3.1), radius=5)
    assert bool((found.masked[2:5] > 0.5).all())
    assert bool((found.masked[6:] == 0).all())
    assert bool((found.whole[6:] == 0).all())


def test_a_tight_mask_feigns_no_agreement(generator):
    from cryowalk.refinement.regularisation import agreement

    noise = HalfMaps(first=noise_map(generator, 32), second=noise_map(generator, 32))
    tight = torch.zeros(32, 32, 32)
    tight[14:19, 13:18, 15:20] = 1.0
    mean = Volume(voxels=noise.first.voxels + 1.5, voxel_size=3.1), Volume(voxels=noise.second.voxels + 1.5, voxel_size=3.1)
    halves = HalfMaps(first=mean[0], second=mean[1])  # a shared constant, which the mask spreads over many shells
    plain = agreement(halves, tight, radius=15)
    corrected = agreement(halves, tight, radius=15, generator=generator)
    assert float(plain.masked[5:15].mean()) > 0.3
    assert float(corrected.masked[5:15].mean()) < 0.5 * float(plain.masked[5:15].mean())
