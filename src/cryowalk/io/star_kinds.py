"""What a STAR table is, by its blocks and columns: the one place where tables are told apart."""

from typing import Literal

from cryowalk.io.coordinate_tables import holds_coordinate_files, holds_coordinate_table
from cryowalk.io.coordinates import holds_cbox
from cryowalk.io.micrographs import holds_micrographs
from cryowalk.io.mtf import FREQUENCY, VALUE
from cryowalk.io.multibody import holds_bodies
from cryowalk.io.relion import ANGLES
from cryowalk.io.relion_pipeline import holds_job
from cryowalk.io.star import StarBlock, StarFile
from cryowalk.io.tilt_series_files import holds_tilt_series
from cryowalk.io.tomogram_particles import holds_optimisation_set, holds_tomogram_particles
from cryowalk.io.tomograms import holds_tomograms, holds_trajectories

StarKind = Literal[
    "truth", "particles", "micrographs", "motion", "tilt series", "mtf", "coordinates", "optimiser", "model", "sampling", "bodies", "pipeline",
    "job", "coordinate files", "coordinate table", "tomograms", "tomogram particles", "optimisation set", "trajectories",
    "particles of one micrograph", "summary of picks", "images of a tilt series", "other",
]  # fmt: skip

NOT_WHOLE = {
    "particles of one micrograph": "particles of one micrograph (RELION STAR), their optics in the table of all",
    "summary of picks": "summary of picks (RELION STAR)",
    "images of a tilt series": "images of one tilt series (RELION STAR), their optics in the table of all",
}  # tables that are told of and stay a `StarFile`


def star_kind(star: StarFile) -> StarKind:
    """What the table is; "other" is any that is not known here."""
    columns = {label for block in star.blocks for label in block.columns}
    rules: tuple[tuple[StarKind, bool], ...] = (
        ("truth", "truth" in star),
        ("optimiser", "optimiser_general" in star),
        ("model", "model_general" in star),
        ("sampling", "sampling_general" in star),
        ("pipeline", "pipeline_general" in star),
        ("job", holds_job(star)),
        ("bodies", holds_bodies(star)),
        ("optimisation set", holds_optimisation_set(star)),
        ("trajectories", holds_trajectories(star)),
        ("tomogram particles", holds_tomogram_particles(star)),
        ("particles of one micrograph", any(_is_part(block) for block in star.blocks) and "optics" not in star),
        ("particles", any(_holds_particles(block) for block in star.blocks)),
        ("summary of picks", columns >= {"rlnMicrographName", "rlnGroupNrParticles"} and "optics" not in star),
        ("images of a tilt series", "rlnTomoNominalStageTiltAngle" in columns),
        ("micrographs", holds_micrographs(star)),
        ("motion", "general" in star and "global_shift" in star),
        ("tomograms", holds_tomograms(star)),
        ("coordinate files", holds_coordinate_files(star)),
        ("tilt series", holds_tilt_series(star)),
        ("mtf", columns >= {FREQUENCY, VALUE}),
        ("coordinate table", holds_coordinate_table(star)),
        ("coordinates", holds_cbox(star)),
        ("coordinates", columns >= {"rlnCoordinateX", "rlnCoordinateY"} and "rlnMicrographName" not in columns),
    )
    return next((kind for kind, is_met in rules if is_met), "other")


def _is_part(block: StarBlock) -> bool:
    """Whether a block is what RELION's extraction keeps of one micrograph: its particles, their optics left to the table of all."""
    labels = set(block.columns)
    return (
        block.name == "images"
        and {"rlnImageName", "rlnOpticsGroup"} <= labels
        and not labels & {"rlnVoltage", "rlnDetectorPixelSize"}
    )


def _holds_particles(block: StarBlock) -> bool:
    """Whether a block is a table of particles with images or angles."""
    has_them = "rlnImageName" in block.columns or set(ANGLES[:2]) <= set(block.columns)
    return block.name in ("particles", "images", "") and has_them
