"""Beam tilt, higher aberrations and magnification: the truth is found again; the fits' sums are what they claim."""

import math
from dataclasses import replace

import pytest
import torch

from cryowalk.core.errors import InputError, StateConflict, Stopped
from cryowalk.core.execution import SilentProgress
from cryowalk.data import Pose
from cryowalk.data.optics import Aberrations
from cryowalk.fourier.nufft import slices_exactly
from cryowalk.microscope.aberrations import magnified
from cryowalk.microscope.lens import contrast_transfer
from cryowalk.poses import CtfRefinementSettings, refine_aberrations, refine_ctf, refine_magnification
from cryowalk.poses.evidence import Calibration, References, band_of, evidence
from cryowalk.poses.magnification import _slopes, moment_references, translated_defocus
from cryowalk.poses.phase_fits import EvenSums, OddSums, fit_phase

TILT = CtfRefinementSettings(defocus="off", beam_tilt=True)
MATRIX = (1.012, 0.004, 0.003, 0.991)


def without(particles, **optics):
    return replace(particles, optics=(replace(particles.optics[0], **{"aberrations": Aberrations(), **optics}),))


def test_beam_tilt_is_found(photograph, specimen):
    particles = photograph(250, aberrations=Aberrations(beam_tilt=(0.6e-3, -1.1e-3)), noise=1.0)
    found = refine_aberrations(without(particles), [specimen], TILT)
    tilt = found.particles.optics[0].aberrations.beam_tilt
    assert tilt == pytest.approx((0.6e-3, -1.1e-3), abs=0.05e-3)  # rad
    (group,) = found.groups
    assert group.beam_tilt == tilt
    errors = [abs(a - b) / s for a, b, s in zip(tilt, (0.6e-3, -1.1e-3), group.beam_tilt_deviation, strict=True)]
    assert max(errors) < 3.5
    assert group.odd_gain > 10
    again = refine_aberrations(found.particles, [specimen], TILT).groups[0]
    assert again.beam_tilt == pytest.approx((0.0, 0.0), abs=1e-6)


def test_a_shift_that_all_poses_share_goes_into_the_poses(photograph, specimen):
    particles = photograph(150, noise=1.0)
    offset = torch.tensor([0.5, -0.8], dtype=torch.float64)
    moved = particles.with_pose(Pose(lab_from_particle=particles.pose.lab_from_particle, shift=particles.pose.shift + offset))
    found = refine_aberrations(moved, [specimen], TILT).particles
    assert (found.pose.shift - particles.pose.shift).abs().max() < 0.08
    assert found.optics[0].aberrations.beam_tilt == pytest.approx((0.0, 0.0), abs=1e-4)


def test_trefoil_spherical_aberration_and_tetrafoil_are_found(photograph, specimen):
    true = Aberrations(odd_zernike=(0, 0, 20.0, 0, 0, -30.0), even_zernike=(0, 0, 0, 0, 60.0, 0, 0, 0, -40.0))
    particles = photograph(300, aberrations=true, noise=1.0)
    start = without(particles, spherical_aberration_mm=4.2)  # the true one is 2.7
    settings = CtfRefinementSettings(defocus="off", beam_tilt=True, aberrations=True)
    (group,) = refine_aberrations(start, [specimen], settings).groups
    assert group.trefoil == pytest.approx((20.0, -30.0), abs=5)
    assert (group.even_zernike[4], group.even_zernike[8]) == pytest.approx((60.0, -40.0), abs=10)
    assert group.spherical * 1e-7 == pytest.approx(-1.5, abs=0.2)  # mm


def test_the_magnification_matrix_is_found_and_the_ctf_stays(photograph, specimen):
    particles = photograph(300, aberrations=Aberrations(magnification=MATRIX), noise=1.0)
    seen = translated_defocus(particles.defocus, torch.linalg.inv(torch.tensor(MATRIX, dtype=torch.float64).reshape(2, 2)))
    start = replace(without(particles), defocus=seen)
    found = refine_magnification(start, [specimen])
    assert found.matrices[0] == pytest.approx(MATRIX, abs=1e-3)
    assert max(found.deviations[0]) < 5e-4
    torch.testing.assert_close(found.particles.defocus.major, particles.defocus.major, rtol=0, atol=25)
    size = (48, 48)
    before, after = (contrast_transfer(p.optics[0], p.defocus, size=size) for p in (start, found.particles))
    assert (before - after)[:, :12, :12].abs().max() < 0.02  # Cs alone, at fine frequencies, is not translated


def test_a_translated_defocus_is_the_same_form():
    from cryowalk.data import Defocus, Optics
    from cryowalk.microscope.aberrations import phase_coefficients

    values = [torch.tensor([v], dtype=torch.float64) for v in (12000.0, 9000.0, 0.7, 0.0)]
    defocus = Defocus(major=values[0], minor=values[1], azimuth=values[2], phase_shift=values[3])
    growth = torch.tensor([[1.03, 0.02], [-0.01, 0.98]], dtype=torch.float64)
    other = translated_defocus(defocus, growth)
    k = torch.tensor([[0.1, 0.05], [-0.02, 0.2]], dtype=torch.float64)

    def form(d, places):
        a, b, c, _ = phase_coefficients(Optics(pixel_size=1.0), d)
        return a * places[:, 0] ** 2 + b * places[:, 1] ** 2 + c * places[:, 0] * places[:, 1]

    torch.testing.assert_close(form(other, k @ growth.T), form(defocus, k))


def test_phase_fits_recover_phases_of_their_own_sums(photograph, generator):
    """Closed form: sums made from a known phase have their greatest likelihood there, also where it passes π."""
    band = band_of(photograph(2), CtfRefinementSettings())
    radius = torch.sqrt(band.kx**2 + band.ky**2)
    basis = torch.stack((radius**2, radius**2 * (band.kx**2 - band.ky**2) / radius**2, band.kx * radius**2))
    true = torch.tensor([60.0, -30.0, 0.0], dtype=torch.float64)
    phase = true @ basis
    assert phase.abs().max() > 1.2 * math.pi
    weight = torch.rand(len(phase), generator=generator, dtype=torch.float64) + 0.1
    quadratic = torch.stack((weight, 0.2 * weight, 0.8 * weight))
    turn = torch.stack((phase.cos(), phase.sin()))
    linear = torch.stack((quadratic[0] * turn[0] + quadratic[1] * turn[1], quadratic[1] * turn[0] + quadratic[2] * turn[1]))
    even = fit_phase(EvenSums(linear=linear, quadratic=quadratic), basis[:2], band=band)
    torch.testing.assert_close(even.coefficients, true[:2], rtol=1e-5, atol=1e-4)
    odd = OddSums(real=weight * phase.cos(), imaginary=weight * phase.sin(), power=weight)
    torch.testing.assert_close(fit_phase(odd, basis, band=band).coefficients, true, rtol=1e-5, atol=1e-3)
    expected = (basis[:2] * weight) @ basis[:2].T
    deviations = torch.linalg.inv(expected).diagonal().sqrt()
    flat = fit_phase(OddSums(real=weight, imaginary=0 * weight, power=weight), basis[:2], band=band)
    torch.testing.assert_close(flat.deviations, deviations, rtol=1e-3, atol=0)


def test_the_chain_improves_all_and_a_stopped_one_ends_the_same(photograph, specimen):
    particles = photograph(120, aberrations=Aberrations(beam_tilt=(0.8e-3, 0.5e-3)), noise=1.0)
    d = particles.defocus
    start = replace(without(particles), defocus=replace(d, major=d.major + 120, minor=d.minor + 120))
    settings = CtfRefinementSettings(beam_tilt=True)
    kept = Kept()
    whole = refine_ctf(start, [specimen], settings)
    assert whole.particles.optics[0].aberrations.beam_tilt == pytest.approx((0.8e-3, 0.5e-3), abs=0.08e-3)
    assert (whole.particles.defocus.major - d.major).abs().median() < 25
    assert whole.aberrations[0].beam_tilt == pytest.approx(whole.particles.optics[0].aberrations.beam_tilt)
    with pytest.raises(Stopped):
        refine_ctf(start, [specimen], settings, progress=StopsAt("defocus"), checkpoint=kept)
    rest = refine_ctf(start, [specimen], settings, checkpoint=kept)
    assert torch.equal(rest.particles.defocus.major, whole.particles.defocus.major)
    assert rest.particles.optics == whole.particles.optics
    assert rest.aberrations[0].beam_tilt == whole.aberrations[0].beam_tilt
    with pytest.raises(StateConflict):
        refine_ctf(start, [specimen], replace(settings, aberrations=True), checkpoint=kept)


class Kept:
    """A checkpoint in memory."""

    state = None

    def load(self):
        return self.state

    def save(self, state) -> None:
        self.state = state


class StopsAt(SilentProgress):
    """Stops when this step begins."""

    def __init__(self, step: str) -> None:
        self.step = step

    def start(self, what: str, total: int) -> None:
        if what == self.step:
            raise Stopped(f"stopped by the test at {what} of {total}")


def test_without_spherical_aberration_there_is_no_beam_tilt(photograph, specimen):
    with pytest.raises(InputError, match="Cs of 0"):
        refine_aberrations(without(photograph(8), spherical_aberration_mm=0.0), [specimen], TILT)


def test_slopes_are_the_slices_derivatives(photograph, specimen):
    """∂p/∂κ by the moments of the map equals the difference of exact slices through stretched frequencies."""
    particles, settings = photograph(3), CtfRefinementSettings()
    references, band = References.of([specimen]), band_of(particles, settings)
    ones = Calibration(scale=torch.ones(1, band.shells), inverse_noise=torch.ones(1, band.shells))
    (part,) = evidence(particles, references, band, settings=settings, calibration=ones)
    slopes = _slopes(particles, moment_references([specimen]), part, band=band, scale=ones.scale)
    step, exact = 1e-4, replace(specimen, voxels=specimen.voxels.double())
    inside = torch.sqrt(band.kx**2 + band.ky**2) < 0.45 / 1.6
    for i in range(2):
        for j in range(2):
            sides = []
            for sign in (1, -1):
                change = torch.eye(2, dtype=torch.float64)
                change[i, j] += sign * step
                optics = replace(particles.optics[0], aberrations=Aberrations(magnification=tuple(change.reshape(-1).tolist())))
                spectra = slices_exactly(exact, magnified(particles.pose.lab_from_particle, optics=optics))
                sides.append(band.disk.gather(spectra, count=band.last)[:, band.first :])
            measured = ((sides[0] - sides[1]) / (2 * step))[:, inside]
            expected = (slopes[i] * (band.kx if j == 0 else band.ky))[:, inside]
            assert (measured - expected).norm() < 0.02 * measured.norm()


def test_a_fit_of_fine_detail_alone_begins_where_there_is_any(photograph, specimen):
    """All detail coarser than the first stage's end is left out: that stage has nothing to fit, which once gave NaN."""
    particles = photograph(60, noise=1.0)
    settings = replace(TILT, coarsest_resolution=7.0)  # Å; Nyquist is 3.2 Å, so that the first 0.4 hold nothing
    (group,) = refine_aberrations(particles, [specimen], settings).groups
    assert all(math.isfinite(value) for value in (*group.beam_tilt, *group.beam_tilt_deviation, group.odd_gain))
    assert max(abs(a / s) for a, s in zip(group.beam_tilt, group.beam_tilt_deviation, strict=True)) < 4
