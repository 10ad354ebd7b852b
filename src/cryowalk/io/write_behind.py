"""Writing while the next images are made: one thread of its own, at most one batch waiting."""

from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType

from jaxtyping import Float
from torch import Tensor

from cryowalk.core.execution import ImageSink


class WriteBehind:
    """An `ImageSink` before another one: `write` returns while the batch is still being written, and raises what went wrong with the one before.

    Batches are written in order. Leaving the `with` block waits for the last one, so that an error of it is not lost.
    """

    def __init__(self, sink: ImageSink) -> None:
        self._sink = sink
        self._writer = ThreadPoolExecutor(max_workers=1, thread_name_prefix="write-behind")
        self._pending: Future[None] | None = None

    def write(self, images: Float[Tensor, "n h w"]) -> None:
        """Hand these images over; they must not be changed afterwards."""
        self.wait()
        self._pending = self._writer.submit(self._sink.write, images)

    def wait(self) -> None:
        """Return when everything handed over is written."""
        pending, self._pending = self._pending, None
        if pending is not None:
            pending.result()

    def __enter__(self) -> "WriteBehind":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        try:
            self.wait()
        finally:
            self._writer.shutdown()
