"""bfloat16 and tf32: where values are rounded, and what stays float32."""
import platform

import numpy as np
import pytest
import torch

import caffe
from caffe.engine import device
from caffe.engine.bases.matmul import linear
from caffe.engine.blob import Blob
from caffe.kernels import roi_pool_forward
from caffe.proto import prototxt
from caffe.proto.caffe_pb2 import NetParameter, SolverParameter

pytestmark = pytest.mark.usefixtures("bfloat16_everywhere")

NET = """
layer { name: "data" type: "DummyData" top: "data" top: "rois" top: "label"
        dummy_data_param { shape { dim: 2 dim: 3 dim: 12 dim: 10 } shape { dim: 5 dim: 5 } shape { dim: 5 }
                           data_filler { type: "constant" value: 0.5 } } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
        convolution_param { num_output: 7 kernel_size: 3 weight_filler { type: "gaussian" std: 0.3 } } }
layer { name: "relu" type: "ReLU" bottom: "conv" top: "conv" }
layer { name: "pool" type: "Pooling" bottom: "conv" top: "pool" pooling_param { kernel_size: 2 stride: 2 } }
layer { name: "roi" type: "ROIPooling" bottom: "pool" bottom: "rois" top: "roi"
        roi_pooling_param { pooled_h: 2 pooled_w: 3 spatial_scale: 0.5 } }
layer { name: "fc" type: "InnerProduct" bottom: "roi" top: "fc"
        inner_product_param { num_output: 6 weight_filler { type: "gaussian" std: 0.3 } } }
layer { name: "relu_fc" type: "ReLU" bottom: "fc" top: "fc" relu_param { negative_slope: 0.1 } }
layer { name: "drop" type: "Dropout" bottom: "fc" top: "fc" dropout_param { dropout_ratio: 0.25 } }
layer { name: "score" type: "InnerProduct" bottom: "fc" top: "score"
        inner_product_param { num_output: 4 weight_filler { type: "gaussian" std: 0.3 } } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "score" bottom: "label" top: "loss" }
"""


@pytest.fixture(autouse=True)
def float32_afterwards():
    yield
    caffe.set_precision("float32")


def trained(precision: str, steps: int = 0):
    """NET after some steps, or after one forward and backward pass, on fixed data; built in float32."""
    net = NetParameter()
    prototxt.parse(NET, net, "net")
    caffe.set_precision("float32")
    solver = caffe.get_solver(SolverParameter(net_param=net, base_lr=0.1, lr_policy="fixed", momentum=0.9,
                                              random_seed=5, type="SGD"))
    caffe.set_precision(precision)
    rng = np.random.default_rng(0)
    solver.net.blobs["data"].data[...] = rng.normal(size=(2, 3, 12, 10))
    solver.net.blobs["rois"].data[...] = [[0, 0, 0, 7, 5], [1, 2, 1, 9, 9], [1, 0, 3, 4, 8], [0, 5, 5, 9, 9],
                                          [0, 1, 1, 3, 3]]
    solver.net.blobs["label"].data[...] = [0, 1, 2, 3, 1]
    solver.step(steps)
    if not steps:
        solver.net.forward()
        solver.net.run_backward()
    return solver.net


def parameters(net) -> np.ndarray:
    return np.concatenate([blob.data.ravel() for blob in net.learnable_params])


def gradients(net) -> np.ndarray:
    return np.concatenate([blob.diff.ravel() for blob in net.learnable_params])


def test_bfloat16_is_close_to_float32_but_not_equal():
    exact, rounded = trained("float32"), trained("bfloat16")
    for name in ("conv", "pool", "roi", "fc", "score", "loss"):
        a, b = exact.blobs[name].data, rounded.blobs[name].data
        np.testing.assert_allclose(b, a, atol=0.03 * np.abs(a).max(), err_msg=name)
        assert np.any(a != b), name
    # all gradients together: rounding creates ties, where another value may be the maximum and get the gradient
    a, b = gradients(exact), gradients(rounded)
    assert 0.98 < a @ b / np.linalg.norm(a) / np.linalg.norm(b) < 1 - 1e-6


def test_blobs_between_products_stay_in_bfloat16_and_are_seen_as_float32():
    net = trained("bfloat16")
    for name in ("conv", "pool", "roi", "fc"):
        assert net.blobs[name].stored.dtype == torch.bfloat16, name
    for name in ("conv", "fc"):
        assert net.blobs[name].stored_grad.dtype == torch.bfloat16, name
        stored = net.blobs[name].stored.float().numpy().copy()
        assert net.blobs[name].data.dtype == np.float32
        np.testing.assert_array_equal(net.blobs[name].data, stored)
    assert net.blobs["loss"].stored.dtype == torch.float32


def test_weights_and_their_gradients_stay_float32():
    net = trained("bfloat16", steps=3)
    for blob in net.learnable_params:
        assert blob.stored.dtype == blob.stored_grad.dtype == torch.float32
        assert np.any(blob.data.view(np.uint32) & 0xffff)       # more bits than bfloat16 has


def test_gradients_of_several_passes_add_up():
    net = trained("bfloat16")
    once = gradients(net)
    net.run_backward()
    np.testing.assert_allclose(gradients(net), 2 * once, rtol=1e-6)


def test_an_array_taken_before_follows_the_passes():
    net = trained("bfloat16")
    view = net.blobs["conv"].data
    before = view.copy()
    net.blobs["data"].data[...] *= 2
    net.forward()
    assert np.any(view != before)
    np.testing.assert_array_equal(view, net.blobs["conv"].data)


def test_training_continues_in_another_precision():
    net = trained("bfloat16")
    caffe.set_precision("float32")
    net.forward()
    assert net.blobs["conv"].stored.dtype == torch.float32
    net.run_backward()


def test_tf32_is_float32_on_the_cpu():
    np.testing.assert_array_equal(parameters(trained("tf32", 2)), parameters(trained("float32", 2)))


def test_bfloat16_is_float32_where_it_would_be_emulated(monkeypatch):
    monkeypatch.setattr(device, "has_bfloat16", lambda: False)
    net = trained("bfloat16", 2)
    assert net.blobs["conv"].stored.dtype == torch.float32
    np.testing.assert_array_equal(parameters(net), parameters(trained("float32", 2)))


@pytest.mark.parametrize("capability, has", [((7, 5), False), ((8, 0), True), ((12, 0), True)])
def test_gpus_with_bfloat16(capability, has, monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda where: capability)
    assert device._has_bfloat16.__wrapped__(torch.device("cuda", 0)) == has


@pytest.mark.parametrize("machine, vectors, emulated", [("x86_64", True, False), ("x86_64", False, True),
                                                        ("aarch64", True, False), ("arm64", False, True)])
def test_processors_with_bfloat16(machine, vectors, emulated, monkeypatch):
    monkeypatch.setattr(platform, "machine", lambda: machine)
    on_x86, on_arm = (vectors, False) if machine == "x86_64" else (not vectors, vectors)
    monkeypatch.setattr(device._cpu, "multiplies_bfloat16", lambda: on_x86)
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: True)
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: on_arm)
    assert device._has_bfloat16.__wrapped__(torch.device("cpu")) != emulated


def test_tf32_is_allowed_only_on_request():
    for name, allowed in (("float32", False), ("tf32", True), ("bfloat16", True), ("float32", False)):
        caffe.set_precision(name)
        assert torch.backends.cudnn.allow_tf32 == torch.backends.cuda.matmul.allow_tf32 == allowed


def test_an_unknown_precision():
    with pytest.raises(ValueError, match="float32, tf32, bfloat16, got 'half'"):
        caffe.set_precision("half")


def test_float64_is_never_rounded():
    with device.use_float_type(torch.float64):
        net = trained("bfloat16")
        assert net.blobs["conv"].stored.dtype == torch.float64


# ---- copies of weights
def test_the_copy_of_a_weight_is_kept_until_it_changes():
    caffe.set_precision("bfloat16")
    blob = Blob(2, 3)
    blob.tensor = torch.arange(6.0).reshape(2, 3)
    first = blob.factor()
    assert first.dtype == torch.bfloat16 and blob.factor().data_ptr() == first.data_ptr()
    blob.tensor.add_(1)
    assert blob.factor().float().flatten().tolist() == [1, 2, 3, 4, 5, 6]
    blob.tensor = torch.zeros(2, 3)
    assert not blob.factor().any()
    view = blob.data                # as long as it exists, NumPy may write undetected
    view[...] = 7
    assert (blob.factor() == 7).all()
    view[0, 1] = 9
    assert blob.factor().float().flatten().tolist() == [7, 9, 7, 7, 7, 7]
    view[0, 2] = 5
    del view
    last = blob.factor()
    assert last.float().flatten().tolist() == [7, 9, 5, 7, 7, 7] and blob.factor() is last
    blob.data[0, 0] = 2
    assert blob.factor().float().flatten().tolist() == [2, 9, 5, 7, 7, 7]


def test_the_copy_follows_the_shape():
    caffe.set_precision("bfloat16")
    blob, other = Blob(2, 3), Blob(6)
    other.share_data(blob)
    blob.tensor = torch.arange(6.0).reshape(2, 3)
    assert blob.factor().shape == (2, 3) and other.factor().shape == (6,)


# ---- kernels
@pytest.mark.parametrize("with_argmax", [True, False])
def test_roi_pooling_of_bfloat16_gives_the_same_maxima(with_argmax):
    x = torch.randn(2, 5, 9, 7, generator=torch.Generator().manual_seed(1)).to(torch.bfloat16)
    rois = torch.tensor([[0, 0, 0, 20, 30], [1, 8, 4, 27, 16], [1, 60, 60, 80, 90]], dtype=torch.float32)
    want, places = roi_pool_forward(x.float(), rois, 3, 4, 0.25)
    found, found_places = roi_pool_forward(x, rois, 3, 4, 0.25, with_argmax)
    assert found.dtype == torch.bfloat16
    assert torch.equal(found.float(), want)
    assert torch.equal(found_places, places) if with_argmax else found_places is None


def test_large_products_equal_those_in_float64():
    generator = torch.Generator().manual_seed(2)
    rows, weight, bias = (torch.randn(shape, generator=generator) for shape in ((130, 300), (140, 300), (140,)))
    assert len(rows) * weight.numel() > 1 << 22
    want = rows.double() @ weight.double().T + bias.double()
    np.testing.assert_allclose(linear(rows, weight, bias), want, atol=1e-4)
    np.testing.assert_allclose(linear(rows, weight), want - bias, atol=1e-4)
    columns = torch.randn(130, 140, generator=generator)
    np.testing.assert_allclose(linear(columns, weight.T), columns.double() @ weight.double(), atol=1e-4)


def test_products_of_parameters_have_a_gradient():
    weight = torch.nn.Parameter(torch.ones(200, 300))
    linear(torch.ones(100, 300), weight).sum().backward()
    assert (weight.grad == 100).all()


@pytest.mark.parametrize("kind", ["SGD", "Nesterov", "AdaGrad", "RMSProp", "AdaDelta", "Adam"])
def test_rounded_weights_follow_every_update(kind):
    """bfloat16 copies of the weights are kept until the weights change, which solvers do in different ways."""
    net = NetParameter()
    prototxt.parse(NET, net, "net")
    momentum = {} if kind in ("AdaGrad", "RMSProp") else {"momentum": 0.9}
    solver = caffe.get_solver(SolverParameter(net_param=net, base_lr=0.1, lr_policy="fixed", weight_decay=0.01,
                                              random_seed=5, type=kind, **momentum))
    caffe.set_precision("bfloat16")
    for _ in range(2):
        solver.step(1)
        for blob in solver.net.learnable_params:
            assert torch.equal(blob.factor(), blob.tensor.bfloat16())
