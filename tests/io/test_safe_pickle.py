"""Pickles of arrays read without running anything: what NumPy's own pickles hold in every protocol, and refusals of everything else."""

import io
import pickle
import pickletools
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from cryowalk.core.errors import CryowalkError, InputError, SafetyRefusal
from cryowalk.io.inspect import describe
from cryowalk.io.safe_pickle import read_numpy_pickle, read_numpy_pickles
from cryowalk.io.safe_pickle_writer import write_numpy_pickle, write_numpy_pickles

SOURCE = np.random.default_rng(5)
ARRAYS = [
    SOURCE.normal(size=(5, 3)), SOURCE.normal(size=(4, 2)).astype("f4").T, np.arange(7), np.array([True, False]), np.array(["ab", "é"]),
    np.array([b"x", b"yz"]), np.float32(3.5), np.int64(-4), np.array(3.0), np.zeros((0, 3)), np.arange(3).astype(">i4"), np.zeros(2, complex),
]  # fmt: skip
PLAIN = {"a": 1, "b": [None, True, 2.5, "é", b"\x00\xff", -5, 2**40], "c": (), "d": {"e": {}}}


def same(a, b) -> bool:
    if isinstance(a, list | tuple):
        return type(a) is type(b) and len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, np.ndarray | np.generic):
        return np.array_equal(a, b) and a.shape == b.shape and a.dtype == b.dtype
    return a == b


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_what_pythons_pickler_writes_is_read_in_every_protocol(tmp_path, protocol) -> None:
    thing = ([*ARRAYS, np.zeros(3, dtype=[("a", "<f4"), ("b", "<i8", (2,))])], PLAIN)
    (tmp_path / "t.pkl").write_bytes(pickle.dumps(thing, protocol=protocol))
    assert same(read_numpy_pickle(tmp_path / "t.pkl"), thing)


def test_the_names_of_numpy_1_are_read_too(tmp_path) -> None:
    content = pickle.dumps(ARRAYS[0], protocol=2).replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
    (tmp_path / "t.pkl").write_bytes(content)
    np.testing.assert_array_equal(read_numpy_pickle(tmp_path / "t.pkl"), ARRAYS[0])
    python2 = (
        b"cnumpy.core.multiarray\n_reconstruct\np0\n(cnumpy\nndarray\np1\n(I0\ntp2\nS'b'\np3\ntp4\nRp5\n(I1\n(I2\ntp6\ncnumpy\ndtype\np7\n(S'f8'\n"
        b"p8\nI0\nI1\ntp9\nRp10\n(I3\nS'<'\np11\nNNNI-1\nI-1\nI0\ntp12\nbI00\nT\x10\x00\x00\x00"
        + np.array([1.0, 2.0]).tobytes()
        + b"p13\ntp14\nb."
    )
    (tmp_path / "t.pkl").write_bytes(python2)
    assert read_numpy_pickle(tmp_path / "t.pkl").tolist() == [1.0, 2.0]


def test_what_we_write_is_what_pythons_unpickler_reads(tmp_path) -> None:
    thing = (ARRAYS, PLAIN)
    write_numpy_pickle(thing, tmp_path / "t.pkl")
    content = (tmp_path / "t.pkl").read_bytes()
    native = [each.astype(each.dtype.newbyteorder("<")) if isinstance(each, np.ndarray) else each for each in ARRAYS]
    assert same(pickle.loads(content), (native, PLAIN))  # of our own making
    assert same(read_numpy_pickle(tmp_path / "t.pkl"), (native, PLAIN))
    assert b"numpy._core" not in content
    write_numpy_pickles((ARRAYS[0], ARRAYS[1]), tmp_path / "z.pkl")
    assert len(read_numpy_pickles(tmp_path / "z.pkl")) == 2
    with (tmp_path / "z.pkl").open("rb") as stream:
        np.testing.assert_array_equal(pickle.load(stream), ARRAYS[0])
        np.testing.assert_array_equal(pickle.load(stream), ARRAYS[1])
    for refused in (object(), np.array([{}], dtype=object), np.zeros(2, dtype=[("a", "f4")]), {1, 2}):
        with pytest.raises(InputError, match="cannot be written"):
            write_numpy_pickle(refused, tmp_path / "no.pkl")
    assert not (tmp_path / "no.pkl").exists()


class Hostile:
    """Its pickle calls a function that leaves a trace."""

    def __init__(self, call, *arguments) -> None:
        self.call, self.arguments = call, arguments

    def __reduce__(self):
        return self.call, self.arguments


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_calls_are_refused_and_not_run(tmp_path, protocol) -> None:
    import os
    import shutil

    trace = tmp_path / "PWNED"
    for hostile in (
        Hostile(os.system, f"touch {trace}"),
        Hostile(eval, f"open({str(trace)!r}, 'w')"),
        Hostile(getattr, os, "getcwd") if protocol > 5 else Hostile(os.mkdir, str(trace)),
        Hostile(shutil.rmtree, str(tmp_path)),
        Hostile(np.load, "x.npy"),
        (ARRAYS[0], [Hostile(os.mkdir, str(trace))]),
    ):
        (tmp_path / "evil.pkl").write_bytes(pickle.dumps(hostile, protocol=protocol))
        with pytest.raises(SafetyRefusal, match="nothing of it was run") as caught:
            read_numpy_pickle(tmp_path / "evil.pkl")
        assert caught.value.exit_code == 5
        with pytest.raises(SafetyRefusal):
            describe(tmp_path / "evil.pkl")
    assert not trace.exists()


def test_objects_and_their_instructions_are_refused(tmp_path) -> None:
    def refused(content, kind=SafetyRefusal) -> str:
        (tmp_path / "t.pkl").write_bytes(content)
        with pytest.raises(kind) as caught:
            read_numpy_pickle(tmp_path / "t.pkl")
        return str(caught.value)

    refused(pickle.dumps(np.array([1, "a"], dtype=object)))
    refused(pickle.dumps({1, 2}))
    refused(pickle.dumps(np.ma.masked_array([1.0])))
    refused(pickle.dumps(np.datetime64("2024-01-01")))
    for instruction in (
        b"P1\n.",
        b"\x82\x01.",
        b"(i__main__\nX\n.",
        b"(cos\nsystem\no.",
        b"\x97.",
        b"cnumpy\nndarray\n.",
        b"cnumpy\ndtype\n)\x81.",
    ):
        refused(b"\x80\x04" + instruction)
    assert "os.system" in refused(b"\x80\x04cos\nsystem\n(S'true'\ntR.")
    assert "numpy.core.multiarray.fromfile" in refused(b"\x80\x04cnumpy.core.multiarray\nfromfile\n.")
    assert "numpy._core.multiarray\n" not in refused(b"\x80\x04\x8c\x02os\x8c\x06system\x93.")


def test_small_files_stay_small_in_memory(tmp_path) -> None:
    laughs = b"\x80\x04]\x94" + b"".join(b"](h" + bytes([i]) + b"h" + bytes([i]) + b"e\x94" for i in range(100)) + b"."
    (tmp_path / "t.pkl").write_bytes(laughs)
    found = read_numpy_pickle(tmp_path / "t.pkl")  # 2¹⁰⁰ entries, were each made on its own
    assert found[0] is found[1]
    own = b"\x80\x04]\x94h\x00a."
    (tmp_path / "t.pkl").write_bytes(own)
    with pytest.raises(InputError, match="holds itself"):
        read_numpy_pickle(tmp_path / "t.pkl")
    for lying in (
        b"\x80\x04\x8e" + struct.pack("<Q", 2**62) + b"abc.",  # bytes that are not there
        b"\x80\x04X" + struct.pack("<I", 2**31) + b"abc.",
        pickle.dumps(ARRAYS[0], protocol=4).replace(
            struct.pack("<B", 5) + b"K\x03", b"\xff" + b"K\x03"
        ),  # a shape of more than the bytes
        b"\x80\x04" + b"(" * 100_000 + b".",
        b"\x80\x04L" + b"9" * 100_000 + b"L\n.",
    ):
        (tmp_path / "t.pkl").write_bytes(lying)
        with pytest.raises((InputError, SafetyRefusal)):
            read_numpy_pickle(tmp_path / "t.pkl")


def test_deep_containers_are_told(tmp_path) -> None:
    (tmp_path / "t.pkl").write_bytes(b"\x80\x04" + b"]" * 100_000 + b"a" * 99_999 + b".")
    with pytest.raises(CryowalkError):
        read_numpy_pickle(tmp_path / "t.pkl")


def test_damaged_files_are_told(tmp_path) -> None:
    whole = pickle.dumps((ARRAYS, PLAIN), protocol=4)
    for content in (b"", b"hello", whole[:-1], whole[: len(whole) // 2], whole[:-1] + b"\xff"):
        (tmp_path / "t.pkl").write_bytes(content)
        with pytest.raises(InputError) as caught:
            read_numpy_pickle(tmp_path / "t.pkl")
        assert caught.value.exit_code == 3
    with pytest.raises(InputError, match="no such file"):
        read_numpy_pickle(tmp_path / "none.pkl")


OPCODES = sorted(code.code.encode("latin-1") for code in pickletools.opcodes)
WHOLE = pickle.dumps((ARRAYS[0], {"a": ARRAYS[1]}), protocol=4)


@settings(max_examples=300, deadline=None)
@given(
    parts=some.lists(
        some.one_of(some.sampled_from(OPCODES), some.binary(max_size=6), some.sampled_from([b"os\nsystem\n", b"numpy\ndtype\n"])),
        max_size=30,
    ),
    place=some.integers(0, len(WHOLE)),
)
def test_no_bytes_raise_another_error(tmp_path_factory, parts, place) -> None:
    path = tmp_path_factory.mktemp("p") / "t.pkl"
    path.write_bytes(WHOLE[:place] + b"".join(parts) + WHOLE[place:])
    try:
        read_numpy_pickle(path)
    except CryowalkError as error:
        assert error.exit_code in (3, 5)  # noqa: PT017  it may as well be read


@settings(max_examples=50, deadline=None)
@given(
    data=some.recursive(
        some.none() | some.booleans() | some.integers() | some.floats(allow_nan=False) | some.text() | some.binary(),
        lambda inner: some.lists(inner) | some.dictionaries(some.text(), inner),
        max_leaves=12,
    )
)
def test_plain_things_survive(tmp_path_factory, data) -> None:
    path = tmp_path_factory.mktemp("p") / "t.pkl"
    write_numpy_pickle(data, path)
    assert read_numpy_pickle(path) == data
    assert pickle.load(io.BytesIO(path.read_bytes())) == data  # of our own making
