"""One iteration of expectation and maximisation: images compared with the classes, and classes made of the images.

Source: Scheres et al., J. Mol. Biol. 348, 139 (2005), and Scheres, J. Mol. Biol. 415, 406 (2012), eqs. 7–10.
"""

import math
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from cryowalk.classification.model import ClassModel, finest_shell
from cryowalk.classification.regularisation import expected_signal, next_radius, shell_power
from cryowalk.classification.result import ParticleClasses
from cryowalk.classification.settings import ClassificationSettings
from cryowalk.core.execution import Progress, SilentProgress
from cryowalk.data import ParticleSet
from cryowalk.fourier.disk import half_disk
from cryowalk.geometry.rotations import matrix_about_axis
from cryowalk.inference.assignments import Assignments, NoiseResidual
from cryowalk.inference.class_sums import ClassSums
from cryowalk.inference.expectation_step import expectation
from cryowalk.inference.noise import NoiseModel
from cryowalk.inference.orientations import GlobalOrientations
from cryowalk.inference.references import ClassReferences
from cryowalk.inference.search import SearchSettings

DIAMETER = 0.85  # of the box
OFFSET_RANGE, OFFSET_STEP = 5.0, 1.0  # pixels
MOST_CELLS = 256  # of class and angle that one image is followed in: images that fit nowhere fit everywhere
LEAST_OCCUPANCY = 1e-9  # of an empty class: its prior is small, not nothing
_FACTORS = (0.2, 5.0)  # within which the scale of a micrograph is believed
DEGREE = math.pi / 180


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What a comparison of images with classes leaves: the sums of each class, how many images it holds, the noise that is left, log p of all images.

    `scale` holds the sums whose ratio is the factor on each image's CTF that fits best.
    """

    sums: ClassSums
    members: Float[Tensor, " classes"]
    residual: NoiseResidual
    log_likelihood: float
    scale: Float[Tensor, "n 2"]


def search_settings(settings: ClassificationSettings, *, box: int, pixel_size: float, radius: int) -> SearchSettings:
    """How the settings say that poses are looked for, at this finest shell."""
    return SearchSettings(
        radius=radius,
        diameter=settings.diameter or DIAMETER * box * pixel_size,
        angular_step=settings.angular_step_degrees * DEGREE,
        shift_range=OFFSET_RANGE * pixel_size if settings.offset_range is None else settings.offset_range,
        shift_step=settings.offset_step or OFFSET_STEP * pixel_size,
        kept=settings.kept,
        most_cells=MOST_CELLS,
        byte_budget=settings.memory_budget,
    )


def compare(
    particles: ParticleSet,
    model: ClassModel,
    settings: ClassificationSettings,
    *,
    turn: float = 0.0,
    scale: Float[Tensor, " n"] | None = None,
    progress: Progress | None = None,
) -> tuple[ParticleClasses, Evidence]:
    """Each particle's class and place, and the sums that the next classes are made of.

    The grid of in-plane angles is turned by `turn` (rad). Images are looked for about the shifts of `particles.pose`.
    """
    references = ClassReferences.of(model.images, pixel_size=model.pixel_size, radius=model.radius)
    sums = ClassSums(model.classes, box=model.box, device=model.images.device)
    assignments = expectation(
        particles,
        references,
        model.noise,
        search_settings(settings, box=model.box, pixel_size=model.pixel_size, radius=model.radius),
        orientations=GlobalOrientations(
            models=model.classes,
            kind="plane",
            turn=matrix_about_axis(torch.tensor(turn, dtype=torch.float64), axis="z"),
            log_prior=torch.log(model.occupancy.clamp_min(LEAST_OCCUPANCY)),
        ),
        sums=sums,
        scale=scale,
        use_ctf=settings.ctf == "correct",
        progress=progress or SilentProgress(),
    )
    evidence = Evidence(
        sums=sums,
        members=assignments.model_probability.double().sum(dim=0),
        residual=assignments.residual,
        log_likelihood=log_likelihood(assignments, model, particles.optics_index),
        scale=torch.stack([assignments.scale_numerator, assignments.scale_denominator], dim=-1),
    )
    return _classes_of(assignments), evidence


def log_likelihood(assignments: Assignments, model: ClassModel, optics_index: Int[Tensor, " n"]) -> float:
    """Log p(images | classes, noise) over the coefficients that were compared, up to a constant: Σ log evidence − ½ Σ |y|²/σ² − Σ log σ²."""
    disk = half_disk(model.box)
    shell = disk.shell[1 : disk.prefix(model.radius)]
    width = torch.log(model.noise.power.double())[:, shell].sum(dim=1)
    images = torch.bincount(optics_index, minlength=len(width)).double()
    fit = (assignments.log_evidence.double() + assignments.log_noise.double()).sum()
    return float(fit - (images * width).sum())


def _classes_of(assignments: Assignments) -> ParticleClasses:
    label = assignments.model
    return ParticleClasses(
        pose=assignments.pose,
        label=label,
        probability=assignments.model_probability.gather(1, label[:, None])[:, 0],
        log_evidence=assignments.log_evidence,
        log_noise=assignments.log_noise,
        angular_width=assignments.angular_width,
        shift_width=assignments.shift_width,
        significant=assignments.significant,
    )


def maximise(
    evidence: Evidence, model: ClassModel, settings: ClassificationSettings, *, noise: NoiseModel | None = None, limit: int
) -> ClassModel:
    """The classes that the sums say, held by the prior that their own spectra give, with their occupancies and the noise.

    `limit` is the finest shell that is ever compared; `noise` stands for that of the residual.
    """
    sums, members = evidence.sums, evidence.members
    total = members.sum().clamp_min(1e-30)
    weight = sums.weight()
    plain = sums.images()
    if settings.regularisation == "none":
        signal, images = torch.full_like(weight, torch.inf), plain
    else:
        signal = expected_signal(shell_power(plain), weight, fudge=settings.tau_fudge)
        images = sums.images(precision=1 / signal.clamp_min(1e-30))
    ratio = torch.where(torch.isfinite(signal), signal, shell_power(plain)) * weight
    is_held = members >= 0.5
    images = torch.where(is_held[:, None, None].to(images.device), images, torch.zeros_like(images))
    ratio = torch.where(is_held[:, None].to(ratio.device), ratio, torch.zeros_like(ratio))
    finest = int(finest_shell(ratio).max())
    return replace(
        model,
        images=images,
        occupancy=(members / total).float(),
        noise=noise or evidence.residual.noise_model(),
        signal=signal,
        ratio=ratio,
        radius=limit if settings.regularisation == "none" else next_radius(finest, limit=limit),
    )


def scales_of_micrographs(evidence: Float[Tensor, "n 2"], micrograph: Int[Tensor, " n"]) -> Float[Tensor, " micrographs"]:
    """The factor on the CTF of each micrograph's images that fits them best; their mean over images is 1."""
    count = int(micrograph.max()) + 1
    total = torch.zeros(count, 2, dtype=torch.float64).index_add_(0, micrograph, evidence.double().cpu())
    factor = (total[:, 0] / total[:, 1].clamp_min(1e-30)).clamp(*_FACTORS)
    return (factor / factor[micrograph].mean()).float()
