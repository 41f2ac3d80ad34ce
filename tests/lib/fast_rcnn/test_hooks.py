"""Hooks of the training loop: when and in which order they run, and the example of docs/training_hooks.md."""
import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest
from test_train import SOLVER, run, small_net, weights  # noqa: F401  (fixture)

from fast_rcnn import hooks
from fast_rcnn.checkpoints import Checkpoints
from fast_rcnn.config import cfg
from fast_rcnn.train import Hook, SolverWrapper, TrainingStopped, register_hook
from fast_rcnn.train_log import LossError, TrainLog

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(autouse=True)
def nothing_registered(monkeypatch):
    monkeypatch.setattr(hooks, "_makers", [])


class Recorder(Hook):
    """Records each call, with its name and the iteration."""

    def __init__(self, calls, name):
        self._calls, self._name = calls, name

    def _note(self, when, training):
        self._calls.append((self._name, when, training.iteration))

    def at_start(self, training):
        self._note("start", training)

    def before_iteration(self, training):
        self._note("before", training)

    def after_iteration(self, training):
        self._note("after", training)

    def at_end(self, training):
        self._note("end", training)


def test_when_hooks_are_called(tmp_path):
    calls = []
    run(tmp_path, "out", 2, hooks=[Recorder(calls, "a")])
    assert [call[1:] for call in calls] == [
        ("start", 0), ("before", 0), ("after", 1), ("before", 1), ("after", 2), ("end", 2)]


def test_the_order_of_all_hooks(tmp_path, monkeypatch):
    calls = []

    def noting(target, name, method):
        original = getattr(target, method)

        def noted(self, *arguments, **options):
            calls.append((name, method, 0))
            return original(self, *arguments, **options)
        monkeypatch.setattr(target, method, noted)

    noting(TrainLog, "log", "report")
    noting(SolverWrapper, "snapshot", "snapshot")
    noting(Checkpoints, "checkpoint", "write")
    cfg.TRAIN.SNAPSHOT_ITERS = 2
    register_hook(lambda: Recorder(calls, "registered"))
    monkeypatch.setattr("train_test_layers.Numbers.stop_at", 3)     # in iteration 2
    with pytest.raises(TrainingStopped):
        run(tmp_path, "out", 5, hooks=[Recorder(calls, "given")], checkpoints=Checkpoints(tmp_path / "checkpoints"))
    assert calls[-8:] == [
        ("registered", "before", 1), ("given", "before", 1), ("log", "report", 0), ("registered", "after", 2),
        ("given", "after", 2), ("snapshot", "snapshot", 0), ("checkpoint", "write", 0),
        ("checkpoint", "write", 0)]     # the second checkpoint is written when stopping


def test_each_training_creates_the_registered_hooks_again(tmp_path):
    made = []

    @register_hook
    class Mine(Hook):
        def __init__(self):
            made.append(self)

    run(tmp_path, "first", 1)
    run(tmp_path, "second", 1)
    assert len({id(hook) for hook in made}) == len(made) == 2 and isinstance(made[0], Mine)


class Halving(Hook):
    """Halves the weights after every third iteration."""

    def after_iteration(self, training):
        if training.iteration % 3 == 0:
            training.solver.net.params["bbox_pred"][0].data[...] *= 0.5


def test_weights_changed_by_a_hook_are_in_snapshot_and_checkpoint(tmp_path, monkeypatch):
    cfg.TRAIN.BBOX_NORMALIZE_TARGETS = False
    straight = weights(run(tmp_path, "straight", 6, hooks=[Halving()])[-1])
    assert np.any(straight[0] != weights(run(tmp_path, "plain", 6)[-1])[0])
    monkeypatch.setattr("train_test_layers.Numbers.stop_at", 5)     # in iteration 3
    checkpoints = Checkpoints(tmp_path / "checkpoints", "run")
    with pytest.raises(TrainingStopped, match="after iteration 3"):
        run(tmp_path, "stopped", 6, hooks=[Halving()], checkpoints=checkpoints)
    monkeypatch.setattr("train_test_layers.Numbers.stop_at", None)
    paths = run(tmp_path, "stopped", 6, hooks=[Halving()], checkpoints=checkpoints, resume=True)
    for got, wanted in zip(weights(paths[-1]), straight, strict=True):
        np.testing.assert_array_equal(got, wanted)


def test_losses_are_read_where_a_hook_requests_them(tmp_path):
    found = {}

    class Losses(Hook):
        def after_iteration(self, training):
            found[training.iteration] = training.mean_losses()

    run(tmp_path, "losses", 4, hooks=[Losses()])
    logged = {record["iteration"]: record["losses"]
              for record in map(json.loads, (tmp_path / "losses.jsonl").read_text().splitlines())}
    assert set(found) == {1, 2, 3, 4} and {number: found[number] for number in logged} == logged


@pytest.mark.parametrize("diverges", [False, True])
def test_contexts_are_exited_however_training_ends(tmp_path, diverges):
    calls = []

    class Contexts(Recorder):
        def at_start(self, training):
            training.contexts.callback(lambda: calls.append("left"))

        def before_iteration(self, training):
            training.step_contexts.callback(lambda: calls.append("stepped"))

    (tmp_path / "solver.pt").write_text(SOLVER % (1e30 if diverges else 0.01))
    if diverges:
        with pytest.raises(LossError):
            run(tmp_path, "out", 2, hooks=[Contexts(calls, "mine")])
        assert calls == ["stepped", ("mine", "after", 1), "stepped", "left"]
    else:
        run(tmp_path, "out", 2, hooks=[Contexts(calls, "mine")])
        assert calls == ["stepped", ("mine", "after", 1), "stepped", ("mine", "after", 2), "left", ("mine", "end", 2)]


def test_a_training_resumed_at_its_end_saves_a_snapshot(tmp_path):
    wrapper = SolverWrapper("solver.pt", [], tmp_path / "out")
    wrapper.solver.step(3)
    assert [Path(path).name for path in wrapper.train_model(3)] == ["small_iter_3.caffemodel"]


def test_the_example_of_the_document(tmp_path, monkeypatch):
    [module] = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "training_hooks.md").read_text(), re.S)
    (tmp_path / "my_hooks.py").write_text(module)
    monkeypatch.syspath_prepend(tmp_path)
    try:
        import my_hooks
        run(tmp_path, "out", 2)
    finally:
        sys.modules.pop("my_hooks", None)
    [record] = map(json.loads, (tmp_path / "weight_norms.jsonl").read_text().splitlines())
    assert record["iteration"] == 2 and record["norms"]["bbox_pred"] > 0 and issubclass(my_hooks.WeightNorms, Hook)
