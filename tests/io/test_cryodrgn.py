"""cryoDRGN's poses, CTF, indices, latents and settings: our conventions by closed form, another program's files, and what is refused."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from io_files import particle_set
from scipy.spatial.transform import Rotation

from cryowalk.core.errors import InputError, SafetyRefusal
from cryowalk.data.pose import Pose
from cryowalk.io.cryodrgn import (
    Latents,
    kind_of_pickle,
    read_cryodrgn,
    read_cryodrgn_ctf,
    read_cryodrgn_poses,
    read_indices,
    read_latents,
    write_cryodrgn_ctf,
    write_cryodrgn_poses,
    write_indices,
    write_latents,
)
from cryowalk.io.cryodrgn_config import read_cryodrgn_config, write_cryodrgn_config
from cryowalk.io.cryosparc import read_cryosparc
from cryowalk.io.dispatch import read
from cryowalk.io.inspect import describe
from cryowalk.io.relion import read_particles
from cryowalk.io.safe_pickle import read_numpy_pickle
from cryowalk.io.safe_pickle_writer import write_numpy_pickle
from cryowalk.io.validate import faults, is_sound

BOX, SIZE = 64, 1.5


def posed(count=5):
    angles = np.random.default_rng(2).uniform(-180, 180, size=(count, 3))
    matrices = Rotation.from_euler("ZYZ", angles, degrees=True).as_matrix().transpose(0, 2, 1).copy()  # RELION's matrix A
    shift = torch.tensor([[3.0, -6.0]] * count, dtype=torch.float64) * torch.arange(count)[:, None]
    particles = particle_set(count=count, box=BOX)
    return replace(
        particles, images=None, coordinates=None, pose=Pose(lab_from_particle=torch.from_numpy(matrices), shift=shift),
        optics=tuple(replace(group, pixel_size=SIZE, extra={"rlnImageSize": str(BOX)}) for group in particles.optics),
    )  # fmt: skip


def test_poses_are_relions_matrix_and_origins_as_fractions_of_the_box(tmp_path) -> None:
    particles = posed()
    write_cryodrgn_poses(particles, tmp_path / "pose.pkl")
    rotations, translations = read_numpy_pickle(tmp_path / "pose.pkl")
    assert rotations.dtype == translations.dtype == np.float32
    np.testing.assert_allclose(rotations, particles.pose.lab_from_particle.numpy(), atol=1e-7)
    np.testing.assert_allclose(translations[2], [-6 / (64 * 1.5), 12 / (64 * 1.5)], rtol=1e-6)  # rlnOrigin = −shift
    back = read_cryodrgn_poses(tmp_path / "pose.pkl", side=BOX * SIZE)
    torch.testing.assert_close(back.lab_from_particle, particles.pose.lab_from_particle, atol=1e-7, rtol=0)
    torch.testing.assert_close(back.shift, particles.pose.shift, atol=1e-5, rtol=0)


def test_ctf_rows_are_nine_numbers_with_angles_in_degrees(tmp_path) -> None:
    particles = posed()
    write_cryodrgn_ctf(particles, tmp_path / "ctf.pkl")
    table = read_numpy_pickle(tmp_path / "ctf.pkl")
    group, defocus = particles.optics[int(particles.optics_index[1])], particles.defocus
    expected = [
        BOX, SIZE, float(defocus.major[1]), float(defocus.minor[1]), np.degrees(float(defocus.azimuth[1])), group.voltage_kv, group.spherical_aberration_mm,
        group.amplitude_contrast, np.degrees(float(defocus.phase_shift[1])),
    ]  # fmt: skip
    np.testing.assert_allclose(table[1], np.array(expected, dtype=np.float64), rtol=1e-6)
    back = read_cryodrgn_ctf(tmp_path / "ctf.pkl")
    torch.testing.assert_close(back.defocus.azimuth, defocus.azimuth.double(), atol=1e-6, rtol=1e-6)
    assert {(each.pixel_size, each.voltage_kv, each.amplitude_contrast) for each in back.optics} == {
        (each.pixel_size, each.voltage_kv, each.amplitude_contrast) for each in particles.optics
    }
    write_cryodrgn_ctf(back, tmp_path / "again.pkl")
    assert (tmp_path / "again.pkl").read_bytes() == (tmp_path / "ctf.pkl").read_bytes()


def test_both_together_need_no_sizes_and_must_be_of_the_same_particles(tmp_path) -> None:
    particles = posed()
    write_cryodrgn_poses(particles, tmp_path / "pose.pkl")
    write_cryodrgn_ctf(particles, tmp_path / "ctf.pkl")
    found = read_cryodrgn(tmp_path / "pose.pkl", tmp_path / "ctf.pkl")
    torch.testing.assert_close(found.pose.shift, particles.pose.shift, atol=1e-5, rtol=0)
    write_cryodrgn_ctf(particles[:3], tmp_path / "short.pkl")
    with pytest.raises(InputError, match="there are 5 poses, the CTF has 3 rows"):
        read_cryodrgn(tmp_path / "pose.pkl", tmp_path / "short.pkl")
    with pytest.raises(InputError, match="do not tell the size"):
        read_cryodrgn(tmp_path / "pose.pkl")
    with pytest.raises(InputError, match="neither poses nor CTF"):
        read_cryodrgn()
    with pytest.raises(InputError, match="box of the images is not known"):
        write_cryodrgn_poses(
            replace(particles, optics=tuple(replace(group, extra={}) for group in particles.optics)), tmp_path / "no.pkl"
        )


@pytest.mark.agreement
def test_the_real_cs_file_gives_another_programs_poses(real_data, tmp_path) -> None:
    theirs = np.load(real_data / "interop/cryodrgn_pose_from_P12_J24_cs.npz")
    write_cryodrgn_poses(read_cryosparc(real_data / "interop/cryosparc_P12_J24_001_particles.cs"), tmp_path / "pose.pkl")
    rotations, translations = read_numpy_pickle(tmp_path / "pose.pkl")
    np.testing.assert_allclose(rotations, theirs["rot"], atol=2e-6)
    np.testing.assert_allclose(translations, theirs["trans"], rtol=1e-6, atol=1e-8)


@pytest.mark.agreement
def test_the_real_subtomogram_star_gives_another_programs_ctf_and_rotations(real_data, tmp_path) -> None:
    particles = read_particles(real_data / "interop/sta_testing_bin8.star", images="ignore", pixel_size=1.82)
    theirs = np.load(real_data / "interop/cryodrgn_ctf_sta.npz")["ctf"]
    write_cryodrgn_ctf(particles, tmp_path / "ctf.pkl", box=512)
    ours = read_numpy_pickle(tmp_path / "ctf.pkl")
    assert abs(len(ours) - len(theirs)) <= 1  # the stored parse leaves out the last row
    np.testing.assert_allclose(ours[: len(theirs)], theirs, rtol=1e-6, atol=1e-5)
    poses = np.load(real_data / "interop/cryodrgn_pose_sta.npz")
    found = particles.pose.lab_from_particle.numpy()[: len(theirs)]
    np.testing.assert_allclose(found, poses["rot"], atol=1e-6)


def test_indices_and_latents_come_back(tmp_path) -> None:
    write_indices(torch.tensor([4, 0, 7]), tmp_path / "ind.pkl")
    assert read_indices(tmp_path / "ind.pkl").tolist() == [4, 0, 7]
    assert read(tmp_path / "ind.pkl").tolist() == [4, 0, 7]
    mean = torch.arange(12.0).reshape(4, 3)
    write_latents(Latents(mean=mean, log_variance=-mean), tmp_path / "z.pkl")
    found = read_latents(tmp_path / "z.pkl")
    torch.testing.assert_close(found.mean, mean.double())
    torch.testing.assert_close(found.log_variance, -mean.double())
    write_latents(Latents(mean=mean), tmp_path / "z.pkl")
    assert read(tmp_path / "z.pkl").log_variance is None


def test_pickles_of_other_things_are_refused(tmp_path) -> None:
    def written(thing):
        write_numpy_pickle(thing, tmp_path / "t.pkl")
        return tmp_path / "t.pkl"

    turned = posed().pose.lab_from_particle.numpy()
    for thing, words in (
        ((turned * 2, np.zeros((5, 2))), "matrix of particle 1 is no rotation"),
        ((-turned, np.zeros((5, 2))), "no rotation"),
        ((turned, np.zeros((4, 2))), "not one pair a particle"),
        ((turned, np.full((5, 2), np.nan)), "translation of particle 1 is not finite"),
        (np.zeros((4, 4)), r"no poses, but an array \[4, 4\]"),
        ({"a": 1}, "no poses, but dict"),
    ):
        with pytest.raises(InputError, match=words):
            read_cryodrgn_poses(written(thing), side=1.0)
    good = [64, 1.5, 1e4, 9e3, 12, 300, 2.7, 0.1, 0]
    for column, value, words in (
        (1, 1.5e-10, "pixel size"),
        (5, 3e5, "voltage"),
        (7, 7, "amplitude contrast"),
        (2, np.inf, "CTF of particle 2 is not finite"),
    ):
        table = np.array([good, good])
        table[1, column] = value
        with pytest.raises(InputError, match=words):
            read_cryodrgn_ctf(written(table))
    with pytest.raises(InputError, match="no CTF"):
        read_cryodrgn_ctf(written(np.zeros((3, 8))))
    with pytest.raises(InputError, match="an index is -1"):
        read_indices(written(np.array([3, -1])))
    for thing in (np.array([0.5]), [1, [2, 3]], [2**70], ["a"]):
        with pytest.raises(InputError, match="no indices"):
            read_indices(written(thing))
    assert read_indices(written([5, 2])).tolist() == [5, 2]
    with pytest.raises(InputError, match="no latents"):
        read_latents(written(np.zeros(3)))
    with pytest.raises(InputError, match="poses alone do not tell"):
        read(written((turned, np.zeros((5, 2)))))


def test_inspect_and_validate_know_them(tmp_path) -> None:
    particles = posed()
    write_cryodrgn_poses(particles, tmp_path / "pose.pkl")
    write_cryodrgn_ctf(particles, tmp_path / "ctf.pkl")
    write_numpy_pickle(np.zeros((3, 3, 3, 3)), tmp_path / "other.pkl")
    assert describe(tmp_path / "pose.pkl").kind == "poses (cryoDRGN)"
    told = describe(tmp_path / "ctf.pkl")
    assert told.kind == "CTF (cryoDRGN)"
    assert any("5 particles of 64 px at 1.5 Å" in line for line in told.words)
    assert describe(tmp_path / "other.pkl").kind == "pickle of arrays"
    assert is_sound(faults(tmp_path / "ctf.pkl"))
    (tmp_path / "cut.pkl").write_bytes((tmp_path / "ctf.pkl").read_bytes()[:-40])
    assert not is_sound(faults(tmp_path / "cut.pkl"))
    assert kind_of_pickle((np.zeros((4, 9)),)) == "latents"  # nine dimensions, no box


def test_settings_are_plain_values(tmp_path) -> None:
    told = {"dataset_args": {"particles": "p.mrcs", "ind": None, "norm": (0.5, 1.25)}, "model_args": {"zdim": 8}, "seed": 3}
    write_cryodrgn_config(told, tmp_path / "config.yaml")
    found = read_cryodrgn_config(tmp_path / "config.yaml")
    assert found == {**told, "dataset_args": {**told["dataset_args"], "norm": [0.5, 1.25]}}
    (tmp_path / "config.yaml").write_text("dataset_args: !!python/object/apply:os.system ['true']\n")
    with pytest.raises(SafetyRefusal):
        read_cryodrgn_config(tmp_path / "config.yaml")
    (tmp_path / "config.yaml").write_text("a: 1\n")
    with pytest.raises(InputError, match="no settings of cryoDRGN"):
        read_cryodrgn_config(tmp_path / "config.yaml")
    with pytest.raises(InputError, match="no number, text, list or mapping"):
        write_cryodrgn_config({"model_args": {"x": object()}}, tmp_path / "no.yaml")
