"""The report of a walk: what went in, what came out, and how it compares with the truth."""

from dataclasses import replace

from cryowalk.core.units import MICROMETRE, MILLIRADIAN
from cryowalk.data import ImageStack, Provenance, Volume
from cryowalk.fourier.filters import low_pass
from cryowalk.view import Report, fsc, guinier, images, isosurface, projections, slices, viewing_directions
from cryowalk.view.report import Captioned
from cryowalk.workflow.walk import Walked

SHOWN_IMAGES = 12


def walk_report(walked: Walked, provenance: Provenance) -> Report:
    """The page of a walk, figures drawn."""
    report = Report(title="The walk", summary=_summary(walked), provenance=provenance).with_section("Scores", dict(walked.scores))
    maps = _maps(walked)
    shown, resolution = _for_looking(walked)
    surface = Captioned(
        figure=isosurface(shown),
        caption=f"The map, low-passed to {resolution:.1f} Å for this view; drag to turn it, choose the level below.",
    )
    report = report.with_section("Maps", surface, slices(maps), projections(maps))
    curves = {}
    for label, result in walked.results.items():
        curves[f"half maps, {label}"] = result.masked
        if result.to_truth is not None:
            curves[f"to the truth, {label}"] = result.to_truth
    report = report.with_section("Resolution", _resolution_words(walked), fsc(curves), guinier(maps))
    report = report.with_section("Particles", *_particle_parts(walked))
    making = _making(walked)
    return report.with_section("How the data were made", making) if making else report


def _making(walked: Walked) -> str:
    """What the simulation did, in words; nothing for data that were given."""
    if walked.simulation is None:
        return ""
    choices, optics = walked.simulation, walked.particles.optics[0]
    low, high = (defocus / MICROMETRE for defocus in choices.defocus_range)
    words = (
        f"Simulated at {optics.voltage_kv:g} kV, Cs {optics.spherical_aberration_mm:g} mm, {100 * optics.amplitude_contrast:g} % "
        f"amplitude contrast, underfocus {low:g} to {high:g} μm, in all orientations. "
    )
    if choices.snr is not None:
        return (
            words + f"The noise was drawn, with the rise of ice at low frequency, for a signal-to-noise ratio of {choices.snr:g}."
        )
    gun = (
        f"The gun has an energy spread of {choices.energy_spread_ev:g} eV (standard deviation) and a convergence of "
        f"{choices.convergence / MILLIRADIAN:g} mrad; the lens a Cc of {choices.chromatic_aberration_mm:g} mm. "
    )
    ice = (
        f"The molecules stand in {choices.ice_thickness:g} Å of ice, which they displace, whose structure the lens images too, and "
        "which moves in the beam; inelastically scattered electrons are stopped by a slit. "
    )
    dose = (
        f"{choices.dose:g} electrons per Å² make each image; damage fades detail by the measured critical exposures, and frames are "
        f"weighted by dose. The camera “{choices.camera}” counts electrons with its measured blur and its noise. "
    )
    ratio = walked.scores.get("snr")
    return words + gun + ice + dose + f"That gives a signal-to-noise ratio of {ratio:.3g} over the whole image (variances)."


def _summary(walked: Walked) -> str:
    scores = walked.scores
    words = f"{scores['particles']} particles of {scores['box_pixels']} px at {scores['pixel_size_angstrom']:.3g} Å: "
    words += f"half maps agree (FSC 0.143, soft spherical mask) to {scores['half_fsc_0.143_angstrom']:.2f} Å"
    if "fsc_to_truth_0.5_angstrom" in scores:
        words += (
            f", and with the truth (FSC 0.5) to {scores['fsc_to_truth_0.5_angstrom']:.2f} Å from true poses, "
            f"to {scores['fsc_to_truth_0.5_angstrom_perturbed_poses']:.2f} Å from perturbed ones"
        )
    return words + "."


def _for_looking(walked: Walked) -> tuple[Volume, float]:
    """The first map low-passed to where its halves correlate to 0.5: a surface shows noise as readily as signal."""
    result = next(iter(walked.results.values()))
    resolution = result.masked.resolution(at=0.5)
    volume = result.full
    voxels = low_pass(volume.voxels, resolution=resolution, pixel_size=volume.voxel_size, dimensions=3)
    return replace(volume, voxels=voxels), resolution


def _maps(walked: Walked) -> dict[str, Volume]:
    maps = {} if walked.truth is None or walked.truth.volume is None else {"truth": walked.truth.volume}
    return maps | {label: result.full for label, result in walked.results.items()}


def _resolution_words(walked: Walked) -> str:
    words = (
        "The Fourier shell correlation of two half maps tells how well two independent halves of the data agree; "
        "0.143 is where the map of all data is expected to correlate to 0.5 with a perfect one."
    )
    if walked.truth is not None:
        words += (
            "\n\nHere the truth is known, so the map of all data is compared with it as well. "
            f"The perturbed poses are off by {walked.scores['pose_angle_error_rms_degrees_perturbed_poses']:.2f}° and "
            f"{walked.scores['shift_error_rms_angstrom_perturbed_poses']:.2f} Å (rms): the curves show what that costs."
        )
    return words


def _particle_parts(walked: Walked) -> list[object]:
    particles = walked.particles
    parts: list[object] = []
    if particles.images is not None:
        shown = list(range(min(SHOWN_IMAGES, particles.images.count)))
        parts.append(images(ImageStack(pixels=particles.images.read(shown), pixel_size=particles.pixel_size)))
    if particles.pose is not None:
        parts.append(viewing_directions(particles.pose, symmetry=walked.symmetry))
    return parts
