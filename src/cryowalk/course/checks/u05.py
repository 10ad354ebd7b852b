"""Checks of U05: the sliding integral, the convolution theorem, padding, kernels and filters."""

import random
from collections.abc import Callable, Mapping
from math import erfc, exp, log, pi, sin, sqrt
from typing import Any

import numpy as np

from cryowalk.course.exercise import (
    Exercise,
    Explanation,
    Verdict,
    as_numbers,
    derivation_check,
    draw,
    is_missing,
    matching_check,
    number_check,
    property_check,
    symbolic_check,
)
from cryowalk.course.symbols import FormulaError, evaluate

_LARGEST = max(2 * sin(4 * pi * u) * exp(-pi * u * u) for u in np.linspace(0.1, 0.14, 40001))
_HOMEWORK = symbolic_check("-2*i*sin(4*pi*u)*exp(-pi*u^2)", variables=("u",))
_HOMEWORK_OTHER_SIGN = symbolic_check("2*i*sin(4*pi*u)*exp(-pi*u^2)", variables=("u",))


def _homework(answer: Any, seed: int) -> Verdict:
    """The transform of the homework's function, and its largest modulus; the other sign of the exponent passes only if declared."""
    if is_missing(answer) or not isinstance(answer, Mapping):
        return Verdict(passed=False, message="I expected a dictionary with the entries 'G' and 'largest'.")
    sign = str(answer.get("exponent", "-")).strip().replace("−", "-")
    if sign not in {"-", "+"}:
        return Verdict(passed=False, message="The entry 'exponent' is the sign in the transform, '-' or '+'.")
    own, other = (_HOMEWORK, _HOMEWORK_OTHER_SIGN) if sign == "-" else (_HOMEWORK_OTHER_SIGN, _HOMEWORK)
    verdict = own(answer.get("G"), seed)
    if not verdict.passed:
        if not is_missing(answer.get("G")) and other(answer["G"], seed).passed:
            return Verdict(
                passed=False,
                message="The sign is that of the other convention of the transform. This course has a minus in the exponent; if you use a plus, declare it with 'exponent': '+'.",
            )
        return Verdict(passed=False, message=f"G: {verdict.message}")
    largest = as_numbers(answer.get("largest"))
    if largest is None or largest.size != 1 or not np.isclose(abs(complex(largest.reshape(-1)[0])), _LARGEST, rtol=1e-3):
        return Verdict(passed=False, message="The formula is right. The largest |G| is not: evaluate it on a fine grid of u.")
    return Verdict(passed=True, message="Right: an odd function has an odd transform, and if it is real, an imaginary one.")


def _lopsided(t: complex) -> complex:
    """A stand-in for a function, with no symmetry that could hide a mistake."""
    return (1 + 0.3 * t + 0.2 * t * t) / (1 + t**4)


def _leaning(t: complex) -> complex:
    """Another one."""
    return (1 + 0.1 * t) / (1 + (t - 0.4) ** 2)


def width(seed: int) -> Mapping[str, int]:
    """The learner's own blur, pixels."""
    return {"sigma": draw(seed, "U05.6").choice((3, 4, 5, 6))}


_GAUSSIANS = {
    "f_b * f_c": "sqrt(pi/(b+c))*exp(-b*c*x^2/(b+c))",
    "f_a * (f_b * f_c)": "pi/sqrt(a*b+b*c+c*a)*exp(-a*b*c*x^2/(a*b+b*c+c*a))",
    "(f_a * f_b) * f_c": "pi/sqrt(a*b+b*c+c*a)*exp(-a*b*c*x^2/(a*b+b*c+c*a))",
    "f_1 * f_2 * f_3": "pi/sqrt(11)*exp(-6*x^2/11)",
}


def _triple(answer: Any, seed: int) -> Verdict:
    """The derivation of the triple convolution, line by line, at positive widths (a root of a negative number has two values)."""
    if is_missing(answer) or not isinstance(answer, Mapping):
        return Verdict(passed=False, message=f"I expected a dictionary with the lines {', '.join(_GAUSSIANS)}.")
    source = random.Random(20210107)
    points = [
        {name: complex(source.uniform(0.3, 2.0)) for name in ("a", "b", "c")} | {"x": complex(source.uniform(-1.5, 1.5))}
        for _ in range(20)
    ]
    for name, expected in _GAUSSIANS.items():
        if is_missing(answer.get(name)):
            return Verdict(passed=False, message=f"The line {name!r} is still empty.")
        for point in points:
            try:
                found = evaluate(str(answer[name]), values=point)
            except FormulaError as error:
                return Verdict(passed=False, message=f"Look at the line {name!r}: {error}.")
            truth = evaluate(expected, values=point)
            if abs(found - truth) > 1e-9 * max(1.0, abs(truth)):
                place = ", ".join(f"{key} = {number.real:.3f}" for key, number in point.items())
                return Verdict(
                    passed=False,
                    message=f"Look at the line {name!r}: at {place} it is {abs(found / truth):.3g} times what it should be.",
                )
    return Verdict(passed=True, message="Right: both brackets give one formula, which is symmetric in a, b and c.")


_LOSS = 100 * erfc(3 / sqrt(2))  # percent of a Gaussian's mass beyond three standard deviations, both sides


def _direct(image: np.ndarray, kernel: np.ndarray, *, periodic: bool = False, flipped: bool = False) -> np.ndarray:
    """The sliding sum: zeros outside (or the image again), the kernel's origin at its pixel n // 2."""
    kernel = kernel[::-1, ::-1] if flipped else kernel
    rows, columns = kernel.shape
    border = ((rows, rows), (columns, columns))
    padded = np.pad(image, border, mode="wrap" if periodic else "constant")
    total = np.zeros(image.shape)
    for row in range(rows):
        for column in range(columns):
            top, left = rows - (row - rows // 2), columns - (column - columns // 2)
            total += kernel[row, column] * padded[top : top + image.shape[0], left : left + image.shape[1]]
    return total


def _convolve_problem(function: Callable[[np.ndarray, np.ndarray], Any], source: np.random.Generator) -> str | None:
    for size, kernel_size in (((16, 21), (5, 3)), ((15, 12), (4, 6)), ((20, 20), (9, 9))):
        image, kernel = source.normal(size=size), source.normal(size=kernel_size)
        found = as_numbers(function(image, kernel))
        where = f"an image of {size[0]} × {size[1]} and a kernel of {kernel_size[0]} × {kernel_size[1]}"
        if found is None or found.shape != size:
            return f"For {where} I expected an array of the size of the image."
        truth = _direct(image, kernel)
        if np.abs(found - truth).max() < 1e-12 * np.abs(kernel).sum() * np.abs(image).max():
            continue
        if np.allclose(found, _direct(image, kernel, periodic=True)):
            return f"For {where}: what leaves on one side comes in on the other. The padding is missing or too small."
        if np.allclose(found, _direct(image, kernel, flipped=True)):
            return f"For {where}: this is the correlation. Is the kernel mirrored once too often?"
        if any(
            np.allclose(np.roll(found, (dy, dx), (0, 1))[6:-6, 6:-6], truth[6:-6, 6:-6])
            for dy in range(-5, 6)
            for dx in range(-5, 6)
        ):
            return f"For {where}: right but shifted. The kernel's origin, its pixel n // 2, has to come to index 0."
        return f"For {where}: it differs from the sliding sum by {np.abs(found - truth).max():.1e}."
    return None


def _demonstration(answer: Any, seed: int) -> str | None:
    if not isinstance(answer, Mapping) or not {"convolve", "loss", "sharpen"} <= set(answer):
        return "I expected a dictionary with the entries 'convolve' (a function), 'loss' (percent) and 'sharpen' (three numbers)."
    problem = _convolve_problem(answer["convolve"], np.random.default_rng(draw(seed, "U05.8").randrange(2**31)))
    if problem:
        return problem
    loss = as_numbers(answer["loss"])
    if loss is None or loss.size != 1 or abs(float(loss.real.reshape(-1)[0]) / _LOSS - 1) > 0.02:
        if loss is not None and loss.size == 1 and abs(float(loss.real.reshape(-1)[0]) * 100 / _LOSS - 1) < 0.02:
            return "The convolution is right. The loss was asked for in percent."
        if loss is not None and loss.size == 1 and abs(float(loss.real.reshape(-1)[0]) * 2 / _LOSS - 1) < 0.02:
            return "The convolution is right. For the loss count both tails."
        return "The convolution is right. The loss is what a one-dimensional Gaussian has beyond three standard deviations."
    sharpen = as_numbers(answer["sharpen"])
    if sharpen is None or sharpen.size != 3 or not np.allclose(sharpen.reshape(-1), (1, 5, 9), atol=1e-6):
        return "Convolution and loss are right. For 'sharpen' add up the nine entries, each with its phase, at the three frequencies."
    return None


EXERCISES = (
    Exercise(
        id="U05.1",
        stream="blur",
        kind="numeric",
        task="The value at x = 0.25 of the convolution of a box (height 1, from -1/2 to 1/2) with itself.",
        check=number_check(0.75, absolute=1e-6, relative=0.0),
        hints=(
            "One value of the convolution is one area. Which two boxes overlap, and how far has the second one moved?",
            "Set the slider of the player to this x. The product of two boxes of height 1 is 1 where they overlap.",
            "The overlap reaches from the left end of the moved box to the right end of the other.",
        ),
    ),
    Exercise(
        id="U05.2",
        stream="blur",
        kind="predict",
        task="Is the transform of the homework's g real or imaginary, even or odd, and what is it at u = 0?",
        check=matching_check(
            {"values": "imaginary", "symmetry": "odd", "at zero": "zero"}, success="Right, and without computing anything."
        ),
        hints=(
            "Look at g: what happens to it when x changes its sign? What is its area?",
            "Real and even goes with cosines. What goes with sines, and what stands in front of the sine in exp(-2πiux)?",
            "The value at u = 0 is the area under g; the hill and the valley are of the same size.",
        ),
    ),
    Exercise(
        id="U05.3",
        stream="sharpen",
        kind="symbolic",
        task="The transform G(u) of the homework's function as a formula, and its largest modulus.",
        check=_homework,
        hints=(
            "You know the transform of exp(-πx²), and what a shift does to a transform. g is two shifted copies.",
            "A shift by +2 brings exp(-4πiu), one by -2 brings exp(+4πiu). The difference of the two is a sine.",
            "exp(-iz) - exp(iz) = -2i sin z, with z the phase of the shift by 2, times the transform of the unshifted Gaussian.",
        ),
    ),
    Exercise(
        id="U05.4",
        stream="sharpen",
        kind="symbolic",
        task="Show that convolution is commutative, line by line.",
        check=derivation_check(
            {
                "t": "x - s",
                "dt/ds": "-1",
                "integrand": "g(x - s)*h(s)",
                "sign from the bounds": "-1",
                "signs together": "1",
            },
            variables=("x", "s"),
            functions={"g": _lopsided, "h": _leaning},
            success="Right, every line: the two minus signs cancel, and g and h have changed places.",
        ),
        hints=(
            "Give the argument of h a name: s = x - t. Express everything in s.",
            "x is fixed while you integrate. When t runs upwards, which way does s run?",
            "Turning the bounds round gives a minus sign, and so does the derivative of t with respect to s.",
        ),
    ),
    Exercise(
        id="U05.5",
        stream="blur",
        kind="quiz",
        task="Match seven processes of cryo-EM to the kernel, the dimension and the space in which they are a convolution.",
        check=matching_check(
            {
                "defocus and lens": "D",
                "camera pixel": "F",
                "drift during a frame": "A",
                "template matching": "G",
                "circular mask on a particle image": "B",
                "putting a slice into the 3D transform": "E",
                "mask on half maps before the FSC": "C",
            },
            success="Right, all seven.",
        ),
        hints=(
            "Sort the cards first by space: three of them convolve in Fourier space. Which processes multiply in real space?",
            "A multiplication by a mask in real space is a convolution in Fourier space; images have two dimensions and maps three.",
            "A drift is a line, a pixel is a box, a lens rings, a template is compared and not smeared, a slice is handed out to neighbours.",
        ),
    ),
    Exercise(
        id="U05.6",
        stream="blur",
        kind="numeric",
        task="The frequency, in cycles per pixel, at which your Gaussian blur leaves half of the amplitude.",
        parameters=width,
        check=number_check(lambda seed: sqrt(2 * log(2)) / (2 * pi * width(seed)["sigma"]), relative=0.01),
        hints=(
            "The transform of a Gaussian of standard deviation σ is a Gaussian too. What is its standard deviation?",
            "The two standard deviations multiply to 1/(2π). Then: where is a Gaussian at half of its height?",
            "A Gaussian is at half of its height at √(2 ln 2) of its standard deviations.",
        ),
    ),
    Exercise(
        id="U05.7",
        stream="sharpen",
        kind="symbolic",
        task="Show with three Gaussians that convolution is associative.",
        check=_triple,
        hints=(
            "In the exponent stands -b t² - c (x - t)². Complete the square in t; what is left over depends on x only.",
            "The integral over t is √(π/(b+c)), wherever the square is centred. So the result is a Gaussian again, with the exponent bc/(b+c) for its width.",
            "Use your first line a second time, with b replaced by a and c by bc/(b+c), and do not forget the factor that is already there.",
        ),
    ),
    Exercise(
        id="U05.8",
        stream="sharpen",
        kind="code",
        task="Convolve through Fourier space so that it equals the sliding sum; how much does a kernel cut at 3σ lose, and what does a sharpening kernel do to three frequencies?",
        check=property_check(_demonstration, success="Right: the same numbers on both roads, and you know what the kernels do."),
        hints=(
            "Pad both to at least the sum of their sizes minus one. The kernel's pixel n // 2 has to lie at index 0: np.roll.",
            "Transform both, multiply, transform back, and cut out the size of the image. For the loss: scipy.special.erfc, or add up a fine Gaussian.",
            "H(u, v) = Σ h(x, y) exp(-2πi(ux + vy)) with x and y from -1 to 1. At frequencies 0 and 1/2 all phases are ±1.",
        ),
    ),
)

EXPLANATIONS = (
    Explanation(
        id="U05.words",
        question="Somebody blurs a map with a broad Gaussian and wonders why the program calls it a low-pass filter. What do you say?",
        rubric=("convolution", "multiplication", "narrow", "high frequencies"),
        model_answer=(
            "A convolution in real space is a multiplication in Fourier space. The transform of a broad Gaussian is a narrow one around zero; multiplying with it "
            "leaves the low frequencies and removes the high frequencies. Blurring and low-pass filtering are one operation, seen from two sides."
        ),
    ),
)
