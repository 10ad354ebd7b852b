"""Particles in HDF5 on the command line: from STAR and cryoSPARC tables, as input of other commands, and back."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from cryowalk.cli.main import exit_code
from cryowalk.io.hdf5_stacks import Hdf5StackReader
from cryowalk.io.mrc import MrcStackReader, write_array
from cryowalk.io.relion import read_particles
from cryowalk.io.star import read_star

SIMULATE = "simulate particles --n 12 --box 32 --pixel-size 4.6 --snr 2 --seed 3 --threads 1 --o sim --quiet"


def run(words: str) -> int:
    return exit_code(words.split())


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    """A folder with simulated particles in `sim`."""
    folder = tmp_path_factory.mktemp("project")
    before = Path.cwd()
    os.chdir(folder)
    try:
        assert run(SIMULATE) == 0
        yield folder
    finally:
        os.chdir(before)


@pytest.fixture
def inside(project, monkeypatch) -> Path:
    monkeypatch.chdir(project)
    return project


def test_star_to_hdf5_and_back_is_the_same_table(inside, capsys):
    assert run("star2hdf5 --i sim/particles.star --o a.h5") == 0
    assert "12 particles of 32 px" in capsys.readouterr().out
    assert run("convert --i a.h5 --o a.star") == 0
    ours, theirs = read_star("a.star"), read_star("sim/particles.star")
    assert [(one.name, dict(one.values), list(one.columns.items()), one.comments) for one in ours.blocks] == [
        (one.name, dict(one.values), list(one.columns.items()), one.comments) for one in theirs.blocks
    ]
    assert run("convert --i a.h5 --o b.mrcs") == 0
    assert torch.equal(MrcStackReader("b.mrcs").read(range(12)), MrcStackReader("sim/particles.mrcs").read(range(12)))
    assert read_star("b.star")["particles"].columns["rlnImageName"][11] == "000012@b.mrcs"
    assert run("convert --i sim/particles.star --o c.h5 --mode float16") == 0
    assert run("convert --i c.h5 --o d.h5") == 0
    assert Hdf5StackReader("d.h5").sample_format == "float32"
    assert run("validate a.h5 a.star b.star c.h5 d.h5") == 0


def test_commands_take_images_from_hdf5(inside, capsys):
    assert run("star2hdf5 --i sim/particles.star --o e.h5 --quiet") == 0
    assert run("reconstruct --i sim/particles.star --o rec_star --quiet --threads 1") == 0
    assert run("reconstruct --i e.h5 --o rec_h5 --quiet --threads 1") == 0
    assert Path("rec_h5/run_class001.mrc").read_bytes() == Path("rec_star/run_class001.mrc").read_bytes()
    assert run("inspect e.h5") == 0
    assert "12 images of 32 × 32 px" in capsys.readouterr().out
    assert run("select --i e.h5 --o few.star --first 3") == 0
    assert torch.equal(read_particles("few.star").images.read([2]), MrcStackReader("sim/particles.mrcs").read([2]))


def test_rows_may_be_chosen(inside, capsys):
    tilt = np.array(read_star("sim/particles.star")["particles"].columns["rlnAngleTilt"], dtype=float)
    limit = float(np.median(tilt))
    assert (
        exit_code(
            [
                "star2hdf5",
                "--i",
                "sim/particles.star",
                "--o",
                "f.h5",
                "--where",
                f"rlnAngleTilt > {limit}",
                "--compression",
                "gzip",
            ]
        )
        == 0
    )
    assert "6 of 12" in capsys.readouterr().out
    rows = np.flatnonzero(tilt > limit)
    assert torch.equal(Hdf5StackReader("f.h5").read(range(6)), MrcStackReader("sim/particles.mrcs").read(rows.tolist()))
    assert run("star2hdf5 --i sim/particles.star --o g.h5 --first 4 --compression lzf") == 0
    with h5py.File("g.h5") as file:
        assert file["particles/rlnAngleTilt"][()].tolist() == tilt[:4].tolist()
        assert file["images"].compression == "lzf"


def test_several_tables_become_one_stack(inside):
    assert run("star2hdf5 --i sim/particles.star --o h.h5 --first 5") == 0
    assert run("convert --i h.h5 --o part.mrcs") == 0
    assert run("star2hdf5 --i part.star sim/particles.star --o i.h5") == 0
    images = MrcStackReader("sim/particles.mrcs").read(range(12))
    assert torch.equal(Hdf5StackReader("i.h5").read(range(17)), torch.cat((images[:5], images)))
    assert torch.equal(Hdf5StackReader("i.h5").read([16, 4, 5]), images[[11, 4, 0]])
    assert len(read_particles("i.h5")) == 17


def test_what_is_refused(inside, capsys):
    assert run("star2hdf5 --i sim/particles.star --o j.h5 --quiet") == 0
    before = Path("j.h5").read_bytes()
    assert run("star2hdf5 --i sim/particles.star --o j.h5") == 6
    assert "--overwrite" in capsys.readouterr().err
    assert run("star2hdf5 --i sim/particles.star --o j.h5 --overwrite --quiet") == 0
    assert Path("j.h5").read_bytes() == before
    assert run("star2hdf5 --i sim/particles.star --o j.mrcs") == 2
    assert ".h5" in capsys.readouterr().err
    assert run("convert --i j.h5 --o j.pdb") == 2
    with h5py.File("link.h5", "w") as file:
        file["images"] = h5py.ExternalLink("j.h5", "/images")
    for words in ("reconstruct --i link.h5 --o rec_link", "convert --i link.h5 --o link.mrcs", "inspect link.h5"):
        assert run(words) == 5
        assert "another file" in capsys.readouterr().err
    assert run("validate link.h5") == 3
    Path("cut.h5").write_bytes(before[:-2000])
    assert run("reconstruct --i cut.h5 --o rec_cut") == 3
    assert "cut off" in capsys.readouterr().err
    assert not Path("rec_cut/run_class001.mrc").exists()


@pytest.mark.slow
def test_a_killed_command_goes_on_and_ends_with_the_same_bytes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_array(
        np.random.default_rng(1).normal(size=(3000, 128, 128)).astype(np.float32), "x.mrcs", voxel_size=1.7, kind="images"
    )
    rows = "\n".join(f"{row + 1:06d}@x.mrcs 1" for row in range(3000))
    Path("x.star").write_text(
        "data_optics\n\nloop_\n_rlnOpticsGroup #1\n_rlnOpticsGroupName #2\n_rlnImagePixelSize #3\n1 o 1.7\n\n"
        f"data_particles\n\nloop_\n_rlnImageName #1\n_rlnOpticsGroup #2\n{rows}\n\n"
    )
    words = [sys.executable, "-m", "cryowalk", "star2hdf5", "--i", "x.star", "--threads", "1", "--o"]
    subprocess.run([*words, "whole.h5"], check=True, capture_output=True)
    process = subprocess.Popen([*words, "killed.h5"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    partial = Path("killed.h5.partial")
    end = time.monotonic() + 60
    while process.poll() is None and time.monotonic() < end and not (partial.exists() and partial.stat().st_size > 2**24):
        time.sleep(0.0005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not Path("killed.h5").exists()
    assert 2**24 < partial.stat().st_size < Path("whole.h5").stat().st_size
    told = subprocess.run([*words, "killed.h5"], check=True, capture_output=True, text=True)
    assert "from an earlier run" in told.stderr
    assert Path("killed.h5").read_bytes() == Path("whole.h5").read_bytes()


# real files


@pytest.mark.agreement
def test_stacks_of_micrographs_become_one_file(tmp_path, monkeypatch, real_data, capsys):
    monkeypatch.chdir(tmp_path)
    folder = real_data / "betagal_10204"
    words = ["star2hdf5", "--i", str(folder / "Extract" / "Movies" / "*_extract.star"), "--o", "all.h5"]
    assert exit_code(words) == 3
    assert "optics" in capsys.readouterr().err
    assert exit_code([*words, "--optics", str(folder / "particles_with_relion_poses.star"), "--mode", "float16"]) == 0
    assert "1157 particles of 64 px in 1 optics groups" in capsys.readouterr().out
    with h5py.File("all.h5") as file:
        assert file["images"].shape == (1157, 64, 64)
        assert file["images"].dtype == np.float16
        columns = file["particles"]
        assert columns["rlnMicrographName"].asstr()[0] == "MotionCorr/job002/Movies/20170629_00021_frameImage.mrc"
        assert columns["rlnCoordinateX"].attrs["units"] == b"pixel"
        assert {"rlnClassNumber", "rlnCtfMaxResolution", "rlnAnglePsi", "rlnCoordinateY"} <= set(columns)
    stacks = [MrcStackReader(path) for path in sorted((folder / "Extract" / "Movies").glob("*.mrcs"))]
    images = torch.cat([stack.read(range(stack.count)) for stack in stacks])
    assert torch.equal(Hdf5StackReader("all.h5").read(range(1157)), images)


@pytest.mark.agreement
def test_particles_of_cryosparc_are_those_of_the_star_file(tmp_path, monkeypatch, real_data, capsys):
    monkeypatch.chdir(tmp_path)
    folder = real_data / "interop"
    assert exit_code(["cs2hdf5", "--i", str(folder / "empiar_10076_7.cs"), "--o", "cs.h5"]) == 0
    assert "7 particles of 320 px" in capsys.readouterr().out
    found, theirs = read_particles("cs.h5"), read_particles(folder / "empiar_10076_7.star")
    assert len(found) == len(theirs) == 7
    assert torch.equal(found.images.read(range(7)).abs(), theirs.images.read(range(7)).abs())
    torch.testing.assert_close(found.defocus.major, theirs.defocus.major, rtol=1e-6, atol=0.1)
    assert found.extra["rlnImageOriginalName"][0].startswith("000001@")
