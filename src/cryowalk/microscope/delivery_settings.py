"""What a user may choose about how particles lie in the ice, and about how the specimen moves in the beam."""

from dataclasses import dataclass
from typing import Annotated, Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliverySettings:
    """How the sample lies in the ice: how thick that is, how many particles, where and how turned."""

    count: Annotated[int | None, "number of particles in a micrograph; replaces the concentration"] = None
    concentration: Annotated[float, "concentration of the sample in the ice, mg/mL"] = 1.0
    count_spread: Annotated[
        Literal["none", "poisson"], "whether the number of particles is the expected one, or drawn about it (Poisson)"
    ] = "none"
    ice_thickness: Annotated[float, "thickness of the ice at the middle of the hole, Å"] = 300.0
    rim_thickness: Annotated[float | None, "thickness of the ice at the hole's rim, Å; as in the middle unless given"] = None
    hole_radius: Annotated[float | None, "radius of the hole, Å; the field's half diagonal unless given"] = None
    hole_centre: Annotated[
        tuple[float, float] | None,
        "where the hole's middle lies, x and y from the corner of the field, Å; the field's middle unless given",
    ] = None
    thickness_gradient: Annotated[tuple[float, float], "growth of the thickness along x and y (a wedge), Å per Å"] = (0.0, 0.0)
    adsorbed_fraction: Annotated[
        float, "part of the particles that sticks to the two air–water interfaces", ("min", 0.0), ("max", 1.0)
    ] = 0.0
    far_side_fraction: Annotated[
        float, "part of the adsorbed ones that sticks to the side where the beam leaves", ("min", 0.0), ("max", 1.0)
    ] = 0.5
    preferred_concentration: Annotated[
        float, "how closely adsorbed particles turn one face to the interface: within about 1/√ this, rad; 0 is any way"
    ] = 8.0
    separation: Annotated[
        Literal["projection", "volume", "none"],
        "projection: no two particles overlap in the image; volume: none in space; none: they may lie anywhere",
    ] = "projection"
    gap: Annotated[
        float, "smallest distance between the surfaces of two particles, Å; below zero they may overlap by as much"
    ] = 0.0
    margin: Annotated[float, "smallest distance of a particle's middle from the border of the field, Å"] = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class MotionSettings:
    """How the specimen moves while it is exposed. Lengths in Å; the course of time is that of the dose."""

    drift: Annotated[float, "speed of the stage's steady drift, in a random direction, Å per e⁻/Å²"] = 0.03
    jitter: Annotated[float, "random walk of the stage: standard deviation along each axis after 1 e⁻/Å², Å"] = 0.1
    early_motion: Annotated[float, "length of the fast movement that the first electrons cause, Å"] = 4.0
    early_dose: Annotated[float, "dose over which that movement falls to 1/e, e⁻/Å²"] = 3.0
    doming: Annotated[float, "height that the film bulges to, the middle of the field above its corners, Å"] = 50.0
    film_tilt: Annotated[float, "angle between film and image plane through which the bulge shows, rad"] = 0.05
    film_tilt_azimuth: Annotated[
        float | None, "direction of steepest ascent of the tilted film, rad from +x towards +y; random unless given"
    ] = None
    local_motion: Annotated[float, "standard deviation over the field of the smooth local movement by the end, Å"] = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ContaminationSettings:
    """What lies in and on the ice that nobody wants: numbers of each kind in a micrograph, and ranges that sizes are drawn from evenly."""

    ice_crystals: Annotated[int, "number of ice crystals on the surface"] = 0
    crystal_radius: Annotated[tuple[float, float], "smallest and largest radius of an ice crystal, Å"] = (150.0, 500.0)
    ethane_drops: Annotated[int, "number of drops of ethane left on the surface"] = 0
    drop_radius: Annotated[tuple[float, float], "smallest and largest radius of a drop, Å"] = (100.0, 400.0)
    aggregates: Annotated[int, "number of clumps of denatured protein in the ice"] = 0
    aggregate_residues: Annotated[tuple[int, int], "fewest and most residues of a clump"] = (500, 8000)
