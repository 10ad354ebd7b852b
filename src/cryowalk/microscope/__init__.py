"""The forward path: gun, specimen, scattering, lens, camera, and simulated data with its truth."""

from cryowalk.core.lazy import lazy_exports

__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "camera": ".",
        "contrast_transfer": "lens",
        "draw_series": "simulate.tilt_series",
        "exit_wave": "scattering",
        "gun": ".",
        "hinge": "specimen",
        "image_of_wave": "image_formation",
        "lens": ".",
        "limits": ".",
        "potential": "specimen",
        "prepare_specimens": "simulate.specimens",
        "project": "scattering",
        "simulate_micrograph": "simulate.micrographs",
        "simulate_movie": "simulate.movies",
        "simulate_particles": "simulate.particles",
        "tilt_images": "simulate.tilt_series",
        "specimen": ".",
    },
)
