"""Maps from particles whose poses are known: direct Fourier inversion with CTF and noise weights."""

from cryowalk.core.lazy import lazy_exports

__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "Reconstruction": "direct_inversion",
        "ReconstructionSettings": "settings",
        "random_halves": "halves",
        "reconstruct": "direct_inversion",
        "reconstruct_with_full_map": "direct_inversion",
    },
)
