import pytest
import torch

from cryowalk.core.errors import DamagedImageError, InputError
from cryowalk.data import Defocus, ImageStack, Optics, ParticleSet, Pose
from cryowalk.data.images import read_with_gaps


@pytest.fixture
def particles(generator):
    n = 5
    pixels = torch.randn(n, 6, 7, generator=generator)
    values = torch.rand(n, generator=generator)
    return ParticleSet(
        optics=(Optics(pixel_size=1.3), Optics(pixel_size=1.3, voltage_kv=200.0, name="second")),
        optics_index=torch.tensor([0, 1, 0, 1, 1]),
        images=ImageStack(pixels=pixels, pixel_size=1.3),
        pose=Pose(lab_from_particle=torch.eye(3).expand(n, 3, 3), shift=torch.arange(2.0 * n).reshape(n, 2)),
        defocus=Defocus(major=values, minor=values, azimuth=values, phase_shift=values, b_factor=values + 1),
        half=torch.tensor([1, 2, 1, 2, 1]),
        image_names=tuple(f"{i + 1:06d}@a.mrcs" for i in range(n)),
        coordinates=torch.rand(n, 2, generator=generator),
        extra={"rlnBeamTiltClass": ("007", "1e3", '""', "a b", "-0")},
    )


@pytest.mark.parametrize("selection", [torch.tensor([3, 0]), [3, 0]])
def test_selection_takes_every_column_in_the_order_asked(particles, selection):
    chosen = particles[selection]
    assert len(chosen) == 2
    assert chosen.image_names == ("000004@a.mrcs", "000001@a.mrcs")
    assert chosen.extra["rlnBeamTiltClass"] == ("a b", "007")
    assert torch.equal(chosen.images.read([0, 1]), particles.images.read([3, 0]))
    assert torch.equal(chosen.pose.shift, particles.pose.shift[[3, 0]])
    assert torch.equal(chosen.defocus.b_factor, particles.defocus.b_factor[[3, 0]])
    assert chosen.half.tolist() == [2, 1]


def test_mask_and_slice_select_alike(particles):
    mask = torch.tensor([False, True, True, False, False])
    assert particles[mask].image_names == particles[1:3].image_names
    assert torch.equal(particles[mask].coordinates, particles[1:3].coordinates)


def test_a_selection_of_a_selection_reads_the_right_images(particles):
    twice = particles[torch.tensor([4, 2, 1])][torch.tensor([1])]
    assert torch.equal(twice.images.read([0]), particles.images.read([2]))


def test_changed_sets_leave_the_old_one_alone(particles):
    moved = particles.with_pose(Pose(lab_from_particle=particles.pose.lab_from_particle, shift=particles.pose.shift + 1))
    assert torch.equal(moved.pose.shift - 1, particles.pose.shift)
    assert particles.with_half(torch.ones(5, dtype=torch.long)).half.tolist() == [1] * 5
    assert particles.half.tolist() == [1, 2, 1, 2, 1]


def test_groups_of_different_pixel_size_have_no_common_one(particles):
    assert particles.pixel_size == 1.3
    from dataclasses import replace

    mixed = replace(particles, optics=(Optics(pixel_size=1.3), Optics(pixel_size=1.4)))
    with pytest.raises(InputError, match=r"1\.3, 1\.4"):
        _ = mixed.pixel_size


class OneDamaged:
    """A source that refuses any batch with its fourth image, as a file with NaN does."""

    count, image_shape = 6, (2, 2)

    def read(self, indices):
        if 3 in indices:
            raise DamagedImageError("image 4 holds NaN")
        return torch.tensor([float(i) for i in indices])[:, None, None].expand(-1, 2, 2)


def test_a_damaged_image_leaves_a_gap_and_the_others_are_read():
    found = read_with_gaps(OneDamaged(), [5, 3, 0, 2, 1])
    assert found[1].isnan().all()
    assert found[[0, 2, 3, 4], 0, 0].tolist() == [5.0, 0.0, 2.0, 1.0]
    assert read_with_gaps(OneDamaged(), [3]).shape == (1, 2, 2)
    with pytest.raises(InputError, match="out of range"):  # other faults are not swallowed
        read_with_gaps(OutOfRange(), [1, 2])


class OutOfRange(OneDamaged):
    def read(self, indices):
        raise InputError("out of range")
