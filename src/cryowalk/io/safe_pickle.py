"""NumPy arrays in pickle files, read without running anything: a machine of our own that knows numbers, texts, lists, tuples, dictionaries and arrays.

Python's unpickler calls whatever the file names. This one walks over the instructions (`pickletools` only takes them apart), and where an array's
pickle names a NumPy function it makes the array itself from the shape, the type and the bytes. Everything else that is named is a refusal.

Source: Python documentation, `pickletools`; NumPy's `ndarray.__reduce__` and `dtype.__reduce__`.
"""

import pickletools
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryowalk.core.errors import InputError, SafetyRefusal, printable
from cryowalk.io.opening import open_content, read_up_to

LARGEST = 2**34  # bytes of a file
LARGEST_INFLATED = 2**31  # bytes of a compressed one
DEEPEST = 64  # containers in containers, and dimensions of arrays
MOST_STEPS = 5_000_000  # instructions; an array takes some forty
_CORES = ("numpy.core.multiarray", "numpy._core.multiarray")
_NAMED = {
    **{(core, "_reconstruct"): "array" for core in _CORES},
    **{(core, "scalar"): "scalar" for core in _CORES},
    **{(core, "_frombuffer"): "buffer" for core in ("numpy.core.numeric", "numpy._core.numeric")},
    ("numpy", "ndarray"): "ndarray",
    ("numpy", "dtype"): "dtype",
    ("_codecs", "encode"): "encode",
    ("builtins", "bytes"): "bytes",
    ("__builtin__", "bytes"): "bytes",
    ("builtins", "bytearray"): "bytes",
}
_MARK = object()


@dataclass(frozen=True, slots=True)
class _Named:
    """A name that may stand in the pickle of an array, and is never called."""

    what: str


@dataclass(slots=True)
class _Array:
    """An array that is being put together."""

    values: NDArray[Any] | None = None


@dataclass(slots=True)
class _Type:
    """A type that is being put together."""

    dtype: "np.dtype[Any]"


def read_numpy_pickle(path: str | Path) -> Any:
    """What a pickle file holds, where it is made of arrays, numbers, texts, and lists, tuples and dictionaries of them; of several pickles the first.

    Arrays are views of the file's bytes, read-only, so that memory is bounded by the size of the file.

    Raises
    ------
    SafetyRefusal
        If it holds anything else: then nothing of it is run, and it is not read.
    InputError
        If it is missing, cut off, or no pickle.
    """
    return read_numpy_pickles(path)[0]


def read_numpy_pickles(path: str | Path) -> tuple[Any, ...]:
    """What each of the pickles in a file holds, one after another, as cryoDRGN writes latents; as `read_numpy_pickle`.

    Raises
    ------
    SafetyRefusal, InputError
        As `read_numpy_pickle`.
    """
    path = Path(path)
    with open_content(path) as stream:
        limit = LARGEST if stream.__class__.__name__ == "BufferedReader" else LARGEST_INFLATED
        content = read_up_to(stream, limit + 1, path=path)
    if len(content) > limit:
        raise InputError(f"the file holds more than {limit} bytes", file=path, cause="not a table, or a decompression bomb")
    stream_of_bytes, found = BytesIO(bytes(content)), []
    del content
    length = stream_of_bytes.getbuffer().nbytes
    if not length:
        raise InputError("the file is empty", file=path, cause="the program that wrote it failed, or the disk was full")
    while stream_of_bytes.tell() < length:
        found.append(_Machine(path).run(stream_of_bytes))
    return tuple(found)


class _Machine:
    """The stack and memory of one pickle; each instruction that is known has a method or a line in `_PUSHED`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.stack: list[Any] = []
        self.memory: dict[int, Any] = {}

    def run(self, stream: BytesIO) -> Any:
        """What the pickle leaves on the stack."""
        try:
            for step, (code, argument) in enumerate(self._steps(stream)):
                if step > MOST_STEPS:
                    raise self.refusal(f"more than {MOST_STEPS} instructions")
                if code == "STOP":
                    return _finished(self.stack.pop(), self, {})
                self._step(code, argument)
        except (
            ValueError,
            IndexError,
            KeyError,
            TypeError,
            AttributeError,
            OverflowError,
            EOFError,
            struct.error,
            RecursionError,
            MemoryError,
        ) as error:
            raise InputError(
                "this is no pickle of arrays, or a damaged one",
                file=self.path,
                cause=printable(f"{type(error).__name__}: {str(error)[:120]}"),
                fix="write it again, or name a .star or .cs file",
            ) from error
        raise InputError("the pickle does not end", file=self.path, cause="the file was cut off")

    def _steps(self, stream: BytesIO) -> Iterator[tuple[str, Any]]:
        for opcode, argument, _ in pickletools.genops(stream):
            yield opcode.name, argument

    def _step(self, code: str, argument: Any) -> None:
        if code in _IGNORED:
            return
        if code in _PUSHED:
            self.stack.append(argument if _PUSHED[code] is None else _PUSHED[code](argument))  # type: ignore[misc]
        elif code in _METHODS:
            _METHODS[code](self, argument)
        else:
            raise self.refusal(f"the instruction {code}")

    def refusal(self, what: str) -> SafetyRefusal:
        """The error for what is no part of an array."""
        return SafetyRefusal(
            f"the pickle holds {printable(what)[:120]}, which is no part of an array; nothing of it was run",
            file=self.path,
            expected="NumPy arrays, numbers and texts",
            cause="a pickle of other things, or one made to run code",
            fix="load it where you trust it, and save its arrays alone",
        )

    def marked(self) -> list[Any]:
        """What stands above the last mark."""
        place = len(self.stack) - 1
        while self.stack[place] is not _MARK:
            place -= 1
            if place < 0:
                raise IndexError("no mark")
        items = self.stack[place + 1 :]
        del self.stack[place:]
        return items

    def named(self, argument: str) -> None:
        """Push a name that is known, refuse any other."""
        module, _, name = argument.partition(" ")
        if (module, name) not in _NAMED:
            raise self.refusal(f"a call of {module}.{name}")
        self.stack.append(_Named(_NAMED[module, name]))

    def stack_named(self, _: Any) -> None:
        """As `named`, of two texts on the stack."""
        name, module = self.stack.pop(), self.stack.pop()
        self.named(f"{module} {name}")

    def reduced(self, _: Any) -> None:
        """Put together what NumPy's functions would have made."""
        arguments, what = self.stack.pop(), self.stack.pop()
        if not isinstance(what, _Named) or what.what not in _MAKERS or not isinstance(arguments, tuple):
            raise self.refusal("a call of something that is no function of NumPy's")
        self.stack.append(_MAKERS[what.what](self, arguments))

    def built(self, _: Any) -> None:
        """Give an array or a type its state."""
        state, thing = self.stack.pop(), self.stack[-1]
        if isinstance(thing, _Array):
            _, shape, dtype, is_fortran, content = state
            thing.values = self.array(dtype, content, shape, order="F" if is_fortran else "C")
        elif isinstance(thing, _Type):
            self._built_type(thing, state)
        else:
            raise self.refusal("the state of something that is no array")

    def _built_type(self, thing: _Type, state: Any) -> None:
        """Byte order and fields of a type."""
        if not isinstance(state, tuple) or len(state) < 5:
            raise ValueError("the state of a type")
        order, subtype, names, fields = state[1:5]
        if subtype is not None:
            base, shape = subtype
            thing.dtype = np.dtype((self.dtype(base), self.shape(shape)))
        elif names is not None:
            described = {
                "names": [self.text(name) for name in names],
                "formats": [self.dtype(fields[name][0]) for name in names],
                "offsets": [int(fields[name][1]) for name in names],
                "itemsize": int(state[5]) if len(state) > 5 and int(state[5]) > 0 else thing.dtype.itemsize,
            }
            thing.dtype = np.dtype(described)  # type: ignore[call-overload]
        if thing.dtype.hasobject:
            raise self.refusal("an array of objects")
        if order in ("<", ">") and thing.dtype.names is None:
            thing.dtype = thing.dtype.newbyteorder(order)

    def text(self, value: Any) -> str:
        """A text, whichever kind of text Python 2 or 3 wrote."""
        return value.decode("latin-1") if isinstance(value, bytes) else str(value)

    def dtype(self, value: Any) -> "np.dtype[Any]":
        """The type that was put together."""
        if not isinstance(value, _Type) or value.dtype.hasobject:
            raise self.refusal("an array of a type that is not NumPy's own")
        return value.dtype

    def shape(self, value: Any) -> tuple[int, ...]:
        """A shape."""
        sides = value if isinstance(value, tuple) else (value,)
        if len(sides) > DEEPEST or not all(isinstance(side, int) and side >= 0 for side in sides):
            raise ValueError("a shape of an array")
        return sides

    def array(self, dtype: Any, content: Any, shape: Any, *, order: str) -> NDArray[Any]:
        """An array of these bytes; as many as its shape and type need."""
        known, sides = self.dtype(dtype), self.shape(shape)
        if isinstance(content, str):
            content = content.encode("latin-1")
        if isinstance(content, list):
            raise self.refusal("an array of objects")
        count = 1
        for side in sides:
            count *= side
        if not isinstance(content, bytes) or known.itemsize == 0 or count * known.itemsize != len(content):
            raise ValueError(f"{len(content) if isinstance(content, bytes) else 0} bytes for {count} values of {known}")
        values: NDArray[Any] = np.frombuffer(content, dtype=known).reshape(sides, order=order)  # type: ignore[call-overload]
        return values


def _make_array(machine: _Machine, arguments: tuple[Any, ...]) -> _Array:  # noqa: ARG001  the others need the machine
    if not (isinstance(arguments[0], _Named) and arguments[0].what == "ndarray"):
        raise ValueError("an array of another class")
    return _Array()


def _make_type(machine: _Machine, arguments: tuple[Any, ...]) -> _Type:
    name = machine.text(arguments[0])
    if not name or name[0] not in "biufcSUV" or not name[1:].isdigit() or len(name) > 12:
        raise SafetyRefusal(
            f"the pickle holds an array of the type {printable(name)[:40]}", file=machine.path, expected="numbers or texts"
        )
    return _Type(np.dtype(name))


def _make_scalar(machine: _Machine, arguments: tuple[Any, ...]) -> Any:
    dtype, content = arguments
    return machine.array(dtype, content, (), order="C")[()]


def _make_buffer(machine: _Machine, arguments: tuple[Any, ...]) -> _Array:
    content, dtype, shape, order = arguments
    return _Array(machine.array(dtype, bytes(content), shape, order="F" if order == "F" else "C"))


def _make_encoded(machine: _Machine, arguments: tuple[Any, ...]) -> bytes:
    """Bytes as Python 3 writes them for Python 2: a text and `latin1`."""
    text, encoding = arguments
    if not isinstance(text, str) or machine.text(encoding) not in ("latin1", "latin-1"):
        raise ValueError("an encoding")
    return text.encode("latin-1")


def _make_bytes(machine: _Machine, arguments: tuple[Any, ...]) -> bytes:
    if not arguments:
        return b""
    if isinstance(arguments[0], bytes) and len(arguments) == 1:
        return arguments[0]
    return _make_encoded(machine, arguments)


_MAKERS: dict[str, Callable[[_Machine, tuple[Any, ...]], Any]] = {
    "array": _make_array, "dtype": _make_type, "scalar": _make_scalar, "buffer": _make_buffer, "encode": _make_encoded, "bytes": _make_bytes,
}  # fmt: skip
_IGNORED = {"PROTO", "FRAME"}
_PUSHED: dict[str, Callable[[Any], Any] | None] = {
    **dict.fromkeys(
        (
            "INT", "BININT", "BININT1", "BININT2", "LONG1", "LONG", "FLOAT", "BINFLOAT", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8",
            "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "STRING", "BINSTRING", "SHORT_BINSTRING",
        ),
        None,
    ),
    "BYTEARRAY8": bytes, "NONE": lambda _: None, "NEWTRUE": lambda _: True, "NEWFALSE": lambda _: False, "EMPTY_TUPLE": lambda _: (),
    "EMPTY_LIST": lambda _: [], "EMPTY_DICT": lambda _: {}, "MARK": lambda _: _MARK,
}  # fmt: skip


def _remember(machine: _Machine, place: Any) -> None:
    machine.memory[int(place)] = machine.stack[-1]


def _recall(machine: _Machine, place: Any) -> None:
    machine.stack.append(machine.memory[int(place)])


def _tuple_of(count: int) -> Callable[[_Machine, Any], None]:
    def make(machine: _Machine, _: Any) -> None:
        items = tuple(machine.stack[-count:])
        if len(items) < count:
            raise IndexError("the stack is empty")
        machine.stack[-count:] = [items]

    return make


def _appended(machine: _Machine, items: list[Any]) -> None:
    if not isinstance(machine.stack[-1], list):
        raise TypeError("no list")
    machine.stack[-1].extend(items)


def _set(machine: _Machine, items: list[Any]) -> None:
    table = machine.stack[-1]
    if not isinstance(table, dict):
        raise TypeError("no dictionary")
    for key, value in zip(items[::2], items[1::2], strict=True):
        if not isinstance(key, str | int | float | bytes | None):
            raise TypeError("a key")
        table[key] = value


def _pair(machine: _Machine) -> list[Any]:
    value, key = machine.stack.pop(), machine.stack.pop()
    return [key, value]


def _dictionary(machine: _Machine) -> None:
    items = machine.marked()
    machine.stack.append({})
    _set(machine, items)


_METHODS: dict[str, Callable[[_Machine, Any], None]] = {
    "GLOBAL": _Machine.named, "STACK_GLOBAL": _Machine.stack_named, "REDUCE": _Machine.reduced, "BUILD": _Machine.built,
    "TUPLE1": _tuple_of(1), "TUPLE2": _tuple_of(2), "TUPLE3": _tuple_of(3), "PUT": _remember, "BINPUT": _remember, "LONG_BINPUT": _remember,
    "GET": _recall, "BINGET": _recall, "LONG_BINGET": _recall,
    "TUPLE": lambda machine, _: machine.stack.append(tuple(machine.marked())),
    "LIST": lambda machine, _: machine.stack.append(machine.marked()),
    "DICT": lambda machine, _: _dictionary(machine),
    "APPEND": lambda machine, _: _appended(machine, [machine.stack.pop()]),
    "APPENDS": lambda machine, _: _appended(machine, machine.marked()),
    "SETITEM": lambda machine, _: _set(machine, _pair(machine)),
    "SETITEMS": lambda machine, _: _set(machine, machine.marked()),
    "MEMOIZE": lambda machine, _: _remember(machine, len(machine.memory)),
    "POP": lambda machine, _: machine.stack.pop(),
    "POP_MARK": lambda machine, _: machine.marked().clear(),
}  # fmt: skip


def _finished(thing: Any, machine: _Machine, done: dict[int, Any]) -> Any:
    """The thing with arrays for what was put together; what stands in several places is made once, so that small files stay small in memory."""
    if isinstance(thing, _Named | _Type) or thing is _MARK:
        raise machine.refusal("a function or a type")
    if isinstance(thing, _Array):
        if thing.values is None:
            raise ValueError("an array without values")
        return thing.values
    if not isinstance(thing, list | tuple | dict):
        return thing
    if id(thing) not in done:
        done[id(thing)] = _MARK
        if isinstance(thing, dict):
            done[id(thing)] = {key: _finished(value, machine, done) for key, value in thing.items()}
        else:
            items = [_finished(item, machine, done) for item in thing]
            done[id(thing)] = tuple(items) if isinstance(thing, tuple) else items
    if done[id(thing)] is _MARK:
        raise ValueError("a container that holds itself")
    return done[id(thing)]
