"""Loops that join rooms: ab initio, homogeneous, heterogeneous, multibody and subtomogram refinement live here."""

from cryowalk.core.lazy import lazy_exports

__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "Refinement": "homogeneous",
        "RefinementSettings": "settings",
        "pose_bound": "cramer_rao",
        "refine": "homogeneous",
    },
)
