"""A map from images alone."""

from dataclasses import replace

import pytest
import torch

from cryowalk.core.errors import InputError, StateConflict
from cryowalk.data import Defocus, ImageStack, Optics, ParticleSet, Volume
from cryowalk.fourier.shells import shell_correlation
from cryowalk.fourier.slices import extract_slices, prepare_volume
from cryowalk.fourier.transform import to_real
from cryowalk.geometry.sampling import random_rotations
from cryowalk.microscope.lens import contrast_transfer
from cryowalk.refinement.ab_initio import AbInitioSettings, ab_initio
from cryowalk.validation.alignment import align

BOX, PIXEL = 24, 5.0
SETTINGS = AbInitioSettings(
    diameter=85.0,
    starts=1,
    iterations=30,
    first_batch=60,
    last_batch=240,
    starting_resolution=40.0,
    final_resolution=17.0,
    shift_range=5.0,
)


def specimen(seed=5):
    axis = torch.arange(BOX, dtype=torch.float32) - BOX // 2
    z, y, x = torch.meshgrid(axis, axis, axis, indexing="ij")
    generator = torch.Generator().manual_seed(seed)
    voxels = torch.zeros(BOX, BOX, BOX)
    for _ in range(9):
        centre = torch.randn(3, generator=generator)
        centre = 6.0 * centre / centre.norm() * torch.rand(1, generator=generator) ** (1 / 3)
        voxels += torch.exp(-((x - centre[0]) ** 2 + (y - centre[1]) ** 2 + (z - centre[2]) ** 2) / 4)
    return Volume(voxels=voxels, voxel_size=PIXEL)


def particles_of(volume, count=240, *, noise=0.7, seed=1):
    generator = torch.Generator().manual_seed(seed)
    rotations = random_rotations(count, generator=generator)
    optics = Optics(pixel_size=PIXEL)
    major = 10000 + 8000 * torch.rand(count, generator=generator)
    defocus = Defocus(major=major, minor=major, azimuth=torch.zeros(count), phase_shift=torch.zeros(count))
    slices = extract_slices(prepare_volume(volume, padding=2.0), rotations.float())
    clean = to_real(slices * contrast_transfer(optics, defocus, size=(BOX, BOX)), width=BOX)
    pixels = clean / clean.std() + noise * torch.randn(clean.shape, generator=generator)
    return ParticleSet(
        optics=(optics,),
        optics_index=torch.zeros(count, dtype=torch.long),
        images=ImageStack(pixels=pixels, pixel_size=PIXEL),
        defocus=defocus,
    )


@pytest.mark.slow
def test_the_map_is_found_up_to_its_hand():
    truth = specimen()
    found = ab_initio(particles_of(truth), SETTINGS, generator=torch.Generator().manual_seed(3))
    best = align(found.volumes[0], truth, hand="either", resolution=20.0)
    curve = shell_correlation(best.volume.voxels, truth.voxels)
    # 20 Å is shell 6
    assert curve[1:6].min() > 0.8
    assert len(found.particles) == 240
    assert found.starts[0] > 5


class Memory:
    """A checkpoint that keeps all that was saved, and stops the run at a given save."""

    def __init__(self, stop=None, state=None):
        self.state, self.saves, self.stop = state, 0, stop

    def load(self):
        return self.state

    def save(self, state):
        self.saves += 1
        self.state = state
        if self.saves == self.stop:
            raise KeyboardInterrupt


def copied(state):
    from cryowalk.workflow.checkpoint import pack, unpack

    return unpack(b"".join(bytes(part) for part in pack(state)))


def test_a_stopped_search_ends_as_if_it_had_not_been_stopped():
    particles = particles_of(specimen(), 60)
    settings = replace(SETTINGS, iterations=6, starts=2, last_batch=60, classes=2)
    whole = ab_initio(particles, settings, generator=torch.Generator().manual_seed(3))
    memory = Memory(stop=9)
    with pytest.raises(KeyboardInterrupt):
        ab_initio(particles, settings, generator=torch.Generator().manual_seed(3), checkpoint=memory)
    resumed = ab_initio(
        particles, settings, generator=torch.Generator().manual_seed(3), checkpoint=Memory(state=copied(memory.state))
    )
    assert resumed.starts == whole.starts
    for one, two in zip(whole.volumes, resumed.volumes, strict=True):
        assert torch.equal(one.voxels, two.voxels)
    with pytest.raises(StateConflict):
        ab_initio(
            particles,
            replace(settings, iterations=7),
            generator=torch.Generator().manual_seed(3),
            checkpoint=Memory(state=memory.state),
        )


def test_constant_images_are_refused():
    particles = particles_of(specimen(), 20)
    flat = replace(particles, images=ImageStack(pixels=torch.ones(20, BOX, BOX), pixel_size=PIXEL))
    with pytest.raises(InputError):
        ab_initio(flat, SETTINGS, generator=torch.Generator().manual_seed(3))
