"""Every small format: known by content, read, told of, written and read again; and whatever is done to the bytes, one error of ours."""

import contextlib
import gzip
import random
import warnings

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from text_samples import SAMPLES, STAR_SAMPLES

import cryowalk as cw
from cryowalk.core.errors import CryowalkError, InputError
from cryowalk.io import describe, faults
from cryowalk.io.kinds import kind_of
from cryowalk.io.star import parse_star
from cryowalk.io.star_kinds import star_kind
from cryowalk.io.text_formats import STAR_FORMATS, TEXT_FORMATS, text_format

NOT_WRITTEN = {"pipeline"}  # `cryowalk pipeline` keeps RELION's record, under RELION's lock


def content(sample) -> bytes:
    return sample if isinstance(sample, bytes) else sample.encode()


def equal(first, second) -> bool:
    """Whether two things are the same, tensor by tensor, wherever they come from."""
    if isinstance(first, torch.Tensor):
        return torch.allclose(first, second, rtol=0, atol=1e-9, equal_nan=True)
    if hasattr(first, "__dataclass_fields__"):
        names = [name for name in first.__dataclass_fields__ if name not in ("path", "comments", "line", "lines", "column_order")]
        return type(first) is type(second) and all(equal(getattr(first, name), getattr(second, name)) for name in names)
    if isinstance(first, dict):
        return list(first) == list(second) and all(equal(first[key], second[key]) for key in first)
    if isinstance(first, tuple):
        return len(first) == len(second) and all(map(equal, first, second))
    if isinstance(first, float):
        return first == pytest.approx(second, rel=1e-12, abs=1e-12)
    return first == second


@pytest.mark.parametrize("name", SAMPLES)
def test_each_is_known_told_of_and_comes_back(tmp_path, name):
    path, again = tmp_path / name, tmp_path / f"again_{name}" if "." in name else tmp_path / "again"
    path.write_bytes(content(SAMPLES[name]))
    thing = cw.read(path)
    description = describe(path)
    assert description.words
    assert description.as_dict()["kind"] == description.kind
    assert not [fault for fault in faults(path) if fault.is_serious]
    if name.endswith((".box", ".cbox")):
        cw.io.write_coordinates(thing, again, box=64)
    else:
        cw.write(thing, again)
    back = cw.read(again) if name != "analyse_projections.dat" else cw.io.read_body_projections(again)
    assert equal(thing, back)


@pytest.mark.parametrize("kind", STAR_SAMPLES)
def test_each_star_table_is_known_told_of_and_comes_back(tmp_path, kind):
    path = tmp_path / "a.star"
    path.write_text(STAR_SAMPLES[kind])
    assert star_kind(parse_star(STAR_SAMPLES[kind])) == kind
    thing = cw.read(path)
    assert describe(path).kind == STAR_FORMATS[kind].words
    assert describe(path).words
    assert not [fault for fault in faults(path) if fault.is_serious]
    if kind in NOT_WRITTEN:
        return
    cw.write(thing, tmp_path / "b.star")
    assert equal(cw.read(tmp_path / "b.star"), thing)


def test_the_samples_cover_every_format(tmp_path):
    known = set()
    for name, sample in SAMPLES.items():
        (tmp_path / name).write_bytes(content(sample))
        if kind_of(tmp_path / name) == "text":
            known.add(text_format(tmp_path / name).words)
    assert known == {one.words for one in TEXT_FORMATS.values()}
    assert set(STAR_SAMPLES) == set(STAR_FORMATS)


@pytest.mark.parametrize("name", ["a.xf", "a.aln", "a.txt", "a.tbl", "a.xml", "a.em"])
def test_compressed_files_are_the_same(tmp_path, name):
    (tmp_path / name).write_bytes(content(SAMPLES[name]))
    (tmp_path / f"{name}.gz").write_bytes(gzip.compress(content(SAMPLES[name])))
    assert equal(cw.read(tmp_path / name), cw.read(tmp_path / f"{name}.gz"))


@pytest.mark.parametrize(
    "name", ["a.xf", "a.aln", "a.txt", "b.txt", "a_avrot.txt", "tilt.com", "a.tbl", "analyse_eigenvectors.dat", "fsc.xml"]
)
def test_what_other_programs_wrote_is_written_byte_for_byte(tmp_path, name):
    (tmp_path / name).write_bytes(content(SAMPLES[name]))
    cw.write(cw.read(tmp_path / name), tmp_path / f"again_{name}")
    assert (tmp_path / f"again_{name}").read_bytes() == content(SAMPLES[name])


@pytest.mark.parametrize(
    ("name", "old", "new", "message"),
    [
        ("a.xf", "22.751", "22,751", r"(?s)a\.xf, line 1: .*decimal comma"),
        ("a.xf", "-0.799", "", r"line 1: the row has 5 values"),
        ("a.xf", "0.9803793", "nan", r"line 2: .* is “nan”"),
        ("a.xf", "0.9803519  -0.1972494   0.1972494   0.9803519", "0 0 0 0", "line 1: the transform cannot be undone"),
        ("a.tlt", "57.5", "575", r"line 3: “575” is no tilt angle"),
        ("tilt.com", "$setenv", "setenv", "line 1: a line before the first program"),
        ("align.log", "85.2     -47.4", "85.2", "line 6: the row has 7 values"),
        ("align.log", " view ", " wiev ", "the log holds no table of views"),
        ("a.aln", "-61.50\n", "-61.50 3\n", "line 9: the row has 11 values"),
        ("a.aln", "100 90 5", "100 90", "line 2: RawSize is “100 90”"),
        ("a.aln", "  -66.00", "", "line 4: DarkFrame has 2 values"),
        ("a.aln", "24.43   1.0", "24.43", "line 12: the row has 6 values"),
        ("a.txt", "35846.542969", "", "line 6: the row has 6 values"),
        ("a.txt", "37034.929688", "370349290.688", "line 6: the defocus is 370349290.688"),
        ("a.txt", "1.400 Ang", "x Ang", "line 3: pixel size is “x”"),
        ("b.txt", "1619.773438", "thick", "line 5: .* is “thick”"),
        ("a_avrot.txt", "0.050000 0.050000 0.050000\n", "", "5 lines of numbers are no profiles"),
        ("a_avrot.txt", "1.000000 2.000000 3.000000", "1 2", "line 5: the row has 2 values"),
        ("a_gctf.log", "0.15432  Final", "Final", "line 5: the row has 3 values, the heading 4"),
        ("a_gctf.log", "4.25", "x", "line 6: RES_LIMIT is “x”"),
        ("a_EPA.log", "50.000000", "0", "line 2: the profile is empty, or a resolution is none"),
        ("a.xml", "<Dose>6", "<Dose>six", "Dose is “six”"),
        ("a.xml", 'Z="1" Value', 'Z="0" Value', "two nodes of GridCTF have one place"),
        ("a.xml", 'Depth="3"', 'Depth="300000000"', "Depth of GridCTF"),
        ("a.xml", "True\nFalse", "True\nMaybe", "UseTilt is “Maybe”"),
        ("a.xml", "</CTF>", "", "the XML is damaged: mismatched tag"),
        ("a.xml", "<TiltSeries", "<!DOCTYPE a [<!ENTITY b 'c'>]><TiltSeries", "document type or entities"),
        ("a.tbl", "0 11 12 13", "0 11 12", "line 2: the row has 25 values"),
        ("a.tbl", "0.4", "0.4x", "line 2: .* is “0.4x”"),
        ("analyse_eigenvectors.dat", "psi-body-1", "phi-body-1", "line 1: the first line names phi-body-1"),
        ("analyse_eigenvectors.dat", "-2.500000e-01", "", "line 2: the row has 5 values"),
        ("analyse_projections.dat", "3.0", "3.0 4", "line 2: the row has 3 values"),
        ("topaz.txt", "30\t40", "30", "line 3: the row has 3 values"),
        ("topaz.txt", "mic_b\t30", "mic_b\tthirty", "line 3: x_coord is “thirty”"),
        ("a.csv", "1.5,2", "1.5,2 3", "line 2: y is “2 3”"),
        ("a.coord", "10.5 20 3", "10.5", "line 2: the row has 1 values"),
        ("a.box", "64\t64", "0\t64", "line 1: the box is 0 × 64 px"),
        ("a.cbox", "64.0 64.0", "-1 64.0", "Width is “-1”"),
        ("a.em", b"\x05", b"\x07", "the header is not that of an EM file"),
    ],
)  # fmt: skip
def test_each_damage_is_one_error_that_names_file_and_line(tmp_path, name, old, new, message):
    damaged = content(SAMPLES[name]).replace(content(old), content(new), 1)
    assert damaged != content(SAMPLES[name])
    path = tmp_path / name
    path.write_bytes(damaged)
    with pytest.raises(CryowalkError, match=message) as caught:
        cw.read(path)
    assert name in str(caught.value)
    assert "Traceback" not in str(caught.value)
    assert caught.value.exit_code in (3, 5)


@pytest.mark.parametrize(
    ("kind", "old", "new", "message"),
    [
        ("bodies", "large.mrc 2", "large.mrc 9", "rlnBodyRotateRelativeTo is “9”"),
        ("bodies", "20 0", "20 x", "rlnBodySigmaOffset is “x”"),
        ("pipeline", "CtfFind/mine/ 2 0", "CtfFind/mine/ 2 7", "rlnPipeLineProcessStatus is “7”"),
        ("pipeline", "rlnPipeLineProcessName", "rlnOther", "no column rlnPipeLineProcessName"),
        ("job", "rlnJobIsContinue 1", "rlnJobIsContinue 5", "rlnJobIsContinue is “5”"),
        ("coordinate table", "3 4", "3 x", "rlnCoordinateY is “x”"),
        ("tomograms", "[0.5,0,0.25,10]", "[0.5,0,0.25]", "a row of a projection has not four numbers"),
        ("tomograms", "a.st 2 ", "a.st 3 ", "has 2 tilts, and rlnTomoFrameCount is 3"),
        ("tomograms", "_rlnTomoTiltSeriesPixelSize", "_rlnOther", "no pixel size"),
        ("tomogram particles", "100.5", "inf", "rlnCenteredCoordinateXAngst is “inf”"),
        ("trajectories", "rlnParticleNumber 1", "rlnParticleNumber 2", "there are 1 trajectories"),
        ("trajectories", "-2 0.25", "-2 x", "rlnOriginZAngst is “x”"),
    ],
)
def test_each_damage_of_a_star_table_is_one_error(tmp_path, kind, old, new, message):
    path = tmp_path / "a.star"
    assert old in STAR_SAMPLES[kind]
    path.write_text(STAR_SAMPLES[kind].replace(old, new, 1))
    with pytest.raises(InputError, match=message) as caught:
        cw.read(path)
    assert "a.star" in str(caught.value)


@pytest.mark.parametrize("name", ["a.xf", "a.tlt", "tilt.com", "a.aln", "a.tbl", "a.em"])
def test_empty_files_are_told_of_by_name(tmp_path, name):
    (tmp_path / name).touch()
    with pytest.raises(InputError, match=r"empty|not that of an EM file") as caught:
        cw.read(tmp_path / name)
    assert name in str(caught.value)


READERS = [(name, sample, None) for name, sample in SAMPLES.items()] + [
    ("a.star", text, kind) for kind, text in STAR_SAMPLES.items()
]


@pytest.mark.parametrize(("name", "sample", "kind"), READERS, ids=[kind or name for name, _, kind in READERS])
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32))
def test_whatever_is_done_to_the_bytes_is_one_error_of_ours(tmp_path, name, sample, kind, seed):
    """Bytes removed, doubled, swapped and set anywhere: the reader gives a thing or one of our errors."""
    generator = random.Random(seed)
    damaged = bytearray(content(sample))
    for _ in range(generator.randint(1, 6)):
        place = generator.randrange(len(damaged) + 1)
        length = generator.randint(0, 12)
        what = generator.choice(
            (
                b"",
                b"nan",
                b"-",
                b"1e999",
                b",",
                b"\t",
                b"\n",
                b"\xff",
                b"9" * 40,
                b"_",
                b"<",
                b"#",
                bytes(damaged[place : place + length]),
            )
        )
        damaged[place : place + length] = what * generator.randint(1, 2)
    path = tmp_path / name
    path.write_bytes(damaged)
    read = STAR_FORMATS[kind].read if kind else _reader(tmp_path, name, sample)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for look in (read, describe):
            with contextlib.suppress(CryowalkError):
                assert look(path) is not None


def _reader(folder, name, sample):
    whole = folder / f"whole_{name}" if not name.startswith("analyse") else folder / name
    if whole.name != name:
        whole.write_bytes(content(sample))
    if name.endswith(".cbox"):
        return cw.io.read_coordinates
    return (
        TEXT_FORMATS["body modes" if "eigen" in name else "body projections"].read
        if name.startswith("analyse")
        else text_format(whole).read
    )
