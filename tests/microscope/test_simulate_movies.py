"""Simulated movies: frames move as the truth says, fade with dose, and their raw counts need the gain reference."""

from dataclasses import replace

import pytest
import torch

from cryowalk.core.errors import UsageError
from cryowalk.data.atoms import Atoms
from cryowalk.data.motion import Motion
from cryowalk.data.optics import Optics
from cryowalk.fourier.filters import shift_images
from cryowalk.fourier.transform import to_fourier, to_real
from cryowalk.microscope import absorption
from cryowalk.microscope.beam_motion import displacement, displacement_field
from cryowalk.microscope.camera import corrected, gain_reference
from cryowalk.microscope.micrograph_settings import MovieSimulationSettings
from cryowalk.microscope.simulate.movies import Sensor, canvas_displacement, movie_camera, simulate_movie
from cryowalk.microscope.simulate.scene import Canvas
from cryowalk.microscope.simulate.specimens import Source, prepare_specimens
from cryowalk.numerics.random import generator as generator_of

OPTICS = Optics(pixel_size=2.1)
PLAIN = MovieSimulationSettings(size=(300, 260), particles=10, ice_thickness=200.0, camera="ideal", frames=6, dose=30.0)


class Frames:
    """A sink that keeps frames."""

    def __init__(self):
        self.kept = []

    def write(self, images):
        self.kept += list(images.clone())

    @property
    def stack(self):
        return torch.stack(self.kept)


@pytest.fixture(scope="module")
def specimens():
    source = generator_of(4)
    atoms = Atoms(
        positions=(11 * torch.randn(700, 3, generator=source, dtype=torch.float64)).clamp(-24, 24),
        atomic_numbers=torch.full((700,), 6),
        b_factors=torch.full((700,), 150.0, dtype=torch.float64),
        occupancies=torch.ones(700, dtype=torch.float64),
    )
    return prepare_specimens([Source(structure=atoms, name="blob")], OPTICS)


def simulate(specimens, *, seed=3, sensor=None, settings=PLAIN, **choices):
    frames = Frames()
    truth = simulate_movie(
        specimens, OPTICS, generator=generator_of(seed), sink=frames, settings=settings, sensor=sensor, **choices
    )
    return frames.stack, truth


def test_frames_share_the_dose_and_count_whole_electrons(specimens):
    frames, truth = simulate(specimens)
    assert frames.shape == (6, 260, 300)
    passed = absorption.transmitted_fraction(200.0, voltage_kv=300.0)
    assert float(frames.double().mean()) == pytest.approx(30 / 6 * 2.1**2 * passed, rel=5e-3)
    assert torch.equal(frames, frames.round())
    assert truth.motion.global_displacement.shape == (6, 2)
    assert truth.extra["frames"] == 6
    k3, _ = simulate(specimens, camera="k3")
    assert torch.equal(k3, k3.round())


def test_the_sum_of_frames_of_an_empty_field_is_poisson(specimens):
    frames, _ = simulate(specimens, particles=0, ice="smooth", size=(400, 400))
    total = frames.sum(dim=0).double()
    assert float(total.var() / total.mean()) == pytest.approx(1, abs=0.02)


def peak(first, second, *, pixel_size=2.1):
    """The shift (x, y) in Å that takes the first image to the second: the peak of their band-passed correlation, to a fraction of a pixel."""
    size = first.shape
    spectra = [to_fourier((image - image.mean()).double()) for image in (first, second)]
    product = spectra[1] * spectra[0].conj()
    surface = to_real(product, width=size[1])
    middle = (size[0] // 2, size[1] // 2)
    window = surface[middle[0] - 8 : middle[0] + 9, middle[1] - 8 : middle[1] + 9]
    row, column = divmod(int(window.argmax()), 17)
    row, column = min(max(row, 1), 15), min(max(column, 1), 15)

    def vertex(low, centre, high):
        return float(0.5 * (low - high) / (low - 2 * centre + high))

    across = vertex(window[row, column - 1], window[row, column], window[row, column + 1])
    along = vertex(window[row - 1, column], window[row, column], window[row + 1, column])
    return torch.tensor([column - 8 + across, row - 8 + along]) * pixel_size


def test_frames_move_as_the_truth_says(specimens):
    """Noiseless frames are displaced against the first by the motion's own global displacement."""
    choices = {"noise": "none", "damage": "none", "local_motion": 0.0, "doming": 0.0, "early_motion": 15.0, "drift": 0.3}
    frames, truth = simulate(specimens, ice="smooth", margin=30.0, **choices)
    moved = truth.motion.global_displacement
    assert float(moved.norm(dim=1).max()) > 5
    for frame in (2, 5):
        assert torch.allclose(peak(frames[1], frames[frame]).double(), moved[frame] - moved[1], atol=0.15)


def test_ice_moves_with_the_specimen_and_is_stirred(specimens):
    choices = {"noise": "none", "particles": 0, "local_motion": 0.0, "doming": 0.0, "early_motion": 9.0, "dose": 3.0}
    frames, truth = simulate(specimens, **choices)
    moved = truth.motion.global_displacement
    assert torch.allclose(peak(frames[1], frames[3]).double(), moved[3] - moved[1], atol=0.15)

    def likeness(first, second):
        back = shift_images(frames[second].double(), moved[first] - moved[second], pixel_size=2.1)
        a, b = (image - image.mean() for image in (frames[first].double(), back))
        inner = (slice(20, -20), slice(20, -20))
        return float((a[inner] * b[inner]).sum() / (a[inner].norm() * b[inner].norm()))

    assert 0.9 > likeness(1, 3) > likeness(1, 5) > 0.02


def test_each_particle_moves_by_the_field_at_its_own_place(specimens):
    choices = {
        "noise": "none",
        "ice": "smooth",
        "damage": "none",
        "margin": 60.0,
        "gap": 40.0,
        "particles": 4,
        "local_motion": 16.0,
    }
    frames, truth = simulate(specimens, depth="flat", **choices)
    moved = displacement(truth.motion, truth.positions[:, :2])
    assert float((moved[5] - moved[5].mean(dim=0)).norm(dim=1).max()) > 2
    for number, (x, y) in enumerate(torch.floor(truth.coordinates + 0.5).long().tolist()):
        cut = (slice(y - 22, y + 22), slice(x - 22, x + 22))
        found = peak(frames[2][cut], frames[5][cut])
        assert torch.allclose(found.double(), moved[5, number] - moved[2, number], atol=0.4)


def test_the_field_on_the_canvas_is_that_on_the_micrograph():
    source = generator_of(2)
    motion = Motion(
        global_displacement=torch.randn(3, 2, generator=source, dtype=torch.float64),
        local=torch.randn(3, 2, 5, generator=source, dtype=torch.float64),
        field=(300 * 2.1, 260 * 2.1),
    )
    canvas = Canvas(size=(320, 375), inner=(260, 300), pixel_size=2.1)
    on_canvas = canvas.crop(canvas_displacement(motion, 2, canvas=canvas)) * 2.1
    expected = displacement_field(motion, 2, size=(260, 300), pixel_size=2.1)
    assert torch.allclose(on_canvas.double(), expected, atol=1e-5)


def test_the_specimen_fades_with_dose(specimens):
    choices = {"noise": "none", "ice": "smooth", "motion": "none", "dose": 120.0, "b_factor": 0.0}
    frames, truth = simulate(specimens, **choices)
    assert truth.motion is None
    deviation = (frames - frames.mean(dim=(1, 2), keepdim=True)).std(dim=(1, 2))
    assert bool((deviation.diff() < 0).all())
    still, _ = simulate(specimens, **choices, damage="none")
    assert torch.allclose(still[0], still[5])


def test_raw_frames_need_the_gain_reference(specimens):
    gain = gain_reference((260, 300), deviation=0.1, generator=generator_of(8))
    raw, _ = simulate(specimens, sensor=Sensor(gain_reference=gain), particles=0, ice="smooth", dose=600.0)
    assert torch.equal(raw, raw.round())
    total = raw.sum(dim=0)
    assert float(total.std() / total.mean()) > 0.09
    whole = corrected(total, gain)
    assert float(whole.std() / whole.mean()) < 0.03


def test_the_same_generator_gives_the_same_frames(specimens):
    first, truth = simulate(specimens)
    second, _ = simulate(specimens)
    assert torch.equal(first, second)
    longer, _ = simulate(specimens, seed=4)
    assert not torch.equal(first, longer)
    assert torch.equal(truth.motion.global_displacement[0], torch.zeros(2, dtype=torch.float64))


def test_super_resolution_is_the_same_camera_on_a_finer_grid():
    camera = movie_camera(replace(PLAIN, camera="k3", super_resolution="2"))
    assert camera.sampling == 2
    assert camera.model == "events"


@pytest.mark.parametrize(
    ("choices", "message"),
    [({"scattering": "multislice"}, "scattering model projection"), ({"noise": "none", "format": "eer"}, "counted electrons")],
)
def test_what_a_movie_cannot_be_is_told(specimens, choices, message):
    with pytest.raises(UsageError, match=message):
        simulate(specimens, **choices)
