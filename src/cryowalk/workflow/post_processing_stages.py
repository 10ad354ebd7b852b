"""Masks and post-processing with files at both ends, under RELION's names and, where asked for, the EMDB's."""

import json
import math
import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import torch

from cryowalk.core.errors import InputError, UsageError, naming
from cryowalk.data import HalfMaps, Volume
from cryowalk.data.camera import Response
from cryowalk.io.atomic import atomic_write_text
from cryowalk.io.fsc_xml import write_fsc_xml
from cryowalk.io.maps import read_map, read_mask, write_map, write_mask
from cryowalk.io.mtf import read_mtf
from cryowalk.io.post_processing import PostProcessTable, write_postprocess
from cryowalk.numerics.random import generator
from cryowalk.validation.masks import AutomaticMask, automatic_mask, independent_fraction, mask_from_atoms, spherical_mask
from cryowalk.validation.particle_correlation import particle_correlation, solvent_factor
from cryowalk.validation.post_processing import PostProcessed, post_process, require_halves
from cryowalk.validation.settings import MaskSettings, PostProcessingSettings
from cryowalk.validation.thresholds import information_curve, resolution_against, shell_sizes, sigma_curve
from cryowalk.workflow.chimerax_views import VIEW_NAME, View, write_view
from cryowalk.workflow.job import Job

MAP_NAME, MASKED_NAME, MASK_NAME = "postprocess.mrc", "postprocess_masked.mrc", "postprocess_automask.mrc"
TABLE_NAME, CURVE_NAME, SCORES_NAME = "postprocess.star", "postprocess_fsc.xml", "scores.json"
DOUBTS_NAME = "doubts.json"
ONLY_MASK_NAME = "mask.mrc"  # of a mask that is made alone
TITLE = "cryowalk masked-corrected FSC"
_OTHER_HALF = (
    ("half1", "half2"),
    ("half2", "half1"),
    ("half_map_1", "half_map_2"),
    ("half_map_2", "half_map_1"),
    ("half_A", "half_B"),
    ("half_B", "half_A"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class PostProcessingInputs:
    """The half maps' files, the mask (a file, made of the map, or none), the camera's curve, the EMDB number for names, and where it is computed."""

    first: Path
    second: Path
    mask: Path | Literal["auto", "none"] = "auto"
    mask_settings: MaskSettings = field(default_factory=MaskSettings)
    mtf: Path | None = None
    pixel_size: float | None = None
    emdb_number: str = ""
    device: torch.device | str = "cpu"


def second_half_of(first: Path) -> Path:
    """The file of the other half map, by the name of the first: half1 becomes half2 (RELION), half_A half_B (cryoSPARC), half_map_1 half_map_2 (EMDB).

    Raises
    ------
    InputError
        If the name does not tell, or there is no such file.
    """
    for mine, theirs in _OTHER_HALF:
        head, found, tail = first.name.rpartition(mine)
        if not found:
            continue
        other = first.with_name(head + theirs + tail)
        if not other.is_file():
            raise InputError(f"the other half map, {other.name}, is not beside this one", file=first, fix="name it: --i2 HALF2")
        return other
    raise InputError(
        "the name does not tell which file is the other half map",
        file=first,
        expected="half1 in the name, as in run_half1_class001_unfil.mrc",
        fix="name it: --i2 HALF2",
    )


def check_emdb_number(text: str) -> str:
    """The text, known to be fit for names such as emd_1234.map.

    Raises
    ------
    UsageError
        If it is not.
    """
    if text and not re.fullmatch(r"[A-Za-z0-9]{1,12}", text):
        raise UsageError(f"--emdb-names cannot be {text!r}", expected="the number of the entry, such as 12345")
    return text


def in_map_units(settings: MaskSettings, volume: Volume) -> MaskSettings:
    """The settings with a threshold in the values of a file turned into one of a map in memory, where values are divided by the voxel size."""
    return settings if settings.threshold is None else replace(settings, threshold=settings.threshold / volume.voxel_size)


def make_mask_file(
    source: Path, target: Path, settings: MaskSettings, *, shape: Path | float | None = None, pixel_size: float | None = None
) -> AutomaticMask:
    """The mask written to `target`: of the map's own shape, a sphere of a radius (Å), or that of a molecule in a structure file.

    The threshold in the result is in the values of the file; NaN where none was used.
    """
    from cryowalk.io.atoms import read_atoms

    volume = read_map(source, voxel_size=pixel_size)
    with naming(shape if isinstance(shape, Path) else source):
        if shape is None:
            found = automatic_mask(volume, in_map_units(settings, volume))
            found = replace(found, threshold=found.threshold * volume.voxel_size)
        else:
            if isinstance(shape, Path):
                reach = max(settings.extend, 1.0) * volume.voxel_size
                mask = mask_from_atoms(read_atoms(shape), volume, radius=reach, soft_edge=settings.soft_edge)
            else:
                mask = spherical_mask(volume, radius=shape, edge=settings.soft_edge * volume.voxel_size)
            found = AutomaticMask(mask=mask, threshold=math.nan, parts_found=1, parts_kept=1)
    write_mask(found.mask, target)
    return found


def post_process_files(job: Job, inputs: PostProcessingInputs, settings: PostProcessingSettings, *, seed: int) -> PostProcessed:
    """The post-processed map, written with its mask, tables and figures of merit; map, half maps and curve under the EMDB's names too, where a number is given."""
    job.progress.start("post-processing", 4)
    halves = _read_halves(inputs)
    job.progress.advance()
    mask = _mask_of(job, halves, inputs)
    mtf = None if inputs.mtf is None else read_mtf(inputs.mtf)
    job.progress.advance()
    result = _processed(halves, mask, mtf, inputs, settings, seed)
    job.progress.advance()
    _write(job, result, halves, inputs)
    job.progress.advance()
    for doubt in result.doubts:
        job.progress.note(f"doubt: {doubt}")
    return result


def _read_halves(inputs: PostProcessingInputs) -> HalfMaps:
    first, second = (
        replace(volume, voxels=volume.voxels.to(inputs.device))
        for volume in (read_map(path, voxel_size=inputs.pixel_size) for path in (inputs.first, inputs.second))
    )
    halves = HalfMaps(first=first, second=second)
    with naming(inputs.second):
        require_halves(halves)
    return halves


def _mask_of(job: Job, halves: HalfMaps, inputs: PostProcessingInputs) -> Volume | None:
    if inputs.mask == "none":
        return None
    if isinstance(inputs.mask, Path):
        mask = read_mask(inputs.mask, voxel_size=inputs.pixel_size)
        return replace(mask, voxels=mask.voxels.to(inputs.device))
    average = halves.average()
    with naming(inputs.first):
        found = automatic_mask(average, in_map_units(inputs.mask_settings, average))
    write_mask(found.mask, job.path(MASK_NAME))
    job.progress.note(
        f"automatic mask: threshold {found.threshold * average.voxel_size:.4g}, {found.parts_kept} of {found.parts_found} parts, "
        f"{100 * float(found.mask.voxels.mean()):.1f} % of the box"
    )
    return found.mask


def _processed(  # noqa: PLR0917  one call, split off to name the file that is at fault
    halves: HalfMaps,
    mask: Volume | None,
    mtf: Response | None,
    inputs: PostProcessingInputs,
    settings: PostProcessingSettings,
    seed: int,
) -> PostProcessed:
    with naming(inputs.mask if isinstance(inputs.mask, Path) else inputs.first):
        return post_process(halves, settings, mask=mask, mtf=mtf, generator=generator(seed))


def _write(job: Job, result: PostProcessed, halves: HalfMaps, inputs: PostProcessingInputs) -> None:
    write_map(result.volume, job.path(MAP_NAME))
    if result.mask is not None:
        write_map(result.masked, job.path(MASKED_NAME))
    masks = [inputs.mask if isinstance(inputs.mask, Path) else job.path(MASK_NAME)] if result.mask is not None else []
    shown = job.path(MAP_NAME if result.mask is None else MASKED_NAME)
    write_view(View(maps=[shown], half_maps=[inputs.first, inputs.second], masks=masks), job.path(VIEW_NAME))
    write_postprocess(_table(job, result, inputs), job.path(TABLE_NAME))
    curve = result.curves.corrected
    frequency, correlation = curve.frequency.double().tolist(), curve.correlation.double().tolist()
    write_fsc_xml(frequency, correlation, job.path(CURVE_NAME), title=TITLE)
    atomic_write_text(job.path(SCORES_NAME), json.dumps(post_processing_scores(result), indent=1) + "\n")
    atomic_write_text(job.path(DOUBTS_NAME), json.dumps(list(result.doubts), indent=1, ensure_ascii=False) + "\n")
    if inputs.emdb_number:
        root = f"emd_{inputs.emdb_number}"
        write_map(result.volume, job.path(f"{root}.map"))
        for number, half in enumerate((halves.first, halves.second), start=1):
            write_map(half, job.path(f"{root}_half_map_{number}.map"))
        write_fsc_xml(frequency, correlation, job.path(f"{root}_fsc.xml"), title=TITLE)
        if result.mask is not None:
            write_mask(result.mask, job.path(f"{root}_msk_1.map"))


def _table(job: Job, result: PostProcessed, inputs: PostProcessingInputs) -> PostProcessTable:
    """What postprocess.star holds; RELION's amplitudes are those of sums of voxels, its transforms divided by the number of voxels."""
    box, curves, guinier = result.volume.voxels.shape[-1], result.curves, result.guinier
    offset = math.log(result.volume.voxel_size) - 1.5 * math.log(box)
    logarithms = {
        "original": guinier.original,
        "mtf_corrected": guinier.mtf_corrected,
        "weighted": guinier.weighted,
        "sharpened": guinier.sharpened,
    }
    if inputs.mtf is None:
        del logarithms["mtf_corrected"]
    if result.fit is not None:
        logarithms["line"] = torch.full_like(guinier.original, result.fit.intercept)
    names = {
        "rlnUnfilteredMapHalf1": inputs.first.as_posix(),
        "rlnUnfilteredMapHalf2": inputs.second.as_posix(),
        "rlnPostprocessedMap": job.path(MAP_NAME).as_posix(),
    }
    if result.mask is not None:
        mask = inputs.mask if isinstance(inputs.mask, Path) else job.path(MASK_NAME)
        names |= {"rlnPostprocessedMapMasked": job.path(MASKED_NAME).as_posix(), "rlnMaskName": mask.as_posix()}
    factor = None if result.mask is None else solvent_factor(result.mask)
    particle = {} if factor is None else {"particle": particle_correlation(curves.unmasked.correlation, factor)}
    return PostProcessTable(
        frequency=curves.unmasked.frequency.cpu(),
        curves={
            **{name: getattr(curves, name).correlation for name in ("unmasked", "masked", "randomised", "corrected")},
            **particle,
        },
        solvent_factor=factor,
        logarithms={name: values.cpu() + offset for name, values in logarithms.items()},
        resolution=result.resolution,
        b_factor=result.b_factor,
        names=names,
        randomised_from=curves.randomised_resolution,
        slope=None if result.fit is None else -result.fit.b_factor / 4,
        intercept=None if result.fit is None else result.fit.intercept + offset,
        fit_correlation=None if result.fit is None else result.fit.correlation,
    )


def post_processing_scores(result: PostProcessed) -> dict[str, float | None]:
    """The figures of a post-processed map, by name with unit; None where one is not known."""
    curves, box = result.curves, result.volume.voxels.shape[-1]
    counts = shell_sizes(box)
    fraction = 1.0 if result.mask is None else independent_fraction(result.mask)
    levels = {
        "half_bit": information_curve(counts, independent_fraction=fraction),
        "3_sigma": sigma_curve(counts, independent_fraction=fraction),
    }
    masked = {f"resolution_{name}_angstrom": resolution_against(curves.masked, level) for name, level in levels.items()}
    fit = result.fit
    return {
        "resolution_angstrom": result.resolution,
        "resolution_0.5_angstrom": curves.corrected.resolution(at=0.5),
        "resolution_unmasked_angstrom": curves.unmasked.resolution(at=0.143),
        "resolution_masked_uncorrected_angstrom": curves.masked.resolution(at=0.143),
        **masked,
        "low_pass_angstrom": result.low_pass,
        "b_factor_applied_square_angstrom": result.b_factor,
        "b_factor_fitted_square_angstrom": None if fit is None else fit.b_factor,
        "b_factor_error_square_angstrom": None if fit is None else fit.error,
        "guinier_correlation": None if fit is None else fit.correlation,
        "phases_randomised_from_angstrom": curves.randomised_resolution,
        "mask_fraction_of_box": None if result.mask is None else float(result.mask.voxels.mean()),
        "independent_fraction": fraction,
    }
