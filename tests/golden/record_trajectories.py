"""Trains each stage of the Tiny nets for 20 iterations on six small scenes and records losses and weights.

    python tests/golden/record_trajectories.py [STAGE ...]

rewrites tests/golden/trajectories/<stage>.json; test_trajectories.py trains again and compares. Record again only
for a change that is meant to change the numbers of training, and say so in its commit. Nothing here depends on the
previous stage, on PyTorch's random numbers or on a lossy image codec: weights and proposals come from NumPy's legacy
generator, whose numbers are frozen, images are PNG files at their training size, and the Tiny nets have no dropout.
The images and examples of a batch follow from RNG_SEED.
"""
from __future__ import annotations

import json
import sys
import tempfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
FOLDER = Path(__file__).resolve().parent / "trajectories"
if __name__ == "__main__":
    sys.path[:0] = [str(ROOT / "caffe-fast-rcnn" / "python"), str(ROOT / "lib")]

import caffe
from caffe.proto import prototxt
from datasets.roidb import Entry, merge_entries, objects_entry, proposals_entry
from fast_rcnn.config import cfg, cfg_from_list, reset_cfg
from roi_data_layer.ohem import roi_losses
from roi_data_layer.roidb import add_bbox_regression_targets

STAGES = {"stage1_rpn": "60k80k", "stage1_fast_rcnn": "30k40k", "stage2_rpn": "60k80k", "stage2_fast_rcnn": "30k40k"}
ITERATIONS = 20
# A ReLU net jumps where rounding changes a sign, a pooling maximum or the order of two losses. With this seed, these
# small outputs and this learning rate, changing every weight by a millionth causes no such jump.
SEED, OUTPUT_STD = 3, 0.01
# The rate drops within the record, and the decay is large enough to show within twenty iterations
SOLVER = {"base_lr": 0.0003, "stepsize": 12, "weight_decay": 0.05, "display": 0}
NUM_CLASSES = 21                        # of the shipped nets; the scenes have objects of four of them
CLASSES = {"ball": 1, "brick": 5, "ring": 14, "star": 20}
OUTPUT_LAYERS = ("rpn_cls_score", "rpn_bbox_pred", "cls_score", "bbox_pred")
SETTINGS = {
    "RNG_SEED": 3, "PIXEL_STDS": [60.0, 60.0, 60.0], "USE_GPU_NMS": False,
    "TRAIN.SCALES": [96], "TRAIN.MAX_SIZE": 200, "TRAIN.IMS_PER_BATCH": 2, "TRAIN.ASPECT_GROUPING": False,
    "TRAIN.BATCH_SIZE": 24, "TRAIN.FG_THRESH": 0.5, "TRAIN.BG_THRESH_HI": 0.5, "TRAIN.BG_THRESH_LO": 0.0,
    "TRAIN.BBOX_NORMALIZE_TARGETS": True, "TRAIN.BBOX_NORMALIZE_TARGETS_PRECOMPUTED": False,
    "TRAIN.RPN_BATCHSIZE": 64, "TRAIN.RPN_FG_FRACTION": 0.5, "TRAIN.RPN_POSITIVE_OVERLAP": 0.6,
    "TRAIN.OHEM_USE_NMS": True, "TRAIN.OHEM_NMS_THRESH": 0.7,
}


def load_roidb() -> list[Entry]:
    """The six scenes: their objects, and sixty proposals each, around the objects and at random."""
    random, roidb = np.random.RandomState(11), []
    for scene in json.loads((FOLDER / "scenes.json").read_text()):
        width, height = scene["width"], scene["height"]
        objects = objects_entry([thing["box"] for thing in scene["objects"]],
                                [CLASSES[thing["name"]] for thing in scene["objects"]])
        moved = objects["boxes"][np.arange(40) % len(objects["boxes"])] + random.uniform(-14, 14, (40, 4))
        corners = random.uniform(0, [width - 25, height - 25], (20, 2))
        anywhere = np.hstack([corners, corners + random.uniform(10, 60, (20, 2))])
        boxes = np.clip(np.vstack([moved, anywhere]), 0, [width - 1, height - 1, width - 1, height - 1])
        entry = merge_entries(objects, proposals_entry(boxes, objects))
        roidb.append({**entry, "image": str(FOLDER / scene["file"]), "width": width, "height": height})
    return roidb


def set_weights(net: Any) -> None:
    """Uniform weights with variance 2 / inputs, smaller for outputs; the same for a layer in every net."""
    for name, blobs in net.params.items():
        name, (weights, bias) = name.removesuffix("_readonly"), (blob.data for blob in blobs)
        random = np.random.RandomState([SEED, zlib.crc32(name.encode())])
        std = OUTPUT_STD if name in OUTPUT_LAYERS else np.sqrt(2 / weights[0].size)
        weights[...] = random.uniform(-std * np.sqrt(3), std * np.sqrt(3), weights.shape)
        bias[...] = random.uniform(-0.05, 0.05, bias.shape)


def make_solver(stage: str) -> Any:
    """The shipped solver of a stage with its net, except for the numbers in SOLVER."""
    shipped = ROOT / "models" / "Tiny" / "faster_rcnn_alt_opt" / f"{stage}_solver{STAGES[stage]}.pt"
    param = prototxt.read_solver(shipped)
    param.train_net = str(shipped.parent / f"{stage}_train.pt")
    for name, value in SOLVER.items():
        setattr(param, name, value)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "solver.pt")
        file.write_text(prototxt.to_text(param))
        return caffe.get_solver(str(file))


def set_up(stage: str, on_gpu: bool = False) -> Any:
    """The solver of a stage with settings, weights and data."""
    reset_cfg()
    rpn = stage.endswith("rpn")
    settings = {**SETTINGS, "TRAIN.HAS_RPN": rpn, "TRAIN.BBOX_REG": not rpn, "TRAIN.USE_OHEM": not rpn}
    cfg_from_list([item for pair in settings.items() for item in pair])
    (caffe.set_mode_gpu if on_gpu else caffe.set_mode_cpu)()
    caffe.set_random_seed(3)
    solver = make_solver(stage)
    set_weights(solver.net)
    roidb = load_roidb()
    if not rpn:
        add_bbox_regression_targets(roidb, NUM_CLASSES, cfg.TRAIN)
    solver.net.layers[0].set_roidb(roidb)
    return solver


def losses_of(net: Any) -> dict[str, float]:
    """The loss blobs; with hard example mining also the mean loss of all RoIs before selection."""
    losses = {name: float(net.blobs[name].data) for name in net.outputs if "loss" in name}
    if "rois_hard" in net.blobs:
        names = ("cls_prob_readonly", "labels", "bbox_pred_readonly", "bbox_targets", "bbox_inside_weights",
                 "bbox_outside_weights")
        losses["all_rois"] = float(roi_losses(*(net.blobs[name].data for name in names)).mean())
    return losses


def examples_of(net: Any) -> list[int]:
    """Counts of training examples: objects and background among the anchors, or RoIs, hard ones, hard objects."""
    if "rois_hard" in net.blobs:
        return [len(net.blobs["rois"].data), len(net.blobs["rois_hard"].data),
                int((net.blobs["labels_hard"].data > 0).sum())]
    labels = net.blobs["rpn_labels"].data
    return [int((labels == 1).sum()), int((labels == 0).sum())]


def norms_of(net: Any) -> dict[str, float]:
    """Euclidean norm of each parameter, in float64."""
    return {f"{name}/{index}": float(np.linalg.norm(blob.data.astype(np.float64)))
            for name, blobs in net.params.items() for index, blob in enumerate(blobs)}


def train(stage: str, on_gpu: bool = False) -> dict[str, Any]:
    """Examples and losses of each iteration, and the norms of the parameters before and after."""
    solver = set_up(stage, on_gpu)
    try:
        record: dict[str, Any] = {"examples": [], "losses": [], "norms_before": norms_of(solver.net)}
        for _ in range(ITERATIONS):
            solver.step(1)
            record["examples"].append(examples_of(solver.net))
            record["losses"].append(losses_of(solver.net))
        return {**record, "norms_after": norms_of(solver.net)}
    finally:
        caffe.set_mode_cpu()
        reset_cfg()


def make_scenes() -> None:
    """Draw the six scenes, with 16 grey levels to keep the files small. Done once; the files are the data."""
    import cv2

    from datasets.demo_scenes import make_scene
    scenes = []
    for number in range(6):
        height, width = (128, 96) if number % 3 == 2 else (96, 128)
        image, objects = make_scene(np.random.default_rng([7, number]), height, width)
        cv2.imwrite(str(FOLDER / f"scene{number}.png"), image & 0xF0, [cv2.IMWRITE_PNG_COMPRESSION, 9])
        scenes.append({"file": f"scene{number}.png", "width": width, "height": height,
                       "objects": [{"name": thing["name"], "box": thing["box"]} for thing in objects]})
    (FOLDER / "scenes.json").write_text(json.dumps(scenes, indent=1) + "\n")


def main(stages: list[str]) -> None:
    if not (FOLDER / "scenes.json").exists():
        make_scenes()
    for stage in stages or STAGES:
        (FOLDER / f"{stage}.json").write_text(json.dumps(train(stage), indent=1) + "\n")
        print(f"recorded {stage}")


if __name__ == "__main__":
    main(sys.argv[1:])
