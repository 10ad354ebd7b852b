"""Denoising with files at both ends: particles, half maps, pairs of micrographs, micrographs with a CTF."""

import json
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from cryowalk.core.errors import InputError, UsageError
from cryowalk.data.images import ImagesOnDevice, Micrograph
from cryowalk.data.micrographs import MicrographSet
from cryowalk.data.particles import ParticleSet
from cryowalk.data.volume import HalfMaps, Volume
from cryowalk.denoising.checks import check_pair
from cryowalk.denoising.covariance import ImageCovariance, covariance_filter
from cryowalk.denoising.deconvolution import deconvolve
from cryowalk.denoising.noise2noise import Networks, learn
from cryowalk.denoising.pairs import denoise_pair
from cryowalk.denoising.particles import wiener_particles
from cryowalk.denoising.recombination import Recombination
from cryowalk.denoising.settings import DenoisingSettings
from cryowalk.fourier.shells import shell_frequency
from cryowalk.io.atomic import atomic_write_text
from cryowalk.io.kinds import STAR_ENDINGS
from cryowalk.io.maps import read_half_maps, write_map
from cryowalk.io.micrographs import holds_micrographs, read_micrographs, write_micrographs
from cryowalk.io.mrc import MrcStackReader, write_array
from cryowalk.io.mrc_header import read_header
from cryowalk.io.mrc_writer import MrcStackWriter
from cryowalk.io.pictures import read_micrograph
from cryowalk.io.relion import read_particles, write_particles
from cryowalk.io.stacks import find_stack, image_names
from cryowalk.io.star import read_star
from cryowalk.numerics.random import generator
from cryowalk.workflow.batch import Failure, stems, work_through
from cryowalk.workflow.job import Job

FACTS_NAME = "denoising.json"
MAP_NAME = "denoised.mrc"
STACK_NAME = "denoised.mrcs"
PARTICLES_NAME = "denoised.star"
TABLE_NAME = "denoised_micrographs.star"
MICROGRAPHS, RESULTS, PICTURES = "micrographs", "results", "pictures"
_SEEN, _KNOWN = 0.143, 0.8  # correlations of halves between which the gain of shells is summed up
_NAMED = 24  # images whose names are kept, for a report
_PIECE = 512  # pixels of a micrograph that a report shows
NOT_DATA = "Denoised is not data: it is for looking, picking and masks. Refine, average and measure resolution with the unfiltered images and half maps."
Kind = Literal["particles", "half maps", "pairs", "micrographs"]
_METHODS: dict[Kind, tuple[str, ...]] = {
    "particles": ("pca", "wiener"),
    "half maps": ("local", "wiener", "noise2noise"),
    "pairs": ("noise2noise", "wiener"),
    "micrographs": ("deconvolution",),
}
_ODD, _EVEN = "rlnMicrographNameOdd", "rlnMicrographNameEven"


@dataclass(frozen=True, slots=True, kw_only=True)
class DenoisingInputs:
    """What is denoised: its kind, and what belongs to it. `paths` are the two files of each pair, or the one of each micrograph."""

    kind: Kind
    particles: ParticleSet | None = None
    halves: HalfMaps | None = None
    micrographs: MicrographSet | None = None
    names: tuple[str, ...] = ()
    paths: tuple[tuple[Path, ...], ...] = ()
    pixel_size: float | None = None
    device: torch.device

    def with_method(self, settings: DenoisingSettings) -> DenoisingSettings:
        """The settings with the method that auto means for this kind.

        Raises
        ------
        UsageError
            If the method is none for this kind.
        """
        possible = _METHODS[self.kind]
        if settings.method == "auto":
            return replace(settings, method=possible[0])  # type: ignore[arg-type]  # the table holds names of methods
        if settings.method not in possible:
            raise UsageError(f"{self.kind} are not denoised by {settings.method}", expected=" or ".join(possible))
        return settings


def denoising_inputs(
    files: Sequence[Path], others: Sequence[Path], *, pixel_size: float | None, device: torch.device
) -> DenoisingInputs:
    """What these files are: particles, half maps, pairs of micrographs, or micrographs.

    Raises
    ------
    InputError
        If they are nothing of that, or do not belong together.
    """
    given: dict[str, Any] = {"pixel_size": pixel_size, "device": device}
    if len(files) == 1 and not others and files[0].suffix.lower() in STAR_ENDINGS:
        return _of_table(files[0], given)
    if any(path.suffix.lower() in STAR_ENDINGS for path in (*files, *others)):
        raise InputError("a STAR file is taken alone", file=files[0], fix="give one STAR file, or images only")
    if not others and len(files) == 1:
        others = (_sibling(files[0]),)
    if len(files) != len(others):
        raise InputError(
            f"{len(files)} first halves and {len(others)} second halves",
            expected="as many files behind --i2 as behind --i",
            fix="single images without halves need a STAR file with their CTF",
        )
    if _is_map(files[0]):
        if len(files) > 1:
            raise InputError("one pair of half maps is denoised at a time", file=files[1], fix="run the command for each")
        return DenoisingInputs(
            kind="half maps",
            halves=read_half_maps(files[0], others[0], voxel_size=pixel_size),
            paths=((files[0], others[0]),),
            **given,
        )
    names = tuple(path.with_name(path.name.replace("_ODD", "").replace("_EVN", "")).as_posix() for path in files)
    return DenoisingInputs(kind="pairs", names=names, paths=tuple(zip(files, others, strict=True)), **given)


def _of_table(path: Path, given: dict[str, Any]) -> DenoisingInputs:
    if not holds_micrographs(read_star(path)):
        return DenoisingInputs(kind="particles", particles=read_particles(path), **given)
    table = read_micrographs(path)
    given = {**given, "pixel_size": given["pixel_size"] or table.pixel_size}
    if _ODD in table.extra and _EVEN in table.extra:
        pairs = zip(table.extra[_ODD], table.extra[_EVEN], strict=True)
        paths = tuple(tuple(_found(name, path) for name in pair) for pair in pairs)
        return DenoisingInputs(kind="pairs", micrographs=table, names=table.names, paths=paths, **given)
    if table.defocus is None:
        raise InputError(
            "the micrographs have neither sums of odd and even frames nor a CTF",
            file=path,
            fix="sum the movies with --halves yes, or estimate the CTF first: cryowalk ctf",
        )
    paths = tuple((_found(name, path),) for name in table.names)
    return DenoisingInputs(kind="micrographs", micrographs=table, names=table.names, paths=paths, **given)


def _found(name: str, star: Path) -> Path:
    path = find_stack(name, star)
    if path is None:
        raise InputError("there is no such micrograph", file=name, cause="it was moved, or the project was")
    return path


def _is_map(path: Path) -> bool:
    header = read_header(path)
    return header.size[2] > 1 and not header.is_stack


def _sibling(path: Path) -> Path:
    """The other half, by the names that RELION and `motion` give."""
    for one, other in (("half1", "half2"), ("half2", "half1"), ("_ODD", "_EVN"), ("_EVN", "_ODD")):
        if one in path.name and (path.parent / path.name.replace(one, other)).is_file():
            return path.parent / path.name.replace(one, other)
    raise InputError(
        "a single image or map cannot be told from its noise",
        file=path,
        expected="two halves: half maps, or sums of odd and even frames",
        fix="name the other half with --i2, or give a STAR file of particles or of micrographs with their CTF",
    )


def denoise_files(
    job: Job, inputs: DenoisingInputs, settings: DenoisingSettings, *, seed: int
) -> tuple[dict[str, Any], tuple[Failure, ...]]:
    """The numbers that tell what was gained and lost, and the files that could not be used; images and maps are in the job's directory."""
    failures: tuple[Failure, ...] = ()
    if inputs.kind == "particles":
        facts = _particle_files(job, inputs, settings)
    elif inputs.kind == "half maps":
        facts = _map_files(job, inputs, settings, seed=seed)
    elif inputs.kind == "pairs":
        facts, failures = _pair_files(job, inputs, settings, seed=seed)
    else:
        facts, failures = _micrograph_files(job, inputs, settings)
    facts = {"kind": inputs.kind, "method": settings.method, **facts, "warning": NOT_DATA}
    atomic_write_text(job.path(FACTS_NAME), json.dumps(facts, indent=1) + "\n")
    return facts, failures


def _particle_files(job: Job, inputs: DenoisingInputs, settings: DenoisingSettings) -> dict[str, Any]:
    particles = inputs.particles
    if particles is None or particles.images is None:
        raise InputError("the particles have no images", fix="give a STAR file with rlnImageName")
    shape, size = particles.images.image_shape, particles.pixel_size
    job.require_space(4 * len(particles) * shape[0] * shape[1])
    on_device = replace(particles, images=ImagesOnDevice(source=particles.images, device=inputs.device))
    stack, star = job.path(STACK_NAME), job.path(PARTICLES_NAME)
    sink = MrcStackWriter(stack, image_shape=shape, pixel_size=size)
    try:
        if settings.method == "pca":
            facts = _of_covariance(covariance_filter(on_device, settings, sink=sink, progress=job.progress), shape[0], size)
        else:
            found = wiener_particles(on_device, settings, sink=sink, progress=job.progress)
            frequency = shell_frequency(shape[0], pixel_size=size)
            facts = {
                "frequency": frequency.tolist(),
                "signal": found.signal.tolist(),
                "noise": found.noise.tolist(),
                "amplitude": found.amplitude.tolist(),
            }
        sink.close()
    except BaseException:
        sink.abandon()  # a stack is begun anew: nothing of it is of use to a later run
        raise
    # The CTF is undone: its columns go, so that no program undoes it again.
    clean = replace(particles, defocus=None).with_images(MrcStackReader(stack), image_names(stack, len(particles), star=star))
    write_particles(clean, star)
    return {"count": len(particles), "first_images": list(particles.image_names[:_NAMED]), **facts}


def _of_covariance(found: ImageCovariance, box: int, pixel_size: float) -> dict[str, Any]:
    return {
        "rank": found.rank,
        "functions": sum(len(values) * (2 if k else 1) for k, values in enumerate(found.eigenvalues)),
        "eigenvalues": [values.tolist() for values in found.eigenvalues],
        "edges": list(found.edges),
        "frequency": (found.basis.radius / (box * pixel_size)).tolist(),
        "amplitude": [] if found.amplitude is None else found.amplitude.tolist(),
    }


def _map_files(job: Job, inputs: DenoisingInputs, settings: DenoisingSettings, *, seed: int) -> dict[str, Any]:
    halves = inputs.halves
    if halves is None:
        raise InputError("there are no half maps")
    pair = (halves.first.voxels.to(inputs.device), halves.second.voxels.to(inputs.device))
    check_pair(*pair, name=str(inputs.paths[0][0]))
    networks = None
    if settings.method == "noise2noise":
        networks = learn(
            [pair], settings, generator=generator(seed), progress=job.progress, checkpoint=job.checkpoint("networks")
        )
    found = denoise_pair(pair, settings, networks=networks)
    size = halves.first.voxel_size
    write_map(Volume(voxels=found.array.cpu(), voxel_size=size, origin=halves.first.origin), job.path(MAP_NAME))
    return curve_facts(found, pixel_size=size) | _losses(networks)


def curve_facts(found: Recombination, *, pixel_size: float) -> dict[str, Any]:
    """The curves of one denoised pair, by shell, and their summary."""
    frequency = shell_frequency(min(found.array.shape), pixel_size=pixel_size)
    curves = {name: getattr(found, name) for name in ("fsc", "weight", "gain", "gain_error", "scale", "amplitude")}
    before = 2 * found.fsc.clamp(0, 0.9999) / (1 - found.fsc.clamp(0, 0.9999))
    squared = (found.gain**2 * before / (1 + before)).clamp(max=0.99)  # of the correlation with the truth
    ratio = torch.where(found.weight > 0, squared / (1 - squared) / before.clamp_min(1e-6), torch.ones_like(before))
    seen = (found.fsc[1:] >= _SEEN) & (found.fsc[1:] <= _KNOWN)
    return {
        "frequency": frequency.tolist(),
        **{name: value.cpu().tolist() for name, value in curves.items()},
        "ssnr_gain_by_shell": ratio.cpu().tolist(),
        "ssnr_gain": float(ratio[1:][seen].median()) if bool(seen.any()) else 1.0,
    }


def _losses(networks: Networks | None) -> dict[str, Any]:
    if networks is None:
        return {}
    return {"losses": [[round(float(value), 6) for value in losses] for losses in networks.losses]}


class FilePairs(Sequence[tuple[Tensor, Tensor]]):
    """Pairs of micrographs in files, read when they are asked for."""

    def __init__(self, paths: Sequence[tuple[Path, ...]], *, pixel_size: float | None, device: torch.device) -> None:
        self.paths, self.pixel_size, self.device = tuple(paths), pixel_size, device

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: Any) -> Any:
        first, second = (read_micrograph(path, pixel_size=self.pixel_size) for path in self.paths[index])
        return first.pixels.to(self.device), second.pixels.to(self.device)


def _pair_files(
    job: Job, inputs: DenoisingInputs, settings: DenoisingSettings, *, seed: int
) -> tuple[dict[str, Any], tuple[Failure, ...]]:
    pairs = FilePairs(inputs.paths, pixel_size=inputs.pixel_size, device=inputs.device)
    short = stems(inputs.names)
    results = [job.path(f"{RESULTS}/{stem}.json") for stem in short]
    failures = _checked(job, inputs, pairs)
    failed = {failure.name for failure in failures}
    kept = [index for index, name in enumerate(inputs.names) if name not in failed]
    if not kept:
        return {"count": 0}, failures
    networks = None
    if settings.method == "noise2noise" and not all(results[index].is_file() for index in kept):
        good = FilePairs([inputs.paths[index] for index in kept], pixel_size=inputs.pixel_size, device=inputs.device)
        networks = learn(
            good,
            settings,
            generator=generator(seed),
            progress=job.progress,
            checkpoint=job.checkpoint(f"networks{zlib.crc32(repr(kept).encode()):08x}"),
        )

    def work(number: int) -> None:
        index = kept[number]
        first = read_micrograph(inputs.paths[index][0], pixel_size=inputs.pixel_size)
        found = denoise_pair(pairs[index], settings, networks=networks, number=number)
        path = job.path(f"{MICROGRAPHS}/{short[index]}.mrc")
        write_array(found.array.cpu(), path, voxel_size=first.pixel_size, kind="images")
        _keep_picture(job, short[index], before=sum(pairs[index]) / 2, after=found.array, pixel_size=first.pixel_size)
        facts = curve_facts(found, pixel_size=first.pixel_size) | _losses(networks)
        atomic_write_text(results[index], json.dumps(facts) + "\n")

    work_through(job, [inputs.names[i] for i in kept], work, what="denoising", is_done=lambda n: results[kept[n]].is_file())
    _write_table(job, inputs, kept, short)
    gains = [json.loads(results[index].read_text(encoding="utf-8"))["ssnr_gain"] for index in kept]
    return {"count": len(kept), "ssnr_gain": sum(gains) / len(gains)}, failures


def _checked(job: Job, inputs: DenoisingInputs, pairs: FilePairs) -> tuple[Failure, ...]:
    def check(index: int) -> None:
        check_pair(*pairs[index], name=str(inputs.paths[index][0]))

    return work_through(job, inputs.names, check, what="looking at the pairs", is_done=lambda _: False)


def _micrograph_files(
    job: Job, inputs: DenoisingInputs, settings: DenoisingSettings
) -> tuple[dict[str, Any], tuple[Failure, ...]]:
    table, short = inputs.micrographs, stems(inputs.names)
    if table is None or table.defocus is None:
        raise InputError("the micrographs have no CTF", fix="estimate it first: cryowalk ctf")
    defocus = table.defocus
    outputs = [job.path(f"{MICROGRAPHS}/{stem}.mrc") for stem in short]

    def work(index: int) -> None:
        optics = table.optics_of(index)
        image = read_micrograph(inputs.paths[index][0], pixel_size=optics.pixel_size)
        image = Micrograph(pixels=image.pixels.to(inputs.device), pixel_size=image.pixel_size, name=image.name)
        one = defocus[torch.tensor([index])]
        found = deconvolve(
            image,
            optics,
            replace(one, **{name: getattr(one, name)[0] for name in ("major", "minor", "azimuth", "phase_shift")}),
            settings,
        )
        _keep_picture(job, short[index], before=image.pixels, after=found.pixels, pixel_size=found.pixel_size)
        write_array(found.pixels.cpu(), outputs[index], voxel_size=found.pixel_size, kind="images")

    failures = work_through(job, inputs.names, work, what="deconvolution", is_done=lambda index: outputs[index].is_file())
    failed = {failure.name for failure in failures}
    kept = [index for index, name in enumerate(inputs.names) if name not in failed]
    _write_table(job, inputs, kept, short)
    return {"count": len(kept)}, failures


def _keep_picture(job: Job, stem: str, *, before: Tensor, after: Tensor, pixel_size: float) -> None:
    """Write the middle of a micrograph before and after, for the report."""
    pieces = []
    for pixels in (before, after):
        top, left = (max(0, side // 2 - _PIECE // 2) for side in pixels.shape)
        pieces.append(pixels[top : top + _PIECE, left : left + _PIECE].cpu())
    write_array(torch.stack(pieces), job.path(f"{PICTURES}/{stem}.mrcs"), voxel_size=pixel_size, kind="images")


def _write_table(job: Job, inputs: DenoisingInputs, kept: Sequence[int], short: Sequence[str]) -> None:
    """The table of denoised micrographs, with what the table of the originals says."""
    if inputs.micrographs is None or not kept:
        return
    names = tuple((job.directory / MICROGRAPHS / f"{short[index]}.mrc").as_posix() for index in kept)
    table = inputs.micrographs[list(kept)]
    extra = {name: column for name, column in table.extra.items() if name not in (_ODD, _EVEN)}
    write_micrographs(replace(table, names=names, extra=extra), job.path(TABLE_NAME))
