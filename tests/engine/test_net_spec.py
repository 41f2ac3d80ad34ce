"""NetSpec: messages, names and errors."""
import copy

import pytest

from caffe.net_spec import NetSpec, assign_proto, layers, param_name_dict, params, to_proto
from caffe.proto import caffe_pb2
from caffe.proto.prototxt import parse

L, P = layers, params


def small_net() -> NetSpec:
    n = NetSpec()
    n.data = L.Input(shape=[dict(dim=[1, 3, 9, 11])])
    n.conv1 = L.Convolution(n.data, num_output=8, kernel_size=3, param=[dict(lr_mult=1), dict(lr_mult=2)],
                            weight_filler=dict(type="gaussian", std=0.5))
    n.relu1 = L.ReLU(n.conv1, in_place=True)
    n.pool1 = L.Pooling(n.relu1, pool=P.Pooling.AVE, kernel_size=2, stride=2)
    return n


def test_message_is_the_one_a_prototxt_gives():
    expected = parse("""
        layer { name: "data" type: "Input" top: "data"
                input_param { shape { dim: 1 dim: 3 dim: 9 dim: 11 } } }
        layer { name: "conv1" type: "Convolution" bottom: "data" top: "conv1"
                param { lr_mult: 1 } param { lr_mult: 2 }
                convolution_param { num_output: 8 kernel_size: 3
                                    weight_filler { type: "gaussian" std: 0.5 } } }
        layer { name: "relu1" type: "ReLU" bottom: "conv1" top: "conv1" }
        layer { name: "pool1" type: "Pooling" bottom: "conv1" top: "pool1"
                pooling_param { pool: AVE kernel_size: 2 stride: 2 } }
    """, caffe_pb2.NetParameter())
    assert small_net().to_proto() == expected


def test_several_tops_no_top_and_own_layer_name():
    n = NetSpec()
    n.data, n.label = L.Python(name="input", ntop=2, module="a", layer="B", param_str="c")
    n["rpn/output"] = L.Convolution(n.data, name="rpn_conv/3x3", num_output=2, kernel_size=1)
    n.quiet = L.Silence(n["rpn/output"], n.label, ntop=0)
    source, conv, silence = n.to_proto().layer
    assert (source.name, list(source.top)) == ("input", ["data", "label"])
    assert (source.python_param.module, source.python_param.layer) == ("a", "B")
    assert (conv.name, list(conv.top)) == ("rpn_conv/3x3", ["rpn/output"])
    assert (silence.name, list(silence.bottom), list(silence.top)) == ("quiet", ["rpn/output", "label"], [])


def test_automatic_names():
    data = L.DummyData(shape=dict(dim=[2, 3]))
    first = L.InnerProduct(data, num_output=4)
    second = L.InnerProduct(L.ReLU(first, in_place=True), num_output=5)
    net = to_proto(second, first)
    assert [layer.name for layer in net.layer] == ["DummyData1", "InnerProduct1", "ReLU1", "InnerProduct2"]
    assert [list(layer.top) for layer in net.layer] == [
        ["DummyData1"], ["InnerProduct1"], ["InnerProduct1"], ["InnerProduct2"]]
    assert second.to_proto() == to_proto(second)


def test_an_unnamed_layer_in_between_gets_an_automatic_name():
    n = NetSpec()
    n.out = L.ReLU(L.DummyData(shape=dict(dim=[2, 3])))
    assert [(layer.name, list(layer.top)) for layer in n.to_proto().layer] == [
        ("DummyData1", ["DummyData1"]), ("out", ["out"])]


def test_settings_of_layer_and_of_its_type_and_of_borrowed_messages():
    n = NetSpec()
    n.data = L.DummyData(shape=dict(dim=[2, 3, 4, 5]), data_filler=dict(type="constant", value=1))
    n.up = L.Deconvolution(n.data, num_output=6, kernel_size=3)
    n.loss = L.SoftmaxWithLoss(n.up, n.data, propagate_down=[True, False], loss_weight=2,
                               loss_param=dict(ignore_label=-1), softmax_param=dict(axis=2))
    _, up, loss = n.to_proto().layer
    assert up.convolution_param.num_output == 6
    assert (list(loss.propagate_down), list(loss.loss_weight)) == ([True, False], [2])
    assert (loss.loss_param.ignore_label, loss.softmax_param.axis) == (-1, 2)


def test_the_helpers_of_pycaffes_module():
    names = param_name_dict()
    assert (names["Convolution"], names["InnerProduct"], names["LRN"]) == ("convolution", "inner_product", "lrn")
    layer = caffe_pb2.LayerParameter()
    assign_proto(layer, "convolution_param", dict(num_output=3, kernel_size=[2, 4], weight_filler=dict(std=0.5)))
    assign_proto(layer, "bottom", "x")
    assert (list(layer.convolution_param.kernel_size), list(layer.bottom)) == ([2, 4], ["x"])
    with pytest.raises(TypeError, match="did you mean num_output"):
        assign_proto(layer.convolution_param, "num_outputs", 3)


def test_tops_by_attribute_and_item():
    n = small_net()
    assert n["conv1"] is n.conv1 and "conv1" in n and "conv2" not in n
    assert list(n) == ["data", "conv1", "relu1", "pool1"]
    del n.pool1
    assert len(n.to_proto().layer) == 3
    assert (n.conv1.fn.type_name, n.conv1.fn.inputs, n.conv1.n) == ("Convolution", (n.data,), 0)
    assert copy.copy(n).to_proto() == n.to_proto()


@pytest.mark.parametrize("settings, words", [
    (dict(num_outputs=3), "Convolution has no setting 'num_outputs'; did you mean num_output"),
    (dict(weight_filler=dict(stdd=1)), "FillerParameter has no field 'stdd'; did you mean std"),
    (dict(num_output="a"), "ConvolutionParameter.num_output = 'a'"),
    (dict(weight_filler="xavier"), "expected a dict with fields of FillerParameter"),
])
def test_wrong_settings_are_named(settings, words):
    n = NetSpec()
    n.wrong = L.Convolution(L.DummyData(shape=dict(dim=[1, 2, 3, 4])), **settings)
    with pytest.raises(TypeError, match=words):
        n.to_proto()


def test_wrong_use_is_named():
    n = small_net()
    with pytest.raises(TypeError, match=r"^Convolution input 0 is not a Top \(type is <class 'int'>\); settings are"):
        L.Convolution(8)
    with pytest.raises(TypeError, match=r"^Silence input 1 is not a Top \(type is <class 'tuple'>\)"):
        L.Silence(n.data, L.Data(ntop=2), ntop=0)
    with pytest.raises(TypeError, match="in-place layer has one bottom and one top, got 2 and 1"):
        L.Eltwise(n.data, n.conv1, in_place=True)
    n.both = L.Python(ntop=2)
    with pytest.raises(TypeError, match="'both' must be a layer's top"):
        n.to_proto()
    for error in (KeyError, AttributeError):
        with pytest.raises(error, match=r"^the net has no top 'conv'; did you mean conv1\?$"):
            _ = n.conv
    with pytest.raises(KeyError, match=r"^the net has no top 'conv'; did you mean conv1\?$"):
        _ = n["conv"]
    with pytest.raises(KeyError, match="no top 'conv'"):
        del n.conv
    assert not hasattr(n, "conv") and getattr(n, "conv", None) is None
    with pytest.raises(AttributeError, match="no PoolParameter; did you mean Pooling"):
        _ = P.Pool


def test_anything_may_be_assigned_until_the_message_is_asked_for():
    n = NetSpec()
    n.data = L.Data(ntop=2)                     # as in pynetbuilder, which unpacks the tuple later
    n.data, n["label"] = n.data
    n.note = [1, 2]
    with pytest.raises(TypeError, match=r"'note' must be a layer's top, got \[1, 2\]"):
        n.to_proto()
    del n.note
    assert list(n.to_proto().layer[0].top) == ["data", "label"]
    assert copy.deepcopy(n).to_proto() == n.to_proto()
