"""Opening HDF5 files of others: nothing outside the file is followed, no foreign code is loaded, and nothing is read before its size is known.

HDF5 can name other files (external links, external raw storage, virtual datasets), which libraries follow without a word; it can ask for filters that are
loaded as native code; and a kilobyte can claim to be a terabyte. All of that is looked for before anything is read.

Source: The HDF Group, HDF5 File Format Specification Version 3.0.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cryowalk.core.errors import CryowalkError, EnvironmentFault, InputError, SafetyRefusal, printable
from cryowalk.io.opening import open_file

if TYPE_CHECKING:
    import h5py

SIGNATURE = b"\x89HDF\r\n\x1a\n"
HDF5_ENDINGS = {".h5", ".hdf5", ".hdf"}
BUILT_IN_FILTERS = {1: "gzip", 2: "shuffle", 3: "fletcher32", 4: "szip", 5: "nbit", 6: "scaleoffset", 32000: "lzf"}
LARGEST_RATIO = 1100  # deflate packs at most 1032 to 1
LARGEST_CHUNK = 2**28  # bytes; a chunk is unpacked whole
LARGEST_TABLE = 2**32  # bytes of all columns that are read into memory
MOST_OBJECTS = 100_000
LONGEST_ATTRIBUTE = 2**22  # bytes


def is_hdf5(path: str | Path) -> bool:
    """Whether the file begins with the signature of HDF5, at its start or after a user block of up to 64 KiB.

    Raises
    ------
    InputError
        If there is no such file.
    """
    with open_file(Path(path)) as stream:
        return holds_signature(stream.read(2**16 + len(SIGNATURE)))


def holds_signature(start: bytes) -> bool:
    """Whether these first bytes of a file hold HDF5's signature where the format allows it: at 0, 512, 1024, 2048 and so on."""
    places = [0, *(2**power for power in range(9, 17))]
    return any(start[place : place + len(SIGNATURE)] == SIGNATURE for place in places)


def open_hdf5(path: str | Path) -> "h5py.File":
    """The file, open for reading, after every link and dataset in it was looked at; use it in a `with` block.

    Raises
    ------
    InputError
        If it is missing, cut off, damaged, no HDF5 file, or links run in a circle.
    SafetyRefusal
        If it leads to other files (external links, external storage, virtual datasets) or asks for filters that are loaded as code.
    EnvironmentFault
        If it may not be read, or another program is writing it.
    """
    import h5py

    path = Path(path)
    if not is_hdf5(path):
        raise InputError("this is no HDF5 file", file=path, fix="name another file, or fetch it again")
    _forget_plugins()
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise _opening_fault(path, str(error)) from error
    try:
        with reading(path):
            _Walk(path).over(file)
    except BaseException:
        file.close()
        raise
    return file


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """A block in which errors of the HDF5 library become ours.

    Raises
    ------
    InputError
        If the library finds the file damaged.
    """
    try:
        yield
    except CryowalkError:
        raise
    except (OSError, RuntimeError, KeyError, ValueError, TypeError, OverflowError, UnicodeError) as error:
        told = printable(str(error).strip("'\"")).splitlines() or [type(error).__name__]
        raise InputError(
            f"the HDF5 file is damaged: {told[0][:200]}",
            file=path,
            cause="an interrupted copy, or a program that was killed while it wrote",
            fix="fetch or write the file again",
        ) from error


def _forget_plugins() -> None:
    """Leave the library no folder to load filters from; ours are built in."""
    from h5py import h5pl

    for _ in range(h5pl.size()):
        h5pl.remove(0)


def _opening_fault(path: Path, told: str) -> CryowalkError:
    """The error for what the library says when it cannot open a file."""
    if "truncated" in told or "eof" in told:
        return InputError(
            f"the HDF5 file is cut off: {path.stat().st_size} bytes are there, fewer than it was written with",
            file=path,
            cause="an interrupted copy, a full disk, or a program that was killed while it wrote",
            fix="fetch or write the file again",
        )
    if "lock" in told or "already open" in told:
        return EnvironmentFault(
            "the HDF5 file is open for writing",
            file=path,
            cause="another program is writing it, or was killed while it did",
            fix="wait for it; after a crash: h5clear -s FILE",
        )
    return InputError(
        f"the HDF5 file cannot be opened: {printable(told).splitlines()[0][:200]}",
        file=path,
        cause="a damaged file",
        fix="fetch or write the file again",
    )


class _Walk:
    """A walk over all groups of a file, by the links themselves: none is followed before its kind is known."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: set[int] = set()

    def over(self, file: "h5py.File") -> None:
        """Look at everything that can be reached from the root."""
        from h5py import h5g, h5o

        soft: list[tuple[Any, bytes, str]] = []
        waiting = [("", h5g.open(file.id, b"/"))]
        self._seen.add(h5o.get_info(waiting[0][1]).addr)
        while waiting:
            place, group = waiting.pop()
            for name in list(group):
                where = f"{place}/{name.decode('utf-8', 'replace')}"
                inner = self._link(group, name, where, soft)
                if isinstance(inner, h5g.GroupID):
                    waiting.append((where, inner))
        for group, name, where in soft:  # now that no link leaves the file
            self._follow(group, name, where)

    def _link(self, group: Any, name: bytes, where: str, soft: list[tuple[Any, bytes, str]]) -> Any:
        """The object behind a hard link that is seen for the first time."""
        from h5py import h5d, h5l, h5o

        kind = group.links.get_info(name).type
        if kind == h5l.TYPE_SOFT:
            soft.append((group, name, where))
            return None
        if kind == h5l.TYPE_EXTERNAL:
            target = group.links.get_val(name)[0].decode("utf-8", "replace")
            raise self._refusal(f"“{where}” is a link to another file, {target}")
        if kind != h5l.TYPE_HARD:
            raise self._refusal(f"“{where}” is a link of a kind that only some program of its own can follow")
        found = h5o.open(group, name)
        address = h5o.get_info(found).addr
        if address in self._seen:
            return None
        self._seen.add(address)
        if len(self._seen) > MOST_OBJECTS:
            raise InputError(f"the HDF5 file holds more than {MOST_OBJECTS} objects", file=self._path, cause="no particle stack")
        if isinstance(found, h5d.DatasetID):
            self._look_at(found, where)
        return found

    def _look_at(self, dataset: Any, where: str) -> None:
        """Refuse a dataset whose values lie in other files or need foreign code."""
        from h5py import h5d

        properties = dataset.get_create_plist()
        if properties.get_layout() == h5d.VIRTUAL:
            raise self._refusal(f"the dataset “{where}” is virtual: its values lie in other files")
        if properties.get_external_count():
            name = properties.get_external(0)[0].decode("utf-8", "replace")
            raise self._refusal(f"the values of “{where}” lie in another file, {name}")
        for number in range(properties.get_nfilters()):
            code, _, _, told = properties.get_filter(number)
            if code not in BUILT_IN_FILTERS:
                words = told.decode("utf-8", "replace") if told else "without a name"
                raise self._refusal(f"“{where}” needs the filter {code} ({words}), which would be loaded as native code")

    def _follow(self, group: Any, name: bytes, where: str) -> None:
        """Raise an error if a soft link leads in a circle; one that leads to nothing does no harm."""
        from h5py import h5o

        try:
            h5o.get_info(h5o.open(group, name))
        except (OSError, KeyError, RuntimeError) as error:
            if "too many" in str(error):
                raise InputError(
                    f"the link “{where}” leads in a circle", file=self._path, cause="a damaged file, or one made to do harm"
                ) from error

    def _refusal(self, what: str) -> SafetyRefusal:
        return SafetyRefusal(
            f"{what}: refused",
            file=self._path,
            expected="one file that holds all its values, plain, gzip or lzf",
            fix="if you trust it, copy it into one file with the program that made it (h5repack), and use that",
        )


def check_dataset(dataset: "h5py.Dataset", path: Path) -> int:
    """The size of the dataset's values in memory, bytes, known to be stored in the file.

    Raises
    ------
    InputError
        If the values were never written, claim far more than the file can hold, or come in chunks too large to unpack.
    """
    logical: int = math.prod(dataset.shape) * dataset.dtype.itemsize
    stored = int(dataset.id.get_storage_size())
    name, length = str(dataset.name), path.stat().st_size
    properties = dataset.id.get_create_plist()
    has_filters = properties.get_nfilters() > 0
    chunk = math.prod(dataset.chunks) * dataset.dtype.itemsize if dataset.chunks else 0
    if chunk > LARGEST_CHUNK and has_filters:
        raise InputError(
            f"“{name}” is packed in chunks of {chunk / 1e9:.1f} GB",
            file=path,
            expected=f"at most {LARGEST_CHUNK // 2**20} MiB",
            cause="no particle stack, or a decompression bomb",
        )
    chunks = (
        math.prod(-(-side // part) for side, part in zip(dataset.shape, dataset.chunks, strict=True)) if dataset.chunks else 0
    )
    is_absent = dataset.id.get_num_chunks() != chunks if dataset.chunks else logical > 0 and not stored
    if not has_filters:
        is_absent = is_absent or stored < logical
    if is_absent:
        raise InputError(
            f"“{name}” claims {logical / 1e6:.3g} MB and the file holds {stored / 1e6:.3g} MB of it",
            file=path,
            cause="it was never written to its end, or a decompression bomb",
            fix="write the file again",
        )
    if stored > length or logical > LARGEST_RATIO * max(stored, 1):
        raise InputError(
            f"“{name}” claims {logical / 1e6:.3g} MB, more than a file of {length / 1e6:.3g} MB can hold",
            file=path,
            cause="a damaged file, or a decompression bomb",
            fix="fetch or write the file again",
        )
    return logical


def read_attribute(thing: Any, name: str, *, otherwise: Any = None) -> Any:
    """The attribute as a number, a text, or a tuple of texts; `otherwise` where there is none of a simple type and bounded size."""
    if name not in thing.attrs:
        return otherwise
    attribute = thing.attrs.get_id(name)
    kind, shape = attribute.dtype, attribute.shape
    is_simple = kind.kind in "iufS" or (_is_text(kind) and shape == ())
    if attribute.get_storage_size() > LONGEST_ATTRIBUTE or not is_simple:
        return otherwise
    value = thing.attrs[name]
    value = value.item() if isinstance(value, np.generic) else value
    if isinstance(value, bytes):
        return value.decode("utf-8", "surrogateescape")
    if isinstance(value, np.ndarray) and value.dtype.kind == "S" and value.ndim == 1:
        return tuple(text.decode("utf-8", "surrogateescape") for text in value.tolist())
    return value if isinstance(value, str | int | float) else otherwise


def _is_text(kind: "np.dtype[Any]") -> bool:
    import h5py

    return h5py.check_string_dtype(kind) is not None
