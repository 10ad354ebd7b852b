"""Slices across the beam: they add up to the projection, lie where their atoms are, and carry gradients."""

from dataclasses import replace

import pytest
import torch

from cryowalk.core.errors import CryowalkWarning, InputError, ShapeError, UsageError
from cryowalk.data.atoms import Atoms
from cryowalk.data.optics import Optics
from cryowalk.data.pose import Pose
from cryowalk.data.volume import Volume
from cryowalk.fourier.filters import shift_images
from cryowalk.fourier.grids import coordinates
from cryowalk.fourier.nufft import project_exactly, rotate_exactly
from cryowalk.geometry.sampling import random_rotations
from cryowalk.microscope.scattering import exit_wave, slices_of_atoms, slices_of_volume
from cryowalk.microscope.specimen import potential, projected_potential

PLACES = ((4.0, -3.0, 6.0, 1.0), (-6.0, -1.0, -3.0, 0.5), (1.0, 7.0, -5.0, 0.8))  # x, y, z (Å) and height of three blobs


def blobs(box, *, pixel_size=1.5, rotation=None, width=3.0):
    x, y, z = coordinates((box, box, box), pixel_size=pixel_size, dtype=torch.float64)
    voxels = torch.zeros(box, box, box, dtype=torch.float64)
    for *place, height in PLACES:
        at = torch.tensor(place, dtype=torch.float64)
        a, b, c = (at if rotation is None else rotation @ at).tolist()
        voxels = voxels + height * torch.exp(-((x - a) ** 2 + (y - b) ** 2 + (z - c) ** 2) / (2 * width**2))
    return voxels


def still(rotations):
    return Pose(lab_from_particle=rotations, shift=torch.zeros(len(rotations), 2, dtype=torch.float64))


def some_atoms(generator, count=30):
    spread = torch.tensor([7.0, 5.0, 9.0], dtype=torch.float64)
    return Atoms(
        positions=(2 * torch.rand(count, 3, generator=generator, dtype=torch.float64) - 1) * spread,
        atomic_numbers=torch.tensor([6, 7, 8])[torch.randint(0, 3, (count,), generator=generator)],
        b_factors=torch.full((count,), 60.0, dtype=torch.float64),
        occupancies=torch.ones(count, dtype=torch.float64),
    )


@pytest.mark.parametrize("box", [32, 33])
def test_a_turned_volume_is_that_of_turned_gaussians(box, generator):
    rotations = random_rotations(3, generator=generator)
    turned = rotate_exactly(Volume(voxels=blobs(box), voxel_size=1.5), rotations)
    for volume, rotation in zip(turned, rotations, strict=True):
        torch.testing.assert_close(volume, blobs(box, rotation=rotation), atol=1e-6, rtol=0)


@pytest.mark.parametrize("box", [32, 33])
@pytest.mark.parametrize("thickness", [0.7, 1.5, 4.0, 200.0])
def test_slices_add_up_to_the_projection(box, thickness, generator):
    volume = Volume(voxels=blobs(box), voxel_size=1.5)
    rotations = random_rotations(2, generator=generator)
    pose = Pose(lab_from_particle=rotations, shift=torch.tensor([[2.2, -3.1], [0.0, 0.0]], dtype=torch.float64))
    slices = slices_of_volume(volume, pose, slice_thickness=thickness)
    expected = shift_images(project_exactly(volume, rotations), pose.shift, pixel_size=1.5)
    torch.testing.assert_close(slices.sum(dim=1), expected, atol=1e-6, rtol=0)
    assert slices.shape[1] * thickness >= box * 1.5
    single = slices_of_volume(replace(volume, voxels=volume.voxels.float()), pose, slice_thickness=thickness)
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), slices, atol=2e-4, rtol=0)


@pytest.mark.parametrize("box", [32, 33])
def test_slices_lie_at_their_heights(box, generator):
    """Σ zᵢ vᵢ is the first moment along the beam, which a rotation turns as a vector."""
    rotations = random_rotations(4, generator=generator)
    for thickness in (1.5, 2.0, 4.1):
        slices = slices_of_volume(Volume(voxels=blobs(box), voxel_size=1.5), still(rotations), slice_thickness=thickness)
        count = slices.shape[1]
        height = (torch.arange(count, dtype=torch.float64) - (count - 1) / 2) * thickness
        mass = slices.sum(dim=(2, 3))
        centre = (mass * height).sum(dim=1) / mass.sum(dim=1)
        weight = torch.tensor([h for *_, h in PLACES], dtype=torch.float64)
        middle = (torch.tensor(PLACES, dtype=torch.float64)[:, :3] * weight[:, None]).sum(dim=0) / weight.sum()
        torch.testing.assert_close(centre, (rotations @ middle)[:, 2], atol=0.03, rtol=0)


def test_gradients_reach_the_voxels(generator):
    rotations = random_rotations(2, generator=generator)

    def slices(voxels):
        return slices_of_volume(Volume(voxels=voxels, voxel_size=1.5), still(rotations), slice_thickness=3.0)

    voxels = torch.randn(6, 6, 6, generator=generator, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(slices, (voxels,), fast_mode=True)
    wave = exit_wave(slices(voxels), optics=Optics(pixel_size=1.5), slice_thickness=3.0)
    (gradient,) = torch.autograd.grad(wave.abs().square()[0, 2, 3], voxels)
    assert gradient.abs().max() > 0


def test_slices_of_atoms_add_up_and_lie_where_the_atoms_are(generator):
    atoms = some_atoms(generator)
    slices = list(slices_of_atoms(atoms, size=(40, 51), pixel_size=0.7, slice_thickness=2.5))
    torch.testing.assert_close(
        torch.stack(slices).sum(dim=0), projected_potential(atoms, size=(40, 51), pixel_size=0.7), atol=1e-3, rtol=0
    )
    count = len(slices)
    assert count == 7  # atoms reach 8.5 Å to both sides
    assert 7.5 < atoms.positions[:, 2].abs().max() < 8.75
    for number, one in enumerate(slices):
        inside = (atoms.positions[:, 2] / 2.5 + count / 2).floor() == number
        assert (one.sum() > 1) == bool(inside.any())


def test_slices_of_atoms_and_of_their_volume_scatter_alike(generator):
    atoms = some_atoms(generator, count=60)
    optics = Optics(pixel_size=0.8)
    volume = potential(atoms, box=48, voxel_size=0.8, centre=(0.0, 0.0, 0.0))
    from_volume = slices_of_volume(volume, still(torch.eye(3, dtype=torch.float64)[None]), slice_thickness=0.8)[0]
    from_atoms = slices_of_atoms(atoms, size=(48, 48), pixel_size=0.8, slice_thickness=0.8)
    one = exit_wave(from_volume.double(), optics=optics, slice_thickness=0.8)
    other = exit_wave(from_atoms, optics=optics, slice_thickness=0.8)
    assert ((one - other).norm() / (one - 1).norm()).item() < 0.01


def test_hostile_input_is_refused(generator):
    atoms = some_atoms(generator)
    with pytest.raises(UsageError, match="slice thickness"):
        slices_of_atoms(atoms, size=(8, 8), pixel_size=1.0, slice_thickness=0.0)
    with pytest.raises(UsageError, match="thickness of the specimen"):
        slices_of_atoms(atoms, size=(8, 8), pixel_size=1.0, slice_thickness=1.0, thickness=-5.0)
    with pytest.warns(CryowalkWarning, match="left out"):
        slices_of_atoms(atoms, size=(8, 8), pixel_size=1.0, slice_thickness=1.0, thickness=5.0)
    none = Atoms(
        positions=torch.zeros(0, 3),
        atomic_numbers=torch.zeros(0, dtype=torch.long),
        b_factors=torch.zeros(0),
        occupancies=torch.zeros(0),
    )
    with pytest.raises(InputError, match="no atoms"):
        list(slices_of_atoms(none, size=(8, 8), pixel_size=1.0, slice_thickness=1.0))
    pose = still(torch.eye(3, dtype=torch.float64)[None])
    with pytest.raises(ShapeError, match="cube"):
        slices_of_volume(Volume(voxels=torch.zeros(4, 4, 5), voxel_size=1.0), pose, slice_thickness=1.0)
    with pytest.raises(UsageError, match="slice thickness"):
        slices_of_volume(Volume(voxels=torch.zeros(4, 4, 4), voxel_size=1.0), pose, slice_thickness=-1.0)
