"""How far a result can be trusted: Fourier shell correlation, comparison of maps, and scores against the truth."""

from cryowalk.core.lazy import lazy_exports

__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "ShellCorrelation": "shell_correlation",
        "align": "alignment",
        "compare_maps": "shell_correlation",
        "fourier_shell_correlation": "shell_correlation",
        "score": "scores",
        "spherical_mask": "masks",
    },
)
