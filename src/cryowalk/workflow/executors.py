"""Who does the pieces of work: this process, threads, or local processes; results always come in the order of the inputs."""

import multiprocessing
import os
import signal
import sys
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor as PoolExecutor
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import Any, Literal

from cryowalk.core.errors import EnvironmentFault
from cryowalk.core.execution import Executor, InlineExecutor

Kind = Literal["inline", "threads", "processes"]
_DEATHS = 3  # dead workers that are replaced before the work is given up


@contextmanager
def executor(kind: Kind = "inline", *, workers: int = 1, threads: int = 1) -> Iterator[Executor]:
    """An executor of this kind with so many workers, `threads` computing threads in each; its workers are gone at the end.

    Processes are spawned, never forked: a fork after threads have started can hang. A function sent to a process must be importable by name.
    """
    if kind == "inline" or workers <= 1:
        yield InlineExecutor()
        return
    pool: AbstractPool = ThreadExecutor(workers) if kind == "threads" else ProcessExecutor(workers, threads=threads)
    try:
        yield pool
    finally:
        pool.close()


class AbstractPool(ABC):
    """An executor whose `map` holds at most two pieces a worker in memory, and gives results in the order of the inputs."""

    def __init__(self, workers: int) -> None:
        self.workers = workers
        self._deaths = 0
        self._pool = self._open()

    @abstractmethod
    def _open(self) -> PoolExecutor:
        """A fresh pool of workers."""

    def submit(self, function: Callable[..., Any], /, *arguments: Any) -> "Future[Any]":
        """A future for `function(*arguments)`."""
        return self._pool.submit(function, *arguments)

    def map(self, function: Callable[..., Any], *iterables: Iterable[Any]) -> Iterator[Any]:
        """The results in the order of the inputs; the pieces of a worker that died are done again.

        Raises
        ------
        EnvironmentFault
            If workers keep dying.
        """
        waiting: deque[tuple[tuple[Any, ...], Future[Any]]] = deque()
        for arguments in zip(*iterables, strict=True):
            waiting.append((arguments, self._resubmit(function, arguments)))
            if len(waiting) >= 2 * self.workers:
                yield self._first(function, waiting)
        while waiting:
            yield self._first(function, waiting)

    def _first(self, function: Callable[..., Any], waiting: "deque[tuple[tuple[Any, ...], Future[Any]]]") -> Any:
        while True:
            try:
                result = waiting[0][1].result()
            except BrokenProcessPool:
                self._replace()
                for position, (arguments, future) in enumerate(waiting):
                    if not future.done() or future.cancelled() or isinstance(future.exception(), BrokenProcessPool):
                        waiting[position] = (arguments, self._resubmit(function, arguments))
                continue
            waiting.popleft()
            return result

    def _resubmit(self, function: Callable[..., Any], arguments: tuple[Any, ...]) -> "Future[Any]":
        try:
            return self._pool.submit(function, *arguments)
        except BrokenProcessPool:
            self._replace()
            return self._pool.submit(function, *arguments)

    def _replace(self) -> None:
        self._deaths += 1
        self._pool.shutdown(wait=False, cancel_futures=True)
        if self._deaths > _DEATHS:
            raise EnvironmentFault(
                f"worker processes died {self._deaths} times",
                cause="the machine ran out of memory, or somebody ended them",
                fix="use fewer workers or smaller batches",
            )
        self._pool = self._open()

    def close(self) -> None:
        """Let the workers go; what has not begun is dropped."""
        self._pool.shutdown(wait=True, cancel_futures=True)


class ThreadExecutor(AbstractPool):
    """Threads of this process: for work that waits for files or releases the interpreter."""

    def _open(self) -> PoolExecutor:
        return ThreadPoolExecutor(self.workers)


class ProcessExecutor(AbstractPool):
    """Local processes, each with its own computing threads."""

    def __init__(self, workers: int, *, threads: int = 1) -> None:
        self._threads = threads
        super().__init__(workers)

    def _open(self) -> PoolExecutor:
        return ProcessPoolExecutor(
            self.workers, mp_context=multiprocessing.get_context("spawn"), initializer=_begin_worker, initargs=(self._threads,)
        )


def _begin_worker(threads: int) -> None:
    # Ctrl-C reaches every process of the terminal; the parent alone decides when to stop.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    set_threads(threads)


def set_threads(threads: int) -> None:
    """Let torch, numba and the BLAS of this process compute with so many threads, whether they are loaded already or not."""
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[name] = str(threads)
    if "numba" in sys.modules:
        import numba

        numba.set_num_threads(min(threads, numba.config.NUMBA_NUM_THREADS))  # type: ignore[attr-defined]  # made at run time
    else:
        os.environ["NUMBA_NUM_THREADS"] = str(threads)
    if "torch" in sys.modules:
        import torch

        torch.set_num_threads(threads)


def usable_cores() -> int:
    """How many cores this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not Linux
        return os.cpu_count() or 1
