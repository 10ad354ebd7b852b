"""Pairs of halves to one quieter image or map: odd and even sums of movies, half doses, half maps."""

from collections.abc import Iterator, Sequence

import torch

from cryowalk.core.errors import UsageError
from cryowalk.core.execution import Checkpoint, Progress
from cryowalk.denoising.checks import check_pair
from cryowalk.denoising.local import local_wiener
from cryowalk.denoising.noise2noise import Networks, Pair, apply, learn
from cryowalk.denoising.recombination import Recombination, recombine
from cryowalk.denoising.settings import DenoisingSettings


def denoise_pairs(
    pairs: Sequence[Pair],
    settings: DenoisingSettings | None = None,
    *,
    generator: torch.Generator,
    progress: Progress | None = None,
    checkpoint: Checkpoint | None = None,
) -> Iterator[Recombination]:
    """Of each pair (images or volumes) the quieter average, in the unit of the halves, with what it cost in each shell.

    wiener: the average, each shell scaled by 2 FSC / (1 + FSC). local: that weight place by place. noise2noise (what auto means here): networks trained on these pairs. Whatever the
    method, a shell's correlation with the truth is not lowered as far as the halves can tell: see `recombination`. Denoised is not data: do not
    align against it, and do not measure resolution with it.

    Raises
    ------
    UsageError
        If the method is none of these.
    InputError
        If the halves of a pair differ in shape, are the same, constant or not finite.
    """
    settings = settings or DenoisingSettings()
    method = "noise2noise" if settings.method == "auto" else settings.method
    if method not in ("wiener", "local", "noise2noise"):
        raise UsageError(f"pairs of halves are not denoised by {method}", expected="wiener, local or noise2noise")
    for pair in pairs:
        check_pair(*pair)
    networks = None
    if method == "noise2noise":
        networks = learn(pairs, settings, generator=generator, progress=progress, checkpoint=checkpoint)
    for number, pair in enumerate(pairs):
        yield denoise_pair(pair, settings, networks=networks, number=number)


def denoise_pair(pair: Pair, settings: DenoisingSettings, *, networks: Networks | None = None, number: int = 0) -> Recombination:
    """One pair of `denoise_pairs`, with networks that were trained before where the method is noise2noise; without them it is local or wiener."""
    first, second = pair
    mean = (first.mean() + second.mean()) / 2
    centred = (first - first.mean(), second - second.mean())
    if networks is not None:
        quiet = apply(networks, centred, number=number)
    elif settings.method == "local":
        quiet = local_wiener(*centred, window=settings.window)
    else:
        quiet = centred
    found = recombine(quiet, centred)
    return Recombination(
        array=found.array + mean,
        weight=found.weight,
        scale=found.scale,
        gain=found.gain,
        gain_error=found.gain_error,
        fsc=found.fsc,
        amplitude=found.amplitude,
    )
