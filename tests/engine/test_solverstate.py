"""Binary solver states."""
import numpy as np
import pytest
import torch

from caffe.engine.files.solverstate import read_state, write_state
from caffe.engine.files.wire import WireError
from caffe.proto import caffe_pb2

HISTORY = [torch.arange(6.0).reshape(2, 3), torch.tensor([0.5, -1, 2, 7])]


def test_written_state_is_caffes(tmp_path):
    write_state(tmp_path / "s", 300, "w.caffemodel", 2, HISTORY)
    state = caffe_pb2.SolverState.FromString((tmp_path / "s").read_bytes())
    assert (state.iter, state.learned_net, state.current_step) == (300, "w.caffemodel", 2)
    assert [list(blob.shape.dim) for blob in state.history] == [[2, 3], [4]]
    assert list(state.history[1].data) == [0.5, -1, 2, 7]


def test_round_trip(tmp_path):
    write_state(tmp_path / "s", 0, "", 0, HISTORY)
    state = read_state(tmp_path / "s")
    assert (state.iter, state.learned_net, state.current_step) == (0, "", 0)
    for stored, tensor in zip(state.history, HISTORY, strict=True):
        np.testing.assert_array_equal(stored.array, tensor)


def test_old_state_without_step_and_with_legacy_shapes(shared_data):
    state = read_state(shared_data / "caffe/cifar10_quick/cifar10_quick_iter_4000.solverstate")
    assert (state.iter, state.current_step) == (4000, 0)
    assert state.learned_net == "examples/cifar10/cifar10_quick_iter_4000.caffemodel"
    assert state.history[1].shape == (1, 1, 1, 32) and state.history[1].fits((32,))


def test_caffemodel_is_refused(tmp_path):
    (tmp_path / "w").write_bytes(caffe_pb2.NetParameter(name="net").SerializeToString())
    with pytest.raises(WireError, match="w: this is no solver state"):
        read_state(tmp_path / "w")


def test_truncated_state_is_refused(tmp_path):
    write_state(tmp_path / "s", 300, "w.caffemodel", 2, HISTORY)
    (tmp_path / "s").write_bytes((tmp_path / "s").read_bytes()[:40])
    with pytest.raises(WireError, match="cut short"):
        read_state(tmp_path / "s")
