"""`cryowalk conventions check`: what files that another program made of the kit need to be like ours."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cryowalk.cli.command import Command
from cryowalk.cli.context import Context
from cryowalk.core.errors import InputError, printable

if TYPE_CHECKING:
    from cryowalk.workflow.convention_stages import FileCheck

TOLD = 4  # hypotheses an aspect, with --scores


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckFiles:
    """What to check, and against which kit."""

    files: Annotated[tuple[Path, ...], "files made from the kit: maps, stacks, micrographs, tables, picks", "FILE…"]
    kit: Annotated[Path | None, "directory of the kit, if it is not the standard one"] = None
    scores: Annotated[bool, "print the scores of the best hypotheses too"] = False
    json: Annotated[bool, "print JSON, with every hypothesis and its score"] = False


def run(files: CheckFiles, settings: None, context: Context) -> None:  # noqa: ARG001  every command has the same three
    """Nothing; the findings are printed.

    Raises
    ------
    InputError
        If a file needs a change to be like ours, or nothing fits it.
    """
    from cryowalk.workflow.convention_stages import check_file, read_kit

    kit = read_kit(files.kit)
    checks = [check_file(path, kit) for path in files.files]
    facts = [_facts(check) for check in checks]
    context.emit(facts, words=lambda: "\n".join(_words(check, scores=files.scores) for check in checks), as_json=files.json)
    unlike = [check for check in checks if check.verdict != "agrees"]
    if unlike:
        raise InputError(
            f"{len(unlike)} of {len(checks)} files are not in our conventions", fix="what each needs is listed above"
        )


def _facts(check: "FileCheck") -> dict[str, object]:
    return {
        "file": printable(check.path),
        "kind": check.kind,
        "verdict": check.verdict,
        "findings": [
            {
                "aspect": finding.aspect,
                "verdict": finding.verdict,
                "words": finding.words,
                "fix": finding.fix,
                "hypotheses": [
                    {"name": one.name, "score": round(one.score, 5), "measure": one.measure} for one in finding.hypotheses
                ],
            }
            for finding in check.findings
        ],
    }


def _words(check: "FileCheck", *, scores: bool) -> str:
    titles = {"agrees": "as ours", "differs": "NEEDS A CHANGE", "none fits": "NOT TOLD"}
    lines = [f"{printable(check.path)} ({check.kind}): {titles[check.verdict]}"]
    width = max(len(finding.aspect) for finding in check.findings)
    signs = {"agrees": " ", "differs": "!", "none fits": "?"}
    for finding in check.findings:
        lines.append(f"  {signs[finding.verdict]} {finding.aspect:<{width}}  {finding.words}")
        if finding.fix:
            lines.append(f"    {'':<{width}}  → {finding.fix}")
        if scores:
            lines += [f"    {'':<{width}}    {one.score:6.3f}  {one.name}" for one in finding.hypotheses[:TOLD]]
    return "\n".join(lines)


COMMAND = Command(
    name="conventions check",
    summary="Tell which flip, transpose, sign or unit a foreign file needs.",
    run=run,
    files=CheckFiles,
    details="The files are what another program made of those of `conventions kit`. Exit 0 only when all are in our conventions.",
)
