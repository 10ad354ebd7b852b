"""Written and read again is the same, for whatever hypothesis thinks of; and what it breaks ends in an error of ours."""

import io
import tempfile
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cryowalk.core.errors import CryowalkError, CryowalkWarning
from cryowalk.data.volume import Volume
from cryowalk.io.atoms import read_atoms
from cryowalk.io.dispatch import read
from cryowalk.io.maps import read_map, write_map
from cryowalk.io.mrc import MrcStackReader, read_array, write_array
from cryowalk.io.relion import lab_from_particle_from_relion, relion_from_lab_from_particle
from cryowalk.io.star import StarBlock, StarFile, format_star, parse_star
from cryowalk.io.star_numbers import exact_texts, number_texts
from cryowalk.io.validate import faults

QUICK = settings(max_examples=60, deadline=None)
ODD = [
    "007",
    "1e3",
    "-0",
    "",
    " ",
    "a b",
    "\ta",
    "it's",
    "'",
    '"',
    '"a" b',
    "#",
    "a#b",
    "_x",
    "data_",
    "loop_",
    ";",
    "$",
    "?",
    ".",
    "é",
    "\u2003",
    "\u00a0x",
    "nan",
    "[1,2]",
    "stop_",
]
WORDS = st.one_of(
    st.sampled_from(ODD),
    st.text(st.characters(blacklist_categories=("Cs", "Cc"), blacklist_characters="'\""), max_size=12),
    st.floats(allow_nan=False).map(repr),
)
LABELS = st.text(st.sampled_from("abcXYZ019_"), min_size=1, max_size=8)
SHAPES = st.tuples(*[st.integers(1, 7)] * 3)


@st.composite
def tables(draw):
    columns = draw(st.lists(LABELS, min_size=1, max_size=5, unique=True))
    rows = draw(st.integers(0, 6))
    return {label: tuple(draw(st.lists(WORDS, min_size=rows, max_size=rows))) for label in columns}


@QUICK
@given(tables(), st.dictionaries(LABELS, WORDS, max_size=4), LABELS)
def test_star_tables_come_back(columns, values, name):
    values = {label: value for label, value in values.items() if label not in columns}
    block = StarBlock(name=name, columns=columns, values=values)
    back = parse_star(format_star(StarFile(blocks=(block, block)))).blocks
    assert len(back) == 2
    for same in back:
        assert (same.name, dict(same.columns), dict(same.values)) == (name, columns, values)


@QUICK
@given(st.text(st.sampled_from("ab_ \t\n\r'\"#;loop_data_$1.-"), max_size=120))
def test_no_text_ends_in_a_foreign_error(text):
    try:
        star = parse_star(text)
    except CryowalkError:
        return
    for block in star.blocks:
        assert len({len(column) for column in block.columns.values()}) <= 1


@QUICK
@given(st.lists(st.floats(-1e7, 1e7), min_size=1, max_size=9))
def test_numbers_come_back(numbers):
    np.testing.assert_allclose(list(map(float, number_texts(numbers))), numbers, atol=5.1e-7, rtol=0)
    assert list(map(float, exact_texts(numbers))) == numbers
    assert not any(text.startswith("-0.000000") for text in number_texts(numbers))


@QUICK
@given(SHAPES, st.sampled_from(["float32", "float16", "int8", "int16", "uint16"]), st.floats(0.05, 100), st.integers(0, 2**31))
def test_arrays_come_back(shape, sample_format, voxel_size, seed):
    array = np.random.default_rng(seed).integers(0, 100, shape).astype(sample_format)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.mrc"
        write_array(array, path, voxel_size=voxel_size, sample_format=sample_format)
        np.testing.assert_array_equal(read_array(path), array)
        stack = MrcStackReader(path)
        assert stack.pixel_size == pytest.approx(voxel_size, rel=2e-7)
        order = np.random.default_rng(seed).integers(0, shape[0], 5).tolist()
        np.testing.assert_array_equal(stack.read(order), array[order].astype(np.float32))


@QUICK
@given(st.tuples(*[st.integers(2, 6)] * 3), st.floats(0.2, 20), st.tuples(*[st.floats(-500, 500)] * 3), st.integers(0, 2**31))
def test_maps_come_back(shape, voxel_size, origin, seed):
    volume = Volume(
        voxels=torch.from_numpy(np.random.default_rng(seed).normal(size=shape).astype(np.float32)),
        voxel_size=voxel_size,
        origin=origin,
    )
    with tempfile.TemporaryDirectory() as folder:
        write_map(volume, Path(folder) / "a.mrc")
        back = read_map(Path(folder) / "a.mrc")
    torch.testing.assert_close(back.voxels, volume.voxels, rtol=1e-6, atol=1e-7)
    assert back.voxel_size == pytest.approx(voxel_size, rel=2e-7)
    np.testing.assert_allclose(back.origin, np.float32(origin), rtol=2e-6, atol=2e-3 * voxel_size)


@QUICK
@given(
    st.tuples(st.floats(-180, 180), st.one_of(st.floats(0, 180), st.sampled_from([0.0, 180.0, 1e-9, 90.0])), st.floats(-180, 180))
)
def test_angles_mean_the_same_after_a_round_trip(angles):
    matrix = lab_from_particle_from_relion(torch.tensor(angles, dtype=torch.float64))
    back = lab_from_particle_from_relion(relion_from_lab_from_particle(matrix))
    torch.testing.assert_close(back, matrix, atol=1e-7, rtol=0)


def whole_mrc() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        write_array(np.random.default_rng(2).normal(size=(2, 3, 4)).astype(np.float32), Path(folder) / "a.mrc", voxel_size=1.5)
        return (Path(folder) / "a.mrc").read_bytes()


PDB_LINE = b"ATOM      1  CA AALA A   1      11.104   6.134  -6.504  1.00 20.00           C\nATOM      2  N   ALA A   1      11.104   6.134  -6.504  1.00 20.00           N\n"
CIF = b"data_x\nloop_\n_atom_site.id\n_atom_site.type_symbol\n_atom_site.label_alt_id\n_atom_site.label_asym_id\n_atom_site.Cartn_x\n_atom_site.Cartn_y\n_atom_site.Cartn_z\n_atom_site.occupancy\n_atom_site.B_iso_or_equiv\n_atom_site.auth_seq_id\n_atom_site.label_comp_id\n_atom_site.label_atom_id\n1 C . A 1 2 3 1 20 1 ALA CA\n"


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from([("a.mrc", whole_mrc()), ("a.mrcs", whole_mrc()), ("a.pdb", PDB_LINE), ("a.cif", CIF)]),
    st.lists(st.tuples(st.integers(0, 300), st.binary(min_size=1, max_size=6)), max_size=4),
    st.integers(0, 2000),
)
def test_damaged_files_never_end_in_a_foreign_error(file, damages, length):
    name, content = file
    raw = bytearray(content)
    for place, new in damages:
        raw[place : place + len(new)] = new
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore", CryowalkWarning)
        path = Path(folder) / name
        path.write_bytes(bytes(raw[:length]) if length < len(raw) else bytes(raw))
        try:
            read(path)
        except CryowalkError as error:
            assert name in str(error) or folder in str(error)  # noqa: PT017
        assert isinstance(faults(path), list)


def test_the_whole_files_of_the_damage_test_are_read():
    with tempfile.TemporaryDirectory() as folder:
        for name, content in (("a.pdb", PDB_LINE), ("a.cif", CIF)):
            (Path(folder) / name).write_bytes(content)
            assert len(read_atoms(Path(folder) / name)) >= 1
    assert io.BytesIO(whole_mrc()).read(4) == b"\x04\0\0\0"
