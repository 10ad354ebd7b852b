"""Rotations: round trips, closed forms, and agreement with SciPy."""

import itertools
import math

import pytest
import torch
from scipy.spatial.transform import Rotation

from cryowalk.core.errors import InputError, UsageError
from cryowalk.geometry import rotations as rot
from cryowalk.geometry.sampling import perturb_rotations, random_rotations

DOUBLE = torch.float64
INTRINSIC = ["".join(o) for o in itertools.product("XYZ", repeat=3) if o[0] != o[1] and o[1] != o[2]]
ORDERS = INTRINSIC + [order.lower() for order in INTRINSIC]


@pytest.fixture
def matrices(generator):
    return random_rotations(1000, generator=generator)


def largest(difference):
    return float(difference.abs().max())


def test_there_are_twelve_orders_of_each_kind():
    assert len(INTRINSIC) == 12


@pytest.mark.parametrize("order", ORDERS)
def test_euler_angles_mean_what_scipy_means(order, matrices, generator):
    angles = 6 * torch.rand(200, 3, generator=generator, dtype=DOUBLE) - 3
    expected = torch.from_numpy(Rotation.from_euler(order, angles.numpy()).as_matrix())
    assert largest(rot.matrix_from_euler(angles, order=order) - expected) < 1e-14
    found = rot.euler_from_matrix(matrices, order=order)
    assert largest(found - torch.from_numpy(Rotation.from_matrix(matrices.numpy()).as_euler(order))) < 1e-11


@pytest.mark.parametrize("order", ORDERS)
def test_euler_round_trip_to_machine_precision(order, matrices):
    back = rot.matrix_from_euler(rot.euler_from_matrix(matrices, order=order), order=order)
    assert largest(back - matrices) < 2e-14


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("distance_from_lock", [0.0, 1e-15, 1e-9, 1e-6])
def test_euler_round_trip_in_and_near_gimbal_lock(order, distance_from_lock, generator):
    is_proper = order[0] == order[2]
    for middle in (0.0, math.pi, -math.pi) if is_proper else (math.pi / 2, -math.pi / 2):
        angles = 6 * torch.rand(100, 3, generator=generator, dtype=DOUBLE) - 3
        angles[:, 1] = middle + distance_from_lock
        matrices = rot.matrix_from_euler(angles, order=order)
        found = rot.euler_from_matrix(matrices, order=order)
        assert largest(rot.matrix_from_euler(found, order=order) - matrices) < 2e-14
        if distance_from_lock == 0:
            assert (found[:, 2] == 0).all()


def test_outer_angles_are_in_the_half_open_interval(matrices):
    for order in ("ZYZ", "zyx", "XYZ"):
        angles = rot.euler_from_matrix(matrices, order=order)
        assert (angles[:, [0, 2]] > -math.pi).all()
        assert (angles[:, [0, 2]] <= math.pi).all()


def test_published_example_of_three_different_axes():
    """Rz Ry Rx with all angles 45° (Slabaugh's note): rows as printed there, and both solutions."""
    r = rot.matrix_from_euler(torch.full((3,), math.pi / 4, dtype=DOUBLE), order="ZYX")
    expected = [[0.5, -0.1464, 0.8536], [0.5, 0.8536, -0.1464], [-0.7071, 0.5, 0.5]]
    assert largest(r - torch.tensor(expected, dtype=DOUBLE)) < 1e-4
    other = torch.deg2rad(torch.tensor([-135.0, 135.0, -135.0], dtype=DOUBLE))
    assert largest(rot.matrix_from_euler(other, order="ZYX") - r) < 2e-14


def test_positive_angle_turns_x_towards_y():
    turn = rot.matrix_about_axis(torch.tensor(math.pi / 2, dtype=DOUBLE), axis="z")
    assert largest(turn @ torch.tensor([1.0, 0.0, 0.0], dtype=DOUBLE) - torch.tensor([0.0, 1.0, 0.0], dtype=DOUBLE)) < 2e-14


@pytest.mark.parametrize("order", ["ZZY", "ABC", "ZyZ", "ZY", ""])
def test_unknown_order_is_refused(order):
    with pytest.raises(UsageError, match="Euler order"):
        rot.matrix_from_euler(torch.zeros(3), order=order)


def test_quaternions_agree_with_scipy_and_return(matrices):
    found = rot.quaternion_from_matrix(matrices)
    expected = Rotation.from_matrix(matrices.numpy()).as_quat(canonical=True, scalar_first=True)
    assert largest(found - torch.from_numpy(expected)) < 2e-14
    assert largest(rot.matrix_from_quaternion(-3.7 * found) - matrices) < 2e-14


@pytest.mark.parametrize("axis", [(1, 0, 0), (0, 1, 0), (0, 0, 1), (0.6, 0.8, 0), (0, -0.6, 0.8), (1, 1, 1)])
@pytest.mark.parametrize("angle", [0.0, 1e-12, 1e-7, math.pi - 1e-7, math.pi])
def test_conversions_at_no_turn_and_half_turn(axis, angle):
    matrix = rot.matrix_from_axis_angle(torch.tensor(axis, dtype=DOUBLE), torch.tensor(angle, dtype=DOUBLE))
    quaternion = rot.quaternion_from_matrix(matrix)
    assert quaternion[0] >= 0
    assert largest(rot.matrix_from_quaternion(quaternion) - matrix) < 2e-14
    vector = rot.rotation_vector_from_matrix(matrix)
    assert largest(rot.matrix_from_rotation_vector(vector) - matrix) < 2e-14
    assert abs(float(torch.linalg.vector_norm(vector)) - angle) < 2e-14
    assert abs(float(rot.rotation_angle(matrix)) - angle) < 2e-14


def test_axis_is_normalised():
    half_turn = rot.matrix_from_axis_angle(torch.tensor([0.0, 0.0, 2.0], dtype=DOUBLE), torch.tensor(math.pi, dtype=DOUBLE))
    assert largest(half_turn[:, 0] - torch.tensor([-1.0, 0.0, 0.0], dtype=DOUBLE)) < 2e-14


def test_axis_and_angle_return(matrices):
    axes, angles = rot.axis_angle_from_matrix(matrices)
    assert largest(rot.matrix_from_axis_angle(axes, angles) - matrices) < 2e-14
    axis, angle = rot.axis_angle_from_matrix(torch.eye(3, dtype=DOUBLE))
    assert axis.tolist() == [0, 0, 1]
    assert float(angle) == 0


def test_rotation_vector_is_the_matrix_exponential(generator):
    vectors = 2 * torch.randn(300, 3, generator=generator, dtype=DOUBLE)
    expected = torch.linalg.matrix_exp(rot.cross_product_matrix(vectors))
    assert largest(rot.matrix_from_rotation_vector(vectors) - expected) < 1e-13


def test_third_of_a_turn_about_the_diagonal_permutes_the_axes():
    turn = rot.matrix_from_axis_angle(torch.ones(3, dtype=DOUBLE), torch.tensor(2 * math.pi / 3, dtype=DOUBLE))
    assert largest(turn - torch.tensor([[0.0, 0, 1], [1, 0, 0], [0, 1, 0]], dtype=DOUBLE)) < 2e-14


def test_quaternion_product_is_the_matrix_product(matrices):
    a, b = matrices[:500], matrices[500:]
    product = rot.quaternion_product(rot.quaternion_from_matrix(a), rot.quaternion_from_matrix(b))
    assert largest(rot.matrix_from_quaternion(product) - a @ b) < 2e-14
    i, j, k = torch.eye(4, dtype=DOUBLE)[1:]
    assert rot.quaternion_product(i, j).tolist() == k.tolist()
    unit = rot.quaternion_product(product, rot.quaternion_conjugate(product))
    assert largest(unit - torch.tensor([1.0, 0, 0, 0], dtype=DOUBLE)) < 2e-14


def test_geodesic_distance_agrees_with_scipy_and_is_a_metric(matrices):
    a, b, c = matrices[:300], matrices[300:600], matrices[600:900]
    between = rot.geodesic_distance(a, b)
    expected = (Rotation.from_matrix(a.numpy()).inv() * Rotation.from_matrix(b.numpy())).magnitude()
    assert largest(between - torch.from_numpy(expected)) < 1e-14
    assert largest(between - rot.geodesic_distance(b, a)) < 1e-14
    assert largest(between - rot.geodesic_distance(c @ a, c @ b)) < 1e-14
    assert largest(between - rot.geodesic_distance(a @ c, b @ c)) < 1e-14
    assert (between <= rot.geodesic_distance(a, c) + rot.geodesic_distance(c, b) + 1e-14).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_distance_matrix_is_exact_where_an_arc_cosine_is_not(matrices, generator, dtype):
    a = matrices[:40].to(dtype)
    near = perturb_rotations(matrices[:40], angle=1e-6, generator=generator)
    opposite = matrices[:40] @ torch.diag(torch.tensor([1.0, -1.0, -1.0], dtype=DOUBLE))
    b = torch.cat([a, near.to(dtype), opposite.to(dtype), matrices[40:60].to(dtype)])
    expected = rot.geodesic_distance(a[:, None].double(), b[None].double())
    assert largest(rot.distance_matrix(a, b) - expected) < (1e-12 if dtype == DOUBLE else 1e-5)


def test_mean_agrees_with_scipy_and_minimises(matrices, generator):
    cloud = perturb_rotations(matrices[:1].expand(60, 3, 3), angle=0.3, generator=generator)
    weights = torch.rand(60, generator=generator, dtype=DOUBLE)
    chordal = rot.mean_rotation(cloud, weights, metric="chordal")
    assert largest(chordal - torch.from_numpy(Rotation.from_matrix(cloud.numpy()).mean(weights.numpy()).as_matrix())) < 1e-13
    geodesic = rot.mean_rotation(cloud, weights)

    def cost(r):
        return float((weights * rot.geodesic_distance(r, cloud) ** 2).sum())

    assert cost(geodesic) < cost(chordal)
    for vector in 1e-3 * torch.randn(20, 3, generator=generator, dtype=DOUBLE):
        assert cost(geodesic @ rot.matrix_from_rotation_vector(vector)) > cost(geodesic)


def test_mean_moves_with_its_rotations_from_either_side_and_in_batches(matrices, generator):
    clouds = perturb_rotations(matrices[:5, None].expand(5, 30, 3, 3), angle=0.2, generator=generator)
    mean = rot.mean_rotation(clouds)
    turned = rot.mean_rotation(matrices[7] @ clouds @ matrices[8])
    assert largest(turned - matrices[7] @ mean @ matrices[8]) < 1e-13
    assert largest(rot.mean_rotation(clouds[3]) - mean[3]) < 1e-14


def test_weighted_mean_of_two_lies_between_them(matrices):
    pair = torch.stack([matrices[0], matrices[0] @ rot.matrix_about_axis(torch.tensor(1.2, dtype=DOUBLE), axis="y")])
    mean = rot.mean_rotation(pair, torch.tensor([3.0, 1.0], dtype=DOUBLE))
    assert abs(float(rot.geodesic_distance(pair[0], mean)) - 0.3) < 1e-14
    way = rot.interpolate_rotations(pair[0], pair[1], fraction=torch.tensor([0.0, 0.25, 1.0], dtype=DOUBLE))
    assert largest(way[1] - mean) < 1e-14
    assert largest(way[[0, 2]] - pair) < 2e-14


@pytest.mark.parametrize("weights", [[0.0, 0.0], [1.0, -1.0]])
def test_mean_refuses_useless_weights(matrices, weights):
    with pytest.raises(InputError, match="weights"):
        rot.mean_rotation(matrices[:2], torch.tensor(weights, dtype=DOUBLE))
    with pytest.raises(InputError, match="no rotations"):
        rot.mean_rotation(matrices[:0])


def test_nearest_rotation_leaves_rotations_and_mends_others(matrices, generator):
    assert largest(rot.nearest_rotation(matrices) - matrices) < 2e-14
    rough = rot.nearest_rotation(torch.randn(50, 3, 3, generator=generator, dtype=DOUBLE))
    assert largest(torch.linalg.det(rough) - 1) < 1e-14
    assert largest(rough.mT @ rough - torch.eye(3, dtype=DOUBLE)) < 1e-14


def test_gradients(generator):
    vectors = torch.randn(4, 3, generator=generator, dtype=DOUBLE).requires_grad_()
    assert torch.autograd.gradcheck(rot.matrix_from_rotation_vector, (vectors,))
    for order in ("ZYZ", "xyz"):
        assert torch.autograd.gradcheck(lambda v, o=order: rot.matrix_from_euler(v, order=o), (vectors,))
        there_and_back = lambda v, o=order: rot.euler_from_matrix(rot.matrix_from_euler(v, order=o), order=o)  # noqa: E731
        assert torch.autograd.gradcheck(there_and_back, (vectors,))
    there_and_back = lambda v: rot.rotation_vector_from_matrix(rot.matrix_from_rotation_vector(v))  # noqa: E731
    assert torch.autograd.gradcheck(there_and_back, (vectors,))
    quaternions = torch.randn(4, 4, generator=generator, dtype=DOUBLE).requires_grad_()
    assert torch.autograd.gradcheck(rot.matrix_from_quaternion, (quaternions,))
    target = random_rotations(4, generator=generator)
    assert torch.autograd.gradcheck(lambda v: rot.geodesic_distance(target, rot.matrix_from_rotation_vector(v)), (vectors,))


def test_gradient_of_all_pairs_is_finite_where_rotations_coincide(matrices):
    a = matrices[:4].clone().requires_grad_()
    rot.distance_matrix(a, matrices[:6]).sum().backward()
    assert torch.isfinite(a.grad).all()


def test_gradient_is_finite_at_the_identity():
    vector = torch.zeros(3, dtype=DOUBLE, requires_grad=True)
    matrix = rot.matrix_from_rotation_vector(vector)
    (rot.rotation_vector_from_matrix(matrix).sum() + rot.rotation_angle(matrix)).backward()
    assert torch.isfinite(vector.grad).all()
    assert vector.grad.tolist() == [1, 1, 1]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_dtype_follows_the_input_and_inputs_stay(dtype, generator):
    angles = torch.randn(7, 2, 3, generator=generator, dtype=dtype)
    kept = angles.clone()
    matrices = rot.matrix_from_euler(angles)
    results = [
        matrices,
        rot.euler_from_matrix(matrices),
        rot.quaternion_from_matrix(matrices),
        rot.rotation_vector_from_matrix(matrices),
        rot.matrix_from_rotation_vector(angles),
        rot.mean_rotation(matrices),
        rot.geodesic_distance(matrices, matrices),
        *rot.axis_angle_from_matrix(matrices),
    ]
    assert {result.dtype for result in results} == {dtype}
    assert torch.equal(angles, kept)
    tolerance = 2e-6 if dtype == torch.float32 else 1e-14
    assert largest(rot.matrix_from_euler(rot.euler_from_matrix(matrices)) - matrices) < tolerance
    assert torch.equal(rot.matrix_from_euler(angles)[3, 1], rot.matrix_from_euler(angles[3, 1]))


def test_view_direction_is_where_the_beam_comes_through(matrices):
    beam = torch.tensor([0.0, 0.0, 1.0], dtype=DOUBLE)
    assert largest(rot.view_direction(matrices) - (matrices.mT @ beam)) == 0
    rot_tilt_psi = torch.tensor([0.4, 1.1, -0.7], dtype=DOUBLE)
    r = rot.matrix_from_euler(rot_tilt_psi).T  # RELION's matrix
    expected = torch.tensor([math.sin(1.1) * math.cos(0.4), math.sin(1.1) * math.sin(0.4), math.cos(1.1)], dtype=DOUBLE)
    assert largest(rot.view_direction(r) - expected) < 2e-14
