"""TRAIN.IGNORED_OVERLAP: anchors and RoIs on difficult objects and regions of any class are not background."""
import numpy as np
import pytest
from layer_runner import run_layer, set_config
from minibatch_helpers import scene

from fast_rcnn.cfg_checks import check_cfg
from fast_rcnn.config import ConfigError, cfg, plain
from roi_data_layer.minibatch import MinibatchSettings, get_allrois_minibatch, get_minibatch, rpn_blobs
from roi_data_layer.roidb import usable_entries
from roi_data_layer.sampling import RoISettings, on_ignored, sample_rois, split_rois
from rpn.anchor_target_layer import AnchorTargetLayer
from rpn.anchor_targets import gt_boxes_of_images
from rpn.generate_anchors import generate_anchors, shift_anchors
from rpn.proposal_target_layer import ProposalTargetLayer

pytestmark = pytest.mark.usefixtures("default_settings")
REGION = np.array([[28, 18, 50, 50]], np.float32)


def share_of(box, region):
    """By counting pixels."""
    pixels = {(x, y) for x in range(box[0], box[2] + 1) for y in range(box[1], box[3] + 1)}
    return sum(region[0] <= x <= region[2] and region[1] <= y <= region[3] for x, y in pixels) / len(pixels)


def test_shares_of_boxes():
    rng = np.random.default_rng(3)
    low = rng.integers(0, 20, (40, 2))
    boxes = np.hstack([low, low + rng.integers(0, 15, (40, 2))])
    regions = np.array([[5, 6, 17, 11], [20, 0, 40, 25], [0, 0, 3, 3]])
    shares = np.array([max(share_of(box, region) for region in regions) for box in boxes])
    for least in (0.25, 0.5, 1.0):
        np.testing.assert_array_equal(on_ignored(boxes.astype(np.float32), regions.astype(np.float32), least),
                                      shares >= least)
    assert on_ignored(boxes, regions, 0.0) is None and on_ignored(boxes, None, 0.5) is None
    assert on_ignored(boxes, np.zeros((0, 4)), 0.5) is None and len(on_ignored(np.zeros((0, 4)), regions, 0.5)) == 0


def test_rois_are_left_out_of_the_background_only():
    overlaps, ignored = np.array([0.9, 0.6, 0.2, 0.1, 0.3]), np.array([True, False, True, False, True])
    settings = RoISettings(fg_fraction=0.5)
    foreground, background = split_rois(overlaps, settings, ignored)
    assert foreground.tolist() == [0, 1] and background.tolist() == [3]
    assert sample_rois(overlaps, 4, settings, np.random.default_rng(0), ignored)[1].tolist() == [3]


@pytest.mark.parametrize("make", [get_minibatch, get_allrois_minibatch])
def test_minibatches(tmp_path, make):
    """The fifth RoI of each image lies in the region."""
    def corners(overlap):
        set_config({"TRAIN.SCALES": [40], "TRAIN.MAX_SIZE": 80, "TRAIN.BATCH_SIZE": 10, "TRAIN.BG_THRESH_LO": 0,
                    "TRAIN.FG_FRACTION": 0.6, "TRAIN.IGNORED_OVERLAP": overlap})
        roidb = [{**entry, "ignored": REGION} for entry in scene(tmp_path, 1)]
        blobs = make(roidb, 3, MinibatchSettings.from_cfg(cfg), np.random.default_rng(0))
        return sorted(map(tuple, np.round(blobs["rois"][:, 1:]).tolist())), blobs["labels"]
    everything, labels = corners(0.0)
    kept, fewer = corners(0.5)
    assert len(kept) == len(everything) - 1 and (30, 20, 39, 39) in everything and (30, 20, 39, 39) not in kept
    assert (fewer > 0).sum() == (labels > 0).sum() and corners(1.0)[0] == kept


def test_images_without_a_usable_roi_are_left_out(tmp_path):
    entry = {**scene(tmp_path, 1)[0], "max_overlaps": np.array([0, 0.0], np.float32), "max_classes": np.array([0, 0]),
             "gt_classes": np.array([0, 0]), "boxes": np.array([[30, 20, 40, 40], [31, 20, 40, 41]], np.float32)}
    ignoring = RoISettings(bg_thresh_lo=0.0, ignored_overlap=0.5)
    assert usable_entries([entry], ignoring) == [entry]
    assert usable_entries([{**entry, "ignored": REGION}], ignoring) == []
    assert len(usable_entries([{**entry, "ignored": REGION}], RoISettings(bg_thresh_lo=0.0))) == 1


def test_boxes_that_the_rpn_gets(tmp_path):
    roidb = [{**entry, "ignored": REGION} if number else entry for number, entry in enumerate(scene(tmp_path, 2))]
    blob = rpn_blobs(roidb, [(80, 60)] * 2, [2.0, 0.5], with_ignored=True)["gt_boxes"]
    assert blob[:, 4].tolist() == [1, 2, 1, 2, -1] and blob[-1].tolist() == [14, 9, 25, 25, -1, 1]
    np.testing.assert_array_equal(blob[:-1], rpn_blobs(roidb, [(80, 60)] * 2, [2.0, 0.5])["gt_boxes"])
    assert [len(boxes) for boxes in gt_boxes_of_images(blob, 2)] == [2, 2]
    assert [len(boxes) for boxes in gt_boxes_of_images(blob, 2, ignored=True)] == [0, 1]
    one = rpn_blobs(roidb[1:], [(80, 60)], [1.0], with_ignored=True)["gt_boxes"]
    assert one.shape == (3, 5) and one[-1].tolist() == [*REGION[0].tolist(), -1]


def test_anchors():
    """Exactly the background anchors on the region become neither; positives there stay."""
    height, width, params = 6, 9, "'feat_stride': 16\n'scales': [1, 2]\n'ratios': [1]"
    anchors = shift_anchors(generate_anchors(ratios=[1], scales=[1, 2]), height, width, 16)
    gt_boxes = np.array([[30, 30, 62, 60, 1]], np.float32)
    ignored = np.array([[20, 20, 90, 90, -1]], np.float32)

    def labels(overlap, boxes):
        set_config({"TRAIN.RPN_BATCHSIZE": 10 ** 6, "TRAIN.IGNORED_OVERLAP": overlap})
        blobs = [np.zeros((1, 4, height, width)), boxes, np.array([[96, 144, 1]]), np.zeros((1, 3, 4, 5))]
        found = run_layer(AnchorTargetLayer, params, blobs, 4)[0]
        return found.reshape(2, height, width).transpose(1, 2, 0).ravel()

    before, after = labels(0.0, gt_boxes), labels(0.5, np.vstack([gt_boxes, ignored]))
    inside = on_ignored(anchors, ignored, 0.5)
    assert (before[inside] == 0).sum() > 3 and (before[inside] == 1).any()
    np.testing.assert_array_equal(after, np.where(inside & (before == 0), -1, before))
    np.testing.assert_array_equal(labels(0.0, np.vstack([gt_boxes, ignored])), before)


@pytest.mark.parametrize("use_ohem", [False, True])
def test_proposals_end_to_end(use_ohem):
    rois = np.array([[0, 1, 2, 30, 40], [0, 60, 60, 80, 80], [0, 61, 62, 79, 78], [0, 100, 5, 130, 30]], np.float32)
    gt_boxes = np.array([[1, 2, 30, 40, 2], [50, 50, 90, 90, -1]], np.float32)

    def kept(overlap, boxes=gt_boxes, of=rois):
        set_config({"TRAIN.BATCH_SIZE": 8, "TRAIN.BG_THRESH_LO": 0, "TRAIN.FG_FRACTION": 0.5,
                    "TRAIN.USE_OHEM": use_ohem, "TRAIN.IGNORED_OVERLAP": overlap})
        found = run_layer(ProposalTargetLayer, "'num_classes': 3", [of, boxes], 5)
        return sorted(map(tuple, found[0][found[1] == 0, 1:].tolist()))
    assert kept(0.5) == [(100, 5, 130, 30)]
    assert kept(0.0) == [(60, 60, 80, 80), (61, 62, 79, 78), (100, 5, 130, 30)]
    assert kept(0.5, gt_boxes[1:], rois[1:3]) == kept(0.0, gt_boxes[1:], rois[1:3])     # nothing else is left


def test_the_setting():
    assert "IGNORED_OVERLAP" not in plain(cfg)["TRAIN"]      # fingerprints of older runs lack it
    cfg.TRAIN.IGNORED_OVERLAP = 1.5
    with pytest.raises(ConfigError, match="TRAIN.IGNORED_OVERLAP is 1.5: it must lie in 0..1"):
        check_cfg()
