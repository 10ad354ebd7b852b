"""The truth of a micrograph comes back from its file to the last digit, and RELION's readers find the particles in it."""

from dataclasses import replace

import pytest
import torch

from cryowalk.core.errors import InputError
from cryowalk.data.micrograph_truth import Contaminants, MicrographTruth
from cryowalk.data.motion import Motion
from cryowalk.data.optics import Aberrations, Defocus, Optics
from cryowalk.geometry.sampling import random_rotations
from cryowalk.io.coordinates import read_coordinates
from cryowalk.io.micrograph_truth import read_micrograph_truth, write_micrograph_truth, write_true_motion
from cryowalk.numerics.random import generator as generator_of


def number(value):
    return torch.tensor(value, dtype=torch.float64)


def truth_of(count=7, *, b_factor=33.25):
    source = generator_of(5)

    def uniform(*shape):
        return torch.rand(*shape, generator=source, dtype=torch.float64)

    major = 12000 + 900 * uniform(count)
    return MicrographTruth(
        name="micrographs/007.mrc",
        size=(301, 420),
        optics=Optics(pixel_size=1.37, voltage_kv=200.0, aberrations=Aberrations(beam_tilt=(1e-4, -2e-4))),
        defocus=Defocus(
            major=number(12345.678901),
            minor=number(12001.5),
            azimuth=number(0.7),
            phase_shift=number(0.1),
            b_factor=number(b_factor),
        ),
        positions=uniform(count, 3) * torch.tensor([575.0, 412.0, 300.0]),
        lab_from_particle=random_rotations(count, generator=source),
        particle_defocus=Defocus(
            major=major,
            minor=major - 300,
            azimuth=uniform(count),
            phase_shift=uniform(count) / 9,
            b_factor=torch.full((count,), b_factor, dtype=torch.float64),
        ),
        specimen=torch.arange(count) % 2,
        conformation=uniform(count),
        radius=60 + uniform(count),
        side=torch.arange(count) % 3 - 1,
        specimen_names=("a protein", "1e3"),
        thickness=300 + uniform(5, 4),
        contaminants=Contaminants(positions=uniform(2, 2) * 400, radius=200 * uniform(2), kind=("ice crystal", "aggregate")),
        motion=Motion(
            global_displacement=torch.cat([torch.zeros(1, 2, dtype=torch.float64), uniform(4, 2)]),
            local=torch.cat([torch.zeros(1, 2, 5, dtype=torch.float64), uniform(4, 2, 5)]),
            field=(420 * 1.37, 301 * 1.37),
        ),
        extra={"dose": 40.1, "dose_before": 0.0},
    )


def test_everything_comes_back(tmp_path):
    truth = truth_of()
    write_true_motion(truth, tmp_path / "moved_motion.star", movie_name="movies/007.tiff", frames=5)
    write_micrograph_truth(truth, tmp_path / "truth.star", motion_file=tmp_path / "moved_motion.star")
    back = read_micrograph_truth(tmp_path / "truth.star")
    assert (back.name, back.size, back.specimen_names, dict(back.extra)) == (
        truth.name,
        truth.size,
        truth.specimen_names,
        dict(truth.extra),
    )
    assert back.optics.aberrations.beam_tilt == pytest.approx(truth.optics.aberrations.beam_tilt)
    assert torch.allclose(back.positions, truth.positions, rtol=1e-14)
    assert torch.allclose(back.lab_from_particle, truth.lab_from_particle, atol=1e-12)
    for part in ("major", "minor", "azimuth", "phase_shift", "b_factor"):
        for kind in ("defocus", "particle_defocus"):
            assert torch.allclose(getattr(getattr(back, kind), part), getattr(getattr(truth, kind), part), rtol=1e-14)
    for part in ("specimen", "conformation", "radius", "side", "thickness"):
        assert torch.equal(getattr(back, part), getattr(truth, part))
    assert torch.allclose(back.contaminants.positions, truth.contaminants.positions, rtol=1e-14)
    assert back.contaminants.kind == truth.contaminants.kind
    assert torch.allclose(back.motion.global_displacement, truth.motion.global_displacement, rtol=1e-12)
    assert torch.allclose(back.motion.local, truth.motion.local, rtol=1e-12)
    assert torch.allclose(back.thickness_at(truth.positions[:, :2]), truth.thickness_at(truth.positions[:, :2]))


def test_it_is_a_coordinate_file(tmp_path):
    truth = truth_of()
    write_micrograph_truth(truth, tmp_path / "truth.star")
    assert torch.allclose(read_coordinates(tmp_path / "truth.star").positions, truth.coordinates)
    assert read_micrograph_truth(tmp_path / "truth.star").motion is None


def test_an_empty_micrograph_has_a_truth(tmp_path):
    full = truth_of(0)
    empty = replace(full, contaminants=None, thickness=None, motion=None)
    write_micrograph_truth(empty, tmp_path / "truth.star")
    back = read_micrograph_truth(tmp_path / "truth.star")
    assert len(back) == 0
    assert back.contaminants is None
    assert float(back.defocus.major) == 12345.678901
    with pytest.raises(ValueError, match="thickness"):
        back.thickness_at(torch.zeros(1, 2, dtype=torch.float64))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda text: text.replace("cryowalkMicrographName", "cryowalkOther"), "no truth of a micrograph"),
        (lambda text: text.replace("_rlnDefocusU", "_rlnDefocusW", 1), "DefocusV"),
        (lambda text: text.replace("12345.678901", "much"), "much"),
        (lambda text: text.replace("_cryowalkImageWidth", "_cryowalkWidth"), "no cryowalkImageWidth"),
    ],
)
def test_what_is_no_truth_is_told(tmp_path, damage, message):
    write_micrograph_truth(truth_of(), tmp_path / "truth.star")
    (tmp_path / "truth.star").write_text(damage((tmp_path / "truth.star").read_text()))
    with pytest.raises(InputError, match=message):
        read_micrograph_truth(tmp_path / "truth.star")


def test_a_motion_that_is_not_known_cannot_be_written(tmp_path):
    with pytest.raises(InputError, match="no motion"):
        write_true_motion(replace(truth_of(), motion=None), tmp_path / "x.star", movie_name="m", frames=1)
