"""Names of blobs and layers that nets, layers and checks agree on."""

RPN_BLOBS = ("data", "im_info", "gt_boxes")     # tops of the data layer that trains an RPN
ROI_BLOBS = ("data", "rois", "labels")          # tops of the data layer that trains Fast R-CNN
BOX_BLOBS = ("bbox_targets", "bbox_inside_weights", "bbox_outside_weights")     # and those of box regression
READONLY = "_readonly"      # suffix of layers that use the weights of the trained layer of the same name
