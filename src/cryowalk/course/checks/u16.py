"""Checks of U16: blobs, templates, what noise gives back, stacks, and how large a box must be; and the scenes that the unit picks from."""

import math
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from cryowalk import fourier
from cryowalk.course.exercise import Exercise, Explanation, as_numbers, choice_check, draw, number_check, property_check
from cryowalk.data import Defocus, Optics
from cryowalk.microscope.lens import contrast_transfer
from cryowalk.picking.peaks import peaks
from cryowalk.picking.score import score_picks
from cryowalk.picking.templates import rotated

SIDE, PIXEL_SIZE, DIAMETER = 512, 4.0, 150.0
RADIUS = DIAMETER / 2 / PIXEL_SIZE  # pixels
BOX = 64  # pixels, of an extracted particle
# places (Å) and weights of the Gaussian blobs that the particle is made of: a lopsided Y
_PARTS = ((-10, -45, 1.0), (-5, -15, 1.2), (0, 12, 1.3), (24, 32, 1.0), (44, 48, 0.8), (-26, 34, 0.9))
_WIDTH = 15.0  # Å


class Scene(NamedTuple):
    """A micrograph (particles dark, noise of deviation 1), the true places (x, y) in pixels, and one view of the particle (bright)."""

    image: torch.Tensor
    positions: torch.Tensor
    template: torch.Tensor


def template() -> torch.Tensor:
    """The particle, bright, on an odd side of 51 pixels."""
    line = (torch.arange(51, dtype=torch.float64) - 25) * PIXEL_SIZE
    y, x = line[:, None], line
    parts = (weight * torch.exp(-((x - a) ** 2 + (y - b) ** 2) / (2 * _WIDTH**2)) for a, b, weight in _PARTS)
    return sum(parts, torch.zeros(51, 51, dtype=torch.float64))


def scene(seed: int, *, count: int = 45, strength: float = 1.0, side: int = SIDE) -> Scene:
    """A micrograph of so many particles at random places and rotations, apart from each other, with two lumps of dirt, behind a lens, in noise."""
    source = torch.Generator().manual_seed(seed)

    def uniform(low: float, high: float) -> float:
        return low + (high - low) * float(torch.rand(1, generator=source, dtype=torch.float64))

    view, field = template(), torch.zeros(side, side, dtype=torch.float64)
    line = torch.arange(side, dtype=torch.float64)
    dirt = [(uniform(60, side - 60), uniform(60, side - 60)) for _ in range(2)]
    for a, b in dirt:
        field += 1.8 * torch.exp(-((line - a) ** 2 + (line[:, None] - b) ** 2) / (2 * uniform(5.0, 6.5) ** 2))
    places: list[tuple[float, float]] = []
    while len(places) < count:
        x, y = round(uniform(34, side - 34)), round(uniform(34, side - 34))
        if all(math.hypot(x - a, y - b) > 2.4 * RADIUS for a, b in [*dirt, *places]):
            places.append((x, y))
            field[y - 25 : y + 26, x - 25 : x + 26] += rotated(view, uniform(0, 2 * math.pi))
    optics = Optics(pixel_size=PIXEL_SIZE, voltage_kv=300.0, spherical_aberration_mm=2.7, amplitude_contrast=0.1)
    one = torch.tensor([15000.0], dtype=torch.float64)
    lens = contrast_transfer(
        optics, Defocus(major=one, minor=one, azimuth=0 * one, phase_shift=0 * one), size=(2 * side, 2 * side)
    )[0]
    wide = fourier.to_real(fourier.to_fourier(fourier.resize(field, 2 * side)) * lens, width=2 * side)
    tilt = 0.6 * (line - side / 2) / side + 0.4 * (line[:, None] - side / 2) / side  # thicker ice on one side
    noise = torch.randn(side, side, generator=source, dtype=torch.float64)
    image = 100 + tilt - 1.8 * strength * fourier.resize(wide, side) + noise
    return Scene(image, torch.tensor(places, dtype=torch.float64), view)


def scene_of(seed: int) -> Mapping[str, int]:
    """The number of the learner's own micrograph."""
    return {"micrograph": draw(seed, "U16.1").randrange(1000)}


def blob_score(image: torch.Tensor, width: float) -> torch.Tensor:
    """The Laplacian of a Gaussian of this standard deviation (pixels), high on dark blobs, in its own standard deviations."""
    side = image.shape[-1]
    k = fourier.frequency_radius((side, side), pixel_size=1.0, dtype=image.dtype) * 2 * math.pi
    weight = -(k**2) * torch.exp(-((width * k) ** 2) / 2)
    score = fourier.to_real(fourier.to_fourier(image - image.mean()) * weight, width=side)
    scaled: torch.Tensor = score / score.std()
    return scaled


def f1_of(positions: Any, truth: torch.Tensor, *, tolerance: float = RADIUS) -> float:
    """The F1 of positions (x, y) against the true ones."""
    given = torch.as_tensor(np.asarray(positions, dtype=np.float64)).reshape(-1, 2)
    return score_picks(given, truth, tolerance=tolerance).f1


def _blobs(answer: Any, seed: int) -> str | None:
    numbers = as_numbers(answer)
    if numbers is None or numbers.size != 2:
        return "I expected two numbers: the width of the Gaussian in pixels, and the threshold in standard deviations."
    width, threshold = (float(value) for value in numbers.real.reshape(-1))
    if not (0.3 <= width <= 60 and math.isfinite(threshold)):
        return "The width should be some pixels. (An ångström value? A pixel is 4 Å.)"
    mine = scene(scene_of(seed)["micrograph"])
    score = blob_score(mine.image, width)
    rows, columns, _ = peaks(score, separation=1.4 * RADIUS, margin=0.9 * RADIUS, least=threshold)
    found = f1_of(torch.stack((columns, rows), dim=-1), mine.positions)
    if found >= 0.85:
        return None
    if len(rows) > 1.5 * len(mine.positions):
        return f"F1 is {found:.2f}: with {len(rows)} picks on {len(mine.positions)} particles, precision suffers."
    if len(rows) < 0.7 * len(mine.positions):
        return f"F1 is {found:.2f}: with {len(rows)} picks on {len(mine.positions)} particles, recall suffers."
    return f"F1 is {found:.2f}. The number of picks is about right, but not their places: is the Gaussian as wide as the particle asks?"


def _picker(answer: Callable[..., Any], seed: int) -> str | None:
    for number in (draw(seed, "U16.2").randrange(1000, 2000), 77):
        other = scene(number, strength=1.2)
        found = np.asarray(answer(other.image.clone(), other.template.clone()), dtype=np.float64)
        if found.ndim != 2 or found.shape[1] != 2 or not np.isfinite(found).all():
            return "The picker should return an array of n rows (x, y), in pixels."
        result = score_picks(torch.from_numpy(found), other.positions, tolerance=RADIUS)
        if result.f1 >= 0.9:
            continue
        swapped = f1_of(found[:, ::-1].copy(), other.positions)
        if swapped > 0.8:
            return "The places are right with x and y exchanged: positions are (x, y), arrays [y, x]."
        if result.matches == 0:
            return "No pick lies on a particle. Is the contrast of template and micrograph the same?"
        return f"On another micrograph: recall {result.recall:.2f}, precision {result.precision:.2f}, F1 {result.f1:.2f}; it should reach 0.9."
    return None


def expected_correlation(height: float, count: int) -> float:
    """The correlation of the mean of `count` windows with a template, each of which correlates with it by `height` and is noise otherwise."""
    return height / math.sqrt(height**2 + (1 - height**2) / count)


def _noise_law(answer: Callable[..., Any], seed: int) -> str | None:
    source = draw(seed, "U16.4")
    for height, count in ((0.2, 1000), (0.1, 20), (0.05, 100), (source.uniform(0.03, 0.3), source.randrange(5, 500))):
        found = as_numbers(answer(height, count))
        if found is None or found.size != 1:
            return "The function should return one number, the correlation."
        given = float(found.real.reshape(-1)[0])
        if abs(given - expected_correlation(height, count)) > 0.05:
            return f"For {count} windows of height {height:.2f} it gives {given:.2f}, and the averages say otherwise. How does the noise's part fall with the number?"
    return None


def _stack(answer: Callable[..., Any], seed: int) -> str | None:
    from cryowalk.io import read_particles

    mine = scene(draw(seed, "U16.5").randrange(2000, 3000), strength=2.0)
    edge = torch.tensor([[5.0, 100.0], [300.0, SIDE - 3.0]], dtype=torch.float64)
    with tempfile.TemporaryDirectory() as folder:
        path = answer(mine.image.clone(), torch.cat([mine.positions, edge]), BOX, Path(folder))
        if not isinstance(path, str | Path) or not Path(path).is_file():
            return "make_stack should return the path of the STAR file that it wrote."
        particles = read_particles(path)
        if particles.images is None or particles.images.image_shape != (BOX, BOX):
            return f"The images should be {BOX} × {BOX} pixels."
        images = particles.images.read(range(particles.images.count)).double()
        coordinates = particles.coordinates
    if coordinates is None:
        return "The STAR file should tell where each particle was: rlnCoordinateX and rlnCoordinateY."
    return _stack_problem(images, coordinates, mine)


def _stack_problem(images: torch.Tensor, coordinates: torch.Tensor, mine: Scene) -> str | None:
    """What is wrong with extracted images, or None."""
    whole = ((mine.positions >= BOX // 2) & (mine.positions + BOX // 2 <= SIDE)).all(dim=1)
    if len(images) != int(whole.sum()):
        return f"{len(images)} images, where {int(whole.sum())} boxes lie wholly in the micrograph: those that do not should be left out."
    if not torch.allclose(coordinates.double(), mine.positions[whole], atol=0.5):
        return "The coordinates in the STAR file are not those of the particles that were kept."
    line = torch.arange(BOX, dtype=torch.float64) - BOX // 2
    outside = torch.hypot(line, line[:, None]) > 0.75 * BOX / 2
    background = images[:, outside]
    if float(background.mean(dim=1).abs().max()) > 0.02:
        return "The background's mean is not 0 in each image: take it outside a circle, not over the whole box, which holds the particle."
    if float((background.std(dim=1) - 1).abs().max()) > 0.02:
        return "The background's standard deviation is not 1 in each image."
    if float(images[:, ~outside].mean()) < 0:
        return "Particles are dark in the stack. RELION and cryoSPARC want them bright: one sign."
    expected = torch.stack(
        [
            mine.image[int(y) - BOX // 2 : int(y) + BOX // 2, int(x) - BOX // 2 : int(x) + BOX // 2]
            for x, y in mine.positions[whole]
        ]
    )
    expected = expected - expected.mean(dim=(1, 2), keepdim=True)
    centred = images - images.mean(dim=(1, 2), keepdim=True)
    agreement = -(centred * expected).sum(dim=(1, 2)) / (centred.norm(dim=(1, 2)) * expected.norm(dim=(1, 2)))
    if float(agreement.min()) < 0.97:
        return "An image is not the box about its place: the particle's place belongs on pixel n // 2."
    return None


def delocalisation(defocus: float, resolution: float) -> float:
    """How far a frequency is displaced at 300 kV and Cs 2.7 mm, Å."""
    wavelength, k = Optics(pixel_size=1.0, voltage_kv=300.0).wavelength, 1 / resolution
    return float(abs(wavelength * defocus * k - 2.7e7 * (wavelength * k) ** 3))


EXERCISES = (
    Exercise(
        id="U16.1",
        stream="blur",
        kind="numeric",
        task="A width and a threshold with which blobs give F1 ≥ 0.85 on your own micrograph.",
        parameters=scene_of,
        check=property_check(_blobs),
        hints=(
            "Find the width first, at a high threshold: which one makes the particles stand out most from the noise?",
            "A Laplacian of a Gaussian answers most strongly to disks of radius √2 times its width; the particle's radius is about 19 pixels at its tips, and less at its waist.",
            "Then lower the threshold until the number of picks is about 45, and look whether new picks sit on particles.",
        ),
    ),
    Exercise(
        id="U16.2",
        stream="sharpen",
        kind="code",
        task="A picker by template matching that reaches F1 ≥ 0.9 on micrographs it has not seen.",
        check=property_check(_picker),
        hints=(
            "The template is bright, the micrograph's particles are dark.",
            "Turn the template in steps of 10° or so, correlate, divide by the local deviation, and keep the best of all rotations at each pixel.",
            "Peaks at least three quarters of a diameter apart; the best threshold leaves about as many as a histogram of their heights shows above the gap.",
        ),
    ),
    Exercise(
        id="U16.3",
        stream="blur",
        kind="predict",
        task="What the average of 1,000 picks from pure noise looks like.",
        check=choice_check(
            "template",
            feedback={
                "grey": "That is what 1,000 windows at *random* places would give. These were not chosen at random.",
                "disk": "A search for a disk would give a disk. What was searched for here?",
            },
        ),
        hints=(
            "Each window was taken because it resembles something. What?",
            "What the windows have in common survives averaging.",
            "All 1,000 have in common what they were selected by.",
        ),
    ),
    Exercise(
        id="U16.4",
        stream="sharpen",
        kind="code",
        task="The correlation of the average of M picks from noise with the template, from the mean height of their peaks.",
        check=property_check(_noise_law),
        hints=(
            "Write each window, scaled to norm 1, as m times the template plus a rest that is orthogonal to it.",
            "Averaging keeps the common part m. The rests are independent: the norm of their mean falls as one over the root of the number.",
            "The correlation is the common part over the norm of the whole average: Pythagoras.",
        ),
    ),
    Exercise(
        id="U16.5",
        stream="sharpen",
        kind="code",
        task="Boxes about places: inverted, normalised by their background, written with a STAR file.",
        check=property_check(_stack),
        hints=(
            "The place belongs on pixel n // 2 of the box: rows y − n // 2 up to, without, y + n // 2.",
            "Background is what lies outside a circle of three quarters of the box. Its mean is taken off, its standard deviation divided by.",
            "A box that leaves the micrograph is left out. One sign makes protein bright. cryowalk.write writes stack and STAR file of a ParticleSet.",
        ),
    ),
    Exercise(
        id="U16.6",
        stream="blur",
        kind="numeric",
        task="The box for a particle of 150 Å at 2 μm underfocus and a target of 3 Å, in Å.",
        check=number_check(lambda seed: DIAMETER + 2 * delocalisation(2e4, 3.0), relative=0.02),
        hints=(
            "The particle, and how far its finest detail is thrown, to both sides.",
            "R = |λ Δf k − Cs λ³ k³| with k = 1/3 Å⁻¹, Δf = 20,000 Å, Cs = 2.7·10⁷ Å, λ = 0.0197 Å.",
            "Diameter plus two times R; R is somewhat less than the particle's diameter.",
        ),
    ),
)
EXPLANATIONS = (
    Explanation(
        id="U16.words",
        question="A colleague shows a 2D average that looks exactly like the published map from which the templates were made. Why is this no evidence, and what would be?",
        rubric=("template", "noise", "selected", "resolution"),
        model_answer="Windows were selected by their likeness to the template, so the average of pure noise shows it, too. Evidence is what the template did not "
        "hold: detail beyond the resolution to which it was filtered, views or parts that were not in it, and the same result from picks without templates.",
    ),
)
