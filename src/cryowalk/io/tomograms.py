"""RELION 4's tomograms (`tomograms.star`): one table of all, and in the same file a table for each with a projection matrix for every tilt.

RELION 5 keeps a file for each tilt series instead: `read_tilt_series`. A projection takes a voxel (x, y, z, 1) of the tomogram, counted from 0 in
pixels of the tilt series, to the pixel (x, y) of the image; the third row is the depth.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from cryowalk.core.errors import InputError, printable
from cryowalk.data.optics import Defocus, Optics
from cryowalk.io.relion import defocus_columns, table_defocus
from cryowalk.io.relion_optics import in_range
from cryowalk.io.star import StarBlock, StarFile, read_star, write_star
from cryowalk.io.star_numbers import constant_texts, exact_texts, integers, number_texts, numbers, vector, vector_text

NAME, STACK, FRAMES, HAND = "rlnTomoName", "rlnTomoTiltSeriesName", "rlnTomoFrameCount", "rlnTomoHand"
SIZE = ("rlnTomoSizeX", "rlnTomoSizeY", "rlnTomoSizeZ")
ROWS = ("rlnTomoProjX", "rlnTomoProjY", "rlnTomoProjZ", "rlnTomoProjW")
PIXEL, DOSE, GROUP = "rlnTomoTiltSeriesPixelSize", "rlnMicrographPreExposure", "rlnOpticsGroupName"
_LENS = ("rlnVoltage", "rlnSphericalAberration", "rlnAmplitudeContrast")
VERSION = "# version 30001"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tomogram:
    """One tomogram: its size (x, y, z) in pixels of the tilt series, the hand (+1 or −1), and each tilt's projection, defocus and earlier dose.

    `settings` are further values of it as text, `extra` further columns of its tilts; the dose before each is e⁻/Å².
    """

    name: str
    optics: Optics
    size: tuple[int, int, int]
    hand: int = 1
    stack: str = ""
    projections: Float[Tensor, "tilts 4 4"] | None = None
    defocus: Defocus | None = None
    dose_before: Float[Tensor, " tilts"] | None = None
    settings: Mapping[str, str] = field(default_factory=dict)
    extra: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def __len__(self) -> int:
        """How many tilts there are."""
        return 0 if self.projections is None else len(self.projections)


def holds_tomograms(star: StarFile) -> bool:
    """Whether a STAR file is RELION 4's table of tomograms."""
    return any({NAME, *SIZE} <= set(block.columns) and "rlnTomoTiltSeriesStarFile" not in block.columns for block in star.blocks)


def read_tomograms(path: str | Path) -> tuple[Tomogram, ...]:
    """All tomograms of RELION 4's `tomograms.star`, in their order.

    Raises
    ------
    InputError
        If the file is no such table, or a value cannot be meant.
    """
    path = Path(path)
    star = read_star(path)
    table = next((block for block in star.blocks if {NAME, *SIZE} <= set(block.columns)), None)
    if table is None or not len(table):
        raise InputError("the file holds no tomograms", file=path, expected=f"{NAME} and {', '.join(SIZE)}")
    sizes = [integers(table, label, path=path, low=1, high=10**6).tolist() for label in SIZE]
    hands = numbers(table, HAND, path=path, low=-1.0, high=1.0).tolist() if HAND in table.columns else [1.0] * len(table)
    optics = _optics(table, path)
    return tuple(
        _tomogram(
            star,
            table,
            row,
            optics=optics[row],
            size=(sizes[0][row], sizes[1][row], sizes[2][row]),
            hand=-1 if hands[row] < 0 else 1,
        )
        for row in range(len(table))
    )


def _optics(table: StarBlock, path: Path) -> list[Optics]:
    """The optics of each tomogram."""
    count = len(table)
    if PIXEL not in table.columns:
        raise InputError("no pixel size", file=path, expected=PIXEL)
    sizes = numbers(table, PIXEL, path=path, low=0.02, high=1000.0).tolist()
    lens = [
        in_range(table, label, path=path).tolist() if label in table.columns else [usual] * count
        for label, usual in zip(_LENS, (300.0, 2.7, 0.1), strict=True)
    ]
    names = table.columns.get(GROUP, ("opticsGroup1",) * count)
    return [
        Optics(pixel_size=size, voltage_kv=voltage, spherical_aberration_mm=aberration, amplitude_contrast=contrast, name=name)
        for size, voltage, aberration, contrast, name in zip(sizes, *lens, names, strict=True)
    ]


def _tomogram(star: StarFile, table: StarBlock, row: int, *, optics: Optics, size: tuple[int, int, int], hand: int) -> Tomogram:
    """The tomogram of a row, with the table of its tilts where there is one."""
    path, name = star.path or Path(), table.columns[NAME][row]
    known = {NAME, STACK, HAND, PIXEL, GROUP, FRAMES, *SIZE, *_LENS}
    settings = {label: column[row] for label, column in table.columns.items() if label not in known}
    stack = table.columns[STACK][row] if STACK in table.columns else ""
    blocks = [block for block in star.blocks if block.name == name and block is not table and len(block)]
    if not blocks:
        return Tomogram(name=name, optics=optics, size=size, hand=hand, stack=stack, settings=settings)
    block = blocks[0]
    if FRAMES in table.columns and table.columns[FRAMES][row] != str(len(block)):
        raise InputError(
            f"“{printable(name)}” has {len(block)} tilts, and {FRAMES} is {printable(table.columns[FRAMES][row])}",
            file=path,
            row=table.line_of(row),
        )
    used = {DOSE, *ROWS}
    defocus = table_defocus(block, path, used)
    dose = torch.from_numpy(numbers(block, DOSE, path=path, low=0.0, high=1e5)) if DOSE in block.columns else None
    return Tomogram(
        name=name,
        optics=optics,
        size=size,
        hand=hand,
        stack=stack,
        projections=_projections(block, path),
        defocus=defocus,
        dose_before=dose,
        settings=settings,
        extra={label: tuple(column) for label, column in block.columns.items() if label not in used},
    )


def _projections(block: StarBlock, path: Path) -> Float[Tensor, "tilts 4 4"] | None:
    """The matrices of a table of tilts."""
    if not set(ROWS) <= set(block.columns):
        return None
    matrices = []
    for row in range(len(block)):
        matrix = [vector(block.columns[label][row], label=label, path=path, row=block.line_of(row)) for label in ROWS]
        if any(len(line) != 4 for line in matrix):
            raise InputError(
                "a row of a projection has not four numbers", file=path, row=block.line_of(row), expected="[a,b,c,d]"
            )
        matrices.append(matrix)
    return torch.tensor(matrices, dtype=torch.float64)


def write_tomograms(tomograms: Sequence[Tomogram], path: str | Path) -> None:
    """Write RELION 4's `tomograms.star`, all or nothing; projections with all their digits.

    Raises
    ------
    InputError
        If there are none, or two have one name.
    """
    names = tuple(one.name for one in tomograms)
    if not names or len(set(names)) < len(names):
        raise InputError("there are no tomograms to write, or two have one name", file=path)
    optics = [one.optics for one in tomograms]
    columns: dict[str, tuple[str, ...]] = {
        NAME: names,
        STACK: tuple(one.stack or "None" for one in tomograms),
        FRAMES: tuple(str(len(one)) for one in tomograms),
        **{label: tuple(str(one.size[axis]) for one in tomograms) for axis, label in enumerate(SIZE)},
        HAND: constant_texts([one.hand for one in tomograms]),
        GROUP: tuple(group.name for group in optics),
        PIXEL: constant_texts([group.pixel_size for group in optics]),
        _LENS[0]: constant_texts([group.voltage_kv for group in optics]),
        _LENS[1]: constant_texts([group.spherical_aberration_mm for group in optics]),
        _LENS[2]: constant_texts([group.amplitude_contrast for group in optics]),
    }
    for label in dict.fromkeys(label for one in tomograms for label in one.settings):
        columns[label] = tuple(one.settings.get(label, "None") for one in tomograms)
    blocks = [StarBlock(name="global", columns=columns, comments=(VERSION,))]
    blocks += [StarBlock(name=one.name, columns=_tilts(one), comments=(VERSION,)) for one in tomograms if len(one)]
    write_star(blocks, path)


def _tilts(tomogram: Tomogram) -> dict[str, tuple[str, ...]]:
    """The columns of the table of a tomogram's tilts."""
    columns: dict[str, tuple[str, ...]] = {}
    if tomogram.projections is not None:
        matrices = tomogram.projections.detach().cpu().double().tolist()
        columns |= {label: tuple(vector_text(matrix[i]) for matrix in matrices) for i, label in enumerate(ROWS)}
    if tomogram.defocus is not None:
        columns |= defocus_columns(tomogram.defocus, set())
    if tomogram.dose_before is not None:
        columns[DOSE] = number_texts(tomogram.dose_before.cpu())
    return {**columns, **{label: column for label, column in tomogram.extra.items() if label not in columns}}


MOTION = ("rlnOriginXAngst", "rlnOriginYAngst", "rlnOriginZAngst")


@dataclass(frozen=True, slots=True, kw_only=True)
class Trajectories:
    """How each particle of tomograms moved from tilt to tilt (`motion.star`): displacements (x, y, z) in Å by the particle's name, in its order."""

    displacements: Mapping[str, Float[Tensor, "tilts 3"]]

    def __len__(self) -> int:
        return len(self.displacements)


def holds_trajectories(star: StarFile) -> bool:
    """Whether a STAR file is a `motion.star` of tomograms."""
    return "general" in star and "rlnParticleNumber" in star["general"].values


def read_trajectories(path: str | Path) -> Trajectories:
    """The trajectories of a `motion.star`.

    Raises
    ------
    InputError
        If the file is none, or a table of it lacks a column.
    """
    path = Path(path)
    star = read_star(path)
    if not holds_trajectories(star):
        raise InputError("this is no motion of particles", file=path, expected="data_general with rlnParticleNumber")
    blocks = [block for block in star.blocks if block.name != "general"]
    told = star["general"].values["rlnParticleNumber"]
    if told != str(len(blocks)) or len({block.name for block in blocks}) < len(blocks):
        raise InputError(f"rlnParticleNumber is {printable(told)}, and there are {len(blocks)} trajectories", file=path)
    return Trajectories(
        displacements={
            block.name: torch.stack(
                [torch.from_numpy(numbers(block, label, path=path, low=-1e6, high=1e6)) for label in MOTION], dim=-1
            )
            for block in blocks
        }
    )


def write_trajectories(trajectories: Trajectories, path: str | Path) -> None:
    """Write a `motion.star`, all or nothing.

    Raises
    ------
    InputError
        If a displacement is not finite.
    """
    blocks = [StarBlock(name="general", values={"rlnParticleNumber": str(len(trajectories))}, comments=(VERSION,))]
    for name, moved in trajectories.displacements.items():
        if not bool(torch.isfinite(moved).all()):
            raise InputError(f"a displacement of “{printable(name)}” is not finite", file=path)
        columns = {label: exact_texts(moved[:, axis].detach().cpu()) for axis, label in enumerate(MOTION)}
        blocks.append(StarBlock(name=name, columns=columns))
    write_star(blocks, path)
