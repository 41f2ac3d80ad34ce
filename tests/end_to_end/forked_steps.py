"""Runs tools/train_faster_rcnn_alt_opt.py with forked steps, which need not import PyTorch again.

For tests of the results of a run, not of its processes. The steps have no logs.
"""
import os
import sys
import traceback
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools"))
import train_faster_rcnn_alt_opt as tool  # noqa: E402

from alt_opt import step, team  # noqa: E402
from utils.child_process import ChildDied  # noqa: E402


def run_forked(command, name, log, **_options):
    """Replaces `run_child`."""
    sys.stdout.flush()
    child = os.fork()
    if not child:
        os._exit(run_step(command[-1]))
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status:
        raise ChildDied(name, status, [], log)
    return False


def run_step(job):
    """Run a step and flush its output; returns its exit status."""
    try:
        status = step.run_job([job])
    except BaseException:
        traceback.print_exc()
        status = 1
    sys.stdout.flush()
    sys.stderr.flush()
    return status


if __name__ == "__main__":
    step.end_with_parent = lambda: None     # would watch a pipe from the parent
    team.run_child = run_forked
    sys.exit(tool.main())
