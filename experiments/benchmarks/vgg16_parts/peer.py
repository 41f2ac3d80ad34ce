"""The other side on a GPU: torchvision's Faster R-CNN on a VGG16 trunk, trained and used as its documentation shows.

It gets the same images, sizes and RoIs; in its favour, images are decoded and RoI targets computed beforehand. It has
no OHEM, so the Fast R-CNN step here does what ours does: score all RoIs without gradients, then train on the hardest.
"""
from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn
from torch.nn.functional import cross_entropy, smooth_l1_loss

import caffe
from caffe.engine import device
from vgg16_parts.job import HARD_ROIS, NUM_CLASSES, Job, Missing, scenes, seconds_a_step

_FROZEN = 10        # modules of VGG16's `features` that stage 1 does not train: conv1_1 .. pool2
_ALL = 1 << 20      # no limit before NMS


def measure(job: Job) -> dict[str, float]:
    """Seconds per step and peak memory in MB. Raises Missing if torchvision or the precision is unavailable."""
    if job.net != "VGG16":
        raise Missing("measured for VGG16 only")
    step = make_step(job, *vgg16(), device.current_device(), set_precision(job.precision))
    return {"seconds": seconds_a_step(step, job), "peak_mb": caffe.peak_memory_mb()}


def set_precision(precision: str) -> Callable[[], contextlib.AbstractContextManager]:
    """Set PyTorch's precision; returns a function that makes the context to compute in (autocast for bfloat16)."""
    kind = device.current_device().type
    if precision == "tf32" and kind == "cpu":
        raise Missing("tf32 is for CUDA")
    torch.backends.cudnn.benchmark = True
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = precision == "tf32"
    # A new context for each step, because autocast caches converted weights within a context
    return (lambda: torch.autocast(kind, torch.bfloat16)) if precision == "bfloat16" else contextlib.nullcontext


def vgg16() -> tuple[nn.Sequential, nn.Sequential]:
    """The trunk, conv1_1 to relu5_3, and the layers from fc6 to drop7 of torchvision's VGG16, with random weights."""
    try:
        from torchvision.models import vgg16 as make
    except (ImportError, RuntimeError) as error:      # RuntimeError: built for another PyTorch
        raise Missing(f"torchvision cannot be imported: {error}") from None
    whole = make(weights=None)
    return whole.features[:-1], whole.classifier[:-1]


def faster_rcnn(trunk: nn.Sequential, head: nn.Sequential, job: Job) -> Any:
    """torchvision's FasterRCNN with our image size, numbers of boxes and NMS thresholds."""
    from torchvision.models.detection.faster_rcnn import FasterRCNN, FastRCNNPredictor
    from torchvision.models.detection.rpn import AnchorGenerator
    from torchvision.ops import MultiScaleRoIAlign
    channels = [module for module in trunk if isinstance(module, nn.Conv2d)][-1].out_channels
    trunk.out_channels = channels       # type: ignore[assignment]  # an int, where FasterRCNN expects it
    width = [module for module in head if isinstance(module, nn.Linear)][-1].out_features
    kept, before = (job.rois, _ALL) if job.row == "proposals" else (300, 6000)
    return FasterRCNN(
        trunk, min_size=min(job.height, job.width), max_size=max(job.height, job.width), size_divisible=1,
        rpn_anchor_generator=AnchorGenerator(((128, 256, 512),), ((0.5, 1.0, 2.0),)),
        rpn_pre_nms_top_n_train=1, rpn_post_nms_top_n_train=1,      # training the RPN alone needs no proposals
        rpn_pre_nms_top_n_test=before, rpn_post_nms_top_n_test=kept,
        box_roi_pool=MultiScaleRoIAlign(["0"], 7, 2), box_head=nn.Sequential(nn.Flatten(1), *head),
        box_predictor=FastRCNNPredictor(width, NUM_CLASSES), box_nms_thresh=0.3, box_detections_per_img=100)


def make_step(job: Job, trunk: nn.Sequential, head: nn.Sequential, where: torch.device,
              precision: Callable[[], contextlib.AbstractContextManager]) -> Callable[[], object]:
    """A function that runs one step of the job's row; `precision` makes the context of its forward pass."""
    model = faster_rcnn(trunk, head, job).to(where)
    batches = itertools.cycle(_batches(job, where))
    if job.row in ("proposals", "detection"):
        model.eval()
        use = _propose if job.row == "proposals" else _detect

        def test() -> None:
            with torch.no_grad(), precision():
                use(model, next(batches))
        return test
    model.train()
    for module in list(trunk)[:_FROZEN] if job.row.startswith("stage1") else trunk:
        module.requires_grad_(False)
    wanted = model.rpn if "rpn" in job.row else model.roi_heads
    weights = [weight for part in (trunk, wanted) for weight in part.parameters() if weight.requires_grad]
    optimizer = torch.optim.SGD(weights, lr=1e-9, momentum=0.9, weight_decay=5e-4)
    losses = _rpn_losses if "rpn" in job.row else _fast_rcnn_losses

    def train() -> None:
        with precision():
            loss = losses(model, next(batches))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return train


class _Batch:
    """Images (3, H, W) in 0..1 on the host; targets and proposals of each image on the device."""

    def __init__(self, images: Sequence[torch.Tensor], targets: list[dict[str, torch.Tensor]],
                 proposals: list[torch.Tensor], where: torch.device) -> None:
        self._images, self.targets, self.proposals, self._where = images, targets, proposals, where
        self.roi_targets: tuple[torch.Tensor, torch.Tensor] | None = None

    def upload(self) -> list[torch.Tensor]:
        """The images on the device."""
        return [image.to(self._where, non_blocking=True) for image in self._images]


def _batches(job: Job, where: torch.device) -> list[_Batch]:
    found = scenes(job)
    images = [torch.from_numpy(scene.image[:, :, ::-1].copy()).permute(2, 0, 1).float() / 255 for scene in found]
    if where.type == "cuda":
        images = [image.pin_memory() for image in images]
    targets = [{"boxes": torch.from_numpy(scene.boxes).to(where), "labels": torch.from_numpy(scene.classes).to(where)}
               for scene in found]
    proposals = [torch.from_numpy(scene.proposals).to(where) for scene in found]
    return [_Batch(images[first:last], targets[first:last], proposals[first:last], where)
            for first, last in ((first, first + job.images) for first in range(0, len(found), job.images))]


def _features(model: Any, batch: _Batch) -> tuple[Any, dict[str, torch.Tensor], list[dict[str, torch.Tensor]] | None]:
    images, targets = model.transform(batch.upload(), batch.targets if model.training else None)
    return images, {"0": model.backbone(images.tensors)}, targets


def _rpn_losses(model: Any, batch: _Batch) -> torch.Tensor:
    images, features, targets = _features(model, batch)
    return sum(model.rpn(images, features, targets)[1].values())


def _fast_rcnn_losses(model: Any, batch: _Batch) -> torch.Tensor:
    """Score all RoIs without gradients; returns the mean loss of the hardest."""
    images, features, targets = _features(model, batch)
    assert targets is not None      # the model is training
    heads = model.roi_heads
    labels, deltas = _roi_targets(heads, batch, targets)
    with torch.no_grad():
        losses = _roi_losses(heads, features, batch.proposals, images.image_sizes, labels, deltas)
        hard = torch.zeros(len(losses), dtype=torch.bool, device=losses.device)
        hard[losses.topk(min(HARD_ROIS, len(losses))).indices] = True
    chosen = hard.split([len(boxes) for boxes in batch.proposals])
    proposals = [boxes[mask] for boxes, mask in zip(batch.proposals, chosen, strict=True)]
    return _roi_losses(heads, features, proposals, images.image_sizes, labels[hard], deltas[hard]).mean()


def _roi_targets(heads: Any, batch: _Batch,
                 targets: list[dict[str, torch.Tensor]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Class (R,) and regression targets (R, 4) of all proposals, computed once per batch."""
    if batch.roi_targets is None:
        boxes = [target["boxes"] for target in targets]
        matches, labels = heads.assign_targets_to_proposals(batch.proposals, boxes,
                                                            [target["labels"] for target in targets])
        deltas = heads.box_coder.encode([own[match] for own, match in zip(boxes, matches, strict=True)],
                                        batch.proposals)
        batch.roi_targets = torch.cat(labels), torch.cat(deltas)
    return batch.roi_targets


def _roi_losses(heads: Any, features: dict[str, torch.Tensor], proposals: list[torch.Tensor], sizes: Any,
                labels: torch.Tensor, deltas: torch.Tensor) -> torch.Tensor:
    """Loss of each RoI (R,): class loss, plus box loss for foreground."""
    scores, boxes = heads.box_predictor(heads.box_head(heads.box_roi_pool(features, proposals, sizes)))
    own = boxes.unflatten(1, (-1, 4))[torch.arange(len(labels), device=labels.device), labels]
    box_loss = smooth_l1_loss(own.float(), deltas, reduction="none").sum(dim=1)
    return cross_entropy(scores.float(), labels, reduction="none") + box_loss * (labels > 0)


def _propose(model: Any, batch: _Batch) -> list[torch.Tensor]:
    images, features, _ = _features(model, batch)
    return [boxes.cpu() for boxes in model.rpn(images, features)[0]]


def _detect(model: Any, batch: _Batch) -> list[dict[str, torch.Tensor]]:
    return [{name: value.cpu() for name, value in found.items()} for found in model(batch.upload())]
