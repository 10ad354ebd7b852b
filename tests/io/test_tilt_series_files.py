import dataclasses
import math

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from cryowalk.core.errors import InputError
from cryowalk.data.optics import Defocus, Optics
from cryowalk.data.pose import Pose
from cryowalk.data.tilt_series import TiltSeries
from cryowalk.io.star import read_star
from cryowalk.io.tilt_series_files import (
    holds_tilt_series,
    lab_from_specimen,
    read_angles,
    read_tilt_series,
    tilts_of,
    with_angles,
    write_angles,
    write_tilt_series,
)


def series(name="TS_01", tilts=5, *, seed=1, aligned=True) -> TiltSeries:
    g = torch.Generator().manual_seed(seed)
    angle = torch.linspace(-60, 60, tilts, dtype=torch.float64).deg2rad()
    order = torch.randperm(tilts, generator=g)
    major = 30000 + 1000 * torch.rand(tilts, generator=g, dtype=torch.float64)
    small = 0.05 * torch.randn(tilts, 3, generator=g, dtype=torch.float64)
    return TiltSeries(
        name=name,
        optics=Optics(pixel_size=2.7, micrograph_pixel_size=1.35, amplitude_contrast=0.07, name="og", voltage_kv=300.0),
        tilt_angle=angle,
        pose=Pose(
            lab_from_particle=lab_from_specimen(small + torch.stack((angle * 0, angle, angle * 0 + 1.4), -1)),
            shift=20 * torch.randn(tilts, 2, generator=g, dtype=torch.float64),
        )
        if aligned
        else None,
        defocus=Defocus(major=major, minor=major - 100, azimuth=major / 1e4 - 3, phase_shift=torch.zeros_like(major)),
        dose_before=3.0 * order,
        dose=torch.full((tilts,), 3.0, dtype=torch.float64),
        order=order,
        tilt_axis=1.4 + math.pi / 2,
        image_names=tuple(f"mic/{name} {i}.mrc" for i in range(tilts)),
        movie_names=tuple(f"frames/{i}.eer" for i in range(tilts)),
        extra={"rlnCtfMaxResolution": tuple(f"{i}.50" for i in range(tilts)), "rlnUnknown": ("007",) * tilts},
        settings={"rlnTomoHand": "-1", "rlnTomoSizeX": "4096"},
        column_order=("rlnUnknown", "rlnMicrographMovieName"),
    )


def assert_same(one: TiltSeries, other: TiltSeries):
    for name in ("tilt_angle", "dose_before", "dose", "order"):
        torch.testing.assert_close(getattr(one, name), getattr(other, name), rtol=0, atol=1e-7, check_dtype=False)
    for name in ("name", "optics", "image_names", "movie_names", "extra", "settings"):
        assert getattr(one, name) == getattr(other, name), name
    assert one.tilt_axis == pytest.approx(other.tilt_axis, abs=1e-7)
    torch.testing.assert_close(one.defocus.major, other.defocus.major, rtol=0, atol=1e-6)
    assert (one.pose is None) == (other.pose is None)
    if one.pose is not None:
        torch.testing.assert_close(one.pose.lab_from_particle, other.pose.lab_from_particle, rtol=0, atol=1e-7)
        torch.testing.assert_close(one.pose.shift, other.pose.shift, rtol=0, atol=1e-6)


@pytest.mark.parametrize("aligned", [True, False])
def test_written_and_read_again_is_the_same(tmp_path, aligned):
    made = (series(aligned=aligned), series("TS_02", 4, seed=2, aligned=aligned))
    write_tilt_series(made, tmp_path / "tilt_series.star")
    star = read_star(tmp_path / "tilt_series.star")
    assert holds_tilt_series(star)
    assert star["global"].columns["rlnTomoTiltSeriesStarFile"] == ("tilt_series/TS_01.star", "tilt_series/TS_02.star")
    again = read_tilt_series(tmp_path / "tilt_series.star")
    for one, other in zip(made, again, strict=True):
        assert_same(one, other)
    (tmp_path / "b").mkdir()
    write_tilt_series(again, tmp_path / "b" / "tilt_series.star")
    for name in ("tilt_series.star", "tilt_series/TS_01.star"):
        assert (tmp_path / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_the_turns_are_those_that_relion_composes():
    """x_lab = Rz Ry Rx x, angles about fixed axes by the right-hand rule, on a point that no other order takes to the same place."""
    x, y, z = 0.1, 0.7, 1.5
    expected = (Rotation.from_euler("z", z) * Rotation.from_euler("y", y) * Rotation.from_euler("x", x)).as_matrix()
    ours = lab_from_specimen(torch.tensor([x, y, z], dtype=torch.float64))
    np.testing.assert_allclose(ours, expected, atol=1e-12)
    torch.testing.assert_close(tilts_of(ours), torch.tensor([x, y, z], dtype=torch.float64))


def test_the_tilt_axis_stays_where_it_is():
    """The specimen's y axis is the tilt axis: at every tilt it lies in the image at the azimuth that the series tells."""
    made = series()
    tilts = torch.stack((made.tilt_angle * 0, made.tilt_angle, made.tilt_angle * 0 + 1.4), -1)
    axis = lab_from_specimen(tilts)[:, :, 1]
    torch.testing.assert_close(axis[:, 2], torch.zeros(5, dtype=torch.float64), atol=1e-12, rtol=0)
    azimuth = torch.atan2(axis[:, 1], axis[:, 0])
    torch.testing.assert_close(azimuth, torch.full_like(azimuth, made.tilt_axis), atol=1e-9, rtol=0)


def test_selecting_keeps_images_together():
    made = series()
    some = made[torch.tensor([3, 0])]
    assert (len(some), some.order.tolist(), some.extra["rlnCtfMaxResolution"]) == (
        2,
        made.order[[3, 0]].tolist(),
        ("3.50", "0.50"),
    )
    assert made[made.tilt_angle > 0].image_names == made.image_names[3:]
    assert made[::2].movie_names == made.movie_names[::2]
    assert torch.equal(some.by_tilt().tilt_angle, made.tilt_angle[[0, 3]])


def test_order_from_the_dose_where_it_is_not_told(tmp_path):
    write_tilt_series([dataclasses.replace(series(), order=None, dose=None)], tmp_path / "a.star")
    assert read_tilt_series(tmp_path / "a.star")[0].order.tolist() == series().order.tolist()


def test_angles_there_and_back(tmp_path):
    angles = torch.tensor([-60.0, -57.5, 0.0, 3.0002], dtype=torch.float64).deg2rad()
    write_angles(angles, tmp_path / "a.rawtlt")
    assert (tmp_path / "a.rawtlt").read_text() == "-60.0\n-57.5\n0.0\n3.0002\n"
    torch.testing.assert_close(read_angles(tmp_path / "a.rawtlt"), angles, rtol=0, atol=1e-9)
    assert torch.equal(with_angles(series(tilts=4), angles).tilt_angle, angles)
    with pytest.raises(InputError, match="4 angles are given for 5 images"):
        with_angles(series(), angles)
    for text in ("1\nx\n", "1\nnan\n", "1 2\n", "400\n"):
        (tmp_path / "bad.tlt").write_text(text)
        with pytest.raises(InputError, match=r"bad\.tlt, line \d: .* is no tilt angle"):
            read_angles(tmp_path / "bad.tlt")


@pytest.mark.parametrize(
    ("file", "change", "message"),
    [
        ("a.star", ("data_global", "data_other"), "no table of tilt series"),
        ("a.star", ("rlnTomoName", "rlnOther"), "no column rlnTomoName"),
        ("a.star", ("tilt_series/TS_01.star", "tilt_series/TS_09.star"), "is not there"),
        ("a.star", ("300.0", "300000"), "volts in place"),
        ("tilt_series/TS_01.star", ("data_TS_01", "data_TS_02\n\n_rlnA 1\n\ndata_TS_03"), "no rows for the tilt series"),
        ("tilt_series/TS_01.star", ("-60.000000", "-600.0"), "rlnTomoNominalStageTiltAngle is “-600.0”"),
        ("tilt_series/TS_01.star", ("rlnTomoNominalStageTiltAngle", "rlnX"), None),
    ],
)
def test_wrong_files_are_one_error(tmp_path, file, change, message):
    write_tilt_series([series()], tmp_path / "a.star")
    (tmp_path / file).write_text((tmp_path / file).read_text().replace(*change))
    if message is None:  # the refined tilts stand for the nominal ones
        torch.testing.assert_close(read_tilt_series(tmp_path / "a.star")[0].tilt_angle, series().tilt_angle, rtol=0, atol=0.2)
        return
    with pytest.raises(InputError, match=message) as caught:
        read_tilt_series(tmp_path / "a.star")
    assert str(tmp_path) in str(caught.value)


@pytest.mark.parametrize("names", [(), ("a", "a"), ("a/b",), ("",), ("..",), ("a b",)])
def test_names_that_cannot_be_are_refused(tmp_path, names):
    with pytest.raises(InputError, match="tilt series"):
        write_tilt_series([series(name) for name in names], tmp_path / "a.star")
    assert not list(tmp_path.iterdir())
