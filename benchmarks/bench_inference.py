"""The engine's expectation step: how near its matrix products come to the machine's, and how the step's time falls to its parts and grows with the particles.

The set is that of the issue: 2,000 images of 96 × 96 pixels at 2.5 Å with a pixel signal-to-noise ratio of 0.04, here of a sum of Gaussian blobs.
"""

import argparse
import math
import time

from _shared import machine, phantom, set_threads, write_result

BOX, PIXEL_SIZE, DIAMETER = 96, 2.5, 170.0
GOAL = "60 % of the machine's matrix products; time linear in the particles"


def stack(count: int):
    """Noisy images of the phantom with CTF, and the map that made them."""
    import torch

    from cryowalk.data import Defocus, ImageStack, Optics, ParticleSet, Volume
    from cryowalk.fourier.slices import extract_slices, prepare_volume
    from cryowalk.fourier.transform import to_real
    from cryowalk.geometry.sampling import random_rotations
    from cryowalk.microscope.lens import contrast_transfer

    generator = torch.Generator().manual_seed(3)
    volume = phantom(BOX, voxel_size=PIXEL_SIZE)
    rotations = random_rotations(count, generator=generator).float()
    major = 10000 + 10000 * torch.rand(count, generator=generator)
    zero = torch.zeros(count)
    defocus = Defocus(major=major, minor=major, azimuth=zero, phase_shift=zero, b_factor=zero + 100)
    optics = Optics(pixel_size=PIXEL_SIZE)
    shift = 3 * torch.randn(count, 2, generator=generator)
    slices = extract_slices(prepare_volume(volume), rotations, shift=shift)
    clean = to_real(slices * contrast_transfer(optics, defocus, size=(BOX, BOX)), width=BOX)
    scale = float(clean.std()) / math.sqrt(0.04)
    pixels = clean / scale + torch.randn(clean.shape, generator=generator)
    images = ImageStack(pixels=pixels, pixel_size=PIXEL_SIZE)
    particles = ParticleSet(optics=(optics,), optics_index=torch.zeros(count, dtype=torch.long), images=images, defocus=defocus)
    return particles, Volume(voxels=volume.voxels / scale, voxel_size=PIXEL_SIZE)


def products(repeats: int) -> dict[str, float]:
    """GFLOP/s of a large square product, and of the dense level as it is done, with the scores' other passes and without."""
    import torch

    from cryowalk.fourier.disk import half_disk
    from cryowalk.inference.dense import Views, dense_scores
    from cryowalk.inference.rows import Comparison, shift_ramps
    from cryowalk.inference.search import shift_grid

    square = torch.randn(4096, 4096)
    peak = 2 * 4096**3 / best_time(lambda: square @ square, repeats) / 1e9
    disk = half_disk(BOX)
    count, cells, images = disk.prefix(15), 4608, 64
    shifts = shift_grid(6.0, 15.0)
    ramps = shift_ramps(disk, shifts, pixel_size=PIXEL_SIZE, count=count)
    searched, weight = torch.randn(images, count, dtype=torch.complex64), torch.rand(images, count)
    comparison = Comparison(searched, weight, torch.arange(images), ramps, 0, 15)
    views = Views(torch.randn(2 * count, cells), torch.rand(count, cells), torch.zeros(cells))
    work = 2 * images * len(shifts) * 2 * count * cells + 2 * images * count * cells
    seconds = best_time(lambda: dense_scores(comparison, slice(0, images), views), repeats)
    return {
        "machine_gflops": round(peak, 1),
        "dense_level_gflops": round(work / seconds / 1e9, 1),
        "share": round(work / seconds / 1e9 / peak, 3),
    }


def best_time(work, repeats: int) -> float:
    work()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)


def steps(count: int) -> dict[str, dict[str, float]]:
    """Seconds of whole expectation steps, with their sums."""
    import torch

    from cryowalk.fourier.slices import extract_slices, prepare_volume
    from cryowalk.fourier.transform import to_real
    from cryowalk.geometry.sampling import random_rotations
    from cryowalk.inference import (
        ClassReferences,
        ClassSums,
        GlobalOrientations,
        SearchSettings,
        VolumeReferences,
        VolumeSums,
        expectation,
        initial_noise,
    )

    particles, volume = stack(count)
    noise = initial_noise(particles)
    views = random_rotations(10, generator=torch.Generator().manual_seed(1)).float()
    averages = to_real(extract_slices(prepare_volume(volume), views), width=BOX)
    found = {}
    for name, radius, step in (("maps_40A_15deg", 6, 15.0), ("maps_15A_7.5deg", 16, 7.5), ("maps_5A_1.9deg", 46, 1.875)):
        search = SearchSettings(
            radius=radius,
            diameter=DIAMETER,
            angular_step=math.radians(step),
            shift_range=12.5,
            shift_step=max(1.25, 0.3 * 240 / radius),
        )
        references = VolumeReferences.of([volume], radius=radius)
        start = time.perf_counter()
        result = expectation(
            particles, references, noise, search, orientations=GlobalOrientations(models=1),
            sums=VolumeSums(1, box=BOX, pixel_size=PIXEL_SIZE, radius=radius),
        )  # fmt: skip
        found[name] = {
            "seconds": round(time.perf_counter() - start, 2),
            "significant": round(float(result.significant.float().mean()), 1),
        }
    search = SearchSettings(radius=30, diameter=DIAMETER, angular_step=math.radians(3), shift_range=12.5, shift_step=1.25)
    start = time.perf_counter()
    expectation(
        particles, ClassReferences.of(averages, pixel_size=PIXEL_SIZE, radius=30), noise, search,
        orientations=GlobalOrientations(models=10, kind="plane"), sums=ClassSums(10, box=BOX),
    )  # fmt: skip
    found["ten_classes_8A_3deg"] = {"seconds": round(time.perf_counter() - start, 2)}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--write", action="store_true", help="keep the result under benchmarks/results")
    options = parser.parse_args()
    set_threads(options.threads)
    steps(60)  # compiles
    result = {
        "goal": GOAL, "machine": machine(options.threads), "threads": options.threads, "images": options.count, "box": BOX,
        "products": products(options.repeats), "steps": steps(options.count), "steps_of_half_as_many": steps(options.count // 2),
    }  # fmt: skip
    print(result)
    if options.write:
        write_result("inference.json", result, None)


if __name__ == "__main__":
    main()
