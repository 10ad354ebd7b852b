"""How well images agree with a model: noise models, likelihoods, posteriors and the sums that models are made of."""

from cryowalk.core.lazy import lazy_exports

__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "Assignments": "assignments",
        "ClassReferences": "references",
        "ClassSums": "class_sums",
        "GlobalOrientations": "orientations",
        "LocalOrientations": "orientations",
        "NoiseModel": "noise",
        "SearchSettings": "search",
        "VolumeReferences": "references",
        "VolumeSums": "volume_sums",
        "expectation": "expectation_step",
        "initial_noise": "noise",
    },
)
