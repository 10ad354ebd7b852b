"""The parsers that are fuzzed, one line each: a name, the ending of the file, a valid file, and the function that reads it to its end.

A new reader joins by one more `parser(...)` line.
"""

import json
import pickle
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import seeds

from cryowalk.core.errors import CryowalkError


@dataclass(frozen=True)
class Parser:
    """A reader of files, and a file that it reads."""

    name: str
    ending: str
    seed: Callable[[Path], bytes]
    read: Callable[[Path], Any]
    prepare: Callable[[Path], None] = lambda folder: None  # files that the seed names


PARSERS: dict[str, Parser] = {}


def parser(
    name: str, ending: str, seed: bytes | str | Callable[[Path], bytes], read: str | Callable[[Path], Any], **more: Any
) -> None:
    """Enter a parser; `read` is a function, or `module:function` in `cryowalk.io`, imported when it is used."""
    made = (lambda folder: seed) if isinstance(seed, bytes) else (lambda folder: seed.encode()) if isinstance(seed, str) else seed
    PARSERS[name] = Parser(name=name, ending=ending, seed=made, read=_imported(read) if isinstance(read, str) else read, **more)


def _imported(place: str) -> Callable[..., Any]:
    module, _, function = place.partition(":")

    @cache
    def found() -> Callable[[Path], Any]:
        reader: Callable[[Path], Any] = getattr(import_module(f"cryowalk.io.{module}"), function)
        return reader

    return lambda path, **options: found()(path, **options)


def _whole(opener: str) -> Callable[[Path], Any]:
    """Open a source of images and read each of the first of them."""
    open_it = _imported(opener)

    def read(path: Path) -> None:
        source = open_it(path)
        for number in range(min(source.count, 8)):
            source.read([number])

    return read


def _particles(path: Path) -> None:
    from cryowalk.io.relion import read_particles

    particles = read_particles(path)
    if particles.images is not None:
        particles.images.read(range(min(particles.images.count, 8)))


def _settings(path: Path) -> None:
    from cryowalk.reconstruction.settings import ReconstructionSettings
    from cryowalk.workflow.settings_files import read_settings, settings_from

    settings_from(ReconstructionSettings, read_settings(path), file=path)


def _checkpoint(path: Path) -> None:
    from cryowalk.workflow.checkpoint import unpack

    unpack(path.read_bytes())


def _manifest(path: Path) -> None:
    from cryowalk.workflow.manifest import read_manifest

    (path.parent / "job").mkdir(exist_ok=True)
    (path.parent / "job" / "job.json").write_bytes(path.read_bytes())
    read_manifest(path.parent / "job")


def _validate(path: Path) -> None:
    from cryowalk.io.validate import faults

    faults(path)


def _zarr(path: Path) -> None:
    from cryowalk.io.zarr_stacks import open_zarr

    folder = path.parent / "store.zarr"
    folder.mkdir(exist_ok=True)
    (folder / "zarr.json").write_bytes(path.read_bytes())
    open_zarr(folder)


parser("mrc stack", ".mrcs", seeds.mrc_stack, _whole("mrc:MrcStackReader"))
parser("mrc map", ".mrc", seeds.mrc_map, "maps:read_map")
parser("mrc gzip", ".mrc.gz", seeds.mrc_gzip, "mrc:read_array")
parser("star", ".star", seeds.STAR, "star:read_star")
parser("star particles", ".star", seeds.STAR, _particles, prepare=seeds.stack_beside)
parser("star micrographs", ".star", seeds.MICROGRAPHS, "micrographs:read_micrographs")
parser("star motion", ".star", seeds.motion, "motion:read_movie_motion")
parser("star mtf", ".star", seeds.MTF, "mtf:read_mtf")
parser("star tilt series", ".star", seeds.TILT_SERIES, "tilt_series_files:read_tilt_series", prepare=seeds.tilt_series_beside)
parser("cs", ".cs", seeds.cryosparc, "cryosparc:read_cryosparc")
parser("csg", ".csg", seeds.CSG, "cryosparc_groups:read_group")
parser("numpy pickle", ".pkl", pickle.dumps(seeds.poses()), "safe_pickle:read_numpy_pickle")
parser(
    "cryodrgn poses",
    ".pkl",
    pickle.dumps(seeds.poses()),
    lambda path: _imported("cryodrgn:read_cryodrgn_poses")(path, side=100.0),
)
parser("cryodrgn latents", ".pkl", pickle.dumps(seeds.values((6, 4))), "cryodrgn:read_latents")
parser("cryodrgn indices", ".pkl", pickle.dumps(seeds.poses()[1].astype("i8")[:, 0].cumsum()), "cryodrgn:read_indices")
parser(
    "cryodrgn config",
    ".yaml",
    "dataset_args:\n  particles: a.mrcs\n  norm: [0, 1.5]\nlattice_args:\n  D: 129\nmodel_args:\n  zdim: 8\n",
    "cryodrgn_config:read_cryodrgn_config",
)
parser("pdb", ".pdb", seeds.PDB, "atoms:read_atoms")
parser("cif", ".cif", seeds.cif, "atoms:read_atoms")
parser("hdf5", ".h5", seeds.hdf5, "dispatch:read")
parser("zarr metadata", ".json", seeds.zarr_metadata, _zarr)
parser("mdoc", ".mdoc", seeds.MDOC, "mdoc:read_mdoc")
parser("tiff", ".tif", seeds.tiff, _whole("movies:open_movie"))
parser("eer", ".eer", seeds.eer, _whole("movies:open_movie"))
parser("gain", ".gain", seeds.gain, lambda path: _imported("gain:read_gain")(path, image_shape=(12, 12)))
parser("png", ".png", seeds.png, lambda path: _imported("pictures:read_micrograph")(path, pixel_size=1.0))
parser("box", ".box", "10\t20\t64\t64\n30\t40\t64\t64\n", "coordinates:read_coordinates")
parser("coord", ".coord", "10 20\n30 40\n", "coordinates:read_coordinates")
parser("csv picks", ".csv", "x,y,score\n1,2,0.5\n3,4,0.25\n", "coordinates:read_coordinates")
parser("cbox", ".cbox", seeds.CBOX, "coordinates:read_coordinates")
parser(
    "topaz",
    ".txt",
    "image_name\tx_coord\ty_coord\tscore\nm1\t10\t20\t1.5\nm2\t30\t40\t-0.5\n",
    "coordinate_tables:read_coordinate_table",
)
parser("ctffind", ".txt", seeds.CTFFIND, "ctf_tables:read_ctffind")
parser("gctf", ".log", seeds.GCTF, "gctf:read_gctf_log")
parser(
    "imod xf", ".xf", "0.0862 -0.9963 0.9963 0.0862 1.5 -2.25\n0.0862 -0.9963 0.9963 0.0862 2.5 -3.25\n", "imod:read_transforms"
)
parser("imod tlt", ".tlt", "-60.00\n-57.01\n-54.00\n", "imod:read_angle_list")
parser("imod com", ".com", seeds.COM, "imod_com:read_com")
parser("imod log", ".log", seeds.ALIGN_LOG, "imod_logs:read_alignment_log")
parser("aretomo", ".aln", seeds.ARETOMO, "aretomo:read_aretomo")
parser("warp", ".xml", seeds.WARP, "warp:read_warp")
parser("dynamo", ".tbl", " ".join(map(str, range(1, 36))) + "\n" + " ".join(map(str, range(2, 37))) + "\n", "dynamo:read_dynamo")
parser("em", ".em", seeds.em, "em:read_em")
parser("tem parameters", ".txt", seeds.TEM, "tem_simulator:read_tem_simulator")
parser("tem coordinates", ".txt", "2 6\n1.0 2.0 3.0 10 20 30\n-1.0 0.5 0.0 40 50 60\n", "tem_coordinates:read_tem_coordinates")
parser("fsc xml", ".xml", seeds.FSC, "fsc_xml:read_fsc_xml")
parser("bodies", ".star", seeds.BODIES, "multibody:read_bodies")
parser("body modes", ".dat", seeds.MODES, "multibody:read_body_modes")
parser("job star", ".star", seeds.JOB, "relion_pipeline:read_job")
parser("pipeline", ".star", seeds.PIPELINE, "relion_pipeline:read_pipeline")
parser("settings yaml", ".yaml", "symmetry: D2\npadding: 2\nctf: none\ndirectional: true\n", _settings)
parser("settings json", ".json", json.dumps({"symmetry": "D2", "padding": 2, "diameter": 120.0}), _settings)
parser("checkpoint", ".state", seeds.checkpoint, _checkpoint)
parser("manifest", ".json", seeds.manifest, _manifest)
parser("any kind", "", seeds.STAR, "dispatch:read", prepare=seeds.stack_beside)
parser("validate", ".mrcs", seeds.mrc_stack, _validate)


@cache
def seed_of(name: str) -> bytes:
    """The valid file of a parser."""
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return PARSERS[name].seed(Path(folder))


def read_quietly(one: Parser, path: Path) -> BaseException | None:
    """What escaped from a reader that is none of our errors, or None."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            one.read(path)
    except CryowalkError:
        return None
    except Exception as error:  # noqa: BLE001  what is looked for
        return error
    return None
