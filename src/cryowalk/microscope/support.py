"""What holds the ice: amorphous carbon with a hole, graphene, and the gold beads that tilt series are aligned by, as projected potentials in V Å."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from cryowalk.core.checks import require_positive
from cryowalk.core.constants import AVOGADRO, ELECTRON_REST_ENERGY_KV, METRE, interaction_constant
from cryowalk.core.errors import UsageError
from cryowalk.fourier.grids import frequency_radius
from cryowalk.fourier.transform import to_real
from cryowalk.microscope.form_factors import VOLT_PER_SCATTERING_FACTOR, scattering_factor

CARBON_MEAN_INNER_POTENTIAL = 9.09  # V, of evaporated carbon: Wanner et al., Ultramicroscopy 106, 341 (2006)
CARBON_DENSITY = 1.75e6  # g/m³, of the same films
GRAPHENE_LATTICE = 2.46  # Å
GOLD_LATTICE = 4.0782  # Å, face-centred cubic, four atoms a cell
_CARBON, _GOLD = 6, 79
_CARBON_MASS = 12.011  # g/mol
_TABLE = 4096  # samples of the amplitude of carbon's grain along k
_EDGE_SAMPLES = 4  # across a pixel, for the rim of a bead


@dataclass(frozen=True, slots=True, kw_only=True)
class CarbonFilm:
    """A carbon film: thickness (Å), and a round hole with its radius, its middle (x, y from the corner of the field) and the width of its edge, all Å.

    Without a radius there is no hole; without a middle it is the field's.
    """

    thickness: float = 120.0
    hole_radius: float | None = None
    hole_centre: tuple[float, float] | None = None
    edge: float = 60.0


def film_thickness(
    film: CarbonFilm, size: tuple[int, int], *, pixel_size: float, device: torch.device | str | None = None
) -> Float[Tensor, "h w"]:
    """The thickness of the carbon at every pixel, Å: a raised cosine falls to zero over `edge`, half-way at the hole's radius."""
    require_positive("pixel size", pixel_size, unit="Å")
    require_positive("thickness of the carbon film", film.thickness, unit="Å")
    if film.hole_radius is None:
        return torch.full(size, film.thickness, device=device)
    require_positive("radius of the hole", film.hole_radius, unit="Å")
    if film.edge < 0:
        raise UsageError(f"the width of the hole's edge must be zero or above: got {film.edge} Å")
    centre = film.hole_centre or (size[1] * pixel_size / 2, size[0] * pixel_size / 2)
    x, y = (torch.arange(side, dtype=torch.float32, device=device) * pixel_size for side in reversed(size))
    position = ((x - centre[0]) ** 2 + ((y - centre[1]) ** 2)[:, None]).sqrt_()
    position.sub_(film.hole_radius).div_(max(film.edge, 1e-6)).add_(0.5).clamp_(0, 1)
    return position.mul_(math.pi).cos_().sub_(1).mul_(-film.thickness / 2)


def carbon_power(frequency: Float[Tensor, "*shape"], *, thickness: float) -> Float[Tensor, "*shape"]:
    """The power spectral density of the projected potential of amorphous carbon, V² Å⁴, at spatial frequencies k in 1/Å.

    P(k) = n t (h²/2πme · f(k))², n atoms per Å³: atoms that lie anywhere. Real films have somewhat more power at the two diffuse rings near 1/2.1
    and 1/1.2 Å⁻¹ and, by their roughness, at low frequency; between, this is their level.

    Source: Kirkland, Advanced Computing in Electron Microscopy (2020), section on amorphous specimens, for independent atoms.
    """
    atoms = CARBON_DENSITY * AVOGADRO / _CARBON_MASS / METRE**3
    return atoms * thickness * (VOLT_PER_SCATTERING_FACTOR * scattering_factor(_CARBON, frequency)) ** 2


def carbon(size: tuple[int, int], *, pixel_size: float, film: CarbonFilm, generator: torch.Generator) -> Float[Tensor, "h w"]:
    """The projected potential of a carbon film with its hole, V Å: mean inner potential times thickness, and the grain of its atoms.

    The grain is a Gaussian random field with the spectrum `carbon_power`; where the film thins out it falls as the root of the thickness. It is periodic
    over the field. On the generator's device.

    Raises
    ------
    UsageError
        If a length is not above zero.
    """
    thickness = film_thickness(film, size, pixel_size=pixel_size, device=generator.device)
    grain = to_real(_grain_spectrum(size, pixel_size=pixel_size, generator=generator), width=size[1])
    return grain.mul_(torch.sqrt(thickness)).add_(thickness, alpha=CARBON_MEAN_INNER_POTENTIAL)


def _grain_spectrum(size: tuple[int, int], *, pixel_size: float, generator: torch.Generator) -> Tensor:
    """A random half spectrum of the grain of 1 Å of carbon, without a mean."""
    height, width = size
    radius = frequency_radius(size, pixel_size=pixel_size, device=generator.device)
    # The power is smooth in k: a table is exact to 1e-6, and five exponentials a pixel would cost more than the transform.
    step = float(radius[height // 2, -1]) / _TABLE
    nodes = torch.arange(_TABLE + 2, dtype=torch.float64, device=radius.device) * step
    # E|F|² of an orthonormal transform is the density over the area of a pixel, one half of it in each of the real and imaginary parts.
    table = torch.sqrt(carbon_power(nodes, thickness=1.0) / 2).float() / pixel_size
    place = radius.div_(step)
    index = place.long().clamp_(max=_TABLE)
    amplitude = torch.lerp(table[index], table[1:][index], place.frac_())
    # The way back to real space keeps the Hermitian half of the columns that are their own Friedel mates.
    amplitude[:, 0] *= math.sqrt(2)
    if width % 2 == 0:
        amplitude[:, -1] *= math.sqrt(2)
    amplitude[0, 0] = 0
    noise = torch.randn(height, width // 2 + 1, 2, generator=generator, device=generator.device)
    return torch.view_as_complex(noise.mul_(amplitude[..., None]))


def graphene(
    size: tuple[int, int],
    *,
    pixel_size: float,
    azimuth: float = 0.0,
    origin: tuple[float, float] = (0.0, 0.0),
    b_factor: float = 0.3,
    like: Tensor | None = None,
) -> Float[Tensor, "h w"]:
    """The projected potential of a flat layer of graphene across the beam, V Å, with all its Fourier components below Nyquist.

    V(x) = (h²/2πme) / A Σ_G f(|G|) exp(−B G²/4) Σ_atoms cos 2πG·(x − r), A = √3/2 a² the cell: the endless crystal exactly, so its spots at 1/2.13 and
    1/1.23 Å⁻¹ are points. One lattice vector lies at `azimuth` (rad, from +x towards +y), one hexagon's middle at `origin` (Å, from the corner).
    float32 on the CPU, or as `like` is.

    Source: Kirkland, Advanced Computing in Electron Microscopy (2020), chapter 5, structure factors; lattice constant 2.46 Å.
    """
    require_positive("pixel size", pixel_size, unit="Å")
    dtype, device = (torch.float32, None) if like is None else (like.dtype, like.device)
    x, y = (
        (torch.arange(side, dtype=torch.float64) * pixel_size - start) for side, start in zip(reversed(size), origin, strict=True)
    )
    nyquist = 0.5 / pixel_size
    total = torch.zeros(size, dtype=dtype, device=device)
    for gx, gy, structure in _reciprocal_lattice(nyquist, azimuth=azimuth):
        length = math.hypot(gx, gy)
        weight = float(scattering_factor(_CARBON, torch.tensor(length, dtype=torch.float64))) * math.exp(
            -b_factor * length**2 / 4
        )
        # cos(a + b) = cos a cos b − sin a sin b: a product of two rows and columns; phases in float64, as a field has thousands of cells.
        along_x, along_y = 2 * math.pi * gx * x, 2 * math.pi * gy * y
        rows = torch.stack([torch.cos(along_y), -torch.sin(along_y)], dim=1).to(total)
        columns = torch.stack([torch.cos(along_x), torch.sin(along_x)]).to(total)
        total.addmm_(rows, columns, alpha=weight * structure)
    cell = math.sqrt(3) / 2 * GRAPHENE_LATTICE**2
    return total.mul_(VOLT_PER_SCATTERING_FACTOR / cell)


def _reciprocal_lattice(nyquist: float, *, azimuth: float) -> list[tuple[float, float, float]]:
    """The reciprocal vectors (x, y in 1/Å) below Nyquist on both axes, each with Σ_atoms cos(2πG·r) about a hexagon's middle.

    Seen from there the two atoms lie opposite each other, so that the sum is real.
    """
    step = 1 / (GRAPHENE_LATTICE * math.sqrt(3) / 2)
    reach = math.ceil(math.sqrt(2) * nyquist / step * 2) + 1
    directions = [azimuth - math.pi / 6, azimuth + math.pi / 2]
    vectors = []
    for h in range(-reach, reach + 1):
        for k in range(-reach, reach + 1):
            gx, gy = (step * (h * trig(directions[0]) + k * trig(directions[1])) for trig in (math.cos, math.sin))
            if abs(gx) < nyquist and abs(gy) < nyquist:
                # The atoms lie at ±(a₁ + a₂)/3 of the two lattice vectors, which are 60° apart.
                vectors.append((gx, gy, 2 * math.cos(2 * math.pi * (h + k) / 3)))
    return vectors


def gold_mean_inner_potential() -> float:
    """The mean inner potential of a crystal of free gold atoms, V: h²/2πme · 4 f(0) / a³. Bonds make real gold's some volts smaller."""
    factor = float(scattering_factor(_GOLD, torch.zeros((), dtype=torch.float64)))
    return VOLT_PER_SCATTERING_FACTOR * 4 * factor / GOLD_LATTICE**3


def bead_thickness(
    positions: Float[Tensor, "n 2"], *, radius: float | Float[Tensor, " n"], size: tuple[int, int], pixel_size: float
) -> Float[Tensor, "h w"]:
    """How much of each pixel's path lies in balls at these positions (x, y from the corner of the field, Å), Å: 2√(R² − ρ²), summed.

    The mean over the pixel of the chord's length, so the sum over pixels is the volume, also of balls of a few pixels. dtype and device follow the
    positions; what lies outside the field is left out.

    Raises
    ------
    UsageError
        If a radius or the pixel size is not above zero.
    """
    require_positive("pixel size", pixel_size, unit="Å")
    radii = torch.as_tensor(radius).to(positions).expand(positions.shape[0])
    if bool((~(radii > 0)).any()):
        raise UsageError("the radius of a bead must be above zero")
    total = positions.new_zeros(size)
    inner = (torch.arange(_EDGE_SAMPLES, dtype=positions.dtype, device=positions.device) + 0.5) / _EDGE_SAMPLES - 0.5
    for (x, y), reach in zip(positions.tolist(), radii.tolist(), strict=True):
        columns, rows = (
            _covered(place, reach, side=side, pixel_size=pixel_size).to(positions) for place, side in ((x, size[1]), (y, size[0]))
        )
        if len(columns) == 0 or len(rows) == 0:
            continue
        dx = (columns[:, None] + inner) * pixel_size - x
        dy = (rows[:, None] + inner) * pixel_size - y
        squared = reach**2 - dx.reshape(-1) ** 2 - (dy.reshape(-1) ** 2)[:, None]
        chord = 2 * torch.sqrt(squared.clamp_min(0))
        mean = chord.reshape(len(rows), _EDGE_SAMPLES, len(columns), _EDGE_SAMPLES).mean(dim=(1, 3))
        top, left = int(rows[0]), int(columns[0])
        total[top : top + len(rows), left : left + len(columns)] += mean
    return total


def _covered(place: float, reach: float, *, side: int, pixel_size: float) -> Tensor:
    """The numbers of the pixels of one axis that a ball about `place` touches."""
    first = max(0, math.floor((place - reach) / pixel_size))
    return torch.arange(first, max(first, min(side, math.ceil((place + reach) / pixel_size) + 1)))


def beads(
    positions: Float[Tensor, "n 2"], *, radius: float | Float[Tensor, " n"], size: tuple[int, int], pixel_size: float
) -> Float[Tensor, "h w"]:
    """The projected potential of gold beads at these positions (x, y from the corner of the field, Å), V Å: no weak object.

    Solid balls of `gold_mean_inner_potential`, without lattice. For one tilt give the positions as that tilt projects them.
    """
    return gold_mean_inner_potential() * bead_thickness(positions, radius=radius, size=size, pixel_size=pixel_size)


def mean_free_path(atomic_number: int, *, voltage_kv: float, collection: float = 0.01) -> float:
    """The mean free path of inelastic scattering in a solid, Å: Λ = 1060 F (E/E_m) / ln(2 β E/E_m), to about a fifth.

    F = (1 + E/1022)/(1 + E/511)², E_m = 7.6 Z^0.36 eV, E in keV, the collection half-angle β here in rad (10 mrad unless given).

    Source: Malis, Cheng & Egerton, J. Electron Microsc. Tech. 8, 193 (1988), abstract.

    Examples
    --------
    >>> round(mean_free_path(6, voltage_kv=300), -1)
    1870.0
    """
    require_positive("voltage", voltage_kv, unit="kV")
    relativistic = (1 + voltage_kv / (2 * ELECTRON_REST_ENERGY_KV)) / (1 + voltage_kv / ELECTRON_REST_ENERGY_KV) ** 2
    ratio = voltage_kv / (7.6 * math.pow(atomic_number, 0.36))
    return 1060 * relativistic * ratio / math.log(2 * collection * 1e3 * ratio)


def absorbing_potential(thickness: Float[Tensor, "*shape"], *, atomic_number: int, voltage_kv: float) -> Float[Tensor, "*shape"]:
    """The projected imaginary potential of a solid of this thickness (Å), V Å: t / (2 σₑ Λ), so that the intensity falls as exp(−t/Λ).

    It stands for electrons lost to inelastic scattering, as an energy filter loses them. Carbon is 6, gold 79.
    """
    path = mean_free_path(atomic_number, voltage_kv=voltage_kv)
    return thickness / (2 * interaction_constant(voltage_kv) * path)
