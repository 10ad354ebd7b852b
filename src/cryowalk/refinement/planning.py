"""What a refinement is about, before its first iteration: usable particles in halves, the starting map and mask on their grid."""

import hashlib
from dataclasses import asdict, dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from cryowalk.core.errors import UsageError
from cryowalk.core.execution import Progress, SilentProgress
from cryowalk.data import ParticleSet, Volume
from cryowalk.refinement.regularisation import solvent_mask
from cryowalk.refinement.sampling import Schedule
from cryowalk.refinement.scale import scale_groups
from cryowalk.refinement.settings import RefinementSettings
from cryowalk.refinement.starting_map import SAME_PIXEL, ImageGrid, image_grid, on_grid, starting_map, tell_symmetry
from cryowalk.refinement.usable import usable_particles

DEFAULT_DIAMETER = 0.9  # of the box


@dataclass(frozen=True, slots=True, kw_only=True)
class RefinementWork:
    """What stays the same from the first iteration to the last; see `planned`."""

    particles: ParticleSet
    left_out: tuple[tuple[int, str], ...]
    members: tuple[Int[Tensor, " first"], Int[Tensor, " second"]]
    groups: Int[Tensor, " n"]
    start: Volume
    mask: Float[Tensor, "z y x"]
    is_mask_given: bool
    schedule: Schedule
    seed: int
    fingerprint: str

    @property
    def settings(self) -> RefinementSettings:
        """What the user chose."""
        return self.schedule.settings


def planned(
    particles: ParticleSet,
    reference: Volume,
    settings: RefinementSettings,
    *,
    mask: Volume | None = None,
    generator: torch.Generator,
    progress: Progress | None = None,
) -> RefinementWork:
    """The usable particles in their halves, the starting map on the images' grid, and the mask.

    Raises
    ------
    InputError
        As `refine`.
    """
    progress = progress or SilentProgress()
    usable = usable_particles(particles, generator=generator, progress=progress)
    grid = image_grid(usable.particles)
    field = grid.box * grid.pixel_size
    diameter = min(settings.diameter or DEFAULT_DIAMETER * field, field)
    schedule = Schedule(box=grid.box, pixel_size=grid.pixel_size, diameter=diameter, settings=settings)
    if settings.starting_resolution < 2 * grid.pixel_size:
        raise UsageError(
            f"a starting resolution of {settings.starting_resolution:g} Å is finer than the images hold: {2 * grid.pixel_size:.3g} Å",
            expected="40 to 60 Å, so that nothing of the reference is taken for signal",
            fix="give a larger --ini-high",
        )
    start = starting_map(reference, grid, resolution=settings.starting_resolution, progress=progress)
    tell_symmetry(start, settings.symmetry, progress)
    half = usable.particles.half
    first, second = (torch.zeros(0, dtype=torch.int64) if half is None else (half == n).nonzero().flatten() for n in (1, 2))
    weight = solvent_mask(grid.box, diameter=diameter, pixel_size=grid.pixel_size)
    if mask is not None:
        weight = _mask_on(mask, start, progress)
    return RefinementWork(
        particles=usable.particles,
        left_out=usable.left_out,
        members=(first, second),
        groups=scale_groups(usable.particles),
        start=start,
        mask=weight,
        is_mask_given=mask is not None,
        schedule=schedule,
        seed=int(torch.randint(2**31, (), generator=generator)),
        fingerprint=_fingerprint(usable.particles, start, weight, settings),
    )


def _mask_on(mask: Volume, start: Volume, progress: Progress) -> Float[Tensor, "z y x"]:
    if mask.voxels.shape != start.voxels.shape or abs(mask.voxel_size / start.voxel_size - 1) > SAME_PIXEL:
        progress.note("the mask was brought to the images' grid")
        mask = on_grid(mask, ImageGrid(box=start.voxels.shape[-1], pixel_size=start.voxel_size))
    return mask.voxels.float().clamp(0, 1)


def _fingerprint(particles: ParticleSet, start: Volume, mask: Tensor, settings: RefinementSettings) -> str:
    digest = hashlib.sha256(repr(sorted(asdict(settings).items())).encode())
    parts: list[Tensor | None] = [particles.half, particles.optics_index, start.voxels, mask]
    defocus = particles.defocus
    parts += [] if defocus is None else [defocus.major, defocus.minor, defocus.azimuth, defocus.phase_shift]
    for part in parts:
        if part is not None:
            digest.update(part.detach().cpu().contiguous().numpy().tobytes())
    digest.update(repr((particles.optics, particles.image_names)).encode())
    return digest.hexdigest()
