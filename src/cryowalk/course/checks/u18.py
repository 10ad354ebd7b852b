"""Checks of U18: what a round changes, responsibilities, the likelihood in both spaces, CTF in a round, EM itself, junk; and the images that the unit sorts."""

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch

from cryowalk import fourier
from cryowalk.course.exercise import (
    Exercise,
    Explanation,
    as_numbers,
    draw,
    matching_check,
    number_check,
    property_check,
)
from cryowalk.data import Defocus, Optics
from cryowalk.fourier.shells import shell_correlation
from cryowalk.microscope.lens import contrast_transfer

SIDE, PIXEL_SIZE, REACH = 33, 6.0, 1  # an odd side: quarter turns then keep the middle pixel
STRENGTH = 1.5  # of the particles; the noise has a deviation of 1
# (x, y, weight) of the Gaussian blobs, in pixels, of the three views
_VIEWS = (
    ((-7, -6, 1.0), (-2, -3, 1.2), (3, 1, 1.2), (7, 6, 1.0), (6, -5, 0.9)),
    ((-8, 0, 1.0), (-3, 1, 1.3), (2, 0, 1.1), (7, -1, 1.0), (0, 7, 0.7)),
    ((0, -7, 1.1), (6, 4, 1.1), (-6, 4, 1.1), (1, 8, 0.6), (-2, -2, 0.7)),
)
_WIDTH = 2.1  # pixels


class Scene(NamedTuple):
    """Images in noise of deviation 1, and the truth: which view (−1 none), how many quarter turns, the shift (rows, columns), the views, what junk is."""

    images: torch.Tensor
    label: torch.Tensor
    turns: torch.Tensor
    shift: torch.Tensor
    views: torch.Tensor


def true_views(*, width: float = _WIDTH) -> torch.Tensor:
    """The three views, of mean 0, made of blobs of this width (pixels)."""
    line = torch.arange(SIDE, dtype=torch.float64) - SIDE // 2
    pictures = []
    for parts in _VIEWS:
        picture = torch.zeros(SIDE, SIDE, dtype=torch.float64)
        for x, y, weight in parts:
            picture += weight * torch.exp(-((line - x) ** 2 + (line[:, None] - y) ** 2) / (2 * width**2))
        pictures.append(picture - picture.mean())
    return STRENGTH * torch.stack(pictures)


def placed(picture: torch.Tensor, turns: int, shift: tuple[int, int]) -> torch.Tensor:
    """The picture after quarter turns, then moved by whole pixels (rows, columns)."""
    return torch.rot90(picture, turns, dims=(-2, -1)).roll(shift, dims=(-2, -1))


def scene(seed: int, *, count: int = 300, junk: float = 0.0, strength: float = 1.0) -> Scene:
    """Images of the three views, each in one of four quarter turns and moved by up to a pixel each way; a part of them are junk: half empty, half dirt."""
    source = torch.Generator().manual_seed(seed)
    views = true_views() * strength
    label = torch.multinomial(torch.tensor([0.5, 0.3, 0.2]), count, replacement=True, generator=source)
    turns = torch.randint(4, (count,), generator=source)
    shift = torch.randint(-REACH, REACH + 1, (count, 2), generator=source)
    images = torch.randn(count, SIDE, SIDE, generator=source, dtype=torch.float64)
    line = torch.arange(SIDE, dtype=torch.float64) - SIDE // 2
    is_junk = torch.rand(count, generator=source) < junk
    for row in range(count):
        if not bool(is_junk[row]):
            images[row] += placed(views[label[row]], int(turns[row]), (int(shift[row, 0]), int(shift[row, 1])))
        elif row % 2:
            angle = 2 * math.pi * float(torch.rand(1, generator=source))
            x, y = 13 * math.cos(angle), 13 * math.sin(angle)
            images[row] += 2.0 * torch.exp(-((line - x) ** 2 + (line[:, None] - y) ** 2) / (2 * 3.0**2))
    return Scene(images, torch.where(is_junk, -1, label), turns, shift, views)


def poses() -> list[tuple[int, tuple[int, int]]]:
    """Every quarter turn with every shift, in the order that the unit uses."""
    steps = range(-REACH, REACH + 1)
    return [(turn, (y, x)) for turn in range(4) for y in steps for x in steps]


def templates(pictures: torch.Tensor) -> torch.Tensor:
    """Every picture in every pose, `[pictures, poses, pixels]`."""
    return torch.stack([torch.stack([placed(picture, *pose).reshape(-1) for pose in poses()]) for picture in pictures])


def log_likelihoods(images: torch.Tensor, pictures: torch.Tensor, *, deviation: float = 1.0) -> torch.Tensor:
    """Log p(image | picture, pose) up to what all share, `[images, pictures, poses]`."""
    table = templates(pictures)
    cross = images.reshape(len(images), -1) @ table.reshape(-1, table.shape[-1]).T
    energy = table.square().sum(dim=-1) / 2
    return (cross.reshape(-1, *energy.shape) - energy) / deviation**2


def gains(images: torch.Tensor, pictures: torch.Tensor) -> torch.Tensor:
    """How much better the pictures explain each image than noise alone: log of the mean of p(image | picture, pose) / p(image | nothing)."""
    scores = log_likelihoods(images, pictures).flatten(1)
    return torch.logsumexp(scores, dim=1) - math.log(scores.shape[1])


def junk_scene(number: int) -> Scene:
    """Faint images of this number, a third of them junk."""
    return scene(number, junk=0.35, strength=0.38)


def junk_parameters(seed: int) -> Mapping[str, int]:
    """The number of the learner's own images."""
    return {"images": draw(seed, "U18.7").randrange(1000)}


def purity(label: torch.Tensor, truth: torch.Tensor) -> float:
    """The part of the images that show what most of their class shows."""
    right = 0
    for number in set(label.tolist()):
        right += int(torch.bincount(truth[label == number]).max())
    return right / len(label)


def kept_and_rejected(scores: torch.Tensor, label: torch.Tensor, threshold: float) -> tuple[float, float]:
    """The part of the particles that are kept at a threshold, and the part of the junk that is rejected."""
    good = label >= 0
    return float((scores[good] >= threshold).double().mean()), float((scores[~good] < threshold).double().mean())


_ROUND = {
    "images": "constant",
    "CTF of each image": "constant",
    "grid of rotations and shifts": "constant",
    "number of classes": "constant",
    "responsibilities": "updated",
    "class averages": "updated",
    "class weights": "updated",
    "noise variance": "updated",
}


def _as_tensor(value: Any) -> torch.Tensor:
    given: torch.Tensor = torch.as_tensor(np.asarray(value) if not isinstance(value, torch.Tensor) else value)
    return given.to(torch.complex128) if given.is_complex() else given.double()


def expected_responsibilities(scores: torch.Tensor, weights: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """What U18.2 asks for."""
    joint = scores + torch.log(weights)[None, :, None]
    share = torch.softmax(joint.flatten(1), dim=1).reshape(scores.shape)
    return share, share.sum(dim=(0, 2)) / len(scores)


def _responsibilities(answer: Callable[..., Any], seed: int) -> str | None:
    source = torch.Generator().manual_seed(draw(seed, "U18.2").randrange(10**6))
    for size in (1.0, 1000.0):
        scores = size * torch.randn(7, 3, 5, generator=source, dtype=torch.float64) + size
        weights = torch.tensor([0.7, 0.2, 0.1], dtype=torch.float64)
        found = answer(scores.clone(), weights.clone())
        if not isinstance(found, tuple | list) or len(found) != 2:
            return "The function should return two things: the responsibilities and the new class weights."
        share, new = (_as_tensor(part) for part in found)
        if share.shape != scores.shape or new.shape != weights.shape:
            return f"Responsibilities should have the shape {tuple(scores.shape)} and the weights {tuple(weights.shape)}: got {tuple(share.shape)} and {tuple(new.shape)}."
        if not bool(torch.isfinite(share).all()):
            return "With log-likelihoods of a thousand something became infinite or NaN: take off each image's largest one before exp."
        problem = _sums(share, new, scores, weights)
        if problem is not None:
            return problem
    return None


def _sums(share: torch.Tensor, new: torch.Tensor, scores: torch.Tensor, weights: torch.Tensor) -> str | None:
    per_image = share.sum(dim=(1, 2))
    if float((per_image - 1).abs().max()) > 1e-9:
        return f"An image's responsibilities over all classes and poses add up to {float(per_image[0]):.4f}: it is one image, and they should add up to 1."
    right, right_new = expected_responsibilities(scores, weights)
    if float((share - right).abs().max()) > 1e-9:
        without, _ = expected_responsibilities(scores, torch.ones_like(weights) / 3)
        if float((share - without).abs().max()) < 1e-9:
            return "They are those of equally frequent classes: where do the class weights come in?"
        return "They add up to 1, but are not in the ratio weight · p(image | class, pose)."
    if float((new - right_new).abs().max()) > 1e-9:
        return f"The new weights add up to {float(new.sum()):.3f}; each should be the part of all images that its class is responsible for."
    return None


def expected_log_likelihood(image: torch.Tensor, model: torch.Tensor, deviation: float) -> float:
    """What U18.3 asks for, in real space."""
    count = image.numel()
    misfit = float((image - model).square().sum())
    return -misfit / (2 * deviation**2) - count / 2 * math.log(2 * math.pi * deviation**2)


def _both_spaces(answer: Callable[..., Any], seed: int) -> str | None:
    source = torch.Generator().manual_seed(draw(seed, "U18.3").randrange(10**6))
    for side in (33, 32):
        image, model = torch.randn(2, side, side, generator=source, dtype=torch.float64)
        right = expected_log_likelihood(image, model, 1.7)
        found = as_numbers(answer(fourier.to_fourier(image), fourier.to_fourier(model), side, 1.7))
        if found is None or found.size != 1:
            return "The function should return one real number."
        given = float(found.real.reshape(-1)[0])
        if abs(given - right) <= 1e-8 * abs(right):
            continue
        spectra = fourier.to_fourier(image - model)
        constant = -(side**2) / 2 * math.log(2 * math.pi * 1.7**2)
        once = -float(spectra.abs().square().sum()) / (2 * 1.7**2) + constant
        twice = -2 * float(spectra.abs().square().sum()) / (2 * 1.7**2) + constant
        if abs(given - once) < 1e-6 * abs(right):
            return "Every column was counted once. Those left out of a half spectrum are the mates of which?"
        if abs(given - twice) < 1e-6 * abs(right):
            return "Every column was counted twice. Column 0 holds both members of its pairs already."
        if side == 32:
            return "Right for an odd side, not for an even one: the Nyquist column of an even side is its own mate, too."
        return f"For one image it gives {given:.4f}, real space {right:.4f}."
    return None


class DefocusPair(NamedTuple):
    """Spectra of images of two pictures at two defoci, already in place: transfer functions, which picture, which defocus, the pictures."""

    spectra: torch.Tensor
    transfer: torch.Tensor
    label: torch.Tensor
    defocus: torch.Tensor
    pictures: torch.Tensor


def defocus_pair(seed: int, *, count: int = 120, strength: float = 1.5) -> DefocusPair:
    """Images of two of the views, half of them at 2.0 and half at 3.2 μm, as they come from the camera but for rotation and shift."""
    source = torch.Generator().manual_seed(seed)
    pictures = true_views(width=1.2)[:2] * strength
    label = torch.arange(count) % 2
    which = (torch.arange(count) // 2) % 2
    major = torch.where(which == 0, 20000.0, 32000.0).double()
    zero = torch.zeros_like(major)
    optics = Optics(pixel_size=PIXEL_SIZE, amplitude_contrast=0.1)
    transfer = contrast_transfer(
        optics, Defocus(major=major, minor=major, azimuth=zero, phase_shift=zero), size=(SIDE, SIDE)
    ).double()
    noise = fourier.to_fourier(torch.randn(count, SIDE, SIDE, generator=source, dtype=torch.float64))
    spectra = fourier.to_fourier(pictures)[label] * transfer + noise
    return DefocusPair(spectra, transfer, label, which, pictures)


def ring_correlation(spectrum: torch.Tensor, picture: torch.Tensor) -> float:
    """The mean Fourier ring correlation of a class and a picture over the rings 1 to 12."""
    image = fourier.to_real(spectrum, width=SIDE)
    return float(shell_correlation(image, picture)[1:13].mean())


def _ctf_round(answer: Callable[..., Any], seed: int) -> str | None:
    pair = defocus_pair(draw(seed, "U18.4").randrange(10**6))
    start = fourier.to_fourier(pair.pictures + 0.1)

    def one(chosen: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        share, classes = answer(pair.spectra[chosen].clone(), pair.transfer[chosen].clone(), start.clone(), 1.0)
        return _as_tensor(share), _as_tensor(classes)

    problem = _soft_shares(answer, seed)
    if problem is not None:
        return problem
    everything = torch.arange(len(pair.label))
    share, classes = one(everything)
    if share.shape != (len(everything), 2) or classes.shape != start.shape:
        return f"Responsibilities should have the shape ({len(everything)}, 2) and classes {tuple(start.shape)}: got {tuple(share.shape)} and {tuple(classes.shape)}."
    if float((share.sum(dim=1) - 1).abs().max()) > 1e-8:
        return "The responsibilities of an image should add up to 1."
    if float((share.argmax(dim=1) == pair.label).double().mean()) < 0.97:
        return "Images are given to the wrong class: is each class multiplied by the image's CTF before it is compared, and are Hermitian halves counted?"
    merged = [ring_correlation(classes[k], pair.pictures[k]) for k in range(2)]
    for which in (0, 1):
        _, single = one(torch.nonzero(pair.defocus == which)[:, 0])
        worse = [ring_correlation(single[k], pair.pictures[k]) for k in range(2)]
        if any(m <= s for m, s in zip(merged, worse, strict=True)):
            return f"Two defoci together give a ring correlation of {merged[0]:.3f} with the true picture, one alone {worse[0]:.3f}: one fills the zeros of the other, if each is weighted by its CTF."
    scale = float((fourier.to_real(classes[0], width=SIDE) * pair.pictures[0]).sum() / pair.pictures[0].square().sum())
    if not 0.85 < scale < 1.15:
        return f"The class is right but for its scale ({scale:.2f} of the picture): what does Σ γ c Y have to be divided by?"
    return None


def _soft_shares(answer: Callable[..., Any], seed: int) -> str | None:
    """What is wrong with responsibilities where they are far from certain, or None."""
    faint = defocus_pair(draw(seed, "U18.4").randrange(10**6), count=24, strength=0.22)
    classes = fourier.to_fourier(faint.pictures)
    share = _as_tensor(answer(faint.spectra.clone(), faint.transfer.clone(), classes.clone(), 1.0)[0])
    misfit = fourier.to_real(faint.spectra[:, None] - faint.transfer[:, None] * classes, width=SIDE).square().sum(dim=(2, 3))
    right = torch.softmax(-misfit / 2, dim=1)
    if share.shape != right.shape:
        return f"Responsibilities should have the shape {tuple(right.shape)}: got {tuple(share.shape)}."
    if float((share - right).abs().max()) > 1e-6:
        return "On faint images the responsibilities are off: is each class multiplied by the image's CTF before it is compared, and are Hermitian halves counted as in U18.3?"
    return None


def _runs(answer: Callable[..., Any], seed: int) -> str | None:
    mine = scene(draw(seed, "U18.6").randrange(1000, 2000), count=200)
    found = answer(mine.images.clone(), 3, torch.Generator().manual_seed(draw(seed, "U18.6").randrange(10**6)))
    if not isinstance(found, tuple | list) or len(found) != 3:
        return "The function should return three things: the classes, each image's class, and the log-likelihood of every round."
    label, course = _as_tensor(found[1]).long(), as_numbers(found[2])
    if label.shape != (len(mine.images),):
        return f"There should be one class for each of the {len(mine.images)} images: got the shape {tuple(label.shape)}."
    if course is None or course.size < 5:
        return "The log-likelihoods of at least five rounds are needed to see that they rise."
    steps = np.diff(course.real.reshape(-1))
    if float(steps.min()) < -1e-6 * float(np.abs(course).max()):
        return f"The log-likelihood fell by {-float(steps.min()):.3g} in a round. E and M must use the same model: every class turned and moved exactly as the averages are turned and moved back."
    if float(course.real.reshape(-1)[-1] - course.real.reshape(-1)[0]) <= 0:
        return "The log-likelihood did not rise at all."
    pure = purity(label, mine.label)
    if pure < 0.9:
        return f"The likelihood rises, but only {100 * pure:.0f} % of the images are with their like: a local maximum. Start several times, and keep the best likelihood."
    return None


def _threshold(answer: Any, seed: int) -> str | None:
    numbers = as_numbers(answer)
    if numbers is None or numbers.size != 1:
        return "I expected one number, a threshold on the gain."
    mine = junk_scene(junk_parameters(seed)["images"])
    kept, rejected = kept_and_rejected(gains(mine.images, mine.views), mine.label, float(numbers.real.reshape(-1)[0]))
    if kept < 0.95:
        return f"{100 * kept:.1f} % of the particles are kept: that costs too many."
    if rejected < 0.8:
        return f"{100 * kept:.1f} % of the particles are kept, but only {100 * rejected:.0f} % of the junk is gone."
    return None


EXERCISES = (
    Exercise(
        id="U18.1",
        stream="blur",
        kind="quiz",
        task="Which of eight quantities stay constant from round to round, and which are updated?",
        check=matching_check(_ROUND),
        hints=(
            "What is measured does not change. What is believed does.",
            "The grid of poses and the number of classes are chosen before the first round.",
            "The E-step makes one of the quantities, the M-step three others.",
        ),
    ),
    Exercise(
        id="U18.2",
        stream="sharpen",
        kind="code",
        task="Responsibilities of several classes and poses, and the new class weights.",
        check=property_check(_responsibilities),
        hints=(
            "Bayes: weight of the class times p(image | class, pose), over the sum of that over all classes and poses.",
            "Work with logarithms, and take off each image's largest before exp.",
            "The new weight of a class is the mean over images of its responsibilities, summed over poses.",
        ),
    ),
    Exercise(
        id="U18.3",
        stream="sharpen",
        kind="code",
        task="The log-likelihood of an image, from half spectra.",
        check=property_check(_both_spaces),
        hints=(
            "Parseval: the sum of squares over pixels is that over all frequencies of an orthonormal transform.",
            "A half spectrum leaves out the mates of the columns 1, 2, …: those count twice. Column 0 is its own mate.",
            "An even side's last column is its own mate, too. The number of pixels in the constant stays the number of pixels.",
        ),
    ),
    Exercise(
        id="U18.4",
        stream="sharpen",
        kind="code",
        task="A round of EM with CTF: responsibilities and classes of images at two defoci.",
        check=property_check(_ctf_round),
        hints=(
            "E: an image is compared with c·A, the class as its own lens shows it; Hermitian halves count as before.",
            "M: the class minimises Σ γ |Y − c A|²/σ² at each frequency. Take the derivative.",
            "A = Σ γ c Y / (Σ γ c² + a little), the little so that no zero is divided by: a hundredth of an image will do.",
        ),
    ),
    Exercise(
        id="U18.5",
        stream="blur",
        kind="numeric",
        task="How many images of SNR 0.02 make a class average of SNR 1?",
        check=number_check(50.0, relative=1e-6, wrong="No."),
        hints=(
            "The signal stays, the noise's variance falls.",
            "The variance of a mean of N independent values is one over N of a single one's.",
            "SNR of the average = N times the SNR of one image.",
        ),
    ),
    Exercise(
        id="U18.6",
        stream="sharpen",
        kind="code",
        task="EM with classes, poses and weights: the likelihood never falls, and images are with their like.",
        check=property_check(_runs),
        hints=(
            "E: `log_likelihoods`, then your responsibilities. M: every image turned and moved back, weighted, averaged.",
            "Back is the reverse order: first the shift, then the turn. With quarter turns and whole pixels nothing is interpolated, so nothing is lost.",
            "One start in a few finds all three views. The likelihood tells which, and needs no truth: start again, keep the best.",
        ),
    ),
    Exercise(
        id="U18.7",
        stream="blur",
        kind="numeric",
        task="A threshold that keeps 95 % of the particles and rejects 80 % of the junk.",
        parameters=junk_parameters,
        check=property_check(_threshold),
        hints=(
            "Look at the two hills: the threshold belongs into the valley, a little to the side of the junk.",
            "Move the slider until a twentieth of the particles is lost. What part of the junk is gone there?",
            "The gain at which the curve of kept particles passes 0.95 to 0.98.",
        ),
    ),
)
EXPLANATIONS = (
    Explanation(
        id="U18.words",
        question="A colleague keeps the three sharpest of fifty classes and rejects everything else. What may be lost, and how would you find out?",
        rubric=("rare", "view", "orientation", "resolution"),
        model_answer="Sharp classes are those with many images of one view. Rare views, and other conformations, make small and blurred classes: without them orientations are "
        "missing and the map's resolution depends on direction. Look at what is rejected, classify it once more by itself, and keep what looks like a particle in a new view.",
    ),
)
