"""Optics groups in RELION's tables: the optics block of 3.1 and later, and the columns that RELION 3.0 repeated in every row."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from cryowalk.core.errors import CryowalkWarning, InputError, ShapeError, printable
from cryowalk.core.units import MICROMETRE, MILLIRADIAN
from cryowalk.data.optics import Aberrations, Optics
from cryowalk.io.stacks import ParticleImages
from cryowalk.io.star import StarBlock
from cryowalk.io.star_numbers import constant_texts, integer_texts, integers, numbers, vector, vector_text

RANGES = {
    "rlnVoltage": (1.0, 4000.0, "volts in place of kilovolts?"),
    "rlnSphericalAberration": (-20.0, 100.0, "Å in place of millimetres?"),
    "rlnAmplitudeContrast": (0.0, 1.0, "per cent in place of a fraction?"),
    "rlnImagePixelSize": (0.02, 1000.0, "nanometres or metres in place of Å?"),
    "rlnMicrographOriginalPixelSize": (0.02, 1000.0, "nanometres or metres in place of Å?"),
    "rlnMicrographPixelSize": (0.02, 1000.0, "nanometres or metres in place of Å?"),
    "rlnPixelSize": (0.02, 1000.0, "nanometres or metres in place of Å?"),
    "rlnDetectorPixelSize": (0.1, 1000.0, "it is the pixel of the detector, in μm"),
    "rlnMagnification": (1.0, 1e8, ""),
}
_LENGTHS = (" Å", ((10.0, "nanometres in place of Å"), (1e4, "micrometres in place of Å"), (1e10, "metres in place of Å")))
SLIPS: dict[str, tuple[str, tuple[tuple[float, str], ...]]] = {  # the unit that is meant, and factors from the units that are not
    "rlnVoltage": (" kV", ((1e-3, "volts in place of kilovolts"), (1e3, "megavolts in place of kilovolts"))),
    "rlnSphericalAberration": (" mm", ((1e-3, "μm in place of millimetres"), (1e-7, "Å in place of millimetres"))),
    "rlnAmplitudeContrast": ("", ((1e-2, "per cent in place of a fraction"),)),
    **dict.fromkeys(("rlnImagePixelSize", "rlnMicrographOriginalPixelSize", "rlnMicrographPixelSize", "rlnPixelSize"), _LENGTHS),
}
HEADER_TOLERANCE = 0.01  # of the pixel sizes of header and STAR file
MAGNIFICATION_MATRIX = ("rlnMagMat00", "rlnMagMat01", "rlnMagMat10", "rlnMagMat11")
SURE_PIXEL_SIZES = ("rlnImagePixelSize", "rlnPixelSize")
PIXEL_SIZES = (*SURE_PIXEL_SIZES, "rlnTomoTiltSeriesPixelSize", "rlnMicrographOriginalPixelSize")
_KNOWN = {
    "rlnOpticsGroup", "rlnOpticsGroupName", "rlnVoltage", "rlnSphericalAberration", "rlnAmplitudeContrast", "rlnImagePixelSize",
    "rlnMicrographOriginalPixelSize", "rlnCtfDataAreCtfPremultiplied", "rlnBeamTiltX", "rlnBeamTiltY", "rlnOddZernike", "rlnEvenZernike",
    *MAGNIFICATION_MATRIX,
}  # fmt: skip
REPEATED = (
    "rlnVoltage",
    "rlnSphericalAberration",
    "rlnAmplitudeContrast",
    "rlnMagnification",
    "rlnDetectorPixelSize",
    "rlnImagePixelSize",
    "rlnBeamTiltX",
    "rlnBeamTiltY",
    "rlnBeamTiltClass",
)  # fmt: skip  columns of a RELION 3.0 table that belong to the optics


def in_range(
    block: StarBlock, label: str, *, path: Path | None, like: str = ""
) -> "np.ndarray[tuple[int], np.dtype[np.float64]]":
    """The column as numbers in the range that can be meant for this label, or for the label that it is `like`."""
    low, high, hint = RANGES[like or label]
    hint = next((meant for text in block.columns.get(label, ()) if (meant := _meant(like or label, text))), hint)
    return numbers(block, label, path=path, low=low, high=high, hint=hint)  # type: ignore[return-value]


def _meant(label: str, text: str) -> str:
    """What was meant by a value that is out of range because it is in another unit, as a question; otherwise empty."""
    low, high, _ = RANGES[label]
    try:
        value = float(text)
    except ValueError:
        return ""
    if low <= value <= high:
        return ""
    unit, slips = SLIPS.get(label, ("", ()))
    found = next(((value * factor, slip) for factor, slip in slips if low <= value * factor <= high), None)
    return "" if found is None else f"did you mean {found[0]:g}{unit}: {found[1]}?"


def read_optics_table(
    block: StarBlock, *, path: Path | None, pixel_size: float | None
) -> tuple[tuple[Optics, ...], dict[int, int]]:
    """The groups of an optics block, those of one name merged, and where each group number of the file went.

    Raises
    ------
    InputError
        If the block is empty, numbers a group twice, gives one name to different groups, or holds a value out of range.
    """
    if not len(block):
        raise InputError("the optics table has no rows", file=path, fix="add one row for each optics group")
    if "rlnOpticsGroup" in block.columns:
        group_numbers = integers(block, "rlnOpticsGroup", path=path).tolist()
    elif len(block) == 1:
        group_numbers = [1]
    else:
        raise InputError("the optics table numbers no groups: no column rlnOpticsGroup", file=path, fix="add the column")
    groups: list[Optics] = []
    place: dict[int, int] = {}
    for row, (number, group) in enumerate(zip(group_numbers, _groups(block, path, pixel_size), strict=True)):
        if number in place:
            raise InputError(
                f"optics group {number} is defined twice", file=path, row=block.line_of(row), fix="give each group its own number"
            )
        same = next((i for i, other in enumerate(groups) if other.name == group.name), None)
        if same is None:
            groups.append(group)
        elif groups[same] != group:
            raise InputError(
                f"two optics groups are named “{printable(group.name)}” and differ",
                file=path,
                row=block.line_of(row),
                fix="rename one of them",
            )
        place[number] = len(groups) - 1 if same is None else same
    return tuple(groups), place


def optics_of_rows(
    table: StarBlock, groups: Sequence[Optics], place: Mapping[int, int], *, path: Path | None
) -> Int[Tensor, " n"]:
    """Which of `groups` each row of a table belongs to; `place` tells where each group number of the file went.

    Raises
    ------
    InputError
        If a row names no group, or one that is not in the optics table.
    """
    if "rlnOpticsGroup" not in table.columns:
        if len(groups) > 1:
            raise InputError(
                f"data_{table.name} names no optics group: no column rlnOpticsGroup", file=path, fix="add the column"
            )
        return torch.zeros(len(table), dtype=torch.long)
    written = integers(table, "rlnOpticsGroup", path=path)
    unknown = sorted(set(written.tolist()) - set(place))
    if unknown:
        row = int(np.flatnonzero(written == unknown[0])[0])
        raise InputError(
            f"optics group {unknown[0]} is not in the optics table",
            file=path,
            row=table.line_of(row),
            expected="one of " + ", ".join(map(str, sorted(place))),
            fix="add it to data_optics, or correct the row",
        )
    return torch.tensor([place[number] for number in written.tolist()], dtype=torch.long)


def _groups(block: StarBlock, path: Path | None, pixel_size: float | None) -> list[Optics]:
    """One `Optics` for each row of a table that holds optics columns."""
    rows = len(block)

    def values(label: str, otherwise: float) -> list[float]:
        return in_range(block, label, path=path).tolist() if label in block.columns else [otherwise] * rows

    def vectors(label: str) -> list[tuple[float, ...]]:
        texts = block.columns.get(label, ("[]",) * rows)
        return [vector(text, label=label, path=path, row=block.line_of(row)) for row, text in enumerate(texts)]

    sizes = _pixel_sizes(block, path) if pixel_size is None else [pixel_size] * rows
    voltage, cs, contrast = (
        values("rlnVoltage", 300.0),
        values("rlnSphericalAberration", 2.7),
        values("rlnAmplitudeContrast", 0.1),
    )
    original = values("rlnMicrographOriginalPixelSize", 0.0)
    tilt = [
        numbers(block, label, path=path).tolist() if label in block.columns else [0.0] * rows
        for label in ("rlnBeamTiltX", "rlnBeamTiltY")
    ]
    odd, even = vectors("rlnOddZernike"), vectors("rlnEvenZernike")
    has_matrix = all(label in block.columns for label in MAGNIFICATION_MATRIX)
    matrix = (
        np.stack([numbers(block, label, path=path) for label in MAGNIFICATION_MATRIX], 1).tolist()
        if has_matrix
        else [(1.0, 0.0, 0.0, 1.0)] * rows
    )
    label = "rlnCtfDataAreCtfPremultiplied"
    premultiplied = integers(block, label, path=path, low=0, high=1).tolist() if label in block.columns else [0] * rows
    foreign = [label for label in block.columns if label not in _KNOWN]
    names = block.columns.get("rlnOpticsGroupName", tuple(f"opticsGroup{i + 1}" for i in range(rows)))
    return [
        Optics(
            pixel_size=sizes[i],
            voltage_kv=voltage[i],
            spherical_aberration_mm=cs[i],
            amplitude_contrast=contrast[i],
            name=names[i],
            micrograph_pixel_size=original[i] or None,
            is_premultiplied=bool(premultiplied[i]),
            aberrations=Aberrations(
                beam_tilt=(tilt[0][i] * MILLIRADIAN, tilt[1][i] * MILLIRADIAN),
                odd_zernike=odd[i],
                even_zernike=even[i],
                magnification=tuple(matrix[i]),
            ),
            extra={label: block.columns[label][i] for label in foreign},
        )
        for i in range(rows)
    ]


def _pixel_sizes(block: StarBlock, path: Path | None) -> list[float]:
    """The pixel size of the images in each row, Å."""
    if "rlnImagePixelSize" not in block.columns and {"rlnMagnification", "rlnDetectorPixelSize"} <= set(block.columns):
        detector, magnification = (in_range(block, label, path=path) for label in ("rlnDetectorPixelSize", "rlnMagnification"))
        return [float(size) for size in detector * MICROMETRE / magnification]
    label = next((label for label in PIXEL_SIZES if label in block.columns), None)
    if label is None:
        raise InputError(
            f"no pixel size: neither {PIXEL_SIZES[0]} nor magnification and detector pixel size",
            file=path,
            fix="add rlnImagePixelSize to the optics table, or state --pixel-size (Å)",
        )
    if label not in SURE_PIXEL_SIZES:
        told = f"{printable(path or 'the table')}: no rlnImagePixelSize; {label} is taken, which is wrong if the images were rescaled"
        warnings.warn(told, CryowalkWarning, stacklevel=6)
    return [float(size) for size in in_range(block, label, path=path, like="rlnImagePixelSize")]


def read_repeated_optics(
    block: StarBlock, *, path: Path | None, pixel_size: float | None
) -> tuple[tuple[Optics, ...], Int[Tensor, " n"]]:
    """The optics groups of a RELION 3.0 table, one for each combination of its optics columns, and the group of each row."""
    labels = [label for label in REPEATED if label in block.columns]
    extra = [label for label in PIXEL_SIZES if label in block.columns and label not in labels and pixel_size is None]
    keys = list(zip(*(block.columns[label] for label in labels + extra), strict=True)) if labels or extra else [()] * len(block)
    first: dict[tuple[str, ...], int] = {}
    for row, key in enumerate(keys):
        first.setdefault(key, row)
    number = {key: i for i, key in enumerate(first)}
    distinct = StarBlock(
        name=block.name,
        columns={label: tuple(block.columns[label][row] for row in first.values()) for label in labels + extra}
        or {"rlnOpticsGroup": ("1",)},
        row_lines=tuple(line for row in first.values() if (line := block.line_of(row)) is not None),
    )
    # a value out of range names the first line on which it stands
    groups = tuple(replace(group, extra={}) for group in _groups(distinct, path, pixel_size))
    return groups, torch.tensor([number[key] for key in keys], dtype=torch.long)


def optics_block(groups: Sequence[Optics], *, box: int | None) -> StarBlock:
    """The optics block of these groups, numbered from 1; `box` (pixels) is written as the image size."""
    columns: dict[str, tuple[str, ...]] = {
        "rlnOpticsGroupName": tuple(group.name for group in groups),
        "rlnOpticsGroup": integer_texts(range(1, len(groups) + 1)),
    }
    if any(group.micrograph_pixel_size for group in groups):
        columns["rlnMicrographOriginalPixelSize"] = constant_texts(
            [group.micrograph_pixel_size or group.pixel_size for group in groups]
        )
    columns |= {
        "rlnVoltage": constant_texts([group.voltage_kv for group in groups]),
        "rlnSphericalAberration": constant_texts([group.spherical_aberration_mm for group in groups]),
        "rlnAmplitudeContrast": constant_texts([group.amplitude_contrast for group in groups]),
        "rlnImagePixelSize": constant_texts([group.pixel_size for group in groups]),
    }
    if box is not None:
        columns["rlnImageSize"] = (str(box),) * len(groups)
    columns["rlnImageDimensionality"] = ("2",) * len(groups)
    if any(group.is_premultiplied for group in groups) or any("rlnCtfDataAreCtfPremultiplied" in group.extra for group in groups):
        columns["rlnCtfDataAreCtfPremultiplied"] = integer_texts([int(group.is_premultiplied) for group in groups])
    columns |= _aberration_columns([group.aberrations for group in groups])
    columns |= _foreign_columns(
        [group.extra for group in groups], but=columns.keys() - ({"rlnImageDimensionality"} if box is None else set())
    )
    return StarBlock(name="optics", columns=columns)


def _aberration_columns(aberrations: Sequence[Aberrations]) -> dict[str, tuple[str, ...]]:
    """The columns of those aberrations that differ from none."""
    none = Aberrations()
    columns: dict[str, tuple[str, ...]] = {}
    if any(a.beam_tilt != none.beam_tilt for a in aberrations):
        for axis, label in enumerate(("rlnBeamTiltX", "rlnBeamTiltY")):
            columns[label] = constant_texts([a.beam_tilt[axis] / MILLIRADIAN for a in aberrations])
    if any(a.odd_zernike for a in aberrations):
        columns["rlnOddZernike"] = tuple(vector_text(a.odd_zernike) for a in aberrations)
    if any(a.even_zernike for a in aberrations):
        columns["rlnEvenZernike"] = tuple(vector_text(a.even_zernike) for a in aberrations)
    if any(a.magnification != none.magnification for a in aberrations):
        for entry, label in enumerate(MAGNIFICATION_MATRIX):
            columns[label] = constant_texts([a.magnification[entry] for a in aberrations])
    return columns


def _foreign_columns(extras: Sequence[Mapping[str, str]], *, but: "set[str]") -> dict[str, tuple[str, ...]]:
    """Foreign columns of any group; a group without a value gets 0 where the others hold numbers, and None elsewhere."""
    columns = {}
    for label in dict.fromkeys(label for extra in extras for label in extra if label not in but):
        texts = [extra.get(label) for extra in extras]
        is_numeric = all(text is None or text.replace(".", "", 1).lstrip("-").isdigit() for text in texts)
        columns[label] = tuple(("0" if is_numeric else "None") if text is None else text for text in texts)
    return columns


def check_against_stacks(optics: tuple[Optics, ...], source: ParticleImages, path: Path, *, is_pixel_size_given: bool) -> None:
    """Raise an error where box or pixel size of the stacks is not what the optics table says."""
    box = source.image_shape[-1]
    for group in optics:
        told = group.extra.get("rlnImageSize")
        if told is not None and told.replace(".", "", 1).isdigit() and float(told) != box:
            raise ShapeError(
                f"rlnImageSize of optics group “{printable(group.name)}” is {told}, the images are {box} px",
                file=path,
                fix="correct the optics table",
            )
    sizes = {group.pixel_size for group in optics}
    headers = {size: stack.path for stack in source.stacks if (size := stack.pixel_size)}
    for size, stack in headers.items():
        apart = min(abs(size / told - 1) for told in sizes)
        if size == 1.0 or is_pixel_size_given or apart < 1e-3:  # 1 Å is what programs write that know no better
            continue
        both = f"the header of {printable(stack)} says {size:g} Å a pixel, the STAR file {', '.join(f'{told:g}' for told in sorted(sizes))} Å"
        if apart > HEADER_TOLERANCE:
            is_slip = any(abs(size / (10 * told) - 1) < HEADER_TOLERANCE for told in sizes)
            cause = f"did you mean {size:g} Å: nanometres in place of Å?" if is_slip else ""
            raise InputError(both, file=path, cause=cause, fix="correct the wrong one, or state --pixel-size (Å)")
        warnings.warn(f"{printable(path)}: {both}", CryowalkWarning, stacklevel=4)
