"""Validation during training: which models are kept, early stopping, and that nothing else changes."""
import signal
import types
from pathlib import Path

import numpy as np
import pytest
from test_train import run, small_net, weights  # noqa: F401  (fixture)

import caffe
from fast_rcnn.checkpoints import Checkpoints
from fast_rcnn.config import cfg
from fast_rcnn.detector_record import record_of
from fast_rcnn.hooks import EndStateHook
from fast_rcnn.train import Hook, TrainingStopped
from fast_rcnn.train_log import TrainLog
from fast_rcnn.validation import ValidationHook, ValidationPlan, best_model, index_of_best
from utils.files import read_json_lines, sha256_file

VALUES = {1: 0.1, 2: 0.4, 3: 0.3, 4: float("nan"), 5: 0.4, 6: 0.2, 7: 0.9, 8: 0.1}


class Stop(Hook):
    """Stops with a checkpoint."""

    def __init__(self, iteration, checkpoints):
        self._iteration, self._checkpoints = iteration, checkpoints

    def after_iteration(self, training):
        if training.iteration == self._iteration:
            self._checkpoints.write(training.solver)
            raise TrainingStopped(self._iteration, True)


def hook(tmp_path, patience=None, every=1, data="val", signals=types.MappingProxyType({})):
    """Returns one of VALUES, by the iteration in the model's name; creates a net with random weights beforehand.

    signals  of some iterations: sent while their models are measured
    """
    def prepare():
        caffe.Net("net.pt", caffe.TRAIN)
        return measure

    def measure(model):
        iteration = int(model.stem.rpartition("_")[2])
        if iteration in signals:
            signal.raise_signal(signals[iteration])
            pytest.fail("the signal did not end the validation")
        return {"AP50": VALUES[iteration], "AP": 0.0}
    return ValidationHook(prepare, ValidationPlan(every, patience), TrainLog("small", 8),
                          tmp_path / "validation.jsonl", cfg.TRAIN.SNAPSHOT_ITERS, data)


def test_the_best_model_is_kept_and_nothing_else_changes(tmp_path, capsys):
    cfg.TRAIN.SNAPSHOT_ITERS = 3
    plain = run(tmp_path, "plain", 6)
    validated = run(tmp_path, "validated", 6, hooks=[hook(tmp_path)])
    assert [sha256_file(path) for path in plain] == [sha256_file(path) for path in validated]
    best = tmp_path / "validated" / "small_best.caffemodel"
    assert {path.name for path in best.parent.glob("*.caffemodel")} == {
        "small_iter_3.caffemodel", "small_iter_6.caffemodel", best.name}
    second = run(tmp_path, "second", 2)[-1]
    for mine, theirs in zip(weights(best), weights(second), strict=True):
        np.testing.assert_array_equal(mine, theirs)
    lines = read_json_lines(tmp_path / "validation.jsonl")
    assert [(line["iteration"], line["best"]) for line in lines] == [(1, 1), (2, 2), (3, 2), (4, 2), (5, 2), (6, 2)]
    text = capsys.readouterr().out
    assert "small  validation after iteration 3: AP50 0.3000, AP 0.0000; best so far 0.4000 after 2" in text
    assert f"the best model, 0.4000 after iteration 2, is {best}" in text


@pytest.mark.parametrize("stop", [1, 2, 4])
@pytest.mark.parametrize("patience, last", [(None, 8), (3, 5)])
def test_a_resumed_training_keeps_and_stops_as_an_uninterrupted_one(tmp_path, stop, patience, last):
    checkpoints = Checkpoints(tmp_path / "checkpoints")
    whole = run(tmp_path, "whole", 8, hooks=[hook(tmp_path, patience)])
    assert whole[-1].endswith(f"small_iter_{last}.caffemodel")
    assert read_json_lines(tmp_path / "whole.jsonl")[-1]["iteration"] == last
    record = (tmp_path / "validation.jsonl").read_bytes()
    (tmp_path / "validation.jsonl").unlink()
    with pytest.raises(TrainingStopped):
        run(tmp_path, "parts", 8, hooks=[hook(tmp_path, patience), Stop(stop, checkpoints)], checkpoints=checkpoints)
    with open(tmp_path / "validation.jsonl", "a") as file:      # of a training that was killed after its checkpoint
        file.write('{"iteration": 7, "stage": "small", "data": "val", "figures": {"AP50": 1.0}, "best": 7}\n')
    parts = run(tmp_path, "parts", 8, hooks=[hook(tmp_path, patience)], checkpoints=checkpoints, resume=True)
    assert (tmp_path / "validation.jsonl").read_bytes() == record
    for name in (f"small_iter_{last}.caffemodel", "small_best.caffemodel"):
        assert sha256_file(tmp_path / "whole" / name) == sha256_file(tmp_path / "parts" / name)
    assert parts[-1].endswith(f"small_iter_{last}.caffemodel") and not checkpoints.exist


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
@pytest.mark.parametrize("iteration", [2, 3, 8])
def test_a_stop_during_validation_ends_it_and_resuming_makes_up_for_it(tmp_path, iteration, number):
    checkpoints, whole = Checkpoints(tmp_path / "checkpoints"), run(tmp_path, "whole", 8, hooks=[hook(tmp_path)])
    record = (tmp_path / "validation.jsonl").read_bytes()
    (tmp_path / "validation.jsonl").unlink()
    with pytest.raises(TrainingStopped, match=f"after iteration {iteration}") as stopped:
        run(tmp_path, "parts", 8, hooks=[hook(tmp_path, signals={iteration: number})], checkpoints=checkpoints)
    assert stopped.value.has_checkpoint and len(read_json_lines(tmp_path / "validation.jsonl")) == iteration - 1
    parts = run(tmp_path, "parts", 8, hooks=[hook(tmp_path)], checkpoints=checkpoints, resume=True)
    assert (tmp_path / "validation.jsonl").read_bytes() == record
    for name in (Path(whole[-1]).name, "small_best.caffemodel"):
        assert sha256_file(tmp_path / "whole" / name) == sha256_file(tmp_path / "parts" / name)
    assert {path.name for path in (tmp_path / "parts").glob("*.caffemodel")} == {
        path.name for path in (tmp_path / "whole").glob("*.caffemodel")} and len(parts) == 1


def test_a_stop_during_an_iteration_leaves_out_the_validation_after_it(tmp_path):
    class Asked(Hook):
        def after_iteration(self, training):
            if training.iteration == 2:
                signal.raise_signal(signal.SIGTERM)

    checkpoints = Checkpoints(tmp_path / "checkpoints")
    with pytest.raises(TrainingStopped, match="after iteration 2"):
        run(tmp_path, "out", 8, hooks=[Asked(), hook(tmp_path)], checkpoints=checkpoints)
    assert len(read_json_lines(tmp_path / "validation.jsonl")) == 1
    run(tmp_path, "out", 3, hooks=[hook(tmp_path)], checkpoints=checkpoints, resume=True)
    assert [line["iteration"] for line in read_json_lines(tmp_path / "validation.jsonl")] == [1, 2, 3]


def test_a_training_that_stopped_early_ends_there_again_until_it_gets_more_patience(tmp_path):
    checkpoints, end = Checkpoints(tmp_path / "checkpoints"), Checkpoints(tmp_path / "end")
    last = run(tmp_path, "out", 8, hooks=[hook(tmp_path, 3), EndStateHook(end, TrainLog("small", 8))])[-1]
    assert last.endswith("small_iter_5.caffemodel")
    before = (tmp_path / "validation.jsonl").read_bytes()
    for patience, iteration in ((3, 5), (4, 6)):
        checkpoints.copy_newest(end)
        again = run(tmp_path, "out", 8, hooks=[hook(tmp_path, patience)], checkpoints=checkpoints, resume=True)
        assert again[-1].endswith(f"small_iter_{iteration}.caffemodel")
        assert (patience == 3) == ((tmp_path / "validation.jsonl").read_bytes() == before)


def test_results_on_another_data_set_do_not_count(tmp_path):
    checkpoints = Checkpoints(tmp_path / "checkpoints")
    with pytest.raises(TrainingStopped):
        run(tmp_path, "out", 8, hooks=[hook(tmp_path), Stop(3, checkpoints)], checkpoints=checkpoints)
    run(tmp_path, "out", 4, hooks=[hook(tmp_path, data="other")], checkpoints=checkpoints, resume=True)
    assert [line["iteration"] for line in read_json_lines(tmp_path / "validation.jsonl")] == [3, 4]


def test_iterations_between_validations(tmp_path):
    run(tmp_path, "out", 8, hooks=[hook(tmp_path, every=3)])
    assert [line["iteration"] for line in read_json_lines(tmp_path / "validation.jsonl")] == [3, 6, 8]


def test_the_first_of_equal_results_is_best():
    assert index_of_best([0.1, 0.4, float("nan"), 0.4]) == 1
    assert index_of_best([float("nan"), float("nan")]) == 0
    assert index_of_best([float("nan"), 0.0]) == 1
    assert best_model("a/net_stage1_iter_20.caffemodel").name == "net_stage1_best.caffemodel"
    assert record_of(best_model("a/net_iter_2.caffemodel")).name == "net_best.detector.json"
