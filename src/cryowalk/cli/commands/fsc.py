"""`cryowalk fsc`: Fourier shell correlation of two maps."""

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cryowalk.cli.command import Command
from cryowalk.cli.context import Context
from cryowalk.core.errors import CryowalkWarning, InputError, printable
from cryowalk.core.units import degrees_from_radians

if TYPE_CHECKING:
    from cryowalk.data import Volume


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparisonFiles:
    """The two maps, and by what they are compared."""

    first: Annotated[Path, "a map, MRC", "A.MRC"]
    second: Annotated[Path, "another map on the same grid, MRC", "B.MRC"]
    mask: Annotated[Path | None, "mask by which both are multiplied; its edge must be soft", "--in_mask"] = None
    align: Annotated[bool, "turn and move the second map onto the first before"] = False
    directional: Annotated[bool, "also in cones of 20°: the best and the worst direction, and the sphericity"] = False
    pixel_size: Annotated[float | None, "voxel size of both maps, Å, instead of that of the headers"] = None
    json: Annotated[bool, "print JSON"] = False


def run(files: ComparisonFiles, settings: None, context: Context) -> None:  # noqa: ARG001  every command has the same three
    """Nothing; the resolutions and the curve are printed."""
    from cryowalk.io import read_map
    from cryowalk.validation import align, compare_maps

    context.verify(files.first, files.second, files.mask)
    first, second = (read_map(path, voxel_size=files.pixel_size) for path in (files.first, files.second))
    for path, volume in ((files.first, first), (files.second, second)):
        if bool(volume.voxels.min() == volume.voxels.max()):
            raise InputError(
                "the map is constant: there is nothing to compare", file=path, fix="look at it: cryowalk inspect FILE"
            )
    mask = None if files.mask is None else read_mask(files.mask, voxel_size=files.pixel_size)
    facts: dict[str, object] = {}
    if files.align:
        found = align(second, first)
        second = found.volume
        facts = {"alignment_angle_degrees": degrees_from_radians(found.angle), "alignment_shift_angstrom": found.shift.tolist()}
    curve = compare_maps(first, second, mask=mask)
    facts = {
        "resolution_0.143_angstrom": curve.resolution(at=0.143),
        "resolution_0.5_angstrom": curve.resolution(at=0.5),
        **facts,
        **(in_directions(first, second, mask) if files.directional else {}),
        "frequency": curve.frequency.tolist(),
        "fsc": curve.correlation.tolist(),
    }
    context.emit(facts, words=lambda: in_words(facts), as_json=files.json)


def read_mask(path: Path, *, voxel_size: float | None = None) -> "Volume":
    """The mask in an MRC file: a factor without a unit, so the scale of maps does not apply to it.

    Raises
    ------
    InputError
        If it is nowhere above zero.
    """
    from cryowalk.io import read_mask as read_factor

    mask = read_factor(path, voxel_size=voxel_size)
    factor = mask.voxels
    low, high = float(factor.min()), float(factor.max())
    if high == low == 0:
        raise InputError("the mask is zero everywhere", file=path, fix="look at it: cryowalk inspect FILE")
    if not high > 0:
        raise InputError(
            f"the mask is nowhere above zero: its values run from {low:.4g} to {high:.4g}",
            file=path,
            expected="values from 0 (solvent) to 1 (specimen)",
            fix="make one: cryowalk mask --i MAP --o mask.mrc",
        )
    if low < -0.01 or high > 1.01:
        what = f"{printable(path)}: the values of this mask run from {low:.4g} to {high:.4g}; a mask has values from 0 to 1"
        warnings.warn(what, CryowalkWarning, stacklevel=2)
    elif bool(((factor == low) | (factor == high)).all()) and low != high:
        warnings.warn(f"{printable(path)}: the mask has a hard edge, which raises the correlation", CryowalkWarning, stacklevel=2)
    return mask


def in_directions(first: "Volume", second: "Volume", mask: "Volume | None") -> dict[str, object]:
    """The best and the worst direction (x, y, z) with their resolutions at 0.143, and the sphericity of the surface between them."""
    from cryowalk.data import HalfMaps
    from cryowalk.validation.directional_correlation import directional_shell_correlation

    found = directional_shell_correlation(HalfMaps(first=first, second=second), mask=mask)
    (worst, along), (best, across) = found.worst(), found.best()
    return {
        "worst_direction_angstrom": worst,
        "worst_direction": along.tolist(),
        "best_direction_angstrom": best,
        "best_direction": across.tolist(),
        "sphericity": found.sphericity(),
    }


def in_words(facts: dict[str, object]) -> str:
    """The resolutions, and the curve as a table."""
    lines = [f"{name:<28}{value:.4g}" for name, value in facts.items() if isinstance(value, float)]
    frequency, correlation = facts["frequency"], facts["fsc"]
    if isinstance(frequency, list) and isinstance(correlation, list):
        lines.append(f"{'1/Å':>8} {'Å':>8} {'FSC':>8}")
        lines += [
            f"{k:8.4f} {1 / k if k else float('inf'):8.2f} {value:8.4f}" for k, value in zip(frequency, correlation, strict=True)
        ]
    return "\n".join(lines)


COMMAND = Command(name="fsc", summary="Compare two maps by Fourier shell correlation.", run=run, files=ComparisonFiles)
