"""Runs tools/train_faster_rcnn_alt_opt.py with forked steps, which need not import PyTorch again.

For tests of what a run does, not of how Python starts its steps. All else is as usual: pipes, signals, logs.
"""
import contextlib
import functools
import gc
import os
import runpy
import signal
import subprocess
import sys
import traceback
from pathlib import Path
from types import SimpleNamespace

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools"))
import train_faster_rcnn_alt_opt as tool  # noqa: E402

import caffe  # noqa: E402, F401  (for all steps)
from utils import child_process  # noqa: E402


def popen(command, *, env, pass_fds, **options):
    """Like `subprocess.Popen` of a Python program, which runs where the new process would execute Python."""
    sys.stdout.flush()
    return subprocess.Popen(command, env=env, pass_fds=pass_fds, **options,
                            preexec_fn=functools.partial(become, command[1:], env, pass_fds))


def become(words, variables, kept):
    """Run the program words[0] in this process and end it."""
    status = 1
    try:
        for number in map(int, os.listdir("/proc/self/fd")):
            if number > 2 and number not in kept:
                with contextlib.suppress(OSError):      # the list's own descriptor is closed already
                    os.close(number)
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
            if signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
        os.environ.update(variables)
        sys.argv = words
        sys.stdin, sys.stdout, sys.stderr = (open(number, mode, buffering=1) for number, mode in enumerate("rww"))
        gc.enable()
        runpy.run_path(words[0], run_name="__main__")
    except SystemExit as end:
        status = end.code
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        os._exit(status)


if __name__ == "__main__":
    child_process.subprocess = SimpleNamespace(**{**vars(subprocess), "Popen": popen})
    sys.exit(tool.main())
