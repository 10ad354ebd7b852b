"""Noisy images and maps to quieter ones, each with what it costs: filters, covariance, networks trained on the data's own halves."""

from cryowalk.core.lazy import lazy_exports

__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "DenoisingSettings": "settings",
        "covariance_filter": "covariance",
        "deconvolve": "deconvolution",
        "denoise_pairs": "pairs",
        "wiener_filter": "wiener",
        "wiener_sum": "wiener",
    },
)
