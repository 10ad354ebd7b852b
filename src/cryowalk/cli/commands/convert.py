"""`cryowalk convert`: maps, stacks, movies, particle tables and structures from one form to another."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from cryowalk.cli.command import Command
from cryowalk.cli.context import Context
from cryowalk.core.errors import InputError, UsageError

KINDS = {
    "mrc": "MRC", "star": "STAR", "structure": "atoms", "tiff": "movie", "mdoc": "mdoc", "tem": "TEM-simulator", "cryosparc": "cryoSPARC",
    "pickle": "cryoDRGN", "hdf5": "HDF5", "zarr": "Zarr", "text": "text",
}  # fmt: skip
STRUCTURES = (".pdb", ".ent", ".cif", ".mmcif")
MOVIES = (".tif", ".tiff", ".eer")
TABLES = ("star", "cryosparc", "pickle", "hdf5", "zarr")
TABLE_ENDINGS = (".star", ".cs", ".pkl")


@dataclass(frozen=True, slots=True, kw_only=True)
class ConvertFiles:
    """What to convert to what; the ending of the output's name decides."""

    input: Annotated[Path, "MRC, STAR, .cs, .csg, .pkl, HDF5, PDB or mmCIF file, compressed or not; TIFF or EER movie", "--i"]
    output: Annotated[Path, "file to write: .mrc, .mrcs, .tiff, .eer, .star, .cs, .pkl, .h5, .pdb or .cif"]
    pixel_size: Annotated[float | None, "pixel or voxel size of the output, Å (a new header value; no resampling)"] = None
    mode: Annotated[Literal["float32", "float16"], "how MRC and TIFF values are stored"] = "float32"
    box: Annotated[
        int | None,
        "side of the map made from a structure, voxels; large enough for it unless given. Of particles: box of the images, px, where no file tells",
    ] = None
    mode0: Annotated[
        Literal["auto", "signed", "unsigned"], "bytes of MRC's mode 0: auto is signed (MRC2014) unless IMOD's stamp says unsigned"
    ] = "auto"
    passthrough: Annotated[tuple[Path, ...], "cryoSPARC: passthrough .cs files of the same job, matched by uid"] = ()
    flip_y: Annotated[bool, "cryoSPARC: y of picks is counted from the last row of the micrograph"] = True
    picks_thumbnail: Annotated[str | None, "PNG file of the picks on a micrograph, under either rule for y"] = None
    ctf: Annotated[str | None, "cryoDRGN: the pickle of the CTF, read with --i POSES.pkl or written beside --o POSES.pkl"] = None
    images: Annotated[
        Path | None, "cryoDRGN: the stack that --i POSES.pkl belongs to, or the .star or .cs file it was made from"
    ] = None
    ind: Annotated[Path | None, "cryoDRGN: keep only the particles of this ind.pkl"] = None
    scale: Annotated[
        float, "picks: pixels of the micrograph that one of the input is (Topaz's down-sampling)", ("min", 0.001), ("max", 1000)
    ] = 1.0
    height: Annotated[
        int | None, "picks: count y from the other end of a micrograph of this height, px; as it stands unless given", ("min", 1)
    ] = None

    def holds_picks(self) -> bool:
        """Whether the input is a STAR file of picks."""
        from cryowalk.io import read_star
        from cryowalk.io.star_kinds import star_kind

        return star_kind(read_star(self.input)) in ("coordinates", "coordinate table", "coordinate files")


def run(files: ConvertFiles, settings: None, context: Context) -> None:  # noqa: ARG001  every command has the same three
    """Nothing; the output is written, all or nothing.

    Raises
    ------
    UsageError
        If there is no way from the one form to the other.
    InputError
        If the input is not usable.
    """
    from cryowalk.io.kinds import foreign_words, kind_of

    context.verify(files.input)
    if files.output.exists() and files.output.samefile(files.input):
        raise UsageError("input and output are the same file", file=files.input, fix="give another --o")
    kind = kind_of(files.input)
    if kind in ("foreign", "unknown"):
        raise InputError(
            f"this is {foreign_words(files.input) or 'a file of no kind known here'}, and cannot be converted",
            file=files.input,
            expected="an MRC, STAR, PDB or mmCIF file, compressed or not, a TIFF or EER movie, a .cs or .pkl table, or a stack in HDF5",
        )
    words = _converted(files, kind, context)
    if words is None:
        raise UsageError(
            f"there is no way from {files.input.name} ({KINDS[kind]}) to {files.output.name}",
            expected="structure → .pdb, .cif or .mrc; STAR, .cs, .pkl or .h5 → .star, .cs, .pkl or .h5; MRC or movie → .mrc, .mrcs, .tiff or .eer",
        )
    context.say(f"{files.output}: {words}")


def _converted(files: ConvertFiles, kind: str, context: Context) -> str | None:
    """What was done, or None where there is no way."""
    from cryowalk.cli.commands.convert_hdf5 import convert_stack, is_stack_conversion
    from cryowalk.cli.convert_images import convert_movie, convert_mrc, convert_structure, convert_structure_to_map
    from cryowalk.cli.convert_particles import convert_particles
    from cryowalk.cli.convert_text import TEXT_ENDINGS, convert_text

    suffix = files.output.suffix.lower()
    if is_stack_conversion(kind, suffix) and suffix not in (".cs", ".pkl"):
        return convert_stack((files.input, files.output), kind, mode=files.mode, pixel_size=files.pixel_size, context=context)
    if kind == "structure" and suffix in (*STRUCTURES, ".mrc", ".map"):
        return convert_structure(files) if suffix in STRUCTURES else convert_structure_to_map(files)
    if kind in ("text", "mdoc") or (kind == "star" and (suffix in TEXT_ENDINGS and (suffix != ".star" or files.holds_picks()))):
        return convert_text(files, kind) if suffix in TEXT_ENDINGS else None
    if kind in TABLES and suffix in TABLE_ENDINGS:
        return _table(files) or convert_particles(files, kind, context)
    if kind == "mrc" and suffix in (".mrc", ".mrcs", ".map"):
        return convert_mrc(files, context)
    is_movie = (kind == "tiff" and suffix in (".mrc", ".mrcs", *MOVIES)) or (kind == "mrc" and suffix in MOVIES)
    return convert_movie(files, context) if is_movie else None


def _table(files: ConvertFiles) -> str:
    """A STAR table that holds no particles, its text kept; nothing for another file."""
    from cryowalk.io import read_star, write_star
    from cryowalk.io.kinds import STAR_ENDINGS, kind_of

    if files.output.suffix.lower() not in STAR_ENDINGS or kind_of(files.input) != "star":
        return ""
    star = read_star(files.input)
    if any("rlnImageName" in block.columns for block in star.blocks):
        return ""
    write_star(star, files.output)
    return f"{len(star.blocks)} blocks"


COMMAND = Command(
    name="convert",
    summary="Convert maps, stacks, movies, particle tables and structures.",
    run=run,
    files=ConvertFiles,
    details="The ending of --o decides: structure to .pdb, .cif or a map; particles between RELION (.star), cryoSPARC (.cs with its .csg), cryoDRGN (.pkl) and HDF5, every column and its order kept; MRC of any mode, byte order or compression to plain MRC; movies to .mrc, .tiff or .eer (counts); picks between .star, .box, .cbox, .csv, .tsv, .txt and .coord; .aln to .xf and .tlt; mdoc and Warp XML to .star and .tlt; motive lists to .tbl.",
)
