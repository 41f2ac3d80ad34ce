"""Sections shared by the prototxts of all nets: data, RPN, RoI head, hard example mining."""
from __future__ import annotations

from collections.abc import Callable, Sequence

from caffe import layers as L
from caffe.net_spec import Top
from utils.names import BOX_BLOBS, HARD, READONLY, ROI_BLOBS, RPN_BLOBS, RPN_BOX_LAYER, RPN_SCORE_LAYER, RPN_TARGETS

from .draft import Draft
from .nets import gaussian, gaussian_for
from .trunks import Settings

_SAMPLING_RATIO = 2     # ROIAlign: sampling_ratio ** 2 points of each bin, as in torchvision

# `param` of a layer with weights and bias: learned (biases with twice the learning rate), frozen, none in test nets
LEARNED: Settings = dict(param=[dict(lr_mult=1), dict(lr_mult=2)])
FROZEN: Settings = dict(param=[dict(lr_mult=0, decay_mult=0), dict(lr_mult=0, decay_mult=0)])
NONE: Settings = {}

ROI_TOPS = (*ROI_BLOBS, *BOX_BLOBS)


def shared(layer: str) -> Settings:
    """Learned parameters, named so that the readonly head can share them."""
    return dict(param=[dict(name=f"{layer}_w", lr_mult=1), dict(name=f"{layer}_b", lr_mult=2)])


def readonly(layer: str) -> Settings:
    """Parameters shared with the trained head, which sets their learning rates."""
    return dict(param=[dict(name=f"{layer}_w"), dict(name=f"{layer}_b")])


def _fillers(param: Settings, fillers: Settings) -> Settings:
    """The fillers of a layer; none in a test net."""
    return fillers if param else {}


def _python(draft: Draft, name: str, module: str, layer: str, tops: Sequence[str], param_str: str,
            *bottoms: Top, **settings: object) -> None:
    """A Python layer; its tops are added to the NetSpec by name."""
    made = L.Python(*bottoms, name=name, ntop=len(tops), module=module, layer=layer, param_str=param_str,
                    **settings)
    for top, output in zip(tops, made if len(tops) > 1 else [made], strict=True):
        draft.n[top] = output


def _class_layer(draft: Draft, name: str, module: str, layer: str, tops: Sequence[str], *bottoms: Top,
                 **settings: object) -> None:
    """A Python layer that takes the number of classes."""
    _python(draft, name, module, layer, tops, draft.task.class_param, *bottoms, **settings)
    draft.remark(name, draft.task.classes_text)


def _anchor_layer(draft: Draft, name: str, module: str, layer: str, tops: Sequence[str], *bottoms: Top) -> None:
    """A Python layer that lays out the anchors."""
    _python(draft, name, module, layer, tops, draft.task.anchor_param, *bottoms)
    draft.remark(name, draft.task.anchors_text)


def rpn_data(draft: Draft) -> None:
    """Images with their size and ground-truth boxes."""
    _class_layer(draft, "input-data", "roi_data_layer.layer", "RoIDataLayer", RPN_BLOBS)


def roi_data(draft: Draft) -> None:
    """Images with RoIs and their targets."""
    _class_layer(draft, "data", "roi_data_layer.layer", "RoIDataLayer", ["data", *ROI_TOPS])


def test_data(draft: Draft) -> None:
    """Inputs of a test net; the tools reshape them to the image."""
    draft.n.data = L.Input(shape=dict(dim=[1, 3, 224, 224]))
    draft.n.im_info = L.Input(shape=dict(dim=[1, 3]))


def trunk(draft: Draft, frozen_groups: int | None) -> Top:
    """The shared convolutions, the first groups of them frozen; None in a test net."""
    draft.section("convolutions shared by RPN and Fast R-CNN")
    if frozen_groups is None:
        return draft.net.trunk(draft.n, draft.n.data, lambda group: NONE, {})
    return draft.net.trunk(draft.n, draft.n.data, lambda group: FROZEN if group <= frozen_groups else LEARNED,
                           draft.net.trunk_filler)


def rpn(draft: Draft, features: Top, names: tuple[str, str, str], param: Settings) -> None:
    """Scores rpn_cls_score and box deltas rpn_bbox_pred for every anchor at every position."""
    n, anchors = draft.n, draft.task.num_anchors
    conv, relu, blob = names
    n[blob] = L.Convolution(features, name=conv, num_output=draft.net.rpn_channels, pad=1, kernel_size=3,
                            **param, **_fillers(param, gaussian(0.01)))
    n["rpn_relu"] = L.ReLU(n[blob], name=relu, in_place=True)
    for layer, count, meaning in ((RPN_SCORE_LAYER, 2 * anchors, "2 (background, object)"),
                                  (RPN_BOX_LAYER, 4 * anchors, "4 (dx, dy, dw, dh)")):
        n[layer] = L.Convolution(n.rpn_relu, num_output=count, kernel_size=1, **param,
                                 **_fillers(param, gaussian(0.01)))
        draft.remark(layer, f"{meaning} x {anchors} anchors = {count}")


def rpn_scores_reshape(draft: Draft) -> None:
    """(1, 2A, H, W) to (1, 2, A * H, W): one softmax over background and object for each anchor."""
    draft.n.rpn_cls_score_reshape = L.Reshape(draft.n.rpn_cls_score, shape=dict(dim=[0, 2, -1, 0]))


def rpn_losses(draft: Draft) -> None:
    """Targets of the anchors, and the losses of the RPN; anchors labelled -1 are ignored."""
    n = draft.n
    _anchor_layer(draft, "rpn-data", "rpn.anchor_target_layer", "AnchorTargetLayer", RPN_TARGETS,
                  n.rpn_cls_score, n.gt_boxes, n.im_info, n.data)
    n.rpn_cls_loss = L.SoftmaxWithLoss(n.rpn_cls_score_reshape, n.rpn_labels, name="rpn_loss_cls",
                                       propagate_down=[True, False], loss_weight=1,
                                       loss_param=dict(ignore_label=-1, normalize=True))
    n.rpn_loss_bbox = L.SmoothL1Loss(n.rpn_bbox_pred, *(n[top] for top in RPN_TARGETS[1:]),
                                     loss_weight=1, sigma=3)


def proposals(draft: Draft, tops: Sequence[str]) -> None:
    """The best boxes of the RPN as RoIs, with their scores if two tops are named."""
    n, anchors = draft.n, draft.task.num_anchors
    n.rpn_cls_prob = L.Softmax(n.rpn_cls_score_reshape)
    n.rpn_cls_prob_reshape = L.Reshape(n.rpn_cls_prob, shape=dict(dim=[0, 2 * anchors, -1, 0]))
    draft.remark("rpn_cls_prob_reshape", f"2 (background, object) x {anchors} anchors = {2 * anchors}")
    _anchor_layer(draft, "proposal", "rpn.proposal_layer", "ProposalLayer", tops,
                  n.rpn_cls_prob_reshape, n.rpn_bbox_pred, n.im_info)


def proposal_targets(draft: Draft) -> None:
    """Proposals and ground-truth boxes with their targets: a sample, or all of them for hard example mining."""
    _class_layer(draft, "roi-data", "rpn.proposal_target_layer", "ProposalTargetLayer", ROI_TOPS,
                 draft.n.rpn_rois, draft.n.gt_boxes)


def head_features(draft: Draft, features: Top) -> Top:
    """The features from which RoIs are pooled: the trunk's output times `feature_scale`."""
    if draft.net.feature_scale == 1:
        return features
    draft.n.head_features = L.Power(features, scale=draft.net.feature_scale)
    return draft.n.head_features


def roi_head(draft: Draft, features: Top, rois: Top, param: Callable[[str], Settings], suffix: str = "",
             **pool_settings: object) -> None:
    """Class scores and box deltas of each RoI. With a suffix its layers never have a backward pass."""
    n, net, classes = draft.n, draft.net, draft.task.num_classes
    blocked = dict(propagate_down=False) if suffix else {}
    if suffix:
        pool_settings = dict(propagate_down=[False, False])
    layer, blob = net.pool_names
    if net.roi_layer == "ROIAlign":
        pool_settings = dict(pool_settings, sampling_ratio=_SAMPLING_RATIO)
    n[blob + suffix] = top = getattr(L, net.roi_layer)(
        features, rois, name=layer + suffix, pooled_w=net.pool_size, pooled_h=net.pool_size, spatial_scale=1 / 16,
        **pool_settings)
    for number, size, fillers in zip("67", net.fc_sizes, net.fc_fillers, strict=True):
        settings = param(f"fc{number}")
        n[f"fc{number}{suffix}"] = L.InnerProduct(top, num_output=size, **settings, **blocked,
                                                  **_fillers(settings, fillers))
        n[f"relu{number}{suffix}"] = top = L.ReLU(n[f"fc{number}{suffix}"], in_place=True, **blocked)
        if net.dropout:
            n[f"drop{number}{suffix}"] = top = L.Dropout(top, in_place=True, **net.dropout, **blocked)
    outputs = {"cls_score": classes, "bbox_pred": 4 * classes}
    output_fillers = net.output_fillers or [gaussian_for(net.fc_sizes[1])] * 2
    for (name, count), fillers in zip(outputs.items(), output_fillers, strict=True):
        settings = param(name)
        n[name + suffix] = L.InnerProduct(top, num_output=count, **settings, **blocked, **_fillers(settings, fillers))
    draft.remark("cls_score" + suffix, draft.task.classes_text)
    draft.remark("bbox_pred" + suffix, f"4 (dx, dy, dw, dh) x {classes} classes = {4 * classes}")


def roi_losses(draft: Draft, suffix: str = "") -> None:
    """Losses on the targets whose blobs end in `suffix`."""
    n = draft.n
    n.loss_cls = L.SoftmaxWithLoss(n.cls_score, n["labels" + suffix], propagate_down=[True, False], loss_weight=1)
    n.loss_bbox = L.SmoothL1Loss(n.bbox_pred, *(n[top + suffix] for top in BOX_BLOBS),
                                 propagate_down=[True, False, False, False], loss_weight=1)


def hard_mining(draft: Draft, features: Top) -> None:
    """A copy of the RoI head with shared weights evaluates all RoIs; those with the largest losses are kept."""
    n = draft.n
    roi_head(draft, features, n.rois, readonly, READONLY)
    n.cls_prob_readonly = L.Softmax(n.cls_score_readonly, propagate_down=False)
    bottoms = [n.cls_prob_readonly, n.bbox_pred_readonly, *(n[top] for top in ROI_TOPS)]
    _class_layer(draft, "hard_roi_mining", "roi_data_layer.layer", "OHEMDataLayer",
                 [top + HARD for top in ROI_TOPS], *bottoms, propagate_down=[False] * len(bottoms))


def untrained_rpn(draft: Draft, features: Top, names: tuple[str, str, str]) -> None:
    """The RPN without a loss, so that a stage that does not train it still saves its weights."""
    draft.section("RPN: not trained here, present so that its weights are saved with the others")
    rpn(draft, features, names, FROZEN)
    for layer in (RPN_SCORE_LAYER, RPN_BOX_LAYER):
        draft.n[f"silence_{layer}"] = L.Silence(draft.n[layer], ntop=0)


def untrained_fc(draft: Draft) -> None:
    """fc6 and fc7 on dummy input, so that a stage that does not train them still saves their weights."""
    draft.section("RoI head: not trained here, present so that its weights are saved with the others")
    n, net = draft.n, draft.net
    n.dummy_roi_pool_conv5 = L.DummyData(shape=dict(dim=[1, net.fc6_inputs]),
                                         data_filler=dict(type="gaussian", std=0.01))
    draft.remark("dummy_roi_pool_conv5", f"{net.feature_channels} channels x {net.pool_size}^2 = {net.fc6_inputs}")
    (fc6, fc7), (fillers6, fillers7) = net.fc_sizes, net.fc_fillers
    n.fc6 = L.InnerProduct(n.dummy_roi_pool_conv5, num_output=fc6, **FROZEN, **fillers6)
    n.relu6 = L.ReLU(n.fc6, in_place=True)
    n.fc7 = L.InnerProduct(n.relu6, num_output=fc7, **FROZEN, **fillers7)
    n.silence_fc7 = L.Silence(n.fc7, ntop=0)
