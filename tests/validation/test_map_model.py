"""A model's density on a map's grid, and how a map and its model agree: exact cases, wrong models, and two real pairs."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from cryowalk.core.errors import InputError
from cryowalk.data import Atoms, Volume
from cryowalk.fourier.filters import low_pass
from cryowalk.microscope.specimen import potential
from cryowalk.validation.map_model import as_cube, map_model_fit, model_density, model_mask

VOXEL = 1.3


@pytest.fixture
def atoms(generator: torch.Generator) -> Atoms:
    """Sixty atoms in three residues, at (40, −10, 25) Å."""
    centres = torch.tensor([[0.0, 0.0, 0.0], [7.0, 2.0, -3.0], [-4.0, 6.0, 5.0]]).repeat_interleave(20, dim=0)
    positions = torch.tensor([40.0, -10.0, 25.0]) + centres + 2.0 * torch.randn(60, 3, generator=generator)
    numbers = torch.tensor([6, 7, 8, 6])[torch.randint(4, (60,), generator=generator)]
    names = tuple(f"C{i}" for i in range(60))
    residues = {
        "residue_names": ("ALA",) * 20 + ("GLY",) * 20 + ("SER",) * 20,
        "residue_numbers": (1,) * 20 + (2,) * 20 + (3,) * 20,
    }
    return Atoms(
        positions=positions,
        atomic_numbers=numbers,
        b_factors=torch.full((60,), 25.0),
        occupancies=torch.ones(60),
        names=names,
        chains=("B",) * 60,
        **residues,
    )


def grid_at(origin, shape=(40, 36, 44)) -> Volume:
    return Volume(voxels=torch.zeros(shape), voxel_size=VOXEL, origin=origin)


def test_density_lies_where_the_atoms_are_on_a_grid_of_any_shape(atoms: Atoms) -> None:
    grid = grid_at((13.0, -33.0, -1.0))
    density = model_density(atoms, grid)
    assert density.origin == grid.origin
    assert density.voxels.shape == grid.voxels.shape
    heaviest = atoms.positions.double()
    axes = [torch.arange(n) * VOXEL + o for n, o in zip(reversed(grid.voxels.shape), grid.origin, strict=True)]
    weight = density.voxels.double()
    middle = torch.stack(
        [(weight.sum(dim=dims) * axis).sum() / weight.sum() for axis, dims in zip(axes, ((0, 1), (0, 2), (1, 2)), strict=True)]
    )
    assert torch.allclose(middle, heaviest.mean(dim=0), atol=0.3)
    # The same values as in a box of its own, with a voxel on the same place.
    own = potential(
        atoms,
        box=72,
        voxel_size=VOXEL,
        centre=tuple(13.0 * (i == 0) - 33.0 * (i == 1) - 1.0 * (i == 2) + 20 * VOXEL for i in range(3)),
    )
    start = [round((o - c) / VOXEL) for o, c in zip(grid.origin, own.origin, strict=True)]
    same = own.voxels[start[2] : start[2] + 40, start[1] : start[1] + 36, start[0] : start[0] + 44]
    assert torch.allclose(density.voxels, same, atol=1e-2 * float(same.max()))


def test_what_sticks_out_of_the_map_is_not_folded_into_it(atoms: Atoms) -> None:
    whole = model_density(atoms, grid_at((13.0, -33.0, -1.0)))
    part = model_density(atoms, grid_at((13.0, -33.0, -1.0), shape=(24, 36, 44)))  # the wall cuts the molecule
    assert torch.allclose(part.voxels, whole.voxels[:24], atol=1e-2 * float(whole.voxels.max()))


def test_the_mask_is_one_at_the_atoms_and_falls_to_zero(atoms: Atoms) -> None:
    grid = grid_at((13.0, -33.0, -1.0))
    mask = model_mask(atoms, grid, radius=3.0, edge=4.0).voxels
    axes = [torch.arange(n) * VOXEL + o for n, o in zip(reversed(grid.voxels.shape), grid.origin, strict=True)]
    z, y, x = torch.meshgrid(axes[2], axes[1], axes[0], indexing="ij")
    distance = torch.cdist(torch.stack([x, y, z], dim=-1).reshape(-1, 3), atoms.positions).amin(dim=1).reshape(mask.shape)
    assert bool((mask[distance <= 3.0] == 1).all())
    assert bool((mask[distance > 7.0 + VOXEL] == 0).all())
    assert float((mask - (0.5 + 0.5 * torch.cos(torch.pi * ((distance - 3) / 4).clamp(0, 1)))).abs().max()) < 0.5
    assert float(model_mask(atoms, grid, radius=3.0, edge=0.0).voxels.unique().sum()) == 1.0


@pytest.mark.parametrize("shape", [(40, 40, 40), (40, 36, 44), (41, 39, 43)])
def test_a_model_agrees_wholly_with_its_own_map(atoms: Atoms, shape) -> None:
    grid = grid_at((13.0, -33.0, -1.0), shape=shape)
    fit = map_model_fit(model_density(atoms, grid), atoms, resolution=2.7)
    assert float(fit.curve.correlation.min()) > 0.9999
    assert fit.curve.resolution(at=0.5) == pytest.approx(2 * VOXEL, rel=0.03)
    assert fit.correlation_in_mask > 0.96  # the model is cut at 2.7 Å, the map is not
    assert fit.residues == (("ALA", 1, "B"), ("GLY", 2, "B"), ("SER", 3, "B"))
    assert float(fit.residue_correlation.min()) > 0.95


def test_the_curve_ends_where_the_map_does(atoms: Atoms, generator: torch.Generator) -> None:
    grid = grid_at((13.0, -33.0, -1.0), shape=(48, 48, 48))
    voxels = low_pass(model_density(atoms, grid).voxels, resolution=6.0, pixel_size=VOXEL, dimensions=3, edge=1.0)
    noisy = replace(grid, voxels=5 + 3 * (voxels + 0.4 * voxels.std() * torch.randn(voxels.shape, generator=generator)))
    fit = map_model_fit(noisy, atoms)
    assert 4.8 < fit.resolution < 6.3  # the mask about so small a molecule mixes frequencies 0.03 1/Å apart
    assert float(fit.curve.correlation[fit.curve.frequency > 0.28].max()) < 0.5
    assert fit.correlation_in_mask > 0.95
    assert fit.correlation_in_box > 0.85


def test_a_residue_that_is_elsewhere_is_found_out(atoms: Atoms) -> None:
    volume = model_density(atoms, grid_at((13.0, -33.0, -1.0)), resolution=3.5)
    moved = atoms.positions.clone()
    moved[20:40] += torch.tensor([3.0, 2.0, 0.0])
    fit = map_model_fit(volume, replace(atoms, positions=moved), resolution=3.5)
    assert int(fit.residue_correlation.argmin()) == 1
    assert float(fit.residue_correlation[1]) < float(fit.residue_correlation[0]) - 0.3


def test_a_model_that_lies_beside_the_map_is_refused(atoms: Atoms) -> None:
    volume = model_density(atoms, grid_at((13.0, -33.0, -1.0)))
    with pytest.raises(InputError, match=r"0% of the atoms lie in the map, which spans x 200 to 257") as caught:
        map_model_fit(replace(volume, origin=(200.0, 0.0, 0.0)), atoms)
    assert "origin" in str(caught.value)
    with pytest.raises(InputError, match="constant"):
        map_model_fit(grid_at((13.0, -33.0, -1.0)), atoms)


def test_a_map_becomes_a_cube_with_zeros_behind_it() -> None:
    volume = Volume(voxels=torch.ones(3, 5, 4), voxel_size=VOXEL, origin=(1.0, 2.0, 3.0))
    cube = as_cube(volume)
    assert cube.voxels.shape == (5, 5, 5)
    assert float(cube.voxels.sum()) == 60
    assert torch.equal(cube.voxels[:3, :, :4], volume.voxels)


@pytest.mark.agreement
@pytest.mark.parametrize(
    ("folder", "name", "model", "resolution", "correlation"),
    [
        ("map_model_apof_emd20026", "emd20026_prot.mrc", "3ajo_fitted_refined.pdb", 2.01, 0.766),
        ("map_model_emd2566_3j6b", "2566_3J6B_9.mrc", "3J6B_9.pdb", 3.62, 0.634),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_real_maps_agree_with_their_models_to_their_resolution(
    real_data: Path, folder, name, model, resolution, correlation
) -> None:
    from cryowalk.io import read_map
    from cryowalk.io.atoms import read_atoms

    fit = map_model_fit(read_map(real_data / folder / name), read_atoms(real_data / folder / model))
    assert fit.resolution == pytest.approx(resolution, abs=0.05)  # published: 1.75 and 3.2 Å between halves
    assert fit.correlation_in_mask == pytest.approx(correlation, abs=0.01)
