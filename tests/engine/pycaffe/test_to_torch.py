"""caffe.to_torch against the net itself: values and gradients of many layers, whole nets, tracing, phases."""
import copy
import warnings

import numpy as np
import pytest
import torch
from layer_examples import EXAMPLES, X, net_of

import caffe
from caffe.export import ExportError
from caffe.proto import caffe_pb2
from caffe.proto.prototxt import parse

NO_GRADIENT = {"batch_reindex", "threshold", "arg_max", "arg_max_values", "arg_max_all", "prior_box", "embed",
               "stochastic_pool", "accuracy", "accuracy_of_classes", "dummy_data", "parameter", "detection_output",
               "detection_output_corner", "detection_output_of_classes", "detection_output_empty", "seg_accuracy",
               "labelsequence_accuracy", "labelsequence_accuracy_long", "continuation_indicator", "ctc_decoder",
               "ctc_decoder_repeated", "ctc_decoder_one_step", "proposal", "proposal_of_few", "yolo_v2_output",
               "yolo_v3_output", "yolo_v3_output_empty"}
# Bottoms without a gradient in the engine, in addition to those that the layer's class declares.
CONSTANT_BOTTOMS = {"BoxAnnotatorOHEM": (0, 1), "Crop": (1,), "Filter": (2,), "LSTM": (3, 4), "PSROIPooling": (1,),
                    "RNN": (2,), "ROIAlign": (1,), "ROIPooling": (1,), "SmoothL1Loss": (2, 3), "SmoothL1LossOHEM": (2,),
                    "Upsample": (1,)}


def inputs_of(net):
    return [torch.tensor(net.blobs[name].data.copy()) for name in net.inputs]


def as_tuple(value):
    return value if isinstance(value, tuple) else (value,)


@pytest.mark.parametrize("name", EXAMPLES)
def test_values(name):
    net = net_of(EXAMPLES[name])
    module, inputs = caffe.to_torch(net), inputs_of(net)
    with torch.no_grad():
        found = as_tuple(module(*inputs))
    expected = net.forward()
    assert module.outputs == net.outputs == list(expected)
    for value, want in zip(found, expected.values(), strict=True):
        np.testing.assert_allclose(value.detach(), want, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", [name for name in EXAMPLES if name not in NO_GRADIENT])
def test_gradients_are_those_of_the_net(name):
    net = net_of(EXAMPLES[name])
    module, inputs = caffe.to_torch(net), inputs_of(net)
    layer = net.engine_layers[-1]
    constant = {*layer.not_forced, *layer.no_backward_to, *CONSTANT_BOTTOMS.get(layer.type, ())}
    learns = [index not in constant for index in range(len(inputs))]
    for tensor, learn in zip(inputs, learns, strict=True):
        tensor.requires_grad_(learn)
    outputs = as_tuple(module(*inputs))
    layer.needs_backward = True         # this net has no loss
    net.forward()
    random, total = np.random.default_rng(7), 0
    for value, output in zip(outputs, net.outputs, strict=True):
        weight = random.standard_normal(net.blobs[output].shape).astype(np.float32)
        weight *= layer.type != "BN" or output == "y0"       # the engine computes no gradient of BN's statistics
        net.blobs[output].diff[...] = weight
        if value.requires_grad:
            total = total + (value * torch.tensor(weight)).sum()
    layer.param_propagate_down = [True] * len(layer.blobs)
    layer.backward([net.blobs[output] for output in net.outputs], learns, [net.blobs[name] for name in net.inputs])
    total.backward()
    for index, (tensor, learn) in enumerate(zip(inputs, learns, strict=True)):
        if learn:
            np.testing.assert_allclose(tensor.grad, net.blobs[f"x{index}"].diff, rtol=1e-3, atol=1e-4)
    if layer.type not in ("BatchNorm", "BN"):
        for parameter, blob in zip(module.parameters(), net.params.get("tested", ()), strict=True):
            np.testing.assert_allclose(parameter.grad, blob.diff, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("layer", ["type: 'BNLL'", "type: 'MVN'", "type: 'MVN' mvn_param { across_channels: true }"])
def test_gradients_where_the_root_and_the_absolute_value_have_none(layer):
    """At 0 and in constant planes, the module's gradient is that of the net."""
    net = net_of((layer, [X], 1))
    net.blobs["x0"].data[...] = np.arange(X[1])[:, None, None] % 2 if "across" not in layer else 0
    module, (value,) = caffe.to_torch(net), inputs_of(net)
    weight = np.random.default_rng(7).standard_normal(net.blobs["y0"].shape).astype(np.float32)
    net.engine_layers[-1].needs_backward = True
    net.forward()
    net.blobs["y0"].diff[...] = weight
    net.engine_layers[-1].backward([net.blobs["y0"]], [True], [net.blobs["x0"]])
    (module(value.requires_grad_()) * torch.tensor(weight)).sum().backward()
    np.testing.assert_allclose(value.grad, net.blobs["x0"].diff, rtol=1e-4)


@pytest.mark.parametrize("name, constant", [
    ("roi_align", {1}), ("roi_pooling", {1}), ("psroi_pooling", {1}), ("lstm_exposed", {1, 3, 4})])
def test_inputs_without_a_gradient_in_the_net_have_none(name, constant):
    net = net_of(EXAMPLES[name])
    module, inputs = caffe.to_torch(net), [value.requires_grad_() for value in inputs_of(net)]
    sum(value.square().sum() for value in as_tuple(module(*inputs)) if value.requires_grad).backward()
    assert {index for index, value in enumerate(inputs) if value.grad is None or not value.grad.any()} == constant


# ---------------------------------------------------------------------------------------------- whole nets
NET = """
name: "whole"
layer { name: "in" type: "Input" top: "b" top: "a" input_param { shape { dim: 2 dim: 3 dim: 8 dim: 9 }
                                                                 shape { dim: 2 dim: 5 } } }
layer { name: "conv.1" type: "Convolution" bottom: "b" top: "c" convolution_param { num_output: 4 kernel_size: 3
  weight_filler { type: "gaussian" std: 0.3 } } }
layer { name: "forward" type: "ReLU" bottom: "c" top: "c" }
layer { name: "drop" type: "Dropout" bottom: "c" top: "c" }
layer { name: "fc/a" type: "InnerProduct" bottom: "c" top: "z" param { name: "w" } param { name: "b" }
  inner_product_param { num_output: 5 weight_filler { type: "gaussian" std: 0.3 } } }
layer { name: "fc/b" type: "InnerProduct" bottom: "c" top: "other" param { name: "w" } param { name: "b" }
  inner_product_param { num_output: 5 weight_filler { type: "gaussian" std: 0.3 } } }
layer { name: "sum" type: "Eltwise" bottom: "z" bottom: "a" top: "sum" }
"""


def whole(phase=caffe.TEST):
    return caffe.Net(parse(NET, caffe_pb2.NetParameter()), phase)


def random_inputs(net):
    for name in net.inputs:
        net.blobs[name].data[...] = np.random.default_rng(3).standard_normal(net.blobs[name].shape)
    return inputs_of(net)


def test_inputs_and_outputs_are_in_the_order_of_the_net():
    net = whole()
    module, inputs = caffe.to_torch(net), random_inputs(net)
    found = module(*inputs)
    assert (module.inputs, module.outputs) == (["b", "a"], ["other", "sum"])
    for value, want in zip(found, net.forward().values(), strict=True):
        np.testing.assert_allclose(value.detach(), want, rtol=1e-5, atol=1e-6)
    with pytest.raises(ValueError, match=r"2 inputs \(b, a\), got 1"):
        module(inputs[0])


def test_state_dict_is_named_by_layer_and_shared_weights_are_one():
    module = caffe.to_torch(whole())
    state = module.state_dict()
    assert list(state) == ["conv_1.weight", "conv_1.bias", "fc/a.weight", "fc/a.bias", "fc/b.weight", "fc/b.bias"]
    assert len(list(module.parameters())) == 4
    assert state["conv_1.weight"].shape == (4, 3, 3, 3)
    again = caffe.to_torch(whole())
    again.load_state_dict(state)
    assert "(conv_1): TorchLayer(Convolution: weight (4, 3, 3, 3), bias (4,))" in repr(again)


def test_weights_are_a_copy():
    net = whole()
    module, inputs = caffe.to_torch(net), random_inputs(net)
    before = module(*inputs)[0].detach()
    net.params["fc/a"][0].data[...] = 0
    assert torch.equal(module(*inputs)[0], before)


def test_dropout_follows_train_and_eval():
    module = caffe.to_torch(whole(caffe.TRAIN))
    assert module.training and not caffe.to_torch(whole()).training
    inputs = random_inputs(whole())
    assert not torch.equal(module(*inputs)[0], module(*inputs)[0])
    module.eval()
    assert torch.equal(module(*inputs)[0], module(*inputs)[0])


def test_batch_norm_learns_its_statistics_in_training():
    net = net_of(EXAMPLES["batch_norm"], caffe.TRAIN)
    module, inputs = caffe.to_torch(net), inputs_of(net)
    np.testing.assert_allclose(module(*inputs), net.forward()["y0"], rtol=1e-4, atol=1e-5)
    for name, blob in zip(("mean", "variance", "count"), net.params["tested"], strict=True):
        np.testing.assert_allclose(module.state_dict()[f"tested.{name}"], blob.data, rtol=1e-5)
    assert not list(module.parameters())
    module.eval()
    kept = copy.deepcopy(module.state_dict())
    module(*inputs)
    assert all(torch.equal(kept[key], value) for key, value in module.state_dict().items())


def test_training_step_of_torch_is_that_of_the_net():
    """One step of SGD on a loss inside the net."""
    text = NET + ('layer { name: "t" type: "Input" top: "t" input_param { shape { dim: 2 dim: 5 } } }\n'
                  'layer { name: "loss" type: "EuclideanLoss" bottom: "sum" bottom: "t" top: "loss" }\n'
                  'layer { name: "quiet" type: "Silence" bottom: "other" }')
    net = caffe.Net(parse(text, caffe_pb2.NetParameter()), caffe.TEST)
    module, inputs = caffe.to_torch(net), random_inputs(net)
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
    loss = module(*inputs)
    loss.backward()
    optimizer.step()
    assert float(loss.detach()) == pytest.approx(float(net.forward()["loss"]), rel=1e-5)
    net.clear_param_diffs()
    net.backward()
    for name in ("conv.1", "fc/a"):
        for key, blob in zip(("weight", "bias"), net.params[name], strict=True):
            np.testing.assert_allclose(module.state_dict()[f"{name.replace('.', '_')}.{key}"],
                                       blob.data - 0.1 * blob.diff, rtol=1e-4, atol=1e-5)


def test_the_gradient_stops_where_propagate_down_is_false():
    text = NET.replace('name: "fc/a" type: "InnerProduct"', 'name: "fc/a" propagate_down: false type: "InnerProduct"')
    text = text.replace('bottom: "z" bottom: "a"', 'bottom: "z" bottom: "a" propagate_down: true propagate_down: false')
    net = caffe.Net(parse(text, caffe_pb2.NetParameter()), caffe.TEST)
    module, inputs = caffe.to_torch(net), [value.requires_grad_() for value in random_inputs(net)]
    outputs = dict(zip(module.outputs, module(*inputs), strict=True))
    outputs["sum"].sum().backward()
    assert module.state_dict(keep_vars=True)["conv_1.weight"].grad is None and inputs[1].grad is None
    assert module.state_dict(keep_vars=True)["fc/a.weight"].grad.any()
    dict(zip(module.outputs, module(*inputs), strict=True))["other"].sum().backward()
    assert module.state_dict(keep_vars=True)["conv_1.weight"].grad.any() and inputs[0].grad.any()


def test_other_sizes_types_and_copies():
    net = net_of(EXAMPLES["conv"])
    module = copy.deepcopy(caffe.to_torch(net)).double()
    found = module(torch.zeros(5, *X[1:-1], 17, dtype=torch.float64))
    assert found.dtype == torch.float64 and found.shape == (5, 4, 4, 9)
    assert torch.autograd.gradcheck(module, torch.randn(1, 6, 4, 3, dtype=torch.float64, requires_grad=True))


FEW_BITS = ["conv", "conv_0d", "conv_lacking", "deconv", "depthwise", "ip", "ip_no_bias", "max_pool",
            "max_pool_outside", "spp", "lrn", "batch_norm", "lstm", "softmax_loss"]


@pytest.mark.parametrize("name", FEW_BITS)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_module_computes_in_the_type_of_its_weights(name, dtype):
    module = caffe.to_torch(net_of(EXAMPLES[name]))
    inputs = inputs_of(net_of(EXAMPLES[name]))
    wanted, module = [value.detach() for value in as_tuple(module(*inputs))], copy.deepcopy(module).to(dtype)
    for found, want in zip(as_tuple(module(*(value.to(dtype) for value in inputs))), wanted, strict=True):
        assert found.dtype == dtype
        within = want.abs() < 100       # not the lowest number, of windows without pixels
        torch.testing.assert_close(found.float()[within], want[within], rtol=0.02,
                                   atol=0.02 * float(want[within].abs().max()))


@pytest.mark.parametrize("name", ["conv", "max_pool", "ave_pool_padded", "lrn", "batch_norm", "reshape", "reduction",
                                  "lstm", "accuracy", "dummy_data", "euclidean_loss", "sigmoid_loss"])
def test_export_and_tracing(name):
    net = net_of(EXAMPLES[name])
    module, inputs = caffe.to_torch(net), tuple(inputs_of(net))
    want = module(*inputs)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")         # sizes become constants; torch.jit is deprecated
        traced, exported = torch.jit.trace(module, inputs), torch.export.export(module, inputs, strict=False)
    other = [tensor + 1 for tensor in inputs]
    for program in (traced, exported.module()):
        torch.testing.assert_close(program(*inputs), want)
        torch.testing.assert_close(program(*other), module(*other))


def test_constants_are_not_part_of_the_state():
    module = caffe.to_torch(net_of(EXAMPLES["dummy_data"]))
    assert not module.state_dict() and not list(module.parameters())
    assert all(value.dtype == torch.float64 for value in module.double()())


def test_all_layers_that_cannot_be_modules_are_named():
    text = """
    layer { name: "d" type: "DummyData" top: "x" dummy_data_param { shape { dim: 1 dim: 2 }
            data_filler { type: "gaussian" } } }
    layer { name: "e" type: "MemoryData" top: "p" top: "q"
            memory_data_param { batch_size: 1 channels: 1 height: 1 width: 1 } }
    layer { name: "r" type: "ReLU" bottom: "x" top: "y" }
    """
    with pytest.raises(ExportError, match=r"(?s)torch module.*layer 'd' \(DummyData\): .*layer 'e' \(MemoryData\)"):
        caffe.to_torch(caffe.Net(parse(text, caffe_pb2.NetParameter()), caffe.TEST))
