"""The nouns: frozen data without algorithms and without files."""

from cryowalk.core.lazy import lazy_exports

__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "Aberrations": "optics",
        "Atoms": "atoms",
        "Camera": "camera",
        "Defocus": "optics",
        "Gun": "instrument",
        "HalfMaps": "volume",
        "ImageStack": "images",
        "Micrograph": "images",
        "MicrographSet": "micrographs",
        "MicrographTruth": "micrograph_truth",
        "Motion": "motion",
        "Movie": "images",
        "ObjectiveLens": "instrument",
        "Optics": "optics",
        "ParticleSet": "particles",
        "Pose": "pose",
        "Provenance": "provenance",
        "Response": "camera",
        "TiltSeries": "tilt_series",
        "Truth": "truth",
        "Volume": "volume",
    },
)
