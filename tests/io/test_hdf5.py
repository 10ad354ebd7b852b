"""Particles in HDF5 and Zarr: round trips of every text, images in streams, killed writers that go on, files that others read."""

import builtins
import json
import pickle
from contextlib import suppress
from dataclasses import replace

import h5py
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from io_files import particle_set, stack

from cryowalk.core.errors import EnvironmentFault, InputError, SafetyRefusal, ShapeError, StateConflict, Stopped, UsageError
from cryowalk.core.execution import ImageSink, ImageSource
from cryowalk.data.images import ImageStack
from cryowalk.io.dispatch import read, write
from cryowalk.io.hdf5 import read_hdf5_particles, write_hdf5_particles, write_hdf5_stack
from cryowalk.io.hdf5_stacks import Hdf5StackReader, Hdf5StackWriter, StackContents
from cryowalk.io.hdf5_tables import dataset_name, label_of, read_hdf5_tables
from cryowalk.io.inspect import describe
from cryowalk.io.mrc import MrcStackReader
from cryowalk.io.relion import read_particles, write_particles
from cryowalk.io.stack_settings import StackStorage
from cryowalk.io.star import StarBlock, format_star, read_star
from cryowalk.io.typed_columns import column_texts, typed_column
from cryowalk.io.validate import faults, is_sound
from cryowalk.io.zarr_stacks import ZarrStackReader, read_zarr_tables

STORAGES = [
    StackStorage(),
    StackStorage(sample_format="float16"),
    StackStorage(compression="gzip"),
    StackStorage(compression="lzf", sample_format="float16"),
]
BOXES = [(8, 8), (9, 9), (7, 12)]


def images(count=5, shape=(8, 8), seed=2):
    return torch.randn(count, *shape, generator=torch.Generator().manual_seed(seed))


def table(count=5):
    columns = {
        "rlnImageName": tuple(f"{row + 1:06d}@Extract/job007/a b.mrcs" for row in range(count)),
        "rlnMicrographName": tuple("é“x”.mrc" if row % 2 else "007" for row in range(count)),
        "rlnDefocusU": tuple(f"{10000 + row * 3.25:.6f}" for row in range(count)),
        "rlnDefocusV": tuple(repr(9000 + row / 3) for row in range(count)),
        "rlnOddNumbers": ("1e3", "-0", "0x", "nan", "1.50")[:count],
        "rlnMixedNumbers": ("1e3", "-0", "007", "nan", "1.50")[:count],
        "rlnClassNumber": tuple(map(str, range(count))),
        "rlnBig": ("99999999999999999999", "1", "2", "3", "-4")[:count],
        "odd/label%x": ("", " ", "a\tb", "#", "'")[:count],
        ".": ("a",) * count,
        "written_as": ("b",) * count,
        "__x": ("c",) * count,
    }
    return StarBlock(name="particles", columns=columns, comments=("# version 30001",))


OTHERS = (
    StarBlock(name="optics", columns={"rlnOpticsGroupName": ("o",), "rlnOpticsGroup": ("1",), "rlnImagePixelSize": ("1.7",)}),
    StarBlock(name="general", values={"rlnA": "007", "rlnB": "x y"}),
)


def written(path, count=5, shape=(8, 8), storage=None, tables=None):
    tables = (OTHERS[0], table(count), OTHERS[1]) if tables is None else tables
    write_hdf5_stack(
        ImageStack(pixels=images(count, shape), pixel_size=1.7),
        path,
        pixel_size=1.7,
        contents=StackContents(tables=tables),
        storage=storage,
    )
    return path


@pytest.mark.parametrize("storage", STORAGES)
@pytest.mark.parametrize("shape", BOXES)
@pytest.mark.parametrize("count", [1, 5])
def test_images_and_tables_come_back_as_they_were(tmp_path, storage, shape, count):
    path = written(tmp_path / "x.h5", count, shape, storage)
    reader = Hdf5StackReader(path)
    assert isinstance(reader, ImageSource)
    assert (reader.count, reader.image_shape, reader.pixel_size, reader.sample_format) == (
        count,
        shape,
        1.7,
        storage.sample_format,
    )
    expected = images(count, shape).to(getattr(torch, storage.sample_format)).float()
    assert torch.equal(reader.read(range(count)), expected)
    some = [count - 1, 0, 0]
    assert torch.equal(reader.read(some), expected[some])
    assert reader.read([]).shape == (0, *shape)
    assert format_star(read_hdf5_tables(path)) == format_star([OTHERS[0], table(count), OTHERS[1]])


def test_others_read_the_file_with_plain_h5py(tmp_path):
    path = written(tmp_path / "x.h5")
    with h5py.File(path) as file:
        assert file.attrs["format"] == b"cryowalk particles"
        assert file.attrs["pixel_size"] == 1.7
        np.testing.assert_array_equal(file["images"][2], images()[2].numpy())
        assert file["images"].chunks == (1, 8, 8)
        assert file["images"].attrs["axes"] == b"image, y, x"
        defocus = file["particles/rlnDefocusU"]
        np.testing.assert_allclose(defocus[()], 10000 + np.arange(5) * 3.25)
        assert defocus.attrs["units"] == b"angstrom"
        assert file["particles/rlnClassNumber"].dtype == np.int64
        assert file["particles/rlnMixedNumbers"][2] == 7  # a number for others, its text beside it
        assert file["particles/written_as/rlnMixedNumbers"][2] == b"007"
        assert file["particles/rlnMicrographName"].asstr()[1] == "é“x”.mrc"
        assert file["optics/rlnImagePixelSize"].attrs["units"] == b"angstrom/pixel"
        assert [label_of(name.decode()) for name in file["particles"].attrs["columns"]] == list(table().columns)


def test_a_number_that_somebody_changed_is_the_number_that_is_read(tmp_path):
    path = written(tmp_path / "x.h5")
    with h5py.File(path, "r+") as file:
        file["particles/rlnDefocusU"][1] = 12345.5
        file["particles/rlnMixedNumbers"][2] = 8.5
    columns = read_hdf5_tables(path).blocks[1].columns
    assert columns["rlnDefocusU"][1] == "12345.500000"
    assert columns["rlnMixedNumbers"] == ("1e3", "-0", "8.5", "nan", "1.50")


TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=8) | st.sampled_from(
    ["0", "-0", "1", "01", "1.0", "1.50", "-0.000000", "1e5", "nan", "inf", "1_0", "٣", " 1", "9" * 19, "9" * 20, "0.1", "\udcff"]
)


@given(st.lists(TEXT, max_size=6) | st.lists(st.floats().map(repr), max_size=6) | st.lists(st.integers().map(str), max_size=6))
@settings(max_examples=300, deadline=None)
def test_any_column_of_text_comes_back_exactly(texts):
    assert column_texts(typed_column("x", tuple(texts))) == tuple(texts)


@given(st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=12))
def test_any_label_is_a_name_of_its_own_in_hdf5(label):
    name = dataset_name(label)
    assert label_of(name) == label
    assert name.isascii()
    assert "/" not in name
    assert name.strip(".")


def test_particles_are_those_of_the_star_file(tmp_path):
    particles = particle_set()
    write_particles(particles, tmp_path / "x.star")
    from_star = read_particles(tmp_path / "x.star")
    write_hdf5_particles(from_star, tmp_path / "x.h5", provenance={"made": "here"})
    found = read_hdf5_particles(tmp_path / "x.h5")
    assert len(found) == len(particles)
    assert found.image_names[2].endswith("000003@x.h5") or found.image_names[2].endswith("x.h5")
    assert found.extra["rlnImageOriginalName"] == from_star.image_names
    assert torch.equal(found.images.read([4, 1]), particles.images.read([4, 1]))
    torch.testing.assert_close(found.pose.lab_from_particle, from_star.pose.lab_from_particle)
    assert torch.equal(found.defocus.major, from_star.defocus.major)
    assert [group.name for group in found.optics] == [group.name for group in particles.optics]
    assert isinstance(read(tmp_path / "x.h5"), type(particles))


def test_a_selection_of_an_hdf5_stack_is_a_star_file_that_leads_back(tmp_path, monkeypatch):
    particles = particle_set()
    (tmp_path / "sub").mkdir()
    write(particles, tmp_path / "x.h5")
    found = read(tmp_path / "x.h5")
    write(found[[5, 2]], tmp_path / "sub" / "few.star")
    monkeypatch.chdir(tmp_path / "sub")
    again = read_particles("few.star")
    assert torch.equal(again.images.read([0, 1]), particles.images.read([5, 2]))
    write(again, tmp_path / "y.h5")
    assert torch.equal(read(tmp_path / "y.h5").images.read([1]), particles.images.read([2]))
    assert is_sound(faults(tmp_path / "y.h5"))


def test_a_stack_of_each_kind_may_stand_in_one_star_file(tmp_path):
    first, second = stack(tmp_path / "a.mrcs", count=3), images(4)
    write_hdf5_stack(ImageStack(pixels=second, pixel_size=1.7), tmp_path / "b.h5", pixel_size=1.7)
    names = ("000002@a.mrcs", "000004@b.h5", "000001@b.h5")
    write_particles(replace(particle_set(3), images=None, image_names=names), tmp_path / "x.star")
    got = read_particles(tmp_path / "x.star").images.read([0, 1, 2])
    np.testing.assert_array_equal(got.numpy(), np.stack([first[1], second[3].numpy(), second[0].numpy()]))


def test_a_reader_travels_to_another_process(tmp_path):
    reader = Hdf5StackReader(written(tmp_path / "x.h5"))
    assert torch.equal(pickle.loads(pickle.dumps(reader)).read([3]), images()[[3]])
    reader.close()
    assert torch.equal(reader.read([3]), images()[[3]])


def test_images_without_a_table_are_images(tmp_path):
    path = written(tmp_path / "x.h5", tables=())
    found = read(path)
    assert isinstance(found, ImageStack)
    assert found.pixel_size == 1.7
    assert "stack of images" in describe(path).kind
    with pytest.raises(InputError, match="no table"):
        read_particles(path)


def test_what_inspect_and_validate_say(tmp_path):
    write(particle_set(), tmp_path / "x.h5")
    told = describe(tmp_path / "x.h5")
    assert told.kind == "particles with their images (HDF5)"
    assert told.facts["images"] == 7
    assert told.facts["pixel_size_angstrom"] == 1.7
    json.dumps(told.as_dict())
    assert is_sound(faults(tmp_path / "x.h5"))
    with h5py.File(tmp_path / "x.h5", "r+") as file:
        file["images"][2, 1, 1] = np.nan
    assert "not finite" in str(faults(tmp_path / "x.h5")[0])
    with pytest.raises(InputError, match="image 3"):
        Hdf5StackReader(tmp_path / "x.h5").read(range(7))


@pytest.mark.parametrize("storage", STORAGES)
def test_equal_images_give_equal_bytes_however_they_come(tmp_path, storage):
    whole = written(tmp_path / "a.h5", storage=storage)
    contents = StackContents(tables=(OTHERS[0], table(), OTHERS[1]))
    with Hdf5StackWriter(tmp_path / "b.h5", shape=(5, 8, 8), pixel_size=1.7, storage=storage, contents=contents) as writer:
        assert isinstance(writer, ImageSink)
        for image in images():
            writer.write(image[None])
    assert (tmp_path / "b.h5").read_bytes() == whole.read_bytes()
    assert not list(tmp_path.glob("*.partial"))
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize("cut", [0, 100, 255])
def test_a_killed_writer_goes_on_and_ends_with_the_same_bytes(tmp_path, cut):
    whole = written(tmp_path / "a.h5", tables=(table(),))
    given = {"shape": (5, 8, 8), "pixel_size": 1.7, "contents": StackContents(tables=(table(),))}
    path = tmp_path / "b.h5"
    writer = Hdf5StackWriter(path, **given)
    writer.write(images()[:3])
    writer.flush()
    content = writer.partial.read_bytes()
    writer.leave()
    assert not path.exists()
    writer.partial.write_bytes(content[: len(content) - cut])  # as far as the killed run came
    with pytest.raises(InputError, match="cut off"):
        Hdf5StackReader(writer.partial)
    writer = Hdf5StackWriter(path, **given, resume_at="found")
    assert writer.count == (3 if cut == 0 else 2)
    writer.write(images()[writer.count :])
    writer.close()
    assert path.read_bytes() == whole.read_bytes()


def test_another_table_does_not_go_on_with_the_stack_of_this_one(tmp_path):
    path = tmp_path / "b.h5"
    writer = Hdf5StackWriter(path, shape=(5, 8, 8), pixel_size=1.7, contents=StackContents(tables=(table(),)))
    writer.write(images()[:3])
    writer.leave()
    writer = Hdf5StackWriter(path, shape=(5, 8, 8), pixel_size=1.7, contents=StackContents(tables=(table(),)), resume_at=2)
    assert writer.count == 2
    writer.leave()
    with pytest.raises(StateConflict, match="other contents"):
        Hdf5StackWriter(path, shape=(5, 8, 8), pixel_size=1.8, contents=StackContents(tables=(table(),)), resume_at=2)
    writer = Hdf5StackWriter(path, shape=(5, 8, 8), pixel_size=1.8, resume_at="found")
    assert writer.count == 0
    writer.abandon()
    assert list(tmp_path.iterdir()) == []


class StopsAt:
    """Progress that asks for a stop after so many images."""

    def __init__(self, count):
        self.left = count

    def start(self, what, total): ...

    def note(self, fact): ...

    def advance(self, items=1):
        self.left -= items
        if self.left <= 0:
            raise Stopped("stopped")


def test_a_stopped_stack_keeps_what_it_has_and_a_bad_one_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr("cryowalk.io.hdf5.BATCH_BYTES", 2 * 4 * 64)
    path, source = tmp_path / "x.h5", ImageStack(pixels=images(), pixel_size=1.7)
    with pytest.raises(Stopped):
        write_hdf5_stack(source, path, pixel_size=1.7, progress=StopsAt(3))
    assert not path.exists()
    assert path.with_name("x.h5.partial").exists()
    write_hdf5_stack(source, path, pixel_size=1.7)
    assert torch.equal(Hdf5StackReader(path).read(range(5)), images())
    spoilt = images()
    spoilt[4, 2, 2] = torch.inf
    before = path.read_bytes()
    with pytest.raises(InputError, match="inf"):
        write_hdf5_stack(ImageStack(pixels=spoilt, pixel_size=1.7), path, pixel_size=1.7)
    assert path.read_bytes() == before
    assert [each.name for each in tmp_path.iterdir()] == ["x.h5"]


def test_wrong_use_of_a_writer(tmp_path):
    writer = Hdf5StackWriter(tmp_path / "x.h5", shape=(5, 8, 8), pixel_size=1.7)
    with pytest.raises(ShapeError, match="holds images of"):
        writer.write(images(1, (9, 9)))
    with pytest.raises(ShapeError, match="made for 5 images"):
        writer.write(images(6))
    writer.write(images(2))
    with pytest.raises(InputError, match="2 of 5"):
        writer.close()
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ShapeError, match="cannot be written"):
        Hdf5StackWriter(tmp_path / "x.h5", shape=(0, 8, 8), pixel_size=1.7)
    with pytest.raises(EnvironmentFault, match="folder"):
        Hdf5StackWriter(tmp_path / "no" / "x.h5", shape=(5, 8, 8), pixel_size=1.7)
    with pytest.raises(EnvironmentFault, match="the stack needs"):
        Hdf5StackWriter(tmp_path / "x.h5", shape=(2**30, 2048, 2048), pixel_size=1.7)
    with Hdf5StackWriter(tmp_path / "y.h5", shape=(1, 8, 8), pixel_size=1.7, storage=STORAGES[1]) as writer:
        with pytest.raises(InputError, match="float16"):
            writer.write(images(1) * 1e6)
        writer.write(images(1))
    with pytest.raises(InputError, match="image 6"):
        Hdf5StackReader(written(tmp_path / "z.h5")).read([5])
    with pytest.raises(InputError, match="no images"):
        write_hdf5_particles(replace(particle_set(), images=None), tmp_path / "x.h5")


@pytest.mark.parametrize("name", ["columns", "star_block", "values", "comments"])
@pytest.mark.parametrize("value", [np.float64(3), np.bytes_(b"[1"), np.bytes_(b"{}"), np.array([b"rlnNot"]), np.arange(4)])
def test_attributes_that_somebody_spoilt_give_a_table_or_one_error(tmp_path, name, value):
    path = written(tmp_path / "x.h5")
    with h5py.File(path, "r+") as file:
        file["particles"].attrs[name] = value
    with suppress(InputError):  # any other error fails the test
        assert len(read_hdf5_tables(path).blocks) == 3


# Zarr: the same layout


def test_a_zarr_store_holds_the_same(tmp_path):
    pytest.importorskip("zarr")
    path = written(tmp_path / "x.zarr")
    assert format_star(read_zarr_tables(path)) == format_star([OTHERS[0], table(), OTHERS[1]])
    write(particle_set(), tmp_path / "y.zarr")
    found = read(tmp_path / "y.zarr")
    assert torch.equal(found.images.read([6, 0]), particle_set().images.read([6, 0]))
    assert found.images.stacks[0].pixel_size == 1.7
    assert is_sound(faults(tmp_path / "y.zarr"))
    assert describe(tmp_path / "y.zarr").kind == "particles with their images (Zarr)"
    write(found[[2, 1]], tmp_path / "y.zarr")  # replaced
    assert len(read(tmp_path / "y.zarr")) == 2
    assert sorted(each.name for each in tmp_path.iterdir()) == ["x.zarr", "y.zarr"]


def test_zarr_stores_that_are_damaged_or_lead_elsewhere(tmp_path):
    pytest.importorskip("zarr")
    path = written(tmp_path / "x.zarr", storage=StackStorage(compression="gzip"))
    chunk = path / "images" / "c" / "0" / "0" / "0"
    content = chunk.read_bytes()
    chunk.unlink()
    with pytest.raises(InputError, match="0 of 1 chunks"):
        read(path)
    chunk.symlink_to("/etc/hostname")
    with pytest.raises(SafetyRefusal, match="symbolic link") as caught:
        read(path)
    assert caught.value.exit_code == 5
    chunk.unlink()
    chunk.write_bytes(content[:20])
    with pytest.raises(InputError, match="damaged"):
        ZarrStackReader(path).read([0])
    (path / "zarr.json").write_text("{")
    with pytest.raises(InputError, match="damaged"):
        read(path)
    with pytest.raises(UsageError, match="lzf"):
        written(tmp_path / "y.zarr", storage=StackStorage(compression="lzf"))


def test_without_the_package_zarr_one_line_says_so(tmp_path, monkeypatch):
    real = builtins.__import__

    def absent(name, *rest, **more):
        if name == "zarr":
            raise ImportError(name)
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", absent)
    with pytest.raises(EnvironmentFault, match=r"cryowalk\[zarr\]") as caught:
        written(tmp_path / "x.zarr")
    assert caught.value.exit_code == 4


# real files


@pytest.mark.agreement
def test_real_particles_come_back_to_the_letter(tmp_path, real_data):
    path = real_data / "betagal_10204" / "particles_with_relion_poses.star"
    particles = read_particles(path)
    contents = StackContents(tables=read_star(path).blocks)
    write_hdf5_stack(particles.images, tmp_path / "x.h5", pixel_size=3.54, contents=contents)
    assert format_star(read_hdf5_tables(tmp_path / "x.h5")) == format_star(read_star(path))
    found = read_particles(tmp_path / "x.h5")
    assert len(found) == 559
    assert torch.equal(found.images.read(range(0, 559, 50)), particles.images.read(range(0, 559, 50)))
    assert torch.equal(found.pose.lab_from_particle, particles.pose.lab_from_particle)
    stack = MrcStackReader(particles.images.path_of(0))
    assert torch.equal(found.images.read([0]), stack.read([int(particles.image_names[0].split("@")[0]) - 1]))
