"""ImageLabelmapData: images from files, with black and white images as labels."""
from __future__ import annotations

import numpy as np

from ..bases.image_list import read_pairs_list
from ..bases.images import planes
from ..bases.listed_images import LabelledPixelsLayer
from ..layer import register


@register("ImageLabelmapData")
class ImageLabelmapData(LabelledPixelsLayer):
    """Batches of the images of a text file with lines `image labels`, two paths without blanks, cyclically.

    tops     images (batch_size, C, H, W), BGR or grey, transformed by transform_param; labels (batch_size, 1, H, W), 1
             where the grey image of labels is above 127, else 0, cropped and mirrored with the image
    param    image_data_param: source (the text file), batch_size (1), root_folder (put before both paths as it is),
             new_height and new_width (size of all images), is_color (true), shuffle, rand_skip

    An image and its labels have one size. Each of N processes that train together takes every N-th pair.
    Xie and Tu, "Holistically-nested edge detection", 2015; source: src/caffe/layers/image_labelmap_data_layer.cpp of
    HED, whose labels are rounded in the same way; those of RCF are not.
    """

    exact_tops = 2
    unread_settings = (*LabelledPixelsLayer.unread_settings, "image_data_param.label_type",
                       "image_data_param.ignore_label")

    def read_lines(self):
        return read_pairs_list(self.param.image_data_param.source)

    def read(self, reference):
        image = planes(self.image_file(reference[0], self.param.image_data_param.is_color))
        labels = planes(self.image_file(reference[1], color=False))
        self.check_sizes(reference, image, labels)
        return image, (labels > 127).astype(np.float32)
