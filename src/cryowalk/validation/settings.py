"""What a user may choose about masks and about the post-processing of half maps."""

from dataclasses import dataclass
from typing import Annotated, Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskSettings:
    """How a mask is made of a map. The order is RELION's: low pass, threshold, parts, extend, soft edge."""

    low_pass: Annotated[float, "low pass of the map before it is cut, Å; 0 for none", "--lowpass", ("min", 0)] = 15.0
    threshold: Annotated[
        float | None,
        "density at which the low-passed map is cut, in the values of the file; unless given, chosen from the map",
        "--ini_threshold",
    ] = None
    smallest_part: Annotated[
        float,
        "connected parts with less than this fraction of the largest one's volume are left out (0 keeps all, 1 the largest)",
        ("min", 0),
        ("max", 1),
    ] = 0.1
    extend: Annotated[float, "voxels by which the mask grows on all sides", "--extend_inimask", ("min", 0)] = 3.0
    soft_edge: Annotated[
        float, "width of the raised-cosine edge outside that, voxels", "--width_soft_edge", "--width_mask_edge", ("min", 0)
    ] = 6.0


@dataclass(frozen=True, slots=True, kw_only=True)
class PostProcessingSettings:
    """How half maps become the final map."""

    threshold: Annotated[float, "FSC that gives the resolution", ("above", 0), ("below", 1)] = 0.143
    randomise_at: Annotated[
        float,
        "phases are randomised from where the unmasked FSC falls below this",
        "--randomize_at_fsc",
        ("above", 0),
        ("max", 1),
    ] = 0.8
    randomisations: Annotated[int, "draws of random phases that are averaged", ("min", 1), ("max", 100)] = 3
    b_factor: Annotated[
        float | None,
        "B-factor applied, Å² (negative sharpens, 0 leaves the map as it is); unless given, fitted to the Guinier plot",
        "--adhoc_bfac",
    ] = None
    amplitudes: Annotated[
        Literal["masked", "whole"],
        "to which amplitudes the B-factor is fitted: those of the masked average, or those of the whole one, noise of the solvent included, as RELION does",
    ] = "masked"
    fit_from: Annotated[float, "coarsest resolution of the Guinier fit, Å", "--autob_lowres", ("above", 0)] = 10.0
    fit_to: Annotated[
        float | None, "finest resolution of the Guinier fit, Å; unless given, the resolution", "--autob_highres", ("above", 0)
    ] = None
    weighting: Annotated[Literal["fsc", "none"], "whether shells are weighted by √(2 FSC/(1 + FSC))"] = "fsc"
    low_pass: Annotated[float | None, "low pass of the final map, Å; unless given, the resolution", ("above", 0)] = None
    filter_edge: Annotated[float, "width of the low pass's edge, shells", "--filter_edge_width", ("min", 0), ("max", 20)] = 2.0
    detector_pixel: Annotated[
        float | None, "pixel of the camera on the specimen, Å, for the MTF; unless given, the voxel", "--mtf_angpix", ("above", 0)
    ] = None
