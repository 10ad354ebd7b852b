"""What was done to images of the asymmetric phantom: flips, transposition, contrast, offsets, their order, and how the poses were taken."""

import itertools
import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from cryowalk.core.errors import InputError
from cryowalk.data import ImageStack, Micrograph, Pose
from cryowalk.fourier.transform import to_fourier, to_real
from cryowalk.geometry.asymmetric_phantom import phantom_projections
from cryowalk.validation.convention_kit import ConventionKit
from cryowalk.validation.conventions import (
    Finding,
    Hypothesis,
    contrast_finding,
    cross_correlation_peak,
    judged,
    offset_finding,
    unit_spectrum,
)
from cryowalk.validation.hand import flip_hand

LEAST_CORRELATION = 0.7
OFFSET_TOLERANCE = 0.15  # pixels
COMPLEXITY = 1e-4  # of a score, for each thing that is not ours: of equal fits the simplest is told

# What each axis of an image holds: across, up the rows; and in words.
IMAGE_AXES: dict[str, tuple[tuple[int, int], tuple[int, int], str]] = {
    "axes as ours": ((1, 0), (0, 1), ""),
    "flipped in x": ((-1, 0), (0, 1), "[:, :, ::-1]"),
    "flipped in y": ((1, 0), (0, -1), "[:, ::-1, :]"),
    "turned by 180°": ((-1, 0), (0, -1), "[:, ::-1, ::-1]"),
    "transposed": ((0, 1), (1, 0), ".transpose(0, 2, 1)"),
    "turned by 90°": ((0, -1), (1, 0), ".transpose(0, 2, 1)[:, ::-1, :]"),
    "turned by −90°": ((0, 1), (-1, 0), ".transpose(0, 2, 1)[:, :, ::-1]"),
    "transposed about the other diagonal": ((0, -1), (-1, 0), ".transpose(0, 2, 1)[:, ::-1, ::-1]"),
}
_INVERSE = {"turned by 90°": "turned by −90°", "turned by −90°": "turned by 90°"}  # each of the others is its own
POSE_USES = {
    "rotations as ours": "",
    "transposed (inverse) rotations": "transpose the matrices: R becomes Rᵀ",
    "the mirrored map, or poses of the other hand": "mirror the map or the poses, not both: cryowalk flip-hand",
    "transposed rotations and the mirrored map": "transpose the matrices and mirror the map or the poses",
}
SHIFT_USES = {
    "shifts as ours": "",
    "shifts with the other sign": "turn the sign of the shifts",
    "no shifts": "the shifts were left out: apply them, or write zeros",
    "x and y of the shifts exchanged": "exchange x and y of the shifts",
}
ORDERS = {
    "images in order": "",
    "images one place late": "count images from 1 in STAR files, from 0 in .cs and HDF5",
    "images one place early": "count images from 1 in STAR files, from 0 in .cs and HDF5",
    "images in reverse order": "turn the order of the images over",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Trial:
    """One combination of hypotheses with what came out."""

    names: tuple[str, str, str, str, str]
    score: float
    offset: tuple[float, ...]
    contrast: str


def check_images(
    images: ImageStack, kit: ConventionKit, *, transfer: Float[Tensor, "n y half"] | None = None
) -> tuple[Finding, ...]:
    """What a stack of images of the kit's phantom needs: image axes, use of poses and shifts, order, contrast and offset.

    The images expected under each combination are computed on the stack's own grid, without CTF and, where `transfer` gives it on that grid, with it.

    Raises
    ------
    InputError
        If the stack has another number of images than the kit.
    """
    pixels = images.pixels
    if len(pixels) != kit.count or pixels.shape[-1] != pixels.shape[-2]:
        told = f"the stack has {len(pixels)} images of {pixels.shape[-1]} × {pixels.shape[-2]} pixels"
        raise InputError(told, expected=f"square ones, the {kit.count} of the kit, in its order")
    trials = _trials(pixels, kit, transfer)
    best = max(trials, key=lambda one: round(one.score, 5) - COMPLEXITY * sum(map(_is_foreign, one.names)))
    findings = [
        _aspect(aspect, place, best, trials)
        for place, aspect in enumerate(("image axes", "rotations", "shifts", "order", "CTF"))
        if len({one.names[place] for one in trials}) > 1
    ]
    if findings[0].verdict == "none fits":
        return (findings[0],)
    contrast = contrast_finding(best.contrast, best.score, expected="bright", fix="multiply the images by −1")
    origin = offset_finding(
        "origin",
        best.offset,
        tolerance=OFFSET_TOLERANCE,
        unit="pixels",
        fix=lambda back: f"then move the images by ({back}) pixels",
    )
    return (*findings, contrast, origin)


def _is_foreign(name: str) -> bool:
    return bool(_fix_of(name))


def _fix_of(name: str) -> str:
    if name in IMAGE_AXES:
        recipe = IMAGE_AXES[name][2]
        return f"numpy: images{recipe}" if recipe else ""
    return {**POSE_USES, **SHIFT_USES, **ORDERS}.get(name, "")


def _aspect(aspect: str, place: int, best: _Trial, trials: list[_Trial]) -> Finding:
    """The finding of one aspect, the others being as in the best combination."""
    same = [one for one in trials if all(i == place or one.names[i] == best.names[i] for i in range(len(best.names)))]
    hypotheses = [
        Hypothesis(name=one.names[place], score=one.score, measure=f"correlation {one.score:.3f}", fix=_fix_of(one.names[place]))
        for one in same
    ]
    if aspect == "CTF":  # at low resolution both may fit: that is no fault
        ranking = tuple(sorted(hypotheses, key=lambda one: -one.score))
        return Finding(aspect=aspect, verdict="agrees", words=ranking[0].name, fix="", hypotheses=ranking)
    return judged(aspect, hypotheses, least=LEAST_CORRELATION)


def _trials(pixels: Tensor, kit: ConventionKit, transfer: Tensor | None) -> list[_Trial]:
    height, width = int(pixels.shape[-2]), int(pixels.shape[-1])
    field = kit.box * kit.pixel_size
    pixel_size = kit.pixel_size if (height, width) == (kit.box, kit.box) else field / max(height, width)
    # The images are put back from each of the axes they may have, which is cheaper than to turn all that is expected.
    spectra = {axes: _spectrum(seen_through(pixels, _INVERSE.get(axes, axes))) for axes in IMAGE_AXES}
    turns = _pose_uses(kit.pose)
    trials = []
    for use, rule in itertools.product(POSE_USES, SHIFT_USES):
        plain = phantom_projections(turns[use], _shift_use(kit.pose.shift, rule), size=(height, width), pixel_size=pixel_size)
        seen = {"without CTF": plain}
        if transfer is not None:
            seen["with CTF"] = to_real(to_fourier(plain) * transfer, width=width)
        for light, expected in seen.items():
            spectrum = _spectrum(expected).conj()
            trials += [
                _trial((axes, use, rule, order, light), spectra[axes], spectrum, width)
                for axes, order in itertools.product(IMAGE_AXES, ORDERS)
            ]
    return trials


def _spectrum(images: Tensor) -> Tensor:
    return unit_spectrum(images, dimensions=2).to(torch.complex64)


def _trial(names: tuple[str, str, str, str, str], spectra: Tensor, conjugates: Tensor, width: int) -> _Trial:
    """The mean correlation at the best common offset; the conjugate spectra are those expected."""
    count = len(spectra)
    moved = {"images in order": 0, "images one place late": 1, "images one place early": -1}.get(names[3])
    paired = conjugates.flip(0) if moved is None else conjugates.roll(moved, dims=0)
    product = (spectra * paired).sum(dim=0) / count
    value, offset, contrast = cross_correlation_peak(product, width=width, dimensions=2)
    return _Trial(names=names, score=value * math.sqrt(spectra.shape[-2] * width), offset=offset, contrast=contrast)


def _pose_uses(pose: Pose) -> dict[str, Tensor]:
    turn = pose.lab_from_particle
    inverse = Pose(lab_from_particle=turn.mT, shift=pose.shift)
    return dict(
        zip(
            POSE_USES,
            (turn, turn.mT, flip_hand(pose).lab_from_particle, flip_hand(inverse).lab_from_particle),
            strict=True,
        )
    )


def _shift_use(shift: Tensor, rule: str) -> Tensor:
    factors = dict(zip(SHIFT_USES, (shift, -shift, torch.zeros_like(shift), shift.flip(-1)), strict=True))
    return factors[rule]


def check_micrograph(micrograph: Micrograph, kit: ConventionKit) -> tuple[Finding, ...]:
    """What the image of the kit's micrograph needs: its axes, contrast and origin."""
    pixels = micrograph.pixels
    spectrum = unit_spectrum(pixels, dimensions=2)
    recorded = kit.micrograph()
    hypotheses: list[Hypothesis] = []
    best, contrast_of_best = 0.0, "bright"
    for name in IMAGE_AXES:
        expected = seen_through(recorded, name)
        recipe = _fix_of(name).replace("[:, ", "[").replace("(0, 2, 1)", "(1, 0)")
        if expected.shape != pixels.shape:
            hypotheses.append(Hypothesis(name=name, score=0.0, measure="another shape", fix=recipe))
            continue
        product = spectrum * unit_spectrum(expected, dimensions=2).conj()
        value, _, sign = cross_correlation_peak(product, width=int(pixels.shape[-1]), dimensions=2)
        score = value * math.sqrt(math.prod(pixels.shape))
        if score > best:
            best, contrast_of_best = score, sign
        hypotheses.append(Hypothesis(name=name, score=score, measure=f"correlation {score:.3f}", fix=recipe))
    axes = judged("image axes", hypotheses, least=LEAST_CORRELATION)
    if axes.verdict == "none fits":
        return (axes,)
    # Both are dark: the correlation with the recorded micrograph is "bright" where the contrast agrees.
    contrast = contrast_finding(
        "dark" if contrast_of_best == "bright" else "bright", best, expected="dark", fix="multiply the micrograph by −1"
    )
    return (axes, contrast)


def seen_through(image: Float[Tensor, "*batch h w"], axes: str) -> Float[Tensor, "*batch2 h2 w2"]:
    """The image whose axes hold those of the given one as the name says; the array is turned over as numpy does it."""
    row_x = IMAGE_AXES[axes][0]
    result = image.mT if row_x[0] == 0 else image
    flips = [-1 - row for row, vector in enumerate(IMAGE_AXES[axes][:2]) if min(vector) < 0]
    return result.flip(flips) if flips else result
