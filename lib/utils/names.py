"""Names of blobs and layers that nets, layers and checks agree on."""

RPN_BLOBS = ("data", "im_info", "gt_boxes")     # tops of the data layer that trains an RPN
ROI_BLOBS = ("rois", "labels")                  # RoIs and their classes: behind "data", tops of the one for Fast R-CNN
BOX_BLOBS = ("bbox_targets", "bbox_inside_weights", "bbox_outside_weights")     # what box regression learns from
HARD = "_hard"              # suffix of the blobs that hard example mining keeps rows of
READONLY = "_readonly"      # suffix of layers that use the weights of the trained layer of the same name
