"""Roidb entries: overlaps of proposals, mirroring, merging, filtering and box regression targets."""
import re
from types import SimpleNamespace

import numpy as np
import pytest
from dense_overlaps import gt_overlaps
from golden.detector_cases import generate as pytest_generate_tests  # noqa: F401
from golden.detector_cases import golden
from layer_runner import set_config

from datasets.lazy_roidb import merged_roidb
from datasets.roidb import mirror, objects_entry, proposals_entry
from fast_rcnn.bbox_transform import normalize_weights, unnormalize_weights
from fast_rcnn.config import make_settings, reset_cfg
from fast_rcnn.train import SolverWrapper
from roi_data_layer.roidb import add_bbox_regression_targets, compute_targets, prepare_roidb, usable_entries
from roi_data_layer.sampling import RoISettings
from utils.errors import CheckError


def settings_of(case):
    """The case's TRAIN settings as a cfg section."""
    return make_settings({key: value for key, value in case.config.items() if key.startswith("TRAIN.")}).TRAIN


def build_roidb(case):
    """Objects, then proposals, then all images mirrored, as the recorded run did it."""
    objects = [objects_entry(boxes, classes) for boxes, classes in zip(
        case.split("gt_boxes", "gt_counts"), case.split("gt_classes", "gt_counts"), strict=True)]
    proposals = [proposals_entry(boxes, entry) for boxes, entry in zip(
        case.split("proposals", "proposal_counts"), objects, strict=True)]
    roidb = merged_roidb(objects, proposals)
    sizes = case.inputs["image_wh"].tolist()
    if case.params["append_flipped"]:
        roidb += [mirror(entry, width) for entry, (width, _) in zip(roidb, sizes, strict=True)]
        sizes = sizes * 2
    return roidb, proposals, sizes


def concatenated(roidb, key):
    return np.concatenate([entry[key] for entry in roidb])


@golden("roidb", "contract")
def test_recorded_roidb(case):
    roidb, proposals, sizes = build_roidb(case)
    num_classes, train = case.params["num_classes"], settings_of(case)
    case.check("proposal_gt_overlaps", np.concatenate([gt_overlaps(e, num_classes) for e in proposals]))
    for key in ("boxes", "gt_classes", "max_overlaps", "max_classes"):
        case.check(key, concatenated(roidb, key))
    case.check("gt_overlaps", np.concatenate([gt_overlaps(e, num_classes) for e in roidb]))
    case.check("counts", [len(entry["boxes"]) for entry in roidb])
    case.check("flipped", [entry["flipped"] for entry in roidb])
    case.check("width", [width for width, _ in sizes])
    case.check("height", [height for _, height in sizes])
    kept = usable_entries([{**entry, "index": i} for i, entry in enumerate(roidb)], RoISettings.from_cfg(train))
    case.check("filter_keep", [entry["index"] for entry in kept])
    raw = [compute_targets(e["boxes"], e["max_overlaps"], e["max_classes"], train.BBOX_THRESH) for e in roidb]
    case.check("raw_targets", np.concatenate(raw))
    means, stds = add_bbox_regression_targets(roidb, num_classes, train)
    case.check("means", means)
    case.check("stds", stds)
    case.check("bbox_targets", concatenated(roidb, "bbox_targets"))


@golden("roidb", "quirk", name="roidb_zero_std")
def test_a_class_without_spread_is_divided_by_one(case):
    """The original's targets are NaN if the deviation is 0; ours stay 0."""
    overlaps = case.inputs["gt_overlaps"]
    entry = {"boxes": case.inputs["boxes"], "max_overlaps": overlaps.max(axis=1),
             "max_classes": overlaps.argmax(axis=1)}
    means, stds = add_bbox_regression_targets([entry], overlaps.shape[1], settings_of(case))
    case.check("means", means)
    case.check("stds", stds)
    recorded = case.outputs["bbox_targets"]
    assert np.isnan(recorded).any()
    assert np.isfinite(entry["bbox_targets"]).all()
    good = ~np.isnan(recorded)
    np.testing.assert_allclose(entry["bbox_targets"][good], recorded[good], 1e-5, 1e-5)
    assert np.all(entry["bbox_targets"][~good] == 0)


@golden("snapshot", "contract")
def test_recorded_snapshot(case):
    wrapper = SolverWrapper.__new__(SolverWrapper)      # without a solver: only the name is needed
    prefix, iteration = re.fullmatch(r"(.+?)_iter_(\d+)\.caffemodel", str(case.outputs["filename"])).groups()
    infix = case.config["TRAIN.SNAPSHOT_INFIX"]
    wrapper.solver_param = SimpleNamespace(snapshot_prefix=prefix.removesuffix(f"_{infix}"))
    wrapper.solver = SimpleNamespace(iter=int(iteration))
    set_config({"TRAIN.SNAPSHOT_INFIX": infix})
    case.check("filename", wrapper.snapshot_name)
    reset_cfg()
    inputs = case.inputs
    weights, bias = unnormalize_weights(inputs["weights"], inputs["bias"], inputs["means"], inputs["stds"])
    case.check("weights", weights)
    case.check("bias", bias)
    back = normalize_weights(weights, bias, inputs["means"], inputs["stds"])
    np.testing.assert_allclose(back[0], inputs["weights"], rtol=1e-5)
    np.testing.assert_allclose(back[1], inputs["bias"], rtol=1e-4, atol=1e-6)


def test_mirroring_twice_gives_the_entry_back_and_keeps_areas():
    entry = objects_entry(np.array([[0, 2, 9, 7], [3, 0, 19, 11]]), np.array([2, 1]))
    once = mirror(entry, 20)
    assert once["boxes"].tolist() == [[10, 2, 19, 7], [0, 0, 16, 11]]
    assert once["flipped"] and once["seg_areas"].tolist() == [60, 204]
    np.testing.assert_array_equal(mirror(once, 20)["boxes"], entry["boxes"])


def test_merging_does_not_change_its_arguments():
    objects = [objects_entry(np.array([[0, 0, 9, 9]]), np.array([1]))]
    proposals = [proposals_entry(np.array([[0, 0, 9, 4], [50, 50, 60, 60]]), objects[0])]
    merged = merged_roidb(objects, proposals)
    assert len(merged[0]["boxes"]) == 3 and len(objects[0]["boxes"]) == 1 and len(proposals[0]["boxes"]) == 2
    assert merged[0]["max_overlaps"].tolist() == [1.0, 0.5, 0.0]
    assert merged[0]["max_classes"].tolist() == [1, 1, 0]


def test_images_without_objects_and_without_proposals():
    empty = objects_entry(np.zeros((0, 4)), np.zeros(0))
    assert proposals_entry(np.zeros((0, 4)), empty)["boxes"].shape == (0, 4)
    assert compute_targets(empty["boxes"], empty["max_overlaps"], empty["max_classes"], 0.5).shape == (0, 5)


class OldStyleImdb:
    """As passed by code written for py-faster-rcnn: dense or sparse gt_overlaps."""

    num_classes = 3

    def __init__(self, overlaps, boxes=((0, 0, 0, 0),) * 2):
        self.roidb = [{"boxes": np.array(boxes, np.float32), "gt_overlaps": overlaps}]

    def image_path_at(self, index):
        return "a.jpg"

    def image_sizes(self):
        return [(30, 20)]


def test_prepare_roidb_accepts_gt_overlaps_and_checks_them():
    entry = prepare_roidb(OldStyleImdb(np.array([[0, 0, 0.7], [0, 0, 0]], np.float32)))[0]
    assert entry["max_classes"].tolist() == [2, 0] and entry["max_overlaps"][0] == np.float32(0.7)
    assert (entry["image"], entry["width"], entry["height"]) == ("a.jpg", 30, 20)
    with pytest.raises(ValueError, match="a.jpg"):
        prepare_roidb(OldStyleImdb(np.array([[0.5, 0, 0], [0, 0, 0]], np.float32)))


@pytest.mark.parametrize("corners", [(65535, 3, 20, 30), (3, 5, 20, 4), (3, np.nan, 20, 30), (3, 4, np.inf, 30)])
def test_boxes_that_cannot_be_trained_on_are_named(corners):
    overlaps = np.array([[0, 1, 0]] * 2, np.float32)
    with pytest.raises(CheckError, match="^a.jpg: box 1 is .* expected x1 <= x2"):
        prepare_roidb(OldStyleImdb(overlaps, [(0, 0, 9, 9), corners]))


def test_a_class_that_the_data_set_lacks_is_named():
    with pytest.raises(CheckError, match="^a.jpg: a RoI has the class 3, but the data set has 3 classes"):
        prepare_roidb(OldStyleImdb(np.array([[0, 0, 0, 1]], np.float32), [(0, 0, 9, 9)]))


def test_statistics_of_boxes_that_classes_share():
    """They are those of the targets of all classes together."""
    boxes = np.array([[0, 0, 20, 30], [40, 10, 70, 50], [2, 3, 20, 28], [38, 12, 75, 49], [0, 5, 22, 33]], np.float32)
    overlaps = np.array([1, 1, 0.8, 0.8, 0.8])
    entry = {"boxes": boxes, "max_overlaps": overlaps, "max_classes": np.array([1, 2, 1, 2, 1])}
    means, stds = add_bbox_regression_targets([entry], 3, make_settings({"TRAIN.AGNOSTIC": True}).TRAIN)
    raw = compute_targets(boxes, overlaps, np.ones(5, int), 0.5)
    assert means.shape == stds.shape == (8,) and not means[:4].any()
    np.testing.assert_allclose(means[4:], raw[:, 1:].astype(np.float64).mean(0))
    np.testing.assert_allclose(stds[4:], raw[:, 1:].astype(np.float64).std(0))
    assert entry["bbox_targets"][:, 0].tolist() == [1] * 5
    np.testing.assert_allclose(entry["bbox_targets"][:, 1:], (raw[:, 1:] - means[4:]) / stds[4:], rtol=1e-5, atol=1e-6)
