"""What one image contributes to a map: its centred transform times CTF/σ², and the weight CTF²/σ² of each coefficient."""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from jaxtyping import Complex, Float, Int
from torch import Tensor

from cryowalk.core.errors import InputError, ShapeError, UsageError
from cryowalk.data import Defocus, Optics, ParticleSet, Pose
from cryowalk.fourier.filters import weights_on_spectrum
from cryowalk.fourier.grids import frequency_grid
from cryowalk.fourier.transform import to_fourier
from cryowalk.microscope.aberrations import has_odd_terms, is_magnified_evenly, magnified_area, magnified_reach
from cryowalk.microscope.lens import antisymmetric_factor, contrast_transfer
from cryowalk.reconstruction.ewald import Sheet, curved_sheets, require_curved
from cryowalk.reconstruction.settings import ReconstructionSettings


class WeightedSlices(NamedTuple):
    """Transforms X of images, the factor CTF · w of each coefficient in the numerator, and its weight CTF² · w in the denominator."""

    slices: Complex[Tensor, "n h half"]
    factor: Float[Tensor, "n h half"]
    weights: Float[Tensor, "n h half"]


def weighted_slices(
    images: Float[Tensor, "n h w"],
    particles: ParticleSet,
    indices: Int[Tensor, " n"],
    *,
    settings: ReconstructionSettings,
    evening: Float[Tensor, "h half"],
    inverse_noise: Float[Tensor, "groups shells"] | None,
) -> WeightedSlices:
    """What images of the particles `indices` contribute, not yet moved to their particles' origins.

    Odd aberrations are undone: X is multiplied by exp(−iρ). Premultiplied images carry one CTF already, so their factor is w. The weights w are
    `evening`, which all images share, times 1/σ² in each shell of each optics group.
    """
    slices, groups = _spectra(images, particles, indices, settings)
    factor, weights = torch.empty_like(slices.real), torch.empty_like(slices.real)
    for group, members in groups:
        optics = particles.optics[group]
        chosen: slice | Tensor = slice(None) if len(members) == len(indices) else members.to(images.device)
        common = _common(optics, evening, None if inverse_noise is None else inverse_noise[group])
        if settings.ctf == "none":
            factor[chosen] = weights[chosen] = common
        else:
            defocus = _defocus(particles)[indices[members]].to(images.device)
            size = (images.shape[-2], images.shape[-1])
            transfer = _transfer(optics, defocus, size=size, settings=settings)
            weighted = transfer * common
            factor[chosen] = common if optics.is_premultiplied else weighted
            weights[chosen] = weighted.mul_(transfer) if optics.is_premultiplied else weighted * transfer
    return WeightedSlices(slices, factor, weights)


def curved_slices(
    images: Float[Tensor, "n h w"],
    particles: ParticleSet,
    indices: Int[Tensor, " n"],
    *,
    settings: ReconstructionSettings,
    evening: Float[Tensor, "h half"],
    inverse_noise: Float[Tensor, "groups shells"] | None,
) -> Iterator[tuple[Sheet, Int[Tensor, " members"]]]:
    """The curved sheets that images of the particles `indices` contribute, not yet moved, each with the places of its images among them."""
    slices, groups = _spectra(images, particles, indices, settings)
    for group, members in groups:
        common = _common(particles.optics[group], evening, None if inverse_noise is None else inverse_noise[group])
        defocus = _defocus(particles)[indices[members]]
        here = members.to(images.device)
        for sheet in curved_sheets(slices[here], particles.optics[group], defocus, common=common, settings=settings):
            yield sheet, here


def _spectra(
    images: Tensor, particles: ParticleSet, indices: Tensor, settings: ReconstructionSettings
) -> tuple[Tensor, list[tuple[int, Tensor]]]:
    """The images' spectra, odd aberrations undone, and the places of each optics group's images among them."""
    size = (images.shape[-2], images.shape[-1])
    slices = to_fourier(images)
    index = particles.optics_index[indices]
    groups = [(group, (index == group).nonzero().flatten()) for group in sorted(set(index.tolist()))]
    for group, members in groups:
        optics = particles.optics[group]
        if settings.ctf != "none" and has_odd_terms(optics.aberrations):
            chosen: slice | Tensor = slice(None) if len(members) == len(index) else members.to(images.device)
            slices[chosen] *= antisymmetric_factor(optics, size=size, like=slices).conj()
    return slices, groups


def _common(optics: Optics, evening: Tensor, inverse_noise: Tensor | None) -> Tensor:
    """The weight that all images of an optics group share."""
    size = (evening.shape[-2], evening.shape[-2])
    common = evening if inverse_noise is None else evening * weights_on_spectrum(inverse_noise, size=size)
    if not is_magnified_evenly(optics.aberrations):
        kx, ky = frequency_grid(size, pixel_size=optics.pixel_size, like=common)
        common = common * magnified_reach(kx, ky, optics=optics, limit=0.5 / optics.pixel_size)
    return common


def _transfer(
    optics: Optics, defocus: Defocus, *, size: tuple[int, int], settings: ReconstructionSettings
) -> Float[Tensor, "n h half"]:
    # In float32, as the images are; the lens keeps phases in float64 whatever the defocus comes in.
    transfer = contrast_transfer(optics, defocus.to(torch.float32), size=size)
    area = magnified_area(optics)
    transfer = transfer if area == 1 else transfer * area
    return transfer.abs() if settings.ctf == "phase-flipped" else transfer


def _defocus(particles: ParticleSet) -> Defocus:
    """The CTF parameters.

    Raises
    ------
    InputError
        If there are none.
    """
    if particles.defocus is None:
        raise InputError(
            "the particles have no CTF parameters",
            expected="defocus values in every row",
            fix="estimate them first, or give --ctf none if the images have no CTF",
        )
    return particles.defocus


def _pose(particles: ParticleSet) -> Pose:
    if particles.pose is None:
        raise InputError(
            "the particles have no poses",
            expected="orientation angles and origins in every row",
            fix="refine them first, or give a STAR file of a refinement",
        )
    return particles.pose


def require_usable(particles: ParticleSet, settings: ReconstructionSettings) -> None:
    """Refuse particles that cannot make a map.

    Raises
    ------
    InputError
        If there are none, or their images, poses or CTF parameters are missing or not finite.
    ShapeError
        If the images are not square.
    UsageError
        If the settings contradict one another, or the Ewald sphere cannot be corrected in these images.
    """
    if settings.directional and settings.method == "direct":
        raise UsageError(
            "direct inversion has no prior that could be directional", fix="choose --method wiener or --method least-squares"
        )
    if len(particles) == 0:
        raise InputError(
            "there are no particles to reconstruct", expected="at least one", fix="look at the selection that made this set"
        )
    if particles.images is None:
        raise InputError("the particles have no images", fix="read them from a STAR file whose rlnImageName column names a stack")
    height, width = particles.images.image_shape
    if height != width:
        raise ShapeError(f"particle images must be square: got {height} × {width} (height × width)", fix="crop or pad them first")
    pose = _pose(particles)
    finite = torch.isfinite(pose.lab_from_particle).all(dim=(-2, -1)) & torch.isfinite(pose.shift).all(dim=-1)
    _all_finite(finite, particles, "pose")
    if settings.ewald != "off":
        for optics in particles.optics:
            require_curved(optics, settings)
    if settings.ctf != "none":
        defocus = _defocus(particles)
        _all_finite(torch.isfinite(defocus.major + defocus.minor + defocus.azimuth + defocus.phase_shift), particles, "CTF")


def _all_finite(finite: Tensor, particles: ParticleSet, what: str) -> None:
    if not bool(finite.all()):
        place = int((~finite).nonzero()[0])
        name = f" ({particles.image_names[place]})" if particles.image_names else ""
        raise InputError(f"the {what} of particle {place + 1}{name} is not finite", fix="remove this particle or correct its row")


def inverse_noise_power(
    noise_power: Float[Tensor, "*groups shells"] | None, *, groups: int, box: int
) -> Float[Tensor, "groups shells"] | None:
    """1/σ² in each shell of each optics group, scaled to a mean of 1; a spectrum given once holds for all groups.

    Raises
    ------
    InputError
        If there is not one positive number a shell, or not one spectrum a group.
    """
    if noise_power is None:
        return None
    power = noise_power.double()
    power = power.expand(groups, -1) if power.ndim == 1 else power
    if tuple(power.shape) != (groups, box // 2 + 1):
        raise InputError(
            f"the noise power has the shape {tuple(noise_power.shape)}",
            expected=f"({groups}, {box // 2 + 1}): one value for each optics group and each shell from 0 to Nyquist",
        )
    if not bool(((power > 0) & torch.isfinite(power)).all()):
        raise InputError("the noise power must be above zero and finite in every shell", fix="estimate it from more images")
    inverse = 1 / power
    return (inverse / inverse.mean()).float()
