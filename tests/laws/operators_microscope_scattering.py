"""The operators of scattering: free space, slices of a turned volume, and images of exit waves."""

import torch

from cryowalk.data import Pose
from cryowalk.data.optics import Defocus, Optics
from cryowalk.microscope.image_formation import image_of_wave
from cryowalk.microscope.multislice import propagate
from cryowalk.microscope.scattering import exit_wave, slices_of_volume

from .operators_fourier import PIXEL, poses, volume_of
from .registry import CUBES, Operator, Setting

OPTICS = Optics(pixel_size=PIXEL, amplitude_contrast=0.08)
SLICES = 3


def through_space(setting: Setting, sign: int = 1):
    """The real part of a real wave after 200 Å of free space."""
    del setting
    return lambda x: propagate(x.to(x.dtype.to_complex()), optics=OPTICS, distance=sign * 200.0).real.clone()


def sliced(setting: Setting):
    pose = Pose(lab_from_particle=poses(setting, 2), shift=setting.like((2, 2), seed=9))
    return lambda x: slices_of_volume(volume_of(x), pose, slice_thickness=2.9)


def image(method):
    """The image of slices of some 0.1 rad each."""

    def build(setting: Setting):
        major = torch.tensor(6000.0, dtype=setting.dtype, device=setting.device)
        defocus = Defocus(major=major, minor=major - 200, azimuth=0 * major + 0.3, phase_shift=0 * major)

        def apply(x):
            wave = exit_wave(100 * x, optics=OPTICS, slice_thickness=20.0, method=method)
            return image_of_wave(wave, OPTICS, defocus)

        return apply

    return build


OPERATORS = [
    Operator(name="free space", build=through_space, adjoint=lambda s: through_space(s, -1)),
    # A map is one volume: there is no stack of maps. In single precision the non-uniform transform is good to 1e-5 of the largest coefficient.
    Operator(name="slices of volume", build=sliced, sizes=CUBES, has_batch=False),
    *(
        Operator(name=f"image by {method}", build=image(method), batch=(SLICES,), is_linear=False)
        for method in ("weak_phase", "phase_grating", "ewald", "multislice")
    ),
]
