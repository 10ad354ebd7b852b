"""Each fault of a foreign file, made on purpose, is named by the convention check, exactly it and no other, under noise too."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cryowalk.core.errors import InputError, UsageError
from cryowalk.data import ImageStack, Micrograph, ParticleSet, Pose, Volume
from cryowalk.data.coordinates import Coordinates
from cryowalk.fourier.nufft import project_exactly
from cryowalk.fourier.transform import resample
from cryowalk.geometry.asymmetric_phantom import phantom_density, phantom_projections
from cryowalk.geometry.rotations import euler_from_matrix, matrix_from_euler, matrix_from_rotation_vector
from cryowalk.validation.convention_images import (
    IMAGE_AXES,
    ORDERS,
    POSE_USES,
    SHIFT_USES,
    check_images,
    check_micrograph,
    seen_through,
)
from cryowalk.validation.convention_kit import ConventionKit
from cryowalk.validation.convention_maps import axis_order, axis_orders, check_map, reoriented
from cryowalk.validation.convention_picks import READINGS, check_picks
from cryowalk.validation.convention_tables import check_table
from cryowalk.validation.conventions import Finding, Hypothesis, judged
from cryowalk.validation.hand import flip_hand

KIT = ConventionKit()
STEP = KIT.pixel_size
COARSE = ConventionKit(box=32, pixel_size=5.0)  # the same field on fewer voxels: eight times faster


def noise(like: torch.Tensor, amount: float, seed: int = 5) -> torch.Tensor:
    source = torch.Generator().manual_seed(seed)
    return amount * like.std() * torch.randn(like.shape, generator=source, dtype=like.dtype)


def by_aspect(findings: tuple[Finding, ...]) -> dict[str, Finding]:
    return {one.aspect: one for one in findings}


def differing(findings: tuple[Finding, ...]) -> set[str]:
    return {one.aspect for one in findings if one.verdict != "agrees"}


# ------------------------------------------------------------------ the phantom


def test_the_phantom_s_projections_are_those_of_its_map() -> None:
    volume = Volume(voxels=KIT.density(), voxel_size=STEP)
    turns = KIT.pose.lab_from_particle[:4]
    closed = phantom_projections(turns, torch.zeros(4, 2), size=(64, 64), pixel_size=STEP)
    exact = project_exactly(volume, turns)
    assert float((exact - closed).norm() / closed.norm()) < 2e-3  # what the box cuts off


@pytest.mark.parametrize("size", [(9, 8, 11), (8, 9, 8)])
def test_the_phantom_sits_at_the_origin_voxel_of_odd_and_even_boxes(size: tuple[int, int, int]) -> None:
    coarse = phantom_density(size, voxel_size=17.0)
    fine = phantom_density((4 * size[0] + 1, 4 * size[1] + 1, 4 * size[2] + 1), voxel_size=17.0 / 4)
    z, y, x = (4 * side // 2 for side in size)
    first = [middle - 4 * (side // 2) for middle, side in zip((z, y, x), size, strict=True)]
    start = [(4 * side + 1) // 2 - 4 * (side // 2) for side in size]
    assert all(offset >= 0 for offset in first)
    assert torch.allclose(coarse, fine[start[0] :: 4, start[1] :: 4, start[2] :: 4][: size[0], : size[1], : size[2]])


def test_no_turn_or_mirror_image_of_the_phantom_resembles_it() -> None:
    axes = check_map(Volume(voxels=KIT.density(), voxel_size=STEP), voxel_size=STEP)[0]
    scores = [one.score for one in axes.hypotheses]
    assert len(scores) == 48
    assert scores[0] == pytest.approx(1.0, abs=1e-6)
    assert scores[1] < 0.49


def test_the_kit_is_the_same_every_time_and_its_tests_are_fair() -> None:
    assert torch.equal(KIT.projections(), ConventionKit().projections())
    assert bool((KIT.pose.shift.abs() > 1.5).all())  # a wrong sign shows in every image
    heights = KIT.pose.lab_from_particle[:, 2, 2]
    assert float(heights.min()) < -0.9
    assert float(heights.max()) > 0.9
    height, width = KIT.micrograph_size
    assert height != width


# ------------------------------------------------------------------ maps


@pytest.mark.parametrize("order", axis_orders(), ids=lambda one: one.text)
def test_each_of_the_48_orders_of_axes_is_named_and_its_fix_undoes_it(order) -> None:
    voxels = reoriented(COARSE.density(), order)
    voxels = voxels + noise(voxels, 0.5)
    findings = by_aspect(check_map(Volume(voxels=voxels.float(), voxel_size=5.0), voxel_size=5.0))
    axes = findings["axes and hand"]
    assert axes.words.startswith(order.name)
    assert findings["origin"].verdict == "agrees"
    assert findings["contrast"].verdict == "agrees"
    if order == axis_orders()[0]:
        assert axes.verdict == "agrees"
        assert not axes.fix
    else:
        assert axes.verdict == "differs"
        back = reoriented(reoriented(COARSE.density(), order), axis_order(axes.fix.rpartition(" ")[2]))
        assert torch.equal(back, COARSE.density())


@pytest.mark.parametrize("box", [64, 63])
def test_reorienting_turns_the_phantom_as_its_matrix_says(box: int) -> None:
    density = phantom_density((box, box, box), voxel_size=STEP)
    for order in axis_orders():
        turned = phantom_density((box, box, box), voxel_size=STEP, lab_from_particle=order.matrix)
        assert torch.allclose(reoriented(density, order), turned, atol=2e-3)  # what the box cuts off of the tails
        assert torch.equal(reoriented(reoriented(density, order), order.inverse), density)


def test_an_array_turned_over_by_numpy_is_told_with_its_one_voxel() -> None:
    findings = by_aspect(check_map(Volume(voxels=KIT.density().flip(0).float(), voxel_size=STEP), voxel_size=STEP))
    assert findings["axes and hand"].words.startswith("flipped along z: the other hand")
    assert findings["origin"].fix == "cryowalk map reorient --move 0,0,1"
    assert "one pixel" in findings["origin"].words


@pytest.mark.parametrize(("offset", "words"), [((0, 0, 1), "one pixel"), ((0, 2, -3), "moved by"), ((0, 0, 0), "where ours is")])
def test_the_origin_of_a_map_is_told(offset: tuple[int, int, int], words: str) -> None:
    voxels = KIT.density().roll(offset, dims=(0, 1, 2))
    origin = by_aspect(check_map(Volume(voxels=voxels.float(), voxel_size=STEP), voxel_size=STEP))["origin"]
    assert words in origin.words
    if any(offset):
        assert origin.fix.endswith("--move " + ",".join(str(-value) for value in reversed(offset)).replace("-0", "0"))


def test_half_a_voxel_is_told_as_an_origin_between_voxels() -> None:
    fine = phantom_density((128, 128, 128), voxel_size=STEP / 2)
    between = fine[1::2, 1::2, 1::2]  # sampled half a voxel further on: the origin lies at n // 2 − ½
    origin = by_aspect(check_map(Volume(voxels=between.float(), voxel_size=STEP), voxel_size=STEP))["origin"]
    assert "half a pixel" in origin.words
    assert origin.fix.endswith("--move 0.5,0.5,0.5")


def test_contrast_and_the_header_s_voxel_size_are_told_apart() -> None:
    findings = by_aspect(check_map(Volume(voxels=-KIT.density().float(), voxel_size=1.0), voxel_size=STEP))
    assert findings["contrast"].words == "density is dark, ours is bright"
    assert findings["axes and hand"].verdict == "agrees"
    assert "fits 2.5 Å" in findings["voxel size"].words


def test_a_resampled_and_cropped_map_is_recognised_by_its_header() -> None:
    voxels = resample(KIT.density(), (50, 50, 50))[4:46]
    findings = check_map(Volume(voxels=voxels.float(), voxel_size=64 * STEP / 50), voxel_size=STEP)
    assert not differing(findings)


def test_of_another_object_nothing_fits(generator: torch.Generator) -> None:
    ball = torch.randn(32, 32, 32, generator=generator)
    (axes,) = check_map(Volume(voxels=ball, voxel_size=5.0), voxel_size=5.0)
    assert axes.verdict == "none fits"
    assert "none fits" in axes.words


@pytest.mark.parametrize("text", ["x,y", "x,y,y", "x,y,q", "x,y,--z", ""])
def test_an_order_that_names_not_each_axis_once_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="no order of axes"):
        axis_order(text)


# ------------------------------------------------------------------ images


def images_under(axes: str, use: str, rule: str, order: str) -> torch.Tensor:
    turn, shift = COARSE.pose.lab_from_particle, COARSE.pose.shift
    mirrored = flip_hand(COARSE.pose).lab_from_particle
    turn = dict(zip(POSE_USES, (turn, turn.mT, mirrored, flip_hand(replace(COARSE.pose, lab_from_particle=turn.mT)).lab_from_particle), strict=True))[use]  # fmt: skip
    shift = dict(zip(SHIFT_USES, (shift, -shift, 0 * shift, shift.flip(-1)), strict=True))[rule]
    images = seen_through(phantom_projections(turn, shift, size=(32, 32), pixel_size=5.0), axes)
    return {
        "images in order": images,
        "images one place late": images.roll(1, dims=0),
        "images one place early": images.roll(-1, dims=0),
        "images in reverse order": images.flip(0),
    }[order]


@pytest.mark.slow
@settings(max_examples=8, deadline=None)
@given(st.sampled_from(list(IMAGE_AXES)), st.sampled_from(list(POSE_USES)), st.sampled_from(list(SHIFT_USES)), st.sampled_from(list(ORDERS)), st.booleans())  # fmt: skip
def test_any_combination_of_faults_in_images_is_named(axes: str, use: str, rule: str, order: str, is_dark: bool) -> None:
    images = images_under(axes, use, rule, order) * (-1 if is_dark else 1)
    images = images + noise(images, 0.7)
    findings = by_aspect(check_images(ImageStack(pixels=images.float(), pixel_size=5.0), COARSE))
    assert findings["image axes"].words.startswith(axes + " (")
    assert findings["rotations"].words.startswith(use + " (")
    assert findings["shifts"].words.startswith(rule + " (")
    assert findings["order"].words.startswith(order + " (")
    assert findings["contrast"].verdict == ("differs" if is_dark else "agrees")
    assert findings["origin"].verdict == "agrees"


@pytest.mark.parametrize("axes", list(IMAGE_AXES))
def test_the_numpy_recipe_undoes_what_was_done_to_the_images(axes: str) -> None:
    images = seen_through(KIT.projections(), axes).numpy()
    recipe = IMAGE_AXES[axes][2]
    assert np.array_equal(eval(f"images{recipe}", {"images": images}), KIT.projections().numpy())  # the recipe is ours
    assert by_aspect(check_images(ImageStack(pixels=torch.from_numpy(images), pixel_size=STEP), KIT))["image axes"].fix == (
        f"numpy: images{recipe}" if recipe else ""
    )


@pytest.mark.parametrize("offset", [(1, 0), (-2, 3)])
def test_a_common_offset_of_images_is_told(offset: tuple[int, int]) -> None:
    images = KIT.projections().roll(offset, dims=(-1, -2))
    origin = by_aspect(check_images(ImageStack(pixels=images, pixel_size=STEP), KIT))["origin"]
    assert origin.verdict == "differs"
    assert origin.fix == f"then move the images by ({-offset[0]},{0 - offset[1]}) pixels"


def test_stacks_that_are_not_the_kit_s_are_refused_or_fit_nothing(generator: torch.Generator) -> None:
    with pytest.raises(InputError, match="5 images"):
        check_images(ImageStack(pixels=torch.zeros(5, 64, 64), pixel_size=STEP), KIT)
    (axes,) = check_images(ImageStack(pixels=torch.randn(24, 64, 64, generator=generator), pixel_size=STEP), KIT)
    assert axes.verdict == "none fits"


@pytest.mark.parametrize("axes", list(IMAGE_AXES))
@pytest.mark.parametrize("is_bright", [False, True])
def test_a_micrograph_s_axes_and_contrast_are_named(axes: str, is_bright: bool) -> None:
    pixels = seen_through(KIT.micrograph(), axes) * (-1 if is_bright else 1)
    pixels = pixels + noise(pixels, 1.0)
    findings = by_aspect(check_micrograph(Micrograph(pixels=pixels.float(), pixel_size=STEP), KIT))
    assert findings["image axes"].words.startswith(axes + " (")
    assert findings["contrast"].verdict == ("differs" if is_bright else "agrees")


# ------------------------------------------------------------------ tables


def particles(pose: Pose = KIT.pose, *, defocus=KIT.defocus) -> ParticleSet:
    return ParticleSet(optics=(KIT.optics,), optics_index=torch.zeros(len(pose), dtype=torch.int64), pose=pose, defocus=defocus)


def wobble(scale: float = 0.03) -> torch.Tensor:
    """Small turns, 2° to 3°, as a refinement of noisy images leaves them."""
    return matrix_from_rotation_vector(noise(torch.linspace(-1, 1, 72, dtype=torch.float64).reshape(24, 3), scale, 9))


TURN = matrix_from_euler(torch.tensor([0.4, 1.1, -2.0], dtype=torch.float64))
ROTATION_FAULTS = {
    "rotations as ours": KIT.pose.lab_from_particle,
    "transposed (inverse)": KIT.pose.lab_from_particle.mT,
    "of the other hand": flip_hand(KIT.pose).lab_from_particle,
    "transposed, of the other hand": flip_hand(replace(KIT.pose, lab_from_particle=KIT.pose.lab_from_particle.mT)).lab_from_particle,
    "after one turn of the map": KIT.pose.lab_from_particle @ TURN,
    "after one turn of the images": TURN @ KIT.pose.lab_from_particle,
    "after one turn of the map, transposed (inverse)": KIT.pose.lab_from_particle.mT @ TURN,
    "after one turn of the map, of the other hand": flip_hand(KIT.pose).lab_from_particle @ TURN,
}  # fmt: skip


@pytest.mark.parametrize("name", list(ROTATION_FAULTS))
def test_each_use_of_rotations_is_named(name: str) -> None:
    found = check_table(particles(Pose(lab_from_particle=wobble() @ ROTATION_FAULTS[name], shift=KIT.pose.shift)), KIT)
    assert found[0].aspect == "rotations"
    assert found[0].words.startswith(name + " (")
    assert found[0].verdict == ("agrees" if name == "rotations as ours" else "differs")
    assert differing(found) <= {"rotations"}


TRUE_ANGLES = euler_from_matrix(KIT.pose.lab_from_particle.mT)
ANGLE_FAULTS = {
    "rot and psi exchanged": TRUE_ANGLES.flip(-1),
    "signs of all angles reversed": -TRUE_ANGLES,
    "sign of rot reversed": TRUE_ANGLES * torch.tensor([-1, 1, 1]),
    "sign of psi reversed": TRUE_ANGLES * torch.tensor([1, 1, -1]),
    "angles in radians": TRUE_ANGLES * math.pi / 180,
    "Euler angles ZXZ about moving axes": euler_from_matrix(KIT.pose.lab_from_particle.mT, order="ZXZ"),
    "Euler angles XYZ about fixed axes": euler_from_matrix(KIT.pose.lab_from_particle.mT, order="xyz"),
    "Euler angles ZYX about moving axes, inverse": euler_from_matrix(KIT.pose.lab_from_particle, order="ZYX"),
}


@pytest.mark.parametrize("name", list(ANGLE_FAULTS))
def test_each_meaning_of_three_angles_is_named(name: str) -> None:
    angles = ANGLE_FAULTS[name]
    pose = Pose(lab_from_particle=matrix_from_euler(angles).mT, shift=KIT.pose.shift)
    assert check_table(particles(pose), KIT, angles=angles)[0].words.startswith(name + " (")


SIGNS = {"shifts as ours": (1, 1), "other sign": (-1, -1), "x of the other sign": (-1, 1), "y of the other sign": (1, -1)}


@pytest.mark.parametrize("unit", ["Å", "pixels", "Å times the pixel size"])
@pytest.mark.parametrize("exchange", [False, True])
@pytest.mark.parametrize("name", list(SIGNS))
def test_each_use_of_shifts_is_named(name: str, exchange: bool, unit: str) -> None:
    shift = KIT.pose.shift.flip(-1) if exchange else KIT.pose.shift
    factor = {"Å": 1.0, "pixels": 1 / STEP, "Å times the pixel size": STEP}[unit]
    shift = shift * torch.tensor(SIGNS[name]) * factor
    shift = shift + noise(shift, 0.08)
    found = by_aspect(check_table(particles(Pose(lab_from_particle=KIT.pose.lab_from_particle, shift=shift)), KIT))["shifts"]
    words = ("x and y exchanged" + (f", {name}" if name != "shifts as ours" else "")) if exchange else name
    if unit != "Å":
        words = f"shifts in {unit}" if words == "shifts as ours" else f"{words}, in {unit}"
    assert found.words.startswith(words + " (")


def test_shifts_that_were_left_out_are_told() -> None:
    pose = Pose(lab_from_particle=KIT.pose.lab_from_particle, shift=torch.zeros(24, 2, dtype=torch.float64))
    assert by_aspect(check_table(particles(pose), KIT))["shifts"].words == "no shifts"


@pytest.mark.parametrize(("first", "words"), [(1, "images count from 1"), (0, "images count from 0"), (2, "images count from 2")])
def test_what_images_are_counted_from_is_told_in_part_of_the_kit_too(first: int, words: str) -> None:
    rows = torch.arange(4, 19)
    numbers = [row + first for row in rows.tolist()]
    chosen = particles(KIT.pose[rows], defocus=KIT.defocus[rows])
    found = by_aspect(check_table(chosen, KIT, numbers=numbers))
    assert found["numbering"].words.startswith(words)
    assert found["rotations"].verdict == "agrees"
    assert found["defocus"].verdict == "agrees"


def test_defocus_signs_units_and_angles_are_told() -> None:
    d = KIT.defocus
    cases = {
        "underfocus negative": replace(d, major=-d.major, minor=-d.minor),
        "U and V exchanged": replace(d, major=d.minor, minor=d.major),
        "defocus as ours (Å, underfocus positive) in μm": replace(d, major=d.major * 1e-4, minor=d.minor * 1e-4),
        "mean and half difference": replace(d, major=(d.major + d.minor) / 2, minor=(d.major - d.minor) / 2),
    }
    for words, defocus in cases.items():
        assert by_aspect(check_table(particles(defocus=defocus), KIT))["defocus"].words == words
    turns = {
        "astigmatism angle as ours": d.azimuth + math.pi,
        "angle of V, or from the y axis": d.azimuth - math.pi / 2,
        "angle of the other sense": -d.azimuth,
        "angle in radians": d.azimuth * math.pi / 180,
    }
    for words, azimuth in turns.items():
        assert by_aspect(check_table(particles(defocus=replace(d, azimuth=azimuth)), KIT))["astigmatism angle"].words == words


def test_tables_of_other_particles_fit_nothing_or_are_refused(generator: torch.Generator) -> None:
    from cryowalk.geometry.sampling import random_rotations

    other = Pose(lab_from_particle=random_rotations(24, generator=generator), shift=KIT.pose.shift)
    assert check_table(particles(other, defocus=None), KIT)[0].verdict == "none fits"
    with pytest.raises(InputError, match="no poses"):
        check_table(replace(particles(), pose=None), KIT)
    with pytest.raises(InputError, match="5 rows"):
        check_table(particles(KIT.pose[torch.arange(5)], defocus=None), KIT)
    with pytest.raises(InputError, match="fewer than 6"):
        check_table(particles(KIT.pose[torch.arange(8)], defocus=None), KIT, numbers=range(100, 108))


# ------------------------------------------------------------------ picks


@pytest.mark.parametrize("unit", ["pixels", "Å", "pixels of a micrograph binned by 2"])
@pytest.mark.parametrize("reading", list(READINGS))
def test_each_reading_of_picks_is_named_whatever_their_order(reading: str, unit: str, generator: torch.Generator) -> None:
    height, width = KIT.micrograph_size
    x, y = KIT.picks.positions.unbind(-1)
    if (
        "y from the last" in reading
        or "y counts from the last" in reading
        or "both from" in reading
        or "x and y count" in reading
    ):
        y = height - 1 - y
    if (
        "x from the last" in reading
        or "x counts from the last" in reading
        or "both from" in reading
        or "x and y count" in reading
    ):
        x = width - 1 - x
    places = torch.stack((y, x) if "exchanged" in reading else (x, y), dim=-1)
    factor = {"pixels": 1.0, "Å": STEP, "pixels of a micrograph binned by 2": 0.5}[unit]
    places = places[torch.randperm(len(places), generator=generator)][:-1] * factor
    places = torch.cat([places, torch.tensor([[17.0, 23.0]], dtype=torch.float64)])  # one is missing, one is wrong
    found = by_aspect(check_picks(Coordinates(positions=places), KIT))
    assert found["axes"].words.startswith(reading + " (")
    assert found["units"].words.startswith(unit + " (")
    assert found["origin"].verdict == "agrees"


@pytest.mark.parametrize(
    ("offset", "words"), [(1.0, "one pixel"), (0.5, "half a pixel"), (-30.0, "moved by (-30.00, -30.00) pixels")]
)
def test_counting_from_1_half_pixels_and_box_corners_are_told(offset: float, words: str) -> None:
    found = by_aspect(check_picks(Coordinates(positions=KIT.picks.positions + offset), KIT))["origin"]
    assert words in found.words
    if offset == -30:
        assert "corners of boxes of 60 pixels" in found.fix


def test_other_picks_fit_nothing_and_too_few_are_refused(generator: torch.Generator) -> None:
    other = torch.rand(11, 2, generator=generator, dtype=torch.float64) * torch.tensor([480.0, 352.0])
    assert check_picks(Coordinates(positions=other), KIT)[0].verdict == "none fits"
    with pytest.raises(InputError, match="too few"):
        check_picks(Coordinates(positions=other[:3]), KIT)


# ------------------------------------------------------------------ verdicts


def test_two_hypotheses_that_fit_alike_are_not_told_apart() -> None:
    pair = [Hypothesis(name="one", score=0.97), Hypothesis(name="other", score=0.96, fix="do it")]
    found = judged("thing", pair, least=0.5)
    assert found.verdict == "none fits"
    assert "0.97" in found.words
    assert "“other” 0.96" in found.words
