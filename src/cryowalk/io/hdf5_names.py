"""How tables name images that lie in an HDF5 stack: `000001@particles.h5`, as in any other stack."""

from dataclasses import replace
from pathlib import Path

from cryowalk.io.hdf5_tables import PARTICLES, role_of
from cryowalk.io.stacks import stack_reference
from cryowalk.io.star import StarBlock, StarFile

NAME, EARLIER_NAME = "rlnImageName", "rlnImageOriginalName"


def with_own_names(star: StarFile, path: Path) -> StarFile:
    """The tables of an HDF5 stack with each image named by its place in that file; the names of before are kept as rlnImageOriginalName."""
    reference = stack_reference(path, star=path)

    def named(block: StarBlock) -> StarBlock:
        if role_of(block) != PARTICLES:
            return block
        columns = dict(block.columns)
        before = columns.get(NAME)
        columns[NAME] = tuple(f"{row + 1:06d}@{reference}" for row in range(len(block)))
        if before is not None and before != columns[NAME] and EARLIER_NAME not in columns:
            columns[EARLIER_NAME] = before
        return replace(block, columns=columns)

    return StarFile(blocks=tuple(map(named, star.blocks)), path=star.path)
