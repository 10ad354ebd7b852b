"""The forward path: specimen, scattering, lens, exposure, and simulated data with its truth."""

from cryowalk.core.lazy import lazy_exports

__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "contrast_transfer": "lens",
        "hinge": "specimen",
        "potential": "specimen",
        "project": "scattering",
        "simulate_particles": "simulate.particles",
        "specimen": ".",
    },
)
