"""Files to data and back: the one floor that knows formats and other programs' conventions."""

from cryowalk.core.lazy import lazy_exports

__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "MrcStackReader": "mrc",
        "MrcStackWriter": "mrc_writer",
        "atomic_path": "atomic",
        "atomic_write_bytes": "atomic",
        "atomic_write_text": "atomic",
        "describe": "inspect",
        "faults": "validate",
        "image_names": "stacks",
        "is_sound": "validate",
        "open_movie": "movies",
        "open_movie_writer": "movies",
        "read": "dispatch",
        "read_array": "mrc",
        "read_atoms": "atoms",
        "read_half_maps": "maps",
        "read_header": "mrc_header",
        "read_map": "maps",
        "read_micrographs": "micrographs",
        "read_particles": "relion",
        "read_star": "star",
        "read_truth": "truth",
        "write": "dispatch",
        "write_array": "mrc",
        "write_atoms": "atoms",
        "write_map": "maps",
        "write_micrographs": "micrographs",
        "write_movie": "movies",
        "write_particles": "relion",
        "write_star": "star",
        "write_truth": "truth",
    },
)
