import dataclasses
import math
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cryowalk.core.errors import CryowalkWarning, InputError
from cryowalk.geometry.sampling import random_rotations
from cryowalk.io.tem_coordinates import (
    TemCoordinates,
    lab_from_particle_of_tem,
    read_tem_coordinates,
    tem_of_lab_from_particle,
    write_tem_coordinates,
)
from cryowalk.io.tem_instrument import camera_of, field_of_view, gun_of, lens_of, optics_of
from cryowalk.io.tem_simulator import (
    format_tem_simulator,
    is_tem_simulator,
    parse_tem_simulator,
    read_tem_simulator,
    write_tem_simulator,
)
from cryowalk.io.tem_simulator_settings import TemDetector, TemInput, TemParticle, TemParticleSet

# as the study group's notebooks write it: the key of the systematic error stands twice
NOTEBOOK = """=== simulation ===
generate_micrographs = yes
rand_seed = -1234
log_file = simulator.log
=== sample ===
diameter = 1200
thickness_edge = 150
thickness_center = 50
=== particle toto ===
source = pdb
voxel_size = 0.1
pdb_file_in = 4v6x.pdb
map_file_re_out = map_re.mrc
map_file_im_out = map_im.mrc
=== particleset ===
particle_type = toto
particle_coords = file
coord_file_in = crd.txt
=== geometry ===
gen_tilt_data = yes
tilt_axis = 0
ntilts = 1
theta_start = 0
theta_incr = 0
geom_errors = none
=== electronbeam ===
acc_voltage = 300
energy_spread = 1.3
gen_dose = yes
dose_per_im = 100
dose_sd = 0
=== optics ===
magnification = 81000
cs = 2.7
cc = 2.7
aperture = 50
focal_length = 3.5
cond_ap_angle = 0.1
gen_defocus = yes
defocus_nominal = 1.0
defocus_syst_error = 0.0
defocus_syst_error = 0.1
defocus_file_out = defocus.txt
=== detector ===
det_pix_x = 5760
det_pix_y = 4092
pixel_size = 5
gain = 32
use_quantization = yes
dqe = 0.5
mtf_a = 0
mtf_b = 0
mtf_c = 1
mtf_alpha = 0
mtf_beta = 0
image_file_out = micrograph.mrc
"""

# the example of version 1.3, its comments in short
EXAMPLE = """# This file defines the position and orientation of three
# copies of the TMV fragment.
#
  3 6
#
# with its initial orientation (axis of TMV along the z-axis):
-50  5  0  0   0   0
# after being rotated 90 degrees around the x-axis:
  0  5  0  0  90   0
# rotated 90 degrees around the x-axis and then 90 degrees around the z-axis:
 50  5  0  0  90  90
"""


def quiet(text):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CryowalkWarning)
        return parse_tem_simulator(text)


def test_the_notebooks_file_is_read_unchanged_in_our_units(tmp_path):
    (tmp_path / "input.txt").write_text(NOTEBOOK)
    with pytest.warns(
        CryowalkWarning, match=r"line 42: defocus_syst_error .* line 41 too; the last value counts; .*defocus_nonsyst_error"
    ):
        made = read_tem_simulator(tmp_path / "input.txt")
    assert (made.simulation.generate_micrographs, made.simulation.seed, made.simulation.log_file) == (
        True,
        -1234,
        "simulator.log",
    )
    assert (made.sample.diameter, made.sample.thickness_at_centre, made.sample.thickness_at_edge) == (12000, 500, 1500)
    (particle,) = made.particles
    assert (particle.name, particle.source, particle.voxel_size, particle.structure_file) == ("toto", "pdb", 1.0, "4v6x.pdb")
    (group,) = made.particle_sets
    assert (group.particle, group.placed_by, group.coordinate_file) == ("toto", "file", "crd.txt")
    assert (made.geometry.generates_tilts, made.geometry.tilts, made.geometry.errors) == (True, 1, "none")
    assert (made.beam.voltage_kv, made.beam.energy_spread_ev, made.beam.dose_per_image) == (300, 1.3, 1.0)
    optics = made.optics
    assert (optics.magnification, optics.spherical_aberration_mm, optics.aperture, optics.defocus) == (81000, 2.7, 5e5, 1e4)
    assert optics.condenser_angle == pytest.approx(1e-4)
    assert optics.systematic_defocus_error == pytest.approx(1000)
    (detector,) = made.detectors
    assert (detector.width, detector.height, detector.pixel_pitch, detector.gain) == (5760, 4092, 5e4, 32)
    assert is_tem_simulator(NOTEBOOK)
    assert is_tem_simulator("# a comment\n\n=== sample ===\n")
    assert not is_tem_simulator("data_\n")


def test_what_is_not_said_is_as_in_the_notebooks():
    said = dataclasses.replace(quiet(NOTEBOOK), detectors=(), particles=(), particle_sets=())
    bare = parse_tem_simulator(
        "=== simulation ===\nlog_file = simulator.log\n=== optics ===\ndefocus_file_out = defocus.txt\ndefocus_syst_error = 0.1\n"
    )
    assert bare == said
    detector = parse_tem_simulator("=== detector ===\nimage_file_out = micrograph.mrc\n").detectors[0]
    assert detector == quiet(NOTEBOOK).detectors[0]


def test_written_and_read_again_is_the_same(tmp_path):
    made = quiet(NOTEBOOK)
    write_tem_simulator(made, tmp_path / "a.txt")
    again = read_tem_simulator(tmp_path / "a.txt")
    assert again == made
    write_tem_simulator(again, tmp_path / "b.txt")
    assert (tmp_path / "a.txt").read_bytes() == (tmp_path / "b.txt").read_bytes()


def test_unknown_keys_sections_comments_and_several_of_a_kind():
    text = (
        NOTEBOOK.replace("diameter = 1200", "diameter = 1200 # in nm\nglaze = a b")
        + '=== detector ===\nimage_file_out = "no # noise.mrc"\nuse_quantization = no\n=== volume v 1 ===\nnx = 3\n'
    )
    made = quiet(text.replace("\n", "\r\n"))
    assert made.sample.extra == {"glaze": "a b"}
    assert [one.image_output for one in made.detectors] == ["micrograph.mrc", "no # noise.mrc"]
    assert made.others == (("volume", "v 1", (("nx", "3"),)),)
    assert parse_tem_simulator(format_tem_simulator(made)) == made


def test_doses_of_all_images_together():
    made = parse_tem_simulator("=== electronbeam ===\ntotal_dose = 6000\n")
    assert (made.beam.total_dose, made.beam.dose_per_image) == (60.0, None)
    assert parse_tem_simulator(format_tem_simulator(made)) == made
    from_file = parse_tem_simulator("=== electronbeam ===\ngen_dose = no\ndose_file_in = d.txt\n")
    assert (from_file.beam.dose_per_image, from_file.beam.extra) == (None, {"dose_file_in": "d.txt"})
    assert parse_tem_simulator(format_tem_simulator(from_file)) == from_file


@settings(max_examples=60, deadline=None)
@given(
    numbers=st.lists(st.floats(0.02, 1e6, allow_subnormal=False), min_size=8, max_size=8),
    seed=st.integers(-(10**9), 10**9),
    flag=st.booleans(),
)
def test_any_numbers_survive(numbers, seed, flag):
    start = TemInput(
        particles=(TemParticle(name="p q"),), particle_sets=(TemParticleSet(particle="p q", count=7),), detectors=(TemDetector(),)
    )
    made = dataclasses.replace(
        start,
        simulation=dataclasses.replace(start.simulation, seed=seed, generate_micrographs=flag),
        sample=dataclasses.replace(start.sample, diameter=numbers[0], offset_x=-numbers[1]),
        beam=dataclasses.replace(start.beam, dose_per_image=numbers[2], energy_spread_ev=numbers[3]),
        optics=dataclasses.replace(start.optics, defocus=-numbers[4], aperture=numbers[5], condenser_angle=numbers[6]),
        geometry=dataclasses.replace(start.geometry, first_tilt=-numbers[7], tilt_axis=numbers[7]),
    )
    again = parse_tem_simulator(format_tem_simulator(made))
    for name in ("simulation", "sample", "beam", "optics", "geometry"):
        for key, value in dataclasses.asdict(getattr(made, name)).items():
            found = getattr(getattr(again, name), key)
            assert found == (pytest.approx(value, rel=1e-15) if isinstance(value, float) else value), key
    assert again.particles == made.particles


@settings(max_examples=200, deadline=None)
@given(text=st.text(st.sampled_from('= abc#\n\t"0123.-'), max_size=60))
def test_any_text_is_read_or_refused_by_an_error_of_ours(text):
    try:
        quiet(text)
    except InputError:
        return


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("acc_voltage = 300", "acc_voltage = abc"), "line 27: acc_voltage is “abc”"),
        (("acc_voltage = 300", "acc_voltage = 300,5"), "decimal comma"),
        (("acc_voltage = 300", "acc_voltage = nan"), "acc_voltage is “nan”"),
        (("det_pix_x = 5760", "det_pix_x = 5760.5"), "det_pix_x is “5760.5”"),
        (("dose_per_im = 100", "dose_per_im = -1"), "a number of at least 0"),
        (("gen_dose = yes", "gen_dose = true"), "gen_dose is “true”"),
        (("thickness_edge = 150", "thickness_edge = -150"), "thickness_edge is “-150”"),
        (("diameter = 1200", "diameter 1200"), "neither === section === nor key = value"),
        (("=== sample ===", "=== sample"), "neither === section === nor key = value"),
        (("=== simulation ===\n", ""), "stands before the first section"),
        (("=== geometry ===", "=== sample ==="), "a second section === sample ==="),
        (("particle_type = toto", "particle_type = tata"), "the particle “tata”, which is not there"),
        (("mtf_c = 1", "mtf_c = 0"), "are all 0"),
        (("dqe = 0.5", "dqe = 50"), "per cent"),
        (("dose_per_im = 100", "dose_per_im = 0"), "no electrons make the images"),
    ],
)
def test_wrong_files_are_one_error(tmp_path, change, message):
    path = tmp_path / "bad.txt"
    path.write_text(NOTEBOOK.replace(*change))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CryowalkWarning)
        with pytest.raises(InputError, match=message) as caught:
            read_tem_simulator(path)
    assert "bad.txt" in str(caught.value)


def test_names_that_cannot_be_are_not_written(tmp_path):
    for wrong in ('a"b', "a\nb", " a"):
        made = TemInput(particles=(TemParticle(name="p", structure_file=wrong),))
        with pytest.raises(InputError, match="pdb_file_in"):
            write_tem_simulator(made, tmp_path / "a.txt")


def test_the_example_s_particles_are_turned_as_its_comments_say(tmp_path):
    (tmp_path / "crd.txt").write_text(EXAMPLE)
    made = read_tem_coordinates(tmp_path / "crd.txt")
    assert made.positions.tolist() == [[-500, 50, 0], [0, 50, 0], [500, 50, 0]]
    # a letter F in space: no rotation but the identity leaves these three arrows where they are
    arrows = torch.eye(3, dtype=torch.float64)
    about_x = torch.tensor([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]], dtype=torch.float64)  # y to z
    about_z = torch.tensor([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]], dtype=torch.float64)  # x to y
    for ours, words in zip(made.lab_from_particle, (arrows, about_x, about_z @ about_x), strict=True):
        torch.testing.assert_close(ours @ arrows, words @ arrows, atol=1e-12, rtol=0)


def test_the_first_angle_turns_first_and_about_z():
    """φ alone turns x to y, as ψ alone does; with θ = 90° between them they are told apart."""
    turned = lab_from_particle_of_tem(torch.tensor([30.0, 90.0, 0.0], dtype=torch.float64))
    x = turned[:, 0]
    torch.testing.assert_close(x, torch.tensor([math.cos(math.pi / 6), 0.0, math.sin(math.pi / 6)], dtype=torch.float64))
    turned = lab_from_particle_of_tem(torch.tensor([0.0, 90.0, 30.0], dtype=torch.float64))
    torch.testing.assert_close(turned[:, 0], torch.tensor([math.cos(math.pi / 6), 0.5, 0.0], dtype=torch.float64))


def test_coordinates_there_and_back(tmp_path):
    g = torch.Generator().manual_seed(3)
    made = TemCoordinates(
        positions=1000 * torch.randn(9, 3, generator=g, dtype=torch.float64),
        lab_from_particle=random_rotations(9, generator=g).double(),
    )
    write_tem_coordinates(made, tmp_path / "a.txt")
    again = read_tem_coordinates(tmp_path / "a.txt")
    assert len(again) == 9
    torch.testing.assert_close(again.positions, made.positions, rtol=0, atol=1e-7)
    torch.testing.assert_close(again.lab_from_particle, made.lab_from_particle, rtol=0, atol=1e-9)
    angles = tem_of_lab_from_particle(made.lab_from_particle)
    torch.testing.assert_close(lab_from_particle_of_tem(angles), made.lab_from_particle)
    empty = TemCoordinates(positions=torch.zeros(0, 3), lab_from_particle=torch.zeros(0, 3, 3))
    write_tem_coordinates(empty, tmp_path / "e.txt")
    assert len(read_tem_coordinates(tmp_path / "e.txt")) == 0
    with pytest.raises(InputError, match="not finite"):
        write_tem_coordinates(dataclasses.replace(made, positions=made.positions * float("nan")), tmp_path / "a.txt")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("3 6\n1 2 3 4 5 6\n", "1 rows of 3"),
        ("# only\n# comments\n", "0 rows of an unknown number"),
        ("1 6\n1 2 3 4 5\n", "line 2: the row has 5 values"),
        ("1 5\n1 2 3 4 5\n", "line 1: the first line is 1 5"),
        ("1 6\n1 2 x 4 5 6\n", "line 2: a value is “x”"),
        ("1 6\n1 2 nan 4 5 6\n", "a value is “nan”"),
        ("-1 6\n", "the first line is -1 6"),
    ],
)
def test_wrong_coordinates_are_one_error(tmp_path, text, message):
    (tmp_path / "bad.txt").write_text(text)
    with pytest.raises(InputError, match=message) as caught:
        read_tem_coordinates(tmp_path / "bad.txt")
    assert "bad.txt" in str(caught.value)


def test_the_instrument_in_our_nouns():
    made = quiet(NOTEBOOK)
    detector = made.detectors[0]
    optics = optics_of(made, detector)
    assert optics.pixel_size == pytest.approx(5e4 / 81000)
    assert (optics.voltage_kv, optics.amplitude_contrast) == (300, 0)
    assert field_of_view(made, detector)[0] == pytest.approx(5760 * 5e4 / 81000)
    assert gun_of(made).convergence == pytest.approx(1e-4)
    assert lens_of(made).aperture == pytest.approx(50e-6 / (2 * 3.5e-3))
    camera = camera_of(detector)
    assert (camera.gain, set(camera.mtf.value), set(camera.dqe.value)) == (32, {1.0}, {0.5})


def test_the_transfer_of_the_camera_is_the_manual_s_formula():
    detector = TemDetector(a=0.7, b=0.2, c=0.1, alpha=10.0, beta=40.0, counts_electrons=False)
    camera = camera_of(detector)
    x = np.array(camera.mtf.frequency)
    np.testing.assert_allclose(camera.mtf.value, 0.7 / (1 + 10 * x**2) + 0.2 / (1 + 40 * x**2) + 0.1, rtol=1e-12)
    assert camera.mtf.value[0] == 1
    assert set(camera.dqe.value) == {1.0}
    steep = camera_of(dataclasses.replace(detector, p=2.0, c=0.0, b=0.0))
    y = 1 + 10 * x**2
    np.testing.assert_allclose(steep.mtf.value, 4 / (2 * y**2 + 2), rtol=1e-12)
