"""`cryowalk convert` of particle tables: between STAR, .cs and cryoDRGN's pickles, options that make no sense refused with exit code and words."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "io"))

from cryosparc_files import records, saved
from io_files import stack

from cryowalk.cli.main import main
from cryowalk.io.cryodrgn import read_cryodrgn_ctf, read_cryodrgn_poses, write_indices
from cryowalk.io.cryosparc import read_cryosparc
from cryowalk.io.cryosparc_records import read_records, write_records
from cryowalk.io.mrc import write_array
from cryowalk.io.relion import read_particles


def code(*words) -> int:
    with pytest.raises(SystemExit) as ended:
        main([str(word) for word in words])
    return int(ended.value.code or 0)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with eight particles in p.cs, their stack, and one of their micrographs."""
    monkeypatch.chdir(tmp_path)
    rows = records(count=8)
    rows["blob/path"], rows["blob/idx"] = b">stack.mrc", np.arange(8)
    rows["blob/shape"] = 16
    stack(tmp_path / "stack.mrc", count=8, shape=(16, 16), pixel_size=1.37)
    (tmp_path / "J1").mkdir()
    for number in range(3):
        write_array(
            np.random.default_rng(number).normal(size=(400, 300)).astype(np.float32),
            tmp_path / f"J1/mic_{number}.mrc",
            voxel_size=0.885,
            kind="images",
        )
    saved(tmp_path / "p.cs", rows)
    return tmp_path


def test_cs_to_star_states_the_rule_of_picks_and_draws_them(folder, capsys) -> None:
    assert code("convert", "--i", "p.cs", "--o", "out/p.star", "--picks-thumbnail", "picks.png") == 0
    said = capsys.readouterr().out
    assert "y = (1 − fraction) × height (--flip-y, cryoSPARC's rule)" in said
    assert "3 picks on mic_0.mrc" in said
    assert "4 images are dark on light" in said
    assert (folder / "picks.png").read_bytes().startswith(b"\x89PNG")
    rows = read_records("p.cs")
    y = read_particles("out/p.star", images="ignore").coordinates[:, 1].numpy()
    np.testing.assert_allclose(y, 400 * (1 - rows["location/center_y_frac"].astype(float)), atol=1e-5)
    assert code("convert", "--i", "p.cs", "--o", "down.star", "--no-flip-y") == 0
    assert "y = fraction × height (--no-flip-y)" in capsys.readouterr().out
    y = read_particles("down.star", images="ignore").coordinates[:, 1].numpy()
    np.testing.assert_allclose(y, 400 * rows["location/center_y_frac"].astype(float), atol=1e-5)


def test_there_and_back_keeps_the_records(folder) -> None:
    assert code("convert", "--i", "p.cs", "--o", "q.cs", "--quiet") == 0
    assert read_records("q.cs").tobytes() == read_records("p.cs").tobytes()
    assert code("convert", "--i", "p.cs", "--o", "p.star", "--quiet") == 0
    assert code("convert", "--i", "p.star", "--o", "r.cs", "--quiet") == 0
    rows, again = read_records("p.cs"), read_records("r.cs")
    for name in ("uid", "odd/big", "odd/text", "location/micrograph_shape", "components_mode_1/value", "blob/idx"):
        assert again[name].tobytes() == rows[name].tobytes(), name
    np.testing.assert_allclose(again["location/center_y_frac"], rows["location/center_y_frac"], atol=1e-6)
    assert len(read_cryosparc("r.csg")) == 8


def test_pickles_are_written_and_come_back_with_all_columns(folder, capsys) -> None:
    assert code("convert", "--i", "p.cs", "--o", "p.star", "--quiet") == 0
    assert code("convert", "--i", "p.star", "--o", "pose.pkl", "--ctf", "ctf.pkl") == 0
    assert "8 particles in 2 optics groups (cryoDRGN: the poses, and the CTF in ctf.pkl)" in capsys.readouterr().out
    particles = read_particles("p.star", images="ignore")
    torch.testing.assert_close(read_cryodrgn_poses("pose.pkl", side=16 * 1.37).shift, particles.pose.shift, atol=1e-5, rtol=0)
    torch.testing.assert_close(read_cryodrgn_ctf("ctf.pkl").defocus.minor, particles.defocus.minor, atol=0.01, rtol=0)
    assert code("convert", "--i", "pose.pkl", "--ctf", "ctf.pkl", "--images", "p.star", "--o", "back.star", "--quiet") == 0
    back = read_particles("back.star", images="ignore")
    assert back.column_order == particles.column_order
    assert dict(back.extra) == dict(particles.extra)
    torch.testing.assert_close(back.pose.lab_from_particle, particles.pose.lab_from_particle, atol=1e-6, rtol=0)
    assert code("convert", "--i", "pose.pkl", "--ctf", "ctf.pkl", "--images", "stack.mrc", "--o", "own/back.star", "--quiet") == 0
    assert read_particles("own/back.star").images.count == 8
    assert code("convert", "--i", "pose.pkl", "--images", "stack.mrc", "--o", "poses.star", "--quiet") == 0
    torch.testing.assert_close(read_particles("poses.star").pose.shift, particles.pose.shift, atol=1e-5, rtol=0)


def test_an_index_file_selects_and_keeps_everything(folder, capsys) -> None:
    write_indices(torch.tensor([6, 1]), folder / "ind.pkl")
    assert code("convert", "--i", "p.cs", "--ind", "ind.pkl", "--o", "some.cs") == 0
    assert "2 of 8 particles" in capsys.readouterr().out
    assert read_records("some.cs").tobytes() == read_records("p.cs")[[6, 1]].tobytes()
    write_indices(torch.tensor([8]), folder / "ind.pkl")
    assert code("convert", "--i", "p.cs", "--ind", "ind.pkl", "--o", "no.cs") == 3
    assert "index 8 is named, there are 8 particles" in capsys.readouterr().err
    assert not (folder / "no.cs").exists()


def test_passthrough_files_are_joined(folder, capsys) -> None:
    rows = read_records("p.cs")
    names = [name for name in rows.dtype.names if not name.startswith("ctf")]
    saved(folder / "a.cs", rows[names].copy())
    write_records(rows[["uid", "ctf/df1_A", "ctf/df2_A", "ctf/df_angle_rad", "ctf/accel_kv"]][::-1], folder / "b.cs")
    assert code("convert", "--i", "a.cs", "--passthrough", "b.cs", "--o", "p.star", "--quiet") == 0
    np.testing.assert_allclose(read_particles("p.star", images="ignore").defocus.major.numpy(), rows["ctf/df1_A"])
    saved(folder / "b.cs", rows[["uid", "ctf/df1_A"]][:3].copy())
    assert code("convert", "--i", "a.cs", "--passthrough", "b.cs", "--o", "no.star") == 3
    assert "5 of 8 particles of a.cs are not in it: uid" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "exit_code", "message"),
    [
        (("--i", "p.cs", "--o", "x.star", "--ctf", "ctf.pkl"), 2, "--ctf names a pickle"),
        (("--i", "p.cs", "--o", "x.star", "--images", "stack.mrc"), 2, "--images names the images"),
        (("--i", "pose.pkl", "--o", "x.star"), 2, "does not name its images"),
        (("--i", "pose.pkl", "--o", "x.star", "--images", "three.mrcs"), 3, "there are 8 particles, three.mrcs has 3"),
        (("--i", "p.star", "--o", "x.star", "--passthrough", "p.cs"), 2, "--passthrough belongs to cryoSPARC"),
        (("--i", "p.cs", "--o", "p.cs"), 2, "input and output are the same file"),
        (("--i", "p.cs", "--o", "x.pdb"), 2, "there is no way from p.cs (cryoSPARC) to x.pdb"),
        (("--i", "evil.pkl", "--o", "x.star", "--images", "stack.mrc"), 5, "nothing of it was run"),
        (("--i", "cut.cs", "--o", "x.star"), 3, "the file holds"),
        (("--i", "ind.pkl", "--o", "x.star", "--images", "stack.mrc"), 3, "neither poses nor a CTF"),
        (("--i", "plain.star", "--o", "x.star", "--picks-thumbnail", "x.png"), 3, "no places in micrographs"),
    ],
)
def test_what_makes_no_sense_is_told(folder, capsys, words, exit_code, message) -> None:
    assert code("convert", "--i", "p.cs", "--o", "p.star", "--quiet") == 0
    assert code("convert", "--i", "p.star", "--o", "pose.pkl", "--quiet") == 0
    stack(folder / "three.mrcs", count=3, shape=(16, 16), pixel_size=1.37)
    write_indices(torch.tensor([1]), folder / "ind.pkl")
    (folder / "evil.pkl").write_bytes(b"\x80\x04cos\nsystem\n(S'touch PWNED'\ntR.")
    (folder / "cut.cs").write_bytes((folder / "p.cs").read_bytes()[:-9])
    saved(folder / "plain.cs", records(count=2, picks=False))
    assert code("convert", "--i", "plain.cs", "--o", "plain.star", "--quiet") == 0
    capsys.readouterr()
    assert code("convert", *words) == exit_code
    assert message in capsys.readouterr().err
    assert not (folder / "PWNED").exists()
    assert not any((folder / name).exists() for name in ("x.pdb", "x.png"))


def test_commands_that_take_particles_take_cs(folder, capsys) -> None:
    assert code("reconstruct", "--i", "p.cs", "--o", "job", "--quiet") == 0
    assert (folder / "job/run_class001.mrc").exists()
    assert code("inspect", "p.cs") == 0
    assert "particles (cryoSPARC)" in capsys.readouterr().out
