"""cryoSPARC's records through our particles and back: bits that nothing changed stay, changes are written in cryoSPARC's conventions, columns in order."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from cryosparc_files import records, saved
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some
from io_files import particle_set, stack
from scipy.spatial.transform import Rotation

from cryowalk.core.errors import CryowalkWarning, InputError
from cryowalk.io.cryosparc import read_components, read_cryosparc, write_cryosparc
from cryowalk.io.cryosparc_columns import CryosparcColumns, field_of, label_of, text_field, texts_of, values_of
from cryowalk.io.cryosparc_records import merge_records, read_records, write_records
from cryowalk.io.cryosparc_writer import records_from_particles
from cryowalk.io.relion import read_particles, write_particles

KINDS = {
    "3D": {},
    "2D": {"flat": True},
    "classes": {"classes": 3},
    "stacked classes": {"classes": 2, "stacked": True},
    "no picks": {"picks": False},
}


@pytest.mark.parametrize("kind", KINDS)
def test_records_that_nothing_changed_come_out_bit_by_bit(tmp_path, kind) -> None:
    rows = records(count=9, **KINDS[kind])
    particles = read_cryosparc(saved(tmp_path / "p.cs", rows))
    write_cryosparc(particles, tmp_path / "q.cs")
    assert read_records(tmp_path / "q.cs").dtype == rows.dtype
    assert read_records(tmp_path / "q.cs").tobytes() == rows.tobytes()
    order = [7, 0, 3]
    assert records_from_particles(particles[order]).tobytes() == rows[order].tobytes()


@pytest.mark.agreement
@pytest.mark.parametrize("name", ["cryosparc_P12_J24_001_particles.cs", "empiar_10076_7.cs"])
def test_real_records_come_out_bit_by_bit(real_data, tmp_path, name) -> None:
    rows = read_records(real_data / "interop" / name)
    write_cryosparc(read_cryosparc(real_data / "interop" / name), tmp_path / "q.cs")
    assert np.load(tmp_path / "q.cs").dtype == rows.dtype
    assert np.load(tmp_path / "q.cs").tobytes() == rows.tobytes()


def test_only_what_changed_is_written_anew(tmp_path) -> None:
    rows = records(count=8)
    particles = read_cryosparc(saved(tmp_path / "p.cs", rows))
    turned = particles.pose.lab_from_particle.clone()
    turned[2] = torch.from_numpy(Rotation.from_rotvec([0.3, -0.2, 0.9]).as_matrix().T.copy())
    shift = particles.pose.shift.clone()
    shift[5] = torch.tensor([3.0, -7.0], dtype=torch.float64)
    half = particles.half.clone()
    half[1] = 3 - half[1]
    changed = replace(particles, pose=replace(particles.pose, lab_from_particle=turned, shift=shift), half=half)
    out = records_from_particles(changed)
    assert out.dtype == rows.dtype
    np.testing.assert_allclose(out["alignments3D/pose"][2], [0.3, -0.2, 0.9], atol=1e-6)
    np.testing.assert_allclose(out["alignments3D/shift"][5], np.array([-3.0, 7.0]) / rows["alignments3D/psize_A"][5], rtol=1e-6)
    assert out["alignments3D/split"][1] == 1 - rows["alignments3D/split"][1]
    rest = out.copy()
    for name, row in (("alignments3D/pose", 2), ("alignments3D/shift", 5), ("alignments3D/split", 1)):
        rest[name][row] = rows[name][row]
    assert rest.tobytes() == rows.tobytes()


def test_new_poses_of_classes_become_one_alignment(tmp_path) -> None:
    particles = read_cryosparc(saved(tmp_path / "p.cs", records(count=5, classes=2)))
    moved = particles.with_pose(replace(particles.pose, shift=particles.pose.shift + 1.0))
    again = read_cryosparc(_written(moved, tmp_path))
    torch.testing.assert_close(again.pose.shift, moved.pose.shift, atol=1e-5, rtol=1e-6)
    torch.testing.assert_close(again.pose.lab_from_particle, moved.pose.lab_from_particle, atol=1e-6, rtol=0)
    assert again.class_number.tolist() == particles.class_number.tolist()


def _written(particles, tmp_path, **more):
    write_cryosparc(particles, tmp_path / "written.cs", **more)
    return tmp_path / "written.cs"


def test_the_likeliest_class_is_taken(tmp_path) -> None:
    rows = records(count=6, classes=3)
    posterior = np.random.default_rng(8).dirichlet([1, 1, 1], size=6)
    for k in range(3):
        rows[f"alignments_class_{k}/class_posterior"] = posterior[:, k]
    particles = read_cryosparc(saved(tmp_path / "p.cs", rows))
    best = posterior.argmax(1)
    assert particles.class_number.tolist() == (best + 1).tolist()
    vectors = np.stack([rows[f"alignments_class_{k}/pose"][i] for i, k in enumerate(best)]).astype(float)
    expected = Rotation.from_rotvec(vectors).as_matrix().transpose(0, 2, 1)
    np.testing.assert_allclose(particles.pose.lab_from_particle.numpy(), expected, atol=1e-12)
    stacked = records(count=6, classes=3, stacked=True)
    stacked["alignments3D_multi/class_posterior"] = posterior
    found = read_cryosparc(saved(tmp_path / "s.cs", stacked))
    assert found.class_number.tolist() == (best + 1).tolist()
    np.testing.assert_allclose(
        found.pose.shift.numpy(),
        -np.stack(
            [
                stacked["alignments3D_multi/shift"][i, k].astype(float) * stacked["alignments3D_multi/psize_A"][i, k]
                for i, k in enumerate(best)
            ]
        ),
    )


def test_optics_aberrations_and_places_by_closed_form(tmp_path) -> None:
    rows = records(count=6)
    particles = read_cryosparc(saved(tmp_path / "p.cs", rows))
    first, second = particles.optics
    assert (first.name, second.name) == ("opticsGroup23", "opticsGroup24")
    assert (first.pixel_size, first.spherical_aberration_mm, first.amplitude_contrast, first.micrograph_pixel_size) == (
        1.37,
        1.4,
        0.07,
        0.885,
    )
    assert first.aberrations.beam_tilt == pytest.approx((100 / 1.4e7, -250 / 1.4e7))
    assert first.aberrations.magnification == pytest.approx((1.003, -0.001, 0.002, 0.996))
    assert second.aberrations.magnification == (1, 0, 0, 1)
    x, y = rows["location/center_x_frac"].astype(float), rows["location/center_y_frac"].astype(float)
    np.testing.assert_allclose(particles.coordinates.numpy(), np.stack((300 * x, 400 * (1 - y)), 1))
    down = read_cryosparc(tmp_path / "p.cs", y_axis="down")
    np.testing.assert_allclose(down.coordinates.numpy(), np.stack((300 * x, 400 * y), 1))
    assert records_from_particles(down, y_axis="down").tobytes() == rows.tobytes()
    assert particles.extra["rlnHelicalTubeID"] == ("1", "1", "2", "2", "1", "1")


def test_columns_survive_star_and_come_back_in_their_own_type(tmp_path) -> None:
    rows = records(count=7)
    write_particles(read_cryosparc(saved(tmp_path / "p.cs", rows)), tmp_path / "p.star")
    out = records_from_particles(read_particles(tmp_path / "p.star", images="ignore"))
    names = [name for name in rows.dtype.names if name in out.dtype.names]
    assert set(names) == set(rows.dtype.names)
    exact = [
        name
        for name in names
        if name.split("/")[0]
        in ("uid", "odd", "components_mode_0", "components_mode_1", "filament", "pick_stats", "alignments3D")
    ]
    for name in (each for each in exact if each not in ("alignments3D/pose", "alignments3D/shift", "alignments3D/psize_A")):
        assert out[name].tobytes() == rows[name].tobytes(), name
    np.testing.assert_allclose(
        out["location/center_y_frac"] if "location/center_y_frac" in names else 0, rows["location/center_y_frac"], atol=1e-5
    )
    for name in ("ctf/df1_A", "ctf/tilt_A", "ctf/anisomag", "ctf/exp_group_id", "blob/psize_A", "blob/idx"):
        np.testing.assert_allclose(out[name], rows[name], rtol=2e-6, atol=1e-7)
    relative = Rotation.from_rotvec(rows["alignments3D/pose"].astype(float)).inv() * Rotation.from_rotvec(
        out["alignments3D/pose"].astype(float)
    )
    assert relative.magnitude().max() < 1e-6
    columns = read_particles(tmp_path / "p.star", images="ignore").column_order
    foreign = [field_of(label)[0] for label in columns if field_of(label)]
    kept = [name for name in rows.dtype.names if name in foreign]
    assert foreign == kept  # in the order of the records


def test_star_columns_survive_records(tmp_path) -> None:
    particles = particle_set(count=5)
    particles = replace(
        particles, images=None, image_names=tuple(f"{i + 1:06d}@a b.mrcs" for i in range(5)),
        extra={"rlnGroupName": ("007", "1e3", "", "ü x", "q"), "rlnCtfFigureOfMerit": tuple(f"0.{i}00" for i in range(5))},
        column_order=("rlnGroupName", "rlnImageName", "rlnAngleRot", "rlnCtfFigureOfMerit", "rlnDefocusU"),
    )  # fmt: skip
    with pytest.warns(CryowalkWarning, match="shapes of the micrographs") if particles.coordinates is not None else _nothing():
        path = _written(particles, tmp_path)
    again = read_cryosparc(path)
    assert again.extra["rlnGroupName"] == particles.extra["rlnGroupName"]
    assert again.extra["rlnCtfFigureOfMerit"] == particles.extra["rlnCtfFigureOfMerit"]
    np.testing.assert_allclose(read_records(path)["ctf/cross_corr_ctffind4"], [0, 0.1, 0.2, 0.3, 0.4], rtol=1e-6)
    assert again.image_names == particles.image_names
    assert [group.name for group in again.optics] == [group.name for group in particles.optics]
    torch.testing.assert_close(again.pose.lab_from_particle, particles.pose.lab_from_particle.double(), atol=1e-6, rtol=0)
    torch.testing.assert_close(again.pose.shift, particles.pose.shift.double(), atol=1e-5, rtol=1e-6)
    wanted = [label for label in particles.column_order if label != "rlnDefocusU"]
    assert [label for label in again.column_order if label in wanted] == wanted


class _nothing:
    def __enter__(self):
        return self

    def __exit__(self, *_):
        return None


def test_places_become_fractions_where_the_micrographs_are_known(tmp_path) -> None:
    particles = replace(
        particle_set(count=4), images=None, image_names=tuple(f"{i + 1:06d}@a.mrcs" for i in range(4)), micrograph_names=("m.mrc",) * 4,
        coordinates=torch.tensor([[10.0, 20.0], [30.0, 5.0], [0.0, 0.0], [299.0, 399.0]], dtype=torch.float64),
    )  # fmt: skip
    path = _written(particles, tmp_path, micrograph_shapes={"m.mrc": (400, 300)})
    rows = read_records(path)
    np.testing.assert_allclose(rows["location/center_x_frac"][:2], [10 / 300, 0.1], rtol=1e-6)
    np.testing.assert_allclose(rows["location/center_y_frac"][:2], [0.95, 1 - 5 / 400], rtol=1e-6)
    torch.testing.assert_close(read_cryosparc(path).coordinates, particles.coordinates, atol=1e-4, rtol=0)
    assert len(np.unique(rows["location/micrograph_uid"])) == 1


def test_identifiers_are_unique_and_the_same_in_every_run(tmp_path) -> None:
    particles = replace(
        particle_set(count=5),
        images=None,
        coordinates=None,
        image_names=("000001@a.mrcs",) * 3 + ("000002@a.mrcs", "000001@b.mrcs"),
    )
    first, second = (records_from_particles(particles)["uid"] for _ in range(2))
    assert len(np.unique(first)) == 5
    assert first.tolist() == second.tolist()


def test_images_dark_on_light_are_turned_over_as_they_are_read(tmp_path) -> None:
    pixels = stack(tmp_path / "J1.mrc", count=4, shape=(64, 64), pixel_size=1.37)
    rows = records(count=4)
    rows["blob/path"], rows["blob/idx"] = b">J1.mrc", [3, 2, 1, 0]
    path = saved(tmp_path / "p.cs", rows)
    expected = pixels[::-1] * np.array([1, -1, 1, -1], np.float32)[:, None, None]
    particles = read_particles(path)
    np.testing.assert_array_equal(particles.images.read(range(4)).numpy(), expected)
    write_particles(particles[[2, 1]], tmp_path / "half.star")  # the sign travels as a column of the STAR file
    np.testing.assert_array_equal(read_particles(tmp_path / "half.star").images.read([0, 1]).numpy(), expected[[2, 1]])
    anew = replace(particles, image_names=())  # images written anew are bright
    write_cryosparc(anew, tmp_path / "anew.cs")
    assert set(read_records(tmp_path / "anew.cs")["blob/sign"].tolist()) == {1.0}
    np.testing.assert_array_equal(read_particles(tmp_path / "anew.cs").images.read(range(4)).numpy(), expected)
    write_particles(anew, tmp_path / "anew.star")
    np.testing.assert_array_equal(read_particles(tmp_path / "anew.star").images.read(range(4)).numpy(), expected)


def test_passthrough_files_add_fields_by_uid(tmp_path) -> None:
    rows = records(count=8)
    names = list(rows.dtype.names)
    kept = [name for name in names if not name.startswith(("location", "ctf"))]
    rest = rows[["uid", *[name for name in names if name not in kept]]]
    primary = saved(tmp_path / "p.cs", rows[kept].copy())
    through = saved(tmp_path / "through.cs", rest[[5, 3, 1, 7, 0, 2, 4, 6]].copy())
    merged = read_cryosparc(primary, [through])
    whole = read_cryosparc(saved(tmp_path / "whole.cs", rows))
    torch.testing.assert_close(merged.coordinates, whole.coordinates)
    torch.testing.assert_close(merged.defocus.major, whole.defocus.major)
    with pytest.raises(InputError, match=r"2 of 8 particles of p\.cs are not in it: uid ") as caught:
        read_cryosparc(primary, [saved(tmp_path / "short.cs", rest[:6].copy())])
    assert all(str(uid) in str(caught.value) for uid in rest["uid"][6:].tolist())
    assert caught.value.exit_code == 3
    with pytest.raises(InputError, match="no uid"):
        merge_records(rows[kept], [(rows[["ctf/df1_A"]], tmp_path / "x.cs")], path=primary)
    twice = rows.copy()
    twice["uid"][3] = twice["uid"][0]
    with pytest.raises(InputError, match="1 particles are there twice: uid"):
        read_cryosparc(saved(tmp_path / "twice.cs", twice))


def test_components_of_a_variability_analysis(tmp_path) -> None:
    rows = records(count=5)
    found = read_components(saved(tmp_path / "p.cs", rows))
    np.testing.assert_allclose(found.numpy(), np.stack((rows["components_mode_0/value"], rows["components_mode_1/value"]), 1))
    with pytest.raises(InputError, match="no components"):
        read_components(saved(tmp_path / "q.cs", rows[["uid", "blob/path"]].copy()))


def test_lying_headers_are_told_before_anything_is_allocated(tmp_path) -> None:
    write_records(records(count=3), tmp_path / "p.cs")
    content = (tmp_path / "p.cs").read_bytes()
    (tmp_path / "cut.cs").write_bytes(content[:-50])
    with pytest.raises(InputError, match="promises 3 records"):
        read_records(tmp_path / "cut.cs")
    (tmp_path / "lie.cs").write_bytes(content.replace(b"'shape': (3,), }        ", b"'shape': (999999999,), }"))
    with pytest.raises(InputError, match="promises 999999999 records"):
        read_records(tmp_path / "lie.cs")
    (tmp_path / "deep.cs").write_bytes(b"\x93NUMPY\x01\x00\xff\xff" + b"(" * 65535)
    with pytest.raises(InputError, match=r"header of this \.cs file is damaged"):
        read_records(tmp_path / "deep.cs")


def test_values_that_cannot_be_meant_are_refused(tmp_path) -> None:
    for field, value, words in (
        ("ctf/accel_kv", 3e5, "accel_kv is 300000"), ("ctf/amp_contrast", 7, "amp_contrast is 7"), ("blob/psize_A", 1e-10, "psize_A is 1e-10"),
        ("ctf/df1_A", np.nan, "df1_A of particle 2 is not finite"), ("alignments3D/split", 4, "neither 0 nor 1"),
    ):  # fmt: skip
        rows = records(count=3)
        rows[field][1] = value
        with pytest.raises(InputError, match=words) as caught:
            read_cryosparc(saved(tmp_path / "p.cs", rows))
        assert caught.value.exit_code == 3
    rows = records(count=3)
    with pytest.raises(InputError, match="pose has 4 values"):
        read_cryosparc(saved(tmp_path / "p.cs", _with_long_poses(rows)))


def test_fields_of_another_type_are_refused(tmp_path) -> None:
    for name, kind in (
        ("blob/idx", "<f4"),
        ("ctf/accel_kv", "S4"),
        ("blob/path", "<f4"),
        ("ctf/tilt_A", "<f4"),
        ("uid", "<f8"),
        ("alignments3D/class", "S2"),
    ):
        rows = records(count=3)
        changed = np.zeros(3, dtype=[(each, kind if each == name else rows.dtype[each]) for each in rows.dtype.names])
        with pytest.raises(InputError, match=f"the field {name} is of the type") as caught:
            read_cryosparc(saved(tmp_path / "p.cs", changed))
        assert caught.value.exit_code == 3


def _with_long_poses(rows):
    described = [(name, "<f4", (4,)) if name == "alignments3D/pose" else (name, rows.dtype[name]) for name in rows.dtype.names]
    out = np.zeros(len(rows), dtype=described)
    for name in rows.dtype.names:
        if name != "alignments3D/pose":
            out[name] = rows[name]
    return out


NUMBERS = some.sampled_from(["<f4", "<f8", ">f4", "<i4", "<u8", "<i2", "?", "<c8"][:7])


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(kind=NUMBERS, shape=some.sampled_from([(), (2,), (2, 3)]), data=some.data())
def test_every_value_survives_as_text(kind, shape, data) -> None:
    size = 3 * int(np.prod(shape, dtype=int))
    raw = data.draw(some.binary(min_size=size * np.dtype(kind).itemsize, max_size=size * np.dtype(kind).itemsize))
    values = np.frombuffer(raw, dtype=kind).reshape(3, *shape)
    values = (values.view("u1") % 2).view("?").reshape(3, *shape) if kind == "?" else values
    values = np.where(np.isnan(values), 0, values).astype(kind) if np.dtype(kind).kind == "f" else values
    dtype = np.dtype((kind, shape)) if shape else np.dtype(kind)
    label = label_of("some/field", dtype)
    name, found = field_of(label)
    assert (name, found) == ("some/field", dtype)
    assert values_of(texts_of(values), found, label=label).tobytes() == values.tobytes()


@given(
    texts=some.lists(
        some.text(alphabet=some.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=8),
        min_size=1,
        max_size=5,
    )
)
def test_every_text_survives_as_bytes(texts) -> None:
    assert texts_of(text_field(texts)) == tuple(texts)


def test_labels_that_are_no_fields_are_none() -> None:
    for label in (
        "rlnAngleRot",
        "cryosparc/x",
        "cryosparc/x:f5",
        "cryosparc/x:S99999999",
        "cryosparc/x:f4x999999",
        "cryosparc/x:O8",
    ):
        assert field_of(label) is None
    with pytest.raises(InputError, match="no int32"):
        values_of(("a",), np.dtype("<i4"), label="cryosparc/x:i4")


def test_columns_are_a_mapping_that_selects_rows() -> None:
    columns = CryosparcColumns(records(count=4), ["odd/flag", "odd/matrix"], columns={"own": ("a", "b", "c", "d")})
    assert list(columns) == ["cryosparc/odd/flag:?", "cryosparc/odd/matrix:i2x2x2", "own"]
    chosen = columns.rows(torch.tensor([2, 0]))
    assert chosen["own"] == ("c", "a")
    assert chosen["cryosparc/odd/flag:?"] == ("0", "1")
    assert len(chosen.records) == 2
