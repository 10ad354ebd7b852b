"""Scores of residues along the chains of a model."""

from collections.abc import Sequence

import numpy as np

from cryowalk.core.errors import UsageError
from cryowalk.view.canvas import COLOURS, GREY, Drawing, new_drawing, styled

MOST_CHAINS = 8


@styled
def scores_along_chains(scores: Sequence[tuple[str, int, float]], *, label: str = "Q-score") -> Drawing:
    """A score against the residue's number, one row a chain (the first eight), from (chain, number, score).

    Raises
    ------
    UsageError
        If there are none.
    """
    chains: dict[str, list[tuple[int, float]]] = {}
    for chain, number, score in sorted(scores):
        chains.setdefault(chain, []).append((number, score))
    if not chains:
        raise UsageError("there are no residues to show")
    names = list(chains)[:MOST_CHAINS]
    drawing = new_drawing(8.2, 0.9 + 1.6 * len(names), description=f"{label} of each residue; chains {', '.join(names)}")
    low = min(0.0, min(score for name in names for _, score in chains[name]))
    for row, name in enumerate(names):
        axes = drawing.add_subplot(len(names), 1, row + 1)
        numbers, values = (np.array(column) for column in zip(*chains[name], strict=True))
        axes.axhline(float(np.mean(values)), color=GREY, linewidth=0.9, linestyle=(0, (4, 3)))
        axes.plot(numbers, values, color=COLOURS[row % len(COLOURS)], linewidth=1.1, marker=".", markersize=3)
        axes.set_ylim(low, 1.02)
        axes.margins(x=0.01)
        axes.set_ylabel(f"{label}, {name}" if name else label)
        if row == len(names) - 1:
            axes.set_xlabel("residue")
    return drawing
