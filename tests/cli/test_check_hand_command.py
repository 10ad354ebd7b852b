"""`check-hand` as a user types it, and `flip-hand` keeping a table's images: what is reconstructed from flipped poses is the mirror image."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from cryowalk.cli.main import exit_code
from cryowalk.data import ImageStack, Optics, ParticleSet, Pose, Volume
from cryowalk.geometry.asymmetric_phantom import phantom_density, phantom_projections
from cryowalk.geometry.sampling import random_rotations
from cryowalk.io import read_map, read_particles, write_map, write_particles
from cryowalk.validation import compare_maps
from cryowalk.validation.hand import flip_hand
from cryowalk.validation.rigid_motion import mirrored, moved

OFF = ("--quiet", "--threads", "1")
BOX, VOXEL = 32, 5.0


@pytest.fixture
def inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write_map(phantom(BOX, VOXEL), "reference.mrc")
    return tmp_path


def phantom(box: int, voxel_size: float) -> Volume:
    return Volume(voxels=phantom_density((box, box, box), voxel_size=voxel_size).float(), voxel_size=voxel_size)


def told(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, object]:
    capsys.readouterr()
    assert exit_code(["check-hand", *words, "--json", *OFF]) == 0
    return json.loads(capsys.readouterr().out)


@pytest.mark.slow
@pytest.mark.parametrize("is_mirrored", [False, True])
def test_a_turned_and_noisy_map_on_another_grid_is_told_by_a_reference(
    inside: Path, is_mirrored: bool, generator: torch.Generator, capsys: pytest.CaptureFixture[str]
) -> None:
    volume = phantom(40, 4.0)
    turned = moved(volume, random_rotations(1, generator=generator)[0], torch.tensor([6.0, -4.0, 3.0]))
    noisy = turned.voxels + 0.5 * turned.voxels.std() * torch.randn(40, 40, 40, generator=generator)
    chosen = replace(turned, voxels=noisy)
    write_map(mirrored(chosen) if is_mirrored else chosen, "mine.mrc")
    facts = told(capsys, "--i", "mine.mrc", "--ref", "reference.mrc")
    assert facts["hand"] == ("mirrored" if is_mirrored else "right")
    right, wrong = facts["correlation"], facts["mirrored_correlation"]
    assert (wrong > right + 0.1) if is_mirrored else (right > wrong + 0.1)  # type: ignore[operator]


@pytest.mark.slow
def test_noise_is_undecided_and_words_say_what_to_do(
    inside: Path, generator: torch.Generator, capsys: pytest.CaptureFixture[str]
) -> None:
    noise = Volume(voxels=torch.randn(BOX, BOX, BOX, generator=generator), voxel_size=VOXEL)
    write_map(noise, "noise.mrc")
    assert told(capsys, "--i", "noise.mrc", "--ref", "reference.mrc")["hand"] == "undecided"
    write_map(mirrored(phantom(BOX, VOXEL)), "other.mrc")
    assert exit_code(["check-hand", "--i", "other.mrc", "--ref", "reference.mrc", *OFF]) == 0
    assert "cryowalk flip-hand --i other.mrc" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["--i", "reference.mrc"], 2, "nothing that tells the hand"),
        (["--i", "reference.mrc", "--ref", "reference.mrc", "--model", "reference.mrc"], 2, "both a model and a reference"),
        (["--i", "absent.mrc", "--ref", "reference.mrc"], 3, "no such file"),
        (["--i", "flat.mrc", "--ref", "reference.mrc"], 3, "flat.mrc: the map to align is constant"),
    ],
)
def test_wrong_use_is_told(inside: Path, words: list[str], code: int, message: str, capsys) -> None:
    write_map(Volume(voxels=torch.zeros(BOX, BOX, BOX), voxel_size=VOXEL), "flat.mrc")
    assert exit_code(["check-hand", *words, *OFF]) == code
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("box", [32, 33])
def test_the_map_reconstructed_from_a_flipped_table_is_the_mirror_image(inside: Path, box: int, generator) -> None:
    count = 300
    pose = Pose(
        lab_from_particle=random_rotations(count, generator=generator),
        shift=4 * torch.randn(count, 2, generator=generator).double(),
    )
    images = phantom_projections(pose.lab_from_particle, pose.shift, size=(box, box), pixel_size=VOXEL).float()
    optics = Optics(pixel_size=VOXEL, voltage_kv=300.0, spherical_aberration_mm=2.7, amplitude_contrast=0.1)
    particles = ParticleSet(
        optics=(optics,),
        optics_index=torch.zeros(count, dtype=torch.int64),
        images=ImageStack(pixels=images, pixel_size=VOXEL),
        pose=pose,
        extra={"rlnSomethingNew": ("007",) * count},
    )
    write_particles(particles, "particles.star")
    assert exit_code(["flip-hand", "--i", "particles.star", "--o", "flipped.star", *OFF]) == 0
    for name in ("particles", "flipped"):
        assert exit_code(["reconstruct", "--i", f"{name}.star", "--o", f"of_{name}", "--ctf", "none", *OFF]) == 0
    mine, other = (read_map(f"of_{name}/run_class001.mrc") for name in ("particles", "flipped"))
    mirrored, rest = flip_hand(mine).voxels, slice(1 - box % 2, None)  # an even box has a first plane without a counterpart
    assert torch.allclose(mirrored[rest], other.voxels[rest], atol=1e-4 * float(other.voxels.abs().max()))
    assert float(compare_maps(phantom(box, VOXEL), mine).correlation[1 : box // 3].min()) > 0.95
    assert float(compare_maps(phantom(box, VOXEL), other).correlation[2 : box // 3].mean()) < 0.7
    flipped = read_particles("flipped.star", images="ignore")
    assert flipped.extra["rlnSomethingNew"] == ("007",) * count
    assert flipped.pose is not None
    assert torch.allclose(flipped.pose.shift, pose.shift, atol=1e-5)
