"""`cryowalk project`: projections of a map along the poses of a STAR file."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cryowalk.cli.command import Command
from cryowalk.cli.context import Context
from cryowalk.core.errors import InputError, UsageError

if TYPE_CHECKING:
    from torch import Tensor

    from cryowalk.data import ParticleSet, Pose, Volume
    from cryowalk.fourier.slices import FourierVolume

BATCH_PIXELS = 2**23  # in the images made at a time: a few hundred, which meet in the cache while slices are read


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectionFiles:
    """The map, the poses, and where the images go."""

    map: Annotated[Path, "map to project, MRC", "--i", "--in_3dref"]
    poses: Annotated[Path, "STAR file with the poses (and optics, for --ctf)", "--ang", "--in_parts"]
    output: Annotated[Path, "root of the names: ROOT.star and ROOT.mrcs are written"]
    ctf: Annotated[bool, "apply each particle's CTF"] = False
    canvas: Annotated[bool, "with --ctf: form images on a larger canvas, so that no CTF wraps round"] = False
    padding: Annotated[float, "how many times the Fourier grid is finer than the box", "--pad", ("min", 1), ("max", 4)] = 1.5


def run(files: ProjectionFiles, settings: None, context: Context) -> None:  # noqa: ARG001  every command has the same three
    """Nothing; ROOT.star and ROOT.mrcs are written.

    Raises
    ------
    InputError
        If the poses, or with --ctf the defocus values, are missing, or the pixel sizes differ.
    """
    from cryowalk.io import MrcStackReader, MrcStackWriter, read_map, read_particles, write_particles
    from cryowalk.io.stacks import image_names
    from cryowalk.io.write_behind import WriteBehind

    context.verify(files.map, files.poses)
    volume = read_map(files.map)
    particles = read_particles(files.poses, images="ignore")
    _check(volume, particles, files)
    stack, star = root_names(files.output)
    box = volume.voxels.shape[-1]
    stack.parent.mkdir(parents=True, exist_ok=True)
    writer = MrcStackWriter(stack, image_shape=(box, box), pixel_size=volume.voxel_size)
    try:
        context.progress.start("projecting", len(particles))
        with WriteBehind(writer) as sink:
            for images in _batches(volume, particles, files):
                sink.write(images)
                context.progress.advance(len(images))
        writer.close()
    except BaseException:
        writer.abandon()
        raise
    named = particles.with_images(MrcStackReader(stack), image_names(stack, len(particles), star=star))
    write_particles(named, star)
    context.say(f"{star}: {len(particles)} images of {box} px")


def root_names(root: Path) -> tuple[Path, Path]:
    """The names of the stack and the STAR file of a root; in a directory they are called `projections`."""
    if root.is_dir():
        root = root / "projections"
    root = root.with_suffix("") if root.suffix in (".star", ".mrcs") else root
    return root.with_name(root.name + ".mrcs"), root.with_name(root.name + ".star")


def _check(volume: "Volume", particles: "ParticleSet", files: ProjectionFiles) -> None:
    if particles.pose is None:
        raise InputError("the particles have no poses", file=files.poses, expected="rlnAngleRot, rlnAngleTilt and rlnAnglePsi")
    if files.canvas and not files.ctf:
        raise UsageError("--canvas changes only images with a CTF", fix="give --ctf as well")
    if files.ctf and particles.defocus is None:
        raise InputError("the particles have no defocus values", file=files.poses, expected="rlnDefocusU for --ctf")
    for group in particles.optics:
        if not math.isclose(group.pixel_size, volume.voxel_size, rel_tol=1e-3):
            raise InputError(
                f"the particles have pixels of {group.pixel_size:g} Å, the map voxels of {volume.voxel_size:g} Å",
                file=files.poses,
                fix="rescale the map to the pixel size of the particles",
            )


def _batches(volume: "Volume", particles: "ParticleSet", files: ProjectionFiles) -> Iterator["Tensor"]:
    from cryowalk.core.execution import batches
    from cryowalk.fourier.slices import prepare_volume

    reference = prepare_volume(volume, padding=files.padding)
    size = max(1, BATCH_PIXELS // volume.voxels.shape[-1] ** 2)
    for span in batches(len(particles), size):
        chosen = particles[span.start : span.stop]
        if chosen.pose is not None:
            yield (
                _on_canvas(reference, chosen, chosen.pose)
                if files.canvas
                else _in_box(reference, chosen, chosen.pose, ctf=files.ctf)
            )


def _in_box(reference: "FourierVolume", chosen: "ParticleSet", pose: "Pose", *, ctf: bool) -> "Tensor":
    """Projections, slices multiplied by their CTFs as RELION does it."""
    import torch

    from cryowalk.fourier.slices import extract_slices
    from cryowalk.fourier.transform import to_real
    from cryowalk.microscope.lens import contrast_transfer

    box, factor = reference.box, None
    if ctf and chosen.defocus is not None:
        factor = torch.empty(len(chosen), box, box // 2 + 1)
        for number, optics in enumerate(chosen.optics):
            mine = (chosen.optics_index == number).nonzero().flatten()
            if len(mine):
                factor[mine] = contrast_transfer(optics, chosen.defocus[mine].to(torch.float32), size=(box, box))
    slices = extract_slices(reference, pose.lab_from_particle.float(), factor=factor, shift=pose.shift.float())
    return to_real(slices, width=box)


def _on_canvas(reference: "FourierVolume", chosen: "ParticleSet", pose: "Pose") -> "Tensor":
    """Projections with their CTFs, formed on a canvas and cropped."""
    import torch

    from cryowalk.fourier.slices import extract_slices
    from cryowalk.fourier.transform import to_real
    from cryowalk.microscope.image_formation import form_images

    flat = to_real(extract_slices(reference, pose.lab_from_particle.float()), width=reference.box)
    images = torch.empty_like(flat)
    for number, optics in enumerate(chosen.optics):
        mine = (chosen.optics_index == number).nonzero().flatten()
        if len(mine) and chosen.defocus is not None:
            images[mine] = form_images(flat[mine], optics, chosen.defocus[mine], shift=pose.shift[mine]).images
    return images


COMMAND = Command(
    name="project",
    summary="Project a map along the poses of a STAR file.",
    run=run,
    files=ProjectionFiles,
    details="As relion_project does, --ctf multiplies inside the box, where the CTF of a large defocus wraps round; --canvas forms images on a "
    "larger canvas and crops them, which is slower and closer to the microscope.",
)
