"""Rotations, grids of orientations, point groups: geometry without electrons."""

from cryowalk.core.lazy import lazy_exports

__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "euler_from_matrix": "rotations",
        "geodesic_distance": "rotations",
        "matrix_from_euler": "rotations",
        "matrix_from_quaternion": "rotations",
        "matrix_from_rotation_vector": "rotations",
        "mean_rotation": "rotations",
        "perturb_rotations": "sampling",
        "preferred_orientations": "sampling",
        "quaternion_from_matrix": "rotations",
        "random_rotations": "sampling",
        "rotation_vector_from_matrix": "rotations",
        "rotations": ".",
        "sampling": ".",
    },
)
