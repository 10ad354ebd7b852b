"""IMOD's and AreTomo's alignments as poses: closed forms, and both ways."""

import math

import pytest
import torch
from text_samples import ALN, COM, LOG, WARP, XF

from cryowalk.core.errors import InputError
from cryowalk.data.optics import Defocus, Optics
from cryowalk.data.tilt_series import TiltSeries
from cryowalk.geometry.rotations import matrix_from_euler
from cryowalk.io.aretomo import read_aretomo
from cryowalk.io.ctf_tables import CtfTable, with_ctf
from cryowalk.io.imod import (
    AngleList,
    Transforms,
    pose_from_transforms,
    read_transforms,
    tilt_axes,
    tilts_from_pose,
    transforms_from_pose,
    with_alignment,
    write_transforms,
)
from cryowalk.io.imod_com import read_com, write_com
from cryowalk.io.imod_logs import read_alignment_log
from cryowalk.io.warp import read_warp

PIXEL = 1.7


def rotation(angle):
    return torch.tensor([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]], dtype=torch.float64)


def random_transforms(generator, count=9):
    """Transforms that stand tilt axes upright which lie at random angles, with random shifts."""
    angle = (torch.rand(count, generator=generator, dtype=torch.float64) - 0.5) * 6
    matrices = torch.stack([rotation(-float(one)) for one in angle])
    return angle, Transforms(matrices=matrices, shifts=torch.randn(count, 2, generator=generator, dtype=torch.float64) * 20)


def test_a_point_of_the_specimen_is_seen_where_the_aligned_image_puts_it(generator):
    """A specimen point, tilted about y and projected, lies in the aligned image at X'; the raw image shows it at A⁻¹(X' − D): our pose."""
    angle, transforms = random_transforms(generator)
    tilt = torch.linspace(-1, 1, 9, dtype=torch.float64)
    pose = pose_from_transforms(transforms, tilt, pixel_size=PIXEL)
    torch.testing.assert_close(tilt_axes(transforms), angle)
    point = torch.randn(3, generator=generator, dtype=torch.float64) * 100
    x = point[0] * torch.cos(tilt) + point[2] * torch.sin(tilt)
    aligned = torch.stack((x, point[1].expand(9)), dim=-1)
    raw = torch.linalg.solve(transforms.matrices, aligned / PIXEL - transforms.shifts) * PIXEL
    seen = (pose.lab_from_particle @ point)[:, :2] + pose.shift
    torch.testing.assert_close(seen, raw)


def test_the_angle_is_that_of_relions_import(generator):
    """RELION takes ± acos(A11) with the sign of the nominal axis; the sign is that of A12."""
    angle, transforms = random_transforms(generator)
    a11, a12 = transforms.matrices[:, 0, 0], transforms.matrices[:, 0, 1]
    torch.testing.assert_close(tilt_axes(transforms), torch.acos(a11) * torch.sign(a12))
    scaled = Transforms(matrices=transforms.matrices * 1.02, shifts=transforms.shifts)
    torch.testing.assert_close(tilt_axes(scaled), angle)


def test_poses_become_transforms_and_come_back(generator):
    _, transforms = random_transforms(generator)
    tilt, across = torch.linspace(-1, 1, 9, dtype=torch.float64), torch.linspace(-0.1, 0.2, 9, dtype=torch.float64)
    pose = pose_from_transforms(transforms, tilt, pixel_size=PIXEL, x_tilt=across)
    again = transforms_from_pose(pose, pixel_size=PIXEL)
    torch.testing.assert_close(again.matrices, transforms.matrices)
    torch.testing.assert_close(again.shifts, transforms.shifts)
    about_axis, about_x = tilts_from_pose(pose)
    torch.testing.assert_close(about_axis.angles, tilt)
    torch.testing.assert_close(about_x.angles, across)
    assert about_x.about == "x"
    expected = matrix_from_euler(torch.stack((tilt_axes(transforms), tilt, across), dim=-1), order="ZYX")
    torch.testing.assert_close(pose.lab_from_particle, expected)


def test_a_series_takes_an_alignment(tmp_path):
    (tmp_path / "a.xf").write_text(XF)
    transforms = read_transforms(tmp_path / "a.xf")
    series = TiltSeries(name="a", optics=Optics(pixel_size=PIXEL), tilt_angle=torch.tensor([0.1, 0.2], dtype=torch.float64))
    aligned = with_alignment(series, transforms, x_tilt=AngleList(angles=torch.zeros(2, dtype=torch.float64), about="x"))
    assert aligned.pose.shift[0].tolist() == pytest.approx(
        (-torch.linalg.solve(transforms.matrices[0], transforms.shifts[0]) * PIXEL).tolist()
    )
    with pytest.raises(InputError, match="2 transforms are given for 1 images"):
        with_alignment(series[[0]], transforms)
    with pytest.raises(InputError, match="3 tilt angles"):
        pose_from_transforms(transforms, torch.zeros(3), pixel_size=1.5)
    with pytest.raises(InputError, match="not finite"):
        write_transforms(Transforms(matrices=transforms.matrices * math.nan, shifts=transforms.shifts), tmp_path / "b.xf")
    zero = torch.zeros(1, dtype=torch.float64)
    table = CtfTable(
        names=("1",),
        defocus=Defocus(major=zero, minor=zero, azimuth=zero, phase_shift=zero),
        merit=torch.zeros(1),
        fitted_to=torch.zeros(1),
    )
    with pytest.raises(InputError, match="1 CTFs are given for 2 images"):
        with_ctf(series, table)


def test_numbers_that_need_more_digits_get_them(tmp_path, generator):
    _, transforms = random_transforms(generator)
    write_transforms(transforms, tmp_path / "a.xf")
    again = read_transforms(tmp_path / "a.xf")
    assert torch.equal(again.matrices, transforms.matrices)
    assert torch.equal(again.shifts, transforms.shifts)


def test_aretomo_says_the_same_as_its_transforms(tmp_path):
    (tmp_path / "a.aln").write_text(ALN)
    found = read_aretomo(tmp_path / "a.aln")
    direct, by_imod = found.pose(pixel_size=PIXEL), pose_from_transforms(found.transforms(), found.tilt_angle, pixel_size=PIXEL)
    torch.testing.assert_close(direct.lab_from_particle, by_imod.lab_from_particle)
    torch.testing.assert_close(direct.shift, by_imod.shift)
    assert direct.shift[0].tolist() == pytest.approx([24.786 * PIXEL, -2.677 * PIXEL])
    assert math.degrees(found.alpha_offset) == pytest.approx(1.5)
    assert math.degrees(found.dark[0].tilt_angle) == pytest.approx(-66)
    assert dict(found.settings) == {"Thickness": "300"}


def test_commands_keep_their_lines(tmp_path):
    (tmp_path / "tilt.com").write_bytes(COM.replace("\n", "\r\n").encode())
    com = read_com(tmp_path / "tilt.com")
    assert [one.program for one in com.commands] == ["setenv", "tilt", "if"]
    assert (com.get("thickness"), com.get("PERPENDICULAR"), com.get("nothing")) == ("2000", "", None)
    assert com.numbers("FULLIMAGE") == (3708, 3832)
    assert com.views() == (1, 2, 3, 7)
    changed = com.with_value("THICKNESS", "1500").with_value("EXCLUDELIST", "5")
    write_com(changed, tmp_path / "b.com")
    expected = COM.replace("2000", "1500").replace("1-3,7", "5").replace("\n", "\r\n").encode()
    assert (tmp_path / "b.com").read_bytes() == expected
    assert changed.views() == (5,)
    for key, value, message in (("nothing", "1", "cannot be set"), ("THICKNESS", "1\n2", "cannot be set")):
        with pytest.raises(InputError, match=message):
            com.with_value(key, value)
    with pytest.raises(InputError, match=r"line 3: INPUTPROJECTIONS is “a_ali\.mrc”"):
        com.numbers("INPUTPROJECTIONS")
    with pytest.raises(InputError, match="EXCLUDELIST holds “9-1”"):
        com.with_value("EXCLUDELIST", "9-1").views()


def test_the_last_solution_of_a_log_counts(tmp_path):
    (tmp_path / "align.log").write_text(LOG.replace("-47.4", "-40.0") + LOG)
    log = read_alignment_log(tmp_path / "align.log")
    assert torch.rad2deg(log.tilt_angle).tolist() == pytest.approx([-47.4, -44.4])
    assert log.residual.tolist() == pytest.approx([7.0, 5.1])
    assert (math.degrees(log.angle_offset), math.degrees(log.beam_tilt)) == pytest.approx((9.02, 0.14))
    assert (log.residual_mean, log.residual_deviation) == pytest.approx((3.6, 4.57))


def test_warps_units(tmp_path):
    (tmp_path / "a.xml").write_text(WARP)
    found = read_warp(tmp_path / "a.xml")
    assert found.defocus.major.tolist() == pytest.approx([30000, 31000, 32000])
    assert found.defocus.minor.tolist() == pytest.approx([28000, 29000, 30000])
    assert torch.rad2deg(found.defocus.azimuth).tolist() == pytest.approx([30] * 3)
    assert found.defocus.phase_shift.tolist() == pytest.approx([math.pi / 2] * 3)
    assert found.is_used.tolist() == [True, False, True]
    assert found.movie_names == ("a.mrc", "b.mrc", "c & d.mrc")
    series = found.tilt_series()
    assert (series.optics.pixel_size, len(series), series.dose_before.tolist()) == (1.5, 3, [6, 0, 3])
    assert math.degrees(series.tilt_axis) == pytest.approx(175)
    frames = WARP.replace("TiltSeries", "Movie").replace("<Angles>-3\n0\n3</Angles>", "")
    (tmp_path / "b.xml").write_text(frames)
    movie = read_warp(tmp_path / "b.xml")
    assert (movie.kind, movie.defocus.major.tolist()) == ("frame series", [31000.0])
    with pytest.raises(InputError, match="no tilt series"):
        movie.tilt_series()
