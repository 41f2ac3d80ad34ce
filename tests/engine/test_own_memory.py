"""Updates and loaded weights change one blob's memory only, whatever its layout and whoever else holds it."""
import numpy as np
import pytest
import torch

import caffe
from caffe.proto import caffe_pb2, prototxt

PARAMETERS = """
layer { name: "a" type: "Parameter" top: "a" parameter_param { shape { dim: 2 dim: 3 } } }
layer { name: "b" type: "Parameter" top: "b" parameter_param { shape { dim: 2 dim: 3 } } }
layer { name: "sum" type: "Eltwise" bottom: "a" bottom: "b" top: "sum" }
layer { name: "loss" type: "Power" bottom: "sum" top: "loss" power_param { power: 2 } loss_weight: 1 }
"""
PRODUCT = """
layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 2 dim: 3 } } }
layer { name: "fc" type: "InnerProduct" bottom: "x" top: "fc" inner_product_param { num_output: 4 } }
layer { name: "loss" type: "Power" bottom: "fc" top: "loss" power_param { power: 2 } loss_weight: 1 }
"""
X, WEIGHT = np.arange(6).reshape(2, 3), torch.linspace(-1, 1, 12).reshape(3, 4)


def solver_of(net: str, text: str = "") -> caffe.SGDSolver:
    param = prototxt.parse(f"base_lr: 0.01 lr_policy: 'fixed' {text}", caffe_pb2.SolverParameter())
    prototxt.parse(net, param.net_param)
    return caffe.get_solver(param)


def net_of(text: str) -> caffe.Net:
    net = caffe.Net(prototxt.parse(text, caffe_pb2.NetParameter()), caffe.TEST)
    net.blobs["x"].data[...] = X
    return net


@pytest.mark.parametrize("text", ["momentum: 0.9", "", "clip_gradients: 3", "iter_size: 2"])
def test_parameters_that_get_the_same_gradient_are_updated_separately(text):
    solver = solver_of(PARAMETERS, f"weight_decay: 0.5 {text}")
    first = {"a": np.full((2, 3), 2.0), "b": np.full((2, 3), -1.0)}
    for name, value in first.items():
        solver.net.blobs[name].tensor = torch.tensor(value, dtype=torch.float32)
    solver.step(1)
    gradient = np.full((2, 3), 2.0)
    if "clip" in text:
        gradient *= 3 / np.sqrt(2 * (gradient ** 2).sum())
    if "iter_size" in text:
        gradient /= 2
    for name, value in first.items():
        np.testing.assert_allclose(solver.net.blobs[name].data, value - 0.01 * (gradient + 0.5 * value), rtol=1e-6)


@pytest.mark.parametrize("text", ["type: 'SGD' momentum: 0.9", "type: 'Adam' momentum: 0.9"])
def test_the_layout_of_a_weight_does_not_matter(text):
    found = []
    for weight in (WEIGHT.T, WEIGHT.T.contiguous()):
        solver = solver_of(PRODUCT, text)
        solver.net.blobs["x"].data[...] = X
        solver.net.params["fc"][0].tensor = weight
        solver.step(2)
        found.append(solver.net.params["fc"][0].data)
    np.testing.assert_array_equal(*found)


def test_training_and_loading_do_not_change_other_blobs_with_the_same_tensor(tmp_path):
    solver, average, loaded = solver_of(PRODUCT, "momentum: 0.9"), net_of(PRODUCT), net_of(PRODUCT)
    solver.net.save(tmp_path / "zeros.caffemodel")
    solver.net.blobs["x"].data[...] = X
    for net in (solver.net, average, loaded):
        net.params["fc"][0].tensor = WEIGHT.T.contiguous()
    average.params["fc"][0].tensor = loaded.params["fc"][0].tensor = solver.net.params["fc"][0].tensor
    solver.step(1)
    loaded.copy_from(tmp_path / "zeros.caffemodel")
    np.testing.assert_array_equal(average.params["fc"][0].data, WEIGHT.T)
    assert not np.array_equal(solver.net.params["fc"][0].data, WEIGHT.T)


@pytest.mark.parametrize("ending", ["caffemodel", "caffemodel.h5"])
def test_weights_loaded_after_a_pass_in_bfloat16_are_used(tmp_path, ending, bfloat16_everywhere):
    source, net = net_of(PRODUCT), net_of(PRODUCT)
    source.params["fc"][0].data[...] = 1
    save = source.save_hdf5 if ending.endswith("h5") else source.save
    save(tmp_path / ending)
    try:
        caffe.set_precision("bfloat16")
        net.forward()
        net.copy_from(tmp_path / ending)
        net.forward()
        assert net.blobs["fc"].data.tolist() == [[3] * 4, [12] * 4]
    finally:
        caffe.set_precision("float32")


def test_bfloat16_in_inference_mode(bfloat16_everywhere):
    try:
        caffe.set_precision("bfloat16")
        with torch.inference_mode():
            net = net_of(PRODUCT)
            for weight in (1, 2):
                net.params["fc"][0].tensor = torch.full((4, 3), float(weight))
                assert net.forward(blobs=["fc"])["fc"].tolist() == [[3 * weight] * 4, [12 * weight] * 4]
    finally:
        caffe.set_precision("float32")
