"""Pieces of the steps on both sides: the trunk, RoI pooling, hard example mining, the proposal layer, a snapshot."""
from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional

import caffe
from caffe.proto import caffe_pb2, prototxt
from vgg16_parts import plain
from vgg16_parts.job import HARD_ROIS, NUM_CLASSES, Job, scenes

ROOT = Path(__file__).resolve().parents[3]
MODELS = ROOT / "models" / "VGG16" / "faster_rcnn_alt_opt"
PIECES = ("trunk_forward", "trunk_forward_backward", "roi_pooling", "ohem", "proposal_layer", "snapshot")
_INPUT = 'layer {{ name: "{0}" type: "Input" top: "{0}" input_param {{ shape {{ {1} }} }} }}\n'


def make_step(job: Job, folder: Path) -> Callable[[], object]:
    """A function that runs one piece once, on the job's side."""
    makers = {("ours", "trunk_forward"): _our_trunk, ("ours", "trunk_forward_backward"): _our_trunk,
              ("ours", "roi_pooling"): _our_pooling, ("plain", "roi_pooling"): _plain_pooling,
              ("ours", "ohem"): _our_mining, ("plain", "ohem"): _plain_mining,
              ("ours", "proposal_layer"): _our_proposals, ("plain", "proposal_layer"): _plain_proposals,
              ("ours", "snapshot"): _our_snapshot, ("plain", "snapshot"): _plain_snapshot}
    if (job.side, job.row) in makers:
        return makers[job.side, job.row](job, folder)
    return plain.make_step(job)


def _net(text: str, phase: int, **values: np.ndarray) -> Any:
    """A net with an Input layer for each of the values, which it is filled with."""
    param = caffe_pb2.NetParameter()
    inputs = "".join(_INPUT.format(name, " ".join(f"dim: {dim}" for dim in array.shape))
                     for name, array in values.items())
    prototxt.parse(inputs + text, param, "benchmark")
    net = caffe.Net(param, phase)
    for name, array in values.items():
        net.blobs[name].data[...] = array
    return net


def _our_trunk(job: Job, folder: Path) -> Callable[[], object]:
    whole = prototxt.read_net(MODELS / "stage1_rpn_train.pt")
    layers = list(whole.layer)
    trunk = layers[1:1 + next(index for index, layer in enumerate(layers) if layer.name == "relu5_3")]
    param = caffe_pb2.NetParameter(layer=trunk)
    text = prototxt.to_text(param)
    image = np.stack([scene.image.transpose(2, 0, 1) for scene in scenes(job)[:1]]).astype(np.float32)
    if job.row == "trunk_forward":
        net = _net(text, caffe.TEST, data=image)
        net.free_intermediates()
        return net.forward_with_loss
    net = _net(text + 'layer { name: "sum" type: "Reduction" bottom: "conv5_3" top: "sum" loss_weight: 1 }',
               caffe.TRAIN, data=image)
    net.free_intermediates()

    def step() -> None:
        net.clear_param_diffs()
        net.forward_with_loss()
        net.run_backward()
    return step


def _features(job: Job) -> np.ndarray:
    shape = 1, 512, -(-job.height // 16), -(-job.width // 16)
    return np.random.default_rng(0).normal(size=shape).astype(np.float32).clip(0)


def _our_pooling(job: Job, folder: Path) -> Callable[[], object]:
    boxes = scenes(job)[0].proposals
    net = _net('layer { name: "pool" type: "ROIPooling" bottom: "conv5_3" bottom: "rois" top: "pool" '
               'roi_pooling_param { pooled_h: 7 pooled_w: 7 spatial_scale: 0.0625 } }', caffe.TEST,
               conv5_3=_features(job), rois=np.insert(boxes, 0, 0, axis=1))
    return net.forward_with_loss


def _plain_pooling(job: Job, folder: Path) -> Callable[[], object]:
    features, boxes = torch.from_numpy(_features(job)), scenes(job)[0].proposals
    return lambda: plain.pool_rois(features, [boxes])


def _mining(job: Job) -> dict[str, np.ndarray]:
    rng, rois = np.random.default_rng(0), job.rois
    labels = np.where(rng.random(rois) < 0.25, rng.integers(1, NUM_CLASSES, rois), 0)
    logits = rng.normal(size=(rois, NUM_CLASSES)).astype(np.float32)
    by_class = np.zeros((rois, NUM_CLASSES, 4), np.float32)
    by_class[np.flatnonzero(labels), labels[labels > 0]] = 1
    inside = by_class.reshape(rois, -1)
    return {"cls_prob": np.exp(logits) / np.exp(logits).sum(1, keepdims=True),
            "bbox_pred": rng.normal(size=inside.shape).astype(np.float32),
            "rois": np.insert(scenes(job)[0].proposals, 0, 0, axis=1), "labels": labels.astype(np.float32),
            "bbox_targets": inside * rng.normal(size=inside.shape).astype(np.float32),
            "bbox_inside_weights": inside, "bbox_outside_weights": inside}


def _our_mining(job: Job, folder: Path) -> Callable[[], object]:
    from vgg16_parts.ours import apply_settings
    apply_settings(replace(job, row="stage1_fast_rcnn"), folder)
    values = _mining(job)
    bottoms = " ".join(f'bottom: "{name}"' for name in values)
    tops = " ".join(f'top: "{name}_hard"' for name in list(values)[2:])
    net = _net(f'layer {{ name: "hard" type: "Python" {bottoms} {tops} python_param {{ module: "roi_data_layer.layer" '
               f'layer: "OHEMDataLayer" param_str: "\'num_classes\': {NUM_CLASSES}" }} }}', caffe.TRAIN, **values)
    return net.forward_with_loss


def _plain_mining(job: Job, folder: Path) -> Callable[[], object]:
    """The box loss is summed over all columns, as is usual for Caffe's blobs."""
    values = {name: torch.from_numpy(np.asarray(array)) for name, array in _mining(job).items()}
    labels, weights = values["labels"].long(), values["bbox_inside_weights"]

    def step() -> list[torch.Tensor]:
        losses = functional.nll_loss(values["cls_prob"].log(), labels, reduction="none")
        error = functional.smooth_l1_loss(weights * values["bbox_pred"], weights * values["bbox_targets"],
                                          reduction="none")
        losses = losses + (values["bbox_outside_weights"] * error).sum(1)
        hard = losses.sort(descending=True).indices[:HARD_ROIS]
        return [array[hard] for array in values.values()]
    return step


def _rpn_outputs(job: Job) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng, shape = np.random.default_rng(0), (-(-job.height // 16), -(-job.width // 16))
    return (rng.random((1, 18, *shape)).astype(np.float32), rng.normal(0, 0.3, (1, 36, *shape)).astype(np.float32),
            np.array([[job.height, job.width, 1]], np.float32))


def _our_proposals(job: Job, folder: Path) -> Callable[[], object]:
    from vgg16_parts.ours import apply_settings
    apply_settings(replace(job, row="proposals"), folder)
    scores, deltas, info = _rpn_outputs(job)
    net = _net('layer { name: "p" type: "Python" bottom: "scores" bottom: "deltas" bottom: "im_info" top: "rois" '
               'python_param { module: "rpn.proposal_layer" layer: "ProposalLayer" '
               'param_str: "\'feat_stride\': 16" } }',
               caffe.TEST, scores=scores, deltas=deltas, im_info=info)
    return net.forward_with_loss


def _plain_proposals(job: Job, folder: Path) -> Callable[[], object]:
    scores, deltas, _ = _rpn_outputs(job)
    height, width = scores.shape[2:]

    def step() -> np.ndarray:
        return plain.best_boxes(scores[0, 9:].transpose(1, 2, 0).ravel(),
                                deltas[0].transpose(1, 2, 0).reshape(-1, 4), plain.anchors_of(height, width),
                                (job.height, job.width), 1 << 20, job.rois)
    return step


def _our_snapshot(job: Job, folder: Path) -> Callable[[], object]:
    from fast_rcnn.train import SolverWrapper
    from vgg16_parts import ours
    ours.apply_settings(replace(job, row="stage1_fast_rcnn"), folder)
    entry = ours.roidb_entry(scenes(job)[0], folder / "0.png", replace(job, row="stage1_fast_rcnn"))
    return SolverWrapper(MODELS / "stage1_fast_rcnn_solver30k40k.pt", [entry], folder).snapshot


def _plain_snapshot(job: Job, folder: Path) -> Callable[[], object]:
    model = plain.Detector()
    return lambda: torch.save(model.state_dict(), folder / "model.pth")
