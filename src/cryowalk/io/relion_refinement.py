"""One iteration of a refinement or classification as RELION's files: run_itNNN_data, _model, _sampling and _optimiser.star with their references.

`relion_refine --continue run_itNNN_optimiser.star` goes on from what is written here, and what RELION wrote is read back into the same state.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch
from jaxtyping import Int
from torch import Tensor

from cryowalk.core.errors import InputError, printable
from cryowalk.data.particles import ParticleSet
from cryowalk.io.relion import read_particles, write_particles
from cryowalk.io.relion_refinement_model import read_model, write_model
from cryowalk.io.relion_refinement_state import (
    ParticleStatistics,
    RefinementModel,
    RefinementState,
    groups_of,
)
from cryowalk.io.relion_refinement_tables import read_options, read_progress, read_sampling, write_optimiser, write_sampling
from cryowalk.io.relion_refinement_values import read_name, read_value, texts
from cryowalk.io.stacks import find_stack, stack_reference
from cryowalk.io.star import StarFile, read_star
from cryowalk.io.star_numbers import integer_texts

_STATISTICS = {
    "rlnNormCorrection": "norm",
    "rlnLogLikeliContribution": "log_likelihood",
    "rlnMaxValueProbDistribution": "max_probability",
    "rlnNrOfSignificantSamples": "significant",
}
_GROUP = "rlnGroupNumber"


def write_iteration(state: RefinementState, root: str | Path) -> tuple[Path, ...]:
    """Write run_itNNN_{data,model,sampling,optimiser}.star and the references, `root` being DIRECTORY/run; the paths written, the optimiser's last.

    With two models they are run_itNNN_half1_model.star and _half2_. The optimiser is written last: where it is, the iteration is whole.

    Raises
    ------
    InputError
        If the state does not fit together: classes or half sets that are not there, or a noise that is not positive.
    ShapeError
        If a field of a model has another number of classes, groups or shells than its references and particles.
    """
    _check(state)
    root = Path(root)
    stem = root.with_name(f"{root.name}_it{state.iteration:03d}")
    names, group = groups_of(state.particles)
    written: list[Path] = []
    tables = []
    for number, model in enumerate(state.models, start=1):
        is_half = len(state.models) == 2
        chosen = state.particles.half == number if is_half and state.particles.half is not None else torch.ones(len(group)).bool()
        sizes = torch.bincount(group[chosen.cpu()], minlength=len(names))
        part = stem.with_name(f"{stem.name}_half{number}") if is_half else stem
        paths = write_model(state, model, part, group_sizes=sizes, names=names)
        tables.append(paths[0])
        written += paths
    data, sampling, optimiser = (stem.with_name(f"{stem.name}_{what}.star") for what in ("data", "sampling", "optimiser"))
    write_particles(_with_statistics(state, group), data)
    write_sampling(state, sampling)
    files = {"rlnModelStarFile": tables[0], "rlnModelStarFile2": tables[-1], "rlnExperimentalDataStarFile": data}
    files["rlnOrientSamplingStarFile"] = sampling
    if len(tables) == 1:
        del files["rlnModelStarFile2"]
    named = {label: stack_reference(path, star=optimiser) for label, path in files.items()}
    write_optimiser(state, optimiser, root=stack_reference(root, star=optimiser), files=named)
    return *written, data, sampling, optimiser


def _check(state: RefinementState) -> None:
    """Raise an error unless the state can be written as RELION's files."""
    particles = state.particles
    if len(state.models) not in (1, 2):
        raise InputError(f"an iteration has {len(state.models)} models", expected="one, or one of each half set")
    if len(state.models) == 2:
        halves = set() if particles.half is None else set(particles.half.tolist())
        if halves != {1, 2}:
            raise InputError("two half models need particles of half sets 1 and 2", expected=f"1 and 2; found {sorted(halves)}")
    if particles.class_number is None or particles.pose is None:
        missing = "classes" if particles.class_number is None else "poses"
        raise InputError(f"the particles have no {missing}", expected="poses and class numbers from 1")
    classes = len(state.models[0].distribution)
    low, high = int(particles.class_number.min()), int(particles.class_number.max())
    if low < 1 or high > classes:
        raise InputError(f"the class numbers run from {low} to {high}", expected=f"1 to {classes}")
    groups = len(groups_of(particles)[0])
    for model in state.models:
        model.require_shapes(groups=groups)
        if model.is_flat != (state.sampling.order is None):
            raise InputError("class averages are sampled in the plane, maps on the sphere", expected="an order for maps alone")


def _with_statistics(state: RefinementState, group: Int[Tensor, " n"]) -> ParticleSet:
    """The particles with what RELION's table says of each beside its pose and class."""
    count = len(state.particles)
    told = state.statistics or ParticleStatistics(
        log_likelihood=torch.zeros(count), max_probability=torch.zeros(count), significant=torch.zeros(count, dtype=torch.long)
    )
    norm = torch.ones(count) if told.norm is None else told.norm
    columns = {
        _GROUP: integer_texts(group + 1),
        "rlnNormCorrection": texts(norm.detach().cpu()),
        "rlnLogLikeliContribution": texts(told.log_likelihood.detach().cpu()),
        "rlnMaxValueProbDistribution": texts(told.max_probability.detach().cpu()),
        "rlnNrOfSignificantSamples": integer_texts(told.significant.detach().cpu()),
    }
    return replace(state.particles, extra={**state.particles.extra, **columns})


def read_iteration(path: str | Path) -> RefinementState:
    """The state after an iteration, from its run_itNNN_optimiser.star and the tables and references it names.

    The other files are looked for from the current directory (RELION's project) and beside the optimiser. The noise that RELION 4 and 5 keep for each
    optics group is spread to the groups of particles.

    Raises
    ------
    InputError
        If this is no optimiser table, a file it names is missing, or a value is not usable.
    """
    optimiser = read_star(path)
    file = Path(path)
    if "optimiser_general" not in optimiser:
        raise InputError(
            "this is no optimiser table", file=file, expected="a run_itNNN_optimiser.star with data_optimiser_general"
        )
    block = optimiser["optimiser_general"]
    particles, statistics = _particles_of(_named(optimiser, "rlnExperimentalDataStarFile"))
    labels = [label for label in ("rlnModelStarFile", "rlnModelStarFile2") if label in block.values]
    models: list[RefinementModel] = []
    whole: Mapping[str, float] = {}
    for label in labels or ["rlnModelStarFile"]:
        model, said = read_model(_named(optimiser, label), particles)
        models.append(model)
        whole = whole or said
    oversampling = int(read_value(block, "rlnAdaptiveOversampleOrder", path=file, default=0.0))
    return RefinementState(
        iteration=int(read_value(block, "rlnCurrentIteration", path=file)),
        particles=particles,
        models=tuple(models),
        sampling=read_sampling(read_star(_named(optimiser, "rlnOrientSamplingStarFile")), oversampling=oversampling),
        options=read_options(block, path=file, regularisation=whole["regularisation"], padding=whole["padding"]),
        resolution=whole["resolution"],
        current_size=int(whole["current_size"]),
        statistics=statistics,
        progress=read_progress(block, path=file),
    )


def _named(optimiser: StarFile, label: str) -> Path:
    """The file that the optimiser names under this label."""
    name = read_name(optimiser["optimiser_general"], label, path=optimiser.path)
    found = find_stack(name, optimiser.path or Path())
    if found is None:
        raise InputError(
            f"{label} is “{printable(name)}”, which is not there",
            file=optimiser.path,
            cause="RELION writes no sampling table for iteration 0; otherwise the folder was moved or only partly copied",
            fix="name a later iteration's optimiser, run from the project's folder, or put the tables beside it",
        )
    return found


def _particles_of(path: Path) -> tuple[ParticleSet, ParticleStatistics | None]:
    """The particles of a data.star, with the statistics taken out of their foreign columns."""
    particles = read_particles(path)
    given = {name: particles.extra[label] for label, name in _STATISTICS.items() if label in particles.extra}
    rest = {label: column for label, column in particles.extra.items() if label not in {_GROUP, *_STATISTICS}}
    particles = replace(particles, extra=rest)
    if not {"log_likelihood", "max_probability", "significant"} <= given.keys():
        return particles, None
    try:
        values = {name: torch.tensor([float(entry) for entry in column], dtype=torch.float64) for name, column in given.items()}
    except ValueError as error:
        raise InputError("a statistic of a particle is no number", file=path, cause=str(error)) from error
    significant = values.pop("significant").long()
    return particles, ParticleStatistics(**values, significant=significant)
