"""The lens: aberration phase, contrast transfer function, and how far it carries a particle's signal."""

import math
import warnings

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from cryowalk.core.checks import require_between, require_positive
from cryowalk.core.errors import CryowalkWarning
from cryowalk.data.instrument import Gun, ObjectiveLens
from cryowalk.data.optics import Defocus, Optics
from cryowalk.fourier.grids import frequency_grid
from cryowalk.microscope.aberrations import (
    antisymmetric_phase_at,
    has_even_terms,
    has_odd_terms,
    is_magnified_evenly,
    phase_coefficients,
    symmetric_offset,
    true_frequency,
)
from cryowalk.microscope.gun import coherence_envelope
from cryowalk.numerics.sizes import fast_length_from


def aberration_phase(
    kx: Float[Tensor, "*shape"], ky: Float[Tensor, "*other"], *, optics: Optics, defocus: Defocus
) -> Float[Tensor, "*result"]:
    """The even aberration phase χ = πλ(Δf(k) k² − ½ Cs λ² k⁴) + even Zernike terms, rad, at (kx, ky) in 1/Å: underfocus advances it, Cs holds it back.

    Δf(k) k² = ½(U + V) k² + ½(U − V)[cos 2α (kx² − ky²) + 2 sin 2α kx ky] with U, V, α the major and minor defocus and the azimuth. Always in
    float64: at 0.5 Å⁻¹ phases exceed a hundred radians, and a float32 has seven digits. The defocus has its batch axes, which must broadcast with the
    frequencies. The odd part is `antisymmetric_phase`.

    Source: Rohou & Grigorieff, J. Struct. Biol. 192, 216 (2015), eqs. 3–5.
    """
    across, along, diagonal, quartic = phase_coefficients(optics, defocus)
    kx, ky = kx.double(), ky.double()
    squared = kx**2 + ky**2
    phase = across * kx**2 + along * ky**2 + diagonal * kx * ky + quartic * squared**2
    return phase + symmetric_offset(kx, ky, optics=optics) if has_even_terms(optics.aberrations) else phase


def antisymmetric_phase(
    optics: Optics, *, size: tuple[int, int], device: torch.device | str | None = None
) -> Float[Tensor, "h half"]:
    """The odd aberration phase ρ of beam tilt and odd Zernike terms on the half spectrum of images of `size`, rad, float64.

    An image of a weak object is F · CTF · exp(iρ): detail moves, none is lost. Multiply by exp(−iρ) to undo it.

    Source: Zivanov, Nakane & Scheres, IUCrJ 7, 253 (2020), sec. 2.
    """
    kx, ky = _half_grid(size, optics, device)
    return antisymmetric_phase_at(kx, ky, optics=optics)


def antisymmetric_factor(optics: Optics, *, size: tuple[int, int], like: Tensor) -> Complex[Tensor, "h half"]:
    """exp(iρ) of `antisymmetric_phase`, the factor that images carry beside the CTF, in the precision and on the device of `like`.

    Multiply an image's half spectrum by it to apply the odd aberrations, by its conjugate to undo them.
    """
    phase = antisymmetric_phase(optics, size=size, device=like.device)
    precision = like.dtype if like.is_complex() else like.dtype.to_complex()
    return torch.polar(torch.ones_like(phase), phase).to(precision)


def wave_transfer(
    optics: Optics, defocus: Defocus, *, size: tuple[int, int], gun: Gun | None = None, lens: ObjectiveLens | None = None
) -> Complex[Tensor, "*batch h w"]:
    """What the lens does to a wave: exp(i(χ + ρ + φ)) · aperture · envelopes on the full unshifted spectrum of waves of `size`.

    χ is the even and ρ the odd aberration phase, φ the phase plate's shift, which the unscattered beam at k = 0 does not get. With a gun the envelopes of
    partial coherence multiply, which is right for the interference with the unscattered beam (linear imaging) and for nothing else; with a
    lens that has an aperture, what is beyond it is stopped. Complex128 for a defocus in float64, else complex64; phases in float64.

    Source: Reimer & Kohl, Transmission Electron Microscopy (2008), sec. 6.2 and 6.4.
    """
    require_positive("pixel size", optics.pixel_size, unit="Å")
    image = per_image(defocus)
    kx, ky = _full_grid(size, optics, defocus.major.device)
    even = aberration_phase(kx, ky, optics=optics, defocus=image) + image.phase_shift.double()
    scattered = torch.ones(size, dtype=torch.float64, device=even.device)
    scattered[0, 0] = 0.0  # a constant phase of everything scattered: the plate's, or that of even Zernike terms at k = 0
    phase = (even + antisymmetric_phase_at(kx, ky, optics=optics)) * scattered
    amplitude = _amplitude(kx, ky, optics, image, gun=gun, lens=lens)
    wave = torch.polar(torch.ones_like(phase) if amplitude is None else amplitude.expand_as(phase).contiguous(), phase)
    return wave.to(defocus.major.dtype.to_complex())


def _half_grid(size: tuple[int, int], optics: Optics, device: torch.device | str | None) -> tuple[Tensor, Tensor]:
    """The specimen's frequencies at the coefficients of a half spectrum, ready to broadcast, 1/Å, float64."""
    kx, ky = frequency_grid(size, pixel_size=optics.pixel_size, dtype=torch.float64, device=device)
    return true_frequency(kx, ky, optics=optics)


def _full_grid(size: tuple[int, int], optics: Optics, device: torch.device) -> tuple[Tensor, Tensor]:
    """The specimen's frequencies at the coefficients of a full unshifted spectrum, ready to broadcast, 1/Å, float64."""
    height, width = size
    along_x = frequency_grid((width, 1), pixel_size=optics.pixel_size, dtype=torch.float64, device=device)[1]
    along_y = frequency_grid((height, 1), pixel_size=optics.pixel_size, dtype=torch.float64, device=device)[1]
    return true_frequency(along_x.reshape(-1), along_y, optics=optics)


def _amplitude(
    kx: Tensor, ky: Tensor, optics: Optics, image: Defocus, *, gun: Gun | None, lens: ObjectiveLens | None
) -> Tensor | None:
    """Envelopes and aperture at (kx, ky); None where nothing is asked for."""
    amplitude = None
    if gun is not None:
        amplitude = coherence_envelope(kx, ky, optics=optics, defocus=image, gun=gun, lens=lens or ObjectiveLens())
    if lens is not None and lens.aperture is not None:
        stop = aperture(torch.sqrt(kx**2 + ky**2), optics=optics, lens=lens)
        amplitude = stop if amplitude is None else amplitude * stop
    return amplitude


def aperture(frequency: Float[Tensor, "*shape"], *, optics: Optics, lens: ObjectiveLens) -> Float[Tensor, "*shape"]:
    """What the objective aperture lets through at |k| = `frequency` (1/Å): 1 inside its half-angle θ = λk, 0 outside, 1 everywhere without one.

    The edge is a raised cosine `aperture_edge` rad wide, half-way down at the half-angle.

    Raises
    ------
    UsageError
        If the half-angle is not above zero.
    """
    if lens.aperture is None:
        return torch.ones_like(frequency)
    half_angle = require_positive("aperture", lens.aperture, unit="rad")
    angle = optics.wavelength * frequency
    if lens.aperture_edge <= 0:
        return (angle <= half_angle).to(frequency.dtype)
    position = (angle - half_angle) / lens.aperture_edge + 0.5
    return 0.5 + 0.5 * torch.cos(math.pi * position.clamp(0, 1))


def contrast_transfer(
    optics: Optics, defocus: Defocus, *, size: tuple[int, int], gun: Gun | None = None, lens: ObjectiveLens | None = None
) -> Float[Tensor, "*batch h half"]:
    """Contrast transfer function scale · exp(−B k²/4) · sin(χ + φ + arcsin Q) for protein-bright images, on the half spectrum of images of `size`.

    χ is `aberration_phase` with the even Zernike terms, φ the phase shift, Q the amplitude contrast: +Q at k = 0. Phases are float64 inside, the
    values have the dtype of the defocus. Linear imaging of a weak phase object; the defocus may carry an envelope and a scale, a gun adds the
    envelopes of partial coherence and a lens its aperture. The odd aberrations are no part of it: images carry exp(i `antisymmetric_phase`) too.

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
    is_plain = is_plain and (defocus.b_factor is None or is_magnified_evenly(optics.aberrations))
    if is_plain and not torch.compiler.is_compiling():
        transfer = _contrast_transfer_compiled(optics, defocus, size)
    else:
        transfer = contrast_transfer_reference(optics, defocus, size=size)
    if gun is None and lens is None:
        return transfer
    kx, ky = _half_grid(size, optics, transfer.device)
    amplitude = _amplitude(kx, ky, optics, per_image(defocus), gun=gun, lens=lens)
    if amplitude is not None and has_odd_terms(optics.aberrations):
        # With a tilted beam the envelopes of k and −k differ; a real factor holds their mean.
        mate = _amplitude(-kx, -ky, optics, per_image(defocus), gun=gun, lens=lens)
        amplitude = amplitude if mate is None else (amplitude + mate) / 2
    return transfer if amplitude is None else transfer * amplitude.to(transfer.dtype)


def contrast_transfer_reference(optics: Optics, defocus: Defocus, *, size: tuple[int, int]) -> Float[Tensor, "*batch h half"]:
    """The same as `contrast_transfer` without gun and lens, written as the formula reads; it carries gradients and runs on any device."""
    image = per_image(defocus)
    kx, ky = _half_grid(size, optics, defocus.major.device)
    phase = (
        aberration_phase(kx, ky, optics=optics, defocus=image) + image.phase_shift.double() + math.asin(optics.amplitude_contrast)
    )
    transfer = torch.sin(phase)
    if image.b_factor is not None:
        transfer = transfer * torch.exp(-image.b_factor.double() / 4 * (kx**2 + ky**2))
    if image.scale is not None:
        transfer = transfer * image.scale.double()
    return transfer.to(defocus.major.dtype)


def per_image(defocus: Defocus) -> Defocus:
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

    quadratic, quartic = _observed_coefficients(optics, defocus)
    constant = defocus.phase_shift.double() + math.asin(optics.amplitude_contrast)
    zero, one = torch.zeros_like(constant), torch.ones_like(constant)
    envelope = zero if defocus.b_factor is None else defocus.b_factor.double() / -4
    scale = one if defocus.scale is None else defocus.scale.double()
    columns = torch.stack([*quadratic, constant, envelope, scale], dim=-1).reshape(-1, 6)
    kx, ky = frequency_grid(size, pixel_size=optics.pixel_size, dtype=torch.float64)
    offset = torch.zeros(1, len(kx), dtype=torch.float64)
    if has_even_terms(optics.aberrations) or not is_magnified_evenly(optics.aberrations):
        true_x, true_y = true_frequency(kx, ky, optics=optics)
        aside = quartic * ((true_x**2 + true_y**2) ** 2 - (kx**2 + ky**2) ** 2)
        offset = (symmetric_offset(true_x, true_y, optics=optics) + aside).contiguous()
    result = torch.empty(*defocus.major.shape, size[0], size[1] // 2 + 1, dtype=defocus.major.dtype)
    fill_contrast_transfer(
        columns.contiguous().numpy(),
        quartic=quartic,
        offset=offset.numpy(),
        kx=kx.numpy(),
        ky=ky[:, 0].contiguous().numpy(),
        result=result.view(-1, size[0], size[1] // 2 + 1).numpy(),
        threads=torch.get_num_threads(),
    )
    return result


def _observed_coefficients(optics: Optics, defocus: Defocus) -> tuple[list[Tensor], float]:
    """The factors of kx², ky², kx·ky at the frequencies that the camera sees, and the factor of k⁴ at the specimen's own."""
    across, along, diagonal, quartic = phase_coefficients(optics, defocus)
    m00, m01, m10, m11 = optics.aberrations.magnification
    quadratic = [
        across * m00**2 + along * m10**2 + diagonal * (m00 * m10),
        across * m01**2 + along * m11**2 + diagonal * (m01 * m11),
        across * (2 * m00 * m01) + along * (2 * m10 * m11) + diagonal * (m00 * m11 + m01 * m10),
    ]
    return quadratic, quartic


def ctf_zeros(optics: Optics, *, defocus: float, up_to: float, phase_shift: float = 0.0) -> Float[Tensor, " zeros"]:
    """The frequencies below `up_to` (1/Å) at which the CTF of this defocus (Å) is zero, rising, 1/Å, float64.

    With s = k² the phase is a parabola, πλ(Δf s − ½ Cs λ² s²) + φ + arcsin Q, and each zero a root of it at a whole number of half turns:
    s = [Δf ± √(Δf² − 2 Cs λ (n − φ/π − arcsin Q/π))] / (Cs λ²). Astigmatism and Zernike terms are left out.

    Source: Rohou & Grigorieff, J. Struct. Biol. 192, 216 (2015), eqs. 2–5, solved for k.
    """
    require_positive("frequency", up_to, unit="1/Å")
    wavelength, cs = optics.wavelength, optics.spherical_aberration
    start = (phase_shift + math.asin(optics.amplitude_contrast)) / math.pi

    def half_turns(squared: float) -> float:
        return wavelength * (defocus * squared - 0.5 * cs * wavelength**2 * squared**2) + start

    turning = defocus / (cs * wavelength**2) if cs else math.inf
    ends = [half_turns(0.0), half_turns(up_to**2)] + ([half_turns(turning)] if 0 < turning < up_to**2 else [])
    found = []
    for n in range(math.ceil(min(ends)), math.floor(max(ends)) + 1):
        value = (n - start) / wavelength
        discriminant = defocus**2 - 2 * cs * wavelength**2 * value
        if discriminant < 0:
            continue
        # The root in the form that stays exact when Cs is small or zero.
        root = math.copysign(math.sqrt(discriminant), defocus)
        found += [2 * value / (defocus + root)] if defocus + root else []
        found += [(defocus + root) / (cs * wavelength**2)] if cs and discriminant > 0 else []
    inside = sorted({math.sqrt(squared) for squared in found if 0 < squared <= up_to**2})
    return torch.tensor(inside, dtype=torch.float64)


def scherzer_defocus(optics: Optics) -> float:
    """The underfocus 1.2 √(Cs λ) whose CTF stays near one sign over the widest band, Å.

    Source: Scherzer, J. Appl. Phys. 20, 20 (1949).

    Examples
    --------
    >>> round(scherzer_defocus(Optics(pixel_size=1.0, voltage_kv=300, spherical_aberration_mm=2.7)), 1)
    874.9
    """
    return 1.2 * math.sqrt(optics.spherical_aberration * optics.wavelength)


def delocalisation(optics: Optics, defocus: Defocus, *, frequency: float) -> Float[Tensor, "*batch"]:
    """How far the lens displaces detail of this spatial frequency (1/Å) in the image, Å: |dχ/dk| / 2π = |λ Δf k − Cs λ³ k³|, at the larger defocus.

    Source: Reimer & Kohl, Transmission Electron Microscopy (2008), sec. 6.2.
    """
    wavelength = optics.wavelength
    largest = torch.maximum(defocus.major.abs(), defocus.minor.abs())
    return (wavelength * largest * frequency - optics.spherical_aberration * (wavelength * frequency) ** 3).abs()


def alias_free_defocus(optics: Optics, *, box: int) -> float:
    """The largest underfocus, Å, whose CTF the coefficients of a box still sample up to Nyquist: where |dχ/dk| / 2π reaches half the box.

    Two samples for each turn of the CTF are 1 / (box · pixel size) apart, so λ Δf k − Cs λ³ k³ may not exceed box · pixel size / 2. In the image this is
    detail that the lens moves by half a box: beyond it, what leaves at one side comes back at the other. Astigmatism and Zernike terms are left out.

    Examples
    --------
    >>> optics = Optics(pixel_size=1.0, spherical_aberration_mm=2.7)
    >>> round(alias_free_defocus(optics, box=128) * 1e-4, 2)  # μm
    0.91
    """
    half_side = 0.5 * box * require_positive("pixel size", optics.pixel_size, unit="Å")
    wavelength, cs, nyquist = optics.wavelength, optics.spherical_aberration, 0.5 / optics.pixel_size
    at_nyquist = half_side / (wavelength * nyquist) + cs * (wavelength * nyquist) ** 2
    if cs <= 0 or at_nyquist >= 3 * cs * (wavelength * nyquist) ** 2:
        return at_nyquist
    # The slope is steepest inside: ⅔ Δf √(Δf / 3Cs) at k² = Δf / (3 Cs λ²).
    return float((1.5 * half_side * math.sqrt(3 * cs)) ** (2 / 3))


def box_for_defocus(optics: Optics, defocus: Defocus) -> int:
    """The side, pixels, of the smallest box that samples the CTF of every one of these images up to Nyquist; even, without large prime factors."""
    largest = float(torch.maximum(defocus.major.abs(), defocus.minor.abs()).max()) if defocus.major.numel() else 0.0
    smallest = math.ceil(2 * _steepest_slope(optics, largest) / optics.pixel_size - 1e-9)
    return fast_length_from(max(smallest, 2))


def _steepest_slope(optics: Optics, defocus: float) -> float:
    """The largest |λ Δf k − Cs λ³ k³| up to Nyquist, Å."""
    wavelength, cs, nyquist = optics.wavelength, optics.spherical_aberration, 0.5 / optics.pixel_size
    slopes = [abs(wavelength * defocus * nyquist - cs * (wavelength * nyquist) ** 3)]
    if cs > 0 and 0 < defocus < 3 * cs * (wavelength * nyquist) ** 2:
        slopes.append(2 / 3 * defocus * math.sqrt(defocus / (3 * cs)))
    return max(slopes)


def warn_of_aliasing(optics: Optics, defocus: Defocus, *, box: int) -> None:
    """Warn where a box is too small for the defocus of its images, and name the box that is large enough."""
    if not defocus.major.numel():
        return
    needed = box_for_defocus(optics, defocus)
    largest = float(torch.maximum(defocus.major.abs(), defocus.minor.abs()).max())
    if 2 * _steepest_slope(optics, largest) <= box * optics.pixel_size * (1 + 1e-9):
        return
    warnings.warn(
        f"the CTF of {largest * 1e-4:.2f} μm defocus aliases in a box of {box} pixels of {optics.pixel_size:g} Å: "
        f"detail near Nyquist is moved out of it; a box of {needed} pixels holds it",
        CryowalkWarning,
        stacklevel=2,
    )


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
    return fast_length_from(smallest)
