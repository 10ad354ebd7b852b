"""How the beam meets the specimen: projections of the potential along it."""

from jaxtyping import Float
from torch import Tensor

from cryowalk.core.checks import require_cube
from cryowalk.data.pose import Pose
from cryowalk.data.volume import Volume
from cryowalk.fourier.filters import shift_phases
from cryowalk.fourier.slices import extract_slices, prepare_volume
from cryowalk.fourier.transform import to_real


def project(volume: Volume, pose: Pose, *, padding: float = 2.0) -> Float[Tensor, "n h w"]:
    """Projections ∫ V(Rᵀ x) dz of the volume in each pose, moved by its shift, value · Å (V Å for a potential in V).

    Central slices of the padded transform, to about 1 % (`fourier.nufft.project_exactly` is the exact form). The thin-specimen limit:
    straight rays, no Ewald curvature, no multiple scattering. What a shift moves across one border enters at the other.

    Raises
    ------
    ShapeError
        If the volume is not a cube.

    Source: Crowther, DeRosier & Klug, Proc. R. Soc. A 317, 319 (1970).
    """
    box = require_cube("volume", tuple(volume.voxels.shape))
    slices = extract_slices(prepare_volume(volume, padding=padding), pose.lab_from_particle.to(volume.voxels))
    phases = shift_phases((box, box), pose.shift.to(volume.voxels), pixel_size=volume.voxel_size)
    return to_real(slices * phases, width=box)
