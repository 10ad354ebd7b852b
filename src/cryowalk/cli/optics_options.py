"""The optics of image files, from the options that commands offer where no STAR file tells them."""

from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from cryowalk.data.optics import Optics


@runtime_checkable
class OpticsOptions(Protocol):
    """A command's files with the options of optics; a pixel size (Å) makes them count."""

    @property
    def pixel_size(self) -> float | None:
        """Å."""

    @property
    def voltage_kv(self) -> float:
        """Acceleration voltage, kV."""

    @property
    def spherical_aberration_mm(self) -> float:
        """Cs, mm."""

    @property
    def amplitude_contrast(self) -> float:
        """Q, from 0 to 1."""


def optics_given(options: OpticsOptions) -> "Optics | None":
    """The optics that the options tell, or None without a pixel size."""
    from cryowalk.data.optics import Optics

    if options.pixel_size is None:
        return None
    return Optics(
        pixel_size=options.pixel_size,
        voltage_kv=options.voltage_kv,
        spherical_aberration_mm=options.spherical_aberration_mm,
        amplitude_contrast=options.amplitude_contrast,
    )
