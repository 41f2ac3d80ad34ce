"""Solvers: updates against formulas in NumPy, the loop, nets, snapshots."""
import logging
import re

import numpy as np
import pytest
import torch

import caffe
from caffe.engine.solvers import (
    AdaDeltaSolver,
    AdaGradSolver,
    AdamSolver,
    NesterovSolver,
    RMSPropSolver,
    SGDSolver,
    display,
    get_solver,
)
from caffe.errors import SolverError
from caffe.proto import caffe_pb2, prototxt

NET = """
layer { name: "in" type: "Input" top: "x" top: "y"
        input_param { shape { dim: 4 dim: 3 } shape { dim: 4 dim: 2 } } }
layer { name: "fc" type: "InnerProduct" bottom: "x" top: "fc"
        param { lr_mult: 1 decay_mult: 1 } param { lr_mult: 2 decay_mult: 0 }
        inner_product_param { num_output: 5 weight_filler { type: "gaussian" std: 1 } } }
layer { name: "frozen" type: "InnerProduct" bottom: "fc" top: "out" param { lr_mult: 0 } param { lr_mult: 0 }
        inner_product_param { num_output: 2 weight_filler { type: "gaussian" std: 1 } } }
layer { name: "loss" type: "EuclideanLoss" bottom: "out" bottom: "y" top: "loss" }
"""
SGD = "lr_policy: 'step' gamma: 0.5 stepsize: 2 base_lr: 0.1 momentum: 0.9 random_seed: 3 "


def settings(text, net=NET, **fields):
    param = prototxt.parse(text, caffe_pb2.SolverParameter())
    if net is not None:
        prototxt.parse(net, param.net_param)
    param.MergeFrom(caffe_pb2.SolverParameter(**fields))
    return param


def feed(net, seed=0):
    random = np.random.RandomState(seed)
    net.blobs["x"].data[...] = random.randn(4, 3)
    net.blobs["y"].data[...] = random.randn(4, 2)


def make(text, **fields):
    solver = get_solver(settings(text, **fields))
    feed(solver.net)
    return solver


def weights(net):
    return [blob.data.copy() for blob in net.learnable_params]


# ---- updates: one step each, against the formulas
def sgd(g, h, t, p):
    h[0] = p.momentum * h[0] + 0.1 * g
    return h[0]


def nesterov(g, h, t, p):
    old, h[0] = h[0], p.momentum * h[0] + 0.1 * g
    return (1 + p.momentum) * h[0] - p.momentum * old


def adagrad(g, h, t, p):
    h[0] = h[0] + g * g
    return 0.1 * g / (np.sqrt(h[0]) + p.delta)


def rmsprop(g, h, t, p):
    h[0] = p.rms_decay * h[0] + (1 - p.rms_decay) * g * g
    return 0.1 * g / (np.sqrt(h[0]) + p.delta)


def adadelta(g, h, t, p):
    h[0] = p.momentum * h[0] + (1 - p.momentum) * g * g
    u = g * np.sqrt((h[1] + p.delta) / (h[0] + p.delta))
    h[1] = p.momentum * h[1] + (1 - p.momentum) * u * u
    return 0.1 * u


def adam(g, h, t, p):
    h[0] = p.momentum * h[0] + (1 - p.momentum) * g
    h[1] = p.momentum2 * h[1] + (1 - p.momentum2) * g * g
    rate = 0.1 * np.sqrt(1 - p.momentum2 ** (t + 1)) / (1 - p.momentum ** (t + 1))
    return rate * h[0] / (np.sqrt(h[1]) + p.delta)


@pytest.mark.parametrize("regularization", ["L1", "L2"])
@pytest.mark.parametrize("kind, formula, momentum, cls", [
    ("SGD", sgd, 0.9, SGDSolver), ("Nesterov", nesterov, 0.9, NesterovSolver),
    ("AdaGrad", adagrad, 0, AdaGradSolver), ("RMSProp", rmsprop, 0, RMSPropSolver),
    ("AdaDelta", adadelta, 0.9, AdaDeltaSolver), ("Adam", adam, 0.9, AdamSolver)])
def test_update_follows_its_formula(kind, formula, momentum, cls, regularization):
    solver = make("lr_policy: 'fixed' base_lr: 0.1 weight_decay: 0.3 delta: 0.01 momentum2: 0.99 "
                  "random_seed: 3 clip_gradients: 1.5",
                  type=kind, momentum=momentum, regularization_type=regularization)
    assert type(solver) is cls
    expected = [w.astype(np.float64) for w in weights(solver.net)]
    memory = [[np.zeros(w.shape), np.zeros(w.shape)] for w in expected]
    for iteration in range(3):
        solver.net.clear_param_diffs()
        solver.net.forward()
        solver.net.backward()
        gradients = [blob.diff.astype(np.float64) for blob in solver.net.learnable_params[:2]]
        norm = np.sqrt(sum((g * g).sum() for g in gradients))
        assert norm > 1.5
        for index, (lr_mult, decay_mult) in enumerate([(1, 1), (2, 0)]):
            w = expected[index]
            decayed = w if regularization == "L2" else np.sign(w)
            g = gradients[index] * (1.5 / norm) + 0.3 * decay_mult * decayed
            if kind in ("SGD", "Nesterov"):     # the learning rate is in the history
                step = formula(g * lr_mult, memory[index], iteration, solver.param)
            else:
                step = lr_mult * formula(g, memory[index], iteration, solver.param)
            expected[index] = w - step
        solver.step(1)
        for found, wanted in zip(weights(solver.net), expected, strict=True):
            np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)


def test_clipping_leaves_small_gradients_alone():
    one, two = make(SGD + "clip_gradients: 1e9"), make(SGD)
    one.step(3)
    two.step(3)
    for a, b in zip(weights(one.net), weights(two.net), strict=True):
        np.testing.assert_array_equal(a, b)


def test_clipping_to_0_without_gradient():
    solver = make(SGD + "clip_gradients: 0")
    solver.net.clear_param_diffs()
    solver.apply_update()
    assert np.isfinite(np.concatenate([weight.ravel() for weight in weights(solver.net)])).all()


@pytest.mark.parametrize("kind", ["AdaGrad", "RMSProp", "AdaDelta", "Adam"])
def test_history_of_frozen_parameters_accumulates_their_weight_decay(kind):
    """The weights do not change; without weight decay the history stays zero."""
    for decay in (0, 0.5):
        solver = make(f"type: '{kind}' lr_policy: 'fixed' base_lr: 0.1 momentum2: 0.9 weight_decay: {decay}"
                      + ("" if kind in ("AdaGrad", "RMSProp") else " momentum: 0.9"))
        before = weights(solver.net)
        solver.step(2)
        np.testing.assert_array_equal(weights(solver.net)[2], before[2])
        assert solver.history[2].data.any() == (decay > 0)


def test_restored_multistep_continues_from_its_step(tmp_path):
    text = "lr_policy: 'multistep' base_lr: 1 gamma: 0.5 "
    solver = make(text + "stepvalue: 1 stepvalue: 9", snapshot_prefix=str(tmp_path / "s"))
    solver.step(3)
    other = make(text + "stepvalue: 1 stepvalue: 2 stepvalue: 3")
    other.restore(solver.snapshot())
    rates = []
    for _ in range(3):
        rates.append(other.lr)
        other.step(1)
    assert rates == [0.25, 0.125, 0.125]


def test_iter_size_takes_the_mean_gradient():
    one, many = make(SGD), make(SGD + "iter_size: 4")
    one.step(2)
    many.step(2)
    for a, b in zip(weights(one.net), weights(many.net), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def test_momentum_keeps_the_learning_rate_of_past_steps():
    solver = make(SGD)
    solver.step(2)
    history = solver.history[0].data.copy()
    solver.step(1)
    gradient = solver.net.params["fc"][0].diff
    np.testing.assert_allclose(solver.history[0].data, 0.9 * history + 0.05 * gradient, rtol=1e-5)


# ---- the loop
def test_frozen_parameters_do_not_change_and_cost_nothing():
    solver = make(SGD + "weight_decay: 0.5")
    before = weights(solver.net)
    solver.step(2)
    np.testing.assert_array_equal(weights(solver.net)[2], before[2])
    assert not solver.net.params["frozen"][0].has_grad
    assert (weights(solver.net)[0] != before[0]).all()


def test_callbacks_run_around_the_gradients():
    solver, calls = make(SGD), []
    diff = solver.net.params["fc"][0].diff
    solver.add_callback(lambda: calls.append(("start", solver.iter, bool(diff.any()))),
                        lambda: calls.append(("ready", solver.iter, bool(diff.any()))))
    solver.step(2)
    assert calls == [("start", 0, False), ("ready", 0, True), ("start", 1, False), ("ready", 1, True)]


def test_display_shows_learning_rate_loss_and_outputs(caplog):
    solver = make(SGD + "display: 2 average_loss: 2 max_iter: 8")
    with caplog.at_level(logging.INFO, "caffe"):
        solver.step(3)
    lines = [record.getMessage() for record in caplog.records]
    number = r"[\d.e+-]+"
    wanted = [rf"Iteration 0, loss = {number}", rf"    Train net output #0: loss = {number} \(\* 1 = {number} loss\)",
              "Iteration 0, lr = 0.1",
              rf"Iteration 2 \({number} iter/s, {number}s/2 iters, ETA 0:00:0\d\), loss = {number}"]
    assert all(re.fullmatch(pattern, line) for pattern, line in zip(wanted, lines, strict=False)), lines
    assert lines[5] == "Iteration 2, lr = 0.05" and len(lines) == 6


def test_every_value_of_an_output_has_a_line_of_its_own(caplog):
    with caplog.at_level(logging.INFO, "caffe"):
        display.show_outputs("Test", {"long": torch.arange(12.0), "loss": torch.tensor(0.5)}, {"loss": 2.0})
    assert caplog.messages[1] == "    Test net output #1: long = 1" and len(caplog.messages) == 12
    assert caplog.messages[10:] == ["    Test net output long has 2 more values",
                                    "    Test net output #12: loss = 0.5 (* 2 = 1 loss)"]


def test_solve_ends_at_max_iter_and_writes_a_snapshot(tmp_path):
    solver = make(SGD + "max_iter: 5", snapshot_prefix=str(tmp_path / "s"))
    solver.solve()
    assert solver.iter == 5
    assert {path.name for path in tmp_path.iterdir()} == {"s_iter_5.caffemodel", "s_iter_5.solverstate"}


@pytest.mark.parametrize("form, name, ending", [("BINARYPROTO", "binary proto", ""), ("HDF5", "HDF5", ".h5")])
def test_snapshots_are_logged_in_the_words_of_caffe(tmp_path, caplog, form, name, ending):
    make(f"{SGD} snapshot_format: {form}", snapshot_prefix=str(tmp_path / "s")).snapshot()
    assert [record.message for record in caplog.records if record.message.startswith("Snapshotting")] == [
        f"Snapshotting to {name} file {tmp_path}/s_iter_0.caffemodel{ending}",
        f"Snapshotting solver state to {name} file {tmp_path}/s_iter_0.solverstate{ending}"]


def test_the_folder_of_the_snapshot_after_training_is_checked_before_it():
    solver = make(SGD + "max_iter: 2", snapshot_prefix="/no/such/folder/x")
    with pytest.raises(SolverError, match="cannot write into the folder /no/such/folder"):
        solver.solve()
    assert solver.iter == 0
    make(SGD + "max_iter: 1 snapshot_after_train: false", snapshot_prefix="/no/such/folder/x").solve()


def test_no_snapshot_after_train(tmp_path):
    make(SGD + "max_iter: 2 snapshot_after_train: false", snapshot_prefix=str(tmp_path / "s")).solve()
    assert not list(tmp_path.iterdir())


def test_dropout_masks_are_a_function_of_seed_and_iteration(tmp_path):
    net = NET.replace('bottom: "fc" top: "out"', 'bottom: "drop" top: "out"') + """
        layer { name: "drop" type: "Dropout" bottom: "fc" top: "drop" }"""
    blocks = net.split("layer {")
    net = "layer {".join([*blocks[:3], blocks[5], *blocks[3:5]])        # dropout comes before its reader
    whole = make(SGD, net=net, snapshot_prefix=str(tmp_path / "s"))
    whole.step(2)
    state = whole.snapshot()
    whole.step(2)
    resumed = make(SGD, net=net)
    resumed.net.forward()                                               # draws a mask that must not matter
    resumed.restore(state)
    resumed.step(2)
    for a, b in zip(weights(whole.net), weights(resumed.net), strict=True):
        np.testing.assert_array_equal(a, b)


# ---- snapshots
@pytest.mark.parametrize("form", ["BINARYPROTO", "HDF5"])
@pytest.mark.parametrize("kind", ["SGD", "Adam"])
def test_restored_run_continues_bit_by_bit(tmp_path, kind, form):
    text = SGD + f"type: '{kind}' snapshot_format: {form} snapshot: 3"
    whole = make(text, snapshot_prefix=str(tmp_path / "s"))
    whole.step(5)
    ending = ".h5" if form == "HDF5" else ""
    resumed = make(text, snapshot_prefix=str(tmp_path / "s"))
    resumed.restore(tmp_path / f"s_iter_3.solverstate{ending}")
    assert (resumed.iter, resumed.current_step) == (3, 1)
    resumed.step(2)
    for a, b in zip(weights(whole.net), weights(resumed.net), strict=True):
        np.testing.assert_array_equal(a, b)


def test_state_holds_zeros_for_frozen_parameters(tmp_path):
    solver = make(SGD, snapshot_prefix=str(tmp_path / "s"))
    solver.step(1)
    with open(solver.snapshot(), "rb") as file:
        state = caffe_pb2.SolverState.FromString(file.read())
    assert [list(blob.shape.dim) for blob in state.history] == [[5, 3], [5], [2, 5], [2]]
    assert any(state.history[0].data) and not any(state.history[2].data)


def test_snapshot_prefix_that_is_a_folder(tmp_path):
    prototxt_file = tmp_path / "my_solver.prototxt"
    prototxt_file.write_text(prototxt.to_text(settings(SGD, snapshot_prefix=str(tmp_path))))
    get_solver(prototxt_file).snapshot()
    assert (tmp_path / "my_solver_iter_0.solverstate").exists()


def test_weights_are_found_next_to_a_moved_state(tmp_path):
    solver = make(SGD, snapshot_prefix=str(tmp_path / "s"))
    solver.step(1)
    state = solver.snapshot()
    (tmp_path / "moved").mkdir()
    for path in list(tmp_path.glob("s_*")):
        path.rename(tmp_path / "moved" / path.name)
    other = make(SGD)
    other.restore(tmp_path / "moved" / "s_iter_1.solverstate")
    assert other.iter == 1
    (tmp_path / "moved" / "s_iter_1.caffemodel").unlink()
    with pytest.raises(SolverError, match="s_iter_1.caffemodel do not exist; tried"):
        other.restore(tmp_path / "moved" / "s_iter_1.solverstate")
    assert state.endswith("s_iter_1.solverstate")


def test_state_of_another_algorithm_is_refused(tmp_path):
    solver = make(SGD, snapshot_prefix=str(tmp_path / "s"))
    state = solver.snapshot()
    with pytest.raises(SolverError, match="expected 8 history blobs .* AdamSolver, found 4"):
        make(SGD + "type: 'Adam'").restore(state)


# ---- nets and settings
def test_test_nets_use_the_trained_weights_and_return_means():
    solver = make(SGD + "test_iter: 3 test_interval: 2 test_compute_loss: true")
    feed(solver.test_nets[0], seed=1)
    solver.step(3)
    (found,) = solver.test_all()
    assert found["loss"].shape == ()
    np.testing.assert_allclose(float(found["loss"]), solver.test_nets[0].forward()["loss"], rtol=1e-6)
    np.testing.assert_array_equal(solver.test_nets[0].params["fc"][0].data, solver.net.params["fc"][0].data)


def test_a_test_of_no_batches():
    solver = make(SGD + "test_iter: 0 test_interval: 1 test_compute_loss: true")
    assert solver.test_all() == [{}]


@pytest.mark.parametrize("first, second", [(1, 2), (3, 2)])     # 1 row and 2 rows could be added
def test_an_output_whose_shape_changes_has_no_mean(first, second):
    solver = get_solver(settings(SGD + "test_iter: 2 test_interval: 1", net="""
        layer { name: "in" type: "Input" top: "x" input_param { shape { dim: 3 dim: 2 } } }"""))
    (net,) = solver.test_nets
    sizes = iter([first, second])
    net.before_forward(lambda index: net.blobs["x"].reshape(next(sizes), 2))
    with pytest.raises(SolverError, match=rf"'x' has shape \({first}, 2\) in the first batch and \({second}, 2\)"):
        solver.test()


def test_states_reach_the_nets():
    net = NET + """layer { name: "extra" type: "ReLU" bottom: "out" top: "extra"
                           include { stage: "more" min_level: 2 } }"""
    solver = make(SGD + "train_state { stage: 'more' level: 2 } test_iter: 1 test_interval: 1", net=net)
    assert "extra" in solver.net.blobs and "extra" not in solver.test_nets[0].blobs


@pytest.mark.parametrize("text, reason", [
    ("type: 'AdaGrad' momentum: 0.9", "AdaGradSolver does not use momentum"),
    ("type: 'RMSProp' momentum: 0.9", "RMSPropSolver does not use momentum"),
    ("type: 'RMSProp' rms_decay: 1", "rms_decay"),
    ("type: 'Adam' momentum: 1", "Adam needs a momentum of at least 0 and below 1, found 1"),
    ("type: 'Adam' momentum: 256", "Adam needs a momentum"),
    ("type: 'Adam' momentum2: 256", "Adam needs a momentum2 of at least 0 and below 1, found 256"),
    ("type: 'Adam' momentum2: nan", "Adam needs a momentum2 .*found nan"),
    ("momentum: nan", "momentum must be a finite number, found nan"),
    ("momentum: 1e39", "momentum must be a finite number, found inf"),
    ("type: 'AdaDelta' delta: nan", "delta must be a finite number"),
    ("clip_gradients: nan", "clip_gradients must be a finite number"),
    ("type: 'Sgd'", "unknown type 'Sgd'; choose one of .*SGD"),
    ("net: 'x'", "exactly one of .*found net_param, net"),
    ("test_iter: 1", "test_interval"),
    ("test_net: 'x'", "test_iter must be given once for each test net: 1 nets, 0 test_iter"),
    ("test_iter: 1 test_interval: 1 test_state { } test_state { }", "1 nets, 2 test_state"),
    ("iter_size: 0", "iter_size"),
    ("average_loss: 0", "average_loss must be at least 1"),
    ("snapshot: 1 snapshot_prefix: '/no/such/folder/x'", "cannot write into the folder /no/such/folder"),
])
def test_conflicting_settings(text, reason):
    with pytest.raises(SolverError, match=reason):
        get_solver(settings(text + " lr_policy: 'fixed'"))


def test_regularization_type_and_policy_are_checked_at_the_first_step():
    for text in ("lr_policy: 'none'", "lr_policy: 'fixed' weight_decay: 1 regularization_type: 'L3'"):
        solver = make(text)
        with pytest.raises(SolverError, match="choose"):
            solver.step(1)


@pytest.mark.parametrize("kind", ["SGD", "Nesterov", "AdaGrad", "RMSProp", "AdaDelta", "Adam"])
@pytest.mark.parametrize("text, told", [
    ("base_lr: 3e38", "the learning rate of iteration 0 times lr_mult is 6e.38, which is no finite torch.float32"),
    ("base_lr: nan", "is nan, which is no finite torch.float32"),
    ("base_lr: 1 weight_decay: inf", "weight_decay times decay_mult is inf")])
def test_learning_rates_that_no_float_can_represent(kind, text, told):
    solver = make(f"lr_policy: 'fixed' type: '{kind}' {text}")
    with pytest.raises(SolverError, match=told):
        solver.step(1)


def test_adams_correction_of_a_large_learning_rate():
    solver = make("lr_policy: 'fixed' type: 'Adam' base_lr: 1e38 momentum: 0.99999")
    with pytest.raises(SolverError, match="Adam's corrected rate is 3.*e.41"):
        solver.step(1)


def test_net_file_is_found_from_the_solver_files_folders(tmp_path, monkeypatch):
    folder = tmp_path / "models" / "a"
    folder.mkdir(parents=True)
    (folder / "net.prototxt").write_text(NET)
    (folder / "solver.prototxt").write_text("lr_policy: 'fixed' net: 'models/a/net.prototxt'")
    monkeypatch.chdir(folder)
    assert "fc" in get_solver(folder / "solver.prototxt").net.params
    assert "fc" in get_solver("solver.prototxt").net.params
    (folder / "net.prototxt").unlink()
    with pytest.raises(SolverError, match="solver.prototxt: the net file models/a/net.prototxt .*; tried"):
        get_solver(folder / "solver.prototxt")


def test_a_class_can_be_named_directly(tmp_path):
    (tmp_path / "solver.prototxt").write_text(prototxt.to_text(settings(SGD + "type: 'Adam'")))
    assert type(SGDSolver(tmp_path / "solver.prototxt")) is SGDSolver


def test_starting_weights_of_the_solver_file(tmp_path):
    solver = make(SGD)
    solver.net.save(tmp_path / "w")
    other = make("lr_policy: 'fixed'", weights=[str(tmp_path / "w")])
    np.testing.assert_array_equal(weights(solver.net)[0], weights(other.net)[0])


def test_starting_weights_reach_layers_that_only_a_test_net_has(tmp_path, caplog):
    extra = """layer { name: "%s" type: "InnerProduct" bottom: "x" top: "%s" include { phase: TEST }
                       inner_product_param { num_output: 2 weight_filler { type: "gaussian" std: 1 } } }"""
    net = NET + extra % ("score", "score") + extra % ("new", "new")
    trained = caffe.Net(prototxt.parse(NET + extra % ("score", "score"), caffe_pb2.NetParameter()), caffe.TEST)
    trained.save(tmp_path / "w")
    solver = make("lr_policy: 'fixed' test_iter: 1 test_interval: 1", net=net, weights=[str(tmp_path / "w")])
    found = solver.test_nets[0].params
    np.testing.assert_array_equal(found["score"][0].data, trained.params["score"][0].data)
    assert found["fc"][0].shares_data_with(solver.net.params["fc"][0])
    assert [record.message.rpartition(": ")[2] for record in caplog.records if record.levelno == logging.WARNING] == [
        "new"]
