"""`local-resolution`, `flip-hand`, `align-maps` and `map-model` as a user types them."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from cryowalk import Optics
from cryowalk.cli.main import exit_code
from cryowalk.data import Atoms, ImageStack, ParticleSet, Pose, Volume
from cryowalk.fourier.nufft import project_exactly
from cryowalk.geometry.rotations import matrix_from_euler
from cryowalk.geometry.sampling import random_rotations
from cryowalk.io import read_map, write_map
from cryowalk.io.atoms import write_atoms
from cryowalk.io.mrc import read_array, write_array
from cryowalk.io.relion import read_particles, write_particles
from cryowalk.validation.map_model import model_density
from cryowalk.validation.rigid_motion import mirrored, moved

OFF = ("--quiet", "--threads", "1")
VOXEL, BOX = 2.0, 32
OPTICS = Optics(pixel_size=VOXEL, voltage_kv=300.0, spherical_aberration_mm=2.7, amplitude_contrast=0.1)


def molecule() -> Atoms:
    """Ninety atoms of three residues within 18 Å of (30, 40, 50) Å."""
    source = torch.Generator().manual_seed(2)
    positions = torch.randn(90, 3, generator=source)
    positions = 18 * positions / positions.norm(dim=1, keepdim=True) * torch.rand(90, 1, generator=source) ** (1 / 3)
    ones = torch.ones(90)
    return Atoms(
        positions=positions + torch.tensor([30.0, 40.0, 50.0]),
        atomic_numbers=torch.full((90,), 6),
        b_factors=40 * ones,
        occupancies=ones,
        names=tuple(f"C{i}" for i in range(90)),
        residue_names=("ALA",) * 30 + ("GLY",) * 30 + ("SER",) * 30,
        residue_numbers=(1,) * 30 + (2,) * 30 + (3,) * 30,
        chains=("A",) * 90,
    )


def true_map() -> Volume:
    grid = Volume(voxels=torch.zeros(BOX, BOX, BOX), voxel_size=VOXEL, origin=(-2.0, 8.0, 18.0))
    return model_density(molecule(), grid, resolution=5.0)


@pytest.fixture
def inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with two half maps, their molecule, and particles with poses."""
    volume = true_map()
    source = torch.Generator().manual_seed(7)
    for number in (1, 2):
        noise = 0.5 * volume.voxels.std() * torch.randn(volume.voxels.shape, generator=source)
        write_map(replace(volume, voxels=volume.voxels + noise), tmp_path / f"run_half{number}_class001_unfil.mrc")
    write_map(volume, tmp_path / "map.mrc")
    write_atoms(molecule(), tmp_path / "molecule.cif")
    pose = Pose(
        lab_from_particle=random_rotations(5, generator=source),
        shift=2 * torch.randn(5, 2, generator=source, dtype=torch.float64),
    )
    pictures = images(volume, pose).float()
    particles = ParticleSet(
        optics=(OPTICS,),
        optics_index=torch.zeros(5, dtype=torch.int64),
        pose=pose,
        images=ImageStack(pixels=pictures, pixel_size=VOXEL),
    )
    write_particles(particles, tmp_path / "particles.star")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def images(volume: Volume, pose: Pose) -> torch.Tensor:
    """Exact projections of the map at the poses, moved by their shifts."""
    from cryowalk.fourier.filters import shift_images

    return shift_images(
        project_exactly(replace(volume, voxels=volume.voxels.double()), pose.lab_from_particle), pose.shift, pixel_size=VOXEL
    )


def test_local_resolution_writes_what_relion_does(inside: Path) -> None:
    words = ["local-resolution", "--i", "run_half1_class001_unfil.mrc", "--o", "Local", "--window", "24", *OFF]
    assert exit_code(words) == 0
    local = torch.from_numpy(read_array("Local/relion_locres.mrc").copy())
    assert local.shape == (BOX, BOX, BOX)
    assert float(local.min()) >= 2 * VOXEL - 1e-3  # Å, not scaled as densities are
    assert float(local.max()) <= 24.01
    filtered = read_map("Local/relion_locres_filtered.mrc")
    assert filtered.voxel_size == pytest.approx(VOXEL)
    assert filtered.origin == pytest.approx((-2.0, 8.0, 18.0))
    scores = json.loads(Path("Local/scores.json").read_text())
    assert (
        scores["local_resolution_finest_angstrom"]
        <= scores["local_resolution_median_angstrom"]
        <= scores["local_resolution_coarsest_angstrom"]
    )
    assert "Central slices" in Path("Local/report.html").read_text()
    assert exit_code(words) == 0  # done before: nothing to do
    assert exit_code(["report", "Local", *OFF]) == 0


def test_a_mask_leaves_zeros_outside(inside: Path) -> None:

    mask = torch.zeros(BOX, BOX, BOX)
    mask[10:22, 10:22, 10:22] = 1
    write_array(mask, "mask.mrc", voxel_size=VOXEL)
    assert (
        exit_code(
            [
                "local-resolution",
                "--i",
                "run_half1_class001_unfil.mrc",
                "--o",
                "Local",
                "--mask",
                "mask.mrc",
                "--window",
                "24",
                *OFF,
            ]
        )
        == 0
    )
    local = torch.from_numpy(read_array("Local/relion_locres.mrc").copy())
    assert bool(((local > 0) == (mask > 0)).all())


def test_local_resolution_refuses_one_half_twice(inside: Path, capsys: pytest.CaptureFixture[str]) -> None:
    half = "run_half1_class001_unfil.mrc"
    assert exit_code(["local-resolution", "--i", half, "--i2", half, "--o", "Local", *OFF]) == 3
    assert "one and the same" in capsys.readouterr().err
    assert exit_code(["local-resolution", "--i", "map.mrc", "--o", "Local", *OFF]) == 3
    assert "--i2" in capsys.readouterr().err


def test_a_flipped_map_and_flipped_poses_have_the_same_images(inside: Path) -> None:
    assert exit_code(["flip-hand", "--i", "map.mrc", "particles.star", "--o", "Other", *OFF]) == 0
    assert exit_code(["flip-hand", "--i", "map.mrc", "--o", "flipped.mrc", *OFF]) == 0
    assert Path("flipped.mrc").read_bytes()[1024:] == Path("Other/map.mrc").read_bytes()[1024:]
    flipped = read_particles("Other/particles.star")  # which finds the stack from its new place
    before, after = read_particles("particles.star").pose, flipped.pose
    assert before is not None
    assert after is not None
    assert flipped.images is not None
    first, second = images(read_map("map.mrc"), before), images(read_map("flipped.mrc"), after)
    assert float((first - second).norm() / first.norm()) < 0.01  # an even box has no mirror image of its outermost plane
    assert torch.allclose(flipped.images.read(range(5)).double(), first, atol=1e-3 * float(first.abs().max()))
    assert float((images(read_map("map.mrc"), after) - first).norm() / first.norm()) > 0.2


def test_flip_hand_does_not_write_over_its_input(inside: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = Path("map.mrc").read_bytes()
    assert exit_code(["flip-hand", "--i", "map.mrc", "--o", "map.mrc", *OFF]) == 2
    assert "over itself" in capsys.readouterr().err
    assert Path("map.mrc").read_bytes() == before


@pytest.mark.slow
@pytest.mark.parametrize("is_mirrored", [False, True])
def test_poses_follow_a_map_that_is_aligned(inside: Path, is_mirrored: bool) -> None:
    volume = read_map("map.mrc")
    source = mirrored(volume) if is_mirrored else volume
    turn = matrix_from_euler(torch.tensor([0.3, 0.5, -0.2], dtype=torch.float64))
    write_map(moved(source, turn, torch.tensor([2.0, -3.0, 1.0], dtype=torch.float64)), "elsewhere.mrc")
    words = ["align-maps", "--i", "elsewhere.mrc", "--ref", "map.mrc", "--particles", "particles.star", "--o", "Aligned", *OFF]
    assert exit_code([*words, "--hand", "either" if is_mirrored else "keep"]) == 0
    facts = json.loads(Path("Aligned/alignment.json").read_text())
    assert facts["is_mirrored"] is is_mirrored
    assert facts["correlation"] > 0.97
    pose, after = (read_particles(name).pose for name in ("particles.star", "Aligned/particles.star"))
    assert pose is not None
    assert after is not None
    first = images(read_map("elsewhere.mrc"), pose)
    second = images(read_map("Aligned/aligned.mrc"), after)
    assert float((first - second).norm() / first.norm()) < 0.12  # two interpolations
    assert float((images(read_map("Aligned/aligned.mrc"), pose) - first).norm() / first.norm()) > 0.3


def test_a_map_on_another_grid_is_brought_onto_the_references(generator: torch.Generator) -> None:
    from cryowalk.fourier.transform import resample
    from cryowalk.workflow.map_motion_stages import on_grid_of

    volume = true_map()
    coarse = Volume(voxels=resample(volume.voxels, (28, 28, 28)), voxel_size=VOXEL * 32 / 28, origin=volume.origin)
    back, notice = on_grid_of(coarse, volume)
    assert "28 voxels" in notice
    assert back.voxels.shape == volume.voxels.shape
    assert float((back.voxels - volume.voxels).norm() / volume.voxels.norm()) < 0.05
    assert on_grid_of(volume, volume) == (volume, "")


def test_map_model_tables_and_report(inside: Path) -> None:
    assert exit_code(["map-model", "--i", "map.mrc", "--model", "molecule.cif", "--o", "Model", *OFF]) == 0
    scores = json.loads(Path("Model/scores.json").read_text())
    assert scores["map_model_fsc_0.5_angstrom"] < 6
    assert scores["correlation_in_mask"] > 0.85
    lines = Path("Model/residues.csv").read_text().splitlines()
    assert lines[0] == "chain,number,name,q_score,correlation"
    assert [line.split(",")[:3] for line in lines[1:]] == [["A", "1", "ALA"], ["A", "2", "GLY"], ["A", "3", "SER"]]
    assert len(Path("Model/map_model_fsc.csv").read_text().splitlines()) == BOX // 2 + 2
    density = read_map("Model/model.mrc")
    assert density.origin == pytest.approx((-2.0, 8.0, 18.0))
    assert "mean Q-score" in Path("Model/report.html").read_text()
    assert exit_code(["report", "Model", *OFF]) == 0


def test_without_a_model_the_hand_cannot_be_told(inside: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code(["map-model", "--i", "map.mrc", "--o", "Model", *OFF]) == 3
    assert "cannot tell the hand" in capsys.readouterr().err


def test_a_model_elsewhere_is_refused_with_the_maps_name(inside: Path, capsys: pytest.CaptureFixture[str]) -> None:
    away = molecule()
    write_atoms(replace(away, positions=away.positions + 500), "away.cif")
    assert exit_code(["map-model", "--i", "map.mrc", "--model", "away.cif", "--o", "Model", *OFF]) == 3
    said = capsys.readouterr().err
    assert "map.mrc" in said
    assert "0% of the atoms" in said


def test_fsc_by_direction(inside: Path, capsys: pytest.CaptureFixture[str]) -> None:
    halves = [f"run_half{number}_class001_unfil.mrc" for number in (1, 2)]
    assert exit_code(["fsc", *halves, "--directional", "--json", *OFF]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["best_direction_angstrom"] <= facts["resolution_0.143_angstrom"] <= facts["worst_direction_angstrom"] + 0.5
    assert 0.5 < facts["sphericity"] <= 1
    assert len(facts["worst_direction"]) == 3


def test_a_mask_that_is_nowhere_above_zero_is_refused(inside: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_array(torch.full((BOX, BOX, BOX), -0.5), "below.mrc", voxel_size=VOXEL)
    halves = [f"run_half{number}_class001_unfil.mrc" for number in (1, 2)]
    assert exit_code(["fsc", *halves, "--mask", "below.mrc", *OFF]) == 3
    told = capsys.readouterr().err
    assert "below.mrc" in told
    assert "nowhere above zero" in told
    assert exit_code(["local-resolution", "--i", halves[0], "--mask", "below.mrc", "--o", "Local", *OFF]) == 3
    assert "no voxel above 0.5" in capsys.readouterr().err
    assert not Path("Local/relion_locres.mrc").exists()
