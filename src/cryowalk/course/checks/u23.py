"""Checks of U23: Wiener's filter, sums over defoci, FSC weights, principal components; and the scenes that the unit filters."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch

from cryowalk import fourier
from cryowalk.course.exercise import Exercise, Explanation, as_numbers, choice_check, draw, number_check, property_check
from cryowalk.course.symbols import symbolic_check
from cryowalk.data import Defocus, Optics
from cryowalk.denoising.wiener import wiener_sum
from cryowalk.microscope.lens import contrast_transfer

SIDE, PIXEL_SIZE = 64, 3.0
OPTICS = Optics(pixel_size=PIXEL_SIZE, voltage_kv=300.0, spherical_aberration_mm=2.7, amplitude_contrast=0.1)
COARSEST = 30.0  # Å: beyond 1/30 Å⁻¹ every frequency should be seen by one of five images
BOX, VOXEL_SIZE = 48, 4.0
LENGTH, COUNT = 16, 1500  # of the images for principal components


class Halves(NamedTuple):
    """Two half maps and the truth behind them."""

    first: torch.Tensor
    second: torch.Tensor
    truth: torch.Tensor


class Pieces(NamedTuple):
    """Images as rows, the clean ones, the noise's standard deviation, the covariance they were drawn from, and its rank."""

    images: torch.Tensor
    clean: torch.Tensor
    deviation: float
    covariance: torch.Tensor
    rank: int


def object_of(seed: int, *, side: int = SIDE) -> torch.Tensor:
    """A lopsided flat object: lumps of different sizes, mean 0."""
    source = torch.Generator().manual_seed(seed)
    line = torch.arange(side, dtype=torch.float64) - side // 2
    total = torch.zeros(side, side, dtype=torch.float64)
    for _ in range(26):
        x, y = (0.13 * side * torch.randn(2, generator=source, dtype=torch.float64)).tolist()
        width = 1.1 + 1.1 * float(torch.rand(1, generator=source))
        total += torch.exp(-((line - x - 2) ** 2 + (line[:, None] - y + 3) ** 2) / (2 * width**2))
    return total - total.mean()


def lenses(defoci: Any) -> torch.Tensor:
    """The contrast transfer functions of these defoci (Å) on half spectra of the unit's images."""
    major = torch.as_tensor(np.asarray(defoci, dtype=np.float64)).reshape(-1)
    zero = torch.zeros_like(major)
    return contrast_transfer(OPTICS, Defocus(major=major, minor=major, azimuth=zero, phase_shift=zero), size=(SIDE, SIDE))


def seen_through(clean: torch.Tensor, transfer: torch.Tensor, *, deviation: float, seed: int) -> torch.Tensor:
    """Images of one object behind each lens, with white noise."""
    images: torch.Tensor = fourier.to_real(fourier.to_fourier(clean) * transfer, width=SIDE)
    noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return images + deviation * noise


def halves_of(seed: int) -> Halves:
    """Half maps of a lopsided object, the noise as strong as detail of middling size."""
    source = torch.Generator().manual_seed(seed)
    line = torch.arange(BOX, dtype=torch.float64) - BOX // 2
    truth = torch.zeros(BOX, BOX, BOX, dtype=torch.float64)
    for _ in range(45):
        centre = (0.12 * BOX * torch.randn(3, generator=source, dtype=torch.float64)).tolist()
        width = 0.9 + 0.7 * float(torch.rand(1, generator=source))
        z, y, x = (torch.exp(-((line - c) ** 2) / (2 * width**2)) for c in centre)
        truth += z[:, None, None] * y[:, None] * x
    truth -= truth.mean()
    first, second = (truth + 0.25 * torch.randn(truth.shape, generator=source, dtype=torch.float64) for _ in range(2))
    return Halves(first, second, truth)


def pieces_of(seed: int, *, rank: int = 4, deviation: float = 1.0) -> Pieces:
    """Images that vary along a few smooth patterns, with white noise; a mean of 0."""
    source = torch.Generator().manual_seed(seed)
    line = torch.linspace(-1, 1, LENGTH, dtype=torch.float64)
    patterns = []
    for _ in range(rank):
        x, y, width = (torch.rand(3, generator=source, dtype=torch.float64) * torch.tensor([1.2, 1.2, 0.15])).tolist()
        spot = torch.exp(-((line - x + 0.6) ** 2 + (line[:, None] - y + 0.6) ** 2) / (2 * (0.18 + width) ** 2))
        patterns.append((spot - spot.mean()).reshape(-1))
    if rank:
        directions = torch.linalg.qr(torch.stack(patterns, dim=1))[0]
        strengths = torch.tensor([40.0, 22.0, 12.0, 7.0, 5.0, 4.5], dtype=torch.float64)[:rank]
        weights = torch.randn(COUNT, rank, generator=source, dtype=torch.float64) * strengths.sqrt()
        clean, covariance = weights @ directions.T, (directions * strengths) @ directions.T
    else:
        clean = torch.zeros(COUNT, LENGTH**2, dtype=torch.float64)
        covariance = torch.zeros(LENGTH**2, LENGTH**2, dtype=torch.float64)
    noise = torch.randn(clean.shape, generator=source, dtype=torch.float64)
    return Pieces(clean + deviation * noise, clean, deviation, covariance, rank)


def oracle(pieces: Pieces) -> torch.Tensor:
    """The best linear guess of the clean images by one who knows the true covariance."""
    identity = torch.eye(len(pieces.covariance), dtype=torch.float64)
    gain: torch.Tensor = torch.linalg.solve(pieces.covariance + pieces.deviation**2 * identity, pieces.covariance)
    return pieces.images @ gain


def least_transfer(defoci: Any) -> float:
    """The smallest sum of CTF² over these defoci (Å) between 1/30 Å⁻¹ and Nyquist."""
    radius = fourier.frequency_radius((SIDE, SIDE), pixel_size=PIXEL_SIZE, dtype=torch.float64)
    inside = (radius > 1 / COARSEST) & (radius < 0.5 / PIXEL_SIZE)
    return float((lenses(defoci) ** 2).sum(dim=0)[inside].min())


def _five(answer: Any, seed: int) -> str | None:
    if not isinstance(answer, tuple) or len(answer) != 2 or not callable(answer[1]):
        return "I expected a pair: your five defoci in Å, and your function."
    numbers = as_numbers(answer[0])
    if numbers is None or numbers.size != 5:
        return "Five defoci were asked for, in Å."
    defoci = numbers.real.reshape(-1)
    if not ((defoci >= 3000) & (defoci <= 60000)).all():
        return "The defoci should lie between 3,000 and 60,000 Å (0.3 to 6 μm)."
    least = least_transfer(defoci)
    if least <= 0.2:
        return f"Somewhere beyond 1/30 Å⁻¹ the sum of CTF² is only {least:.2f}: zeros coincide there. Are your defoci spread evenly, or too alike?"
    return _combined(answer[1], defoci, seed)


def _combined(combine: Callable[..., Any], defoci: Any, seed: int) -> str | None:
    number = draw(seed, "U23.3").randrange(1000)
    clean, transfer = object_of(number), lenses(defoci)
    images = seen_through(clean, transfer, deviation=0.6, seed=number)
    found = torch.as_tensor(combine(images.clone(), transfer.clone(), 0.3))
    if tuple(found.shape) != (SIDE, SIDE) or not bool(torch.isfinite(found).all()):
        return f"The function should return one image of {SIDE} × {SIDE} pixels, without NaN."
    expected = wiener_sum(images, transfer, noise_to_signal=0.3)
    single = max(
        float(_mean_correlation(fourier.to_real(fourier.to_fourier(one) * lens, width=SIDE), clean))
        for one, lens in zip(images, transfer, strict=True)
    )
    reached = float(_mean_correlation(found, clean))
    if reached < single:
        return f"Its mean ring correlation with the object is {reached:.2f}; the best single image has {single:.2f}. Is each image multiplied by its own CTF before they are added?"
    if not torch.allclose(found.double(), expected, atol=1e-6 * float(expected.abs().max())):
        ratio = float((found * expected).sum() / (expected * expected).sum())
        return f"The rings are right, but not their heights: along the solution yours is {ratio:.2f} times as strong. One denominator for the whole sum: Σ H² + N/S."
    return None


def _mean_correlation(image: torch.Tensor, clean: torch.Tensor) -> torch.Tensor:
    mean: torch.Tensor = fourier.shell_correlation(image.double(), clean)[2:22].mean()
    return mean


def _volume(answer: Any, seed: int) -> str | None:
    if not isinstance(answer, tuple) or len(answer) != 2 or not all(callable(part) for part in answer):
        return "I expected a pair of functions: reference_correlation and denoise."
    reference, denoise = answer
    for fsc, expected in ((1 / 7, 0.5), (0.5, 0.81650), (1.0, 1.0), (0.0, 0.0)):
        found = as_numbers(reference(torch.tensor([fsc], dtype=torch.float64)))
        if found is None or found.size != 1 or abs(float(found.real.reshape(-1)[0]) - expected) > 1e-4:
            return f"At an FSC of {fsc:.3f} the correlation of the average with the truth is {expected:.3f}; yours says {found}."
    negative = as_numbers(reference(torch.tensor([-0.05], dtype=torch.float64)))
    if negative is None or not np.isfinite(negative).all():
        return "A negative FSC happens in noise, and the root of a negative number is NaN: such shells count as 0."
    number = draw(seed, "U23.5").randrange(1000, 2000)
    halves = halves_of(number)
    denoised = torch.as_tensor(denoise(halves.first.clone(), halves.second.clone()))
    if denoised.shape != halves.truth.shape or not bool(torch.isfinite(denoised).all()):
        return f"denoise should return one map of {BOX} voxels a side, without NaN."
    return _volume_problem(denoised.double(), halves)


def _volume_problem(found: torch.Tensor, halves: Halves) -> str | None:
    average = (halves.first + halves.second) / 2

    def error(volume: torch.Tensor) -> float:
        return float((volume - halves.truth).square().mean())

    if error(found) > 0.5 * error(average):
        return f"The mean square error went from {error(average):.4f} to {error(found):.4f}: the noise of the fine shells is still there, or the signal is gone."
    before, after = (fourier.shell_correlation(volume, halves.truth) for volume in (average, found))
    if float((after - before)[1:10].abs().max()) > 0.02:
        return "A shell's correlation with the truth has changed: weights that depend on the radius alone cannot do that. Is the average of both halves what you filter?"
    return None


def _components(answer: Callable[..., Any], seed: int) -> str | None:
    for rank in (4, 2, 0):
        pieces = pieces_of(draw(seed, "U23.6").randrange(3000, 4000) + rank, rank=rank)
        given = answer(pieces.images.clone(), pieces.deviation)
        if not isinstance(given, tuple) or len(given) != 2:
            return "The function should return a pair: the denoised images, and the number of components that it kept."
        found, kept = torch.as_tensor(given[0]), int(given[1])
        if found.shape != pieces.images.shape or not bool(torch.isfinite(found).all()):
            return f"The denoised images should have the shape {tuple(pieces.images.shape)}, without NaN."
        if kept != rank:
            return (
                f"Images with {rank} components and noise: {kept} were kept. Where does the noise's spectrum of eigenvalues end?"
            )
        error, best = (float((x - pieces.clean).square().mean()) for x in (found.double(), oracle(pieces)))
        if rank and error > 1.35 * best:
            return f"The error is {error / best:.2f} times that of the one who knows the covariance. Are the kept components shrunk, λ − σ² over λ?"
        if not rank and error > 0.01 * pieces.deviation**2:
            return "There is nothing but noise in these images, and some of it is still there."
    return None


EXERCISES = (
    Exercise(
        id="U23.1",
        stream="sharpen",
        kind="symbolic",
        task="The most probable x behind y = h x + n, for Gaussian x of variance s and noise of variance n.",
        check=symbolic_check("h*s*y/(h^2*s + n)", variables=("h", "s", "n", "y"), success="Right: that is Wiener's filter."),
        hints=(
            "Minus the log of the posterior is (y − h x)²/(2n) + x²/(2s). Where is it smallest?",
            "Its derivative: −h (y − h x)/n + x/s = 0.",
            "Multiply by n s and collect x.",
        ),
    ),
    Exercise(
        id="U23.2",
        stream="blur",
        kind="numeric",
        task="The best Wiener constant for a signal-to-noise ratio of 0.1.",
        check=number_check(lambda seed: 10.0, relative=0.01),
        hints=(
            "Divide numerator and denominator of h s/(h² s + n) by s.",
            "The constant beside h² is n/s.",
            "SNR = s/n = 0.1.",
        ),
    ),
    Exercise(
        id="U23.3",
        stream="sharpen",
        kind="code",
        task="Five defoci that leave no gap, and the Wiener sum of their images.",
        check=property_check(_five, success="Right: every frequency is seen, and the sum is better than any single image."),
        hints=(
            "Each image is multiplied by its own CTF, and the products are added. The denominator is one for all: Σ H² + N/S.",
            "fourier.to_fourier works on stacks; sum over the first axis; fourier.to_real(…, width=64) brings the sum back.",
            "Beyond 1/30 Å⁻¹ but still coarse, only a strong defocus has transferred much: begin with 2 to 3 μm, and take the others closer to focus in uneven steps.",
        ),
    ),
    Exercise(
        id="U23.4",
        stream="blur",
        kind="predict",
        task="Whether a radial denoiser raises the resolution.",
        check=choice_check(
            "no",
            feedback={
                "yes": "Look at the curve: numerator and denominator of the FSC are multiplied by the same weights.",
                "only Wiener": "Wiener's filter is one weight for each shell, like every low pass.",
            },
        ),
        hints=(
            "Write the FSC of a shell, and multiply one map's coefficients there by w.",
            "w appears once above, and once below: as √w².",
            "It cancels, whatever w is.",
        ),
    ),
    Exercise(
        id="U23.5",
        stream="sharpen",
        kind="code",
        task="The correlation of the average with the truth from the FSC of the halves, and a map filtered by it.",
        check=property_check(_volume),
        hints=(
            "The halves have a signal s and noise n: FSC = s/(s + n). The average has noise n/2.",
            "C_ref = √(s/(s + n/2)) = √(2 FSC/(1 + FSC)). Shells with a negative FSC count as 0.",
            "Wiener's weight is C_ref². fourier.shell_correlation gives the FSC, fourier.apply_shell_weights(map, weights, dimensions=3) filters the average.",
        ),
    ),
    Exercise(
        id="U23.6",
        stream="sharpen",
        kind="code",
        task="Images denoised by their principal components, as many as rise above the noise.",
        check=property_check(_components),
        hints=(
            "The covariance of n images of p pixels is Yᵀ Y/n. Of pure noise its eigenvalues end near σ²(1 + √(p/n))².",
            "Keep the components above that edge (a few percent more, since the largest eigenvalue fluctuates), and count them.",
            "An image's coefficient c along a kept component shrinks to c · v/(v + σ²). v ≈ λ − σ²(1 + p/n) is nearly right for strong components; solve λ = (v + σ²)(1 + (p/n) σ²/v) to do better.",
        ),
    ),
)
EXPLANATIONS = (
    Explanation(
        id="U23.words",
        question="A colleague refines against a map that a network has denoised, and reports the resolution of that refinement. What is wrong, and what could the map be used for?",
        rubric=("halves", "noise", "prior", "mask", "resolution"),
        model_answer="What the network put in, its prior, is the same in both halves: they are no longer independent, their FSC rises, and the resolution is that of the prior. "
        "Alignment against it pulls noise towards it. For looking, for picking, for making a mask it may serve; refine and measure with the unfiltered halves.",
    ),
)


def edge_of(count: int, pixels: int) -> float:
    """Where the eigenvalues of the covariance of unit white noise end: (1 + √(p/n))²."""
    return (1 + math.sqrt(pixels / count)) ** 2
