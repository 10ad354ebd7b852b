"""The conventions, each by a formula written out here: a single Gaussian blob at a known place says where everything goes.

A blob has no symmetry to hide a flip, a transpose, an inverse or an off-by-one behind: its centre is three numbers.
"""

import math

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from cryowalk.data import Defocus, Optics, Pose, Volume
from cryowalk.fourier.slices import extract_slices, prepare_volume
from cryowalk.fourier.transform import to_fourier, to_real
from cryowalk.io.relion import lab_from_particle_from_relion
from cryowalk.microscope.lens import contrast_transfer

VOXEL = 1.9
PLACE = (9.5, -5.7, 3.8)  # x, y, z in Å: whole voxels (5, −3, 2)


def blob_volume(box: int) -> Volume:
    axis = (torch.arange(box, dtype=torch.float64) - box // 2) * VOXEL
    x, y, z = (torch.exp(-((axis - c) ** 2) / (2 * 4.0**2)) for c in PLACE)
    return Volume(voxels=z[:, None, None] * y[:, None] * x, voxel_size=VOXEL)


def centre_of_mass(image: torch.Tensor) -> tuple[float, float]:
    """(x, y) in Å, relative to the origin pixel n // 2 of the axes [y, x], of what is brighter than a fifth of the maximum."""
    image = (image - image.max() / 5).clamp_min(0)
    height, width = image.shape
    x = (torch.arange(width, dtype=image.dtype) - width // 2) * VOXEL
    y = (torch.arange(height, dtype=image.dtype) - height // 2) * VOXEL
    return float((image * x).sum() / image.sum()), float((image * y[:, None]).sum() / image.sum())


@pytest.mark.parametrize("box", [48, 49])
def test_arrays_are_z_y_x_with_the_origin_at_half_the_box(box: int) -> None:
    peak = int(blob_volume(box).voxels.argmax())
    middle = box // 2
    assert (peak // box**2, peak // box % box, peak % box) == (middle + 2, middle - 3, middle + 5)


@pytest.mark.parametrize("box", [8, 9])
def test_the_spectrum_of_a_point_at_the_origin_pixel_is_flat_and_real(box: int) -> None:
    image = torch.zeros(box, box, dtype=torch.float64)
    image[box // 2, box // 2] = 1
    torch.testing.assert_close(to_fourier(image), torch.full((box, box // 2 + 1), 1 / box, dtype=torch.complex128))
    image = torch.zeros(box, box, dtype=torch.float64)
    image[box // 2, box // 2 + 1] = 1  # one pixel along +x: e^(−2πi k) along the half axis, nothing along y
    expected = torch.exp(-2j * math.pi * torch.arange(box // 2 + 1, dtype=torch.float64) / box) / box
    torch.testing.assert_close(to_fourier(image), expected.expand(box, -1))


@pytest.mark.parametrize("box", [48, 49])
def test_a_pose_turns_the_particle_and_its_shift_moves_it(box: int) -> None:
    matrix = torch.tensor(Rotation.from_rotvec([0.3, -0.8, 0.5]).as_matrix())
    pose = Pose(lab_from_particle=matrix[None], shift=torch.tensor([[4.0, -7.0]], dtype=torch.float64))
    slices = extract_slices(prepare_volume(blob_volume(box)), pose.lab_from_particle, shift=pose.shift)
    x, y = centre_of_mass(to_real(slices, width=box)[0])
    expected = matrix @ torch.tensor(PLACE, dtype=torch.float64)
    assert x == pytest.approx(float(expected[0]) + 4.0, abs=0.15)
    assert y == pytest.approx(float(expected[1]) - 7.0, abs=0.15)


def test_a_projection_is_the_integral_along_z_in_angstrom() -> None:
    volume = blob_volume(48)
    image = to_real(extract_slices(prepare_volume(volume), torch.eye(3, dtype=torch.float64)[None]), width=48)[0]
    assert float(image.max()) == pytest.approx(math.sqrt(2 * math.pi) * 4.0, rel=0.03)  # the blob's width is 4 Å, its height 1
    assert centre_of_mass(image) == pytest.approx(PLACE[:2], abs=0.1)


def test_relions_angles_are_the_transpose_of_zyz() -> None:
    angles = (31.0, 67.0, -142.0)
    ours = lab_from_particle_from_relion(torch.tensor(angles, dtype=torch.float64))
    np.testing.assert_allclose(ours.numpy(), Rotation.from_euler("ZYZ", angles, degrees=True).as_matrix().T, atol=1e-12)
    # RELION's own words for two of them: psi turns the image clockwise by −psi, tilt brings +z towards the viewer along x.
    in_plane = lab_from_particle_from_relion(torch.tensor([0.0, 0.0, 90.0], dtype=torch.float64))
    np.testing.assert_allclose((in_plane @ torch.tensor([1.0, 0, 0], dtype=torch.float64)).numpy(), [0, -1, 0], atol=1e-12)
    tilted = lab_from_particle_from_relion(torch.tensor([0.0, 90.0, 0.0], dtype=torch.float64))
    np.testing.assert_allclose((tilted @ torch.tensor([0.0, 0, 1], dtype=torch.float64)).numpy(), [-1, 0, 0], atol=1e-12)


def test_cryosparcs_poses_are_transposed_rotation_vectors(real_data) -> None:
    """A cryoSPARC file beside another program's parse of it, which multiplies rows k R as a central slice Rᵀk does."""
    folder = real_data / "interop"
    rows = np.load(folder / "cryosparc_P12_J24_001_particles.cs", allow_pickle=False, max_header_size=100_000)
    theirs = np.load(folder / "cryodrgn_pose_from_P12_J24_cs.npz")
    lab_from_particle = Rotation.from_rotvec(rows["alignments3D/pose"]).as_matrix().transpose(0, 2, 1)
    np.testing.assert_allclose(lab_from_particle, theirs["rot"], atol=1e-5)
    # That program's translation is in fractions of the box and moves the image back; ours is where the particle lies, in Å.
    box, pixel_size = 180, rows["alignments3D/psize_A"][:, None]
    np.testing.assert_allclose(rows["alignments3D/shift"] / box, theirs["trans"], atol=1e-5)
    assert np.all(np.isfinite(-rows["alignments3D/shift"] * pixel_size))


def test_positive_defocus_is_underfocus_and_its_azimuth_runs_from_x_to_y() -> None:
    optics = Optics(pixel_size=VOXEL, spherical_aberration_mm=0.0, amplitude_contrast=0.07)
    one = torch.ones(1, dtype=torch.float64)

    def transfer(major: float, minor: float, azimuth: float) -> torch.Tensor:
        defocus = Defocus(major=major * one, minor=minor * one, azimuth=azimuth * one, phase_shift=0 * one)
        return contrast_transfer(optics, defocus, size=(64, 64))[0]

    assert float(transfer(10000, 10000, 0)[0, 0]) == pytest.approx(0.07)
    wavelength = optics.wavelength
    for azimuth, along in ((0.0, (0, 6)), (math.pi / 2, (6, 0)), (math.pi / 4, (6, 6))):
        image = transfer(9000, 7000, azimuth)
        squared = (along[0] ** 2 + along[1] ** 2) / (64 * VOXEL) ** 2
        # Along its azimuth the defocus is the major one, and underfocus makes the phase grow from + arcsin Q.
        expected = math.sin(math.pi * wavelength * 9000 * squared + math.asin(0.07))
        assert float(image[along]) == pytest.approx(expected, abs=1e-6)
        assert float(image[along]) > 0.07
    # At 45° towards +y the minor axis lies towards −y.
    image, squared = transfer(9000, 7000, math.pi / 4), 72 / (64 * VOXEL) ** 2
    assert float(image[-6, 6]) == pytest.approx(math.sin(math.pi * wavelength * 7000 * squared + math.asin(0.07)), abs=1e-6)
