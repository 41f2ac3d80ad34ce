"""Timers and lines of progress."""
import io
import re
import time

from utils.timer import Progress, Timer


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
