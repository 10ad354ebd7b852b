"""The Ewald sphere's curvature: images of a thick specimen give its map back with the right curvature, worse without, worst with the wrong one."""

import math
from dataclasses import replace

import pytest
import torch

from cryowalk.core.errors import UsageError
from cryowalk.data import Defocus, ImageStack, Optics, ParticleSet, Pose, Volume
from cryowalk.data.optics import Aberrations
from cryowalk.fourier.filters import b_factor
from cryowalk.fourier.grids import frequency_grid
from cryowalk.fourier.shells import shell_correlation
from cryowalk.fourier.transform import complex_transform, to_fourier, to_real
from cryowalk.geometry.sampling import random_rotations
from cryowalk.microscope.lens import antisymmetric_factor, wave_transfer
from cryowalk.microscope.scattering import exit_wave, phase_strength, slices_of_volume
from cryowalk.reconstruction import ReconstructionSettings, reconstruct_with_full_map
from cryowalk.reconstruction.ewald import ball_correlation, curved_sheets, sheet_stretch

BOX, WEAK = 32, 1e-4
# A slow beam has a strongly curved sphere: λ = 0.22 Å, and phases of 2 rad at the particle's rim at Nyquist, as 300 kV has 130 Å from the middle at 2 Å.
OPTICS = Optics(pixel_size=1.0, voltage_kv=3.0, spherical_aberration_mm=0.01)
SETTINGS = ReconstructionSettings(diameter=24.0)


def specimen(generator) -> Volume:
    axis = torch.arange(BOX) - BOX // 2
    inside = (axis[:, None, None] ** 2 + axis[:, None] ** 2 + axis**2).sqrt() < 0.36 * BOX
    voxels = b_factor(torch.randn(BOX, BOX, BOX, generator=generator) * inside, b_factor=10.0, pixel_size=1.0, dimensions=3)
    return Volume(voxels=voxels, voxel_size=1.0)


def defocus_of(count, generator) -> Defocus:
    major = 1000 + 3000 * torch.rand(count, generator=generator, dtype=torch.float64)
    azimuth = math.pi * torch.rand(count, generator=generator, dtype=torch.float64)
    return Defocus(major=major, minor=major - 100, azimuth=azimuth, phase_shift=torch.zeros_like(major))


def thick_particles(volume: Volume, count: int, generator, optics=OPTICS) -> ParticleSet:
    """Images of single scattering at every depth, by the microscope's own wave, of a specimen so weak that only the linear part is left."""
    rotations = random_rotations(count, generator=generator)
    defocus = defocus_of(count, generator)
    images = []
    for chosen in torch.arange(count).split(50):
        pose = Pose(lab_from_particle=rotations[chosen].float(), shift=torch.zeros(len(chosen), 2))
        slices = slices_of_volume(volume, pose, slice_thickness=1.0).double() * WEAK
        wave = exit_wave(slices, optics=optics, slice_thickness=1.0, method="ewald")
        spectrum = complex_transform(wave, dimensions=2, direction="forward")
        spectrum = spectrum * wave_transfer(optics, defocus[chosen], size=(BOX, BOX))
        intensity = complex_transform(spectrum, dimensions=2, direction="inverse").abs().square()
        images.append((1 - intensity) / (2 * abs(phase_strength(optics)) * WEAK))
    return ParticleSet(
        optics=(optics,),
        optics_index=torch.zeros(count, dtype=torch.long),
        images=ImageStack(pixels=torch.cat(images).float(), pixel_size=1.0),
        pose=Pose(lab_from_particle=rotations, shift=torch.zeros(count, 2, dtype=torch.float64)),
        defocus=defocus,
    )


def test_the_right_curvature_restores_fine_detail(generator) -> None:
    volume = specimen(generator)
    particles = thick_particles(volume, 200, generator)
    found = {
        ewald: reconstruct_with_full_map(particles, replace(SETTINGS, ewald=ewald)).full.voxels
        for ewald in ("off", "on", "reversed")
    }
    curves = {ewald: shell_correlation(voxels, volume.voxels) for ewald, voxels in found.items()}
    fine = {ewald: float(curve[13:17].mean()) for ewald, curve in curves.items()}
    assert fine["on"] > fine["off"] + 0.005
    assert fine["off"] > fine["reversed"] + 0.1
    # The flat map is also damped where the particle is far from its middle plane.
    scales = {ewald: float((v * volume.voxels).sum() / volume.voxels.square().sum()) for ewald, v in found.items()}
    assert scales["on"] > scales["off"] + 0.05 > scales["reversed"] + 0.1


def test_the_hand_turns_with_the_curvature(generator) -> None:
    """Mirrored poses and the reversed curvature give the mirror image: the curvature is what an absolute hand can be read from."""
    volume = specimen(generator)
    particles = thick_particles(volume, 50, generator)
    mirror = torch.diag(torch.tensor([1.0, 1.0, -1.0], dtype=torch.float64))
    mirrored = particles.with_pose(
        Pose(lab_from_particle=mirror @ particles.pose.lab_from_particle @ mirror, shift=particles.pose.shift)
    )
    right = reconstruct_with_full_map(particles, replace(SETTINGS, ewald="on")).full.voxels
    other = reconstruct_with_full_map(mirrored, replace(SETTINGS, ewald="reversed")).full.voxels
    same_rows = slice(1, None)  # the mirror of plane 0 lies outside of an even box
    assert (other.flip(0).roll(1, 0) - right)[same_rows].norm() < 1e-3 * right.norm()


def test_sheets_that_fall_together_are_the_flat_slice(generator) -> None:
    """Where λk²D is small the sums of both sheets are CTF · X and CTF², and they lie at kz = ±λk²/2."""
    optics = Optics(pixel_size=4.0, voltage_kv=300.0, amplitude_contrast=0.1)
    defocus = defocus_of(3, generator)
    spectra = to_fourier(torch.randn(3, 24, 24, generator=generator, dtype=torch.float64))
    common = torch.ones(24, 13, dtype=torch.float64)
    below, above = curved_sheets(
        spectra, optics, defocus, common=common, settings=ReconstructionSettings(ewald="on", diameter=20.0)
    )
    from cryowalk.microscope.lens import contrast_transfer

    transfer = contrast_transfer(optics, defocus, size=(24, 24))
    torch.testing.assert_close(below.numerator + above.numerator, spectra * transfer, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(below.weight + above.weight, transfer**2, rtol=0, atol=2e-3)
    kx, ky = frequency_grid((24, 24), pixel_size=4.0, dtype=torch.float64)
    sag = optics.wavelength * (kx**2 + ky**2) / 2 * 96
    torch.testing.assert_close(above.height, sag)
    torch.testing.assert_close(below.height, -sag)


def test_sheets_far_apart_weigh_a_quarter_each(generator) -> None:
    settings = replace(SETTINGS, ewald="on", diameter=1e5)
    spectra = torch.zeros(2, BOX, BOX // 2 + 1, dtype=torch.complex128)
    for sheet in curved_sheets(
        spectra, OPTICS, defocus_of(2, generator), common=torch.ones(BOX, BOX // 2 + 1).double(), settings=settings
    ):
        torch.testing.assert_close(sheet.weight[:, 10:-10], torch.full_like(sheet.weight[:, 10:-10], 0.25), rtol=0, atol=1e-3)


def test_the_correlation_of_a_ball_is_that_of_its_transform() -> None:
    assert float(ball_correlation(torch.tensor(0.0), diameter=50.0)) == pytest.approx(1, abs=1e-4)
    first_zero = 4.493409457909064 / (math.pi * 50.0)  # tan t = t
    assert float(ball_correlation(torch.tensor(first_zero, dtype=torch.float64), diameter=50.0)) == pytest.approx(0, abs=1e-9)
    # Numerically: the mean of cos 2πqz over a ball.
    z = torch.linspace(-25, 25, 20001, dtype=torch.float64)
    density = 25**2 - z**2
    for distance in (0.005, 0.02, 0.06):
        expected = float((density * torch.cos(2 * math.pi * distance * z)).sum() / density.sum())
        assert float(ball_correlation(torch.tensor(distance, dtype=torch.float64), diameter=50.0)) == pytest.approx(
            expected, abs=1e-6
        )


def test_odd_aberrations_and_the_defocus_scale_are_undone_on_curved_sheets(generator) -> None:
    volume = specimen(generator)
    plain = thick_particles(volume, 60, generator)
    aberrations = Aberrations(beam_tilt=(2e-3, -1e-3), odd_zernike=(0.0, 0.0, 10.0))
    optics = replace(OPTICS, aberrations=aberrations)
    scale = 0.5 + torch.rand(60, generator=generator, dtype=torch.float64)
    spectra = to_fourier(plain.images.pixels.double()) * scale[:, None, None]
    spectra = spectra * antisymmetric_factor(optics, size=(BOX, BOX), like=spectra)
    images = ImageStack(pixels=to_real(spectra, width=BOX).float(), pixel_size=1.0)
    tilted = replace(plain, optics=(optics,), images=images, defocus=replace(plain.defocus, scale=scale))
    maps = [reconstruct_with_full_map(p, replace(SETTINGS, ewald="on")).full.voxels for p in (plain, tilted)]
    assert shell_correlation(*maps)[1:16].min() > 0.97
    assert float((maps[0] * maps[1]).sum() / maps[0].square().sum()) == pytest.approx(1, abs=0.03)


def test_images_whose_phases_were_changed_are_refused(make_phantom, make_particles) -> None:
    particles = make_particles(make_phantom(16), 4)
    flipped = ReconstructionSettings(ctf="phase-flipped", ewald="on")
    with pytest.raises(UsageError, match="Ewald"):
        reconstruct_with_full_map(particles, flipped)
    premultiplied = replace(particles, optics=(replace(particles.optics[0], is_premultiplied=True),))
    with pytest.raises(UsageError, match="premultiplied"):
        reconstruct_with_full_map(premultiplied, replace(flipped, ctf="correct"))


def test_the_sheets_stay_on_the_grid() -> None:
    assert sheet_stretch(OPTICS) == pytest.approx(math.hypot(0.5, OPTICS.wavelength / 8) / 0.5, rel=1e-12)
