"""What a user may choose about sorting particles into several maps."""

from dataclasses import dataclass
from typing import Annotated, Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class HeterogeneousSettings:
    """How particles are shared out among several maps, with or without looking for their poses."""

    classes: Annotated[int, "how many maps the particles are shared out among", "--K", ("min", 1), ("max", 100)] = 2
    symmetry: Annotated[str, "point group of the maps, such as C1, C4, D2, T, O or I", "--sym"] = "C1"
    relax_symmetry: Annotated[
        str, "a point group that the particle has only nearly: each pose is also tried at its copies; not with --search global"
    ] = "C1"
    iterations: Annotated[int, "how many iterations are made", "--iter", ("min", 1), ("max", 999)] = 25
    tau_fudge: Annotated[
        float, "how much more the data are believed than the maps' own power says", "--tau2-fudge", ("above", 0), ("max", 1000)
    ] = 4.0
    starting_resolution: Annotated[
        float, "the references are low-passed to this before the first iteration, Å", "--ini-high", ("above", 0)
    ] = 60.0
    diameter: Annotated[
        float | None,
        "diameter of the particle with some solvent, Å; nine tenths of the box unless given",
        "--particle-diameter",
        ("above", 0),
    ] = None
    search: Annotated[
        Literal["global", "local", "none"],
        "where poses are looked for: everywhere, about those of the STAR file, or not at all (--skip-align)",
    ] = "global"
    skip_align: Annotated[bool, "keep the poses of the STAR file: the same as --search none"] = False
    angular_step_degrees: Annotated[float, "spacing of orientations, degrees", "--angular-step", ("above", 0), ("max", 30)] = 7.5
    angle_deviation_degrees: Annotated[
        float,
        "with --search local: standard deviation of the orientations about the last ones, degrees",
        "--sigma-ang",
        ("above", 0),
        ("max", 60),
    ] = 5.0
    shift_range: Annotated[
        float | None,
        "how far from its last place a particle is looked for, Å; five pixels unless given",
        "--offset-range",
        ("above", 0),
    ] = None
    shift_step: Annotated[float | None, "step of these places, Å; one pixel unless given", "--offset-step", ("above", 0)] = None
    finest_resolution: Annotated[
        float, "no finer detail is compared, Å; 0 lets the signal decide", "--strict-highres-exp", ("min", 0)
    ] = 0.0
    scale_correction: Annotated[Literal["micrograph", "none"], "whether the contrast of each micrograph is fitted"] = "micrograph"
    memory_budget: Annotated[int, "bytes of images and scores held at once; maps come on top", ("min", 2**24)] = 2**30

    @property
    def looks_for(self) -> Literal["global", "local", "none"]:
        """Where poses are looked for, --skip-align counted in."""
        return "none" if self.skip_align else self.search
