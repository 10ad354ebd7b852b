"""How a room streams, reports and is distributed without touching files: protocols, each with an in-memory or do-nothing default.

`io` implements sources and sinks on files; `workflow` implements progress, checkpoints and executors.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    from torch import Tensor


@runtime_checkable
class ImageSource(Protocol):
    """Images that are read in batches; nothing assumes that all of them fit in memory."""

    @property
    def count(self) -> int:
        """How many images there are."""

    @property
    def image_shape(self) -> tuple[int, int]:
        """Height and width of every image, pixels."""

    def read(self, indices: "Sequence[int]") -> "Tensor":
        """The images at these positions, `[len(indices), height, width]`, float32."""


@runtime_checkable
class ImageSink(Protocol):
    """A place that takes images batch by batch, in order."""

    def write(self, images: "Tensor") -> None:
        """Append these images."""


@runtime_checkable
class Progress(Protocol):
    """Where a room tells facts about its work."""

    def start(self, what: str, total: int) -> None:
        """Announce a piece of work of `total` items."""

    def advance(self, items: int = 1) -> None:
        """Tell that so many more items are done; a stop request is raised here, a safe point."""

    def note(self, fact: str) -> None:
        """Tell one fact, such as how many images were left out and why."""


@runtime_checkable
class Checkpoint(Protocol):
    """Where a room keeps what it needs to go on after being killed."""

    def load(self) -> "Mapping[str, Any] | None":
        """What was saved last (tensors, numbers, strings), or None at the first start."""

    def save(self, state: "Mapping[str, Any]") -> None:
        """Replace what was saved by this state, all or nothing."""


@runtime_checkable
class Executor(Protocol):
    """Who does the pieces of work: the shape of `concurrent.futures.Executor`."""

    def submit(self, function: "Callable[..., Any]", /, *arguments: Any) -> "Future[Any]":
        """A future for `function(*arguments)`."""

    def map(self, function: "Callable[..., Any]", *iterables: "Iterable[Any]") -> "Iterator[Any]":
        """The results in the order of the inputs, whatever order they were computed in."""


class SilentProgress:
    """Progress that tells nobody."""

    def start(self, what: str, total: int) -> None:
        """Ignore the announcement."""

    def advance(self, items: int = 1) -> None:
        """Ignore the advance."""

    def note(self, fact: str) -> None:
        """Ignore the fact."""


class NoCheckpoint:
    """A checkpoint that keeps nothing."""

    def load(self) -> None:
        """Nothing: there is never an earlier state."""

    def save(self, state: "Mapping[str, Any]") -> None:
        """Ignore the state."""


class InlineExecutor:
    """An executor that does each piece at once in this process."""

    def submit(self, function: "Callable[..., Any]", /, *arguments: Any) -> "Future[Any]":
        """A future that is already done."""
        future: Future[Any] = Future()
        try:
            future.set_result(function(*arguments))
        except Exception as error:  # noqa: BLE001  a future carries any error to its reader
            future.set_exception(error)
        return future

    def map(self, function: "Callable[..., Any]", *iterables: "Iterable[Any]") -> "Iterator[Any]":
        """The results, computed one after another."""
        return map(function, *iterables)


def batches(count: int, size: int) -> "Iterator[range]":
    """Consecutive index ranges that cover 0 … count−1, each of at most `size`; the last may be shorter."""
    for start in range(0, count, size):
        yield range(start, min(start + size, count))
