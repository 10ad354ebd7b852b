import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cryowalk.core.errors import InputError, UsageError
from cryowalk.io.coordinates import Coordinates, read_coordinates, write_coordinates

POSITIONS = torch.tensor([[10.0, 20.5], [0.0, 4091.0], [-3.25, 7.0]], dtype=torch.float64)


def coordinates() -> Coordinates:
    return Coordinates(
        positions=POSITIONS,
        merit=torch.tensor([0.5, 1.25, 3.0], dtype=torch.float64),
        extra={"rlnClassNumber": ("1", "2", "1"), "rlnAnglePsi": ("007", "-1.5", "")},
        column_order=("rlnAnglePsi", "rlnCoordinateX"),
    )


@pytest.mark.parametrize("name", ["a.star", "a.csv"])
def test_written_and_read_again_is_the_same(tmp_path, name):
    write_coordinates(coordinates(), tmp_path / name)
    again = read_coordinates(tmp_path / name)
    torch.testing.assert_close(again.positions, POSITIONS, rtol=0, atol=1e-6)
    torch.testing.assert_close(again.merit, coordinates().merit, rtol=0, atol=1e-6)
    assert dict(again.extra) == dict(coordinates().extra)
    write_coordinates(again, tmp_path / f"b{name[1:]}")
    assert (tmp_path / name).read_bytes() == (tmp_path / f"b{name[1:]}").read_bytes()


def test_boxes_of_eman(tmp_path):
    made = Coordinates(positions=torch.tensor([[100.0, 50.0], [7.0, 9.0]], dtype=torch.float64))
    for box, corner in ((64, "68\t18\t64\t64"), (65, "68\t18\t65\t65")):
        write_coordinates(made, tmp_path / "a.box", box=box)
        assert (tmp_path / "a.box").read_text().split("\n")[0] == corner
        assert torch.equal(read_coordinates(tmp_path / "a.box").positions, made.positions)
    with pytest.raises(UsageError, match="size of the boxes"):
        write_coordinates(made, tmp_path / "a.box")


@pytest.mark.parametrize("name", ["a.star", "a.csv", "a.box"])
def test_y_upwards_is_turned_over_once(tmp_path, name):
    made = Coordinates(positions=torch.tensor([[5.0, 0.0], [6.0, 479.0]], dtype=torch.float64))
    write_coordinates(made, tmp_path / name, y_axis="up", height=480, box=10)
    assert read_coordinates(tmp_path / name).positions[:, 1].tolist() == [479.0, 0.0]
    assert torch.equal(read_coordinates(tmp_path / name, y_axis="up", height=480).positions, made.positions)
    with pytest.raises(UsageError, match="height"):
        read_coordinates(tmp_path / name, y_axis="up")


@settings(max_examples=40, deadline=None)
@given(
    values=st.lists(st.tuples(st.floats(-1e5, 1e5), st.floats(-1e5, 1e5)), max_size=9), ending=st.sampled_from([".star", ".csv"])
)
def test_any_positions_survive(tmp_path_factory, values, ending):
    made = Coordinates(positions=torch.tensor(values, dtype=torch.float64).reshape(-1, 2))
    path = tmp_path_factory.mktemp("picks") / f"a{ending}"
    write_coordinates(made, path)
    torch.testing.assert_close(read_coordinates(path).positions, made.positions, rtol=0, atol=1e-6)


def test_selecting_keeps_rows_together():
    some = coordinates()[coordinates().merit > 1]
    assert (len(some), some.extra["rlnAnglePsi"]) == (2, ("-1.5", ""))
    assert coordinates()[[2]].positions.tolist() == [[-3.25, 7.0]]


def test_tables_of_others(tmp_path):
    (tmp_path / "a.csv").write_text("image_name\tx_coord\ty_coord\tscore\nmic1\t10\t20\t0.5\n")  # topaz
    again = read_coordinates(tmp_path / "a.csv")
    assert (again.positions.tolist(), again.merit.tolist(), again.extra) == ([[10.0, 20.0]], [0.5], {"image_name": ("mic1",)})
    (tmp_path / "a.box").write_text("# EMAN\n10 20 64 64 -3\n")
    assert read_coordinates(tmp_path / "a.box").positions.tolist() == [[42.0, 52.0]]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.csv", "a,b\n1,2\n", "names the columns a, b"),
        ("a.csv", "x,y\n1\n", "line 2: the row has 1 values"),
        ("a.csv", "x,y\n1,abc\n", "y is “abc”"),
        ("a.csv", 'x,y\n1,"2,5"\n', "decimal comma"),
        ("a.csv", "x,y\n1,nan\n", "y is “nan”"),
        ("a.box", "1 2 3\n", "line 1: the row has 3 values"),
        ("a.box", "1 2 0 0\n", "the box is 0 × 0 px"),
        ("a.box", "x 2 3 3\n", "a value is “x”"),
        ("a.star", "data_\n\nloop_\n_rlnCoordinateX #1\n1\n", "0 tables hold"),
        ("a.star", "data_\n\nloop_\n_rlnCoordinateX #1\n_rlnCoordinateY #2\n1 inf\n", "rlnCoordinateY is “inf”"),
    ],
)
def test_wrong_files_are_one_error(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=message) as caught:
        read_coordinates(tmp_path / name)
    assert name in str(caught.value)


def test_what_cannot_be_is_refused(tmp_path):
    with pytest.raises(UsageError, match="not read from"):
        read_coordinates(tmp_path / "a.png")
    with pytest.raises(UsageError, match="not written to"):
        write_coordinates(coordinates(), tmp_path / "a.png")
    with pytest.raises(InputError, match="not finite"):
        write_coordinates(Coordinates(positions=torch.tensor([[1.0, float("nan")]])), tmp_path / "a.star")
