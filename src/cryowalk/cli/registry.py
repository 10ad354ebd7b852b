"""Which commands there are: a static table, so that `cryowalk --help` imports none of them."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A command: its words, what it does in one line, and the module of `cryowalk.cli.commands` that defines it."""

    words: tuple[str, ...]
    summary: str
    module: str
    panel: str


_WALK = "The walk"
_FILES = "Files"
_MEASURE = "Measuring"
_HELP = "Help and learning"

REGISTRY: tuple[Entry, ...] = (
    Entry(words=("walk",), summary="Walk the whole path: structure, images, map, scores, report.", module="walk", panel=_WALK),
    Entry(
        words=("simulate", "particles"),
        summary="Simulate particle images with their truth.",
        module="simulate_particles",
        panel=_WALK,
    ),
    Entry(
        words=("simulate", "micrographs"),
        summary="Simulate micrographs with their truth.",
        module="simulate_micrographs",
        panel=_WALK,
    ),
    Entry(words=("simulate", "tem"), summary="Run a parameter file of TEM-simulator.", module="simulate_tem", panel=_WALK),
    Entry(words=("simulate", "movies"), summary="Simulate movies with their truth.", module="simulate_movies", panel=_WALK),
    Entry(
        words=("import",), summary="Bring movies, micrographs or particles into a project.", module="import_files", panel=_WALK
    ),
    Entry(words=("motion",), summary="Align and sum the frames of movies.", module="motion", panel=_WALK),
    Entry(words=("ctf",), summary="Estimate the CTF of micrographs.", module="ctf", panel=_WALK),
    Entry(words=("pick",), summary="Find particles in micrographs.", module="pick", panel=_WALK),
    Entry(words=("micrographs",), summary="Look at micrographs and keep the good ones.", module="micrographs", panel=_WALK),
    Entry(words=("extract",), summary="Cut particles out of micrographs.", module="extract", panel=_WALK),
    Entry(words=("class2d",), summary="Sort particles into 2D classes and rank them.", module="class2d", panel=_WALK),
    Entry(
        words=("select",), summary="Keep some rows of a table, or the particles of good 2D classes.", module="select", panel=_WALK
    ),
    Entry(
        words=("simulate", "tilt-series"),
        summary="Simulate tilt series with their truth.",
        module="simulate_tilt_series",
        panel=_WALK,
    ),
    Entry(words=("project",), summary="Project a map along the poses of a STAR file.", module="project", panel=_WALK),
    Entry(
        words=("reconstruct",),
        summary="Reconstruct half maps and a map from particles with poses.",
        module="reconstruct",
        panel=_WALK,
    ),
    Entry(
        words=("denoise",),
        summary="Make particles, micrographs or half maps quieter, and tell what it costs.",
        module="denoise",
        panel=_WALK,
    ),
    Entry(words=("mask",), summary="Make a soft mask of a map, a sphere or a molecule.", module="mask", panel=_WALK),
    Entry(words=("postprocess",), summary="Mask, sharpen and measure two half maps.", module="postprocess", panel=_WALK),
    Entry(words=("abinitio",), summary="Find maps from particle images alone.", module="abinitio", panel=_WALK),
    Entry(words=("refine",), summary="Refine poses and a map in independent halves.", module="refine", panel=_WALK),
    Entry(words=("class3d",), summary="Sort particles into several maps.", module="class3d", panel=_WALK),
    Entry(
        words=("subtract",),
        summary="Take the signal outside a mask out of particle images.",
        module="subtract",
        panel=_WALK,
    ),
    Entry(words=("merge",), summary="Put several tables into one.", module="merge", panel=_FILES),
    Entry(words=("split",), summary="Split a table into several.", module="split", panel=_FILES),
    Entry(words=("stack",), summary="Make one stack of many, and find moved files again.", module="stack", panel=_FILES),
    Entry(
        words=("expand-symmetry",),
        summary="Copy particles into all orientations that a symmetry makes equal.",
        module="expand_symmetry",
        panel=_FILES,
    ),
    Entry(
        words=("remove-duplicates",),
        summary="Keep one of particles that lie on each other.",
        module="remove_duplicates",
        panel=_FILES,
    ),
    Entry(
        words=("local-resolution",),
        summary="Measure the resolution at each place of a map.",
        module="local_resolution",
        panel=_WALK,
    ),
    Entry(
        words=("conventions", "kit"),
        summary="Write an asymmetric phantom for checking other programs' conventions.",
        module="conventions_kit",
        panel=_FILES,
    ),
    Entry(
        words=("conventions", "check"),
        summary="Tell which flip, transpose, sign or unit a foreign file needs.",
        module="conventions_check",
        panel=_FILES,
    ),
    Entry(words=("map", "add"), summary="Add maps, or a number to a map.", module="map_add", panel=_FILES),
    Entry(words=("map", "subtract"), summary="Subtract maps, or a number, from a map.", module="map_subtract", panel=_FILES),
    Entry(words=("map", "multiply"), summary="Multiply maps, or a map by a number.", module="map_multiply", panel=_FILES),
    Entry(words=("map", "divide"), summary="Divide a map by others, or by a number.", module="map_divide", panel=_FILES),
    Entry(
        words=("map", "statistics"),
        summary="Count the values of maps, micrographs and stacks.",
        module="map_statistics",
        panel=_FILES,
    ),
    Entry(words=("map", "threshold"), summary="Keep the part of a map between two values.", module="map_threshold", panel=_FILES),
    Entry(words=("map", "segment"), summary="Cut a map into parts, sorted by volume.", module="map_segment", panel=_FILES),
    Entry(
        words=("map", "spectrum"),
        summary="Average the power of maps or images over shells or rings.",
        module="map_spectrum",
        panel=_FILES,
    ),
    Entry(
        words=("map", "views"), summary="Draw maps as means along three axes, with histograms.", module="map_views", panel=_FILES
    ),
    Entry(words=("map", "bin"), summary="Bin a map or the images of a stack, without aliasing.", module="map_bin", panel=_FILES),
    Entry(words=("map", "resample"), summary="Put a map on finer or coarser voxels.", module="map_resample", panel=_FILES),
    Entry(words=("map", "crop"), summary="Crop or pad a map; its origin follows.", module="map_crop", panel=_FILES),
    Entry(words=("map", "pad"), summary="Pad or crop a map; its origin follows.", module="map_pad", panel=_FILES),
    Entry(words=("map", "reorient"), summary="Permute, flip or move a map's axes.", module="map_reorient", panel=_FILES),
    Entry(
        words=("check-hand",),
        summary="Tell the hand of a map, by a model or a map, or of tilt series.",
        module="check_hand",
        panel=_MEASURE,
    ),
    Entry(words=("flip-hand",), summary="Mirror maps and turn the poses with them.", module="flip_hand", panel=_FILES),
    Entry(words=("align-maps",), summary="Turn and move a map onto another.", module="align_maps", panel=_MEASURE),
    Entry(words=("map-model",), summary="Compare a map with an atomic model.", module="map_model", panel=_MEASURE),
    Entry(
        words=("ctf-refine",),
        summary="Refine defocus, aberrations and magnification against a map.",
        module="ctf_refine",
        panel=_WALK,
    ),
    Entry(words=("fsc",), summary="Compare two maps by Fourier shell correlation.", module="fsc", panel=_MEASURE),
    Entry(words=("score",), summary="Score a stage's result against the truth.", module="score", panel=_MEASURE),
    Entry(
        words=("convert",),
        summary="Convert maps, stacks, movies, particle tables and structures.",
        module="convert",
        panel=_FILES,
    ),
    Entry(words=("star2hdf5",), summary="Put particles and their images into one HDF5 file.", module="star2hdf5", panel=_FILES),
    Entry(
        words=("cs2hdf5",),
        summary="Put cryoSPARC's particles and their images into one HDF5 file.",
        module="cs2hdf5",
        panel=_FILES,
    ),
    Entry(words=("inspect",), summary="Tell in words what is in a file.", module="inspect", panel=_FILES),
    Entry(
        words=("validate",), summary="Check files for faults; exit 0 only when all are sound.", module="validate", panel=_FILES
    ),
    Entry(words=("optics",), summary="Part or join the optics groups of a table.", module="optics", panel=_FILES),
    Entry(
        words=("submit",), summary="Hand a command to a batch system by a template of RELION's.", module="submit", panel=_FILES
    ),
    Entry(words=("pipeline",), summary="List our jobs in RELION's default_pipeline.star.", module="pipeline", panel=_FILES),
    Entry(
        words=("fetch",),
        summary="Fetch files of the PDB, EMDB, EMPIAR or OSF, whole or not at all.",
        module="fetch",
        panel=_FILES,
    ),
    Entry(words=("osf", "list"), summary="List the files of an OSF project.", module="osf_list", panel=_FILES),
    Entry(
        words=("osf", "download"),
        summary="Fetch the files of an OSF project that a folder lacks.",
        module="osf_download",
        panel=_FILES,
    ),
    Entry(
        words=("osf", "upload"), summary="Send files and folders that an OSF project lacks.", module="osf_upload", panel=_FILES
    ),
    Entry(
        words=("chimerax",),
        summary="Write a ChimeraX script that shows maps, masks and models.",
        module="chimerax",
        panel=_MEASURE,
    ),
    Entry(words=("report",), summary="Draw the report of a finished job again.", module="report", panel=_MEASURE),
    Entry(words=("doctor",), summary="Check this machine: versions, threads, GPU, disk, RELION.", module="doctor", panel=_HELP),
    Entry(words=("course", "list"), summary="List the course's units.", module="course_list", panel=_HELP),
    Entry(words=("course", "open"), summary="Open a unit's notebook.", module="course_open", panel=_HELP),
    Entry(words=("course", "check"), summary="Check answers of a unit or an exercise.", module="course_check", panel=_HELP),
    Entry(words=("course", "progress"), summary="Show which exercises are done.", module="course_progress", panel=_HELP),
)

GROUPS = {
    "simulate": ("Simulate data with their truth.", _WALK),
    "map": ("Calculate with maps: algebra, statistics, grids, pictures.", _FILES),
    "conventions": ("Check other programs' conventions on a phantom.", _FILES),
    "osf": ("Projects of the Open Science Framework.", _FILES),
    "course": ("The course: units, exercises, progress.", _HELP),
}


def entry_for(words: list[str]) -> Entry | None:
    """The command that these words of a command line begin with, or None."""
    return next((entry for entry in REGISTRY if tuple(words[: len(entry.words)]) == entry.words), None)
