"""Where the simple models break down, against the closed form of a weak thick specimen."""

import math

import pytest
import torch

from cryowalk.core.errors import UsageError
from cryowalk.data.optics import Optics
from cryowalk.microscope.breakdown import MODELS, breakdown

OPTICS = Optics(pixel_size=0.9, amplitude_contrast=0.1)


def noise(generator, *, strength, count=120, size=(80, 90)):
    return strength * torch.randn(count, *size, generator=generator, dtype=torch.float64)


def test_a_weak_slab_decorrelates_as_its_defocus_spread_says(generator):
    table = breakdown(
        noise(generator, strength=1e-3, size=(200, 210)),
        optics=OPTICS,
        slice_thickness=10.0,
        thicknesses=(10, 300, 1200),
        voltages_kv=(100, 300),
        resolutions=(4.0, 6.0, 9.0),
    )
    assert table.thicknesses == (10.0, 300.0, 1200.0)
    for row in table.rows():
        if row.model == "ewald":
            assert row.error < 1e-3
            continue
        wavelength = Optics(pixel_size=1.0, voltage_kv=row.voltage_kv).wavelength
        # Slices at the planes of a comb: Dirichlet's kernel, a sinc for many of them.
        count = round(row.thickness / 10)
        step = math.pi * wavelength * 10 / row.resolution**2
        expected = math.sin(count * step / 2) / (count * math.sin(step / 2))
        assert row.correlation == pytest.approx(expected, abs=0.12)
        assert row.correlation == pytest.approx(math.sin(count * step / 2) / (count * step / 2), abs=0.12)


def test_each_model_breaks_down_where_it_must(generator):
    """Thin and strong: the grating holds, single scattering fails. Thick and weak: the other way round."""
    common = {"optics": OPTICS, "slice_thickness": 4.0, "voltages_kv": (300,), "resolutions": (4.0,)}
    strong = breakdown(noise(generator, strength=200.0), thicknesses=(4,), **common)
    weak = breakdown(noise(generator, strength=0.1), thicknesses=(480,), **common)
    error = {name: (strong.errors[m, 0, 0, 0].item(), weak.errors[m, 0, 0, 0].item()) for m, name in enumerate(MODELS)}
    assert error["phase_grating"][0] < 1e-9
    assert error["ewald"][0] > 0.05
    assert error["weak_phase"][0] > 0.05
    assert error["ewald"][1] < 0.01
    assert error["phase_grating"][1] > 0.3
    assert error["weak_phase"][1] > 0.3


def test_thickness_limits_are_read_off(generator):
    table = breakdown(
        noise(generator, strength=1.0),
        optics=OPTICS,
        slice_thickness=10.0,
        thicknesses=(10, 100, 400, 1200),
        voltages_kv=(300,),
        resolutions=(4.0, 12.0),
    )
    fine = table.largest_thickness("weak_phase", voltage_kv=300.0, resolution=4.0, error=0.3)
    coarse = table.largest_thickness("weak_phase", voltage_kv=300.0, resolution=12.0, error=0.3)
    assert fine in (10.0, 100.0)
    assert coarse == 1200.0
    assert table.largest_thickness("weak_phase", voltage_kv=300.0, resolution=4.0, error=1e-9) == 0.0
    with pytest.raises(UsageError, match="no kinematic"):
        table.largest_thickness("kinematic", voltage_kv=300.0, resolution=4.0, error=0.3)


@pytest.mark.parametrize(
    ("thicknesses", "resolutions", "message"),
    [
        ((500,), (4.0,), "not among"),
        ((0,), (4.0,), "thickness"),
        ((40,), (2.0,), "does not reach"),
        ((40,), (400.0,), "too small"),
    ],
)
def test_hostile_tables_are_refused(thicknesses, resolutions, message, generator):
    with pytest.raises(UsageError, match=message):
        breakdown(
            noise(generator, strength=1.0, count=10, size=(20, 21)),
            optics=OPTICS,
            slice_thickness=4.0,
            thicknesses=thicknesses,
            voltages_kv=(300,),
            resolutions=resolutions,
        )
