"""Child processes that succeed, fail, are killed or interrupted, or whose parent dies.

A child that interrupts its parent sleeps a second before, so that the parent is already waiting for it.
"""
import io
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from process_helpers import is_running, wait_until

from utils.child_process import ChildDied, StopRequest, describe_status, run_child

LIB = Path(__file__).resolve().parents[3] / "lib"
PRELUDE = f"import sys, os, time, signal; sys.path.insert(0, {str(LIB)!r})\n"


def python(code):
    return [sys.executable, "-c", PRELUDE + code]


def run(tmp_path, code, **options):
    stream = io.StringIO()
    try:
        run_child(python(code), "stage1_rpn", tmp_path / "logs" / "step.log", stream=stream, **options)
    finally:
        run.printed = stream.getvalue()
    return run.printed


def test_output_of_both_streams_is_printed_and_logged(tmp_path):
    printed = run(tmp_path, "print('one'); print('two', file=sys.stderr)")
    assert sorted(printed.split()) == ["one", "two"]
    assert (tmp_path / "logs" / "step.log").read_text() == printed


def test_a_failure_shows_the_last_lines_and_the_log(tmp_path):
    with pytest.raises(ChildDied) as caught:
        run(tmp_path, "print('a line'); raise ValueError('what went wrong')")
    message = str(caught.value)
    assert "stage1_rpn died (exit status 1)" in message
    assert "| ValueError: what went wrong" in message and "step.log" in message
    assert caught.value.status == 1


def test_a_child_killed_silently_is_noticed_at_once(tmp_path):
    start = time.monotonic()
    with pytest.raises(ChildDied, match="killed by SIGKILL, perhaps out of memory"):
        run(tmp_path, "print('working', flush=True); os.kill(os.getpid(), signal.SIGKILL)")
    assert time.monotonic() - start < 10


def test_a_process_left_behind_that_holds_the_output_open_does_not_hang_the_parent(tmp_path):
    start = time.monotonic()
    with pytest.raises(ChildDied, match="exit status 3"):
        run(tmp_path, "import subprocess\nsubprocess.Popen(['sleep', '8'])\nos._exit(3)")
    assert time.monotonic() - start < 7


def test_a_stop_request_is_passed_on_and_the_child_ends_cleanly(tmp_path):
    code = ("from utils.child_process import StopRequest, INTERRUPTED\n"
            "with StopRequest() as stop:\n"
            f"    time.sleep(1); os.kill({os.getpid()}, signal.SIGINT)\n"
            "    while not stop.requested: time.sleep(0.01)\n"
            "print('checkpoint written'); sys.exit(INTERRUPTED)")
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, code)
    assert "Stopping" in run.printed and "checkpoint written" in run.printed


def test_sigterm_to_the_parent_counts_as_ctrl_c(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, f"time.sleep(1); os.kill({os.getpid()}, signal.SIGTERM); time.sleep(30)")
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_a_child_that_finishes_although_asked_to_stop_has_succeeded(tmp_path):
    run(tmp_path, "signal.signal(signal.SIGTERM, lambda *a: sys.exit(0))\n"
                  f"time.sleep(1); os.kill({os.getpid()}, signal.SIGINT); time.sleep(30)")


def test_the_child_ends_when_its_parent_is_killed(tmp_path):
    pid_file = tmp_path / "pid"
    child = (PRELUDE + "from utils.child_process import end_with_parent\nend_with_parent()\n"
             f"open({str(pid_file)!r}, 'w').write(str(os.getpid()) + '!')\ntime.sleep(60)")
    parent = subprocess.Popen(python(
        "from utils.child_process import run_child\n"
        f"run_child([sys.executable, '-c', {child!r}], 'step', {str(tmp_path / 'log')!r})"))
    wait_until(lambda: pid_file.exists() and pid_file.read_text().endswith("!"))
    pid = int(pid_file.read_text()[:-1])
    assert is_running(pid)
    parent.kill()
    parent.wait()
    wait_until(lambda: not is_running(pid))


def test_stop_request_only_raises_the_second_time():
    with StopRequest() as stop:
        os.kill(os.getpid(), signal.SIGTERM)
        wait_until(lambda: stop.requested)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(1)
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_exit_status_as_text():
    assert describe_status(1) == "exit status 1"
    assert describe_status(-11) == "killed by SIGSEGV"


CHILD_WITH_CHECKPOINT = (
    "from utils.child_process import StopRequest, INTERRUPTED\n"
    "with StopRequest() as stop:\n"
    "    print('training', flush=True)\n"
    "    while not stop.requested: time.sleep(0.01)\n"
    "for _ in range(50): print('writing', flush=True); time.sleep(0.02)\n"
    "open(sys.argv[1], 'w').close(); sys.exit(INTERRUPTED)")


def start_parent(tmp_path, child, prelude="", **options):
    """A process that runs a child by `run_child`; the child's argument is the file to write as its checkpoint."""
    command = [sys.executable, "-c", PRELUDE + child, str(tmp_path / "checkpoint")]
    code = (f"{prelude}\nfrom utils.child_process import run_child\n"
            f"try: run_child({command!r}, 'step', {str(tmp_path / 'log')!r})\n"
            "except KeyboardInterrupt: sys.exit(130)")
    return subprocess.Popen(python(code), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)


@pytest.mark.parametrize("signals", [[signal.SIGHUP] * 3, [signal.SIGINT] * 2, [signal.SIGTERM, signal.SIGHUP]])
@pytest.mark.slow
def test_a_closed_terminal_leaves_the_child_the_time_for_its_checkpoint(tmp_path, signals):
    """Shells and torchrun send signals twice, and nobody reads the output."""
    process = start_parent(tmp_path, CHILD_WITH_CHECKPOINT)
    assert process.stdout.readline() == "training\n"
    process.stdout.close()
    process.stderr.close()
    for number in signals:
        process.send_signal(number)
        time.sleep(0.1)
    assert process.wait(timeout=30) == 130
    assert (tmp_path / "checkpoint").exists()


def test_a_second_ctrl_c_kills_the_child(tmp_path):
    child = ("signal.signal(signal.SIGTERM, lambda *a: print('asked', flush=True))\n"
             "print('on', flush=True); time.sleep(60)\n")
    with start_parent(tmp_path, child) as process:
        assert process.stdout.readline() == "on\n"
        process.send_signal(signal.SIGINT)
        assert "asked\n" in iter(process.stdout.readline, "")
        time.sleep(1.1)
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=10) == 130


def test_a_hangup_that_was_ignored_before_stays_ignored(tmp_path):
    """`nohup` ignores it; Ctrl-C still stops the child."""
    ignore = "signal.signal(signal.SIGHUP, signal.SIG_IGN)"
    with start_parent(tmp_path, CHILD_WITH_CHECKPOINT, prelude=ignore) as process:
        assert process.stdout.readline() == "training\n"
        process.send_signal(signal.SIGHUP)
        time.sleep(0.5)
        assert process.poll() is None and not (tmp_path / "checkpoint").exists()
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=30) == 130
    assert (tmp_path / "checkpoint").exists()


def test_hangups_request_a_stop_and_never_interrupt_it():
    with StopRequest() as stop:
        for _ in range(3):
            os.kill(os.getpid(), signal.SIGHUP)
            time.sleep(0.05)
        assert stop.requested
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with StopRequest() as stop:
            os.kill(os.getpid(), signal.SIGHUP)
            time.sleep(0.05)
            assert not stop.requested
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_stop_request_after_the_child_has_finished_is_reported(tmp_path):
    assert run_child(python("pass"), "step", tmp_path / "log", stream=io.StringIO()) is False
    late = (f"signal.signal(signal.SIGTERM, lambda *a: sys.exit(0))\n"
            f"time.sleep(1); os.kill({os.getpid()}, signal.SIGINT); time.sleep(30)")
    assert run_child(python(late), "step", tmp_path / "log", stream=io.StringIO()) is True
