"""Particles found in many micrographs, with files at both ends: a table of places for each, and one of all."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch

from cryowalk.core.errors import InputError, naming
from cryowalk.data.coordinates import Coordinates
from cryowalk.data.images import ImageStack, Micrograph
from cryowalk.data.micrographs import MicrographSet
from cryowalk.data.optics import Optics
from cryowalk.io.atomic import atomic_path, atomic_write_text
from cryowalk.io.coordinates import MERIT, X, Y, read_coordinates, write_coordinates
from cryowalk.io.maps import read_map
from cryowalk.io.mrc import MrcStackReader, write_array
from cryowalk.io.mrc_header import read_header
from cryowalk.io.pictures import read_micrograph
from cryowalk.io.relion import VERSION_COMMENT
from cryowalk.io.star import StarBlock, write_star
from cryowalk.io.star_numbers import number_texts
from cryowalk.numerics.random import generator
from cryowalk.picking.find import find_particles
from cryowalk.picking.network import PickingNetwork
from cryowalk.picking.practice import Field
from cryowalk.picking.search import coarse_micrograph, levelled
from cryowalk.picking.settings import PickingSettings
from cryowalk.picking.training import adapted_network, train_network
from cryowalk.picking.views import views_of
from cryowalk.workflow.batch import Failure, stems, work_through
from cryowalk.workflow.checkpoint import DamagedCheckpoint, pack, unpack
from cryowalk.workflow.ctf_stages import inputs_of
from cryowalk.workflow.extraction_inputs import Picks, read_picks
from cryowalk.workflow.job import Job

TABLE_NAME = "coordinates.star"
PICKS = "picks"  # folder of each micrograph's places
PICTURES = "pictures"  # folder of small pictures for the report
NAME = "rlnMicrographName"
NETWORK_NAME = "network.state"  # of the network that was trained or given
_LARGEST_NETWORK = 2**26  # bytes
_SHOWN = 760  # pixels across a small picture
Contrast = Literal["dark", "bright"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PickingInputs:
    """What is searched: the micrographs, where each lies, whether particles are dark in them, and views of the particle, where they are given.

    `device` is where the work is done.
    """

    micrographs: MicrographSet
    paths: tuple[Path | None, ...]
    contrast: Contrast = "dark"
    templates: ImageStack | None = None
    device: torch.device | str = "cpu"

    def read(self, index: int) -> Micrograph:
        """One micrograph, protein dark.

        Raises
        ------
        InputError
            If it is missing or damaged.
        """
        path = self.paths[index]
        if path is None:
            raise InputError(
                "there is no such micrograph", file=self.micrographs.names[index], cause="it was moved, or the project was"
            )
        image = read_micrograph(path, pixel_size=self.micrographs.optics_of(index).pixel_size)
        pixels = image.pixels if self.contrast == "dark" else -image.pixels
        return replace(image, pixels=pixels.to(self.device))


def picking_inputs(
    files: Sequence[Path],
    *,
    pixel_size: float | None,
    contrast: Contrast = "dark",
    templates: ImageStack | None = None,
    device: torch.device | str = "cpu",
) -> PickingInputs:
    """The micrographs of one STAR file, or image files of one pixel size.

    Raises
    ------
    InputError
        If a STAR file stands among several files, or image files come without a pixel size.
    """
    found = inputs_of(files, None if pixel_size is None else Optics(pixel_size=pixel_size))
    return PickingInputs(micrographs=found.micrographs, paths=found.paths, contrast=contrast, templates=templates, device=device)


def read_templates(path: Path, *, pixel_size: float | None = None) -> ImageStack:
    """Views of the particle, protein bright: the images of a stack, or projections of a map along directions all round.

    Raises
    ------
    InputError
        If the file is damaged, or the pixel size is not known.
    """
    header = read_header(path)
    if not header.is_stack and header.size[2] > 1:
        return views_of(read_map(path, voxel_size=pixel_size))
    reader = MrcStackReader(path)
    size = pixel_size or reader.pixel_size
    if size is None:
        raise InputError("the templates do not tell their pixel size", file=path, fix="state --ref-pixel-size (Å)")
    return ImageStack(pixels=reader.read(range(reader.count)), pixel_size=size)


def read_network(path: Path) -> PickingNetwork:
    """The network that an earlier picking left.

    Raises
    ------
    InputError
        If the file holds none.
    """
    is_small = path.is_file() and path.stat().st_size <= _LARGEST_NETWORK
    try:
        state = unpack(path.read_bytes()) if is_small else None
    except (DamagedCheckpoint, ValueError, KeyError, TypeError, AttributeError):
        state = None
    if not isinstance(state, dict):
        raise InputError("this is no picking network", file=path, expected=f"the {NETWORK_NAME} of an earlier picking")
    with naming(path):
        return PickingNetwork.from_state(state)


def write_network(network: PickingNetwork, path: Path) -> None:
    """Write a network, all or nothing, in a format that can hold no code."""
    with atomic_path(path) as temporary, temporary.open("wb") as stream:
        for part in pack(network.state()):
            stream.write(part)


def network_for(
    job: Job,
    inputs: PickingInputs,
    settings: PickingSettings,
    *,
    given: PickingNetwork | None,
    picks: Sequence[Path],
    seed: int,
) -> PickingNetwork:
    """The network of this job, trained unless it is given, then adapted to picks where there are some; network.state keeps it.

    Raises
    ------
    InputError
        If the picks cannot be used.
    """
    path = job.path(NETWORK_NAME)
    if path.is_file():
        return read_network(path).to(inputs.device)
    examples = _examples(job, inputs, settings, picks=read_picks(picks, inputs.micrographs)) if picks else ()
    random = generator(seed, device=str(inputs.device))
    network = given
    if network is None:
        network = train_network(
            generator=random, steps=settings.training_steps, progress=job.progress, checkpoint=job.checkpoint("training")
        )
    if examples:
        network = adapted_network(
            network.to(inputs.device),
            examples,
            picks=settings.picks_are,
            generator=generator(seed + 1),
            steps=settings.adapting_steps,
            progress=job.progress,
            checkpoint=job.checkpoint("adapting"),
        )
    write_network(network, path)
    return network.to(inputs.device)


def _examples(job: Job, inputs: PickingInputs, settings: PickingSettings, *, picks: Picks) -> tuple[Field, ...]:
    """The micrographs with picks as the network sees them, and the places of the picks that lie in them."""
    examples = []
    outside = 0
    for index in sorted(set(picks.micrograph.tolist())):
        positions = picks.particles[picks.of(index)].coordinates
        if positions is None:
            continue
        coarse = coarse_micrograph(inputs.read(index), diameter=settings.diameter)
        places = coarse.places_of(positions)
        last = torch.tensor(coarse.pixels.shape, dtype=torch.float64) - 1
        is_inside = ((places >= 0) & (places <= last)).all(dim=1)
        outside += int((~is_inside).sum())
        if bool(is_inside.any()):
            examples.append(Field(levelled(coarse).float().cpu(), places[is_inside]))
    if outside or picks.strangers:
        job.progress.note(f"{outside} picks lie outside their micrographs, {picks.strangers} in none of these: left out")
    if not examples:
        raise InputError("none of the picks lies in a micrograph", cause="coordinates of another binning")
    return tuple(examples)


def pick_files(
    job: Job, inputs: PickingInputs, settings: PickingSettings, *, network: PickingNetwork | None = None
) -> tuple[dict[str, Coordinates], tuple[Failure, ...]]:
    """The places in each micrograph that could be used, and the files that could not; coordinates.star holds them all.

    Each micrograph's places go to picks/; one whose table is there is not searched again.
    """
    names = inputs.micrographs.names
    short = stems(names)
    results = [job.path(f"{PICKS}/{stem}_pick.star") for stem in short]

    def work(index: int) -> None:
        with naming(inputs.paths[index] or names[index]):
            image = inputs.read(index)
            found = find_particles(image, settings, templates=inputs.templates, network=network)
        small = coarser(replace(image, pixels=image.pixels.cpu()))
        write_array(small.pixels, job.path(f"{PICTURES}/{short[index]}.mrc"), voxel_size=small.pixel_size, kind="images")
        facts = {"pixel_size": image.pixel_size}
        atomic_write_text(job.path(f"{PICTURES}/{short[index]}.json"), json.dumps(facts) + "\n")
        write_coordinates(found, results[index])

    failures = work_through(job, names, work, what="picking", is_done=lambda index: results[index].is_file())
    failed = {failure.name for failure in failures}
    found = {name: read_coordinates(path) for name, path in zip(names, results, strict=True) if name not in failed}
    if found:
        write_all(found, job.path(TABLE_NAME))
    return found, failures


def coarser(micrograph: Micrograph) -> Micrograph:
    """The micrograph with blocks of pixels averaged until it is small enough for a report."""
    height, width = micrograph.pixels.shape
    factor = max(1, -(-max(height, width) // _SHOWN))
    kept = micrograph.pixels[: height // factor * factor, : width // factor * factor]
    blocks = kept.reshape(height // factor, factor, width // factor, factor)
    return replace(micrograph, pixels=blocks.mean(dim=(1, 3)), pixel_size=micrograph.pixel_size * factor)


def write_all(found: dict[str, Coordinates], path: Path) -> None:
    """Write the places in all micrographs to one table."""
    positions = torch.cat([each.positions for each in found.values()])
    merit = torch.cat([torch.zeros(len(each)) if each.merit is None else each.merit for each in found.values()])
    columns = {
        NAME: tuple(name for name, each in found.items() for _ in range(len(each))),
        X: number_texts(positions[:, 0]),
        Y: number_texts(positions[:, 1]),
        MERIT: number_texts(merit),
    }
    write_star([StarBlock(columns=columns, comments=(VERSION_COMMENT,))], path)
