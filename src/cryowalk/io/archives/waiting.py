"""Waiting for the network without being deaf: blocking calls run in a thread of their own, and stop requests are raised meanwhile."""

import threading
import time
from collections.abc import Callable, Generator
from contextlib import suppress
from queue import Empty, Full, Queue
from typing import Any, TypeVar

from cryowalk.core.execution import Progress

T = TypeVar("T")
LOOK = 0.2  # s between two looks for a stop request
AHEAD = 8  # pieces read ahead of the disk


def patiently(work: Callable[[], T], progress: Progress) -> T:
    """The result of `work`, or its error; a stop request that `progress` raises ends the waiting, not the work, whose result is then dropped."""
    box: Queue[tuple[Any, BaseException | None]] = Queue(maxsize=1)

    def run() -> None:
        try:
            box.put((work(), None))
        except BaseException as error:  # noqa: BLE001  it is raised in the thread that waits
            box.put((None, error))

    threading.Thread(target=run, daemon=True).start()
    while True:
        try:
            result, error = box.get(timeout=LOOK)
        except Empty:
            progress.advance(0)
            continue
        if error is not None:
            raise error
        return result  # type: ignore[no-any-return]  # what work returned


class _Ahead:
    """A thread that reads pieces a little ahead of who takes them, until it is stopped."""

    def __init__(self, read: Callable[[], bytes], close: Callable[[], None]) -> None:
        self.box: Queue[bytes | BaseException] = Queue(maxsize=AHEAD)
        self.stopped = threading.Event()
        self._read = read
        self._close = close
        threading.Thread(target=self._run, daemon=True).start()

    def _put(self, item: bytes | BaseException) -> None:
        while not self.stopped.is_set():
            try:
                self.box.put(item, timeout=LOOK)
            except Full:
                continue
            break

    def _run(self) -> None:
        try:
            while not self.stopped.is_set():
                piece = self._read()
                self._put(piece)
                if not piece:
                    return
        except BaseException as error:  # noqa: BLE001  it is raised in the thread that writes
            self._put(error)
        finally:
            self._close()


def pieces(
    read: Callable[[], bytes], ends: tuple[Callable[[], None], Callable[[], None]], progress: Progress
) -> Generator[bytes, None, None]:
    """The pieces that `read` returns until an empty one, read a little ahead.

    `ends` are two calls for the end: the first wakes a `read` that waits, and is made when the reader is left early; the second closes what is
    read, in the thread that reads: closing it elsewhere would wait for that thread.
    """
    wake, close = ends
    ahead = _Ahead(read, close)
    try:
        while True:
            try:
                item = ahead.box.get(timeout=LOOK)
            except Empty:
                progress.advance(0)
                continue
            if isinstance(item, BaseException):
                raise item
            if not item:
                return
            yield item
    finally:
        ahead.stopped.set()
        with suppress(OSError, RuntimeError, ValueError):  # it may be closed already
            wake()


def wait(seconds: float, progress: Progress) -> None:
    """Nothing, after so many seconds, unless a stop is asked for."""
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0:
        time.sleep(min(LOOK, left))
        progress.advance(0)
