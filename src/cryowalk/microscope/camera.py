"""The camera: from the expected electrons in each pixel to what is recorded.

A camera that counts each electron with probability DQE(0), smears it and adds noise of its own is simulated by two filters around the counting:
the expected image is filtered by √(DQE(k) DQE(0)), Poisson numbers are drawn, and those are filtered by gain · MTF(k)/√(DQE(k) DQE(0)). The mean is
then gain · MTF ∗ expected and the noise power of a flat field gain² · dose · MTF²/DQE, so that gain² · dose · MTF²/(noise power) is the DQE that was set,
at zero frequency too.

Source: Vulović et al., J. Struct. Biol. 183, 19 (2013), section 2.4 (there with √DQE, which leaves a factor √DQE(0)); McMullan, Faruqi, Clare &
Henderson, Ultramicroscopy 147, 156 (2014).
"""

from dataclasses import replace
from functools import lru_cache

import torch
from jaxtyping import Float
from torch import Tensor

from cryowalk.core.errors import InputError, ShapeError, UsageError
from cryowalk.data.camera import Camera, Response
from cryowalk.fourier.transform import filtered_image, filtering_half_spectrum, resample, to_fourier, to_real
from cryowalk.microscope.detector_curves import (
    is_flat,
    noise_transfer_of,
    require_camera,
    transfer,
)
from cryowalk.microscope.detector_events import counts_in_law, summed_deposits
from cryowalk.microscope.detector_flaws import Defects as Defects
from cryowalk.microscope.detector_flaws import corrected as corrected
from cryowalk.microscope.detector_flaws import defects as defects
from cryowalk.microscope.detector_flaws import gain_reference as gain_reference
from cryowalk.microscope.detector_flaws import require_same_size
from cryowalk.microscope.detector_presets import CAMERAS as CAMERAS
from cryowalk.microscope.detector_presets import tem_simulator_camera as tem_simulator_camera
from cryowalk.numerics.poisson import poisson

_FLAT = Camera().mtf


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
        return expected_image(expected, camera)
    if camera.model == "events":
        recorded = _recorded_events(expected, camera, generator)
    else:
        before, after = _filters(camera, (expected.shape[-2], expected.shape[-1]), expected.dtype, expected.device)
        detected = counted(_filtered(expected, before), camera, generator=generator)
        recorded = _filtered(detected, after)
    return _with_readout_noise(recorded, camera, generator)


def record_raw(
    expected: Float[Tensor, "*batch h w"],
    camera: Camera,
    *,
    gain_reference: Float[Tensor, "h w"],
    defects: Defects | None = None,
    generator: torch.Generator,
) -> Float[Tensor, "*batch h w"]:
    """An uncorrected frame of these expected electrons per pixel, output units: what `corrected` turns into `camera.record`'s on average.

    Where the recorded pixels are counts (a counting camera that follows events, or whose curves are flat) the sensitivity 1/gain reference is the
    chance to count an electron, so that a raw pixel is a whole number; elsewhere it scales the signal.
    """
    require_same_size(expected, gain_reference)
    if camera.mode == "counting" and (camera.model == "events" or (is_flat(camera.mtf) and is_flat(camera.dqe))):
        arriving = expected_image(expected, replace(camera, gain=1.0))
        raw = record(arriving / gain_reference, replace(camera, mtf=_FLAT, pixel="in the curves"), generator=generator)
    else:
        raw = record(expected, camera, generator=generator) / gain_reference
    if defects is None:
        return raw
    require_same_size(expected, defects.value)
    return torch.where(defects.is_defective, defects.value.to(raw), raw)


def expected_image(expected: Float[Tensor, "*batch h w"], camera: Camera) -> Float[Tensor, "*batch h w"]:
    """The mean of what is recorded, gain · MTF ∗ expected, output units: without noise, coincidence or flaws, and differentiable."""
    require_camera(camera)
    return _blurred(expected, camera) * camera.gain


def counted(expected: Float[Tensor, "*batch h w"], camera: Camera, *, generator: torch.Generator) -> Float[Tensor, "*batch h w"]:
    """The electrons that are counted in each pixel: Poisson numbers, or with coincidence binomial ones.

    `expected` are electrons that will be detected, DQE(0) of those that arrive. In each of m raw frames a cell of the coincidence area that expects
    n of them counts one with probability 1 − e^(−n), so that it counts a binomial number, m · (1 − e^(−n)) on average; m is `raw_frames`.
    """
    if camera.mode != "counting" or camera.frame_rate is None or camera.dose_rate is None:
        return poisson(expected, generator=generator)
    images = expected.reshape(-1, *expected.shape[-2:])
    result = torch.empty_like(images)
    for index, image in enumerate(images):
        result[index] = counts_in_law(image, camera, raw_frames=_raw_frames_of(image, camera), generator=generator)
    return result.reshape(expected.shape)


def raw_frames(electrons: float, camera: Camera) -> int:
    """The number of raw frames in which this many electrons per camera pixel arrive: electrons/`dose_rate` · `frame_rate`, at least one.

    Raises
    ------
    UsageError
        If the camera's rates are not known.
    """
    if camera.frame_rate is None or camera.dose_rate is None:
        raise UsageError(
            "the number of raw frames needs the camera's frame rate and dose rate",
            fix="dataclasses.replace(camera, frame_rate=…, dose_rate=…)",
        )
    return max(1, round(electrons / camera.dose_rate * camera.frame_rate))


def _raw_frames_of(detected: Tensor, camera: Camera) -> int:
    """The raw frames of an image of electrons that will be detected, of which DQE(0) times more arrived."""
    mean = float(detected.clamp_min(0).mean(dtype=torch.float64))
    return raw_frames(mean * camera.sampling**2 / camera.dqe.value[0], camera)


def binned(images: Float[Tensor, "*batch h w"], factor: int) -> Float[Tensor, "*batch h2 w2"]:
    """Images with `factor` × `factor` pixels made one by Fourier cropping: electrons are summed, and nothing above the new Nyquist is folded back.

    Super-resolution frames become those of camera pixels with factor 2.

    Raises
    ------
    ShapeError
        If the sides are not multiples of the factor.
    """
    height, width = images.shape[-2:]
    if factor < 1 or height % factor or width % factor:
        raise ShapeError(f"binning by {factor} needs sides that are its multiples: got {height} × {width} (height × width)")
    return resample(images, (height // factor, width // factor)) * factor**2


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


def _recorded_events(expected: Tensor, camera: Camera, generator: torch.Generator) -> Tensor:
    """The image of single electrons: summed deposits, or found events scaled to `gain` for each electron that arrived."""
    if camera.mode == "integrating":
        arriving = _blurred(expected, replace(camera, mtf=_FLAT))
        deposits = summed_deposits(arriving, camera, generator=generator)
        return _blurred(deposits, replace(camera, pixel="in the curves")) * camera.gain
    detected = float(camera.dqe.value[0])
    found = counted(_blurred(expected, camera) * detected, camera, generator=generator)
    return found * (camera.gain / detected)


def _blurred(images: Tensor, camera: Camera) -> Tensor:
    """The images as the modulation transfer and the pixel's shape leave them."""
    if is_flat(camera.mtf) and camera.pixel != "square":
        return images
    blur = Camera(mtf=camera.mtf, pixel=camera.pixel, sampling=camera.sampling)
    return _filtered(images, _signal_transfer(blur, (images.shape[-2], images.shape[-1]), images.dtype, images.device))


@lru_cache(maxsize=4)
def _signal_transfer(camera: Camera, size: tuple[int, int], dtype: torch.dtype, device: torch.device) -> Tensor:
    return transfer(camera, size, dtype=dtype, device=device).signal


def _filtered(images: Tensor, factor: Tensor | float) -> Tensor:
    """The images with their spectra multiplied by the factor; a number needs no transform."""
    if isinstance(factor, float):
        return images if factor == 1 else images * factor
    if images.ndim > 2 or images.requires_grad:
        return to_real(to_fourier(images) * factor, width=images.shape[-1])
    # One large frame: where the origin lies cancels, and each pass over it that is left out is worth a tenth of its transform.
    return filtered_image(filtering_half_spectrum(images).mul_(factor), width=images.shape[-1])


def _with_readout_noise(recorded: Tensor, camera: Camera, generator: torch.Generator) -> Tensor:
    if camera.readout_noise == 0:
        return recorded
    noise = torch.randn(recorded.shape, generator=generator, dtype=recorded.dtype, device=generator.device)
    return recorded + camera.readout_noise * noise.to(recorded.device)
