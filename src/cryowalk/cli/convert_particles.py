"""`cryowalk convert` for tables of particles: RELION's STAR, cryoSPARC's .cs and .csg, cryoDRGN's pickles, stacks in HDF5 and Zarr."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import torch

from cryowalk.cli.context import Context
from cryowalk.core.errors import InputError, UsageError, printable
from cryowalk.io.cryosparc_values import PicksAxis

if TYPE_CHECKING:
    from cryowalk.cli.commands.convert import ConvertFiles
    from cryowalk.data import ParticleSet

RULES: Mapping[PicksAxis, str] = {
    "up": "x = fraction × width, y = (1 − fraction) × height (--flip-y, cryoSPARC's rule)",
    "down": "x = fraction × width, y = fraction × height (--no-flip-y)",
}
DIAMETER = 0.6  # of the box: the circles on the thumbnail
USUAL_DIAMETER = 150.0  # Å, where the box is not known


def convert_particles(files: "ConvertFiles", kind: str, context: Context) -> str:
    """What was done: particles in another program's form, every column and its order kept.

    Raises
    ------
    UsageError
        If options do not fit each other.
    InputError
        If a table is not usable.
    """
    y_axis: PicksAxis = "up" if files.flip_y else "down"
    suffix = files.output.suffix.lower()
    _check_options(files, kind, suffix)
    particles = _read(files, kind, y_axis)
    total = len(particles)
    if files.ind is not None:
        particles = _selected(particles, files.ind)
    shapes = _shapes_of(particles, files.input) if files.output.suffix.lower() == ".cs" else {}
    written = _write(files, particles, y_axis=y_axis, shapes=shapes)
    if particles.coordinates is not None and (_has_fractions(particles) or shapes):
        context.say(f"picks: {RULES[y_axis]}; look at them with --picks-thumbnail FILE.png")
    for line in _told(files, particles, kind):
        context.say(line)
    if files.picks_thumbnail is not None:
        context.say(_thumbnail(files, particles, y_axis))
    of = f" of {total}" if len(particles) != total else ""
    return f"{len(particles)}{of} particles in {len(particles.optics)} optics groups ({written})"


def _has_fractions(particles: "ParticleSet") -> bool:
    """Whether the places came from fractions of the micrographs' sides."""
    from cryowalk.io.cryosparc_columns import CryosparcColumns
    from cryowalk.io.cryosparc_values import X_FRACTION, names_of

    extra = particles.extra
    return isinstance(extra, CryosparcColumns) and X_FRACTION in names_of(extra.records)


def _check_options(files: "ConvertFiles", kind: str, suffix: str) -> None:
    """Raise an error where an option is given that has nothing to say."""
    if files.passthrough and kind != "cryosparc":
        raise UsageError("--passthrough belongs to cryoSPARC's tables", fix="leave it out")
    if files.ctf is not None and kind != "pickle" and suffix != ".pkl":
        raise UsageError("--ctf names a pickle of cryoDRGN's: --i or --o must be one, too", fix="leave it out")
    if files.images is not None and kind != "pickle":
        raise UsageError("--images names the images of cryoDRGN's pickles; other tables name theirs", fix="leave it out")
    if kind == "pickle" and files.images is None and suffix != ".pkl":
        raise UsageError(
            "a pickle of cryoDRGN does not name its images",
            fix="give --images: the stack it belongs to, or the .star or .cs file it was made from, whose other columns are kept",
        )
    paths = [
        path for path in (files.ctf, files.picks_thumbnail) if path is not None and not (kind == "pickle" and path == files.ctf)
    ]
    if any(Path(path).exists() and Path(path).samefile(files.input) for path in paths):
        raise UsageError("input and output are the same file", file=files.input, fix="give another name")


def _read(files: "ConvertFiles", kind: str, y_axis: PicksAxis) -> "ParticleSet":
    """The particles of the input; their images are not opened."""
    from cryowalk.io import read_particles
    from cryowalk.io.cryosparc import read_cryosparc

    if kind == "pickle":
        return _read_pickles(files)
    if kind != "cryosparc":
        return read_particles(files.input, images="ignore", pixel_size=files.pixel_size)
    particles = read_cryosparc(files.input, files.passthrough, y_axis=y_axis)
    if files.pixel_size is None:
        return particles
    return replace(particles, optics=tuple(replace(group, pixel_size=files.pixel_size) for group in particles.optics))


def _read_pickles(files: "ConvertFiles") -> "ParticleSet":
    """The particles of cryoDRGN's pickles, with the images of a stack, or with all that the table holds that they were made from."""
    from cryowalk.io import MrcStackReader, image_names, read_particles
    from cryowalk.io.cryodrgn import kind_of_pickle, read_cryodrgn
    from cryowalk.io.kinds import kind_of
    from cryowalk.io.safe_pickle import read_numpy_pickles

    what = kind_of_pickle(read_numpy_pickles(files.input))
    if what not in ("poses", "ctf"):
        raise InputError(
            "these are neither poses nor a CTF",
            file=files.input,
            expected="poses or a CTF of cryoDRGN",
            fix="--ind takes indices",
        )
    poses, ctf = (files.input, files.ctf) if what == "poses" else (None, str(files.input))
    like: ParticleSet | None = None
    box, size = files.box, files.pixel_size
    if files.images is not None and kind_of(files.images) != "mrc":
        like = read_particles(files.images, images="ignore")
        box = box or next(
            (int(group.extra["rlnImageSize"]) for group in like.optics if group.extra.get("rlnImageSize", "").isdigit()), None
        )
        size = size or like.optics[0].pixel_size
    elif files.images is not None:
        stack = MrcStackReader(files.images)
        box, size = box or stack.image_shape[-1], size or stack.pixel_size
    found = read_cryodrgn(poses, ctf, box=box, pixel_size=size)
    if like is not None:
        _same_count(len(found), len(like), files)
        return replace(like, pose=found.pose or like.pose, defocus=_merged_defocus(found, like))
    if files.images is None:
        return found
    _same_count(len(found), stack.count, files)
    return replace(found, image_names=image_names(files.images, stack.count, star=files.output))


def _merged_defocus(found: "ParticleSet", like: "ParticleSet") -> "object":
    """The defocus of the pickle with the envelope and scale of the table, which the pickle does not know."""
    if found.defocus is None or like.defocus is None:
        return found.defocus or like.defocus
    return replace(found.defocus, b_factor=like.defocus.b_factor, scale=like.defocus.scale)


def _same_count(count: int, images: int, files: "ConvertFiles") -> None:
    if count != images:
        raise InputError(
            f"there are {count} particles, {printable(files.images)} has {images}",
            file=files.input,
            cause="the pickle is of a selection of them",
            fix="give the stack or table of the same particles",
        )


def _selected(particles: "ParticleSet", path: Path) -> "ParticleSet":
    """The particles of an index file of cryoDRGN's."""
    from cryowalk.io.cryodrgn import read_indices

    indices = read_indices(path)
    if not len(indices):
        raise InputError("the file selects no particles", file=path)
    if int(indices.max()) >= len(particles):
        raise InputError(
            f"index {int(indices.max())} is named, there are {len(particles)} particles", file=path, expected="indices from 0"
        )
    return particles[indices]


def _write(files: "ConvertFiles", particles: "ParticleSet", *, y_axis: PicksAxis, shapes: Mapping[str, tuple[int, int]]) -> str:
    """Write the particles; the form in words."""
    from cryowalk.io import write_cryosparc, write_particles

    files.output.parent.mkdir(parents=True, exist_ok=True)
    suffix = files.output.suffix.lower()
    if suffix == ".pkl":
        return _write_pickles(files, particles)
    if suffix == ".cs":
        write_cryosparc(particles, files.output, y_axis=y_axis, micrograph_shapes=shapes)
        return f"cryoSPARC, with {files.output.with_suffix('.csg').name}"
    write_particles(particles, files.output)
    return "RELION 3.1"


def _write_pickles(files: "ConvertFiles", particles: "ParticleSet") -> str:
    """Write poses to `--o` and the CTF to `--ctf`; particles without poses have their CTF written to `--o`."""
    from cryowalk.io import write_cryodrgn_ctf, write_cryodrgn_poses

    if particles.pose is None:
        write_cryodrgn_ctf(particles, files.output, box=files.box)
        return "cryoDRGN: the CTF; the particles have no poses"
    write_cryodrgn_poses(particles, files.output, box=files.box)
    if files.ctf is None:
        return "cryoDRGN: the poses" + ("; --ctf FILE.pkl writes the CTF" if particles.defocus is not None else "")
    write_cryodrgn_ctf(particles, files.ctf, box=files.box)
    return f"cryoDRGN: the poses, and the CTF in {printable(files.ctf)}"


def _shapes_of(particles: "ParticleSet", near: Path) -> dict[str, tuple[int, int]]:
    """The shapes (height, width) of the micrographs that are found."""
    from cryowalk.io import read_header
    from cryowalk.io.stacks import find_stack

    shapes = {}
    if particles.coordinates is None:
        return {}
    for name in dict.fromkeys(particles.micrograph_names):
        place = find_stack(name, near)
        if place is not None and place.suffix.lower() in (".mrc", ".rec", ".map", ".mrcs"):
            columns, rows, _ = read_header(place).size_along_axes
            shapes[name] = (rows, columns)
    return shapes


def _told(files: "ConvertFiles", particles: "ParticleSet", kind: str) -> Iterable[str]:
    """What a user must know of images that other programs would take for others."""
    from cryowalk.io.signed_images import SIGN_COLUMN

    if kind == "cryosparc" and files.output.suffix.lower() != ".cs":
        signs = particles.extra.get(SIGN_COLUMN, ())
        dark = sum(text.startswith("-") for text in signs)
        if dark:
            yield (
                f"{dark} images are dark on light (blob/sign −1): cryowalk turns them over as it reads them, other programs do not "
                "(relion_image_handler --multiply_constant -1)"
            )
        if any(name.endswith(".mrc") for name in particles.image_names[:1]):
            yield "the stacks end in .mrc; RELION takes only .mrcs for stacks: link them under such names"


def _thumbnail(files: "ConvertFiles", particles: "ParticleSet", y_axis: PicksAxis) -> str:
    """Draw the picks of the first micrograph that is found under both rules; where the picture went."""
    from cryowalk.data.coordinates import Coordinates
    from cryowalk.io import atomic_write_bytes
    from cryowalk.io.pictures import read_micrograph
    from cryowalk.io.stacks import find_stack
    from cryowalk.view import picks_thumbnail
    from cryowalk.view.canvas import png_bytes

    if particles.coordinates is None or not particles.micrograph_names:
        raise InputError(
            "the particles have no places in micrographs to draw", file=files.input, fix="leave out --picks-thumbnail"
        )
    names = list(dict.fromkeys(particles.micrograph_names))
    name, place = next(((name, place) for name in names if (place := find_stack(name, files.input)) is not None), ("", None))
    if place is None:
        shown = ", ".join(map(printable, names[:3]))
        raise InputError(f"none of the micrographs is there: {shown}", file=files.input, fix="run from the project's folder")
    size = particles.optics[0].micrograph_pixel_size
    image = read_micrograph(place, pixel_size=size)
    rows = torch.tensor([each == name for each in particles.micrograph_names])
    places = particles.coordinates[rows]
    turned = torch.stack((places[:, 0], image.pixels.shape[0] - places[:, 1]), dim=-1)
    other: Literal["--flip-y", "--no-flip-y"] = "--no-flip-y" if y_axis == "up" else "--flip-y"
    used = "--flip-y" if y_axis == "up" else "--no-flip-y"
    is_ruled = _has_fractions(particles)
    panels = {f"{used} (used)" if is_ruled else "as written": places, other if is_ruled else "y turned over": turned}
    box = particles.optics[0].extra.get("rlnImageSize", "")
    diameter = DIAMETER * int(box) * particles.optics[0].pixel_size if box.isdigit() else USUAL_DIAMETER
    drawing = picks_thumbnail(image, {label: Coordinates(positions=each) for label, each in panels.items()}, diameter=diameter)
    atomic_write_bytes(str(files.picks_thumbnail), png_bytes(drawing))
    return f"{printable(files.picks_thumbnail)}: {int(rows.sum())} picks on {printable(place.name)}; the right rule lies on particles"
