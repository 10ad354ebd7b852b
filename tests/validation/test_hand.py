"""Turning a hand over with its poses, and telling it by a model."""

from dataclasses import replace

import pytest
import torch

from cryowalk.core.errors import InputError
from cryowalk.data import Atoms, Pose, Volume
from cryowalk.fourier.nufft import project_exactly
from cryowalk.geometry.sampling import random_rotations
from cryowalk.microscope.specimen import hinge
from cryowalk.validation import compare_maps
from cryowalk.validation.hand import WITHOUT_MODEL, check_hand, flip_hand
from cryowalk.validation.map_model import model_density


@pytest.mark.parametrize("box", [24, 25])
def test_a_flipped_map_at_flipped_poses_has_the_same_images(box: int, phantom, generator: torch.Generator) -> None:
    volume = phantom(box)
    volume = replace(volume, voxels=volume.voxels.double())
    pose = Pose(lab_from_particle=random_rotations(6, generator=generator), shift=torch.randn(6, 2, generator=generator))
    flipped = flip_hand(pose)
    assert torch.allclose(torch.linalg.det(flipped.lab_from_particle), torch.ones(6, dtype=torch.float64))
    assert torch.equal(flipped.shift, pose.shift)
    images = project_exactly(volume, pose.lab_from_particle)
    same = project_exactly(flip_hand(volume), flipped.lab_from_particle)
    scale = float(images.abs().max())
    assert torch.allclose(same, images, atol=2e-4 * scale)
    wrong = project_exactly(flip_hand(volume), pose.lab_from_particle)
    assert float((wrong - images).abs().max()) > 0.1 * scale


@pytest.mark.parametrize("box", [24, 25])
def test_flipping_twice_changes_nothing_and_once_mirrors_about_the_origin_voxel(box: int, phantom) -> None:
    volume = replace(phantom(box), origin=(1.0, -2.0, 3.0))
    once = flip_hand(volume)
    assert torch.equal(flip_hand(once).voxels, volume.voxels)
    assert torch.equal(once.voxels[box // 2 + 4], volume.voxels[box // 2 - 4])
    assert once.origin == volume.origin
    assert float(compare_maps(once, volume).correlation[4:8].min()) < 0.9


def cut(atoms: Atoms, chosen: torch.Tensor) -> Atoms:
    rows = torch.nonzero(chosen)[:, 0].tolist()
    texts = {
        name: tuple(getattr(atoms, name)[i] for i in rows) for name in ("names", "residue_names", "residue_numbers", "chains")
    }
    numbers = {name: getattr(atoms, name)[chosen] for name in ("positions", "atomic_numbers", "b_factors", "occupancies")}
    return Atoms(**numbers, **texts)


@pytest.fixture(scope="module")
def molecule() -> Atoms:
    """A piece of the procedural molecule, 40 Å across."""
    atoms = hinge()
    away = (atoms.positions - atoms.positions[len(atoms) // 4]).norm(dim=1)
    return cut(atoms, away < 18)


def map_of(atoms: Atoms, resolution: float, noise: float, generator: torch.Generator, *, voxel_size: float = 1.8) -> Volume:
    middle = (atoms.positions.amin(dim=0) + atoms.positions.amax(dim=0)) / 2
    origin = tuple((middle - 20 * voxel_size).tolist())
    volume = model_density(
        atoms, Volume(voxels=torch.zeros(40, 40, 40), voxel_size=voxel_size, origin=origin), resolution=resolution
    )
    return replace(volume, voxels=volume.voxels + noise * volume.voxels.std() * torch.randn(40, 40, 40, generator=generator))


@pytest.mark.slow
def test_the_model_tells_the_hand_where_the_map_shows_it(molecule: Atoms, generator: torch.Generator) -> None:
    volume = map_of(molecule, 5.0, 0.5, generator)
    right = check_hand(volume, molecule, resolution=5.0)
    assert right.hand == "right"
    assert right.correlation > right.mirrored_correlation + 0.1
    wrong = check_hand(flip_hand(volume), molecule, resolution=5.0)
    assert wrong.hand == "mirrored"
    assert wrong.mirrored_correlation == pytest.approx(right.correlation, abs=0.05)


@pytest.mark.slow
def test_noise_and_blur_leave_it_undecided(molecule: Atoms, generator: torch.Generator) -> None:
    assert check_hand(map_of(molecule, 22.0, 3.0, generator), molecule, resolution=22.0).hand == "undecided"


def test_a_constant_map_has_no_hand(molecule: Atoms) -> None:
    with pytest.raises(InputError, match="no hand"):
        check_hand(Volume(voxels=torch.zeros(8, 8, 8), voxel_size=2.0), molecule, resolution=8.0)
    assert "cannot tell" in WITHOUT_MODEL
