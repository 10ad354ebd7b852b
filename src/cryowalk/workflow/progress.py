"""Progress that people and logs can read: a bar on a terminal, plain lines in a log or a pipe; each advance is a safe point to stop at."""

import sys
import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol, runtime_checkable

from cryowalk.core.errors import printable
from cryowalk.workflow.signals import StopRequest

LINE_INTERVAL = 5.0  # s between two progress lines in a pipe
LOG_INTERVAL = 10.0  # s between two progress lines in run.log
POLL_INTERVAL = 1.0  # s between two looks for an abort request


class Meter:
    """How far one piece of work is: items done of the total, items a second, seconds left. Clocks are monotonic."""

    def __init__(self, what: str, total: int) -> None:
        self.what = printable(what)
        self.total = total
        self.done = 0
        self.started = time.monotonic()
        self._earlier = 0

    def skip(self, items: int) -> None:
        """Count items that an earlier run did; they are done, but not part of the rate."""
        self.done += items
        self._earlier += items

    @property
    def seconds(self) -> float:
        """Time since the start, s."""
        return time.monotonic() - self.started

    @property
    def rate(self) -> float:
        """Items a second of this run."""
        return (self.done - self._earlier) / max(self.seconds, 1e-9)

    def line(self) -> str:
        """One line of plain text."""
        share = f"{100 * self.done / self.total:.0f} %" if self.total else f"{self.done}"
        left = (self.total - self.done) / self.rate if self.rate > 0 else 0.0
        pace = f", {_brief(self.rate)} a second" if self.done > self._earlier else ""
        rest = f", {clock(left)} left" if 0 < self.done < self.total and self.rate > 0 else ""
        return f"{self.what}: {share} ({self.done} of {self.total}){pace}{rest}"

    def summary(self) -> str:
        """One line about work that ended."""
        return f"{self.what}: {self.done} in {clock(self.seconds)} ({_brief(self.rate)} a second)"


@runtime_checkable
class TextStream(Protocol):
    """What lines are written to."""

    def write(self, text: str, /) -> int:
        """Write some text."""

    def flush(self) -> None:
        """Send it off."""

    def isatty(self) -> bool:
        """Whether a person looks at it."""


@runtime_checkable
class Display(Protocol):
    """Where progress is shown."""

    def begin(self, meter: Meter) -> None:
        """A piece of work begins."""

    def update(self, meter: Meter) -> None:
        """Some of it is done."""

    def end(self, meter: Meter) -> None:
        """It is over, or was left."""

    def fact(self, text: str) -> None:
        """A fact to be told."""


class LineDisplay:
    """Plain lines, at most one each `interval` seconds for a running piece of work."""

    def __init__(self, write: Callable[[str], None], *, interval: float) -> None:
        self._write = write
        self._interval = interval
        self._last = 0.0

    def begin(self, meter: Meter) -> None:
        """Remember when it began; short work is told by one line at its end."""
        self._last = meter.started

    def update(self, meter: Meter) -> None:
        """Write a line if the last one is old enough."""
        now = time.monotonic()
        if now - self._last >= self._interval and meter.done < meter.total:
            self._last = now
            self._write(meter.line())

    def end(self, meter: Meter) -> None:
        """Write how long it took."""
        self._write(meter.summary())

    def fact(self, text: str) -> None:
        """Write the fact."""
        self._write(text)


class BarDisplay:
    """A bar with rate and time left on a terminal, drawn by rich."""

    def __init__(self, stream: Any) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

        self._console = Console(file=stream, highlight=False, markup=False)
        self._bar = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[pace]}", markup=False),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=self._console,
        )
        self._task: Any = None

    def begin(self, meter: Meter) -> None:
        """Draw a new bar."""
        self._bar.start()
        self._task = self._bar.add_task(meter.what, total=meter.total, completed=meter.done, pace="")

    def update(self, meter: Meter) -> None:
        """Move the bar."""
        self._bar.update(self._task, completed=meter.done, pace=f"{_brief(meter.rate)}/s")

    def end(self, meter: Meter) -> None:
        """Leave the bar as it is and free the terminal."""
        self._bar.update(self._task, completed=meter.done)
        self._bar.stop()

    def fact(self, text: str) -> None:
        """Print the fact above the bar."""
        self._console.print(text)


class WorkProgress:
    """Progress of a command: told to every display; a stop request is raised at each advance."""

    def __init__(self, displays: Sequence[Display] = (), *, request: StopRequest | None = None) -> None:
        self._displays = list(displays)
        self._request = request
        self._meter: Meter | None = None
        self._watches: list[Callable[[], int]] = []
        self._looked = 0.0

    @property
    def stop_is_asked(self) -> bool:
        """Whether a stop was asked for; the next advance raises it."""
        return self._request is not None and self._request.number != 0

    def show_on(self, display: Display) -> None:
        """Tell one more display from now on."""
        self._displays.append(display)

    def hide_from(self, display: Display) -> None:
        """Tell this display no longer."""
        self._displays.remove(display)

    def watch(self, look: Callable[[], int]) -> None:
        """Look about once a second whether somebody asks for a stop by other means; a number other than 0 is the signal to act as."""
        self._watches.append(look)

    def start(self, what: str, total: int) -> None:
        """Announce a piece of work of `total` items; the one before is over."""
        self.finish()
        self._meter = Meter(what, total)
        for display in self._displays:
            display.begin(self._meter)

    def advance(self, items: int = 1) -> None:
        """Tell that so many more items are done.

        Raises
        ------
        Stopped
            If a signal or RELION asked for a stop.
        """
        if self._meter is not None:
            self._meter.done += items
            for display in self._displays:
                display.update(self._meter)
        self.check()

    def check(self) -> None:
        """A safe point without an advance.

        Raises
        ------
        Stopped
            If a signal or RELION asked for a stop.
        """
        if self._request is None:
            return
        now = time.monotonic()
        if self._watches and now - self._looked >= POLL_INTERVAL:
            self._looked = now
            for look in self._watches:
                if number := look():
                    self._request.ask(number)
        self._request.raise_if_asked()

    def skip(self, items: int) -> None:
        """Tell that an earlier run did so many items."""
        if self._meter is not None:
            self._meter.skip(items)

    def note(self, fact: str) -> None:
        """Tell one fact; a piece of work whose items are all done is over, and told before."""
        if self._meter is not None and 0 < self._meter.total <= self._meter.done:
            self.finish()
        for display in self._displays:
            display.fact(printable(fact))

    def finish(self) -> None:
        """End the piece of work that was announced, if any."""
        if self._meter is not None:
            for display in self._displays:
                display.end(self._meter)
            self._meter = None


def stream_display(stream: TextStream | None = None) -> Display:
    """The display for a stream (standard error): a bar on a terminal, lines elsewhere."""
    stream = stream or sys.stderr
    if stream.isatty():
        return BarDisplay(stream)
    return LineDisplay(line_writer(stream), interval=LINE_INTERVAL)


def line_writer(stream: TextStream) -> Callable[[str], None]:
    """A function that writes one line to the stream, and falls silent for good when its reader has gone."""
    gone = False

    def write(text: str) -> None:
        nonlocal gone
        if gone:
            return
        try:
            stream.write(text + "\n")
            stream.flush()
        except (BrokenPipeError, ValueError):
            gone = True

    return write


def clock(seconds: float) -> str:
    """A duration in words that fit a line: 42 s, 3:05, 2:10:00."""
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{whole} s"
    minutes, second = divmod(whole, 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"


def _brief(number: float) -> str:
    return f"{number:.0f}" if number >= 100 else f"{number:.3g}"
