import threading

import pytest
import torch

from cryowalk.core.errors import InputError
from cryowalk.core.execution import ImageSink
from cryowalk.io.mrc import MrcStackReader
from cryowalk.io.mrc_writer import MrcStackWriter
from cryowalk.io.write_behind import WriteBehind


def test_the_stack_is_the_same_as_one_written_at_once(tmp_path, generator):
    images = torch.randn(23, 7, 9, generator=generator)
    with MrcStackWriter(tmp_path / "plain.mrcs", image_shape=(7, 9), pixel_size=1.3) as plain:
        plain.write(images)
    with MrcStackWriter(tmp_path / "behind.mrcs", image_shape=(7, 9), pixel_size=1.3) as stack, WriteBehind(stack) as behind:
        assert isinstance(behind, ImageSink)
        for part in torch.split(images, 5):
            behind.write(part)
    assert (tmp_path / "behind.mrcs").read_bytes() == (tmp_path / "plain.mrcs").read_bytes()
    assert torch.equal(MrcStackReader(tmp_path / "behind.mrcs").read(range(23)), images)


def test_writing_goes_on_while_the_caller_does():
    gate = threading.Event()

    class Slow:
        def write(self, images):
            assert gate.wait(10)

    with WriteBehind(Slow()) as behind:
        behind.write(torch.zeros(1, 2, 2))  # would never return if it waited
        gate.set()


def write_nan(path, more):
    with MrcStackWriter(path, image_shape=(4, 4), pixel_size=1.3) as stack, WriteBehind(stack) as behind:
        behind.write(torch.full((2, 4, 4), torch.nan))
        if more:
            behind.write(torch.zeros(2, 4, 4))


@pytest.mark.parametrize("more", [True, False])
def test_an_error_of_the_writer_reaches_the_caller(tmp_path, more):
    with pytest.raises(InputError):
        write_nan(tmp_path / "a.mrcs", more)
    assert not (tmp_path / "a.mrcs").exists()
