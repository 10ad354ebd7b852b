"""STAR tables in an HDF5 file: one dataset a column, numbers as numbers, and every text restored exactly.

A table is a group: `/particles` and `/optics`, any other block of the STAR file `/tables/000` and so on. Its attributes are `star_block` (the block's
name), `star_order` (its place in the STAR file), `columns` (the datasets in their order), `comments` and single `values` (JSON). A dataset has the
attributes `units`, `format` (see `typed_columns`) and, for "fixed", `decimals`. Texts that no format gives again lie in the sub-group `written_as`.
"""

import json
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote

import numpy as np
from numpy.typing import NDArray

from cryowalk.core.errors import CryowalkWarning, InputError, printable
from cryowalk.io.hdf5_guard import LARGEST_TABLE, check_dataset, open_hdf5, read_attribute, reading
from cryowalk.io.star import StarBlock, StarFile
from cryowalk.io.typed_columns import TypedColumn, column_texts, typed_column
from cryowalk.io.units_of_columns import unit_of

if TYPE_CHECKING:
    import h5py

FORMAT = "cryowalk particles"
PARTICLES, OPTICS, OTHERS, WRITTEN, IMAGES = "particles", "optics", "tables", "written_as", "images"
IMAGE_NAMES = (IMAGES, PARTICLES, "data", "stack")  # where other programs put a stack at the root of a file
TEXTS_AT_ONCE = 2**26  # bytes; each of some texts may be as long as the file
LARGEST_TEXTS = 2**30  # bytes of one column of texts of any length
PACKED_FROM = 2**16  # bytes; a smaller column is stored plain
_SAFE = "".join(chr(code) for code in range(33, 127) if chr(code) not in "%/")
FORMS = {"integer", "fixed", "shortest", "as written", "text"}


def dataset_name(label: str) -> str:
    """The name of the dataset of this column: its label, with what HDF5 cannot have in a name as in web addresses.

    >>> dataset_name("rlnDefocusU"), dataset_name("alignments3D/error")
    ('rlnDefocusU', 'alignments3D%2Ferror')
    """
    name = quote(label, safe=_SAFE, errors="surrogateescape")
    is_taken = set(name) <= {"."} or name in {WRITTEN, "zarr.json"} or name.startswith("__")
    return f"%{ord(name[0]):02X}{name[1:]}" if is_taken else name


def label_of(name: str) -> str:
    """The label of the column whose dataset has this name."""
    return unquote(name, errors="surrogateescape")


def write_tables(root: "h5py.Group", blocks: Sequence[StarBlock]) -> None:
    """Write these blocks into the groups of an HDF5 file."""
    taken: set[str] = set()
    for number, block in enumerate(blocks):
        role = role_of(block)
        place = role if role and role not in taken else f"{OTHERS}/{number:03d}"
        taken.add(place)
        _write_table(root.create_group(place), block, number)


def role_of(block: StarBlock) -> str:
    """Which of our groups a block belongs to, `particles` or `optics`; empty for any other."""
    if block.name == OPTICS:
        return OPTICS
    is_old = block.name in ("", "images") and {"rlnImageName", "rlnAngleRot", "rlnCoordinateX"} & set(block.columns)
    return PARTICLES if block.name == PARTICLES or is_old else ""


def _write_table(group: "h5py.Group", block: StarBlock, number: int) -> None:
    names = [dataset_name(label) for label in block.columns]
    write_text(group, "star_block", block.name)
    group.attrs["star_order"] = np.int64(number)
    write_text(group, "comments", json.dumps(list(block.comments)))
    write_text(group, "values", json.dumps(dict(block.values)))
    if names:
        group.attrs["columns"] = np.array([name.encode() for name in names])
    for name, label in zip(names, block.columns, strict=True):
        column = typed_column(label, block.columns[label])
        dataset = _write_values(group, name, column.values)
        write_text(dataset, "units", unit_of(label))
        write_text(dataset, "format", column.form)
        if column.form == "fixed":
            dataset.attrs["decimals"] = np.int64(column.decimals)
        if column.written is not None:
            _write_values(group.require_group(WRITTEN), name, column.written)


def _write_values(group: "h5py.Group", name: str, values: NDArray[Any]) -> "h5py.Dataset":
    import h5py

    kind = h5py.string_dtype("utf-8", values.dtype.itemsize) if values.dtype.kind == "S" else values.dtype.newbyteorder("<")
    options: dict[str, Any] = {}
    if values.nbytes > PACKED_FROM:
        options = {"compression": "gzip", "compression_opts": 1, "shuffle": True, "chunks": (min(len(values), 2**16),)}
    return group.create_dataset(name, data=values.astype(kind), track_times=False, **options)


def write_text(thing: Any, name: str, text: str) -> None:
    """Write a text attribute of fixed length."""
    thing.attrs.create(name, np.bytes_(text.encode("utf-8", "surrogateescape") or b"\0"))


def read_hdf5_tables(path: str | Path) -> StarFile:
    """The tables of an HDF5 file as the STAR file they came from, every text as it was.

    Files of other programs, with columns and a stack side by side at the root, are read as a table of particles.

    Raises
    ------
    InputError
        If the file is damaged, holds no table, or a column does not fit the others.
    SafetyRefusal
        As `open_hdf5`.
    """
    path = Path(path)
    with open_hdf5(path) as file, reading(path):
        blocks = tables_in(file, path)
    if not blocks:
        raise InputError(
            "the HDF5 file holds no table",
            file=path,
            expected="a group “particles” with one dataset a column",
            cause="images alone",
        )
    return StarFile(blocks=blocks, path=path)


def tables_in(file: "h5py.File", path: Path) -> tuple[StarBlock, ...]:
    """The tables of an open file in the order of the STAR file they came from."""
    import h5py

    budget = _Budget(path)
    if read_attribute(file, "format") != FORMAT:
        block = _foreign_table(file, budget)
        return (block,) if block is not None else ()
    others = file.get(OTHERS)
    groups = [file.get(PARTICLES), file.get(OPTICS), *(others.values() if isinstance(others, h5py.Group) else ())]
    found = [group for group in groups if isinstance(group, h5py.Group)]
    places = [read_attribute(group, "star_order", otherwise=number) for number, group in enumerate(found)]
    order = sorted(range(len(found)), key=lambda i: places[i] if isinstance(places[i], int) else i)
    return tuple(_read_table(found[i], budget) for i in order)


class _Budget:
    """How many bytes of columns may still be read into memory."""

    def __init__(self, path: Path) -> None:
        self.path, self.left = path, LARGEST_TABLE

    def take(self, size: int) -> None:
        """Count so many bytes.

        Raises
        ------
        InputError
            If they are more than are left.
        """
        self.left -= size
        if self.left < 0:
            raise InputError(
                f"the columns are larger than {LARGEST_TABLE // 2**30} GiB",
                file=self.path,
                cause="no table of particles, or a decompression bomb",
            )


def _read_table(group: "h5py.Group", budget: _Budget) -> StarBlock:
    import h5py

    listed: Any = read_attribute(group, "columns")
    names: tuple[str, ...] = listed if isinstance(listed, tuple) else tuple(name for name in group if name != WRITTEN)
    texts = {}
    for name in names:
        dataset = group.get(name)
        if not isinstance(dataset, h5py.Dataset):
            raise InputError(f"the column “{name}” is listed and not there", file=budget.path, cause="it was removed")
        texts[label_of(name)] = column_texts(_read_column(dataset, group.get(f"{WRITTEN}/{name}"), budget))
    lengths = {len(column) for column in texts.values()}
    if len(lengths) > 1:
        raise InputError(f"the columns of “{group.name}” differ in length: {sorted(lengths)}", file=budget.path)
    name = read_attribute(group, "star_block", otherwise=str(group.name).rpartition("/")[2])
    return StarBlock(
        name=str(name), values=_json(group, "values", dict), columns=texts, comments=tuple(_json(group, "comments", list))
    )


def _json(group: "h5py.Group", name: str, kind: type) -> Any:
    """What a JSON attribute holds, its texts as texts; nothing where it is absent."""
    text = read_attribute(group, name, otherwise="")
    found: Any = json.loads(text) if isinstance(text, str) and text else kind()
    if type(found).__name__ != kind.__name__:
        raise InputError(f"the attribute “{name}” of “{group.name}” is no {kind.__name__}", file=group.file.filename)
    return {str(key): str(found[key]) for key in found} if kind is dict else [str(each) for each in found]


def _read_column(dataset: "h5py.Dataset", written: Any, budget: _Budget) -> TypedColumn:
    import h5py

    if len(dataset.shape) != 1:
        raise InputError(
            f"the column “{dataset.name}” has the shape {dataset.shape}", file=budget.path, expected="one value a row"
        )
    values = read_values(dataset, budget)
    form = read_attribute(dataset, "format", otherwise="")
    decimals = read_attribute(dataset, "decimals", otherwise=0)
    if values.dtype.kind == "S":
        form = "text"
    elif form not in FORMS - {"text"} or (form == "integer") != (values.dtype.kind == "i"):
        form = "integer" if values.dtype.kind == "i" else "shortest"
    if form == "fixed" and not (isinstance(decimals, int) and 0 <= decimals <= 17):
        form = "shortest"
    texts = None
    if form == "as written" and isinstance(written, h5py.Dataset):
        texts = read_values(written, budget)
        texts = texts if len(texts) == len(values) and texts.dtype.kind == "S" else None
    return TypedColumn(
        label=label_of(str(dataset.name).rpartition("/")[2]), values=values, form=form, decimals=decimals, written=texts
    )


def read_values(dataset: "h5py.Dataset", budget: _Budget) -> NDArray[Any]:
    """The values of a column as int64, float64 or bytes, their size known before they are read."""
    import h5py

    kind = dataset.dtype
    text = h5py.check_string_dtype(kind)
    if not _is_simple(kind):
        raise InputError(
            f"the column “{dataset.name}” holds {kind}", file=budget.path, expected="numbers or texts", fix="leave it out"
        )
    budget.take(check_dataset(dataset, budget.path))
    if text is not None and text.length is None:
        return _read_texts(dataset, budget)
    values = dataset[()]
    if kind.kind == "f" and kind.itemsize < 8:
        return np.array([float(each) for each in values.astype(str)], np.float64)  # 1.37 stays 1.37
    if kind.kind == "u" and len(values) and values.max() > np.iinfo(np.int64).max:
        return np.asarray(values.astype(str).astype("S"))
    return np.asarray(values.astype({"i": np.int64, "u": np.int64, "b": np.int64, "f": np.float64}.get(kind.kind, values.dtype)))


def _is_simple(kind: "np.dtype[Any]") -> bool:
    """Whether values of this type are numbers or texts."""
    import h5py

    return h5py.check_string_dtype(kind) is not None or kind.kind in "iufbS"


def _read_texts(dataset: "h5py.Dataset", budget: _Budget) -> NDArray[Any]:
    """Texts of any length, so few at a time that a file in which all rows point to one long text cannot fill the memory."""
    step = max(16, min(2**16, TEXTS_AT_ONCE // max(1, budget.path.stat().st_size)))
    texts: list[bytes] = []
    total = 0
    for start in range(0, len(dataset), step):
        part = [
            each if isinstance(each, bytes) else str(each).encode("utf-8", "surrogateescape")
            for each in dataset[start : start + step]
        ]
        total += sum(map(len, part))
        if total > LARGEST_TEXTS:
            raise InputError(
                f"the texts of “{dataset.name}” are longer than {LARGEST_TEXTS / 2**30:g} GiB",
                file=budget.path,
                cause="no column of particles, or a decompression bomb",
            )
        texts += part
    longest = max(1, max(map(len, texts), default=1))
    budget.take(longest * len(texts))
    return np.array(texts, dtype=f"S{longest}")


def images_of(file: "h5py.File") -> "h5py.Dataset | None":
    """The stack of images of an open file, ours or another program's; None where there is none."""
    import h5py

    names: Iterator[Any] = (file.get(name) for name in IMAGE_NAMES)
    return next((found for found in names if isinstance(found, h5py.Dataset) and len(found.shape) == 3), None)


def _foreign_table(file: "h5py.File", budget: _Budget) -> StarBlock | None:
    """The columns at the root of a file of another program, as long as its stack; None where there are none."""
    import h5py

    stack = images_of(file)
    if stack is None:
        return None
    columns, left_out = {}, []
    for name, dataset in file.items():
        if not isinstance(dataset, h5py.Dataset) or dataset.shape != (len(stack),) or not _is_simple(dataset.dtype):
            left_out.append(name)
        else:
            columns[name.lstrip("_")] = column_texts(_read_column(dataset, None, budget))
    lost = [name for name in left_out if name != str(stack.name).strip("/")]
    if columns and lost:
        told = f"{printable(budget.path)}: no columns of particles, left out: {', '.join(map(printable, lost[:8]))}"
        warnings.warn(told, CryowalkWarning, stacklevel=4)
    return StarBlock(name=PARTICLES, columns=columns) if columns else None
