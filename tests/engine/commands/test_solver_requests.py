"""Requests to a running solver to stop or to write a snapshot; the log of `debug_info`; observers of layers."""
import logging
import os
import re
import signal

import numpy as np
import pytest

import caffe
from caffe.engine.solvers import get_solver
from caffe.proto import caffe_pb2, prototxt

NET = """
layer { name: "in" type: "DummyData" top: "x" top: "y"
        dummy_data_param { shape { dim: 4 dim: 3 } shape { dim: 4 dim: 2 }
                           data_filler { type: "gaussian" } data_filler { type: "constant" value: 1 } } }
layer { name: "frozen" type: "InnerProduct" bottom: "x" top: "h" param { name: "w" lr_mult: 0 } param { lr_mult: 0 }
        inner_product_param { num_output: 5 weight_filler { type: "gaussian" } } }
layer { name: "fc" type: "InnerProduct" bottom: "h" top: "out"
        inner_product_param { num_output: 2 weight_filler { type: "gaussian" } } }
layer { name: "loss" type: "EuclideanLoss" bottom: "out" bottom: "y" top: "loss" }
"""


def make(folder, text=""):
    param = prototxt.parse("base_lr: 0.01 lr_policy: 'fixed' random_seed: 1 " + text, caffe_pb2.SolverParameter())
    param.snapshot_prefix = str(folder / "s")
    prototxt.parse(NET, param.net_param)
    return get_solver(param)


def snapshots(folder):
    return sorted(int(re.findall(r"\d+", path.name)[0]) for path in folder.glob("*.solverstate"))


def test_requests_are_seen_after_each_iteration(tmp_path):
    solver = make(tmp_path)
    solver.set_action_function(iter(["none", "snapshot", "none", "stop", "none"]).__next__)
    solver.step(10)
    assert (solver.iter, solver.stopped_early, snapshots(tmp_path)) == (4, True, [2])
    solver.set_action_function(None)
    solver.step(1)
    assert (solver.iter, solver.stopped_early) == (5, False)


def test_a_stopped_run_is_saved_and_can_be_resumed(tmp_path, caplog):
    solver = make(tmp_path, "max_iter: 9 display: 9")
    solver.set_action_function(lambda: "stop" if solver.iter == 3 else "none")
    with caplog.at_level(logging.INFO, "caffe"):
        solver.solve()
    assert snapshots(tmp_path) == [3] and "Stopped early, at iteration 3" in caplog.text
    again = make(tmp_path, "max_iter: 9")
    again.solve(tmp_path / "s_iter_3.solverstate")
    whole = make(tmp_path, "max_iter: 9")
    whole.solve()
    np.testing.assert_array_equal(again.net.params["fc"][0].data, whole.net.params["fc"][0].data)


def test_a_test_can_be_stopped_too(tmp_path):
    solver = make(tmp_path, "test_iter: 5 test_iter: 5 test_interval: 2 max_iter: 9 snapshot_after_train: false")
    answers = iter(["none", "none", "snapshot", "stop"])
    solver.set_action_function(lambda: next(answers))
    solver.solve()
    assert (solver.iter, solver.stopped_early, snapshots(tmp_path)) == (0, True, [0])
    solver.set_action_function(None)
    assert len(solver.test_all()) == 2


def test_an_unknown_action_is_an_error(tmp_path):
    solver = make(tmp_path)
    solver.set_action_function(lambda: "pause")
    with pytest.raises(ValueError, match="pause"):
        solver.step(1)


def test_signals_become_requests_and_handlers_are_restored(tmp_path):
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGHUP)]
    solver = make(tmp_path, "max_iter: 9")
    send = {2: signal.SIGHUP, 5: signal.SIGINT}
    solver.add_callback(lambda: None, lambda: solver.iter in send and os.kill(os.getpid(), send[solver.iter]))
    with solver.signal_actions():
        solver.solve()
    assert (solver.iter, snapshots(tmp_path)) == (6, [3, 6])
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGHUP)] == before


def test_a_second_ctrl_c_interrupts_at_once(tmp_path):
    solver = make(tmp_path)
    with solver.signal_actions(sigint="stop"), pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)


def test_a_signal_without_effect_is_ignored(tmp_path):
    solver = make(tmp_path)
    with solver.signal_actions(sigint="none", sighup="none"):
        for number in (signal.SIGINT, signal.SIGINT, signal.SIGHUP):
            os.kill(os.getpid(), number)
        solver.step(2)
    assert solver.iter == 2 and not snapshots(tmp_path)


# ---- debug_info
def debug_lines(caplog):
    return [record.getMessage() for record in caplog.records if record.getMessage().startswith("    [")]


def test_debug_info_shows_means_of_absolute_values(tmp_path, caplog):
    solver = make(tmp_path, "debug_info: true display: 2")
    with caplog.at_level(logging.INFO, "caffe"):
        solver.step(1)
    net, lines = solver.net, debug_lines(caplog)
    mean = np.abs(net.blobs["h"].data).mean()
    assert f"    [Forward] Layer frozen, top blob h data: {mean:.6g}" in lines
    assert any(line.startswith("    [Forward] Layer frozen, param blob w data: ") for line in lines)
    of_fc = [line.split(": ")[0] for line in lines if "[Backward] Layer fc" in line]
    assert of_fc == [f"    [Backward] Layer fc, param blob {index} diff" for index in (0, 1)]
    assert any(line.startswith("    [Backward] Layer loss, bottom blob out diff: ") for line in lines)
    assert not any("[Backward] Layer frozen" in line for line in lines)
    assert lines[-1].startswith("    [Backward] All net params (data, diff): L1 norm = (")
    caplog.clear()
    solver.step(1)                  # iteration 1 is not displayed
    assert not debug_lines(caplog)


def test_norms_are_those_of_all_parameters(tmp_path, caplog):
    net = make(tmp_path).net
    net.debug_info = True
    net.forward_with_loss()
    with caplog.at_level(logging.INFO, "caffe"):
        net.run_backward()
    found = [float(number) for number in re.findall(r"[\d.e+-]+(?=[,)])", debug_lines(caplog)[-1])]
    data = np.concatenate([blob.data.ravel() for blob in net.learnable_params])
    diff = np.concatenate([blob.diff.ravel() for blob in net.learnable_params])
    wanted = [np.abs(data).sum(), np.abs(diff).sum(), np.linalg.norm(data), np.linalg.norm(diff)]
    np.testing.assert_allclose(found, wanted, rtol=1e-4)


def test_debug_info_of_a_net_file(caplog):
    net = caffe.Net(prototxt.parse("debug_info: true " + NET, caffe_pb2.NetParameter()), caffe.TEST)
    with caplog.at_level(logging.INFO, "caffe"):
        net.forward()
    assert len(debug_lines(caplog)) == 2 + 3 + 3 + 1


def test_observers_are_notified_of_every_layer():
    net = caffe.Net(prototxt.parse(NET, caffe_pb2.NetParameter()), caffe.TRAIN)
    told = []
    for event in ("before_forward", "after_forward", "before_backward", "after_backward"):
        getattr(net, event)(lambda index, event=event: told.append((event, index)))
    net.forward_with_loss()
    net.run_backward()
    count = len(net.engine_layers)
    assert told == [(f"{when}_forward", index) for index in range(count) for when in ("before", "after")] \
        + [(f"{when}_backward", index) for index in reversed(range(count)) for when in ("before", "after")]
