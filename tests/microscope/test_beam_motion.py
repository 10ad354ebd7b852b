"""Motion in the beam: its envelopes in closed form, its field, what happens within a frame, and RELION's polynomial."""

import math

import pytest
import torch

from cryowalk.core.errors import ShapeError, UsageError
from cryowalk.data.motion import Motion
from cryowalk.fourier.grids import frequency_grid
from cryowalk.fourier.transform import to_fourier, to_real
from cryowalk.microscope.beam_motion import (
    displacement,
    displacement_field,
    displacement_within,
    draw_motion,
    drift_transfer,
    fit_relion_model,
    jitter_b_factor,
    local_basis,
    motion_envelope,
    motion_of_relion_model,
    within_frame,
)
from cryowalk.microscope.delivery_settings import MotionSettings

FIELD = (5000.0, 3600.0)
STILL = {"drift": 0.0, "jitter": 0.0, "early_motion": 0.0, "doming": 0.0, "local_motion": 0.0}


def seeded(seed=5):
    return torch.Generator().manual_seed(seed)


def motion_of(frames=20, seed=5, dose_per_frame=1.2, **choices):
    settings = MotionSettings(**choices)
    return draw_motion(settings, frames=frames, dose_per_frame=dose_per_frame, field=FIELD, generator=seeded(seed))


def places(generator, count=40):
    return torch.rand(count, 2, generator=generator, dtype=torch.float64) * torch.tensor(FIELD, dtype=torch.float64)


@pytest.mark.parametrize(("drift", "expected"), [(1.0, 0.8269933), (2.0, 0.4134967), (3.0, 0.0)])
def test_a_uniform_drift_has_the_envelope_of_a_line(drift, expected):
    k = torch.tensor(1 / 3, dtype=torch.float64)
    assert motion_envelope(k, drift=drift).item() == pytest.approx(expected, abs=1e-7)


def test_jitter_is_a_b_factor():
    assert jitter_b_factor(0.5) == pytest.approx(19.7392, abs=1e-4)
    k = torch.linspace(0, 0.5, 7, dtype=torch.float64)
    torch.testing.assert_close(motion_envelope(k, jitter=0.5), torch.exp(-jitter_b_factor(0.5) * k**2 / 4))
    # a normal jitter of the phase 2πku has the mean exp(−2π²u²k²)
    u = 0.5 * torch.randn(400_000, generator=seeded(), dtype=torch.float64)
    mean = torch.cos(2 * math.pi * k[:, None] * u).mean(dim=1)
    torch.testing.assert_close(motion_envelope(k, jitter=0.5), mean, rtol=0, atol=4e-3)


@pytest.mark.parametrize("size", [(24, 24), (25, 23)])
def test_a_frame_that_drifts_is_the_mean_of_its_moments(size, generator):
    image = torch.randn(size, generator=generator, dtype=torch.float64)
    kx, ky = frequency_grid(size, pixel_size=1.3, like=image)
    drift = torch.tensor([1.7, -2.6], dtype=torch.float64)
    blurred = to_real(to_fourier(image) * drift_transfer(kx, ky, drift=drift), width=size[1])
    steps = 2000
    part = (torch.arange(steps, dtype=torch.float64) + 0.5) / steps - 0.5
    phase = torch.exp(-2j * math.pi * (kx * drift[0] + ky * drift[1])[..., None] * part).mean(dim=-1)
    moments = to_real(to_fourier(image) * phase, width=size[1])
    torch.testing.assert_close(blurred, moments, rtol=0, atol=2e-6)


def test_frame_0_is_the_origin_and_a_seed_is_a_motion(generator):
    motion = motion_of()
    positions = places(generator)
    moved = displacement(motion, positions)
    assert moved.shape == (20, 40, 2)
    assert torch.equal(moved[0], torch.zeros(40, 2, dtype=torch.float64))
    again, other = motion_of(), motion_of(seed=6)
    assert torch.equal(again.global_displacement, motion.global_displacement)
    assert torch.equal(again.local, motion.local)
    assert not torch.allclose(other.global_displacement, motion.global_displacement)
    assert moved.std(dim=1).max() > 0.1  # the movement differs over the field


def test_drift_is_straight_and_steady():
    still = motion_of(**STILL)
    assert still.global_displacement.abs().max() == 0
    assert still.local.abs().max() == 0
    steady = motion_of(**{**STILL, "drift": 0.3}).global_displacement
    lengths = steady.diff(dim=0).norm(dim=1)
    torch.testing.assert_close(lengths, torch.full((19,), 0.3 * 1.2, dtype=torch.float64))
    assert steady[-1].norm().item() == pytest.approx(0.3 * 1.2 * 19)


def test_early_motion_falls_off_with_the_dose():
    speed = motion_of(**{**STILL, "early_motion": 4.0, "early_dose": 3.0}).global_displacement.diff(dim=0).norm(dim=1)
    torch.testing.assert_close(speed[1:] / speed[:-1], torch.full((18,), math.exp(-1.2 / 3.0), dtype=torch.float64))
    whole = motion_of(frames=4000, dose_per_frame=0.01, **{**STILL, "early_motion": 4.0}).global_displacement
    assert whole[-1].norm().item() == pytest.approx(4.0, rel=0.005)


def test_the_random_walk_spreads_with_the_root_of_the_dose():
    ends = torch.stack(
        [
            motion_of(seed=seed, frames=11, dose_per_frame=0.9, **{**STILL, "jitter": 0.2}).global_displacement[-1]
            for seed in range(800)
        ]
    )
    assert ends.std().item() == pytest.approx(0.2 * math.sqrt(9.0), rel=0.05)
    assert ends.mean().abs().item() < 0.05


def test_the_dome_is_the_height_of_a_tilted_film(generator):
    tilt, azimuth = 0.1, 0.7
    choices = {**STILL, "doming": 80.0, "film_tilt": tilt, "film_tilt_azimuth": azimuth, "early_dose": 3.0}
    motion = motion_of(frames=400, dose_per_frame=0.2, **choices)
    positions = places(generator)
    u, v = positions[:, 0] / FIELD[0] - 0.5, positions[:, 1] / FIELD[1] - 0.5
    course = math.exp(-0.1 / 3.0) - math.exp(-(399.5 * 0.2) / 3.0)
    height = 80.0 * course * (1 - 2 * (u**2 + v**2))
    uphill = torch.tensor([math.cos(azimuth), math.sin(azimuth)], dtype=torch.float64)
    torch.testing.assert_close(displacement(motion, positions)[-1], height[:, None] * math.sin(tilt) * uphill)
    assert motion_of(**{**choices, "film_tilt": 0.0}).local.abs().max() == 0  # seen from straight above a dome moves nothing


def test_local_motion_has_the_stated_spread(generator):
    positions = places(generator, count=4000)
    spread = [
        displacement(motion_of(frames=40, seed=seed, **{**STILL, "local_motion": 1.5}), positions)[-1].var(dim=0)
        for seed in range(300)
    ]
    course = math.exp(-0.6 / 3.0)  # what is left after the middle of frame 0
    assert torch.stack(spread).mean().sqrt().item() == pytest.approx(1.5 * course, rel=0.05)


@pytest.mark.parametrize("size", [(36, 50), (37, 51)])
def test_the_field_is_the_displacement_at_every_pixel(size):
    motion = motion_of()
    pixel = FIELD[0] / size[1]
    field = displacement_field(motion, 7, size=size, pixel_size=pixel)
    y, x = torch.meshgrid(*(torch.arange(side, dtype=torch.float64) * pixel for side in size), indexing="ij")
    expected = displacement(motion, torch.stack([x, y], dim=-1))[7]
    torch.testing.assert_close(field, expected.movedim(-1, 0))
    single = displacement_field(motion, 7, size=size, pixel_size=pixel, dtype=torch.float32)
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), field, rtol=0, atol=1e-4)


def test_a_motion_without_a_local_part(generator):
    motion = Motion(global_displacement=torch.tensor([[0.0, 0.0], [1.0, -2.0]]), field=FIELD)
    moved = displacement(motion, torch.rand(3, 2, generator=generator) * 1000)
    assert moved.shape == (2, 3, 2)
    assert moved.dtype == torch.float32
    assert torch.equal(moved[1], torch.tensor([[1.0, -2.0]]).expand(3, 2))
    assert torch.equal(displacement_field(motion, 1, size=(4, 5), pixel_size=2.0)[1], torch.full((4, 5), -2.0))
    assert fit_relion_model(motion).abs().max() == 0


def test_frames_join_and_their_spans_add_up(generator):
    motion = motion_of()
    for frame in range(19):
        torch.testing.assert_close(within_frame(motion, frame)[1], within_frame(motion, frame + 1)[0])
    positions = places(generator, count=6)
    spans = displacement_within(motion, positions)
    assert spans.shape == (20, 6, 2)
    moved = displacement(motion, positions)
    beyond = (moved[1] - moved[0]) / 2 + (moved[-1] - moved[-2]) / 2  # before the first middle and after the last
    torch.testing.assert_close(spans.sum(dim=0), moved[-1] - moved[0] + beyond)
    steady = motion_of(**{**STILL, "drift": 0.5})
    torch.testing.assert_close(displacement_within(steady, positions).norm(dim=-1), torch.full((20, 6), 0.6, dtype=torch.float64))
    alone = motion_of(frames=1)
    assert displacement_within(alone, positions).abs().max() == 0


def test_relions_polynomial_is_written_in_its_order(generator):
    """shift_x = (c0 z + c1 z² + c2 z³) + (c3 z + …) x + (c6 …) x² + (c9 …) y + (c12 …) y² + (c15 …) xy, term by term."""
    coefficients = torch.randn(2, 18, generator=generator, dtype=torch.float64) * 1e-2
    still = torch.zeros(9, 2, dtype=torch.float64)
    motion = motion_of_relion_model(coefficients, global_displacement=still, field=FIELD)
    positions = places(generator, count=5)
    moved = displacement(motion, positions)
    for index, (px, py) in enumerate(positions.tolist()):
        x, y = px / FIELD[0] - 0.5, py / FIELD[1] - 0.5
        for z in (0, 3, 8):
            for axis in (0, 1):
                c = coefficients[axis].tolist()
                expected = (
                    (c[0] * z + c[1] * z**2 + c[2] * z**3)
                    + (c[3] * z + c[4] * z**2 + c[5] * z**3) * x
                    + (c[6] * z + c[7] * z**2 + c[8] * z**3) * x**2
                    + (c[9] * z + c[10] * z**2 + c[11] * z**3) * y
                    + (c[12] * z + c[13] * z**2 + c[14] * z**3) * y**2
                    + (c[15] * z + c[16] * z**2 + c[17] * z**3) * x * y
                )
                assert moved[z, index, axis].item() == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("frames", [1, 2, 3, 4, 60])
def test_a_motion_of_relions_form_is_fitted_exactly(frames, generator):
    coefficients = torch.randn(2, 6, 3, generator=generator, dtype=torch.float64)
    coefficients[:, 0] = 0
    start = torch.randn(frames, 2, generator=generator, dtype=torch.float64)
    motion = motion_of_relion_model(coefficients.reshape(2, 18), global_displacement=start, field=FIELD)
    fitted = fit_relion_model(motion)
    again = motion_of_relion_model(fitted, global_displacement=motion.global_displacement, field=FIELD)
    torch.testing.assert_close(again.local, motion.local, rtol=1e-9, atol=1e-9 * motion.local.abs().max().item())
    if frames > 3:
        torch.testing.assert_close(fitted.reshape(2, 6, 3), coefficients, rtol=1e-6, atol=1e-6)


def test_the_fit_to_an_exponential_is_the_least_squares_one(generator):
    """Against one fit of all 18 coefficients to displacements at many places, as RELION does it."""
    motion = motion_of(frames=24)
    positions = places(generator, count=300)
    basis = torch.cat([torch.ones(300, 1, dtype=torch.float64), local_basis(positions, field=FIELD)], dim=1)
    number = torch.arange(24, dtype=torch.float64)
    powers = torch.stack([number, number**2, number**3], dim=1)
    rows = torch.einsum("fp,nj->fnjp", powers, basis[:, 1:]).reshape(24 * 300, 15)
    local = displacement(motion, positions) - motion.global_displacement[:, None]
    solution = torch.linalg.lstsq(rows, local.reshape(-1, 2), driver="gelsd").solution
    ours = fit_relion_model(motion).reshape(2, 6, 3)[:, 1:].reshape(2, 15)
    predicted = rows @ ours.T
    torch.testing.assert_close(predicted, rows @ solution, rtol=0, atol=1e-6)
    assert (predicted - local.reshape(-1, 2)).square().mean().sqrt() < 0.25  # Å: a cubic follows an exponential only so well


def test_displacement_is_differentiable(generator):
    motion = motion_of(frames=4)
    positions = places(generator, count=3).requires_grad_()
    start = motion.global_displacement.clone().requires_grad_()
    local = motion.local.clone().requires_grad_()

    def moved(positions, start, local):
        return displacement(Motion(global_displacement=start, local=local, field=FIELD), positions)

    assert torch.autograd.gradcheck(moved, (positions, start, local))


def test_bad_input_is_named():
    with pytest.raises(UsageError, match="at least one frame"):
        motion_of(frames=0)
    with pytest.raises(UsageError, match="dose per frame"):
        motion_of(dose_per_frame=-1.0)
    with pytest.raises(UsageError, match="early dose"):
        motion_of(early_dose=0.0)
    with pytest.raises(UsageError, match="setting local motion"):
        motion_of(local_motion=math.nan)
    with pytest.raises(UsageError, match="frames 0 to 19"):
        displacement_field(motion_of(), 20, size=(4, 4), pixel_size=1.0)
    with pytest.raises(ShapeError, match="2 × 18"):
        motion_of_relion_model(torch.zeros(18, 2), global_displacement=torch.zeros(3, 2), field=FIELD)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device: motion on a GPU was not tested")
def test_motion_follows_its_generator_and_places_to_a_device():
    generator = torch.Generator(device="cuda").manual_seed(5)
    motion = draw_motion(MotionSettings(), frames=5, dose_per_frame=1.2, field=FIELD, generator=generator)
    assert motion.global_displacement.device.type == "cuda"
    positions = torch.rand(7, 2, device="cuda") * 3000
    moved = displacement(motion, positions)
    assert moved.device.type == "cuda"
    there = Motion(global_displacement=motion.global_displacement.cpu(), local=motion.local.cpu(), field=FIELD)
    torch.testing.assert_close(moved.cpu(), displacement(there, positions.cpu()))
    torch.testing.assert_close(fit_relion_model(motion).cpu(), fit_relion_model(there), rtol=1e-6, atol=1e-9)
    assert displacement_field(motion, 3, size=(20, 30), pixel_size=100.0).device.type == "cuda"
    assert displacement_within(motion, positions).device.type == "cuda"
