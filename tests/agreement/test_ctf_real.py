"""Real power spectra and micrographs: defocus beside RELION's refined values and the rough ones listed with the data."""

import csv
import math
import warnings

import pytest
import torch

from cryowalk import Optics
from cryowalk.ctf_estimation import CtfEstimate, estimate_ctf, estimate_thickness, estimate_tilt, power_spectrum
from cryowalk.ctf_estimation.spectrum import spectrum_of_picture
from cryowalk.io.pictures import read_micrograph

pytestmark = pytest.mark.agreement
APOFERRITIN = {
    "03.05.02": 19580, "03.15.02": 22520, "03.43.44": 20240, "04.32.27": 16800, "04.36.57": 17680,
    "05.31.00": 22240, "05.53.51": 19440, "05.57.01": 21600, "07.08.55": 16560, "07.13.35": 19760,
}  # fmt: skip


def test_betagalactosidase_lies_by_the_refined_defocus_on_all_micrographs(real_data):
    optics = Optics(pixel_size=0.885, voltage_kv=200.0, spherical_aberration_mm=1.4, amplitude_contrast=0.1)
    folder = real_data / "betagal_10204"
    rows = list(csv.DictReader((folder / "micrographs_reference_defocus.csv").read_text().splitlines()))
    assert len(rows) == 12
    errors = []
    for row in rows:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            picture = read_micrograph(folder / "power_spectra" / f"20170629_{row['micrograph']}_frameImage_PS.mrc")
        found = estimate_ctf(spectrum_of_picture(picture.pixels, pixel_size=1.3995525), optics)
        reference = (float(row["ref_defocusU"]) + float(row["ref_defocusV"])) / 2
        errors.append(found.mean_defocus - reference)
        assert found.is_good, found.doubts
        assert 200 < found.astigmatism < 450
        assert found.resolution < 5.2
    assert max(map(abs, errors)) < 80, errors  # the mirror solution lies 25,000 Å away


@pytest.mark.parametrize("name", APOFERRITIN)
def test_apoferritin_lies_by_the_listed_defocus(real_data, name):
    optics = Optics(pixel_size=1.5, voltage_kv=300.0, spherical_aberration_mm=0.01, amplitude_contrast=0.07)
    image = read_micrograph(real_data / "apoferritin_10146" / "sums" / f"May08_{name}.bin_avg.png", pixel_size=1.5)
    assert image.pixels.shape == (1200, 1240)
    found: CtfEstimate = estimate_ctf(power_spectrum(image.pixels, pixel_size=1.5), optics)
    assert abs(found.mean_defocus / APOFERRITIN[name] - 1) < 0.02
    assert found.is_good, found.doubts
    if found.astigmatism > 300:
        assert 100 < math.degrees(float(found.defocus.azimuth[0])) < 140
    assert torch.isfinite(found.average.measured).all()


def test_apoferritin_micrographs_tilt_one_way_and_halves_say_so_too(real_data):
    # Nothing is published about it: ten fields of one grid agree with each other, and with fits to their upper and lower halves.
    optics = Optics(pixel_size=1.5, voltage_kv=300.0, spherical_aberration_mm=0.01, amplitude_contrast=0.07)
    slopes, differences = [], []
    for name in list(APOFERRITIN)[:4]:
        pixels = read_micrograph(real_data / "apoferritin_10146" / "sums" / f"May08_{name}.bin_avg.png", pixel_size=1.5).pixels
        found = estimate_ctf(power_spectrum(pixels, pixel_size=1.5), optics)
        plane = estimate_tilt(pixels, optics, found)
        assert plane.is_significant
        assert 5 < math.degrees(plane.angle) < 20
        slopes.append(plane.gradient[1])
        upper, lower = (
            estimate_ctf(power_spectrum(half, pixel_size=1.5), optics).mean_defocus for half in (pixels[:600], pixels[600:])
        )
        differences.append(lower - upper)
        assert math.isnan(estimate_thickness(found, optics).thickness)
    assert max(slopes) < -0.05  # defocus falls with y
    assert sum(differences) / 4 == pytest.approx(sum(slopes) / 4 * 900.0, rel=0.5)  # the middles of the halves lie 600 px apart
