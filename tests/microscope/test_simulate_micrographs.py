"""Simulated micrographs: electrons are counted right, particles are where the truth says with the CTF it states, and rings lie where they must."""

from dataclasses import replace

import pytest
import torch

from cryowalk.core.errors import CryowalkWarning, InputError, UsageError
from cryowalk.data.atoms import Atoms
from cryowalk.data.optics import Optics
from cryowalk.data.pose import Pose
from cryowalk.fourier.grids import frequency_radius
from cryowalk.fourier.shells import shell_average, shell_frequency
from cryowalk.fourier.transform import resize, to_fourier, to_real
from cryowalk.microscope import absorption
from cryowalk.microscope.lens import aberration_phase, contrast_transfer
from cryowalk.microscope.micrograph_settings import MicrographSimulationSettings
from cryowalk.microscope.scattering import project
from cryowalk.microscope.simulate.background import draw_grain, with_grain
from cryowalk.microscope.simulate.drawing import draw, warn_of_strength
from cryowalk.microscope.simulate.instrument import fading
from cryowalk.microscope.simulate.micrographs import simulate_micrograph
from cryowalk.microscope.simulate.scene import Layers, View, project_particles, spectra_of
from cryowalk.microscope.simulate.slabs import slab_of, thick_slices
from cryowalk.microscope.simulate.specimens import Source, Specimens, prepare_specimens
from cryowalk.numerics.random import generator as generator_of

OPTICS = Optics(pixel_size=2.1)
SIZE = (360, 300)  # width and height
PLAIN = MicrographSimulationSettings(size=SIZE, particles=12, ice_thickness=200.0, camera="ideal")
CLEAN = replace(PLAIN, noise="none", ice="smooth", damage="none", b_factor=0.0, convergence=0.0, energy_spread_ev=0.0)


def molecule(*, seed=4, spread=11.0, count=700):
    source = generator_of(seed)
    return Atoms(
        positions=(spread * torch.randn(count, 3, generator=source, dtype=torch.float64)).clamp(-24, 24),
        atomic_numbers=torch.full((count,), 6),
        b_factors=torch.full((count,), 150.0, dtype=torch.float64),
        occupancies=torch.ones(count, dtype=torch.float64),
    )


@pytest.fixture(scope="module")
def specimens() -> Specimens:
    return prepare_specimens([Source(structure=molecule(), name="blob")], OPTICS)


def simulate(specimens, settings=PLAIN, *, seed=3, **choices):
    return simulate_micrograph(specimens, OPTICS, generator=generator_of(seed), settings=settings, **choices)


def test_electrons_in_a_pixel_are_dose_times_area_times_what_the_ice_lets_through(specimens):
    micrograph, truth = simulate(specimens, dose=37.0, size=(500, 440), particles=4)
    assert micrograph.pixels.shape == (440, 500)
    assert truth.size == (440, 500)
    passed = absorption.transmitted_fraction(200.0, voltage_kv=300.0)
    expected = 37.0 * 2.1**2 * passed
    assert float(micrograph.pixels.double().mean()) == pytest.approx(expected, rel=5e-3)
    assert bool((micrograph.pixels == micrograph.pixels.round()).all())  # an ideal camera counts
    unfiltered, _ = simulate(specimens, dose=37.0, size=(500, 440), particles=4, energy_filter="none")
    assert float(unfiltered.pixels.double().mean()) == pytest.approx(37.0 * 2.1**2, rel=5e-3)


def test_counting_noise_is_poisson(specimens):
    empty, _ = simulate(specimens, particles=0, ice="smooth", dose=20.0)
    assert float(empty.pixels.double().var() / empty.pixels.double().mean()) == pytest.approx(1, abs=0.02)
    k3, _ = simulate(specimens, particles=0, ice="smooth", dose=20.0, camera="k3")
    assert float(k3.pixels.double().mean()) == pytest.approx(float(empty.pixels.double().mean()), rel=2e-3)


def test_no_two_particles_overlap_and_all_lie_in_the_ice(specimens):
    _, truth = simulate(specimens, particles=20, adsorbed_fraction=0.5)
    assert len(truth) == 20
    distance = torch.cdist(truth.positions[:, :2], truth.positions[:, :2]) + 1e6 * torch.eye(20, dtype=torch.float64)
    assert float(distance.min()) >= 2 * float(truth.radius[0])
    assert float((truth.positions[:, 2].abs() + truth.radius).max()) <= 100 + 1e-6
    assert 3 <= int((truth.side != 0).sum()) <= 17


def correlation(first, second):
    first, second = first - first.mean(), second - second.mean()
    return float((first * second).sum() / (first.norm() * second.norm()))


@pytest.mark.parametrize("scattering", ["projection", "phase_grating", "ewald", "multislice"])
def test_at_each_true_place_is_the_true_projection_with_the_stated_ctf(specimens, scattering):
    """The image about a particle is 1 − 2σ · CTF ∗ projection in the pose, at the place and with the defocus of the truth."""
    micrograph, truth = simulate(
        specimens, CLEAN, scattering=scattering, particles=5, gap=60.0, margin=90.0, slice_thickness=25.0
    )
    box, canvas = 60, 200
    volume = specimens.volumes[0]
    for number in range(len(truth)):
        place = truth.coordinates[number]
        pixel = torch.floor(place + 0.5).long()
        rest = (place - pixel) * OPTICS.pixel_size
        cut = micrograph.pixels[pixel[1] - box // 2 : pixel[1] + box // 2, pixel[0] - box // 2 : pixel[0] + box // 2]
        pose = Pose(lab_from_particle=truth.lab_from_particle[[number]].float(), shift=rest[None].float())
        spectrum = to_fourier(resize(project(volume, pose), canvas))
        transfer = contrast_transfer(OPTICS, truth.particle_defocus[torch.tensor([number])], size=(canvas, canvas))
        image = resize(to_real(spectrum * transfer.float(), width=canvas), box)[0]
        # Multislice keeps only two thirds of Nyquist, and neighbours' fringes reach in.
        assert correlation(-cut, image) > (0.99 if scattering == "projection" else 0.97)


def test_models_of_scattering_agree_for_a_thin_weak_specimen(specimens):
    """The models of one scene differ by little; multislice by what it cuts away beyond two thirds of Nyquist."""
    images = {}
    for scattering in ("projection", "phase_grating", "ewald", "multislice"):
        micrograph, _ = simulate(specimens, CLEAN, scattering=scattering, particles=5, slice_thickness=25.0)
        images[scattering] = micrograph.pixels - micrograph.pixels.mean()
    for scattering in ("ewald", "multislice", "phase_grating"):
        difference = float((images[scattering] - images["projection"]).norm() / images["projection"].norm())
        assert 1e-4 < difference < 0.2, (scattering, difference)


def test_slices_add_up_to_the_projection(specimens):
    settings = replace(CLEAN, particles=4, slice_thickness=17.0)
    drawing = draw(specimens, OPTICS, settings, generator=generator_of(5))
    slab = slab_of(drawing, thickness=17.0)
    whole = sum(thick_slices(drawing, settings, slab=slab, amplitude=None))
    flat = project_particles(drawing.scene, canvas=drawing.canvas, view=View(is_flat=True)).in_phase
    assert correlation(whole, flat) > 0.999
    assert float(whole.double().sum()) == pytest.approx(float(flat.double().sum()), rel=0.02)


def test_thon_rings_of_ice_lie_where_the_ctf_has_its_extrema(specimens):
    """Minima of the power spectrum of empty thin ice lie at the zeros of the CTF to a shell or two."""
    optics = Optics(pixel_size=1.4)
    choices = {"size": (1024, 1024), "particles": 0, "astigmatism": 0.0, "ice_thickness": 150.0, "noise": "none", "b_factor": 0.0}
    micrograph, truth = simulate_micrograph(specimens_at(optics), optics, generator=generator_of(4), settings=PLAIN, **choices)
    power = shell_average(to_fourier(micrograph.pixels).abs().square().double(), size=(1024, 1024))
    frequency = shell_frequency(1024, pixel_size=1.4).double()
    phase = aberration_phase(frequency, torch.zeros_like(frequency), optics=optics, defocus=truth.defocus) + torch.asin(
        torch.tensor(optics.amplitude_contrast, dtype=torch.float64)
    )
    turns = torch.floor(phase / torch.pi)
    crossings = torch.nonzero((turns[1:] != turns[:-1]) & (frequency[1:] > 0.04) & (frequency[1:] < 0.2))[:, 0]
    assert len(crossings) > 8
    for shell in crossings.tolist():
        near = power[shell - 4 : shell + 6]
        assert abs(int(near.argmin()) - 4) <= 2
        assert float(near.min()) < 0.1 * float(power[shell - 12 : shell + 13].max())


def specimens_at(optics):
    return prepare_specimens([Source(structure=molecule(), name="blob")], optics)


def test_thick_ice_fills_the_zeros(specimens):
    """Over a slab the grain's defocus spreads: its two layers have ½(1 ± sinc λtk²) of the power."""
    drawing = draw(specimens, OPTICS, replace(PLAIN, ice_thickness=3000.0, particles=0), generator=generator_of(5))
    grain = draw_grain(drawing.canvas, thickness=drawing.thickness, optics=OPTICS, generator=generator_of(6))
    assert grain.second is not None
    nothing = torch.zeros(drawing.canvas.size)
    spectra = with_grain(
        spectra_of(Layers(nothing, nothing.clone())), grain, canvas=drawing.canvas, thickness=drawing.thickness, optics=OPTICS
    )
    radius = frequency_radius(drawing.canvas.size, pixel_size=2.1)
    ring = (radius > 0.135) & (radius < 0.145)
    correlation_in_depth = float(torch.sinc(OPTICS.wavelength * 3000.0 * radius[ring] ** 2).mean())
    shares = [float(part[ring].abs().square().mean()) for part in spectra]
    assert shares[0] / sum(shares) == pytest.approx((1 + correlation_in_depth) / 2, abs=0.02)
    thin = draw(specimens, OPTICS, replace(PLAIN, ice_thickness=75.0, particles=0), generator=generator_of(5))
    assert draw_grain(thin.canvas, thickness=thin.thickness, optics=OPTICS, generator=generator_of(6)).second is None


def test_the_same_generator_gives_the_same_micrograph_and_parts_do_not_disturb_each_other(specimens):
    first, truth = simulate(specimens)
    second, _ = simulate(specimens)
    assert torch.equal(first.pixels, second.pixels)
    other, other_truth = simulate(specimens, seed=4)
    assert not torch.equal(first.pixels, other.pixels)
    assert not torch.equal(truth.positions, other_truth.positions)
    _, changed = simulate(specimens, camera="k3", dose=11.0, ice="smooth", damage="none", scattering="phase_grating")
    assert torch.equal(truth.positions, changed.positions)
    assert torch.equal(truth.defocus.major, changed.defocus.major)


def test_each_particle_has_the_defocus_of_its_height(specimens):
    _, truth = simulate(specimens, ice_thickness=900.0)
    assert torch.allclose(truth.particle_defocus.major - truth.defocus.major, truth.positions[:, 2])
    assert float(truth.positions[:, 2].abs().max()) > 100
    _, flat = simulate(specimens, ice_thickness=900.0, depth="flat")
    assert torch.equal(flat.particle_defocus.minor, flat.defocus.minor.expand(len(flat)))
    low, high = PLAIN.defocus_range
    assert low - 1000 < float(truth.defocus.major) < high + 1000


def test_damage_lowers_fine_detail_and_weights_win_some_of_it_back():
    frequency = torch.tensor([0.0, 0.05, 0.2, 0.33], dtype=torch.float64)
    weighted = fading(replace(PLAIN, damage="dose_weighted", dose=50.0), voltage_kv=300.0)(frequency)
    plain = fading(replace(PLAIN, damage="plain_sum", dose=50.0), voltage_kv=300.0)(frequency)
    assert float(plain[0]) == float(weighted[0]) == 1
    assert bool((plain[1:] < weighted[1:]).all())
    assert bool((plain.diff() < 0).all())
    assert fading(replace(PLAIN, damage="none"), voltage_kv=300.0) is None


def test_support_and_contamination_are_there_and_particles_avoid_them(specimens):
    choices = {"hole_radius": 2000.0, "carbon_thickness": 150.0, "particles": 6, "noise": "none"}
    micrograph, truth = simulate(specimens, support="carbon", **choices)
    clean, _ = simulate(specimens, support="none", **choices)
    covered = micrograph.pixels < 0.93 * clean.pixels.mean()
    assert 0.1 < float(covered.double().mean()) < 0.8
    places = torch.floor(truth.coordinates + 0.5).long().clamp_min(0)
    blurred = torch.nn.functional.avg_pool2d(micrograph.pixels[None, None], 15, stride=1, padding=7)[0, 0]
    assert float(blurred[places[:, 1].clamp(max=299), places[:, 0].clamp(max=359)].min()) > 0.85 * float(clean.pixels.mean())
    assert truth.contaminants is None
    dirty, truth = simulate(specimens, ice_crystals=2, aggregates=1, particles=3)
    assert truth.contaminants.kind == ("ice crystal", "ice crystal", "aggregate")
    assert not torch.equal(dirty.pixels, simulate(specimens, particles=3)[0].pixels)
    graphene, _ = simulate(specimens, support="graphene")
    assert not torch.equal(graphene.pixels, simulate(specimens)[0].pixels)


def test_a_gradient_of_thickness_shows_in_the_brightness_and_in_the_truth(specimens):
    micrograph, truth = simulate(specimens, particles=0, thickness_gradient=(0.3, 0.0), dose=100.0, ice="smooth")
    columns = micrograph.pixels.double().mean(dim=0)
    assert float(columns[:60].mean()) > 1.03 * float(columns[-60:].mean())
    places = torch.tensor([[0.0, 300.0], [378.0, 300.0], [756.0, 20.0]], dtype=torch.float64)
    assert truth.thickness_at(places).tolist() == pytest.approx([200 - 0.3 * 378, 200, 200 + 0.3 * 378], abs=0.5)


def test_several_kinds_occur_by_weight():
    sources = [Source(structure=molecule(), weight=3.0, name="a"), Source(structure=molecule(seed=9), weight=1.0, name="b")]
    _, truth = simulate(prepare_specimens(sources, OPTICS), size=(700, 700), particles=80)
    assert truth.specimen_names == ("a", "b")
    assert 45 <= int((truth.specimen == 0).sum()) <= 72


def test_truth_is_a_particle_set(specimens):
    _, truth = simulate(specimens, name="one.mrc")
    particles = truth.particles()
    assert len(particles) == 12
    assert set(particles.micrograph_names) == {"one.mrc"}
    assert torch.allclose(particles.coordinates * 2.1, truth.positions[:, :2])
    near = truth.distance_to_border()
    assert float(near.min()) >= 0
    assert float(near.max()) <= 150 * 2.1


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({"dose": 0.0}, "dose must be above zero"),
        ({"dose": float("nan")}, "dose must be above zero"),
        ({"ice_thickness": -5.0}, "ice_thickness must be above zero"),
        ({"ice_thickness": 40.0}, "does not fit into it"),
        ({"particles": 5000}, "the field holds"),
        ({"defocus_range": (2e4, 1e4)}, "from a smaller to a larger"),
        ({"camera": "k9"}, "no camera 'k9'"),
        ({"size": (4, 400)}, "size must lie"),
        ({"particles": 3, "concentration": 1.0}, "both a number"),
        ({"wrong": 1}, "no simulation setting wrong"),
    ],
)
def test_what_cannot_be_meant_is_told(specimens, choices, message):
    with pytest.raises(UsageError, match=message):
        simulate(specimens, **choices)


def test_a_specimen_larger_than_the_field_is_told(specimens):
    with pytest.raises(InputError, match="larger than the field"):
        simulate(specimens, size=(32, 300))


def test_a_map_that_is_not_in_volts_is_told(specimens, recwarn):
    warn_of_strength(specimens, OPTICS)
    assert not recwarn.list
    volume = replace(specimens.volumes[0], voxels=specimens.volumes[0].voxels * 1e5)
    with pytest.warns(CryowalkWarning, match=r"“blob” turns the phase of the wave by .* is the map in volts"):
        warn_of_strength(replace(specimens, volumes=(volume,)), OPTICS)
