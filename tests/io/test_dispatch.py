import pytest
import torch
from io_files import PDB, particle_set, values

import cryowalk as cw
from cryowalk.core.errors import InputError, UsageError
from cryowalk.data.images import ImageStack, Micrograph
from cryowalk.data.truth import Truth
from cryowalk.data.volume import HalfMaps, Volume
from cryowalk.io.star import StarBlock, StarFile


def test_each_thing_is_written_and_read_by_its_kind(tmp_path):
    (tmp_path / "m").write_text(PDB)  # known by its content
    volume = Volume(voxels=torch.from_numpy(values((5, 6, 7))), voxel_size=1.2, origin=(1.0, 2.0, 3.0))
    things = {
        "a.cif": cw.read(tmp_path / "m"),
        "v.mrc": volume,
        "s.mrcs": ImageStack(pixels=torch.from_numpy(values((3, 6, 7))), pixel_size=1.2),
        "i.mrc": Micrograph(pixels=torch.from_numpy(values((6, 7))), pixel_size=1.2),
        "p.star": particle_set(),
        "t.star": Truth(dose=3.0),
        "x.star": StarFile(blocks=(StarBlock(name="general", values={"a": "1"}),)),
    }
    for name, thing in things.items():
        cw.write(thing, tmp_path / name)
        back = cw.read(tmp_path / name)
        assert type(back) is type(thing)
        if hasattr(thing, "pixels"):
            assert torch.equal(back.pixels, thing.pixels)
            assert back.pixel_size == thing.pixel_size
    assert cw.read(tmp_path / "v.mrc").origin == volume.origin
    assert torch.equal(cw.read(tmp_path / "p.star").images.read([2]), particle_set().images.read([2]))


def test_a_pixel_size_can_be_stated(tmp_path):
    for name, kind in (("a.mrcs", "images"), ("b.mrc", "volume")):
        cw.io.write_array(values((3, 4, 4)), tmp_path / name, voxel_size=0, kind=kind)
        with pytest.raises(InputError, match="does not give the"):
            cw.read(tmp_path / name)
        thing = cw.read(tmp_path / name, pixel_size=2.0)
        assert 2.0 in (getattr(thing, "pixel_size", None), getattr(thing, "voxel_size", None))


def test_what_cannot_be_written(tmp_path):
    volume = Volume(voxels=torch.rand(4, 4, 4), voxel_size=1.2)
    for thing, name, message in (
        (volume, "v.star", "Volume cannot be written to “v.star”"),
        (HalfMaps(first=volume, second=volume), "h.mrc", r"\.first and \.second"),
        ({}, "x.mrc", "no file format for dict"),
    ):
        with pytest.raises(UsageError, match=message):
            cw.write(thing, tmp_path / name)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\x89PNG....", "a PNG image"),
        (b"\x93NUMPY", "cryoSPARC"),
        (b"PK\x03\x04", "zip"),
        (b"just words", "no kind known"),
        (b"\x80\x04.", "pickle"),
        (b"\0\1\2", "no kind known"),
    ],
)
def test_files_of_other_kinds_are_named(tmp_path, content, message):
    (tmp_path / "f").write_bytes(content)
    with pytest.raises(InputError, match=message):
        cw.read(tmp_path / "f")


def test_real_files_of_each_kind(real_data):
    assert isinstance(cw.read(real_data / "structures/3pqr.pdb"), cw.Atoms)
    assert isinstance(cw.read(real_data / "emdb_maps/emd_3197.map.gz"), cw.Volume)
    assert isinstance(cw.read(real_data / "emdb_maps/float16.mrc"), cw.Micrograph)
    assert isinstance(cw.read(real_data / "betagal_10204/Class2D/run_it025_classes.mrcs"), cw.ImageStack)
    assert isinstance(cw.read(real_data / "betagal_10204/particles_with_relion_poses.star"), cw.ParticleSet)
    pipeline = cw.read(real_data / "betagal_10204/project/default_pipeline.star")
    assert len(pipeline) == 8
    assert cw.read(real_data / "emdb_maps/float16.mrc").pixels.isfinite().all()
