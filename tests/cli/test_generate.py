"""From dataclasses to options: flags, ranges, kinds, settings files, messages."""

import json

import pytest

from cryowalk.cli import generate
from cryowalk.cli.fields import field_from, fields_of
from cryowalk.cli.main import describe
from cryowalk.core.errors import InputError, StateConflict, Stopped


def settings_of(project, job="job") -> dict:
    return json.loads((project / job / "job.json").read_text())["settings"]


def test_every_kind_of_option_arrives(fake, project):
    done = fake(
        "--output", "job", "--count", "3", "--patches", "3", "4", "--shells", "1,2.5 7", "--mode", "phase_flipped", "--radius", "1e2",
        "--symmetry", "D2", "--angpix", "1.1", "--invert", "--no-flip", "--j", "1", "--seed", "5", "--box", "32",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert settings_of(project) == {
        "mask": None, "count": 3, "patches": [3, 4], "shells": [1.0, 2.5, 7.0], "mode": "phase_flipped", "radius": 100.0, "symmetry": "D2",
        "box": 32, "pixel_size": 1.1, "pause": 0.0, "fail": "no", "invert": True, "flip": False,
    } | {"mask": settings_of(project).get("mask")}  # fmt: skip


@pytest.mark.parametrize("flags", [("--in_parts",), ("--in-mics",), ("--in_3dref",), ("--source",)])
def test_relions_names_of_an_input_are_understood(start, project, flags):
    import subprocess
    import sys

    from .conftest import PROGRAM

    done = subprocess.run(
        [sys.executable, str(PROGRAM), *flags, "particles.star", "--o", "job", "--pixel_size", "2"],
        cwd=project,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert settings_of(project)["pixel_size"] == 2.0


def test_json_is_all_there_is_on_standard_output(fake):
    done = fake("--o", "job", "--json")
    facts = json.loads(done.stdout)
    assert len(facts["digest"]) == 64
    assert facts["missing"] is None
    assert "adding" in done.stderr
    assert fake("--o", "other", "--quiet").stderr == ""


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--cuont", "3"], "the nearest is --count"),
        (["--count", "0"], "--count / -n must be at least 1: got 0"),
        (["--count", "many"], "--count"),
        (["--count", "100001"], "must be at most 100000"),
        (["--radius", "nan"], "must be a finite number"),
        (["--radius", "0"], "must be above 0"),
        (["--box", "-1"], "--box must be at least 8: got -1"),
        (["--box", "33"], "--box must be even"),
        (["--angpix", "0"], "must be above 0"),
        (["--mode", "sharp"], "phase_flipped"),
        (["--patches", "5"], "patches"),
        (["--shells", "a,b"], "no list of float values"),
        (["--device", "abacus"], "--device cannot be 'abacus'"),
        (["--threads", "0"], "--threads / --j must be at least 1"),
        (["--seed", "-1"], "--seed must be at least 0"),
        (["stray"], "stray"),
    ],
)
def test_what_cannot_be_meant_is_a_usage_error(fake, project, words, told):
    refused = fake("--o", "job", *words)
    assert refused.returncode == 2, refused.stderr
    assert told in refused.stderr
    assert "Traceback" not in refused.stderr
    assert not (project / "job").exists()


def test_a_required_option_that_is_missing_is_named(fake):
    refused = fake()
    assert refused.returncode == 2
    assert "--o" in refused.stderr


def test_a_missing_input_is_bad_input_and_gets_its_neighbour(fake, project):
    refused = fake("--o", "job", "--i", "particels.star")
    assert refused.returncode == 3
    assert "did you mean particles.star?" in refused.stderr
    assert not (project / "job").exists()


@pytest.mark.parametrize(
    ("how", "code", "told"),
    [
        ("defect", 1, "a defect of ours"),
        ("memory", 4, "not enough memory"),
        ("input", 3, "particles.star, line 7: value is no number"),
        ("disk", 4, "No space left on device"),
        ("interrupt", 130, ""),
    ],
)
def test_every_failure_has_its_code_and_no_traceback(fake, how, code, told):
    failed = fake("--o", "job", "--fail", how)
    assert failed.returncode == code
    assert told in failed.stderr
    assert "Traceback" not in failed.stderr
    if how == "defect":
        assert "Traceback" in fake("--o", "other", "--fail", how, "--debug").stderr


def test_settings_come_from_a_file_and_options_win(fake, project):
    (project / "s.yaml").write_text("count: 4\nsymmetry: D7\n")
    assert fake("--o", "job", "--settings", "s.yaml", "--sym", "C5").returncode == 0
    assert settings_of(project)["count"] == 4
    assert settings_of(project)["symmetry"] == "C5"
    assert fake("--o", "again", "--settings", "job/job.json").returncode == 0
    assert settings_of(project, "again") == settings_of(project)
    (project / "s.yaml").write_text("cuont: 4\n")
    refused = fake("--o", "third", "--settings", "s.yaml")
    assert refused.returncode == 2
    assert "count" in refused.stderr
    (project / "s.yaml").write_text("count: -4\n")
    assert fake("--o", "third", "--settings", "s.yaml").returncode == 2


def test_an_external_job_of_relion_is_marked(fake, project):
    job = project / "External" / "job004"
    job.mkdir(parents=True)
    (job / "job.star").write_text("data_job\n")
    (job / "run.out").touch()
    assert fake("--in_parts", "particles.star", "--o", "External/job004/", "--j", "1").returncode == 0
    assert (job / "RELION_JOB_EXIT_SUCCESS").exists()
    nodes = (job / "RELION_OUTPUT_NODES.star").read_text()
    assert "data_output_nodes" in nodes
    assert (
        "deep/" not in nodes
    )  # what lies in sub-directories is no node of RELION's: a thousand micrographs would be a thousand nodes
    assert fake("--o", "External/job004/", "--j", "1", "--box", "3").returncode == 2
    assert (job / "RELION_JOB_EXIT_FAILURE").exists()
    assert not (job / "RELION_JOB_EXIT_SUCCESS").exists()
    assert fake("--o", "External/job004/", "--j", "1").returncode == 0
    assert (job / "RELION_JOB_EXIT_SUCCESS").exists()


def test_help_names_every_option_with_its_default(fake):
    text = fake("--help").stdout
    for flag in (
        "--source",
        "--i ",
        "--output",
        "--o ",
        "--count",
        "-n",
        "--patches",
        "--pixel-size",
        "--angpix",
        "--symmetry",
        "--sym",
        "--seed",
    ):
        assert flag in text
    for flag in ("--threads", "--j ", "--device", "--quiet", "--debug", "--settings", "--no-flip"):
        assert flag in text
    assert "[default: 5, 5]" in text
    assert "--pipeline" not in text


def test_a_device_is_chosen(monkeypatch):
    told: list[str] = []
    monkeypatch.setattr(generate, "_may_have_gpu", lambda: False)
    assert generate.chosen_device("auto", told.append) == "cpu"
    assert told == []
    assert generate.chosen_device("cuda:1", told.append) == "cpu"
    assert "no GPU" in told[0]


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (Stopped("x", signal_number=15), 143),
        (StateConflict("x"), 6),
        (InputError("x"), 3),
        (FileNotFoundError(2, "No such file", "a.mrc"), 3),
        (PermissionError(13, "Permission denied", "a.mrc"), 4),
        (OSError(28, "No space left"), 4),
        (BrokenPipeError(), 141),
        (RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory"), 4),
        (RuntimeError("CUDA out of memory"), 4),
        (RecursionError("x"), 1),
    ],
)
def test_exit_codes(error, code):
    text, found = describe(error)
    assert found == code
    assert "\n\n" not in text


def test_control_characters_are_escaped():
    assert "\x1b" not in describe(ValueError("\x1b[2J"))[0]
    assert "\x1b" not in describe(FileNotFoundError(2, "No such file", "\x1b]0;x\x07.mrc"))[0]


@pytest.mark.parametrize("hint", [dict, "list[int]", int | str])
def test_a_field_that_is_no_option_is_a_defect_found_at_once(hint):
    with pytest.raises(TypeError):
        generate._typer_kind(field_from("x", hint, None))


def test_positional_fields_and_required_ones():
    from cryowalk.cli.commands.fsc import ComparisonFiles

    found = {field.name: field for field in fields_of(ComparisonFiles)}
    assert found["first"].positional == "A.MRC"
    assert found["first"].is_required
    assert not found["mask"].is_required
    assert "--in_mask" in found["mask"].flags
