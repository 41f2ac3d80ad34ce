"""Names of blobs and layers shared by nets, layers and checks."""

RPN_BLOBS = ("data", "im_info", "gt_boxes")     # tops of the data layer that trains an RPN
ROI_BLOBS = ("rois", "labels")                  # RoIs and their classes: tops after "data" of the one for Fast R-CNN
BOX_BLOBS = ("bbox_targets", "bbox_inside_weights", "bbox_outside_weights")     # targets and weights of box regression
BOX_LAYERS = ("bbox_pred", "rfcn_bbox")     # predict the boxes of RoIs: their columns, or R-FCN's maps of these
RPN_BOX_LAYER = "rpn_bbox_pred"             # predicts the boxes of anchors
HARD = "_hard"              # suffix of the blobs chosen by hard example mining
READONLY = "_readonly"      # suffix of layers that use the weights of the trained layer of the same name
