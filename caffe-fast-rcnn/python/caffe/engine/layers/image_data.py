"""ImageData: images from files."""
from __future__ import annotations

from ..bases.image_list import read_labels_list
from ..bases.images import planes
from ..bases.listed_images import ListedImageLayer
from ..layer import register


@register("ImageData")
class ImageData(ListedImageLayer):
    """Batches of the images listed in a text file of lines `path label` or `path label label ...`, endlessly.

    tops     images (batch_size, C, H, W), BGR or greyscale, transformed by transform_param; labels (batch_size), or
             (batch_size, number of labels) if each line has several
    param    image_data_param: source (the text file), batch_size (1), root_folder (prefixed to each path as is),
             new_height and new_width (resize all images), is_color (true), shuffle, rand_skip

    The label follows the last space, so paths may contain spaces. A single label is truncated to an integer; several
    labels, a format of forks, may be fractional. In data-parallel training, each of N processes takes every N-th image.
    Source: src/caffe/layers/image_data_layer.cpp.
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
