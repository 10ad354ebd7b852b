"""How another program's file means the places of picks: which corner its axes begin at, units, binning, counting and half pixels."""

import torch
from torch import Tensor

from cryowalk.core.errors import InputError
from cryowalk.data.coordinates import Coordinates
from cryowalk.validation.convention_kit import ConventionKit
from cryowalk.validation.conventions import Finding, Hypothesis, judged, offset_finding

NEAR = 3.0  # pixels: a pick within it is found
FEWEST = 4
OFFSET_TOLERANCE = 0.12  # pixels
# What a file's x and y would be, of x, y in ours and of the height and width.
READINGS = {
    "y counts down the rows, as ours": "",
    "y counts from the last row": "--flip-y: y becomes height − 1 − y",
    "x counts from the last column": "x becomes width − 1 − x",
    "x and y count from the last row and column": "x becomes width − 1 − x, y becomes height − 1 − y",
    "x and y exchanged": "exchange x and y",
    "x and y exchanged, y from the last row": "x is height − 1 − y of ours: exchange, then turn y over",
    "x and y exchanged, x from the last column": "exchange, then turn x over",
    "x and y exchanged, both from the last": "exchange, then turn both over",
}
UNITS = {
    "pixels": "",
    "Å": "divide by the pixel size",
    "pixels of a micrograph binned by 2": "multiply by 2",
    "pixels of a micrograph binned by 4": "multiply by 4",
}


def check_picks(found: Coordinates, kit: ConventionKit) -> tuple[Finding, ...]:
    """What a file of the kit's picks needs: axes, units, and an offset where it counts from 1, from pixel corners or from boxes' corners.

    The order of the picks does not matter, and some may be missing or wrong. For each reading the offset that most picks agree on is found first.

    Raises
    ------
    InputError
        If there are too few picks.
    """
    if len(found) < FEWEST:
        raise InputError(f"{len(found)} picks are too few to tell anything", expected=f"most of the {len(kit.picks)} of the kit")
    truth = kit.picks.positions
    height, width = kit.micrograph_size
    scores: dict[tuple[str, str], tuple[float, float, Tensor]] = {}
    for reading in READINGS:
        expected = _as_read(truth, reading, height, width)
        for unit, scale in zip(UNITS, (1.0, kit.pixel_size, 0.5, 0.25), strict=True):
            scores[reading, unit] = _agreement(found.positions.double().cpu() / scale, expected)
    best = max(scores, key=lambda one: (round(scores[one][0], 6), -scores[one][1]))
    axes = judged(
        "axes",
        [_hypothesis(reading, scores[reading, best[1]], READINGS[reading]) for reading in READINGS],
        least=0.5,
    )
    if axes.verdict == "none fits":
        return (axes,)
    units = judged("units", [_hypothesis(unit, scores[best[0], unit], fix) for unit, fix in UNITS.items()], least=0.5)
    offset = tuple(float(value) for value in scores[best][2])
    origin = offset_finding(
        "origin", offset, tolerance=OFFSET_TOLERANCE, unit="pixels", fix=lambda back: f"add ({back}) pixels{_corner(offset)}"
    )
    return axes, units, origin


def _as_read(truth: Tensor, reading: str, height: int, width: int) -> Tensor:
    """The kit's picks as a file of that reading holds them, pixels."""
    x, y = truth.unbind(dim=-1)
    place = list(READINGS).index(reading)
    if place & 1:
        y = height - 1 - y
    if place & 2:
        x = width - 1 - x
    return torch.stack((y, x) if place & 4 else (x, y), dim=-1)


def _agreement(found: Tensor, expected: Tensor) -> tuple[float, float, Tensor]:
    """The share of picks that agree under one common offset, their mean distance then, and the offset."""
    differences = (found[:, None] - expected[None]).reshape(-1, 2)
    # The offset that most pairs share: pairs of one pick each agree to within the picks' own errors.
    votes = ((differences[:, None] - differences[None]).norm(dim=-1) < NEAR).sum(dim=1)
    near = (differences - differences[int(votes.argmax())]).norm(dim=-1) < NEAR
    offset = differences[near].median(dim=0).values
    distance = torch.cdist(found - offset, expected)
    hits = min(int((distance.amin(dim=0) < NEAR).sum()), int((distance.amin(dim=1) < NEAR).sum()))
    return hits / max(len(found), len(expected)), float(distance.amin(dim=1).clamp(max=NEAR).mean()), offset


def _hypothesis(name: str, agreement: tuple[float, float, Tensor], fix: str) -> Hypothesis:
    share, distance, _ = agreement
    return Hypothesis(name=name, score=share, measure=f"{100 * share:.0f} % of the picks, {distance:.2f} px off", fix=fix)


def _corner(offset: tuple[float, ...]) -> str:
    """Words for an offset that is half a box."""
    if all(value < -4 for value in offset) and abs(offset[0] - offset[1]) < 1:
        return f": these are corners of boxes of {round(-2 * offset[0])} pixels"
    return ""
