"""Files that our commands wrote, in the hands of RELION 3.1.3's programs, unchanged: tables, stacks, maps and masks of one small project."""

import shutil
import subprocess

import pytest
import torch

from cryowalk.cli.main import exit_code
from cryowalk.io.maps import read_map
from cryowalk.io.micrographs import read_micrographs
from cryowalk.io.mrc import MrcStackReader
from cryowalk.io.relion import read_particles
from cryowalk.io.star import read_star
from cryowalk.validation import compare_maps

pytestmark = pytest.mark.agreement
OFF = ("--quiet", "--threads", "1")
COUNT, BOX, PIXEL = 40, 48, 3.0


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """Simulated particles in two optics groups, their maps, a mask, and imported films, all by our commands."""
    if shutil.which("relion_star_handler") is None:
        pytest.skip("RELION is not installed: whether it takes our files was not tried")
    from tests.cli.acquisitions import serialem_session

    folder = tmp_path_factory.mktemp("taken")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        serialem_session(folder / "Movies", side=2)
        commands = [
            f"simulate particles --o Sim --n {COUNT} --box {BOX} --pixel-size {PIXEL} --snr 5 --seed 2",
            "reconstruct --i Sim/particles.star --o Rec",
            "mask --i Rec/run_class001.mrc --o Mask",
            "import --i Movies/*.mrc --o Import --dose-per-frame 1.5",
            "optics --i Import/movies.star --merge all --o merged.star",
        ]
        for command in commands:
            words = command.replace("Movies/*.mrc", " ".join(sorted(map(str, (folder / "Movies").glob("*.mrc"))))).split()
            assert exit_code([*words, *OFF]) == 0, command
    return folder


@pytest.fixture
def inside(project, monkeypatch):
    monkeypatch.chdir(project)
    return project


def run(program, *words):
    ended = subprocess.run([program, *map(str, words)], capture_output=True, text=True, timeout=120, check=False)
    assert ended.returncode == 0, ended.stdout[-800:] + ended.stderr[-800:]
    assert "unknown label" not in ended.stderr + ended.stdout
    return ended.stdout


def test_films_with_groups_from_beam_shifts(inside):
    ours = read_micrographs("Import/movies.star")
    assert len(ours.optics) == 4
    run(
        "relion_star_handler",
        "--i",
        "Import/movies.star",
        "--o",
        "one.star",
        "--select",
        "rlnOpticsGroup",
        "--minval",
        "2",
        "--maxval",
        "2",
    )
    theirs = read_micrographs("one.star")
    assert theirs.movie_names == ours[ours.optics_index == 1].movie_names
    assert theirs.extra["rlnMicrographDoseRate"] == ("1.500000",) * len(theirs)
    run("relion_star_handler", "--i", "Import/movies.star merged.star", "--combine", "--o", "both.star")
    both = read_micrographs("both.star")
    assert len(both) == 2 * len(ours)
    assert len(both.optics) == 5  # merged by name


def test_a_table_of_particles_is_split_joined_and_thinned(inside):
    (inside / "Split").mkdir()
    run("relion_star_handler", "--i", "Sim/particles.star", "--o", "Split/part.star", "--split", "--nr_split", "2")
    parts = [read_particles(f"Split/part_split{number}.star") for number in (1, 2)]
    ours = read_particles("Sim/particles.star")
    assert [len(part) for part in parts] == [COUNT // 2, COUNT // 2]
    torch.testing.assert_close(parts[1].images.read([3]), ours.images.read([COUNT // 2 + 3]), rtol=0, atol=0)
    run("relion_star_handler", "--i", "Split/part_split1.star Split/part_split2.star", "--combine", "--o", "whole.star")
    whole = read_particles("whole.star")
    assert whole.image_names == ours.image_names
    assert list(read_star("whole.star")["particles"].columns)[: len(ours.column_order)] == list(ours.column_order)
    torch.testing.assert_close(whole.defocus.major, ours.defocus.major, rtol=0, atol=1e-4)
    run("relion_star_handler", "--i", "Sim/particles.star", "--o", "usual.star", "--discard_on_stats", "--discard_sigma", "9")
    assert len(read_particles("usual.star")) == COUNT  # RELION has read every image


def test_a_stack_is_made_of_our_particles(inside):
    run("relion_stack_create", "--i", "Sim/particles.star", "--o", "joined")
    ours, theirs = read_particles("Sim/particles.star"), MrcStackReader("joined.mrcs")
    torch.testing.assert_close(theirs.read(range(COUNT)), ours.images.read(range(COUNT)), rtol=0, atol=0)
    assert len(read_particles("joined.star")) == COUNT


@pytest.mark.parametrize(("source", "what"), [("Rec/run_class001.mrc", "a map"), ("Mask/mask.mrc", "a mask")])
def test_maps_and_masks_are_copied_voxel_by_voxel(inside, source, what):
    run("relion_image_handler", "--i", source, "--o", "copy.mrc", "--multiply_constant", "1")
    ours, theirs = read_map(source), read_map("copy.mrc")
    torch.testing.assert_close(theirs.voxels, ours.voxels, rtol=0, atol=1e-6 * float(ours.voxels.abs().max()))
    assert theirs.voxel_size == pytest.approx(PIXEL)


def test_halves_and_mask_meet_in_relion(inside):
    run("relion_reconstruct", "--i", "Sim/particles.star", "--o", "theirs.mrc", "--ctf")
    curve = compare_maps(read_map("theirs.mrc"), read_map("Rec/run_class001.mrc"))
    assert float(curve.correlation[1 : BOX // 8].min()) > 0.95
    run(
        "relion_mask_create",
        "--i",
        "Rec/run_class001.mrc",
        "--o",
        "m.mrc",
        "--ini_threshold",
        str(float(read_map("Rec/run_class001.mrc").voxels.max()) * PIXEL / 3),
    )
    assert float(read_map("m.mrc").voxels.mean()) > 0
    (inside / "PP").mkdir(exist_ok=True)
    half = "Rec/run_half{}_class001_unfil.mrc"
    run(
        "relion_postprocess",
        "--i",
        half.format(1),
        "--i2",
        half.format(2),
        "--mask",
        "Mask/mask.mrc",
        "--o",
        "PP/pp",
        "--angpix",
        PIXEL,
    )
    assert float(read_star("PP/pp.star")["general"].values["rlnFinalResolution"]) < 30
