"""What a user may choose about 2D classification."""

from dataclasses import dataclass
from typing import Annotated, Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassificationSettings:
    """How particle images are sorted into 2D classes. Lengths in Å."""

    classes: Annotated[int, "number of classes", "--K", ("min", 1), ("max", 2000)] = 50
    iterations: Annotated[int, "number of iterations", "--iter", ("min", 1), ("max", 10000)] = 25
    diameter: Annotated[
        float | None, "diameter of the particles, Å; 0.85 of the box unless given", "--particle-diameter", ("above", 0)
    ] = None
    ctf: Annotated[Literal["correct", "none"], "correct: images carry the CTF of their rows; none: images without a CTF"] = (
        "correct"
    )
    tau_fudge: Annotated[
        float, "how much the prior expects of a class's power; more lets more detail in", "--tau2-fudge", ("above", 0)
    ] = 2.0
    regularisation: Annotated[
        Literal["spectral", "none"], "spectral: classes are held by a prior on their spectra; none: plain maximum likelihood"
    ] = "spectral"
    angular_step_degrees: Annotated[
        float, "step of the in-plane rotation, degrees", "--angular-step", "--psi-step", ("min", 0.1), ("max", 60)
    ] = 6.0
    offset_range: Annotated[float | None, "how far images are moved, Å; 5 pixels unless given", ("min", 0)] = None
    offset_step: Annotated[float | None, "step of the moves, Å; 1 pixel unless given", ("above", 0)] = None
    initial_resolution: Annotated[
        float | None, "what the first classes show, Å; 14 pixels unless given", "--ini-high", ("above", 0)
    ] = None
    resolution_limit: Annotated[
        float | None, "finest detail that images are compared by, Å", "--strict-highres-exp", ("above", 0)
    ] = None
    start: Annotated[
        Literal["alike", "random"],
        "the first classes: averages of images that look alike however they are turned, or of random parts of the set",
    ] = "alike"
    perturbation: Annotated[
        float, "random turn of all angles in each iteration, in steps", "--perturb", ("min", 0), ("max", 1)
    ] = 0.5
    centring: Annotated[Literal["mass", "none"], "whether classes are moved so that their centre of mass is the middle"] = "mass"
    scale: Annotated[
        Literal["micrograph", "none"], "whether the images' greys are scaled to the classes, a factor for each micrograph"
    ] = "none"
    mini_batch: Annotated[
        int | None,
        "images a class in the first mini-batch, which grow; every iteration takes the whole set unless given",
        ("min", 1),
    ] = None
    kept: Annotated[float, "part of an image's probability that is followed to the finest grid", ("above", 0), ("max", 1)] = 0.999
    memory_budget: Annotated[int, "bytes that the comparison of images with classes may hold"] = 2**30
