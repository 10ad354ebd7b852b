"""The fates of electrons against the laws they are drawn from."""

import math

import pytest
import torch

from cryowalk.core.errors import UsageError
from cryowalk.microscope.absorption import mean_free_path
from cryowalk.microscope.fates import (
    characteristic_angle,
    draw_fates,
    elastic_angles,
    elastic_mean_free_path,
    fitted_mean_free_path,
    inelastic_angles,
)
from cryowalk.microscope.form_factors import scattering_factor

COUNT = 200_000


def test_numbers_of_collisions_are_poissons(generator):
    fates = draw_fates(COUNT, thickness=1500.0, elastic_path=6000.0, inelastic_path=3000.0, voltage_kv=300, generator=generator)
    for numbers, mean in ((fates.elastic, 0.25), (fates.inelastic, 0.5)):
        assert numbers.double().mean().item() == pytest.approx(mean, abs=5 * math.sqrt(mean / COUNT))
        assert numbers.double().var().item() == pytest.approx(mean, rel=0.03)
    assert fates.unscattered.double().mean().item() == pytest.approx(math.exp(-0.75), abs=0.006)
    assert fates.single_elastic.double().mean().item() == pytest.approx(0.25 * math.exp(-0.75), abs=0.004)
    assert fates.lost_energy.double().mean().item() == pytest.approx(1 - math.exp(-0.5), abs=0.006)
    assert fates.plural.double().mean().item() == pytest.approx(1 - math.exp(-0.75) * 1.75, abs=0.005)
    assert (fates.angle[fates.unscattered] == 0).all()
    assert (fates.angle[fates.single_elastic] > 0).all()


def test_five_hundred_angstroms_of_ice_let_most_electrons_through(generator):
    path = mean_free_path(300)
    fates = draw_fates(COUNT, thickness=500.0, elastic_path=1e12, inelastic_path=path, voltage_kv=300, generator=generator)
    assert fates.unscattered.double().mean().item() == pytest.approx(math.exp(-500 / 3950), abs=0.004)


def test_the_mean_free_path_is_fitted_from_fates(generator):
    thickness = torch.tensor([200.0, 600.0, 1200.0, 2500.0], dtype=torch.float64)
    kept = torch.stack(
        [
            1 - draw_fates(40_000, thickness=float(t), elastic_path=6500.0, inelastic_path=3950.0, voltage_kv=300, generator=generator).lost_energy.double().mean()
            for t in thickness
        ]
    )  # fmt: skip
    assert fitted_mean_free_path(thickness, kept) == pytest.approx(3950, rel=0.03)


def test_elastic_angles_follow_the_form_factor(generator):
    angles = elastic_angles(COUNT, voltage_kv=300, generator=generator)
    k = torch.linspace(0, 8, 20001, dtype=torch.float64)
    density = scattering_factor(8, k, form_factors="kirkland") ** 2 * k
    for edge in (0.3, 0.6, 1.2):
        expected = torch.trapezoid(density[k <= edge], k[k <= edge]) / torch.trapezoid(density, k)
        assert (angles < edge * 0.01968749).double().mean().item() == pytest.approx(expected.item(), abs=0.005)


def test_inelastic_angles_follow_the_lorentzian(generator):
    angles, narrow = inelastic_angles(COUNT, voltage_kv=300, generator=generator), characteristic_angle(300)
    assert narrow == pytest.approx(4.09e-5, rel=1e-3)
    widest = math.sqrt(2 * narrow)
    assert angles.max() <= widest
    for edge in (narrow, 10 * narrow, 100 * narrow):
        expected = math.log(1 + (edge / narrow) ** 2) / math.log(1 + (widest / narrow) ** 2)
        assert (angles < edge).double().mean().item() == pytest.approx(expected, abs=0.005)


def test_the_elastic_path_is_about_twice_the_inelastic_one():
    # Ratios of inelastic to elastic scattering of ice are about 20/Z of the mean charge of its mass: a little below two with the hydrogens.
    assert 1.3 < elastic_mean_free_path(300) / mean_free_path(300) < 2.5
    assert elastic_mean_free_path(100) < 0.6 * elastic_mean_free_path(300)
    assert elastic_mean_free_path(300, density=0.465) == pytest.approx(2 * elastic_mean_free_path(300))


def test_the_same_generator_gives_the_same_fates():
    first, second = (
        draw_fates(
            100, thickness=900.0, elastic_path=6e3, inelastic_path=3e3, voltage_kv=200, generator=torch.Generator().manual_seed(3)
        )
        for _ in range(2)
    )
    assert torch.equal(first.direction, second.direction)
    nothing = draw_fates(50, thickness=0.0, elastic_path=6e3, inelastic_path=3e3, voltage_kv=200, generator=torch.Generator())
    assert nothing.unscattered.all()


def test_what_cannot_be_is_refused(generator):
    with pytest.raises(UsageError, match="thickness"):
        draw_fates(5, thickness=-1.0, elastic_path=1.0, inelastic_path=1.0, voltage_kv=300, generator=generator)
    with pytest.raises(UsageError, match="mean free path"):
        draw_fates(5, thickness=1.0, elastic_path=0.0, inelastic_path=1.0, voltage_kv=300, generator=generator)
