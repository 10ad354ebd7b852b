"""RELION's record of a project, default_pipeline.star: our jobs stand in it as External jobs, with their inputs, outputs and endings.

Tables keep the style in which they were found: numbers (RELION 3.1) or labels (RELION 4 and 5). The file is changed under RELION's own lock.

Source: the RELION documentation, "Using RELION"; pipelines that RELION 3.1.3 and 5 wrote.
"""

import re
import shlex
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cryowalk.core.errors import InputError, StateConflict
from cryowalk.workflow.external import Ending, write_marker, write_output_nodes
from cryowalk.workflow.manifest import JOB_NAME, Manifest, read_manifest
from cryowalk.workflow.nodes import NodeType, node_type, output_nodes

if TYPE_CHECKING:
    from cryowalk.io.star import StarBlock, StarFile

PIPELINE_NAME = "default_pipeline.star"
LOCK_FOLDER, LOCK_FILE = ".relion_lock", "lock_default_pipeline.star"
CHANGED_NAME = ".pipeline_has_changed"  # RELION's windows look at its time
JOB_STAR = "job.star"
LOCK_PATIENCE = 20.0  # s
_OURS = "# written by cryowalk"  # in the job.star of a job that was not begun by RELION
_JOB_FOLDER = re.compile(r"job(\d{3,})$")
_GENERAL, _PROCESSES, _NODES, _INPUTS, _OUTPUTS = (
    f"pipeline_{name}" for name in ("general", "processes", "nodes", "input_edges", "output_edges")
)
_COUNTER = "rlnPipeLineJobCounter"
_EXTERNAL = ("99", "relion.external")
_STATES = {"RUNNING": ("0", "Running"), "SUCCESS": ("2", "Succeeded"), "FAILURE": ("3", "Failed"), "ABORTED": ("4", "Aborted")}
_ENDINGS: dict[str, Ending] = {"done": "SUCCESS", "failed": "FAILURE", "stopped": "ABORTED"}


def project_of(directory: Path) -> Path | None:
    """The RELION project in which a directory is a job, such as Refine3D/job012, or None for any other directory."""
    place = directory.resolve()
    root = place.parent.parent
    if _JOB_FOLDER.match(place.name) is None or _JOB_FOLDER.match(root.name) is not None:
        return None
    return root if (root / PIPELINE_NAME).is_file() else None


def is_begun_by_relion(directory: Path) -> bool:
    """Whether RELION, which then keeps the record itself, made this job."""
    try:
        text = (directory / JOB_STAR).read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return False
    return _OURS not in text


def enrol(directory: Path, manifest: Manifest) -> bool:
    """Whether the job is one of ours in a RELION project; it then stands there as running.

    Raises
    ------
    StateConflict
        If RELION holds its record for long.
    InputError
        If the record is damaged.
    """
    root = project_of(directory)
    if root is None or is_begun_by_relion(directory):
        return False
    with changed_pipeline(root) as pipeline:
        pipeline.put(_process_name(root, directory), "RUNNING")
        _write_job_star(directory, manifest, labels=pipeline.labels)
    return True


def conclude(directory: Path, manifest: Manifest, ending: Ending) -> bool:
    """Whether the job is one of ours in a RELION project, whose record then says how it ended, what it took and what it made.

    Raises
    ------
    StateConflict, InputError
        As `enrol`.
    """
    root = project_of(directory)
    if root is None or is_begun_by_relion(directory):
        return False
    if ending == "SUCCESS":
        write_output_nodes(directory, list(manifest.outputs), named=directory.resolve().relative_to(root))
    write_marker(directory, ending)
    with changed_pipeline(root) as pipeline:
        _record(pipeline, directory, manifest, ending)
    return True


def record_project(root: Path) -> int:
    """How many jobs of ours the project holds; all of them stand in RELION's record, which is begun where there is none.

    Raises
    ------
    StateConflict, InputError
        As `enrol`.
    """
    found = [each.parent for each in sorted(root.glob(f"*/job*/{JOB_NAME}")) if _JOB_FOLDER.match(each.parent.name)]
    with changed_pipeline(root, begin=True) as pipeline:
        count = 0
        for directory in found:
            manifest = read_manifest(directory)
            if manifest is None or is_begun_by_relion(directory):
                continue
            _write_job_star(directory, manifest, labels=pipeline.labels)
            _record(pipeline, directory, manifest, _ENDINGS.get(manifest.state, "RUNNING"))
            count += 1
    return count


def _record(pipeline: "Pipeline", directory: Path, manifest: Manifest, ending: str) -> None:
    root = pipeline.root
    name = _process_name(root, directory)
    pipeline.put(name, ending)
    for facts in manifest.inputs.values():
        path = Path(facts["path"]).resolve()
        kind = node_type(path)
        if kind is not None and path.is_relative_to(root):
            pipeline.add_input(path.relative_to(root).as_posix(), kind, name)
    for output, kind in output_nodes(directory, manifest.outputs):
        pipeline.add_output(name + output, kind)


def _process_name(root: Path, directory: Path) -> str:
    """What RELION calls the job: its place in the project, with a slash at the end."""
    return directory.resolve().relative_to(root).as_posix() + "/"


@dataclass(slots=True, kw_only=True)
class Pipeline:
    """The tables of a pipeline, as rows of text; what is not known here stays as it is."""

    root: Path
    tables: dict[str, "StarBlock"] = field(default_factory=dict)
    labels: bool = False

    def put(self, process: str, state: str) -> None:
        """A job stands in the table with this state, and RELION's next job has a higher number."""
        kind, status = (f"rlnPipeLineProcess{word}{'Label' if self.labels else ''}" for word in ("Type", "Status"))
        rows = self.rows(_PROCESSES)
        row = next((row for row in rows if row["rlnPipeLineProcessName"] == process), None)
        if row is None:
            row = {"rlnPipeLineProcessName": process, "rlnPipeLineProcessAlias": "None", kind: _EXTERNAL[self.labels]}
            rows.append(row)
        row[status] = _STATES[state][self.labels]
        self.store(_PROCESSES, rows)
        number = _JOB_FOLDER.search(process.rstrip("/"))
        if number is not None:
            counter = max(int(self.tables[_GENERAL].values.get(_COUNTER, "1")), int(number[1]) + 1)
            self._set_counter(counter)

    def add_input(self, node: str, kind: NodeType, process: str) -> None:
        """An input of a job."""
        if self._add_node(node, kind):
            self._add_row(_INPUTS, {"rlnPipeLineEdgeFromNode": node, "rlnPipeLineEdgeProcess": process})

    def add_output(self, node: str, kind: NodeType) -> None:
        """An output of the job that its name begins with."""
        if self._add_node(node, kind):
            process = "/".join(node.split("/")[:2]) + "/"
            self._add_row(_OUTPUTS, {"rlnPipeLineEdgeProcess": process, "rlnPipeLineEdgeToNode": node})
            if not self.labels:  # where the file dialogues of RELION 3.1 look
                shown = self.root / ".Nodes" / str(kind.number) / node
                shown.parent.mkdir(parents=True, exist_ok=True)
                shown.touch()

    def _add_node(self, node: str, kind: NodeType) -> bool:
        if not self.labels and kind.number < 0:
            return False
        if any(row["rlnPipeLineNodeName"] == node for row in self.rows(_NODES)):
            return True
        row = {"rlnPipeLineNodeName": node}
        row |= {"rlnPipeLineNodeTypeLabel": kind.label} if self.labels else {"rlnPipeLineNodeType": str(kind.number)}
        if self.labels and "rlnPipeLineNodeTypeLabelDepth" in self.tables[_NODES].columns:
            row["rlnPipeLineNodeTypeLabelDepth"] = "1"
        self._add_row(_NODES, row)
        return True

    def _add_row(self, table: str, row: dict[str, str]) -> None:
        rows = self.rows(table)
        if row not in rows:
            self.store(table, [*rows, row])

    def rows(self, table: str) -> list[dict[str, str]]:
        """The rows of a table."""
        columns = self.tables[table].columns
        return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]

    def store(self, table: str, rows: Sequence[dict[str, str]]) -> None:
        """Replace the rows of a table."""
        labels = list(self.tables[table].columns) or list(rows[0])
        columns = {label: tuple(row.get(label, "None") for row in rows) for label in labels}
        self.tables[table] = replace(self.tables[table], columns=columns, row_lines=())

    def _set_counter(self, counter: int) -> None:
        general = self.tables[_GENERAL]
        self.tables[_GENERAL] = replace(general, values={**general.values, _COUNTER: str(counter)})


@contextmanager
def changed_pipeline(root: Path, *, begin: bool = False) -> Iterator[Pipeline]:
    """The project's pipeline, held by RELION's lock, written back all or nothing when the block ends well; `begin` makes one where there is none.

    Raises
    ------
    StateConflict
        If RELION, or somebody who was killed, holds the lock for longer than 20 s.
    InputError
        If the file is damaged.
    """
    from cryowalk.io.star import StarFile, read_star, write_star

    path = root / PIPELINE_NAME
    with relion_lock(root):
        star = read_star(path) if path.exists() or not begin else StarFile(blocks=())
        pipeline = _pipeline(star, root)
        yield pipeline
        known = {block.name for block in star.blocks}
        foreign = [block for block in star.blocks if block.name not in pipeline.tables]
        kept = [block for name, block in pipeline.tables.items() if len(block) or block.values or name in known & {_GENERAL}]
        write_star([*kept, *foreign], path)
        (root / CHANGED_NAME).touch()


def _pipeline(star: "StarFile", root: Path) -> Pipeline:
    from cryowalk.io.star import StarBlock

    blocks = {block.name: block for block in star.blocks}
    if star.blocks and _COUNTER not in blocks.get(_GENERAL, StarBlock()).values:
        raise InputError(
            "this is no pipeline of RELION",
            file=star.path,
            expected=f"a block data_{_GENERAL} with {_COUNTER}",
            cause="it is damaged",
        )
    comments = blocks[_GENERAL].comments if _GENERAL in blocks else ("# version 30001",)
    columns = {label for block in star.blocks for label in block.columns}
    is_later = any("50001" in comment or "40001" in comment for comment in comments)
    labels = "rlnPipeLineProcessTypeLabel" in columns or ("rlnPipeLineProcessType" not in columns and is_later)
    tables = {
        name: replace(blocks.get(name, StarBlock(name=name)), comments=comments)
        for name in (_GENERAL, _PROCESSES, _NODES, _INPUTS, _OUTPUTS)
    }
    pipeline = Pipeline(root=root, tables=tables, labels=labels)
    if not star.blocks:
        pipeline.tables[_GENERAL] = StarBlock(name=_GENERAL, values={_COUNTER: "1"}, comments=comments)
    return pipeline


@contextmanager
def relion_lock(root: Path, *, patience: float = LOCK_PATIENCE) -> Iterator[None]:
    """RELION's own lock on the project's record: a folder that only one process can make.

    Raises
    ------
    StateConflict
        If it is held for longer than `patience` (s).
    """
    folder = root / LOCK_FOLDER
    end = time.monotonic() + patience
    while True:
        try:
            folder.mkdir(mode=0o700)
            break
        except FileExistsError:
            if time.monotonic() > end:
                raise StateConflict(
                    f"RELION's record of the project has been locked for {patience:g} s",
                    file=folder,
                    cause="RELION is changing it, or was killed while it did",
                    fix=f"if no RELION runs here, remove that folder; then: cryowalk pipeline {root}",
                ) from None
            time.sleep(0.1)
    try:
        (folder / LOCK_FILE).write_text("lock: cryowalk\n", encoding="utf-8")
        yield
    finally:
        (folder / LOCK_FILE).unlink(missing_ok=True)
        with suppress(OSError):
            folder.rmdir()


def _write_job_star(directory: Path, manifest: Manifest, *, labels: bool) -> None:
    """Write the job.star that RELION's window shows; `Continue!` there runs the same command again."""
    from cryowalk.io.star import StarBlock, write_star

    kind: dict[str, Any] = {"rlnJobTypeLabel": "relion.external"} if labels else {"rlnJobType": "99"}
    values = {**kind, "rlnJobIsContinue": "0", **({"rlnJobIsTomo": "0"} if labels else {})}
    options = {"do_queue": "No", "fn_exe": _executable(manifest), "nr_threads": str(manifest.threads)}
    version = "# version 50001" if labels else "# version 30001"
    blocks = [
        StarBlock(name="job", values=values, comments=(version, _OURS)),
        StarBlock(
            name="joboptions_values",
            columns={"rlnJobOptionVariable": tuple(options), "rlnJobOptionValue": tuple(options.values())},
            comments=(version,),
        ),
    ]
    write_star(blocks, directory / JOB_STAR)


def _executable(manifest: Manifest) -> str:
    """The command with all its words but those that RELION adds: where to, and with how many threads."""
    kept: list[str] = []
    words = iter(manifest.arguments or manifest.command.split())
    for word in words:
        name, equals, _ = word.partition("=")
        if name in ("--o", "--output", "--j", "--threads"):
            if not equals:
                next(words, None)
            continue
        kept.append(word)
    return shlex.join([program(), *kept])


def program() -> str:
    """The program that runs our commands: the one beside this Python, or `python -m cryowalk`."""
    beside = Path(sys.executable).with_name("cryowalk")
    return str(beside) if beside.exists() else "cryowalk"
