"""Contaminants: their truth says where they are, their potentials are those of what they are made of."""

import math

import pytest
import torch

from cryowalk.core.errors import UsageError
from cryowalk.data.volume import Volume
from cryowalk.fourier.grids import coordinates, frequency_radius
from cryowalk.fourier.transform import to_fourier
from cryowalk.microscope.contamination import KINDS, broken, contaminants, crystal_reflections
from cryowalk.microscope.delivery import ParticleKind, deliver
from cryowalk.microscope.delivery_settings import ContaminationSettings, DeliverySettings
from cryowalk.microscope.ice import MEAN_INNER_POTENTIAL

SIZE = (300, 400)


def seeded(seed=4):
    return torch.Generator().manual_seed(seed)


def dirt(size=SIZE, pixel_size=3.0, seed=4, **choices):
    return contaminants(ContaminationSettings(**choices), size, pixel_size=pixel_size, generator=seeded(seed))


def alone(kind, seeds=range(40), **choices):
    """The first field in which a single contaminant lies wholly inside."""
    for seed in seeds:
        found = dirt(seed=seed, **{kind: 1}, **choices)
        shown = found.labels > 0
        if not (shown[0].any() or shown[-1].any() or shown[:, 0].any() or shown[:, -1].any()):
            return found
    raise AssertionError("no seed leaves the contaminant inside the field")


def test_clean_ice_is_empty():
    found = dirt()
    assert found.potential.abs().max() == 0
    assert found.labels.max() == 0
    assert found.positions.shape == (0, 2)


def test_the_truth_counts_and_places_everything():
    found = dirt(ice_crystals=2, ethane_drops=3, aggregates=4, crystal_radius=(80.0, 100.0), drop_radius=(80.0, 100.0))
    assert torch.bincount(found.kind, minlength=3).tolist() == [2, 3, 4]
    assert len(KINDS) == 3
    for number, (x, y) in enumerate(found.positions.tolist(), start=1):
        row, column = min(round(y / 3), SIZE[0] - 1), min(round(x / 3), SIZE[1] - 1)
        assert found.labels[row, column] >= number or found.kind[number - 1] == 2  # a clump may have no residue at its middle
    assert (found.potential[found.labels == 0].abs() < 0.02 * found.potential.max()).all()


def test_a_seed_is_a_field():
    choices = {"ice_crystals": 1, "ethane_drops": 1, "aggregates": 1}
    one, same, other = dirt(**choices), dirt(**choices), dirt(seed=5, **choices)
    assert torch.equal(one.potential, same.potential)
    assert torch.equal(one.labels, same.labels)
    assert not torch.equal(one.potential, other.potential)


def test_the_outline_has_the_stated_radius():
    for kind in ("ice_crystals", "ethane_drops", "aggregates"):
        found = alone(kind, crystal_radius=(120.0, 130.0), drop_radius=(120.0, 130.0))
        area = (found.labels == 1).sum().item() * 9
        assert found.radius.item() == pytest.approx(math.sqrt(area / math.pi), rel=1e-6)
        if kind != "aggregates":
            assert 100 < found.radius.item() < 160


def test_a_crystal_is_as_heavy_as_ice():
    found = alone("ice_crystals", crystal_radius=(120.0, 130.0))
    inside = found.labels == 1
    # coarse pixels show no fringes: potential over the mean inner potential is a height, of slopes of 45° and a flat top
    height = found.potential / (MEAN_INNER_POTENTIAL * 0.917 / 0.94)
    assert 30 < height.max().item() <= 131
    slope = torch.stack(torch.gradient(height.double(), spacing=3.0)).norm(dim=0)
    assert slope[inside].max().item() <= 1.05
    assert slope[inside].median().item() == pytest.approx(1.0, abs=0.05)


def test_fine_pixels_show_the_fringes_of_hexagonal_ice():
    spacings = [spacing for spacing, _ in crystal_reflections()]
    assert spacings == pytest.approx([3.90, 3.66, 3.44], abs=0.01)
    assert all(0.5 < strength < 2.5 for _, strength in crystal_reflections())
    found = alone("ice_crystals", size=(400, 400), pixel_size=1.1, crystal_radius=(120.0, 130.0))
    power = to_fourier(found.potential.double()).abs() ** 2
    k = frequency_radius((400, 400), pixel_size=1.1, dtype=torch.float64)
    power[(k < 0.2)] = 0
    assert min(abs(1 / k.flatten()[power.argmax()].item() - spacing) for spacing in spacings) < 0.06


def test_a_drop_is_smooth_and_dense():
    found = alone("ethane_drops", drop_radius=(150.0, 150.0))
    radius, top = 150.0, found.potential.max().item() / 5.1
    assert 0.3 * radius < top < 1.25 * radius
    row = round(found.positions[0, 1].item() / 3)
    profile = found.potential[row]
    assert (profile.diff().sign().diff()[profile[1:-1] > 1] != 0).sum() <= 2  # up, then down


def test_a_clump_holds_its_residues():
    found = alone("aggregates", aggregate_residues=(1500, 1500))
    assert found.potential.sum().item() * 9 == pytest.approx(1500 * 605, rel=0.01)
    assert found.potential[found.labels == 1].sum() > 0.95 * found.potential.sum()


def test_particles_can_be_kept_off_the_dirt():
    found = dirt(ice_crystals=2, ethane_drops=2)
    placed = deliver(
        DeliverySettings(count=60, separation="none"),
        field=(1200.0, 900.0),
        specimens=[ParticleKind(radius=40.0)],
        generator=seeded(),
        allowed=found.labels == 0,
    )
    column, row = (placed.positions[:, :2] / 3).floor().long().unbind(dim=1)
    assert (found.labels[row, column] == 0).all()


@pytest.mark.parametrize("side", [40, 41])
@pytest.mark.parametrize("fraction", [0.2, 0.5, 0.9])
def test_a_broken_particle_keeps_its_fraction(side, fraction):
    x, y, z = coordinates((side, side, side), pixel_size=2.0, dtype=torch.float64)
    ball = torch.exp(-(x**2 + (y - 4) ** 2 + 2 * z**2) / (2 * 12.0**2))
    volume = Volume(voxels=ball, voxel_size=2.0)
    piece = broken(volume, fraction=fraction, generator=seeded(), edge=2.0)
    assert (piece.voxels.sum() / ball.sum()).item() == pytest.approx(fraction, abs=0.02)
    assert (piece.voxels <= ball + 1e-12).all()
    other = broken(volume, fraction=fraction, generator=seeded(9), edge=2.0)
    assert (other.voxels - piece.voxels).norm() > 0.1 * piece.voxels.norm()  # cut in another direction


def test_what_cannot_be_is_refused():
    with pytest.raises(UsageError, match="number of ice crystals"):
        dirt(ice_crystals=-1)
    with pytest.raises(UsageError, match="drop radius is a range"):
        dirt(drop_radius=(200.0, 100.0))
    with pytest.raises(UsageError, match="pixel size"):
        dirt(pixel_size=0.0)
    with pytest.raises(UsageError, match="fraction"):
        broken(Volume(voxels=torch.ones(4, 4, 4), voxel_size=1.0), fraction=1.5, generator=seeded())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device: contaminants on a GPU were not tested")
def test_contaminants_follow_their_generator_to_a_device():
    generator = torch.Generator(device="cuda").manual_seed(4)
    settings = ContaminationSettings(ice_crystals=1, ethane_drops=1, aggregates=1)
    found = contaminants(settings, SIZE, pixel_size=3.0, generator=generator)
    for tensor in (found.potential, found.labels, found.positions, found.radius, found.kind):
        assert tensor.device.type == "cuda"
    assert found.labels.max() > 0
