"""Particles in HDF5: one file that holds the images and every column of their table, readable by whatever reads HDF5.

The layout, version 1:

- `/images` `[image, y, x]`, float32 or float16, one chunk an image, plain or packed (shuffle with gzip or lzf); attributes `pixel_size`, `axes`;
- `/particles`, one dataset a column, row i for image i, under RELION's labels; `/optics` the same for the optics groups;
- `/tables/000` … any other block of the STAR file;
- attributes of the root: `format`, `format_version`, `creator`, `conventions`, `pixel_size` (angstrom); of `/provenance`: where the data came from.

`hdf5_tables` says how texts are restored exactly, `docs/guide/hdf5.md` how to read the file elsewhere.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from cryowalk.core.errors import EnvironmentFault, InputError, Stopped
from cryowalk.core.execution import ImageSource, Progress, SilentProgress
from cryowalk.data.particles import ParticleSet
from cryowalk.io.hdf5_guard import is_hdf5
from cryowalk.io.hdf5_stacks import Hdf5StackWriter, StackContents
from cryowalk.io.relion import particle_blocks, read_particles
from cryowalk.io.stack_settings import StackStorage
from cryowalk.io.write_behind import WriteBehind
from cryowalk.io.zarr_stacks import ZARR_ENDINGS, ZarrStackWriter

BATCH_BYTES = 2**24


def read_hdf5_particles(
    path: str | Path, *, images: Literal["open", "ignore"] = "open", pixel_size: float | None = None, confine: Path | None = None
) -> ParticleSet:
    """The particles of an HDF5 stack, numbers in double precision, images opened but not read; image names are `000001@FILE`.

    Names that the images had before are in the column rlnImageOriginalName.

    Raises
    ------
    InputError
        If this is no HDF5 file, or it holds no table of particles, or a value in it is not usable.
    SafetyRefusal
        If it leads to other files or needs foreign code.
    """
    if not is_hdf5(path):
        raise InputError("this is no HDF5 file", file=path, fix="read_particles reads STAR files, too")
    return read_particles(path, images=images, pixel_size=pixel_size, confine=confine)


def write_hdf5_particles(
    particles: ParticleSet,
    path: str | Path,
    *,
    storage: StackStorage | None = None,
    provenance: Mapping[str, str] | None = None,
    progress: Progress | None = None,
) -> None:
    """Write particles with their images to one HDF5 file, or to a Zarr store where the name ends in .zarr, all or nothing.

    Raises
    ------
    InputError
        If there are no particles, they have no images, or a value cannot be written.
    """
    path = Path(path)
    if not len(particles) or particles.images is None:
        what = "there are no particles to write" if not len(particles) else "the particles have no images"
        raise InputError(what, file=path, fix="give particles whose stacks are there")
    contents = StackContents(tables=particle_blocks(particles, particles.image_names), provenance=provenance or {})
    size = particles.optics[0].pixel_size
    write_hdf5_stack(particles.images, path, pixel_size=size, contents=contents, storage=storage, progress=progress)


def write_hdf5_stack(
    images: ImageSource,
    path: str | Path,
    *,
    pixel_size: float,
    contents: StackContents | None = None,
    storage: StackStorage | None = None,
    progress: Progress | None = None,
) -> None:
    """Write images, with any tables beside them, to one HDF5 file (or to a Zarr store NAME.zarr), all or nothing; a stopped or killed call goes on where it was when it is made again.

    Raises
    ------
    InputError
        If a value is not finite, or there are no images.
    EnvironmentFault
        If the disk is full; what was written so far is kept for the next call.
    """
    progress = progress or SilentProgress()
    shape = (images.count, *images.image_shape)
    given: dict[str, Any] = {"shape": shape, "pixel_size": pixel_size, "storage": storage, "contents": contents}
    is_zarr = Path(path).suffix.lower() in ZARR_ENDINGS
    writer = ZarrStackWriter(path, **given) if is_zarr else Hdf5StackWriter(path, **given, resume_at="found")
    progress.start("writing images", images.count)
    if writer.count:
        progress.note(f"{writer.count} images are there from an earlier run")
        progress.advance(writer.count)
    try:
        with WriteBehind(writer) as sink:
            step = max(1, BATCH_BYTES // (4 * shape[1] * shape[2]))
            for start in range(writer.count, images.count, step):
                batch = range(start, min(start + step, images.count))
                sink.write(images.read(batch))
                progress.advance(len(batch))
        writer.close()
    except (Stopped, EnvironmentFault, KeyboardInterrupt):
        writer.leave()
        raise
    except BaseException:
        writer.abandon()
        raise
