import dataclasses
import subprocess

import pytest
import torch

from cryowalk.core.errors import CryowalkWarning, InputError
from cryowalk.data.micrographs import MicrographSet
from cryowalk.data.optics import Aberrations, Defocus, Optics
from cryowalk.io.micrographs import holds_micrographs, read_micrographs, write_micrographs
from cryowalk.io.star import read_star

MOVIES = """
# version 30001

data_optics

loop_
_rlnOpticsGroupName #1
_rlnOpticsGroup #2
_rlnMtfFileName #3
_rlnMicrographOriginalPixelSize #4
_rlnVoltage #5
_rlnSphericalAberration #6
_rlnAmplitudeContrast #7
one 1 mtf_k2_200kV.star 0.885 200.0 1.4 0.1

data_movies

loop_
_rlnMicrographMovieName #1
_rlnOpticsGroup #2
Movies/a.tiff 1
Movies/b.tiff 1
"""

OLD = """
data_

loop_
_rlnMicrographName #1
_rlnVoltage #2
_rlnSphericalAberration #3
_rlnAmplitudeContrast #4
_rlnMagnification #5
_rlnDetectorPixelSize #6
_rlnDefocusU #7
_rlnDefocusV #8
_rlnDefocusAngle #9
_rlnFinalResolution #10
a.mrc 300 2.7 0.1 40000 5.0 12000 11500 45 4.25
b.mrc 300 2.7 0.1 50000 5.0 13000 12500 -45 007
"""


def micrographs(count=5, *, movies=False) -> MicrographSet:
    optics = tuple(
        Optics(
            pixel_size=(1.77, 1.06)[i],
            voltage_kv=(300.0, 200.0)[i],
            name=f"group {i + 1}",
            micrograph_pixel_size=None if movies else (0.885, 1.06)[i],
            aberrations=Aberrations(beam_tilt=(1e-4, -2e-4 * i)),
            extra={"rlnMtfFileName": f"mtf {i}.star"},
        )
        for i in range(2)
    )
    major = torch.linspace(9000, 12000, count, dtype=torch.float64)
    names = tuple(f"mic {i}.mrc" for i in range(count))
    return MicrographSet(
        optics=optics,
        optics_index=torch.arange(count) % 2,
        names=() if movies else names,
        movie_names=tuple(f"Movies/{i}.tiff" for i in range(count)),
        metadata_names=() if movies else tuple(f"mic {i}.star" for i in range(count)),
        defocus=None
        if movies
        else Defocus(major=major, minor=major - 200, azimuth=major / 1e4, phase_shift=torch.zeros_like(major)),
        dose_before=torch.arange(count, dtype=torch.float64) * 1.5,
        extra={"rlnUnknown": tuple(("007", "1e3", "a b", "", "it's")[i % 5] for i in range(count))},
        column_order=("rlnUnknown", "rlnMicrographMovieName"),
    )


def assert_same(first, second):
    for field in dataclasses.fields(MicrographSet):
        one, other = getattr(first, field.name), getattr(second, field.name)
        if field.name == "column_order":
            assert other[: len(one)] == one
        elif isinstance(one, torch.Tensor):
            torch.testing.assert_close(one, other, rtol=0, atol=1e-6)
        elif isinstance(one, Defocus):
            torch.testing.assert_close(one.major, other.major, rtol=0, atol=1e-6)
            torch.testing.assert_close(one.azimuth, other.azimuth, rtol=0, atol=1e-7)
        elif field.name == "optics":
            for a, b in zip(one, other, strict=True):
                assert dataclasses.replace(a, micrograph_pixel_size=None, extra={}) == dataclasses.replace(
                    b, micrograph_pixel_size=None, extra={}
                )
                assert dict(a.extra) == dict(b.extra)
        else:
            assert one == other, field.name


@pytest.mark.parametrize("movies", [False, True])
def test_written_and_read_again_is_the_same(tmp_path, movies):
    made = micrographs(movies=movies)
    write_micrographs(made, tmp_path / "a.star")
    again = read_micrographs(tmp_path / "a.star")
    assert_same(made, again)
    write_micrographs(again, tmp_path / "b.star")
    assert (tmp_path / "a.star").read_bytes() == (tmp_path / "b.star").read_bytes()


def test_pixel_sizes_stand_where_relion_looks_for_them(tmp_path):
    write_micrographs(micrographs(), tmp_path / "a.star")
    optics = read_star(tmp_path / "a.star")["optics"]
    assert optics.columns["rlnMicrographPixelSize"] == ("1.770000", "1.060000")
    assert optics.columns["rlnMicrographOriginalPixelSize"] == ("0.885000", "1.060000")
    assert "rlnImagePixelSize" not in optics.columns
    assert read_micrographs(tmp_path / "a.star").optics[0].micrograph_pixel_size == 0.885
    write_micrographs(micrographs(movies=True), tmp_path / "m.star")
    assert read_star(tmp_path / "m.star")["optics"].columns["rlnMicrographOriginalPixelSize"] == ("1.770000", "1.060000")


def test_movies_of_relion_as_they_come(tmp_path):
    path = tmp_path / "movies.star"
    path.write_text(MOVIES)
    movies = read_micrographs(path)
    assert movies.movie_names == ("Movies/a.tiff", "Movies/b.tiff")
    assert (movies.pixel_size, movies.optics[0].voltage_kv, movies.optics_of(1).name) == (0.885, 200.0, "one")
    assert movies.optics[0].extra == {"rlnMtfFileName": "mtf_k2_200kV.star"}
    assert holds_micrographs(read_star(path))
    write_micrographs(movies, tmp_path / "b.star")
    assert_same(movies, read_micrographs(tmp_path / "b.star"))


def test_relion_3_0_gets_a_group_for_each_combination(tmp_path):
    path = tmp_path / "old.star"
    path.write_text(OLD)
    old = read_micrographs(path)
    assert [round(group.pixel_size, 6) for group in old.optics] == [1.25, 1.0]
    assert old.defocus.major.tolist() == [12000, 13000]
    assert old.extra == {"rlnFinalResolution": ("4.25", "007")}
    with pytest.raises(InputError, match="differ in pixel size"):
        _ = old.pixel_size


def test_selecting_keeps_rows_together():
    made = micrographs()
    some = made[torch.tensor([True, False, False, True, False])]
    assert len(some) == 2
    assert some.names == ("mic 0.mrc", "mic 3.mrc")
    assert some.extra["rlnUnknown"] == ("007", "")
    assert some.dose_before.tolist() == [0.0, 4.5]
    assert made[::2].names == ("mic 0.mrc", "mic 2.mrc", "mic 4.mrc")
    assert made[[4, 0]].defocus.major.tolist() == [12000, 9000]
    assert made.with_defocus(made.defocus[0:5]).names == made.names


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("Movies/b.tiff 1", "Movies/b.tiff 7"), "optics group 7 is not in the optics table"),
        (("200.0", "200000"), "volts in place of kilovolts"),
        (("0.885", "nan"), "rlnMicrographOriginalPixelSize is “nan”"),
        (("Movies/b.tiff 1", "Movies/b.tiff"), "the row has 1 value"),
        (("data_movies", "data_pictures"), "no table of movies or micrographs"),
        (("Movies/a.tiff 1\nMovies/b.tiff 1\n", ""), "no rows"),
        (("_rlnMicrographOriginalPixelSize #4", "_rlnSomething #4"), "no pixel size"),
    ],
)
def test_bad_tables_end_in_one_error(tmp_path, change, message):
    path = tmp_path / "bad.star"
    path.write_text(MOVIES.replace(*change))
    with pytest.raises(InputError, match=message) as caught:
        read_micrographs(path)
    assert "bad.star" in str(caught.value)


def test_what_cannot_be_written_is_refused(tmp_path):
    made = micrographs()
    with pytest.raises(InputError, match="no micrographs"):
        write_micrographs(made[torch.zeros(5, dtype=torch.bool)], tmp_path / "a.star")
    with pytest.raises(InputError, match="named"):
        write_micrographs(dataclasses.replace(made, names=(), movie_names=()), tmp_path / "a.star")
    with pytest.raises(InputError, match="columns of"):
        write_micrographs(dataclasses.replace(made, extra={"rlnX": ("1",)}), tmp_path / "a.star")
    assert not list(tmp_path.iterdir())


def test_a_movie_table_has_one_pixel_size(tmp_path):
    made = dataclasses.replace(micrographs(), names=())
    with pytest.warns(CryowalkWarning, match="one pixel size"):
        write_micrographs(made, tmp_path / "a.star")


@pytest.mark.agreement
def test_relion_s_star_handler_reads_ours_and_we_read_its(relion, tmp_path):
    write_micrographs(micrographs(), tmp_path / "a.star")
    command = ["--i", "a.star", "--o", "b.star", "--select", "rlnDefocusU", "--minval", "10000"]
    subprocess.run([relion / "relion_star_handler", *command], cwd=tmp_path, check=True, capture_output=True)
    chosen, made = read_micrographs(tmp_path / "b.star"), micrographs()
    kept = made[made.defocus.major >= 10000]
    assert chosen.names == kept.names
    assert chosen.movie_names == kept.movie_names
    assert chosen.optics_index.tolist() == kept.optics_index.tolist()
    torch.testing.assert_close(chosen.defocus.major, kept.defocus.major)
    assert [group.pixel_size for group in chosen.optics] == [1.77, 1.06]
