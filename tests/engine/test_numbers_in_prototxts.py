"""Numbers that no layer can use: an error with file and line before memory is allocated, never another exception."""
import itertools
import math

import numpy as np
import pytest
import torch

import caffe
from caffe.engine import device
from caffe.engine.blob import Blob, BlobError
from caffe.engine.layers.tile import Tile
from caffe.proto import caffe_pb2, prototxt

INPUT = "layer { name: 'in' type: 'Input' top: 'x' input_param { shape { dim: 2 dim: 4 dim: 6 dim: 7 } } }\n"
ROIS = ("layer { name: 'rois' type: 'DummyData' top: 'r' dummy_data_param { shape { dim: 2 dim: 5 } "
        "data_filler { type: 'constant' value: 1 } } }\n")
XAVIER = "weight_filler { type: 'xavier' }"


def layer(kind, settings, bottoms="bottom: 'x'", tops="top: 'y'"):
    return f"layer {{ name: 'tested' type: '{kind}' {bottoms} {tops} {settings} }}"


def filled(filler, shape="dim: 2 dim: 3"):
    return "\n" + layer("DummyData", f"dummy_data_param {{ shape {{ {shape} }} data_filler {{ {filler} }} }}", "")


REFUSED = {
    "negative dim": (filled("", "dim: -3"), "at least 0"),
    "overflowing dim": (filled("", "dim: 2147483648"), "above 2147483647"),
    "overflowing count": (filled("", "dim: 2147483647 dim: 2147483647 dim: 2147483647"), "GiB, this machine has"),
    "no values": (filled("type: 'gaussian'", "dim: 0 dim: 3"), "nothing to fill"),
    "Input": ("\n" + layer("Input", "input_param { shape { dim: -1 } }", ""), "at least 0"),
    "huge Input": ("\n" + layer("Input", "input_param { shape { dim: 2000000000 dim: 2000000000 } }", ""), "GiB"),
    "Parameter": ("\n" + layer("Parameter", "parameter_param { shape { dim: 4294967296 } }", ""), "above 2147483647"),
    "std nan": (filled("type: 'gaussian' std: nan"), "data_filler.std: expected a finite number, found nan"),
    "std inf": (filled("type: 'gaussian' std: inf"), "std: expected a finite number"),
    "std 0": (filled("type: 'gaussian' std: 0"), "std must be above 0"),
    "std negative": (filled("type: 'gaussian' std: -1"), "std must be above 0"),
    "mean of 1e39": (filled("type: 'gaussian' mean: 1e39"), "mean: expected a finite number, found inf"),
    "swapped": (filled("type: 'uniform' min: 3 max: 1"), "min 3.0 is above max 1.0"),
    "wide": (filled("type: 'uniform' min: -3e38 max: 3e38"), "expected finite numbers"),
    "num_output": (INPUT + layer("Convolution", "convolution_param { num_output: 4294967295 kernel_size: 1 }"),
                   "num_output: expected at most 2147483647"),
    "memory": (INPUT + layer("InnerProduct", "inner_product_param { num_output: 2000000000 }"), "GiB, this machine"),
    "weights nan": (INPUT + layer("InnerProduct", "inner_product_param { num_output: 2 weight_filler { std: nan } }"),
                    "inner_product_param.weight_filler.std"),
    "pad": (INPUT + layer("Pooling", "pooling_param { kernel_size: 1000000 pad: 999999 }"), "GiB"),
    "Tile": (INPUT + layer("Tile", "tile_param { tiles: 2147483647 }"), "above 2147483647"),
    "Upsample": (INPUT + layer("Upsample", "upsample_param { scale: 100000 }"), "GiB"),
    "Exp": (INPUT + layer("Exp", "exp_param { base: 2 shift: 1e10 }"), "too large for a float"),
    "PriorBox": (INPUT + layer("PriorBox", "prior_box_param { min_size: 1e30 }", "bottom: 'x' bottom: 'x'"), "pixels"),
    "lr_mult": (INPUT + layer("InnerProduct", "param { lr_mult: nan } inner_product_param { num_output: 2 }"),
                "param.lr_mult: expected a finite number"),
    "loss_weight": (INPUT + layer("ReLU", "loss_weight: -inf"), "loss_weight: expected a finite number"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_with_file_and_line(tmp_path, name):
    text, told = REFUSED[name]
    (tmp_path / "net.pt").write_text(text)
    with pytest.raises(caffe.LayerError, match=rf"net.pt:2: layer 'tested' .*{told}"):
        caffe.Net(str(tmp_path / "net.pt"), caffe.TRAIN)


@pytest.mark.parametrize("kind, settings, told", [
    ("ROIAlign", "roi_align_param { pooled_h: 2 pooled_w: 2 spatial_scale: 1e12 }", "above"),
    ("ROIAlign", "roi_align_param { pooled_h: 2 pooled_w: 2 spatial_scale: 3e38 }", "GiB|too large for the RoIs"),
    ("ROIAlign", "roi_align_param { pooled_h: 2 pooled_w: 2 sampling_ratio: 2147483647 }", "GiB|above")])
def test_refused_when_the_values_are_known(kind, settings, told):
    text = INPUT + ROIS.replace("value: 1", "value: 1.5") + layer(kind, settings, "bottom: 'x' bottom: 'r'")
    net = caffe.Net(prototxt.parse(text, caffe_pb2.NetParameter()), caffe.TEST)
    net.blobs["r"].data[...] = [[0, 0, 0, 5, 5], [1, 1, 1, 6, 6]]
    with pytest.raises(caffe.LayerError, match=f"layer 'tested' .*({told})"):
        net.forward(start="tested")


def test_parameters_that_fit_only_one_by_one(tmp_path, monkeypatch):
    """Rejected before memory for the last one is allocated; blobs without a filler take none yet, and do not count."""
    text = INPUT + "".join(f"layer {{ name: 'fc{index}' type: 'InnerProduct' bottom: 'x' top: 'y{index}' "
                           "inner_product_param { num_output: 10 bias_term: false } }\n" for index in range(3))
    (tmp_path / "net.pt").write_text(text)
    size = 10 * 4 * 6 * 7 * 4
    monkeypatch.setattr("caffe.engine.device.memory_size", lambda: 3 * size)
    assert len(caffe.Net(str(tmp_path / "net.pt"), caffe.TRAIN).params) == 3
    monkeypatch.setattr("caffe.engine.device.memory_size", lambda: 3 * size - 1)
    with pytest.raises(caffe.LayerError, match=r"net.pt:4: layer 'fc2' .*a blob of \S+ GiB takes, with those filled "
                                               r"before it, \S+ GiB; this machine has"):
        caffe.Net(str(tmp_path / "net.pt"), caffe.TRAIN)
    caffe.fill_blob(Blob(10**4), caffe_pb2.FillerParameter())      # outside the construction of a net
    monkeypatch.setattr("caffe.engine.device.memory_size", lambda: 100)
    caffe.Net(prototxt.parse(INPUT, caffe_pb2.NetParameter()), caffe.TRAIN)


def test_a_window_without_a_pixel_far_away():
    text = INPUT + layer("Pooling", "pooling_param { pool: AVE kernel_size: 5 stride: 2000000 }")
    net = caffe.Net(prototxt.parse(text, caffe_pb2.NetParameter()), caffe.TEST)
    with pytest.raises(caffe.LayerError, match="layer 'tested' .*GiB"):
        net.forward()


def test_numbers_that_may_be_infinite():
    text = INPUT + layer("Clip", "clip_param { min: 0 max: inf }")
    net = caffe.Net(prototxt.parse(text, caffe_pb2.NetParameter()), caffe.TEST)
    net.blobs["x"].data[...] = np.linspace(-1, 1, 336).reshape(2, 4, 6, 7)
    assert (net.forward()["y"] == net.blobs["x"].data.clip(0)).all()


def test_blobs_of_impossible_shapes():
    for shape in ((-1,), (2**31,), (2**62, 4), (10**6, 10**6, 10**6)):
        with pytest.raises(BlobError):
            Blob(*shape)
        blob = Blob(2, 3)
        with pytest.raises(ValueError, match="dimension|GiB"):
            blob.reshape(*shape)
        assert blob.shape == (2, 3)


def test_weights_beyond_the_memory_that_is_left(monkeypatch):
    monkeypatch.setattr(device, "memory_size", lambda: 2**62)
    text = INPUT.replace("dim: 7", f"dim: {2**15}") + layer(
        "InnerProduct", f"inner_product_param {{ num_output: {2**30} }}")
    with pytest.raises(caffe.LayerError, match="layer 'tested' .*there is too little memory: .*allocate"):
        caffe.Net(prototxt.parse(text, caffe_pb2.NetParameter()), caffe.TEST)


@pytest.mark.parametrize("error", [MemoryError("of an array"), torch.OutOfMemoryError("of a GPU")])
@pytest.mark.parametrize("method", ["setup", "reshape", "forward", "backward"])
def test_memory_that_runs_out_is_an_error_of_the_layer(monkeypatch, method, error):
    def fail(*arguments):
        raise error
    net = prototxt.parse(f"force_backward: true {INPUT}" + layer("Tile", "tile_param { tiles: 2 }"),
                         caffe_pb2.NetParameter())
    monkeypatch.setattr(Tile, method, fail)
    with pytest.raises(caffe.LayerError, match=f"layer 'tested' .*there is too little memory: {error}"):
        made = caffe.Net(net, caffe.TRAIN)
        made.forward()
        made.backward()


def test_other_errors_of_a_layer_stay(monkeypatch):
    monkeypatch.setattr(Tile, "setup", lambda *arguments: torch.zeros(2) @ torch.zeros(3))
    with pytest.raises(RuntimeError, match="size"):
        caffe.Net(prototxt.parse(INPUT + layer("Tile", ""), caffe_pb2.NetParameter()), caffe.TEST)


# ---- every number of many layers, replaced by extreme ones
NETS = [INPUT + layer(kind, settings) for kind, settings in (
    ("Convolution", "convolution_param { num_output: 4 kernel_size: 3 pad: 1 stride: 2 dilation: 1 group: 2 "
                    f"{XAVIER} }}"),
    ("Deconvolution", "convolution_param { num_output: 4 kernel_h: 3 kernel_w: 2 stride_h: 2 stride_w: 1 "
                      f"{XAVIER} }}"),
    ("Im2col", "convolution_param { kernel_size: 3 pad: 1 stride: 2 dilation: 1 }"),
    ("Pooling", "pooling_param { pool: MAX kernel_size: 3 stride: 2 pad: 1 }"),
    ("Pooling", "pooling_param { pool: AVE kernel_h: 3 kernel_w: 2 stride_h: 2 stride_w: 3 }"),
    ("Pooling", "pooling_param { pool: STOCHASTIC kernel_size: 3 stride: 2 }"),
    ("InnerProduct", f"inner_product_param {{ num_output: 3 axis: 1 {XAVIER} bias_filler {{ value: 1 }} }}"),
    ("LRN", "lrn_param { local_size: 3 alpha: 1 beta: 0.75 k: 1 }"),
    ("LRN", "lrn_param { local_size: 3 alpha: 1 beta: 0.75 norm_region: WITHIN_CHANNEL }"),
    ("BatchNorm", "batch_norm_param { eps: 1e-5 moving_average_fraction: 0.9 }"),
    ("Scale", "scale_param { axis: 1 num_axes: 1 filler { value: 2 } }"),
    ("Exp", "exp_param { base: 2 scale: 1 shift: 1 }"),
    ("Log", "log_param { base: 2 scale: 1 shift: 1 }"), ("Power", "power_param { power: 2 scale: 1 shift: 1 }"),
    ("Dropout", "dropout_param { dropout_ratio: 0.5 }"), ("Tile", "tile_param { axis: 1 tiles: 2 }"),
    ("Slice", "top: 'z' slice_param { axis: 1 slice_point: 2 }"), ("Flatten", "flatten_param { axis: 1 end_axis: 2 }"),
    ("Reshape", "reshape_param { shape { dim: 0 dim: -1 dim: 7 } axis: 0 num_axes: 4 }"),
    ("SPP", "spp_param { pyramid_height: 2 }"), ("Upsample", "upsample_param { scale: 2 }"),
    ("Interp", "interp_param { zoom_factor: 2 shrink_factor: 1 pad_beg: 0 pad_end: 0 }"),
    ("Permute", "permute_param { order: 0 order: 2 }"), ("ShuffleChannel", "shuffle_channel_param { group: 2 }"),
    ("Reverse", "reverse_param { axis: 1 }"), ("Transpose", "transpose_param { dim: 3 dim: 2 dim: 0 dim: 1 }"),
    ("Lstm", f"lstm_param {{ num_output: 3 batch_size: 2 clipping_threshold: 1 {XAVIER} }}"),
    ("Reduction", "reduction_param { axis: 1 coeff: 2 }"), ("ArgMax", "argmax_param { top_k: 2 axis: 1 }"),
    ("DummyData", "dummy_data_param { shape { dim: 2 dim: 3 } data_filler { type: 'gaussian' std: 1 sparse: 1 } }"))]
NETS[-1] = NETS[-1].replace("bottom: 'x' ", "")
NETS += [INPUT + ROIS + layer(kind, settings, "bottom: 'x' bottom: 'r'") for kind, settings in (
    ("ROIPooling", "roi_pooling_param { pooled_h: 2 pooled_w: 2 spatial_scale: 0.5 }"),
    ("ROIAlign", "roi_align_param { pooled_h: 2 pooled_w: 2 spatial_scale: 0.5 sampling_ratio: 2 }"),
    ("PSROIPooling", "psroi_pooling_param { spatial_scale: 0.5 output_dim: 1 group_size: 2 }"))]
NETS.append("input: 'x' input_shape { dim: 2 dim: 12 } input: 's' input_shape { dim: 2 dim: 9 }\n"
            "input: 'p' input_shape { dim: 1 dim: 2 dim: 12 }\n"
            + layer("DetectionOutput", "detection_output_param { num_classes: 3 background_label_id: 0 keep_top_k: 5 "
                    "confidence_threshold: -1 nms_param { nms_threshold: 0.5 top_k: 4 eta: 0.9 } }",
                    "bottom: 'x' bottom: 's' bottom: 'p'"))
NETS.append("input: 'x' input_shape { dim: 2 dim: 12 } input: 's' input_shape { dim: 2 dim: 9 }\n"
            "input: 'p' input_shape { dim: 1 dim: 2 dim: 12 } input: 'g' input_shape { dim: 1 dim: 1 dim: 2 dim: 8 }"
            + layer("MultiBoxLoss", "multibox_loss_param { num_classes: 3 background_label_id: 1 loc_weight: 2 "
                    "overlap_threshold: 0.5 neg_pos_ratio: 3 neg_overlap: 0.5 sample_size: 4 }",
                    "bottom: 'x' bottom: 's' bottom: 'p' bottom: 'g'"))
SCORES = "input: 'x' input_shape { dim: 4 dim: 2 dim: 3 } input: 'y' input_shape { dim: 2 dim: 3 }\n"
NETS += [SCORES + layer("CTCGreedyDecoder", "ctc_decoder_param { blank_index: 1 }"),
         *(SCORES + layer(kind, settings, "bottom: 'x' bottom: 'y'") for kind, settings in (
             ("WarpCTCLoss", "ctc_loss_param { blank_index: 1 }"), ("CtcLoss", "ctc_loss_param { blank_label: 1 "
              "alphabet_size: 3 time_step: 3 }"))),
         "input: 'x' input_shape { dim: 2 dim: 4 dim: 3 } input: 'y' input_shape { dim: 2 dim: 3 }\n" + layer(
             "LabelsequenceAccuracy", "labelsequence_accuracy_param { blank_label: 1 }", "bottom: 'x' bottom: 'y'"),
         layer("ContinuationIndicator", "continuation_indicator_param { time_step: 4 batch_size: 2 }", "")]
EXTREMES = {"INT32": (-1, 0, 2**31 - 1, -2**31), "INT64": (-3, 0, 2**31, 2**63 - 1),
            "UINT32": (0, 2**31 - 1, 2**32 - 1), "FLOAT": (0, -1, math.nan, -math.inf, 1e38, 1e-40)}


def numbers(message):
    """(message, field) of every number in a message and in nested messages."""
    for field, value in message.ListFields():
        for item in value if hasattr(value, "add") else [value]:
            if hasattr(item, "ListFields"):
                yield from numbers(item)
        if field.message_type is None and field.enum_type is None and isinstance(value, int | float):
            yield message, field
        elif hasattr(value, "append") and len(value) and isinstance(value[0], int | float):
            yield message, field


def changed(net, index, value):
    """Set the number with this index in the last layer; returns its name."""
    message, field = next(itertools.islice(numbers(net.layer[-1]), index, None))
    if hasattr(getattr(message, field.name), "append"):
        getattr(message, field.name)[0] = value
    else:
        setattr(message, field.name, value)


@pytest.mark.parametrize("text", NETS)
def test_extreme_numbers_are_refused_or_computed(text):
    original = prototxt.parse(text, caffe_pb2.NetParameter())
    kinds = {number: name for name, number in (("INT32", 1), ("INT64", 2), ("UINT32", 3), ("FLOAT", 6))}
    refused = 0
    for index, (_, field) in enumerate(list(numbers(original.layer[-1]))):
        for value in EXTREMES.get(kinds.get(field.cpp_type, ""), ()):
            net = prototxt.parse(text, caffe_pb2.NetParameter())
            changed(net, index, value)
            try:
                made = caffe.Net(net, caffe.TRAIN)
                if sum(blob.count for blob in made.blobs.values()) < 1_000_000:     # larger nets would only take long
                    made.forward()
                    made.backward()
            except caffe.CaffeError as error:
                refused += 1
                assert "'tested'" in str(error)
    assert refused
