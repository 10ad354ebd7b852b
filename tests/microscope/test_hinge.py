"""The molecule built by code: is it a protein, and does it show every mirror, flip and transpose?"""

import itertools
import math

import numpy as np
import pytest
import torch
from scipy.spatial import cKDTree

from cryowalk.core.errors import UsageError
from cryowalk.fourier.filters import low_pass
from cryowalk.geometry.sampling import perturb_rotations
from cryowalk.geometry.so3_grid import so3_grid
from cryowalk.microscope.specimen import LARGEST_HINGE_ANGLE, centre_of_mass, hinge, hinge_axis, potential

MASS = {6: 12.011, 7: 14.007, 8: 15.999, 16: 32.06}
HYDROGENS = {
    "GLY": 3, "ALA": 5, "SER": 5, "CYS": 5, "THR": 7, "VAL": 9, "LEU": 11, "ILE": 11, "MET": 9, "PHE": 9,
    "TYR": 9, "TRP": 10, "HIS": 7, "ASP": 4, "ASN": 6, "GLU": 6, "GLN": 8, "LYS": 13, "ARG": 13,
}  # fmt: skip


@pytest.fixture(scope="module")
def molecule():
    return hinge()


@pytest.fixture(scope="module")
def backbone(molecule):
    """N, Cα, C, O of every residue, [residues, 4, 3]."""
    names = np.array(molecule.names)
    return np.stack([molecule.positions.numpy()[names == name] for name in ("N", "CA", "C", "O")], axis=1)


def dihedral(points):
    """Dihedral angles in degrees of [n, 4, 3] positions."""
    first, middle, last = np.diff(points, axis=1).transpose(1, 0, 2)
    left, right = np.cross(first, middle), np.cross(middle, last)
    sine = np.sum(np.cross(left, right) * middle, axis=1) / np.linalg.norm(middle, axis=1)
    return np.degrees(np.arctan2(sine, np.sum(left * right, axis=1)))


def test_mass_and_composition_are_those_of_a_protein(molecule):
    numbers = molecule.atomic_numbers.tolist()
    first_atoms = [name for name, atom in zip(molecule.residue_names, molecule.names, strict=True) if atom == "CA"]
    hydrogens = sum(HYDROGENS[name] for name in first_atoms)
    mass = sum(MASS[n] for n in numbers) + 1.008 * hydrogens
    assert 135e3 < mass < 165e3
    total = len(numbers) + hydrogens
    assert numbers.count(6) / total == pytest.approx(0.32, abs=0.02)
    assert numbers.count(7) / total == pytest.approx(0.09, abs=0.02)
    assert numbers.count(8) / total == pytest.approx(0.10, abs=0.02)


def test_atoms_are_packed_as_in_a_protein(molecule):
    positions = molecule.positions.numpy()
    tree = cKDTree(positions)
    inside = [n for n in tree.query_ball_point(positions[::50], 6.0, return_length=True) if n > 40]
    # Within 6 Å of a buried heavy atom a protein has some 45 to 70 heavy atoms: 1.35 g/cm³.
    assert 40 < np.mean(inside) < 75


def test_it_is_the_same_each_time_and_centred():
    first, second = hinge(), hinge(angle=0.0)
    assert torch.equal(first.positions, second.positions)
    assert first.residue_names == second.residue_names
    assert np.abs(centre_of_mass(first)).max() < 1e-3


def test_every_residue_is_left_handed(molecule):
    names, residues = np.array(molecule.names), np.array(molecule.residue_numbers)
    positions = molecule.positions.numpy()
    place = {(name, residue): position for name, residue, position in zip(names, residues, positions, strict=True)}
    volumes = [
        np.dot(
            place["N", r] - place["CA", r],
            np.cross(place["C", r] - place["CA", r], place["CB", r] - place["CA", r]),
        )
        for r in residues[names == "CB"]
    ]
    assert np.min(volumes) > 0.5  # 2.5 Å³ but where a loop is strained
    assert np.median(volumes) > 2.4
    assert np.max(volumes) < 2.9


def test_helices_are_right_handed_and_there_are_strands(backbone):
    phi = dihedral(np.stack([backbone[:-1, 2], backbone[1:, 0], backbone[1:, 1], backbone[1:, 2]], axis=1))[:-1]
    psi = dihedral(np.stack([backbone[:-1, 0], backbone[:-1, 1], backbone[:-1, 2], backbone[1:, 0]], axis=1))[1:]
    helical = (np.abs(phi + 57.8) < 2) & (np.abs(psi + 47.0) < 2)
    mirrored = (np.abs(phi - 57.8) < 2) & (np.abs(psi - 47.0) < 2)
    extended = (phi < -60) & (np.abs(psi) > 80)
    assert helical.mean() > 0.5
    assert mirrored.sum() == 0
    assert extended.mean() > 0.08


def test_the_chain_has_peptide_bonds_throughout(backbone):
    bonds = np.linalg.norm(backbone[1:, 0] - backbone[:-1, 2], axis=1)
    assert np.mean(np.abs(bonds - 1.33) < 0.06) > 0.85
    assert bonds.max() < 1.7
    steps = np.linalg.norm(np.diff(backbone[:, 1], axis=0), axis=1)
    assert np.abs(steps - 3.8).max() < 0.45


@pytest.mark.parametrize("angle", [-LARGEST_HINGE_ANGLE, 0.0, LARGEST_HINGE_ANGLE])
def test_backbones_do_not_clash(angle):
    bent = hinge(angle=angle)
    names, residues = np.array(bent.names), np.array(bent.residue_numbers)
    chosen = np.isin(names, ["N", "CA", "C"])
    positions, residues = bent.positions.numpy()[chosen], residues[chosen]
    pairs = cKDTree(positions).query_pairs(2.5, output_type="ndarray")
    apart = np.abs(residues[pairs[:, 0]] - residues[pairs[:, 1]])
    assert (apart > 2).sum() == 0


def test_the_second_body_turns_rigidly_about_the_hinge(molecule):
    bent = hinge(angle=0.2).positions.numpy()
    straight = molecule.positions.numpy()
    moved = np.abs(bent - straight).max(axis=1) > 1e-6
    assert 0.35 < moved.mean() < 0.65
    point, axis = hinge_axis()
    arm = straight[moved][::20] - point
    turned = arm * math.cos(0.2) + np.cross(axis, arm) * math.sin(0.2) + np.outer(arm @ axis, axis) * (1 - math.cos(0.2))
    np.testing.assert_allclose(bent[moved][::20], point + turned, atol=1e-9)


def test_an_angle_too_large_is_refused():
    with pytest.raises(UsageError, match="hinge angle"):
        hinge(angle=LARGEST_HINGE_ANGLE + 0.01)


@pytest.fixture(scope="module")
def blurred(molecule):
    return low_pass(potential(molecule, box=48, voxel_size=3.3).voxels, resolution=20.0, pixel_size=3.3, dimensions=3)


def correlation(first, second):
    first, second = (a.double() - a.double().mean() for a in (first, second))
    return float((first * second).sum() / torch.sqrt((first**2).sum() * (second**2).sum()))


def test_every_flip_and_transpose_is_a_different_map(blurred):
    odd = blurred[1:, 1:, 1:]  # 47 voxels, origin in the middle: a flip keeps it there
    for axes in itertools.permutations(range(3)):
        for flips in itertools.product((False, True), repeat=3):
            if axes == (0, 1, 2) and not any(flips):
                continue
            turned = odd.permute(axes).flip([axis for axis, flip in enumerate(flips) if flip])
            assert correlation(odd, turned) < 0.9, (axes, flips)


def test_no_rotation_makes_up_for_a_mirror(molecule, blurred, generator):
    from scipy.ndimage import map_coordinates

    alpha = molecule.positions[torch.tensor([name == "CA" for name in molecule.names])]
    centred = (blurred - blurred.mean()).numpy()

    def overlap(model, rotations):
        places = (rotations @ model.T).mT.flip(-1) / 3.3 + 24  # z, y, x in voxels
        values = map_coordinates(centred, places.reshape(-1, 3).T.numpy(), order=1)
        return torch.from_numpy(values).reshape(len(rotations), -1).mean(dim=1)

    best = {}
    for name, model in (("itself", alpha), ("mirror", alpha * torch.tensor([1.0, 1.0, -1.0]))):
        rotations = so3_grid(1)
        for angle in (0.2, 0.1, 0.05, 0.02):
            kept = rotations[overlap(model, rotations).topk(10).indices]
            rotations = torch.cat([kept, perturb_rotations(kept.repeat(30, 1, 1), angle=angle, generator=generator)])
        best[name] = float(overlap(model, rotations).max() / overlap(alpha, torch.eye(3, dtype=torch.float64)[None]))
    assert best["itself"] == pytest.approx(1, abs=0.02)
    assert best["mirror"] < 0.95
