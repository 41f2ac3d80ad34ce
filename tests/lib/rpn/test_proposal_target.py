"""RoIs to train on, sampled from proposals: the pure functions and the layer."""
import numpy as np
import pytest
from golden.detector_cases import generate as pytest_generate_tests  # noqa: F401
from golden.detector_cases import golden
from layer_runner import make_layer, run_layer, set_config

from rpn.proposal_target_layer import ProposalTargetLayer
from rpn.proposal_targets import RoITargetSettings, proposal_targets

TOPS = ("rois", "labels", "bbox_targets", "bbox_inside_weights", "bbox_outside_weights")
pytestmark = pytest.mark.usefixtures("default_settings")


def param_str(case):
    return f"'num_classes': {case.params['num_classes']}"


@golden("proposal_target", "contract")
def test_recorded_rois(case):
    """Sampled rows are in ascending order within foreground and background, like the recorded ones."""
    set_config(case.config)
    tops = run_layer(ProposalTargetLayer, param_str(case), [case.inputs["rois"], case.inputs["gt_boxes"]], 5)
    for name, got in zip(TOPS, tops, strict=True):
        case.check(name, got)
    case.check("num_fg", (tops[1] > 0).sum())


@golden("proposal_target", "contract")
def test_recorded_candidates(case):
    cfg = set_config(case.config)
    *_, chosen = proposal_targets(case.inputs["rois"], case.inputs["gt_boxes"], case.params["num_classes"],
                                  cfg.TRAIN.BATCH_SIZE, RoITargetSettings.from_cfg(cfg.TRAIN),
                                  np.random.default_rng(0))
    case.check("candidate_index", chosen)


@golden("proposal_target", "seeded")
def test_sampling_keeps_the_recorded_counts(case):
    cfg = set_config(case.config)
    rois, labels, *_ = run_layer(ProposalTargetLayer, param_str(case),
                                 [case.inputs["rois"], case.inputs["gt_boxes"]], 5)
    assert rois.shape == case.outputs["rois"].shape
    assert (labels > 0).sum() == (case.outputs["labels"] > 0).sum() <= round(
        cfg.TRAIN.FG_FRACTION * cfg.TRAIN.BATCH_SIZE)
    assert (np.diff((labels > 0).astype(int)) <= 0).all()       # foreground first


def test_an_image_without_gt_boxes_is_background():
    rois = np.array([[0, 1, 2, 30, 40], [0, 5, 5, 60, 20]], np.float32)
    tops = run_layer(ProposalTargetLayer, "'num_classes': 3", [rois, np.zeros((0, 5))], 5)
    np.testing.assert_array_equal(tops[0], rois)
    assert not any(top.any() for top in tops[1:])
    assert tops[2].shape == (2, 12)


def test_images_share_the_batch():
    set_config({"TRAIN.BATCH_SIZE": 8, "TRAIN.BG_THRESH_LO": 0.0})
    rng = np.random.default_rng(0)
    corners = rng.uniform(0, 50, (40, 2))
    rois = np.column_stack([np.repeat([0, 1], [15, 25]), corners, corners + rng.uniform(5, 40, (40, 2))])
    gt_boxes = np.array([[3, 4, 40, 50, 1, 0], [20, 10, 60, 70, 2, 1]])
    chosen, labels, *_ = run_layer(ProposalTargetLayer, "'num_classes': 3", [rois, gt_boxes], 5)
    np.testing.assert_array_equal(np.bincount(chosen[:, 0].astype(int)), [4, 4])
    assert set(labels[chosen[:, 0] == 0]) == {0, 1} and set(labels[chosen[:, 0] == 1]) == {0, 2}


def iou(box, other):
    width, height = (min(box[i + 2], other[i + 2]) - max(box[i], other[i]) + 1 for i in range(2))
    areas = [(b[2] - b[0] + 1) * (b[3] - b[1] + 1) for b in (box, other)]
    common = max(width, 0) * max(height, 0)
    return common / (sum(areas) - common)


@pytest.mark.parametrize("hi", [0.5, 0.4])
def test_all_rois_are_kept_for_hard_example_mining(hi):
    """Foreground first, proposals before gt boxes; those with an IoU between the thresholds are dropped."""
    set_config({"TRAIN.BATCH_SIZE": 8, "TRAIN.BG_THRESH_LO": 0.0, "TRAIN.BG_THRESH_HI": hi, "TRAIN.USE_OHEM": True})
    rng = np.random.default_rng(2)
    corners = rng.integers(0, 12, (60, 2))
    rois = np.column_stack([np.repeat([0, 1], [25, 35]), corners, corners + rng.integers(20, 50, (60, 2))])
    gt_boxes = np.array([[3, 4, 40, 50, 1, 0], [20, 10, 60, 70, 2, 1], [0, 0, 30, 30, 1, 1]])
    tops = run_layer(ProposalTargetLayer, "'num_classes': 3", [rois, gt_boxes], 5)
    expected = []
    for image in (0, 1):
        objects = gt_boxes[gt_boxes[:, 5] == image]
        candidates = [*rois[rois[:, 0] == image].tolist(), *[[image, *box] for box in objects[:, :4].tolist()]]
        overlaps = [[iou(candidate[1:], box) for box in objects] for candidate in candidates]
        best = [(max(row), int(objects[int(np.argmax(row)), 4])) for row in overlaps]
        expected += [(roi, label) for roi, (overlap, label) in zip(candidates, best, strict=True) if overlap >= 0.5]
        expected += [(roi, 0) for roi, (overlap, _) in zip(candidates, best, strict=True) if overlap < hi]
    assert tops[0].tolist() == [roi for roi, _ in expected]
    assert tops[1].tolist() == [label for _, label in expected] and 30 < len(expected)
    assert (len(expected) == 63) == (hi == 0.5)
    weighted = tops[3].reshape(-1, 3, 4).any(axis=2)
    assert (weighted.argmax(axis=1) * weighted.any(axis=1)).tolist() == tops[1].tolist()
    assert [len(top) for top in tops] == [len(expected)] * 5


def test_minus_one_as_the_batch_size_keeps_all_rois():
    rng = np.random.default_rng(2)
    corners = rng.integers(0, 12, (60, 2))
    blobs = [np.column_stack([np.repeat([0, 1], [25, 35]), corners, corners + rng.integers(20, 50, (60, 2))]),
             np.array([[3, 4, 40, 50, 1, 0], [20, 10, 60, 70, 2, 1], [0, 0, 30, 30, 1, 1]])]
    set_config({"TRAIN.BATCH_SIZE": -1, "TRAIN.BG_THRESH_LO": 0.0})
    found = run_layer(ProposalTargetLayer, "'num_classes': 3", blobs, 5)
    set_config({"TRAIN.BATCH_SIZE": 8, "TRAIN.BG_THRESH_LO": 0.0, "TRAIN.USE_OHEM": True})
    for mine, mined in zip(found, run_layer(ProposalTargetLayer, "'num_classes': 3", blobs, 5), strict=True):
        np.testing.assert_array_equal(mine, mined)
    assert len(found[0]) == 63


@pytest.mark.parametrize("num_classes", [2, 4])
def test_classes_share_their_boxes(num_classes):
    """Labels stay; targets are those of the object's class, in the last four of eight columns."""
    blobs = [np.zeros((0, 5)), [[5, 6, 38, 41, 3], [50, 6, 78, 41, 1]]]
    _, labels, *own = run_layer(ProposalTargetLayer, "'num_classes': 4", blobs, 5)
    set_config({"TRAIN.AGNOSTIC": True, "TRAIN.BBOX_INSIDE_WEIGHTS": (1.0, 2.0, 3.0, 4.0)})
    _, found, targets, inside, outside = run_layer(ProposalTargetLayer, f"'num_classes': {num_classes}", blobs, 5)
    assert found.tolist() == labels.tolist() == [3, 1] and targets.shape == (2, 8)
    np.testing.assert_array_equal(targets[:, 4:], own[0].reshape(2, 4, 4)[[0, 1], [3, 1]])
    assert inside.tolist() == [[0, 0, 0, 0, 1, 2, 3, 4]] * 2 and outside.tolist() == [[0] * 4 + [1] * 4] * 2


@pytest.mark.parametrize("key", ["BBOX_REG", "BBOX_NORMALIZE_TARGETS"])
def test_targets_are_plain_where_snapshots_are_not_converted(key):
    """The object's width and height are twice the RoI's, its centre half a width to the right."""
    blobs = [[[0, 0, 0, 9, 9]], [[0, -5, 19, 14, 1]]]
    settings = {"TRAIN.FG_THRESH": 0.2, "TRAIN.BBOX_NORMALIZE_TARGETS_PRECOMPUTED": True,
                "TRAIN.BBOX_NORMALIZE_MEANS": (1.0, 2.0, 3.0, 4.0), "TRAIN.BBOX_NORMALIZE_STDS": (0.5, 0.1, 0.2, 4.0)}
    plain = np.array([0.5, 0, np.log(2), np.log(2)])
    for change, expected in [({f"TRAIN.{key}": False}, plain),
                             ({}, (plain - [1, 2, 3, 4]) / [0.5, 0.1, 0.2, 4])]:
        set_config({**settings, **change})
        _, labels, targets, *_ = run_layer(ProposalTargetLayer, "'num_classes': 2", blobs, 5)
        assert labels.tolist() == [1, 1]
        np.testing.assert_allclose(targets[0, 4:], expected, atol=1e-6)


def test_draws_depend_on_seed_and_pass_only():
    set_config({"TRAIN.BATCH_SIZE": 4})
    corners = np.random.default_rng(0).uniform(0, 20, (60, 2))
    blobs = [np.column_stack([np.zeros(60), corners, corners + 30]), [[5, 6, 38, 41, 1]]]
    layer, bottom, top = make_layer(ProposalTargetLayer, "'num_classes': 2", blobs, 5)
    draws = []
    for passes in (0, 1, 1, 0):
        layer.seek(passes)
        layer.forward(bottom, top)
        draws.append(top[0].data.copy())
    np.testing.assert_array_equal(draws[0], draws[3])
    np.testing.assert_array_equal(draws[1], draws[2])
    assert (draws[0] != draws[1]).any()


def test_a_class_beyond_num_classes_is_an_error():
    with pytest.raises(ValueError, match="labels lie in 2..2, but there are 2 classes"):
        run_layer(ProposalTargetLayer, "'num_classes': 2", [np.zeros((0, 5)), [[5, 6, 38, 41, 2]]], 5)


@pytest.mark.parametrize("tops", [4, 6])
def test_another_number_of_tops_is_an_error(tops):
    with pytest.raises(ValueError, match=f"ProposalTargetLayer: the prototxt gives {tops} tops, expected 5: rois, "):
        run_layer(ProposalTargetLayer, "'num_classes': 2", [np.zeros((0, 5)), [[5, 6, 38, 41, 1]]], tops)
