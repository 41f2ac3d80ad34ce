"""ImageLabelmapData: images from files, with binary label images."""
from __future__ import annotations

import numpy as np

from ..bases.image_list import read_pairs_list
from ..bases.images import planes
from ..bases.listed_images import LabelledPixelsLayer
from ..layer import register


@register("ImageLabelmapData")
class ImageLabelmapData(LabelledPixelsLayer):
    """Batches of the images listed in a text file of lines `image labels`, two paths without spaces, endlessly.

    tops     images (batch_size, C, H, W), BGR or greyscale, transformed by transform_param; labels
             (batch_size, 1, H, W), 1 where the greyscale label image is above 127, else 0, cropped and mirrored with
             the image
    param    image_data_param: source (the text file), batch_size (1), root_folder (prefixed to both paths as is),
             new_height and new_width (resize all images), is_color (true), shuffle, rand_skip

    An image and its label image must have the same size. In data-parallel training, each of N processes takes every
    N-th pair.
    Xie and Tu, "Holistically-nested edge detection", 2015; source: src/caffe/layers/image_labelmap_data_layer.cpp of
    HED, which binarises labels in the same way; RCF does not.
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
