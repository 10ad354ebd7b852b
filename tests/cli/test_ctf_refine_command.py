"""`cryowalk ctf-refine` as a user meets it: half maps that find each other, RELION's columns, a report, and inputs that are none."""

import json
from dataclasses import replace

import pytest
import torch
from tests.poses.conftest import photographed, random_specimen

from cryowalk.cli.main import exit_code, main
from cryowalk.data import ImageStack
from cryowalk.data.optics import Aberrations
from cryowalk.io import read_map, read_particles, write_map, write_particles
from cryowalk.io.mrc import MrcStackReader, write_array
from cryowalk.io.stacks import image_names
from cryowalk.refinement.starting_map import ImageGrid, on_grid

QUIET = ("--quiet", "--threads", "1", "--device", "cpu")
COUNT, PIXEL = 150, 1.6
HALVES = ("run_half1_class001_unfil.mrc", "run_half2_class001_unfil.mrc")


def ctf_refine(*words):
    with pytest.raises(SystemExit) as raised:
        main(["ctf-refine", *words, *QUIET])
    return raised.value.code


@pytest.fixture
def inside(tmp_path, monkeypatch):
    """Particles with a beam tilt and wrong defocus, two half maps and their truth, in the working directory."""
    monkeypatch.chdir(tmp_path)
    specimen, generator = random_specimen(), torch.Generator().manual_seed(3)
    true = photographed(specimen, COUNT, generator, aberrations=Aberrations(beam_tilt=(0.9e-3, -0.5e-3)), noise=1.0)
    for name in HALVES:
        noise = 0.2 * specimen.voxels.std() * torch.randn(specimen.voxels.shape, generator=generator)
        write_map(replace(specimen, voxels=specimen.voxels + noise), tmp_path / name)
    change = 300 * (torch.rand(COUNT, generator=generator, dtype=torch.float64) - 0.5)
    d = true.defocus
    start = replace(true, defocus=replace(d, major=d.major + change, minor=d.minor + change))
    start = replace(start, optics=(replace(start.optics[0], aberrations=Aberrations()),), extra={"rlnCustom": ("x",) * COUNT})
    write_array(true.images.pixels, tmp_path / "p.mrcs", voxel_size=PIXEL, kind="images")
    names = image_names(tmp_path / "p.mrcs", COUNT, star=tmp_path / "p.star")
    write_particles(start.with_images(MrcStackReader(tmp_path / "p.mrcs"), names), tmp_path / "p.star")
    return tmp_path, true


def test_half_maps_give_tilt_and_defocus_and_a_report(inside):
    folder, true = inside
    assert ctf_refine("--i", "p.star", "--ref", HALVES[0], "--o", "C", "--beam-tilt") == 0
    found = read_particles(folder / "C/particles_ctf_refine.star")
    assert found.optics[0].aberrations.beam_tilt == pytest.approx((0.9e-3, -0.5e-3), abs=0.08e-3)
    assert (found.defocus.major - true.defocus.major).abs().median() < 25
    assert found.extra["rlnCustom"] == ("x",) * COUNT
    assert torch.equal(found.images.read([3]), true.images.read([3]))
    facts = json.loads((folder / "C/ctf_refine.json").read_text())
    assert facts["particles"] == COUNT
    assert facts["groups"][0]["beam_tilt_mrad"] == pytest.approx([0.9, -0.5], abs=0.08)
    assert len(facts["micrographs"]) == 6
    planes = MrcStackReader(folder / "C/aberrations_group01.mrcs").read(range(2))
    # Odd phases: the mate at the other side of the middle has the opposite sign.
    torch.testing.assert_close(planes[1, 20, 30], -planes[1, 28, 18])
    page = (folder / "C/report.html").read_text()
    assert "beam tilt" in page
    assert "Defocus" in page
    assert ctf_refine("--i", "p.star", "--ref", HALVES[0], "--o", "C", "--beam-tilt") == 0  # done already
    assert ctf_refine("--i", "p.star", "--ref", HALVES[0], "--o", "C", "--aberrations") == 6  # another setting in the same place


def test_one_map_serves_all_and_the_chain_may_be_short(inside):
    folder, _ = inside
    before = read_particles(folder / "p.star")
    assert ctf_refine("--i", "p.star", "--ref", HALVES[1], "--o", "A", "--defocus", "per-micrograph") == 0
    (folder / "whole.mrc").write_bytes((folder / HALVES[0]).read_bytes())
    assert ctf_refine("--i", "p.star", "--ref", "whole.mrc", "--o", "B", "--defocus", "off", "--anisotropy") == 0
    found = read_particles(folder / "B/particles_ctf_refine.star")
    assert found.optics[0].aberrations.magnification == pytest.approx((1, 0, 0, 1), abs=2e-3)
    assert (found.defocus.major - before.defocus.major).abs().max() < 60


def test_a_map_of_another_box_or_voxel_size_is_brought_to_the_images(inside, capsys):
    folder, true = inside
    write_map(map_on_grid(read_map(HALVES[0]), box=60, voxel_size=PIXEL), folder / "larger.mrc")
    write_map(map_on_grid(read_map(HALVES[0]), box=64, voxel_size=0.75 * PIXEL), folder / "finer.mrc")
    start = read_particles(folder / "p.star").defocus.major
    for name in ("larger.mrc", "finer.mrc"):
        words = ["ctf-refine", "--i", "p.star", "--ref", name, "--o", f"out_{name}", "--threads", "1", "--device", "cpu"]
        assert exit_code(words) == 0
        assert "was brought to the images' grid" in capsys.readouterr().err
        found = read_particles(folder / f"out_{name}/particles_ctf_refine.star")
        before, after = ((one - true.defocus.major).abs().median() for one in (start, found.defocus.major))
        assert after < before / 2


def map_on_grid(volume, *, box, voxel_size):
    """The same map on another grid about the same origin."""
    return on_grid(volume, ImageGrid(box=box, pixel_size=voxel_size))


def test_what_cannot_be_used_is_told(inside, capsys):
    folder, _ = inside
    (folder / HALVES[1]).unlink()
    assert ctf_refine("--i", "p.star", "--ref", HALVES[0], "--o", "N") == 3
    assert "other half map" in capsys.readouterr().err
    particles = read_particles(folder / "p.star")
    write_particles(replace(particles, pose=None), folder / "noposes.star")
    (folder / "whole.mrc").write_bytes((folder / HALVES[0]).read_bytes())
    assert ctf_refine("--i", "noposes.star", "--ref", "whole.mrc", "--o", "P") == 3
    assert "poses" in capsys.readouterr().err


def test_images_without_contrast_and_no_task_are_refused(inside, capsys):
    folder, _ = inside
    assert ctf_refine("--i", "p.star", "--ref", HALVES[0], "--o", "none", "--defocus", "off") == 2
    assert "nothing is to be refined" in capsys.readouterr().err
    particles = read_particles(folder / "p.star")[list(range(4))]
    flat = ImageStack(pixels=torch.zeros(4, *particles.images.image_shape), pixel_size=particles.pixel_size)
    write_particles(replace(particles, images=flat, image_names=()), folder / "flat.star")
    assert ctf_refine("--i", "flat.star", "--ref", HALVES[0], "--o", "F") == 3
    assert "no image says anything about its defocus" in capsys.readouterr().err
    assert not (folder / "F/particles_ctf_refine.star").exists()
