"""What a STAR table is, by its blocks and columns: the one place where tables are told apart."""

from typing import Literal

from cryowalk.io.micrographs import holds_micrographs
from cryowalk.io.mtf import FREQUENCY, VALUE
from cryowalk.io.relion import ANGLES
from cryowalk.io.star import StarBlock, StarFile
from cryowalk.io.tilt_series_files import holds_tilt_series

StarKind = Literal[
    "truth", "particles", "micrographs", "motion", "tilt series", "mtf", "coordinates", "optimiser", "model", "sampling", "other"
]


def star_kind(star: StarFile) -> StarKind:
    """What the table is; "other" is any that is not known here."""
    columns = {label for block in star.blocks for label in block.columns}
    rules: tuple[tuple[StarKind, bool], ...] = (
        ("truth", "truth" in star),
        ("optimiser", "optimiser_general" in star),
        ("model", "model_general" in star),
        ("sampling", "sampling_general" in star),
        ("particles", any(_holds_particles(block) for block in star.blocks)),
        ("micrographs", holds_micrographs(star)),
        ("motion", "general" in star and "global_shift" in star),
        ("tilt series", holds_tilt_series(star)),
        ("mtf", columns >= {FREQUENCY, VALUE}),
        ("coordinates", columns >= {"rlnCoordinateX", "rlnCoordinateY"} and "rlnMicrographName" not in columns),
    )
    return next((kind for kind, is_met in rules if is_met), "other")


def _holds_particles(block: StarBlock) -> bool:
    """Whether a block is a table of particles with images or angles."""
    has_them = "rlnImageName" in block.columns or set(ANGLES[:2]) <= set(block.columns)
    return block.name in ("particles", "images", "") and has_them
