"""Checks prototxts against the settings and the data set before training starts.

A wrong number of classes or anchors, a missing top or a layer that should be frozen would be noticed hours later, or
never. Each function returns a list of problems, one line each, starting with file and line; `raise_all` raises one
error for the problems of several files.
"""
from __future__ import annotations

import math
import os
from collections.abc import Collection, Iterator, Sequence

from caffe.proto.caffe_pb2 import TEST, TRAIN, LayerParameter
from checks.net_file import CONVOLUTIONS, NetFile
from fast_rcnn.config import Config
from utils.errors import CheckError, raise_all
from utils.names import BOX_BLOBS, BOX_LAYERS, READONLY, ROI_BLOBS, RPN_BLOBS, RPN_BOX_LAYER, RPN_SCORE_LAYER
from utils.other_caffe import Net, blob_shape

NO_OHEM = "--no_ohem (of train_net.py: --set TRAIN.USE_OHEM False)"
# Layer types with weights and perhaps a bias, and the message that says so
_WITH_WEIGHTS = {**dict.fromkeys(CONVOLUTIONS, "convolution_param"), "InnerProduct": "inner_product_param"}
_ROI_PARAMS = {"ROIPooling": ("roi_pooling_param",), "PSROIPooling": ("psroi_pooling_param",),
               "ROIAlign": ("roi_align_param", "roi_pooling_param")}
_TEST_NETS = "Detectors are tested with faster_rcnn_test.pt or test.pt, proposals made with rpn_test.pt"


def check_train_net(path: str | os.PathLike, train: Config, num_classes: int,
                    num_anchors: int | None = None) -> list[str]:
    """Problems of a training net.

    train        cfg.TRAIN of the stage
    num_classes  of the data set, with the background
    num_anchors  of the RPN whose weights the net carries; None if unknown
    """
    net = NetFile(path, TRAIN)
    return net.param_problems or [
        *_class_problems(net, (num_classes, 2) if train.AGNOSTIC else (num_classes,)),
        *_box_width_problems(net, num_classes, (8,) if train.AGNOSTIC else (4 * num_classes,)),
        *_anchor_problems(net, num_anchors), *_stride_problems(net),
        *_data_problems(net, train), *_box_problems(net, train), *_rpn_box_problems(net, train),
        *_ohem_problems(net, train), *_readonly_problems(net)]


def check_test_net(path: str | os.PathLike, num_classes: int, num_anchors: int | None = None,
                   of: str = "the data set") -> list[str]:
    """Problems of a test net; `of` names what has `num_classes` classes."""
    net = NetFile(path, TEST)
    return _training_problems(net) or net.param_problems or [
        *_class_problems(net, (num_classes,), of), *_box_width_problems(net, num_classes, (4 * num_classes, 8), of),
        *_anchor_problems(net, num_anchors), *_stride_problems(net)]


def check_row_net(path: str | os.PathLike, num_classes: int, of: str = "the data set") -> list[str]:
    """Problems of a test net that lists its detections; `of` names what has `num_classes` classes."""
    net = NetFile(path, TEST)
    if not net.is_input("data"):
        return [f"{path}: has no input data: it reads its images itself. A net that detects in photographs is needed, "
                "usually deploy.prototxt"]
    layers = net.detection_layers()
    problems = [net.problem(layer, f"lists detections, as layer '{layers[0].name}' does: expected one such layer")
                for layer in layers[1:]]
    problems += [net.problem(layer, f"background_label_id is {label}, expected 0: class 0 is the background")
                 for layer in layers if (label := layer.detection_output_param.background_label_id)]
    return problems + [
        net.problem(layer, f"is for {found} classes with the background, but {of} has {num_classes}")
        for layer in layers if (found := net.num_detected(layer)) != num_classes]


def check_for_tests(path: str | os.PathLike) -> None:
    """Raise CheckError for a training net: one that has data layers."""
    raise_all(_training_problems(NetFile(path, TEST)))


def _training_problems(net: NetFile) -> list[str]:
    return [net.problem(layer, f"this net is for training. {_TEST_NETS}")
            for layer in net.data_layers()]


def check_outputs(net: Net, path: str | os.PathLike, *wanted: str) -> None:
    """Raise CheckError if a net lacks one of the wanted outputs."""
    missing = [name for name in wanted if name not in net.outputs]
    if missing:
        raise CheckError(f"{path}: has no output {' and no '.join(missing)}; it has {', '.join(net.outputs) or 'none'}."
                         f" {_TEST_NETS}")


def check_widths(net: Net, path: str | os.PathLike, num_classes: int, of: str, *outputs: str) -> list[str]:
    """Outputs of a test net whose number of columns does not match the classes, regardless of layer names.

    outputs  'cls_prob' or 'cls_score', one column per class; 'bbox_pred', four per class, or eight (background, object)
             for class-agnostic boxes
    of       what has `num_classes` classes
    """
    problems = []
    for name in [name for name in outputs if name in net.blobs]:
        columns = math.prod(blob_shape(net.blobs[name])[1:])
        wanted = [4 * num_classes, 8] if name == "bbox_pred" else [num_classes]
        if columns not in wanted:
            more = ", or 8 for boxes that they share" if 8 in wanted[1:] and wanted[0] != 8 else ""
            problems.append(f"{path}: its output {name} has {columns} columns, expected {wanted[0]}{more}: {of} has "
                            f"{num_classes} classes with the background")
    return problems


def check_frozen(path: str | os.PathLike, part: str, stage: int) -> list[str]:
    """Layers of an alternating optimisation net that must be frozen, but are not.

    These are the layers of the other part ('rpn' trains no inner products and nothing after RoI pooling, 'fast_rcnn'
    nothing named rpn*) and, in stage 2, the shared layers. Even without a gradient, weight decay would shrink their
    weights, and every forward pass moves the statistics of a BatchNorm layer.
    """
    net = NetFile(path, TRAIN)
    return [net.problem(layer, f"must be frozen in stage {stage} ({part}): give it {missing}")
            for layer in net.layers if _must_be_frozen(net, layer, part, stage)
            if (missing := _missing_to_freeze(layer))]


def inherited_layers(path: str | os.PathLike, part: str) -> set[str]:
    """Layers that a net of stage 2 has from the step before: those shared with it, in 'fast_rcnn' also the RPN's."""
    net = NetFile(path, TRAIN)
    return {layer.name for layer in net.layers if _must_be_frozen(net, layer, "fast_rcnn", 2)
            and (part == "fast_rcnn" or not layer.name.startswith("rpn"))}


def _must_be_frozen(net: NetFile, layer: LayerParameter, part: str, stage: int) -> bool:
    if layer.name.startswith("rpn"):
        return part == "fast_rcnn"
    if layer.type == "InnerProduct" or net.is_after_roi_pooling(layer):
        return part == "rpn"
    return stage == 2


def _missing_to_freeze(layer: LayerParameter) -> str | None:
    """What to add to a layer so that training does not change it; None if it is frozen."""
    if layer.type == "BatchNorm":
        return None if layer.batch_norm_param.use_global_stats else "batch_norm_param { use_global_stats: true }"
    count = _num_params(layer)
    if len(layer.param) >= count and all(spec.lr_mult == 0 for spec in layer.param):
        return None
    return f"{'two' if count > 1 else 'one'} param {{ lr_mult: 0 decay_mult: 0 }}"


def _num_params(layer: LayerParameter) -> int:
    """Number of the layer's parameters that a solver may train: weights, bias, slopes."""
    if layer.type in _WITH_WEIGHTS:
        return 1 + getattr(layer, _WITH_WEIGHTS[layer.type]).bias_term
    if layer.type in ("Scale", "Bias"):         # with two bottoms, the second one replaces the weights
        return (len(layer.bottom) == 1) + (layer.type == "Scale" and layer.scale_param.bias_term)
    return int(layer.type == "PReLU")


def _class_problems(net: NetFile, counts: Sequence[int], of: str = "the data set") -> Iterator[str]:
    """Layers for a number of classes other than counts[0]; in a param_str, all of `counts` are valid."""
    num_classes = counts[0]
    why = f"{of} has {num_classes} classes with the background"
    for layer in net.layers_of_classes():
        found = net.params(layer).get("num_classes", num_classes)
        if found not in counts:
            yield net.problem(layer, f"'num_classes' in param_str is {found}, but {why}")
    named = [layer for layer in net.layers if layer.type == "InnerProduct" and layer.name.startswith("cls_score")]
    for layer in [*named, *(layer for layer in net.score_layers() if not layer.name.startswith("cls_score"))]:
        field, columns = _columns(layer)
        if columns != num_classes:
            yield net.problem(layer, f"{field} is {columns}, expected {num_classes}: {why}")


def _box_width_problems(net: NetFile, num_classes: int, wanted: Sequence[int],
                        of: str = "the data set") -> Iterator[str]:
    """Box regression layers for another number of classes; `wanted` are the valid numbers of columns."""
    named = [layer for layer in net.layers if layer.type == "InnerProduct" and layer.name.startswith("bbox_pred")]
    for layer in [*named, *(layer for layer in net.box_layers() if layer.type == "PSROIPooling")]:
        field, columns = _columns(layer)
        if columns not in wanted:
            hint = ". For boxes that classes share set TRAIN.AGNOSTIC to True" if columns == 8 else ""
            yield net.problem(layer, f"{field} is {columns}, expected {wanted[0]}: {of} has {num_classes} classes with "
                                     f"the background{hint}")


def _columns(layer: LayerParameter) -> tuple[str, int]:
    """Name and value of the setting for the layer's number of output columns."""
    if layer.type == "PSROIPooling":
        return "output_dim", layer.psroi_pooling_param.output_dim
    return "num_output", layer.inner_product_param.num_output


def _anchor_problems(net: NetFile, num_anchors: int | None) -> Iterator[str]:
    rpns = net.rpns()
    for (first, wanted), *others in rpns:
        for layer, layout in others:
            if layout != wanted:
                yield net.problem(layer, f"feat_stride, scales and ratios are {layout}, those of layer "
                                         f"'{first.name}' {wanted}: they must agree")
    count = net.num_anchors()
    if count is not None and num_anchors is not None and count != num_anchors:
        yield net.problem(rpns[0][0][0], f"lays out {count} anchors at each position, other nets of the same "
                                         f"run {num_anchors}")
    anchors = count or num_anchors
    if anchors is not None and len(rpns) < 2:       # layers of several RPNs have other names
        yield from _channel_problems(net, anchors)


def _channel_problems(net: NetFile, anchors: int) -> Iterator[str]:
    for layer in net.layers:
        for name, per_anchor in ((RPN_SCORE_LAYER, 2), (RPN_BOX_LAYER, 4)):
            outputs = layer.convolution_param.num_output
            if layer.type == "Convolution" and layer.name == name and outputs != per_anchor * anchors:
                yield net.problem(layer, f"num_output is {outputs}, expected {per_anchor * anchors}: "
                                         f"{per_anchor} for each of {anchors} anchors")
        dims = list(layer.reshape_param.shape.dim)
        if layer.type == "Reshape" and "rpn_cls_prob" in layer.bottom and dims[1:2] != [2 * anchors]:
            yield net.problem(layer, f"dims are {dims}, expected {2 * anchors} as the second: 2 for each of "
                                     f"{anchors} anchors")


def _stride_problems(net: NetFile) -> Iterator[str]:
    for layer, (feat_stride, _, _) in net.anchor_layouts():
        stride = net.stride(layer.bottom[0]) if layer.bottom else None
        if stride is not None and feat_stride != stride:
            yield net.problem(layer, f"feat_stride is {feat_stride}, but a cell is {stride:g} pixels wide")
    for layer in net.layers:
        names = _ROI_PARAMS.get(layer.type, ())
        stride = net.stride(layer.bottom[0]) if names and layer.bottom else None
        scale = next((getattr(layer, name).spatial_scale for name in names if layer.HasField(name)), 1.0)
        if stride is not None and abs(scale * stride - 1) > 1e-3:
            yield net.problem(layer, f"spatial_scale is {scale:g}, expected 1/{stride:g} = {1 / stride:g}")


def _data_problems(net: NetFile, train: Config) -> Iterator[str]:
    wanted = RPN_BLOBS if train.HAS_RPN else ("data", *ROI_BLOBS, *(BOX_BLOBS if train.BBOX_REG else ()))
    layers = net.data_layers()
    if not layers:
        yield f"{net.path}: has no Python layer without bottoms that feeds images and boxes, such as RoIDataLayer"
    for layer in layers:
        if not _tops_fit(list(layer.top), wanted):
            yield net.problem(layer, f"its tops are {', '.join(layer.top)}; expected {', '.join(wanted)}, as "
                                     f"TRAIN.HAS_RPN is {train.HAS_RPN}, TRAIN.BBOX_REG {train.BBOX_REG}")


def _box_problems(net: NetFile, train: Config) -> Iterator[str]:
    """Snapshots convert the weights of one of BOX_LAYERS to plain targets; layers of other names are not found."""
    if not (train.BBOX_REG and train.BBOX_NORMALIZE_TARGETS):
        return
    if net.box_losses() and not any(layer.name in BOX_LAYERS for layer in net.layers):
        yield (f"{net.path}: has no layer 'bbox_pred'. With TRAIN.BBOX_NORMALIZE_TARGETS box regression is trained on "
               "normalised targets, and saved for plain ones, in the layer of this name; name yours so, or set "
               "TRAIN.BBOX_NORMALIZE_TARGETS to False")
    yield from _bias_problems(net, BOX_LAYERS, "TRAIN.BBOX_NORMALIZE_TARGETS")


def _rpn_box_problems(net: NetFile, train: Config) -> Iterator[str]:
    """With normalised RPN targets no layer may decode the predictions, and snapshots must find the box layer."""
    if not (train.RPN_NORMALIZE_TARGETS and train.HAS_RPN):
        return
    for layer in net.proposal_layers():
        yield net.problem(layer, "makes proposals from predictions of plain box targets, but with "
                                 "TRAIN.RPN_NORMALIZE_TARGETS they are normalised in training: set it to False; it is "
                                 "for nets that train an RPN alone")
    if not any(layer.name == RPN_BOX_LAYER for layer in net.layers):
        yield (f"{net.path}: has no layer '{RPN_BOX_LAYER}'. With TRAIN.RPN_NORMALIZE_TARGETS the boxes of anchors are "
               "trained on normalised targets, and saved for plain ones, in the layer of this name; name yours so, or "
               "set TRAIN.RPN_NORMALIZE_TARGETS to False")
    yield from _bias_problems(net, [RPN_BOX_LAYER], "TRAIN.RPN_NORMALIZE_TARGETS")


def _bias_problems(net: NetFile, names: Collection[str], setting: str) -> Iterator[str]:
    """Layers of these names without a bias, which plain targets need if training normalises them by `setting`."""
    for layer in net.layers:
        if layer.name in names and _num_params(layer) == 1:
            yield net.problem(layer, f"needs its bias (bias_term: true) with {setting}: it takes the mean of the "
                                     "targets")


def _tops_fit(tops: Sequence[str], wanted: Sequence[str]) -> bool:
    """Whether tops start with the wanted ones. Other names are valid, but a usual name must be in its usual place."""
    usual = {*RPN_BLOBS, *ROI_BLOBS, *BOX_BLOBS}
    return len(tops) >= len(wanted) and not usual.intersection(tops[len(wanted):]) and all(
        top == name or top not in wanted for top, name in zip(tops, wanted, strict=False))


def _ohem_problems(net: NetFile, train: Config) -> Iterator[str]:
    layers = net.mining_layers()
    if train.USE_OHEM and not layers:
        yield f"{net.path}: has no OHEMDataLayer, but TRAIN.USE_OHEM is True: it would train on all RoIs; add {NO_OHEM}"
    for layer in layers:
        if not train.USE_OHEM:
            yield net.problem(layer, "mines hard examples, but TRAIN.USE_OHEM is False: it would see only a "
                                     f"random sample of RoIs; leave out {NO_OHEM}, or set it to True")
        if list(layer.propagate_down) != [False] * len(layer.bottom):
            yield net.problem(layer, "needs propagate_down: false once for each of its "
                                     f"{len(layer.bottom)} bottoms: it has no gradient")


def _readonly_problems(net: NetFile) -> Iterator[str]:
    """Readonly layers that do not share the weights of the trained layer, and so would compute with random ones."""
    by_name = {layer.name: layer for layer in net.layers}
    for layer in net.layers:
        if not layer.name.endswith(READONLY) or not _num_params(layer):
            continue
        twin = by_name.get(layer.name.removesuffix(READONLY))
        names = [spec.name for spec in layer.param]
        if twin is None:
            yield net.problem(layer, f"there is no layer '{layer.name.removesuffix(READONLY)}' whose weights it could "
                                     "share")
        elif len(names) < _num_params(layer) or not all(names) or names != [spec.name for spec in twin.param]:
            theirs = ", ".join(repr(spec.name) for spec in twin.param) or "none"
            yield net.problem(layer, f"shares no weights with '{twin.name}', so that they would stay random: its "
                                     f"param names are {', '.join(map(repr, names)) or 'none'}, those of "
                                     f"'{twin.name}' {theirs}; they must be equal, one for each of weights and bias")
