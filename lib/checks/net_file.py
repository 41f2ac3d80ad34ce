"""Reads the structure of a net from its prototxt, without building the net.

The role of a layer is determined by its bottoms, tops and `param_str`; its class and module may have any name.
"""
from __future__ import annotations

import os
from collections.abc import Iterable, Iterator

from caffe.proto.caffe_pb2 import LayerParameter, NetStateRule, Phase
from utils import prototxt
from utils.layer_params import Params, allowed_border, anchor_layout, class_count, parse_param_str
from utils.names import BOX_BLOBS, RPN_BOX_LAYER, RPN_SCORE_LAYER

_FED = {"data", "gt_boxes", "labels", *BOX_BLOBS}       # only in training nets, layers without bottoms produce these
_RPN_MAPS = (RPN_SCORE_LAYER, "rpn_cls_prob", RPN_BOX_LAYER)        # prefixes of the RPN's outputs

CONVOLUTIONS = ("Convolution", "ConvolutionDepthwise", "DepthwiseConvolution", "Deconvolution")
_RESIZING = ("Interp", "Python", "Reorg", "Upsample")       # types with an unknown stride

# Layers that list detections: the message with their number of classes, and the number of classes not counted there
_CLASSES_OF = {"DetectionOutput": ("detection_output_param", 0),
               "YoloDetectionOutput": ("yolo_detection_output_param", 1),
               "Yolov3DetectionOutput": ("yolov3_detection_output_param", 1)}

AnchorLayout = tuple[float, tuple[float, ...], tuple[float, ...]]       # feat_stride, scales, ratios


class NetFile:
    """A prototxt, with queries about its layers.

    phase  caffe.TRAIN or caffe.TEST: only the layers of this phase; None: all layers
    """

    def __init__(self, path: str | os.PathLike, phase: Phase | None = None) -> None:
        self.path = path
        net = prototxt.read_net(path)
        self.layers: list[LayerParameter] = [layer for layer in net.layer if _is_in_phase(layer, phase)]
        self._has_inputs = bool(net.input) or any(layer.type == "Input" for layer in self.layers)
        self._maker = {top: layer for layer in self.layers for top in layer.top if top not in layer.bottom}
        self._params = {layer.name: _entries(layer) for layer in self.layers}
        self._python_layers = [layer for layer in self.layers if layer.type == "Python"]
        # RoIs that RoI pooling reads, and targets of the losses
        self._rois = {layer.bottom[1] for layer in self.layers if _pools_rois(layer)}
        self._targets = {blob for layer in self.layers if "Loss" in layer.type for blob in layer.bottom[1:]}
        # Errors in `param_str`, in layer order; if there are any, its entries must not be queried
        self.param_problems = list(self._find_param_problems())

    def problem(self, layer: LayerParameter, message: str) -> str:
        """The message as "file:line: layer 'name': message"."""
        line = prototxt.line_of_layer(self.path, layer.name)
        return f"{self.path}:{line}: layer '{layer.name}': {message}"

    def params(self, layer: LayerParameter) -> Params:
        """The `param_str` of a Python layer as a dictionary; empty if it cannot be parsed."""
        return self._params[layer.name]

    def _find_param_problems(self) -> Iterator[str]:
        """Check the layers that lay out anchors or need the number of classes, not other layers of the user."""
        judged = ((anchor_layout, self.anchor_layers()), (allowed_border, self.anchor_target_layers()),
                  (class_count, self._class_layers()))
        for layer in self._python_layers:
            try:
                for read, layers in judged:
                    if layer in layers:
                        read(parse_param_str(layer.python_param.param_str))
            except ValueError as error:
                yield self.problem(layer, str(error))

    # ---- roles of layers
    def data_layers(self) -> list[LayerParameter]:
        """Python layers that feed images with RoIs or boxes: those without bottoms that have one of the usual tops.

        If none has such a top and the net has no inputs, these are all Python layers without bottoms.
        """
        sources = [layer for layer in self._python_layers if not layer.bottom]
        return [layer for layer in sources if _FED.intersection(layer.top)] or ([] if self._has_inputs else sources)

    def mining_layers(self) -> list[LayerParameter]:
        """Python layers between two RoI heads that select the training examples of the second one.

        They read RoIs with their labels and the first head's outputs for these RoIs; their tops are read by RoI pooling
        or a loss.
        """
        return [layer for layer in self._python_layers
                if (self._rois | self._targets).intersection(layer.top)
                and any(len(self._labelled(rois).intersection(layer.bottom)) > 1
                        for rois in self._judged_rois(layer))]

    def is_after_roi_pooling(self, layer: LayerParameter) -> bool:
        """Whether a bottom of the layer is computed from pooled features of RoIs."""
        return bool(self._judged_rois(layer))

    def _judged_rois(self, layer: LayerParameter) -> set[str]:
        """RoIs whose pooled features a bottom of the layer is computed from."""
        found, seen, blobs = set(), set[str](), list(layer.bottom)
        while blobs:
            blob = blobs.pop()
            maker = self._maker.get(blob)
            if maker is None or blob in seen:
                continue
            seen.add(blob)
            blobs += maker.bottom
            if _pools_rois(maker):
                found.add(maker.bottom[1])
        return found

    def _labelled(self, rois: str) -> set[str]:
        """The RoIs, `labels`, and the tops that follow the RoIs in the layer that produces them."""
        tops = list(self._maker[rois].top) if rois in self._maker else [rois]
        return {"labels", *tops[tops.index(rois):]}

    def anchor_layers(self) -> list[LayerParameter]:
        """Python layers that lay out anchors: those with a feat_stride, or that read RPN outputs and im_info."""
        return [layer for layer in self._python_layers
                if "feat_stride" in self.params(layer)
                or ("im_info" in layer.bottom and any(blob.startswith(_RPN_MAPS) for blob in layer.bottom))]

    def anchor_target_layers(self) -> list[LayerParameter]:
        """Anchor layers that match anchors with annotated boxes."""
        return [layer for layer in self.anchor_layers() if self._annotations().intersection(layer.bottom)]

    def proposal_layers(self) -> list[LayerParameter]:
        """Layers that turn anchors into proposals: anchor layers, and others that read im_info and output RoIs."""
        native = [layer for layer in self.layers if layer.type != "Python" and "im_info" in layer.bottom
                  and self._rois.intersection(layer.top)]
        return [layer for layer in [*self.anchor_layers(), *native]
                if not self._annotations().intersection(layer.bottom)]

    def detection_layers(self) -> list[LayerParameter]:
        """Layers whose top lists detections, such as those of SSD and YOLO; see `detections_in_rows`."""
        return [layer for layer in self.layers if layer.type in _CLASSES_OF]

    def num_detected(self, layer: LayerParameter) -> int:
        """The number of classes, with the background, of a layer of `detection_layers`."""
        param, others = _CLASSES_OF[layer.type]
        return getattr(layer, param).num_classes + others

    def is_input(self, blob: str) -> bool:
        """Whether a blob is an input of the net."""
        maker = self._maker.get(blob)
        return self._has_inputs and (maker is None or maker.type == "Input")

    def _annotations(self) -> set[str]:
        """`gt_boxes`, and all tops of data layers but the first two (the image, and its size or the RoIs)."""
        return {"gt_boxes"}.union(*(layer.top[2:] for layer in self.data_layers()))

    def layers_of_classes(self) -> list[LayerParameter]:
        """Python layers whose `num_classes` is that of the data set: data layers, and those of RoIs with labels."""
        layers = [*self._class_layers(), *self.mining_layers()]
        return [layer for layer in self._python_layers if layer in layers]

    def _class_layers(self) -> list[LayerParameter]:
        """Layers that need the number of classes: data layers, and those that output RoIs together with labels.

        Losses or mining layers read the labels.
        """
        read = self._targets.union(*(layer.bottom for layer in self.mining_layers())) - self._rois
        return self.data_layers() + [layer for layer in self._python_layers
                                     if self._rois.intersection(layer.top) and read.intersection(layer.top)]

    def score_layers(self) -> list[LayerParameter]:
        """Layers whose output columns a softmax loss compares with the classes of RoIs, or that become `cls_prob`."""
        losses = self._roi_losses(1, "SoftmaxWithLoss", "SoftmaxWithLossOHEM")
        return self._column_layers([*(layer.bottom[0] for layer in losses), "cls_prob"])

    def box_losses(self) -> list[LayerParameter]:
        """Losses that compare an output with the regression targets of RoIs."""
        return self._roi_losses(2, "SmoothL1Loss", "SmoothL1LossOHEM")

    def box_layers(self) -> list[LayerParameter]:
        """Layers whose output columns are compared with the regression targets of RoIs, or become `bbox_pred`."""
        return self._column_layers([*(layer.bottom[0] for layer in self.box_losses()), "bbox_pred"])

    def _roi_losses(self, place: int, *types: str) -> list[LayerParameter]:
        """Losses whose second bottom is the top at this place after RoIs: 1 for classes, 2 for regression targets.

        Further tops, such as landmarks, have a meaning of the user's.
        """
        return [layer for layer in self.layers if layer.type in types
                and any(self._place_after_rois(blob) == place for blob in layer.bottom[1:2])]

    def _column_layers(self, blobs: Iterable[str]) -> list[LayerParameter]:
        """The layers that determine the number of columns of these blobs, where known; each once."""
        found = [layer for layer in map(self._column_layer, blobs) if layer is not None]
        return list({layer.name: layer for layer in found}.values())

    def _column_layer(self, blob: str) -> LayerParameter | None:
        """The inner product, optionally before a softmax, or the PSROIPooling before an average, that gives a blob."""
        layer = self._source(blob, "Softmax")
        if layer is not None and layer.type == "InnerProduct":
            return layer
        layer = self._source(blob, "Softmax", "Reshape", "Pooling")
        return layer if layer is not None and layer.type == "PSROIPooling" else None

    def _source(self, blob: str, *passed: str) -> LayerParameter | None:
        """The layer that produces a blob, or the first one upstream that is not of the types `passed`."""
        layer = self._maker.get(blob)
        for _ in self.layers:       # bounded, as layers may form a loop
            if layer is None or layer.type not in passed or not layer.bottom:
                break
            layer = self._maker.get(layer.bottom[0])
        return layer

    def _place_after_rois(self, blob: str) -> int:
        """How many tops the blob comes after RoIs of its layer, as labels (1) and targets (2) do; 0 if it does not."""
        tops = list(self._maker[blob].top) if blob in self._maker else []
        before = tops[:tops.index(blob)] if blob in tops else []
        return next((place for place, top in enumerate(reversed(before), 1) if top in self._rois), 0)

    # ---- strides and anchors
    def stride(self, blob: str) -> float | None:
        """Stride of a blob's cells in image pixels; None if it is unknown or the blob is not computed from `data`."""
        stride, seen = 1.0, set[str]()
        while blob in self._maker and blob not in {"data", *seen}:      # layers may form a loop
            seen.add(blob)
            layer = self._maker[blob]
            if layer.type in _RESIZING or not layer.bottom:
                return None
            stride *= _layer_stride(layer)
            blob = layer.bottom[0]
        return stride if blob == "data" else None

    def anchor_layouts(self) -> list[tuple[LayerParameter, AnchorLayout]]:
        """Each layer that lays out anchors, with its (feat_stride, scales, ratios)."""
        return [(layer, anchor_layout(self.params(layer))) for layer in self.anchor_layers()]

    def rpns(self) -> list[list[tuple[LayerParameter, AnchorLayout]]]:
        """The `anchor_layouts` of each RPN: those of the layers that read the same scores. Most nets have one RPN."""
        found: dict[str, list[tuple[LayerParameter, AnchorLayout]]] = {}
        for layer, layout in self.anchor_layouts():
            source = self._source(layer.bottom[0], "Softmax", "Reshape") if layer.bottom else None
            found.setdefault(source.name if source is not None else "", []).append((layer, layout))
        return list(found.values())

    def anchors(self) -> AnchorLayout | None:
        """(feat_stride, scales, ratios) of the anchors, in a net with several RPNs those of the first one.

        None if no layer specifies them, or a `param_str` is wrong.
        """
        layouts = [] if self.param_problems else self.anchor_layouts()
        return layouts[0][1] if layouts else None

    def num_anchors(self) -> int | None:
        """Number of anchors at each position; None as in `anchors`."""
        layout = self.anchors()
        return len(layout[1]) * len(layout[2]) if layout else None


def _is_in_phase(layer: LayerParameter, phase: Phase | None) -> bool:
    """Whether the layer is part of a phase, according to the phases in its `include` and `exclude`."""
    if phase is None:
        return True
    if NetStateRule(phase=phase) in layer.exclude:
        return False
    return not layer.include or any(not rule.HasField("phase") or rule.phase == phase for rule in layer.include)


def _entries(layer: LayerParameter) -> Params:
    try:
        return parse_param_str(layer.python_param.param_str)
    except ValueError:
        return {}


def _pools_rois(layer: LayerParameter) -> bool:
    """Whether the layer pools RoIs: ROIPooling, ROIAlign, PSROIPooling and the user's types."""
    return "roi" in layer.type.lower() and len(layer.bottom) > 1


def _layer_stride(layer: LayerParameter) -> float:
    """Cells of the bottom per cell of the top; for types that are not in _RESIZING."""
    if layer.type in CONVOLUTIONS:
        param = layer.convolution_param
        stride = param.stride[0] if param.stride else param.stride_h or 1
        return 1 / stride if layer.type == "Deconvolution" else stride
    if layer.type == "Pooling":
        return layer.pooling_param.stride_h or layer.pooling_param.stride
    return 1
