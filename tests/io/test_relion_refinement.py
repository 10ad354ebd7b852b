"""Iterations written as RELION's files and read back: every field, RELION's scales by closed form, and states and files that do not fit."""

import math
import re
from dataclasses import fields, replace

import pytest
import torch

from cryowalk.core.errors import InputError, ShapeError
from cryowalk.data import Defocus, ImageStack, Optics, ParticleSet, Pose, Volume
from cryowalk.geometry.rotations import matrix_from_euler
from cryowalk.io import (
    ParticleStatistics,
    RefinementModel,
    RefinementOptions,
    RefinementProgress,
    RefinementSampling,
    RefinementState,
    describe,
    groups_of,
    noise_of_groups,
    read_array,
    read_iteration,
    read_star,
    write_iteration,
)
from cryowalk.io.relion_refinement_directions import kept_pixels

BOX, PIXEL_SIZE, CLASSES, COUNT = 18, 2.3, 3, 10
SHELLS = BOX // 2 + 1


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def particles(*, micrographs: tuple[str, ...] = ("b.mrc", "a b.mrc", "c.mrc")) -> ParticleSet:
    g = torch.Generator().manual_seed(1)
    angles = torch.rand(COUNT, 3, generator=g, dtype=torch.float64) * 3
    return ParticleSet(
        optics=(Optics(pixel_size=PIXEL_SIZE), Optics(pixel_size=PIXEL_SIZE, voltage_kv=200.0, name="other")),
        optics_index=torch.arange(COUNT) % 2,
        images=ImageStack(pixels=torch.randn(COUNT, BOX, BOX, generator=g), pixel_size=PIXEL_SIZE),
        pose=Pose(lab_from_particle=matrix_from_euler(angles), shift=torch.randn(COUNT, 2, generator=g, dtype=torch.float64)),
        defocus=Defocus(**{name: torch.full((COUNT,), 9000.0).double() for name in ("major", "minor")}, azimuth=torch.zeros(COUNT), phase_shift=torch.zeros(COUNT)),
        half=torch.arange(COUNT) % 2 + 1,
        class_number=torch.arange(COUNT) % CLASSES + 1,
        micrograph_names=tuple(micrographs[row % len(micrographs)] for row in range(COUNT)) if micrographs else (),
        extra={"rlnSomethingNew": tuple("007" for _ in range(COUNT))},
    )  # fmt: skip


def model(*, solid: bool, groups: int, seed: int = 2) -> RefinementModel:
    g = torch.Generator().manual_seed(seed)
    classes = 1 if solid else CLASSES

    def positive(*shape: int) -> torch.Tensor:
        return 0.1 + torch.rand(*shape, generator=g, dtype=torch.float64)

    volume = Volume(voxels=torch.randn(BOX, BOX, BOX, generator=g), voxel_size=PIXEL_SIZE)
    images = ImageStack(pixels=torch.randn(classes, BOX, BOX, generator=g), pixel_size=PIXEL_SIZE)
    return RefinementModel(
        references=(volume,) if solid else images,
        distribution=torch.softmax(positive(classes), 0),
        noise=positive(groups, SHELLS),
        **{name: positive(classes, SHELLS) for name in ("signal", "reference_noise", "signal_to_noise", "shell_correlation", "completeness", "orientability")},
        resolution=positive(classes) * 20,
        accuracy_angle=positive(classes),
        accuracy_shift=positive(classes),
        mean_shift=None if solid else positive(classes, 2),
        direction_distribution=torch.softmax(positive(1, 48), -1) if solid else None,
        group_scale=positive(groups),
        shift_deviation=4.25,
        mean_norm=0.97,
        log_likelihood=-1234.5,
        mean_max_probability=0.31,
    )  # fmt: skip


def state(*, solid: bool = False, halves: bool = False, symmetry: str = "D2") -> RefinementState:
    chosen = particles()
    if solid:
        chosen = replace(chosen, class_number=torch.ones(COUNT, dtype=torch.long))
    groups = len(groups_of(chosen)[0])
    g = torch.Generator().manual_seed(4)
    return RefinementState(
        iteration=7,
        particles=chosen,
        models=tuple(model(solid=solid, groups=groups, seed=5 + half) for half in range(2 if halves else 1)),
        sampling=RefinementSampling(
            order=2 if solid else None, psi_step=math.radians(12), shift_range=9.2, shift_step=2.3, oversampling=1, perturbation=0.5, turn=-0.12,
            symmetry=symmetry if solid else "C1",
        ),
        options=RefinementOptions(iterations=25, diameter=31.5, regularisation=2.0, is_automatic=halves, seed=12, join_resolution=40.0 if halves else None, has_norm_correction=True),
        resolution=11.5,
        current_size=14,
        statistics=ParticleStatistics(
            log_likelihood=torch.randn(COUNT, generator=g, dtype=torch.float64) * 1000, max_probability=torch.rand(COUNT, generator=g, dtype=torch.float64),
            significant=torch.arange(COUNT), norm=torch.rand(COUNT, generator=g, dtype=torch.float64),
        ),
        progress=RefinementProgress(angle_change=0.2, shift_change=1.5, class_change=0.25, smallest_angle_change=0.1, smallest_shift_change=1.0, best_resolution=10.0, iterations_without_gain=2),
    )  # fmt: skip


def assert_same(one: object, other: object, *, name: str = "") -> None:
    if isinstance(one, torch.Tensor):
        torch.testing.assert_close(other.to(one.dtype), one, rtol=1e-6, atol=1e-6, msg=lambda m: f"{name}: {m}")
    elif isinstance(one, tuple):
        assert len(one) == len(other), name
        for first, second in zip(one, other, strict=True):
            assert_same(first, second, name=name)
    elif hasattr(one, "__dataclass_fields__") and not isinstance(one, ParticleSet):
        for entry in fields(one):
            assert_same(getattr(one, entry.name), getattr(other, entry.name), name=f"{name}.{entry.name}")
    elif isinstance(one, float):
        assert other == pytest.approx(one, rel=1e-6), name
    elif not isinstance(one, ParticleSet):
        assert one == other, name


@pytest.mark.parametrize(("solid", "halves"), [(False, False), (True, False), (True, True)])
def test_an_iteration_comes_back_as_it_was(folder, solid: bool, halves: bool) -> None:
    before = state(solid=solid, halves=halves)
    written = write_iteration(before, folder / "run")
    after = read_iteration(folder / "run_it007_optimiser.star")
    assert all(path.is_file() for path in written)
    assert written[-1].name == "run_it007_optimiser.star"
    options = replace(before.progress, smallest_class_change=1.0)
    assert_same(replace(before, progress=options, particles=after.particles), after)
    assert_same(before.particles.pose, after.particles.pose)
    assert after.particles.class_number.tolist() == before.particles.class_number.tolist()
    assert after.particles.half.tolist() == before.particles.half.tolist()
    assert dict(after.particles.extra) == dict(before.particles.extra)
    assert_same(before.particles.images.pixels, after.particles.images.read(range(COUNT)))


def test_the_same_state_gives_the_same_bytes(folder) -> None:
    files = [[path.read_bytes() for path in write_iteration(state(solid=True, halves=True), folder / "run")] for _ in range(2)]
    assert files[0] == files[1]


def test_white_noise_of_deviation_one_is_relions_half_over_the_pixels(folder) -> None:
    before = state(solid=True)
    white = replace(
        before.models[0], noise=torch.full_like(before.models[0].noise, 0.5)
    )  # E|n|²/2 of orthonormal transforms of unit noise
    write_iteration(replace(before, models=(white,)), folder / "run")
    told = read_star(folder / "run_it007_model.star")
    assert float(told["model_group_1"].columns["rlnSigma2Noise"][3]) == pytest.approx(0.5 / BOX**2, rel=1e-7)
    assert told["model_general"].values["rlnPixelSize"] == "2.3"
    stored = torch.from_numpy(read_array(folder / "run_it007_class001.mrc").copy())
    torch.testing.assert_close(stored, white.references[0].voxels * PIXEL_SIZE)  # a map's scale is that of io.maps
    sampling = read_star(folder / "run_it007_sampling.star")["sampling_general"].values
    assert (sampling["rlnPsiStep"], sampling["rlnSymmetryGroup"]) == ("12", "D2")


def test_an_even_spread_of_views_stands_where_none_is_known_or_the_grid_is_another(folder) -> None:
    before = state(solid=True, symmetry="C3")
    write_iteration(before, folder / "run")  # 48 given, which is D2's
    spread = read_star(folder / "run_it007_model.star")["model_pdf_orient_class_1"].columns["rlnOrientationDistribution"]
    assert (
        len(spread)
        == len(kept_pixels(2, "C3"))
        == len(read_star(folder / "run_it007_sampling.star")["sampling_directions"])
        == 60
    )
    assert sum(map(float, spread)) == pytest.approx(1, rel=1e-6)


def test_groups_are_those_of_micrographs_in_the_order_of_their_names() -> None:
    names, group = groups_of(particles())
    assert names == ("a b.mrc", "b.mrc", "c.mrc")
    assert group.tolist()[:4] == [1, 0, 2, 1]
    assert groups_of(particles(micrographs=()))[0] == ("group",)
    named = replace(particles(), extra={"rlnGroupName": tuple("yx"[row % 2] for row in range(COUNT))})
    assert groups_of(named)[0] == ("x", "y")  # the first particle of the first micrograph, a b.mrc, is in x


def test_the_noise_of_a_group_is_the_mean_over_its_particles_optics() -> None:
    chosen = particles(micrographs=("a.mrc",))
    noise = torch.tensor([[1.0, 2.0], [3.0, 6.0]])
    assert noise_of_groups(noise, chosen).tolist() == [[2.0, 4.0]]
    alone = chosen[chosen.optics_index == 1]
    assert noise_of_groups(noise, alone).tolist() == [[3.0, 6.0]]


def test_noise_that_relion_4_keeps_for_optics_groups_is_spread_to_groups(folder) -> None:
    before = state(solid=True)
    write_iteration(before, folder / "run")
    table = folder / "run_it007_model.star"
    text = table.read_text()
    text = re.sub(r"\n# version 30001\n\ndata_model_group_3.*?(?=\n# version|\Z)", "", text, flags=re.DOTALL).replace(
        "model_group_", "model_optics_group_"
    )
    table.write_text(text)
    after = read_iteration(folder / "run_it007_optimiser.star")
    optics = before.models[0].noise[:2]
    torch.testing.assert_close(after.models[0].noise, noise_of_groups(optics, before.particles), rtol=1e-6, atol=1e-9)


def test_a_shell_that_was_left_out_takes_its_neighbours_noise_and_any_other_is_refused(folder) -> None:
    before = state(solid=True)
    noise = before.models[0].noise.clone()
    noise[:, 0] = 0
    write_iteration(replace(before, models=(replace(before.models[0], noise=noise),)), folder / "run")
    told = read_star(folder / "run_it007_model.star")["model_group_2"].columns["rlnSigma2Noise"]
    assert told[0] == told[1]
    noise[1, 4] = 0
    with pytest.raises(InputError, match="group 2 is 0 in shell 4"):
        write_iteration(replace(before, models=(replace(before.models[0], noise=noise),)), folder / "run")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda s: replace(s, particles=replace(s.particles, class_number=None)), "no classes"),
        (lambda s: replace(s, particles=replace(s.particles, pose=None)), "no poses"),
        (lambda s: replace(s, particles=replace(s.particles, class_number=torch.arange(COUNT))), "run from 0 to 9"),
        (lambda s: replace(s, models=s.models * 3), "3 models"),
        (
            lambda s: replace(s, models=s.models * 2, particles=replace(s.particles, half=torch.ones(COUNT).long())),
            "half sets 1 and 2",
        ),
        (lambda s: replace(s, sampling=replace(s.sampling, order=3)), "sampled in the plane"),
    ],
)
def test_a_state_that_does_not_fit_together_is_refused(folder, change, words: str) -> None:
    with pytest.raises(InputError, match=words):
        write_iteration(change(state()), folder / "run")
    assert not list(folder.iterdir())


def test_a_field_of_another_shape_is_refused(folder) -> None:
    before = state()
    fewer = replace(before.models[0], noise=before.models[0].noise[:2], group_scale=before.models[0].group_scale[:2])
    with pytest.raises(ShapeError, match=r"noise of the refinement has the shape \(2, 10\)"):
        write_iteration(replace(before, models=(fewer,)), folder / "run")


@pytest.mark.parametrize(
    ("name", "old", "new", "words"),
    [
        ("optimiser", "data_optimiser_general", "data_other", "no optimiser table"),
        ("optimiser", "run_it007_data.star", "run_it008_data.star", "is not there"),
        ("optimiser", "_rlnCurrentIteration", "_rlnOther", "does not say rlnCurrentIteration"),
        ("model", "run_it007_classes", "run_it008_classes", "is not there"),
        ("model", "_rlnReferenceSigma2", "_rlnReferenceSigma3", "lack rlnReferenceTau2 or rlnReferenceSigma2"),
        ("model", "data_model_group_", "data_model_grp_", "no table of noise"),
        ("model", "_rlnSigmaOffsetsAngst                 4.25", "_rlnSigmaOffsetsAngst  many", "“many”"),
    ],
)
def test_damaged_files_are_told_in_one_message(folder, name: str, old: str, new: str, words: str) -> None:
    write_iteration(state(), folder / "run")
    table = folder / f"run_it007_{name}.star"
    text = table.read_text()
    assert old in text or name == "model"
    table.write_text(re.sub(r"_rlnSigmaOffsetsAngst\s+4.25", new, text) if "Offsets" in old else text.replace(old, new))
    with pytest.raises(InputError, match=words):
        read_iteration(folder / "run_it007_optimiser.star")


def test_what_relion_does_not_know_is_nought_or_without_end(folder) -> None:
    write_iteration(state(), folder / "run")
    table = folder / "run_it007_model.star"
    block = read_star(table)["model_class_2"]
    table.write_text(table.read_text().replace(block.columns["rlnFourierCompleteness"][3], "-nan", 1))
    model_read = read_iteration(folder / "run_it007_optimiser.star").models[0]
    assert model_read.completeness[1, 3] == 0
    assert model_read.completeness[1, 4] > 0


def test_its_tables_are_described_in_words_and_numbers(folder) -> None:
    write_iteration(state(solid=True, halves=True), folder / "run")
    wanted = {
        "optimiser": ("iteration 7 of 25, automatic refinement", "diameter 31.5 Å, two half sets"),
        "half2_model": ("1 map of 18 px at 2.3 Å, resolution 11.5 Å", "shares of the particles: 100.0%"),
        "sampling": ("HEALPix order 2, symmetry D2", "steps of 12° in the plane; shifts to 9.2 Å in steps of 2.3 Å"),
        "data": ("particles (RELION STAR)",),
    }
    for name, words in wanted.items():
        told = str(describe(folder / f"run_it007_{name}.star"))
        assert all(word in told for word in words), told
