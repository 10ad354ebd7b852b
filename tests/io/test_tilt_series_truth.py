"""The truth of a tilt series comes back from its file with all digits; RELION's tables say the same."""

import math

import numpy as np
import pytest
import torch
from io_files import STAR

from cryowalk.core.errors import InputError
from cryowalk.data.optics import Defocus, Optics
from cryowalk.data.tilt_series_truth import TiltSeriesTruth
from cryowalk.geometry.rotations import matrix_about_axis
from cryowalk.geometry.sampling import random_rotations
from cryowalk.io.relion import read_particles
from cryowalk.io.star import read_star
from cryowalk.io.tilt_series_truth import read_tilt_series_truth, write_tilt_series_truth, write_tomogram_particles


def truth_of(particles=4, beads=3, name="TS_007"):
    source = torch.Generator().manual_seed(3)
    tilt = torch.tensor([-0.5, 0.0, 0.5], dtype=torch.float64)
    true = tilt + 0.001
    axis = torch.tensor(math.radians(84.7), dtype=torch.float64)

    def numbers(*shape):
        return 100 * torch.randn(*shape, generator=source, dtype=torch.float64)

    return TiltSeriesTruth(
        name=name,
        optics=Optics(pixel_size=3.3, amplitude_contrast=0.07),
        size=(120, 96),
        thickness=1234.5,
        tilt_axis=float(axis) + math.pi / 2,
        tilt_angle=tilt,
        true_tilt_angle=true,
        lab_from_specimen=matrix_about_axis(axis, axis="z") @ matrix_about_axis(true, axis="y"),
        shift=numbers(3, 2),
        defocus=Defocus(
            major=3e4 + numbers(3),
            minor=2.9e4 + numbers(3),
            azimuth=torch.full((3,), 0.4, dtype=torch.float64),
            phase_shift=torch.zeros(3, dtype=torch.float64),
            b_factor=torch.full((3,), 50.0, dtype=torch.float64),
        ),
        dose=3.1,
        dose_before=torch.tensor([6.2, 0.0, 3.1], dtype=torch.float64),
        order=torch.tensor([2, 0, 1]),
        positions=numbers(particles, 3),
        specimen_from_particle=random_rotations(particles, generator=source),
        specimen=torch.arange(particles) % 2,
        conformation=numbers(particles) / 1000,
        bead_positions=numbers(beads, 3),
        bead_radius=50.0,
        specimen_names=("a b", "c"),
    )


@pytest.mark.parametrize(("particles", "beads"), [(4, 3), (0, 3), (4, 0), (0, 0)])
def test_everything_comes_back(tmp_path, particles, beads):
    truth = truth_of(particles, beads)
    write_tilt_series_truth(truth, tmp_path / "TS_007.star")
    back = read_tilt_series_truth(tmp_path / "TS_007.star")
    for part in (
        "tilt_angle",
        "true_tilt_angle",
        "lab_from_specimen",
        "shift",
        "dose_before",
        "positions",
        "conformation",
        "bead_positions",
    ):
        torch.testing.assert_close(getattr(back, part), getattr(truth, part), atol=1e-12, rtol=1e-14)
    torch.testing.assert_close(back.specimen_from_particle, truth.specimen_from_particle, atol=1e-13, rtol=0)
    assert back.order.tolist() == truth.order.tolist()
    assert back.specimen.tolist() == truth.specimen.tolist()
    assert (back.name, back.size, back.thickness, back.dose, back.bead_radius) == ("TS_007", (120, 96), 1234.5, 3.1, 50.0)
    assert back.tilt_axis == truth.tilt_axis
    assert back.specimen_names == ("a b", "c")
    assert back.optics.pixel_size == pytest.approx(3.3)
    torch.testing.assert_close(back.defocus.major, truth.defocus.major, atol=1e-5, rtol=0)


def test_the_matrices_take_the_specimens_angstrom_to_pixels(tmp_path):
    truth = truth_of()
    write_tilt_series_truth(truth, tmp_path / "t.star")
    table = read_star(tmp_path / "t.star")["tilts"].columns
    matrix = np.array([[[float(table[f"cryowalkProjection{i}{j}"][t]) for j in range(4)] for i in range(2)] for t in range(3)])
    points = np.concatenate([truth.positions.numpy(), np.ones((4, 1))], axis=1)
    np.testing.assert_allclose(np.einsum("tij,nj->tni", matrix, points), truth.seen(truth.positions)[..., :2].numpy(), atol=1e-9)


def test_particles_of_all_series_are_one_table(tmp_path):
    write_tomogram_particles([truth_of(), truth_of(2, name="TS_008"), truth_of(0, name="TS_009")], tmp_path / "particles.star")
    table = read_star(tmp_path / "particles.star")["particles"].columns
    assert table["rlnTomoName"] == ("TS_007",) * 4 + ("TS_008",) * 2
    assert float(table["rlnCenteredCoordinateYAngst"][1]) == truth_of().positions[1, 1].item()
    assert len(read_particles(tmp_path / "particles.star")) == 6
    with pytest.raises(InputError, match="no particles"):
        write_tomogram_particles([truth_of(0)], tmp_path / "none.star")


def test_other_files_are_no_truth(tmp_path):
    (tmp_path / "p.star").write_text(STAR)
    with pytest.raises(InputError, match=r"p.star: the file holds no truth of a tilt series"):
        read_tilt_series_truth(tmp_path / "p.star")
