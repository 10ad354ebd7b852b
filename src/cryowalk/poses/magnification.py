"""The magnification matrix of each optics group: by how much its images are stretched against the map's projections.

A small change D of the matrix moves a coefficient's place in the slice by u = D κ, κ = M k, and the slice's value by g · u, g = ∂p/∂κ its gradient, the slice of
−2πi x V. What the images lack of their predictions, r = y − CTF p, is fitted by CTF g · D κ: four unknowns, from five sums at each coefficient.

Source: Zivanov, Nakane & Scheres, IUCrJ 7, 253 (2020), sec. 2.5.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from cryowalk.core.execution import Progress, SilentProgress
from cryowalk.data import Defocus, ParticleSet, Volume
from cryowalk.fourier.grids import coordinates
from cryowalk.microscope.aberrations import true_frequency
from cryowalk.poses.evidence import Band, Evidence, References, band_of, calibrate, evidence, require_refinable
from cryowalk.poses.settings import CtfRefinementSettings

ROUNDS = 2
DEFAULT = CtfRefinementSettings(anisotropy=True, defocus="off")


@dataclass(frozen=True, slots=True, kw_only=True)
class MagnificationRefinement:
    """The particles with new magnification matrices, the matrix (rows first) of each group, and the standard deviation of its entries."""

    particles: ParticleSet
    matrices: tuple[tuple[float, float, float, float], ...]
    deviations: tuple[tuple[float, float, float, float], ...]


def refine_magnification(
    particles: ParticleSet,
    maps: Sequence[Volume],
    settings: CtfRefinementSettings = DEFAULT,
    *,
    progress: Progress | None = None,
) -> MagnificationRefinement:
    """Particles with the magnification matrix that makes each optics group's images likeliest given the map.

    Defocus and astigmatism are those of the image as the camera sees it, and are translated so that this CTF stays. `maps` are one map, or both half maps.

    Raises
    ------
    InputError, ShapeError, UsageError
        If particles or maps cannot be used.
    """
    require_refinable(particles, maps)
    band = band_of(particles, settings)
    return refined_magnification(
        particles, maps, References.of(maps), band, settings=settings, progress=progress or SilentProgress()
    )


def refined_magnification(
    particles: ParticleSet,
    maps: Sequence[Volume],
    references: References,
    band: Band,
    *,
    settings: CtfRefinementSettings,
    progress: Progress,
) -> MagnificationRefinement:
    """`refine_magnification` with what is known already."""
    moments = moment_references(maps)
    deviations = [(math.inf,) * 4 for _ in particles.optics]
    current = particles
    for _ in range(ROUNDS):
        progress.start("magnification", len(particles))
        calibration = calibrate(current, references, band, settings=settings)
        information = torch.zeros(len(particles.optics), 4, 4, dtype=torch.float64)
        gradient = torch.zeros(len(particles.optics), 4, dtype=torch.float64)
        for part in evidence(current, references, band, settings=settings, calibration=calibration, progress=progress):
            slopes = _slopes(current, moments, part, band=band, scale=calibration.scale)
            add_normal_equations(
                part, slopes, true_frequency(band.kx, band.ky, optics=current.optics[part.group]), (information, gradient)
            )
        for group in range(len(particles.optics)):
            if bool(information[group].any()):
                inverse = torch.linalg.pinv(information[group], hermitian=True)
                current = stretched(current, group, (inverse @ gradient[group]).reshape(2, 2))
                deviations[group] = tuple(inverse.diagonal().clamp_min(0).sqrt().tolist())
    matrices = tuple(optics.aberrations.magnification for optics in current.optics)
    return MagnificationRefinement(particles=current, matrices=matrices, deviations=tuple(deviations))  # type: ignore[arg-type]


def moment_references(maps: Sequence[Volume]) -> tuple[References, References, References]:
    """The maps times x, y and z (Å from the origin voxel), ready for slices: −2πi times their slices are the gradient's parts."""
    found = []
    for axis in range(3):
        moments = []
        for one in maps:
            box = one.voxels.shape[-1]
            place = coordinates((box, box, box), pixel_size=one.voxel_size, like=one.voxels)[axis]
            moments.append(replace(one, voxels=one.voxels * place))
        found.append(References.of(moments))
    return found[0], found[1], found[2]


def _slopes(
    particles: ParticleSet, moments: tuple[References, References, References], part: Evidence, *, band: Band, scale: Tensor
) -> Complex[Tensor, "2 n K"]:
    """∂p/∂κx and ∂p/∂κy, scaled as the prediction is."""
    columns = slice(band.first, band.last)
    slices = torch.stack(
        [band.disk.gather(one.slices(particles, part.indices, group=part.group), count=band.last)[:, columns] for one in moments]
    )
    rows = particles.pose.lab_from_particle[part.indices][:, :2].to(slices.real)  # type: ignore[union-attr]  # x and y of the lab
    turned = torch.einsum("nij,jnk->ink", rows.to(slices.dtype), slices)
    return turned * (-2j * math.pi * scale[part.group][band.shell])


def add_normal_equations(
    part: Evidence, slopes: Complex[Tensor, "2 n K"], place: tuple[Tensor, Tensor], sums: tuple[Tensor, Tensor]
) -> None:
    """Add some images' part to the 4 × 4 information and the gradient of (D00, D01, D10, D11) of their group, in place."""
    transfer = (part.phase.sin() * part.amplitude.double()).to(torch.float32)
    residual = part.data - transfer * part.prediction
    seen = transfer * slopes
    weight = part.inverse_noise
    kappa = torch.stack(place).double()  # u_i = Σ_j D_ij κ_j
    information, gradient = sums
    for i in range(2):
        pull = ((seen[i].conj() * residual).real * weight).double().sum(dim=0)
        gradient[part.group, 2 * i : 2 * i + 2] += kappa @ pull
        for j in range(2):
            both = ((seen[i].conj() * seen[j]).real * weight).double().sum(dim=0)
            information[part.group, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2] += (kappa * both) @ kappa.T


def stretched(particles: ParticleSet, group: int, change: Float[Tensor, "2 2"]) -> ParticleSet:
    """The particles with the group's magnification matrix M replaced by (1 + D) M, and their defocus by that which leaves the CTF seen by the camera as it is."""
    optics = particles.optics[group]
    growth = torch.eye(2, dtype=torch.float64) + change.double()
    matrix = growth @ torch.tensor(optics.aberrations.magnification, dtype=torch.float64).reshape(2, 2)
    m00, m01, m10, m11 = matrix.reshape(-1).tolist()
    several = list(particles.optics)
    several[group] = replace(optics, aberrations=replace(optics.aberrations, magnification=(m00, m01, m10, m11)))
    defocus = particles.defocus
    members = particles.optics_index == group
    changed = None if defocus is None else translated_defocus(defocus, growth)
    if defocus is None or changed is None:
        return replace(particles, optics=tuple(several))
    pairs = {name: torch.where(members, getattr(changed, name), getattr(defocus, name)) for name in ("major", "minor", "azimuth")}
    return replace(particles, optics=tuple(several), defocus=replace(defocus, **pairs))


def translated_defocus(defocus: Defocus, growth: Float[Tensor, "2 2"]) -> Defocus:
    """The defocus at frequencies G κ that equals the given one at κ: as a quadratic form, G⁻ᵀ Z G⁻¹."""
    mean, half = (defocus.major + defocus.minor).double() / 2, (defocus.major - defocus.minor).double() / 2
    cosine, sine = half * torch.cos(2 * defocus.azimuth.double()), half * torch.sin(2 * defocus.azimuth.double())
    form = torch.stack((torch.stack((mean + cosine, sine), dim=-1), torch.stack((sine, mean - cosine), dim=-1)), dim=-2)
    inverse = torch.linalg.inv(growth.double())
    form = inverse.T @ form @ inverse
    mean, cosine, sine = (form[..., 0, 0] + form[..., 1, 1]) / 2, (form[..., 0, 0] - form[..., 1, 1]) / 2, form[..., 0, 1]
    half = torch.hypot(cosine, sine)
    azimuth = torch.where(half > 1e-6, torch.remainder(torch.atan2(sine, cosine) / 2, math.pi), defocus.azimuth.double())
    return replace(
        defocus, major=(mean + half).to(defocus.major), minor=(mean - half).to(defocus.minor), azimuth=azimuth.to(defocus.azimuth)
    )
