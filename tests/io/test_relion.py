import os
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from io_files import STAR, particle_set, stack
from scipy.spatial.transform import Rotation

from cryowalk.core.errors import CryowalkWarning, InputError, SafetyRefusal
from cryowalk.data.optics import Optics
from cryowalk.io.relion import (
    lab_from_particle_from_relion,
    particle_block,
    read_particles,
    relion_from_lab_from_particle,
    write_particles,
)
from cryowalk.io.star import read_star


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def same(one, other, *, digits=1e-6):
    """Whether two particle sets agree to the digits of the file."""
    torch.testing.assert_close(one.pose.lab_from_particle, other.pose.lab_from_particle, atol=1e-7, rtol=0)
    torch.testing.assert_close(one.pose.shift, other.pose.shift, atol=digits, rtol=0)
    for name in ("major", "minor", "azimuth", "phase_shift", "b_factor", "scale"):
        torch.testing.assert_close(getattr(one.defocus, name), getattr(other.defocus, name), atol=digits, rtol=0)
    torch.testing.assert_close(one.coordinates, other.coordinates, atol=digits, rtol=0)
    for name in ("half", "class_number", "optics_index"):
        assert torch.equal(getattr(one, name), getattr(other, name))
    assert one.micrograph_names == other.micrograph_names
    assert dict(one.extra) == dict(other.extra)


def test_relion_s_angles_are_the_transpose_of_scipy_s(generator):
    angles = torch.rand(50, 3, generator=generator, dtype=torch.float64) * torch.tensor([360.0, 180.0, 360.0]) - torch.tensor(
        [180.0, 0.0, 180.0]
    )
    ours = lab_from_particle_from_relion(angles)
    theirs = Rotation.from_euler("ZYZ", angles.numpy(), degrees=True).as_matrix().transpose(0, 2, 1)
    np.testing.assert_allclose(ours, theirs, atol=1e-12)
    np.testing.assert_allclose(relion_from_lab_from_particle(ours), angles, atol=1e-9)


def test_relion_s_matrix_written_out():
    """A = R_z(psi) R_y(tilt) R_z(rot) turning the axes: element (2, 2) is cos tilt, the last row (cos rot sin tilt, sin rot sin tilt, cos tilt)."""
    rot, tilt, psi = 25.0, 40.0, -70.0
    a = lab_from_particle_from_relion(torch.tensor([rot, tilt, psi], dtype=torch.float64))
    cr, sr, ct, st = np.cos(np.radians(rot)), np.sin(np.radians(rot)), np.cos(np.radians(tilt)), np.sin(np.radians(tilt))
    np.testing.assert_allclose(a[2], [cr * st, sr * st, ct], atol=1e-12)
    assert float(a[0, 2]) == pytest.approx(-np.cos(np.radians(psi)) * st)


@pytest.mark.parametrize(
    ("written", "read"),
    [((30, 0, 50), (0, 0, 80)), ((30, 180, 50), (0, 180, 20)), ((0, 0, -170), (0, 0, -170)), ((100, 0, 100), (0, 0, -160))],
)
def test_where_only_one_turn_is_defined_it_is_psi(written, read):
    matrix = lab_from_particle_from_relion(torch.tensor(written, dtype=torch.float64))
    got = relion_from_lab_from_particle(matrix)
    torch.testing.assert_close(got, torch.tensor(read, dtype=torch.float64))
    torch.testing.assert_close(lab_from_particle_from_relion(got), matrix)


@pytest.mark.parametrize("box", [8, 9])
def test_particles_come_back_with_images_and_foreign_columns(project, box):
    particles = particle_set(box=box)
    write_particles(particles, project / "p.star")
    back = read_particles(project / "p.star")
    same(particles, back)
    assert torch.equal(back.images.read(range(7)), particles.images.pixels)
    assert back.image_names[6] == "000007@p.mrcs"
    for one, other in zip(particles.optics, back.optics, strict=True):
        assert one == replace(other, extra={"rlnMtfFileName": other.extra["rlnMtfFileName"]}, aberrations=one.aberrations)
        np.testing.assert_allclose(one.aberrations.beam_tilt, other.aberrations.beam_tilt, rtol=1e-12)
        assert one.aberrations.odd_zernike == other.aberrations.odd_zernike
        assert one.aberrations.magnification == other.aberrations.magnification
    table = particle_block(read_star(project / "p.star"))
    assert list(table.columns)[:3] == ["rlnUnknown", "rlnMicrographName", "rlnCoordinateY"]
    assert read_star(project / "p.star")["optics"].columns["rlnImageSize"] == (str(box),) * 2


def test_the_second_writing_is_the_first_byte_for_byte(project):
    write_particles(particle_set(), project / "p.star")
    write_particles(read_particles(project / "p.star"), project / "q.star")
    assert (project / "p.star").read_bytes() == (project / "q.star").read_bytes()


def test_signs_and_units_at_the_door(project):
    stack(project / "s.mrcs")
    (project / "p.star").write_text(STAR)
    particles = read_particles("p.star")
    assert particles.pose.shift[0].tolist() == [-1.5, 2.5]
    assert float(particles.defocus.major[1]) == 10001.5
    assert float(particles.defocus.azimuth[0]) == pytest.approx(np.pi / 6)
    assert particles.pose.lab_from_particle.dtype == torch.float64
    assert particles.optics == (Optics(pixel_size=1.7, name="one", extra={"rlnImageSize": "8"}),)
    assert float(particles.defocus.phase_shift.abs().max()) == 0
    assert particles.defocus.b_factor is None


def test_a_selection_keeps_columns_order_and_images(project):
    stack(project / "s.mrcs")
    (project / "p.star").write_text(STAR)
    particles = read_particles("p.star")
    some = particles[torch.tensor([2, 0])]
    write_particles(some, "q.star")
    rows = particle_block(read_star("q.star")).columns
    before = particle_block(read_star("p.star")).columns
    assert list(rows) == list(before)
    assert rows["rlnImageName"] == ("000003@s.mrcs", "000001@s.mrcs")
    assert torch.equal(read_particles("q.star").images.read([0, 1]), particles.images.read([2, 0]))
    assert [float(v) for v in rows["rlnDefocusU"]] == [10002.5, 10000.5]


def test_relion_30_columns_become_optics_groups(project):
    stack(project / "s.mrcs", pixel_size=1.31)
    rows = "1@s.mrcs 300 2.7 0.1 38168 5 1.0 -2.0 10 20 30 9000 8900 0\n2@s.mrcs 200 2.7 0.1 38168 5 1.0 -2.0 10 20 30 9000 8900 0\n3@s.mrcs 300 2.7 0.1 38168 5 1.0 -2.0 10 20 30 9000 8900 0\n"
    labels = "ImageName Voltage SphericalAberration AmplitudeContrast Magnification DetectorPixelSize OriginX OriginY AngleRot AngleTilt AnglePsi DefocusU DefocusV DefocusAngle"
    (project / "p.star").write_text("data_\n\nloop_\n" + "".join(f"_rln{label}\n" for label in labels.split()) + rows)
    particles = read_particles("p.star")
    assert [group.voltage_kv for group in particles.optics] == [300, 200]
    assert particles.optics_index.tolist() == [0, 1, 0]
    assert particles.pixel_size == pytest.approx(5e4 / 38168)
    np.testing.assert_allclose(particles.pose.shift[0], [-5e4 / 38168, 2 * 5e4 / 38168])
    write_particles(particles, "q.star")
    back = read_particles("q.star")
    assert [group.pixel_size for group in back.optics] == [group.pixel_size for group in particles.optics]
    table = particle_block(read_star("q.star"))
    assert not {"rlnVoltage", "rlnMagnification", "rlnOriginX"} & set(table.columns)
    assert "rlnOriginXAngst" in table.columns


def test_optics_groups_of_one_name_are_merged_and_renumbered(project):
    stack(project / "s.mrcs")
    text = STAR.replace(
        "1 one 300.0 2.7 0.1 1.7 8\n", "7 one 300.0 2.7 0.1 1.7 8\n3 two 200.0 2.7 0.1 1.7 8\n5 one 300.0 2.7 0.1 1.7 8\n"
    )
    for i, group in enumerate((5, 3, 7), start=1):
        text = text.replace(f"00000{i}@s.mrcs 1 ", f"00000{i}@s.mrcs {group} ")
    (project / "p.star").write_text(text)
    particles = read_particles("p.star")
    assert [group.name for group in particles.optics] == ["one", "two"]
    assert particles.optics_index.tolist() == [0, 1, 0]
    (project / "q.star").write_text(text.replace("5 one 300.0", "5 one 301.0"))
    with pytest.raises(InputError, match=r"q.star, line 16: two optics groups are named “one” and differ"):
        read_particles("q.star")


def test_a_pixel_size_that_is_not_surely_the_images_is_told(project):
    stack(project / "s.mrcs", pixel_size=0)
    (project / "p.star").write_text(STAR.replace("_rlnImagePixelSize", "_rlnMicrographOriginalPixelSize"))
    with pytest.warns(CryowalkWarning, match="no rlnImagePixelSize; rlnMicrographOriginalPixelSize is taken"):
        assert read_particles("p.star").pixel_size == 1.7


def test_angles_alone_are_enough_with_a_pixel_size(project):
    (project / "a.star").write_text("data_\nloop_\n_rlnAngleRot\n_rlnAngleTilt\n_rlnAnglePsi\n10 20 30\n")
    particles = read_particles("a.star", pixel_size=1.5)
    assert particles.pixel_size == 1.5
    assert particles.images is None
    assert particles.defocus is None
    with pytest.raises(InputError, match="no pixel size"):
        read_particles("a.star")


@pytest.mark.parametrize("place", ["", "sub", "sub/deep"])
def test_names_are_written_for_the_project_or_the_star_file(project, place, monkeypatch):
    """Stacks inside the current directory are named from it (RELION's rule); read from elsewhere they are found again."""
    folder = project / place
    folder.mkdir(parents=True, exist_ok=True)
    write_particles(particle_set(), folder / "p.star")
    name = read_particles(folder / "p.star").image_names[0]
    assert name == "000001@" + str(Path(place) / "p.mrcs")
    elsewhere = project.parent / f"{project.name}_elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    assert read_particles(folder / "p.star").images.count == 7
    write_particles(particle_set(seed=6), folder / "q.star")
    assert read_particles(folder / "q.star").image_names[0] == "000001@q.mrcs"
    write_particles(read_particles(folder / "p.star"), elsewhere / "r.star")
    moved = read_particles(elsewhere / "r.star")
    assert torch.equal(moved.images.read([3]), particle_set().images.read([3]))


def test_a_stack_of_the_same_name_elsewhere_is_not_mistaken(project, monkeypatch):
    for folder, seed in (("one", 5), ("two", 6)):
        (project / folder).mkdir()
        monkeypatch.chdir(project / folder)
        write_particles(particle_set(seed=seed), "p.star")
    particles = read_particles(project / "one" / "p.star", images="ignore")
    assert particles.images is None
    monkeypatch.chdir(project / "one")
    first = read_particles("p.star")
    write_particles(first, project / "two" / "q.star")
    monkeypatch.chdir(project / "two")
    assert torch.equal(read_particles("q.star").images.read([0]), particle_set(seed=5).images.read([0]))


def test_many_stacks_are_one_source(project):
    arrays = [stack(project / f"s{i}.mrcs", count=3 + i, seed=i) for i in range(3)]
    rows = [(i, j) for i in range(3) for j in range(3 + i)]
    order = np.random.default_rng(1).permutation(len(rows))
    head = STAR[: STAR.index("000001@")]
    text = head + "".join(
        f"{rows[k][1] + 1:06d}@s{rows[k][0]}.mrcs 1 10000.5 9900.5 30.0 10.0 20.0 30.0 1.5 -2.5\n" for k in order
    )
    (project / "p.star").write_text(text)
    particles = read_particles("p.star")
    wanted = torch.stack([torch.from_numpy(arrays[rows[k][0]][rows[k][1]]) for k in order])
    assert torch.equal(particles.images.read(range(len(rows))), wanted)
    assert torch.equal(particles[torch.tensor([5, 1, 5])].images.read([0, 2, 1]), wanted[[5, 5, 1]])
    assert particles.images.read([]).shape == (0, 8, 8)


def test_a_header_that_contradicts_the_table(project):
    (project / "p.star").write_text(STAR)
    stack(project / "s.mrcs", pixel_size=1.7 * 1.005)
    with pytest.warns(CryowalkWarning, match=r"p.star: the header of s.mrcs says 1.7085 Å a pixel, the STAR file 1.7 Å"):
        read_particles("p.star")
    stack(project / "s.mrcs", pixel_size=3.4)
    with pytest.raises(InputError, match=r"3.4 Å a pixel, the STAR file 1.7 Å"):
        read_particles("p.star")
    assert read_particles("p.star", pixel_size=1.8).pixel_size == 1.8
    stack(project / "s.mrcs", pixel_size=1.0)  # what programs write that know no better
    assert read_particles("p.star").pixel_size == 1.7


def test_stacks_outside_the_project_are_followed_with_a_notice_or_refused(project, tmp_path_factory):
    other = tmp_path_factory.mktemp("a") / "b" / "c" / "d"
    other.mkdir(parents=True)
    stack(other / "s.mrcs")
    (project / "deep" / "er" / "still").mkdir(parents=True)
    os.chdir(project / "deep" / "er" / "still")
    Path("p.star").write_text(STAR.replace("@s.mrcs", f"@{other}/s.mrcs"))
    with pytest.warns(CryowalkWarning, match="outside the project"):
        assert read_particles("p.star").images.count == 3
    with pytest.raises(SafetyRefusal) as caught:
        read_particles("p.star", confine=Path.cwd())
    assert caught.value.exit_code == 5
    (Path.cwd() / "link.mrcs").symlink_to(other / "s.mrcs")
    Path("q.star").write_text(STAR.replace("@s.mrcs", "@link.mrcs"))
    with pytest.raises(SafetyRefusal):
        read_particles("q.star", confine=Path.cwd())


def test_nothing_is_written_when_a_value_cannot_be(project):
    particles = replace(particle_set(), extra={"rlnUnknown": ("\n",) * 7})
    write_particles(particle_set(), "p.star")
    before = Path("p.star").read_bytes()
    with pytest.raises(InputError, match="control character"):
        write_particles(replace(particles, image_names=("000001@p.mrcs",) * 7), "p.star")
    with pytest.raises(InputError, match="no particles"):
        write_particles(particle_set()[torch.zeros(7, dtype=torch.bool)], "p.star")
    with pytest.raises(InputError, match="differ in length"):
        write_particles(replace(particle_set(), extra={"rlnUnknown": ("1",)}), "p.star")
    assert Path("p.star").read_bytes() == before


def test_beta_galactosidase_comes_back_as_it_was(real_data, project):
    path = real_data / "betagal_10204" / "particles_with_relion_poses.star"
    particles = read_particles(path)
    assert (len(particles), particles.images.image_shape, particles.pixel_size) == (559, (64, 64), 3.54)
    assert particles.images.read([0, 558]).std() == pytest.approx(1, abs=0.1)
    write_particles(particles, "q.star")
    before, after = particle_block(read_star(path)).columns, particle_block(read_star("q.star")).columns
    assert list(before) == list(after)
    assert [label for label in before if before[label] != after[label]] == ["rlnImageName"]
    with pytest.warns(CryowalkWarning, match="outside the project"):
        assert torch.equal(read_particles("q.star").images.read([558]), particles.images.read([558]))
    optics = read_star("q.star")["optics"].columns
    assert optics["rlnMtfFileName"] == ("mtf_k2_200kV.star",)


@pytest.mark.parametrize(
    ("name", "pixel_size", "voltage", "count"),
    [
        ("tomo_meta/relion_3.0.star", 5.364, 300, 3),
        ("tomo_meta/relion_3.1_optics2.star", None, 300, 3),
        ("tomo_meta/relion_4.0.star", 3.942, 300, 1746),
        ("interop/topaz_EMPIAR-10025_particles.star", 0.981862, 300, 1500),
        ("interop/empiar_10076_7.star", 1.31, 300, 7),
        ("interop/sta_testing_bin8.star", 1.96, 300, 219),
        ("betagal_10204/relion_refined/run_it016_data_subset.star", 1.244835, 200, 2297),
        ("betagal_10204/Class2D/run_it025_data.star", 3.54, 200, 2374),
    ],
)
def test_real_tables_of_every_version(real_data, project, name, pixel_size, voltage, count):
    particles = read_particles(real_data / name, images="ignore")
    assert len(particles) == count
    assert {group.voltage_kv for group in particles.optics} == {voltage}
    if pixel_size is not None:
        assert particles.pixel_size == pytest.approx(pixel_size, abs=3e-6)
    write_particles(particles, "q.star")
    back = read_particles("q.star", images="ignore")
    assert dict(back.extra) == dict(particles.extra)
    assert back.image_names == particles.image_names
    if particles.pose is not None:
        torch.testing.assert_close(back.pose.lab_from_particle, particles.pose.lab_from_particle, atol=2e-8, rtol=0)
        torch.testing.assert_close(back.pose.shift, particles.pose.shift, atol=1e-6, rtol=0)
    before, after = particle_block(read_star(real_data / name)).columns, particle_block(read_star("q.star")).columns
    for label in set(before) & set(after):
        if label.startswith("rln") and before[label] != after[label]:
            apart = np.array(before[label], float) - np.array(after[label], float)
            assert np.abs((apart + 180) % 360 - 180 if "Angle" in label else apart).max() < 2e-6, (
                label
            )  # RELION leaves angles beyond a half turn


def test_real_particles_of_two_programs_agree_on_images(real_data):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        particles = read_particles(real_data / "interop" / "relion31.star")
    assert particles.images.read(range(5)).std((1, 2)) == pytest.approx([1, 1, 1, 1, 1], abs=0.05)
    subtomograms = read_particles(real_data / "tomo_meta" / "relion_4.0.star", images="open")
    assert subtomograms.images is None  # 3D images are no image source
