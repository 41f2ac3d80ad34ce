"""ImageData: images from files."""
from __future__ import annotations

import cv2

from ...errors import WireError
from ..bases.image_files import read_image
from ..bases.image_list import ImageListError, read_labels_list
from ..bases.images import ImageLayer, own_turns, planes
from ..blob import checked_shape
from ..layer import register


@register("ImageData")
class ImageData(ImageLayer):
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
    other_settings = ("transform_param",)
    unread_settings = ("transform_param.force_color", "transform_param.force_gray")

    def setup(self, bottom, top):
        param = self.param.image_data_param
        if bool(param.new_height) != bool(param.new_width):
            self.fail(f"set both new_height and new_width, found {param.new_height} and {param.new_width}")
        checked_shape((param.new_height, param.new_width, 3))
        self.batch_size = param.batch_size
        try:
            self.lines = read_labels_list(param.source, param.root_folder)
        except ImageListError as error:
            self.fail(str(error))
        super().setup(bottom, top)

    def references(self):
        param = self.param.image_data_param
        if param.shuffle:
            self.random.shuffle(self.lines)
        skip = self.random.randrange(param.rand_skip) if param.rand_skip else 0
        if skip >= len(self.lines):
            self.fail(f"rand_skip {param.rand_skip} skips past the {len(self.lines)} images")
        turns = own_turns(self)
        while True:
            for line in self.lines[skip:]:
                if next(turns):
                    yield line
            skip = 0
            if param.shuffle:
                self.random.shuffle(self.lines)

    def _shape(self, top, image_shape):
        super()._shape(top, image_shape)
        count = len(self.lines[0][1])
        if count > 1:
            top[1].reshape(self.batch_size, count)

    def read(self, reference):
        param, (name, labels) = self.param.image_data_param, reference
        try:
            image = read_image(param.root_folder + name, param.is_color)
        except WireError as error:
            self.fail(f"list '{param.source}': {error}")
        if param.new_height:
            try:
                image = cv2.resize(image, (param.new_width, param.new_height))
            except cv2.error as error:      # more rows or columns than OpenCV takes
                self.fail(f"cannot resize an image to new_height {param.new_height} and new_width {param.new_width}: "
                          f"{error.err}")
        return planes(image), labels[0] if len(labels) == 1 else labels
