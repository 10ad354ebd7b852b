import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cryowalk.core.errors import InputError
from cryowalk.data.optics import Defocus, Optics
from cryowalk.data.tilt_series import TiltSeries
from cryowalk.io.mdoc import (
    Mdoc,
    MdocSection,
    axis_azimuth,
    axis_degrees,
    bare_name,
    earlier_dose,
    format_mdoc,
    mdoc_of_tilt_series,
    parse_mdoc,
    read_mdoc,
    tilt_series_of_mdoc,
    write_mdoc,
)

SERIALEM = """PixelSpacing = 1.35
Voltage = 300
Version = SerialEM Version 4.0.10
ImageFile = TS_01.mrc
ImageSize = 5760 4092

[T = SerialEM: Acquired on Krios           21-Nov-26  10:12:13 ]

[T =     Tilt axis angle = 85.3, binning = 1  spot = 8  camera = 0]

[ZValue = 0]
TiltAngle = 0.0022
StagePosition = -12.34 56.78
ExposureDose = 3.0
Defocus = -4.1
TargetDefocus = -4
SubFramePath = D:\\DoseFractions\\user name\\TS_01_000_0.0.tif
NumSubFrames = 8
DateTime = 21-Nov-26  10:12:13

[ZValue = 1]
TiltAngle = -3.0
ExposureDose = 3.2
TargetDefocus = -4.0
SubFramePath = D:\\DoseFractions\\user name\\TS_01_002_-3.0.tif
DateTime = 21-Nov-26  10:14:13

[ZValue = 2]
TiltAngle = 3.0
ExposureDose = 3.1
TargetDefocus = -4.0
SubFramePath = D:\\DoseFractions\\user name\\TS_01_001_3.0.tif
DateTime = 21-Nov-26  10:13:13
"""
OPTICS = Optics(pixel_size=1.35)


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_an_mdoc_of_serialem(tmp_path, end):
    (tmp_path / "TS_01.mrc.mdoc").write_text(SERIALEM.replace("\n", end))
    mdoc = read_mdoc(tmp_path / "TS_01.mrc.mdoc")
    assert mdoc.settings["ImageSize"] == "5760 4092"
    assert len(mdoc.titles) == 2
    assert [image.value for image in mdoc.images] == ["0", "1", "2"]
    assert mdoc.images[0].get("StagePosition") == "-12.34 56.78"
    assert mdoc.images[0].get("Nothing") is None
    series = tilt_series_of_mdoc(mdoc, optics=OPTICS)
    assert series.name == "TS_01"
    torch.testing.assert_close(series.tilt_angle.rad2deg(), torch.tensor([0.0022, -3.0, 3.0], dtype=torch.float64))
    assert series.order.tolist() == [0, 2, 1]
    torch.testing.assert_close(series.dose_before, torch.tensor([0.0, 6.1, 3.0], dtype=torch.float64))
    assert series.defocus.major.tolist() == [40000.0] * 3
    assert series.movie_names[1] == "TS_01_002_-3.0.tif"
    assert series.tilt_axis == pytest.approx(math.radians(85.3 + 90))
    assert series.by_tilt().order.tolist() == [2, 0, 1]


def test_written_and_read_again_is_the_same(tmp_path):
    mdoc = parse_mdoc(SERIALEM)
    write_mdoc(mdoc, tmp_path / "a.mdoc")
    again = read_mdoc(tmp_path / "a.mdoc")
    assert [(s.kind, s.value, s.entries) for s in again.sections] == [(s.kind, s.value, s.entries) for s in mdoc.sections]
    write_mdoc(again, tmp_path / "b.mdoc")
    assert (tmp_path / "a.mdoc").read_bytes() == (tmp_path / "b.mdoc").read_bytes()


TEXT = st.text(st.characters(blacklist_categories=("Cs", "Cc", "Zl", "Zp", "Zs")), max_size=12)
KEYS = st.from_regex(r"[A-Za-z][A-Za-z0-9_.]{0,8}", fullmatch=True)
ENTRIES = st.lists(st.tuples(KEYS, TEXT), max_size=5).map(tuple)


KINDS = st.from_regex(r"[A-Za-z][A-Za-z0-9_]{0,6}", fullmatch=True)


@settings(max_examples=100, deadline=None)
@given(first=ENTRIES, others=st.lists(st.tuples(KINDS, TEXT.filter(lambda text: "]" not in text), ENTRIES), max_size=5))
def test_any_sections_survive(first, others):
    whole = [MdocSection(entries=first)] if first else []
    whole += [MdocSection(kind=kind, value=value, entries=entries) for kind, value, entries in others]
    if not whole:
        return
    again = parse_mdoc(format_mdoc(Mdoc(sections=tuple(whole))))
    assert [(s.kind, s.value, s.entries) for s in again.sections] == [(s.kind, s.value, s.entries) for s in whole]


@settings(max_examples=200, deadline=None)
@given(text=st.text(max_size=80))
def test_any_text_is_read_or_refused_by_an_error_of_ours(text):
    try:
        parse_mdoc(text)
    except InputError:
        return


def test_our_series_comes_back():
    angles = torch.tensor([0.0, 3.0, -3.0, 6.0], dtype=torch.float64).deg2rad()
    zeros = torch.zeros(4, dtype=torch.float64)
    major = torch.tensor([30000.0, 31000.0, 32000.0, 29000.5], dtype=torch.float64)
    series = TiltSeries(
        name="TS_7",
        optics=OPTICS,
        tilt_angle=angles,
        dose=torch.tensor([3.0, 3.5, 4.0, 3.0], dtype=torch.float64),
        order=torch.tensor([2, 0, 1, 3]),
        tilt_axis=1.2,
        defocus=Defocus(major=major, minor=major, azimuth=zeros, phase_shift=zeros),
        movie_names=("frames/a b.eer", "frames/b.eer", "c.eer", "d.eer"),
    )
    text = format_mdoc(mdoc_of_tilt_series(series, image_size=(4096, 4096)))
    assert "SubFramePath = X:\\frames\\a b.eer" in text
    again = tilt_series_of_mdoc(parse_mdoc(text), optics=OPTICS, name="TS_7")
    torch.testing.assert_close(again.tilt_angle, angles, rtol=0, atol=1e-10)
    torch.testing.assert_close(again.dose, series.dose)
    assert again.order.tolist() == [2, 0, 1, 3]
    torch.testing.assert_close(again.dose_before, torch.tensor([7.5, 0.0, 3.5, 10.5], dtype=torch.float64))
    torch.testing.assert_close(again.defocus.major, major, rtol=0, atol=1e-4)
    assert again.tilt_axis == pytest.approx(1.2, abs=1e-6)
    assert again.movie_names == ("a b.eer", "b.eer", "c.eer", "d.eer")


def test_other_programs_find_the_order_by_the_times_and_the_dose_before_each():
    order, before = torch.tensor([2, 0, 1, 61]), torch.tensor([6.0, 0.0, 3.0, 183.0], dtype=torch.float64)
    angles = torch.tensor([-3.0, 0.0, 3.0, 6.0], dtype=torch.float64).deg2rad()
    series = TiltSeries(
        name="TS_1",
        optics=OPTICS,
        tilt_angle=angles,
        dose=torch.full((4,), 3.0, dtype=torch.float64),
        dose_before=before,
        order=order,
    )
    images = mdoc_of_tilt_series(series, image_size=(8, 8)).images
    assert [one.get("DateTime") for one in images] == [
        "01-Jan-2000  00:02:00",
        "01-Jan-2000  00:00:00",
        "01-Jan-2000  00:01:00",
        "01-Jan-2000  01:01:00",
    ]
    assert [one.get("PriorRecordDose") for one in images] == ["6", "0", "3", "183"]
    foreign = "\n".join(
        line for line in format_mdoc(mdoc_of_tilt_series(series, image_size=(8, 8))).split("\n") if "cryowalkOrder" not in line
    )
    assert tilt_series_of_mdoc(parse_mdoc(foreign), optics=OPTICS).order.tolist() == [2, 0, 1, 3]


def test_small_things():
    assert bare_name(r"D:\a b\c.tif") == bare_name("/x/y/c.tif") == bare_name("c.tif") == "c.tif"
    assert axis_degrees(axis_azimuth(-12.5)) == pytest.approx(-12.5)
    assert axis_azimuth(0.0) == pytest.approx(math.pi / 2)  # along y
    torch.testing.assert_close(
        earlier_dose(torch.tensor([1.0, 2.0, 4.0]), torch.tensor([1, 2, 0])), torch.tensor([4.0, 5.0, 0.0])
    )


def test_without_doses_times_or_axis(tmp_path):
    series = tilt_series_of_mdoc(
        parse_mdoc("[ZValue = 0]\nTiltAngle = 1\n[ZValue = 1]\nTiltAngle = 2\nExposureDose = 3"), optics=OPTICS
    )
    assert (series.dose, series.dose_before, series.defocus, series.tilt_axis, series.movie_names) == (None, None, None, None, ())
    assert series.order.tolist() == [0, 1]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("PixelSpacing 1.35", "neither a heading"),
        ("[ZValue = 0\nTiltAngle = 1", "neither a heading"),
        ("data_x\n\nloop_", "neither a heading"),
        ("[ZValue = 0]\nTiltAngle = abc", "TiltAngle is “abc”"),
        ("[ZValue = 0]\nTiltAngle = nan", "TiltAngle is “nan”"),
        ("[ZValue = 0]\nTiltAngle =", "TiltAngle is “”"),
        ("[ZValue = 0]\nDefocus = 1", "has no TiltAngle"),
        ("PixelSpacing = 1", "tells of no images"),
        ("\n \n", "empty|no sections"),
    ],
)
def test_wrong_files_are_one_error(tmp_path, text, message):
    path = tmp_path / "bad.mdoc"
    path.write_text(text)
    with pytest.raises(InputError, match=message) as caught:
        tilt_series_of_mdoc(read_mdoc(path), optics=OPTICS)
    assert "bad.mdoc" in str(caught.value)


@pytest.mark.parametrize("entry", [("a=b", "1"), ("", "1"), ("[a", "1"), ("a", "1\n2"), ("a", " 1")])
def test_what_cannot_stand_in_a_line_is_refused(entry):
    with pytest.raises(InputError, match="cannot stand"):
        format_mdoc(Mdoc(sections=(MdocSection(kind="ZValue", value="0", entries=(entry,)),)))
