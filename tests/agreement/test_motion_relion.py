"""Our motion correction beside RELION's own, and RELION's tracks of a real data set re-applied and recovered."""

import math
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.motion.conftest import error, scene, track

from cryowalk.data import ImageStack, Motion
from cryowalk.io.motion import read_motion
from cryowalk.io.movies import write_movie
from cryowalk.microscope.beam_motion import displacement, displacement_field
from cryowalk.motion import AlignmentSettings, estimate_motion
from cryowalk.numerics.sinc_warp import warp as sinc_warp

PIXEL, DOSE = 1.1, 1.5
SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"


def filmed(still, motion, *, pixel_size, dose, seed):
    """Counted frames of a relative contrast that moves; interpolated with twelve taps."""
    generator = torch.Generator().manual_seed(seed)
    frames = []
    for frame in range(len(motion.global_displacement)):
        field = displacement_field(motion, frame, size=tuple(still.shape), pixel_size=pixel_size).float() / pixel_size
        frames.append(torch.poisson(dose * pixel_size**2 * (1 + sinc_warp(still, field)).clamp_min(0), generator=generator))
    return frames


def relion_motion(relion, folder, frames, *, patches):
    write_movie(iter(frames), folder / "movie.mrc", pixel_size=PIXEL, count=len(frames))
    (folder / "movies.star").write_text(
        "\n# version 30001\n\ndata_optics\n\nloop_\n_rlnOpticsGroupName #1\n_rlnOpticsGroup #2\n_rlnMicrographOriginalPixelSize #3\n"
        f"_rlnVoltage #4\n_rlnSphericalAberration #5\n_rlnAmplitudeContrast #6\nopticsGroup1 1 {PIXEL} 300 2.7 0.1\n\n"
        "# version 30001\n\ndata_movies\n\nloop_\n_rlnMicrographMovieName #1\n_rlnOpticsGroup #2\nmovie.mrc 1\n\n"
    )
    command = [str(relion / "relion_run_motioncorr"), "--i", "movies.star", "--o", "out/", "--use_own", "--j", "2"]
    command += [
        "--patch_x",
        str(patches),
        "--patch_y",
        str(patches),
        "--bfactor",
        "150",
        "--dose_per_frame",
        str(DOSE),
        "--dose_weighting",
    ]
    subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=300)
    return read_motion(folder / "out/movie.star")


@pytest.mark.parametrize("patches", [1, 4])
def test_our_error_is_no_larger_than_that_of_relion(relion, tmp_path, patches):
    size, frames = (960, 1000), 14
    field = (size[1] * PIXEL, size[0] * PIXEL)
    terms = torch.randn(2, 5, generator=torch.Generator().manual_seed(3), dtype=torch.float64) * torch.tensor([4.0, 8, 4, 8, 8])
    course = 1 - torch.exp(-torch.arange(frames, dtype=torch.float64) / 5)
    local = None if patches == 1 else terms * course[:, None, None]
    truth = Motion(global_displacement=track(frames), local=local, field=field)
    made = filmed(scene(*size, PIXEL, seed=2) * 0.12, truth, pixel_size=PIXEL, dose=DOSE, seed=4)
    theirs = relion_motion(relion, tmp_path, made, patches=patches)
    stack = ImageStack(pixels=torch.stack(made), pixel_size=PIXEL)
    ours = estimate_motion(stack, AlignmentSettings(patches=(patches, patches)), pixel_size=PIXEL).motion
    still = Motion(global_displacement=torch.zeros(frames, 2, dtype=torch.float64), field=field)
    assert error(theirs, truth, PIXEL) < error(still, truth, PIXEL)  # its signs are understood
    assert error(ours, truth, PIXEL) <= error(theirs, truth, PIXEL)
    assert error(ours, truth, PIXEL) < 0.3


def real_image(width, height):
    """The relative contrast of a real sum of frames, laid out with mirror images of itself to a larger field."""
    from PIL import Image

    Image.MAX_IMAGE_PIXELS = None
    path = SHARED / "apoferritin_10146" / "sums" / "May08_03.05.02.bin_avg.png"
    image = torch.from_numpy(np.asarray(Image.open(path), dtype=np.float32).copy())
    image = (image - image.mean()) / image.std()
    wide = torch.cat([image, image.flip(1)], dim=1)
    return torch.cat([wide, wide.flip(0)], dim=0)[:height, :width].contiguous()


@pytest.mark.parametrize("name", ["20170629_00021_frameImage", "20170629_00042_frameImage"])
def test_the_real_tracks_of_relion_are_recovered_on_a_real_image(name):
    path = SHARED / "betagal_10204" / "motion" / f"{name}.star"
    if not path.is_file():
        pytest.skip(f"no {path}: the shared data are not beside the repository")
    real = read_motion(path)
    width, height, pixel_size = 1600, 1500, 1.5
    # The tracks of the real field in pixels of 0.885 Å, played over a smaller field of larger pixels: as many pixels of movement.
    factor = pixel_size / 0.885
    truth = Motion(
        global_displacement=real.global_displacement * factor,
        local=None if real.local is None else real.local * factor,
        field=(width * pixel_size, height * pixel_size),
    )
    still = 0.08 * real_image(width, height)
    made = filmed(still, truth, pixel_size=pixel_size, dose=1.277, seed=6)
    found = estimate_motion(
        ImageStack(pixels=torch.stack(made), pixel_size=pixel_size), AlignmentSettings(), pixel_size=pixel_size
    )
    places = torch.rand(200, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64) * torch.tensor(truth.field)
    one, other = (displacement(motion, places) for motion in (found.motion, truth))
    miss = ((one - one.mean(0)) - (other - other.mean(0))).square().mean().sqrt() / pixel_size
    moved = (other - other.mean(0)).square().mean().sqrt() / pixel_size
    assert float(miss) <= 0.5 / math.sqrt(2)  # rms along an axis; 0.5 px over both
    assert float(moved) > 1.0
