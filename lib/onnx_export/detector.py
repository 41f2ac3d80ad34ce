"""Exports a whole detector as one ONNX model: from an image, or the net's inputs, to detections."""
from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np

from fast_rcnn.config import check_one_scale
from fast_rcnn.test import DetectionSettings
from onnx_export.boxes import Part, clipped, column, columns, decoded, sorted_by, suppressed
from onnx_export.images import Prepared, add_preparation
from utils.errors import UserError
from utils.other_caffe import Net, blob_shape, to_onnx

_IMAGE, _SIZE = "image", "image_size"
_OUTPUTS = ("boxes", "scores", "labels")
_PREPROCESSING = ("subtract pixel_means from the image in BGR order and divide by pixel_stds; scale bilinearly by one "
                  "factor, so that the shorter side has `scale` pixels, or the longer one `max_size` if that is "
                  "smaller; data is that image as (1, 3, height, width), im_info its height and width and the factor, "
                  "image_size the height and width before")


@dataclass(frozen=True)
class ExportSettings:
    """Options of a model beyond the detector's own settings; see `detections_per_class`."""

    thresh: float = 0.05            # minimum score
    max_per_image: int = 100        # 0: no limit
    preprocess: bool = False        # whether the model's input is an image instead of the net's inputs
    opset: int | None = None        # version of ONNX's operator set; None: the engine's choice


def export_detector(net: Net, path: str | os.PathLike, classes: Sequence[str], settings: DetectionSettings,
                    export: ExportSettings, record: Mapping[str, Any] | None = None) -> None:
    """Write a detector as an ONNX model for one image of any size: `im_detect` and `detections_per_class`.

    inputs    with `preprocess` an image (height, width, 3) uint8 in BGR order; else data, im_info and image_size
    outputs   boxes (D, 4) float32 in pixels of the image, scores (D,) float32, labels (D,) int64, best first
    metadata  classes, the settings of inputs and detections, and the detector's `record`, as JSON

    Raises UserError for a detector that needs proposals, and on a Caffe that does not export to ONNX; raises
    `to_onnx`'s error for a layer that it does not support.
    """
    if not settings.has_rpn:
        raise UserError("this detector has no RPN (TEST.HAS_RPN is False): a model would need proposals for each image")
    check_one_scale(settings.images.scales)
    shapes = {"data": (1, 3, "height", "width")}
    options = {} if export.opset is None else {"opset": export.opset}
    to_onnx(net, path, shapes=shapes, before=partial(_before, settings=settings, export=export),
            after=partial(_after, net=net, settings=settings, export=export),
            metadata=_metadata(classes, settings, export, record or {}), **options)


def _before(part: Part, settings: DetectionSettings, export: ExportSettings) -> Mapping[str, str]:
    part.reserve(*_OUTPUTS)
    if not export.preprocess:
        return {_SIZE: part.input(_SIZE, np.float32, [2])}
    image = part.input(_IMAGE, np.uint8, ["image height", "image width", 3])
    return Prepared(*add_preparation(part, image, settings.images))._asdict()


def _after(part: Part, values: Mapping[str, str], net: Net, settings: DetectionSettings,
           export: ExportSettings) -> None:
    """Add what `im_detect` does after the net's forward pass, and `detections_per_class`."""
    count = _width(net, settings.scores)
    scores = part.node("Reshape", values[settings.scores], part.ints(-1, count))
    scale = part.node("Reshape", part.cut(values["im_info"], [2], [3], [1]), part.ints(1))
    rois = part.node("Div", columns(part, values["rois"], 1, 5), scale)
    boxes = _boxes_of_classes(part, rois, values, net, settings, count)
    found = _best_of_classes(part, boxes, columns(part, scores, 1, count), settings.nms, export)
    for name, value, dtype in zip(_OUTPUTS, found, (np.float32, np.float32, np.int64), strict=True):
        part.output(value, name, dtype, ["detections", *([4] if name == "boxes" else [])])


def _width(net: Net, name: str) -> int:
    """Number of values per RoI in a blob of the net."""
    return int(np.prod(blob_shape(net.blobs[name])[1:]))


def _boxes_of_classes(part: Part, rois: str, values: Mapping[str, str], net: Net, settings: DetectionSettings,
                      count: int) -> str:
    """Boxes of the foreground classes in image pixels, (K - 1, R, 4), or (1, R, 4) if all classes share them."""
    if not settings.bbox_reg:
        return part.node("Unsqueeze", rois, part.ints(0))
    width = _width(net, "bbox_pred")
    if width not in (8, 4 * count):
        raise UserError(f"bbox_pred has {width} columns, expected {4 * count}, 4 for each of {count} classes, or 8 for "
                        "boxes that they share")
    deltas = part.node("Reshape", values["bbox_pred"], part.ints(-1, width))
    moved = decoded(part, rois, columns(part, deltas, 4, width), width // 4 - 1)
    return part.node("Transpose", clipped(part, moved, values[_SIZE]), perm=[1, 0, 2])


def _best_of_classes(part: Part, boxes: str, scores: str, thresh: float, export: ExportSettings) -> list[str]:
    """Boxes (D, 4), scores (D,) and labels (D,) of the detections of all classes, from scores (R, K - 1)."""
    scores = part.node("Transpose", scores, perm=[1, 0])
    every = part.node("Concat", part.node("Shape", scores), part.ints(4), axis=0)
    boxes = part.node("Expand", boxes, every)
    rows = suppressed(part, boxes, scores, thresh, above=export.thresh)
    places = part.node("Concat", *(part.node("Unsqueeze", column(part, rows, index), part.ints(1))
                                   for index in (0, 2)), axis=1)
    found = [part.node("GatherND", boxes, places), part.node("GatherND", scores, places),
             part.node("Add", column(part, rows, 0), part.ints(1))]
    order = sorted_by(part, found[1])
    if export.max_per_image > 0:
        order = _without_the_worst(part, found[1], order, export.max_per_image)
    return [part.node("Gather", value, order) for value in found]


def _without_the_worst(part: Part, scores: str, order: str, at_most: int) -> str:
    """The first entries of the order: `at_most`, and those that score as high as the last of them."""
    ranked = part.node("Gather", scores, order)
    last = part.cut(part.cut(ranked, [0], [at_most], [0]), [-1], [np.iinfo(np.int64).max], [0])
    return part.node("Compress", order, part.node("GreaterOrEqual", ranked, last), axis=0)


def _metadata(classes: Sequence[str], settings: DetectionSettings, export: ExportSettings,
              record: Mapping[str, Any]) -> dict[str, str]:
    images = settings.images
    inputs: dict[str, Any] = {"scale": images.scales[0], "max_size": images.max_size, "pixel_means": images.means,
                              "pixel_stds": images.stds, "channels": "BGR"}
    found = {"classes": list(classes), "inputs": inputs, "nms": settings.nms, "settings": record, **asdict(export)}
    found = {name: json.dumps(value) for name, value in found.items() if name != "opset"}
    return {**found, "preprocessing": "done by the model" if export.preprocess else _PREPROCESSING}
