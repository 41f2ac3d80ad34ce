"""Prototxts of other Caffes: drops fields that change no result, and knows the fork of other fields and of layers.

NVIDIA Caffe and Intel Caffe add settings for precision, speed and memory, which have no effect here. Fields that change
a result are not dropped: they are errors that name the fork.
"""
from __future__ import annotations

import logging
import re
from collections.abc import Iterator

from google.protobuf.descriptor import Descriptor

from .scan import tokens

NVIDIA, INTEL, SSD, YOLO, DEEPLAB, SEGNET = (
    "NVIDIA Caffe", "Intel Caffe", "the SSD fork", "a YOLO fork", "DeepLab's fork", "SegNet's fork")
CRNN = "a fork for CRNN"

# (message, field): (fork, the value without effect, or None if all are)
_WITHOUT_EFFECT: dict[tuple[str, str], tuple[str, str | None]] = {
    **{("NetParameter", name): (NVIDIA, None) for name in (
        "default_forward_type", "default_backward_type", "default_forward_math", "default_backward_math",
        "default_conv_algos_override", "default_cudnn_math_override", "global_grad_scale", "reduce_buckets")},
    **{("LayerParameter", name): (NVIDIA, None) for name in (
        "forward_type", "backward_type", "forward_math", "backward_math", "debug", "cudnn_math_override")},
    **{("ConvolutionParameter", name): (NVIDIA, None) for name in (
        "cudnn_convolution_algo_seeker", "conv_algos_override")},
    **{("DataParameter", name): (NVIDIA, None) for name in ("cache", "threads", "parser_threads")},
    **{("TransformationParameter", name): (NVIDIA, None) for name in ("use_gpu_transform", "random_seed")},
    **{("DropoutParameter", name): (NVIDIA, None) for name in ("engine", "random_seed")},
    **{("SolverParameter", name): (NVIDIA, None) for name in ("solver_data_type", "store_blobs_in_old_format")},
    **{(message, "engine"): (INTEL, None) for message in (
        "NetParameter", "LayerParameter", "SolverParameter", "BatchNormParameter", "ConcatParameter",
        "EltwiseParameter", "InnerProductParameter")},
    **{("NetParameter", name): (INTEL, None) for name in ("compile_net_state", "multinode")},
    **{("LayerParameter", name): (INTEL, None) for name in (
        "multinode", "mn_activation_param", "mn_grad_compress_param", "split_param")},
    ("ConvolutionParameter", "conv_algorithm"): (INTEL, None),
    ("ConvolutionParameter", "relu"): (INTEL, "false"),
    ("BatchNormParameter", "relu"): (INTEL, "false"),
    ("BatchNormParameter", "stats_batch_size"): (INTEL, "0"),
    ("NetParameter", "bn_stats_batch_size"): (INTEL, "0"),
    ("PoolingParameter", "avg_include_pad"): (INTEL, "true"),
    ("DataParameter", "shuffle"): (NVIDIA, "false"),
    **{("DetectionOutputParameter", name): (SSD, None) for name in (     # additional files and images that it writes
        "save_output_param", "visualize", "visualize_threshold", "save_file")},
}
_ENGINES = ("MKL2017", "MKLDNN")    # of Intel Caffe, in messages that have BVLC's `engine` field

# Fields that change what is computed
_WITH_EFFECT: dict[str, tuple[str, tuple[str, ...]]] = {
    NVIDIA: ("", ("detectnet_groundtruth_param", "detectnet_augmentation_param", "img_rand_resize_lower",
                  "img_rand_resize_upper", "var_sz_img_enabled", "rampup_interval", "rampup_lr", "min_lr",
                  "momentum_policy", "max_momentum", "momentum_power", "local_lr_auto", "local_gw_ratio", "max_epoch",
                  "epoch_size", "test_epoch_size", "lambda", "shuffle", "rand_rel_ar_lower", "rand_rel_ar_upper",
                  "rand_wscale_lower", "rand_wscale_upper", "rand_hscale_lower", "rand_hscale_upper")),
    INTEL: ("", ("quantization_param", "spatial_dropout_param", "warmup_iter",
                 "warmup_start_lr", "disabled_update", "label_smoothing", "random_resize_param",
                 "random_aspect_ratio_param", "relu", "stats_batch_size", "bn_stats_batch_size", "avg_include_pad",
                 "min_height", "min_width")),
    SSD: ("", ("video_data_param", "noise_param", "crop_h", "crop_w", "plateau_winsize")),
    YOLO: ("yolo", ("region_param", "region_loss_param", "detection_loss_param", "eval_detection_param",
                    "box_data_param")),
    DEEPLAB: ("", ("image_seg_data_param", "mat_read_param", "mat_write_param",
                   "dense_crf_param", "unique_label_param")),
    SEGNET: ("", ("dense_image_data_param",)),
    CRNN: ("", ("ctc_param", "denseblock_param", "reverse_time_param")),
}

# Types of layers, by their widely used names
_LAYERS: dict[str, tuple[str, ...]] = {
    NVIDIA: ("DetectNetTransformation", "L1Loss"),
    SSD: ("VideoData",),
    YOLO: ("BoxData", "DetectionLoss", "EvalDetection", "Region", "RegionLoss"),
    DEEPLAB: ("DenseCRF", "MatRead", "MatWrite", "UniqueLabel"),
    SEGNET: ("DenseImageData",),
    CRNN: ("CTCBeamSearchDecoder", "CTCDecoder", "DenseBlock", "ReverseTime"),
}

_CANDIDATE = re.compile(r"\b(" + "|".join({name for _, name in _WITHOUT_EFFECT}) + r")\b")
_OPENING, _CLOSING = ("{", "<"), ("}", ">")
log = logging.getLogger("caffe")


def fork_of(field: str) -> str | None:
    """The fork that has a field of this name, which changes what is computed; None for an unknown name."""
    for fork, (part, names) in _WITH_EFFECT.items():
        if field in names or (part and part in field.lower()):
            return fork
    return None


def fork_of_layer(kind: str) -> str | None:
    """The fork that has layers of this type; None for an unknown type."""
    return next((fork for fork, kinds in _LAYERS.items() if kind in kinds), None)


def without_idle_fields(text: str, root: Descriptor, name: str) -> str:
    """Replace the fields of forks that change no result with blanks; they are logged in one line per fork.

    text  a prototxt
    root  the type of the message that it describes
    name  the name of the file
    """
    if not _CANDIDATE.search(text):
        return text
    parts: list[str] = []
    found: dict[str, dict[str, None]] = {}
    last = 0
    for start, end, fork, field in _idle_fields(text, root):
        parts += [text[last:start], re.sub(r"[^\n]", " ", text[start:end])]
        last = end
        found.setdefault(fork, {})[field] = None
    for fork, fields in found.items():
        log.info("%s: left out, as they change no number here, the fields %s of %s", name, ", ".join(fields), fork)
    return "".join([*parts, text[last:]])


def _idle_fields(text: str, root: Descriptor) -> Iterator[tuple[int, int, str, str]]:
    """(begin, end, fork, name) of the fields to drop."""
    marks, opened = list(tokens(text)), [root]
    index = 0
    while index < len(marks):
        kind, token, start = marks[index]
        if token in _CLOSING:
            del opened[max(len(opened) - 1, 1):]
        if kind != "word":
            index += 1
            continue
        first = index + 1 + (index + 1 < len(marks) and marks[index + 1][1] == ":")
        value = marks[first][1] if first < len(marks) else ""
        fork = _fork_of_idle(opened[-1], token, value)
        after = _behind_value(marks, first) if fork else None
        if fork and after:
            yield start, marks[after - 1][2] + len(marks[after - 1][1]), fork, token
        elif value in _OPENING:
            opened.append(_type_of(opened[-1], token))
        index = after or first + (value not in _CLOSING)


def _behind_value(marks: list[tuple[str, str, int]], at: int) -> int | None:
    """The index after the value that begins at index `at` of the tokens; None if the value is incomplete."""
    depth = 0
    for end in range(at, len(marks)):
        kind, token, _ = marks[end]
        depth += (token in _OPENING or token == "[") - (token in _CLOSING or token == "]")
        if depth < 0:
            return None
        if depth == 0 and not (end + 1 < len(marks) and kind == marks[end + 1][0] == "string"):
            return end + 1
    return None


def _type_of(message: Descriptor | None, field: str) -> Descriptor | None:
    entry = message.fields_by_name.get(field) if message else None
    return entry.message_type if entry else None


def _fork_of_idle(message: Descriptor | None, field: str, value: str) -> str | None:
    """The fork that has this field if its value changes no result here; None for all other fields."""
    if message is None:
        return None
    if field == "engine" and value in _ENGINES:
        return INTEL
    if field in message.fields_by_name:
        return None
    fork, idle = _WITHOUT_EFFECT.get((message.name.removeprefix("V1"), field), (None, None))
    return fork if idle in (None, value) else None
