"""Executors: same results in the same order, whoever does the work, also when a worker dies."""

import math
import os
import time
from concurrent.futures import Future

import pytest

from cryowalk.core.errors import EnvironmentFault
from cryowalk.workflow.executors import executor, set_threads, usable_cores


def slow_square(number: int) -> int:
    time.sleep(0.01 * (number % 3 == 0))
    return number**2


def refuse(number: int) -> int:
    raise ValueError(f"not {number}")


@pytest.mark.parametrize("kind", ["inline", "threads"])
def test_results_come_in_the_order_of_the_inputs(kind):
    with executor(kind, workers=3) as workers:
        assert list(workers.map(slow_square, range(20))) == [number**2 for number in range(20)]
        future = workers.submit(slow_square, 5)
        assert isinstance(future, Future)
        assert future.result() == 25
        with pytest.raises(ValueError, match="not 1"):
            list(workers.map(refuse, [1]))


def test_at_most_two_pieces_a_worker_are_held():
    asked: list[int] = []

    def pieces():
        for number in range(100):
            asked.append(number)
            yield number

    with executor("threads", workers=2) as workers:
        results = workers.map(slow_square, pieces())
        next(results)
        assert len(asked) <= 5


PIECES = """
import os, pathlib

def die_once(number, folder):
    mark = pathlib.Path(folder) / "died"
    if number == 2 and not mark.exists():
        mark.touch()
        os._exit(9)
    return number**2
"""


@pytest.mark.slow
def test_processes_give_the_same_and_survive_the_death_of_a_worker(tmp_path, monkeypatch):
    # A spawned process imports the function by its name, so it lives in a module of its own.
    (tmp_path / "pieces_of_work.py").write_text(PIECES)
    monkeypatch.syspath_prepend(tmp_path)
    from importlib import import_module

    die_once = import_module("pieces_of_work").die_once
    with executor("processes", workers=2) as workers:
        assert list(workers.map(math.factorial, range(6))) == [1, 1, 2, 6, 24, 120]
        assert list(workers.map(die_once, range(5), [str(tmp_path)] * 5)) == [0, 1, 4, 9, 16]
        with pytest.raises(ValueError, match="negative"):
            list(workers.map(math.factorial, [-7]))
    assert (tmp_path / "died").exists()


@pytest.mark.slow
def test_workers_that_keep_dying_are_an_environment_fault():
    with executor("processes", workers=2) as workers, pytest.raises(EnvironmentFault, match="died"):
        list(workers.map(os._exit, [9] * 4))


def test_threads_are_set_and_cores_counted():
    import torch

    before = torch.get_num_threads()
    try:
        set_threads(1)
        assert torch.get_num_threads() == 1
        assert os.environ["OMP_NUM_THREADS"] == "1"
    finally:
        set_threads(before)
    assert usable_cores() >= 1
