"""`submit`: RELION's templates filled in and handed to a batch system, which here is a small script."""

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from cryowalk.cli.main import exit_code
from cryowalk.workflow.queue import QueueRequest, filled_template

# In the form of the templates that RELION's documentation shows for SLURM and PBS.
TEMPLATE = """#!/bin/bash
#SBATCH --ntasks=XXXmpinodesXXX
#SBATCH --cpus-per-task=XXXthreadsXXX
#SBATCH --nodes=XXXnodesXXX --exclusive=XXXdedicatedXXX
#SBATCH --partition=XXXqueueXXX
#SBATCH --job-name=XXXnameXXX
#SBATCH --error=XXXerrfileXXX
#SBATCH --output=XXXoutfileXXX
#SBATCH --time=XXXextra1XXX
# XXXcoresXXX cores
XXXcommandXXX
"""
NAMES = ("RELION_QSUB_TEMPLATE", "RELION_QSUB_COMMAND", "RELION_QUEUE_NAME", "RELION_QSUB_EXTRA1_DEFAULT")
REAL = (sys.executable, "-m", "cryowalk")


@pytest.fixture
def inside(tmp_path, monkeypatch):
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    Path("slurm.template").write_text(TEMPLATE)
    Path("p.star").write_text("data_particles\n")
    sbatch = tmp_path / "sbatch"
    sbatch.write_text('#!/bin/bash\nprintf "%s\\n" "$@" > handed.txt\necho "Submitted batch job 4711"\n')
    sbatch.chmod(0o755)
    return tmp_path


def words(*own, command=("reconstruct", "--i", "p.star", "--o", "Rec/job 003", "--sym", "C1", "--threads", "4")):
    return ["submit", "--template", "slurm.template", "--submit-command", "./sbatch", "--extra", "1=24:00:00", *own, *command]


def test_the_template_is_filled_and_handed_over(inside, capsys):
    assert exit_code(words("--queue", "gpu", "--dedicated", "3")) == 0
    assert capsys.readouterr().out.strip() == "Submitted batch job 4711"
    lines = Path("Rec/job 003/run_submit.script").read_text().splitlines()
    assert lines[1:10] == [
        "#SBATCH --ntasks=1",
        "#SBATCH --cpus-per-task=4",
        "#SBATCH --nodes=2 --exclusive=3",
        "#SBATCH --partition=gpu",
        "#SBATCH --job-name=Rec/job 003/",
        "#SBATCH --error=Rec/job 003/run.err",
        "#SBATCH --output=Rec/job 003/run.out",
        "#SBATCH --time=24:00:00",
        "# 4 cores",
    ]
    expected = [*REAL, "reconstruct", "--i", "p.star", "--o", "Rec/job 003", "--sym", "C1", "--threads", "4"]
    assert shlex.split(lines[10]) == expected
    assert Path("handed.txt").read_text().splitlines() == ["Rec/job 003/run_submit.script"]


def test_the_environment_of_relion_is_known_and_threads_default_to_one(inside, monkeypatch, capsys):
    for name, value in zip(NAMES, ("slurm.template", "./sbatch", "long", "1:00:00"), strict=True):
        monkeypatch.setenv(name, value)
    assert exit_code(["submit", "reconstruct", "--in_parts", "p.star", "--o", "Rec/job004"]) == 0
    text = Path("Rec/job004/run_submit.script").read_text()
    assert "--partition=long" in text
    assert "--time=1:00:00" in text
    assert text.splitlines()[-1].endswith("--o Rec/job004 --threads 1")
    assert exit_code(["submit", "--write-only", "reconstruct", "--i", "p.star", "--o", "Rec/job005"]) == 0
    assert "written, not submitted" in capsys.readouterr().out


def test_words_of_the_command_are_never_read_by_a_shell(inside):
    Path("a;touch hacked").write_text("data_particles\n")
    assert exit_code(words(command=("reconstruct", "--i", "a;touch hacked", "--o", "$(touch hacked)/job1", "--j", "2"))) == 0
    script = Path("$(touch hacked)/job1/run_submit.script")
    subprocess.run(["bash", "-c", script.read_text().splitlines()[-1].replace(shlex.join(REAL), "true")], check=True)
    assert not Path("hacked").exists()
    request = QueueRequest(command=("cryowalk",), directory=Path("x"), extra={1: "a\nrm -rf /"})
    with pytest.raises(Exception, match="line end"):
        filled_template(TEMPLATE, request)


@pytest.mark.parametrize(
    ("own", "command", "code", "message"),
    [
        (("--template", "absent"), None, 3, "there is no such"),
        (("--template", "p.star"), None, 3, "does not say where the command goes"),
        (("--extra", "2=x"), None, 2, "XXXextra1XXX, which has no value"),
        (("--extra", "24:00:00"), None, 2, "--extra cannot be"),
        (("--submit-command", "./absent"), None, 4, "cannot be started"),
        (("--submit-command", "'"), None, 2, "cannot be read"),
        (("--submit-command", "false"), None, 4, "false refused the script (exit code 1)"),
        ((), ("reconstrukt", "--o", "x"), 2, "is no command that can be submitted"),
        ((), ("submit", "doctor"), 2, "is no command that can be submitted"),
        ((), ("reconstruct", "--i", "p.star", "--outt", "x"), 2, "no such option: --outt"),
        ((), ("reconstruct", "--i", "p.star"), 2, "--o"),
        ((), ("reconstruct", "--i", "p.star", "--o", "x", "--threads", "many"), 2, "Invalid value for '--threads'"),
        ((), ("inspect", "p.star"), 2, "writes no directory"),
    ],
)
def test_what_cannot_be_submitted_is_told_at_once(inside, capsys, own, command, code, message):
    base = ["submit"]
    given = dict(zip(own[::2], own[1::2], strict=True))
    options = {"--template": "slurm.template", "--submit-command": "./sbatch"} | (
        {} if "--extra" in given else {"--extra": "1=1"}
    )
    for flag, value in (options | given).items():
        base += [flag, value]
    assert exit_code([*base, *(command or ("reconstruct", "--i", "p.star", "--o", "Rec/job001"))]) == code
    told = capsys.readouterr().err
    assert message in told
    assert "Traceback" not in told
    assert not Path("handed.txt").exists()


def test_no_template_is_told(inside, capsys):
    assert exit_code(["submit", "reconstruct", "--i", "p.star", "--o", "x"]) == 2
    assert "RELION_QSUB_TEMPLATE" in capsys.readouterr().err


def test_a_submitted_job_runs_where_its_script_lies(inside, project_particles):
    """The batch system's script, run as it would be, makes the job in the directory that holds the script and the logs."""
    run = inside / "run_now"
    run.write_text('#!/bin/bash\nbash "$1" > "$(dirname "$1")/run.out" 2> "$(dirname "$1")/run.err"\necho done\n')
    run.chmod(0o755)
    command = ["mask", "--i", "map.mrc", "--o", "MaskCreate/job002", "--threads", "1"]
    options = ["--template", "slurm.template", "--submit-command", "./run_now", "--extra", "1=1"]
    assert exit_code(["submit", *options, *command]) == 0
    assert Path("MaskCreate/job002/mask.mrc").exists(), Path("MaskCreate/job002/run.err").read_text()


@pytest.fixture
def project_particles(inside):
    import torch

    from cryowalk.data import Volume
    from cryowalk.io.maps import write_map

    axis = torch.arange(24.0) - 12
    ball = (axis[:, None, None] ** 2 + axis[:, None] ** 2 + axis**2 < 36).float()
    write_map(Volume(voxels=ball, voxel_size=3.0), "map.mrc")


@pytest.mark.agreement
def test_relion_fills_the_same_template_alike(inside, relion):
    """relion_pipeliner submits an External job by the template; the script differs from ours in the command alone."""
    job = {
        "fn_exe": "cryowalk reconstruct", "in_part": "p.star", "nr_threads": "4", "do_queue": "Yes", "qsub": "./sbatch",
        "qsubscript": "slurm.template", "queuename": "gpu", "min_dedicated": "3", "qsub_extra1": "24:00:00",
    }  # fmt: skip
    head = "\n# version 30001\n\ndata_pipeline_general\n\n_rlnPipeLineJobCounter                       1\n \n"
    Path("default_pipeline.star").write_text(head)
    rows = "".join(f'{name} "{value}"\n' for name, value in job.items())
    text = "\n# version 30001\n\ndata_job\n\n_rlnJobType 99\n_rlnJobIsContinue 0\n\n\n# version 30001\n\ndata_joboptions_values\n\nloop_\n"
    Path("job.star").write_text(f"{text}_rlnJobOptionVariable #1\n_rlnJobOptionValue #2\n{rows}\n")
    environment = {
        **os.environ,
        "RELION_QSUB_EXTRA_COUNT": "1",
        "RELION_QSUB_EXTRA1": "time",
        "RELION_QSUB_EXTRA1_DEFAULT": "24:00:00",
    }
    subprocess.run(
        [relion / "relion_pipeliner", "--addJobFromStar", "job.star"], env=environment, check=True, capture_output=True
    )
    words_ = [relion / "relion_pipeliner", "--schedule", "s", "--RunJobs", "External/job001/"]
    process = subprocess.Popen(words_, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    script = Path("External/job001/run_submit.script")
    try:
        import time

        end = time.monotonic() + 30
        while not Path("handed.txt").exists() and time.monotonic() < end:
            time.sleep(0.05)
    finally:
        process.kill()
        process.wait()
    theirs = script.read_text().splitlines()
    assert (
        exit_code(
            words(
                "--queue",
                "gpu",
                "--dedicated",
                "3",
                command=("reconstruct", "--i", "p.star", "--o", "External/job001", "--j", "4"),
            )
        )
        == 0
    )
    ours = script.read_text().splitlines()
    assert [line.rstrip() for line in ours[:-1]] == [line.rstrip() for line in theirs if line][: len(ours) - 1]
    assert "cryowalk reconstruct --o External/job001/ --in_parts p.star --j 4" in "\n".join(theirs)
