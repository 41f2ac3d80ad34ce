"""Random scaling and cropping of images and their pixel labels."""
from __future__ import annotations

import math

import cv2
import numpy as np

from .images import Transformer, planes


class ScaledCrops(Transformer):
    """A Transformer of images and pixel labels with scale_factors and crops of any size; pads smaller images.

    Source: TransformImgAndSeg of src/caffe/data_transformer.cpp of DeepLab.
    """

    def check_settings(self) -> None:
        param = self.param
        if param.mean_file:
            self.layer.fail("transform_param: mean_file is not supported here, give mean_value")
        if bool(param.crop_height) != bool(param.crop_width) or param.crop_size and param.crop_height:
            self.layer.fail("transform_param: give either crop_size, or both crop_height and crop_width, found "
                            f"{param.crop_size}, {param.crop_height} and {param.crop_width}")
        for factor in param.scale_factors:
            if not 0 < factor < math.inf:
                self.layer.fail(f"transform_param: scale_factors must be above 0, found {factor:g}")

    def crops(self) -> bool:
        return self.param.crop_size > 0 or self.param.crop_height > 0

    def output_shape(self, shape):
        param = self.param
        return (shape[0], param.crop_height or param.crop_size, param.crop_width or param.crop_size) \
            if self.crops() else shape

    def pair(self, image, labels):
        if self.param.scale_factors:
            factor = self.random.choice(self.param.scale_factors)
            image, labels = self._resized(image, factor, cv2.INTER_LINEAR), self._resized(
                labels, factor, cv2.INTER_NEAREST)
        _, height, width = self.output_shape(image.shape)
        below, right = max(0, height - image.shape[1]), max(0, width - image.shape[2])
        if below or right:
            labels = np.pad(labels, ((0, 0), (0, below), (0, right)),
                            constant_values=self.layer.param.image_data_param.ignore_label)
            filled = np.empty((image.shape[0], *labels.shape[1:]), np.float32)
            filled[:] = self._mean_for(image.shape, ())
            filled[:, :image.shape[1], :image.shape[2]] = image
            image = filled
        return super().pair(image, labels)

    def _resized(self, image: np.ndarray, factor: float, interpolation: int) -> np.ndarray:
        height, width = (max(1, int(size * factor)) for size in image.shape[1:])
        try:
            return planes(cv2.resize(np.ascontiguousarray(image.transpose(1, 2, 0)), (width, height),
                                     interpolation=interpolation))
        except cv2.error as error:
            self.layer.fail(f"cannot resize an image to {height} x {width} by the scale factor {factor:g}: {error.err}")
