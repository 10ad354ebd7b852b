"""Stacks of particles: what is stated is what is in them, and a run goes on where it stopped."""

from dataclasses import replace

import pytest
import torch

from cryowalk.core.errors import InputError, UsageError
from cryowalk.data.atoms import Atoms
from cryowalk.data.optics import Optics
from cryowalk.data.volume import Volume
from cryowalk.fourier.shells import shell_average
from cryowalk.fourier.transform import to_fourier
from cryowalk.microscope.image_formation import form_images
from cryowalk.microscope.scattering import project
from cryowalk.microscope.settings import ParticleSimulationSettings
from cryowalk.microscope.simulate.parameters import draw_parameters
from cryowalk.microscope.simulate.particles import simulate_particles
from cryowalk.microscope.specimen import hinge, potential
from cryowalk.numerics.random import generator as generator_of

# Small boxes are quick, and what leaves them is lost, as it should be.
pytestmark = pytest.mark.filterwarnings("ignore:the CTF of .* aliases")
OPTICS = Optics(pixel_size=2.7)
SMALL = ParticleSimulationSettings(
    count=20, box=32, batch=8, noise="ice"
)  # drawn noise; the microscope's is tested in test_recorded_particles


class Sink:
    """A sink that keeps batches, and may stop the work after some."""

    def __init__(self, stop_after=None):
        self.batches, self.stop_after = [], stop_after

    def write(self, images):
        self.batches.append(images.clone())
        if self.stop_after is not None and len(self.batches) == self.stop_after:
            raise KeyboardInterrupt

    @property
    def images(self):
        return torch.cat(self.batches)


@pytest.fixture(scope="module")
def small_molecule():
    source = generator_of(4)
    return Atoms(
        positions=(9 * torch.randn(300, 3, generator=source, dtype=torch.float64)).clamp(-22, 22),
        atomic_numbers=torch.full((300,), 6),
        b_factors=torch.full((300,), 60.0, dtype=torch.float64),
        occupancies=torch.ones(300, dtype=torch.float64),
    )


def bent(molecule):
    """A flexible specimen: half of the atoms move along x with the angle."""

    def specimen(*, angle=0.0):
        moved = molecule.positions.clone()
        moved[:150, 0] += 20 * angle
        return Atoms(
            positions=moved,
            atomic_numbers=molecule.atomic_numbers,
            b_factors=molecule.b_factors,
            occupancies=molecule.occupancies,
        )

    return specimen


def simulate(specimen, seed=1, **choices):
    return simulate_particles(specimen, OPTICS, generator=generator_of(seed), **{"settings": SMALL, **choices})


def test_particles_and_truth_are_complete(small_molecule):
    particles, truth = simulate(small_molecule)
    assert len(particles) == 20
    assert particles.images.read([0]).shape == (1, 32, 32)
    assert particles.images.read([0]).dtype == torch.float32
    assert particles.pixel_size == 2.7
    assert sorted(particles.half.tolist()) == [1] * 10 + [2] * 10
    assert torch.equal(truth.pose.lab_from_particle, particles.pose.lab_from_particle)
    low, high = SMALL.defocus_range
    mean = (particles.defocus.major + particles.defocus.minor) / 2
    assert low <= mean.min() < mean.max() <= high
    assert (particles.defocus.major >= particles.defocus.minor).all()
    assert truth.volume.voxels.shape == (32, 32, 32)
    assert truth.dose == SMALL.dose
    assert truth.noise_power.shape == (17,)
    assert truth.atoms is small_molecule


def test_the_same_seed_gives_the_same_bytes_and_another_seed_does_not(small_molecule):
    first, second, other = (simulate(small_molecule, seed=seed)[0] for seed in (5, 5, 6))
    assert torch.equal(first.images.pixels, second.images.pixels)
    assert torch.equal(first.pose.shift, second.pose.shift)
    assert not torch.equal(first.images.pixels, other.images.pixels)


def test_batches_do_not_matter(small_molecule):
    one, _ = simulate(small_molecule, batch=20)
    many, _ = simulate(small_molecule, batch=7)
    torch.testing.assert_close(one.images.pixels, many.images.pixels, rtol=0, atol=1e-3)


@pytest.mark.parametrize("start", [8, 13])
def test_a_stopped_run_goes_on_with_the_same_bytes(small_molecule, start):
    whole, stopped, rest = Sink(), Sink(stop_after=2), Sink()
    simulate(small_molecule, sink=whole)
    with pytest.raises(KeyboardInterrupt):
        simulate(small_molecule, sink=stopped)
    particles, _ = simulate(small_molecule, sink=rest, start=start)
    assert particles.images is None
    assert torch.equal(torch.cat([stopped.images[:start], rest.images]), whole.images)


def test_exact_projections_are_near_the_fast_ones(small_molecule):
    fast, exact = (simulate(small_molecule, noise="none", projection=how)[0].images.pixels for how in ("fast", "exact"))
    assert 1e-5 < (fast - exact).norm() / exact.norm() < 0.02


def test_images_are_projections_through_the_lens(small_molecule):
    particles, truth = simulate(small_molecule, noise="none")
    still = project(
        truth.volume, particles.pose.__class__(lab_from_particle=particles.pose.lab_from_particle, shift=0 * particles.pose.shift)
    )
    formed = form_images(still.float(), OPTICS, particles.defocus, shift=particles.pose.shift)
    error = (particles.images.pixels - formed.images).norm() / formed.images.norm()
    assert error < 1e-4
    assert truth.noise_power is None
    assert truth.snr is None


@pytest.mark.parametrize("noise", ["white", "ice"])
def test_the_stated_ratio_is_met(small_molecule, noise):
    choices = {"count": 120, "snr": 0.2, "noise": noise}
    noisy, truth = simulate(small_molecule, **choices)
    clean, _ = simulate(small_molecule, **{**choices, "noise": "none"})
    added = noisy.images.pixels - clean.images.pixels
    ratio = clean.images.pixels.var(dim=(1, 2)).mean() / added.var()
    assert ratio.item() == pytest.approx(0.2, rel=0.05)
    assert truth.snr == pytest.approx(0.2)
    assert truth.dose is None
    measured = shell_average(to_fourier(added.double()).abs() ** 2, size=(32, 32)).mean(dim=0)
    torch.testing.assert_close(measured[3:], truth.noise_power[3:], rtol=0.25, atol=0)


def test_less_dose_is_more_noise(small_molecule):
    ratios = [simulate(small_molecule, dose=dose)[1].snr for dose in (10, 40)]
    assert ratios[1] / ratios[0] == pytest.approx(4, rel=1e-6)


def test_a_map_serves_as_specimen(small_molecule):
    volume = potential(small_molecule, box=24, voxel_size=2.7)
    from_map, truth = simulate(volume, noise="none")
    from_atoms, other = simulate(small_molecule, noise="none")
    torch.testing.assert_close(truth.volume.origin, other.volume.origin)
    error = (from_map.images.pixels - from_atoms.images.pixels).norm() / from_atoms.images.pixels.norm()
    assert error < 0.05
    assert truth.atoms is None


def test_a_flexible_specimen_is_seen_in_its_states(small_molecule):
    particles, truth = simulate(bent(small_molecule), hinge_spread=0.1, conformations=5, noise="none", count=40)
    assert len(truth.conformation.unique()) > 2
    assert truth.conformation.abs().max() < 0.2
    rigid, _ = simulate(bent(small_molecule), noise="none", count=40)
    difference = (particles.images.pixels - rigid.images.pixels).norm(dim=(1, 2)) / rigid.images.pixels.norm(dim=(1, 2))
    assert (difference[truth.conformation.abs() < 1e-9] < 1e-5).all()
    assert (difference[truth.conformation.abs() > 0.1] > 0.02).all()


def test_preferred_views_gather():
    settings = replace(SMALL, count=200, orientations="preferred", concentration=30.0)
    axis = draw_parameters(settings, generator=generator_of(1)).pose.lab_from_particle[:, 2]  # the beam in the particle's frame
    alignment = torch.linalg.eigvalsh((axis.T @ axis) / 200)[-1]
    assert alignment > 0.85


def test_wrong_requests_are_refused(small_molecule):
    for choices, word in (
        ({"count": 0}, "count"),
        ({"dose": -3.0}, "dose"),
        ({"snr": 0.0}, "snr"),
        ({"defocus_range": (2e4, 1e4)}, "defocus_range"),
        ({"hinge_spread": 0.1}, "rigid"),
        ({"colour": "red"}, "colour"),
        ({"start": 4}, "sink"),
        ({"canvas": 8}, "canvas"),
    ):
        with pytest.raises(UsageError, match=word):
            simulate(small_molecule, **choices)
    with pytest.raises(InputError, match="voxels of 3"):
        simulate(Volume(voxels=torch.zeros(16, 16, 16), voxel_size=3.0))
    with pytest.raises(InputError, match="does not fit"):
        simulate(small_molecule, box=12)


def test_the_procedural_molecule_makes_particles_by_default():
    particles, truth = simulate_particles(
        hinge, Optics(pixel_size=3.0), generator=generator_of(2), count=4, box=60, hinge_spread=0.05
    )
    assert len(particles) == 4
    assert truth.conformation.shape == (4,)
    assert truth.atoms is not None
