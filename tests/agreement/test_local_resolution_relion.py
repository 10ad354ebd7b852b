"""RELION's own local resolution of a simulated pair of half maps, beside ours."""

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from cryowalk.data import Volume
from cryowalk.io import read_half_maps, write_map
from cryowalk.io.mrc import read_array
from cryowalk.microscope.specimen import centre_of_mass, hinge, potential
from cryowalk.validation.local_resolution import local_resolution
from cryowalk.validation.local_resolution_settings import LocalResolutionSettings

pytestmark = pytest.mark.agreement
VOXEL, BOX = 2.2, 64


@pytest.mark.slow
def test_relion_ranks_places_alike(relion: Path, tmp_path: Path, generator: torch.Generator) -> None:
    from scipy.stats import spearmanr

    atoms = hinge()
    along = atoms.positions[:, 0].double() - centre_of_mass(atoms)[0]
    volume = potential(replace(atoms, b_factors=(20 + 140 * (1 + along / along.abs().max())).float()), box=BOX, voxel_size=VOXEL)
    for number in (1, 2):
        noise = 0.8 * volume.voxels.std() * torch.randn(volume.voxels.shape, generator=generator)
        write_map(Volume(voxels=volume.voxels + noise, voxel_size=VOXEL), tmp_path / f"half{number}_class001_unfil.mrc")
    words = ["--locres", "--i", "half1_class001_unfil.mrc", "--i2", "half2_class001_unfil.mrc", "--o", "relion"]
    command = [str(relion / "relion_postprocess"), *words, "--angpix", str(VOXEL), "--locres_sampling", "15"]
    subprocess.run(command, cwd=tmp_path, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=400)
    theirs = torch.from_numpy(read_array(tmp_path / "relion_locres.mrc").copy())
    halves = read_half_maps(tmp_path / "half1_class001_unfil.mrc", tmp_path / "half2_class001_unfil.mrc")
    ours = local_resolution(halves, LocalResolutionSettings(threshold=0.143, window=30.0)).resolution.voxels
    known = theirs > 0
    # RELION's window is a soft sphere, and its curve is corrected by randomised phases.
    assert spearmanr(ours[known].numpy(), theirs[known].numpy()).statistic > 0.75  # measured: 0.82
    assert float(ours[known].median()) == pytest.approx(float(theirs[known].median()), rel=0.1)
