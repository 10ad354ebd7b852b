"""Atoms of a molecule, as a structure file or a generator gives them."""

from dataclasses import dataclass

from jaxtyping import Float, Int
from torch import Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class Atoms:
    """Atoms: positions (x, y, z) in Å, element numbers, isotropic B-factors in Å², occupancies, and their names."""

    positions: Float[Tensor, "atoms 3"]
    atomic_numbers: Int[Tensor, " atoms"]
    b_factors: Float[Tensor, " atoms"]
    occupancies: Float[Tensor, " atoms"]
    names: tuple[str, ...] = ()
    residue_names: tuple[str, ...] = ()
    residue_numbers: tuple[int, ...] = ()
    chains: tuple[str, ...] = ()

    def __len__(self) -> int:
        return self.positions.shape[0]
