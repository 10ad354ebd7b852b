"""`cryowalk map-model`: how a map and an atomic model agree, whole and residue by residue."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cryowalk.cli.command import Command
from cryowalk.cli.context import Context
from cryowalk.validation.map_model_settings import MapModelSettings
from cryowalk.workflow.manifest import Manifest


@dataclass(frozen=True, slots=True, kw_only=True)
class MapModelFiles:
    """The map and the model, and where the results go."""

    volume: Annotated[Path, "the map, MRC", "--i"]
    output: Annotated[Path, "directory of the results"]
    model: Annotated[Path | None, "the atomic model, PDB or mmCIF, in the frame of the map's origin"] = None
    pixel_size: Annotated[float | None, "voxel size, Å, instead of that of the header"] = None


def run(files: MapModelFiles, settings: MapModelSettings, context: Context) -> None:
    """Nothing; the scores, the tables and the report are in the output directory."""
    from cryowalk.core.errors import InputError, naming
    from cryowalk.validation.hand import WITHOUT_MODEL
    from cryowalk.workflow.map_model_stages import map_model_files
    from cryowalk.workflow.stages import scores_text

    if files.model is None:
        raise InputError("there is no model to compare the map with", cause=WITHOUT_MODEL, fix="give one: --model FILE.pdb")
    with context.job(files, settings) as job:
        with naming(files.volume):
            scores = map_model_files(job, files.volume, files.model, settings, voxel_size=files.pixel_size)
        draw_again(job.directory, job.manifest)
    context.say(scores_text(scores))


def draw_again(directory: Path, manifest: Manifest) -> Path:
    """The path of the report of a finished job, drawn again."""
    from cryowalk.cli.map_model_reports import write_map_model_report

    return write_map_model_report(directory, manifest)


COMMAND = Command(
    name="map-model",
    summary="Compare a map with an atomic model.",
    run=run,
    files=MapModelFiles,
    settings=MapModelSettings,
    details="Writes scores.json, residues.csv (Q-score and correlation of each residue), map_model_fsc.csv and model.mrc. "
    "--hand either tries the mirror image, --calibrate yes fits the voxel size.",
    report=draw_again,
)
