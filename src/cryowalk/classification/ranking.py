"""How good each class is: its figures, and one score between 0 and 1.

No figure needs a truth or a person. Those that tell a particle's view from a stain, an edge or an average of noise: two halves of the class agree to fine
detail, its detail says how its images are turned, its density lies in the middle and not at the mask's edge, and it holds enough images.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from cryowalk.classification.model import finest_shell
from cryowalk.classification.result import Classification
from cryowalk.core.errors import InputError
from cryowalk.fourier.disk import half_disk
from cryowalk.fourier.shells import shell_correlation
from cryowalk.fourier.transform import to_fourier
from cryowalk.numerics.masks import soft_circle

HALF_POINT = 0.5  # the correlation that the resolution of a class is read at
_BANDS = 5  # shells whose mean correlation is compared with the half point
DEGREE = math.pi / 180
# Where each figure is half good; exponents say how steeply, weights how much it counts.
ROTATION_HALF = 6.0 * DEGREE
EDGE_HALF = 0.35
FEWEST_HALF = 12.0  # images


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassRanking:
    """The figures of each class; a class without images has a score of 0.

    `score` lies between 0 (no particle) and 1. `images` counts those whose best class it is, `occupancy` is the class's share of the set. `resolution` (Å) is
    where the two halves of the class correlate by less than ½, `agreement` their mean correlation over the shells that were compared. `rotation_accuracy` (rad)
    and `shift_accuracy` (Å) are the least errors (Cramér–Rao) that its detail allows for one image. `edge` is the mean power in a ring at the
    mask's edge over that inside, `signal_to_noise` the mean of the prior's power over the evidence's noise.
    """

    score: Float[Tensor, " classes"]
    images: Float[Tensor, " classes"]
    occupancy: Float[Tensor, " classes"]
    resolution: Float[Tensor, " classes"]
    agreement: Float[Tensor, " classes"]
    rotation_accuracy: Float[Tensor, " classes"]
    shift_accuracy: Float[Tensor, " classes"]
    edge: Float[Tensor, " classes"]
    signal_to_noise: Float[Tensor, " classes"]

    def order(self) -> Tensor:
        """The classes from the best to the worst."""
        return torch.argsort(self.score, descending=True, stable=True)

    def chosen(self, *, least: float) -> Tensor:
        """The classes whose score is at least so much, by number."""
        return torch.nonzero(self.score >= least)[:, 0]


def rank_classes(found: Classification) -> ClassRanking:
    """How good the classes of a finished classification are.

    Raises
    ------
    InputError
        If the classification has not come to its end, where the halves of the classes are made.
    """
    model = found.model
    if found.halves is None:
        raise InputError("the classification has not ended: the classes have no halves to compare")
    counts = found.counts().double()
    box, pixel_size = model.box, model.pixel_size
    mask = soft_circle(box, radius=found.diameter / 2, edge=5 * pixel_size, pixel_size=pixel_size, dtype=model.images.dtype)
    halves = found.halves.cpu() * mask
    correlation = torch.stack(
        [shell_correlation(first, second, dimensions=2) for first, second in zip(halves[0], halves[1], strict=True)]
    ).double()
    reach = found.history[-1].radius
    # A class that the data say nothing of is an average over all poses: its halves agree, on nothing.
    says_something = finest_shell(model.ratio.cpu()) > 0
    correlation = torch.where(says_something[:, None], correlation, torch.zeros_like(correlation))
    rotation, shift = accuracies(model.images.cpu() * mask, found.evidence.cpu(), counts, pixel_size=pixel_size, reach=reach)
    is_empty = counts < 1
    resolution = box * pixel_size / reaching_shell(correlation).clamp(1, reach)
    agreement = correlation[:, 1 : reach + 1].mean(dim=1).clamp(0, 1)
    edge = edge_power(model.images.cpu(), diameter=found.diameter, pixel_size=pixel_size)
    ratio = model.ratio.cpu()[:, 1 : reach + 1].double().mean(dim=1)
    score = _score(agreement, resolution=resolution, rotation=rotation, edge=edge, counts=counts)
    return ClassRanking(
        score=torch.where(is_empty, torch.zeros_like(score), score),
        images=counts,
        occupancy=model.occupancy.double().cpu(),
        resolution=torch.where(is_empty, torch.full_like(resolution, box * pixel_size), resolution),
        agreement=torch.where(is_empty, torch.zeros_like(agreement), agreement),
        rotation_accuracy=rotation,
        shift_accuracy=shift,
        edge=edge,
        signal_to_noise=ratio,
    )


def _score(agreement: Tensor, *, resolution: Tensor, rotation: Tensor, edge: Tensor, counts: Tensor) -> Tensor:
    """The geometric mean of parts that are each ½ where a figure is half good."""
    best = resolution.min()
    parts = [
        agreement.sqrt(),
        (best / resolution).clamp(0, 1),
        1 / (1 + (rotation / ROTATION_HALF).square()),
        1 / (1 + (edge / EDGE_HALF).square()),
        counts / (counts + FEWEST_HALF),
    ]
    return torch.stack(parts).clamp_min(1e-6).log().mean(dim=0).exp()


def reaching_shell(correlation: Float[Tensor, "classes shells"], *, at: float = HALF_POINT) -> Float[Tensor, " classes"]:
    """The last shell before the correlation, a mean over five shells, first falls below `at`."""
    inner = torch.nn.functional.pad(correlation[:, None, 1:], (_BANDS // 2, _BANDS // 2), mode="replicate")
    smooth = torch.nn.functional.avg_pool1d(inner, _BANDS, stride=1)[:, 0]
    return torch.cumprod((smooth >= at).double(), dim=1).sum(dim=1)


def edge_power(images: Float[Tensor, "classes h w"], *, diameter: float, pixel_size: float) -> Float[Tensor, " classes"]:
    """The mean square in the outermost tenth of the circle over that inside it, each about the mean beyond the circle; 1 for an empty class."""
    box = images.shape[-1]
    axis = (torch.arange(box) - box // 2) * pixel_size
    distance = (axis.square() + axis[:, None].square()).sqrt() / (diameter / 2)
    ring, inside, outside = (distance > 0.9) & (distance <= 1), distance <= 0.9, distance > 1
    level = images[:, outside].mean(dim=1, keepdim=True) if bool(outside.any()) else images.flatten(1).mean(dim=1, keepdim=True)
    at_edge = (images[:, ring] - level).square().mean(dim=1).double()
    middle = (images[:, inside] - level).square().mean(dim=1).double()
    return torch.where(middle > 0, at_edge / middle.clamp_min(1e-300), torch.ones_like(middle))


def accuracies(
    images: Float[Tensor, "classes h w"],
    evidence: Float[Tensor, "classes shells"],
    counts: Float[Tensor, " classes"],
    *,
    pixel_size: float,
    reach: int,
) -> tuple[Float[Tensor, " classes"], Float[Tensor, " classes"]]:
    """The least errors of the in-plane angle (rad) and of a shift along one axis (Å) of one image, knowing the class: 1/√information.

    With w = CTF²/σ² of an image (the class's evidence over its number of images), the information on the angle is Σ w |∂A/∂φ|² and on the shift
    ½ Σ w (2πk)² |A|² along each axis, over one coefficient of each Friedel pair. ∂A/∂φ is that of the class's transform along circles.
    """
    box = images.shape[-1]
    disk = half_disk(box)
    count = disk.prefix(reach)
    spectra = disk.gather(to_fourier(images), count=count)
    turned = disk.gather(to_fourier(_angular_derivative(images, pixel_size=pixel_size)), count=count)
    weight = (evidence / counts.clamp_min(1)[:, None].to(evidence))[:, disk.shell[:count]].double()
    weight[:, 0] = 0
    frequency = 2 * math.pi * disk.radius[:count].double() / (box * pixel_size)
    by_angle = (weight * (turned.real.square() + turned.imag.square()).double()).sum(dim=1)
    by_shift = (weight * frequency.square() * (spectra.real.square() + spectra.imag.square()).double()).sum(dim=1) / 2
    nothing = torch.full_like(by_angle, math.pi)
    angle = torch.where(by_angle > 0, 1 / by_angle.clamp_min(1e-300).sqrt(), nothing).clamp(max=math.pi)
    shift = torch.where(by_shift > 0, 1 / by_shift.clamp_min(1e-300).sqrt(), nothing * box * pixel_size)
    return angle, shift.clamp(max=box * pixel_size)


def _angular_derivative(images: Float[Tensor, "classes h w"], *, pixel_size: float) -> Float[Tensor, "classes h w"]:
    """X ∂A/∂y − y ∂A/∂x: how the images change as they are turned, per rad."""
    box = images.shape[-1]
    axis = ((torch.arange(box) - box // 2) * pixel_size).to(images)
    along_y, along_x = torch.gradient(images, spacing=pixel_size, dim=(-2, -1))
    return axis * along_y - axis[:, None] * along_x
