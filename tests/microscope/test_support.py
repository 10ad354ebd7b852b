"""Carbon, graphene and gold against closed forms and the crystals that they are."""

import math

import gemmi
import pytest
import torch

from cryowalk.core.constants import interaction_constant
from cryowalk.core.errors import UsageError
from cryowalk.fourier.grids import frequency_grid, frequency_radius
from cryowalk.fourier.shells import shell_average, shell_frequency
from cryowalk.fourier.transform import to_fourier
from cryowalk.microscope.form_factors import VOLT_PER_SCATTERING_FACTOR
from cryowalk.microscope.support import (
    CARBON_MEAN_INNER_POTENTIAL,
    CarbonFilm,
    absorbing_potential,
    bead_thickness,
    beads,
    carbon,
    carbon_power,
    film_thickness,
    gold_mean_inner_potential,
    graphene,
    mean_free_path,
)


def carbon_gaussians():
    """Amplitudes and widths of the form factor of carbon, International Tables C, 4.3.2.2."""
    table = gemmi.Element(6).c4322
    return list(zip(table.a, table.b, strict=True))


def seeded(seed=8):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("size", [(256, 256), (255, 256), (256, 257)])
def test_carbon_has_its_mean_and_its_spectrum(size):
    film = CarbonFilm(thickness=150.0)
    pixel = 1.3
    shown = carbon(size, pixel_size=pixel, film=film, generator=seeded())
    assert shown.mean().item() == pytest.approx(150 * CARBON_MEAN_INNER_POTENTIAL, rel=1e-4)
    measured = shell_average(to_fourier(shown.double()).abs() ** 2, size=size)
    k = shell_frequency(min(size), pixel_size=pixel, dtype=torch.float64)
    expected = carbon_power(k, thickness=150.0) / pixel**2
    torch.testing.assert_close(measured[12:], expected[12:], rtol=0.35, atol=0)
    assert (measured[5:] / expected[5:]).mean().item() == pytest.approx(1.0, abs=0.02)


def test_independent_atoms_have_the_power_of_carbon():
    """White dots of one carbon's weight each: at low frequency the power is n t (47.88 f(0))² whatever the law of their shape."""
    area, thickness = 400.0**2, 100.0
    density = 1.75 * 0.602214 / 12.011
    dots = torch.zeros(100, 100, dtype=torch.float64)
    count = round(density * area * thickness)
    place = torch.randint(0, 10_000, (count,), generator=seeded())
    dots.view(-1).index_add_(0, place, torch.full((count,), VOLT_PER_SCATTERING_FACTOR * 2.5088 / 16, dtype=torch.float64))
    level = dots.var().item() * 16  # V² Å⁴: variance times the area of a pixel
    assert carbon_power(torch.zeros(()), thickness=thickness).item() == pytest.approx(level, rel=0.05)


def test_the_hole_is_round_and_its_edge_is_where_it_should_be():
    film = CarbonFilm(thickness=120.0, hole_radius=150.0, hole_centre=(200.0, 260.0), edge=40.0)
    thickness = film_thickness(film, (200, 300), pixel_size=2.0)
    row = thickness[130]  # y = 260
    assert row[100] == 0
    assert row[100 + 64] == 0  # 128 Å from the middle
    assert row[100 + 75].item() == pytest.approx(60.0, abs=1e-3)  # 150 Å
    assert row[100 + 86].item() == pytest.approx(120.0)
    assert thickness[130 - 75, 100].item() == pytest.approx(60.0, abs=1e-3)
    shown = carbon((200, 300), pixel_size=2.0, film=film, generator=seeded())
    assert shown[130, 100] == 0  # nothing in the hole, not even grain
    sharp = film_thickness(CarbonFilm(thickness=120.0, hole_radius=151.0, edge=0.0), (200, 300), pixel_size=2.0)
    assert set(sharp.unique().tolist()) == {0.0, 120.0}
    assert (sharp == 0).sum().item() * 4 == pytest.approx(math.pi * 151**2, rel=0.01)
    whole = film_thickness(CarbonFilm(thickness=120.0), (5, 4), pixel_size=2.0)
    assert (whole == 120).all()


def test_a_seed_is_a_film():
    film = CarbonFilm()
    one, same = (carbon((40, 40), pixel_size=2.0, film=film, generator=seeded(1)) for _ in range(2))
    other = carbon((40, 40), pixel_size=2.0, film=film, generator=seeded(2))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


@pytest.mark.parametrize("azimuth", [0.0, 0.4])
def test_graphene_has_crisp_spots_at_its_lattice(azimuth):
    """Six spots at 1/2.13, six at 1/1.23 Å⁻¹, 60° apart, the inner ones on the rays 30° from a lattice vector; nothing between."""
    size, pixel = (400, 400), 0.41
    shown = graphene(size, pixel_size=pixel, azimuth=azimuth, like=torch.zeros(1, dtype=torch.float64))
    x, y = (torch.arange(400, dtype=torch.float64) * pixel for _ in range(2))
    window = torch.hann_window(400, dtype=torch.float64)

    def amplitude(radius, angle):
        wave = torch.outer(
            torch.exp(-2j * math.pi * radius * math.sin(angle) * y), torch.exp(-2j * math.pi * radius * math.cos(angle) * x)
        )
        return (shown * torch.outer(window, window) * wave).mean().abs().item() / window.mean().item() ** 2

    inner = [amplitude(1 / (2.46 * math.sqrt(3) / 2), azimuth + math.pi / 6 + n * math.pi / 3) for n in range(6)]
    outer = [amplitude(1 / 1.23, azimuth + n * math.pi / 3) for n in range(6)]
    cell = math.sqrt(3) / 2 * 2.46**2

    def expected(k, structure):
        f = sum(a * math.exp(-b * k**2 / 4) for a, b in carbon_gaussians())
        return VOLT_PER_SCATTERING_FACTOR * f * math.exp(-0.3 * k**2 / 4) * structure / cell

    assert inner == pytest.approx([expected(1 / 2.1304, 1)] * 6, rel=1e-3)
    assert outer == pytest.approx([expected(1 / 1.23, 2)] * 6, rel=1e-3)
    assert pytest.approx(1 / (2.46 * math.sqrt(3) / 2), rel=1e-3) == 1 / 2.13
    between = amplitude(1 / 1.23, azimuth + math.pi / 6), amplitude(1 / 2.13, azimuth), amplitude(0.6, azimuth + 0.2)
    assert max(between) < 1e-3 * min(inner)


def test_graphene_is_the_sum_of_its_atoms():
    """Against Gaussians in real space about atoms 1.42 Å from each other; B is large, so that nothing lies beyond Nyquist."""
    b, pixel, origin = 4.0, 0.2, (3.0, 2.2)
    shown = graphene((40, 50), pixel_size=pixel, azimuth=0.3, origin=origin, b_factor=b, like=torch.zeros(1, dtype=torch.float64))
    a1 = 2.46 * torch.tensor([math.cos(0.3), math.sin(0.3)], dtype=torch.float64)
    a2 = 2.46 * torch.tensor([math.cos(0.3 + math.pi / 3), math.sin(0.3 + math.pi / 3)], dtype=torch.float64)
    index = torch.arange(-30, 31, dtype=torch.float64)
    middles = (index[:, None, None] * a1 + index[None, :, None] * a2).reshape(-1, 2)
    atoms = torch.cat([middles + (a1 + a2) / 3, middles - (a1 + a2) / 3]) + torch.tensor(origin, dtype=torch.float64)
    neighbour = torch.cdist(atoms, atoms)
    assert neighbour[neighbour > 0.1].min().item() == pytest.approx(1.42, abs=0.001)
    for row, column in ((0, 0), (17, 31), (39, 8)):
        squared = ((atoms - torch.tensor([column * pixel, row * pixel], dtype=torch.float64)) ** 2).sum(dim=1)
        value = sum(
            (amplitude * 4 * math.pi / (width + b) * torch.exp(-4 * math.pi**2 * squared / (width + b))).sum().item()
            for amplitude, width in carbon_gaussians()
        )
        assert shown[row, column].item() == pytest.approx(VOLT_PER_SCATTERING_FACTOR * value, rel=1e-4)


def test_graphene_at_coarse_pixels_is_flat():
    shown = graphene((8, 9), pixel_size=1.3)  # its first spots lie beyond Nyquist
    assert shown.std() < 1e-4 * shown.mean()
    assert shown.mean().item() == pytest.approx(2 * 47.878 * 2.5088 / (math.sqrt(3) / 2 * 2.46**2), rel=1e-3)


@pytest.mark.parametrize("radius", [3.1, 25.0, 50.0])
def test_beads_hold_the_volume_of_balls(radius, generator):
    positions = torch.tensor([[120.3, 88.8]], dtype=torch.float64)
    shown = bead_thickness(positions, radius=radius, size=(80, 101), pixel_size=2.3)
    assert shown.sum().item() * 2.3**2 == pytest.approx(4 / 3 * math.pi * radius**3, rel=0.01)
    assert shown.max().item() <= 2 * radius
    middle = (positions[0, 1] / 2.3).round().long(), (positions[0, 0] / 2.3).round().long()
    assert shown[middle] == shown.max()
    weight = shown / shown.sum()
    assert (weight.sum(dim=0) * torch.arange(101) * 2.3).sum().item() == pytest.approx(120.3, abs=0.1)
    assert (weight.sum(dim=1) * torch.arange(80) * 2.3).sum().item() == pytest.approx(88.8, abs=0.1)


def test_beads_add_and_may_reach_out_of_the_field():
    positions = torch.tensor([[0.0, 0.0], [60.0, 40.0], [-500.0, 0.0]])
    radii = torch.tensor([20.0, 12.0, 30.0])
    shown = bead_thickness(positions, radius=radii, size=(50, 60), pixel_size=2.0)
    single = sum(
        bead_thickness(p[None], radius=r.item(), size=(50, 60), pixel_size=2.0) for p, r in zip(positions, radii, strict=True)
    )
    torch.testing.assert_close(shown, single)
    assert shown[0, 0].item() == pytest.approx(40, rel=0.01)
    assert bead_thickness(torch.zeros(0, 2), radius=10.0, size=(5, 6), pixel_size=2.0).abs().max() == 0


def test_gold_is_thick():
    assert gold_mean_inner_potential() == pytest.approx(29.85, abs=0.05)
    shown = beads(torch.tensor([[50.0, 50.0]]), radius=50.0, size=(50, 50), pixel_size=2.0)
    assert interaction_constant(300) * shown.max().item() > 1.5  # rad: no weak phase object


def test_mean_free_paths_are_those_of_the_formula():
    # E_m = 7.6 · 6^0.36 = 14.48 eV; F(200 kV) = 0.618: 106 · 0.618 · 13.8 / ln(276) nm
    assert mean_free_path(6, voltage_kv=200) == pytest.approx(1608, rel=0.01)
    assert mean_free_path(79, voltage_kv=300) < 0.5 * mean_free_path(6, voltage_kv=300)
    thickness = torch.tensor([0.0, 120.0, 400.0], dtype=torch.float64)
    lost = absorbing_potential(thickness, atomic_number=6, voltage_kv=300)
    intensity = torch.exp(-interaction_constant(300) * lost) ** 2
    torch.testing.assert_close(intensity, torch.exp(-thickness / mean_free_path(6, voltage_kv=300)))


def test_spots_of_graphene_are_single_coefficients_where_the_field_is_a_crystal():
    """A field of whole cells along x: the spots on that axis fall on single Fourier coefficients."""
    pixel = 2.46 / 6
    shown = graphene((60, 60), pixel_size=pixel, azimuth=0.0, like=torch.zeros(1, dtype=torch.float64))
    row = to_fourier(shown[:1].expand(60, -1).contiguous())[0].abs()
    kx, _ = frequency_grid((60, 60), pixel_size=pixel, dtype=torch.float64)
    assert (row > 1e-9 * row.max()).sum().item() <= 4  # 0, 1, 2 and 3 waves a cell
    assert kx[10].item() == pytest.approx(1 / 2.46)
    assert frequency_radius((60, 60), pixel_size=pixel).max() > 1


def test_lengths_that_cannot_be():
    with pytest.raises(UsageError, match="pixel size"):
        graphene((8, 8), pixel_size=0.0)
    with pytest.raises(UsageError, match="thickness of the carbon"):
        carbon((8, 8), pixel_size=1.0, film=CarbonFilm(thickness=-5.0), generator=seeded())
    with pytest.raises(UsageError, match="radius of the hole"):
        film_thickness(CarbonFilm(hole_radius=0.0), (8, 8), pixel_size=1.0)
    with pytest.raises(UsageError, match="edge"):
        film_thickness(CarbonFilm(hole_radius=10.0, edge=-1.0), (8, 8), pixel_size=1.0)
    with pytest.raises(UsageError, match="radius of a bead"):
        bead_thickness(torch.zeros(1, 2), radius=0.0, size=(8, 8), pixel_size=1.0)
