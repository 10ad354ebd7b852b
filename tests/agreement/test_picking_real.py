"""Real micrographs: picks beside those of experts, with the same settings for all micrographs of a specimen."""

import pytest
import torch

from cryowalk.io.coordinates import read_coordinates
from cryowalk.io.pictures import read_micrograph
from cryowalk.picking import PickingSettings, find_particles, score_picks

pytestmark = pytest.mark.agreement


def scores_of(folder, truth, pattern, *, pixel_size, tolerance, settings):
    """(precision, recall, F1) over all micrographs."""
    picks = particles = matches = 0
    files = sorted(folder.glob(pattern))
    assert len(files) == 10
    for path in files:
        expert = read_coordinates(truth / f"{path.name.removesuffix('.bin_avg.png').removesuffix('.jpg')}.csv").positions
        found = find_particles(read_micrograph(path, pixel_size=pixel_size), settings)
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


def test_betagalactosidase_is_found_with_false_picks_among_them(real_data):
    """Measured: recall 0.93 at a precision of 0.56, where 0.75 is the goal; experts agree with each other to 0.84–0.88."""
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
    assert precision > 0.52
