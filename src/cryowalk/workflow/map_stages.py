"""Map algebra with files at both ends. Values are those of the file, not divided by the voxel size: what is added, cut or counted is what other programs see."""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from cryowalk.core.errors import InputError, UsageError
from cryowalk.core.execution import Progress, SilentProgress, batches
from cryowalk.data import Volume
from cryowalk.fourier.shells import shell_average, shell_frequency
from cryowalk.fourier.transform import to_fourier
from cryowalk.io.atomic import atomic_write_bytes, atomic_write_text
from cryowalk.io.maps import read_mask, write_mask
from cryowalk.io.mrc import MrcStackReader, write_array
from cryowalk.io.mrc_header import read_header
from cryowalk.io.mrc_writer import MrcStackWriter
from cryowalk.validation.map_algebra import MapStatistics, Operation, Segmentation, combined, map_statistics, segmented
from cryowalk.validation.map_grids import binned, binned_images
from cryowalk.validation.masks import soft_edged
from cryowalk.view.canvas import png_bytes
from cryowalk.view.map_pictures import mean_views, rotational_averages
from cryowalk.workflow.job import Job

BATCH_PIXELS = 2**24
LABELS_NAME, SEGMENTS_NAME = "labels.mrc", "segments.json"
SPECTRUM_NAME, SPECTRUM_PICTURE, VIEWS_PICTURE = "spectrum.csv", "spectrum.png", "views.png"
_SILENT = SilentProgress()


def refuse_overwriting(target: Path, sources: Sequence[Path]) -> None:
    """Nothing, if the output is none of the inputs.

    Raises
    ------
    UsageError
        If it is.
    """
    for source in sources:
        if target.exists() and target.samefile(source):
            raise UsageError("input and output are the same file", file=source, fix="give another --o")


def combine_files(
    sources: Sequence[Path], target: Path, operation: Operation, *, by: float | None = None, progress: Progress = _SILENT
) -> None:
    """Nothing; the maps, combined with each other and with a number, are written. A stack of images is combined with a number alone, in batches.

    Raises
    ------
    UsageError
        If there is nothing to combine with, or a stack is to be combined with another file.
    """
    refuse_overwriting(target, sources)
    target.parent.mkdir(parents=True, exist_ok=True)
    if not any(is_images(path) for path in sources):
        write_mask(combined([read_mask(path) for path in sources], operation, by=by), target)
        return
    if len(sources) > 1 or by is None:
        raise UsageError(
            "a stack of images can be combined with a number alone", file=sources[0], fix="give one stack and --by NUMBER"
        )
    number = by

    def changed(images: Tensor) -> Tensor:
        whole = Volume(voxels=images, voxel_size=1.0)
        result: Tensor = combined([whole], operation, by=number).voxels
        return result

    _through_images(sources[0], target, changed, scale=1.0, progress=progress)


def is_images(path: Path) -> bool:
    """Whether an MRC file holds images: a stack, or a single one."""
    header = read_header(path)
    return header.is_stack or header.size[2] == 1


def bin_file(source: Path, target: Path, factor: int, *, progress: Progress = _SILENT) -> str:
    """What was written, in words: the map, or each image of a stack, with pixels `factor` times as large, without aliasing."""
    refuse_overwriting(target, [source])
    target.parent.mkdir(parents=True, exist_ok=True)
    if is_images(source):
        count, shape = _through_images(
            source, target, lambda images: binned_images(images, factor), scale=float(factor), progress=progress
        )
        return f"{count} images of {shape[1]} × {shape[0]} pixels"
    result = binned(read_mask(source), factor)
    write_mask(result, target)
    return in_words(result)


def in_words(volume: Volume) -> str:
    """The grid of a map."""
    sides = " × ".join(map(str, reversed(volume.voxels.shape)))
    origin = ", ".join(f"{value:.4g}" for value in volume.origin)
    return f"{sides} voxels of {volume.voxel_size:.6g} Å, first voxel at ({origin}) Å"


def _through_images(
    source: Path, target: Path, change: Callable[[Tensor], Tensor], *, scale: float, progress: Progress
) -> tuple[int, tuple[int, int]]:
    """How many images of what shape were written, each changed; batches are read, changed and written in turn."""
    reader = MrcStackReader(source)
    height, width = reader.image_shape
    shape = tuple(change(torch.zeros(1, height, width)).shape[-2:])
    size = (reader.pixel_size or 0.0) * scale
    progress.start("images", reader.count)
    writer = MrcStackWriter(target, image_shape=(shape[0], shape[1]), pixel_size=size)
    try:
        for span in batches(reader.count, max(1, BATCH_PIXELS // (height * width))):
            writer.write(change(reader.read(span)))
            progress.advance(len(span))
        writer.close()
    except BaseException:
        writer.abandon()
        raise
    return reader.count, (shape[0], shape[1])


def statistics_of(path: Path, *, mask: Path | None = None) -> MapStatistics:
    """The statistics of the values in a file: a map, a micrograph, or all images of a stack.

    Raises
    ------
    InputError
        If the mask has another size.
    """
    values = MrcStackReader(path).read(range(read_header(path).size[2])) if is_images(path) else read_mask(path).voxels
    inside = None if mask is None else read_mask(mask).voxels
    if inside is not None and inside.shape != values.shape:
        raise InputError(f"the mask has not the size of {path.name}", file=mask, expected=f"{tuple(values.shape)} voxels")
    return map_statistics(values, inside=inside)


def segment_files(
    job: Job, source: Path, *, level: float | None, separation: float, smallest: int, soft_edge: float, most: int
) -> Segmentation:
    """The parts of a map, written as masks segment_001.mrc … from the largest on, as labels.mrc, and counted in segments.json."""
    volume = read_mask(source)
    found = segmented(volume, level=level, separation=separation, smallest=smallest)
    write_array(
        found.labels.to(torch.int16),
        job.path(LABELS_NAME),
        voxel_size=volume.voxel_size,
        origin=volume.origin,
        sample_format="int16",
    )
    for number in range(1, min(most, len(found.voxels)) + 1):
        mask = soft_edged(found.labels == number, extend=0, soft_edge=soft_edge)
        write_mask(replace(volume, voxels=mask), job.path(f"segment_{number:03d}.mrc"))
    cubed = volume.voxel_size**3
    facts = {
        "level": found.level,
        "segments": len(found.voxels),
        "written_as_masks": min(most, len(found.voxels)),
        "volumes_cubic_angstrom": [round(count * cubed, 2) for count in found.voxels],
        "voxels": list(found.voxels),
    }
    atomic_write_text(job.path(SEGMENTS_NAME), json.dumps(facts, indent=1) + "\n")
    return found


def spectrum_of(path: Path, *, pixel_size: float | None = None) -> tuple[Tensor, Tensor]:
    """The mean power |F|² of each shell of a map, or of each ring of images (averaged over a stack), and the shells' frequencies, 1/Å.

    The transform is orthonormal, so that the power of white noise is its variance.

    Raises
    ------
    InputError
        If the file does not say its pixel size, and none is given.
    """
    if not is_images(path):
        volume = read_mask(path, voxel_size=pixel_size)
        return _rings(volume.voxels.double()[None], 3)[0], _frequency(volume.voxels.shape, volume.voxel_size)
    reader = MrcStackReader(path)
    size = pixel_size or reader.pixel_size
    if not size:
        raise InputError("the header does not give the pixel size", file=path, fix="give --pixel-size (Å)")
    height, width = reader.image_shape
    total = torch.zeros(min(height, width) // 2 + 1, dtype=torch.float64)
    for span in batches(reader.count, max(1, BATCH_PIXELS // (height * width))):
        total += _rings(reader.read(span).double(), 2).sum(dim=0)
    return total / reader.count, _frequency((height, width), size)


def _rings(arrays: Tensor, dimensions: int) -> Tensor:
    size = tuple(arrays.shape[-dimensions:])
    return shell_average(to_fourier(arrays, dimensions=dimensions).abs().square(), size=size)  # type: ignore[arg-type]  # two or three sides


def _frequency(shape: Sequence[int], pixel_size: float) -> Tensor:
    return shell_frequency(min(shape), pixel_size=pixel_size, dtype=torch.float64)


def spectrum_files(job: Job, sources: Sequence[Path], *, pixel_size: float | None = None) -> dict[str, Tensor]:
    """The spectra by file, written as spectrum.csv with a resolution axis, and drawn as spectrum.png.

    Raises
    ------
    InputError
        If the files differ in box or pixel size.
    """
    curves: dict[str, Tensor] = {}
    frequency: Tensor | None = None
    for path in sources:
        power, axis = spectrum_of(path, pixel_size=pixel_size)
        if frequency is not None and (len(axis) != len(frequency) or not torch.allclose(axis, frequency, rtol=1e-3)):
            raise InputError(
                "the files differ in box or pixel size: their rings are not the same", file=path, fix="give them one at a time"
            )
        frequency = axis
        curves[path.stem if path.stem not in curves else path.as_posix()] = power
    if frequency is None:
        raise UsageError("there is nothing to transform")
    lines = [",".join(["frequency_per_angstrom", "resolution_angstrom", *(f"power_{name}" for name in curves)])]
    for row, k in enumerate(frequency.tolist()):
        values = ",".join(f"{power[row]:.8g}" for power in curves.values())
        lines.append(f"{k:.8g},{1 / k if k else float('inf'):.6g},{values}")
    atomic_write_text(job.path(SPECTRUM_NAME), "\n".join(lines) + "\n")
    atomic_write_bytes(job.path(SPECTRUM_PICTURE), png_bytes(rotational_averages(curves, frequency=frequency)))
    return curves


def views_files(job: Job, sources: Sequence[Path]) -> None:
    """Nothing; the means of the maps along three axes with their histograms are drawn as views.png."""
    atomic_write_bytes(job.path(VIEWS_PICTURE), png_bytes(mean_views(read_by_name(sources))))


def read_by_name(sources: Sequence[Path]) -> dict[str, Volume]:
    """Maps by the stem of their file's name, or by the whole path where stems are the same; values as in the files."""
    stems = [path.stem for path in sources]
    return {path.stem if stems.count(path.stem) == 1 else path.as_posix(): read_mask(path) for path in sources}
