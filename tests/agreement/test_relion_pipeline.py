"""Our commands as External jobs of RELION 3.1.3: scheduled, run, watched and stopped by relion_pipeliner in a project of its own."""

import os
import shutil
import subprocess
import sys
import time

import pytest

from cryowalk.io.maps import read_map
from cryowalk.io.star import read_star

pytestmark = [pytest.mark.agreement, pytest.mark.slow]
PROGRAM = f"{sys.executable} -m cryowalk"
QUIET = {"OMP_NUM_THREADS": "1"}
EMPTY = "\n# version 30001\n\ndata_pipeline_general\n\n_rlnPipeLineJobCounter                       1\n \n"
JOB = """
# version 30001

data_job

_rlnJobType                            99
_rlnJobIsContinue                       0


# version 30001

data_joboptions_values

loop_
_rlnJobOptionVariable #1
_rlnJobOptionValue #2
"""
ENDED = {"2": "SUCCESS", "3": "FAILURE", "4": "ABORTED"}


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A project of RELION's with movies, their picks and their particles; each test schedules jobs in it."""
    if shutil.which("relion_pipeliner") is None:
        pytest.skip("relion_pipeliner is not installed: RELION as a host was not tried")
    root = tmp_path_factory.mktemp("project")
    (root / "default_pipeline.star").write_text(EMPTY)
    movies = [
        "--o",
        "Movies",
        "--n",
        "2",
        "--size",
        "384",
        "384",
        "--pixel-size",
        "3",
        "--particles",
        "12",
        "--frames",
        "6",
        "--seed",
        "4",
    ]
    particles = ["--o", "Sim", "--n", "120", "--box", "48", "--pixel-size", "3", "--snr", "1", "--seed", "2"]
    for words in (("movies", *movies), ("particles", *particles)):
        subprocess.run([sys.executable, "-m", "cryowalk", "simulate", *words, "--quiet", "--j", "1"], cwd=root, check=True)
    return root


def relion(project, *words, timeout=170):
    environment = {**os.environ, **QUIET}
    ended = subprocess.run(
        ["relion_pipeliner", *words], cwd=project, env=environment, capture_output=True, text=True, timeout=timeout, check=False
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended


def schedule(project, command, **options):
    """The folder of an External job that RELION has scheduled."""
    rows = {"fn_exe": f"{PROGRAM} {command}", "nr_threads": "1", "do_queue": "No", **options}
    (project / "wanted.star").write_text(JOB + "".join(f'{name} "{value}"\n' for name, value in rows.items()) + "\n")
    before = set(project.glob("External/job*"))
    relion(project, "--addJobFromStar", "wanted.star")
    (folder,) = set(project.glob("External/job*")) - before
    return folder


def run(project, *folders):
    names = " ".join(f"{folder.relative_to(project)}/" for folder in folders)
    relion(project, "--schedule", f"s{folders[0].name}", "--RunJobs", names, "--sec_wait_after", "1")


def external(project, command, **options):
    """The folder of a job that RELION has run to its end."""
    folder = schedule(project, command, **options)
    run(project, folder)
    return folder


def state(project, folder):
    block = read_star(project / "default_pipeline.star")["pipeline_processes"]
    names = block.columns["rlnPipeLineProcessName"]
    return block.columns["rlnPipeLineProcessStatus"][names.index(f"{folder.relative_to(project)}/")]


def nodes(project, folder):
    """The outputs of a job in RELION's record, with their numbers."""
    star = read_star(project / "default_pipeline.star")
    types = dict(zip(*star["pipeline_nodes"].columns.values(), strict=True))
    edges = star["pipeline_output_edges"].columns
    mine = f"{folder.relative_to(project)}/"
    pairs = zip(edges["rlnPipeLineEdgeProcess"], edges["rlnPipeLineEdgeToNode"], strict=True)
    return {node.removeprefix(mine): int(types[node]) for process, node in pairs if process == mine}


def taken(project, folder):
    edges = read_star(project / "default_pipeline.star")["pipeline_input_edges"].columns
    pairs = zip(*edges.values(), strict=True)
    return {node for node, process in pairs if process == f"{folder.relative_to(project)}/"}


def succeeded(project, folder):
    told = "".join((folder / name).read_text() for name in ("run.out", "run.err") if (folder / name).exists())
    assert state(project, folder) == "2", told
    assert [path.name for path in folder.glob("RELION_JOB_*")] == ["RELION_JOB_EXIT_SUCCESS"]
    assert f"--o {folder.relative_to(project)}/" in (folder / "note.txt").read_text()
    return nodes(project, folder)


def test_movies_to_classes_job_by_job(project):
    motion = external(project, "motion", in_mov="Movies/movies.star", param1_label="patches", param1_value="1 1")
    assert succeeded(project, motion) == {"corrected_micrographs.star": 1}
    assert taken(project, motion) == {"Movies/movies.star"}
    table = f"{motion.relative_to(project)}/corrected_micrographs.star"
    ctf = external(project, "ctf --box 256 --finest-resolution 7", in_mic=table)
    assert succeeded(project, ctf)["micrographs_ctf.star"] == 1
    table = f"{ctf.relative_to(project)}/micrographs_ctf.star"
    picks = external(project, "pick --diameter 110 --method log --threshold 0", in_mic=table)
    assert succeeded(project, picks)["coordinates.star"] == 2
    cut = external(project, "extract --box 48", in_mic=table, in_coords=f"{picks.relative_to(project)}/coordinates.star")
    assert succeeded(project, cut) == {"particles.star": 3}
    assert len(read_star(cut / "particles.star")["particles"]) > 4


def test_particles_to_a_sharpened_map(project):
    classes = external(
        project,
        "class2d",
        in_part="Sim/particles.star",
        param1_label="K",
        param1_value="2",
        param2_label="iter",
        param2_value="2",
    )
    assert succeeded(project, classes) == {"run_it002_data.star": 3, "run_it002_optimiser.star": 9}
    made = external(project, "reconstruct", in_part="Sim/particles.star", param1_label="sym", param1_value="C1")
    half = {f"run_half{number}_class001_unfil.mrc": 10 for number in (1, 2)}
    assert succeeded(project, made) == {"run_class001.mrc": 6, **half}
    base = made.relative_to(project)
    mask = external(project, "mask --threshold 0.01", in_3dref=f"{base}/run_class001.mrc")
    (name,) = succeeded(project, mask)
    post = external(
        project, "postprocess", in_3dref=f"{base}/run_half1_class001_unfil.mrc", in_mask=f"{mask.relative_to(project)}/{name}"
    )
    found = succeeded(project, post)
    assert found["postprocess.star"] == 14
    assert found["postprocess.mrc"] == 11
    assert read_map(post / "postprocess.mrc").voxel_size == pytest.approx(3.0)
    picked = external(project, "select --classes 1", in_part=f"{classes.relative_to(project)}/run_it002_data.star")
    assert succeeded(project, picked) == {"particles.star": 3}


def test_a_map_and_particles_are_told_apart(project):
    made = external(
        project, "class3d --diameter 110 --K 1 --iter 1 --skip-align", in_part="Sim/particles.star", in_3dref="Sim/truth_map.mrc"
    )
    assert succeeded(project, made)["run_it001_class001.mrc"] == 6


def test_a_wrong_input_is_a_failure_that_relion_sees(project):
    folder = external(project, "reconstruct", in_part="Sim/truth_map.mrc")
    assert state(project, folder) == "3"
    assert "this is an MRC file" in (folder / "run.err").read_text()
    assert [path.name for path in folder.glob("RELION_JOB_*")] == ["RELION_JOB_EXIT_FAILURE"]


@pytest.mark.parametrize("command", ["reconstruct --symetry C1", "reconstrukt", "reconstruct --sym C1 --padding ten"])
def test_a_wrong_command_line_is_a_failure_for_which_relion_does_not_wait(project, command):
    folder = external(project, command, in_part="Sim/particles.star")
    assert state(project, folder) == "3"
    assert "What to do" in (folder / "run.err").read_text()


def test_relion_s_request_to_abort_is_obeyed_and_the_job_goes_on(project):
    folder = schedule(project, "reconstruct --method least-squares --steps 400 --tolerance 1e-12", in_part="Sim/particles.star")
    words = ["relion_pipeliner", "--schedule", "sabort", "--RunJobs", f"{folder.relative_to(project)}/", "--sec_wait_after", "1"]
    log = (project / "abort.log").open("w")
    process = subprocess.Popen(words, cwd=project, env={**os.environ, **QUIET}, stdout=log, stderr=log)
    end = time.monotonic() + 60
    while not (folder / "job.json").exists() and time.monotonic() < end:
        time.sleep(0.05)
    (folder / "RELION_JOB_ABORT_NOW").touch()
    process.wait(timeout=60)
    log.close()
    assert [path.name for path in folder.glob("RELION_JOB_*")] == ["RELION_JOB_EXIT_ABORTED"]
    assert "the same command again" in (folder / "run.err").read_text()
    relion(project, "--check_job_completion")
    assert state(project, folder) == "4"


def test_relion_takes_the_record_that_we_have_changed(project):
    words = [
        sys.executable,
        "-m",
        "cryowalk",
        "reconstruct",
        "--i",
        "Sim/particles.star",
        "--o",
        "Mine/job090",
        "--j",
        "1",
        "--quiet",
    ]
    subprocess.run(words, cwd=project, check=True, env={**os.environ, **QUIET})
    mine = project / "Mine/job090"
    assert state(project, mine) == "2"
    before = nodes(project, mine)
    later = schedule(project, "reconstruct", in_part="Sim/particles.star")
    assert later.name == "job091"
    assert nodes(project, mine) == before
    assert set(before) == {"run_class001.mrc", "run_half1_class001_unfil.mrc", "run_half2_class001_unfil.mrc"}
    relion(project, "--gentle_clean", "90")
    assert (mine / "run_class001.mrc").exists()
