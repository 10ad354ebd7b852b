"""What EPU's and SerialEM's files tell of an exposure."""

import pytest

from cryowalk.core.errors import InputError, SafetyRefusal
from cryowalk.io.acquisition import (
    exposure_key,
    find_shift_files,
    read_epu_shift,
    read_serialem_shift,
    shifts_of,
    template_position,
)

EPU = "FoilHole_1_Data_22_33_20240110_120000"
XML = (
    '<MicroscopeImage xmlns="http://schemas.datacontract.org/2004/07/Fei.SharedObjects"><microscopeData><optics>'
    '<BeamShift xmlns:a="http://schemas.datacontract.org/2004/07/Fei.Types"><a:_x>{}</a:_x><a:_y>-0.25</a:_y></BeamShift>'
    "</optics></microscopeData></MicroscopeImage>"
)


@pytest.mark.parametrize(
    ("name", "position"),
    [
        (f"{EPU}_fractions.tiff", "22_33"),
        (f"a/b/{EPU}_EER.eer", "22_33"),
        (f"X:\\frames\\{EPU}.mrc", "22_33"),
        ("grid1_0012_X+1Y-1-2.tif", "X+1Y-1-2"),
        ("grid1_0012_X0Y-1.mrc", "X0Y-1"),
        ("X1Y2-3_fractions.mrc", "X1Y2-3"),
        ("BOXY_1.mrc", None),
        ("micrograph.mrc", None),
    ],
)
def test_positions_stand_in_names(name, position):
    assert template_position(name) == position


def test_files_of_one_exposure_have_one_key():
    assert (
        len({exposure_key(f"{EPU}{ending}") for ending in ("_fractions.tiff", ".xml", "_EER.eer", "_Fractions.mrc", ".jpg")}) == 1
    )
    assert len({exposure_key(name) for name in ("a/mov_3.tif", "mov_3.tif.mdoc", "mov_3.mrc.mdoc", "mov_3_frames.mrc")}) == 1
    assert exposure_key("mov_3.tif") != exposure_key("mov_30.tif")


def test_shifts_are_read(tmp_path):
    (tmp_path / f"{EPU}.xml").write_text(XML.format("0.125"))
    assert read_epu_shift(tmp_path / f"{EPU}.xml") == (0.125, -0.25)
    files = find_shift_files([tmp_path])
    assert shifts_of([f"Movies/{EPU}_fractions.mrc", "other.mrc"], files) == [(0.125, -0.25), None]
    (tmp_path / "m_1.tif.mdoc").write_text("[FrameSet = 0]\nImageShift = 1.5 -2\nSubFramePath = D:\\m_1.tif\n")
    assert read_serialem_shift(tmp_path / "m_1.tif.mdoc", movie="m_1.tif") == (1.5, -2.0)
    with pytest.raises(InputError, match="different units"):
        shifts_of([f"{EPU}_fractions.mrc", "m_1.tif"], find_shift_files([tmp_path]))


def test_a_frame_set_is_found_by_its_movie(tmp_path):
    text = "".join(f"[FrameSet = {n}]\nImageShift = {n} 0\nSubFramePath = D:\\m_{n}.tif\n\n" for n in range(3))
    (tmp_path / "all.mdoc").write_text(text)
    assert read_serialem_shift(tmp_path / "all.mdoc", movie="m_2.tif") == (2.0, 0.0)
    assert read_serialem_shift(tmp_path / "all.mdoc", movie="m_7.tif") is None
    (tmp_path / "none.mdoc").write_text("[FrameSet = 0]\nTiltAngle = 1\n")
    assert read_serialem_shift(tmp_path / "none.mdoc") is None


@pytest.mark.agreement
def test_real_mdoc_files_tell_image_shifts(real_data):
    path = real_data / "tomo_meta/tomo_preprocessing/mdoc/TS_01.mrc.mdoc"
    from cryowalk.io.mdoc import read_mdoc

    movie = read_mdoc(path).images[0].get("SubFramePath")
    assert read_serialem_shift(path, movie=movie) == (-0.0108126, -0.121079)


@pytest.mark.parametrize(
    ("content", "error", "words"),
    [
        (XML.format("left"), InputError, "no beam shift"),
        (XML.format("nan"), InputError, "no beam shift"),
        ("<MicroscopeImage/>", InputError, "no beam shift"),
        ("<MicroscopeImage>", InputError, "damaged"),
        ("", InputError, "empty"),
        ('<!DOCTYPE x [<!ENTITY a "b">]><x>&a;</x>', SafetyRefusal, "document type"),
    ],
)
def test_damaged_xml_is_told(tmp_path, content, error, words):
    (tmp_path / f"{EPU}.xml").write_text(content)
    with pytest.raises(error, match=words):
        read_epu_shift(tmp_path / f"{EPU}.xml")


def test_damaged_shifts_and_folders_are_told(tmp_path):
    (tmp_path / "m.tif.mdoc").write_text("[FrameSet = 0]\nImageShift = 1.5\n")
    with pytest.raises(InputError, match=r"two numbers|ImageShift"):
        read_serialem_shift(tmp_path / "m.tif.mdoc")
    with pytest.raises(InputError, match="no such folder"):
        find_shift_files([tmp_path / "absent"])
