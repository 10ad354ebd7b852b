"""`cryowalk score`: how far a stage's result is from the truth."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cryowalk.cli.command import Command
from cryowalk.cli.context import Context
from cryowalk.core.errors import InputError

if TYPE_CHECKING:
    from cryowalk.data import HalfMaps, ParticleSet, Pose, Truth, Volume
    from cryowalk.data.optics import Defocus

Stage = Literal["map", "reconstruct", "poses", "ctf", "particles", "picks", "defocus", "motion"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreFiles:
    """The result, and the truth."""

    stage: Annotated[
        Stage,
        "what is scored: a map (or reconstruct), poses, ctf, or all that particles carry; picks; the defocus of micrographs; motion",
        "STAGE",
    ]
    result: Annotated[
        Path,
        "the result: a map, a half map, the directory of a reconstruction, a STAR file of particles or micrographs, a .cs file of particles, "
        "picks (STAR, BOX, CSV), or "
        "a motion STAR file or a directory of them",
        "--i",
    ]
    truth: Annotated[Path, "the truth: truth.star, a map, a STAR file of particles or micrographs, places, or motion"]
    diameter: Annotated[
        float | None, "diameter of the particle, Å: a pick within half of it is a hit", ("min", 20), ("max", 5000)
    ] = None
    pixel_size: Annotated[float | None, "pixel size of the micrographs of picks, where the truth does not tell it, Å"] = None
    mask: Annotated[Path | None, "mask for maps", "--in_mask"] = None
    align: Annotated[bool, "turn and move a map onto the truth before"] = False
    json: Annotated[bool, "print JSON"] = False


def run(files: ScoreFiles, settings: None, context: Context) -> None:  # noqa: ARG001  every command has the same three
    """Nothing; the scores are printed."""
    from cryowalk.cli.commands.fsc import read_mask
    from cryowalk.validation import score
    from cryowalk.workflow.stages import scores_text

    if files.result.is_file():
        context.verify(files.result, files.truth, files.mask)
    if files.stage in ("picks", "defocus", "motion"):
        found = micrograph_scores(files)
        context.emit(found, words=lambda: scores_text(found), as_json=files.json)
        return
    result, truth = read_result(files.stage, files.result), read_the_truth(files.truth)
    result, truth = beside_the_truth(files, result, truth)
    mask = None if files.mask is None else read_mask(files.mask)
    scores = score(result, truth, mask=mask, alignment="rigid" if files.align else "none")
    context.emit(scores, words=lambda: scores_text(scores), as_json=files.json)


def micrograph_scores(files: ScoreFiles) -> dict[str, float]:
    """The scores of what was found in micrographs and movies.

    Raises
    ------
    UsageError
        If the particle's diameter is missing.
    """
    from cryowalk.core.errors import UsageError
    from cryowalk.workflow.scoring import micrograph_defocus_scores, motion_scores, pick_scores

    if files.stage == "defocus":
        return micrograph_defocus_scores(files.result, files.truth)
    if files.stage == "motion":
        return motion_scores(files.result, files.truth)
    if files.diameter is None:
        raise UsageError("picks are scored with the particle's --diameter (Å)")
    return pick_scores(files.result, files.truth, diameter=files.diameter, pixel_size=files.pixel_size)


def read_result(stage: str, path: Path) -> "HalfMaps | Volume | ParticleSet":
    """The result of a stage: a map, half maps, or particles of RELION or cryoSPARC.

    Raises
    ------
    InputError
        If the file does not hold what the stage gives.
    """
    from cryowalk.io import read_half_maps, read_map
    from cryowalk.workflow.stages import read_half_map_files
    from cryowalk.workflow.third_party import read_any_particles

    if stage in ("map", "reconstruct"):
        if path.is_dir():
            return read_half_map_files(path)
        other = path.with_name(path.name.replace("half1", "half2"))
        return read_half_maps(path, other) if other != path and other.is_file() else read_map(path)
    return read_any_particles(path)


def beside_the_truth(
    files: ScoreFiles, result: "HalfMaps | Volume | ParticleSet", truth: "Truth | ParticleSet"
) -> "tuple[HalfMaps | Volume | ParticleSet | Pose | Defocus, Truth | ParticleSet]":
    """What the stage scores of the result, and the truth of the same images in the same order.

    Raises
    ------
    InputError
        If the particles have no such part, or name images that the truth does not know.
    """
    from cryowalk.data import ParticleSet, Truth
    from cryowalk.workflow.third_party import truth_of

    if not isinstance(result, ParticleSet):
        return result, truth
    if isinstance(truth, Truth):
        truth = truth_of(result, truth, path=files.result)
    if files.stage == "particles":
        return result, truth
    part = result.pose if files.stage == "poses" else result.defocus
    if part is None:
        raise InputError(f"the particles have no {'poses' if files.stage == 'poses' else 'defocus values'}", file=files.result)
    return part, truth


def read_the_truth(path: Path) -> "Truth | ParticleSet":
    """The truth in a file: a truth.star, a map, or particles that are taken as true.

    Raises
    ------
    InputError
        If the file holds none of these.
    """
    from cryowalk.data import ParticleSet, Truth, Volume
    from cryowalk.io import read

    thing = read(path)
    if isinstance(thing, Volume):
        return Truth(volume=thing)
    if isinstance(thing, (Truth, ParticleSet)):
        return thing
    raise InputError("this holds no truth", file=path, expected="truth.star, a map, or a STAR file of particles")


COMMAND = Command(name="score", summary="Score a stage's result against the truth.", run=run, files=ScoreFiles)
