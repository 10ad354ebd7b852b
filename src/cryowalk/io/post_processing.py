"""`postprocess.star`: the resolution, the four correlation curves and the Guinier plot, in the blocks and columns that RELION writes and its programs read."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from cryowalk.core.errors import InputError
from cryowalk.io.star import StarBlock, read_star, write_star
from cryowalk.io.star_numbers import integer_texts, number_texts, numbers

RESOLUTION_OF_MEAN = 999.0  # Å, which RELION writes for the shell at zero frequency
EMPTY_SHELL = -99.0  # in place of the logarithm of nothing
CURVES = {
    "corrected": "rlnFourierShellCorrelationCorrected",
    "unmasked": "rlnFourierShellCorrelationUnmaskedMaps",
    "masked": "rlnFourierShellCorrelationMaskedMaps",
    "randomised": "rlnCorrectedFourierShellCorrelationPhaseRandomizedMaskedMaps",
}
ALL_CURVES = {**CURVES, "particle": "rlnFourierShellCorrelationParticleMaskFraction"}  # the last one where there is a mask
GUINIER = {
    "original": "rlnLogAmplitudesOriginal",
    "mtf_corrected": "rlnLogAmplitudesMTFCorrected",
    "weighted": "rlnLogAmplitudesWeighted",
    "sharpened": "rlnLogAmplitudesSharpened",
    "line": "rlnLogAmplitudesIntercept",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class PostProcessTable:
    """What postprocess.star holds.

    `curves` are correlations by shell under the names of `CURVES`, `logarithms` those of the Guinier plot under the names of `GUINIER` (RELION's scale). `names`
    are the files by RELION's labels. Slope and intercept are those of ln|F| over 1/d².
    """

    frequency: Float[Tensor, " shells"]
    curves: Mapping[str, Float[Tensor, " shells"]]
    logarithms: Mapping[str, Float[Tensor, " shells"]] = field(default_factory=dict)
    resolution: float
    b_factor: float
    names: Mapping[str, str] = field(default_factory=dict)
    randomised_from: float | None = None
    slope: float | None = None
    intercept: float | None = None
    fit_correlation: float | None = None
    solvent_factor: float | None = None


def write_postprocess(table: PostProcessTable, path: str | Path) -> None:
    """Write postprocess.star, all or nothing.

    Raises
    ------
    InputError
        If curves are missing or differ in length.
    """
    shells = len(table.frequency)
    wrong = [name for name in CURVES if name not in table.curves]
    wrong += [name for name, curve in {**table.curves, **table.logarithms}.items() if len(curve) != shells]
    if wrong:
        raise InputError(f"these curves are missing or of another length than {shells} shells: {', '.join(wrong)}", file=path)
    write_star([_general(table), _correlations(table), *([_guinier(table)] if table.logarithms else [])], path)


def _general(table: PostProcessTable) -> StarBlock:
    values = {
        "rlnFinalResolution": _number(table.resolution),
        "rlnBfactorUsedForSharpening": _number(table.b_factor),
        **table.names,
    }
    optional = {
        "rlnParticleBoxFractionSolventMask": table.solvent_factor,
        "rlnRandomiseFrom": table.randomised_from,
        "rlnFittedSlopeGuinierPlot": table.slope,
        "rlnFittedInterceptGuinierPlot": table.intercept,
        "rlnCorrelationFitGuinierPlot": table.fit_correlation,
    }
    values |= {label: _number(value) for label, value in optional.items() if value is not None}
    return StarBlock(name="general", values=values, comments=("# version 30001",))


def _correlations(table: PostProcessTable) -> StarBlock:
    frequency = table.frequency.double().clone()
    frequency[0] = 1 / RESOLUTION_OF_MEAN
    columns = {
        "rlnSpectralIndex": integer_texts(np.arange(len(frequency))),
        "rlnResolution": number_texts(frequency),
        "rlnAngstromResolution": number_texts(1 / frequency),
        **{label: number_texts(table.curves[name].cpu()) for name, label in ALL_CURVES.items() if name in table.curves},
    }
    return StarBlock(name="fsc", columns=columns, comments=("# version 30001",))


def _guinier(table: PostProcessTable) -> StarBlock:
    columns = {"rlnResolutionSquared": number_texts(table.frequency.double().square())}
    for name, label in GUINIER.items():
        if name in table.logarithms:
            columns[label] = number_texts(table.logarithms[name].double().cpu().nan_to_num(EMPTY_SHELL, neginf=EMPTY_SHELL))
    return StarBlock(name="guinier", columns=columns, comments=("# version 30001",))


def _number(value: float) -> str:
    return f"{value:.6f}"


def read_postprocess(path: str | Path) -> PostProcessTable:
    """What a postprocess.star of ours or RELION's holds.

    Raises
    ------
    InputError
        If blocks or columns are missing, or values are no numbers.
    """
    path = Path(path)
    star = read_star(path)
    general, correlations = star["general"], star["fsc"]
    frequency = numbers(correlations, "rlnResolution", path=path, low=0.0, high=100.0).copy()
    if len(frequency):
        frequency[0] = 0.0 if math.isclose(frequency[0], 1 / RESOLUTION_OF_MEAN, rel_tol=1e-3) else frequency[0]
    curves = {
        name: torch.from_numpy(numbers(correlations, label, path=path, low=-1.01, high=1.01))
        for name, label in ALL_CURVES.items()
        if label in correlations.columns
    }
    logarithms: dict[str, Tensor] = {}
    if "guinier" in star:
        block = star["guinier"]
        logarithms = {
            name: torch.from_numpy(numbers(block, label, path=path)) for name, label in GUINIER.items() if label in block.columns
        }
    labels = ("rlnFittedSlopeGuinierPlot", "rlnFittedInterceptGuinierPlot", "rlnCorrelationFitGuinierPlot", "rlnRandomiseFrom")
    slope, intercept, correlation, randomised = (_value(general, label, path) for label in labels)
    return PostProcessTable(
        frequency=torch.from_numpy(frequency),
        curves=curves,
        logarithms=logarithms,
        resolution=_needed(general, "rlnFinalResolution", path),
        b_factor=_value(general, "rlnBfactorUsedForSharpening", path) or 0.0,
        names={label: text for label, text in general.values.items() if "Map" in label or label == "rlnMaskName"},
        randomised_from=randomised,
        slope=slope,
        intercept=intercept,
        fit_correlation=correlation,
        solvent_factor=_value(general, "rlnParticleBoxFractionSolventMask", path),
    )


def _value(block: StarBlock, label: str, path: Path) -> float | None:
    if label not in block.values:
        return None
    try:
        return float(block.values[label])
    except ValueError:
        raise InputError(f"{label} is “{block.values[label]}”", file=path, expected="a number") from None


def _needed(block: StarBlock, label: str, path: Path) -> float:
    value = _value(block, label, path)
    if value is None or not math.isfinite(value):
        raise InputError(f"data_{block.name} has no {label}", file=path, expected="a postprocess.star")
    return value
