"""Motion correction of one movie, from the command line to the written micrograph, beside RELION's own implementation.

A scene with Thon rings is moved by a known motion that differs over the field (a twelve-tap sinc along each axis, nothing that either program interpolates with), and its
electrons are counted frame by frame. Both programs get the same TIFF movie, patches and dose, run alone with the same number of threads, and are timed from start to end,
ours with start of Python, flaws, plots and report. Their motions are compared with the truth at 500 places in every frame, means over the frames taken away.

    python benchmarks/bench_motion.py            # 24 frames of 3710 × 3838
    python benchmarks/bench_motion.py --quick
"""

import argparse
import json
import math
import sys
import tempfile
from pathlib import Path

from _shared import machine, relion, run, write_result

GOAL = "2 × RELION with an error no larger; memory below the movie's frames as float32 and 1 GiB"
PIXEL_SIZE, DOSE, VOLTAGE = 0.885, 1.277, 200.0  # Å, e⁻/Å² a frame, kV: those of EMPIAR-10204
PATCHES = (5, 5)


def scene(height: int, width: int):
    """Relative contrast with the rings of 1.2 µm underfocus and a fall-off like that of protein in ice."""
    import torch

    from cryowalk.fourier.grids import frequency_radius
    from cryowalk.fourier.transform import to_fourier, to_real

    noise = torch.randn(height, width, generator=torch.Generator().manual_seed(1))
    k = frequency_radius((height, width), pixel_size=PIXEL_SIZE)
    amplitude = torch.sin(math.pi * 0.0251 * 12000 * k**2 + 0.1) * torch.exp(-20 * k**2) / (1 + (k / 0.03) ** 2).sqrt()
    image = to_real(to_fourier(noise) * amplitude, width=width)
    return 0.06 * image / image.std()


def make_movie(folder: Path, size: tuple[int, int], frames: int) -> None:
    """Write movie.tiff, movies.star and truth_motion.star."""
    import torch

    from cryowalk.data import Motion
    from cryowalk.io.motion import MovieMotion, write_motion
    from cryowalk.io.movies import write_movie
    from cryowalk.microscope.beam_motion import displacement_field, draw_motion
    from cryowalk.microscope.delivery_settings import MotionSettings
    from cryowalk.numerics.sinc_warp import warp

    generator = torch.Generator().manual_seed(2)
    field = (size[1] * PIXEL_SIZE, size[0] * PIXEL_SIZE)
    settings = MotionSettings(early_motion=8.0, local_motion=4.0)
    motion: Motion = draw_motion(settings, frames=frames, dose_per_frame=DOSE, field=field, generator=generator)
    image = scene(*size)

    def counted():
        for frame in range(frames):
            moves = displacement_field(motion, frame, size=size, pixel_size=PIXEL_SIZE).float() / PIXEL_SIZE
            expected = (1 + warp(image, moves)).clamp_min(0) * (DOSE * PIXEL_SIZE**2)
            yield torch.poisson(expected, generator=generator)

    write_movie(counted(), folder / "movie.tiff", pixel_size=PIXEL_SIZE, sample_format="uint8", count=frames)
    truth = MovieMotion(motion=motion, movie_name="movie.tiff", pixel_size=PIXEL_SIZE, image_size=(size[1], size[0]))
    write_motion(truth, folder / "truth_motion.star")
    (folder / "movies.star").write_text(
        "# version 30001\n\ndata_optics\n\nloop_\n_rlnOpticsGroupName #1\n_rlnOpticsGroup #2\n_rlnMicrographOriginalPixelSize #3\n"
        f"_rlnVoltage #4\n_rlnSphericalAberration #5\n_rlnAmplitudeContrast #6\nopticsGroup1 1 {PIXEL_SIZE} {VOLTAGE} 1.4 0.1\n\n"
        "# version 30001\n\ndata_movies\n\nloop_\n_rlnMicrographMovieName #1\n_rlnOpticsGroup #2\nmovie.tiff 1\n\n"
    )


def error(found: Path, truth: Path) -> float:
    """Root mean square error of the displacement in pixels, each place's mean over the frames taken away."""
    import torch

    from cryowalk.io.motion import read_motion
    from cryowalk.microscope.beam_motion import displacement

    moved, known = read_motion(found), read_motion(truth)
    places = torch.rand(500, 2, generator=torch.Generator().manual_seed(3), dtype=torch.float64) * torch.tensor(known.field)
    tracks = [displacement(motion, places) for motion in (moved, known)]
    tracks = [track - track.mean(0) for track in tracks]
    return float((tracks[0] - tracks[1]).square().sum(-1).mean().sqrt()) / PIXEL_SIZE


def measure(folder: Path, size: tuple[int, int], frames: int, threads: int) -> dict:
    """Both programs on one movie."""
    make_movie(folder, size, frames)
    patches = [str(number) for number in PATCHES]
    ours = [sys.executable, "-m", "cryowalk", "motion", "--i", "movies.star", "--patches", *patches, "--dose-per-frame", str(DOSE), "--quiet", "--threads", str(threads)]  # fmt: skip
    run([*ours, "--o", "warm"], folder=folder, threads=threads)  # compiles, and brings the movie into the file cache for both
    told = run([*ours, "--o", "ours"], folder=folder, threads=threads)
    frames_bytes = 4 * frames * size[0] * size[1]
    result = {
        "size": list(size), "frames": frames, "patches": list(PATCHES), "frames_as_float32_bytes": frames_bytes,
        "cryowalk": {
            **{name: told[name] for name in ("wall_seconds", "processor_seconds", "peak_memory_bytes")},
            "error_pixels": error(folder / "ours/micrographs/movie_motion.star", folder / "truth_motion.star"),
        },
        "uncorrected_error_pixels": still_error(folder),
        "ratios": {"memory_over_frames_and_gibibyte": told["peak_memory_bytes"] / (frames_bytes + 2**30)},
    }  # fmt: skip
    program = relion("relion_run_motioncorr")
    if program is not None:
        command = [program, "--i", "movies.star", "--o", "theirs/", "--use_own", "--j", str(threads), "--patch_x", patches[0], "--patch_y", patches[1], "--dose_weighting", "--dose_per_frame", str(DOSE), "--bfactor", "150", "--first_frame_sum", "1", "--last_frame_sum", "-1"]  # fmt: skip
        told = run(command, folder=folder, threads=threads)
        result["relion"] = {
            **{name: told[name] for name in ("wall_seconds", "processor_seconds", "peak_memory_bytes")},
            "error_pixels": error(folder / "theirs/movie.star", folder / "truth_motion.star"),
        }
        for name in ("wall_seconds", "processor_seconds", "error_pixels"):
            result["ratios"][f"relion_over_cryowalk_{name}"] = result["relion"][name] / result["cryowalk"][name]
    return result


def still_error(folder: Path) -> float:
    """The error of no correction."""
    from dataclasses import replace

    from cryowalk.data import Motion
    from cryowalk.io.motion import read_movie_motion, write_motion

    truth = read_movie_motion(folder / "truth_motion.star")
    still = Motion(global_displacement=0 * truth.motion.global_displacement, field=truth.motion.field)
    write_motion(replace(truth, motion=still, patch_frames=None, patch_positions=None, patch_shifts=None), folder / "still.star")
    return error(folder / "still.star", folder / "truth_motion.star")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a small size, to see that it runs")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--folder", type=Path, help="an empty folder to work in, which is kept (a temporary one otherwise)")
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    size, frames = ((1024, 1152), 12) if options.quick else ((3710, 3838), 24)
    facts = machine(options.threads)
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        result = measure(folder, size, frames, options.threads)
    path = write_result(
        "motion_quick.json" if options.quick else "motion.json",
        {"machine": facts, "goal": GOAL, "results": [result]},
        options.output,
    )
    print(json.dumps(result["ratios"]), result["cryowalk"]["error_pixels"], result.get("relion", {}).get("error_pixels"))
    print(path)


if __name__ == "__main__":
    main()
