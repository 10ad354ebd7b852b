"""Checks of U10: multislice, and where the linear model ends."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from cryowalk import Defocus, Optics
from cryowalk.core.constants import interaction_constant
from cryowalk.course.exercise import (
    Exercise,
    Explanation,
    as_numbers,
    draw,
    matching_check,
    number_check,
    property_check,
)
from cryowalk.fourier.filters import low_pass
from cryowalk.microscope.image_formation import image_of_wave
from cryowalk.microscope.multislice import propagate
from cryowalk.microscope.scattering import Scattering, exit_wave

OPTICS = Optics(pixel_size=0.75, voltage_kv=300.0, spherical_aberration_mm=2.7, amplitude_contrast=0.0)
SLICE = 2.0  # Å
UNDERFOCUS = 8000.0  # Å
SIGMA = interaction_constant(OPTICS.voltage_kv)  # rad/(V Å)
Wave = NDArray[np.complex128]


def toy_slices(*, side: int = 128, count: int = 36, atoms: int = 900, seed: int = 3) -> NDArray[np.float64]:
    """A ball of toy atoms, 60 Å across in 36 slices of 2 Å: the phase (rad) of each slice `[slices, side, side]`; 1 rad where the sum is largest."""
    random = np.random.default_rng(seed)
    directions = random.normal(size=(atoms, 3))
    radius = 0.8 * count * SLICE / 2 * random.random(atoms) ** (1 / 3)
    places = directions * (radius / np.linalg.norm(directions, axis=1))[:, None]
    axis = (np.arange(side) - side // 2) * OPTICS.pixel_size
    slices = np.zeros((count, side, side))
    for x, y, z in places:
        along_y, along_x = (np.exp(-((axis - at) ** 2) / (2 * 0.8**2)) for at in (y, x))
        slices[int(z / SLICE + count / 2)] += np.outer(along_y, along_x)
    # Nothing beyond 2.5 Å: multislice keeps detail to 2.25 Å with these pixels, and what it cuts is not to be taken for an effect of thickness.
    smooth = low_pass(torch.from_numpy(slices), resolution=2.5, pixel_size=OPTICS.pixel_size).numpy()
    return np.asarray(smooth / smooth.sum(axis=0).max())


def defocus_of(underfocus: float) -> Defocus:
    """The defocus of one image without astigmatism, Å."""
    value = torch.tensor(float(underfocus), dtype=torch.float64)
    return Defocus(major=value, minor=value, azimuth=0 * value, phase_shift=0 * value)


def image_by(method: Scattering, phases: NDArray[np.float64], *, thickness: float = SLICE) -> NDArray[np.float64]:
    """The image of slices of phase (rad) by one of the library's models of scattering."""
    potential = torch.from_numpy(phases / SIGMA)
    wave = exit_wave(potential, optics=OPTICS, slice_thickness=thickness, method=method)
    return np.asarray(image_of_wave(wave, OPTICS, defocus_of(UNDERFOCUS)).numpy())


def _frequencies(shape: tuple[int, int], pixel_size: float) -> NDArray[np.float64]:
    """|k| on the full unshifted spectrum, 1/Å."""
    axes = [np.where(np.arange(n) < (n + 1) // 2, np.arange(n), np.arange(n) - n) / (n * pixel_size) for n in shape]
    return np.asarray(np.hypot(axes[0][:, None], axes[1]))


def _filtered(wave: Wave, factor: Any) -> Wave:
    """The wave with its full spectrum multiplied by a factor."""
    from cryowalk.fourier.transform import filtering_transform

    spectrum = filtering_transform(torch.from_numpy(np.asarray(wave, dtype=np.complex128)), direction="forward")
    return np.asarray(filtering_transform(spectrum * torch.as_tensor(factor), direction="inverse").numpy())


# ---------------------------------------------------------------------------------------------------------------- U10.2


def _stepped(answer: Callable[..., Any], seed: int) -> str | None:
    random = np.random.default_rng(draw(seed, "U10.2").randrange(2**31))
    for shape, distance in (((32, 40), 0.0), ((33, 31), 12.0), ((32, 40), -300.0)):
        wave = random.normal(size=shape) + 1j * random.normal(size=shape)
        phase = random.normal(size=shape)
        found = as_numbers(answer(wave.copy(), phase.copy(), distance))
        if found is None or found.shape != shape:
            return "I expected a wave of the same size back."
        problem = _step_problem(found, wave, phase, distance)
        if problem:
            return problem
    return None


def _step_problem(found: Wave, wave: Wave, phase: NDArray[np.float64], distance: float) -> str | None:
    passed = wave * np.exp(1j * phase)
    expected = propagate(torch.from_numpy(passed), optics=OPTICS, distance=distance).numpy()
    tolerance = 1e-12 if distance == 0 else 1e-9
    if np.abs(found - expected).max() < tolerance * 10:
        return None
    if abs((np.abs(found) ** 2).sum() / (np.abs(wave) ** 2).sum() - 1) > 1e-6:
        return "Electrons were lost, or made: the sum of |ψ|² has changed. Neither a phase nor free space may do that."
    if distance == 0:
        return "With no space behind it, a slice should do nothing but transmit, and this is not what it transmits."
    backwards = propagate(torch.from_numpy(passed), optics=OPTICS, distance=-distance).numpy()
    if np.allclose(found, backwards, atol=1e-8):
        return "This wave has travelled back towards the gun."
    other_order = propagate(torch.from_numpy(wave), optics=OPTICS, distance=distance).numpy() * np.exp(1j * phase)
    if np.allclose(found, other_order, atol=1e-8):
        return "You let the wave travel first and transmit then: the slice comes before the space."
    return "Transmission is right, free space is not: look at the exponent, and at the order of the frequencies."


# ---------------------------------------------------------------------------------------------------------------- U10.3


def _two_ways(answer: Callable[..., Any], seed: int) -> str | None:
    random = np.random.default_rng(draw(seed, "U10.3").randrange(2**31))
    shape = (48, 44)
    k = _frequencies(shape, 1.0)
    chi = 40 * k**2 - 90 * k**4
    pattern = _filtered(random.normal(size=shape).astype(complex), np.exp(-40 * k**2)).real
    pattern /= np.abs(pattern).max()
    worst = []
    for strength in (0.05, 0.1, 0.2):
        phase = strength * pattern
        both = answer(phase.copy(), chi.copy())
        if not isinstance(both, tuple | list) or len(both) != 2:
            return "I expected a pair of images: by the complex transfer, and by the sine."
        images = [as_numbers(one) for one in both]
        if any(one is None or one.shape != shape for one in images):
            return "I expected two images of the size of the phase."
        whole, linear = (np.asarray(one) for one in images)
        problem = _image_problem(whole, linear, phase, chi)
        if problem:
            return problem
        worst.append(np.abs(whole - linear).max())
    ratios = [worst[1] / worst[0], worst[2] / worst[1]]
    if any(abs(ratio - 4) > 0.4 for ratio in ratios):
        return f"Doubling the phase multiplies the difference by {ratios[0]:.2f} and {ratios[1]:.2f}."
    return None


def _image_problem(whole: Any, linear: Any, phase: NDArray[np.float64], chi: NDArray[np.float64]) -> str | None:
    truth = np.abs(_filtered(np.exp(1j * phase), np.exp(1j * chi))) ** 2
    sine = 1 - 2 * _filtered(phase.astype(complex), np.sin(chi)).real
    contrast = np.abs(sine - 1).max()
    if np.abs(whole - truth).max() > 1e-9:
        if np.allclose(whole, np.abs(_filtered(np.exp(1j * phase), np.exp(-1j * chi))) ** 2, atol=1e-9):
            return "The complex image has the sign of the lens turned round: underfocus has become overfocus."
        if np.abs(np.asarray(whole).imag).max() > 1e-9:
            return "The first image is still a wave: a camera counts |ψ|²."
        return "The first image is not |ψ|² behind the lens: transmit by exp(iφ), multiply the spectrum by exp(iχ), go back, take the square of the modulus."
    if np.abs(linear - sine).max() > 1e-6 * contrast:
        if np.allclose(linear - 1, 1 - sine, atol=1e-6 * contrast):
            return "The first image is right; the second is protein bright. This is a camera's picture: protein is dark."
        if np.allclose(2 * (linear - 1), sine - 1, atol=1e-6 * contrast):
            return "The first image is right; the second has half the contrast. |1 + ε|² is 1 plus twice something."
        return "The first image is right; the second is not 1 plus the linear term in φ of the first."
    return None


# ---------------------------------------------------------------------------------------------------------------- U10.4


def band_correlation(first: Any, second: Any, pixel_size: float, *band_limits: float) -> float:
    """The Fourier correlation of two images in the band between a coarse and a fine resolution (Å)."""
    coarse, fine = band_limits
    k = _frequencies(first.shape, pixel_size)
    band = (k > 1 / coarse) & (k < 1 / fine)
    one, other = (_filtered_spectrum(image)[band] for image in (first, second))
    return float((one * other.conj()).real.sum() / np.sqrt((np.abs(one) ** 2).sum() * (np.abs(other) ** 2).sum()))


def _filtered_spectrum(image: Any) -> Wave:
    from cryowalk.fourier.transform import filtering_transform

    return np.asarray(filtering_transform(torch.from_numpy(np.asarray(image, dtype=np.complex128)), direction="forward").numpy())


def _correlated(answer: Callable[..., Any], seed: int) -> str | None:
    random = np.random.default_rng(draw(seed, "U10.4").randrange(2**31))
    common = random.normal(size=(40, 46))
    one, other = (common + random.normal(size=(40, 46)) + 5 for _ in range(2))
    other -= 3 * _filtered(common.astype(complex), _frequencies(common.shape, 1.0) < 0.15).real
    for coarse, fine in ((10.0, 3.0), (5.0, 2.5)):
        found = as_numbers(answer(one, other, 1.0, coarse, fine))
        if found is None or found.size != 1:
            return "I expected one number, the correlation in the band."
        value = float(np.real(found.reshape(-1)[0]))
        if abs(value - band_correlation(one, other, 1.0, coarse, fine)) > 1e-6:
            return _correlation_mistake(value, one, other)
    phases = toy_slices(side=96, count=24, atoms=400, seed=draw(seed, "U10.4 atoms").randrange(1000))
    found_pair = []
    for strength in (0.05, 0.4):
        thick, thin = (image_by(method, strength * phases, thickness=3.0) for method in ("multislice", "phase_grating"))
        found_pair.append(float(np.real(answer(thick, thin, OPTICS.pixel_size, 5.0, 3.0))))
    if abs(found_pair[0] - found_pair[1]) > 0.002:
        return f"For your toy, weak and strong, the band has {found_pair[0]:.4f} and {found_pair[1]:.4f}: they should not differ."
    return None


def _correlation_mistake(value: float, one: Any, other: Any) -> str:
    if abs(value) > 1 + 1e-9:
        return "A correlation lies between −1 and 1: what is it divided by?"
    if abs(value - band_correlation(one, other, 1.0, 1e9, 1e-9)) < 1e-6:
        return "This is the correlation of the whole images, not of a band of frequencies."
    if abs(value - float(np.corrcoef(one.reshape(-1), other.reshape(-1))[0, 1])) < 1e-6:
        return "This is the correlation of pixels. Go to Fourier space, and keep the band alone."
    return "Two random images that share a part do not get the correlation that they have. Which coefficients belong to the band, and what does one image's spectrum meet in the sum?"


# ---------------------------------------------------------------------------------------------------------------- U10.5


def thick_loss(phases: Any, target: Any, propagator: Any) -> float:
    """Σ (|ψ|² − target)², ψ the wave behind slices that transmit exp(iφ), each with a propagator (full spectrum) behind it."""
    wave = np.ones(np.shape(target), dtype=np.complex128)
    for phase in phases:
        wave = _filtered(wave * np.exp(1j * np.asarray(phase)), propagator)
    return float(((np.abs(wave) ** 2 - target) ** 2).sum())


def _differentiated(answer: Callable[..., Any], seed: int) -> str | None:
    random = np.random.default_rng(draw(seed, "U10.5").randrange(2**31))
    for shape in ((3, 8, 9), (1, 6, 6), (5, 7, 8)):
        k = _frequencies((shape[1], shape[2]), 0.75)
        propagator = np.exp(-1j * np.pi * OPTICS.wavelength * 25.0 * k**2)
        phases, target = 0.4 * random.normal(size=shape), 1 + 0.3 * random.normal(size=shape[1:])
        found = as_numbers(answer(phases.copy(), target.copy(), propagator.copy()))
        if found is None or found.shape != shape:
            return "I expected one number for each pixel of each slice: an array of the shape of the phases."
        if np.iscomplexobj(found) and np.abs(found.imag).max() > 1e-9 * np.abs(found).max():
            return "The phases are real, and so is a gradient with respect to them; yours has an imaginary part."
        problem = _gradient_problem(np.real(found), phases, target, propagator)
        if problem:
            return f"{problem} ({shape[0]} slice{'s' if shape[0] > 1 else ''})"
    return None


def _gradient_problem(found: Any, phases: Any, target: Any, propagator: Any) -> str | None:
    random = np.random.default_rng(1)
    step = 1e-4
    for slices in (slice(-1, None), slice(0, 1), slice(None)):
        direction = np.zeros(phases.shape)
        direction[slices] = random.normal(size=direction[slices].shape)
        ahead, behind = (thick_loss(phases + sign * step * direction, target, propagator) for sign in (1, -1))
        slope, claimed = (ahead - behind) / (2 * step), float((found * direction).sum())
        if abs(claimed / slope - 1) > 1e-5:
            which = "of the last slice" if slices == slice(-1, None) else "of the first slice" if slices == slice(0, 1) else ""
            if abs(claimed + slope) < 1e-4 * abs(slope):
                return f"The gradient {which} has the wrong sign."
            ratio = claimed / slope
            if min(abs(ratio - factor) for factor in (0.25, 0.5, 2.0, 4.0)) < 1e-4:
                return f"The gradient {which} is right but for a factor: count the twos of the two squares."
            return f"The gradient {which} is not the slope that small steps show."
    return None


# ---------------------------------------------------------------------------------------------------------------- U10.6


def flops_ratio(*, slices: int = 30, side: int = 256) -> float:
    """Operations of multislice (two transforms a slice) over those of a slice extraction (eight taps a coefficient, one transform back)."""
    pixels = side * side
    transform = 5 * pixels * math.log2(pixels)
    return slices * 2 * transform / (transform + pixels * 8 * 4)


EXERCISES = (
    Exercise(
        id="U10.1",
        stream="blur",
        kind="predict",
        task="Two simplifications, two causes: which error grows with the strength of the specimen, which with its thickness?",
        check=matching_check({"weak approximation": "strength", "projection assumption": "thickness"}),
        hints=(
            "Each slider of the lab changes one thing. Set one of them low, move the other, and watch one number.",
            "exp(iφ) becomes 1 + iφ. Does z stand anywhere in that?",
            "The other one adds up all slices as if no space lay between them. Is that a question of how strong they are?",
        ),
    ),
    Exercise(
        id="U10.2",
        stream="sharpen",
        kind="code",
        task="One step of multislice: transmit a wave through a slice, then let it travel.",
        check=property_check(
            _stepped, success="Right: no electron is lost, and a slice without space behind it is a projection."
        ),
        hints=(
            "Two lines: a product with exp(iφ) in real space, a product with exp(−iπλ Δz k²) in Fourier space.",
            "The frequencies come from np.fft.fftfreq(n, d=pixel size), one axis each; k² is the sum of their squares.",
            "fft2 of the transmitted wave, times the propagator, then ifft2. No shifting: fftfreq has the order of fft2.",
        ),
    ),
    Exercise(
        id="U10.3",
        stream="sharpen",
        kind="code",
        task="The same phase object through the complex lens and through the sine: two images.",
        check=property_check(_two_ways, success="Right: both images, and their difference grows with the square of the phase."),
        hints=(
            "The first: the wave exp(iφ), its spectrum times exp(iχ), back, and the square of the modulus.",
            "The second: φ alone, its spectrum times sin χ, back (it is real), and one minus twice that.",
            "Where does the minus come from? |1 + iφ e^{iχ}|² for one frequency: the real part of iφ e^{iχ} is −φ sin χ.",
        ),
    ),
    Exercise(
        id="U10.4",
        stream="sharpen",
        kind="code",
        task="The Fourier correlation of two images in a band of resolution, to compare multislice with projection at two strengths.",
        check=property_check(_correlated, success="Right: 0.05 rad or 0.4 rad, the projection costs the same."),
        hints=(
            "Take both spectra, keep those coefficients whose |k| lies between 1/coarse and 1/fine, and correlate these.",
            "Re Σ F₁ F₂* over the root of Σ|F₁|² Σ|F₂|², all three sums over the band alone.",
            "One of the two spectra is conjugated in the sum; the mean of the image lies outside the band and never enters.",
        ),
    ),
    Exercise(
        id="U10.5",
        stream="sharpen",
        kind="code",
        task="The gradient of a multislice loss with respect to every pixel of every slice, by going backwards once.",
        check=property_check(_differentiated, success="Right: one way back gives all slopes, to the fifth digit."),
        hints=(
            "Keep the wave behind every transmission on the way forth. At the end the sensitivity is 4 (|ψ|² − target) ψ.",
            "Going back through space multiplies the spectrum by the conjugate of the propagator, through a slice the wave by exp(−iφ).",
            "In front of the space behind slice i, with u the transmitted wave there and λ the sensitivity: the gradient is the imaginary part of λ u*.",
        ),
    ),
    Exercise(
        id="U10.6",
        stream="blur",
        kind="numeric",
        task="How many times as many operations does multislice with 30 slices of 256² take as one extraction of a central slice?",
        check=number_check(flops_ratio(), relative=0.2),
        hints=(
            "Count transforms: two for each slice of multislice, one (back to real space) for the extraction.",
            "A transform of N pixels takes 5 N log₂ N operations, and log₂ of 256² is 16.",
            "The extraction also reads 8 neighbours for each of N coefficients, 4 operations each: 32 N. The pixels N cancel.",
        ),
    ),
)

EXPLANATIONS = (
    Explanation(
        id="U10.words",
        question="A colleague says: the CTF is a linear theory, electrons are scattered many times, so all our maps rest on a wrong model. What do you answer?",
        rubric=("weak", "thick", "resolution", "phase", "square"),
        model_answer=(
            "A single protein is a weak phase object: its phase is a few tenths of a radian, and what the sine leaves out goes with the square of that, "
            "a few percent. Projection is a separate assumption, about how thick it is: it costs the fine detail first, and for 100 Å at 300 kV "
            "that begins near 2 Å resolution. For a virus, a cell's lamella or heavy atoms both must be asked again, and multislice answers."
        ),
    ),
)
