"""A particle that is symmetric but for one part: which of its copies is meant, found from poses that are right but for the symmetry."""

from dataclasses import replace

import pytest
import torch

from cryowalk.cli.main import main
from cryowalk.geometry.rotations import geodesic_distance
from cryowalk.geometry.symmetry import symmetry_operators
from cryowalk.io import write_map
from cryowalk.io.relion import write_particles
from cryowalk.refinement.homogeneous import refine
from cryowalk.refinement.settings import RefinementSettings

from .two_states import state, two_states

LOCAL = RefinementSettings(
    search="local", angle_deviation_degrees=4.0, angular_step_degrees=4.0, iterations=1, starting_resolution=20.0,
    joined_resolution=0.0, diameter=95.0, shift_range=5.0,
)  # fmt: skip


def turned(count):
    """Particles of one state, half of them turned by the two-fold axis, with the true orientations."""
    particles, _ = two_states(count, snr=1.0, share=1.0)
    operators = symmetry_operators("C2")
    drawn = torch.randint(2, (count,), generator=torch.Generator().manual_seed(3))
    rotations = particles.pose.lab_from_particle
    return particles.with_pose(replace(particles.pose, lab_from_particle=rotations @ operators[drawn])), rotations


def test_the_right_copy_is_found_where_the_symmetry_is_relaxed():
    particles, truth = turned(40)
    shares = []
    for group in ("C2", "C1"):
        found = refine(particles, state(0), replace(LOCAL, relax_symmetry=group), generator=torch.Generator().manual_seed(1))
        angle = geodesic_distance(found.particles.pose.lab_from_particle, truth)
        shares.append(float((angle < 0.5).double().mean()))
    assert shares[0] > 0.9
    assert shares[1] < 0.7


def test_a_symmetry_is_relaxed_about_known_poses_only(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write_particles(turned(8)[0], "p.star")
    write_map(state(0), "map.mrc")
    with pytest.raises(SystemExit) as raised:
        main(
            [
                "refine",
                "--i",
                "p.star",
                "--ref",
                "map.mrc",
                "--relax-symmetry",
                "C2",
                "--o",
                "A",
                "--threads",
                "1",
                "--device",
                "cpu",
            ]
        )
    assert raised.value.code == 2
    assert "--search local" in capsys.readouterr().err
