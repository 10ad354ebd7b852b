"""The forward model from atoms to the camera carries gradients, whichever way the beam is scattered, and in batches."""

from dataclasses import replace

import pytest
import torch

from cryowalk.data import Atoms, Camera, Defocus, Gun, ObjectiveLens, Optics
from cryowalk.data.camera import Response
from cryowalk.microscope.camera import expected_image
from cryowalk.microscope.image_formation import image_of_wave
from cryowalk.microscope.scattering import exit_wave
from cryowalk.microscope.specimen import projected_potential_by_sum

SIZE, PIXEL, LAYERS = (20, 22), 0.8, 3
OPTICS = Optics(pixel_size=PIXEL, voltage_kv=200.0, spherical_aberration_mm=1.4, amplitude_contrast=0.08)
CAMERA = Camera(
    mtf=Response(frequency=(0.0, 0.25, 0.5), value=(1.0, 0.85, 0.5)),
    dqe=Response(frequency=(0.0, 0.5), value=(0.9, 0.4)),
    gain=3.0,
)
METHODS = ["weak_phase", "phase_grating", "ewald", "multislice"]


def atoms_at(positions, b_factors):
    count = len(positions)
    numbers = torch.tensor([6, 8, 79][:count])
    return Atoms(
        positions=positions, atomic_numbers=numbers, b_factors=b_factors, occupancies=torch.ones(count, dtype=positions.dtype)
    )


def recorded(positions, b_factors, defocus, *, method):
    """What the camera records on average: atoms in three sheets, wave, lens with partial coherence, 20 e⁻/Å², MTF and gain."""
    sheets = [
        projected_potential_by_sum(atoms_at(positions[i : i + 1], b_factors[i : i + 1]), size=SIZE, pixel_size=PIXEL)
        for i in range(LAYERS)
    ]
    wave = exit_wave(torch.stack(sheets), optics=OPTICS, slice_thickness=15.0, method=method)
    values = {name: torch.zeros(1, dtype=torch.float64) for name in ("azimuth", "phase_shift")}
    setting = Defocus(major=defocus + 50.0, minor=defocus - 50.0, **values)
    intensity = image_of_wave(wave, OPTICS, setting, gun=Gun(), lens=ObjectiveLens(aperture=0.02))
    return expected_image(20.0 * PIXEL**2 * intensity, CAMERA)


def start():
    generator = torch.Generator().manual_seed(2)
    positions = torch.randn(LAYERS, 3, generator=generator, dtype=torch.float64) * 2
    b_factors = torch.tensor([12.0, 20.0, 30.0], dtype=torch.float64)
    return positions, b_factors, torch.tensor([900.0], dtype=torch.float64)


@pytest.mark.parametrize("method", METHODS)
def test_gradients_reach_atoms_and_defocus(method):
    inputs = tuple(value.requires_grad_() for value in start())
    weights = torch.randn(*SIZE, generator=torch.Generator().manual_seed(5), dtype=torch.float64)

    def loss(positions, b_factors, defocus):
        return (recorded(positions, b_factors, defocus, method=method) * weights).sum()

    assert torch.autograd.gradcheck(loss, inputs, eps=1e-4, atol=1e-5, rtol=1e-4)
    gradients = torch.autograd.grad(loss(*inputs), inputs)
    assert float(gradients[0][:, :2].abs().min()) > 0
    assert float(gradients[1].abs().min()) > 0
    assert float(gradients[2].abs().min()) > 0


@pytest.mark.parametrize("method", METHODS)
def test_an_atom_finds_its_place_from_an_image(method):
    positions, b_factors, defocus = start()
    target = recorded(positions, b_factors, defocus, method=method).detach()
    offset = torch.tensor([0.25, -0.2, 0.0], dtype=torch.float64)
    guess = (positions + offset).requires_grad_()
    optimiser = torch.optim.LBFGS([guess], lr=0.5, max_iter=60, line_search_fn="strong_wolfe")

    def closure():
        optimiser.zero_grad()
        loss = (recorded(guess, b_factors, defocus, method=method) - target).square().sum()
        loss.backward()
        return loss

    optimiser.step(closure)
    assert float((guess - positions).detach()[:, :2].abs().max()) < 0.01


@pytest.mark.parametrize("method", METHODS)
def test_a_batch_is_its_images_one_by_one(method):
    generator = torch.Generator().manual_seed(9)
    slices = 40 * torch.rand(3, LAYERS, *SIZE, generator=generator, dtype=torch.float64)
    defocus = Defocus(
        major=torch.tensor([500.0, 900.0, 1500.0], dtype=torch.float64),
        minor=torch.tensor([450.0, 900.0, 1300.0], dtype=torch.float64),
        azimuth=torch.tensor([0.1, 0.0, 1.0], dtype=torch.float64),
        phase_shift=torch.zeros(3, dtype=torch.float64),
    )

    def image(some, setting):
        wave = exit_wave(some, optics=replace(OPTICS, amplitude_contrast=0.0), slice_thickness=15.0, method=method)
        return expected_image(image_of_wave(wave, OPTICS, setting, gun=Gun()), CAMERA)

    together = image(slices, defocus)
    for i in range(3):
        assert torch.allclose(together[i], image(slices[i], defocus[i : i + 1])[0], atol=1e-9)
