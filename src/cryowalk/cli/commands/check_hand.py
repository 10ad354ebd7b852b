"""`cryowalk check-hand`: whether a map, or the geometry of tilt series, has the right hand."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cryowalk.cli.command import Command
from cryowalk.cli.context import Context

if TYPE_CHECKING:
    from cryowalk.validation.hand import HandCheck

LEAST_RESOLUTION_VOXELS = 2.5  # finer than this many voxels no map shows detail faithfully


@dataclass(frozen=True, slots=True, kw_only=True)
class HandFiles:
    """The map, and what tells its hand."""

    volume: Annotated[Path, "the map, MRC; or a STAR file of tilt series", "--i"]
    model: Annotated[Path | None, "an atomic model in the frame of the map's origin, PDB or mmCIF"] = None
    reference: Annotated[Path | None, "a map whose hand is known, MRC; any grid", "--ref"] = None
    resolution: Annotated[
        float | None, "resolution of the map, Å; with a reference found by FSC 0.5 unless given", ("above", 0)
    ] = None
    finest: Annotated[float, "of tilt series: finest spacing whose rings are fitted, Å", ("above", 0)] = 8.0
    pixel_size: Annotated[float | None, "voxel size, Å, instead of that of the header"] = None
    json: Annotated[bool, "print JSON"] = False


def run(files: HandFiles, settings: None, context: Context) -> None:  # noqa: ARG001  every command has the same three
    """Nothing; the verdict is printed.

    Raises
    ------
    UsageError
        If neither a model nor a reference is given, or both.
    """
    from cryowalk.core.errors import UsageError, naming
    from cryowalk.io import read_atoms, read_map
    from cryowalk.validation.hand import WITHOUT_MODEL, check_hand, check_hand_against
    from cryowalk.workflow.map_motion_stages import on_grid_of

    if files.volume.suffix.lower() == ".star":
        check_tilt_series(files, context)
        return
    if (files.model is None) == (files.reference is None):
        both = "both a model and a reference were given" if files.model else "there is nothing that tells the hand"
        raise UsageError(both, cause="" if files.model else WITHOUT_MODEL, fix="give --model FILE.pdb or --ref MAP.mrc")
    context.verify(files.volume, files.model, files.reference)
    volume = read_map(files.volume, voxel_size=files.pixel_size)
    with naming(files.volume):
        if files.model is not None:
            resolution = files.resolution or 2 * LEAST_RESOLUTION_VOXELS * volume.voxel_size
            found = check_hand(volume, read_atoms(files.model), resolution=resolution)
        else:
            reference = read_map(files.reference)  # type: ignore[arg-type]  # one of them is given
            moved, notice = on_grid_of(volume, reference)
            if notice:
                context.progress.note(notice)
            found = check_hand_against(moved, reference, resolution=files.resolution)
    facts = {
        "hand": found.hand,
        "correlation": found.correlation,
        "mirrored_correlation": found.mirrored_correlation,
        "greatest_difference": found.greatest_difference,
        "standard_errors": found.standard_errors,
        "resolution_angstrom": found.resolution,
    }
    context.emit(facts, words=lambda: in_words(found, files.volume), as_json=files.json)


def check_tilt_series(files: HandFiles, context: Context) -> None:
    """Nothing; the hand of each tilt series, by its defocus gradients, is printed."""
    from cryowalk.ctf_estimation.settings import CtfSettings
    from cryowalk.workflow.tilt_hand_stages import hands_of_tilt_series

    context.verify(files.volume)
    settings = CtfSettings(box=256, finest_resolution=files.finest)
    found = hands_of_tilt_series(files.volume, settings, progress=context.progress)
    context.progress.finish()
    signs = {"right": "1", "reversed": "-1", "undecided": ""}
    facts = [
        {
            "tilt_series": name,
            "hand": one.hand,
            "slope": one.slope,
            "error": one.error,
            "images": one.images,
            "rlnTomoHand": signs[one.hand],
            "rlnTomoHand_in_file": stated,
        }
        for name, (one, stated) in found.items()
    ]
    lines = []
    for name, (one, stated) in found.items():
        numbers = f"gradients of defocus are {one.slope:.2f} ± {one.error:.2f} of what the angles say, in {one.images} images"
        if one.hand == "undecided":
            lines.append(f"{name}: not told: {numbers}")
            continue
        wanted = signs[one.hand]
        told = "as in the file" if stated == wanted else f"the file has {stated or 'none'}"
        cure = "" if one.hand == "right" else "; or turn the signs of the tilt angles"
        lines.append(f"{name}: rlnTomoHand {wanted} ({told}{cure}): {numbers}")
    context.emit(facts, words=lambda: "\n".join(lines), as_json=files.json)


def in_words(found: "HandCheck", path: Path) -> str:
    """The verdict, what it rests on, and what to do."""
    numbers = (
        f"correlation {found.correlation:.3f} as it lies, {found.mirrored_correlation:.3f} for its mirror image; they could differ by "
        f"{found.greatest_difference:.3f} at {found.resolution:.1f} Å; {found.standard_errors:.1f} standard errors"
    )
    verdicts = {
        "right": "the hand is right",
        "mirrored": f"the hand is the other one: cryowalk flip-hand --i {path} run_data.star --o OtherHand",
        "undecided": "the hand cannot be told: both fit alike (three standard errors are asked for)",
    }
    return f"{verdicts[found.hand]}\n  {numbers}"


COMMAND = Command(
    name="check-hand",
    summary="Tell the hand of a map, by a model or a map, or of tilt series.",
    run=run,
    files=HandFiles,
    details="The map and its mirror image are each brought onto the model or the reference, and the better fit decides, if it is clearly better. "
    "Of a STAR file of tilt series the gradients of defocus in the tilted images tell rlnTomoHand.",
)
