"""Winograd convolutions against loops, and when the engine uses them."""
import kernel_oracles as oracle
import numpy as np
import pytest
import torch

import caffe
from caffe.engine import device
from caffe.engine.bases import convolving
from caffe.kernels import _cpu, winograd

LANES = [lanes for lanes in (16, 8) if _cpu.winograd_lanes(lanes)]
pytestmark = pytest.mark.skipif(not LANES, reason="this machine has no vectors that the kernels can use")

# num, channels, outputs, height, width, pad: odd and even sizes, one tile and several chunks of tiles
CASES = [(2, 32, 64, 13, 18, 1), (1, 96, 32, 9, 11, 0), (3, 64, 96, 7, 10, 2), (1, 32, 64, 1, 2, 1),
         (2, 64, 32, 37, 26, 1)]
needs_bfloat16 = pytest.mark.skipif(not _cpu.winograd_bfloat16(), reason="this machine does not multiply bfloat16")


def case(num, channels, outputs, height, width, pad, seed=0):
    rng = np.random.default_rng(seed)
    arrays = [rng.standard_normal(shape).astype(np.float32) for shape in (
        (num, channels, height, width), (outputs, channels, 3, 3), (outputs,),
        (num, outputs, height + 2 * pad - 2, width + 2 * pad - 2))]
    return arrays


def assert_close(found, want, part=2e-6):
    """Assert equality relative to the largest value; by default up to the rounding of float32 sums."""
    assert found.shape == want.shape
    np.testing.assert_allclose(found, want, rtol=0, atol=part * np.abs(want).max())


@pytest.fixture(params=LANES)
def lanes(request, monkeypatch):
    monkeypatch.setattr(winograd, "_LANES", request.param)
    return request.param


@pytest.mark.parametrize("size", CASES)
def test_convolution_equals_the_loops(size, lanes):
    x, weight, bias, _ = case(*size)
    y = winograd.convolve(torch.tensor(x), torch.tensor(weight), torch.tensor(bias), size[-1])
    assert_close(y.numpy(), oracle.convolve_3x3(x, weight, bias, size[-1]))
    without = winograd.convolve(torch.tensor(x), torch.tensor(weight), None, size[-1])
    assert_close(without.numpy(), oracle.convolve_3x3(x, weight, 0 * bias, size[-1]))


def test_the_layout_of_weight_and_bias_does_not_matter():
    x, weight, bias, _ = map(torch.tensor, case(*CASES[0]))
    weight_last, strided = weight.contiguous(memory_format=torch.channels_last), torch.stack([bias, bias], 1)[:, 0]
    assert torch.equal(winograd.convolve(x, weight_last, strided, 1), winograd.convolve(x, weight, bias, 1))


@pytest.mark.parametrize("size", CASES)
def test_gradients_equal_the_loops(size, lanes):
    x, weight, _, dy = case(*size)
    dx, dw = oracle.gradients_3x3(x, weight, dy, size[-1])
    assert_close(winograd.input_gradient(torch.tensor(dy), torch.tensor(weight), size[-1]).numpy(), dx)
    assert_close(winograd.weight_gradient(torch.tensor(x), torch.tensor(dy), size[-1]).numpy(), dw)


@needs_bfloat16
@pytest.mark.parametrize("size", CASES)
def test_bfloat16_equals_the_loops_to_its_rounding(size):
    x, weight, bias, dy = case(*size)
    x, dy = (torch.tensor(array).bfloat16() for array in (x, dy))
    y = winograd.convolve(x, torch.tensor(weight), torch.tensor(bias), size[-1])
    dx = winograd.input_gradient(dy, torch.tensor(weight), size[-1])
    assert y.dtype == dx.dtype == torch.bfloat16
    assert_close(y.float().numpy(), oracle.convolve_3x3(x.float().numpy(), weight, bias, size[-1]), 2 ** -7)
    want, want_of_weight = oracle.gradients_3x3(x.float().numpy(), weight, dy.float().numpy(), size[-1])
    assert_close(dx.float().numpy(), want, 2 ** -7)
    dw = winograd.weight_gradient(x, dy, size[-1])
    assert dw.dtype == torch.float32
    assert_close(dw.numpy(), want_of_weight, 2 ** -7)


def test_rounding_errors_are_like_those_of_direct_sums():
    size = (1, 256, 64, 20, 23, 1)
    x, weight, bias, _ = case(*size)
    tensors = [torch.tensor(array) for array in (x, weight, bias)]
    want = torch.conv2d(*(tensor.double() for tensor in tensors), padding=1)
    error = (winograd.convolve(*tensors, 1).double() - want).square().mean()
    direct = (torch.conv2d(*tensors, padding=1).double() - want).square().mean()
    assert 0 < error < 16 * direct       # squares: four times


def test_any_number_of_threads_and_any_batch_give_the_same_bits():
    size = (3, 64, 96, 37, 26, 1)
    x, weight, bias, dy = (torch.tensor(array) for array in case(*size))

    def results():
        return (winograd.convolve(x, weight, bias, 1), winograd.input_gradient(dy, weight, 1),
                winograd.weight_gradient(x, dy, 1))
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        alone = results()
        torch.set_num_threads(5)
        together = results()
    finally:
        torch.set_num_threads(before)
    for one, other in zip(alone, together, strict=True):
        assert torch.equal(one, other)
    assert torch.equal(alone[0][1:2], winograd.convolve(x[1:2], weight, bias, 1))


def test_memory_order_of_the_arguments_does_not_matter():
    size = (2, 32, 64, 13, 18, 1)
    x, weight, bias, dy = (torch.tensor(array) for array in case(*size))
    last = {"memory_format": torch.channels_last}
    y = winograd.convolve(x, weight, bias, 1)
    assert torch.equal(y, winograd.convolve(x.to(**last), weight.to(**last), bias, 1))
    assert torch.equal(winograd.weight_gradient(x, dy, 1), winograd.weight_gradient(x.to(**last), dy.to(**last), 1))


@pytest.mark.parametrize("change, suits", [
    ({}, True), ({"channels": 48}, False), ({"outputs": 16}, False), ({"height": 6, "width": 7}, False),
    ({"num": 0}, False), ({"channels": 1024, "outputs": 2048}, False), ({"pad": 3}, False),
    ({"dtype": torch.float64}, False), ({"weight_dtype": torch.float64}, False),
    ({"dtype": torch.bfloat16}, _cpu.winograd_bfloat16()), ({"dtype": torch.float16}, False)])
def test_supported_inputs(change, suits):
    size = {"num": 1, "channels": 32, "outputs": 64, "height": 9, "width": 10, "pad": 1, "dtype": torch.float32,
            "weight_dtype": torch.float32, **change}
    x = torch.zeros(size["num"], size["channels"], size["height"], size["width"], dtype=size["dtype"])
    weight = torch.zeros(size["outputs"], size["channels"], 3, 3, dtype=size["weight_dtype"])
    assert winograd.suits(x, weight, size["pad"]) == suits


def passed(path, settings, dtype, precision="float32"):
    """Top, gradients of bottom, weight and bias of a Convolution layer."""
    path.write_text(f"""force_backward: true
        layer {{ name: "data" type: "Input" top: "data" input_param {{ shape {{ dim: 2 dim: 32 dim: 11 dim: 14 }} }} }}
        layer {{ name: "conv" type: "Convolution" bottom: "data" top: "conv"
                 convolution_param {{ num_output: 64 {settings} }} }}""")
    rng = np.random.default_rng(1)
    with device.use_float_type(dtype), device.use_precision(precision):
        net = caffe.Net(str(path), caffe.TRAIN)
        data, conv, (weight, bias) = net.blobs["data"], net.blobs["conv"], net.params["conv"]
        for blob in (data, weight, bias):
            blob.data[...] = rng.standard_normal(blob.shape).astype(np.float32)
        net.forward()
        conv.diff[...] = rng.standard_normal(conv.shape).astype(np.float32)
        net.backward()
        return [array.copy() for array in (conv.data, data.diff, weight.diff, bias.diff)]


@pytest.mark.parametrize("settings, used", [
    ("kernel_size: 3 pad: 1", True), ("kernel_size: 3", True), ("kernel_size: 3 pad: 2", True),
    ("kernel_size: 3 pad: 1 stride: 2", False), ("kernel_size: 3 pad: 2 dilation: 2", False),
    ("kernel_size: 3 pad_h: 1 pad_w: 0", False), ("kernel_size: 3 group: 2", False), ("kernel_size: 2", False)])
def test_the_layer_uses_it_if_possible(settings, used, monkeypatch, tmp_path):
    """float64 never uses it and is the reference."""
    calls = []
    for name in ("convolve", "input_gradient", "weight_gradient"):
        function = getattr(convolving.winograd, name)
        monkeypatch.setattr(convolving.winograd, name,
                            lambda *args, name=name, function=function: calls.append(name) or function(*args))
    want = passed(tmp_path / "net.prototxt", settings, torch.float64)
    assert not calls
    found = passed(tmp_path / "net.prototxt", settings, torch.float32)
    assert sorted(calls) == (["convolve", "input_gradient", "weight_gradient"] if used else [])
    for one, other in zip(found, want, strict=True):
        assert_close(one, other)


@needs_bfloat16
def test_the_layer_in_bfloat16(tmp_path):
    settings = "kernel_size: 3 pad: 1"
    want = passed(tmp_path / "net.prototxt", settings, torch.float64)
    for one, other in zip(passed(tmp_path / "net.prototxt", settings, torch.float32, "bfloat16"), want, strict=True):
        assert 1e-5 * np.abs(other).max() < np.abs(one - other).max()       # it was rounded
        assert_close(one, other, 2 ** -6)
