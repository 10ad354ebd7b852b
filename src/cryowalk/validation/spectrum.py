"""How the amplitude of a map falls with resolution."""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from cryowalk.core.checks import require_cube
from cryowalk.data import Volume
from cryowalk.fourier.shells import shell_average, shell_frequency
from cryowalk.fourier.transform import to_fourier


@dataclass(frozen=True, slots=True, kw_only=True)
class AmplitudeSpectrum:
    """Root mean square amplitude of a map's transform in each Fourier shell; `frequency` in 1/Å runs from 0 to Nyquist."""

    frequency: Float[Tensor, " shells"]
    amplitude: Float[Tensor, " shells"]


def amplitude_spectrum(volume: Volume) -> AmplitudeSpectrum:
    """Root mean square amplitude of the map in each Fourier shell, in units of the map (orthonormal transform).

    Its logarithm against the squared frequency is the Guinier plot: beyond about 10 Å a straight line of slope −B/4 for an overall B-factor.

    Source: Rosenthal & Henderson, J. Mol. Biol. 333, 721 (2003).
    """
    box = require_cube("a map", tuple(volume.voxels.shape))
    power = shell_average(to_fourier(volume.voxels, dimensions=3).abs().square(), size=(box, box, box))
    frequency = shell_frequency(box, pixel_size=volume.voxel_size, dtype=power.dtype, device=power.device)
    return AmplitudeSpectrum(frequency=frequency, amplitude=power.sqrt())
