"""BoxAnnotatorOHEM: R-FCN's online hard example mining."""
from __future__ import annotations

import math

import torch

from ..layer import AutogradLayer, register


@register("BoxAnnotatorOHEM")
class BoxAnnotatorOHEM(AutogradLayer):
    """Online hard example mining: only the roi_per_img RoIs of each image with the highest losses keep their targets.

    bottoms  RoIs (R, 5): batch index, x1, y1, x2, y2; the loss of each RoI (R,); labels (R,); bounding-box regression
             weights (R, C). If they have further axes, each position counts as a RoI
    tops     labels (R, 1, ...), `ignore_label` for RoIs that are not selected; weights, same shape as bottom 3, 0 for
             these RoIs
    param    box_annotator_ohem_param: roi_per_img; ignore_label (-1)

    Ties go to the earlier RoI; NaN ranks as the highest loss. An image with fewer RoIs keeps them all.
    Labels and weights that are kept pass their gradients through; the selection itself has none.
    Shrivastava et al., "Training region-based object detectors with online hard example mining", 2016; Dai et al.,
    "R-FCN", 2016. Source: src/caffe/layers/box_annotator_ohem_layer.cpp of R-FCN, where the order of ties is undefined.
    """

    exact_bottoms = 4
    exact_tops = 2

    def setup(self, bottom, top):
        if self.param.box_annotator_ohem_param.roi_per_img < 1:
            self.fail("box_annotator_ohem_param needs a roi_per_img of at least 1, found 0")

    def reshape(self, bottom, top):
        shape = bottom[0].shape
        if len(shape) < 2 or shape[1] != 5:
            self.fail(f"expected RoIs of shape (R, 5), found {shape}")
        places = shape[0] * math.prod(shape[2:])
        for index, what in ((1, "losses"), (2, "labels")):
            if bottom[index].count != places:
                self.fail(f"expected {places} {what}, one for each RoI, found {bottom[index].count} "
                          f"(shape {bottom[index].shape})")
        weights = bottom[3].shape
        if len(weights) < 2 or weights[:1] + weights[2:] != shape[:1] + shape[2:]:
            self.fail(f"expected weights of shape (R, C) for RoIs of shape {shape}, found {weights}")
        top[0].reshape(shape[0], 1, *shape[2:])
        top[1].reshape(*weights)

    def compute(self, *tensors: torch.Tensor):
        rois, losses, labels, weights = tensors
        images = rois[:, :1]
        if images.device.type == "cpu" and not (images >= 0).all():     # on CUDA the check would synchronise
            self.fail(f"the image of a RoI must be 0 or more, found {float(images[~(images >= 0)][0]):g}")
        param = self.param.box_annotator_ohem_param
        kept = hardest(images.flatten().long(), losses.detach().flatten(), param.roi_per_img).reshape(images.shape)
        return labels.reshape(images.shape).where(kept, param.ignore_label), weights.where(kept, 0)


def hardest(images: torch.Tensor, losses: torch.Tensor, count: int) -> torch.Tensor:
    """Whether each item (R,) is among the `count` highest losses of its image: (R,) bool."""
    order = losses.argsort(descending=True, stable=True)
    of_image, within = images[order].sort(stable=True)      # by image, then by loss
    rank = torch.arange(len(images), device=images.device) - torch.searchsorted(of_image, of_image)
    return torch.zeros_like(images, dtype=torch.bool).index_put_((order[within],), rank < count)
