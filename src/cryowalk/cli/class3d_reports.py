"""Reports of 3D classifications: the maps, how many particles are in each, how sure their classes are, and how it came about."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from cryowalk.workflow.manifest import Manifest

if TYPE_CHECKING:
    from cryowalk.data import ParticleSet

SHOWN = 12  # maps that are drawn


def write_class3d_report(directory: Path, manifest: Manifest) -> Path:
    """The path of the report that was written into the job's directory."""
    from cryowalk.io import read_map, read_particles
    from cryowalk.view import Report, isosurface, projections, slices, viewing_directions, write_report
    from cryowalk.workflow.class3d_stages import DATA_NAME, map_name, read_scores
    from cryowalk.workflow.job import REPORT_NAME

    scores = read_scores(directory)
    particles = read_particles(directory / DATA_NAME, images="ignore")
    maps = {f"class {k + 1}": read_map(directory / map_name(k + 1)) for k in range(min(SHOWN, len(scores["occupancy"])))}
    report = Report(title=f"cryowalk {manifest.command}", provenance=manifest.provenance())
    told = {name: value for name, value in scores.items() if not isinstance(value, list)}
    report = report.with_section("Scores", told, _classes(scores))
    report = report.with_section("Classes", *_curves(scores), _probabilities(particles))
    for name, volume in maps.items():
        surface = [isosurface(volume)] if bool(volume.voxels.max() > volume.voxels.min()) else []
        report = report.with_section(name.capitalize(), *surface, slices({name: volume}), projections({name: volume}))
    symmetry = str(manifest.settings.get("symmetry", "C1"))
    report = report.with_section("Poses", viewing_directions(particles.pose, symmetry=symmetry), _iterations(scores))
    path: Path = write_report(report, directory / REPORT_NAME)
    return path


def _classes(scores: dict[str, Any]) -> Any:
    from cryowalk.view.report import Table

    rows = tuple(
        (number + 1, count, round(100 * share, 1), round(resolution, 2))
        for number, (count, share, resolution) in enumerate(
            zip(scores["particles_of_classes"], scores["occupancy"], scores["resolution_angstrom"], strict=True)
        )
    )
    caption = "The resolution is where the data no longer outweigh the prior (τ² Σ γ CTF²/σ² below 1): it compares classes and is no FSC."
    return Table(columns=("class", "particles", "share (%)", "resolution (Å)"), rows=rows, caption=caption)


def _curves(scores: dict[str, Any]) -> list[Any]:
    """Shares and resolutions of the classes over the iterations."""
    from cryowalk.view.canvas import new_drawing
    from cryowalk.view.report import Captioned

    drawing = new_drawing(7.2, 2.8, description="Shares and resolutions of the classes over the iterations")
    number = [one["iteration"] for one in scores["iterations"]]
    for place, (name, label) in enumerate((("occupancy", "share"), ("resolution_angstrom", "resolution (Å)")), start=1):
        axes = drawing.add_subplot(1, 2, place)
        for one in range(len(scores["occupancy"])):
            axes.plot(number, [row[name][one] for row in scores["iterations"]], marker=".", label=f"class {one + 1}")
        axes.set_xlabel("iteration")
        axes.set_ylabel(label)
        axes.set_ylim(bottom=0)
        if place == 1 and len(scores["occupancy"]) <= SHOWN:
            axes.legend(fontsize=7)
    return [Captioned(figure=drawing, caption="How the particles came to be shared out, and the detail of each map.")]


def _probabilities(particles: "ParticleSet") -> Any:
    """How sure the classes of the particles are."""
    from cryowalk.view.canvas import new_drawing
    from cryowalk.view.report import Captioned
    from cryowalk.workflow.class3d_stages import PROBABILITY

    drawing = new_drawing(4.6, 2.8, description="Probabilities of the particles' classes")
    axes = drawing.add_subplot(1, 1, 1)
    axes.hist([float(text) for text in particles.extra.get(PROBABILITY, ())], bins=40, range=(0, 1), color="#4c72b0")
    axes.set_xlabel("probability of the likeliest class")
    axes.set_ylabel("particles")
    caption = (
        "How sure the images are of their classes: a heap at the right where states are told apart, at 1/K where they are not."
    )
    return Captioned(figure=drawing, caption=caption)


def _iterations(scores: dict[str, Any]) -> Any:
    from cryowalk.view.report import Table

    heads = {
        "iteration": "iteration",
        "radius_shells": "shells compared",
        "moved": "share that changed class",
        "max_probability": "largest probability",
        "log_evidence": "log evidence",
    }
    rows = tuple(tuple(row[name] for name in heads) for row in scores["iterations"])
    return Table(columns=tuple(heads.values()), rows=rows, caption="The iterations; the evidence is that over noise alone.")
