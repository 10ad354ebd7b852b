"""Hostile HDF5 files, each made with h5py: each gives its one clear error, and nothing outside the file is read."""

import fcntl
import struct
import zlib

import h5py
import numpy as np
import pytest

from cryowalk.core.errors import CryowalkWarning, EnvironmentFault, InputError, SafetyRefusal
from cryowalk.io import hdf5_tables
from cryowalk.io.dispatch import read
from cryowalk.io.hdf5_guard import is_hdf5, open_hdf5
from cryowalk.io.hdf5_stacks import Hdf5StackReader
from cryowalk.io.hdf5_tables import read_hdf5_tables
from cryowalk.io.inspect import describe
from cryowalk.io.kinds import kind_of
from cryowalk.io.validate import faults, is_sound

SECRET = b"root:x:0:0:the secret of another file:/root:/bin/sh\n" * 20


def with_stack(file, count=3, box=8):
    file["images"] = np.random.default_rng(1).normal(size=(count, box, box)).astype(np.float32)
    return file


def make_external_link(path):
    with h5py.File(path.with_name("other.h5"), "w") as other:
        other["secret"] = np.arange(192, dtype=np.float32).reshape(3, 8, 8)
    with h5py.File(path, "w") as file:
        file["images"] = h5py.ExternalLink("other.h5", "/secret")


def make_deep_external_link(path):
    make_external_link(path)
    with h5py.File(path, "w") as file:
        with_stack(file)
        file.create_group("particles/written_as/more")
        file["particles/written_as/more/rlnAngleRot"] = h5py.ExternalLink("/etc/hostname", "/x")


def make_soft_link_by_way_of_an_external_one(path):
    make_external_link(path)
    with h5py.File(path, "w") as file:
        file["images"] = h5py.SoftLink("/door/secret")
        file["door"] = h5py.ExternalLink("other.h5", "/")


def make_external_storage(path):
    secret = path.with_name("secret.txt")
    secret.write_bytes(SECRET)
    with h5py.File(path, "w") as file:
        file.create_dataset("images", shape=(3, 8, 5), dtype="u1", external=[(str(secret), 0, h5py.h5f.UNLIMITED)])


def make_virtual(path):
    make_external_link(path)
    layout = h5py.VirtualLayout(shape=(3, 8, 8), dtype=np.float32)
    layout[...] = h5py.VirtualSource("other.h5", "secret", shape=(3, 8, 8))
    with h5py.File(path, "w") as file:
        file.create_virtual_dataset("images", layout)


def make_foreign_filter(path):
    with h5py.File(path, "w") as file:
        properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        properties.set_chunk((1, 8, 8))
        properties.set_filter(32015, h5py.h5z.FLAG_OPTIONAL, (3,))  # zstd, which is loaded as a plugin
        space = h5py.h5s.create_simple((3, 8, 8))
        h5py.h5d.create(file.id, b"images", h5py.h5t.NATIVE_FLOAT, space, properties)


REFUSED = {
    "external link": (make_external_link, "another file"),
    "external link far down": (make_deep_external_link, "/etc/hostname"),
    "soft link to an external one": (make_soft_link_by_way_of_an_external_one, "another file"),
    "external storage": (make_external_storage, "lie in another file"),
    "virtual dataset": (make_virtual, "virtual"),
    "foreign filter": (make_foreign_filter, "native code"),
}


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize("reader", [open_hdf5, Hdf5StackReader, read_hdf5_tables, read, describe])
def test_what_leads_out_of_the_file_is_refused(tmp_path, name, reader):
    make, words = REFUSED[name]
    path = tmp_path / "x.h5"
    make(path)
    with pytest.raises(SafetyRefusal, match=words) as caught:
        reader(path)
    assert caught.value.exit_code == 5
    assert "secret of another file" not in str(caught.value)


def test_h5py_itself_would_have_read_the_other_file(tmp_path):
    path = tmp_path / "x.h5"
    make_external_storage(path)
    with h5py.File(path) as file:
        assert file["images"][()].tobytes() == SECRET[:120]


def test_no_folder_is_searched_for_filters_any_more(tmp_path):
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as file:
        with_stack(file)
    h5py.h5pl.append(str(tmp_path).encode())
    with open_hdf5(path):
        assert h5py.h5pl.size() == 0


def make_bomb(path):
    with h5py.File(path, "w") as file:
        file.create_dataset("images", shape=(2**20, 64, 64), dtype="f4", chunks=(64, 64, 64), compression="gzip")


def make_contiguous_bomb(path):
    with h5py.File(path, "w", libver="latest") as file:
        file.create_dataset("images", shape=(2**20, 64, 64), dtype="f4")


def make_twice_packed(path):
    with h5py.File(path, "w") as file:
        properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        properties.set_chunk((1, 2048, 2048))
        properties.set_deflate(9)
        properties.set_deflate(9)
        space = h5py.h5s.create_simple((8, 2048, 2048))
        dataset = h5py.h5d.create(file.id, b"images", h5py.h5t.NATIVE_FLOAT, space, properties)
        for image in range(8):
            dataset.write_direct_chunk((image, 0, 0), zlib.compress(zlib.compress(bytes(2**24), 9), 9))


def make_huge_chunk(path):
    with h5py.File(path, "w") as file:
        file.create_dataset("images", shape=(4096, 256, 256), dtype="f4", chunks=(4096, 256, 256), compression="gzip")


def make_column_bomb(path):
    with h5py.File(path, "w") as file:
        with_stack(file)
        file.attrs["format"] = np.bytes_(b"cryowalk particles")
        file.create_group("particles").create_dataset(
            "rlnAngleRot", shape=(2**34,), dtype="f8", chunks=(2**20,), compression="gzip"
        )


def make_soft_loop(path):
    with h5py.File(path, "w") as file:
        file["images"] = h5py.SoftLink("/b")
        file["b"] = h5py.SoftLink("/images")


def make_truncated(path):
    with h5py.File(path, "w") as file:
        with_stack(file, count=200)
    path.write_bytes(path.read_bytes()[:-300])


def make_header_only(path):
    make_truncated(path)
    path.write_bytes(path.read_bytes()[:60])


def make_scrambled(path):
    with h5py.File(path, "w", libver="latest") as file:
        with_stack(file)
    content = bytearray(path.read_bytes())
    content[48:120] = bytes(72)
    path.write_bytes(bytes(content))


def make_records(path):
    with h5py.File(path, "w") as file:
        file["images"] = np.zeros((3, 8, 8), dtype=[("a", "f4"), ("b", "i4")])


def make_empty(path):
    with h5py.File(path, "w") as file:
        file.create_dataset("images", shape=(0, 8, 8), dtype="f4")


def make_no_stack(path):
    with h5py.File(path, "w") as file:
        file["MDF/images/0/image"] = np.zeros((8, 8), np.float32)


BAD = {
    "bomb": (make_bomb, "the file holds"),
    "plain bomb": (make_contiguous_bomb, "the file holds 0 MB"),
    "packed twice": (make_twice_packed, "more than a file of"),
    "huge chunk": (make_huge_chunk, "chunks of 1.1 GB"),
    "soft-link loop": (make_soft_loop, "in a circle"),
    "truncated": (make_truncated, "cut off"),
    "header only": (make_header_only, "cannot be opened|cut off"),
    "scrambled": (make_scrambled, "damaged|cannot be opened"),
    "records": (make_records, "expected|numbers"),
    "no images": (make_empty, "shape"),
    "no stack": (make_no_stack, "no stack"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_files_give_one_clear_error(tmp_path, name):
    make, words = BAD[name]
    path = tmp_path / "x.h5"
    make(path)
    with pytest.raises(InputError, match=words) as caught:
        Hdf5StackReader(path)
    assert caught.value.exit_code == 3
    assert str(path) in str(caught.value)
    assert not is_sound(faults(path))


def test_a_column_that_claims_a_terabyte_is_never_allocated(tmp_path):
    path = tmp_path / "x.h5"
    make_column_bomb(path)
    assert path.stat().st_size < 100_000
    with pytest.raises(InputError, match="decompression bomb"):
        read_hdf5_tables(path)


def test_rows_that_all_point_to_one_long_text_do_not_fill_the_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(hdf5_tables, "LARGEST_TEXTS", 2**26)
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as file:
        file["images"] = np.zeros((4096, 2, 2), np.float32)
        texts = file.create_dataset("rlnMicrographName", shape=(4096,), dtype=h5py.string_dtype())
        texts[0] = "m" * 2**21
    content = path.read_bytes()
    with h5py.File(path) as file:
        start = file["rlnMicrographName"].id.get_offset()
    reference = content[start : start + 16]
    length, _, _ = struct.unpack("<IQI", reference)
    assert length == 2**21
    path.write_bytes(content[:start] + reference * 4096 + content[start + 16 * 4096 :])
    with h5py.File(path) as file:
        assert len(file["rlnMicrographName"][4095]) == 2**21
    with pytest.raises(InputError, match=r"longer than 0\.0625 GiB"):
        read_hdf5_tables(path)


def test_a_file_that_another_program_writes_is_told(tmp_path):
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as file:
        with_stack(file)
    with path.open("rb") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)  # as the library does while it writes
        with pytest.raises(EnvironmentFault, match="open for writing") as caught:
            open_hdf5(path)
    assert caught.value.exit_code == 4


def test_what_is_no_hdf5_and_what_is_not_there(tmp_path):
    path = tmp_path / "x.h5"
    with pytest.raises(InputError, match="no such file"):
        open_hdf5(path)
    path.write_bytes(b"data_\n")
    assert not is_hdf5(path)
    with pytest.raises(InputError, match="no HDF5 file"):
        open_hdf5(path)


def test_a_user_block_before_the_signature_is_fine(tmp_path):
    path = tmp_path / "x.mat"
    with h5py.File(path, "w", userblock_size=512) as file:
        with_stack(file)
    assert kind_of(path) == "hdf5"
    assert Hdf5StackReader(path).count == 3


def test_links_within_the_file_are_followed_and_dangling_ones_do_no_harm(tmp_path):
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as file:
        file["data/raw"] = np.ones((2, 4, 4), np.float32)
        file["images"] = h5py.SoftLink("/data/raw")
        file["nowhere"] = h5py.SoftLink("/not/there")
        file["data/self"] = file["/"]  # a hard link in a circle
    assert Hdf5StackReader(path).read([1]).sum() == 16


def test_other_objects_at_the_root_are_left_out_with_a_word(tmp_path):
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as file:
        file["particles"] = np.ones((3, 4, 4), np.float32)
        file["_rlnAngleRot"] = np.array([0.5, 1.25, 2], np.float32)
        file["_rlnImageName"] = ["000001@a.mrcs", "000002@a.mrcs", "000003@a.mrcs"]
        file["_rlnClassNumber"] = np.arange(3, dtype=np.uint16)
        file["vectors"] = np.ones((3, 2))
    with pytest.warns(CryowalkWarning, match="vectors"):
        block = read_hdf5_tables(path).blocks[0]
    assert block.columns["rlnAngleRot"] == ("0.5", "1.25", "2.0")
    assert block.columns["rlnImageName"][2] == "000003@a.mrcs"
    assert block.columns["rlnClassNumber"] == ("0", "1", "2")
