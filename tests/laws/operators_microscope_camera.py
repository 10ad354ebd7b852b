"""The camera's linear parts: the expected image, binning, and gain correction."""

from cryowalk.data.camera import Camera, Response
from cryowalk.microscope.camera import binned, corrected, expected_image

from .registry import Operator

CURVE = Response(frequency=(0.0, 0.2, 0.5), value=(1.0, 0.8, 0.4))


def expected(camera):
    # Filters with real, even transforms are their own adjoints.
    return lambda setting: lambda x: expected_image(x, camera)


def binning(setting):
    return lambda x: binned(x, 1)


def gain(setting):
    reference = 1 + 0.1 * setting.like(setting.size, seed=7).tanh()
    return lambda x: corrected(x, reference)


def gain_with_defects(setting):
    reference = 1 + 0.1 * setting.like(setting.size, seed=7).tanh()
    reference = reference.masked_fill(setting.like(setting.size, seed=8) > 1.2, 0.0)
    return lambda x: corrected(x, reference)


def halves(setting):
    return lambda x: binned(x, 2)


OPERATORS = [
    Operator(
        name="expected_image, curve", build=expected(Camera(mtf=CURVE, gain=3.0)), adjoint=expected(Camera(mtf=CURVE, gain=3.0))
    ),
    Operator(
        name="expected_image, square pixel",
        build=expected(Camera(pixel="square", sampling=2)),
        adjoint=expected(Camera(pixel="square", sampling=2)),
    ),
    Operator(name="expected_image, ideal", build=expected(Camera(gain=2.0)), adjoint=expected(Camera(gain=2.0))),
    Operator(name="corrected", build=gain, adjoint=gain),
    Operator(name="corrected, defects", build=gain_with_defects),
    Operator(name="binned by 1", build=binning, adjoint=binning),
    Operator(name="binned by 2", build=halves, sizes=((8, 8), (10, 12)), output_size=lambda size: (size[0] // 2, size[1] // 2)),
]
