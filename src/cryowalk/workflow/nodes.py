"""Which of a job's files RELION's pipeline calls nodes, and of what type: those that another job can take.

Source: the RELION documentation and pipelines written by RELION 3.1.3 (types are numbers) and 5 (types are labels).
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

_START = 65536  # bytes of a table that are looked at
_ITERATION = re.compile(r"run_it(\d+)_")
_BLOCK = re.compile(r"^data_(\S*)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class NodeType:
    """A type of node as RELION 4 and 5 call it, and its number in RELION 3.1; a number below 0 says that RELION 3.1 knows none."""

    label: str
    number: int


MOVIES = NodeType("MicrographMovieGroupMetadata.star.relion", 0)
MICROGRAPHS = NodeType("MicrographGroupMetadata.star.relion", 1)
COORDINATES = NodeType("MicrographCoordsGroup.star.relion", 2)
PARTICLES = NodeType("ParticleGroupMetadata.star.relion", 3)
MAP = NodeType("DensityMap.mrc.relion", 6)
MASK = NodeType("Mask3D.mrc.relion", 7)
OPTIMISER = NodeType("OptimiserData.star.relion", 9)
HALF_MAP = NodeType("DensityMap.mrc.relion.halfmap", 10)
FINAL_MAP = NodeType("DensityMap.mrc.relion.postprocess", 11)
LOCAL_RESOLUTION = NodeType("Image3D.mrc.relion.localres", 12)
LOG = NodeType("LogFile.pdf.relion", 13)
POST_PROCESSING = NodeType("ProcessData.star.relion.postprocess", 14)
TOMOGRAMS = NodeType("TomogramGroupMetadata.star.relion", -1)

# The first pattern that fits counts; tables are known by their blocks, not by their names.
_BY_NAME: tuple[tuple[str, NodeType | None], ...] = (
    ("*truth*", None),
    ("*locres.mrc", LOCAL_RESOLUTION),
    ("*locres_filtered.mrc", FINAL_MAP),
    ("postprocess.mrc", FINAL_MAP),
    ("postprocess_masked.mrc", FINAL_MAP),
    ("*half[12]*.mrc", HALF_MAP),
    ("*mask*.mrc", MASK),
    ("*.mrc", MAP),
    ("*.pdf", LOG),
)
_BY_BLOCK: tuple[tuple[str, NodeType | None], ...] = (
    ("optimiser_general", OPTIMISER),
    ("model_general", None),
    ("sampling_general", None),
    ("coordinate_files", COORDINATES),
    ("movies", MOVIES),
    ("micrographs", MICROGRAPHS),
    ("particles", PARTICLES),
    ("guinier", POST_PROCESSING),
    ("fsc", POST_PROCESSING),
    ("global", TOMOGRAMS),
)
_BY_COLUMN = (("_rlnImageName", PARTICLES), ("_rlnCoordinateX", COORDINATES), ("_rlnMicrographName", MICROGRAPHS))


def node_type(path: Path) -> NodeType | None:
    """The type of node that a file is, or None for one that no job of RELION's takes."""
    if path.suffix != ".star" or fnmatch(path.name, "*truth*"):
        return next((kind for pattern, kind in _BY_NAME if fnmatch(path.name, pattern)), None)
    try:
        with path.open("rb") as stream:
            start = stream.read(_START).decode("utf-8", "replace")
    except OSError:
        return None
    blocks = set(_BLOCK.findall(start))
    for name, kind in _BY_BLOCK:
        if name in blocks:
            return kind
    if not blocks & {"", "images"}:
        return None
    return next((kind for label, kind in _BY_COLUMN if label in start), None)  # a table of RELION 3.0


def output_nodes(directory: Path, names: Iterable[str]) -> list[tuple[str, NodeType]]:
    """The outputs that are nodes, by their names in the directory: no files of sub-directories, and of iterations the last one's alone."""
    outer = sorted(name for name in names if "/" not in name)
    last = max((int(found[1]) for name in outer if (found := _ITERATION.match(name))), default=0)
    kept = [name for name in outer if (found := _ITERATION.match(name)) is None or int(found[1]) == last]
    return [(name, kind) for name in kept if (kind := node_type(directory / name)) is not None]
