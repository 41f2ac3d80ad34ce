"""Names of blobs and layers, and types of layers, shared by nets, layers, options and checks."""

RPN_BLOBS = ("data", "im_info", "gt_boxes")     # tops of the data layer that trains an RPN
ROI_BLOBS = ("rois", "labels")                  # tops after "data" of Fast R-CNN's data layer: RoIs and their classes
BOX_BLOBS = ("bbox_targets", "bbox_inside_weights", "bbox_outside_weights")     # targets and weights of box regression
RPN_TARGETS = ("rpn_labels", *(f"rpn_{name}" for name in BOX_BLOBS))     # labels, targets and weights of anchors
RPN_OUTPUTS = ("rois", "scores")                # of a net that proposes: RoIs and their object scores
DETECTOR_OUTPUTS = ("cls_prob", "bbox_pred")    # of a net that detects: class probabilities and box deltas of RoIs
READ_LATER = ("rois", "cls_score")              # other blobs of such a net that `im_detect` reads after a forward pass
BOX_LAYERS = ("bbox_pred", "rfcn_bbox")     # predict the boxes of RoIs, as columns or as R-FCN's score maps
RPN_SCORE_LAYER = "rpn_cls_score"           # scores anchors as background and object
RPN_BOX_LAYER = "rpn_bbox_pred"             # predicts the boxes of anchors
HARD = "_hard"              # suffix of the blobs chosen by hard example mining
READONLY = "_readonly"      # suffix of layers that share the weights of the trained layer without the suffix
ROI_LAYERS = ("ROIPooling", "ROIAlign")     # types of the layer that pools RoIs in our nets
