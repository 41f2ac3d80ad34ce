"""Measures models on a validation set during training: average precision of detections, recall of proposals."""
from __future__ import annotations

import dataclasses
import os
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import numpy as np

from caffe.proto import caffe_pb2
from checks.nets import check_outputs
from commands.data_set import check_evaluation, use_proposals
from datasets.all_boxes import load_detections
from datasets.detection_files import DETECTIONS
from datasets.imdb import imdb as Imdb
from datasets.proposals_file import save_proposals
from fast_rcnn.config import cfg
from fast_rcnn.test import DetectionSettings, test_net
from rpn.generate import GenerationSettings, imdb_proposals
from utils import parallel, prototxt
from utils.draw import draw_detections
from utils.errors import raise_all
from utils.files import write_text
from utils.images import read_image
from utils.names import DETECTOR_OUTPUTS, READ_LATER
from utils.other_caffe import Net, free_intermediates, make_test_net
from utils.weights import load_all_weights

_PICTURES = 4


class DetectionMeasure:
    """A detector's AP50, the mean over classes, and AP, also averaged over IoU thresholds 0.50, 0.55, .. 0.95.

    net        test prototxt
    classes    its class names, background first
    proposals  file with proposals for the images, for a net with the input `rois`; None for a net with an RPN
    output     folder for the detections
    """

    def __init__(self, net: str | os.PathLike, imdb: Imdb, classes: Sequence[str], output: Path,
                 proposals: Path | None = None) -> None:
        self._file, self._imdb, self._classes, self._output = net, imdb, tuple(classes), output
        if proposals:
            use_proposals(imdb, "rpn", str(proposals))
        self._net = free_intermediates(make_test_net(net), keep=READ_LATER)
        check_outputs(self._net, net, *DETECTOR_OUTPUTS)
        self._settings = dataclasses.replace(DetectionSettings.from_cfg(cfg), has_rpn=proposals is None)

    def check(self, trained: Net) -> None:
        """Raise CheckError for layers of the test net that would have no weights, as no such layer is trained."""
        found = [layer for layer, blobs in self._net.params.items() if len(blobs) and layer not in trained.params]
        raise_all(f"{self._file}:{prototxt.line_of_layer(self._file, layer)}: layer '{layer}': the net that is trained "
                  "has no layer of this name, so that it would have no weights" for layer in found)

    def __call__(self, model: Path) -> Mapping[str, float]:
        if not parallel.is_first():
            return {}
        load_all_weights(self._net, model, self._file)
        result = check_evaluation(test_net(self._net, self._imdb, output_dir=self._output, settings=self._settings,
                                           classes=self._classes), self._imdb)
        return {"AP50": result.mean_ap, "AP": result.coco_means()["ap"]}

    def pictures(self) -> list[np.ndarray]:
        """The first validation images, BGR, with the last model's detections; [] in all processes but the first."""
        if not parallel.is_first():
            return []
        found = load_detections(self._output / DETECTIONS)
        return [draw_detections(read_image(self._imdb.image_path_at(index)), [images[index] for images in found],
                                self._classes, thresh=0.3) for index in range(min(_PICTURES, self._imdb.num_images))]


class RecallMeasure:
    """AR of an RPN's proposals, the mean recall at IoU thresholds 0.50, 0.55, .. 0.95, and the recall at 0.5."""

    def __init__(self, net: str | os.PathLike, imdb: Imdb) -> None:
        self._file, self._imdb = net, imdb
        use_proposals(imdb, "gt", None)
        self._net = free_intermediates(make_test_net(net))
        self._settings = GenerationSettings.from_cfg(cfg)

    def __call__(self, model: Path) -> Mapping[str, float]:
        boxes = propose(self._net, self._file, model, self._imdb, self._settings)[0]
        if not parallel.is_first():
            return {}
        found = self._imdb.evaluate_recall(boxes)
        return {"AR": float(found["ar"]), "recall": float(np.asarray(found["recalls"])[0])}


def propose(net: Net, file: str | os.PathLike, model: str | os.PathLike, imdb: Imdb,
            settings: GenerationSettings) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Boxes and scores of `imdb_proposals`, for an RPN with the weights of a model."""
    load_all_weights(net, model, file)
    return imdb_proposals(net, imdb, settings=settings)


def write_proposals(net: str | os.PathLike, model: str | os.PathLike, imdb: Imdb, path: Path) -> Path:
    """Write an RPN's proposals for a validation set, with the settings of cfg.TEST; returns the path."""
    rpn = free_intermediates(make_test_net(net))
    boxes, scores = propose(rpn, net, model, imdb, GenerationSettings.from_cfg(cfg))
    if parallel.is_first():
        save_proposals(path, boxes, scores, imdb.image_index)
    parallel.wait()
    return path


def write_net_on_rois(detector: str | os.PathLike, path: Path) -> Path:
    """Write a detector's test net with an input `rois` (R, 5) instead of its RPN; returns the path."""
    net = prototxt.read_net(detector)
    needed, kept = {*DETECTOR_OUTPUTS, *READ_LATER}, []
    for layer in reversed(net.layer):
        if needed & set(layer.top) and "rois" not in layer.top:
            kept.append(_without_other_tops(layer, needed) if layer.type == "Input" else layer)
            needed |= set(layer.bottom)
    shapes = [list(shape.dim) for shape in net.input_shape] or [
        list(net.input_dim[start:start + 4]) for start in range(0, len(net.input_dim), 4)]
    inputs = list(zip(net.input, shapes, strict=False))
    inputs = [(name, shape) for name, shape in inputs if name in needed] + [("rois", [1, 5])]
    result = caffe_pb2.NetParameter(name=net.name, layer=[*map(_input_layer, inputs), *reversed(kept)])
    return write_text(path, prototxt.to_text(result))


def _without_other_tops(layer: caffe_pb2.LayerParameter, needed: Collection[str]) -> caffe_pb2.LayerParameter:
    """A copy of an Input layer that has only the needed tops."""
    copy, shapes = caffe_pb2.LayerParameter(), layer.input_param.shape
    copy.CopyFrom(layer)
    copy.top[:] = [top for top in layer.top if top in needed]
    if len(shapes) > 1:     # one for each top
        del copy.input_param.shape[:]
        copy.input_param.shape.extend(shape for top, shape in zip(layer.top, shapes, strict=False) if top in needed)
    return copy


def _input_layer(named: tuple[str, list[int]]) -> caffe_pb2.LayerParameter:
    name, shape = named
    layer = caffe_pb2.LayerParameter(name=name, type="Input", top=[name])
    layer.input_param.shape.add().dim.extend(shape)
    return layer
