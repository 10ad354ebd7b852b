"""2D classification with files at both ends: RELION's tables and class averages of every iteration, the ranking of the classes, and selections of them."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from cryowalk.classification.junk import ParticleJudgement, judge_particles
from cryowalk.classification.likelihood import classify
from cryowalk.classification.ranking import ClassRanking, rank_classes
from cryowalk.classification.result import Classification
from cryowalk.classification.settings import ClassificationSettings
from cryowalk.classification.step import DEGREE, search_settings
from cryowalk.classification.usable import check_particles, name_of
from cryowalk.core.errors import InputError, UsageError, naming
from cryowalk.data.images import ImagesOnDevice, ImageStack
from cryowalk.data.particles import ParticleSet
from cryowalk.io.atomic import atomic_write_text
from cryowalk.io.relion_refinement import write_iteration
from cryowalk.io.relion_refinement_state import (
    ParticleStatistics,
    RefinementModel,
    RefinementOptions,
    RefinementProgress,
    RefinementSampling,
    RefinementState,
    noise_of_groups,
)
from cryowalk.io.star_numbers import number_texts
from cryowalk.io.tables import Table, class_column
from cryowalk.numerics.random import generator
from cryowalk.workflow.job import Job
from cryowalk.workflow.stages import refuse_subtomograms

RANKING = "class_ranking.json"
SCORE, CLASS_SCORE = "cwParticleScore", "cwClassScore"  # columns of the last iteration's table
LEAST_SCORE = 0.5
_EVERY = 10  # iterations whose files are kept where there are many
_MANY = 50
_DATA = re.compile(r"run_it(\d+)_data\.star")


def check_class2d(particles: ParticleSet, settings: ClassificationSettings, *, file: Path) -> None:
    """Nothing, if these particles can be classified; told before a directory is touched, with the name of their file.

    Raises
    ------
    InputError
        If they cannot.
    """
    refuse_subtomograms(particles, file=file)
    with naming(file):
        check_particles(particles, settings)


@dataclass(frozen=True, slots=True, kw_only=True)
class Classified:
    """A finished classification with the figures of its classes and particles."""

    found: Classification
    ranking: ClassRanking
    judgement: ParticleJudgement


def classify_files(job: Job, particles: ParticleSet, settings: ClassificationSettings, *, seed: int) -> Classified:
    """The classes of the particles; run_itNNN_{data,model,sampling,optimiser}.star, run_itNNN_classes.mrcs and class_ranking.json are in the job's directory.

    Of more than fifty iterations every tenth is written, and the last.
    """
    if particles.images is None:
        raise InputError("the particles have no images")
    worked = particles
    if job.manifest.device != "cpu":
        device = torch.device(job.manifest.device)
        worked = replace(particles, images=ImagesOnDevice(source=particles.images, device=device))

    def each(found: Classification) -> None:
        is_last = found.iteration == settings.iterations
        if is_last or settings.iterations <= _MANY or found.iteration % _EVERY == 0:
            judged = _judged(found) if is_last else None
            write_iteration(refinement_state(particles, found, settings, seed=seed, judged=judged), job.path("run"))

    found = classify(
        worked, settings, generator=generator(seed), progress=job.progress, checkpoint=job.checkpoint("class2d"), each=each
    )
    result = _judged(found)
    if not job.path(_name(found.iteration, "optimiser.star")).is_file():  # stopped between the last iteration and its files
        each(found)
    atomic_write_text(job.path(RANKING), json.dumps(ranking_facts(particles, result), indent=1, ensure_ascii=False) + "\n")
    return result


def _judged(found: Classification) -> Classified:
    ranking = rank_classes(found)
    return Classified(found=found, ranking=ranking, judgement=judge_particles(found, ranking))


def _name(iteration: int, what: str) -> str:
    return f"run_it{iteration:03d}_{what}"


def refinement_state(
    particles: ParticleSet,
    found: Classification,
    settings: ClassificationSettings,
    *,
    seed: int,
    judged: Classified | None = None,
) -> RefinementState:
    """An iteration as RELION's files tell it; particles that were not looked at yet are in class 1."""
    model, each, last = found.model, found.particles, found.history[-1]
    chosen = particles[found.rows]
    extra = dict(chosen.extra)
    if judged is not None:
        extra[SCORE] = number_texts(judged.judgement.score, digits=4)
        extra[CLASS_SCORE] = number_texts(judged.judgement.class_score, digits=4)
    written = replace(chosen, pose=each.pose, class_number=each.label.clamp_min(0) + 1, extra=extra)
    search = search_settings(settings, box=model.box, pixel_size=model.pixel_size, radius=last.radius)
    known = torch.nan_to_num(each.probability.double(), nan=0.0)
    return RefinementState(
        iteration=last.number,
        particles=written,
        models=(_model(found, written, settings, mean_probability=float(known.mean())),),
        sampling=RefinementSampling(
            order=None,
            psi_step=2 * search.angular_step,  # RELION samples twice as finely in its second pass
            shift_range=search.shift_range,
            shift_step=2 * search.shift_step,
            perturbation=settings.perturbation,
        ),
        options=RefinementOptions(
            iterations=settings.iterations,
            diameter=found.diameter,
            regularisation=settings.tau_fudge,
            seed=seed,
            kept_fraction=settings.kept,
            has_ctf=settings.ctf == "correct",
            has_scale_correction=settings.scale == "micrograph",
        ),
        resolution=last.resolution,
        current_size=min(model.box, 2 * (last.radius + 1)),
        statistics=ParticleStatistics(
            log_likelihood=torch.nan_to_num(each.log_evidence.double() + each.log_noise.double(), nan=0.0),
            max_probability=known,
            significant=each.significant,
        ),
        progress=RefinementProgress(class_change=last.moved, smallest_class_change=min(one.moved for one in found.history)),
    )


def _model(
    found: Classification, particles: ParticleSet, settings: ClassificationSettings, *, mean_probability: float
) -> RefinementModel:
    """The classes and spectra for RELION's model table."""
    model = found.model
    signal = torch.where(torch.isfinite(model.signal), model.signal, torch.zeros_like(model.signal)).cpu().double()
    weight = found.evidence.cpu().double()
    return RefinementModel(
        references=ImageStack(pixels=model.images.cpu(), pixel_size=model.pixel_size),
        distribution=model.occupancy.cpu().double(),
        noise=noise_of_groups(model.noise.power.cpu().double(), particles),
        signal=signal / settings.tau_fudge,
        reference_noise=torch.where(weight > 0, 1 / weight.clamp_min(1e-30), torch.zeros_like(weight)),
        signal_to_noise=model.ratio.cpu().double(),
        resolution=model.resolution().cpu().double(),
        log_likelihood=found.history[-1].log_likelihood,
        mean_max_probability=mean_probability,
    )


def ranking_facts(particles: ParticleSet, result: Classified) -> dict[str, Any]:
    """What class_ranking.json holds: the figures of each class, the best first, the iterations, and which images were left out."""
    found, ranking = result.found, result.ranking
    facts = [
        {
            "number": number + 1,
            "score": round(float(ranking.score[number]), 4),
            "images": int(ranking.images[number]),
            "occupancy": _rounded(ranking.occupancy[number]),
            "resolution_angstrom": _rounded(ranking.resolution[number]),
            "agreement_of_halves": _rounded(ranking.agreement[number]),
            "rotation_accuracy_degrees": _rounded(ranking.rotation_accuracy[number] / DEGREE),
            "shift_accuracy_angstrom": _rounded(ranking.shift_accuracy[number]),
            "edge_power": _rounded(ranking.edge[number]),
            "signal_to_noise": _rounded(ranking.signal_to_noise[number]),
        }
        for number in ranking.order().tolist()
    ]
    return {
        "iteration": found.iteration,
        "particles": len(found.rows),
        "pixel_size_angstrom": _rounded(found.model.pixel_size),
        "diameter_angstrom": _rounded(found.diameter),
        "log_likelihood": found.history[-1].log_likelihood,
        "proposed": (ranking.chosen(least=LEAST_SCORE) + 1).tolist(),
        "least_score": LEAST_SCORE,
        "classes": facts,
        "iterations": [
            {
                "number": one.number,
                "images": one.images,
                "log_likelihood": one.log_likelihood,
                "finest_shell": one.radius,
                "resolution_angstrom": _rounded(one.resolution),
                "moved": _rounded(one.moved),
            }
            for one in found.history
        ],
        "left_out": {
            "not_finite": [name_of(particles, row) for row in found.damaged.tolist()],
            "without_contrast": [name_of(particles, row) for row in found.flat.tolist()],
        },
    }


def _rounded(value: float | Tensor) -> float:
    return float(f"{float(value):.6g}")


def latest_data(path: Path) -> Path:
    """The run_itNNN_data.star of the last iteration in a directory, or the file itself.

    Raises
    ------
    InputError
        If the directory holds none.
    """
    if not path.is_dir():
        return path
    found = sorted((int(match.group(1)), each) for each in path.iterdir() if (match := _DATA.fullmatch(each.name)) is not None)
    if not found:
        raise InputError("the directory holds no run_itNNN_data.star", file=path, fix="give the --o directory of class2d")
    return found[-1][1]


def read_ranking(data: Path) -> Mapping[str, Any] | None:
    """The ranking that belongs to a table of particles: class_ranking.json beside it, where its iteration is the table's."""
    path, match = data.with_name(RANKING), _DATA.fullmatch(data.name)
    if match is None or not path.is_file():
        return None
    try:
        facts: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return facts if int(facts["iteration"]) == int(match.group(1)) else None
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"the ranking cannot be read: {error}", file=path, fix="run class2d again") from None


def chosen_classes(table: Table, data: Path, *, classes: str, least_score: float = LEAST_SCORE) -> list[int]:
    """The numbers of the classes that are meant, as the table counts them (STAR from 1, cryoSPARC from 0).

    `classes` is "auto" (those whose score is at least `least_score`), or numbers and ranges such as 1,2,5-8.

    Raises
    ------
    UsageError
        If a class does not exist, or the text is no list of classes.
    InputError
        If the items have no classes, or there is no ranking to go by.
    """
    label = class_column(table)
    ranking = read_ranking(data)
    if classes == "auto":
        return _automatic(ranking, data, least_score)
    smallest = 1 if label.startswith("rln") else 0
    known = len(ranking["classes"]) if ranking is not None else int(table.numbers(label).max(initial=0))
    return numbers_of(classes, smallest=smallest, largest=known)


def check_scores(table: Table, data: Path) -> None:
    """Nothing, if the particles have scores.

    Raises
    ------
    InputError
        If they have none.
    """
    if SCORE not in table.labels:
        raise InputError(
            f"the particles have no scores ({SCORE})",
            file=data,
            fix="give the last iteration of class2d, or no --min-particle-score",
        )


def _automatic(ranking: Mapping[str, Any] | None, data: Path, least_score: float) -> list[int]:
    if ranking is None:
        raise InputError(
            f"there is no {RANKING} of this iteration beside the table, so classes cannot be chosen by their scores",
            file=data,
            fix="give the last iteration of a finished class2d, or --classes 1,2,5",
        )
    return sorted(int(one["number"]) for one in ranking["classes"] if one["score"] >= least_score and one["images"] > 0)


def numbers_of(text: str, *, largest: int, smallest: int = 1) -> list[int]:
    """The class numbers in a text such as 1,2,5-8, in order, each once.

    Raises
    ------
    UsageError
        If it is no such text, or names a class that does not exist.

    Examples
    --------
    >>> numbers_of("5-7,2,2", largest=10)
    [2, 5, 6, 7]
    """
    found: set[int] = set()
    for part in text.replace(" ", ",").split(","):
        match = re.fullmatch(r"(\d+)(?:-(\d+))?", part)
        if part and match is None:
            raise UsageError(f"--classes cannot be {text!r}", expected="auto, or numbers and ranges such as 1,2,5-8")
        if match is not None:
            first, last = int(match.group(1)), int(match.group(2) or match.group(1))
            if not smallest <= first <= last <= largest:
                raise UsageError(f"there is no class {part}", expected=f"numbers from {smallest} to {largest}")
            found.update(range(first, last + 1))
    if not found:
        raise UsageError(f"--classes cannot be {text!r}", expected="auto, or numbers and ranges such as 1,2,5-8")
    return sorted(found)


def counts_of(particles: ParticleSet, *, classes: int) -> Int[Tensor, " classes"]:
    """How many particles are in each class, by number from 1."""
    number = particles.class_number
    if number is None:
        return torch.zeros(classes, dtype=torch.int64)
    return torch.bincount(number.long(), minlength=classes + 1)[1 : classes + 1]


def figure_rows(ranking: Mapping[str, Any]) -> tuple[Sequence[str], list[tuple[object, ...]]]:
    """Heads and rows of the table of classes for a report."""
    heads = (
        "class",
        "score",
        "images",
        "resolution, Å",
        "halves agree",
        "rotation, °",
        "shift, Å",
        "edge power",
        "signal to noise",
    )
    names = (
        "number", "score", "images", "resolution_angstrom", "agreement_of_halves", "rotation_accuracy_degrees",
        "shift_accuracy_angstrom", "edge_power", "signal_to_noise",
    )  # fmt: skip
    return heads, [tuple(one[name] for name in names) for one in ranking["classes"]]
