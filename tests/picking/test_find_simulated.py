"""The simulator's own micrographs: particles that are lopsided, in noise, among carbon and dirt, and their true places.

`network.state` was left by `cryowalk pick --method network` with its defaults; it has seen no hinge.
"""

from pathlib import Path

import pytest
import torch

from cryowalk.data.optics import Optics
from cryowalk.microscope import hinge, prepare_specimens, simulate_micrograph
from cryowalk.microscope.simulate.specimens import Source
from cryowalk.picking import PickingSettings, find_particles, score_picks
from cryowalk.workflow.picking_stages import read_network

DIAMETER, PIXEL_SIZE = 140.0, 2.4
PLAIN = {"coverage": 0.2}
DIRTY = {"support": "carbon", "ice_crystals": 3, "ethane_drops": 3, "aggregates": 3}


@pytest.fixture(scope="module")
def simulated():
    """A plain micrograph and a dirty one, with their truths."""
    optics = Optics(pixel_size=PIXEL_SIZE, voltage_kv=300.0, spherical_aberration_mm=2.7, amplitude_contrast=0.07)
    specimens = prepare_specimens([Source(structure=hinge)], optics)
    return [
        simulate_micrograph(
            specimens, optics, generator=torch.Generator().manual_seed(seed), size=(1024, 1024), margin=70.0, **choices
        )
        for seed, choices in enumerate((PLAIN, DIRTY))
    ]


# measured: see docs/decisions.md
@pytest.mark.parametrize(("method", "plain", "dirty"), [("log", 0.9, 0.7), ("template", 0.9, 0.7), ("network", 0.95, 0.9)])
def test_simulated_particles_are_found(simulated, method, plain, dirty):
    network = read_network(Path(__file__).with_name("network.state")) if method == "network" else None
    for (micrograph, truth), least in zip(simulated, (plain, dirty), strict=True):
        found = find_particles(micrograph, PickingSettings(diameter=DIAMETER, method=method), network=network)
        scores = score_picks(found.positions, truth.coordinates, tolerance=DIAMETER / PIXEL_SIZE / 2)
        assert scores.f1 > least, scores
