"""Timers and progress lines."""
import io
import re
import time

from utils import timer
from utils.timer import Progress, Timer, with_progress


def test_timer_averages():
    timer = Timer()
    for _ in range(3):
        timer.tic()
        time.sleep(0.002)
        assert timer.toc(average=False) >= 0.002
    assert timer.calls == 3
    assert timer.average_time == timer.total_time / 3 >= 0.002


def test_progress_prints_the_first_the_last_and_now_and_then():
    stream = io.StringIO()
    progress = Progress("work", 50, seconds=1000, stream=stream)
    for _ in range(50):
        progress.step()
    first, last = stream.getvalue().splitlines()
    assert re.fullmatch(r"work: 1/50 \d+\.\d{3}s ETA 0:00:\d\d", first)
    assert re.fullmatch(r"work: 50/50 \d+\.\d{3}s ETA 0:00:00", last)


def test_progress_of_a_quick_job_is_silent_and_of_a_long_one_starts_late(monkeypatch):
    stream = io.StringIO()
    assert list(with_progress("quick", [1, 2, 3], stream=stream)) == [1, 2, 3] and stream.getvalue() == ""
    clock = iter(range(100))                                # a second per item
    monkeypatch.setattr(timer.time, "perf_counter", lambda: next(clock))
    assert list(with_progress("long", range(10), stream=stream)) == list(range(10))
    assert stream.getvalue().splitlines() == ["long: 3/10 1.000s ETA 0:00:07", "long: 8/10 1.000s ETA 0:00:02",
                                              "long: 10/10 1.000s ETA 0:00:00"]
