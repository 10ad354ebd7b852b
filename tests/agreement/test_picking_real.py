"""Real micrographs: picks beside those of experts, with the same settings for all micrographs of a specimen."""

from pathlib import Path

import pytest
import torch

from cryowalk.io.coordinates import read_coordinates
from cryowalk.io.pictures import read_micrograph
from cryowalk.picking import PickingSettings, find_particles, score_picks
from cryowalk.workflow.picking_stages import read_network

pytestmark = pytest.mark.agreement


def scores_of(folder, truth, pattern, *, pixel_size, tolerance, settings, network=None):
    """(precision, recall, F1) over all micrographs."""
    picks = particles = matches = 0
    files = sorted(folder.glob(pattern))
    assert len(files) == 10
    for path in files:
        expert = read_coordinates(truth / f"{path.name.removesuffix('.bin_avg.png').removesuffix('.jpg')}.csv").positions
        found = find_particles(read_micrograph(path, pixel_size=pixel_size), settings, network=network)
        scores = score_picks(found.positions, expert, tolerance=tolerance)
        picks, particles, matches = picks + scores.picks, particles + scores.particles, matches + scores.matches
    return matches / picks, matches / particles, 2 * matches / (picks + particles)


@pytest.mark.parametrize(("method", "least"), [("log", 0.86), ("template", 0.91)])
def test_apoferritin_is_picked_as_experts_do(real_data, method, least):
    torch.set_num_threads(1)
    folder = real_data / "apoferritin_10146"
    settings = PickingSettings(diameter=130.0, method=method)
    *_, f1 = scores_of(
        folder / "sums", folder / "truth", "*.png", pixel_size=1.5, tolerance=130 / 1.5 / 2, settings=settings
    )  # measured: log 0.883, template 0.925
    assert f1 > least


def test_betagalactosidase_is_found_by_a_network_that_never_saw_it(real_data):
    """Asked: recall 0.90 at a precision of 0.75. Measured: recall 0.905 at precision 0.757; experts agree with each other to 0.84–0.88.

    `network.state` was left by `cryowalk pick --method network` with its defaults.
    """
    torch.set_num_threads(1)
    folder = real_data / "betagal_10017_picking"
    precision, recall, _ = scores_of(
        folder / "images",
        folder / "truth_cryoppp",
        "*.jpg",
        pixel_size=1.77,
        tolerance=54,
        settings=PickingSettings(diameter=180.0, method="network"),
        network=read_network(Path(__file__).parents[1] / "picking/network.state"),
    )
    assert recall >= 0.90
    assert precision >= 0.75


def test_betagalactosidase_is_found_by_blobs_with_false_picks_among_them(real_data):
    """Measured: recall 0.93 at a precision of 0.60."""
    folder = real_data / "betagal_10017_picking"
    precision, recall, _ = scores_of(
        folder / "images",
        folder / "truth_cryoppp",
        "*.jpg",
        pixel_size=1.77,
        tolerance=54,
        settings=PickingSettings(diameter=180.0),
    )
    assert recall > 0.9
    assert precision > 0.58
