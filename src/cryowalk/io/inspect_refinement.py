"""What is in RELION's tables of an iteration, in words and in numbers; references are not read."""

import math
from typing import Any

from cryowalk.core.errors import printable
from cryowalk.core.units import DEGREE
from cryowalk.io.relion_refinement_tables import read_options, read_sampling
from cryowalk.io.relion_refinement_values import read_column, read_value
from cryowalk.io.star import StarFile
from cryowalk.io.star_kinds import StarKind

Told = tuple[str, list[str], dict[str, Any]]  # kind, sentences, facts


def tell_refinement(kind: StarKind, star: StarFile) -> Told:
    """What an optimiser, model or sampling table holds.

    Raises
    ------
    InputError
        If a value is missing or is no number.
    """
    tellers = {"optimiser": _tell_optimiser, "model": _tell_model, "sampling": _tell_sampling}
    return tellers[kind](star)


def _tell_optimiser(star: StarFile) -> Told:
    block, path = star["optimiser_general"], star.path
    options = read_options(block, path=path, regularisation=1.0, padding=2.0)
    iteration = int(read_value(block, "rlnCurrentIteration", path=path))
    halves = "rlnModelStarFile2" in block.values
    words = [
        f"iteration {iteration} of {options.iterations}" + (", automatic refinement" if options.is_automatic else ""),
        f"particle diameter {options.diameter:g} Å, {'two half sets' if halves else 'all particles together'}",
        f"goes on with: relion_refine --continue {printable(path or '')}",
    ]
    facts = {
        "iteration": iteration, "iterations": options.iterations, "is_automatic": options.is_automatic,
        "particle_diameter_angstrom": options.diameter, "half_sets": halves,
    }  # fmt: skip
    return "refinement, optimiser (RELION STAR)", words, facts


def _tell_model(star: StarFile) -> Told:
    general, classes, path = star["model_general"], star["model_classes"], star.path
    shares = read_column(classes, "rlnClassDistribution", path=path).tolist()
    resolution = read_value(general, "rlnCurrentResolution", path=path, default=math.inf)
    box, size = (read_value(general, label, path=path) for label in ("rlnOriginalImageSize", "rlnPixelSize"))
    dimension = int(read_value(general, "rlnReferenceDimensionality", path=path))
    words = [
        f"{len(classes)} {'class average' if dimension == 2 else 'map'}{'' if len(classes) == 1 else 's'} of {box:g} px at {size:g} Å, resolution {resolution:.4g} Å",
        "shares of the particles: "
        + ", ".join(f"{share:.1%}" for share in sorted(shares, reverse=True)[:8])
        + (" …" if len(shares) > 8 else ""),
    ]
    facts = {
        "classes": len(classes), "dimension": dimension, "box": int(box), "pixel_size_angstrom": size,
        "resolution_angstrom": resolution if math.isfinite(resolution) else None, "class_distribution": shares,
    }  # fmt: skip
    return "refinement, model (RELION STAR)", words, facts


def _tell_sampling(star: StarFile) -> Told:
    sampling = read_sampling(star, oversampling=0)
    flat = sampling.order is None
    words = [
        "in the plane" if flat else f"HEALPix order {sampling.order}, symmetry {sampling.symmetry}",
        f"steps of {sampling.psi_step / DEGREE:g}° in the plane; shifts to {sampling.shift_range:g} Å in steps of {sampling.shift_step:g} Å",
    ]
    facts = {
        "healpix_order": sampling.order, "psi_step_degrees": sampling.psi_step / DEGREE, "symmetry": sampling.symmetry,
        "shift_range_angstrom": sampling.shift_range, "shift_step_angstrom": sampling.shift_step,
    }  # fmt: skip
    return "refinement, sampling (RELION STAR)", words, facts
