"""Micrographs to particles: finding and extracting live here."""

from cryowalk.core.lazy import lazy_exports

__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "ExtractionSettings": "extraction_settings",
        "PickingSettings": "settings",
        "consensus": "voting",
        "extract_particles": "extract",
        "find_particles": "find",
        "score_picks": "score",
    },
)
