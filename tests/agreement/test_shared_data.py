"""Every file of the real data: what it is, and what is in it, against parsers that are none of ours (gemmi, mrcfile, numpy, plain string work)."""

import bz2
import csv
import gzip
import math
import re
import struct
import warnings
from pathlib import Path

import gemmi
import mrcfile
import numpy as np
import pytest
import torch

import cryowalk as cw
from cryowalk.core.errors import CryowalkWarning, InputError
from cryowalk.io import describe, open_movie, read_array, read_header, read_mdoc, read_particles, read_star
from cryowalk.io.kinds import kind_of
from cryowalk.io.mdoc import tilt_series_of_mdoc
from cryowalk.io.star_kinds import NOT_WHOLE, star_kind

pytestmark = [
    pytest.mark.agreement,
    pytest.mark.filterwarnings("ignore::cryowalk.core.errors.CryowalkWarning"),
    pytest.mark.filterwarnings("ignore::RuntimeWarning:mrcfile"),
]
DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
FILES = sorted(path.relative_to(DATA).as_posix() for path in DATA.rglob("*") if path.is_file()) if DATA.is_dir() else []

OTHER = {  # files of no format that is listed, each with its reason
    "README.md": "words",
    r".*/note\.txt|.*\.note\.txt": "RELION's diary of commands",
    r"betagal_10204/motion/.*\.log": "RELION's diary of motion correction; the motion itself is in the STAR file beside it",
    r"betagal_10204/micrographs_reference_defocus\.csv": "a table made for this folder",
    r"sta_ribosome_peak/expected/.*\.csv|sta_ribosome_peak/inputs/(AGL_anglist.*|template_list)\.csv": "tables of a template matching program",
    r"tomo_meta/TS_017/017_corrected_dose\.txt": "numbers without a heading",
    r"tomo_meta/aretomo_imod/TiltSeries_Metrics\.csv": "AreTomo's summary of many series",
}
ELSEWHERE = {  # formats that other tests look at, or that are pictures
    r".*\.(png|jpg)": "pictures; tests/io/test_pictures.py",
    r"interop/.*\.(cs|npz)": "cryoSPARC and cryoDRGN; tests/agreement of their own",
}
EMPTY = "tomo_meta/tomo_preprocessing/imod/transforms.xf"
SKEWED = {"emdb_maps/EMD-3001.map", "emdb_maps/EMD-3001.map.bz2"}


def test_the_data_is_there(real_data):
    assert real_data == DATA
    assert len(FILES) > 200


def test_files_of_no_listed_format_are_these(real_data, record_property):
    """Whatever is not known is on the list above, and whatever is on the list is not known."""
    unknown = {name for name in FILES if kind_of(real_data / name) == "unknown"}
    told = {name for name in FILES if _matches(name, OTHER)}
    assert unknown == told
    record_property("files of no listed format", sorted(told))


def _matches(name: str, patterns: dict[str, str]) -> bool:
    return any(re.fullmatch(pattern, name) for pattern in patterns)


LISTED = [name for name in FILES if not _matches(name, OTHER | ELSEWHERE) and name != EMPTY] or ["no real data"]


@pytest.mark.parametrize("name", LISTED)
def test_file(real_data, name):
    path = real_data / name
    check = next((check for pattern, check in CHECKS if re.fullmatch(pattern, name)), None)
    assert check is not None, f"no check for {name}"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CryowalkWarning)
        description = describe(path)
        assert description.words
        assert description.kind != "STAR table" or name == "tomo_meta/wedge_list_017.star"
        check(path, description)


def test_an_empty_file_is_told_of(real_data):
    with pytest.raises(InputError, match="the file is empty"):
        cw.read(real_data / EMPTY)


# ------------------------------------------------------------------ maps and images


def raw(path: Path) -> bytes:
    opener = {".gz": gzip.open, ".bz2": bz2.open}.get(path.suffix, open)
    with opener(path, "rb") as stream:
        return stream.read()


def check_mrc(path, description):
    content = raw(path)
    order = ">" if content[212] == 0x11 else "<"
    nx, ny, nz, mode = struct.unpack(f"{order}4i", content[:16])
    mx, my, mz, a, b, c = struct.unpack(f"{order}3i3f", content[28:52])
    header = read_header(path)
    assert (header.size, header.mode) == ((nx, ny, nz), mode)
    for size, cell, count in zip(header.voxel_sizes, (a, b, c), (mx, my, mz), strict=True):
        assert size == pytest.approx(cell / count if count and cell > 0 else 0.0, rel=1e-6)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = mrcfile.open(path, permissive=True).data
    found = read_array(path)
    assert found.size == expected.size == nx * ny * nz
    if header.axes == (1, 2, 3):
        assert np.array_equal(found.reshape(-1), np.asarray(expected, np.float32).reshape(-1))
    if path.relative_to(DATA).as_posix() in SKEWED:
        return
    stated = {} if header.voxel_sizes[0] else {"pixel_size": 2.0}
    thing = cw.read(path, **stated)
    assert math.prod(getattr(thing, "voxels", getattr(thing, "pixels", None)).shape) == nx * ny * nz


def check_em(path, description):
    content = path.read_bytes()
    machine, kind = content[0], content[3]
    sides = struct.unpack("<3i", content[4:16])
    assert machine == 6
    values = np.frombuffer(content[512:], {5: "<f4", 9: "<f8"}[kind]).reshape(sides[::-1])
    thing = cw.read(path)
    if "motl" in path.name and "subtomo" not in path.name:
        assert (len(thing), thing.values.shape) == (50, (50, 20))
        assert np.array_equal(thing.values.numpy(), values[0])
        assert thing.tomograms.unique().tolist() == [126]
        assert thing.positions[0].tolist() == pytest.approx((values[0, 0, 7:10] - 1 + values[0, 0, 10:13]).tolist())
    else:
        assert thing.values.shape == (48, 48, 48)
        assert np.array_equal(thing.values.numpy(), values)


def check_tiff(path, description):
    import tifffile

    expected = tifffile.imread(path)
    movie = open_movie(path)
    assert (movie.count, movie.image_shape) == (expected.shape[0], expected.shape[1:])
    assert np.allclose(movie.read([3])[0].numpy()[::-1], expected[3]) or np.allclose(movie.read([3])[0].numpy(), expected[3])


def check_structure(path, description):
    expected = [atom for model in gemmi.read_structure(str(path)) for chain in model for residue in chain for atom in residue]
    atoms = cw.read(path)
    assert len(atoms) == len(expected) == description.facts["atoms"]
    for row in (0, -1):
        assert atoms.positions[row].tolist() == pytest.approx(expected[row].pos.tolist(), abs=1e-3)


# ------------------------------------------------------------------ STAR

KINDS = {
    "default_pipeline.star": "RELION pipeline (STAR)", "job.star": "RELION job options (STAR)", "autopick.star": "list of picks (RELION STAR)",
    "movies.star": "movies (RELION STAR)", "corrected_micrographs.star": "micrographs (RELION STAR)", "micrographs_ctf.star": "micrographs (RELION STAR)",
    "_autopick.star": "coordinates of one micrograph (RELION STAR)", "summary.star": NOT_WHOLE["summary of picks"],
    "_extract.star": NOT_WHOLE["particles of one micrograph"], "run_it025_data.star": "particles (RELION STAR)",
    "run_it016_data_subset.star": "particles (RELION STAR)", "_model.star": "refinement, model (RELION STAR)",
    "_optimiser.star": "refinement, optimiser (RELION STAR)", "_sampling.star": "refinement, sampling (RELION STAR)",
    "particles_with_relion_poses.star": "particles (RELION STAR)", "particles_logpick_ctffindWRONG.star": "particles (RELION STAR)",
    "ap_s_c2d.star": "particles (RELION STAR)", "tilt_series.star": "tilt series (RELION STAR)", "my_prefix_TS_01.star": NOT_WHOLE["images of a tilt series"],
    "relion_3.0.star": "particles of tomograms (RELION STAR)", "relion_3.1_optics2.star": "particles of tomograms (RELION STAR)",
    "relion_4.0.star": "particles of tomograms (RELION STAR)", "relion_ctf_estimation_output.star": "micrographs (RELION STAR)",
    "relion_motion_correction_output.star": "micrographs (RELION STAR)", "017_gctf.star": "micrographs (RELION STAR)",
    "wedge_list_017.star": "STAR table", "topaz_EMPIAR-10025_ctf_params.star": "micrographs (RELION STAR)",
    "topaz_EMPIAR-10025_particles.star": "particles (RELION STAR)", "mtf_": "modulation transfer (STAR)",
    "henderson/": "coordinates of one micrograph (RELION STAR)", "motion/": "motion of a movie (RELION STAR)", "interop/": "particles (RELION STAR)",
}  # fmt: skip


def check_star(path, description):
    """Blocks, labels, rows and the cells at the ends as gemmi reads them; then what the table is."""
    expected = gemmi.cif.read_string(path.read_text())
    star = read_star(path)
    assert [block.name for block in star.blocks] == [
        block.name.replace("\x01", "") if block.name != " " else "" for block in expected
    ]
    for ours, theirs in zip(star.blocks, expected, strict=True):
        loops = [item.loop for item in theirs if item.loop is not None]
        pairs = [item.pair for item in theirs if item.pair is not None]
        assert dict(ours.values) == {label[1:]: gemmi.cif.as_string(text) for label, text in pairs}
        if not loops:
            continue
        loop = loops[0]
        assert list(ours.columns) == [tag[1:] for tag in loop.tags]
        assert len(ours) == loop.length()
        for place, label in enumerate(ours.columns):
            for row in {0, loop.length() // 2, loop.length() - 1} if loop.length() else ():
                assert ours.columns[label][row] == gemmi.cif.as_string(loop[row, place])
    name = path.relative_to(DATA).as_posix()
    kind = next(kind for part, kind in sorted(KINDS.items(), key=lambda pair: -len(pair[0])) if part in name)
    assert description.kind == kind
    for part, check in STAR_CHECKS:
        if re.search(part, name):
            check(path, star)


def check_particles(path, star):
    """Counts, pixel size, and each number of the first and the last particle from the text of its cell."""
    found = read_particles(path, images="ignore")
    table = next(block for block in star.blocks if "rlnImageName" in block.columns)
    columns = {label: list(column) for label, column in table.columns.items()}
    assert len(found) == len(table)
    for row in (0, -1):
        group = found.optics[int(found.optics_index[row])]
        if "rlnDetectorPixelSize" in columns:
            size = float(columns["rlnDetectorPixelSize"][row]) / float(columns["rlnMagnification"][row]) * 1e4
            assert group.pixel_size == pytest.approx(size, rel=1e-6)
        if "rlnDefocusU" in columns:
            assert float(found.defocus.major[row]) == float(columns["rlnDefocusU"][row])
            assert float(found.defocus.azimuth[row]) == pytest.approx(math.radians(float(columns["rlnDefocusAngle"][row])))
        if "rlnAngleRot" in columns:
            angles = [math.radians(float(columns[f"rlnAngle{part}"][row])) for part in ("Rot", "Tilt", "Psi")]
            assert torch.allclose(found.pose.lab_from_particle[row], relion_matrix(*angles), atol=1e-12)


def relion_matrix(rot, tilt, psi):
    """RELION's matrix as its manual writes it out, element by element."""
    ca, sa, cb, sb, cg, sg = math.cos(rot), math.sin(rot), math.cos(tilt), math.sin(tilt), math.cos(psi), math.sin(psi)
    rows = [
        [cg * cb * ca - sg * sa, cg * cb * sa + sg * ca, -cg * sb],
        [-sg * cb * ca - cg * sa, -sg * cb * sa + cg * ca, sg * sb],
        [sb * ca, sb * sa, cb],
    ]
    return torch.tensor(rows, dtype=torch.float64)


def check_micrographs(path, star):
    found = cw.read(path)
    table = next(block for block in star.blocks if {"rlnMicrographName", "rlnMicrographMovieName"} & set(block.columns))
    assert len(found) == len(table)
    if "rlnDefocusU" in table.columns:
        assert found.defocus.major.tolist() == [float(text) for text in table.columns["rlnDefocusU"]]
        assert found.defocus.minor.tolist() == [float(text) for text in table.columns["rlnDefocusV"]]
    label = next(
        (
            label
            for block in star.blocks
            for label in ("rlnMicrographPixelSize", "rlnMicrographOriginalPixelSize")
            if label in block.columns
        ),
        None,
    )
    if label:
        assert found.pixel_size == float(star["optics"].columns[label][0])
    else:
        columns = table.columns
        size = float(columns["rlnDetectorPixelSize"][0]) / float(columns["rlnMagnification"][0]) * 1e4
        assert found.pixel_size == pytest.approx(size, rel=1e-6)


def check_tomogram_particles(path, star):
    found = cw.read(path)
    table = star["particles"] if "particles" in star else star[""]
    assert len(found) == len(table)
    expected = [[float(table.columns[f"rlnCoordinate{axis}"][row]) for axis in "XYZ"] for row in range(len(table))]
    assert found.voxels.tolist() == expected
    assert found.centred is None
    if "rlnTomoName" in table.columns:
        assert (len(set(found.tomograms)), found.tomograms[0]) == (13, "TS_017")
        assert found.particles.optics[0].pixel_size == 3.942
    elif "optics" in star:
        assert [group.pixel_size for group in found.particles.optics] == [2.446, 3.446]
    else:
        assert found.particles.optics[0].pixel_size == pytest.approx(5.364, rel=1e-9)
    angles = [math.radians(float(table.columns[f"rlnAngle{part}"][-1])) for part in ("Rot", "Tilt", "Psi")]
    assert torch.allclose(found.specimen_from_particle[-1], relion_matrix(*angles), atol=1e-12)


def check_tilt_series(path, star):
    (series,) = cw.read(path)
    lines = (path.parent / "tilt_series/my_prefix_TS_01.star").read_text().splitlines()
    rows = [line.split() for line in lines if line.startswith("my_prefix")]
    assert (len(series), series.optics.pixel_size, series.optics.voltage_kv) == (len(rows), 1.35, 300.0)
    assert torch.rad2deg(series.tilt_angle).tolist() == pytest.approx([float(row[4]) for row in rows])
    assert series.dose_before.tolist() == [float(row[8]) for row in rows]
    assert series.movie_names[0] == rows[0][1]
    assert math.degrees(series.tilt_axis) == pytest.approx(85.3 + 90)


def check_pipeline(path, star):
    found = cw.read(path)
    assert (found.next_number, len(found), found.states()) == (11, 8, {"Succeeded": 8})
    assert (found.jobs[0].name, found.jobs[0].kind, found.jobs[0].alias) == (
        "Import/job001/",
        "relion.import.movies",
        "Import/Import1/",
    )
    assert found.jobs[1].alias == ""
    assert len(found.outputs) == len(star["pipeline_output_edges"])


def check_job(path, star):
    found = cw.read(path)
    assert found.kind == star["job"].values["rlnJobTypeLabel"]
    assert len(found.options) == len(star["joboptions_values"])


def check_list(path, star):
    found = cw.read(path)
    assert len(found) == 10
    assert found.files[0] == "AutoPick/job008/Movies/20170629_00021_frameImage_autopick.star"


def check_star_picks(path, star):
    found = cw.read(path)
    (table,) = star.blocks
    assert found.positions.tolist() == [
        list(map(float, pair)) for pair in zip(table.columns["rlnCoordinateX"], table.columns["rlnCoordinateY"], strict=True)
    ]
    assert found.merit.tolist() == [float(text) for text in table.columns["rlnAutopickFigureOfMerit"]]


def check_motion(path, star):
    found = cw.read(path)
    values = star["general"].values
    assert len(found.motion.global_displacement) == int(values["rlnImageSizeZ"]) == 24
    assert found.pixel_size == float(values["rlnMicrographOriginalPixelSize"])


def check_mtf(path, star):
    found = cw.read(path)
    block = star.blocks[0]
    assert list(found.frequency) == [float(text) for text in block.columns["rlnResolutionInversePixel"]]
    assert list(found.value) == [float(text) for text in block.columns["rlnMtfValue"]]


STAR_CHECKS = (
    (
        r"particles_(with|logpick)|run_it025_data|run_it016_data|ap_s_c2d|interop/(empiar|relion31|sta_|topaz.*particles)",
        check_particles,
    ),
    (r"movies\.star|_micrographs\.star|micrographs_ctf|ctf_params|_output\.star|gctf\.star", check_micrographs),
    (r"tomo_meta/relion_[34]", check_tomogram_particles),
    (r"import/tilt_series\.star", check_tilt_series),
    (r"default_pipeline", check_pipeline),
    (r"job\.star", check_job),
    (r"project/autopick\.star", check_list),
    (r"_autopick\.star|henderson", check_star_picks),
    (r"/motion/", check_motion),
    (r"/mtf_", check_mtf),
)


# ------------------------------------------------------------------ picks


def check_box(path, description):
    rows = np.array([line.split() for line in path.read_text().splitlines()], dtype=float)
    found = cw.read(path)
    assert found.positions.numpy().tolist() == (rows[:, :2] + 90).tolist()
    assert found.merit.tolist() == rows[:, 4].tolist()


def check_csv(path, description):
    rows = list(csv.reader(path.read_text().splitlines()))
    found = cw.read(path)
    assert found.positions.tolist() == [[float(row[0]), float(row[1])] for row in rows[1:]]
    assert dict(found.extra) == ({"Diameter": tuple(row[2] for row in rows[1:])} if "Diameter" in rows[0] else {})


# ------------------------------------------------------------------ CTF tables


def check_ctffind(path, description):
    expected = np.loadtxt(path, ndmin=2)
    found = cw.read(path)
    assert len(found) == len(expected)
    assert np.array_equal(found.defocus.major.numpy(), expected[:, 1])
    assert np.array_equal(found.defocus.minor.numpy(), expected[:, 2])
    assert np.allclose(found.defocus.azimuth.numpy(), np.radians(expected[:, 3]), rtol=0, atol=1e-14)
    assert np.array_equal(found.defocus.phase_shift.numpy(), expected[:, 4])
    assert np.array_equal(found.fitted_to.numpy(), expected[:, 6])
    size = {"017_ctffind4.txt": 1.327, "test_CTF.txt": None}.get(path.name, 1.4)
    assert (found.optics.pixel_size if found.optics else None) == size


def check_profiles(path, description):
    expected = np.loadtxt(path)
    (found,) = cw.read(path).profiles
    assert np.array_equal(found.frequency.numpy(), expected[0])
    assert [np.array_equal(curve.numpy(), row) for curve, row in zip(found.curves.values(), expected[1:], strict=True)] == [
        True
    ] * 5


# ------------------------------------------------------------------ tilt series


def check_mdoc(path, description):
    text = path.read_text(errors="replace")
    found = read_mdoc(path)
    for kind in ("ZValue", "FrameSet", "MontSection", "T"):
        assert sum(section.kind == kind for section in found.sections) == len(re.findall(rf"^\[{kind} ?=", text, re.MULTILINE))
    angles = [float(value) for value in re.findall(r"^TiltAngle = (\S+)", text, re.MULTILINE)]
    told = [float(section.get("TiltAngle")) for section in found.sections if section.get("TiltAngle") is not None]
    assert told == angles
    count = {"017.mdoc": 60, "TS_01.mrc.mdoc": 41}.get(path.name)
    assert count is None or len(found.images) == count


def check_angles(path, description):
    expected = np.loadtxt(path)
    found = cw.read(path)
    assert found.about == ("x" if path.suffix == ".xtilt" else "tilt axis")
    assert np.allclose(np.degrees(found.angles.numpy()), expected, rtol=0, atol=1e-12)
    assert len(found) == {"017.tlt": 60, "tilt_1.tlt": 59, "tilt_1.xtilt": 59, "test.rawtlt": 3}[path.name]


def check_transforms(path, description):
    expected = np.loadtxt(path)
    found = cw.read(path)
    assert len(found) == {"test.xf": 3, "tilt_1.xf": 59}[path.name]
    assert np.array_equal(np.c_[found.matrices.reshape(-1, 4).numpy(), found.shifts.numpy()], expected)
    assert description.facts["tilt_axis_degree"] == pytest.approx({"test.xf": -11.39, "tilt_1.xf": -100.06}[path.name], abs=0.05)


def check_com(path, description):
    found = cw.read(path)
    text = path.read_text()
    for key in ("THICKNESS", "IMAGEBINNED", "SCALE", "BinByFactor", "TILTFILE"):
        match = re.search(rf"^{key}[ \t]+(.*)$", text, re.MULTILINE)
        assert found.get(key) == (match[1].strip() if match else None)
    assert [command.program for command in found.commands if command.program in ("tilt", "newstack")] == [
        {"t": "tilt", "n": "newstack"}[path.name[0]]
    ]


def check_log(path, description):
    found = cw.read(path)
    rows = re.findall(
        r"^ +(\d+) +(8\d\.\d) +(-?\d+\.\d) +-?0\.00 +1\.0000 +0\.0000 +0\.00 +(\d+\.\d\d)$", path.read_text(), re.MULTILINE
    )
    assert len(found) == len(rows) == 40
    assert found.views.tolist() == [int(row[0]) for row in rows]
    assert torch.rad2deg(found.tilt_angle).tolist() == pytest.approx([float(row[2]) for row in rows])
    assert (found.residual / 10).tolist() == pytest.approx([float(row[3]) for row in rows])
    assert math.degrees(found.angle_offset) == pytest.approx({"imod_align.log": 9.02, "taSolution.log": 0.0}[path.name])


def check_aln(path, description):
    rows = [line.split() for line in path.read_text().splitlines()]
    images = [list(map(float, row)) for row in rows if len(row) == 10 and row[0].isdigit()]
    local = [row for row in rows if len(row) == 7 and row[0].isdigit()]
    found = cw.read(path)
    assert (found.raw_size, found.patches, len(found.dark), len(found.local.images)) == ((2032, 2032, 90), 16, 4, len(local))
    assert torch.rad2deg(found.tilt_angle).tolist() == pytest.approx([row[9] for row in images])
    assert found.shifts.tolist() == [row[3:5] for row in images]
    assert torch.rad2deg(found.rotation).tolist() == pytest.approx([-12.6611] * 4)
    assert found.local.positions[0].tolist() == [float(local[0][2]), float(local[0][3])]


def check_warp(path, description):
    text = path.read_bytes().decode("utf-16")
    found = cw.read(path)

    def column(tag):
        return [float(value) for value in re.search(rf"<{tag}>(.*?)</{tag}>", text, re.DOTALL)[1].split()]

    assert torch.rad2deg(found.tilt_angle).tolist() == pytest.approx(column("Angles"))
    assert found.dose.tolist() == column("Dose")
    assert found.axis_offset[:, 0].tolist() == column("AxisOffsetX")
    assert (len(found.movie_names), int(found.is_used.sum())) == (60, 60)
    assert found.optics.pixel_size == 1.971
    block = re.search(r"<GridCTF .*?</GridCTF>", text, re.DOTALL)[0]
    defocus = [float(value) for value in re.findall(r'Value="(\S+)"', block)]
    delta = float(re.search(r'<Param Name="DefocusDelta" Value="(\S+)"', text)[1])
    assert found.defocus.major.tolist() == pytest.approx([1e4 * (value + delta / 2) for value in defocus])
    assert found.grid("GridMovementX").values.shape == (1, 60, 3, 3)
    assert found.grid("GridVolumeWarpX").values.shape == (10, 4, 3, 3)


def check_dynamo(path, description):
    expected = np.loadtxt(path)
    found = cw.read(path)
    assert (len(found), len(found.columns)) == expected.shape == {"crop.tbl": (4485, 35)}.get(path.name, (1343, 26))
    assert np.array_equal(found.numbers("cc").numpy(), expected[:, 9])
    assert np.allclose(found.positions.numpy(), expected[:, 23:26] + expected[:, 3:6] - 1)
    assert np.array_equal(found.tomograms.numpy(), expected[:, 19].astype(int))


def check_modes(path, description):
    expected = np.loadtxt(path, skiprows=1)
    found = cw.read(path)
    assert (len(found), len(found.labels)) == (18, 18)
    assert np.array_equal(found.vectors.numpy(), expected)
    assert torch.allclose(
        found.vectors @ found.vectors.T, torch.eye(18, dtype=torch.float64), atol=1e-5
    )  # a principal component analysis


CHECKS = (
    (r".*\.(mrc|mrcs|map|ccp4|ctf)(\.gz|\.bz2)?", check_mrc),
    (r".*\.star", check_star),
    (r".*\.em", check_em),
    (r".*\.tif", check_tiff),
    (r".*\.pdb", check_structure),
    (r".*\.box", check_box),
    (r"(apoferritin_10146/truth|betagal_10017_picking/truth_cryoppp.*)/.*\.csv", check_csv),
    (r".*_avrot\.txt", check_profiles),
    (r".*(_PS|_ctffind4|_CTF)\.txt", check_ctffind),
    (r".*\.mdoc", check_mdoc),
    (r".*\.(tlt|rawtlt|xtilt)", check_angles),
    (r".*\.xf", check_transforms),
    (r".*\.com", check_com),
    (r"tomo_meta/.*\.log", check_log),
    (r".*\.aln", check_aln),
    (r".*\.xml", check_warp),
    (r".*\.tbl", check_dynamo),
    (r".*\.dat", check_modes),
)


# ------------------------------------------------------------------ against each other


def test_subtomogram_images_as_cryodrgn_reads_them(real_data):
    """`sta_testing_bin8.star`: angles as matrices and CTFs of another program's parse; it was given the pixel size, and no shifts."""
    particles = read_particles(real_data / "interop/sta_testing_bin8.star")
    ctf = np.load(real_data / "interop/cryodrgn_ctf_sta.npz")["ctf"]
    pose = np.load(real_data / "interop/cryodrgn_pose_sta.npz")["rot"]
    assert len(particles) == len(ctf) == len(pose) == 219
    assert np.allclose(particles.pose.lab_from_particle.numpy(), pose, rtol=0, atol=1e-7)
    found = particles.defocus
    ours = np.c_[found.major, found.minor, torch.rad2deg(found.azimuth)]
    assert np.allclose(ours, ctf[:, 2:5], rtol=1e-6, atol=1e-4)
    (group,) = particles.optics
    lens = [group.voltage_kv, group.spherical_aberration_mm, group.amplitude_contrast]
    assert np.allclose(ctf[:, 5:8], lens)
    assert not found.phase_shift.any()
    assert not ctf[:, 8].any()


def test_the_axis_of_filaments_in_a_dynamo_table_runs_along_them(real_data):
    """`crop.tbl` was picked along filaments: each particle's own z axis points to the next one, which fixes the sense of tdrot and tilt."""
    table = cw.read(real_data / "tomo_meta/crop.tbl")
    step = table.positions[1:] - table.positions[:-1]
    near = step.norm(dim=1) < 15
    along = (table.specimen_from_particle[:-1, :, 2] * step / step.norm(dim=1, keepdim=True)).sum(1)[near]
    assert int(near.sum()) > 4000
    assert float(along.median()) > 0.999
    assert float((along > 0.9).double().mean()) > 0.95


def test_a_motive_list_and_its_dynamo_table_would_say_the_same(real_data):
    """tdrot, tilt, narot = −psi, −theta, −phi: the rule by which motive lists are made into tables of Dynamo."""
    motives = cw.read(real_data / "sta_ribosome_peak/inputs/motl_ribosome_b4_trim_shift_t126.em")
    table = cw.io.dynamo_table(motives.specimen_from_particle, motives.positions, tomograms=motives.tomograms)
    phi, psi, theta = motives.values[:, 16:19].unbind(-1)
    ours = torch.stack([table.numbers(name) for name in ("tdrot", "tilt", "narot")], dim=-1)
    flip = theta > 0  # ZXZ has two solutions: (α, β, γ) and (α + 180°, −β, γ + 180°)
    expected = torch.stack((-psi + 180 * flip, theta, -phi + 180 * flip), dim=-1)
    difference = torch.remainder(ours - expected + 180, 360) - 180
    assert float(difference.abs().max()) < 1e-5
    assert torch.allclose(table.positions, motives.positions, atol=1e-6)


def test_warp_and_gctf_of_one_series_agree(real_data):
    """The defocus of TS_017 by two programs: within 0.3 μm in the median."""
    warp = cw.read(real_data / "tomo_meta/TS_017/017.xml").defocus
    gctf = cw.read(real_data / "tomo_meta/TS_017/017_gctf.star").defocus
    difference = (warp.major + warp.minor - gctf.major - gctf.minor).abs() / 2
    assert float(difference.median()) < 3000


def test_mdoc_angles_and_tlt_agree(real_data):
    folder = real_data / "tomo_meta/TS_017"
    series = tilt_series_of_mdoc(read_mdoc(folder / "017.mdoc"), optics=cw.Optics(pixel_size=1.971))
    angles = torch.rad2deg(cw.read(folder / "017.tlt").angles)
    assert torch.allclose(torch.rad2deg(series.tilt_angle), angles, atol=0.02)
    warp = torch.rad2deg(cw.read(folder / "017.xml").tilt_angle)
    assert torch.allclose(warp, angles, atol=0.06)


def test_star_kinds_of_all_tables(real_data):
    """No table of the data is of no kind but STOPGAP's wedge list."""
    other = {name for name in FILES if name.endswith(".star") and star_kind(read_star(real_data / name)) == "other"}
    assert other == {"tomo_meta/wedge_list_017.star"}
