"""MultiBoxLoss: SSD's loss."""
from __future__ import annotations

import math

import torch
from torch.nn.functional import binary_cross_entropy_with_logits, one_hot

from ...proto import caffe_pb2
from ..bases.box_matching import matched, objects_by_image
from ..bases.default_boxes import count_of_boxes, decoded, encoded, overlaps
from ..bases.detections import suppressed
from ..bases.losses import LOG_FLT_MIN, LossLayer
from ..layer import register

_Settings = caffe_pb2.MultiBoxLossParameter
_LEAST_OVERLAP = 1e-6       # smaller ones count as 0, as in SSD
_LEAST_AREA = 1e-5          # suppression drops smaller boxes
_OBJECT = 8                 # values of an object: image, class, instance, x1, y1, x2, y2, difficult


@register("MultiBoxLoss")
class MultiBoxLoss(LossLayer):
    """SSD's loss: box localisation and classification, with matching and hard negative mining.

    loss = (loc_weight * sum of localisation losses + sum of confidence losses) / normaliser

    bottoms  offsets (N, P L 4) of P default boxes, with L = 1, or L = num_classes without share_location; scores
             (N, P num_classes), before Softmax; default boxes and their variances (1, 2, 4 P), as from PriorBox;
             objects (1, 1, G, 8): batch index (-1: no object), class, instance, x1, y1, x2, y2 normalised by the
             image's width and height, difficult (0 or 1). The values of an item may be shaped in any way. Only the
             first two receive a gradient
    tops     loss ()
    param    multibox_loss_param: num_classes, share_location (true), background_label_id (0), loc_weight (1);
             loc_loss_type SMOOTH_L1 (default) or L2 (half the square); conf_loss_type SOFTMAX (default) or LOGISTIC;
             code_type CORNER (default), CENTER_SIZE or CORNER_SIZE, encode_variance_in_target (false);
             match_type, overlap_threshold (0.5), use_prior_for_matching (true), use_difficult_gt (true),
             ignore_cross_boundary_bbox, map_object_to_agnostic, bp_inside (all false);
             mining_type, neg_pos_ratio (3), neg_overlap (0.5), sample_size (64), nms_param, use_prior_for_nms (false);
             loss_param: normalization VALID (default: number of positives), FULL (N P), BATCH_SIZE (N) or NONE (1). The
             normaliser is at least 1

    Matching: objects and boxes are paired greedily, largest IoU first, one box per object. With PER_PREDICTION
    (default; else BIPARTITE), each remaining box is matched with the object that it overlaps most, if their IoU is at
    least overlap_threshold. Matched boxes are the positives: they learn the object's class and its offsets, encoded
    as DetectionOutput decodes them.
    Mining: MAX_NEGATIVE (default) adds up to neg_pos_ratio negatives per positive of an image: those of the largest
    losses among the boxes whose IoU with all objects is below neg_overlap; they learn the background. HARD_EXAMPLE
    takes the sample_size boxes of an image with the largest losses, positive or negative. NONE takes all boxes; with
    mining, an image without objects adds nothing. Mining needs share_location. Ties go to the first box.
    With an nms_threshold above 0 in nms_param, mining only chooses among boxes that survive non-maximum suppression, by
    descending loss, of the candidates, or of the top_k with the largest losses. Predicted boxes (with use_prior_for_nms
    the default boxes) are dropped if their area is below 1e-5 or their IoU with a kept box is above nms_threshold.
    A class out of range raises LayerError on the CPU; on CUDA, where the check would synchronise, it makes the loss
    NaN.
    Liu et al., "SSD", 2016, section 2.2. Source: src/caffe/layers/multibox_loss_layer.cpp of SSD.
    """

    exact_bottoms = 4
    no_backward_to = not_forced = (2, 3)
    backward_reads_bottoms = backward_reads_tops = False
    other_settings = ("loss_param",)
    unread_settings = ("loss_param.ignore_label",)

    def setup(self, bottom, top):
        param = self.settings = self.param.multibox_loss_param
        self.classes, self.background = param.num_classes, param.background_label_id
        self.locations = 1 if param.share_location else self.classes
        if self.background >= self.classes:
            self.fail(f"background_label_id must be below num_classes {self.classes}, found {self.background}")
        if param.map_object_to_agnostic and (self.classes, self.background) != (2, 0):
            self.fail(f"map_object_to_agnostic needs num_classes 2 and background_label_id 0, found {self.classes} "
                      f"and {self.background}")
        self._check_mining()

    def _check_mining(self) -> None:
        param, mines = self.settings, self.settings.mining_type != _Settings.NONE
        if param.HasField("do_neg_mining") and param.do_neg_mining != mines:
            self.fail(f"do_neg_mining: {str(param.do_neg_mining).lower()} contradicts mining_type "
                      f"{_Settings.MiningType.Name(param.mining_type)}")
        if not param.share_location and (mines or not param.use_prior_for_matching):
            self.fail("share_location: false needs mining_type: NONE and use_prior_for_matching: true")
        if param.sample_size < 1:
            self.fail(f"sample_size must be at least 1, found {param.sample_size}")
        if not 0 <= param.neg_pos_ratio < math.inf:
            self.fail(f"neg_pos_ratio must be finite and at least 0, found {param.neg_pos_ratio}")

    def reshape(self, bottom, top):
        top[0].reshape()
        self.count = count_of_boxes(self, bottom, self.locations, self.classes, (2,))
        if bottom[3].shape[-1:] != (_OBJECT,):
            self.fail(f"expected objects of {_OBJECT} values (1, 1, G, {_OBJECT}), found shape {bottom[3].shape}")

    def forward(self, bottom, top):
        offsets = bottom[0].tensor.reshape(-1, self.count, self.locations, 4)
        scores = bottom[1].tensor.reshape(-1, self.count, self.classes)
        priors, self.variances = bottom[2].tensor.reshape(2, self.count, 4)
        objects = self._objects(bottom[3].tensor.reshape(-1, _OBJECT), len(offsets))
        compared = priors[None] if self.settings.use_prior_for_matching else self._predicted(offsets, priors)
        match, most = self._matches(compared, objects)
        own = objects.gather(1, match.clamp(min=0)[..., None].expand(-1, -1, _OBJECT))      # arbitrary if unmatched
        labels = own[..., 1].long().where(match >= 0, self.background)
        self.targets = labels.clamp(0, self.classes - 1)
        learned = (match >= 0)[..., None]
        if self.settings.bp_inside:
            learned = learned & _is_inside(compared)
        self.difference = self._difference(offsets, own[..., 3:7], priors).where(learned, 0)
        offset_losses = self._offset_losses()
        score_losses = self._score_losses(scores).where(labels == self.targets, math.nan)
        has_objects = (objects[..., 0] >= 0).any(1, keepdim=True)
        rivals = self._rivals(offsets, priors)
        self.positive, self.counted = self._mined(match, most, has_objects, offset_losses, score_losses, rivals)
        self.normaliser = self.divisor(self.normalization(), len(offsets), self.count, self.positive.sum())
        total = self.settings.loc_weight * offset_losses.where(self.positive, 0).sum()
        top[0].tensor = (total + score_losses.where(self.counted, 0).sum()) / self.normaliser

    def backward(self, top, propagate_down, bottom):
        scale = top[0].grad / self.normaliser
        if propagate_down[0]:
            is_l2 = self.settings.loc_loss_type == _Settings.L2
            slope = self.difference if is_l2 else self.difference.clamp(-1, 1)
            slope = slope.where(self.positive[..., None], 0) * (scale * self.settings.loc_weight)
            if self.settings.encode_variance_in_target:
                slope = slope / self.variances
            total = slope.new_zeros(*slope.shape[:2], self.locations, 4)
            bottom[0].grad = total.scatter_(2, self._places(), slope[:, :, None]).reshape(bottom[0].shape)
        if propagate_down[1]:
            slope = (self.probabilities - self._one_hot()) * scale
            bottom[1].grad = slope.where(self.counted[..., None], 0).reshape(bottom[1].shape)

    # ---- objects and boxes
    def _objects(self, rows: torch.Tensor, images: int) -> torch.Tensor:
        """The objects of each image (N, G, 8), padded with -1. Raises LayerError on the CPU for an invalid class."""
        if not self.settings.use_difficult_gt:
            rows = rows[rows[:, 7] == 0]
        found = objects_by_image(rows, images)
        if self.settings.map_object_to_agnostic:
            found[..., 1] = self.background + 1
        elif rows.device.type == "cpu":
            labels = found[..., 1][found[..., 0] >= 0].long()
            self.check_labels(labels, self.classes)
            if (labels == self.background).any():
                self.fail(f"an object is of the background's class {self.background}")
        return found

    def _predicted(self, offsets: torch.Tensor, priors: torch.Tensor) -> torch.Tensor:
        """The predicted boxes (N, P, 4)."""
        factors = 1 if self.settings.encode_variance_in_target else self.variances
        return decoded(offsets[:, :, 0] * factors, priors, self.settings.code_type)

    def _matches(self, boxes: torch.Tensor, objects: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The object of each box, -1 for none, or -2 if the box is ignored; and the box's largest IoU: (N, P) each."""
        param = self.settings
        overlap = overlaps(boxes[:, :, None], objects[:, None, :, 3:7])
        overlap = overlap.where(overlap > _LEAST_OVERLAP, 0)
        threshold = param.overlap_threshold if param.match_type == _Settings.PER_PREDICTION else None
        if not param.ignore_cross_boundary_bbox:
            return matched(overlap, threshold), overlap.amax(2)
        is_inside = _is_inside(boxes).all(-1)
        overlap = overlap.where(is_inside[..., None], 0)
        return matched(overlap, threshold).where(is_inside, -2), overlap.amax(2)

    def _places(self) -> torch.Tensor:
        """The index of the location whose offsets learn, for gather and scatter: (N, P, 1, 4)."""
        place = self.targets if self.locations > 1 else torch.zeros_like(self.targets)
        return place[..., None, None].expand(-1, -1, 1, 4)

    # ---- losses
    def _difference(self, offsets: torch.Tensor, boxes: torch.Tensor, priors: torch.Tensor) -> torch.Tensor:
        """Predicted minus target offsets, divided by the variances, (N, P, 4)."""
        own = offsets.gather(2, self._places())[:, :, 0]
        target = encoded(boxes, priors, self.settings.code_type)
        if self.settings.encode_variance_in_target:
            return (own - target) / self.variances
        return own - target / self.variances

    def _offset_losses(self) -> torch.Tensor:
        """The localisation loss of each box, (N, P)."""
        squares = self.difference.square() / 2
        if self.settings.loc_loss_type == _Settings.L2:
            return squares.sum(-1)
        size = self.difference.abs()
        return squares.where(size < 1, size - 0.5).sum(-1)

    def _score_losses(self, scores: torch.Tensor) -> torch.Tensor:
        """The confidence loss of each box, (N, P)."""
        if self.settings.conf_loss_type == _Settings.LOGISTIC:
            self.probabilities = scores.sigmoid()
            return binary_cross_entropy_with_logits(scores, self._one_hot(), reduction="none").sum(-1)
        logarithms = scores.log_softmax(-1)
        self.probabilities = logarithms.exp()
        return -logarithms.gather(-1, self.targets[..., None])[..., 0].clamp(min=LOG_FLT_MIN)

    def _one_hot(self) -> torch.Tensor:
        return one_hot(self.targets, self.classes).to(self.difference.dtype)

    # ---- mining
    def _mined(self, match: torch.Tensor, most: torch.Tensor, has_objects: torch.Tensor, offset_losses: torch.Tensor,
               score_losses: torch.Tensor, rivals: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor]:
        """Whether each box learns its offsets, and whether it learns its scores: (N, P) each."""
        param, positive = self.settings, match >= 0
        if param.mining_type == _Settings.NONE:
            return positive, torch.ones_like(positive)
        if param.mining_type == _Settings.MAX_NEGATIVE:
            may_be_negative = (match == -1) & (most < param.neg_overlap)
            numbers = (positive.sum(1, keepdim=True) * param.neg_pos_ratio).floor()
            return positive, positive | self._hardest(score_losses, may_be_negative, numbers, rivals)
        numbers = torch.full_like(has_objects, param.sample_size, dtype=torch.long)
        chosen = self._hardest(offset_losses + score_losses, has_objects.expand_as(match), numbers, rivals)
        return positive & chosen, chosen & (match >= -1)

    def _rivals(self, offsets: torch.Tensor, priors: torch.Tensor) -> torch.Tensor | None:
        """The boxes (N, P, 4) for the suppression before mining, or None without suppression."""
        param = self.settings
        suppresses = param.HasField("nms_param") and param.nms_param.nms_threshold > 0
        if not suppresses or param.mining_type == _Settings.NONE:
            return None
        return priors.expand(len(offsets), -1, -1) if param.use_prior_for_nms else self._predicted(offsets, priors)

    def _hardest(self, losses: torch.Tensor, candidates: torch.Tensor, numbers: torch.Tensor,
                 rivals: torch.Tensor | None) -> torch.Tensor:
        """The candidates (N, P) with the largest losses, up to `numbers` (N, 1) per image."""
        order = losses.where(candidates, -math.inf).argsort(dim=1, descending=True, stable=True)
        may_be_chosen = candidates.gather(1, order)
        if rivals is not None:
            nms = self.settings.nms_param
            ranked = rivals.gather(1, order[..., None].expand_as(rivals))
            may_be_chosen &= (ranked[..., 2:] - ranked[..., :2]).clamp(min=0).prod(-1) >= _LEAST_AREA
            if nms.HasField("top_k") and nms.top_k >= 0:
                may_be_chosen[:, nms.top_k:] = False
            may_be_chosen = suppressed(ranked[:, None], may_be_chosen[:, None], nms.nms_threshold,
                                       most=int(numbers.max()))[:, 0]
        may_be_chosen &= may_be_chosen.cumsum(1) <= numbers
        return torch.zeros_like(candidates).scatter_(1, order, may_be_chosen)


def _is_inside(boxes: torch.Tensor) -> torch.Tensor:
    """Whether each coordinate is within the image."""
    return (boxes >= 0) & (boxes <= 1)
