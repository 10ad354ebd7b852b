"""Direct Fourier inversion: right map, right scale, right hand; weights; laws of the whole operator."""

from dataclasses import replace

import pytest
import torch

from cryowalk.data import Defocus, ImageStack, Optics, Pose
from cryowalk.fourier.shells import shell_correlation
from cryowalk.fourier.transform import to_fourier, to_real
from cryowalk.geometry.rotations import matrix_from_euler
from cryowalk.microscope.lens import contrast_transfer
from cryowalk.reconstruction import ReconstructionSettings, random_halves, reconstruct, reconstruct_with_full_map

NO_CTF = ReconstructionSettings(ctf="none")


def scale_of(ours: torch.Tensor, truth: torch.Tensor) -> float:
    return float((ours * truth).sum() / truth.square().sum())


@pytest.mark.parametrize(("box", "ctf"), [(32, True), (33, True), (32, False)])
def test_noiseless_particles_give_back_the_map(box: int, ctf: bool, make_phantom, make_particles) -> None:
    phantom = make_phantom(box)
    truth = phantom.volume().voxels
    found = reconstruct_with_full_map(
        make_particles(phantom, 700, ctf=ctf), ReconstructionSettings(ctf="correct" if ctf else "none")
    )
    correlation = shell_correlation(found.full.voxels, truth)
    assert correlation[1 : int(0.8 * box / 2) + 1].min() > 0.99
    assert scale_of(found.full.voxels, truth) == pytest.approx(1, abs=0.02)
    assert found.full.voxel_size == phantom.pixel_size
    assert found.correlation[1 : int(0.7 * box / 2)].min() > 0.98
    assert (found.used, found.left_out) == (700, 0)
    for half in (found.halves.first, found.halves.second):
        assert scale_of(half.voxels, truth) == pytest.approx(1, abs=0.02)


def test_the_hand_of_the_map_is_that_of_the_poses(make_phantom, make_particles) -> None:
    phantom = make_phantom(32)
    truth = phantom.volume().voxels
    full = reconstruct_with_full_map(make_particles(phantom, 400, ctf=False), NO_CTF).full.voxels
    mirror = truth.flip(-1).roll(1, -1)
    assert shell_correlation(full, truth)[1:13].min() > 0.99
    assert shell_correlation(full, mirror)[3:13].max() < 0.6


def test_turning_all_poses_turns_the_map(make_phantom, make_particles) -> None:
    turn = matrix_from_euler(torch.tensor([0.4, 0.8, -1.1], dtype=torch.float64))
    phantom = make_phantom(32)
    particles = make_particles(phantom, 400, ctf=False)
    turned = particles.with_pose(Pose(lab_from_particle=particles.pose.lab_from_particle @ turn.T, shift=particles.pose.shift))
    full = reconstruct_with_full_map(turned, NO_CTF).full.voxels
    expected = make_phantom(32, operators=turn[None]).volume().voxels
    assert shell_correlation(full, expected)[1:13].min() > 0.99


def test_the_map_is_linear_in_the_images_and_indifferent_to_order_and_copies(make_phantom, make_particles, generator) -> None:
    particles = make_particles(make_phantom(24), 90, noise=0.5)
    whole = reconstruct_with_full_map(particles).full.voxels
    tripled = particles.with_images(ImageStack(pixels=3 * particles.images.pixels, pixel_size=2.3))
    torch.testing.assert_close(reconstruct_with_full_map(tripled).full.voxels, 3 * whole, rtol=1e-5, atol=1e-5)
    order = torch.randperm(90, generator=generator)
    shuffled = reconstruct_with_full_map(particles[order]).full.voxels
    assert (shuffled - whole).norm() / whole.norm() < 1e-5
    twice = particles.with_half(torch.ones(90, dtype=torch.long))
    double = twice[torch.arange(180) % 90]
    torch.testing.assert_close(reconstruct_first(double), reconstruct_first(twice), rtol=1e-4, atol=1e-4)


def reconstruct_first(particles) -> torch.Tensor:
    with pytest.warns(UserWarning, match="empty"):
        return reconstruct(particles).first.voxels


def test_a_half_knows_nothing_of_the_other(make_phantom, make_particles, generator) -> None:
    particles = make_particles(make_phantom(24), 60, noise=0.3).with_half(random_halves(60, generator=generator))
    pixels = particles.images.pixels.clone()
    pixels[particles.half == 2] = torch.randn(pixels[particles.half == 2].shape, generator=generator)
    corrupted = particles.with_images(ImageStack(pixels=pixels, pixel_size=2.3))
    assert torch.equal(reconstruct(particles).first.voxels, reconstruct(corrupted).first.voxels)
    assert not torch.equal(reconstruct(particles).second.voxels, reconstruct(corrupted).second.voxels)


def test_particles_of_neither_half_are_left_out_and_counted(make_phantom, make_particles) -> None:
    particles = make_particles(make_phantom(24), 60)
    half = torch.arange(60) % 3
    found = reconstruct_with_full_map(particles.with_half(half))
    assert (found.used, found.left_out) == (40, 20)
    without = particles[(half > 0)]
    again = reconstruct_with_full_map(without.with_half(half[half > 0]))
    assert torch.equal(again.full.voxels, found.full.voxels)


def test_noisier_optics_groups_weigh_less(make_phantom, make_particles, generator) -> None:
    phantom = make_phantom(24)
    truth = phantom.volume().voxels
    particles = make_particles(phantom, 300, noise=1.0)
    noisy = torch.arange(300) % 2
    pixels = particles.images.pixels + 15 * noisy[:, None, None] * torch.randn(300, 24, 24, generator=generator)
    particles = replace(
        particles,
        optics=(particles.optics[0], replace(particles.optics[0], name="noisy")),
        optics_index=noisy,
        images=ImageStack(pixels=pixels, pixel_size=2.3),
        half=torch.arange(300) // 2 % 2 + 1,
    )
    power = torch.tensor([[1.0], [1 + 15.0**2]]).expand(2, 13)
    plain, weighted = reconstruct_with_full_map(particles), reconstruct_with_full_map(particles, noise_power=power)
    errors = [(found.full.voxels - truth).norm() for found in (plain, weighted)]
    assert errors[1] < 0.3 * errors[0]
    same = reconstruct_with_full_map(particles, noise_power=torch.full((13,), 7.0))
    torch.testing.assert_close(same.full.voxels, plain.full.voxels, rtol=1e-4, atol=1e-4)


def test_premultiplied_and_phase_flipped_images_give_the_same_map(make_phantom, make_particles) -> None:
    phantom = make_phantom(32)
    truth = phantom.volume().voxels
    particles = make_particles(phantom, 400)
    transfer = contrast_transfer(particles.optics[0], particles.defocus, size=(32, 32))
    spectrum = to_fourier(particles.images.pixels.double())

    def with_factor(factor: torch.Tensor, **optics: bool):
        pixels = to_real(spectrum * factor, width=32).float()
        changed = particles.with_images(ImageStack(pixels=pixels, pixel_size=2.3))
        return replace(changed, optics=(replace(particles.optics[0], **optics),))

    plain = reconstruct_with_full_map(particles).full.voxels
    premultiplied = reconstruct_with_full_map(with_factor(transfer, is_premultiplied=True)).full.voxels
    torch.testing.assert_close(premultiplied, plain, rtol=1e-3, atol=1e-3)
    flipped = reconstruct_with_full_map(with_factor(transfer.sign()), ReconstructionSettings(ctf="phase-flipped")).full.voxels
    torch.testing.assert_close(flipped, plain, rtol=1e-3, atol=1e-3)
    ignored = reconstruct_with_full_map(particles, NO_CTF).full.voxels
    assert shell_correlation(ignored, truth)[2:12].mean() < 0.9


def test_random_halves_are_balanced_and_repeatable() -> None:
    first = random_halves(101, generator=torch.Generator().manual_seed(3))
    again = random_halves(101, generator=torch.Generator().manual_seed(3))
    other = random_halves(101, generator=torch.Generator().manual_seed(4))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert sorted(torch.bincount(first).tolist()) == [0, 50, 51]


def test_mixed_optics_groups_use_their_own_ctf(make_phantom, make_particles) -> None:
    phantom = make_phantom(24)
    one = make_particles(phantom, 200)
    other_optics = Optics(pixel_size=2.3, voltage_kv=200.0, amplitude_contrast=0.2)
    images = phantom.images(one.pose)
    spectrum = to_fourier(images)
    odd = torch.arange(200) % 2
    transfers = [contrast_transfer(optics, one.defocus, size=(24, 24)) for optics in (one.optics[0], other_optics)]
    transfer = torch.where(odd[:, None, None] == 1, transfers[1], transfers[0])
    particles = replace(
        one,
        optics=(one.optics[0], other_optics),
        optics_index=odd,
        images=ImageStack(pixels=to_real(spectrum * transfer, width=24).float(), pixel_size=2.3),
        half=torch.arange(200) // 2 % 2 + 1,
    )
    full = reconstruct_with_full_map(particles).full.voxels
    assert shell_correlation(full, phantom.volume().voxels)[1:10].min() > 0.99


def test_a_defocus_with_scale_changes_the_weights_not_the_map(make_phantom, make_particles) -> None:
    phantom = make_phantom(24)
    particles = make_particles(phantom, 200)
    scale = 0.5 + torch.rand(200, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    defocus = particles.defocus
    scaled = Defocus(
        major=defocus.major, minor=defocus.minor, azimuth=defocus.azimuth, phase_shift=defocus.phase_shift, scale=scale
    )
    pixels = particles.images.pixels * scale[:, None, None].float()
    changed = replace(particles, defocus=scaled, images=ImageStack(pixels=pixels, pixel_size=2.3))
    truth = phantom.volume().voxels
    assert scale_of(reconstruct_with_full_map(changed).full.voxels, truth) == pytest.approx(1, abs=0.02)
