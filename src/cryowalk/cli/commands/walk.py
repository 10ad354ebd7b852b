"""`cryowalk walk`: the main job."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cryowalk.cli.command import Command
from cryowalk.cli.context import Context
from cryowalk.workflow.settings import WalkSettings

if TYPE_CHECKING:
    from cryowalk.workflow.manifest import Manifest


@dataclass(frozen=True, slots=True, kw_only=True)
class WalkFiles:
    """Where the walk begins and ends; with none of the first three it begins at the procedural two-body specimen."""

    output: Annotated[Path, "directory of the walk"]
    structure: Annotated[Path | None, "begin at a structure: PDB or mmCIF"] = None
    map: Annotated[Path | None, "begin at a map: MRC"] = None
    particles: Annotated[Path | None, "begin at particles with poses: STAR"] = None


def run(files: WalkFiles, settings: WalkSettings, context: Context) -> None:
    """Nothing; scores are printed, everything else is in the output directory."""
    from cryowalk.view import write_report
    from cryowalk.workflow.job import REPORT_NAME, Execution
    from cryowalk.workflow.stages import scores_text
    from cryowalk.workflow.walk import WalkInputs, walk
    from cryowalk.workflow.walk_report import walk_report

    execution = Execution(threads=context.threads, device=context.device, arguments=context.arguments, progress=context.progress)
    inputs = WalkInputs(structure=files.structure, map=files.map, particles=files.particles)
    with context.job(files, settings) as job:
        walked = walk(job, inputs, settings, seed=context.seed, execution=execution)
        report = write_report(walk_report(walked, job.manifest.provenance()), job.path(REPORT_NAME))
    context.say(scores_text(walked.scores))
    context.say(f"report: {report}")


def draw_again(directory: Path, manifest: "Manifest") -> Path:
    """The report of a finished walk, drawn from what its stages wrote."""
    from cryowalk.view import write_report
    from cryowalk.workflow.job import REPORT_NAME
    from cryowalk.workflow.settings_files import settings_from
    from cryowalk.workflow.walk import WalkInputs, finished_walk
    from cryowalk.workflow.walk_report import walk_report

    inputs = WalkInputs(**{name: Path(facts["path"]) for name, facts in manifest.inputs.items()})
    chosen = {name: value for name, value in manifest.settings.items() if name in WalkSettings.__dataclass_fields__}
    walked = finished_walk(directory, inputs, settings_from(WalkSettings, chosen), seed=manifest.seed)
    path: Path = write_report(walk_report(walked, manifest.provenance()), directory / REPORT_NAME)
    return path


COMMAND = Command(
    name="walk",
    summary="Walk the whole path: structure, images, map, scores, report.",
    run=run,
    files=WalkFiles,
    settings=WalkSettings,
    report=draw_again,
    details="Stages are sub-directories of the output; a walk that was stopped or killed goes on when the same command is started again.",
)
