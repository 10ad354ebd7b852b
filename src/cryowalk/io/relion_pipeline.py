"""RELION's record of a project (`default_pipeline.star`) and the options of a job (`job.star`), of RELION 3 to 5."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from cryowalk.core.errors import InputError
from cryowalk.io.star import StarBlock, StarFile, read_star, write_star
from cryowalk.io.star_numbers import column, integers
from cryowalk.io.text_rows import whole

STATES = ("Running", "Scheduled", "Succeeded", "Failed", "Aborted")  # as RELION 3 numbers them
VERSION = "# version 50001"


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineJob:
    """One job: its folder with the slash at its end, its alias or "", its type and its state, in words where RELION 3 has numbers."""

    name: str
    alias: str
    kind: str
    state: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RelionPipeline:
    """The jobs of a project, the kind of each file they made or took, and which job takes (`inputs`) and makes (`outputs`) which file."""

    next_number: int
    jobs: tuple[PipelineJob, ...] = ()
    nodes: Mapping[str, str] = field(default_factory=dict)
    inputs: tuple[tuple[str, str], ...] = ()  # (file, job)
    outputs: tuple[tuple[str, str], ...] = ()  # (job, file)
    path: Path | None = None

    def __len__(self) -> int:
        return len(self.jobs)

    def states(self) -> dict[str, int]:
        """How many jobs are in each state."""
        return dict(Counter(job.state for job in self.jobs))


@dataclass(frozen=True, slots=True, kw_only=True)
class RelionJob:
    """A job as RELION's window keeps it: its type (`relion.autopick.log`, or RELION 3's number), and the options by name as text."""

    kind: str
    is_continued: bool = False
    is_tomography: bool = False
    options: Mapping[str, str] = field(default_factory=dict)


def read_pipeline(path: str | Path) -> RelionPipeline:
    """The record of a project.

    Raises
    ------
    InputError
        If the file is no such record, or a table of it lacks a column.
    """
    path = Path(path)
    star = read_star(path)
    if "pipeline_general" not in star:
        raise InputError("this is no record of a project", file=path, expected="data_pipeline_general")
    general = star["pipeline_general"].values
    counter = general.get("rlnPipeLineJobCounter", "1")
    nodes = _table(star, "pipeline_nodes")
    types = _labels(nodes, path, ("rlnPipeLineNodeTypeLabel", "rlnPipeLineNodeType"))
    return RelionPipeline(
        next_number=whole(counter, what="rlnPipeLineJobCounter", path=path, line=None, low=0),
        jobs=_jobs(_table(star, "pipeline_processes"), path),
        nodes=dict(zip(column(nodes, "rlnPipeLineNodeName", path=path), types, strict=True)) if nodes is not None else {},
        inputs=_edges(_table(star, "pipeline_input_edges"), path, ("rlnPipeLineEdgeFromNode", "rlnPipeLineEdgeProcess")),
        outputs=_edges(_table(star, "pipeline_output_edges"), path, ("rlnPipeLineEdgeProcess", "rlnPipeLineEdgeToNode")),
        path=path,
    )


def _table(star: StarFile, name: str) -> StarBlock | None:
    """A table of the record, or None where it is absent or empty."""
    found = [block for block in star.blocks if block.name == name and len(block)]
    return found[0] if found else None


def _labels(block: StarBlock | None, path: Path, labels: tuple[str, str]) -> tuple[str, ...]:
    """The column of RELION 4 and 5, or else that of RELION 3."""
    if block is None:
        return ()
    return tuple(column(block, labels[0] if labels[0] in block.columns else labels[1], path=path))


def _jobs(block: StarBlock | None, path: Path) -> tuple[PipelineJob, ...]:
    """The jobs."""
    if block is None:
        return ()
    kinds = _labels(block, path, ("rlnPipeLineProcessTypeLabel", "rlnPipeLineProcessType"))
    if "rlnPipeLineProcessStatusLabel" in block.columns:
        states = tuple(block.columns["rlnPipeLineProcessStatusLabel"])
    else:
        numbered = integers(block, "rlnPipeLineProcessStatus", path=path, low=0, high=len(STATES) - 1)
        states = tuple(STATES[number] for number in numbered.tolist())
    names = column(block, "rlnPipeLineProcessName", path=path)
    aliases = block.columns.get("rlnPipeLineProcessAlias", ("None",) * len(block))
    return tuple(
        PipelineJob(name=name, alias="" if alias == "None" else alias, kind=kind, state=state)
        for name, alias, kind, state in zip(names, aliases, kinds, states, strict=True)
    )


def _edges(block: StarBlock | None, path: Path, labels: tuple[str, str]) -> tuple[tuple[str, str], ...]:
    """The pairs of a table of edges."""
    return () if block is None else tuple(zip(*(column(block, label, path=path) for label in labels), strict=True))


def holds_job(star: StarFile) -> bool:
    """Whether a STAR file holds the options of a job."""
    return "job" in star and "joboptions_values" in star


def read_job(path: str | Path) -> RelionJob:
    """The options of a job.

    Raises
    ------
    InputError
        If the file is no `job.star`, or lacks what one has.
    """
    path = Path(path)
    star = read_star(path)
    if not holds_job(star):
        raise InputError("this is no job of RELION", file=path, expected="data_job and data_joboptions_values")
    values, options = star["job"].values, star["joboptions_values"]
    kind = values.get("rlnJobTypeLabel", values.get("rlnJobType"))
    if kind is None:
        raise InputError("data_job does not tell the type of the job", file=path, expected="rlnJobTypeLabel")

    def is_set(label: str) -> bool:
        return bool(whole(values.get(label, "0"), what=label, path=path, line=None, low=0, high=1))

    pairs = zip(*(column(options, f"rlnJobOption{part}", path=path) for part in ("Variable", "Value")), strict=True)
    return RelionJob(
        kind=kind,
        is_continued=is_set("rlnJobIsContinue"),
        is_tomography=is_set("rlnJobIsTomo"),
        options=dict(pairs) if len(options) else {},
    )


def write_job(job: RelionJob, path: str | Path) -> None:
    """Write a `job.star` that RELION 4 and 5 (a type in words) or 3 (a number) load, all or nothing."""
    is_old = job.kind.isdigit()
    values = {"rlnJobType" if is_old else "rlnJobTypeLabel": job.kind, "rlnJobIsContinue": str(int(job.is_continued))}
    if not is_old:
        values["rlnJobIsTomo"] = str(int(job.is_tomography))
    columns = {"rlnJobOptionVariable": tuple(job.options), "rlnJobOptionValue": tuple(job.options.values())}
    version = "# version 30001" if is_old else VERSION
    write_star(
        [
            StarBlock(name="job", values=values, comments=(version,)),
            StarBlock(name="joboptions_values", columns=columns, comments=(version,)),
        ],
        path,
    )
