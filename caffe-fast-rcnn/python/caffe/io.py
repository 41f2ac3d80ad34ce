"""Converts images and arrays to and from Caffe: messages, preprocessing, crops.

Images are arrays (height, width, channels), RGB, float32 between 0 and 1, as returned by `load_image`;
`Transformer` converts them to a net's input, usually (channels, height, width), BGR, 0 to 255 minus a mean.

`zoom`, `resize` and `skimage` are here because scripts import them from pycaffe: `zoom` is SciPy's, the others are
scikit-image's if it is installed, else those of `without_skimage`.
"""
from __future__ import annotations

import importlib
import os
from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np

from .engine.bases.image_files import decode_image
from .errors import WireError
from .proto import caffe_pb2
from .proto.binary import blob_values

_INTERPOLATION = {0: cv2.INTER_NEAREST_EXACT, 1: cv2.INTER_LINEAR, 2: cv2.INTER_CUBIC, 3: cv2.INTER_CUBIC}
_LUMINANCE = np.array([0.2125, 0.7154, 0.0721], np.float32)     # of linear R, G, B (ITU-R BT.709)


def __getattr__(name: str) -> Any:
    """Names of other packages, imported on first use."""
    if name == "zoom":
        return importlib.import_module("scipy.ndimage").zoom
    if name not in ("resize", "skimage"):
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    try:
        importlib.import_module("skimage.io")
        transform = importlib.import_module("skimage.transform")
    except ModuleNotFoundError:
        substitute = importlib.import_module(".without_skimage", __package__)
        return substitute.resize if name == "resize" else substitute
    return transform.resize if name == "resize" else importlib.import_module("skimage")


# ---------------------------------------------------------------------------------------------- messages
def blobproto_to_array(blob: caffe_pb2.BlobProto, return_diff: bool = False) -> np.ndarray:
    """The values (or the gradient) of a BlobProto: float32, or float64 if it holds doubles."""
    values = blob_values(blob, return_diff)
    old = any(blob.HasField(axis) for axis in ("num", "channels", "height", "width"))
    shape = (blob.num, blob.channels, blob.height, blob.width) if old else tuple(blob.shape.dim)
    array = values.astype(np.float32 if values.itemsize < 8 else np.float64)
    if array.size != np.prod(shape, dtype=np.int64):
        raise ValueError(f"a BlobProto of shape {tuple(shape)} holds {array.size} values")
    return array.reshape(shape)


def array_to_blobproto(arr: np.ndarray, diff: np.ndarray | None = None) -> caffe_pb2.BlobProto:
    """A BlobProto of an array of any shape, and of its gradient if given."""
    blob = caffe_pb2.BlobProto()
    blob.shape.dim.extend(arr.shape)
    blob.data.extend(np.asarray(arr, np.float32).ravel())
    if diff is not None:
        blob.diff.extend(np.asarray(diff, np.float32).ravel())
    return blob


def arraylist_to_blobprotovector_str(arraylist: Sequence[np.ndarray]) -> bytes:
    """A serialised BlobProtoVector of the arrays."""
    blobs = [array_to_blobproto(arr) for arr in arraylist]
    return caffe_pb2.BlobProtoVector(blobs=blobs).SerializeToString()


def blobprotovector_str_to_arraylist(text: bytes) -> list[np.ndarray]:
    """The arrays of a serialised BlobProtoVector."""
    return [blobproto_to_array(blob) for blob in caffe_pb2.BlobProtoVector.FromString(text).blobs]


def array_to_datum(arr: np.ndarray, label: int | None = None) -> caffe_pb2.Datum:
    """A Datum of a (channels, height, width) array: uint8 as bytes, everything else as floats."""
    arr = np.asarray(arr)
    if arr.ndim != 3:
        raise ValueError(f"a Datum takes an array (channels, height, width), got shape {arr.shape}")
    datum = caffe_pb2.Datum()
    datum.channels, datum.height, datum.width = arr.shape
    if arr.dtype == np.uint8:
        datum.data = arr.tobytes()
    else:
        datum.float_data.extend(np.asarray(arr, np.float32).ravel())
    if label is not None:
        datum.label = int(label)
    return datum


def datum_to_array(datum: caffe_pb2.Datum) -> np.ndarray:
    """The (channels, height, width) array of a Datum: uint8, or float64 if it holds floats.

    Raises ValueError for an encoded Datum: decode its `data` with OpenCV.
    """
    if datum.encoded:
        raise ValueError("this Datum holds an image file: cv2.imdecode(np.frombuffer(datum.data, np.uint8), 1)")
    values = np.frombuffer(datum.data, np.uint8).copy() if datum.data else np.array(datum.float_data, float)
    return values.reshape(datum.channels, datum.height, datum.width)


# ---------------------------------------------------------------------------------------------- nets' inputs
class Transformer:
    """Prepares images for the inputs of a net, and turns such arrays back into images.

    inputs  shape of each input, e.g. {'data': net.blobs['data'].data.shape}

    `preprocess` runs in this order: resize, transpose, channel swap, raw scale, mean, input scale. Every step
    except resizing is skipped unless its `set_` function was called.
    """

    def __init__(self, inputs: Mapping[str, Sequence[int]]) -> None:
        self.inputs = {name: tuple(shape) for name, shape in inputs.items()}
        self.transpose: dict[str, tuple[int, ...]] = {}
        self.channel_swap: dict[str, tuple[int, ...]] = {}
        self.raw_scale: dict[str, float] = {}
        self.mean: dict[str, np.ndarray] = {}
        self.input_scale: dict[str, float] = {}

    def preprocess(self, in_: str, data: np.ndarray) -> np.ndarray:
        """Convert an image (height, width, channels) to the input's values, float32.

        Raises ValueError for None, and for an array with another number of axes, or of channels, than the steps take.
        """
        self._check(in_)
        if data is None:
            raise ValueError("preprocess: the image is None, as cv2.imread returns for a file that it cannot read")
        image = np.array(data, np.float32)          # a copy: the steps below work in place
        if image.shape[:2] != self.inputs[in_][2:]:
            image = resize_image(image, self.inputs[in_][2:])
        if in_ in self.transpose:
            self._check_axes(in_, image)
            image = image.transpose(self.transpose[in_])
        if in_ in self.channel_swap:
            if max(self.channel_swap[in_]) >= len(image):
                raise ValueError(f"channel order {self.channel_swap[in_]}: the image has {len(image)} channels")
            image = image[list(self.channel_swap[in_])]
        if in_ in self.raw_scale:
            image *= self.raw_scale[in_]
        if in_ in self.mean:
            image -= self.mean[in_]
        if in_ in self.input_scale:
            image *= self.input_scale[in_]
        return image

    def deprocess(self, in_: str, data: np.ndarray) -> np.ndarray:
        """Convert the values of one input back to an image: inverts all steps of `preprocess` except resizing.

        Axes of length 1 are dropped, as in pycaffe, unless the transpose takes them. Raises ValueError for an array
        with another number of axes than the transpose takes.
        """
        self._check(in_)
        image = data.copy().squeeze()
        if in_ in self.transpose:
            shape = data.shape[-len(self.transpose[in_]):]
            if image.ndim < len(shape) and image.size == np.prod(shape):
                image = image.reshape(shape)        # one channel, row or column
            self._check_axes(in_, image)
        if in_ in self.input_scale:
            image /= self.input_scale[in_]
        if in_ in self.mean:
            image += self.mean[in_]
        if in_ in self.raw_scale:
            image /= self.raw_scale[in_]
        if in_ in self.channel_swap:
            image = image[np.argsort(self.channel_swap[in_])]
        if in_ in self.transpose:
            image = image.transpose(np.argsort(self.transpose[in_]))
        return image

    def set_transpose(self, in_: str, order: Sequence[int]) -> None:
        """Order of the image's axes in the input, e.g. (2, 0, 1) for channels first."""
        self._check(in_)
        if len(order) != len(self.inputs[in_]) - 1:
            raise ValueError(f"transpose order {tuple(order)}: '{in_}' takes {len(self.inputs[in_]) - 1} axes")
        self.transpose[in_] = tuple(order)

    def set_channel_swap(self, in_: str, order: Sequence[int]) -> None:
        """Order of the channels, after the transpose; (2, 1, 0) turns RGB into BGR."""
        self._check(in_)
        if len(order) != self.inputs[in_][1]:
            raise ValueError(f"channel order {tuple(order)}: '{in_}' has {self.inputs[in_][1]} channels")
        self.channel_swap[in_] = tuple(order)

    def set_raw_scale(self, in_: str, scale: float) -> None:
        """Factor applied before the mean is subtracted; 255 for a mean of pixels from 0 to 255."""
        self._check(in_)
        self.raw_scale[in_] = scale

    def set_mean(self, in_: str, mean: np.ndarray) -> None:
        """Mean to subtract: one value per channel, or (channels, height, width), resized to fit."""
        self._check(in_)
        wanted = self.inputs[in_][1:]
        mean = np.asarray(mean)
        if mean.ndim == 1:
            if mean.shape[0] != wanted[0]:
                raise ValueError(f"mean of {mean.shape[0]} channels: '{in_}' has {wanted[0]}")
            mean = mean[:, np.newaxis, np.newaxis]
        else:
            mean = mean[np.newaxis] if mean.ndim == 2 else mean
            if mean.ndim != 3 or mean.shape[0] != wanted[0]:
                raise ValueError(f"mean of shape {mean.shape}: '{in_}' takes {wanted}")
            if mean.shape != wanted:
                mean = resize_image(mean.transpose(1, 2, 0), wanted[1:]).transpose(2, 0, 1)
        self.mean[in_] = mean

    def set_input_scale(self, in_: str, scale: float) -> None:
        """Factor applied after the mean is subtracted."""
        self._check(in_)
        self.input_scale[in_] = scale

    def _check_axes(self, in_: str, image: np.ndarray) -> None:
        order = self.transpose[in_]
        if image.ndim != len(order):
            raise ValueError(f"transpose order {order}: expected an array of {len(order)} axes, got shape "
                             f"{image.shape}")

    def _check(self, in_: str) -> None:
        if in_ not in self.inputs:
            raise ValueError(f"'{in_}' is not one of the net's inputs: {', '.join(self.inputs)}")


# ---------------------------------------------------------------------------------------------- images
def read_pixels(filename: str | os.PathLike) -> np.ndarray:
    """An image file as OpenCV gives it: (height, width), or (height, width, channels) BGR or BGRA.

    Raises FileNotFoundError, or ValueError for a file that OpenCV cannot read or that claims an implausible size.
    """
    name = os.fspath(filename)
    if not os.path.isfile(name):
        raise FileNotFoundError(f"{name}: no such image")
    with open(name, "rb") as file:
        data = file.read()
    try:
        return decode_image(data, "UNCHANGED")
    except WireError as error:
        raise ValueError(f"{name}: not an image that OpenCV can read: {error}") from None


def load_image(filename: str | os.PathLike, color: bool = True) -> np.ndarray:
    """An image file as (height, width, 3) RGB, or (height, width, 1) if not color; float32, 0 to 1."""
    image = read_pixels(filename)
    peak = {"uint8": 255, "uint16": 65535}.get(image.dtype.name, 1)
    image = image.astype(np.float32) / np.float32(peak)
    if image.ndim == 2:
        return np.repeat(image[:, :, np.newaxis], 3 if color else 1, axis=2)
    rgb = np.ascontiguousarray(image[:, :, 2::-1])               # BGR or BGRA: alpha is dropped
    return rgb if color else (rgb @ _LUMINANCE)[:, :, np.newaxis]


def resize_image(im: np.ndarray, new_dims: Sequence[int], interp_order: int = 1) -> np.ndarray:
    """Resize an image (height, width, channels) to new_dims = (height, width), float32.

    interp_order 0 takes the nearest pixel, 1 is bilinear, 2 and 3 are bicubic. Images of 1 or 3 channels are aligned at
    their outer edges, with replicated borders, others at the centres of their corner pixels, as in pycaffe.
    Raises ValueError for arrays without pixels or with another number of axes, and for new_dims below 1.
    """
    height, width = (int(dim) for dim in new_dims)
    if interp_order not in _INTERPOLATION:
        raise ValueError(f"interp_order {interp_order}: expected 0, 1, 2 or 3")
    image = np.asarray(im, np.float32)
    if image.ndim != 3 or not image.size or min(height, width) < 1:
        raise ValueError(f"expected an image (height, width, channels) with pixels, got shape {image.shape} to resize "
                         f"to {height}x{width}")
    if image.shape[-1] not in (1, 3):
        from scipy.ndimage import zoom  # slow to import and rarely needed
        return zoom(image, (height / image.shape[0], width / image.shape[1], 1), order=interp_order)
    resized = cv2.resize(image, (width, height), interpolation=_INTERPOLATION[interp_order])
    return resized.reshape(height, width, image.shape[-1])      # OpenCV drops the axis of one channel


def load_resize(filename: str | os.PathLike, new_dims: Sequence[int], color: bool = True,
                interp_order: int = 1) -> np.ndarray:
    """Read an image file with `load_image` and resize it to new_dims = (height, width)."""
    return resize_image(load_image(filename, color), new_dims, interp_order)


def oversample(images: Sequence[np.ndarray], crop_dims: Sequence[int]) -> np.ndarray:
    """Ten crops of each image: the four corners, the centre, and the same five mirrored.

    images     arrays (height, width, channels) of one size
    crop_dims  (height, width) of a crop
    Returns (10 * number of images, crop height, crop width, channels), float32. Raises ValueError for no images, a
    single one that is not in a list, images of several sizes, and crops larger than an image.
    """
    if not len(images):
        raise ValueError("there are no images to crop")
    if images[0].ndim != 3:
        raise ValueError("expected a list of images (height, width, channels), found the first of shape "
                         f"{images[0].shape}")
    if len(shapes := {image.shape for image in images}) > 1:
        raise ValueError(f"expected images of one size, found shapes {sorted(shapes)}: resize them first")
    height, width = images[0].shape[:2]
    crop_height, crop_width = (int(dim) for dim in crop_dims)
    bottom, right = height - crop_height, width - crop_width
    if bottom < 0 or right < 0:
        raise ValueError(f"crops of {crop_height}x{crop_width} do not fit into images of {height}x{width}")
    corners = [(0, 0), (0, right), (bottom, 0), (bottom, right), (bottom // 2, right // 2)]
    crops = []
    for image in images:
        five = [image[top:top + crop_height, left:left + crop_width] for top, left in corners]
        crops += five + [crop[:, ::-1] for crop in five]
    return np.array(crops, np.float32)
