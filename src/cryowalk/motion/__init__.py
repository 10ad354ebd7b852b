"""Movies to micrographs: frame alignment and dose weighting live here."""

from cryowalk.core.lazy import lazy_exports

__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "AlignmentSettings": "settings",
        "CorrectedFrames": "frames",
        "correct_motion": "correction",
        "estimate_motion": "estimate",
        "find_flaws": "frames",
    },
)
