"""Every MRC file that a chain of commands writes passes mrcfile's validator, and our own check of its values."""

import io
import warnings

import mrcfile
import pytest

from cryowalk.cli.main import exit_code
from cryowalk.io.mrc_header import read_header
from cryowalk.io.validate import faults, is_sound

OFF = " --quiet --threads 1"
CHAIN = (
    "simulate particles --n 24 --box 32 --pixel-size 4.6 --snr 2 --seed 3 --o sim",
    "reconstruct --i sim/particles.star --o rec",
    "mask --i rec/run_class001.mrc --o mask.mrc",
    "postprocess --i rec/run_half1_class001_unfil.mrc --mask mask.mrc --o post",
    "local-resolution --i rec/run_half1_class001_unfil.mrc --o local",
    "flip-hand --i rec/run_class001.mrc --o flipped.mrc",
    "project --i rec/run_class001.mrc --ang sim/particles.star --o projected",
    "class2d --i sim/particles.star --K 2 --iter 2 --o classes",
    "denoise --i sim/particles.star --o quiet",
    "simulate micrographs --n 2 --size 220 200 --pixel-size 4 --particles 6 --ice-thickness 150 --seed 3 --o micrographs",
    "simulate movies --n 1 --size 220 200 --pixel-size 4 --particles 6 --ice-thickness 150 --frames 3 --format mrc --seed 3 --o movies",
    "simulate tilt-series --size 220 200 --pixel-size 4 --particles 4 --thickness 150 --largest-tilt-degrees 30 --tilt-step-degrees 30 --seed 3 --o tilts",
    "extract --i micrographs/micrographs.star --coords micrographs/particles.star --box 32 --o extracted",
    "convert --i sim/particles.mrcs --o half.mrcs --mode float16",
    "convert --i rec/run_class001.mrc --o half.mrc --mode float16",
    "star2hdf5 --i sim/particles.star --o sim.h5",
    "convert --i sim.h5 --o back.mrcs",
)
ENDINGS = {".mrc", ".mrcs", ".map", ".rec", ".st", ".ali", ".ctf"}


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_every_mrc_file_of_a_chain_of_commands_is_valid(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for words in CHAIN:
        assert exit_code((words + OFF).split()) == 0, words
    paths = sorted(path for path in tmp_path.rglob("*") if path.suffix in ENDINGS and path.is_file())
    places = {path.relative_to(tmp_path).parts[0] for path in paths}
    assert places >= {
        "sim",
        "rec",
        "mask.mrc",
        "post",
        "local",
        "flipped.mrc",
        "projected.mrcs",
        "classes",
        "quiet",
        "micrographs",
        "movies",
        "tilts",
    }
    assert places >= {"extracted", "half.mrcs", "half.mrc", "back.mrcs"}
    for path in paths:
        report = io.StringIO()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # the validator squares 16-bit reals as 16-bit reals
            assert mrcfile.validate(path, print_file=report), f"{path}: {report.getvalue()}"
        assert is_sound(faults(path)), path
        assert read_header(path).pixel_size or path.name == "gain.mrc", path
