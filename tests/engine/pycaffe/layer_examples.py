"""Nets of one layer each, for tests of many layer types: {name: (layer, shapes of bottoms, tops)}."""
import math

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


def _loss(kind, settings, labels, more=""):
    return f"type: '{kind}' loss_param {{ {settings} }} {more}", [X, labels], 1


def _recurrent(kind, settings, *others, tops=1):
    return f"type: '{kind}' recurrent_param {{ num_output: 4 {settings} {_FILLERS} }}", [(5, 2, 3), *others], tops


def _detections(settings, locations=1):
    """A DetectionOutput of 13 default boxes, 4 classes and 2 images."""
    return (f"type: 'DetectionOutput' detection_output_param {{ num_classes: 4 {settings} }}",
            [(2, 13 * 4 * locations), (2, 13 * 4), (1, 2, 13 * 4)], 1)


def _yolo(version, settings):
    """A YOLO output layer of 2 images, with 2 boxes of 3 classes in 5 x 4 and 8 x 6 cells."""
    return (f"type: 'Yolo{version}DetectionOutput' yolo{version}_detection_output_param {{ num_classes: 3 num_box: 2 "
            f"biases: 1.5 biases: 2 biases: 3 biases: 1 {settings} }}", [(2, 16, 5, 4), (2, 16, 8, 6)], 1)


def _proposals(settings, images, tops):
    """A Proposal layer of 3 anchors in 5 x 7 cells."""
    return (f"type: 'Proposal' proposal_param {{ ratio: 0.5 ratio: 1 ratio: 1.5 scale: 3 {settings} }}",
            [(2, 6, 5, 7), (2, 12, 5, 7), images], tops)


EXAMPLES = {
    "conv": (_conv("Convolution", "num_output: 4 kernel_size: 3 pad: 1 stride: 2 group: 2"), [X], 1),
    "conv_dilated": (_conv("Convolution", "num_output: 4 kernel_h: 2 kernel_w: 3 dilation: 2 bias_term: false"),
                     [X], 1),
    "conv_shared": (_conv("Convolution", "num_output: 4 kernel_size: 3"), [X, X], 2),
    "conv_axis": (_conv("Convolution", "num_output: 4 kernel_size: 2 axis: 2"), [(2, 3, 5, 6, 4)], 1),
    "conv_lacking": (_conv("Convolution", "num_output: 4 kernel_h: 3 kernel_w: 9 stride: 3"), [(2, 3, 5, 7)], 1),
    "conv_0d": (_conv("Convolution", "num_output: 4"), [(2, 3)], 1),
    "deconv_0d": (_conv("Deconvolution", "num_output: 4"), [(2, 3)], 1),
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
    "relu6": _simple("ReLU6", "relu6_param { n: 0.8 }"),
    "leaky_relu6": _simple("ReLU6", "relu6_param { n: 0.8 negative_slope: 0.2 }"),
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
    "batch_norm_scale_bias": _simple("BatchNorm", "batch_norm_param { scale_bias: true }"),
    "batch_norm_scale_of_batch": _simple("BatchNorm", "batch_norm_param { use_weight_bias: true bias_term: false "
                                                      "use_global_stats: false }"),
    "pool_ceil_mode": (_pool("kernel_size: 3 stride: 2 ceil_mode: false"), [X], 1),
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
    "reorg": ("type: 'Reorg' reorg_param { stride: 2 }", [(2, 12, 6, 4)], 1),
    "reorg_reverse": ("type: 'Reorg' reorg_param { stride: 2 reverse: true }", [(2, 12, 3, 5)], 1),
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
    "psroi_pooling": ("type: 'PSROIPooling' psroi_pooling_param { output_dim: 2 group_size: 3 spatial_scale: 0.25 }",
                      [(2, 18, 9, 7), (4, 5)], 1),
    "proposal": _proposals("min_size: 20", (2, 3), 2),
    "proposal_of_few": _proposals("pre_nms_topn: 30 post_nms_topn: 5 nms_thresh: 0.3", (2, 6), 1),
    "yolo_v2_output": _yolo("", "confidence_threshold: 0.4"),
    "yolo_v3_output": _yolo("v3", "mask: 1 mask: 0 mask: 0 mask: 0 anchors_scale: 1 anchors_scale: 2"),
    "yolo_v3_output_empty": _yolo("v3", "mask: 1 mask: 0 mask: 0 mask: 0 anchors_scale: 1 anchors_scale: 2 "
                                        "confidence_threshold: 2"),
    "prior_box": ("type: 'PriorBox' prior_box_param { min_size: 4 aspect_ratio: 2 }",
                  [(1, 3, 2, 4), (1, 3, 16, 24)], 1),
    "detection_output": _detections("code_type: CENTER_SIZE nms_param { nms_threshold: 0.45 top_k: 9 } keep_top_k: 15 "
                                    "confidence_threshold: 0.1"),
    "detection_output_corner": _detections("background_label_id: 1 nms_param { nms_threshold: 0.2 }"),
    "detection_output_of_classes": _detections(
        "share_location: false code_type: CORNER_SIZE variance_encoded_in_target: true background_label_id: -1 "
        "nms_param { nms_threshold: 0.6 top_k: -1 } keep_top_k: 500", 4),
    "detection_output_empty": _detections("confidence_threshold: 100"),
    "max_pool_mask_outside": (_pool("pool: MAX kernel_size: 1 stride: 3"), [(2, 3, 5, 6)], 2),
    "max_pool_mask_padded": (_pool("pool: MAX kernel_size: 3 stride: 4 pad_h: 2 pad_w: 1"), [(2, 3, 5, 7)], 2),
    "unpooling": ("type: 'Upsample' upsample_param { scale: 2 }", [(2, 3, 5, 6), (2, 3, 5, 6)], 1),
    "bn_statistics": ("type: 'BN' bn_param { bn_mode: LEARN }", [X], 3),
    "box_annotator": ("type: 'BoxAnnotatorOHEM' box_annotator_ohem_param { roi_per_img: 2 ignore_label: 7 }",
                      [(6, 5), (6, 1), (6,), (6, 8)], 2),
    "filter": ("type: 'Filter'", [(5, 2, 3), (5, 4), (5, 1, 1)], 2),
    "dummy_data": ("type: 'DummyData' dummy_data_param { shape { dim: 2 dim: 3 } shape { dim: 1 dim: 2 dim: 4 dim: 4 }"
                   " data_filler { value: 2.5 } data_filler { type: 'bilinear' } }", [], 2),
    "parameter": ("type: 'Parameter' parameter_param { shape { dim: 2 dim: 3 } }", [], 1),
    # ---- recurrent
    "lstm": _recurrent("LSTM", "", (5, 2)),
    "lstm_static": _recurrent("LSTM", "", (5, 2), (2, 6)),
    "lstm_exposed": _recurrent("LSTM", "expose_hidden: true", (5, 2), (2, 6), (1, 2, 4), (1, 2, 4), tops=3),
    "lstm_one_step": ("type: 'LSTM' recurrent_param { num_output: 4 }", [(1, 2, 3, 5), (1, 2)], 1),
    "rnn": _recurrent("RNN", "", (5, 2)),
    "rnn_exposed": _recurrent("RNN", "expose_hidden: true", (5, 2), (1, 2, 4), tops=2),
    "lstm_of_crnn": (f"type: 'Lstm' lstm_param {{ num_output: 4 {_FILLERS} }}", [(5, 2, 3)], 1),
    "lstm_with_clip": (f"type: 'Lstm' lstm_param {{ num_output: 4 batch_size: 2 {_FILLERS} }}", [(10, 3), (10, 1)], 1),
    "reverse": _simple("Reverse", "reverse_param { axis: -2 }"),
    "transpose": _simple("Transpose", "transpose_param { dim: 3 dim: 2 dim: 0 dim: 1 }"),
    "labelsequence_accuracy": ("type: 'LabelsequenceAccuracy'", [(40, 2, 3), (40, 3)], 1),
    "labelsequence_accuracy_long": ("type: 'LabelsequenceAccuracy' labelsequence_accuracy_param { blank_label: 2 }",
                                    [(40, 3, 3), (40, 2)], 1),
    "continuation_indicator": ("type: 'ContinuationIndicator' continuation_indicator_param { time_step: 4 "
                               "batch_size: 2 }", [], 1),
    "ctc_decoder": ("type: 'CTCGreedyDecoder'", [(9, 2, 3)], 1),
    "ctc_decoder_repeated": ("type: 'CTCGreedyDecoder' ctc_decoder_param { blank_index: -1 ctc_merge_repeated: false }",
                             [(9, 2, 3, 1)], 1),
    "ctc_decoder_one_step": ("type: 'CTCGreedyDecoder'", [(1, 5, 3)], 1),
    "lstm_unit": ("type: 'LSTMUnit'", [(1, 3, 4), (1, 3, 16), (1, 3)], 2),
    # ---- losses
    "euclidean_loss": ("type: 'EuclideanLoss'", [X, (2, 42, 5)], 1),
    "softmax_loss": ("type: 'SoftmaxWithLoss'", [X, (2, 7, 5)], 1),
    "softmax_loss_and_probabilities": ("type: 'SoftmaxWithLoss' softmax_param { axis: 2 }", [X, (2, 6, 5)], 2),
    "softmax_loss_ignored": _loss("SoftmaxWithLoss", "ignore_label: 2", (2, 1, 7, 5)),
    "softmax_loss_full": _loss("SoftmaxWithLoss", "ignore_label: 2 normalization: FULL", (2, 7, 5)),
    "softmax_loss_batch": _loss("SoftmaxWithLoss", "normalize: false", (2, 7, 5)),
    "softmax_loss_summed": _loss("SoftmaxWithLoss", "normalization: NONE", (2, 7, 5), "softmax_param { axis: -3 }"),
    "softmax_loss_last": _loss("SoftmaxWithLoss", "normalization: BATCH_SIZE", (2, 6, 7), "softmax_param { axis: 3 }"),
    "softmax_loss_fixed": _loss("SoftmaxWithLoss", "normalization: PRE_FIXED pre_fixed_normalizer: 2.5", (2, 7, 5)),
    "softmax_loss_ohem": ("type: 'SoftmaxWithLossOHEM' loss_param { ignore_label: 2 }", [(4, 6), (4,)], 3),
    "softmax_loss_ohem_maps": ("type: 'SoftmaxWithLossOHEM' softmax_param { axis: 2 }", [X, (2, 6, 5)], 3),
    "sigmoid_loss": ("type: 'SigmoidCrossEntropyLoss'", [X, X], 1),
    "sigmoid_loss_ignored": _loss("SigmoidCrossEntropyLoss", "ignore_label: 0 normalization: VALID", X),
    "sigmoid_loss_full": _loss("SigmoidCrossEntropyLoss", "normalization: FULL", (2, 42, 5)),
    "infogain_loss": ("type: 'InfogainLoss'", [X, (2, 7, 5), (1, 1, 6, 6)], 1),
    "infogain_loss_ignored": ("type: 'InfogainLoss' loss_param { ignore_label: 2 } infogain_loss_param { axis: 2 } "
                              "loss_weight: 1 loss_weight: 0",
                              [(2, 3, 6, 5), (2, 3, 5), (6, 6)], 2),
    "multinomial_loss": ("type: 'MultinomialLogisticLoss'", [(3, 6), (3,)], 1),
    "hinge_loss": ("type: 'HingeLoss'", [(4, 6), (4,)], 1),
    "hinge_loss_squared": ("type: 'HingeLoss' hinge_loss_param { norm: L2 }", [(4, 3, 2), (4, 1)], 1),
    "contrastive_loss": ("type: 'ContrastiveLoss' contrastive_loss_param { margin: 3 }", [(7, 5), (7, 5), (7,)], 1),
    "contrastive_loss_legacy": ("type: 'ContrastiveLoss' contrastive_loss_param { margin: 9 legacy_version: true }",
                                [(7, 5, 1, 1), (7, 5, 1, 1), (7, 1)], 1),
    "smooth_l1": ("type: 'SmoothL1Loss' loss_weight: 1", [X, X, X, X], 1),
    "smooth_l1_weighted": ("type: 'SmoothL1Loss' loss_weight: 1", [X, X, X], 1),
    "smooth_l1_plain": ("type: 'SmoothL1Loss' loss_weight: 1 smooth_l1_loss_param { sigma: 3 }", [X, (2, 42, 5)], 1),
    "smooth_l1_ohem": ("type: 'SmoothL1LossOHEM' loss_param { normalization: PRE_FIXED pre_fixed_normalizer: 3 }",
                       [X, X, X], 2),
    "smooth_l1_ohem_plain": ("type: 'SmoothL1LossOHEM' loss_weight: 1", [(4, 8), (4, 8)], 1),
    "accuracy": ("type: 'Accuracy'", [X, (2, 7, 5)], 1),
    "accuracy_of_classes": ("type: 'Accuracy' accuracy_param { top_k: 2 axis: -1 ignore_label: 1 }",
                            [(2, 7, 3, 5), (2, 7, 3)], 2),
    "seg_accuracy": ("type: 'SegAccuracy' seg_accuracy_param { ignore_label: 1 ignore_label: 3 }",
                     [(2, 6, 3, 4), (2, 1, 3, 4)], 1),
}

_LABELS = (1, lambda random, shape: random.integers(0, 5, shape))
_REGIONS = (1, lambda random, shape: np.column_stack([random.integers(0, 2, shape[0]), np.sort(
    random.uniform(0, 30, (shape[0], 2, 2)), axis=1).reshape(-1, 4)]))
_DEFAULT_BOXES = (2, lambda random, shape: np.stack([np.sort(
    random.uniform(0, 1, (shape[2] // 4, 2, 2)), axis=1).ravel(), random.uniform(0.1, 0.5, shape[2])])[None])
_SEQUENCE_STARTS = (1, lambda random, shape: np.arange(shape[0])[:, None] > np.array([0, 2]))
_PROBABILITIES = (0, lambda random, shape: random.uniform(0, 1, shape) * (random.uniform(0, 1, shape) > 0.3))
# Indices, flags and regions for layers that take them: {type: (bottom, values)}; others get normal random numbers.
_VALUES = {
    "Accuracy": [_LABELS], "SegAccuracy": [_LABELS],
    "LabelsequenceAccuracy": [(1, lambda random, shape: random.integers(0, 3, shape))],
    "SoftmaxWithLossOHEM": [_LABELS],
    "BoxAnnotatorOHEM": [(0, _REGIONS[1]), (1, lambda random, shape: np.arange(shape[0]).reshape(shape) % 4)],
    "HingeLoss": [_LABELS], "InfogainLoss": [_LABELS], "SoftmaxWithLoss": [_LABELS],
    "MultinomialLogisticLoss": [_LABELS, _PROBABILITIES], "Embed": [(0, _LABELS[1])],
    "BatchReindex": [(1, lambda random, shape: random.integers(0, 2, shape))],
    "ContrastiveLoss": [(2, lambda random, shape: random.integers(0, 2, shape))],
    "DetectionOutput": [_DEFAULT_BOXES],
    "Filter": [(2, lambda random, shape: np.arange(shape[0]).reshape(shape) % 3)],
    "LSTM": [_SEQUENCE_STARTS], "RNN": [_SEQUENCE_STARTS],
    "Lstm": [(1, lambda random, shape: np.resize([0, 0, 1, 0, 2, 1, 1, 1, 0, 1], shape))],
    "LSTMUnit": [(2, lambda random, shape: np.arange(shape[1])[None] % 2)],
    "Proposal": [(2, lambda random, shape: np.tile([70.0, 100, 1.5, 0.5, 1.5, 0.5], (shape[0], 1))[:, :shape[1]])],
    "PSROIPooling": [_REGIONS], "ROIAlign": [_REGIONS], "ROIPooling": [_REGIONS],
    "SigmoidCrossEntropyLoss": [(1, lambda random, shape: random.integers(0, 3, shape) / 2)],
    "Upsample": [(1, lambda random, shape: np.reshape(
        [random.permutation(4 * shape[2] * shape[3])[:shape[2] * shape[3]] for _ in range(math.prod(shape[:2]))],
        shape))],
}



def net_of(example, phase=caffe.TEST, force_backward=False):
    """A net with Input layers 'x0', 'x1', ... and this layer with tops 'y0', ...; with random values."""
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
        net.blobs[f"x{index}"].data[...] = values_of(net.engine_layers[-1].type, index, shape, random)
    if "STOCHASTIC" in text:
        net.blobs["x0"].data[...] = np.abs(net.blobs["x0"].data)
    if "'Parameter'" in text:
        net.params["tested"][0].data[...] = random.standard_normal(net.params["tested"][0].shape)
    if "'BatchNorm'" in text or "'BN'" in text:
        for blob in net.params["tested"][0 if "'BatchNorm'" in text else -2:]:
            blob.data[...] = random.uniform(0.5, 2, blob.shape)
    return net


def values_of(kind, index, shape, random):
    """Values of bottom `index` for a layer of this type."""
    return dict(_VALUES.get(kind, ())).get(index, lambda random, shape: random.standard_normal(shape))(random, shape)
