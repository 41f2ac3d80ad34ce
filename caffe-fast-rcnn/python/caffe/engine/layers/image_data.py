"""ImageData: images from files."""
from __future__ import annotations

from ..bases.image_list import read_labels_list
from ..bases.images import planes
from ..bases.listed_images import ListedImageLayer
from ..layer import register


@register("ImageData")
class ImageData(ListedImageLayer):
    """Batches of the images of a text file with lines `path label`, or `path label label ...`, cyclically.

    tops     images (batch_size, C, H, W), BGR or grey, transformed by transform_param; labels (batch_size), or
             (batch_size, labels of a line) where lines have several
    param    image_data_param: source (the text file), batch_size (1), root_folder (put before each path as it is),
             new_height and new_width (size of all images), is_color (true), shuffle, rand_skip

    The label follows the last blank: paths may contain blanks. Fractions are dropped of one label, kept of several,
    which are a format of forks. Each of N processes that train together takes every
    N-th image. Source: src/caffe/layers/image_data_layer.cpp.
    """

    exact_tops = 2
    unread_settings = (*ListedImageLayer.unread_settings, "image_data_param.label_type",
                       "image_data_param.ignore_label")

    def read_lines(self):
        return read_labels_list(self.param.image_data_param.source, self.param.image_data_param.root_folder)

    def _shape(self, top, image_shape):
        super()._shape(top, image_shape)
        count = len(self.lines[0][1])
        if count > 1:
            top[1].reshape(self.batch_size, count)

    def read(self, reference):
        name, labels = reference
        image = self.image_file(name, self.param.image_data_param.is_color)
        return planes(image), labels[0] if len(labels) == 1 else labels
