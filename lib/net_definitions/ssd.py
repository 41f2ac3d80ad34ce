"""SSD300 on VGG16, as Liu et al. (arXiv:1512.02325) trained it on PASCAL VOC."""
from __future__ import annotations

from collections.abc import Callable, Sequence
from textwrap import dedent
from typing import NamedTuple

from caffe import layers as L
from caffe import params as P
from caffe.net_spec import Top
from caffe.proto import caffe_pb2

from .draft import Sheet
from .ssd_data import SsdData
from .trunks import Settings, vgg16_trunk

SSD = "SSD300"
_SIDE = 300                         # pixels of an image
_MEAN = [104.0, 117.0, 123.0]       # BGR
_TRAIN_BATCH = 32
_TITLE = "VGG_SSD_300x300"
_VARIANCES = [0.1, 0.1, 0.2, 0.2]
_LEARNED: Settings = dict(param=[dict(lr_mult=1, decay_mult=1), dict(lr_mult=2, decay_mult=0)])    # as VGG16's
# Fillers, for training from VGG16's convolutions alone; with Xavier's everywhere, as published for weights that include
# fc6 and fc7, the training diverges (docs/published_nets.md). pool5's root mean square is about 10.
_BIAS: Settings = dict(bias_filler=dict(type="constant", value=0))
_XAVIER: Settings = dict(weight_filler=dict(type="xavier"), **_BIAS)
_MSRA: Settings = dict(weight_filler=dict(type="msra"), **_BIAS)
_FC6: Settings = dict(weight_filler=dict(type="gaussian", std=0.002), **_BIAS)
_PREDICTIONS: Settings = dict(weight_filler=dict(type="gaussian", std=0.003), **_BIAS)


class FeatureMap(NamedTuple):
    """A feature map with default boxes at each position."""

    blob: str
    sizes: tuple[int, int]          # of a square box, and of the next map's: a second square has their geometric mean
    ratios: tuple[int, ...]         # width / height of the others, which come with their inverses
    step: int                       # stride in image pixels
    scale: float | None = None      # initial scale of a Normalize layer before the predictions; None: no such layer


_MAPS = (FeatureMap("conv4_3", (30, 60), (2,), 8, scale=20), FeatureMap("fc7", (60, 111), (2, 3), 16),
         FeatureMap("conv6_2", (111, 162), (2, 3), 32), FeatureMap("conv7_2", (162, 213), (2, 3), 64),
         FeatureMap("conv8_2", (213, 264), (2,), 100), FeatureMap("conv9_2", (264, 315), (2,), 300))


def ssd_files(data: SsdData, folder: str) -> dict[str, str]:
    """Text of every prototxt, by its path under `folder`: {'SSD300/ssd/train.pt': ...}.

    test.pt is included if there is data to test on.
    """
    files = {f"{SSD}/ssd/train.pt": _net_file("train net", data, _train),
             f"{SSD}/ssd/deploy.pt": _net_file("the detector for test images", data, _deploy)}
    if data.test:
        files[f"{SSD}/ssd/test.pt"] = _net_file("test net: the mean average precision", data, _test)
    return {**files, f"{SSD}/ssd/solver.pt": _solver_file(data, f"{folder}/{SSD}/ssd")}


# ---- the nets
def _train(sheet: Sheet, data: SsdData) -> None:
    label = _annotated_data(sheet, data, data.train, _TRAIN_BATCH, _augmentation(), _samplers())
    _predictions(sheet, data)
    sheet.section("loss")
    n = sheet.n
    n.mbox_loss = L.MultiBoxLoss(
        n.mbox_loc, n.mbox_conf, n.mbox_priorbox, label, propagate_down=[True, True, False, False],
        loss_param=dict(normalization=P.Loss.VALID), multibox_loss_param=dict(
            num_classes=data.num_classes, share_location=True, background_label_id=0, loc_weight=1.0,
            match_type=P.MultiBoxLoss.PER_PREDICTION, overlap_threshold=0.5, use_prior_for_matching=True,
            use_difficult_gt=True, mining_type=P.MultiBoxLoss.MAX_NEGATIVE, neg_pos_ratio=3.0, neg_overlap=0.5,
            code_type=P.PriorBox.CENTER_SIZE))


def _test(sheet: Sheet, data: SsdData) -> None:
    assert data.test
    resize = dict(resize_mode=P.Resize.WARP, height=_SIDE, width=_SIDE, interp_mode=[P.Resize.LINEAR])
    label = _annotated_data(sheet, data, data.test, data.test_batch, dict(resize_param=resize), [])
    _predictions(sheet, data)
    _detections(sheet, data)
    sheet.n.detection_eval = L.DetectionEvaluate(sheet.n.detection_out, label, detection_evaluate_param=dict(
        num_classes=data.num_classes, background_label_id=0, overlap_threshold=0.5, evaluate_difficult_gt=False,
        name_size_file=data.sizes(data.test)))


def _deploy(sheet: Sheet, data: SsdData) -> None:
    sheet.n.data = L.Input(shape=dict(dim=[1, 3, _SIDE, _SIDE]))
    _predictions(sheet, data)
    _detections(sheet, data)


def _annotated_data(sheet: Sheet, data: SsdData, split: str, batch_size: int, transform: Settings,
                    samplers: Sequence[Settings]) -> Top:
    """Add the images as `data`; returns the top with the objects."""
    sheet.n.data, sheet.n.label = L.AnnotatedData(
        name="data", ntop=2, transform_param=dict(mean_value=_MEAN, **transform),
        data_param=dict(source=data.database(split), batch_size=batch_size, backend=P.Data.LMDB),
        annotated_data_param=dict(batch_sampler=samplers))
    return sheet.n.label


def _augmentation() -> Settings:
    modes = [P.Resize.LINEAR, P.Resize.AREA, P.Resize.NEAREST, P.Resize.CUBIC, P.Resize.LANCZOS4]
    factors = dict(prob=0.5, lower=0.5, upper=1.5)
    distort = {f"{name}_{key}": value for name in ("contrast", "saturation") for key, value in factors.items()}
    return dict(mirror=True, expand_param=dict(prob=0.5, max_expand_ratio=4.0), emit_constraint=dict(
        emit_type=caffe_pb2.EmitConstraint.CENTER), distort_param=dict(
        brightness_prob=0.5, brightness_delta=32, hue_prob=0.5, hue_delta=18, **distort),
        resize_param=dict(resize_mode=P.Resize.WARP, height=_SIDE, width=_SIDE, interp_mode=modes))


def _samplers() -> list[Settings]:
    """Samplers: the whole image, or a window that overlaps an object by at least (or at most) this IoU."""
    window = dict(min_scale=0.3, max_scale=1.0, min_aspect_ratio=0.5, max_aspect_ratio=2.0)
    limits = [*(dict(min_jaccard_overlap=overlap) for overlap in (0.1, 0.3, 0.5, 0.7, 0.9)),
              dict(max_jaccard_overlap=1.0)]
    return [dict(max_sample=1, max_trials=1),
            *(dict(sampler=window, sample_constraint=limit, max_sample=1, max_trials=50) for limit in limits)]


def _convolution(bottom: Top, outputs: int, kernel: int, **settings: object) -> Top:
    return L.Convolution(bottom, num_output=outputs, kernel_size=kernel, **_LEARNED, **settings)


def _learned_relu(sheet: Sheet, name: str, bottom: Top, outputs: int, kernel: int, **settings: object) -> Top:
    """A convolution, followed by an in-place <name>_relu."""
    sheet.n[name] = _convolution(bottom, outputs, kernel, **settings)
    sheet.n[f"{name}_relu"] = L.ReLU(sheet.n[name], in_place=True)
    return sheet.n[name]


def _predictions(sheet: Sheet, data: SsdData) -> None:
    """From `data` to mbox_loc, mbox_conf and mbox_priorbox."""
    n = sheet.n
    sheet.section("VGG16, its fully connected layers as dilated convolutions with a quarter of their outputs")
    top = vgg16_trunk(n, n.data, lambda group: _LEARNED, _XAVIER)
    n.pool5 = L.Pooling(top, pool=P.Pooling.MAX, kernel_size=3, stride=1, pad=1)
    top = _learned_relu(sheet, "fc6", n.pool5, 1024, 3, pad=6, dilation=6, **_FC6)
    top = _learned_relu(sheet, "fc7", top, 1024, 1, **_MSRA)
    sheet.section("smaller feature maps")
    for name, inner, outputs, settings in (("conv6", 256, 512, dict(pad=1, stride=2)),
                                           ("conv7", 128, 256, dict(pad=1, stride=2)),
                                           ("conv8", 128, 256, {}), ("conv9", 128, 256, {})):
        top = _learned_relu(sheet, f"{name}_1", top, inner, 1, **_MSRA)
        top = _learned_relu(sheet, f"{name}_2", top, outputs, 3, **settings, **_MSRA)
    sheet.section("offsets and scores of the default boxes of each feature map")
    parts = [_predicted(sheet, one, data.num_classes) for one in _MAPS]
    for index, (name, axis) in enumerate((("loc", 1), ("conf", 1), ("priorbox", 2))):
        n[f"mbox_{name}"] = L.Concat(*(part[index] for part in parts), axis=axis)


def _predicted(sheet: Sheet, one: FeatureMap, num_classes: int) -> tuple[Top, Top, Top]:
    """Offsets, scores and default boxes of a feature map."""
    n, name, top = sheet.n, one.blob, sheet.n[one.blob]
    if one.scale is not None:
        name += "_norm"
        n[name] = top = L.Normalize(top, norm_param=dict(
            across_spatial=False, channel_shared=False, scale_filler=dict(type="constant", value=one.scale)))
    count, flat = 2 + 2 * len(one.ratios), []
    for part, each in (("loc", 4), ("conf", num_classes)):
        whole = f"{name}_mbox_{part}"
        n[whole] = _convolution(top, count * each, 3, pad=1, **_PREDICTIONS)
        n[f"{whole}_perm"] = L.Permute(n[whole], permute_param=dict(order=[0, 2, 3, 1]))
        n[f"{whole}_flat"] = L.Flatten(n[f"{whole}_perm"], axis=1)
        flat.append(n[f"{whole}_flat"])
    boxes = f"{name}_mbox_priorbox"
    n[boxes] = L.PriorBox(top, n.data, prior_box_param=dict(
        min_size=[one.sizes[0]], max_size=[one.sizes[1]], aspect_ratio=list(one.ratios), flip=True, clip=False,
        variance=_VARIANCES, step=one.step, offset=0.5))
    return flat[0], flat[1], n[boxes]


def _detections(sheet: Sheet, data: SsdData) -> None:
    sheet.section("detections")
    n = sheet.n
    n.mbox_conf_reshape = L.Reshape(n.mbox_conf, shape=dict(dim=[0, -1, data.num_classes]))
    n.mbox_conf_softmax = L.Softmax(n.mbox_conf_reshape, axis=2)
    n.mbox_conf_flatten = L.Flatten(n.mbox_conf_softmax, axis=1)
    n.detection_out = L.DetectionOutput(
        n.mbox_loc, n.mbox_conf_flatten, n.mbox_priorbox, detection_output_param=dict(
            num_classes=data.num_classes, share_location=True, background_label_id=0, keep_top_k=200,
            confidence_threshold=0.01, code_type=P.PriorBox.CENTER_SIZE,
            nms_param=dict(nms_threshold=0.45, top_k=400)))


# ---- the files
def _net_file(title: str, data: SsdData, build: Callable[[Sheet, SsdData], None]) -> str:
    sheet = Sheet(_TITLE)
    build(sheet, data)
    return sheet.text([f"{SSD}: {title}.", f"For {data.num_classes} classes with the background.",
                       "Written by tools/make_models.py; for other data run",
                       f"  tools/make_models.py --net {SSD} --data DIR --out DIR"])


def _solver_file(data: SsdData, folder: str) -> str:
    test = dedent(f"""
        test_net: "{folder}/test.pt"
        test_iter: {data.num_test // data.test_batch}
        test_interval: 10000
        test_initialization: false
        eval_type: "detection"
        ap_version: "11point"
        """) if data.test else "\n"
    return dedent(f"""\
        # {SSD}: solver. Written by tools/make_models.py. To train from ImageNet's weights of the convolutions:
        #   data/scripts/fetch_imagenet_models.sh VGG16_convs
        #   python -m caffe train -solver {folder}/solver.pt \\
        #       -weights data/imagenet_models/VGG16_convs.v2.caffemodel -gpu 0
        train_net: "{folder}/train.pt"
        """) + test + dedent(f"""
        base_lr: 0.001
        lr_policy: "multistep"
        gamma: 0.1
        stepvalue: 80000
        stepvalue: 100000
        stepvalue: 120000
        max_iter: 120000
        momentum: 0.9
        weight_decay: 0.0005

        display: 10
        average_loss: 10
        snapshot: 80000
        snapshot_prefix: "{folder}/{_TITLE}"
        """)
