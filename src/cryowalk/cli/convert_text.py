"""How `cryowalk convert` takes the small files of other programs into one another: picks, alignments and angles of tilt series, CTFs, motive lists."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cryowalk.core.errors import UsageError

if TYPE_CHECKING:
    from cryowalk.cli.commands.convert import ConvertFiles

PICKS = (".star", ".box", ".cbox", ".csv", ".tsv", ".txt", ".coord", ".coords", ".xy")
TEXT_ENDINGS = (".xf", ".tlt", ".rawtlt", ".aln", ".tbl", ".em", ".xml", ".com", ".log", ".dat", *PICKS)


def convert_text(files: "ConvertFiles", kind: str) -> str | None:
    """What was done, or None where there is no way.

    Raises
    ------
    InputError
        If the input is not usable.
    UsageError
        If something is missing that the output needs, such as the size of boxes.
    """
    from cryowalk.data.coordinates import Coordinates
    from cryowalk.io import CoordinateTable, read, write
    from cryowalk.io.text_formats import TEXT_WRITERS

    suffix = files.output.suffix.lower()
    thing = read(files.input)
    if isinstance(thing, Coordinates | CoordinateTable):
        return _picks(thing, files) if suffix in PICKS else None
    made = _made(thing, suffix, files) if kind != "star" else None
    if made is not None:
        write(made, files.output)
        return f"{len(made)} rows" if hasattr(made, "__len__") else "written"
    is_same = any(isinstance(thing, one) and suffix in endings for one, endings, _ in TEXT_WRITERS)
    if not is_same or (kind == "star") != (suffix == ".star"):
        return None
    write(thing, files.output)
    return f"{len(thing)} rows" if hasattr(thing, "__len__") else "written"


def _picks(thing: Any, files: "ConvertFiles") -> str:
    """Picks of one micrograph, or of each in a table, in another form; the rule for y is told."""
    from cryowalk.data.coordinates import Coordinates
    from cryowalk.io import read_coordinate_table, read_coordinates, write_coordinate_table, write_coordinates

    if not isinstance(thing, Coordinates):
        if files.height is not None or files.output.suffix.lower() in (".box", ".cbox"):
            raise UsageError(
                "the table is of several micrographs", fix="give a --o that ends in .star, .csv, .tsv or .txt, and no --height"
            )
        table = read_coordinate_table(files.input, scale=files.scale)
        write_coordinate_table(table, files.output)
        return f"{len(table)} positions in {len(table.micrographs)} micrographs; y as it stands, rows counted from the first"
    turned = files.height is not None
    found = read_coordinates(files.input, y_axis="up" if turned else "down", height=files.height, scale=files.scale)
    write_coordinates(found, files.output, box=files.box or 0)
    rule = f"y turned over, {files.height} − 1 − y" if turned else "y as it stands, rows counted from the first"
    return f"{len(found)} positions; {rule}"


def _made(thing: Any, suffix: str, files: "ConvertFiles") -> Any | None:
    """The other thing that this one becomes, or None where it is written as it is."""
    from cryowalk.io import AngleList, AreTomoAlignment, MotiveList, WarpSeries, dynamo_table
    from cryowalk.io.mdoc import Mdoc

    is_angles = suffix in (".tlt", ".rawtlt")
    ways: tuple[tuple[type, bool, Callable[[], Any]], ...] = (
        (AreTomoAlignment, suffix == ".xf", lambda: thing.transforms()),
        (AreTomoAlignment, is_angles, lambda: AngleList(angles=thing.tilt_angle)),
        (WarpSeries, is_angles, lambda: AngleList(angles=thing.tilt_series().tilt_angle)),
        (WarpSeries, suffix == ".star", lambda: (thing.tilt_series(),)),
        (Mdoc, is_angles, lambda: AngleList(angles=_of_mdoc(thing, files).tilt_angle)),
        (Mdoc, suffix == ".star", lambda: (_of_mdoc(thing, files),)),
        (
            MotiveList,
            suffix == ".tbl",
            lambda: dynamo_table(
                thing.specimen_from_particle, thing.positions, tomograms=thing.tomograms, voxel_size=files.pixel_size or 0.0
            ),
        ),
    )
    return next((make() for one, is_met, make in ways if is_met and isinstance(thing, one)), None)


def _of_mdoc(mdoc: Any, files: "ConvertFiles") -> Any:
    """The tilt series of an mdoc file; its pixel size and voltage are those the file tells unless --pixel-size is given."""
    from cryowalk.data.optics import Optics
    from cryowalk.io.mdoc import tilt_series_of_mdoc

    told = next((mdoc.number(section, "PixelSpacing") for section in mdoc.sections if section.get("PixelSpacing")), None)
    voltage = next((mdoc.number(section, "Voltage") for section in mdoc.sections if section.get("Voltage")), None)
    size = files.pixel_size or told
    if not size:
        raise UsageError("the mdoc file does not tell the pixel size", file=files.input, fix="state --pixel-size (Å)")
    return tilt_series_of_mdoc(mdoc, optics=Optics(pixel_size=size, voltage_kv=voltage or 300.0), name=_name(files.input))


def _name(path: Path) -> str:
    """The name of a tilt series by its file."""
    name = path.name
    for ending in (".gz", ".mdoc", ".mrc", ".st"):
        name = name.removesuffix(ending)
    return name
