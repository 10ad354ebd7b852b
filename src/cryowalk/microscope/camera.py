"""The camera: from the expected electrons in each pixel to what is recorded.

A camera that counts each electron with probability DQE(0), smears it and adds noise of its own is simulated by two filters around the counting:
the expected image is filtered by √(DQE(k) DQE(0)), Poisson numbers are drawn, and those are filtered by gain · MTF(k)/√(DQE(k) DQE(0)). The mean is
then gain · MTF ∗ expected and the noise power of a flat field gain² · dose · MTF²/DQE, so that gain² · dose · MTF²/(noise power) is the DQE that was set,
at zero frequency too.

Source: Vulović et al., J. Struct. Biol. 183, 19 (2013), section 2.4 (there with √DQE, which leaves a factor √DQE(0)); McMullan, Faruqi, Clare &
Henderson, Ultramicroscopy 147, 156 (2014).
"""

from functools import lru_cache

import torch
from jaxtyping import Float
from torch import Tensor

from cryowalk.core.errors import InputError, ShapeError
from cryowalk.data.camera import Camera, Response
from cryowalk.fourier.transform import to_fourier, to_real
from cryowalk.microscope.detector_curves import is_flat, noise_transfer_of, require_camera, transfer
from cryowalk.microscope.detector_presets import CAMERAS as CAMERAS
from cryowalk.numerics.poisson import binomial, poisson


def record(expected: Float[Tensor, "*batch h w"], camera: Camera, *, generator: torch.Generator) -> Float[Tensor, "*batch h w"]:
    """The recorded image of these expected electrons per pixel, in the camera's output units.

    Expected numbers below zero (a linear image of a strong specimen) count as zero. With `frame_rate` and `dose_rate` known, electrons that
    coincide in a raw frame are counted once. The result is that of the generator's state, on a CPU whatever the number of threads.

    Raises
    ------
    InputError
        If a number is not finite.
    UsageError
        If the camera's curves are not possible.

    Example
    -------
    >>> import torch
    >>> frame = record(torch.full((64, 64), 1.2), Camera(), generator=torch.Generator().manual_seed(1))
    >>> bool((frame == frame.round()).all())
    True
    """
    require_camera(camera)
    if expected.ndim < 2:
        raise ShapeError(f"an image has two axes: got the shape {tuple(expected.shape)}")
    if not bool(torch.isfinite(expected.sum())) and not bool(torch.isfinite(expected).all()):
        raise InputError("the expected electrons per pixel must be finite", cause="an image divided by zero, or an overflow")
    if camera.noise == "none":
        recorded = expected_image(expected, camera)
    else:
        before, after = _filters(camera, (expected.shape[-2], expected.shape[-1]), expected.dtype, expected.device)
        detected = counted(_filtered(expected, before), camera, generator=generator)
        recorded = _filtered(detected, after)
    return _with_readout_noise(recorded, camera, generator)


def expected_image(expected: Float[Tensor, "*batch h w"], camera: Camera) -> Float[Tensor, "*batch h w"]:
    """The mean of what is recorded, gain · MTF ∗ expected, output units: without noise, coincidence or flaws, and differentiable."""
    require_camera(camera)
    if is_flat(camera.mtf) and camera.pixel != "square":
        return expected * camera.gain
    curves = transfer(camera, (expected.shape[-2], expected.shape[-1]), dtype=expected.dtype, device=expected.device)
    return _filtered(expected, curves.signal * camera.gain)


def counted(expected: Float[Tensor, "*batch h w"], camera: Camera, *, generator: torch.Generator) -> Float[Tensor, "*batch h w"]:
    """The electrons that are counted in each pixel: Poisson numbers, or with coincidence binomial ones.

    In m raw frames a pixel expecting n electrons in each is hit in a frame with probability 1 − e^(−nA), A the coincidence area, and so counts
    a binomial number of m · (1 − e^(−nA))/A on average. m is the mean of the image over `dose_rate`, times `frame_rate`.
    """
    if camera.mode != "counting" or camera.frame_rate is None or camera.dose_rate is None:
        return poisson(expected, generator=generator)
    images = expected.reshape(-1, *expected.shape[-2:])
    area = camera.coincidence_area * camera.sampling**2
    result = torch.empty_like(images)
    for index, image in enumerate(images):
        exposure = float(image.clamp_min(0).mean(dtype=torch.float64)) * camera.sampling**2 / camera.dose_rate  # s
        frames = max(1, round(exposure * camera.frame_rate))
        chance = -torch.expm1(image.clamp_min(0) * (-area / frames)) / area
        result[index] = binomial(chance, trials=frames, generator=generator)
    return result.reshape(expected.shape)


def noise_transfer(camera: Camera) -> Response:
    """The noise transfer MTF/√DQE: √(noise power) relative to an ideal camera's; the power of a flat field is gain² · dose · its square.

    A square pixel leaves it as it is: it lowers the signal, while the noise of counted electrons stays white.
    """
    return noise_transfer_of(camera.mtf, camera.dqe)


@lru_cache(maxsize=2)
def _filters(
    camera: Camera, size: tuple[int, int], dtype: torch.dtype, device: torch.device
) -> tuple[Tensor | float, Tensor | float]:
    """The filters before and after the counting, on the half spectrum, or single factors where they are flat."""
    detected = float(camera.dqe.value[0])
    if is_flat(camera.mtf) and is_flat(camera.dqe) and camera.pixel != "square":
        return detected, camera.gain / detected
    curves = transfer(camera, size, dtype=torch.float64)
    before = torch.sqrt(curves.efficiency * detected)
    after = curves.noise * (camera.gain / detected**0.5)
    return _number_if_flat(before, dtype, device), _number_if_flat(after, dtype, device)


def _number_if_flat(factor: Tensor, dtype: torch.dtype, device: torch.device) -> Tensor | float:
    low, high = (float(value) for value in factor.aminmax())
    return low if high - low <= 1e-12 * high else factor.to(device, dtype)


def _filtered(images: Tensor, factor: Tensor | float) -> Tensor:
    """The images with their spectra multiplied by the factor; a number needs no transform."""
    if isinstance(factor, float):
        return images if factor == 1 else images * factor
    return to_real(to_fourier(images) * factor, width=images.shape[-1])


def _with_readout_noise(recorded: Tensor, camera: Camera, generator: torch.Generator) -> Tensor:
    if camera.readout_noise == 0 or camera.noise == "none":
        return recorded
    noise = torch.randn(recorded.shape, generator=generator, dtype=recorded.dtype, device=generator.device)
    return recorded + camera.readout_noise * noise.to(recorded.device)
