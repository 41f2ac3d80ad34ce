"""Settings that a layer does not read are logged by name, with file and line; every other field is read."""
import inspect
import logging
import re
from pathlib import Path

import pytest

import caffe
from caffe import layer_docs
from caffe.engine.graph.unread_settings import unread_settings
from caffe.engine.layer import layer_class, make_layer
from caffe.proto import caffe_pb2, prototxt

INPUT = "layer { name: 'in' type: 'Input' top: 'a' top: 'b' input_param { shape { dim: 2 dim: 3 dim: 4 dim: 4 } } }\n"
FOLDER = Path(caffe.__file__).parent
REPOSITORY = FOLDER.parents[2]
NO_EFFECT = {"engine", "force_nd_im2col", "share_in_parallel"}      # they choose an implementation in BVLC Caffe


def unread(text):
    layer = make_layer(prototxt.parse(f"name: 'tested' {text}", caffe_pb2.LayerParameter()), caffe.TRAIN)
    return unread_settings(layer)


@pytest.mark.parametrize("text, names", [
    ("type: 'Pooling' pooling_param { kernel_size: 2 } convolution_param { stride: 2 }", ["convolution_param"]),
    ("type: 'Pooling' convolution_param { } pooling_param { } relu_param { }", ["convolution_param", "relu_param"]),
    ("type: 'ReLU' dropout_param { dropout_ratio: 0.5 }", ["dropout_param"]),
    ("type: 'Sigmoid' relu_param { negative_slope: 0.1 }", ["relu_param"]),
    ("type: 'AbsVal' power_param { power: 2 }", ["power_param"]),
    ("type: 'EuclideanLoss' loss_param { normalization: NONE }", ["loss_param"]),
    ("type: 'HingeLoss' loss_param { ignore_label: 0 } hinge_loss_param { norm: L2 }", ["loss_param"]),
    ("type: 'SmoothL1Loss' loss_param { normalize: false }", ["loss_param"]),
    ("type: 'ContrastiveLoss' loss_param { }", ["loss_param"]),
    ("type: 'Accuracy' softmax_param { axis: 2 }", ["softmax_param"]),
    ("type: 'MemoryData' transform_param { scale: 0.5 }", ["transform_param"]),
    ("type: 'DummyData' transform_param { scale: 0.5 }", ["transform_param"]),
    ("type: 'Data' data_param { prefetch: 8 }", ["data_param.prefetch"]),
    ("type: 'Data' data_param { scale: 0.5 mirror: true } transform_param { scale: 0.5 mirror: true }",
     ["data_param.scale", "data_param.mirror"]),
    ("type: 'ImageData' image_data_param { mean_file: 'm' crop_size: 3 }",
     ["image_data_param.mean_file", "image_data_param.crop_size"]),
    ("type: 'WindowData' window_data_param { scale: 0.5 crop_size: 3 }", ["window_data_param.crop_size"]),
    ("type: 'ImageData' transform_param { force_color: true scale: 2 }", ["transform_param.force_color"]),
    ("type: 'WindowData' transform_param { scale: 2 crop_size: 3 } window_data_param { cache_images: true }",
     ["transform_param.scale", "window_data_param.cache_images"]),
    ("type: 'Im2col' convolution_param { kernel_size: 2 num_output: 3 }", ["convolution_param.num_output"]),
    ("type: 'LSTM' recurrent_param { num_output: 3 debug_info: true }", ["recurrent_param.debug_info"]),
    ("type: 'Convolution' convolution_param { num_output: 2 engine: CUDNN }", []),
    ("type: 'Deconvolution' convolution_param { num_output: 2 }", []),
    ("type: 'SoftmaxWithLoss' softmax_param { axis: 1 } loss_param { ignore_label: 0 }", []),
    ("type: 'ROIAlign' roi_pooling_param { pooled_h: 2 pooled_w: 2 }", []),
    ("type: 'RNN' recurrent_param { num_output: 3 } param { lr_mult: 2 } loss_weight: 0", []),
])
def test_what_is_not_read(text, names):
    assert sorted(unread(text)) == sorted(names)


def test_the_log_names_file_line_and_layer(tmp_path, caplog):
    (tmp_path / "net.pt").write_text(INPUT + "layer { name: 'loss' type: 'EuclideanLoss' bottom: 'a' bottom: 'b' "
                                     "top: 'loss' loss_param { normalization: NONE } }")
    with caplog.at_level(logging.WARNING, "caffe"):
        caffe.Net(str(tmp_path / "net.pt"), caffe.TEST)
    assert caplog.messages == [f"{tmp_path}/net.pt:2: layer 'loss' (EuclideanLoss) does not read loss_param: no effect"]


@pytest.mark.parametrize("name", layer_docs.catalogue())
def test_every_other_field_is_read(name):
    """Each field of a layer's messages is in its source, or declared as unread, or without effect in the schema."""
    source = source_of(layer_class(name))
    fields = caffe_pb2.LayerParameter.DESCRIPTOR.fields_by_name
    for message in layer_docs.settings_of(name):
        for field in fields[message].message_type.fields:
            path = f"{message}.{field.name}"
            is_read = re.search(rf"\b{field.name}\b", source) or re.search(rf'{{name}}_{field.name[-1]}"', source) \
                and field.name[-2:] in ("_h", "_w")
            declared = path in layer_class(name).unread_settings
            assert is_read or declared or field.name in NO_EFFECT, path


def source_of(cls):
    """The text, without docstrings, of a layer's module and of those in engine/bases that it uses."""
    modules, text = {inspect.getmodule(base) for base in cls.__mro__ if base.__module__.startswith("caffe.engine.")}, ""
    for module in modules:
        if module.__name__ != "caffe.engine.layer":
            text += inspect.getsource(module)
    for name in re.findall(r"from \.\.?(?:bases\.)?(\w+) import", text):
        if (FOLDER / "engine" / "bases" / f"{name}.py").is_file():
            text += (FOLDER / "engine" / "bases" / f"{name}.py").read_text()
    return re.sub(r'"""(?:.|\n)*?"""', "", text)


def test_messages_that_a_layer_reads_are_declared():
    for name in layer_docs.catalogue():
        text = re.sub(r'"""(?:.|\n)*?"""', "", inspect.getsource(inspect.getmodule(layer_class(name))))
        used = set(re.findall(r"self\.param\.(\w+_param)\b", text)) - {"transform_param"}       # HDF5Data rejects it
        assert used <= set(layer_docs.settings_of(name)), name


@pytest.mark.parametrize("path", sorted((REPOSITORY / "models").rglob("*.prototxt")), ids=lambda path: path.name)
def test_the_projects_nets_have_no_such_setting(path):
    if "solver" in path.name:
        return
    net = prototxt.read_net(path)
    for param in net.layer:
        if param.type != "Python":
            assert not unread_settings(make_layer(param, caffe.TRAIN)), param.name
