"""The three RPN layers in one net, as in end-to-end training."""
import numpy as np
import pytest

import caffe
from fast_rcnn.config import reset_cfg

NET = """
layer { name: "in" type: "Input"
  top: "rpn_cls_prob" top: "rpn_bbox_pred" top: "gt_boxes" top: "im_info" top: "data"
  input_param { shape { dim: 1 dim: 18 dim: 10 dim: 13 } shape { dim: 1 dim: 36 dim: 10 dim: 13 }
    shape { dim: 1 dim: 5 } shape { dim: 1 dim: 3 } shape { dim: 1 dim: 3 dim: 160 dim: 208 } } }
layer { name: "rpn-data" type: "Python"
  bottom: "rpn_cls_prob" bottom: "gt_boxes" bottom: "im_info" bottom: "data"
  top: "rpn_labels" top: "rpn_bbox_targets" top: "rpn_bbox_inside_weights" top: "rpn_bbox_outside_weights"
  python_param { module: "rpn.anchor_target_layer" layer: "AnchorTargetLayer"
    param_str: "'feat_stride': 16\\n'scales': [2, 4, 8]" } }
layer { name: "proposal" type: "Python" bottom: "rpn_cls_prob" bottom: "rpn_bbox_pred" bottom: "im_info"
  top: "rpn_rois" python_param { module: "rpn.proposal_layer" layer: "ProposalLayer"
    param_str: "'feat_stride': 16\\n'scales': [2, 4, 8]" } }
layer { name: "roi-data" type: "Python" bottom: "rpn_rois" bottom: "gt_boxes"
  top: "rois" top: "labels" top: "bbox_targets" top: "bbox_inside_weights" top: "bbox_outside_weights"
  python_param { module: "rpn.proposal_target_layer" layer: "ProposalTargetLayer"
    param_str: "'num_classes': 4" } }
"""


@pytest.fixture
def net(tmp_path):
    reset_cfg()
    path = tmp_path / "rpn.prototxt"
    path.write_text(NET)
    net = caffe.Net(str(path), caffe.TRAIN)
    rng = np.random.default_rng(0)
    net.blobs["rpn_cls_prob"].data[...] = rng.uniform(0, 1, (1, 18, 10, 13))
    net.blobs["rpn_bbox_pred"].data[...] = rng.normal(0, 0.2, (1, 36, 10, 13))
    net.blobs["im_info"].data[...] = [160, 208, 1]
    return net


def test_objects_get_anchors_and_rois(net):
    net.blobs["gt_boxes"].reshape(2, 5)
    net.blobs["gt_boxes"].data[...] = [[20, 30, 100, 90, 3], [110, 40, 190, 130, 1]]
    net.forward()
    assert net.blobs["rpn_labels"].data.shape == (1, 1, 90, 13)
    assert (net.blobs["rpn_labels"].data == 1).any()
    assert set(net.blobs["labels"].data) == {0, 1, 3}
    num_rois = len(net.blobs["rois"].data)
    assert net.blobs["labels"].data.shape == (num_rois,)
    for name in ("bbox_targets", "bbox_inside_weights", "bbox_outside_weights"):
        assert net.blobs[name].data.shape == (num_rois, 16)
    assert np.isfinite(net.blobs["bbox_targets"].data).all()


def test_an_image_without_objects_gives_background(net):
    net.blobs["gt_boxes"].reshape(0, 5)
    net.forward()
    assert not (net.blobs["rpn_labels"].data == 1).any()
    assert len(net.blobs["rois"].data) == 128 and not net.blobs["labels"].data.any()


def test_nan_outputs_stop_with_the_layer_named(net):
    net.blobs["rpn_bbox_pred"].data[0, 5, 3, 2] = np.nan
    with pytest.raises(FloatingPointError, match="ProposalLayer"):
        net.forward()
