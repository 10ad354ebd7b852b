"""The part of `cryowalk convert` that makes and reads stacks in HDF5 and Zarr."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from cryowalk.cli.context import Context
from cryowalk.core.errors import UsageError, printable
from cryowalk.io.stack_settings import StackStorage

STACKS = (".h5", ".hdf5", ".hdf", ".zarr")
NAMED = 3


def is_stack_conversion(kind: str, suffix: str) -> bool:
    """Whether input or output is a stack in HDF5 or Zarr."""
    return kind in ("hdf5", "zarr") or suffix in STACKS


def convert_stack(
    paths: tuple[Path, Path], kind: str, *, mode: Literal["float32", "float16"], pixel_size: float | None, context: Context
) -> str:
    """What was written, in words.

    Raises
    ------
    UsageError
        If there is no way from the one form to the other.
    """
    from cryowalk.workflow import hdf5_stages as stages

    source, output = paths
    output.parent.mkdir(parents=True, exist_ok=True)
    suffix, storage = output.suffix.lower(), StackStorage(sample_format=mode)
    if kind not in ("hdf5", "zarr"):
        return _to_stack(source, output, kind, storage=storage, pixel_size=pixel_size, context=context)
    if suffix == ".star":
        count, lost = stages.stack_to_star(source, output)
        return f"{count} particles, the table as it was" + _absent(lost)
    if suffix in (".mrc", ".mrcs"):
        count, table = stages.stack_to_mrc(source, output, sample_format=mode, pixel_size=pixel_size, progress=context.progress)
        return f"{count} images, {mode}" + (f"; their table: {printable(table)}" if table is not None else "")
    if suffix in STACKS:
        count = stages.stack_to_stack(source, output, storage=storage, pixel_size=pixel_size, progress=context.progress)
        return f"{count} images, {mode}"
    raise UsageError(
        f"there is no way from {source.name} (a stack in HDF5 or Zarr) to {output.name}",
        expected=".star, .mrcs, .h5 or .zarr",
        fix="go by way of .mrcs, beside which the table is written as .star",
    )


def _to_stack(source: Path, output: Path, kind: str, *, storage: StackStorage, pixel_size: float | None, context: Context) -> str:
    from cryowalk.io.hdf5 import write_hdf5_stack
    from cryowalk.io.mrc import MrcStackReader
    from cryowalk.workflow import hdf5_stages as stages

    given = {"storage": storage, "progress": context.progress, "generator": context.generator()}
    if kind == "star":
        made = stages.star_to_stack([source], output, **given)  # type: ignore[arg-type]
        return f"{made.count} particles with their images, {storage.sample_format}"
    if source.suffix.lower() in (".cs", ".csg"):
        made = stages.cryosparc_to_stack(source, output, **given)  # type: ignore[arg-type]
        return f"{made.count} particles with their images, {storage.sample_format}"
    if kind != "mrc":
        raise UsageError(f"there is no way from {source.name} to {output.name}", expected="STAR, .cs or MRC → .h5 or .zarr")
    stack = MrcStackReader(source)
    write_hdf5_stack(stack, output, pixel_size=pixel_size or stack.pixel_size or 0.0, storage=storage, progress=context.progress)
    return f"{stack.count} images, {storage.sample_format}, without a table"


def _absent(lost: Sequence[str]) -> str:
    """A warning about stacks that the table names and that are not there."""
    if not lost:
        return ""
    shown = ", ".join(map(printable, lost[:NAMED])) + (" …" if len(lost) > NAMED else "")
    return f"; {len(lost)} stacks that it names are not there ({shown}): convert to .mrcs writes the images anew"
