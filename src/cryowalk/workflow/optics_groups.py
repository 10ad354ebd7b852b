"""Optics groups from what an acquisition tells: exposures of one beam shift, or of one place in the template of holes, share the lens's aberrations."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from os.path import commonprefix
from pathlib import Path
from typing import TypeVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from cryowalk.core.errors import InputError
from cryowalk.data.micrographs import MicrographSet
from cryowalk.data.optics import Optics
from cryowalk.data.particles import ParticleSet
from cryowalk.io.acquisition import ShiftFiles, find_shift_files, shifts_of, template_position
from cryowalk.numerics.grouping import find_groups, group_into

Grouped = TypeVar("Grouped", MicrographSet, ParticleSet)
_NAMED = 3  # files in a message


@dataclass(frozen=True, slots=True, kw_only=True)
class Acquisition:
    """The part of the acquisition that each exposure belongs to, counted from 0, what the parts are called, and in words how they were told apart.

    `shifts` are the beam shifts, where files told them: EPU's have no unit, SerialEM's are image shifts in μm.
    """

    part: Int[Tensor, " n"]
    labels: tuple[str, ...]
    words: str
    shifts: Float[Tensor, "n 2"] | None = None
    unit: str = ""


def parts_of(names: Sequence[str], *, groups: str, folders: Sequence[Path]) -> Acquisition:
    """The parts of an acquisition by the names of its movies or micrographs.

    `groups` is "shifts", "names", "one", "auto", or a number of groups of shifts; files that tell shifts are looked for in `folders`.

    Raises
    ------
    InputError
        If shifts or positions are asked for and an exposure has none.
    """
    if groups == "one":
        return _one(len(names), "one optics group, as asked")
    if groups != "names":
        files = find_shift_files(folders)
        if len(files) or groups != "auto":
            return _by_shifts(names, groups, files)
    return _by_names(names, is_asked=groups == "names")


def _one(count: int, words: str) -> Acquisition:
    return Acquisition(part=torch.zeros(count, dtype=torch.int64), labels=("",), words=words)


def _by_names(names: Sequence[str], *, is_asked: bool) -> Acquisition:
    positions = [template_position(name) for name in names]
    told = {position for position in positions if position is not None}
    if None in positions:
        if is_asked:
            silent = [name for name, position in zip(names, positions, strict=True) if position is None]
            raise InputError(
                f"{len(silent)} of {len(names)} names tell no position in a template of holes: {', '.join(silent[:_NAMED])}",
                expected="names of EPU (FoilHole_…_Data_A_B_…) or SerialEM (…_X+1Y-1-2)",
                fix="give --groups shifts with --metadata, or --groups one",
            )
        return _one(len(names), "one optics group: neither shifts nor positions are told")
    labels = tuple(sorted(position for position in told if position is not None))
    place = {label: number for number, label in enumerate(labels)}
    part = torch.tensor([place[position] for position in positions if position is not None], dtype=torch.int64)
    return Acquisition(
        part=part, labels=labels, words=f"{len(labels)} positions in the template of holes, by the names of the files"
    )


def _by_shifts(names: Sequence[str], groups: str, files: ShiftFiles) -> Acquisition:
    found = shifts_of(names, files)
    silent = [name for name, shift in zip(names, found, strict=True) if shift is None]
    if silent:
        raise InputError(
            f"no file tells the shift of {len(silent)} of {len(names)} exposures: {', '.join(silent[:_NAMED])}",
            expected="EPU's FoilHole_….xml, or SerialEM's MOVIE.mdoc with ImageShift, beside the movies or in --metadata",
            fix="name their folder: --metadata FOLDER; or give --groups names, or --groups one",
        )
    shifts = torch.tensor([shift for shift in found if shift is not None], dtype=torch.float64)
    grouping = group_into(shifts, int(groups)) if groups.isdigit() else find_groups(shifts)
    count = len(grouping.centres)
    words = f"{count} groups of beam shifts"
    if groups.isdigit():
        words += ", as many as asked"
    elif count > 1:
        words += f", {grouping.gap:.1f} times farther apart than the widest step within one"
        words += f"; {grouping.strays} exposures are alone in their group" if grouping.strays else ""
    else:
        words = "one group of beam shifts: no gap parts them (give their number with --groups N if you know it)"
    width = len(str(count))
    labels = tuple(f"shift{number:0{width}d}" for number in range(1, count + 1)) if count > 1 else ("",)
    return Acquisition(part=grouping.index, labels=labels, words=words, shifts=shifts, unit="" if files.epu else "μm")


def split_optics(exposures: Grouped, acquisition: Acquisition) -> Grouped:
    """The same exposures or particles, each optics group parted by the parts of the acquisition; a group that is not parted keeps its name."""
    index = exposures.optics_index.cpu()
    pairs = sorted({(int(group), int(part)) for group, part in zip(index.tolist(), acquisition.part.tolist(), strict=True)})
    optics = tuple(_named(exposures.optics[group], acquisition.labels[part]) for group, part in pairs)
    place = {pair: number for number, pair in enumerate(pairs)}
    new = [place[group, part] for group, part in zip(index.tolist(), acquisition.part.tolist(), strict=True)]
    return replace(exposures, optics=optics, optics_index=torch.tensor(new, dtype=torch.int64))


def _named(optics: Optics, label: str) -> Optics:
    return replace(optics, name=f"{optics.name}_{label}") if label else optics


def merge_optics(exposures: Grouped, *, named: Sequence[str]) -> Grouped:
    """The same exposures or particles with the optics groups of these names made one, or all groups where no name is given.

    The one group has the name of the first; where all are joined, what their names have in common before the last “_” (`mine_shift01`, `mine_shift02`: `mine`).

    Raises
    ------
    InputError
        If a name is none of a group's, or the groups differ in more than their names.
    """
    names = [group.name for group in exposures.optics]
    unknown = [name for name in named if name not in names]
    if unknown:
        raise InputError(f"there is no optics group “{unknown[0]}”", expected="one of " + ", ".join(names))
    chosen = [number for number, name in enumerate(names) if not named or name in named]
    first = exposures.optics[chosen[0]]
    for number in chosen:
        differing = _differences(first, exposures.optics[number])
        if differing:
            raise InputError(
                f"the optics groups “{first.name}” and “{names[number]}” differ in {', '.join(differing)}",
                cause="they are images of another session, or their aberrations were refined apart",
                fix="merge only groups that are alike",
            )
    kept = [number for number in range(len(names)) if number not in chosen[1:]]
    place = {number: kept.index(number if number in kept else chosen[0]) for number in range(len(names))}
    index = torch.tensor([place[number] for number in exposures.optics_index.tolist()], dtype=torch.int64)
    optics = [exposures.optics[number] for number in kept]
    if len(kept) == 1 and len(chosen) > 1:
        optics = [replace(first, name=commonprefix(names).rpartition("_")[0] or first.name)]  # noqa: RUF071  characters are meant
    return replace(exposures, optics=tuple(optics), optics_index=index)


def _differences(one: Optics, other: Optics) -> list[str]:
    """The names of what differs between two groups."""
    from dataclasses import fields

    skipped = ("name",)
    return [
        each.name for each in fields(Optics) if each.name not in skipped and getattr(one, each.name) != getattr(other, each.name)
    ]
