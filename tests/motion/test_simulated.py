"""Movies of the simulator: particles in ice that is stirred, damage, a lens, a counting camera; their motion is known."""

import pytest
import torch
from tests.motion.conftest import error

from cryowalk import Optics, microscope
from cryowalk.data import ImageStack, Motion
from cryowalk.microscope import solvent
from cryowalk.microscope.simulate.movies import simulate_movie
from cryowalk.microscope.simulate.specimens import Source, prepare_specimens
from cryowalk.motion import AlignmentSettings, estimate_motion

PIXEL, FRAMES = 1.5, 20
WHOLE = AlignmentSettings(patches=(1, 1))


class Frames(list):
    def write(self, images):
        self.extend(images.float())


@pytest.fixture(scope="module")
def simulated():
    """The expected frames of a movie of 1 e⁻/Å² a frame, and its motion: the whole field's alone."""
    optics = Optics(pixel_size=PIXEL, voltage_kv=300.0, spherical_aberration_mm=2.7, amplitude_contrast=0.1)
    specimens = prepare_specimens([Source(structure=microscope.hinge())], optics, dress=solvent.displaced)
    kept = Frames()
    truth = simulate_movie(
        specimens, optics, generator=torch.Generator().manual_seed(4), sink=kept, size=(1024, 1024), frames=FRAMES, dose=1.0 * FRAMES,
        particles=70, noise="none", camera="ideal", defocus_range=(20000.0, 20000.0), early_motion=8.0, drift=0.2, local_motion=0.0, doming=0.0,
    )  # fmt: skip
    return torch.stack(list(kept)), truth.motion


def still(truth):
    return Motion(global_displacement=0 * truth.global_displacement, field=truth.field)


def test_without_noise_it_is_found_to_a_tenth_of_a_pixel(simulated):
    expected, truth = simulated
    found = estimate_motion(ImageStack(pixels=expected, pixel_size=PIXEL), WHOLE, pixel_size=PIXEL)
    assert error(found.motion, truth, PIXEL) < 0.1


def test_at_one_electron_a_frame_it_is_found_to_a_third_of_a_pixel(simulated):
    expected, truth = simulated
    counted = torch.poisson(expected, generator=torch.Generator().manual_seed(5))
    found = estimate_motion(ImageStack(pixels=counted, pixel_size=PIXEL), WHOLE, pixel_size=PIXEL)
    miss = error(found.motion, truth, PIXEL)
    assert miss < 0.3
    assert 0.3 < miss / (float(found.precision.median()) / PIXEL) < 3
    patched = estimate_motion(ImageStack(pixels=counted, pixel_size=PIXEL), AlignmentSettings(), pixel_size=PIXEL)
    assert error(patched.motion, truth, PIXEL) < 0.5
    assert error(patched.motion, truth, PIXEL) < 0.5 * error(still(truth), truth, PIXEL)
