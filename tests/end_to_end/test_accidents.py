"""Closed terminals, damaged files, copied runs and kills at random moments do not change the resulting models."""
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from test_alt_opt import FINAL, models, wait_for, wait_until_free

from alt_opt.manifest import Manifest
from fast_rcnn.checkpoints import END_STATES
from fast_rcnn.detector_record import RUN_RECORD
from utils.files import read_json

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.slow
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}
LAST = "stage2_fast_rcnn"


def children(process):
    return [int(pid) for pid in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()]


def checkpoint(output):
    """The weights of the newest checkpoint of the last step."""
    iteration = read_json(output / "checkpoints" / LAST / "checkpoint.json")["iteration"]
    [weights] = output.glob(f"checkpoints/{LAST}/iter_{iteration}/*.caffemodel")
    return weights


def copy_without_last_step(finished, output):
    """Copy a finished run as if its last step had not begun."""
    shutil.copytree(finished, output)
    Manifest(output).forget(LAST)
    shutil.rmtree(output / END_STATES / LAST)
    for path in (output / FINAL, output / RUN_RECORD, output / "steps" / f"{LAST}_result.json",
                 *output.glob(f"logs/**/{LAST}.jsonl"), *output.glob("tiny_fast_rcnn_stage2_*")):
        path.unlink()


@pytest.fixture(scope="module")
def killed(finished_run, trainer, tmp_path_factory):
    """A copy of a run that was killed in its last step, after a checkpoint; the original's checkpoint is then changed.
    """
    original = tmp_path_factory.mktemp("killed") / "original"
    copy_without_last_step(finished_run[0], original)
    process = trainer.start(original, "--resume")
    wait_for((original / "checkpoints" / LAST / "checkpoint.json").exists, process)
    process.kill()
    process.wait()
    wait_until_free(original)
    copy = original.with_name("copy")
    shutil.copytree(original, copy)
    shutil.copy(finished_run[0] / FINAL, checkpoint(original))
    return copy


@pytest.fixture
def killed_run(killed, tmp_path):
    """A copy of `killed` for one test."""
    return Path(shutil.copytree(killed, tmp_path / "run"))


def test_a_closed_terminal_leaves_a_checkpoint(finished_run, trainer, tmp_path):
    """When a terminal closes, the kernel and the shell each send SIGHUP."""
    output = tmp_path / "run"
    copy_without_last_step(finished_run[0], output)
    ours, theirs = os.openpty()
    process = subprocess.Popen(trainer.command(output, "--resume", settings=["TRAIN.SNAPSHOT_ITERS", "1000"]),
                               stdout=theirs, stderr=theirs, env=ENVIRONMENT)
    os.close(theirs)
    wait_for((output / "logs" / f"{LAST}.jsonl").exists, process)
    os.close(ours)
    process.send_signal(signal.SIGHUP)
    time.sleep(0.1)
    process.send_signal(signal.SIGHUP)
    assert process.wait(timeout=60) == 130
    assert read_json(output / "checkpoints" / LAST / "checkpoint.json")["iteration"] > 0
    status, text = trainer.run(output, "--resume")
    assert status == 0 and f"{LAST}  resumes after iteration" in text
    assert models(output) == models(finished_run[0])


def test_a_closed_pipe_does_not_end_the_run(finished_run, trainer, killed_run):
    with subprocess.Popen(trainer.command(killed_run, "--resume"), stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          env=ENVIRONMENT) as process:
        process.stdout.readline()
        process.stdout.close()
        assert process.wait(timeout=300) == 0
    assert models(killed_run) == models(finished_run[0])


def test_a_copied_run_resumes_from_its_own_weights(finished_run, trainer, killed_run):
    status, text = trainer.run(killed_run, "--resume")
    assert status == 0 and f"{LAST}  resumes after iteration" in text, text
    assert models(killed_run) == models(finished_run[0])


def test_a_step_whose_only_checkpoint_is_damaged_starts_over(finished_run, trainer, killed_run):
    for path in killed_run.glob(f"checkpoints/{LAST}/iter_*/*.caffemodel"):
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 16
        path.write_bytes(content)
    status, text = trainer.run(killed_run, "--resume")
    assert status == 0 and f"{LAST}  starts over, as its checkpoints are damaged: " in text, text
    assert models(killed_run) == models(finished_run[0])


@pytest.mark.parametrize("seed", [1])       # others: seeds 2 and up
def test_kills_at_random_moments(finished_run, trainer, tmp_path, seed):
    """Each signal goes to the driver or to its child, and the run is resumed."""
    rng, output = random.Random(seed), tmp_path / "run"
    for _ in range(3):
        process = trainer.start(output, "--resume")
        end = time.monotonic() + rng.uniform(3, 12)
        while process.poll() is None and time.monotonic() < end:
            time.sleep(0.01)
        if process.poll() is None:
            number = rng.choice([signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
            targets = children(process) if rng.random() < 0.4 else [process.pid]
            for pid in targets[:1]:
                os.kill(pid, number)
            process.wait(timeout=120)
        wait_until_free(output)
    status, text = trainer.run(output, "--resume")
    assert status == 0, text
    assert models(output) == models(finished_run[0])
    assert not [path for path in output.rglob(".*.tmp*") if "features" not in path.parts]


# ---- tools/train_net.py
@pytest.fixture
def train_net(finished_run, demo_data, tmp_path):
    """Starts tools/train_net.py."""
    def start(*options, **popen):
        command = [sys.executable, str(ROOT / "tools" / "train_net.py"), "--cpu", "--imdb", f"{demo_data}:test",
                   "--solver", str(finished_run[0] / "models/Tiny/faster_rcnn_end2end/solver.pt"), "--cfg",
                   str(ROOT / "experiments/cfgs/tiny_end2end.yml"), "--output", str(tmp_path / "out"), *options,
                   "--set", "TRAIN.SCALES", "(96,)", "TRAIN.SNAPSHOT_ITERS", "1000"]
        return subprocess.Popen(command, env=ENVIRONMENT, text=True, **popen)
    return start


def test_train_net_stops_for_a_closed_terminal_and_locks_its_folder(train_net, tmp_path):
    log = tmp_path / "out" / "logs" / "faster_rcnn_end2end_solver.jsonl"
    process = train_net("--iters", "100000", stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    wait_for(log.exists, process)
    second = train_net("--iters", "2", stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    text = second.communicate(timeout=120)[0]
    assert second.returncode == 2 and f"is in use by process {process.pid}" in text, text
    process.stdout.close()
    process.send_signal(signal.SIGHUP)
    process.send_signal(signal.SIGHUP)
    assert process.wait(timeout=60) == 130
    note = tmp_path / "out" / "checkpoints" / "faster_rcnn_end2end_solver" / "checkpoint.json"
    done = read_json(note)["iteration"]
    resumed = train_net("--iters", str(done + 2), "--resume", stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    text = resumed.communicate(timeout=120)[0]
    assert resumed.returncode == 0 and f"resumes after iteration {done}," in text, text


def test_train_net_ignores_hangups_with_nohup(train_net, tmp_path):
    log = tmp_path / "out" / "logs" / "faster_rcnn_end2end_solver.jsonl"
    process = train_net("--iters", "100000", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
    wait_for(log.exists, process)
    process.send_signal(signal.SIGHUP)
    time.sleep(2)
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) == 130


def test_train_net_keeps_files_of_the_user(train_net, tmp_path):
    mine = tmp_path / "out" / "tiny_faster_rcnn_iter_2.caffemodel"
    mine.parent.mkdir()
    process = train_net("--iters", "2", stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    text = process.communicate(timeout=120)[0]
    assert process.returncode == 0, text
    final = Path(text.rsplit("Final model: ", 1)[1].strip())
    (tmp_path / "out" / "own_files.json").unlink()
    final.write_text("mine")
    for words, message in (((), "holds a run already"), (("--restart",), "holds files that would be overwritten")):
        process = train_net("--iters", "2", *words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        text = process.communicate(timeout=120)[0]
        assert process.returncode == 2 and message in text, text
        assert final.read_text() == "mine"
