"""A run of two processes: one is killed, then the run is resumed and stopped; results equal those of one process."""
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import caffe
from alt_opt.step import _imdb
from caffe.proto import caffe_pb2
from datasets.proposals_file import save_proposals
from fast_rcnn.config import cfg, cfg_from_file, reset_cfg
from fast_rcnn.train import get_training_roidb, train_net
from fast_rcnn.train_log import TrainLog
from rpn.generate import imdb_proposals
from utils.files import read_json, read_json_lines, sha256_file

pytestmark = pytest.mark.slow
ITERATIONS = {"stage1_rpn": 20, "stage1_fast_rcnn": 4, "stage2_rpn": 2000, "stage2_fast_rcnn": 4}
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]


def start(trainer, output, *options, log, launcher=(sys.executable,), **variables):
    """Start the tool with torchrun, or in a process that finds the others through its environment."""
    words = trainer.command(output, "--max_iters", *map(str, ITERATIONS.values()), *options, program=trainer.tool)
    return subprocess.Popen([*launcher, *words[1:]], stdout=log, stderr=subprocess.STDOUT,
                            env={**os.environ, "OMP_NUM_THREADS": "1", **variables})


def start_both(trainer, output, log):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    return [start(trainer, output, log=log, RANK=rank, LOCAL_RANK=rank, WORLD_SIZE="2", MASTER_ADDR="127.0.0.1",
                  MASTER_PORT=port) for rank in ("0", "1")]


def wait_for(file, process, seconds=120):
    end = time.monotonic() + seconds
    while not file.exists():
        assert time.monotonic() < end and process.poll() is None, f"{file} did not appear"
        time.sleep(0.005)


@pytest.fixture(scope="module")
def run(trainer, tmp_path_factory):
    """The output folder, and what was printed by the run with a killed process and by the run stopped later."""
    output = tmp_path_factory.mktemp("parallel") / "run"
    killed, stopped = output.parent / "killed", output.parent / "stopped"
    with open(killed, "w") as log:
        processes = start_both(trainer, output, log)
        wait_for(output / "checkpoints" / "stage1_rpn" / "checkpoint.json", processes[0])
        child = Path(f"/proc/{processes[1].pid}/task/{processes[1].pid}/children").read_text().split()[0]
        os.kill(int(child), signal.SIGKILL)
        assert [process.wait(timeout=120) for process in processes] == [1, 1]
    with open(stopped, "w") as log:
        process = start(trainer, output, "--resume", log=log, launcher=TORCHRUN)
        wait_for(output / "checkpoints" / "stage2_rpn" / "checkpoint.json", process)
        process.send_signal(signal.SIGINT)
        process.wait(timeout=120)
    yield output, killed.read_text(), stopped.read_text()
    reset_cfg()


def test_a_process_that_dies_ends_the_run_with_its_error(run):
    _, killed, _ = run
    assert "stage1_rpn (rank 1 of 2) died (killed by SIGKILL, perhaps out of memory). Its last lines:" in killed
    assert "stage1_rpn (rank 0 of 2) died (exit status 2)" in killed
    assert "another process of this run has ended or cannot be reached" in killed
    assert killed.count("with --resume continues") == 2 and killed.count("Output: ") == 1


def test_the_run_resumes_and_stops_in_all_processes_at_once(run):
    output, _, stopped = run
    assert "stage1_rpn  resumes after iteration" in stopped
    assert stopped.count("trains on") == 3      # one log
    steps = read_json(output / "manifest.json")["steps"]
    assert [step["state"] for step in steps.values()] == ["done", "done", "done", "running"]
    assert steps["stage1_rpn"]["inputs"]["processes"] == "2" and "processes" not in steps["stage1_proposals"]["inputs"]
    assert "stage2_rpn  stopped after iteration" in stopped
    iteration = int(stopped.rsplit("stopped after iteration ", 1)[1].split(";")[0])
    assert read_json(output / "checkpoints" / "stage2_rpn" / "checkpoint.json")["iteration"] == iteration
    other = (output / "logs" / "stage2_rpn.rank1.log").read_text()
    assert f"stopped after iteration {iteration};" not in other and "Traceback" not in other


def weights(path):
    model = caffe_pb2.NetParameter.FromString(Path(path).read_bytes())
    return {f"{layer.name}_{index}": caffe.io.blobproto_to_array(blob)
            for layer in model.layer for index, blob in enumerate(layer.blobs)}


@pytest.mark.parametrize("step", ["stage1_rpn", "stage1_fast_rcnn"])
def test_one_process_with_twice_the_iter_size_gives_the_same(run, step, tmp_path):
    output, _, _ = run
    job = read_json(output / "steps" / f"{step}.json")
    reset_cfg()
    cfg_from_file(job["cfg"])
    caffe.set_mode_cpu()
    caffe.set_random_seed(cfg.RNG_SEED)
    solver = tmp_path / "solver.pt"
    solver.write_text(Path(job["solver"]).read_text() + "\niter_size: 2\n")
    alone = train_net(solver, get_training_roidb(_imdb(job)), tmp_path, job["weights"], job["max_iters"],
                      log=TrainLog(step, job["max_iters"], tmp_path / "log.jsonl"))[-1]
    found, wanted = weights(read_json(job["result"])["path"]), weights(alone)
    assert sorted(found) == sorted(wanted)
    for name, values in wanted.items():
        np.testing.assert_allclose(found[name], values, rtol=1e-4, atol=1e-6 * abs(values).max(), err_msg=name)
    logged, logged_alone = read_json_lines(output / "logs" / f"{step}.jsonl"), read_json_lines(tmp_path / "log.jsonl")
    assert [record["iteration"] for record in logged] == [record["iteration"] for record in logged_alone]
    if step == "stage1_rpn":        # later lines hold means over iterations, some of them before the kill
        del logged[1:], logged_alone[1:]
    np.testing.assert_allclose([record["loss"] for record in logged], [record["loss"] for record in logged_alone],
                               rtol=1e-4)


def test_proposals_are_those_of_one_process(run, tmp_path):
    output, _, _ = run
    job = read_json(output / "steps" / "stage1_proposals.json")
    reset_cfg()
    cfg_from_file(job["cfg"])
    caffe.set_mode_cpu()
    imdb = _imdb(job)
    net = caffe.Net(job["net"], caffe.TEST, weights=job["weights"])
    save_proposals(tmp_path / "alone.npz", *imdb_proposals(net, imdb), imdb.image_index)
    assert sha256_file(tmp_path / "alone.npz") == sha256_file(read_json(job["result"])["path"])
