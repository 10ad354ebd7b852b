"""What a user may choose about denoising."""

from dataclasses import dataclass
from typing import Annotated, Literal

Method = Literal["auto", "wiener", "local", "noise2noise", "pca", "deconvolution"]


@dataclass(frozen=True, slots=True, kw_only=True)
class DenoisingSettings:
    """How images and maps are made quieter. Lengths in Å."""

    method: Annotated[
        Method,
        "auto: pca for particles, noise2noise for pairs of micrographs, local for half maps, deconvolution for single micrographs",
    ] = "auto"
    steps: Annotated[int, "steps of training of each of the two networks", ("min", 1), ("max", 1_000_000)] = 400
    crop: Annotated[int, "side of the pieces that a network learns from, pixels; a multiple of 8", ("min", 8), ("max", 1024)] = 32
    batch: Annotated[int, "pieces in a step", ("min", 1), ("max", 1024)] = 4
    channels: Annotated[int, "width of the networks", ("min", 2), ("max", 256)] = 12
    learning_rate: Annotated[float, "length of the first steps", ("above", 0), ("max", 1)] = 2e-3
    window: Annotated[float, "width of the local filter's window, in wavelengths of each band", ("min", 0.5), ("max", 20)] = 2.0
    diameter: Annotated[float | None, "diameter of the particle; 0.8 of the box unless given", ("min", 10), ("max", 5000)] = None
    finest_resolution: Annotated[
        float | None, "particles: detail that is kept; four pixels unless given", ("above", 0), ("max", 200)
    ] = None
    strength: Annotated[float, "deconvolution: trust in the low frequencies, a power of 1,000", ("min", -2), ("max", 3)] = 1.0
    falloff: Annotated[float, "deconvolution: how fast the trust falls with frequency", ("min", 0), ("max", 20)] = 1.0
    high_pass: Annotated[float, "deconvolution: coarser than this is taken away", ("min", 10), ("max", 1e5)] = 300.0
