"""The registry of operators and the laws that each of them must obey.

To have a new operator tested, add a module `operators_<room>.py` beside this file with a list `OPERATORS`; `test_laws.py` finds it. An
`Operator` names a function that builds the map from one tensor to another for a given size, dtype and device; whatever else it needs
(poses, filters) the builder makes from a seeded generator, so that it is the same map each time.
"""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

import torch
from torch import Tensor

from cryowalk.fourier.grids import friedel_weights
from cryowalk.fourier.transform import to_fourier, to_real

Size = tuple[int, ...]
Map = Callable[[Tensor], Tensor]
BOXES_2D: tuple[Size, ...] = ((8, 8), (9, 9), (8, 9), (9, 8))
SQUARES: tuple[Size, ...] = ((8, 8), (9, 9))
BOXES_3D: tuple[Size, ...] = ((6, 6, 6), (5, 5, 5), (4, 5, 6), (5, 4, 7))
CUBES: tuple[Size, ...] = ((6, 6, 6), (5, 5, 5))


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What a builder is told: the size of the input array in real space, and where the work is done."""

    size: Size
    dtype: torch.dtype = torch.float64
    device: str = "cpu"

    def like(self, shape: Size, *, seed: int = 3) -> Tensor:
        """Seeded normal numbers for whatever the operator needs, the same in every dtype."""
        numbers = torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        return numbers.to(self.device, self.dtype)


@dataclass(frozen=True, kw_only=True)
class Operator:
    """One operator with the laws it claims.

    `adjoint` is a builder too; the inner products are those of real space (a half spectrum counts both Friedel mates). `input` and
    `output` say whether the arrays are real or half spectra; `output_size` is the size in real space of a spectrum that comes out, where it
    differs. A law that cannot hold is left out by its field, with the reason beside it in the list.
    """

    name: str
    build: Callable[[Setting], Map]
    sizes: tuple[Size, ...] = BOXES_2D
    adjoint: Callable[[Setting], Map] | None = None
    input: str = "real"
    output: str = "real"
    is_linear: bool = True
    has_batch: bool = True
    has_gradient: bool = True
    batch: Size = ()  # leading axes of a single input, for operators on stacks
    output_size: Callable[[Size], Size] = lambda size: size
    tolerance: float = 1e-10  # relative, in float64


def example(operator: Operator, setting: Setting, *, seed: int, batch: Size = ()) -> Tensor:
    """A random input of the operator; half spectra are those of real arrays."""
    array = setting.like((*batch, *operator.batch, *setting.size), seed=seed)
    return array if operator.input == "real" else to_fourier(array, dimensions=len(setting.size))


def inner_product(first: Tensor, second: Tensor, *, size: Size) -> float:
    """⟨first, second⟩ in real space of real arrays, or of the real arrays whose half spectra they are."""
    if not first.is_complex():
        return (first * second).sum().item()
    weights = friedel_weights(size, like=first)
    return ((first.conj() * second).real * weights).sum().item()


def hermitian(spectrum: Tensor, *, size: Size) -> Tensor:
    """The part of a half spectrum that a real array has."""
    return to_fourier(to_real(spectrum, width=size[-1], dimensions=len(size)), dimensions=len(size))


def all_operators() -> list[Operator]:
    """The operators of every `operators_*.py` in this folder."""
    names = sorted(path.stem for path in Path(__file__).parent.glob("operators_*.py"))
    return [operator for name in names for operator in import_module(f".{name}", __package__).OPERATORS]
