"""What a user may choose about an import: what the files are, their optics, and how exposures are parted into optics groups."""

from dataclasses import dataclass
from typing import Annotated, Literal

from cryowalk.core.errors import UsageError


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportSettings:
    """What is imported, and by what optics groups are told apart."""

    kind: Annotated[
        Literal["auto", "movies", "micrographs", "particles"],
        "what the files are; auto: particles in a STAR file or stacks of square images of .mrcs, movies where there are several frames, else micrographs",
    ] = "auto"
    pixel_size: Annotated[float | None, "pixel size, Å; unless given that of the headers", ("above", 0)] = None
    voltage_kv: Annotated[float, "acceleration voltage, kV", "--voltage", "--kv"] = 300.0
    spherical_aberration_mm: Annotated[float, "spherical aberration, mm", "--cs", ("min", 0), ("max", 100)] = 2.7
    amplitude_contrast: Annotated[float, "amplitude contrast", "--q0"] = 0.1
    dose_per_frame: Annotated[float | None, "electrons a frame, e⁻/Å², kept in the table", "--dose-per-frame", ("above", 0)] = (
        None
    )
    group_name: Annotated[str, "name of the optics group, and the beginning of the names of several", "--optics-group-name"] = (
        "opticsGroup1"
    )
    groups: Annotated[
        str,
        "auto (by shifts where files tell them, else by names where they tell positions, else one), shifts, names, one, or a number of groups of shifts",
    ] = "auto"
    link: Annotated[bool, "make symbolic links in the job's directory, which the table then names"] = False

    def check(self) -> None:
        """Nothing, if the groups can be meant.

        Raises
        ------
        UsageError
            Otherwise.
        """
        if self.groups not in ("auto", "shifts", "names", "one") and not (self.groups.isdigit() and int(self.groups) > 0):
            raise UsageError(f"--groups cannot be {self.groups!r}", expected="auto, shifts, names, one, or a number such as 25")
        if not self.group_name.isprintable() or not self.group_name.strip():
            raise UsageError("--group-name must hold something that can be printed")
