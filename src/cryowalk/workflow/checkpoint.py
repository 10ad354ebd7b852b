"""Checkpoints on disk: tensors, numbers and text in a format that can hold no code, replaced whole, the one before kept.

A file is the magic number, the length of a JSON header, the header, the raw bytes of each array, and the sha256 of all that.
"""

import hashlib
import json
import os
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from cryowalk.core.errors import CryowalkError, StateConflict

MAGIC = b"cryowalk-state-1"
_LENGTH = 8  # bytes of the header's length
_DIGEST = 32  # bytes of a sha256


class DamagedCheckpoint(CryowalkError):
    """A checkpoint whose bytes are not the ones that were written."""

    exit_code = 6


def pack(state: Mapping[str, Any]) -> list[bytes | memoryview]:
    """The state as the parts of a file, arrays without a copy.

    Raises
    ------
    TypeError
        If it holds anything but tensors, arrays, numbers, text, bytes, None, and lists, tuples and mappings (by text) of those.
    """
    arrays: list[dict[str, Any]] = []
    blobs: list[bytes | memoryview] = []

    def reference(kind: str, dtype: str, shape: tuple[int, ...], content: bytes | memoryview) -> dict[str, Any]:
        arrays.append({"kind": kind, "dtype": dtype, "shape": list(shape), "bytes": len(content)})
        blobs.append(content)
        return {"$array": len(arrays) - 1}

    def encode(value: Any) -> Any:
        if value is None or isinstance(value, (bool, int, float, str)):
            return value
        if isinstance(value, bytes):
            return reference("bytes", "uint8", (len(value),), value)
        if isinstance(value, Mapping):
            if not all(isinstance(key, str) for key in value):
                raise TypeError("the keys of a checkpoint are text")
            return {"$map": [[key, encode(item)] for key, item in value.items()]}
        if isinstance(value, (list, tuple)):
            return {"$list" if isinstance(value, list) else "$tuple": [encode(item) for item in value]}
        return _encode_array(value, reference)

    tree = encode(state)
    header = json.dumps({"arrays": arrays, "tree": tree}).encode()
    parts = [MAGIC, len(header).to_bytes(_LENGTH, "little"), header, *blobs]
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return [*parts, digest.digest()]


def _encode_array(value: Any, reference: Callable[[str, str, tuple[int, ...], memoryview], dict[str, Any]]) -> dict[str, Any]:
    import numpy as np
    import torch

    if isinstance(value, torch.Tensor):
        plain = value.detach().cpu().contiguous().resolve_conj().resolve_neg()
        raw: Any = plain.reshape(-1).view(torch.uint8).numpy() if plain.numel() else np.empty(0, np.uint8)
        return reference("tensor", str(plain.dtype).removeprefix("torch."), tuple(value.shape), memoryview(raw))
    if isinstance(value, np.generic):
        value = np.asarray(value)
    if isinstance(value, np.ndarray) and not value.dtype.hasobject:
        flat: Any = np.ascontiguousarray(value).reshape(-1).view(np.uint8) if value.size else np.empty(0, np.uint8)
        return reference("array", value.dtype.str, value.shape, memoryview(flat))
    raise TypeError(f"a checkpoint cannot hold {type(value).__name__}")


def unpack(content: bytes | bytearray) -> dict[str, Any]:
    """The state that `pack` was given.

    Raises
    ------
    DamagedCheckpoint
        If the bytes are cut off or changed.
    """
    head = len(MAGIC) + _LENGTH
    if len(content) < head + _DIGEST or not content.startswith(MAGIC):
        raise DamagedCheckpoint("this is no whole checkpoint")
    view = memoryview(content)
    if hashlib.sha256(view[:-_DIGEST]).digest() != bytes(view[-_DIGEST:]):
        raise DamagedCheckpoint("the checkpoint's bytes are not the ones that were written")
    start = head + int.from_bytes(view[len(MAGIC) : head], "little")
    header = json.loads(bytes(view[head:start]))
    items = []
    for array in header["arrays"]:
        items.append(_decode_array(array, view[start : start + array["bytes"]]))
        start += array["bytes"]

    def decode(value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        ((kind, inner),) = value.items()
        if kind == "$array":
            return items[inner]
        if kind == "$map":
            return {key: decode(item) for key, item in inner}
        decoded = [decode(item) for item in inner]
        return decoded if kind == "$list" else tuple(decoded)

    state: dict[str, Any] = decode(header["tree"])
    return state


def _decode_array(array: dict[str, Any], content: memoryview) -> Any:
    import numpy as np
    import torch

    if array["kind"] == "bytes":
        return bytes(content)
    raw = np.frombuffer(content, np.uint8).copy()
    if array["kind"] == "tensor":
        dtype = getattr(torch, array["dtype"])
        flat = torch.from_numpy(raw).view(dtype) if raw.size else torch.empty(0, dtype=dtype)
        return flat.reshape(array["shape"])
    return raw.view(np.dtype(array["dtype"])).reshape(array["shape"])


class FileCheckpoint:
    """A checkpoint in a file; `save` keeps the one before, `load` falls back to it when the newest is damaged."""

    def __init__(
        self,
        path: Path,
        *,
        interval: float = 0.0,
        tell: Callable[[str], None] | None = None,
        hurry: Callable[[], bool] | None = None,
    ) -> None:
        """A checkpoint at `path` that is written at most once each `interval` seconds, unless `hurry()` says that the end is near."""
        self.path = path
        self.previous = path.with_name(f"{path.stem}.previous{path.suffix}")
        self._interval = interval
        self._tell = tell or (lambda _: None)
        self._hurry = hurry or (lambda: False)
        self._saved = time.monotonic()
        self._cost = 0.0

    def load(self) -> dict[str, Any] | None:
        """What was saved last, or None at the first start.

        Raises
        ------
        StateConflict
            If what was saved is damaged and there is no whole one before it.
        """
        damage = ""
        for path in (self.path, self.previous):
            if not path.exists():
                continue
            try:
                state = unpack(path.read_bytes())
            except DamagedCheckpoint as error:
                damage = error.what
                continue
            if damage:
                self._tell(f"the newest checkpoint is damaged ({damage}); going on from the one before")
            return state
        if damage:
            raise StateConflict(
                damage,
                file=self.path,
                cause="the file was cut off or edited after it was written",
                fix=f"remove the folder {self.path.parent} to begin the work again, or restore the file",
            )
        return None

    def save(self, state: Mapping[str, Any]) -> None:
        """Replace what was saved by this state, all or nothing; the state before stays beside it.

        Raises
        ------
        EnvironmentFault
            If it cannot be written.
        """
        now = time.monotonic()
        # A save that takes a second is worth making at most each ten seconds.
        if now - self._saved < max(self._interval, 10 * self._cost if self._interval else 0.0) and not self._hurry():
            return
        self._write(pack(state))
        self._saved = time.monotonic()
        self._cost = self._saved - now

    def _write(self, parts: list[bytes | memoryview]) -> None:
        from cryowalk.io.atomic import atomic_path

        self.path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(self.path) as temporary:
            with temporary.open("wb") as stream:
                for part in parts:
                    stream.write(part)
            self._keep_previous()

    def _keep_previous(self) -> None:
        if not self.path.exists():
            return
        self.previous.unlink(missing_ok=True)
        with suppress(
            OSError
        ):  # a file system without hard links keeps no previous one; the rename that follows is still all or nothing
            os.link(self.path, self.previous)

    def remove(self) -> None:
        """Remove both files."""
        self.path.unlink(missing_ok=True)
        self.previous.unlink(missing_ok=True)
