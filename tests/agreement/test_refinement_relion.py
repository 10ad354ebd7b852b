"""RELION 3.1.3 goes on from iterations that we wrote: from its own read and written again, and from states of ours that it never saw."""

import math
import os
import shutil
import subprocess
from pathlib import Path

import pytest
import torch

from cryowalk.data import Defocus, ImageStack, Optics, ParticleSet, Pose, Volume
from cryowalk.fourier.shells import shell_average
from cryowalk.fourier.slices import extract_slices, prepare_volume
from cryowalk.fourier.transform import to_real
from cryowalk.geometry.rotations import geodesic_distance, matrix_about_axis
from cryowalk.geometry.sampling import random_rotations
from cryowalk.io import (
    MrcStackReader,
    RefinementModel,
    RefinementOptions,
    RefinementSampling,
    RefinementState,
    groups_of,
    read_iteration,
    read_particles,
    read_star,
    write_array,
    write_iteration,
    write_map,
    write_particles,
)
from cryowalk.io.relion_refinement_directions import kept_pixels
from cryowalk.io.stacks import image_names
from cryowalk.microscope.lens import contrast_transfer

pytestmark = [pytest.mark.agreement, pytest.mark.slow]
BOX, PIXEL_SIZE, COUNT, NOISE = 32, 5.3, 120, 25.0
DIAMETER = 130.0


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*arguments: object) -> None:
    """The program's work, its output shown where it fails."""
    environment = {**os.environ, "OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
    ended = subprocess.run([str(a) for a in arguments], capture_output=True, text=True, env=environment, timeout=300)
    assert ended.returncode == 0, ended.stderr[-1500:]


def density() -> Volume:
    """Blobs within 55 Å of the middle, of no symmetry, in V."""
    g = torch.Generator().manual_seed(5)
    axis = (torch.arange(BOX, dtype=torch.float64) - BOX // 2) * PIXEL_SIZE
    voxels = torch.zeros(BOX, BOX, BOX, dtype=torch.float64)
    for number in range(9):
        centre = torch.randn(3, generator=g, dtype=torch.float64)
        centre *= (12 + 34 * number / 9) / centre.norm()
        x, y, z = (torch.exp(-((axis - c) ** 2) / (2 * 9.0**2)) for c in centre)
        voxels += (4 + 4 * (number % 3)) * z[:, None, None] * y[:, None] * x
    return Volume(voxels=voxels.float(), voxel_size=PIXEL_SIZE)


def images_of(chosen: ParticleSet, *, noise: float) -> torch.Tensor:
    factor = contrast_transfer(chosen.optics[0], chosen.defocus, size=(BOX, BOX)).float()
    pose = chosen.pose.to(torch.float32)
    clean = to_real(extract_slices(prepare_volume(density()), pose.lab_from_particle, factor=factor, shift=pose.shift), width=BOX)
    return clean + noise * torch.randn(clean.shape, generator=torch.Generator().manual_seed(9))


def stack(folder: Path, rotations: torch.Tensor, *, micrographs: tuple[str, ...] = ()) -> ParticleSet:
    """Particles in these orientations with CTF, shifts and white noise, written to p.star and read from it."""
    g = torch.Generator().manual_seed(6)
    count = len(rotations)
    major = 8000 + 8000 * torch.rand(count, generator=g, dtype=torch.float64)
    chosen = ParticleSet(
        optics=(Optics(pixel_size=PIXEL_SIZE),),
        optics_index=torch.zeros(count, dtype=torch.long),
        pose=Pose(lab_from_particle=rotations, shift=4 * torch.randn(count, 2, generator=g, dtype=torch.float64)),
        defocus=Defocus(major=major, minor=major - 100, azimuth=torch.zeros_like(major), phase_shift=torch.zeros_like(major)),
        half=torch.arange(count) % 2 + 1,
        class_number=torch.ones(count, dtype=torch.long),
        micrograph_names=tuple(micrographs[row % len(micrographs)] for row in range(count)) if micrographs else (),
    )
    write_array(images_of(chosen, noise=NOISE), folder / "p.mrcs", voxel_size=PIXEL_SIZE, kind="images")
    named = chosen.with_images(MrcStackReader(folder / "p.mrcs"), image_names(folder / "p.mrcs", count, star=folder / "p.star"))
    write_particles(named, folder / "p.star")
    return read_particles(folder / "p.star")


def rotations() -> torch.Tensor:
    return random_rotations(COUNT, generator=torch.Generator().manual_seed(8))


def same_numbers(one: Path, other: Path) -> None:
    """Equal tables but for names of files, numbers within 2e-5 of the largest of their column."""
    first, second = read_star(one), read_star(other)
    assert [block.name for block in first.blocks] == [block.name for block in second.blocks]
    for a, b in zip(first.blocks, second.blocks, strict=True):
        assert list(a.columns) == list(b.columns)
        for label in a.columns:
            if label in ("rlnReferenceImage", "rlnImageName", "rlnMicrographName", "rlnGroupName", "rlnOpticsGroupName"):
                continue
            x, y = (torch.tensor([float(v) for v in block.columns[label]], dtype=torch.float64) for block in (a, b))
            assert torch.equal(x.isfinite(), y.isfinite()), label  # RELION writes inf and nan for what it does not know
            x, y = (torch.where(v.isfinite(), v, 0.0) for v in (x, y))
            assert (x - y).abs().max() <= 2e-5 * x.abs().max() + 2e-6, (a.name, label)
        for label in a.values:
            if not label.endswith(("Name", "StarFile", "StarFile2")):
                assert float(a.values[label]) == pytest.approx(float(b.values[label]), rel=1e-5), label


COMMON = (
    "--ctf",
    "--norm",
    "--scale",
    "--particle_diameter",
    DIAMETER,
    "--zero_mask",
    "--random_seed",
    7,
    "--j",
    1,
    "--dont_check_norm",
)


@pytest.mark.parametrize("micrographs", [(), ("b.mrc", "a.mrc", "c.mrc")])
def test_classes_read_and_written_again_go_on_as_relions_own(micrographs, relion, folder) -> None:
    stack(folder, rotations(), micrographs=micrographs)
    for name in ("theirs", "from_theirs", "from_ours"):
        (folder / name).mkdir()
    where = ("--psi_step", 24, "--offset_range", 3, "--offset_step", 2, "--tau2_fudge", 2, "--oversampling", 0)
    run(relion / "relion_refine", "--i", "p.star", "--o", "theirs/run", "--K", 3, "--iter", 1, *where, *COMMON)
    (folder / "ours").mkdir()
    write_iteration(read_iteration("theirs/run_it001_optimiser.star"), "ours/run")
    for name in ("theirs", "ours"):
        run(
            relion / "relion_refine",
            "--continue",
            f"{name}/run_it001_optimiser.star",
            "--o",
            f"from_{name}/run",
            "--iter",
            2,
            "--j",
            1,
        )
    for table in ("data", "model"):
        same_numbers(folder / f"from_theirs/run_it002_{table}.star", folder / f"from_ours/run_it002_{table}.star")
    after = read_iteration("from_ours/run_it002_optimiser.star")
    assert after.iteration == 2
    assert len(groups_of(after.particles)[0]) == max(len(micrographs), 1) == after.models[0].noise.shape[0]


@pytest.mark.parametrize("symmetry", ["C1", "D2"])
def test_a_map_read_and_written_again_goes_on_as_relions_own(symmetry: str, relion, folder) -> None:
    stack(folder, rotations())
    write_map(density(), folder / "reference.mrc")
    for name in ("theirs", "ours", "from_theirs", "from_ours"):
        (folder / name).mkdir()
    where = ("--healpix_order", 1, "--offset_range", 2, "--offset_step", 2, "--oversampling", 0, "--pad", 1, "--sym", symmetry)
    run(
        *(
            relion / "relion_refine",
            "--i",
            "p.star",
            "--o",
            "theirs/run",
            "--ref",
            "reference.mrc",
            "--iter",
            1,
            "--ini_high",
            30,
        ),
        *where,
        *COMMON,
    )
    state = read_iteration("theirs/run_it001_optimiser.star")
    assert state.sampling.symmetry == symmetry
    assert state.sampling.psi_step == pytest.approx(math.radians(30))
    write_iteration(state, "ours/run")
    for name in ("theirs", "ours"):
        run(
            relion / "relion_refine",
            "--continue",
            f"{name}/run_it001_optimiser.star",
            "--o",
            f"from_{name}/run",
            "--iter",
            2,
            "--j",
            1,
        )
    for table in ("data", "model"):
        same_numbers(folder / f"from_theirs/run_it002_{table}.star", folder / f"from_ours/run_it002_{table}.star")


def test_auto_refinement_of_half_sets_goes_on_from_ours(relion, folder) -> None:
    if shutil.which("mpirun") is None or not (relion / "relion_refine_mpi").is_file():
        pytest.skip("auto-refinement of half sets needs mpirun and relion_refine_mpi")
    stack(folder, rotations())
    write_map(density(), folder / "reference.mrc")
    for name in ("theirs", "ours", "from_theirs", "from_ours"):
        (folder / name).mkdir()
    parallel = ("mpirun", "--oversubscribe", "-n", 3, relion / "relion_refine_mpi")
    where = (
        "--healpix_order",
        1,
        "--offset_range",
        2,
        "--offset_step",
        2,
        "--oversampling",
        0,
        "--pad",
        1,
        "--low_resol_join_halves",
        40,
    )
    given = (
        "--i",
        "p.star",
        "--ref",
        "reference.mrc",
        "--ini_high",
        30,
        "--auto_refine",
        "--split_random_halves",
        "--auto_iter_max",
        1,
    )
    run(*parallel, "--o", "theirs/run", *given, *where, *COMMON)
    state = read_iteration("theirs/run_it001_optimiser.star")
    assert len(state.models) == 2
    assert state.options.is_automatic
    assert state.options.join_resolution == 40
    write_iteration(state, "ours/run")
    for name in ("theirs", "ours"):
        run(
            *parallel, "--continue", f"{name}/run_it001_optimiser.star", "--o", f"from_{name}/run", "--auto_iter_max", 2, "--j", 1
        )
    for table in ("data", "half1_model", "half2_model"):
        same_numbers(folder / f"from_theirs/run_it002_{table}.star", folder / f"from_ours/run_it002_{table}.star")


def model_of_truth(references: ImageStack | tuple[Volume, ...], power: torch.Tensor) -> RefinementModel:
    """What would be known if the references were the truth: white noise, and their power as the signal's."""
    classes = len(power)
    return RefinementModel(
        references=references,
        distribution=torch.full((classes,), 1 / classes),
        noise=torch.full((1, BOX // 2 + 1), NOISE**2 / 2),
        signal=power,
        reference_noise=torch.full_like(power, NOISE**2 / COUNT),
        shift_deviation=4.0,
    )


def power_of(images: torch.Tensor) -> torch.Tensor:
    """Variance of each real component of the orthonormal transforms, in shells."""
    spectra = torch.fft.rfft2(images, norm="ortho")
    return shell_average(spectra.abs().square(), size=(BOX, BOX)) / 2


def test_relion_goes_on_from_a_map_and_noise_that_it_never_saw(relion, folder) -> None:
    """The scales of map, noise and angles at once: with the true map RELION finds the true orientations, noise and map again."""
    chosen = rotations()[:40]
    truth = stack(folder, chosen)
    g = torch.Generator().manual_seed(3)
    lost = truth.with_pose(
        Pose(lab_from_particle=random_rotations(40, generator=g), shift=torch.zeros(40, 2, dtype=torch.float64))
    )
    clean = to_real(extract_slices(prepare_volume(density()), chosen.float()), width=BOX)
    state = RefinementState(
        iteration=4,
        particles=lost,
        models=(model_of_truth((density(),), power_of(clean).mean(dim=0, keepdim=True)),),
        sampling=RefinementSampling(order=2, psi_step=math.radians(15), shift_range=5.3, shift_step=5.3, oversampling=0),
        options=RefinementOptions(iterations=5, diameter=DIAMETER, padding=1.0, has_zero_mask=False),
        resolution=20.0,
        current_size=BOX,
    )
    write_iteration(state, "run")
    (folder / "next").mkdir()
    run(relion / "relion_refine", "--continue", "run_it004_optimiser.star", "--o", "next/run", "--iter", 5, "--j", 1)
    after = read_iteration("next/run_it005_optimiser.star")
    order = [after.particles.image_names.index(name) for name in truth.image_names]
    apart = geodesic_distance(after.particles.pose.lab_from_particle[order], chosen)
    assert float(apart.median()) < math.radians(12)  # the grid's spacing is 15°
    assert float((after.particles.pose.shift[order] - truth.pose.shift).norm(dim=-1).median()) < 5.3
    outer = after.models[0].noise[0, 8:14]
    torch.testing.assert_close(outer, torch.full_like(outer, NOISE**2 / 2), rtol=0.15, atol=0)
    found = after.models[0].references[0].voxels
    slope = float((found * density().voxels).sum() / density().voxels.square().sum())
    assert 0.6 < slope < 1.1  # regularised, of orientations on a coarse grid
    assert after.statistics.max_probability.median() > 0.3


def test_relion_goes_on_from_class_averages_that_it_never_saw(relion, folder) -> None:
    """The scale of averages and the angles in the plane: with two true views RELION tells them apart and turns each image rightly."""
    views = random_rotations(2, generator=torch.Generator().manual_seed(21))
    g = torch.Generator().manual_seed(22)
    kind = (torch.rand(COUNT, generator=g) < 0.5).long()
    turn = 2 * math.pi * torch.rand(COUNT, generator=g, dtype=torch.float64)
    in_plane = matrix_about_axis(turn, axis="z")
    truth = stack(folder, in_plane @ views[kind])
    averages = to_real(extract_slices(prepare_volume(density()), views.float()), width=BOX)
    still = torch.eye(3, dtype=torch.float64).expand(COUNT, 3, 3)
    state = RefinementState(
        iteration=1,
        particles=truth.with_pose(Pose(lab_from_particle=still, shift=torch.zeros(COUNT, 2, dtype=torch.float64))),
        models=(model_of_truth(ImageStack(pixels=averages, pixel_size=PIXEL_SIZE), power_of(averages)),),
        sampling=RefinementSampling(order=None, psi_step=math.radians(10), shift_range=10.6, shift_step=5.3, oversampling=1),
        options=RefinementOptions(iterations=2, diameter=DIAMETER, has_zero_mask=False),
        resolution=20.0,
        current_size=BOX,
    )
    write_iteration(state, "run")
    (folder / "next").mkdir()
    run(relion / "relion_refine", "--continue", "run_it001_optimiser.star", "--o", "next/run", "--iter", 2, "--j", 1)
    after = read_iteration("next/run_it002_optimiser.star")
    order = [after.particles.image_names.index(name) for name in truth.image_names]
    assert float((after.particles.class_number[order] - 1 == kind).double().mean()) > 0.95
    apart = geodesic_distance(after.particles.pose.lab_from_particle[order], in_plane)
    assert float(apart.median()) < math.radians(6)
    found = after.models[0].references.pixels
    slope = float((found * averages).sum() / averages.square().sum())
    assert 0.8 < slope < 1.1
    outer = after.models[0].noise[0, 8:14]
    torch.testing.assert_close(outer, torch.full_like(outer, NOISE**2 / 2), rtol=0.15, atol=0)


@pytest.mark.parametrize(("symmetry", "orders"), [("C3", (1, 2, 4)), ("D7", (2, 3)), ("O", (2, 3)), ("I", (3,)), ("C2", (2,))])
def test_the_directions_kept_under_a_symmetry_are_as_many_as_relions(
    symmetry: str, orders: tuple[int, ...], relion, folder
) -> None:
    stack(folder, rotations()[:4])
    write_map(density(), folder / "reference.mrc")
    (folder / "grid").mkdir()
    for order in orders:
        where = (
            "--healpix_order",
            order,
            "--offset_range",
            1,
            "--offset_step",
            2,
            "--oversampling",
            0,
            "--pad",
            1,
            "--sym",
            symmetry,
        )
        run(
            *(
                relion / "relion_refine",
                "--i",
                "p.star",
                "--o",
                f"grid/run{order}",
                "--ref",
                "reference.mrc",
                "--iter",
                0,
                "--ini_high",
                60,
            ),
            *where,
            *COMMON,
        )
        theirs = len(read_star(folder / f"grid/run{order}_it000_model.star")["model_pdf_orient_class_1"])
        assert len(kept_pixels(order, symmetry)) == theirs, order
