"""Particles as the microscope records them: counted electrons, ice that the lens images too, damage, several specimens, junk."""

import math
from dataclasses import replace

import pytest
import torch

from cryowalk.core.errors import CryowalkWarning, UsageError
from cryowalk.data.atoms import Atoms
from cryowalk.data.optics import Aberrations, Defocus, Optics
from cryowalk.fourier.grids import frequency_radius
from cryowalk.fourier.shells import shell_correlation, shell_frequency
from cryowalk.fourier.transform import to_fourier
from cryowalk.microscope import absorption, damage, ice
from cryowalk.microscope.camera import CAMERAS
from cryowalk.microscope.exposure import noise_deviation
from cryowalk.microscope.lens import aberration_phase, antisymmetric_phase
from cryowalk.microscope.settings import ParticleSimulationSettings
from cryowalk.microscope.simulate.parameters import draw_parameters
from cryowalk.microscope.simulate.particles import simulate_particles
from cryowalk.microscope.simulate.recording import fading, generator_of_image, ice_left
from cryowalk.microscope.solvent import displaced
from cryowalk.numerics.random import generator as generator_of

# Small boxes are quick, and what leaves them is lost, as it should be.
pytestmark = pytest.mark.filterwarnings("ignore:the CTF of .* aliases")
OPTICS = Optics(pixel_size=2.2)
SMALL = ParticleSimulationSettings(count=24, box=36, batch=8, camera="ideal")


@pytest.fixture(scope="module")
def molecule():
    return cloud(4)


def cloud(seed):
    source = generator_of(seed)
    return Atoms(
        positions=(7 * torch.randn(400, 3, generator=source, dtype=torch.float64)).clamp(-17, 17),
        atomic_numbers=torch.full((400,), 6),
        b_factors=torch.full((400,), 40.0, dtype=torch.float64),
        occupancies=torch.ones(400, dtype=torch.float64),
    )


class Sink:
    def __init__(self):
        self.images = torch.zeros(0, 36, 36)

    def write(self, images):
        self.images = torch.cat([self.images, images])


def simulate(specimen, seed=1, optics=OPTICS, **choices):
    return simulate_particles(specimen, optics, generator=generator_of(seed), **{"settings": SMALL, **choices})


def clean(specimen, **choices):
    """The same particles with so many electrons and so little ice that noise does not show."""
    return simulate(specimen, dose=1e9, damage="none", ice_thickness=0.0, **choices)[0].images.pixels


def test_without_ice_the_noise_of_an_ideal_camera_is_the_shot_noise_of_the_dose(molecule):
    _, truth = simulate(molecule, count=96, ice_thickness=0.0, dose=40.0)
    expected = noise_deviation(OPTICS, dose=40.0) ** 2
    torch.testing.assert_close(truth.noise_power[2:], torch.full((17,), expected, dtype=torch.float64), rtol=0.08, atol=0)
    assert truth.dose == 40.0


def test_electrons_that_the_slit_stops_are_missing(molecule):
    thick = absorption.mean_free_path(300.0) * math.log(2)
    power = simulate(molecule, count=96, ice_thickness=0.0)[1].noise_power[2:].mean()
    passed = simulate(molecule, count=96, ice_thickness=thick, solvent="vacuum", dose=50.0)[1].noise_power
    background = simulate(molecule, count=96, ice_thickness=thick, energy_filter="none")[1].noise_power
    shot = noise_deviation(OPTICS, dose=25.0) ** 2
    assert power.item() == pytest.approx(shot / 2, rel=0.03)
    # half of the electrons: twice the noise power; without the slit they come as noise with half the contrast: four times
    assert passed[-1].item() > 2 * power
    assert background[-1].item() - passed[-1].item() == pytest.approx(2 * power.item(), rel=0.2)


def test_ice_adds_its_spectrum_as_the_lens_images_it(molecule):
    """Noise is shot noise and P(k) · CTF², less what the ice's movement blurs."""
    choices = {"count": 160, "defocus_range": (15000.0, 15000.0), "astigmatism": 0.0, "b_factor": 0.0}
    _, truth = simulate(molecule, **choices, ice_thickness=2000.0, energy_filter="none")
    frequency = shell_frequency(36, pixel_size=2.2, dtype=torch.float64)[3:11]  # beyond them the envelope of the gun bears on it
    left = ice_left(frequency, replace(SMALL, **choices), voltage_kv=300.0)
    shot = noise_deviation(OPTICS, dose=50.0) ** 2 / absorption.transmitted_fraction(2000.0, voltage_kv=300.0) ** 2
    spectrum = ice.power(frequency, thickness=2000.0) / 2.2**2 * left**2
    fine = torch.linspace(0, 0.23, 2000, dtype=torch.float64)  # 1/Å
    defocus = Defocus(
        **dict.fromkeys(("major", "minor"), torch.tensor(15000.0)), **dict.fromkeys(("azimuth", "phase_shift"), torch.tensor(0.0))
    )
    curve = torch.sin(aberration_phase(fine, torch.zeros_like(fine), optics=OPTICS, defocus=defocus) + math.asin(0.1)) ** 2
    step = 1 / (36 * 2.2)
    squared = torch.stack([curve[(fine > k - step / 2) & (fine < k + step / 2)].mean() for k in frequency])
    extra = truth.noise_power[3:11] - shot
    assert (extra.sum() / (squared * spectrum).sum()).item() == pytest.approx(1.0, abs=0.15)
    assert (squared * spectrum).sum() > 0.3 * shot


def test_ice_that_moves_is_blurred_as_its_correlation_says():
    frequency = torch.tensor([0.0, 0.05, 0.1, 0.2, 0.3])
    settings = replace(SMALL, damage="plain_sum", dose=50.0)
    x = 50.0 * 2 * math.pi**2 * ice.MEAN_SQUARE_DISPLACEMENT / 3 * frequency[1:] ** 2
    expected = torch.sqrt(2 * (x - 1 + torch.exp(-x)) / x**2)
    found = ice_left(frequency, settings, voltage_kv=300.0)
    assert found[0].item() == pytest.approx(1.0, rel=1e-6)
    torch.testing.assert_close(found[1:], expected, rtol=0.02, atol=0.005)


def test_damage_leaves_the_mean_of_the_amplitude_or_of_its_square():
    frequency = torch.tensor([0.05, 0.1, 0.25])
    left = {
        how: fading(replace(SMALL, damage=how, dose=50.0), voltage_kv=300.0)(frequency) for how in ("plain_sum", "dose_weighted")
    }
    dose = torch.linspace(0, 50, 20001)[:, None]
    amplitude = torch.exp(-dose / (2 * damage.critical_exposure(frequency, voltage_kv=300.0)))
    torch.testing.assert_close(left["plain_sum"], amplitude.mean(dim=0), rtol=1e-3, atol=0)
    torch.testing.assert_close(left["dose_weighted"], amplitude.square().mean(dim=0).sqrt(), rtol=1e-3, atol=0)
    assert (left["dose_weighted"] > left["plain_sum"]).all()


def test_many_electrons_show_the_image_that_the_lens_makes(molecule):
    """At a huge dose, without ice and damage, images are those of the noiseless route but for the gun's envelopes."""
    noiseless = simulate(molecule, noise="none", solvent="vacuum")[0].images.pixels
    recorded = clean(molecule, solvent="vacuum", energy_spread_ev=0.0, convergence=1e-9)
    assert (recorded - noiseless).norm() / noiseless.norm() < 0.02
    blurred = clean(molecule, solvent="vacuum", convergence=3e-4)
    assert blurred.norm() < 0.97 * recorded.norm()


def test_the_molecule_stands_in_ice_that_it_displaces(molecule):
    vacuum, inside = (simulate(molecule, solvent=solvent)[1].volume for solvent in ("vacuum", "displaced"))
    torch.testing.assert_close(inside.voxels, displaced(molecule, vacuum).voxels)
    assert inside.voxels.sum() < 0.9 * vacuum.voxels.sum()


def test_beam_tilt_turns_phases_as_the_odd_aberrations_say(molecule):
    tilted = replace(OPTICS, aberrations=Aberrations(beam_tilt=(2e-3, 0.0)))
    straight, bent = clean(molecule, defocus_range=(2e3, 4e3)), clean(molecule, optics=tilted, defocus_range=(2e3, 4e3))
    phase = antisymmetric_phase(tilted, size=(36, 36))
    cross = (to_fourier(bent.double()) * to_fourier(straight.double()).conj()).sum(dim=0)
    strong = (cross.abs() > cross.abs().quantile(0.5)) & (frequency_radius((36, 36), pixel_size=2.2) < 0.2)
    strong[:, 0] = False
    error = torch.angle(cross * torch.polar(torch.ones_like(phase), -phase))[strong]
    assert phase[strong].abs().max() > 0.3
    assert error.abs().mean() < 0.1 * phase[strong].abs().mean() + 0.03


@pytest.mark.parametrize("camera", sorted(CAMERAS))
def test_every_camera_gives_images_with_noise_about_the_same_signal(molecule, camera):
    particles, truth = simulate(molecule, camera=camera, count=16)
    assert torch.isfinite(particles.images.pixels).all()
    assert 0.9 < (truth.noise_power[3:10].mean() / noise_deviation(OPTICS, dose=50.0) ** 2).item() < 3.0
    assert particles.images.pixels.mean().abs() < 4.0  # V Å: counts went back to volts


def test_batches_and_the_place_of_the_start_do_not_matter(molecule):
    whole, rest = Sink(), Sink()
    simulate(molecule, sink=whole, junk=0.3)
    simulate(molecule, sink=rest, start=11, junk=0.3)
    assert torch.equal(rest.images, whole.images[11:])
    other, _ = simulate(molecule, batch=24, junk=0.3)
    torch.testing.assert_close(other.images.pixels, whole.images, rtol=0, atol=1e-3)
    different, _ = simulate(molecule, seed=2, junk=0.3)
    assert not torch.equal(different.images.pixels, whole.images)


def test_the_number_of_threads_does_not_matter(molecule):
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        two = simulate(molecule)[0].images.pixels
        torch.set_num_threads(1)
        one = simulate(molecule)[0].images.pixels
    finally:
        torch.set_num_threads(threads)
    torch.testing.assert_close(one, two, rtol=0, atol=1e-3)


def test_generators_of_images_are_their_own():
    first = [torch.rand(4, generator=generator_of_image(seed, index)) for seed, index in ((5, 0), (5, 1), (6, 0), (5, 0))]
    assert torch.equal(first[0], first[3])
    assert not any(torch.equal(first[0], other) for other in first[1:3])


def test_several_specimens_occur_by_their_weights_and_are_known(molecule):
    other = cloud(9)
    particles, truth = simulate([molecule, other], weights=(1.0, 3.0), count=200, dose=1e9, damage="none", ice_thickness=0.0)
    assert (truth.class_number == 2).double().mean().item() == pytest.approx(0.75, abs=0.1)
    assert len(truth.class_volumes) == 2
    alone = clean(other, count=200)
    same = shell_correlation(particles.images.pixels, alone, dimensions=2)[:, 1:8].mean(dim=1)
    assert same[truth.class_number == 2].min() > 0.98
    assert same[truth.class_number == 1].max() < 0.95
    equal, _ = (draw_parameters(replace(SMALL, count=300), generator=generator_of(1), specimens=3).specimen, None)
    assert equal.bincount().min() > 70


def test_a_weight_of_zero_never_occurs():
    settings = replace(SMALL, count=300, weights=(1.0, 0.0))
    assert draw_parameters(settings, generator=generator_of(1), specimens=2).specimen.max() == 0


def test_junk_is_empty_ice_or_contamination_and_is_known(molecule):
    particles, truth = simulate(molecule, count=120, junk=0.5, dose=1e9, damage="none", ice_thickness=0.0)
    counts = truth.junk.bincount(minlength=3).tolist()
    assert 40 < counts[0] < 80
    assert min(counts[1:]) > 15
    assert torch.equal(truth.class_number == 0, truth.junk > 0)
    strength = particles.images.pixels.norm(dim=(1, 2))
    empty, dirty, real = strength[truth.junk == 1], strength[truth.junk == 2], strength[truth.junk == 0]
    assert empty.max() < 0.05 * real.min()
    assert dirty.median() > real.median() / 3
    whole = clean(molecule, count=120)
    torch.testing.assert_close(
        particles.images.pixels[truth.junk == 0], whole[truth.junk == 0], rtol=0, atol=0.02 * whole.abs().max().item()
    )


@pytest.mark.parametrize("scattering", ["phase_grating", "ewald", "multislice"])
def test_other_models_of_scattering_agree_where_the_specimen_is_weak_and_thin(molecule, scattering):
    weak, strong = (clean(molecule, count=4, scattering=how) for how in ("weak_phase", scattering))
    band = shell_correlation(weak, strong, dimensions=2)[:, 1:9].mean()  # to 1/9 Å
    assert band > 0.97
    assert 0.005 < (strong - weak).norm() / weak.norm() < 0.4


def test_multislice_particles_have_ice_and_counts_too(molecule):
    one, truth = simulate(molecule, count=3, scattering="multislice", ice_thickness=60.0, junk=0.4)
    again, _ = simulate(molecule, count=3, scattering="multislice", ice_thickness=60.0, junk=0.4, batch=1)
    torch.testing.assert_close(one.images.pixels, again.images.pixels, rtol=0, atol=1e-3)
    assert truth.noise_power[5] > noise_deviation(OPTICS, dose=50.0) ** 2 * 0.6


@pytest.mark.filterwarnings("default:the CTF of .* aliases")
def test_a_box_too_small_for_the_defocus_is_told_with_the_box_needed(molecule):
    with pytest.warns(CryowalkWarning, match="aliases in a box of 36 pixels.* a box of 72 pixels"):
        simulate(molecule, count=2, defocus_range=(15000.0, 18000.0), astigmatism=0.0)


def test_wrong_requests_are_refused(molecule):
    for choices, word in (
        ({"camera": "polaroid"}, "polaroid"),
        ({"ice_thickness": -1.0}, "ice_thickness"),
        ({"junk": 1.5}, "junk"),
        ({"weights": (1.0, 2.0)}, "weights"),
        ({"weights": (0.0,)}, "weights"),
        ({"scattering": "multislice", "snr": 0.1}, "scattering"),
        ({"slice_thickness": 0.0}, "slice_thickness"),
        ({"convergence": -1.0}, "convergence"),
    ):
        with pytest.raises(UsageError, match=word):
            simulate(molecule, **choices)
    stretched = replace(OPTICS, aberrations=Aberrations(magnification=(1.02, 0.0, 0.0, 1.0)))
    with pytest.raises(UsageError, match="magnification"):
        simulate(molecule, optics=stretched)
    with pytest.raises(UsageError, match="no specimen"):
        simulate([])
