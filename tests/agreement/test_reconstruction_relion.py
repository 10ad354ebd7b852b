"""RELION's projections, reconstructions and Fourier shell correlations beside ours, on an asymmetric map (RELION 3.1.3, even boxes)."""

import math
import subprocess
from dataclasses import replace

import pytest
import torch

from cryowalk.data import Defocus, ImageStack, Optics, ParticleSet, Pose, Volume
from cryowalk.fourier.filters import shift_phases
from cryowalk.fourier.grids import frequency_grid, shell_index
from cryowalk.fourier.slices import extract_by_definition, extract_slices, prepare_volume
from cryowalk.fourier.transform import to_fourier, to_real
from cryowalk.geometry.sampling import random_rotations
from cryowalk.io.maps import read_map, write_map
from cryowalk.io.mrc import MrcStackReader, write_array
from cryowalk.io.relion import read_particles, write_particles
from cryowalk.io.stacks import image_names
from cryowalk.microscope.lens import aberration_phase, contrast_transfer, per_image
from cryowalk.reconstruction import ReconstructionSettings, reconstruct_with_full_map
from cryowalk.validation import compare_maps, spherical_mask

pytestmark = pytest.mark.agreement
PIXEL_SIZE = 2.1
COUNT = 700


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(relion, program, *arguments) -> str:
    return subprocess.run([relion / program, *arguments], check=True, capture_output=True, text=True).stdout


def blobs(box: int) -> Volume:
    g = torch.Generator().manual_seed(5)
    axis = (torch.arange(box, dtype=torch.float64) - box // 2) / box
    voxels = torch.zeros(box, box, box, dtype=torch.float64)
    for number in range(14):
        centre = torch.randn(3, generator=g, dtype=torch.float64)
        centre *= (0.05 + 0.15 * number / 14) / centre.norm()
        width = 0.02 + 0.02 * float(torch.rand(1, generator=g))
        x, y, z = (torch.exp(-((axis - c) ** 2) / (2 * width**2)) for c in centre)
        voxels += (1 + number % 3) * z[:, None, None] * y[:, None] * x
    return Volume(voxels=voxels.float(), voxel_size=PIXEL_SIZE)


def particles(count: int) -> ParticleSet:
    g = torch.Generator().manual_seed(6)
    major = 8000 + 8000 * torch.rand(count, generator=g, dtype=torch.float64)
    return ParticleSet(
        optics=(Optics(pixel_size=PIXEL_SIZE),),
        optics_index=torch.zeros(count, dtype=torch.long),
        pose=Pose(
            lab_from_particle=random_rotations(count, generator=g),
            shift=4 * torch.randn(count, 2, generator=g, dtype=torch.float64),
        ),
        defocus=Defocus(
            major=major,
            minor=major - 600 * torch.rand(count, generator=g, dtype=torch.float64),
            azimuth=math.pi * torch.rand(count, generator=g, dtype=torch.float64),
            phase_shift=torch.zeros(count, dtype=torch.float64),
        ),
        half=torch.arange(count) % 2 + 1,
    )


def our_images(volume: Volume, chosen: ParticleSet, *, ctf: bool) -> torch.Tensor:
    box = volume.voxels.shape[-1]
    factor = contrast_transfer(chosen.optics[0], chosen.defocus, size=(box, box)).float() if ctf else None
    slices = extract_slices(
        prepare_volume(volume), chosen.pose.lab_from_particle.float(), factor=factor, shift=chosen.pose.shift.float()
    )
    return to_real(slices, width=box)


def correlations(ours: torch.Tensor, theirs: torch.Tensor) -> torch.Tensor:
    a, b = (x.flatten(1) - x.flatten(1).mean(dim=1, keepdim=True) for x in (ours.double(), theirs.double()))
    return (a * b).sum(dim=1) / (a.norm(dim=1) * b.norm(dim=1))


@pytest.mark.parametrize("ctf", [False, True])
@pytest.mark.parametrize("box", [48, 60])
def test_relion_projects_our_map_along_our_poses_as_we_do(box: int, ctf: bool, relion, folder) -> None:
    volume, chosen = blobs(box), particles(12)
    write_map(volume, folder / "map.mrc")
    write_particles(replace(chosen, image_names=tuple(f"{i + 1:06d}@none.mrcs" for i in range(12))), folder / "poses.star")
    extra = ["--ctf"] if ctf else []
    run(relion, "relion_project", "--i", "map.mrc", "--ang", "poses.star", "--o", "theirs", "--angpix", str(PIXEL_SIZE), *extra)
    theirs = MrcStackReader(folder / "theirs.mrcs").read(range(12))
    ours = our_images(volume, chosen, ctf=ctf)
    found = correlations(ours, theirs)
    assert found.min() > 0.998
    scale = (ours * theirs).sum() / theirs.square().sum()
    assert float(scale) == pytest.approx(1, abs=0.01)  # io.maps has turned ∫ dz into RELION's sum of voxels
    wrong = correlations(
        our_images(
            volume, chosen.with_pose(Pose(lab_from_particle=chosen.pose.lab_from_particle, shift=-chosen.pose.shift)), ctf=ctf
        ),
        theirs,
    )
    assert wrong.median() < 0.95


@pytest.mark.slow
def test_relion_reconstructs_our_stack_as_we_do(relion, folder) -> None:
    box = 48
    volume, chosen = blobs(box), particles(COUNT)
    images = our_images(volume, chosen, ctf=True)
    g = torch.Generator().manual_seed(9)
    images += 0.01 * images.std() * torch.randn(images.shape, generator=g)
    write_array(images, folder / "stack.mrcs", voxel_size=PIXEL_SIZE, kind="images")
    named = chosen.with_images(
        MrcStackReader(folder / "stack.mrcs"), image_names(folder / "stack.mrcs", COUNT, star=folder / "p.star")
    )
    write_particles(named, folder / "p.star")
    run(relion, "relion_reconstruct", "--i", "p.star", "--o", "theirs.mrc", "--ctf", "--sym", "C1")
    ours = reconstruct_with_full_map(read_particles(folder / "p.star")).full
    theirs = read_map(folder / "theirs.mrc")
    curve = compare_maps(ours, theirs)
    reach = int(0.8 * box / 2)
    assert curve.correlation[1 : reach + 1].min() > 0.95
    assert compare_maps(ours, volume).correlation[1 : reach + 1].min() > 0.99
    assert float((ours.voxels * theirs.voxels).sum() / theirs.voxels.square().sum()) == pytest.approx(1, abs=0.03)


@pytest.mark.slow
def test_symmetry_is_imposed_as_relion_imposes_it(relion, folder) -> None:
    box = 48
    volume, chosen = blobs(box), particles(200)
    images = our_images(volume, chosen, ctf=True)
    write_array(images, folder / "stack.mrcs", voxel_size=PIXEL_SIZE, kind="images")
    named = chosen.with_images(
        MrcStackReader(folder / "stack.mrcs"), image_names(folder / "stack.mrcs", 200, star=folder / "p.star")
    )
    write_particles(named, folder / "p.star")
    for symmetry in ("C3", "D2"):
        run(relion, "relion_reconstruct", "--i", "p.star", "--o", "theirs.mrc", "--ctf", "--sym", symmetry)
        ours = reconstruct_with_full_map(named, ReconstructionSettings(symmetry=symmetry)).full
        theirs = read_map(folder / "theirs.mrc")
        assert compare_maps(ours, theirs, mask=spherical_mask(ours, radius=36.0)).correlation[1:13].min() > 0.95
        assert compare_maps(ours, volume).correlation[4:10].max() < 0.9  # the asymmetric blobs themselves are another map


@pytest.mark.parametrize("box", [32, 40])
def test_our_shell_correlation_is_relions(box: int, relion, folder) -> None:
    g = torch.Generator().manual_seed(3)
    noise = [torch.randn(box, box, box, generator=g) for _ in range(2)]
    first, second = (Volume(voxels=blobs(box).voxels + 0.3 * n, voxel_size=PIXEL_SIZE) for n in noise)
    write_map(first, folder / "a.mrc")
    write_map(second, folder / "b.mrc")
    said = run(relion, "relion_image_handler", "--i", "a.mrc", "--fsc", "b.mrc", "--angpix", str(PIXEL_SIZE))
    rows = [line.split() for line in said.splitlines() if line.strip() and line.split()[0].isdigit()]
    theirs = torch.tensor([float(row[3]) for row in rows])[: box // 2 + 1]
    # RELION sums the stored half transform: the plane kx = 0 holds both members of its Friedel pairs and so weighs twice.
    one, other = (to_fourier(volume.voxels, dimensions=3) for volume in (first, second))
    shell = shell_index((box, box, box)).flatten()

    def summed(values: torch.Tensor) -> torch.Tensor:
        return torch.zeros(int(shell.max()) + 1).index_add(0, shell, values.flatten())[: len(theirs)]

    as_relion = summed((one * other.conj()).real) / (summed(one.abs().square()) * summed(other.abs().square())).sqrt()
    assert (as_relion - theirs)[1:].abs().max() < 1e-4
    ours = compare_maps(first, second).correlation[: len(theirs)]
    spread = (1 - theirs**2).clamp_min(1e-3) / (2 * math.pi * torch.arange(len(theirs)).clamp_min(1) ** 2).sqrt()
    assert ((ours - theirs) / spread)[1:].abs().max() < 1  # the difference is a part of the sampling error


def test_the_stack_that_relion_reads_is_the_one_we_wrote(relion, folder) -> None:
    images = ImageStack(pixels=torch.randn(4, 20, 20, generator=torch.Generator().manual_seed(1)), pixel_size=PIXEL_SIZE)
    write_array(images.pixels, folder / "stack.mrcs", voxel_size=PIXEL_SIZE, kind="images")
    run(relion, "relion_image_handler", "--i", "stack.mrcs", "--o", "again.mrcs", "--multiply_constant", "1")
    assert torch.equal(MrcStackReader(folder / "again.mrcs").read(range(4)), images.pixels)


def curved_images(volume: Volume, chosen: ParticleSet) -> torch.Tensor:
    """[e^(iγ) F(k, −s) − e^(−iγ) F(k, +s)] / 2i of each image, moved to its place, s = λk²/2."""
    optics, box = chosen.optics[0], volume.voxels.shape[-1]
    kx, ky = frequency_grid((box, box), pixel_size=PIXEL_SIZE, dtype=torch.float64)
    sag = optics.wavelength * (kx**2 + ky**2) / 2 * box * PIXEL_SIZE
    phase = aberration_phase(kx, ky, optics=optics, defocus=per_image(chosen.defocus)) + math.asin(optics.amplitude_contrast)
    reference = prepare_volume(volume, padding=2, stretch=1.2)
    below, above = (extract_by_definition(reference, chosen.pose.lab_from_particle, height=sign * sag) for sign in (-1, 1))
    turn = torch.polar(torch.ones_like(phase), phase)
    spectra = (turn * below - turn.conj() * above) / 2j * shift_phases((box, box), chosen.pose.shift, pixel_size=PIXEL_SIZE)
    return to_real(spectra, width=box).float()


@pytest.mark.slow
def test_relion_corrects_the_ewald_sphere_as_we_do(relion, folder) -> None:
    """Of images with curvature its maps are as good as ours, with either sign: 0.983 and 0.982 with the right one, 0.972 and 0.970 with the wrong one."""
    box, count = 48, 400
    volume, chosen = blobs(box), particles(count)
    slow = replace(chosen, optics=(Optics(pixel_size=PIXEL_SIZE, voltage_kv=1.0, spherical_aberration_mm=0.0),))
    stack = folder / "curved.mrcs"
    write_array(curved_images(volume, slow), stack, voxel_size=PIXEL_SIZE, kind="images")
    slow = slow.with_images(MrcStackReader(stack), image_names(stack, count, star=folder / "curved.star"))
    write_particles(slow, folder / "curved.star")
    diameter = 0.5 * box * PIXEL_SIZE
    fine = {}
    for name, extra in (("on", ()), ("reversed", ("--reverse_curvature",))):
        arguments = (
            "--i",
            "curved.star",
            "--o",
            f"{name}.mrc",
            "--ctf",
            "--ewald",
            "--mask_diameter",
            f"{diameter}",
            "--skip_mask",
        )
        run(relion, "relion_reconstruct", *arguments, *extra)
        ours = reconstruct_with_full_map(slow, ReconstructionSettings(ewald=name, diameter=diameter)).full
        for who, found in (("ours", ours), ("theirs", read_map(folder / f"{name}.mrc"))):
            fine[who, name] = float(compare_maps(found, volume).correlation[14:20].mean())
    # RELION's z runs against the beam: its default is our reversed curvature.
    assert fine["ours", "on"] > fine["ours", "reversed"] + 0.005
    assert fine["ours", "on"] == pytest.approx(fine["theirs", "reversed"], abs=0.004)
    assert fine["ours", "reversed"] == pytest.approx(fine["theirs", "on"], abs=0.004)
