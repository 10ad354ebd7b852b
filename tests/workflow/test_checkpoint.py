"""Checkpoints: what goes in comes out, nothing that could be code, damage is noticed."""

import math
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cryowalk.core.errors import StateConflict
from cryowalk.workflow.checkpoint import DamagedCheckpoint, FileCheckpoint, pack, unpack

plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.lists(inner).map(tuple) | st.dictionaries(st.text(), inner),
    max_leaves=12,
)


def round_trip(state):
    return unpack(b"".join(bytes(part) for part in pack(state)))


@given(st.dictionaries(st.text(), plain))
def test_plain_values_survive(state):
    assert round_trip(state) == state


@pytest.mark.parametrize(
    "dtype",
    [torch.float32, torch.float64, torch.complex64, torch.complex128, torch.int64, torch.uint8, torch.bool, torch.bfloat16],
)
@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 5, 4)])
def test_tensors_survive_bit_for_bit(dtype, shape, generator):
    tensor = (100 * torch.rand(shape, generator=generator)).to(dtype)
    back = round_trip({"x": tensor})["x"]
    assert back.dtype == dtype
    assert back.shape == tensor.shape
    assert torch.equal(back, tensor)


def test_views_conjugates_and_special_numbers_survive(generator):
    spectrum = torch.randn(4, 6, dtype=torch.complex64, generator=generator)
    state = {
        "conj": spectrum.conj().T[::2],
        "nan": torch.tensor([math.nan, math.inf, -0.0]),
        "float": math.inf,
        "number": np.float64(1 / 3),
    }
    back = round_trip(state)
    assert torch.equal(back["conj"], state["conj"])
    assert back["nan"].view(torch.int32).tolist() == state["nan"].view(torch.int32).tolist()
    assert back["float"] == math.inf
    assert back["number"] == 1 / 3


def test_arrays_and_generators_survive(generator):
    torch.rand(5, generator=generator)
    array = np.arange(12, dtype=">i2").reshape(3, 4)[:, ::-1]
    back = round_trip({"state": generator.get_state(), "array": array})
    other = torch.Generator()
    other.set_state(back["state"])
    assert torch.equal(torch.rand(9, generator=other), torch.rand(9, generator=generator))
    assert back["array"].dtype == array.dtype
    assert (back["array"] == array).all()


@pytest.mark.parametrize("thing", [object(), {1: 2}, {"f": print}, {"x": {1, 2}}, {"a": np.array([object()])}])
def test_nothing_that_could_be_code_is_kept(thing):
    with pytest.raises(TypeError):
        pack(thing if isinstance(thing, dict) else {"x": thing})


def test_a_pickle_is_no_checkpoint(tmp_path):
    path = tmp_path / "state.state"
    path.write_bytes(pickle.dumps({"done": 3}))
    with pytest.raises(StateConflict, match="no whole checkpoint"):
        FileCheckpoint(path).load()


def test_every_flipped_byte_and_every_cut_is_noticed():
    content = b"".join(bytes(part) for part in pack({"x": torch.arange(3), "n": 5}))
    for position in range(len(content)):
        changed = bytearray(content)
        changed[position] ^= 0x10
        with pytest.raises(DamagedCheckpoint):
            unpack(changed)
        with pytest.raises(DamagedCheckpoint):
            unpack(content[:position])


def test_the_one_before_is_kept_and_used(tmp_path: Path):
    told: list[str] = []
    checkpoint = FileCheckpoint(tmp_path / "c" / "state.state", tell=told.append)
    assert checkpoint.load() is None
    for number in range(3):
        checkpoint.save({"number": number})
    assert checkpoint.load() == {"number": 2}
    checkpoint.path.write_bytes(checkpoint.path.read_bytes()[:-1])
    assert checkpoint.load() == {"number": 1}
    assert "damaged" in told[0]
    checkpoint.path.unlink()
    assert checkpoint.load() == {"number": 1}
    checkpoint.previous.write_bytes(b"")
    with pytest.raises(StateConflict) as error:
        checkpoint.load()
    assert error.value.exit_code == 6
    checkpoint.remove()
    assert checkpoint.load() is None


def test_saves_are_spaced_unless_the_end_is_near(tmp_path):
    near = False
    checkpoint = FileCheckpoint(tmp_path / "state.state", interval=3600, hurry=lambda: near)
    checkpoint.save({"number": 1})
    assert checkpoint.load() is None
    near = True
    checkpoint.save({"number": 2})
    assert checkpoint.load() == {"number": 2}


def test_loaded_tensors_can_be_changed(tmp_path):
    checkpoint = FileCheckpoint(tmp_path / "state.state")
    checkpoint.save({"x": torch.zeros(3)})
    state = checkpoint.load()
    state["x"] += 1
    assert state["x"].tolist() == [1, 1, 1]
