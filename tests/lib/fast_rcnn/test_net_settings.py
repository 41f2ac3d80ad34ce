"""Two detectors in one process: the settings of one do not change what the other detects."""
import numpy as np
import pytest
from fake_net import FakeNet
from layer_runner import set_config

from fast_rcnn import nms_wrapper
from fast_rcnn.config import ConfigError
from fast_rcnn.net_settings import bind_settings
from fast_rcnn.test import DetectionSettings, detections_per_class, im_detect
from rpn.generate import GenerationSettings, im_proposals
from rpn.proposals import ProposalSettings
from utils.errors import CheckError, NotFiniteError

IMAGE = np.random.default_rng(0).integers(0, 255, (30, 50, 3)).astype(np.uint8)
pytestmark = pytest.mark.usefixtures("default_settings")


def net(columns=12, **changed):
    rois = np.array([[0, 2, 3, 20, 25], [0, 10, 5, 40, 29]], np.float32)
    answers = {"rois": rois, "scores": np.ones((2, 1), np.float32), "cls_prob": np.full((2, 3), 1 / 3, np.float32),
               "bbox_pred": np.linspace(-1, 1, 2 * columns, dtype=np.float32).reshape(2, columns), **changed}
    return FakeNet(["data", "im_info"], answers)


def test_a_net_keeps_the_settings_bound_to_it():
    cfg, first = set_config({"TEST.HAS_RPN": True, "TEST.SCALES": (60,), "PIXEL_STDS": 60.0}), net()
    bind_settings(first, DetectionSettings.from_cfg(cfg))
    wanted = im_detect(first, IMAGE)
    fed = first.fed["data"]
    set_config({"TEST.HAS_RPN": True, "TEST.SCALES": (90,)})       # another detector's
    im_detect(net(), IMAGE)
    got = im_detect(first, IMAGE)
    np.testing.assert_array_equal(first.fed["data"], fed)
    for one, other in zip(got, wanted, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("use, changes", [(im_detect, {"TEST.HAS_RPN": True}), (im_proposals, {})])
def test_settings_that_changed_since_the_first_use_are_refused(use, changes):
    set_config({**changes, "TEST.SCALES": (60,)})
    one = net()
    use(one, IMAGE)
    set_config({**changes, "TEST.SCALES": (60,), "NUM_WORKERS": 0, "TEST.NMS": 0.5})       # not input settings
    use(one, IMAGE)
    cfg = set_config({**changes, "TEST.SCALES": (90,), "PIXEL_STDS": 2.0})
    with pytest.raises(ConfigError, match=r"scales was \(60,\), is \(90,\), stds was .*settings=.*from_cfg"):
        use(one, IMAGE)
    kind = DetectionSettings if use is im_detect else GenerationSettings
    use(one, IMAGE, settings=kind.from_cfg(cfg))


def test_a_list_of_scales_that_is_changed_in_place():
    cfg = set_config({"TEST.HAS_RPN": True})
    cfg.TEST.SCALES = [60]
    settings = DetectionSettings.from_cfg(cfg)
    cfg.TEST.SCALES[0] = 90
    assert settings.images.scales == (60,)


def test_the_device_of_nms_is_a_setting_of_the_detector(monkeypatch):
    used = []
    monkeypatch.setattr(nms_wrapper, "has_gpu", lambda: True)
    monkeypatch.setattr(nms_wrapper, "gpu_nms", lambda dets, thresh, device_id, max_keep: used.append(device_id) or [0])
    cfg = set_config({"GPU_ID": 2})
    settings, limits = DetectionSettings.from_cfg(cfg), ProposalSettings.from_cfg(cfg, "TEST")
    set_config({"GPU_ID": 1})
    assert (settings.nms_gpu, limits.gpu) == (2, 2)
    boxes = np.array([[1, 1, 9, 9, 0.5]], np.float32)
    nms_wrapper.nms_on(settings.nms_gpu, boxes, 0.3)
    nms_wrapper.nms(boxes, 0.3)
    assert used == [2, 1]
    cfg.USE_GPU_NMS = False
    assert DetectionSettings.from_cfg(cfg).nms_gpu is None


def test_class_agnostic_boxes():
    """Of eight columns (background, object) each class gets the object's box."""
    set_config({"TEST.HAS_RPN": True, "TEST.SCALES": (60,)})
    shared = net(8)
    scores, boxes = im_detect(shared, IMAGE)
    wide = net(bbox_pred=np.tile(shared.answers["bbox_pred"][:, 4:], (1, 3)))
    np.testing.assert_array_equal(boxes, im_detect(wide, IMAGE)[1])
    assert boxes.shape == (2, 12) and (boxes[:, :4] == boxes[:, 8:]).all()
    assert [len(found) for found in detections_per_class(scores, boxes, 3, 0.1, 0.9, 0)] == [0, 2, 2]
    with pytest.raises(CheckError, match="bbox_pred has 16 columns, expected 12, 4 for each of 3 classes, or 8"):
        im_detect(net(16), IMAGE)


@pytest.mark.parametrize("name, columns", [("cls_prob", 3), ("bbox_pred", 12)])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_outputs_that_are_not_finite(name, columns, value):
    set_config({"TEST.HAS_RPN": True, "TEST.SCALES": (60,)})
    bad = np.zeros((2, columns), np.float32)
    bad[1, 2] = value
    with pytest.raises(NotFiniteError, match=f"output {name} is NaN or infinite"):
        im_detect(net(**{name: bad}), IMAGE)
