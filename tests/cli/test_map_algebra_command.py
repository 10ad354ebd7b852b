"""The `map` commands as a user types them."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from cryowalk.cli.main import exit_code
from cryowalk.io.mrc import MrcStackReader, read_array, write_array
from cryowalk.io.mrc_header import read_header

OFF = ("--quiet", "--threads", "1")
VOXEL = 1.7


@pytest.fixture
def inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    source = torch.Generator().manual_seed(4)
    write_array(torch.randn(20, 20, 20, generator=source), "a.mrc", voxel_size=VOXEL, origin=(3.4, 0.0, -1.7))
    write_array(torch.randn(20, 20, 20, generator=source), "b.mrc", voxel_size=VOXEL)
    write_array(torch.randn(7, 24, 31, generator=source), "stack.mrcs", voxel_size=VOXEL, kind="images")
    return tmp_path


def values(path: str) -> np.ndarray:
    return np.asarray(read_array(path), dtype=np.float64)


@pytest.mark.parametrize(
    ("operation", "law"), [("add", np.add), ("subtract", np.subtract), ("multiply", np.multiply), ("divide", np.divide)]
)
def test_arithmetic_is_of_the_values_in_the_files(inside: Path, operation: str, law) -> None:
    assert exit_code(["map", operation, "--i", "a.mrc", "b.mrc", "--o", "out/r.mrc", *OFF]) == 0
    assert np.allclose(values("out/r.mrc"), law(values("a.mrc"), values("b.mrc")), rtol=1e-5)
    header = read_header("out/r.mrc")
    assert header.origin == pytest.approx((3.4, 0.0, -1.7))
    assert header.voxel_sizes == pytest.approx((VOXEL,) * 3)


def test_the_contrast_of_a_stack_is_turned_with_a_number(inside: Path) -> None:
    assert exit_code(["map", "multiply", "--i", "stack.mrcs", "--by", "-1", "--o", "dark.mrcs", *OFF]) == 0
    assert np.array_equal(values("dark.mrcs"), -values("stack.mrcs"))
    assert MrcStackReader("dark.mrcs").pixel_size == pytest.approx(VOXEL)
    assert exit_code(["map", "add", "--i", "stack.mrcs", "dark.mrcs", "--o", "no.mrcs", *OFF]) == 2


def test_statistics_are_printed_and_given_as_json(inside: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code(["map", "statistics", "a.mrc", "stack.mrcs", "--json", *OFF]) == 0
    one, stack = json.loads(capsys.readouterr().out)
    assert one["deviation"] == pytest.approx(values("a.mrc").std(), rel=1e-6)
    assert stack["count"] == 7 * 24 * 31
    assert exit_code(["map", "statistics", "a.mrc", *OFF]) == 0
    assert "percentile 99" in capsys.readouterr().out


def test_values_are_selected_as_a_map_and_as_a_mask(inside: Path) -> None:
    assert (
        exit_code(
            ["map", "threshold", "--i", "a.mrc", "--above", "0.5", "--below", "1.5", "--outside", "-1", "--o", "t.mrc", *OFF]
        )
        == 0
    )
    before, after = values("a.mrc"), values("t.mrc")
    kept = (before >= 0.5) & (before <= 1.5)
    assert np.allclose(after, np.where(kept, before, -1), atol=1e-6)
    assert exit_code(["map", "threshold", "--i", "a.mrc", "--above", "0.5", "--kind", "mask", "--o", "m.mrc", *OFF]) == 0
    assert np.array_equal(values("m.mrc"), before >= 0.5)


def test_segments_are_masks_sorted_by_volume_with_labels(inside: Path) -> None:
    balls = np.zeros((24, 24, 24), dtype=np.float32)
    z, y, x = np.meshgrid(*[np.arange(24)] * 3, indexing="ij")
    for centre, radius in (((6, 6, 6), 5), ((17, 17, 17), 3)):
        balls[sum((axis - c) ** 2 for axis, c in zip((x, y, z), centre, strict=True)) <= radius**2] = 1
    write_array(balls, "balls.mrc", voxel_size=VOXEL)
    words = ["map", "segment", "--i", "balls.mrc", "--o", "Segments", "--level", "0.5", "--soft-edge", "2", *OFF]
    assert exit_code(words) == 0
    facts = json.loads(Path("Segments/segments.json").read_text())
    assert facts["segments"] == 2
    assert facts["voxels"][0] > facts["voxels"][1]
    assert facts["volumes_cubic_angstrom"][0] == pytest.approx(facts["voxels"][0] * VOXEL**3, rel=1e-3)
    labels = values("Segments/labels.mrc")
    assert (labels[6, 6, 6], labels[17, 17, 17], labels[0, 23, 0]) == (1, 2, 0)
    mask = values("Segments/segment_001.mrc")
    assert mask.max() == 1
    assert 0 < mask[6, 6, 12] < 1  # the soft edge
    assert Path("Segments/segment_002.mrc").is_file()
    assert not Path("Segments/segment_003.mrc").exists()
    assert Path("Segments/report.html").is_file()


def test_the_spectrum_of_white_noise_is_its_variance_and_has_a_resolution_axis(inside: Path) -> None:
    assert exit_code(["map", "spectrum", "--i", "a.mrc", "b.mrc", "--o", "Spectrum", *OFF]) == 0
    with Path("Spectrum/spectrum.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 11
    assert float(rows[10]["resolution_angstrom"]) == pytest.approx(2 * VOXEL)
    assert float(rows[5]["frequency_per_angstrom"]) == pytest.approx(5 / (20 * VOXEL))
    power = [float(row["power_a"]) for row in rows]
    assert sum(power[5:]) / 6 == pytest.approx(values("a.mrc").var(), rel=0.1)
    assert Path("Spectrum/spectrum.png").read_bytes().startswith(b"\x89PNG")
    assert exit_code(["report", "Spectrum", *OFF]) == 0
    assert exit_code(["map", "spectrum", "--i", "stack.mrcs", "--o", "OfStack", *OFF]) == 0
    with Path("OfStack/spectrum.csv").open() as stream:
        assert len(list(csv.DictReader(stream))) == 13


def test_views_show_means_and_histograms(inside: Path) -> None:
    assert exit_code(["map", "views", "--i", "a.mrc", "b.mrc", "--o", "Views", *OFF]) == 0
    assert Path("Views/views.png").read_bytes().startswith(b"\x89PNG")
    assert "Means along the axes" in Path("Views/report.html").read_text()
    assert exit_code(["report", "Views", *OFF]) == 0


def test_a_binned_stack_and_map_have_their_new_pixel_size(inside: Path) -> None:
    assert exit_code(["map", "bin", "--i", "stack.mrcs", "--factor", "3", "--o", "small.mrcs", *OFF]) == 0
    reader = MrcStackReader("small.mrcs")
    assert (reader.count, reader.image_shape) == (7, (8, 10))
    assert reader.pixel_size == pytest.approx(3 * VOXEL)
    assert exit_code(["map", "bin", "--i", "a.mrc", "--o", "small.mrc", *OFF]) == 0
    header = read_header("small.mrc")
    assert header.size == (10, 10, 10)
    assert header.voxel_sizes == pytest.approx((2 * VOXEL,) * 3)
    assert header.origin == pytest.approx((3.4, 0.0, -1.7))


def test_cropping_moves_origin_and_start_so_that_viewers_overlay_it(inside: Path) -> None:
    assert (
        exit_code(["map", "crop", "--i", "b.mrc", "--size", "12", "10", "8", "--centre", "1", "0", "-2", "--o", "c.mrc", *OFF])
        == 0
    )
    header = read_header("c.mrc")
    start = (10 + 1 - 6, 10 - 5, 10 - 2 - 4)
    assert header.start == start
    assert header.origin == pytest.approx([VOXEL * one for one in start])
    x, y, z = start
    assert np.allclose(values("c.mrc"), values("b.mrc")[z : z + 8, y : y + 10, x : x + 12], atol=1e-6)
    assert exit_code(["map", "pad", "--i", "b.mrc", "--box", "26", "--o", "p.mrc", *OFF]) == 0
    assert read_header("p.mrc").start == (-3, -3, -3)
    assert np.allclose(values("p.mrc")[3:23, 3:23, 3:23], values("b.mrc"), atol=1e-6)


def test_resampling_and_reorienting(inside: Path) -> None:
    assert exit_code(["map", "resample", "--i", "a.mrc", "--voxel-size", "2.1", "--o", "r.mrc", *OFF]) == 0
    header = read_header("r.mrc")
    assert header.size == (16, 16, 16)
    assert header.voxel_sizes == pytest.approx((20 * VOXEL / 16,) * 3)
    assert values("r.mrc").mean() == pytest.approx(values("a.mrc").mean(), abs=1e-6)
    assert exit_code(["map", "reorient", "--i", "a.mrc", "--axes", "z,y,x", "--o", "t.mrc", *OFF]) == 0
    assert np.allclose(values("t.mrc"), values("a.mrc").transpose(2, 1, 0), atol=1e-6)
    assert exit_code(["map", "reorient", "--i", "a.mrc", "--axes", "-x,y,z", "--move", "1,0,0", "--o", "f.mrc", *OFF]) == 0
    assert np.allclose(values("f.mrc"), values("a.mrc")[:, :, ::-1], atol=1e-6)  # numpy's flip: one voxel beside ours


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["add", "--i", "a.mrc", "--o", "x.mrc"], 2, "one map and no number"),
        (["add", "--i", "a.mrc", "b.mrc", "--o", "a.mrc"], 2, "same file"),
        (["divide", "--i", "a.mrc", "--by", "0", "--o", "x.mrc"], 2, "divided by zero"),
        (["threshold", "--i", "a.mrc", "--o", "x.mrc"], 2, "no limit"),
        (["resample", "--i", "a.mrc", "--o", "x.mrc"], 2, "one of two numbers"),
        (["crop", "--i", "a.mrc", "--o", "x.mrc"], 2, "one of two options"),
        (["reorient", "--i", "a.mrc", "--axes", "x,y,y", "--o", "x.mrc"], 2, "no order of axes"),
        (["reorient", "--i", "a.mrc", "--move", "1,2", "--o", "x.mrc"], 2, "--move has 2 numbers"),
        (["segment", "--i", "a.mrc", "--level", "99", "--o", "X"], 3, "a.mrc: nothing lies above the level 99"),
        (["spectrum", "--i", "a.mrc", "stack.mrcs", "--o", "X"], 3, "differ in box"),
        (["bin", "--i", "a.mrc", "--factor", "30", "--o", "x.mrc"], 2, "cannot be binned"),
        (["statistics", "a.mrc", "--mask", "stack.mrcs"], 3, "stack of images"),
    ],
)
def test_wrong_use_is_told_and_nothing_is_written(inside: Path, words: list[str], code: int, message: str, capsys) -> None:
    assert exit_code(["map", *words, *OFF]) == code
    assert message in capsys.readouterr().err
    assert not Path("x.mrc").exists()
