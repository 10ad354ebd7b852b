"""Corners of MRC: extended headers that are recognised and kept, bytes of either sign, stacks of volumes, and EMDB's odd files."""

import io

import mrcfile
import numpy as np
import pytest
import torch
from io_files import integers, patched, values
from mrcfile import dtypes

from cryowalk.cli.main import main
from cryowalk.core.errors import InputError
from cryowalk.data.volume import Volume
from cryowalk.io.dispatch import read, write
from cryowalk.io.inspect import describe
from cryowalk.io.maps import read_map, read_volumes, write_volumes
from cryowalk.io.mrc import MrcStackReader, read_array, write_array
from cryowalk.io.mrc_extended import extended_kind, fei_records, kept_extended, serialem_tilts
from cryowalk.io.mrc_header import read_header, with_bytes
from cryowalk.io.mrc_writer import MrcStackWriter

SYMMETRY = b"".join(text.ljust(80) for text in (b"X,  Y,  Z", b"-X,  -Y,  Z", b"-X,  Y,  -Z", b"X,  -Y,  -Z"))
TILTS = (-60.0, -0.5, 31.25)


def is_valid(path):
    report = io.StringIO()
    return mrcfile.validate(path, print_file=report) or report.getvalue()


def convert(source, target, *more):
    with pytest.raises(SystemExit) as ended:
        main(["convert", "--i", str(source), "--o", str(target), *more])
    assert ended.value.code == 0
    return target


def serialem(path, order="<", count=3):
    """A stack of a tilt series as SerialEM writes it: tilt angle and stage position of each section."""
    words = [np.array([round(tilt * 100), 11, -7], f"{order}i2").tobytes() for tilt in TILTS]
    header = np.zeros(count, f"{order}f4")
    with mrcfile.new(path, overwrite=True) as mrc:
        mrc.set_data(values((count, 6, 8)).astype(f"{order}f4"))
        mrc.set_image_stack()
        mrc.voxel_size = 2.5
        mrc.set_extended_header(np.frombuffer(b"".join(words).ljust(32, b"\0"), "V1"))
        mrc.header.exttyp = b"SERI"
    return patched(path, path, (128, np.array([6, 5], f"{order}i2").tobytes())) if len(header) else path


def fei(path, kind="FEI1", order="<"):
    """A stack with a record of FEI's for each section."""
    records = np.zeros(3, dtypes.get_ext_header_dtype(kind.encode(), order))
    records["Metadata size"] = records.dtype.itemsize
    records["Alpha tilt"], records["Defocus"], records["HT"] = TILTS, -2e-6, 300e3
    records["Pixel size X"], records["Microscope type"] = 1.7e-10, b"TITAN52336320"
    with mrcfile.new(path, overwrite=True) as mrc:
        mrc.set_data(values((3, 6, 8)).astype(f"{order}f4"))
        mrc.set_image_stack()
        mrc.voxel_size = 1.7
        mrc.set_extended_header(records)
        mrc.header.exttyp = kind.encode()
    return path


@pytest.mark.parametrize("order", ["<", ">"])
def test_serialem_is_told_and_kept(tmp_path, order):
    path = serialem(tmp_path / "x.mrc", order)
    header = read_header(path)
    assert header.byte_order == order
    np.testing.assert_allclose(serialem_tilts(header), TILTS)
    told = describe(path)
    assert "32 bytes of extended header: SerialEM" in told.words
    assert told.facts["tilt_angle_degrees"] == list(TILTS)
    assert "of each section: tilt angles, stage positions" in told.words
    again = read_header(convert(path, tmp_path / "y.mrcs"))
    np.testing.assert_allclose(serialem_tilts(again), TILTS)
    assert (again.byte_order, again.section_words) == ("<", (6, 5))
    np.testing.assert_array_equal(read_array(again.path), values((3, 6, 8)))
    assert is_valid(again.path) is True


@pytest.mark.parametrize("kind", ["FEI1", "FEI2"])
@pytest.mark.parametrize("order", ["<", ">"])
def test_fei_is_told_and_kept(tmp_path, kind, order):
    path = fei(tmp_path / "x.mrc", kind, order)
    told = describe(path)
    assert told.facts["extended_header_type"] == kind
    assert told.facts["tilt_angle_degrees"] == list(TILTS)
    assert told.facts["voltage_kv"] == 300
    assert told.facts["defocus_angstrom"] == pytest.approx([-2e4] * 3)
    again = convert(path, tmp_path / "y.mrcs")
    np.testing.assert_array_equal(fei_records(read_header(again))["Alpha tilt"], TILTS)
    with mrcfile.open(again) as mrc:
        np.testing.assert_array_equal(mrc.indexed_extended_header["Alpha tilt"], TILTS)
    assert is_valid(again) is True


@pytest.mark.parametrize("kind", ["CCP4", ""])
def test_symmetry_of_ccp4_is_told_and_kept(tmp_path, kind):
    array = values((4, 5, 6))
    write_array(array, tmp_path / "x.map", voxel_size=2.0, origin=(-4.0, 6.0, 0.0), extended=(SYMMETRY, kind))
    told = describe(tmp_path / "x.map")
    assert told.facts["symmetry_operators"] == ["X,  Y,  Z", "-X,  -Y,  Z", "-X,  Y,  -Z", "X,  -Y,  -Z"]
    assert "and 1 more operators" in told.words
    header = read_header(convert(tmp_path / "x.map", tmp_path / "y.mrc"))
    assert (header.extended, header.extended_type) == (SYMMETRY, "CCP4")  # told, so that validators know it
    assert (header.start, header.origin) == ((-2, 3, 0), (-4.0, 6.0, 0.0))
    np.testing.assert_array_equal(read_array(header.path), array)
    assert is_valid(header.path) is True


def test_numbers_of_an_unknown_kind_are_not_scrambled(tmp_path, capsys):
    with mrcfile.new(tmp_path / "x.mrc") as mrc:
        mrc.set_data(values((4, 6, 8)).astype(">f4"))
        mrc.voxel_size = 1.5
        mrc.set_extended_header(np.frombuffer(bytes(range(64)), "V1"))
        mrc.header.exttyp = b"WHAT"
    kept, why = kept_extended(read_header(tmp_path / "x.mrc"))
    assert kept.content == b""
    assert "WHAT" in why
    convert(tmp_path / "x.mrc", tmp_path / "y.mrc")
    assert "left out" in capsys.readouterr().err
    assert is_valid(tmp_path / "y.mrc") is True


def test_words_that_do_not_fit_are_not_serialem(tmp_path):
    path = serialem(tmp_path / "x.mrc")
    patched(path, path, (128, np.array([7, 5], "<i2").tobytes()), (104, b"\0\0\0\0"))
    assert extended_kind(read_header(path)) == ""
    assert serialem_tilts(read_header(path)) is None


def test_a_stack_with_an_extended_header_can_go_on(tmp_path):
    images, given = (
        torch.from_numpy(values((5, 8, 8))),
        {"image_shape": (8, 8), "pixel_size": 1.7, "extended": (SYMMETRY, "SERI", (6, 5))},
    )
    with MrcStackWriter(tmp_path / "a.mrcs", **given) as writer:
        writer.write(images)
    writer = MrcStackWriter(tmp_path / "b.mrcs", **given)
    writer.write(images[:3])
    writer.flush()
    writer.__exit__(KeyboardInterrupt, KeyboardInterrupt(), None)
    with MrcStackWriter(tmp_path / "b.mrcs", **given, resume_at=2) as writer:
        writer.write(images[2:])
    assert (tmp_path / "a.mrcs").read_bytes() == (tmp_path / "b.mrcs").read_bytes()
    assert torch.equal(MrcStackReader(tmp_path / "b.mrcs").read(range(5)), images)


def test_bytes_are_signed_unless_imod_or_the_user_says_otherwise(tmp_path):
    array = np.array([[[-128, -1, 0, 127], [1, 2, 3, 4]]] * 2, np.int8)
    path = tmp_path / "x.mrc"
    write_array(array, path, voxel_size=1.5, sample_format="int8")
    stamped = patched(path, tmp_path / "imod.mrc", (152, integers(1146047817, 0)))
    unsigned = array.view(np.uint8)
    assert np.array_equal(read_array(path), array)
    assert np.array_equal(read_array(stamped), unsigned)
    assert np.array_equal(read_array(path, header=with_bytes(read_header(path), "unsigned")), unsigned)
    assert np.array_equal(read_array(convert(path, tmp_path / "a.mrc")), array)
    assert np.array_equal(read_array(convert(path, tmp_path / "b.mrc", "--mode0", "unsigned")), unsigned)
    assert np.array_equal(read_array(convert(stamped, tmp_path / "c.mrc")), unsigned)
    assert np.array_equal(read_array(convert(stamped, tmp_path / "d.mrc", "--mode0", "signed")), array)


def test_a_stack_of_volumes_is_several_maps(tmp_path):
    volumes = tuple(
        Volume(voxels=torch.from_numpy(values((3, 4, 5), seed)), voxel_size=2.0, origin=(2.0, 0.0, -4.0)) for seed in range(4)
    )
    write_volumes(volumes, tmp_path / "x.mrc")
    assert is_valid(tmp_path / "x.mrc") is True
    with mrcfile.open(tmp_path / "x.mrc") as mrc:
        assert mrc.is_volume_stack()
        assert mrc.data.shape == (4, 3, 4, 5)
        assert mrc.voxel_size.z == 2.0
    found = read(tmp_path / "x.mrc")
    assert len(found) == 4
    for one, other in zip(found, volumes, strict=True):
        torch.testing.assert_close(one.voxels, other.voxels)
        assert (one.voxel_size, one.origin) == (2.0, (2.0, 0.0, -4.0))
    assert describe(tmp_path / "x.mrc").words[0] == "4 volumes of 5 × 4 × 3 voxels (x × y × z)"
    with pytest.raises(InputError, match="stack of volumes"):
        read_map(tmp_path / "x.mrc")
    write(found, tmp_path / "y.mrc")
    assert (tmp_path / "y.mrc").read_bytes() == (tmp_path / "x.mrc").read_bytes()
    assert len(read_volumes(convert(tmp_path / "x.mrc", tmp_path / "z.mrc"))) == 4
    patched(tmp_path / "x.mrc", tmp_path / "odd.mrc", (36, integers(5)))
    with pytest.raises(InputError, match="no whole number"):
        read_volumes(tmp_path / "odd.mrc")
    write_array(values((3, 4, 5)), tmp_path / "one.mrc", voxel_size=2.0)
    alone = patched(tmp_path / "one.mrc", tmp_path / "alone.mrc", (88, integers(401)))
    assert torch.equal(read_map(alone).voxels, read_map(tmp_path / "one.mrc").voxels)  # one volume is a map
    with pytest.raises(InputError, match="one grid"):
        write_volumes((volumes[0], Volume(voxels=volumes[0].voxels, voxel_size=3.0)), tmp_path / "no.mrc")


@pytest.mark.parametrize("axes", [(1, 2, 3), (3, 2, 1), (2, 1, 3), (3, 1, 2), (2, 3, 1), (1, 3, 2)])
def test_axes_in_any_order_come_out_in_ours(tmp_path, axes):
    truth = values((3, 4, 5))  # z, y, x
    stored = np.ascontiguousarray(truth.transpose([3 - axis for axis in axes][::-1]))
    path = tmp_path / "x.map"
    write_array(stored, path, voxel_size=1.5)
    cell = np.array([5 * 1.5, 4 * 1.5, 3 * 1.5], "<f4").tobytes()
    patched(path, path, (28, integers(5, 4, 3)), (40, cell), (64, integers(*axes)))
    np.testing.assert_array_equal(read_array(path), truth)
    again = convert(path, tmp_path / "y.mrc")
    np.testing.assert_array_equal(read_array(again), truth)
    assert is_valid(again) is True


EMDB = {  # name: size and voxel size along x, y, z; mode, space group, start of columns, rows, sections
    "EMD-3001.map": ((43, 25, 73), (0.44825, 0.3925, 0.45875), 2, 4, (0, -21, -12)),
    "EMD-3001.map.bz2": ((43, 25, 73), (0.44825, 0.3925, 0.45875), 2, 4, (0, -21, -12)),
    "EMD-3197.map": ((20, 20, 20), (11.4, 11.4, 11.4), 2, 1, (-2, 0, 0)),
    "emd_3197.map.gz": ((20, 20, 20), (11.4, 11.4, 11.4), 2, 1, (-2, 0, 0)),
    "emd_1832.map": ((64, 64, 64), (5.7, 5.7, 5.7), 2, 1, (-32, -32, -32)),
    "float16.mrc": ((64, 64, 1), (3.5953124, 3.5953124, 0), 12, 0, (0, 0, 0)),
}


@pytest.mark.agreement
@pytest.mark.parametrize("name", EMDB)
def test_maps_of_the_emdb(tmp_path, real_data, name):
    path = real_data / "emdb_maps" / name
    header = read_header(path)
    size, voxel_sizes, mode, group, start = EMDB[name]
    assert (header.size_along_axes, header.voxel_sizes) == (size, pytest.approx(voxel_sizes))
    assert (header.mode, header.space_group, header.start) == (mode, group, start)
    with mrcfile.open(path, permissive=True) as mrc:
        theirs = mrc.data.reshape(header.size[::-1])
    order = {axis: 2 - place for place, axis in enumerate(header.axes)}
    ours = read_array(path)
    np.testing.assert_array_equal(ours, theirs.transpose(order[3], order[2], order[1]))
    is_cubic = max(voxel_sizes) == min(voxel_sizes)
    again = read_header(convert(path, tmp_path / "y.mrc", *(() if is_cubic or size[2] == 1 else ("--pixel-size", "2.5"))))
    assert is_valid(again.path) is True
    np.testing.assert_array_equal(read_array(again.path), ours.astype(np.float32))
    along = dict(zip(header.axes, start, strict=True))
    assert again.start == (along[1], along[2], along[3])


def test_a_large_stack_of_16_bit_reals_passes_the_validator(tmp_path):
    images = torch.from_numpy(values((40, 64, 64)))
    with MrcStackWriter(tmp_path / "x.mrcs", image_shape=(64, 64), pixel_size=1.7, sample_format="float16") as writer:
        writer.write(images)
    assert is_valid(tmp_path / "x.mrcs") is True
    assert read_header(tmp_path / "x.mrcs").rms == -1  # not determined: mrcfile's own sum of squares ends at 65504
    write_array(images.numpy()[:2, :8, :8], tmp_path / "y.mrc", voxel_size=1.7, sample_format="float16")
    assert read_header(tmp_path / "y.mrc").rms == pytest.approx(float(images[:2, :8, :8].std(correction=0)), rel=1e-3)
