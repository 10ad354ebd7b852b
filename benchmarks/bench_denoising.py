"""Denoising of half maps, of particles and of a pair of micrographs: time, mean square error, and the guarantee, all against the truth.

Half maps of a phantom by each method; particles of one object behind their CTFs by covariance and by single-image filters, beside a Wiener filter that is told the true spectra;
a pair of micrographs by networks trained on themselves. `worst_change` is the lowest change of a shell's correlation with the truth; the guarantee is that it is not below
what chance gives.
"""

import argparse
import json
import math
import time
from pathlib import Path

from _shared import machine, phantom, set_threads, write_result

GOAL = "error below every radial filter; no shell's correlation with the truth lowered; covariance: within 10 % of the oracle of its model"
PIXEL_SIZE = 3.0


def timed(work):
    """Seconds, and the result."""
    start = time.perf_counter()
    result = work()
    return time.perf_counter() - start, result


def judged(found, average, truth) -> dict:
    """Error and changes of the shells' correlation with the truth."""
    from cryowalk.fourier import shell_correlation

    before, after = (shell_correlation(x.double(), truth.double()) for x in (average, found))
    change = (after - before)[1:]
    return {
        "mean_square_error": float((found - truth).square().mean()),
        "worst_change": float(change.min()),
        "mean_change": float(change.mean()),
    }


def pairs(truth, *, deviation: float, methods: dict) -> dict:
    """Each method on two noisy halves of the truth."""
    import torch

    from cryowalk.denoising import denoise_pairs

    source = torch.Generator().manual_seed(2)
    halves = tuple(truth + deviation * torch.randn(truth.shape, generator=source) for _ in range(2))
    average = (halves[0] + halves[1]) / 2
    result: dict = {"shape": list(truth.shape), "average": judged(average, average, truth)}
    for name, settings in methods.items():
        generator = torch.Generator().manual_seed(3)
        seconds, found = timed(lambda s=settings, g=generator: next(iter(denoise_pairs([halves], s, generator=g))))
        result[name] = {"seconds": seconds, **judged(found.array, average, truth)}
        if settings.method == "noise2noise":
            result[name]["steps"] = 2 * settings.steps
    return result


def half_maps(box: int, steps: int) -> dict:
    """Half maps of the phantom."""
    from cryowalk.denoising import DenoisingSettings

    truth = phantom(box).voxels
    truth = (truth - truth.mean()) / truth.std()
    methods = {
        name: DenoisingSettings(method=name, steps=steps, crop=24, channels=8) for name in ("wiener", "local", "noise2noise")
    }
    return pairs(truth, deviation=3.0, methods=methods)


def micrographs(side: int, steps: int) -> dict:
    """Odd and even sums of a field of particles."""
    import torch

    from cryowalk.denoising import DenoisingSettings

    source = torch.Generator().manual_seed(4)
    line = torch.arange(side, dtype=torch.float32)
    truth = torch.zeros(side, side)
    for _ in range(side * side // 150):
        x, y, width = (torch.rand(3, generator=source) * torch.tensor([side, side, 2.5])).tolist()
        truth -= (
            torch.exp(-((line - x) ** 2) / (2 * (1.5 + width) ** 2))
            * torch.exp(-((line - y) ** 2) / (2 * (1.5 + width) ** 2))[:, None]
        )
    truth = (truth - truth.mean()) / truth.std()
    methods = {name: DenoisingSettings(method=name, steps=steps) for name in ("wiener", "noise2noise")}
    return pairs(truth, deviation=3.0, methods=methods)


class Kept:
    """A sink that keeps what it is given."""

    def __init__(self) -> None:
        self.images: list = []

    def write(self, images) -> None:
        self.images.append(images)


def particles(count: int, box: int) -> dict:
    """Projections of a lopsided object, each behind its own CTF."""
    import torch

    from cryowalk import Defocus, Optics, ParticleSet, fourier
    from cryowalk.data import ImageStack
    from cryowalk.denoising import DenoisingSettings, covariance_filter, wiener_filter
    from cryowalk.denoising.particles import wiener_particles
    from cryowalk.fourier.filters import low_pass
    from cryowalk.microscope.lens import contrast_transfer

    source = torch.Generator().manual_seed(5)
    places = torch.randn(24, 3, generator=source, dtype=torch.float64) * box / 12
    turns = torch.linalg.qr(torch.randn(count, 3, 3, generator=source, dtype=torch.float64))[0]
    flat = (places @ turns.transpose(1, 2))[..., :2]
    line = torch.arange(box, dtype=torch.float64) - box // 2
    along = [torch.exp(-((line - flat[..., axis, None]) ** 2) / (2 * 1.8**2)) for axis in (0, 1)]
    clean = torch.einsum("npy,npx->nyx", along[1], along[0])
    optics, zero = Optics(pixel_size=PIXEL_SIZE), torch.zeros(count, dtype=torch.float64)
    major = 8000 + 15000 * torch.rand(count, generator=source, dtype=torch.float64)
    defocus = Defocus(major=major, minor=major - 200, azimuth=zero, phase_shift=zero)
    size = (box, box)
    transfer = contrast_transfer(optics, defocus, size=size)
    seen = fourier.to_real(fourier.to_fourier(clean) * transfer, width=box)
    deviation = math.sqrt(float(seen.var()) / 0.1)
    images = (seen + deviation * torch.randn(seen.shape, generator=source, dtype=torch.float64)).float()
    stack = ImageStack(pixels=images, pixel_size=PIXEL_SIZE)
    given = ParticleSet(optics=(optics,), optics_index=torch.zeros(count, dtype=torch.int64), images=stack, defocus=defocus)
    settings = DenoisingSettings(diameter=0.8 * box * PIXEL_SIZE)

    def centred(x):
        return x - x.mean(dim=(1, 2), keepdim=True)

    def error(x) -> float:
        return float((centred(x.double()) - centred(clean)).square().mean())

    result: dict = {"count": count, "box": box, "snr": 0.1}
    for name, work in (("covariance", covariance_filter), ("wiener", wiener_particles)):
        sink = Kept()
        seconds, told = timed(lambda work=work, sink=sink: work(given, settings, sink=sink))
        result[name] = {
            "seconds": seconds,
            "images_per_second": count / seconds,
            "mean_square_error": error(torch.cat(sink.images)),
        }
        if name == "covariance":
            result[name]["rank"] = told.rank
    signal = fourier.shell_average(fourier.to_fourier(clean).abs().square().mean(dim=0), size=size)
    noise = torch.full_like(signal, deviation**2)
    told_truth = wiener_filter(images.double(), signal=signal, noise=noise, transfer=transfer)
    result["wiener_told_the_spectra"] = {"mean_square_error": error(told_truth)}
    flipped = fourier.to_real(fourier.to_fourier(images.double()) * transfer.sign(), width=box)
    passes = [centred(low_pass(flipped, resolution=r, pixel_size=PIXEL_SIZE)) for r in (8.0, 12.0, 16.0, 22.0, 30.0, 45.0, 60.0)]
    scaled = [x * float((x * centred(clean)).sum() / x.square().sum()) for x in passes]
    result["best_low_pass"] = {"mean_square_error": min(error(x) for x in scaled)}
    result["wiener_over_its_oracle"] = (
        result["wiener"]["mean_square_error"] / result["wiener_told_the_spectra"]["mean_square_error"]
    )
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a small size, to see that it runs")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    facts = machine(options.threads)
    set_threads(options.threads)
    if options.quick:
        parts = {"half maps": half_maps(48, 20), "particles": particles(400, 48), "micrographs": micrographs(256, 40)}
    else:
        parts = {"half maps": half_maps(96, 300), "particles": particles(5000, 96), "micrographs": micrographs(2048, 600)}
    name = "bench_denoising_quick.json" if options.quick else "bench_denoising.json"
    path = write_result(name, {"machine": facts, "goal": GOAL, "results": parts}, options.output)
    print(json.dumps(parts, indent=1))
    print(path)


if __name__ == "__main__":
    main()
