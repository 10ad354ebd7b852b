"""Where particles are in a micrograph."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class Coordinates:
    """Positions (x, y) in pixels of one micrograph, where known with a figure of merit; `extra` maps each further column to its text."""

    positions: Float[Tensor, "n 2"]
    merit: Float[Tensor, " n"] | None = None
    extra: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    column_order: tuple[str, ...] = ()

    def __len__(self) -> int:
        return self.positions.shape[0]

    def __getitem__(self, selection: "Bool[Tensor, ' n'] | Int[Tensor, ' m'] | slice | Sequence[int]") -> "Coordinates":
        """The chosen ones, in the order of the selection."""
        chosen = torch.arange(len(self))[torch.as_tensor(selection) if not isinstance(selection, slice) else selection]
        places = chosen.tolist()
        return replace(
            self,
            positions=self.positions[chosen],
            merit=None if self.merit is None else self.merit[chosen],
            extra={name: tuple(column[i] for i in places) for name, column in self.extra.items()},
        )
