"""What a refinement or classification knows after one iteration, as plain data: what RELION's run_itNNN files hold, in our units.

Loops above this floor fill it in; nothing here computes. Powers are variances of each real component of orthonormal 2D transforms of the particle
images, as `inference` uses them; RELION's are smaller by the number of pixels, and that factor is applied where the files are written and read.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from cryowalk.core.errors import ShapeError
from cryowalk.data.images import ImageStack
from cryowalk.data.particles import ParticleSet
from cryowalk.data.volume import Volume

WITHOUT_GROUPS = "group"  # RELION's name of the one group of particles that name no micrograph


@dataclass(frozen=True, slots=True, kw_only=True)
class RefinementModel:
    """What is known of all classes, from all particles or from one half set.

    `references` are maps, or class averages in the units of the particle images. Shells are 0 … box // 2 of the image; groups are those of
    `groups_of`. `signal` is the power of the references, `reference_noise` the variance that averaging left in them; their ratio times the
    regularisation is the signal-to-noise ratio unless `signal_to_noise` says it. Where a field is None it is not known.
    """

    references: ImageStack | tuple[Volume, ...]
    distribution: Float[Tensor, " classes"]
    noise: Float[Tensor, "groups shells"]
    signal: Float[Tensor, "classes shells"]
    reference_noise: Float[Tensor, "classes shells"]
    signal_to_noise: Float[Tensor, "classes shells"] | None = None
    shell_correlation: Float[Tensor, "classes shells"] | None = None
    completeness: Float[Tensor, "classes shells"] | None = None
    orientability: Float[Tensor, "classes shells"] | None = None
    resolution: Float[Tensor, " classes"] | None = None  # Å
    accuracy_angle: Float[Tensor, " classes"] | None = None  # rad
    accuracy_shift: Float[Tensor, " classes"] | None = None  # Å
    mean_shift: Float[Tensor, "classes 2"] | None = None  # Å, the centre of the shift's prior
    direction_distribution: Float[Tensor, "classes directions"] | None = None
    group_scale: Float[Tensor, " groups"] | None = None
    shift_deviation: float = 10.0  # Å
    mean_norm: float = 1.0
    log_likelihood: float = 0.0
    mean_max_probability: float = 0.0

    @property
    def is_flat(self) -> bool:
        """Whether the references are images rather than maps."""
        return isinstance(self.references, ImageStack)

    @property
    def box(self) -> int:
        """The side of the references, pixels."""
        return _pixels(self.references).shape[-1]

    @property
    def pixel_size(self) -> float:
        """Pixel or voxel size of the references, Å."""
        references = self.references
        return references.pixel_size if isinstance(references, ImageStack) else references[0].voxel_size

    def require_shapes(self, *, groups: int) -> None:
        """Raise an error unless every field has as many classes, groups and shells as the references and the particles have.

        Raises
        ------
        ShapeError
            If one has not.
        """
        references = self.references
        classes = references.count if isinstance(references, ImageStack) else len(references)
        shells = self.box // 2 + 1
        wanted: dict[str, tuple[int, ...]] = dict.fromkeys(
            ("signal", "reference_noise", "signal_to_noise", "shell_correlation", "completeness", "orientability"),
            (classes, shells),
        )
        wanted |= dict.fromkeys(("distribution", "resolution", "accuracy_angle", "accuracy_shift"), (classes,))
        wanted |= {"noise": (groups, shells), "group_scale": (groups,), "mean_shift": (classes, 2)}
        for name, shape in wanted.items():
            values = getattr(self, name)
            if values is not None and tuple(values.shape) != shape:
                raise ShapeError(
                    f"{name} of the refinement has the shape {tuple(values.shape)}",
                    expected=f"{shape}: {classes} classes, {groups} groups, {shells} shells",
                )


@dataclass(frozen=True, slots=True, kw_only=True)
class RefinementSampling:
    """Which orientations and shifts are looked at, before the finer passes over what was likely.

    `order` is that of the HEALPix grid of directions, None in the plane; angles in rad, shifts in Å. The whole grid is turned by `turn` times its
    spacing, a number drawn anew in each iteration between plus and minus `perturbation`.
    """

    order: int | None
    psi_step: float
    shift_range: float
    shift_step: float
    oversampling: int = 1
    perturbation: float = 0.5
    turn: float = 0.0
    symmetry: str = "C1"


@dataclass(frozen=True, slots=True, kw_only=True)
class RefinementOptions:
    """What the user asked for: how long, how large the particle, how strong the regularisation, and what is corrected for."""

    iterations: int
    diameter: float  # Å
    regularisation: float = 1.0
    is_automatic: bool = False  # RELION's auto-refine
    seed: int = 0
    mask_edge: int = 5  # pixels
    mask_name: str = "None"
    kept_fraction: float = 0.999
    padding: float = 2.0
    join_resolution: float | None = None  # Å, to which half sets are averaged
    local_order: int = 4  # HEALPix order from which searches are local
    has_zero_mask: bool = True
    has_solvent_flattening: bool = True
    has_ctf: bool = True
    has_norm_correction: bool = False
    has_scale_correction: bool = False
    increment: int = 10  # shells beyond the resolution that are looked at


@dataclass(frozen=True, slots=True, kw_only=True)
class RefinementProgress:
    """How far the search has come: changes since the iteration before, the smallest so far, and what has stopped to improve."""

    angle_change: float = math.radians(999.0)
    shift_change: float = 999.0  # Å
    class_change: float = 1.0  # fraction of the particles
    smallest_angle_change: float = math.radians(999.0)
    smallest_shift_change: float = 999.0  # Å
    smallest_class_change: float = 1.0
    best_resolution: float = math.inf  # Å
    iterations_without_gain: int = 0
    iterations_without_change: int = 0
    has_converged: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ParticleStatistics:
    """What an iteration tells of each particle beside its pose and class; the norm is by what factor its image is too strong."""

    log_likelihood: Float[Tensor, " n"]
    max_probability: Float[Tensor, " n"]
    significant: Int[Tensor, " n"]
    norm: Float[Tensor, " n"] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RefinementState:
    """Everything after one iteration: particles with their poses, classes (from 1) and half sets, and one model, or one of each half set.

    `current_size` is the side in pixels of the images that the iteration compared, `resolution` (Å) that of the best class.
    """

    iteration: int
    particles: ParticleSet
    models: tuple[RefinementModel, ...]
    sampling: RefinementSampling
    options: RefinementOptions
    resolution: float
    current_size: int
    statistics: ParticleStatistics | None = None
    progress: RefinementProgress = RefinementProgress()


def groups_of(particles: ParticleSet) -> tuple[tuple[str, ...], Int[Tensor, " n"]]:
    """The names of RELION's groups of particles and the group of each: by rlnGroupName, else by micrograph, else one group of all.

    They are numbered as RELION numbers them: in the order in which particles sorted by their micrograph's name come to them.
    """
    names: Sequence[str] = particles.extra.get("rlnGroupName", ()) or particles.micrograph_names
    if not names:
        return (WITHOUT_GROUPS,), torch.zeros(len(particles), dtype=torch.long)
    micrographs = particles.micrograph_names or names
    order = sorted(range(len(names)), key=lambda row: micrographs[row].encode())
    number = {name: place for place, name in enumerate(dict.fromkeys(names[row] for row in order))}
    return tuple(number), torch.tensor([number[name] for name in names], dtype=torch.long)


def noise_of_groups(noise: Float[Tensor, "optics shells"], particles: ParticleSet) -> Float[Tensor, "groups shells"]:
    """The noise of each of RELION's groups from that of each optics group: the mean over the group's particles."""
    names, group = groups_of(particles)
    counts = torch.zeros(len(names), len(particles.optics), dtype=torch.float64)
    counts.index_put_((group, particles.optics_index.cpu()), torch.ones(len(group), dtype=torch.float64), accumulate=True)
    shares = counts / counts.sum(dim=1, keepdim=True)
    return (shares @ noise.detach().cpu().double()).to(noise.dtype)


def _pixels(references: ImageStack | tuple[Volume, ...]) -> Tensor:
    return references.pixels if isinstance(references, ImageStack) else references[0].voxels
