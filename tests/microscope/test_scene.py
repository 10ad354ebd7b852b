"""Scenes: particles lie where they are put, each with its own defocus, under tilt and displacement; nothing wraps round."""

import math
from dataclasses import replace

import pytest
import torch

from cryowalk.core.errors import InputError, UsageError
from cryowalk.data.atoms import Atoms
from cryowalk.data.instrument import Gun, ObjectiveLens
from cryowalk.data.optics import Aberrations, Defocus, Optics
from cryowalk.data.volume import Volume
from cryowalk.fourier.transform import to_fourier, to_real
from cryowalk.geometry.rotations import matrix_from_euler
from cryowalk.geometry.sampling import random_rotations
from cryowalk.microscope.lens import antisymmetric_phase, contrast_transfer
from cryowalk.microscope.simulate.scene import (
    Canvas,
    Layers,
    Scene,
    View,
    canvas_for,
    image_of_spectra,
    place_of,
    project_particles,
    spectra_of,
    transfer_for,
    transfer_layers,
    with_sheet,
)
from cryowalk.microscope.simulate.specimens import Source, conformers, prepare_specimens, require_field
from cryowalk.numerics.random import generator as generator_of
from cryowalk.numerics.sizes import fast_length_from

OPTICS = Optics(pixel_size=1.7, voltage_kv=200.0)
SIZE = (150, 182)


def defocus_of(major, minor=None, azimuth=0.4, dtype=torch.float64):
    major = torch.tensor(major, dtype=dtype)
    return Defocus(
        major=major,
        minor=major if minor is None else torch.tensor(minor, dtype=dtype),
        azimuth=torch.tensor(azimuth, dtype=dtype),
        phase_shift=torch.zeros((), dtype=dtype),
    )


def molecule(*, seed=4, count=200, spread=9.0):
    source = generator_of(seed)
    return Atoms(
        positions=(spread * torch.randn(count, 3, generator=source, dtype=torch.float64)).clamp(-22, 22),
        atomic_numbers=torch.full((count,), 6),
        b_factors=torch.full((count,), 200.0, dtype=torch.float64),
        occupancies=torch.ones(count, dtype=torch.float64),
    )


def beads(angle=0.0):
    """A flexible molecule: half of its atoms move along x with the angle."""
    rest = molecule()
    moved = rest.positions.clone()
    moved[:100, 0] += 10 * angle
    return replace(rest, positions=moved)


@pytest.fixture(scope="module")
def specimens():
    return prepare_specimens([Source(structure=molecule(), name="beads")], OPTICS, height=900.0)


def scene_of(specimens, positions, *, rotations=None, state=None, size=SIZE):
    positions = torch.as_tensor(positions, dtype=torch.float64)
    count = len(positions)
    return Scene(
        specimens=specimens,
        optics=OPTICS,
        size=size,
        positions=positions,
        lab_from_particle=random_rotations(count, generator=generator_of(8)) if rotations is None else rotations,
        state=torch.zeros(count, dtype=torch.int64) if state is None else torch.as_tensor(state),
    )


def centre_of_gravity(image):
    """(x, y) of an image's centre of gravity, pixels."""
    rows, columns = (torch.arange(side, dtype=torch.float64) for side in image.shape)
    total = image.double().sum()
    return torch.stack([(image.double().sum(dim=0) * columns).sum(), (image.double().sum(dim=1) * rows).sum()]) / total


def test_a_particle_lies_where_it_is_put_to_a_fraction_of_a_pixel(specimens):
    defocus = defocus_of(8000.0)
    for position in ([121.3, 98.6, 0.0], [60.0, 200.5, 30.0]):
        scene = scene_of(specimens, [position], rotations=torch.eye(3, dtype=torch.float64)[None])
        canvas = canvas_for(OPTICS, defocus, size=SIZE)
        layers = project_particles(scene, canvas=canvas, view=View(is_flat=True))
        assert layers.quadrature is None
        # The origin of a molecule is its centre of mass; atoms of one kind scatter about the same centre.
        found = centre_of_gravity(canvas.crop(layers.in_phase)) * OPTICS.pixel_size
        assert torch.allclose(found, torch.tensor(position[:2], dtype=torch.float64), atol=0.02)


@pytest.mark.parametrize("size", [(150, 182), (151, 183), (150, 183)])
def test_every_particle_has_the_ctf_of_its_own_height(specimens, size):
    """Two sheets hold all heights: the image is the sum of images each made alone with its own defocus."""
    positions = torch.tensor([[90.0, 100.0, -400.0], [170.3, 77.7, 900.0], [200.0, 190.0, 35.0]], dtype=torch.float64)
    scene = scene_of(specimens, positions, size=size)
    defocus = defocus_of(9000.0, 8500.0)
    canvas = canvas_for(OPTICS, defocus_of(10000.0), size=size)
    image = transfer_layers(project_particles(scene, canvas=canvas), OPTICS, defocus)
    expected = torch.zeros_like(image)
    for number, height in enumerate(positions[:, 2]):
        one = replace(
            scene, positions=positions[[number]], lab_from_particle=scene.lab_from_particle[[number]], state=scene.state[[number]]
        )
        flat = project_particles(one, canvas=canvas, view=View(is_flat=True)).in_phase
        own = replace(defocus, major=defocus.major + height, minor=defocus.minor + height)
        transfer = contrast_transfer(OPTICS, own, size=canvas.size)
        expected += to_real(to_fourier(flat) * transfer, width=canvas.size[1]).float()
    # What a particle's wave leaves of its small box while it travels 900 Å is the difference.
    assert float((image - expected).norm() / expected.norm()) < 5e-3
    flat = transfer_layers(project_particles(scene, canvas=canvas, view=View(is_flat=True)), OPTICS, defocus)
    assert float((flat - expected).norm() / expected.norm()) > 0.1


def test_nothing_wraps_round(specimens):
    """On a canvas twice as large the micrograph is the same."""
    scene = scene_of(specimens, [[2.0, 3.0, 0.0], [300.0, 250.0, 20.0]])
    defocus = defocus_of(12000.0)
    canvas = canvas_for(OPTICS, defocus, size=SIZE)
    larger = replace(canvas, size=(2 * canvas.size[0], 2 * canvas.size[1]))
    one, other = (
        sheet.crop(transfer_layers(project_particles(scene, canvas=sheet), OPTICS, defocus)) for sheet in (canvas, larger)
    )
    assert float((one - other).norm() / other.norm()) < 0.02
    bare = replace(canvas, size=SIZE)
    wrapped = bare.crop(transfer_layers(project_particles(scene, canvas=bare), OPTICS, defocus))
    assert float((wrapped - other).norm() / other.norm()) > 0.2


@pytest.mark.parametrize("size", [(150, 182), (151, 183)])
def test_the_lens_has_envelopes_aperture_and_odd_aberrations(size):
    """The transfer on a canvas is the lens's own, with envelopes interpolated to 1e-4."""
    optics = replace(OPTICS, aberrations=Aberrations(beam_tilt=(2e-3, -1e-3)))
    gun, lens = Gun(energy_spread_ev=0.7, convergence=1.5e-4), ObjectiveLens(aperture=5e-3, aperture_edge=1e-3)
    defocus = defocus_of(14000.0, 12000.0)
    canvas = Canvas(size=size, inner=size, pixel_size=OPTICS.pixel_size)
    transfer = transfer_for(canvas, optics, defocus, gun=gun, lens=lens)
    exact = contrast_transfer(optics, defocus, size=size, gun=gun, lens=lens)
    assert float((transfer.envelope * transfer.sine - exact).abs().max()) < 1e-4
    quarter = replace(defocus, phase_shift=defocus.phase_shift + math.pi / 2)
    assert (
        float(
            (transfer.envelope * transfer.cosine - contrast_transfer(optics, quarter, size=size, gun=gun, lens=lens)).abs().max()
        )
        < 1e-4
    )
    assert torch.allclose(transfer.odd.angle().double().sin(), antisymmetric_phase(optics, size=size).sin(), atol=1e-5)
    finer = Canvas(size=(900, 1000), inner=size, pixel_size=OPTICS.pixel_size)
    exact = contrast_transfer(optics, defocus, size=finer.size, gun=gun, lens=lens)
    finer_transfer = transfer_for(finer, optics, defocus, gun=gun, lens=lens)
    assert float((finer_transfer.envelope * finer_transfer.sine - exact).abs().max()) < 1e-4


def test_a_sheet_lies_at_its_height():
    """A sheet at height z is imaged with a defocus larger by z."""
    sheet = torch.randn(150, 182, generator=generator_of(2))
    defocus, height = defocus_of(9000.0, 8000.0), 700.0
    canvas = Canvas(size=SIZE, inner=SIZE, pixel_size=OPTICS.pixel_size)
    nothing = spectra_of(Layers(torch.zeros(SIZE), torch.zeros(SIZE)))
    spectra = with_sheet(nothing, sheet, height=height, canvas=canvas, optics=OPTICS)
    image = image_of_spectra(spectra, transfer_for(canvas, OPTICS, defocus), canvas=canvas)
    own = replace(defocus, major=defocus.major + height, minor=defocus.minor + height)
    expected = to_real(to_fourier(sheet) * contrast_transfer(OPTICS, own, size=SIZE).float(), width=SIZE[1])
    assert torch.allclose(image, expected, atol=1e-4)


def test_tilt_turns_places_and_poses_about_the_origin_pixel(specimens):
    tilt = matrix_from_euler(torch.tensor([0.0, 0.6, 0.0], dtype=torch.float64), order="ZYZ")
    scene = scene_of(specimens, [[0.0, 0.0, 0.0], [91 * 1.7, 75 * 1.7, 40.0], [250.0, 100.0, -60.0]])
    origin = torch.tensor([91 * 1.7, 75 * 1.7, 0.0], dtype=torch.float64)
    expected = (scene.positions - origin) @ tilt.T + origin
    assert torch.allclose(place_of(scene, View(lab_from_specimen=tilt)), expected)
    canvas = canvas_for(OPTICS, defocus_of(8000.0), size=SIZE)
    tilted = project_particles(scene, canvas=canvas, view=View(lab_from_specimen=tilt))
    turned = replace(scene, positions=expected, lab_from_particle=tilt @ scene.lab_from_particle)
    for one, other in zip(tilted, project_particles(turned, canvas=canvas), strict=True):
        assert torch.allclose(one, other, atol=1e-4 * float(other.abs().max()))


def test_displacement_moves_each_particle_by_itself(specimens):
    scene = scene_of(specimens, [[100.0, 100.0, 0.0], [200.0, 150.0, 10.0]])
    displacement = torch.tensor([[3.3, -1.2], [0.0, 0.4]], dtype=torch.float64)
    canvas = canvas_for(OPTICS, defocus_of(8000.0), size=SIZE)
    moved = project_particles(scene, canvas=canvas, view=View(displacement=displacement))
    there = scene.positions + torch.nn.functional.pad(displacement, (0, 1))
    for one, other in zip(moved, project_particles(replace(scene, positions=there), canvas=canvas), strict=True):
        assert torch.equal(one, other)


def test_a_filter_acts_on_the_specimen(specimens):
    scene = scene_of(specimens, [[100.0, 100.0, 0.0]])
    canvas = canvas_for(OPTICS, defocus_of(8000.0), size=SIZE)
    whole = project_particles(scene, canvas=canvas).in_phase
    view = View(amplitude=lambda frequency: torch.exp(-250 * frequency**2))
    filtered = project_particles(scene, canvas=canvas, view=view).in_phase
    assert float(filtered.sum()) == pytest.approx(float(whole.sum()), rel=1e-4)  # nothing happens at zero frequency
    assert 0.2 < float(filtered.norm() / whole.norm()) < 0.95


def test_states_have_their_own_volumes_and_weights():
    sources = [Source(structure=molecule(), weight=3.0, name="a"), Source(structure=beads, weight=1.0, name="b")]
    specimens = prepare_specimens(sources, OPTICS, hinge_spread=0.5, conformations=4)
    assert [state.name for state in specimens.states] == ["a", "b", "b", "b", "b"]
    assert specimens.sources.tolist() == [0, 1, 1, 1, 1]
    assert float(specimens.weights.sum()) == pytest.approx(1)
    assert specimens.states[0].weight == pytest.approx(0.75)
    assert [state.conformation for state in specimens.states[1:]] == pytest.approx([-0.75, -0.25, 0.25, 0.75])
    scene = scene_of(specimens, [[100.0, 100.0, 0.0], [200.0, 100.0, 0.0]], state=[0, 4])
    canvas = canvas_for(OPTICS, defocus_of(8000.0), size=SIZE)
    both = project_particles(scene, canvas=canvas).in_phase
    sums = [float(specimens.volumes[state].voxels.double().sum()) * OPTICS.pixel_size for state in (0, 4)]
    assert float(both.double().sum()) == pytest.approx(sum(sums), rel=0.02)  # what slices are exact to


def test_conformers_follow_the_normal_law():
    assert conformers(0.0, 9) == ((0.0, 1.0),)
    angles, shares = (torch.tensor(column) for column in zip(*conformers(0.3, 9), strict=True))
    assert float(shares.sum()) == pytest.approx(1)
    assert float((angles * shares).sum()) == pytest.approx(0, abs=1e-7)
    # A normal law cut at two standard deviations has the variance 0.774; bins of width w add w²/12 less.
    assert float((angles**2 * shares).sum()) / 0.3**2 == pytest.approx(0.774, abs=0.02)


def test_a_map_is_cut_to_what_it_holds():
    voxels = torch.zeros(64, 64, 64)
    voxels[30:36, 28:36, 32:40] = 2.0
    specimens = prepare_specimens([Source(structure=Volume(voxels=voxels, voxel_size=1.7))], OPTICS)
    assert specimens.volumes[0].voxels.shape[0] < 40
    assert specimens.states[0].radius == pytest.approx(1.7 * math.sqrt(3**2 + 4**2 + 7**2), rel=1e-6)
    assert float(specimens.volumes[0].voxels.sum()) == float(voxels.sum())


def test_what_cannot_be_a_specimen_is_told():
    none = torch.zeros(0)
    empty = Atoms(positions=torch.zeros(0, 3), atomic_numbers=none.long(), b_factors=none, occupancies=none)
    with pytest.raises(InputError, match="no atoms"):
        prepare_specimens([Source(structure=empty)], OPTICS)
    unknown = replace(molecule(), atomic_numbers=torch.zeros(200, dtype=torch.int64))
    with pytest.raises(InputError, match="scattering factor"):
        prepare_specimens([Source(structure=unknown)], OPTICS)
    with pytest.raises(InputError, match="does not fit"):
        prepare_specimens([Source(structure=molecule())], OPTICS, box=16)
    with pytest.raises(InputError, match="voxels of 3"):
        prepare_specimens([Source(structure=Volume(voxels=torch.rand(8, 8, 8), voxel_size=3.0))], OPTICS)
    with pytest.raises(InputError, match="constant"):
        prepare_specimens([Source(structure=Volume(voxels=torch.ones(8, 8, 8), voxel_size=1.7))], OPTICS)
    with pytest.raises(UsageError, match="weight"):
        prepare_specimens([Source(structure=molecule(), weight=0.0)], OPTICS)
    with pytest.raises(UsageError, match="this one is rigid"):
        prepare_specimens([Source(structure=molecule())], OPTICS, hinge_spread=0.1)
    with pytest.raises(UsageError, match="at least one"):
        prepare_specimens([], OPTICS)


@pytest.mark.parametrize(("length", "expected"), [(1, 2), (7, 8), (13, 16), (129, 144), (200, 200), (243, 250)])
def test_fast_sides(length, expected):
    assert fast_length_from(length) == expected


def test_a_single_atom_has_a_size():
    one = Atoms(
        positions=torch.zeros(1, 3), atomic_numbers=torch.tensor([6]), b_factors=torch.full((1,), 20.0), occupancies=torch.ones(1)
    )
    assert prepare_specimens([Source(structure=one)], OPTICS).states[0].radius == pytest.approx(1.7)


def test_a_structure_larger_than_the_field_is_refused_before_its_potential_is_made():
    far = replace(molecule(), positions=molecule().positions + torch.linspace(0, 1e6, 200)[:, None])
    with pytest.raises(InputError, match=r"“far” is .* Å across and larger than the field of 500 Å"):
        require_field([Source(structure=molecule()), Source(structure=far, name="far")], field=500.0, pixel_size=1.7)
