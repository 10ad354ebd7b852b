"""CTF refinement as a chain: magnification, aberrations, defocus and astigmatism, and aberrations again with the better defocus."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from cryowalk.core.errors import StateConflict, UsageError
from cryowalk.core.execution import Checkpoint, NoCheckpoint, Progress, SilentProgress
from cryowalk.data import ParticleSet, Volume
from cryowalk.data.optics import Aberrations
from cryowalk.poses.aberrations import GroupAberrations, refined_aberrations
from cryowalk.poses.defocus import refined_defocus
from cryowalk.poses.evidence import Band, References, band_of, calibrate, require_refinable
from cryowalk.poses.magnification import refined_magnification
from cryowalk.poses.settings import CtfRefinementSettings

DEFAULT = CtfRefinementSettings()


@dataclass(frozen=True, slots=True, kw_only=True)
class CtfRefinement:
    """The particles with refined parameters, and what was found.

    `change` and `deviation` are those of each particle's defocus (Å); `aberrations` and `magnification_deviations` one entry an optics group, empty where they
    were not asked for; `scale` is how much of the map the images show in each shell of each group, and `inverse_noise` 1/σ² of a real component, at the end.
    """

    particles: ParticleSet
    change: Float[Tensor, " n"]
    deviation: Float[Tensor, " n"]
    aberrations: tuple[GroupAberrations, ...]
    magnification_deviations: tuple[tuple[float, ...], ...]
    scale: Float[Tensor, "groups shells"]
    inverse_noise: Float[Tensor, "groups shells"]
    band: Band


@dataclass(slots=True, kw_only=True)
class _State:
    """How far the chain has come."""

    done: int
    particles: ParticleSet
    change: Tensor
    deviation: Tensor
    aberrations: tuple[GroupAberrations, ...]
    magnification: tuple[tuple[float, ...], ...]


def refine_ctf(
    particles: ParticleSet,
    maps: Sequence[Volume],
    settings: CtfRefinementSettings = DEFAULT,
    *,
    progress: Progress | None = None,
    checkpoint: Checkpoint | None = None,
) -> CtfRefinement:
    """Particles whose defocus, aberrations and magnification, as far as the settings ask for them, make their images likeliest given a map.

    `maps` are one map for all particles, or both half maps, each for the particles of its half: with one map of all of them the fit follows the map's noise too.
    Poses are taken as right. Images are streamed in batches; a killed run goes on at the last step that was finished.

    Raises
    ------
    InputError, ShapeError, UsageError
        If particles or maps cannot be used.
    StateConflict
        If the checkpoint belongs to other particles, maps or settings.
    """
    progress, checkpoint = progress or SilentProgress(), checkpoint or NoCheckpoint()
    require_refinable(particles, maps)
    references, band = References.of(maps), band_of(particles, settings)
    mark = _fingerprint(particles, maps, settings)
    state = _resumed(particles, checkpoint.load(), mark)
    if state.done:
        progress.note(f"going on after step {state.done} of {len(_chain(settings))}")
    for number, name in enumerate(_chain(settings), start=1):
        if number <= state.done:
            continue
        _do(name, state, maps, references, band=band, settings=settings, progress=progress)
        state.done = number
        if not isinstance(checkpoint, NoCheckpoint):
            checkpoint.save(_saved(state, mark))
    final = calibrate(state.particles, references, band, settings=settings)
    return CtfRefinement(
        particles=state.particles,
        change=state.change,
        deviation=state.deviation,
        aberrations=state.aberrations,
        magnification_deviations=state.magnification,
        scale=final.scale,
        inverse_noise=final.inverse_noise,
        band=band,
    )


def _chain(settings: CtfRefinementSettings) -> list[str]:
    lens = ["aberrations"] if settings.beam_tilt or settings.aberrations else []
    focus = ["defocus"] if settings.defocus != "off" or settings.astigmatism != "off" else []
    chain = (["magnification"] if settings.anisotropy else []) + lens + focus + (lens if focus else [])
    if not chain:
        raise UsageError(
            "nothing is to be refined",
            expected="defocus, astigmatism, beam tilt, aberrations or anisotropy",
            fix="leave --defocus off away, or add --beam-tilt, --aberrations or --anisotropy",
        )
    return chain


def _do(
    name: str,
    state: _State,
    maps: Sequence[Volume],
    references: References,
    *,
    band: Band,
    settings: CtfRefinementSettings,
    progress: Progress,
) -> None:
    """One step of the chain, put into the state."""
    before = state.particles
    if name == "magnification":
        magnified = refined_magnification(before, maps, references, band, settings=settings, progress=progress)
        state.particles, state.magnification = magnified.particles, magnified.deviations
    elif name == "defocus":
        calibration = calibrate(before, references, band, settings=settings)
        focused = refined_defocus(before, references, band, calibration, settings=settings, progress=progress)
        state.particles, state.change, state.deviation = focused.particles, focused.change, focused.deviation
    else:
        seen = refined_aberrations(before, references, band, settings=settings, progress=progress)
        state.particles = seen.particles
        earlier = state.aberrations or tuple(GroupAberrations(group=group.group) for group in seen.groups)
        state.aberrations = tuple(_together(one, other) for one, other in zip(earlier, seen.groups, strict=True))


def _together(first: GroupAberrations, second: GroupAberrations) -> GroupAberrations:
    """Two changes of a group's aberrations, one after the other."""
    even = tuple(a + b for a, b in zip(first.even_zernike or (0.0,) * len(second.even_zernike), second.even_zernike, strict=True))
    phases: dict[str, Any] = {
        name: _sum(getattr(first, name.replace("measured", "fitted")), getattr(second, name))
        for name in ("odd_measured", "odd_fitted", "even_measured", "even_fitted")
    }
    return replace(
        second,
        beam_tilt=(first.beam_tilt[0] + second.beam_tilt[0], first.beam_tilt[1] + second.beam_tilt[1]),
        trefoil=(first.trefoil[0] + second.trefoil[0], first.trefoil[1] + second.trefoil[1]),
        even_zernike=even,
        spherical=first.spherical + second.spherical,
        odd_gain=first.odd_gain + second.odd_gain,
        even_gain=first.even_gain + second.even_gain,
        **phases,
    )


def _sum(first: Tensor | None, second: Tensor | None) -> Tensor | None:
    return second if first is None or second is None else first + second


def _fingerprint(particles: ParticleSet, maps: Sequence[Volume], settings: CtfRefinementSettings) -> str:
    digest = hashlib.sha256(repr(sorted(asdict(settings).items())).encode())
    pose, defocus = particles.pose, particles.defocus
    parts = [particles.optics_index, particles.half, *(one.voxels for one in maps)]
    parts += [] if pose is None else [pose.lab_from_particle, pose.shift]
    parts += [] if defocus is None else [defocus.major, defocus.minor, defocus.azimuth, defocus.phase_shift]
    for part in parts:
        if part is not None:
            digest.update(part.detach().cpu().contiguous().numpy().tobytes())
    digest.update(repr((particles.optics, particles.image_names, particles.micrograph_names)).encode())
    return digest.hexdigest()


def _saved(state: _State, mark: str) -> Mapping[str, Any]:
    defocus, pose = state.particles.defocus, state.particles.pose
    return {
        "fingerprint": mark,
        "done": state.done,
        "change": state.change,
        "deviation": state.deviation,
        "defocus": None if defocus is None else [defocus.major, defocus.minor, defocus.azimuth],
        "shift": None if pose is None else pose.shift,
        "optics": [asdict(optics.aberrations) for optics in state.particles.optics],
        "aberrations": [{name: getattr(group, name) for name in GroupAberrations.__slots__} for group in state.aberrations],
        "magnification": state.magnification,
    }


def _resumed(particles: ParticleSet, saved: Mapping[str, Any] | None, mark: str) -> _State:
    if saved is None:
        count = len(particles)
        none = torch.zeros(count, dtype=torch.float64)
        unknown = torch.full_like(none, torch.inf)
        return _State(done=0, particles=particles, change=none, deviation=unknown, aberrations=(), magnification=())
    if saved["fingerprint"] != mark:
        raise StateConflict(
            "the checkpoint belongs to another refinement",
            expected="the same particles, maps and settings as when it was started",
            fix="give another output directory, or remove this one to begin again",
        )
    defocus, pose = particles.defocus, particles.pose
    if defocus is not None and saved["defocus"] is not None:
        defocus = replace(defocus, **dict(zip(("major", "minor", "azimuth"), saved["defocus"], strict=True)))
    if pose is not None:
        pose = replace(pose, shift=saved["shift"])
    optics = tuple(
        replace(one, aberrations=Aberrations(**{name: tuple(value) for name, value in terms.items()}))
        for one, terms in zip(particles.optics, saved["optics"], strict=True)
    )
    return _State(
        done=saved["done"],
        particles=replace(particles, defocus=defocus, pose=pose, optics=optics),
        change=saved["change"],
        deviation=saved["deviation"],
        aberrations=tuple(GroupAberrations(**_tuples(group)) for group in saved["aberrations"]),
        magnification=tuple(tuple(row) for row in saved["magnification"]),
    )


def _tuples(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
