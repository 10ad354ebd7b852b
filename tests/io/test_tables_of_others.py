"""CTF tables, tables of particles, bodies and picks of many micrographs: values in our units, and closed forms of their angles."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from text_samples import BODIES, CTFFIND4, CTFFIND5, DYNAMO, GCTF_LOG, JOB, PARTICLES, PIPELINE, SET, TOMOGRAMS, TOPAZ

from cryowalk.core.errors import InputError, UsageError
from cryowalk.data.coordinates import Coordinates
from cryowalk.geometry.sampling import random_rotations
from cryowalk.io.coordinate_tables import (
    CoordinateTable,
    read_coordinate_table,
    read_coordinates_each,
    write_coordinate_files,
    write_coordinate_table,
    write_coordinates_each,
)
from cryowalk.io.coordinates import read_coordinates, write_coordinates
from cryowalk.io.ctf_tables import CtfTable, read_ctffind, write_ctffind
from cryowalk.io.dynamo import dynamo_table, read_dynamo, write_dynamo
from cryowalk.io.gctf import read_gctf_log, write_gctf_log
from cryowalk.io.multibody import read_bodies
from cryowalk.io.relion import lab_from_particle_from_relion
from cryowalk.io.relion_pipeline import read_job, read_pipeline
from cryowalk.io.tomogram_particles import OptimisationSet, read_optimisation_set, read_tomogram_particles, write_optimisation_set
from cryowalk.io.tomograms import read_tomograms


def written(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    return tmp_path / name


def test_ctffinds_units(tmp_path):
    four = read_ctffind(written(tmp_path, "a.txt", CTFFIND4))
    assert four.defocus.major.tolist() == [37034.929688, 20000]
    assert torch.rad2deg(four.defocus.azimuth).tolist() == pytest.approx([-14.849661, 45])
    assert four.defocus.phase_shift.tolist() == [0, 1.5]
    assert four.fitted_to.tolist() == [9.554261, math.inf]
    assert (four.optics.pixel_size, four.optics.voltage_kv, four.optics.spherical_aberration_mm) == (1.4, 200, 1.4)
    five = read_ctffind(written(tmp_path, "b.txt", CTFFIND5))
    assert (math.degrees(five.tilt_axis[0]), math.degrees(five.tilt_angle[0])) == pytest.approx((221.912292, 12.251187))
    assert five.thickness.tolist() == [1619.773438]


def test_ctffinds_summary_of_ours_is_read_again(tmp_path):
    four = read_ctffind(written(tmp_path, "a.txt", CTFFIND4))
    bare = CtfTable(
        names=("x.mrc", "y.mrc"), defocus=four.defocus, merit=four.merit, fitted_to=four.fitted_to, optics=four.optics
    )
    write_ctffind(bare, tmp_path / "c.txt")
    again = read_ctffind(tmp_path / "c.txt")
    assert (again.names, again.optics) == (("1", "2"), four.optics)
    assert torch.equal(again.defocus.major, four.defocus.major)
    with pytest.raises(InputError, match="no CTFs"):
        write_ctffind(CtfTable(names=(), defocus=four.defocus, merit=four.merit, fitted_to=four.fitted_to), tmp_path / "d.txt")


def test_gctfs_units(tmp_path):
    found = read_gctf_log(written(tmp_path, "a_gctf.log", GCTF_LOG))
    assert (found.names, found.defocus.major.tolist(), found.merit.tolist(), found.fitted_to.tolist()) == (
        ("mic_01.mrc",),
        [21010.25],
        [0.15432],
        [4.25],
    )
    assert found.optics.pixel_size == 1.34
    phase_plate = GCTF_LOG.replace("Angle           CCC", "Angle   Phase_shift           CCC").replace("45.60 ", "45.60  90 ")
    shifted = read_gctf_log(written(tmp_path, "b_gctf.log", phase_plate))
    assert shifted.defocus.phase_shift.tolist() == pytest.approx([math.pi / 2])
    write_gctf_log(shifted, tmp_path / "c_gctf.log")
    assert read_gctf_log(tmp_path / "c_gctf.log").defocus.phase_shift.tolist() == pytest.approx([math.pi / 2])


def test_dynamos_angles_turn_the_particle_onto_the_reference(tmp_path):
    """With tdrot = 10°, tilt = 90° the particle's own axis lies in the plane of the tomogram at (sin 10°, cos 10°), whatever narot."""
    table = read_dynamo(written(tmp_path, "a.tbl", DYNAMO))
    axis = table.specimen_from_particle[0] @ torch.tensor([0, 0, 1.0], dtype=torch.float64)
    expected = [-math.sin(math.radians(-10)), math.cos(math.radians(-10)), 0]
    assert axis.tolist() == pytest.approx(expected, abs=1e-12)
    assert torch.allclose(table.specimen_from_particle[1], torch.eye(3, dtype=torch.float64))
    assert table.positions.tolist() == [[100.25, 49.5, 30], [10, 11, 12]]
    assert table.voxel_size is None


def test_poses_go_into_a_dynamo_table_and_back(tmp_path, generator):
    rotations = random_rotations(20, generator=generator).double()
    positions = torch.rand(20, 3, generator=generator, dtype=torch.float64) * 500
    table = dynamo_table(rotations, positions, tomograms=torch.arange(20) % 3 + 1, voxel_size=2.5)
    write_dynamo(table, tmp_path / "a.tbl")
    again = read_dynamo(tmp_path / "a.tbl")
    assert torch.allclose(again.specimen_from_particle, rotations, atol=1e-7)
    assert torch.allclose(again.positions, positions, atol=1e-6)
    assert again.voxel_size.tolist() == [2.5] * 20
    assert again.numbers("dx").abs().max() <= 0.5
    assert again[[3]].tomograms.tolist() == [1]
    with pytest.raises(InputError, match="no column eig1"):
        again.numbers("eig1")


def test_particles_of_tomograms(tmp_path):
    found = read_tomogram_particles(written(tmp_path, "p.star", PARTICLES))
    assert (found.tomograms, found.voxels) == (("TS_1", "TS_2"), None)
    assert found.centred.tolist() == [[100.5, -20, 3], [-1, 2.25, -3]]
    assert found.places.tolist() == [[99.5, -22, 0], [-1, 2.25, -3]]
    first, second = (
        lab_from_particle_from_relion(torch.tensor(angles, dtype=torch.float64)) for angles in ([40, 50, 60.0], [10, 20, 30.0])
    )
    assert torch.allclose(found.specimen_from_particle[0], first @ second)
    assert found[[1]].tomograms == ("TS_2",)


def test_tomograms(tmp_path):
    (found,) = read_tomograms(written(tmp_path, "t.star", TOMOGRAMS))
    assert (found.name, found.size, found.hand, len(found)) == ("TS_1", (3710, 3838, 2000), -1, 2)
    assert found.projections[1].tolist() == [[0.5, 0, 0.25, 10], [0, 1, 0, 20], [-0.25, 0, 0.5, 0], [0, 0, 0, 1]]
    assert found.dose_before.tolist() == [0, 3]
    assert dict(found.settings) == {"rlnTomoImportFractionalDose": "3"}


def test_optimisation_sets_name_files(tmp_path):
    found = read_optimisation_set(written(tmp_path, "set.star", SET))
    assert found.place("rlnTomoParticlesFile") is None
    (tmp_path / "particles.star").write_text(PARTICLES)
    assert found.place("rlnTomoParticlesFile") == tmp_path / "particles.star"
    rows = "data_\n\nloop_\n_rlnTomoParticlesFile #1\n_rlnTomoTomogramsFile #2\na.star b.star\n"
    assert read_optimisation_set(written(tmp_path, "row.star", rows)).files["rlnTomoTomogramsFile"] == "b.star"
    with pytest.raises(InputError, match="has 2 rows"):
        read_optimisation_set(written(tmp_path, "two.star", rows + "c.star d.star\n"))
    with pytest.raises(InputError, match="no label"):
        write_optimisation_set(OptimisationSet(files={"a b": "c"}), tmp_path / "x.star")


def test_bodies_pipelines_and_jobs(tmp_path):
    first, second = read_bodies(written(tmp_path, "b.star", BODIES)).bodies
    assert (first.mask, first.relative_to, first.offset_deviation) == ("large.mrc", 2, 2)
    assert math.degrees(second.angle_deviation) == pytest.approx(20)
    pipeline = read_pipeline(written(tmp_path, "p.star", PIPELINE))
    assert [(job.name, job.alias, job.state) for job in pipeline.jobs] == [
        ("Import/job001/", "", "Succeeded"),
        ("CtfFind/job002/", "CtfFind/mine/", "Running"),
    ]
    job = read_job(written(tmp_path, "j.star", JOB))
    assert (job.kind, job.is_continued, dict(job.options)) == ("relion.import", True, {"fn_in": "a b.mrc", "empty": ""})


# ------------------------------------------------------------------ picks of many micrographs


def test_topaz_tables_and_their_down_sampling(tmp_path):
    table = read_coordinate_table(written(tmp_path, "topaz.txt", TOPAZ), scale=4)
    assert list(table.micrographs) == ["mic_a", "mic_b"]
    assert table.micrographs["mic_a"].positions.tolist() == [[40, 80], [200, 240]]
    assert table.micrographs["mic_a"].merit.tolist() == [1.5, 2.5]
    write_coordinate_table(table, tmp_path / "again.txt", scale=4)
    lines = (tmp_path / "again.txt").read_text().splitlines()
    assert lines[:2] == ["image_name\tx_coord\ty_coord\tscore", "mic_a\t10.000000\t20.000000\t1.5"]
    with pytest.raises(UsageError, match="scale of 0"):
        read_coordinate_table(tmp_path / "topaz.txt", scale=0)


def test_one_table_becomes_one_file_each_and_comes_back(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    table = read_coordinate_table(written(tmp_path, "topaz.txt", TOPAZ))
    listed = write_coordinates_each(table, "Picks")
    assert listed.files == ("Picks/mic_a_autopick.star", "Picks/mic_b_autopick.star")
    write_coordinate_files(listed, "Picks/autopick.star")
    for again in (
        read_coordinate_table("Picks/autopick.star"),
        read_coordinates_each(sorted((tmp_path / "Picks").glob("mic*.star")), ending="_autopick.star"),
    ):
        assert {name: some.positions.tolist() for name, some in again.micrographs.items()} == {
            name: some.positions.tolist() for name, some in table.micrographs.items()
        }
    (tmp_path / "Picks/mic_b_autopick.star").unlink()
    with pytest.raises(InputError, match="the picks of “mic_b” are not there"):
        read_coordinate_table("Picks/autopick.star")


def test_micrographs_that_would_share_a_file_are_refused(tmp_path):
    some = Coordinates(positions=torch.ones(1, 2, dtype=torch.float64))
    with pytest.raises(InputError, match="one name without their folders"):
        write_coordinates_each(CoordinateTable(micrographs={"a/m.mrc": some, "b/m.mrc": some}), tmp_path / "p")
    with pytest.raises(InputError, match="cannot name a file"):
        write_coordinates_each(CoordinateTable(micrographs={"..": some}), tmp_path / "p")
    assert not (tmp_path / "p").exists()


@settings(max_examples=20, deadline=None)
@given(
    places=st.lists(st.tuples(st.integers(0, 4000), st.integers(0, 4000)), min_size=1, max_size=8),
    box=st.sampled_from([64, 65]),
    height=st.sampled_from([4096, 3838]),
    ending=st.sampled_from([".star", ".box", ".cbox", ".csv", ".tsv", ".txt", ".coord"]),
    y_axis=st.sampled_from(["down", "up"]),
)
def test_every_form_keeps_whole_pixels_under_both_readings_of_y(tmp_path_factory, places, box, height, ending, y_axis):
    made = Coordinates(
        positions=torch.tensor(places, dtype=torch.float64), merit=torch.arange(len(places), dtype=torch.float64) / 7
    )
    path = tmp_path_factory.mktemp("picks") / f"a{ending}"
    write_coordinates(made, path, box=box, y_axis=y_axis, height=height)
    again = read_coordinates(path, y_axis=y_axis, height=height)
    assert torch.equal(again.positions, made.positions)
    torch.testing.assert_close(again.merit, made.merit, rtol=1e-12, atol=1e-6)


def test_a_picker_that_found_nothing(tmp_path):
    (tmp_path / "a.box").touch()
    assert len(read_coordinates(tmp_path / "a.box")) == 0
    write_coordinates(Coordinates(positions=torch.zeros(0, 2)), tmp_path / "b.box", box=10)
    assert len(read_coordinates(tmp_path / "b.box")) == 0
