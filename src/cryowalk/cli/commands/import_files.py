"""`cryowalk import`: movies, micrographs or particles into a project."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cryowalk.cli.command import Command
from cryowalk.cli.context import Context
from cryowalk.workflow.import_settings import ImportSettings
from cryowalk.workflow.manifest import Manifest


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportFiles:
    """What is imported, what belongs to it, and where the table goes."""

    files: Annotated[
        tuple[Path, ...],
        "movies, micrographs or stacks (MRC, TIFF, EER), a pattern in quotes, a list of names (.txt), or a STAR file of particles",
        "--i",
    ]
    output: Annotated[Path, "directory of the table, such as Import/job001"]
    metadata: Annotated[
        tuple[Path, ...], "folders of EPU's XML or SerialEM's mdoc files, which tell beam shifts; the movies' own unless given"
    ] = ()
    gain: Annotated[Path | None, "gain reference of the camera, checked against the movies", "--gainref"] = None
    defects: Annotated[Path | None, "list or map of the camera's defects", "--defect-file"] = None
    mtf: Annotated[Path | None, "STAR file with the camera's MTF, named in the optics table"] = None


def run(files: ImportFiles, settings: ImportSettings, context: Context) -> None:
    """Nothing; the table is in the output directory."""
    from cryowalk.cli.import_reports import write_import_report
    from cryowalk.workflow.batch import raise_failures
    from cryowalk.workflow.import_stages import TABLES, Companions, files_named, import_files

    paths = files_named(files.files)
    companions = Companions(gain=files.gain, defects=files.defects, mtf=files.mtf, metadata=files.metadata)
    with context.job(_by_name(files), settings) as job:
        found = import_files(job, paths, settings, companions)
        write_import_report(job.directory, job.manifest)
        context.say(f"{files.output / TABLES[found.kind]}: {len(found.table)} {found.kind}; {found.acquisition.words}")
        raise_failures(found.failures, total=len(paths), output=files.output)


@dataclass(frozen=True, slots=True, kw_only=True)
class _NamedFiles:
    """The same, as a job keeps them: files by their names, since reading thousands of movies only to know them again would take hours."""

    files: tuple[str, ...]
    output: Path
    metadata: tuple[str, ...]
    gain: Path | None
    defects: Path | None
    mtf: Path | None


def _by_name(files: ImportFiles) -> _NamedFiles:
    return _NamedFiles(
        files=tuple(path.as_posix() for path in files.files),
        output=files.output,
        metadata=tuple(path.as_posix() for path in files.metadata),
        gain=files.gain,
        defects=files.defects,
        mtf=files.mtf,
    )


def draw_again(directory: Path, manifest: Manifest) -> Path:
    """The path of the report of a finished job, drawn again."""
    from cryowalk.cli.import_reports import write_import_report

    return write_import_report(directory, manifest)


COMMAND = Command(
    name="import",
    summary="Bring movies, micrographs or particles into a project.",
    run=run,
    files=ImportFiles,
    settings=ImportSettings,
    details="Writes movies.star, micrographs.star or particles.star with optics groups; files stay where they are. Groups follow beam shifts or positions in "
    "the template of holes.",
    report=draw_again,
)
