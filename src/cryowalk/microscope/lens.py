"""The lens: aberration phase, contrast transfer function, and how far it carries a particle's signal."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from cryowalk.core.checks import require_between, require_positive
from cryowalk.data.optics import Defocus, Optics
from cryowalk.fourier.grids import frequency_grid


def aberration_phase(
    kx: Float[Tensor, "*shape"], ky: Float[Tensor, "*other"], *, optics: Optics, defocus: Defocus
) -> Float[Tensor, "*result"]:
    """Aberration phase χ = πλ(Δf(k) k² − ½ Cs λ² k⁴), rad, at frequencies (kx, ky) in 1/Å: underfocus advances it, Cs holds it back.

    Δf(k) k² = ½(U + V) k² + ½(U − V)[cos 2α (kx² − ky²) + 2 sin 2α kx ky] with U, V, α the major and minor defocus and the azimuth. Always in
    float64: at 0.5 Å⁻¹ phases exceed a hundred radians, and a float32 has seven digits. The defocus has its batch axes, which must broadcast with the frequencies.

    Source: Rohou & Grigorieff, J. Struct. Biol. 192, 216 (2015), eqs. 3–5.
    """
    across, along, diagonal, quartic = _phase_coefficients(optics, defocus)
    kx, ky = kx.double(), ky.double()
    squared = kx**2 + ky**2
    return across * kx**2 + along * ky**2 + diagonal * kx * ky + quartic * squared**2


def _phase_coefficients(optics: Optics, defocus: Defocus) -> tuple[Tensor, Tensor, Tensor, float]:
    """The factors of kx², ky², kx·ky (one each an image) and k⁴ in the aberration phase, float64."""
    major, minor, azimuth = defocus.major.double(), defocus.minor.double(), defocus.azimuth.double()
    wavelength = optics.wavelength
    mean, half = (major + minor) / 2, (major - minor) / 2
    cosine, sine = half * torch.cos(2 * azimuth), half * torch.sin(2 * azimuth)
    factor = math.pi * wavelength
    quartic = -0.5 * math.pi * optics.spherical_aberration * wavelength**3
    return factor * (mean + cosine), factor * (mean - cosine), 2 * factor * sine, quartic


def contrast_transfer(optics: Optics, defocus: Defocus, *, size: tuple[int, int]) -> Float[Tensor, "*batch h half"]:
    """Contrast transfer function scale · exp(−B k²/4) · sin(χ + φ + arcsin Q) for protein-bright images, on the half spectrum of images of `size`.

    χ is `aberration_phase`, φ the phase shift, Q the amplitude contrast: +Q at k = 0. Phases are float64 inside, the values have the dtype of the
    defocus. Linear, coherent imaging of a weak phase object; envelope and scale only where the defocus carries them; Zernike
    coefficients and beam tilt of the optics are not part of it.

    Raises
    ------
    UsageError
        If the amplitude contrast is not within −1 and 1 or the pixel size is not above zero.

    Source: Rohou & Grigorieff, J. Struct. Biol. 192, 216 (2015), eqs. 2–5.
    """
    require_positive("pixel size", optics.pixel_size, unit="Å")
    require_between("amplitude contrast", optics.amplitude_contrast, -1.0, 1.0)
    values = (defocus.major, defocus.minor, defocus.azimuth, defocus.phase_shift, defocus.b_factor, defocus.scale)
    tensors = [value for value in values if value is not None]
    is_plain = all(t.device.type == "cpu" and not t.requires_grad for t in tensors)
    if is_plain and not torch.compiler.is_compiling():
        return _contrast_transfer_compiled(optics, defocus, size)
    return contrast_transfer_reference(optics, defocus, size=size)


def contrast_transfer_reference(optics: Optics, defocus: Defocus, *, size: tuple[int, int]) -> Float[Tensor, "*batch h half"]:
    """The same as `contrast_transfer`, written as the formula reads; it carries gradients and runs on any device."""
    image = _per_image(defocus)
    kx, ky = frequency_grid(size, pixel_size=optics.pixel_size, dtype=torch.float64, device=defocus.major.device)
    phase = (
        aberration_phase(kx, ky, optics=optics, defocus=image) + image.phase_shift.double() + math.asin(optics.amplitude_contrast)
    )
    transfer = torch.sin(phase)
    if image.b_factor is not None:
        transfer = transfer * torch.exp(-image.b_factor.double() / 4 * (kx**2 + ky**2))
    if image.scale is not None:
        transfer = transfer * image.scale.double()
    return transfer.to(defocus.major.dtype)


def _per_image(defocus: Defocus) -> Defocus:
    """The defocus with two axes more, to broadcast against images."""

    def image(value: Tensor | None) -> Tensor | None:
        return None if value is None else value[..., None, None]

    return Defocus(
        major=defocus.major[..., None, None],
        minor=defocus.minor[..., None, None],
        azimuth=defocus.azimuth[..., None, None],
        phase_shift=defocus.phase_shift[..., None, None],
        b_factor=image(defocus.b_factor),
        scale=image(defocus.scale),
    )


def _contrast_transfer_compiled(optics: Optics, defocus: Defocus, size: tuple[int, int]) -> Tensor:
    """The fast form on the CPU: one pass over the pixels, compiled."""
    from cryowalk.microscope.lens_compiled import fill_contrast_transfer

    across, along, diagonal, quartic = _phase_coefficients(optics, defocus)
    constant = defocus.phase_shift.double() + math.asin(optics.amplitude_contrast)
    zero, one = torch.zeros_like(constant), torch.ones_like(constant)
    envelope = zero if defocus.b_factor is None else defocus.b_factor.double() / -4
    scale = one if defocus.scale is None else defocus.scale.double()
    columns = torch.stack([across, along, diagonal, constant, envelope, scale], dim=-1).reshape(-1, 6)
    kx, ky = frequency_grid(size, pixel_size=optics.pixel_size, dtype=torch.float64)
    result = torch.empty(*defocus.major.shape, size[0], size[1] // 2 + 1, dtype=defocus.major.dtype)
    fill_contrast_transfer(
        columns.contiguous().numpy(),
        quartic=quartic,
        kx=kx.numpy(),
        ky=ky[:, 0].contiguous().numpy(),
        result=result.view(-1, size[0], size[1] // 2 + 1).numpy(),
        threads=torch.get_num_threads(),
    )
    return result


def delocalisation(optics: Optics, defocus: Defocus, *, frequency: float) -> Float[Tensor, "*batch"]:
    """How far the lens displaces detail of this spatial frequency (1/Å) in the image, Å: |dχ/dk| / 2π = |λ Δf k − Cs λ³ k³|, at the larger defocus.

    Source: Reimer & Kohl, Transmission Electron Microscopy (2008), sec. 6.2.
    """
    wavelength = optics.wavelength
    largest = torch.maximum(defocus.major.abs(), defocus.minor.abs())
    return (wavelength * largest * frequency - optics.spherical_aberration * (wavelength * frequency) ** 3).abs()


def canvas_size(optics: Optics, defocus: Defocus, *, box: int) -> int:
    """The side, pixels, of a canvas on which images of `box` pixels form without wrapping round: the box and 2 λ Δf k_max beyond it.

    k_max is the Nyquist frequency and Δf the largest defocus of all images; the displacement λ Δf k_max fits on each side (or that of
    Cs, where it is larger). Rounded up to an even number without large prime factors, for fast transforms.
    """
    nyquist = 0.5 / optics.pixel_size
    largest = float(torch.maximum(defocus.major.abs(), defocus.minor.abs()).max()) if defocus.major.numel() else 0.0
    by_defocus = optics.wavelength * largest * nyquist
    by_aberration = optics.spherical_aberration * (optics.wavelength * nyquist) ** 3 - by_defocus
    smallest = box + math.ceil(2 * max(by_defocus, by_aberration) / optics.pixel_size)
    return next(side for side in range(smallest + smallest % 2, 4 * smallest + 8, 2) if _is_smooth(side))


def _is_smooth(number: int) -> bool:
    """Whether the number has no prime factor above 5."""
    for factor in (2, 3, 5):
        while number % factor == 0:
            number //= factor
    return number == 1
