"""Pairs of halves: what each method gains, the guarantee that no shell is harmed, seeds, resumption, tiles, and halves that are none."""

import warnings

import pytest
import torch
from tests.denoising.conftest import lumps, noisy

from cryowalk import fourier
from cryowalk.core.errors import CryowalkWarning, InputError, ShapeError, Stopped, UsageError
from cryowalk.denoising import DenoisingSettings, denoise_pairs
from cryowalk.denoising.local import bands, local_wiener
from cryowalk.denoising.network import apply_in_tiles, first_parameters, network
from cryowalk.denoising.noise2noise import learn, turned
from cryowalk.denoising.recombination import recombine
from cryowalk.fourier.shells import shell_sum

SMALL = DenoisingSettings(method="noise2noise", steps=30, crop=32, channels=6)


def one(pairs, settings, seed=1):
    return next(iter(denoise_pairs(pairs, settings, generator=torch.Generator().manual_seed(seed))))


def error(found, truth):
    return float((found - truth).square().mean())


@pytest.fixture(scope="module")
def image_pair():
    truth = lumps((96, 104), count=90)
    return truth.float(), tuple(half.float() for half in noisy(truth, deviation=0.5, seed=11))


@pytest.fixture(scope="module")
def map_pair():
    truth = lumps((40, 40, 40), count=60)
    return truth.float(), tuple(half.float() for half in noisy(truth, deviation=0.25, seed=12))


@pytest.mark.parametrize("method", ["wiener", "local", "noise2noise"])
def test_images_come_nearer_to_the_truth_and_no_shell_is_harmed(image_pair, method):
    truth, halves = image_pair
    average = (halves[0] + halves[1]) / 2
    found = one([halves], DenoisingSettings(method=method, steps=60, crop=32, channels=6))
    plain = one([halves], DenoisingSettings(method="wiener"))
    before, after = (fourier.shell_correlation(x, truth) for x in (average, found.array))
    assert error(found.array, truth) < 0.5 * error(average, truth)
    assert float((after - before)[1:].min()) > (-1e-5 if method == "wiener" else -0.01)
    if method != "wiener":
        assert error(found.array, truth) < error(plain.array, truth)
        assert float((after - before)[1:].mean()) > 0.01
    else:
        assert not bool(found.weight.any())


@pytest.mark.parametrize("method", ["wiener", "local"])
def test_maps_too(map_pair, method):
    truth, halves = map_pair
    average = (halves[0] + halves[1]) / 2
    found = one([halves], DenoisingSettings(method=method))
    before, after = (fourier.shell_correlation(x, truth) for x in (average, found.array))
    assert error(found.array, truth) < 0.3 * error(average, truth)
    assert float((after - before)[1:].min()) > (-1e-5 if method == "wiener" else -0.01)
    assert (float((after - before)[1:].mean()) > 0.03) == (method == "local")


@pytest.mark.slow
def test_a_network_helps_maps(map_pair):
    truth, halves = map_pair
    average = (halves[0] + halves[1]) / 2
    found = one([halves], DenoisingSettings(method="noise2noise", steps=80, crop=16, channels=6))
    before, after = (fourier.shell_correlation(x, truth) for x in (average, found.array))
    assert error(found.array, truth) < error(one([halves], DenoisingSettings(method="wiener")).array, truth)
    assert float((after - before)[1:].min()) > -0.01


@pytest.mark.parametrize(("settings", "tolerance"), [(SMALL, 0.04), (DenoisingSettings(method="local"), 0.12)])
def test_the_gain_and_the_bias_that_are_told_are_true(image_pair, settings, tolerance):
    truth, halves = image_pair
    average = (halves[0] + halves[1]) / 2
    found = one([halves], settings)
    size = tuple(truth.shape)
    before, after = (fourier.shell_correlation(x, truth) for x in (average, found.array))
    chosen = (found.weight > 0) & (found.fsc > 0.1)
    assert int(chosen.sum()) > 5
    # Each shell's own estimate has its own error; on the whole they are right, if a little high where the weights know both halves (local).
    assert abs(float((found.gain - after / before)[chosen].mean())) < tolerance
    wanted, given = fourier.to_fourier(truth), fourier.to_fourier(found.array)
    shared = shell_sum((given * wanted.conj()).real, size=size) / shell_sum(wanted.abs().square(), size=size)
    assert float((found.amplitude - shared)[1:12].abs().mean()) < 0.1
    assert float(shared[15]) < float(shared[2]) < 1.02


@pytest.mark.parametrize(("size", "deviation"), [((30, 30, 30), 0.3), ((30, 30, 30), 1.0), ((80, 88), 0.3), ((80, 88), 1.0)])
def test_in_many_pairs_no_shell_is_harmed(size, deviation):
    for seed in range(4):
        truth = lumps(size, count=40, seed=seed).float()
        halves = tuple(half.float() for half in noisy(truth, deviation=deviation, seed=100 + seed))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", CryowalkWarning)  # some are so noisy that the halves agree nowhere
            found = one([halves], DenoisingSettings(method="local"))
        before, after = (fourier.shell_correlation(x, truth) for x in ((halves[0] + halves[1]) / 2, found.array))
        assert float((after - before)[1:].min()) > -0.005
        assert float((after - before)[1:].mean()) > -1e-3


@pytest.mark.parametrize("method", ["wiener", "local"])
def test_shells_without_power_stay_empty(image_pair, method):
    cut = torch.ones(49)
    cut[30:] = 0
    halves = tuple(fourier.apply_shell_weights(half - half.mean(), cut) for half in image_pair[1])
    halves = tuple(half - half.mean() for half in halves)
    found = one([halves], DenoisingSettings(method=method))
    assert bool(torch.isfinite(found.array).all())
    power = fourier.shell_average(fourier.to_fourier(found.array).abs().square(), size=tuple(found.array.shape))
    assert float(power[31:].max()) < 1e-6 * float(power[1])


def test_a_harmful_denoiser_is_not_let_through(image_pair):
    truth, halves = image_pair
    generator = torch.Generator().manual_seed(9)
    # A denoiser that invents: a picture of its own, the same for both halves.
    invented = 3 * torch.randn(truth.shape, generator=generator)
    found = recombine((invented, invented), halves)
    average = (halves[0] + halves[1]) / 2
    before, after = (fourier.shell_correlation(x, truth) for x in (average, found.array))
    assert float((after - before)[1:].min()) > -0.02
    assert float(found.weight[1:30].mean()) < 0.05


def test_the_seed_decides_and_nothing_else(image_pair):
    _, halves = image_pair
    state = torch.random.get_rng_state()
    first, again, other = (one([halves], SMALL, seed=seed).array for seed in (4, 4, 5))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(torch.random.get_rng_state(), state)


class Memory:
    """A checkpoint that remembers everything it was given, as a file would: copies."""

    def __init__(self):
        self.state = None

    def load(self):
        return self.state

    def save(self, state):
        from cryowalk.workflow.checkpoint import pack, unpack

        self.state = unpack(b"".join(bytes(part) for part in pack(state)))


class StopsAt:
    """A user who loses patience after so many steps."""

    def __init__(self, steps):
        self.left = steps

    def start(self, what, total):
        pass

    def advance(self, items=1):
        self.left -= items
        if self.left <= 0:
            raise Stopped("stopped")

    def note(self, fact):
        pass


@pytest.mark.parametrize("stop", [25, 47])
def test_a_training_that_was_stopped_ends_with_the_same_bytes(image_pair, stop):
    _, halves = image_pair
    whole = learn([halves], SMALL, generator=torch.Generator().manual_seed(8))
    memory = Memory()
    with pytest.raises(Stopped):
        learn([halves], SMALL, generator=torch.Generator().manual_seed(8), checkpoint=memory, progress=StopsAt(stop))
    assert memory.state is not None
    resumed = learn([halves], SMALL, generator=torch.Generator().manual_seed(8), checkpoint=memory)
    for one_fold, other_fold in zip(whole.folds, resumed.folds, strict=True):
        assert all(torch.equal(one_fold[name], other_fold[name]) for name in one_fold)
    assert torch.equal(torch.cat(whole.losses), torch.cat(resumed.losses))


def test_several_pairs_are_each_denoised_by_a_network_that_never_saw_them():
    truths = [lumps((64, 72), count=50, seed=seed).float() for seed in (1, 2)]
    pairs = [tuple(half.float() for half in noisy(truth, deviation=0.5, seed=20 + i)) for i, truth in enumerate(truths)]
    found = list(denoise_pairs(pairs, SMALL, generator=torch.Generator().manual_seed(3)))
    for result, truth, pair in zip(found, truths, pairs, strict=True):
        assert error(result.array, truth) < 0.7 * error((pair[0] + pair[1]) / 2, truth)
    networks = learn(pairs, SMALL, generator=torch.Generator().manual_seed(3))
    assert not networks.divides_space


@pytest.mark.parametrize("size", [(50, 37), (21, 19, 26)])
def test_tiles_do_not_show(size):
    generator = torch.Generator().manual_seed(6)
    parameters = first_parameters(len(size), 4, generator=generator)
    parameters["last.weight"] = torch.randn(parameters["last.weight"].shape, generator=generator)
    inputs = torch.randn(2, *size, generator=generator)
    small, large = (apply_in_tiles(parameters, inputs, tile=tile) for tile in (12, 64))
    assert torch.allclose(small, large, atol=1e-4)


def test_a_network_begins_as_its_second_input():
    generator = torch.Generator().manual_seed(7)
    inputs = torch.randn(3, 2, 16, 16, generator=generator)
    assert torch.equal(network(first_parameters(2, 4, generator=generator), inputs)[:, 0], inputs[:, 1])


def test_turns_of_a_cube_are_rotations_all_different():
    piece = torch.arange(27.0).reshape(1, 1, 3, 3, 3)
    grid = torch.stack(torch.meshgrid(*[torch.arange(3.0) - 1] * 3, indexing="ij"))
    seen = {tuple(turned(piece, turn).reshape(-1).tolist()) for turn in range(48)}
    assert len(seen) == 24
    for turn in range(24):
        moved = turned(grid[None], turn)[0]  # where each voxel came from: a linear map of its place
        corners = torch.stack([moved[:, 2, 1, 1], moved[:, 1, 2, 1], moved[:, 1, 1, 2]], dim=1)
        assert torch.isclose(torch.linalg.det(corners), torch.tensor(1.0))
    square = torch.arange(9.0).reshape(1, 1, 3, 3)
    assert len({tuple(turned(square, turn).reshape(-1).tolist()) for turn in range(48)}) == 8


def test_bands_share_every_shell():
    for shells in (9, 25, 101):
        assert torch.allclose(sum(share for share, _ in bands(shells)), torch.ones(shells, dtype=torch.float64))
    same = lumps((32, 33))
    assert torch.allclose(local_wiener(same, same)[0], same, atol=1e-6)


def test_halves_that_are_none_are_refused(image_pair):
    _, (first, second) = image_pair
    broken = first.clone()
    broken[2, 3] = float("nan")
    for pair, kind, words in (
        ((first, second[:-1]), ShapeError, "differ in shape"),
        ((first, first.clone()), InputError, "both halves are the same"),
        ((first, 2 * first + 1e-6 * second), InputError, "both halves are the same"),
        ((first, torch.ones_like(first)), InputError, "second half is constant"),
        ((broken, second), InputError, "first half holds NaN"),
    ):
        with pytest.raises(kind, match=words):
            one([pair], DenoisingSettings(method="wiener"))
    with pytest.raises(UsageError, match="not denoised by pca"):
        one([(first, second)], DenoisingSettings(method="pca"))
    with pytest.raises(ShapeError, match="no room for pieces of 64"):
        one([(first, second)], DenoisingSettings(method="noise2noise", crop=64))


def test_shared_noise_and_no_signal_are_told(image_pair):
    _, (first, second) = image_pair
    generator = torch.Generator().manual_seed(13)
    pattern = torch.randn(first.shape, generator=generator)
    with pytest.warns(CryowalkWarning, match="still agree near Nyquist"):
        one([(first + pattern, second + pattern)], DenoisingSettings(method="wiener"))
    noise = torch.randn(2, 200, 200, generator=generator)
    with pytest.warns(CryowalkWarning, match="agree nowhere"):
        one([(noise[0], noise[1] * 1.0)], DenoisingSettings(method="wiener"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        one([(first, second)], DenoisingSettings(method="wiener"))
