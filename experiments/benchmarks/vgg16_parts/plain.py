"""The other side on a CPU: the same steps in plain PyTorch, eager and in float32, as users write them.

VGG16 is an nn.Sequential of NCHW tensors, gradients come from autograd, RoIs are pooled one by one with
adaptive_max_pool2d, and NMS runs in NumPy. In its favour, images are read and prepared beforehand. Anchor targets are
computed by the same functions as on our side.
"""
from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

import caffe
from fast_rcnn.bbox_transform import bbox_transform_inv, clip_boxes
from nms.py_cpu_nms import py_cpu_nms
from rpn.anchor_targets import AnchorSettings, anchor_targets
from rpn.generate_anchors import generate_anchors, shift_anchors
from vgg16_parts.job import HARD_ROIS, NUM_CLASSES, Job, Missing, Scene, scenes, seconds_a_step

STRIDE, BINS = 16, 7
_GROUPS = (2, 2, 3, 3, 3)       # convolutions between poolings
_WIDTHS = (64, 128, 256, 512, 512)      # channels of each group
_FROZEN = 10        # number of modules from conv1_1 to pool2
_MEAN = np.array([102.9801, 115.9465, 122.7717], np.float32)


def vgg16_trunk(widths: Sequence[int] = _WIDTHS) -> nn.Sequential:
    """conv1_1 to relu5_3, with `widths` channels in the five groups."""
    modules: list[nn.Module] = []
    channels = 3
    for count, output in zip(_GROUPS, widths, strict=True):
        if modules:
            modules.append(nn.MaxPool2d(2, 2))
        for _ in range(count):
            modules += [nn.Conv2d(channels, output, 3, padding=1), nn.ReLU(inplace=True)]
            channels = output
    return nn.Sequential(*modules)


class Detector(nn.Module):
    """Trunk, region proposal network and RoI head."""

    def __init__(self, widths: Sequence[int] = _WIDTHS, hidden: int = 4096) -> None:
        super().__init__()
        last = widths[-1]
        self.trunk = vgg16_trunk(widths)
        self.rpn = nn.Sequential(nn.Conv2d(last, last, 3, padding=1), nn.ReLU(inplace=True))
        self.rpn_score, self.rpn_boxes = nn.Conv2d(last, 18, 1), nn.Conv2d(last, 36, 1)
        self.head = nn.Sequential(nn.Linear(last * BINS * BINS, hidden), nn.ReLU(inplace=True), nn.Dropout(),
                                  nn.Linear(hidden, hidden), nn.ReLU(inplace=True), nn.Dropout())
        self.score, self.boxes = nn.Linear(hidden, NUM_CLASSES), nn.Linear(hidden, 4 * NUM_CLASSES)

    def roi_outputs(self, features: torch.Tensor, rois: list[np.ndarray]) -> tuple[torch.Tensor, torch.Tensor]:
        """Class scores and box regression of the RoIs, given as (R, 4) for each image."""
        hidden = self.head(pool_rois(features, rois).flatten(1))
        return self.score(hidden), self.boxes(hidden)


def pool_rois(features: torch.Tensor, rois: list[np.ndarray]) -> torch.Tensor:
    """RoI max pooling to (R, C, 7, 7), one RoI at a time."""
    pooled = []
    for image, boxes in zip(features, rois, strict=True):
        for x1, y1, x2, y2 in np.round(boxes / STRIDE).astype(int).tolist():
            crop = image[:, y1:max(y2, y1) + 1, x1:max(x2, x1) + 1]
            pooled.append(functional.adaptive_max_pool2d(crop, BINS))
    return torch.stack(pooled)


class Batch:
    """Prepared images (N, 3, H, W) with their scenes, and random labels and targets of their proposals."""

    def __init__(self, found: list[Scene]) -> None:
        self.scenes = found
        self.images = torch.from_numpy(np.stack([(scene.image - _MEAN).transpose(2, 0, 1) for scene in found]))
        self.proposals = [scene.proposals for scene in found]
        rng = np.random.default_rng(1)
        total = sum(map(len, self.proposals))
        self.labels = torch.from_numpy(np.where(rng.random(total) < 0.25, rng.integers(1, NUM_CLASSES, total), 0))
        self.targets = torch.from_numpy(rng.normal(size=(total, 4)).astype(np.float32))


def make_step(job: Job, make_model: Callable[[], Detector] = Detector) -> Callable[[], object]:
    """A function that runs one step of the job's row. Raises Missing for another net or precision."""
    if job.precision != "float32" or job.net != "VGG16":
        raise Missing("plain PyTorch is measured with VGG16 in float32")
    found = scenes(job)
    batches = itertools.cycle([Batch(found[first:first + job.images]) for first in range(0, len(found), job.images)])
    torch.manual_seed(0)
    model = make_model()
    if job.row in _TESTS:
        model.eval()
        work = _TESTS[job.row]
        return torch.no_grad()(lambda: work(model, next(batches), job))
    for module in list(model.trunk)[:_FROZEN] if "stage2" not in job.row else model.trunk:
        module.requires_grad_(False)
    losses = {"trunk_forward_backward": lambda m, b: m.trunk(b.images).sum()}.get(
        job.row, _rpn_loss if "rpn" in job.row else _fast_rcnn_loss)
    part = [model.rpn, model.rpn_score, model.rpn_boxes] if "rpn" in job.row else [model.head, model.score, model.boxes]
    parts = [model.trunk] if job.row not in ("stage1_rpn", "stage1_fast_rcnn", "stage2_rpn", "stage2_fast_rcnn") else [
        model.trunk, *part]
    weights = [weight for module in parts for weight in module.parameters() if weight.requires_grad]
    optimizer = torch.optim.SGD(weights, lr=1e-9, momentum=0.9, weight_decay=5e-4)

    def train() -> None:
        optimizer.zero_grad()
        losses(model, next(batches)).backward()
        if job.row != "trunk_forward_backward":
            optimizer.step()
    return train


def measure(job: Job) -> dict[str, float]:
    """Seconds per step and peak memory in MB."""
    return {"seconds": seconds_a_step(make_step(job), job), "peak_mb": caffe.peak_memory_mb()}


# ---- losses
def anchors_of(height: int, width: int) -> np.ndarray:
    return shift_anchors(generate_anchors(), height, width, STRIDE)


def _rpn_loss(model: Detector, batch: Batch) -> torch.Tensor:
    hidden = model.rpn(model.trunk(batch.images))
    scores, boxes = model.rpn_score(hidden), model.rpn_boxes(hidden)
    height, width = scores.shape[2:]
    anchors, total = anchors_of(height, width), torch.zeros(())
    for index, scene in enumerate(batch.scenes):
        size = (*scene.image.shape[:2], 1.0)
        labels, targets, inside, outside = (torch.from_numpy(array) for array in anchor_targets(
            scene.boxes, size, anchors, AnchorSettings(), np.random.default_rng(0)))
        logits = scores[index].reshape(2, 9, height, width).permute(2, 3, 1, 0).reshape(-1, 2)
        found = boxes[index].reshape(9, 4, height, width).permute(2, 3, 0, 1).reshape(-1, 4)
        error = functional.smooth_l1_loss(inside * found, inside * targets, reduction="none", beta=1 / 9)
        total = total + functional.cross_entropy(logits, labels.long(), ignore_index=-1) + (outside * error).sum()
    return total


def _roi_losses(model: Detector, features: torch.Tensor, rois: list[np.ndarray], labels: torch.Tensor,
                targets: torch.Tensor) -> torch.Tensor:
    """Loss of each RoI (R,)."""
    scores, boxes = model.roi_outputs(features, rois)
    own = boxes.reshape(len(boxes), NUM_CLASSES, 4)[torch.arange(len(boxes)), labels]
    error = functional.smooth_l1_loss(own, targets, reduction="none").sum(1)
    return functional.cross_entropy(scores, labels, reduction="none") + error * (labels > 0)


def _fast_rcnn_loss(model: Detector, batch: Batch) -> torch.Tensor:
    """Score all RoIs without gradients; returns the mean loss of the hardest."""
    features = model.trunk(batch.images)
    with torch.no_grad():
        losses = _roi_losses(model, features, batch.proposals, batch.labels, batch.targets)
    hard = losses.topk(min(HARD_ROIS, len(losses))).indices.sort().values
    starts = np.cumsum([0, *map(len, batch.proposals)])
    picked = [boxes[hard[(hard >= first) & (hard < last)].numpy() - first] for boxes, first, last in
              zip(batch.proposals, starts[:-1], starts[1:], strict=True)]
    return _roi_losses(model, features, picked, batch.labels[hard], batch.targets[hard]).mean()


# ---- without gradients
def _trunk(model: Detector, batch: Batch, job: Job) -> Any:
    return model.trunk(batch.images)


def _propose(model: Detector, batch: Batch, before: int, after: int) -> tuple[np.ndarray, torch.Tensor]:
    """The proposals of one image, and its features; `before` and `after` are the numbers around NMS."""
    features = model.trunk(batch.images)
    hidden = model.rpn(features)
    scores, boxes = model.rpn_score(hidden)[0], model.rpn_boxes(hidden)[0]
    height, width = scores.shape[1:]
    probability = scores.reshape(2, -1).softmax(0)[1].reshape(9, height, width).permute(1, 2, 0).reshape(-1).numpy()
    deltas = boxes.permute(1, 2, 0).reshape(-1, 4).numpy()
    size = batch.scenes[0].image.shape
    return best_boxes(probability, deltas, anchors_of(height, width), size, before, after), features


def best_boxes(scores: np.ndarray, deltas: np.ndarray, anchors: np.ndarray, size: tuple[int, ...], before: int,
               after: int) -> np.ndarray:
    """Decode, clip and sort boxes, and apply NMS to the `before` best; returns at most `after`."""
    found = clip_boxes(bbox_transform_inv(anchors, deltas), size)
    large = np.flatnonzero((found[:, 2:] - found[:, :2] + 1 >= 16).all(1))
    order = large[np.argsort(-scores[large])][:before]
    kept = py_cpu_nms(np.column_stack([found[order], scores[order]]).astype(np.float32), 0.7)
    return found[order][kept[:after]]


def _proposals(model: Detector, batch: Batch, job: Job) -> Any:
    return _propose(model, batch, 1 << 20, job.rois)


def _detect(model: Detector, batch: Batch, job: Job) -> Any:
    rois, features = _propose(model, batch, 6000, 300)
    scores, deltas = model.roi_outputs(features, [rois])
    boxes = clip_boxes(bbox_transform_inv(rois, deltas.numpy()), batch.scenes[0].image.shape)
    probability = scores.softmax(1).numpy()
    return [py_cpu_nms(np.column_stack([boxes[:, 4 * label:4 * label + 4], probability[:, label]]).astype(np.float32),
                       0.3) for label in range(1, NUM_CLASSES)]


_TESTS = {"trunk_forward": _trunk, "proposals": _proposals, "detection": _detect}
