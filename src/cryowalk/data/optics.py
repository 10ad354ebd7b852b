"""What the microscope was set to: the optics of a group of images, and the defocus of each image."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from jaxtyping import Float, Int
from torch import Tensor

from cryowalk.core.constants import electron_wavelength

ANGSTROM_PER_MILLIMETRE = 1e7


@dataclass(frozen=True, slots=True, kw_only=True)
class Aberrations:
    """Aberrations beyond defocus, astigmatism and Cs, as RELION's optics table names them.

    Beam tilt (x, y) in rad; Zernike coefficients in rad, in RELION's order; the magnification matrix M (rows first) takes a frequency that the
    camera sees to the specimen's, so that a point at x is seen at Mᵀ x. `microscope.aberrations` says what each does.
    """

    beam_tilt: tuple[float, float] = (0.0, 0.0)
    odd_zernike: tuple[float, ...] = ()
    even_zernike: tuple[float, ...] = ()
    magnification: tuple[float, float, float, float] = (1.0, 0.0, 0.0, 1.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Optics:
    """One optics group: pixel size in Å, and what the lens does alike to all its images.

    `micrograph_pixel_size` (Å) is that of the micrographs the images were cut from, where it is known. `extra` keeps foreign columns as text.
    """

    pixel_size: float
    voltage_kv: float = 300.0
    spherical_aberration_mm: float = 2.7
    amplitude_contrast: float = 0.1
    name: str = "opticsGroup1"
    micrograph_pixel_size: float | None = None
    is_premultiplied: bool = False
    aberrations: Aberrations = Aberrations()
    extra: Mapping[str, str] = field(default_factory=dict)

    @property
    def wavelength(self) -> float:
        """Electron wavelength, Å."""
        return electron_wavelength(self.voltage_kv)

    @property
    def spherical_aberration(self) -> float:
        """Spherical aberration coefficient Cs, Å."""
        return self.spherical_aberration_mm * ANGSTROM_PER_MILLIMETRE


@dataclass(frozen=True, slots=True, kw_only=True)
class Defocus:
    """Defocus of each image: major and minor in Å (positive is underfocus), azimuth of the major axis and phase shift in rad.

    `b_factor` (Å²) is the envelope exp(−B k²/4) on amplitudes, and `scale` a factor on the CTF, where they are known.
    """

    major: Float[Tensor, "*batch"]
    minor: Float[Tensor, "*batch"]
    azimuth: Float[Tensor, "*batch"]
    phase_shift: Float[Tensor, "*batch"]
    b_factor: Float[Tensor, "*batch"] | None = None
    scale: Float[Tensor, "*batch"] | None = None

    def __getitem__(self, selection: "Int[Tensor, ' n'] | slice") -> "Defocus":
        return Defocus(
            major=self.major[selection],
            minor=self.minor[selection],
            azimuth=self.azimuth[selection],
            phase_shift=self.phase_shift[selection],
            b_factor=None if self.b_factor is None else self.b_factor[selection],
            scale=None if self.scale is None else self.scale[selection],
        )

    def to(self, target: "torch.device | torch.dtype | str") -> "Defocus":
        """The same values on another device, or in another precision."""
        return Defocus(
            major=self.major.to(target),
            minor=self.minor.to(target),
            azimuth=self.azimuth.to(target),
            phase_shift=self.phase_shift.to(target),
            b_factor=None if self.b_factor is None else self.b_factor.to(target),
            scale=None if self.scale is None else self.scale.to(target),
        )
