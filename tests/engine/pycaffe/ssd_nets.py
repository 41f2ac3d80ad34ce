"""Prototxts of SSD deploy nets with randomly filled weights: a small one, and the published VGG16 SSD300."""
from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple


class FeatureMap(NamedTuple):
    """A blob with default boxes: sizes in image pixels, aspect ratios besides 1 and inverses, step between boxes."""

    blob: str
    sizes: tuple[int, int]
    ratios: tuple[int, ...]
    step: int
    normalise: bool = False


def convolution(name: str, bottom: str, outputs: int, kernel: int = 3, relu: bool = True, **settings: int) -> str:
    """A convolution that keeps the size, unless settings say otherwise, and its ReLU."""
    more = " ".join(f"{key}: {value}" for key, value in ({"pad": kernel // 2} | settings).items())
    text = f"""layer {{ name: "{name}" type: "Convolution" bottom: "{bottom}" top: "{name}" convolution_param {{
        num_output: {outputs} kernel_size: {kernel} {more} weight_filler {{ type: "msra" }} }} }}\n"""
    return text + f'layer {{ name: "{name}_relu" type: "ReLU" bottom: "{name}" top: "{name}" }}\n' if relu else text


def pooling(name: str, bottom: str, settings: str = "kernel_size: 2 stride: 2") -> str:
    return (f'layer {{ name: "{name}" type: "Pooling" bottom: "{bottom}" top: "{name}" '
            f"pooling_param {{ pool: MAX {settings} }} }}\n")


def _predictions(source: str, kind: str, outputs: int) -> str:
    """A convolution whose outputs are flattened pixel by pixel into one row per image."""
    name = f"{source}_mbox_{kind}"
    return convolution(name, source, outputs, relu=False) + f"""
        layer {{ name: "{name}_perm" type: "Permute" bottom: "{name}" top: "{name}_perm"
                permute_param {{ order: 0 order: 2 order: 3 order: 1 }} }}
        layer {{ name: "{name}_flat" type: "Flatten" bottom: "{name}_perm" top: "{name}_flat"
                flatten_param {{ axis: 1 }} }}\n"""


def _head(maps: Iterable[FeatureMap], classes: int) -> str:
    """The layers from the feature maps to `mbox_loc`, `mbox_conf` and `mbox_priorbox`."""
    text, sources = "", []
    for one in maps:
        source = one.blob
        if one.normalise:
            source += "_norm"
            text += f"""layer {{ name: "{source}" type: "Normalize" bottom: "{one.blob}" top: "{source}" norm_param {{
                across_spatial: false channel_shared: false scale_filler {{ type: "constant" value: 20 }} }} }}\n"""
        count = 2 + 2 * len(one.ratios)
        text += _predictions(source, "loc", 4 * count) + _predictions(source, "conf", classes * count)
        ratios = " ".join(f"aspect_ratio: {ratio}" for ratio in one.ratios)
        text += f"""layer {{ name: "{source}_mbox_priorbox" type: "PriorBox" bottom: "{source}" bottom: "data"
            top: "{source}_mbox_priorbox" prior_box_param {{ min_size: {one.sizes[0]} max_size: {one.sizes[1]} {ratios}
            flip: true clip: false variance: 0.1 variance: 0.1 variance: 0.2 variance: 0.2 step: {one.step}
            offset: 0.5 }} }}\n"""
        sources.append(source)
    for name, suffix, axis in (("loc", "_flat", 1), ("conf", "_flat", 1), ("priorbox", "", 2)):
        bottoms = " ".join(f'bottom: "{source}_mbox_{name}{suffix}"' for source in sources)
        text += (f'layer {{ name: "mbox_{name}" type: "Concat" {bottoms} top: "mbox_{name}" '
                 f"concat_param {{ axis: {axis} }} }}\n")
    return text


def _detections(classes: int, settings: str) -> str:
    return f"""
        layer {{ name: "mbox_conf_reshape" type: "Reshape" bottom: "mbox_conf" top: "mbox_conf_reshape"
                reshape_param {{ shape {{ dim: 0 dim: -1 dim: {classes} }} }} }}
        layer {{ name: "mbox_conf_softmax" type: "Softmax" bottom: "mbox_conf_reshape" top: "mbox_conf_softmax"
                softmax_param {{ axis: 2 }} }}
        layer {{ name: "mbox_conf_flatten" type: "Flatten" bottom: "mbox_conf_softmax" top: "mbox_conf_flatten"
                flatten_param {{ axis: 1 }} }}
        layer {{ name: "detection_out" type: "DetectionOutput" bottom: "mbox_loc" bottom: "mbox_conf_flatten"
                bottom: "mbox_priorbox" top: "detection_out" include {{ phase: TEST }}
                detection_output_param {{ num_classes: {classes} {settings} }} }}\n"""


def _data(batch: int, height: int, width: int) -> str:
    return f'input: "data" input_shape {{ dim: {batch} dim: 3 dim: {height} dim: {width} }}\n'


def small_trunk() -> str:
    """Three feature maps of two images of 48 x 64 pixels, with predictions for four classes."""
    text = _data(2, 48, 64) + convolution("conv1", "data", 8, stride=2) + convolution("conv2", "conv1", 12, stride=2)
    text += convolution("conv3", "conv2", 16, stride=2) + convolution("conv4", "conv3", 16, pad=0)
    maps = [FeatureMap("conv2", (8, 14), (2,), 4, normalise=True), FeatureMap("conv3", (14, 24), (2, 3), 8),
            FeatureMap("conv4", (24, 40), (2,), 16)]
    return text + _head(maps, 4)


def small(least_score: float = 0.3) -> str:
    """The deploy net of `small_trunk`."""
    return small_trunk() + _detections(4, f"""share_location: true background_label_id: 0 code_type: CENTER_SIZE
        keep_top_k: 60 nms_param {{ nms_threshold: 0.45 top_k: 100 }} confidence_threshold: {least_score}""")


def small_train(objects: int) -> str:
    """The train net of `small_trunk`, whose `label` is an input too."""
    return f"""input: "label" input_shape {{ dim: 1 dim: 1 dim: {objects} dim: 8 }}\n""" + small_trunk() + """
        layer { name: "mbox_loss" type: "MultiBoxLoss" bottom: "mbox_loc" bottom: "mbox_conf" bottom: "mbox_priorbox"
                bottom: "label" top: "mbox_loss" propagate_down: true propagate_down: true propagate_down: false
                propagate_down: false loss_param { normalization: VALID } multibox_loss_param { loc_loss_type: SMOOTH_L1
                conf_loss_type: SOFTMAX loc_weight: 1.0 num_classes: 4 share_location: true match_type: PER_PREDICTION
                overlap_threshold: 0.5 use_prior_for_matching: true background_label_id: 0 use_difficult_gt: true
                neg_pos_ratio: 3.0 neg_overlap: 0.5 code_type: CENTER_SIZE ignore_cross_boundary_bbox: false
                mining_type: MAX_NEGATIVE } }\n"""


def vgg16_300() -> str:
    """VGG16 SSD300 for the 20 classes of PASCAL VOC."""
    text, bottom = _data(1, 300, 300), "data"
    for block, (outputs, count) in enumerate(((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)), 1):
        for number in range(1, count + 1):
            name = f"conv{block}_{number}"
            text, bottom = text + convolution(name, bottom, outputs), name
        text += pooling(f"pool{block}", bottom, *(["kernel_size: 3 stride: 1 pad: 1"] if block == 5 else []))
        bottom = f"pool{block}"
    text += convolution("fc6", "pool5", 1024, pad=6, dilation=6) + convolution("fc7", "fc6", 1024, 1)
    bottom = "fc7"
    for name, inner, outputs, settings in (
            ("conv6", 256, 512, {"stride": 2}), ("conv7", 128, 256, {"stride": 2}),
            ("conv8", 128, 256, {"pad": 0}), ("conv9", 128, 256, {"pad": 0})):
        text += convolution(f"{name}_1", bottom, inner, 1) + convolution(f"{name}_2", f"{name}_1", outputs, **settings)
        bottom = f"{name}_2"
    maps = [FeatureMap("conv4_3", (30, 60), (2,), 8, normalise=True), FeatureMap("fc7", (60, 111), (2, 3), 16),
            FeatureMap("conv6_2", (111, 162), (2, 3), 32), FeatureMap("conv7_2", (162, 213), (2, 3), 64),
            FeatureMap("conv8_2", (213, 264), (2,), 100), FeatureMap("conv9_2", (264, 315), (2,), 300)]
    return text + _head(maps, 21) + _detections(21, """share_location: true background_label_id: 0
        code_type: CENTER_SIZE keep_top_k: 200 nms_param { nms_threshold: 0.45 top_k: 400 } confidence_threshold: 0.01
        save_output_param { output_directory: "results" output_format: "VOC" num_test_image: 4952 }""")
