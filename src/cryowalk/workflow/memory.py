"""Whether the memory of this machine holds what a job is about to make: told before the work, not hours later by a killed process."""

from pathlib import Path

import torch

from cryowalk.core.errors import EnvironmentFault
from cryowalk.data import Optics
from cryowalk.data.optics import Defocus
from cryowalk.microscope.lens import canvas_size
from cryowalk.microscope.micrograph_settings import MicrographSimulationSettings, MovieSimulationSettings

_BYTES_OF_MICROGRAPH, _BYTES_OF_MORE = (
    36,
    84,
)  # for each pixel of the canvas: measured for projections; for movies and fuller models
_KERNEL = Path("/proc/meminfo")


def free_memory(facts: Path = _KERNEL) -> float | None:
    """The bytes that programs can still have, swap included, or None where the system does not tell."""
    try:
        lines = facts.read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    told = {name: value.split() for name, _, value in (line.partition(":") for line in lines)}
    found = [float(told[name][0]) * 1024 for name in ("MemAvailable", "SwapFree") if told.get(name)]
    return sum(found) if told.get("MemAvailable") else None


def require_memory(needed: float, *, what: str, fix: str, free: float | None = None) -> None:
    """Nothing, if so many bytes are free (those of this machine, unless given).

    Raises
    ------
    EnvironmentFault
        If they are not.
    """
    left = free_memory() if free is None else free
    if left is not None and needed > left:
        raise EnvironmentFault(f"{what} needs about {needed / 1e9:.1f} GB of memory, and {left / 1e9:.1f} GB are free", fix=fix)


def require_canvas_memory(optics: Optics, settings: MicrographSimulationSettings) -> None:
    """Nothing, if the memory holds the sheet on which a micrograph or a frame forms, and its transforms.

    Raises
    ------
    EnvironmentFault
        If it does not.
    """
    largest = torch.tensor(max(map(abs, settings.defocus_range)), dtype=torch.float64)
    nothing = torch.zeros_like(largest)
    defocus = Defocus(major=largest, minor=largest, azimuth=nothing, phase_shift=nothing)
    width, height = (canvas_size(optics, defocus, box=side) for side in settings.size)
    is_more = isinstance(settings, MovieSimulationSettings) or settings.scattering != "projection"
    require_memory(
        float(width) * height * (_BYTES_OF_MORE if is_more else _BYTES_OF_MICROGRAPH),
        what=f"a field of {settings.size[0]} × {settings.size[1]} pixels, {width} × {height} with what defocus spreads,",
        fix="simulate smaller fields, or larger pixels, or use a machine with more memory",
    )
