"""`simulate micrographs`, `simulate movies` and `simulate tem` on real files: what they write, that a kill changes no byte, wrong input, and RELION."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from cryowalk.cli.main import exit_code
from cryowalk.data import Volume
from cryowalk.data.atoms import Atoms
from cryowalk.io import read_map, read_particles, read_star, write_map
from cryowalk.io.atoms import write_atoms
from cryowalk.io.gain import read_gain, relion_meaning
from cryowalk.io.micrograph_truth import read_micrograph_truth
from cryowalk.io.micrographs import read_micrographs
from cryowalk.io.motion import read_motion
from cryowalk.io.movies import open_movie
from cryowalk.io.pictures import read_micrograph
from cryowalk.numerics.random import generator as generator_of

OFF = ("--quiet", "--threads", "1")
SMALL = ("--structure", "one.cif", "--pixel-size", "3", "--size", "220", "200", "--particles", "6", "--ice-thickness", "150")


def blob(seed, count=300):
    source = generator_of(seed)
    return Atoms(
        positions=(10 * torch.randn(count, 3, generator=source, dtype=torch.float64)).clamp(-24, 24),
        atomic_numbers=torch.full((count,), 6),
        b_factors=torch.full((count,), 90.0, dtype=torch.float64),
        occupancies=torch.ones(count, dtype=torch.float64),
        names=("C",) * count,
        residue_names=("UNK",) * count,
        residue_numbers=tuple(range(1, count + 1)),
        chains=("A",) * count,
    )


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    """A folder with two structures."""
    folder = tmp_path_factory.mktemp("scenes")
    write_atoms(blob(1), folder / "one.cif")
    write_atoms(blob(2), folder / "two.cif")
    return folder


@pytest.fixture
def inside(project, monkeypatch) -> Path:
    monkeypatch.chdir(project)
    return project


def simulate(kind, output, *words, seed="3"):
    return exit_code(["simulate", kind, "--o", output, "--seed", seed, *SMALL, *words, *OFF])


def test_micrographs_have_the_names_that_others_script_against(inside, digests):
    assert simulate("micrographs", "mics", "--n", "2", "--structure", "two.cif", "--weights", "3,1", "--ice-crystals", "1") == 0
    written = digests(inside / "mics")
    assert {
        "micrographs.star",
        "particles.star",
        "truth/truth.json",
        "truth/micrograph_00001.star",
        "truth/micrograph_00002.star",
        "truth/micrographs_ctf.star",
        "truth/specimen_001.mrc",
        "truth/specimen_002.mrc",
        "micrographs/micrograph_00001.mrc",
        "micrographs/micrograph_00002.mrc",
    } == written.keys()
    micrographs = read_micrographs("mics/micrographs.star")
    assert len(micrographs) == 2
    assert micrographs.defocus is None  # the truth lies in truth/
    assert read_micrographs("mics/truth/micrographs_ctf.star").defocus is not None
    image = read_micrograph(micrographs.names[0])
    assert image.pixels.shape == (200, 220)
    assert image.pixel_size == pytest.approx(3)
    truth = read_micrograph_truth("mics/truth/micrograph_00001.star")
    assert truth.name == micrographs.names[0]
    assert len(truth) == 6
    assert truth.specimen_names == ("one", "two")
    assert truth.contaminants.kind == ("ice crystal",)
    particles = read_particles("mics/particles.star")
    assert len(particles) == 12
    assert torch.allclose(particles.coordinates[:6], truth.coordinates, atol=1e-5)
    facts = json.loads((inside / "mics/truth/truth.json").read_text())
    assert facts["seed"] == 3
    assert facts["camera"]["name"] == "k3"
    assert [one["particles"] for one in facts["micrographs"]] == [6, 6]
    assert facts["micrographs"][0]["defocus_major"] == pytest.approx(float(truth.defocus.major))
    assert [one["name"] for one in facts["specimens"]] == ["one", "two"]
    assert float(read_map("mics/truth/specimen_001.mrc").voxels.max()) > 1
    page = (inside / "mics/report.html").read_text()
    assert "micrograph_00001.mrc" in page
    assert "Thon rings" in page


def test_a_finished_job_is_not_done_again_and_its_report_can_be_drawn_again(inside, capsys):
    assert simulate("micrographs", "again", "--n", "1") == 0
    (inside / "again/report.html").unlink()
    assert exit_code(["report", "again", *OFF]) == 0
    assert (inside / "again/report.html").is_file()
    capsys.readouterr()
    assert exit_code(["simulate", "micrographs", "--o", "again", "--seed", "3", *SMALL, "--n", "1", "--threads", "1"]) == 0
    assert "nothing to do" in capsys.readouterr().err


def test_micrographs_depend_on_the_seed_and_their_number_alone(inside, digests):
    assert simulate("micrographs", "three", "--n", "3") == 0
    assert simulate("micrographs", "one", "--n", "1") == 0
    assert simulate("micrographs", "other", "--n", "1", seed="4") == 0
    three, one, other = (digests(inside / name) for name in ("three", "one", "other"))
    name = "micrographs/micrograph_00001.mrc"
    assert three[name] == one[name]
    assert three[name] != other[name]
    assert three[name] != three["micrographs/micrograph_00002.mrc"]


@pytest.mark.parametrize("kind", ["micrographs", "movies"])
def test_killed_at_random_moments_a_simulation_ends_with_the_same_bytes(inside, kind, digests):
    words = ["--n", "3", "--format", "mrc", "--frames", "4"] if kind == "movies" else ["--n", "4"]
    assert simulate(kind, f"whole_{kind}", *words) == 0
    command = [sys.executable, "-m", "cryowalk", "simulate", kind, "--o", f"killed_{kind}", "--seed", "3", *SMALL, *words, *OFF]
    moments = random.Random(5)
    kills = 0
    for _ in range(3):
        process = subprocess.Popen(command, stderr=subprocess.PIPE)
        end = time.monotonic() + 60
        while not list((inside / f"killed_{kind}" / kind).glob("m*_0*")) and process.poll() is None and time.monotonic() < end:
            time.sleep(0.01)
        time.sleep(moments.uniform(0.0, 0.15))
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            kills += 1
        process.communicate()
    assert kills
    assert subprocess.run(command, check=False).returncode == 0
    assert digests(inside / f"whole_{kind}", (b"whole_", b"killed_")) == digests(inside / f"killed_{kind}")


@pytest.mark.parametrize("file_format", ["mrc", "tiff", "eer"])
def test_movies_are_raw_with_gain_and_motion_beside(inside, file_format):
    name = f"movies_{file_format}"
    words = ["--n", "1", "--frames", "5", "--format", file_format, "--dead-pixels", "3", "--dose", "20"]
    assert simulate("movies", name, *words) == 0
    movies = read_micrographs(f"{name}/movies.star")
    assert movies.movie_names == (f"{name}/movies/movie_00001.{file_format}",)
    frames = open_movie(movies.movie_names[0])
    images = frames.read(range(frames.count))
    assert torch.equal(images, images.round())
    truth = read_micrograph_truth(f"{name}/truth/movie_00001.star")
    motion = read_motion(f"{name}/truth/movie_00001_motion.star")
    assert motion.global_displacement.shape == (5, 2)
    assert torch.allclose(truth.motion.global_displacement, motion.global_displacement)
    shifts = read_star(f"{name}/truth/movie_00001_motion.star")["global_shift"]
    found = -float(shifts.columns["rlnMicrographShiftX"][4]) * 3
    assert found == pytest.approx(float(motion.global_displacement[4, 0]), abs=1e-4)
    gain = read_gain(
        f"{name}/gain.mrc",
        image_shape=frames.image_shape,
        stored_as=relion_meaning(f"{name}/gain.mrc", movie=movies.movie_names[0]),
    )
    total = images.sum(dim=0)
    assert int((gain == 0).sum()) == 3
    assert float(total[gain == 0].max()) == 0
    corrected = (total * gain)[gain > 0].double()
    assert float(corrected.mean()) == pytest.approx(
        20 * 9 * 0.88 * 0.9627, rel=0.02
    )  # dose · area · DQE(0) of the K3 · transmission
    assert float(corrected.var()) < float(total[gain > 0].double().var())
    facts = json.loads((inside / name / "truth/truth.json").read_text())
    assert facts["micrographs"][0]["motion"] == "movie_00001_motion.star"


def test_super_resolution_movies_are_twice_as_fine(inside):
    assert simulate("movies", "fine", "--n", "1", "--frames", "3", "--format", "mrc", "--super-resolution", "2") == 0
    frames = open_movie("fine/movies/movie_00001.mrc")
    assert frames.image_shape == (400, 440)
    assert frames.pixel_size == pytest.approx(1.5)
    assert read_map("fine/truth/specimen_001.mrc").voxel_size == pytest.approx(1.5)


WRONG = [
    (("--dose", "0"), 2, "above 0"),
    (("--dose", "-3"), 2, "above 0"),
    (("--ice-thickness", "-20"), 2, "above 0"),
    (("--ice-thickness", "30"), 2, "does not fit into it"),
    (("--particles", "4000"), 2, "the field holds"),
    (("--camera", "k9"), 2, "no camera"),
    (("--weights", "1,2,3"), 2, "3 weights were given for 1"),
    (("--box", "10"), 3, "does not fit into a box of 10"),
    (("--defocus-range", "20000", "10000"), 2, "from a smaller to a larger"),
    (("--structure", "none.cif"), 3, "no such file"),
    (("--structure", "empty.cif"), 3, "atom"),
    (("--structure", "unknown.pdb"), 3, "element"),
    (("--mtf", "wrong.star"), 3, "wrong.star"),
]


@pytest.mark.parametrize(("words", "code", "message"), WRONG, ids=[" ".join(words) for words, _, _ in WRONG])
def test_wrong_input_ends_in_one_message(inside, capsys, words, code, message):
    (inside / "empty.cif").write_text("data_x\n_entry.id x\n")
    line = "ATOM      1  Q   UNK A   1       1.000   2.000   3.000  1.00 20.00          Qq\n"
    (inside / "unknown.pdb").write_text(line + "END\n")
    (inside / "wrong.star").write_text("data_mtf\n\nloop_\n_rlnOther #1\n_rlnThing #2\n0 1\n0.5 0.2\n\n")
    chosen = list(SMALL)
    if words[0] in SMALL:
        place = chosen.index(words[0])
        del chosen[place : place + 2]
    status = exit_code(["simulate", "micrographs", "--o", "wrong", "--n", "1", *chosen, *words, *OFF])
    told = capsys.readouterr().err
    assert status == code, told
    assert message in told
    assert "Traceback" not in told
    shutil.rmtree(inside / "wrong", ignore_errors=True)


def test_maps_that_cannot_be_specimens_are_told(inside, capsys):
    write_map(Volume(voxels=torch.ones(24, 24, 24), voxel_size=3.0), "flat.mrc")
    import mrcfile

    with mrcfile.new("skew.mrc", overwrite=True) as file:
        file.set_data(torch.rand(16, 16, 16).numpy())
        file.voxel_size = (3.0, 3.0, 4.0)
    for name, message in (("flat.mrc", "constant"), ("skew.mrc", "skew.mrc")):
        words = ["simulate", "micrographs", "--o", "wrong", "--map", name, "--size", "220", "200", *OFF]
        assert exit_code(words) == 3
        assert message in capsys.readouterr().err
        shutil.rmtree(inside / "wrong", ignore_errors=True)


def test_a_defocus_that_aliases_in_the_box_is_warned_of(inside):
    words = ["--n", "1", "--defocus-range", "150000", "160000"]
    process = subprocess.run(
        [
            sys.executable,
            "-m",
            "cryowalk",
            "simulate",
            "micrographs",
            "--o",
            "aliased",
            "--seed",
            "3",
            *SMALL,
            *words,
            "--threads",
            "1",
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 0, process.stderr
    assert "alias" in process.stderr
    assert "box" in process.stderr


PARAMETERS = """\
=== simulation ===
generate_micrographs = yes
rand_seed = 7
=== sample ===
diameter = 1200
thickness_center = 20
thickness_edge = 30
=== particle blob ===
source = pdb
voxel_size = 0.1
pdb_file_in = blob.pdb
map_file_re_out = blob_re.mrc
=== particleset ===
particle_type = blob
particle_coords = file
coord_file_in = places.txt
=== geometry ===
gen_tilt_data = yes
tilt_axis = 0
ntilts = {tilts}
theta_start = {start}
theta_incr = 20
=== electronbeam ===
acc_voltage = 300
energy_spread = 1.3
gen_dose = yes
dose_per_im = 6000
=== optics ===
magnification = 20000
cs = 2.7
cc = 2.7
aperture = 50
focal_length = 3.5
cond_ap_angle = 0.1
gen_defocus = yes
defocus_nominal = 2.0
defocus_file_out = defocus.txt
=== detector ===
det_pix_x = 256
det_pix_y = 240
pixel_size = 5
gain = 10
use_quantization = yes
dqe = 1.0
mtf_a = 0
mtf_b = 0
mtf_c = 1
image_file_out = out.mrc
"""


@pytest.mark.parametrize("tilts", [1, 3])
def test_a_parameter_file_of_tem_simulator_runs(inside, tilts):
    write_atoms(blob(1), inside / "blob.cif")
    (inside / "run.txt").write_text(
        PARAMETERS.format(tilts=tilts, start=0 if tilts == 1 else -20).replace("blob.pdb", "blob.cif")
    )
    (inside / "places.txt").write_text("# three\n3  6\n0 0 0 0 0 0\n10 -5 2 0 0 0\n-12 8 -3 30 40 50\n")
    output = f"tem_{tilts}"
    assert exit_code(["simulate", "tem", "run.txt", "--o", output, *OFF]) == 0
    frames = open_movie(f"{output}/out.mrc")
    assert frames.count == tilts
    assert frames.image_shape == (240, 256)
    assert frames.pixel_size == pytest.approx(2.5)
    image = frames.read([tilts // 2])[0]
    thickness = 200 + 100 * 0  # Å, in the middle of the field
    assert float(image.double().mean()) == pytest.approx(60 * 2.5**2 * 10 * (1 - thickness / 3950), rel=0.02)
    truth = read_micrograph_truth(f"{output}/truth/out_{tilts // 2 + 1:03d}.star")
    assert torch.allclose(truth.coordinates[0], torch.tensor([128.0, 120.0], dtype=torch.float64))
    assert torch.allclose(truth.positions[1] - truth.positions[0], torch.tensor([100.0, -50.0, 20.0], dtype=torch.float64))
    assert float(truth.particle_defocus.major[1]) == pytest.approx(20020)
    assert torch.allclose(truth.lab_from_particle[1], torch.eye(3, dtype=torch.float64), atol=1e-9)
    assert (inside / output / "truth/blob_re.mrc").is_file()
    assert (inside / output / "defocus.txt").read_text().split()[0] == str(tilts)
    if tilts == 3:
        tilted = read_micrograph_truth(f"{output}/truth/out_003.star")
        # Tilted by +20° about x: y' = y cos − z sin.
        angle = torch.deg2rad(torch.tensor(20.0, dtype=torch.float64))
        along = float(tilted.positions[1, 1] - tilted.positions[0, 1])
        assert along == pytest.approx(float(-50 * torch.cos(angle) - 20 * torch.sin(angle)), abs=1e-6)


def relion(program):
    path = shutil.which(program)
    if path is None:
        pytest.skip(f"{program} is not installed")
    return path


def test_relion_recovers_the_global_motion(inside):
    program = relion("relion_run_motioncorr")
    words = ["--n", "1", "--frames", "12", "--dose", "60", "--size", "900", "900", "--coverage", "0.3", "--pixel-size", "2.5"]
    words += ["--local-motion", "0", "--early-motion", "12", "--doming", "0"]
    assert exit_code(["simulate", "movies", "--o", "motion", "--seed", "2", *words, *OFF]) == 0
    run = [
        program,
        "--use_own",
        "--i",
        "motion/movies.star",
        "--o",
        "motioncorr/",
        "--j",
        "1",
        "--patch_x",
        "1",
        "--patch_y",
        "1",
    ]
    run += ["--bfactor", "150", "--gainref", "motion/gain.mrc", "--angpix", "2.5", "--voltage", "300", "--dose_per_frame", "5"]
    subprocess.run(run, check=True, capture_output=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    found = read_motion(next((inside / "motioncorr").rglob("movie_00001.star")))
    true = read_motion("motion/truth/movie_00001_motion.star")
    difference = found.global_displacement - true.global_displacement
    difference = difference - difference.mean(dim=0)  # both count from a frame that is itself uncertain
    assert float(true.global_displacement.norm(dim=1).max()) > 4
    assert float(difference.square().sum(dim=1).mean().sqrt()) / 2.5 < 0.3  # px


def test_relion_extracts_the_particles_where_the_truth_says(inside):
    program = relion("relion_preprocess")
    words = ["--n", "1", "--margin", "90", "--noise", "none", "--particles", "4"]
    chosen = [word for word in SMALL if word not in ("--particles", "6")]
    assert exit_code(["simulate", "micrographs", "--o", "pick", "--seed", "5", *chosen, *words, *OFF]) == 0
    run = [
        program,
        "--i",
        "pick/micrographs.star",
        "--reextract_data_star",
        "pick/particles.star",
        "--part_star",
        "cut/particles.star",
    ]
    run += ["--part_dir", "cut/", "--extract", "--extract_size", "40"]
    done = subprocess.run(run, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr + done.stdout
    cut = read_particles("cut/particles.star")
    truth = read_micrograph_truth("pick/truth/micrograph_00001.star")
    image = read_micrograph("pick/micrographs/micrograph_00001.mrc").pixels
    assert len(cut) == 4
    boxes = cut.images.read(range(4))
    for number, (x, y) in enumerate(truth.coordinates.long().tolist()):  # RELION cuts at whole pixels, rounded down
        ours = image[y - 20 : y + 20, x - 20 : x + 20]
        theirs = boxes[number]
        pair = torch.stack([(ours - ours.mean()).flatten(), (theirs - theirs.mean()).flatten()])
        assert float(torch.corrcoef(pair)[0, 1]) > 0.999
    assert replace(cut, images=None).pose is not None
