"""Micrographs to defocus: power spectra and the fit of the contrast transfer function live here."""

from cryowalk.core.lazy import lazy_exports

__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "CtfEstimate": "estimate",
        "estimate_ctf": "estimate",
        "estimate_local_defocus": "local",
        "estimate_thickness": "thickness",
        "estimate_tilt": "local",
        "power_spectrum": "spectrum",
    },
)
