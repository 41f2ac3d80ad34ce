"""Classifier: classify images as returned by `caffe.io.load_image`."""
from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from . import io
from .engine.layer import TEST
from .pycaffe_net import Net


def input_transformer(net: Net, mean: np.ndarray | None, input_scale: float | None, raw_scale: float | None,
                      channel_swap: Sequence[int] | None) -> io.Transformer:
    """A Transformer for the net's first input; steps that are None are skipped.

    Raises ValueError for a net without an input of images.
    """
    shape = net.blobs[net.inputs[0]].shape if net.inputs else None
    if shape is None or len(shape) != 4:
        raise ValueError("expected a net whose first input is a batch of images (N, C, H, W), as in a deploy.prototxt; "
                         f"found {f'shape {shape}' if shape is not None else 'no input'}")
    name = net.inputs[0]
    transformer = io.Transformer({name: net.blobs[name].shape})
    transformer.set_transpose(name, (2, 0, 1))
    steps: tuple[tuple[Callable, Any], ...] = (
        (transformer.set_mean, mean), (transformer.set_input_scale, input_scale),
        (transformer.set_raw_scale, raw_scale), (transformer.set_channel_swap, channel_swap))
    for setter, value in steps:
        if value is not None:
            setter(name, value)
    return transformer


def predict_images(net: Net, transformer: io.Transformer, images: Iterable[np.ndarray]) -> np.ndarray:
    """The net's first output for raw images, before preprocessing."""
    name = net.inputs[0]
    arrays: dict[str, Any] = {name: np.stack([transformer.preprocess(name, image) for image in images])}
    return net.forward_all(**arrays)[net.outputs[0]]


class Classifier(Net):
    """A net in the TEST phase that classifies images.

    model_file       its prototxt; the first input is the image, the first output the prediction
    pretrained_file  its weights
    image_dims       (height, width) to which images are resized before cropping to the net's input; by default the
                     size of that input
    mean, input_scale, raw_scale, channel_swap   as in `caffe.io.Transformer`
    """

    def __init__(self, model_file, pretrained_file, image_dims: Sequence[int] | None = None,
                 mean: np.ndarray | None = None, input_scale: float | None = None, raw_scale: float | None = None,
                 channel_swap: Sequence[int] | None = None) -> None:
        super().__init__(model_file, TEST, weights=pretrained_file)
        self.transformer = input_transformer(self, mean, input_scale, raw_scale, channel_swap)
        self.crop_dims = np.array(self.blobs[self.inputs[0]].shape[2:])
        self.image_dims = self.crop_dims if image_dims is None else np.array(image_dims)
        if (self.image_dims < self.crop_dims).any():
            raise ValueError(f"image_dims {tuple(self.image_dims)} are smaller than the net's input "
                             f"{tuple(self.crop_dims)}")

    def predict(self, inputs: Sequence[np.ndarray], oversample: bool = True) -> np.ndarray:
        """The net's first output for each image: (number of images, classes).

        inputs      images (height, width, channels), of any sizes
        oversample  average the predictions of ten crops (corners and centre, also mirrored); else use the centre crop
        """
        resized = [io.resize_image(image, tuple(self.image_dims)) for image in inputs]
        crops = io.oversample(resized, tuple(self.crop_dims)) if oversample else [self._centre(im) for im in resized]
        predictions = predict_images(self, self.transformer, crops)
        return predictions.reshape(len(inputs), 10, -1).mean(1) if oversample else predictions

    def _centre(self, image: np.ndarray) -> np.ndarray:
        top, left = (self.image_dims - self.crop_dims) // 2
        return image[top:top + self.crop_dims[0], left:left + self.crop_dims[1]]
