"""Our jobs in RELION's record of a project, in both of its styles."""

import json
from pathlib import Path

import pytest

from cryowalk.core.errors import InputError, StateConflict, Stopped
from cryowalk.io.star import read_star
from cryowalk.workflow import pipeline
from cryowalk.workflow.job import AlreadyDone, open_job
from cryowalk.workflow.manifest import Manifest
from cryowalk.workflow.nodes import node_type
from cryowalk.workflow.pipeline import enrol, record_project, relion_lock

PARTICLES = "data_optics\n\nloop_\n_rlnOpticsGroup #1\n1\n\ndata_particles\n\nloop_\n_rlnImageName #1\n1@a.mrcs\n\n"
OLD = "\n# version 30001\n\ndata_pipeline_general\n\n_rlnPipeLineJobCounter                       3\n \n"
NEW = OLD.replace("30001", "50001")
THEIRS = (
    "\n# version 30001\n\ndata_pipeline_processes\n\nloop_ \n_rlnPipeLineProcessName #1 \n_rlnPipeLineProcessAlias #2 \n"
    "_rlnPipeLineProcessType #3 \n_rlnPipeLineProcessStatus #4 \nImport/job001/ Import/mine/            0            2 \n \n"
)


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "default_pipeline.star").write_text(OLD + THEIRS)
    (tmp_path / "particles.star").write_text(PARTICLES)
    return tmp_path


def table(name):
    block = read_star("default_pipeline.star")[f"pipeline_{name}"]
    return [tuple(row) for row in zip(*block.columns.values(), strict=True)]


def counter():
    return read_star("default_pipeline.star")["pipeline_general"].values["rlnPipeLineJobCounter"]


def work(directory="Refine3D/job012", error=None):
    with open_job(directory, command="step", settings={}, inputs={"i": Path("particles.star")}) as job:
        job.path("run_half1_class001_unfil.mrc").write_bytes(b"x")
        job.path("micrographs/a.mrc").write_bytes(b"x")
        if error is not None:
            raise error


def test_a_job_in_a_project_is_listed_with_what_it_took_and_made(project):
    with open_job("Refine3D/job012", command="step", settings={}, inputs={"i": Path("particles.star")}) as job:
        assert ("Refine3D/job012/", "None", "99", "0") in table("processes")  # while it runs
        job.path("run_data.star").write_text(PARTICLES)
        job.path("micrographs/a.mrc").write_bytes(b"x")
    assert table("processes") == [("Import/job001/", "Import/mine/", "0", "2"), ("Refine3D/job012/", "None", "99", "2")]
    assert counter() == "13"
    assert table("nodes") == [("particles.star", "3"), ("Refine3D/job012/run_data.star", "3")]
    assert table("input_edges") == [("particles.star", "Refine3D/job012/")]
    assert table("output_edges") == [("Refine3D/job012/", "Refine3D/job012/run_data.star")]
    assert Path("Refine3D/job012/RELION_JOB_EXIT_SUCCESS").exists()
    assert Path(".Nodes/3/Refine3D/job012/run_data.star").exists()
    assert not Path(".relion_lock").exists()
    assert set(json.loads(Path("Refine3D/job012/job.json").read_text())["outputs"]) == {"run_data.star", "micrographs/a.mrc"}
    with pytest.raises(AlreadyDone):
        work()


def test_labels_where_the_record_has_labels(project):
    Path("default_pipeline.star").write_text(NEW)
    work()
    assert table("processes") == [("Refine3D/job012/", "None", "relion.external", "Succeeded")]
    assert table("nodes")[1] == ("Refine3D/job012/run_half1_class001_unfil.mrc", "DensityMap.mrc.relion.halfmap")
    assert read_star("Refine3D/job012/job.star")["job"].values["rlnJobTypeLabel"] == "relion.external"


@pytest.mark.agreement
def test_a_pipeline_of_relion_5_keeps_all_its_rows(project, real_data):
    theirs = real_data / "betagal_10204/project/default_pipeline.star"
    Path("default_pipeline.star").write_text(theirs.read_text())
    before = {block.name: block for block in read_star(theirs).blocks}
    work()
    for block in read_star("default_pipeline.star").blocks:
        for label, column in before[block.name].columns.items():
            assert block.columns[label][: len(column)] == column
    assert counter() == "13"
    assert table("nodes")[-1] == ("Refine3D/job012/run_half1_class001_unfil.mrc", "DensityMap.mrc.relion.halfmap", "1")


@pytest.mark.parametrize(
    ("error", "state", "marker"), [(InputError("x"), "3", "FAILURE"), (Stopped("x", signal_number=15), "4", "ABORTED")]
)
def test_failures_and_stops_are_told_and_a_second_run_mends_them(project, error, state, marker):
    with pytest.raises(type(error)):
        work(error=error)
    assert table("processes")[-1] == ("Refine3D/job012/", "None", "99", state)
    assert Path(f"Refine3D/job012/RELION_JOB_EXIT_{marker}").exists()
    work()
    assert table("processes")[-1] == ("Refine3D/job012/", "None", "99", "2")
    assert [path.name for path in Path("Refine3D/job012").glob("RELION_JOB_*")] == ["RELION_JOB_EXIT_SUCCESS"]


@pytest.mark.parametrize("directory", ["mine", "Refine3D/first", "elsewhere/Refine3D/job012", "External/job002"])
def test_other_directories_and_relion_s_own_jobs_leave_the_record_alone(project, directory):
    if directory == "External/job002":
        Path(directory).mkdir(parents=True)
        Path(directory, "job.star").write_text("\n# version 30001\n\ndata_job\n\n_rlnJobType 99\n\n")
    before = Path("default_pipeline.star").read_bytes()
    work(directory)
    assert Path("default_pipeline.star").read_bytes() == before


def test_a_locked_record_is_told_and_the_work_is_done(project, monkeypatch):
    monkeypatch.setattr(pipeline, "LOCK_PATIENCE", 0.2)
    before = Path("default_pipeline.star").read_bytes()
    Path(".relion_lock").mkdir()
    with pytest.raises(StateConflict, match="locked") as told, relion_lock(project, patience=0.2):
        pass
    assert "cryowalk pipeline" in told.value.fix
    Path(".relion_lock").rmdir()
    with relion_lock(project), pytest.raises(StateConflict), relion_lock(project, patience=0.1):
        pass
    assert not Path(".relion_lock").exists()
    assert Path("default_pipeline.star").read_bytes() == before


def test_a_damaged_record_does_not_stop_the_work(project, capsys):
    Path("default_pipeline.star").write_text("data_nothing\n\n_a 1\n\n")
    work()
    assert "this is no pipeline" in Path("Refine3D/job012/run.log").read_text()
    assert Path("default_pipeline.star").read_text() == "data_nothing\n\n_a 1\n\n"


def test_a_whole_project_is_listed_at_once(project):
    Path("default_pipeline.star").unlink()
    work("Extract/job002")
    work("Class2D/job010")
    assert record_project(project) == 2
    assert [row[0] for row in table("processes")] == ["Class2D/job010/", "Extract/job002/"]
    assert {row[3] for row in table("processes")} == {"2"}
    assert counter() == "11"
    again = Path("default_pipeline.star").read_bytes()
    assert record_project(project) == 2
    assert Path("default_pipeline.star").read_bytes() == again


def test_a_job_outside_is_not_enrolled(tmp_path):
    assert not enrol(tmp_path / "Refine3D/job001", Manifest(command="step", settings={}, seed=0))


def test_tables_are_known_by_their_blocks(tmp_path):
    found = {}
    for name, text in {
        "x.star": PARTICLES,
        "truth.star": PARTICLES,
        "movies.star": "data_movies\n",
        "m.star": "data_optics\n\ndata_micrographs\n",
        "o.star": "data_optimiser_general\n",
        "model.star": "data_model_general\n",
        "old.star": "data_\n\nloop_\n_rlnImageName #1\n1@a.mrcs\n",
        "post.star": "data_general\n\ndata_fsc\n",
        "picks.star": "data_\n\nloop_\n_rlnCoordinateX #1\n1\n",
        "other.star": "data_something\n",
    }.items():
        (tmp_path / name).write_text(text)
        kind = node_type(tmp_path / name)
        found[name] = None if kind is None else kind.number
    assert found == {
        "x.star": 3, "truth.star": None, "movies.star": 0, "m.star": 1, "o.star": 9, "model.star": None, "old.star": 3,
        "post.star": 14, "picks.star": 2, "other.star": None,
    }  # fmt: skip
    names = ("postprocess.mrc", "postprocess_masked.mrc", "postprocess_automask.mrc", "mask.mrc", "run_class001.mrc")
    assert [node_type(tmp_path / name).number for name in names] == [11, 11, 7, 7, 6]
    assert node_type(tmp_path / "absent.star") is None
