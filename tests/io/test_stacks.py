"""Which stack a STAR file means."""

import pytest

from cryowalk.io.stacks import find_stack


@pytest.fixture
def two_projects(tmp_path, monkeypatch):
    """Two project folders with files of the same names; the current directory is the first."""
    for project in ("here", "there"):
        (tmp_path / project / "sim").mkdir(parents=True)
        (tmp_path / project / "sim" / "particles.mrcs").write_text(project)
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path


def test_inside_the_project_names_count_from_its_root(two_projects):
    (two_projects / "here" / "sim" / "sim").mkdir()
    (two_projects / "here" / "sim" / "sim" / "particles.mrcs").write_text("nested")
    found = find_stack("sim/particles.mrcs", two_projects / "here" / "sim" / "particles.star")
    assert found.read_text() == "here"


def test_a_file_of_another_project_never_means_this_ones_stack(two_projects):
    found = find_stack("sim/particles.mrcs", two_projects / "there" / "sim" / "particles.star")
    assert found.read_text() == "there"
    found = find_stack("gone/particles.mrcs", two_projects / "there" / "sim" / "particles.star")
    assert found.read_text() == "there"


def test_a_moved_star_file_still_finds_its_project_from_the_current_directory(two_projects):
    elsewhere = two_projects / "elsewhere" / "particles.star"
    assert find_stack("sim/particles.mrcs", elsewhere).read_text() == "here"
    assert find_stack("sim/none.mrcs", elsewhere) is None
