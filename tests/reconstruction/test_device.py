"""The same map on a GPU, within float32."""

import pytest
import torch

from cryowalk.data import Optics
from cryowalk.data.images import ImagesOnDevice
from cryowalk.microscope.simulate.particles import simulate_particles
from cryowalk.microscope.specimen import hinge
from cryowalk.reconstruction import ReconstructionSettings, reconstruct


def moved(device: str):
    particles, _ = simulate_particles(
        hinge(), Optics(pixel_size=5.0), count=30, box=36, snr=1.0, generator=torch.Generator().manual_seed(4)
    )
    return particles, particles.with_images(ImagesOnDevice(source=particles.images, device=torch.device(device)))


def test_images_on_a_device_are_the_same_images():
    particles, same = moved("cpu")
    assert same.images.count == 30
    assert same.images.image_shape == (36, 36)
    assert torch.equal(same.images.read([3, 1]), particles.images.read([3, 1]))
    settings = ReconstructionSettings(symmetry="C2")
    assert torch.equal(reconstruct(same, settings).first.voxels, reconstruct(particles, settings).first.voxels)


def test_cuda_gives_the_cpus_map():
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device on this machine")
    particles, there = moved("cuda")
    settings = ReconstructionSettings(symmetry="C2")
    ours, theirs = reconstruct(particles, settings).first.voxels, reconstruct(there, settings).first.voxels.cpu()
    assert (ours - theirs).norm() < 1e-4 * ours.norm()
