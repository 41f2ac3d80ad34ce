"""ImageSegData: images from files, with a label per pixel."""
from __future__ import annotations

import cv2
import numpy as np

from ..bases.image_files import has_palette
from ..bases.image_list import read_image_list, read_names_list, read_pairs_list
from ..bases.images import planes
from ..bases.listed_images import LabelledPixelsLayer
from ..bases.scaled_crops import ScaledCrops
from ..layer import register


@register("ImageSegData")
class ImageSegData(LabelledPixelsLayer):
    """Batches of the images listed in a text file and their pixel labels, endlessly.

    tops     images (batch_size, C, H, W), BGR or greyscale; labels (batch_size, 1, H, W), 0 to 255; optionally the
             height and width of each image, at most those of the top (batch_size, 1, 1, 2)
    param    image_data_param: label_type, what follows the path in each line: PIXEL, the path of a greyscale label
             image; IMAGE (default), one label for all pixels; NONE, nothing: all pixels have ignore_label (255).
             source (the text file), batch_size (1), root_folder (prefixed to paths as is), new_height and new_width
             (resize all images, labels by nearest neighbour), is_color (true), shuffle, rand_skip
             transform_param: scale_factors, one of which, chosen at random, resizes image and labels; crop_size, or
             crop_height and crop_width; mirror, mean_value, scale

    TRAIN crops at random, TEST crops the centre. Smaller images are padded at the right and bottom, with the mean and
    with ignore_label. Paths must not contain spaces, except with IMAGE. An image and its label image must have the same
    size. In data-parallel training, each of N processes takes every N-th image.
    Source: src/caffe/layers/image_seg_data_layer.cpp of DeepLab, which interpolates labels when new_height resizes
    them.
    """

    min_tops = 2
    max_tops = 3
    transformer_type = ScaledCrops

    def read_lines(self):
        param = self.param.image_data_param
        kind = param.LabelType.Name(param.label_type)
        if not 0 <= param.ignore_label <= 255:
            self.fail(f"ignore_label must be in 0..255, found {param.ignore_label}")
        if kind == "PIXEL":
            return read_pairs_list(param.source)
        if kind == "NONE":
            return [(name, param.ignore_label) for name in read_names_list(param.source)]
        return read_image_list(param.source)

    def read(self, reference):
        name, behind = reference
        image = planes(self.image_file(name, self.param.image_data_param.is_color))
        if isinstance(behind, str):
            return image, self._labels(reference, image)
        if not 0 <= behind <= 255:
            self.fail(f"list '{self.param.image_data_param.source}': labels must be in 0..255, found {behind} of "
                      f"'{name}'")
        return image, np.full((1, *image.shape[1:]), behind, np.uint8)

    def _labels(self, reference: tuple[str, str], image: np.ndarray) -> np.ndarray:
        labels = planes(self.image_file(reference[1], color=False, interpolation=cv2.INTER_NEAREST))
        if has_palette(self.param.image_data_param.root_folder + reference[1]):
            self.fail(f"list '{self.param.image_data_param.source}': '{reference[1]}' has a palette, whose colours "
                      "would become labels; save the numbers of the classes as a grey image")
        self.check_sizes(reference, image, labels)
        return labels

    def transformed(self, image, label):
        pixels, labels = super().transformed(image, label)
        return pixels, labels, np.minimum(image.shape[1:], pixels.shape[1:]).reshape(1, 1, 2)

    def _shape(self, top, image_shape):
        super()._shape(top, image_shape)
        for blob in top[2:]:
            blob.reshape(self.batch_size, 1, 1, 2)
