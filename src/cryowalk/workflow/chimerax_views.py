"""The ChimeraX script beside the maps that a job wrote."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from cryowalk.core.errors import InputError
from cryowalk.io.chimerax import COLOURS, MASK_COLOUR, LocalColours, ShownMap, write_chimerax
from cryowalk.io.maps import read_map, read_mask
from cryowalk.validation.masks import density_threshold

VIEW_NAME = "view.cxc"
_MASK_TRANSPARENCY = 0.75
_NARROWEST = 1.2  # ratio of the coarsest to the finest colour


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """What is shown: maps (the first one at first), half maps (hidden), masks (transparent, hidden), models, and a map of local resolution."""

    maps: Sequence[Path]
    half_maps: Sequence[Path] = ()
    masks: Sequence[Path] = ()
    models: Sequence[Path] = ()
    local_resolution: Path | None = None
    limits: tuple[float, float] | None = None
    level: float | None = None


def write_view(view: View, path: Path) -> None:
    """Nothing; the script is written. Levels are those between solvent and specimen (`density_threshold`), in the values of each file, unless one is given.

    Maps that are constant, such as that of an empty class, have no surface and are left out; where nothing is left, no script is written.
    """
    levels = {one: _level(one, view.level) for one in (*view.maps, *view.half_maps)}
    shown: list[ShownMap] = []
    for places, first in ((view.maps, True), (view.half_maps, False)):
        for place, one in enumerate(path for path in places if levels[path] is not None):
            number = place if first else place + 1
            colour = COLOURS[number % len(COLOURS)]
            shown.append(ShownMap(path=one, level=levels[one] or 0.0, colour=colour, is_shown=first and place == 0))
    if not shown and not view.models:
        return
    shown += [
        ShownMap(path=one, level=0.5, colour=MASK_COLOUR, transparency=_MASK_TRANSPARENCY, is_shown=False) for one in view.masks
    ]
    write_chimerax(shown, path, models=tuple(view.models), colours=_colours(view))


def _level(path: Path, given: float | None) -> float | None:
    """The level in the values of the file; None for a constant map."""
    volume = read_map(path)
    if bool(volume.voxels.min() == volume.voxels.max()):
        return None
    if given is not None:
        return given
    return float(density_threshold(volume.voxels)) * volume.voxel_size


def _colours(view: View) -> LocalColours | None:
    if view.local_resolution is None:
        return None
    finest, coarsest = view.limits or limits_of(view.local_resolution)
    return LocalColours(path=view.local_resolution, finest=finest, coarsest=max(coarsest, _NARROWEST * finest))


def limits_of(local_resolution: Path) -> tuple[float, float]:
    """The 5th and the 95th percentile of a map of local resolution, Å; zeros, which stand outside a mask, do not count.

    Raises
    ------
    InputError
        If nothing is above zero.
    """
    values = read_mask(local_resolution).voxels
    inside = values[values > 0].double()
    if not len(inside):
        raise InputError("no voxel has a resolution above zero", file=local_resolution, fix="look at it: cryowalk inspect FILE")
    ordered = inside.sort().values
    low, high = (float(ordered[round(share * (len(ordered) - 1))]) for share in (0.05, 0.95))
    return low, high


def is_mask(path: Path) -> bool:
    """Whether the values of a map are those of a mask: from 0 to 1, many of them exactly one of these."""
    values = read_mask(path).voxels
    ends = (values == 0) | (values == 1)
    return bool((values.min() >= 0) & (values.max() <= 1)) and float(ends.to(torch.float32).mean()) > 0.5
