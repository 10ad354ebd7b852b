"""RELION's run_itNNN_model.star, or those of two half sets, with its class averages or maps: written and read.

RELION divides a transform by the number of pixels, ours is orthonormal: its powers are ours divided by the number of pixels of an image. That factor,
degrees for radians and the scale of maps (`io.maps`) are all that differs.
"""

import math
from collections.abc import Mapping
from pathlib import Path

import torch
from jaxtyping import Float, Int
from torch import Tensor

from cryowalk.core.errors import InputError, printable
from cryowalk.core.units import DEGREE
from cryowalk.data.images import ImageStack
from cryowalk.data.particles import ParticleSet
from cryowalk.data.volume import Volume
from cryowalk.io.maps import read_map, write_map
from cryowalk.io.mrc import MrcStackReader, write_array
from cryowalk.io.relion import VERSION_COMMENT
from cryowalk.io.relion_refinement_directions import kept_pixels
from cryowalk.io.relion_refinement_state import RefinementModel, RefinementState, groups_of, noise_of_groups
from cryowalk.io.relion_refinement_values import known_column, read_column, read_value, text, texts
from cryowalk.io.stacks import find_stack, stack_reference
from cryowalk.io.star import StarBlock, StarFile, read_star, write_star
from cryowalk.io.star_numbers import column, integer_texts

WITHOUT_END = 999.0  # Å, which RELION writes for the shell of frequency 0
_POWERS = {"rlnReferenceSigma2": "reference_noise", "rlnReferenceTau2": "signal"}
_RATIOS = {
    "rlnSsnrMap": "signal_to_noise",
    "rlnGoldStandardFsc": "shell_correlation",
    "rlnFourierCompleteness": "completeness",
    "rlnSpectralOrientabilityContribution": "orientability",
}


def write_model(
    state: RefinementState, model: RefinementModel, stem: Path, *, group_sizes: Int[Tensor, " groups"], names: tuple[str, ...]
) -> tuple[Path, ...]:
    """Write STEM_model.star and STEM_classes.mrcs, or STEM_class001.mrc and so on; the paths written, the table's first."""
    path = stem.with_name(f"{stem.name}_model.star")
    references, files = _write_references(model, stem, star=path)
    blocks = [
        StarBlock(name="model_general", values=_general(state, model, groups=len(names)), comments=(VERSION_COMMENT,)),
        StarBlock(name="model_classes", columns=_classes(model, references), comments=(VERSION_COMMENT,)),
        *(_spectra(model, number, state.options.regularisation) for number in range(len(references))),
        _groups(model, names, group_sizes),
        *(_noise(model, number) for number in range(len(names))),
    ]
    if not model.is_flat:
        blocks += [_directions(state, model, number) for number in range(len(references))]
    write_star(blocks, path)
    return path, *files


def _write_references(model: RefinementModel, stem: Path, *, star: Path) -> tuple[tuple[str, ...], tuple[Path, ...]]:
    """The names of the references for the table, and their files."""
    references = model.references
    if isinstance(references, ImageStack):
        path = stem.with_name(f"{stem.name}_classes.mrcs")
        write_array(references.pixels.detach().float(), path, voxel_size=references.pixel_size, kind="images")
        name = stack_reference(path, star=star)
        return tuple(f"{number:06d}@{name}" for number in range(1, references.count + 1)), (path,)
    files = tuple(stem.with_name(f"{stem.name}_class{number:03d}.mrc") for number in range(1, len(references) + 1))
    for volume, path in zip(references, files, strict=True):
        write_map(volume, path)
    return tuple(stack_reference(path, star=star) for path in files), files


def _general(state: RefinementState, model: RefinementModel, *, groups: int) -> dict[str, str]:
    """The single values of the model."""
    return {
        "rlnReferenceDimensionality": "2" if model.is_flat else "3",
        "rlnDataDimensionality": "2",
        "rlnOriginalImageSize": str(model.box),
        "rlnCurrentResolution": text(state.resolution),
        "rlnCurrentImageSize": str(state.current_size),
        "rlnPaddingFactor": text(state.options.padding),
        "rlnIsHelix": "0",
        "rlnFourierSpaceInterpolator": "1",
        "rlnMinRadiusNnInterpolation": "10",
        "rlnPixelSize": text(model.pixel_size),
        "rlnNrClasses": str(len(model.distribution)),
        "rlnNrBodies": "1",
        "rlnNrGroups": str(groups),
        "rlnTau2FudgeFactor": text(state.options.regularisation),
        "rlnNormCorrectionAverage": text(model.mean_norm),
        "rlnSigmaOffsetsAngst": text(model.shift_deviation),
        "rlnOrientationalPriorMode": "0",
        "rlnSigmaPriorRotAngle": text(0),
        "rlnSigmaPriorTiltAngle": text(0),
        "rlnSigmaPriorPsiAngle": text(0),
        "rlnLogLikelihood": text(model.log_likelihood),
        "rlnAveragePmax": text(model.mean_max_probability),
    }


def _classes(model: RefinementModel, references: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    """The table of classes."""
    zeros = torch.zeros(len(references))
    accuracy = zeros if model.accuracy_angle is None else model.accuracy_angle.cpu() / DEGREE
    completeness = zeros if model.completeness is None else model.completeness.cpu().double().mean(dim=-1)
    resolution = torch.full_like(zeros, WITHOUT_END) if model.resolution is None else model.resolution.cpu()
    columns = {
        "rlnReferenceImage": references,
        "rlnClassDistribution": texts(model.distribution.detach().cpu()),
        "rlnAccuracyRotations": texts(accuracy),
        "rlnAccuracyTranslationsAngst": texts(zeros if model.accuracy_shift is None else model.accuracy_shift.cpu()),
        "rlnEstimatedResolution": texts(resolution),
        "rlnOverallFourierCompleteness": texts(completeness),
    }
    if model.is_flat:
        # RELION's prior is about the origin in pixels, which is minus our shift
        centre = torch.zeros(len(references), 2) if model.mean_shift is None else -model.mean_shift.cpu() / model.pixel_size
        columns |= {"rlnClassPriorOffsetX": texts(centre[:, 0] + 0.0), "rlnClassPriorOffsetY": texts(centre[:, 1] + 0.0)}
    return columns


def _shells(model: RefinementModel) -> dict[str, tuple[str, ...]]:
    """The columns that number the shells and give their spatial frequency."""
    shells = model.box // 2 + 1
    frequency = torch.arange(shells, dtype=torch.float64) / (model.box * model.pixel_size)
    return {"rlnSpectralIndex": integer_texts(range(shells)), "rlnResolution": texts(frequency)}


def _spectra(model: RefinementModel, number: int, regularisation: float) -> StarBlock:
    """The table of a class's spectra."""
    columns = _shells(model)
    frequency = torch.tensor([float(value) for value in columns["rlnResolution"]], dtype=torch.float64)
    columns["rlnAngstromResolution"] = texts(torch.where(frequency > 0, 1 / frequency, WITHOUT_END))
    ratio = model.signal_to_noise
    if ratio is None:
        ratio = regularisation * model.signal / model.reference_noise.clamp_min(torch.finfo(torch.float32).tiny)
    for label, name in _RATIOS.items():
        values = ratio if name == "signal_to_noise" else getattr(model, name)
        columns[label] = ("0",) * len(frequency) if values is None else texts(values[number].detach().cpu())
    for label, name in _POWERS.items():
        columns[label] = texts(getattr(model, name)[number].detach().cpu() / model.box**2)
    order = [*_shells(model), "rlnAngstromResolution", "rlnSsnrMap", "rlnGoldStandardFsc", "rlnFourierCompleteness", *_POWERS]
    order.append("rlnSpectralOrientabilityContribution")
    ordered = {label: columns[label] for label in order}
    return StarBlock(name=f"model_class_{number + 1}", columns=ordered, comments=(VERSION_COMMENT,))


def _groups(model: RefinementModel, names: tuple[str, ...], sizes: Int[Tensor, " groups"]) -> StarBlock:
    """The table of groups of particles."""
    scale = torch.ones(len(names)) if model.group_scale is None else model.group_scale.detach().cpu()
    columns = {
        "rlnGroupNumber": integer_texts(range(1, len(names) + 1)),
        "rlnGroupName": names,
        "rlnGroupNrParticles": integer_texts(sizes),
        "rlnGroupScaleCorrection": texts(scale),
    }
    return StarBlock(name="model_groups", columns=columns, comments=(VERSION_COMMENT,))


def _noise(model: RefinementModel, number: int) -> StarBlock:
    """The noise spectrum of a group; a shell that was left out of the likelihood takes its neighbour's noise, for RELION divides by it."""
    noise = model.noise[number].detach().cpu().double() / model.box**2
    if len(noise) > 1 and not noise[0] > 0:
        noise = torch.cat((noise[1:2], noise[1:]))
    if not bool((noise > 0).all() and noise.isfinite().all()):
        shell = int((~((noise > 0) & noise.isfinite())).nonzero()[0])
        raise InputError(
            f"the noise of group {number + 1} is {float(noise[shell]):g} in shell {shell}",
            expected="a positive number in each shell",
            cause="the shell was never compared, or all images are empty there",
        )
    columns = {**_shells(model), "rlnSigma2Noise": texts(noise)}
    return StarBlock(name=f"model_group_{number + 1}", columns=columns, comments=(VERSION_COMMENT,))


def _directions(state: RefinementState, model: RefinementModel, number: int) -> StarBlock:
    """How the views of a class are spread over the directions of the grid; evenly where that is not known."""
    count = len(kept_pixels(state.sampling.order or 0, state.sampling.symmetry))
    given = model.direction_distribution
    if given is None or given.shape[-1] != count:  # RELION refuses another count
        given = (model.distribution.detach().cpu().double() / count)[:, None].expand(-1, count)
    columns = {"rlnOrientationDistribution": texts(given[number].detach().cpu())}
    return StarBlock(name=f"model_pdf_orient_class_{number + 1}", columns=columns, comments=(VERSION_COMMENT,))


def read_model(path: Path, particles: ParticleSet) -> tuple[RefinementModel, Mapping[str, float]]:
    """The model of these particles in one of RELION's model.star files with its references, and the values of it that are the whole iteration's.

    Raises
    ------
    InputError
        If a table or a reference is missing, or a value is not usable.
    """
    star = read_star(path)
    general, classes = star["model_general"], star["model_classes"]
    references = _read_references(column(classes, "rlnReferenceImage", path=path), general, path)
    box = int(read_value(general, "rlnOriginalImageSize", path=path))
    tables = [star[f"model_class_{number + 1}"] for number in range(len(classes))]
    spectra: dict[str, Float[Tensor, "classes shells"] | None] = {
        name: _stacked(tables, label, path) for label, name in {**_POWERS, **_RATIOS}.items()
    }
    signal, reference_noise = spectra.pop("signal"), spectra.pop("reference_noise")
    if signal is None or reference_noise is None:
        raise InputError("the tables of classes lack rlnReferenceTau2 or rlnReferenceSigma2", file=path)
    accuracy = known_column(classes, "rlnAccuracyRotations", path=path)
    pixel_size = read_value(general, "rlnPixelSize", path=path)
    offsets = [known_column(classes, f"rlnClassPriorOffset{letter}", path=path) for letter in "XY"]
    names, _ = groups_of(particles)
    groups = next((block for block in star.blocks if block.name == "model_groups"), StarBlock())
    scale = known_column(groups, "rlnGroupScaleCorrection", path=path)
    model = RefinementModel(
        references=references,
        distribution=read_column(classes, "rlnClassDistribution", path=path),
        noise=_read_noise(star, particles) * box**2,
        signal=signal * box**2,
        reference_noise=reference_noise * box**2,
        **spectra,
        resolution=known_column(classes, "rlnEstimatedResolution", path=path),
        accuracy_angle=None if accuracy is None else accuracy * DEGREE,
        accuracy_shift=known_column(classes, "rlnAccuracyTranslationsAngst", path=path),
        mean_shift=-torch.stack([o for o in offsets if o is not None], dim=-1) * pixel_size if None not in offsets else None,
        direction_distribution=_read_directions(star, len(classes)),
        group_scale=scale if scale is not None and len(scale) == len(names) else None,
        shift_deviation=read_value(general, "rlnSigmaOffsetsAngst", path=path),
        mean_norm=read_value(general, "rlnNormCorrectionAverage", path=path, default=1.0),
        log_likelihood=read_value(general, "rlnLogLikelihood", path=path, default=0.0),
        mean_max_probability=read_value(general, "rlnAveragePmax", path=path, default=0.0),
    )
    whole = {
        "resolution": read_value(general, "rlnCurrentResolution", path=path, default=math.inf),
        "current_size": read_value(general, "rlnCurrentImageSize", path=path, default=0.0),
        "padding": read_value(general, "rlnPaddingFactor", path=path, default=2.0),
        "regularisation": read_value(general, "rlnTau2FudgeFactor", path=path, default=1.0),
    }
    return model, whole


def _read_references(names: tuple[str, ...], general: StarBlock, path: Path) -> ImageStack | tuple[Volume, ...]:
    """The class averages or maps that the table names."""
    files = []
    for name in names:
        found = find_stack(name.rpartition("@")[2], path)
        if found is None:
            raise InputError(
                f"the reference “{printable(name)}” is not there",
                file=path,
                cause="the folder was moved, or only its tables were copied",
                fix="run from the project's folder, or put the references beside the table",
            )
        files.append(found)
    if read_value(general, "rlnReferenceDimensionality", path=path) == 3:
        return tuple(read_map(file) for file in files)
    places = [int(name.partition("@")[0]) - 1 if "@" in name else 0 for name in names]
    pixels = torch.cat([MrcStackReader(file).read([place]) for file, place in zip(files, places, strict=True)])
    return ImageStack(pixels=pixels, pixel_size=read_value(general, "rlnPixelSize", path=path))


def _stacked(tables: list[StarBlock], label: str, path: Path) -> Float[Tensor, "classes shells"] | None:
    """A column of all classes' tables, where the first has it."""
    columns = [values for table in tables if (values := known_column(table, label, path=path)) is not None]
    if len(columns) < len(tables):
        return None
    if len({len(values) for values in columns}) != 1:
        raise InputError(f"the classes' columns {label} differ in length", file=path, cause="the file was cut off")
    return torch.stack(columns)


def _read_noise(star: StarFile, particles: ParticleSet) -> Float[Tensor, "groups shells"]:
    """The noise of each group of these particles in RELION's scale; that of optics groups, as RELION 4 and 5 write it, is spread to them."""
    names, _ = groups_of(particles)
    blocks = {block.name for block in star.blocks}
    for prefix, wanted in (("model_group_", len(names)), ("model_optics_group_", len(particles.optics))):
        numbers = [number for number in range(1, len(blocks) + 1) if f"{prefix}{number}" in blocks]
        if not numbers:
            continue
        if len(numbers) != wanted:
            raise InputError(
                f"the model holds noise for {len(numbers)} groups, the particles are in {wanted}",
                file=star.path,
                cause="the tables belong to different runs",
                fix="name the optimiser of a run that was not mixed",
            )
        noise = torch.stack([read_column(star[f"{prefix}{number}"], "rlnSigma2Noise", path=star.path) for number in numbers])
        return noise if prefix == "model_group_" else noise_of_groups(noise, particles)
    raise InputError("no table of noise", file=star.path, expected="data_model_group_1 or data_model_optics_group_1")


def _read_directions(star: StarFile, classes: int) -> Float[Tensor, "classes directions"] | None:
    """The distribution of views, where it is there."""
    names = [f"model_pdf_orient_class_{number + 1}" for number in range(classes)]
    if not all(name in star for name in names):
        return None
    return torch.stack([read_column(star[name], "rlnOrientationDistribution", path=star.path) for name in names])
