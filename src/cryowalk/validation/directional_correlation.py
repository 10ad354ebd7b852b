"""Shell correlation in cones of directions: whether a map is resolved alike from all sides, and how evenly its views fill Fourier space.

Source: Tan, Baldwin, Davis, Williamson, Potter, Carragher & Lyumkis, Nature Methods 14, 793 (2017): the FSC in cones of 20° and the sphericity of its
threshold surface; Baldwin & Lyumkis, Prog. Biophys. Mol. Biol. 150, 160 (2020): the sampling that a set of views gives each direction.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from cryowalk.core.checks import require_between
from cryowalk.core.errors import InputError
from cryowalk.core.execution import batches
from cryowalk.data import HalfMaps, Pose, Volume
from cryowalk.fourier.grids import frequency_grid, friedel_weights, shell_index
from cryowalk.fourier.shells import shell_frequency
from cryowalk.fourier.transform import to_fourier
from cryowalk.geometry.healpix import pixel_count, pixel_directions, pixels_of_directions
from cryowalk.geometry.rotations import view_direction
from cryowalk.geometry.symmetry import equivalent_rotations
from cryowalk.validation.shell_correlation import ShellCorrelation, compare_maps

HALF_ANGLE = math.radians(20)
FINE_ORDER = 4  # 3,072 bins, 3.7° wide, into which coefficients are summed before they are taken together as cones
ORDER = 3  # 768 directions: those of one half sphere are the mates of the other's
SLAB = 256  # directions at a time
FEWEST = 40  # coefficients of a cone, both Friedel mates counted


@dataclass(frozen=True, slots=True, kw_only=True)
class DirectionalCorrelation:
    """Correlation of two maps in cones about `directions` (unit vectors over the whole sphere, opposite ones alike), in each shell; `frequency` in 1/Å."""

    directions: Float[Tensor, "directions 3"]
    frequency: Float[Tensor, " shells"]
    correlation: Float[Tensor, "directions shells"]
    whole: ShellCorrelation

    def curve(self, index: int) -> ShellCorrelation:
        """The curve of one direction."""
        return ShellCorrelation(frequency=self.frequency, correlation=self.correlation[index])

    def resolutions(self, *, at: float = 0.143) -> Float[Tensor, " directions"]:
        """The resolution in each direction, Å, as `ShellCorrelation.resolution` reads it."""
        values = [self.curve(index).resolution(at=at) for index in range(len(self.directions))]
        return torch.tensor(values, dtype=torch.float64)

    def worst(self, *, at: float = 0.143) -> tuple[float, Float[Tensor, "3"]]:
        """The coarsest resolution, Å, and its direction."""
        found = self.resolutions(at=at).max(dim=0)
        return float(found.values), self.directions[found.indices]

    def best(self, *, at: float = 0.143) -> tuple[float, Float[Tensor, "3"]]:
        """The finest resolution, Å, and its direction."""
        found = self.resolutions(at=at).min(dim=0)
        return float(found.values), self.directions[found.indices]

    def sphericity(self, *, at: float = 0.143) -> float:
        """How close the surface k(direction), on which the correlation has fallen to `at`, is to a sphere: π^⅓ (6 V)^⅔ / A, at most 1.

        It is 1 where the map is resolved alike from all sides; 0.8 and less mean strongly preferred views.
        """
        return sphericity(self.directions, 1 / self.resolutions(at=at))


def directional_shell_correlation(
    halves: HalfMaps, *, mask: Volume | None = None, half_angle: float = HALF_ANGLE
) -> DirectionalCorrelation:
    """Fourier shell correlation of two half maps in cones about 768 directions, and over all of them together.

    FSC(s, d) = Re Σ F₁F₂* / √(Σ|F₁|² Σ|F₂|²) over the coefficients of shell s whose angle to ±d is at most `half_angle` (rad). Coefficients are first summed in
    bins 3.7° wide, so that the cone's edge is sharp to half of that. In shells where a cone holds fewer than 40 coefficients (up to shell 7 at 20°) the curve of all
    directions stands: so few agree or disagree by chance.

    Raises
    ------
    ShapeError, InputError
        If the maps cannot be compared.
    UsageError
        If the half angle is not between 5° and 90°.
    """
    require_between("half_angle", half_angle, math.radians(5), math.pi / 2)
    whole = compare_maps(halves.first, halves.second, mask=mask)
    spectra = [
        to_fourier(half.voxels if mask is None else half.voxels * mask.voxels.to(half.voxels), dimensions=3)
        for half in (halves.first, halves.second)
    ]
    box = halves.first.voxels.shape[-1]
    sums = _binned(spectra[0], spectra[1], box=box)
    directions = pixel_directions(ORDER, torch.arange(pixel_count(ORDER)))
    bins = pixel_directions(FINE_ORDER, torch.arange(pixel_count(FINE_ORDER)))
    rows = []
    for span in batches(len(directions), SLAB):
        inside = (directions[span.start : span.stop] @ bins.T).abs() >= math.cos(half_angle)
        shared, one, other, count = (inside.double() @ part for part in sums)
        power = one * other
        is_known = (power > 0) & (count >= FEWEST)
        rows.append(torch.where(is_known, shared / power.clamp_min(1e-300).sqrt(), whole.correlation.double()))
    correlation = torch.cat(rows).to(whole.correlation)
    frequency = shell_frequency(box, pixel_size=halves.first.voxel_size, dtype=correlation.dtype)
    return DirectionalCorrelation(directions=directions, frequency=frequency, correlation=correlation, whole=whole)


def _binned(first: Tensor, second: Tensor, *, box: int) -> list[Float[Tensor, "bins shells"]]:
    """Σ Re F₁F₂*, Σ|F₁|², Σ|F₂|² and the number of the coefficients in each bin of direction and each shell 0 … n // 2."""
    size = (box, box, box)
    shells = box // 2 + 1
    kx, ky, kz = frequency_grid(size, pixel_size=1.0, dtype=torch.float64)
    # Coefficients past Nyquist, in the corners, get a shell that is dropped.
    shell = shell_index(size).clamp_(max=shells)
    sums = [torch.zeros(pixel_count(FINE_ORDER) * (shells + 1), dtype=torch.float64) for _ in range(4)]
    weight = friedel_weights(size, like=first).double().cpu()
    for z in range(box):
        plane = torch.stack([kx.expand(box, -1), ky.expand(box, len(kx)), kz[z].expand(box, len(kx))], dim=-1)
        place = (pixels_of_directions(FINE_ORDER, plane) * (shells + 1) + shell[z]).reshape(-1)
        one, other = first[z].cpu(), second[z].cpu()
        shared = one.real * other.real + one.imag * other.imag
        products = (shared, one.real**2 + one.imag**2, other.real**2 + other.imag**2, torch.ones_like(shared))
        for total, product in zip(sums, products, strict=True):
            total.index_add_(0, place, (product.double() * weight).reshape(-1))
    return [total.reshape(-1, shells + 1)[:, :shells] for total in sums]


def sphericity(directions: Float[Tensor, "directions 3"], radius: Float[Tensor, " directions"]) -> float:
    """π^⅓ (6 V)^⅔ / A of the closed surface with this radius in each direction, relative to that of the same mesh on a sphere.

    Raises
    ------
    InputError
        If a radius is not above zero.
    """
    from scipy.spatial import ConvexHull

    if not bool((radius > 0).all()):
        raise InputError("a surface needs a radius above zero in every direction")
    points = directions.double().cpu()
    triangles = torch.from_numpy(ConvexHull(points.numpy()).simplices).long()
    return _roundness(points * radius.double().cpu()[:, None], triangles) / _roundness(points, triangles)


def _roundness(points: Float[Tensor, "directions 3"], triangles: Tensor) -> float:
    a, b, c = (points[triangles[:, corner]] for corner in range(3))
    volume = (a * torch.linalg.cross(b, c)).sum(dim=-1).abs().sum() / 6
    area = torch.linalg.cross(b - a, c - a).norm(dim=-1).sum() / 2
    return float(math.pi ** (1 / 3) * (6 * volume) ** (2 / 3) / area)


@dataclass(frozen=True, slots=True, kw_only=True)
class DirectionalSampling:
    """How often each direction of Fourier space is measured, relative to an even spread of views (1 everywhere), and the SCF 1 / mean(1 / sampling)."""

    directions: Float[Tensor, "directions 3"]
    relative: Float[Tensor, " directions"]

    @property
    def compensation(self) -> float:
        """The sampling compensation factor: 1 for even views, 0 where a direction is not measured at all.

        It is the factor by which preferred views lower the average signal-to-noise ratio. Source: Baldwin & Lyumkis (2020).
        """
        return 0.0 if bool((self.relative <= 0).any()) else 1 / float((1 / self.relative).mean())


def directional_sampling(pose: Pose, *, symmetry: str = "C1", width: float = math.radians(2)) -> DirectionalSampling:
    """The number of views whose central slice holds each direction, relative to what as many even views would give.

    A slice across the view v holds the directions d with |v·d| ≤ sin(width); an even spread gives the fraction sin(width) of the views. The width
    (rad) stands for the finite thickness of slices; larger ones hide small gaps.

    Raises
    ------
    InputError
        If there are no poses.
    """
    if len(pose) == 0:
        raise InputError("there are no poses: nothing is sampled")
    views = view_direction(equivalent_rotations(pose.lab_from_particle.double().cpu(), symmetry)).reshape(-1, 3)
    directions = pixel_directions(ORDER, torch.arange(pixel_count(ORDER)))
    counts = torch.zeros(len(directions), dtype=torch.float64)
    limit = math.sin(require_between("width", width, math.radians(0.1), math.pi / 2))
    for span in batches(len(views), 1 << 14):
        counts += ((directions @ views[span.start : span.stop].T).abs() <= limit).sum(dim=1)
    return DirectionalSampling(directions=directions, relative=counts / (len(views) * limit))
