"""The potential of atoms against closed forms and against the sum written out."""

import itertools
import math

import numpy as np
import pytest
import torch

from cryowalk.core.errors import InputError, UsageError
from cryowalk.data.atoms import Atoms
from cryowalk.fourier.grids import coordinates, frequency_grid, frequency_radius
from cryowalk.fourier.transform import to_fourier
from cryowalk.microscope.specimen import VOLT_PER_SCATTERING_FACTOR, centre_of_mass, needed_box, potential, scattering_factor

VERIFIED = {1: 0.5288, 6: 2.5088, 7: 2.2135, 8: 1.9834, 15: 5.4876, 16: 5.1604, 30: 6.0634, 79: 10.5714}


def atoms_of(positions, numbers, *, b=30.0, occupancy=1.0):
    positions = torch.as_tensor(positions, dtype=torch.float64).reshape(-1, 3)
    count = len(positions)
    return Atoms(
        positions=positions,
        atomic_numbers=torch.as_tensor(numbers).expand(count),
        b_factors=torch.as_tensor(b, dtype=torch.float64).expand(count),
        occupancies=torch.as_tensor(occupancy, dtype=torch.float64).expand(count),
    )


def scattered_atoms(count, generator, *, reach=6.0):
    positions = reach * (2 * torch.rand(count, 3, generator=generator, dtype=torch.float64) - 1)
    numbers = torch.tensor([6, 7, 8, 16, 1, 79])[torch.randint(6, (count,), generator=generator)]
    b = 20 + 130 * torch.rand(count, generator=generator, dtype=torch.float64)
    return atoms_of(positions, numbers, b=b, occupancy=0.3 + 0.7 * torch.rand(count, generator=generator, dtype=torch.float64))


def test_forward_scattering_equals_the_verified_values():
    assert pytest.approx(47.878, abs=1e-3) == VOLT_PER_SCATTERING_FACTOR
    for number, value in VERIFIED.items():
        assert scattering_factor(number, torch.zeros(1, dtype=torch.float64)).item() == pytest.approx(value, abs=1e-4)


@pytest.mark.parametrize("box", [40, 41])
def test_one_atom_is_a_sum_of_gaussians(box):
    import gemmi

    voxel_size, b, place = 1.1, 300.0, (3.3, -4.1, 6.7)
    volume = potential(atoms_of([place], 8, b=b), box=box, voxel_size=voxel_size, centre=(0.0, 0.0, 0.0))
    x, y, z = coordinates((box, box, box), pixel_size=voxel_size, dtype=torch.float64)
    squared = (x - place[0]) ** 2 + (y - place[1]) ** 2 + (z - place[2]) ** 2
    across = (x - place[0]) ** 2 + (y - place[1]) ** 2
    table = gemmi.Element(8).c4322
    expected, projected = torch.zeros_like(squared), torch.zeros_like(across)
    for amplitude, width in zip(table.a, table.b, strict=True):
        total = width + b
        expected += (
            VOLT_PER_SCATTERING_FACTOR * amplitude * (4 * math.pi / total) ** 1.5 * torch.exp(-4 * math.pi**2 * squared / total)
        )
        projected += VOLT_PER_SCATTERING_FACTOR * amplitude * (4 * math.pi / total) * torch.exp(-4 * math.pi**2 * across / total)
    torch.testing.assert_close(volume.voxels.double(), expected, atol=2e-5 * expected.max().item(), rtol=0)
    projection = volume.voxels.double().sum(dim=0) * voxel_size
    torch.testing.assert_close(projection, projected, atol=2e-5 * projected.max().item(), rtol=0)


@pytest.mark.parametrize("box", [12, 13])
def test_every_frequency_equals_the_sum_over_atoms(box, generator):
    voxel_size = 1.7
    atoms = scattered_atoms(30, generator, reach=4.0)
    volume = potential(atoms, box=box, voxel_size=voxel_size, centre=(0.0, 0.0, 0.0))
    kx, ky, kz = (k.numpy() for k in frequency_grid((box, box, box), pixel_size=voxel_size, dtype=torch.float64))
    radius = frequency_radius((box, box, box), pixel_size=voxel_size, dtype=torch.float64)
    expected = np.zeros(radius.shape, dtype=complex)
    for position, number, b, occupancy in zip(
        atoms.positions.numpy(), atoms.atomic_numbers.tolist(), atoms.b_factors.tolist(), atoms.occupancies.tolist(), strict=True
    ):
        wave = np.exp(-2j * np.pi * (kx * position[0] + ky * position[1] + kz * position[2]))
        expected += occupancy * scattering_factor(number, radius).numpy() * np.exp(-b * radius.numpy() ** 2 / 4) * wave
    expected *= VOLT_PER_SCATTERING_FACTOR / (box**1.5 * voxel_size**3)
    got = to_fourier(volume.voxels.double(), dimensions=3).numpy()
    if box % 2 == 0:  # a Nyquist coefficient of a real array stands for two frequencies
        for array in (got, expected):
            array[box // 2] = array[:, box // 2] = array[:, :, box // 2] = 0
    assert np.abs(got - expected).max() < 3e-6 * np.abs(expected).max()


def test_the_integral_is_the_sum_of_forward_scattering(generator):
    atoms = scattered_atoms(50, generator)
    volume = potential(atoms, box=22, voxel_size=1.3)
    forward = sum(
        VERIFIED[n] * occupancy for n, occupancy in zip(atoms.atomic_numbers.tolist(), atoms.occupancies.tolist(), strict=True)
    )
    assert volume.voxels.double().sum().item() * 1.3**3 == pytest.approx(VOLT_PER_SCATTERING_FACTOR * forward, rel=1e-4)


def test_axes_are_z_y_x_and_the_origin_tells_the_frame():
    place = torch.tensor([105.0, 53.0, -20.0])
    light = place + torch.tensor([4.0, -2.0, 6.0])
    atoms = atoms_of(torch.stack([place, light]), torch.tensor([79, 6]), b=60.0)
    volume = potential(atoms, box=31, voxel_size=1.0)
    index = torch.tensor(np.unravel_index(int(volume.voxels.argmax()), volume.voxels.shape)).flip(0)  # x, y, z
    assert (torch.tensor(volume.origin) + index - place).abs().max() < 1.0
    middle = torch.tensor(volume.origin) + 31 // 2 * 1.0
    torch.testing.assert_close(middle.double(), torch.tensor(centre_of_mass(atoms), dtype=torch.float64), atol=1e-4, rtol=0)


def test_potential_adds_up(generator):
    first, second = scattered_atoms(5, generator), scattered_atoms(8, generator)
    both = Atoms(
        **{
            name: torch.cat([getattr(first, name), getattr(second, name)])
            for name in ("positions", "atomic_numbers", "b_factors", "occupancies")
        }
    )
    zero = (0.0, 0.0, 0.0)
    sums = [potential(a, box=16, voxel_size=1.4, centre=zero).voxels for a in (first, second, both)]
    torch.testing.assert_close(sums[0] + sums[1], sums[2], atol=1e-4, rtol=0)


def test_a_model_that_does_not_fit_names_the_box_it_needs():
    atoms = atoms_of(list(itertools.product((-20.0, 20.0), (-3.0, 3.0), (-3.0, 3.0))), 6)
    with pytest.raises(InputError, match="at least 32 voxels") as caught:
        potential(atoms, box=24, voxel_size=1.6)
    assert caught.value.exit_code == 3
    potential(atoms, box=32, voxel_size=1.6)
    assert needed_box(atoms, voxel_size=1.6) >= 32


def test_atoms_that_cannot_be_are_refused():
    good = atoms_of([(0.0, 0.0, 0.0)], 6)
    with pytest.raises(InputError, match="no atoms"):
        potential(
            good.__class__(**{n: getattr(good, n)[:0] for n in ("positions", "atomic_numbers", "b_factors", "occupancies")}),
            box=8,
            voxel_size=1.0,
        )
    with pytest.raises(InputError, match="atom 2"):
        potential(atoms_of([(0.0, 0.0, 0.0), (math.nan, 0.0, 0.0)], 6), box=16, voxel_size=1.0)
    for number in (0, 120):
        with pytest.raises(InputError, match=f"atomic number {number}"):
            potential(atoms_of([(0.0, 0.0, 0.0)], number), box=16, voxel_size=1.0, centre=(0.0, 0.0, 0.0))
    with pytest.raises(UsageError, match="voxel_size"):
        potential(good, box=16, voxel_size=0.0)
