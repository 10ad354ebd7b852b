"""postprocess.star and the EMDB's XML: round trips, RELION's own text, hostile files."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cryowalk.core.errors import InputError, SafetyRefusal
from cryowalk.data import Volume
from cryowalk.io.fsc_xml import read_fsc_xml, write_fsc_xml
from cryowalk.io.maps import read_map, read_mask, write_mask
from cryowalk.io.post_processing import PostProcessTable, read_postprocess, write_postprocess
from cryowalk.io.star import read_star

RELION = """
# RELION postprocess; version 3.1.3
# --i half1.mrc --auto_bfac --o pp

# version 30001

data_general

_rlnFinalResolution                               5.120000
_rlnBfactorUsedForSharpening                    -214.44806
_rlnUnfilteredMapHalf1                        half1.mrc
_rlnUnfilteredMapHalf2                        half2.mrc
_rlnParticleBoxFractionSolventMask                2.420385
_rlnMaskName                                  m.mrc
_rlnRandomiseFrom                                14.222222


# version 30001

data_fsc

loop_
_rlnSpectralIndex #1
_rlnResolution #2
_rlnAngstromResolution #3
_rlnFourierShellCorrelationCorrected #4
_rlnFourierShellCorrelationParticleMaskFraction #5
_rlnFourierShellCorrelationUnmaskedMaps #6
_rlnFourierShellCorrelationMaskedMaps #7
_rlnCorrectedFourierShellCorrelationPhaseRandomizedMaskedMaps #8
           0     0.001001   999.000000     1.000000     1.000000     1.000000     1.000000     1.000000
           1     0.007812   128.000000     0.999417     0.999967     0.999920     0.999990     0.999990
           2     0.015625    64.000000     0.998163     0.999932     0.999835     0.999967     0.999967

"""


def table(shells: int = 12) -> PostProcessTable:
    fall = torch.linspace(1, 0, shells, dtype=torch.float64)
    curves = {"unmasked": fall**2, "masked": fall, "randomised": fall**3, "corrected": fall**1.5}
    frequency = torch.arange(shells, dtype=torch.float64) / 64.0
    return PostProcessTable(
        frequency=frequency,
        curves=curves,
        logarithms={"original": -frequency, "weighted": (fall - 0.5).clamp_min(0).log()},
        resolution=6.25,
        b_factor=-88.5,
        names={"rlnUnfilteredMapHalf1": "a half1.mrc", "rlnMaskName": "None"},
        slope=-22.125,
    )


def test_a_table_survives_and_has_relions_blocks(tmp_path) -> None:
    path = tmp_path / "postprocess.star"
    one = table()
    write_postprocess(one, path)
    found = read_postprocess(path)
    torch.testing.assert_close(found.frequency, one.frequency, rtol=0, atol=1e-6)
    for name, curve in one.curves.items():
        torch.testing.assert_close(found.curves[name], curve, rtol=0, atol=1e-6)
    assert found.logarithms["weighted"][-1] == -99
    assert (found.resolution, found.b_factor, found.slope, found.randomised_from) == (6.25, -88.5, -22.125, None)
    assert found.names == one.names
    star = read_star(path)
    assert [block.name for block in star.blocks] == ["general", "fsc", "guinier"]
    assert star["fsc"].columns["rlnAngstromResolution"][:2] == ("999.000000", "64.000000")
    assert list(star["fsc"].columns)[:4] == [
        "rlnSpectralIndex",
        "rlnResolution",
        "rlnAngstromResolution",
        "rlnFourierShellCorrelationCorrected",
    ]


def test_relions_own_file_is_read(tmp_path) -> None:
    path = tmp_path / "pp.star"
    path.write_text(RELION)
    found = read_postprocess(path)
    assert (found.resolution, found.b_factor) == (5.12, -214.44806)
    assert found.randomised_from == pytest.approx(14.2222, abs=1e-4)
    assert found.frequency.tolist() == [0.0, 0.007812, 0.015625]
    assert found.curves["corrected"][1] == 0.999417
    assert found.names["rlnUnfilteredMapHalf2"] == "half2.mrc"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("_rlnFinalResolution ", "_rlnFinal "), "has no rlnFinalResolution"),
        (("5.120000", "good"), "rlnFinalResolution is “good”"),
        (("data_fsc", "data_curves"), "data_fsc"),
        (("0.999417", "7.5"), "rlnFourierShellCorrelationCorrected is “7.5”"),
        (("_rlnResolution ", "_rlnFrequency "), "no column rlnResolution"),
    ],
)
def test_wrong_tables_are_one_error(tmp_path, change, message) -> None:
    path = tmp_path / "pp.star"
    path.write_text(RELION.replace(*change))
    with pytest.raises(InputError, match=message):
        read_postprocess(path)


def test_unequal_curves_are_not_written(tmp_path) -> None:
    one = table()
    short = PostProcessTable(
        frequency=one.frequency, curves={**one.curves, "masked": torch.ones(3)}, resolution=1.0, b_factor=0.0
    )
    with pytest.raises(InputError, match="masked"):
        write_postprocess(short, tmp_path / "x.star")
    assert not list(tmp_path.iterdir())


@settings(max_examples=30, deadline=None)
@given(curve=st.lists(st.floats(-1, 1, allow_subnormal=False), min_size=1, max_size=30), title=st.text(max_size=20))
def test_any_curve_survives_as_xml(tmp_path_factory, curve, title) -> None:
    if any(ord(c) < 32 or 0xD800 <= ord(c) < 0xE000 or ord(c) in (0xFFFE, 0xFFFF, 0x7F) for c in title):
        title = "odd"
    path = tmp_path_factory.mktemp("xml") / "fsc.xml"
    frequency = [index / 128 for index in range(len(curve))]
    write_fsc_xml(frequency, curve, path, title=title)
    x, y = read_fsc_xml(path)
    assert x == pytest.approx(frequency, rel=1e-5)
    assert y == pytest.approx(curve, rel=1e-5, abs=1e-6)


def test_the_xml_is_the_form_of_the_emdb(tmp_path) -> None:
    path = tmp_path / "fsc.xml"
    write_fsc_xml([0.0, 0.0078125], [1.0, 0.999417], path, title="cryowalk")
    assert path.read_text().splitlines() == [
        '<fsc title="cryowalk" xaxis="Resolution (A-1)" yaxis="Correlation Coefficient">',
        "  <coordinate>", "    <x>0</x>", "    <y>1</y>", "  </coordinate>",
        "  <coordinate>", "    <x>0.0078125</x>", "    <y>0.999417</y>", "  </coordinate>",
        "</fsc>",
    ]  # fmt: skip


BOMB = '<?xml version="1.0"?><!DOCTYPE l [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;">]><fsc><coordinate><x>&b;</x><y>1</y></coordinate></fsc>'


def test_hostile_xml_is_refused(tmp_path) -> None:
    path = tmp_path / "fsc.xml"
    for text, error, message in (
        (BOMB, SafetyRefusal, "entities"),
        ("<fsc><coordinate>", InputError, "damaged"),
        ("<map/>", InputError, "holds <map>"),
        ("<fsc><coordinate><x>a</x><y>1</y></coordinate></fsc>", InputError, "is “a”"),
        ("<fsc><coordinate><x>1</x><y>nan</y></coordinate></fsc>", InputError, "is “nan”"),
        ("<fsc/>", InputError, "no points"),
    ):
        path.write_text(text)
        with pytest.raises(error, match=message):
            read_fsc_xml(path)
    for frequency, correlation in (([], []), ([0.1], [1, 0.5]), ([0.2, 0.1], [1, 1]), ([0.1], [float("nan")])):
        with pytest.raises(InputError):
            write_fsc_xml(frequency, correlation, tmp_path / "new.xml", title="")


def test_a_mask_keeps_its_values(tmp_path, generator) -> None:
    mask = Volume(voxels=torch.rand(6, 7, 8, generator=generator), voxel_size=1.7, origin=(3.0, 0.0, -1.0))
    write_mask(mask, tmp_path / "mask.mrc")
    found = read_mask(tmp_path / "mask.mrc")
    torch.testing.assert_close(found.voxels, mask.voxels)
    assert found.origin == mask.origin
    torch.testing.assert_close(read_map(tmp_path / "mask.mrc").voxels * 1.7, mask.voxels)
