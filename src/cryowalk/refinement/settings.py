"""What a user may choose about a refinement."""

from dataclasses import dataclass
from typing import Annotated, Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class RefinementSettings:
    """How poses and a map are refined against each other, in two halves that share nothing but what is told."""

    symmetry: Annotated[str, "point group of the particle, such as C1, C4, D2, T, O or I", "--sym"] = "C1"
    diameter: Annotated[
        float | None,
        "diameter of the particle with some solvent, Å; nine tenths of the box unless given",
        "--particle-diameter",
        ("above", 0),
    ] = None
    starting_resolution: Annotated[
        float, "the reference is low-passed to this before the first iteration, Å", "--ini-high", ("above", 0)
    ] = 40.0
    joined_resolution: Annotated[
        float,
        "the halves' maps are averaged where they are coarser than this, Å, so that both keep one orientation; 0 keeps them apart",
        "--low-resol-join-halves",
        ("min", 0),
    ] = 40.0
    search: Annotated[
        Literal["global", "local"], "where poses are looked for at first: everywhere, or about those of the STAR file"
    ] = "global"
    angular_step_degrees: Annotated[
        float, "spacing of orientations at the beginning, degrees; finer ones follow", ("above", 0), ("max", 30)
    ] = 7.5
    angle_deviation_degrees: Annotated[
        float | None,
        "with --search local: standard deviation of the orientations about those of the STAR file, degrees",
        ("above", 0),
        ("max", 60),
    ] = None
    relax_symmetry: Annotated[
        str, "with --search local: a point group that the particle has only nearly; each pose is also tried at its copies"
    ] = "C1"
    local_from_degrees: Annotated[
        float,
        "spacing from which orientations are looked for about the last ones only, degrees",
        "--auto-local-healpix-order-step",
        ("min", 0),
    ] = 1.9
    shift_range: Annotated[
        float | None,
        "how far from its image's middle a particle may lie, Å; five pixels unless given",
        "--offset-range",
        ("above", 0),
    ] = None
    shift_deviation: Annotated[
        float | None,
        "standard deviation of the particles' places about the images' middles, Å; learnt unless given",
        ("above", 0),
    ] = None
    scale_correction: Annotated[Literal["micrograph", "none"], "whether the contrast of each micrograph is fitted"] = "micrograph"
    regularisation: Annotated[
        Literal["fsc", "non-uniform"],
        "how maps are smoothed between iterations: alike everywhere, or as much as each place needs",
    ] = "fsc"
    solvent: Annotated[
        Literal["auto", "sphere"],
        "what is set to zero between iterations where no --mask is given: all outside each half map's own shape, once it has one, or outside the diameter",
    ] = "auto"
    iterations: Annotated[int, "most iterations, the last one included", "--iter", ("min", 1), ("max", 999)] = 30
    memory_budget: Annotated[int, "bytes of images and scores held at once; maps come on top", ("min", 2**24)] = 2**30
