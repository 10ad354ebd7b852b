"""What is in movies and in the tables and texts that go with them, in words and in numbers."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cryowalk.core.errors import printable
from cryowalk.core.units import DEGREE
from cryowalk.data.optics import Optics
from cryowalk.data.tilt_series import TiltSeries
from cryowalk.io.coordinates import read_coordinates
from cryowalk.io.eer import EerMovieReader
from cryowalk.io.mdoc import read_mdoc, tilt_series_of_mdoc
from cryowalk.io.micrographs import read_micrographs
from cryowalk.io.motion import read_movie_motion
from cryowalk.io.movies import open_movie
from cryowalk.io.mtf import read_mtf
from cryowalk.io.stacks import find_stack
from cryowalk.io.star_kinds import StarKind
from cryowalk.io.tem_coordinates import read_tem_coordinates
from cryowalk.io.tem_simulator import read_tem_simulator
from cryowalk.io.tiff import TiffMovieReader
from cryowalk.io.tilt_series_files import read_tilt_series

Told = tuple[str, list[str], dict[str, Any]]  # kind, sentences, facts


def tell_movie(path: Path) -> Told:
    """What a TIFF or EER file holds."""
    movie = open_movie(path)
    height, width = movie.image_shape
    size = movie.pixel_size
    facts: dict[str, Any] = {"frames": movie.count, "size_x": width, "size_y": height, "pixel_size_angstrom": size}
    words = [f"{movie.count} frame{'' if movie.count == 1 else 's'} of {width} × {height} px (x × y)"]
    words.append(f"pixel size {size:g} Å" if size else "the pixel size is not given")
    if isinstance(movie, EerMovieReader):
        facts |= {
            "raw_frames": movie.raw_count,
            "raw_frames_per_frame": movie.raw_frames_per_frame,
            "run_bits": movie.layout.run_bits,
        }
        words[0] = f"{movie.raw_count} raw frames of {width} × {height} px (x × y), {movie.raw_frames_per_frame} of them a frame"
        words.append(
            f"runs of {movie.layout.run_bits} bits, sub-pixel positions of {movie.layout.x_bits} + {movie.layout.y_bits} bits"
        )
        if movie.exposure_time is not None:
            facts["exposure_time_second"] = movie.exposure_time
            words.append(f"exposure {movie.exposure_time:g} s")
        facts["metadata"] = {printable(name): printable(item.text) for name, item in movie.metadata.items()}
        return "movie of electron events (EER)", words, facts
    if isinstance(movie, TiffMovieReader):
        facts |= {"compression": movie.compression_name, "sample_type": str(movie.sample_type)}
        words.append(f"{movie.sample_type}, compression {movie.compression_name}")
    return ("movie (TIFF)" if movie.count > 1 else "image (TIFF)"), words, facts


def tell_table(kind: StarKind, path: Path) -> Told:
    """What a table of one of these kinds holds."""
    tellers = {
        "micrographs": _tell_micrographs,
        "motion": _tell_motion,
        "tilt series": _tell_tilt_series,
        "mtf": _tell_mtf,
        "coordinates": _tell_coordinates,
    }
    return tellers[kind](path)


def _optics_words(groups: Sequence[Optics], counts: Sequence[int], what: str) -> tuple[list[str], list[dict[str, Any]]]:
    """A sentence and the facts of each optics group."""
    words, facts = [], []
    for group, count in zip(groups, counts, strict=True):
        words.append(
            f"optics “{printable(group.name)}”: {count} {what}, {group.pixel_size:g} Å/px, {group.voltage_kv:g} kV, "
            f"Cs {group.spherical_aberration_mm:g} mm, amplitude contrast {group.amplitude_contrast:g}"
        )
        facts.append(
            {"name": printable(group.name), what: count, "pixel_size_angstrom": group.pixel_size, "voltage_kv": group.voltage_kv,
             "spherical_aberration_mm": group.spherical_aberration_mm, "amplitude_contrast": group.amplitude_contrast}
        )  # fmt: skip
    return words, facts


def _tell_micrographs(path: Path) -> Told:
    micrographs = read_micrographs(path)
    what = "micrographs" if micrographs.names else "movies"
    counts = np.bincount(micrographs.optics_index.numpy(), minlength=len(micrographs.optics)).tolist()
    words, groups = _optics_words(micrographs.optics, counts, what)
    names = micrographs.names or micrographs.movie_names
    there = sum(find_stack(name, path) is not None for name in dict.fromkeys(names))
    facts: dict[str, Any] = {what: len(micrographs), "optics_groups": groups, f"{what}_found": there}
    words.append(f"{len(micrographs)} {what}, {'all' if there == len(set(names)) else there} found")
    if micrographs.defocus is not None:
        mean = (micrographs.defocus.major + micrographs.defocus.minor) / 2
        facts |= {"defocus_minimum_angstrom": float(mean.min()), "defocus_maximum_angstrom": float(mean.max())}
        words.append(f"defocus from {float(mean.min()):.0f} to {float(mean.max()):.0f} Å")
    return f"{what} (RELION STAR)", words, facts


def _tell_motion(path: Path) -> Told:
    movie = read_movie_motion(path)
    steps = np.linalg.norm(np.diff(movie.motion.global_displacement.numpy(), axis=0), axis=-1)
    facts: dict[str, Any] = {
        "frames": len(movie.motion.global_displacement), "movie": printable(movie.movie_name), "pixel_size_angstrom": movie.pixel_size,
        "total_motion_angstrom": float(steps.sum()), "has_local_motion": movie.motion.local is not None,
    }  # fmt: skip
    words = [
        f"{facts['frames']} frames of “{facts['movie']}”, {movie.pixel_size:g} Å/px",
        f"the specimen moved by {facts['total_motion_angstrom']:.2f} Å in all"
        + (", and locally" if facts["has_local_motion"] else ""),
    ]
    return "motion of a movie (RELION STAR)", words, facts


def _series_words(series: TiltSeries) -> tuple[str, dict[str, Any]]:
    """A sentence and the facts of one tilt series."""
    low, high = (float(angle) / DEGREE for angle in (series.tilt_angle.min(), series.tilt_angle.max()))
    facts = {"name": printable(series.name), "images": len(series), "lowest_tilt_degree": low, "highest_tilt_degree": high,
             "pixel_size_angstrom": series.optics.pixel_size}  # fmt: skip
    return f"“{facts['name']}”: {len(series)} images from {low:.1f}° to {high:.1f}°, {series.optics.pixel_size:g} Å/px", facts


def _tell_tilt_series(path: Path) -> Told:
    every = read_tilt_series(path)
    told = [_series_words(series) for series in every]
    words = [f"{len(every)} tilt series", *(sentence for sentence, _ in told[:12])]
    return "tilt series (RELION STAR)", words, {"tilt_series": [facts for _, facts in told]}


def _tell_mtf(path: Path) -> Told:
    curve = read_mtf(path)
    half = float(np.interp(0.25, curve.frequency, curve.value))
    end = float(np.interp(0.5, curve.frequency, curve.value))
    words = [f"{len(curve.frequency)} points; {half:.3f} at half of Nyquist, {end:.3f} at Nyquist"]
    return "modulation transfer (STAR)", words, {"points": len(curve.frequency), "at_half_nyquist": half, "at_nyquist": end}


def _tell_coordinates(path: Path) -> Told:
    found = read_coordinates(path)
    return "coordinates of one micrograph (RELION STAR)", [f"{len(found)} positions"], {"positions": len(found)}


def tell_mdoc(path: Path) -> Told:
    """What an mdoc file tells of."""
    mdoc = read_mdoc(path)
    spacing = next((text for section in mdoc.sections if (text := section.get("PixelSpacing"))), None)
    facts: dict[str, Any] = {"images": len(mdoc.images), "titles": [printable(title) for title in mdoc.titles]}
    words = [f"{len(mdoc.images)} images", *(printable(title) for title in mdoc.titles)]
    if mdoc.images and all(image.get("TiltAngle") is not None for image in mdoc.images):
        optics = (
            Optics(pixel_size=float(spacing)) if spacing and spacing.replace(".", "", 1).isdigit() else Optics(pixel_size=1.0)
        )
        sentence, more = _series_words(tilt_series_of_mdoc(mdoc, optics=optics))
        words.append(sentence)
        facts |= more
    return "SerialEM mdoc", words, facts


def tell_tem(path: Path) -> Told:
    """What a parameter file of TEM-simulator asks for."""
    made = read_tem_simulator(path)
    facts: dict[str, Any] = {
        "particles": [printable(one.name) for one in made.particles], "tilts": made.geometry.tilts, "voltage_kv": made.beam.voltage_kv,
        "defocus_angstrom": made.optics.defocus, "detectors": len(made.detectors),
    }  # fmt: skip
    words = [
        f"{len(made.particles)} kinds of particles, {len(made.particle_sets)} sets, {made.geometry.tilts} tilts",
        f"{made.beam.voltage_kv:g} kV, magnification {made.optics.magnification:g}, defocus {made.optics.defocus:.0f} Å",
    ]
    words += [
        f"camera of {one.width} × {one.height} px, {one.pixel_pitch / made.optics.magnification:.3g} Å/px"
        for one in made.detectors
    ]
    for one in made.particle_sets:
        file = path.parent / one.coordinate_file
        if one.placed_by == "file" and one.coordinate_file and file.is_file():
            words.append(
                f"{len(read_tem_coordinates(file))} particles “{printable(one.particle)}” in {printable(one.coordinate_file)}"
            )
    return "parameters of TEM-simulator", words, facts
