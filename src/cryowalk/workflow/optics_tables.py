"""Optics groups of a table in a file, parted by the acquisition or made one."""

from collections.abc import Sequence
from pathlib import Path

from cryowalk.core.errors import InputError
from cryowalk.io.micrographs import holds_micrographs, read_micrographs, write_micrographs
from cryowalk.io.relion import read_particles, write_particles
from cryowalk.io.star import read_star
from cryowalk.workflow.import_stages import acquisition_of_rows
from cryowalk.workflow.optics_groups import merge_optics, split_optics


def regroup_file(
    source: Path, output: Path, *, split: str | None, merged: Sequence[str] | None, folders: Sequence[Path] = ()
) -> tuple[int, int, str]:
    """The number of optics groups before and after, and what was done in words; the table is written.

    `split` is "shifts", "names" or a number of groups of shifts; otherwise the groups named in `merged` (all, where it is empty) are made one.

    Raises
    ------
    InputError
        If the table names no micrographs, or shifts, positions or groups cannot be told.
    """
    if holds_micrographs(read_star(source)):
        micrographs = read_micrographs(source)
        names, count = micrographs.movie_names or micrographs.names, len(micrographs.optics)
        acquisition = None if split is None else acquisition_of_rows(names, groups=split, folders=folders or (source.parent,))
        new = merge_optics(micrographs, named=merged or ()) if acquisition is None else split_optics(micrographs, acquisition)
        write_micrographs(new, output)
        return count, len(new.optics), "merged" if acquisition is None else acquisition.words
    particles = read_particles(source, images="ignore")
    names, count = particles.micrograph_names, len(particles.optics)
    if split is not None and not names:
        raise InputError("the particles name no micrographs", file=source, expected="a column rlnMicrographName")
    acquisition = None if split is None else acquisition_of_rows(names, groups=split, folders=folders or (source.parent,))
    parted = merge_optics(particles, named=merged or ()) if acquisition is None else split_optics(particles, acquisition)
    write_particles(parted, output)
    return count, len(parted.optics), "merged" if acquisition is None else acquisition.words
