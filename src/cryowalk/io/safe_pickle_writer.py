"""NumPy arrays written as pickle files that other programs read; the bytes are put together here, with NumPy's functions under the names that 1 and 2 know.

Source: Python documentation, `pickletools` (protocol 4); NumPy's `ndarray.__reduce__` and `dtype.__reduce__`.
"""

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryowalk.core.errors import InputError
from cryowalk.io.atomic import atomic_path

DEEPEST = 64  # containers in containers


def write_numpy_pickle(thing: Any, path: str | Path) -> None:
    """Write arrays, numbers, texts, and lists, tuples and dictionaries of them as a pickle (protocol 4) that Python's own unpickler reads, all or nothing.

    Arrays name NumPy's functions by the names that NumPy 1 and 2 both know, so that older programs read them too.

    Raises
    ------
    InputError
        If there is something else in it.
    """
    write_numpy_pickles((thing,), path)


def write_numpy_pickles(things: tuple[Any, ...], path: str | Path) -> None:
    """Write several pickles one after another, as cryoDRGN stores latents; as `write_numpy_pickle`.

    Raises
    ------
    InputError
        If there is something else in one of them.
    """
    parts = [part for thing in things for part in (b"\x80\x04", *_pickled(thing, Path(path)), b".")]
    with atomic_path(path) as temporary, temporary.open("wb") as stream:
        stream.writelines(parts)


def _pickled(thing: Any, path: Path, depth: int = 0) -> Iterator[bytes]:  # noqa: C901  one line for each kind of thing
    """The instructions that put a thing on the stack."""
    if depth > DEEPEST:
        raise InputError("containers are nested too deep to be written", file=path)
    if isinstance(thing, np.ndarray | np.generic):
        yield from _pickled_array(thing, path)
    elif thing is None or isinstance(thing, bool):
        yield {None: b"N", True: b"\x88", False: b"\x89"}[thing]
    elif isinstance(thing, int):
        raw = thing.to_bytes(max(1, (thing.bit_length() + 8) // 8), "little", signed=True)
        yield b"\x8a" + bytes([len(raw)]) + raw
    elif isinstance(thing, float):
        yield b"G" + struct.pack(">d", thing)
    elif isinstance(thing, str):
        raw = thing.encode("utf-8", "surrogatepass")
        yield b"X" + struct.pack("<I", len(raw)) + raw
    elif isinstance(thing, bytes):
        yield b"\x8e" + struct.pack("<Q", len(thing))
        yield thing
    elif isinstance(thing, list | tuple):
        yield b"]" if isinstance(thing, list) else b""
        yield b"("
        for item in thing:
            yield from _pickled(item, path, depth + 1)
        yield b"e" if isinstance(thing, list) else b"t"
    elif isinstance(thing, dict):
        yield b"}("
        for key, value in thing.items():
            yield from _pickled(key, path, depth + 1)
            yield from _pickled(value, path, depth + 1)
        yield b"u"
    else:
        raise InputError(f"{type(thing).__name__} cannot be written to a pickle of arrays", file=path)


def _pickled_array(thing: "NDArray[Any] | np.generic", path: Path) -> Iterator[bytes]:
    """An array as NumPy's own pickles have it: a call of `_reconstruct` and its state."""
    dtype = thing.dtype
    if dtype.kind not in "biufcSU" or dtype.names is not None:
        raise InputError(f"an array of {dtype} cannot be written to a pickle of arrays", file=path)
    little = np.ascontiguousarray(thing).astype(dtype.newbyteorder("<"), copy=False)
    told = f"{dtype.kind}{dtype.itemsize // 4 if dtype.kind == 'U' else dtype.itemsize}"
    order = "|" if dtype.kind in "bS" or dtype.itemsize == 1 else "<"
    width, align = {"S": (dtype.itemsize, 1), "U": (dtype.itemsize, 4)}.get(dtype.kind, (-1, -1))
    kind = b"cnumpy\ndtype\n" + b"".join(_pickled((told, False, True), path)) + b"R"
    kind += b"".join(_pickled((3, order, None, None, None, width, align, 0), path)) + b"b"
    content = little.tobytes()
    if isinstance(thing, np.generic):
        yield b"cnumpy.core.multiarray\nscalar\n" + kind
        yield from _pickled(content, path)
        yield b"\x86R"
        return
    yield (
        b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\n"
        + b"".join(_pickled((0,), path))
        + b"".join(_pickled(b"b", path))
        + b"\x87R"
    )
    yield b"(" + b"".join(_pickled(1, path)) + b"".join(_pickled(tuple(map(int, thing.shape)), path)) + kind + b"\x89"
    yield from _pickled(content, path)
    yield b"tb"
