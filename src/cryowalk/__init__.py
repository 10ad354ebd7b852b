"""cryowalk walks from the electron gun to the density map: a library, a command line and a course.

>>> import cryowalk as cw
>>> round(cw.Optics(pixel_size=1.2, voltage_kv=300).wavelength, 5)
0.01969
"""

from cryowalk.core.lazy import lazy_exports

__version__ = "0.1.0"

_ROOMS = (
    "core",
    "data",
    "numerics",
    "geometry",
    "fourier",
    "io",
    "microscope",
    "inference",
    "motion",
    "ctf_estimation",
    "picking",
    "denoising",
    "classification",
    "poses",
    "reconstruction",
    "validation",
    "heterogeneity",
    "tomography",
    "refinement",
    "view",
    "workflow",
    "course",
)
_NOUNS = (
    "Atoms",
    "Camera",
    "Defocus",
    "Gun",
    "HalfMaps",
    "ImageStack",
    "Micrograph",
    "MicrographSet",
    "Motion",
    "Movie",
    "ObjectiveLens",
    "Optics",
    "ParticleSet",
    "Pose",
    "TiltSeries",
    "Truth",
    "Volume",
)

__getattr__, __dir__ = lazy_exports(
    __name__,
    dict.fromkeys(_ROOMS, ".")
    | dict.fromkeys(_NOUNS, "data")
    | {"generator": "numerics.random", "read": "io", "write": "io", "check": "course"},
)
