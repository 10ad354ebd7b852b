"""Reports of denoising: before and after, what each shell gained, and what it lost."""

import json
from pathlib import Path
from typing import Any

from cryowalk.workflow.manifest import Manifest

SHOWN_IMAGES = 8
SHOWN_MICROGRAPHS = 3


def write_denoising_report(directory: Path, manifest: Manifest) -> Path:
    """The path of the report that was written into the job's directory."""
    from cryowalk.view import Report, write_report
    from cryowalk.workflow.denoising_stages import FACTS_NAME
    from cryowalk.workflow.job import REPORT_NAME

    facts = json.loads((directory / FACTS_NAME).read_text(encoding="utf-8"))
    summary = f"{facts['kind'].capitalize()} by {facts['method']}. {facts['warning']}"
    report = Report(title=f"cryowalk {manifest.command}", summary=summary, provenance=manifest.provenance())
    inputs = [Path(each["path"]) for each in manifest.inputs.values() if "path" in each]
    for heading, parts in _SECTIONS[facts["kind"]](directory, facts, inputs):
        report = report.with_section(heading, *parts)
    path: Path = write_report(report, directory / REPORT_NAME)
    return path


def _of_particles(directory: Path, facts: dict[str, Any], inputs: list[Path]) -> list[tuple[str, list[Any]]]:
    from cryowalk.data import ImageStack
    from cryowalk.io.mrc import MrcStackReader
    from cryowalk.io.relion import read_particles
    from cryowalk.view import images
    from cryowalk.view.denoising import eigenvalues, shell_curves
    from cryowalk.view.report import Captioned
    from cryowalk.workflow.denoising_stages import STACK_NAME

    after = MrcStackReader(directory / STACK_NAME)
    shown = range(min(SHOWN_IMAGES, after.count))
    quiet = after.read(shown)
    pictures: list[Any] = []
    source = next((path for path in inputs if path.suffix == ".star" and path.is_file()), None)
    particles = None if source is None else read_particles(source)
    if particles is not None and particles.images is not None:
        place = {name: row for row, name in enumerate(particles.image_names)}  # damaged images of the source were left out
        names = facts.get("first_images", [])
        before = particles.images.read([place.get(name, row) for row, name in enumerate(names[: len(shown)])] or shown)
        pictures.append(Captioned(figure=images(ImageStack(pixels=before, pixel_size=particles.pixel_size)), caption="Before."))
    figure = images(ImageStack(pixels=quiet, pixel_size=after.pixel_size or 1.0))
    pictures.append(Captioned(figure=figure, caption="After, the CTF undone."))
    bias = shell_curves(
        {"expected part of the variation that is left": facts["amplitude"]}, facts["frequency"], label="amplitude", reference=1.0
    )
    words = (
        "A filter that lowers the mean square error pulls every image towards the mean of all: below 1, detail is weakened, and at 0 it is gone. "
        "What a single image shows and the others do not is lost first."
    )
    sections: list[tuple[str, list[Any]]] = [("Before and after", pictures), ("Bias", [bias, words])]
    if "rank" in facts:
        drawn = eigenvalues(facts["eigenvalues"], facts["edges"])
        caption = f"{facts['rank']} of {facts['functions']} components rise above what noise alone gives; only they are kept."
        sections.append(("Components", [Captioned(figure=drawn, caption=caption)]))
    return sections


def _of_maps(directory: Path, facts: dict[str, Any], inputs: list[Path]) -> list[tuple[str, list[Any]]]:
    from cryowalk.io.maps import read_half_maps, read_map
    from cryowalk.view import slices
    from cryowalk.workflow.denoising_stages import MAP_NAME

    quiet = read_map(directory / MAP_NAME)
    maps = {"denoised": quiet}
    if len(inputs) > 1 and all(path.is_file() for path in inputs[:2]):
        maps = {"average of the halves": read_half_maps(inputs[0], inputs[1], voxel_size=quiet.voxel_size).average(), **maps}
    return [("Before and after", [slices(maps)]), *_curves(facts)]


def _curves(facts: dict[str, Any]) -> list[tuple[str, list[Any]]]:
    from cryowalk.view.denoising import shell_curves

    # The shell of the mean is left out: half maps without their mean say nothing there.
    facts = {**facts, **{name: facts[name][1:] for name in ("frequency", "fsc", "weight", "gain", "amplitude", "scale")}}
    frequency = facts["frequency"]
    gain = shell_curves(
        {"correlation of the halves": facts["fsc"], "part of the denoised in the mixture": facts["weight"]},
        frequency,
        label="correlation and weight",
        reference=0.0,
    )
    ratio = shell_curves(
        {"correlation with the truth, after over before": [min(value, 3.0) for value in facts["gain"]]},
        frequency,
        label="estimated gain",
        reference=1.0,
    )
    bias = shell_curves(
        {
            "amplitude that is left of the truth": [min(max(value, 0.0), 1.5) for value in facts["amplitude"]],
            "scale": facts["scale"],
        },
        frequency,
        label="amplitude",
        reference=1.0,
    )
    guarantee = (
        "Each shell is a mixture of the denoised and the plain average, with as much of the former as the other half confirms beyond two standard deviations. Where "
        "the weight is 0 the shell is the plain average, scaled: its correlation with the truth is exactly what it was."
    )
    words = (
        "Below 1, the shell is weaker than the truth: a denoiser leaves out what it is not sure of. Compare no B factors with it."
    )
    sections: list[tuple[str, list[Any]]] = [("Gain", [gain, ratio, guarantee]), ("Bias", [bias, words])]
    if "losses" in facts:
        sections.append(("Training", [_losses(facts["losses"])]))
    return sections


def _losses(losses: list[list[float]]) -> Any:
    from cryowalk.view.report import Table

    rows = []
    for part in range(5):
        chosen = [each[len(each) * part // 5 : max(len(each) * (part + 1) // 5, len(each) * part // 5 + 1)] for each in losses]
        rows.append((f"{part + 1} of 5", *(round(sum(each) / max(len(each), 1), 5) for each in chosen)))
    return Table(
        columns=("part of the training", "loss of the first network", "of the second"),
        rows=tuple(rows),
        caption="Mean squared difference to the other half, which never falls to 0: the other half is noisy too.",
    )


def _of_pairs(directory: Path, facts: dict[str, Any], inputs: list[Path]) -> list[tuple[str, list[Any]]]:  # noqa: ARG001  every kind has the same three
    from cryowalk.view.report import Table
    from cryowalk.workflow.denoising_stages import RESULTS

    results = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted((directory / RESULTS).glob("*.json"))}
    rows = tuple((name, round(each["ssnr_gain"], 2), round(max(each["weight"]), 2)) for name, each in results.items())
    heads = ("micrograph", "gain in signal to noise", "largest weight of the denoised")
    sections: list[tuple[str, list[Any]]] = [("Micrographs", [Table(columns=heads, rows=rows[:500])])]
    for place, (name, each) in enumerate(list(results.items())[:SHOWN_MICROGRAPHS]):
        sections.append((name, _pictures(directory, name)))
        if not place:
            sections += _curves(each)
    return sections


def _of_micrographs(directory: Path, facts: dict[str, Any], inputs: list[Path]) -> list[tuple[str, list[Any]]]:  # noqa: ARG001
    from cryowalk.workflow.denoising_stages import MICROGRAPHS

    names = [path.stem for path in sorted((directory / MICROGRAPHS).glob("*.mrc"))[:SHOWN_MICROGRAPHS]]
    return [(name, _pictures(directory, name)) for name in names]


def _pictures(directory: Path, name: str) -> list[Any]:
    from cryowalk.data import Micrograph
    from cryowalk.io.mrc import MrcStackReader
    from cryowalk.view.micrographs import micrograph
    from cryowalk.view.report import Captioned
    from cryowalk.workflow.denoising_stages import PICTURES

    stack = MrcStackReader(directory / PICTURES / f"{name}.mrcs")
    images = [Micrograph(pixels=pixels, pixel_size=stack.pixel_size or 1.0, name=name) for pixels in stack.read(range(2))]
    words = ("Before; at most the middle 512 × 512 pixels.", "After.")
    return [Captioned(figure=micrograph(image), caption=caption) for image, caption in zip(images, words, strict=True)]


_SECTIONS = {"particles": _of_particles, "half maps": _of_maps, "pairs": _of_pairs, "micrographs": _of_micrographs}
