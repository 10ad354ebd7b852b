import subprocess

import numpy as np
import pytest
import tifffile
import torch

from cryowalk.core.errors import InputError, ShapeError
from cryowalk.io.eer_encoder import EerMovieWriter
from cryowalk.io.gain import read_gain, relion_meaning, write_gain
from cryowalk.io.movies import open_movie, write_movie
from cryowalk.io.mrc import read_array, write_array

SHAPE = (12, 20)


def factors(shape=SHAPE, seed=2):
    gain = torch.from_numpy(np.random.default_rng(seed).normal(1, 0.1, shape)).float()
    gain[2, 5] = 0  # a pixel that does not work
    return gain


@pytest.mark.parametrize("name", ["gain.mrc", "gain.tif", "gain.tiff", "x.gain"])
@pytest.mark.parametrize("stored_as", ["multiplier", "divisor"])
def test_factors_come_back(tmp_path, name, stored_as):
    gain = factors()
    if name == "x.gain":
        gain = gain / gain.mean()
        if stored_as == "divisor":
            with pytest.raises(InputError, match="holds multipliers"):
                write_gain(gain, tmp_path / name, stored_as="divisor")
            return
    write_gain(gain, tmp_path / name, stored_as=stored_as)
    again = read_gain(tmp_path / name, image_shape=SHAPE, stored_as=stored_as)
    torch.testing.assert_close(again, gain, rtol=1e-6, atol=1e-7)
    assert again[2, 5] == 0


def test_what_lies_in_the_files(tmp_path):
    gain = factors()
    for name in ("a.mrc", "a.tif", "a.gain"):
        write_gain(gain, tmp_path / name)
    write_gain(gain, tmp_path / "d.mrc", stored_as="divisor")
    np.testing.assert_array_equal(read_array(tmp_path / "a.mrc")[0], gain)
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "a.tif"), gain.numpy()[::-1])
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "a.gain"), gain)  # rows as in the EER movie
    divisor = read_array(tmp_path / "d.mrc")[0]
    np.testing.assert_allclose(divisor[gain > 0], 1 / gain[gain > 0], rtol=1e-6)
    assert divisor[2, 5] == 0


def test_finer_and_coarser_movies(tmp_path):
    gain = factors()
    write_gain(gain, tmp_path / "a.mrc")
    for factor in (2, 4):
        fine = read_gain(tmp_path / "a.mrc", image_shape=(12 * factor, 20 * factor))
        torch.testing.assert_close(fine, gain.repeat_interleave(factor, 0).repeat_interleave(factor, 1), rtol=1e-6, atol=0)
    smooth = torch.full((24, 40), 2.0)
    smooth[:2, :2] = torch.tensor([[1.0, 2.0], [4.0, 4.0]])
    write_gain(smooth, tmp_path / "b.mrc")
    coarse = read_gain(tmp_path / "b.mrc", image_shape=SHAPE)
    assert coarse[0, 0] == pytest.approx(4 / (1 + 0.5 + 0.25 + 0.25))
    assert coarse[1, 1] == 2


def test_meaning_by_relion_s_rule():
    assert relion_meaning("a.mrc", movie="m.tiff") == "multiplier"
    assert relion_meaning("a.mrc", movie="m.eer") == "divisor"
    assert relion_meaning("a.tif", movie="m.eer") == "divisor"
    assert relion_meaning("a.gain", movie="m.eer") == "multiplier"


@pytest.mark.parametrize(
    ("shape", "message"),
    [((20, 12), "turned by 90°"), ((40, 24), "turned by 90°"), ((12, 21), "another camera"), ((36, 60), "another camera")],
)
def test_a_reference_that_does_not_fit_is_one_error(tmp_path, shape, message):
    write_gain(factors(), tmp_path / "a.mrc")
    with pytest.raises(ShapeError, match="12 × 20 px") as caught:
        read_gain(tmp_path / "a.mrc", image_shape=shape)
    assert message in str(caught.value)


def test_what_is_no_gain_reference_is_refused(tmp_path):
    write_array(factors().numpy() - 1, tmp_path / "signed.mrc", voxel_size=1.0)
    write_array(np.zeros(SHAPE, np.float32), tmp_path / "zero.mrc", voxel_size=1.0)
    for name in ("signed.mrc", "zero.mrc"):
        with pytest.raises(InputError, match="gain reference holds values"):
            read_gain(tmp_path / name, image_shape=SHAPE)
    write_movie(torch.ones(2, *SHAPE), tmp_path / "movie.tif", pixel_size=1.0)
    with pytest.raises(InputError, match="one image: this file has 2"):
        read_gain(tmp_path / "movie.tif", image_shape=SHAPE)
    with pytest.raises(InputError, match="no such file"):
        read_gain(tmp_path / "none.mrc", image_shape=SHAPE)
    for wrong in (torch.zeros(SHAPE), -torch.ones(SHAPE), torch.full(SHAPE, float("nan"))):
        with pytest.raises(InputError, match="must be finite"):
            write_gain(wrong, tmp_path / "a.mrc")


@pytest.mark.agreement
@pytest.mark.slow
@pytest.mark.parametrize("name", ["g.gain", "g.mrc"])
def test_relion_corrects_an_eer_movie_as_we_do(relion, tmp_path, name):
    """One raw frame and no motion: RELION's sum is the frame corrected by the gain, up to the scale of the mean."""
    side = 4096
    gain = torch.ones(side, side)
    gain[: side // 2] = 0.5
    gain[:, : side // 4] *= 1.25  # unlike any flip or turn of itself
    meaning = relion_meaning(name, movie="a.eer")
    write_gain(gain, tmp_path / name, stored_as=meaning)
    frame = (torch.rand(side, side, generator=torch.Generator().manual_seed(3)) < 0.4).float()
    with EerMovieWriter(tmp_path / "a.eer", image_shape=(side, side), pixel_size=1.0, raw_frames_per_frame=1) as writer:
        for _ in range(3):
            writer.write(frame)
    (tmp_path / "m.star").write_text(
        "data_optics\n\nloop_\n_rlnOpticsGroupName #1\n_rlnOpticsGroup #2\n_rlnMicrographOriginalPixelSize #3\n_rlnVoltage #4\n"
        "_rlnSphericalAberration #5\n_rlnAmplitudeContrast #6\none 1 1.0 300 2.7 0.1\n\n"
        "data_movies\n\nloop_\n_rlnMicrographMovieName #1\n_rlnOpticsGroup #2\na.eer 1\n"
    )
    command = "--i m.star --o MC/ --use_own --j 2 --patch_x 1 --patch_y 1 --eer_grouping 1 --eer_upsampling 1 --skip_defect"
    done = subprocess.run(
        [relion / "relion_run_motioncorr", *command.split(), "--gainref", name, "--bfactor", "500", "--max_iter", "1"],
        cwd=tmp_path, capture_output=True, text=True,
    )  # fmt: skip
    assert (tmp_path / "MC" / "a.mrc").is_file(), done.stdout[-2000:] + done.stderr[-2000:]
    theirs = torch.from_numpy(np.array(read_array(tmp_path / "MC" / "a.mrc")[0]))
    ours = open_movie(tmp_path / "a.eer").read([0])[0] * read_gain(tmp_path / name, image_shape=(side, side), stored_as=meaning)
    blocks = [x.reshape(8, side // 8, 8, side // 8).mean((1, 3)) for x in (theirs.double(), ours.double())]
    ratio = blocks[0] / blocks[1]
    torch.testing.assert_close(ratio / ratio.mean(), torch.ones_like(ratio), rtol=0.01, atol=0)
