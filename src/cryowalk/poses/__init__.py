"""Particles and a map to poses, and with known poses to what the lens did: defocus, aberrations and magnification."""

from cryowalk.core.lazy import lazy_exports

__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "CtfRefinement": "refinement",
        "CtfRefinementSettings": "settings",
        "refine_aberrations": "aberrations",
        "refine_ctf": "refinement",
        "refine_defocus": "defocus",
        "refine_magnification": "magnification",
    },
)
