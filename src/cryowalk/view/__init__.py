"""Figures, interactive views and reports: this floor draws what the rooms below have computed."""

from cryowalk.core.lazy import lazy_exports

__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "Report": "report",
        "ctf_fit": "ctf",
        "fsc": "curves",
        "guinier": "curves",
        "images": "gallery",
        "isosurface": "surface",
        "picks_thumbnail": "picks",
        "projections": "sections",
        "slices": "sections",
        "viewing_directions": "directions",
        "write_report": "report",
    },
)
