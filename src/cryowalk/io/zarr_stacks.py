"""Particles in Zarr (version 3): the layout of `io.hdf5`, a folder in which each column and each few images are a file of their own.

Made where many readers work at once or the data lie in an object store. Columns of text are Zarr's "string"; `columns`, `comments` and `values` are JSON.
"""

import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from cryowalk.core.errors import (
    CryowalkError,
    EnvironmentFault,
    InputError,
    SafetyRefusal,
    ShapeError,
    UsageError,
    printable,
)
from cryowalk.io.atomic import sync_folder, write_fault
from cryowalk.io.hdf5_guard import LARGEST_TABLE
from cryowalk.io.hdf5_stacks import CONVENTIONS, FORMAT_VERSION, StackContents
from cryowalk.io.hdf5_tables import FORMAT, FORMS, IMAGES, OPTICS, OTHERS, PARTICLES, WRITTEN, dataset_name, label_of, role_of
from cryowalk.io.mrc import check_values, stored_values
from cryowalk.io.opening import require_places
from cryowalk.io.stack_settings import StackStorage
from cryowalk.io.star import StarBlock, StarFile
from cryowalk.io.typed_columns import TypedColumn, column_texts, typed_column
from cryowalk.io.units_of_columns import unit_of

if TYPE_CHECKING:
    import zarr

ZARR_ENDINGS = {".zarr"}
CHUNK_BYTES = 2**22
LARGEST_CHUNK = 2**26  # bytes
CODECS = {"bytes", "gzip", "zstd", "blosc", "crc32c", "transpose", "vlen-utf8"}
_WHOLE: Any = {"write_empty_chunks": True}  # a chunk that is not there was lost
_DAMAGED = (
    OSError,
    EOFError,
    RuntimeError,
    KeyError,
    ValueError,
    TypeError,
    OverflowError,
    AttributeError,
    IndexError,
    NotImplementedError,
)


def _library() -> Any:
    """The package zarr.

    Raises
    ------
    EnvironmentFault
        If it is not installed.
    """
    try:
        import zarr
    except ImportError as error:
        raise EnvironmentFault(
            "Zarr stores need the package zarr, which is not installed",
            fix="pip install 'cryowalk[zarr]', or use HDF5: --o NAME.h5",
        ) from error
    return zarr


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """A block in which errors of the Zarr library become ours."""
    try:
        yield
    except CryowalkError:
        raise
    except _DAMAGED as error:
        told = printable(str(error)).splitlines() or [type(error).__name__]
        raise InputError(f"the Zarr store is damaged: {told[0][:200]}", file=path, fix="fetch or write it again") from error


def open_zarr(path: str | Path) -> "zarr.Group":
    """The root of a store, open for reading, in which nothing leads out of its folder.

    Raises
    ------
    InputError
        If it is no Zarr store of version 3.
    SafetyRefusal
        If a symbolic link stands in it.
    EnvironmentFault
        If the package zarr is not installed.
    """
    library, path = _library(), Path(path)
    if not (path / "zarr.json").is_file():
        raise InputError("this is no Zarr store of version 3", file=path, expected="a folder with zarr.json")
    for folder, folders, files in os.walk(path):
        link = next((name for name in (*folders, *files) if Path(folder, name).is_symlink()), None)
        if link is not None:
            raise SafetyRefusal(
                "a symbolic link stands in the Zarr store: refused", file=Path(folder, link), fix="copy what it leads to"
            )
    with _reading(path):
        root: zarr.Group = library.open_group(str(path), mode="r", zarr_format=3, use_consolidated=False)
        return root


def _checked(array: Any, path: Path) -> int:
    """The size of an array's values, bytes (of texts their number), known to be stored and made of codecs that are safe.

    Raises
    ------
    InputError
        If chunks are missing, or too large to unpack.
    SafetyRefusal
        If a codec is none of Zarr's own.
    """
    names = {codec.to_dict().get("name", "") for codec in array.metadata.codecs}
    if names - CODECS:
        raise SafetyRefusal(
            f"“{array.name}” is packed with {', '.join(sorted(names - CODECS))}: refused",
            file=path,
            expected=", ".join(sorted(CODECS)),
        )
    width = array.dtype.itemsize if array.dtype.kind in "iufbS" else 1
    chunk = int(np.prod(array.chunks, dtype=np.float64)) * width
    if chunk > LARGEST_CHUNK:
        raise InputError(
            f"“{array.name}” comes in chunks of {chunk / 1e6:.0f} MB", file=path, expected=f"at most {LARGEST_CHUNK // 2**20} MiB"
        )
    there = array.nchunks_initialized
    if there != array.nchunks:
        raise InputError(
            f"“{array.name}”: {there} of {array.nchunks} chunks are there",
            file=path,
            cause="it was never written to its end, or files were lost",
        )
    return int(np.prod(array.shape, dtype=np.float64)) * width


def read_zarr_tables(path: str | Path) -> StarFile:
    """The tables of a Zarr store as the STAR file they came from, every text as it was.

    Raises
    ------
    InputError
        If it is damaged or holds no table.
    """
    path = Path(path)
    root: Any = open_zarr(path)
    with _reading(path):
        others = root.get(OTHERS)
        groups = [root.get(PARTICLES), root.get(OPTICS), *(dict(others.groups()).values() if others is not None else ())]
        found = [group for group in groups if group is not None and hasattr(group, "groups")]
        if not found:
            raise InputError("the Zarr store holds no table", file=path, expected="a group “particles” with one array a column")
        found.sort(key=lambda group: int(group.attrs.get("star_order", 0)))
        budget = [LARGEST_TABLE]
        return StarFile(blocks=tuple(_read_table(group, path, budget) for group in found), path=path)


def _read_table(group: Any, path: Path, budget: list[int]) -> StarBlock:
    names = [str(name) for name in group.attrs.get("columns", [])]
    unsafe = next((name for name in names if "/" in name or set(name) <= {"."}), None)
    if unsafe is not None:
        raise SafetyRefusal(f"a column is named “{printable(unsafe)}”, which leads elsewhere: refused", file=path)
    columns = {label_of(name): column_texts(_read_column(group, name, path, budget)) for name in names}
    if len({len(column) for column in columns.values()}) > 1:
        raise InputError(f"the columns of “{group.name}” differ in length", file=path)
    return StarBlock(
        name=str(group.attrs.get("star_block", "")),
        values={str(key): str(value) for key, value in dict(group.attrs.get("values", {})).items()},
        columns=columns,
        comments=tuple(map(str, group.attrs.get("comments", []))),
    )


def _read_column(group: Any, name: str, path: Path, budget: list[int]) -> TypedColumn:
    values, form = _values(group[name], path, budget), str(group[name].attrs.get("format", "text"))
    kinds = {"S": ("text",), "i": ("integer",), "f": tuple(FORMS - {"text", "integer"})}
    form = form if form in kinds[values.dtype.kind] else {"S": "text", "i": "integer", "f": "shortest"}[values.dtype.kind]
    written = group.get(f"{WRITTEN}/{name}") if form == "as written" else None
    return TypedColumn(
        label=label_of(name),
        values=values,
        form=form,  # type: ignore[arg-type]  # one of them by the line above
        decimals=min(17, max(0, int(group[name].attrs.get("decimals", 0)))),
        written=None if written is None else _values(written, path, budget),
    )


def _values(array: Any, path: Path, budget: list[int]) -> NDArray[Any]:
    """One column as int64, float64 or bytes."""
    budget[0] -= _checked(array, path)
    if array.ndim != 1 or budget[0] < 0:
        raise InputError(
            f"“{array.name}” is no column, or too large",
            file=path,
            expected=f"one value a row, {LARGEST_TABLE // 2**30} GiB in all",
        )
    values = np.asarray(array[:])
    if values.dtype.kind in "iub":
        return values.astype(np.int64)
    if values.dtype.kind == "f":
        return values.astype(np.float64)
    texts = [str(text).encode("utf-8") for text in values.tolist()]
    return np.array(texts, dtype=f"S{max(1, max(map(len, texts), default=1))}")


class ZarrStackReader:
    """The images of one Zarr store, an `ImageSource` read in batches as float32."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        root: Any = open_zarr(self.path)
        with _reading(self.path):
            self._array: Any = root.get(IMAGES)
            if self._array is None or self._array.ndim != 3 or self._array.dtype.kind not in "iuf" or 0 in self._array.shape:
                raise InputError(
                    "the Zarr store holds no stack of images", file=self.path, expected="an array “images” [image, y, x]"
                )
            _checked(self._array, self.path)
            size = self._array.attrs.get("pixel_size")
            self.has_particles = PARTICLES in root
            self.sample_format = self._array.dtype.name
        self.pixel_size = float(size) if isinstance(size, int | float) and 0 < size < float("inf") else None

    @property
    def count(self) -> int:
        """How many images there are."""
        return int(self._array.shape[0])

    @property
    def image_shape(self) -> tuple[int, int]:
        """Height and width, pixels."""
        return int(self._array.shape[1]), int(self._array.shape[2])

    def read(self, indices: Sequence[int]) -> Float[Tensor, "n h w"]:
        """The images at these positions, counted from 0.

        Raises
        ------
        InputError
            If a position is out of range, the store is damaged, or a value is not finite.
        """
        places = [int(index) for index in indices]
        require_places(places, self.count, self.path)
        images = torch.empty((len(places), *self.image_shape), dtype=torch.float32)
        if places:
            self.fill(images.numpy(), places)
            check_values(images, places, self.path)
        return images

    def fill(self, images: NDArray[np.float32], places: list[int]) -> None:
        """Put the images at these positions into an array, unchecked."""
        with _reading(self.path):
            if places == list(range(places[0], places[-1] + 1)):
                images[...] = self._array[places[0] : places[-1] + 1]
            else:
                images[...] = self._array.get_orthogonal_selection((np.array(places), slice(None), slice(None)))


class ZarrStackWriter:
    """An `ImageSink` on a Zarr store of `shape` images: they go to the folder `NAME.partial`, which gets its final name when all are written.

    Raises
    ------
    UsageError
        If Zarr has no such packing, or something that is no Zarr store is in the way.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        shape: tuple[int, int, int],
        pixel_size: float,
        storage: StackStorage | None = None,
        contents: StackContents | None = None,
    ) -> None:
        library, self.path, self.shape, self.count = _library(), Path(path), shape, 0
        storage, contents = storage or StackStorage(), contents or StackContents()
        if storage.compression == "lzf":
            raise UsageError("Zarr knows no lzf", expected="--compression none or gzip")
        if self.path.exists() and not (self.path / "zarr.json").is_file():
            raise UsageError("this is no Zarr store, and is not replaced by one", file=self.path, fix="give another name")
        self.partial = self.path.with_name(self.path.name + ".partial")
        self._format = storage.sample_format
        shutil.rmtree(self.partial, ignore_errors=True)
        try:
            root = library.create_group(str(self.partial), zarr_format=3, attributes=_attributes(pixel_size, contents.provenance))
            _write_tables(root, contents.tables)
            kind = np.dtype(storage.sample_format)
            each = min(shape[0], max(1, CHUNK_BYTES // (shape[1] * shape[2] * kind.itemsize)))
            self._array = root.create_array(
                IMAGES,
                shape=shape,
                dtype=kind,
                chunks=(each, shape[1], shape[2]),
                compressors=None if storage.compression == "none" else [library.codecs.GzipCodec(level=1)],
                attributes={"pixel_size": pixel_size, "pixel_size_units": "angstrom", "axes": "image, y, x"},
                config=_WHOLE,
            )
        except OSError as error:
            raise write_fault(self.path, error) from error
        self._each, self._waiting = each, np.empty((0, *shape[1:]), kind)

    def write(self, images: Float[Tensor, "n h w"]) -> None:
        """Append these images; whole chunks are written at once.

        Raises
        ------
        ShapeError
            If their size is not the stack's, or there are too many.
        """
        if tuple(images.shape[-2:]) != self.shape[1:] or self.count + len(images) > self.shape[0]:
            raise ShapeError(f"the stack was made for {self.shape}, got {self.count} + {tuple(images.shape)}", file=self.path)
        if len(images) == 0:
            return
        stored = stored_values(images.detach().cpu().numpy(), self._format, self.path)
        self._waiting = np.concatenate((self._waiting, stored)) if len(self._waiting) else stored
        self.count += len(stored)
        self._flush(len(self._waiting) if self.count == self.shape[0] else len(self._waiting) // self._each * self._each)

    def _flush(self, rows: int) -> None:
        if not rows:
            return
        start = self.count - len(self._waiting)
        try:
            self._array[start : start + rows] = self._waiting[:rows]
        except OSError as error:
            raise write_fault(self.path, error) from error
        self._waiting = self._waiting[rows:].copy()

    def close(self) -> None:
        """Give the folder its final name; a store that was there is replaced.

        Raises
        ------
        InputError
            If fewer images were written than it was made for.
        """
        if not self.partial.is_dir():
            return
        if self.count < self.shape[0]:
            self.abandon()
            raise InputError(f"{self.count} of {self.shape[0]} images were written to the stack", file=self.path)
        before = self.path.with_name(f".{self.path.name}.{os.getpid()}.before")
        try:
            for folder, _, files in os.walk(self.partial):
                for name in files:
                    handle = os.open(Path(folder, name), os.O_RDONLY)
                    os.fsync(handle)
                    os.close(handle)
            if self.path.exists():
                self.path.rename(before)
            self.partial.rename(self.path)
        except OSError as error:
            raise write_fault(self.path, error) from error
        sync_folder(self.path.parent)
        shutil.rmtree(before, ignore_errors=True)

    def abandon(self) -> None:
        """Remove what was written."""
        shutil.rmtree(self.partial, ignore_errors=True)

    leave = abandon

    def __enter__(self) -> "ZarrStackWriter":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if kind is None:
            self.close()
        else:
            self.abandon()


def _attributes(pixel_size: float, provenance: Mapping[str, str]) -> dict[str, Any]:
    from cryowalk import __version__

    return {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "creator": f"cryowalk {__version__}",
        "conventions": CONVENTIONS,
        "pixel_size": pixel_size,
        "provenance": dict(provenance),
    }


def _write_tables(root: Any, blocks: Sequence[StarBlock]) -> None:
    taken: set[str] = set()
    for number, block in enumerate(blocks):
        role = role_of(block)
        place = role if role and role not in taken else f"{OTHERS}/{number:03d}"
        taken.add(place)
        names = [dataset_name(label) for label in block.columns]
        attributes = {
            "star_block": block.name, "star_order": number, "columns": names, "comments": list(block.comments), "values": dict(block.values),
        }  # fmt: skip
        group = root.create_group(place, attributes=attributes)
        for name, label in zip(names, block.columns, strict=True):
            column = typed_column(label, block.columns[label])
            told = {"units": unit_of(label), "format": column.form, "decimals": column.decimals}
            _write_values(group, name, column.values, told)
            if column.written is not None:
                _write_values(group.require_group(WRITTEN), name, column.written, {})


def _write_values(group: Any, name: str, values: NDArray[Any], attributes: dict[str, Any]) -> None:
    if values.dtype.kind != "S":
        group.create_array(name, data=values, attributes=attributes, config=_WHOLE)
        return
    try:
        texts = [text.decode("utf-8") for text in values.tolist()]
    except UnicodeDecodeError as error:
        raise InputError(
            f"column {name} holds bytes that are no UTF-8, which Zarr cannot keep", fix="write HDF5: --o NAME.h5"
        ) from error
    array = group.create_array(name, shape=(len(texts),), dtype="string", attributes=attributes, config=_WHOLE)
    array[:] = np.array(texts, dtype=object)
