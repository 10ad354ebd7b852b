"""What a 3D classification is about, before its first iteration: usable particles, starting maps and mask on their grid."""

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from cryowalk.core.errors import InputError, UsageError
from cryowalk.core.execution import Progress
from cryowalk.data import ParticleSet, Volume
from cryowalk.geometry.symmetry import symmetry_name
from cryowalk.refinement.heterogeneous_settings import HeterogeneousSettings
from cryowalk.refinement.planning import DEFAULT_DIAMETER
from cryowalk.refinement.regularisation import solvent_mask
from cryowalk.refinement.scale import scale_groups
from cryowalk.refinement.starting_map import SAME_PIXEL, ImageGrid, image_grid, on_grid, starting_map, tell_symmetry
from cryowalk.refinement.usable import usable_particles

PIXELS_OF_RANGE = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassWork:
    """What stays the same from the first iteration to the last; see `planned`."""

    particles: ParticleSet
    left_out: tuple[tuple[int, str], ...]
    groups: Int[Tensor, " n"]
    starts: tuple[Volume, ...]
    mask: Float[Tensor, "z y x"]
    diameter: float
    grid: ImageGrid
    settings: HeterogeneousSettings
    seed: int
    fingerprint: str

    @property
    def last_shell(self) -> int:
        """The finest shell that is ever compared."""
        whole = (self.grid.box - 1) // 2
        finest = self.settings.finest_resolution
        return whole if finest <= 0 else max(2, min(whole, self.shell_of(finest)))

    def shell_of(self, resolution: float) -> int:
        """The shell that lies at a resolution (Å)."""
        return round(self.grid.box * self.grid.pixel_size / resolution)

    @property
    def shift_range(self) -> float:
        """How far from its last place a particle is looked for, Å; 0 where poses are kept."""
        if self.settings.looks_for == "none":
            return 0.0
        return self.settings.shift_range or PIXELS_OF_RANGE * self.grid.pixel_size


def planned(
    particles: ParticleSet,
    references: Sequence[Volume],
    settings: HeterogeneousSettings,
    *,
    mask: Volume | None = None,
    generator: torch.Generator,
    progress: Progress,
) -> ClassWork:
    """The usable particles, one starting map or one for each class on the images' grid, and the mask.

    Raises
    ------
    InputError
        If there are too few usable particles, or images, CTF parameters, poses or maps are not usable.
    UsageError
        If the number of maps is neither one nor that of the classes, or a relaxed symmetry is looked for everywhere.
    """
    check_choices(particles, len(references), settings)
    # Halves play no part: a particle in neither is as good as any.
    usable = usable_particles(replace(particles, half=None), generator=generator, progress=progress)
    chosen = replace(usable.particles, half=_without(particles.half, usable.left_out))
    grid = image_grid(chosen)
    field = grid.box * grid.pixel_size
    diameter = min(settings.diameter or DEFAULT_DIAMETER * field, field)
    starts = tuple(starting_map(one, grid, resolution=settings.starting_resolution, progress=progress) for one in references)
    tell_symmetry(starts[0], settings.symmetry, progress)
    weight = solvent_mask(grid.box, diameter=diameter, pixel_size=grid.pixel_size)
    if mask is not None:
        weight = mask_on(mask, grid, progress)
    return ClassWork(
        particles=chosen, left_out=usable.left_out, groups=scale_groups(chosen), starts=starts, mask=weight, diameter=diameter,
        grid=grid, settings=settings, seed=int(torch.randint(2**31, (), generator=generator)),
        fingerprint=_fingerprint(chosen, starts, weight, settings),
    )  # fmt: skip


def check_choices(particles: ParticleSet, references: int, settings: HeterogeneousSettings) -> None:
    """Nothing, if these particles can be sorted as the settings say.

    Raises
    ------
    InputError
        If there are more classes than particles, or the poses that are kept or begun at are not there.
    UsageError
        If the number of maps is neither one nor that of the classes, or a relaxed symmetry is looked for everywhere.
    """
    if settings.classes > len(particles):
        raise InputError(
            f"there are {settings.classes} classes for {len(particles)} particles",
            expected="several particles for each class",
            fix="give fewer --classes",
        )
    if references not in (1, settings.classes):
        raise UsageError(
            f"{references} references were given for {settings.classes} classes",
            expected="one reference, from which all classes begin, or one for each class",
        )
    if settings.looks_for != "global" and particles.pose is None:
        raise InputError(
            "the particles have no poses to begin at",
            expected="rlnAngleRot, rlnAngleTilt and rlnAnglePsi",
            fix="refine them first: cryowalk refine, or give --search global",
        )
    if symmetry_name(settings.relax_symmetry) != "C1" and settings.looks_for == "global":
        raise UsageError(
            "--relax-symmetry tries copies of known poses, and --search global knows none",
            fix="give --search local or --skip-align",
        )


def mask_on(mask: Volume, grid: ImageGrid, progress: Progress) -> Float[Tensor, "z y x"]:
    """The mask's factors on the images' grid; a change of grid is told.

    Raises
    ------
    InputError
        If nothing is inside.
    """
    if mask.voxels.shape[-1] != grid.box or abs(mask.voxel_size / grid.pixel_size - 1) > SAME_PIXEL:
        progress.note("the mask was brought to the images' grid")
        mask = on_grid(mask, grid)
    weight = mask.voxels.float().clamp(0, 1)
    if not bool(weight.max() > 0):
        raise InputError("the mask is zero everywhere on the images' grid", fix="look at it: cryowalk inspect FILE")
    return weight


def _without(half: Tensor | None, left_out: Sequence[tuple[int, str]]) -> Tensor | None:
    if half is None:
        return None
    kept = torch.ones(len(half), dtype=torch.bool)
    kept[[row for row, _ in left_out]] = False
    return half.cpu()[kept]


def _fingerprint(particles: ParticleSet, starts: Sequence[Volume], mask: Tensor, settings: HeterogeneousSettings) -> str:
    digest = hashlib.sha256(repr(sorted(asdict(settings).items())).encode())
    parts: list[Tensor | None] = [particles.optics_index, *(start.voxels for start in starts), mask]
    if particles.pose is not None and settings.looks_for != "global":
        parts += [particles.pose.lab_from_particle, particles.pose.shift]
    defocus = particles.defocus
    parts += [] if defocus is None else [defocus.major, defocus.minor, defocus.azimuth, defocus.phase_shift]
    for part in parts:
        if part is not None:
            digest.update(part.detach().cpu().contiguous().numpy().tobytes())
    digest.update(repr((particles.optics, particles.image_names)).encode())
    return digest.hexdigest()
