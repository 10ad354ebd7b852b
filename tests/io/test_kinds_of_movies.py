"""Whatever goes with movies is known by its content: read, written, described and validated without being told what it is."""

import json

import pytest
import torch
from test_coordinates import coordinates
from test_mdoc import SERIALEM
from test_micrographs import micrographs
from test_motion import movie_motion
from test_mtf import RELION as MTF
from test_tem_simulator import EXAMPLE, NOTEBOOK
from test_tilt_series_files import series

import cryowalk as cw
from cryowalk.core.errors import InputError
from cryowalk.data.camera import Response
from cryowalk.data.images import Movie
from cryowalk.data.micrographs import MicrographSet
from cryowalk.data.tilt_series import TiltSeries
from cryowalk.io.coordinates import Coordinates
from cryowalk.io.eer import EerMovieReader
from cryowalk.io.inspect import describe
from cryowalk.io.mdoc import Mdoc
from cryowalk.io.motion import MovieMotion
from cryowalk.io.mrc import MrcStackReader
from cryowalk.io.tem_simulator_settings import TemInput
from cryowalk.io.tiff import TiffMovieReader
from cryowalk.io.validate import faults, is_sound

MOVIE = Movie(frames=torch.randint(0, 5, (3, 8, 12), generator=torch.Generator().manual_seed(1)).float(), pixel_size=0.7)


@pytest.fixture
def folder(tmp_path):
    tem = NOTEBOOK.replace("defocus_syst_error = 0.0\n", "")
    for name, text in (("TS.mrc.mdoc", SERIALEM), ("mtf.star", MTF), ("input.txt", tem), ("crd.txt", EXAMPLE)):
        (tmp_path / name).write_text(text)
    things = {
        "m.tif": MOVIE, "m.eer": MOVIE, "m.mrc": MOVIE, "mics.star": micrographs(), "movies.star": micrographs(movies=True),
        "motion.star": movie_motion(), "tilt_series.star": (series(), series("TS_02")), "picks.star": coordinates(),
    }  # fmt: skip
    for name, thing in things.items():
        cw.write(thing, tmp_path / name)
    return tmp_path


KINDS = {
    "m.tif": (TiffMovieReader, "movie (TIFF)"),
    "m.eer": (EerMovieReader, "movie of electron events (EER)"),
    "mics.star": (MicrographSet, "micrographs (RELION STAR)"),
    "movies.star": (MicrographSet, "movies (RELION STAR)"),
    "motion.star": (MovieMotion, "motion of a movie (RELION STAR)"),
    "tilt_series.star": (tuple, "tilt series (RELION STAR)"),
    "picks.star": (Coordinates, "coordinates of one micrograph (RELION STAR)"),
    "mtf.star": (Response, "modulation transfer (STAR)"),
    "TS.mrc.mdoc": (Mdoc, "SerialEM mdoc"),
    "input.txt": (TemInput, "parameters of TEM-simulator"),
}


@pytest.mark.parametrize("name", KINDS)
def test_each_is_known_by_its_content(folder, name):
    kind, words = KINDS[name]
    assert isinstance(cw.read(folder / name), kind)
    told = describe(folder / name)
    assert told.kind == words
    json.dumps(told.as_dict())
    assert len(told.words) >= 1
    if name not in ("mics.star", "movies.star"):
        assert is_sound(faults(folder / name)), faults(folder / name)


@pytest.mark.parametrize("name", ["m.tif", "m.eer", "m.mrc"])
def test_a_movie_written_by_its_name_is_opened_again(folder, name):
    source = cw.io.open_movie(folder / name)
    torch.testing.assert_close(source.read(range(3)), MOVIE.frames)
    assert source.pixel_size == 0.7
    assert isinstance(source, (TiffMovieReader, EerMovieReader, MrcStackReader))


@pytest.mark.parametrize("thing", ["mtf.star", "TS.mrc.mdoc", "input.txt", "motion.star", "picks.star", "movies.star"])
def test_what_was_read_can_be_written_again(folder, thing):
    (folder / "b").mkdir()
    cw.write(cw.read(folder / thing), folder / "b" / thing)
    one, other = cw.read(folder / thing), cw.read(folder / "b" / thing)
    assert type(one) is type(other)
    (folder / "c").mkdir()
    cw.write(other, folder / "c" / thing)
    assert (folder / "b" / thing).read_bytes() == (folder / "c" / thing).read_bytes()


def test_one_tilt_series_is_written_as_well_as_several(folder):
    (folder / "b").mkdir()
    cw.write(series(), folder / "b" / "one.star")
    (again,) = cw.read(folder / "b" / "one.star")
    assert isinstance(again, TiltSeries)
    assert again.name == "TS_01"


def test_facts_of_movies(folder):
    facts = describe(folder / "m.eer").facts
    assert (facts["raw_frames"], facts["raw_frames_per_frame"], facts["pixel_size_angstrom"]) == (24, 8, 0.7)
    assert describe(folder / "m.tif").facts["compression"] == "LZW"
    assert "-3.0° to 3.0°" in str(describe(folder / "TS.mrc.mdoc"))
    assert "3 particles “toto” in crd.txt" in str(describe(folder / "input.txt"))


def test_movies_that_are_named_and_missing_are_a_fault(folder):
    found = faults(folder / "movies.star")
    assert not is_sound(found)
    assert "5 of 5 files are not there: Movies/0.tiff" in str(found[0])


def test_frames_without_contrast_and_cut_files_are_faults(folder):
    cw.write(Movie(frames=torch.ones(2, 8, 8), pixel_size=1.0), folder / "flat.tif")
    assert "no contrast" in str(faults(folder / "flat.tif")[0])
    content = (folder / "m.eer").read_bytes()
    (folder / "cut.eer").write_bytes(content[: len(content) // 2])
    assert not is_sound(faults(folder / "cut.eer"))
    with pytest.raises(InputError):
        describe(folder / "cut.eer")


def test_a_tiff_under_the_name_of_a_map_is_told(folder):
    (folder / "m.tif").rename(folder / "x.mrc")
    with pytest.raises(InputError, match="this is a TIFF image, whatever its name says"):
        describe(folder / "x.mrc")
