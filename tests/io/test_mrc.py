import bz2
import gzip
import io
import pickle
import subprocess
import sys
import tracemalloc
import warnings
from contextlib import suppress

import mrcfile
import numpy as np
import pytest
import torch
from io_files import integers, patched, reals, stack, values

from cryowalk.core.errors import CryowalkWarning, EnvironmentFault, InputError, ShapeError, StateConflict, UsageError
from cryowalk.core.execution import ImageSink, ImageSource
from cryowalk.io.mrc import MrcStackReader, in_axis_order, map_array, read_array, write_array
from cryowalk.io.mrc_header import decimal, read_header
from cryowalk.io.mrc_writer import MrcStackWriter

SIZES = [(8, 8, 8), (9, 9, 9), (7, 8, 9), (5, 6, 4)]


def mrcfile_says(path):
    report = io.StringIO()
    return mrcfile.validate(path, print_file=report), report.getvalue()


def by_mrcfile(path, array, **header):
    with mrcfile.new(path, overwrite=True) as mrc:
        mrc.set_data(array)
        for name, value in header.items():
            mrc.header[name] = value
    return path


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("sample_format", ["float32", "float16", "int8", "int16", "uint16"])
def test_what_we_write_is_valid_and_mrcfile_reads_the_same(tmp_path, size, sample_format):
    array = values(size)
    array = array if sample_format.startswith("float") else np.abs(array * 30).astype(sample_format)
    path = tmp_path / "x.mrc"
    write_array(array, path, voxel_size=1.37, origin=(-2.74, 1.0, 0.0), sample_format=sample_format)
    sound, report = mrcfile_says(path)
    assert sound, report
    with mrcfile.open(path) as mrc:
        np.testing.assert_array_equal(mrc.data, array.astype(sample_format))
        assert mrc.voxel_size.x == pytest.approx(1.37)
        assert mrc.header.origin.x == pytest.approx(-2.74)
        assert mrc.is_volume()
    np.testing.assert_array_equal(read_array(path), array.astype(sample_format))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kind", ["int8", "int16", "float32", "uint16", "float16"])
@pytest.mark.parametrize("order", ["<", ">"])
def test_we_read_what_mrcfile_writes(tmp_path, size, kind, order):
    array = np.abs(values(size) * 20).astype(np.dtype(kind).newbyteorder(order))
    path = by_mrcfile(tmp_path / "x.mrc", array)
    header = read_header(path)
    assert header.byte_order == (order if np.dtype(kind).itemsize > 1 else "<")
    assert header.notes == ()
    got = read_array(path)
    np.testing.assert_array_equal(got, array)
    assert got.dtype == np.dtype(kind)  # native order
    np.testing.assert_array_equal(map_array(path), array)
    images = MrcStackReader(path).read(range(size[0]))
    np.testing.assert_array_equal(images.numpy(), array.astype(np.float32))


@pytest.mark.parametrize(("pack", "ending"), [(gzip.compress, ".gz"), (bz2.compress, ".bz2"), (gzip.compress, "")])
def test_compressed_files_are_known_by_their_content(tmp_path, pack, ending):
    array = stack(tmp_path / "x.mrcs")
    path = tmp_path / f"y.mrcs{ending}"
    path.write_bytes(pack((tmp_path / "x.mrcs").read_bytes()))
    np.testing.assert_array_equal(read_array(path), array)
    reader = MrcStackReader(path)
    assert (reader.count, reader.image_shape, reader.pixel_size) == (5, (8, 8), 1.7)
    assert torch.equal(reader.read([4, 0]), torch.from_numpy(array[[4, 0]]))


def test_four_bit_images_are_unpacked_low_half_first(tmp_path):
    numbers = np.arange(2 * 3 * 5).reshape(2, 3, 5) % 16
    padded = np.pad(numbers, ((0, 0), (0, 0), (0, 1))).astype(np.uint8)
    packed = padded[:, :, ::2] | padded[:, :, 1::2] << 4
    write_array(numbers.astype(np.int8), tmp_path / "a.mrcs", voxel_size=1.2, sample_format="int8", kind="images")
    raw = (tmp_path / "a.mrcs").read_bytes()[:1024] + packed.tobytes()
    (tmp_path / "b.mrcs").write_bytes(raw)
    path = patched(tmp_path / "b.mrcs", tmp_path / "c.mrcs", (12, integers(101)))
    np.testing.assert_array_equal(read_array(path), numbers)
    np.testing.assert_array_equal(MrcStackReader(path).read([1, 0]).numpy(), numbers[[1, 0]])


def test_unsigned_bytes_of_imod_are_told_by_its_stamp(tmp_path):
    array = np.array([[[-1, -128, 5, 127]]], np.int8).repeat(2, 1)
    write_array(array, tmp_path / "a.mrc", voxel_size=1.2, sample_format="int8")
    np.testing.assert_array_equal(read_array(tmp_path / "a.mrc"), array)
    unsigned = patched(tmp_path / "a.mrc", tmp_path / "b.mrc", (152, integers(1146047817, 0)))
    np.testing.assert_array_equal(read_array(unsigned), array.view(np.uint8))


@pytest.mark.parametrize("axes", [(1, 2, 3), (3, 2, 1), (2, 1, 3), (3, 1, 2), (2, 3, 1), (1, 3, 2)])
def test_axes_are_put_in_order_as_gemmi_does(tmp_path, axes):
    import gemmi

    array = values((4, 5, 6))  # x, y, z
    grid = gemmi.FloatGrid(array)
    grid.set_unit_cell(gemmi.UnitCell(4 * 1.3, 5 * 1.3, 6 * 1.3, 90, 90, 90))
    ccp4 = gemmi.Ccp4Map()
    ccp4.grid = grid
    ccp4.update_ccp4_header()
    ccp4.write_ccp4_map(str(tmp_path / "a.mrc"))
    assert read_header(tmp_path / "a.mrc").axes == (1, 2, 3)
    ours = read_array(tmp_path / "a.mrc")
    np.testing.assert_array_equal(ours, array.transpose(2, 1, 0))

    place = {axis: 2 - position for position, axis in enumerate(axes)}  # where X, Y, Z are in the stored array
    stored = np.empty([{1: 4, 2: 5, 3: 6}[axis] for axis in axes[::-1]], np.float32)
    stored[...] = array.transpose([axis - 1 for axis in axes[::-1]])
    assert stored.shape[place[1]] == 4
    np.testing.assert_array_equal(in_axis_order(stored, axes), ours)

    write_array(stored, tmp_path / "b.mrc", voxel_size=1.3)
    path = patched(
        tmp_path / "b.mrc", tmp_path / "c.mrc", (28, integers(4, 5, 6)), (40, reals(5.2, 6.5, 7.8)), (64, integers(*axes))
    )
    np.testing.assert_array_equal(read_array(path), ours)
    again = gemmi.read_ccp4_map(str(path), setup=True)
    np.testing.assert_array_equal(np.asarray(again.grid), array)
    assert read_header(path).voxel_sizes == pytest.approx((1.3, 1.3, 1.3))


def test_extended_header_is_kept(tmp_path):
    array, extended = values((3, 4, 5)), bytes(range(160))
    write_array(array, tmp_path / "a.mrc", voxel_size=2.1, extended=(extended, "CCP4"))
    header = read_header(tmp_path / "a.mrc")
    assert (header.extended, header.extended_type, header.data_offset) == (extended, "CCP4", 1184)
    np.testing.assert_array_equal(read_array(tmp_path / "a.mrc"), array)
    write_array(array, tmp_path / "b.mrc", voxel_size=2.1, extended=(header.extended, header.extended_type))
    assert (tmp_path / "a.mrc").read_bytes() == (tmp_path / "b.mrc").read_bytes()
    assert mrcfile_says(tmp_path / "a.mrc")[0]


def test_equal_input_gives_equal_bytes_and_no_time_stamp(tmp_path):
    for name in "ab":
        write_array(values((3, 4, 5)), tmp_path / f"{name}.mrc", voxel_size=1.1)
    assert (tmp_path / "a.mrc").read_bytes() == (tmp_path / "b.mrc").read_bytes()
    assert read_header(tmp_path / "a.mrc").labels == ("cryowalk",)


@pytest.mark.parametrize("size", [0.731, 1.37, 3.54, 0.885, 16.4, 1 / 3, 2.176])
def test_pixel_sizes_survive_single_precision(tmp_path, size):
    for count in (7, 96, 257):
        write_array(np.zeros((2, 2, count), np.float32), tmp_path / "a.mrc", voxel_size=size)
        assert read_header(tmp_path / "a.mrc").voxel_sizes[0] == pytest.approx(size, rel=1e-7)
        if float(f"{size:.6g}") == size:
            assert read_header(tmp_path / "a.mrc").voxel_sizes[0] == size


def test_decimal_leaves_numbers_that_are_not_short():
    assert decimal(float(np.float32(1.37))) == 1.37
    assert decimal(0.0) == 0.0
    assert decimal(1.23456789) == 1.23456789


def test_images_are_read_in_any_order_and_repeated(tmp_path):
    array = stack(tmp_path / "x.mrcs", count=9, shape=(6, 7))
    reader = MrcStackReader(tmp_path / "x.mrcs")
    assert isinstance(reader, ImageSource)
    for places in ([0, 1, 2], [8, 7, 6], [3], [4, 4, 5, 6, 0, 8], []):
        assert torch.equal(reader.read(places), torch.from_numpy(array[places]))
    assert torch.equal(pickle.loads(pickle.dumps(reader)).read([3]), torch.from_numpy(array[[3]]))


@pytest.mark.parametrize("place", [-1, 9, 10**12])
def test_an_image_out_of_range_is_refused(tmp_path, place):
    stack(tmp_path / "x.mrcs", count=9)
    with pytest.raises(InputError, match=rf"x.mrcs: image {place + 1} is asked for") as caught:
        MrcStackReader(tmp_path / "x.mrcs").read([0, place])
    assert "1 to 9" in str(caught.value)


def test_a_file_that_shrinks_while_it_is_read_is_told(tmp_path):
    stack(tmp_path / "x.mrcs", count=9)
    reader = MrcStackReader(tmp_path / "x.mrcs")
    with (tmp_path / "x.mrcs").open("r+b") as stream:
        stream.truncate(1024 + 8 * 8 * 4 * 6 + 10)
    assert reader.read([5]).shape == (1, 8, 8)
    with pytest.raises(EnvironmentFault, match="ended inside image 7 of 9"):
        reader.read([6])


def test_a_big_stack_is_read_without_its_memory(tmp_path):
    path = tmp_path / "big.mrcs"
    stack(path, count=1, shape=(64, 64))
    patched(path, path, (8, integers(200_000)))
    with path.open("r+b") as stream:
        stream.truncate(1024 + 200_000 * 64 * 64 * 4)  # sparse: 3.3 GB that take no disk
    tracemalloc.start()
    reader = MrcStackReader(path)
    assert float(reader.read([199_999]).abs().max()) == 0.0
    assert tracemalloc.get_traced_memory()[1] < 2e6
    tracemalloc.stop()


@pytest.mark.parametrize("cuts", [(7,), (1, 6), (3, 3, 1), (2, 0, 5)])
def test_a_streamed_stack_is_the_one_written_at_once(tmp_path, cuts):
    array = torch.from_numpy(values((7, 6, 9)))
    write_array(array, tmp_path / "a.mrcs", voxel_size=1.2, kind="images")
    with MrcStackWriter(tmp_path / "b.mrcs", image_shape=(6, 9), pixel_size=1.2) as writer:
        assert isinstance(writer, ImageSink)
        for part in array.split(list(cuts)):
            writer.write(part)
        assert not (tmp_path / "b.mrcs").exists()
    assert (tmp_path / "a.mrcs").read_bytes() == (tmp_path / "b.mrcs").read_bytes()
    assert mrcfile_says(tmp_path / "b.mrcs")[0]
    assert {p.name for p in tmp_path.iterdir()} == {"a.mrcs", "b.mrcs"}


@pytest.mark.parametrize("resume_at", [0, 1, 3, 4])
@pytest.mark.parametrize("sample_format", ["float32", "float16"])
def test_a_killed_writer_goes_on_at_any_image_with_the_same_bytes(tmp_path, resume_at, sample_format):
    array = torch.from_numpy(values((7, 6, 9)))
    choices = {"image_shape": (6, 9), "pixel_size": 1.2, "sample_format": sample_format}
    with MrcStackWriter(tmp_path / "a.mrcs", **choices) as writer:
        writer.write(array)

    def stopped():
        with MrcStackWriter(tmp_path / "b.mrcs", **choices) as writer:
            writer.write(array[:4])
            writer.flush()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stopped()
    assert not (tmp_path / "b.mrcs").exists()
    with MrcStackWriter(tmp_path / "b.mrcs", **choices, resume_at=resume_at) as writer:
        assert writer.count == resume_at
        writer.write(array[resume_at:])
    assert (tmp_path / "a.mrcs").read_bytes() == (tmp_path / "b.mrcs").read_bytes()


@pytest.mark.parametrize("count", [1, 5, 7])
def test_what_a_killed_writer_wrote_beyond_the_resume_is_cut_off(tmp_path, count):
    array = torch.from_numpy(values((7, 6, 9)))
    with suppress(KeyboardInterrupt), MrcStackWriter(tmp_path / "b.mrcs", image_shape=(6, 9), pixel_size=1.2) as writer:
        writer.write(array)
        raise KeyboardInterrupt
    write_array(array[:count], tmp_path / "a.mrcs", voxel_size=1.2, kind="images")
    with MrcStackWriter(tmp_path / "b.mrcs", image_shape=(6, 9), pixel_size=1.2, resume_at=count):
        pass
    assert (tmp_path / "a.mrcs").read_bytes() == (tmp_path / "b.mrcs").read_bytes()


def test_a_full_disk_while_a_stack_is_written_leaves_the_old_one(tmp_path):
    old = stack(tmp_path / "a.mrcs")
    code = (
        "import resource, sys, torch; resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))\n"
        "from cryowalk.io import MrcStackWriter\n"
        "from cryowalk.core.errors import EnvironmentFault\n"
        "try:\n"
        "    with MrcStackWriter(sys.argv[1], image_shape=(64, 64), pixel_size=1.2) as writer:\n"
        "        writer.write(torch.rand(2, 64, 64))\n"
        "except EnvironmentFault as error: raise SystemExit(error.exit_code)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "a.mrcs")], check=False)
    assert done.returncode == 4
    np.testing.assert_array_equal(read_array(tmp_path / "a.mrcs"), old)


def test_a_writer_refuses_what_does_not_fit(tmp_path):
    writer = MrcStackWriter(tmp_path / "a.mrcs", image_shape=(6, 9), pixel_size=1.2)
    with pytest.raises(ShapeError, match=r"a\.mrcs"):
        writer.write(torch.zeros(2, 9, 6))
    with pytest.raises(InputError, match="cannot be written"):
        writer.write(torch.full((1, 6, 9), float("nan")))
    with pytest.raises(InputError, match="no image was written"):
        writer.close()
    assert not list(tmp_path.iterdir())
    with pytest.raises(StateConflict, match="cannot go on at image 4"):
        MrcStackWriter(tmp_path / "a.mrcs", image_shape=(6, 9), pixel_size=1.2, resume_at=3)
    with pytest.raises(InputError, match="cannot be written as float16"):
        write_array(np.full((2, 2, 2), 1e6, np.float32), tmp_path / "b.mrc", voxel_size=1.2, sample_format="float16")
    with pytest.raises(ShapeError):
        write_array(np.zeros((0, 2, 2), np.float32), tmp_path / "b.mrc", voxel_size=1.2)
    for name, voxel_size in (("c.mrc.gz", 1.2), ("c.mrc", -1.0), ("c.mrc", float("nan"))):
        with pytest.raises(UsageError, match="cannot be written"):
            write_array(np.zeros((2, 2, 2), np.float32), tmp_path / name, voxel_size=voxel_size)
    assert not list(tmp_path.iterdir())


def test_surprises_are_warned_of_and_the_file_is_read(tmp_path):
    array = stack(tmp_path / "x.mrcs")
    cases = {
        "wrong": patched(tmp_path / "x.mrcs", tmp_path / "wrong.mrcs", (212, b"\x11\x11")),
        "missing": patched(tmp_path / "x.mrcs", tmp_path / "missing.mrcs", (212, bytes(4))),
        "MAP": patched(tmp_path / "x.mrcs", tmp_path / "nomap.mrcs", (208, bytes(8))),
    }
    (tmp_path / "extra.mrcs").write_bytes((tmp_path / "x.mrcs").read_bytes() + b"tail")
    cases["4 bytes follow"] = tmp_path / "extra.mrcs"
    for word, path in cases.items():
        with pytest.warns(CryowalkWarning, match=word):
            np.testing.assert_array_equal(read_array(path), array)
    big = by_mrcfile(tmp_path / "big.mrc", array.astype(">f4"))
    with pytest.warns(CryowalkWarning, match="machine stamp is wrong: the numbers are big-endian"):
        np.testing.assert_array_equal(read_array(patched(big, tmp_path / "big2.mrc", (212, b"DD"))), array)


def test_what_is_only_a_stack_by_its_name_or_header(tmp_path):
    array = values((4, 6, 6))
    write_array(array, tmp_path / "a.mrc", voxel_size=1.2, kind="images")
    write_array(array, tmp_path / "a.mrcs", voxel_size=1.2)
    write_array(array, tmp_path / "b.mrc", voxel_size=1.2)
    assert [read_header(tmp_path / name).is_stack for name in ("a.mrc", "a.mrcs", "b.mrc")] == [True, True, False]


def test_real_maps_are_read_as_mrcfile_and_gemmi_do(real_data):
    import gemmi

    names = [
        "emdb_maps/emd_1832.map",
        "emdb_maps/EMD-3197.map",
        "map_model_apof_emd20026/emd20026_prot.mrc",
        "tomogram_emd1155/emd_1155.ccp4",
    ]
    names += ["emdb_maps/float16.mrc", "betagal_10204/Class2D/run_it025_classes.mrcs", "multibody_cnb/bodies_body_0_final.mrc.gz"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in names:
            theirs = mrcfile.open(real_data / name, permissive=True).data
            np.testing.assert_array_equal(read_array(real_data / name), theirs.reshape(read_header(real_data / name).size[::-1]))
    crystal = gemmi.read_ccp4_map(str(real_data / "emdb_maps/EMD-3001.map"))
    header = read_header(real_data / "emdb_maps/EMD-3001.map")
    assert header.axes == tuple(crystal.axis_positions().index(i) + 1 for i in range(3)) or header.axes == (3, 1, 2)
    assert header.space_group == 4
    assert len(header.extended) == 160
    plain, packed = (read_array(real_data / f"emdb_maps/EMD-3001.map{end}") for end in ("", ".bz2"))
    np.testing.assert_array_equal(plain, packed)
    stored = np.asarray(crystal.grid).transpose(2, 1, 0)  # sections, rows, columns as stored
    np.testing.assert_array_equal(plain, in_axis_order(np.ascontiguousarray(stored), header.axes))


def test_header_statistics_are_those_of_all_values(tmp_path):
    array = values((5, 6, 7)) + 10 * np.arange(5, dtype=np.float32)[:, None, None]  # sections of different mean
    write_array(array, tmp_path / "a.mrc", voxel_size=1.2)
    header = read_header(tmp_path / "a.mrc")
    found = (header.minimum, header.maximum, header.mean, header.rms)
    np.testing.assert_allclose(found, (array.min(), array.max(), array.mean(), array.std()), rtol=1e-6)


@pytest.mark.parametrize("width", [640, 896, 1152, 1408])
def test_a_width_whose_bytes_begin_like_a_pickle_is_no_pickle(tmp_path, width):
    array = np.arange(3 * width, dtype=np.float32).reshape(3, width)
    write_array(array, tmp_path / "wide.mrc", voxel_size=1.1, kind="images")
    assert np.array_equal(read_array(tmp_path / "wide.mrc")[0], array)
    (tmp_path / "not.mrc").write_bytes(pickle.dumps(array.tolist()) + bytes(2000))
    with pytest.raises(InputError, match="pickle"):
        read_array(tmp_path / "not.mrc")
