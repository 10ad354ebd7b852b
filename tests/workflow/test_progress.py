"""Progress: lines for logs, a bar for terminals, silence for gone readers; and the safe points in it."""

import io
import os
import signal
import threading

import pytest

from cryowalk.core.errors import Stopped
from cryowalk.workflow import progress as module
from cryowalk.workflow.progress import BarDisplay, LineDisplay, Meter, WorkProgress, clock, line_writer, stream_display
from cryowalk.workflow.signals import stop_on_signals


def test_a_line_tells_share_rate_and_time_left(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    meter = Meter("fit\x1b[2J", 200)
    now[0] += 10
    meter.done = 50
    assert meter.line() == "fit\\x1b[2J: 25 % (50 of 200), 5 a second, 30 s left"
    meter.skip(100)
    assert meter.line() == "fit\\x1b[2J: 75 % (150 of 200), 5 a second, 10 s left"
    assert meter.summary() == "fit\\x1b[2J: 150 in 10 s (5 a second)"


def test_lines_are_spaced(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    lines: list[str] = []
    progress = WorkProgress([LineDisplay(lines.append, interval=5)])
    progress.start("align", 100)
    for _ in range(100):
        now[0] += 0.11
        progress.advance()
    progress.note("3 images left out")
    progress.start("next", 1)
    assert [line.split(":")[0] for line in lines] == ["align", "align", "align", "3 images left out"]
    assert lines[2] == "align: 100 in 11 s (9.09 a second)"  # told before the fact of what comes next


def test_a_fact_in_the_middle_of_work_ends_nothing():
    lines: list[str] = []
    progress = WorkProgress([LineDisplay(lines.append, interval=5)])
    progress.start("align", 3)
    progress.advance(2)
    progress.note("one is odd")
    progress.advance()
    progress.advance()  # one more than was announced
    progress.finish()
    assert [line.split(":")[0] for line in lines] == ["one is odd", "align"]
    assert lines[1].startswith("align: 4 in")


def test_a_bar_is_drawn_on_a_terminal():
    stream = io.StringIO()
    stream.isatty = lambda: True  # type: ignore[method-assign]
    display = stream_display(stream)
    assert isinstance(display, BarDisplay)
    progress = WorkProgress([display])
    progress.start("align [red]", 10)
    progress.advance(10)
    progress.note("a fact [bold]")
    progress.finish()
    text = stream.getvalue()
    assert "align [red]" in text
    assert "10/10" in text
    assert "a fact [bold]" in text


def test_a_reader_that_has_gone_silences_the_display():
    class Gone(io.StringIO):
        writes = 0

        def write(self, _: str) -> int:
            self.writes += 1
            raise BrokenPipeError

    stream = Gone()
    write = line_writer(stream)
    write("a")
    write("b")
    assert stream.writes == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_is_raised_at_the_next_advance(number, capfd):
    with stop_on_signals() as request:
        progress = WorkProgress(request=request)
        progress.start("work", 3)
        progress.advance()
        os.kill(os.getpid(), number)
        assert progress.stop_is_asked
        with pytest.raises(Stopped) as told:
            progress.advance()
    assert told.value.signal_number == number
    assert "once more to stop at once" in capfd.readouterr().err
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_an_ignored_signal_stays_ignored():
    former = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with stop_on_signals() as request:
            os.kill(os.getpid(), signal.SIGINT)
            request.raise_if_asked()
    finally:
        signal.signal(signal.SIGINT, former)


def test_other_threads_install_nothing():
    def inside() -> None:
        with stop_on_signals() as request:
            request.raise_if_asked()

    thread = threading.Thread(target=inside)
    thread.start()
    thread.join()
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


@pytest.mark.parametrize(("seconds", "text"), [(0.42, "0.4 s"), (42.3, "42 s"), (185, "3:05"), (7800, "2:10:00"), (59.9, "1:00")])
def test_clocks(seconds, text):
    assert clock(seconds) == text
