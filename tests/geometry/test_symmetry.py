"""Point groups: group laws, asymmetric units, distances that know symmetry."""

import math

import pytest
import torch

from cryowalk.core.errors import UsageError
from cryowalk.geometry import symmetry as sym
from cryowalk.geometry.healpix import pixel_count
from cryowalk.geometry.rotations import geodesic_distance, matrix_from_rotation_vector, view_direction
from cryowalk.geometry.sampling import perturb_rotations, random_rotations

DOUBLE = torch.float64
GROUPS = ["C1", "C2", "C3", "C4", "C7", "D1", "D2", "D3", "D4", "D5", "T", "O", "I1", "I2", "I3", "I4"]


def largest(difference):
    return float(difference.abs().max())


@pytest.mark.parametrize("name", GROUPS)
def test_operators_are_a_group_of_rotations(name):
    s = sym.symmetry_operators(name)
    assert len(s) == sym.symmetry_order(name)
    assert torch.equal(s[0], torch.eye(3, dtype=DOUBLE))
    assert largest(s.mT @ s - torch.eye(3, dtype=DOUBLE)) < 2e-14
    assert largest(torch.linalg.det(s) - 1) < 2e-14
    products = (s[:, None] @ s[None]).flatten(0, 1)
    nearest = (products[:, None] - s[None]).abs().amax(dim=(-1, -2))
    assert largest(nearest.amin(dim=1)) < 2e-14
    apart = (s[:, None] - s[None]).abs().amax(dim=(-1, -2)) + 9 * torch.eye(len(s), dtype=DOUBLE)
    assert float(apart.min()) > 0.1


@pytest.mark.parametrize(
    ("name", "axis", "fold"),
    [
        ("C5", (0, 0, 1), 5),
        ("D3", (1, 0, 0), 2),
        ("T", (0, 0, 1), 3),
        ("T", (0, -math.sqrt(8) / 3, 1 / 3), 3),
        ("O", (0, 1, 0), 4),
        ("O", (1, 1, 1), 3),
        ("I1", (1, 0, 0), 2),
        ("I1", ((1 + math.sqrt(5)) / 2, 0, 1), 5),
        ("I", (1, 0, (1 + math.sqrt(5)) / 2), 5),
        ("I2", (0, 1, 0), 2),
        ("I3", (0, 0, 1), 5),
        ("I3", (-2, 0, 1), 5),
        ("I4", (0, 0, 1), 5),
        ("I4", (2, 0, 1), 5),
    ],
)
def test_axes_stand_where_the_setting_says(name, axis, fold):
    vector = torch.tensor(axis, dtype=DOUBLE)
    turn = matrix_from_rotation_vector(2 * math.pi / fold * vector / vector.norm())
    assert largest((sym.symmetry_operators(name) - turn).abs().amax(dim=(-1, -2)).min()) < 2e-14


def test_icosahedral_settings_are_turned_copies_and_differ():
    quarter = matrix_from_rotation_vector(torch.tensor([0.0, 0.0, math.pi / 2], dtype=DOUBLE))
    half = quarter @ quarter
    for first, second, turn in (("I1", "I2", quarter), ("I3", "I4", half)):
        a, b = sym.symmetry_operators(first), sym.symmetry_operators(second)
        assert largest((a[:, None] - (turn @ b @ turn.T)[None]).abs().amax(dim=(-1, -2)).amin(dim=1)) < 2e-14
        assert largest((a[:, None] - b[None]).abs().amax(dim=(-1, -2)).amin(dim=1)) > 0.1
    assert torch.equal(sym.symmetry_operators("I"), sym.symmetry_operators("I2"))


def test_names_are_read_in_any_case_and_others_refused():
    assert sym.symmetry_name(" d02 ") == "D2"
    for name in ("", "C0", "Q", "I5", "C", "D", "C1000", "C-2", "E3"):
        with pytest.raises(UsageError, match="no symmetry"):
            sym.symmetry_operators(name)
    for name in ("Ci", "Cs", "C3v", "D2h", "S4", "Td", "Th", "Oh", "Ih", "I2H"):
        with pytest.raises(UsageError, match="mirrors"):
            sym.symmetry_operators(name)


def test_a_callers_change_does_not_reach_the_next_caller():
    sym.symmetry_operators("D2").zero_()
    assert float(sym.symmetry_operators("D2").abs().sum()) == 12


@pytest.mark.parametrize("name", GROUPS)
def test_equivalent_orientations_share_one_place_in_the_unit(name, generator):
    r = random_rotations(400, generator=generator)
    every = sym.equivalent_rotations(r, name)
    assert largest(every[:, 0] - r) == 0
    moved = sym.to_asymmetric_unit(every, name)
    assert largest(moved - moved[:, :1]) < 1e-14
    inside = sym.is_in_asymmetric_unit(view_direction(every), name)
    assert (inside.sum(dim=1) == 1).all()
    assert sym.is_in_asymmetric_unit(view_direction(moved), name).all()
    assert largest(sym.distance_modulo_symmetry(moved[:, 0], r, name)) < 1e-14


@pytest.mark.parametrize("name", GROUPS[1:])
def test_every_place_on_the_border_belongs_to_the_unit_once(name, generator):
    """Border places are as far from the middle as from one of its equivalents; round-off must not count them twice or never."""
    middle = torch.tensor(sym.UNIT_MIDDLES.get(name, sym.UNIT_MIDDLES.get(name[0])), dtype=DOUBLE)
    s = sym.symmetry_operators(name)
    across = middle - s[1:] @ middle
    across = across / across.norm(dim=-1, keepdim=True)
    places = torch.randn(200, 1, 3, generator=generator, dtype=DOUBLE)
    places = torch.nn.functional.normalize(places - (places * across).sum(-1, keepdim=True) * across, dim=-1)
    inside = sym.is_in_asymmetric_unit(places[..., None, None, :] @ s, name)
    assert (inside.reshape(-1, len(s)).sum(dim=-1) == 1).all()


@pytest.mark.parametrize("name", GROUPS)
def test_unit_is_one_part_of_the_sphere(name, generator):
    directions = view_direction(random_rotations(60_000, generator=generator))
    share = float(sym.is_in_asymmetric_unit(directions, name).double().mean())
    part = 1 / sym.symmetry_order(name)
    assert abs(share - part) < 4 * math.sqrt(part * (1 - part) / 60_000) + 1e-12


@pytest.mark.parametrize("name", ["C1", "C2", "C4", "D1", "D2", "D4"])
@pytest.mark.parametrize("order", [0, 1, 2, 3])
def test_unit_holds_exactly_its_share_of_pixels_where_the_grid_has_the_symmetry(name, order):
    """Pixel centres lie on the borders of these units; each must be counted once."""
    if pixel_count(order) % sym.symmetry_order(name) or (order == 0 and name[0] == "D"):
        pytest.skip("some pixels of this order lie on axes")
    assert len(sym.asymmetric_unit_pixels(order, name)) * sym.symmetry_order(name) == pixel_count(order)


def test_units_of_cyclic_and_dihedral_groups_are_wedges():
    def view(azimuth, latitude):
        a, b = math.radians(azimuth), math.radians(latitude)
        return torch.tensor([math.cos(a) * math.cos(b), math.sin(a) * math.cos(b), math.sin(b)], dtype=DOUBLE)

    assert sym.is_in_asymmetric_unit(view(59, 80), "C3")
    assert sym.is_in_asymmetric_unit(view(-59, -80), "C3")
    assert not sym.is_in_asymmetric_unit(view(61, 0), "C3")
    assert sym.is_in_asymmetric_unit(view(35, 1), "D5")
    assert not sym.is_in_asymmetric_unit(view(35, -1), "D5")
    assert not sym.is_in_asymmetric_unit(view(37, 1), "D5")


@pytest.mark.parametrize("name", GROUPS)
def test_distance_is_the_smallest_of_all(name, generator):
    a, b = random_rotations(200, generator=generator), random_rotations(200, generator=generator)
    found = sym.distance_modulo_symmetry(a, b, name)
    every = geodesic_distance(a[:, None], b[:, None] @ sym.symmetry_operators(name))
    assert largest(found - every.amin(dim=1)) < 1e-14
    assert largest(found - sym.distance_modulo_symmetry(b, a, name)) < 1e-14
    nearest = sym.nearest_equivalent(b, to=a, symmetry=name)
    assert largest(geodesic_distance(a, nearest) - found) == 0


def test_distance_broadcasts_follows_dtype_and_has_a_gradient(generator):
    a, b = random_rotations(3, generator=generator), random_rotations(4, generator=generator)
    assert sym.distance_modulo_symmetry(a[:, None], b, "D3").shape == (3, 4)
    assert sym.distance_modulo_symmetry(a.float(), b[:3].float(), "O").dtype == torch.float32
    vectors = torch.randn(3, 3, generator=generator, dtype=DOUBLE).requires_grad_()
    assert torch.autograd.gradcheck(lambda v: sym.distance_modulo_symmetry(a, matrix_from_rotation_vector(v), "T"), (vectors,))


@pytest.mark.parametrize("name", ["C1", "C3", "D2", "O", "I"])
def test_the_turn_between_two_frames_is_found_through_noise_and_symmetry(name, generator):
    truth = random_rotations(300, generator=generator)
    turn = random_rotations(1, generator=generator)[0]
    s = sym.symmetry_operators(name)
    mixed = truth @ s[torch.randint(len(s), (300,), generator=generator)]
    estimated = perturb_rotations(mixed @ turn.T, angle=0.02, generator=generator)
    estimated[:40] = random_rotations(40, generator=generator)  # some are plainly wrong
    frame = sym.frame_rotation(estimated, truth, symmetry=name)
    assert float(sym.distance_modulo_symmetry(frame, turn, name)) < 0.006  # 0.02 rad · √3 / √260 is 0.002
    assert float(sym.distance_modulo_symmetry(estimated @ frame, truth, name).median()) < 0.06
