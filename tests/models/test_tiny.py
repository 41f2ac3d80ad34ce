"""The Tiny nets on the CPU: every stage trains exactly the layers that it should, and the test nets detect."""
from pathlib import Path

import cv2
import numpy as np
import pytest

import caffe
from datasets.roidb import merge_entries, objects_entry, proposals_entry
from fast_rcnn.config import cfg, cfg_from_file, cfg_from_list, reset_cfg
from roi_data_layer.roidb import add_bbox_regression_targets

ROOT = Path(__file__).resolve().parents[2]
TRUNK = ["conv1_1", "conv2_1", "conv3_1", "conv4_1", "conv5_1", "conv5_2"]
RPN = ["rpn_conv/3x3", "rpn_cls_score", "rpn_bbox_pred"]
HEAD = ["fc6", "fc7", "cls_score", "bbox_pred"]


@pytest.fixture(autouse=True)
def settings():
    """experiments/cfgs/tiny.yml with smaller images."""
    reset_cfg()
    cfg_from_file(ROOT / "experiments" / "cfgs" / "tiny.yml")
    cfg_from_list(["TRAIN.SCALES", "(96,)", "TRAIN.BATCH_SIZE", "32", "TRAIN.RPN_BATCHSIZE", "64"])
    caffe.set_mode_cpu()
    caffe.set_random_seed(3)
    yield
    reset_cfg()


@pytest.fixture
def roidb(tmp_path) -> list[dict]:
    """Two images of 120 x 96 pixels with two objects and forty proposals each, including targets."""
    rng = np.random.default_rng(5)
    entries = []
    for number in range(2):
        path = tmp_path / f"{number}.png"
        cv2.imwrite(str(path), rng.integers(0, 256, (96, 120, 3), np.uint8))
        objects = objects_entry([[10, 12, 45, 50], [60, 30, 110, 80]], [1 + number, 3])
        moved = np.repeat(objects["boxes"], 20, axis=0) + rng.integers(-9, 10, (40, 4))
        entry = merge_entries(objects, proposals_entry(np.clip(moved, 0, [119, 95, 119, 95]), objects))
        entries.append({**entry, "image": str(path), "width": 120, "height": 96})
    add_bbox_regression_targets(entries, 21, cfg.TRAIN)
    return entries


def train_once(file: Path, roidb) -> caffe.Net:
    net = caffe.Net(str(file), caffe.TRAIN)
    net.layers[0].set_roidb(roidb)
    net.clear_param_diffs()
    net.forward()
    net.backward()
    return net


def learned(net) -> list[str]:
    """Names of the layers whose weights have a nonzero gradient."""
    return [name for name, blobs in net.params.items() if np.any(blobs[0].diff)]


@pytest.mark.parametrize("file, expected", [
    ("faster_rcnn_alt_opt/stage1_rpn_train.pt", TRUNK + RPN),
    ("faster_rcnn_alt_opt/stage2_rpn_train.pt", RPN)])
def test_rpn_stages(file, expected, roidb, tiny):
    cfg_from_list(["TRAIN.HAS_RPN", "True", "TRAIN.USE_OHEM", "False"])
    net = train_once(tiny / file, roidb)
    assert learned(net) == expected
    assert net.blobs["data"].data.shape == (2, 3, 96, 120)
    assert net.blobs["rpn_cls_score"].data.shape == (2, 18, 6, 8)
    assert net.blobs["rpn_cls_loss"].data == pytest.approx(np.log(2), abs=0.05)    # both classes equally likely
    assert np.all(np.isfinite(net.blobs["rpn_loss_bbox"].data))
    assert set(net.params) == {*TRUNK, *RPN, "fc6", "fc7"}


@pytest.mark.parametrize("method", ["faster_rcnn_alt_opt", "faster_rcnn_alt_opt_no_ohem"])
@pytest.mark.parametrize("stage, expected", [(1, TRUNK + HEAD), (2, HEAD)])
def test_fast_rcnn_stages(method, stage, expected, roidb, tiny):
    ohem = not method.endswith("no_ohem")
    cfg_from_list(["TRAIN.USE_OHEM", str(ohem)])
    net = train_once(tiny / method / f"stage{stage}_fast_rcnn_train.pt", roidb)
    assert [name for name in learned(net) if not name.endswith("_readonly")] == expected
    rois = net.blobs["rois_hard" if ohem else "rois"].data
    assert len(rois) <= 32 and set(rois[:, 0]) <= {0, 1}
    assert 1 < net.blobs["loss_cls"].data < 6       # log(21) = 3.04 for 21 equally likely classes
    if ohem:
        assert len(net.blobs["rois"].data) > len(rois)
        for name in HEAD:
            shared, own = net.params[f"{name}_readonly"][0], net.params[name][0]
            np.testing.assert_array_equal(shared.data, own.data)
    assert set(net.params) - {f"{name}_readonly" for name in HEAD} == {*TRUNK, *RPN, *HEAD}


def test_end_to_end_training(roidb, tiny):
    reset_cfg()
    cfg_from_file(ROOT / "experiments" / "cfgs" / "tiny_end2end.yml")
    cfg_from_list(["TRAIN.SCALES", "(96,)"])
    net = train_once(tiny / "faster_rcnn_end2end/train.pt", roidb)
    assert learned(net) == TRUNK + RPN + HEAD
    for loss in ("rpn_cls_loss", "rpn_loss_bbox", "loss_cls", "loss_bbox"):
        assert np.all(np.isfinite(net.blobs[loss].data))


@pytest.mark.parametrize("file", ["faster_rcnn_alt_opt/faster_rcnn_test.pt", "faster_rcnn_end2end/test.pt"])
def test_detector(file, tiny):
    net = caffe.Net(str(tiny / file), caffe.TEST)
    net.blobs["data"].reshape(1, 3, 96, 120)
    rng = np.random.default_rng(6)
    top = net.forward(data=rng.normal(size=(1, 3, 96, 120)), im_info=np.array([[96, 120, 1]]))
    count = len(net.blobs["rois"].data)
    assert 1 <= count <= 300
    assert top["cls_prob"].shape == (count, 21) and top["bbox_pred"].shape == (count, 84)
    np.testing.assert_allclose(top["cls_prob"].sum(axis=1), 1, rtol=1e-5)


def test_proposals(tiny):
    net = caffe.Net(str(tiny / "faster_rcnn_alt_opt/rpn_test.pt"), caffe.TEST)
    net.blobs["data"].reshape(1, 3, 96, 120)
    rng = np.random.default_rng(6)
    top = net.forward(data=rng.normal(size=(1, 3, 96, 120)), im_info=np.array([[96, 120, 1]]))
    assert top["rois"].shape[1] == 5 and len(top["rois"]) == len(top["scores"])
    boxes = top["rois"][:, 1:]
    assert boxes.min() >= 0 and np.all(boxes.max(axis=0) <= [119, 95, 119, 95])
