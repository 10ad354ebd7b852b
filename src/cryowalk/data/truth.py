"""What a simulation knows and an estimator is scored against."""

from dataclasses import dataclass

from jaxtyping import Float, Int
from torch import Tensor

from cryowalk.data.atoms import Atoms
from cryowalk.data.optics import Defocus
from cryowalk.data.pose import Pose
from cryowalk.data.volume import Volume


@dataclass(frozen=True, slots=True, kw_only=True)
class Truth:
    """The truth beside simulated data; every part is there where it is known.

    `noise_power` is E|n_k|² of the noise in each Fourier shell (orthonormal transform), `snr` the variance ratio of signal to noise, `dose` in
    e⁻/Å², `conformation` one coordinate a particle (the hinge angle in rad), `symmetry` the point group of the volume.
    """

    volume: Volume | None = None
    atoms: Atoms | None = None
    pose: Pose | None = None
    defocus: Defocus | None = None
    noise_power: Float[Tensor, " shells"] | None = None
    snr: float | None = None
    dose: float | None = None
    class_number: Int[Tensor, " n"] | None = None
    conformation: Float[Tensor, " n"] | None = None
    symmetry: str = "C1"
