import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cryowalk.core.errors import InputError
from cryowalk.data.camera import Response
from cryowalk.io.mtf import read_mtf, write_mtf

RELION = """
data_

loop_
_rlnResolutionInversePixel #1
_rlnMtfValue #2
 0.000000     1.000000
 0.250000     0.733260
 0.500000     0.350000
"""


def test_a_curve_as_relion_has_it(tmp_path):
    (tmp_path / "mtf.star").write_text(RELION)
    assert read_mtf(tmp_path / "mtf.star") == Response(frequency=(0.0, 0.25, 0.5), value=(1.0, 0.73326, 0.35))


@settings(max_examples=50, deadline=None)
@given(
    points=st.lists(st.floats(0, 0.5, allow_subnormal=False), min_size=2, max_size=20, unique=True),
    falls=st.lists(st.floats(0, 1, allow_subnormal=False), min_size=20, max_size=20),
)
def test_any_curve_survives(tmp_path_factory, points, falls):
    frequency = tuple(sorted(points))
    curve = Response(frequency=frequency, value=tuple(sorted(falls, reverse=True)[: len(frequency)]))
    path = tmp_path_factory.mktemp("mtf") / "m.star"
    write_mtf(curve, path)
    assert read_mtf(path) == curve


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("_rlnMtfValue", "_rlnDetectiveQuantumEfficiency"), "this is no modulation transfer curve"),
        (("_rlnResolutionInversePixel", "_rlnResolution"), "this is no modulation transfer curve"),
        (("0.500000     0.35", "x     0.35"), "rlnResolutionInversePixel is “x”"),
        (("0.733260", "nan"), "rlnMtfValue is “nan”"),
        (("0.733260", "73.3"), "rlnMtfValue is “73.3”"),
        (("0.500000     0.35", "0.100000     0.35"), "does not rise"),
        (("0.500000     0.35", "3.5     0.35"), "fractions of Nyquist"),
        (("1.000000\n", "0.1\n"), "rises from 0.1 to 0.35"),
        ((" 0.250000     0.733260\n 0.500000     0.350000\n", ""), "1 points"),
    ],
)
def test_wrong_files_are_one_error(tmp_path, change, message):
    path = tmp_path / "bad.star"
    path.write_text(RELION.replace(*change))
    with pytest.raises(InputError, match=message) as caught:
        read_mtf(path)
    assert "bad.star" in str(caught.value)


def test_curves_that_are_none_are_not_written(tmp_path):
    for wrong in (Response(frequency=(), value=()), Response(frequency=(0.0, 0.5), value=(1.0,))):
        with pytest.raises(InputError, match="cannot be written"):
            write_mtf(wrong, tmp_path / "m.star")
