"""A small data set, and runs of the training tool on it.

The data set and the finished run are made once for all processes of pytest-xdist: the first process that needs them
makes them while the others wait.
"""
import contextlib
import fcntl
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from datasets.demo_scenes import make_demo_dataset

ROOT = Path(__file__).resolve().parents[2]
FORKED_STEPS = Path(__file__).with_name("forked_steps.py")
SETTINGS = ["TRAIN.SCALES", "(160,)", "TRAIN.MAX_SIZE", "240", "TEST.SCALES", "(160,)", "TEST.MAX_SIZE", "240",
            "TRAIN.RPN_POST_NMS_TOP_N", "60", "TRAIN.BATCH_SIZE", "16", "TRAIN.SNAPSHOT_ITERS", "2"]


class Trainer:
    """Runs tools/train_faster_rcnn_alt_opt.py with Tiny on the data set for 12, 3, 4 and 60 iterations.

    Its steps are forked (see forked_steps.py) unless `program` is the tool itself.
    """

    tool = ROOT / "tools" / "train_faster_rcnn_alt_opt.py"

    def __init__(self, data: Path):
        self.imdb = f"{data}:trainval"

    def command(self, output, *options, settings=(), program=FORKED_STEPS):
        return [sys.executable, str(program), "--net_name", "Tiny", "--cpu", "--imdb", self.imdb, "--max_iters", "12",
                "3", "4", "60", "--output", str(output), *options, "--set", *SETTINGS, *settings]

    def start(self, output, *options, settings=(), log=subprocess.DEVNULL):
        return subprocess.Popen(self.command(output, *options, settings=settings), stdout=log,
                                stderr=subprocess.STDOUT, env={**os.environ, "OMP_NUM_THREADS": "1"})

    def run(self, output, *options, **more):
        done = subprocess.run(self.command(output, *options, **more), text=True, capture_output=True, timeout=300,
                              env={**os.environ, "OMP_NUM_THREADS": "1"})
        return done.returncode, done.stdout + done.stderr


@pytest.fixture(scope="session")
def common(tmp_path_factory):
    """A folder shared by all processes of pytest-xdist."""
    folder = tmp_path_factory.getbasetemp()
    folder = (folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder) / "end_to_end"
    folder.mkdir(exist_ok=True)
    return folder


@contextlib.contextmanager
def locked(folder):
    with open(folder / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@pytest.fixture(scope="session")
def demo_data(common):
    """A data set of six training and two test images with four kinds of shapes."""
    with locked(common):
        return make_demo_dataset(common / "demo", num_train=6, num_test=2)


@pytest.fixture(scope="session")
def trainer(demo_data):
    return Trainer(demo_data)


@pytest.fixture(scope="session")
def finished_run(trainer, common, tmp_path_factory):
    """An uninterrupted run: its output folder, copied for this process, and what it printed."""
    original, printed = common / "finished", common / "printed"
    with locked(common):
        if not printed.exists():
            status, text = trainer.run(original, program=trainer.tool)
            assert status == 0, text
            printed.write_text(text)
    output = tmp_path_factory.mktemp("runs") / "finished"
    shutil.copytree(original, output)
    return output, printed.read_text().replace(str(original), str(output))
