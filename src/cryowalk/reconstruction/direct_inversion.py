"""Maps by direct Fourier inversion: every image's transform is put into the 3D transform as a central slice, and the sums are divided by the weights.

V̂(k) = Σ CTF X / σ² ÷ Σ CTF² / σ², the least-squares map of images with independent Gaussian noise. Source: Penczek, Methods Enzymol. 482, 73 (2010).
"""

import hashlib
import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from cryowalk.core.errors import CryowalkWarning, InputError, StateConflict
from cryowalk.core.execution import Checkpoint, NoCheckpoint, Progress, SilentProgress, batches
from cryowalk.data import HalfMaps, ParticleSet, Volume
from cryowalk.fourier.accumulator import SliceAccumulator
from cryowalk.fourier.shells import shell_correlation
from cryowalk.fourier.symmetriser import Symmetriser, symmetriser
from cryowalk.microscope.aberrations import is_magnified_evenly, magnified, magnified_stretch
from cryowalk.reconstruction.evenness import evening_weights
from cryowalk.reconstruction.ewald import IMAGES, sheet_stretch
from cryowalk.reconstruction.halves import halves_of
from cryowalk.reconstruction.regularised import padding_of, regularised_maps
from cryowalk.reconstruction.settings import ReconstructionSettings
from cryowalk.reconstruction.streaming import Batch, batch_size, checked_batches
from cryowalk.reconstruction.weighting import curved_slices, inverse_noise_power, require_usable, weighted_slices

DEFAULT = ReconstructionSettings()
NAMED = 5  # damaged images that are told by name


@dataclass(frozen=True, slots=True, kw_only=True)
class Reconstruction:
    """Half maps, the map of both halves' sums, and how the halves agree.

    `halves` are without a prior, `full` and `regularised` by the method that was asked for (`regularised` is absent where that is direct inversion).
    `correlation` is the unmasked Fourier shell correlation of `halves` in the shells 0 … n // 2; `used` and `left_out` count images: those without
    any contrast, and those in neither half, are left out.
    """

    halves: HalfMaps
    full: Volume
    regularised: HalfMaps | None = None
    correlation: Float[Tensor, " shells"]
    used: int
    left_out: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Work:
    """What stays the same from the first image to the last."""

    particles: ParticleSet
    settings: ReconstructionSettings
    evening: Float[Tensor, "box half"]
    inverse_noise: Float[Tensor, "groups shells"] | None
    symmetriser: Symmetriser
    batches: tuple[tuple[int, list[int]], ...]
    fingerprint: str

    @property
    def box(self) -> int:
        return 0 if self.particles.images is None else self.particles.images.image_shape[0]

    def empty(self, device: torch.device | str = "cpu") -> SliceAccumulator:
        stretch = max(magnified_stretch(optics) for optics in self.particles.optics)
        if self.settings.ewald != "off":
            stretch *= max(sheet_stretch(optics) for optics in self.particles.optics)
        padding = padding_of(self.settings)
        return SliceAccumulator(self.box, voxel_size=self.particles.pixel_size, padding=padding, stretch=stretch, device=device)


@dataclass(slots=True, kw_only=True)
class _Sums:
    """The working state: what a checkpoint holds. Number of batches done, the two halves' sums, images seen and left out."""

    done: int
    halves: list[SliceAccumulator | None]
    seen: list[list[Int[Tensor, " _"]]]
    left_out: int
    damaged: list[int]


def reconstruct(
    particles: ParticleSet,
    settings: ReconstructionSettings = DEFAULT,
    *,
    noise_power: Float[Tensor, "*groups shells"] | None = None,
    generator: torch.Generator | None = None,
    progress: Progress | None = None,
    checkpoint: Checkpoint | None = None,
) -> HalfMaps:
    """The two half maps of particles with poses, by direct Fourier inversion with CTF and noise weights, in V (RELION's scale on disk).

    Each particle goes to the half its set names; a set without halves is divided by the generator, or without one in turn. Images are streamed: memory
    does not grow with their number. `noise_power` is E|n|² in each shell, for each optics group or for all; without it noise is taken as white. By the
    method "direct" nothing but the division is regularised: where hardly any weight falls the map is damped. By the others they are the regularised half maps.

    Raises
    ------
    InputError
        If there are no particles, or their images, poses or CTF parameters are missing or not finite.
    StateConflict
        If the checkpoint belongs to other particles or settings.
    """
    found = reconstruct_with_full_map(
        particles, settings, noise_power=noise_power, generator=generator, progress=progress, checkpoint=checkpoint
    )
    return found.regularised or found.halves


def reconstruct_with_full_map(
    particles: ParticleSet,
    settings: ReconstructionSettings = DEFAULT,
    *,
    noise_power: Float[Tensor, "*groups shells"] | None = None,
    generator: torch.Generator | None = None,
    progress: Progress | None = None,
    checkpoint: Checkpoint | None = None,
) -> Reconstruction:
    """Both half maps, the map of all particles and the unmasked correlation of the halves, in one pass over the images.

    The full map divides the sums of both halves by the sum of their weights, which weighs each coefficient by how well it was seen; see `reconstruct`.

    Raises
    ------
    InputError
        If there are no particles, or their images, poses or CTF parameters are missing or not finite.
    StateConflict
        If the checkpoint belongs to other particles or settings.
    """
    progress = progress or SilentProgress()
    require_usable(particles, settings)
    work = _plan(particles, settings, noise_power, generator)
    sums = _sum(work, progress, checkpoint or NoCheckpoint())
    used = sum(len(seen) for half in sums.seen for seen in half)
    neither = len(particles) - sum(len(indices) for _, indices in work.batches)
    _tell_damaged(particles, sums.damaged, progress)
    _tell(sums, used, neither, progress)
    return _finish(work, sums, progress=progress, counts=(used, sums.left_out + len(sums.damaged) + neither))


def _plan(
    particles: ParticleSet,
    settings: ReconstructionSettings,
    noise_power: Float[Tensor, "*groups shells"] | None,
    generator: torch.Generator | None,
) -> _Work:
    images = particles.images
    shape = (1, 1) if images is None else images.image_shape
    half = halves_of(particles, generator)
    size = batch_size(settings.memory_budget, shape)
    todo: list[tuple[int, list[int]]] = []
    for number in (1, 2):
        members = (half == number).nonzero().flatten()
        todo += [(number - 1, members[span.start : span.stop].tolist()) for span in batches(len(members), size)]
    inverse_noise = inverse_noise_power(noise_power, groups=len(particles.optics), box=shape[0])
    return _Work(
        particles=particles,
        settings=settings,
        evening=evening_weights(particles[half > 0], box=shape[0], settings=settings, inverse_noise=inverse_noise),
        inverse_noise=inverse_noise,
        symmetriser=symmetriser(settings.symmetry),
        batches=tuple(todo),
        fingerprint=_fingerprint(particles, settings, half, noise_power),
    )


def _fingerprint(
    particles: ParticleSet, settings: ReconstructionSettings, half: Int[Tensor, " n"], noise_power: Tensor | None
) -> str:
    digest = hashlib.sha256(repr(sorted(asdict(settings).items())).encode())
    pose, defocus = particles.pose, particles.defocus
    parts = [half, particles.optics_index, noise_power]
    parts += [] if pose is None else [pose.lab_from_particle, pose.shift]
    parts += [] if defocus is None else [defocus.major, defocus.minor, defocus.azimuth, defocus.phase_shift]
    for part in parts:
        if part is not None:
            digest.update(part.detach().cpu().contiguous().numpy().tobytes())
    digest.update(repr((particles.optics, particles.image_names)).encode())
    return digest.hexdigest()


def _sum(work: _Work, progress: Progress, checkpoint: Checkpoint) -> _Sums:
    sums = _resumed(work, checkpoint.load())
    if sums.done:
        progress.note(f"going on after {sum(len(indices) for _, indices in work.batches[: sums.done])} images")
    progress.start("reconstruct", sum(len(indices) for _, indices in work.batches))
    progress.advance(sum(len(indices) for _, indices in work.batches[: sums.done]))
    todo = work.batches[sums.done :]
    found = checked_batches(work.particles, [indices for _, indices in todo], on_nan=work.settings.on_nan)
    for (half, indices), batch in zip(todo, found, strict=True):
        accumulator = sums.halves[half] or work.empty(batch.images.device)
        accumulator.move_to(batch.images.device)  # a resumed sum comes from a file
        sums.halves[half] = accumulator
        _add(work, accumulator, batch)
        sums.seen[half].append(batch.fingerprints)
        sums.left_out += batch.left_out
        sums.damaged += batch.damaged
        sums.done += 1
        if not isinstance(checkpoint, NoCheckpoint):
            checkpoint.save(_state(work, sums))
        progress.advance(len(indices))
    return sums


def _add(work: _Work, accumulator: SliceAccumulator, batch: Batch) -> None:
    pose = work.particles.pose
    if len(batch.indices) == 0 or pose is None:
        return
    device = batch.images.device
    evening = work.evening.to(device)
    inverse_noise = None if work.inverse_noise is None else work.inverse_noise.to(device)
    rotations = _observed_rotations(work.particles, batch.indices).to(work.evening.dtype).to(device)
    shift = -pose.shift[batch.indices].to(rotations)
    operators = work.symmetriser.inserted.to(rotations)
    if work.settings.ewald != "off":
        for part in batches(len(batch.indices), IMAGES):
            chosen = slice(part.start, part.stop)
            found = curved_slices(
                batch.images[chosen],
                work.particles,
                batch.indices[chosen],
                settings=work.settings,
                evening=evening,
                inverse_noise=inverse_noise,
            )
            for sheet, members in found:
                placed = rotations[chosen][members]
                for operator in operators:
                    accumulator.add(
                        sheet.numerator, sheet.weight, placed @ operator, shift=shift[chosen][members], height=sheet.height
                    )
        return
    flat = weighted_slices(
        batch.images, work.particles, batch.indices, settings=work.settings, evening=evening, inverse_noise=inverse_noise
    )
    for operator in operators:
        accumulator.add(flat.slices, flat.weights, rotations @ operator, factor=flat.factor, shift=shift)


def _observed_rotations(particles: ParticleSet, indices: Int[Tensor, " n"]) -> Float[Tensor, "n 3 3"]:
    """Where the slices of these particles lie in the map: their rotations, with the magnification matrix of each one's optics group."""
    if particles.pose is None:
        raise InputError("the particles have no poses", fix="refine them first")
    rotations = particles.pose.lab_from_particle[indices]
    groups = particles.optics_index[indices]
    for number, optics in enumerate(particles.optics):
        if not is_magnified_evenly(optics.aberrations):
            members = groups == number
            rotations = torch.where(members[:, None, None], magnified(rotations, optics=optics), rotations)
    return rotations


def _state(work: _Work, sums: _Sums) -> Mapping[str, Any]:
    return {
        "fingerprint": work.fingerprint,
        "done": sums.done,
        "left_out": sums.left_out,
        "damaged": sums.damaged,
        "sums": [None if half is None else half.state() for half in sums.halves],
        "seen": [torch.cat(half) if half else torch.empty(0, dtype=torch.long) for half in sums.seen],
    }


def _resumed(work: _Work, state: Mapping[str, Any] | None) -> _Sums:
    if state is None:
        return _Sums(done=0, halves=[None, None], seen=[[], []], left_out=0, damaged=[])
    if state.get("fingerprint") != work.fingerprint:
        raise StateConflict(
            "the checkpoint belongs to another reconstruction",
            expected="the same particles, poses, CTF parameters and settings as when it was started",
            fix="give another output directory, or remove this one to begin again",
        )
    return _Sums(
        done=state["done"],
        halves=[None if half is None else SliceAccumulator.from_state(half) for half in state["sums"]],
        seen=[[half] for half in state["seen"]],
        left_out=state["left_out"],
        damaged=list(state["damaged"]),
    )


def _tell_damaged(particles: ParticleSet, damaged: list[int], progress: Progress) -> None:
    """Name the images that were left out because they are not finite.

    Raises
    ------
    InputError
        If those are all.
    """
    if not damaged:
        return
    names = [particles.image_names[row] if particles.image_names else f"number {row + 1}" for row in sorted(damaged)[:NAMED]]
    if len(damaged) == len(particles):
        raise InputError(
            f"none of the {len(particles)} images can be used: all hold NaN or infinite values, the first {names[0]}",
            cause="a failed normalisation, or particles cut from a damaged micrograph",
            fix="make the images again",
        )
    more = f" and {len(damaged) - NAMED} more" if len(damaged) > NAMED else ""
    progress.note(f"left out, because the image holds NaN or infinite values ({len(damaged)}): {', '.join(names)}{more}")


def _tell(sums: _Sums, used: int, neither: int, progress: Progress) -> None:
    if sums.left_out:
        progress.note(f"{sums.left_out} images without any contrast were left out")
    if neither:
        progress.note(f"{neither} particles belong to neither half and were left out")
    first, second = (torch.cat(half) if half else torch.empty(0, dtype=torch.long) for half in sums.seen)
    if len(first) == 0 or len(second) == 0:
        warnings.warn(
            f"{'both halves are' if used == 0 else 'one half is'} empty: its map is zero and the half maps say nothing about resolution",
            CryowalkWarning,
            stacklevel=3,
        )
    shared = int(torch.isin(second, first).sum())
    if shared:
        warnings.warn(
            f"{shared} images are in both halves: the halves are not independent, and their correlation is too high",
            CryowalkWarning,
            stacklevel=3,
        )


def _finish(work: _Work, sums: _Sums, *, progress: Progress, counts: tuple[int, int]) -> Reconstruction:
    device = next((half.sums.device for half in sums.halves if half is not None), torch.device("cpu"))
    first, second = (half or work.empty(device) for half in sums.halves)
    for accumulator in (first, second):
        work.symmetriser.apply(accumulator)
    halves = HalfMaps(first=first.to_volume(), second=second.to_volume())
    correlation = shell_correlation(halves.first.voxels, halves.second.voxels)
    told = {"halves": halves, "correlation": correlation, "used": counts[0], "left_out": counts[1]}
    if work.settings.method == "direct":
        first.merge(second)
        return Reconstruction(full=first.to_volume(), **told)
    found = regularised_maps((first, second), halves, correlation, settings=work.settings, progress=progress)
    return Reconstruction(full=found.full, regularised=found.halves, **told)
