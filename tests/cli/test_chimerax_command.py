"""`chimerax` as a user types it, and the scripts that jobs leave beside their maps."""

from pathlib import Path

import pytest
import torch

from cryowalk.cli.main import exit_code
from cryowalk.data import Volume
from cryowalk.geometry.asymmetric_phantom import phantom_density
from cryowalk.io import read_map, write_map, write_mask
from cryowalk.io.mrc import read_array, write_array

OFF = ("--quiet", "--threads", "1")
VOXEL = 5.0


@pytest.fixture
def inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    density = phantom_density((32, 32, 32), voxel_size=VOXEL).float()
    source = torch.Generator().manual_seed(3)
    write_map(Volume(voxels=density, voxel_size=VOXEL), "map.mrc")
    for number in (1, 2):
        noise = 0.2 * density.std() * torch.randn(density.shape, generator=source)
        write_map(Volume(voxels=density + noise, voxel_size=VOXEL), f"run_half{number}_class001_unfil.mrc")
    write_mask(Volume(voxels=(density > 0.2).float(), voxel_size=VOXEL), "mask.mrc")
    write_array(4 + 4 * torch.rand(32, 32, 32, generator=source), "locres.mrc", voxel_size=VOXEL)
    Path("model.pdb").write_text("ATOM      1  CA  ALA A   1      80.000  80.000  80.000  1.00 20.00           C\nEND\n")
    return tmp_path


def lines_of(path: str) -> list[str]:
    return Path(path).read_text().splitlines()


def level_of(line: str) -> float:
    return float(line.split(" level ")[1].split()[0])


def test_the_level_lies_between_solvent_and_specimen_in_the_values_of_the_file(inside: Path) -> None:
    words = ["chimerax", "map.mrc", "run_half1_class001_unfil.mrc", "mask.mrc", "model.pdb", "--o", "views/view.cxc", *OFF]
    assert exit_code(words) == 0
    lines = lines_of("views/view.cxc")
    assert 'open "../map.mrc"' in lines
    level = level_of(next(line for line in lines if line.startswith("volume #1 style")))
    values = read_array("map.mrc")
    assert 0.01 * values.max() < level < 0.6 * values.max()
    assert level_of(next(line for line in lines if line.startswith("volume #3 style"))) == 0.5
    assert {"volume #2 hide", "volume #3 hide", "volume #3 transparency 0.75", "cartoon #4"} <= set(lines)


def test_local_resolution_has_its_range(inside: Path) -> None:
    assert exit_code(["chimerax", "map.mrc", "--local-resolution", "locres.mrc", "--finest", "3", *OFF]) == 0
    (line,) = [line for line in lines_of("view.cxc") if line.startswith("color sample #1 map #2 palette 3,")]
    coarsest = float(line.split(":")[-1].split(",")[0])
    assert 7.5 < coarsest < 8.0


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["absent.mrc"], 3, "no such file"),
        (["map.mrc", "--o", "view.txt"], 2, "no name of a ChimeraX script"),
        (["model.pdb", "--local-resolution", "locres.mrc"], 2, "no map to colour"),
        (["map.mrc", "--local-resolution", "locres.mrc", "--finest", "9", "--coarsest", "4"], 2, "exchange them"),
    ],
)
def test_wrong_use_is_told(inside: Path, words: list[str], code: int, message: str, capsys) -> None:
    assert exit_code(["chimerax", *words, *OFF]) == code
    assert message in capsys.readouterr().err


def test_jobs_leave_a_script_beside_their_maps(inside: Path) -> None:
    half = "run_half1_class001_unfil.mrc"
    assert exit_code(["postprocess", "--i", half, "--o", "Post", *OFF]) == 0
    lines = lines_of("Post/view.cxc")
    assert 'open "./postprocess_masked.mrc"' in lines
    assert 'open "../run_half2_class001_unfil.mrc"' in lines
    assert 'open "./postprocess_automask.mrc"' in lines
    assert exit_code(["local-resolution", "--i", half, "--o", "Local", "--window", "40", *OFF]) == 0
    lines = lines_of("Local/view.cxc")
    assert lines.index('open "./relion_locres_filtered.mrc"') < lines.index('open "./relion_locres.mrc"')
    assert any(line.startswith("color sample #1 map #2 palette") for line in lines)


def test_reconstruct_leaves_a_script_and_its_files_are_there(inside: Path) -> None:
    assert exit_code(["conventions", "kit", "--o", "kit", "--box", "32", "--pixel-size", "5", *OFF]) == 0
    assert exit_code(["reconstruct", "--i", "kit/particles.star", "--o", "Reconstruct", *OFF]) == 0
    lines = lines_of("Reconstruct/view.cxc")
    named = [line[6:-1] for line in lines if line.startswith("open ")]
    assert named == ["./run_class001.mrc", "./run_half1_class001_unfil.mrc", "./run_half2_class001_unfil.mrc"]
    assert all((Path("Reconstruct") / name).is_file() for name in named)
    level = level_of(next(line for line in lines if line.startswith("volume #1 style")))
    assert 0 < level < float(read_map("Reconstruct/run_class001.mrc").voxels.max()) * VOXEL
