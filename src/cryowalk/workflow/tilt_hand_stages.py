"""The hand of tilt series in a file, from the defocus gradients of their tilted images."""

import math
from pathlib import Path

import torch

from cryowalk.core.errors import InputError
from cryowalk.core.execution import Progress, SilentProgress
from cryowalk.ctf_estimation.estimate import estimate_ctf
from cryowalk.ctf_estimation.local import estimate_tilt
from cryowalk.ctf_estimation.settings import CtfSettings
from cryowalk.ctf_estimation.spectrum import power_spectrum
from cryowalk.ctf_estimation.tilt_hand import TiltHand, lab_from_tilts, tilt_hand
from cryowalk.data.tilt_series import TiltSeries
from cryowalk.io.mrc import MrcStackReader
from cryowalk.io.stacks import find_stack
from cryowalk.io.tilt_series_files import read_tilt_series

LEAST_TILT, LARGEST_TILT = math.radians(15), math.radians(55)  # less shows little, more is dark and thick
MOST_IMAGES = 10
_SILENT = SilentProgress()


def hands_of_tilt_series(path: Path, settings: CtfSettings, *, progress: Progress = _SILENT) -> dict[str, tuple[TiltHand, str]]:
    """For each series of the file its hand and the rlnTomoHand that stands there ("" where none does).

    Raises
    ------
    InputError
        If a series has no images, no tilt axis, or none that is tilted enough.
    """
    series = read_tilt_series(path)
    plans = [(one, _chosen(one, path)) for one in series]
    progress.start("tilt images", sum(len(chosen) for _, chosen in plans))
    found = {}
    for one, chosen in plans:
        estimates = []
        for index in chosen:
            pixels = _image(one.image_names[index], path)
            spectrum = power_spectrum(pixels, pixel_size=one.optics.pixel_size, box=settings.box, tapers=settings.tapers)
            estimates.append(estimate_tilt(pixels, one.optics, estimate_ctf(spectrum, one.optics, settings), settings))
            progress.advance()
        found[one.name] = (tilt_hand(estimates, _orientations(one)[chosen]), one.settings.get("rlnTomoHand", ""))
    return found


def _image(name: str, star: Path) -> torch.Tensor:
    """The pixels of the tilt image of this name, `000001@stack` or the name of a file of its own."""
    place, _, stack = name.rpartition("@")
    found = find_stack(stack, star)
    if found is None:
        raise InputError(f"the tilt image {stack} is not there", file=star, fix="go to the project's folder")
    reader = MrcStackReader(found)
    pixels: torch.Tensor = reader.read([int(place) - 1 if place.isdigit() else 0])[0]
    return pixels


def _orientations(series: TiltSeries) -> torch.Tensor:
    if series.pose is not None:
        return series.pose.lab_from_particle.double()
    return lab_from_tilts(series.tilt_angle, tilt_axis=series.tilt_axis or 0.0)


def _chosen(series: TiltSeries, path: Path) -> list[int]:
    """The tilted images that saw the least dose before."""
    if not series.image_names:
        raise InputError(f"tilt series {series.name} names no images", file=path, expected="rlnMicrographName")
    if series.pose is None and series.tilt_axis is None:
        raise InputError(f"tilt series {series.name} has no tilt axis", file=path, expected="rlnTomoNominalTiltAxisAngle")
    size = series.tilt_angle.abs()
    tilted = torch.nonzero((size >= LEAST_TILT) & (size <= LARGEST_TILT))[:, 0].tolist()
    if not tilted:
        raise InputError(f"no image of tilt series {series.name} is tilted by 15° to 55°", file=path)
    before = series.dose_before if series.dose_before is not None else series.order
    return sorted(tilted if before is None else sorted(tilted, key=lambda i: float(before[i]))[:MOST_IMAGES])
