"""Prototxts of other Caffes: fields that change no result are dropped, others are errors that name their fork."""
import logging

import numpy as np
import pytest

import caffe
from caffe.proto import caffe_pb2
from caffe.proto.forks import fork_of_layer
from caffe.proto.prototxt import PrototxtError, parse

NVIDIA = """
name: "n" default_forward_type: FLOAT16
default_backward_type: FLOAT16 default_forward_math: FLOAT default_backward_math: FLOAT
default_conv_algos_override: "1," "2,3"   # a string in two parts
layer { name: "data" type: "Data" top: "data" forward_type: FLOAT
  data_param { source: "db" backend: LMDB batch_size: 3 cache: true threads: 2 parser_threads: 1 shuffle: false }
  transform_param { crop_size: 5 use_gpu_transform: true random_seed: 3 } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv" cudnn_math_override: 0
  convolution_param < num_output: 4 kernel_size: 3 cudnn_convolution_algo_seeker: GET pad: [1, 1] > }
layer { name: "drop" type: "Dropout" bottom: "conv" top: "conv" dropout_param { engine: CUDNN dropout_ratio: 0.25 } }
"""
INTEL = """
engine: "MKLDNN" compile_net_state { is_init: true kept_bn_layers: "}" }
layers { name: "conv" type: CONVOLUTION bottom: "x" top: "c" engine: "MKL2017"
  convolution_param { num_output: 4 engine: MKLDNN kernel_size: 3 relu: false conv_algorithm: "auto" } }
layers { name: "relu" type: RELU bottom: "c" top: "c" relu_param { engine: MKL2017 negative_slope: 0.5 } }
layers { name: "pool" type: POOLING bottom: "c" top: "p" pooling_param { kernel_size: 2 avg_include_pad: true } }
layers { name: "sum" type: ELTWISE bottom: "p" bottom: "p" top: "s" eltwise_param { engine: MKLDNN operation: MAX } }
"""


def net_of(text):
    return parse(text, caffe_pb2.NetParameter(), "m/x.pt")


def test_fields_without_effect_are_dropped_and_logged_in_one_line(caplog):
    with caplog.at_level(logging.INFO, "caffe"):
        net = net_of(NVIDIA)
    data, conv, drop = net.layer
    assert (data.data_param.batch_size, data.transform_param.crop_size, net.name) == (3, 5, "n")
    assert (conv.convolution_param.num_output, list(conv.convolution_param.pad)) == (4, [1, 1])
    assert drop.dropout_param.dropout_ratio == 0.25
    (line,) = caplog.messages
    assert line.startswith("m/x.pt: left out, as they change no number here, the fields default_forward_type, ")
    assert line.endswith(" of NVIDIA Caffe") and "cudnn_convolution_algo_seeker" in line


def test_engines_of_intel_are_dropped(caplog):
    with caplog.at_level(logging.INFO, "caffe"):
        conv, relu, pool, total = net_of(INTEL).layers
    assert (conv.convolution_param.num_output, list(conv.convolution_param.kernel_size)) == (4, [3])
    assert relu.relu_param.negative_slope == 0.5 and not relu.relu_param.HasField("engine")
    assert pool.pooling_param.kernel_size == 2 and total.eltwise_param.operation == caffe_pb2.EltwiseParameter.MAX
    (line,) = caplog.messages
    assert "the fields engine, compile_net_state, relu, conv_algorithm, avg_include_pad of Intel Caffe" in line


def test_files_of_bvlc_are_unchanged(caplog):
    with caplog.at_level(logging.INFO, "caffe"):
        net = net_of('layer { name: "cache" type: "debug" top: "threads" convolution_param { engine: CUDNN } }')
    assert net.layer[0].convolution_param.engine == caffe_pb2.ConvolutionParameter.CUDNN and not caplog.messages


@pytest.mark.parametrize("text, fork", [
    ("layer {\n  video_data_param { skip_frames: 3 } }", "the SSD fork"),
    ("layer {\n  transform_param { noise_param { prob: 1 } } }", "the SSD fork"),
    ("layer {\n  region_loss_param { side: 13 } }", "a YOLO fork"),
    ("layer {\n  region_param { classes: 20 } }", "a YOLO fork"),
    ("layer {\n  region_loss_param { num_class: 3 } }", "a YOLO fork"),
    ("layer {\n  convolution_param { relu: true } }", "Intel Caffe"),
    ("layer {\n  data_param { shuffle: true } }", "NVIDIA Caffe"),
    ("layer {\n  transform_param { img_rand_resize_lower: 3 } }", "NVIDIA Caffe"),
    ("layer {\n  dense_crf_param { max_iter: 3 } }", "DeepLab's fork"),
])
def test_fields_with_effect_are_errors_that_name_their_fork(text, fork):
    with pytest.raises(PrototxtError, match=rf"m/x.pt:2:\d+: \w+ has no field '\w+': it is one of {fork}, which"):
        net_of(text)


@pytest.mark.parametrize("kind, fork", [
    ("VideoData", "the SSD fork"),
    ("RegionLoss", "a YOLO fork"), ("DenseCRF", "DeepLab's fork"), ("DetectNetTransformation", "NVIDIA Caffe")])
def test_unknown_layer_types_are_errors_that_name_their_fork(tmp_path, kind, fork):
    (tmp_path / "x.pt").write_text(f"name: 'n'\nlayer {{ name: 'b' type: '{kind}' }}")
    with pytest.raises(caffe.LayerError, match=f"x.pt:2: layer 'b' has the unknown type '{kind}': it is one of {fork}, "
                                               "which this package does not have"):
        caffe.Net(str(tmp_path / "x.pt"), caffe.TEST)


def test_no_existing_type_is_listed_as_one_of_a_fork():
    assert not [kind for kind in caffe.layer_type_list() if fork_of_layer(kind)]


def test_columns_and_other_errors_are_unchanged():
    with pytest.raises(PrototxtError, match=r"m/x.pt:1:29: LayerParameter has no field 'botom'; did you mean"):
        net_of('layer { forward_type: FLOAT botom: "a" }')
    for text in ("layer { forward_type:", "layer { forward_type: }", "engine: {", "engine", "multinode { a: [ }"):
        with pytest.raises(PrototxtError, match="m/x.pt:1:"):
            net_of(text)


def test_fields_without_effect_do_not_change_results(tmp_path):
    text = """layer { name: "in" type: "Input" top: "x" input_param { shape { dim: 2 dim: 3 dim: 6 dim: 5 } } }
              layer { name: "bn" type: "BatchNorm" bottom: "x" top: "x" batch_norm_param { eps: 0.1 %s } }"""
    value = np.random.default_rng(0).standard_normal((2, 3, 6, 5))
    found = [caffe.Net(net_of(text % extra), caffe.TRAIN).forward(x=value)["x"] for extra in ("", "engine: CUDNN")]
    np.testing.assert_array_equal(*found)
