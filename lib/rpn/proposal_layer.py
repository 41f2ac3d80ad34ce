"""The layer that turns the outputs of the region proposal network into RoIs; the computation is in proposals.py."""
from __future__ import annotations

from collections.abc import Sequence

import numpy as np

import caffe
from fast_rcnn.config import cfg
from onnx_export.boxes import Part
from rpn import proposal_tensors
from rpn.generate_anchors import generate_anchors, shift_anchors
from rpn.proposal_onnx import add_proposals
from rpn.proposals import NAN_MESSAGE, ProposalSettings, proposals
from utils.errors import NotFiniteError
from utils.layer_params import anchor_layout
from utils.names import RPN_OUTPUTS
from utils.other_caffe import (
    Blob,
    SettingError,
    Tensor,
    blob_list,
    blob_shape,
    is_on_gpu,
    set_blobs,
    set_tensors,
)
from utils.python_layer import check_count, layer_name, layer_setting, phase_name


class ProposalLayer(caffe.Layer):
    """Turns the outputs of the region proposal network into RoIs.

    bottom  rpn_cls_prob_reshape (N, 2A, H, W), object scores in channels A .. 2A-1; rpn_bbox_pred
            (N, 4A, H, W), channel 4a + i; im_info (N, 3) height, width, scale
    top     rois (R, 5) image index, x1, y1, x2, y2 in pixels of the scaled image, by descending score within
            an image; optionally scores (R, 1)

    param_str: feat_stride (pixels from cell to cell), scales (8, 16, 32), ratios (0.5, 1, 2).
    Limits are cfg.TRAIN.RPN_* or cfg.TEST.RPN_* at setup, by the net's phase. There is no gradient.
    With cfg.USE_GPU_NMS everything is computed on the scores' GPU; only reading the number of RoIs synchronises.
    """

    def setup(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        self._stride, scales, ratios = layer_setting(self, anchor_layout)
        check_count(self, "bottoms", bottom, ["rpn_cls_prob_reshape", "rpn_bbox_pred", "im_info"])
        check_count(self, "tops", top, RPN_OUTPUTS, optional=1)
        self._anchors = generate_anchors(ratios=ratios, scales=scales)
        # On a GPU, the anchors of the largest feature map so far, (rows, columns, 4A)
        self._grid: Tensor | None = None
        self._settings = ProposalSettings.from_cfg(cfg, phase_name(self))
        self._check(bottom)
        top[0].reshape(1, 5)
        if len(top) > 1:
            top[1].reshape(1, 1)

    def _check(self, bottom: Sequence[Blob]) -> None:
        """Raise SettingError if the numbers of anchors, which a prototxt sets in several places, differ."""
        count = len(self._anchors)
        found = blob_shape(bottom[0])[1], blob_shape(bottom[1])[1]
        if found != (2 * count, 4 * count):
            raise SettingError(
                f"{layer_name(self)}: {count} anchors (ratios x scales) need {2 * count} score channels and "
                f"{4 * count} regression channels, found {found[0]} and {found[1]}: change num_output of the "
                "two RPN convolutions and dim of the Reshape, or the scales of this layer")

    def reshape(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        """Shapes depend on the number of RoIs: forward sets them."""

    def forward(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        if is_on_gpu(bottom[0]) and self._settings.gpu is not None:
            self._propose_on_gpu(bottom, top)
        else:
            self._propose(bottom, top)

    def _propose(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        scores, deltas, im_info = (blob.data for blob in blob_list(bottom))
        num_images, _, height, width = scores.shape
        count = len(self._anchors)
        anchors = shift_anchors(self._anchors, height, width, self._stride)
        rois, roi_scores = [], []
        for image in range(num_images):
            boxes, best, _ = proposals(scores[image, count:].transpose(1, 2, 0).ravel(),
                                       deltas[image].transpose(1, 2, 0).reshape(-1, 4),
                                       im_info.reshape(num_images, -1)[image], anchors, self._settings)
            rois.append(np.insert(boxes, 0, image, axis=1))
            roi_scores.append(best)
        outputs = np.vstack(rois), np.concatenate(roi_scores)[:, None]
        set_blobs(top, outputs[:len(top)])

    def _propose_on_gpu(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        scores, deltas = bottom[0].tensor, bottom[1].tensor
        num_images, _, height, width = scores.shape
        im_info = bottom[2].data.reshape(num_images, -1)        # on the host already
        anchors = self._anchors_on_gpu(height, width, deltas)
        found = [proposal_tensors.proposals(scores[image, len(self._anchors):].permute(1, 2, 0).flatten(),
                                            deltas[image].permute(1, 2, 0).reshape(-1, 4), im_info[image], anchors,
                                            self._settings) for image in range(num_images)]
        numbers = [int(number) for _, _, number in found]       # synchronises with the GPU: tops need shapes
        if min(numbers) < 0:
            raise NotFiniteError(NAN_MESSAGE)
        outputs = proposal_tensors.as_rois([of_image[:2] for of_image in found], numbers, im_info)
        set_tensors(top, outputs[:len(top)])

    def _anchors_on_gpu(self, height: int, width: int, like: Tensor) -> Tensor:
        """`shift_anchors` of a feature map, cached on the device of the tensor `like`."""
        if self._grid is None or self._grid.shape[0] < height or self._grid.shape[1] < width:
            rows, columns = (height, width) if self._grid is None else np.maximum((height, width), self._grid.shape[:2])
            anchors = shift_anchors(self._anchors, rows, columns, self._stride)
            self._grid = like.new_tensor(anchors.reshape(rows, columns, -1))
        return self._grid[:height, :width].reshape(-1, 4).to(like)

    def to_onnx(self, step: Part) -> list[str]:
        """Add the layer to an ONNX graph of one image; called by the engine's export."""
        if blob_shape(step.bottoms[0])[0] != 1:
            step.refuse("it is exported for a batch of one image")
        scores, deltas, im_info = step.inputs
        found = add_proposals(step, scores, deltas, im_info, self._anchors, self._stride,
                              self._settings)[:len(step.tops)]
        step.set_varying(*found)
        return list(found)

    def backward(self, top: Sequence[Blob], propagate_down: Sequence[bool], bottom: Sequence[Blob]) -> None:
        """RoIs are treated as constants."""
