"""The potential of atoms against closed forms and against the sum written out."""

import itertools
import math

import numpy as np
import pytest
import torch

from cryowalk.core.errors import InputError, ShapeError, UsageError
from cryowalk.data.atoms import Atoms
from cryowalk.fourier.grids import coordinates, frequency_grid, frequency_radius
from cryowalk.fourier.transform import to_fourier
from cryowalk.microscope.specimen import (
    VOLT_PER_SCATTERING_FACTOR,
    centre_of_mass,
    needed_box,
    potential,
    projected_atom,
    projected_potential,
    projected_potential_by_sum,
    projected_slices,
    scattering_factor,
)

FIELDS = [(48, 48), (49, 49), (48, 51), (37, 64)]

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


@pytest.mark.parametrize("form_factors", ["peng", "kirkland"])
@pytest.mark.parametrize("size", FIELDS)
def test_projected_atoms_equal_the_sum_over_atoms(size, form_factors, generator):
    atoms = scattered_atoms(40, generator, reach=40.0)  # some lie beyond the borders and come in at the others
    fast = projected_potential(atoms, size=size, pixel_size=1.1, form_factors=form_factors)
    slow = projected_potential_by_sum(atoms, size=size, pixel_size=1.1, form_factors=form_factors)
    assert fast.shape == size
    assert (fast - slow).abs().max() < 1e-6 * slow.abs().max()


@pytest.mark.parametrize("pixel_size", [0.1, 0.3, 3.0])
def test_form_factors_are_exact_on_fine_and_coarse_pixels_and_for_many_b_factors(pixel_size, generator):
    count = 200
    atoms = Atoms(
        positions=3 * torch.randn(count, 3, generator=generator, dtype=torch.float64),
        atomic_numbers=torch.tensor([1, 6, 11, 20, 55, 92])[torch.randint(6, (count,), generator=generator)],
        b_factors=100 * torch.rand(count, generator=generator, dtype=torch.float64) ** 2,
        occupancies=torch.ones(count, dtype=torch.float64),
    )
    for form_factors in ("peng", "kirkland"):
        fast, slow = (
            project(atoms, size=(30, 33), pixel_size=pixel_size, form_factors=form_factors)
            for project in (projected_potential, projected_potential_by_sum)
        )
        assert (fast - slow).abs().max() < 2e-6 * slow.abs().max()


@pytest.mark.parametrize("size", [(60, 60), (61, 72)])
@pytest.mark.parametrize(("form_factors", "b"), [("peng", 60.0), ("kirkland", 60.0)])
def test_a_projected_atom_is_the_closed_form(size, form_factors, b):
    place = (2.3, -5.7)
    atom = atoms_of([(*place, 123.0)], 16, b=b)
    field = projected_potential(atom, size=size, pixel_size=0.5, form_factors=form_factors)
    x, y = coordinates(size, pixel_size=0.5, dtype=torch.float64)
    distance = torch.sqrt((x - place[0]) ** 2 + (y - place[1]) ** 2)
    expected = projected_atom(16, distance, b_factor=b)  # Peng's Gaussians; Kirkland's atom differs by 0.5 %
    assert (field - expected).abs().max() < (1e-5 if form_factors == "peng" else 0.01) * expected.max()


def test_projections_of_the_volume_and_of_the_atoms_are_the_same(generator):
    atoms = scattered_atoms(20, generator)
    volume = potential(atoms, box=40, voxel_size=1.2, centre=(0.0, 0.0, 0.0))
    projected = projected_potential(atoms, size=(40, 40), pixel_size=1.2)
    torch.testing.assert_close(volume.voxels.double().sum(dim=0) * 1.2, projected, atol=1e-5 * projected.max().item(), rtol=0)


def test_slices_hold_each_atom_once(generator):
    atoms = scattered_atoms(50, generator, reach=20.0)
    edges = [-20.0, -7.0, 0.0, 1.0, 20.1]
    slices = list(projected_slices(atoms, size=(48, 51), pixel_size=1.1, edges=edges))
    whole = projected_potential(atoms, size=(48, 51), pixel_size=1.1)
    torch.testing.assert_close(sum(slices), whole)
    for low, high, one in zip(edges[:-1], edges[1:], slices, strict=True):
        inside = (atoms.positions[:, 2] >= low) & (atoms.positions[:, 2] < high)
        forward = sum(
            VERIFIED[n] * occupancy
            for n, occupancy in zip(atoms.atomic_numbers[inside].tolist(), atoms.occupancies[inside].tolist(), strict=True)
        )
        assert one.sum().item() * 1.1**2 == pytest.approx(VOLT_PER_SCATTERING_FACTOR * forward, rel=1e-4)
    empty = list(projected_slices(atoms, size=(20, 20), pixel_size=1.0, edges=[100.0, 101.0]))
    assert not empty[0].any()


def test_the_sum_over_atoms_has_gradients():
    generator = torch.Generator().manual_seed(5)
    positions = 2 * torch.randn(3, 3, generator=generator, dtype=torch.float64)
    b, occupancy = torch.tensor([20.0, 40.0, 60.0]).double(), torch.tensor([1.0, 0.5, 0.7]).double()

    def field(positions, b, occupancy):
        atoms = Atoms(positions=positions, atomic_numbers=torch.tensor([6, 8, 7]), b_factors=b, occupancies=occupancy)
        return projected_potential_by_sum(atoms, size=(9, 8), pixel_size=1.3)

    inputs = tuple(value.requires_grad_() for value in (positions, b, occupancy))
    assert torch.autograd.gradcheck(field, inputs, fast_mode=True)
    # z does not matter in a projection.
    (slope,) = torch.autograd.grad(field(*inputs).square().sum(), positions)
    assert slope[:, 2].abs().max() == 0
    assert slope[:, :2].abs().min() > 0


def test_precision_of_a_projection_follows_the_positions():
    atoms = atoms_of([(0.0, 0.0, 0.0)], 6)
    single = Atoms(
        positions=atoms.positions.float(),
        atomic_numbers=atoms.atomic_numbers,
        b_factors=atoms.b_factors,
        occupancies=atoms.occupancies,
    )
    assert projected_potential(single, size=(8, 8), pixel_size=1.0).dtype == torch.float32
    assert projected_potential(atoms, size=(8, 8), pixel_size=1.0).dtype == torch.float64


def test_fields_and_slices_that_cannot_be_are_refused():
    atoms = atoms_of([(0.0, 0.0, 0.0)], 6)
    for project in (projected_potential, projected_potential_by_sum):
        with pytest.raises(UsageError, match="pixel_size"):
            project(atoms, size=(8, 8), pixel_size=0.0)
        with pytest.raises(ShapeError, match="at least one pixel"):
            project(atoms, size=(0, 8), pixel_size=1.0)
        with pytest.raises(InputError, match="finite"):
            project(atoms_of([(math.inf, 0.0, 0.0)], 6), size=(8, 8), pixel_size=1.0)
    for edges in ([1.0], [1.0, 0.0], []):
        with pytest.raises(UsageError, match="edges"):
            list(projected_slices(atoms, size=(8, 8), pixel_size=1.0, edges=edges))
