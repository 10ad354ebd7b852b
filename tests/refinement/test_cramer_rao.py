"""The bound of poses against derivatives of images in closed form, and against what it must not depend on."""

import math
from dataclasses import replace

import pytest
import torch

from cryowalk.core.errors import InputError
from cryowalk.data import Defocus, Optics, Pose
from cryowalk.geometry.rotations import matrix_from_rotation_vector
from cryowalk.refinement import pose_bound
from cryowalk.refinement.cramer_rao import pose_information

VARIANCE = 0.7  # of a pixel's noise


def without_ctf(particles, pixel_size):
    """The same particles under a lens whose transfer is 1 everywhere: all amplitude contrast, no defocus, no Cs."""
    optics = Optics(pixel_size=pixel_size, amplitude_contrast=1.0, spherical_aberration_mm=0.0)
    zero = torch.zeros(len(particles), dtype=torch.float64)
    return replace(particles, optics=(optics,), defocus=Defocus(major=zero, minor=zero, azimuth=zero, phase_shift=zero))


def white(shells):
    """σ² per real component of white noise of this variance a pixel."""
    return torch.full((1, shells), VARIANCE / 2)


def derivative_images(blobs, pose):
    """∂image/∂(turn about x, y, z; shift along x, y), by central differences of images in closed form."""
    step, images = 1e-4, []
    for axis in torch.eye(3, dtype=torch.float64):
        forth, back = (
            blobs.images(
                Pose(lab_from_particle=matrix_from_rotation_vector(sign * step * axis) @ pose.lab_from_particle, shift=pose.shift)
            )
            for sign in (1, -1)
        )
        images.append((forth - back) / (2 * step))
    for axis in torch.eye(2, dtype=torch.float64):
        forth, back = (
            blobs.images(Pose(lab_from_particle=pose.lab_from_particle, shift=pose.shift + sign * step * axis))
            for sign in (1, -1)
        )
        images.append((forth - back) / (2 * step))
    return torch.stack(images, dim=1).flatten(2)


@pytest.mark.parametrize("box", [32, 33])
def test_information_is_the_sum_over_pixels_of_products_of_derivatives(specimen, box):
    blobs = specimen(box)
    particles = without_ctf(blobs.particles(12, snr=1.0, shift=0.0), blobs.pixel_size)
    pose = Pose(lab_from_particle=particles.pose.lab_from_particle, shift=torch.zeros(12, 2, dtype=torch.float64))
    found = pose_information(particles.with_pose(pose), blobs.volume(), white(box // 2 + 1))
    images = derivative_images(blobs, pose)
    expected = images @ images.mT / VARIANCE
    scale = expected.diagonal(dim1=-2, dim2=-1).sqrt()
    relative = (found - expected) / (scale[:, :, None] * scale[:, None, :])
    assert relative.abs().max() < 0.015  # slices are interpolated


def test_shift_of_one_round_blob_in_closed_form():
    from tests.refinement.conftest import Specimen

    class Round(Specimen):
        def _blobs(self):
            return [(torch.zeros(3, dtype=torch.float64), 0.1 * self.box * self.pixel_size, 1.3)]

    blob = Round(40, 2.7)
    particles = without_ctf(blob.particles(3, snr=1.0, shift=0.0), 2.7)
    information = pose_information(particles, blob.volume(), white(21))
    width = 0.1 * 40 * 2.7
    height = 1.3 * width * math.sqrt(2 * math.pi)  # of the projection
    # ∫ (∂p/∂x)² dx dy = π A² / 2, in pixels of p²
    expected = math.pi * height**2 / 2 / 2.7**2 / VARIANCE
    assert information[:, 3, 3] == pytest.approx(torch.full((3,), expected).double(), rel=0.01)
    assert information[:, 4, 4] == pytest.approx(torch.full((3,), expected).double(), rel=0.01)
    assert information[:, :3, :3].abs().max() < 1e-3 * expected * width**2  # a ball does not show its turns


def test_the_bound_falls_with_signal_and_not_with_the_shift(specimen):
    blobs = specimen()
    particles = blobs.particles(20, snr=1.0)
    noise = white(17)
    bound = pose_bound(particles, blobs.volume(), noise)
    quiet = pose_bound(particles, blobs.volume(), noise / 4)
    assert torch.allclose(quiet.angle, bound.angle / 2, rtol=1e-6)
    assert torch.allclose(quiet.shift, bound.shift / 2, rtol=1e-6)
    moved = particles.with_pose(Pose(lab_from_particle=particles.pose.lab_from_particle, shift=particles.pose.shift + 4))
    assert torch.allclose(pose_bound(moved, blobs.volume(), noise).angle, bound.angle, rtol=1e-6)
    coarse = pose_bound(particles, blobs.volume(), noise, radius=6)
    assert bool((coarse.angle > bound.angle).all())


def test_median_errors_are_those_of_the_gaussian_law(specimen, generator):
    blobs = specimen()
    bound = pose_bound(blobs.particles(30, snr=1.0), blobs.volume(), white(17))
    covariance = torch.diag(torch.tensor([0.02, 0.02, 0.02, 1.5, 1.5]).double() ** 2).expand(200, 5, 5)
    angle, shift = replace(bound, covariance=covariance).median_errors(generator)
    assert angle == pytest.approx(0.02 * 1.5382, rel=0.02)  # the median of a Maxwell law
    assert shift == pytest.approx(1.5 * math.sqrt(2 * math.log(2)), rel=0.02)  # of a Rayleigh law


def test_particles_without_poses_are_refused(specimen):
    blobs = specimen()
    particles = replace(blobs.particles(4, snr=1.0), pose=None)
    with pytest.raises(InputError, match="poses and CTF"):
        pose_bound(particles, blobs.volume(), white(17))
