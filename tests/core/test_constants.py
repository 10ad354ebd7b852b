import pytest

from cryowalk.core.constants import electron_wavelength, interaction_constant, lorentz_factor


def test_wavelengths_equal_the_verified_values(golden):
    for voltage, value in golden["wavelength_A"].items():
        if voltage.isdigit():
            assert electron_wavelength(float(voltage)) == pytest.approx(value, rel=2e-7)


def test_interaction_constants_equal_the_verified_values(golden):
    for voltage, value in golden["sigma_mrad_per_VA"].items():
        if voltage.isdigit():
            assert 1e3 * interaction_constant(float(voltage)) == pytest.approx(value, rel=1e-6)


def test_lorentz_factor_at_300_kv():
    assert lorentz_factor(300) == pytest.approx(1.587085, abs=1e-6)


def test_wavelength_is_that_of_the_field_without_any_outside_file():
    assert [electron_wavelength(v) for v in (100, 200, 300)] == pytest.approx([0.03701437, 0.02507934, 0.01968749], rel=1e-6)
