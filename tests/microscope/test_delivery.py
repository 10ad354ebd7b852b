"""How particles come to lie in the ice: how many, where, which way round, and what is refused."""

import math

import pytest
import torch

from cryowalk.core.errors import CryowalkWarning, UsageError
from cryowalk.microscope.delivery import (
    IceThickness,
    ParticleKind,
    deliver,
    ice_of,
    mean_thickness,
    overlap_probability,
    particles_in_ice,
    thickness_at,
    thickness_map,
)
from cryowalk.microscope.delivery_settings import DeliverySettings

FIELD = (4000.0, 3000.0)
BALL = ParticleKind(radius=80.0, mass=450e3)


def seeded(seed=3):
    return torch.Generator().manual_seed(seed)


def delivered(specimens=(BALL,), field=FIELD, seed=3, allowed=None, **choices):
    return deliver(DeliverySettings(**choices), field=field, specimens=specimens, generator=seeded(seed), allowed=allowed)


def nearest(positions):
    distance = torch.cdist(positions, positions)
    return distance + torch.diag(torch.full((len(positions),), math.inf, dtype=distance.dtype))


def test_a_concentration_is_a_number_of_particles():
    assert particles_in_ice(1.0, mass=450e3, thickness=300.0, area=4096.0**2) == pytest.approx(6.7, abs=0.05)
    found = delivered(field=(4096.0, 4096.0), concentration=10.0)
    assert len(found.positions) == 67
    # numbers, not masses, are shared by the weights: the mean mass counts
    light = ParticleKind(radius=40.0, mass=150e3)
    both = delivered((BALL, light), field=(4096.0, 4096.0), concentration=10.0)
    assert len(both.positions) == round(6.7353 * 10 * 450 / 300)


def test_the_number_may_follow_poissons_law():
    counts = torch.tensor(
        [len(delivered(count=9, count_spread="poisson", seed=seed).positions) for seed in range(300)], dtype=torch.float64
    )
    assert counts.mean().item() == pytest.approx(9, abs=0.6)
    assert counts.var().item() == pytest.approx(9, rel=0.3)


@pytest.mark.parametrize("gap", [0.0, 35.0])
def test_no_two_particles_overlap_in_the_image(gap):
    small = ParticleKind(radius=45.0, weight=2.0)
    found = delivered((BALL, small), count=150, gap=gap)
    radii = torch.tensor([80.0, 45.0], dtype=torch.float64)[found.specimen]
    allowed = radii[:, None] + radii + gap
    assert (nearest(found.positions[:, :2]) >= allowed).all()
    assert nearest(found.positions[:, :2]).min() < 1.3 * allowed.min()  # dense enough that the rule has had work


def test_a_negative_gap_allows_as_much_overlap():
    found = delivered(count=200, gap=-60.0)
    closest = nearest(found.positions[:, :2]).min().item()
    assert 100 <= closest < 160
    assert len(delivered(count=500, gap=-1000.0).positions) == 500


def test_in_space_particles_may_lie_above_each_other():
    found = delivered(count=250, separation="volume", ice_thickness=1000.0)
    assert (nearest(found.positions) >= 160).all()
    assert (nearest(found.positions[:, :2]) < 160).any()
    free = delivered(count=250, separation="none")
    assert (nearest(free.positions) < 160).any()


def test_particles_lie_in_the_ice_and_touch_the_interface_they_stick_to():
    choices = {"ice_thickness": 170.0, "rim_thickness": 400.0, "adsorbed_fraction": 0.5, "far_side_fraction": 0.8}
    found = delivered(count=200, separation="none", **choices)
    room = thickness_at(found.thickness, found.positions[:, 0], found.positions[:, 1]) / 2 - 80.0
    z = found.positions[:, 2]
    assert (z.abs() <= room + 1e-9).all()
    stuck = found.side != 0
    torch.testing.assert_close(z[stuck], found.side[stuck] * room[stuck])
    assert stuck.sum().item() == pytest.approx(100, abs=25)
    assert (found.side == 1).sum().item() == pytest.approx(80, abs=25)
    free = (z / room)[~stuck]
    assert free.min() < -0.9
    assert free.max() > 0.9
    assert free.mean().abs() < 0.2


def test_thin_ice_pushes_particles_to_the_rim():
    found = delivered(count=60, ice_thickness=100.0, rim_thickness=300.0, separation="none")
    middle = torch.tensor(FIELD, dtype=torch.float64) / 2
    distance = (found.positions[:, :2] - middle).norm(dim=1)
    # 100 + 200 (r/R)² = 160
    edge = math.sqrt(0.3) * math.hypot(*FIELD) / 2
    assert distance.min().item() >= edge
    assert distance.min().item() < 1.1 * edge


def test_places_fill_the_field_evenly_within_its_margin():
    found = delivered(count=3000, separation="none", margin=200.0)
    low, high = found.positions[:, :2].min(dim=0).values, found.positions[:, :2].max(dim=0).values
    side = torch.tensor(FIELD, dtype=torch.float64)
    assert (low >= 200).all()
    assert (high <= side - 200).all()
    assert (low < 215).all()
    assert (high > side - 215).all()
    parts = torch.histc((found.positions[:, 0] - 200) / 3600, bins=8, min=0, max=1)
    assert (parts - 375).abs().max() < 5 * math.sqrt(375)


def test_orientations_are_uniform_in_the_ice_and_preferred_at_interfaces():
    free = delivered(count=4000, separation="none")
    assert free.lab_from_particle.mean(dim=0).abs().max() < 0.05
    identity = torch.eye(3, dtype=torch.float64).expand(4000, 3, 3)
    torch.testing.assert_close(free.lab_from_particle @ free.lab_from_particle.mT, identity)

    face = (1.0, -2.0, 2.0)
    kind = ParticleKind(radius=80.0, faces=(face,))
    kappa = 6.0
    stuck = delivered((kind,), count=4000, separation="none", adsorbed_fraction=1.0, preferred_concentration=kappa)
    outward = stuck.lab_from_particle @ (torch.tensor(face, dtype=torch.float64) / 3)
    # the face points out of the ice on either side, as far as the law of von Mises and Fisher spreads it
    for side in (-1, 1):
        mean = outward[stuck.side == side].mean(dim=0)
        assert mean[2].item() == pytest.approx(side * (1 / math.tanh(kappa) - 1 / kappa), abs=0.02)
        assert mean[:2].abs().max() < 0.05


def test_two_faces_and_two_kinds_each_have_their_own(generator):
    first = ParticleKind(radius=50.0, faces=((0.0, 0.0, 1.0), (1.0, 0.0, 0.0)))
    second = ParticleKind(radius=60.0, weight=3.0, faces=((0.0, 1.0, 0.0),))
    found = delivered(
        (first, second),
        count=2000,
        separation="none",
        adsorbed_fraction=1.0,
        far_side_fraction=1.0,
        preferred_concentration=400.0,
    )
    assert (found.specimen == 1).double().mean().item() == pytest.approx(0.75, abs=0.04)
    out = found.lab_from_particle[:, 2]  # how much of each particle axis points along the beam
    of_first, of_second = out[found.specimen == 0], out[found.specimen == 1]
    assert (of_second[:, 1] > 0.95).all()
    assert ((of_first[:, 2] > 0.95) | (of_first[:, 0] > 0.95)).all()
    assert (of_first[:, 2] > 0.95).double().mean().item() == pytest.approx(0.5, abs=0.1)


def test_a_map_of_forbidden_places_is_kept():
    allowed = torch.zeros(30, 40, dtype=torch.bool)
    allowed[:, 25:] = True
    allowed[:10] = False
    found = delivered(count=80, separation="none", allowed=allowed)
    assert (found.positions[:, 0] >= 2500).all()
    assert (found.positions[:, 1] >= 1000).all()


def test_a_seed_is_a_delivery():
    first, again, other = delivered(count=50), delivered(count=50), delivered(count=50, seed=4)
    assert torch.equal(first.positions, again.positions)
    assert torch.equal(first.lab_from_particle, again.lab_from_particle)
    assert not torch.equal(first.positions, other.positions)


def test_no_particles_is_an_empty_delivery():
    found = delivered(count=0)
    assert found.positions.shape == (0, 3)
    assert found.lab_from_particle.shape == (0, 3, 3)
    assert len(found.specimen) == 0


def test_the_order_mixes_large_and_small():
    small = ParticleKind(radius=20.0)
    found = delivered((BALL, small), count=100)
    assert found.specimen[:50].double().mean().item() == pytest.approx(0.5, abs=0.25)


def test_a_full_field_says_how_many_fit():
    with pytest.raises(UsageError, match=r"holds (\d+) of 5000 particles") as problem:
        delivered(count=5000)
    held = int(problem.value.what.split()[3])
    coverage = held * math.pi * 80**2 / (FIELD[0] * FIELD[1])
    assert 0.45 < coverage < 0.63  # random sequential adsorption of disks ends at 0.547; borders hold more, impatience less
    with pytest.warns(CryowalkWarning, match="goes on with"):
        found = delivered(concentration=800.0)
    assert len(found.positions) > 250


def test_the_chance_of_an_overlap_is_what_random_places_show():
    expected = overlap_probability(60, area=FIELD[0] * FIELD[1], distance=160.0)
    found = [delivered(count=60, separation="none", seed=seed).positions[:, :2] for seed in range(60)]
    measured = torch.stack([(nearest(p) < 160).any(dim=1).double().mean() for p in found]).mean().item()
    assert expected == pytest.approx(1 - math.exp(-59 * math.pi * 160**2 / 12e6), abs=0.003)
    assert measured == pytest.approx(expected, abs=0.03)
    assert overlap_probability(1, area=1e6, distance=100.0) == 0
    assert overlap_probability(2, area=1e4, distance=100.0) == 1


@pytest.mark.parametrize("size", [(30, 40), (31, 41)])
def test_the_thickness_is_a_meniscus_and_a_wedge(size):
    ice = IceThickness(middle=200.0, rim=700.0, radius=1000.0, centre=(1500.0, 1200.0), gradient=(0.02, -0.01))
    shown = thickness_map(ice, size, 100.0)
    assert shown.shape == size
    assert shown.dtype == torch.float32
    assert shown[12, 15].item() == pytest.approx(200)
    assert shown[12, 20].item() == pytest.approx(200 + 500 * 0.25 + 0.02 * 500)
    assert shown[12, 28].item() == pytest.approx(700 + 0.02 * 1300)  # beyond the rim
    assert shown[2, 15].item() == pytest.approx(700 + 0.01 * 1000)
    assert thickness_map(ice, size, 100.0, like=torch.zeros(1, dtype=torch.float64)).dtype == torch.float64
    steep = IceThickness(middle=10.0, rim=10.0, radius=1000.0, centre=(0.0, 0.0), gradient=(-1.0, 0.0))
    assert thickness_map(steep, size, 100.0).min() == 0


def test_the_mean_thickness_is_the_paraboloids():
    settings = DeliverySettings(ice_thickness=200.0, rim_thickness=500.0, thickness_gradient=(0.01, 0.0))
    ice = ice_of(settings, field=FIELD)
    # the mean of (r/R)² over a rectangle whose half diagonal is R is 1/3; a wedge about the middle adds nothing
    assert mean_thickness(ice, field=FIELD) == pytest.approx(300.0, rel=1e-3)


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({"ice_thickness": -1.0}, "ice thickness must be above zero"),
        ({"ice_thickness": 150.0}, "nowhere thicker than 150"),
        ({"rim_thickness": 0.0}, "at the rim"),
        ({"hole_radius": -5.0}, "radius of the hole"),
        ({"margin": 1500.0}, "leaves nothing"),
        ({"margin": -1.0}, "leaves nothing"),
        ({"count": -3}, "zero or above"),
        ({"concentration": 0.0}, "concentration"),
        ({"gap": math.nan}, "gap between"),
        ({"margin": math.nan}, "leaves nothing"),
        ({"ice_thickness": math.nan}, "ice thickness must be above zero"),
        ({"adsorbed_fraction": 1.5}, "adsorbed fraction"),
    ],
)
def test_settings_that_cannot_be_meant(choices, message):
    with pytest.raises(UsageError, match=message):
        delivered(**choices)


def test_specimens_that_cannot_be():
    with pytest.raises(UsageError, match="at least one kind"):
        delivered(())
    with pytest.raises(UsageError, match="molecular mass"):
        delivered((ParticleKind(radius=30.0),))
    with pytest.raises(UsageError, match="radius of a particle"):
        delivered((ParticleKind(radius=0.0),), count=3)
    with pytest.raises(UsageError, match="weights of all"):
        delivered((ParticleKind(radius=30.0, weight=0.0),), count=3)
    with pytest.raises(UsageError, match="weight of a specimen"):
        delivered((ParticleKind(radius=30.0, weight=-1.0),), count=3)
    with pytest.raises(UsageError, match="side of the field"):
        delivered(count=3, field=(0.0, 100.0))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device: a delivery from a GPU's generator was not tested")
def test_a_delivery_follows_its_generator_to_a_device():
    generator = torch.Generator(device="cuda").manual_seed(3)
    found = deliver(DeliverySettings(count=30, adsorbed_fraction=0.5), field=FIELD, specimens=[BALL], generator=generator)
    for tensor in (found.positions, found.lab_from_particle, found.specimen, found.side):
        assert tensor.device.type == "cuda"
    assert (nearest(found.positions[:, :2].cpu()) >= 160).all()
