import math
from functools import lru_cache

import pytest
import torch

from cryowalk.core.errors import InputError, StateConflict, UsageError
from cryowalk.data import Micrograph
from cryowalk.picking import PickingSettings, find_particles, network, practice, training
from cryowalk.picking.network import HIT, PickingNetwork, log_odds, network_map, shapes, untrained
from cryowalk.picking.practice import Field, practice_field
from cryowalk.picking.training import (
    adapted_network,
    labels_of,
    piece_about_pick,
    supervised_loss,
    train_network,
    unlabelled_loss,
)


def source(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def drawn():
    """A network whose every weight is drawn: no block is silent."""
    return PickingNetwork(weights=tuple(0.1 * torch.randn(shape, generator=source()) for shape in shapes()))


@lru_cache
def trained_on_disks(steps=60):
    """A network that knows disks."""
    return train_network(generator=source(3), steps=steps)


@pytest.fixture
def small(monkeypatch):
    """Training on small fields of bright disks, which cost nothing to draw."""
    monkeypatch.setattr(training, "SIDE", 64)
    monkeypatch.setattr(training, "practice_field", disks)


def disks(generator, *, side):
    """A field of disks in noise."""
    level = torch.randn(side, side, generator=generator)
    places = 8 + (side - 16) * torch.rand(5, 2, generator=generator, dtype=torch.float64)
    y, x = torch.arange(side)[:, None], torch.arange(side)
    for row, column in places.tolist():
        level += 2.0 * ((y - row) ** 2 + (x - column) ** 2 < 64)
    return Field(level, places)


class Kept:
    """A checkpoint in memory that remembers the state after some step."""

    def __init__(self, state=None, *, at=0):
        self.state, self.at = state, at

    def load(self):
        return self.state

    def save(self, state):
        if state["done"] == self.at:
            self.state = state


def same(first, second):
    return all(torch.equal(a, b) for a, b in zip(first.weights, second.weights, strict=True))


def test_the_network_is_small_and_begins_by_finding_little():
    start = untrained(source())
    assert sum(weight.numel() for weight in start.weights) < 100_000
    odds = log_odds(start, torch.randn(2, 50, 61, generator=source()))
    assert odds.shape == (2, 25, 31)
    assert odds.mean() < -2


@pytest.mark.parametrize("size", [(120, 133), (121, 90)])
def test_bands_give_what_the_whole_gives(drawn, monkeypatch, size):
    level = torch.randn(size, generator=source(1))
    whole = network_map(drawn, level)
    assert whole.score.shape == size
    monkeypatch.setattr(network, "_BAND_PIXELS", 1)
    banded = network_map(drawn, level)
    assert torch.allclose(banded.significance, whole.significance, atol=1e-4)


def test_moved_input_moves_the_output(drawn):
    level = torch.randn(1, 200, 200, generator=source(2))
    first, moved = log_odds(drawn, level), log_odds(drawn, level.roll((2, 6), (1, 2)))
    assert torch.allclose(moved[:, 30:70, 30:70], first[:, 29:69, 27:67], atol=1e-5)


def test_far_pixels_change_nothing(drawn):
    """What a place's odds depend on ends at the reach of the convolutions: three diameters."""
    level = torch.randn(1, 201, 201, generator=source(2), requires_grad=True)
    (gradient,) = torch.autograd.grad(log_odds(drawn, level)[0, 50, 50], level)
    rows = torch.nonzero(gradient[0].abs().sum(dim=1) > 0)
    assert int(rows.max() - 100) <= network._REACH
    assert int(100 - rows.min()) <= network._REACH
    assert int(rows.max() - 100) > 25


def test_a_file_gives_the_network_back_and_nothing_else_does(drawn):
    state = drawn.state()
    assert same(PickingNetwork.from_state(state), drawn)
    damaged = [weight.clone() for weight in state["weights"]]
    damaged[0][0, 0, 0, 0] = math.nan
    for wrong in (
        {},
        {"format": "x"},
        state | {"weights": state["weights"][:-1]},
        state | {"weights": damaged},
        state | {"weights": 3},
    ):
        with pytest.raises(InputError):
            PickingNetwork.from_state(wrong)


def test_labels_are_disks_about_particles():
    field = Field(torch.zeros(81, 90), torch.tensor([[40.0, 30.0], [41.0, 70.0]]))
    hits, counted = labels_of(field)
    assert hits.shape == (41, 45)
    assert float(hits.sum()) == pytest.approx(2 * math.pi * HIT**2 / 4, rel=0.2)  # one place in four pixels
    assert hits[20, 15] == 1
    assert float((1 - counted).sum()) == pytest.approx(2 * math.pi * (64 - HIT**2) / 4, rel=0.2)
    assert labels_of(Field(torch.zeros(8, 8), torch.zeros(0, 2)))[0].sum() == 0


def test_practice_is_what_the_seed_says_and_shows_particles_bright():
    first, again = (practice_field(source(4), side=128) for _ in range(2))
    assert torch.equal(first.level, again.level)
    assert torch.equal(first.places, again.places)
    signal = 0.0
    for seed in range(4):
        field = practice_field(source(seed), side=160)
        inside = ((field.places > 4) & (field.places < 155)).all(dim=1)
        spots = field.places[inside].round().long()
        mean = torch.nn.functional.avg_pool2d(field.level[None], 7, 1, 3)[0]
        signal += float((mean[spots[:, 0], spots[:, 1]].mean() - mean.mean()) / mean.std())
    assert signal / 4 > 0.5  # some fields are too noisy to see any


def test_molecules_have_the_diameter_that_was_asked_for():
    for seed in range(8):
        draws = practice.Draws(generator=source(seed))
        volume = practice.random_molecule(draws, diameter=150.0, voxel_size=8.0)
        inside = torch.nonzero(volume.voxels > 0.1 * volume.voxels.max()).double() - volume.voxels.shape[0] // 2
        assert 0.35 * 150 < float(inside.norm(dim=1).max()) * 8.0 < 0.6 * 150


def test_training_lowers_the_loss_and_goes_on_where_it_stopped(small):
    fields = [disks(source(50 + seed), side=64) for seed in range(4)]
    checkpoint = Kept(at=45)
    trained = trained_on_disks()
    assert same(train_network(generator=source(3), steps=60, checkpoint=checkpoint), trained)
    before, after = (float(supervised_loss(each, fields)) for each in (untrained(source(3)), trained))
    assert after < 0.5 * before
    assert same(train_network(generator=source(3), steps=60, checkpoint=Kept(checkpoint.state)), trained)
    assert not same(train_network(generator=source(4), steps=2), train_network(generator=source(3), steps=2))
    with pytest.raises(StateConflict):
        train_network(generator=source(3), steps=61, checkpoint=Kept(checkpoint.state))


@pytest.mark.parametrize("picks", ["some", "all"])
def test_a_user_s_picks_teach_what_a_particle_is(small, picks):
    """Crosses among squares, neither of which is a disk: what is picked gains on what is not."""
    level = 0.5 * torch.randn(200, 210, generator=source(6))
    crosses = torch.cartesian_prod(torch.arange(25, 190, 50), torch.arange(25, 200, 40)).double()
    for row, column in crosses.long().tolist():
        level[row - 1 : row + 2, column - 9 : column + 10] += 3
        level[row - 9 : row + 10, column - 1 : column + 2] += 3
        level[row + 20 : row + 32, column + 4 : column + 14] += 3
    start = trained_on_disks()
    chosen = crosses if picks == "all" else crosses[::2]
    adapted = adapted_network(start, [Field(level, chosen)], picks=picks, generator=source(2), steps=40)
    spots = (crosses / 2).long()

    def lead(trained):
        odds = log_odds(trained, level[None])[0]
        return odds[spots[:, 0], spots[:, 1]].mean() - odds[(spots[:, 0] + 13).clamp_max(99), spots[:, 1] + 4].mean()

    assert lead(adapted) > lead(start) + 1


def test_the_risk_of_unlabelled_places_is_what_it_says():
    """With a network of constant odds z: share · (3 s(−z)) + max(0, s(z) − share · s(z)), s the soft plus."""
    weights = [torch.zeros(shape) for shape in shapes()]
    weights[-1] = torch.tensor([0.7])
    flat = PickingNetwork(weights=tuple(weights))
    field = Field(torch.zeros(64, 64), torch.tensor([[30.0, 30.0]]))
    up, down = math.log1p(math.exp(0.7)), math.log1p(math.exp(-0.7))
    assert float(unlabelled_loss(flat, field, share=0.2)) == pytest.approx(0.2 * 3 * down + 0.8 * up, rel=1e-5)
    assert float(unlabelled_loss(flat, field, share=1.5)) == pytest.approx(1.5 * 3 * down, rel=1e-5)


def test_pieces_keep_picks_on_their_particles(small):
    level = torch.zeros(150, 170)
    places = torch.tensor([[20.0, 30.0], [100.0, 111.0], [149.0, 169.0], [75.0, 5.0]])
    for number, (row, column) in enumerate(places.long().tolist(), start=1):
        level[row, column] = number
    seen = 0
    for seed in range(30):
        piece = piece_about_pick(Field(level, places), source(seed))
        assert piece.level.shape == (64, 64)
        assert len(piece.places) > 0
        values = piece.level[piece.places[:, 0].long(), piece.places[:, 1].long()]
        assert (values > 0).all()
        assert int((piece.level > 0).sum()) == len(values)
        seen += len(values)
    assert seen > 30
    tiny = piece_about_pick(Field(level[:40, :50], places[:1]), source())
    assert sorted(tiny.level.shape) == [40, 50]


def test_too_few_picks_and_no_network_are_refused():
    example = Field(torch.randn(120, 120, generator=source()), torch.full((3, 2), 40.0))
    with pytest.raises(InputError, match="3 picks"):
        adapted_network(untrained(source()), [example], picks="some", generator=source(), steps=1)
    micrograph = Micrograph(pixels=torch.randn(300, 300, generator=source()), pixel_size=3.0)
    with pytest.raises(UsageError, match="network"):
        find_particles(micrograph, PickingSettings(diameter=150.0, method="network"))
    flat = Micrograph(pixels=torch.ones(300, 300), pixel_size=3.0)
    with pytest.raises(InputError, match="contrast"):
        find_particles(flat, PickingSettings(diameter=150.0, method="network"), network=untrained(source()))


def test_an_untrained_network_picks_nothing_and_the_threshold_is_the_user_s():
    micrograph = Micrograph(pixels=torch.randn(300, 300, generator=source()), pixel_size=3.0)
    settings = PickingSettings(diameter=150.0, method="network")
    assert len(find_particles(micrograph, settings, network=untrained(source()))) == 0
    every = PickingSettings(diameter=150.0, method="network", threshold=0.0)
    found = find_particles(micrograph, every, network=untrained(source()))
    assert len(found) > 0
    assert found.merit.min() >= 0
