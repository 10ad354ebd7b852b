"""Reports of simulated micrographs and movies: what they look like, where the truth lies, their rings, their motion."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from cryowalk.workflow.manifest import Manifest

if TYPE_CHECKING:
    from cryowalk.data import Micrograph
    from cryowalk.data.micrograph_truth import MicrographTruth
    from cryowalk.view import Report

SHOWN = 3  # micrographs


def write_micrograph_report(directory: Path, manifest: Manifest) -> Path:
    """The path of the report that was written into the job's directory."""
    from cryowalk.view import write_report
    from cryowalk.workflow.job import REPORT_NAME

    path: Path = write_report(micrograph_report(directory, manifest), directory / REPORT_NAME)
    return path


def micrograph_report(directory: Path, manifest: Manifest) -> "Report":
    """The report of simulated micrographs or movies: a table of all, pictures of the first."""
    from cryowalk.io.micrograph_truth import read_micrograph_truth
    from cryowalk.view import Report

    files = sorted(path for path in (directory / "truth").glob("*.star") if not path.stem.endswith(("_motion", "_ctf")))
    truths = [read_micrograph_truth(path) for path in files]
    kind = "movies" if (directory / "movies").is_dir() else "micrographs"
    summary = f"{len(truths)} simulated {kind} with {sum(map(len, truths))} particles, whose truth lies beside them; seed {manifest.seed}."
    report = Report(title=f"cryowalk {manifest.command}", summary=summary, provenance=manifest.provenance())
    report = report.with_section("Overview", _table(truths))
    for truth in truths[:SHOWN]:
        report = report.with_section(_short(truth.name), *_parts(_picture(directory, truth.name), truth))
    return report


def _table(truths: "list[MicrographTruth]") -> Any:
    from cryowalk.core.units import DEGREE
    from cryowalk.view.report import Table

    rows = tuple(
        (
            _short(truth.name),
            len(truth),
            float(truth.defocus.major),
            float(truth.defocus.minor),
            float(truth.defocus.azimuth) / DEGREE,
            truth.extra.get("mean_thickness"),
            truth.extra.get("dose"),
        )
        for truth in truths
    )
    heads = ("micrograph", "particles", "defocus U (Å)", "defocus V (Å)", "azimuth (°)", "ice (Å)", "dose (e⁻/Å²)")
    return Table(columns=heads, rows=rows)


def _short(name: str) -> str:
    """The name of an image without its folders; the number of one in a stack stays."""
    number, at, file = name.rpartition("@")
    return number + at + Path(file).name


def _picture(directory: Path, name: str) -> "Micrograph":
    """The micrograph or the image of a stack, or the sum of a movie's frames as they are, gain corrected."""
    from cryowalk.data import Micrograph
    from cryowalk.io.gain import read_gain, relion_meaning
    from cryowalk.io.movies import open_movie

    number, _, file = name.rpartition("@")
    path = next(iter(sorted(directory.rglob(Path(file).name))))
    frames = open_movie(path)
    chosen = [int(number) - 1] if number else list(range(frames.count))
    total = frames.read(chosen[:1])[0]
    for frame in chosen[1:]:
        total += frames.read([frame])[0]
    gain = directory / "gain.mrc"
    if gain.is_file():
        total *= read_gain(gain, image_shape=frames.image_shape, stored_as=relion_meaning(gain, movie=path))
    return Micrograph(pixels=total, pixel_size=frames.pixel_size or 1.0, name=_short(name))


def _parts(image: "Micrograph", truth: "MicrographTruth") -> list[Any]:
    from cryowalk.fourier.shells import shell_average
    from cryowalk.microscope.lens import contrast_transfer
    from cryowalk.view.micrographs import micrograph, motion, rings
    from cryowalk.view.report import Captioned

    side = 1024
    transfer = contrast_transfer(truth.optics, truth.defocus, size=(side, side)).square()
    curve = shell_average(transfer.double(), size=(side, side)).sqrt()
    parts: list[Any] = [
        Captioned(figure=micrograph(image, truth=truth), caption="Particles of the truth in circles; contaminants in squares."),
        Captioned(
            figure=rings(image, transfer=curve),
            caption="Thon rings: the micrograph’s power, and the square of the CTF that the truth states.",
        ),
    ]
    if truth.motion is not None:
        parts.append(Captioned(figure=motion(truth.motion), caption="How the specimen moved, by the truth."))
    return parts
