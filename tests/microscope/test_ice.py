"""Simulated ice against its published spectrum, closed forms of its variance and of its decay, and what independent molecules would give."""

import itertools
import math

import numpy as np
import pytest
import torch

from cryowalk.core.constants import interaction_constant
from cryowalk.core.errors import CryowalkError, InputError, ShapeError, UsageError
from cryowalk.fourier.grids import frequency_radius
from cryowalk.fourier.shells import shell_average
from cryowalk.fourier.transform import to_fourier
from cryowalk.microscope.form_factors import VOLT_PER_SCATTERING_FACTOR, bonded_hydrogen, scattering_factor
from cryowalk.microscope.ice import (
    BONDED_INNER_POTENTIAL,
    FREE_ATOM_INNER_POTENTIAL,
    MOLECULES_PER_VOLUME,
    evolve_ice,
    ice_slice,
    power,
    projected_ice,
)

SIZES = [(128, 128), (127, 129), (96, 150), (151, 96)]


def seeded(seed=1):
    return torch.Generator().manual_seed(seed)


def power_of(fields, *, pixel_size):
    """The mean power spectral density of fields, V² Å⁴, on the half spectrum."""
    return sum(to_fourier(field.double()).abs() ** 2 for field in fields) / len(fields) * pixel_size**2


def published(frequency):
    """The fit's shape as its authors write it down."""
    return 0.199 * np.exp(-0.5 * (frequency / 0.731) ** 2) + 0.801 * np.exp(-0.5 * ((frequency - 1 / 2.88) / 0.081) ** 2)


@pytest.mark.parametrize("size", SIZES)
def test_the_spectrum_is_the_published_fit(size):
    pixel_size, thickness, source = 0.83, 420.0, seeded()
    fields = [projected_ice(size, pixel_size=pixel_size, thickness=thickness, generator=source) for _ in range(60)]
    radius = frequency_radius(size, pixel_size=pixel_size, dtype=torch.float64)
    expected = power(radius, thickness=thickness)
    torch.testing.assert_close(
        expected / expected.max(), torch.from_numpy(published(radius.numpy())) / published(radius.numpy()).max()
    )
    measured = power_of(fields, pixel_size=pixel_size)
    assert measured[0, 0] == pytest.approx(0, abs=1e-3)
    ratio = shell_average(measured / expected, size=size)[4:]
    assert (ratio - 1).abs().max() < 0.12
    assert (ratio - 1).abs().mean() < 0.02
    # Columns that are their own mates, and the Nyquist row, have the same power as the others.
    for part in ((measured / expected)[1:, 0], (measured / expected)[:, -1], (measured / expected)[size[0] // 2]):
        assert part.mean() == pytest.approx(1, abs=0.06)


def test_the_variance_is_the_integral_of_the_spectrum_and_grows_with_thickness():
    ratios = []
    for thickness in (50.0, 200.0, 800.0):
        field = projected_ice((512, 512), pixel_size=0.9, thickness=thickness, generator=seeded())
        ratios.append(field.var().item() / thickness)
        expected = power(frequency_radius((512, 512), pixel_size=0.9, dtype=torch.float64), thickness=thickness)
        both = torch.full((257,), 2.0, dtype=torch.float64)
        both[[0, -1]] = 1
        integral = (expected * both).sum().item() / (512 * 0.9) ** 2
        assert field.var().item() == pytest.approx(integral, rel=0.01)
    assert ratios == pytest.approx([ratios[0]] * 3, rel=1e-5)


def test_on_very_small_pixels_the_variance_of_a_molecule_is_the_published_one():
    k = np.linspace(0, 8, 80001)
    density = power(torch.from_numpy(k), thickness=1.0).numpy() / MOLECULES_PER_VOLUME
    assert np.trapezoid(2 * math.pi * k * density, k) == pytest.approx(10195.82, rel=1e-6)
    assert pytest.approx(0.0314223, rel=1e-5) == MOLECULES_PER_VOLUME


def test_the_scale_agrees_with_scattering_by_molecules_of_free_atoms():
    """Debye's formula for one molecule: beyond the structure of the liquid (k > 0.7 Å⁻¹) ice scatters as its molecules do, at k → 0 far less."""
    k = torch.linspace(1e-3, 1.6, 200, dtype=torch.float64)
    oxygen, hydrogen = scattering_factor(8, k), scattering_factor(1, k)
    molecule = oxygen**2 + 4 * oxygen * hydrogen * torch.sinc(2 * k * 0.9572) + 2 * hydrogen**2 * (1 + torch.sinc(2 * k * 1.5139))
    structure = power(k, thickness=1.0) / (MOLECULES_PER_VOLUME * VOLT_PER_SCATTERING_FACTOR**2 * molecule)
    assert structure[k > 0.7].min() > 0.7
    assert structure[k > 0.7].max() < 1.4
    assert 0.05 < structure[0] < 0.12  # water's compressibility: 0.06
    assert 0.3 < k[(power(k, thickness=1.0)).argmax()] < 0.36
    mean = MOLECULES_PER_VOLUME * VOLT_PER_SCATTERING_FACTOR * (oxygen[0] + 2 * hydrogen[0])
    assert mean.item() == pytest.approx(FREE_ATOM_INNER_POTENTIAL, abs=0.01)
    bonded = MOLECULES_PER_VOLUME * VOLT_PER_SCATTERING_FACTOR * (oxygen[0] + 2 * bonded_hydrogen(k[:1], bond_length=0.96))
    assert bonded.item() == pytest.approx(BONDED_INNER_POTENTIAL, abs=0.01)


def test_slices_add_up_to_the_slab():
    size, pixel_size, source = (160, 144), 1.1, seeded()
    edges = np.arange(-100, 101, 8.0)
    sums = [
        sum(
            ice_slice(size, pixel_size=pixel_size, interval=(low, high), thickness=130.0, generator=source)
            for low, high in itertools.pairwise(edges)
        )
        for _ in range(12)
    ]
    expected = power(frequency_radius(size, pixel_size=pixel_size, dtype=torch.float64), thickness=130.0)
    ratio = shell_average(power_of(sums, pixel_size=pixel_size) / expected, size=size)[4:]
    assert (ratio - 1).abs().mean() < 0.04
    outside = ice_slice(size, pixel_size=pixel_size, interval=(80.0, 90.0), thickness=130.0, generator=source)
    assert not outside.any()


def test_a_thickness_map_makes_the_fluctuations_and_leaves_holes_empty():
    thickness = torch.linspace(0, 400, 256).repeat(256, 1)
    thickness[:, :20] = 0
    field = projected_ice((256, 256), pixel_size=1.0, thickness=thickness, generator=seeded())
    even = projected_ice((256, 256), pixel_size=1.0, thickness=1.0, generator=seeded())
    torch.testing.assert_close(field, even * thickness.sqrt())
    assert not field[:, :20].any()
    part = ice_slice((256, 256), pixel_size=1.0, interval=(100.0, 110.0), thickness=thickness, generator=seeded())
    assert not part[:, thickness[0] < 200].any()
    assert part[:, -10:].all()


def test_the_same_seed_makes_the_same_ice():
    first, again, other = (projected_ice((33, 40), pixel_size=1.0, thickness=100.0, generator=seeded(seed)) for seed in (5, 5, 6))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert first.dtype == torch.float32


@pytest.mark.parametrize("size", SIZES)
def test_evolving_ice_forgets_as_its_molecules_walk_and_stays_ice(size):
    pixel_size, dose, source = 0.9, 2.0, seeded()
    before = [projected_ice(size, pixel_size=pixel_size, thickness=200.0, generator=source) for _ in range(60)]
    after = [evolve_ice(f, pixel_size=pixel_size, dose=dose, thickness=200.0, generator=source) for f in before]
    radius = frequency_radius(size, pixel_size=pixel_size, dtype=torch.float64)
    expected = power(radius, thickness=200.0)
    ratio = shell_average(power_of(after, pixel_size=pixel_size) / expected, size=size)[4:]
    assert (ratio - 1).abs().mean() < 0.02
    cross = sum((to_fourier(a.double()) * to_fourier(b.double()).conj()).real for a, b in zip(before, after, strict=True)) / 60
    kept = torch.exp(-2 * math.pi**2 * radius**2 * 1.1 / 3 * dose)
    difference = shell_average(cross * pixel_size**2 / expected - kept, size=size)[4:]
    assert difference.abs().max() < 0.1
    assert difference.abs().mean() < 0.015


def test_two_small_doses_are_one_large_one_and_no_dose_changes_nothing():
    ice = projected_ice((64, 65), pixel_size=1.0, thickness=100.0, generator=seeded())
    same = evolve_ice(ice, pixel_size=1.0, dose=0.0, thickness=100.0, generator=seeded())
    torch.testing.assert_close(same, ice, atol=1e-4, rtol=1e-5)
    # Averages over many continuations: what is left of the ice after 1 + 1 and after 2.
    twice = torch.zeros_like(ice)
    once = torch.zeros_like(ice)
    source = seeded(3)
    for _ in range(400):
        middle = evolve_ice(ice, pixel_size=1.0, dose=0.25, thickness=100.0, generator=source)
        twice += evolve_ice(middle, pixel_size=1.0, dose=0.25, thickness=100.0, generator=source) / 400
        once += evolve_ice(ice, pixel_size=1.0, dose=0.5, thickness=100.0, generator=source) / 400
    assert (twice - once).std() < 3 * ice.std() / math.sqrt(400)
    assert torch.corrcoef(torch.stack([twice.flatten(), once.flatten()]))[0, 1] > 0.95


def test_the_best_exposure_for_thon_rings_of_ice_is_the_published_one():
    """McMullan et al. 2015: 4.0 e⁻/Å² for each image show the rings at 3.7 Å best; their signal over √images with the walk's correlation."""
    rate = 2 * math.pi**2 * 1.1 / 3 / 3.7**2
    exposure = np.linspace(0.5, 12, 2301)
    x = rate * exposure
    visibility = (x - 1 + np.exp(-x)) / x**1.5
    assert exposure[visibility.argmax()] == pytest.approx(4.0, abs=0.1)


def test_evolving_keeps_a_thickness_map():
    thickness = torch.zeros(64, 80)
    thickness[:, 40:] = 300
    ice = projected_ice((64, 80), pixel_size=1.0, thickness=thickness, generator=seeded())
    after = evolve_ice(ice, pixel_size=1.0, dose=3.0, thickness=thickness, generator=seeded(2))
    assert not after[:, :40].any()
    assert after[:, 40:].std() == pytest.approx(ice[:, 40:].std().item(), rel=0.1)


def test_evolving_keeps_the_precision():
    ice = projected_ice((40, 33), pixel_size=1.0, thickness=100.0, generator=seeded()).double()
    thickness = torch.full((40, 33), 100.0)
    thickness[0] = 0
    for given in (100.0, thickness):
        after = evolve_ice(ice, pixel_size=1.0, dose=1.0, thickness=given, generator=seeded(2))
        assert after.dtype == torch.float64
        assert after.isfinite().all()


def test_ice_is_made_and_evolves_where_its_generator_is():
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device: ice on a GPU was not tested")
    source = torch.Generator(device="cuda").manual_seed(1)
    thickness = torch.full((200, 301), 300.0, device="cuda")
    ice = projected_ice((200, 301), pixel_size=1.0, thickness=thickness, generator=source)
    after = evolve_ice(ice, pixel_size=1.0, dose=1.0, thickness=thickness, generator=source)
    here = projected_ice((200, 301), pixel_size=1.0, thickness=300.0, generator=seeded())
    for field in (ice, after):
        assert field.device.type == "cuda"
        assert field.std().item() == pytest.approx(here.std().item(), rel=0.03)


def test_elastic_scattering_is_the_variance_of_the_phase():
    from cryowalk.microscope.absorption import elastic_mean_free_path

    sigma = interaction_constant(300)
    field = projected_ice((1024, 1024), pixel_size=0.2, thickness=20.0, generator=seeded())
    assert (sigma * field).var().item() == pytest.approx(20 / elastic_mean_free_path(300), rel=0.03)


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"thickness": -1.0}, UsageError),
        ({"thickness": math.nan}, UsageError),
        ({"thickness": torch.full((8, 9), -1.0)}, InputError),
        ({"thickness": torch.full((8, 9), math.inf)}, InputError),
        ({"thickness": torch.ones(9, 8)}, ShapeError),
        ({"pixel_size": 0.0}, UsageError),
        ({"size": (0, 9)}, ShapeError),
    ],
)
def test_ice_that_cannot_be_is_refused(change, error):
    chosen = {"size": (8, 9), "pixel_size": 1.0, "thickness": 10.0, **change}
    with pytest.raises(error) as caught:
        projected_ice(chosen.pop("size"), **chosen, generator=seeded())
    assert isinstance(caught.value, CryowalkError)


def test_slices_and_doses_that_cannot_be_are_refused():
    with pytest.raises(UsageError, match="lower to a higher"):
        ice_slice((8, 8), pixel_size=1.0, interval=(3.0, 3.0), thickness=10.0, generator=seeded())
    with pytest.raises(UsageError, match="dose"):
        evolve_ice(torch.zeros(8, 8), pixel_size=1.0, dose=-1.0, thickness=10.0, generator=seeded())
