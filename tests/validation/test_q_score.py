"""Q-scores: closed forms for Gaussian atoms, a slow reference written from the paper, and a real map."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from cryowalk.core.errors import InputError, UsageError
from cryowalk.data import Atoms, Volume
from cryowalk.validation.q_score import q_scores, spiral


def carbons(positions, **names) -> Atoms:
    positions = torch.tensor(positions, dtype=torch.float32)
    count = len(positions)
    ones = torch.ones(count)
    return Atoms(positions=positions, atomic_numbers=torch.full((count,), 6), b_factors=0 * ones, occupancies=ones, **names)


def gaussians(positions, width: float, *, box: int = 64, voxel_size: float = 0.2, origin=(11.0, -3.0, 5.0)) -> Volume:
    """A map of Gaussians of standard deviation `width` (Å) at the positions."""
    axes = [torch.arange(box, dtype=torch.float64) * voxel_size + start for start in origin]
    z, y, x = torch.meshgrid(axes[2], axes[1], axes[0], indexing="ij")
    voxels = sum(torch.exp(-((x - px) ** 2 + (y - py) ** 2 + (z - pz) ** 2) / (2 * width**2)) for px, py, pz in positions)
    return Volume(voxels=voxels.float(), voxel_size=voxel_size, origin=origin)


ALONE = [(17.3, 3.4, 11.1)]


@pytest.mark.parametrize("width", [0.4, 0.6, 0.9, 1.5])
def test_the_score_of_a_lonely_gaussian_is_the_closed_form(width: float) -> None:
    radius = np.arange(21) * 0.1  # eight points on each sphere, and at the atom
    exact = np.corrcoef(np.exp(-(radius**2) / (2 * width**2)), np.exp(-(radius**2) / (2 * 0.6**2)))[0, 1]
    volume = gaussians(ALONE, width, voxel_size=0.12, origin=(14.0, 0.0, 8.0))
    assert q_scores(volume, carbons(ALONE)).mean == pytest.approx(exact, abs=3e-3)
    assert q_scores(volume, carbons(ALONE), sigma=width).mean == pytest.approx(1.0, abs=3e-3)


def test_contrast_and_brightness_do_not_matter_but_sign_does() -> None:
    volume = gaussians(ALONE, 0.8)
    plain = q_scores(volume, carbons(ALONE)).mean
    assert q_scores(replace(volume, voxels=7 * volume.voxels + 3), carbons(ALONE)).mean == pytest.approx(plain, abs=1e-5)
    assert q_scores(replace(volume, voxels=-volume.voxels), carbons(ALONE)).mean == pytest.approx(-plain, abs=1e-5)


def reference_scores(volume: Volume, positions: np.ndarray) -> list[float]:
    """The definition, atom by atom and point by point."""
    from scipy.interpolate import RegularGridInterpolator

    axes = [np.arange(n) * volume.voxel_size + start for n, start in zip(volume.voxels.shape, volume.origin[::-1], strict=True)]
    density = RegularGridInterpolator(axes, volume.voxels.double().numpy())
    scores = []
    for i, atom in enumerate(positions):
        others = np.delete(positions, i, axis=0)
        values = [float(density(atom[::-1])[0])] * 8
        expected = [1.0] * 8
        for radius in np.arange(1, 21) * 0.1:
            for attempt in range(50):
                points = atom + radius * spiral(8 + 2 * attempt)
                free = [p for p in points if all(np.linalg.norm(p - o) >= 0.9 * radius for o in others)]
                if len(free) >= 8:
                    values += [float(density(p[::-1])[0]) for p in free]
                    expected += [math.exp(-(radius**2) / (2 * 0.36))] * len(free)
                    break
        scores.append(float(np.corrcoef(values, expected)[0, 1]))
    return scores


def test_crowded_atoms_score_as_the_definition_says(generator: torch.Generator) -> None:
    places = torch.tensor([17.0, 3.0, 11.0]) + 1.4 * torch.randn(9, 3, generator=generator)
    positions = places.tolist()
    volume = gaussians(positions, 0.7)
    volume = replace(volume, voxels=volume.voxels + 0.1 * torch.randn(volume.voxels.shape, generator=generator))
    found = q_scores(volume, carbons(positions)).atoms.tolist()
    assert found == pytest.approx(reference_scores(volume, places.double().numpy()), abs=2e-4)
    assert max(found) - min(found) > 0.02


def test_a_misplaced_atom_scores_low() -> None:
    volume = gaussians(ALONE, 0.6)
    scores = [q_scores(volume, carbons([(17.3 + away, 3.4, 11.1)])).mean for away in (0.0, 0.5, 1.0, 2.0)]
    assert scores == sorted(scores, reverse=True)
    assert scores[-1] < 0


def test_hydrogens_are_neither_scored_nor_in_the_way() -> None:
    pair = [*ALONE, (17.9, 3.4, 11.1)]
    atoms = carbons(pair)
    atoms = replace(atoms, atomic_numbers=torch.tensor([6, 1]))
    found = q_scores(gaussians(ALONE, 0.7), atoms)
    assert math.isnan(float(found.atoms[1]))
    assert found.mean == q_scores(gaussians(ALONE, 0.7), carbons(ALONE)).mean


def test_alternate_locations_do_not_push_each_other_away() -> None:
    pair = [*ALONE, (17.7, 3.4, 11.1)]
    names = {"names": ("CA", "CA"), "residue_names": ("ALA", "ALA"), "residue_numbers": (3, 3), "chains": ("A", "A")}
    found = q_scores(gaussians(ALONE, 0.7), carbons(pair, **names))
    assert float(found.atoms[0]) == q_scores(gaussians(ALONE, 0.7), carbons(ALONE)).mean


def test_residues_are_means_of_their_atoms() -> None:
    three = [*ALONE, (14.0, 0.5, 8.0), (14.0, 0.5, 9.5)]
    names = {
        "names": ("CA", "N", "CA"),
        "residue_names": ("ALA", "GLY", "GLY"),
        "residue_numbers": (3, 4, 4),
        "chains": ("A",) * 3,
    }
    found = q_scores(gaussians(three, 0.7), carbons(three, **names))
    assert found.residues == (("ALA", 3, "A"), ("GLY", 4, "A"))
    assert found.by_residue().tolist() == pytest.approx([float(found.atoms[0]), float(found.atoms[1:].mean())])


def test_a_model_beside_the_map_and_a_constant_map_are_refused() -> None:
    volume = gaussians(ALONE, 0.7)
    with pytest.raises(InputError, match="no atom of the model lies in the map"):
        q_scores(volume, carbons([(100.0, 100.0, 100.0)]))
    with pytest.raises(InputError, match="constant"):
        q_scores(replace(volume, voxels=torch.ones_like(volume.voxels)), carbons(ALONE))
    with pytest.raises(UsageError, match="sigma"):
        q_scores(volume, carbons(ALONE), sigma=0.0)


def test_the_spiral_is_even() -> None:
    points = spiral(200)
    assert np.allclose(np.linalg.norm(points, axis=1), 1)
    distance = np.linalg.norm(points[:, None] - points[None], axis=2) + 9 * np.eye(200)
    assert distance.min(axis=1).std() < 0.15 * distance.min(axis=1).mean()


@pytest.mark.agreement
def test_real_apoferritin_at_its_published_resolution(real_data: Path) -> None:
    from cryowalk.io import read_map
    from cryowalk.io.atoms import read_atoms

    folder = real_data / "map_model_apof_emd20026"
    volume, atoms = read_map(folder / "emd20026_prot.mrc"), read_atoms(folder / "3ajo_fitted_refined.pdb")
    found = q_scores(volume, atoms)
    assert found.mean == pytest.approx(0.878, abs=0.005)
    protein = torch.tensor([name not in ("HOH", "MG") for name, _, _ in found.residues])
    assert float(found.by_residue()[protein].median()) > 0.88


@pytest.mark.agreement
def test_mapq_agrees_on_its_own_test_case(real_data: Path, golden: dict) -> None:
    """MapQ's example 7cec chain A in EMD-30342; its per-residue table `*_Q.txt`/csv is not among the real data here, its mean is."""
    from cryowalk.io import read_map
    from cryowalk.io.atoms import read_atoms

    maps, models = sorted(real_data.rglob("*emd_30342*.mrc")), sorted(real_data.rglob("*7cec*.cif"))
    if not (maps and models):
        pytest.skip("MapQ's test case (390_7cec_A.cif, 390_emd_30342_A_z4.mrc) is not among the real data")
    case = golden["qscore_7cec_A_emd30342"]
    found = q_scores(read_map(maps[0]), read_atoms(models[0]))
    assert len(found.residues) == case["residues"]
    assert float(found.by_residue().mean()) == pytest.approx(case["peer_mean"], abs=case["tol_mean"])
