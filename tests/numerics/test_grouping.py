"""Heaps of points: how many there are, and where none are."""

import pytest
import torch

from cryowalk.core.errors import InputError
from cryowalk.numerics.grouping import find_groups, group_into


def heaps(side: int, count: int, spread: float, seed: int = 3):
    """Points about the nodes of a square grid, and the node of each."""
    g = torch.Generator().manual_seed(seed)
    row, column = torch.meshgrid(torch.arange(side).double(), torch.arange(side).double(), indexing="ij")
    nodes = torch.stack([column, row], dim=-1).reshape(-1, 2)
    node = torch.arange(count) % len(nodes)
    return nodes[node] + spread * torch.randn(count, 2, generator=g, dtype=torch.float64), node, nodes


@pytest.mark.parametrize(("side", "count", "spread"), [(3, 40, 0.02), (5, 500, 0.05), (9, 800, 0.03), (5, 6000, 0.03)])
def test_heaps_are_found_with_their_number_and_order(side, count, spread):
    points, node, nodes = heaps(side, count, spread)
    found = find_groups(points)
    assert torch.equal(found.index, node)
    torch.testing.assert_close(found.centres, nodes, atol=6 * spread / (count / side**2) ** 0.5, rtol=0)
    assert found.gap > 2.5
    assert found.strays == 0


def test_scale_and_place_do_not_matter():
    points, node, _ = heaps(4, 200, 0.03)
    assert torch.equal(find_groups(points * 1e-3 - 7).index, node)
    assert torch.equal(find_groups(points * 1e6 + 1e4).index, node)


def test_points_without_gaps_are_one_group():
    g = torch.Generator().manual_seed(2)
    for count in (1, 5, 12, 40, 400):
        for points in (torch.rand(count, 2, generator=g), torch.randn(count, 2, generator=g)):
            found = find_groups(points)
            assert len(found.centres) == 1
            torch.testing.assert_close(found.centres[0], points.double().mean(0))
    assert len(find_groups(torch.full((50, 2), 0.25)).centres) == 1


def test_a_point_of_its_own_is_told_and_stays_alone():
    points, _, _ = heaps(3, 45, 0.02)
    found = find_groups(torch.cat([points, torch.tensor([[7.0, 7.0]])]))
    assert found.strays == 1
    assert len(found.centres) == 10
    assert int((found.index == found.index[-1]).sum()) == 1


def test_a_number_that_is_given_is_kept():
    points, node, _ = heaps(3, 90, 0.14)  # too wide for a gap
    assert len(find_groups(points).centres) == 1
    found = group_into(points, 9)
    assert float((found.index == node).double().mean()) > 0.95
    assert len(group_into(points, 4).centres) == 4
    assert torch.equal(group_into(points, 4).index, group_into(points, 4).index)
    assert len(group_into(points, 1).centres) == 1
    with pytest.raises(InputError, match="different points"):
        group_into(torch.ones(20, 2), 3)


def test_what_is_no_point_is_refused():
    with pytest.raises(InputError, match="no points"):
        find_groups(torch.zeros(0, 2))
    with pytest.raises(InputError, match="not finite"):
        find_groups(torch.tensor([[0.0, float("nan")]] * 20))
