"""Einstein from noise: published laws, Monte Carlo against the closed form, and phases that go to the reference's as 1/M."""

import math

import pytest
import torch
from skimage import data
from skimage import transform as image_transform

from cryowalk.core.errors import InputError, UsageError
from cryowalk.fourier.transform import to_fourier
from cryowalk.validation.reference_bias import picking_bias, reference_bias


@pytest.fixture(scope="module")
def photograph() -> torch.Tensor:
    """A photograph of 32 × 32 pixels: most of its power is at low frequencies, as in images of molecules."""
    return torch.from_numpy(image_transform.resize(data.camera(), (32, 32), anti_aliasing=True).copy())


def test_picked_noise_resembles_the_reference_as_the_law_says(golden: dict) -> None:
    case = golden["efn_wang2021"]
    n, m, p = case["n"], case["m"], case["p"]
    assert picking_bias(n, m, p) == pytest.approx(case["truncated_mean"], abs=5e-4)
    assert picking_bias(n, m, p) == pytest.approx(case["mc"], abs=case["tol_abs"])
    g = m / p * math.log(n / m)
    assert math.sqrt(2 * g / (1 + 2 * g)) == pytest.approx(case["asymptotic"], abs=5e-4)
    assert picking_bias(n, m, p) == pytest.approx(case["asymptotic"], abs=case["tol_abs"])


@pytest.mark.parametrize(("count", "picked", "side"), [(6000, 60, 24), (4000, 400, 32)])
def test_picking_noise_gives_what_the_closed_form_predicts(
    count: int, picked: int, side: int, generator: torch.Generator
) -> None:
    reference = torch.randn(side, side, generator=generator)
    unit = (reference - reference.mean()) / (reference - reference.mean()).norm()
    noise = torch.randn(count, side, side, generator=generator)
    best = (noise * unit).sum(dim=(1, 2)).argsort(descending=True)[:picked]
    average = noise[best].mean(dim=0)
    found = float((average * unit).sum() / average.norm())
    assert found == pytest.approx(picking_bias(count, picked, side * side), abs=0.03)


# Golden row 23: correlation 0.589, 0.825, 0.870 and phase error 2.03, 0.99, 0.19 rad² at M = 10², 10³, 10⁴, each ± 0.05 resp. 10 %.
@pytest.mark.parametrize(
    ("count", "correlation", "phase_error"),
    [(100, 0.589, 2.03), (1000, 0.825, 0.99), pytest.param(10000, 0.870, 0.19, marks=pytest.mark.slow)],
)
def test_aligned_noise_becomes_the_reference(
    photograph: torch.Tensor, count: int, correlation: float, phase_error: float
) -> None:
    found = reference_bias(photograph, count=count, generator=torch.Generator().manual_seed(count))
    assert found.correlation == pytest.approx(correlation, abs=0.05)
    assert abs(found.unaligned_correlation) <= 0.06  # 2σ of one draw: 1/√1024 = 0.031
    difference = torch.angle(to_fourier(found.average) * to_fourier(photograph - photograph.mean()).conj())
    assert float(difference.flatten()[1:].square().mean()) == pytest.approx(phase_error, abs=0.2)


@pytest.mark.slow
def test_two_halves_that_share_a_reference_agree_without_any_signal(photograph: torch.Tensor) -> None:
    found = reference_bias(photograph, count=10000, generator=torch.Generator().manual_seed(1))
    assert found.halves_correlation == pytest.approx(0.962, abs=0.05)


def test_more_freedom_and_picking_mean_more_bias(photograph: torch.Tensor) -> None:
    def bias(**choices) -> float:
        return reference_bias(photograph, count=400, generator=torch.Generator().manual_seed(5), **choices).correlation

    assert bias(angles=8) > bias() + 0.01
    assert bias(picked=0.1) < bias()  # fewer images leave more of the noise
    assert bias() > 0.6


def test_rotated_images_are_brought_back(photograph: torch.Tensor) -> None:
    """One noise image that is the reference turned: the alignment finds it, so the average is the reference."""
    from cryowalk.validation.reference_bias import _aligned, _turned

    disk = ((torch.arange(32) - 16.0)[:, None] ** 2 + (torch.arange(32) - 16.0) ** 2 < 12**2) * (photograph - photograph.mean())
    angles = torch.arange(4) * (math.pi / 2)
    spectra = to_fourier(_turned(disk.expand(4, -1, -1), angles)).conj()
    turned = _turned(disk[None], torch.tensor([math.pi / 2]))[0].roll((3, -4), dims=(0, 1))
    moved, _ = _aligned(turned[None], spectra)
    assert float((moved[0] * disk).sum() / (moved[0].norm() * disk.norm())) > 0.999


def test_coloured_noise_gives_the_rings_it_has_power_in(photograph: torch.Tensor, generator: torch.Generator) -> None:
    amplitude = torch.ones(17)
    amplitude[9:] = 1e-3
    found = reference_bias(photograph, count=300, generator=generator, noise_amplitude=amplitude)
    power = to_fourier(found.average).abs()
    assert float(power[0, 12:].max()) < 0.02 * float(power[0, 1:8].max())
    assert float(found.ring_correlation[1:6].mean()) > 0.4


def test_the_same_seed_gives_the_same_result(photograph: torch.Tensor) -> None:
    one, other = (reference_bias(photograph, count=50, generator=torch.Generator().manual_seed(9)) for _ in range(2))
    assert torch.equal(one.average, other.average)


def test_what_cannot_be_meant_is_refused(photograph: torch.Tensor, generator: torch.Generator) -> None:
    with pytest.raises(InputError, match="constant"):
        reference_bias(torch.ones(8, 8), count=10, generator=generator)
    with pytest.raises(UsageError, match="two images"):
        reference_bias(photograph, count=1, generator=generator)
    with pytest.raises(UsageError, match="picked"):
        picking_bias(10, 10, 100)
