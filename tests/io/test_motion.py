import dataclasses
import subprocess

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cryowalk.core.errors import InputError, ShapeError, UsageError
from cryowalk.data.micrographs import MicrographSet
from cryowalk.data.motion import Motion
from cryowalk.data.optics import Optics
from cryowalk.io.micrographs import read_micrographs, write_micrographs
from cryowalk.io.motion import MovieMotion, read_motion, read_movie_motion, write_motion
from cryowalk.io.movies import write_movie
from cryowalk.io.star import StarBlock, StarFile, read_star, write_star

SIZE, PIXEL = (640, 480), 1.3  # width, height
FIELD = (640 * 1.3, 480 * 1.3)


def motion(frames=7, *, local=True, seed=4) -> Motion:
    g = torch.Generator().manual_seed(seed)
    whole = torch.randn(frames, 2, generator=g, dtype=torch.float64).cumsum(0)
    course = torch.randn(frames, 2, 5, generator=g, dtype=torch.float64).cumsum(0)
    return Motion(global_displacement=whole - whole[0], local=course - course[0] if local else None, field=FIELD)


def movie_motion(made=None, **parts) -> MovieMotion:
    return MovieMotion(motion=made or motion(), movie_name="Movies/a b.tiff", pixel_size=PIXEL, image_size=SIZE, **parts)


def assert_same(one: Motion, other: Motion):
    assert torch.equal(one.global_displacement, other.global_displacement)
    assert one.field == other.field
    assert (one.local is None) == (other.local is None)
    assert one.local is None or torch.equal(one.local, other.local)


@pytest.mark.parametrize("local", [True, False])
@pytest.mark.parametrize("frames", [1, 2, 5, 40])
def test_written_and_read_again_is_the_same_to_the_last_bit(tmp_path, frames, local):
    made = movie_motion(
        motion(frames, local=local), dose_per_frame=1.25, dose_before=3.0, voltage_kv=300.0, extra={"rlnX": "007"}
    )
    write_motion(made, tmp_path / "a.star")
    again = read_movie_motion(tmp_path / "a.star")
    assert_same(made.motion, again.motion)
    assert_same(made.motion, read_motion(tmp_path / "a.star"))
    assert (again.movie_name, again.pixel_size, again.image_size) == ("Movies/a b.tiff", PIXEL, SIZE)
    assert (again.dose_per_frame, again.dose_before, again.voltage_kv, again.extra) == (1.25, 3.0, 300.0, {"rlnX": "007"})
    write_motion(again, tmp_path / "b.star")
    assert (tmp_path / "a.star").read_bytes() == (tmp_path / "b.star").read_bytes()


@settings(max_examples=30, deadline=None)
@given(
    values=st.lists(st.floats(-1e4, 1e4, allow_subnormal=False), min_size=24, max_size=24),
    first=st.integers(1, 9),
    pixel=st.floats(0.3, 5),
)
def test_any_numbers_survive(tmp_path_factory, values, first, pixel):
    path = tmp_path_factory.mktemp("motion") / "a.star"
    numbers = torch.tensor(values, dtype=torch.float64).reshape(2, 12)
    made = Motion(global_displacement=numbers[:, :2], local=numbers[:, 2:].reshape(2, 2, 5), field=(640 * pixel, 480 * pixel))
    write_motion(MovieMotion(motion=made, movie_name="a", pixel_size=pixel, image_size=SIZE, first_frame=first), path)
    again = read_movie_motion(path)
    assert_same(made, again.motion)
    assert again.first_frame == first


def test_relion_s_shift_is_minus_the_displacement_in_pixels(tmp_path):
    write_motion(movie_motion(first_frame=3), tmp_path / "a.star")
    star = read_star(tmp_path / "a.star")
    shifts = star["global_shift"].columns
    assert shifts["rlnMicrographFrameNumber"] == ("3", "4", "5", "6", "7", "8", "9")
    told = torch.tensor([[float(x) for x in shifts[f"rlnMicrographShift{axis}"]] for axis in "XY"], dtype=torch.float64).T
    torch.testing.assert_close(told * -PIXEL, motion().global_displacement, rtol=0, atol=1e-5)
    assert shifts["rlnMicrographShiftX"][0] == "0.000000"


def without_ours(path):
    """The file as RELION would have written it."""
    star = read_star(path)
    write_star(StarFile(blocks=tuple(block for block in star.blocks if block.name != "cryowalk_motion")), path)


def test_the_polynomial_and_the_patches_tell_the_same_motion(tmp_path):
    """A motion that is a polynomial of third order in time is what RELION's blocks say, too."""
    frames, g = 9, torch.Generator().manual_seed(8)
    time = torch.arange(frames, dtype=torch.float64)[:, None, None]
    a, b, c = (torch.randn(2, 5, generator=g, dtype=torch.float64) for _ in range(3))
    made = Motion(
        global_displacement=motion(frames).global_displacement, local=a * time + b * time**2 / 9 + c * time**3 / 81, field=FIELD
    )
    write_motion(movie_motion(made), tmp_path / "a.star")
    without_ours(tmp_path / "a.star")
    again = read_movie_motion(tmp_path / "a.star")
    torch.testing.assert_close(again.motion.local, made.local, rtol=0, atol=1e-4)
    torch.testing.assert_close(again.motion.global_displacement, made.global_displacement, rtol=0, atol=1e-4)
    u = again.patch_positions[:, 0] / SIZE[0] - 0.5
    v = again.patch_positions[:, 1] / SIZE[1] - 0.5
    basis = torch.stack((u, u**2, v, v**2, u * v), -1)
    local = torch.einsum("ndj,nj->nd", made.local[again.patch_frames], basis)
    torch.testing.assert_close(again.patch_shifts * -PIXEL, local, rtol=0, atol=1e-5)
    assert len(again.patch_frames) == 25 * frames


def test_without_a_local_model_there_is_none(tmp_path):
    write_motion(movie_motion(motion(local=False)), tmp_path / "a.star")
    without_ours(tmp_path / "a.star")
    again = read_motion(tmp_path / "a.star")
    assert again.local is None
    assert again.field == FIELD


def test_shifts_relative_to_another_frame_become_relative_to_the_first(tmp_path):
    write_motion(movie_motion(motion(local=False)), tmp_path / "a.star")
    without_ours(tmp_path / "a.star")
    star = read_star(tmp_path / "a.star")
    block = star["global_shift"]
    moved = {
        label: tuple(str(float(x) + 5) for x in column) if "Shift" in label else column for label, column in block.columns.items()
    }
    write_star([star["general"], StarBlock(name="global_shift", columns=moved)], tmp_path / "b.star")
    torch.testing.assert_close(
        read_motion(tmp_path / "b.star").global_displacement, motion().global_displacement, rtol=0, atol=1e-5
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("data_global_shift", "data_other"), "does not tell how a movie moved"),
        (("_rlnImageSizeX", "_rlnSomething"), "data_general has no rlnImageSizeX"),
        (("rlnMicrographShiftX", "rlnMicrographShiftQ"), "has no column rlnMicrographShiftX"),
        (("1.3\n", "nan\n"), "rlnMicrographOriginalPixelSize is “nan”"),
        (("2 ", "5 "), "not numbered one after the other"),
    ],
)
def test_bad_files_end_in_one_error(tmp_path, change, message):
    write_motion(movie_motion(motion(local=False)), tmp_path / "bad.star")
    without_ours(tmp_path / "bad.star")
    text = (tmp_path / "bad.star").read_text()
    head, mark, tail = text.partition("data_global_shift")
    changed = head + mark + tail.replace(change[0], change[1], 1) if change[0] == "2 " else text.replace(*change)
    (tmp_path / "bad.star").write_text(changed)
    with pytest.raises(InputError, match=message) as caught:
        read_motion(tmp_path / "bad.star")
    assert "bad.star" in str(caught.value)


def test_frames_without_a_shift_are_told(tmp_path):
    write_motion(movie_motion(motion(local=False)), tmp_path / "a.star")
    without_ours(tmp_path / "a.star")
    lines = (tmp_path / "a.star").read_text().split("\n")
    row = next(number for number, line in enumerate(lines) if line.startswith("3 "))
    lines[row] = "3 -9999 0"
    (tmp_path / "a.star").write_text("\n".join(lines))
    with pytest.raises(InputError, match="found no shift for this frame"):
        read_motion(tmp_path / "a.star")


def test_a_model_of_another_size_is_told(tmp_path):
    write_motion(movie_motion(), tmp_path / "a.star")
    without_ours(tmp_path / "a.star")
    text = (tmp_path / "a.star").read_text().split("\n")
    last = next(number for number, line in enumerate(text) if line.startswith("35 "))
    (tmp_path / "a.star").write_text("\n".join(text[:last] + text[last + 1 :]))
    with pytest.raises(InputError, match="35 coefficients"):
        read_motion(tmp_path / "a.star")


def test_what_cannot_be_written_is_refused(tmp_path):
    made = movie_motion()
    with pytest.raises(ShapeError, match="field of"):
        write_motion(dataclasses.replace(made, image_size=(480, 640)), tmp_path / "a.star")
    with pytest.raises(UsageError):
        write_motion(dataclasses.replace(made, pixel_size=0.0), tmp_path / "a.star")
    lost = dataclasses.replace(made.motion, global_displacement=made.motion.global_displacement * float("nan"))
    with pytest.raises(InputError, match="not finite"):
        write_motion(dataclasses.replace(made, motion=lost), tmp_path / "a.star")
    assert not list(tmp_path.iterdir())


def texture(size, seed=3):
    """A smooth random picture as a function of place, so that it can be displaced without interpolation."""
    g = np.random.default_rng(seed)
    waves, phases = g.normal(0, 0.25, (300, 2)), g.uniform(0, 2 * np.pi, 300)

    def value(x, y):
        total = np.zeros(np.broadcast(x, y).shape)
        for (kx, ky), phase in zip(waves, phases, strict=True):
            total += np.cos(kx * x + ky * y + phase)
        return total / np.sqrt(150)

    return value


@pytest.mark.agreement
@pytest.mark.slow
@pytest.mark.parametrize("name", ["m.tiff", "m.mrcs"])
def test_relion_finds_the_motion_that_our_movie_was_made_with(relion, tmp_path, name):
    """Movie, movies.star and sign of the motion at once: a drift, and a stretch along x that grows with time."""
    height, width, frames = 320, 384, 10
    g = np.random.default_rng(5)
    picture = texture((height, width))
    y, x = np.meshgrid(np.arange(height), np.arange(width), indexing="ij")
    drift = np.stack((0.6 * np.arange(frames), -0.35 * np.arange(frames)), axis=-1)
    stretch = 4.0 * np.arange(frames) / (frames - 1)
    images = []
    for frame in range(frames):
        dx = drift[frame, 0] + stretch[frame] * (x / width - 0.5)
        images.append(
            torch.from_numpy(g.poisson(np.clip(6 + 3 * picture(x - dx, y - drift[frame, 1]), 0.1, None)).astype(np.float32))
        )
    write_movie(images, tmp_path / name, pixel_size=1.5, sample_format="uint8" if name == "m.tiff" else "int16", count=frames)
    movies = MicrographSet(
        optics=(Optics(pixel_size=1.5, extra={"rlnMtfFileName": "none.star"}),),
        optics_index=torch.zeros(1, dtype=torch.long),
        movie_names=(name,),
    )
    write_micrographs(movies, tmp_path / "movies.star")
    command = (
        "--i movies.star --o MC/ --use_own --j 2 --patch_x 3 --patch_y 3 --bfactor 150 --dose_weighting --dose_per_frame 1.2"
    )
    done = subprocess.run([relion / "relion_run_motioncorr", *command.split()], cwd=tmp_path, capture_output=True, text=True)
    assert (tmp_path / "MC" / "m.star").is_file(), done.stdout[-2000:] + done.stderr[-2000:]
    found = read_movie_motion(tmp_path / "MC" / "m.star")
    assert (found.pixel_size, found.image_size, found.movie_name, found.dose_per_frame) == (1.5, (width, height), name, 1.2)
    error = (found.motion.global_displacement / 1.5).numpy() - drift
    assert np.sqrt((error**2).mean()) < 0.2  # px
    assert float(found.motion.local[-1, 0, 0]) / 1.5 == pytest.approx(4.0, rel=0.25)
    assert abs(float(found.motion.local[-1, 1, 2])) / 1.5 < 1.0
    corrected = read_micrographs(tmp_path / "MC" / "corrected_micrographs.star")
    assert corrected.names == ("MC/m.mrc",)
    assert corrected.metadata_names == ("MC/m.star",)
    assert corrected.optics[0].extra["rlnMtfFileName"] == "none.star"
    # what we write of it, RELION's own polishing programs can read again: same blocks, same labels
    write_motion(found, tmp_path / "again.star")
    ours, theirs = read_star(tmp_path / "again.star"), read_star(tmp_path / "MC" / "m.star")
    for block in theirs.blocks:
        assert set(block.columns) <= set(ours[block.name].columns)
        assert set(block.values) <= set(ours[block.name].values)
