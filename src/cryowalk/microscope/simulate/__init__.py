"""Simulated data with its truth: particle stacks, micrographs, movies and tilt series."""

from cryowalk.core.lazy import lazy_exports

__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "draw_series": "tilt_series",
        "prepare_specimens": "specimens",
        "simulate_micrograph": "micrographs",
        "simulate_movie": "movies",
        "simulate_particles": "particles",
        "tilt_images": "tilt_series",
    },
)
