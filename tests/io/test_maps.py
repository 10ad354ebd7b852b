import gzip

import mrcfile
import numpy as np
import pytest
import torch
from io_files import integers, patched, reals, values

from cryowalk.core.errors import InputError
from cryowalk.data.volume import Volume
from cryowalk.io.maps import read_half_maps, read_map, write_map
from cryowalk.io.mrc import read_array, write_array


@pytest.mark.parametrize("size", [(8, 8, 8), (9, 9, 9), (5, 6, 7)])
@pytest.mark.parametrize("origin", [(0.0, 0.0, 0.0), (-4.11, 2.74, 0.0), (0.5, 100.25, -3.0)])
def test_a_map_comes_back_with_its_grid(tmp_path, size, origin):
    volume = Volume(voxels=torch.from_numpy(values(size)), voxel_size=1.37, origin=origin)
    write_map(volume, tmp_path / "a.mrc")
    back = read_map(tmp_path / "a.mrc")
    torch.testing.assert_close(back.voxels, volume.voxels)
    assert back.voxels.dtype == torch.float32
    assert back.voxel_size == 1.37
    assert back.origin == pytest.approx(origin)


def test_on_disk_a_map_has_the_scale_whose_sum_of_voxels_is_an_image(tmp_path):
    """Image = ∫ V dz = Σ V · voxel size, and for RELION image = Σ (disk values): so disk = V · voxel size."""
    volume = Volume(voxels=torch.from_numpy(values((6, 6, 6))), voxel_size=2.5)
    write_map(volume, tmp_path / "a.mrc")
    with mrcfile.open(tmp_path / "a.mrc") as mrc:
        np.testing.assert_allclose(mrc.data.sum(0), (volume.voxels * 2.5).sum(0), rtol=1e-5)
    write_array(np.full((4, 4, 4), 10.0, np.float32), tmp_path / "b.mrc", voxel_size=2.5)
    assert float(read_map(tmp_path / "b.mrc").voxels[0, 0, 0]) == pytest.approx(4.0)


def test_an_origin_of_whole_voxels_is_also_the_start_index(tmp_path):
    for origin, start in (((-4.11, 2.74, 0.0), [-3, 2, 0]), ((0.5, 0.0, 0.0), [0, 0, 0])):
        write_map(Volume(voxels=torch.zeros(4, 4, 4) + torch.rand(4), voxel_size=1.37, origin=origin), tmp_path / "a.mrc")
        with mrcfile.open(tmp_path / "a.mrc") as mrc:
            assert mrc.nstart.tolist() == tuple(start) or [int(mrc.header[f"n{c}start"]) for c in "xyz"] == start


def test_the_start_index_is_the_origin_where_no_other_is_given(tmp_path):
    write_array(values((4, 5, 6)), tmp_path / "a.mrc", voxel_size=2.0)
    assert read_map(patched(tmp_path / "a.mrc", tmp_path / "b.mrc", (16, integers(-3, 4, 5)))).origin == (-6.0, 8.0, 10.0)
    both = patched(tmp_path / "b.mrc", tmp_path / "c.mrc", (196, reals(1, 2, 3)))
    assert read_map(both).origin == (1.0, 2.0, 3.0)
    # columns along Z, rows along X, sections along Y: the start indices follow the axes
    turned = patched(
        tmp_path / "b.mrc", tmp_path / "d.mrc", (64, integers(3, 1, 2)), (28, integers(5, 4, 6)), (40, reals(10, 8, 12))
    )
    assert read_map(turned).origin == (8.0, 10.0, -6.0)


def test_the_voxel_size_can_be_stated(tmp_path):
    write_array(values((4, 4, 4)), tmp_path / "a.mrc", voxel_size=0)
    with pytest.raises(InputError, match=r"a.mrc: the header does not give the voxel size"):
        read_map(tmp_path / "a.mrc")
    stated = read_map(tmp_path / "a.mrc", voxel_size=1.5)
    np.testing.assert_allclose(stated.voxels, read_array(tmp_path / "a.mrc") / 1.5, rtol=1e-6)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ((40, reals(8.0, 8.0, 8.1)), "not cubes"),
        ((40, reals(8.0, float("nan"), 8.0)), "not a number"),
        ((40, reals(-8.0, 8.0, 8.0)), "negative"),
        ((52, reals(90.0, 94.0, 90.0)), "skewed"),
        ((196, reals(float("inf"))), "not a number"),
        ((1024 + 4 * 20, reals(float("nan"))), "section 2 holds a value that is not finite"),
        ((1024 + 4 * 20, reals(3e38)), "section 2 holds an outlier"),
    ],
)
def test_maps_that_cannot_be_used(tmp_path, change, message):
    write_array(values((4, 4, 4)), tmp_path / "a.mrc", voxel_size=2.0)
    with pytest.raises(InputError, match=message) as caught:
        read_map(patched(tmp_path / "a.mrc", tmp_path / "b.mrc", change))
    assert "b.mrc" in str(caught.value)


def test_images_are_no_map(tmp_path):
    write_array(values((4, 4)), tmp_path / "a.mrc", voxel_size=2.0)
    write_array(values((4, 4, 4)), tmp_path / "b.mrcs", voxel_size=2.0)
    for name, what in (("a.mrc", "single image"), ("b.mrcs", "stack of images")):
        with pytest.raises(InputError, match=what):
            read_map(tmp_path / name)


def test_half_maps_must_match(tmp_path):
    write_map(Volume(voxels=torch.rand(4, 4, 4), voxel_size=2.0), tmp_path / "a.mrc")
    write_map(Volume(voxels=torch.rand(4, 4, 4), voxel_size=2.0), tmp_path / "b.mrc")
    write_map(Volume(voxels=torch.rand(4, 4, 4), voxel_size=2.1), tmp_path / "c.mrc")
    write_map(Volume(voxels=torch.rand(5, 5, 5), voxel_size=2.0), tmp_path / "d.mrc")
    assert read_half_maps(tmp_path / "a.mrc", tmp_path / "b.mrc").average().voxel_size == 2.0
    for other in "cd":
        with pytest.raises(InputError, match="half maps differ"):
            read_half_maps(tmp_path / "a.mrc", tmp_path / f"{other}.mrc")


def test_a_bomb_is_stopped_at_the_size_its_header_describes(tmp_path):
    write_array(np.zeros((4, 4, 4), np.float32), tmp_path / "a.mrc", voxel_size=2.0)
    (tmp_path / "bomb.mrc.gz").write_bytes(gzip.compress((tmp_path / "a.mrc").read_bytes() + bytes(50_000_000)))
    with pytest.raises(InputError, match=r"bomb\.mrc\.gz: inflates to more than the 1280 bytes"):
        read_map(tmp_path / "bomb.mrc.gz")


def test_real_maps(real_data):
    volume = read_map(real_data / "map_model_apof_emd20026/emd20026_prot.mrc")
    assert volume.voxels.shape == (112, 104, 94)
    assert volume.voxel_size == 0.65
    assert volume.origin == (117.0, 65.65, 101.4)
    assert read_map(real_data / "emdb_maps/emd_1832.map").origin == pytest.approx((-182.4, -182.4, -182.4))
    packed, plain = (read_map(real_data / "emdb_maps" / name) for name in ("emd_3197.map.gz", "EMD-3197.map"))
    assert torch.equal(packed.voxels, plain.voxels)
    assert plain.origin == pytest.approx((-22.8, 0, 0))
    with pytest.raises(InputError, match="skewed"):
        read_map(real_data / "emdb_maps/EMD-3001.map")
