"""The records of cryoSPARC's .cs files as they stand: read and written as fast as the disk, checked against the length of the file, joined by `uid`.

A .cs file is one NumPy array of records (format 1 to 3 of .npy), one record an item. Nothing pickled is read.
"""

import ast
import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.lib import format as npy
from numpy.lib.recfunctions import repack_fields
from numpy.typing import NDArray

from cryowalk.core.errors import InputError, SafetyRefusal, printable
from cryowalk.io.atomic import atomic_path
from cryowalk.io.opening import open_file

LONGEST_HEADER = 1_000_000  # bytes; a job with many results has some 10,000
LARGEST_RECORD = 2**24  # bytes
NAMED = 5  # identifiers listed in an error
UID = "uid"
DAMAGED = "export the particles again"


def read_records(path: str | Path) -> NDArray[Any]:
    """The records of a .cs file, one array with named fields.

    The length that the header claims is compared with that of the file before anything is allocated.

    Raises
    ------
    InputError
        If the file is missing, cut off, or not one list of records.
    SafetyRefusal
        If it holds pickled objects.
    """
    path = Path(path)
    with open_file(path) as stream:
        dtype, count = _header(stream, path)  # type: ignore[arg-type]
        begin, size = stream.tell(), os.fstat(stream.fileno()).st_size
        if begin + count * dtype.itemsize > size:
            raise InputError(
                f"the header promises {count} records of {dtype.itemsize} bytes, the file holds {max(0, size - begin)} bytes of them",
                file=path,
                cause="the file is cut off, or its header is wrong",
                fix=DAMAGED,
            )
        return np.fromfile(stream, dtype=dtype, count=count)  # type: ignore[arg-type]


def _header(stream: BinaryIO, path: Path) -> tuple["np.dtype[Any]", int]:
    """The type of the records and their number."""
    start = stream.read(8)
    if start[:6] != npy.MAGIC_PREFIX or len(start) < 8:
        raise InputError("this is no .cs file", file=path, expected="a NumPy array of records", fix=DAMAGED)
    wide = start[6] >= 2
    length = int.from_bytes(stream.read(4 if wide else 2), "little")
    if length > LONGEST_HEADER:
        raise InputError(f"the header claims {length} bytes", file=path, expected=f"at most {LONGEST_HEADER}", fix=DAMAGED)
    try:
        told = ast.literal_eval(stream.read(length).decode("utf-8" if start[6] >= 3 else "latin-1").strip())
        dtype, shape = npy.descr_to_dtype(told["descr"]), told["shape"]
        count = int(shape[0])
    except (ValueError, KeyError, IndexError, SyntaxError, TypeError, MemoryError, RecursionError, OverflowError) as error:
        raise InputError(
            "the header of this .cs file is damaged", file=path, cause=printable(str(error)[:200]), fix=DAMAGED
        ) from error
    if dtype.hasobject:
        raise SafetyRefusal("the file holds pickled objects, which could run code", file=path, fix=DAMAGED)
    if dtype.names is None or len(shape) != 1:
        raise InputError("this is no .cs file", file=path, expected="one array of records")
    if count < 0 or not 0 < dtype.itemsize <= LARGEST_RECORD:
        raise InputError(f"the header tells of {count} records of {dtype.itemsize} bytes", file=path, fix=DAMAGED)
    return dtype, count


def write_records(records: NDArray[Any], path: str | Path) -> None:
    """Write records to a .cs file, all or nothing: their bytes as they are, after a header that tells the fields in their order.

    Raises
    ------
    InputError
        If this is no list of records, or one of its fields holds objects.
    """
    path = Path(path)
    if records.ndim != 1 or records.dtype.names is None or records.dtype.hasobject:
        raise InputError("only a list of records without objects can be written", file=path)
    with atomic_path(path) as temporary, temporary.open("wb") as stream, warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a long header needs format 2, which everybody reads
        npy.write_array(stream, np.ascontiguousarray(repack_fields(records)), allow_pickle=False)


def merge_records(primary: NDArray[Any], others: Sequence[tuple[NDArray[Any], Path]], *, path: Path) -> NDArray[Any]:
    """The records of `primary` with the fields that passthrough files add, matched by `uid`; a field of `primary` wins.

    Rows keep the order of `primary`, fields the order primary, first passthrough, second; a passthrough may hold more particles.

    Raises
    ------
    InputError
        If a file has no `uid`, names one twice, or lacks particles: the missing ones are listed.
    """
    found: list[tuple[NDArray[Any], list[str], NDArray[np.int64]]] = []
    for table, source in others:
        added = [name for name in table.dtype.names or () if name not in (primary.dtype.names or ())]
        added = [name for name in added if all(name not in fields for _, fields, _ in found)]
        found.append((table, added, _rows_of(primary, table, path=path, source=source)))
    if not any(added for _, added, _ in found):
        return primary
    names = primary.dtype.names or ()
    described: list[Any] = [(name, primary.dtype[name]) for name in names]
    described += [(name, table.dtype[name]) for table, added, _ in found for name in added]
    merged = np.empty(len(primary), dtype=described)
    for name in names:
        merged[name] = primary[name]
    for table, added, rows in found:
        for name in added:
            merged[name] = table[name][rows]
    return merged


def _rows_of(primary: NDArray[Any], table: NDArray[Any], *, path: Path, source: Path) -> NDArray[np.int64]:
    """For each record of `primary` the row of `table` with the same identifier."""
    for records, file in ((primary, path), (table, source)):
        if UID not in (records.dtype.names or ()):
            raise InputError("the records have no uid by which files are matched", file=file, expected="a field uid")
        check_identifiers(records, path=file)
    if primary.dtype[UID].kind != table.dtype[UID].kind:
        raise InputError(f"uid is of the types {primary.dtype[UID]} and {table.dtype[UID]}", file=source, fix=DAMAGED)
    order = np.argsort(table[UID], kind="stable")
    known, wanted = table[UID][order], primary[UID]
    places = np.minimum(np.searchsorted(known, wanted), max(0, len(known) - 1))
    missing = wanted[known[places] != wanted] if len(known) else wanted
    if len(missing):
        shown = ", ".join(map(str, missing[:NAMED].tolist())) + (" …" if len(missing) > NAMED else "")
        raise InputError(
            f"{len(missing)} of {len(wanted)} particles of {printable(path.name)} are not in it: uid {shown}",
            file=source,
            cause="a passthrough file of another job, or one written before particles were added",
            fix="give the passthrough_particles.cs of the same job",
        )
    return order[places].astype(np.int64)


def check_identifiers(records: NDArray[Any], *, path: Path | None) -> None:
    """Nothing, if every record that has an identifier has one of its own; records without the field `uid` pass.

    Raises
    ------
    InputError
        If one is there twice.
    """
    if UID not in (records.dtype.names or ()):
        return
    if records.dtype[UID].kind not in "ui":
        raise InputError(f"uid is of the type {records.dtype[UID]}", file=path, expected="whole numbers", fix=DAMAGED)
    ordered = np.sort(records[UID])
    again = ordered[1:][ordered[1:] == ordered[:-1]]
    if len(again):
        twice = np.unique(again)
        shown = ", ".join(map(str, twice[:NAMED].tolist())) + (" …" if len(twice) > NAMED else "")
        raise InputError(
            f"{len(twice)} particles are there twice: uid {shown}",
            file=path,
            cause="two exports were put together",
            fix="remove the second copies, or give them identifiers of their own",
        )
