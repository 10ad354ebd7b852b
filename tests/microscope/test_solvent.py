"""What a molecule displaces: volumes of spheres and of real proteins, the soft edge's closed form, and the contrast that is left."""

import dataclasses
import math

import gemmi
import pytest
import torch

from cryowalk.core.errors import InputError
from cryowalk.data.atoms import Atoms
from cryowalk.data.volume import Volume
from cryowalk.fourier.grids import coordinates
from cryowalk.microscope.ice import FREE_ATOM_INNER_POTENTIAL, MEAN_INNER_POTENTIAL
from cryowalk.microscope.solvent import displaced, filled_fraction
from cryowalk.microscope.specimen import potential


def atoms_at(positions, number=6, occupancy=1.0):
    positions = torch.as_tensor(positions, dtype=torch.float64).reshape(-1, 3)
    count = len(positions)
    return Atoms(
        positions=positions,
        atomic_numbers=torch.full((count,), number),
        b_factors=torch.full((count,), 20.0, dtype=torch.float64),
        occupancies=torch.as_tensor(occupancy, dtype=torch.float64).expand(count).clone(),
    )


def empty(box, voxel_size, *, dtype=torch.float32):
    origin = (-(box // 2) * voxel_size,) * 3
    return Volume(voxels=torch.zeros(box, box, box, dtype=dtype), voxel_size=voxel_size, origin=origin)


def a_ball(radius, *, number=6):
    """Atoms inside a sphere and close together on its surface: their union is a ball of `radius` plus the atom's own radius."""
    side = torch.arange(-radius, radius + 0.1, 1.4, dtype=torch.float64)
    lattice = torch.cartesian_prod(side, side, side)
    count = int(24 * radius**2)
    step = torch.arange(count, dtype=torch.float64) + 0.5
    height, angle = 1 - 2 * step / count, step * math.pi * (3 - math.sqrt(5))
    across = torch.sqrt(1 - height**2)
    surface = radius * torch.stack([across * torch.cos(angle), across * torch.sin(angle), height], dim=1)
    return atoms_at(torch.cat([lattice[lattice.norm(dim=1) < radius - 0.7], surface]), number)


def soft_ball(r, *, radius, boundary):
    """A ball convolved with a Gaussian, in closed form."""
    scale = boundary * math.sqrt(2)
    inside = (torch.erf((radius + r) / scale) + torch.erf((radius - r) / scale)) / 2
    rim = torch.exp(-(((radius + r) / scale) ** 2)) - torch.exp(-(((radius - r) / scale) ** 2))
    return inside + rim * boundary / (r * math.sqrt(2 * math.pi))


@pytest.mark.parametrize(("voxel_size", "box"), [(0.75, 74), (1.0, 55), (1.7, 32), (3.0, 19)])
def test_a_ball_of_atoms_is_filled_without_holes(voxel_size, box):
    """The ice begins 0.3 Å outside the van der Waals surface (1.7 Å for carbon), with an edge of 1 Å standard deviation."""
    radius = 12.0 + 1.7 + 0.3
    filled = filled_fraction(a_ball(12.0), empty(box, voxel_size), boundary=1.0).double()
    assert filled.sum().item() * voxel_size**3 == pytest.approx(4 / 3 * math.pi * radius**3, rel=0.03)
    x, y, z = coordinates((box, box, box), pixel_size=voxel_size, dtype=torch.float64)
    r = torch.sqrt(x**2 + y**2 + z**2).clamp_min(1e-3)
    ringing = 0.04 if voxel_size < 2 else 0.2  # a grid of 3 Å cannot draw an edge of 1 Å
    assert (filled - soft_ball(r, radius=radius, boundary=1.0)).abs().max() < ringing + 0.03


@pytest.mark.parametrize("voxel_size", [0.8, 1.5, 2.2])
def test_one_atom_fills_about_its_sphere(voxel_size):
    filled = filled_fraction(atoms_at([[0.4, -0.3, 0.2]]), empty(26, voxel_size)).double()
    assert filled.sum().item() * voxel_size**3 == pytest.approx(4 / 3 * math.pi * 2.0**3, rel=0.3)


def test_a_softer_boundary_moves_no_volume():
    ball, volume = a_ball(9.0), empty(60, 1.0)
    sharp, soft = (filled_fraction(ball, volume, boundary=boundary) for boundary in (0.7, 2.0))
    assert sharp.sum().item() == pytest.approx(soft.sum().item(), rel=2e-3)
    assert sharp[30, 30, 30 + 13] < soft[30, 30, 30 + 13]


def test_the_grid_may_lie_anywhere_and_need_not_be_a_cube():
    ball, voxel_size = a_ball(6.0), 1.2
    volume = empty(40, voxel_size)
    here = filled_fraction(ball, volume)
    moved = dataclasses.replace(ball, positions=ball.positions + torch.tensor([100.0, -50.0, 7.0]))
    x, y, z = volume.origin
    there = filled_fraction(moved, dataclasses.replace(volume, origin=(x + 100, y - 50, z + 7)))
    torch.testing.assert_close(here, there, atol=1e-5, rtol=0)
    slab = Volume(voxels=torch.zeros(30, 40, 35), voxel_size=voxel_size, origin=(x, y, z + 5 * voxel_size))
    part = filled_fraction(ball, slab)
    torch.testing.assert_close(part, here[5:35, :, :35], atol=2e-3, rtol=0)


def test_axes_are_z_y_x():
    rod = atoms_at([[2.0 * i, 0.0, 0.0] for i in range(-4, 5)] + [[8.0, 3.0, 0.0]])
    filled = filled_fraction(rod, empty(36, 1.0))
    spread = [(filled.sum(dim=[d for d in range(3) if d != axis]) > 0.5).sum().item() for axis in range(3)]
    assert spread[2] > spread[1] > spread[0]
    assert filled.sum(dim=0)[18 + 4, 18 + 8] > 2 * filled.sum(dim=0)[18 - 4, 18 + 8].abs()


def test_displaced_is_the_potential_minus_the_ice_in_its_place():
    atoms = a_ball(14.0)
    volume = potential(atoms, box=48, voxel_size=1.5)
    filled = filled_fraction(atoms, volume)
    relative = displaced(atoms, volume)
    torch.testing.assert_close(relative.voxels, volume.voxels - MEAN_INNER_POTENTIAL * filled)
    assert (relative.voxel_size, relative.origin) == (volume.voxel_size, volume.origin)
    heavier = displaced(atoms, volume, ice_potential=FREE_ATOM_INNER_POTENTIAL)
    assert heavier.voxels.sum() < relative.voxels.sum()
    # Far from the molecule nothing changes.
    assert torch.equal(relative.voxels[0], volume.voxels[0])


def test_a_protein_fills_the_volume_of_proteins_and_stands_out_of_ice(real_data):
    """1.21 Å³/Da is the partial specific volume 0.73 mL/g; crystals and maps use up to 1.35."""
    from cryowalk.io.atoms import read_atoms

    everything = read_atoms(real_data / "structures" / "3pqr.pdb")
    keep = torch.tensor([gemmi.find_tabulated_residue(name).is_amino_acid() for name in everything.residue_names])
    index = keep.nonzero()[:, 0].tolist()
    protein = Atoms(
        positions=everything.positions[keep],
        atomic_numbers=everything.atomic_numbers[keep],
        b_factors=everything.b_factors[keep],
        occupancies=everything.occupancies[keep],
    )
    heavy = sum(gemmi.Element(number).weight for number in protein.atomic_numbers.tolist())
    residues = {(everything.chains[i], everything.residue_numbers[i], everything.residue_names[i]) for i in index}
    hydrogens = sum(gemmi.find_tabulated_residue(name).hydrogen_count - 2 for _, _, name in residues)
    mass = heavy + 1.008 * hydrogens
    for voxel_size, box in ((1.0, 128), (1.6, 80)):
        volume = potential(protein, box=box, voxel_size=voxel_size)
        filled = filled_fraction(protein, volume).double().sum().item() * voxel_size**3
        assert 1.17 < filled / mass < 1.26
        inside = volume.voxels.double().sum().item() * voxel_size**3 / filled
        assert 5.5 < inside < 7.2  # without hydrogens
        contrast = displaced(protein, volume).voxels.double().sum().item() * voxel_size**3 / filled
        assert 2.0 < contrast < 3.6


def test_atoms_without_occupancy_displace_nothing():
    pair = atoms_at([[-5.0, 0.0, 0.0], [5.0, 0.0, 0.0]], occupancy=torch.tensor([1.0, 0.0], dtype=torch.float64))
    filled = filled_fraction(pair, empty(40, 1.0))
    assert filled[20, 20, 15] > 0.5
    assert filled[20, 20, 25] < 0.01


def test_precision_follows_the_volume():
    assert filled_fraction(a_ball(3.0), empty(24, 1.0, dtype=torch.float64)).dtype == torch.float64


def test_atoms_that_cannot_displace_are_refused():
    good = atoms_at([[0.0, 0.0, 0.0]])
    nothing = atoms_at(torch.zeros(0, 3))
    with pytest.raises(InputError, match="no atoms"):
        displaced(nothing, empty(16, 1.0))
    with pytest.raises(InputError, match="no atoms that scatter"):
        displaced(dataclasses.replace(good, occupancies=torch.zeros(1, dtype=torch.float64)), empty(16, 1.0))
    for place in ([30.0, 0.0, 0.0], [0.0, -9.0, 0.0], [math.nan, 0.0, 0.0]):
        with pytest.raises(InputError, match="outside"):
            displaced(atoms_at([place]), empty(16, 1.0))
