"""Particles to 2D classes: which views there are, how good they are, and which images show no particle."""

from cryowalk.core.lazy import lazy_exports

__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "Classification": "result",
        "ClassificationSettings": "settings",
        "classify": "likelihood",
        "judge_particles": "junk",
        "neighbour_averages": "averages",
        "rank_classes": "ranking",
    },
)
