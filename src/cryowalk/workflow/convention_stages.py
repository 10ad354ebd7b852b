"""The convention kit as files, and foreign files made from it told apart."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from cryowalk.core.errors import InputError, UsageError
from cryowalk.core.units import DEGREE
from cryowalk.data import ImageStack, Micrograph, ParticleSet
from cryowalk.fourier.transform import to_fourier, to_real
from cryowalk.io.atomic import atomic_write_text
from cryowalk.io.coordinates import PLAIN_ENDINGS, TABLE_ENDINGS, read_coordinates, write_coordinates
from cryowalk.io.cryodrgn import CRYODRGN_ENDINGS, read_cryodrgn, write_cryodrgn_ctf, write_cryodrgn_poses
from cryowalk.io.cryosparc import CRYOSPARC_ENDINGS, read_cryosparc, write_cryosparc
from cryowalk.io.kinds import kind_of
from cryowalk.io.maps import read_map, write_map
from cryowalk.io.movies import open_movie
from cryowalk.io.mrc import MrcStackReader, write_array
from cryowalk.io.mrc_header import read_header
from cryowalk.io.relion import read_particles, write_particles
from cryowalk.io.stacks import image_names
from cryowalk.io.star import StarBlock, read_star
from cryowalk.io.star_kinds import star_kind
from cryowalk.io.star_numbers import numbers
from cryowalk.microscope.lens import contrast_transfer
from cryowalk.numerics.random import generator
from cryowalk.validation.convention_images import check_images, check_micrograph
from cryowalk.validation.convention_kit import ConventionKit
from cryowalk.validation.convention_maps import check_map
from cryowalk.validation.convention_picks import check_picks
from cryowalk.validation.convention_tables import check_table
from cryowalk.validation.conventions import Finding
from cryowalk.workflow.job import Job

KIT_NAME, README_NAME = "kit.json", "README.txt"
MAP_NAME, MICROGRAPH_NAME = "phantom.mrc", "micrograph.mrc"
_BOX_SIDE = 60  # pixels of the boxes in the .box file
PICK_ENDINGS = {".box", ".cbox", *PLAIN_ENDINGS, *TABLE_ENDINGS}
_ANGLES = ("rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi")


@dataclass(frozen=True, slots=True, kw_only=True)
class FileCheck:
    """What a file of the kit turned out to be, and what was found about its conventions."""

    path: Path
    kind: str
    findings: tuple[Finding, ...]

    @property
    def verdict(self) -> str:
        """Agrees, differs, or none fits: the worst of the findings'."""
        verdicts = {one.verdict for one in self.findings}
        return "none fits" if "none fits" in verdicts else "differs" if "differs" in verdicts else "agrees"


def write_kit(job: Job, kit: ConventionKit, *, noise: float = 0.0, seed: int = 0) -> tuple[str, ...]:
    """The names of the files written: the phantom's map, images without and with CTF and their tables, a micrograph with picks, and what to do with them.

    `noise` is the standard deviation of white noise on images and micrograph, in that of the images without it.
    """
    source = generator(seed)
    plain = kit.projections()
    seen = to_real(to_fourier(plain) * _transfer(kit), width=kit.box)
    write_map(_volume(kit), job.path(MAP_NAME))
    names = [MAP_NAME]
    for name, images in (("projections", plain), ("particles", seen)):
        names += _write_particles(job, kit, name, _noisy(images, noise, source))
    micrograph = _noisy(kit.micrograph(), noise, source)
    write_array(micrograph.float(), job.path(MICROGRAPH_NAME), voxel_size=kit.pixel_size)
    names.append(MICROGRAPH_NAME)
    for ending in ("star", "box", "csv"):
        name = f"micrograph_picks.{ending}"
        write_coordinates(kit.picks, job.path(name), box=_BOX_SIDE)
        names.append(name)
    atomic_write_text(job.path(KIT_NAME), json.dumps(asdict(kit), indent=1) + "\n")
    atomic_write_text(job.path(README_NAME), _readme(kit, names))
    return (*names, KIT_NAME, README_NAME)


def _volume(kit: ConventionKit) -> Any:
    from cryowalk.data import Volume

    return Volume(voxels=kit.density().float(), voxel_size=kit.pixel_size)


def _transfer(kit: ConventionKit) -> torch.Tensor:
    """The CTF of each image on its half spectrum."""
    return contrast_transfer(kit.optics, kit.defocus, size=(kit.box, kit.box)).double()


def _noisy(images: torch.Tensor, noise: float, source: torch.Generator) -> torch.Tensor:
    return images + noise * images.std() * torch.randn(images.shape, generator=source, dtype=images.dtype)


def _write_particles(job: Job, kit: ConventionKit, name: str, images: torch.Tensor) -> list[str]:
    """The names of a stack with its table in RELION's form, in cryoSPARC's and in cryoDRGN's."""
    stack, star, records = (job.path(f"{name}.{ending}") for ending in ("mrcs", "star", "cs"))
    write_array(images.float(), stack, voxel_size=kit.pixel_size, kind="images")
    particles = ParticleSet(
        optics=(kit.optics,),
        optics_index=torch.zeros(kit.count, dtype=torch.int64),
        images=MrcStackReader(stack),
        pose=kit.pose,
        defocus=kit.defocus,
        half=torch.arange(kit.count) % 2 + 1,
        image_names=image_names(stack, kit.count, star=star),
    )
    write_particles(particles, star)
    write_cryosparc(particles, records)
    poses, transfer = job.path(f"{name}_poses.pkl"), job.path(f"{name}_ctf.pkl")
    write_cryodrgn_poses(particles, poses, box=kit.box)
    write_cryodrgn_ctf(particles, transfer, box=kit.box)
    return [path.name for path in (stack, star, records, poses, transfer)]


def _readme(kit: ConventionKit, names: Sequence[str]) -> str:
    """What is in the kit, and how it is used."""
    return f"""An asymmetric phantom with a hand, for telling conventions of programs apart. No random number is in its geometry.

  {", ".join(names)}

phantom.mrc          {kit.box}³ voxels of {kit.pixel_size:g} Å, protein bright
projections*         its {kit.count} images at known poses and shifts, without CTF: .mrcs with .star (RELION), .cs (cryoSPARC), .pkl (cryoDRGN)
particles*           the same with CTF ({kit.optics.voltage_kv:g} kV, Cs {kit.optics.spherical_aberration_mm:g} mm, underfocus 0.7 to 1.6 micrometres)
micrograph.mrc       protein dark; micrograph_picks.star, .box and .csv hold where its particles are (pixels from the middle of the first pixel)

Let the program in question read one of these and write it again, or make something of it: project the map along the poses, reconstruct the
images, convert the table, export the picks. Then

  cryowalk conventions check FILE...

says which flip, transposition, hand, sign, unit, inverse, count or half pixel the file needs to be like ours, or that nothing of this fits.
"""


def read_kit(directory: Path | None) -> ConventionKit:
    """The kit in a directory, or the standard one.

    Raises
    ------
    InputError
        If the directory holds none.
    """
    if directory is None:
        return ConventionKit()
    path = directory / KIT_NAME
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        return ConventionKit(box=int(values["box"]), pixel_size=float(values["pixel_size"]), count=int(values["count"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError("this is no convention kit", file=path, fix="make one: cryowalk conventions kit --o DIR") from error


def check_file(path: Path, kit: ConventionKit) -> FileCheck:
    """What a file made from the kit needs to be like ours.

    Raises
    ------
    InputError
        If it is of a kind that the kit has nothing to say about, or too little of the kit is in it.
    """
    ending = path.suffix.lower()
    if ending in CRYOSPARC_ENDINGS:
        return _checked_table(path, read_cryosparc(path), kit, kind="cryoSPARC particles", angles=None)
    if ending in CRYODRGN_ENDINGS:
        particles = read_cryodrgn(path, box=kit.box, pixel_size=kit.pixel_size)
        return _checked_table(path, particles, kit, kind="cryoDRGN poses", angles=None)
    if ending in PICK_ENDINGS:
        return FileCheck(path=path, kind="picks", findings=check_picks(read_coordinates(path), kit))
    kind = kind_of(path)
    if kind == "mrc":
        return _check_mrc(path, kit)
    if kind == "star":
        return _check_star(path, kit)
    if kind == "tiff":
        frames = open_movie(path)
        micrograph = Micrograph(pixels=frames.read(range(frames.count)).float().sum(dim=0), pixel_size=kit.pixel_size)
        return FileCheck(path=path, kind="micrograph", findings=check_micrograph(micrograph, kit))
    raise UsageError(
        f"{path.name} is nothing that the kit can check",
        expected="a map, a stack, a micrograph (MRC, TIFF), a table of particles (STAR, .cs, .pkl) or picks (STAR, .box, .csv, .txt …)",
    )


def _check_mrc(path: Path, kit: ConventionKit) -> FileCheck:
    header = read_header(path)
    sections = header.size[2]
    if sections == 1:
        pixels = MrcStackReader(path).read([0])[0]
        return FileCheck(path=path, kind="micrograph", findings=check_micrograph(Micrograph(pixels=pixels, pixel_size=1.0), kit))
    # Many programs write stacks as volumes: the number of sections tells.
    if header.is_stack or (sections == kit.count and sections != header.size[0]):
        reader = MrcStackReader(path)
        images = ImageStack(pixels=reader.read(range(reader.count)), pixel_size=reader.pixel_size or kit.pixel_size)
        transfer = _transfer(kit) if images.image_shape == (kit.box, kit.box) else None
        return FileCheck(path=path, kind="images", findings=check_images(images, kit, transfer=transfer))
    stated = min(header.voxel_sizes)
    volume = read_map(path, voxel_size=None if stated > 0 else 1.0)
    return FileCheck(path=path, kind="map", findings=check_map(volume, voxel_size=kit.pixel_size))


def _check_star(path: Path, kit: ConventionKit) -> FileCheck:
    star = read_star(path)
    kind = star_kind(star)
    if kind == "coordinates":
        return FileCheck(path=path, kind="picks", findings=check_picks(read_coordinates(path), kit))
    if kind != "particles":
        raise UsageError(f"{path.name} is nothing that the kit can check", expected="a table of particles, or of picks")
    block = next(block for block in star.blocks if "rlnImageName" in block.columns)
    return _checked_table(path, read_particles(path, images="ignore"), kit, kind="particles", angles=_angles(block, path))


def _angles(block: StarBlock, path: Path) -> torch.Tensor | None:
    """The three angles as the file states them, rad."""
    if not set(_ANGLES) <= set(block.columns):
        return None
    return torch.stack([torch.from_numpy(numbers(block, label, path=path)) * DEGREE for label in _ANGLES], dim=-1)


def _checked_table(
    path: Path, particles: ParticleSet, kit: ConventionKit, *, kind: str, angles: torch.Tensor | None
) -> FileCheck:
    places = [name.partition("@")[0] for name in particles.image_names]
    stated = [int(place) for place in places] if places and all(place.isdigit() for place in places) else None
    try:
        findings = check_table(particles, kit, angles=angles, numbers=stated)
    except InputError as error:
        raise InputError(error.what, file=path, expected=error.expected, cause=error.cause, fix=error.fix) from None
    return FileCheck(path=path, kind=kind, findings=findings)
