"""R-FCN nets for tests, on Tiny's trunk and RPN: layers, names and settings of py-R-FCN's nets, with fewer bins."""
from pathlib import Path

BINS = 3
HEAD = ["conv_new_1", "rfcn_cls", "rfcn_bbox"]


def _conv(name, bottom, outputs):
    return (f"layer {{ name: '{name}' type: 'Convolution' bottom: '{bottom}' top: '{name}' param {{ lr_mult: 1 }} "
            f"param {{ lr_mult: 2 }} convolution_param {{ num_output: {outputs} kernel_size: 1 "
            "weight_filler { type: 'gaussian' std: 0.03 } bias_filler { type: 'constant' } } }\n")


def _pooled(maps, outputs, pooled, top):
    """Position-sensitive RoI pooling, and the mean over its bins."""
    return (f"layer {{ name: 'psroipooled_{pooled}_rois' type: 'PSROIPooling' bottom: '{maps}' bottom: 'rois' "
            f"top: 'psroipooled_{pooled}_rois' psroi_pooling_param {{ spatial_scale: 0.0625 output_dim: {outputs} "
            f"group_size: {BINS} }} }}\n"
            f"layer {{ name: 'ave_{pooled}_rois' type: 'Pooling' bottom: 'psroipooled_{pooled}_rois' top: '{top}' "
            f"pooling_param {{ pool: AVE kernel_size: {BINS} stride: {BINS} }} }}\n")


def _head(classes, box_classes, boxes="bbox_pred"):
    relu = "layer { name: 'conv_new_1_relu' type: 'ReLU' bottom: 'conv_new_1' top: 'conv_new_1' }\n"
    return (_conv("conv_new_1", "conv5_2", 32) + relu + _conv("rfcn_cls", "conv_new_1", classes * BINS ** 2)
            + _conv("rfcn_bbox", "conv_new_1", 4 * box_classes * BINS ** 2)
            + _pooled("rfcn_cls", classes, "cls", "cls_score") + _pooled("rfcn_bbox", 4 * box_classes, "loc", boxes))


def _losses(labels, weights, count):
    return f"""
layer {{ name: "loss" type: "SoftmaxWithLoss" bottom: "cls_score" bottom: "{labels}" top: "loss_cls" loss_weight: 1
        loss_param {{ ignore_label: -1 }} propagate_down: true propagate_down: false }}
layer {{ name: "accuarcy" type: "Accuracy" bottom: "cls_score" bottom: "{labels}" top: "accuarcy"
        accuracy_param {{ ignore_label: -1 }} propagate_down: false propagate_down: false }}
layer {{ name: "loss_bbox" type: "SmoothL1LossOHEM" bottom: "bbox_pred" bottom: "bbox_targets" bottom: "{weights}"
        top: "loss_bbox" loss_weight: 1 loss_param {{ normalization: PRE_FIXED pre_fixed_normalizer: {count} }}
        propagate_down: true propagate_down: false propagate_down: false }}
"""


def _mining(count):
    return f"""
layer {{ name: "per_roi_loss_cls" type: "SoftmaxWithLossOHEM" bottom: "cls_score" bottom: "labels"
        top: "temp_loss_cls" top: "temp_prob_cls" top: "per_roi_loss_cls"
        loss_weight: 0 loss_weight: 0 loss_weight: 0 propagate_down: false propagate_down: false }}
layer {{ name: "per_roi_loss_bbox" type: "SmoothL1LossOHEM" bottom: "bbox_pred" bottom: "bbox_targets"
        bottom: "bbox_inside_weights" top: "temp_loss_bbox" top: "per_roi_loss_bbox" loss_weight: 0 loss_weight: 0
        propagate_down: false propagate_down: false propagate_down: false }}
layer {{ name: "per_roi_loss" type: "Eltwise" bottom: "per_roi_loss_cls" bottom: "per_roi_loss_bbox"
        top: "per_roi_loss" propagate_down: false propagate_down: false }}
layer {{ name: "annotator_detector" type: "BoxAnnotatorOHEM" bottom: "rois" bottom: "per_roi_loss" bottom: "labels"
        bottom: "bbox_inside_weights" top: "labels_ohem" top: "bbox_loss_weights_ohem"
        box_annotator_ohem_param {{ roi_per_img: {count} ignore_label: -1 }}
        propagate_down: false propagate_down: false propagate_down: false propagate_down: false }}
layer {{ name: "silence" type: "Silence" bottom: "bbox_outside_weights" bottom: "temp_loss_cls" bottom: "temp_prob_cls"
        bottom: "temp_loss_bbox" }}
"""


_TEST_OUTPUTS = """
layer {{ name: "cls_prob" type: "Softmax" bottom: "cls_score" top: "cls_prob_pre" }}
layer {{ name: "cls_prob_reshape" type: "Reshape" bottom: "cls_prob_pre" top: "cls_prob"
        reshape_param {{ shape {{ dim: -1 dim: {} }} }} }}
layer {{ name: "bbox_pred_reshape" type: "Reshape" bottom: "bbox_pred_pre" top: "bbox_pred"
        reshape_param {{ shape {{ dim: -1 dim: {} }} }} }}
"""


def _trunk_apart(folder: Path) -> dict[str, str]:
    """The training and the test net without an RPN, up to the RoI head."""
    train, test = ((folder / name).read_text() for name in ("stage1_fast_rcnn_train.pt", "rpn_test.pt"))
    return {"train.pt": train.partition("# ---- readonly RoI head")[0],
            "test.pt": test.partition("# ---- RPN")[0].replace("im_info", "rois").replace("dim: 1 dim: 3 }",
                                                                                         "dim: 1 dim: 5 }")}


def write_rfcn(folder: Path, tiny: Path, classes: int, ohem: bool = True, agnostic: bool = True,
               count: int = 8, apart: bool = False) -> None:
    """Write train.pt and test.pt.

    tiny   the folder of the net Tiny
    count  RoIs that OHEM selects per image; without OHEM, the normalizer of the box loss
    apart  train on given proposals, without an RPN
    """
    box_classes = 2 if agnostic else classes
    trunk = _trunk_apart(tiny / "faster_rcnn_alt_opt") if apart else {
        name: (tiny / "faster_rcnn_end2end" / name).read_text().partition("# ---- RoI head")[0]
        for name in ("train.pt", "test.pt")}
    train = trunk["train.pt"].replace("'num_classes': 21", f"'num_classes': {box_classes}")
    train += _head(classes, box_classes)
    if ohem:
        train += _mining(count) + _losses("labels_ohem", "bbox_loss_weights_ohem", count)
    else:
        train += _losses("labels", "bbox_inside_weights", count)
        train += "layer { name: 'silence' type: 'Silence' bottom: 'bbox_outside_weights' }\n"
    (folder / "train.pt").write_text(train)
    (folder / "test.pt").write_text(trunk["test.pt"] + _head(classes, box_classes, boxes="bbox_pred_pre")
                                    + _TEST_OUTPUTS.format(classes, 4 * box_classes))
