"""Nets of one layer each, for tests that go over many layer types: {name: (layer, shapes of bottoms, tops)}."""
import numpy as np

import caffe
from caffe.proto import caffe_pb2
from caffe.proto.prototxt import parse

_RANDOM = "{ type: 'gaussian' std: 0.7 }"
_FILLERS = f"weight_filler {_RANDOM} bias_filler {_RANDOM}"
X = (2, 6, 7, 5)


def _conv(kind, settings):
    return f"type: '{kind}' convolution_param {{ {settings} {_FILLERS} }}"


def _pool(settings):
    return f"type: 'Pooling' pooling_param {{ {settings} }}"


def _simple(kind, settings=""):
    return f"type: '{kind}' {settings}", [X], 1


EXAMPLES = {
    "conv": (_conv("Convolution", "num_output: 4 kernel_size: 3 pad: 1 stride: 2 group: 2"), [X], 1),
    "conv_dilated": (_conv("Convolution", "num_output: 4 kernel_h: 2 kernel_w: 3 dilation: 2 bias_term: false"),
                     [X], 1),
    "conv_shared": (_conv("Convolution", "num_output: 4 kernel_size: 3"), [X, X], 2),
    "conv_axis": (_conv("Convolution", "num_output: 4 kernel_size: 2 axis: 2"), [(2, 3, 5, 6, 4)], 1),
    "conv_1d": (_conv("Convolution", "num_output: 4 kernel_size: 3"), [(2, 3, 9)], 1),
    "conv_3d": (_conv("Convolution", "num_output: 2 kernel_size: 2 pad: 1 pad: 0 pad: 1"), [(2, 3, 4, 5, 6)], 1),
    "depthwise": (_conv("ConvolutionDepthwise", "num_output: 6 kernel_size: 3"), [X], 1),
    "deconv": (_conv("Deconvolution", "num_output: 4 kernel_size: 4 stride: 2 pad: 1 group: 2"), [X], 1),
    "im2col": (_conv("Im2col", "kernel_h: 3 kernel_w: 2 stride: 2 pad: 1"), [X], 1),
    "max_pool": (_pool("pool: MAX kernel_size: 3 stride: 2"), [X], 1),
    "max_pool_mask": (_pool("pool: MAX kernel_size: 3 stride: 2 pad: 1"), [X], 2),
    "max_pool_even": (_pool("pool: MAX kernel_size: 2 stride: 2"), [X], 1),
    "max_pool_outside": (_pool("pool: MAX kernel_size: 1 stride: 3"), [(2, 3, 5, 6)], 1),
    "max_pool_floor": (_pool("pool: MAX kernel_size: 3 stride: 2 pad: 1 round_mode: FLOOR"), [(2, 3, 8, 6)], 1),
    "ave_pool": (_pool("pool: AVE kernel_size: 3 stride: 2"), [(2, 3, 8, 6)], 1),
    "ave_pool_padded": (_pool("pool: AVE kernel_size: 3 stride: 2 pad: 1"), [(2, 3, 8, 7)], 1),
    "ave_pool_last": (_pool("pool: AVE kernel_h: 4 kernel_w: 2 stride: 3 pad: 1"), [(1, 3, 9, 6)], 1),
    "ave_pool_global": (_pool("pool: AVE global_pooling: true"), [X], 1),
    "stochastic_pool": (_pool("pool: STOCHASTIC kernel_size: 3 stride: 2"), [X], 1),
    "spp": ("type: 'SPP' spp_param { pyramid_height: 3 }", [(2, 3, 9, 8)], 1),
    "spp_ave": ("type: 'SPP' spp_param { pyramid_height: 2 pool: AVE }", [(2, 3, 9, 8)], 1),
    "lrn": _simple("LRN", "lrn_param { local_size: 3 alpha: 0.5 beta: 0.75 k: 2 }"),
    "lrn_within": _simple("LRN", "lrn_param { local_size: 3 alpha: 0.5 norm_region: WITHIN_CHANNEL }"),
    "ip": (f"type: 'InnerProduct' inner_product_param {{ num_output: 4 {_FILLERS} }}", [X], 1),
    "ip_axis": (f"type: 'InnerProduct' inner_product_param {{ num_output: 4 axis: 2 transpose: true {_FILLERS} }}",
                [X], 1),
    "ip_no_bias": (f"type: 'InnerProduct' inner_product_param {{ num_output: 4 bias_term: false {_FILLERS} }}", [X], 1),
    "relu": _simple("ReLU"),
    "leaky_relu": _simple("ReLU", "relu_param { negative_slope: 0.2 }"),
    "prelu": _simple("PReLU", f"prelu_param {{ filler {_RANDOM} }}"),
    "prelu_shared": _simple("PReLU", "prelu_param { channel_shared: true }"),
    "elu": _simple("ELU", "elu_param { alpha: 0.5 }"),
    "sigmoid": _simple("Sigmoid"),
    "tanh": _simple("TanH"),
    "abs_val": _simple("AbsVal"),
    "power": _simple("Power", "power_param { power: 2 scale: 0.5 shift: 3 }"),
    "power_linear": _simple("Power", "power_param { scale: 0.5 shift: 3 }"),
    "exp": _simple("Exp", "exp_param { base: 2 scale: 0.5 shift: 1 }"),
    "log": _simple("Log", "log_param { base: 10 scale: 0.5 shift: 9 }"),
    "bnll": _simple("BNLL"),
    "clip": _simple("Clip", "clip_param { min: -0.5 max: 1 }"),
    "swish": _simple("Swish", "swish_param { beta: 2 }"),
    "threshold": _simple("Threshold", "threshold_param { threshold: 0.2 }"),
    "dropout": _simple("Dropout"),
    "dropout_scaled": _simple("Dropout", "dropout_param { dropout_ratio: 0.3 scale_train: false }"),
    "batch_norm": _simple("BatchNorm"),
    "batch_norm_vector": ("type: 'BatchNorm'", [(5,)], 1),
    "batch_norm_of_batch": _simple("BatchNorm", "batch_norm_param { use_global_stats: false eps: 0.01 }"),
    "bn": _simple("BN", f"bn_param {{ slope_filler {_RANDOM} bias_filler {_RANDOM} }}"),
    "bn_segnet": _simple("BN", f"bn_param {{ scale_filler {_RANDOM} shift_filler {_RANDOM} bn_mode: LEARN }}"),
    "scale": _simple("Scale", f"scale_param {{ bias_term: true filler {_RANDOM} bias_filler {_RANDOM} }}"),
    "scale_axes": _simple("Scale", f"scale_param {{ axis: 1 num_axes: 2 filler {_RANDOM} }}"),
    "scale_scalar": _simple("Scale", f"scale_param {{ num_axes: 0 filler {_RANDOM} }}"),
    "scale_by": ("type: 'Scale' scale_param { axis: 0 }", [X, (2, 6)], 1),
    "bias": _simple("Bias", f"bias_param {{ filler {_RANDOM} }}"),
    "bias_by": ("type: 'Bias' bias_param { axis: 2 }", [X, (7,)], 1),
    "axpy": ("type: 'Axpy'", [(2, 6), X, X], 1),
    "softmax": _simple("Softmax"),
    "softmax_last": _simple("Softmax", "softmax_param { axis: -1 }"),
    "normalize": _simple("Normalize", f"norm_param {{ channel_shared: false scale_filler {_RANDOM} }}"),
    "normalize_pixels": _simple("Normalize", "norm_param { across_spatial: false }"),
    "mvn": _simple("MVN"),
    "mvn_across": _simple("MVN", "mvn_param { across_channels: true normalize_variance: false }"),
    "concat": ("type: 'Concat'", [X, (2, 3, 7, 5), X], 1),
    "concat_one": ("type: 'Concat'", [X], 1),
    "slice": ("type: 'Slice' slice_param { axis: -2 slice_point: 2 slice_point: 3 }", [X], 3),
    "slice_even": ("type: 'Slice'", [X], 2),
    "split": ("type: 'Split'", [X], 2),
    "sum": ("type: 'Eltwise' eltwise_param { coeff: 1 coeff: -2 coeff: 0.5 }", [X] * 3, 1),
    "product": ("type: 'Eltwise' eltwise_param { operation: PROD }", [X] * 3, 1),
    "maximum": ("type: 'Eltwise' eltwise_param { operation: MAX }", [X] * 3, 1),
    "flatten": _simple("Flatten", "flatten_param { axis: 1 end_axis: 2 }"),
    "reshape": _simple("Reshape", "reshape_param { shape { dim: 0 dim: -1 dim: 3 } axis: 0 num_axes: 2 }"),
    "permute": _simple("Permute", "permute_param { order: 0 order: 2 order: 3 order: 1 }"),
    "shuffle": _simple("ShuffleChannel", "shuffle_channel_param { group: 2 }"),
    "crop": ("type: 'Crop' crop_param { offset: 2 offset: 1 }", [X, (2, 9, 4, 3)], 1),
    "tile": _simple("Tile", "tile_param { axis: 2 tiles: 3 }"),
    "upsample": _simple("Upsample", "upsample_param { scale_h: 2 scale_w: 3 }"),
    "interp": _simple("Interp", "interp_param { height: 11 width: 8 }"),
    "interp_cut": _simple("Interp", "interp_param { zoom_factor: 2 pad_beg: -1 pad_end: -2 }"),
    "batch_reindex": ("type: 'BatchReindex'", [X, (3,)], 1),
    "embed": (f"type: 'Embed' embed_param {{ num_output: 4 input_dim: 5 {_FILLERS} }}", [(3,)], 1),
    "arg_max": _simple("ArgMax", "argmax_param { axis: 1 top_k: 3 }"),
    "arg_max_values": _simple("ArgMax", "argmax_param { axis: 2 out_max_val: true }"),
    "arg_max_all": _simple("ArgMax", "argmax_param { top_k: 2 out_max_val: true }"),
    "reduction": _simple("Reduction", "reduction_param { coeff: 0.5 }"),
    "reduction_abs": _simple("Reduction", "reduction_param { operation: ASUM axis: 1 }"),
    "reduction_squares": _simple("Reduction", "reduction_param { operation: SUMSQ axis: 2 coeff: -2 }"),
    "reduction_mean": _simple("Reduction", "reduction_param { operation: MEAN axis: 2 }"),
    "roi_pooling": ("type: 'ROIPooling' roi_pooling_param { pooled_h: 2 pooled_w: 3 spatial_scale: 0.25 }",
                    [(2, 3, 9, 8), (4, 5)], 1),
    "roi_align": ("type: 'ROIAlign' roi_align_param { pooled_h: 2 pooled_w: 3 spatial_scale: 0.25 }",
                  [(2, 3, 9, 8), (4, 5)], 1),
    "roi_align_fixed": ("type: 'ROIAlign' roi_align_param { pooled_h: 2 pooled_w: 2 sampling_ratio: 2 }",
                        [(2, 3, 9, 8), (4, 5)], 1),
    "prior_box": ("type: 'PriorBox' prior_box_param { min_size: 4 aspect_ratio: 2 }",
                  [(1, 3, 2, 4), (1, 3, 16, 24)], 1),
}

# Layers that can become torch modules, but not ONNX.
TORCH_ONLY = {
    "lstm": (f"type: 'LSTM' recurrent_param {{ num_output: 4 {_FILLERS} }}", [(5, 2, 3), (5, 2)], 1),
    "lstm_static": (f"type: 'LSTM' recurrent_param {{ num_output: 4 {_FILLERS} }}", [(5, 2, 3), (5, 2), (2, 6)], 1),
    "rnn": (f"type: 'RNN' recurrent_param {{ num_output: 4 {_FILLERS} }}", [(5, 2, 3), (5, 2)], 1),
    "psroi_pooling": ("type: 'PSROIPooling' psroi_pooling_param { output_dim: 2 group_size: 2 spatial_scale: 0.25 }",
                      [(2, 8, 9, 7), (4, 5)], 1),
    "euclidean_loss": ("type: 'EuclideanLoss'", [X, X], 1),
    "softmax_loss": ("type: 'SoftmaxWithLoss'", [X, (2, 7, 5)], 1),
    "sigmoid_loss": ("type: 'SigmoidCrossEntropyLoss'", [X, X], 1),
    "smooth_l1": ("type: 'SmoothL1Loss' loss_weight: 1", [X, X, X, X], 1),
    "hinge_loss": ("type: 'HingeLoss' hinge_loss_param { norm: L2 }", [(4, 6), (4,)], 1),
}


def net_of(example, phase=caffe.TEST, force_backward=False):
    """A net with Input layers 'x0', 'x1', ... and this layer, whose tops are 'y0', ...; with random values."""
    text, shapes, num_tops = example
    lines = [f"force_backward: {str(force_backward).lower()}"]
    lines += [f"layer {{ name: 'in{i}' type: 'Input' top: 'x{i}' input_param {{ shape {{ "
              + " ".join(f"dim: {dim}" for dim in shape) + " } } }" for i, shape in enumerate(shapes)]
    bottoms = " ".join(f"bottom: 'x{i}'" for i in range(len(shapes)))
    tops = " ".join(f"top: 'y{i}'" for i in range(num_tops))
    net = caffe.Net(parse("\n".join([*lines, f"layer {{ name: 'tested' {text} {bottoms} {tops} }}"]),
                          caffe_pb2.NetParameter()), phase)
    random = np.random.default_rng(1)
    for index, shape in enumerate(shapes):
        net.blobs[f"x{index}"].data[...] = _values(text, index, shape, random)
    if "'BatchNorm'" in text or "'BN'" in text:
        for blob in net.params["tested"][-3 if "'BatchNorm'" in text else -2:]:
            blob.data[...] = random.uniform(0.5, 2, blob.shape)
    return net


def _values(text, index, shape, random):
    """Indices, flags and regions where the layer takes such, else normal numbers."""
    if index == 1 and len(shape) == 2 and shape[1] == 5 and "ROI" in text:
        corners = np.sort(random.uniform(0, 30, (shape[0], 2, 2)), axis=1).reshape(-1, 4)
        return np.column_stack([random.integers(0, 2, shape[0]), corners])
    if "'Embed'" in text or index == 1 and any(name in text for name in ("Reindex", "SoftmaxWith", "Hinge")):
        return random.integers(0, 2 if "Reindex" in text else 5, shape)
    if index == 1 and any(name in text for name in ("LSTM", "RNN")):
        return np.arange(shape[0])[:, None] > np.array([0, 2])
    if index == 1 and "Sigmoid" in text:
        return random.uniform(0, 1, shape)
    return np.abs(random.standard_normal(shape)) if "STOCHASTIC" in text else random.standard_normal(shape)
