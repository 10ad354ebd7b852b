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
    e⁻/Å², `class_number` the specimen each image shows (from 1; 0 for none of them), `conformation` one coordinate a particle (the hinge angle in
    rad), `junk` what an image holds in place of a particle (0: nothing in its place, 1: empty ice, 2: contamination), `class_volumes` the
    potentials of several specimens in the order of their class numbers, `symmetry` the point group of the volume.
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
    junk: Int[Tensor, " n"] | None = None
    class_volumes: tuple[Volume, ...] = ()
    symmetry: str = "C1"
