"""The operators of motion correction: reading an image at displaced places, and making a frame half as fine."""

from cryowalk.motion.frames import halved
from cryowalk.numerics.warping import warp

from .registry import BOXES_2D, Operator


def displaced(interpolation):
    def build(setting):
        field = 2 * setting.like((2, 6), seed=11).double()
        return lambda x: warp(x, field, interpolation=interpolation)

    return build


OPERATORS = [
    # A frame at a time: a movie is streamed, and each frame has a field of its own.
    Operator(name="cubic warp", build=displaced("cubic"), has_batch=False),
    Operator(name="linear warp", build=displaced("linear"), has_batch=False),
    Operator(name="halved frame", build=lambda setting: halved, sizes=BOXES_2D, has_batch=False, has_gradient=False),
]
