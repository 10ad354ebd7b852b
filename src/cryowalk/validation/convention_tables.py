"""How another program's table means its poses, shifts and defocus, told on the kit's particles whose true ones are known."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from cryowalk.core.errors import InputError
from cryowalk.data import Defocus, ParticleSet, Pose
from cryowalk.geometry.rotations import euler_from_matrix, matrix_about_axis, matrix_from_euler, nearest_rotation, rotation_angle
from cryowalk.validation.convention_kit import ConventionKit
from cryowalk.validation.conventions import Finding, Hypothesis, judged
from cryowalk.validation.hand import flip_hand

LEAST_ROTATION = 0.97  # mean cosine of the error's angle: 14°
LEAST_SHIFT = 0.8  # one minus error over size
FEWEST = 6  # particles, below which chance could decide
_EULER_ORDERS = (
    *("ZYZ", "ZXZ", "ZYX", "XYZ", "XZX", "XYX", "YXY", "YZY", "XZY", "YXZ", "YZX", "ZXY"),
    *("zyx", "xyz", "xzy", "yxz", "yzx", "zxy"),
)
_NUMBERINGS = {
    0: "",
    1: "add 1 to the numbers: this program counts images from 0",
    -1: "take 1 off the numbers: they count from 2",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rotations:
    """One way in which a table may mean its rotations: what they would be in our convention."""

    name: str
    fix: str
    expected: Float[Tensor, "n 3 3"]


def check_table(
    particles: ParticleSet,
    kit: ConventionKit,
    *,
    angles: Float[Tensor, "n 3"] | None = None,
    numbers: Sequence[int] | None = None,
) -> tuple[Finding, ...]:
    """What a table of the kit's particles needs: numbering of images, rotations, shifts and defocus, each told by all hypotheses tried.

    `angles` are the three numbers (rad) of the file as they stand there, for tables in Euler angles, so that other orders of axes can be tried. `numbers` are
    those of the images in the file; without them rows follow the kit's order.

    Raises
    ------
    InputError
        If there are no poses, or too few of the kit's particles.
    """
    if particles.pose is None:
        raise InputError("the particles have no poses: there is nothing to check")
    pose = Pose(lab_from_particle=particles.pose.lab_from_particle.double().cpu(), shift=particles.pose.shift.double().cpu())
    places = _places(len(pose), kit, numbers)
    rankings = {}
    for lag, rows in places.items():
        inside = (rows >= 0) & (rows < kit.count)
        if int(inside.sum()) >= FEWEST:
            chosen = None if angles is None else angles[inside].double()
            rankings[lag] = _rotation_scores(pose.lab_from_particle[inside], kit.pose[rows[inside]], chosen)
    if not rankings:
        raise InputError(
            f"fewer than {FEWEST} of the particles are the kit's", fix="check the whole table that was made from the kit"
        )
    lag = max(rankings, key=lambda one: max(hypothesis.score for hypothesis in rankings[one]))
    rotations = judged("rotations", _told_once(rankings[lag]), least=LEAST_ROTATION)
    findings = [rotations]
    if numbers is not None:
        findings.insert(0, _numbering(rankings))
    rows = places[lag]
    inside = (rows >= 0) & (rows < kit.count)
    if rotations.verdict != "none fits":
        findings.append(_shifts(pose.shift[inside], kit.pose[rows[inside]], kit.pixel_size))
    if particles.defocus is not None:
        chosen_rows = torch.nonzero(inside)[:, 0]
        findings += _defocus(particles.defocus[chosen_rows], kit.defocus[rows[inside]])
    return tuple(findings)


def _places(count: int, kit: ConventionKit, numbers: Sequence[int] | None) -> dict[int, Tensor]:
    """Which of the kit's particles each row would be, for each number that may have to be added to the file's."""
    if numbers is None:
        if count != kit.count:
            raise InputError(
                f"the table has {count} rows and no numbers of images", expected=f"the {kit.count} of the kit, in its order"
            )
        return {0: torch.arange(count)}
    stated = torch.tensor(list(numbers), dtype=torch.int64)
    return {lag: stated - 1 + lag for lag in _NUMBERINGS}


def _numbering(rankings: dict[int, list[Hypothesis]]) -> Finding:
    words = {0: "images count from 1, as ours", 1: "images count from 0", -1: "images count from 2"}
    hypotheses = [
        Hypothesis(name=words[lag], score=max(one.score for one in ranking), fix=_NUMBERINGS[lag])
        for lag, ranking in rankings.items()
    ]
    return judged("numbering", hypotheses, least=LEAST_ROTATION)


def _told_once(hypotheses: list[Hypothesis]) -> list[Hypothesis]:
    """The hypotheses without those that fit as well as a simpler one before them: the same matrices under another name."""
    kept: list[Hypothesis] = []
    for one in hypotheses:
        if all(abs(one.score - other.score) > 1e-9 or one.score < LEAST_ROTATION for other in kept):
            kept.append(one)
    # A free turn fits a little better than none where the table is noisy: it must gain clearly to be told.
    best_plain = max((one.score for one in kept if not one.name.startswith("after")), default=-1.0)
    return [one for one in kept if not (one.name.startswith("after") and best_plain >= LEAST_ROTATION)]


def _rotation_scores(found: Tensor, truth: Pose, angles: Tensor | None) -> list[Hypothesis]:
    """All ways, the simple ones first; then those up to one turn that all particles share."""
    ways = list(_ways(truth, angles))
    direct = [_scored(way.name, found, way.expected, way.fix) for way in ways]
    shared = [_after_turn(found, way, side) for way in ways[:4] for side in ("map", "images")]
    return direct + shared


def _ways(truth: Pose, angles: Tensor | None) -> list[_Rotations]:
    turn = truth.lab_from_particle
    mirrored = flip_hand(truth).lab_from_particle
    inverse = flip_hand(Pose(lab_from_particle=turn.mT, shift=truth.shift)).lab_from_particle
    ways = [
        _Rotations(name="rotations as ours", fix="", expected=turn),
        _Rotations(name="transposed (inverse)", fix="transpose the matrices: R becomes Rᵀ", expected=turn.mT),
        _Rotations(name="of the other hand", fix="cryowalk flip-hand, on the table or on the map", expected=mirrored),
        _Rotations(name="transposed, of the other hand", fix="transpose the matrices, then cryowalk flip-hand", expected=inverse),
    ]
    return ways + ([] if angles is None else _euler_ways(turn, angles))


def _euler_ways(truth: Tensor, angles: Tensor) -> list[_Rotations]:
    """Other meanings of three Euler angles: `angles` holds what the file says, read as rot, tilt, psi; the truth is expressed as the file's own reading.

    For each meaning m of the angles, the matrices m(angles) are compared with the truth; so that all hypotheses are scored alike, the error m(angles)ᵀ truth
    is put on top of the reading.
    """
    reading = matrix_from_euler(angles).mT
    first, second, third = angles.unbind(dim=-1)
    degree = 180 / math.pi
    variants = {
        "rot and psi exchanged": torch.stack((third, second, first), dim=-1),
        "signs of all angles reversed": -angles,
        "sign of rot reversed": torch.stack((-first, second, third), dim=-1),
        "sign of tilt reversed": torch.stack((first, -second, third), dim=-1),
        "sign of psi reversed": torch.stack((first, second, -third), dim=-1),
        "angles in radians": angles * degree,
    }
    ways = [
        _Rotations(name=name, fix=_euler_fix(name), expected=reading @ matrix_from_euler(turned) @ truth)
        for name, turned in variants.items()
    ]
    for order, is_inverse in itertools.product(_EULER_ORDERS, (False, True)):
        if order == "ZYZ" and not is_inverse:
            continue
        matrix = matrix_from_euler(angles, order=order)
        meant = matrix if is_inverse else matrix.mT
        kind = "about moving axes" if order.isupper() else "about fixed axes"
        name = f"Euler angles {order.upper()} {kind}" + (", inverse" if is_inverse else "")
        fix = (
            f"scipy: Rotation.from_euler('{order}', angles, degrees=True)" + (".inv()" if is_inverse else "") + ".as_euler('ZYZ')"
        )
        ways.append(_Rotations(name=name, fix=fix, expected=reading @ meant.mT @ truth))
    return ways


def _euler_fix(name: str) -> str:
    return {"rot and psi exchanged": "exchange rot and psi", "angles in radians": "multiply the angles by 180/π"}.get(
        name, "turn " + name.replace("signs of all angles reversed", "the signs of all angles").replace(" reversed", "")
    )


def _scored(name: str, found: Tensor, expected: Tensor, fix: str) -> Hypothesis:
    """The hypothesis with the mean cosine of the angle between the rotations, and their median angle in words."""
    error = rotation_angle(found.mT @ expected)
    return Hypothesis(
        name=name,
        score=float(torch.cos(error).mean()),
        measure=f"median error {math.degrees(float(error.median())):.2f}°",
        fix=fix,
    )


def _after_turn(found: Tensor, way: _Rotations, side: str) -> Hypothesis:
    """The hypothesis that all rotations are off by one: of the map (on the right) or of the images (on the left)."""
    if side == "map":
        turn = nearest_rotation((way.expected.mT @ found).sum(dim=0))
        expected = way.expected @ turn
    else:
        turn = nearest_rotation((found @ way.expected.mT).sum(dim=0))
        expected = turn @ way.expected
    angles = [math.degrees(value) for value in euler_from_matrix(turn).tolist()]
    told = ", ".join(f"{value:.1f}°" for value in angles)
    what = "" if way.name == "rotations as ours" else f", {way.name}"
    fix = f"turn the {side} by {math.degrees(float(rotation_angle(turn))):.1f}° (ZYZ {told})" + (
        f"; {way.fix}" if way.fix else ""
    )
    return _scored(f"after one turn of the {side}{what}", found, expected, fix)


def _shifts(found: Tensor, truth: Pose, pixel_size: float) -> Finding:
    """The finding about shifts: signs, exchange, units, and whether they are given before or after the turn in the plane."""
    size = float(truth.shift.square().mean().sqrt())
    hypotheses = []
    for unit, factor in (("Å", 1.0), ("pixels", 1 / pixel_size), ("Å times the pixel size", pixel_size)):
        for name, matrix in _plane_moves().items():
            expected = factor * truth.shift @ matrix.T
            hypotheses.append(_shift_hypothesis(name, unit, found, expected, size=size * factor))
    for name, turn in _in_plane(truth).items():
        expected = torch.einsum("nij,nj->ni", turn, truth.shift)
        for sign, word in ((1.0, ""), (-1.0, ", other sign")):
            hypotheses.append(_shift_hypothesis(name + word, "Å", found, sign * expected, size=size))
    zero = Hypothesis(
        name="no shifts",
        score=1 - float(found.square().mean().sqrt()) / size,
        fix="this program left the shifts out: take them from the kit's table",
    )
    return judged("shifts", [*hypotheses, zero], least=LEAST_SHIFT)


def _plane_moves() -> dict[str, Tensor]:
    """The eight ways to exchange and turn the signs of x and y."""
    words = {
        "shifts as ours": ((1, 0), (0, 1)),
        "other sign": ((-1, 0), (0, -1)),
        "x of the other sign": ((-1, 0), (0, 1)),
        "y of the other sign": ((1, 0), (0, -1)),
        "x and y exchanged": ((0, 1), (1, 0)),
        "x and y exchanged, other sign": ((0, -1), (-1, 0)),
        "x and y exchanged, x of the other sign": ((0, -1), (1, 0)),
        "x and y exchanged, y of the other sign": ((0, 1), (-1, 0)),
    }
    return {name: torch.tensor(rows, dtype=torch.float64) for name, rows in words.items()}


def _in_plane(truth: Pose) -> dict[str, Tensor]:
    """Turns of each image in its plane, by psi and back."""
    psi = euler_from_matrix(truth.lab_from_particle.mT)[:, 2]
    return {
        "shifts in the frame of the unturned projection": matrix_about_axis(psi, axis="z")[:, :2, :2],
        "shifts turned by −psi": matrix_about_axis(-psi, axis="z")[:, :2, :2],
    }


def _shift_hypothesis(name: str, unit: str, found: Tensor, expected: Tensor, *, size: float) -> Hypothesis:
    error = float((found - expected).square().mean().sqrt())
    fixes = [name] if name != "shifts as ours" else []
    if unit != "Å":
        fixes.append("in pixels: multiply by the pixel size" if unit == "pixels" else "divide by the pixel size")
    words = name if unit == "Å" else f"{name}, in {unit}" if name != "shifts as ours" else f"shifts in {unit}"
    return Hypothesis(name=words, score=1 - error / size, measure=f"error {error:.3g} of {size:.3g}", fix="; ".join(fixes))


def _defocus(found: Defocus, truth: Defocus) -> list[Finding]:
    """The findings about the two defocus values and about the angle."""
    mean, half = (truth.major + truth.minor) / 2, (truth.major - truth.minor) / 2
    names: dict[str, tuple[Tensor, Tensor, str]] = {
        "defocus as ours (Å, underfocus positive)": (truth.major, truth.minor, ""),
        "underfocus negative": (-truth.major, -truth.minor, "turn the signs"),
        "U and V exchanged": (truth.minor, truth.major, "exchange U and V, and add 90° to the angle unless it belongs to V"),
        "mean and half difference": (mean, half, "U = mean + difference, V = mean − difference"),
    }
    hypotheses = []
    for unit, factor in (("", 1.0), (" in μm", 1e-4), (" in nm", 0.1)):
        for name, (major, minor, fix) in names.items():
            error = torch.stack((found.major.double() - factor * major, found.minor.double() - factor * minor))
            score = 1 - float(error.square().mean().sqrt() / (factor * mean.square().mean().sqrt())) * 10
            words = "; ".join(part for part in (fix, f"the values are{unit}: make them Å" if unit else "") if part)
            hypotheses.append(Hypothesis(name=name + unit, score=score, fix=words))
    return [judged("defocus", hypotheses, least=LEAST_SHIFT), _azimuth(found.azimuth.double(), truth.azimuth.double())]


def _azimuth(found: Tensor, truth: Tensor) -> Finding:
    """The finding about the astigmatism angle, which is the same after half a turn: score is the mean of cos 2Δ."""
    words = {
        "astigmatism angle as ours": (truth, ""),
        "angle of V, or from the y axis": (truth + math.pi / 2, "add 90° to the angle"),
        "angle of the other sense": (-truth, "turn the sign of the angle"),
        "angle from the y axis, of the other sense": (math.pi / 2 - truth, "the angle becomes 90° − angle"),
        "angle in radians": (truth * math.pi / 180, "multiply the angle by 180/π"),
    }
    hypotheses = [
        Hypothesis(name=name, score=float(torch.cos(2 * (found - angle)).mean()), fix=fix) for name, (angle, fix) in words.items()
    ]
    return judged("astigmatism angle", hypotheses, least=0.9)
