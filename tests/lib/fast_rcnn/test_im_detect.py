"""Detection and proposals for one image."""
import numpy as np
import pytest
from fake_net import FakeNet
from golden.detector_cases import generate as pytest_generate_tests  # noqa: F401
from golden.detector_cases import golden
from layer_runner import set_config

from fast_rcnn import test as detection
from fast_rcnn.config import reset_cfg
from rpn.generate import im_proposals
from utils.images import prepare_pyramid

pytestmark = pytest.mark.usefixtures("default_settings")


def check_fed(case, net):
    """The net's input, whole or sampled."""
    for name, array in net.fed.items():
        if f"net_{name}" in case.outputs:
            case.check(f"net_{name}", array)
    if "net_data_sampled" in case.outputs:
        case.check("net_data_shape", net.fed["data"].shape)
        case.check("net_data_sampled", net.fed["data"][:, :, ::11, ::11])


@golden("im_detect", "contract")
def test_recorded_detections(case):
    cfg = set_config(case.config)
    answers = {name[4:]: array for name, array in case.inputs.items() if name.startswith("net_")}
    if not cfg.TEST.BBOX_REG:
        del answers["bbox_pred"]
    net = FakeNet(["data", "im_info" if cfg.TEST.HAS_RPN else "rois"], answers, inner=("rois", "cls_score"))
    scores, boxes = detection.im_detect(net, case.inputs["im"], case.inputs.get("boxes"))
    check_fed(case, net)
    settings = detection.DetectionSettings.from_cfg(cfg)
    again = FakeNet(net.inputs, answers, inner=("rois", "cls_score"))
    reset_cfg()
    given = detection.im_detect(again, case.inputs["im"], case.inputs.get("boxes"), settings)
    for asked, wanted in zip(given, (scores, boxes), strict=True):
        np.testing.assert_array_equal(asked, wanted)
    case.check("im_scales", prepare_pyramid(case.inputs["im"], settings.images)[1])
    case.check("scores", scores)
    case.check("pred_boxes", boxes)


@golden("test_blobs", "contract")
def test_recorded_blobs(case):
    settings = detection.DetectionSettings.from_cfg(set_config(case.config))
    im = case.inputs["im"]
    data, scales = prepare_pyramid(im, settings.images)
    blobs = detection._get_blobs(detection.Pyramid(data, scales, im.shape[:2]), case.inputs["rois"], settings)
    case.check("im_scales", scales)
    case.check("rois_blob", blobs["rois"])
    if "blob" in case.outputs:
        case.check("blob", blobs["data"])
    else:
        case.check("blob_shape", blobs["data"].shape)
        case.check("blob_sampled", blobs["data"][:, :, ::9, ::9])


@golden("rpn_generate", "contract")
def test_recorded_proposals(case):
    set_config(case.config)
    net = FakeNet(["data", "im_info"], {"rois": case.inputs["net_rois"], "scores": case.inputs["net_scores"]})
    boxes, scores = im_proposals(net, case.inputs["im"])
    check_fed(case, net)
    case.check("boxes", boxes)
    case.check("scores", scores)


def test_duplicates_far_from_the_origin_are_distinguished():
    """The original's hash sums columns times powers of 1000, which gives the same hash for these two RoIs."""
    rois = np.array([[0, 1000, 5, 1500, 1600], [0, 0, 6, 1500, 1600], [0, 1000, 5, 1500, 1600]], np.float32)
    first, places = detection.find_duplicates(rois, 1.0)
    np.testing.assert_array_equal(first, [0, 1])
    np.testing.assert_array_equal(places, [0, 1, 0])


def test_duplicates_agree_with_a_search_row_by_row():
    rois = np.random.default_rng(0).integers(0, 3, (60, 5)).astype(np.float32) * 10
    first, places = detection.find_duplicates(rois, 1 / 16)
    rows = [(*row[:0:-1], row[0]) for row in np.column_stack([rois[:, 0], np.round(rois[:, 1:] / 16)]).tolist()]
    assert [rows[i] for i in first] == sorted(set(rows))
    assert list(first) == [rows.index(row) for row in sorted(set(rows))]
    assert [rows[first[place]] for place in places] == rows


def test_rois_on_different_levels_are_no_duplicates():
    """The box twice as small is at the same place of the image scaled by 2; the original scales the level too."""
    rois = detection._get_rois_blob(np.array([[10, 10, 234, 234], [5, 5, 117, 117]]), np.array([1.0, 2.0]))
    np.testing.assert_array_equal(rois, [[0, 10, 10, 234, 234], [1, 10, 10, 234, 234]])
    np.testing.assert_array_equal(detection.find_duplicates(rois, 1 / 16), [[0, 1], [0, 1]])


@pytest.mark.parametrize("dedup", [0.0, 1 / 16])
def test_no_boxes_no_detections(dedup):
    set_config({"TEST.SCALES": (40,), "DEDUP_BOXES": dedup})
    net = FakeNet(["data", "rois"], {"cls_prob": np.zeros((0, 3)), "bbox_pred": np.zeros((0, 12))})
    scores, boxes = detection.im_detect(net, np.zeros((20, 30, 3), np.uint8), np.zeros((0, 4), np.float32))
    assert scores.shape == (0, 3) and boxes.shape == (0, 12)


def test_missing_boxes_and_several_scales_are_reported():
    im = np.zeros((20, 30, 3), np.uint8)
    with pytest.raises(ValueError, match="im_detect needs boxes"):
        detection.im_detect(FakeNet([], {}), im)
    set_config({"TEST.HAS_RPN": True, "TEST.SCALES": (20, 30)})
    with pytest.raises(ValueError, match="takes one scale"):
        detection.im_detect(FakeNet([], {}), im)
    with pytest.raises(ValueError, match="takes one scale"):
        im_proposals(FakeNet([], {}), im)
