"""HDF5 forms of caffemodel and solverstate."""
import h5py
import numpy as np
import pytest
import torch

from caffe.engine.files import hdf5
from caffe.engine.files.caffemodel import copy_weights, read_weights
from caffe.engine.files.matching import WeightsError
from caffe.engine.files.solverstate import read_state
from caffe.engine.files.wire import WireError
from caffe.engine.net import Net
from caffe.engine.solvers import get_solver
from caffe.proto import caffe_pb2, prototxt

NET = """
layer { name: "in" type: "Input" top: "x" input_param { shape { dim: 2 dim: 3 } } }
layer { name: "block/a" type: "InnerProduct" bottom: "x" top: "a" param { name: "w" } param { name: "b" }
        inner_product_param { num_output: 3 weight_filler { type: "xavier" } } }
layer { name: "b" type: "InnerProduct" bottom: "a" top: "b" param { name: "w" }
        inner_product_param { num_output: 3 } }
"""


def make_net(text=NET):
    return Net(prototxt.parse(text, caffe_pb2.NetParameter()), 1)


def test_owners_are_written_once_and_layers_all(tmp_path):
    net = make_net()
    hdf5.save_net_hdf5(net, tmp_path / "w.h5")
    with h5py.File(tmp_path / "w.h5") as file:
        names = []
        file.visit(names.append)
        assert sorted(names) == ["data", "data/b", "data/b/1", "data/block", "data/block/a", "data/block/a/0",
                                 "data/block/a/1", "data/in"]
        np.testing.assert_array_equal(file["data/block/a/0"], net.params["block/a"][0].data)


def test_loading_fills_sharers_through_their_owner(tmp_path):
    net, other = make_net(), make_net()
    net.params["b"][1].data[...] = [1, 2, 3]
    hdf5.save_net_hdf5(net, tmp_path / "w")
    assert copy_weights(other, tmp_path / "w") == ([], [])          # recognised by content, not by name
    for name, blobs in net.params.items():
        for index, blob in enumerate(blobs):
            np.testing.assert_array_equal(other.params[name][index].data, blob.data)
    assert [name for name, _ in read_weights(tmp_path / "w")][0] == "b"


def test_gradients_are_written_for_sharers_too(tmp_path):
    net = make_net()
    net.params["b"][0].diff[...] = 5
    hdf5.save_net_hdf5(net, tmp_path / "w", write_diff=True)
    with h5py.File(tmp_path / "w") as file:
        assert (file["diff/b/0"][()] == 5).all() and (file["diff/block/a/0"][()] == 5).all()
        assert not file["diff/b/1"][()].any()


def test_missing_blob_that_is_not_shared_is_an_error(tmp_path):
    hdf5.save_net_hdf5(make_net(), tmp_path / "w")
    with h5py.File(tmp_path / "w", "a") as file:
        del file["data/b/1"]
    with pytest.raises(WeightsError, match="layer 'b' has 0 blobs in the file, 2 in the net"):
        copy_weights(make_net(), tmp_path / "w")


def test_shape_is_checked(tmp_path):
    hdf5.save_net_hdf5(make_net(), tmp_path / "w")
    with h5py.File(tmp_path / "w", "a") as file:
        del file["data/b/1"]
        file["data/b/1"] = np.zeros((1, 3), np.float32)
    with pytest.raises(WeightsError, match=r"layer 'b', blob 1: expected shape \(3,\) .* found \(1, 3\)"):
        copy_weights(make_net(), tmp_path / "w")


@pytest.mark.parametrize("one, other, match", [
    ("a", "a", "two layers with parameters are named 'a'"),
    ("a", "a/0", "layer 'a/0': in HDF5 files 'a/0' is a parameter of layer 'a'"),
    ("a/1/b", "a", "layer 'a/1/b': in HDF5 files 'a/1' is a parameter of layer 'a'"),
])
def test_names_that_hdf5_cannot_hold_are_refused_before_training(tmp_path, one, other, match):
    text = NET.replace('name: "block/a"', f'name: "{one}"').replace('name: "b" type', f'name: "{other}" type')
    with pytest.raises(WeightsError, match=match):
        hdf5.save_net_hdf5(make_net(text), tmp_path / "w.h5")
    assert not list(tmp_path.iterdir())
    solver = f"net_param {{ {text} }} base_lr: 1 lr_policy: 'fixed' snapshot_prefix: '{tmp_path}/x' max_iter: 1 "
    with pytest.raises(WeightsError, match=match):
        get_solver(prototxt.parse(solver + "snapshot: 1 snapshot_format: HDF5", caffe_pb2.SolverParameter()))
    with pytest.raises(WeightsError, match=match):
        get_solver(prototxt.parse(solver + "snapshot_format: HDF5", caffe_pb2.SolverParameter())).solve()
    get_solver(prototxt.parse(solver + "snapshot: 1", caffe_pb2.SolverParameter()))


def test_names_that_hdf5_can_hold(tmp_path):
    text = NET.replace('name: "block/a"', 'name: "b/a"') + '''
        layer { name: "same" type: "ReLU" bottom: "b" top: "c" }
        layer { name: "same" type: "TanH" bottom: "b" top: "d" }
        layer { name: "0" type: "Scale" bottom: "c" top: "e" }'''
    net, other = make_net(text), make_net(text)
    hdf5.save_net_hdf5(net, tmp_path / "w.h5", write_diff=True)
    hdf5.copy_weights_hdf5(other, tmp_path / "w.h5")
    np.testing.assert_array_equal(other.params["b"][0].data, net.params["b/a"][0].data)


@pytest.mark.parametrize("model", ["w.caffemodel.h5", "Modèle 网/w.caffemodel.h5"])
def test_state_round_trip(tmp_path, model):
    history = [torch.arange(6.0).reshape(2, 3), torch.ones(4)]
    hdf5.write_state(tmp_path / "s.h5", 12, model, 3, history)
    state = read_state(tmp_path / "s.h5")
    assert (state.iter, state.learned_net, state.current_step) == (12, model, 3)
    for stored, tensor in zip(state.history, history, strict=True):
        np.testing.assert_array_equal(stored.array, tensor)


def test_other_hdf5_files_are_refused(tmp_path):
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["values"] = [1, 2]
    with pytest.raises(WireError, match="no group 'data'"):
        read_weights(tmp_path / "other.h5")
    with pytest.raises(WireError, match="no 'iter'"):
        read_state(tmp_path / "other.h5")


def test_truncated_file_is_refused(tmp_path):
    hdf5.save_net_hdf5(make_net(), tmp_path / "w")
    (tmp_path / "w").write_bytes((tmp_path / "w").read_bytes()[:500])
    with pytest.raises(WireError, match="cut short"):
        read_weights(tmp_path / "w")
