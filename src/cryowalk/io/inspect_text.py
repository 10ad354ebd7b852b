"""What is in the small files of other programs, in words and in numbers."""

from collections.abc import Callable
from typing import Any

import torch

from cryowalk.core.errors import printable
from cryowalk.core.units import DEGREE
from cryowalk.data.coordinates import Coordinates
from cryowalk.data.optics import Defocus, Optics
from cryowalk.io.aretomo import AreTomoAlignment
from cryowalk.io.coordinate_tables import CoordinateFiles, CoordinateTable
from cryowalk.io.ctf_tables import CtfProfiles, CtfTable
from cryowalk.io.dynamo import DynamoTable
from cryowalk.io.em import EmArray, MotiveList
from cryowalk.io.fsc_xml import FscCurve
from cryowalk.io.imod import AngleList, Transforms, tilt_axes
from cryowalk.io.imod_com import ComFile
from cryowalk.io.imod_logs import AlignmentLog
from cryowalk.io.multibody import Bodies, BodyModes, BodyProjections
from cryowalk.io.relion_pipeline import RelionJob, RelionPipeline
from cryowalk.io.tem_coordinates import TemCoordinates
from cryowalk.io.tomogram_particles import OptimisationSet, TomogramParticles
from cryowalk.io.tomograms import Tomogram, Trajectories
from cryowalk.io.warp import WarpSeries

Sentences = tuple[list[str], dict[str, Any]]
SHOWN = 8


def words_and_facts(thing: object) -> Sentences:
    """Sentences and facts of one of the things that these files become."""
    if isinstance(thing, tuple):
        return _tomograms(thing)
    return next(tell(thing) for kind, tell in _TELLERS if isinstance(thing, kind))


def _plural(count: int, word: str) -> str:
    return f"{count} {word}{'' if count == 1 else 's'}"


def _range(values: torch.Tensor, unit: float = 1.0) -> tuple[float, float]:
    return float(values.min()) / unit, float(values.max()) / unit


def _optics(optics: Optics | None) -> Sentences:
    if optics is None:
        return [], {}
    facts = {
        "pixel_size_angstrom": optics.pixel_size, "voltage_kv": optics.voltage_kv, "spherical_aberration_mm": optics.spherical_aberration_mm,
        "amplitude_contrast": optics.amplitude_contrast,
    }  # fmt: skip
    return [
        f"{optics.pixel_size:g} Å/px, {optics.voltage_kv:g} kV, Cs {optics.spherical_aberration_mm:g} mm, amplitude contrast {optics.amplitude_contrast:g}"
    ], facts


def _defocus(defocus: Defocus | None) -> Sentences:
    if defocus is None or not len(defocus.major):
        return [], {}
    low, high = _range((defocus.major + defocus.minor) / 2)
    return [f"defocus from {low:.0f} to {high:.0f} Å"], {"defocus_minimum_angstrom": low, "defocus_maximum_angstrom": high}


def _coordinates(found: Coordinates) -> Sentences:
    words = [_plural(len(found), "position")]
    if found.merit is not None and len(found):
        words.append(f"scores from {float(found.merit.min()):.4g} to {float(found.merit.max()):.4g}")
    return words, {"positions": len(found), "has_scores": found.merit is not None}


def _coordinate_table(table: CoordinateTable) -> Sentences:
    counts = {printable(name): len(some) for name, some in table.micrographs.items()}
    words = [f"{_plural(len(table), 'position')} in {_plural(len(counts), 'micrograph')}"]
    return words, {"positions": len(table), "micrographs": len(counts), "positions_of_each": counts}


def _coordinate_files(files: CoordinateFiles) -> Sentences:
    words = [f"the picks of {_plural(len(files), 'micrograph')}, each in a file"]
    words += [
        f"{printable(name)}: {printable(file)}" for name, file in list(zip(files.micrographs, files.files, strict=True))[:SHOWN]
    ]
    return words, {"micrographs": len(files)}


def _ctf(table: CtfTable) -> Sentences:
    words, facts = _optics(table.optics)
    more, values = _defocus(table.defocus)
    fitted = table.fitted_to[torch.isfinite(table.fitted_to)]
    words = [_plural(len(table), "micrograph"), *words, *more]
    if len(fitted):
        words.append(f"rings fitted to {float(fitted.min()):.2f} Å at best, {float(fitted.median()):.2f} Å in the middle")
    return words, {"micrographs": len(table), **facts, **values, "has_tilt": table.tilt_angle is not None}


def _profiles(profiles: CtfProfiles) -> Sentences:
    words, facts = _optics(profiles.optics)
    first = profiles.profiles[0]
    curves = ", ".join(first.curves)
    words = [
        f"{_plural(len(profiles), 'micrograph')}, {len(first.frequency)} points to {float(first.frequency.max()):.4g} 1/Å: {curves}",
        *words,
    ]
    return words, {"micrographs": len(profiles), "points": len(first.frequency), **facts}


def _transforms(transforms: Transforms) -> Sentences:
    words, facts = [_plural(len(transforms), "image")], {"images": len(transforms)}
    if len(transforms):
        axis = float(tilt_axes(transforms).median()) / DEGREE
        words.append(f"tilt axis at {axis:.2f}° from y, shifts to {float(transforms.shifts.norm(dim=1).max()):.1f} px")
        return words, {**facts, "tilt_axis_degree": axis, "largest_shift_px": float(transforms.shifts.norm(dim=1).max())}
    return words, facts


def _angles(angles: AngleList) -> Sentences:
    low, high = _range(angles.angles, DEGREE)
    about = "the tilt axis" if angles.about == "tilt axis" else "x"
    return [f"{_plural(len(angles), 'angle')} about {about}, from {low:.2f}° to {high:.2f}°"], {
        "images": len(angles), "lowest_tilt_degree": low, "highest_tilt_degree": high, "about": angles.about,
    }  # fmt: skip


def _com(com: ComFile) -> Sentences:
    words = [f"{printable(one.program)}: {_plural(len(one.parameters), 'parameter')}" for one in com.commands[:SHOWN]]
    facts = {
        printable(one.program): {printable(entry.key): printable(entry.value) for entry in one.parameters} for one in com.commands
    }
    return words, {"programs": facts}


def _alignment(log: AlignmentLog) -> Sentences:
    low, high = _range(log.tilt_angle, DEGREE)
    axis = float(log.rotation.median()) / DEGREE
    words = [f"{_plural(len(log), 'view')} from {low:.1f}° to {high:.1f}°, tilt axis at {axis:.1f}° from y"]
    facts = {"images": len(log), "lowest_tilt_degree": low, "highest_tilt_degree": high, "tilt_axis_degree": axis}
    if log.residual is not None:
        words.append(f"mean residual {float(log.residual.mean()):.2f} Å, worst view {float(log.residual.max()):.2f} Å")
        facts["mean_residual_angstrom"] = float(log.residual.mean())
    return words, facts


def _aretomo(alignment: AreTomoAlignment) -> Sentences:
    low, high = _range(alignment.tilt_angle, DEGREE)
    axis = float(alignment.rotation.median()) / DEGREE
    width, height, count = alignment.raw_size
    words = [
        f"{_plural(len(alignment), 'image')} of {count} kept, {len(alignment.dark)} left out as dark; {width} × {height} px",
        f"from {low:.2f}° to {high:.2f}°, tilt axis at {axis:.2f}° from y, {_plural(alignment.patches, 'patch').replace('patchs', 'patches')}",
    ]
    facts = {
        "images": len(alignment), "dark_images": len(alignment.dark), "size_x": width, "size_y": height, "raw_images": count,
        "lowest_tilt_degree": low, "highest_tilt_degree": high, "tilt_axis_degree": axis, "patches": alignment.patches,
    }  # fmt: skip
    return words, facts


def _warp(series: WarpSeries) -> Sentences:
    words, facts = _optics(series.optics)
    more, values = _defocus(series.defocus)
    angles, used = series.tilt_angle, series.is_used
    told: dict[str, Any] = {"warp": series.kind, **facts, **values}
    if angles is not None:
        low, high = _range(angles, DEGREE)
        told |= {"images": len(angles), "lowest_tilt_degree": low, "highest_tilt_degree": high}
        words.insert(
            0,
            f"{_plural(len(angles), 'image')} from {low:.1f}° to {high:.1f}°"
            + (f", {int(used.sum())} used" if used is not None else ""),
        )
    grids = [child.tag for child in series.root.children if child.tag.startswith("Grid")]
    words += [*more, _plural(len(grids), "grid")]
    return words, {**told, "grids": grids}


def _dynamo(table: DynamoTable) -> Sentences:
    tomograms = sorted(set(table.tomograms.tolist()))
    words = [f"{_plural(len(table), 'particle')} in {_plural(len(tomograms), 'tomogram')}, {len(table.columns)} columns"]
    return words, {"particles": len(table), "tomograms": tomograms, "columns": len(table.columns)}


def _motive_list(motives: MotiveList) -> Sentences:
    tomograms = sorted(set(motives.tomograms.tolist()))
    words = [f"motive list: {_plural(len(motives), 'particle')} in {_plural(len(tomograms), 'tomogram')}"]
    return words, {"particles": len(motives), "tomograms": tomograms}


def _em(array: EmArray) -> Sentences:
    depth, height, width = array.values.shape
    low, high = _range(array.values)
    words = [
        f"{width} × {height} × {depth} voxels (x × y × z), values from {low:.4g} to {high:.4g}",
        "the pixel size is not given",
    ]
    return words, {"size_x": width, "size_y": height, "size_z": depth, "minimum": low, "maximum": high}


def _modes(modes: BodyModes) -> Sentences:
    words = [f"{_plural(len(modes), 'mode')} of {_plural(len(modes.labels) // 6, 'body').replace('bodys', 'bodies')}"]
    return words, {"modes": len(modes), "bodies": len(modes.labels) // 6}


def _projections(projections: BodyProjections) -> Sentences:
    particles, modes = projections.values.shape
    return [f"{_plural(particles, 'particle')} along {_plural(modes, 'mode')}"], {"particles": particles, "modes": modes}


def _bodies(bodies: Bodies) -> Sentences:
    words = [
        f"body {number}: {printable(body.mask)}, against body {body.relative_to}, ± {body.angle_deviation / DEGREE:g}°, ± {body.offset_deviation:g} px"
        for number, body in enumerate(bodies.bodies, start=1)
    ]
    return words, {"bodies": [printable(body.mask) for body in bodies.bodies]}


def _pipeline(pipeline: RelionPipeline) -> Sentences:
    states = ", ".join(f"{count} {printable(state).lower()}" for state, count in pipeline.states().items())
    words = [f"{_plural(len(pipeline), 'job')}: {states or 'none'}; the next is number {pipeline.next_number}"]
    words += [f"{printable(job.name)} {printable(job.kind)}, {printable(job.state).lower()}" for job in pipeline.jobs[-SHOWN:]]
    return words, {
        "jobs": len(pipeline),
        "states": pipeline.states(),
        "next_job": pipeline.next_number,
        "files": len(pipeline.nodes),
    }


def _job(job: RelionJob) -> Sentences:
    return [f"{printable(job.kind)}, {_plural(len(job.options), 'option')}"], {
        "job_type": printable(job.kind), "options": {printable(key): printable(text) for key, text in job.options.items()},
    }  # fmt: skip


def _fsc(curve: FscCurve) -> Sentences:
    words = [f"“{printable(curve.title)}”: {len(curve)} points to {max(curve.frequency):.4g} 1/Å"]
    return words, {"title": printable(curve.title), "points": len(curve), "highest_frequency_per_angstrom": max(curve.frequency)}


def _placed(particles: TemCoordinates) -> Sentences:
    return [_plural(len(particles), "particle")], {"particles": len(particles)}


def _tomogram_particles(table: TomogramParticles) -> Sentences:
    names = list(dict.fromkeys(table.tomograms))
    words = [f"{_plural(len(table), 'particle')} in {_plural(len(names), 'tomogram')}"]
    words += [sentence for group in table.particles.optics for sentence in _optics(group)[0]]
    where = "Å from the middle" if table.centred is not None else "voxels from the first"
    words.append(f"places in {where}" + (", with angles" if table.specimen_from_particle is not None else ", no angles"))
    facts = {
        "particles": len(table), "tomograms": len(names), "has_poses": table.specimen_from_particle is not None,
        "optics_groups": [_optics(group)[1] for group in table.particles.optics],
    }  # fmt: skip
    return words, facts


def _tomograms(tomograms: tuple[Tomogram, ...]) -> Sentences:
    words = [
        f"“{printable(one.name)}”: {' × '.join(map(str, one.size))} voxels of {one.optics.pixel_size:g} Å, {_plural(len(one), 'tilt')}, hand {one.hand:+d}"
        for one in tomograms[:SHOWN]
    ]
    facts = [
        {"name": printable(one.name), "size": list(one.size), "pixel_size_angstrom": one.optics.pixel_size, "tilts": len(one)}
        for one in tomograms
    ]
    return [_plural(len(tomograms), "tomogram"), *words], {"tomograms": facts}


def _trajectories(trajectories: Trajectories) -> Sentences:
    return [f"the motion of {_plural(len(trajectories), 'particle')}"], {"particles": len(trajectories)}


def _optimisation_set(files: OptimisationSet) -> Sentences:
    words = [f"{label}: {printable(name)}{'' if files.place(label) else ' (not there)'}" for label, name in files.files.items()]
    return words, {"files": {label: printable(name) for label, name in files.files.items()}}


_TELLERS: tuple[tuple[type, Callable[[Any], Sentences]], ...] = (
    (Coordinates, _coordinates), (CoordinateTable, _coordinate_table), (CoordinateFiles, _coordinate_files), (CtfTable, _ctf),
    (CtfProfiles, _profiles), (Transforms, _transforms), (AngleList, _angles), (ComFile, _com), (AlignmentLog, _alignment),
    (AreTomoAlignment, _aretomo), (WarpSeries, _warp), (DynamoTable, _dynamo), (MotiveList, _motive_list), (EmArray, _em), (BodyModes, _modes),
    (BodyProjections, _projections), (Bodies, _bodies), (RelionPipeline, _pipeline), (RelionJob, _job), (FscCurve, _fsc),
    (TemCoordinates, _placed), (TomogramParticles, _tomogram_particles), (Trajectories, _trajectories), (OptimisationSet, _optimisation_set),
)  # fmt: skip
