"""Particle images filtered by their own covariance: what most images share is kept, each behind its own CTF.

Source: Bhamre, Zhang & Singer, J. Struct. Biol. 195, 72 (2016), eqs. 5–11.
"""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from cryowalk.core.errors import InputError
from cryowalk.core.execution import ImageSink, Progress, SilentProgress
from cryowalk.data.particles import ParticleSet
from cryowalk.denoising.basis import BesselBasis, bessel_basis
from cryowalk.denoising.passes import Passes
from cryowalk.denoising.settings import DenoisingSettings
from cryowalk.denoising.spiked import noise_edge, signal_strength
from cryowalk.fourier.filters import apply_shell_weights
from cryowalk.fourier.transform import to_fourier, to_real

_FEWEST = 20  # images that a covariance is estimated from
_RIDGE = 1e-4  # of the mean diagonal: what no image transfers is left out


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageCovariance:
    """Mean and covariance of clean images, block by block of the basis, the noise, and how many components were told from noise.

    `noise` is the power E|n|² in each shell; `eigenvalues[k]` are those of the whitened data's covariance, `edges[k]` the noise's edge.
    `amplitude` is what the filter left of the images' variation, on average, at the basis's radii: see `expected_amplitude`.
    """

    basis: BesselBasis
    noise: Float[Tensor, " shells"]
    mean: Float[Tensor, " p"]
    blocks: tuple[Complex[Tensor, "_ _"], ...]
    eigenvalues: tuple[Float[Tensor, " _"], ...]
    edges: tuple[float, ...]
    count: int
    amplitude: Float[Tensor, " points"] | None = None

    @property
    def rank(self) -> int:
        """How many real components were kept."""
        above = [int((values > edge).sum()) for values, edge in zip(self.eigenvalues, self.edges, strict=True)]
        return above[0] + 2 * sum(above[1:])


def covariance_filter(
    particles: ParticleSet, settings: DenoisingSettings | None = None, *, sink: ImageSink, progress: Progress | None = None
) -> ImageCovariance:
    """The statistics that every image was filtered with; the filtered images, free of CTF and noise, go to `sink` in the particles' order.

    For each block of the Fourier–Bessel basis x = μ + C H (H C H + 1)⁻¹ (a − H μ): the mean of the posterior when images are Gaussian with the mean and
    covariance that the whole set shows, any in-plane rotation of an image being as likely. CTFs enter by their mean over azimuth. They are views of a *set*: what only one image shows is
    gone, and they must not be fed to anything that counts on independent noise.

    Raises
    ------
    InputError
        If there are no images, too few of them, or an image is constant or not finite.
    """
    settings, progress = settings or DenoisingSettings(), progress or SilentProgress()
    if particles.images is None:
        raise InputError("the particles have no images")
    if len(particles) < _FEWEST:
        raise InputError(
            f"a covariance needs more than {len(particles)} images",
            expected=f"at least {_FEWEST}",
            fix="filter single images: --method wiener",
        )
    work = _Work(Passes(particles, settings))
    progress.start("covariance", 4 * len(particles))
    noise = work.passes.noise(progress)
    covariance = work.covariance(noise, progress)
    amplitude = torch.zeros_like(work.basis.radius)
    for places, images in work.passes.batches(progress):
        transfer = work.whitened(places, noise)
        filtered = filtered_blocks(covariance, work.analysed(images, noise), transfer)
        sink.write(work.image_of(filtered))
        amplitude += len(places) * expected_amplitude(covariance, transfer)
    return replace(covariance, amplitude=amplitude / len(particles))


def filtered_blocks(
    covariance: ImageCovariance, blocks: list[Tensor], transfer: Float[Tensor, "n points"]
) -> list[Complex[Tensor, "n _"]]:
    """The posterior means of the coefficients of whitened images behind these whitened transfer functions."""
    result = []
    for k, (given, matrix) in enumerate(zip(blocks, covariance.basis.transfer_blocks(transfer), strict=True)):
        lens, spread = matrix.to(given.dtype), covariance.blocks[k]
        expected = (lens @ covariance.mean.to(given.dtype)[:, None])[..., 0] if k == 0 else torch.zeros_like(given)
        total = lens @ spread @ lens + torch.eye(len(spread), dtype=given.dtype, device=given.device)
        found = torch.linalg.solve(total, (given - expected)[..., None])
        deviation = (spread @ (lens @ found))[..., 0]
        result.append(covariance.mean.to(given.dtype) + deviation if k == 0 else deviation)
    return result


def expected_amplitude(covariance: ImageCovariance, transfer: Float[Tensor, "n points"]) -> Float[Tensor, " points"]:
    """What the filter leaves of a clean image's variation at each of the basis's radii, E⟨x̂, x⟩ / E⟨x, x⟩ over images behind these whitened transfer functions.

    It is the bias towards the mean, and the square of the expected correlation with the clean image. What the set does not show is not counted.
    """
    kept, power = torch.zeros_like(covariance.basis.radius), torch.zeros_like(covariance.basis.radius)
    for k, matrix in enumerate(covariance.basis.transfer_blocks(transfer)):
        spread, lens = covariance.blocks[k], matrix.to(covariance.blocks[k].dtype)
        total = lens @ spread @ lens + torch.eye(len(spread), dtype=spread.dtype, device=spread.device)
        seen = (spread @ lens @ torch.linalg.solve(total, lens @ spread)).mean(dim=0)
        radial = covariance.basis.radial[k]
        times = 1 if k == 0 else 2
        kept += times * torch.einsum("rp,pq,rq->r", radial, seen.real, radial)
        power += times * torch.einsum("rp,pq,rq->r", radial, spread.real, radial)
    return torch.where(power > 0, kept / power.clamp_min(torch.finfo(power.dtype).tiny), torch.zeros_like(kept))


class _Work:
    """The statistics of the set, one pass over the images for each."""

    def __init__(self, passes: Passes) -> None:
        self.passes = passes
        self.basis = bessel_basis(passes.box, cut=passes.cut, support=passes.support, like=passes.like)

    def analysed(self, images: Tensor, noise: Tensor) -> list[Tensor]:
        """The blocks of whitened images."""
        spectra = to_fourier(apply_shell_weights(images, noise.rsqrt()))
        return self.basis.analyse(self.basis.disk.gather(spectra, count=self.basis.count))

    def whitened(self, places: range, noise: Tensor) -> Float[Tensor, "n points"]:
        """Transfer functions divided by the noise's amplitude, as the images are."""
        shell = torch.floor(self.basis.radius + 0.5).long().clamp(max=len(noise) - 1)
        return self.passes.transfer(places, self.basis.radius) * noise.rsqrt()[shell]

    def image_of(self, blocks: list[Tensor]) -> Float[Tensor, "n h w"]:
        """The images that have these coefficients."""
        image: Tensor = to_real(self.basis.disk.scatter(self.basis.synthesise(blocks)), width=self.passes.box)
        return image

    def covariance(self, noise: Tensor, progress: Progress) -> ImageCovariance:
        """Mean and covariance by least squares, the noise's share taken out."""
        mean = self._mean(noise, progress)
        sums = [_BlockSums.zero(radial.shape[1], self.passes.like) for radial in self.basis.radial]
        for places, images in self.passes.batches(progress):
            lenses = self.basis.transfer_blocks(self.whitened(places, noise))
            for k, (given, lens) in enumerate(zip(self.analysed(images, noise), lenses, strict=True)):
                expected = (lens @ mean[:, None])[..., 0].to(given.dtype) if k == 0 else torch.zeros_like(given)
                sums[k].add(given - expected, lens)
        count = len(self.passes.particles)
        solved = [each.solve(count) for each in sums]
        dtype = self.passes.like.dtype.to_complex()
        return ImageCovariance(
            basis=self.basis,
            noise=noise,
            mean=mean,
            blocks=tuple(block.to(dtype) for block, _ in solved),
            eigenvalues=tuple(values for _, values in solved),
            edges=tuple(noise_edge(len(values), count) for _, values in solved),
            count=count,
        )

    def _mean(self, noise: Tensor, progress: Progress) -> Float[Tensor, " p"]:
        """The mean of the images over all in-plane rotations: least squares over the block that rotations leave alone."""
        size = self.basis.radial[0].shape[1]
        matrix, right = (
            self.passes.like.new_zeros(size, size, dtype=torch.float64),
            self.passes.like.new_zeros(size, dtype=torch.float64),
        )
        for places, images in self.passes.batches(progress):
            lens = self.basis.transfer_blocks(self.whitened(places, noise))[0].double()
            matrix += (lens @ lens).sum(dim=0)
            right += (lens @ self.analysed(images, noise)[0].real.double()[..., None]).sum(dim=0)[:, 0]
        mean: Tensor = torch.linalg.solve(_ridged(matrix), right).to(self.passes.like)
        return mean


@dataclass(slots=True)
class _BlockSums:
    """The normal equations Σ G C G = Σ H (a aᴴ − 1) H of one block, G = H², in float64."""

    gram: Float[Tensor, "q q"]
    power: Complex[Tensor, "p p"]
    squared: Float[Tensor, "p p"]

    @classmethod
    def zero(cls, size: int, like: Tensor) -> "_BlockSums":
        """Nothing summed yet."""
        device = like.device
        return cls(
            gram=torch.zeros(size**2, size**2, dtype=torch.float64, device=device),
            power=torch.zeros(size, size, dtype=torch.complex128, device=device),
            squared=torch.zeros(size, size, dtype=torch.float64, device=device),
        )

    def add(self, given: Complex[Tensor, "n p"], lens: Float[Tensor, "n p p"]) -> None:
        """Add images behind their lenses."""
        squared = (lens @ lens).double()
        back = (lens.to(given.dtype) @ given[..., None])[..., 0].to(torch.complex128)
        flat = squared.flatten(1)
        self.gram += flat.T @ flat
        self.power += back.T @ back.conj()
        self.squared += squared.sum(dim=0)

    def solve(self, count: int) -> tuple[Complex[Tensor, "p p"], Float[Tensor, " p"]]:
        """The block's covariance, and the eigenvalues of the data's in the frame in which noise is white."""
        size = len(self.squared)
        values, vectors = torch.linalg.eigh(_ridged(self.squared))
        root = (vectors * values.sqrt()) @ vectors.T
        inverse = (vectors / values.sqrt()) @ vectors.T
        white = inverse.to(self.power.dtype) @ self.power @ inverse.to(self.power.dtype)
        eigenvalues, directions = torch.linalg.eigh((white + white.mH) / 2)
        strength = signal_strength(eigenvalues, dimension=size, samples=count)
        kept = (directions * strength.to(directions.dtype)) @ directions.mH
        right = root.to(kept.dtype) @ kept @ root.to(kept.dtype)
        # Σ G C G as one matrix on the entries of C: row (a, d), column (b, c) holds Σ G[a, b] G[c, d].
        matrix = self.gram.reshape(size, size, size, size).permute(0, 3, 1, 2).reshape(size**2, size**2)
        flat = torch.linalg.solve(_ridged(matrix).to(right.dtype), right.reshape(-1))
        block = flat.reshape(size, size)
        values, vectors = torch.linalg.eigh((block + block.mH) / 2)
        return (vectors * values.clamp_min(0).to(vectors.dtype)) @ vectors.mH, eigenvalues


def _ridged(matrix: Tensor) -> Tensor:
    scale = matrix.diagonal().mean().clamp_min(torch.finfo(matrix.dtype).tiny)
    return matrix + _RIDGE * scale * torch.eye(len(matrix), dtype=matrix.dtype, device=matrix.device)
