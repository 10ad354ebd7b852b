"""Stop requests: the first one ends the work at its next safe point, the second one at once."""

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from cryowalk.core.errors import Stopped

_NAMES = {signal.SIGINT: "Ctrl-C", signal.SIGTERM: "a request to terminate"}


class StopRequest:
    """Whether and by which signal this process was asked to stop."""

    def __init__(self) -> None:
        self.number = 0

    def ask(self, number: int) -> None:
        """Ask for a stop at the next safe point."""
        self.number = self.number or number

    def raise_if_asked(self) -> None:
        """Nothing, unless a stop was asked for.

        Raises
        ------
        Stopped
            With the signal's number; the exit code is 128 + that number.
        """
        if self.number:
            name = _NAMES.get(signal.Signals(self.number), signal.Signals(self.number).name)
            raise Stopped(f"stopped at a safe point after {name}", signal_number=self.number)


@contextmanager
def stop_on_signals() -> Iterator[StopRequest]:
    """The stop request that Ctrl-C and SIGTERM fill while the block runs.

    A second signal ends the process at once with exit code 128 + its number, also in the middle of a long computation: a small thread reads what
    the kernel delivered. A signal that the parent process chose to ignore (`nohup`, `&` in a script) stays ignored.
    """
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    former: dict[int, object] = {}
    ending, wake = os.pipe()
    os.set_blocking(wake, False)

    def first(number: int, _: FrameType | None) -> None:
        if not request.number:
            _tell(f"\n{_NAMES[signal.Signals(number)]}: stopping at the next safe point; once more to stop at once\n")
        request.ask(number)

    for watched in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(watched) is not signal.SIG_IGN:
            former[watched] = signal.signal(watched, first)
    former_wake = signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    threading.Thread(target=_end_on_second, args=(ending, tuple(former)), daemon=True).start()
    # A write beyond the allowed file size shall be an error with a number, not the death of the process.
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        yield request
    finally:
        signal.set_wakeup_fd(former_wake)
        for number, handler in former.items():
            signal.signal(number, handler)  # type: ignore[arg-type]  # what signal.signal returned before
        os.close(wake)


def _end_on_second(ending: int, watched: tuple[int, ...]) -> None:
    seen = 0
    while delivered := os.read(ending, 64):
        for number in delivered:
            seen += number in watched
            if seen > 1:
                os._exit(128 + number)
    os.close(ending)


def _tell(text: str) -> None:
    try:
        sys.stderr.write(text)
        sys.stderr.flush()
    except (OSError, ValueError, RuntimeError):
        return  # nobody listens, or the signal came in the middle of another write: the request counts all the same
