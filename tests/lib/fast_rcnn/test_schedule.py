"""Iterations, epochs and learning rates from the command line and from solver files; learning rate warm-up."""
import numpy as np
import pytest
from test_train import SOLVER, run, small_net, weights  # noqa: F401  (fixture)

import caffe
from caffe.engine.solvers.lr_policy import current_step
from caffe.proto import caffe_pb2
from fast_rcnn.checkpoints import Checkpoints
from fast_rcnn.config import ConfigError, cfg, make_settings
from fast_rcnn.hooks import EndStateHook
from fast_rcnn.schedule import change_solver, epochs_in_words, iterations_of, steps_taken, write_solver
from fast_rcnn.train import Hook, SolverWrapper, TrainingStopped
from fast_rcnn.train_log import TrainLog
from utils import prototxt
from utils.files import read_json_lines


def solver(tmp_path, text):
    path = tmp_path / "numbers.pt"
    path.write_text(f"net: 'net.pt' base_lr: 0.1 {text}\n")
    return prototxt.read_solver(path)


@pytest.mark.parametrize("text, max_iters, changes", [
    ("lr_policy: 'step' gamma: 0.1 stepsize: 60000", 400, ["stepsize 60000 -> 300"]),
    ("lr_policy: 'step' gamma: 0.1 stepsize: 60000", 60001, []),            # falls late, but does: unchanged
    ("lr_policy: 'step' gamma: 0.1 stepsize: 100", 100, ["stepsize 100 -> 75"]),
    ("lr_policy: 'step' gamma: 1 stepsize: 100", 100, []),
    ("lr_policy: 'step' gamma: 0.1 stepsize: 100", None, []),
    ("lr_policy: 'multistep' gamma: 0.1 stepvalue: 200 stepvalue: 300 max_iter: 1000", 100,
     ["stepvalue 200 300 -> 20 30"]),
    ("lr_policy: 'multistep' gamma: 0.1 stepvalue: 200 stepvalue: 300", 200, ["stepvalue 200 300 -> 100 150"]),
    ("lr_policy: 'multistep' gamma: 0.1 stepvalue: 200 stepvalue: 300 max_iter: 300", 150,
     ["stepvalue 200 300 -> 100 150"]),             # like SSD's, where the last step is the end
    ("lr_policy: 'poly' power: 1 max_iter: 100", 150, ["max_iter 100 -> 150"]),
    ("lr_policy: 'poly' power: 1 max_iter: 100", 50, []), ("lr_policy: 'fixed'", 50, [])])
def test_learning_rate_steps_after_the_end_are_moved_before_it(tmp_path, text, max_iters, changes):
    param = solver(tmp_path, text)
    assert change_solver(param, max_iters) == changes
    assert change_solver(param, max_iters) == []


def test_a_given_learning_rate_replaces_that_of_the_file(tmp_path):
    param = solver(tmp_path, "lr_policy: 'fixed'")
    assert change_solver(param, lr=0.1) == []
    assert change_solver(param, lr=0.02) == ["base_lr 0.1 -> 0.02"]
    path = write_solver(param, "net.pt", tmp_path / "copy" / "solver.pt")
    copy = prototxt.read_solver(path)
    assert (copy.train_net, copy.net) == (str(tmp_path / "net.pt"), "") and np.float32(copy.base_lr) == np.float32(0.02)
    assert not copy.test_net
    param = solver(tmp_path, "test_iter: 3 test_iter: 4 test_net: 'other.pt'")
    copy = prototxt.read_solver(write_solver(param, "net.pt", tmp_path / "copy" / "solver.pt"))
    assert list(copy.test_net) == ["other.pt", str(tmp_path / "net.pt")]


def test_epochs_count_mirror_images_and_all_images_of_an_iteration():
    train = make_settings({"TRAIN.IMS_PER_BATCH": 2}).TRAIN
    assert iterations_of(1, 5, train) == 5
    assert iterations_of(2.5, 5, train) == 13
    assert iterations_of(10, 5, train, iter_size=4, processes=3) == 5
    assert epochs_in_words(2, 5, train) == "2 epochs of 10 images (5 and their mirror images)"
    train = make_settings({"TRAIN.IMS_PER_BATCH": 2, "TRAIN.USE_FLIPPED": False}).TRAIN
    assert iterations_of(1, 5, train) == 3 and iterations_of(0.001, 5, train) == 1
    assert epochs_in_words(0.5, 5, train) == "0.5 epochs of 5 images"


def test_more_epochs_than_caffe_can_count():
    with pytest.raises(ConfigError, match="1e[+]30 epochs of 7 images are 7e[+]30 iterations, more than 2147483647"):
        iterations_of(1e30, 7, make_settings({}).TRAIN)


def test_warm_up_is_linear(tmp_path):
    cfg.TRAIN.WARMUP_ITERS = 4
    (tmp_path / "solver.pt").write_text((SOLVER % 0.01).replace("display: 2", "display: 1"))
    run(tmp_path, "warm", 6)
    rates = [record["lr"] for record in read_json_lines(tmp_path / "warm.jsonl")]
    np.testing.assert_allclose(rates, np.array([0.25, 0.5, 0.75, 1, 1, 1]) * 0.01, rtol=1e-6)


@pytest.mark.parametrize("stop", [2, 3, 5])
def test_a_training_stopped_during_warm_up_reaches_the_same_weights(tmp_path, stop):
    class Stop(Hook):
        def after_iteration(self, training):
            if training.iteration == stop:
                checkpoints.write(training.solver)
                raise TrainingStopped(stop, True)

    cfg.TRAIN.WARMUP_ITERS = 3
    checkpoints = Checkpoints(tmp_path / "checkpoints")
    whole = run(tmp_path, "whole", 6)[-1]
    with pytest.raises(TrainingStopped):
        run(tmp_path, "parts", 6, checkpoints=checkpoints, hooks=[Stop()])
    resumed = run(tmp_path, "parts", 6, checkpoints=checkpoints, resume=True)[-1]
    for mine, theirs in zip(weights(resumed), weights(whole), strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_a_caffe_that_cannot_change_the_learning_rate_refuses_warm_up(tmp_path, monkeypatch):
    cfg.TRAIN.WARMUP_ITERS = 3
    wrapper = SolverWrapper("solver.pt", [], tmp_path / "out")
    monkeypatch.setattr(wrapper.solver, "param", type("Param", (), {"snapshot_prefix": ""})(), raising=False)
    with pytest.raises(ValueError, match="TRAIN.WARMUP_ITERS: this Caffe cannot change base_lr"):
        wrapper.train_model(3)


def test_without_warm_up_the_learning_rate_is_not_set(tmp_path, monkeypatch):
    monkeypatch.setattr("fast_rcnn.hooks.set_base_lr", lambda *values: pytest.fail("touched"))
    caffe.set_random_seed(5)
    run(tmp_path, "plain", 3)


def test_an_extended_training_reaches_the_weights_of_a_single_one(tmp_path):
    whole, log = run(tmp_path, "whole", 6)[-1], TrainLog("short", 4)
    end, checkpoints = Checkpoints(tmp_path / "end", "short"), Checkpoints(tmp_path / "checkpoints", "long")
    run(tmp_path, "parts", 4, hooks=[EndStateHook(end, log)])
    assert end.newest() is not None and end.iteration == 4
    checkpoints.copy_newest(Checkpoints(tmp_path / "end", "another"))
    assert not checkpoints.exist
    checkpoints.copy_newest(end)
    longer = run(tmp_path, "parts", 6, checkpoints=checkpoints, resume=True, hooks=[EndStateHook(end, log)])[-1]
    for mine, theirs in zip(weights(longer), weights(whole), strict=True):
        np.testing.assert_array_equal(mine, theirs)
    assert end.newest() is not None and end.iteration == 6 and not checkpoints.exist


def test_an_extended_training_follows_the_steps_of_the_longer_schedule(tmp_path):
    def rates(name, steps, iterations, **options):
        text = (SOLVER % 0.01).replace('"fixed"', '"multistep"').replace("display: 2", "display: 1")
        (tmp_path / "solver.pt").write_text(f"{text} gamma: 0.5 {steps}")
        run(tmp_path, name, iterations, **options)
        return [record["lr"] / 0.01 for record in read_json_lines(tmp_path / f"{name}.jsonl")]

    end, checkpoints = Checkpoints(tmp_path / "end"), Checkpoints(tmp_path / "checkpoints")
    short = rates("parts", "stepvalue: 2 stepvalue: 2", 4, hooks=[EndStateHook(end, TrainLog("short", 4))])
    np.testing.assert_allclose(short, [1, 1, 0.5, 0.25], rtol=1e-6)
    checkpoints.copy_newest(end)
    longer = rates("parts", "stepvalue: 3 stepvalue: 5", 7, checkpoints=checkpoints, resume=True)
    np.testing.assert_allclose(longer, [*short, 0.5, 0.25, 0.25], rtol=1e-6)


@pytest.mark.parametrize("values", [(), (1,), (3, 3, 3), (4, 2), (1, 2, 7)])
def test_the_steps_taken_are_those_of_the_engine(values):
    param, taken = caffe_pb2.SolverParameter(lr_policy="multistep", stepvalue=values), 0
    for iteration in range(9):
        assert steps_taken(param, iteration) == taken
        taken = current_step(param, iteration, taken)


def test_a_full_disk_loses_only_the_end_state(tmp_path, monkeypatch, capsys):
    def full(checkpoints, solver):
        raise OSError(28, "No space left on device")
    monkeypatch.setattr(Checkpoints, "write", full)
    run(tmp_path, "out", 2, hooks=[EndStateHook(Checkpoints(tmp_path / "end"), TrainLog("short", 4))])
    assert "end: no space left on device: a longer training would start over" in capsys.readouterr().out
