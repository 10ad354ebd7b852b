"""What must hold of a pair of halves before anything is learnt from it."""

import warnings

import torch
from jaxtyping import Float
from torch import Tensor

from cryowalk.core.errors import CryowalkWarning, InputError, ShapeError
from cryowalk.fourier.grids import Size, require_size
from cryowalk.fourier.shells import shell_correlation, shell_sum

_ALIKE = 0.9999  # correlation in every shell: two copies of one thing
_SHARED = 0.2  # mean correlation in the last shells that asks for an explanation
_OUTER = 0.9  # of Nyquist: where the last shells begin
_TOO_SMALL = 16  # pixels


def check_pair(first: Float[Tensor, "*size"], second: Float[Tensor, "*other"], *, name: str | None = None) -> None:
    """Nothing, if the two may be halves of one thing; warns where their noise seems to be shared, or where they share nothing.

    Raises
    ------
    ShapeError
        If they differ in shape, or are too small.
    InputError
        If one is constant or holds values that are not finite, or if they are the same.
    """
    if first.shape != second.shape:
        raise ShapeError(
            f"the halves differ in shape: {tuple(first.shape)} and {tuple(second.shape)}",
            file=name,
            fix="name the two halves of one movie, or of one reconstruction",
        )
    if min(first.shape) < _TOO_SMALL:
        raise ShapeError(f"halves of {tuple(first.shape)} are too small", file=name, expected=f"sides of at least {_TOO_SMALL}")
    for which, half in (("first", first), ("second", second)):
        if not bool(torch.isfinite(half).all()):
            raise InputError(f"the {which} half holds NaN or infinite values", file=name, fix="cryowalk validate FILE")
        if bool(half.max() == half.min()):
            raise InputError(f"the {which} half is constant: there is nothing to learn from it", file=name)
    if torch.equal(first, second):
        raise _copies(name)
    size = require_size(first, first.ndim)
    _check_correlation(shell_correlation(first.double(), second.double()), size, name=name)


def _check_correlation(correlation: Tensor, size: Size, *, name: str | None) -> None:
    if float(correlation[1:].min()) > _ALIKE:
        raise _copies(name)
    place = f"{name}: " if name else ""
    outer = correlation[int(_OUTER * (len(correlation) - 1)) :]
    if float(outer.mean()) > _SHARED:
        what = (
            f"{place}the halves still agree near Nyquist (correlation {float(outer.mean()):.2f}): they share noise (fixed pattern, a common mask, "
            "interpolation, one refinement) or are sampled too coarsely; shared noise is taken for signal and kept"
        )
        warnings.warn(what, CryowalkWarning, stacklevel=3)
    if not _agrees(correlation, size):
        what = f"{place}the halves agree nowhere beyond what chance gives: there is no signal to keep"
        warnings.warn(what, CryowalkWarning, stacklevel=3)


def _agrees(correlation: Tensor, size: Size) -> bool:
    """Whether three shells in a row correlate by more than three standard deviations of chance, 1/√n for n coefficients with their Friedel mates."""
    half = torch.ones(*size[:-1], size[-1] // 2 + 1, dtype=correlation.dtype, device=correlation.device)
    count = shell_sum(half, size=size)
    above = (correlation * count.sqrt() > 3)[1:]
    return bool((above[:-2] & above[1:-1] & above[2:]).any())


def _copies(name: str | None) -> InputError:
    return InputError(
        "both halves are the same: noise that they share cannot be told from signal",
        file=name,
        expected="two images or maps from disjoint data",
        fix="give the odd and the even sum of a movie (cryowalk motion --halves yes), or both half maps of one refinement",
    )
