"""What keeps classes in order between iterations: their middles in the middle, and empty ones filled from the fullest."""

import math
from dataclasses import replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from cryowalk.classification.model import ClassModel
from cryowalk.data import Pose
from cryowalk.fourier.filters import low_pass, shift_images
from cryowalk.inference.class_sums import ClassSums
from cryowalk.numerics.masks import soft_circle

_THRESHOLD = 0.25  # of the largest value: what is denser is the particle
_SMOOTH = 8.0  # pixels of the finest detail that a middle is looked for in
_APART = 0.2  # how far the halves of a divided class are moved from it, in standard deviations of its image


def middles(images: Float[Tensor, "classes h w"], *, diameter: float, pixel_size: float) -> Float[Tensor, "classes 2"]:
    """Where the centre of mass of what is dense lies, (x, y) in Å from the origin pixel; 0 for an empty class."""
    box = images.shape[-1]
    mask = soft_circle(box, radius=diameter / 2, edge=pixel_size, pixel_size=pixel_size, dtype=images.dtype, device=images.device)
    smooth = low_pass(images, resolution=_SMOOTH * pixel_size, pixel_size=pixel_size) * mask
    peak = smooth.flatten(1).amax(dim=1)
    dense = torch.where(smooth > _THRESHOLD * peak[:, None, None], smooth, torch.zeros_like(smooth)).clamp_min(0)
    axis = (torch.arange(box, dtype=images.dtype, device=images.device) - box // 2) * pixel_size
    mass = dense.sum(dim=(1, 2))
    place = torch.stack([(dense.sum(dim=1) * axis).sum(dim=1), (dense.sum(dim=2) * axis).sum(dim=1)], dim=-1)
    return torch.where(mass[:, None] > 0, place / mass.clamp_min(1e-30)[:, None], torch.zeros_like(place))


def centred(model: ClassModel, pose: Pose, label: Int[Tensor, " n"], *, diameter: float) -> tuple[ClassModel, Pose, Tensor]:
    """The classes moved by minus the middle of their mass, their members' places with them, and those middles (Å).

    A point s of the class lies at R s in an image, so a member's shift grows by R s.
    """
    away = middles(model.images, diameter=diameter, pixel_size=model.pixel_size)
    images = shift_images(model.images, -away, pixel_size=model.pixel_size)
    rotations = pose.lab_from_particle
    known = label >= 0
    step = away.to(rotations)[label.clamp_min(0)]
    moved = (rotations[:, :2, :2] @ step[:, :, None])[:, :, 0]
    shift = pose.shift + torch.where(known[:, None], moved, torch.zeros_like(moved)).to(pose.shift)
    return replace(model, images=images), Pose(lab_from_particle=rotations, shift=shift), away


def move_sums(sums: ClassSums, move: Float[Tensor, "classes 2"], *, pixel_size: float) -> None:
    """Move what has been summed of each class by (x, y) in Å, in place."""
    grid = sums.grid
    axis = torch.arange(-grid.margin, grid.margin + 1, device=sums.sums.device, dtype=torch.float32) / grid.ratio
    step = (move / (grid.box * pixel_size)).to(axis)
    turns = step[:, 0, None, None] * axis + step[:, 1, None, None] * axis[:, None]
    phase = torch.polar(torch.ones_like(turns), -2 * math.pi * turns)
    moved = torch.complex(sums.sums[..., 0], sums.sums[..., 1]) * phase
    sums.sums[..., 0], sums.sums[..., 1] = moved.real, moved.imag


def refilled(model: ClassModel, *, images: int, generator: torch.Generator) -> tuple[ClassModel, int]:
    """The classes with each empty one made half of the fullest, both a little apart, and how many that were.

    `images` is how many images the occupancies stand for.
    """
    empty = torch.nonzero(model.is_empty(images))[:, 0].tolist()
    averages, occupancy = model.images.clone(), model.occupancy.clone()
    filled = 0
    for number in empty:
        fullest = int(occupancy.argmax())
        if float(occupancy[fullest]) * images < 2:
            break
        whole = averages[fullest]
        apart = torch.randn(whole.shape, generator=generator).to(whole)
        apart = low_pass(apart, resolution=_SMOOTH * model.pixel_size, pixel_size=model.pixel_size)
        apart = apart * (_APART * whole.std() / apart.std().clamp_min(1e-30))
        averages[number], averages[fullest] = whole + apart, whole - apart
        occupancy[number] = occupancy[fullest] = occupancy[fullest] / 2
        filled += 1
    return replace(model, images=averages, occupancy=occupancy), filled
