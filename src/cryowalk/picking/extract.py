"""Particles cut out of a micrograph: boxes about integer pixels, the fraction kept as an origin, scaled, inverted and normalised.

A position (x, y) counts pixels of the micrograph, 0 the middle of the first one. The box about it has its origin pixel (`box // 2`) on the nearest pixel
c = ⌊p + ½⌋; what is left, p − c, at most half a pixel, is where the particle's origin lies in the box: the pose's shift. No pixel is interpolated, so noise
stays white. (RELION cuts about ⌊p⌋ and forgets the rest.)
"""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from cryowalk.core.errors import InputError, ShapeError, UsageError
from cryowalk.core.execution import ImageSink
from cryowalk.data.images import ImageStack, Micrograph
from cryowalk.data.optics import Optics
from cryowalk.data.particles import ParticleSet
from cryowalk.data.pose import Pose
from cryowalk.fourier.transform import resample
from cryowalk.picking.background import background_mask, has_flat_background, normalised_boxes, plane_of_background, replace_dust
from cryowalk.picking.extraction_settings import ExtractionSettings

BACKGROUND_SHARE = 0.75  # diameter of the circle about the particle, of the box
BATCH_BYTES = 2**24  # of boxes that are worked on at a time
ORIGINS = ("rlnOriginXAngst", "rlnOriginYAngst")
MICROGRAPH_PIXEL_SIZE = "rlnMicrographPixelSize"  # of the micrographs that coordinates count, where it is not that of the movies


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """Where boxes go: the rows of the positions that have one, the pixels (x, y) of their middles, and how many positions have none.

    `outside` positions are not in the micrograph; of `at_edge` ones the box sticks out.
    """

    kept: Int[Tensor, " n"]
    centres: Int[Tensor, "n 2"]
    outside: int
    at_edge: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Extraction:
    """The particles of one micrograph and, by row of the picks, which they are; counts of picks that gave none.

    `flat` boxes have a background of one grey, as beyond the edge of a shifted movie.
    """

    particles: ParticleSet
    kept: Int[Tensor, " n"]
    outside: int
    at_edge: int
    flat: int


def place_boxes(positions: Float[Tensor, "n 2"], *, size: tuple[int, int], box: int) -> Placement:
    """The boxes that lie wholly in a micrograph of this height and width (pixels), about the pixels nearest to the positions (x, y).

    Raises
    ------
    ShapeError
        If no box could: it is larger than the micrograph.
    """
    height, width = size
    if box > min(size):
        raise ShapeError(
            f"a box of {box} px does not fit into a micrograph of {width} × {height} px",
            cause="a box given in Å, or a micrograph that was made smaller",
            fix="give a smaller --box, in pixels of the micrograph",
        )
    places = positions.double().cpu()
    sides = torch.tensor([width, height], dtype=torch.float64)
    is_inside = ((places >= -0.5) & (places < sides - 0.5)).all(dim=1)
    centres = torch.floor(places + 0.5).long()
    first = centres - box // 2
    fits = is_inside & ((first >= 0) & (first + box <= torch.tensor([width, height]))).all(dim=1)
    kept = torch.nonzero(fits)[:, 0]
    outside = int((~is_inside).sum())
    return Placement(kept=kept, centres=centres[kept], outside=outside, at_edge=len(places) - outside - len(kept))


def cut_boxes(pixels: Float[Tensor, "h w"], centres: Int[Tensor, "n 2"], *, box: int) -> Float[Tensor, "n box box"]:
    """The pixels of the boxes whose origin pixels lie on these pixels (x, y) of the micrograph, unchanged; they must lie wholly in it."""
    corners = (centres - box // 2).tolist()
    if not corners:
        return pixels.new_empty((0, box, box))
    return torch.stack([pixels[y : y + box, x : x + box] for x, y in corners])


def origin_shift(picks: ParticleSet) -> Float[Tensor, "n 2"]:
    """Where each particle's origin lies relative to its coordinates (x, y), Å: the pose's shift, or minus RELION's origins where there is no pose, or 0.

    Raises
    ------
    InputError
        If an origin is no number.
    """
    if picks.pose is not None:
        return picks.pose.shift.double().cpu()
    columns = [picks.extra.get(label, ("0",) * len(picks)) for label in ORIGINS]
    try:
        origins = torch.tensor([[float(text) for text in column] for column in columns], dtype=torch.float64)
    except ValueError as error:
        raise InputError(f"an origin is no number: {error}", expected="numbers (Å) in " + " and ".join(ORIGINS)) from None
    return -origins.reshape(2, -1).T + 0.0


def with_origin_shift(picks: ParticleSet, shift: Float[Tensor, "n 2"]) -> ParticleSet:
    """The picks with these origin shifts, Å; without poses they are RELION's columns of origins, left out where all are 0."""
    if picks.pose is not None:
        return picks.with_pose(Pose(lab_from_particle=picks.pose.lab_from_particle, shift=shift))
    extra = {label: column for label, column in picks.extra.items() if label not in ORIGINS}
    if bool(shift.any()):
        extra |= {label: tuple(f"{0.0 - value:.6f}" for value in shift[:, axis].tolist()) for axis, label in enumerate(ORIGINS)}
    return replace(picks, extra=extra)


def recentred(picks: ParticleSet, *, pixel_size: float, point: tuple[float, float, float] = (0.0, 0.0, 0.0)) -> ParticleSet:
    """The picks with their shifts moved into their coordinates, so that boxes lie about where the particles were refined to.

    `point` (x, y, z), Å in the particle's frame, becomes the middle: the position moves by the first two of R · point, and the underfocus by the third.
    `pixel_size` (Å) is that of the micrographs.

    Raises
    ------
    InputError
        If there are no coordinates, or a point is given and no pose.
    """
    places = _coordinates(picks) + origin_shift(picks) / pixel_size
    moved = with_origin_shift(picks, torch.zeros_like(places))
    if not any(point):
        return replace(moved, coordinates=places)
    if picks.pose is None:
        raise InputError(
            "a point of the particle is to be the middle, and the particles have no poses",
            expected="rlnAngleRot, rlnAngleTilt, rlnAnglePsi",
        )
    turned = picks.pose.lab_from_particle.double().cpu() @ torch.tensor(point, dtype=torch.float64)
    defocus = picks.defocus
    if defocus is not None:
        defocus = replace(defocus, major=defocus.major + turned[:, 2], minor=defocus.minor + turned[:, 2])
    return replace(moved, coordinates=places + turned[:, :2] / pixel_size, defocus=defocus)


def _coordinates(picks: ParticleSet) -> Float[Tensor, "n 2"]:
    if picks.coordinates is None:
        raise InputError("the picks have no positions in micrographs", expected="rlnCoordinateX and rlnCoordinateY")
    return picks.coordinates.double().cpu()


def extract_particles(
    micrograph: Micrograph,
    picks: ParticleSet,
    settings: ExtractionSettings,
    *,
    generator: torch.Generator | None = None,
    sink: ImageSink | None = None,
) -> Extraction:
    """The particles at the picks' coordinates, their boxes scaled, inverted and normalised as the settings say, in this order.

    Each keeps what the picks know of it (optics group, pose, defocus, foreign columns). Its coordinates become the box's middle, and the fraction of a pixel
    goes into its shift; where the pick has no pose, into columns rlnOriginXAngst and rlnOriginYAngst. The generator is for the noise in place of dust. With a
    `sink` the images go there, batch by batch, and the particles come back without.

    Raises
    ------
    InputError
        If the picks have no coordinates, most of them are not in the micrograph, or the box does not fit.
    UsageError
        If dust is to be replaced and no generator is given, or the boxes are to become larger.
    """
    check_extraction(settings)
    if (settings.white_dust or settings.black_dust) and generator is None:
        raise UsageError("dust is replaced by noise, which needs a generator")
    size = (micrograph.pixels.shape[0], micrograph.pixels.shape[1])
    placed = place_boxes(_coordinates(picks), size=size, box=settings.box)
    if placed.outside > len(picks) / 2:
        raise InputError(
            f"{placed.outside} of {len(picks)} picks lie outside the micrograph of {size[1]} × {size[0]} px",
            cause="picks of another micrograph, of another binning, or with x and y exchanged",
            fix="pick on these micrographs, or scale the coordinates",
        )
    parts: list[Tensor] = []
    good: list[Tensor] = []
    batch = max(1, BATCH_BYTES // (4 * settings.box**2))
    for centres in torch.split(placed.centres, batch):
        images, is_flat = _processed(micrograph, centres, settings, generator)
        good.append(~is_flat)
        if sink is None:
            parts.append(images[~is_flat])
        elif bool((~is_flat).any()):
            sink.write(images[~is_flat])
    usable = torch.cat(good) if good else torch.zeros(0, dtype=torch.bool)
    kept = placed.kept[usable]
    particles = boxed(picks[kept], settings, pixel_size=micrograph.pixel_size)
    if sink is None:
        side = settings.scale or settings.box
        stack = torch.cat(parts) if parts else torch.zeros(0, side, side)
        particles = particles.with_images(ImageStack(pixels=stack, pixel_size=particles.optics[0].pixel_size))
    return Extraction(particles=particles, kept=kept, outside=placed.outside, at_edge=placed.at_edge, flat=int((~usable).sum()))


def check_extraction(settings: ExtractionSettings) -> None:
    """Nothing, if the settings can be meant.

    Raises
    ------
    UsageError
        If the boxes are to become larger.
    """
    if settings.scale is not None and settings.scale > settings.box:
        raise UsageError(
            f"boxes of {settings.box} px cannot be scaled to {settings.scale} px: that would add nothing",
            fix="give a smaller --scale",
        )


def boxed(picks: ParticleSet, settings: ExtractionSettings, *, pixel_size: float) -> ParticleSet:
    """The picks as the boxes about them are described: middles on whole pixels, the rest in the shift, the optics of the scaled boxes; without images.

    `pixel_size` (Å) is that of the micrographs.
    """
    places = _coordinates(picks)
    centres = torch.floor(places + 0.5)
    side = settings.scale or settings.box
    return replace(
        with_origin_shift(picks, origin_shift(picks) + (places - centres) * pixel_size),
        optics=tuple(boxed_optics(group, box=settings.box, side=side, pixel_size=pixel_size) for group in picks.optics),
        coordinates=centres,
        images=None,
        image_names=(),
    )


def boxed_optics(optics: Optics, *, box: int, side: int, pixel_size: float) -> Optics:
    """The optics of boxes of `box` pixels, scaled to `side`, cut from micrographs of this pixel size (Å)."""
    original = optics.micrograph_pixel_size or pixel_size
    extra = {**optics.extra, "rlnImageSize": str(side)}
    if abs(original / pixel_size - 1) > 1e-6:
        extra[MICROGRAPH_PIXEL_SIZE] = f"{pixel_size:.6f}"
    return replace(
        optics, pixel_size=pixel_size * box / side, micrograph_pixel_size=original, is_premultiplied=False, extra=extra
    )


def _processed(
    micrograph: Micrograph, centres: Int[Tensor, "n 2"], settings: ExtractionSettings, generator: torch.Generator | None
) -> tuple[Float[Tensor, "n s s"], Bool[Tensor, " n"]]:
    """The finished boxes, and which of them have a background of one grey."""
    images = cut_boxes(micrograph.pixels, centres, box=settings.box)
    side = settings.scale or settings.box
    if side != settings.box:
        images = resample(images, side)
    is_flat = torch.zeros(len(images), dtype=torch.bool)
    if settings.normalise != "none" or generator is not None:
        mask = background_mask(side, radius=_background_radius(settings, micrograph.pixel_size)).to(images.device)
        if settings.normalise != "none":
            is_flat = has_flat_background(images, mask=mask).cpu()
        if settings.normalise == "plane":
            images = images - plane_of_background(images, mask=mask)
        if generator is not None:
            images = replace_dust(images, mask=mask, white=settings.white_dust, black=settings.black_dust, generator=generator)
        if settings.normalise != "none":
            images = normalised_boxes(images, mask=mask)
    return (-images if settings.contrast == "dark" else images), is_flat


def _background_radius(settings: ExtractionSettings, pixel_size: float) -> float:
    """The radius of the circle about the particle, pixels of the finished box."""
    side = settings.scale or settings.box
    if settings.background_diameter is None:
        return BACKGROUND_SHARE * side / 2
    return settings.background_diameter / 2 / (pixel_size * settings.box / side)
