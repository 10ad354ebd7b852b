"""RELION's run_itNNN_optimiser.star and run_itNNN_sampling.star: written and read, with degrees and Å."""

import math
from collections.abc import Mapping
from pathlib import Path

import torch

from cryowalk.core.units import DEGREE
from cryowalk.geometry.healpix import pixel_directions
from cryowalk.geometry.symmetry import symmetry_name
from cryowalk.io.relion import VERSION_COMMENT
from cryowalk.io.relion_refinement_directions import kept_pixels
from cryowalk.io.relion_refinement_state import RefinementOptions, RefinementProgress, RefinementSampling, RefinementState
from cryowalk.io.relion_refinement_values import NOT_KNOWN, flag, read_value, text, texts
from cryowalk.io.star import StarBlock, StarFile, write_star

_NAMES = ("rlnSolventMask2Name", "rlnBodyStarFile", "rlnTauSpectrumName", "rlnLocalSymmetryFile", "rlnFourierMask")
_OFF = (
    "rlnDoSolventFscCorrection",
    "rlnDoFastSubsetOptimisation",
    "rlnDoExternalReconstruct",
    "rlnDoStochasticGradientDescent",
    "rlnDoStochasticEM",
    "rlnSgdSkipAnneal",
    "rlnDoSkipAlign",
    "rlnDoSkipRotate",
    "rlnDoHelicalRefine",
    "rlnIgnoreHelicalSymmetry",
    "rlnHelicalSymmetryLocalRefinement",
    "rlnHelicalKeepTiltPriorFixed",
    "rlnHasHighFscAtResolLimit",
    "rlnHasLargeSizeIncreaseIterationsAgo",
    "rlnDoIgnoreCtfUntilFirstPeak",
    "rlnCtfDataArePhaseFlipped",
    "rlnDoOnlyFlipCtfPhases",
    "rlnFixSigmaNoiseEstimates",
    "rlnFixSigmaOffsetEstimates",
)  # fmt: skip  what the program can do and this iteration does not
_DESCENT = {
    "rlnSgdInitialIterations": "50",
    "rlnSgdFinalIterations": "50",
    "rlnSgdInBetweenIterations": "200",
    "rlnSgdInitialResolution": "35",
    "rlnSgdFinalResolution": "15",
    "rlnSgdInitialSubsetSize": "100",
    "rlnSgdFinalSubsetSize": "500",
    "rlnSgdMuFactor": "0",
    "rlnSgdSigma2FudgeInitial": "8",
    "rlnSgdSigma2FudgeHalflife": "-1",
    "rlnSgdSubsetSize": "-1",
    "rlnSgdWriteEverySubset": "1",
    "rlnSgdStepsize": "0.5",
}  # the program's values of a gradient descent that is not done
_HELIX = {
    "rlnHelicalTwistInitial": "0",
    "rlnHelicalRiseInitial": "0",
    "rlnHelicalCentralProportion": "0.3",
    "rlnNrHelicalNStart": "1",
    "rlnHelicalMaskTubeInnerDiameter": "-1",
    "rlnHelicalMaskTubeOuterDiameter": "-1",
    "rlnHelicalSigmaDistance": "-1",
}


def write_optimiser(state: RefinementState, path: Path, *, root: str, files: Mapping[str, str]) -> None:
    """Write the table from which an iteration is continued; `files` are the names of its other tables by label, `root` that of the run."""
    values = {"rlnOutputRootName": root, **files, **_options(state), **_progress(state), **_DESCENT, **_HELIX}
    values |= dict.fromkeys(_NAMES, "None") | dict.fromkeys(_OFF, "0")
    write_star(
        [
            StarBlock(
                name="optimiser_general", values=values, comments=("# RELION optimiser; written by cryowalk", VERSION_COMMENT)
            )
        ],
        path,
    )


def _options(state: RefinementState) -> dict[str, str]:
    """The values that the user chose."""
    options, sampling = state.options, state.sampling
    return {
        "rlnCurrentIteration": str(state.iteration),
        "rlnNumberOfIterations": str(options.iterations),
        "rlnDoSplitRandomHalves": flag(len(state.models) == 2),
        "rlnJoinHalvesUntilThisResolution": text(NOT_KNOWN if options.join_resolution is None else options.join_resolution),
        "rlnAdaptiveOversampleOrder": str(sampling.oversampling),
        "rlnAdaptiveOversampleFraction": text(options.kept_fraction),
        "rlnRandomSeed": str(options.seed),
        "rlnParticleDiameter": text(options.diameter),
        "rlnWidthMaskEdge": str(options.mask_edge),
        "rlnDoZeroMask": flag(options.has_zero_mask),
        "rlnDoSolventFlattening": flag(options.has_solvent_flattening),
        "rlnSolventMaskName": options.mask_name,
        "rlnMaximumCoarseImageSize": "-1",
        "rlnHighresLimitExpectation": "-1",
        "rlnLowresLimitExpectation": "-1",
        "rlnIncrementImageSize": str(options.increment),
        "rlnDoMapEstimation": "1",
        "rlnDoAutoRefine": flag(options.is_automatic),
        "rlnAutoLocalSearchesHealpixOrder": str(options.local_order),
        "rlnDoCorrectNorm": flag(options.has_norm_correction),
        "rlnDoCorrectScale": flag(options.has_scale_correction),
        "rlnDoCorrectCtf": flag(options.has_ctf),
        "rlnRefsAreCtfCorrected": "1",
        "rlnMaxNumberOfPooledParticles": "1",
    }


def _progress(state: RefinementState) -> dict[str, str]:
    """How far the search has come; the accuracies are those of the class known best."""
    progress = state.progress
    angles = [model.accuracy_angle for model in state.models if model.accuracy_angle is not None]
    shifts = [model.accuracy_shift for model in state.models if model.accuracy_shift is not None]
    accuracy = [
        min((float(value) for given in values for value in given if value > 0), default=0.0) for values in (angles, shifts)
    ]
    return {
        "rlnNumberOfIterWithoutResolutionGain": str(progress.iterations_without_gain),
        "rlnBestResolutionThusFar": text(1 / progress.best_resolution),  # RELION keeps a frequency
        "rlnNumberOfIterWithoutChangingAssignments": str(progress.iterations_without_change),
        "rlnOverallAccuracyRotations": text(accuracy[0] / DEGREE),
        "rlnOverallAccuracyTranslationsAngst": text(accuracy[1]),
        "rlnChangesOptimalOrientations": text(progress.angle_change / DEGREE),
        "rlnChangesOptimalOffsets": text(progress.shift_change),
        "rlnChangesOptimalClasses": text(progress.class_change),
        "rlnSmallestChangesOrientations": text(progress.smallest_angle_change / DEGREE),
        "rlnSmallestChangesOffsets": text(progress.smallest_shift_change),
        "rlnSmallestChangesClasses": str(int(progress.smallest_class_change)),
        "rlnHasConverged": flag(progress.has_converged),
    }


def write_sampling(state: RefinementState, path: Path) -> None:
    """Write the table of the sampling, with the directions of the grid."""
    sampling = state.sampling
    is_solid = sampling.order is not None
    values = {"rlnIs3DSampling": flag(is_solid), "rlnIs3DTranslationalSampling": "0"}
    if is_solid:
        values |= {
            "rlnHealpixOrder": str(sampling.order),
            "rlnSymmetryGroup": symmetry_name(sampling.symmetry),
            "rlnTiltAngleLimit": "-91",
        }
    values |= {
        "rlnPsiStep": text(sampling.psi_step / DEGREE),
        "rlnOffsetRange": text(sampling.shift_range),
        "rlnOffsetStep": text(sampling.shift_step),
        "rlnHelicalOffsetStep": "-1",
        "rlnSamplingPerturbInstance": text(sampling.turn),
        "rlnSamplingPerturbFactor": text(sampling.perturbation),
        "rlnHealpixOrderOriginal": str(2 if sampling.order is None else sampling.order),
        "rlnPsiStepOriginal": text(sampling.psi_step / DEGREE),
        "rlnOffsetRangeOriginal": text(sampling.shift_range),
        "rlnOffsetStepOriginal": text(sampling.shift_step),
    }
    blocks = [StarBlock(name="sampling_general", values=values, comments=(VERSION_COMMENT,))]
    if sampling.order is not None:
        blocks.append(_directions(sampling.order, sampling.symmetry))
    write_star(blocks, path)


def _directions(order: int, symmetry: str) -> StarBlock:
    """The directions of the grid in the asymmetric unit, as RELION's first two angles."""
    x, y, z = pixel_directions(order, kept_pixels(order, symmetry)).unbind(-1)
    rot, tilt = torch.atan2(y, x) / DEGREE, torch.acos(z.clamp(-1, 1)) / DEGREE
    columns = {"rlnAngleRot": texts(rot), "rlnAngleTilt": texts(tilt)}
    return StarBlock(name="sampling_directions", columns=columns, comments=(VERSION_COMMENT,))


def read_sampling(star: StarFile, *, oversampling: int) -> RefinementSampling:
    """The sampling in RELION's table; `oversampling` is told by the optimiser.

    Raises
    ------
    InputError
        If a value is missing or is no number.
    """
    block, path = star["sampling_general"], star.path
    is_solid = read_value(block, "rlnIs3DSampling", path=path) == 1
    return RefinementSampling(
        order=int(read_value(block, "rlnHealpixOrder", path=path)) if is_solid else None,
        psi_step=read_value(block, "rlnPsiStep", path=path) * DEGREE,
        shift_range=read_value(block, "rlnOffsetRange", path=path),
        shift_step=read_value(block, "rlnOffsetStep", path=path),
        oversampling=oversampling,
        perturbation=read_value(block, "rlnSamplingPerturbFactor", path=path, default=0.0),
        turn=read_value(block, "rlnSamplingPerturbInstance", path=path, default=0.0),
        symmetry=symmetry_name(block.values.get("rlnSymmetryGroup", "C1")),
    )


def read_options(block: StarBlock, *, path: Path | None, regularisation: float, padding: float) -> RefinementOptions:
    """What the user asked for, from the optimiser's table and two values of the model's.

    Raises
    ------
    InputError
        If a value is missing or is no number.
    """

    def number(label: str, default: float | None = None) -> float:
        return read_value(block, label, path=path, default=default)

    join = number("rlnJoinHalvesUntilThisResolution", NOT_KNOWN)
    return RefinementOptions(
        iterations=int(number("rlnNumberOfIterations")),
        diameter=number("rlnParticleDiameter"),
        regularisation=regularisation,
        padding=padding,
        is_automatic=number("rlnDoAutoRefine", 0.0) == 1,
        seed=int(number("rlnRandomSeed", 0.0)),
        mask_edge=int(number("rlnWidthMaskEdge", 5.0)),
        mask_name=block.values.get("rlnSolventMaskName", "None"),
        kept_fraction=number("rlnAdaptiveOversampleFraction", 0.999),
        join_resolution=join if join > 0 else None,
        local_order=int(number("rlnAutoLocalSearchesHealpixOrder", 4.0)),
        has_zero_mask=number("rlnDoZeroMask", 0.0) == 1,
        has_solvent_flattening=number("rlnDoSolventFlattening", 0.0) == 1,
        has_ctf=number("rlnDoCorrectCtf", 1.0) == 1,
        has_norm_correction=number("rlnDoCorrectNorm", 0.0) == 1,
        has_scale_correction=number("rlnDoCorrectScale", 0.0) == 1,
        increment=int(number("rlnIncrementImageSize", 10.0)),
    )


def read_progress(block: StarBlock, *, path: Path) -> RefinementProgress:
    """How far the search had come.

    Raises
    ------
    InputError
        If a value is no number.
    """

    def number(label: str, default: float) -> float:
        return read_value(block, label, path=path, default=default)

    best = number("rlnBestResolutionThusFar", 0.0)
    return RefinementProgress(
        angle_change=number("rlnChangesOptimalOrientations", 999.0) * DEGREE,
        shift_change=number("rlnChangesOptimalOffsets", number("rlnChangesOptimalOffsetsAngst", 999.0)),
        class_change=number("rlnChangesOptimalClasses", 1.0),
        smallest_angle_change=number("rlnSmallestChangesOrientations", 999.0) * DEGREE,
        smallest_shift_change=number("rlnSmallestChangesOffsets", 999.0),
        smallest_class_change=number("rlnSmallestChangesClasses", 1.0),
        best_resolution=1 / best if best > 0 else math.inf,
        iterations_without_gain=int(number("rlnNumberOfIterWithoutResolutionGain", 0.0)),
        iterations_without_change=int(number("rlnNumberOfIterWithoutChangingAssignments", 0.0)),
        has_converged=number("rlnHasConverged", 0.0) == 1,
    )
