import pytest

from cryowalk.core.execution import ImageSource, InlineExecutor, NoCheckpoint, SilentProgress, batches


def test_batches_cover_every_index_once_and_in_order():
    assert [list(b) for b in batches(7, 3)] == [[0, 1, 2], [3, 4, 5], [6]]
    assert list(batches(0, 3)) == []


def test_inline_executor_keeps_order_and_carries_errors_in_the_future():
    executor = InlineExecutor()
    assert list(executor.map(lambda x: x * x, [3, 1, 2])) == [9, 1, 4]
    assert executor.submit(pow, 2, 5).result() == 32
    with pytest.raises(ZeroDivisionError):
        executor.submit(lambda: 1 / 0).result()


def test_defaults_do_nothing_and_lose_nothing():
    progress = SilentProgress()
    progress.start("work", 3)
    progress.advance()
    progress.note("fact")
    checkpoint = NoCheckpoint()
    checkpoint.save({"a": 1})
    assert checkpoint.load() is None


def test_an_image_stack_is_an_image_source():
    import torch

    from cryowalk.data import ImageStack

    assert isinstance(ImageStack(pixels=torch.zeros(2, 5, 4), pixel_size=1.3), ImageSource)
