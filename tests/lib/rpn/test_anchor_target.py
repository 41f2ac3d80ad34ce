"""Labels, targets and weights of anchors: the pure functions and the layer."""
import numpy as np
import pytest
from golden.detector_cases import generate as pytest_generate_tests  # noqa: F401
from golden.detector_cases import golden
from layer_runner import make_layer, run_layer, set_config

from rpn.anchor_target_layer import AnchorTargetLayer
from rpn.anchor_targets import (
    AnchorSettings,
    anchor_targets,
    anchors_inside,
    example_weights,
    label_anchors,
    subsample_labels,
)
from rpn.generate_anchors import generate_anchors, shift_anchors
from utils.cython_bbox import bbox_overlaps

TOPS = ("labels", "bbox_targets", "bbox_inside_weights", "bbox_outside_weights")
pytestmark = pytest.mark.usefixtures("default_settings")


def bottoms(case):
    height, width = case.inputs["feat_hw"]
    num_anchors = case.outputs["bbox_targets"].shape[1] // 4
    return [np.zeros((1, 2 * num_anchors, height, width)), case.inputs["gt_boxes"], case.inputs["im_info"],
            np.zeros((1, 3, 4, 5))]


def param_str(params):
    return "\n".join(f"'{key}': {value}" for key, value in params.items() if key != "numpy_seed")


@golden("anchor_target", "contract")
def test_recorded_targets(case):
    set_config(case.config)
    tops = run_layer(AnchorTargetLayer, param_str(case.params), bottoms(case), 4)
    for name, got in zip(TOPS, tops, strict=True):
        case.check(name, got)


@golden("anchor_target", "quirk", name="anchor_target_untouched_gt")
def test_a_gt_box_that_no_anchor_touches_is_ignored(case):
    """The original makes every anchor that misses such a box an object; here it changes nothing."""
    set_config(case.config)
    blobs = bottoms(case)
    with_it = run_layer(AnchorTargetLayer, param_str(case.params), blobs, 4)
    anchors = shift_anchors(generate_anchors(scales=case.params["scales"]), *case.inputs["feat_hw"],
                            case.params["feat_stride"])
    inside = anchors[anchors_inside(anchors, case.inputs["im_info"][0])]
    touched = bbox_overlaps(inside, blobs[1][:, :4].astype(float)).any(axis=0)
    assert not touched.all()
    blobs[1] = blobs[1][touched]
    without_it = run_layer(AnchorTargetLayer, param_str(case.params), blobs, 4)
    for got, want in zip(with_it, without_it, strict=True):
        np.testing.assert_array_equal(got, want)
    assert 0 < (with_it[0] == 1).sum() < (case.outputs["labels"] == 1).sum()


@golden("anchor_target", "seeded")
def test_subsampling_keeps_the_recorded_counts_and_a_subset(case):
    cfg = set_config(case.config)
    labels = run_layer(AnchorTargetLayer, param_str(case.params), bottoms(case), 4)[0]
    cfg.TRAIN.RPN_BATCHSIZE = 10 ** 6
    everything = run_layer(AnchorTargetLayer, param_str(case.params), bottoms(case), 4)[0]
    for label in (0, 1):
        assert (labels == label).sum() == (case.outputs["labels"] == label).sum()
        assert (everything[labels == label] == label).all()


def test_labels_of_a_small_table_of_overlaps():
    overlaps = np.array([[0.75, 0.0, 0], [0.5, 0.1, 0], [0.1, 0.25, 0], [0.1, 0.25, 0], [0.0, 0.2, 0]])
    np.testing.assert_array_equal(label_anchors(overlaps, AnchorSettings()), [1, -1, 1, 1, 0])
    np.testing.assert_array_equal(label_anchors(overlaps, AnchorSettings(clobber_positives=True)),
                                  [1, -1, 0, 0, 0])
    np.testing.assert_array_equal(label_anchors(np.zeros((3, 0)), AnchorSettings()), [0, 0, 0])


def test_surplus_background_fills_what_objects_leave():
    labels = np.repeat(np.array([1, 0, -1], np.float32), [3, 90, 7])
    got = subsample_labels(labels, AnchorSettings(batch_size=20, fg_fraction=0.1), np.random.default_rng(0))
    assert (got == 1).sum() == 2 and (got == 0).sum() == 18
    assert (labels == np.repeat([1, 0, -1], [3, 90, 7])).all()


def test_weights_without_examples_are_zero():
    nothing = np.full(5, -1.0)
    for positive_weight in (-1.0, 0.25):
        assert not example_weights(nothing, positive_weight).any()
    np.testing.assert_allclose(example_weights(np.array([1.0, 0, 0, -1]), 0.25), [0.25, 0.375, 0.375, 0])


@pytest.mark.parametrize("gt_boxes", [np.zeros((0, 5)), np.zeros((1, 5))], ids=["none", "padding"])
def test_an_image_without_gt_boxes_is_background(gt_boxes):
    tops = run_layer(AnchorTargetLayer, "'feat_stride': 16\n'scales': [1, 2]",
                     [np.zeros((1, 12, 7, 9)), gt_boxes, [[112, 144, 1]], np.zeros((1, 3, 4, 5))], 4)
    assert (tops[0] == 1).sum() == 0 and (tops[0] == 0).sum() == 256
    assert not tops[1].any() and not tops[2].any()
    np.testing.assert_allclose(tops[3].sum(), 4, rtol=1e-5)


def test_an_image_without_an_inside_anchor_is_ignored():
    tops = run_layer(AnchorTargetLayer, "'feat_stride': 16",
                     [np.zeros((1, 18, 3, 4)), [[5, 5, 20, 30, 1]], [[48, 64, 1]], np.zeros((1, 3, 4, 5))], 4)
    assert (tops[0] == -1).all()
    assert not any(top.any() for top in tops[1:])


def test_each_image_of_a_batch_is_processed_as_if_alone():
    cfg = set_config({"TRAIN.RPN_BATCHSIZE": 10 ** 6})
    assert cfg.TRAIN.RPN_BATCHSIZE == 10 ** 6
    params = "'feat_stride': 16\n'scales': [1, 2, 4]"
    gt = np.array([[10, 12, 60, 44, 3], [70, 5, 120, 90, 1], [30, 30, 61, 61, 2]], np.float32)
    infos = np.array([[112, 144, 1], [96, 80, 1.5]], np.float32)
    together = run_layer(AnchorTargetLayer, params, [
        np.zeros((2, 18, 7, 9)), np.column_stack([gt, [0, 0, 1]]), infos, np.zeros((2, 3, 112, 144))], 4)
    for image, boxes in enumerate([gt[:2], gt[2:]]):
        alone = run_layer(AnchorTargetLayer, params, [
            np.zeros((1, 18, 7, 9)), boxes, infos[image:image + 1], np.zeros((1, 3, 112, 144))], 4)
        for got, want in zip(together, alone, strict=True):
            np.testing.assert_array_equal(got[image:image + 1], want)
    outside_second = together[0][1].reshape(9, 7, 9)[:, 6:, :], together[0][1].reshape(9, 7, 9)[:, :, 5:]
    assert all((part == -1).all() for part in outside_second)


def test_several_images_need_image_indices():
    with pytest.raises(ValueError, match="sixth column"):
        run_layer(AnchorTargetLayer, "'feat_stride': 16", [
            np.zeros((2, 18, 3, 4)), np.ones((1, 5)), np.ones((2, 3)), np.zeros((2, 3, 4, 5))], 4)
    with pytest.raises(ValueError, match="AnchorTargetLayer: 2 images, but im_info has 1 rows"):
        run_layer(AnchorTargetLayer, "'feat_stride': 16", [
            np.zeros((2, 18, 3, 4)), np.ones((1, 6)), np.ones((1, 3)), np.zeros((2, 3, 4, 5))], 4)


def test_draws_depend_on_seed_and_pass_only():
    cfg = set_config({"TRAIN.RPN_BATCHSIZE": 16})
    params = "'feat_stride': 16\n'scales': [1, 2]"
    blobs = [np.zeros((1, 12, 7, 9)), [[10, 12, 60, 44, 3]], [[112, 144, 1]], np.zeros((1, 3, 4, 5))]

    def labels(passes, skip=0):
        layer, bottom, top = make_layer(AnchorTargetLayer, params, blobs, 4)
        layer.seek(skip)
        drawn = []
        for _ in range(passes):
            layer.forward(bottom, top)
            drawn.append(top[0].data.copy())
        return np.stack(drawn)

    first = labels(4)
    np.random.seed(0)       # the global generator has no effect
    np.testing.assert_array_equal(labels(4), first)
    np.testing.assert_array_equal(labels(2, skip=2), first[2:])
    assert (first[0] != first[1]).any()
    cfg.RNG_SEED = 4
    assert (labels(1)[0] != first[0]).any()


def test_targets_map_anchors_to_their_best_box():
    anchors = shift_anchors(generate_anchors(scales=(2, 4)), 6, 8, 16)
    gt_boxes = np.array([[20, 16, 70, 60, 1], [60, 30, 110, 88, 2]], np.float32)
    labels, targets, inside, outside = anchor_targets(
        gt_boxes, (96, 128, 1), anchors, AnchorSettings(inside_weights=(1, 2, 3, 4)),
        np.random.default_rng(0))
    assert (labels == 1).any()
    for row in np.flatnonzero(labels == 1):
        moved = (anchors[row, :2] + anchors[row, 2:] + 1) / 2 + targets[row, :2] * (
            anchors[row, 2:] - anchors[row, :2] + 1)
        centres = (gt_boxes[:, :2] + gt_boxes[:, 2:4] + 1) / 2
        assert np.abs(centres - moved).max(axis=1).min() < 1e-4
        np.testing.assert_array_equal(inside[row], [1, 2, 3, 4])
    assert not inside[labels != 1].any() and not outside[labels == -1].any()


@pytest.mark.parametrize("params, message", [("", "needs 'feat_stride'"), ("- 1", "must be entries"),
                                             ("'a': [", "is not YAML")])
def test_a_bad_param_str_is_reported(params, message):
    with pytest.raises(ValueError, match="AnchorTargetLayer: param_str.*" + message):
        run_layer(AnchorTargetLayer, params, [np.zeros((1, 18, 3, 4))], 4)


@pytest.mark.parametrize("bottoms, tops, message", [(2, 4, "2 bottoms, expected 3 to 4: rpn_cls_score, gt_boxes"),
                                                    (3, 5, "5 tops, expected 4: rpn_labels, rpn_bbox_targets")])
def test_another_number_of_blobs_is_an_error(bottoms, tops, message):
    with pytest.raises(ValueError, match=f"AnchorTargetLayer: the prototxt gives {message}"):
        run_layer(AnchorTargetLayer, "'feat_stride': 16", [np.zeros((1, 18, 3, 4))] * bottoms, tops)
