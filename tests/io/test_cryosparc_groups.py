"""cryoSPARC's .csg groups: fields from the files that a group names, versions and hostile YAML refused, kinds told by inspect and validate."""

import numpy as np
import pytest
import torch
from cryosparc_files import records, saved
from io_files import stack

from cryowalk.core.errors import CryowalkWarning, InputError, SafetyRefusal
from cryowalk.io.cryosparc import read_cryosparc, write_cryosparc
from cryowalk.io.cryosparc_groups import read_group
from cryowalk.io.dispatch import read, write
from cryowalk.io.inspect import describe
from cryowalk.io.relion import read_particles
from cryowalk.io.validate import faults, is_sound

GROUP = """\
created: 2024-01-31 10:00:00.123456
group:
  description: All particles that were processed, including alignments
  name: particles
  title: All particles
  type: particle
results:
  alignments3D:
    metafile: '>J5_particles.cs'
    num_items: 8
    type: particle.alignments3D
  blob:
    metafile: '>J5_particles.cs'
    num_items: 8
    type: particle.blob
  ctf:
    metafile: '>J5_passthrough_particles.cs'
    num_items: 8
    type: particle.ctf
  location:
    metafile: '>J5_passthrough_particles.cs'
    num_items: 8
    type: particle.location
version: v4.4.1
"""


def group(tmp_path, text=GROUP):
    rows = records(count=8)
    names = rows.dtype.names
    passed = ["uid", *[name for name in names if name.startswith(("ctf", "location", "pick_stats"))]]
    saved(tmp_path / "J5_particles.cs", rows[["uid", *[name for name in names[1:] if name not in passed]]].copy())
    saved(tmp_path / "J5_passthrough_particles.cs", rows[passed][::-1].copy())
    (tmp_path / "J5.csg").write_text(text)
    return tmp_path / "J5.csg", rows


def test_a_group_joins_its_files_and_only_what_it_lists(tmp_path) -> None:
    path, rows = group(tmp_path)
    found, whole = read_cryosparc(path), read_cryosparc(saved(tmp_path / "whole.cs", rows))
    torch.testing.assert_close(found.pose.shift, whole.pose.shift)
    torch.testing.assert_close(found.defocus.major, whole.defocus.major)
    torch.testing.assert_close(found.coordinates, whole.coordinates)
    assert not any("pick_stats" in label or "filament" in label for label in found.extra)  # the group does not list them
    assert read_group(path).version == "v4.4.1"


def test_what_is_written_is_a_group_again(tmp_path) -> None:
    path, _ = group(tmp_path)
    particles = read_cryosparc(path)
    write_cryosparc(particles, tmp_path / "out.cs")
    again = read_cryosparc(tmp_path / "out.csg")
    torch.testing.assert_close(again.pose.lab_from_particle, particles.pose.lab_from_particle, rtol=0, atol=0)
    assert read_group(tmp_path / "out.csg").counts["blob"] == 8
    assert set(read_group(tmp_path / "out.csg").files) == {"alignments3D", "blob", "ctf", "location"}


def test_a_group_of_another_count_is_told(tmp_path) -> None:
    path, _ = group(tmp_path, GROUP.replace("num_items: 8", "num_items: 9"))
    with pytest.warns(CryowalkWarning, match=r"alignments3D has 9 items by the group, J5_particles\.cs holds 8"):
        read_cryosparc(path)


@pytest.mark.parametrize(
    ("text", "kind", "words"),
    [
        (GROUP.replace("v4.4.1", "v9.1.0"), InputError, "of cryoSPARC v9.1.0"),
        (GROUP.replace("version: v4.4.1", "version: 7"), InputError, "version 7"),
        (GROUP.replace("type: particle\n", "type: volume\n"), InputError, "holds volumes, not particles"),
        (GROUP.replace("metafile: '>J5_particles.cs'", "metafile: 3"), InputError, "names no metafile"),
        (GROUP.replace(">J5_particles.cs", ">lost.cs"), InputError, "no such file"),
        ("version: v4.0.0\n", InputError, "no .csg group"),
        ("- a\n- b\n", InputError, "no YAML mapping"),
        ("results: [\n", InputError, "no YAML"),
        ("a: &a [x, x]\nb: [*a, *a]\nresults: {}\n", InputError, "anchors"),
        ("results: !!python/object/apply:os.system ['touch PWNED']\n", SafetyRefusal, "objects to be made"),
    ],
)
def test_groups_that_cannot_be_meant_are_refused(tmp_path, text, kind, words) -> None:
    path, _ = group(tmp_path, text)
    with pytest.raises(kind) as caught:
        read_cryosparc(path)
    assert words in str(caught.value)
    assert caught.value.exit_code == (5 if kind is SafetyRefusal else 3)
    assert not (tmp_path / "PWNED").exists()


def test_inspect_and_validate_know_tables_and_groups(tmp_path) -> None:
    stack(tmp_path / "stack.mrc", count=8, shape=(64, 64), pixel_size=1.37)
    path, rows = group(tmp_path)
    told = describe(path)
    assert told.kind == "particles (cryoSPARC)"
    assert told.facts["particles"] == 8
    assert told.facts["version"] == "v4.4.1"
    assert any("dark on light" in line for line in told.words)
    rows["blob/path"], rows["blob/idx"] = b">stack.mrc", np.arange(8)
    whole = saved(tmp_path / "whole.cs", rows)
    assert is_sound(faults(whole))
    rows["blob/idx"][3] = 4_000_000_000
    found = faults(saved(tmp_path / "beyond.cs", rows))
    assert not is_sound(found)
    assert "image 4000000001" in str(found[0])
    rows["blob/idx"] = 0
    assert any("twice" in str(fault) or "both half sets" in str(fault) for fault in faults(saved(tmp_path / "copies.cs", rows)))
    passthrough = describe(tmp_path / "J5_passthrough_particles.cs")
    assert passthrough.kind == "table (cryoSPARC)"


def test_read_and_write_know_them(tmp_path) -> None:
    stack(tmp_path / "stack.mrc", count=8, shape=(64, 64), pixel_size=1.37)
    rows = records(count=8)
    rows["blob/path"], rows["blob/idx"] = b">stack.mrc", np.arange(8)
    particles = read(saved(tmp_path / "p.cs", rows))
    assert particles.images.count == 8
    write(particles, tmp_path / "again.cs")
    assert len(read_particles(tmp_path / "again.csg")) == 8
