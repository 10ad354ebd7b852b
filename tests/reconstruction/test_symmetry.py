"""Symmetry: the divided group does what inserting every equivalent pose does."""

import pytest
import torch

from cryowalk.data import Pose
from cryowalk.fourier.shells import shell_correlation
from cryowalk.fourier.symmetriser import symmetriser
from cryowalk.geometry.symmetry import symmetry_operators
from cryowalk.reconstruction import ReconstructionSettings, reconstruct_with_full_map


@pytest.mark.parametrize(
    ("symmetry", "inserted"),
    [("C1", 1), ("C2", 1), ("C3", 3), ("C4", 1), ("D2", 1), ("D3", 3), ("D4", 1), ("T", 12), ("O", 1), ("I", 5)],
)
def test_a_group_is_divided_into_as_few_insertions_as_the_grid_allows(symmetry: str, inserted: int) -> None:
    divided = symmetriser(symmetry)
    assert len(divided.inserted) == inserted
    rebuilt = divided.inserted.clone()
    # A coefficient of image pose R c h: the steps multiply from the right, one after the other.
    for operators in divided.steps:
        rebuilt = torch.cat([rebuilt, *(rebuilt @ operator for operator in operators)])
    group = torch.as_tensor(symmetry_operators(symmetry))
    assert len(rebuilt) == len(group)
    distance = (rebuilt[:, None] - group).abs().amax(dim=(-2, -1))
    assert (distance.min(dim=0).values < 1e-6).all()


@pytest.mark.parametrize(("symmetry", "box"), [("C2", 24), ("C3", 24), ("D2", 25), ("O", 24), ("T", 24), ("I", 25)])
def test_imposing_symmetry_equals_inserting_every_equivalent_pose(symmetry: str, box: int, make_phantom, make_particles) -> None:
    particles = make_particles(make_phantom(box), 12, noise=0.2)
    operators = torch.as_tensor(symmetry_operators(symmetry)).double()
    imposed = reconstruct_with_full_map(particles, ReconstructionSettings(symmetry=symmetry)).full.voxels
    copies = particles[torch.arange(12).repeat(len(operators))]
    rotations = torch.cat([particles.pose.lab_from_particle @ operator for operator in operators])
    expanded = copies.with_pose(Pose(lab_from_particle=rotations, shift=copies.pose.shift)).with_half(
        (torch.arange(12) % 2 + 1).repeat(len(operators))
    )
    explicit = reconstruct_with_full_map(expanded).full.voxels
    assert (imposed - explicit).norm() / explicit.norm() < 1e-3
    plain = reconstruct_with_full_map(particles).full.voxels
    assert (plain - explicit).norm() / explicit.norm() > 0.1


def test_a_symmetric_particle_needs_fewer_images(make_phantom, make_particles) -> None:
    operators = torch.as_tensor(symmetry_operators("D2")).double()
    phantom = make_phantom(32, operators=operators)
    truth = phantom.volume().voxels
    particles = make_particles(phantom, 130)
    full = reconstruct_with_full_map(particles, ReconstructionSettings(symmetry="D2")).full.voxels
    assert shell_correlation(full, truth)[1:13].min() > 0.98
