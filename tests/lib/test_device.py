"""Python layers with values on a device, here one from which values cannot be fetched.

What passes here does not wait for a GPU.
"""
import importlib

import numpy as np
import pytest
import torch

import caffe
from caffe.engine import device
from fast_rcnn.config import reset_cfg
from roi_data_layer import ohem_tensors
from rpn import proposal_tensors
from rpn.anchor_target_layer import AnchorTargetLayer
from rpn.proposal_target_layer import ProposalTargetLayer
from rpn.proposals import ProposalSettings
from utils.other_caffe import as_tensor


@pytest.fixture(autouse=True)
def elsewhere(monkeypatch):
    """In place of CUDA; fetching values from it raises NotImplementedError."""
    reset_cfg()
    monkeypatch.setattr(device, "current_device", lambda: torch.device("meta"))


def host_blob(values):
    blob = caffe.Blob()
    blob.set_data(np.asarray(values, np.float32))
    return blob


def device_blob(*shape):
    blob = caffe.Blob(*shape)
    blob.tensor = torch.empty(shape, device="meta")
    return blob


def run_passes(cls, param_str, bottom, num_tops):
    """Two passes, between which other layers use the tops as tensors; returns the tops' arrays."""
    layer, top = cls(), [caffe.Blob() for _ in range(num_tops)]
    layer.param_str, layer.phase = param_str, caffe.TRAIN
    layer.setup(bottom, top)
    for _ in range(2):
        assert all(blob.tensor.is_meta for blob in top)
        layer.reshape(bottom, top)
        layer.forward(bottom, top)
    return [blob.data for blob in top]


def test_anchor_targets_need_only_the_shape_of_scores_and_image():
    bottom = [device_blob(1, 18, 5, 7), host_blob([[20, 16, 70, 60, 3]]), host_blob([[80, 112, 1]]),
              device_blob(1, 3, 80, 112)]
    labels, *maps = run_passes(AnchorTargetLayer, "'feat_stride': 16\n'scales': [1, 2, 4]", bottom, 4)
    assert labels.shape == (1, 1, 45, 7) and set(labels.ravel()) == {-1, 0, 1}
    assert [blob.shape for blob in maps] == [(1, 36, 5, 7)] * 3 and all(blob.any() for blob in maps)


def test_proposal_targets_are_computed_on_the_host():
    bottom = [host_blob([[0, 22, 17, 70, 60], [0, 0, 0, 30, 20]]), host_blob([[20, 16, 70, 60, 3]])]
    rois, labels, *_ = run_passes(ProposalTargetLayer, "'num_classes': 4", bottom, 5)
    assert len(rois) == len(labels) and 3 in labels


def on_device(*shape):
    return torch.empty(shape, device="meta")


def test_hard_examples_are_mined_without_reading_a_value():
    boxes = [on_device(31, 24) for _ in range(4)]
    losses = ohem_tensors.roi_losses(on_device(31, 6), on_device(31), *boxes)
    hard = ohem_tensors.select_hard_examples(losses, 9)
    hard = ohem_tensors.add_random_rois(hard, on_device(31), 4, 1, as_tensor(np.arange(31)).long())
    rows = [tensor.index_select(0, hard) for tensor in (losses, on_device(31, 5), on_device(31), *boxes[1:])]
    assert [tuple(row.shape) for row in rows] == [(13,), (13, 5), (13,), (13, 24), (13, 24), (13, 24)]


def test_proposals_are_found_without_reading_a_value(monkeypatch):
    """Without the kernel, which the device lacks."""
    monkeypatch.setattr(importlib.import_module("caffe.kernels.nms"), "_sweep_cpu", lambda *arguments: None)
    boxes, scores, number = proposal_tensors.proposals(
        on_device(90), on_device(90, 4), (80, 112, 1.5), on_device(90, 4), ProposalSettings(60, 20))
    assert boxes.shape == (20, 4) and scores.shape == (20,) and number.shape == ()
    rois, roi_scores = proposal_tensors.as_rois([(boxes, scores)] * 3, [7, 0, 20], np.ones((3, 3)))
    assert rois.shape == (28, 5) and roi_scores.shape == (28, 1)
