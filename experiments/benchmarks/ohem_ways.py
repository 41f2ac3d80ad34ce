#!/usr/bin/env python3
"""Compares two ways to mine hard examples on the same RoIs: a readonly head that scores them, and R-FCN's single pass.

    python experiments/benchmarks/ohem_ways.py --report

Ours: a readonly head scores all RoIs, OHEMDataLayer selects the hardest of the batch, and the head trains on these
only. One pass: the head runs forward and backward on all RoIs; BoxAnnotatorOHEM masks the easy ones with ignored labels
and zero box weights. Both use the RoI head of a shipped net with the same weights, on random feature maps. Prints the
share of RoIs that both select, the differences of losses and gradients, and the ratio of the times; --report writes
ohem_ways.md next to this program.
"""
from __future__ import annotations

import argparse
import os
import shlex
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from measuring import add_report_option, positive, processor, publish, seconds

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
sys.path.insert(0, str(ROOT / "tools"))
import _init_paths  # noqa: E402, F401
import caffe  # noqa: E402
from alt_opt.settings import stage_settings  # noqa: E402
from caffe.proto import caffe_pb2, prototxt  # noqa: E402
from fast_rcnn.config import set_cfg  # noqa: E402
from net_definitions import NETS, model_files  # noqa: E402
from utils.names import BOX_BLOBS, HARD, READONLY, ROI_BLOBS  # noqa: E402

CLASSES, STRIDE = 7, 16
KEPT = 128              # hard RoIs per batch
FOREGROUND = 0.2        # share of foreground RoIs

MINING = """
layer { name: "loss_cls_of_rois" type: "SoftmaxWithLossOHEM" bottom: "cls_score" bottom: "labels" top: "a" top: "b"
        top: "loss_cls_of_rois" loss_weight: 0 loss_weight: 0 loss_weight: 0 propagate_down: false
        propagate_down: false }
layer { name: "loss_bbox_of_rois" type: "SmoothL1LossOHEM" bottom: "bbox_pred" bottom: "bbox_targets"
        bottom: "bbox_inside_weights" top: "c" top: "loss_bbox_of_rois" loss_weight: 0 loss_weight: 0
        propagate_down: false propagate_down: false propagate_down: false }
layer { name: "loss_of_rois" type: "Eltwise" bottom: "loss_cls_of_rois" bottom: "loss_bbox_of_rois"
        top: "loss_of_rois" propagate_down: false propagate_down: false }
layer { name: "hard_roi_mining" type: "BoxAnnotatorOHEM" bottom: "rois" bottom: "loss_of_rois" bottom: "labels"
        bottom: "bbox_inside_weights" top: "labels_hard" top: "weights_hard"
        box_annotator_ohem_param { roi_per_img: %(per_image)d ignore_label: -1 }
        propagate_down: false propagate_down: false propagate_down: false propagate_down: false }
layer { name: "loss_cls" type: "SoftmaxWithLoss" bottom: "cls_score" bottom: "labels_hard" top: "loss_cls"
        loss_weight: 1 loss_param { ignore_label: -1 } propagate_down: true propagate_down: false }
layer { name: "loss_bbox" type: "SmoothL1LossOHEM" bottom: "bbox_pred" bottom: "bbox_targets" bottom: "weights_hard"
        top: "loss_bbox" loss_weight: 1 loss_param { normalization: PRE_FIXED pre_fixed_normalizer: %(kept)d }
        propagate_down: true propagate_down: false propagate_down: false }
"""


@dataclass(frozen=True)
class Case:
    """A net, the number of images per batch and of RoIs per image, and the size (height, width) of the feature maps."""

    net: str
    images: int
    rois: int
    size: tuple[int, int]


@dataclass(frozen=True)
class Found:
    """Share of RoIs selected by both ways, relative differences of loss and gradients, and seconds of each way."""

    same: float
    loss: float
    gradient: float
    readonly: float
    one_pass: float


# ---- the nets
def make_nets(case: Case) -> tuple[Any, Any]:
    """NetParameters of the RoI head with a readonly head, and of the head for one pass; all inputs are Input layers."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "train.pt"
        path.write_text(model_files(case.net, CLASSES)[f"{case.net}/faster_rcnn_alt_opt/stage1_fast_rcnn_train.pt"])
        whole = prototxt.read_net(path)
    names = [layer.name for layer in whole.layer]
    first, last = (next(index for index, found in enumerate(names) if found.startswith(begin))
                   for begin in ("roi_pool5", "loss_bbox"))
    readonly = _with_inputs(case, whole.layer[first:last + 1])
    head = [layer for layer in whole.layer[first:last + 1] if not layer.name.endswith(READONLY)
            and layer.name != "hard_roi_mining" and not layer.name.startswith("loss")]
    mining = prototxt.parse(MINING % {"per_image": KEPT // case.images, "kept": KEPT}, caffe_pb2.NetParameter())
    one_pass = _with_inputs(case, [*head, *mining.layer])
    for layer in one_pass.layer:
        layer.bottom[:] = ["rois" if bottom == f"rois{HARD}" else bottom for bottom in layer.bottom]
    return readonly, one_pass


def _with_inputs(case: Case, layers: Any) -> Any:
    net = caffe_pb2.NetParameter()
    for name, array in zip(("trunk", *ROI_BLOBS, *BOX_BLOBS), inputs(case), strict=True):
        net.layer.add(name=name, type="Input", top=[name]).input_param.shape.add(dim=array.shape)
    features = next(layer for layer in layers if layer.type == "ROIPooling").bottom[0]
    net.layer.add(name=features, type="Scale", bottom=["trunk"], top=[features])    # learnable: gradients reach it
    net.layer.extend(layers)
    return net


def inputs(case: Case) -> list[np.ndarray]:
    """Random feature maps and RoIs with labels, box targets and weights, float32, in the order of the net's inputs."""
    rng, count = np.random.default_rng(5), case.images * case.rois
    height, width = case.size
    features = rng.gamma(1.0, 2.0, (case.images, 512, height, width)).astype(np.float32)
    corners = rng.random((count, 2, 2)) * (STRIDE * width, STRIDE * height)
    rois = np.column_stack([np.repeat(np.arange(case.images), case.rois), corners.min(1), corners.max(1)])
    labels = rng.integers(1, CLASSES, count) * (rng.random(count) < FOREGROUND)
    weights = np.zeros((count, CLASSES, 4))
    weights[np.flatnonzero(labels), labels[labels > 0]] = 1
    targets = weights * rng.normal(size=weights.shape)
    return [features, rois.astype(np.float32), labels.astype(np.float32),
            *(array.reshape(count, -1).astype(np.float32) for array in (targets, weights, weights))]


def load(param: Any, case: Case) -> Any:
    """The net, with its inputs filled."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "net.pt"
        path.write_text(prototxt.to_text(param), encoding="utf-8")
        caffe.set_random_seed(3)
        net = caffe.Net(str(path), caffe.TRAIN)
    for layer, array in zip(param.layer, inputs(case), strict=False):
        net.blobs[layer.top[0]].data[...] = array
    return net


# ---- what is compared
def compare(case: Case, repeats: int) -> Found:
    """Run both ways without dropout and compare them."""
    nets = [load(_without_dropout(param), case) for param in make_nets(case)]
    for ours, other in zip(*(learned(net) for net in nets), strict=True):
        other.data[...] = ours.data
    for net in nets:
        net.forward()
        net.backward()
    picked = [picked_rois(net) for net in nets]
    gradients = [[blob.diff.copy() for blob in learned(net)] for net in nets]
    losses = [sum(float(net.blobs[name].data) for name in ("loss_cls", "loss_bbox")) for net in nets]

    def iteration(net: Any) -> None:
        net.clear_param_diffs()
        net.forward()
        net.backward()

    times = seconds(repeats, *(lambda net=net: iteration(net) for net in nets))
    return Found(len(picked[0] & picked[1]) / KEPT, abs(losses[0] / losses[1] - 1),
                 max(np.abs(a - b).max() / np.abs(a).max() for a, b in zip(*gradients, strict=True)), *times)


def _without_dropout(param: Any) -> Any:
    for layer in param.layer:
        if layer.type == "Dropout":
            layer.dropout_param.dropout_ratio = 0
    return param


def learned(net: Any) -> list[Any]:
    """The parameter blobs of the trained head."""
    return [blob for name in net.params if not name.endswith(READONLY) for blob in net.params[name]]


def picked_rois(net: Any) -> set[int]:
    """Indices of the selected RoIs."""
    if f"rois{HARD}" in net.blobs:
        rows = {roi.tobytes(): index for index, roi in enumerate(net.blobs["rois"].data)}
        return {rows[roi.tobytes()] for roi in net.blobs[f"rois{HARD}"].data}
    return set(np.flatnonzero(net.blobs["labels_hard"].data >= 0).tolist())


def report(cases: list[Case], found: list[Found], command: str) -> str:
    """The report as Markdown."""
    lines = [
        "# Two ways to mine hard examples", "",
        f"{processor()}, {torch.get_num_threads()} threads, load {os.getloadavg()[0]:.1f}. The RoI head of a shipped "
        f"net on random feature maps, {KEPT} hard RoIs per batch, without dropout. Ours: the readonly head scores all "
        "RoIs, and the head runs on the selected ones. One pass: the head runs forward and backward on all RoIs, and "
        f"BoxAnnotatorOHEM masks the easy ones; it selects {KEPT} / images RoIs of each image, ours {KEPT} of all "
        "images together. The difference of the loss is relative, that of gradients relative to the largest value of "
        "a blob. Times are of a forward and backward pass; the ratio is one pass over ours.", "",
        "| net | images | RoIs each | same RoIs | difference of loss | of gradients | ours, ms | one pass, ms | "
        "ratio |", "|---|---|---|---|---|---|---|---|---|"]
    for case, row in zip(cases, found, strict=True):
        lines.append(f"| {case.net} | {case.images} | {case.rois} | {100 * row.same:.0f} % | {row.loss:.1g} | "
                     f"{row.gradient:.1g} | {1000 * row.readonly:.1f} | {1000 * row.one_pass:.1f} | "
                     f"{row.one_pass / row.readonly:.2f} |")
    return "\n".join([*lines, "", "Command:", "", "```sh", command, "```", ""])


def main(argv: list[str] | None = None) -> int:
    """Run the benchmark; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--nets", nargs="+", choices=NETS, default=["SqueezeNet", "VGG16"], metavar="NET",
        help=f"some of {', '.join(NETS)} (default: SqueezeNet VGG16)")
    add("--rois", type=positive, default=300, metavar="N", help="RoIs per image (default: 300)")
    add("--size", type=positive, nargs=2, default=[24, 32], metavar=("HEIGHT", "WIDTH"),
        help="of the feature maps (default: 24 32)")
    add("--repeats", type=positive, default=10, metavar="N",
        help="iterations timed, of which the fastest counts (default: 10)")
    add_report_option(parser, HERE / "ohem_ways.md")
    options = parser.parse_args(argv)
    command = ["python", "experiments/benchmarks/ohem_ways.py", *(sys.argv[1:] if argv is None else argv)]
    caffe.set_mode_cpu()
    set_cfg(stage_settings("fast_rcnn", 1, True, {"TRAIN.BATCH_SIZE": KEPT}))
    cases = [Case(net, images, options.rois, tuple(options.size)) for net in options.nets for images in (1, 2)]
    publish(report(cases, [compare(case, options.repeats) for case in cases],
                   shlex.join(command)), options.report)
    return 0


if __name__ == "__main__":
    sys.exit(main())
