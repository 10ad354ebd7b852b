"""The nouns: frozen data without algorithms and without files."""

from cryowalk.core.lazy import lazy_exports

__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "Aberrations": "optics",
        "Atoms": "atoms",
        "Defocus": "optics",
        "HalfMaps": "volume",
        "ImageStack": "images",
        "Micrograph": "images",
        "Movie": "images",
        "Optics": "optics",
        "ParticleSet": "particles",
        "Pose": "pose",
        "Provenance": "provenance",
        "TiltSeries": "tilt_series",
        "Truth": "truth",
        "Volume": "volume",
    },
)
